//! The consistent hash exchange: what has the same key goes to the same queue, and when queues come or go few keys move (RabbitMQ's
//! plugin `x-consistent-hash`).
//!
//! Each destination draws a number for the message's key, by a hash of both, and the best draw wins; a weight makes good draws more
//! likely (rendezvous hashing). So a destination that comes takes its share and nothing else moves, and one that goes gives its share
//! to all others. Nothing depends on the order of bindings, and there are no buckets that could outlive a destination, as they did
//! in RabbitMQ 4.3 (issue 17255). The cost is a few nanoseconds for each destination, without memory for weights however large.

use alloc::format;
use alloc::vec::Vec;

use bytes::BytesMut;

use super::Destination;
use super::hash::{spread, stable_hash};
use crate::amqp::{AmqpError, ErlangText, FieldTable, FieldValue, LongStr, RawProperties, ReplyCode, ShortStr};
use crate::mutants::{Mutant, is_planted};

/// What of a message is hashed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HashOn {
    /// Its routing key.
    #[default]
    RoutingKey,
    /// The header of this name.
    Header(LongStr),
    /// Its property `message_id`.
    MessageId,
    /// Its property `correlation_id`.
    CorrelationId,
    /// Its property `timestamp`.
    Timestamp,
}

/// The destinations of a consistent hash exchange.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConsistentHash {
    hash_on: HashOn,
    /// In the order of their hashes, which does not depend on when they were bound.
    shares: Vec<Share>,
    /// Whether all weights are the same, so that the draws alone decide.
    is_even: bool,
}

/// What one destination gets.
#[derive(Clone, Debug)]
struct Share {
    /// A hash of its name and of what it is.
    hash: u64,
    destination: Destination,
    /// The sum of its bindings' weights.
    weight: u64,
    /// How many bindings that are.
    bindings: u32,
}

impl HashOn {
    /// What the arguments of an exchange say.
    ///
    /// # Errors
    /// Channel error 406 PRECONDITION_FAILED with RabbitMQ's texts.
    pub(crate) fn parse(arguments: &FieldTable) -> Result<Self, AmqpError> {
        let refused = |text| Err(AmqpError::channel(ReplyCode::PreconditionFailed, text));
        match (arguments.get("hash-header"), arguments.get("hash-property")) {
            (None, None) => Ok(Self::RoutingKey),
            (Some(_), Some(_)) => refused("hash-header and hash-property are mutually exclusive".into()),
            (Some(FieldValue::LongStr(name)), None) => Ok(Self::Header(name.clone())),
            (None, Some(FieldValue::LongStr(name))) => match name.as_bytes() {
                b"message_id" => Ok(Self::MessageId),
                b"correlation_id" => Ok(Self::CorrelationId),
                b"timestamp" => Ok(Self::Timestamp),
                _ => refused(format!("Unsupported property: {}", name.to_string_lossy())),
            },
            // RabbitMQ fails with an internal error.
            (Some(other), None) | (None, Some(other)) => {
                let name = if arguments.get("hash-header").is_some() { "hash-header" } else { "hash-property" };
                refused(format!("invalid type '{}' for arg '{name}'", other.type_name()))
            }
        }
    }

    /// The hash of what counts. What is not there is as good as empty, so that messages without it stay together.
    fn hash(&self, routing_key: &[u8], properties: &RawProperties<&[u8]>) -> u64 {
        match self {
            Self::RoutingKey => stable_hash(routing_key),
            Self::Header(name) => {
                let value = name.as_str().and_then(|name| properties.header(name));
                match value {
                    None | Some(FieldValue::Void) => stable_hash(b""),
                    Some(FieldValue::LongStr(text) | FieldValue::Bytes(text)) => stable_hash(text.as_bytes()),
                    Some(other) => {
                        let mut encoded = BytesMut::new();
                        // An integer is the same whatever its width.
                        match other.as_integer() {
                            Some(integer) => FieldValue::I64(integer).encode(&mut encoded),
                            None => other.encode(&mut encoded),
                        }
                        stable_hash(&encoded)
                    }
                }
            }
            Self::MessageId => stable_hash(properties.message_id().unwrap_or_default()),
            Self::CorrelationId => stable_hash(properties.correlation_id().unwrap_or_default()),
            Self::Timestamp => stable_hash(&properties.timestamp().map(u64::to_be_bytes).unwrap_or_default()),
        }
    }
}

/// The weight that a binding key stands for: a positive number in decimal digits.
///
/// # Errors
/// Channel error 406 PRECONDITION_FAILED with RabbitMQ's texts.
pub(super) fn check_weight(routing_key: &[u8]) -> Result<u32, AmqpError> {
    let refused = |text| Err(AmqpError::channel(ReplyCode::PreconditionFailed, text));
    let (sign, digits) = match routing_key {
        [sign @ (b'+' | b'-'), digits @ ..] => (*sign, digits),
        digits => (b'+', digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return refused(format!("The binding key must be an integer: {}", ErlangText(routing_key)));
    }
    // What is larger than all weights that make sense counts as the largest.
    let number = |sum: u32, digit: &u8| sum.saturating_mul(10).saturating_add(u32::from(digit - b'0'));
    match digits.iter().fold(0, number) {
        weight if weight > 0 && sign == b'+' => Ok(weight),
        _ => refused("The binding key must be greater than 0".into()),
    }
}

impl ConsistentHash {
    pub(super) fn new(hash_on: HashOn) -> Self {
        Self { hash_on, ..Self::default() }
    }

    /// Adds a binding. The weights of all bindings to one destination are summed up.
    pub(super) fn bind(&mut self, destination: Destination, routing_key: &[u8], name: &ShortStr) {
        let weight = u64::from(check_weight(routing_key).expect("a binding key was checked before"));
        match self.shares.iter_mut().find(|share| share.destination == destination) {
            Some(share) => {
                share.weight += weight;
                share.bindings += 1;
            }
            None => {
                let kind = matches!(destination, Destination::Exchange(_));
                let hash = spread(stable_hash(name.as_bytes()) ^ u64::from(kind));
                let at = self.shares.partition_point(|share| share.hash <= hash);
                self.shares.insert(at, Share { hash, destination, weight, bindings: 1 });
            }
        }
        self.look_at_weights();
    }

    pub(super) fn unbind(&mut self, destination: Destination, routing_key: &[u8]) {
        let weight = u64::from(check_weight(routing_key).expect("a binding key was checked before"));
        let at = self.shares.iter().position(|share| share.destination == destination);
        let at = at.expect("only what was bound is unbound");
        let share = &mut self.shares[at];
        if is_planted(Mutant::HashKeepsGone) {
            return;
        }
        share.weight -= weight;
        share.bindings -= 1;
        if share.bindings == 0 {
            self.shares.remove(at);
        }
        self.look_at_weights();
    }

    pub(super) fn choose(&self, routing_key: &[u8], properties: &RawProperties<&[u8]>) -> Option<Destination> {
        let key = self.hash_on.hash(routing_key, properties);
        let draw = |share: &Share| spread(key ^ share.hash);
        let winner = if self.is_even {
            self.shares.iter().max_by_key(|share| draw(share))
        } else {
            // The least of `-log2(draw) / weight`, compared without the division.
            self.shares
                .iter()
                .map(|share| (neg_log2(draw(share)), share))
                .reduce(|best, other| {
                    let is_better = u128::from(other.0) * u128::from(best.1.weight)
                        < u128::from(best.0) * u128::from(other.1.weight);
                    if is_better { other } else { best }
                })
                .map(|(_, share)| share)
        };
        winner.map(|share| share.destination)
    }

    fn look_at_weights(&mut self) {
        self.is_even = self.shares.windows(2).all(|two| two[0].weight == two[1].weight);
    }
}

/// `-log2((draw + 1) / 2^64)` with 32 bits behind the point, rounded up, so that it is never 0. Integers only: a float could round
/// differently elsewhere.
fn neg_log2(draw: u64) -> u64 {
    const FRACTION_BITS: u32 = 32;
    let draw = draw | 1;
    let zeros = draw.leading_zeros();
    // A number from 1 up to 2, with 63 bits behind the point. Squared, it passes 2 if the next bit of its logarithm is 1.
    let mut mantissa = draw << zeros;
    let mut fraction = 0_u64;
    for _ in 0..FRACTION_BITS {
        let square = u128::from(mantissa) * u128::from(mantissa);
        let bit = u32::from(square >> 127 == 1);
        mantissa = u64::try_from(square >> (63 + bit)).expect("half the bits of a square");
        fraction = fraction << 1 | u64::from(bit);
    }
    (u64::from(zeros + 1) << FRACTION_BITS) - fraction
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;

    use proptest::prelude::*;
    use slotmap::KeyData;

    use super::*;
    use crate::amqp::Properties;

    fn queue(number: u64) -> Destination {
        Destination::Queue(KeyData::from_ffi(1 << 32 | number).into())
    }

    fn bind(table: &mut ConsistentHash, number: u64, weight: &str) {
        let name = ShortStr::try_from(format!("queue {number}")).unwrap();
        table.bind(queue(number), weight.as_bytes(), &name);
    }

    fn choose(table: &ConsistentHash, key: usize) -> Option<Destination> {
        table.choose(format!("key {key}").as_bytes(), &RawProperties::empty().borrowed())
    }

    fn counts(table: &ConsistentHash) -> BTreeMap<Destination, i32> {
        let mut counts = BTreeMap::new();
        for key in 0..10_000 {
            *counts.entry(choose(table, key).unwrap()).or_insert(0) += 1;
        }
        counts
    }

    /// Texts as RabbitMQ 3.10.8 gives them.
    #[test]
    fn weights_are_positive_numbers() {
        let text = |key: &str| check_weight(key.as_bytes()).unwrap_err().text;
        assert_eq!(check_weight(b"01").ok(), Some(1));
        assert_eq!(check_weight(b"99999999999999999999").ok(), Some(u32::MAX));
        assert_eq!(text("0"), "The binding key must be greater than 0");
        assert_eq!(text("-1"), "The binding key must be greater than 0");
        assert_eq!(text("a"), "The binding key must be an integer: <<\"a\">>");
        assert_eq!(text(""), "The binding key must be an integer: <<>>");
        assert_eq!(text("1.5"), "The binding key must be an integer: <<\"1.5\">>");
    }

    #[test]
    fn arguments_say_what_is_hashed() {
        let parse = |arguments: FieldTable| HashOn::parse(&arguments).map_err(|error| error.text.into_owned());
        assert_eq!(parse(FieldTable::new()), Ok(HashOn::RoutingKey));
        assert_eq!(parse(FieldTable::new().with("hash-header", "h")), Ok(HashOn::Header("h".into())));
        assert_eq!(parse(FieldTable::new().with("hash-property", "timestamp")), Ok(HashOn::Timestamp));
        let bad = FieldTable::new().with("hash-property", "app_id");
        assert_eq!(parse(bad), Err("Unsupported property: app_id".into()));
        let both = FieldTable::new().with("hash-property", "message_id").with("hash-header", "h");
        assert_eq!(parse(both), Err("hash-header and hash-property are mutually exclusive".into()));
    }

    #[test]
    fn shares_follow_the_weights() {
        let mut table = ConsistentHash::default();
        (1..5).for_each(|number| bind(&mut table, number, "1"));
        assert!(counts(&table).values().all(|count| (2300..2700).contains(count)), "{:?}", counts(&table));
        let mut table = ConsistentHash::default();
        bind(&mut table, 1, "10");
        bind(&mut table, 2, "20");
        bind(&mut table, 3, "30");
        bind(&mut table, 3, "40");
        let counts = counts(&table);
        assert!((900..1100).contains(&counts[&queue(1)]), "{counts:?}");
        assert!((1850..2150).contains(&counts[&queue(2)]), "{counts:?}");
        assert!((6800..7200).contains(&counts[&queue(3)]), "{counts:?}");
    }

    #[test]
    fn headers_and_properties_decide_where_they_are_asked_for() {
        let properties = |id: &str| {
            let headers = FieldTable::new().with("h", id).with("n", FieldValue::I16(5));
            let message_id = Some(ShortStr::try_from(id).unwrap());
            RawProperties::from(&Properties { headers: Some(headers), message_id, ..Properties::default() })
        };
        for hash_on in [HashOn::Header("h".into()), HashOn::MessageId] {
            let mut table = ConsistentHash::new(hash_on);
            (0..20).for_each(|number| bind(&mut table, number, "1"));
            let choose = |key: &str, id: &str| table.choose(key.as_bytes(), &properties(id).borrowed());
            let one = choose("a", "1");
            assert_eq!(choose("b", "1"), one);
            assert!((2..9_u8).any(|id| choose("a", &format!("{id}")) != one));
        }
        let on = HashOn::Header("n".into());
        let wide = RawProperties::from(&Properties {
            headers: Some(FieldTable::new().with("n", FieldValue::I64(5))),
            ..Properties::default()
        });
        assert_eq!(on.hash(b"", &properties("x").borrowed()), on.hash(b"", &wide.borrowed()));
    }

    #[test]
    fn the_logarithm_is_right() {
        assert_eq!(neg_log2(u64::MAX), 1);
        assert_eq!(neg_log2(1 << 63), (1 << 32));
        assert_eq!(neg_log2(0), 64 << 32);
        // log2(0.75) is -0.41503749928.
        let three_quarters = neg_log2(3 << 62);
        assert!(three_quarters.abs_diff(1_782_572_486) < 4, "{three_quarters}");
    }

    proptest! {
        /// What comes takes from all and moves nothing else; what goes gives to all.
        #[test]
        fn few_keys_move(weights in proptest::collection::vec(1_u32..20, 1..8), weight in 1_u32..20, order in any::<u64>()) {
            let mut table = ConsistentHash::default();
            for (number, weight) in (1..).zip(&weights) {
                bind(&mut table, number, &format!("{weight}"));
            }
            // The same in another order.
            let mut again = ConsistentHash::default();
            let mut numbered: Vec<_> = (1_u64..).zip(&weights).collect();
            numbered.sort_by_key(|(number, _)| spread(number ^ order));
            for (number, weight) in numbered {
                bind(&mut again, number, &format!("{weight}"));
            }
            let mut more = table.clone();
            bind(&mut more, 99, &format!("{weight}"));
            for key in 0..300 {
                let (before, after) = (choose(&table, key), choose(&more, key));
                prop_assert_eq!(choose(&again, key), before);
                prop_assert!(after == before || after == Some(queue(99)));
            }
            more.unbind(queue(99), format!("{weight}").as_bytes());
            for key in 0..300 {
                prop_assert_eq!(choose(&more, key), choose(&table, key));
            }
        }
    }
}

//! Exchanges that give each message to one of their bindings: by a hash of the key (`x-modulus-hash`) or at random (`x-random`,
//! `x-local-random`), as RabbitMQ's plugins do.

use alloc::vec::Vec;

use super::Destination;
use super::hash::{Random, stable_hash};
use crate::amqp::ShortStr;

/// The bindings of such an exchange, each with an equal share: a destination bound twice gets twice as much.
///
/// They are ordered by what they lead to and not by when they came, so that a hash finds the same one after a restart, as
/// RabbitMQ 4.3 has it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Choice(Vec<(ShortStr, Destination)>);

impl Choice {
    pub(super) fn bind(&mut self, destination: Destination, name: ShortStr) {
        // Queues and exchanges may share a name; queues come first, whatever their keys are.
        let is_exchange = |destination: &Destination| matches!(destination, Destination::Exchange(_));
        let at = self.0.partition_point(|(other_name, other)| {
            (is_exchange(other), other_name) <= (is_exchange(&destination), &name)
        });
        self.0.insert(at, (name, destination));
    }

    pub(super) fn unbind(&mut self, destination: Destination) {
        let at = self.0.iter().position(|(_, other)| *other == destination).expect("only what was bound is unbound");
        self.0.remove(at);
    }

    /// The destination that a hash of the key selects.
    pub(super) fn by_key(&self, routing_key: &[u8]) -> Option<Destination> {
        self.nth(stable_hash(routing_key))
    }

    /// Any destination.
    pub(super) fn at_random(&self, random: &mut Random) -> Option<Destination> {
        self.nth(random.next())
    }

    /// The share of a number that is spread over all 64 bits: the high half of the product with the length, which is even for any
    /// length and needs no division.
    fn nth(&self, number: u64) -> Option<Destination> {
        let index = (u128::from(number) * self.0.len() as u128) >> 64;
        self.0.get(usize::try_from(index).ok()?).map(|(_, destination)| *destination)
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;
    use alloc::format;

    use slotmap::KeyData;

    use super::*;

    fn queue(number: u64) -> Destination {
        Destination::Queue(KeyData::from_ffi(1 << 32 | number).into())
    }

    fn name(text: &str) -> ShortStr {
        ShortStr::try_from(text).unwrap()
    }

    #[test]
    fn every_binding_gets_its_share_by_key_and_at_random() {
        let mut choice = Choice::default();
        choice.bind(queue(1), name("q1"));
        choice.bind(queue(2), name("q2"));
        choice.bind(queue(2), name("q2"));
        let mut random = Random::new(7);
        let (mut by_key, mut at_random) = (BTreeMap::new(), BTreeMap::new());
        for number in 0..3000 {
            *by_key.entry(choice.by_key(format!("key {number}").as_bytes())).or_insert(0) += 1;
            *at_random.entry(choice.at_random(&mut random)).or_insert(0) += 1;
        }
        for counts in [by_key, at_random] {
            assert!((850..1150).contains(&counts[&Some(queue(1))]), "{counts:?}");
            assert!((1850..2150).contains(&counts[&Some(queue(2))]), "{counts:?}");
        }
    }

    #[test]
    fn the_order_of_binding_does_not_matter() {
        let (mut one, mut other) = (Choice::default(), Choice::default());
        for number in 1..6 {
            one.bind(queue(number), name(&format!("q{number}")));
            // Another order, and other keys, as after a restart.
            other.bind(queue(16 - number), name(&format!("q{}", 6 - number)));
        }
        for number in 0..100 {
            let key = format!("{number}");
            let Some(Destination::Queue(left)) = one.by_key(key.as_bytes()) else { panic!() };
            let index = one.0.iter().position(|(_, destination)| *destination == Destination::Queue(left)).unwrap();
            assert_eq!(other.by_key(key.as_bytes()), Some(other.0[index].1));
        }
    }

    #[test]
    fn what_is_unbound_is_not_chosen() {
        let mut choice = Choice::default();
        assert_eq!(choice.by_key(b"k"), None);
        choice.bind(queue(1), name("q1"));
        choice.bind(queue(2), name("q2"));
        choice.unbind(queue(1));
        assert!((0..50_u8).all(|key| choice.by_key(&[key]) == Some(queue(2))));
        choice.unbind(queue(2));
        assert_eq!(choice.at_random(&mut Random::new(1)), None);
    }
}

//! Exchanges and bindings as far as one can be sure of them, and where a message must and may go.
//!
//! Between a request and its answer, and after a crash in between, a thing may or may not exist. Routing is done twice: over what
//! is certain (where a message must go) and over all that is possible (where it may go). It is written from the documents and as
//! plainly as possible: every binding is looked at.

use std::collections::BTreeMap;
use std::rc::Rc;

use smallvec::SmallVec;

use crate::message::{MessageNumber, colour, shape};

/// Queues, by index.
pub(crate) type QueueSet = SmallVec<[u32; 4]>;

/// Where a message goes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Route {
    /// Queues that certainly get it.
    pub(crate) certain: QueueSet,
    /// Queues that may get it besides.
    pub(crate) possible: QueueSet,
}

/// How sure one can be that a thing exists, and who changed it last: an answer to an older request proves nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Existence {
    pub(crate) is_certain: bool,
    pub(crate) last_change: u64,
}

impl Existence {
    /// It may go with something else. The answer to a request from before says nothing of what came after that request.
    fn doubt(&mut self) {
        *self = Self { is_certain: false, last_change: u64::MAX };
    }
}

#[derive(Debug)]
pub(crate) struct Exchange {
    kind: Kind,
    is_durable: bool,
    existence: Existence,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Direct,
    Fanout,
    Topic,
    Headers,
    ConsistentHash,
    Unknown,
}

/// What identifies a binding.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BindingKey {
    pub(crate) source: Box<[u8]>,
    pub(crate) destination: Destination,
    pub(crate) key: Box<[u8]>,
    pub(crate) arguments: Box<[u8]>,
}

/// Where a binding leads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Destination {
    Queue(u32),
    Exchange(Box<[u8]>),
}

/// What was seen on the way of a message.
#[derive(Debug, Default)]
struct Seen {
    /// An exchange that looks at the message itself.
    depends_on_message: bool,
    /// Something that may be otherwise than it seems, so that the message may go elsewhere too.
    doubts: bool,
}

/// Exchanges and bindings.
#[derive(Debug)]
pub(crate) struct Topology {
    exchanges: BTreeMap<Box<[u8]>, Exchange>,
    bindings: BTreeMap<BindingKey, Existence>,
    /// Routes by exchange and routing key, where the message itself does not matter.
    cache: BTreeMap<Box<[u8]>, Rc<Route>>,
}

impl Topology {
    /// The predeclared exchanges.
    pub(crate) fn new() -> Self {
        let mut exchanges = BTreeMap::new();
        for (name, kind) in [
            ("amq.direct", Kind::Direct),
            ("amq.fanout", Kind::Fanout),
            ("amq.topic", Kind::Topic),
            ("amq.headers", Kind::Headers),
            ("amq.match", Kind::Headers),
        ] {
            let existence = Existence { is_certain: true, last_change: 0 };
            exchanges.insert(name.as_bytes().into(), Exchange { kind, is_durable: true, existence });
        }
        Self { exchanges, bindings: BTreeMap::new(), cache: BTreeMap::new() }
    }

    /// All exchanges that somebody declared, and whether they are certainly there.
    pub(crate) fn exchanges(&self) -> impl Iterator<Item = (&[u8], bool)> {
        let made = self.exchanges.iter().filter(|(name, _)| !name.starts_with(b"amq."));
        made.map(|(name, exchange)| (&**name, exchange.existence.is_certain))
    }

    /// All bindings, and whether they are certainly there: with everything that they connect.
    pub(crate) fn bindings(&self) -> impl Iterator<Item = (&BindingKey, bool)> {
        self.bindings.iter().map(|(key, existence)| (key, existence.is_certain))
    }

    /// Forgets routes: something that they depend on has changed.
    pub(crate) fn touch(&mut self) {
        self.cache.clear();
    }

    pub(crate) fn declare_exchange(&mut self, name: &[u8], kind: &[u8], is_durable: bool, change: u64) {
        let kind = match kind {
            b"direct" => Kind::Direct,
            b"fanout" => Kind::Fanout,
            b"topic" => Kind::Topic,
            b"headers" => Kind::Headers,
            b"x-consistent-hash" => Kind::ConsistentHash,
            _ => Kind::Unknown,
        };
        self.touch();
        let existence = Existence { is_certain: false, last_change: change };
        self.exchanges
            .entry(name.into())
            .and_modify(|exchange| exchange.existence.last_change = change)
            .or_insert(Exchange { kind, is_durable, existence });
    }

    pub(crate) fn exchange_declared(&mut self, name: &[u8], change: u64) {
        self.touch();
        if let Some(exchange) = self.exchanges.get_mut(name)
            && exchange.existence.last_change == change
        {
            exchange.existence.is_certain = true;
        }
    }

    pub(crate) fn delete_exchange(&mut self, name: &[u8], change: u64) {
        self.touch();
        if let Some(exchange) = self.exchanges.get_mut(name) {
            exchange.existence = Existence { is_certain: false, last_change: change };
        }
        for (key, existence) in &mut self.bindings {
            if key.touches_exchange(name) {
                existence.doubt();
            }
        }
    }

    pub(crate) fn exchange_deleted(&mut self, name: &[u8], change: u64) {
        self.touch();
        if self.exchanges.get(name).is_some_and(|exchange| exchange.existence.last_change == change) {
            self.exchanges.remove(name);
            self.bindings.retain(|key, _| !key.touches_exchange(name));
        }
    }

    pub(crate) fn bind(&mut self, key: BindingKey, change: u64) {
        self.touch();
        let fresh = Existence { is_certain: false, last_change: change };
        self.bindings.entry(key).and_modify(|existence| existence.last_change = change).or_insert(fresh);
    }

    pub(crate) fn bound(&mut self, key: &BindingKey, change: u64) {
        self.touch();
        if let Some(existence) = self.bindings.get_mut(key)
            && existence.last_change == change
        {
            existence.is_certain = true;
        }
    }

    pub(crate) fn unbind(&mut self, key: &BindingKey, change: u64) {
        self.touch();
        if let Some(existence) = self.bindings.get_mut(key) {
            *existence = Existence { is_certain: false, last_change: change };
        }
    }

    pub(crate) fn unbound(&mut self, key: &BindingKey, change: u64) {
        self.touch();
        if self.bindings.get(key).is_some_and(|existence| existence.last_change == change) {
            self.bindings.remove(key);
        }
    }

    /// The queue's bindings may be gone.
    pub(crate) fn doubt_queue(&mut self, queue: u32) {
        self.touch();
        for (key, existence) in &mut self.bindings {
            if key.destination == Destination::Queue(queue) {
                existence.doubt();
            }
        }
    }

    /// The queue is gone with its bindings.
    pub(crate) fn remove_queue(&mut self, queue: u32) {
        self.touch();
        self.bindings.retain(|key, _| key.destination != Destination::Queue(queue));
    }

    /// Of what was on one node only what is durable is left. Exchanges are on no node, unless it is the only one: that may be so as
    /// long as the others have not come into the cluster.
    pub(crate) fn restart(&mut self, is_alone: bool, is_queue_durable: impl Fn(u32) -> bool) {
        self.touch();
        self.exchanges.retain(|_, exchange| exchange.is_durable || !is_alone);
        for (name, exchange) in self.exchanges.iter_mut().filter(|(_, exchange)| !exchange.is_durable) {
            exchange.existence.doubt();
            let its = self.bindings.iter_mut().filter(|(key, _)| key.touches_exchange(name));
            its.for_each(|(_, existence)| existence.doubt());
        }
        let exchanges = &self.exchanges;
        self.bindings.retain(|key, _| {
            exchanges.contains_key(&key.source)
                && match &key.destination {
                    Destination::Queue(queue) => is_queue_durable(*queue),
                    Destination::Exchange(name) => exchanges.contains_key(name),
                }
        });
    }

    /// Where a message goes. `queue` tells of a queue's name whether it exists: its index, and whether that is certain.
    pub(crate) fn route<'a>(
        &mut self,
        routing: &[u8],
        message: MessageNumber,
        queue: impl Fn(&[u8]) -> Option<(u32, bool)>,
        is_certain_queue: impl Fn(u32) -> Option<bool>,
        name_of: impl Fn(u32) -> &'a [u8],
    ) -> Rc<Route> {
        if let Some(route) = self.cache.get(routing) {
            return Rc::clone(route);
        }
        let (exchange, key) = crate::tap::split_routing(routing);
        let mut route = Route::default();
        if exchange.is_empty() {
            match queue(key) {
                Some((index, true)) => route.certain.push(index),
                Some((index, false)) => route.possible.push(index),
                None => {}
            }
            let route = Rc::new(route);
            self.cache.insert(routing.into(), Rc::clone(&route));
            return route;
        }
        let mut seen = Seen::default();
        let mut certain = self.reach(exchange, key, message, true, &mut seen, &name_of);
        let mut possible = match seen.doubts {
            false => certain.clone(),
            true => self.reach(exchange, key, message, false, &mut seen, &name_of),
        };
        certain.retain(|index| is_certain_queue(*index) == Some(true));
        possible.retain(|index| is_certain_queue(*index).is_some() && !certain.contains(index));
        let route = Rc::new(Route { certain, possible });
        if !seen.depends_on_message {
            self.cache.insert(routing.into(), Rc::clone(&route));
        }
        route
    }

    fn reach<'a>(
        &self,
        exchange: &[u8],
        key: &[u8],
        message: MessageNumber,
        certain_only: bool,
        seen: &mut Seen,
        name_of: &impl Fn(u32) -> &'a [u8],
    ) -> QueueSet {
        let mut queues = QueueSet::new();
        let mut exchanges: SmallVec<[&[u8]; 4]> = SmallVec::from_slice(&[exchange]);
        let mut next = 0;
        while next < exchanges.len() {
            let name = exchanges[next];
            next += 1;
            let Some(from) = self.exchanges.get(name) else { continue };
            if certain_only && !from.existence.is_certain {
                seen.doubts = true;
                continue;
            }
            seen.depends_on_message |= from.kind == Kind::Headers;
            let least = match from.kind {
                Kind::ConsistentHash => {
                    seen.doubts = true;
                    self.winning_draw(name, key, certain_only, name_of)
                }
                _ => 0,
            };
            for (binding, existence) in &self.bindings {
                if *binding.source != *name {
                    continue;
                }
                if certain_only && !existence.is_certain {
                    seen.doubts = true;
                    continue;
                }
                let is_match = match from.kind {
                    Kind::ConsistentHash => draw(&binding.destination, key, name_of) >= least,
                    kind => kind.matches(binding, key, message),
                };
                if !is_match {
                    continue;
                }
                match &binding.destination {
                    Destination::Queue(queue) if !queues.contains(queue) => queues.push(*queue),
                    Destination::Exchange(name) if !exchanges.contains(&&**name) => exchanges.push(name),
                    Destination::Queue(_) | Destination::Exchange(_) => {}
                }
            }
        }
        queues
    }

    /// What a destination of a consistent hash exchange has to draw, at least. It gets a message for certain if it wins against all
    /// that may be bound, and possibly if it wins against all that are. All have the same weight here.
    fn winning_draw<'a>(
        &self,
        exchange: &[u8],
        key: &[u8],
        certain_only: bool,
        name_of: &impl Fn(u32) -> &'a [u8],
    ) -> u64 {
        let bound = self
            .bindings
            .iter()
            .filter(|(binding, existence)| *binding.source == *exchange && (certain_only || existence.is_certain));
        bound.map(|(binding, _)| draw(&binding.destination, key, name_of)).max().unwrap_or(0)
    }
}

/// What a destination draws for a routing key (rendezvous hashing: the highest draw wins). The two hashes are FNV-1a and the finalizer
/// of SplitMix64, as their authors give them.
fn draw<'a>(destination: &Destination, key: &[u8], name_of: &impl Fn(u32) -> &'a [u8]) -> u64 {
    let mix = |z: u64| {
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let hash = |bytes: &[u8]| {
        let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, fnv))
    };
    let of_destination = match destination {
        Destination::Queue(index) => mix(hash(name_of(*index))),
        Destination::Exchange(name) => mix(hash(name) ^ 1),
    };
    mix(hash(key) ^ of_destination)
}

impl BindingKey {
    fn touches_exchange(&self, name: &[u8]) -> bool {
        *self.source == *name || matches!(&self.destination, Destination::Exchange(other) if **other == *name)
    }
}

impl Kind {
    fn matches(self, binding: &BindingKey, key: &[u8], message: MessageNumber) -> bool {
        match self {
            Self::Direct => *binding.key == *key,
            Self::Fanout => true,
            Self::Topic => {
                let pattern: Vec<&[u8]> = words(&binding.key);
                matches_topic(&pattern, &words(key))
            }
            Self::Headers => matches_headers(&binding.arguments, message),
            Self::ConsistentHash | Self::Unknown => false,
        }
    }
}

/// The words of a topic; an empty key has none.
fn words(key: &[u8]) -> Vec<&[u8]> {
    if key.is_empty() { Vec::new() } else { key.split(|&byte| byte == b'.').collect() }
}

/// RabbitMQ docs: Topic exchange. `*` is one word, `#` any number of them.
fn matches_topic(pattern: &[&[u8]], key: &[&[u8]]) -> bool {
    match (pattern.split_first(), key.split_first()) {
        (None, None) => true,
        (Some((&b"#", rest)), _) => {
            matches_topic(rest, key) || key.split_first().is_some_and(|(_, key)| matches_topic(pattern, key))
        }
        (Some((&b"*", rest)), Some((_, key))) => matches_topic(rest, key),
        (Some((word, rest)), Some((first, key))) => word == first && matches_topic(rest, key),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

/// RabbitMQ docs: Headers exchange. `arguments` is the encoded table of a binding as this simulator's clients make them.
fn matches_headers(arguments: &[u8], message: MessageNumber) -> bool {
    let mut any = false;
    let mut wanted: SmallVec<[bool; 4]> = SmallVec::new();
    let mut rest = arguments.get(4..).unwrap_or_default();
    while let [len, tail @ ..] = rest {
        let Some((name, tail)) = tail.split_at_checked(usize::from(*len)) else { break };
        let Some((kind, tail)) = tail.split_first() else { break };
        let Some((head, after)) = tail.split_at_checked(4) else { break };
        let number = u32::from_be_bytes(head.try_into().expect("four bytes"));
        rest = match kind {
            b'S' => {
                let Some((text, after)) = usize::try_from(number).ok().and_then(|len| after.split_at_checked(len))
                else {
                    break;
                };
                any |= name == b"x-match" && text == b"any";
                after
            }
            _ => {
                match name {
                    b"shape" => wanted.push(u32::from(shape(message)) == number),
                    b"colour" => wanted.push(u32::from(colour(message)) == number),
                    _ => wanted.push(false),
                }
                after
            }
        };
    }
    if any { wanted.contains(&true) } else { !wanted.contains(&false) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(pattern: &str, key: &str) -> bool {
        matches_topic(&words(pattern.as_bytes()), &words(key.as_bytes()))
    }

    #[test]
    fn topics_match_as_documented() {
        assert!(topic("#", "") && topic("#", "a.b") && topic("a.#", "a") && topic("a.*.c", "a.b.c"));
        assert!(topic("#.c", "a.b.c") && topic("*.#.c", "a.c") && topic("a.#.#", "a"));
        assert!(!topic("*", "") && !topic("a.*", "a") && !topic("a.*.c", "a.c") && !topic("b.#", "a.b"));
    }

    #[test]
    fn what_is_only_asked_for_is_possible_and_what_is_answered_is_certain() {
        let mut topology = Topology::new();
        let key = BindingKey {
            source: b"amq.fanout"[..].into(),
            destination: Destination::Queue(0),
            key: Box::default(),
            arguments: Box::default(),
        };
        let routing = [&[10][..], b"amq.fanout", &[0]].concat();
        let route = |topology: &mut Topology| {
            let route = topology.route(&routing, MessageNumber(0), |_| None, |_| Some(true), |_| b"q");
            (route.certain.len(), route.possible.len())
        };
        assert_eq!(route(&mut topology), (0, 0));
        topology.bind(key.clone(), 1);
        assert_eq!(route(&mut topology), (0, 1));
        topology.bound(&key, 1);
        assert_eq!(route(&mut topology), (1, 0));
        topology.unbind(&key, 2);
        assert_eq!(route(&mut topology), (0, 1));
        topology.bound(&key, 1);
        assert_eq!(route(&mut topology), (0, 1), "the answer to an older request proves nothing");
        topology.unbound(&key, 2);
        assert_eq!(route(&mut topology), (0, 0));
    }

    /// Whoever may be bound and would win makes doubtful what the others get; whoever would lose changes nothing.
    #[test]
    fn one_destination_of_a_consistent_hash_exchange_gets_a_message() {
        let mut topology = Topology::new();
        topology.declare_exchange(b"x", b"x-consistent-hash", true, 1);
        topology.exchange_declared(b"x", 1);
        let names: [&[u8]; 3] = [b"a", b"b", b"c"];
        let binding = |queue: u32| BindingKey {
            source: b"x"[..].into(),
            destination: Destination::Queue(queue),
            key: b"1"[..].into(),
            arguments: Box::default(),
        };
        for queue in 0..2 {
            topology.bind(binding(queue), 2);
            topology.bound(&binding(queue), 2);
        }
        let route = |topology: &mut Topology, key: u8| {
            let routing = [1, b'x', 1, key];
            topology.route(&routing, MessageNumber(0), |_| None, |_| Some(true), |queue| names[queue as usize])
        };
        let before: Vec<Rc<Route>> = (0..=u8::MAX).map(|key| route(&mut topology, key)).collect();
        assert!(before.iter().all(|route| route.certain.len() == 1 && route.possible.is_empty()));
        assert!((0..2).all(|queue| before.iter().filter(|route| route.certain[0] == queue).count() > 64));
        topology.bind(binding(2), 3);
        let mut doubtful = 0;
        for (key, before) in (0..=u8::MAX).zip(before) {
            let after = route(&mut topology, key);
            if after.certain.is_empty() {
                doubtful += 1;
                assert!(after.possible.len() == 2 && after.possible.contains(&2));
                assert!(after.possible.contains(&before.certain[0]));
            } else {
                assert!(after.certain == before.certain && after.possible.is_empty());
            }
        }
        assert!((32..160).contains(&doubtful), "{doubtful}");
    }
}

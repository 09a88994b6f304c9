//! Exchanges and bindings as far as one can be sure of them, and where a message must and may go.
//!
//! Between a request and its answer, and after a crash in between, a thing may or may not exist. Routing is done twice: over what
//! is certain (where a message must go) and over all that is possible (where it may go). It is written from the documents and as
//! plainly as possible: every binding is looked at.

use std::collections::BTreeMap;

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

/// Exchanges and bindings.
#[derive(Debug)]
pub(crate) struct Topology {
    exchanges: BTreeMap<Box<[u8]>, Exchange>,
    bindings: BTreeMap<BindingKey, Existence>,
    /// Routes by exchange and routing key, where the message itself does not matter.
    cache: BTreeMap<Box<[u8]>, Route>,
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
                existence.is_certain = false;
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
                existence.is_certain = false;
            }
        }
    }

    /// The queue is gone with its bindings.
    pub(crate) fn remove_queue(&mut self, queue: u32) {
        self.touch();
        self.bindings.retain(|key, _| key.destination != Destination::Queue(queue));
    }

    /// Only what is durable is left.
    pub(crate) fn restart(&mut self, is_queue_durable: impl Fn(u32) -> bool) {
        self.touch();
        self.exchanges.retain(|_, exchange| exchange.is_durable);
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
    pub(crate) fn route(
        &mut self,
        routing: &[u8],
        message: MessageNumber,
        queue: impl Fn(&[u8]) -> Option<(u32, bool)>,
        is_certain_queue: impl Fn(u32) -> Option<bool>,
    ) -> Route {
        if let Some(route) = self.cache.get(routing) {
            return route.clone();
        }
        let (exchange, key) = crate::tap::split_routing(routing);
        let mut route = Route::default();
        if exchange.is_empty() {
            match queue(key) {
                Some((index, true)) => route.certain.push(index),
                Some((index, false)) => route.possible.push(index),
                None => {}
            }
            self.cache.insert(routing.into(), route.clone());
            return route;
        }
        let mut depends_on_message = false;
        route.certain = self.reach(exchange, key, message, true, &mut depends_on_message);
        route.possible = self.reach(exchange, key, message, false, &mut depends_on_message);
        let mut possible = std::mem::take(&mut route.possible);
        let mut certain = std::mem::take(&mut route.certain);
        certain.retain(|index| is_certain_queue(*index) == Some(true));
        possible.retain(|index| is_certain_queue(*index).is_some() && !certain.contains(index));
        route = Route { certain, possible };
        if !depends_on_message {
            self.cache.insert(routing.into(), route.clone());
        }
        route
    }

    fn reach(
        &self,
        exchange: &[u8],
        key: &[u8],
        message: MessageNumber,
        certain_only: bool,
        depends_on_message: &mut bool,
    ) -> QueueSet {
        let mut queues = QueueSet::new();
        let mut seen: Vec<&[u8]> = vec![exchange];
        let mut next = 0;
        while next < seen.len() {
            let name = seen[next];
            next += 1;
            let Some(from) = self.exchanges.get(name) else { continue };
            if certain_only && !from.existence.is_certain {
                continue;
            }
            *depends_on_message |= from.kind == Kind::Headers;
            for (binding, existence) in &self.bindings {
                if *binding.source != *name || (certain_only && !existence.is_certain) {
                    continue;
                }
                if !from.kind.matches(binding, key, message) {
                    continue;
                }
                match &binding.destination {
                    Destination::Queue(queue) if !queues.contains(queue) => queues.push(*queue),
                    Destination::Exchange(name) if !seen.contains(&&**name) => seen.push(name),
                    Destination::Queue(_) | Destination::Exchange(_) => {}
                }
            }
        }
        queues
    }
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
            Self::Unknown => false,
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
            let route = topology.route(&routing, MessageNumber(0), |_| None, |_| Some(true));
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
}

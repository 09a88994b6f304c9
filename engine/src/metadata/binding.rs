//! Bindings: kept with their source, ordered by destination, so that all those of a destination are found together.

use alloc::vec::Vec;

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use super::{Exchange, Metadata};
use crate::amqp::{FieldTable, ShortStr};
use crate::routing::{Destination, ExchangeKey, QueueKey};

/// A binding as its source keeps it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Binding {
    pub(super) destination: Destination,
    pub(super) routing_key: ShortStr,
    /// The arguments, sorted by name and encoded: equal bytes are equal arguments. Empty if there are none.
    arguments: Bytes,
}

/// A binding, as an observer sees it.
#[derive(Clone, Debug)]
pub struct BindingView<'a> {
    /// The exchange that messages come from.
    pub source: &'a Exchange,
    /// Where they go.
    pub destination: Destination,
    /// Its name.
    pub destination_name: &'a ShortStr,
    /// The binding key.
    pub routing_key: &'a ShortStr,
    /// The arguments, sorted by name.
    pub arguments: FieldTable,
}

impl Binding {
    /// A binding with memory of its own.
    pub(super) fn new(destination: Destination, routing_key: &ShortStr, arguments: &FieldTable) -> Self {
        Self { destination, routing_key: routing_key.detached(), arguments: encode_sorted(arguments) }
    }

    pub(super) fn arguments(&self) -> FieldTable {
        if self.arguments.is_empty() {
            return FieldTable::new();
        }
        FieldTable::decode(self.arguments.clone()).expect("an encoded table can be decoded")
    }

    /// Not after any binding to `destination`.
    fn first_to(destination: Destination) -> Self {
        Self { destination, routing_key: ShortStr::new(), arguments: Bytes::new() }
    }
}

fn encode_sorted(arguments: &FieldTable) -> Bytes {
    if arguments.is_empty() {
        return Bytes::new();
    }
    let mut entries: Vec<_> = arguments.iter().cloned().collect();
    entries.sort_by(|(left, _), (right, _)| left.cmp(right));
    let mut encoded = BytesMut::new();
    entries.into_iter().collect::<FieldTable>().encode(&mut encoded);
    encoded.freeze()
}

/// The exchanges that have bindings to one destination, each with the number of these bindings.
#[derive(Clone, Debug, Default)]
pub(super) struct Inbound(SmallVec<[(ExchangeKey, u32); 1]>);

impl Inbound {
    fn add(&mut self, source: ExchangeKey) {
        match self.find(source) {
            Ok(index) => self.0[index].1 += 1,
            Err(index) => self.0.insert(index, (source, 1)),
        }
    }

    fn remove(&mut self, source: ExchangeKey) {
        let index = self.find(source).expect("the source has a binding to here");
        let count = &mut self.0[index].1;
        *count -= 1;
        if *count == 0 {
            self.0.remove(index);
        }
    }

    pub(super) fn sources(&self) -> impl Iterator<Item = ExchangeKey> {
        self.0.iter().map(|&(source, _)| source)
    }

    fn find(&self, source: ExchangeKey) -> Result<usize, usize> {
        self.0.binary_search_by_key(&source, |&(source, _)| source)
    }
}

impl Exchange {
    /// Bindings from here to `destination`.
    fn bindings_to(&self, destination: Destination) -> impl Iterator<Item = &Binding> {
        let is_to = move |binding: &&Binding| binding.destination == destination;
        self.bindings.range(Binding::first_to(destination)..).take_while(is_to)
    }
}

impl Metadata {
    /// All bindings, ordered by vhost, source, destination (queues first), key and arguments. Without those of the default exchange,
    /// which nobody made. Sorts them: for listings and snapshots.
    pub fn bindings(&self) -> Vec<BindingView<'_>> {
        let sources = self.exchanges_that(|exchange| !exchange.bindings.is_empty());
        sources.into_iter().flat_map(|(key, _)| self.bindings_from(key)).collect()
    }

    /// The bindings of which an exchange is the source, ordered by destination (queues first), key and arguments.
    pub fn bindings_from(&self, source: ExchangeKey) -> Vec<BindingView<'_>> {
        let Some(exchange) = self.exchanges.get(source) else {
            return Vec::new();
        };
        let mut views: Vec<_> =
            exchange.bindings.iter().map(|binding| (binding, self.view(exchange, binding))).collect();
        views.sort_by(|(left, left_view), (right, right_view)| {
            let is_exchange = |view: &BindingView<'_>| matches!(view.destination, Destination::Exchange(_));
            is_exchange(left_view)
                .cmp(&is_exchange(right_view))
                .then_with(|| left_view.destination_name.cmp(right_view.destination_name))
                .then_with(|| left.cmp(right))
        });
        views.into_iter().map(|(_, view)| view).collect()
    }

    /// The bindings that lead to a queue, ordered by source, key and arguments.
    pub fn bindings_to_queue(&self, queue: QueueKey) -> Vec<BindingView<'_>> {
        self.queues
            .get(queue)
            .map_or_else(Vec::new, |record| self.bindings_to(Destination::Queue(queue), &record.inbound))
    }

    /// The bindings that lead to an exchange, ordered by source, key and arguments.
    pub fn bindings_to_exchange(&self, exchange: ExchangeKey) -> Vec<BindingView<'_>> {
        let record = self.exchanges.get(exchange);
        record.map_or_else(Vec::new, |record| self.bindings_to(Destination::Exchange(exchange), &record.inbound))
    }

    fn bindings_to(&self, destination: Destination, inbound: &Inbound) -> Vec<BindingView<'_>> {
        let mut sources: Vec<&Exchange> = inbound.sources().map(|source| &self.exchanges[source]).collect();
        sources.sort_by(|left, right| left.name.cmp(&right.name));
        let views = sources
            .into_iter()
            .flat_map(|source| source.bindings_to(destination).map(move |binding| self.view(source, binding)));
        views.collect()
    }

    fn view<'a>(&'a self, source: &'a Exchange, binding: &'a Binding) -> BindingView<'a> {
        let destination_name = match binding.destination {
            Destination::Queue(key) => &self.queues[key].name,
            Destination::Exchange(key) => &self.exchanges[key].name,
        };
        BindingView {
            source,
            destination: binding.destination,
            destination_name,
            routing_key: &binding.routing_key,
            arguments: binding.arguments(),
        }
    }

    /// Adds a binding that is not there.
    pub(super) fn add_binding(&mut self, source: ExchangeKey, binding: Binding) {
        self.inbound_mut(binding.destination).add(source);
        let name = match binding.destination {
            Destination::Queue(key) => self.queues[key].name.clone(),
            Destination::Exchange(key) => self.exchanges[key].name.clone(),
        };
        let exchange = &mut self.exchanges[source];
        exchange.table.bind(binding.destination, &name, binding.routing_key.as_bytes(), || binding.arguments());
        let is_new = exchange.bindings.insert(binding);
        assert!(is_new, "a binding was added twice");
        self.version += 1;
    }

    /// Removes a binding that is there.
    pub(super) fn remove_binding(&mut self, source: ExchangeKey, binding: &Binding) {
        self.detach_binding(source, binding);
        self.inbound_mut(binding.destination).remove(source);
    }

    /// Removes all bindings from `source` to `destination`, which does not exist any more.
    pub(super) fn remove_bindings_to(&mut self, source: ExchangeKey, destination: Destination) {
        let bindings: Vec<Binding> = self.exchanges[source].bindings_to(destination).cloned().collect();
        for binding in &bindings {
            self.detach_binding(source, binding);
        }
    }

    /// Forgets at their destinations the bindings of a source that does not exist any more.
    pub(super) fn forget_source(&mut self, source: ExchangeKey, exchange: &Exchange) {
        for binding in &exchange.bindings {
            if binding.destination != Destination::Exchange(source) {
                self.inbound_mut(binding.destination).remove(source);
            }
        }
        self.version += 1;
    }

    fn detach_binding(&mut self, source: ExchangeKey, binding: &Binding) {
        let exchange = &mut self.exchanges[source];
        let was_there = exchange.bindings.remove(binding);
        assert!(was_there, "only what was bound is unbound");
        exchange.table.unbind(binding.destination, binding.routing_key.as_bytes(), || binding.arguments());
        self.version += 1;
    }

    fn inbound_mut(&mut self, destination: Destination) -> &mut Inbound {
        match destination {
            Destination::Queue(key) => &mut self.queues[key].inbound,
            Destination::Exchange(key) => &mut self.exchanges[key].inbound,
        }
    }

    /// Each binding is known at both ends.
    pub(super) fn check_binding_invariants(&self) {
        let mut outbound = 0_u64;
        for (source, exchange) in &self.exchanges {
            assert!(!exchange.is_default() || !exchange.is_in_use(), "the default exchange has a binding");
            for binding in &exchange.bindings {
                let inbound = match binding.destination {
                    Destination::Queue(key) => &self.queues[key].inbound,
                    Destination::Exchange(key) => &self.exchanges[key].inbound,
                };
                assert!(inbound.find(source).is_ok(), "a destination does not know exchange {}", exchange.name);
                outbound += 1;
            }
        }
        let queues = self.queues.values().map(|queue| &queue.inbound);
        let inbound = queues.chain(self.exchanges.values().map(|exchange| &exchange.inbound));
        let counted: u64 = inbound.flat_map(|inbound| &inbound.0).map(|&(_, count)| u64::from(count)).sum();
        assert_eq!(counted, outbound, "sources and destinations count different numbers of bindings");
    }
}

//! Random histories against a plain model.

use super::*;

/// What a history does, in the plainest terms.
#[derive(Clone, Debug, Default)]
struct Model {
    /// Type, auto-delete, durable.
    exchanges: BTreeMap<String, (ExchangeKind, bool, bool)>,
    /// Durable.
    queues: BTreeMap<String, bool>,
    /// Source, destination, key, which of `ARGUMENTS`.
    bindings: BTreeSet<(String, String, &'static str, usize)>,
}

#[derive(Clone, Debug)]
enum Op {
    Exchange {
        name: usize,
        kind: usize,
        auto_delete: bool,
        durable: bool,
    },
    DeleteExchange(usize),
    Queue {
        name: usize,
        durable: bool,
    },
    DeleteQueue(usize),
    Bind {
        source: usize,
        destination: usize,
        key: usize,
        arguments: usize,
    },
    Unbind {
        source: usize,
        destination: usize,
        key: usize,
        arguments: usize,
    },
    /// One of those that exist; a random one hardly ever does.
    UnbindExisting(usize),
}

const EXCHANGES: [&str; 5] = ["e0", "e1", "e2", "amq.topic", "amq.match"];
/// The types that have an answer for each binding.
const EVERY_MATCH: [ExchangeKind; 5] = [
    ExchangeKind::Direct,
    ExchangeKind::Fanout,
    ExchangeKind::Topic,
    ExchangeKind::Headers,
    ExchangeKind::RecentHistory,
];
const QUEUES: [&str; 3] = ["q0", "q1", "q2"];
const KEYS: [&str; 6] = ["a", "a.b", "*", "#", "a.#", "#.b.#"];

fn arguments(index: usize) -> FieldTable {
    match index {
        0 => FieldTable::new(),
        1 => FieldTable::new().with("h", 1),
        2 => FieldTable::new().with("x-match", "any").with("h", 2).with("i", FieldValue::Void),
        _ => FieldTable::new().with("h", 1).with("x-h", 2),
    }
}

impl Model {
    fn new() -> Self {
        let mut model = Self::default();
        model.exchanges.insert("amq.topic".into(), (ExchangeKind::Topic, false, true));
        model.exchanges.insert("amq.match".into(), (ExchangeKind::Headers, false, true));
        model
    }

    fn exists(&self, name: &str) -> bool {
        self.exchanges.contains_key(name) || self.queues.contains_key(name)
    }

    /// Removes bindings, and what goes with them.
    fn remove(&mut self, is_gone: impl Fn(&(String, String, &'static str, usize)) -> bool) {
        let gone: Vec<_> = self.bindings.iter().filter(|binding| is_gone(binding)).cloned().collect();
        for binding in &gone {
            self.bindings.remove(binding);
        }
        for (source, ..) in gone {
            let is_auto_delete = self.exchanges.get(&source).is_some_and(|exchange| exchange.1);
            if is_auto_delete && !self.bindings.iter().any(|binding| binding.0 == source) {
                self.delete_exchange(&source);
            }
        }
    }

    fn delete_exchange(&mut self, name: &str) {
        self.exchanges.remove(name);
        self.remove(|(source, destination, ..)| source == name || destination == name);
    }

    fn route(&self, exchange: &str, key: &str, headers: &FieldTable) -> Vec<String> {
        let (mut seen, mut work) = (BTreeSet::from([exchange.to_owned()]), vec![exchange.to_owned()]);
        while let Some(source) = work.pop() {
            let Some((kind, ..)) = self.exchanges.get(&source) else { continue };
            for (from, to, binding_key, index) in &self.bindings {
                let matches = match kind {
                    ExchangeKind::Direct => *binding_key == key,
                    ExchangeKind::Fanout | ExchangeKind::RecentHistory => true,
                    ExchangeKind::Topic => topic_matches(binding_key, key),
                    ExchangeKind::Headers => headers_match(*index, headers),
                    _ => unreachable!("the others choose one binding"),
                };
                if *from == source && matches && seen.insert(to.clone()) {
                    work.push(to.clone());
                }
            }
        }
        seen.into_iter().filter(|name| self.queues.contains_key(name)).collect()
    }
}

/// Only for the keys that occur here.
fn topic_matches(pattern: &str, key: &str) -> bool {
    let words: Vec<&str> = key.split('.').collect();
    match pattern {
        "*" => words.len() == 1,
        "#" => true,
        "a.#" => words[0] == "a",
        "#.b.#" => words.contains(&"b"),
        literal => literal == key,
    }
}

fn headers_match(index: usize, headers: &FieldTable) -> bool {
    match index {
        0 => true,
        2 => headers.get("h") == Some(&2.into()) || headers.get("i").is_some(),
        _ => headers.get("h") == Some(&1.into()),
    }
}

fn op() -> impl Strategy<Value = Op> {
    let ends = || (0..5_usize, 0..8_usize, 0..KEYS.len(), 0..4_usize);
    prop_oneof![
        3 => (0..3_usize, 0..EVERY_MATCH.len(), any::<bool>(), any::<bool>())
            .prop_map(|(name, kind, auto_delete, durable)| Op::Exchange { name, kind, auto_delete, durable }),
        1 => (0..3_usize).prop_map(Op::DeleteExchange),
        3 => (0..3_usize, any::<bool>()).prop_map(|(name, durable)| Op::Queue { name, durable }),
        1 => (0..3_usize).prop_map(Op::DeleteQueue),
        8 => ends().prop_map(|(source, destination, key, arguments)| Op::Bind { source, destination, key, arguments }),
        4 => any::<usize>().prop_map(Op::UnbindExisting),
        1 => ends().prop_map(|(source, destination, key, arguments)| Op::Unbind { source, destination, key, arguments }),
    ]
}

fn end(index: usize) -> &'static str {
    EXCHANGES.get(index).copied().unwrap_or_else(|| QUEUES[index - EXCHANGES.len()])
}

/// What a running node has, and what it wrote to its log.
struct Logged {
    node: Node,
    log: Vec<bytes::Bytes>,
}

impl Logged {
    fn run(&mut self, command: Command) {
        let mut write = |command: &Command| {
            let mut encoded = bytes::BytesMut::new();
            command.encode(&mut encoded);
            self.log.push(encoded.freeze());
        };
        let Ok(answer) = self.node.metadata.check(&command, None) else {
            assert!(self.node.metadata.apply(command).is_err());
            return;
        };
        if answer == Answer::NeedsApply && self.node.metadata.is_durable(&command) {
            write(&command);
        }
        let changes = self.node.metadata.apply(command).unwrap();
        assert_eq!(changes.list.is_empty(), answer == Answer::AlreadySo);
        changes.also_log.iter().for_each(write);
    }
}

fn run(op: &Op, logged: &mut Logged, model: &mut Model) {
    match *op {
        Op::Exchange { name, kind, auto_delete, durable } => {
            let kind = EVERY_MATCH[kind];
            let flags = format!("{}{}", if auto_delete { "a" } else { "" }, if durable { "d" } else { "" });
            logged.run(exchange_with(EXCHANGES[name], kind.name(), &flags, FieldTable::new()));
            model.exchanges.entry(EXCHANGES[name].into()).or_insert((kind, auto_delete, durable));
        }
        Op::DeleteExchange(name) => {
            logged.run(delete_exchange(EXCHANGES[name]));
            model.delete_exchange(EXCHANGES[name]);
        }
        Op::Queue { name, durable } => {
            let flags = if durable { "d" } else { "" };
            let command = queue_with(&mut logged.node.metadata, QUEUES[name], flags, FieldTable::new());
            logged.run(command);
            model.queues.entry(QUEUES[name].into()).or_insert(durable);
        }
        Op::DeleteQueue(name) => {
            if model.queues.remove(QUEUES[name]).is_some() {
                let command = logged.node.delete_queue_command(QUEUES[name]);
                logged.run(command);
                model.remove(|(_, destination, ..)| destination == QUEUES[name]);
            }
        }
        Op::Bind { source, destination, key, arguments: index } => {
            let (source, destination, key) = (EXCHANGES[source], end(destination), KEYS[key]);
            logged.run(bind_with(source, destination, key, arguments(index)));
            if model.exists(source) && model.exists(destination) {
                model.bindings.insert((source.into(), destination.into(), key, index));
            }
        }
        Op::Unbind { source, destination, key, arguments: index } => {
            let (source, destination, key) = (EXCHANGES[source], end(destination), KEYS[key]);
            logged.run(unbind_with(source, destination, key, arguments(index)));
            let gone = (source.to_owned(), destination.to_owned(), key, index);
            model.remove(|binding| *binding == gone);
        }
        Op::UnbindExisting(nth) => {
            let Some(nth) = nth.checked_rem(model.bindings.len()) else { return };
            let gone = model.bindings.iter().nth(nth).unwrap().clone();
            logged.run(unbind_with(&gone.0, &gone.1, gone.2, arguments(gone.3)));
            model.remove(|binding| *binding == gone);
        }
    }
}

proptest! {
    #[test]
    fn random_histories_agree_with_the_model(ops in proptest::collection::vec(op(), 1..60)) {
        let mut logged = Logged { node: Node::new(), log: Vec::new() };
        let mut model = Model::new();
        for op in &ops {
            run(op, &mut logged, &mut model);
            logged.node.metadata.check_invariants();
        }

        // The same things exist.
        let node = &mut logged.node;
        let names: Vec<_> = node.metadata.queues().iter().map(|(_, queue)| queue.name.to_string()).collect();
        prop_assert_eq!(names, model.queues.keys().cloned().collect::<Vec<_>>());
        for name in EXCHANGES {
            prop_assert_eq!(node.has_exchange(name), model.exchanges.contains_key(name), "exchange {}", name);
        }
        let mut bindings: Vec<_> = node.metadata.bindings().iter()
            .map(|view| (view.source.name.to_string(), view.destination_name.to_string(), view.routing_key.to_string()))
            .collect();
        bindings.sort();
        let expected: Vec<_> = model.bindings.iter().map(|(s, d, k, _)| (s.clone(), d.clone(), k.to_string())).collect();
        prop_assert_eq!(bindings, expected);

        // Messages take the same ways.
        for exchange in model.exchanges.keys() {
            for key in ["a", "b", "a.b", "b.a.c"] {
                for headers in [FieldTable::new(), FieldTable::new().with("h", 1), FieldTable::new().with("h", 2), FieldTable::new().with("i", 5)] {
                    let expected = model.route(exchange, key, &headers);
                    prop_assert_eq!(node.route_with(exchange, &[key], &headers), expected, "{} {} {:?}", exchange, key, headers);
                }
            }
        }

        // The snapshot holds what is durable, and so does the log.
        let snapshot = node.metadata.snapshot();
        let restored = Metadata::restore(snapshot.clone(), 99).unwrap();
        restored.check_invariants();
        prop_assert_eq!(&restored.snapshot(), &snapshot);
        let mut replayed = Metadata::new(99);
        for command in logged.log {
            prop_assert_eq!(command[0], 1, "programs that know no clusters can read it");
            replayed.replay(Command::decode(command).unwrap()).unwrap();
        }
        replayed.check_invariants();
        let last_id = node.metadata.allocate_queue_id();
        replayed.skip_queue_ids(QueueId(last_id.0 - 1));
        prop_assert_eq!(replayed.snapshot(), snapshot);
    }
}

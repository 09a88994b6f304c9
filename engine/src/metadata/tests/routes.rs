//! Where messages go, and what listings say of it.

use super::*;

#[test]
fn the_default_exchange_knows_every_queue_by_name() {
    let mut node = Node::new();
    node.queue("q");
    node.queue("other");
    assert_eq!(node.route("", "q"), ["q"]);
    assert_eq!(node.route("", "nope"), [""; 0]);
    assert_eq!(node.route_with("", &["q", "other", "q", "nope"], &FieldTable::new()), ["other", "q"]);
    node.delete_queue("q");
    assert_eq!(node.route("", "q"), [""; 0]);
}

/// RabbitMQ docs: Exchange to Exchange Bindings.
#[test]
fn one_copy_per_queue_however_many_ways_lead_there() {
    let mut node = Node::new();
    node.queue("q");
    node.queue("r");
    for name in ["ea", "eb"] {
        node.apply(exchange(name, "direct"));
        node.apply(bind(name, "q", "k"));
    }
    node.apply(bind("ea", "eb", "k"));
    node.apply(bind("eb", "ea", "k"));
    node.apply(bind("ea", "ea", "k"));
    node.apply(bind("eb", "r", "k"));
    assert_eq!(node.route("ea", "k"), ["q", "r"]);
    for key in ["*.b", "a.*", "#", "a.b"] {
        node.apply(bind("amq.topic", "q", key));
    }
    assert_eq!(node.route("amq.topic", "a.b"), ["q"]);
}

/// RabbitMQ docs: Alternate Exchanges.
#[test]
fn what_matches_nothing_goes_to_the_alternate_exchange() {
    let mut node = Node::new();
    node.queue("q");
    node.queue("r");
    let alternate = |name: &str| FieldTable::new().with("alternate-exchange", name);
    node.apply(exchange("ef", "fanout"));
    node.apply(bind("ef", "r", ""));
    node.apply(exchange_with("ea", "direct", "", alternate("ef")));
    node.apply(bind("ea", "q", "k"));
    assert_eq!(node.route("ea", "k"), ["q"]);
    assert_eq!(node.route("ea", "x"), ["r"]);
    // One key that matches is enough.
    assert_eq!(node.route_with("ea", &["x", "k"], &FieldTable::new()), ["q"]);
    // So is an exchange that leads nowhere.
    node.apply(exchange("en", "direct"));
    node.apply(bind("ea", "en", "n"));
    assert_eq!(node.route("ea", "n"), [""; 0]);
    // A missing one, a circle, and the default exchange.
    node.apply(exchange_with("e1", "direct", "", alternate("nope")));
    node.apply(exchange_with("e2", "direct", "", alternate("e3")));
    node.apply(exchange_with("e3", "direct", "", alternate("e2")));
    node.apply(exchange_with("e4", "direct", "", alternate("")));
    for name in ["e1", "e2", "e3", "e4"] {
        assert_eq!(node.route(name, "q"), [""; 0]);
    }
}

#[test]
fn the_version_grows_when_routes_change_and_only_then() {
    let mut node = Node::new();
    node.queue("q");
    let version = node.metadata.version();
    assert_eq!(node.metadata.apply(unbind("amq.direct", "q", "k")), Ok(Changes::default()));
    assert!(node.metadata.apply(bind("amq.direct", "nope", "k")).is_err());
    assert_eq!(node.metadata.version(), version);
    node.apply(bind("amq.direct", "q", "k"));
    let bound = node.metadata.version();
    assert!(bound > version);
    node.delete_queue("q");
    assert!(node.metadata.version() > bound);
}

#[test]
fn listings_are_ordered_by_name() {
    let mut node = Node::new();
    for name in ["z", "b", "a"] {
        node.queue(name);
    }
    node.apply(exchange("e", "fanout"));
    for destination in ["z", "amq.topic", "b"] {
        node.apply(bind("e", destination, "k"));
    }
    node.apply(bind("amq.direct", "b", "k"));
    let queues: Vec<_> = node.metadata.queues().iter().map(|(_, queue)| queue.name.to_string()).collect();
    assert_eq!(queues, ["a", "b", "z"]);
    let show = |bindings: Vec<BindingView<'_>>| -> Vec<String> {
        bindings.iter().map(|binding| format!("{} {}", binding.source.name, binding.destination_name)).collect()
    };
    assert_eq!(show(node.metadata.bindings()), ["amq.direct b", "e b", "e z", "e amq.topic"]);
    let (b, _) = node.metadata.queue(node.vhost(), b"b").unwrap();
    assert_eq!(show(node.metadata.bindings_to_queue(b)), ["amq.direct b", "e b"]);
    let (topic, _) = node.metadata.exchange(node.vhost(), b"amq.topic").unwrap();
    assert_eq!(show(node.metadata.bindings_to_exchange(topic)), ["e amq.topic"]);
}

#[test]
fn exchanges_that_choose_refuse_what_they_cannot_use() {
    let mut node = Node::new();
    node.apply(exchange("e", "x-consistent-hash"));
    node.apply(exchange("e1", "x-local-random"));
    node.queue("q");
    let refusal = |node: &Node, command: &Command| node.check(command).unwrap_err();
    assert_eq!(refusal(&node, &bind("e", "q", "a")), "406 The binding key must be an integer: <<\"a\">>");
    assert_eq!(refusal(&node, &bind("e", "q", "0")), "406 The binding key must be greater than 0");
    assert_eq!(refusal(&node, &bind("e1", "q", "a")), "406 Non empty binding 'a' key not permitted");
    assert_eq!(refusal(&node, &bind("e1", "e", "")), "406 Destination not found");
    let bad = exchange_with("e2", "x-consistent-hash", "", FieldTable::new().with("hash-property", "app_id"));
    assert_eq!(refusal(&node, &bad), "406 Unsupported property: app_id");
    let bad = exchange_with("e2", "x-recent-history", "", FieldTable::new().with("x-recent-history-length", 0));
    assert_eq!(refusal(&node, &bad), "406 Invalid argument 0, 'x-recent-history-length' must be a positive integer");
}

proptest! {
    /// Issue 17255: what is deleted leaves no share behind that would swallow messages, however it goes; and a restart sends every key
    /// where it went before.
    #[test]
    fn one_binding_gets_each_message_as_long_as_there_is_one(
        kind in prop::sample::select(vec!["x-consistent-hash", "x-modulus-hash", "x-random"]),
        ops in proptest::collection::vec((0..4_usize, 0..6_usize, 1..4_u8), 1..60),
    ) {
        let mut node = Node::new();
        node.apply(exchange_with("e", kind, "d", FieldTable::new()));
        let mut there = BTreeSet::new();
        let mut bound = BTreeSet::new();
        for (what, index, weight) in ops {
            let (name, key) = (["q0", "q1", "q2", "q3", "e0", "e1"][index], weight.to_string());
            match what {
                0 if there.insert(name) => match name.strip_prefix('e') {
                    Some(_) => {
                        node.apply(exchange_with(name, "fanout", "d", FieldTable::new()));
                        // Where its messages are seen.
                        node.queue_with(&format!("q{name}"), "d", FieldTable::new());
                        node.apply(bind(name, &format!("q{name}"), ""));
                    }
                    None => drop(node.queue_with(name, "d", FieldTable::new())),
                },
                1 if there.contains(name) && bound.insert((name, key.clone())) => drop(node.apply(bind("e", name, &key))),
                2 if bound.remove(&(name, key.clone())) => drop(node.apply(unbind("e", name, &key))),
                3 if there.remove(name) => {
                    bound.retain(|(other, _)| *other != name);
                    if name.starts_with('e') {
                        node.apply(delete_exchange(name));
                        node.delete_queue(&format!("q{name}"));
                    } else {
                        node.delete_queue(name);
                    }
                }
                _ => {}
            }
            let expected: BTreeSet<_> =
                bound.iter().map(|(name, _)| if name.starts_with('e') { format!("q{name}") } else { (*name).to_owned() }).collect();
            let mut restarted =
                Node { metadata: Metadata::restore(node.metadata.snapshot(), 2).unwrap(), scratch: RouteScratch::default() };
            for key in ["a", "b", "c", "d"] {
                let found = node.route("e", key);
                prop_assert_eq!(found.len(), usize::from(!expected.is_empty()));
                prop_assert!(found.iter().all(|name| expected.contains(name)), "{:?} of {:?}", found, expected);
                if kind != "x-random" {
                    prop_assert_eq!(restarted.route("e", key), found);
                }
            }
        }
    }
}

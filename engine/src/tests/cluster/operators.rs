//! What operators see of queues, and do with what is in them, on any node.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::quorum::{next, publish_confirmed, publisher, quorum, replicas};
use super::remote::{consume, make};
use super::world::{At, World, name};
use super::{administration, ask, declare, short};
use crate::amqp::method::basic;
use crate::ids::AdminId;
use crate::input::Input;
use crate::management::{
    AdminErrorKind, AdminReply, ConnectionRequest, ConnectionSelection, QueueInfo, QueueName, QueueRequest, QueueState,
    Selection,
};

fn named(queue: &str) -> QueueName {
    QueueName { vhost: short("/"), name: short(queue) }
}

pub(super) fn listed(world: &mut World, at: At) -> Vec<QueueInfo> {
    match administration::ask(world, at, QueueRequest::List { vhost: None }) {
        Ok(AdminReply::Queues(queues)) => queues,
        other => panic!("{other:?}"),
    }
}

/// The bodies that wait, with their places.
fn peeked(world: &mut World, at: At, queue: &str, selection: Selection) -> Vec<(u64, String)> {
    match administration::ask(world, at, QueueRequest::Peek { queue: named(queue), selection }) {
        Ok(AdminReply::Messages(messages)) => messages
            .into_iter()
            .map(|message| (message.seq.0, String::from_utf8(message.body.to_vec()).unwrap()))
            .collect(),
        other => panic!("{other:?}"),
    }
}

/// Three nodes with a classic queue on the first, and a replicated one, each with three messages.
fn three_with_queues(seed: u64) -> World {
    let mut world = World::new(seed, 3, 3);
    world.until("a cluster", World::is_agreed);
    make(&mut world, 0, declare("classic", true));
    make(&mut world, 0, quorum("replicated", &[]));
    let client = publisher(&mut world, 1);
    for queue in ["classic", "replicated"] {
        for body in ["one", "two", "three"] {
            publish_confirmed(&mut world, 1, client, queue, body);
        }
    }
    world.until("a leader", |world| (0..3).any(|at| replicas(world, at).iter().any(|replica| replica.leads)));
    world.until("all replicas to have them", |world| (0..3).all(|at| replicas(world, at)[0].ready == 3));
    world
}

#[test]
fn all_queues_are_listed_on_all_nodes() {
    let mut world = three_with_queues(51);
    let all: Vec<String> = (0..3).map(name).collect();
    for at in 0..3 {
        let queues = listed(&mut world, at);
        let [classic, replicated] = &queues[..] else { panic!("{queues:?}") };
        assert_eq!((classic.kind, classic.messages_ready, classic.state), ("classic", 3, QueueState::Running));
        assert_eq!((&classic.leader, classic.members.len(), classic.is_local), (&None, 0, at == 0));
        assert_eq!((replicated.kind, replicated.messages_ready), ("quorum", 3));
        let sorted = |mut names: Vec<String>| {
            names.sort();
            names
        };
        assert_eq!(sorted(replicated.members.clone()), all);
        assert_eq!(sorted(replicated.online.clone()), all);
        assert!(replicated.leader.as_ref().is_some_and(|leader| all.contains(leader)) && replicated.is_local);
    }
    world.crash(0, false);
    let without = |world: &World, at: At| {
        let cluster = world.nodes[at].engine.as_ref().unwrap().broker.peers.as_ref().unwrap().cluster();
        cluster.nodes().filter(|(id, _)| cluster.is_linked(*id)).count()
    };
    world.until("the others to see it", |world| without(world, 1) == 1);
    let queues = listed(&mut world, 1);
    assert_eq!((queues[0].state, queues[0].is_local), (QueueState::Down, false));
    assert_eq!(queues[1].online.len(), 2);
    world.crash(2, false);
    world.until("the last one to see it", |world| without(world, 1) == 0);
    let queues = listed(&mut world, 1);
    // What the replica here has is shown.
    assert!(matches!(queues[1].state, QueueState::Minority | QueueState::Running), "{queues:?}");
    assert_eq!((queues[1].online.len(), queues[1].messages_ready), (1, 3));
}

#[test]
fn queues_are_looked_into_and_purged_from_any_node() {
    let mut world = three_with_queues(52);
    for at in 0..3 {
        let some = Selection { offset: 1, count: Some(5), message_id: None };
        let seen = peeked(&mut world, at, "replicated", some.clone());
        assert_eq!(seen, [(2, String::from("two")), (3, String::from("three"))]);
        let bodies: Vec<String> = peeked(&mut world, at, "classic", some).into_iter().map(|(_, body)| body).collect();
        assert_eq!(bodies, ["two", "three"]);
        let none = Selection { message_id: Some(short("nobody's")), ..Selection::default() };
        assert_eq!(peeked(&mut world, at, "replicated", none), []);
    }
    let count = |world: &mut World, at, request| administration::ask(world, at, request).unwrap();
    let first = QueueRequest::Purge { queue: named("classic"), count: Some(1) };
    assert_eq!(count(&mut world, 2, first), AdminReply::Count(1));
    let selection = Selection { count: Some(1), ..Selection::default() };
    let delete = QueueRequest::DeleteMessages { queue: named("classic"), selection: selection.clone() };
    assert_eq!(count(&mut world, 1, delete), AdminReply::Count(1));
    assert_eq!(peeked(&mut world, 2, "classic", Selection::default()).len(), 1);
    let delete = QueueRequest::DeleteMessages { queue: named("replicated"), selection };
    let refused = administration::ask(&mut world, 1, delete).unwrap_err();
    assert!(refused.text.starts_with("queue 'replicated' in vhost '/' is replicated"), "{}", refused.text);
    for queue in ["classic", "replicated"] {
        let left = if queue == "classic" { 1 } else { 3 };
        let purge = QueueRequest::Purge { queue: named(queue), count: None };
        assert_eq!(count(&mut world, 2, purge), AdminReply::Count(left), "{queue}");
    }
    assert!(listed(&mut world, 1).iter().all(|queue| queue.messages_ready == 0));
    for queue in ["classic", "replicated"] {
        let client = publisher(&mut world, 1);
        publish_confirmed(&mut world, 1, client, queue, "four");
        let delete = QueueRequest::Delete { queue: named(queue), if_empty: true, if_unused: true };
        let refused = administration::ask(&mut world, 2, delete.clone()).unwrap_err();
        assert!(refused.text.ends_with("is not empty"), "{}", refused.text);
        let purge = QueueRequest::Purge { queue: named(queue), count: None };
        assert_eq!(count(&mut world, 0, purge), AdminReply::Count(1));
        assert_eq!(count(&mut world, 2, delete), AdminReply::Count(0));
    }
    assert_eq!(listed(&mut world, 2), []);
}

fn nodes_of_connections(world: &mut World, at: At) -> Vec<String> {
    match administration::ask(world, at, ConnectionRequest::List) {
        Ok(AdminReply::Connections(list)) => list.into_iter().map(|connection| connection.node).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn connections_are_seen_and_closed_from_any_node() {
    let mut world = World::new(56, 3, 3);
    world.until("a cluster", World::is_agreed);
    make(&mut world, 0, declare("q", true));
    let clients: Vec<_> = (0..3).map(|at| world.client(at).unwrap()).collect();
    for (at, client) in clients.iter().enumerate() {
        ask(&mut world, at, *client, consume("q", &name(at)));
    }
    let all: Vec<String> = (0..3).map(name).collect();
    for at in 0..3 {
        let seen = nodes_of_connections(&mut world, at);
        assert!(all.iter().all(|node| seen.contains(node)) && seen.is_sorted(), "{seen:?}");
        let Ok(AdminReply::Channels(channels)) = administration::ask(&mut world, at, ConnectionRequest::ListChannels)
        else {
            panic!("no channels");
        };
        let consuming: Vec<_> = channels.into_iter().filter(|channel| channel.consumers == 1).collect();
        assert_eq!(consuming.iter().map(|channel| channel.node.clone()).collect::<Vec<_>>(), all);
        let consumers = ConnectionRequest::ListConsumers { vhost: Some(short("/")) };
        let Ok(AdminReply::Consumers(consumers)) = administration::ask(&mut world, at, consumers) else {
            panic!("no consumers");
        };
        let seen: Vec<_> = consumers.iter().map(|consumer| (consumer.node.clone(), consumer.tag.clone())).collect();
        assert_eq!(seen, (0..3).map(|at| (name(at), short(&name(at)))).collect::<Vec<_>>());
    }
    let nobody = ConnectionRequest::ListConsumers { vhost: Some(short("nowhere")) };
    assert_eq!(administration::ask(&mut world, 0, nobody).unwrap_err().kind, AdminErrorKind::NotFound);
    let close = |which| ConnectionRequest::Close { which, reason: String::from("maintenance") };
    let one = |at| ConnectionSelection::One { node: name(at), id: clients[at] };
    assert_eq!(administration::ask(&mut world, 0, close(one(2))), Ok(AdminReply::Count(1)));
    world.until("it to go", |world| !world.has_client(2, clients[2]));
    assert!(world.has_client(0, clients[0]) && world.has_client(1, clients[1]));
    let again = administration::ask(&mut world, 0, close(one(2))).unwrap_err();
    assert_eq!((again.kind, again.text.as_str()), (AdminErrorKind::NotFound, "there is no such connection"));
    let here = ConnectionSelection::One { node: String::new(), id: clients[1] };
    assert_eq!(administration::ask(&mut world, 1, close(here)), Ok(AdminReply::Count(1)));
    let before = nodes_of_connections(&mut world, 0).len() as u64;
    assert_eq!(administration::ask(&mut world, 1, close(ConnectionSelection::All)), Ok(AdminReply::Count(before)));
    world.until("all to go", |world| !world.has_client(0, clients[0]));
    assert_eq!(nodes_of_connections(&mut world, 2), Vec::<String>::new());
}

#[test]
fn connections_of_a_node_that_is_gone_are_left_out() {
    let mut world = World::new(57, 3, 3);
    world.until("a cluster", World::is_agreed);
    for at in 0..3 {
        world.client(at).unwrap();
    }
    world.crash(1, false);
    let is_gone = |world: &World| {
        let cluster = world.nodes[0].engine.as_ref().unwrap().broker.peers.as_ref().unwrap().cluster();
        cluster.nodes().filter(|(id, _)| cluster.is_linked(*id)).count() == 1
    };
    world.until("it to be missed", is_gone);
    let seen = nodes_of_connections(&mut world, 0);
    assert!(seen.contains(&name(0)) && seen.contains(&name(2)) && !seen.contains(&name(1)), "{seen:?}");
}

#[test]
fn a_pause_holds_on_whatever_node_it_was_asked_for() {
    let mut world = three_with_queues(53);
    for queue in ["classic", "replicated"] {
        assert_eq!(administration::ask(&mut world, 2, QueueRequest::Pause(named(queue))), Ok(AdminReply::Done));
    }
    let states = |world: &mut World| listed(world, 1).iter().map(|queue| queue.state).collect::<Vec<_>>();
    assert_eq!(states(&mut world), vec![QueueState::Paused; 2]);
    for (number, queue) in ["classic", "replicated"].into_iter().enumerate() {
        let client = world.client(1).unwrap();
        ask(&mut world, 1, client, consume(queue, "c"));
        (0..4000).for_each(|_| world.step());
        assert_eq!(world.events(1, client), Some(vec![]), "{queue} {number}");
        assert_eq!(administration::ask(&mut world, 2, QueueRequest::Resume(named(queue))), Ok(AdminReply::Done));
        world.with_client(1, client, |client| client.close_channel(1).unwrap());
    }
    assert_eq!(states(&mut world), vec![QueueState::Running; 2]);
}

/// Bodies that are only in the log are read for it, and deliveries do not suffer.
#[test]
fn a_look_does_not_keep_what_it_looks_at() {
    let mut world = three_with_queues(54);
    let client = world.client(2).unwrap();
    for operator in 10..20 {
        let request = QueueRequest::Peek { queue: named("replicated"), selection: Selection::default() };
        world.input(1, Input::Admin { id: AdminId(operator), request: Box::new(request.into()) });
    }
    ask(&mut world, 2, client, basic::Qos { prefetch_count: 1, ..basic::Qos::default() });
    world.send(2, client, basic::Consume { no_wait: true, ..consume("replicated", "c") });
    for body in ["one", "two", "three"] {
        assert_eq!(next(&mut world, 2, client).0, body.as_bytes());
    }
    assert_eq!(peeked(&mut world, 0, "replicated", Selection::default()), []);
}

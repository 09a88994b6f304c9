//! A node whose disk does not hold what was written to it: it gives its data up if the others have it, and says what to do if not.

use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use super::members::{is_whole, one_by_one_of};
use super::quorum::{next, publish_confirmed, publisher, quorum, replicas};
use super::remote::make;
use super::world::{At, World};
use super::{ask, declare, queue_names, short, voters};
use crate::amqp::FieldValue;
use crate::amqp::method::basic;
use crate::config::Config;
use crate::effect::{Effects, Stop};
use crate::ids::SegmentId;
use crate::limits;

/// Three nodes and a queue on all of them, with messages in it.
fn three(seed: u64, messages: usize) -> World {
    let mut world = World::new(seed, 3, 3);
    world.until("a cluster", |world| voters(world) == 3);
    make(&mut world, 0, quorum("q", &[]));
    let client = publisher(&mut world, 0);
    for number in 0..messages {
        publish_confirmed(&mut world, 0, client, "q", &format!("{number}"));
    }
    world
}

/// Stops a node and has a bit of its disk turned.
fn rot(world: &mut World, at: At, bit: (SegmentId, usize)) {
    world.crash(at, false);
    world.nodes[at].disk.rot(bit.0, bit.1);
}

/// Where these bytes are on a node's disk: the last such place.
fn find(world: &World, at: At, wanted: &[u8]) -> Option<(SegmentId, usize)> {
    let find = |data: &[u8]| data.windows(wanted.len()).rposition(|window| window == wanted);
    let files = world.nodes[at].disk.files.iter().rev();
    files.filter_map(|(id, file)| Some((*id, find(&file.data)? * 8))).next()
}

/// Starts a node, and tells how it ended if it does not get up.
fn start(world: &mut World, at: At) -> Option<Stop> {
    world.start(at);
    world.until("the node to be up or down", |world| world.nodes[at].is_ready || world.nodes[at].stopped.is_some());
    world.nodes[at].stopped.clone()
}

fn fatal(stop: Option<Stop>) -> String {
    let Some(Stop::Fatal(text)) = stop else { panic!("{stop:?}") };
    text
}

/// All that was published is there, in its order, for a client of this node.
fn check_all(world: &mut World, at: At, messages: usize) {
    let consumer = one_by_one_of(world, at, "q");
    for number in 0..messages {
        assert_eq!(next(world, at, consumer).0, number.to_string().into_bytes());
    }
}

#[test]
fn a_node_whose_log_rotted_gets_everything_again_from_the_others() {
    let mut world = three(1, 20);
    // An entry in the middle of the log; the log was durable beyond it.
    let bit = find(&world, 1, b"\x0110").or_else(|| find(&world, 1, b"10")).expect("it is on the disk");
    rot(&mut world, 1, bit);
    let stop = start(&mut world, 1);
    let Some(Stop::Damaged(text)) = &stop else { panic!("{stop:?}") };
    assert!(text.contains("corrupt") && text.ends_with("have all that this one had"), "{text}");
    world.start_without_data(1);
    world.until("its replicas to be back", is_whole);
    world.crash(0, true);
    check_all(&mut world, 1, 20);
}

/// Whatever bit it is: the node gets up with all that it had, or gives it up; and in the end nothing is missing.
#[test]
fn any_bit_of_a_disk_may_turn() {
    let (mut given_up, mut harmless) = (0, 0);
    for seed in 0..40 {
        let mut world = three(100 + seed, 8);
        let at = usize::try_from(seed % 3).unwrap();
        let wiped = world.nodes[at].disk.files.clone();
        let bits: Vec<(SegmentId, usize)> = wiped.iter().map(|(id, file)| (*id, live_bytes(&file.data) * 8)).collect();
        let which = usize::try_from(world.rng.below(bits.len() as u64)).unwrap();
        let (segment, count) = bits[which];
        let bit = usize::try_from(world.rng.below(count.max(1) as u64)).unwrap();
        rot(&mut world, at, (segment, bit));
        match start(&mut world, at) {
            None => harmless += 1,
            Some(Stop::Damaged(_)) => {
                given_up += 1;
                world.start_without_data(at);
            }
            Some(other) => panic!("seed {seed}, segment {segment}, bit {bit}: {other:?}"),
        }
        world.until("all to be whole", is_whole);
        world.crash((at + 1) % 3, true);
        check_all(&mut world, at, 8);
    }
    assert!(given_up > 10 && harmless > 5, "{given_up} given up, {harmless} harmless");
}

fn live_bytes(data: &[u8]) -> usize {
    data.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1)
}

#[test]
fn a_node_with_messages_that_nobody_else_has_does_not_give_them_up() {
    let mut world = three(2, 5);
    make(&mut world, 1, declare("z", true));
    let client = publisher(&mut world, 1);
    for _ in 0..3 {
        publish_confirmed(&mut world, 1, client, "z", "precious");
    }
    let other = publisher(&mut world, 0);
    for number in 5..10 {
        publish_confirmed(&mut world, 0, other, "q", &format!("{number}"));
    }
    let bit = find(&world, 1, b"guest").expect("the users are in the log");
    rot(&mut world, 1, bit);
    let text = fatal(start(&mut world, 1));
    assert!(text.contains("3 messages of classic queues are on this node only"), "{text}");
    assert!(text.contains("--give-up-damaged-data"), "{text}");
    // The others go on, and the operator decides.
    publish_confirmed(&mut world, 0, other, "q", "10");
    let config = Config { gives_up_damaged_data: true, ..world.config(1) };
    world.start_as(1, config);
    world.until("it to give up", |world| world.nodes[1].stopped.is_some());
    world.start_without_data(1);
    world.until("its replicas to be back", is_whole);
    check_all(&mut world, 1, 11);
    let names = queue_names(world.nodes[1].engine.as_ref().unwrap());
    assert!(names.contains("z"), "it is there, and empty");
}

/// While it runs the node knows what it has.
#[test]
fn a_record_that_rots_while_the_node_runs_is_as_bad() {
    for is_only_here in [false, true] {
        let mut world = three(3, 5);
        make(&mut world, 1, declare("z", true));
        let client = publisher(&mut world, 1);
        publish_confirmed(&mut world, 1, client, "z", "precious");
        if !is_only_here {
            let get = basic::Get { queue: short("z"), no_ack: true };
            ask(&mut world, 1, client, get);
        }
        world.until("it to rest", |world| world.nodes[1].disk.is_idle());
        let engine = world.nodes[1].engine.as_mut().unwrap();
        let mut effects = Effects::default();
        engine.on_damage("rotten", &mut effects);
        match effects.stop {
            Some(Stop::Fatal(text)) if is_only_here => assert!(text.contains("Up to 1 messages"), "{text}"),
            Some(Stop::Damaged(_)) if !is_only_here => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_replica_without_enough_others_is_not_given_up() {
    let mut world = three(4, 5);
    make(&mut world, 1, quorum("alone", &[("x-quorum-initial-group-size", FieldValue::I32(1))]));
    let home = (0..3).find(|at| {
        let engine = world.nodes[*at].engine.as_ref().unwrap();
        engine.replicas().len() == 2
    });
    let home = home.expect("one node has it");
    let bit = find(&world, home, b"guest").expect("the users are in the log");
    rot(&mut world, home, bit);
    let text = fatal(start(&mut world, home));
    assert!(text.contains("1 replicated queues would be left without a majority"), "{text}");
}

#[test]
fn two_nodes_cannot_spare_one_of_them() {
    let mut world = World::new(5, 2, 2);
    world.until("a cluster", |world| voters(world) == 2);
    let bit = find(&world, 1, b"guest").expect("the users are in the log");
    rot(&mut world, 1, bit);
    let text = fatal(start(&mut world, 1));
    assert!(text.contains("No other nodes have"), "{text}");
}

#[test]
fn a_node_in_no_cluster_says_what_to_do() {
    let mut world = World::new(6, 1, 1);
    world.crash(0, false);
    world.wipe(0);
    world.start_as(0, Config::default());
    world.until("the node", |world| world.nodes[0].is_ready);
    world.until("it to rest", |world| world.nodes[0].disk.is_idle());
    let client = world.client(0).unwrap();
    for queue in ["q", "another"] {
        // The second says that the first was durable, and all before it.
        ask(&mut world, 0, client, declare(queue, true));
    }
    let bit = find(&world, 0, b"guest").expect("the users are in the log");
    rot(&mut world, 0, bit);
    world.start_as(0, Config::default());
    world.until("its end", |world| world.nodes[0].stopped.is_some());
    let text = fatal(world.nodes[0].stopped.take());
    assert!(text.contains("--give-up-damaged-data") && text.contains("sound copy"), "{text}");
    world.start_as(0, Config { gives_up_damaged_data: true, ..Config::default() });
    world.until("its end", |world| world.nodes[0].stopped.is_some());
    assert!(matches!(world.nodes[0].stopped, Some(Stop::Damaged(_))), "{:?}", world.nodes[0].stopped);
}

/// Two of three are damaged at once: they wait, and neither forms a cluster without what was in the old one, although they are a majority
/// of those that are to form it.
#[test]
fn a_majority_that_gave_its_data_up_begins_nothing() {
    let mut world = three(7, 5);
    for at in [0, 1] {
        let bit = find(&world, at, b"guest").expect("the users are in the log");
        rot(&mut world, at, bit);
    }
    world.crash(2, true);
    for at in [0, 1] {
        let stop = start(&mut world, at);
        assert!(matches!(stop, Some(Stop::Damaged(_))), "{stop:?}");
        world.start_without_data(at);
    }
    for _ in 0..60_000 {
        world.step();
        assert!(!world.nodes[0].is_ready && !world.nodes[1].is_ready);
    }
    world.start(2);
    for _ in 0..60_000 {
        world.step();
        assert!(world.nodes.iter().all(|node| !node.is_ready && node.stopped.is_none()));
    }
}

/// A node that was away is not told what rotted in the log of whoever leads.
#[test]
fn a_leader_does_not_pass_on_what_rotted() {
    let mut world = three(8, 0);
    let leads = |world: &World, at: At| replicas(world, at).iter().any(|replica| replica.leads);
    world.until("a leader", |world| (0..3).any(|at| leads(world, at)));
    let leader = (0..3).find(|at| leads(&world, *at)).expect("one leads");
    let away = (leader + 1) % 3;
    world.crash(away, true);
    let client = publisher(&mut world, leader);
    let filler = "x".repeat(10_000);
    let bodies: Vec<String> = (0..60).map(|number| format!("{number} {filler}")).collect();
    for body in &bodies {
        publish_confirmed(&mut world, leader, client, "q", body);
    }
    assert!(29 * filler.len() > limits::GROUP_WINDOW_BYTES, "the first half is in the log only");
    let bit = find(&world, leader, b"30 xxxxx").expect("it is on the disk");
    world.nodes[leader].disk.rot(bit.0, bit.1);
    world.start(away);
    world.until("it to be noticed", |world| world.nodes[leader].stopped.is_some());
    world.start_without_data(leader);
    world.until("all to be whole", is_whole);
    let consumer = one_by_one_of(&mut world, away, "q");
    for body in &bodies {
        assert_eq!(next(&mut world, away, consumer).0, body.as_bytes());
    }
}

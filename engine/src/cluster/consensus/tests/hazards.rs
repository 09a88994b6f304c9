//! Ways in which `raft` is known to fail where it is embedded without care: each is gone.

use alloc::vec::Vec;
use bytes::Bytes;

use super::super::wire::Frame;
use super::super::{
    Groups, HardState, Identity, MemberChange, Members, Origin, Outputs, Record, Recovered, Refused, Settings,
};
use super::world::{INCARNATION, World, members};
use crate::ids::{GroupId, NodeId};
use crate::time::Instant;
use raft::eraftpb::MessageType;

const GROUP: GroupId = GroupId(1);

fn groups(node: u64) -> Groups {
    let identity = Identity { node: NodeId(node), boot: 1, seed: 1 };
    Groups::new(identity, Settings::default(), Instant::ZERO)
}

fn flush(groups: &mut Groups) -> Outputs {
    let mut out = Outputs::default();
    groups.flush(Instant::ZERO, &mut out);
    groups.check_invariants();
    out
}

/// With `raft` alone the leader goes on and looks for its own progress when its writes end.
#[test]
fn a_leader_that_removes_itself_steps_down() {
    let mut world = World::new(1, 3, &[members(1..=3)]);
    world.run_for(3000);
    let leader = world.leader(GROUP).unwrap();
    // Its own writes end long after the others have decided.
    world.nodes.get_mut(&leader).unwrap().sync_ms = 400;
    assert!(world.with(leader, |groups| groups.change_members(GROUP, MemberChange::Remove(leader))).unwrap().is_ok());
    for _ in 0..20 {
        let _ = world.propose(leader, GROUP, 10);
        world.run_for(20);
    }
    world.run_for(4000);
    assert!(!world.truths[&GROUP].members().contains(leader));
    let status = world.nodes[&leader].groups.as_ref().unwrap().status(GROUP).unwrap();
    assert!(!status.is_leader && !status.members.contains(leader), "{status:?}");
    assert_ne!(world.leader(GROUP), Some(leader));
    world.check_live();
}

/// With a log that begins at its first entry, an empty member replays it without the first voters, and elects itself.
#[test]
fn the_first_members_stand_behind_a_snapshot() {
    let mut first = groups(1);
    first.create(GROUP, 1, Origin::First(members(1..=3)));
    let out = flush(&mut first);
    let Record::Installed(base) = &out.writes[1].record else { panic!("{:?}", out.writes) };
    assert_eq!((base.snapshot.index, base.members.voters().len()), (1, 3));
    assert_eq!(first.status(GROUP).unwrap().first_index, 2);
}

#[test]
fn an_empty_member_neither_campaigns_nor_votes() {
    let mut empty = groups(4);
    empty.create(GROUP, INCARNATION, Origin::Joins);
    empty.campaign(GROUP);
    let mut now = Instant::ZERO;
    for _ in 0..100 {
        now = now + crate::limits::GROUP_TICK;
        empty.handle_timeout(now);
    }
    assert!(flush(&mut empty).is_empty());
    let mut frame = Frame { boot: 1, ..Frame::default() };
    for kind in [MessageType::MsgRequestPreVote, MessageType::MsgRequestVote] {
        let mut ask = raft::eraftpb::Message { to: 4, from: 1, term: 5, ..Default::default() };
        ask.set_msg_type(kind);
        frame.push(GROUP, INCARNATION, ask);
    }
    empty.receive(now, NodeId(1), &frame.take_bytes()).unwrap();
    assert!(flush(&mut empty).is_empty(), "an empty log finds everybody up to date");
}

/// With a storage that forgets the term in front of its first entry, `raft` ends the process.
#[test]
fn a_log_that_was_compacted_to_its_end_goes_on() {
    let mut world = World::new(3, 3, &[members(1..=3)]);
    world.run_for(3000);
    for round in 0..6 {
        let leader = world.leader(GROUP).unwrap();
        assert_eq!(world.propose(leader, GROUP, 10), Some(Ok(())));
        world.run_for(300);
        for node in 1..=3 {
            world.compact(NodeId(node), GROUP, 0);
        }
        world.run_for(100);
        world.crash(NodeId(1 + round % 3));
        world.run_for(200);
        world.check_live();
    }
    assert!(world.seen.compactions >= 12);
}

/// 1. The only voter elects itself and sends entries to a learner, before it has written that there was an election.
/// 2. It loses power, and knows of no such term.
/// 3. It elects itself in the same term, and sends other entries under the same numbers.
#[test]
fn a_leader_sends_nothing_before_its_own_vote_is_durable() {
    let mut one = groups(1);
    one.create(GROUP, 1, Origin::First(Members::new(Vec::from([NodeId(1)]), Vec::from([NodeId(2)])).unwrap()));
    let born = flush(&mut one).writes[0].ticket;
    one.persisted(born);
    one.campaign(GROUP);
    let out = flush(&mut one);
    assert!(one.status(GROUP).unwrap().is_leader);
    let vote = Record::HardState(HardState { term: 2, vote: Some(NodeId(1)), commit: 1 });
    assert_eq!(out.writes[0].record, vote);
    assert!(out.messages.is_empty(), "it may forget that it leads");
    one.propose(GROUP, Bytes::from_static(b"a")).unwrap();
    assert!(flush(&mut one).messages.is_empty());
    one.persisted(out.writes[0].ticket);
    assert_eq!(flush(&mut one).messages.len(), 1);
}

#[test]
fn members_change_one_at_a_time_and_by_way_of_learners() {
    let mut world = World::new(9, 5, &[members(1..=3)]);
    world.run_for(3000);
    let leader = world.leader(GROUP).unwrap();
    let other = NodeId(1 + leader.0 % 3);
    let mut change = |change| world.with(leader, |groups| groups.change_members(GROUP, change)).unwrap().map(|_| ());
    assert_eq!(change(MemberChange::Promote(NodeId(4))), Err(Refused::Impossible));
    assert_eq!(change(MemberChange::Remove(NodeId(4))), Err(Refused::Impossible));
    assert_eq!(change(MemberChange::AddLearner(other)), Err(Refused::Impossible));
    assert_eq!(change(MemberChange::AddLearner(NodeId(4))), Ok(()));
    assert_eq!(change(MemberChange::AddLearner(NodeId(5))), Err(Refused::Busy));
    world.run_for(500);
    let promote = MemberChange::Promote(NodeId(4));
    let behind = world.with(leader, |groups| groups.change_members(GROUP, promote)).unwrap();
    assert_eq!(behind, Err(Refused::Behind), "it has not even heard of the group");
    world.join(NodeId(4), GROUP);
    world.run_for(2000);
    assert!(world.with(leader, |groups| groups.change_members(GROUP, promote)).unwrap().is_ok());
    world.run_for(500);
    assert_eq!(world.truths[&GROUP].members(), &members(1..=4));
    world.check_live();
}

#[test]
fn a_damaged_state_is_refused() {
    let mut one = groups(1);
    let sound = Recovered {
        hard_state: HardState { term: 3, vote: None, commit: 9 },
        base: super::super::Base {
            snapshot: super::super::EntryId { term: 1, index: 1 },
            members: members(1..=3),
            start: super::super::EntryId { term: 1, index: 1 },
        },
        entries: Vec::new(),
    };
    let entry = |term, index| super::super::Entry {
        id: super::super::EntryId { term, index },
        content: super::super::Content::Command(Bytes::new()),
    };
    let with = |entries: &[super::super::Entry]| Recovered { entries: entries.to_vec(), ..sound.clone() };
    for unsound in [
        with(&[entry(2, 3)]),
        with(&[entry(2, 2), entry(1, 3)]),
        with(&[entry(4, 2)]),
        Recovered { base: super::super::Base { members: Members::default(), ..sound.base.clone() }, ..sound.clone() },
    ] {
        assert!(one.recover(GROUP, 1, unsound.clone()).is_err(), "{unsound:?}");
    }
    assert_eq!(one.recover(GROUP, 1, with(&[entry(2, 2), entry(3, 3)])), Ok(true));
    assert_eq!(one.recover(GROUP, 1, sound), Ok(false), "it is there");
}

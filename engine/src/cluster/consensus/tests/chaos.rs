//! Everything at once, for many seeds.

use alloc::vec::Vec;

use super::super::MemberChange;
use super::rng::Rng;
use super::world::{Seen, World, members};
use crate::ids::{GroupId, NodeId};
use crate::storage::codec::mix;

/// One life of a cluster. Returns the hash of all that was sent and applied, and what happened.
pub(super) fn run(seed: u64, actions: u64) -> (u64, Seen) {
    let mut rng = Rng(mix(seed ^ 0xc0de));
    let nodes = 3 + rng.below(3);
    // One that begins alone, one of three, one of all.
    let groups = [members([1 + rng.below(nodes)]), members(1..=3), members(1..=nodes)];
    let mut world = World::new(seed, nodes, &groups);
    world.loss = [0, 50, 12][rng.below(3) as usize];
    world.double = [0, 20][rng.below(2) as usize];
    world.late = [0, 40][rng.below(2) as usize];
    let calm = [1, 4, 12][rng.below(3) as usize];
    for _ in 0..actions {
        let node = NodeId(1 + rng.below(nodes));
        let group = GroupId(1 + rng.below(groups.len() as u64));
        let leader = world.leader(group).unwrap_or(node);
        match rng.below(40) {
            0..20 => {
                for _ in 0..1 + rng.below(6) {
                    world.propose(leader, group, 1 + rng.below(40) as usize);
                }
            }
            20 => drop(world.propose(node, group, 8)),
            21..23 => world.read(leader, group),
            23..26 => world.compact(if rng.one_in(2) { node } else { leader }, group, rng.below(4)),
            26..30 => change_members(&mut world, &mut rng, leader, node, group),
            30 => {
                let asked = world.with(leader, |groups| groups.transfer_leadership(group, node));
                world.seen.transfers += u64::from(asked == Some(Ok(())));
            }
            31 if rng.one_in(calm) => world.crash(node),
            32 if !world.is_up(node) => world.start(node),
            33 if rng.one_in(calm) => cut(&mut world, &mut rng),
            34 => world.cut.clear(),
            35 => world.nodes.get_mut(&node).unwrap().sync_ms = [3, 3, 40, 700][rng.below(4) as usize],
            36 => world.run_for(500 + rng.below(3500)),
            37 => {
                let other = NodeId(1 + rng.below(nodes));
                world.with(node, |groups| groups.node_suspected(other));
            }
            38 => {
                world.with(node, |groups| groups.campaign(group));
            }
            _ => {}
        }
        forget_removed(&mut world, &mut rng);
        let pause = if rng.one_in(4) { rng.below(300) } else { rng.below(20) };
        world.run_for(pause);
    }
    forget_removed(&mut world, &mut rng);
    world.check_live();
    (world.hash, world.seen)
}

fn change_members(world: &mut World, rng: &mut Rng, leader: NodeId, node: NodeId, group: GroupId) {
    let known = world.truths[&group].members().clone();
    let change = if known.learners().contains(&node) {
        if rng.one_in(4) { MemberChange::Remove(node) } else { MemberChange::Promote(node) }
    } else if known.voters().contains(&node) {
        MemberChange::Remove(node)
    } else {
        MemberChange::AddLearner(node)
    };
    let begun = world.with(leader, |groups| groups.change_members(group, change)).is_some_and(|begun| begun.is_ok());
    if begun && change == MemberChange::AddLearner(node) {
        world.join(node, group);
    }
    // Two quick ones after another: the second has to be refused, or wait.
    if rng.one_in(3) {
        let other = NodeId(1 + rng.below(world.nodes.len() as u64));
        let change = if known.contains(other) { MemberChange::Remove(other) } else { MemberChange::AddLearner(other) };
        if let Some(Ok(_)) = world.with(leader, |groups| groups.change_members(group, change)) {
            world.join(other, group);
        }
    }
}

/// Some that are no members any more notice; others stay and disturb. None goes before all that are left know that it has: with two
/// members, the one that stays needs the other's vote until it learns that it is alone.
fn forget_removed(world: &mut World, rng: &mut Rng) {
    let groups: Vec<_> = world.truths.keys().copied().collect();
    for group in groups {
        // One that was told to go may be wanted again.
        for node in world.truths[&group].members().clone().iter() {
            world.join(node, group);
        }
        if !world.do_members_know(group) {
            continue;
        }
        for node in world.node_ids() {
            let status = world.nodes[&node].groups.as_ref().and_then(|groups| groups.status(group));
            let has_left = status.is_some_and(|status| status.applied_index > 1 && !status.members.contains(node));
            if has_left && !world.truths[&group].members().contains(node) && rng.one_in(50) {
                world.leave(node, group);
            }
        }
    }
}

fn cut(world: &mut World, rng: &mut Rng) {
    let nodes = world.node_ids();
    let side: Vec<_> = nodes.iter().copied().filter(|_| rng.one_in(2)).collect();
    let is_one_way = rng.one_in(4);
    for a in &nodes {
        for b in &nodes {
            if side.contains(a) && !side.contains(b) {
                world.cut.insert((*a, *b));
                if !is_one_way {
                    world.cut.insert((*b, *a));
                }
            }
        }
    }
}

#[test]
fn nothing_decided_is_lost_or_changed_whatever_fails() {
    let mut all = Seen::default();
    for seed in 0..crate::storage::tests::rng::seeds(60) {
        let (_, seen) = run(seed, 150);
        all.add(seen);
    }
    all.check_variety();
}

#[test]
fn the_same_seed_is_the_same_to_the_byte() {
    for seed in 1000..1010 {
        assert_eq!(run(seed, 60), run(seed, 60), "seed {seed}");
    }
}

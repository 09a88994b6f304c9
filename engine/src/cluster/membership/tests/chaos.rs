//! Everything at once, for many seeds.

use super::world::{At, Seen, World};
use crate::cluster::link::Versions;
use crate::storage::codec::mix;
use crate::storage::tests::rng::{Rng, seeds};

/// One life of a cluster: the hash of all that was sent, and what happened.
pub(super) fn run(seed: u64) -> (u64, Seen) {
    let mut rng = Rng(mix(seed ^ 0xc1_05_7e));
    let first = 1 + rng.below(4) as usize;
    let count = first + rng.below(2) as usize;
    let mut world = World::new(seed, count, first);
    let calm = 1 + rng.below(6);
    if rng.one_in(2) {
        // All begin with an older program, which is exchanged here and there as nodes are started again.
        (0..count).for_each(|at| start_as(&mut world, at, Versions::SPOKEN.lowest));
    }
    for _ in 0..60 {
        let at = rng.below(count as u64) as usize;
        let other = rng.below(count as u64) as usize;
        let pair = (at.min(other), at.max(other));
        match rng.below(20) {
            0..10 => {
                for _ in 0..1 + rng.below(5) {
                    world.propose(at);
                }
            }
            10..12 if rng.one_in(calm) => world.crash(at, rng.one_in(2)),
            12 if !world.nodes[at].is_up => start_as(&mut world, at, Versions::SPOKEN.highest),
            13 if !world.nodes[at].is_up => world.start(at),
            14 if rng.one_in(calm) && at != other => {
                world.cut.insert(pair);
                world.unlink(at, other);
            }
            15 if at != other => drop(world.stalled.insert(pair)),
            16 => {
                world.cut.clear();
                world.stalled.clear();
            }
            17 => world.unlink(at, other),
            // One disk at a time, and only when nobody counts on it alone.
            18 if count > 2 && rng.one_in(2) && world.why_not_agreed().is_none() => {
                world.crash(at, true);
                world.wipe(at);
            }
            19 => world.run_for(rng.below(3000)),
            _ => {}
        }
        world.run_for(rng.below(200));
    }
    // A cluster that has come so far lets no older program in.
    for at in 0..count {
        if world.nodes[at].spoken < Versions::SPOKEN.highest {
            start_as(&mut world, at, Versions::SPOKEN.highest);
        }
    }
    world.check_live();
    (world.hash, world.seen)
}

/// Starts a node, again if it runs, with a program that speaks so much.
fn start_as(world: &mut World, at: At, spoken: u16) {
    world.crash(at, false);
    world.nodes[at].spoken = spoken;
    world.start(at);
}

#[test]
fn nothing_that_was_confirmed_is_lost_and_all_agree() {
    let mut total = Seen::default();
    for seed in 0..seeds(40) {
        let (_, seen) = run(seed);
        total.done += seen.done;
        total.confirmed += seen.confirmed;
        total.kept += seen.kept;
        total.states += seen.states;
        total.crashes += seen.crashes;
        total.wiped += seen.wiped;
        total.elections += seen.elections;
        total.joined += seen.joined;
        total.cleaned += seen.cleaned;
        total.raised += seen.raised;
    }
    let Seen { done, confirmed, kept, states, crashes, wiped, elections, joined, cleaned, raised, refusals: _ } = total;
    for (count, least) in [
        (done, 1000),
        (confirmed, 500),
        (kept, 100),
        (states, 50),
        (crashes, 50),
        (wiped, 3),
        (elections, 100),
        (joined, 100),
        (cleaned, 10),
        (raised, 100),
    ] {
        assert!(count >= least, "hardly tested: {total:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_life() {
    for seed in 0..3 {
        assert_eq!(run(seed), run(seed));
    }
}

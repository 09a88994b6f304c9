//! The log against a disk that fails.

#![expect(clippy::cast_possible_truncation, reason = "the numbers are small")]

mod disk;
mod rng;
mod world;

use alloc::vec::Vec;

use super::RefFlags;
use rng::Rng;
use world::{World, small_config};

/// Random work with crashes; returns how many records were moved and how many bytes were cut.
fn run(seed: u64, steps: u64, full: bool) -> (u64, u64) {
    let mut config = small_config();
    let mut rng = Rng(seed ^ 0xdead);
    config.segment_bytes = [4096, 8192, 16384][rng.below(3) as usize];
    let mut world = World::new(seed, config);
    world.recover_first();
    let busy = 1 + rng.below(6);
    for step in 0..steps {
        match rng.below(32) {
            0..8 => {
                let mut owners: Vec<u64> = (0..3).filter(|_| rng.one_in(2)).collect();
                if owners.is_empty() {
                    owners.push(7);
                }
                let flags = if rng.one_in(8) { RefFlags::TRANSIENT } else { RefFlags::NONE };
                if !world.log.is_full() && world.log.pending_bytes() < 64 * 1024 {
                    world.publish(&owners, flags);
                }
            }
            8..16 => {
                let keys = world.live_keys();
                let count = if rng.one_in(20) { keys.len() } else { 1 + keys.len() / 40 };
                for _ in 0..count.min(keys.len()) {
                    let at = if rng.one_in(3) { rng.below(keys.len() as u64) as usize } else { 0 };
                    let key = keys[at];
                    if world.live_keys().contains(&key) {
                        world.settle(key);
                    }
                }
            }
            16 => {
                let keys = world.live_keys();
                if !keys.is_empty() {
                    world.mark_delivered(keys[rng.below(keys.len() as u64) as usize]);
                }
            }
            17 => world.change_metadata(),
            18..20 => world.log.request_sync(),
            20..24 => world.flush(),
            24..29 => {
                for _ in 0..rng.below(busy * 2) {
                    world.disk_step();
                }
            }
            29 => {
                let micros = rng.below(300_000);
                world.advance(micros);
            }
            30 if full => {
                let used = world.disk.used();
                world.disk.capacity = if rng.one_in(2) { usize::MAX } else { used };
                world.disk.append_no_space = if rng.one_in(2) { 0 } else { 3 };
            }
            31 if rng.one_in(10) => {
                let power = rng.one_in(2);
                world.disk.append_no_space = 0;
                world.crash(power);
            }
            _ if step % 97 == 0 => world.check_payloads(),
            _ => {}
        }
        assert_eq!(world.fatal, None, "seed {seed} step {step}");
    }
    world.disk.capacity = usize::MAX;
    world.disk.append_no_space = 0;
    world.settle_down();
    world.check_payloads();
    assert_eq!(world.log.durable(), world.log.end());
    assert!(!world.log.is_full());
    for key in world.live_keys() {
        world.settle(key);
    }
    world.settle_down();
    let usage = world.log.usage();
    assert!(usage.segments <= 3, "seed {seed}: {usage:?} of an empty log");
    assert_eq!(world.disk.files.len() as u64, usage.segments);
    world.crash(true);
    assert_eq!(world.live_keys(), Vec::new());
    (world.queues.moves, world.truncated)
}

#[test]
fn nothing_promised_is_lost_whatever_crashes() {
    let (mut moves, mut truncated) = (0, 0);
    for seed in 0..300 {
        let (moved, cut) = run(seed, 1500, false);
        moves += moved;
        truncated += cut;
    }
    assert!(moves > 1000, "cleaning was hardly tested: {moves}");
    assert!(truncated > 1000, "torn ends were hardly tested: {truncated}");
}

#[test]
fn a_full_disk_is_survived() {
    for seed in 1000..1200 {
        run(seed, 1500, true);
    }
}

//! The log against a disk that fails.

#![expect(clippy::cast_possible_truncation, reason = "the numbers are small")]

pub(crate) mod disk;
mod format;
pub(crate) mod rng;
mod world;

use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;
use core::time::Duration;

use super::clean::Dropped;
use super::commit::Op;
use super::log::Ahead;
use super::segment::{FileState, SEGMENT_HEADER_BYTES};
use super::{Log, LogOutcome, Ref, RefFlags, RefState};
use crate::buggify::Buggify;
use crate::config::LogConfig;
use crate::effect::{DiskOp, DiskRequest};
use crate::ids::{DiskOpId, SegmentId};
use crate::input::{DiskError, DiskOutcome};
use crate::time::Instant;
use crate::timer::TimerKind;
use rng::Rng;
use world::{Queues, World, small_config};

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
                    world.fail_delivery(keys[rng.below(keys.len() as u64) as usize]);
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
    for seed in 0..200 {
        let (moved, cut) = run(seed, 1500, false);
        moves += moved;
        truncated += cut;
    }
    assert!(moves > 1000, "cleaning was hardly tested: {moves}");
    assert!(truncated > 1000, "torn ends were hardly tested: {truncated}");
}

#[test]
fn a_full_disk_is_survived() {
    for seed in 1000..1150 {
        run(seed, 1500, true);
    }
}

/// Found by the simulator on a full disk: the file was renamed for nothing, and a second one had become free meanwhile.
#[test]
fn a_file_that_was_to_be_used_again_is_not_forgotten_when_the_disk_is_full() {
    let mut world = settled_world(3);
    world.settle_down();
    let kept = *world.log.free.get_or_insert(SegmentId(1));
    let lost = SegmentId(kept.0 + 1000);
    world.log.ahead = Some(Ahead { id: SegmentId(2000), size: 4096, state: FileState::Creating });
    let create = Op::Create { segment: SegmentId(2000), size: 4096, recycled: Some(lost) };
    world.log.operation_failed(Instant::ZERO, create, DiskError::NoSpace);
    assert_eq!(world.log.free, Some(kept));
    assert!(world.log.dropped.iter().any(|dropped| dropped.id == lost), "nobody will delete {lost}");
}

/// Found by the simulator with a disk that had no space for removing: the removal of a file that an earlier boot had made ahead was
/// tried again when a segment of the log had its name.
#[test]
fn a_removal_that_is_late_does_not_hit_a_segment_of_that_name() {
    let mut bare = Bare::new(small_config());
    let next = SegmentId(2);
    let leftover = || Op::Delete(Dropped::leftover(next));
    bare.log.operation_failed(bare.now, leftover(), DiskError::NoSpace);
    assert_eq!(bare.log.dropped.len(), 1, "it is to be tried again");
    bare.append(1, 100);
    bare.log.request_sync();
    bare.flush();
    let append = bare.append_issued().unwrap();
    bare.answer(append.0, DiskOutcome::Done);
    bare.flush();
    let makes_next = |request: &DiskRequest| matches!(request.op, DiskOp::Create { segment, .. } if segment == next);
    assert!(bare.out.iter().any(makes_next), "{:?}", bare.out);
    assert!(bare.log.dropped.is_empty(), "its removal would hit the segment");
    bare.log.operation_failed(bare.now, leftover(), DiskError::NoSpace);
    assert!(bare.log.dropped.is_empty(), "not even if its failure comes late");
}

/// A log of several segments that was shut down in order, with live and settled messages.
fn settled_world(seed: u64) -> World {
    let mut world = World::new(seed, small_config());
    world.recover_first();
    for round in 0..60 {
        for owner in 0..4 {
            world.publish(&[owner, 9], RefFlags::NONE);
        }
        world.change_metadata();
        for key in world.live_keys() {
            if world.rng.one_in(30) {
                world.settle(key);
            }
        }
        if round % 3 == 0 {
            world.log.request_sync();
            world.settle_down();
        }
    }
    world.shut_down();
    world
}

#[test]
fn rot_is_noticed_or_harmless() {
    let mut noticed = 0;
    for seed in 0..8 {
        let mut world = settled_world(seed);
        assert!(world.log.usage().segments > 3);
        let files = world.disk.files.clone();
        for _ in 0..60 {
            let at = world.rng.below(files.len() as u64) as usize;
            let (&segment, file) = files.iter().nth(at).unwrap();
            let bit = world.rng.below(file.data.len() as u64 * 8) as usize;
            world.disk.files.clone_from(&files);
            world.disk.rot(segment, bit);
            noticed += u64::from(world.check_rotten());
        }
    }
    assert!(noticed > 100, "{noticed}");
}

#[test]
fn a_missing_segment_is_noticed() {
    let mut world = settled_world(1);
    let files = world.disk.files.clone();
    world.restart().unwrap();
    let in_log: Vec<_> = world.log.segments.iter().map(|segment| segment.id).collect();
    let (_, older) = in_log.split_last().unwrap();
    assert!(older.len() > 2);
    for id in older {
        world.disk.files.clone_from(&files);
        world.disk.files.remove(id);
        assert!(world.restart().is_none());
        assert!(world.fatal.take().unwrap().ends_with(&alloc::format!("segment {id} is missing")));
    }
}

#[test]
fn a_truncated_segment_is_noticed() {
    let mut world = settled_world(2);
    let (&id, _) = world.disk.files.iter().nth(1).unwrap();
    world.disk.files.get_mut(&id).unwrap().data.truncate(5000);
    assert!(world.restart().is_none());
    assert!(world.fatal.unwrap().contains("has 5000 of 8192 bytes"));
}

#[test]
fn a_newer_format_is_refused() {
    let mut world = settled_world(3);
    let (_, file) = world.disk.files.iter_mut().next().unwrap();
    file.data[8] = 3;
    file.data[512 + 8] = 3;
    assert!(world.restart().is_none());
    assert!(world.fatal.unwrap().contains("newer version of Leveret: log format 3"));
}

#[test]
fn a_failed_write_or_sync_ends_the_node() {
    let mut world = settled_world(4);
    world.restart().unwrap();
    world.disk.append_io = true;
    world.publish(&[77], RefFlags::NONE);
    world.log.request_sync();
    world.flush();
    while world.fatal.is_none() {
        assert!(world.disk_step().is_none());
    }
    assert!(world.fatal.unwrap().contains("write or sync failed"));
}

#[test]
fn records_larger_than_a_segment_get_one_of_their_own() {
    let mut world = World::new(5, small_config());
    world.recover_first();
    world.publish(&[1], RefFlags::NONE);
    for len in [7_000, 8_192, 20_000, 100_000] {
        let body = Bytes::from(vec![len as u8; len]);
        let reference = Ref { owner: 5, seq: len as u64, state: RefState::default() };
        let place = world.log.append_message(&[reference], b"head", &body);
        world.publish(&[1], RefFlags::NONE);
        world.log.request_sync();
        world.settle_down();
        let data = world.read(place);
        assert_eq!(world.log.open_record(place.lsn, &data).unwrap()[4..], body);
        world.log.settle(5, len as u64, place);
    }
    world.log.request_sync();
    world.settle_down();
    world.check_payloads();
    world.crash(true);
}

/// A log without a disk: the test answers.
struct Bare {
    log: Log,
    out: Vec<DiskRequest>,
    queues: Queues,
    now: Instant,
}

impl Bare {
    fn new(config: LogConfig) -> Self {
        let (queues, now) = (Queues::default(), Instant::from_micros(1));
        let mut bare = Self { log: Log::new(config, 1), out: Vec::new(), queues, now };
        bare.log.start(&mut bare.out);
        let list = bare.out.pop().unwrap();
        assert!(matches!(bare.answer(list.id, DiskOutcome::Segments(Vec::new())), LogOutcome::Recovered(_)));
        bare.flush();
        let create = bare.out.pop().unwrap();
        assert!(matches!(create.op, DiskOp::Create { segment: SegmentId(1), recycle: None, .. }));
        bare.answer(create.id, DiskOutcome::Done);
        bare
    }

    fn answer(&mut self, id: DiskOpId, outcome: DiskOutcome) -> LogOutcome {
        self.log.handle_done(self.now, id, outcome, &mut self.queues, &mut self.out)
    }

    fn flush(&mut self) {
        self.log.flush(self.now, &self.queues, &mut self.out);
    }

    fn append(&mut self, seq: u64, len: usize) {
        let reference = Ref { owner: 1, seq, state: RefState::default() };
        self.log.append_message(&[reference], &[], &Bytes::from(vec![0; len]));
    }

    /// The one append that was issued, and whether it syncs; other requests are answered.
    fn append_issued(&mut self) -> Option<(DiskOpId, bool, usize)> {
        let mut found = None;
        for request in core::mem::take(&mut self.out) {
            match request.op {
                DiskOp::Append { data, sync, .. } => {
                    assert!(found.is_none(), "one append at a time");
                    found = Some((request.id, sync, data.iter().map(Bytes::len).sum()));
                }
                DiskOp::List | DiskOp::Create { .. } | DiskOp::Read { .. } | DiskOp::Delete { .. } => {
                    self.answer(request.id, DiskOutcome::Done);
                }
            }
        }
        found
    }
}

#[test]
fn a_batch_grows_while_the_one_before_is_written() {
    let mut bare = Bare::new(LogConfig::default());
    bare.append(0, 100);
    bare.log.request_sync();
    bare.flush();
    let (first, sync, small) = bare.append_issued().unwrap();
    assert!(sync);
    for seq in 1..100 {
        bare.append(seq, 100);
        bare.log.request_sync();
        bare.flush();
        assert_eq!(bare.append_issued(), None);
    }
    assert_eq!(bare.log.durable().0, 0);
    bare.answer(first, DiskOutcome::Done);
    assert!(bare.log.durable() > bare.log.written().min(crate::ids::Lsn(0)));
    bare.flush();
    let (second, sync, large) = bare.append_issued().unwrap();
    assert!(sync);
    assert!(large > 99 * 100 && small < 1000);
    bare.answer(second, DiskOutcome::Done);
    assert!(bare.log.durable() >= bare.log.end());
    assert_eq!(bare.log.pending_bytes(), 0);
    bare.flush();
    assert_eq!(bare.append_issued(), None);
    assert_eq!(bare.log.next_timeout(), None);
}

#[test]
fn what_nobody_waits_for_is_synced_by_and_by() {
    let mut bare = Bare::new(LogConfig::default());
    bare.append(0, 100);
    bare.flush();
    assert_eq!(bare.append_issued(), None);
    let (at, kind) = bare.log.next_timeout().unwrap();
    assert_eq!((at, kind), (bare.now + Duration::from_millis(200), TimerKind::LogSync));
    bare.now = at;
    bare.flush();
    let (id, sync, _) = bare.append_issued().unwrap();
    assert!(sync);
    bare.answer(id, DiskOutcome::Done);
    bare.flush();
    assert_eq!(bare.log.next_timeout(), None);
}

#[test]
fn much_is_written_early_and_synced_when_asked() {
    let mut bare = Bare::new(LogConfig::default());
    bare.append(0, 300 * 1024);
    bare.flush();
    let (id, sync, _) = bare.append_issued().unwrap();
    assert!(!sync);
    bare.answer(id, DiskOutcome::Done);
    assert_eq!(bare.log.durable().0, 0);
    assert!(bare.log.written() >= bare.log.end());
    bare.log.request_sync();
    bare.flush();
    let (id, sync, bytes) = bare.append_issued().unwrap();
    assert!(sync);
    assert_eq!(bytes, 0);
    bare.answer(id, DiskOutcome::Done);
    assert_eq!(bare.log.durable(), bare.log.written());
}

/// Copies that nothing has earned are made when the log is idle, each once.
#[test]
fn an_idle_log_gets_small_and_rests() {
    check_idle_log(Buggify::default());
}

/// The rarer ways, among them segments that end early, do not keep it large.
#[cfg(feature = "buggify")]
#[test]
fn an_idle_log_gets_small_by_rarer_ways() {
    for seed in 0..20 {
        let config = crate::config::Config { buggify: Some(seed), ..crate::config::Config::default() };
        check_idle_log(Buggify::of(&config, 1));
    }
}

fn check_idle_log(buggify: Buggify) {
    let mut world = World::new(7, LogConfig { segment_bytes: 64 * 1024, ..small_config() });
    world.log.buggify = buggify;
    world.recover_first();
    for number in 0..4000 {
        world.publish(&[number % 8], RefFlags::NONE);
        world.flush();
    }
    world.settle_down();
    for key in world.live_keys().into_iter().filter(|(_, seq)| seq % 16 != 0) {
        world.settle(key);
    }
    world.log.credit = 0;
    let (before, start) = (world.log.usage().segments, world.now);
    world.settle_down();
    let after = world.log.usage();
    // Beside the active one there are a segment made ahead and one to be used again.
    let most = 2 * after.live_bytes + world.config.slack_bytes + 3 * world.config.segment_bytes;
    assert!(after.segments * 3 < before && after.bytes <= most, "{after:?} of {before} segments");
    // It waited for a second, and not for one more for each segment.
    let took = world.now.saturating_since(start);
    assert!((1..20).contains(&took.as_secs()), "{took:?}");
    let end = world.log.end();
    world.advance(10_000_000);
    world.settle_down();
    assert_eq!(world.log.end(), end);
    world.check_payloads();
}

/// What is to be synced waits for small reads, and not for those of a whole segment.
#[test]
fn a_segment_is_cleaned_by_and_by_while_others_write() {
    const MIB: u64 = 1024 * 1024;
    let config = LogConfig { segment_bytes: 4 * MIB, slack_bytes: MIB, append_bytes: 64 * 1024, ..small_config() };
    let mut world = World::new(8, config);
    world.recover_first();
    let (mut longest, mut count) = (0, 0);
    while world.queues.moves == 0 || count < 30 {
        for number in 0..64 {
            world.publish(&[number % 8], RefFlags::NONE);
        }
        for key in world.live_keys().into_iter().filter(|(_, seq)| seq % 64 != 0) {
            world.settle(key);
        }
        world.log.request_sync();
        world.flush();
        for request in &world.disk.queue {
            if let DiskOp::Read { len, .. } = request.op {
                longest = longest.max(len);
                count += 1;
            }
        }
        while world.disk_step().is_some() || !world.disk.is_idle() {}
        world.advance(1000);
        assert!(world.log.end().0 < 100 * MIB, "nothing is cleaned");
    }
    assert!(longest <= 200 * 1024, "{longest} bytes were read at once");
    world.settle_down();
    assert!(world.log.cleaner.is_none(), "a log that nobody uses is cleaned to the end");
}

/// However little is written, by somebody who never rests, space comes back.
#[test]
fn a_segment_is_cleaned_while_others_write_little() {
    const KIB: u64 = 1024;
    let config =
        LogConfig { segment_bytes: 192 * KIB, slack_bytes: 32 * KIB, append_bytes: 64 * 1024, ..small_config() };
    let mut world = World::new(9, config);
    world.recover_first();
    for number in 0..6_000 {
        world.publish(&[number % 8], RefFlags::NONE);
        world.flush();
    }
    world.settle_down();
    for key in world.live_keys().into_iter().filter(|(_, seq)| seq % 64 != 0) {
        world.settle(key);
    }
    let (before, start) = (world.log.usage().segments, world.now);
    while world.now.saturating_since(start) < Duration::from_secs(10) {
        world.publish(&[0], RefFlags::NONE);
        world.log.request_sync();
        world.flush();
        while world.disk_step().is_some() || !world.disk.is_idle() {}
        world.flush();
        world.advance(100_000);
    }
    let after = world.log.usage().segments;
    assert!(before > 6 && after < before / 2, "{after} of {before} segments");
}

/// Writes records of `len` bytes over several segments.
fn check_order_of_segments(len: usize) {
    let mut bare = Bare::new(LogConfig { segment_bytes: 1024 * 1024, ..LogConfig::default() });
    let mut last = None;
    let mut unsynced = false;
    for seq in 0..5_000_000 / len as u64 {
        bare.append(seq, len);
        bare.flush();
        while !bare.out.is_empty() {
            for request in core::mem::take(&mut bare.out) {
                if let DiskOp::Append { segment, offset, sync, .. } = request.op {
                    if last.is_some_and(|last| last != segment) {
                        assert!(!unsynced, "{segment} is begun too early");
                        assert_eq!(offset, 0);
                    }
                    last = Some(segment);
                    unsynced = !sync;
                }
                bare.answer(request.id, DiskOutcome::Done);
            }
            bare.flush();
        }
    }
    assert!(last > Some(SegmentId(3)));
}

#[test]
fn a_segment_is_synced_before_the_next_is_written() {
    // Some at once, or each by itself so that the segment's last append is long done when the next segment begins.
    check_order_of_segments(50_000);
    check_order_of_segments(300_000);
}

#[test]
fn a_durable_block_that_rots_is_not_taken_for_a_torn_end() {
    let mut world = World::new(6, small_config());
    world.recover_first();
    let mut ends = Vec::new();
    for owner in [1, 2, 3] {
        world.publish(&[owner], RefFlags::NONE);
        ends.push(world.log.end().0 as usize);
        world.log.request_sync();
        world.settle_down();
    }
    // The third block says that the second was durable.
    let file = world.disk.files.get_mut(&SegmentId(1)).unwrap();
    file.data[ends[0].next_multiple_of(8)..ends[1]].fill(0);
    assert!(world.restart().is_none());
    assert!(world.fatal.unwrap().contains("it had been durable"));
}

/// One flipped bit hides no more than one record, and all others are told of.
#[test]
fn what_is_left_around_a_flipped_bit_is_told() {
    for seed in 0..60 {
        let mut world = World::new(seed, LogConfig { segment_bytes: 32 * 1024, ..small_config() });
        world.recover_first();
        for _ in 0..12 {
            for owner in 0..=world.rng.below(4) {
                world.publish(&[owner], RefFlags::NONE);
            }
            world.change_metadata();
            world.log.request_sync();
            world.settle_down();
        }
        let (messages, changes) = (world.live_keys().len(), world.queues.changes);
        let end = world.log.durable().0;
        let bit = SEGMENT_HEADER_BYTES as u64 * 8 + world.rng.below((end - SEGMENT_HEADER_BYTES as u64) * 8);
        world.disk.rot(SegmentId(1), bit as usize);
        if world.restart().is_some() {
            // It was padding, or in the last block, which nothing says was durable.
            continue;
        }
        let left = world.left.take().expect("the rest is told");
        let damage = left.damage.as_ref().unwrap();
        let known: usize = left.owners.values().map(|owner| owner.refs.len()).sum();
        let lost = messages - known + (changes as usize - left.metadata.len());
        assert!(damage.records_lost <= 1 && lost as u64 == damage.records_lost, "seed {seed}, bit {bit}: {damage:?}");
        assert!(!damage.is_of_metadata);
    }
}

/// Nothing says that the last block was durable, but for how little it differs from a sound one.
#[test]
fn one_bit_of_the_last_block_is_doubtful_and_a_tear_is_not() {
    let (mut doubtful, mut kept, mut torn) = (0, 0, 0);
    for seed in 0..200 {
        let mut world = World::new(seed, LogConfig { segment_bytes: 32 * 1024, ..small_config() });
        world.recover_first();
        let mut start = 0;
        for _ in 0..3 {
            start = world.log.durable().0.max(SEGMENT_HEADER_BYTES as u64);
            for owner in 0..=world.rng.below(3) {
                world.publish(&[owner], RefFlags::NONE);
            }
            world.change_metadata();
            world.log.request_sync();
            world.settle_down();
        }
        let (messages, end) = (world.live_keys().len(), world.log.durable().0);
        let files = world.disk.files.clone();
        let bit = (start * 8 + world.rng.below((end - start) * 8)) as usize;
        world.disk.rot(SegmentId(1), bit);
        let recovered = world.restart().expect("it may be torn");
        let known: usize = recovered.owners.values().map(|owner| owner.refs.len()).sum();
        let data = &files[&SegmentId(1)].data[..end as usize];
        let (doubt, expected) = (recovered.doubt.is_some(), is_doubtful(data, start as usize, bit / 8));
        assert_eq!(doubt, expected, "seed {seed}, bit {bit}, block {start}..{end}");
        assert!(!doubt || known < messages, "seed {seed}, bit {bit}: nothing is missing");
        kept += u64::from(known == messages);
        doubtful += u64::from(recovered.doubt.is_some());
        // A sector of it is not there.
        world.disk.files = files;
        let sectors = start.next_multiple_of(512)..end;
        if sectors.end > sectors.start + 512 {
            let at = (sectors.start + world.rng.below((sectors.end - sectors.start) / 512) * 512) as usize;
            world.disk.files.get_mut(&SegmentId(1)).unwrap().data[at..at + 512].fill(0);
            let recovered = world.restart().expect("it is torn");
            assert!(recovered.doubt.is_none(), "seed {seed}: {:?}", recovered.doubt);
            torn += 1;
        }
    }
    // Of the others, some were padding, and some stood where nothing tells whether the sector was written.
    assert!(doubtful > 150 && torn > 10 && doubtful + kept < 200, "{doubtful} doubtful, {kept} kept, {torn} torn");
}

/// Whether a bit of this byte of the last block, which begins at `start`, may be known to have turned.
fn is_doubtful(data: &[u8], start: usize, byte: usize) -> bool {
    let (mut at, mut checksums, mut is_short) = (start + 48, vec![start + 4], byte < start + 48);
    while data.len() - at >= 8 {
        let len = u32::from_le_bytes(data[at..at + 4].try_into().unwrap()) as usize;
        is_short |= (at..at + len).contains(&byte) && len <= 2048;
        checksums.push(at + 4);
        at += len;
    }
    let sector = |byte: usize| byte / 512;
    // With nothing but zeros in its last sector the block may have been written up to there.
    is_short &= data[(data.len() - 1) / 512 * 512..].iter().any(|byte| *byte != 0);
    let is_whole = |checksum: &usize| sector(*checksum) == sector(checksum + 3);
    is_short && checksums.iter().any(|checksum| is_whole(checksum) && sector(*checksum) == sector(byte))
}

/// A metadata record in a segment of which only the summary is read.
#[test]
fn messages_are_known_though_metadata_rotted() {
    let mut world = settled_world(4);
    let left = world.restart().unwrap();
    let segments: Vec<_> = world.log.segments.iter().map(|segment| segment.id).collect();
    let messages: usize = left.owners.values().map(|owner| owner.refs.len()).sum();
    let mut found = 0;
    for change in 0..world.queues.changes {
        let files = world.disk.files.clone();
        for id in &segments[..segments.len() - 1] {
            // The record of a change: its length, and behind checksum and kind the number.
            let record = [&17u32.to_le_bytes()[..], &[0; 4], &[4], &change.to_le_bytes()[..]].concat();
            let is_it = |bytes: &[u8]| bytes[..4] == record[..4] && bytes[8..] == record[8..];
            let Some(at) = world.disk.files[id].data.windows(17).position(is_it) else { continue };
            world.disk.rot(*id, (at + 10) * 8);
            if world.restart().is_none() {
                let left = world.left.take().expect("the rest is told");
                let damage = left.damage.unwrap();
                assert!(damage.records_lost == 0 && damage.is_of_metadata, "{damage:?}");
                assert_eq!(left.owners.values().map(|owner| owner.refs.len()).sum::<usize>(), messages);
                found += 1;
            }
        }
        world.disk.files = files;
    }
    assert!(found > 2, "{found}");
}

#[test]
fn a_stale_block_beyond_the_end_never_comes_back() {
    // 1. The first boot writes blocks A, B and C; only A is synced. A crash takes B and leaves C.
    // 2. The second boot ends the log after A and writes another block where B was, just as long.
    // 3. The third boot must not take C for what follows.
    let mut world = World::new(7, LogConfig { segment_bytes: 32 * 1024, ..small_config() });
    world.recover_first();
    let append = |world: &mut World, owner, len| {
        let reference = Ref { owner, seq: 0, state: RefState::default() };
        world.log.append_message(&[reference], &[], &Bytes::from(vec![1; len]))
    };
    append(&mut world, 1, 100);
    world.log.request_sync();
    world.settle_down();
    let b = append(&mut world, 2, 5000);
    let c = append(&mut world, 3, 5000);
    world.flush();
    while world.log.written() < c.end() {
        assert!(world.disk_step().is_none());
        world.flush();
    }
    assert!(world.log.durable() < b.end());
    let file = world.disk.files.get_mut(&SegmentId(1)).unwrap();
    file.data[b.lsn.0 as usize..b.end().0 as usize].fill(0);

    let recovered = world.restart().unwrap();
    assert_eq!(recovered.owners.keys().copied().collect::<Vec<_>>(), vec![1]);
    assert!(recovered.truncated_bytes > 10_000, "{}", recovered.truncated_bytes);
    world.log.retain(recovered.owners[&1].refs[0].place());
    let other = append(&mut world, 4, 5000);
    assert_eq!((other.lsn, other.len), (b.lsn, b.len));
    world.log.request_sync();
    world.settle_down();

    let recovered = world.restart().unwrap();
    assert_eq!(recovered.owners.keys().copied().collect::<Vec<_>>(), vec![1, 4]);
}

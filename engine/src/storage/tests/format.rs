//! The bytes of each format version ever released. They must stay readable.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;

use super::super::segment::SEGMENT_HEADER_BYTES;
use super::super::{Ref, RefFlags, RefState};
use super::world::World;
use crate::config::LogConfig;
use crate::ids::SegmentId;

const FORMAT_1: &str = include_str!("format_1.txt");
const FORMAT_2: &str = include_str!("format_2.txt");
const SEGMENT_BYTES: u64 = 4096;

fn config() -> LogConfig {
    LogConfig { segment_bytes: SEGMENT_BYTES, ..super::world::small_config() }
}

/// A log with records of every kind, over two segments.
fn sample() -> World {
    let mut world = World::new(1, config());
    world.recover_first();
    let reference = |owner, seq, flags| Ref { owner, seq, state: RefState::from_flags(flags) };
    world.log.append_metadata(b"before the snapshot");
    world.log.append_snapshot(&world.queues);
    world.log.append_metadata(b"after the snapshot");
    let refs = [reference(1, 0, RefFlags::NONE), reference(2, 300, RefFlags::REDELIVERED)];
    world.log.append_message(&refs, b"head ", &Bytes::from_static(b"body"));
    let place = world.log.append_message(&[reference(1, 1, RefFlags::NONE)], &[], &Bytes::from_static(b"settled"));
    world.log.append_message(&[reference(1, 2, RefFlags::TRANSIENT)], &[], &Bytes::from_static(b"transient"));
    world.log.settle(1, 1, place);
    world.log.mark_delivered(1, 0);
    world.log.note_state(Ref { owner: 2, seq: 300, state: changed_state() });
    world.log.request_sync();
    world.settle_down();
    world.log.append_message(&[reference(1, 3, RefFlags::NONE)], &[], &Bytes::from(vec![0; 3320]));
    world.log.request_sync();
    world.settle_down();
    world
}

/// What became of the second message: every field of a state is there.
fn changed_state() -> RefState {
    RefState { priority: 7, dying: 2, deliveries: 300, size: 9, expires_at: 1_700_000_000_000, ..RefState::default() }
}

/// Lines of segment, offset and 16 bytes; what is zero is left out.
fn print(world: &World) -> String {
    use core::fmt::Write as _;
    let mut text = String::new();
    for (id, file) in &world.disk.files {
        for (line, bytes) in file.data.chunks(16).enumerate() {
            if bytes.iter().any(|byte| *byte != 0) {
                write!(text, "{id} {:04x}", line * 16).unwrap();
                for byte in bytes {
                    write!(text, " {byte:02x}").unwrap();
                }
                text.push('\n');
            }
        }
    }
    text
}

fn load(text: &str) -> World {
    let mut world = World::new(2, config());
    world.recover_first();
    world.disk.files.clear();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split(' ');
        let id = SegmentId(words.next().unwrap().parse().unwrap());
        let offset = usize::from_str_radix(words.next().unwrap(), 16).unwrap();
        let bytes: Vec<u8> = words.map(|word| u8::from_str_radix(word, 16).unwrap()).collect();
        let file = world.disk.files.entry(id).or_default();
        file.data.resize(4096, 0);
        file.data[offset..offset + bytes.len()].copy_from_slice(&bytes);
    }
    world
}

fn check_sample(world: &mut World, second: RefState) {
    let recovered = world.restart().expect("readable");
    assert_eq!(recovered.snapshot.as_deref(), Some(&0u64.to_le_bytes()[..]));
    assert_eq!(recovered.metadata, vec![Bytes::from_static(b"after the snapshot")]);
    assert_eq!(recovered.truncated_bytes, 0);
    let seen: Vec<_> = recovered
        .owners
        .iter()
        .flat_map(|(owner, known)| known.refs.iter().map(|found| (*owner, found.seq, found.state, found.shares)))
        .collect();
    let delivered = RefState::from_flags(RefFlags::REDELIVERED);
    let second = RefState { flags: RefFlags::REDELIVERED, ..second };
    assert_eq!(seen, vec![(1, 0, delivered, 2), (1, 3, RefState::default(), 1), (2, 300, second, 2)]);
    assert_eq!(recovered.owners[&1].next_seq, 4);
    let place = recovered.owners[&1].refs[0].place();
    let data = world.read(place);
    assert_eq!(world.log.open_record(place.lsn, &data).unwrap(), b"head body"[..]);
}

#[test]
fn format_2_is_still_written() {
    let text = print(&sample());
    let expected: String =
        FORMAT_2.lines().filter(|line| !line.starts_with('#')).flat_map(|line| [line, "\n"]).collect();
    assert!(text == expected, "the format has changed without a new version:\n{text}");
}

#[test]
fn format_1_is_still_read() {
    check_sample(&mut load(FORMAT_1), RefState::default());
}

#[test]
fn format_2_is_still_read() {
    check_sample(&mut load(FORMAT_2), changed_state());
}

#[test]
fn a_torn_first_block_takes_its_segment_but_not_the_one_before() {
    let mut world = load(FORMAT_2);
    // A bit of the summary.
    world.disk.files.get_mut(&SegmentId(2)).unwrap().data[584 + 48 + 4] ^= 1;
    let recovered = world.restart().unwrap();
    assert!(recovered.truncated_bytes > 3000);
    assert_eq!(recovered.owners[&1].refs.len(), 1);
    assert_eq!(recovered.owners[&2].refs.len(), 1);
    assert_eq!(recovered.metadata.len(), 1);
    // The summary is written again.
    for owner in [1, 2] {
        world.log.retain(recovered.owners[&owner].refs[0].place());
    }
    world.log.append_metadata(b"more");
    world.log.request_sync();
    world.settle_down();
    let read_before = world.disk.read_bytes;
    let recovered = world.restart().unwrap();
    assert_eq!(recovered.metadata.len(), 2);
    assert_eq!(recovered.owners[&1].refs.len(), 1);
    assert!(world.disk.read_bytes - read_before < 3 * SEGMENT_BYTES, "the first segment was read in full");
}

/// An interrupted first start leaves files without a header too, but nothing in them was ever durable.
#[test]
fn a_log_whose_headers_are_lost_is_not_begun_anew() {
    let mut world = load(FORMAT_2);
    for file in world.disk.files.values_mut() {
        file.data[..SEGMENT_HEADER_BYTES].fill(0);
    }
    let files = world.disk.files.len();
    assert!(world.restart().is_none());
    assert_eq!(world.disk.files.len(), files, "nothing was deleted");
    let mut begun = load(FORMAT_2);
    for file in begun.disk.files.values_mut() {
        file.data.fill(0);
    }
    assert_eq!(begun.restart().map(|recovered| recovered.metadata.len()), Some(0));
}

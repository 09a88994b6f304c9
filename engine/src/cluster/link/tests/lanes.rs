//! Messages on their way: whole, in order, and none in front of what is more urgent.

use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;

use super::super::chunk::{Header, Part, Target, header_len};
use super::super::{Event, Lane, Link, Unsent};
use super::pair::{Pair, Rng, events};
use crate::limits;
use crate::time::Instant;

const MIB: usize = 1024 * 1024;

/// Two that know each other, of which only one is of interest.
fn sender() -> Link {
    Pair::open().dialer
}

fn message(length: usize) -> Bytes {
    Bytes::from(vec![7; length])
}

/// The next chunk of a link whose driver has nothing unwritten: its lane, its part and the bytes of its content.
fn next_chunk(link: &mut Link) -> (Lane, Part, usize) {
    let mut parts = Vec::new();
    link.take_output(1, &mut parts);
    let bytes = parts.concat();
    link.on_written(bytes.len());
    link.check_invariants();
    let header = Header::decode(&bytes[..header_len(bytes[0])]).unwrap();
    assert_eq!(bytes.len(), header_len(bytes[0]) + header.length, "one chunk at a time");
    let Target::Lane(lane) = header.target else { panic!("no refusal was asked for") };
    (lane, header.part, header.length)
}

#[test]
fn messages_arrive_whole_and_in_the_order_of_their_lane() {
    for seed in 0..60 {
        let mut rng = Rng(seed);
        let mut pair = Pair::open();
        let mut sent = [const { Vec::new() }; 4];
        let mut received = [const { Vec::new() }; 4];
        let most = [3, 300, 100_000][rng.below(3)];
        for round in 0..40u64 {
            for _ in 0..rng.below(4) {
                let lane = Lane::ALL[rng.below(4)];
                let length =
                    [0, 1, 50, 5000, limits::LINK_CHUNK_BYTES, limits::LINK_CHUNK_BYTES + 1, 400_000][rng.below(7)];
                // Short pieces take long ways.
                let length = length.min(most * 40);
                let message: Bytes = (0..length as u64).map(|at| (at * 31 + round) as u8).collect();
                pair.dialer.send(lane, message.clone()).unwrap();
                sent[lane.index()].push(message);
            }
            for _ in 0..rng.below(4) {
                pair.step(&mut |_| rng.below(most + 1));
            }
        }
        while pair.step(&mut |_| rng.below(most + 1)) {}
        for event in events(&mut pair.acceptor) {
            let Event::Message(lane, message) = event else { panic!("{event:?}") };
            received[lane.index()].push(message);
        }
        assert!(sent == received, "seed {seed}");
        assert_eq!((pair.dialer.waiting_bytes(), pair.acceptor.buffered_bytes()), (0, 0));
    }
}

#[test]
fn both_directions_go_at_once() {
    let mut pair = Pair::open();
    for _ in 0..3 {
        pair.dialer.send(Lane::Queues, message(200_000)).unwrap();
        pair.acceptor.send(Lane::Queues, message(100_000)).unwrap();
    }
    while pair.step(&mut |_| 7777) {}
    assert_eq!(events(&mut pair.acceptor), vec![Event::Message(Lane::Queues, message(200_000)); 3]);
    assert_eq!(events(&mut pair.dialer), vec![Event::Message(Lane::Queues, message(100_000)); 3]);
}

#[test]
fn a_heartbeat_passes_a_bulk_transfer_within_one_chunk() {
    let mut link = sender();
    link.send(Lane::Bulk, message(10 * MIB)).unwrap();
    assert_eq!(next_chunk(&mut link), (Lane::Bulk, Part::Beginning(10 * MIB), limits::LINK_CHUNK_BYTES));
    link.send(Lane::Consensus, message(20)).unwrap();
    assert_eq!(next_chunk(&mut link), (Lane::Consensus, Part::Whole, 20));
    assert_eq!(next_chunk(&mut link), (Lane::Bulk, Part::More, limits::LINK_CHUNK_BYTES));
}

#[test]
fn what_is_urgent_waits_for_one_chunk_whatever_else_waits() {
    let rival = message(10 * MIB);
    for (urgent, rivals) in [(Lane::Control, &Lane::ALL[1..]), (Lane::Consensus, &Lane::ALL[2..])] {
        let mut longest = 0;
        // At each moment of a long rivalry between the others.
        for moment in 0..60 {
            let mut link = sender();
            for lane in rivals {
                link.send(*lane, rival.clone()).unwrap();
            }
            for _ in 0..moment {
                next_chunk(&mut link);
            }
            // Small ones leave the shares of the others due.
            for _ in 0..3 {
                link.send(urgent, message(20)).unwrap();
                let waited = core::iter::from_fn(|| Some(next_chunk(&mut link))).position(|chunk| chunk.0 == urgent);
                longest = longest.max(waited.unwrap());
            }
        }
        assert_eq!(longest, 1, "the share of others is a single chunk, and is given");
    }
}

#[test]
fn nobody_starves() {
    let mut link = sender();
    for lane in Lane::ALL {
        for _ in 0..32 {
            link.send(lane, message(MIB)).unwrap();
        }
    }
    let mut bytes = [0; 4];
    let mut waited = [0; 4];
    let mut longest = [0; 4];
    // Until the most urgent have nothing more.
    while link.lane_bytes(Lane::Control) > 0 {
        let (lane, _, length) = next_chunk(&mut link);
        bytes[lane.index()] += length;
        for other in Lane::ALL {
            waited[other.index()] += 1;
        }
        waited[lane.index()] = 0;
        for at in 0..4 {
            longest[at] = longest[at].max(waited[at]);
        }
    }
    let all: usize = bytes.iter().sum();
    for lane in Lane::ALL {
        assert!(bytes[lane.index()] * 10 >= all, "{lane} got {} of {all}", bytes[lane.index()]);
        assert!(longest[lane.index()] <= 12, "{lane} waited for {} chunks", longest[lane.index()]);
    }
    assert!(bytes[0] * 2 >= all, "the most urgent get most of it: {bytes:?}");
    assert_eq!(longest[0], 1);
}

#[test]
fn less_urgent_lanes_have_the_link_to_themselves_when_others_rest() {
    let mut link = sender();
    link.send(Lane::Bulk, message(5 * MIB)).unwrap();
    link.send(Lane::Queues, message(5 * MIB)).unwrap();
    let lanes: Vec<_> = (0..160).map(|_| next_chunk(&mut link).0).collect();
    assert_eq!(link.waiting_bytes(), 0);
    // One of eight while the other has something, and all of it after that.
    let shared = lanes.iter().rposition(|lane| *lane == Lane::Queues).unwrap();
    assert!((80 + 80 / 8..=80 + 80 / 7).contains(&shared), "{shared}");
    assert!(lanes[shared + 1..].iter().all(|lane| *lane == Lane::Bulk));
}

#[test]
fn the_driver_holds_a_window_and_a_chunk_at_most() {
    let mut link = sender();
    for lane in Lane::ALL {
        link.send(lane, message(MIB)).unwrap();
    }
    let window = 200_000;
    let (mut held, mut rng) = (0, Rng(5));
    while link.waiting_bytes() > 0 {
        let mut parts = Vec::new();
        link.take_output(window, &mut parts);
        let taken: usize = parts.iter().map(Bytes::len).sum();
        assert!(taken == 0 || held < window, "it holds {held} bytes already");
        held += taken;
        assert!(held < window + limits::LINK_CHUNK_BYTES + 12, "{held}");
        assert!(held >= window || !link.has_output(), "there is room for more than {held}");
        let written = 1 + rng.below(held);
        link.on_written(written);
        held -= written;
    }
}

#[test]
#[should_panic(expected = "bytes written of")]
fn no_more_is_written_than_was_taken() {
    sender().on_written(1);
}

#[test]
fn a_lane_is_congested_from_the_high_mark_down_to_the_low_one() {
    let mut link = sender();
    for _ in 0..limits::LINK_LANE_HIGH_BYTES / MIB - 1 {
        link.send(Lane::Queues, message(MIB)).unwrap();
    }
    link.send(Lane::Queues, message(MIB - 1)).unwrap();
    assert!(!link.is_congested(Lane::Queues));
    link.send(Lane::Queues, message(1)).unwrap();
    assert!(link.is_congested(Lane::Queues));
    assert!(!link.is_congested(Lane::Consensus), "each lane for itself");
    assert_eq!(link.lane_bytes(Lane::Queues), limits::LINK_LANE_HIGH_BYTES);
    while link.lane_bytes(Lane::Queues) > limits::LINK_LANE_LOW_BYTES {
        assert!(link.is_congested(Lane::Queues), "at {}", link.lane_bytes(Lane::Queues));
        next_chunk(&mut link);
    }
    assert!(!link.is_congested(Lane::Queues));
    link.send(Lane::Queues, message(MIB)).unwrap();
    assert!(!link.is_congested(Lane::Queues), "the high mark counts again");
}

#[test]
fn what_is_over_the_bound_is_reported_and_not_taken() {
    let mut link = sender();
    let fit = limits::LINK_LANE_BYTES_MAX / MIB;
    for _ in 0..fit {
        link.send(Lane::Queues, message(MIB)).unwrap();
    }
    assert_eq!(link.send(Lane::Queues, message(1)), Err(Unsent::Full));
    assert_eq!(link.waiting_bytes(), fit * MIB);
    link.send(Lane::Queues, Bytes::new()).unwrap();
    link.send(Lane::Consensus, message(1)).unwrap();
    link.check_invariants();
}

#[test]
fn an_idle_lane_takes_one_message_of_any_allowed_size() {
    let mut link = sender();
    let longest = limits::LINK_MESSAGE_BYTES_MAX;
    assert!(longest > limits::LINK_LANE_BYTES_MAX);
    assert_eq!(link.send(Lane::Consensus, message(longest + 1)), Err(Unsent::TooLarge));
    link.send(Lane::Consensus, message(longest)).unwrap();
    assert_eq!(link.send(Lane::Consensus, message(1)), Err(Unsent::Full));
    assert_eq!(link.send(Lane::Control, message(limits::LINK_CONTROL_BYTES_MAX + 1)), Err(Unsent::TooLarge));
    assert_eq!(link.send(Lane::Bulk, message(limits::LINK_BULK_BYTES_MAX + 1)), Err(Unsent::TooLarge));
    link.check_invariants();
}

#[test]
fn a_message_in_one_chunk_is_never_copied() {
    let mut pair = Pair::open();
    let content = message(60_000);
    pair.dialer.send(Lane::Queues, content.clone()).unwrap();
    let mut parts = Vec::new();
    pair.dialer.take_output(1, &mut parts);
    assert_eq!(parts.iter().map(Bytes::len).collect::<Vec<_>>(), [8, 60_000]);
    assert_eq!(parts[1].as_ptr(), content.as_ptr());
    let wire = Bytes::from(parts.concat());
    pair.acceptor.receive(Instant::ZERO, wire.clone());
    let [Event::Message(Lane::Queues, received)] = &events(&mut pair.acceptor)[..] else { panic!("no message") };
    assert_eq!(received.as_ptr(), wire[8..].as_ptr());
    assert_eq!(received, &content);
}

#[test]
fn small_messages_share_a_buffer() {
    let mut link = sender();
    for _ in 0..100 {
        link.send(Lane::Queues, message(100)).unwrap();
    }
    let mut parts = Vec::new();
    link.take_output(MIB, &mut parts);
    assert_eq!(parts.iter().map(Bytes::len).collect::<Vec<_>>(), [100 * 108]);
}

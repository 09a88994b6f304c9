//! What quorum queues cost that nobody uses: a group of nodes each, of which there may be thousands.

use std::thread;
use std::time::{Duration, Instant};

use leveret_engine::amqp::method::queue;
use leveret_engine::amqp::{FieldTable, ShortStr};

use super::kills::{block_on, login};
use super::three::Three;
use super::until;

/// Bytes of memory that a replica may take; more where there are so few that other things count.
const REPLICA_BYTES: u64 = 8 * 1024;
const REPLICA_BYTES_OF_FEW: u64 = 16 * 1024;
/// The most of one core that a node may take meanwhile, where there are many.
const CORE_SHARE: f64 = 0.02;
const MANY: u64 = 10_000;
/// How long the nodes are watched.
const WATCH: Duration = Duration::from_secs(5);

/// How many queues. `LEVERET_IDLE=10000` asks for more; a release program as `LEVERET_BIN` declares them in two minutes.
fn count() -> u64 {
    std::env::var("LEVERET_IDLE").map_or(500, |count| count.parse().expect("LEVERET_IDLE is a number of queues"))
}

#[test]
fn idle_quorum_queues_take_little_memory_and_write_nothing() {
    let (three, count) = (Three::start(), count());
    let before = [0, 1, 2].map(|at| three.resident_bytes(at));
    block_on(async {
        let mut client = login(three.address(0)).await?;
        for number in 0..count {
            let arguments = FieldTable::new().with("x-queue-type", "quorum");
            let queue = ShortStr::truncated(&format!("idle {number}"));
            client.call(queue::Declare { queue, durable: true, arguments, ..queue::Declare::default() }).await?;
        }
        client.close().await
    })
    .unwrap();
    let written = || [0, 1, 2].map(|at| three.written_bytes(at));
    until("the nodes rest", || {
        let before = written();
        thread::sleep(Duration::from_secs(1));
        written() == before
    });
    let of_replica = [0, 1, 2].map(|at| three.resident_bytes(at).saturating_sub(before[at]) / count);
    let (begin, written_before, used) = (Instant::now(), written(), [0, 1, 2].map(|at| three.processor_time(at)));
    thread::sleep(WATCH);
    let share = |at: usize| (three.processor_time(at) - used[at]).as_secs_f64() / begin.elapsed().as_secs_f64();
    let shares = [0, 1, 2].map(share);
    let percent = shares.map(|share| format!("{:.2} %", share * 100.0));
    eprintln!("{count} queues, on each node: {of_replica:?} bytes of memory per replica, {percent:?} of a core");
    assert_eq!(written(), written_before, "nobody does anything");
    let most = if count < MANY { REPLICA_BYTES_OF_FEW } else { REPLICA_BYTES };
    assert!(count < MANY || shares.iter().all(|share| *share <= CORE_SHARE), "{percent:?} of a core");
    assert!(of_replica.iter().all(|bytes| *bytes <= most), "{of_replica:?} bytes of memory per replica");
}

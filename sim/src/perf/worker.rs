//! One thread's work: any number of producers or consumers, each doing what its socket allows.

use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::clock::Clock;
use super::link::Link;

/// The longest wait, so that the end of a run is noticed.
const WAIT_MAX_NS: u64 = 20_000_000;

/// A producer or a consumer.
pub(super) trait Peer {
    fn link(&self) -> &Link;
    /// Writes what can be written; tells what to wait for.
    fn advance(&mut self, now: u64) -> Result<Wish, String>;
    /// Reads what has come.
    fn on_readable(&mut self, now: u64) -> Result<(), String>;
}

/// What a peer waits for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    pub(super) reads: bool,
    pub(super) writes: bool,
    /// When it wants to go on in any case.
    pub(super) due: Option<u64>,
}

/// What a thread does while none of its peers can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    /// Sleeps. To be woken takes tens of microseconds, which count as latency.
    Sleep,
    /// Looks again at once.
    Spin,
}

/// Lets peers work until `stop` is set.
pub(super) fn drive(
    peers: &mut [&mut dyn Peer],
    clock: Clock,
    waiting: Waiting,
    stop: &AtomicBool,
) -> Result<(), String> {
    let mut wishes = Vec::with_capacity(peers.len());
    let mut ready = vec![false; peers.len()];
    while !stop.load(Ordering::Relaxed) {
        let now = clock.now();
        wishes.clear();
        for peer in peers.iter_mut() {
            wishes.push(peer.advance(now)?);
        }
        let timeout_ns = match waiting {
            Waiting::Spin => 0,
            Waiting::Sleep => {
                let due = wishes.iter().filter_map(|wish| wish.due).min().unwrap_or(u64::MAX);
                due.saturating_sub(now).min(WAIT_MAX_NS)
            }
        };
        wait(peers, &wishes, timeout_ns, &mut ready)?;
        let now = clock.now();
        for (peer, is_ready) in peers.iter_mut().zip(&ready) {
            if *is_ready {
                peer.on_readable(now)?;
            }
        }
    }
    Ok(())
}

/// Waits for the first thing wished for, and notes who can read.
fn wait(peers: &[&mut dyn Peer], wishes: &[Wish], timeout_ns: u64, ready: &mut [bool]) -> Result<(), String> {
    let mut fds: smallvec::SmallVec<[PollFd<'_>; 8]> = peers
        .iter()
        .zip(wishes)
        .map(|(peer, wish)| {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, wish.reads);
            flags.set(PollFlags::OUT, wish.writes);
            PollFd::from_borrowed_fd(peer.link().fd(), flags)
        })
        .collect();
    let timeout = Timespec { tv_sec: 0, tv_nsec: i64::try_from(timeout_ns).expect("it is bounded") };
    match poll(&mut fds, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(format!("poll: {error}")),
    }
    for ((is_ready, fd), wish) in ready.iter_mut().zip(&fds).zip(wishes) {
        *is_ready = wish.reads && !fd.revents().difference(PollFlags::OUT).is_empty();
    }
    Ok(())
}

//! The simulated network between clients and node: byte streams, cut anywhere, slow, ended in every way a socket can end.
//!
//! A [`Link`] is one connection. It keeps its bytes in order by queues of its own; the world only schedules that the front of one is
//! due. Bytes move by reference.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::clock::Micros;
use crate::nodes::At;
use crate::plan::LinkPlan;
use crate::rng::{Fate, ThingFate, hits, scale};
use crate::scheduler::Place;

/// One connection between a client and the node.
#[derive(Debug)]
pub(crate) struct Link {
    /// The client.
    pub(crate) client: u32,
    /// The node.
    pub(crate) node: At,
    plan: LinkPlan,
    ordinal: u64,
    fates: ThingFate,
    /// Bytes from client to node.
    pub(crate) up: Stream,
    /// Bytes from node to client.
    pub(crate) down: Stream,
    /// Bytes the node ever sent, the client ever took, and the node was told of as written.
    sent: u64,
    taken: u64,
    told: u64,
    /// The client closes once all it said has arrived.
    pub(crate) fin_after_up: bool,
    /// The node closes once all it said was taken.
    pub(crate) close_after_down: bool,
    /// The node still has this connection.
    pub(crate) is_open_at_node: bool,
    /// The client still has this connection.
    pub(crate) is_open_at_client: bool,
    /// Nothing arrives any more and nobody is told.
    pub(crate) is_cut: bool,
    /// A limit on the rate in bytes per millisecond; 0 is none.
    pub(crate) rate: u32,
    /// Everything takes so much longer.
    pub(crate) extra: Micros,
    /// When something arrived last at either end.
    pub(crate) active_at: Micros,
    /// The event that says how much was written.
    pub(crate) telling: Telling,
}

/// Whether the node is about to be told how much of what it sent was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Telling {
    /// There is no occasion.
    No,
    /// It would be told here, if there were something to tell.
    Kept(Place),
    /// The event is scheduled.
    Due,
}

/// One direction.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    parts: VecDeque<Bytes>,
    len: usize,
    /// An arrival is scheduled.
    pub(crate) is_due: bool,
    /// The receiver does not read.
    pub(crate) is_stopped: bool,
}

impl Link {
    /// A new connection.
    pub(crate) fn new(seed: u64, client: u32, node: At, number: u32, plan: LinkPlan) -> Self {
        Self {
            client,
            node,
            plan,
            ordinal: 0,
            fates: Fate::new(seed, "net").thing(u64::from(number)),
            up: Stream::default(),
            down: Stream::default(),
            sent: 0,
            taken: 0,
            told: 0,
            fin_after_up: false,
            close_after_down: false,
            is_open_at_node: true,
            is_open_at_client: true,
            is_cut: false,
            rate: 0,
            extra: 0,
            active_at: 0,
            telling: Telling::No,
        }
    }

    /// How long the next thing takes from one end to the other.
    pub(crate) fn latency(&mut self) -> Micros {
        self.ordinal += 1;
        self.extra + scale(self.fates.of(self.ordinal), self.plan.latency_us.0, self.plan.latency_us.1)
    }

    /// Takes what arrives next at the node.
    pub(crate) fn arrive_up(&mut self) -> Bytes {
        let most = self.segment();
        self.up.take(most)
    }

    /// Takes what arrives next at the client.
    pub(crate) fn arrive_down(&mut self) -> Bytes {
        let most = self.segment();
        let bytes = self.down.take(most);
        self.taken += bytes.len() as u64;
        bytes
    }

    /// The node sends.
    pub(crate) fn send_down(&mut self, bytes: Bytes) {
        self.sent += bytes.len() as u64;
        self.down.push(bytes);
    }

    /// Bytes that the node's system has taken since this was asked last.
    pub(crate) fn newly_written(&mut self) -> usize {
        let newly = self.written().saturating_sub(self.told);
        self.told += newly;
        usize::try_from(newly).expect("what is in memory fits")
    }

    /// Whether [`Link::newly_written`] has something to say.
    pub(crate) fn has_newly_written(&self) -> bool {
        self.written() > self.told
    }

    /// Whether the node's system has taken everything, and less than `most` bytes of that were not told.
    pub(crate) fn is_little_untold(&self, most: u64) -> bool {
        self.written() == self.sent && self.sent - self.told < most
    }

    fn written(&self) -> u64 {
        self.sent.min(self.taken + u64::from(self.plan.window_bytes))
    }

    /// Whether the client may write more before its system holds it up.
    pub(crate) fn has_room_up(&self) -> bool {
        self.up.len < usize::try_from(self.plan.window_bytes).expect("32 bits fit")
    }

    /// How long after the last arrival the next one may come.
    pub(crate) fn pause_after(&mut self, bytes: usize) -> Micros {
        self.ordinal += 1;
        let spread = scale(self.fates.of(self.ordinal), 0, 20);
        let rate = if self.rate == 0 { 0 } else { bytes as u64 * 1000 / u64::from(self.rate) };
        spread + rate
    }

    /// How many bytes arrive at once at most.
    fn segment(&mut self) -> usize {
        self.ordinal += 1;
        let random = self.fates.of(self.ordinal);
        let mut most = u64::from(self.plan.window_bytes).max(1);
        if self.plan.segment_bytes > 0 {
            most = most.min(u64::from(self.plan.segment_bytes));
        }
        if self.rate > 0 {
            most = most.min(u64::from(self.rate).max(64));
        }
        if hits(random, self.plan.cut) {
            // Small cuts are as likely as large ones: half a header is where the bugs are.
            let bits = scale(random.rotate_left(17), 0, 16);
            most = most.min(scale(random.rotate_left(40), 1, 1 << bits));
        }
        usize::try_from(most).expect("32 bits fit")
    }
}

impl Stream {
    /// Adds bytes at the end.
    pub(crate) fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.len += bytes.len();
            self.parts.push_back(bytes);
        }
    }

    /// Whether nothing is under way.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All that is under way is lost.
    pub(crate) fn clear(&mut self) {
        self.parts.clear();
        self.len = 0;
    }

    fn take(&mut self, most: usize) -> Bytes {
        let Some(front) = self.parts.front_mut() else { return Bytes::new() };
        let bytes =
            if front.len() <= most { self.parts.pop_front().expect("just looked at") } else { front.split_to(most) };
        self.len -= bytes.len();
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Ratio;

    fn link(segment_bytes: u32, window_bytes: u32) -> Link {
        let plan = LinkPlan { latency_us: (1, 9), segment_bytes, cut: Ratio(1, 2), window_bytes };
        Link::new(1, 0, At::FIRST, 0, plan)
    }

    #[test]
    fn bytes_arrive_in_order_however_they_are_cut() {
        let mut link = link(7, 100);
        for part in ["hello", " ", "", "world, this is long"] {
            link.up.push(Bytes::from(part));
        }
        let mut all = Vec::new();
        while !link.up.is_empty() {
            let bytes = link.arrive_up();
            assert!((1..=7).contains(&bytes.len()));
            all.extend_from_slice(&bytes);
        }
        assert_eq!(all, b"hello world, this is long");
    }

    #[test]
    fn what_the_window_cannot_hold_is_not_written() {
        let mut link = link(0, 10);
        link.send_down(Bytes::from(vec![0; 25]));
        assert_eq!(link.newly_written(), 10);
        assert_eq!(link.newly_written(), 0);
        let taken = link.arrive_down().len();
        assert!(taken > 0);
        assert_eq!(link.newly_written(), taken);
    }

    #[test]
    fn what_waits_or_is_much_is_not_told_late() {
        let mut link = link(0, 10);
        link.send_down(Bytes::from(vec![0; 8]));
        assert!(link.is_little_untold(9));
        assert!(!link.is_little_untold(8));
        link.send_down(Bytes::from(vec![0; 3]));
        assert!(!link.is_little_untold(100));
        link.arrive_down();
        assert!(link.is_little_untold(100));
    }
}

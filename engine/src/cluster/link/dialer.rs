//! When a node is dialed next.

use core::time::Duration;

use crate::limits;
use crate::storage::codec::mix;
use crate::time::Instant;

/// When to try to reach one configured node.
///
/// ```text
///             its time comes                on_linked
///   Pausing ─────────────────→ Dialing ─────────────────→ Linked
///      ↑                          │                          │
///      └── on_lost, or too long ──┴───────── on_lost ────────┘
/// ```
///
/// Each pause is twice as long as the one before, from [`limits::DIAL_PAUSE_MIN`] to [`limits::DIAL_PAUSE_MAX`], of which up to half
/// is left out by chance, so that nodes that lost each other at the same moment do not meet again and again.
#[derive(Debug)]
pub struct Dialer {
    state: State,
    /// Attempts in a row that led to no lasting link.
    failures: u32,
    seed: u64,
    /// Pauses so far.
    drawn: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Until then.
    Pausing(Instant),
    /// An attempt is under way, and fails at this time at the latest.
    Dialing(Instant),
    /// There is a link, since then.
    Linked(Instant),
}

/// What a [`Dialer`] asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// To dial. How that ends is told by [`Dialer::on_linked`] or [`Dialer::on_lost`].
    Begin,
    /// To give up the attempt that is under way, whose connection or handshake takes too long.
    Abandon,
}

impl Dialer {
    /// One that dials soon. The seed should differ from node to node, and from peer to peer.
    #[must_use]
    pub fn new(seed: u64, now: Instant) -> Self {
        let mut dialer = Self { state: State::Linked(now), failures: 0, seed, drawn: 0 };
        dialer.pause(now);
        dialer
    }

    /// There is a link to the node, whoever has dialed.
    pub fn on_linked(&mut self, now: Instant) {
        self.state = State::Linked(now);
    }

    /// The attempt has failed, or the link is gone. Of an attempt that was abandoned nothing needs to be said.
    pub fn on_lost(&mut self, now: Instant) {
        match self.state {
            State::Pausing(_) => return,
            State::Linked(since) if now.saturating_since(since) >= limits::DIAL_STEADY_AFTER => self.failures = 0,
            State::Dialing(_) | State::Linked(_) => self.failures = self.failures.saturating_add(1),
        }
        self.pause(now);
    }

    /// When [`Dialer::on_timeout`] is next wanted. `None` while there is a link.
    pub fn next_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Pausing(until) | State::Dialing(until) => Some(until),
            State::Linked(_) => None,
        }
    }

    /// The time asked for has come. Being early or late does no harm.
    pub fn on_timeout(&mut self, now: Instant) -> Option<Attempt> {
        if self.next_timeout().is_none_or(|at| now < at) {
            return None;
        }
        match self.state {
            State::Pausing(_) => {
                self.state = State::Dialing(now + limits::DIAL_TIMEOUT);
                Some(Attempt::Begin)
            }
            State::Dialing(_) => {
                self.on_lost(now);
                Some(Attempt::Abandon)
            }
            State::Linked(_) => None,
        }
    }

    /// How many attempts in a row led to no lasting link.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    fn pause(&mut self, now: Instant) {
        let doubled = 1u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        let longest = limits::DIAL_PAUSE_MIN.saturating_mul(doubled).min(limits::DIAL_PAUSE_MAX);
        let half = longest / 2;
        self.drawn += 1;
        let micros = u64::try_from(half.as_micros()).expect("pauses are short");
        let more = mix(self.seed ^ mix(self.drawn)) % (micros + 1);
        self.state = State::Pausing(now + half + Duration::from_micros(more));
    }
}

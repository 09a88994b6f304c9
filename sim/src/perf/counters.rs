//! What producers and consumers tell while they run.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The counts of one producer or consumer, on cache lines of their own. One thread writes, others look.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Counters {
    published: AtomicU64,
    confirmed: AtomicU64,
    delivered: AtomicU64,
    blocked: AtomicU64,
    is_done: AtomicBool,
}

/// The sum of some counters at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) published: u64,
    pub(super) confirmed: u64,
    pub(super) delivered: u64,
    /// How often the broker blocked a connection.
    pub(super) blocked: u64,
}

impl Counters {
    pub(super) fn set_published(&self, count: u64) {
        self.published.store(count, Ordering::Relaxed);
    }

    pub(super) fn add_confirmed(&self, count: u64) {
        self.confirmed.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn set_delivered(&self, count: u64) {
        self.delivered.store(count, Ordering::Relaxed);
    }

    /// A producer has published what it is to publish, and nothing of it is unconfirmed.
    pub(super) fn set_done(&self) {
        self.is_done.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_done(&self) -> bool {
        self.is_done.load(Ordering::Relaxed)
    }

    pub(super) fn count_blocked(&self) {
        self.blocked.fetch_add(1, Ordering::Relaxed);
    }
}

impl Counts {
    pub(super) fn sum<'a>(counters: impl IntoIterator<Item = &'a Counters>) -> Self {
        let mut sum = Self::default();
        for counters in counters {
            sum.published += counters.published.load(Ordering::Relaxed);
            sum.confirmed += counters.confirmed.load(Ordering::Relaxed);
            sum.delivered += counters.delivered.load(Ordering::Relaxed);
            sum.blocked += counters.blocked.load(Ordering::Relaxed);
        }
        sum
    }
}

//! What a consumer of a quorum queue has: its deliveries that are not settled.

use alloc::collections::BTreeSet;

use super::action::Delivery;
use super::ids::{ConsumerId, DeliveryNumber};
use super::slot::Slot;
use crate::queue::consumers::ConsumerKey;
use crate::window::Window;

/// Who has deliveries: a consumer, one that was cancelled and has not settled all, or a `basic.get`.
#[derive(Debug)]
pub(super) struct Taker {
    /// Its place among those who get messages; `None` if it gets none any more.
    pub(super) key: Option<ConsumerKey>,
    /// Its next delivery.
    pub(super) next: DeliveryNumber,
    /// What it has.
    pub(super) unacked: Window<Out>,
    /// Deliveries that went back because it had them for too long, until it settles them too.
    pub(super) timed_out: BTreeSet<u64>,
    /// How long it may have a delivery, in milliseconds; `None`: for ever.
    pub(super) timeout_ms: Option<u64>,
    /// Deliveries as AMQP 1.0 counts them, with credit that lapsed.
    pub(super) delivery_count: u32,
}

/// A message that is out.
#[derive(Debug)]
pub(super) struct Out {
    pub(super) slot: Slot,
    /// Since when, in milliseconds of the wall clock.
    pub(super) at: u64,
}

impl Taker {
    /// One that has nothing.
    pub(super) fn new(key: Option<ConsumerKey>, timeout_ms: Option<u64>) -> Self {
        Self {
            key,
            next: DeliveryNumber(1),
            unacked: Window::default(),
            timed_out: BTreeSet::new(),
            timeout_ms,
            delivery_count: 0,
        }
    }

    /// Takes a message.
    pub(super) fn take(&mut self, consumer: ConsumerId, slot: Slot, at: u64) -> Delivery {
        let number = self.next;
        self.next = number.next();
        self.delivery_count = self.delivery_count.wrapping_add(1);
        let delivery = delivery(consumer, number, &slot);
        self.unacked.insert(number.0, Out { slot, at });
        delivery
    }

    /// Whether nothing has to be kept of it.
    pub(super) fn is_over(&self) -> bool {
        self.key.is_none() && self.unacked.len() == 0
    }

    /// When the first of its deliveries has been out for too long.
    pub(super) fn times_out_at(&self) -> Option<u64> {
        self.key?;
        let (_, first) = self.unacked.first()?;
        Some(first.at.saturating_add(self.timeout_ms?))
    }
}

/// What the consumer is told of a message.
pub(super) fn delivery(consumer: ConsumerId, number: DeliveryNumber, slot: &Slot) -> Delivery {
    Delivery { consumer, number, body: slot.body, failed: slot.failed, acquired: slot.acquired }
}

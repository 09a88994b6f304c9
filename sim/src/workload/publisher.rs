//! A publisher: with confirms, with transactions, or with neither; it publishes again what it does not know the outcome of.

use std::collections::VecDeque;

use leveret_engine::amqp::Method;
use leveret_engine::amqp::method::tx;
use leveret_engine::client::ClientEvent;

use super::Workload;
use super::script::{Script, confirm_select, declare_all, tx_select};
use crate::client::{CHANNEL, Scope, Wish};
use crate::clock::Micros;
use crate::message::{Extras, MessageInfo};
use crate::plan::{PublishMode, PublisherPlan};
use crate::rng::{hits, scale};
use crate::sorted::Sorted;

/// See the module.
#[derive(Debug)]
pub(super) struct Publisher {
    plan: PublisherPlan,
    script: Script,
    is_set_up: bool,
    /// Which burst comes next, and how much of it is done.
    burst: usize,
    done: u32,
    /// Not before this time.
    not_before: Micros,
    next_sequence: u32,
    again: VecDeque<Item>,
    outstanding: Sorted<u64, Item>,
    /// Published since the last commit.
    batch: Vec<Item>,
    is_committing: bool,
    transactions: u64,
    is_blocked_by_room: bool,
    is_stopped: bool,
    answers: u64,
}

/// One message to publish.
#[derive(Clone, Copy, Debug)]
struct Item {
    burst: usize,
    sequence: u32,
    attempt: u32,
    size: u32,
}

impl Publisher {
    pub(super) fn new(plan: PublisherPlan) -> Self {
        Self {
            not_before: 0,
            plan,
            script: Script::default(),
            is_set_up: false,
            burst: 0,
            done: 0,
            next_sequence: 0,
            again: VecDeque::new(),
            outstanding: Sorted::default(),
            batch: Vec::new(),
            is_committing: false,
            transactions: 0,
            is_blocked_by_room: false,
            is_stopped: false,
            answers: 0,
        }
    }

    fn set_up(&mut self, scope: &mut Scope<'_>) {
        let mut topology = scope.topology.clone();
        // Of those that may be out of reach only what it uses.
        let is_used = |name: &str| self.plan.bursts.iter().any(|burst| burst.exchange.is_empty() && burst.key == name);
        topology.queues.retain(|queue| !queue.rules.is_remote || is_used(&queue.name));
        let mut requests = declare_all(&topology);
        match self.plan.mode {
            PublishMode::Plain => {}
            PublishMode::Confirm { .. } => requests.push(confirm_select()),
            PublishMode::Tx { .. } => requests.push(tx_select()),
        }
        self.script.start(scope, requests);
    }

    /// Publishes as much as the plan, the window and the socket allow.
    fn pump(&mut self, scope: &mut Scope<'_>) {
        self.is_stopped = scope.is_stopping;
        // The machine is ahead of the events: the channel may be closed already.
        if !self.is_set_up || self.is_committing || !scope.machine.is_channel_open(CHANNEL) {
            return;
        }
        self.is_blocked_by_room = !scope.has_room;
        // The room is looked at between wakes, so each of them is bounded here.
        for _ in 0..64 {
            if self.is_blocked_by_room || self.is_full() {
                return;
            }
            if let PublishMode::Tx { batch, rollback } = self.plan.mode
                && (self.batch.len() >= batch as usize || (self.is_finished(scope) && !self.batch.is_empty()))
            {
                self.transactions += 1;
                let is_rollback = hits(scope.fates.of(2, self.transactions), rollback);
                let request: Method = if is_rollback { tx::Rollback {}.into() } else { tx::Commit {}.into() };
                if is_rollback {
                    self.batch.clear();
                }
                self.is_committing = scope.machine.send(CHANNEL, request).is_ok();
                return;
            }
            let item = match self.again.pop_front() {
                Some(item) => item,
                None => match self.next_new(scope) {
                    Some(item) => item,
                    None => return,
                },
            };
            self.publish(scope, item);
        }
        scope.wake_after(1);
    }

    fn next_new(&mut self, scope: &mut Scope<'_>) -> Option<Item> {
        if scope.is_stopping {
            return None;
        }
        let burst = self.plan.bursts.get(self.burst)?;
        if self.done == 0 && self.not_before == 0 {
            self.not_before = scope.now + burst.wait_us;
        }
        if scope.now < self.not_before {
            scope.wake_after(self.not_before - scope.now);
            return None;
        }
        let random = scope.fates.of(3, u64::from(self.next_sequence));
        let size = scale(random, u64::from(burst.size.0), u64::from(burst.size.1));
        let item = Item {
            burst: self.burst,
            sequence: self.next_sequence,
            attempt: 0,
            size: u32::try_from(size).expect("between two 32-bit numbers"),
        };
        self.next_sequence += 1;
        self.done += 1;
        self.not_before = scope.now + burst.gap_us;
        if self.done == burst.count {
            self.done = 0;
            self.not_before = 0;
            self.burst += 1;
        }
        Some(item)
    }

    fn publish(&mut self, scope: &mut Scope<'_>, item: Item) {
        let burst = &self.plan.bursts[item.burst];
        let info = MessageInfo {
            publisher: scope.client,
            sequence: item.sequence,
            attempt: item.attempt,
            size: item.size,
            persistent: burst.persistent,
            extras: Extras::draw(&burst.extras, scope.fates, u64::from(item.sequence)),
        };
        let (_, seqno) = scope.publish(&burst.exchange, &burst.key, burst.mandatory, info);
        match (self.plan.mode, seqno) {
            (PublishMode::Confirm { .. }, Some(seqno)) => {
                self.outstanding.insert(seqno, item);
            }
            (PublishMode::Tx { .. }, _) => self.batch.push(item),
            (PublishMode::Confirm { .. } | PublishMode::Plain, _) => {}
        }
        // What waits in the client's own buffer is bounded like what waits in its system.
        if scope.machine.output_len() > 64 * 1024 {
            self.is_blocked_by_room = true;
        }
    }

    fn is_full(&self) -> bool {
        matches!(self.plan.mode, PublishMode::Confirm { window } if self.outstanding.len() >= window as usize)
    }

    fn is_finished(&self, scope: &Scope<'_>) -> bool {
        self.again.is_empty() && (scope.is_stopping || self.burst >= self.plan.bursts.len())
    }

    fn confirmed(&mut self, seqno: u64, multiple: bool) {
        if multiple {
            while self.outstanding.first().is_some_and(|first| first <= seqno) {
                self.outstanding.pop_first();
            }
        } else {
            self.outstanding.remove(seqno);
        }
    }

    fn forget_channel(&mut self) {
        let unknown = std::mem::take(&mut self.outstanding).into_values().chain(std::mem::take(&mut self.batch));
        if self.plan.republish && !self.is_stopped {
            let again = unknown.map(|item| Item { attempt: item.attempt + 1, ..item });
            // Older messages first, so that each channel publishes in order.
            let mut all: Vec<Item> = again.chain(self.again.drain(..)).collect();
            all.sort_by_key(|item| (item.sequence, item.attempt));
            self.again = all.into();
        }
        self.script.clear();
        self.is_set_up = false;
        self.is_committing = false;
    }
}

impl Workload for Publisher {
    fn connected(&mut self, scope: &mut Scope<'_>) {
        self.is_stopped = scope.is_stopping;
        // The machine is ahead of the events: the connection may be over already.
        let _ = scope.machine.open_channel(CHANNEL);
    }

    fn event(&mut self, scope: &mut Scope<'_>, event: ClientEvent) {
        self.is_stopped = scope.is_stopping;
        match event {
            ClientEvent::ChannelOpened { .. } => self.set_up(scope),
            ClientEvent::Method { method: Method::TxCommitOk(_) | Method::TxRollbackOk(_), .. } => {
                self.batch.clear();
                self.is_committing = false;
            }
            ClientEvent::Method { .. } if !self.is_set_up => self.is_set_up = self.script.next(scope),
            ClientEvent::Acked { seqno, multiple, .. } | ClientEvent::Nacked { seqno, multiple, .. } => {
                self.answers += 1;
                self.confirmed(seqno, multiple);
            }
            ClientEvent::Returned { properties, body, .. } => scope.verify(&properties, &body),
            ClientEvent::ChannelClosed { .. } => {
                self.forget_channel();
                if scope.machine.open_channel(CHANNEL).is_err() {
                    scope.wish(Wish::Crash);
                }
            }
            _ => {}
        }
        self.pump(scope);
    }

    fn wake(&mut self, scope: &mut Scope<'_>) {
        self.pump(scope);
    }

    fn lost(&mut self, _now: Micros) {
        self.forget_channel();
    }

    fn waiting_for(&self) -> Option<String> {
        if let Some(seqno) = self.outstanding.first() {
            return Some(format!("the confirm of publish {seqno}"));
        }
        self.is_committing.then(|| "the answer to its commit or rollback".to_owned())
    }

    fn answers(&self, now: Micros) -> Option<(u64, bool)> {
        let PublishMode::Confirm { .. } = self.plan.mode else { return None };
        let has_next = self.plan.bursts.get(self.burst).is_some_and(|burst| match self.not_before {
            0 => burst.wait_us == 0,
            time => time <= now,
        });
        let has_more = !self.is_stopped && (!self.again.is_empty() || has_next);
        Some((self.answers, !self.outstanding.is_empty() || has_more))
    }

    fn wants_room(&self) -> bool {
        self.is_blocked_by_room
    }

    fn wants_connection(&self) -> bool {
        !self.is_stopped
    }
}

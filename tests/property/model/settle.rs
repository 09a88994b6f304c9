//! Acknowledgements, refusals, returns, and transactions.

use leveret_engine::amqp::method::tx;

use super::super::program::{Lane, Tag};
use super::dead_letter::Reason;
use super::{Model, Unacked};

/// What a client says of a delivered message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Ack,
    /// `basic.nack` with requeue.
    Return,
    /// `basic.reject` with requeue: on queues that count, an attempt that failed.
    RejectBack,
    /// Not wanted back: dropped or dead-lettered.
    Refuse,
}

impl Model {
    /// The delivery tag that a program means.
    pub(super) fn resolve(&mut self, lane: Lane, tag: Tag) -> u64 {
        match tag {
            Tag::Number(number) => u64::from(number),
            Tag::Unacked(index) => {
                let unacked = &self.channel(lane).unacked;
                if unacked.is_empty() { 1 } else { unacked[usize::from(index) % unacked.len()].tag }
            }
        }
    }

    /// AMQP 0-9-1 §1.8.3.13: a tag that is not outstanding is an error; 0 with `multiple` means all, even if there are none.
    pub(super) fn settle(&mut self, lane: Lane, tag: u64, multiple: bool, outcome: Outcome) -> Result<(), String> {
        let channel = self.channel(lane);
        let is_all = tag == 0 && multiple;
        if !is_all && !channel.unacked.iter().any(|unacked| unacked.tag == tag) {
            return self.fail(lane, 406);
        }
        let is_meant = |unacked: &Unacked| unacked.tag == tag || (multiple && (is_all || unacked.tag < tag));
        let (settled, kept) = std::mem::take(&mut channel.unacked).into_iter().partition(is_meant);
        channel.unacked = kept;
        match &mut channel.transaction {
            Some(transaction) => transaction.settlements.push((settled, outcome)),
            None => self.carry_out(settled, outcome),
        }
        Ok(())
    }

    fn carry_out(&mut self, settled: Vec<Unacked>, outcome: Outcome) {
        match outcome {
            Outcome::Ack => {}
            Outcome::Return => self.give_back(settled, false),
            Outcome::RejectBack => self.give_back(settled, true),
            Outcome::Refuse => {
                for unacked in settled {
                    self.bury(unacked.queue, &unacked.entry, Reason::Rejected);
                }
            }
        }
    }

    /// Puts messages back to their places. `has_failed`: the attempt counts against the delivery limit.
    pub(super) fn give_back(&mut self, returned: Vec<Unacked>, has_failed: bool) {
        let mut stirred = Vec::new();
        for Unacked { queue: id, mut entry, .. } in returned {
            let number = self.number();
            let Some(queue) = self.queue_by_id(id) else { continue };
            entry.redelivered = true;
            entry.returned = queue.is_quorum().then_some(number);
            entry.acquired += u64::from(queue.is_quorum());
            entry.failures += u64::from(has_failed && queue.counts_failures());
            if queue.delivery_limit().is_some_and(|limit| entry.failures > limit) {
                self.bury(id, &entry, Reason::DeliveryLimit);
                continue;
            }
            if !queue.is_quorum() {
                stirred.push(id);
            }
            queue.ready.push(entry);
        }
        // A classic queue drops what is too much before it delivers; a quorum queue delivers first.
        for id in stirred {
            self.drop_what_is_too_much(id);
        }
    }

    pub(super) fn recover(&mut self, lane: Lane) -> Result<(), String> {
        let unacked = std::mem::take(&mut self.channel(lane).unacked);
        self.give_back(unacked, false);
        Ok(())
    }

    /// Publishes come first, then what was acknowledged and refused, in order.
    pub(super) fn commit(&mut self, lane: Lane) -> Result<(), String> {
        let Some(transaction) = self.channel(lane).transaction.as_mut().map(std::mem::take) else {
            return self.fail(lane, 406);
        };
        let mut is_good = true;
        for (message, mandatory, queues) in transaction.publishes {
            is_good &= self.route_to(lane, message, mandatory, &queues)?.0;
        }
        for (settled, outcome) in transaction.settlements {
            self.carry_out(settled, outcome);
        }
        if !is_good {
            // A queue refused a publish; the rest has happened all the same.
            return self.fail(lane, 406);
        }
        self.seen.take_reply(lane, tx::CommitOk {}).map(drop)
    }

    pub(super) fn roll_back(&mut self, lane: Lane) -> Result<(), String> {
        let channel = self.channel(lane);
        let Some(transaction) = channel.transaction.as_mut().map(std::mem::take) else {
            return self.fail(lane, 406);
        };
        for (settled, _) in transaction.settlements {
            channel.unacked.extend(settled);
        }
        channel.unacked.sort_by_key(|unacked| unacked.tag);
        self.seen.take_reply(lane, tx::RollbackOk {}).map(drop)
    }
}

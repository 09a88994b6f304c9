//! Questions about queues of other nodes: what they hold, and to purge them.

use alloc::vec::Vec;

use super::super::{Broker, ChannelRef, Notice};
use super::QueueNames;
use crate::amqp::AmqpError;
use crate::cluster::queues::{Answer, Frame, Question};
use crate::ids::{NodeId, QueueId};
use crate::routing::QueueKey;

/// A question that is not answered. It is asked again when there is another link.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) channel: ChannelRef,
    queue: QueueKey,
    names: QueueNames,
    id: QueueId,
    home: NodeId,
    is_replicated: bool,
    question: Question,
}

/// What a channel asks about a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AskedOf {
    /// What it holds; the queue was declared, or only looked for.
    Counts {
        /// Whether it was declared, which renews its lease.
        is_declare: bool,
    },
    /// To drop what waits.
    Purge,
}

/// What it is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Messages that wait for a consumer, or those that were dropped.
    pub(crate) messages: u64,
    /// Consumers.
    pub(crate) consumers: u64,
}

impl Broker {
    /// Asks about a queue of another node. [`Notice::Asked`] follows.
    ///
    /// # Errors
    /// 404 NOT_FOUND on the channel if that node cannot be reached.
    pub(crate) fn ask(&mut self, channel: ChannelRef, queue: QueueKey, what: AskedOf) -> Result<(), AmqpError> {
        self.check_home(queue)?;
        let names = self.queue_names(queue);
        let Some(record) = self.metadata.queue_by_key(queue) else { return Err(self.home_down(queue, &names)) };
        let question = match what {
            AskedOf::Counts { is_declare } => Question::Counts { is_declare },
            AskedOf::Purge => Question::Purge,
        };
        let (id, home, is_replicated) = (record.id, record.home, self.metadata.is_led(record));
        let home = if is_replicated { self.guess_leader(queue, NodeId(0)) } else { home };
        let ask = Ask { channel, queue, names, id, home, is_replicated, question };
        if is_replicated {
            self.look_at_leaders_later();
        }
        self.remote.last_ask += 1;
        let number = self.remote.last_ask;
        self.send_ask(number, &ask);
        self.remote.asks.insert(number, ask);
        Ok(())
    }

    fn send_ask(&mut self, number: u64, ask: &Ask) {
        if self.can_reach(ask.home) {
            self.say(ask.home, &Frame::Ask { number, queue: ask.id, question: ask.question });
        }
    }

    /// There is a link to a node again, and what was asked over the one before may be lost.
    pub(super) fn ask_again(&mut self, node: NodeId) {
        let asks = core::mem::take(&mut self.remote.asks);
        for (number, ask) in asks.iter().filter(|(_, ask)| ask.home == node) {
            self.send_ask(*number, ask);
        }
        self.remote.asks = asks;
    }

    /// The queue with this id has another leader, or should have: what nobody has answered is asked there.
    pub(super) fn ask_leader(&mut self, queue: QueueId, leader: NodeId) {
        let mut asks = core::mem::take(&mut self.remote.asks);
        for (number, ask) in asks.iter_mut().filter(|(_, ask)| ask.id == queue) {
            ask.home = leader;
            self.send_ask(*number, ask);
        }
        self.remote.asks = asks;
    }

    /// A queue has replicas from here on. Whether something is asked of it.
    pub(super) fn ask_replicas(&mut self, queue: QueueKey) -> bool {
        let asks = self.remote.asks.values_mut().filter(|ask| ask.queue == queue);
        asks.map(|ask| ask.is_replicated = true).count() > 0
    }

    /// Queues with replicas of which something is asked.
    pub(super) fn asked_replicas(&self) -> Vec<(QueueKey, QueueId, NodeId)> {
        let asks = self.remote.asks.values().filter(|ask| ask.is_replicated);
        asks.map(|ask| (ask.queue, ask.id, ask.home)).collect()
    }

    /// A node answers.
    pub(super) fn on_answer(&mut self, node: NodeId, number: u64, answer: Answer) {
        if self.remote.asks.get(&number).is_none_or(|ask| ask.home != node && !ask.is_replicated) {
            return;
        }
        let Some(ask) = self.remote.asks.remove(&number) else { return };
        let result = match answer {
            Answer::Counts { ready, consumers } => Ok(Asked { messages: ready, consumers }),
            Answer::Purged(messages) => Ok(Asked { messages, consumers: 0 }),
            Answer::Gone => Err(self.home_down(ask.queue, &ask.names)),
        };
        self.notices.push_back(Notice::Asked { channel: ask.channel, result });
    }

    /// A node is lost: nobody will answer.
    pub(super) fn drop_asks(&mut self, node: NodeId) {
        self.drop_asks_that(|ask| ask.home == node && !ask.is_replicated);
    }

    /// A queue is gone.
    pub(super) fn drop_asks_about(&mut self, queue: QueueKey) {
        self.drop_asks_that(|ask| ask.queue == queue);
    }

    fn drop_asks_that(&mut self, is_over: impl Fn(&Ask) -> bool) {
        let over = self.remote.asks.iter().filter(|(_, ask)| is_over(ask));
        let over: Vec<u64> = over.map(|(number, _)| *number).collect();
        for number in over {
            let Some(ask) = self.remote.asks.remove(&number) else { continue };
            let error = self.home_down(ask.queue, &ask.names);
            self.notices.push_back(Notice::Asked { channel: ask.channel, result: Err(error) });
        }
    }
}

//! Connections and channels, as far as the model follows them.

use std::collections::VecDeque;
use std::rc::Rc;

use smallvec::SmallVec;

use crate::history::Session;
use crate::message::MessageNumber;
use crate::model::table::Table;
use crate::model::topology::{BindingKey, Route};
use crate::nodes::At;
use crate::sorted::Sorted;

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    /// The node that it leads to.
    pub(crate) node: At,
    pub(crate) channels: Table<u16, Channel>,
    /// The node has begun to close it: what the client says is not heeded.
    pub(crate) is_closing: bool,
}

impl Connection {
    pub(crate) fn new(node: At) -> Self {
        Self { node, channels: Table::default(), is_closing: false }
    }
}

/// One channel's life.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) session: Session,
    /// The node has closed it and waits for the client's close-ok.
    pub(crate) is_closing: bool,
    pub(crate) mode: Mode,
    pub(crate) last_seqno: u64,
    pub(crate) unconfirmed: VecDeque<Unconfirmed>,
    pub(crate) unacked: Sorted<u64, Unacked>,
    /// Unacked messages that came by consumers.
    pub(crate) consumed: u32,
    pub(crate) consumers: Vec<Consumer>,
    pub(crate) prefetch_each: u32,
    pub(crate) prefetch_all: u32,
    pub(crate) transaction: Transaction,
    pub(crate) pending: Option<Pending>,
    /// Deliveries answered since the request whose answer is awaited: the node carries out a channel's requests in order.
    pub(crate) behind: Vec<(MessageNumber, u32, Verdict)>,
    pub(crate) last_queue: Option<u32>,
    /// What this step's requests did, in case they turn out not to have been heeded.
    pub(crate) touched: Vec<(MessageNumber, u32)>,
    pub(crate) touched_step: u64,
}

/// See AMQP 0-9-1 §1.9 and RabbitMQ docs: Publisher Confirms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Plain,
    Confirm,
    Tx,
}

/// One publish that waits for its answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unconfirmed {
    pub(crate) message: MessageNumber,
    pub(crate) is_answered: bool,
    pub(crate) must_return: bool,
    pub(crate) was_returned: bool,
    pub(crate) lsn: Option<u64>,
}

/// One delivery that waits for its answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unacked {
    pub(crate) message: MessageNumber,
    pub(crate) queue: u32,
    /// Index of the consumer; `None` for a get.
    pub(crate) consumer: Option<usize>,
}

/// One consumer.
#[derive(Debug)]
pub(crate) struct Consumer {
    pub(crate) tag: Box<[u8]>,
    pub(crate) queue: u32,
    pub(crate) no_ack: bool,
    pub(crate) prefetch: u32,
    pub(crate) unacked: u32,
    pub(crate) is_cancelled: bool,
    /// Whether the node has said that it is there; until then its request may still be waiting.
    pub(crate) is_answered: bool,
}

/// What waits for tx.commit.
#[derive(Debug, Default)]
pub(crate) struct Transaction {
    pub(crate) publishes: Vec<Held>,
    pub(crate) answers: Vec<(Unacked, Verdict, u64)>,
    /// Published by the commit whose answer is awaited.
    pub(crate) committing: Vec<MessageNumber>,
}

/// One publish that waits for its commit.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) message: MessageNumber,
    pub(crate) routing: Box<[u8]>,
    /// Where it was to go when it was published, and which lives of the certain queues that meant.
    pub(crate) route: Rc<Route>,
    pub(crate) lives: Vec<u32>,
}

/// A client's answer to a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Ack,
    Requeue,
    Drop,
}

/// The request whose answer the channel waits for.
#[derive(Debug)]
pub(crate) enum Pending {
    DeclareQueue {
        change: u64,
        durable: bool,
        exclusive: bool,
        auto_delete: bool,
        passive: bool,
        was: Option<bool>,
    },
    DeleteQueue {
        queue: u32,
        change: u64,
    },
    Purge {
        queue: u32,
        step: u64,
    },
    /// One that changes nothing that the model keeps.
    Other,
    DeclareExchange {
        name: Box<[u8]>,
        change: u64,
        passive: bool,
    },
    DeleteExchange {
        name: Box<[u8]>,
        change: u64,
    },
    Bind {
        key: BindingKey,
        change: u64,
    },
    Unbind {
        key: BindingKey,
        change: u64,
    },
    Get {
        queue: u32,
        no_ack: bool,
        step: u64,
    },
    Commit,
}

impl Pending {
    /// Whether it changes the topology, so that others may have to wait for it.
    pub(crate) fn is_change(&self) -> bool {
        match self {
            Self::DeclareQueue { passive, .. } | Self::DeclareExchange { passive, .. } => !passive,
            Self::DeleteQueue { .. } | Self::DeleteExchange { .. } | Self::Bind { .. } | Self::Unbind { .. } => true,
            Self::Purge { .. } | Self::Get { .. } | Self::Commit | Self::Other => false,
        }
    }
}

impl Channel {
    pub(crate) fn new(session: Session) -> Self {
        Self {
            session,
            is_closing: false,
            mode: Mode::Plain,
            last_seqno: 0,
            unconfirmed: VecDeque::new(),
            unacked: Sorted::default(),
            consumed: 0,
            consumers: Vec::new(),
            prefetch_each: 0,
            prefetch_all: 0,
            transaction: Transaction::default(),
            pending: None,
            behind: Vec::new(),
            last_queue: None,
            touched: Vec::new(),
            touched_step: 0,
        }
    }

    /// Notes that this step changed a message in a queue.
    pub(crate) fn touch(&mut self, step: u64, message: MessageNumber, queue: u32) {
        if self.touched_step != step {
            self.touched.clear();
            self.touched_step = step;
        }
        self.touched.push((message, queue));
    }

    /// The publish of that number, if it is still to be answered.
    pub(crate) fn unconfirmed_mut(&mut self, seqno: u64) -> Option<&mut Unconfirmed> {
        let first = self.last_seqno + 1 - self.unconfirmed.len() as u64;
        let at = usize::try_from(seqno.checked_sub(first)?).ok()?;
        self.unconfirmed.get_mut(at)
    }

    /// Takes the deliveries that an answer is about: one, or all up to it (0: all).
    pub(crate) fn take_unacked(&mut self, tag: u64, multiple: bool) -> SmallVec<[(u64, Unacked); 4]> {
        let mut taken = SmallVec::new();
        if !multiple {
            taken.extend(self.unacked.remove(tag).map(|unacked| (tag, unacked)));
            return taken;
        }
        while self.unacked.first().is_some_and(|first| tag == 0 || first <= tag) {
            taken.extend(self.unacked.pop_first());
        }
        taken
    }

    /// Gives back the credit of a delivery.
    pub(crate) fn credit(&mut self, unacked: &Unacked) {
        if let Some(consumer) = unacked.consumer {
            self.consumers[consumer].unacked -= 1;
            self.consumed -= 1;
        }
    }

    /// Takes the credit of a delivery.
    pub(crate) fn debit(&mut self, unacked: &Unacked) {
        if let Some(consumer) = unacked.consumer {
            self.consumers[consumer].unacked += 1;
            self.consumed += 1;
        }
    }
}

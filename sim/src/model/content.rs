//! What is in the queues, message by message.

use std::collections::VecDeque;

use smallvec::SmallVec;

use crate::history::{Departure, Fact, Presence, QueueIndex, Session};
use crate::message::MessageNumber;
use crate::model::topology::Existence;
use crate::nodes::At;
use crate::sorted::Sorted;

/// One queue name and what is known of the queue under it.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) name: Box<[u8]>,
    /// The node that it is on.
    pub(crate) home: At,
    /// `None` if it does not exist for certain.
    pub(crate) existence: Option<Existence>,
    pub(crate) is_durable: bool,
    pub(crate) is_auto_delete: bool,
    /// The connection it belongs to.
    pub(crate) owner: Option<u32>,
    /// The connection whose alone it was when it was last declared as exclusive.
    pub(crate) last_owner: Option<u32>,
    /// Grows each time the queue is certainly gone, so that its messages are forgotten with it.
    pub(crate) generation: u32,
    pub(crate) consumers: u32,
    /// It went with its last consumer; nobody is told when that is done, and a crash may undo it.
    pub(crate) is_forsaken: bool,
    /// The last change asked for when it went.
    pub(crate) forsaken_at: u64,
    /// Grows each time the queue goes, for those who knew it before.
    pub(crate) lives: u32,
    /// The step in which it last went.
    pub(crate) removed: u64,
    /// Purges asked for and not answered: each takes what is ready when its turn comes.
    pub(crate) purges: u32,
    /// When a consumer with deliveries perhaps unseen last went away.
    pub(crate) disturbed: u64,
    /// Messages certainly ready, by position.
    pub(crate) ready: Sorted<(u64, MessageNumber)>,
    pub(crate) unacked: u64,
    pub(crate) maybe: u64,
}

impl Queue {
    pub(crate) fn new(name: &[u8]) -> Self {
        Self {
            name: name.into(),
            home: At::FIRST,
            existence: None,
            is_durable: false,
            is_auto_delete: false,
            owner: None,
            last_owner: None,
            generation: 0,
            consumers: 0,
            is_forsaken: false,
            forsaken_at: 0,
            lives: 0,
            removed: 0,
            purges: 0,
            disturbed: 0,
            ready: Sorted::default(),
            unacked: 0,
            maybe: 0,
        }
    }
}

/// One message in one queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Copy {
    pub(crate) queue: u32,
    pub(crate) generation: u32,
    pub(crate) position: u64,
    pub(crate) presence: Presence,
    pub(crate) deliveries: u32,
    /// The step in which it entered.
    pub(crate) entered: u64,
    /// The step of the last change of presence.
    pub(crate) changed: u64,
    /// Restarts, and restarts out of order, that had been when it entered or was last delivered.
    pub(crate) restarts: u32,
    pub(crate) crashes: u32,
}

/// Up to which positions a node's log survives the node's end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Survival {
    /// This ending.
    pub(crate) kept: u64,
    /// Up to where a publisher's promise holds.
    pub(crate) promised: u64,
    /// Whatever comes next.
    pub(crate) durable: u64,
}

/// One message.
#[derive(Debug, Default)]
pub(crate) struct Message {
    pub(crate) copies: SmallVec<[Copy; 2]>,
    pub(crate) is_persistent: bool,
    /// Its publisher was told that it is safe; where that depends on the log, if this survives up to here.
    pub(crate) promised_at: Option<u64>,
}

/// A message that left, with what recovery may still undo.
#[derive(Debug)]
pub(crate) struct Settlement {
    pub(crate) message: MessageNumber,
    pub(crate) queue: u32,
    pub(crate) generation: u32,
    /// Where the log has it; `None` if the log has not said so yet.
    pub(crate) lsn: Option<u64>,
}

/// All queues and all messages.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) queues: Vec<Queue>,
    pub(crate) messages: Vec<Message>,
    /// What concerns the queues of one node.
    pub(crate) sites: Vec<Site>,
    pub(crate) position: u64,
    pub(crate) step: u64,
}

/// What concerns the queues of one node.
#[derive(Debug, Default)]
pub(crate) struct Site {
    settlements: VecDeque<Settlement>,
    /// How many of the settlements have their position.
    settlements_placed: usize,
    pub(crate) restarts: u32,
    pub(crate) crashes: u32,
}

impl Contents {
    /// Nothing, on so many nodes.
    pub(crate) fn new(nodes: usize) -> Self {
        Self { sites: (0..nodes).map(|_| Site::default()).collect(), ..Self::default() }
    }

    /// The message's record, made when first asked for.
    pub(crate) fn message_mut(&mut self, number: MessageNumber) -> &mut Message {
        if self.messages.len() <= number.index() {
            self.messages.resize_with(number.index() + 1, Message::default);
        }
        &mut self.messages[number.index()]
    }

    /// Puts a message into a queue.
    pub(crate) fn enter(&mut self, number: MessageNumber, queue: u32, is_certain: bool) {
        let held = &mut self.queues[queue as usize];
        let site = &self.sites[held.home.number()];
        let presence = if is_certain && held.purges == 0 { Presence::Ready } else { Presence::Maybe };
        let copy = Copy {
            queue,
            generation: held.generation,
            position: self.position,
            presence,
            deliveries: 0,
            entered: self.step,
            changed: self.step,
            restarts: site.restarts,
            crashes: site.crashes,
        };
        held.count(number, &copy, 1);
        self.message_mut(number).copies.push(copy);
    }

    /// The message's place among its copies, if the queue as it is has or had it.
    pub(crate) fn find(&self, number: MessageNumber, queue: u32) -> Option<usize> {
        let generation = self.queues.get(queue as usize)?.generation;
        let message = self.messages.get(number.index())?;
        message.copies.iter().position(|copy| copy.queue == queue && copy.generation == generation)
    }

    /// Changes what holds of one copy.
    pub(crate) fn set(&mut self, number: MessageNumber, at: usize, presence: Presence) {
        let step = self.step;
        let copy = &mut self.messages[number.index()].copies[at];
        let queue = &mut self.queues[copy.queue as usize];
        if copy.generation != queue.generation {
            return;
        }
        let before = *copy;
        copy.presence = presence;
        copy.changed = step;
        queue.count(number, &before, -1);
        queue.count(number, copy, 1);
    }

    /// A message leaves a queue for good, as far as a crash does not undo it.
    pub(crate) fn depart(&mut self, number: MessageNumber, at: usize, how: Departure, facts: &mut Vec<Fact>) {
        let copy = self.messages[number.index()].copies[at];
        self.set(number, at, Presence::Gone(how));
        facts.push(Fact::Departed { queue: QueueIndex(copy.queue), message: number, how });
        self.await_log(number, at);
    }

    /// The log is told, from here on, that a message left.
    pub(crate) fn await_log(&mut self, number: MessageNumber, at: usize) {
        let copy = self.messages[number.index()].copies[at];
        let is_logged = self.messages[number.index()].is_persistent && self.queues[copy.queue as usize].is_durable;
        if is_logged {
            let settlement = Settlement { message: number, queue: copy.queue, generation: copy.generation, lsn: None };
            let home = self.queues[copy.queue as usize].home;
            self.sites[home.number()].settlements.push_back(settlement);
        }
    }

    /// A message leaves a queue, but the node has yet to carry that out: the log is not told before [`Self::await_log`].
    pub(crate) fn depart_later(&mut self, number: MessageNumber, at: usize, how: Departure, facts: &mut Vec<Fact>) {
        let queue = QueueIndex(self.messages[number.index()].copies[at].queue);
        self.set(number, at, Presence::Gone(how));
        facts.push(Fact::Departed { queue, message: number, how });
    }

    /// A node's log has all settlements so far, up to `lsn`.
    pub(crate) fn settled_at(&mut self, at: At, lsn: u64) {
        let site = &mut self.sites[at.number()];
        for settlement in site.settlements.iter_mut().skip(site.settlements_placed) {
            settlement.lsn = Some(lsn);
        }
        site.settlements_placed = site.settlements.len();
    }

    /// What is settled up to here, no crash undoes.
    pub(crate) fn forget_settled(&mut self, at: At, durable: u64) {
        let site = &mut self.sites[at.number()];
        while let Some(first) = site.settlements.front()
            && first.lsn.is_some_and(|lsn| lsn <= durable)
        {
            site.settlements.pop_front();
            site.settlements_placed -= 1;
        }
    }

    /// A message comes back into its queue.
    pub(crate) fn requeue(&mut self, number: MessageNumber, at: usize, facts: &mut Vec<Fact>) {
        let queue = self.messages[number.index()].copies[at].queue;
        // Of one that was in doubt already, its queue may have gone before it came back.
        let is_in_doubt = self.messages[number.index()].copies[at].presence == Presence::Maybe;
        let held = &self.queues[queue as usize];
        let is_going = held.is_forsaken || held.purges > 0;
        if held.purges > 0 {
            // It may come behind the purge that was asked for in this very step.
            self.messages[number.index()].copies[at].entered = self.step;
        }
        self.set(number, at, if is_going || is_in_doubt { Presence::Maybe } else { Presence::Ready });
        facts.push(Fact::Requeued { queue: QueueIndex(queue), message: number });
    }

    /// If the session still has that message, gives its place.
    pub(crate) fn find_unacked(&self, number: MessageNumber, queue: u32, session: Session) -> Option<usize> {
        let at = self.find(number, queue)?;
        (self.messages[number.index()].copies[at].presence == Presence::Unacked(session)).then_some(at)
    }

    /// It is known where a message went: certainly into the queues of `certain`, and in all at the end of the line as it is.
    pub(crate) fn settle_place(&mut self, number: MessageNumber, certain: &[u32]) {
        for at in 0..self.messages[number.index()].copies.len() {
            let copy = &mut self.messages[number.index()].copies[at];
            if copy.presence == Presence::Maybe && copy.changed == copy.entered && copy.deliveries == 0 {
                copy.position = self.position;
                if certain.contains(&copy.queue) && self.queues[copy.queue as usize].purges == 0 {
                    self.set(number, at, Presence::Ready);
                }
            }
        }
    }

    /// The queue is being emptied: whatever is ready may be gone.
    pub(crate) fn doubt_ready(&mut self, index: u32) {
        let ready: Vec<MessageNumber> = self.queues[index as usize].ready.keys().map(|(_, number)| number).collect();
        for number in ready {
            if let Some(at) = self.find(number, index) {
                let copy = &mut self.messages[number.index()].copies[at];
                if copy.changed == self.step {
                    // It came back in this very step, and may have been delivered before the queue is emptied.
                    copy.entered = self.step;
                }
                self.set(number, at, Presence::Maybe);
            }
        }
    }

    /// The queue was emptied at some time after step `asked`: what had been there by then is gone, unless it was delivered since;
    /// what came later may be, and what is `out` is not.
    pub(crate) fn purged(&mut self, index: u32, asked: u64, out: &[MessageNumber], facts: &mut Vec<Fact>) {
        let disturbed = self.queues[index as usize].disturbed;
        for number in 0..self.messages.len() {
            let number = MessageNumber(u32::try_from(number).expect("numbers fit"));
            let Some(at) = self.find(number, index) else { continue };
            let copy = self.messages[number.index()].copies[at];
            if out.contains(&number) {
                continue;
            }
            match copy.presence {
                // One that was never certainly ready may have come after the purge; one that may have been with a
                // consumer that went, unseen, may not have been ready.
                Presence::Maybe if copy.changed <= asked && copy.changed > copy.entered && copy.entered > disturbed => {
                    self.depart(number, at, Departure::Purged, facts);
                }
                Presence::Ready => self.set(number, at, Presence::Maybe),
                _ => {}
            }
        }
    }

    /// The queue is certainly gone.
    pub(crate) fn remove_queue(&mut self, index: u32) {
        let step = self.step;
        let queue = &mut self.queues[index as usize];
        queue.existence = None;
        queue.owner = None;
        queue.is_forsaken = false;
        queue.removed = step;
        queue.lives += 1;
        queue.generation += 1;
        queue.consumers = 0;
        queue.ready.clear();
        queue.unacked = 0;
        queue.maybe = 0;
    }

    /// Nothing is certain of the queue's messages any more.
    pub(crate) fn doubt_queue(&mut self, index: u32) {
        self.doubt_since(index, 0);
    }

    /// The queue may have gone in this step, before what seems to have come in it.
    pub(crate) fn doubt_arrivals(&mut self, index: u32) {
        self.doubt_since(index, self.step);
    }

    /// Nothing is certain of the queue's messages that came in this step or later.
    fn doubt_since(&mut self, index: u32, step: u64) {
        let generation = self.queues[index as usize].generation;
        for number in 0..self.messages.len() {
            for at in 0..self.messages[number].copies.len() {
                let copy = &self.messages[number].copies[at];
                if copy.queue == index
                    && copy.generation == generation
                    && copy.entered >= step
                    && matches!(copy.presence, Presence::Ready | Presence::Unacked(_))
                {
                    self.set(MessageNumber(u32::try_from(number).expect("numbers fit")), at, Presence::Maybe);
                }
            }
        }
    }

    /// A node is gone. `keeps_all` after an orderly stop. `is_alone`: what it was about to change, it has changed in order as well.
    pub(crate) fn restart(&mut self, at: At, keeps_all: bool, is_alone: bool, survival: Survival) {
        let Survival { kept, promised, durable } = survival;
        let site = &mut self.sites[at.number()];
        site.restarts += 1;
        site.crashes += u32::from(!keeps_all);
        if !keeps_all {
            self.forget_settled(at, durable);
            let site = &mut self.sites[at.number()];
            let (survive, lost) = std::mem::take(&mut site.settlements)
                .into_iter()
                .partition::<VecDeque<_>, _>(|settlement| settlement.lsn.is_some_and(|lsn| lsn <= kept));
            site.settlements_placed = survive.len();
            site.settlements = survive;
            for settlement in lost {
                let queue = &self.queues[settlement.queue as usize];
                if queue.generation == settlement.generation
                    && let Some(place) = self.find(settlement.message, settlement.queue)
                    && matches!(self.messages[settlement.message.index()].copies[place].presence, Presence::Gone(_))
                {
                    self.set(settlement.message, place, Presence::Maybe);
                }
            }
        }
        if keeps_all {
            let site = &mut self.sites[at.number()];
            site.settlements.clear();
            site.settlements_placed = 0;
        }
        for index in 0..self.queues.len() {
            let queue = &mut self.queues[index];
            if queue.home != at {
                continue;
            }
            if std::mem::take(&mut queue.is_forsaken) && keeps_all && is_alone {
                queue.existence = None;
            }
            if queue.existence.is_some() && (!queue.is_durable || queue.owner.is_some()) {
                self.remove_queue(u32::try_from(index).expect("few queues"));
            }
            self.queues[index].consumers = 0;
            self.queues[index].purges = 0;
        }
        for number in 0..self.messages.len() {
            let message = &self.messages[number];
            let (is_persistent, is_promised) =
                (message.is_persistent, message.promised_at.is_some_and(|at| at <= promised));
            for place in 0..self.messages[number].copies.len() {
                if self.queues[self.messages[number].copies[place].queue as usize].home != at {
                    continue;
                }
                let after = match self.messages[number].copies[place].presence {
                    Presence::Ready | Presence::Unacked(_) | Presence::Maybe if !is_persistent => {
                        Presence::Gone(Departure::Restarted)
                    }
                    Presence::Ready | Presence::Unacked(_) if keeps_all || is_promised => Presence::Ready,
                    Presence::Ready | Presence::Unacked(_) => Presence::Maybe,
                    other @ (Presence::Maybe | Presence::Never | Presence::Gone(_)) => other,
                };
                if after != self.messages[number].copies[place].presence {
                    self.set(MessageNumber(u32::try_from(number).expect("numbers fit")), place, after);
                }
            }
        }
    }
}

impl Queue {
    /// The queue goes, by and by.
    pub(crate) fn forsake(&mut self, change: u64) {
        self.forsaken_at = change;
        if let Some(existence) = &mut self.existence {
            existence.is_certain = false;
        }
        self.is_forsaken = true;
        self.lives += 1;
    }

    fn count(&mut self, number: MessageNumber, copy: &Copy, change: i64) {
        let counter = match copy.presence {
            Presence::Ready => {
                if change > 0 {
                    self.ready.insert((copy.position, number), ());
                } else {
                    self.ready.remove((copy.position, number));
                }
                return;
            }
            Presence::Unacked(_) => &mut self.unacked,
            Presence::Maybe => &mut self.maybe,
            Presence::Never | Presence::Gone(_) => return,
        };
        *counter = counter.checked_add_signed(change).expect("counted in before it is counted out");
    }
}

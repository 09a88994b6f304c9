//! Classic queues that are on one node and used from all.
//!
//! What a client of another node says to such a queue goes over the link between the two nodes, and so does what it gets. That a link
//! breaks is nothing to it, as long as there is another one soon: each publish is taken once and answered, and what was given and lost
//! on the way is given again. If the queue's node ends, or cannot be reached for longer, what was under way is lost: publishes without
//! an answer are refused, consumers cancelled, and what they had goes back to the queue, whatever they say of it. And what is not on the
//! disk of that node goes with it.
//!
//! ```text
//!   up --(an end says that it is down)--> down --(both ends say that it is up)--> up
//!                                          |  for long, or the queue's node ended: something may be lost
//! ```
//!
//! Each thing that is under way remembers what may have been lost by then. If more may be lost by the time at which somebody looks,
//! nothing is certain of it.

use super::listen::Out;
use super::{Entry, Ledger, Queue, stays_of};
use crate::clock::{Micros, SECOND};
use crate::history::{Departure, Presence, Session};
use crate::nodes::At;

/// Nodes give another up that is out of reach for 5 s of their own time.
const GRACE: Micros = 4 * SECOND;
/// How long after a link is there again the node that did not give up may go on without knowing that the other did: a link that is
/// silent for longer is down.
const NEWS: Micros = 10 * SECOND;
/// The same for who sees that the other is in another life, which it does at once.
const GREETING: Micros = 2 * SECOND;

/// What becomes of a queue on one node that a policy comes to mirror.
#[derive(Debug)]
pub(super) enum Turn {
    /// It is about to get replicas.
    Begins { queue: u32, home: At },
    /// It has them.
    Ends { queue: u32 },
}

/// The node that a queue was on before it got replicas.
#[derive(Clone, Copy, Debug)]
pub(super) struct FormerHome {
    home: At,
    /// The life in which it began to give the replicas what it had.
    life: u32,
    /// Until when some may not know that the queue has replicas.
    is_news_until: Micros,
}

/// How a node reaches another one, for its clients and the queues there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reach {
    /// Whether there is a link, as the clients' node says, and as the queues' node says.
    is_up: [bool; 2],
    /// Since when there is none; `None` while both say that there is.
    down_since: Option<Micros>,
    /// Whether there ever was one, and until when what happened before the last one may show; 0 if there was only one.
    was_up: bool,
    shows_until: Micros,
    /// Until when somebody may act as if nothing had been lost with the one before.
    is_news_until: Micros,
    /// How often what was under way may have been lost, and how often before the last break.
    losses: u64,
    before: u64,
    /// Whether the queues' node ended since there was a link.
    has_ended: bool,
}

/// Where something is under way to or from, and what may have been lost by then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trip {
    node: At,
    losses: u64,
    /// The life of the queue's node.
    life: u32,
}

impl Trip {
    /// The same, in the life of the queue's node in which the other began, if that is an earlier one.
    pub(super) fn of_life_of(self, other: Option<Self>) -> Self {
        Self { life: other.map_or(self.life, |other| other.life.min(self.life)), ..self }
    }

    /// Whether it began in that life of the queue's node or a later one.
    pub(super) fn is_in(&self, life: u32) -> bool {
        self.life >= life
    }
}

/// One of the ends of a link.
#[derive(Clone, Copy, Debug)]
enum End {
    Clients,
    Queues,
}

impl Reach {
    /// Of a node and another one, to which there is no link yet; or of a node and itself.
    pub(super) fn new(is_other: bool) -> Self {
        Self {
            is_up: [!is_other; 2],
            down_since: is_other.then_some(0),
            was_up: false,
            shows_until: 0,
            is_news_until: 0,
            losses: 0,
            before: 0,
            has_ended: false,
        }
    }

    fn is_down(&mut self, time: Micros, end: End) {
        self.is_up[end as usize] = false;
        if self.down_since.is_none() {
            if time >= self.is_news_until {
                self.before = self.losses;
            }
            self.down_since = Some(time);
        }
    }

    fn is_up(&mut self, time: Micros, end: End) {
        self.is_up[end as usize] = true;
        let Some(since) = self.down_since.filter(|_| self.is_up == [true; 2]) else { return };
        self.down_since = None;
        let is_long = time >= since + GRACE;
        if is_long {
            self.losses += 1;
            self.is_news_until = time + NEWS;
        } else if self.has_ended {
            self.is_news_until = self.is_news_until.max(time + GREETING);
        }
        self.has_ended = false;
        if std::mem::replace(&mut self.was_up, true) || is_long {
            self.shows_until = time + NEWS;
        }
    }

    /// The queues' node ended.
    fn has_ended(&mut self, time: Micros) {
        self.is_down(time, End::Clients);
        self.is_down(time, End::Queues);
        self.losses += 1;
        self.has_ended = true;
    }

    /// How often something may have been lost, at most.
    fn most(&self, time: Micros) -> u64 {
        self.losses + u64::from(self.down_since.is_some_and(|since| time >= since + GRACE))
    }

    /// How often something is known to have been lost, by whoever begins something.
    fn least(&self, time: Micros) -> u64 {
        if self.down_since.is_some() || time < self.is_news_until { self.before } else { self.losses }
    }

    /// Whether a break that came after this moment, or was not over, may show.
    fn shows(&self, time: Micros, since: Micros) -> bool {
        self.down_since.is_some_and(|_| self.was_up || time >= GRACE) || since < self.shows_until
    }
}

impl Queue {
    /// The node that it is on, or was on before it got replicas.
    pub(super) fn past_home(&self) -> Option<At> {
        self.home.or_else(|| self.former_home.map(|former| former.home))
    }
}

impl Ledger {
    /// A node says that another one is out of its reach.
    pub(crate) fn parted(&mut self, at: At, other: At) {
        let time = self.time;
        self.reach_mut(at, other).is_down(time, End::Clients);
        self.reach_mut(other, at).is_down(time, End::Queues);
    }

    /// Whether a node has to say to which others it has links.
    pub(crate) fn asks_for_links(&self, at: At) -> bool {
        self.queues.iter().any(|queue| queue.home.is_some())
            && self.others_of(at).any(|other| !self.reach(at, other).is_up[End::Clients as usize])
    }

    /// A node has links to these.
    pub(crate) fn linked(&mut self, at: At, others: &[At]) {
        let time = self.time;
        for other in others {
            self.reach_mut(at, *other).is_up(time, End::Clients);
            self.reach_mut(*other, at).is_up(time, End::Queues);
        }
    }

    /// What clients of a node are about to begin with a queue; `None` if the queue is not on one node.
    pub(super) fn trip(&self, queue: u32, node: At) -> Option<Trip> {
        let Queue { home, former_home, .. } = &self.queues[queue as usize];
        let former = former_home.filter(|former| self.time < former.is_news_until).map(|former| former.home);
        let home = home.or(former)?;
        let life = self.sites[home.number()].life;
        Some(Trip { node, losses: self.reach(node, home).least(self.time), life })
    }

    /// Whether what was under way may be lost.
    pub(super) fn may_be_lost(&self, queue: u32, trip: Option<Trip>) -> bool {
        let (Some(trip), Some(home)) = (trip, self.queues[queue as usize].past_home()) else { return false };
        self.reach(trip.node, home).most(self.time) > trip.losses
    }

    /// Whether a queue's node ended since.
    pub(super) fn has_home_ended(&self, queue: u32, trip: Option<Trip>) -> bool {
        let held = &self.queues[queue as usize];
        // Once it has replicas, that its node ends is nothing to it.
        let life = match (held.home, held.former_home) {
            (Some(home), _) => self.sites[home.number()].life,
            (None, Some(former)) => former.life,
            (None, None) => return false,
        };
        trip.is_some_and(|trip| life > trip.life)
    }

    /// Whether clients of a node may be told that a queue is away, and may lose what they have to do with it.
    pub(super) fn may_be_away(&self, queue: u32, node: At) -> bool {
        self.may_be_lost(queue, self.trip(queue, node))
    }

    /// Whether links to a queue's node have broken since a moment, so that what was on its way to clients came back to it.
    pub(super) fn may_have_come_back(&self, queue: u32, since: Micros) -> bool {
        let Some(home) = self.queues[queue as usize].past_home() else { return false };
        self.others_of(home).any(|user| self.reach(user, home).shows(self.time, since))
    }

    /// A node ended: what its queues did not have on the disk, or had promised to nobody, may be gone.
    pub(super) fn home_ended(&mut self, at: At) {
        let time = self.time;
        for other in self.others_of(at).collect::<Vec<At>>() {
            self.reach_mut(other, at).has_ended(time);
            self.reach_mut(at, other).is_down(time, End::Clients);
            self.reach_mut(at, other).is_down(time, End::Queues);
        }
        self.reach_mut(at, at).losses += 1;
        let life = self.sites[at.number()].life;
        for (queue, held) in (0..).zip(&self.queues).filter(|(_, queue)| queue.home == Some(at)) {
            let was_turning = held.turning_in.is_some_and(|turning_in| turning_in + 1 == life);
            self.entries.range_mut(stays_of(queue)).for_each(|(_, entry)| entry.home_ended(life, was_turning));
        }
    }

    /// A queue on one node is about to get replicas.
    pub(crate) fn becomes_replicated(&mut self, at: At, name: &str) {
        let queue = self.by_name.get(name.as_bytes());
        self.turns.extend(queue.map(|queue| Turn::Begins { queue: *queue, home: at }));
    }

    /// It has them.
    pub(crate) fn is_replicated(&mut self, name: &str) {
        let queue = self.by_name.get(name.as_bytes());
        self.turns.extend(queue.map(|queue| Turn::Ends { queue: *queue }));
    }

    /// What clients of its node have of a queue that is about to get replicas comes back, and what they say of it is too late. One that
    /// has them is on no node alone any more.
    pub(super) fn turn_queues(&mut self) {
        for turn in std::mem::take(&mut self.turns) {
            match turn {
                Turn::Begins { queue, home } => {
                    self.queues[queue as usize].turning_in = Some(self.sites[home.number()].life);
                    self.take_all_back(queue, home);
                }
                Turn::Ends { queue } => {
                    let queue = &mut self.queues[queue as usize];
                    let (Some(home), Some(life)) = (queue.home.take(), queue.turning_in) else { continue };
                    queue.former_home = Some(FormerHome { home, life, is_news_until: self.time + NEWS });
                }
            }
        }
    }

    fn take_all_back(&mut self, queue: u32, home: At) {
        let mut outs: Vec<(Session, Vec<Out>)> = Vec::new();
        for (key, channel) in &mut self.channels {
            if self.connections.get(&key.0) == Some(&home) {
                outs.push((channel.session, channel.give_up(queue)));
            }
        }
        for (session, its) in outs {
            self.all_come_back(its, session);
        }
        for (_, entry) in self.entries.range_mut(stays_of(queue)).filter(|(_, entry)| !entry.is_done) {
            if let Presence::Gone(Departure::Acked | Departure::AutoAcked | Departure::Rejected) = entry.presence {
                entry.presence = Presence::Maybe;
            }
        }
    }

    /// What a node was told of a message is carried out. Where it has to be on the disk for good, that is noted once it is.
    pub(super) fn has_passed_on(&mut self, at: At, out: Out) {
        // Of one that was given out again since, it is about what came before.
        if !self.is_latest(&out) {
            return;
        }
        let stay = out.stay;
        let home = self.queues[stay.0 as usize].home;
        let Some(entry) = self.entries.get(&stay) else { return };
        if home != Some(at) && self.may_be_lost(stay.0, entry.out) {
            self.doubt(stay);
        } else if let Some(home) = home {
            // A session that ends does not wait for the disk.
            let site = &mut self.sites[home.number()];
            site.unwritten.push_back((site.log_end, out));
        } else if let Some(entry) = self.entries.get_mut(&stay) {
            entry.is_done = true;
        }
    }

    /// A node's log goes so far, and is on its disk for good up to there.
    pub(crate) fn written(&mut self, at: At, end: u64, durable: u64) {
        let site = &mut self.sites[at.number()];
        site.log_end = end;
        let on_disk = site.unwritten.partition_point(|(end, _)| *end <= durable);
        for (_, out) in site.unwritten.drain(..on_disk) {
            if let Some(entry) = self.entries.get_mut(&out.stay).filter(|entry| entry.deliveries == out.turn) {
                entry.is_done = true;
            }
        }
    }

    fn others_of(&self, at: At) -> impl Iterator<Item = At> + use<> {
        (0..self.sites.len()).map(At::new).filter(move |other| *other != at)
    }

    fn reach(&self, user: At, home: At) -> &Reach {
        &self.reaches[user.number() * self.sites.len() + home.number()]
    }

    fn reach_mut(&mut self, user: At, home: At) -> &mut Reach {
        let nodes = self.sites.len();
        &mut self.reaches[user.number() * nodes + home.number()]
    }
}

impl Entry {
    /// The node of its queue ended, and is in that life next. If the queue was about to get replicas, those may know who has the message.
    fn home_ended(&mut self, life: u32, was_turning: bool) {
        let was_in = self.is_promised || self.deliveries > 0;
        self.presence = match self.presence {
            Presence::Ready | Presence::Unacked(_)
                if self.is_persistent && self.is_promised && !self.is_dead_letter =>
            {
                if was_turning && self.presence != Presence::Ready { Presence::Maybe } else { Presence::Ready }
            }
            Presence::Ready | Presence::Unacked(_) | Presence::Maybe => {
                if !self.is_persistent && was_in {
                    self.died_with = Some(life);
                }
                Presence::Maybe
            }
            Presence::Gone(Departure::Acked | Departure::AutoAcked | Departure::Rejected | Departure::Died)
                if !self.is_done =>
            {
                Presence::Maybe
            }
            other @ (Presence::Never | Presence::Gone(_)) => other,
        };
    }
}

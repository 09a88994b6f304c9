//! What the rules of a queue may do to its messages, and what becomes of those that die.
//!
//! Nobody outside sees a message die. But what is dead cannot come from its queue any more, says itself where and why it died, and, if it
//! was to arrive at least once, has come out of the queue that dead letters go to when all is at rest.

use super::{Entry, Ledger, Queue, Stay, stays_of};
use crate::clock::{MILLISECOND, Micros};
use crate::history::{Departure, Fact, Presence, Session};
use crate::message::MessageNumber;
use crate::story::{Deaths, Reason, StoryFact};

/// A dead letter is in another order than what its publisher publishes elsewhere.
const DEAD_STREAMS: u32 = 1 << 31;

/// How long after its time the last of a queue's messages may be there when nobody uses it.
const LATE: Micros = 1000 * MILLISECOND;
/// How long dead letters that were refused, or on their way to a leader that is none, may take.
const DEAD_PATIENCE: Micros = 30_000 * MILLISECOND;

impl Queue {
    /// Whether what dies in it has to arrive elsewhere. Some of it is published once, which counts as long as nothing went wrong.
    fn is_sure_to_dead_letter(&self, is_disturbed: bool) -> bool {
        self.dead_target.is_some() && (self.rules.at_least_once || !is_disturbed)
    }

    /// Whether messages may leave it that nobody ever saw in it, and go nowhere.
    fn may_swallow(&self) -> bool {
        let rules = &self.rules;
        let may_kill = rules.message_ttl_ms.is_some() || rules.length_max.is_some();
        self.doubt > 0 || self.has_changed() || (may_kill && !self.rules.at_least_once)
    }

    /// Whether it refuses what is published when it is full. Who does not wait for confirms is not told.
    pub(super) fn may_refuse(&self) -> bool {
        self.rules.rejects_publish && self.rules.length_max.is_some()
    }

    /// How many messages it drops the oldest beyond.
    pub(super) fn drops_beyond(&self) -> Option<u64> {
        self.rules.length_max.filter(|_| !self.rules.rejects_publish).map(u64::from)
    }
}

impl Ledger {
    /// How long it takes until all has expired that will.
    pub(crate) fn patience(&self) -> Micros {
        let longest = self.queues.iter().filter_map(|queue| queue.rules.message_ttl_ms).max();
        let apart = self.clocks_apart.unwrap_or(0);
        longest.map_or(0, |longest| u64::from(longest) * MILLISECOND + apart + LATE)
    }

    /// How long dead letters are waited for, and a queue whose dead letters are missing.
    pub(crate) fn missing_dead(&self) -> Option<(Micros, &str)> {
        let owes = |queue: u32| {
            let mut its = self.entries.range(stays_of(queue));
            its.any(|(stay, entry)| self.is_missing_elsewhere(*stay, entry))
        };
        let found = (0..).zip(&self.queues).find(|(queue, held)| held.dead_target.is_some() && owes(*queue));
        found.map(|(_, held)| (DEAD_PATIENCE, &*held.name))
    }

    /// A publish was refused. Whether it may have been.
    pub(super) fn refused(&mut self, stay: Stay) -> bool {
        let held = &self.queues[stay.0 as usize];
        let entry = self.entries.get(&stay);
        let is_lost = entry.is_some_and(|entry| self.may_be_lost(stay.0, entry.sent));
        // It has the message, or refused it: whichever its node said is lost with the link.
        let is_unsure = is_lost || entry.is_some_and(|entry| self.may_have_come_back(stay.0, entry.since));
        let has_changed = held.has_changed();
        let may_refuse = held.may_refuse() || has_changed || is_lost;
        if may_refuse {
            let fact = StoryFact::Outcome { message: Some(stay.1), is_ack: false, may_refuse };
            self.facts.push(Fact::Story(fact));
            if let Some(entry) = self.entries.get_mut(&stay) {
                entry.is_doubtful = true;
                if !(has_changed || is_unsure) && entry.presence == Presence::Maybe && entry.deliveries == 0 {
                    entry.presence = Presence::Gone(Departure::Refused);
                }
            }
        }
        may_refuse
    }

    /// A message comes out of a queue. If it was published to another whose dead letters come here, it is one.
    pub(super) fn arrive(&mut self, stay: Stay, deaths: &Deaths) {
        let (queue, message) = stay;
        if !self.queues[queue as usize].is_dead_target || deaths.entries.is_empty() {
            return;
        }
        let sources = self.sources_of(queue);
        let since = sources.iter().filter_map(|source| Some(self.entries.get(&(*source, message))?.since)).min();
        let Some(since) = since else { return };
        let (by, position) = self.place_of_dead(&sources, message, deaths).unwrap_or((Session(0), 0));
        let of = |source: &u32| self.entries.get(&(*source, message));
        let is_persistent = sources.iter().filter_map(of).any(|entry| entry.is_persistent);
        for source in sources {
            let sent = self.entries.get(&(source, message)).and_then(|entry| entry.sent);
            // It may have died before its queue's node ended, which need not remember that.
            if self.has_home_ended(source, sent) {
                continue;
            }
            // What is dead is not there any more, and who died twice is here already.
            if let Some(entry) = self.entries.get_mut(&(source, message))
                && matches!(entry.presence, Presence::Ready | Presence::Maybe)
            {
                entry.presence = Presence::Gone(Departure::Died);
            }
        }
        let held = &self.queues[queue as usize];
        let entry = Entry {
            by,
            position,
            taken: None,
            presence: Presence::Ready,
            is_promised: true,
            deliveries: 0,
            since,
            promised_by: None,
            is_dead_letter: true,
            was_acked: false,
            was_rejected: false,
            returns: 0,
            is_doubtful: held.doubt > held.over || held.has_changed(),
            endings: 0,
            is_persistent,
            sent: None,
            out: None,
            is_done: false,
            died_with: None,
        };
        self.entries.entry(stay).or_insert(entry);
    }

    /// The stream and the place in it that a dead letter has, if it has one: what left its queue at the head, without ever having been
    /// given to anybody, was published in the order in which it comes, as long as nothing went wrong.
    fn place_of_dead(&self, sources: &[u32], message: MessageNumber, deaths: &Deaths) -> Option<(Session, u64)> {
        let ([source], [death]) = (sources, &deaths.entries[..]) else { return None };
        let entry = self.entries.get(&(*source, message))?;
        let is_plain = matches!(death.reason, Reason::MaxLength | Reason::Expired)
            && !self.is_disturbed
            && !self.queues[*source as usize].rules.at_least_once
            && entry.deliveries == 0
            && self.failures_max(*source, entry) == 0;
        is_plain.then_some((Session(DEAD_STREAMS | entry.by.0), entry.position))
    }

    /// Whether there may be a second one of a message: dead letters that are to arrive at least once are sent again when nobody knows
    /// what became of them.
    pub(super) fn may_be_twice(&self, queue: u32, entry: &Entry) -> bool {
        let is_sent_again = |source: &u32| {
            let held = &self.queues[*source as usize];
            held.rules.at_least_once || held.home.is_some()
        };
        entry.is_dead_letter && self.is_disturbed && self.sources_of(queue).iter().any(is_sent_again)
    }

    /// All queues whose dead letters come to this one, by whatever way.
    fn sources_of(&self, queue: u32) -> Vec<u32> {
        let leads_here = |start: &u32| {
            let mut at = *start;
            while let Some(next) = self.queues[at as usize].dead_target {
                if next == queue {
                    return true;
                }
                at = next;
            }
            false
        };
        (0..).zip(&self.queues).map(|(at, _)| at).filter(leads_here).collect()
    }

    /// What a dead letter says of its deaths.
    pub(super) fn judge_deaths(&mut self, stay: Stay, deaths: &Deaths) {
        let (queue, message) = stay;
        let Some(since) = self.entries.get(&stay).map(|entry| entry.since) else { return };
        for death in &deaths.entries {
            let at = self.by_name.get(&*death.queue).copied();
            let is_on_its_way = at.is_some_and(|at| self.sources_of(queue).contains(&at));
            let is_possible = is_on_its_way && at.is_some_and(|at| self.may_die((at, message), death.reason));
            self.facts.push(Fact::Story(StoryFact::Died {
                message,
                queue: at.map(|at| self.queues[at as usize].index),
                reason: death.reason,
                count: death.count,
                least: 1,
                most: 1,
                is_possible,
            }));
            let ttl = at.and_then(|at| self.queues[at as usize].rules.message_ttl_ms);
            if let (Reason::Expired, Some(at), Some(ttl), Some(apart)) = (death.reason, at, ttl, self.clocks_apart) {
                self.facts.push(Fact::Story(StoryFact::Timed {
                    message,
                    queue: self.queues[at as usize].index,
                    is_alive: false,
                    due: (since + u64::from(ttl) * MILLISECOND).saturating_sub(apart),
                    seen: self.time,
                    crashed_since: self.is_disturbed,
                }));
            }
        }
        if let (Some(newest), Some((last, reason))) = (deaths.entries.first(), &deaths.last) {
            let last_agrees = *last == newest.queue && Reason::parse(reason) == newest.reason;
            let is_entry = |(queue, reason): &(Vec<u8>, Vec<u8>)| {
                deaths.entries.iter().any(|death| death.queue == *queue && death.reason == Reason::parse(reason))
            };
            self.facts.push(Fact::Story(StoryFact::Marked {
                message,
                last_agrees,
                first_agrees: deaths.first.as_ref().is_some_and(is_entry),
                is_tidy: !deaths.has_expiration,
                front: 1,
                behind: 0,
                is_on_its_way: true,
            }));
        }
    }

    /// Whether a queue knows such a death, and the message may have died it there.
    fn may_die(&self, stay: Stay, reason: Reason) -> bool {
        let held = &self.queues[stay.0 as usize];
        let entry = self.entries.get(&stay);
        match reason {
            Reason::Expired => held.rules.message_ttl_ms.is_some(),
            Reason::MaxLength => entry.is_none_or(|entry| self.may_be_driven_out(stay.0, entry)),
            Reason::Rejected => entry.is_none_or(|entry| entry.was_rejected),
            Reason::DeliveryLimit => entry.is_none_or(|entry| self.failures_max(stay.0, entry) > held.limit()),
            Reason::Removed | Reason::Unknown => false,
        }
    }

    /// Whether so many may have been behind it that the queue dropped it. What came back stands in front of all others.
    fn may_be_driven_out(&self, queue: u32, entry: &Entry) -> bool {
        let Some(most) = self.queues[queue as usize].drops_beyond() else { return false };
        let is_back = self.failures_max(queue, entry) > 0 || self.may_have_come_back(queue, entry.since);
        if entry.deliveries > 0 || entry.is_dead_letter || is_back {
            return true;
        }
        let is_behind = |other: &Entry| other.is_dead_letter || other.promised_by.is_none_or(|by| by >= entry.position);
        // It is one of them itself.
        self.entries.range(stays_of(queue)).filter(|(_, other)| is_behind(other)).count() as u64 > most
    }

    /// Whether a rule may have taken a message out of its queue, or somebody whom nobody saw.
    pub(super) fn may_be_gone(&self, stay: Stay, entry: &Entry) -> bool {
        let held = &self.queues[stay.0 as usize];
        entry.is_doubtful
            || self.failures_max(stay.0, entry) > held.limit()
            || held.rules.message_ttl_ms.is_some()
            || self.may_be_driven_out(stay.0, entry)
    }

    /// Whether a message that must be where dead letters go, now that its queue is empty, is not there. All that nobody is done with is
    /// dead.
    pub(super) fn is_missing_elsewhere(&self, (queue, message): Stay, entry: &Entry) -> bool {
        let held = &self.queues[queue as usize];
        let is_certain = entry.is_promised || entry.deliveries > 0;
        is_certain
            && !(entry.was_acked || entry.is_doubtful || entry.is_dead_letter)
            && held.is_sure_to_dead_letter(self.is_disturbed)
            && held.dead_target.is_some_and(|target| !self.has_come(target, message))
    }

    /// Whether a dead letter came out of a queue, or of one behind it, or may have gone unseen.
    fn has_come(&self, queue: u32, message: MessageNumber) -> bool {
        let held = &self.queues[queue as usize];
        self.entries.get(&(queue, message)).is_some_and(|entry| entry.deliveries > 0)
            || (held.dead_target.is_none() || !held.is_sure_to_dead_letter(self.is_disturbed)) && held.may_swallow()
            || held.dead_target.is_some_and(|target| self.has_come(target, message))
    }

    /// The most messages that may be in a queue by its rules, when all is at rest and all that can expire has; and how many it may have
    /// that were never seen there.
    pub(super) fn bounds(&self, queue: u32) -> (u64, u64) {
        let held = &self.queues[queue as usize];
        let most = match (held.rules.message_ttl_ms, held.drops_beyond()) {
            (Some(_), _) if self.clocks_apart.is_some() => 0,
            (_, Some(length)) => length,
            (_, None) => u64::MAX,
        };
        let unseen = if held.is_dead_target { u64::MAX } else { 0 };
        (most, unseen)
    }
}

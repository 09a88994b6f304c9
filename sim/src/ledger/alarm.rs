//! Shortages: publishers on all nodes wait while memory or disk space is short on any, and go on when it is on none (RabbitMQ docs: Memory
//! and Disk Alarms).
//!
//! A node that others cannot hear may be short for them for a while longer, or not yet; so about others something is said only as long as
//! all nodes hear each other.

use super::Ledger;
use crate::clock::{MILLISECOND, Micros};
use crate::history::Fact;
use crate::message::MessageNumber;
use crate::nodes::At;
use crate::story::{Short, StoryFact};

/// How long it takes at most until all nodes know.
const SPREAD: Micros = 2000 * MILLISECOND;

/// What one node has left.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Level {
    short: Short,
    /// Since when something is, or nothing.
    since: Micros,
    /// Whether something ever was.
    was_short: bool,
}

impl Level {
    /// Whether it is certain that the others know.
    fn is_old(self, time: Micros) -> bool {
        time > self.since + SPREAD
    }
}

impl Ledger {
    /// A node is about to be told what it has left.
    pub(crate) fn shortages(&mut self, at: At, short: Short) {
        let (time, blocked) = (self.time, self.blocked.len());
        let level = &mut self.sites[at.number()].level;
        let before = std::mem::replace(&mut level.short, short);
        if before.is_any() != short.is_any() {
            level.since = time;
            level.was_short = true;
        }
        self.facts.push(Fact::Story(StoryFact::Measured { before, short, blocked }));
    }

    /// A node tells a client to wait, or to go on.
    pub(super) fn blocked(&mut self, connection: u32, is_blocked: bool) {
        let Some(&at) = self.connections.get(&connection) else { return };
        if is_blocked {
            self.blocked.insert(connection, self.time);
        } else {
            self.blocked.remove(&connection);
        }
        let (time, is_disturbed) = (self.time, self.is_disturbed);
        let own = self.sites[at.number()].level;
        // What a node says of a moment goes out when the step is over.
        let is_own_shortage = own.short.is_any() && time > own.since;
        let is_old_shortage = |level: &Level| level.short.is_any() && level.is_old(time);
        let is_shortage = |level: &Level| level.short.is_any() || (level.was_short && !level.is_old(time));
        let mut levels = self.sites.iter().map(|site| &site.level);
        let was_enough = !is_own_shortage && (is_disturbed || !levels.any(is_old_shortage));
        let was_short = is_disturbed || self.sites.iter().any(|site| is_shortage(&site.level));
        let (short, maybe_full) = (own.short, self.maybe_full);
        let fact = StoryFact::Blocked { connection, is_blocked, short, was_short, was_enough, maybe_full };
        self.facts.push(Fact::Story(fact));
    }

    /// A node takes a publish.
    pub(super) fn judge_taken(&mut self, connection: u32, message: MessageNumber) {
        if self.blocked.get(&connection).is_some_and(|since| *since < self.time) {
            self.facts.push(Fact::Story(StoryFact::TakenWhileBlocked { connection, message }));
        }
    }
}

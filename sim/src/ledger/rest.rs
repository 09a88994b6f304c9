//! What is left when all has come to rest.

use super::{Entry, Ledger, Stay, stays_of};
use crate::history::{Fact, Presence};
use crate::story::StoryFact;

impl Ledger {
    /// Compares what the leaders of its queues hold with what is known, and with what they may hold.
    pub(crate) fn count<'a>(&mut self, found: impl IntoIterator<Item = (&'a str, u64)>) {
        for (name, found) in found {
            let Some(&at) = self.by_name.get(name.as_bytes()) else { continue };
            let (mut least, mut maybe) = (0_u64, 0);
            for (stay, entry) in self.entries.range(stays_of(at)) {
                match entry.presence {
                    Presence::Ready | Presence::Unacked(_) if self.may_be_gone(*stay, entry) => maybe += 1,
                    Presence::Ready | Presence::Unacked(_) => least += 1,
                    Presence::Maybe => maybe += 1,
                    Presence::Never | Presence::Gone(_) => {}
                }
            }
            let (length_max, unseen) = self.bounds(at);
            let most = (least + maybe).saturating_add(unseen).min(length_max);
            let queue = self.queues[at as usize].index;
            if let Some(limit) = self.queues[at as usize].drops_beyond() {
                let (ready, is_by_policy) = (found, false);
                self.facts.push(Fact::Story(StoryFact::Length { queue, ready, limit, is_by_policy }));
            }
            self.facts.push(Fact::Counted { queue, found, least: least.min(most), most });
        }
    }

    /// All queues were drained: what is still in them by what is known was lost.
    pub(crate) fn drained(&mut self) {
        for at in (0..).zip(&self.queues).map(|(at, _)| at).collect::<Vec<u32>>() {
            let queue = self.queues[at as usize].index;
            let left: Vec<Fact> = self
                .entries
                .range(stays_of(at))
                .filter(|(stay, entry)| self.is_lost(**stay, entry))
                .map(|((_, message), entry)| Fact::NeverCame {
                    queue,
                    message: *message,
                    was_confirmed: entry.is_promised,
                })
                .collect();
            if left.is_empty() {
                self.facts.push(Fact::Emptied { queue });
            }
            self.facts.extend(left);
        }
    }

    /// Whether a message had to come and did not.
    fn is_lost(&self, stay: Stay, entry: &Entry) -> bool {
        if self.is_missing_elsewhere(stay, entry) {
            return true;
        }
        let is_in = entry.is_promised || entry.deliveries > 0;
        if self.may_be_gone(stay, entry) || (!is_in && self.queues[stay.0 as usize].may_refuse()) {
            return false;
        }
        match entry.presence {
            Presence::Ready | Presence::Unacked(_) => true,
            // A node that took it and lives has passed it on.
            Presence::Maybe => {
                let is_sure = !self.may_be_lost(stay.0, entry.sent) && !self.has_home_ended(stay.0, entry.sent);
                entry.deliveries == 0
                    && is_sure
                    && entry.taken.is_some_and(|(node, life)| self.sites[node.number()].life == life)
            }
            Presence::Never | Presence::Gone(_) => false,
        }
    }
}

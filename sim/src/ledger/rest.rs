//! What is left when all has come to rest.

use super::{Entry, Ledger};
use crate::history::{Fact, Presence};

impl Ledger {
    /// Compares what the leaders of its queues hold with what is known.
    pub(crate) fn count<'a>(&mut self, found: impl IntoIterator<Item = (&'a str, u64)>) {
        for (name, found) in found {
            let Some(&at) = self.by_name.get(name.as_bytes()) else { continue };
            let (mut least, mut maybe) = (0, 0);
            for entry in self.entries.values().filter(|entry| entry.queue == at) {
                match entry.presence {
                    Presence::Ready if self.may_be_gone(entry) => maybe += 1,
                    Presence::Ready | Presence::Unacked(_) => least += 1,
                    Presence::Maybe => maybe += 1,
                    Presence::Never | Presence::Gone(_) => {}
                }
            }
            let queue = self.queues[at as usize].index;
            self.facts.push(Fact::Counted { queue, found, least, most: least + maybe });
        }
    }

    /// All queues were drained: what is still in them by what is known was lost.
    pub(crate) fn drained(&mut self) {
        for at in 0..self.queues.len() {
            let queue = self.queues[at].index;
            let left: Vec<Fact> = self
                .entries
                .iter()
                .filter(|(_, entry)| entry.queue as usize == at && self.is_lost(entry))
                .map(|(number, entry)| Fact::NeverCame { queue, message: *number, was_confirmed: entry.is_promised })
                .collect();
            if left.is_empty() {
                self.facts.push(Fact::Emptied { queue });
            }
            self.facts.extend(left);
        }
    }

    /// Whether a message had to come and did not.
    fn is_lost(&self, entry: &Entry) -> bool {
        if self.may_be_gone(entry) {
            return false;
        }
        match entry.presence {
            Presence::Ready | Presence::Unacked(_) => true,
            // A node that took it and lives has passed it on.
            Presence::Maybe => {
                entry.deliveries == 0 && entry.taken.is_some_and(|(node, life)| self.sites[node.number()].life == life)
            }
            Presence::Never | Presence::Gone(_) => false,
        }
    }
}

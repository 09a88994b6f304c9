//! Messages that stay for long, in a log that is to stay short.
//!
//! A member's log begins at the first entry that holds the body of a message that lives. One message that nobody takes would keep all that
//! came after it, so a leader proposes the bodies of the oldest ones again, as the cleaner of a log-structured file system does, and each
//! member takes them from there on.

use alloc::vec::Vec;

use super::command::Carried;
use super::ids::{ConsumerId, LogIndex};
use super::machine::QuorumQueue;
use super::slot::{BodyPlace, Slot};

/// How many entries there may be for each that holds a body.
const ENTRIES_PER_LIVING: u64 = 4;

impl QuorumQueue {
    /// Bodies that are to be proposed again, in ascending order of where they are: if the log is longer than `entries` and than what
    /// lives in it warrants, some of the oldest, at most so many messages and bytes, but one. Walks all messages.
    pub fn to_carry(&self, entries: u64, messages: usize, bytes: u64) -> Vec<BodyPlace> {
        let spanned = self.live.first().map_or(0, |first| self.applied.0 - first.0);
        if spanned <= entries + ENTRIES_PER_LIVING * self.live.len() as u64 {
            return Vec::new();
        }
        let mut counted = 0;
        let mut up_to = LogIndex(0);
        for (index, living) in self.live.iter() {
            counted += living as usize;
            up_to = index;
            if counted >= messages {
                break;
            }
        }
        let mut places: Vec<BodyPlace> =
            self.slots().map(|slot| slot.body).filter(|body| body.index <= up_to).collect();
        places.sort_unstable();
        let mut total = 0;
        let fitting = places.iter().take(messages).take_while(|body| {
            total += u64::from(body.len);
            total <= bytes
        });
        let fitting = fitting.count().max(1);
        places.truncate(fitting);
        places
    }

    /// Bodies are in this entry too. Who no longer lives is passed over.
    pub(super) fn carry(&mut self, bodies: &[Carried]) {
        let Some(last) = bodies.last() else { return };
        let index = self.applied;
        let mut left = Vec::new();
        let mut take = |slot: &mut Slot| {
            if slot.body <= last.from
                && let Ok(at) = bodies.binary_search_by_key(&slot.body, |carried| carried.from)
            {
                left.push(slot.body.index);
                let to = bodies[at].to;
                slot.body = BodyPlace { index, at: to.at, len: to.len };
            }
        };
        self.ready.iter_mut().for_each(&mut take);
        self.delayed.slots_mut().for_each(&mut take);
        self.dead.slots_mut().for_each(&mut take);
        let takers: Vec<ConsumerId> = self.takers.keys().collect();
        for taker in takers {
            let out = self.takers.get_mut(&taker).into_iter().flat_map(|taker| taker.unacked.values_mut());
            out.for_each(|out| take(&mut out.slot));
        }
        for before in left {
            self.live.release(before);
            self.live.hold(index);
        }
    }
}

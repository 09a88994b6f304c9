//! What always holds of a quorum queue.

use alloc::collections::BTreeMap;

use super::ids::LogIndex;
use super::machine::QuorumQueue;
use super::slot::Slot;

impl QuorumQueue {
    /// Checks the queue's invariants; walks all of its messages.
    ///
    /// # Panics
    /// If one is broken.
    pub fn check_invariants(&self) {
        self.ready.check_invariants();
        self.consumers.check_invariants();
        let expiring = self.ready.iter().filter(|slot| slot.expires_at != 0).count() as u64;
        assert_eq!(expiring, self.expiring, "ready messages that expire are counted");
        self.check_takers();
        let mut entries: BTreeMap<LogIndex, u32> = BTreeMap::new();
        let mut persistent = 0;
        for slot in self.slots() {
            *entries.entry(slot.body.index).or_default() += 1;
            persistent += u64::from(slot.is_persistent);
            assert!(slot.seq < self.next_seq, "message {} came before {}", slot.seq, self.next_seq);
        }
        assert_eq!(persistent, self.persistent, "persistent messages are counted");
        assert!(self.live.iter().eq(entries), "each entry knows how many of its messages live");
    }

    fn check_takers(&self) {
        let (mut unacked, mut bytes, mut consuming) = (0, 0, 0);
        for (id, taker) in self.takers.iter() {
            assert!(self.roster.sessions.contains_key(&id.session), "taker {id} outlived its session");
            assert!(!taker.is_over(), "taker {id} has nothing and gets nothing");
            unacked += taker.unacked.len() as u64;
            bytes += taker.unacked.iter().map(|(_, out)| u64::from(out.slot.size)).sum::<u64>();
            let Some(key) = taker.key else { continue };
            consuming += 1;
            let consumer = self.consumers.get(key).expect("a taker's consumer is there");
            assert_eq!(consumer.who, id, "a taker's consumer is its own");
            assert_eq!(consumer.is_barred(), !taker.timed_out.is_empty(), "{id} is barred for what it had too long");
            assert_eq!(consumer.unacked() as usize, taker.unacked.len(), "deliveries of {id} are counted");
            assert_eq!(consumer.is_suspected(), self.roster.is_suspected(id.session.node), "{id} is as its node");
        }
        assert_eq!(consuming, self.consumers.len(), "each consumer has its taker");
        assert_eq!((unacked, bytes), (self.unacked, self.unacked_bytes), "what is out is counted");
    }

    /// All messages there are.
    pub(super) fn slots(&self) -> impl Iterator<Item = &Slot> {
        let out = self.takers.iter().flat_map(|(_, taker)| taker.unacked.iter().map(|(_, out)| &out.slot));
        let dead = self.dead.iter().map(|(_, dead)| &dead.slot);
        self.ready.iter().chain(out).chain(self.delayed.iter().map(|(_, slot)| slot)).chain(dead)
    }
}

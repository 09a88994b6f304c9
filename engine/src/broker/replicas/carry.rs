//! How a leader keeps its group's log short although some messages stay for long: see [`QuorumQueue::to_carry`].
//!
//! [`QuorumQueue::to_carry`]: crate::queue::quorum::QuorumQueue::to_carry

use alloc::vec::Vec;
use bytes::Bytes;

use super::super::Broker;
use super::deliver::Outgoing;
use crate::cluster::version;
use crate::ids::QueueId;
use crate::limits;
use crate::queue::quorum::{BodyPlace, Carried, Command, EntryWriter, Payload};

/// Some bodies on their way: read one after the other, as what is handed out to consumers is, and then proposed together.
#[derive(Debug)]
pub(super) struct Carrying {
    /// How many are still to be read.
    left: usize,
    bodies: Vec<Carried>,
    bytes: Vec<u8>,
    /// The entry in which they were proposed.
    entry: u64,
}

impl Carrying {
    /// Whether this is the entry in which they were proposed.
    pub(super) fn is_at(&self, index: u64) -> bool {
        self.entry == index
    }
}

impl Broker {
    /// Begins with the next bodies, if the log of a queue that is led here is longer than it should be.
    pub(super) fn begin_to_carry(&mut self, queue: QueueId, entries: u64) {
        if !self.is_known_to_all(version::CARRY) {
            return;
        }
        let replica = self.replicas.by_queue.get_mut(&queue);
        let Some(replica) = replica.filter(|replica| replica.leads && replica.carrying.is_none()) else { return };
        let (messages, bytes) = (limits::REPLICA_CARRY_MESSAGES, limits::REPLICA_CARRY_BYTES);
        let places = replica.machine.to_carry(entries, messages, bytes);
        if !places.is_empty() {
            let (bodies, bytes) = (Vec::with_capacity(places.len()), Vec::new());
            replica.carrying = Some(Carrying { left: places.len(), bodies, bytes, entry: 0 });
            replica.outgoing.extend(places.into_iter().map(Outgoing::Carry));
            self.replicas.active.insert(queue);
        }
    }

    /// A body is there. With the last of them, they are proposed.
    pub(super) fn carry(&mut self, queue: QueueId, from: BodyPlace, body: &Bytes) {
        let replica = self.replicas.by_queue.get_mut(&queue);
        let Some(carrying) = replica.and_then(|replica| replica.carrying.as_mut()) else { return };
        carrying.bodies.push(Carried { from, to: Payload::default() });
        carrying.bytes.extend_from_slice(body);
        carrying.left -= 1;
        if carrying.left > 0 {
            return;
        }
        let mut writer = EntryWriter::default();
        let bodies = core::mem::take(&mut carrying.bodies);
        writer.push(&Command::Carry { bodies }, &core::mem::take(&mut carrying.bytes));
        let proposed = self.propose_to(queue, &writer.take());
        let Some(replica) = self.replicas.by_queue.get_mut(&queue) else { return };
        // If it is refused, the next entry that is applied begins anew.
        replica.carrying =
            replica.carrying.take().zip(proposed).map(|(carrying, id)| Carrying { entry: id.index, ..carrying });
    }
}

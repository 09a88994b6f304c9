//! Settlements that nobody waits for: they go to the group in the company of what comes next.
//!
//! At a moderate rate each message is followed by its ack, and each of the two would be an entry of its own: written and synced by every
//! member, told and answered between them. Nobody waits for an ack, but the next message would wait behind its sync. So a leader keeps
//! settlements while nothing is ready in the queue, and puts them in front of whatever it proposes next, into the same entry. They go
//! alone once something is ready, since then a consumer may get it for them, and when they have waited for [`limits::REPLICA_COMPANY_WAIT`].
//!
//! What is kept here is as good as still on its way: whoever leads next has not got it, and the session sends it again.

use alloc::vec::Vec;
use bytes::Bytes;

use super::super::Broker;
use super::apply::encode_command;
use crate::ids::QueueId;
use crate::limits;
use crate::queue::quorum::{join_entries, only_settles};
use crate::time::Instant;

/// Settlements that wait.
#[derive(Debug)]
pub(super) struct Company {
    /// As one entry.
    pub(super) entry: Vec<u8>,
    /// Until when.
    pub(super) until: Instant,
}

impl Broker {
    /// Keeps what sessions want of a queue that this node leads, if that can wait. Whether it does.
    pub(super) fn keep_for_company(&mut self, queue: QueueId, entry: &[u8]) -> bool {
        let until = self.now.mono + limits::REPLICA_COMPANY_WAIT;
        let Some(replica) = self.replicas.by_queue.get_mut(&queue) else { return false };
        if !replica.leads || replica.machine.stat().ready > 0 || !only_settles(entry) {
            return false;
        }
        match &mut replica.company {
            None => {
                replica.company = Some(Company { entry: entry.into(), until });
                self.replicas.companies.insert((until, queue));
                true
            }
            Some(waiting) => {
                waiting.entry.len() + entry.len() <= limits::REPLICA_COMPANY_BYTES
                    && join_entries(&mut waiting.entry, entry)
            }
        }
    }

    /// Takes out what waits.
    pub(super) fn take_company(&mut self, queue: QueueId) -> Option<Vec<u8>> {
        let Company { entry, until } = self.replicas.by_queue.get_mut(&queue)?.company.take()?;
        self.replicas.companies.remove(&(until, queue));
        Some(entry)
    }

    /// A command for a queue's group: an entry, behind what has waited for it.
    pub(super) fn in_company(&mut self, queue: QueueId, entry: &[u8]) -> Bytes {
        let wall_ms = self.now.wall.as_millis();
        let Some(mut waiting) = self.take_company(queue) else { return encode_command(wall_ms, entry) };
        if join_entries(&mut waiting, entry) {
            return encode_command(wall_ms, &waiting);
        }
        // It is of a later version: each speaks for itself.
        self.propose_alone(queue, &waiting);
        encode_command(wall_ms, entry)
    }

    /// Something is ready: what waits goes, since it may be what a consumer gets that for.
    pub(super) fn send_company_if_ready(&mut self, queue: QueueId) {
        let replica = self.replicas.by_queue.get(&queue);
        if replica.is_some_and(|replica| replica.company.is_some() && replica.machine.stat().ready > 0) {
            self.send_company(queue);
        }
    }

    /// What has waited for long enough goes.
    pub(super) fn on_company_timeout(&mut self) {
        let now = self.now.mono;
        while let Some((_, queue)) = self.replicas.companies.first().copied().filter(|(until, _)| *until <= now) {
            self.send_company(queue);
        }
    }

    fn send_company(&mut self, queue: QueueId) {
        if let Some(entry) = self.take_company(queue) {
            self.propose_alone(queue, &entry);
        }
    }

    /// What is refused is sent again.
    fn propose_alone(&mut self, queue: QueueId, entry: &[u8]) {
        let command = encode_command(self.now.wall.as_millis(), entry);
        if let Some(peers) = &mut self.peers {
            let _ = peers.cluster_mut().propose_to(queue, command);
        }
    }
}

//! What a queue's group has decided, applied to this node's replica.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::{BufMut, Bytes, BytesMut};

use super::super::Broker;
use super::Replica;
use crate::cluster::consensus::{Apply, Content, EntryId, Mark, Members};
use crate::ids::{NodeId, QueueId};
use crate::limits;
use crate::queue::quorum::{Actions, LogIndex, Meta, QuorumQueue, decode_entry};
use crate::storage::codec::{Reader, put_varint};

/// Bytes in front of an entry's commands: the leader's wall clock.
const HEAD_BYTES: usize = 8;
/// The version of a written state.
const STATE_VERSION: u8 = 1;

/// A command for the group: what sessions want, and what time it is.
pub(super) fn encode_command(wall_ms: u64, entry: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(HEAD_BYTES + entry.len());
    out.put_u64_le(wall_ms);
    out.put_slice(entry);
    out.freeze()
}

/// The wall clock and the commands of an entry.
pub(super) fn split_command(command: &Bytes) -> Option<(u64, Bytes)> {
    let head = command.first_chunk::<HEAD_BYTES>()?;
    Some((u64::from_le_bytes(*head), command.slice(HEAD_BYTES..)))
}

/// A replica's state with its place: version 1, index, term, voters, learners, then the pieces of the machine's snapshot with their
/// lengths.
pub(super) fn encode_state(mark: &Mark, machine: &QuorumQueue) -> Bytes {
    let mut out = Vec::from([STATE_VERSION]);
    put_varint(&mut out, mark.id.index);
    put_varint(&mut out, mark.id.term);
    for nodes in [mark.members.voters(), mark.members.learners()] {
        put_varint(&mut out, nodes.len() as u64);
        nodes.iter().for_each(|node| put_varint(&mut out, node.0));
    }
    for piece in machine.snapshot() {
        put_varint(&mut out, piece.len() as u64);
        out.extend_from_slice(&piece);
    }
    out.into()
}

/// What [`encode_state`] wrote.
pub(super) fn decode_state(state: &Bytes) -> Option<(Mark, QuorumQueue)> {
    let mut reader = Reader(state);
    if reader.u8()? != STATE_VERSION {
        return None;
    }
    let (index, term) = (reader.varint()?, reader.varint()?);
    let mut nodes = || -> Option<Vec<NodeId>> {
        let count = usize::try_from(reader.varint()?).ok().filter(|count| *count <= limits::GROUP_MEMBERS_MAX)?;
        (0..count).map(|_| Some(NodeId(reader.varint()?))).collect()
    };
    let members = Members::new(nodes()?, nodes()?)?;
    let mut pieces = Vec::new();
    while !reader.is_empty() {
        let len = usize::try_from(reader.varint()?).ok()?;
        pieces.push(state.slice_ref(reader.take(len)?));
    }
    let machine = QuorumQueue::restore(&pieces).ok()?;
    let mark = Mark { id: EntryId { term, index }, members };
    (machine.applied() <= LogIndex(index)).then_some((mark, machine))
}

impl Replica {
    /// Keeps an entry's bodies in memory for as long as they are young.
    fn remember(&mut self, index: u64, entry: Bytes) {
        self.recent_bytes += entry.len();
        self.recent.push_back((index, entry));
        while self.recent_bytes > limits::REPLICA_RECENT_BYTES && self.recent.len() > 1 {
            let oldest = self.recent.pop_front();
            self.recent_bytes -= oldest.map_or(0, |(_, entry)| entry.len());
        }
    }
}

impl Broker {
    /// Applies an entry, or becomes what an offered state says.
    pub(super) fn apply_entry(&mut self, queue: QueueId, id: EntryId, what: Apply) -> Result<(), String> {
        let spoken = self.spoken();
        let Some(replica) = self.replicas.by_queue.get_mut(&queue) else { return Ok(()) };
        match what {
            Apply::Entry(Content::Command(command)) if !command.is_empty() => {
                // What was written down includes it.
                if id.index <= replica.applied() {
                    return Ok(());
                }
                let unreadable =
                    || format!("queue {queue}: its log holds what this version cannot read: upgrade this node");
                let (wall_ms, entry) = split_command(&command).ok_or_else(unreadable)?;
                let (mut actions, mut commands) =
                    (core::mem::take(&mut self.replicas.actions), core::mem::take(&mut self.replicas.commands));
                actions.clear();
                decode_entry(&entry, &mut commands).map_err(|_| unreadable())?;
                if commands.iter().any(|command| command.since() > spoken) {
                    return Err(unreadable());
                }
                replica.machine.apply(Meta { index: LogIndex(id.index), wall_ms }, &commands, &mut actions);
                commands.clear();
                replica.remember(id.index, entry);
                if replica.carrying.as_ref().is_some_and(|carrying| carrying.is_at(id.index)) {
                    replica.carrying = None;
                }
                if replica.leads {
                    self.carry_out_actions(queue, id, &mut actions);
                    self.send_company_if_ready(queue);
                } else {
                    drop_actions(&mut actions);
                }
                (self.replicas.actions, self.replicas.commands) = (actions, commands);
            }
            // The machine knows nothing of the entries with which leaders begin, nor of members.
            Apply::Entry(Content::Command(_)) => {
                if replica.term == id.term {
                    self.begin_to_lead(queue);
                }
            }
            Apply::Entry(Content::Members(_)) => self.see_to_members(queue),
            Apply::Snapshot => {
                let Some((mark, state)) = replica.offered.take_if(|(mark, _)| mark.id.index == id.index) else {
                    return Ok(());
                };
                if id.index > replica.applied() {
                    let (_, machine) = decode_state(&state).ok_or("a queue's state was readable when it came")?;
                    replica.machine = machine;
                    replica.recent.clear();
                    replica.recent_bytes = 0;
                }
                // One that was taken down before stands for less.
                replica.candidate = None;
                replica.base = Some((mark, state));
            }
        }
        self.compact_replica(queue);
        Ok(())
    }
}

/// Only a leader does something.
fn drop_actions(actions: &mut Actions) {
    actions.clear();
}

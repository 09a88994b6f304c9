//! The broker and its log: progress, recovery, and who answers for what is in it.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use rand_chacha::rand_core::Rng;

use super::clustered::{BECAME, DECIDED};
use super::declare::new_queue;
use super::{Broker, Holds, LateAnswer, Proposal, Queues, Waiter};
use crate::amqp::ShortStr;
use crate::auth::{HashingAlgorithm, PasswordHash};
use crate::cluster::peers::{Peers, is_of_cluster};
use crate::effect::DiskRequest;
use crate::exchange::Hold;
use crate::ids::{Lsn, QueueId, QueueSeq};
use crate::metadata::{Administration, Command, Metadata, Pattern, Permissions, VhostSettings};
use crate::mutants::{Mutant, is_planted};
use crate::storage::{Log, Owners, Place, Recovered, RecoveredOwner, RefState};
use crate::time::Now;

impl Broker {
    /// Brings round what the log's progress means: bodies that may go, commands to apply, publishers to tell.
    pub(crate) fn on_log_progress(&mut self) {
        let (mut written, mut durable) = (self.log.written(), self.log.durable());
        let mut index = 0;
        while let Some(&key) = self.droppers.get(index) {
            let still = self.queues.get_mut(key).is_some_and(|queue| {
                let before = queue.body_bytes();
                queue.drop_written_bodies(written);
                self.body_bytes -= before - queue.body_bytes();
                queue.is_dropper = queue.has_droppable();
                queue.is_dropper
            });
            if still {
                index += 1;
            } else {
                self.droppers.swap_remove(index);
            }
        }
        self.drop_held_bodies();
        if is_planted(Mutant::ConfirmBeforeFsync) {
            (written, durable) = (self.log.end(), self.log.end());
        }
        while self.proposals.front().is_some_and(|proposal| proposal.end <= durable) {
            let Some(Proposal { command, names, requester, .. }) = self.proposals.pop_front() else { break };
            for name in names {
                if let Some(count) = self.pending_names.get_mut(&name) {
                    *count -= 1;
                    if *count == 0 {
                        self.pending_names.remove(&name);
                    }
                }
            }
            self.have_names_changed = true;
            let result = self.metadata.apply(command).map(|changes| self.on_changes(&changes));
            self.tell(requester, result);
        }
        self.resume_dead_letters();
        while self.late_answers.front().is_some_and(|late| late.end <= durable) {
            let Some(LateAnswer { asker, outcome, .. }) = self.late_answers.pop_front() else { break };
            self.tell_asker(asker, Ok(outcome));
        }
        while self.sync_waiters.front().is_some_and(|waiter| waiter.end <= durable) {
            let Some(Waiter { channel, what, .. }) = self.sync_waiters.pop_front() else { break };
            self.on_durable(channel, what);
        }
        while self.write_waiters.front().is_some_and(|waiter| waiter.end <= written) {
            let Some(Waiter { channel, what, .. }) = self.write_waiters.pop_front() else { break };
            self.on_durable(channel, what);
        }
    }

    /// Rebuilds everything from what the log had kept. The number of messages and queues.
    ///
    /// # Errors
    /// A text for the operator if the log holds something that cannot be.
    pub(crate) fn recover(&mut self, recovered: Recovered) -> Result<(u64, u64), String> {
        let Recovered { snapshot, metadata, owners, .. } = recovered;
        self.recover_metadata(snapshot, metadata)?;
        if let Some(place) = self.peers.as_ref().and_then(|peers| peers.cluster().place()) {
            self.metadata.enter_cluster(place.node);
        }
        let queues = self.metadata.queues().into_iter();
        let keys = queues.filter(|(_, record)| self.metadata.is_here(record)).map(|(key, record)| (key, record.id));
        let keys: Vec<_> = keys.collect();
        let mut owners = owners;
        if let Some((last, _)) = owners.last_key_value() {
            self.metadata.skip_queue_ids(QueueId(*last));
        }
        let mut messages = 0;
        for (key, id) in &keys {
            let record = self.metadata.queue_by_key(*key).expect("it was just listed");
            let mut queue = new_queue(record, record.durable, self.now);
            let owner = owners.remove(&id.0).unwrap_or_default();
            for kept in owner.refs {
                self.log.retain(kept.place());
                queue.recover(QueueSeq(kept.seq), kept.place(), kept.state, self.now);
                messages += 1;
            }
            queue.continue_from(QueueSeq(owner.next_seq));
            self.queues.insert(*key, queue);
            self.remember_for_queue(*key);
            self.activate(*key);
        }
        messages += self.recover_holds(&mut owners);
        self.open_replicas()?;
        Ok((messages, keys.len() as u64))
    }

    /// Makes the metadata what a snapshot and the commands after it say.
    ///
    /// # Errors
    /// A text for the operator if one of them cannot be read. Those after it are left out.
    pub(super) fn recover_metadata(&mut self, snapshot: Option<Bytes>, commands: Vec<Bytes>) -> Result<(), String> {
        let hash_seed = self.rng.next_u64();
        let unreadable = |what: &str| alloc::format!("the log holds {what} that this version cannot read");
        let mut pending = Vec::new();
        if let Some(snapshot) = snapshot {
            let (base, commands) = decode_base(&snapshot).ok_or_else(|| unreadable("a metadata snapshot"))?;
            self.metadata = Metadata::restore(base, hash_seed).map_err(|_| unreadable("a metadata snapshot"))?;
            pending = commands;
        }
        for command in pending.into_iter().chain(commands) {
            self.replay(command).ok_or_else(|| unreadable("a metadata command"))?;
        }
        Ok(())
    }

    /// Puts back what delayed exchanges held. How many messages.
    fn recover_holds(&mut self, owners: &mut BTreeMap<u64, RecoveredOwner>) -> u64 {
        let keys: Vec<_> = self.metadata.exchanges().into_iter().map(|(key, _)| key).collect();
        keys.into_iter().for_each(|key| self.remember_for_exchange(key));
        let exchanges = self.metadata.exchanges();
        let delayed = exchanges.iter().filter(|(_, exchange)| exchange.arguments.is_delayed);
        let delayed: Vec<_> = delayed.map(|(key, exchange)| (*key, exchange.hold)).collect();
        let mut messages = 0;
        for (key, id) in delayed {
            // The node stopped between the exchange and its hold, in which there was nothing yet.
            let Some(id) = id else {
                self.open_hold(key);
                continue;
            };
            let mut hold = Hold::new(id, true);
            let owner = owners.remove(&id.0).unwrap_or_default();
            for kept in owner.refs {
                self.log.retain(kept.place());
                hold.recover(QueueSeq(kept.seq), kept.place(), kept.state);
                messages += 1;
            }
            hold.continue_from(QueueSeq(owner.next_seq));
            self.holds.insert(key, hold);
            self.arm_hold(key);
        }
        messages
    }

    /// Gives a node that never had any the vhost and the user that its configuration names (RabbitMQ docs: Access Control / default
    /// user). They go into the log before anything else; should a crash forget them, the next start does the same again.
    pub(crate) fn add_defaults(&mut self) {
        if self.metadata.has_had_users() {
            return;
        }
        let short = |text: &String| ShortStr::truncated(text);
        let config = &self.config;
        let (vhost, user) = (short(&config.default_vhost), short(&config.default_user));
        let [configure, write, read] =
            config.default_permissions.each_ref().map(|text| Pattern::of_permission(text).unwrap_or_default());
        let salt = self.rng.next_u32().to_le_bytes();
        let password = PasswordHash::new(HashingAlgorithm::default(), salt, self.config.default_pass.as_bytes());
        let mut all = Vec::new();
        if self.metadata.vhost(vhost.as_bytes()).is_none() {
            all.push(Administration::PutVhost { name: vhost.clone(), settings: VhostSettings::default() });
            all.push(Administration::DeleteVhost { name: ShortStr::from_static("/") });
        }
        let tags = self.config.default_user_tags.iter().map(short).collect();
        all.push(Administration::PutUser { name: user.clone(), password, tags });
        let permissions = Box::new(Permissions { configure, write, read });
        all.push(Administration::SetPermissions { user, vhost, permissions });
        for administration in all {
            let command = Command::Administer(Box::new(administration));
            self.log_command(&command);
            let changes = self.metadata.apply(command);
            self.on_changes(&changes.expect("a node without users has room for the first"));
        }
    }

    fn replay(&mut self, mut command: Bytes) -> Option<()> {
        match *command.first()? {
            DECIDED => {
                command.advance(1);
                let index = command.try_get_u64().ok()?;
                self.metadata.set_applied(index);
                // What was refused is refused again.
                let _ = self.metadata.apply(Command::decode(command).ok()?);
                return Some(());
            }
            BECAME => return self.metadata.become_other(command.slice(1..)).ok().map(|_| ()),
            _ => {}
        }
        let command = Command::decode(command).ok()?;
        // A command about what was deleted again later may find nothing; see `Metadata::replay`.
        let _ = self.metadata.replay(command);
        Some(())
    }

    /// Lets the log do its work at the end of a batch.
    pub(crate) fn flush_log(&mut self, now: Now, out: &mut Vec<DiskRequest>) {
        let (log, owners) = self.log_and_owners();
        log.flush(now.mono, &owners, out);
    }

    /// Splits the broker into the log and the view it needs of everything else.
    pub(crate) fn log_and_owners(&mut self) -> (&mut Log, LogOwners<'_>) {
        let owners = LogOwners {
            queues: &mut self.queues,
            holds: &mut self.holds,
            metadata: &self.metadata,
            proposals: &self.proposals,
            peers: self.peers.as_deref_mut(),
            now: self.now,
        };
        (&mut self.log, owners)
    }

    /// What was read for a queue.
    ///
    /// # Errors
    /// A text for the operator if it is damaged.
    pub(crate) fn on_read(&mut self, token: u64, start: Lsn, data: &Bytes) -> Result<(), &'static str> {
        if self.on_scan_read(token, data)? {
            return Ok(());
        }
        let Some(&key) = self.queues.keys.get(&token) else { return self.on_hold_read(token, start, data) };
        let is_aside = self.queues.is_aside(key);
        let Some(queue) = self.queues.wherever_mut(key) else { return Ok(()) };
        let before = queue.body_bytes();
        let log = &self.log;
        queue.on_read(start, data, |lsn, record| log.open_record(lsn, record).ok())?;
        self.body_bytes += queue.body_bytes() - before;
        if is_aside {
            self.active.push_back(key);
        }
        self.activate(key);
        Ok(())
    }
}

/// The metadata as the log keeps it: a snapshot of what is applied, and the commands before it in the log that are not.
fn encode_base(metadata: &Metadata, proposals: &VecDeque<Proposal>) -> Bytes {
    let snapshot = if metadata.is_founded() { metadata.snapshot_all() } else { metadata.snapshot() };
    let mut base = BytesMut::with_capacity(snapshot.len() + 8);
    put_part(&mut base, &snapshot);
    for proposal in proposals.iter().filter(|proposal| proposal.is_logged) {
        let mut command = BytesMut::new();
        proposal.command.encode(&mut command);
        put_part(&mut base, &command);
    }
    base.freeze()
}

fn put_part(base: &mut BytesMut, part: &[u8]) {
    base.put_u32_le(u32::try_from(part.len()).expect("metadata fits 4 GiB"));
    base.put_slice(part);
}

/// The parts of [`encode_base`]: the snapshot and the commands.
fn decode_base(base: &Bytes) -> Option<(Bytes, Vec<Bytes>)> {
    let mut rest = base.clone();
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let len = usize::try_from(rest.try_get_u32_le().ok()?).ok()?;
        if len > rest.len() {
            return None;
        }
        parts.push(rest.split_to(len));
    }
    let mut parts = parts.into_iter();
    Some((parts.next()?, parts.collect()))
}

/// Who answers for what is in the log.
#[derive(Debug)]
pub(crate) struct LogOwners<'a> {
    queues: &'a mut Queues,
    holds: &'a mut Holds,
    metadata: &'a Metadata,
    proposals: &'a VecDeque<Proposal>,
    peers: Option<&'a mut Peers>,
    now: Now,
}

impl Owners for LogOwners<'_> {
    fn live(&self, owner: u64, seq: u64, lsn: Lsn) -> Option<RefState> {
        if is_of_cluster(owner) {
            return self.peers.as_ref()?.live(owner, seq, lsn);
        }
        match self.queues.by_owner(owner) {
            Some(queue) => queue.state_at(QueueSeq(seq), lsn, self.now),
            None => self.holds.by_owner(owner)?.state_at(QueueSeq(seq), lsn),
        }
    }

    fn moved(&mut self, owner: u64, seq: u64, from: Lsn, to: Place) {
        if let Some(peers) = self.peers.as_mut().filter(|_| is_of_cluster(owner)) {
            peers.moved(owner, seq, from, to);
            return;
        }
        let Some(&key) = self.queues.keys.get(&owner) else {
            if let Some(hold) = self.holds.by_owner_mut(owner) {
                hold.on_moved(QueueSeq(seq), from, to);
            }
            return;
        };
        if let Some(queue) = self.queues.wherever_mut(key) {
            queue.on_moved(QueueSeq(seq), from, to);
        }
    }

    fn snapshot(&self) -> Bytes {
        encode_base(self.metadata, self.proposals)
    }
}

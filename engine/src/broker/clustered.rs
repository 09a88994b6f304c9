//! The broker as one of several nodes: what it asks the cluster for, and what the cluster has decided.
//!
//! What is declared goes through the cluster's log instead of the node's own. All nodes carry the commands out in the same order, and
//! each writes down in its own log what it has carried out. So whatever follows there, a queue's messages above all, stands behind the
//! command that made the queue, and a node starts from its own log alone.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::{BufMut, Bytes, BytesMut};

use super::{Broker, Name, Notice, Requester};
use crate::amqp::{AmqpError, ReplyCode};
use crate::cluster::link::Versions;
use crate::cluster::membership::{Decided, NotTaken};
use crate::cluster::peers::{Decisions, Peers};
use crate::effect::Effects;
use crate::ids::{ConnectionId, NodeId};
use crate::limits;
use crate::metadata::{Answer, Command};
use crate::mutants::{Mutant, is_planted};
use crate::time::Instant;

/// The first byte of a record in the log: a command of the cluster that was carried out, with its number. Commands that a node logs for
/// itself begin with their version, which is far below.
pub(super) const DECIDED: u8 = 0xc1;
/// The same of a state that the node took over from another one.
pub(super) const BECAME: u8 = 0xc2;

/// How far a node has come into its cluster since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Entry {
    /// It belongs to none yet.
    #[default]
    Outside,
    /// It belongs to one, and waits for what that had before.
    Entering,
    /// It has asked that its former life be forgotten, with this number.
    Beginning(u64),
    /// Clients may come.
    Inside,
}

/// A command that the cluster was asked for.
#[derive(Debug)]
pub(super) struct Asked {
    number: u64,
    command: Command,
    names: Vec<Name>,
    requester: Option<Requester>,
    /// When who asked is told that it takes too long.
    until: Instant,
    /// It declares a queue that is one connection's alone, and that has ended.
    is_forsaken: bool,
}

impl Asked {
    pub(super) fn command(&self) -> &Command {
        &self.command
    }
}

impl Broker {
    /// Asks the cluster for a command that was checked.
    ///
    /// # Errors
    /// 541 INTERNAL_ERROR on the connection if the cluster takes no more.
    pub(super) fn ask_cluster(&mut self, command: Command, requester: Option<Requester>) -> Result<(), AmqpError> {
        let command = self.with_members(command);
        let Some(peers) = &mut self.peers else { return Ok(()) };
        let mut encoded = BytesMut::new();
        command.encode(&mut encoded);
        let number = peers.propose(encoded.freeze()).map_err(|not_taken| {
            let why = match not_taken {
                NotTaken::Outside => "the node belongs to no cluster yet",
                NotTaken::Full => "too many changes are waiting for a majority of the nodes",
            };
            AmqpError::connection(ReplyCode::InternalError, why)
        })?;
        let names = Name::all_of(&command);
        for name in &names {
            *self.pending_names.entry(name.clone()).or_default() += 1;
        }
        let until = self.now.mono + limits::METADATA_TIMEOUT;
        self.loads.add(&command);
        self.asked.push_back(Asked { number, command, names, requester, until, is_forsaken: false });
        Ok(())
    }

    /// Sees to it that a queue goes, however long it takes until the cluster hears of it.
    pub(super) fn ask_to_delete(&mut self, command: Command) {
        if self.ask_cluster(command.clone(), None).is_err() {
            self.deletions.push_back(command);
        }
    }

    /// Ends a batch for the other nodes, and carries out what was decided. Whether anything was, so that it is to be called again.
    ///
    /// # Errors
    /// A text for the operator if the node cannot go on.
    pub(crate) fn flush_peers(&mut self, effects: &mut Effects) -> Result<bool, String> {
        while let Some(command) = self.deletions.pop_front() {
            if self.ask_cluster(command.clone(), None).is_err() {
                self.deletions.push_front(command);
                break;
            }
        }
        self.watch_links();
        self.watch_roster();
        self.tell_health();
        self.flush_sessions();
        self.tell_guests();
        let Some(mut peers) = self.peers.take() else { return Ok(false) };
        let decisions = peers.flush(self.now.mono, &mut self.log, effects);
        self.peers = Some(peers);
        let Decisions { decided, of_groups, is_state_wanted, fatal } = decisions;
        if let Some(text) = fatal {
            return Err(text);
        }
        let has_more = !decided.is_empty() || !of_groups.is_empty();
        for (queue, what) in of_groups {
            self.on_group(queue, what)?;
        }
        let has_more = self.compact_late_replicas() || has_more;
        for decided in decided {
            self.carry_out(decided)?;
        }
        let has_more = self.go_on_turning() || has_more;
        if is_state_wanted && let Some(peers) = &mut self.peers {
            peers.keep_state(&mut self.log, &self.metadata.snapshot_all());
        }
        Ok(self.enter_cluster()? || has_more || self.has_unsettled())
    }

    /// Whether something waits to be brought round.
    pub(super) fn has_unsettled(&self) -> bool {
        let is_offering = !self.active.is_empty() || self.remote.has_active() || self.replicas.has_active();
        is_offering
            || !self.notices.is_empty()
            || !self.internal.is_empty()
            || self.has_looped()
            || self.are_alarms_over()
    }

    fn carry_out(&mut self, decided: Decided) -> Result<(), String> {
        let unreadable =
            |what| format!("the cluster has decided {what} that this version cannot read: upgrade this node");
        match decided {
            Decided::Command { index, own, bytes } => {
                if index <= self.metadata.applied() {
                    // It was in a state already: in what this node's log had when it started, or in what it took from a node of which
                    // that is true.
                    self.answer_asked(own.unwrap_or_default());
                    return Ok(());
                }
                let command = Command::decode(bytes.clone()).ok().filter(|command| command.since() <= self.spoken());
                let command = command.ok_or_else(|| unreadable("something"))?;
                let mut record = BytesMut::with_capacity(9 + bytes.len());
                record.put_u8(DECIDED);
                record.put_u64(index);
                record.put_slice(&bytes);
                if !is_planted(Mutant::ClusterChangeNotLogged) {
                    self.log.append_metadata(&record);
                }
                self.metadata.set_applied(index);
                let result = if is_in_vain(&command, own.is_some()) {
                    Ok(())
                } else {
                    self.metadata.apply(command).map(|changes| self.on_changes(&changes))
                };
                if let Some(asked) = own.and_then(|number| self.next_asked(number)) {
                    self.finish(asked, result);
                }
                if let (Entry::Beginning(number), Some(own)) = (self.entry, own)
                    && number == own
                {
                    self.entry = Entry::Inside;
                }
            }
            Decided::State { own, bytes, .. } => {
                if !bytes.is_empty() {
                    self.take_state(&bytes).map_err(|()| unreadable("a state"))?;
                }
                self.answer_asked(own.unwrap_or_default());
            }
        }
        Ok(())
    }

    /// What was asked for up to this number is in a state that this node has.
    fn answer_asked(&mut self, last: u64) {
        while let Some(asked) = self.next_asked(last) {
            // Whether it was refused is not in the state; what it did is.
            let is_so = self.metadata.check(&asked.command, None).is_ok_and(|answer| answer == Answer::AlreadySo);
            let result = if is_so { Ok(()) } else { Err(self.too_late(&asked.command)) };
            self.finish(asked, result);
        }
        if matches!(self.entry, Entry::Beginning(number) if number <= last) {
            self.entry = Entry::Inside;
        }
    }

    /// The command that was asked for first, if its number is not beyond that.
    fn next_asked(&mut self, last: u64) -> Option<Asked> {
        let is_meant = self.asked.front().is_some_and(|asked| asked.number <= last);
        if is_meant { self.asked.pop_front() } else { None }
    }

    /// Becomes what others are by now, if they are further than this node.
    fn take_state(&mut self, bytes: &Bytes) -> Result<(), ()> {
        let Some(changes) = self.metadata.become_other(bytes.clone()).map_err(|_| ())? else { return Ok(()) };
        let mut record = BytesMut::with_capacity(1 + bytes.len());
        record.put_u8(BECAME);
        record.put_slice(bytes);
        self.log.append_metadata(&record);
        self.on_changes(&changes);
        Ok(())
    }

    /// A connection has ended: queues that are to be its alone, and are not there yet, are to go as soon as they are.
    pub(super) fn forsake(&mut self, connection: ConnectionId) {
        for asked in &mut self.asked {
            let owner = if let Command::DeclareQueue { exclusive, .. } = &asked.command { *exclusive } else { None };
            asked.is_forsaken |= owner == Some(connection);
        }
    }

    /// Tells who had asked.
    fn finish(&mut self, asked: Asked, result: Result<(), AmqpError>) {
        for name in asked.names {
            if let Some(count) = self.pending_names.get_mut(&name) {
                *count -= 1;
                if *count == 0 {
                    self.pending_names.remove(&name);
                }
            }
        }
        self.have_names_changed = true;
        if let Command::DeclareQueue { exclusive: Some(owner), .. } = asked.command
            && asked.is_forsaken
        {
            self.delete_exclusive_queues(owner);
        }
        self.tell(asked.requester, result);
    }

    /// Tells who has asked for a command what became of it.
    pub(super) fn tell(&mut self, requester: Option<Requester>, result: Result<(), AmqpError>) {
        match requester {
            Some(Requester::Channel(channel)) => self.notices.push_back(Notice::Applied { channel, result }),
            Some(Requester::Admin { id, reply }) => self.on_administered(id, reply, result),
            None => {}
        }
    }

    /// Tells those who have waited too long for a majority. What they asked for may still be carried out.
    pub(crate) fn on_cluster_timeout(&mut self) {
        let mut late = Vec::new();
        for asked in self.asked.iter_mut().take_while(|asked| asked.until <= self.now.mono) {
            if let Some(requester) = asked.requester.take() {
                late.push((requester, asked.command.clone()));
            }
        }
        for (requester, command) in late {
            let error = self.too_late(&command);
            self.tell(Some(requester), Err(error));
        }
        if let Some(peers) = &mut self.peers {
            peers.on_timeout(self.now.mono, &mut self.log);
        }
        self.on_remote_timeout();
    }

    /// When [`Broker::on_cluster_timeout`] is next wanted.
    pub(crate) fn cluster_timeout(&self) -> Option<Instant> {
        let peers = self.peers.as_ref()?.next_timeout();
        // They wait equally long, so they are in the order in which they have waited enough.
        let late = self.asked.partition_point(|asked| asked.until <= self.now.mono);
        let asked = self.asked.get(late).map(|asked| asked.until);
        [peers, asked, self.remote_timeout()].into_iter().flatten().min()
    }

    /// As RabbitMQ says it of a queue (`rabbit_amqqueue_process`).
    fn too_late(&self, command: &Command) -> AmqpError {
        let node = &self.config.node_name;
        let what = match command {
            Command::DeclareQueue { vhost, name, .. } => {
                format!("Could not declare queue '{name}' in vhost '{vhost}' on node '{node}'")
            }
            _ => format!("Could not carry out the change on node '{node}'"),
        };
        AmqpError::connection(
            ReplyCode::InternalError,
            format!("{what} because the metadata store operation timed out"),
        )
    }

    /// Goes the next step into the cluster. Whether it asked for something.
    fn enter_cluster(&mut self) -> Result<bool, String> {
        let Some((own, is_alone)) = self.peers.as_deref().and_then(place) else { return Ok(false) };
        match self.entry {
            Entry::Outside => {
                self.metadata.enter_cluster(own);
                if !self.metadata.is_founded() {
                    if own == FIRST {
                        self.add_defaults();
                        let state = self.metadata.snapshot_all();
                        if self.ask_cluster(Command::Found { state }, None).is_err() {
                            return Ok(false);
                        }
                    } else if self.metadata.has_had_users() {
                        return Err(String::from(
                            "this node holds users, queues or messages of its own, which are not those of the cluster it is to \
                             join: move its data folder away, then it joins as an empty node",
                        ));
                    }
                }
                self.entry = Entry::Entering;
                Ok(true)
            }
            Entry::Entering if self.metadata.is_founded() => {
                let Some(peers) = &mut self.peers else { return Ok(false) };
                let mut encoded = BytesMut::new();
                Command::Begin { node: own, is_alone }.encode(&mut encoded);
                let Ok(number) = peers.propose(encoded.freeze()) else { return Ok(false) };
                self.entry = Entry::Beginning(number);
                Ok(true)
            }
            Entry::Entering | Entry::Beginning(_) | Entry::Inside => Ok(false),
        }
    }

    /// Whether something that this node has asked the cluster for is not carried out yet, as far as it knows.
    pub(crate) fn has_asked_cluster(&self) -> bool {
        !(self.asked.is_empty() && self.deletions.is_empty())
    }

    /// Whether all nodes of the cluster know what this version of the protocol brought.
    pub(super) fn is_known_to_all(&self, since: u16) -> bool {
        self.peers.as_ref().is_some_and(|peers| peers.cluster().version() >= since)
    }

    /// The highest version of the protocol that this node knows.
    pub(super) fn spoken(&self) -> u16 {
        self.peers.as_ref().map_or(Versions::SPOKEN.highest, |peers| peers.cluster().spoken())
    }

    /// Whether clients may come.
    pub(crate) fn is_inside(&self) -> bool {
        self.entry == Entry::Inside
    }
}

/// The node that formed the cluster.
const FIRST: NodeId = NodeId(1);

/// Which node this is, and whether it is the only one.
fn place(peers: &Peers) -> Option<(NodeId, bool)> {
    let (own, _) = peers.own()?;
    Some((own, peers.cluster().nodes().all(|(id, _)| id == own)))
}

/// Whether nothing comes of a command: a planted bug.
fn is_in_vain(command: &Command, is_own: bool) -> bool {
    matches!(command, Command::DeleteQueue { .. })
        && (is_planted(Mutant::ClusterDeletionInVain) || !is_own && is_planted(Mutant::ClusterDeletionHalf))
}

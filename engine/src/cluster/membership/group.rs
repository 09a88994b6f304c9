//! The group to which all nodes belong: what goes into it and what comes out of it.

use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;

use super::cluster::{Cluster, Decided, Event, Outputs, Phase, ROOT};
use super::command::{Command, What, Word};
use super::links::say;
use super::replicas::{OfGroup, owner_of, queue_of};
use super::state::State;
use crate::cluster::consensus::{Applied, Apply, Content, Entry, Fetch, LeaderChange, SnapshotNeed, decode_entry};
use crate::effect::DiskRequest;
use crate::ids::GroupId;
use crate::limits;
use crate::storage::{Log, Place};
use crate::time::Instant;

/// Entries that are read from the log for a node that lags behind.
#[derive(Debug)]
pub(super) struct Fetching {
    token: u64,
    place: Place,
    /// The entry that is there.
    index: u64,
    last: u64,
    entries: Vec<Entry>,
    bytes: usize,
}

impl Cluster {
    /// Ends a batch of calls: hands out all that came of them. The log's own flush is to follow.
    pub fn flush(&mut self, now: Instant, log: &mut Log, disk: &mut Vec<DiskRequest>, out: &mut Outputs) {
        if !matches!(self.phase, Phase::Up) || self.groups.is_none() {
            return;
        }
        self.send_commands(out);
        let mut scratch = core::mem::take(&mut self.scratch);
        if let Some(groups) = &mut self.groups {
            groups.flush(now, &mut scratch);
        }
        let mut ticket = None;
        for write in scratch.writes.drain(..) {
            self.journal.write(log, owner_of(write.group), &write.record, |_| false);
            ticket = Some(write.ticket);
        }
        if let Some(ticket) = ticket {
            self.journal.end_batch(log, ticket);
        }
        for message in scratch.messages.drain(..) {
            self.send_frame(message.to, message.bytes, out);
        }
        for change in scratch.leaders.drain(..) {
            if let Some(queue) = queue_of(change.group) {
                let LeaderChange { leader, term, .. } = change;
                out.of_groups.push((queue, OfGroup::Leader { leader, term }));
                continue;
            }
            self.leader = (change.leader, change.term);
            out.events.push(Event::LeaderChanged { leader: change.leader, term: change.term });
        }
        for applied in scratch.applied.drain(..) {
            if let Some(queue) = queue_of(applied.group) {
                let Applied { id, what, .. } = applied;
                out.of_groups.push((queue, OfGroup::Applied { id, what }));
                continue;
            }
            self.on_applied(applied, out);
        }
        for need in scratch.snapshots.drain(..) {
            let (SnapshotNeed::Make { group, .. } | SnapshotNeed::Take { group, .. }) = need;
            if let Some(queue) = queue_of(group) {
                out.of_groups.push((queue, OfGroup::Needs(need)));
                continue;
            }
            self.on_need(log, need, out);
        }
        for fetch in scratch.fetches.drain(..) {
            self.on_fetch(log, fetch, disk);
        }
        // Nothing asks this module for reads yet.
        scratch.reads.clear();
        self.scratch = scratch;
        let is_long = self.applied.index - self.kept >= self.config.log_entries;
        // A state that is being taken stands in the log already, and the group's word that the log begins there comes behind it. An
        // older one in between would be what is found after a crash.
        let is_taking = self.offered.keys().next_back().is_some_and(|index| *index > self.applied.index);
        out.is_state_wanted |= (is_long || !self.wanting.is_empty()) && !is_taking;
    }

    /// Gives the commands that wait to whoever leads.
    fn send_commands(&mut self, out: &mut Outputs) {
        if self.sent_to != self.leader {
            self.sent_to = self.leader;
            self.sent = 0;
        }
        let leads = self.is_leader();
        let link = self.leader.0.and_then(|leader| self.link_to.get(&leader)).copied();
        let Some(groups) = &mut self.groups else { return };
        let waiting = self.commands.iter().take(limits::CLUSTER_COMMANDS_UNDER_WAY);
        for command in waiting.skip(self.sent) {
            let bytes = command.encode();
            if leads {
                if groups.propose(ROOT, bytes).is_err() {
                    return;
                }
            } else {
                let Some(link) = link else { return };
                say(link, &Word::Ask(bytes), out);
            }
            self.sent += 1;
        }
    }

    fn on_applied(&mut self, applied: Applied, out: &mut Outputs) {
        let Applied { id, what, .. } = applied;
        match what {
            // The state that was read at the start includes it.
            Apply::Entry(_) if id.index <= self.applied.index => {}
            Apply::Entry(Content::Members(_)) => self.applied = id,
            Apply::Entry(Content::Command(bytes)) => {
                self.applied = id;
                if bytes.is_empty() {
                    return;
                }
                match Command::decode(&bytes) {
                    Some(command) => self.carry_out(id.index, command, out),
                    None => {
                        let text = "the cluster's log holds a command that this version cannot read: upgrade this node";
                        out.fatal = Some(String::from(text));
                    }
                }
            }
            Apply::Snapshot => {
                let offered = self.offered.remove(&id.index);
                self.offered = self.offered.split_off(&id.index);
                if id.index <= self.applied.index {
                    return;
                }
                let State { id, roster, other } = offered.expect("only what was offered is taken");
                self.applied = id;
                self.kept = id.index;
                let version = core::mem::replace(&mut self.roster, roster).version();
                self.on_version(version, out);
                let own = self.forget_carried_out();
                out.decided.push(Decided::State { index: id.index, own, bytes: other });
                self.on_roster_changed(out);
            }
        }
    }

    fn carry_out(&mut self, index: u64, command: Command, out: &mut Outputs) {
        let Command { node, boot, number, what } = command;
        if !self.roster.is_next(node, boot, number) {
            return;
        }
        let is_own = Some(node) == self.own() && boot == self.identity.boot;
        if is_own {
            let front = self.commands.pop_front().map(|command| command.number);
            assert_eq!(front, Some(number), "commands are carried out in the order in which they were asked for");
            self.sent = self.sent.saturating_sub(1);
        }
        match what {
            What::Roster(change) => {
                let version = self.roster.version();
                self.roster.apply(change);
                self.on_version(version, out);
                self.on_roster_changed(out);
            }
            What::Other(bytes) => out.decided.push(Decided::Command { index, own: is_own.then_some(number), bytes }),
        }
    }

    /// Commands that were asked for here and are in the state. The number of the last.
    fn forget_carried_out(&mut self) -> Option<u64> {
        let last = self.roster.last_of(self.own()?, self.identity.boot)?;
        while self.commands.front().is_some_and(|command| command.number <= last) {
            self.commands.pop_front();
            self.sent = self.sent.saturating_sub(1);
        }
        Some(last)
    }

    /// The version of the cluster was this, and may be another.
    fn on_version(&self, before: u16, out: &mut Outputs) {
        let version = self.roster.version();
        if version != before {
            out.events.push(Event::Speaks { version });
            out.fatal = self.check_version().err();
        }
    }

    fn on_roster_changed(&mut self, out: &mut Outputs) {
        self.roster_changes += 1;
        out.events.push(Event::RosterChanged);
        let links: Vec<_> = self.links.keys().copied().collect();
        for link in links {
            self.tell_admitted(link, out);
        }
    }

    fn on_need(&mut self, log: &mut Log, need: SnapshotNeed, out: &mut Outputs) {
        match need {
            SnapshotNeed::Make { to, .. } => {
                if !self.wanting.contains(&to) {
                    self.wanting.push(to);
                }
            }
            SnapshotNeed::Take { id, data, .. } => {
                // It may be ahead of what the leader's group has handed out since the leader was started.
                let state = State::decode(&data).filter(|state| state.id.index >= id.index);
                let Some(groups) = &mut self.groups else { return };
                let Some(state) = state else {
                    groups.refuse_snapshot(ROOT);
                    out.fatal = Some(String::from(
                        "the cluster's state is one that this version cannot read: upgrade this node",
                    ));
                    return;
                };
                // What the group writes about it stands behind it in the log.
                groups.accept_snapshot(ROOT, id.index);
                self.write_offered(log, &data);
                self.offered.insert(id.index, state);
            }
        }
    }

    /// Somebody lags behind further than what is in memory.
    fn on_fetch(&mut self, log: &mut Log, fetch: Fetch, disk: &mut Vec<DiskRequest>) {
        let group = fetch.group;
        if self.fetching.contains_key(&group) {
            self.fetched(group, &[]);
            return;
        }
        let last = fetch.last.min(fetch.first + limits::FETCH_ENTRIES - 1);
        let fetching = Fetching { token: 0, place: NOWHERE, index: 0, last, entries: Vec::new(), bytes: 0 };
        self.fetch(log, group, fetch.first, fetching, disk);
    }

    /// Reads the next entry, or hands over those that were read if it cannot be.
    fn fetch(
        &mut self,
        log: &mut Log,
        group: GroupId,
        index: u64,
        mut fetching: Fetching,
        disk: &mut Vec<DiskRequest>,
    ) {
        let is_enough = index > fetching.last || fetching.bytes >= limits::GROUP_WINDOW_BYTES;
        let place =
            self.journal.place(owner_of(group), index).filter(|place| !is_enough && place.end() <= log.written());
        if let Some(place) = place {
            fetching.token = self.token();
            (fetching.place, fetching.index) = (place, index);
            if log.read(place.lsn, place.len, fetching.token, disk) == place.len {
                self.fetching.insert(group, fetching);
                return;
            }
        }
        self.fetched(group, &fetching.entries);
    }

    /// An entry was read.
    ///
    /// # Errors
    /// A text for the operator if the log does not have there what was written.
    pub(super) fn on_fetched(
        &mut self,
        log: &mut Log,
        token: u64,
        data: &Bytes,
        disk: &mut Vec<DiskRequest>,
    ) -> Result<(), String> {
        let Some(group) = self.fetching.iter().find(|(_, it)| it.token == token).map(|(group, _)| *group) else {
            return Ok(());
        };
        let Some(mut fetching) = self.fetching.remove(&group) else { return Ok(()) };
        let payload = log.open_record(fetching.place.lsn, data).ok();
        let Some(entry) = payload.as_ref().and_then(decode_entry) else {
            // It may have been given up or moved while it was read; then there is nothing there that would pass for it.
            if self.journal.place(owner_of(group), fetching.index) == Some(fetching.place) {
                return Err(not_there(fetching.place));
            }
            self.fetched(group, &fetching.entries);
            return Ok(());
        };
        let next = entry.id.index + 1;
        fetching.bytes += data.len();
        fetching.entries.push(entry);
        self.fetch(log, group, next, fetching, disk);
        Ok(())
    }

    fn fetched(&mut self, group: GroupId, entries: &[Entry]) {
        if let Some(groups) = &mut self.groups {
            groups.fetched(group, entries);
        }
    }
}

/// What is said of an entry that rotted.
pub(super) fn not_there(place: Place) -> String {
    alloc::format!("the log cannot be read at position {}: it holds no entry there", place.lsn)
}

const NOWHERE: Place = Place { lsn: crate::ids::Lsn(0), len: 0, shares: 0 };

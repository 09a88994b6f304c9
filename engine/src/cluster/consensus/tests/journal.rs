//! The journal in the node's log, on a disk that loses what was not synced.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use bytes::Bytes;
use core::time::Duration;

use super::super::{
    Base, Content, Entry, EntryId, Found, HardState, Journal, MemberChange, Record, Recovered, Ticket, decode_entry,
};
use super::world::members;
use crate::config::LogConfig;
use crate::ids::{Lsn, NodeId};
use crate::storage::tests::disk::Disk;
use crate::storage::tests::rng::Rng;
use crate::storage::{Log, LogOutcome, Owners, Place, Recovered as LogRecovered, RefState};
use crate::time::Instant;

const OWNERS: u64 = 3;

/// What a group's journal amounts to: the same as reading it from the front.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model {
    hard_state: HardState,
    base: Base,
    entries: BTreeMap<u64, Entry>,
    held: BTreeMap<u64, Entry>,
    /// What the last vote said to be committed.
    commit_at_vote: u64,
}

impl Model {
    fn perform(&mut self, record: &Record) {
        let commit = self.hard_state.commit;
        match record {
            Record::Entry { entry, commit: known } => {
                self.entries.split_off(&entry.id.index);
                self.entries.insert(entry.id.index, entry.clone());
                self.hard_state.commit = commit.max(*known);
            }
            Record::HardState(state) => {
                self.commit_at_vote = state.commit;
                self.hard_state = HardState { commit: commit.max(state.commit), ..*state };
            }
            Record::Compacted(base) => {
                let kept = self.entries.split_off(&(base.start.index + 1));
                let given_up = core::mem::replace(&mut self.entries, kept);
                self.held.extend(given_up.into_iter().filter(|(index, _)| holds(*index)));
                self.base = base.clone();
            }
            Record::Installed(base) => {
                self.entries.clear();
                self.held.clear();
                self.base = base.clone();
            }
        }
    }

    fn last(&self) -> EntryId {
        self.entries.last_key_value().map_or(self.base.start, |(_, entry)| entry.id)
    }

    /// Whether this is what was found. What was known to be committed may be less where a compaction took the record that said so; what
    /// is held may be more where a crash kept a record from being settled.
    fn is(&self, found: &Found) -> bool {
        let commit = found.state.hard_state.commit;
        let state = Recovered {
            hard_state: HardState { commit, ..self.hard_state },
            base: self.base.clone(),
            entries: self.entries.values().cloned().collect(),
        };
        state == found.state
            && (self.commit_at_vote..=self.hard_state.commit).contains(&commit)
            && self.held.values().eq(found.held.iter().filter(|entry| holds(entry.id.index)))
    }
}

/// Bodies of every third entry are needed although the group has given it up.
fn holds(index: u64) -> bool {
    index.is_multiple_of(3)
}

struct View<'a>(&'a mut Journal, &'a mut u64);

impl Owners for View<'_> {
    fn live(&self, owner: u64, seq: u64, lsn: Lsn) -> Option<RefState> {
        self.0.live(owner, seq, lsn)
    }

    fn moved(&mut self, owner: u64, seq: u64, from: Lsn, to: Place) {
        self.0.moved(owner, seq, from, to);
        *self.1 += 1;
    }

    fn snapshot(&self) -> Bytes {
        Bytes::new()
    }
}

struct World {
    rng: Rng,
    disk: Disk,
    log: Log,
    journal: Journal,
    now: Instant,
    models: BTreeMap<u64, Model>,
    /// The models at the last boot and after each record since, and which of them each ticket promises at least.
    history: Vec<BTreeMap<u64, Model>>,
    tickets: BTreeMap<Ticket, usize>,
    next_ticket: u64,
    durable: usize,
    reads: BTreeMap<u64, Bytes>,
    moved: u64,
}

fn config() -> LogConfig {
    LogConfig { segment_bytes: 8192, slack_bytes: 16 * 1024, append_bytes: 4096, ..LogConfig::default() }
}

impl World {
    fn new(seed: u64) -> Self {
        let empty: BTreeMap<_, _> = (1..=OWNERS).map(|owner| (owner, Model::default())).collect();
        let mut world = Self {
            rng: Rng(seed << 32),
            disk: Disk::new(),
            log: Log::new(config(), seed),
            journal: Journal::new(),
            now: Instant::from_micros(1),
            models: empty.clone(),
            history: Vec::from([empty]),
            tickets: BTreeMap::new(),
            next_ticket: 1,
            durable: 0,
            reads: BTreeMap::new(),
            moved: 0,
        };
        world.boot();
        world
    }

    /// Starts the log and compares what it brings with what was promised.
    fn boot(&mut self) {
        let mut out = Vec::new();
        self.log.start(&mut out);
        self.disk.submit(&mut out);
        let recovered = loop {
            match self.disk_step() {
                Some(recovered) => break recovered,
                None => assert!(!self.disk.is_idle(), "recovery is stuck"),
            }
        };
        let mut found = BTreeMap::new();
        for owner in 1..=OWNERS {
            let empty = crate::storage::RecoveredOwner::default();
            let known = recovered.owners.get(&owner).unwrap_or(&empty);
            let payloads: Vec<_> = known.refs.iter().map(|reference| self.read(reference.place())).collect();
            let here = self.journal.recover(&mut self.log, owner, known, &payloads).expect("what was written");
            for extra in here.held.iter().filter(|entry| !holds(entry.id.index)) {
                self.journal.release(&mut self.log, owner, extra.id.index);
            }
            found.insert(owner, here);
        }
        // One and the same moment for all of them, and none before what was promised.
        let is_found = |models: &&BTreeMap<u64, Model>| found.iter().all(|(owner, here)| models[owner].is(here));
        let models = self.history.iter().skip(self.durable).find(is_found);
        let Some(models) = models else { panic!("{found:#?} is no moment from {} on", self.durable) };
        self.models = models.clone();
        self.history = Vec::from([self.models.clone()]);
        self.tickets.clear();
        self.durable = 0;
    }

    fn disk_step(&mut self) -> Option<LogRecovered> {
        let (id, result) = self.disk.step(&mut self.rng)?;
        let mut out = Vec::new();
        let outcome = self.log.handle_done(
            self.now,
            id,
            result.unwrap(),
            &mut View(&mut self.journal, &mut self.moved),
            &mut out,
        );
        self.disk.submit(&mut out);
        match outcome {
            LogOutcome::Nothing => {}
            LogOutcome::Recovered(recovered) => return Some(recovered),
            LogOutcome::Read { token, data, .. } => {
                self.reads.insert(token, data);
            }
            LogOutcome::Damaged(text) | LogOutcome::Fatal(text) => panic!("{text}"),
        }
        if let Some(ticket) = self.journal.take_durable(self.log.durable()) {
            self.durable = self.tickets[&ticket];
        }
        None
    }

    fn read(&mut self, place: Place) -> Bytes {
        let mut out = Vec::new();
        assert_eq!(self.log.read(place.lsn, place.len, place.lsn.0, &mut out), place.len);
        self.disk.submit(&mut out);
        while !self.reads.contains_key(&place.lsn.0) {
            assert!(!self.disk.is_idle());
            self.disk_step();
        }
        let data = self.reads.remove(&place.lsn.0).unwrap();
        self.log.open_record(place.lsn, &data).unwrap()
    }

    fn flush(&mut self) {
        let mut out = Vec::new();
        self.log.flush(self.now, &View(&mut self.journal, &mut self.moved), &mut out);
        self.disk.submit(&mut out);
        self.log.check_invariants();
    }

    /// Some record that a group could write next.
    fn record(&mut self, owner: u64) -> Record {
        let model = &self.models[&owner];
        let (rng, last, term) = (&mut self.rng, model.last(), model.hard_state.term);
        let first = model.base.start.index + 1;
        match rng.below(24) {
            0 | 1 => {
                let vote = Some(NodeId(1 + rng.below(3))).filter(|_| rng.one_in(2));
                Record::HardState(HardState { term: term + 1, vote, commit: model.hard_state.commit })
            }
            2 if last.index >= first => {
                let at = first + rng.below(last.index + 1 - first);
                let start = model.entries.get(&at).map_or(last, |entry| entry.id);
                Record::Compacted(Base { snapshot: last, members: members(1..=3), start })
            }
            3 if rng.one_in(4) => {
                let snapshot = EntryId { term: term.max(1), index: last.index + 5 };
                Record::Installed(Base { snapshot, members: members(1..=3), start: snapshot })
            }
            kind => {
                // Now and then what is not committed is replaced.
                let back = if kind < 6 { rng.below(4) } else { 0 };
                let index = (last.index + 1).saturating_sub(back).max(first);
                let id = EntryId { term: term.max(1), index };
                let content = if rng.one_in(12) {
                    Content::Members(MemberChange::Promote(NodeId(1 + rng.below(9))))
                } else {
                    let len = if rng.one_in(10) { rng.below(2500) } else { rng.below(200) };
                    Content::Command((0..len).map(|_| rng.next().to_le_bytes()[0]).collect())
                };
                Record::Entry { entry: Entry { id, content }, commit: index.saturating_sub(1 + back) }
            }
        }
    }

    fn write_batch(&mut self) {
        for _ in 0..1 + self.rng.below(6) {
            let owner = 1 + self.rng.below(OWNERS);
            let record = self.record(owner);
            self.models.get_mut(&owner).unwrap().perform(&record);
            self.history.push(self.models.clone());
            self.journal.write(&mut self.log, owner, &record, holds);
        }
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.tickets.insert(ticket, self.history.len() - 1);
        self.journal.end_batch(&mut self.log, ticket);
        self.flush();
    }

    fn crash(&mut self) {
        if self.rng.one_in(2) {
            self.disk.lose_power(&mut self.rng);
        } else {
            self.disk.kill(&mut self.rng);
        }
        self.reads.clear();
        self.log = Log::new(config(), self.rng.next());
        self.journal = Journal::new();
        self.boot();
    }

    /// Every entry can be read where the journal says that it is.
    fn check_places(&mut self) {
        for owner in 1..=OWNERS {
            let model = self.models[&owner].clone();
            for entry in model.held.values().chain(model.entries.values()) {
                let place = self.journal.place(owner, entry.id.index).expect("it lives");
                if place.end() <= self.log.written() {
                    let payload = self.read(place);
                    assert_eq!(decode_entry(&payload).as_ref(), Some(entry));
                }
            }
        }
    }
}

fn run(seed: u64) -> u64 {
    let mut world = World::new(seed);
    let mut rng = Rng(seed ^ 0x70_7e57);
    for step in 0..400 {
        match rng.below(16) {
            0..5 => world.write_batch(),
            5..13 => {
                for _ in 0..rng.below(6) {
                    world.disk_step();
                }
                world.flush();
            }
            13 => world.now = world.now + Duration::from_millis(rng.below(300)),
            14 if rng.one_in(6) => world.crash(),
            _ if step % 40 == 0 => world.check_places(),
            _ => {}
        }
    }
    world.crash();
    world.check_places();
    world.moved
}

#[test]
fn what_was_promised_to_be_persisted_survives_and_a_torn_end_is_an_earlier_moment() {
    let moved: u64 = (0..crate::storage::tests::rng::seeds(60)).map(run).sum();
    assert!(moved > 100, "cleaning was hardly tested: {moved}");
}

#[test]
fn a_group_that_is_gone_leaves_nothing() {
    let mut world = World::new(77);
    for _ in 0..200 {
        world.write_batch();
        while !world.disk.is_idle() {
            world.disk_step();
        }
        world.flush();
    }
    for owner in 1..=OWNERS {
        world.journal.remove(&mut world.log, owner);
    }
    world.log.request_sync();
    for _ in 0..100 {
        world.flush();
        while !world.disk.is_idle() {
            world.disk_step();
        }
        world.now = world.now + Duration::from_millis(200);
    }
    assert!(world.log.usage().segments <= 3, "{:?} of an empty log", world.log.usage());
}

//! A log with its disk and a model of what it must remember.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use core::time::Duration;

use super::super::{Log, LogOutcome, Owners, Place, Recovered, Ref, RefFlags, RefState};
use super::disk::Disk;
use super::rng::Rng;
use crate::config::LogConfig;
use crate::ids::Lsn;
use crate::time::Instant;

/// One reference as the model knows it.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) place: Place,
    pub(super) flags: RefFlags,
    /// How many deliveries failed, each with the position from which on the log knows.
    failed: Vec<Lsn>,
    /// Which payload, see [`payload`].
    pub(super) payload: u64,
    /// The position from which on the record is safe: that of its first copy.
    safe_at: Lsn,
    /// Whether recovery is still owed it, and the position that ends this.
    settled_at: Option<Lsn>,
    released: bool,
}

/// The engine's side: queues and metadata, the latter a mere count of changes.
#[derive(Clone, Debug, Default)]
pub(super) struct Queues {
    pub(super) messages: BTreeMap<(u64, u64), Message>,
    pub(super) changes: u64,
    pub(super) moves: u64,
}

impl Owners for Queues {
    fn live(&self, owner: u64, seq: u64, lsn: Lsn) -> Option<RefState> {
        let message = self.messages.get(&(owner, seq))?;
        (message.place.lsn == lsn && message.is_live()).then_some(message.state())
    }

    fn moved(&mut self, owner: u64, seq: u64, from: Lsn, to: Place) {
        let message = self.messages.get_mut(&(owner, seq)).unwrap();
        assert_eq!(message.place.lsn, from);
        assert!(message.is_live());
        message.place = to;
        self.moves += 1;
    }

    fn snapshot(&self) -> Bytes {
        Bytes::copy_from_slice(&self.changes.to_le_bytes())
    }
}

impl Message {
    fn state(&self) -> RefState {
        RefState {
            flags: self.flags,
            deliveries: u16::try_from(self.failed.len()).unwrap(),
            ..constant_state(self.payload)
        }
    }

    fn is_live(&self) -> bool {
        self.settled_at.is_none() && !self.released
    }
}

pub(super) struct World {
    pub(super) rng: Rng,
    pub(super) config: LogConfig,
    pub(super) disk: Disk,
    pub(super) log: Log,
    pub(super) queues: Queues,
    pub(super) now: Instant,
    next_seq: BTreeMap<u64, u64>,
    /// Position of each change of the metadata that is not known to be durable.
    changes_at: BTreeMap<u64, Lsn>,
    payloads: u64,
    pub(super) fatal: Option<String>,
    reads: BTreeMap<u64, Bytes>,
    pub(super) truncated: u64,
    /// What was left of a log that recovery found damaged.
    pub(super) left: Option<Recovered>,
}

/// The bytes of payload `number`: self-describing, of any size up to a few sectors.
pub(super) fn payload(number: u64) -> Bytes {
    let mut rng = Rng(number << 20);
    let len = if rng.one_in(20) { rng.below(3000) } else { rng.below(300) };
    let mut bytes = Vec::from(number.to_le_bytes());
    bytes.extend((0..len).map(|_| rng.next().to_le_bytes()[0]));
    Bytes::from(bytes)
}

/// The part of a message's state that does not change.
fn constant_state(payload: u64) -> RefState {
    let small = u8::try_from(payload % 4).unwrap();
    RefState {
        priority: small,
        size: u32::from(small) * 100,
        expires_at: payload % 3 * 1_700_000_000_000,
        ..RefState::default()
    }
}

pub(super) fn small_config() -> LogConfig {
    LogConfig {
        segment_bytes: 8192,
        slack_bytes: 24 * 1024,
        append_bytes: 4096,
        sync_interval: Duration::from_millis(200),
        disk_retry: Duration::from_millis(500),
    }
}

impl World {
    pub(super) fn new(seed: u64, config: LogConfig) -> Self {
        let mut world = Self {
            rng: Rng(seed << 32),
            log: Log::new(config.clone(), seed),
            config,
            disk: Disk::new(),
            queues: Queues::default(),
            now: Instant::from_micros(1),
            next_seq: BTreeMap::new(),
            changes_at: BTreeMap::new(),
            payloads: 0,
            fatal: None,
            reads: BTreeMap::new(),
            truncated: 0,
            left: None,
        };
        world.boot();
        world
    }

    /// Starts the log and checks what it brings against the model, given how far the log had been durable.
    fn boot(&mut self) {
        let mut out = Vec::new();
        self.log.start(&mut out);
        self.disk.submit(&mut out);
    }

    /// One disk answer. Returns whether there was one.
    pub(super) fn disk_step(&mut self) -> Option<Recovered> {
        let (id, result) = self.disk.step(&mut self.rng)?;
        let mut out = Vec::new();
        let outcome = match result {
            Ok(outcome) => self.log.handle_done(self.now, id, outcome, &mut self.queues, &mut out),
            Err(error) => self.log.handle_failed(self.now, id, error),
        };
        self.disk.submit(&mut out);
        match outcome {
            LogOutcome::Nothing => {}
            LogOutcome::Recovered(recovered) => match &recovered.damage {
                Some(damage) => {
                    self.fatal = Some(damage.text.clone());
                    self.left = Some(recovered);
                }
                None => return Some(recovered),
            },
            LogOutcome::Read { token, data, .. } => {
                self.reads.insert(token, data);
            }
            LogOutcome::Damaged(text) | LogOutcome::Fatal(text) => self.fatal = Some(text),
        }
        self.log.check_invariants();
        None
    }

    pub(super) fn flush(&mut self) {
        let mut out = Vec::new();
        self.log.flush(self.now, &self.queues, &mut out);
        self.disk.submit(&mut out);
        self.log.check_invariants();
    }

    pub(super) fn advance(&mut self, micros: u64) {
        self.now = self.now + Duration::from_micros(micros);
    }

    /// Ends the log in order.
    pub(super) fn shut_down(&mut self) {
        self.log.shutdown();
        self.settle_down();
        assert!(self.log.is_idle());
    }

    pub(super) fn publish(&mut self, owners: &[u64], flags: RefFlags) {
        let number = self.payloads;
        self.payloads += 1;
        let bytes = payload(number);
        let refs: Vec<Ref> = owners
            .iter()
            .map(|&owner| {
                let next = self.next_seq.entry(owner).or_default();
                *next += 1;
                Ref { owner, seq: *next - 1, state: RefState { flags, ..constant_state(number) } }
            })
            .collect();
        let split = self.rng.below(bytes.len() as u64 + 1) as usize;
        let place = self.log.append_message(&refs, &bytes[..split], &bytes.slice(split..));
        assert!(place.end() <= self.log.end());
        for reference in refs {
            let message = Message {
                place,
                flags,
                failed: Vec::new(),
                payload: number,
                safe_at: place.end(),
                settled_at: None,
                released: false,
            };
            let old = self.queues.messages.insert((reference.owner, reference.seq), message);
            assert!(old.is_none_or(|old| !old.is_live()), "a number was used twice");
        }
    }

    pub(super) fn live_keys(&self) -> Vec<(u64, u64)> {
        self.queues.messages.iter().filter(|(_, message)| message.is_live()).map(|(&key, _)| key).collect()
    }

    pub(super) fn settle(&mut self, key: (u64, u64)) {
        let message = self.queues.messages.get_mut(&key).unwrap();
        if message.flags.contains(RefFlags::TRANSIENT) {
            self.log.release(message.place);
            message.released = true;
        } else {
            message.settled_at = Some(self.log.settle(key.0, key.1, message.place));
        }
    }

    pub(super) fn mark_delivered(&mut self, key: (u64, u64)) {
        let message = self.queues.messages.get_mut(&key).unwrap();
        message.flags = message.flags.with(RefFlags::REDELIVERED);
        self.log.mark_delivered(key.0, key.1);
    }

    pub(super) fn fail_delivery(&mut self, key: (u64, u64)) {
        let message = self.queues.messages.get_mut(&key).unwrap();
        if message.flags.contains(RefFlags::TRANSIENT) {
            return;
        }
        message.failed.push(Lsn(0));
        let state = message.state();
        self.log.note_state(Ref { owner: key.0, seq: key.1, state });
        *message.failed.last_mut().unwrap() = self.log.end();
    }

    pub(super) fn change_metadata(&mut self) {
        let number = self.queues.changes;
        self.queues.changes += 1;
        let at = self.log.append_metadata(&number.to_le_bytes());
        self.changes_at.insert(number, at);
    }

    /// Ends the log, by loss of power or of the process only, and starts another that recovers. The disk may crash meanwhile.
    pub(super) fn crash(&mut self, power: bool) {
        let durable = self.log.durable();
        self.lose(power);
        let recovered = loop {
            match self.disk_step() {
                Some(recovered) => break recovered,
                None if self.fatal.is_some() => return,
                None => assert!(!self.disk.is_idle(), "recovery is stuck"),
            }
            if self.rng.one_in(40) {
                let power = self.rng.one_in(2);
                self.lose(power);
            }
        };
        self.check_recovered(&recovered, durable);
    }

    /// Starts another log on the files as they are. `None` if it refuses.
    pub(super) fn restart(&mut self) -> Option<Recovered> {
        (self.fatal, self.left) = (None, None);
        self.reads.clear();
        self.log = Log::new(self.config.clone(), self.rng.next());
        self.disk.queue.clear();
        self.boot();
        while self.fatal.is_none() {
            if let Some(recovered) = self.disk_step() {
                return Some(recovered);
            }
            assert!(self.fatal.is_some() || !self.disk.is_idle(), "recovery is stuck");
        }
        None
    }

    fn lose(&mut self, power: bool) {
        if power {
            self.disk.lose_power(&mut self.rng);
        } else {
            self.disk.kill(&mut self.rng);
        }
        self.reads.clear();
        let salt = self.rng.next();
        self.log = Log::new(self.config.clone(), salt);
        self.boot();
    }

    fn check_recovered(&mut self, recovered: &Recovered, durable: Lsn) {
        self.truncated += recovered.truncated_bytes;
        // Metadata: no gap, and nothing durable lost.
        let number = |bytes: &Bytes| u64::from_le_bytes(bytes[..].try_into().unwrap());
        let mut changes = recovered.snapshot.as_ref().map_or(0, number);
        for record in &recovered.metadata {
            assert_eq!(number(record), changes, "metadata in order");
            changes += 1;
        }
        assert!(changes <= self.queues.changes, "metadata out of nowhere");
        for (number, at) in &self.changes_at {
            assert!(*at > durable || *number < changes, "durable metadata {number} lost");
        }
        self.queues.changes = changes;
        self.changes_at.clear();

        let mut found = BTreeMap::new();
        self.next_seq.clear();
        for (&owner, known) in &recovered.owners {
            assert!(known.refs.is_sorted_by(|a, b| a.seq < b.seq), "out of order");
            assert!(known.refs.last().is_none_or(|last| last.seq < known.next_seq));
            self.next_seq.insert(owner, known.next_seq);
            for reference in &known.refs {
                found.insert((owner, reference.seq), *reference);
            }
        }
        for (key, message) in core::mem::take(&mut self.queues.messages) {
            let Some(reference) = found.remove(&key) else {
                let owed =
                    message.is_live() && message.safe_at <= durable && !message.flags.contains(RefFlags::TRANSIENT);
                let owed =
                    owed || message.settled_at.is_some_and(|at| at > self.log.end()) && message.safe_at <= durable;
                assert!(!owed, "{key:?} lost: {message:?}, durable {durable}");
                continue;
            };
            assert!(!message.flags.contains(RefFlags::TRANSIENT), "{key:?} was not to be recovered");
            assert!(
                message.settled_at.is_none_or(|at| at > durable),
                "{key:?} is back: {message:?}, durable {durable}"
            );
            let (state, deliveries) = (reference.state, usize::from(reference.state.deliveries));
            let constant =
                RefState { flags: state.flags, deliveries: state.deliveries, ..constant_state(message.payload) };
            assert_eq!(state, constant, "{key:?} is in another state");
            assert!(deliveries <= message.failed.len(), "{key:?} has failed too often");
            assert!(
                message.failed.get(deliveries).is_none_or(|at| *at > durable),
                "{key:?} forgot failed deliveries: {message:?}, {deliveries} found, durable {durable}"
            );
            let failed = message.failed.iter().take(deliveries).map(|_| Lsn(0)).collect();
            if state.flags.contains(RefFlags::REDELIVERED) {
                assert!(message.flags.contains(RefFlags::REDELIVERED), "{key:?} was never delivered");
            }
            let place = reference.place();
            self.log.retain(place);
            let alive = Message { place, flags: state.flags, failed, safe_at: Lsn(0), settled_at: None, ..message };
            self.queues.messages.insert(key, alive);
        }
        assert!(found.is_empty(), "out of nowhere: {found:?}");
        self.log.check_invariants();
    }

    /// Reads every message that lives and compares.
    pub(super) fn check_payloads(&mut self) {
        for key in self.live_keys() {
            let message = self.queues.messages[&key].clone();
            if message.place.end() > self.log.written() {
                continue;
            }
            let data = self.read(message.place);
            let opened = self.log.open_record(message.place.lsn, &data).expect("what was written can be read");
            assert_eq!(opened, payload(message.payload), "{key:?} has another payload");
        }
    }

    /// Checks that a log whose disk has rotted either says so or remembers everything, and never brings wrong bytes. Returns whether
    /// it said so.
    pub(super) fn check_rotten(&mut self) -> bool {
        let Some(recovered) = self.restart() else { return true };
        let mut noticed = false;
        for key in self.live_keys() {
            let owner = &recovered.owners[&key.0];
            let at = owner.refs.binary_search_by_key(&key.1, |reference| reference.seq).expect("no silent loss");
            self.log.retain(owner.refs[at].place());
            let data = self.read(owner.refs[at].place());
            match self.log.open_record(owner.refs[at].lsn, &data) {
                Ok(opened) => assert_eq!(opened, payload(self.queues.messages[&key].payload)),
                Err(_) => noticed = true,
            }
        }
        let known: usize = recovered.owners.values().map(|owner| owner.refs.len()).sum();
        assert_eq!(known, self.live_keys().len(), "settled messages came back");
        noticed
    }

    pub(super) fn read(&mut self, place: Place) -> Bytes {
        let mut out = Vec::new();
        let len = self.log.read(place.lsn, place.len, place.lsn.0, &mut out);
        assert_eq!(len, place.len, "all of it is written");
        self.disk.submit(&mut out);
        loop {
            if let Some(data) = self.reads.remove(&place.lsn.0) {
                return data;
            }
            assert!(!self.disk.is_idle());
            self.disk_step();
        }
    }

    /// Lets the log come to rest without further traffic.
    pub(super) fn settle_down(&mut self) {
        for _ in 0..100_000 {
            self.flush();
            while !self.disk.is_idle() {
                self.disk_step();
                self.flush();
            }
            match self.log.next_timeout() {
                Some((at, _)) => self.now = self.now.max(at),
                None => return,
            }
        }
        panic!("the log does not come to rest: {:?}", self.log);
    }

    pub(super) fn recover_first(&mut self) {
        while self.disk_step().is_none() {
            assert!(!self.disk.is_idle(), "recovery is stuck: {:?}", self.fatal);
        }
    }
}

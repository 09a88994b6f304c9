//! The groups' records in the node's one log: how they are written, what of them lives, and what a restart makes of them.
//!
//! Each record is an ordinary message of the log. Its owner is the group's, its number counts the group's records on this node (it is
//! not the index of an entry: what replaces an entry is another record), and its payload begins with what it is. A record that is
//! void is settled, always after the one that makes it so: what a crash cuts off between the two is made up for when the records are
//! read again in their order. So the log's format, its cleaning and its recovery stay as they are.
//!
//! # Format 1 of the payload
//!
//! *v* is a number of 1 to 10 bytes, seven bits each, lowest first.
//!
//! ```text
//! payload     version 1 (1), kind 1, body
//! 1 entry     index v, term v, commit v, kind of content 1, content
//! 2 vote      term v, node v (0 is nobody), commit v
//! 3 compacted snapshot: index v, term v; start: index v, term v; members as on the wire
//! 4 installed as compacted
//! ```

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use bytes::Bytes;

use super::entry::{Base, Content, Entry, EntryId, HardState, NUMBER_END};
use super::members::Members;
use super::output::{Record, Ticket};
use super::recovered::{Recovered, Unsound};
use super::store::pop_front_if;
use crate::ids::{Lsn, NodeId};
use crate::storage::codec::{Reader, put_varint};
use crate::storage::{Log, Place, RecoveredOwner, Ref, RefState};

const VERSION: u8 = 1;
const ENTRY: u8 = 1;
const HARD_STATE: u8 = 2;
const COMPACTED: u8 = 3;
const INSTALLED: u8 = 4;

/// Where in the node's log the records of all its groups are.
#[derive(Debug, Default)]
pub struct Journal {
    owners: BTreeMap<u64, Owned>,
    /// Up to where the log has to be durable for each batch.
    awaited: VecDeque<(Lsn, Ticket)>,
}

/// The records of one group that live.
#[derive(Debug, Default)]
struct Owned {
    next_seq: u64,
    hard_state: Option<Kept>,
    base: Option<Kept>,
    /// Ascending in index and in number.
    entries: VecDeque<(u64, Kept)>,
    /// Entries that the log of the group has given up and of which the state machine needs the bodies; ascending likewise.
    held: Vec<(u64, Kept)>,
}

/// One record.
#[derive(Clone, Copy, Debug)]
struct Kept {
    seq: u64,
    place: Place,
}

/// What a restart finds of one group.
#[derive(Debug, Default)]
pub struct Found {
    /// For `Groups::recover`.
    pub state: Recovered,
    /// Entries that the group has given up and that were held for their bodies. Those that are not needed are to be released.
    pub held: Vec<Entry>,
}

impl Journal {
    /// Nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes one record of a group. `holds` says of an entry that the group gives up, by its index, whether the state machine still
    /// needs its body.
    pub fn write(&mut self, log: &mut Log, owner: u64, record: &Record, holds: impl Fn(u64) -> bool) {
        let owned = self.owners.entry(owner).or_default();
        let mut head = Vec::from([VERSION]);
        let mut body = Bytes::new();
        encode(record, &mut head, &mut body);
        let seq = owned.next_seq;
        owned.next_seq += 1;
        let place = log.append_message(&[Ref { owner, seq, state: RefState::default() }], &head, &body);
        owned.replace(record, Kept { seq, place }, &holds, &mut |void| {
            log.settle(owner, void.seq, void.place);
        });
    }

    /// Ends a batch: all that was written is to become durable.
    pub fn end_batch(&mut self, log: &mut Log, ticket: Ticket) {
        log.request_sync();
        self.awaited.push_back((log.end(), ticket));
    }

    /// The last batch that is durable, if that has changed: for `Groups::persisted`.
    pub fn take_durable(&mut self, durable: Lsn) -> Option<Ticket> {
        let mut last = None;
        while let Some((_, ticket)) = pop_front_if(&mut self.awaited, |(end, _)| *end <= durable) {
            last = Some(ticket);
        }
        last
    }

    /// The body of a held entry is needed no more.
    pub fn release(&mut self, log: &mut Log, owner: u64, index: u64) {
        let Some(owned) = self.owners.get_mut(&owner) else { return };
        if let Ok(at) = owned.held.binary_search_by_key(&index, |held| held.0) {
            let (_, void) = owned.held.remove(at);
            log.settle(owner, void.seq, void.place);
        }
    }

    /// The group is gone from this node, and with it all its records. Returns the number that the next one would have had, for
    /// [`Journal::begin`].
    pub fn remove(&mut self, log: &mut Log, owner: u64) -> u64 {
        let Some(owned) = self.owners.remove(&owner) else { return 0 };
        for void in owned.iter() {
            log.settle(owner, void.seq, void.place);
        }
        owned.next_seq
    }

    /// The records of an owner that has none begin with this number: the log may still void those before it.
    pub fn begin(&mut self, owner: u64, next_seq: u64) {
        self.owners.entry(owner).or_default().next_seq = next_seq;
    }

    /// The entries of a group behind an index, the last one first, each with where it is written.
    pub fn entries_after(&self, owner: u64, index: u64) -> impl Iterator<Item = (u64, Place)> {
        let entries = self.owners.get(&owner).into_iter().flat_map(|owned| owned.entries.iter().rev());
        entries.map(|(at, kept)| (*at, kept.place)).take_while(move |(at, _)| *at > index)
    }

    /// Where it is written what stands for all entries before, if anything does.
    #[must_use]
    pub fn base(&self, owner: u64) -> Option<Place> {
        Some(self.owners.get(&owner)?.base?.place)
    }

    /// Where an entry is, to be read for `Groups::fetched` or for its body; the record's payload is then given to [`decode_entry`].
    #[must_use]
    pub fn place(&self, owner: u64, index: u64) -> Option<Place> {
        let owned = self.owners.get(&owner)?;
        if let Ok(at) = owned.entries.binary_search_by_key(&index, |entry| entry.0) {
            return Some(owned.entries[at].1.place);
        }
        let at = owned.held.binary_search_by_key(&index, |held| held.0).ok()?;
        Some(owned.held[at].1.place)
    }

    /// Whether a record lives at this position: what [`crate::storage::Owners::live`] asks.
    #[must_use]
    pub fn live(&self, owner: u64, seq: u64, lsn: Lsn) -> Option<RefState> {
        let kept = self.owners.get(&owner)?.find(seq)?;
        (kept.place.lsn == lsn).then(RefState::default)
    }

    /// A record was written again elsewhere: what [`crate::storage::Owners::moved`] tells.
    ///
    /// # Panics
    /// If it does not live at `from`.
    pub fn moved(&mut self, owner: u64, seq: u64, from: Lsn, to: Place) {
        let kept = self.owners.get_mut(&owner).and_then(|owned| owned.find_mut(seq));
        let kept = kept.filter(|kept| kept.place.lsn == from);
        kept.expect("only what lives is moved").place = to;
    }

    /// Takes what the log found of a group, with the payloads of its records in the same order. Records that a crash has left
    /// although others replace them are settled.
    ///
    /// # Errors
    /// If the payloads are none that a group has written.
    pub fn recover(
        &mut self,
        log: &mut Log,
        owner: u64,
        found: &RecoveredOwner,
        payloads: &[Bytes],
    ) -> Result<Found, Unsound> {
        let records: Option<Vec<_>> = payloads.iter().map(decode).collect();
        let records = records.filter(|records| records.len() == found.refs.len()).ok_or(Unsound)?;
        let mut owned = Owned { next_seq: found.next_seq, ..Owned::default() };
        let mut state = Recovered::default();
        let mut entries = BTreeMap::new();
        let mut voids = Vec::new();
        for (reference, record) in found.refs.iter().zip(&records) {
            log.retain(reference.place());
            let kept = Kept { seq: reference.seq, place: reference.place() };
            // All that the log still has may be held: what was not is settled.
            owned.replace(record, kept, &|_| true, &mut |void| voids.push(void));
            note(record, &mut state, &mut entries);
        }
        for void in voids {
            log.settle(owner, void.seq, void.place);
        }
        let entry = |index: &u64| entries.get(index).cloned().ok_or(Unsound);
        state.entries = owned.entries.iter().map(|(index, _)| entry(index)).collect::<Result<_, _>>()?;
        let held = owned.held.iter().map(|(index, _)| entry(index)).collect::<Result<_, _>>()?;
        self.owners.insert(owner, owned);
        Ok(Found { state, held })
    }
}

/// What the records of a group say that can still be read, in their order. Not for a member to go on with.
#[must_use]
pub fn what_is_left(payloads: &[Bytes]) -> Recovered {
    let (mut state, mut entries) = (Recovered::default(), BTreeMap::new());
    for record in payloads.iter().filter_map(decode) {
        note(&record, &mut state, &mut entries);
    }
    state.entries = entries.into_values().collect();
    state
}

fn note(record: &Record, state: &mut Recovered, entries: &mut BTreeMap<u64, Entry>) {
    let commit = &mut state.hard_state.commit;
    match record {
        Record::Entry { entry, commit: known } => {
            *commit = (*commit).max(*known);
            entries.insert(entry.id.index, entry.clone());
        }
        Record::HardState(written) => {
            let known = (*commit).max(written.commit);
            state.hard_state = HardState { commit: known, ..*written };
        }
        Record::Compacted(base) | Record::Installed(base) => state.base = base.clone(),
    }
}

impl Owned {
    /// Takes in a record, and gives out those that it makes void.
    fn replace(&mut self, record: &Record, kept: Kept, holds: &dyn Fn(u64) -> bool, void: &mut dyn FnMut(Kept)) {
        match record {
            Record::Entry { entry, .. } => {
                while self.entries.back().is_some_and(|last| last.0 >= entry.id.index) {
                    self.entries.pop_back().into_iter().for_each(|(_, old)| void(old));
                }
                self.entries.push_back((entry.id.index, kept));
            }
            Record::HardState(_) => self.hard_state.replace(kept).into_iter().for_each(void),
            Record::Compacted(base) => {
                self.base.replace(kept).into_iter().for_each(&mut *void);
                while let Some((index, old)) = pop_front_if(&mut self.entries, |first| first.0 <= base.start.index) {
                    if holds(index) { self.held.push((index, old)) } else { void(old) }
                }
            }
            Record::Installed(_) => {
                self.base.replace(kept).into_iter().for_each(&mut *void);
                let entries = self.entries.drain(..).chain(self.held.drain(..));
                entries.for_each(|(_, old)| void(old));
            }
        }
    }

    fn iter(&self) -> impl Iterator<Item = Kept> + '_ {
        let logged = self.held.iter().chain(&self.entries).map(|(_, kept)| *kept);
        self.hard_state.into_iter().chain(self.base).chain(logged)
    }

    fn find(&self, seq: u64) -> Option<Kept> {
        let single = self.hard_state.into_iter().chain(self.base).find(|kept| kept.seq == seq);
        single.or_else(|| {
            let in_log = self.entries.binary_search_by_key(&seq, |(_, kept)| kept.seq).map(|at| self.entries[at].1);
            in_log
                .or_else(|_| self.held.binary_search_by_key(&seq, |(_, kept)| kept.seq).map(|at| self.held[at].1))
                .ok()
        })
    }

    fn find_mut(&mut self, seq: u64) -> Option<&mut Kept> {
        let single = self.hard_state.iter_mut().chain(&mut self.base).find(|kept| kept.seq == seq);
        if single.is_some() {
            return single;
        }
        if let Ok(at) = self.entries.binary_search_by_key(&seq, |(_, kept)| kept.seq) {
            return self.entries.get_mut(at).map(|(_, kept)| kept);
        }
        let at = self.held.binary_search_by_key(&seq, |(_, kept)| kept.seq).ok()?;
        self.held.get_mut(at).map(|(_, kept)| kept)
    }
}

fn encode(record: &Record, head: &mut Vec<u8>, body: &mut Bytes) {
    match record {
        Record::Entry { entry, commit } => {
            let (kind, content) = entry.content.encode_kind();
            head.push(ENTRY);
            for number in [entry.id.index, entry.id.term, *commit] {
                put_varint(head, number);
            }
            head.push(kind);
            *body = content;
        }
        Record::HardState(state) => {
            head.push(HARD_STATE);
            for number in [state.term, state.vote.map_or(0, |vote| vote.0), state.commit] {
                put_varint(head, number);
            }
        }
        Record::Compacted(base) => encode_base(COMPACTED, base, head),
        Record::Installed(base) => encode_base(INSTALLED, base, head),
    }
}

fn encode_base(kind: u8, base: &Base, head: &mut Vec<u8>) {
    head.push(kind);
    for id in [base.snapshot, base.start] {
        put_varint(head, id.index);
        put_varint(head, id.term);
    }
    base.members.encode(head);
}

/// The entry in a record's payload; `None` if it is none.
#[must_use]
pub fn decode_entry(payload: &Bytes) -> Option<Entry> {
    match decode(payload)? {
        Record::Entry { entry, .. } => Some(entry),
        Record::HardState(_) | Record::Compacted(_) | Record::Installed(_) => None,
    }
}

fn decode(payload: &Bytes) -> Option<Record> {
    let mut reader = Reader(payload);
    let (version, kind) = (reader.u8()?, reader.u8()?);
    if version != VERSION {
        return None;
    }
    let mut number = || reader.varint().filter(|number| *number < NUMBER_END);
    let record = match kind {
        ENTRY => {
            let id = EntryId { index: number()?, term: number()? };
            let commit = number()?;
            let kind = reader.u8()?;
            let content = Content::decode_kind(kind, payload.slice_ref(reader.0))?;
            return Some(Record::Entry { entry: Entry { id, content }, commit });
        }
        HARD_STATE => {
            let term = number()?;
            let vote = Some(NodeId(reader.varint()?)).filter(|vote| vote.0 != 0);
            Record::HardState(HardState { term, vote, commit: reader.varint().filter(|commit| *commit < NUMBER_END)? })
        }
        COMPACTED | INSTALLED => {
            let snapshot = EntryId { index: number()?, term: number()? };
            let start = EntryId { index: number()?, term: number()? };
            let base = Base { snapshot, members: Members::decode(&mut reader)?, start };
            if kind == COMPACTED { Record::Compacted(base) } else { Record::Installed(base) }
        }
        _ => return None,
    };
    reader.is_empty().then_some(record)
}

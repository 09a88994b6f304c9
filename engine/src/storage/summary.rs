//! What one segment holds, without its payloads: written at the front of the next segment, so that a restart need not read
//! everything.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::codec::{Reader, fits_zigzag, put_varint, unzigzag, zigzag};
use super::place::{Place, Ref, RefState};
use super::ranges::{self, SeqRange};
use super::record::{Kind, decode_refs, encode_refs};

/// One reference in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SummaryRef {
    pub(super) owner: u64,
    pub(super) seq: u64,
    /// The record's place in its segment.
    pub(super) offset: u32,
    pub(super) len: u32,
    pub(super) shares: u16,
    pub(super) state: RefState,
}

/// One metadata record in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MetadataAt {
    pub(super) offset: u32,
    pub(super) len: u32,
    pub(super) is_snapshot: bool,
}

/// What a segment holds.
///
/// A settlement in the segment kills references in it and in older ones; a reference still listed after
/// [`Contents::drop_settled`] is alive as far as this segment knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Contents {
    /// References in the order of their records.
    pub(super) refs: Vec<SummaryRef>,
    pub(super) settled: Vec<SeqRange>,
    pub(super) delivered: Vec<SeqRange>,
    /// States that changed, in order.
    pub(super) states: Vec<Ref>,
    /// Metadata in order.
    pub(super) metadata: Vec<MetadataAt>,
}

/// How much of a [`Contents`] there was, to go back to.
#[derive(Clone, Copy, Debug)]
pub(super) struct ContentsMark {
    refs: usize,
    settled: usize,
    delivered: usize,
    states: usize,
    metadata: usize,
}

// The bits of the byte before each reference say what need not be spelled out.
const SAME_OWNER: u8 = 1;
const NEXT_SEQ: u8 = 2;
const ADJACENT: u8 = 4;
const SAME_RECORD: u8 = 8;
const SAME_LEN: u8 = 16;
const ONE_SHARE: u8 = 32;
const SAME_STATE: u8 = 64;

impl Contents {
    /// Notes one sound record, `body` being what follows its header. `None` if the body makes no sense.
    pub(super) fn add_record(&mut self, kind: Kind, place: MetadataAt, body: &[u8]) -> Option<()> {
        let mut reader = Reader(body);
        match kind {
            Kind::Message => {
                let refs = decode_refs(&mut reader)?;
                let shares = u16::try_from(refs.len()).ok()?;
                self.refs.extend(refs.iter().map(|reference| SummaryRef {
                    owner: reference.owner,
                    seq: reference.seq,
                    offset: place.offset,
                    len: place.len,
                    shares,
                    state: reference.state,
                }));
            }
            Kind::Settled => self.settled.extend(ranges::decode(&mut reader)?),
            Kind::Delivered => self.delivered.extend(ranges::decode(&mut reader)?),
            Kind::States => self.states.append(&mut decode_refs(&mut reader)?),
            Kind::Metadata | Kind::Snapshot => self.metadata.push(place),
            Kind::OldSummary | Kind::Summary => {}
        }
        Some(())
    }

    pub(super) fn mark(&self) -> ContentsMark {
        ContentsMark {
            refs: self.refs.len(),
            settled: self.settled.len(),
            delivered: self.delivered.len(),
            states: self.states.len(),
            metadata: self.metadata.len(),
        }
    }

    /// Forgets what was added since `mark`.
    pub(super) fn rewind(&mut self, mark: ContentsMark) {
        self.refs.truncate(mark.refs);
        self.settled.truncate(mark.settled);
        self.delivered.truncate(mark.delivered);
        self.states.truncate(mark.states);
        self.metadata.truncate(mark.metadata);
    }

    /// Forgets all, and keeps the memory for the next segment.
    pub(super) fn clear(&mut self) {
        let Self { refs, settled, delivered, states, metadata } = self;
        states.clear();
        refs.clear();
        settled.clear();
        delivered.clear();
        metadata.clear();
    }

    /// Sorts what is in ranges and removes the references that the segment itself settles.
    pub(super) fn drop_settled(&mut self) {
        ranges::normalize(&mut self.settled);
        ranges::normalize(&mut self.delivered);
        if !self.settled.is_empty() {
            let settled = &self.settled;
            self.refs.retain(|reference| !ranges::contains(settled, reference.owner, reference.seq));
            self.states.retain(|reference| !ranges::contains(settled, reference.owner, reference.seq));
        }
    }

    /// As bytes; to be called after [`Contents::drop_settled`].
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.refs.len() as u64);
        let mut cursor = Cursor::default();
        for reference in &self.refs {
            cursor.put(reference, out);
        }
        ranges::encode(&self.settled, out);
        ranges::encode(&self.delivered, out);
        encode_refs(&self.states, out);
        put_varint(out, self.metadata.len() as u64);
        let mut previous = 0;
        for record in &self.metadata {
            put_varint(out, u64::from(record.offset - previous) << 1 | u64::from(record.is_snapshot));
            put_varint(out, u64::from(record.len));
            previous = record.offset;
        }
    }

    /// The opposite of [`Contents::encode`].
    pub(super) fn decode(body: &[u8]) -> Option<Self> {
        let mut reader = Reader(body);
        let count = usize::try_from(reader.varint()?).ok()?;
        let mut refs = Vec::with_capacity(count.min(reader.0.len()));
        let mut cursor = Cursor::default();
        for _ in 0..count {
            refs.push(cursor.take(&mut reader)?);
        }
        let settled = ranges::decode(&mut reader)?;
        let delivered = ranges::decode(&mut reader)?;
        let states = decode_refs(&mut reader)?;
        let count = usize::try_from(reader.varint()?).ok()?;
        let mut metadata = Vec::with_capacity(count.min(reader.0.len()));
        let mut previous = 0u32;
        for _ in 0..count {
            let step = reader.varint()?;
            let offset = previous.checked_add(u32::try_from(step >> 1).ok()?)?;
            metadata.push(MetadataAt { offset, len: reader.varint_u32()?, is_snapshot: step & 1 == 1 });
            previous = offset;
        }
        reader.is_empty().then_some(Self { refs, settled, delivered, states, metadata })
    }
}

/// What the reference before leaves to be repeated.
#[derive(Debug)]
struct Cursor {
    previous: SummaryRef,
    /// The next number expected of the current owner.
    next_seq: u64,
    /// And of the others.
    others: BTreeMap<u64, u64>,
}

impl Default for Cursor {
    fn default() -> Self {
        let previous = SummaryRef { owner: 0, seq: 0, offset: 0, len: 0, shares: 0, state: RefState::default() };
        Self { previous, next_seq: 0, others: BTreeMap::new() }
    }
}

impl Cursor {
    fn turn_to(&mut self, owner: u64) {
        self.others.insert(self.previous.owner, self.next_seq);
        self.next_seq = self.others.get(&owner).copied().unwrap_or(0);
    }

    fn advance(&mut self, reference: SummaryRef) {
        self.next_seq = reference.seq.wrapping_add(1);
        self.previous = reference;
    }

    fn put(&mut self, reference: &SummaryRef, out: &mut Vec<u8>) {
        let same_owner = reference.owner == self.previous.owner;
        if !same_owner {
            self.turn_to(reference.owner);
        }
        let previous = self.previous;
        let same_record = reference.offset == previous.offset && reference.len == previous.len;
        let expected_offset = previous.offset + previous.len;
        let mut bits = 0;
        for (bit, set) in [
            (SAME_OWNER, same_owner),
            (NEXT_SEQ, reference.seq == self.next_seq),
            (SAME_RECORD, same_record),
            (ADJACENT, reference.offset == expected_offset),
            (SAME_LEN, reference.len == previous.len),
            (ONE_SHARE, reference.shares == 1),
            (SAME_STATE, reference.state == previous.state),
        ] {
            if set {
                bits |= bit;
            }
        }
        out.push(bits);
        if !same_owner {
            put_varint(out, reference.owner);
        }
        if bits & NEXT_SEQ == 0 {
            let fits = fits_zigzag(self.next_seq, reference.seq);
            out.push(u8::from(fits));
            put_varint(out, if fits { zigzag(self.next_seq, reference.seq) } else { reference.seq });
        }
        if !same_record {
            if bits & ADJACENT == 0 {
                put_varint(out, u64::from(reference.offset - expected_offset));
            }
            if bits & SAME_LEN == 0 {
                put_varint(out, u64::from(reference.len));
            }
        }
        if bits & ONE_SHARE == 0 {
            put_varint(out, u64::from(reference.shares));
        }
        if bits & SAME_STATE == 0 {
            reference.state.encode(out);
        }
        self.advance(*reference);
    }

    fn take(&mut self, reader: &mut Reader<'_>) -> Option<SummaryRef> {
        let bits = reader.u8()?;
        let previous = self.previous;
        let owner = if bits & SAME_OWNER == 0 { reader.varint()? } else { previous.owner };
        if owner != previous.owner {
            self.turn_to(owner);
        }
        let seq = if bits & NEXT_SEQ != 0 {
            self.next_seq
        } else if reader.u8()? == 1 {
            unzigzag(self.next_seq, reader.varint()?)?
        } else {
            reader.varint()?
        };
        let (offset, len) = if bits & SAME_RECORD != 0 {
            (previous.offset, previous.len)
        } else {
            let expected = previous.offset.checked_add(previous.len)?;
            let offset = if bits & ADJACENT == 0 { expected.checked_add(reader.varint_u32()?)? } else { expected };
            let len = if bits & SAME_LEN == 0 { reader.varint_u32()? } else { previous.len };
            (offset, len)
        };
        let shares = if bits & ONE_SHARE == 0 { u16::try_from(reader.varint()?).ok()? } else { 1 };
        let state = if bits & SAME_STATE == 0 { RefState::decode(reader)? } else { previous.state };
        let reference = SummaryRef { owner, seq, offset, len, shares, state };
        self.advance(reference);
        Some(reference)
    }
}

impl SummaryRef {
    /// Where its record is, its segment beginning at `first`.
    pub(super) fn place(&self, first: u64) -> Place {
        Place { lsn: crate::ids::Lsn(first + u64::from(self.offset)), len: self.len, shares: self.shares }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    fn check(contents: &Contents) -> usize {
        let mut out = Vec::new();
        contents.encode(&mut out);
        assert_eq!(Contents::decode(&out).as_ref(), Some(contents));
        assert_eq!(Contents::decode(&out[..out.len() - 1]), None);
        out.len()
    }

    #[test]
    fn a_plain_queue_costs_a_byte_per_message() {
        let refs = (0..1000u32)
            .map(|n| SummaryRef {
                owner: 7,
                seq: 100 + u64::from(n),
                offset: 632 + n * 1100,
                len: 1100,
                shares: 1,
                state: RefState { size: 1000, ..RefState::default() },
            })
            .collect();
        assert!(check(&Contents { refs, ..Contents::default() }) < 1020);
    }

    #[test]
    fn what_the_segment_settles_is_left_out() {
        let reference = |seq| SummaryRef { owner: 1, seq, offset: 0, len: 9, shares: 1, state: RefState::default() };
        let mut contents = Contents {
            refs: vec![reference(1), reference(2), reference(3)],
            settled: vec![SeqRange { owner: 1, first: 2, last: 2 }, SeqRange { owner: 2, first: 1, last: 9 }],
            ..Contents::default()
        };
        contents.drop_settled();
        assert_eq!(contents.refs, vec![reference(1), reference(3)]);
        check(&contents);
    }

    fn any_state() -> impl Strategy<Value = RefState> {
        (0u8..4, 0u8..2, 0u8..2, 0u16..300, 0u32..2, 0u64..2).prop_map(
            |(flags, priority, dying, deliveries, size, expires_at)| RefState {
                flags: super::super::RefFlags::from_byte(flags),
                priority,
                dying,
                deliveries,
                size,
                expires_at: expires_at * 1_700_000_000_000,
            },
        )
    }

    proptest! {
        #[test]
        fn any_contents_come_back(
            refs in prop::collection::vec((0u64..4, any::<u64>(), 0u32..3, 0u32..3, 1u16..3, any_state()), 0..40),
            states in prop::collection::vec((0u64..4, any::<u64>(), any_state()), 0..5),
            metadata in prop::collection::vec((1u32..1000, 1u32..1000, any::<bool>()), 0..10),
        ) {
            let mut offset = 0;
            let mut len = 0;
            let refs = refs.into_iter().map(|(owner, seq, gap, next_len, shares, state)| {
                if gap > 0 {
                    offset += len + gap - 1;
                    len = 10 + next_len;
                }
                SummaryRef { owner, seq, offset, len, shares, state }
            }).collect();
            let mut at = 0;
            let metadata = metadata.into_iter().map(|(gap, len, is_snapshot)| {
                at += gap;
                MetadataAt { offset: at, len, is_snapshot }
            }).collect();
            let states = states.into_iter().map(|(owner, seq, state)| Ref { owner, seq, state }).collect();
            check(&Contents { refs, settled: Vec::new(), delivered: Vec::new(), states, metadata });
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Contents::decode(&bytes);
        }
    }
}

//! Runs of message numbers: settlements and delivery marks come mostly in order, so a run stands for many.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::codec::{Reader, VARINT_BYTES, put_varint};

/// Bytes that one more range adds at most to a record.
pub(super) const RANGE_BYTES_MAX: usize = 3 * VARINT_BYTES;

/// The numbers from `first` to `last`, both included, of one owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SeqRange {
    pub(super) owner: u64,
    pub(super) first: u64,
    pub(super) last: u64,
}

/// Adds one number; the usual case extends the last range.
pub(super) fn push(ranges: &mut Vec<SeqRange>, owner: u64, seq: u64) {
    if let Some(last) = ranges.last_mut()
        && last.owner == owner
        && last.last.checked_add(1) == Some(seq)
    {
        last.last = seq;
        return;
    }
    ranges.push(SeqRange { owner, first: seq, last: seq });
}

/// Sorts and merges, so that no two ranges touch.
pub(super) fn normalize(ranges: &mut Vec<SeqRange>) {
    ranges.sort_unstable();
    ranges.dedup_by(|next, kept| {
        let touches = next.owner == kept.owner && next.first <= kept.last.saturating_add(1);
        if touches {
            kept.last = kept.last.max(next.last);
        }
        touches
    });
}

/// Whether normalized `ranges` hold the number.
pub(super) fn contains(ranges: &[SeqRange], owner: u64, seq: u64) -> bool {
    let after = ranges.partition_point(|range| (range.owner, range.first) <= (owner, seq));
    after.checked_sub(1).and_then(|at| ranges.get(at)).is_some_and(|range| range.owner == owner && range.last >= seq)
}

/// What of normalized `ranges` is not in normalized `minus`.
pub(super) fn subtract(ranges: &[SeqRange], minus: &[SeqRange]) -> Vec<SeqRange> {
    let mut rest = Vec::with_capacity(ranges.len());
    for &range in ranges {
        let mut from = Some(range.first);
        let start = minus.partition_point(|hole| (hole.owner, hole.last) < (range.owner, range.first));
        for hole in minus.iter().skip(start) {
            if hole.owner != range.owner || hole.first > range.last {
                break;
            }
            if let Some(first) = from
                && hole.first > first
            {
                rest.push(SeqRange { owner: range.owner, first, last: hole.first - 1 });
            }
            from = hole.last.checked_add(1);
        }
        if let Some(first) = from
            && first <= range.last
        {
            rest.push(SeqRange { owner: range.owner, first, last: range.last });
        }
    }
    rest
}

/// Appends normalized `ranges` as bytes.
pub(super) fn encode(ranges: &[SeqRange], out: &mut Vec<u8>) {
    put_varint(out, ranges.len() as u64);
    let mut previous = SeqRange { owner: 0, first: 0, last: 0 };
    for &range in ranges {
        put_varint(out, range.owner - previous.owner);
        let base = if range.owner == previous.owner { previous.last } else { 0 };
        put_varint(out, range.first - base);
        put_varint(out, range.last - range.first);
        previous = range;
    }
}

/// The opposite of [`encode`].
pub(super) fn decode(reader: &mut Reader<'_>) -> Option<Vec<SeqRange>> {
    let count = usize::try_from(reader.varint()?).ok()?;
    let mut ranges = Vec::with_capacity(count.min(reader.0.len() / 3));
    let mut previous = SeqRange { owner: 0, first: 0, last: 0 };
    for _ in 0..count {
        let owner = previous.owner.checked_add(reader.varint()?)?;
        let base = if owner == previous.owner { previous.last } else { 0 };
        let first = base.checked_add(reader.varint()?)?;
        let last = first.checked_add(reader.varint()?)?;
        previous = SeqRange { owner, first, last };
        ranges.push(previous);
    }
    Some(ranges)
}

/// A set of numbers of one owner that grows in any order.
#[derive(Clone, Debug, Default)]
pub(super) struct SeqSet(BTreeMap<u64, u64>);

impl SeqSet {
    pub(super) fn insert(&mut self, mut first: u64, mut last: u64) {
        // The neighbour before, if it touches, and all that begin within are swallowed.
        if let Some((&start, &end)) = self.0.range(..=first).next_back()
            && end.saturating_add(1) >= first
        {
            first = start;
            last = last.max(end);
        }
        while let Some((&start, &end)) = self.0.range(first..=last.saturating_add(1)).next() {
            last = last.max(end);
            self.0.remove(&start);
        }
        self.0.insert(first, last);
    }

    pub(super) fn contains(&self, seq: u64) -> bool {
        self.0.range(..=seq).next_back().is_some_and(|(_, &last)| last >= seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn range(owner: u64, first: u64, last: u64) -> SeqRange {
        SeqRange { owner, first, last }
    }

    #[test]
    fn neighbours_become_one_range() {
        let mut ranges = Vec::new();
        for seq in [1, 2, 3, 7, 5, 6, 10] {
            push(&mut ranges, 4, seq);
        }
        push(&mut ranges, 3, 4);
        normalize(&mut ranges);
        assert_eq!(ranges, vec![range(3, 4, 4), range(4, 1, 3), range(4, 5, 7), range(4, 10, 10)]);
        assert!(contains(&ranges, 4, 6));
        assert!(!contains(&ranges, 4, 4));
        assert!(!contains(&ranges, 3, 5));
    }

    #[test]
    fn ranges_come_back() {
        let ranges = vec![range(0, 0, 0), range(0, 5, 5), range(2, 1, u64::MAX), range(u64::MAX, 3, 4)];
        let mut out = Vec::new();
        encode(&ranges, &mut out);
        assert_eq!(decode(&mut Reader(&out)), Some(ranges));
        assert_eq!(decode(&mut Reader(&out[..out.len() - 1])), None);
    }

    #[test]
    fn holes_are_cut_out() {
        let rest = subtract(&[range(1, 0, 9), range(2, 0, 3)], &[range(1, 0, 0), range(1, 4, 5), range(1, 9, 20)]);
        assert_eq!(rest, vec![range(1, 1, 3), range(1, 6, 8), range(2, 0, 3)]);
        assert_eq!(subtract(&[range(1, 5, u64::MAX)], &[range(1, 6, u64::MAX)]), vec![range(1, 5, 5)]);
    }

    #[test]
    fn a_set_merges_what_touches() {
        let mut set = SeqSet::default();
        for (first, last) in [(5, 6), (1, 2), (9, 9), (3, 4), (7, 8), (20, 30), (19, 40)] {
            set.insert(first, last);
        }
        assert_eq!(set.0.into_iter().collect::<Vec<_>>(), vec![(1, 9), (19, 40)]);
    }
}

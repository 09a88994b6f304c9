//! Which messages arrived: what every body carries, and the account that is kept of it.

use std::iter::Sum;

/// Bytes that a body begins with: its [`Stamp`].
pub(super) const STAMP_LEN: usize = 16;

/// More than any run publishes from one producer; a greater number is not ours.
const SEQ_MAX: u64 = 1 << 36;

/// Who published a message, as which of its messages, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) producer: u16,
    /// From 0, per producer.
    pub(super) seq: u64,
    /// Nanoseconds on the measurement's clock.
    pub(super) sent_at: u64,
}

impl Stamp {
    pub(super) fn to_bytes(self) -> [u8; STAMP_LEN] {
        let [_, _, seq @ ..] = self.seq.to_be_bytes();
        let mut bytes = [0; STAMP_LEN];
        bytes[..2].copy_from_slice(&self.producer.to_be_bytes());
        bytes[2..8].copy_from_slice(&seq);
        bytes[8..].copy_from_slice(&self.sent_at.to_be_bytes());
        bytes
    }

    pub(super) fn from_bytes([p0, p1, seq @ .., t0, t1, t2, t3, t4, t5, t6, t7]: [u8; STAMP_LEN]) -> Self {
        let [s0, s1, s2, s3, s4, s5] = seq;
        Self {
            producer: u16::from_be_bytes([p0, p1]),
            seq: u64::from_be_bytes([0, 0, s0, s1, s2, s3, s4, s5]),
            sent_at: u64::from_be_bytes([t0, t1, t2, t3, t4, t5, t6, t7]),
        }
    }
}

/// What one consumer got, by producer.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    producers: Vec<Account>,
    received: u64,
    redelivered: u64,
    out_of_order: u64,
    corrupted: u64,
}

#[derive(Clone, Debug, Default)]
struct Account {
    /// One bit per message.
    seen: Vec<u64>,
    /// The number that should come next.
    next: u64,
    duplicated: u64,
}

impl Ledger {
    pub(super) fn new(producers: u16) -> Self {
        Self { producers: vec![Account::default(); producers.into()], ..Self::default() }
    }

    /// Notes a delivery.
    pub(super) fn note(&mut self, stamp: Stamp, is_redelivered: bool) {
        self.received += 1;
        self.redelivered += u64::from(is_redelivered);
        let account = self.producers.get_mut(usize::from(stamp.producer)).filter(|_| stamp.seq < SEQ_MAX);
        let Some(account) = account else {
            self.corrupted += 1;
            return;
        };
        // Consumers that share a queue each get a part of it, in order.
        if stamp.seq < account.next {
            self.out_of_order += u64::from(!is_redelivered);
        } else {
            account.next = stamp.seq + 1;
        }
        let word = usize::try_from(stamp.seq / 64).unwrap_or(usize::MAX);
        if account.seen.len() <= word {
            account.seen.resize(word + 1, 0);
        }
        let bit = 1 << (stamp.seq % 64);
        account.duplicated += u64::from(account.seen[word] & bit != 0);
        account.seen[word] |= bit;
    }

    /// Notes a delivery whose body is not what was published.
    pub(super) fn note_corrupted(&mut self) {
        self.received += 1;
        self.corrupted += 1;
    }

    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Adds what another consumer got.
    pub(super) fn merge(&mut self, other: &Self) {
        self.received += other.received;
        self.redelivered += other.redelivered;
        self.out_of_order += other.out_of_order;
        self.corrupted += other.corrupted;
        for (account, more) in self.producers.iter_mut().zip(&other.producers) {
            account.duplicated += more.duplicated;
            if account.seen.len() < more.seen.len() {
                account.seen.resize(more.seen.len(), 0);
            }
            for (word, more) in account.seen.iter_mut().zip(&more.seen) {
                account.duplicated += u64::from((*word & more).count_ones());
                *word |= more;
            }
        }
    }

    /// Balances the account: each producer published the first so many of its messages.
    pub(super) fn verdict(&self, published: &[u64]) -> Verdict {
        let mut verdict = Verdict {
            received: self.received,
            redelivered: self.redelivered,
            out_of_order: self.out_of_order,
            corrupted: self.corrupted,
            ..Verdict::default()
        };
        for (account, published) in self.producers.iter().zip(published) {
            let distinct: u64 = account.seen.iter().map(|word| u64::from(word.count_ones())).sum();
            verdict.duplicated += account.duplicated;
            verdict.lost += published.saturating_sub(distinct);
            verdict.corrupted += distinct.saturating_sub(*published);
        }
        verdict
    }
}

impl Sum for Verdict {
    fn sum<I: Iterator<Item = Self>>(verdicts: I) -> Self {
        verdicts.fold(Self::default(), |sum, more| Self {
            received: sum.received + more.received,
            lost: sum.lost + more.lost,
            duplicated: sum.duplicated + more.duplicated,
            redelivered: sum.redelivered + more.redelivered,
            out_of_order: sum.out_of_order + more.out_of_order,
            corrupted: sum.corrupted + more.corrupted,
        })
    }
}

/// What became of the messages of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(super) struct Verdict {
    /// Deliveries, all of them.
    pub(super) received: u64,
    /// Published, and never delivered.
    pub(super) lost: u64,
    /// Deliveries of a message beyond its first.
    pub(super) duplicated: u64,
    /// Deliveries with the redelivered flag.
    pub(super) redelivered: u64,
    /// Deliveries without the redelivered flag after a later message of the same producer.
    pub(super) out_of_order: u64,
    /// Bodies that were not published like that.
    pub(super) corrupted: u64,
}

impl Verdict {
    /// Adds up two runs.
    pub(super) fn add(&mut self, other: Self) {
        self.received += other.received;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.redelivered += other.redelivered;
        self.out_of_order += other.out_of_order;
        self.corrupted += other.corrupted;
    }

    /// Whether every message came once, in order and unharmed.
    pub(super) fn is_clean(self) -> bool {
        self == Self { received: self.received, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(seqs: &[u64]) -> Ledger {
        let mut ledger = Ledger::new(1);
        for &seq in seqs {
            ledger.note(Stamp { producer: 0, seq, sent_at: 0 }, false);
        }
        ledger
    }

    #[test]
    fn a_stamp_comes_back_as_it_was() {
        let stamp = Stamp { producer: 513, seq: 0x1234_5678_9abc, sent_at: u64::MAX - 1 };
        assert_eq!(Stamp::from_bytes(stamp.to_bytes()), stamp);
    }

    #[test]
    fn two_consumers_share_a_queue() {
        let mut all = ledger(&[0, 2, 4]);
        all.merge(&ledger(&[1, 3, 5]));
        let verdict = all.verdict(&[6]);
        assert!(verdict.is_clean(), "{verdict:?}");
        assert_eq!(verdict.received, 6);
    }

    #[test]
    fn what_is_wrong_is_counted() {
        let check = |ledger: Ledger, published, expect: Verdict| assert_eq!(ledger.verdict(&[published]), expect);
        check(ledger(&[0, 2]), 4, Verdict { received: 2, lost: 2, ..Verdict::default() });
        check(ledger(&[0, 2, 1]), 3, Verdict { received: 3, out_of_order: 1, ..Verdict::default() });
        check(ledger(&[0, 0]), 1, Verdict { received: 2, duplicated: 1, out_of_order: 1, ..Verdict::default() });
        check(ledger(&[0, 1]), 1, Verdict { received: 2, corrupted: 1, ..Verdict::default() });
        check(ledger(&[SEQ_MAX]), 0, Verdict { received: 1, corrupted: 1, ..Verdict::default() });
        let mut twice = ledger(&[0, 1]);
        twice.merge(&ledger(&[1]));
        check(twice, 2, Verdict { received: 3, duplicated: 1, ..Verdict::default() });
    }
}

//! Publisher confirms: which publishes are settled, and how to say so in few frames.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use crate::amqp::method::basic;
use crate::connection::Outbox;
use crate::ids::{ChannelNumber, PublishSeqno};
use crate::mutants::{Mutant, is_planted};

/// The publishes of a channel in confirm mode (RabbitMQ docs: Publisher Confirms).
///
/// Publishes mostly become safe in the order they came, so what counts is how far that goes without a gap; what is safe beyond a gap
/// is confirmed on its own, so that it never waits for a slower one.
#[derive(Debug, Default)]
pub(crate) struct Confirms {
    /// The number of the last publish; 0 if there was none.
    last: u64,
    /// All publishes up to here are safe.
    safe_up_to: u64,
    /// All publishes up to here have been confirmed.
    told_up_to: u64,
    /// The highest of those up to `safe_up_to` that has not been confirmed; below `told_up_to` if there is none.
    untold_last: u64,
    /// Safe ones beyond the gap.
    safe_beyond: BTreeSet<u64>,
    /// Those of them that have not been confirmed yet.
    untold_beyond: Vec<u64>,
    /// Publishes that were refused and whose publisher has not been told yet.
    untold_nacks: Vec<u64>,
}

impl Confirms {
    /// Numbers a publish.
    pub(crate) fn number(&mut self) -> PublishSeqno {
        self.last += 1;
        PublishSeqno(self.last)
    }

    /// A publish is safe. Whether that is the first news since [`Confirms::tell`].
    pub(crate) fn on_safe(&mut self, seqno: PublishSeqno) -> bool {
        let had_news = self.has_news();
        let PublishSeqno(seqno) = seqno;
        assert!(seqno > self.safe_up_to && seqno <= self.last, "publish {seqno} becomes safe once");
        if seqno == self.safe_up_to + 1 {
            self.safe_up_to = seqno;
            self.untold_last = seqno;
            while self.safe_beyond.first() == Some(&(self.safe_up_to + 1)) {
                self.safe_beyond.pop_first();
                self.safe_up_to += 1;
            }
        } else {
            let is_first = self.safe_beyond.insert(seqno);
            assert!(is_first, "publish {seqno} becomes safe once");
            self.untold_beyond.push(seqno);
        }
        !had_news
    }

    /// A publish was refused: it counts as settled, and its publisher is told so on its own.
    pub(crate) fn on_refused(&mut self, seqno: PublishSeqno) {
        let PublishSeqno(seqno) = seqno;
        assert!(seqno > self.safe_up_to && seqno <= self.last, "publish {seqno} is refused once");
        if seqno == self.safe_up_to + 1 {
            self.safe_up_to = seqno;
            while self.safe_beyond.first() == Some(&(self.safe_up_to + 1)) {
                self.safe_beyond.pop_first();
                self.safe_up_to += 1;
            }
        } else {
            self.safe_beyond.insert(seqno);
        }
        self.untold_nacks.push(seqno);
    }

    /// How many publishes are not safe yet.
    pub(super) fn unconfirmed(&self) -> u64 {
        self.last - self.safe_up_to - self.safe_beyond.len() as u64
    }

    /// Confirms what became safe. `told` hears the numbers that are confirmed.
    pub(crate) fn tell(&mut self, channel: ChannelNumber, outbox: &mut Outbox, mut told: impl FnMut(PublishSeqno)) {
        // First, so that no confirm of several covers one of them.
        for seqno in &self.untold_nacks {
            outbox.method(channel, basic::Nack { delivery_tag: *seqno, multiple: false, requeue: false });
        }
        for seqno in self.untold_beyond.drain(..) {
            // What the gap's end has overtaken is covered below.
            if seqno <= self.safe_up_to {
                self.untold_last = self.untold_last.max(seqno);
                continue;
            }
            outbox.confirm(channel, seqno, false);
            told(PublishSeqno(seqno));
        }
        if self.safe_up_to > self.told_up_to {
            // As RabbitMQ, never by a number that was confirmed before: a client may count on one answer for each.
            if self.untold_last > self.told_up_to {
                let is_multiple = self.untold_last - self.told_up_to > 1;
                let is_too_far = is_multiple && self.last > self.untold_last && is_planted(Mutant::ConfirmTooFar);
                outbox.confirm(channel, self.untold_last + u64::from(is_too_far), is_multiple);
            }
            let confirmed = (self.told_up_to + 1..=self.safe_up_to).filter(|seqno| !self.untold_nacks.contains(seqno));
            confirmed.map(PublishSeqno).for_each(told);
            self.told_up_to = self.safe_up_to;
        }
        self.untold_nacks.clear();
    }

    fn has_news(&self) -> bool {
        self.safe_up_to > self.told_up_to || !self.untold_beyond.is_empty() || !self.untold_nacks.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amqp::{FrameDecoder, Method};

    const CHANNEL: ChannelNumber = ChannelNumber(1);
    /// Added to the numbers of publishes that were refused.
    const REFUSED: u64 = 1000;

    /// What is confirmed: numbers with their `multiple`.
    fn told(confirms: &mut Confirms) -> Vec<(u64, bool)> {
        let mut outbox = Outbox::new(4096);
        confirms.tell(CHANNEL, &mut outbox, |_| {});
        let mut sends = Vec::new();
        outbox.flush(crate::ids::ConnectionId(1), &mut sends);
        let mut decoder = FrameDecoder::new(4096);
        sends.into_iter().for_each(|send| decoder.feed(send.bytes));
        let mut acks = Vec::new();
        while let Some(frame) = decoder.next_frame().unwrap() {
            match Method::decode(frame.payload).unwrap() {
                Method::BasicAck(ack) => acks.push((ack.delivery_tag, ack.multiple)),
                Method::BasicNack(nack) => acks.push((nack.delivery_tag + REFUSED, nack.multiple)),
                other => panic!("{other:?}"),
            }
        }
        acks
    }

    fn published(count: u64) -> Confirms {
        let mut confirms = Confirms::default();
        for seqno in 1..=count {
            assert_eq!(confirms.number(), PublishSeqno(seqno));
        }
        confirms
    }

    #[test]
    fn what_is_safe_in_order_takes_one_frame() {
        let mut confirms = published(4);
        assert!(confirms.on_safe(PublishSeqno(1)));
        assert!(!confirms.on_safe(PublishSeqno(2)));
        confirms.on_safe(PublishSeqno(3));
        assert_eq!(told(&mut confirms), [(3, true)]);
        assert_eq!(told(&mut confirms), []);
        confirms.on_safe(PublishSeqno(4));
        assert_eq!(told(&mut confirms), [(4, false)]);
        assert_eq!(confirms.unconfirmed(), 0);
    }

    #[test]
    fn what_is_safe_beyond_a_gap_is_told_alone_and_the_gap_when_it_closes() {
        let mut confirms = published(3);
        confirms.on_safe(PublishSeqno(2));
        assert_eq!(told(&mut confirms), [(2, false)]);
        assert_eq!(confirms.unconfirmed(), 2);
        confirms.on_safe(PublishSeqno(3));
        confirms.on_safe(PublishSeqno(1));
        assert_eq!(told(&mut confirms), [(3, true)]);
        assert_eq!(confirms.unconfirmed(), 0);
    }

    #[test]
    fn closing_a_gap_confirms_no_number_twice() {
        let mut confirms = published(3);
        confirms.on_safe(PublishSeqno(2));
        confirms.on_safe(PublishSeqno(3));
        assert_eq!(told(&mut confirms), [(2, false), (3, false)]);
        confirms.on_safe(PublishSeqno(1));
        assert_eq!(told(&mut confirms), [(1, false)]);
    }

    #[test]
    fn what_is_refused_is_told_on_its_own_and_never_confirmed() {
        let mut confirms = published(5);
        confirms.on_safe(PublishSeqno(1));
        confirms.on_refused(PublishSeqno(2));
        confirms.on_safe(PublishSeqno(3));
        assert_eq!(told(&mut confirms), [(2 + REFUSED, false), (3, true)]);
        confirms.on_refused(PublishSeqno(5));
        assert_eq!(told(&mut confirms), [(5 + REFUSED, false)]);
        confirms.on_safe(PublishSeqno(4));
        assert_eq!(told(&mut confirms), [(4, false)]);
        assert_eq!(confirms.unconfirmed(), 0);
    }
}

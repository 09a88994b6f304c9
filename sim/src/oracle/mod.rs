//! The judges. Each knows one promise and looks at facts alone: it could judge a history from a file, or of another broker.

mod agreement;
mod altered;
mod blocked;
mod came_back;
mod confirm;
mod counts;
mod cycle;
mod deaths;
mod declared;
mod delayed;
mod dismissed;
mod dropped;
mod durable;
mod exclusive;
mod expiry;
mod failed;
mod lost;
mod majority;
mod once;
mod one_leader;
mod operated;
mod order;
mod overfull;
mod phantom;
mod prefetch;
mod priority;
mod recorded;
mod redelivered;
mod refusal;
mod replicas_agree;
mod reread;
mod rest;
mod resting;
mod shared;
mod single_active;
mod vanished;

use crate::history::Fact;

/// One promise.
pub(crate) trait Oracle {
    /// The promise's short name, for verdicts and tables.
    fn name(&self) -> &'static str;

    /// Looks at the next fact.
    fn judge(&mut self, fact: &Fact) -> Verdict;
}

/// What an oracle has to say of a fact.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The promise says nothing about it.
    NotMine,
    /// The promise could have been broken here, and was kept.
    Kept,
    /// It was broken; how, in a sentence.
    Broken(String),
}

impl Verdict {
    /// Broken on a condition, otherwise kept.
    fn broken_if(is_broken: bool, text: impl FnOnce() -> String) -> Self {
        if is_broken { Self::Broken(text()) } else { Self::Kept }
    }

    #[cfg(test)]
    fn is_kept(&self) -> bool {
        *self == Self::Kept
    }

    #[cfg(test)]
    fn is_broken(&self) -> bool {
        matches!(self, Self::Broken(_))
    }
}

/// All oracles together, by what they judge: each fact is shown to those of one group, in this order.
#[derive(Default)]
pub(crate) struct Bench {
    /// Those who judge what clients read.
    of_readings: Vec<Seat>,
    /// Those who judge deliveries, and what they pass over.
    of_deliveries: Vec<Seat>,
    /// Those who judge what publishers are answered.
    of_answers: Vec<Seat>,
    /// Those who judge queues as a whole, and what is left at the end.
    of_queues: Vec<Seat>,
    /// Those who judge what several nodes have in common.
    of_nodes: Vec<Seat>,
    /// Those who judge stories.
    of_stories: Vec<Seat>,
}

/// An oracle, and how often it had something to judge.
struct Seat {
    oracle: Box<dyn Oracle>,
    judged: u64,
}

impl Bench {
    /// The oracles of a run. Where faults go beyond the claim, only this is asked: that nothing wrong is delivered.
    pub(crate) fn new(beyond_claim: bool) -> Self {
        if beyond_claim {
            return Self { of_readings: seats(vec![Box::new(altered::Altered)]), ..Self::default() };
        }
        Self {
            of_readings: seats(vec![Box::new(altered::Altered), Box::new(operated::Operated)]),
            of_deliveries: seats(vec![
                Box::new(phantom::Phantom),
                Box::new(came_back::CameBack),
                Box::new(shared::Shared),
                Box::new(order::Order::default()),
                Box::new(prefetch::Prefetch),
                Box::new(redelivered::Redelivered),
                Box::new(failed::Failed),
                Box::new(dismissed::Dismissed),
                Box::new(resting::Resting::default()),
            ]),
            of_answers: seats(vec![Box::new(confirm::Confirm), Box::new(durable::Durable)]),
            of_queues: seats(vec![
                Box::new(lost::Lost),
                Box::new(counts::Counts),
                Box::new(exclusive::Exclusive),
                Box::new(rest::Rest),
            ]),
            of_nodes: seats(vec![
                Box::new(agreement::Agreement),
                Box::new(reread::Reread),
                Box::new(declared::DeclaredStays),
                Box::new(replicas_agree::ReplicasAgree),
                Box::new(majority::Majority),
                Box::new(one_leader::OneLeader),
            ]),
            of_stories: seats(vec![
                Box::new(blocked::Blocked),
                Box::new(expiry::Expiry),
                Box::new(delayed::Delayed),
                Box::new(once::Once),
                Box::new(deaths::Deaths),
                Box::new(cycle::Cycle),
                Box::new(refusal::Refusal),
                Box::new(overfull::Overfull),
                Box::new(dropped::Dropped),
                Box::new(recorded::Recorded),
                Box::new(single_active::SingleActive),
                Box::new(priority::Priority),
                Box::new(vanished::Vanished),
            ]),
        }
    }

    /// Shows a fact to all whom it concerns; the first objection, with the name of the promise.
    pub(crate) fn judge(&mut self, fact: &Fact) -> Option<(&'static str, String)> {
        let seats = match fact {
            Fact::Read { .. } | Fact::Peeked { .. } | Fact::Operated { .. } => &mut self.of_readings,
            Fact::Delivered { .. }
            | Fact::Skipped { .. }
            | Fact::MissedByGet { .. }
            | Fact::Failed { .. }
            | Fact::Dismissed { .. }
            | Fact::Paused { .. }
            | Fact::Resumed { .. }
            | Fact::Changed { .. }
            | Fact::Ended { .. } => &mut self.of_deliveries,
            Fact::Answered { .. } | Fact::Returned { .. } => &mut self.of_answers,
            Fact::Counted { .. }
            | Fact::Succeeded { .. }
            | Fact::Existence { .. }
            | Fact::Emptied { .. }
            | Fact::NeverCame { .. }
            | Fact::Rest { .. } => &mut self.of_queues,
            Fact::Applied { .. }
            | Fact::Reread { .. }
            | Fact::Known { .. }
            | Fact::Carried { .. }
            | Fact::Led { .. } => &mut self.of_nodes,
            Fact::Story(_) => &mut self.of_stories,
            // Nothing is promised of these alone; they are there to tell why others are right or wrong.
            Fact::Connected { .. }
            | Fact::Disconnected { .. }
            | Fact::Closed { .. }
            | Fact::Published { .. }
            | Fact::Departed { .. }
            | Fact::Requeued { .. }
            | Fact::Ready { .. } => return None,
        };
        for seat in seats {
            match seat.oracle.judge(fact) {
                Verdict::NotMine => {}
                Verdict::Kept => seat.judged += 1,
                Verdict::Broken(text) => return Some((seat.oracle.name(), text)),
            }
        }
        None
    }

    /// How often each promise could have been broken.
    pub(crate) fn judged(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.groups().into_iter().flatten().map(|seat| (seat.oracle.name(), seat.judged))
    }

    fn groups(&self) -> [&Vec<Seat>; 6] {
        let Self { of_readings, of_deliveries, of_answers, of_queues, of_nodes, of_stories } = self;
        [of_readings, of_deliveries, of_answers, of_queues, of_nodes, of_stories]
    }
}

/// The names of all promises, those that no oracle judges among them.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    let others = ["keeps running", "comes to rest", "available", "no panic", "the disk's contract"];
    let names: Vec<&'static str> = Bench::new(false).judged().map(|(name, _)| name).collect();
    names.into_iter().chain(others)
}

fn seats(oracles: Vec<Box<dyn Oracle>>) -> Vec<Seat> {
    oracles.into_iter().map(|oracle| Seat { oracle, judged: 0 }).collect()
}

impl std::fmt::Debug for Bench {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.judged()).finish()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::history::{Presence, QueueIndex, Session};
    use crate::message::MessageNumber;

    /// A first delivery with nothing wrong.
    pub(crate) fn right_delivery() -> Fact {
        Fact::Delivered {
            session: Session(1),
            tag: 1,
            queue: Some(QueueIndex(0)),
            message: Some(MessageNumber(1)),
            before: Presence::Ready,
            redelivered: false,
            deliveries: 0,
            maybe_unseen: false,
            crashed_since: false,
            position: 1,
            of: None,
            unacked: 1,
            prefetch: 1,
            channel_unacked: 1,
            channel_prefetch: 1,
            is_get: false,
            connection: 1,
            channel: 1,
        }
    }

    /// Fields of a delivery, changed.
    macro_rules! delivered {
        ($($field:ident: $value:expr),* $(,)?) => {{
            let mut fact = $crate::oracle::tests::right_delivery();
            if let $crate::history::Fact::Delivered { $($field,)* .. } = &mut fact {
                $(*$field = $value;)*
            }
            fact
        }};
    }
    pub(crate) use delivered;

    /// A delivery in a story with nothing wrong, with some of its fields changed.
    macro_rules! given {
        ($($field:ident: $value:expr),+ $(,)?) => {{
            let mut fact = $crate::oracle::tests::right_story_delivery();
            $(if let $crate::story::StoryFact::Given { $field, .. } = &mut fact {
                *$field = $value;
            })+
            $crate::history::Fact::Story(fact)
        }};
    }
    pub(crate) use given;

    /// See [`given`].
    pub(crate) fn right_story_delivery() -> crate::story::StoryFact {
        crate::story::StoryFact::Given {
            message: MessageNumber(1),
            queue: QueueIndex(0),
            redelivered: false,
            deaths: 0,
            fresh: 0,
            was_settled: false,
            was_refused: false,
            crashed_since: false,
            has_died_here: false,
            has_rejected: false,
        }
    }

    /// A confirm with nothing wrong.
    pub(crate) fn answered() -> Fact {
        Fact::Answered {
            session: Session(1),
            seqno: 1,
            message: Some(MessageNumber(1)),
            is_ack: true,
            lacks_return: false,
            must_be_durable: true,
            lsn: Some(10),
            safe: 20,
        }
    }

    #[test]
    fn nobody_objects_to_what_is_right() {
        let mut bench = Bench::new(false);
        assert_eq!(bench.judge(&right_delivery()), None);
        assert_eq!(bench.judge(&answered()), None);
        assert_eq!(bench.judge(&Fact::Ready { node: None }), None);
    }

    /// An oracle that were not shown what it judges would be content for ever.
    #[test]
    fn each_oracle_is_shown_all_that_it_judges() {
        let names =
            ["everything", "churn", "routing-churn", "tx-power-loss", "getters", "mandatory-returns", "three-nodes"];
        for name in names {
            let scenario = crate::scenario::Scenario::all().into_iter().find(|(_, scenario)| scenario.name == name);
            let plan = crate::run::plan(&scenario.expect("it is built in").1, 1);
            let mut world = crate::world::World::new(plan, crate::run::RunOptions::default());
            world.run();
            let (mut bench, mut shown_to_all) = (Bench::new(false), Bench::new(false));
            for (_, fact) in world.history.last(usize::MAX) {
                assert_eq!(bench.judge(&fact), None);
                let Bench { of_readings, of_deliveries, of_answers, of_queues, of_nodes, of_stories } =
                    &mut shown_to_all;
                let seats = [of_readings, of_deliveries, of_answers, of_queues, of_nodes, of_stories];
                for seat in seats.into_iter().flatten() {
                    seat.judged += u64::from(seat.oracle.judge(&fact).is_kept());
                }
            }
            assert!(bench.judged().eq(shown_to_all.judged()), "{name}");
            assert!(bench.judged().map(|(_, judged)| judged).sum::<u64>() > 0, "{name}");
        }
    }

    #[test]
    fn beyond_the_claim_only_wrong_content_counts() {
        let mut bench = Bench::new(true);
        assert_eq!(bench.judge(&delivered!(before: Presence::Never)), None);
        assert!(bench.judge(&Fact::Read { client: 0, message: None, wrong: None }).is_some());
    }
}

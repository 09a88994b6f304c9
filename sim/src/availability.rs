//! How long publishers with confirms are without an answer, where a scenario limits that.

use crate::clock::{MILLISECOND, Micros};
use crate::quiesce::Phase;
use crate::report::{Failure, seconds};
use crate::world::{Event, World};

/// What is known of one client.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Unanswered {
    /// Answers it had at the last look.
    answers: u64,
    /// Since when it has had something to say and no further answer.
    since: Option<Micros>,
}

/// How often it is looked at, and with that how exact the limit is.
const LOOK: Micros = 5 * MILLISECOND;

impl World {
    /// Looks at all publishers. Those whose connection is refused, or who are told to wait, have something to say as well.
    pub(crate) fn watch(&mut self) {
        let Some(longest) = self.plan.longest_unavailability_us else { return };
        if !matches!(self.phase, Phase::Chaos | Phase::Finishing) {
            return;
        }
        let now = self.scheduler.time();
        self.unanswered.resize(self.actors.len(), Unanswered::default());
        let mut found = None;
        for (actor, known) in self.actors.iter().zip(&mut self.unanswered) {
            let Some((answers, wants)) = actor.answers(now) else { continue };
            let has_news = answers != std::mem::replace(&mut known.answers, answers);
            if !wants {
                known.since = None;
            } else if has_news || known.since.is_none() {
                known.since = Some(now);
            } else if let Some(since) = known.since.filter(|since| now - since > longest) {
                found.get_or_insert((actor.index, since));
            }
        }
        if let Some((client, since)) = found {
            let text = format!(
                "client {client} has something to say and has had no answer since {}, longer than the {} ms allowed",
                seconds(since).trim(),
                longest / MILLISECOND
            );
            self.fail(Failure::unavailable(text));
            return;
        }
        self.scheduler.after(LOOK, Event::Watch);
    }
}

#[cfg(test)]
mod tests {
    use crate::run::{RunOptions, plan, run_plan};
    use crate::scenario::Scenario;

    /// A publisher whose node is away for two seconds, with a limit.
    fn failure(limit: &str) -> Option<&'static str> {
        let text = format!(
            "name = \"x\"\nabout = \"X.\"\n[phases]\nchaos = \"4s\"\n[[queue]]\nname = \"orders\"\n[[client]]\nkind = \"publisher\"\n\
             queue = \"orders\"\n[[fault]]\nkind = \"kill\"\nat = \"1s\"\nfor = \"2s\"\n[expect]\nlongest_unavailability = \"{limit}\"\n"
        );
        let report = run_plan(plan(&Scenario::parse(&text).unwrap(), 1), RunOptions::default());
        report.failure.map(|failure| failure.oracle)
    }

    #[test]
    fn a_node_that_is_away_for_too_long_is_noticed() {
        assert_eq!(failure("1s"), Some("available"));
        assert_eq!(failure("3s"), None);
    }
}

//! How long publishers with confirms are without an answer, and consumers without the messages that wait for them, where a scenario
//! limits that.

use std::collections::BTreeMap;

use crate::clock::{MILLISECOND, Micros};
use crate::nodes::At;
use crate::quiesce::Phase;
use crate::report::{Failure, seconds};
use crate::world::{Event, World};

/// What is known of all who wait.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    /// Publishers.
    clients: Vec<Unanswered>,
    /// Consumers, by their queue.
    queues: BTreeMap<String, Starving>,
}

/// What is known of one that is to get something.
#[derive(Clone, Copy, Debug, Default)]
struct Unanswered {
    /// What it had got at the last look.
    answers: u64,
    /// Since when it has waited and got nothing.
    since: Option<Micros>,
}

/// What is known of a queue's consumers.
#[derive(Clone, Copy, Debug, Default)]
struct Starving {
    waits: Unanswered,
    /// The node that it is on.
    node: At,
    /// The queue held messages when it was last seen; while the node is away it is not.
    has_messages: bool,
}

/// What a consumer says of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hunger<'a> {
    /// Its queue.
    pub(crate) queue: &'a str,
    /// Deliveries that it has had.
    pub(crate) received: u64,
    /// It has nothing in hand.
    pub(crate) is_idle: bool,
}

impl Unanswered {
    /// Looks at it; since when it has waited for longer than `longest`.
    fn look(&mut self, now: Micros, answers: u64, wants: bool, longest: Micros) -> Option<Micros> {
        let has_news = answers != std::mem::replace(&mut self.answers, answers);
        if !wants {
            self.since = None;
        } else if has_news || self.since.is_none() {
            self.since = Some(now);
        }
        self.since.filter(|since| now - since > longest)
    }
}

/// How often it is looked at, and with that how exact the limit is.
const LOOK: Micros = 5 * MILLISECOND;

impl World {
    /// Looks at all who wait. Those whose connection is refused, or who are told to wait, do so as well.
    pub(crate) fn watch(&mut self) {
        let Some(longest) = self.plan.longest_unavailability_us else { return };
        if !matches!(self.phase, Phase::Chaos | Phase::Finishing) {
            return;
        }
        let mut waiting = std::mem::take(&mut self.waiting);
        let found = self.unanswered(&mut waiting, longest).or_else(|| self.starving(&mut waiting, longest));
        self.waiting = waiting;
        if let Some((who, since)) = found {
            let (since, longest) = (seconds(since), longest / MILLISECOND);
            let text = format!("{who} since {}, longer than the {longest} ms allowed", since.trim());
            self.fail(Failure::unavailable(text));
            return;
        }
        self.scheduler.after(LOOK, Event::Watch);
    }

    /// A publisher that has waited for too long.
    fn unanswered(&self, waiting: &mut Waiting, longest: Micros) -> Option<(String, Micros)> {
        let now = self.scheduler.time();
        waiting.clients.resize(self.actors.len(), Unanswered::default());
        let mut found = None;
        for (actor, known) in self.actors.iter().zip(&mut waiting.clients) {
            let Some((answers, wants)) = actor.answers(now) else { continue };
            if let Some(since) = known.look(now, answers, wants, longest) {
                found.get_or_insert((actor.index, since));
            }
        }
        found.map(|(client, since)| (format!("client {client} has something to say and has had no answer"), since))
    }

    /// A queue that holds messages while none of its consumers, who have nothing in hand, has got one for too long.
    fn starving(&self, waiting: &mut Waiting, longest: Micros) -> Option<(String, Micros)> {
        let now = self.scheduler.time();
        for node in self.nodes.iter().filter(|node| node.is_ready()) {
            let Some(engine) = &node.engine else { continue };
            // What is on nodes that are away keeps what was last seen of it.
            let is_seen = |known: &&mut Starving| known.node == node.at;
            waiting.queues.values_mut().filter(is_seen).for_each(|known| known.has_messages = false);
            for queue in engine.queues() {
                let known = waiting.queues.entry(queue.name).or_default();
                (known.node, known.has_messages) = (node.at, queue.ready > 0);
            }
        }
        let mut consumers: BTreeMap<&str, (u64, bool)> = BTreeMap::new();
        for hunger in self.actors.iter().filter_map(|actor| actor.hunger(now)) {
            let (received, are_idle) = consumers.entry(hunger.queue).or_insert((0, true));
            *received += hunger.received;
            *are_idle &= hunger.is_idle;
        }
        let mut found = None;
        for (queue, (received, are_idle)) in consumers {
            let Some(known) = waiting.queues.get_mut(queue) else { continue };
            if let Some(since) = known.waits.look(now, received, are_idle && known.has_messages, longest) {
                found.get_or_insert((queue, since));
            }
        }
        found.map(|(queue, since)| (format!("{queue} holds messages and none has come to its idle consumers"), since))
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

    /// Consumers of a queue that holds messages while the node is away, with a limit.
    #[test]
    fn a_queue_whose_consumers_get_nothing_is_noticed() {
        let failure = |messages: u32, limit: &str| {
            let text = format!(
                "name = \"x\"\nabout = \"X.\"\n[phases]\nchaos = \"4s\"\n[[queue]]\nname = \"orders\"\n[[client]]\nkind = \"publisher\"\n\
                 queue = \"orders\"\nmessages = {messages}\nrate = \"100/s\"\n[[client]]\nkind = \"consumer\"\nqueue = \"orders\"\n\
                 prefetch = 1\nthink = \"20ms\"\n[[fault]]\nkind = \"kill\"\nat = \"1s\"\nfor = \"2s\"\n[expect]\nlongest_unavailability = \"{limit}\"\n"
            );
            let report = run_plan(plan(&Scenario::parse(&text).unwrap(), 1), RunOptions::default());
            report.failure.map(|failure| failure.text)
        };
        let text = failure(90, "1s").expect("more than a second without one of them");
        assert!(text.contains("orders holds messages"), "{text}");
        assert_eq!(failure(90, "3s"), None);
        assert_eq!(failure(10, "1s"), None, "all had come before the node went away");
    }
}

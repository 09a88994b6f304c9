//! Faults that wait for something to happen instead of a time: matched against what the engine reports, what crosses its boundary
//! and what the disk does. A run without such faults pays one comparison.

use std::collections::BTreeMap;

use leveret_engine::event::Event as EngineEvent;

use crate::clock::Micros;
use crate::history::Fact;
use crate::plan::{Moment, Plan, Trigger};
use crate::scheduler::Scheduler;
use crate::story::StoryFact;
use crate::world::{Event, World};

/// All that wait.
#[derive(Debug, Default)]
pub(crate) struct Triggers {
    armed: Vec<Armed>,
    /// The queues' names by the engine's numbers.
    names: BTreeMap<u64, String>,
}

/// One that waits.
#[derive(Debug)]
struct Armed {
    fault: u32,
    trigger: Trigger,
    seen: u32,
}

impl Triggers {
    /// Those of a plan.
    pub(crate) fn new(plan: &Plan) -> Self {
        let armed = (0..).zip(&plan.faults).filter_map(|(fault, it)| {
            let trigger = it.on.clone()?;
            Some(Armed { fault, trigger, seen: 0 })
        });
        Self { armed: armed.collect(), names: BTreeMap::new() }
    }

    /// Whether any still waits.
    pub(crate) fn is_armed(&self) -> bool {
        !self.armed.is_empty()
    }

    /// These queues have these numbers.
    pub(crate) fn know<'a>(&mut self, queues: impl IntoIterator<Item = (u64, &'a str)>) {
        for (id, name) in queues {
            self.names.insert(id, name.to_owned());
        }
    }

    /// Something happens, to a queue or not; it is over in so long.
    pub(crate) fn note(
        &mut self,
        scheduler: &mut Scheduler<Event>,
        moment: Moment,
        queue: Option<&str>,
        delay: Micros,
    ) {
        self.armed.retain_mut(|armed| {
            let trigger = &armed.trigger;
            let is_it = trigger.moment == moment
                && (trigger.queues.is_empty()
                    || queue.is_some_and(|queue| trigger.queues.iter().any(|it| it == queue)));
            if !is_it {
                return true;
            }
            armed.seen += 1;
            if armed.seen < trigger.nth {
                return true;
            }
            armed.seen = 0;
            scheduler.after(delay + trigger.after_us, Event::Begin(armed.fault));
            trigger.repeats
        });
    }
}

impl World {
    /// Something happens.
    pub(crate) fn trigger(&mut self, moment: Moment, queue: Option<&str>, delay: Micros) {
        if self.triggers.is_armed() {
            self.triggers.note(&mut self.scheduler, moment, queue, delay);
        }
    }

    /// What the engine reports.
    pub(crate) fn trigger_by_event(&mut self, event: &EngineEvent) {
        let (moment, id) = match event {
            EngineEvent::QueueCreated { queue, name, .. } => return self.triggers.know([(queue.0, &**name)]),
            EngineEvent::Enqueued { queue, publisher: Some(_), .. } => (Moment::Publish, Some(queue.0)),
            EngineEvent::Settled { queue, .. } => (Moment::Settlement, Some(queue.0)),
            EngineEvent::Left { queue, .. } => (Moment::Death, Some(queue.0)),
            EngineEvent::Confirmed { .. } => (Moment::Confirm, None),
            EngineEvent::ConnectionOpened { .. } => (Moment::Connection, None),
            EngineEvent::AlarmRaised { .. } => (Moment::Alarm, None),
            EngineEvent::ConsumerTimedOut { .. } => (Moment::ConsumerTimeout, None),
            _ => return,
        };
        let name = id.and_then(|id| self.triggers.names.get(&id)).cloned();
        self.triggers.note(&mut self.scheduler, moment, name.as_deref(), 0);
    }

    /// What crossed the engine's boundary.
    pub(crate) fn trigger_by_fact(&mut self, fact: &Fact) {
        let (moment, queue) = match *fact {
            Fact::Delivered { queue, .. } => (Moment::Delivery, queue),
            Fact::Story(StoryFact::Given { queue, .. }) => (Moment::Delivery, Some(queue)),
            Fact::Answered { is_ack: false, .. } | Fact::Story(StoryFact::Outcome { is_ack: false, .. }) => {
                (Moment::Refusal, None)
            }
            _ => return,
        };
        let name = queue.map(|queue| match &self.story {
            Some(story) => story.queue_name(queue.0),
            None => self.model.queue_name(queue.0),
        });
        self.triggers.note(&mut self.scheduler, moment, name.as_deref(), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Ending, Fault, FaultKind};
    use crate::run::{RunOptions, plan};
    use crate::scenario::Scenario;

    const ORDERS: &str = "
name = \"x\"
about = \"X.\"
[[queue]]
name = \"orders\"
[[queue]]
name = \"other\"
[[client]]
kind = \"publisher\"
queue = \"orders\"
[[client]]
kind = \"publisher\"
queue = \"other\"
[[client]]
kind = \"consumer\"
queue = \"orders\"
";

    /// When the fault of a plan begins: the facts before it.
    fn facts_before_the_end(trigger: &str) -> Vec<Fact> {
        let text = format!("{ORDERS}[[fault]]\nkind = \"kill\"\non = \"{trigger}\"\n");
        let scenario = Scenario::parse(&text).unwrap();
        let mut world = World::new(plan(&scenario, 5), RunOptions::default());
        world.run();
        assert_eq!(world.failure, None);
        let facts: Vec<Fact> = world.history.last(usize::MAX).into_iter().map(|(_, fact)| fact).collect();
        let end = facts.iter().position(|fact| matches!(fact, Fact::Ended { how: Ending::Kill, .. }));
        facts[..end.unwrap_or(0)].to_vec()
    }

    #[test]
    fn a_fault_comes_with_the_nth_of_what_it_waits_for() {
        let facts = facts_before_the_end("7th delivery of orders");
        assert_eq!(facts.iter().filter(|fact| matches!(fact, Fact::Delivered { .. })).count(), 7);
        let facts = facts_before_the_end("3rd confirm");
        let confirms = facts.iter().filter(|fact| matches!(fact, Fact::Answered { is_ack: true, .. })).count();
        // One answer may be for several.
        assert!((3..40).contains(&confirms), "{confirms}");
        let facts = facts_before_the_end("first connection");
        assert!(facts.iter().all(|fact| !matches!(fact, Fact::Delivered { .. })));
    }

    #[test]
    fn queues_and_numbers_are_told_apart() {
        let on = |moment, queue: &str, nth, repeats| Trigger {
            moment,
            queues: Some(queue.to_owned()).filter(|it| !it.is_empty()).into_iter().collect(),
            nth,
            repeats,
            after_us: 7,
        };
        let text = format!("{ORDERS}[[fault]]\nkind = \"kill\"\nat = \"1s\"\n");
        let mut plan = plan(&Scenario::parse(&text).unwrap(), 0);
        let fault = |trigger| Fault {
            at_us: 0,
            for_us: 1,
            kind: FaultKind::MemoryHigh,
            node: 0,
            of_leader: false,
            of_queue: None,
            on: Some(trigger),
        };
        plan.faults.push(fault(on(Moment::Publish, "orders", 2, false)));
        plan.faults.push(fault(on(Moment::Write, "", 2, true)));
        let mut triggers = Triggers::new(&plan);
        let mut scheduler = Scheduler::new(0);
        let happens = |triggers: &mut Triggers, moment, queue| {
            let mut scheduler_here = Scheduler::new(0);
            triggers.note(&mut scheduler_here, moment, queue, 3);
            scheduler_here.next(1000)
        };
        assert_eq!(happens(&mut triggers, Moment::Publish, Some("orders")), None);
        assert_eq!(happens(&mut triggers, Moment::Publish, Some("other")), None);
        assert_eq!(happens(&mut triggers, Moment::Publish, Some("orders")), Some(Event::Begin(1)));
        assert_eq!(happens(&mut triggers, Moment::Publish, Some("orders")), None);
        for _ in 0..2 {
            assert_eq!(happens(&mut triggers, Moment::Write, None), None);
            assert_eq!(happens(&mut triggers, Moment::Write, None), Some(Event::Begin(2)));
        }
        triggers.note(&mut scheduler, Moment::Write, None, 3);
        triggers.note(&mut scheduler, Moment::Write, None, 3);
        scheduler.next(1000);
        assert_eq!(scheduler.time(), 10);
    }
}

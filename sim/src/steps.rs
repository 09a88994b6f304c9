//! The steps of a run, one line each: for finding the first in which two runs that should be the same are not.

use std::fmt::Write;

use leveret_engine::input::Input;

use crate::clock::Micros;
use crate::nodes::At;
use crate::plan::Plan;
use crate::report::seconds;
use crate::run::{RunOptions, carry_out};
use crate::world::{Event, World};

/// Carries out a plan and writes down each event of the world: its time, what it was, the trace hash after it, and the facts that
/// came of it. Writing them down changes nothing in the run.
pub(crate) fn run_steps(plan: Plan, options: RunOptions) -> Vec<String> {
    let mut world = World::new(plan, options);
    world.steps = Some(Vec::new());
    carry_out(&mut world);
    world.steps.take().unwrap_or_default()
}

impl World {
    /// Writes down an event that has happened; `facts` is how many facts there were before it.
    pub(crate) fn note_step(&mut self, time: Micros, event: Event, facts: u64) {
        let Some(steps) = &mut self.steps else { return };
        let mut line = format!("{} {event:?} -> {:016x}", seconds(time), self.trace.value());
        let fresh = usize::try_from(self.history.total() - facts).unwrap_or(usize::MAX);
        for (at, (_, fact)) in self.history.last(fresh).iter().enumerate() {
            let _ = write!(line, "{} {fact}", if at == 0 { ":" } else { ";" });
        }
        steps.push(line);
    }

    /// Wakes the engine once without its having asked, at the first event from the given one on at which it is up: a run that is
    /// not the one of its seed, for testing that this is noticed.
    pub(crate) fn disturb(&mut self) {
        let is_time = self.options.wrinkle.is_some_and(|event| self.counts.events >= event);
        let at = At::FIRST;
        if is_time && self.nodes[at].engine.is_some() {
            self.options.wrinkle = None;
            self.input(at, Input::Timeout);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{plan, run_plan};
    use crate::scenario::Scenario;

    #[test]
    fn writing_down_the_steps_changes_nothing_and_a_wrinkle_does() {
        let scenario = Scenario::built_in().remove(0);
        let report = run_plan(plan(&scenario, 1), RunOptions::default());
        let steps = run_steps(plan(&scenario, 1), RunOptions::default());
        assert_eq!(steps.len() as u64, report.counts.events);
        assert!(steps.last().unwrap().contains(&format!("{:016x}", report.trace)));
        assert!(steps.iter().any(|step| step.contains(": client 0 connects")), "{:?}", &steps[..20]);

        let disturbed = run_steps(plan(&scenario, 1), RunOptions { wrinkle: Some(100), ..RunOptions::default() });
        let first = steps.iter().zip(&disturbed).position(|(one, other)| one != other);
        assert_eq!(first, Some(99));
    }
}

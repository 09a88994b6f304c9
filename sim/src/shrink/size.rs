//! How much there is in a plan, so that "smaller" means the same to everybody.

use std::fmt;

use serde::Serialize;

use crate::clock::Micros;
use crate::plan::{FaultKind, Plan, Role, TopologyOp};

/// What a reader of a plan has to understand, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Size {
    /// Faults. An ending of the node that repeats during its recovery counts as often as it happens, and the restart at the end of the
    /// run is one, too.
    pub faults: u64,
    /// Operations of clients: a message published, a consumer started, an act of a consumer (a cancel, a close, a crash), a
    /// `basic.get`, a step of one who changes the topology, a breach of the rules, and a request of an operator.
    ///
    /// What the broker or the plan makes of these is not counted again: connecting, declaring what the run begins with, and the
    /// answers to deliveries, which follow from the deliveries.
    pub operations: u64,
    /// Clients.
    pub clients: u64,
    /// Queues that are there from the start.
    pub queues: u64,
    /// Length of the phase with faults.
    pub chaos_us: Micros,
}

impl Size {
    /// The size of a plan.
    pub fn of(plan: &Plan) -> Self {
        let faults = plan.faults.iter().map(|fault| match fault.kind {
            FaultKind::End { again, .. } => 1 + u64::from(again),
            _ => 1,
        });
        Self {
            faults: faults.sum::<u64>() + u64::from(plan.last_restart.is_some()),
            operations: plan.clients.iter().map(|client| operations(&client.role)).sum::<u64>()
                + plan.policies.len() as u64
                + plan.operations.len() as u64,
            clients: plan.clients.len() as u64,
            queues: plan.topology.queues.len() as u64,
            chaos_us: plan.chaos_us,
        }
    }

    /// What has become of it, in a line: `412 -> 3 faults, 1900 -> 4 operations`.
    pub fn until(&self, after: &Self) -> String {
        let millis = |time: Micros| time.div_ceil(1000);
        format!(
            "{} -> {} faults, {} -> {} operations, {} -> {} clients, {} -> {} queues, {} -> {} ms",
            self.faults,
            after.faults,
            self.operations,
            after.operations,
            self.clients,
            after.clients,
            self.queues,
            after.queues,
            millis(self.chaos_us),
            millis(after.chaos_us),
        )
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} faults, {} operations, {} clients", self.faults, self.operations, self.clients)
    }
}

fn operations(role: &Role) -> u64 {
    match role {
        Role::Publisher(plan) => plan.bursts.iter().map(|burst| u64::from(burst.count)).sum(),
        Role::Consumer(plan) => u64::from(plan.consumers) + plan.acts.len() as u64,
        Role::Getter(plan) => u64::from(plan.count),
        Role::Churner(plan) => plan
            .steps
            .iter()
            .map(|step| match &step.op {
                TopologyOp::Publish(burst) => u64::from(burst.count),
                _ => 1,
            })
            .sum(),
        Role::Rogue(plan) => plan.steps.len() as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Ending, Fault};
    use crate::run::plan;
    use crate::scenario::Scenario;

    #[test]
    fn what_a_reader_would_count_is_counted() {
        let scenario = Scenario::built_in().into_iter().find(|scenario| scenario.name == "everything").unwrap();
        let mut plan = plan(&scenario, 1);
        let whole = Size::of(&plan);
        assert_eq!(whole.clients, plan.clients.len() as u64);
        assert!(whole.operations > 100, "{whole}");
        plan.clients.truncate(1);
        let Role::Publisher(publisher) = &mut plan.clients[0].role else { panic!("publishers come first") };
        publisher.bursts.truncate(1);
        publisher.bursts[0].count = 7;
        let kind = FaultKind::End { how: Ending::Kill, busy: false, again: 2 };
        plan.faults = vec![Fault { at_us: 1, for_us: 1, kind, node: 0, of_leader: false, of_queue: None, on: None }];
        plan.last_restart = Some(Ending::Shutdown);
        plan.policies.clear();
        plan.operations.clear();
        let small = Size::of(&plan);
        assert_eq!((small.faults, small.operations, small.clients), (4, 7, 1));
        assert!(whole.until(&small).contains(&format!("{} -> 7 operations", whole.operations)));
    }
}

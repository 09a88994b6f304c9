//! How large a plan is, for telling what shrinking did.

use serde::Serialize;

use crate::plan::{Plan, Role};

/// The size of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PlanSize {
    /// Faults.
    pub faults: u64,
    /// Clients.
    pub clients: u64,
    /// What the clients are to do: messages to publish, polls, steps; a consumer counts as one.
    pub operations: u64,
    /// Queues declared at the start.
    pub queues: u64,
}

impl PlanSize {
    /// The size of this plan.
    pub fn of(plan: &Plan) -> Self {
        let operations = |role: &Role| match role {
            Role::Publisher(publisher) => publisher.bursts.iter().map(|burst| u64::from(burst.count)).sum(),
            Role::Getter(getter) => u64::from(getter.count),
            Role::Churner(churner) => churner.steps.len() as u64,
            Role::Consumer(_) | Role::Rogue(_) => 1,
        };
        Self {
            faults: plan.faults.len() as u64,
            clients: plan.clients.len() as u64,
            operations: plan.clients.iter().map(|client| operations(&client.role)).sum(),
            queues: plan.topology.queues.len() as u64,
        }
    }

    /// From this size to that, in words.
    pub fn to(self, smaller: Self) -> String {
        format!(
            "{} -> {} faults, {} -> {} operations, {} -> {} clients, {} -> {} queues",
            self.faults,
            smaller.faults,
            self.operations,
            smaller.operations,
            self.clients,
            smaller.clients,
            self.queues,
            smaller.queues
        )
    }
}

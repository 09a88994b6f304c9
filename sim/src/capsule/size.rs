//! How large a plan is, for telling what shrinking did.

use serde::Serialize;

use crate::plan::Plan;
use crate::shrink::Size;

/// The size of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PlanSize {
    /// Faults.
    pub faults: u64,
    /// Clients.
    pub clients: u64,
    /// What the clients are to do, as [`Size::operations`] counts it.
    pub operations: u64,
    /// Queues declared at the start.
    pub queues: u64,
}

impl PlanSize {
    /// The size of this plan.
    pub fn of(plan: &Plan) -> Self {
        let Size { faults, operations, clients, queues, .. } = Size::of(plan);
        Self { faults, clients, operations, queues }
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

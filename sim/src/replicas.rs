//! What the world sees of queues with replicas, beside what clients and nodes say to each other.

use crate::nodes::At;
use crate::world::World;

impl World {
    /// Tells the ledger if a node has passed on all that it was told.
    pub(crate) fn end_ledger_step(&mut self, at: At) {
        let (Some(ledger), Some(engine)) = (&mut self.ledger, &self.nodes[at].engine) else { return };
        if ledger.has_untold(at) && !engine.has_outstanding() {
            ledger.has_told(at);
        }
    }

    /// Two nodes are out of each other's reach.
    pub(crate) fn part(&mut self, at: At, name: &str) {
        let other = self.nodes.iter().find(|node| node.name == name).map(|node| node.at);
        if let Some(ledger) = &mut self.ledger {
            ledger.breaks(at);
            other.into_iter().for_each(|other| ledger.breaks(other));
        }
    }
}

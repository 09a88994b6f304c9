//! What clients do. Each is a state machine that reacts to what its connection brings and to time.

mod checker;
mod churner;
mod consumer;
mod getter;
mod publisher;
mod rogue;
pub(crate) mod script;

use leveret_engine::client::ClientEvent;

pub(crate) use self::checker::Checker;
use crate::availability::Hunger;
use crate::client::Scope;
use crate::clock::Micros;
use crate::plan::{Role, Topology};

/// What a client does.
pub(crate) trait Workload: std::fmt::Debug {
    /// The connection is open.
    fn connected(&mut self, scope: &mut Scope<'_>);

    /// Something came.
    fn event(&mut self, scope: &mut Scope<'_>, event: ClientEvent);

    /// The time asked for has come, or there is room again.
    fn wake(&mut self, scope: &mut Scope<'_>);

    /// The connection is gone.
    fn lost(&mut self, now: Micros);

    /// What it still waits for; `None` if it has come to an end.
    fn waiting_for(&self) -> Option<String> {
        None
    }

    /// Whether the run ends only once it has come to an end, even if it has no connection at the moment.
    fn is_awaited(&self) -> bool {
        false
    }

    /// If it is to be answered: how many answers it had so far, and whether it waits for one or could by now have said something that
    /// takes one.
    fn answers(&self, _now: Micros) -> Option<(u64, bool)> {
        None
    }

    /// If it consumes from one queue as long as it lives: what it has had, and whether it could take more.
    fn hunger(&self) -> Option<Hunger<'_>> {
        None
    }

    /// Whether it wants to be woken when its system takes bytes again.
    fn wants_room(&self) -> bool {
        false
    }

    /// Whether it has a use for a connection.
    fn wants_connection(&self) -> bool {
        true
    }
}

/// The workload of a role.
pub(crate) fn make(role: &Role, topology: &Topology) -> Box<dyn Workload> {
    match role {
        Role::Publisher(plan) => Box::new(publisher::Publisher::new(plan.clone())),
        Role::Consumer(plan) => Box::new(consumer::Consumer::new(plan.clone())),
        Role::Getter(plan) => Box::new(getter::Getter::new(plan.clone(), topology)),
        Role::Churner(plan) => Box::new(churner::Churner::new(plan.clone())),
        Role::Rogue(plan) => Box::new(rogue::Rogue::new(plan.clone(), topology)),
    }
}

//! A process that gets no time: stopped by a debugger, a hypervisor, or a machine with too much to do.
//!
//! What is for the process waits: bytes in the sockets, answers of the disk, timers that have passed. When it goes on, all of that
//! comes at once. What the systems around it do goes on meanwhile: clients send until the window is full, lose patience and leave.

use crate::nodes::At;
use crate::plan::{Ending, FaultKind};
use crate::situation::Situation;
use crate::world::{Event, World};

impl World {
    /// The process stops.
    pub(crate) fn pause(&mut self, at: At) {
        if self.nodes[at].engine.is_some() && self.nodes[at].held.is_none() {
            self.schedule_kept(at);
            self.nodes[at].held = Some(Vec::new());
        }
    }

    /// The process goes on, or is gone: what waited for it comes.
    pub(crate) fn resume(&mut self, at: At) {
        let Some(events) = self.nodes[at].held.take() else { return };
        if events.iter().any(|event| matches!(event, Event::Up(_))) {
            self.situations.saw(Situation::Paused);
        }
        for event in events {
            self.scheduler.after(0, event);
        }
        self.answer_callers(at);
    }

    /// Whether an event waits for a process.
    pub(crate) fn is_held(&mut self, event: Event) -> bool {
        if self.nodes.iter().all(|node| node.held.is_none()) {
            return false;
        }
        let process = match event {
            Event::Up(link) | Event::Written(link) | Event::PeerGone(link) | Event::GiveUp(link) => {
                Some(self.links[link as usize].node)
            }
            Event::Disk(at, ..) | Event::Timer(at, _) | Event::Flush(at, _) => Some(at),
            Event::Policy(_) => Some(At::FIRST),
            Event::Operate(operation) => Some(At::new(self.plan.operations[operation as usize].node)),
            Event::Begin(fault) | Event::Finish(fault) => {
                is_told(&self.plan.faults[fault as usize].kind).then(|| self.whom(fault))
            }
            Event::Dialed(_) | Event::Inflow(..) | Event::Outflow(..) | Event::Forsake(..) => {
                self.peers.process_of(event)
            }
            Event::Down(_)
            | Event::ClientGone(_)
            | Event::Wake(_)
            | Event::Boot(_)
            | Event::EndAgain(..)
            | Event::IdleLook(_)
            | Event::Mirror(_)
            | Event::Poll
            | Event::Watch => None,
        };
        let held = process.and_then(|at| self.nodes[at].held.as_mut());
        let is_held = held.is_some();
        if let Some(held) = held {
            held.push(event);
        }
        is_held
    }
}

/// Whether the process itself takes part in a fault, because it is told of it.
fn is_told(kind: &FaultKind) -> bool {
    matches!(
        kind,
        FaultKind::MemoryHigh
            | FaultKind::DiskLow
            | FaultKind::Reconfigure { .. }
            | FaultKind::End { how: Ending::Shutdown, .. }
    )
}

//! A process that gets no time: stopped by a debugger, a hypervisor, or a machine with too much to do.
//!
//! What is for the process waits: bytes in the sockets, answers of the disk, timers that have passed. When it goes on, all of that
//! comes at once. What the systems around it do goes on meanwhile: clients send until the window is full, lose patience and leave.

use crate::plan::{Ending, FaultKind};
use crate::situation::Situation;
use crate::world::{Event, World};

impl World {
    /// The process stops.
    pub(crate) fn pause(&mut self) {
        if self.node.engine.is_some() && self.node.held.is_none() {
            self.schedule_kept();
            self.node.held = Some(Vec::new());
        }
    }

    /// The process goes on, or is gone: what waited for it comes.
    pub(crate) fn resume(&mut self) {
        let Some(events) = self.node.held.take() else { return };
        if events.iter().any(|event| matches!(event, Event::Up(_))) {
            self.situations.saw(Situation::Paused);
        }
        for event in events {
            self.scheduler.after(0, event);
        }
        self.answer_callers();
    }

    /// Whether an event waits for the process.
    pub(crate) fn is_held(&mut self, event: Event) -> bool {
        if self.node.held.is_none() {
            return false;
        }
        let is_for_process = match event {
            Event::Up(_)
            | Event::Written(_)
            | Event::PeerGone(_)
            | Event::GiveUp(_)
            | Event::Disk(..)
            | Event::Timer(_)
            | Event::Flush(_)
            | Event::Policy(_)
            | Event::Operate(_) => true,
            Event::Begin(fault) | Event::Finish(fault) => is_told(&self.plan.faults[fault as usize].kind),
            Event::Down(_)
            | Event::ClientGone(_)
            | Event::Wake(_)
            | Event::Boot
            | Event::EndAgain(_)
            | Event::IdleLook(_)
            | Event::Poll
            | Event::Watch => false,
        };
        if is_for_process && let Some(held) = &mut self.node.held {
            held.push(event);
        }
        is_for_process
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

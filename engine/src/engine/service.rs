//! Whether the node serves clients: not while it is under maintenance, nor while it is cut off with a minority of its cluster and told to
//! pause then (RabbitMQ docs: Upgrading / Maintenance Mode; Clustering and Network Partitions / pause-minority mode).
//!
//! ```text
//!  serves <--- a majority can be reached --------------- pauses
//!    |  \---- none could, for limits::MINORITY_GRACE ------^
//!    v
//!  under maintenance, until it is revived or started again
//! ```
//!
//! A node that does not serve has closed its clients' connections and lets nobody in. Its part in the cluster goes on, but for the lead:
//! a node under maintenance has others lead where they can.

use alloc::vec::Vec;

use super::{Engine, Phase};
use crate::effect::Effects;
use crate::event::Event;
use crate::ids::AdminId;
use crate::limits;
use crate::management::AdminReply;
use crate::time::{Instant, Now};

/// What stands between the node and its clients.
#[derive(Debug, Default)]
pub(super) struct Service {
    /// Since when no majority can be reached.
    cut_off_since: Option<Instant>,
    /// Whether that has lasted, so that nobody is served.
    is_paused: bool,
    /// Operators who wait until others lead, with when they wait no longer.
    drains: Vec<(AdminId, Instant)>,
}

impl Engine {
    /// Whether clients are let in. Otherwise drivers should not listen for them.
    pub fn is_serving(&self) -> bool {
        self.phase == Phase::Running && !self.service.is_paused && !self.broker.is_drained()
    }

    /// Looks whether a majority of the cluster can be reached, if that decides about clients.
    pub(super) fn watch_majority(&mut self, now: Now, effects: &mut Effects) {
        let is_asked_to = self.broker.config.cluster.as_ref().is_some_and(|cluster| cluster.pause_minority);
        if !is_asked_to || self.phase != Phase::Running {
            return;
        }
        if self.broker.reaches_majority() {
            self.service.cut_off_since = None;
            if core::mem::take(&mut self.service.is_paused) {
                self.broker.events.push(Event::ServesClients);
            }
            return;
        }
        let since = *self.service.cut_off_since.get_or_insert(now.mono);
        if !self.service.is_paused && since + limits::MINORITY_GRACE <= now.mono {
            self.service.is_paused = true;
            let why = "no majority of the cluster's nodes can be reached";
            self.broker.events.push(Event::ServesNoClients { why });
            self.turn_clients_away(now, effects, "broker forced connection closure with reason 'shutdown'");
        }
    }

    /// When [`Engine::watch_majority`] and [`Engine::answer_drains`] are next wanted.
    pub(super) fn service_timeout(&self) -> Option<Instant> {
        let pause = self.service.cut_off_since.filter(|_| !self.service.is_paused);
        let pause = pause.map(|since| since + limits::MINORITY_GRACE);
        self.service.drains.iter().map(|(_, until)| *until).chain(pause).min()
    }

    /// Puts the node under maintenance. The operator is answered once others lead what they can.
    pub(crate) fn drain(&mut self, now: Now, effects: &mut Effects, id: AdminId) {
        if !self.broker.is_drained() {
            self.broker.set_drained(true);
            self.broker.events.push(Event::ServesNoClients { why: "the node is under maintenance" });
            self.turn_clients_away(now, effects, "Node was put into maintenance mode");
        }
        self.service.drains.push((id, now.mono + limits::INQUIRY_TIMEOUT));
        self.answer_drains(now.mono);
    }

    /// Ends the maintenance.
    pub(crate) fn revive(&mut self) {
        if self.broker.is_drained() {
            self.broker.set_drained(false);
            if self.is_serving() {
                self.broker.events.push(Event::ServesClients);
            }
        }
    }

    /// Answers those who wait for others to lead, as far as that is so or takes too long.
    pub(super) fn answer_drains(&mut self, now: Instant) {
        if self.service.drains.is_empty() {
            return;
        }
        let leads = self.broker.is_drained() && self.broker.leads_for_others();
        let (late, waiting) =
            core::mem::take(&mut self.service.drains).into_iter().partition(|(_, until)| !leads || *until <= now);
        self.service.drains = waiting;
        let late: Vec<(AdminId, Instant)> = late;
        for (id, _) in late {
            self.broker.answer(id, Ok(AdminReply::Done));
        }
    }

    fn turn_clients_away(&mut self, now: Now, effects: &mut Effects, why: &str) {
        for id in self.connections.all() {
            self.with_connection(now, effects, id, |connection, ctx| connection.close_for_operator(ctx, why));
        }
    }
}

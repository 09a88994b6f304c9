//! Faults of the network between a node and all its clients, where `network` has those of one connection.
//!
//! TCP repairs what is lost for a while, so a cut delays: what is sent meanwhile arrives when it is over, unless one of the ends has
//! lost patience before. Nothing is ever out of order.

use crate::clock::Micros;
use crate::node::Node;
use crate::nodes::At;
use crate::plan::FaultKind;
use crate::quiesce::Phase;
use crate::situation::Situation;
use crate::world::{Event, World};

/// What is wrong with the network at the moment; counted, since faults overlap.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    /// Nothing reaches the node.
    up: u32,
    /// Nothing reaches the clients.
    down: u32,
    /// Attempts to connect are refused.
    refusing: u32,
    /// Attempts to connect are not answered.
    silent: u32,
    /// Extra time of each spike.
    spikes: Vec<Micros>,
    /// What is on its way.
    held: Vec<Event>,
    /// Clients whose attempt to connect has no answer.
    callers: Vec<u32>,
}

impl Outage {
    /// Whether attempts to connect are refused.
    pub(crate) fn is_refusing(&self) -> bool {
        self.refusing > 0
    }

    /// Whether nothing reaches the node.
    pub(crate) fn is_cut_up(&self) -> bool {
        self.up > 0
    }

    /// By how much everything takes longer.
    pub(crate) fn extra(&self) -> Micros {
        self.spikes.iter().sum()
    }
}

impl World {
    /// A fault of the network begins.
    pub(crate) fn begin_outage(&mut self, at: At, index: u32, kind: &FaultKind) {
        if let FaultKind::NetworkCut { up: true, .. } = kind {
            self.schedule_kept(at);
        }
        let outage = &mut self.nodes[at].outage;
        match *kind {
            FaultKind::NetworkCut { up, down } => {
                outage.up += u32::from(up);
                outage.down += u32::from(down);
            }
            FaultKind::NoAccept { silent: true } => outage.silent += 1,
            FaultKind::NoAccept { silent: false } => outage.refusing += 1,
            FaultKind::LatencySpike { extra_us } => {
                outage.spikes.push(extra_us);
                self.set_latency(at);
            }
            FaultKind::ResetAll => {
                let connected: Vec<u32> = self
                    .actors
                    .iter()
                    .filter(|actor| actor.link.is_some() && actor.node() == at)
                    .map(|actor| actor.index)
                    .collect();
                if connected.len() > 1 {
                    self.situations.saw(Situation::AllReset);
                }
                for client in connected {
                    self.hang_up(client, false);
                }
            }
            FaultKind::IdleKill { .. } => self.look_for_idle(index),
            _ => unreachable!("{kind:?} is no fault of the network as a whole"),
        }
    }

    /// It ends.
    pub(crate) fn finish_outage(&mut self, at: At, kind: &FaultKind) {
        let outage = &mut self.nodes[at].outage;
        match *kind {
            FaultKind::NetworkCut { up, down } => {
                outage.up -= u32::from(up);
                outage.down -= u32::from(down);
                self.release_held(at);
            }
            FaultKind::NoAccept { silent: true } => {
                outage.silent -= 1;
                self.answer_callers(at);
            }
            FaultKind::NoAccept { silent: false } => outage.refusing -= 1,
            FaultKind::LatencySpike { extra_us } => {
                if let Some(at) = outage.spikes.iter().position(|spike| *spike == extra_us) {
                    outage.spikes.swap_remove(at);
                }
                self.set_latency(at);
            }
            _ => {}
        }
    }

    /// The network is as it should be.
    pub(crate) fn mend_network(&mut self, at: At) {
        let Outage { held, callers, .. } = std::mem::take(&mut self.nodes[at].outage);
        (self.nodes[at].outage.held, self.nodes[at].outage.callers) = (held, callers);
        self.set_latency(at);
        self.release_held(at);
    }

    /// Whether an event waits for the network.
    pub(crate) fn is_on_its_way(&mut self, event: Event) -> bool {
        let (link, is_up) = match event {
            // Whether the client took something is told by the client's system.
            Event::Up(link) | Event::PeerGone(link) | Event::Written(link) => (link, true),
            Event::Down(link) | Event::ClientGone(link) => (link, false),
            _ => return false,
        };
        let outage = &mut self.nodes[self.links[link as usize].node].outage;
        let is_cut = if is_up { outage.up > 0 } else { outage.down > 0 };
        if is_cut {
            outage.held.push(event);
        }
        is_cut
    }

    /// Whether an attempt to connect gets no answer at all. It gets one later.
    pub(crate) fn is_unanswered(&mut self, at: At, client: u32) -> bool {
        let Node { outage, held, .. } = &mut self.nodes[at];
        let is_unanswered = outage.up + outage.down + outage.silent > 0 || held.is_some();
        if is_unanswered && !outage.callers.contains(&client) {
            outage.callers.push(client);
        }
        is_unanswered
    }

    /// Those who wait for an answer try again.
    pub(crate) fn answer_callers(&mut self, at: At) {
        for client in std::mem::take(&mut self.nodes[at].outage.callers) {
            self.schedule_wake(client);
        }
    }

    /// Ends what has been silent for too long, and looks again later.
    pub(crate) fn look_for_idle(&mut self, index: u32) {
        let at = self.whom(index);
        let fault = &self.plan.faults[index as usize];
        let now = self.scheduler.time();
        let FaultKind::IdleKill { after_us } = fault.kind else { return };
        if self.phase != Phase::Chaos || now > fault.at_us + fault.for_us {
            return;
        }
        for (number, link) in (0..).zip(&mut self.links) {
            let is_open = link.is_open_at_node && link.is_open_at_client && !link.is_cut;
            if link.node == at && is_open && now - link.active_at >= after_us {
                // Told to the client's side when the node's is gone.
                link.active_at = now;
                self.situations.saw(Situation::IdleKilled);
                self.scheduler.after(1, Event::PeerGone(number));
            }
        }
        self.scheduler.after((after_us / 4).max(1), Event::IdleLook(index));
    }

    fn release_held(&mut self, at: At) {
        let held = std::mem::take(&mut self.nodes[at].outage.held);
        if held.iter().any(|event| matches!(event, Event::Up(_) | Event::Down(_))) {
            self.situations.saw(Situation::CutHealed);
        }
        for event in held {
            self.scheduler.after(1, event);
        }
        self.answer_callers(at);
    }

    fn set_latency(&mut self, at: At) {
        let extra = self.nodes[at].outage.extra();
        for link in self.links.iter_mut().filter(|link| link.node == at) {
            link.extra = extra;
        }
    }
}

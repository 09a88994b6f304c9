//! Links as they come and go.

use alloc::format;
use alloc::string::{String, ToString};
use bytes::Bytes;
use rand_chacha::rand_core::Rng;

use super::Peers;
use crate::cluster::link::{Event as LinkEvent, Lane, Link, Peer as LinkPeer, Setup, Side, keeps};
use crate::cluster::membership::{Peer, Place, sign_of_life};
use crate::effect::PeerControl;
use crate::event::Event;
use crate::ids::{Boot, LinkId, NodeId};
use crate::limits;
use crate::storage::Log;
use crate::time::Instant;

/// One connection to another node.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) link: Link,
    /// The node that this one has dialed; `None` if the other one has.
    dialed: Option<String>,
    /// Who is at the other end, from the proof on and as long as the link counts.
    peer: Option<LinkPeer>,
    /// Since when that is known.
    since: Instant,
    /// When something came last, and when the last sign of life was given.
    heard: Instant,
    said: Instant,
    /// Whether it counts no more.
    is_down: bool,
    /// Whether the driver was told to close it.
    pub(super) is_closing: bool,
}

impl Wire {
    /// Whether it is the link to this node.
    pub(super) fn leads_to(&self, name: &str) -> bool {
        self.peer.as_ref().is_some_and(|peer| peer.who.name == name)
    }
}

impl Wire {
    /// When a sign of life is due, or one is overdue; only where both sides know each other.
    pub(super) fn next_sign(&self) -> Option<Instant> {
        let at = (self.said + limits::LINK_SIGN_INTERVAL).min(self.heard + limits::LINK_SILENCE);
        (self.peer.is_some() && !self.is_down).then_some(at)
    }
}

impl Peers {
    /// Gives signs of life, and gives up links over which none came. The system at the other end may take what is sent for a node that
    /// hangs.
    pub(super) fn check_signs(&mut self, now: Instant) {
        // Whoever was not there himself reads first what came meanwhile, before he judges others.
        let was_away = now.saturating_since(self.looked_at) > limits::LINK_SIGN_INTERVAL * 2;
        self.looked_at = now;
        let mut silent = alloc::vec::Vec::new();
        for (id, wire) in &mut self.links {
            if wire.next_sign().is_none() {
                continue;
            }
            if was_away {
                wire.heard = now;
            }
            if wire.heard + limits::LINK_SILENCE <= now {
                silent.push(*id);
            } else if wire.said + limits::LINK_SIGN_INTERVAL <= now {
                wire.said = now;
                // If it cannot be sent, something else is on its way.
                let _ = wire.link.send(Lane::Control, sign_of_life());
            }
        }
        for id in silent {
            self.refuse(now, id, "nothing was heard of the other side for too long");
        }
    }

    /// There is a connection, which this node has dialed or another one.
    pub(crate) fn opened(&mut self, now: Instant, id: LinkId, dialed: Option<String>) {
        let Some(who) = self.who() else {
            self.controls.push(PeerControl::Close(id));
            return;
        };
        let mut nonce = [0; 32];
        self.rng.fill_bytes(&mut nonce);
        let setup = Setup { who, secret: self.secret.clone(), nonce, versions: self.cluster.versions() };
        let side = if dialed.is_some() { Side::Dialer } else { Side::Acceptor };
        let link = Link::new(side, setup, now);
        self.links.insert(
            id,
            Wire { link, dialed, peer: None, since: now, heard: now, said: now, is_down: false, is_closing: false },
        );
    }

    /// A node could not be reached.
    pub(crate) fn unreachable(&mut self, now: Instant, name: &str) {
        if let Some(dialer) = self.dialers.get_mut(name) {
            dialer.on_lost(now);
        }
    }

    /// Bytes arrived.
    pub(crate) fn received(&mut self, now: Instant, log: &mut Log, id: LinkId, bytes: Bytes) {
        if let Some(wire) = self.links.get_mut(&id) {
            wire.heard = now;
            wire.link.receive(now, bytes);
            self.take_events(now, log, id);
        }
    }

    /// The operating system took bytes.
    pub(crate) fn written(&mut self, id: LinkId, bytes: usize) {
        if let Some(wire) = self.links.get_mut(&id) {
            wire.link.on_written(bytes);
        }
    }

    /// The socket is gone. Nothing follows for this id.
    pub(crate) fn closed(&mut self, now: Instant, log: &mut Log, id: LinkId) {
        if let Some(wire) = self.links.get_mut(&id) {
            wire.link.on_closed();
            self.take_events(now, log, id);
        }
        self.links.remove(&id);
    }

    /// Takes what a link has to tell.
    pub(super) fn take_events(&mut self, now: Instant, log: &mut Log, id: LinkId) {
        while let Some(event) = self.links.get_mut(&id).and_then(|wire| wire.link.next_event()) {
            match event {
                LinkEvent::Established(peer) => self.on_established(now, id, peer),
                LinkEvent::Message(Lane::Queues, bytes) => {
                    // Who has just come in says so on another lane first; what it says to queues before that nobody expects.
                    if let Some(node) = self.cluster.node_at(id) {
                        self.for_queues.push_back((node, bytes));
                    }
                }
                LinkEvent::Message(lane, bytes) => {
                    if let Err(text) = self.cluster.receive(now, log, id, lane, &bytes, &mut self.out) {
                        self.refuse(now, id, &text);
                    }
                }
                LinkEvent::Refused(refusal) => self.on_down(now, id, refusal.to_string()),
                LinkEvent::Failed(error) => self.on_down(now, id, error.to_string()),
            }
        }
    }

    fn on_established(&mut self, now: Instant, id: LinkId, peer: LinkPeer) {
        let (Some(ours), Some(wire)) = (self.who(), self.links.get(&id)) else { return };
        let name = peer.who.name.clone();
        if let Some(dialed) = wire.dialed.as_ref().filter(|dialed| **dialed != name) {
            let text =
                format!("the address of {dialed} leads to {name}: mend it in the configuration of {}", ours.name);
            return self.refuse(now, id, &text);
        }
        let older = self.links.iter().find(|(other, wire)| **other != id && wire.leads_to(&name));
        if let Some((&older, old)) = older {
            // See `keeps`.
            let is_fresh = now.saturating_since(old.since) < limits::LINK_HANDSHAKE_TIMEOUT;
            let is_same_life = old.peer.as_ref().is_some_and(|old| old.who.boot == peer.who.boot);
            let have_both_dialed = old.link.side() != wire.link.side();
            let is_draw = is_fresh && is_same_life && have_both_dialed;
            if is_draw && !keeps(&ours, &peer.who, wire.link.side() == Side::Dialer) {
                return self.refuse(now, id, "the other link between the two stays");
            }
            self.refuse(now, older, "another link between the two takes its place");
        }
        let place = peer.who.cluster.zip(peer.who.node).map(|(cluster, node)| Place { cluster, node });
        let member = Peer { name: name.clone(), disk: peer.who.disk, place, version: peer.version };
        if let Some(wire) = self.links.get_mut(&id) {
            wire.peer = Some(peer);
            wire.since = now;
        }
        if let Some(dialer) = self.dialers.get_mut(&name) {
            dialer.on_linked(now);
        }
        self.events.push(Event::PeerUp { name });
        self.cluster.link_up(id, member, &mut self.out);
    }

    /// The nodes of the cluster to which there is a link, each with that and the life in which it is.
    pub(crate) fn linked(&self) -> impl Iterator<Item = (NodeId, LinkId, Boot)> {
        let boot = |link: &LinkId| self.links.get(link)?.peer.as_ref().map(|peer| Boot(peer.who.boot));
        self.cluster.linked().filter_map(move |(node, link)| Some((node, link, boot(&link)?)))
    }

    /// What came for queues and sessions, one after the other.
    pub(crate) fn next_for_queues(&mut self) -> Option<(NodeId, Bytes)> {
        self.for_queues.pop_front()
    }

    /// Says something to a node's queues or sessions. If there is no link it is lost, and the same if there is no room: then the link is
    /// ended, so that both sides know of it.
    pub(crate) fn send_to_queues(&mut self, now: Instant, node: NodeId, bytes: Bytes) {
        let Some(link) = self.cluster.link_to(node) else { return };
        let sent = self.links.get_mut(&link).map(|wire| wire.link.send(Lane::Queues, bytes));
        if let Some(Err(unsent)) = sent {
            self.refuse(now, link, &format!("what queues have to say cannot be sent: {unsent}"));
        }
    }

    /// Whether so much waits for a node's queues and sessions that more should not come. Also if there is no link.
    pub(crate) fn is_congested(&self, node: NodeId) -> bool {
        let wire = self.cluster.link_to(node).and_then(|link| self.links.get(&link));
        wire.is_none_or(|wire| wire.link.is_congested(Lane::Queues))
    }

    /// A node says to queues or sessions what they do not understand.
    pub(crate) fn refuse_node(&mut self, now: Instant, node: NodeId, text: &str) {
        if let Some(link) = self.cluster.link_to(node) {
            self.refuse(now, link, text);
        }
    }

    /// Ends a link, and tells the other side why.
    pub(super) fn refuse(&mut self, now: Instant, id: LinkId, text: &str) {
        if let Some(wire) = self.links.get_mut(&id) {
            wire.link.refuse(now, text);
            self.on_down(now, id, String::from(text));
        }
    }

    /// A link counts no more.
    fn on_down(&mut self, now: Instant, id: LinkId, reason: String) {
        let Some(wire) = self.links.get_mut(&id) else { return };
        if core::mem::replace(&mut wire.is_down, true) {
            return;
        }
        let peer = wire.peer.take().map(|peer| peer.who.name);
        if peer.is_some() {
            self.cluster.link_down(id);
        }
        let name = peer.or_else(|| wire.dialed.clone());
        if let Some(name) = name.as_ref().filter(|name| !self.links.values().any(|wire| wire.leads_to(name)))
            && let Some(dialer) = self.dialers.get_mut(name)
        {
            dialer.on_lost(now);
        }
        self.events.push(Event::PeerDown { name, reason });
    }
}

//! What comes and goes over links.

use alloc::format;
use alloc::string::String;
use bytes::Bytes;

use super::cluster::{Cluster, Outputs, Peer, ROOT, Send};
use super::command::{Command, What, Word};
use super::identity::Place;
use super::roster::{Change, Node};
use crate::cluster::link::Lane;
use crate::ids::{LinkId, NodeId};
use crate::storage::Log;
use crate::time::Instant;

impl Cluster {
    /// There is a link to another node, which has proved that it knows the secret.
    pub fn link_up(&mut self, link: LinkId, peer: Peer, out: &mut Outputs) {
        if let Err(text) = self.check_peer(&peer) {
            out.refusals.push((link, text));
            return;
        }
        let place = peer.place;
        self.links.insert(link, peer);
        if let Some(own) = self.own_place() {
            // It may have changed since the hello.
            say(link, &Word::Here(own), out);
        }
        match place {
            Some(place) => self.belongs_to(link, place),
            None => self.tell_admitted(link, out),
        }
    }

    /// A link is gone, whoever ended it.
    pub fn link_down(&mut self, link: LinkId) {
        let Some(peer) = self.links.remove(&link) else { return };
        if let Some(node) = peer.place.map(|place| place.node).filter(|node| self.link_to.get(node) == Some(&link)) {
            self.link_to.remove(&node);
            if let Some(groups) = &mut self.groups {
                groups.node_suspected(node);
            }
            if self.sent_to.0 == Some(node) {
                self.sent = 0;
            }
        }
    }

    /// Whether a node may talk to this one.
    fn check_peer(&self, peer: &Peer) -> Result<(), String> {
        let Peer { name, disk, place, version: _ } = peer;
        if *name == self.config.name {
            return Err(format!("both nodes are called {name}: give each node a name of its own"));
        }
        let (Some(ours), Some(theirs)) = (self.own_place(), place) else { return Ok(()) };
        if ours.cluster != theirs.cluster {
            return Err(format!(
                "{name} belongs to another cluster than {}: reset one of them before they can be joined",
                self.config.name
            ));
        }
        let known = self.roster.get(theirs.node);
        let is_another = known.is_some_and(|known| known.name != *name || known.disk != *disk);
        if theirs.node == ours.node || is_another || self.roster.is_gone(theirs.node) {
            return Err(format!(
                "{name} was removed from the cluster of {}: reset {name} so that it can join again",
                self.config.name
            ));
        }
        Ok(())
    }

    fn own_place(&self) -> Option<Place> {
        self.identity.place.filter(|_| self.groups.is_some())
    }

    fn belongs_to(&mut self, link: LinkId, place: Place) {
        self.link_to.insert(place.node, link);
        if let Some(groups) = &mut self.groups {
            groups.node_alive(place.node);
        }
        if self.sent_to.0 == Some(place.node) {
            self.sent = 0;
        }
    }

    /// Bytes came over a link.
    ///
    /// # Errors
    /// A text for the operators of both nodes if they are none that a node of a known version sends; the link is to be refused with it.
    pub fn receive(
        &mut self,
        now: Instant,
        log: &mut Log,
        link: LinkId,
        lane: Lane,
        bytes: &Bytes,
        out: &mut Outputs,
    ) -> Result<(), String> {
        let Some(peer) = self.links.get(&link) else { return Ok(()) };
        let unreadable = || format!("{} says what {} does not understand", peer.name, self.config.name);
        match lane {
            Lane::Consensus => {
                let ours = self.own_place();
                let from = peer.place.filter(|place| ours.is_some_and(|ours| ours.cluster == place.cluster));
                if let (Some(from), Some(groups)) = (from, &mut self.groups) {
                    groups.receive(now, from.node, bytes).map_err(|_| unreadable())?;
                }
            }
            Lane::Control => {
                let word = Word::decode(bytes).ok_or_else(unreadable)?;
                self.on_word(log, link, word, out).ok_or_else(|| {
                    let name = self.links.get(&link).map_or("it", |peer| &peer.name);
                    format!("{name} says what it has no right to")
                })?;
            }
            // Nothing of the cluster itself goes there.
            Lane::Queues | Lane::Bulk => {}
        }
        Ok(())
    }

    /// `None` if the other one may not say that.
    fn on_word(&mut self, log: &mut Log, link: LinkId, word: Word, out: &mut Outputs) -> Option<()> {
        let peer = self.links.get(&link)?;
        match word {
            Word::Join => {
                let node = Node { name: peer.name.clone(), disk: peer.disk };
                self.on_join(link, node, out);
            }
            Word::Admitted(place) => {
                // Only who belongs to the cluster can say so. A second time it is no news.
                peer.place.filter(|theirs| theirs.cluster == place.cluster)?;
                if self.identity.place.is_none() {
                    self.enter(log, place, false);
                }
            }
            Word::Here(place) => {
                let peer = Peer { place: Some(place), ..peer.clone() };
                if let Err(text) = self.check_peer(&peer) {
                    out.refusals.push((link, text));
                    return Some(());
                }
                self.links.insert(link, peer);
                self.belongs_to(link, place);
            }
            Word::Ask(bytes) => {
                let node = peer.place?.node;
                Command::decode(&bytes).filter(|command| command.node == node)?;
                let leads = self.is_leader();
                let groups = self.groups.as_mut().filter(|_| leads);
                let is_taken = groups.is_some_and(|groups| groups.propose(ROOT, bytes).is_ok());
                if !is_taken {
                    say(link, &Word::NotNow, out);
                }
            }
            // The look that comes anyway sends again what was not carried out.
            Word::NotNow => {}
            // That it came is all.
            Word::Alive => {}
        }
        Some(())
    }

    /// A node wants to come in.
    fn on_join(&mut self, link: LinkId, node: Node, out: &mut Outputs) {
        if self.roster.find(&node.name, node.disk).is_some() {
            self.tell_admitted(link, out);
            return;
        }
        // Who formed the cluster comes first.
        if !self.is_leader() || self.roster.nodes().next().is_none() {
            return;
        }
        if let Some(old) = self.roster.named(&node.name)
            && (self.link_to.contains_key(&old) || self.own() == Some(old))
        {
            let text =
                format!("a node called {} is in the cluster and running: give each node a name of its own", node.name);
            out.refusals.push((link, text));
            return;
        }
        let (needed, spoken) = (self.version(), self.links.get(&link).map_or(0, |peer| peer.version));
        if spoken < needed {
            let text = format!(
                "{} speaks link version {spoken} at most, its cluster {needed}: start a newer program",
                node.name
            );
            out.refusals.push((link, text));
            return;
        }
        let admit = What::Roster(Change::Admit(node));
        if !self.commands.iter().any(|command| command.what == admit) {
            // If too many wait, it will ask again.
            let _ = self.ask(admit);
        }
    }

    /// Tells who is at the other end which node it is, if it has just become one.
    pub(super) fn tell_admitted(&self, link: LinkId, out: &mut Outputs) {
        let (Some(ours), Some(peer)) = (self.own_place(), self.links.get(&link)) else { return };
        if peer.place.is_none()
            && let Some(node) = self.roster.find(&peer.name, peer.disk)
        {
            say(link, &Word::Admitted(Place { cluster: ours.cluster, node }), out);
        }
    }

    /// Tells all which node this one is.
    pub(super) fn tell_place(&mut self, place: Place, out: &mut Outputs) {
        // Until here there may have been links to nodes of several clusters.
        self.link_to.clear();
        for (link, peer) in self.links.clone() {
            if let Err(text) = self.check_peer(&peer) {
                out.refusals.push((link, text));
                continue;
            }
            say(link, &Word::Here(place), out);
            if let Some(theirs) = peer.place {
                self.belongs_to(link, theirs);
            }
        }
    }

    /// Sends the group's frames to those to whom there is a link. The others will be sent what they missed when there is one again.
    pub(super) fn send_frame(&self, to: NodeId, bytes: Bytes, out: &mut Outputs) {
        if let Some(link) = self.link_to.get(&to) {
            out.sends.push(Send { link: *link, lane: Lane::Consensus, bytes });
        }
    }
}

/// A sign of life, for the lane for control.
pub(crate) fn sign_of_life() -> Bytes {
    Word::Alive.encode()
}

pub(super) fn say(link: LinkId, word: &Word, out: &mut Outputs) {
    out.sends.push(Send { link, lane: Lane::Control, bytes: word.encode() });
}

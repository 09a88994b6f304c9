//! The other nodes: what goes to them in one frame, and whether they live.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use raft::eraftpb::Message;

use super::members::Members;
use super::output::PeerMessage;
use super::wire::{Beat, Frame};
use crate::ids::{GroupId, NodeId};
use crate::limits;
use crate::time::Instant;

/// The other nodes of which any group knows.
#[derive(Debug)]
pub(super) struct Peers {
    own: NodeId,
    boot: u64,
    peers: BTreeMap<NodeId, Peer>,
}

#[derive(Debug)]
struct Peer {
    /// Groups that have members on both nodes.
    shared: u32,
    heard_at: Instant,
    sent_at: Instant,
    /// Which boot it said it was last; 0 before it has said anything.
    boot: u64,
    is_suspected: bool,
    frame: Frame,
}

/// What a frame tells beside its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Nothing.
    Nothing,
    /// The node had been silent.
    Back,
    /// The node has restarted: it has forgotten what it led.
    Restarted,
}

impl Peers {
    pub(super) fn new(own: NodeId, boot: u64) -> Self {
        Self { own, boot, peers: BTreeMap::new() }
    }

    fn peer(&mut self, node: NodeId, now: Instant) -> &mut Peer {
        let boot = self.boot;
        self.peers.entry(node).or_insert_with(|| Peer {
            shared: 0,
            heard_at: now,
            sent_at: now,
            boot: 0,
            is_suspected: false,
            frame: Frame { boot, ..Frame::default() },
        })
    }

    /// A group's members are others than before.
    pub(super) fn change_members(&mut self, before: &Members, after: &Members, now: Instant) {
        let own = self.own;
        for node in after.iter().filter(|node| *node != own && !before.contains(*node)) {
            let peer = self.peer(node, now);
            if peer.shared == 0 {
                // It had no reason to say anything until here.
                peer.heard_at = peer.heard_at.max(now);
            }
            peer.shared += 1;
        }
        for node in before.iter().filter(|node| *node != own && !after.contains(*node)) {
            self.peer(node, now).shared -= 1;
        }
    }

    pub(super) fn is_suspected(&self, node: NodeId) -> bool {
        self.peers.get(&node).is_some_and(|peer| peer.is_suspected)
    }

    /// Puts a message into the next frame for a node.
    pub(super) fn post(&mut self, group: GroupId, incarnation: u64, message: Message, now: Instant) {
        self.peer(NodeId(message.to), now).frame.push(group, incarnation, message);
    }

    /// Tells a node that a group hibernates.
    pub(super) fn post_sleep(&mut self, to: NodeId, sleep: Beat, now: Instant) {
        self.peer(to, now).frame.sleeps.push(sleep);
    }

    /// A frame came.
    pub(super) fn heard(&mut self, from: NodeId, boot: u64, now: Instant) -> News {
        let peer = self.peer(from, now);
        peer.heard_at = now;
        let had = core::mem::replace(&mut peer.boot, boot);
        let was_suspected = core::mem::replace(&mut peer.is_suspected, false);
        match (had != 0 && had != boot, was_suspected) {
            (true, _) => News::Restarted,
            (false, true) => News::Back,
            (false, false) => News::Nothing,
        }
    }

    /// Somebody outside says whether a node lives. Returns whether that is another opinion than before.
    pub(super) fn set_suspected(&mut self, node: NodeId, is_suspected: bool, now: Instant) -> bool {
        let peer = self.peer(node, now);
        if !is_suspected {
            peer.heard_at = now;
        }
        core::mem::replace(&mut peer.is_suspected, is_suspected) != is_suspected
    }

    /// Nodes that have been silent for too long, and were not suspected before.
    pub(super) fn take_silent(&mut self, now: Instant) -> Vec<NodeId> {
        let mut silent = Vec::new();
        for (node, peer) in &mut self.peers {
            if peer.shared > 0 && !peer.is_suspected && peer.heard_at + limits::PEER_SUSPECT_AFTER <= now {
                peer.is_suspected = true;
                silent.push(*node);
            }
        }
        silent
    }

    /// Hands out all frames: those with content, and signs of life that are due.
    pub(super) fn flush(&mut self, now: Instant, out: &mut Vec<PeerMessage>) {
        for (node, peer) in &mut self.peers {
            let is_ping_due = peer.shared > 0 && peer.sent_at + limits::PEER_PING_INTERVAL <= now;
            if !peer.frame.is_empty() || is_ping_due {
                peer.sent_at = now;
                out.push(PeerMessage { to: *node, bytes: peer.frame.take_bytes() });
            }
        }
    }

    /// When something is due: a sign of life, ours or theirs.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let shared = self.peers.values().filter(|peer| peer.shared > 0);
        shared
            .flat_map(|peer| {
                let silent_at = (!peer.is_suspected).then(|| peer.heard_at + limits::PEER_SUSPECT_AFTER);
                [Some(peer.sent_at + limits::PEER_PING_INTERVAL), silent_at]
            })
            .flatten()
            .min()
    }
}

//! Hibernation: a group without work does not tick, sends nothing and writes nothing.
//!
//! Its leader says so once, when all who live have everything. Who does not hear that misses the heartbeats, asks for votes, and so
//! wakes the leader, which tries again later. Nobody votes against a leader that sleeps before its node is suspected: what a member
//! has waited is kept while it sleeps.

use raft::eraftpb::MessageType;
use raft::{ProgressState, SnapshotStatus, StateRole};

use super::group::{Group, Shared, beat_message};
use super::peers::Peers;
use super::wire::Beat;
use crate::ids::NodeId;

impl Group {
    /// Begins to tick. A leader has all the time of an election to find its majority; a member goes on waiting where it stopped.
    pub(super) fn wake(&mut self) {
        self.idle_ticks = 0;
        if !self.is_awake && self.is_leader() {
            self.raw.raft.election_elapsed = 0;
        }
        self.is_awake = true;
    }

    /// Begins to tick because the leader is gone: nothing is left of what protects it from elections.
    pub(super) fn wake_without_leader(&mut self) {
        self.wake();
        let timeout = self.raw.raft.election_timeout();
        let raft = &mut self.raw.raft;
        raft.election_elapsed = raft.election_elapsed.max(timeout);
    }

    /// Lets one tick pass. Returns whether the group hibernates from here on.
    pub(super) fn tick(&mut self, shared: &mut Shared<'_>) -> bool {
        if self.is_leader() {
            self.idle_ticks = self.idle_ticks.saturating_add(1);
            if self.idle_ticks >= shared.settings.sleep_ticks && self.may_sleep(shared.peers) {
                self.sleep(shared);
                return true;
            }
            self.watch_snapshots(shared.settings.snapshot_ticks);
        } else if !self.raw.raft.promotable() && self.raw.raft.election_elapsed >= self.raw.raft.election_timeout() {
            // A learner never campaigns. It only waits until it may vote for another leader: it may have become a voter and not know.
            self.rest();
            return true;
        } else if !self.can_campaign()
            && self.raw.raft.election_elapsed + 1 >= self.raw.raft.randomized_election_timeout()
        {
            return false;
        }
        self.raw.tick();
        self.tame();
        false
    }

    /// Gives up on snapshots that nobody has answered.
    fn watch_snapshots(&mut self, patience_ticks: u32) {
        let raw = &mut self.raw;
        self.snapshots_out.retain_mut(|(node, ticks)| {
            *ticks += 1;
            let is_under_way =
                raw.raft.prs().get(node.0).is_some_and(|progress| progress.state == ProgressState::Snapshot);
            if is_under_way && *ticks >= patience_ticks {
                raw.report_snapshot(node.0, SnapshotStatus::Failure);
                return false;
            }
            is_under_way
        });
    }

    /// Whether nothing is to be done and everybody who lives knows it.
    fn may_sleep(&self, peers: &Peers) -> bool {
        let raft = &self.raw.raft;
        let log = &raft.raft_log;
        let last = log.last_index();
        let is_done = log.committed == last && log.persisted == last && self.applied == last;
        let is_quiet = self.unpersisted.is_empty()
            && self.waiting.is_empty()
            && raft.lead_transferee.is_none()
            && raft.pending_read_count() == 0;
        let own = raft.id;
        let is_gone = |node: u64| node != own && peers.is_suspected(NodeId(node));
        let voters = self.members.voters();
        let gone = voters.iter().filter(|voter| is_gone(voter.0)).count();
        is_done
            && is_quiet
            && 2 * gone < voters.len()
            && self
                .members
                .iter()
                .map(|member| member.0)
                .filter(|member| *member != own && !is_gone(*member))
                .all(|member| raft.prs().get(member).is_some_and(|progress| progress.matched == last))
    }

    fn sleep(&mut self, shared: &mut Shared<'_>) {
        let raft = &mut self.raw.raft;
        let beat =
            Beat { group: self.id, incarnation: self.incarnation, term: raft.term, commit: raft.raft_log.committed };
        let own = raft.id;
        for member in self.members.iter().filter(|member| member.0 != own) {
            shared.peers.post_sleep(member, beat, shared.now);
        }
        self.rest();
    }

    /// Stops ticking and gives back memory.
    fn rest(&mut self) {
        self.is_awake = false;
        let handed = self.handed;
        self.raw.raft.maybe_free_inflight_buffers();
        self.raw.mut_store().rest(handed);
        self.unpersisted.shrink_to_fit();
        self.waiting.shrink_to_fit();
        self.raw.raft.msgs.shrink_to_fit();
        self.raw.raft.raft_log.unstable.entries.shrink_to_fit();
    }

    /// The leader says that it hibernates. Returns whether this member does as well.
    pub(super) fn on_sleep(&mut self, from: NodeId, beat: Beat) -> bool {
        let raft = &self.raw.raft;
        let agrees = raft.state == StateRole::Follower
            && raft.term == beat.term
            && raft.leader_id == from.0
            && raft.raft_log.last_index() == beat.commit
            && self.can_campaign();
        self.step(beat_message(MessageType::MsgHeartbeat, from, NodeId(raft.id), beat));
        if agrees {
            self.rest();
        } else {
            self.wake();
        }
        agrees
    }
}

//! What a node looks after every now and then: that it is in, that its commands arrive, and, where it leads, that the members of the
//! group are the nodes of the roster.

use alloc::collections::BTreeSet;
use alloc::string::String;

use super::cluster::{Cluster, NotTaken, Outputs, Phase, ROOT};
use super::command::{What, Word};
use super::identity::Place;
use super::links::say;
use super::roster::{Change, Node};
use crate::cluster::consensus::{MemberChange, Members, Origin};
use crate::ids::NodeId;
use crate::limits;
use crate::mutants::{Mutant, is_planted};
use crate::storage::Log;
use crate::storage::codec::mix;
use crate::time::Instant;

impl Cluster {
    /// The time asked for by [`Cluster::next_timeout`] has come. Being early or late does no harm.
    pub fn handle_timeout(&mut self, now: Instant, log: &mut Log, out: &mut Outputs) {
        if !matches!(self.phase, Phase::Up) {
            return;
        }
        if let Some(groups) = &mut self.groups {
            groups.handle_timeout(now);
        }
        if now >= self.look_at && self.has_to_look() {
            self.look_at = now + limits::CLUSTER_LOOK_INTERVAL;
            self.look(log, out);
        }
    }

    /// Whether anything is not as it should be.
    pub(super) fn has_to_look(&self) -> bool {
        self.identity.place.is_none()
            || !self.commands.is_empty()
            || (self.is_leader() && !self.are_members_right())
            || self.version_to_raise().is_some()
    }

    fn look(&mut self, log: &mut Log, out: &mut Outputs) {
        if self.identity.place.is_none() {
            self.look_for_a_cluster(log, out);
            return;
        }
        let front = self.commands.front().map_or(0, |command| command.number);
        if core::mem::replace(&mut self.seen_at_look, front) == front {
            // Nothing was carried out since: what was sent may be lost.
            self.sent = 0;
        }
        if self.is_leader() {
            self.mend_members();
        }
        if let Some(to) = self.version_to_raise() {
            let raise = What::Roster(Change::Raise { to, next: self.roster.next() });
            if !self.commands.iter().any(|command| command.what == raise) {
                // If too many wait, it is for the next look.
                let _ = self.ask(raise);
            }
        }
    }

    /// A higher version than the cluster's that all of its nodes speak, if this is the leader and sees all of them.
    fn version_to_raise(&self) -> Option<u16> {
        let (known, highest) = (self.version(), self.config.versions.highest);
        if known >= highest || !self.is_leader() || self.roster.nodes().next().is_none() {
            return None;
        }
        let own = self.own();
        let spoken_by = |node: NodeId| self.links.get(self.link_to.get(&node)?).map(|peer| peer.version);
        let of_others = self.roster.nodes().filter(|(node, _)| Some(*node) != own);
        let of_others = of_others.map(|(node, _)| spoken_by(node));
        let is_careless = is_planted(Mutant::ClusterRaisedTooEarly);
        let mut of_those = of_others.filter(|spoken| !is_careless || spoken.is_some());
        let all = of_those.try_fold(highest, |all, of_one| Some(all.min(of_one?)))?;
        (all > known).then_some(all)
    }

    fn look_for_a_cluster(&mut self, log: &mut Log, out: &mut Outputs) {
        let mut has_asked = false;
        for (link, peer) in &self.links {
            if peer.place.is_some() {
                say(*link, &Word::Join, out);
                has_asked = true;
            }
        }
        if !has_asked && self.is_to_form() {
            let cluster = mix(self.identity.disk ^ mix(self.config.seed)).max(1);
            self.enter(log, Place { cluster, node: NodeId(1) }, true);
        }
    }

    /// Whether this is the node that forms the cluster, and it knows enough of the others.
    fn is_to_form(&self) -> bool {
        let names: BTreeSet<&String> = self.config.first_nodes.iter().collect();
        let Some(first) = names.first() else { return true };
        if is_planted(Mutant::ClusterWithoutMajority) {
            return true;
        }
        let reached: BTreeSet<&String> =
            self.links.values().map(|peer| &peer.name).filter(|name| names.contains(*name)).collect();
        **first == self.config.name && (1 + reached.len()) * 2 > names.len()
    }

    /// How this node begins as a member.
    pub(super) fn origin(&self, place: Place) -> Origin {
        let alone = Members::new([place.node].into(), [].into()).expect("one node is enough");
        if self.identity.is_founder { Origin::First(alone) } else { Origin::Joins }
    }

    fn are_members_right(&self) -> bool {
        let Some(status) = self.status() else { return true };
        let voters = status.members.voters().iter().copied();
        status.members.learners().is_empty() && voters.eq(self.roster.nodes().map(|(id, _)| id))
    }

    /// Does the next step that brings the members closer to the roster. The leader alone does that; one change at a time.
    fn mend_members(&mut self) {
        let Some(own) = self.own() else { return };
        let node = Node { name: self.config.name.clone(), disk: self.identity.disk };
        if self.roster.nodes().next().is_none() {
            // The cluster has just been formed.
            let admit = What::Roster(Change::Admit(node));
            if !self.commands.iter().any(|command| command.what == admit) {
                let _ = self.ask(admit);
            }
            return;
        }
        let Some(status) = self.status() else { return };
        let Some(groups) = &mut self.groups else { return };
        let members = status.members;
        let gone = members.iter().find(|member| self.roster.get(*member).is_none());
        let missing = self.roster.nodes().map(|(id, _)| id).find(|id| !members.contains(*id));
        // What cannot be done at the moment will be tried at the next look.
        if gone == Some(own) {
            if let Some(other) = members.voters().iter().find(|voter| **voter != own) {
                let _ = groups.transfer_leadership(ROOT, *other);
            }
        } else if let Some(gone) = gone {
            let _ = groups.change_members(ROOT, MemberChange::Remove(gone));
        } else if let Some(missing) = missing {
            let _ = groups.change_members(ROOT, MemberChange::AddLearner(missing));
        } else {
            for learner in members.learners() {
                let _ = groups.change_members(ROOT, MemberChange::Promote(*learner));
            }
        }
    }

    /// Has another node that may lead in the place of this one, if it does.
    pub(crate) fn hand_over(&mut self, may_lead: impl Fn(NodeId) -> bool) {
        let (Some(own), Some(status)) = (self.own(), self.status()) else { return };
        let mut others = status.members.voters().iter().copied().filter(|voter| *voter != own);
        let heir = others.find(|voter| self.link_to.contains_key(voter) && may_lead(*voter));
        if let (true, Some(heir), Some(groups)) = (self.is_leader(), heir, &mut self.groups) {
            // If it comes to nothing, this one goes on.
            let _ = groups.transfer_leadership(ROOT, heir);
        }
    }

    /// Has a node removed from the cluster. It must not be running, and may not come back before it is reset.
    ///
    /// # Errors
    /// A text for the operator if there is no such node, or it is running.
    pub fn forget(&mut self, name: &str) -> Result<u64, String> {
        let id = self.roster.named(name).ok_or_else(|| alloc::format!("{name} is not in the cluster"))?;
        if self.own() == Some(id) || self.link_to.contains_key(&id) {
            return Err(alloc::format!("{name} is running: stop it first, then it can be removed"));
        }
        let text = |not_taken| match not_taken {
            NotTaken::Outside => "this node belongs to no cluster yet",
            NotTaken::Full => "too many changes of the cluster are waiting: try again later",
        };
        self.ask(What::Roster(Change::Forget(id))).map_err(|not_taken| String::from(text(not_taken)))
    }
}

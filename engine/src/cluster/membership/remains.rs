//! What a damaged log still says of the cluster: enough to tell whether the others can do without this node's memory.

use alloc::vec::Vec;

use super::boot::Reading;
use super::cluster::{Cluster, IDENTITY_OWNER, ROOT_OWNER, STATE_OWNER};
use super::identity::Identity;
use super::replicas::{self, Kind, Start};
use super::state::State;
use crate::cluster::consensus::{Members, Recovered, what_is_left};
use crate::ids::{NodeId, QueueId};

/// What is left.
#[derive(Debug)]
pub(crate) struct Remains {
    /// Which node this is; `None` if it belongs to no cluster, or that is not known.
    pub(crate) own: Option<NodeId>,
    /// Whether it ever belonged to one, as far as anything tells.
    pub(crate) has_belonged: bool,
    /// The nodes with a vote in what all of them decide, before and after what was not decided yet; empty if that is not known.
    pub(crate) voters: Vec<Vec<NodeId>>,
    /// The same of each queue with something in the log.
    pub(crate) replicas: Vec<(QueueId, Vec<Vec<NodeId>>)>,
}

impl Remains {
    pub(super) fn of(reading: &Reading) -> Self {
        let identity = reading.payloads(IDENTITY_OWNER).iter().rev().find_map(Identity::decode);
        let own = identity.and_then(|identity| identity.place).map(|place| place.node);
        let mut of_all = voters(reading, ROOT_OWNER);
        if of_all.is_empty() {
            let state = reading.payloads(STATE_OWNER).iter().rev().find_map(State::decode);
            of_all.extend(state.map(|state| state.roster.nodes().map(|(node, _)| node).collect()));
        }
        let has_group = !reading.payloads(ROOT_OWNER).is_empty();
        let with_something = reading.owners().filter(|owner| !reading.payloads(*owner).is_empty());
        let queues = with_something.filter_map(replicas::of_owner);
        let journals = queues.filter(|(_, kind)| *kind == Kind::Journal).map(|(queue, _)| queue);
        Self {
            own,
            has_belonged: own.is_some() || has_group,
            voters: of_all,
            replicas: journals.map(|queue| (queue, voters(reading, replicas::journal_owner(queue)))).collect(),
        }
    }
}

impl Cluster {
    /// Who votes in the group of all nodes and in those of queues, by what a restart has found; before the node says anything.
    pub(crate) fn voters_found(&self) -> (Vec<Vec<NodeId>>, Vec<Vec<NodeId>>) {
        let of_all = self.found.as_ref().map(|found| voters_of(&found.state)).unwrap_or_default();
        let of_queues = self.to_start.iter().flat_map(|(_, start)| match start {
            Start::Found(group) => voters_of(group),
            Start::Anew(_) => Vec::new(),
        });
        (of_all, of_queues.collect())
    }
}

/// Who votes in a group by its own records.
fn voters(reading: &Reading, owner: u64) -> Vec<Vec<NodeId>> {
    voters_of(&what_is_left(reading.payloads(owner)))
}

/// Who votes in a group: as far as it is decided, and in the end. None if that is not known.
fn voters_of(group: &Recovered) -> Vec<Vec<NodeId>> {
    let (_, decided) = group.decided();
    let voters = [decided, group.last_members()].map(|members: Members| members.voters().to_vec());
    voters.into_iter().filter(|voters| !voters.is_empty()).collect()
}

//! What would be lost with the memory of this node.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;
use rand_chacha::rand_core::Rng;

use super::Broker;
use crate::cluster::membership::Remains;
use crate::cluster::peers::is_of_cluster;
use crate::ids::{NodeId, QueueId};
use crate::metadata::{Metadata, QueueRecord};
use crate::storage::{Damage, Recovered, RecoveredOwner};

/// What no other node has of what is in this one's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnlyHere {
    /// Nothing.
    Nothing,
    /// There are no others, or too few for a majority without this one.
    Everything,
    /// At most so many messages of classic queues and delayed exchanges.
    Messages(u64),
    /// So many replicas whose other members are too few for a majority.
    Replicas(u64),
    /// That cannot be told.
    Unknown,
}

impl Broker {
    /// What would be lost with this node while it runs: it knows that exactly.
    pub(crate) fn only_here(&self) -> OnlyHere {
        let Some(peers) = &self.peers else { return OnlyHere::Everything };
        let cluster = peers.cluster();
        let own = cluster.place().map(|place| place.node);
        let of_all = cluster.status().map(|status| status.members.voters().to_vec());
        if !self.has_others(own, own.is_some(), &Vec::from_iter(of_all)) {
            return OnlyHere::Everything;
        }
        let of_queues = self.queues.iter().map(|(_, queue)| queue).filter(|queue| queue.owner.is_none());
        let messages = of_queues.map(|queue| queue.kept_messages()).sum::<u64>()
            + self.holds.iter().map(|(_, hold)| hold.kept_messages()).sum::<u64>();
        if messages > 0 {
            return OnlyHere::Messages(messages);
        }
        let are_few = |queue: &QueueId| {
            let status = cluster.replica_status(*queue);
            status.is_none_or(|status| !can_spare(status.members.voters(), own))
        };
        match self.replicas.queues().filter(are_few).count() {
            0 => OnlyHere::Nothing,
            count => OnlyHere::Replicas(count as u64),
        }
    }

    /// Whether others have everything that recovery has found, and would have whatever it may have missed. To be asked before the node says
    /// anything to anybody.
    pub(crate) fn can_be_spared(&self) -> bool {
        let Some(peers) = &self.peers else { return false };
        let (of_all, of_queues) = peers.cluster().voters_found();
        let own = peers.cluster().place().map(|place| place.node);
        let spare = |voters: &Vec<NodeId>| can_spare(voters, own);
        own.is_some()
            && !of_all.is_empty()
            && of_all.iter().all(spare)
            && of_queues.iter().all(spare)
            && self.keepers(own).is_empty()
    }

    /// The same of a log that turned out to be damaged when it was read. A record that cannot be read may have been anything, but it has
    /// not been two things: if it was a message, then the metadata is whole, and tells whether there is a queue that it can have been in;
    /// if it was not, then all messages are known.
    pub(crate) fn only_here_of(&mut self, recovered: Recovered) -> OnlyHere {
        let only_here = self.look_through(recovered);
        // It is not what this node was.
        self.metadata = Metadata::new(self.rng.next_u64());
        only_here
    }

    fn look_through(&mut self, recovered: Recovered) -> OnlyHere {
        let Recovered { snapshot, metadata, owners, damage, .. } = recovered;
        let Some(peers) = &self.peers else { return OnlyHere::Everything };
        let Some((corrupt, remains)) = peers.cluster().remains() else { return OnlyHere::Unknown };
        let Remains { own, has_belonged, voters, replicas } = remains;
        if !self.has_others(own, has_belonged, &voters) {
            return OnlyHere::Everything;
        }
        let none = || Damage { text: String::new(), records_lost: 0, is_of_metadata: false };
        let Damage { records_lost, is_of_metadata, .. } = damage.unwrap_or_else(none);
        if records_lost > 1 || (records_lost > 0 && is_of_metadata) {
            return OnlyHere::Unknown;
        }
        let is_metadata_read = self.recover_metadata(snapshot, metadata).is_ok();
        if let Some(own) = own {
            self.metadata.enter_cluster(own);
        }
        let is_metadata_whole = is_metadata_read && !is_of_metadata && records_lost == 0;
        // The one record that is lost is that of a group.
        let are_members_known = is_metadata_whole || (is_metadata_read && !is_of_metadata && corrupt.is_none());
        // Who is no queue any more has nothing; without the metadata nobody can say.
        let keepers = (is_metadata_whole && own.is_some()).then(|| self.keepers(own));
        let may_hold = |owner: &u64| keepers.as_ref().is_none_or(|keepers| keepers.contains(owner));
        let kept = |(owner, found): (&u64, &RecoveredOwner)| {
            let counts = !is_of_cluster(*owner) && may_hold(owner);
            if counts { found.refs.len() as u64 } else { 0 }
        };
        match owners.iter().map(kept).sum::<u64>() {
            0 => {}
            messages => return OnlyHere::Messages(messages),
        }
        if records_lost > 0 && !self.keepers(own).is_empty() {
            return OnlyHere::Unknown;
        }
        let are_few = |(queue, mut voters): (QueueId, Vec<Vec<NodeId>>)| {
            if voters.is_empty() && are_members_known {
                let records = self.metadata.queues();
                let record = records.into_iter().map(|(_, record)| record).find(|record| record.id == queue);
                voters.extend(record.map(|record| record.members.clone()));
            }
            voters.is_empty() || !voters.iter().all(|voters| can_spare(voters, own))
        };
        match replicas.into_iter().filter(|replica| are_few(replica.clone())).count() {
            0 => OnlyHere::Nothing,
            count => OnlyHere::Replicas(count as u64),
        }
    }

    /// Whether there are others who go on without this node. One that has given its data up before has nothing of its own.
    fn has_others(&self, own: Option<NodeId>, has_belonged: bool, voters: &[Vec<NodeId>]) -> bool {
        let Some(config) = &self.config.cluster else { return false };
        if !has_belonged {
            return config.has_given_up;
        }
        if voters.is_empty() {
            // Those who formed the cluster are as good a guess as any that this node is left with.
            let names = config.first_nodes.iter().filter(|name| **name != self.config.node_name).count();
            return names >= 2;
        }
        voters.iter().all(|voters| can_spare(voters, own))
    }

    /// The owners of messages in the log that survive a restart of this node, as far as the metadata says: queues, and the holds of
    /// exchanges. Those of all nodes if it is not known which this is.
    fn keepers(&self, own: Option<NodeId>) -> BTreeSet<u64> {
        let is_here =
            |record: &QueueRecord| !record.is_replicated() && own.is_none_or(|_| self.metadata.is_here(record));
        let is_kept = |record: &QueueRecord| record.durable && record.exclusive.is_none() && is_here(record);
        let queues = self.metadata.queues().into_iter().filter(|(_, record)| is_kept(record));
        let queues = queues.map(|(_, record)| record.id);
        let exchanges = self.metadata.exchanges().into_iter();
        let holds = exchanges.filter_map(|(_, exchange)| exchange.hold.filter(|_| exchange.arguments.is_delayed));
        queues.chain(holds).map(|id| id.0).collect()
    }
}

/// Whether these are a majority without one of them; without anyone of them if it is not known who this node is.
fn can_spare(voters: &[NodeId], own: Option<NodeId>) -> bool {
    let others = match own {
        Some(own) => voters.iter().filter(|voter| **voter != own).count(),
        None => voters.len().saturating_sub(1),
    };
    2 * others > voters.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_majority_is_to_be_left() {
        let check = |voters: &[u64], own: Option<u64>, expected| {
            let voters: Vec<_> = voters.iter().copied().map(NodeId).collect();
            assert_eq!(can_spare(&voters, own.map(NodeId)), expected, "{voters:?} without {own:?}");
        };
        check(&[], Some(1), false);
        check(&[1], Some(1), false);
        check(&[1, 2], Some(1), false);
        check(&[1, 2], Some(3), true);
        check(&[1, 2], None, false);
        check(&[1, 2, 3], Some(1), true);
        check(&[1, 2, 3], None, true);
    }
}

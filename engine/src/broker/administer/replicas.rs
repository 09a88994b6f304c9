//! Replicas of quorum queues as operators see and change them.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::errands::{Answer, Next, To};
use super::operate::reply;
use super::{Broker, Condition};
use crate::cluster::inquiries::{Inquiry, Member, Outcome, Refusal, Report, Wish};
use crate::ids::{AdminId, NodeId, QueueId};
use crate::management::{
    AdminError, AdminReply, LeaderCount, MemberState, MemberStatus, QueueFilter, QueueName, ReplicaChange,
    ReplicaRequest,
};
use crate::metadata::{QueueRecord, VhostKey};
use crate::queue::QueueKind;
use crate::routing::QueueKey;

/// What an operator waits for that other nodes have a part in.
#[derive(Debug)]
pub(super) enum Task {
    /// One queue's members are to be as wished.
    Wish,
    /// Those of several are, one after the other.
    Series(Series),
    /// The members of a queue are asked how they are.
    Status(QueueKey),
    /// Something is done with what is in a queue.
    Operate(QueueName),
    /// A queue is to go, if it may.
    Delete(QueueName, Condition),
    /// All nodes are asked what is in their queues, of one vhost or of all.
    List(Option<VhostKey>),
    /// All nodes are asked which queues they lead, so that all come to lead equally many.
    Rebalance(Box<QueueFilter>),
    /// All nodes are asked for their connections, or to close some; what this one has of them.
    Connections(Box<Result<AdminReply, AdminError>>),
}

/// Changes of several queues, and what they are for.
#[derive(Debug, Default)]
pub(super) struct Series {
    wishes: VecDeque<(QueueKey, Wish)>,
    /// The queue that is being changed, how many members it had, and how many it is to have.
    current: Option<(QueueName, u64, u64)>,
    changes: Vec<ReplicaChange>,
    /// Of how many queues each node is to lead in the end; `None` if what was changed is to be told.
    leads: Option<BTreeMap<NodeId, u64>>,
}

/// As rabbitmq-queues says it.
const LAST: &str = "the last node cannot be removed";
const TIMED_OUT: &str = "the operation timed out and may not have been completed";

impl Broker {
    /// Carries out a request about replicas, or begins to.
    pub(crate) fn administer_replicas(&mut self, id: AdminId, request: &ReplicaRequest) {
        let next = self.begin_replicas(request).unwrap_or_else(|error| Next::Answer(Err(error)));
        self.go_on_with(id, next);
    }

    fn begin_replicas(&self, request: &ReplicaRequest) -> Result<Next, AdminError> {
        let one = |key, record: &QueueRecord, wish| {
            let inquiry = Inquiry::Wish { queue: record.id, wish };
            Next::Ask(Task::Wish, vec![(To::Leader(key), inquiry)])
        };
        Ok(match request {
            ReplicaRequest::Add { queue, node } => {
                let (key, record) = self.expect_quorum(queue, "Cannot add members to a classic queue")?;
                let node = self.expect_running(node)?;
                if !record.is_replicated() {
                    return Err(AdminError::refused(format!("{} is on one node and stays there", queue.quoted())));
                }
                one(key, record, Wish::Add(node))
            }
            ReplicaRequest::Remove { queue, node } => {
                let (key, record) = self.expect_quorum(queue, "Cannot delete members of a classic queue")?;
                let node = self.expect_node(node)?;
                if !record.is_replicated() {
                    return Err(AdminError::refused(LAST));
                }
                one(key, record, Wish::Remove(node))
            }
            ReplicaRequest::Lead { queue, node } => {
                let (key, record) = self.expect_quorum(queue, "Cannot transfer leadership of a non-quorum queue")?;
                let node = self.expect_running(node)?;
                if !record.is_replicated() || self.replicas.leader(record.id) == Some(Some(node)) {
                    return Err(AdminError::refused("The target node is already the leader of this queue"));
                }
                one(key, record, Wish::Lead(node))
            }
            ReplicaRequest::Grow { node, only_even, queues } => {
                let node = self.expect_running(node)?;
                let filter = queues.read().map_err(AdminError::bad_request)?;
                let may_grow = |record: &QueueRecord| {
                    let is_quorum = record.arguments.kind == QueueKind::Quorum;
                    is_quorum
                        && !record.members.contains(&node)
                        && (!only_even || record.members.len().is_multiple_of(2))
                };
                let wishes = self.replicated(&filter, may_grow).map(|(key, _)| (key, Wish::Add(node))).collect();
                self.next_of(Series { wishes, ..Series::default() })
            }
            ReplicaRequest::Shrink { node } => {
                let node = self.expect_node(node)?;
                // How many replicas a classic queue has is its policy's to say.
                let has_one =
                    |record: &QueueRecord| record.arguments.kind == QueueKind::Quorum && record.members.contains(&node);
                let all = QueueFilter::default();
                let wishes = self.replicated(&all, has_one).map(|(key, _)| (key, Wish::Remove(node))).collect();
                self.next_of(Series { wishes, ..Series::default() })
            }
            ReplicaRequest::Rebalance { queues } => {
                let filter = queues.read().map_err(AdminError::bad_request)?;
                let questions = self.running().into_iter().map(|node| (To::Node(node), Inquiry::Queues)).collect();
                Next::Ask(Task::Rebalance(Box::new(filter)), questions)
            }
            ReplicaRequest::Status(queue) => {
                let (key, record) = self.expect_quorum(queue, "Cannot get quorum status of a classic queue")?;
                let ask = |node| (To::Node(node), Inquiry::Member { queue: record.id });
                Next::Ask(Task::Status(key), record.members.iter().copied().map(ask).collect())
            }
            ReplicaRequest::Critical => Next::Answer(Ok(AdminReply::QueueNames(self.critical_queues()))),
        })
    }

    /// All that was asked is answered.
    pub(super) fn conclude(&mut self, id: AdminId, task: Task, answers: Vec<(To, Answer)>) -> Next {
        match task {
            Task::Wish => {
                let became = answers.into_iter().next().map_or(Ok(()), |(_, answer)| became(&answer));
                Next::Answer(became.map(|()| AdminReply::Done).map_err(AdminError::refused))
            }
            Task::Series(mut series) => {
                if let (Some((queue, before, after)), Some((_, answer))) = (series.current.take(), answers.first()) {
                    let result = became(answer);
                    let size = if result.is_ok() { after } else { before };
                    let is_sure = *answer != Answer::Late;
                    series.changes.push(ReplicaChange { queue, size: is_sure.then_some(size), result });
                }
                self.next_of(series)
            }
            Task::Status(key) => Next::Answer(Ok(AdminReply::Members(self.members_of(key, &answers)))),
            Task::Operate(name) => Next::Answer(self.operated(&name, answers.into_iter().next()).map(reply)),
            Task::Delete(name, condition) => match self.operated(&name, answers.into_iter().next()) {
                Ok(Outcome::Holds { ready, consumers }) => {
                    self.delete_queue_with(id, &name, condition, (ready, consumers));
                    Next::Later
                }
                Ok(other) => Next::Answer(Ok(reply(other))),
                Err(error) => Next::Answer(Err(error)),
            },
            Task::List(only) => Next::Answer(Ok(AdminReply::Queues(self.listed(only, &answers)))),
            Task::Rebalance(filter) => self.next_of(self.rebalanced(&filter, &answers)),
            Task::Connections(own) => Next::Answer(self.all_connections(*own, answers)),
        }
    }

    /// Begins with the next of several changes, or ends with what became of them.
    fn next_of(&self, mut series: Series) -> Next {
        while let Some((key, wish)) = series.wishes.pop_front() {
            let Some(record) = self.metadata.queue_by_key(key) else { continue };
            let before = record.members.len() as u64;
            let after = match wish {
                Wish::Add(_) => before + 1,
                Wish::Remove(_) => before - 1,
                Wish::Lead(_) => before,
            };
            series.current = Some((self.name_of_queue(record), before, after));
            let inquiry = Inquiry::Wish { queue: record.id, wish };
            return Next::Ask(Task::Series(series), vec![(To::Leader(key), inquiry)]);
        }
        let Series { changes, leads, .. } = series;
        Next::Answer(Ok(match leads {
            None => AdminReply::ReplicaChanges(changes),
            Some(leads) => {
                let count = |(node, queues)| LeaderCount { node: self.node_name(node), queues };
                let mut leaders: Vec<_> = leads.into_iter().map(count).collect();
                leaders.sort_by(|a, b| a.node.cmp(&b.node));
                AdminReply::Leaders(leaders)
            }
        }))
    }

    /// How the members of a queue are, as each of them says.
    fn members_of(&self, key: QueueKey, answers: &[(To, Answer)]) -> Vec<MemberStatus> {
        let members = self.metadata.queue_by_key(key).map(|record| record.members.clone()).unwrap_or_default();
        if members.is_empty() {
            // It is on this node alone, and there is no log of its own.
            let state = MemberState { leads: true, has_vote: true, ..MemberState::default() };
            return vec![MemberStatus { node: self.config.node_name.clone(), state: Some(state) }];
        }
        let state = |node| {
            let said = answers.iter().find(|(to, _)| *to == To::Node(node));
            match said {
                Some((_, Answer::Said(_, Report::Member(member)))) => Some(member_state(node, member)),
                _ => None,
            }
        };
        let status = |node: &NodeId| MemberStatus { node: self.node_name(*node), state: state(*node) };
        members.iter().map(status).collect()
    }

    /// Which queues are to be led by others so that no node leads more than it has to.
    fn rebalanced(&self, filter: &QueueFilter, answers: &[(To, Answer)]) -> Series {
        let running = self.running();
        let mut led: BTreeMap<NodeId, Vec<QueueKey>> = running.iter().map(|node| (*node, Vec::new())).collect();
        for (_, answer) in answers {
            let Answer::Said(node, Report::Queues(queues)) = answer else { continue };
            let of_filter = queues.iter().filter_map(|counts| self.metadata.queue_by_id(counts.queue));
            let of_filter = of_filter.filter(|(_, record)| record.is_replicated() && self.is_meant(filter, record));
            led.entry(*node).or_default().extend(of_filter.map(|(key, _)| key));
        }
        let members = |key| self.metadata.queue_by_key(key).map_or(&[][..], |record| &record.members);
        let may_lead = |member: &NodeId| running.contains(member) && !self.is_node_drained(*member);
        let moves = balance(&mut led, |key| members(key).iter().copied().filter(may_lead));
        let wishes = moves.into_iter().map(|(key, node)| (key, Wish::Lead(node))).collect();
        let leads = led.iter().map(|(node, queues)| (*node, queues.len() as u64)).collect();
        Series { wishes, leads: Some(leads), ..Series::default() }
    }

    /// Queues with a replica here that have no majority to spare.
    fn critical_queues(&self) -> Vec<QueueName> {
        let running = self.running();
        let is_critical = |record: &QueueRecord| {
            let up = record.members.iter().filter(|member| running.contains(member)).count();
            self.metadata.has_replica_here(record) && up <= record.members.len() / 2 + 1
        };
        // A node alone is not asked whether it may stop.
        if self.peers.as_ref().is_none_or(|peers| peers.cluster().nodes().nth(1).is_none()) {
            return Vec::new();
        }
        self.replicated(&QueueFilter::default(), is_critical).map(|(_, record)| self.name_of_queue(record)).collect()
    }

    /// How this node's replica of a queue is.
    pub(in super::super) fn on_member_inquiry(&mut self, from: NodeId, number: u64, queue: QueueId) {
        let leader = self.replicas.leader(queue).flatten().unwrap_or_default();
        let peers = self.peers.as_ref().filter(|_| self.replicas.has(queue));
        let status = peers.and_then(|peers| Some((peers.own()?.0, peers.cluster().replica_status(queue)?)));
        let report = match status {
            Some((own, status)) => Report::Member(Member {
                leader,
                has_vote: status.members.voters().contains(&own),
                term: status.term,
                last: status.last_index,
                written: status.persisted_index,
                applied: status.applied_index,
                committed: status.commit_index,
                snapshot: status.snapshot_index,
            }),
            None => Report::NotHere { leader },
        };
        self.report(from, number, report);
    }

    /// All replicated queues that are meant and are such, ordered by vhost and name.
    fn replicated<'a>(
        &'a self,
        filter: &'a QueueFilter,
        is_such: impl Fn(&QueueRecord) -> bool + 'a,
    ) -> impl Iterator<Item = (QueueKey, &'a QueueRecord)> {
        let queues = self.metadata.queues().into_iter();
        queues.filter(move |(_, record)| record.is_replicated() && is_such(record) && self.is_meant(filter, record))
    }

    fn is_meant(&self, filter: &QueueFilter, record: &QueueRecord) -> bool {
        filter.is_match(&self.vhost_name(record.vhost), &record.name)
    }

    fn name_of_queue(&self, record: &QueueRecord) -> QueueName {
        QueueName { vhost: self.vhost_name(record.vhost), name: record.name.clone() }
    }

    fn expect_quorum(&self, name: &QueueName, if_not: &str) -> Result<(QueueKey, &QueueRecord), AdminError> {
        let key = self.expect_queue(name)?;
        let record = self.metadata.queue_by_key(key).filter(|record| record.arguments.kind == QueueKind::Quorum);
        record.map(|record| (key, record)).ok_or_else(|| AdminError::bad_request(if_not))
    }

    fn expect_node(&self, name: &str) -> Result<NodeId, AdminError> {
        let named = self.peers.as_ref().and_then(|peers| peers.cluster().node_named(name));
        let own = (name == self.config.node_name).then_some(self.metadata.own());
        named.or(own).ok_or_else(|| AdminError::not_found(format!("{name} is not in the cluster")))
    }

    fn expect_running(&self, name: &str) -> Result<NodeId, AdminError> {
        let node = self.expect_node(name)?;
        if self.running().contains(&node) {
            return Ok(node);
        }
        Err(AdminError::refused(format!("{name} is not running")))
    }

    /// The nodes that can be reached, this one included.
    pub(crate) fn running(&self) -> Vec<NodeId> {
        let own = self.metadata.own();
        let nodes = self.peers.iter().flat_map(|peers| peers.cluster().nodes().map(|(node, _)| node));
        let is_up = |node: &NodeId| self.peers.as_ref().is_some_and(|peers| peers.cluster().is_linked(*node));
        let mut running: Vec<NodeId> = nodes.filter(|node| *node == own || is_up(node)).collect();
        if running.is_empty() {
            running.push(own);
        }
        running
    }

    /// What a node is called, or its number if it is unknown.
    pub(in super::super) fn node_name(&self, node: NodeId) -> String {
        if node == self.metadata.own() {
            return self.config.node_name.clone();
        }
        let name = self.peers.as_ref().and_then(|peers| peers.cluster().name_of(node));
        name.map_or_else(|| format!("node {node}"), String::from)
    }
}

/// What became of a wish, or why it did not come true.
fn became(answer: &Answer) -> Result<(), String> {
    let why = match answer {
        Answer::Said(_, Report::Done) => return Ok(()),
        Answer::Said(_, Report::Refused(refusal)) => match refusal {
            Refusal::LastMember => LAST,
            Refusal::NoMember => "the node has no replica of this queue that could lead it",
            Refusal::TooMany => "the queue has as many replicas as it may have",
        },
        Answer::Gone => "the queue was deleted",
        Answer::Late | Answer::Unreachable => TIMED_OUT,
        Answer::Said(_, _) => "the node that leads the queue has answered something else",
    };
    Err(String::from(why))
}

fn member_state(node: NodeId, member: &Member) -> MemberState {
    let Member { leader, has_vote, term, last, written, applied, committed, snapshot } = *member;
    MemberState {
        leads: leader == node,
        has_vote,
        last_index: last,
        written_index: written,
        applied_index: applied,
        commit_index: committed,
        snapshot_index: snapshot,
        term,
    }
}

/// Moves queues from nodes that lead many to members that lead few, until that makes it no more even. Which go where.
fn balance<I: Iterator<Item = NodeId>>(
    led: &mut BTreeMap<NodeId, Vec<QueueKey>>,
    members: impl Fn(QueueKey) -> I,
) -> Vec<(QueueKey, NodeId)> {
    let mut moves = Vec::new();
    let mut nodes: Vec<NodeId> = led.keys().copied().collect();
    let count = |led: &BTreeMap<NodeId, Vec<QueueKey>>, node: &NodeId| led.get(node).map_or(0, Vec::len);
    // From those that lead most; a move makes the numbers more even, so this ends.
    while let Some((at, node, to)) = {
        nodes.sort_by_key(|node| (core::cmp::Reverse(count(led, node)), *node));
        nodes.iter().find_map(|node| {
            let many = count(led, node);
            led.get(node)?.iter().enumerate().find_map(|(at, key)| {
                let least = members(*key).min_by_key(|member| (count(led, member), *member))?;
                (count(led, &least) + 1 < many).then_some((at, *node, least))
            })
        })
    } {
        if let Some(key) = led.get_mut(&node).map(|queues| queues.remove(at)) {
            led.entry(to).or_default().push(key);
            moves.push((key, to));
        }
    }
    moves
}

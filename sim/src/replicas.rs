//! What the world sees of queues with replicas, and of those who lead, beside what clients and nodes say to each other: replicas that
//! have applied the same are the same, nothing is applied that a majority could lose, and nobody leads beside another.

use std::collections::BTreeMap;

use leveret_engine::engine::{Engine, ReplicaEntry, ReplicaReach};
use leveret_engine::ids::QueueId;

use crate::history::Fact;
use crate::node::Node;
use crate::nodes::{At, Nodes};
use crate::situation::Situation;
use crate::world::World;

/// What is known of all replicas.
#[derive(Debug, Default)]
pub(crate) struct Replicas {
    /// By queue and entry: what the first replica that came to it was then, and whose that was.
    states: BTreeMap<(QueueId, u64), (u64, At)>,
    /// By queue, or none for the cluster as a whole, and term: who led.
    leaders: BTreeMap<(Option<QueueId>, u64), At>,
    /// By node and queue: the entries of its log, ascending.
    written: BTreeMap<(At, QueueId), Vec<ReplicaEntry>>,
    /// What a disk had for good when it was lost, likewise: what was decided with it is decided.
    lost: BTreeMap<(At, QueueId), Vec<ReplicaEntry>>,
    /// By node and queue: the last entry and its term at the last look.
    looked: BTreeMap<(At, QueueId), (u64, u64)>,
    /// By node and queue: what was applied at the last look.
    applied: BTreeMap<(At, QueueId), u64>,
    /// By node and queue: how many have a vote.
    votes: BTreeMap<(At, QueueId), Votes>,
}

/// How many members of a queue's group have a vote.
#[derive(Clone, Copy, Debug)]
struct Votes {
    now: u64,
    before: u64,
    /// What was applied when that was seen to have changed.
    since: u64,
}

/// Entries that are remembered of each replica: what a disk may still lose is far less.
const WRITTEN_MAX: usize = 1024;

/// Entries behind a change of members that may have been decided by those who had a vote before it: they were on their way.
const VOTES_AGAIN: u64 = 64;

/// Entries that are looked at once more, in case a leader has replaced them.
const WRITTEN_AGAIN: u64 = 32;

impl Replicas {
    /// A node ended; its log is kept up to there.
    pub(crate) fn ended(&mut self, at: At, kept: u64) {
        self.applied.retain(|(node, _), _| *node != at);
        self.votes.retain(|(node, _), _| *node != at);
        self.looked.retain(|(node, _), _| *node != at);
        let its = self.written.iter_mut().filter(|((node, _), _)| *node == at);
        its.for_each(|(_, written)| written.retain(|entry| entry.end.0 <= kept));
    }

    /// A node that has ended loses its disk, which had its log up to there for good.
    pub(crate) fn lost_disk(&mut self, at: At, durable: u64) {
        for (key, written) in self.written.iter_mut().filter(|((node, _), _)| *node == at) {
            written.retain(|entry| entry.end.0 <= durable);
            self.lost.insert(*key, std::mem::take(written));
        }
    }

    /// Takes note of what a replica has written since the last look, which replaces what was in its place and behind.
    fn note(&mut self, at: At, reach: &ReplicaReach, engine: &Engine) {
        let written = self.written.entry((at, reach.queue)).or_default();
        let known = written.last().map_or(0, |entry| entry.index);
        let from = known.min(reach.last).saturating_sub(WRITTEN_AGAIN);
        let first = written.partition_point(|entry| entry.index <= from);
        let before = written.split_off(first);
        let mut entries: Vec<ReplicaEntry> = engine.replica_entries(reach.queue, from).collect();
        for entry in &mut entries {
            // One that was written again further on is where it was until that is durable.
            let same = before.iter().find(|it| (it.index, it.term) == (entry.index, entry.term));
            entry.end = same.map_or(entry.end, |same| same.end.min(entry.end));
        }
        entries.sort_by_key(|entry| entry.index);
        written.append(&mut entries);
        let many = written.len().saturating_sub(WRITTEN_MAX);
        written.drain(..many);
    }

    /// Whether the disk of a node has an entry for good: one of the same term behind it is of the same log.
    fn is_durable(&self, nodes: &Nodes, at: At, reach: &ReplicaReach) -> bool {
        let durable = nodes[at].disk.durable();
        let is_it = |entry: &ReplicaEntry| entry.index >= reach.applied && entry.term >= reach.applied_term;
        let key = (at, reach.queue);
        let has = |entry: &ReplicaEntry| is_it(entry) && entry.end.0 <= durable;
        self.written.get(&key).is_some_and(|written| written.iter().any(has))
            || self.lost.get(&key).is_some_and(|lost| lost.iter().any(is_it))
    }

    /// Of how many a majority has to have what a replica has applied. A change of members counts from its application on (Raft thesis
    /// §4.1 has it from its entry on); a majority of those before it has one in common with each majority of those after it.
    fn voters(&mut self, at: At, reach: &ReplicaReach) -> u64 {
        let new = Votes { now: reach.voters, before: reach.voters, since: 0 };
        let votes = self.votes.entry((at, reach.queue)).or_insert(new);
        if votes.now != reach.voters {
            *votes = Votes { now: reach.voters, before: votes.now, since: reach.applied };
        }
        let is_young = reach.applied <= votes.since + VOTES_AGAIN;
        if is_young { votes.now.min(votes.before) } else { votes.now }
    }

    /// Whether somebody led a queue before a term.
    fn had_leader(&self, queue: QueueId, term: u64) -> bool {
        self.leaders.range((Some(queue), 0)..(Some(queue), term)).next().is_some()
    }

    /// Somebody leads. Who else did in the same term, and whether that is news.
    fn leads(&mut self, queue: Option<QueueId>, term: u64, at: At) -> (Option<At>, bool) {
        let is_news = !self.leaders.contains_key(&(queue, term));
        let known = *self.leaders.entry((queue, term)).or_insert(at);
        ((known != at).then_some(known), is_news)
    }
}

impl World {
    /// Compares the replicas of a node with others, as far as they have come on.
    pub(crate) fn compare_replicas(&mut self, at: At) {
        if self.ledger.is_none() {
            return;
        }
        let Some(engine) = &self.nodes[at].engine else { return };
        for reach in engine.replica_reaches() {
            let queue = reach.queue;
            let last = (reach.last, reach.last_term);
            if self.replicas.looked.insert((at, queue), last) != Some(last) {
                self.replicas.note(at, &reach, engine);
            }
            if reach.leads {
                let (rival, is_news) = self.replicas.leads(Some(queue), reach.term, at);
                if let Some(ledger) =
                    self.ledger.as_mut().filter(|_| is_news && self.replicas.had_leader(queue, reach.term))
                {
                    ledger.led_by_another();
                }
                if is_news || rival.is_some() {
                    self.facts.push(Fact::Led { node: at, term: reach.term, is_of_queue: true, rival });
                }
            }
            let voters = self.replicas.voters(at, &reach);
            // What a replica begins with was never decided by others.
            let Some(before) = self.replicas.applied.insert((at, queue), reach.applied) else { continue };
            if before == reach.applied {
                continue;
            }
            let holders = self.nodes.all().filter(|node| self.replicas.is_durable(&self.nodes, *node, &reach)).count();
            let Some(status) = engine.replica(queue) else { continue };
            let state = (status.state_hash, at);
            let (known, by) = *self.replicas.states.entry((queue, status.applied)).or_insert(state);
            self.facts.push(Fact::Carried {
                queue: self.model.queue_number(&status.name),
                node: at,
                applied: reach.applied,
                holders: holders as u64,
                voters,
                differs_from: (known != status.state_hash).then_some(by),
            });
        }
    }

    /// Tells the ledger if a node has passed on all that it was told.
    pub(crate) fn end_ledger_step(&mut self, at: At) {
        let (Some(ledger), Some(engine)) = (&mut self.ledger, &self.nodes[at].engine) else { return };
        ledger.end_step(at, engine.shared_applied().unwrap_or(0));
        let reach = engine.log_reach();
        ledger.written(at, reach.end.0, reach.durable.0);
        if ledger.asks_for_links(at) {
            let links: Vec<(String, u64)> = engine.cluster_links().collect();
            // One that leads to a life that is over is no link: who holds on to it has not heard of that yet.
            let is_linked = |node: &&Node| {
                let life = node.engine.as_ref().and_then(|engine| engine.cluster_life());
                life.is_some_and(|life| links.iter().any(|(name, its)| *name == node.name && *its == life))
            };
            let others = self.nodes.iter().filter(is_linked).map(|node| node.at);
            ledger.linked(at, &others.collect::<Vec<At>>());
        }
        if ledger.has_untold(at) && !engine.has_outstanding() {
            ledger.has_told(at);
        }
    }

    /// Two nodes are out of each other's reach.
    pub(crate) fn part(&mut self, at: At, name: &str) {
        let other = self.nodes.iter().find(|node| node.name == name).map(|node| node.at);
        if let Some(ledger) = &mut self.ledger {
            ledger.breaks(at);
            if let Some(other) = other {
                ledger.breaks(other);
                ledger.parted(at, other);
            }
        }
    }

    /// A node says who leads the cluster.
    pub(crate) fn leads(&mut self, name: &str, term: u64) {
        let Some(at) = self.nodes.iter().find(|node| node.name == name).map(|node| node.at) else { return };
        let (rival, is_news) = self.replicas.leads(None, term, at);
        if is_news || rival.is_some() {
            self.facts.push(Fact::Led { node: at, term, is_of_queue: false, rival });
        }
        if self.leader.is_none_or(|(_, since)| term > since) {
            if self.leader.is_some_and(|(before, _)| before != at) {
                self.situations.saw(Situation::LeaderChanged);
            }
            self.leader = Some((at, term));
        }
    }
}

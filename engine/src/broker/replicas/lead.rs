//! What the replica that leads a queue does beside applying: it takes what sessions want, tells the group what time it is and which
//! nodes can be reached, and answers.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::time::Duration;

use super::super::Broker;
use super::super::early::Early;
use super::apply::encode_command;
use super::deliver::Outgoing;
use crate::cluster::consensus::EntryId;
use crate::cluster::inquiries::{Outcome, Report};
use crate::cluster::queues::{Answer as Told, Frame, Question};
use crate::config::Config;
use crate::ids::{Boot, NodeId, QueueId};
use crate::limits;
use crate::metadata::QueueRecord;
use crate::queue::quorum::{Actions, Answer, Command, DeathNumber, EntryWriter, Notice, Settings, Sync, deaths};

/// Who waits for an answer to a command.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker {
    pub(super) node: NodeId,
    pub(super) number: u64,
    /// Whether it is asked for an operator, rather than for a channel.
    pub(super) is_operator: bool,
}

impl Broker {
    /// Who leads a queue is another.
    pub(super) fn on_leader(&mut self, queue: QueueId, leader: Option<NodeId>, term: u64) {
        let Some(replica) = self.replicas.by_queue.get_mut(&queue) else { return };
        (replica.leader, replica.term) = (leader, term);
        replica.early = Early::default();
        if replica.leads {
            replica.leads = false;
            (replica.told_members, replica.mend_at) = (None, None);
            replica.outgoing.clear();
            replica.carrying = None;
            replica.dead_out.clear();
            replica.dead_again.clear();
            replica.dead_again_at = None;
            replica.own_proposal = 0;
            if let Some(at) = replica.due.take() {
                self.replicas.due.remove(&(at, queue));
            }
            // Whoever leads next gets it from the sessions.
            self.take_company(queue);
        }
        self.turn_wishes_away(queue);
        self.turn_operators_away(queue);
        if let Some(leader) = leader.filter(|_| !self.metadata.is_turning(queue)) {
            self.on_queue_leader(queue, leader);
        }
    }

    /// This node leads a queue if it is the one that was elected: all that was decided before is applied.
    pub(super) fn begin_to_lead(&mut self, queue: QueueId) {
        let own = self.peers.as_ref().and_then(|peers| peers.own()).map(|(own, _)| own);
        let Some(replica) = self.replicas.by_queue.get_mut(&queue) else { return };
        if replica.leader.is_some() && replica.leader == own {
            replica.leads = true;
            replica.dead_sent = DeathNumber(0);
            let early = core::mem::take(&mut replica.early);
            // What was decided since somebody led last was handed out by nobody, also if that was this node: sessions ask for it.
            let nodes: Vec<NodeId> = replica.machine.nodes().map(|(node, ..)| node).collect();
            for node in nodes {
                self.send_elsewhere(node, queue);
            }
            self.send_dead(queue);
            self.see_to_members(queue);
            for (from, frame) in early.into_frames(queue) {
                match frame {
                    Frame::Sync { sync, .. } => self.on_replica_sync(from, queue, &sync),
                    Frame::Ask { number, question, .. } => self.on_replica_question(from, number, queue, question),
                    Frame::Commands { .. }
                    | Frame::Taken { .. }
                    | Frame::Forget { .. }
                    | Frame::Applied(_)
                    | Frame::Deliver { .. }
                    | Frame::Notice(_)
                    | Frame::Synced(_)
                    | Frame::Answer { .. }
                    | Frame::Elsewhere { .. }
                    | Frame::Health { .. }
                    | Frame::Inquire { .. }
                    | Frame::Report { .. } => {}
                }
            }
        }
    }

    /// Keeps what can only be answered by a leader that knows all that was decided, if this node is about to be that one.
    fn keep_early(&mut self, from: NodeId, queue: QueueId, keep: impl FnOnce(&mut Early)) {
        let own = self.peers.as_ref().and_then(|peers| peers.own()).map(|(own, _)| own);
        match self.replicas.by_queue.get_mut(&queue).filter(|replica| replica.leader == own) {
            Some(replica) => keep(&mut replica.early),
            None => self.send_elsewhere(from, queue),
        }
    }

    /// Whether this node leads a queue.
    fn leads(&self, queue: QueueId) -> bool {
        self.replicas.by_queue.get(&queue).is_some_and(|replica| replica.leads)
    }

    /// Sessions want something of a queue with a replica here.
    pub(in super::super) fn on_replica_commands(&mut self, from: NodeId, queue: QueueId, entry: &[u8]) {
        if self.keep_for_company(queue, entry) {
            return;
        }
        // A leader takes them from its election on: they come behind what was decided before.
        let own = self.peers.as_ref().and_then(|peers| peers.own()).map(|(own, _)| own);
        let is_leader = self.replicas.leader(queue).flatten().is_some_and(|leader| Some(leader) == own);
        // What is refused is sent again.
        if self.propose_to(queue, entry).is_none() && !is_leader {
            self.send_elsewhere(from, queue);
        }
    }

    pub(super) fn propose_to(&mut self, queue: QueueId, entry: &[u8]) -> Option<EntryId> {
        self.introduce(queue)?;
        let command = self.in_company(queue, entry);
        self.peers.as_mut()?.cluster_mut().propose_to(queue, command).ok()
    }

    /// Tells a new group what its queue is like, before anybody uses it: who leads takes commands from its election on. `None` if that
    /// cannot be said, so that nothing else can be.
    fn introduce(&mut self, queue: QueueId) -> Option<()> {
        let replica = self.replicas.by_queue.get_mut(&queue)?;
        if replica.machine.is_configured() {
            return Some(());
        }
        let cluster = self.peers.as_mut()?.cluster_mut();
        if replica.introduced_in == cluster.replica_status(queue)?.term {
            return Some(());
        }
        let mut settings = wanted_settings(self.metadata.queue_by_key(replica.key)?, &self.config);
        if self.metadata.is_turning(queue) {
            // Until it knows what of its messages somebody has, there are more of them than count.
            (settings.length_max, settings.length_max_bytes) = (None, None);
        }
        let mut writer = EntryWriter::default();
        writer.push(&Command::Update(settings.into()), &[]);
        let command = encode_command(self.now.wall.as_millis(), &writer.take());
        replica.introduced_in = cluster.propose_to(queue, command).ok()?.term;
        Some(())
    }

    /// Says who leads, to somebody who took this node for the leader.
    pub(in super::super) fn send_elsewhere(&mut self, to: NodeId, queue: QueueId) {
        let leader = self.replicas.leader(queue).flatten().unwrap_or_default();
        self.say(to, &Frame::Elsewhere { queue, leader });
    }

    /// A session may have missed something.
    pub(in super::super) fn on_replica_sync(&mut self, from: NodeId, queue: QueueId, sync: &Sync) {
        if !self.leads(queue) {
            return self.keep_early(from, queue, |early| early.keep_sync(sync.clone()));
        }
        let Some(replica) = self.replicas.by_queue.get_mut(&queue) else { return };
        let answer = replica.machine.answer(sync);
        let turned_away: Vec<_> = replica.machine.turned_away(sync).collect();
        let missing: Vec<_> = answer.consumers.iter().flat_map(|it| it.deliveries.iter().copied()).collect();
        // What is on its way to it already comes once more, and is known by its number.
        replica.outgoing.extend(missing.into_iter().map(Outgoing::Deliver));
        self.replicas.active.insert(queue);
        for consumer in turned_away {
            self.say(from, &Frame::Notice(Notice::InUse { consumer }));
        }
        self.say(from, &Frame::Synced(answer));
    }

    /// Somebody asks about a queue with a replica here.
    pub(in super::super) fn on_replica_question(
        &mut self,
        from: NodeId,
        number: u64,
        queue: QueueId,
        question: Question,
    ) {
        if !self.leads(queue) {
            return self.keep_early(from, queue, |early| early.keep_question(from, number, question));
        }
        match question {
            Question::Counts { .. } => {
                let stat = self.replicas.machine(queue).map(|machine| machine.stat()).unwrap_or_default();
                let answer = Told::Counts { ready: stat.ready, consumers: stat.consumers };
                self.say(from, &Frame::Answer { number, answer });
            }
            Question::Purge => {
                let place = self.propose_own(queue, &[Command::Purge]);
                if let (Some(id), Some(replica)) = (place, self.replicas.by_queue.get_mut(&queue)) {
                    replica.asked.insert(id.index, Asker { node: from, number, is_operator: false });
                }
            }
        }
    }

    pub(super) fn answer_gone(&mut self, asker: Asker) {
        if asker.is_operator {
            return self.report(asker.node, asker.number, Report::NotHere { leader: NodeId(0) });
        }
        self.say(asker.node, &Frame::Answer { number: asker.number, answer: Told::Gone });
    }

    pub(super) fn propose_own(&mut self, queue: QueueId, commands: &[Command]) -> Option<EntryId> {
        let mut writer = EntryWriter::default();
        commands.iter().for_each(|command| writer.push(command, &[]));
        self.propose_to(queue, &writer.take())
    }

    /// Does what the machine says, as its leader.
    pub(super) fn carry_out_actions(&mut self, queue: QueueId, id: EntryId, actions: &mut Actions) {
        for turned_away in actions.notices.extract_if(.., |notice| matches!(notice, Notice::InUse { .. })) {
            if let Some(session) = turned_away.session() {
                self.say(session.node, &Frame::Notice(turned_away));
            }
        }
        for applied in actions.applied.drain(..) {
            self.say(applied.session.node, &Frame::Applied(applied));
        }
        let mut has_dead = false;
        for notice in actions.notices.drain(..) {
            has_dead |= notice == Notice::DeadLettersWait;
            if let Some(session) = notice.session() {
                self.say(session.node, &Frame::Notice(notice));
            }
        }
        let Some(replica) = self.replicas.by_queue.get_mut(&queue) else { return };
        replica.outgoing.extend(actions.deliveries.drain(..).map(Outgoing::Deliver));
        let letters = actions.left.drain(..).filter(|left| left.is_dead_letter);
        replica.outgoing.extend(letters.map(Outgoing::Bury));
        if !replica.outgoing.is_empty() {
            self.replicas.active.insert(queue);
        }
        // Those that arrived make room for others.
        let are_dead_waiting = has_dead || replica.machine.stat().dead > replica.dead_out.len() as u64;
        let asker = replica.asked.remove(&id.index);
        let purged = actions.replies.drain(..).find_map(|reply| match reply.answer {
            Answer::Purged(count) => Some(count),
            Answer::DeletePrepared(_) | Answer::InUse | Answer::NotEmpty => None,
        });
        match asker {
            Some(Asker { node, number, is_operator: true }) => {
                let outcome = purged.map_or(Outcome::Done, Outcome::Count);
                self.report(node, number, Report::Outcome(outcome));
            }
            Some(Asker { node, number, is_operator: false }) => {
                if let Some(count) = purged {
                    self.say(node, &Frame::Answer { number, answer: Told::Purged(count) });
                }
            }
            None => {}
        }
        if are_dead_waiting {
            self.send_dead(queue);
        }
        self.see_to(queue);
    }

    /// Tells the group what has changed of which the entries know nothing: settings, nodes, what time it is, what arrived elsewhere.
    /// One entry at a time; when it is applied, this is called again.
    pub(in super::super) fn see_to(&mut self, queue: QueueId) {
        let Some(peers) = &self.peers else { return };
        let Some((own, boot)) = peers.own() else { return };
        // Until it is the queue, only what that had is for it to know.
        if self.metadata.is_turning(queue) {
            return;
        }
        let Some(replica) = self.replicas.by_queue.get(&queue).filter(|replica| replica.leads) else { return };
        let now_ms = self.now.wall.as_millis();
        let is_new = !replica.machine.is_configured();
        let is_under_way = is_new || replica.own_proposal > replica.applied();
        let mut commands = Vec::new();
        if !is_under_way {
            if let Some(record) = self.metadata.queue_by_key(replica.key) {
                let wanted = wanted_settings(record, &self.config);
                if !replica.machine.has_settings(&wanted) {
                    commands.push(Command::Update(wanted.into()));
                }
            }
            for (node, is_suspected, known) in replica.machine.nodes() {
                if peers.cluster().departed(node).is_some() {
                    // Of no life of it will sessions come back.
                    if known < Boot(u64::MAX) {
                        commands.push(Command::NodeDown { node, boot: Boot(u64::MAX - 1) });
                    }
                    continue;
                }
                let linked = peers.linked().find(|(other, ..)| *other == node).map(|(_, _, boot)| boot);
                let life = if node == own { Some(Boot(boot)) } else { linked };
                match life {
                    Some(boot) if is_suspected || known < boot => commands.push(Command::NodeUp { node, boot }),
                    None if !is_suspected => commands.push(Command::NodeSuspected { node }),
                    Some(_) | None => {}
                }
            }
            if !replica.arrived.is_empty() {
                let arrived: BTreeSet<DeathNumber> = replica.arrived.iter().copied().collect();
                let deaths = deaths(arrived);
                commands.push(Command::DeadLettered { deaths });
            }
            if replica.machine.next_due().is_some_and(|due| due <= now_ms) {
                commands.push(Command::Tick);
            }
        }
        let is_over = replica.machine.is_abandoned() || replica.machine.ends_at().is_some_and(|at| at <= now_ms);
        let is_unused = !replica.is_ending && is_over;
        let key = replica.key;
        if is_new {
            let _ = self.introduce(queue);
        }
        let proposed = if commands.is_empty() { None } else { self.propose_own(queue, &commands) };
        if is_unused {
            self.propose_delete_queue(key);
        }
        let Some(replica) = self.replicas.by_queue.get_mut(&queue) else { return };
        if let Some(id) = proposed {
            replica.own_proposal = id.index;
            replica.arrived.clear();
        }
        replica.is_ending |= is_unused;
        let ends_at = replica.machine.ends_at().filter(|_| !replica.is_ending);
        let due_ms = [replica.machine.next_due(), ends_at].into_iter().flatten().min();
        let mut due = due_ms.map(|at| self.now.mono + Duration::from_millis(at.saturating_sub(now_ms)));
        if is_under_way || !commands.is_empty() {
            // Should it be lost, or refused, it is looked at again; not before.
            due = Some(self.now.mono + limits::REPLICA_RETRY);
        }
        due = [due, replica.mend_at, replica.dead_again_at].into_iter().flatten().min();
        if due != replica.due {
            if let Some(at) = replica.due {
                self.replicas.due.remove(&(at, queue));
            }
            if let Some(at) = due {
                self.replicas.due.insert((at, queue));
            }
            replica.due = due;
        }
    }

    /// Time alone may have changed something in queues that this node leads.
    pub(in super::super) fn on_replica_timeout(&mut self) {
        self.on_company_timeout();
        while let Some((at, queue)) = self.replicas.due.first().copied().filter(|(at, _)| *at <= self.now.mono) {
            self.replicas.due.remove(&(at, queue));
            if let Some(replica) = self.replicas.by_queue.get_mut(&queue) {
                replica.due = None;
                // An entry that did not come back by now may never do.
                replica.own_proposal = 0;
            }
            self.send_dead_again(queue);
            self.see_to_members(queue);
        }
    }

    /// Nodes can be reached or not, or belong to the cluster or not.
    pub(in super::super) fn on_replica_nodes(&mut self) {
        let led = self.replicas.by_queue.iter().filter(|(_, replica)| replica.leads);
        let led: Vec<QueueId> = led.map(|(queue, _)| *queue).collect();
        for queue in led {
            self.see_to_members(queue);
        }
        self.look_at_errands();
    }
}

/// What a queue is to be like.
fn wanted_settings(record: &QueueRecord, config: &Config) -> Settings {
    let timeout = config.consumer_disconnected_timeout.as_millis();
    let timeout_ms = u64::try_from(timeout).unwrap_or(u64::MAX);
    Settings::of(record, timeout_ms)
}

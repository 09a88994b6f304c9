//! One experiment: what is done to the topology, told line by line, and what became of every message.

use std::collections::{BTreeMap, BTreeSet};

use leveret_engine::amqp::method::confirm;
use leveret_engine::amqp::{FieldTable, Properties};
use leveret_engine::client::ClientEvent;
use leveret_engine::event::Event;
use leveret_engine::ids::QueueId;
use leveret_engine::management::{
    AdminReply, DepartureReport, DepartureRequest, LeaveReason, LeftTo, PolicyInfo, PolicyRequest, QueueName,
    QueueRequest, Selection, Way,
};
use leveret_engine::metadata::{JsonMap, PolicyKind};
use serde::Serialize;

use super::lab::{Lab, PartyId, short};
use super::subject::Subject;
use crate::clock::{MILLISECOND, Micros, SECOND};
use crate::plan::Ending;

/// How a message comes into the topology.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    /// The exchange; empty is the default exchange.
    pub(super) exchange: String,
    /// The routing key.
    pub(super) key: String,
    /// For headers exchanges.
    pub(super) headers: Option<FieldTable>,
    /// Delivery mode 2.
    pub(super) persistent: bool,
    /// Whether the publisher waits for confirms.
    pub(super) confirm: bool,
    /// Whether unroutable messages are to be returned.
    pub(super) mandatory: bool,
}

/// How a message comes to a queue: it is published, and then dies in these queues, one after the other.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Path {
    /// Where it begins.
    pub(super) entry: Entry,
    /// Queues in which a consumer rejects it.
    pub(super) deaths: Vec<String>,
    /// Where it goes if it dies in the queue that the path leads to.
    pub(super) targets: BTreeSet<String>,
}

/// A line of a story.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Line {
    /// Microseconds since the first line.
    pub(super) at_us: Micros,
    /// What happens.
    pub(super) text: String,
}

/// A message that was lost, or a copy of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Loss {
    /// Its name.
    pub(super) message: String,
    /// The queue that it was lost from, or the exchange that did not know where to send it.
    pub(super) place: String,
    /// How.
    pub(super) how: How,
    /// When, in microseconds since the first line.
    pub(super) at_us: Micros,
}

/// How a message was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// It left its queue for a recorded reason.
    Left(LeaveReason, LeftTo),
    /// No queue took it.
    Unroutable,
    /// A full queue refused it, and nobody was told.
    Refused,
    /// Its queue was deleted.
    WithQueue,
    /// It was not there any more after the node came back.
    Restart(Ending),
    /// It was with a consumer that had it acked before it was handled.
    InClient,
}

/// What a publisher knows of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It was confirmed.
    Confirmed,
    /// It was refused.
    Refused,
    /// It came back.
    Returned,
    /// Nothing, and it asked for nothing.
    Nothing,
    /// Its channel was closed.
    Closed,
}

/// A published message.
#[derive(Clone, Debug)]
struct Sent {
    id: String,
    heard: Heard,
    exchange: String,
}

/// How many messages had which fate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Tally {
    /// Experiments.
    pub(super) experiments: u64,
    /// Messages published.
    pub(super) published: u64,
    /// Of these: a consumer had them and acked them.
    pub(super) acked: u64,
    /// In a queue at the end.
    pub(super) in_queues: u64,
    /// Returned to the publisher.
    pub(super) returned: u64,
    /// Refused, and the publisher was told.
    pub(super) refused: u64,
    /// Lost, and nobody was told.
    pub(super) lost: u64,
}

impl Tally {
    pub(super) fn add(&mut self, other: Self) {
        self.experiments += other.experiments;
        self.published += other.published;
        self.acked += other.acked;
        self.in_queues += other.in_queues;
        self.returned += other.returned;
        self.refused += other.refused;
        self.lost += other.lost;
    }
}

/// An experiment under way.
#[derive(Debug)]
pub(super) struct Experiment<'a> {
    /// What it is made with.
    pub(super) subject: &'a Subject,
    /// Where it is made.
    pub(super) lab: Lab,
    /// What has happened.
    pub(super) story: Vec<Line>,
    began: Micros,
    /// One that waits for confirms and one that does not.
    publishers: [Option<PartyId>; 2],
    sent: Vec<Sent>,
    acked: BTreeSet<String>,
    losses: Vec<Loss>,
    names: BTreeMap<QueueId, String>,
    /// Queues that were deleted meanwhile.
    gone: Vec<String>,
}

impl<'a> Experiment<'a> {
    /// Begins one.
    pub(super) fn new(subject: &'a Subject) -> Self {
        let mut lab = subject.lab();
        lab.take_events();
        let mut experiment = Self {
            subject,
            began: 0,
            lab,
            story: Vec::new(),
            publishers: [None; 2],
            sent: Vec::new(),
            acked: BTreeSet::new(),
            losses: Vec::new(),
            names: BTreeMap::new(),
            gone: Vec::new(),
        };
        experiment.learn_names();
        // So that the first line of every story stands at zero.
        let _ = experiment.publisher(true);
        let _ = experiment.publisher(false);
        experiment.began = experiment.lab.time();
        experiment
    }

    /// Adds a line to the story.
    pub(super) fn tell(&mut self, text: impl Into<String>) {
        let line = Line { at_us: self.lab.time() - self.began, text: text.into() };
        self.story.push(line);
    }

    /// A client of the vhost.
    ///
    /// # Panics
    /// If it is not let in, though there is no limit and it may do everything.
    pub(super) fn connect(&mut self) -> PartyId {
        self.lab.connect(&self.subject.vhost).expect("clients of the lab are let in")
    }

    // --- what is done

    /// Publishes a message and waits for what the publisher is told.
    pub(super) fn publish(&mut self, entry: &Entry, size: usize) -> (String, Heard) {
        let id = format!("m{}", self.sent.len() + 1);
        let publisher = self.publisher(entry.confirm);
        self.lab.take_said(publisher);
        self.say_publish(publisher, entry, &id, size);
        self.lab.run();
        let mut heard = Heard::Nothing;
        for event in self.lab.take_said(publisher) {
            match event {
                ClientEvent::Returned { .. } => heard = Heard::Returned,
                ClientEvent::Acked { .. } if heard == Heard::Nothing => heard = Heard::Confirmed,
                ClientEvent::Nacked { .. } => heard = Heard::Refused,
                ClientEvent::ChannelClosed { .. } => heard = Heard::Closed,
                _ => {}
            }
        }
        if !self.lab.is_open(publisher) {
            self.publishers[usize::from(entry.confirm)] = None;
        }
        self.sent.push(Sent { id: id.clone(), heard, exchange: entry.exchange.clone() });
        self.harvest();
        if heard == Heard::Confirmed || heard == Heard::Nothing {
            self.heed_unroutable(entry, &id);
        }
        if heard == Heard::Nothing {
            self.heed_refused(&id);
        }
        (id, heard)
    }

    /// Publishes a message and waits for nothing.
    pub(super) fn publish_and_leave(&mut self, entry: &Entry) -> String {
        let id = format!("m{}", self.sent.len() + 1);
        let publisher = self.publisher(entry.confirm);
        self.say_publish(publisher, entry, &id, 8);
        self.sent.push(Sent { id: id.clone(), heard: Heard::Nothing, exchange: entry.exchange.clone() });
        id
    }

    fn say_publish(&mut self, publisher: PartyId, entry: &Entry, id: &str, size: usize) {
        let properties = Properties {
            message_id: Some(short(id)),
            delivery_mode: Some(if entry.persistent { 2 } else { 1 }),
            headers: entry.headers.clone(),
            ..Properties::default()
        };
        let body = vec![b'.'; size];
        self.lab.publish(publisher, (&entry.exchange, &entry.key), entry.mandatory, &properties, &body);
    }

    /// Rejects a message in a queue, as a consumer there may. Whether it was there.
    pub(super) fn reject(&mut self, queue: &str, message: &str) -> bool {
        let consumer = self.connect();
        let mut was_there = false;
        if self.subject.has_single_active_consumer(queue) {
            self.lab.consume(consumer, queue, false, 0);
            for delivery in self.lab.deliveries(consumer) {
                if delivery.message == message && !was_there {
                    self.lab.reject(consumer, delivery.tag, false);
                    was_there = true;
                }
            }
        } else {
            // What stands before it goes back to where it was when the connection ends.
            while let Some(delivery) = self.lab.get(consumer, queue) {
                if delivery.message == message {
                    self.lab.reject(consumer, delivery.tag, false);
                    was_there = true;
                    break;
                }
            }
        }
        self.lab.crash(consumer);
        self.harvest();
        was_there
    }

    /// Notes that a consumer has acked a message.
    pub(super) fn acked(&mut self, message: &str) {
        self.acked.insert(message.to_owned());
    }

    /// Lets time pass.
    pub(super) fn wait(&mut self, for_us: Micros) {
        self.lab.wait(for_us);
        self.harvest();
    }

    /// Ends the node in some way and starts it again at once; what was in its queues and is no longer, is lost.
    pub(super) fn restart(&mut self, how: Ending) {
        let before = self.contents();
        self.end(how);
        self.come_back();
        self.compare(&before, None, How::Restart(how));
    }

    /// Ends the node.
    pub(super) fn end(&mut self, how: Ending) {
        self.lab.end(how);
        self.publishers = [None; 2];
    }

    /// Starts the node again, so soon that next to nothing expires meanwhile.
    pub(super) fn come_back(&mut self) {
        self.lab.wait(MILLISECOND);
        self.lab.boot();
        self.learn_names();
        self.harvest();
    }

    /// Whatever `before` had in a queue (in this one, or in any) and is in no other queue instead is lost. (A crash may undo a death that was not durable yet:
    /// the message is back where it died.)
    pub(super) fn compare(&mut self, before: &BTreeMap<String, Vec<String>>, only: Option<&str>, how: How) {
        let after = self.contents();
        let has = |contents: &BTreeMap<String, Vec<String>>, queue: &str, message: &String| {
            contents.get(queue).is_some_and(|ids| ids.contains(message))
        };
        for (queue, messages) in before.iter().filter(|(queue, _)| only.is_none_or(|only| only == *queue)) {
            for message in messages {
                let is_kept = has(&after, queue, message) || self.is_dying_in(queue);
                let has_moved = after.keys().any(|other| has(&after, other, message) && !has(before, other, message));
                if !is_kept && !has_moved {
                    self.lose(message, queue, how);
                }
            }
        }
    }

    /// Deletes a queue, as a deployment may; it is empty.
    pub(super) fn delete(&mut self, queue: &str) {
        let queue = QueueName { vhost: short(&self.subject.vhost), name: short(queue) };
        let request = QueueRequest::Delete { queue, if_empty: false, if_unused: false };
        self.lab.ask(request).expect("the queue is there and nobody's own");
    }

    /// Declares again what is missing.
    pub(super) fn declare_again(&mut self) {
        self.subject.import(&mut self.lab);
        self.learn_names();
        self.lab.wait(60 * SECOND);
        self.harvest();
    }

    /// Takes what waits in queues, as if it had been consumed, so that the next thing that is tried begins with empty ones.
    pub(super) fn purge(&mut self) {
        for (queue, messages) in self.contents() {
            self.acked.extend(messages);
            let queue = QueueName { vhost: short(&self.subject.vhost), name: short(&queue) };
            let _ = self.lab.ask(QueueRequest::Purge { queue, count: None });
        }
        self.lab.take_events();
    }

    /// Lowers limits of a queue by an operator policy, on top of the one that it has.
    pub(super) fn lower(&mut self, queue: &str, limits: &JsonMap) {
        let vhost = || self.subject.vhost.clone();
        let applied = self.subject.queues.get(queue).and_then(|queue| queue.policies.as_ref());
        let operator = applied.and_then(|policies| policies.operator_policy.as_ref());
        let mut definition = JsonMap::new();
        if let Some(operator) = operator {
            let kind = PolicyKind::Operator;
            let policies = self.lab.ask(PolicyRequest::List { kind, vhost: Some(vhost()) });
            if let Ok(AdminReply::Policies(policies)) = policies {
                let own = policies.into_iter().find(|policy| policy.name.as_bytes() == operator.as_bytes());
                definition = own.map(|policy| policy.definition).unwrap_or_default();
            }
        }
        definition.extend(limits.clone());
        let policy = PolicyInfo {
            vhost: vhost(),
            name: "leveret-topology".to_owned(),
            pattern: exactly(queue),
            apply_to: "queues".to_owned(),
            definition,
            priority: i64::MAX,
        };
        let request = PolicyRequest::Set { kind: PolicyKind::Operator, policy };
        self.lab.ask(request).expect("limits are what operator policies may set");
    }

    // --- what came of it

    /// The messages that wait in queues, by queue.
    pub(super) fn contents(&mut self) -> BTreeMap<String, Vec<String>> {
        let vhost = &self.subject.vhost;
        let filled = self.lab.queues().into_iter().filter(|queue| queue.vhost == *vhost && queue.ready > 0);
        let filled: Vec<String> = filled.map(|queue| queue.name).collect();
        let mut contents = BTreeMap::new();
        for name in filled {
            let queue = QueueName { vhost: short(vhost), name: short(&name) };
            let request = QueueRequest::Peek { queue, selection: Selection::default() };
            let Ok(AdminReply::Messages(messages)) = self.lab.ask(request) else { continue };
            let id = |id: Option<&_>| id.map(ToString::to_string).unwrap_or_default();
            let ids = messages.iter().map(|message| id(message.properties.message_id.as_ref())).collect();
            contents.insert(name, ids);
        }
        contents
    }

    /// The queues that hold a message.
    pub(super) fn holders(&mut self, message: &str) -> BTreeSet<String> {
        let contents = self.contents();
        contents.into_iter().filter(|(_, ids)| ids.iter().any(|id| id == message)).map(|(queue, _)| queue).collect()
    }

    /// Notes a message that was lost.
    pub(super) fn lose(&mut self, message: &str, place: &str, how: How) {
        let is_known = self.losses.iter().any(|loss| loss.message == message && loss.place == place);
        if !message.is_empty() && !is_known {
            let at_us = self.lab.time() - self.began;
            self.losses.push(Loss { message: message.to_owned(), place: place.to_owned(), how, at_us });
        }
    }

    /// The messages lost so far.
    pub(super) fn losses(&self) -> &[Loss] {
        &self.losses
    }

    /// What the publisher of a message knows of it, for the end of a sentence.
    pub(super) fn knowledge(&self, message: &str) -> &'static str {
        match self.sent.iter().find(|sent| sent.id == message).map(|sent| sent.heard) {
            Some(Heard::Confirmed) => "its publisher has a confirm for it",
            Some(Heard::Refused) => "its publisher was told",
            Some(Heard::Returned) => "its publisher got it back",
            Some(Heard::Closed) => "its publisher's channel was closed",
            Some(Heard::Nothing) | None => "its publisher is told nothing",
        }
    }

    /// Ends the experiment: what became of all messages. Those that nothing explains are added to the losses.
    pub(super) fn finish(mut self) -> (Vec<Line>, Vec<Loss>, Tally) {
        let held: BTreeSet<String> = self.contents().into_values().flatten().collect();
        let is_dying = self.names.values().any(|queue| self.is_dying_in(queue));
        let has_unacked = self.lab.queues().iter().any(|queue| queue.unacked > 0);
        let mut tally = Tally { experiments: 1, published: self.sent.len() as u64, ..Tally::default() };
        for sent in self.sent.clone() {
            let is_lost = self.losses.iter().any(|loss| loss.message == sent.id);
            match sent.heard {
                Heard::Returned => tally.returned += 1,
                Heard::Refused | Heard::Closed => tally.refused += 1,
                _ if is_lost => tally.lost += 1,
                _ if held.contains(&sent.id) => tally.in_queues += 1,
                _ if self.acked.contains(&sent.id) => tally.acked += 1,
                _ if is_dying || has_unacked => tally.in_queues += 1,
                Heard::Confirmed | Heard::Nothing => {
                    tally.lost += 1;
                    // A queue that expires takes its messages with it, and the engine records no reason for each.
                    let expires = |queue: &&String| {
                        self.subject.queues.get(*queue).is_some_and(|queue| queue.settings.expires_ms.is_some())
                    };
                    let place = self.gone.iter().find(expires).unwrap_or(&sent.exchange).clone();
                    self.lose(&sent.id, &place, How::WithQueue);
                }
            }
        }
        (self.story, self.losses, tally)
    }

    /// Looks up in the engine's records which messages have left queues without having been acked.
    pub(super) fn harvest(&mut self) {
        let mut queues = BTreeSet::new();
        for event in self.lab.take_events() {
            match event {
                Event::QueueCreated { queue, name, .. } => {
                    self.names.insert(queue, name);
                }
                Event::QueueDeleted { queue } => self.gone.extend(self.names.get(&queue).cloned()),
                Event::Left { queue, to, .. } if !matches!(to, LeftTo::Queues(_)) => {
                    queues.extend(self.names.get(&queue).cloned());
                }
                _ => {}
            }
        }
        for queue in queues {
            let name = DepartureRequest::Queue { vhost: short(&self.subject.vhost), name: short(&queue) };
            for (message, way) in self.departures(name) {
                if let Way::Left(reason, to) = way
                    && !matches!(to, LeftTo::Queues(_))
                    && !matches!(reason, LeaveReason::Purged | LeaveReason::Removed)
                {
                    self.lose(&message, &queue, How::Left(reason, to));
                }
            }
        }
    }

    fn heed_unroutable(&mut self, entry: &Entry, id: &str) {
        let (vhost, name) = (short(&self.subject.vhost), short(&entry.exchange));
        for (message, way) in self.departures(DepartureRequest::Exchange { vhost, name }) {
            if message == id && way == Way::Dropped {
                self.lose(id, &entry.exchange, How::Unroutable);
            }
        }
    }

    /// A message whose publisher wants no confirms: a queue that was full and refused it has lost it.
    fn heed_refused(&mut self, id: &str) {
        let vhost = short(&self.subject.vhost);
        let refusing = self.subject.queues.iter().filter(|(_, queue)| {
            let limits = (queue.settings.length_max, queue.settings.length_max_bytes);
            limits != (None, None)
        });
        for queue in refusing.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            let request = DepartureRequest::Queue { vhost: vhost.clone(), name: short(&queue) };
            if self.departures(request).contains(&(id.to_owned(), Way::Refused)) {
                self.lose(id, &queue, How::Refused);
            }
        }
    }

    fn departures(&mut self, request: DepartureRequest) -> Vec<(String, Way)> {
        let report = match self.lab.ask(leveret_engine::management::AdminRequest::Departures(request)) {
            Ok(AdminReply::Departures(report)) => *report,
            _ => DepartureReport::default(),
        };
        let id = |id: Option<&[u8]>| String::from_utf8_lossy(id.unwrap_or_default()).into_owned();
        report.last.iter().map(|departure| (id(departure.message_id()), departure.way)).collect()
    }

    fn is_dying_in(&self, queue: &str) -> bool {
        let is_it = |other: &leveret_engine::engine::QueueStatus| {
            other.vhost == self.subject.vhost && other.name == queue && other.dying > 0
        };
        self.lab.queues().iter().any(is_it)
    }

    fn publisher(&mut self, confirms: bool) -> PartyId {
        let at = usize::from(confirms);
        if let Some(publisher) = self.publishers[at] {
            return publisher;
        }
        let publisher = self.connect();
        if confirms {
            self.lab.send(publisher, confirm::Select { no_wait: false });
        }
        self.publishers[at] = Some(publisher);
        publisher
    }

    fn learn_names(&mut self) {
        let queues = self.lab.queues();
        let own = queues.into_iter().filter(|queue| queue.vhost == self.subject.vhost);
        self.names = own.map(|queue| (queue.id, queue.name)).collect();
    }
}

/// A regular expression for one name.
fn exactly(name: &str) -> String {
    let mut pattern = String::from("^");
    for letter in name.chars() {
        if letter.is_ascii_alphanumeric() {
            pattern.push(letter);
        } else {
            pattern.push_str(&format!("\\x{{{:x}}}", u32::from(letter)));
        }
    }
    pattern.push('$');
    pattern
}

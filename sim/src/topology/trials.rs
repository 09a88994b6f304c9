//! What is tried: every situation that a queue's settings make possible, each in an experiment of its own.
//!
//! Looking at settings only chooses what to try. Whether anything is lost, where and why, the engine says.

use std::collections::BTreeSet;

use leveret_engine::amqp::LongStr;
use leveret_engine::management::QueueInfo;
use leveret_engine::metadata::JsonMap;

use super::experiment::{Entry, Experiment, Heard, How, Path, Tally};
use super::finding::{Finding, Happening, Situation, ending_in_words};
use super::lab::shown;
use super::routes::{Routes, usual};
use super::rules::{ConsumeRule, Manner};
use super::subject::{Subject, text};
use crate::clock::{MILLISECOND, Micros, SECOND};
use crate::plan::Ending;

/// Limits above these are lowered in the lab, so that stories stay short: messages, bytes, deliveries.
const LENGTH_SHOWN: u64 = 5;
const BYTES_SHOWN: u64 = 64 * 1024;
const DELIVERIES_SHOWN: u16 = 100;
/// What they are lowered to.
const LENGTH_LOWERED: u64 = 3;
const BYTES_LOWERED: u64 = 4096;
const DELIVERIES_LOWERED: u16 = 3;
/// Bytes of a body where it does not matter.
const BODY_BYTES: usize = 8;
/// How often messages may go on to the next queue by expiring.
const STAGES_MAX: usize = 6;
/// Longer than any consumer timeout that anybody leaves alone.
const LONG: Micros = 3600 * SECOND;

/// All that is tried with one vhost.
#[derive(Debug)]
pub(super) struct Trials<'a> {
    subject: &'a Subject,
    routes: &'a Routes,
    consumers: &'a [ConsumeRule],
    /// What was found.
    pub(super) findings: Vec<Finding>,
    /// What became of all messages.
    pub(super) tally: Tally,
}

impl<'a> Trials<'a> {
    pub(super) fn new(subject: &'a Subject, routes: &'a Routes, consumers: &'a [ConsumeRule]) -> Self {
        Self { subject, routes, consumers, findings: Vec::new(), tally: routes.tally }
    }

    /// How many steps [`Self::run`] has, for a progress bar.
    pub(super) fn steps(&self) -> u64 {
        self.routes.paths.len() as u64 + 4
    }

    /// Tries everything, and says after each step that it is done.
    pub(super) fn run(&mut self, mut step_done: impl FnMut()) {
        self.unroutable();
        self.unroutable_after_a_restart();
        step_done();
        for ending in [Ending::Shutdown, Ending::Kill, Ending::PowerLoss] {
            self.everything_ends(ending);
            step_done();
        }
        let subject = self.subject;
        for (name, queue) in &subject.queues {
            let paths = self.routes.to(name);
            for (index, path) in paths.iter().enumerate() {
                // With a routing key of the queue's own all messages die alike.
                let key_matters =
                    queue.settings.dead_letter_exchange.is_some() && queue.settings.dead_letter_routing_key.is_none();
                if index == 0 || key_matters || !paths[..index].iter().any(|other| is_like(&other.entry, &path.entry)) {
                    self.queue(queue, name, path);
                }
            }
            step_done();
        }
        for consumer in self.consumers {
            let direct = usual("", &consumer.queue);
            let direct = Path { entry: direct, deaths: Vec::new(), targets: BTreeSet::new() };
            let path = self.routes.to(&consumer.queue).first().unwrap_or(&direct);
            self.consumer(consumer, path);
        }
    }

    fn queue(&mut self, queue: &QueueInfo, name: &str, path: &Path) {
        let settings = &queue.settings;
        let has_limit = settings.length_max.is_some() || settings.length_max_bytes.is_some();
        if settings.message_ttl_ms.is_some() {
            self.time_passes(name, path, None);
        }
        if has_limit {
            self.overflows(name, path, None);
        }
        if settings.delivery_limit.is_some() {
            self.is_requeued(name, path);
        }
        if settings.dead_letter_exchange.is_some() {
            self.is_rejected(name, path, None);
            let away = path.targets.iter().filter(|target| *target != name);
            let away: Vec<String> = away.cloned().collect();
            if !away.is_empty() {
                if settings.message_ttl_ms.is_some() {
                    self.time_passes(name, path, Some(&away));
                } else {
                    self.is_rejected(name, path, Some(&away));
                }
                if has_limit {
                    self.overflows(name, path, Some(&away));
                }
            }
        }
        if self.is_transient(settings.dead_letter_exchange.as_ref()) {
            self.dies_after_a_restart(name, path);
        }
        if settings.expires_ms.is_some() {
            self.expires(name, path);
        }
        if queue.auto_delete {
            self.loses_its_last_consumer(name, path);
        }
        if !queue.durable || !path.entry.persistent {
            self.restarts(name, path);
        }
        if !path.entry.confirm {
            for ending in [Ending::Kill, Ending::PowerLoss] {
                self.ends_during_publish(name, path, ending);
            }
        }
    }

    // --- routing

    /// Messages that no queue takes: one story for each exchange.
    fn unroutable(&mut self) {
        let mut seen = BTreeSet::new();
        for entry in &self.routes.unroutable {
            if seen.insert(&entry.exchange) {
                let mut experiment = Experiment::new(self.subject);
                self.publish(&mut experiment, entry, 1, BODY_BYTES);
                self.conclude(experiment, entry, Happening::Ordinary);
            }
        }
    }

    /// Alternate exchanges that a restart takes away.
    fn unroutable_after_a_restart(&mut self) {
        let subject = self.subject;
        for (name, exchange) in &subject.exchanges {
            if !exchange.internal && exchange.durable && self.is_transient(exchange.alternate_exchange.as_ref()) {
                let mut experiment = Experiment::new(subject);
                experiment.tell("the broker is stopped in order and started again");
                experiment.restart(Ending::Shutdown);
                let entry = usual(name, "unknown");
                self.publish(&mut experiment, &entry, 1, BODY_BYTES);
                self.conclude(experiment, &entry, Happening::AfterRestart);
            }
        }
    }

    /// Whether this is the name of an exchange that a restart takes away.
    fn is_transient(&self, exchange: Option<&LongStr>) -> bool {
        exchange.and_then(|name| self.subject.exchanges.get(&text(name))).is_some_and(|exchange| !exchange.durable)
    }

    // --- what a queue's settings make possible

    fn time_passes(&mut self, name: &str, path: &Path, away: Option<&[String]>) {
        let mut experiment = Experiment::new(self.subject);
        let messages = self.feed(&mut experiment, name, path, 1, BODY_BYTES);
        self.go_away(&mut experiment, away);
        let Some(message) = messages.first() else { return };
        // Copies in other queues have stories of their own.
        let others = experiment.holders(message);
        let mut at = Some(name.to_owned());
        for _ in 0..STAGES_MAX {
            let Some((queue, ttl)) = at.and_then(|queue| Some((queue.clone(), self.ttl(&queue)?))) else { break };
            let (passed, lifetime) = (shown(ttl + SECOND), shown(ttl));
            experiment.tell(format!("nobody consumes '{queue}' for {passed}: messages live for {lifetime} there"));
            experiment.wait(ttl + SECOND);
            let is_new = |holder: &String| !others.contains(holder) || holder == name;
            at = experiment.holders(message).into_iter().find(is_new);
        }
        self.come_back(&mut experiment, away);
        self.conclude(experiment, &path.entry, happening(&words(away)));
    }

    fn overflows(&mut self, name: &str, path: &Path, away: Option<&[String]>) {
        let mut experiment = Experiment::new(self.subject);
        let (count, size) = self.lower_length(&mut experiment, name);
        self.go_away(&mut experiment, away);
        self.feed(&mut experiment, name, path, count, size);
        self.come_back(&mut experiment, away);
        self.conclude(experiment, &path.entry, happening(&words(away)));
    }

    fn is_requeued(&mut self, name: &str, path: &Path) {
        let mut experiment = Experiment::new(self.subject);
        let limit = self.lower_deliveries(&mut experiment, name);
        let messages = self.feed(&mut experiment, name, path, 1, BODY_BYTES);
        let Some(message) = messages.first() else { return };
        let consumer = experiment.connect();
        experiment.lab.consume(consumer, name, false, 1);
        let mut times = 0;
        while times <= u32::from(limit) {
            let deliveries = experiment.lab.deliveries(consumer);
            let Some(delivery) = deliveries.iter().find(|delivery| delivery.message == *message) else { break };
            experiment.lab.reject(consumer, delivery.tag, true);
            times += 1;
        }
        experiment.tell(format!(
            "a consumer of '{name}' cannot handle {message} and requeues it (basic.reject), {times} times"
        ));
        experiment.lab.run();
        experiment.harvest();
        experiment.lab.crash(consumer);
        self.conclude(experiment, &path.entry, Happening::Ordinary);
    }

    fn is_rejected(&mut self, name: &str, path: &Path, away: Option<&[String]>) {
        let mut experiment = Experiment::new(self.subject);
        let messages = self.feed(&mut experiment, name, path, 1, BODY_BYTES);
        self.go_away(&mut experiment, away);
        for message in &messages {
            experiment.tell(format!("a consumer of '{name}' rejects {message} (requeue=false)"));
            experiment.reject(name, message);
        }
        self.come_back(&mut experiment, away);
        self.conclude(experiment, &path.entry, happening(&words(away)));
    }

    fn expires(&mut self, name: &str, path: &Path) {
        let mut experiment = Experiment::new(self.subject);
        self.feed(&mut experiment, name, path, 1, BODY_BYTES);
        let expires = self.subject.queues[name].settings.expires_ms.unwrap_or_default() * MILLISECOND;
        let before = experiment.contents();
        experiment.tell(format!(
            "nobody uses '{name}' for {}: it expires after {}",
            shown(expires + SECOND),
            shown(expires)
        ));
        experiment.wait(expires + SECOND);
        let is_gone =
            !experiment.lab.queues().iter().any(|queue| queue.name == name && queue.vhost == self.subject.vhost);
        // Messages that went another way before are accounted for there.
        if is_gone && experiment.losses().is_empty() {
            experiment.compare(&before, Some(name), How::WithQueue);
        }
        self.conclude(experiment, &path.entry, Happening::Expires);
    }

    fn loses_its_last_consumer(&mut self, name: &str, path: &Path) {
        let mut experiment = Experiment::new(self.subject);
        self.feed(&mut experiment, name, path, 2, BODY_BYTES);
        let before = experiment.contents();
        let consumer = experiment.connect();
        experiment.lab.consume(consumer, name, false, 1);
        experiment.tell(format!("the only consumer of '{name}' takes one of them and crashes before it acks"));
        experiment.lab.crash(consumer);
        experiment.harvest();
        experiment.compare(&before, Some(name), How::WithQueue);
        self.conclude(experiment, &path.entry, Happening::LastConsumerLeaves);
    }

    // --- the node ends

    fn restarts(&mut self, name: &str, path: &Path) {
        let mut experiment = Experiment::new(self.subject);
        self.feed(&mut experiment, name, path, 1, BODY_BYTES);
        experiment.tell("the broker is stopped in order and started again");
        experiment.restart(Ending::Shutdown);
        self.conclude(experiment, &path.entry, Happening::Ordinary);
    }

    fn dies_after_a_restart(&mut self, name: &str, path: &Path) {
        if !path.deaths.is_empty() || !self.subject.queues[name].durable {
            return;
        }
        let mut experiment = Experiment::new(self.subject);
        let messages = self.feed(&mut experiment, name, path, 1, BODY_BYTES);
        experiment.tell("the broker is stopped in order and started again");
        experiment.restart(Ending::Shutdown);
        for message in &messages {
            experiment.tell(format!("a consumer of '{name}' rejects {message} (requeue=false)"));
            experiment.reject(name, message);
        }
        self.conclude(experiment, &path.entry, Happening::AfterRestart);
    }

    /// A message in every queue, and the node ends: this must cost nothing that the topology does not ask for. Where it does, the story
    /// is told of that queue alone.
    fn everything_ends(&mut self, ending: Ending) {
        let mut experiment = Experiment::new(self.subject);
        let mut paths: Vec<(&String, &Path)> = Vec::new();
        for (name, queue) in &self.subject.queues {
            let Some(path) = self.routes.to(name).first() else { continue };
            if queue.durable && path.entry.persistent && path.entry.confirm {
                let (message, _) = experiment.publish(&path.entry, BODY_BYTES);
                for death in &path.deaths {
                    experiment.reject(death, &message);
                }
                paths.push((name, path));
            }
        }
        experiment.restart(ending);
        let is_lost =
            |name: &str| experiment.losses().iter().any(|loss| loss.place == name && loss.how == How::Restart(ending));
        let lost: Vec<(&String, &Path)> = paths.into_iter().filter(|(name, _)| is_lost(name)).collect();
        self.tally.add(experiment.finish().2);
        for (name, path) in lost {
            let mut experiment = Experiment::new(self.subject);
            self.feed(&mut experiment, name, path, 1, BODY_BYTES);
            experiment.tell(format!("{}; it starts again", ending_in_words(ending)));
            experiment.restart(ending);
            self.conclude(experiment, &path.entry, Happening::Ordinary);
        }
    }

    fn ends_during_publish(&mut self, name: &str, path: &Path, ending: Ending) {
        if !path.deaths.is_empty() || !self.subject.queues[name].durable || !path.entry.persistent {
            return;
        }
        let mut experiment = Experiment::new(self.subject);
        experiment.tell(format!("m1 is published to {}", in_words(&path.entry)));
        let message = experiment.publish_and_leave(&path.entry);
        experiment.tell(format!("{} at that moment, before the disk has it; it starts again", ending_in_words(ending)));
        experiment.end(ending);
        experiment.come_back();
        if !experiment.holders(&message).contains(name) {
            experiment.lose(&message, name, How::Restart(ending));
        }
        self.conclude(experiment, &path.entry, Happening::EndsDuringPublish(ending));
    }

    // --- consumers that the user describes

    fn consumer(&mut self, rule: &ConsumeRule, path: &Path) {
        let name = rule.queue.as_str();
        let mut experiment = Experiment::new(self.subject);
        self.feed(&mut experiment, name, path, 3, BODY_BYTES);
        let consumer = experiment.connect();
        let is_auto = rule.how == Manner::AutoAck;
        experiment.lab.consume(consumer, name, is_auto, rule.prefetch);
        let mut deliveries = experiment.lab.deliveries(consumer);
        match rule.how {
            Manner::Ack => {
                while !deliveries.is_empty() {
                    for delivery in std::mem::take(&mut deliveries) {
                        experiment.lab.ack(consumer, delivery.tag);
                        experiment.acked(&delivery.message);
                        deliveries.extend(experiment.lab.deliveries(consumer));
                    }
                }
                experiment.tell(format!("a consumer of '{name}' takes and acks them"));
            }
            Manner::AutoAck => {
                experiment.tell(format!(
                    "a consumer of '{name}' with automatic acknowledgement is sent {} messages and crashes while it handles the first",
                    deliveries.len()
                ));
            }
            Manner::Reject => {
                experiment.tell(format!("a consumer of '{name}' rejects what it gets (requeue=false)"));
                while !deliveries.is_empty() {
                    for delivery in std::mem::take(&mut deliveries) {
                        experiment.lab.reject(consumer, delivery.tag, false);
                        deliveries.extend(experiment.lab.deliveries(consumer));
                    }
                }
            }
            Manner::Never => {
                experiment.tell(format!("a consumer of '{name}' never answers, for {}", shown(LONG)));
                experiment.wait(LONG);
            }
        }
        experiment.harvest();
        if is_auto || !self.subject.queues[name].auto_delete {
            experiment.lab.crash(consumer);
        }
        experiment.harvest();
        // What the broker does not have any more, and the consumer did not finish, nobody has.
        for delivery in deliveries.iter().filter(|_| is_auto) {
            if experiment.holders(&delivery.message).is_empty() {
                experiment.lose(&delivery.message, name, How::InClient);
            }
        }
        self.conclude(experiment, &path.entry, Happening::Ordinary);
    }

    // --- steps that several of these take

    /// Brings messages into a queue; those that their publisher believes to be taken.
    fn feed(&self, experiment: &mut Experiment<'_>, name: &str, path: &Path, count: u64, size: usize) -> Vec<String> {
        if path.deaths.is_empty() {
            return self.publish(experiment, &path.entry, count, size);
        }
        let mut messages = Vec::new();
        let began = experiment.story.len();
        for _ in 0..count {
            let published = self.publish(experiment, &path.entry, 1, size);
            for message in &published {
                for queue in &path.deaths {
                    experiment.reject(queue, message);
                }
            }
            messages.extend(published);
        }
        // One line for all of them reads better than one for each.
        let told = &mut experiment.story;
        if told.len() > began + 1 && messages.len() as u64 == count {
            let many = format!("m1 {} m{count} are published", if count == 2 { "and" } else { "to" });
            told.truncate(began + 1);
            told[began].text = told[began].text.replacen("m1 is published", &many, 1);
        }
        let stages: Vec<String> = path.deaths.iter().map(|queue| format!("'{queue}'")).collect();
        let which = if count == 1 { "it" } else { "each" };
        experiment
            .tell(format!("a consumer of {} rejects {which}, which brings it to '{name}'", stages.join(", then of ")));
        messages
    }

    fn publish(&self, experiment: &mut Experiment<'_>, entry: &Entry, count: u64, size: usize) -> Vec<String> {
        let at = experiment.story.len();
        experiment.tell("");
        let mut believed = Vec::new();
        let mut refused = Vec::new();
        for _ in 0..count {
            let (message, heard) = experiment.publish(entry, size);
            match heard {
                Heard::Confirmed | Heard::Nothing => believed.push(message),
                Heard::Refused | Heard::Returned | Heard::Closed => refused.push((message, heard)),
            }
        }
        let all = match (believed.as_slice(), count) {
            ([], _) => format!("{} is published", refused.first().map_or("nothing", |(message, _)| message)),
            ([one], 1) => format!("{one} is published"),
            ([one, other], _) => format!("{one} and {other} are published"),
            (many, _) => format!("{} to {} are published", many[0], many[many.len() - 1]),
        };
        let confirmed = if !believed.is_empty() && entry.confirm { " and confirmed" } else { "" };
        let mut line = format!("{all} to {}{confirmed}", in_words(entry));
        for (message, heard) in &refused {
            line.push_str(match heard {
                Heard::Returned => ", and ",
                _ => "; ",
            });
            line.push_str(message);
            line.push_str(match heard {
                Heard::Returned => " is returned",
                Heard::Closed => " closes the channel",
                _ => " is refused (basic.nack)",
            });
        }
        experiment.story[at].text = line;
        believed
    }

    fn go_away(&self, experiment: &mut Experiment<'_>, away: Option<&[String]>) {
        if let Some(queues) = away {
            experiment.tell(format!("{} away for a while: its node is down, or it is being redeclared", words(away)));
            for queue in queues {
                experiment.delete(queue);
            }
        }
    }

    fn come_back(&self, experiment: &mut Experiment<'_>, away: Option<&[String]>) {
        if away.is_some() {
            experiment.declare_again();
            experiment.tell(format!("{} back", words(away)));
        }
    }

    /// Lowers the length limits of a queue if they are high. How many messages of how many bytes are one too many.
    fn lower_length(&self, experiment: &mut Experiment<'_>, name: &str) -> (u64, usize) {
        let settings = &self.subject.queues[name].settings;
        let (mut length, mut bytes) = (settings.length_max, settings.length_max_bytes);
        let mut limits = JsonMap::new();
        if let Some(real) = length.filter(|length| *length > LENGTH_SHOWN) {
            limits.insert("max-length".to_owned(), LENGTH_LOWERED.into());
            length = Some(LENGTH_LOWERED);
            experiment
                .tell(format!("'{name}' may hold {real} messages; {LENGTH_LOWERED} in this story, to make it short"));
        }
        if let Some(real) = bytes.filter(|bytes| *bytes > BYTES_SHOWN) {
            limits.insert("max-length-bytes".to_owned(), BYTES_LOWERED.into());
            bytes = Some(BYTES_LOWERED);
            experiment.tell(format!("'{name}' may hold {real} bytes; {BYTES_LOWERED} in this story, to make it short"));
        }
        if !limits.is_empty() {
            experiment.lower(name, &limits);
        }
        // Three bodies of a quarter and a byte fit, a fourth does not.
        let size = bytes.map_or(BODY_BYTES, |bytes| usize::try_from(bytes / 4 + 1).expect("lowered"));
        let by_bytes = bytes.map(|bytes| if bytes < 4 { 1 + bytes } else { 4 });
        let by_length = length.map(|length| length + 1);
        let count = by_length.into_iter().chain(by_bytes).min().unwrap_or(1);
        (count, size)
    }

    fn lower_deliveries(&self, experiment: &mut Experiment<'_>, name: &str) -> u16 {
        let limit = self.subject.queues[name].settings.delivery_limit.unwrap_or_default();
        if limit <= DELIVERIES_SHOWN {
            return limit;
        }
        let limits = [("delivery-limit".to_owned(), DELIVERIES_LOWERED.into())].into_iter().collect();
        experiment.tell(format!(
            "'{name}' has a delivery limit of {limit}; {DELIVERIES_LOWERED} in this story, to make it short"
        ));
        experiment.lower(name, &limits);
        DELIVERIES_LOWERED
    }

    fn ttl(&self, queue: &str) -> Option<Micros> {
        Some(self.subject.queues.get(queue)?.settings.message_ttl_ms? * MILLISECOND)
    }

    /// Ends an experiment and keeps what it has shown.
    fn conclude(&mut self, experiment: Experiment<'_>, entry: &Entry, event: Happening<'_>) {
        let losses: Vec<_> = experiment.losses().to_vec();
        let told: Vec<_> = losses.iter().map(|loss| experiment.knowledge(&loss.message)).collect();
        let (story, losses, tally) = experiment.finish();
        self.tally.add(tally);
        let mut seen = BTreeSet::new();
        for (index, loss) in losses.iter().enumerate() {
            let told = told.get(index).copied().unwrap_or("and nothing says why");
            let situation = Situation { entry, event };
            let finding = Finding::of(self.subject, situation, loss, story.clone(), told);
            if seen.insert((finding.weakness.name, finding.place.clone())) {
                self.findings.push(finding);
            }
        }
    }
}

/// Whether what two publishers publish has the same fate in a queue.
fn is_like(one: &Entry, other: &Entry) -> bool {
    (one.persistent, one.confirm) == (other.persistent, other.confirm)
}

fn happening(away: &str) -> Happening<'_> {
    if away.is_empty() { Happening::Ordinary } else { Happening::Away(away) }
}

/// The queues that are away, as the subject of a sentence with its verb.
fn words(away: Option<&[String]>) -> String {
    match away {
        None | Some([]) => String::new(),
        Some([one]) => format!("queue '{one}' is"),
        Some(many) => format!("queues '{}' are", many.join("', '")),
    }
}

/// A publish in words.
pub(super) fn in_words(entry: &Entry) -> String {
    let to = match (entry.exchange.as_str(), &entry.headers) {
        ("", _) => format!("queue '{}' through the default exchange", entry.key),
        (exchange, Some(headers)) => {
            let names: Vec<String> = headers.iter().map(|(name, _)| name.to_string()).collect();
            format!("exchange '{exchange}' with the headers {}", names.join(", "))
        }
        (exchange, None) => format!("exchange '{exchange}' with key '{}'", entry.key),
    };
    let mode = if entry.persistent { "persistent" } else { "transient" };
    let confirm = if entry.confirm { "" } else { ", without confirms" };
    let mandatory = if entry.mandatory { ", mandatory" } else { "" };
    format!("{to} ({mode}{confirm}{mandatory})")
}

//! What the engine reports and what the model and the story derive, as events of a recording.

use leveret_engine::event::Event as EngineEvent;

use super::recorder::Recorder;
use super::{Cause, Event, Kind, words};
use crate::clock::Micros;
use crate::history::{Change, Departure, Fact, QueueIndex};
use crate::report::{Failure, FailureKind};
use crate::story::StoryFact;

impl Recorder {
    /// The engine reports something.
    pub(crate) fn engine_says(&mut self, at: Micros, event: &EngineEvent) {
        match event {
            EngineEvent::QueueCreated { queue, name, .. } => {
                self.ids.insert(queue.0, name.clone());
            }
            EngineEvent::Enqueued { queue, seq, lsn, publisher, seqno } => {
                let place = (queue.0, seq.0);
                self.places.remove(&place);
                let known = publisher.zip(*seqno).and_then(|((connection, channel), seqno)| {
                    let wire = self.wires.get(&u32::try_from(connection.0 - 1).ok()?)?;
                    wire.unconfirmed(channel.0, seqno.0)
                });
                let Some(message) = known else { return };
                self.places.insert(place, message);
                if let Some(lsn) = lsn {
                    self.site_mut().unwritten.entry(lsn.0).or_default().push(message);
                    self.site_mut().unsynced.entry(lsn.0).or_default().push(message);
                }
                let name = self.queue_of(queue.0);
                let log = lsn.map_or_else(String::new, |lsn| format!(", to be logged at {}", lsn.0));
                let text = format!("#{message} enters {name}{log}");
                self.push_about(at, Kind::Enqueued, message, Some(name), text);
            }
            EngineEvent::Left { queue, seq, reason, to } => {
                let Some(&message) = self.places.get(&(queue.0, seq.0)) else { return };
                let name = self.queue_of(queue.0);
                let text = format!("#{message} leaves {name}: {}, {}", reason, words::left_to(*to));
                self.push_about(at, Kind::Left, message, Some(name), text);
            }
            EngineEvent::Settled { queue, seq, .. } => {
                let Some(message) = self.places.remove(&(queue.0, seq.0)) else { return };
                let name = self.queue_of(queue.0);
                let text = format!("#{message} is settled: {name} has forgotten it");
                self.push_about(at, Kind::Settled, message, Some(name), text);
            }
            EngineEvent::AlarmRaised { resource } => {
                self.push_here(at, Kind::Node, format!("the node is short of {resource}: publishers have to wait"));
            }
            EngineEvent::AlarmCleared { resource } => {
                self.push_here(at, Kind::Node, format!("the node has enough {resource} again"));
            }
            _ => {}
        }
    }

    /// A fact was derived. `name` knows the queues' names.
    pub(crate) fn fact(&mut self, at: Micros, fact: &Fact, name: impl Fn(u32) -> String) {
        let queue = fact.queue().map(|queue| name(queue.0));
        let named = queue.clone().unwrap_or_default();
        match *fact {
            Fact::Published { session, message, certain, possible, .. } => {
                if let Some(&channel) = self.published.get(&message.0) {
                    self.sessions.insert(session.0, channel);
                }
                let perhaps = if possible > 0 { format!(" and perhaps {possible} more") } else { String::new() };
                let queues = if certain == 1 { "queue" } else { "queues" };
                let text = format!("the node takes {message} for {certain} {queues}{perhaps}");
                self.push_taken(at, message.0, None, text);
            }
            Fact::Story(StoryFact::Accepted { message, .. }) => {
                let text = format!("the node takes {message} for {named}");
                self.push_taken(at, message.0, queue, text);
            }
            Fact::Requeued { message, .. } => {
                let text = format!("{message} goes back into {named}");
                self.push_about(at, Kind::Requeued, message.0, queue, text);
            }
            Fact::Departed {
                message,
                how: how @ (Departure::Purged | Departure::Restarted | Departure::Deleted),
                ..
            } => {
                let text = format!("{message} of {named} {}", words::departure(how));
                self.push_about(at, Kind::Left, message.0, queue, text);
            }
            // What is merely asked for was seen on its way.
            Fact::Changed { what: what @ (Change::Declared | Change::Refused | Change::Gone), .. } => {
                let (lane, text) = (self.node(), format!("queue {named} {}", words::change(what)));
                self.push(Event { at, kind: Kind::Queue, lane, queue, text, ..Event::default() });
            }
            Fact::Delivered { session, connection, channel, .. } => {
                self.sessions.insert(session.0, (connection, channel));
            }
            Fact::Story(told @ (StoryFact::Activated { .. } | StoryFact::Dismissed { .. })) => {
                let (lane, text) = (self.node(), with_names(&told.to_string().replacen('q', "queue ", 1), name));
                self.push(Event { at, kind: Kind::Queue, lane, queue, text, ..Event::default() });
            }
            _ => {}
        }
    }

    /// An oracle objects to a fact.
    pub(crate) fn objection(
        &mut self,
        at: Micros,
        fact: &Fact,
        oracle: &str,
        text: &str,
        name: impl Fn(u32) -> String,
    ) {
        let text = with_names(text, &name);
        let queue = fact.queue().map(|QueueIndex(queue)| name(queue));
        let (expected, actual) = words::expectation(oracle, fact, &text, queue.as_deref().unwrap_or("the queue"));
        let other = match *fact {
            Fact::Skipped { delivered, .. } => Some(delivered),
            Fact::Story(StoryFact::Chosen { by, .. }) => Some(by),
            Fact::Story(StoryFact::Dropped { before, .. }) => Some(before),
            _ => None,
        };
        let messages = fact.message().into_iter().chain(other).map(|message| message.0).collect();
        let channel = match *fact {
            Fact::Delivered { connection, channel, .. } => Some((connection, channel)),
            Fact::Story(StoryFact::Shut { connection, channel, .. }) => Some((connection, channel)),
            Fact::Story(StoryFact::Blocked { connection, .. }) => Some((connection, 0)),
            _ => fact.session().and_then(|session| self.sessions.get(&session.0).copied()),
        };
        self.breaks(Cause {
            at,
            oracle: oracle.to_owned(),
            text,
            messages,
            queue,
            channel,
            lane: None,
            expected,
            actual,
        });
    }

    /// The run fails without a fact.
    pub(crate) fn failed(&mut self, at: Micros, failure: &Failure) {
        let text = &failure.text;
        let after = |word: &str| text.split_once(word).and_then(|(_, rest)| rest.split_whitespace().next());
        let queue = after("queue ").filter(|_| failure.kind == FailureKind::Liveness).map(str::to_owned);
        let client = after("client ").and_then(|number| number.parse::<usize>().ok());
        let promised = crate::explain::promise(failure.oracle);
        let expected = match failure.kind {
            FailureKind::Liveness => "once all faults are over, everything that was begun comes to its end",
            FailureKind::Crash => "the engine carries on, or stops with a reason",
            FailureKind::Safety => promised,
        };
        let lane = client.and_then(|client| self.clients.get(client).copied());
        // A publish that waits for its confirm is told by its number on its channel.
        let publish =
            after("confirm of publish ").and_then(|number| number.parse().ok()).zip(lane).and_then(|(tag, lane)| {
                let mut events = self.recording.events.iter().rev();
                events.find(|event| event.kind == Kind::Publish && event.lane == lane && event.tag == Some(tag))
            });
        self.breaks(Cause {
            at,
            oracle: failure.oracle.to_owned(),
            text: text.clone(),
            messages: publish.map_or_else(Vec::new, |event| event.messages.clone()),
            queue,
            channel: None,
            lane,
            expected: expected.to_owned(),
            actual: text.clone(),
        });
    }

    fn queue_of(&self, id: u64) -> String {
        self.ids.get(&id).cloned().unwrap_or_else(|| "a queue".to_owned())
    }

    /// The engine tells at once what it did with a publish, the model only later that it was taken; it is told first.
    fn push_taken(&mut self, at: Micros, message: u32, queue: Option<String>, text: String) {
        self.push_about(at, Kind::Taken, message, queue, text);
        let events = &mut self.recording.events;
        let here = events.iter().rev().take_while(|event| event.at == at).count();
        let first = events.len() - here;
        if let Some(place) =
            events[first..].iter().position(|event| event.kind == Kind::Publish && event.is_about(&[message]))
        {
            events[first + place + 1..].rotate_right(1);
        }
    }

    fn push_about(&mut self, at: Micros, kind: Kind, message: u32, queue: Option<String>, text: String) {
        let lane = self.node();
        self.push(Event { at, kind, lane, messages: vec![message], queue, text, ..Event::default() });
    }
}

/// Puts names where oracles say "queue 3".
fn with_names(text: &str, name: impl Fn(u32) -> String) -> String {
    let mut parts = text.split("queue ");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        match part[..digits].parse() {
            Ok(index) => out += &format!("queue {}{}", name(index), &part[digits..]),
            Err(_) => out += &format!("queue {part}"),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_are_told_by_their_names() {
        let name = |index: u32| format!("w{index}");
        assert_eq!(with_names("#3 is lost from queue 12: it was", name), "#3 is lost from queue w12: it was");
        assert_eq!(with_names("no queue has a limit, queue", name), "no queue has a limit, queue");
    }
}

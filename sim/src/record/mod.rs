//! A recording of one run: what happened when, in words and in fields, for pictures and explanations.
//!
//! A [`Recorder`] listens beside the model and the story. It draws nothing and changes nothing, so a recorded run has the trace hash
//! of an unrecorded one. What it gathers is bounded: of very long runs the beginning is thinned, never what matters to the failure.

mod listen;
mod recorder;
#[cfg(test)]
mod tests;
mod thin;
mod wire;
mod words;

use serde::Serialize;

use crate::clock::Micros;
pub(crate) use recorder::{Direction, NodeState, Recorder};

/// Events that a finished recording holds at most.
pub const EVENTS_MAX: usize = 20_000;

/// What happened in one run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Recording {
    /// Who takes part, from top to bottom.
    pub lanes: Vec<Lane>,
    /// What happened, by the time it was over.
    pub events: Vec<Event>,
    /// What was wrong for a while.
    pub bands: Vec<Band>,
    /// What the node held, or all nodes together, now and then.
    pub looks: Vec<Look>,
    /// What broke.
    pub cause: Option<Cause>,
    /// Events left out because there were too many.
    pub left_out: u64,
    /// Virtual time at the end, in microseconds.
    pub end: Micros,
}

/// One who takes part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lane {
    /// What it is.
    pub kind: LaneKind,
    /// Its name.
    pub name: String,
}

/// What a lane is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LaneKind {
    /// A client program.
    Client,
    /// A node.
    Node,
    /// A node's disk.
    Disk,
}

/// A lane, as an index into [`Recording::lanes`].
pub type LaneIndex = usize;

/// Something that happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Event {
    /// When it was over, in microseconds.
    pub at: Micros,
    /// When it began, if it took time: something on its way, or disk work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Micros>,
    /// What it is.
    pub kind: Kind,
    /// Where it happened, or began.
    pub lane: LaneIndex,
    /// Where it went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<LaneIndex>,
    /// How it ended.
    #[serde(skip_serializing_if = "Fate::is_done")]
    pub fate: Fate,
    /// The messages it is about, by their numbers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<u32>,
    /// The queue it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// The connection and the channel it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<(u32, u16)>,
    /// The delivery tag, or the number of the publish.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<u64>,
    /// In words.
    pub text: String,
}

/// What an event is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A client publishes.
    Publish,
    /// The node confirms.
    Confirm,
    /// The node refuses a publish.
    Refuse,
    /// A publish comes back.
    Return,
    /// The node delivers, or answers a get.
    Deliver,
    /// A client acks.
    Ack,
    /// A client rejects, and does or does not want it put back.
    Reject,
    /// Something else is said between client and node.
    #[default]
    Said,
    /// The node took a publish.
    Taken,
    /// A message entered a queue.
    Enqueued,
    /// The operating system has a message's record.
    Written,
    /// The disk has a message's record for good.
    Synced,
    /// A message's record went with a crash.
    LogLost,
    /// A message went back into its queue.
    Requeued,
    /// A message left its queue without an ack.
    Left,
    /// A message left its queue for good.
    Settled,
    /// A queue as a whole changes.
    Queue,
    /// A connection comes up.
    Connected,
    /// A connection, channel or consumer is over.
    Closed,
    /// The node starts, is ready, stops or is gone.
    Node,
    /// The disk does something.
    Disk,
    /// A fault begins.
    FaultBegins,
    /// A fault ends.
    FaultEnds,
    /// A promise breaks.
    Broken,
}

/// How something that took time ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It arrived, or was done.
    #[default]
    Done,
    /// It was lost on its way, or failed.
    Lost,
    /// The run ended before it did.
    Underway,
}

impl Fate {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
    fn is_done(&self) -> bool {
        *self == Self::Done
    }
}

/// Something that was wrong for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Band {
    /// When it began.
    pub from: Micros,
    /// When it was over.
    pub to: Micros,
    /// Where.
    pub lane: LaneIndex,
    /// Whether it is a fault of the plan; else a state of the node: down, or in its recovery.
    pub is_fault: bool,
    /// What, in words.
    pub text: String,
}

/// What the node held at one moment, or all nodes together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Look {
    /// When.
    pub at: Micros,
    /// The node's state, or those of all nodes.
    pub node: String,
    /// Its queues.
    pub queues: Vec<QueueLook>,
    /// Open connections.
    pub connections: u64,
    /// Bytes of bodies in memory.
    pub body_bytes: u64,
    /// Bytes that wait for clients.
    pub outbox_bytes: u64,
    /// Segments of the log.
    pub segments: u64,
    /// Bytes of the log that are still needed.
    pub live_bytes: u64,
    /// Clients that were told to stop publishing.
    pub blocked: Vec<LaneIndex>,
}

/// One queue at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct QueueLook {
    /// Its name.
    pub name: String,
    /// Messages that wait.
    pub ready: u64,
    /// Messages with consumers.
    pub unacked: u64,
    /// Consumers.
    pub consumers: u64,
}

/// What broke, and about what it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cause {
    /// When.
    pub at: Micros,
    /// The promise.
    pub oracle: String,
    /// What happened, in a sentence.
    pub text: String,
    /// The message it is about, and others that have to do with it.
    pub messages: Vec<u32>,
    /// The queue it is about.
    pub queue: Option<String>,
    /// The connection and the channel it is about.
    pub channel: Option<(u32, u16)>,
    /// The client it is about.
    pub lane: Option<LaneIndex>,
    /// What should have been.
    pub expected: String,
    /// What was.
    pub actual: String,
}

impl Event {
    /// Whether it has to do with one of these messages.
    pub fn is_about(&self, messages: &[u32]) -> bool {
        self.messages.iter().any(|message| messages.contains(message))
    }
}

impl Recording {
    /// The events, one JSON object per line.
    ///
    /// # Panics
    /// Never: events are plain data.
    pub fn ndjson(&self) -> String {
        let mut out = String::new();
        for event in &self.events {
            out += &serde_json::to_string(event).expect("events are plain data");
            out.push('\n');
        }
        out
    }
}

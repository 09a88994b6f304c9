//! One link, from its first byte to its last.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;

use super::assembly::{Arrived, Assembly};
use super::error::{Error, Why};
use super::greeting::{self, Greetings, Kind};
use super::handshake::{Handshake, Step};
use super::hello::{Hello, NONCE_BYTES};
use super::lane::Lane;
use super::outbox::{Outbox, Unsent};
use super::proof::{Secret, Side};
use super::refusal::{self, Reason, Refusal};
use super::who::{Peer, Versions, Who};
use crate::limits;
use crate::time::Instant;

/// What a node brings to a link.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Who it is. The name has to be one ([`is_node_name`](super::is_node_name)), and the node not 0.
    pub who: Who,
    /// What it proves to know, and asks of others to know.
    pub secret: Secret,
    /// A random number that nobody can foretell and that no other link had: that is what makes an old proof worthless.
    pub nonce: [u8; NONCE_BYTES],
    /// What it speaks: [`Versions::SPOKEN`], or less.
    pub versions: Versions,
}

/// What a link tells its embedder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The other side has proven to be a node. Whether it is welcome is for the embedder to say.
    Established(Peer),
    /// A message, whole, in the order of its lane. It may be a slice of what was received, and keep all of that in memory.
    Message(Lane, Bytes),
    /// The other side refuses this node. The link is over.
    Refused(Refusal),
    /// This node cannot go on with the other side. The link is over.
    Failed(Error),
}

/// One connection between two nodes.
///
/// After each call the embedder takes events and output. When the link [is finished](Self::is_finished) it closes the socket; before,
/// it should end its own direction and read on, or what it wrote last may be lost (RFC 9293 §3.6.1, on unread data).
#[derive(Debug)]
pub struct Link {
    side: Side,
    state: State,
    outbox: Outbox,
    events: VecDeque<Event>,
}

#[derive(Debug)]
enum State {
    /// Nobody has proven anything.
    Greeting { greetings: Greetings, handshake: Box<Handshake>, until: Instant },
    /// Messages come and go.
    Open { assembly: Box<Assembly>, peer: Box<Peer> },
    /// Nothing that comes counts, and what is to be written is, until then.
    Over { until: Instant },
    /// The socket can be closed.
    Finished,
}

impl Link {
    /// A connection that was just made.
    ///
    /// # Panics
    /// If what the setup says of this node is nothing that another one would understand.
    #[must_use]
    pub fn new(side: Side, setup: Setup, now: Instant) -> Self {
        let Setup { who, secret, nonce, versions } = setup;
        let mut outbox = Outbox::default();
        let handshake = Handshake::new(side, secret, &Hello { versions, who, nonce }, outbox.greetings());
        let state = State::Greeting {
            greetings: Greetings::default(),
            handshake: Box::new(handshake),
            until: now + limits::LINK_HANDSHAKE_TIMEOUT,
        };
        Self { side, state, outbox, events: VecDeque::new() }
    }

    /// Bytes arrived, cut anywhere.
    pub fn receive(&mut self, now: Instant, mut bytes: Bytes) {
        while self.take(now, &mut bytes) {}
    }

    /// What has happened, in order.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Queues a message. Messages of one lane arrive in order, as long as the link lasts.
    ///
    /// # Errors
    /// If it was not taken: before the handshake is over, if it is too large, or if too much waits.
    pub fn send(&mut self, lane: Lane, message: Bytes) -> Result<(), Unsent> {
        match self.state {
            State::Open { .. } => self.outbox.send(lane, message),
            State::Greeting { .. } | State::Over { .. } | State::Finished => Err(Unsent::NotOpen),
        }
    }

    /// Appends what is to be written, in order, until the driver has about `window` bytes that it has not written: at most a chunk more
    /// than that. The smaller the window, the less there is in front of a message that is urgent.
    pub fn take_output(&mut self, window: usize, out: &mut Vec<Bytes>) {
        if !self.is_finished() {
            self.outbox.take_output(window, out);
        }
    }

    /// Whether there is something to take for a driver with room.
    pub fn has_output(&self) -> bool {
        !self.is_finished() && self.outbox.has_output()
    }

    /// The operating system took this many bytes of the output.
    ///
    /// # Panics
    /// If they are more than were taken.
    pub fn on_written(&mut self, bytes: usize) {
        self.outbox.on_written(bytes);
        if matches!(self.state, State::Over { .. }) && self.outbox.waiting_bytes() == 0 {
            self.state = State::Finished;
        }
    }

    /// Bytes that wait: messages, and what was taken and is not written.
    pub fn waiting_bytes(&self) -> usize {
        self.outbox.waiting_bytes()
    }

    /// Bytes of messages that wait in one lane.
    pub fn lane_bytes(&self, lane: Lane) -> usize {
        self.outbox.lane_bytes(lane)
    }

    /// Whether a lane has more than it should: from [`limits::LINK_LANE_HIGH_BYTES`] until it is down to
    /// [`limits::LINK_LANE_LOW_BYTES`]. It still takes messages, up to [`limits::LINK_LANE_BYTES_MAX`].
    pub fn is_congested(&self, lane: Lane) -> bool {
        self.outbox.is_congested(lane)
    }

    /// Ends the link, and tells the other side why. Messages that wait, either way, are dropped. Nothing if it is over already.
    pub fn refuse(&mut self, now: Instant, text: &str) {
        if self.is_over() {
            return;
        }
        self.events.clear();
        self.say_refusal(Reason::Unwelcome, text);
        self.end(now);
    }

    /// The socket is gone.
    pub fn on_closed(&mut self) {
        match &self.state {
            State::Greeting { .. } => self.push_failed(Why::Closed),
            State::Open { .. } => self.push_failed(Why::Gone),
            State::Over { .. } | State::Finished => {}
        }
        self.finish();
    }

    /// When [`Link::on_timeout`] is next wanted. An open link is silent when there is nothing to say.
    pub fn next_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Greeting { until, .. } | State::Over { until } => Some(until),
            State::Open { .. } | State::Finished => None,
        }
    }

    /// The time asked for has come. Being early or late does no harm.
    pub fn on_timeout(&mut self, now: Instant) {
        match self.state {
            State::Greeting { until, .. } if until <= now => self.fail(now, Why::Slow),
            State::Over { until } if until <= now => self.finish(),
            _ => {}
        }
    }

    /// Which end this is.
    pub fn side(&self) -> Side {
        self.side
    }

    /// The other node, while the link is open.
    pub fn peer(&self) -> Option<&Peer> {
        match &self.state {
            State::Open { peer, .. } => Some(peer),
            State::Greeting { .. } | State::Over { .. } | State::Finished => None,
        }
    }

    /// Whether messages can be sent.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. })
    }

    /// Whether nothing more will come of it.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Over { .. } | State::Finished)
    }

    /// Whether it is over and nothing is left to write.
    pub fn is_finished(&self) -> bool {
        matches!(self.state, State::Finished)
    }

    /// Bytes that were received and make no message yet.
    pub fn buffered_bytes(&self) -> usize {
        match &self.state {
            State::Greeting { greetings, .. } => greetings.buffered_len(),
            State::Open { assembly, .. } => assembly.buffered_len(),
            State::Over { .. } | State::Finished => 0,
        }
    }

    /// Checks what must hold between calls.
    ///
    /// # Panics
    /// If it does not.
    pub fn check_invariants(&self) {
        self.outbox.check_invariants();
        match &self.state {
            State::Greeting { greetings, .. } => {
                let bytes = greetings.buffered_len();
                assert!(bytes < greeting::HEADER_BYTES + limits::LINK_GREETING_BYTES_MAX, "{bytes} bytes");
            }
            State::Open { assembly, .. } => assembly.check_invariants(),
            State::Over { .. } | State::Finished => {}
        }
        if !self.is_open() {
            assert!(Lane::ALL.iter().all(|lane| self.outbox.lane_bytes(*lane) == 0), "messages wait for nobody");
        }
    }

    /// Takes one greeting or message off the front. False if there is none.
    fn take(&mut self, now: Instant, bytes: &mut Bytes) -> bool {
        match &mut self.state {
            State::Greeting { greetings, handshake, .. } => {
                let greeting = greetings.next(bytes);
                let step = match greeting {
                    Ok(None) => return false,
                    Ok(Some(greeting)) => handshake.take(greeting, self.outbox.greetings()),
                    Err(why) => Err(why),
                };
                match step {
                    Ok(Step::More) => {}
                    Ok(Step::Proven(peer)) => self.open(peer),
                    Ok(Step::Refused(refusal)) => self.refused(refusal),
                    Err(why) => self.fail(now, why),
                }
            }
            State::Open { assembly, peer } => match assembly.next(bytes) {
                Ok(None) => return false,
                Ok(Some(Arrived::Message(lane, message))) => self.events.push_back(Event::Message(lane, message)),
                Ok(Some(Arrived::Refusal(content))) => {
                    let refusal = refusal::decode(&content, Some(peer.who.name.clone()), true);
                    self.refused(refusal);
                }
                Err(bad) => self.fail(now, Why::Chunk(bad)),
            },
            State::Over { .. } | State::Finished => return false,
        }
        true
    }

    fn open(&mut self, peer: Peer) {
        self.events.push_back(Event::Established(peer.clone()));
        self.state = State::Open { assembly: Box::default(), peer: Box::new(peer) };
    }

    fn refused(&mut self, refusal: Refusal) {
        self.events.push_back(Event::Refused(refusal));
        self.finish();
    }

    fn fail(&mut self, now: Instant, why: Why) {
        self.push_failed(why);
        if let Some(reason) = why.refusal() {
            // Who has not proven himself hears no more than that, and what both speak.
            let text = match why {
                Why::Versions { theirs, ours } => format!("it speaks {ours}, the other one {theirs}"),
                Why::Chunk(bad) => format!("it got {bad}"),
                _ => String::new(),
            };
            self.say_refusal(reason, &text);
        }
        self.end(now);
    }

    fn push_failed(&mut self, why: Why) {
        let peer = match &self.state {
            State::Greeting { handshake, .. } => handshake.peer_name().cloned(),
            State::Open { peer, .. } => Some(peer.who.name.clone()),
            State::Over { .. } | State::Finished => None,
        };
        self.events.push_back(Event::Failed(Error { peer, why }));
    }

    fn say_refusal(&mut self, reason: Reason, text: &str) {
        let content = refusal::encode(reason, text);
        match self.state {
            State::Greeting { .. } => greeting::put(self.outbox.greetings(), Kind::Refusal, &content),
            State::Open { .. } => self.outbox.put_refusal(&content),
            State::Over { .. } | State::Finished => {}
        }
    }

    /// No more comes in, and nothing goes out but what cannot be taken back.
    fn end(&mut self, now: Instant) {
        self.outbox.drop_messages();
        let has_more = self.outbox.waiting_bytes() > 0;
        self.state = if has_more { State::Over { until: now + limits::LINK_CLOSE_TIMEOUT } } else { State::Finished };
    }

    /// Nobody reads any more.
    fn finish(&mut self) {
        self.outbox.drop_messages();
        self.state = State::Finished;
    }
}

//! Queues that are on other nodes, as channels of this one use them.
//!
//! A channel uses such a queue through a [`Session`]: what it wants is numbered, sent over the link between the nodes, and sent again
//! after a break, so that the queue takes each command once and in order ([`super::guests`] is the other end). What the queue gives
//! out comes in order and once, and waits here until the channel's client takes it. The broker itself publishes through sessions of its
//! own.
//!
//! ```text
//!  channel --> RemoteSession ==== commands ====> Guest --> ClassicQueue
//!     ^             |        <=== deliveries ===
//!     +--- inbox <--+
//! ```
//!
//! A quorum queue is spoken to in the same way: its leader is "the queue's node", which may be this one, and may change. Then everything
//! that is not known to be applied is sent again, and nothing is lost.
//!
//! When a classic queue's node has begun another life, or was out of reach for [`limits::REMOTE_GRACE`], what sessions had there is lost:
//! what was sent and not confirmed is nacked, and consumers are cancelled, as RabbitMQ does it when a queue's node goes.

mod ask;
mod consume;
mod events;
mod forsaken;
mod leaders;
mod nodes;
mod publish;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;
use slotmap::SlotMap;

use super::{Broker, ChannelRef};
use crate::amqp::ShortStr;
use crate::cluster::queues::{Delivery, Frame};
use crate::ids::{Boot, ConnectionId, NodeId, QueueId};
use crate::limits;
use crate::message::Message;
use crate::queue::ConsumerKey;
use crate::queue::quorum::{DeliveryNumber, EntryWriter, Session, SessionEvent, SessionId};
use crate::routing::QueueKey;
use crate::time::Instant;
use crate::window::Window;

use ask::Ask;
pub(crate) use ask::{Asked, AskedOf};
pub(super) use consume::Fate;
pub(crate) use consume::Wanted;
use forsaken::Forsaken;
use nodes::NodeLink;
use publish::Shared;

/// What this node's channels have to do with queues of other nodes, and what is known of those nodes.
#[derive(Debug, Default)]
pub(crate) struct Remote {
    /// By number.
    sessions: BTreeMap<u64, RemoteSession>,
    by_user: BTreeMap<(User, QueueKey), u64>,
    /// The highest number that was given to a session.
    last_number: u64,
    /// All consumers of this node's channels at queues of other nodes.
    consumers: SlotMap<ConsumerKey, RemoteConsumer>,
    /// Sessions with something to send.
    dirty: BTreeSet<u64>,
    /// Sessions whose channels may be given something.
    active: BTreeSet<u64>,
    /// Publishes and transactions of which several have a part.
    shared: BTreeMap<u64, Shared>,
    last_shared: u64,
    /// The transaction that is being committed, if any part of it went to another node.
    committing: Option<u64>,
    /// The highest number under which a session that is over, or a queue that was on this node, has handed something to its channel.
    last_out: u64,
    /// Questions that are not answered.
    asks: BTreeMap<u64, Ask>,
    last_ask: u64,
    pub(super) nodes: BTreeMap<NodeId, NodeLink>,
    /// What this node says to its own queues and sessions.
    pub(super) looped: VecDeque<Bytes>,
    /// When sessions that wait for a leader are looked at.
    look_at: Option<Instant>,
    /// Where the message that is being published goes on other nodes.
    pub(super) routed: Vec<QueueKey>,
    /// Sessions that hold too much that is not applied, by connection.
    congested: BTreeSet<(ConnectionId, u64)>,
    /// Connections that are not read because of them.
    pub(crate) paused: Vec<ConnectionId>,
    events: Vec<SessionEvent>,
    forsaken: Forsaken,
}

/// Who uses a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum User {
    /// The broker, which publishes dead letters and the like.
    Broker,
    /// A channel.
    Channel(ChannelRef),
}

/// What a queue is called, for texts about it once it is gone.
#[derive(Clone, Debug, Default)]
struct QueueNames {
    vhost: ShortStr,
    name: ShortStr,
}

/// One user's use of one queue of another node.
#[derive(Debug)]
struct RemoteSession {
    session: Session,
    queue: QueueKey,
    names: QueueNames,
    id: QueueId,
    /// The queue's node, or that of its leader; 0 while that is not known.
    home: NodeId,
    /// Whether its queue has replicas, one of which leads.
    is_replicated: bool,
    /// The queue's node and its life, when the queue has got replicas of which it is not known yet that they have adopted the session.
    follows: Option<(NodeId, Boot)>,
    /// How far it was when it was last looked at, while it waited.
    seen_at_look: Option<u64>,
    user: User,
    /// Its consumers.
    consumers: BTreeMap<u32, ConsumerKey>,
    /// Consumers that are being let go, of which the channel is to hear.
    cancels: BTreeSet<u32>,
    /// Who asked for one message, each with whether it is settled once it is there.
    gets: BTreeMap<u32, bool>,
    /// What came and was not handed to the channel yet.
    inbox: VecDeque<Arrived>,
    /// What the channel has and did not settle, by the number that the channel knows it by: another one than anything that it has from
    /// a session before this one.
    out: Window<(u32, DeliveryNumber)>,
    last_out: u64,
    /// Bytes of what was handed to the channel since the link came up, and how much of that the queue's node was told.
    taken_bytes: u64,
    told_bytes: u64,
}

/// A message that came for a channel.
#[derive(Debug)]
struct Arrived {
    delivery: Delivery,
    /// `None` while only its number is known: what it holds comes later.
    message: Option<Arc<Message>>,
}

/// A consumer at a queue of another node.
#[derive(Debug)]
struct RemoteConsumer {
    session: u64,
    tag: u32,
    /// Which of the channel's consumers it is.
    index: u32,
    /// Whether deliveries count as acked once sent.
    no_ack: bool,
    /// Whether nobody else may consume beside it.
    exclusive: bool,
    prefetch: u32,
    /// Whether the queue has it.
    is_subscribed: bool,
    /// Whether its channel or connection cannot take more at the moment.
    is_paused: bool,
    /// Whether it first has to settle what one of the same tag had for too long.
    is_barred: bool,
}

/// What a delivery takes of a session's window, in bytes.
pub(super) fn cost(message: &Message) -> u64 {
    message.memory_bytes() as u64
}

impl Remote {
    fn session_of(&mut self, user: User, queue: QueueKey) -> Option<(u64, &mut RemoteSession)> {
        let number = *self.by_user.get(&(user, queue))?;
        Some((number, self.sessions.get_mut(&number)?))
    }

    /// Channels may have deliveries up to this number, which are none of a session.
    pub(super) fn number_from(&mut self, number: u64) {
        self.last_out = self.last_out.max(number);
    }

    /// Whether there are sessions whose channels may be given something.
    pub(super) fn has_active(&self) -> bool {
        !self.active.is_empty()
    }

    /// Forgets a session, with all that stands for it.
    fn remove(&mut self, number: u64) -> Option<RemoteSession> {
        let session = self.sessions.remove(&number)?;
        self.last_out = self.last_out.max(session.last_out);
        if self.by_user.get(&(session.user, session.queue)) == Some(&number) {
            self.by_user.remove(&(session.user, session.queue));
        }
        for key in session.consumers.values() {
            self.consumers.remove(*key);
        }
        self.dirty.remove(&number);
        self.active.remove(&number);
        if let User::Channel(channel) = session.user {
            self.congested.remove(&(channel.connection, number));
        }
        Some(session)
    }

    /// Whether a connection has published more to queues of other nodes than they have taken.
    pub(crate) fn is_congested(&self, connection: ConnectionId) -> bool {
        self.congested.range((connection, 0)..=(connection, u64::MAX)).next().is_some()
    }

    /// Takes note of how much a session holds.
    fn note_outstanding(&mut self, number: u64) {
        let Some(session) = self.sessions.get(&number) else { return };
        let User::Channel(channel) = session.user else { return };
        let bytes = session.session.outstanding_bytes();
        if bytes > limits::REMOTE_PENDING_HIGH_BYTES {
            self.congested.insert((channel.connection, number));
        } else if bytes <= limits::REMOTE_PENDING_LOW_BYTES {
            self.congested.remove(&(channel.connection, number));
        }
    }

    /// Connections that were not read because queues of other nodes had not caught up, and have now.
    pub(crate) fn take_caught_up(&mut self) -> Vec<ConnectionId> {
        if self.paused.is_empty() {
            return Vec::new();
        }
        let (still, caught_up) = core::mem::take(&mut self.paused).into_iter().partition(|id| self.is_congested(*id));
        self.paused = still;
        caught_up
    }
}

impl Broker {
    /// Whether a queue is on another node or on several, so that it is used through a session.
    pub(crate) fn is_remote(&self, key: QueueKey) -> bool {
        self.peers.is_some() && self.metadata.queue_by_key(key).is_some_and(|record| !self.metadata.is_here(record))
    }

    /// Whether a queue is on one node, this one or another.
    pub(crate) fn is_on_one_node(&self, key: QueueKey) -> bool {
        self.metadata.queue_by_key(key).is_some_and(|record| !self.metadata.is_led(record))
    }

    /// The session of a user with a queue of another node, which begins with this if there is none. `None` if the queue is gone.
    fn session_with(&mut self, user: User, queue: QueueKey) -> Option<u64> {
        if let Some(number) = self.remote.by_user.get(&(user, queue)) {
            return Some(*number);
        }
        let record = self.metadata.queue_by_key(queue)?;
        let (id, is_replicated) = (record.id, self.metadata.is_led(record));
        let home = if is_replicated { self.guess_leader(queue, NodeId(0)) } else { record.home };
        let (node, boot) = self.peers.as_ref()?.own()?;
        self.remote.last_number += 1;
        let number = self.remote.last_number;
        let session = Session::new(SessionId { node, boot: Boot(boot), number });
        let session = RemoteSession {
            session,
            queue,
            names: self.queue_names(queue),
            id,
            home,
            is_replicated,
            follows: None,
            seen_at_look: None,
            user,
            consumers: BTreeMap::new(),
            cancels: BTreeSet::new(),
            gets: BTreeMap::new(),
            inbox: VecDeque::new(),
            out: Window::default(),
            last_out: self.remote.last_out,
            taken_bytes: 0,
            told_bytes: 0,
        };
        self.remote.sessions.insert(number, session);
        self.remote.by_user.insert((user, queue), number);
        if is_replicated {
            self.look_at_leaders_later();
        }
        Some(number)
    }

    /// Whether something that was said in a session is not known to be carried out.
    pub(crate) fn has_outstanding(&self) -> bool {
        self.remote.sessions.values().any(|session| session.session.outstanding_len() > 0)
    }

    /// Does something with a session, and draws the consequences.
    fn with_session(&mut self, number: u64, act: impl FnOnce(&mut RemoteSession, &mut Vec<SessionEvent>)) {
        let Some(session) = self.remote.sessions.get_mut(&number) else { return };
        let mut events = core::mem::take(&mut self.remote.events);
        act(session, &mut events);
        self.remote.dirty.insert(number);
        for event in events.drain(..) {
            self.on_session_event(number, event);
        }
        self.remote.events = events;
    }

    /// Sends what sessions want, as far as links take it.
    pub(super) fn flush_sessions(&mut self) {
        if self.remote.dirty.is_empty() {
            return;
        }
        let mut full: Vec<NodeId> = Vec::new();
        let dirty: Vec<u64> = self.remote.dirty.iter().copied().collect();
        // What is said to one who no longer leads is dropped there: whoever waits looks for another after a while.
        let mut asking = dirty.iter().filter_map(|number| self.remote.sessions.get(number));
        if self.remote.look_at.is_none() && asking.any(|it| it.is_replicated && it.session.is_waiting()) {
            self.look_at_leaders_later();
        }
        // In order: nodes know sessions by the highest number that has begun.
        for number in dirty {
            let Some(home) = self.remote.sessions.get(&number).map(|session| session.home) else { continue };
            if full.contains(&home) {
                continue;
            }
            if !self.can_reach(home) {
                // All of its sessions say what they have to once there is a link again, or a leader.
                self.remote.dirty.remove(&number);
                if home != NodeId(0) {
                    self.watch_node(home);
                }
                continue;
            }
            if self.flush_session(number, home) {
                self.remote.dirty.remove(&number);
            } else {
                full.push(home);
            }
        }
    }

    /// Whether all of it could be sent.
    fn flush_session(&mut self, number: u64, home: NodeId) -> bool {
        let Some(session) = self.remote.sessions.get(&number) else { return true };
        let (queue, is_replicated, follows) = (session.id, session.is_replicated, session.follows.is_some());
        // A classic queue gives out what it is asked for at once, which does not count as lost with the link before.
        if !is_replicated && !self.is_congested_to(home) {
            self.say_sync(number, home);
        }
        // What a former life of the queue's node had of it the replicas do not know.
        if follows {
            self.say_sync(number, home);
            return true;
        }
        loop {
            if self.is_congested_to(home) {
                return false;
            }
            let Some(session) = self.remote.sessions.get_mut(&number) else { return true };
            let mut writer = EntryWriter::default();
            if !session.session.write(&mut writer, limits::REMOTE_ENTRY_BYTES) {
                break;
            }
            let entry = Bytes::from(writer.take());
            self.say(home, &Frame::Commands { queue, entry });
        }
        self.say_sync(number, home);
        let Some(session) = self.remote.sessions.get_mut(&number) else { return true };
        // Leaders need not know what was taken: what consumers of quorum queues may have is limited.
        let has_taken = session.taken_bytes - session.told_bytes >= limits::REMOTE_WINDOW_BYTES / 4;
        let taken = (has_taken && !session.is_replicated).then(|| {
            session.told_bytes = session.taken_bytes;
            Frame::Taken { session: session.session.id(), bytes: session.taken_bytes }
        });
        if let Some(taken) = taken {
            self.say(home, &taken);
        }
        true
    }

    /// Says what a session has, if it is to.
    fn say_sync(&mut self, number: u64, home: NodeId) {
        let Some(session) = self.remote.sessions.get_mut(&number) else { return };
        let Some(mut sync) = session.session.take_sync() else { return };
        for (tag, next) in &mut sync.consumers {
            *next = session.first_without_content(*tag).map_or(*next, |first| first.min(*next));
        }
        let queue = session.id;
        self.say(home, &Frame::Sync { queue, sync });
    }

    /// Checks what must hold between inputs.
    pub(super) fn check_remote_invariants(&self) {
        let Remote { sessions, by_user, consumers, shared, .. } = &self.remote;
        for ((user, queue), number) in by_user {
            let session = sessions.get(number).expect("a user's session is there");
            assert_eq!((session.user, session.queue), (*user, *queue), "session {number} is its user's");
        }
        let listed: usize = sessions.values().map(|session| session.consumers.len()).sum();
        assert_eq!(listed, consumers.len(), "consumers have a session");
        for (number, session) in sessions {
            assert!(self.metadata.queue_by_key(session.queue).is_some(), "the queue of session {number} is there");
            for (tag, key) in &session.consumers {
                let consumer = consumers.get(*key).expect("it is listed");
                assert_eq!((consumer.session, consumer.tag), (*number, *tag), "a consumer is its session's");
            }
        }
        assert!(shared.values().all(|shared| shared.parts > 0), "what has no part left is over");
    }
}

//! What all connections of a node share: metadata, queues, the log, and who waits for what.
//!
//! A connection changes the broker directly and learns what that meant for others never: deliveries, cancellations and answers that
//! come later are left in [`Broker::active`], [`Broker::notices`] and the waiting lists, and the engine brings them round once the
//! connection is done.

mod administer;
mod announce;
mod aside;
mod bury;
mod clustered;
mod consume;
mod damaged;
mod declare;
mod departures;
mod early;
mod expiry;
mod firehose;
mod guests;
mod health;
mod holds;
mod internal;
mod placement;
mod publish;
mod recovery;
mod remote;
mod replicas;
mod reply;
mod sessions;
mod timeout;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use slotmap::SecondaryMap;

use crate::alarm::Alarms;
use crate::amqp::{AmqpError, ShortStr};
use crate::buggify::Buggify;
use crate::cluster::peers::Peers;
use crate::collections::{IdMap, NameMap};
use crate::config::Config;
use crate::event::Event;
use crate::ids::{AdminId, ChannelNumber, ConnectionId, Lsn, NodeId, PublishSeqno, QueueId};
use crate::limits;
use crate::management::{AdminAnswer, AdminReply, ConnectionRequest};
use crate::message::Message;
use crate::metadata::{Command, Metadata, VhostKey};
use crate::queue::quorum::DeathNumber;
use crate::queue::{ClassicQueue, ConsumerKey};
use crate::routing::{QueueKey, RouteScratch};
use crate::storage::{Log, Ref, Until};
use crate::time::{Instant, Now, Timestamp};
use crate::timer::Timers;

use administer::{Errands, LateAnswer, Scans};
use aside::Memories;
pub(crate) use damaged::OnlyHere;
use departures::Departures;
pub(crate) use firehose::Witness;
use guests::Guests;
pub(crate) use internal::Internal;

use health::Health;
pub(crate) use holds::Holds;
pub(crate) use publish::Routed;
use remote::Remote;
pub(crate) use remote::{Asked, AskedOf, Wanted};
use replicas::{Replicas, Turnings};
pub(crate) use reply::is_reply_name;
pub(crate) use sessions::{ConnectionLimits, Sessions};

/// The state that connections share.
#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) config: Config,
    /// The time of the input that is being handled.
    pub(crate) now: Now,
    /// What the machines wait for.
    pub(crate) timers: Timers,
    pub(crate) metadata: Metadata,
    pub(crate) log: Log,
    /// The other nodes; `None` where there are none.
    pub(crate) peers: Option<Box<Peers>>,
    entry: clustered::Entry,
    /// Commands that the cluster was asked for and has not decided, in order.
    asked: VecDeque<clustered::Asked>,
    loads: placement::Loads,
    /// Queues that are to go and for which the cluster could not be asked yet.
    deletions: VecDeque<Command>,
    pub(crate) queues: Queues,
    /// Queues of other nodes that are used from here.
    pub(crate) remote: Remote,
    /// Channels of other nodes that use queues of this one.
    guests: Guests,
    /// Replicas of quorum queues.
    replicas: Replicas,
    /// Classic queues of this one that are to have replicas.
    turnings: Turnings,
    /// What exchanges and queues remember of messages.
    memories: Memories,
    /// Who is connected.
    pub(crate) sessions: Sessions,
    /// What delayed exchanges hold back.
    pub(crate) holds: Holds,
    /// Answers to operators that wait for the log to be durable, in order.
    late_answers: VecDeque<LateAnswer>,
    /// Operators who look into queues.
    scans: Scans,
    /// What operators have asked that other nodes have a part in.
    errands: Errands,
    /// Queues that may have something to deliver, each once.
    active: VecDeque<QueueKey>,
    /// Queues with limits that messages of the present command came back to.
    returned: Vec<QueueKey>,
    /// Queues with bodies to drop once the log has them, each once.
    droppers: Vec<QueueKey>,
    /// Who waits for the log to be durable up to where, in order.
    /// Who waits for the log to be durable.
    sync_waiters: VecDeque<Waiter>,
    /// Who waits for it to be written.
    write_waiters: VecDeque<Waiter>,
    /// Metadata commands in the log that are not durable yet, in order.
    proposals: VecDeque<Proposal>,
    /// Names the proposals are about, each with how many.
    pending_names: BTreeMap<Name, usize>,
    /// Channels that wait for proposals about a name they need.
    pub(crate) blocked_channels: Vec<ChannelRef>,
    /// Whether a proposal was applied since they were looked at.
    pub(crate) have_names_changed: bool,
    /// Queues that go with their connection.
    exclusive: BTreeSet<(ConnectionId, QueueKey)>,
    /// Channels that take replies, by the name that leads to them.
    reply_consumers: NameMap<ShortStr, ChannelRef>,
    /// What is short, so that publishers are stopped.
    pub(crate) alarms: Alarms,
    /// How this node is, as others were told, and how they are.
    health: Health,
    /// Connections stopped by the alarm.
    pub(crate) alarm_paused: Vec<ConnectionId>,
    /// Connections stopped because the log is behind.
    pub(crate) log_paused: Vec<ConnectionId>,
    /// What other channels have to be told.
    pub(crate) notices: VecDeque<Notice>,
    pub(crate) events: Vec<Event>,
    /// Answers to operators.
    pub(crate) answers: Vec<AdminAnswer>,
    /// Requests of operators on their way.
    administration: administer::Administration,
    /// Messages that the broker itself is about to publish.
    internal: VecDeque<Internal>,
    /// What is remembered of messages that are gone.
    departures: Departures,
    /// Queues with dead that nobody took.
    parked: BTreeSet<QueueKey>,
    /// Messages that full queues have refused and want dead-lettered.
    refused: VecDeque<(QueueKey, Arc<Message>)>,
    /// Queues whose dead wait until the log has caught up, or until others have had their turn.
    stalled: BTreeSet<QueueKey>,
    /// Dead letters that may still be made for the present input.
    pub(crate) dead_letters_left: u32,
    pub(crate) buggify: Buggify,
    rng: ChaCha8Rng,
    /// Bytes of message bodies in memory, over all queues.
    body_bytes: usize,
    route_scratch: RouteScratch,
    routed: Vec<QueueKey>,
    refs: Vec<Ref>,
}

/// The queue machines, by key and by incarnation.
#[derive(Debug, Default)]
pub(crate) struct Queues {
    by_key: SecondaryMap<QueueKey, ClassicQueue>,
    /// Those that are on their way to having replicas: nobody uses them, and the log keeps what they have.
    aside: BTreeMap<QueueKey, ClassicQueue>,
    keys: IdMap<u64, QueueKey>,
}

impl Queues {
    pub(crate) fn get(&self, key: QueueKey) -> Option<&ClassicQueue> {
        self.by_key.get(key)
    }

    pub(crate) fn get_mut(&mut self, key: QueueKey) -> Option<&mut ClassicQueue> {
        self.by_key.get_mut(key)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (QueueKey, &ClassicQueue)> {
        self.by_key.iter()
    }

    fn insert(&mut self, key: QueueKey, queue: ClassicQueue) {
        self.keys.insert(queue.id.0, key);
        self.by_key.insert(key, queue);
    }

    fn remove(&mut self, key: QueueKey) -> Option<ClassicQueue> {
        let queue = self.by_key.remove(key)?;
        self.keys.remove(&queue.id.0);
        Some(queue)
    }

    /// A queue is used no more, and is put aside or back.
    fn take_out(&mut self, key: QueueKey) -> Option<ClassicQueue> {
        self.by_key.remove(key)
    }

    fn put_aside(&mut self, key: QueueKey, mut queue: ClassicQueue) {
        (queue.is_active, queue.is_dropper) = (false, false);
        self.aside.insert(key, queue);
    }

    fn take_aside(&mut self, key: QueueKey) -> Option<ClassicQueue> {
        let queue = self.aside.remove(&key)?;
        self.keys.remove(&queue.id.0);
        Some(queue)
    }

    fn aside_mut(&mut self, key: QueueKey) -> Option<&mut ClassicQueue> {
        self.aside.get_mut(&key)
    }

    fn is_aside(&self, key: QueueKey) -> bool {
        self.aside.contains_key(&key)
    }

    /// Whether bodies of one that is aside are being read.
    fn is_aside_reading(&self, key: QueueKey) -> bool {
        self.aside.get(&key).is_some_and(ClassicQueue::is_reading)
    }

    fn aside_len(&self) -> usize {
        self.aside.len()
    }

    /// All, used or aside.
    fn all(&self) -> impl Iterator<Item = (QueueKey, &ClassicQueue)> {
        self.by_key.iter().chain(self.aside.iter().map(|(key, queue)| (*key, queue)))
    }

    /// One that is used, or aside.
    fn wherever(&self, key: QueueKey) -> Option<&ClassicQueue> {
        self.by_key.get(key).or_else(|| self.aside.get(&key))
    }

    fn wherever_mut(&mut self, key: QueueKey) -> Option<&mut ClassicQueue> {
        match self.by_key.get_mut(key) {
            Some(queue) => Some(queue),
            None => self.aside.get_mut(&key),
        }
    }

    fn by_owner(&self, owner: u64) -> Option<&ClassicQueue> {
        self.wherever(*self.keys.get(&owner)?)
    }
}

/// One incarnation of a channel: a number that is used again is another channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ChannelRef {
    pub(crate) connection: ConnectionId,
    pub(crate) channel: ChannelNumber,
    pub(crate) epoch: u32,
}

impl ChannelRef {
    /// Stands for channels of other nodes, and for the broker itself, where it only counts that it is a client who publishes.
    const OF_GUEST: Self = Self { connection: ConnectionId(0), channel: ChannelNumber(0), epoch: 0 };
}

/// Somebody who waits for the log.
#[derive(Debug)]
struct Waiter {
    end: Lsn,
    channel: ChannelRef,
    what: Durable,
}

/// What became safe for a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durable {
    /// A publish, which is to be confirmed.
    Publish(PublishSeqno),
    /// A transaction.
    Commit,
    /// This node's part of a publish or transaction that other nodes have a part of.
    Part(u64),
    /// A dead letter of a replicated queue that this node leads, and of no channel.
    DeadLetter {
        /// Whose.
        queue: QueueId,
        /// Which.
        number: DeathNumber,
    },
}

/// A metadata command on its way.
#[derive(Debug)]
struct Proposal {
    end: Lsn,
    command: Command,
    /// Whether it is in the log, or only waits for its turn behind others that are.
    is_logged: bool,
    names: Vec<Name>,
    requester: Option<Requester>,
}

/// Who waits for a metadata command.
#[derive(Debug)]
pub(crate) enum Requester {
    /// A channel, which gets [`Notice::Applied`].
    Channel(ChannelRef),
    /// An operator, who gets this answer if all goes well.
    Admin { id: AdminId, reply: AdminReply },
}

impl Requester {
    /// The same once more, for who hears of a failure.
    fn again(&self) -> Self {
        match self {
            Self::Channel(channel) => Self::Channel(*channel),
            Self::Admin { id, .. } => Self::Admin { id: *id, reply: AdminReply::Done },
        }
    }
}

/// The name of something a metadata command is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Name {
    /// An exchange, by vhost and name.
    Exchange(ShortStr, ShortStr),
    /// A queue, by vhost and name.
    Queue(ShortStr, ShortStr),
}

/// Something another channel has to be told.
#[derive(Debug)]
pub(crate) enum Notice {
    /// A consumer's queue has gone.
    ConsumerGone { connection: ConnectionId, channel: ChannelNumber, index: u32, key: ConsumerKey },
    /// What holds for a consumer's queue has changed.
    QueueSettings { connection: ConnectionId, channel: ChannelNumber, index: u32, key: ConsumerKey },
    /// A consumer's queue is used as one with replicas from here on.
    ConsumerMoved {
        connection: ConnectionId,
        channel: ChannelNumber,
        queue: QueueKey,
        key: ConsumerKey,
        wanted: Wanted,
    },
    /// What a `basic.get` waited for has gone, or its queue.
    GetGone { connection: ConnectionId, channel: ChannelNumber },
    /// The node of the queue that a `basic.get` asked is lost, or the queue.
    GetFailed { channel: ChannelRef, error: AmqpError },
    /// A queue of another node has taken a consumer, or not.
    Subscribed { channel: ChannelRef, key: ConsumerKey, result: Result<(), AmqpError> },
    /// A queue of another node has let a consumer go.
    Cancelled { channel: ChannelRef },
    /// A queue of another node was asked for something.
    Asked { channel: ChannelRef, result: Result<Asked, AmqpError> },
    /// Somebody answered a request; see [`is_reply_name`].
    Reply { channel: ChannelRef, name: ShortStr, message: Arc<Message> },
    /// A metadata command was applied, or failed.
    Applied { channel: ChannelRef, result: Result<(), AmqpError> },
    /// A vhost has gone.
    VhostGone(VhostKey),
    /// A user has gone.
    UserGone(ShortStr),
    /// The log is durable up to where somebody waited for.
    Durable { channel: ChannelRef, what: Durable },
    /// A queue of another node has refused what somebody waits for.
    Refused { channel: ChannelRef, what: Durable },
    /// A node asks for connections of this one, by the number of its question.
    ConnectionsAsked { from: NodeId, number: u64, request: ConnectionRequest },
}

/// What became of a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Published {
    /// No queue took it.
    Unroutable,
    /// Every queue that took it has it for as long as it promised to.
    Kept,
    /// It is kept once the log is so far.
    KeptAt(Until),
    /// One queue at least refused it; others may have it.
    Refused,
    /// Queues of other nodes have a part of it. Who waits is told when all have said what became of theirs.
    Awaited,
}

impl Published {
    /// What became of a publish of which one part went here and one there.
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Awaited, _) | (_, Self::Awaited) => Self::Awaited,
            (Self::Unroutable | Self::Kept, other @ (Self::Kept | Self::KeptAt(_))) => other,
            (Self::Refused, _) | (_, Self::Refused) => Self::Refused,
            (Self::KeptAt(one), Self::KeptAt(other)) => Self::KeptAt(one.and(other)),
            (one, _) => one,
        }
    }
}

impl Broker {
    /// A broker before recovery.
    pub(crate) fn new(config: Config, seed: [u8; 32]) -> Self {
        let mut rng = ChaCha8Rng::from_seed(seed);
        let route_scratch = RouteScratch::new(rng.next_u64());
        Self {
            metadata: Metadata::new(rng.next_u64()),
            log: Log::new(config.log.clone(), rng.next_u64()).buggified(Buggify::of(&config, 1)),
            buggify: Buggify::of(&config, 0),
            alarms: Alarms::new(config.resources),
            config,
            now: Now { mono: Instant::ZERO, wall: Timestamp::default() },
            timers: Timers::default(),
            peers: None,
            entry: clustered::Entry::default(),
            asked: VecDeque::new(),
            loads: placement::Loads::default(),
            deletions: VecDeque::new(),
            queues: Queues::default(),
            remote: Remote::default(),
            guests: Guests::default(),
            replicas: Replicas::default(),
            turnings: Turnings::default(),
            memories: Memories::default(),
            sessions: Sessions::default(),
            holds: Holds::default(),
            late_answers: VecDeque::new(),
            scans: Scans::default(),
            errands: Errands::default(),
            active: VecDeque::new(),
            returned: Vec::new(),
            droppers: Vec::new(),
            sync_waiters: VecDeque::new(),
            write_waiters: VecDeque::new(),
            proposals: VecDeque::new(),
            pending_names: BTreeMap::new(),
            blocked_channels: Vec::new(),
            have_names_changed: false,
            exclusive: BTreeSet::new(),
            reply_consumers: NameMap::new(rng.next_u64()),
            health: Health::default(),
            alarm_paused: Vec::new(),
            log_paused: Vec::new(),
            notices: VecDeque::new(),
            events: Vec::new(),
            answers: Vec::new(),
            administration: administer::Administration::default(),
            internal: VecDeque::new(),
            departures: Departures::default(),
            parked: BTreeSet::new(),
            refused: VecDeque::new(),
            stalled: BTreeSet::new(),
            dead_letters_left: limits::DEAD_LETTERS_EACH,
            rng,
            body_bytes: 0,
            route_scratch,
            routed: Vec::new(),
            refs: Vec::new(),
        }
    }

    /// Sixteen bytes that nobody can guess, for names the server makes.
    pub(crate) fn random_bytes(&mut self) -> [u8; 16] {
        let mut bytes = [0; 16];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }

    /// Thirty-two bytes that nobody can guess, for the seeds of others.
    pub(crate) fn random_seed(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }

    /// Bytes of message bodies in memory.
    pub(crate) fn body_bytes(&self) -> usize {
        self.body_bytes
    }

    /// Takes what the log has found of the disk. Whether an alarm ended, so that publishers may go on.
    pub(crate) fn check_log_full(&mut self) -> bool {
        self.alarms.set_log_full(self.log.is_full()) && self.alarms.check(&mut self.events)
    }

    /// Checks the broker's invariants.
    ///
    /// # Panics
    /// If one is broken.
    pub(crate) fn check_invariants(&self) {
        assert!(!self.has_unsettled(), "what came of an input is brought round before the next");
        let mut bytes = 0;
        for (key, queue) in self.queues.all() {
            queue.check_invariants();
            bytes += queue.body_bytes();
            assert_eq!(
                self.metadata.queue_by_key(key).map(|record| record.id),
                Some(queue.id),
                "a machine has a record"
            );
        }
        for (key, hold) in self.holds.iter() {
            hold.check_invariants();
            bytes += hold.body_bytes();
            assert_eq!(
                self.metadata.exchange_by_key(key).and_then(|record| record.hold),
                Some(hold.id),
                "a hold has an exchange"
            );
        }
        assert_eq!(bytes, self.body_bytes, "bytes in memory are counted over all queues and holds");
        let here = self.metadata.queues_here().count();
        assert_eq!(here, self.queues.iter().count(), "the record of a queue on this node has a machine");
        if let Some(peers) = &self.peers {
            peers.check_invariants();
            self.check_remote_invariants();
            self.check_guest_invariants();
            self.check_replica_invariants();
        }
        self.log.check_invariants();
    }
}

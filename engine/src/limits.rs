//! Every limit of the engine, with its unit and its reason. What a user may change is in [`crate::config`], with these as defaults.

use core::time::Duration;

/// Channels per connection; RabbitMQ's default `channel_max`.
pub const CHANNEL_MAX: u16 = 2047;
/// Bytes of the largest frame; RabbitMQ's default `frame_max`.
pub const FRAME_MAX: u32 = 131_072;
/// Bytes of the smallest `frame_max` a client may ask for (AMQP 0-9-1 §4.2.3, `frame-min-size`). RabbitMQ 4.1 wants 8192, which shuts
/// out amqplib before 0.10.7.
pub const FRAME_MIN: u32 = 4096;
/// Bytes of the largest frame before the connection is tuned; RabbitMQ's `initial_frame_max`.
pub const INITIAL_FRAME_MAX: u32 = 8192;
/// Heartbeat interval offered to clients; RabbitMQ's default.
pub const HEARTBEAT: Duration = Duration::from_secs(60);
/// Time from accept to `connection.open`; RabbitMQ's default `handshake_timeout`.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a delivery may stay unacked before its consumer is cancelled; RabbitMQ's default `consumer_timeout`.
pub const CONSUMER_TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// How long messages of a consumer whose node cannot be reached stay its own; RabbitMQ's default `consumer_disconnected_timeout`.
pub const CONSUMER_DISCONNECTED_TIMEOUT: Duration = Duration::from_secs(60);
/// How often a channel looks at most for deliveries that stay unacked for too long: each look walks through all it has. RabbitMQ's
/// classic queues are looked at once a minute.
pub const CONSUMER_TIMEOUT_TICK: Duration = Duration::from_secs(1);
/// Time a client has to answer `connection.close` before its socket is closed.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time a client has to read why, after it sent what is no frame, before its socket is closed; as RabbitMQ.
pub const BROKEN_STREAM_CLOSE_DELAY: Duration = Duration::from_secs(3);
/// The same while the node stops. With the time that a driver gives a client to read the rest, a stop takes less than the ten seconds
/// after which container managers kill.
pub const SHUTDOWN_CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes of the largest message body; RabbitMQ 4's default `max_message_size`.
pub const MESSAGE_SIZE_MAX: u64 = 16 * 1024 * 1024;
/// Bytes of a client's input that are handled before the queues they filled are drained. What was just published is then still in the
/// processor's cache when it is delivered, and its memory is used again for what comes next.
pub const INPUT_SLICE_BYTES: usize = 32 * 1024;
/// Bytes waiting for one client's socket above which queues stop delivering to it. Large enough for several full writes of a fast
/// reader, small enough that ten thousand stopped readers fit in memory only as long as most of them have nothing waiting.
pub const OUTBOX_HIGH_BYTES: usize = 1024 * 1024;
/// Bytes waiting below which delivery resumes.
pub const OUTBOX_LOW_BYTES: usize = 256 * 1024;
/// Bytes waiting above which the client is not read any more: it asks for more answers than it takes.
pub const OUTBOX_STOP_BYTES: usize = 4 * 1024 * 1024;
/// Bytes waiting for one client's socket above which replies to its requests are dropped, which are kept nowhere else: enough for the
/// largest message a few times over.
pub const REPLY_OUTBOX_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Delayed messages released at a time, between which others have their turn.
pub const RELEASE_BATCH: u32 = 1000;
/// How long further delayed messages that are due wait after these, and when the log is behind.
pub const RELEASE_PAUSE: Duration = Duration::from_millis(5);
/// How long a delayed exchange goes at most without comparing its next message with the wall clock, which may have been set since.
pub const HOLD_LOOK: Duration = Duration::from_secs(10);
/// Bytes of messages that one recent history exchange keeps, whatever their number may be.
pub const HISTORY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of one log segment: the unit in which space is taken and given back.
pub const SEGMENT_BYTES: u64 = 16 * 1024 * 1024;
/// Bytes the log may use beyond twice its live bytes before its oldest segment is cleaned.
pub const LOG_SLACK_BYTES: u64 = 48 * 1024 * 1024;
/// Bytes of appends not yet written above which publishers are not read: the disk is slower than they are.
pub const LOG_PENDING_HIGH_BYTES: usize = 32 * 1024 * 1024;
/// Bytes of appends not yet written below which publishers are read again.
pub const LOG_PENDING_LOW_BYTES: usize = 8 * 1024 * 1024;
/// Bytes of one append, unless a single record is larger: a bound on how long one write holds up the next sync.
pub const LOG_APPEND_BYTES: usize = 4 * 1024 * 1024;
/// How long records that nobody waits for may stay unsynced.
pub const LOG_SYNC_INTERVAL: Duration = Duration::from_millis(200);
/// How long to wait before trying again when the disk was full.
pub const DISK_RETRY: Duration = Duration::from_millis(500);
/// Bytes below which a disk has too little free space; RabbitMQ's default `disk_free_limit`.
pub const DISK_FREE_LIMIT_BYTES: u64 = 50_000_000;
/// Bytes per millisecond that a disk is taken to fill with at most, when its next measurement is planned; as RabbitMQ.
pub const DISK_FILL_BYTES_PER_MS: u64 = 250_000;
/// The shortest time between two measurements of memory and disk; as RabbitMQ.
pub const RESOURCE_SAMPLE_MIN: Duration = Duration::from_millis(100);
/// The longest time between two measurements of memory and disk; RabbitMQ's for memory.
pub const RESOURCE_SAMPLE_MAX: Duration = Duration::from_millis(2500);
/// Messages that an operator is shown at once, unless more are asked for.
pub const PEEK_COUNT_MAX: u64 = 1000;
/// Bytes of messages above which an operator is shown no more, however many are asked for.
pub const PEEK_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Operators who may look into queues at the same time: each keeps 8 bytes for every message of its queue.
pub const SCANS_MAX: usize = 16;
/// Bytes of message bodies one queue keeps in memory although they are in the log.
pub const QUEUE_CACHE_BYTES: usize = 1024 * 1024;
/// Bytes asked of the disk at once when a queue's next messages are not in memory.
pub const READ_AHEAD_BYTES: u32 = 256 * 1024;
/// Bytes of message bodies in memory, over all queues, above which transient messages go to the disk too.
pub const MEMORY_HIGH_BYTES: usize = 256 * 1024 * 1024;
/// Bytes of messages one transaction may hold before it is committed.
pub const TX_BYTES_MAX: usize = 128 * 1024 * 1024;
/// Messages that left without having been acked which one queue or exchange remembers.
pub const DEPARTURES_EACH: usize = 32;
/// The same over all of them, at about 150 bytes each; beyond that each remembers one.
pub const DEPARTURES_MAX: usize = 65_536;
/// Dead letters made for one input; one with large properties counts as several. Others get their turn before the rest, or a message
/// that dies in one queue after the other would keep everybody waiting.
pub const DEAD_LETTERS_EACH: u32 = 256;
/// Bytes of properties that count as one more.
pub const DEAD_LETTER_STEP_BYTES: usize = 1024;
/// When the rest goes on.
pub const DEAD_LETTER_PAUSE: Duration = Duration::from_millis(1);
/// Dead letters that nobody took which a queue tries again at once.
pub const DEAD_LETTER_WINDOW: usize = 32;
/// How long a queue waits before it tries some of them again.
pub const DEAD_LETTER_RETRY: Duration = Duration::from_secs(1);
/// Commands a channel keeps behind one that is not done, above which its client is not read.
pub const CHANNEL_BACKLOG_HIGH: usize = 1024;
/// Queues that share one record of a message in the log; beyond that it is written again. A queue keeps the number in one byte.
pub const RECORD_SHARES_MAX: usize = 255;
/// Bytes of one regular expression of a permission or a policy; RabbitMQ has no limit, but PCRE has one of 64 KiB compiled.
pub const PATTERN_BYTES_MAX: usize = 4096;
/// Steps a regular expression may go back in one search. Names have at most 255 bytes, for which honest expressions need hundreds.
pub const PATTERN_STEPS_MAX: usize = 20_000;
/// Bytes of the automaton of one regular expression.
pub const PATTERN_AUTOMATON_BYTES_MAX: usize = 1024 * 1024;
/// Vhosts, users and policies of one kind per vhost: a bound on what one mistaken script can do to a node's memory.
pub const NAMES_MAX: usize = 100_000;
/// Operators' requests that wait for the one before to be durable.
pub const ADMIN_WAITING_MAX: usize = 10_000;
/// Unacked deliveries of a consumer of a quorum queue that asks for any number; as RabbitMQ.
pub const QUORUM_PREFETCH_MAX: u32 = 2000;
/// Deliveries or dead letters that one command to a quorum queue names: what applying one command costs has a bound.
pub const QUORUM_NUMBERS_MAX: u64 = 65_536;
/// The highest number of a command within its session: a million a second reach it in a hundred thousand years.
pub const QUORUM_SEQNO_MAX: u64 = 1 << 62;
/// Bytes above which a piece of a quorum queue's snapshot ends: small enough to stand between other messages on a link.
pub const QUORUM_SNAPSHOT_PIECE_BYTES: usize = 64 * 1024;
/// Members of one group: RabbitMQ's clusters have at most a dozen nodes, and a vote of more takes too long.
pub const GROUP_MEMBERS_MAX: usize = 64;
/// The clock of all groups: what raft calls a tick. Ten of them without a word from the leader are an election.
pub const GROUP_TICK: Duration = Duration::from_millis(100);
/// Ticks of silence after which a member may campaign at the earliest: several heartbeats, and above any pause that is no failure.
pub const GROUP_ELECTION_TICKS: usize = 10;
/// Ticks between two heartbeats.
pub const GROUP_HEARTBEAT_TICKS: usize = 2;
/// Ticks at most that are made up for at once: after a longer pause what others sent meanwhile is still to be read.
pub const GROUP_TICKS_AT_ONCE: u64 = 2;
/// Ticks without work after which a group hibernates: as long as three elections, so that a slow client does not wake it each time.
pub const GROUP_SLEEP_TICKS: u32 = 30;
/// Ticks after which a snapshot that nobody has answered is offered again. Long, since a member that fetches one ignores the offer.
pub const GROUP_SNAPSHOT_TICKS: u32 = 50;
/// How often nodes that share groups let each other know that they live.
pub const PEER_PING_INTERVAL: Duration = Duration::from_millis(500);
/// How long a node may be silent until the groups that it leads are woken: three pings lost, and one late.
pub const PEER_SUSPECT_AFTER: Duration = Duration::from_secs(2);
/// Bytes of entries that a group keeps in memory for its other members; older ones come from the log.
pub const GROUP_WINDOW_BYTES: usize = 256 * 1024;
/// Entries that a group keeps in memory for its other members, each of about 150 bytes.
pub const GROUP_WINDOW_ENTRIES: usize = 1024;
/// Bytes of entries in one append: a bound on how long other groups' messages wait behind it.
pub const GROUP_APPEND_BYTES: u64 = 512 * 1024;
/// Appends under way to one member of one group (Raft thesis §10.2.1).
pub const GROUP_APPENDS_IN_FLIGHT: usize = 32;
/// Bytes of commands of one group that are not committed, above which more are refused; one may always be.
pub const GROUP_UNCOMMITTED_BYTES: u64 = 32 * 1024 * 1024;
/// Bytes of committed entries that one group hands out at a time. Others have their turn before the rest.
pub const GROUP_APPLY_BYTES: u64 = 1024 * 1024;
/// Reads of one group that wait for a majority, above which more are refused.
pub const GROUP_READS_MAX: usize = 1024;
/// Bytes of a node's name, as in its hello and in the table of nodes; RabbitMQ's are Erlang atoms of at most 255 characters.
pub const NODE_NAME_BYTES_MAX: usize = 255;
/// How long a node that pauses in a minority waits for links to come back before it turns its clients away: as long as the first few
/// attempts to reach a node that is there take.
pub const MINORITY_GRACE: Duration = Duration::from_secs(1);
/// How long an operator waits for other nodes, or for the members of a queue to be others; as RabbitMQ for its queues' members.
pub const INQUIRY_TIMEOUT: Duration = Duration::from_secs(5);
/// Nodes that came back with another disk of which it is known for whom they came, so that they get the replicas of those. A queue that
/// did not notice for so many of them will not.
pub const NODE_SUCCESSORS_MAX: usize = 1024;
/// How long a change of what is declared may wait for a majority of the nodes, as RabbitMQ's `metadata_store.khepri.default_timeout`.
pub const METADATA_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a node looks again whether its cluster is as it should be: asks to be taken in, repeats commands that were lost, has
/// members added and removed. Each look costs one message at most per command that waits.
pub const CLUSTER_LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// Commands of one node that its cluster has not carried out, above which it takes no more.
pub const CLUSTER_COMMANDS_MAX: usize = 10_000;
/// Commands that are sent to the leader before the first of them is carried out.
pub const CLUSTER_COMMANDS_UNDER_WAY: usize = 256;
/// Replicas of a quorum queue that does not say how many, as RabbitMQ has it: one may be away and the others go on.
pub const QUORUM_INITIAL_GROUP_SIZE: u32 = 3;
/// Commands after which a node writes the cluster's state down and gives up the log before it.
pub const CLUSTER_LOG_ENTRIES: u64 = 4096;
/// Entries that are kept all the same, for nodes that were away for a moment.
pub const CLUSTER_LOG_KEPT: u64 = 1024;
/// Records that are read at a time while a node starts.
pub const BOOT_READS: usize = 32;
/// Entries that are read from the log at a time for a node that lags behind.
pub const FETCH_ENTRIES: u64 = 64;
/// Bytes given to the driver for one link that are not written yet. What is urgent waits behind no more than that.
pub const LINK_WINDOW_BYTES: usize = 256 * 1024;
/// Time from the first byte to the proof of both nodes; as Erlang's `net_setuptime`.
pub const LINK_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(7);
/// How often a node gives a sign of life over a link.
pub const LINK_SIGN_INTERVAL: Duration = Duration::from_secs(2);
/// A link over which nothing came for so long is given up: four signs of life are missing.
pub const LINK_SILENCE: Duration = Duration::from_secs(8);
/// Bytes of one greeting, before somebody has proven to be a node: three times what a hello of today takes, for what will be added.
pub const LINK_GREETING_BYTES_MAX: usize = 1024;
/// Bytes of the text with which a node refuses another: a few lines.
pub const LINK_REFUSAL_BYTES_MAX: usize = 512;
/// Time to read why, for a node that is refused, before its socket is closed.
pub const LINK_CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes of a message between which others may go first: half a millisecond on a link of a gigabit a second.
pub const LINK_CHUNK_BYTES: usize = 64 * 1024;
/// Bytes of other lanes after which a chunk of a less urgent one goes, so that it gets about an eighth of the link at least.
pub const LINK_SHARE_BYTES: usize = 7 * LINK_CHUNK_BYTES;
/// Bytes of a chunk up to which copying it beside its header costs less than a buffer of its own.
pub const LINK_COPY_BYTES_MAX: usize = 4096;
/// Bytes of the largest message about membership: lists of names and nodes.
pub const LINK_CONTROL_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of the largest message that moves clients' messages: as large as a transaction may be.
pub const LINK_MESSAGE_BYTES_MAX: usize = 128 * 1024 * 1024;
/// Bytes of the largest piece of a snapshot: a thousand of those that quorum queues make.
pub const LINK_BULK_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of messages that have come in part, over all lanes: the largest of each.
pub const LINK_REASSEMBLED_BYTES_MAX: usize = LINK_CONTROL_BYTES_MAX + 2 * LINK_MESSAGE_BYTES_MAX + LINK_BULK_BYTES_MAX;
/// Bytes taken for a message at its first chunk, whatever length it announces; beyond that only as they arrive.
pub const LINK_RESERVE_BYTES: usize = 1024 * 1024;
/// Bytes waiting in one lane from which it counts as congested: 70 ms on a link of a gigabit a second.
pub const LINK_LANE_HIGH_BYTES: usize = 8 * 1024 * 1024;
/// Bytes waiting in one lane down to which it stays congested.
pub const LINK_LANE_LOW_BYTES: usize = 2 * 1024 * 1024;
/// Bytes waiting in one lane above which it takes no more: room for what is sent in spite of congestion. One message always fits.
pub const LINK_LANE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of entries that a replica keeps in memory for deliveries.
pub const REPLICA_RECENT_BYTES: usize = 1024 * 1024;
/// Entries in front of a written state that stay in a queue's log, for members that lag behind a little.
pub const REPLICA_LOG_KEPT: u64 = 256;
/// Messages whose bodies a leader proposes again at a time, so that its group's log may begin later.
pub const REPLICA_CARRY_MESSAGES: usize = 256;
/// Bytes of them, unless one alone is longer.
pub const REPLICA_CARRY_BYTES: u64 = 256 * 1024;
/// Classic queues of a node that get replicas at the same time, of those that a policy has come to mirror. Each waits for the disk between
/// its entries, so a few keep that busy.
pub const TURNINGS_MAX: usize = 4;
/// Messages of such a queue in one entry: one batch does not keep others of the node waiting.
pub const TURNING_MESSAGES: usize = 1024;
/// Bytes of them, beyond which no other follows.
pub const TURNING_BYTES: usize = 256 * 1024;
/// Sessions of other nodes that such a queue may have, each some 20 bytes of one entry. One with more of them stays on its node.
pub const TURNING_SESSIONS_MAX: usize = 10_000;
/// After this time whoever waits for the leader of a queue asks again, and a leader says again what it has to say.
pub const REPLICA_RETRY: Duration = Duration::from_millis(500);
/// How long a leader keeps settlements for the company of what comes next: above the distance of messages at some hundred a second, and
/// far below what anybody notices. What a consumer has acked is given out again if the nodes that know of it fail before that.
pub const REPLICA_COMPANY_WAIT: Duration = Duration::from_millis(10);
/// Bytes of settlements above which they go alone.
pub const REPLICA_COMPANY_BYTES: usize = 4 * 1024;
/// Questions of one node about one queue that are kept until they can be answered. Of more the oldest are forgotten: whoever asked them has
/// most likely gone.
pub const EARLY_QUESTIONS_MAX: usize = 1000;
/// What operators may want of one queue's members at the same time; others ask again.
pub const REPLICA_WISHES_MAX: usize = 1000;
/// How long a node without a link is waited for, before its queues count as out of reach and its sessions as over. A process that died
/// and one that restarts are known sooner; this is for a network that is cut, where RabbitMQ's `net_ticktime` takes a minute.
pub const REMOTE_GRACE: Duration = Duration::from_secs(5);
/// Sessions with queues on one node that were given up and may have been adopted by replicas, each some 100 bytes.
pub const REMOTE_FORSAKEN_MAX: usize = 10_000;
/// Bytes of deliveries on their way to a session of another node, beyond what its channel has taken.
pub const REMOTE_WINDOW_BYTES: u64 = 1024 * 1024;
/// Bytes of a session's commands that are sent in one piece.
pub const REMOTE_ENTRY_BYTES: usize = 64 * 1024;
/// Bytes of messages of one session that are not applied, above which its connection is not read.
pub const REMOTE_PENDING_HIGH_BYTES: usize = 4 * 1024 * 1024;
/// The same, at which it is read again.
pub const REMOTE_PENDING_LOW_BYTES: usize = 1024 * 1024;
/// The first pause between two attempts to reach a node; each further one is twice as long.
pub const DIAL_PAUSE_MIN: Duration = Duration::from_millis(200);
/// The longest pause between two attempts: how long an operator waits at most for a node that is back.
pub const DIAL_PAUSE_MAX: Duration = Duration::from_secs(10);
/// Time after which an attempt of which nothing was heard counts as failed: a connection, and the handshake.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a link has to last for the pauses to begin anew: one that is refused after its handshake is no success.
pub const DIAL_STEADY_AFTER: Duration = Duration::from_secs(5);

//! What will go wrong, and when.

use serde::{Deserialize, Serialize};

use super::{Knobs, is_default};
use crate::clock::Micros;

/// Something bad.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Fault {
    /// When it begins.
    pub at_us: Micros,
    /// How long it lasts; for an ending of the node, how long it stays away.
    #[serde(default, skip_serializing_if = "is_default")]
    pub for_us: Micros,
    /// What it is.
    pub kind: FaultKind,
    /// The node that it happens to, if it is a fault of a node, or between a node and its clients.
    #[serde(default, skip_serializing_if = "is_default")]
    pub node: usize,
    /// It happens to the node that leads the cluster when it begins, instead, if one does.
    #[serde(default, skip_serializing_if = "is_default")]
    pub of_leader: bool,
    /// It happens to the node that leads this queue when it begins, instead, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of_queue: Option<String>,
    /// What it waits for instead of a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<Trigger>,
}

/// What a fault waits for: the n-th time that something happens, and then a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trigger {
    /// What has to happen.
    pub moment: Moment,
    /// The queues that it has to happen to, by name; none means any.
    #[serde(default)]
    pub queues: Vec<String>,
    /// How often it has to happen, counted over the whole run.
    pub nth: u32,
    /// Whether it counts anew after that.
    #[serde(default)]
    pub repeats: bool,
    /// How long after that the fault begins.
    #[serde(default)]
    pub after_us: Micros,
}

/// Something that a fault can wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Moment {
    /// A publish was confirmed.
    Confirm,
    /// A publish was refused.
    Refusal,
    /// A publish went into a queue.
    Publish,
    /// A message went out to a consumer, or as the answer to a get.
    Delivery,
    /// A message left a queue for good.
    Settlement,
    /// A message left a queue without an ack: it expired, was dropped or was rejected.
    Death,
    /// A client's connection was accepted.
    Connection,
    /// Publishers are stopped, since memory or disk is short.
    Alarm,
    /// A consumer was cancelled for its slowness.
    ConsumerTimeout,
    /// The node starts; what follows is its recovery.
    Boot,
    /// The node has recovered.
    Ready,
    /// The node hands the disk something to write.
    Write,
    /// A write with a sync is under way: half of its time is over.
    Unsynced,
    /// A write with a sync is done, and the node is about to learn of it.
    Fsync,
}

/// How a node ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// The process is killed.
    Kill,
    /// The machine loses power.
    PowerLoss,
    /// It is asked to stop and does.
    Shutdown,
}

/// The kinds of faults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FaultKind {
    /// The node ends.
    End {
        /// How.
        how: Ending,
        /// Whether to wait for a moment when the disk is at work.
        #[serde(default, skip_serializing_if = "is_default")]
        busy: bool,
        /// How often it ends again while it recovers.
        #[serde(default, skip_serializing_if = "is_default")]
        again: u32,
    },
    /// The node ends, and starts again with an empty disk.
    Wipe,
    /// No space on the disk.
    DiskFull {
        /// For appends too, not only for new segments.
        #[serde(default, skip_serializing_if = "is_default")]
        append: bool,
    },
    /// One sync fails.
    FsyncError,
    /// The disk does nothing.
    DiskStall,
    /// The disk is slow.
    DiskSlow {
        /// So many times.
        factor: u32,
    },
    /// A client's connection is reset, wherever in a frame its bytes are.
    Reset {
        /// Which client.
        client: usize,
    },
    /// A client closes its socket without a word.
    Fin {
        /// Which client.
        client: usize,
    },
    /// A client's machine vanishes: nothing arrives any more, in neither direction, and nobody is told.
    HalfOpen {
        /// Which client.
        client: usize,
    },
    /// A client does not read.
    StopReading {
        /// Which client.
        client: usize,
    },
    /// A client's link is slow.
    SlowLink {
        /// Which client.
        client: usize,
        /// Its rate.
        bytes_per_ms: u32,
    },
    /// The process takes too much memory, or seems to.
    MemoryHigh,
    /// The disk has too little free space, or seems to.
    DiskLow,
    /// Reads fail now and then; beyond the claim.
    ReadErrors,
    /// One durable bit turns; beyond the claim.
    Rot,
    /// The process gets no time: its sockets stay open, its timers pass, and then everything comes at once.
    Pause,
    /// The node's wall clock jumps, for good.
    WallJump {
        /// Milliseconds; negative is back.
        millis: i64,
    },
    /// Both of the node's clocks run fast or slow.
    ClockDrift {
        /// Millionths by which they are too fast; negative is too slow.
        ppm: i32,
    },
    /// The machine loses power, and its wall clock starts in the year 2000. The network tells it the right time later.
    ClockReset {
        /// How long after the start.
        corrected_after_us: Micros,
    },
    /// The disk has no space for one kind of work.
    NoSpace {
        /// Which.
        work: DiskWork,
    },
    /// The next piece of work of one kind fails for no reason that the node learns (EIO).
    IoError {
        /// Which.
        work: DiskWork,
    },
    /// All files together may not be larger than this.
    DiskQuota {
        /// Bytes.
        bytes: u64,
    },
    /// The disk does nothing for a while, again and again.
    DiskStutter {
        /// From one halt to the next.
        every_us: Micros,
        /// Length of each.
        stall_us: Micros,
    },
    /// The file system takes no change: whoever tries gets an error.
    ReadOnly,
    /// The next write goes to another place of its file; beyond the claim.
    MisdirectedWrite,
    /// The next read comes from another place of its file; beyond the claim.
    MisdirectedRead,
    /// Syncs succeed and do nothing, so that a power loss takes what was promised; beyond the claim.
    LyingSync,
    /// A sector cannot be read until it is written again; beyond the claim.
    BadSector,
    /// What clients send, or what they are sent, or both, stays on its way. Nobody is told.
    NetworkCut {
        /// Bytes towards the node.
        up: bool,
        /// Bytes towards the clients.
        down: bool,
    },
    /// All connections are reset at once.
    ResetAll,
    /// The node's machine accepts no connections.
    NoAccept {
        /// Attempts are not even refused.
        silent: bool,
    },
    /// Everything takes longer on its way.
    LatencySpike {
        /// By so much.
        extra_us: Micros,
    },
    /// Something between clients and node ends connections that are silent for too long.
    IdleKill {
        /// Too long.
        after_us: Micros,
    },
    /// The node is stopped in order and starts with other settings, as a new version would.
    Reconfigure {
        /// The settings.
        knobs: Box<Knobs>,
    },
    /// Between nodes nothing passes on these ways, each from one to another.
    Partition {
        /// Which.
        ways: Vec<(usize, usize)>,
    },
    /// Nothing passes between a node and all others.
    Isolate {
        /// Towards it.
        inbound: bool,
        /// From it.
        outbound: bool,
    },
    /// Between nodes everything takes longer on these ways.
    SlowPeers {
        /// Which.
        ways: Vec<(usize, usize)>,
        /// By so much.
        extra_us: Micros,
        /// And no more than this passes; 0 is no limit.
        #[serde(default, skip_serializing_if = "is_default")]
        bytes_per_ms: u32,
    },
    /// So much is lost on these ways that for a while nothing arrives, again and again.
    LossyPeers {
        /// Which.
        ways: Vec<(usize, usize)>,
        /// From one halt to the next.
        every_us: Micros,
        /// Length of each.
        stall_us: Micros,
    },
    /// The connections between nodes on these ways break.
    ResetPeers {
        /// Which; the direction does not matter.
        ways: Vec<(usize, usize)>,
    },
}

/// Kinds of work for a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DiskWork {
    /// Making a segment.
    Create,
    /// Writing.
    Append,
    /// Reading.
    Read,
    /// Removing a segment.
    Delete,
}

impl FaultKind {
    /// Whether it happens to one node, or between that and its clients.
    pub(crate) fn is_of_node(&self) -> bool {
        self.clone().client_mut().is_none() && self.ways().is_none()
    }

    /// The ways between nodes that it is about, if it is about some.
    pub(crate) fn ways(&self) -> Option<&Vec<(usize, usize)>> {
        match self {
            Self::Partition { ways }
            | Self::SlowPeers { ways, .. }
            | Self::LossyPeers { ways, .. }
            | Self::ResetPeers { ways } => Some(ways),
            _ => None,
        }
    }

    /// The same, to change them.
    pub(crate) fn ways_mut(&mut self) -> Option<&mut Vec<(usize, usize)>> {
        match self {
            Self::Partition { ways }
            | Self::SlowPeers { ways, .. }
            | Self::LossyPeers { ways, .. }
            | Self::ResetPeers { ways } => Some(ways),
            _ => None,
        }
    }

    /// Whether it makes a disk full.
    pub(crate) fn takes_space(&self) -> bool {
        matches!(self, Self::DiskFull { .. } | Self::NoSpace { .. } | Self::DiskQuota { .. })
    }

    /// The client that it happens to; `None` where it is the node's or the disk's.
    pub(crate) fn client_mut(&mut self) -> Option<&mut usize> {
        match self {
            Self::Reset { client }
            | Self::Fin { client }
            | Self::HalfOpen { client }
            | Self::StopReading { client }
            | Self::SlowLink { client, .. } => Some(client),
            Self::End { .. }
            | Self::DiskFull { .. }
            | Self::FsyncError
            | Self::DiskStall
            | Self::DiskSlow { .. }
            | Self::MemoryHigh
            | Self::DiskLow
            | Self::ReadErrors
            | Self::Rot
            | Self::Pause
            | Self::WallJump { .. }
            | Self::ClockDrift { .. }
            | Self::ClockReset { .. }
            | Self::NoSpace { .. }
            | Self::IoError { .. }
            | Self::DiskQuota { .. }
            | Self::DiskStutter { .. }
            | Self::ReadOnly
            | Self::MisdirectedWrite
            | Self::MisdirectedRead
            | Self::LyingSync
            | Self::BadSector
            | Self::NetworkCut { .. }
            | Self::ResetAll
            | Self::NoAccept { .. }
            | Self::LatencySpike { .. }
            | Self::IdleKill { .. }
            | Self::Reconfigure { .. }
            | Self::Partition { .. }
            | Self::Isolate { .. }
            | Self::SlowPeers { .. }
            | Self::LossyPeers { .. }
            | Self::ResetPeers { .. }
            | Self::Wipe => None,
        }
    }
}

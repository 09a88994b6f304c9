//! The kinds of faults by the names that scenario files use. A new kind is one line.

use crate::clock::{MILLISECOND, Micros};
use crate::plan::{DiskWork, Ending, FaultKind};

/// What else a fault says, with what it is if it says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Details {
    /// How often an ending repeats during the recovery after it.
    pub(super) again: u32,
    /// How many times slower.
    pub(super) factor: u32,
    /// Bytes per millisecond.
    pub(super) rate: u32,
    /// Whether a full disk takes no appends either.
    pub(super) append: bool,
    /// Ways between nodes.
    pub(super) ways: Vec<(usize, usize)>,
    /// How much longer something takes.
    pub(super) extra: Micros,
}

/// What a kind of faults happens to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Victim {
    Node,
    Client,
    /// What is between nodes: all of it, or what a target names.
    Ways,
}

/// One kind.
#[derive(Debug)]
pub(super) struct Kind {
    /// Its name in files.
    pub(super) name: &'static str,
    /// What it happens to.
    pub(super) victim: Victim,
    /// How long it lasts where the file does not say.
    pub(super) default_us: Micros,
    /// Whether one node cannot survive it.
    pub(super) is_beyond: bool,
    /// Makes one; the number is the client's.
    pub(super) make: fn(&Details, usize) -> FaultKind,
}

const fn node(name: &'static str, default_ms: u64, make: fn(&Details, usize) -> FaultKind) -> Kind {
    Kind { name, victim: Victim::Node, default_us: default_ms * MILLISECOND, is_beyond: false, make }
}

const fn beyond(name: &'static str, default_ms: u64, make: fn(&Details, usize) -> FaultKind) -> Kind {
    Kind { name, victim: Victim::Node, default_us: default_ms * MILLISECOND, is_beyond: true, make }
}

const fn client(name: &'static str, default_ms: u64, make: fn(&Details, usize) -> FaultKind) -> Kind {
    Kind { name, victim: Victim::Client, default_us: default_ms * MILLISECOND, is_beyond: false, make }
}

const fn ways(name: &'static str, default_ms: u64, make: fn(&Details, usize) -> FaultKind) -> Kind {
    Kind { name, victim: Victim::Ways, default_us: default_ms * MILLISECOND, is_beyond: false, make }
}

/// All kinds.
pub(super) const KINDS: &[Kind] = &[
    node("kill", 100, |it, _| end(Ending::Kill, it)),
    node("power_loss", 100, |it, _| end(Ending::PowerLoss, it)),
    node("shutdown", 100, |it, _| end(Ending::Shutdown, it)),
    node("wipe", 1000, |_, _| FaultKind::Wipe),
    node("disk_full", 500, |it, _| FaultKind::DiskFull { append: it.append }),
    node("fsync_error", 1, |_, _| FaultKind::FsyncError),
    node("disk_stall", 500, |_, _| FaultKind::DiskStall),
    node("disk_slow", 500, |it, _| FaultKind::DiskSlow { factor: it.factor }),
    node("memory_high", 500, |_, _| FaultKind::MemoryHigh),
    node("disk_low", 500, |_, _| FaultKind::DiskLow),
    client("reset", 1, |_, client| FaultKind::Reset { client }),
    client("fin", 1, |_, client| FaultKind::Fin { client }),
    client("half_open", 1, |_, client| FaultKind::HalfOpen { client }),
    client("stop_reading", 500, |_, client| FaultKind::StopReading { client }),
    client("slow_link", 500, |it, client| FaultKind::SlowLink { client, bytes_per_ms: it.rate }),
    node("pause", 2000, |_, _| FaultKind::Pause),
    node("no_space", 500, |_, _| FaultKind::NoSpace { work: DiskWork::Append }),
    node("io_error", 1, |_, _| FaultKind::IoError { work: DiskWork::Append }),
    node("read_only", 500, |_, _| FaultKind::ReadOnly),
    node("network_cut", 500, |_, _| FaultKind::NetworkCut { up: true, down: true }),
    node("reset_all", 1, |_, _| FaultKind::ResetAll),
    node("accept_refused", 500, |_, _| FaultKind::NoAccept { silent: false }),
    node("accept_silent", 500, |_, _| FaultKind::NoAccept { silent: true }),
    node("isolate", 2000, |_, _| FaultKind::Isolate { inbound: true, outbound: true }),
    node("isolate_inbound", 2000, |_, _| FaultKind::Isolate { inbound: true, outbound: false }),
    node("isolate_outbound", 2000, |_, _| FaultKind::Isolate { inbound: false, outbound: true }),
    ways("partition", 2000, |it, _| FaultKind::Partition { ways: it.ways.clone() }),
    ways("slow_peers", 1000, |it, _| FaultKind::SlowPeers {
        ways: it.ways.clone(),
        extra_us: it.extra,
        bytes_per_ms: 0,
    }),
    ways("lossy_peers", 1000, |it, _| FaultKind::LossyPeers {
        ways: it.ways.clone(),
        every_us: 300 * MILLISECOND,
        stall_us: 200 * MILLISECOND,
    }),
    ways("reset_peers", 1, |it, _| FaultKind::ResetPeers { ways: it.ways.clone() }),
    beyond("read_errors", 500, |_, _| FaultKind::ReadErrors),
    beyond("rot", 1, |_, _| FaultKind::Rot),
    beyond("lying_sync", 500, |_, _| FaultKind::LyingSync),
    beyond("misdirected_write", 1, |_, _| FaultKind::MisdirectedWrite),
    beyond("misdirected_read", 1, |_, _| FaultKind::MisdirectedRead),
    beyond("bad_sector", 1, |_, _| FaultKind::BadSector),
];

/// The kind of a name.
pub(super) fn find(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}

fn end(how: Ending, details: &Details) -> FaultKind {
    FaultKind::End { how, busy: false, again: details.again }
}

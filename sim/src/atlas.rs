//! The fault atlas: every kind of fault, whether one node's claim covers it, and what is expected of a node that meets it.
//!
//! The claim of one node: what was confirmed as persistent survives anything that the node's process, machine, network and clients
//! can do, and anything that a disk may do that keeps what it said was synced. A disk that lies about that, or forgets, can take a
//! message from a node that has no other copy; of such faults it is only claimed that they are noticed or harmless: the node may
//! stop, but it never delivers what nobody sent.

use crate::scenario::{FaultSpec, Span};

/// One kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its key in a scenario's `[faults]`.
    pub name: &'static str,
    /// What is at fault.
    pub family: Family,
    /// Whether one node's claim covers it.
    pub is_covered: bool,
    /// What is expected.
    pub expected: &'static str,
}

/// What is at fault. A swarm of runs leaves out whole families.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// The process or its machine.
    Process,
    /// The machine's clocks.
    Clock,
    /// The disk has too little space.
    Space,
    /// The disk is slow or fails, and says so.
    Disk,
    /// The disk forgets or lies.
    Lies,
    /// One client's connection.
    Client,
    /// The network as a whole.
    Network,
    /// What is between nodes, and what befalls all of them.
    Cluster,
    /// Memory or disk are short by the node's own measure.
    Resources,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Process,
        Self::Clock,
        Self::Space,
        Self::Disk,
        Self::Lies,
        Self::Client,
        Self::Network,
        Self::Resources,
        Self::Cluster,
    ];

    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Clock => "clock",
            Self::Space => "space",
            Self::Disk => "disk",
            Self::Lies => "lies",
            Self::Client => "client",
            Self::Network => "network",
            Self::Resources => "resources",
            Self::Cluster => "cluster",
        }
    }
}

/// Makes the table, and the function that pairs each entry with its place in a scenario. A key without an entry does not compile.
macro_rules! atlas {
    ($($name:ident $family:ident $covered:ident $expected:literal;)+) => {
        /// All kinds of faults.
        pub const ATLAS: &[Entry] = &[$(Entry {
            name: stringify!($name),
            family: Family::$family,
            is_covered: covered!($covered),
            expected: $expected,
        },)+];

        /// How often a scenario asks for each.
        pub(crate) fn spans_mut(spec: &mut FaultSpec) -> Vec<(&'static Entry, &mut Span)> {
            // How often an ending repeats itself is no fault of its own.
            let FaultSpec { again: _, $($name),+ } = spec;
            ATLAS.iter().zip([$($name),+]).collect()
        }
    };
}

/// See [`atlas`].
macro_rules! covered {
    (covered) => {
        true
    };
    (beyond) => {
        false
    };
}

atlas! {
    kill Process covered "recovers what the system had of the log; nothing confirmed is gone";
    power_loss Process covered "recovers what was synced; nothing confirmed is gone";
    shutdown Process covered "says goodbye, syncs, ends; recovers all of it";
    crash_loop Process covered "each recovery may be repeated from any point";
    reconfigure Process covered "starts with other settings on the same files; nothing is gone";
    pause Process covered "goes on where it was; who lost patience finds their messages again";
    wall_jump Clock covered "intervals are not touched; what outlives a restart, and delays, go by the wall clock";
    clock_drift Clock covered "times to live are kept by the node's own clock, however fast it runs";
    clock_reset Clock covered "serves with a wrong time; delayed messages come at the latest 10 s after the correction";
    disk_full Space covered "publishers wait, consumers go on; it continues when there is space";
    no_space Space covered "the same for making, writing and removing segments one by one";
    disk_quota Space covered "the same at an exact number of bytes";
    fsync_error Disk covered "stops, since what is on the disk is unknown; recovers what was synced";
    io_error Disk covered "stops if a segment cannot be made, written or read; recovers what was synced";
    read_only Disk covered "stops, and starts when the disk can be written again";
    disk_stall Disk covered "waits; confirms wait with it";
    disk_slow Disk covered "is slow";
    disk_stutter Disk covered "waits, again and again";
    read_errors Lies beyond "stops rather than go on with what it cannot read";
    rot Lies beyond "a checksum shows it: stops, and delivers nothing that is wrong; one of three gets all of it again";
    misdirected_write Lies beyond "records say where they belong: stops, and delivers nothing that is wrong";
    misdirected_read Lies beyond "records say where they belong: stops, and delivers nothing that is wrong";
    lying_sync Lies beyond "a power loss may take what was confirmed; what is left is right";
    bad_sector Lies beyond "stops if it needs the sector; delivers nothing that is wrong";
    reset Client covered "what was unacked comes again; what was unconfirmed is the client's to repeat";
    fin Client covered "the same";
    half_open Client covered "heartbeats find out; what was unacked comes again";
    stop_reading Client covered "delivers no more to that client than it may hold; others do not wait";
    slow_link Client covered "the same";
    network_cut Network covered "what is on its way comes when the cut is over";
    network_stall Network covered "heartbeats find out on both sides; what was unacked comes again";
    one_way_cut Network covered "the same, though one side still hears the other";
    reset_storm Network covered "every client comes back and finds its messages";
    accept_refused Network covered "clients come back when they can";
    accept_silent Network covered "clients come back when they can";
    latency_spike Network covered "is slow";
    idle_kill Network covered "connections with heartbeats live, others come back";
    memory_high Resources covered "publishers are blocked until it is over";
    disk_low Resources covered "publishers are blocked until it is over";
    partition Cluster covered "who has no majority declares nothing, and serves the queues it has; all agree when it is over";
    one_way_partition Cluster covered "the same, though one side still hears the other";
    slow_peers Cluster covered "is slow to declare";
    lossy_peers Cluster covered "is slow to declare, and may choose other leaders";
    reset_peers Cluster covered "connects again; nothing is declared twice";
    all_power_loss Cluster covered "what was declared and answered is there when a majority is back";
    rolling_restart Cluster covered "two of three go on declaring; nothing is gone";
}

/// Checks that a scenario without `beyond_claim` asks for no fault beyond it.
///
/// # Errors
/// With the fault and what to do.
pub(crate) fn check(spec: &FaultSpec, beyond_claim: bool) -> Result<(), String> {
    let mut spec = spec.clone();
    let lies = spans_mut(&mut spec).into_iter().find(|(entry, span)| !entry.is_covered && span.1.max(span.0) > 0);
    match lies {
        Some((Entry { name, expected, .. }, _)) if !beyond_claim => Err(format!(
            "[faults] {name}: no single node survives this fault unharmed, so nothing could be asked of it but: {expected}. \
             Say `beyond_claim = true` under [run] to ask that, or leave the fault out."
        )),
        _ => Ok(()),
    }
}

/// The atlas for people.
pub(crate) fn table() -> String {
    let mut out = format!("{:18} {:10} {:8} expected of a node\n", "fault", "family", "claim");
    for Entry { name, family, is_covered, expected } in ATLAS {
        let claim = if *is_covered { "covered" } else { "beyond" };
        out.push_str(&format!("{name:18} {:10} {claim:8} {expected}\n", family.name()));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    #[test]
    fn a_fault_beyond_the_claim_is_an_error_unless_it_is_said() {
        let text = |run: &str| {
            format!(
                "name = \"x\"\nabout = \"X.\"\n[run]\n{run}\n[clients]\nconfirming = [1, 1]\n[faults]\nrot = [0, 2]\n"
            )
        };
        let error = Scenario::parse(&text("")).unwrap_err();
        assert!(error.contains("rot") && error.contains("beyond_claim = true"), "{error}");
        assert!(Scenario::parse(&text("beyond_claim = true")).is_ok());
    }

    #[test]
    fn every_key_has_its_own_entry() {
        let mut spec = FaultSpec::default();
        for (at, (_, span)) in spans_mut(&mut spec).into_iter().enumerate() {
            *span = Span(at as u64, 100);
        }
        let found: Vec<u64> = spans_mut(&mut spec).into_iter().map(|(_, span)| span.0).collect();
        assert_eq!(found, (0..ATLAS.len() as u64).collect::<Vec<_>>());
        let pause = ATLAS.iter().position(|entry| entry.name == "pause").unwrap();
        assert_eq!(spec.pause.0, pause as u64);
        assert!(table().contains("misdirected_write  lies       beyond"));
    }
}

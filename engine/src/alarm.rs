//! Resource alarms: what is short, as a set, and when that stops publishers (RabbitMQ docs: Memory and Disk Alarms).
//!
//! Publishers are stopped while anything is short, and go on only when nothing is. A disk counts as short when it has less free
//! space than the limit, and when the log has found it full, whatever the limit says. What is short on one node of a cluster stops the
//! publishers of all, since their messages may have to go there.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use crate::event::Event;
use crate::ids::NodeId;
use crate::limits;
use crate::mutants::{Mutant, is_planted};

/// A resource that may be short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    /// Memory of the process, against its high watermark.
    Memory,
    /// Free space on the disk of the data, against its limit.
    Disk,
}

impl Resource {
    /// Its name, as in events and listings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Disk => "disk",
        }
    }
}

/// What the node has left, and which of it is short.
#[derive(Debug)]
pub(crate) struct Alarms {
    limits: ResourceLimits,
    /// What was last measured; `None` before the first time.
    level: Option<ResourceLevel>,
    is_log_full: bool,
    is_memory_short: bool,
    is_disk_short: bool,
    /// What is short on other nodes, of those where anything is.
    elsewhere: BTreeMap<NodeId, Shortage>,
    /// Whether publishers were stopped at the last look.
    is_blocking: bool,
}

/// What a node says is short on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shortage {
    pub(crate) is_memory_short: bool,
    pub(crate) is_disk_short: bool,
}

/// When a resource counts as short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResourceLimits {
    /// Bytes of memory above which the process has too much (`vm_memory_high_watermark`); `None` is any number.
    pub memory_high_bytes: Option<u64>,
    /// Bytes below which the disk has too little free space (`disk_free_limit`).
    pub disk_free_bytes: u64,
}

impl Default for ResourceLimits {
    fn default() -> Self {
        Self { memory_high_bytes: None, disk_free_bytes: limits::DISK_FREE_LIMIT_BYTES }
    }
}

/// What the driver measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResourceLevel {
    /// Bytes of memory that the process takes.
    pub memory_bytes: u64,
    /// Bytes free on the disk of the data.
    pub disk_free_bytes: u64,
}

impl Alarms {
    /// Nothing is short until something was measured.
    pub(crate) fn new(limits: ResourceLimits) -> Self {
        Self {
            limits,
            level: None,
            is_log_full: false,
            is_memory_short: false,
            is_disk_short: false,
            elsewhere: BTreeMap::new(),
            is_blocking: false,
        }
    }

    /// When a resource counts as short.
    pub(crate) fn limits(&self) -> ResourceLimits {
        self.limits
    }

    /// What was last measured, if it was.
    pub(crate) fn level(&self) -> Option<ResourceLevel> {
        self.level
    }

    /// Takes other limits. Call [`Alarms::check`] after it.
    pub(crate) fn set_limits(&mut self, limits: ResourceLimits) {
        self.limits = limits;
    }

    /// The resources of this node that are short.
    pub(crate) fn raised(&self) -> impl Iterator<Item = Resource> {
        self.shortage().resources()
    }

    /// What is short on this node.
    pub(crate) fn shortage(&self) -> Shortage {
        Shortage { is_memory_short: self.is_memory_short, is_disk_short: self.is_disk_short }
    }

    /// What is short on other nodes, in their order.
    pub(crate) fn elsewhere(&self) -> impl Iterator<Item = (NodeId, Resource)> {
        self.elsewhere.iter().flat_map(|(node, shortage)| shortage.resources().map(|resource| (*node, resource)))
    }

    /// Takes what another node has said; of one that cannot be reached nothing is known to be short. Call [`Alarms::check`] after it.
    pub(crate) fn set_elsewhere(&mut self, node: NodeId, shortage: Shortage) {
        if shortage == Shortage::default() {
            self.elsewhere.remove(&node);
        } else {
            self.elsewhere.insert(node, shortage);
        }
    }

    /// Why publishers are stopped, in the words of RabbitMQ's `connection.blocked`; `None` if they are not.
    pub(crate) fn reason(&self) -> Option<&'static str> {
        let all = || self.elsewhere.values();
        let is_memory_short = self.is_memory_short || all().any(|shortage| shortage.is_memory_short);
        let is_disk_short = self.is_disk_short || all().any(|shortage| shortage.is_disk_short);
        match (is_memory_short, is_disk_short) {
            (false, false) => None,
            (true, false) => Some("low on memory"),
            (false, true) => Some("low on disk"),
            (true, true) => Some("low on disk & memory"),
        }
    }

    /// Takes a measurement. Call [`Alarms::check`] after it.
    pub(crate) fn set_level(&mut self, level: ResourceLevel) {
        self.level = Some(level);
    }

    /// Takes what the log has found of the disk. Whether that is something else than before: then call [`Alarms::check`].
    pub(crate) fn set_log_full(&mut self, is_log_full: bool) -> bool {
        core::mem::replace(&mut self.is_log_full, is_log_full) != is_log_full
    }

    /// Draws the conclusions, and reports each that is new. Whether publishers may go on that could not before.
    pub(crate) fn check(&mut self, events: &mut Vec<Event>) -> bool {
        let told = events.len();
        let ResourceLimits { memory_high_bytes, disk_free_bytes } = self.limits;
        let is_memory_short = match (self.level, memory_high_bytes) {
            (Some(level), Some(high)) => level.memory_bytes > high,
            _ => false,
        };
        let is_disk_short = self.is_log_full || self.level.is_some_and(|level| level.disk_free_bytes < disk_free_bytes);
        for (was, is, resource) in [
            (&mut self.is_memory_short, is_memory_short, Resource::Memory),
            (&mut self.is_disk_short, is_disk_short, Resource::Disk),
        ] {
            if *was != is {
                *was = is;
                let resource = resource.name();
                events.push(if is { Event::AlarmRaised { resource } } else { Event::AlarmCleared { resource } });
            }
        }
        let is_half = events.len() > told && is_planted(Mutant::AlarmClearedByHalf);
        let is_blocking = self.reason().is_some();
        let was_blocking = core::mem::replace(&mut self.is_blocking, is_blocking);
        was_blocking && !(is_memory_short && is_disk_short) && (is_half || !is_blocking)
    }

    /// When to measure again: the sooner, the nearer the disk is to its limit (RabbitMQ's `disk_monitor`).
    pub(crate) fn sample_interval(&self) -> Duration {
        let Some(level) = self.level else { return Duration::ZERO };
        let distance = level.disk_free_bytes.abs_diff(self.limits.disk_free_bytes);
        let fill_time = Duration::from_millis(distance / limits::DISK_FILL_BYTES_PER_MS);
        fill_time.clamp(limits::RESOURCE_SAMPLE_MIN, limits::RESOURCE_SAMPLE_MAX)
    }
}

impl Shortage {
    fn resources(self) -> impl Iterator<Item = Resource> {
        let of = |is_short: bool, resource| is_short.then_some(resource);
        of(self.is_memory_short, Resource::Memory).into_iter().chain(of(self.is_disk_short, Resource::Disk))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    const LIMITS: ResourceLimits = ResourceLimits { memory_high_bytes: Some(1000), disk_free_bytes: 500 };

    fn level(memory_bytes: u64, disk_free_bytes: u64) -> ResourceLevel {
        ResourceLevel { memory_bytes, disk_free_bytes }
    }

    /// RabbitMQ docs: Memory and Disk Alarms: publishers go on when all alarms are clear. brokers.md I10.
    #[test]
    fn publishers_go_on_when_nothing_is_short() {
        let mut alarms = Alarms::new(LIMITS);
        let mut events = vec![];
        let mut at = |memory, disk, log_full| {
            alarms.set_level(level(memory, disk));
            alarms.set_log_full(log_full);
            let over = alarms.check(&mut events);
            (over, alarms.reason())
        };
        assert_eq!(at(1000, 500, false), (false, None), "both at their limits exactly");
        assert_eq!(at(1001, 500, false), (false, Some("low on memory")));
        assert_eq!(at(1001, 499, false), (false, Some("low on disk & memory")));
        assert_eq!(at(1000, 499, false), (false, Some("low on disk")), "half of it is over");
        assert_eq!(at(1000, 500, true), (false, Some("low on disk")), "a full log is a short disk");
        assert_eq!(at(1000, 500, false), (true, None));
        assert_eq!(at(1000, 500, false), (false, None), "told once");
        let raised = |resource| Event::AlarmRaised { resource };
        let cleared = |resource| Event::AlarmCleared { resource };
        assert_eq!(events, [raised("memory"), raised("disk"), cleared("memory"), cleared("disk")]);
    }

    #[test]
    fn what_is_short_on_another_node_stops_publishers_here() {
        let mut alarms = Alarms::new(LIMITS);
        let mut events = vec![];
        alarms.set_level(level(0, u64::MAX));
        let short = Shortage { is_memory_short: true, ..Shortage::default() };
        let mut at = |node, shortage| {
            alarms.set_elsewhere(NodeId(node), shortage);
            (alarms.check(&mut events), alarms.reason())
        };
        assert_eq!(at(2, short), (false, Some("low on memory")));
        assert_eq!(at(3, Shortage { is_disk_short: true, ..short }), (false, Some("low on disk & memory")));
        assert_eq!(at(3, Shortage::default()), (false, Some("low on memory")));
        assert_eq!(at(2, Shortage::default()), (true, None));
        assert_eq!(alarms.raised().count(), 0, "nothing is short here");
        assert_eq!(events, []);
    }

    #[test]
    fn limits_count_from_when_they_are_set() {
        let mut events = vec![];
        let mut alarms = Alarms::new(ResourceLimits::default());
        alarms.set_level(level(u64::MAX, u64::MAX));
        assert!(!alarms.check(&mut events));
        assert_eq!(alarms.reason(), None, "there is no limit");
        let mut alarms = Alarms::new(ResourceLimits { memory_high_bytes: Some(0), ..ResourceLimits::default() });
        assert!(!alarms.check(&mut events));
        assert_eq!(alarms.reason(), None, "nothing was measured");
        alarms.set_level(level(1, u64::MAX));
        assert!(!alarms.check(&mut events));
        assert_eq!(
            alarms.raised().collect::<Vec<_>>(),
            [Resource::Memory],
            "0 stops publishers at once, as RabbitMQ's"
        );
    }

    #[test]
    fn near_its_limit_the_disk_is_watched_closely() {
        let mut alarms = Alarms::new(ResourceLimits::default());
        assert_eq!(alarms.sample_interval(), Duration::ZERO, "nothing was measured");
        alarms.set_level(level(0, u64::MAX));
        assert_eq!(alarms.sample_interval(), limits::RESOURCE_SAMPLE_MAX);
        alarms.set_level(level(0, limits::DISK_FREE_LIMIT_BYTES + 1));
        assert_eq!(alarms.sample_interval(), limits::RESOURCE_SAMPLE_MIN);
    }
}

//! Carrying out the plan's faults.

use leveret_engine::alarm::ResourceLevel;
use leveret_engine::input::Input;

use crate::clock::{ClockError, MILLISECOND};
use crate::node::Node;
use crate::nodes::At;
use crate::plan::{Ending, FaultKind};
use crate::quiesce::Phase;
use crate::record::Direction;
use crate::rng::Ratio;
use crate::situation::Situation;
use crate::story::Short;
use crate::trouble::{Stutter, Trouble};
use crate::world::{Event, World};

/// Why a node's resources are short at the moment, counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Shortages {
    memory: u32,
    disk: u32,
}

impl Shortages {
    /// Whether anything is.
    pub(crate) fn is_any(self) -> bool {
        self.memory + self.disk > 0
    }
}

/// Bytes of memory above which, and of free disk space below which, a simulated node has too much or too little.
pub(crate) const RESOURCE_LIMIT: u64 = 1000;

/// How long a fault waits for the disk to be at work.
const BUSY_PATIENCE: u64 = 200 * MILLISECOND;
/// How often it looks.
const BUSY_LOOK: u64 = 37;

impl World {
    pub(crate) fn begin_fault(&mut self, index: u32) {
        if self.phase != Phase::Chaos {
            return;
        }
        let fault = self.plan.faults[index as usize].clone();
        let at = self.whom(index);
        let now = self.scheduler.time();
        match fault.kind {
            FaultKind::End { how, busy, again } => {
                if self.nodes[at].engine.is_none() {
                    return;
                }
                if busy && !self.nodes[at].disk.is_busy() && now < fault.at_us + BUSY_PATIENCE {
                    self.scheduler.after(BUSY_LOOK, Event::Begin(index));
                    return;
                }
                self.record_fault(index);
                if how == Ending::Shutdown {
                    if self.nodes[at].is_accepting() {
                        self.nodes[at].is_stopping = true;
                        self.input(at, Input::Shutdown);
                    }
                    return;
                }
                self.nodes[at].again = (again, how);
                self.end_node(at, how, false);
                self.scheduler.after(fault.for_us, Event::Boot(at));
                return;
            }
            FaultKind::Wipe => {
                if self.nodes[at].engine.is_none() {
                    return;
                }
                self.record_fault(index);
                self.end_node(at, Ending::PowerLoss, false);
                self.wipe(at);
                self.scheduler.after(fault.for_us, Event::Boot(at));
                return;
            }
            FaultKind::DiskFull { append } => {
                self.nodes[at].disk.trouble_mut().full_create = true;
                self.nodes[at].disk.trouble_mut().full_append = append;
            }
            FaultKind::FsyncError => self.nodes[at].disk.trouble_mut().fail_sync = true,
            FaultKind::DiskStall => self.nodes[at].disk.trouble_mut().stalled_until = now + fault.for_us,
            FaultKind::DiskSlow { factor } => self.nodes[at].disk.trouble_mut().slow = factor,
            FaultKind::Reset { client } => self.hang_up(client_number(client), false),
            FaultKind::Fin { client } => self.hang_up(client_number(client), true),
            FaultKind::HalfOpen { client } => self.cut(client_number(client)),
            FaultKind::StopReading { client } => self.set_reading(client_number(client), false),
            FaultKind::SlowLink { client, bytes_per_ms } => {
                if let Some(link) = self.actors[client].link {
                    self.links[link as usize].rate = bytes_per_ms;
                }
            }
            FaultKind::MemoryHigh | FaultKind::DiskLow => {
                self.tell_levels(at, fault.kind == FaultKind::MemoryHigh, 1);
            }
            FaultKind::ReadErrors => self.nodes[at].disk.trouble_mut().fail_reads = Ratio(1, 10),
            FaultKind::Rot => {
                let random = self.fates.of(6, u64::from(index));
                self.nodes[at].disk.rot(random);
            }
            FaultKind::Pause => self.pause(at),
            FaultKind::WallJump { millis } => {
                self.nodes[at].clock.jump(millis);
                self.clock_changed(at);
            }
            FaultKind::ClockDrift { ppm } => {
                self.nodes[at].clock.drift(now, ppm);
                self.clock_changed(at);
            }
            FaultKind::ClockReset { corrected_after_us } => {
                if self.nodes[at].engine.is_none() {
                    return;
                }
                self.end_node(at, Ending::PowerLoss, false);
                self.nodes[at].clock.forget(now);
                self.clock_changed(at);
                self.scheduler.after(fault.for_us, Event::Boot(at));
                self.scheduler.after(fault.for_us + corrected_after_us, Event::Finish(index));
                return;
            }
            FaultKind::NoSpace { work } => self.nodes[at].disk.trouble_mut().set_full(work, true),
            FaultKind::IoError { work } => self.nodes[at].disk.trouble_mut().fail_next(work),
            FaultKind::DiskQuota { bytes } => self.nodes[at].disk.trouble_mut().quota = Some(bytes),
            FaultKind::DiskStutter { every_us, stall_us } => {
                self.nodes[at].disk.trouble_mut().stutter =
                    Some(Stutter { since: now, every: every_us, length: stall_us });
            }
            FaultKind::ReadOnly => self.nodes[at].disk.trouble_mut().read_only = true,
            FaultKind::MisdirectedWrite => {
                self.nodes[at].disk.trouble_mut().misdirected_write = Some(self.fates.of(6, u64::from(index)));
            }
            FaultKind::MisdirectedRead => {
                self.nodes[at].disk.trouble_mut().misdirected_read = Some(self.fates.of(6, u64::from(index)));
            }
            FaultKind::LyingSync => self.nodes[at].disk.trouble_mut().lies = true,
            FaultKind::BadSector => {
                let random = self.fates.of(6, u64::from(index));
                self.nodes[at].disk.spoil(random);
            }
            FaultKind::NetworkCut { .. }
            | FaultKind::ResetAll
            | FaultKind::NoAccept { .. }
            | FaultKind::LatencySpike { .. }
            | FaultKind::IdleKill { .. } => self.begin_outage(at, index, &fault.kind),
            FaultKind::Reconfigure { knobs } => {
                if self.nodes[at].is_accepting() {
                    self.nodes[at].next_knobs = Some(knobs);
                    self.nodes[at].is_stopping = true;
                    self.input(at, Input::Shutdown);
                }
                return;
            }
            FaultKind::Partition { .. }
            | FaultKind::Isolate { .. }
            | FaultKind::SlowPeers { .. }
            | FaultKind::LossyPeers { .. }
            | FaultKind::ResetPeers { .. } => self.begin_between(at, &fault.kind),
        }
        self.record_fault(index);
        self.scheduler.after(fault.for_us, Event::Finish(index));
    }

    /// The node that a fault happens to: until it is over, the one that it began with.
    pub(crate) fn whom(&mut self, index: u32) -> At {
        let fault = &self.plan.faults[index as usize];
        let planned = At::new(fault.node);
        let leader = match &fault.of_queue {
            Some(queue) => self.leader_of(queue),
            None if fault.of_leader => self.leader.map(|(leader, _)| leader),
            None => return planned,
        };
        *self.victims.entry(index).or_insert_with(|| leader.unwrap_or(planned))
    }

    /// The node that leads a queue of all nodes.
    fn leader_of(&self, queue: &str) -> Option<At> {
        let leads = |node: &&Node| {
            let replicas = node.engine.as_ref().map(|engine| engine.replicas()).unwrap_or_default();
            replicas.iter().any(|replica| replica.leads && replica.name == queue)
        };
        self.nodes.iter().find(leads).map(|node| node.at)
    }

    fn record_fault(&mut self, index: u32) {
        let at = self.whom(index);
        if let Some(recorder) = &mut self.recorder {
            recorder.about(at);
            recorder.fault_begins(self.scheduler.time(), index, &self.plan.faults[index as usize]);
        }
    }

    pub(crate) fn finish_fault(&mut self, index: u32) {
        if self.phase != Phase::Chaos {
            return;
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.fault_ends(self.scheduler.time(), index);
        }
        let at = self.whom(index);
        self.victims.remove(&index);
        match self.plan.faults[index as usize].kind {
            FaultKind::DiskFull { .. } => {
                self.nodes[at].disk.trouble_mut().full_create = false;
                self.nodes[at].disk.trouble_mut().full_append = false;
            }
            FaultKind::DiskSlow { .. } => self.nodes[at].disk.trouble_mut().slow = 0,
            FaultKind::StopReading { client } => self.set_reading(client_number(client), true),
            FaultKind::SlowLink { client, .. } => {
                if let Some(link) = self.actors[client].link {
                    self.links[link as usize].rate = 0;
                }
            }
            FaultKind::MemoryHigh => self.tell_levels(at, true, -1),
            FaultKind::DiskLow => self.tell_levels(at, false, -1),
            FaultKind::ReadErrors => self.nodes[at].disk.trouble_mut().fail_reads = Ratio::NEVER,
            FaultKind::Pause => self.resume(at),
            FaultKind::ClockDrift { .. } => {
                self.nodes[at].clock.drift(self.scheduler.time(), 0);
                self.clock_changed(at);
            }
            FaultKind::ClockReset { .. } => self.correct_clock(at),
            FaultKind::NoSpace { work } => self.nodes[at].disk.trouble_mut().set_full(work, false),
            FaultKind::DiskQuota { .. } => {
                self.nodes[at].disk.trouble_mut().quota = None;
                if self.nodes[at].disk.counts().over_quota > 0 {
                    self.situations.saw(Situation::OverQuota);
                }
            }
            FaultKind::DiskStutter { .. } => self.nodes[at].disk.trouble_mut().stutter = None,
            FaultKind::ReadOnly => self.nodes[at].disk.trouble_mut().read_only = false,
            FaultKind::LyingSync => self.nodes[at].disk.trouble_mut().lies = false,
            FaultKind::NetworkCut { .. } | FaultKind::NoAccept { .. } | FaultKind::LatencySpike { .. } => {
                let kind = self.plan.faults[index as usize].kind.clone();
                self.finish_outage(at, &kind);
            }
            FaultKind::Partition { .. }
            | FaultKind::Isolate { .. }
            | FaultKind::SlowPeers { .. }
            | FaultKind::LossyPeers { .. } => {
                let kind = self.plan.faults[index as usize].kind.clone();
                self.finish_between(at, &kind);
            }
            FaultKind::ResetPeers { .. }
            | FaultKind::WallJump { .. }
            | FaultKind::IoError { .. }
            | FaultKind::MisdirectedWrite
            | FaultKind::MisdirectedRead
            | FaultKind::BadSector
            | FaultKind::ResetAll
            | FaultKind::IdleKill { .. }
            | FaultKind::Reconfigure { .. }
            | FaultKind::FsyncError
            | FaultKind::DiskStall
            | FaultKind::End { .. }
            | FaultKind::Wipe
            | FaultKind::Reset { .. }
            | FaultKind::Fin { .. }
            | FaultKind::HalfOpen { .. }
            | FaultKind::Rot => {}
        }
    }

    /// The disk of a node that is away is another one, with nothing on it.
    fn wipe(&mut self, at: At) {
        self.replicas.lost_disk(at, self.nodes[at].disk.durable());
        self.nodes[at].disk.wipe();
        self.nodes[at].carried_out.clear();
        self.situations.saw(Situation::Wiped);
    }

    /// The node may end again, while it recovers.
    pub(crate) fn end_again(&mut self, at: At, boot: u64) {
        if boot != self.nodes[at].boot || self.nodes[at].is_ready() || self.nodes[at].again.0 == 0 {
            return;
        }
        self.nodes[at].again.0 -= 1;
        self.end_node(at, self.nodes[at].again.1, false);
        self.scheduler.after(self.nodes[at].chance_of_return(boot) % 20_000, Event::Boot(at));
    }

    /// Memory, or else the disk, is short for one reason more or less; the node measures at once.
    fn tell_levels(&mut self, at: At, is_memory: bool, change: i32) {
        let shortages = &mut self.nodes[at].shortages;
        let count = if is_memory { &mut shortages.memory } else { &mut shortages.disk };
        *count = count.saturating_add_signed(change);
        self.measure(at);
    }

    /// The node is told its levels.
    pub(crate) fn measure(&mut self, at: At) {
        let short = Short { memory: self.nodes[at].shortages.memory > 0, disk: self.nodes[at].shortages.disk > 0 };
        let level = ResourceLevel {
            memory_bytes: if short.memory { RESOURCE_LIMIT + 1 } else { 0 },
            disk_free_bytes: if short.disk { 0 } else { RESOURCE_LIMIT },
        };
        if let Some(story) = &mut self.story {
            story.shortages(short);
        }
        if let (Some(ledger), true) = (&mut self.ledger, self.nodes[at].engine.is_some()) {
            ledger.shortages(at, short);
        }
        self.input(at, Input::ResourceLevel(level));
    }

    /// The machine is told what time it is, if it had forgotten.
    fn correct_clock(&mut self, at: At) {
        if self.nodes[at].clock.correct() {
            self.clock_changed(at);
        }
    }

    /// The node's clocks are set, or run differently: whoever judges by them has to know, and timers are due at other times.
    fn clock_changed(&mut self, at: At) {
        let error = self.nodes[at].clock.error();
        if error != ClockError::default() {
            self.situations.saw(Situation::WallOff);
        }
        if let Some(story) = &mut self.story {
            story.clock_is_off_by(error);
        }
        self.schedule_timer(at);
    }

    /// Everything that is broken is mended.
    pub(crate) fn heal(&mut self) {
        if let Some(recorder) = &mut self.recorder {
            recorder.mended(self.scheduler.time());
        }
        self.victims.clear();
        self.mend_peers();
        for at in self.nodes.all() {
            self.resume(at);
            self.mend_network(at);
            if self.nodes[at].clock.is_drifting() {
                self.nodes[at].clock.drift(self.scheduler.time(), 0);
                self.clock_changed(at);
            }
            self.correct_clock(at);
            if self.nodes[at].shortages.is_any() {
                self.nodes[at].shortages = Shortages::default();
                self.measure(at);
            }
            *self.nodes[at].disk.trouble_mut() = Trouble::default();
            self.nodes[at].again.0 = 0;
        }
        for number in 0..self.links.len() {
            self.links[number].rate = 0;
            let number = u32::try_from(number).expect("few connections");
            if self.links[number as usize].is_cut {
                self.scheduler.after(1, Event::PeerGone(number));
            } else {
                self.resume_reading(number);
            }
        }
    }

    fn cut(&mut self, client: u32) {
        if let Some(number) = self.actors[client as usize].link {
            let link = &mut self.links[number as usize];
            link.is_cut = true;
            link.is_open_at_client = false;
            if let Some(recorder) = &mut self.recorder {
                recorder.closed(self.scheduler.time(), number, Direction::Down);
            }
            self.actors[client as usize].lost(self.scheduler.time());
            self.schedule_wake(client);
        }
    }

    fn set_reading(&mut self, client: u32, reads: bool) {
        if let Some(number) = self.actors[client as usize].link {
            if reads {
                self.resume_reading(number);
            } else {
                self.links[number as usize].down.is_stopped = true;
            }
        }
    }

    fn resume_reading(&mut self, number: u32) {
        let link = &mut self.links[number as usize];
        link.down.is_stopped = false;
        if link.is_open_at_client && !link.down.is_due && !link.down.is_empty() {
            link.down.is_due = true;
            self.scheduler.after(1, Event::Down(number));
        }
    }
}

fn client_number(client: usize) -> u32 {
    u32::try_from(client).expect("few clients")
}

//! What is wrong with a disk at the moment, and which work it hits.

use leveret_engine::effect::DiskOp;
use leveret_engine::input::DiskError;

use crate::clock::Micros;
use crate::plan::DiskWork;
use crate::rng::Ratio;

/// What is wrong with the disk at the moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Trouble {
    /// Creating a segment finds no space.
    pub(crate) full_create: bool,
    /// Appending finds no space.
    pub(crate) full_append: bool,
    /// Removing finds no space.
    pub(crate) full_delete: bool,
    /// All files together may not be larger than so many bytes.
    pub(crate) quota: Option<u64>,
    /// The next synced append fails, and what was unsynced is anything.
    pub(crate) fail_sync: bool,
    /// Kinds of work whose next piece fails.
    fail_next: Failing,
    /// Nothing can be changed.
    pub(crate) read_only: bool,
    /// Nothing completes before this time.
    pub(crate) stalled_until: Micros,
    /// Nothing completes for a while, again and again.
    pub(crate) stutter: Option<Stutter>,
    /// Everything takes this many times as long; 0 and 1 mean nothing.
    pub(crate) slow: u32,
    /// Share of reads that fail; beyond the claim.
    pub(crate) fail_reads: Ratio,
    /// Syncs do nothing; beyond the claim.
    pub(crate) lies: bool,
    /// The next write goes elsewhere; the number decides where. Beyond the claim.
    pub(crate) misdirected_write: Option<u64>,
    /// The next read comes from elsewhere. Beyond the claim.
    pub(crate) misdirected_read: Option<u64>,
}

/// Halts at regular times.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stutter {
    /// When the first begins.
    pub(crate) since: Micros,
    /// From one to the next.
    pub(crate) every: Micros,
    /// Length of each.
    pub(crate) length: Micros,
}

#[derive(Clone, Copy, Debug, Default)]
struct Failing {
    create: bool,
    append: bool,
    read: bool,
    delete: bool,
}

impl Trouble {
    /// Until when nothing completes, if that is so.
    pub(crate) fn halted_until(&self, time: Micros) -> Option<Micros> {
        if time < self.stalled_until {
            return Some(self.stalled_until);
        }
        let Stutter { since, every, length } = self.stutter?;
        let into = time.saturating_sub(since) % every.max(1);
        // The disk does something in between, however the numbers are.
        let length = length.min(every / 2);
        (into < length).then(|| time - into + length)
    }

    /// The error that an operation meets, if it does not come from what the disk holds.
    pub(crate) fn meets(&mut self, op: &DiskOp) -> Option<DiskError> {
        let (work, failing, is_full) = match op {
            DiskOp::List => return None,
            DiskOp::Create { .. } => (DiskWork::Create, self.fail_next.create, false),
            DiskOp::Append { data, .. } => {
                let writes = data.iter().any(|bytes| !bytes.is_empty());
                (DiskWork::Append, self.fail_next.append && writes, false)
            }
            DiskOp::Read { .. } => (DiskWork::Read, self.fail_next.read, false),
            DiskOp::Delete { .. } => (DiskWork::Delete, self.fail_next.delete, self.full_delete),
        };
        if self.read_only && work != DiskWork::Read {
            return Some(DiskError::Io);
        }
        if failing {
            *self.failing_mut(work) = false;
            return Some(DiskError::Io);
        }
        is_full.then_some(DiskError::NoSpace)
    }

    /// The next piece of this work fails.
    pub(crate) fn fail_next(&mut self, work: DiskWork) {
        *self.failing_mut(work) = true;
    }

    /// Whether it does.
    #[cfg(test)]
    pub(crate) fn fails(&mut self, work: DiskWork) -> bool {
        *self.failing_mut(work)
    }

    /// There is space for this work, or there is not.
    pub(crate) fn set_full(&mut self, work: DiskWork, is_full: bool) {
        match work {
            DiskWork::Create => self.full_create = is_full,
            DiskWork::Append => self.full_append = is_full,
            DiskWork::Delete => self.full_delete = is_full,
            // Reading takes no space.
            DiskWork::Read => {}
        }
    }

    fn failing_mut(&mut self, work: DiskWork) -> &mut bool {
        match work {
            DiskWork::Create => &mut self.fail_next.create,
            DiskWork::Append => &mut self.fail_next.append,
            DiskWork::Read => &mut self.fail_next.read,
            DiskWork::Delete => &mut self.fail_next.delete,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stuttering_disk_halts_and_goes_on() {
        let stutter = Some(Stutter { since: 1000, every: 100, length: 30 });
        let trouble = Trouble { stutter, ..Trouble::default() };
        for (time, until) in [(1000, Some(1030)), (1029, Some(1030)), (1030, None), (1099, None), (1100, Some(1130))] {
            assert_eq!(trouble.halted_until(time), until, "{time}");
        }
        let endless = Trouble { stutter: Some(Stutter { since: 0, every: 10, length: 500 }), ..Trouble::default() };
        assert_eq!(endless.halted_until(7), None, "a stutter is no stall");
    }
}

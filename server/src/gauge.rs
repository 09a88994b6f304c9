//! What this process and its disk have left, as the system tells.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use leveret_engine::alarm::ResourceLevel;
use rustix::fs::statvfs;
use rustix::param::page_size;
use rustix::system::sysinfo;

/// Measures memory and disk; `None` where that is not to be had.
pub type Gauge = Box<dyn FnMut() -> Option<ResourceLevel> + Send>;

/// A gauge that measures nothing, for worlds that have neither memory nor disk of their own.
pub fn none() -> Gauge {
    Box::new(|| None)
}

/// Measures this process and the disk that holds `data_dir`. What cannot be measured is reported once and then left out.
pub fn system(data_dir: &Path) -> Gauge {
    let data_dir = PathBuf::from(data_dir);
    let mut has_complained = false;
    Box::new(move || match level(&data_dir) {
        Ok(level) => Some(level),
        Err(error) => {
            if !has_complained {
                has_complained = true;
                tracing::warn!(%error, "cannot measure memory and disk: their alarms do not work");
            }
            None
        }
    })
}

fn level(data_dir: &Path) -> io::Result<ResourceLevel> {
    let disk = statvfs(data_dir)?;
    // What is left to a process that is not root's.
    Ok(ResourceLevel { memory_bytes: resident_bytes()?, disk_free_bytes: disk.f_bavail.saturating_mul(disk.f_frsize) })
}

/// Bytes of this process that are in memory.
fn resident_bytes() -> io::Result<u64> {
    let statm = fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = statm
        .split_ascii_whitespace()
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/self/statm has no second number"))?;
    Ok(pages.saturating_mul(page_size() as u64))
}

/// Bytes of memory that this process may hope for: the machine's, or its control group's if that has less.
pub fn total_memory_bytes() -> u64 {
    let system = sysinfo();
    let machine = (system.totalram as u64).saturating_mul(u64::from(system.mem_unit));
    group_limit_bytes().map_or(machine, |group| machine.min(group))
}

/// The least limit of the control groups that this process is in, version 2 or 1; a group without one says `max`.
fn group_limit_bytes() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let mut least = None;
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else { continue };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            "memory" => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => continue,
        };
        // The groups above count too. Inside a container the path may lead nowhere, and the root is the container's own group.
        let group = PathBuf::from(format!("{root}{path}"));
        for group in group.ancestors().take_while(|group| group.starts_with(root)) {
            let limit = fs::read_to_string(group.join(file)).ok().and_then(|text| text.trim().parse::<u64>().ok());
            least = least.into_iter().chain(limit).min();
        }
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_a_size_and_its_disk_room() {
        let level = system(Path::new("."))().unwrap();
        let total = total_memory_bytes();
        assert!(level.memory_bytes > 100_000, "{level:?}");
        assert!(level.memory_bytes < total, "{level:?} of {total}");
        assert!(level.disk_free_bytes > 0, "{level:?}");
    }

    #[test]
    fn what_cannot_be_measured_is_left_out() {
        assert_eq!(system(Path::new("/does/not/exist"))(), None);
        assert_eq!(none()(), None);
    }
}

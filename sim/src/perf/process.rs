//! The broker as a process: started, looked at, and ended.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::clock::{Clock, pause};
use super::uri::Target;

/// A Leveret that this program started, and ends.
#[derive(Debug)]
pub(super) struct Broker {
    child: Child,
    pub(super) target: Target,
    /// From the start until it let clients in.
    pub(super) start_time: Duration,
}

impl Broker {
    /// Starts a broker on a free port and waits until it lets clients in.
    pub(super) fn start(program: &Path, data_dir: &Path) -> Result<Self, String> {
        let clock = Clock::start();
        let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", program.display());
        let mut child = Command::new(program)
            .args(["--listen", "127.0.0.1:0", "--log", "warn", "--data-dir"])
            .arg(data_dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| failed(&error))?;
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        let read = BufReader::new(stdout).read_line(&mut line);
        let start_time = Duration::from_nanos(clock.now());
        let port = line.trim_end().rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        let (Ok(_), Some(port)) = (read, port) else {
            let _ = child.kill();
            let _ = child.wait();
            return Err(failed(&format!("it said {line:?} instead of that it is ready")));
        };
        Ok(Self { child, target: Target::local(port), start_time })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends the process by a signal, and waits until it is gone. Returns how long that took.
    pub(super) fn end(mut self, signal: Signal) -> Result<Duration, String> {
        let clock = Clock::start();
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or("the broker has no process id")?;
        kill_process(pid, signal).map_err(|error| format!("cannot end the broker: {error}"))?;
        self.child.wait().map_err(|error| format!("the broker: {error}"))?;
        Ok(Duration::from_nanos(clock.now()))
    }
}

impl Drop for Broker {
    /// A measurement that failed leaves nothing behind.
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Processes that are stopped until this is dropped.
#[derive(Debug)]
pub(super) struct Stopped<'a>(&'a [Pid]);

impl<'a> Stopped<'a> {
    /// Stops all of them.
    ///
    /// # Errors
    /// If one is gone or somebody else's; none is left stopped then.
    pub(super) fn new(pids: &'a [Pid]) -> Result<Self, String> {
        let stopped = Self(pids);
        for &pid in pids {
            kill_process(pid, Signal::STOP)
                .map_err(|error| format!("cannot stop process {}: {error}", pid.as_raw_nonzero()))?;
        }
        Ok(stopped)
    }
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        for &pid in self.0 {
            // It may have been killed meanwhile.
            let _ = kill_process(pid, Signal::CONT);
        }
    }
}

/// The process that listens on a port of this machine, if it may be looked at.
pub(super) fn listener(port: u16) -> Option<u32> {
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| listening_inodes(&table, port))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let holds = |pid: &u32| {
        let Ok(fds) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        fds.flatten()
            .filter_map(|fd| fs::read_link(fd.path()).ok())
            .any(|link| inodes.iter().any(|inode| link.as_os_str() == inode.as_str()))
    };
    fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(holds)
}

/// The inodes of the sockets that listen on a port, of a table like `/proc/net/tcp`.
fn listening_inodes(table: &str, port: u16) -> Vec<String> {
    const LISTEN: &str = "0A";
    let ending = format!(":{port:04X}");
    let inode = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let is_it = fields.get(1)?.ends_with(&ending) && *fields.get(3)? == LISTEN;
        fields.get(9).filter(|_| is_it).map(|&inode| inode.to_owned())
    };
    table.lines().filter_map(inode).collect()
}

/// Resident memory in KiB.
pub(super) fn resident_kib(pid: u32) -> Option<u64> {
    status(pid, "VmRSS:")
}

/// The most resident memory there ever was, in KiB.
pub(super) fn resident_max_kib(pid: u32) -> Option<u64> {
    status(pid, "VmHWM:")
}

fn status(pid: u32, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// Processor time so far, in microseconds.
pub(super) fn cpu_us(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_ascii_whitespace().skip(11).take(2);
    let ticks = times.next()?.parse::<u64>().ok()? + times.next()?.parse::<u64>().ok()?;
    Some(micros_of(ticks))
}

/// Processor time so far, of all cores together, in microseconds, in which this machine had work to do and its host ran another one.
/// `None` where the kernel does not tell.
pub(super) fn stolen_us() -> Option<u64> {
    stolen_ticks(&fs::read_to_string("/proc/stat").ok()?).map(micros_of)
}

/// What a table like `/proc/stat` says of it.
fn stolen_ticks(stat: &str) -> Option<u64> {
    // Behind the name: user, nice, system, idle, iowait, irq, softirq, steal.
    stat.lines().find_map(|line| line.strip_prefix("cpu "))?.split_ascii_whitespace().nth(7)?.parse().ok()
}

fn micros_of(ticks: u64) -> u64 {
    ticks * (1_000_000 / rustix::param::clock_ticks_per_second())
}

/// Bytes that a folder takes on its disk.
pub(super) fn disk_bytes(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => disk_bytes(&entry.path()),
        Ok(metadata) => metadata.blocks() * 512,
        Err(_) => 0,
    };
    entries.flatten().map(of).sum()
}

/// A folder for a broker's data, empty at first and gone at the end.
#[derive(Debug)]
pub(super) struct DataDir(PathBuf);

impl DataDir {
    /// Makes the folder inside another.
    pub(super) fn new(parent: &Path, name: &str) -> Result<Self, String> {
        let path = parent.join(name);
        let failed = |error: std::io::Error| format!("{}: {error}", path.display());
        if path.exists() {
            return Err(format!("{} exists already", path.display()));
        }
        fs::create_dir_all(&path).map_err(failed)?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Waits until something holds; false if it takes too long.
pub(super) fn wait_until(limit: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let clock = Clock::start();
    while !holds() {
        if Duration::from_nanos(clock.now()) > limit {
            return false;
        }
        pause(Duration::from_millis(20));
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process that does nothing, ended when this is dropped.
    struct Sleeper(Child);

    impl Drop for Sleeper {
        fn drop(&mut self) {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }

    #[test]
    fn processes_are_stopped_for_a_while() {
        let sleeper = Sleeper(Command::new("sleep").arg("60").spawn().unwrap());
        let pid = Pid::from_child(&sleeper.0);
        let state = || {
            let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap();
            stat.rsplit_once(") ").unwrap().1.chars().next()
        };
        let stopped = [pid];
        let stopped = Stopped::new(&stopped).unwrap();
        assert!(wait_until(Duration::from_secs(30), || state() == Some('T')));
        drop(stopped);
        assert!(wait_until(Duration::from_secs(30), || state() == Some('S')));
        drop(sleeper);
        Stopped::new(&[pid]).unwrap_err();
    }

    #[test]
    fn stolen_time_is_the_eighth() {
        let stat = "cpu  2394022 106551 345197 1928531 49359 1 57188 7520 3 4\ncpu0 5 5 5 5 5 5 5 5 5 5\n";
        assert_eq!(stolen_ticks(stat), Some(7520));
        assert_eq!(stolen_ticks("cpu  2394022 106551 345197 1928531\n"), None);
    }

    #[test]
    fn a_listening_socket_is_found_by_its_port() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:1628 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0\n\
            1: 0100007F:1628 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 100 0 0 10 0\n";
        assert_eq!(listening_inodes(table, 5672), ["4711"]);
        assert!(listening_inodes(table, 5671).is_empty());
    }
}

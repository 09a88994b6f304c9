//! The real `leveret` process, on a free port.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// How long a start or stop may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running broker process, killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Leveret {
    /// Where it speaks AMQP.
    pub(crate) address: SocketAddr,
    /// From the start of the process to its ready line.
    pub(crate) start_time: Duration,
    child: Child,
    /// What it logs.
    log: PathBuf,
    /// Where its data and its admin socket are.
    data: PathBuf,
}

impl Leveret {
    /// Starts a broker on a port of the system's choice, with its data in `directory/data` and its log beside it.
    ///
    /// # Panics
    /// If it does not become ready.
    pub(crate) fn start(directory: &Path) -> Self {
        Self::start_with(directory, |command| command.args(["--listen", "127.0.0.1:0", "--log", "info"]))
    }

    /// Starts a broker at an address, again or anew.
    ///
    /// # Panics
    /// If it does not become ready.
    pub(crate) fn start_at(directory: &Path, address: SocketAddr) -> Self {
        let address = address.to_string();
        Self::start_with(directory, |command| command.args(["--listen", &address, "--log", "info"]))
    }

    /// Starts a broker with other options and environment, with its data in `directory/data` and its log beside it.
    ///
    /// # Panics
    /// If it does not become ready.
    pub(crate) fn start_with(directory: &Path, options: impl FnOnce(&mut Command) -> &mut Command) -> Self {
        let begin = Instant::now();
        let log = directory.join("log.txt");
        let stderr = std::fs::OpenOptions::new().create(true).append(true).open(&log).expect("the log can be written");
        let mut command = Command::new(binary());
        command.arg("--data-dir").arg(directory.join("data"));
        let mut child = options(&mut command)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .expect("the binary was built");
        let stdout = child.stdout.take().expect("it is piped");
        let (lines, line) = mpsc::channel();
        thread::spawn(move || {
            let mut stdout = BufReader::new(stdout);
            let mut first = String::new();
            let _ = stdout.read_line(&mut first);
            let _ = lines.send(first);
            // The pipe stays open, for a broker that says more must not die of it.
            let _ = stdout.read_to_end(&mut Vec::new());
        });
        let said = line.recv_timeout(PATIENCE).unwrap_or_default();
        let start_time = begin.elapsed();
        let address = said.trim_end().strip_prefix("leveret ready on ").and_then(|address| address.parse().ok());
        let Some(address) = address else {
            let _ = child.kill();
            let _ = child.wait();
            panic!("leveret said {said:?} instead of being ready\n{}", read(&log));
        };
        Self { address, start_time, child, log, data: directory.join("data") }
    }

    /// Runs `leveretctl` with these words: whether it succeeds, its output and its errors.
    pub(crate) fn control(&self, words: &[String]) -> (bool, String, String) {
        let outcome = Command::new(binary().with_file_name("leveretctl"))
            .arg("--data-dir")
            .arg(&self.data)
            .arg("--silent")
            .args(words)
            .stdin(Stdio::null())
            .output()
            .expect("it was built beside the broker");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (outcome.status.success(), text(outcome.stdout), text(outcome.stderr))
    }

    /// Kills it (SIGKILL), as a crash would.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    /// Asks it to stop (SIGTERM) and waits.
    ///
    /// # Panics
    /// If it does not.
    pub(crate) fn stop(mut self) -> ExitStatus {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().expect("there is a kill command");
        assert!(sent.success());
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return status;
            }
            assert!(Instant::now() < deadline, "leveret did not stop\n{}", read(&self.log));
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Leveret {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("leveret's log:\n{}", read(&self.log));
        }
        self.end();
    }
}

/// The broker's binary, built like this test binary. `LEVERET_BIN` names another one.
///
/// Cargo builds another package's binaries for tests only on nightly, so the test asks for it.
///
/// # Panics
/// If it cannot be built.
pub(crate) fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(path) = std::env::var_os("LEVERET_BIN") {
            return path.into();
        }
        let own = std::env::current_exe().expect("a test has a path");
        let profile_dir = own.ancestors().nth(2).expect("it lies in TARGET/PROFILE/deps");
        let profile = match profile_dir.file_name().and_then(|name| name.to_str()).expect("profiles have names") {
            "debug" => "dev",
            other => other,
        };
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--package", "leveret-server", "--bins", "--profile", profile])
            .arg("--target-dir")
            .arg(profile_dir.parent().expect("it lies in the target directory"))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .expect("cargo is there");
        assert!(built.success(), "the broker does not build");
        profile_dir.join("leveret")
    })
}

/// The administration tool beside [`binary`].
///
/// # Panics
/// If they cannot be built.
pub(crate) fn ctl() -> PathBuf {
    binary().with_file_name("leveretctl")
}

fn read(log: &Path) -> String {
    std::fs::read_to_string(log).unwrap_or_default()
}

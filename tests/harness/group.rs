//! A program of another language with all that it starts: one process group, which never outlives the test.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Runs its arguments, and ends the whole group when its standard input ends: also when this process is killed.
const HOLDER: &str = r#"
exec 3<&0
{ cat <&3 > /dev/null; kill -KILL 0; } > /dev/null 2>&1 &
exec 3<&-
"$@" < /dev/null
"#;

/// A running program.
#[derive(Debug)]
pub(crate) struct Group {
    holder: Child,
    lines: Receiver<String>,
    /// What it has said.
    said: Vec<String>,
    deadline: Instant,
}

impl Group {
    /// Starts a program that has to come to its end within `patience`. What it says on standard error goes to the file `log`.
    ///
    /// # Panics
    /// If that is not possible.
    pub(crate) fn start(program: &Command, log: &Path, patience: Duration) -> Self {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log).expect("the log can be written");
        let mut command = Command::new("sh");
        command.args(["-c", HOLDER, "holder"]).arg(program.get_program()).args(program.get_args());
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        if let Some(directory) = program.get_current_dir() {
            command.current_dir(directory);
        }
        let mut holder = command
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("there is a shell");
        let stdout = BufReader::new(holder.stdout.take().expect("it is piped"));
        let (lines_in, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if lines_in.send(line).is_err() {
                    break;
                }
            }
        });
        Self { holder, lines, said: Vec::new(), deadline: Instant::now() + patience }
    }

    /// Waits for a line that it says.
    ///
    /// # Errors
    /// If it ends or its time is over before.
    pub(crate) fn wait_for(&mut self, line: &str) -> Result<(), String> {
        while self.said.last().is_none_or(|last| last != line) {
            let next = self.next_line()?.ok_or_else(|| format!("it ended without {line:?}"))?;
            self.said.push(next);
        }
        Ok(())
    }

    /// Waits for its end; all that it has said, if it ended well.
    ///
    /// # Errors
    /// If it failed or its time is over.
    pub(crate) fn finish(mut self) -> Result<Vec<String>, String> {
        while let Some(line) = self.next_line()? {
            self.said.push(line);
        }
        let status = loop {
            match self.holder.try_wait().map_err(|error| error.to_string())? {
                Some(status) => break status,
                None if Instant::now() > self.deadline => return Err("it did not end in time".to_owned()),
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        if status.success() { Ok(std::mem::take(&mut self.said)) } else { Err(format!("it ended with {status}")) }
    }

    /// The next line; `None` at the end.
    fn next_line(&self) -> Result<Option<String>, String> {
        match self.lines.recv_timeout(self.deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => Err(format!("its time is over; it said {:?}", self.said)),
        }
    }
}

impl Drop for Group {
    /// Kills the program and all that it started (SIGKILL).
    fn drop(&mut self) {
        // As the end of its input would, but at once. Until it is waited for, its number is nobody else's.
        let group = format!("-{}", self.holder.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
        let _ = self.holder.wait();
    }
}

//! The admin socket: command lines come in, their outcomes go out.
//!
//! `admin.sock` in the data directory, for the user only that runs the broker. One line of JSON asks:
//! `{"arguments": ["list_queues", "-q"], "input": null}`, in leveretctl's words; one line of JSON answers:
//! `{"code": 0, "output": "...", "error": ""}`. A connection may ask again after each answer. That the broker reads the words, and not
//! the tool, keeps the two from having to be of one version.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use leveret_engine::management::{AdminError, AdminErrorKind, AdminReply, AdminRequest};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::ctl::{self, Outcome, Plan, exit};

/// The socket's name in the data directory.
pub const SOCKET: &str = "admin.sock";
/// Requests that may wait for the node. Each waits for its answer, so few are ever needed.
const WAITING: usize = 16;
/// Connections served at once; more wait to be accepted.
const CONNECTIONS: usize = 64;
/// Bytes of the longest line: definitions of a large broker.
const LINE_BYTES: u64 = 256 * 1024 * 1024;
/// How long to wait before accepting again when the system had no room for a connection.
const RETRY: Duration = Duration::from_millis(100);

/// A request on its way to the node, and where its answer goes.
#[derive(Debug)]
pub struct AdminCall {
    /// What is asked.
    pub request: AdminRequest,
    /// Where the answer goes; dropped if there is none because the node stopped.
    pub answer: oneshot::Sender<Result<AdminReply, AdminError>>,
}

/// Where a node takes requests from.
pub type AdminCalls = mpsc::Receiver<AdminCall>;

/// Makes requests of a node.
#[derive(Clone, Debug)]
pub struct AdminLink {
    calls: mpsc::Sender<AdminCall>,
}

/// Both ends of the link between a node and its administrators.
pub fn link() -> (AdminLink, AdminCalls) {
    let (calls_in, calls_out) = mpsc::channel(WAITING);
    (AdminLink { calls: calls_in }, calls_out)
}

impl AdminLink {
    /// Asks the node, and waits for the answer.
    ///
    /// # Errors
    /// As the node refuses, or because it has stopped.
    pub async fn ask(&self, request: AdminRequest) -> Result<AdminReply, AdminError> {
        let stopped = || AdminError { kind: AdminErrorKind::Refused, text: "the broker is stopping".to_owned() };
        let (answer_in, answer_out) = oneshot::channel();
        self.calls.send(AdminCall { request, answer: answer_in }).await.map_err(|_| stopped())?;
        answer_out.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Carries out one command line of leveretctl.
    pub async fn run(&self, arguments: &[String], input: Option<&str>) -> Outcome {
        let invocation = match ctl::parse(arguments) {
            Ok(invocation) => invocation,
            Err(outcome) => return outcome,
        };
        match invocation.plan(input) {
            Plan::Done(outcome) => outcome,
            Plan::Ask(request) => invocation.outcome(self.ask(*request).await),
        }
    }
}

/// A socket that administrators may connect to. Its file goes with it.
#[derive(Debug)]
pub struct AdminSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl AdminSocket {
    /// Opens the socket of a data directory that this process holds locked.
    ///
    /// # Errors
    /// If that is not possible.
    pub fn open(data_dir: &Path) -> io::Result<Self> {
        let path = data_dir.join(SOCKET);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // The address of a socket has room for 107 bytes only, and data directories may lie deeper.
        let directory = File::open(data_dir)?;
        let listener = UnixListener::bind(short_path(&directory))?;
        // Until here the directory alone kept others out.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        Ok(Self { listener, path })
    }

    /// Serves administrators until it is dropped.
    pub async fn serve(self, node: AdminLink) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                Some(ended) = connections.join_next() => crate::listener::pass_panic_on(ended),
                accepted = self.listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(serve_one(stream, node.clone()));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept an administrator; trying again");
                        tokio::time::sleep(RETRY).await;
                    }
                },
            }
        }
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// The path of the socket in an open directory, however deep that lies.
pub fn short_path(directory: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd()))
}

/// Answers one administrator's questions until there are no more.
async fn serve_one(stream: UnixStream, node: AdminLink) {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    // A connection that breaks has nobody to be told.
    while let Ok(true) = serve_line(&mut read, &mut write, &node).await {}
}

/// Answers one question. Whether there may be another.
async fn serve_line(
    read: &mut BufReader<OwnedReadHalf>,
    write: &mut OwnedWriteHalf,
    node: &AdminLink,
) -> io::Result<bool> {
    let mut line = Vec::new();
    if read.take(LINE_BYTES).read_until(b'\n', &mut line).await? == 0 {
        return Ok(false);
    }
    let outcome = match serde_json::from_slice::<Value>(&line).ok().as_ref().and_then(question) {
        Some((arguments, input)) => node.run(&arguments, input).await,
        None => {
            Outcome::failure(exit::USAGE, "expected a line such as {\"arguments\": [\"status\"], \"input\": null}\n")
        }
    };
    let Outcome { code, output, error } = outcome;
    let mut answer = json!({ "code": code, "output": output, "error": error }).to_string();
    answer.push('\n');
    write.write_all(answer.as_bytes()).await?;
    Ok(true)
}

/// The arguments and the input of a question.
fn question(value: &Value) -> Option<(Vec<String>, Option<&str>)> {
    let arguments = value.get("arguments")?.as_array()?;
    let arguments = arguments.iter().map(|argument| argument.as_str().map(str::to_owned)).collect::<Option<_>>()?;
    Some((arguments, value.get("input").and_then(Value::as_str)))
}

//! Real processes that are one broker, on this machine.

mod damage;
mod discovery;
mod encrypted;
mod idle;
mod kills;
mod libraries;
mod members;
mod memory;
mod mirrored;
mod network;
mod three;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use leveret_engine::amqp::method::queue;
use leveret_engine::amqp::{Method, ShortStr};
use serde_json::Value;
use tokio::net::{TcpSocket, TcpStream};

use crate::harness::client::{TestClient, patiently};
use crate::harness::leveret::{binary, ctl};

/// How long nodes may take to find each other on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process with one node or more, killed when this is dropped.
struct Process {
    child: Child,
    lines: mpsc::Receiver<String>,
    log: PathBuf,
}

impl Process {
    fn start(log: PathBuf, options: impl FnOnce(&mut Command) -> &mut Command) -> Self {
        let mut command = Command::new(binary());
        command.env_remove("RABBITMQ_ERLANG_COOKIE").env_remove("LEVERET_CLUSTER_SECRET");
        options(&mut command);
        Self::of(command, log)
    }

    /// Runs a command that becomes a broker. What it says on standard error goes to the file `log`.
    fn of(mut command: Command, log: PathBuf) -> Self {
        let stderr = fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
        let (line_in, lines) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || stdout.lines().map_while(Result::ok).for_each(|line| drop(line_in.send(line))));
        Self { child, lines, log }
    }

    /// Waits until so many nodes are ready: where each of them is, by what the line calls it.
    fn ready(&self, nodes: usize) -> BTreeMap<String, SocketAddr> {
        let deadline = Instant::now() + PATIENCE;
        let mut ready = BTreeMap::new();
        while ready.len() < nodes {
            let line = self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now()));
            let line = line.unwrap_or_else(|_| panic!("{} of {nodes} nodes are ready\n{}", ready.len(), self.logged()));
            let rest = line.strip_prefix("leveret ready on ").unwrap_or_else(|| panic!("it said {line:?}"));
            let (address, label) = rest.split_once(' ').unwrap_or((rest, ""));
            ready.insert(label.trim_matches(['(', ')']).to_owned(), address.parse().unwrap());
        }
        ready
    }

    fn logged(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Asks it to stop (SIGTERM).
    fn stop(mut self) -> ExitStatus {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it did not stop\n{}", self.logged());
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}:\n{}", self.log.display(), self.logged());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What leveretctl prints for a command line that must succeed.
fn control(data_dir: &Path, line: &[&str]) -> String {
    try_control(data_dir, line).unwrap_or_else(|reason| panic!("{line:?}: {reason}"))
}

/// What leveretctl prints, or why it failed.
fn try_control(data_dir: &Path, line: &[&str]) -> Result<String, String> {
    let output = Command::new(ctl()).arg("--data-dir").arg(data_dir).arg("-q").args(line).output().unwrap();
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout).unwrap());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

fn cluster_status(data_dir: &Path) -> Value {
    serde_json::from_str(&control(data_dir, &["cluster_status", "--formatter", "json"])).unwrap()
}

fn declare(address: SocketAddr, queue: &'static str, passive: bool) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(patiently(async {
        let mut client = TestClient::login(TcpStream::connect(address).await?).await?;
        let queue = ShortStr::from_static(queue);
        let answer = client.call(queue::Declare { queue, durable: true, passive, ..queue::Declare::default() }).await?;
        assert!(matches!(answer, Method::QueueDeclareOk(_)), "{answer:?}");
        client.close().await
    }))
}

/// A port that nobody else is given for as long as this lives. It is not listened on, so that a node can.
fn reserve() -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    socket
}

/// Waits until something is so.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn three_nodes_in_one_process_are_one_broker() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let start = || {
        Process::start(directory.path().join("log.txt"), |command| {
            command.args(["--cluster", "3", "--listen", "127.0.0.1:0", "--data-dir"]).arg(&data)
        })
    };
    let process = start();
    let nodes = process.ready(3);
    assert_eq!(nodes.keys().collect::<Vec<_>>(), ["node1@localhost", "node2@localhost", "node3@localhost"]);
    declare(nodes["node1@localhost"], "shared", false).unwrap();
    until("the third node knows the queue", || declare(nodes["node3@localhost"], "shared", true).is_ok());
    control(&data.join("node2"), &["await_online_nodes", "3"]);
    let status = cluster_status(&data.join("node2"));
    assert_eq!(status["running_nodes"], serde_json::json!(["node1@localhost", "node2@localhost", "node3@localhost"]));
    assert_eq!(status["cluster_name"], "node1@localhost");
    let log = process.logged();
    assert!(process.stop().success(), "{log}");

    let process = start();
    let nodes = process.ready(3);
    declare(nodes["node2@localhost"], "shared", true).unwrap();
    assert!(process.stop().success());
}

/// The configuration in the readme, for three machines, with this one as all of them.
#[test]
fn three_processes_are_one_broker() {
    let readme = include_str!("../../README.md");
    let (_, section) = readme.split_once("### A cluster").expect("there is a section about it");
    let (_, sample) = section.split_once("```ini\n").expect("it has a sample");
    let (sample, _) = sample.split_once("```").expect("which ends");
    let directory = tempfile::tempdir().unwrap();
    let secret = directory.path().join("secret");
    fs::write(&secret, "known to three nodes and nobody else\n").unwrap();
    assert!(sample.contains("/etc/leveret/secret"), "{sample}");
    let mut text = sample.replace("/etc/leveret/secret", &secret.display().to_string());
    let names = ["node1", "node2", "node3"].map(|host| format!("leveret@{host}"));
    let ports = [(); 3].map(|()| reserve());
    for (name, port) in names.iter().zip(&ports) {
        assert!(text.contains(&format!("= {name}\n")), "{text}");
        text += &format!("cluster.addresses.{name} = {}\n", port.local_addr().unwrap());
    }
    let config = directory.path().join("cluster.conf");
    fs::write(&config, text).unwrap();
    let data = names.each_ref().map(|name| directory.path().join(name));
    let start = |at: usize| {
        Process::start(directory.path().join(format!("{at}.txt")), |command| {
            command.args(["--node-name", &names[at], "--listen", "127.0.0.1:0"]);
            command.arg("--config").arg(&config).arg("--data-dir").arg(&data[at])
        })
    };
    let address = |process: &Process| process.ready(1)[""];

    // Clients have to wait for a majority, and operators see why.
    let first = start(0);
    until("the first node says whom it misses", || {
        let line = ["--formatter", "json", "cluster_status"];
        let output = Command::new(ctl()).arg("--data-dir").arg(&data[0]).args(line).output().unwrap();
        serde_json::from_slice::<Value>(&output.stdout)
            .is_ok_and(|status| status["missing_nodes"] == serde_json::json!(names))
    });
    assert!(first.lines.try_recv().is_err(), "one of three is no majority");
    let (second, third) = (start(1), start(2));
    let (one, two, three) = (address(&first), address(&second), address(&third));
    until("all have a vote", || {
        cluster_status(&data[1])["voting_nodes"].as_array().is_some_and(|nodes| nodes.len() == 3)
    });
    for (queue, address) in [("a", one), ("b", two), ("c", three)] {
        declare(address, queue, false).unwrap();
    }
    for address in [one, two, three] {
        for queue in ["a", "b", "c"] {
            until("all nodes know all queues", || declare(address, queue, true).is_ok());
        }
    }

    // One crashes, the others go on, and it comes back to what they have done.
    drop(third);
    until("the others see it", || cluster_status(&data[0])["running_nodes"] == serde_json::json!(names[..2]));
    until("they go on", || declare(two, "d", false).is_ok());
    let third = start(2);
    let three = address(&third);
    until("it knows what came meanwhile", || declare(three, "d", true).is_ok());
    control(&data[2], &["await_online_nodes", "3"]);

    // One leaves for good.
    assert!(third.stop().success());
    until("the others see it", || cluster_status(&data[0])["running_nodes"] == serde_json::json!(names[..2]));
    control(&data[0], &["forget_cluster_node", &names[2]]);
    assert_eq!(cluster_status(&data[0])["disk_nodes"], serde_json::json!(names[..2]));
    assert!(second.stop().success());
    assert!(first.stop().success());
    for at in 0..3 {
        let log = fs::read_to_string(directory.path().join(format!("{at}.txt"))).unwrap();
        assert!(!log.contains("known to three"), "the secret is in the log:\n{log}");
    }
}

#[test]
fn a_cluster_without_a_secret_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("cluster.conf");
    fs::write(&config, "cluster_formation.classic_config.nodes.1 = rabbit@node1\n").unwrap();
    let mut command = Command::new(binary());
    command.env_remove("RABBITMQ_ERLANG_COOKIE").env_remove("LEVERET_CLUSTER_SECRET");
    command.arg("--config").arg(&config).arg("--data-dir").arg(directory.path().join("data"));
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("cluster.secret_file") && said.contains("RABBITMQ_ERLANG_COOKIE"), "{said}");
    let output = command.arg("--cluster").arg("3").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("--cluster starts a cluster of its own"), "{said}");
}

#[test]
fn a_node_with_another_secret_is_kept_out() {
    let directory = tempfile::tempdir().unwrap();
    let ends = [(); 2].map(|()| reserve());
    let mut text = String::new();
    for (name, end) in ["a@one", "b@two"].iter().zip(&ends) {
        text += &format!("cluster_formation.classic_config.nodes.{name} = {name}\n");
        text += &format!("cluster.addresses.{name} = {}\n", end.local_addr().unwrap());
    }
    let config = directory.path().join("cluster.conf");
    fs::write(&config, text).unwrap();
    let start = |name: &str, variable: &str, secret: &str| {
        Process::start(directory.path().join(format!("{name}.txt")), |command| {
            command.env(variable, secret).args(["--node-name", name, "--listen", "127.0.0.1:0", "--config"]);
            command.arg(&config).arg("--data-dir").arg(directory.path().join(name))
        })
    };
    let a = start("a@one", "LEVERET_CLUSTER_SECRET", "one secret of twenty bytes");
    let b = start("b@two", "RABBITMQ_ERLANG_COOKIE", "another one of as many");
    until("one of them says so", || [&a, &b].iter().any(|process| process.logged().contains("secret")));
    assert!(a.lines.try_recv().is_err() && b.lines.try_recv().is_err());
    assert!(b.stop().success());
    let b = start("b@two", "RABBITMQ_ERLANG_COOKIE", "one secret of twenty bytes");
    a.ready(1);
    b.ready(1);
}

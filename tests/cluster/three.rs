//! Three nodes, each a process of its own that can be killed and started again where it was.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpSocket;

use super::{Process, control, declare, reserve, try_control, until};
use crate::harness::leveret::binary;

/// Three nodes that are one broker.
pub(super) struct Three {
    processes: [Option<Process>; 3],
    /// Where clients and where other nodes find each of them.
    clients: [SocketAddr; 3],
    /// How each is started, before what it is told.
    commands: [Vec<String>; 3],
    config: PathBuf,
    directory: TempDir,
    /// Keep others away from the ports of nodes that do not run.
    _ports: Vec<TcpSocket>,
}

impl Three {
    /// Starts three nodes on this machine.
    pub(super) fn start() -> Self {
        let ports: Vec<_> = (0..6).map(|_| reserve()).collect();
        let address = |at: usize| ports[at].local_addr().unwrap();
        let (clients, peers) = ([0, 1, 2].map(address), [3, 4, 5].map(address));
        Self::start_at(clients, peers, [const { Vec::new() }; 3], "", ports)
    }

    /// Starts three nodes at addresses that are theirs alone, each by a command that is followed by what it has to run, with more lines
    /// of configuration.
    pub(super) fn start_at(
        clients: [SocketAddr; 3],
        peers: [SocketAddr; 3],
        commands: [Vec<String>; 3],
        more: &str,
        ports: Vec<TcpSocket>,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut text = String::from("cluster.secret = known to three nodes and nobody else\nloopback_users = none\n");
        for (at, peer) in peers.iter().enumerate() {
            let name = name(at);
            text +=
                &format!("cluster_formation.classic_config.nodes.{at} = {name}\ncluster.addresses.{name} = {peer}\n");
        }
        text += more;
        let config = directory.path().join("cluster.conf");
        fs::write(&config, text).unwrap();
        let processes = [const { None }; 3];
        let mut three = Self { processes, clients, commands, config, directory, _ports: ports };
        for at in 0..3 {
            three.processes[at] = Some(three.launch(at, &[]));
        }
        for process in three.processes.iter().flatten() {
            process.ready(1);
        }
        until("all have a vote", || {
            let status = super::cluster_status(&three.directory.path().join(name(0)));
            ["voting_nodes", "running_nodes"].iter().all(|key| status[key].as_array().is_some_and(|all| all.len() == 3))
        });
        three
    }

    fn launch(&self, at: usize, options: &[&str]) -> Process {
        let mut words = self.commands[at].iter().map(String::as_str).chain([binary().to_str().unwrap()]);
        let mut command = Command::new(words.next().expect("there is the broker at least"));
        command.env_remove("RABBITMQ_ERLANG_COOKIE").env_remove("LEVERET_CLUSTER_SECRET");
        command.args(words).args(options).args(["--node-name", &name(at), "--listen", &self.clients[at].to_string()]);
        command.arg("--config").arg(&self.config).arg("--data-dir").arg(self.directory.path().join(name(at)));
        Process::of(command, self.directory.path().join(format!("{at}.txt")))
    }

    /// Where clients find a node, whether it runs or not.
    pub(super) fn address(&self, at: usize) -> SocketAddr {
        self.clients[at]
    }

    /// Kills a node (SIGKILL), as a crash would.
    pub(super) fn kill(&mut self, at: usize) {
        assert!(self.processes[at].take().is_some(), "node {at} runs");
    }

    /// Starts a node that was killed, and waits until it lets clients in.
    pub(super) fn restart(&mut self, at: usize) {
        self.restart_with(at, &[]);
    }

    /// The same, with further options.
    pub(super) fn restart_with(&mut self, at: usize, options: &[&str]) {
        let process = self.launch(at, options);
        process.ready(1);
        self.processes[at] = Some(process);
    }

    /// Starts a node that was killed, and does not wait for anything.
    pub(super) fn begin(&mut self, at: usize) {
        self.processes[at] = Some(self.launch(at, &[]));
    }

    /// Starts a node that was killed, and waits until it ends by itself.
    pub(super) fn run_to_the_end(&self, at: usize) -> ExitStatus {
        let mut process = self.launch(at, &[]);
        let mut status = None;
        until("it has ended", || {
            status = process.child.try_wait().unwrap();
            status.is_some()
        });
        status.expect("it has ended")
    }

    /// Where a node has its data.
    pub(super) fn data_dir(&self, at: usize) -> PathBuf {
        self.directory.path().join(name(at))
    }

    /// What a node has logged in all its lives.
    pub(super) fn logged(&self, at: usize) -> String {
        fs::read_to_string(self.directory.path().join(format!("{at}.txt"))).unwrap()
    }

    /// Declares a durable queue on a node, and waits until all know it.
    pub(super) fn declare(&self, at: usize, queue: &'static str) {
        declare(self.clients[at], queue, false).unwrap();
        for address in self.clients {
            until("all nodes know the queue", || declare(address, queue, true).is_ok());
        }
    }

    /// What leveretctl prints for a command line to a node.
    pub(super) fn control(&self, at: usize, line: &[&str]) -> String {
        control(&self.directory.path().join(name(at)), line)
    }

    /// The same, or why it failed.
    pub(super) fn try_control(&self, at: usize, line: &[&str]) -> Result<String, String> {
        try_control(&self.directory.path().join(name(at)), line)
    }

    /// Waits until a queue holds nothing, whether ready or unacked, as its node sees it.
    pub(super) fn wait_until_empty(&self, at: usize, queue: &str) {
        let data = self.directory.path().join(name(at));
        let line = ["list_queues", "name", "messages", "--no-table-headers"];
        until("the queue is empty", || control(&data, &line).lines().any(|line| line == format!("{queue}\t0")));
    }

    /// Bytes of memory that a node has at the moment.
    pub(super) fn resident_bytes(&self, at: usize) -> u64 {
        let status = self.proc(at, "status");
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix("kB")).unwrap();
        kib.trim().parse::<u64>().unwrap() * 1024
    }

    /// Bytes that a node has written to its disk since it was started.
    pub(super) fn written_bytes(&self, at: usize) -> u64 {
        let io = self.proc(at, "io");
        io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).unwrap().parse().unwrap()
    }

    /// Time of a core that a node has used since it was started.
    pub(super) fn processor_time(&self, at: usize) -> Duration {
        let process = self.processes[at].as_ref().expect("the node runs");
        let threads = fs::read_dir(format!("/proc/{}/task", process.child.id())).unwrap();
        let nanos = threads.map(|thread| -> u64 {
            let stat = fs::read_to_string(thread.unwrap().path().join("schedstat")).unwrap();
            stat.split(' ').next().unwrap().parse().unwrap()
        });
        Duration::from_nanos(nanos.sum())
    }

    /// What the system says of a node's process.
    fn proc(&self, at: usize, what: &str) -> String {
        let process = self.processes[at].as_ref().expect("the node runs");
        fs::read_to_string(format!("/proc/{}/{what}", process.child.id())).unwrap()
    }
}

/// What a node is called.
pub(super) fn name(at: usize) -> String {
    format!("leveret@node{}", at + 1)
}

//! Nodes that find each other.

use std::fs;

use super::{Process, cluster_status, reserve, until};

/// The only name that every machine knows.
#[test]
fn a_node_is_called_what_dns_says_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let (config, data_dir) = (directory.path().join("dns.conf"), directory.path().join("data"));
    let ports = [reserve(), reserve()];
    let [clients, nodes] = [0, 1].map(|at: usize| ports[at].local_addr().unwrap());
    let text = format!(
        "cluster_formation.peer_discovery_backend = dns\ncluster_formation.dns.hostname = localhost\n\
         cluster_formation.target_cluster_size_hint = 1\ncluster.secret = known to this node and nobody else\ncluster.listen = {nodes}\n"
    );
    fs::write(&config, text).unwrap();
    let process = Process::start(directory.path().join("log.txt"), |command| {
        command.arg("--config").arg(&config).arg("--data-dir").arg(&data_dir).args(["--listen", &clients.to_string()])
    });
    process.ready(1);
    until("it is what DNS says", || {
        let status = cluster_status(&data_dir);
        let names = ["leveret@127.0.0.1", "leveret@::1"];
        names.iter().any(|name| status["running_nodes"] == serde_json::json!([name]))
    });
    assert!(process.stop().success());
}

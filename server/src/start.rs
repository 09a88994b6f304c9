//! What one process is to run: one node, or a cluster of its own to try things with.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use leveret_engine::cluster::link::Secret;
use leveret_engine::config::{ClusterConfig, Config};
use leveret_server::config::FileSettings;
use leveret_server::config::cluster::{node_name, secret};
use leveret_server::peers::PeerAddresses;
use leveret_server::tls::PeerTls;
use tokio::net::TcpSocket;

use crate::discovery::{System, discover};
use crate::options::Options;

/// Environment variables that may hold the cluster's secret; the first that does counts.
const SECRET_VARIABLES: [&str; 2] = ["LEVERET_CLUSTER_SECRET", "RABBITMQ_ERLANG_COOKIE"];
/// RabbitMQ's environment variable for a node's name.
const NAME_VARIABLE: &str = "RABBITMQ_NODENAME";
/// What the names of nodes begin with unless they are told otherwise.
const NAME_PREFIX: &str = "leveret";

/// One node, before it starts.
#[derive(Debug)]
pub(crate) struct Setup {
    /// What the ready line calls it. `None` if it is the only one of the process.
    pub(crate) label: Option<String>,
    pub(crate) config: Config,
    pub(crate) peers: Option<PeerAddresses>,
    pub(crate) listen: Vec<SocketAddr>,
    pub(crate) data_dir: PathBuf,
    pub(crate) definitions: Option<PathBuf>,
}

/// What is to run, and what is odd about it for the log.
#[derive(Debug, Default)]
pub(crate) struct Start {
    pub(crate) nodes: Vec<Setup>,
    pub(crate) warnings: Vec<String>,
    /// Keeps ports for as long as the nodes may want to listen there.
    _reserved: Vec<TcpSocket>,
}

/// One node: alone, or one of those that the configuration names.
pub(crate) fn one(
    options: &Options,
    settings: &FileSettings,
    listen: Vec<SocketAddr>,
    host: &str,
) -> Result<Start, String> {
    let mut start = Start::default();
    let mut config = settings.engine.clone();
    config.gives_up_damaged_data = options.give_up_damaged_data;
    let given = options.node_name.clone().map(|name| ("--node-name".to_owned(), name));
    let given = given.or_else(|| env::var(NAME_VARIABLE).ok().map(|name| (NAME_VARIABLE.to_owned(), name)));
    let mut nodes = settings.cluster.clone();
    let mut found = None;
    if let Some(dns) = nodes.dns()? {
        let prefix = given.as_ref().map_or(NAME_PREFIX, |(_, name)| name.split('@').next().unwrap_or_default());
        let has_name = given.as_ref().is_some_and(|(_, name)| name.contains('@'));
        let discovered = discover(&dns, prefix, has_name, &mut System)?;
        tracing::info!(nodes = discovered.names.join(" "), "found the nodes of the cluster");
        nodes.add_nodes(discovered.names);
        found = discovered.own.filter(|_| !has_name);
    }
    if let Some(name) = found {
        config.node_name = name;
    } else if let Some((source, name)) = given {
        // As RabbitMQ does.
        let name = if name.contains('@') { name } else { format!("{name}@{host}") };
        config.node_name = node_name(&name).map_err(|why| format!("{source}: {why}"))?;
    } else if let Some(name) = nodes.node_on(host) {
        name.clone_into(&mut config.node_name);
    }
    let mut peers = None;
    if nodes.is_wanted() {
        let secret = find_secret(settings, &mut start.warnings)?;
        let (cluster, mut addresses) = nodes.resolve(&config.node_name, secret)?;
        if let Some(files) = nodes.tls_files()? {
            addresses.tls = Some(PeerTls::read(&files).map_err(|why| format!("cluster.ssl_options: {why}"))?);
        }
        start.warnings.extend(nodes.doubts(&config.node_name));
        config.cluster = Some(cluster);
        peers = Some(addresses);
    }
    let definitions = options.definitions.clone().or_else(|| settings.definitions.clone());
    start.nodes.push(Setup { label: None, config, peers, listen, data_dir: options.data_dir.clone(), definitions });
    Ok(start)
}

/// The secret, if it is not in the configuration file itself.
fn find_secret(settings: &FileSettings, warnings: &mut Vec<String>) -> Result<Option<Secret>, String> {
    for variable in SECRET_VARIABLES {
        if let Some(text) = env::var(variable).ok().filter(|text| !text.is_empty()) {
            return secret(variable, &text, warnings).map(Some);
        }
    }
    let Some(path) = settings.cluster.secret_file() else { return Ok(None) };
    let shown = path.display();
    let text =
        fs::read_to_string(path).map_err(|error| format!("cluster.secret_file: cannot read {shown}: {error}"))?;
    secret(&format!("cluster.secret_file: {shown}"), &text, warnings).map(Some)
}

/// So many nodes that are a cluster: clients' ports follow each other, data is in folders side by side, and the nodes find each other on
/// this machine, with a secret of their own.
pub(crate) fn cluster(
    count: u16,
    options: &Options,
    settings: &FileSettings,
    listen: &[SocketAddr],
) -> Result<Start, String> {
    if settings.cluster.is_wanted() {
        return Err("--cluster starts a cluster of its own: leave cluster_formation and cluster.* out of the configuration file".to_owned());
    }
    let mut secret = vec![0; 32];
    getrandom::fill(&mut secret).map_err(|error| format!("the system has no entropy: {error}"))?;
    let secret = Secret::new(secret).expect("it has 32 bytes");
    let names: Vec<String> = (1..=count).map(|number| format!("node{number}@localhost")).collect();
    let reserved: Vec<_> = names.iter().map(|_| reserve()).collect::<io::Result<_>>().map_err(no_port)?;
    let ends: Vec<_> = reserved.iter().map(TcpSocket::local_addr).collect::<io::Result<_>>().map_err(no_port)?;
    let addresses: BTreeMap<_, _> = names.iter().cloned().zip(ends.iter().map(SocketAddr::to_string)).collect();
    let mut start = Start { _reserved: reserved, ..Start::default() };
    for (at, (name, end)) in (0..count).zip(names.iter().zip(&ends)) {
        let cluster = ClusterConfig::new(names.clone(), secret.clone());
        start.nodes.push(Setup {
            label: Some(name.clone()),
            config: Config {
                node_name: name.clone(),
                gives_up_damaged_data: options.give_up_damaged_data,
                cluster: Some(cluster),
                ..settings.engine.clone()
            },
            peers: Some(PeerAddresses { listen: *end, nodes: addresses.clone(), tls: None }),
            listen: listen.iter().map(|address| beside(*address, at)).collect::<Result<_, _>>()?,
            data_dir: options.data_dir.join(format!("node{}", at + 1)),
            definitions: options.definitions.clone().or_else(|| settings.definitions.clone()),
        });
    }
    Ok(start)
}

/// A port of this machine that nobody else gets. That is not listening, so that a node can.
fn reserve() -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    Ok(socket)
}

#[expect(clippy::needless_pass_by_value, reason = "it is what map_err has")]
fn no_port(error: io::Error) -> String {
    format!("there is no port for the nodes to find each other: {error}")
}

/// The address for the node after so many others. A port that the system chooses is another one each time.
fn beside(address: SocketAddr, at: u16) -> Result<SocketAddr, String> {
    let port = match address.port() {
        0 => 0,
        port => {
            port.checked_add(at).ok_or_else(|| format!("--listen {address}: there are not enough ports above it"))?
        }
    };
    Ok(SocketAddr::new(address.ip(), port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;
    use leveret_server::config;
    use std::collections::BTreeSet;
    use std::path::Path;

    fn settings(text: &str) -> FileSettings {
        config::parse(Path::new("a.conf"), text, Config::default(), 1000).unwrap()
    }

    fn options(line: &[&str]) -> Options {
        Options::parse_from([&["leveret"], line].concat())
    }

    #[test]
    fn nodes_of_one_process_stand_side_by_side() {
        let listen: Vec<SocketAddr> = vec!["127.0.0.1:5672".parse().unwrap(), "[::1]:0".parse().unwrap()];
        let start = cluster(3, &options(&["--data-dir", "d"]), &settings("heartbeat = 5"), &listen).unwrap();
        let ports: Vec<_> = start.nodes.iter().map(|node| node.listen[0].port()).collect();
        assert_eq!(ports, [5672, 5673, 5674]);
        assert!(start.nodes.iter().all(|node| node.listen[1].port() == 0 && node.config.heartbeat.as_secs() == 5));
        assert_eq!(start.nodes[2].data_dir, Path::new("d/node3"));
        let ends: BTreeSet<_> = start.nodes.iter().map(|node| node.peers.as_ref().unwrap().listen).collect();
        assert_eq!(ends.len(), 3);
        for node in &start.nodes {
            let addresses = node.peers.as_ref().unwrap();
            assert_eq!(addresses.of(&node.config.node_name), Some(addresses.listen.to_string()));
            // The system gives the port to nobody else, and the node can listen there.
            let taken = std::net::TcpListener::bind(addresses.listen);
            drop(taken.expect("a node can listen there"));
        }
        let high: Vec<SocketAddr> = vec!["127.0.0.1:65535".parse().unwrap()];
        assert!(cluster(2, &options(&[]), &settings(""), &high).unwrap_err().contains("65535"));
    }

    #[test]
    fn a_node_has_the_name_it_is_given_or_the_one_on_this_host() {
        let name = |line: &[&str], text: &str| {
            let start = one(&options(line), &settings(text), Vec::new(), "node1");
            start.map(|start| start.nodes[0].config.node_name.clone())
        };
        let nodes = "cluster_formation.classic_config.nodes.1 = rabbit@node1\ncluster.secret = known to nobody else\n";
        assert_eq!(name(&[], nodes).unwrap(), "rabbit@node1");
        assert_eq!(name(&["--node-name", "other"], nodes).unwrap(), "other@node1");
        assert_eq!(name(&["--node-name", "other@x"], nodes).unwrap(), "other@x");
        assert_eq!(name(&[], "").unwrap(), Config::default().node_name);
        assert!(name(&["--node-name", "a b@x"], "").unwrap_err().starts_with("--node-name: "));
        assert!(name(&[], "cluster.listen = 25672").unwrap_err().contains("openssl"));
    }
}

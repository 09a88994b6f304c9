//! What a configuration file says about a cluster: RabbitMQ's keys, and ours for what RabbitMQ takes from Erlang (RabbitMQ docs: Cluster
//! Formation and Peer Discovery).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use leveret_engine::cluster::link::{Secret, is_node_name};
use leveret_engine::config::ClusterConfig;

use super::keys::listener;
use crate::peers::{PORT, PeerAddresses};
use crate::tls::TlsFiles;

/// Bytes of a secret below which it is said that it can be guessed. Erlang's cookies have twenty letters.
const SECRET_BYTES_MIN: usize = 16;

/// What a file says about a cluster.
#[derive(Clone, Debug, Default)]
pub struct ClusterSettings {
    first_nodes: BTreeSet<String>,
    uses_dns: bool,
    dns_hostname: Option<String>,
    /// How many nodes there are to be at first. `None`: as many as are named.
    size_hint: Option<usize>,
    secret: Option<Secret>,
    secret_file: Option<PathBuf>,
    listen: Option<SocketAddr>,
    addresses: BTreeMap<String, String>,
    /// What of the certificates was named: those of the authority, the node's own, its key.
    tls: [Option<PathBuf>; 3],
    /// Whether a node that cannot reach a majority serves no clients.
    pub(super) pause_minority: bool,
}

/// Where DNS knows of the nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// The name that stands for the addresses of all of them.
    pub hostname: String,
    /// How many there are to be at least.
    pub nodes: usize,
}

impl ClusterSettings {
    /// Takes one of the keys that begin with `cluster_formation.` or `cluster.`. Whether it stands for anything here.
    ///
    /// # Errors
    /// What is wrong with the value. It is not in the text if it is secret.
    pub(super) fn set(&mut self, key: &str, value: &str, warnings: &mut Vec<String>) -> Result<bool, String> {
        match key {
            "cluster_formation.peer_discovery_backend" => self.uses_dns = backend(key, value)?,
            "cluster_formation.dns.hostname" => self.dns_hostname = Some(value.to_owned()),
            "cluster_formation.target_cluster_size_hint" => self.size_hint = Some(size(key, value)?),
            "cluster.secret" => self.secret = Some(secret(key, value, warnings)?),
            "cluster.secret_file" => self.secret_file = Some(PathBuf::from(value)),
            "cluster.listen" => self.listen = Some(listener(key, value)?),
            "cluster.ssl_options.cacertfile" => self.tls[0] = Some(PathBuf::from(value)),
            "cluster.ssl_options.certfile" => self.tls[1] = Some(PathBuf::from(value)),
            "cluster.ssl_options.keyfile" => self.tls[2] = Some(PathBuf::from(value)),
            _ => {
                if key.strip_prefix("cluster_formation.classic_config.nodes.").is_some() {
                    self.first_nodes.insert(node_name(value).map_err(|why| format!("{key}: {why}"))?);
                } else if let Some(name) = key.strip_prefix("cluster.addresses.") {
                    let name = node_name(name).map_err(|why| format!("{key}: {why}"))?;
                    self.addresses.insert(name, address(key, value)?);
                } else {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Whether the node is to be one of several.
    pub fn is_wanted(&self) -> bool {
        let Self { first_nodes, secret, secret_file, listen, addresses, tls, uses_dns, .. } = self;
        let has_nodes = !first_nodes.is_empty() || !addresses.is_empty() || *uses_dns;
        has_nodes || secret.is_some() || secret_file.is_some() || listen.is_some() || tls.iter().any(Option::is_some)
    }

    /// The name that stands for the nodes, if they are to be found by DNS.
    ///
    /// # Errors
    /// What was not said.
    pub fn dns(&self) -> Result<Option<Dns>, String> {
        let hostname = match (self.uses_dns, &self.dns_hostname) {
            (false, None) => return Ok(None),
            (true, Some(hostname)) => hostname.clone(),
            (true, None) => return Err("cluster_formation.dns.hostname: which name stands for the nodes?".to_owned()),
            (false, Some(_)) => {
                return Err(
                    "cluster_formation.dns.hostname: this is for cluster_formation.peer_discovery_backend = dns"
                        .to_owned(),
                );
            }
        };
        let nodes = self.size_hint.ok_or(
            "cluster_formation.target_cluster_size_hint: how many nodes are there to be at first? Without that, one that finds itself \
             alone would be a cluster of its own",
        )?;
        Ok(Some(Dns { hostname, nodes }))
    }

    /// Adds nodes that were found to those that were named.
    pub fn add_nodes(&mut self, names: impl IntoIterator<Item = String>) {
        self.first_nodes.extend(names);
    }

    /// The file that holds the secret, if the secret is to come from there.
    pub fn secret_file(&self) -> Option<&Path> {
        self.secret_file.as_deref().filter(|_| self.secret.is_none())
    }

    /// Where the certificates are, if links with other nodes are to be encrypted.
    ///
    /// # Errors
    /// What was not named.
    pub fn tls_files(&self) -> Result<Option<TlsFiles>, String> {
        match self.tls.clone() {
            [None, None, None] => Ok(None),
            [Some(authority), Some(certificate), Some(key)] => Ok(Some(TlsFiles { authority, certificate, key })),
            _ => Err("links between nodes are encrypted with cluster.ssl_options.cacertfile, .certfile and .keyfile: \
                      set all three, or none"
                .to_owned()),
        }
    }

    /// The node that this machine is, as far as the names tell: the only one on this host, or on the host by its short name.
    pub fn node_on(&self, host: &str) -> Option<&str> {
        let short = host.split('.').next().unwrap_or(host);
        let mut here = self.first_nodes.iter().filter(|name| {
            let of_node = name.split_once('@').map(|(_, of_node)| of_node);
            of_node == Some(host) || of_node == Some(short)
        });
        let first = here.next()?;
        here.next().is_none().then_some(first.as_str())
    }

    /// What this means for the node of this name, with the secret if that came from elsewhere.
    ///
    /// # Errors
    /// That there is no secret, and what to do about it.
    pub fn resolve(&self, own: &str, secret: Option<Secret>) -> Result<(ClusterConfig, PeerAddresses), String> {
        let Some(secret) = secret.or_else(|| self.secret.clone()) else {
            return Err(NO_SECRET.to_owned());
        };
        let nodes = self.first_nodes.iter().cloned().collect();
        let cluster = ClusterConfig { pause_minority: self.pause_minority, ..ClusterConfig::new(nodes, secret) };
        let mut nodes = self.addresses.clone();
        let listen = self.listen.or_else(|| local_end(&nodes.remove(own)?));
        let listen = listen.unwrap_or_else(|| SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT)));
        Ok((cluster, PeerAddresses { listen, nodes, tls: None }))
    }

    /// What is odd about it for the node of this name, for the log.
    pub fn doubts(&self, own: &str) -> Option<String> {
        if self.first_nodes.is_empty() || self.first_nodes.contains(own) {
            return None;
        }
        let mut names = String::new();
        for name in &self.first_nodes {
            let _ = write!(names, " {name}");
        }
        Some(format!(
            "{own} is none of the nodes that form the cluster (cluster_formation.classic_config.nodes:{names}): it waits until they have, \
             and joins. If it is one of them, give it that name with --node-name"
        ))
    }
}

/// What to do when there is no secret.
const NO_SECRET: &str = "\
the nodes of a cluster need a secret that all of them know and nobody else does. Set cluster.secret in the configuration file, or
cluster.secret_file to the name of a file that holds it, or the environment variable LEVERET_CLUSTER_SECRET (or RabbitMQ's
RABBITMQ_ERLANG_COOKIE), the same on every node. A good one is made by: openssl rand -hex 32";

/// A secret from wherever it comes.
///
/// # Errors
/// That it is empty.
pub fn secret(source: &str, text: &str, warnings: &mut Vec<String>) -> Result<Secret, String> {
    let text = text.trim();
    if text.len() < SECRET_BYTES_MIN && !text.is_empty() {
        warnings.push(format!(
            "{source}: a secret of less than {SECRET_BYTES_MIN} characters can be guessed by whoever may connect; a good one is made by: \
             openssl rand -hex 32"
        ));
    }
    Secret::new(text.as_bytes().to_vec()).ok_or_else(|| format!("{source}: it is empty"))
}

/// A node's name, such as `rabbit@host`.
///
/// # Errors
/// That it is none.
pub fn node_name(text: &str) -> Result<String, String> {
    let is_one = text.split_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty());
    if is_one && is_node_name(text) {
        Ok(text.to_owned())
    } else {
        Err(format!("\"{text}\" is no name of a node: expected NAME@HOST, such as rabbit@node1"))
    }
}

/// Whether nodes are found by DNS.
fn backend(key: &str, value: &str) -> Result<bool, String> {
    match value {
        "classic_config" | "rabbit_peer_discovery_classic_config" => Ok(false),
        "dns" | "rabbit_peer_discovery_dns" => Ok(true),
        _ => Err(format!(
            "{key}: nodes are not found by {value}, only by classic_config and dns: name them with \
             cluster_formation.classic_config.nodes.1 = NAME@HOST and so on"
        )),
    }
}

fn size(key: &str, value: &str) -> Result<usize, String> {
    let size = value.parse().ok().filter(|size| *size > 0);
    size.ok_or_else(|| format!("{key}: \"{value}\" is no number of nodes"))
}

/// A host, by name or address, and a port.
fn address(key: &str, value: &str) -> Result<String, String> {
    let parts = value.rsplit_once(':');
    let is_one = parts.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0));
    if is_one {
        Ok(value.to_owned())
    } else {
        Err(format!("{key}: \"{value}\" is no host with a port, such as node1.example.com:{PORT} or 10.0.0.1:{PORT}"))
    }
}

/// Where a node listens that others reach there: on that port, and only for this machine if nobody else can mean it.
fn local_end(address: &str) -> Option<SocketAddr> {
    let (host, port) = address.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let ip = match host.parse::<IpAddr>() {
        Ok(ip) if ip.is_loopback() => ip,
        _ if host == "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        _ => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    Some(SocketAddr::new(ip, port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[(&str, &str)]) -> Result<ClusterSettings, String> {
        let mut settings = ClusterSettings::default();
        for (key, value) in lines {
            assert!(settings.set(key, value, &mut Vec::new())?, "{key} has no effect");
        }
        Ok(settings)
    }

    const THREE: &[(&str, &str)] = &[
        ("cluster_formation.peer_discovery_backend", "rabbit_peer_discovery_classic_config"),
        ("cluster_formation.classic_config.nodes.1", "rabbit@node1"),
        ("cluster_formation.classic_config.nodes.2", "rabbit@node2.example.com"),
        ("cluster_formation.classic_config.nodes.3", "rabbit@node3"),
        ("cluster.secret", "of all three, and of nobody else"),
    ];

    #[test]
    fn nodes_are_found_by_dns_if_it_is_said_how_many() {
        let backend = ("cluster_formation.peer_discovery_backend", "dns");
        let hostname = ("cluster_formation.dns.hostname", "nodes.example.com");
        let hint = ("cluster_formation.target_cluster_size_hint", "3");
        let settings = read(&[backend, hostname, hint]).unwrap();
        assert!(settings.is_wanted());
        assert_eq!(settings.dns(), Ok(Some(Dns { hostname: "nodes.example.com".to_owned(), nodes: 3 })));
        assert_eq!(read(THREE).unwrap().dns(), Ok(None));
        let lacks = |lines: &[(&str, &str)], key: &str| {
            let why = read(lines).unwrap().dns().unwrap_err();
            assert!(why.starts_with(key), "{why}");
        };
        lacks(&[backend, hint], "cluster_formation.dns.hostname");
        lacks(&[hostname, hint], "cluster_formation.dns.hostname");
        lacks(&[backend, hostname], "cluster_formation.target_cluster_size_hint");
        assert!(read(&[("cluster_formation.target_cluster_size_hint", "0")]).is_err());
    }

    #[test]
    fn certificates_come_as_three_files_or_none() {
        assert_eq!(read(THREE).unwrap().tls_files(), Ok(None));
        let all = [("cacertfile", "ca.pem"), ("certfile", "cert.pem"), ("keyfile", "key.pem")];
        let all = all.map(|(key, value)| (format!("cluster.ssl_options.{key}"), value));
        let all: Vec<(&str, &str)> = all.iter().map(|(key, value)| (key.as_str(), *value)).collect();
        let files = TlsFiles { authority: "ca.pem".into(), certificate: "cert.pem".into(), key: "key.pem".into() };
        assert_eq!(read(&all).unwrap().tls_files(), Ok(Some(files)));
        let some = read(&all[..2]).unwrap();
        assert!(some.is_wanted());
        assert!(some.tls_files().unwrap_err().contains("keyfile"));
    }

    #[test]
    fn nodes_are_where_their_names_say() {
        let settings = read(THREE).unwrap();
        assert!(settings.is_wanted());
        let (cluster, peers) = settings.resolve("rabbit@node1", None).unwrap();
        assert_eq!(cluster.first_nodes, ["rabbit@node1", "rabbit@node2.example.com", "rabbit@node3"]);
        assert_eq!(peers.listen.to_string(), "[::]:25672");
        assert_eq!(peers.of("rabbit@node2.example.com").as_deref(), Some("node2.example.com:25672"));
        assert_eq!(settings.doubts("rabbit@node1"), None);
        assert!(settings.doubts("leveret@node9").unwrap().contains("--node-name"));
    }

    #[test]
    fn a_machine_finds_its_own_name() {
        let settings = read(THREE).unwrap();
        assert_eq!(settings.node_on("node1"), Some("rabbit@node1"));
        assert_eq!(settings.node_on("node1.example.com"), Some("rabbit@node1"));
        assert_eq!(settings.node_on("node2.example.com"), Some("rabbit@node2.example.com"));
        assert_eq!(settings.node_on("node2"), None);
        let twice = [("cluster_formation.classic_config.nodes.4", "other@node1")];
        assert_eq!(read(&[THREE, &twice].concat()).unwrap().node_on("node1"), None);
    }

    #[test]
    fn a_node_listens_where_the_others_expect_it() {
        let settings = read(&[
            ("cluster.addresses.a@one", "127.0.0.1:7001"),
            ("cluster.addresses.b@two", "localhost:7002"),
            ("cluster.addresses.c@three", "10.0.0.3:7003"),
            ("cluster.addresses.d@four", "[::1]:7004"),
            ("cluster.secret", "of all three, and of nobody else"),
        ])
        .unwrap();
        let listens = |own| settings.resolve(own, None).unwrap().1.listen.to_string();
        assert_eq!(
            ["a@one", "b@two", "c@three", "d@four"].map(listens),
            ["127.0.0.1:7001", "127.0.0.1:7002", "[::]:7003", "[::1]:7004"]
        );
        assert_eq!(settings.resolve("a@one", None).unwrap().1.of("c@three").as_deref(), Some("10.0.0.3:7003"));
    }

    #[test]
    fn a_cluster_needs_a_secret_which_is_not_shown() {
        let settings = read(&THREE[..4]).unwrap();
        let refused = settings.resolve("rabbit@node1", None).unwrap_err();
        assert!(refused.contains("cluster.secret_file") && refused.contains("openssl"), "{refused}");
        let elsewhere = Secret::new(&b"from elsewhere"[..]);
        assert!(settings.resolve("rabbit@node1", elsewhere).is_ok());
        let shown = format!("{:?}", read(THREE).unwrap());
        assert!(!shown.contains("nobody else"), "{shown}");

        let mut warnings = Vec::new();
        assert_eq!(secret("cluster.secret", " ", &mut warnings).unwrap_err(), "cluster.secret: it is empty");
        assert!(warnings.is_empty());
        assert!(secret("cluster.secret", "hunter2", &mut warnings).is_ok());
        assert!(warnings.len() == 1 && !warnings[0].contains("hunter2"), "{warnings:?}");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (key, value, reason) in [
            ("cluster_formation.peer_discovery_backend", "consul", "only by classic_config"),
            ("cluster_formation.classic_config.nodes.1", "node1", "expected NAME@HOST"),
            ("cluster_formation.classic_config.nodes.1", "a b@node1", "expected NAME@HOST"),
            ("cluster.listen", "here", "neither a port nor an IP address"),
            ("cluster.addresses.rabbit@node1", "node1", "no host with a port"),
            ("cluster.addresses.rabbit@node1", ":1", "no host with a port"),
            ("cluster.addresses.node1", "node1:1", "expected NAME@HOST"),
        ] {
            let refused = read(&[(key, value)]).unwrap_err();
            assert!(refused.contains(reason) && refused.starts_with(key), "{refused}");
        }
    }
}

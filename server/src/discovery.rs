//! Nodes that are found by DNS (RabbitMQ docs: Cluster Formation and Peer Discovery / DNS).
//!
//! One name stands for the addresses of all nodes. RabbitMQ asks for the name of each address, which is the node's host; here the address
//! itself is, so that no further records are needed: the node at 10.0.0.7 is `leveret@10.0.0.7`. Nodes keep their names, so their
//! addresses have to stay. A cluster of too few would be another cluster, so whoever is new waits until the name stands for as many as
//! there are to be.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, ToSocketAddrs as _, UdpSocket};
use std::thread;
use std::time::Duration;

use leveret_server::config::cluster::Dns;

/// How long to wait before the name is looked up again.
const RETRY: Duration = Duration::from_secs(1);

/// What there is to know of addresses.
pub(crate) trait Resolver {
    /// The addresses that a name stands for.
    fn look_up(&mut self, name: &str) -> io::Result<Vec<IpAddr>>;

    /// Whether an address is one of this machine.
    fn is_here(&mut self, address: IpAddr) -> bool;

    /// Waits for a while.
    fn wait(&mut self);
}

/// That of the operating system.
#[derive(Clone, Copy, Debug)]
pub(crate) struct System;

impl Resolver for System {
    fn look_up(&mut self, name: &str) -> io::Result<Vec<IpAddr>> {
        Ok((name, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
    }

    fn is_here(&mut self, address: IpAddr) -> bool {
        UdpSocket::bind((address, 0)).is_ok()
    }

    #[expect(clippy::disallowed_methods, reason = "nothing runs yet that could be blocked")]
    fn wait(&mut self) {
        thread::sleep(RETRY);
    }
}

/// The nodes of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Their names, in order.
    pub(crate) names: Vec<String>,
    /// Which of them is this one; `None` if the name does not say.
    pub(crate) own: Option<String>,
}

/// Waits until the name stands for all nodes. `prefix` is what their names begin with. A node that `has_name` has to be none of them.
///
/// # Errors
/// That more than one of them is this machine.
pub(crate) fn discover(dns: &Dns, prefix: &str, has_name: bool, resolver: &mut impl Resolver) -> Result<Found, String> {
    let Dns { hostname, nodes } = dns;
    let mut said = String::new();
    loop {
        let doubt = match resolver.look_up(hostname) {
            Ok(addresses) => {
                let addresses = of_one_kind(&addresses);
                let name = |address: &IpAddr| format!("{prefix}@{address}");
                let mut here = addresses.iter().filter(|address| resolver.is_here(**address));
                let (own, another) = (here.next(), here.next());
                if let (Some(own), Some(another), false) = (own, another, has_name) {
                    return Err(format!(
                        "cluster_formation.dns.hostname: {hostname} stands for {own} and {another}, which are both this machine: tell \
                         the node which it is, with --node-name {prefix}@{own}"
                    ));
                }
                let own = own.filter(|_| another.is_none());
                if addresses.len() >= *nodes && (own.is_some() || has_name) {
                    return Ok(Found { names: addresses.iter().map(name).collect(), own: own.map(name) });
                }
                let so_far: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                let so_far = so_far.join(", ");
                if addresses.len() < *nodes {
                    format!("{hostname} stands for {so_far}, and there are to be {nodes} nodes")
                } else {
                    format!("{hostname} stands for {so_far}, and none of these is this machine")
                }
            }
            Err(error) => format!("{hostname} cannot be looked up: {error}"),
        };
        if doubt != said {
            tracing::warn!("{doubt}; trying again");
            said = doubt;
        }
        resolver.wait();
    }
}

/// In order, each once. A node that has an address of each kind is one node, so one kind counts: the fourth version of IP, if there is any.
fn of_one_kind(addresses: &[IpAddr]) -> BTreeSet<IpAddr> {
    let is_old = addresses.iter().any(IpAddr::is_ipv4);
    addresses.iter().copied().filter(|address| address.is_ipv4() == is_old).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says one thing after the other.
    struct Script {
        answers: Vec<io::Result<Vec<&'static str>>>,
        here: &'static [&'static str],
        waits: usize,
    }

    impl Resolver for Script {
        fn look_up(&mut self, name: &str) -> io::Result<Vec<IpAddr>> {
            assert_eq!(name, "nodes.example.com");
            let answer = self.answers.remove(0)?;
            Ok(answer.into_iter().map(|address| address.parse().unwrap()).collect())
        }

        fn is_here(&mut self, address: IpAddr) -> bool {
            self.here.contains(&address.to_string().as_str())
        }

        fn wait(&mut self) {
            self.waits += 1;
        }
    }

    fn find(
        answers: Vec<io::Result<Vec<&'static str>>>,
        here: &'static [&'static str],
        has_name: bool,
    ) -> (Result<Found, String>, usize) {
        let dns = Dns { hostname: "nodes.example.com".to_owned(), nodes: 3 };
        let mut script = Script { answers, here, waits: 0 };
        let found = discover(&dns, "leveret", has_name, &mut script);
        assert!(script.answers.is_empty(), "it asks no more than it has to");
        (found, script.waits)
    }

    #[test]
    fn the_nodes_are_those_that_the_name_stands_for_once_it_does_for_enough() {
        let all = vec!["10.0.0.3", "fe80::1", "10.0.0.1", "10.0.0.2", "10.0.0.1"];
        let unknown = || Err(io::Error::other("no such name"));
        let (found, waits) = find(vec![unknown(), unknown(), Ok(vec!["10.0.0.2"]), Ok(all)], &["10.0.0.2"], false);
        let names = ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(|address| format!("leveret@{address}"));
        assert_eq!(found, Ok(Found { names: names.to_vec(), own: Some("leveret@10.0.0.2".to_owned()) }));
        assert_eq!(waits, 3);
    }

    #[test]
    fn a_node_waits_until_it_is_among_them_unless_it_has_a_name() {
        let (others, all) = (vec!["::1", "::2", "::3"], vec!["::1", "::2", "::3", "::4"]);
        let (found, waits) = find(vec![Ok(others.clone()), Ok(all)], &["::4"], false);
        assert_eq!((found.unwrap().own.as_deref(), waits), (Some("leveret@::4"), 1));
        let (found, waits) = find(vec![Ok(others)], &["::4"], true);
        let found = found.unwrap();
        assert_eq!((found.names.len(), found.own, waits), (3, None, 0));
    }

    #[test]
    fn who_could_be_several_is_to_say_which() {
        let all = || Ok(vec!["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
        let (found, _) = find(vec![all()], &["10.0.0.1", "10.0.0.2"], false);
        assert!(found.unwrap_err().contains("--node-name leveret@10.0.0.1"));
        assert!(find(vec![all()], &["10.0.0.1", "10.0.0.2"], true).0.is_ok());
    }
}

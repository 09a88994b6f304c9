//! Three unmodified servers that are one broker.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use leveret_engine::amqp::method::queue;
use leveret_engine::amqp::{Method, ShortStr};
use leveret_engine::cluster::link::Secret;
use leveret_engine::config::{ClusterConfig, Config};
use leveret_engine::management::{AdminReply, ClusterRequest};
use leveret_server::admin::{self, AdminLink};
use leveret_server::peers::{self, PeerAddresses};
use tokio::time::{sleep, timeout};
use turmoil::net::TcpStream;

use super::disk::Medium;
use super::net::Chance;
use super::{PORT, Shared, serve_one, world};
use crate::harness::client::TestClient;

const HOSTS: [&str; 3] = ["one", "two", "three"];
/// Queues declared while all nodes are there, and then while one is not.
const QUEUES: [[&str; 3]; 2] = [["a", "b", "c"], ["d", "e", "f"]];
/// One question to a node; turmoil does not tell of a host that is down.
const PATIENCE: Duration = Duration::from_secs(5);

/// How far the story is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Forming,
    /// All nodes know the first queues.
    Formed,
    /// One node has lost its power.
    Crashed,
    /// The others know the second queues.
    GoneOn,
}

#[test]
fn three_servers_form_a_cluster_and_survive_the_crash_of_one() {
    for seed in 0..4 {
        run(seed);
    }
}

fn run(seed: u64) {
    let mut chance = Chance::new(seed);
    let mut sim = world(seed);
    let media: [Shared<Medium>; 3] = Default::default();
    let links: [Shared<Option<AdminLink>>; 3] = Default::default();
    for ((host, medium), link) in HOSTS.into_iter().zip(&media).zip(&links) {
        let (boots, medium, link) = (Mutex::new(Chance::new(chance.next())), Arc::clone(medium), Arc::clone(link));
        sim.host(host, move || node(host, boots.lock().unwrap().next(), Arc::clone(&medium), Arc::clone(&link)));
    }
    let at = usize::try_from(chance.between(0, 3)).unwrap();
    let stage = Arc::new(Mutex::new(Stage::Forming));
    sim.client("client", client(at, Arc::clone(&stage), links));
    let mut is_back = false;
    while !sim.step().unwrap_or_else(|error| panic!("seed {seed}: {error} at {:?}", *stage.lock().unwrap())) {
        let now = *stage.lock().unwrap();
        if now == Stage::Formed && media[at].lock().unwrap().has_unsynced() {
            // See the other test: the order in which streams say goodbye would show.
            let others = HOSTS.into_iter().chain(["client"]).filter(|host| *host != HOSTS[at]);
            others.clone().for_each(|other| sim.hold(other, HOSTS[at]));
            sim.crash(HOSTS[at]);
            others.for_each(|other| sim.release(other, HOSTS[at]));
            media[at].lock().unwrap().lose_power(&mut chance);
            *stage.lock().unwrap() = Stage::Crashed;
        }
        if now == Stage::GoneOn && !std::mem::replace(&mut is_back, true) {
            sim.bounce(HOSTS[at]);
        }
    }
    assert!(is_back, "seed {seed}: it was over too early");
}

fn name_of(host: &str) -> String {
    format!("leveret@{host}")
}

/// A server, from boot to crash. The others are where their names say.
async fn node(
    host: &'static str,
    seed: u64,
    medium: Shared<Medium>,
    link: Shared<Option<AdminLink>>,
) -> turmoil::Result {
    let (administrator, admin) = admin::link();
    *link.lock().unwrap() = Some(administrator);
    let secret = Secret::new(&b"of all three"[..]).expect("it is not empty");
    let cluster = ClusterConfig::new(HOSTS.map(name_of).to_vec(), secret);
    let config = Config { node_name: name_of(host), cluster: Some(cluster), ..Config::default() };
    let listen = SocketAddr::from((Ipv4Addr::UNSPECIFIED, peers::PORT));
    serve_one(seed, medium, config, Some(PeerAddresses { listen, nodes: BTreeMap::new(), tls: None }), admin).await
}

/// Declares on one node after the other and looks for it on all; then once more while one of them is down, and after it is back.
async fn client(down: usize, stage: Shared<Stage>, links: [Shared<Option<AdminLink>>; 3]) -> turmoil::Result {
    let [first, second] = QUEUES;
    for (host, queue) in HOSTS.into_iter().zip(first) {
        ask(host, queue, false).await;
    }
    see(&HOSTS, &first).await;
    // Until then the others are no majority without the first.
    for link in &links {
        while votes(link).await < HOSTS.len() {
            sleep(Duration::from_millis(50)).await;
        }
    }
    *stage.lock().unwrap() = Stage::Formed;
    while *stage.lock().unwrap() == Stage::Formed {
        // Something has to be on its way to the disk.
        let _ = timeout(PATIENCE, ask_once(HOSTS[down], "unsettled", false)).await;
    }
    let up: Vec<_> = HOSTS.into_iter().filter(|host| *host != HOSTS[down]).collect();
    for (at, queue) in second.into_iter().enumerate() {
        ask(up[at % up.len()], queue, false).await;
    }
    // A queue that is on the node that is down is out of reach, as with RabbitMQ.
    let within_reach: Vec<_> = first.into_iter().filter(|queue| *queue != first[down]).collect();
    see(&up, &within_reach).await;
    see(&up, &second).await;
    *stage.lock().unwrap() = Stage::GoneOn;
    see(&HOSTS, &first).await;
    see(&HOSTS, &second).await;
    Ok(())
}

/// How many nodes have a vote, as far as this one knows.
async fn votes(link: &Shared<Option<AdminLink>>) -> usize {
    let link = link.lock().unwrap().clone().expect("the node has been started");
    match link.ask(ClusterRequest::Status.into()).await {
        Ok(AdminReply::Cluster(status)) => status.nodes.iter().filter(|node| node.has_vote).count(),
        _ => 0,
    }
}

/// Waits until all of these nodes know all of these queues.
async fn see(hosts: &[&'static str], queues: &[&'static str]) {
    for host in hosts {
        for queue in queues {
            ask(host, queue, true).await;
        }
    }
}

/// Declares a queue, or asks for it, again and again until it is answered.
async fn ask(host: &'static str, queue: &'static str, passive: bool) {
    while !matches!(timeout(PATIENCE, ask_once(host, queue, passive)).await, Ok(Ok(()))) {
        sleep(Duration::from_millis(50)).await;
    }
}

async fn ask_once(host: &'static str, queue: &'static str, passive: bool) -> io::Result<()> {
    let mut client = TestClient::login(TcpStream::connect((host, PORT)).await?).await?;
    let queue = ShortStr::from_static(queue);
    let answer = client.call(queue::Declare { queue, durable: true, passive, ..queue::Declare::default() }).await?;
    assert!(matches!(answer, Method::QueueDeclareOk(_)), "{answer:?}");
    client.close().await
}

//! Nodes on hosts of their own, as far as the network goes, whose links are cut without a word: network namespaces with a bridge between
//! them.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use leveret_engine::client::ClientEvent;
use tokio::time::{sleep, timeout};

use super::kills::{
    Ledger, SERVICE_BACK, Used, await_service, begin, block_on, end, lock, login, more_kills, unexpected,
};
use super::three::Three;
use super::{PATIENCE, until};
use crate::harness::leveret::binary;

const QUEUE: &str = "of node 2";
/// Makes a place in which networks can be made that end with it, and runs the rest there.
const NAMESPACE: &str = "mount -t tmpfs none /run && mkdir /run/netns && exec \"$@\"";
/// Says to this program that it is in that place.
const INSIDE: &str = "LEVERET_INSIDE_NAMESPACE";

#[test]
fn a_link_that_is_cut_for_a_moment_is_not_noticed_and_one_that_stays_cut_is() {
    let Some(mut command) = namespace() else {
        let required = std::env::var("LEVERET_REQUIRE_PEERS").is_ok_and(|value| value == "1");
        assert!(!required, "there is no iproute2 or no right to make networks, and LEVERET_REQUIRE_PEERS=1");
        eprintln!("SKIPPED: there is no iproute2 or no right to make networks");
        return;
    };
    let own = std::env::current_exe().unwrap();
    command.arg(own).args(["--exact", "cluster::network::inside_the_namespace", "--ignored", "--nocapture"]);
    let Output { status, stdout, stderr } = command.env(INSIDE, "1").env("LEVERET_BIN", binary()).output().unwrap();
    let said = String::from_utf8_lossy(&stdout) + String::from_utf8_lossy(&stderr);
    eprintln!("{said}");
    assert!(status.success() && said.contains("1 passed"), "inside: {status}");
}

#[test]
#[ignore = "the test above runs it where it can make networks"]
fn inside_the_namespace() {
    if std::env::var_os(INSIDE).is_none() {
        return;
    }
    let network = Network::new();
    let address = |at: usize, port: u16| SocketAddr::from(([10, 77, 0, host(at)], port));
    let commands = [0, 1, 2].map(|at| ["ip", "netns", "exec", &namespace_of(at)].map(str::to_owned).to_vec());
    let three = Three::start_at(
        [0, 1, 2].map(|at| address(at, 5672)),
        [0, 1, 2].map(|at| address(at, 25672)),
        commands,
        "cluster_partition_handling = pause_minority\n",
        vec![],
    );
    three.declare(1, QUEUE);
    block_on(async { timeout(2 * PATIENCE, cut(&network, &three)).await }).unwrap().unwrap();
    cut_again_and_again(&network, &three);
    network.set_all_cut(true);
    let begin = Instant::now();
    let serves = |at: usize| TcpStream::connect_timeout(&three.address(at), Duration::from_secs(1)).is_ok();
    until("nobody serves clients", || (0..3).all(|at| !serves(at)));
    eprintln!("all cut off: paused after {:?}", begin.elapsed());
    network.set_all_cut(false);
    let begin = Instant::now();
    until("all serve clients", || (0..3).all(serves));
    eprintln!("healed: clients are let in after {:?}", begin.elapsed());
    let declare = async || login(three.address(2)).await?.declare(QUEUE).await;
    until("the queue is used from another node", || block_on(declare()).is_ok());
}

/// Clients of two nodes use a queue of all, while the link between the second and the third comes and goes.
fn cut_again_and_again(network: &Network, three: &Three) {
    let used = Used("of all nodes", true);
    block_on(async { login(three.address(0)).await?.declare_with(used.0, used.arguments()).await }).unwrap();
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let clients = begin(used, (three.address(0), three.address(2)), &ledger);
    await_service(&ledger, SERVICE_BACK);
    // For a moment, for longer than it takes to elect somebody, and for longer than a node is waited for.
    let cuts = [300, 3000, 12_000].into_iter().chain((0..more_kills()).map(|number| 100 + number * 997 % 4000));
    for millis in cuts {
        network.set_cut(true);
        thread::sleep(Duration::from_millis(millis));
        network.set_cut(false);
        let begin = Instant::now();
        await_service(&ledger, SERVICE_BACK);
        eprintln!("cut for {millis} ms: service {:?} after it was healed", begin.elapsed());
    }
    end(clients, &ledger);
    three.wait_until_empty(1, used.0);
    eprintln!("{}", lock(&ledger));
}

async fn cut(network: &Network, three: &Three) -> io::Result<()> {
    let mut consumer = login(three.address(2)).await?;
    consumer.consume(QUEUE, 10).await?;
    let mut near = login(three.address(0)).await?;
    near.select_confirms().await?;
    let mut far = login(three.address(2)).await?;
    far.select_confirms().await?;
    macro_rules! hear {
        ($client:ident, $pattern:pat => $value:expr) => {
            match $client.event().await? {
                $pattern => $value,
                other => return Err(unexpected(&other)),
            }
        };
    }

    network.set_cut(true);
    let begin = Instant::now();
    near.publish(QUEUE, b"near")?;
    far.publish(QUEUE, b"far")?;
    far.flush().await?;
    hear!(near, ClientEvent::Acked { seqno: 1, .. } => ());
    assert!(begin.elapsed() < Duration::from_secs(2), "a link between others is cut: {:?}", begin.elapsed());
    thread::sleep(Duration::from_secs(2).saturating_sub(begin.elapsed()));
    network.set_cut(false);
    hear!(far, ClientEvent::Acked { seqno: 1, .. } => ());
    for expected in [&b"near"[..], b"far"] {
        let tag = hear!(consumer, ClientEvent::Delivery { body, redelivered: false, delivery_tag, .. } => {
            assert_eq!(body, expected);
            delivery_tag
        });
        consumer.ack(tag, false)?;
    }
    eprintln!("cut for 2 s: all there after {:?}", begin.elapsed());

    near.publish(QUEUE, b"kept")?;
    hear!(near, ClientEvent::Acked { seqno: 2, .. } => ());
    hear!(consumer, ClientEvent::Delivery { redelivered: false, .. } => ());
    network.set_cut(true);
    let begin = Instant::now();
    far.publish(QUEUE, b"refused")?;
    hear!(far, ClientEvent::Nacked { seqno: 2, .. } => ());
    eprintln!("cut for good: refused after {:?}", begin.elapsed());
    hear!(consumer, ClientEvent::ConsumerCancelled { .. } => ());
    eprintln!("cut for good: cancelled after {:?}", begin.elapsed());
    let refused = login(three.address(2)).await?.declare(QUEUE).await.unwrap_err().to_string();
    assert!(refused.contains("home node 'leveret@node2' of durable queue 'of node 2'"), "{refused}");
    near.publish(QUEUE, b"other")?;
    hear!(near, ClientEvent::Acked { seqno: 3, .. } => ());
    network.set_cut(false);
    let begin = Instant::now();
    while login(three.address(2)).await?.declare(QUEUE).await.is_err() {
        assert!(begin.elapsed() < PATIENCE, "the queue cannot be used again");
        sleep(Duration::from_millis(50)).await;
    }
    eprintln!("healed: in use again after {:?}", begin.elapsed());
    let mut consumer = login(three.address(2)).await?;
    consumer.consume(QUEUE, 10).await?;
    // What was refused may have come through all the same.
    let mut bodies = Vec::new();
    while bodies.last().is_none_or(|last| last != "other") {
        let (body, tag) = hear!(consumer, ClientEvent::Delivery { body, delivery_tag, .. } => (body, delivery_tag));
        consumer.ack(tag, false)?;
        bodies.push(body);
    }
    bodies.retain(|body| body != "refused");
    assert_eq!(bodies, ["kept", "other"]);
    consumer.close().await
}

/// A bridge, with the host of each node at one of its ports.
struct Network;

impl Network {
    fn new() -> Self {
        ip("link set lo up");
        ip("link add switch type bridge");
        ip("address add 10.77.0.254/24 dev switch");
        ip("link set switch up");
        for at in 0..3 {
            let (port, node) = (format!("port{at}"), namespace_of(at));
            ip(&format!("netns add {node}"));
            ip(&format!("link add {port} type veth peer name eth0 netns {node}"));
            ip(&format!("link set {port} master switch up"));
            ip(&format!("-n {node} address add 10.77.0.{}/24 dev eth0", host(at)));
            ip(&format!("-n {node} link set eth0 up"));
            ip(&format!("-n {node} link set lo up"));
        }
        Self
    }

    /// Lets nothing pass between the second and the third host, or all. Both reach everybody else.
    fn set_cut(&self, is_cut: bool) {
        self.isolate(&["port1", "port2"], is_cut);
    }

    /// Lets nothing pass between any two hosts of nodes, or all.
    fn set_all_cut(&self, is_cut: bool) {
        self.isolate(&["port0", "port1", "port2"], is_cut);
    }

    /// Lets nothing pass between these ports.
    #[expect(clippy::unused_self, reason = "the network has to be there")]
    fn isolate(&self, ports: &[&str], is_cut: bool) {
        for port in ports {
            ip(&format!("link set {port} type bridge_slave isolated {}", if is_cut { "on" } else { "off" }));
        }
    }
}

fn host(at: usize) -> u8 {
    u8::try_from(at).unwrap() + 1
}

fn namespace_of(at: usize) -> String {
    format!("node{}", host(at))
}

fn ip(words: &str) {
    let output = Command::new("ip").args(words.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Runs what is appended to it in namespaces that end with it. `None` if this machine does not let it.
fn namespace() -> Option<Command> {
    // Whoever is not root may be in namespaces of its own, unless the machine forbids that.
    let command = |users: &'static [&str]| {
        let mut command = Command::new("unshare");
        command.args(users).args(["--net", "--mount", "--fork", "--kill-child", "sh", "-c", NAMESPACE, "sh"]);
        command
    };
    let probe = "ip link add switch type bridge && ip netns add one && ip netns exec one true";
    let works = |mut command: Command| command.args(["sh", "-c", probe]).output().is_ok_and(|all| all.status.success());
    let users: [&[&str]; 2] = [&[], &["--map-root-user"]];
    users.into_iter().find(|users| works(command(users))).map(command)
}

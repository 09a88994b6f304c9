//! Replicas of quorum queues that operators add, remove and move, with leveretctl.

use std::net::SocketAddr;

use leveret_engine::amqp::method::{basic, queue};
use leveret_engine::amqp::{FieldTable, FieldValue, Method, ShortStr};
use leveret_engine::client::ClientEvent;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::three::{Three, name};
use super::until;
use crate::harness::client::{TestClient, patiently};

/// Declares a quorum queue with one replica, on this node.
fn declare_alone(address: SocketAddr, name: &'static str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let declared = runtime.block_on(patiently(async {
        let mut client = TestClient::login(TcpStream::connect(address).await?).await?;
        let arguments =
            FieldTable::new().with("x-queue-type", "quorum").with("x-quorum-initial-group-size", FieldValue::I32(1));
        let declare = queue::Declare {
            queue: ShortStr::from_static(name),
            durable: true,
            arguments,
            ..queue::Declare::default()
        };
        let answer = client.call(declare).await?;
        assert!(matches!(answer, Method::QueueDeclareOk(_)), "{answer:?}");
        client.close().await
    }));
    declared.unwrap();
}

/// The members of a queue as a node knows them: whether each leads and votes.
pub(super) fn members(three: &Three, at: usize, queue: &str) -> Vec<(String, String, String)> {
    let output = three.control(at, &["quorum_status", queue, "--formatter", "json"]);
    let rows: Vec<Value> = serde_json::from_str(&output).unwrap();
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_else(|| panic!("{row} has no {key}")).to_owned();
    rows.iter().map(|row| (text(row, "Node Name"), text(row, "Raft State"), text(row, "Membership"))).collect()
}

fn voters(leader: usize, followers: &[usize]) -> Vec<(String, String, String)> {
    let member = |at: usize, state: &str| (name(at), state.to_owned(), "voter".to_owned());
    let mut all: Vec<_> = followers.iter().map(|at| member(*at, "follower")).collect();
    all.push(member(leader, "leader"));
    all.sort();
    all
}

#[test]
fn operators_add_remove_and_move_replicas() {
    let mut three = Three::start();
    for queue in ["one", "two"] {
        declare_alone(three.address(0), queue);
        until("all nodes know it", || super::declare(three.address(2), queue, true).is_ok());
    }
    let is = |three: &Three, queue: &str, expected: &[(String, String, String)]| {
        let mut members = members(three, 1, queue);
        members.sort();
        members == expected
    };
    three.control(2, &["add_member", "one", &name(1)]);
    until("it has a vote", || is(&three, "one", &voters(0, &[1])));
    let grown = three.control(1, &["grow", &name(2), "all", "--formatter", "json"]);
    let rows: Vec<Value> = serde_json::from_str(&grown).unwrap();
    let row = |queue: &str, size: u64| json!({"vhost": "/", "name": queue, "size": size, "result": "ok"});
    assert_eq!(rows, [row("one", 3), row("two", 2)]);
    until("all have a vote", || is(&three, "one", &voters(0, &[1, 2])) && is(&three, "two", &voters(0, &[2])));
    let leaders = three.control(0, &["rebalance", "all", "--formatter", "json"]);
    let leaders: Vec<Value> = serde_json::from_str(&leaders).unwrap();
    let most = leaders.iter().map(|row| row["Number of quorum queues"].as_u64().unwrap()).max();
    assert_eq!((leaders.len(), most), (3, Some(1)));
    three.control(0, &["delete_member", "two", &name(0)]);
    until("only one is left", || is(&three, "two", &voters(2, &[])));
    until("nobody may stop", || three.try_control(2, &["check_if_node_is_quorum_critical"]).is_err());
    // Under maintenance a node leads nothing and lets nobody in, until it is revived.
    three.control(0, &["drain"]);
    until("nobody listens", || std::net::TcpStream::connect(three.address(0)).is_err());
    let status: Value = serde_json::from_str(&three.control(1, &["cluster_status", "--formatter", "json"])).unwrap();
    assert_eq!(status["nodes_under_maintenance"], json!([name(0)]));
    assert!(members(&three, 1, "one").iter().all(|(node, state, _)| *node != name(0) || state == "follower"));
    three.control(0, &["revive"]);
    until("it lets clients in", || super::declare(three.address(0), "one", true).is_ok());
    // Queues of other nodes are seen, and purged.
    let listed =
        three.control(0, &["list_queues", "name", "type", "messages", "state", "online", "--formatter", "json"]);
    let listed: Vec<Value> = serde_json::from_str(&listed).unwrap();
    assert_eq!(
        listed[1],
        json!({ "name": "two", "type": "quorum", "messages": 0, "state": "running", "online": [name(2)] })
    );
    three.control(0, &["purge_queue", "two"]);
    // What is short on one node is known on all.
    three.control(0, &["set_vm_memory_high_watermark", "absolute", "1"]);
    until("the alarm is known elsewhere", || {
        let status = three.control(2, &["cluster_status", "--formatter", "json"]);
        serde_json::from_str::<Value>(&status).unwrap()["alarms"] == json!([{ "node": name(0), "resource": "memory" }])
    });
    // A node that cannot be asked is seen not to be there.
    three.kill(1);
    until("it is seen", || {
        let output = three.control(0, &["quorum_status", "one", "--formatter", "json"]);
        let rows: Vec<Value> = serde_json::from_str(&output).unwrap();
        rows.iter().any(|row| row["Node Name"] == json!(name(1)) && row["Raft State"] == "noproc")
    });
}

#[test]
fn operators_see_and_close_connections_of_other_nodes() {
    let three = Three::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let login = async { TestClient::login(TcpStream::connect(three.address(2)).await?).await };
    let mut client = runtime.block_on(patiently(login)).unwrap();
    let mut pid = String::new();
    until("its connection is listed elsewhere", || {
        pid = three.control(0, &["-s", "list_connections", "pid"]).trim_end().to_owned();
        pid.starts_with(&format!("<{}.", name(2))) && pid.lines().count() == 1
    });
    let channels = three.control(1, &["-s", "list_channels", "connection"]);
    assert!(channels.lines().all(|connection| connection == pid), "{channels}");
    let consume = async {
        client.call(queue::Declare { queue: ShortStr::from_static("q"), ..queue::Declare::default() }).await?;
        client.call(basic::Consume { queue: ShortStr::from_static("q"), ..basic::Consume::default() }).await
    };
    runtime.block_on(patiently(consume)).unwrap();
    let consumers = three.control(1, &["-s", "list_consumers", "queue_name", "channel_pid"]);
    assert_eq!(consumers, format!("q\t{}\n", pid.replace(".0>", ".1>")));
    three.control(0, &["close_connection", &pid, "maintenance"]);
    let closed = async {
        loop {
            if let event @ ClientEvent::ConnectionClosed { .. } = client.event().await? {
                return Ok(format!("{event:?}"));
            }
        }
    };
    let closed = runtime.block_on(patiently(closed)).unwrap();
    assert!(closed.contains("maintenance") && closed.contains("CONNECTION_FORCED"), "{closed}");
    until("it is gone", || three.control(1, &["-s", "list_connections"]).is_empty());
    assert!(three.try_control(0, &["close_connection", &pid, "again"]).is_err());
}

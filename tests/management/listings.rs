//! What is listed of clients that are there.

use std::time::{Duration, Instant};

use serde_json::json;

use super::Administered;
use crate::harness::client::{TestClient, patiently};

#[test]
fn clients_are_seen_and_sent_away() {
    let directory = tempfile::tempdir().unwrap();
    let node = Administered::start(directory.path());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = runtime.block_on(patiently(async {
        let mut client = TestClient::login(tokio::net::TcpStream::connect(node.broker.address).await?).await?;
        client.declare("q").await?;
        client.select_confirms().await?;
        client.consume("q", 5).await?;
        client.publish("q", b"12345")?;
        client.publish("q", b"123")?;
        // By its answer all before it is done.
        client.declare("other").await?;
        Ok(client)
    }));
    let mut client = client.unwrap();

    let columns =
        ["user", "vhost", "state", "channels", "protocol", "auth_mechanism", "ssl", "peer_host", "ssl_cipher"];
    let connections = node.rows(&[&["list_connections"], &columns[..]].concat());
    assert_eq!(
        connections,
        json!([{
            "user": "guest", "vhost": "/", "state": "running", "channels": 1, "protocol": "{0,9,1}",
            "auth_mechanism": "PLAIN", "ssl": false, "peer_host": "127.0.0.1", "ssl_cipher": "",
        }])
    );
    assert_eq!(
        node.rows(&[
            "list_channels",
            "number",
            "consumer_count",
            "messages_unacknowledged",
            "prefetch_count",
            "confirm"
        ]),
        json!([{
            "number": 1, "consumer_count": 1, "messages_unacknowledged": 2, "prefetch_count": 5, "confirm": true,
        }])
    );
    assert_eq!(
        node.rows(&["list_consumers", "queue_name", "ack_required", "prefetch_count", "active", "activity_status"]),
        json!([{
            "queue_name": "q", "ack_required": true, "prefetch_count": 5, "active": true, "activity_status": "up",
        }])
    );
    let columns =
        ["name", "messages_unacknowledged", "message_bytes", "message_bytes_ready", "consumers", "state", "memory"];
    let queues = node.rows(&[&["list_queues"], &columns[..]].concat());
    assert_eq!(queues.as_array().unwrap().len(), 2);
    let queue = &queues[1];
    assert_eq!((&queue["name"], &queue["messages_unacknowledged"]), (&json!("q"), &json!(2)), "{queue}");
    assert_eq!((&queue["message_bytes"], &queue["message_bytes_ready"]), (&json!(8), &json!(0)), "{queue}");
    assert_eq!((&queue["consumers"], &queue["state"]), (&json!(1), &json!("running")), "{queue}");
    assert!(queue["memory"].as_u64().unwrap() >= 8, "{queue}");

    // Every column that rabbitmqctl 3.10 knows can be asked for.
    for (verb, columns) in [
        (
            "list_queues",
            "arguments auto_delete consumer_capacity consumer_utilisation consumers disk_reads disk_writes durable exclusive \
             exclusive_consumer_pid exclusive_consumer_tag head_message_timestamp leader members memory message_bytes \
             message_bytes_persistent message_bytes_ram message_bytes_ready message_bytes_unacknowledged messages \
             messages_persistent messages_ram messages_ready messages_ready_ram messages_unacknowledged \
             messages_unacknowledged_ram name online owner_pid pid policy slave_pids state synchronised_slave_pids type",
        ),
        ("list_exchanges", "arguments auto_delete durable internal name policy type"),
        ("list_bindings", "arguments destination_kind destination_name routing_key source_kind source_name"),
        (
            "list_connections",
            "auth_mechanism channel_max channels client_properties connected_at frame_max host name peer_cert_issuer \
             peer_cert_subject peer_cert_validity peer_host peer_port pid port protocol recv_cnt recv_oct send_cnt send_oct \
             send_pend ssl ssl_cipher ssl_hash ssl_key_exchange ssl_protocol state timeout user vhost",
        ),
        (
            "list_channels",
            "acks_uncommitted confirm connection consumer_count global_prefetch_count messages_unacknowledged \
             messages_uncommitted messages_unconfirmed name number pid prefetch_count transactional user vhost",
        ),
        (
            "list_consumers",
            "ack_required active activity_status arguments channel_pid consumer_tag prefetch_count queue_name",
        ),
        ("list_vhosts", "cluster_state default_queue_type description name tags tracing"),
    ] {
        let columns: Vec<_> = columns.split_ascii_whitespace().collect();
        let rows = node.rows(&[&[verb], &columns[..]].concat());
        let row = rows[0].as_object().unwrap_or_else(|| panic!("{verb} lists nothing"));
        assert!(columns.iter().all(|column| row.contains_key(*column)), "{verb}: {row:?}");
    }
    let error = node.refuse(64, &["list_queues", "name", "mesages"]);
    assert!(error.contains("mesages") && error.contains("messages_ready"), "{error}");

    let pid = node.ask(&["-s", "list_connections", "pid"]);
    node.ask(&["close_connection", pid.trim_end(), "maintenance"]);
    let closed = runtime.block_on(patiently(async {
        loop {
            let event = format!("{:?}", client.event().await?);
            if event.contains("ConnectionClosed") {
                return Ok(event);
            }
        }
    }));
    let closed = closed.unwrap();
    assert!(closed.contains("maintenance") && closed.contains("CONNECTION_FORCED"), "{closed}");
    // It is gone once the client's answer has come.
    let deadline = Instant::now() + Duration::from_secs(30);
    while !node.ask(&["-s", "list_connections"]).is_empty() {
        assert!(Instant::now() < deadline, "the connection stays");
    }
    node.refuse(69, &["close_connection", pid.trim_end(), "again"]);
    assert_eq!(node.ask(&["close_all_connections", "--global", "nobody is there"]), "Closed 0 connections\n");
}

#[test]
fn help_teaches() {
    let directory = tempfile::tempdir().unwrap();
    let help = |line: &[&str]| {
        let (code, output, _) = super::run(directory.path(), line);
        assert_eq!(code, 0, "{line:?}");
        output
    };
    let all = help(&["--help"]);
    for word in ["set_policy", "list_queues", "--data-dir", "LEVERET_DATA_DIR", "--formatter", "Exit codes", "Examples"]
    {
        assert!(all.contains(word), "nothing about {word}:\n{all}");
    }
    let one = help(&["help", "set_policy"]);
    for word in ["<PATTERN>", "--apply-to", "--priority", "max-length"] {
        assert!(one.contains(word), "nothing about {word}:\n{one}");
    }
}

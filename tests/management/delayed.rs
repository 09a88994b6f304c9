//! Messages that a delayed exchange holds, as an operator sees them.

use leveret_engine::amqp::method::{exchange, queue};
use leveret_engine::amqp::{FieldTable, FieldValue, LongStr, ShortStr};

use super::Administered;
use crate::harness::client::{TestClient, patiently};

#[test]
fn held_messages_are_listed_and_taken_back() {
    let directory = tempfile::tempdir().unwrap();
    let node = Administered::start(directory.path());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let published = runtime.block_on(patiently(async {
        let mut client = TestClient::login(tokio::net::TcpStream::connect(node.broker.address).await?).await?;
        let mut arguments = FieldTable::new();
        let of = LongStr::from(b"fanout".to_vec());
        arguments.push(ShortStr::from_static("x-delayed-type"), FieldValue::LongStr(of));
        let (name, kind) = (ShortStr::from_static("later"), ShortStr::from_static("x-delayed-message"));
        let declare = exchange::Declare {
            exchange: name.clone(),
            exchange_type: kind,
            durable: true,
            arguments,
            ..exchange::Declare::default()
        };
        client.call(declare).await?;
        client.declare("q").await?;
        let bind = queue::Bind { queue: ShortStr::from_static("q"), exchange: name, ..queue::Bind::default() };
        client.call(bind).await?;
        for (id, body) in [("one", "1"), ("two", "22"), ("three", "333")] {
            client.publish_delayed("later", id, 3_600_000, body.as_bytes())?;
        }
        client.declare("q").await
    }));
    assert_eq!(published.unwrap(), 0);
    assert_eq!(node.ask(&["-s", "list_exchanges", "name", "messages_delayed"]).lines().last(), Some("later\t3"));
    let ids = || {
        let rows = node.rows(&["list_delayed", "later"]);
        let row = |row: &serde_json::Value| {
            (row["message_id"].as_str().unwrap().to_owned(), row["payload_bytes"].as_u64().unwrap())
        };
        rows.as_array().unwrap().iter().map(row).collect::<Vec<_>>()
    };
    let held = |id: &str, bytes| (id.to_owned(), bytes);
    assert_eq!(ids(), [held("one", 1), held("two", 2), held("three", 3)]);
    assert_eq!(node.rows(&["list_delayed", "later", "--count", "1"]).as_array().unwrap().len(), 1);
    assert_eq!(node.ask(&["cancel_delayed", "later", "two"]), "Dropped 1 messages\n");
    assert_eq!(ids(), [held("one", 1), held("three", 3)]);
    let sequence = node.rows(&["list_delayed", "later"])[0]["sequence"].to_string();
    assert_eq!(node.ask(&["cancel_delayed", "later", "--sequence", &sequence]), "Dropped 1 messages\n");
    assert_eq!(ids(), [held("three", 3)]);
    assert!(node.refuse(69, &["list_delayed", "nowhere"]).contains("nowhere"));
    node.refuse(64, &["cancel_delayed", "later"]);
    assert_eq!(node.ask(&["-s", "list_queues"]), "q\t0\n", "nothing has come out");
}

//! A classic queue that a policy mirrors, as operators and clients see it.

use leveret_engine::client::ClientEvent;
use serde_json::{Value, json};

use super::kills::{block_on, login};
use super::three::{Three, name};
use super::until;
use crate::harness::client::patiently;

const QUEUE: &str = "mirrored";

/// What leveretctl says of the queue, if there is one.
fn listed(three: &Three, at: usize) -> Option<Value> {
    let columns = ["name", "type", "policy", "leader", "members", "slave_pids", "synchronised_slave_pids"];
    let mut line = vec!["list_queues"];
    line.extend(columns);
    line.extend(["--formatter", "json"]);
    let rows: Vec<Value> = serde_json::from_str(&three.control(at, &line)).unwrap();
    rows.into_iter().find(|row| row["name"] == json!(QUEUE))
}

fn count(row: &Value, column: &str) -> usize {
    row[column].as_array().map_or(0, Vec::len)
}

#[test]
fn a_mirrored_queue_outlives_the_node_that_leads_it() {
    let mut three = Three::start();
    three.control(0, &["set_policy", "ha", "^mirrored", r#"{"ha-mode":"all"}"#, "--apply-to", "queues"]);
    // Until the nodes know of each other that they can, queues are declared on one.
    until("a queue that all have", || {
        three.declare(1, QUEUE);
        let row = listed(&three, 2).unwrap_or_default();
        if count(&row, "members") == 0 {
            three.control(0, &["delete_queue", QUEUE]);
        }
        count(&row, "members") == 3
    });
    // Its members may have come one after the other, so that one has no vote for a moment.
    let is_synchronised = |row: Value| count(&row, "synchronised_slave_pids") == 2;
    until("all to have it", || (0..3).all(|at| listed(&three, at).is_some_and(is_synchronised)));
    let row = listed(&three, 0).unwrap();
    assert_eq!((&row["type"], &row["policy"]), (&json!("classic"), &json!("ha")));
    let leader = row["leader"].as_str().unwrap().to_owned();
    let victim = (0..3).find(|at| name(*at) == leader).unwrap();
    let (one, other) = (three.address((victim + 1) % 3), three.address((victim + 2) % 3));
    let published = block_on(patiently(async {
        let mut client = login(one).await?;
        client.select_confirms().await?;
        for number in 0..20_u8 {
            client.publish(QUEUE, &[number])?;
            let event = client.event().await?;
            assert!(matches!(event, ClientEvent::Acked { .. }), "{event:?}");
        }
        client.close().await
    }));
    published.unwrap();
    three.kill(victim);
    let consumed = block_on(patiently(async {
        let mut client = login(other).await?;
        client.consume(QUEUE, 100).await?;
        for number in 0..20_u8 {
            let event = client.event().await?;
            assert!(matches!(&event, ClientEvent::Delivery { body, .. } if body[..] == [number]), "{event:?}");
        }
        client.close().await
    }));
    consumed.unwrap();
    three.control((victim + 1) % 3, &["clear_policy", "ha"]);
    three.restart(victim);
    until("one replica", || listed(&three, victim).is_some_and(|row| count(&row, "members") == 1));
}

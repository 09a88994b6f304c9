//! Documents of RabbitMQ, in and out.

use alloc::string::String;

use serde_json::{Value, json};

use super::*;
use crate::metadata::AdminErrorKind;

const SALT: [u8; SALT_BYTES] = [1, 2, 3, 4];

/// What RabbitMQ 3.10.8 exports of a small broker, shortened.
fn of_rabbitmq() -> Value {
    json!({
        "rabbit_version": "3.10.8",
        "rabbitmq_version": "3.10.8",
        "users": [{
            "name": "app", "password_hash": "VnBOtOu5OrKlns7EKb5nCf0J49jsqIKl+GBw2r/oifdTJ+UD",
            "hashing_algorithm": "rabbit_password_hashing_sha256", "tags": ["monitoring"], "limits": { "max-connections": 10 },
        }],
        "vhosts": [
            { "name": "orders", "limits": [["max-queues", 100]], "metadata": { "description": "Orders", "tags": "prod" } },
            { "name": "/", "limits": [], "metadata": { "description": "Default virtual host", "tags": [] } },
        ],
        "permissions": [{ "user": "app", "vhost": "orders", "configure": "^app", "write": ".*", "read": ".*" }],
        "topic_permissions": [
            { "user": "app", "vhost": "orders", "exchange": "amq.topic", "write": "^a", "read": ".*" },
        ],
        "parameters": [
            {
                "vhost": "orders", "component": "operator_policy", "name": "cap",
                "value": { "apply-to": "all", "definition": [["max-length", 50]], "pattern": "", "priority": 0 },
            },
            { "vhost": "orders", "component": "vhost-limits", "name": "limits", "value": { "max-queues": 100 } },
        ],
        "global_parameters": [{ "name": "cluster_name", "value": "mine" }],
        "policies": [{
            "vhost": "orders", "name": "ttl", "pattern": "^q", "apply-to": "queues",
            "definition": { "max-length": 100, "message-ttl": 60000 }, "priority": 2,
        }],
        "queues": [{
            "name": "q1", "vhost": "orders", "durable": true, "auto_delete": false, "type": "classic",
            "arguments": { "x-max-length": 500, "x-dead-letter-exchange": "ex" },
        }],
        "exchanges": [{
            "name": "ex", "vhost": "orders", "type": "topic", "durable": true, "auto_delete": false, "internal": false,
            "arguments": { "alternate-exchange": "amq.fanout" },
        }],
        "bindings": [
            {
                "source": "ex", "vhost": "orders", "destination": "q1", "destination_type": "queue",
                "routing_key": "a.#", "arguments": { "k": 1, "l": [1, true], "s": "t" },
            },
            {
                "source": "ex", "vhost": "orders", "destination": "amq.fanout", "destination_type": "exchange",
                "routing_key": "z", "arguments": {},
            },
        ],
    })
}

fn import(metadata: &mut Metadata, document: &Value, vhost: Option<&str>) -> Result<usize, AdminError> {
    let plan = import::plan(metadata, SALT, &alloc::format!("{document}"), vhost)?;
    let Plan::Import { commands, .. } = plan else { panic!("{plan:?}") };
    let count = commands.len();
    for (command, _) in commands {
        metadata.apply(command).unwrap();
    }
    metadata.check_invariants();
    Ok(count)
}

#[test]
fn what_rabbitmq_exports_is_imported_and_exported_alike() {
    let mut metadata = Metadata::new(1);
    let document = of_rabbitmq();
    assert!(import(&mut metadata, &document, None).unwrap() > 0);
    assert_eq!(import(&mut metadata, &document, None), Ok(0), "everything is there");

    let key = metadata.vhost(b"orders").unwrap();
    let (_, queue) = metadata.queue(key, b"q1").unwrap();
    assert_eq!((queue.settings.length_max, queue.settings.message_ttl_ms), (Some(50), Some(60_000)));
    assert_eq!(metadata.vhost_by_key(key).unwrap().limits.queues_max, Some(100));
    assert!(metadata.user(b"app").unwrap().password.matches(b"secret"));

    let exported = export::export(&metadata, None).unwrap();
    for section in
        ["users", "permissions", "topic_permissions", "global_parameters", "policies", "bindings", "exchanges"]
    {
        let (ours, theirs) = (&exported[section], &document[section]);
        assert_eq!(ours.as_array().unwrap().len(), theirs.as_array().unwrap().len(), "{section}");
    }
    assert_eq!(exported["users"], document["users"]);
    assert_eq!(exported["policies"], document["policies"]);
    assert_eq!(exported["exchanges"], document["exchanges"]);
    assert_eq!(exported["queues"][0]["arguments"], document["queues"][0]["arguments"]);
    let mut copy = Metadata::new(2);
    import(&mut copy, &exported, None).unwrap();
    assert_eq!(export::export(&copy, None).unwrap(), exported, "our own document says everything");
}

/// RabbitMQ 4.x says more about itself, its vhosts and its queues.
#[test]
fn what_rabbitmq_4_exports_is_imported() {
    let document = json!({
        "rabbit_version": "4.1.2", "rabbitmq_version": "4.1.2", "product_name": "RabbitMQ", "product_version": "4.1.2",
        "rabbitmq_definition_format": "cluster", "original_cluster_name": "rabbit@east",
        "explanation": "Definitions of cluster 'rabbit@east'",
        "users": [{
            "name": "app", "password_hash": "VnBOtOu5OrKlns7EKb5nCf0J49jsqIKl+GBw2r/oifdTJ+UD",
            "hashing_algorithm": "rabbit_password_hashing_sha256", "tags": ["administrator"], "limits": {},
        }],
        "vhosts": [{
            "name": "orders", "description": "Orders", "tags": ["prod"], "default_queue_type": "quorum",
            "metadata": { "description": "Orders", "tags": ["prod"], "default_queue_type": "quorum" },
        }],
        "permissions": [{ "user": "app", "vhost": "orders", "configure": ".*", "write": ".*", "read": ".*" }],
        "topic_permissions": [], "parameters": [],
        "global_parameters": [
            { "name": "internal_cluster_id", "value": "rabbitmq-cluster-id-xHvEbMfF1aUvCzG3vB7jhQ" },
            { "name": "cluster_tags", "value": { "region": "east" } },
        ],
        "policies": [{
            "vhost": "orders", "name": "limit", "pattern": "^q", "apply-to": "quorum_queues",
            "definition": { "delivery-limit": 5, "dead-letter-strategy": "at-least-once" }, "priority": 0,
        }],
        "queues": [{
            "name": "q1", "vhost": "orders", "durable": true, "auto_delete": false, "arguments": { "x-queue-type": "quorum" },
        }],
        "exchanges": [], "bindings": [],
    });
    let mut metadata = Metadata::new(1);
    assert!(import(&mut metadata, &document, None).unwrap() > 0);
    assert_eq!(import(&mut metadata, &document, None), Ok(0), "everything is there");
    let exported = export::export(&metadata, Some("orders")).unwrap();
    assert_eq!(exported["queues"][0]["arguments"], document["queues"][0]["arguments"]);
    assert_eq!(exported["policies"][0]["apply-to"], "quorum_queues");
    let (_, queue) = metadata.queue(metadata.vhost(b"orders").unwrap(), b"q1").unwrap();
    assert_eq!(queue.settings.delivery_limit, Some(5));
}

#[test]
fn one_vhost_goes_into_another() {
    let mut metadata = Metadata::new(1);
    import(&mut metadata, &of_rabbitmq(), None).unwrap();
    let exported = export::export(&metadata, Some("orders")).unwrap();
    assert!(exported.get("users").is_none());
    assert!(exported["queues"][0].get("vhost").is_none());
    let mut other = Metadata::new(2);
    import(&mut other, &exported, Some("/")).unwrap();
    assert!(other.queue(other.vhost(b"/").unwrap(), b"q1").is_some());
    assert_eq!(import(&mut other, &exported, Some("nowhere")).unwrap_err().kind, AdminErrorKind::NotFound);
}

/// RabbitMQ 3.10 leaves internal exchanges out, but not their bindings.
#[test]
fn a_binding_of_an_exchange_that_is_not_exported_is_left_out() {
    let mut document = of_rabbitmq();
    let bindings = document["bindings"].as_array().unwrap().len();
    let to = |source: &str, kind: &str| {
        let destination = if kind == "queue" { "q1" } else { "internal" };
        json!({
            "source": source, "vhost": "orders", "destination": destination, "destination_type": kind, "routing_key": "",
            "arguments": {},
        })
    };
    document["bindings"].as_array_mut().unwrap().extend([to("internal", "queue"), to("amq.topic", "exchange")]);
    let mut metadata = Metadata::new(1);
    import(&mut metadata, &document, None).unwrap();
    assert_eq!(metadata.bindings().len(), bindings);
}

#[test]
fn a_mistake_is_told_with_its_place_and_nothing_is_made() {
    let refusal = |change: fn(&mut Value)| -> String {
        let mut document = of_rabbitmq();
        change(&mut document);
        let mut metadata = Metadata::new(1);
        let error = import(&mut metadata, &document, None).unwrap_err();
        assert!(metadata.user(b"app").is_none());
        error.text
    };
    let text = refusal(|document| document["queues"][0]["vhost"] = "gone".into());
    assert_eq!(text, "queues[0] (q1): Virtual host 'gone' does not exist");
    let text = refusal(|document| document["bindings"][0]["destination"] = "gone".into());
    assert_eq!(text, "bindings[0] (ex): NOT_FOUND - no queue 'gone' in vhost 'orders'");
    let text = refusal(|document| document["policies"][0]["definition"]["max-length"] = "x".into());
    assert_eq!(text, "policies[0] (ttl): <<\"x\">> is not a valid maximum length");
    let text = refusal(|document| document["permissions"][0]["user"] = "gone".into());
    assert_eq!(text, "permissions[0] (gone): User \"gone\" does not exist");
    let text = refusal(|document| document["users"] = json!(5));
    assert_eq!(text, "users is not a list");
}

//! From the metadata to a document.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;

use serde_json::{Map, Value, json};

use super::arguments::to_json;
use crate::amqp::ShortStr;
use crate::management::plan::short;
use crate::management::{limits, parameters, permissions, policies, users};
use crate::metadata::{AdminError, Metadata, PolicyKind, VhostKey};
use crate::routing::Destination;

/// The release of RabbitMQ whose format this is. RabbitMQ looks at it to know how old hashes were made.
const FORMAT: &str = "3.10.0";

/// Everything that is durable, or what of it is in one vhost.
pub(super) fn export(metadata: &Metadata, vhost: Option<&str>) -> Result<Value, AdminError> {
    let only = vhost.map(|vhost| metadata.expect_vhost(&short(vhost, "virtual host")?)).transpose()?;
    let mut all = Map::new();
    let mut put = |name: &str, value: Value| all.insert(name.to_owned(), value);
    put("rabbit_version", FORMAT.into());
    put("rabbitmq_version", FORMAT.into());
    put("product_name", "Leveret".into());
    put("product_version", env!("CARGO_PKG_VERSION").into());
    if only.is_none() {
        put("rabbitmq_definition_format", "cluster".into());
        put("users", users(metadata));
        put("vhosts", vhosts(metadata));
        put("permissions", Value::Array(permissions(metadata)));
        put("topic_permissions", Value::Array(topic_permissions(metadata)));
        let global = parameters::list_global(metadata).into_iter();
        put("global_parameters", global.map(|info| json!({ "name": info.name, "value": info.value })).collect());
    } else {
        put("rabbitmq_definition_format", "single_virtual_host".into());
    }
    for (name, mut values) in [
        ("parameters", parameters(metadata, only)),
        ("policies", policies(metadata, only)),
        ("queues", queues(metadata, only)),
        ("exchanges", exchanges(metadata, only)),
        ("bindings", bindings(metadata, only)),
    ] {
        if only.is_some() {
            values.iter_mut().filter_map(Value::as_object_mut).for_each(|value| {
                value.remove("vhost");
            });
        }
        put(name, Value::Array(values));
    }
    Ok(Value::Object(all))
}

fn text(name: &ShortStr) -> String {
    name.to_string_lossy().into_owned()
}

fn users(metadata: &Metadata) -> Value {
    let user = |user: &crate::metadata::User| {
        let info = users::UserInfo::new(user);
        json!({
            "name": info.name,
            "password_hash": info.password_hash,
            "hashing_algorithm": info.algorithm.name(),
            "tags": info.tags,
            "limits": limits::show_user_limits(user.limits),
        })
    };
    metadata.users().map(user).collect()
}

fn vhosts(metadata: &Metadata) -> Value {
    let vhost = |(_, vhost): (VhostKey, &crate::metadata::Vhost)| {
        let settings = &vhost.settings;
        let tags: Vec<String> = settings.tags.iter().map(text).collect();
        let mut about = json!({ "description": settings.description, "tags": tags });
        if let Some(kind) = &settings.default_queue_type {
            about["default_queue_type"] = text(kind).into();
        }
        if settings.protected_from_deletion {
            about["protected_from_deletion"] = true.into();
        }
        // What a vhost may use is among the parameters.
        json!({ "name": text(&vhost.name), "metadata": about, "limits": [] })
    };
    metadata.vhosts().map(vhost).collect()
}

fn permissions(metadata: &Metadata) -> Vec<Value> {
    let all = permissions::list(metadata, None, None).into_iter();
    all.map(|info| {
        json!({
            "user": info.user, "vhost": info.vhost,
            "configure": info.configure, "write": info.write, "read": info.read,
        })
    })
    .collect()
}

fn topic_permissions(metadata: &Metadata) -> Vec<Value> {
    let all = permissions::list_topic(metadata, None, None).into_iter();
    all.map(|info| {
        json!({
            "user": info.user, "vhost": info.vhost, "exchange": info.exchange,
            "write": info.write, "read": info.read,
        })
    })
    .collect()
}

fn parameters(metadata: &Metadata, only: Option<VhostKey>) -> Vec<Value> {
    let all = parameters::list(metadata, only).into_iter();
    all.map(|info| json!({ "vhost": info.vhost, "component": info.component, "name": info.name, "value": info.value }))
        .collect()
}

fn policies(metadata: &Metadata, only: Option<VhostKey>) -> Vec<Value> {
    let all = policies::list(metadata, PolicyKind::User, only).into_iter();
    all.map(|info| {
        json!({
            "vhost": info.vhost, "name": info.name, "pattern": info.pattern, "apply-to": info.apply_to,
            "definition": info.definition, "priority": info.priority,
        })
    })
    .collect()
}

fn vhost_name(metadata: &Metadata, vhost: VhostKey) -> String {
    metadata.vhost_by_key(vhost).map(|vhost| text(&vhost.name)).unwrap_or_default()
}

fn is_wanted(only: Option<VhostKey>, vhost: VhostKey) -> bool {
    only.is_none_or(|only| only == vhost)
}

fn queues(metadata: &Metadata, only: Option<VhostKey>) -> Vec<Value> {
    let all = metadata.queues().into_iter().filter(|(_, queue)| queue.durable && is_wanted(only, queue.vhost));
    all.map(|(_, queue)| {
        json!({
            "name": text(&queue.name), "vhost": vhost_name(metadata, queue.vhost), "durable": true,
            "type": queue.arguments.kind.name(), "auto_delete": queue.auto_delete,
            "arguments": to_json(&queue.raw_arguments),
        })
    })
    .collect()
}

fn exchanges(metadata: &Metadata, only: Option<VhostKey>) -> Vec<Value> {
    let all = metadata.exchanges().into_iter().filter(|(_, exchange)| {
        let is_predeclared = exchange.is_default() || exchange.name.as_bytes().starts_with(b"amq.");
        exchange.durable && !is_predeclared && is_wanted(only, exchange.vhost)
    });
    all.map(|(_, exchange)| {
        json!({
            "name": text(&exchange.name), "vhost": vhost_name(metadata, exchange.vhost),
            "type": exchange.kind.name(), "durable": true, "auto_delete": exchange.auto_delete,
            "internal": exchange.internal, "arguments": to_json(&exchange.raw_arguments),
        })
    })
    .collect()
}

fn bindings(metadata: &Metadata, only: Option<VhostKey>) -> Vec<Value> {
    let all = metadata.bindings().into_iter().filter(|binding| {
        let is_durable = match binding.destination {
            Destination::Queue(key) => metadata.queue_by_key(key).is_some_and(|queue| queue.durable),
            Destination::Exchange(key) => metadata.exchange_by_key(key).is_some_and(|exchange| exchange.durable),
        };
        binding.source.durable && is_durable && is_wanted(only, binding.source.vhost)
    });
    all.map(|binding| {
        let kind = match binding.destination {
            Destination::Queue(_) => "queue",
            Destination::Exchange(_) => "exchange",
        };
        json!({
            "source": text(&binding.source.name), "vhost": vhost_name(metadata, binding.source.vhost),
            "destination": text(binding.destination_name), "destination_type": kind,
            "routing_key": text(binding.routing_key), "arguments": to_json(&binding.arguments),
        })
    })
    .collect()
}

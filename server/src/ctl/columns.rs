//! The columns of listings, by RabbitMQ's names.

use leveret_engine::amqp::{FieldTable, FieldValue, ShortStr};
use leveret_engine::ids::{ChannelNumber, ConnectionId};
use leveret_engine::management::{
    BindingInfo, ChannelInfo, ConnectionInfo, ConnectionState, ConsumerInfo, ExchangeInfo, QueueInfo, QueueState,
};
use serde_json::{Map, Value, json};

use super::output::{Outcome, Table, exit};
use super::verbs::Verb;

/// A column: its name, and how its value comes from a row.
pub(super) type Column<T> = (&'static str, fn(&T) -> Value);

/// Checks that the columns asked for exist.
pub(super) fn check(verb: &Verb) -> Result<(), Outcome> {
    fn missing<T>(known: &[Column<T>], wanted: &[String]) -> Result<(), Outcome> {
        let split = split(wanted);
        let unknown: Vec<_> =
            split.iter().filter(|name| !known.iter().any(|(known, _)| known == *name)).cloned().collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let all: Vec<_> = known.iter().map(|(name, _)| *name).collect();
        let text = format!(
            "Error (argument validation): Info key(s) {} are not supported\nThere are: {}\n",
            unknown.join(","),
            all.join(", ")
        );
        Err(Outcome::failure(exit::USAGE, text))
    }
    match verb {
        Verb::ListQueues { columns, .. } => missing(QUEUES, columns),
        Verb::ListVhosts { columns } => missing(super::tenants::VHOSTS, columns),
        Verb::ListExchanges { columns } => missing(EXCHANGES, columns),
        Verb::ListBindings { columns } => missing(BINDINGS, columns),
        Verb::ListConnections { columns } => missing(CONNECTIONS, columns),
        Verb::ListChannels { columns } => missing(CHANNELS, columns),
        Verb::ListConsumers { columns } => missing(CONSUMERS, columns),
        _ => Ok(()),
    }
}

/// Columns may also be given as a list with commas.
fn split(columns: &[String]) -> Vec<String> {
    columns.iter().flat_map(|word| word.split(',')).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// The table of some rows with the columns asked for, or those shown by default.
pub(super) fn table<T>(known: &[Column<T>], default: &[&str], wanted: &[String], rows: &[T]) -> Table {
    let names = if wanted.is_empty() { default.iter().map(|&name| name.to_owned()).collect() } else { split(wanted) };
    let columns: Vec<&Column<T>> =
        names.iter().filter_map(|name| known.iter().find(|(known, _)| known == name)).collect();
    Table {
        columns: columns.iter().map(|(name, _)| (*name).to_owned()).collect(),
        rows: rows.iter().map(|row| columns.iter().map(|(_, value)| value(row)).collect()).collect(),
    }
}

pub(super) const QUEUES: &[Column<QueueInfo>] = &[
    ("name", |queue| text(&queue.name)),
    ("vhost", |queue| text(&queue.vhost)),
    ("durable", |queue| json!(queue.durable)),
    ("auto_delete", |queue| json!(queue.auto_delete)),
    ("exclusive", |queue| json!(queue.owner.is_some())),
    ("owner_pid", |queue| {
        queue.owner.map_or_else(|| json!(""), |owner| pid(&queue.node, owner, ChannelNumber::CONNECTION))
    }),
    ("arguments", |queue| arguments(&queue.arguments)),
    ("type", |queue| json!(queue.kind)),
    ("state", |queue| json!(queue.state.name())),
    ("messages", |queue| known(queue, queue.messages_ready + queue.messages_unacked + queue.messages_delayed)),
    ("messages_ready", |queue| known(queue, queue.messages_ready)),
    ("messages_unacknowledged", |queue| known(queue, queue.messages_unacked)),
    ("messages_delayed", |queue| known(queue, queue.messages_delayed)),
    ("message_bytes", |queue| known(queue, queue.ready_bytes + queue.unacked_bytes + queue.delayed_bytes)),
    ("message_bytes_ready", |queue| known(queue, queue.ready_bytes)),
    ("message_bytes_unacknowledged", |queue| known(queue, queue.unacked_bytes)),
    ("consumers", |queue| known(queue, queue.consumers)),
    ("exclusive_consumer_pid", |queue| only_consumer(queue, true)),
    ("single_active_consumer_pid", |queue| only_consumer(queue, false)),
    ("policy", |queue| name_of(queue.policies.as_ref().and_then(|policies| policies.policy.as_ref()))),
    ("operator_policy", |queue| {
        name_of(queue.policies.as_ref().and_then(|policies| policies.operator_policy.as_ref()))
    }),
    ("effective_policy_definition", |queue| {
        Value::Object(queue.policies.as_ref().map(|policies| policies.definition.clone()).unwrap_or_default())
    }),
    ("memory", |queue| json!(queue.memory_bytes)),
    ("message_bytes_ram", |queue| json!(queue.memory_bytes)),
    ("pid", |queue| json!(format!("<{}.queue.{}>", queue.node, queue.id))),
    ("leader", |queue| json!(queue.leader.as_deref().unwrap_or_default())),
    ("members", |queue| if queue.members.is_empty() { json!("") } else { json!(queue.members) }),
    ("online", |queue| if queue.members.is_empty() { json!("") } else { json!(queue.online) }),
    ("slave_pids", |queue| mirrors(queue, &queue.members)),
    ("synchronised_slave_pids", |queue| mirrors(queue, &queue.synchronised)),
    // RabbitMQ knows these too. Here nobody measures them, and they are empty, as RabbitMQ leaves most of them for quorum queues:
    // scripts that ask for them among others go on.
    ("exclusive_consumer_tag", |_| json!("")),
    ("messages_ram", |_| json!("")),
    ("messages_ready_ram", |_| json!("")),
    ("messages_unacknowledged_ram", |_| json!("")),
    ("messages_persistent", |_| json!("")),
    ("message_bytes_persistent", |_| json!("")),
    ("head_message_timestamp", |_| json!("")),
    ("disk_reads", |_| json!("")),
    ("disk_writes", |_| json!("")),
    ("consumer_utilisation", |_| json!("")),
    ("consumer_capacity", |_| json!("")),
];
pub(super) const QUEUES_DEFAULT: &[&str] = &["name", "messages"];

pub(super) const EXCHANGES: &[Column<ExchangeInfo>] = &[
    ("name", |exchange| text(&exchange.name)),
    ("vhost", |exchange| text(&exchange.vhost)),
    ("type", |exchange| json!(exchange.kind)),
    ("durable", |exchange| json!(exchange.durable)),
    ("auto_delete", |exchange| json!(exchange.auto_delete)),
    ("internal", |exchange| json!(exchange.internal)),
    ("arguments", |exchange| arguments(&exchange.arguments)),
    ("policy", |exchange| name_of(exchange.policy.as_ref())),
    ("messages_delayed", |exchange| json!(exchange.messages_delayed)),
    ("message_bytes_delayed", |exchange| json!(exchange.bytes_delayed)),
];
pub(super) const EXCHANGES_DEFAULT: &[&str] = &["name", "type"];

pub(super) const BINDINGS: &[Column<BindingInfo>] = &[
    ("source_name", |binding| text(&binding.source)),
    ("source_kind", |_| json!("exchange")),
    ("destination_name", |binding| text(&binding.destination)),
    ("destination_kind", |binding| json!(if binding.leads_to_queue { "queue" } else { "exchange" })),
    ("routing_key", |binding| text(&binding.routing_key)),
    ("arguments", |binding| arguments(&binding.arguments)),
    ("vhost", |binding| text(&binding.vhost)),
];
pub(super) const BINDINGS_DEFAULT: &[&str] =
    &["source_name", "source_kind", "destination_name", "destination_kind", "routing_key", "arguments"];

pub(super) const CONNECTIONS: &[Column<ConnectionInfo>] = &[
    ("pid", |connection| pid(&connection.node, connection.id, ChannelNumber::CONNECTION)),
    ("name", |connection| json!(connection.name())),
    ("port", |connection| json!(connection.local.port())),
    ("host", |connection| json!(connection.local.ip().to_string())),
    ("peer_port", |connection| json!(connection.peer.port())),
    ("peer_host", |connection| json!(connection.peer.ip().to_string())),
    ("ssl", |_| json!(false)),
    ("protocol", |connection| match connection.state {
        ConnectionState::Starting => json!(""),
        _ => json!("{0,9,1}"),
    }),
    ("auth_mechanism", |connection| json!(connection.mechanism)),
    ("user", |connection| json!(connection.user)),
    ("vhost", |connection| text(&connection.vhost)),
    ("timeout", |connection| json!(connection.heartbeat_s)),
    ("frame_max", |connection| json!(connection.frame_max)),
    ("channel_max", |connection| json!(connection.channel_max)),
    ("client_properties", |connection| arguments(&connection.client_properties)),
    ("recv_oct", |connection| json!(connection.received_bytes)),
    ("send_pend", |connection| json!(connection.waiting_bytes)),
    ("connected_at", |connection| json!(connection.connected_at.as_millis())),
    ("channels", |connection| json!(connection.channels)),
    ("state", |connection| json!(connection.state.name())),
    // As with queues: RabbitMQ knows these, and they are empty where there is no TLS or nobody counts.
    ("recv_cnt", |_| json!("")),
    ("send_cnt", |_| json!("")),
    ("send_oct", |_| json!("")),
    ("ssl_protocol", |_| json!("")),
    ("ssl_key_exchange", |_| json!("")),
    ("ssl_cipher", |_| json!("")),
    ("ssl_hash", |_| json!("")),
    ("peer_cert_subject", |_| json!("")),
    ("peer_cert_issuer", |_| json!("")),
    ("peer_cert_validity", |_| json!("")),
];
pub(super) const CONNECTIONS_DEFAULT: &[&str] = &["user", "peer_host", "peer_port", "state"];

pub(super) const CHANNELS: &[Column<ChannelInfo>] = &[
    ("pid", |channel| pid(&channel.node, channel.connection, channel.number)),
    ("connection", |channel| pid(&channel.node, channel.connection, ChannelNumber::CONNECTION)),
    ("name", |channel| json!(format!("{} ({})", channel.connection_name, channel.number))),
    ("number", |channel| json!(channel.number.0)),
    ("user", |channel| json!(channel.user)),
    ("vhost", |channel| text(&channel.vhost)),
    ("transactional", |channel| json!(channel.is_transactional)),
    ("confirm", |channel| json!(channel.is_confirming)),
    ("consumer_count", |channel| json!(channel.consumers)),
    ("messages_unacknowledged", |channel| json!(channel.messages_unacked)),
    ("messages_uncommitted", |channel| json!(channel.messages_uncommitted)),
    ("acks_uncommitted", |channel| json!(channel.acks_uncommitted)),
    ("messages_unconfirmed", |channel| json!(channel.messages_unconfirmed)),
    ("prefetch_count", |channel| json!(channel.prefetch)),
    ("global_prefetch_count", |channel| json!(channel.prefetch_global)),
];
pub(super) const CHANNELS_DEFAULT: &[&str] = &["pid", "user", "consumer_count", "messages_unacknowledged"];

pub(super) const CONSUMERS: &[Column<ConsumerInfo>] = &[
    ("queue_name", |consumer| text(&consumer.queue)),
    ("channel_pid", |consumer| pid(&consumer.node, consumer.connection, consumer.channel)),
    ("consumer_tag", |consumer| text(&consumer.tag)),
    ("ack_required", |consumer| json!(consumer.ack_required)),
    ("exclusive", |consumer| json!(consumer.exclusive)),
    ("prefetch_count", |consumer| json!(consumer.prefetch)),
    ("active", |consumer| json!(consumer.active)),
    ("activity_status", |consumer| {
        json!(match (consumer.active, consumer.single_active) {
            (_, true) => "single_active",
            (true, false) => "up",
            (false, false) => "waiting",
        })
    }),
    ("arguments", |consumer| arguments(&consumer.arguments)),
];
pub(super) const CONSUMERS_DEFAULT: &[&str] =
    &["queue_name", "channel_pid", "consumer_tag", "ack_required", "prefetch_count", "active", "arguments"];

/// A number, unless nobody can be asked for it.
fn known(queue: &QueueInfo, number: u64) -> Value {
    if queue.state == QueueState::Down { json!("") } else { json!(number) }
}

/// The replicas of a mirrored classic queue on these nodes, but for the one that leads. Those that can be reached have all that counts.
fn mirrors(queue: &QueueInfo, nodes: &[String]) -> Value {
    if queue.kind != "classic" || queue.members.is_empty() {
        return json!("");
    }
    let others = nodes.iter().filter(|node| Some(*node) != queue.leader.as_ref());
    others.map(|node| json!(format!("<{node}.queue.{}>", queue.id))).collect()
}

/// A policy's name, or nothing, as RabbitMQ shows that there is none.
fn name_of(policy: Option<&ShortStr>) -> Value {
    policy.map_or_else(|| json!(""), text)
}

/// Who alone gets the messages of a queue, for this reason.
fn only_consumer(queue: &QueueInfo, exclusive: bool) -> Value {
    let consumer = queue.only_consumer.as_ref().filter(|consumer| consumer.exclusive == exclusive);
    consumer.map_or_else(|| json!(""), |consumer| pid(&queue.node, consumer.connection, consumer.channel))
}

/// A name as text; bytes that are not are shown as such.
pub(super) fn text(name: &ShortStr) -> Value {
    json!(name.to_string_lossy())
}

/// How a connection or channel is named where RabbitMQ names a process.
fn pid(node: &str, connection: ConnectionId, channel: ChannelNumber) -> Value {
    json!(format!("<{node}.{connection}.{channel}>"))
}

/// A table of arguments as JSON.
pub(super) fn arguments(table: &FieldTable) -> Value {
    Value::Object(
        table.iter().map(|(name, value)| (name.to_string_lossy().into_owned(), field(value))).collect::<Map<_, _>>(),
    )
}

fn field(value: &FieldValue) -> Value {
    match value {
        FieldValue::Void => Value::Null,
        FieldValue::Bool(value) => json!(value),
        FieldValue::I8(value) => json!(value),
        FieldValue::U8(value) => json!(value),
        FieldValue::I16(value) => json!(value),
        FieldValue::U16(value) => json!(value),
        FieldValue::I32(value) => json!(value),
        FieldValue::U32(value) => json!(value),
        FieldValue::I64(value) => json!(value),
        FieldValue::Timestamp(value) => json!(value),
        FieldValue::F32(bits) => json!(f32::from_bits(*bits)),
        FieldValue::F64(bits) => json!(f64::from_bits(*bits)),
        FieldValue::Decimal { scale, value } => json!(f64::from(*value) / 10_f64.powi(i32::from(*scale))),
        FieldValue::LongStr(text) | FieldValue::Bytes(text) => json!(String::from_utf8_lossy(text.as_bytes())),
        FieldValue::Array(items) => Value::Array(items.iter().map(field).collect()),
        FieldValue::Table(table) => arguments(table),
    }
}

//! From a node's answer to what a verb prints.

use leveret_engine::amqp::{Properties, ShortStr};
use leveret_engine::management::{
    AdminReply, DelayedMessage, Departure, DepartureReport, LeaveReason, LeftTo, NodeStatus, PeekedMessage, QueueInfo,
    QueueState, Way,
};
use serde_json::{Map, Value, json};

use super::columns::{self, arguments, text};
use super::output::{Body, Section, Table, exit};
use super::verbs::{CommandLine, Verb};
use super::{cluster, replicas, tenants};

/// Words the answer to a verb; or an exit code and a reason, for an answer that means a failure.
pub(super) fn body(line: &CommandLine, reply: AdminReply) -> Result<Body, (u8, String)> {
    let verb = &line.verb;
    Ok(match (reply, verb) {
        (AdminReply::Done, verb) => done(line, verb),
        (AdminReply::Count(count), verb) => counted(count, verb),
        (AdminReply::Status(status), _) => report(&status),
        (AdminReply::Cluster(status), verb) => return cluster::body(verb, &status),
        (AdminReply::Queues(mut rows), Verb::ListQueues { columns, online, offline, local }) => {
            let is_online = |queue: &QueueInfo| !matches!(queue.state, QueueState::Down | QueueState::Minority);
            rows.retain(|queue| {
                (!online || is_online(queue)) && (!offline || !is_online(queue)) && (!local || queue.is_local)
            });
            Body::Table(columns::table(columns::QUEUES, columns::QUEUES_DEFAULT, columns, &rows))
        }
        (AdminReply::Exchanges(rows), Verb::ListExchanges { columns }) => {
            Body::Table(columns::table(columns::EXCHANGES, columns::EXCHANGES_DEFAULT, columns, &rows))
        }
        (AdminReply::Bindings(rows), Verb::ListBindings { columns }) => {
            Body::Table(columns::table(columns::BINDINGS, columns::BINDINGS_DEFAULT, columns, &rows))
        }
        (AdminReply::Connections(rows), Verb::ListConnections { columns }) => {
            Body::Table(columns::table(columns::CONNECTIONS, columns::CONNECTIONS_DEFAULT, columns, &rows))
        }
        (AdminReply::Channels(rows), Verb::ListChannels { columns }) => {
            Body::Table(columns::table(columns::CHANNELS, columns::CHANNELS_DEFAULT, columns, &rows))
        }
        (AdminReply::Consumers(rows), Verb::ListConsumers { columns }) => {
            Body::Table(columns::table(columns::CONSUMERS, columns::CONSUMERS_DEFAULT, columns, &rows))
        }
        (AdminReply::Delayed(messages), _) => Body::Table(delayed(&messages)),
        (AdminReply::Messages(messages), _) => Body::Table(peeked(&messages)),
        (AdminReply::Departures(report), _) => departures(&report),
        (reply, verb) => {
            let reply = match replicas::body(verb, reply) {
                Ok(body) => return body,
                Err(reply) => reply,
            };
            return tenants::body(verb, reply).map_err(|reply| {
                (exit::UNAVAILABLE, format!("the broker gave an answer to something else: {reply:?}"))
            });
        }
    })
}

fn done(line: &CommandLine, verb: &Verb) -> Body {
    let vhost = &line.options.vhost;
    match verb {
        Verb::Ping => Body::Text("Ping succeeded".to_owned()),
        Verb::AuthenticateUser { .. } => Body::Text("Success".to_owned()),
        Verb::AddUser { .. } => Body::Text(
            "Done. Don't forget to grant the user permissions to some virtual hosts! See 'leveretctl help set_permissions' to learn \
             more."
                .to_owned(),
        ),
        Verb::TraceOn => Body::Text(format!("Trace enabled for vhost {vhost}")),
        Verb::TraceOff => Body::Text(format!("Trace disabled for vhost {vhost}")),
        _ => Body::Nothing,
    }
}

fn counted(count: u64, verb: &Verb) -> Body {
    match verb {
        Verb::DeleteQueue { .. } => Body::Text(format!("Queue was successfully deleted with {count} ready messages")),
        Verb::CloseAllConnections { .. } | Verb::CloseAllUserConnections { .. } => {
            Body::Text(format!("Closed {count} connections"))
        }
        Verb::MoveMessages { .. } => Body::Text(format!("Moved {count} messages")),
        Verb::CancelDelayed { .. } => Body::Text(format!("Dropped {count} messages")),
        Verb::DeleteMessages { .. } => Body::Text(format!("Deleted {count} messages")),
        // As rabbitmqctl, which does not tell how many.
        _ => Body::Nothing,
    }
}

fn report(status: &NodeStatus) -> Body {
    let NodeStatus { name, version, uptime, alarms, limits, level, usage, .. } = status;
    let alarms: Vec<_> = alarms.iter().map(|resource| resource.name()).collect();
    let bytes = |bytes: Option<u64>| bytes.map_or_else(|| "unknown".to_owned(), gigabytes);
    let section = |title, lines: &[String]| Section { title, lines: lines.to_vec() };
    let sections = vec![
        section(
            "Runtime",
            &[
                format!("Node name: {name}"),
                format!("Leveret version: {version}"),
                format!("Uptime (seconds): {}", uptime.as_secs()),
            ],
        ),
        section(
            "Alarms",
            &if alarms.is_empty() {
                vec!["(none)".to_owned()]
            } else {
                alarms.iter().map(|name| format!("{name} alarm: publishers are stopped")).collect::<Vec<_>>()
            },
        ),
        section(
            "Memory",
            &[
                format!("Total memory used: {}", bytes(level.map(|level| level.memory_bytes))),
                format!(
                    "Memory high watermark: {}",
                    limits.memory_high_bytes.map_or_else(|| "none".to_owned(), gigabytes)
                ),
                format!("Message bodies in memory: {}", gigabytes(usage.body_bytes)),
                format!("Waiting for clients' sockets: {}", gigabytes(usage.outbox_bytes)),
            ],
        ),
        section(
            "Free Disk Space",
            &[
                format!("Low free disk space watermark: {}", gigabytes(limits.disk_free_bytes)),
                format!("Free disk space: {}", bytes(level.map(|level| level.disk_free_bytes))),
                format!(
                    "Log: {} in {} segments, of which {} are needed",
                    gigabytes(usage.log_bytes),
                    usage.log_segments,
                    gigabytes(usage.log_live_bytes)
                ),
            ],
        ),
        section(
            "Totals",
            &[
                format!("Connection count: {}", usage.connections),
                format!("Channel count: {}", usage.channels),
                format!("Queue count: {}", status.queues),
                format!("Exchange count: {}", status.exchanges),
                format!("Virtual host count: {}", status.vhosts),
                format!("Messages ready: {}", status.messages_ready),
                format!("Messages unacknowledged: {}", status.messages_unacked),
            ],
        ),
    ];
    let document = json!({
        "node": name,
        "leveret_version": version,
        "uptime": uptime.as_secs(),
        "alarms": alarms,
        "memory": { "total": level.map(|level| level.memory_bytes), "bodies": usage.body_bytes, "outboxes": usage.outbox_bytes },
        "vm_memory_high_watermark_limit": limits.memory_high_bytes,
        "disk_free": level.map(|level| level.disk_free_bytes),
        "disk_free_limit": limits.disk_free_bytes,
        "log": { "bytes": usage.log_bytes, "live_bytes": usage.log_live_bytes, "segments": usage.log_segments },
        "totals": {
            "connection_count": usage.connections,
            "channel_count": usage.channels,
            "queue_count": status.queues,
            "exchange_count": status.exchanges,
            "virtual_host_count": status.vhosts,
            "messages_ready": status.messages_ready,
            "messages_unacknowledged": status.messages_unacked,
        },
    });
    Body::Report(sections, document)
}

/// Bytes as RabbitMQ's status writes them, in decimal gigabytes.
fn gigabytes(bytes: u64) -> String {
    let tenths_of_megabytes = bytes / 100_000;
    format!("{}.{:04} gb", tenths_of_megabytes / 10_000, tenths_of_megabytes % 10_000)
}

/// What a delayed exchange holds. A key or id that is only on disk is not read for a listing.
fn delayed(messages: &[DelayedMessage]) -> Table {
    let known = |name: &Option<ShortStr>| name.as_ref().map_or(Value::Null, text);
    let row = |message: &DelayedMessage| {
        let DelayedMessage { sequence, due, bytes, routing_key, message_id } = message;
        vec![json!(sequence), json!(due.as_millis()), known(routing_key), known(message_id), json!(bytes)]
    };
    let columns = ["sequence", "due", "routing_key", "message_id", "payload_bytes"];
    Table { columns: columns.map(str::to_owned).to_vec(), rows: messages.iter().map(row).collect() }
}

fn peeked(messages: &[PeekedMessage]) -> Table {
    let row = |message: &PeekedMessage| {
        let PeekedMessage { seq, redelivered, exchange, routing_key, properties, body } = message;
        let (body, encoding) = match std::str::from_utf8(body) {
            Ok(body) => (body.to_owned(), "string"),
            Err(_) => (body.iter().map(|byte| format!("{byte:02x}")).collect(), "hex"),
        };
        vec![
            json!(seq.0),
            json!(redelivered),
            text(exchange),
            text(routing_key),
            properties_of(properties),
            json!(message.body.len()),
            json!(encoding),
            json!(body),
        ]
    };
    let columns = [
        "position",
        "redelivered",
        "exchange",
        "routing_key",
        "properties",
        "payload_bytes",
        "payload_encoding",
        "payload",
    ];
    Table { columns: columns.map(str::to_owned).to_vec(), rows: messages.iter().map(row).collect() }
}

/// The properties that are set, by the names of RabbitMQ's management interface.
fn properties_of(properties: &Properties) -> Value {
    let mut map = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            map.insert(name.to_owned(), value);
        }
    };
    put("content_type", properties.content_type.as_ref().map(text));
    put("content_encoding", properties.content_encoding.as_ref().map(text));
    put("headers", properties.headers.as_ref().map(arguments));
    put("delivery_mode", properties.delivery_mode.map(|mode| json!(mode)));
    put("priority", properties.priority.map(|priority| json!(priority)));
    put("correlation_id", properties.correlation_id.as_ref().map(text));
    put("reply_to", properties.reply_to.as_ref().map(text));
    put("expiration", properties.expiration.as_ref().map(text));
    put("message_id", properties.message_id.as_ref().map(text));
    put("timestamp", properties.timestamp.map(|timestamp| json!(timestamp)));
    put("type", properties.message_type.as_ref().map(text));
    put("user_id", properties.user_id.as_ref().map(text));
    put("app_id", properties.app_id.as_ref().map(text));
    Value::Object(map)
}

/// What a queue remembers of messages that nobody acked: first how many for each reason, then the last few.
fn departures(report: &DepartureReport) -> Body {
    let counts = LeaveReason::ALL.into_iter().map(|reason| (reason.name(), report.left.of(reason)));
    let counts: Vec<_> = counts.filter(|(_, count)| *count > 0).collect();
    let name =
        |bytes: Option<&[u8]>| bytes.map_or_else(String::new, |bytes| String::from_utf8_lossy(bytes).into_owned());
    let way = |departure: &Departure| match departure.way {
        Way::Left(reason, to) => (reason.name(), left_to(to)),
        Way::Dropped => ("no route", "dropped".to_owned()),
        Way::Refused => ("refused", "refused: a queue was full".to_owned()),
        Way::Returned => ("no route", "returned to its publisher".to_owned()),
    };
    let last = report.last.iter().map(|departure| {
        let (reason, to) = way(departure);
        json!({
            "at": departure.at.as_millis(),
            "reason": reason,
            "to": to,
            "exchange": name(departure.exchange()),
            "routing_key": name(departure.routing_key()),
            "message_id": name(departure.message_id()),
            "payload_bytes": departure.size,
        })
    });
    let last: Vec<_> = last.collect();
    let lines = |pairs: &[(&str, u64)]| pairs.iter().map(|(reason, count)| format!("{reason}: {count}")).collect();
    let nothing = || vec!["(none)".to_owned()];
    let sections = vec![
        Section { title: "Messages by reason", lines: if counts.is_empty() { nothing() } else { lines(&counts) } },
        Section {
            title: "Last messages, oldest first",
            lines: if last.is_empty() { nothing() } else { last.iter().map(Value::to_string).collect() },
        },
    ];
    let counts: Map<_, _> = counts.into_iter().map(|(reason, count)| (reason.to_owned(), json!(count))).collect();
    let document = json!({ "left": counts, "dead_lettered": report.left.dead_lettered(), "last": last });
    Body::Report(sections, document)
}

/// Where a message is instead.
fn left_to(to: LeftTo) -> String {
    match to {
        LeftTo::Nowhere => "dropped".to_owned(),
        LeftTo::MissingExchange => "dropped: its dead-letter exchange does not exist".to_owned(),
        LeftTo::NoRoute => "dropped: its dead-letter exchange knows no queue for it".to_owned(),
        LeftTo::Cycle => "dropped: it would have come back to a queue that it had died in".to_owned(),
        LeftTo::Refused => "dropped: the queues that it was dead-lettered to were full".to_owned(),
        LeftTo::Queues(count) => format!("dead-lettered to {count} queues"),
    }
}

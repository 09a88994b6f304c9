//! From a node's answer to what a verb prints.

use leveret_engine::management::{AdminReply, NodeStatus};
use serde_json::json;

use super::columns;
use super::output::{Body, Section, exit};
use super::verbs::{CommandLine, Verb};

/// Words the answer to a verb; or an exit code and a reason, for an answer that means a failure.
pub(super) fn body(line: &CommandLine, reply: AdminReply) -> Result<Body, (u8, String)> {
    let verb = &line.verb;
    Ok(match (reply, verb) {
        (AdminReply::Done, verb) => done(line, verb),
        (AdminReply::Count(count), verb) => counted(count, verb),
        (AdminReply::Status(status), _) => report(&status),
        (AdminReply::Queues(rows), Verb::ListQueues { columns, offline, .. }) => {
            let rows = if *offline { Vec::new() } else { rows };
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
        (reply, _) => {
            return Err((exit::UNAVAILABLE, format!("the broker gave an answer to something else: {reply:?}")));
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

//! What each key of a configuration file does.

use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use leveret_engine::config::Durability;
use leveret_engine::limits;
use leveret_engine::metadata::LeaderLocator;

use super::FileSettings;
use super::size::{fraction_of, parse_size};

/// Keys that do something. Those that end in a dot stand for all that begin so.
const KNOWN: &[&str] = &[
    "listeners.tcp.",
    "listeners.tcp",
    "default_vhost",
    "default_user",
    "default_pass",
    "default_user_tags.",
    "default_permissions.configure",
    "default_permissions.write",
    "default_permissions.read",
    "default_queue_type",
    "durability",
    "loopback_users.",
    "loopback_users",
    "vm_memory_high_watermark.relative",
    "vm_memory_high_watermark.absolute",
    "disk_free_limit.relative",
    "disk_free_limit.absolute",
    "heartbeat",
    "frame_max",
    "channel_max",
    "max_channels_per_connection",
    "connection_max",
    "max_connections",
    "consumer_max_per_channel",
    "consumer_disconnected_timeout",
    "consumer_timeout",
    "max_message_size",
    "handshake_timeout",
    "cluster_name",
    "cluster_formation.peer_discovery_backend",
    "cluster_formation.classic_config.nodes.",
    "cluster_formation.dns.hostname",
    "cluster_formation.target_cluster_size_hint",
    "cluster_partition_handling",
    "queue_leader_locator",
    "queue_master_locator",
    "quorum_queue.initial_cluster_size",
    "quorum_queue.continuous_membership_reconciliation.enabled",
    "quorum_queue.continuous_membership_reconciliation.target_group_size",
    "cluster.secret",
    "cluster.secret_file",
    "cluster.listen",
    "cluster.ssl_options.cacertfile",
    "cluster.ssl_options.certfile",
    "cluster.ssl_options.keyfile",
    "cluster.addresses.",
    "load_definitions",
    "definitions.import_backend",
    "definitions.local.path",
    "log.console.level",
    "log.console",
];

/// Keys of RabbitMQ's that mean nothing here.
const MEANINGLESS: &[&str] = &[
    "advanced_config.",
    "amqp1_0.",
    "anonymous_login_",
    "auth_",
    "aws.",
    "background_gc_",
    "channel_operation_timeout",
    "classic_queue.",
    "cluster_exchange_limit",
    "cluster_formation.",
    "cluster_keepalive_interval",
    "cluster_partition_handling.",
    "cluster_queue_limit",
    "cluster_tags.",
    "collect_statistics",
    "credential_validator.",
    "credit_flow_",
    "default_limits.",
    "default_worker_pool_size",
    "definitions.",
    "delegate_count",
    "deprecated_features.",
    "distributed_cookie",
    "distribution.",
    "erlang.",
    "event_exchange.",
    "feature_flags.",
    "hipe_compile",
    "initial_frame_max",
    "kernel.",
    "listeners.ssl",
    "log.",
    "management.",
    "management_agent.",
    "memory_monitor_interval",
    "message_interceptors.",
    "message_store_shutdown_timeout",
    "metadata_store.",
    "mirroring_",
    "mnesia_",
    "motd_file",
    "mqtt.",
    "msg_store_",
    "net_ticktime",
    "node_tags.",
    "nodename",
    "num_acceptors.",
    "password_hashing_module",
    "product.",
    "prometheus.",
    "proxy_protocol",
    "queue_index_",
    "quorum_",
    "raft.",
    "reverse_dns_lookups",
    "socket_writer.",
    "ssl_",
    "stomp.",
    "stream.",
    "sysmon_handler.",
    "tcp_listen_options",
    "total_memory_available_override_value",
    "trace_vhosts.",
    "trust_store.",
    "vhost_restart_strategy",
    "vm_memory_calculation_strategy",
    "vm_memory_high_watermark_paging_ratio",
    "web_mqtt.",
    "web_stomp.",
];

/// Sets what a key stands for. Whether it stands for anything here.
///
/// # Errors
/// What is wrong with the value, or that there is no such key.
pub(super) fn set(settings: &mut FileSettings, key: &str, value: &str, memory_bytes: u64) -> Result<bool, String> {
    let engine = &mut settings.engine;
    match key {
        "listeners.tcp" if value == "none" => settings.listen = Some(Vec::new()),
        _ if key.starts_with("listeners.tcp.") => {
            settings.listen.get_or_insert_default().push(listener(key, value)?);
        }
        "default_vhost" => engine.default_vhost = value.to_owned(),
        "default_permissions.configure" => engine.default_permissions[0] = value.to_owned(),
        "default_permissions.write" => engine.default_permissions[1] = value.to_owned(),
        "default_permissions.read" => engine.default_permissions[2] = value.to_owned(),
        "default_user" => engine.default_user = value.to_owned(),
        "default_queue_type" => engine.default_queue_type = Some(queue_type(key, value)?.to_owned()),
        "durability" => engine.durability = durability(key, value)?,
        "queue_leader_locator" => engine.queue_leader_locator = Some(locator(key, value)?),
        "queue_master_locator" => {
            let locator = locator(key, value)?;
            engine.queue_leader_locator.get_or_insert(locator);
        }
        "quorum_queue.initial_cluster_size" => match number(key, value)? {
            0 => return Err(format!("{key}: a queue needs one replica at least")),
            size => engine.quorum_initial_group_size = size,
        },
        "quorum_queue.continuous_membership_reconciliation.enabled" => {
            engine.quorum_reconciliation = boolean(key, value)?;
        }
        "quorum_queue.continuous_membership_reconciliation.target_group_size" => match number(key, value)? {
            0 => return Err(format!("{key}: a queue needs one replica at least")),
            size => engine.quorum_target_group_size = Some(size),
        },
        "default_pass" => engine.default_pass = value.to_owned(),
        "vm_memory_high_watermark.relative" => {
            let bytes = fraction_of(value, memory_bytes).map_err(|why| format!("{key}: {why}"))?;
            if bytes > memory_bytes {
                return Err(format!("{key}: should be between 0.0 and 1.0, not {value}"));
            }
            engine.resources.memory_high_bytes = Some(bytes);
        }
        "vm_memory_high_watermark.absolute" => {
            engine.resources.memory_high_bytes = Some(parse_size(value).map_err(|why| format!("{key}: {why}"))?);
        }
        "disk_free_limit.relative" => {
            engine.resources.disk_free_bytes =
                fraction_of(value, memory_bytes).map_err(|why| format!("{key}: {why}"))?;
        }
        "disk_free_limit.absolute" => {
            engine.resources.disk_free_bytes = parse_size(value).map_err(|why| format!("{key}: {why}"))?;
        }
        "heartbeat" => engine.heartbeat = Duration::from_secs(u64::from(number::<u16>(key, value)?)),
        "frame_max" => {
            let frame_max = number(key, value)?;
            if frame_max != 0 && frame_max < limits::FRAME_MIN {
                return Err(format!(
                    "{key}: {value} is too small: AMQP wants {} at least, or 0 for no limit",
                    limits::FRAME_MIN
                ));
            }
            engine.frame_max = frame_max;
        }
        "channel_max" | "max_channels_per_connection" => engine.channel_max = number(key, value)?,
        "connection_max" | "max_connections" => engine.connection_max = limit(key, value)?,
        "consumer_max_per_channel" => engine.consumer_max_per_channel = limit(key, value)?,
        "consumer_timeout" => {
            engine.consumer_timeout =
                if value == "infinity" { None } else { Some(Duration::from_millis(number(key, value)?)) };
        }
        "consumer_disconnected_timeout" => {
            engine.consumer_disconnected_timeout = Duration::from_millis(number(key, value)?);
        }
        "max_message_size" => engine.message_size_max = number(key, value)?,
        "handshake_timeout" => engine.handshake_timeout = Duration::from_millis(number(key, value)?),
        "cluster_name" => engine.cluster_name = Some(value.to_owned()),
        "cluster_partition_handling" => partition_handling(settings, key, value)?,
        "load_definitions" | "definitions.local.path" => settings.definitions = Some(PathBuf::from(value)),
        "definitions.import_backend"
            if matches!(value, "local_filesystem" | "rabbit_definitions_import_local_filesystem") => {}
        "definitions.import_backend" => {
            return Err(format!("{key}: definitions come from local_filesystem only, not from {value}"));
        }
        "log.console.level" => settings.log = Some(level(key, value)?.to_owned()),
        "log.console" => {
            if !boolean(key, value)? {
                settings.log = Some("off".to_owned());
            }
        }
        _ if key.starts_with("default_user_tags.") => user_tag(settings, key, value)?,
        _ if key == "loopback_users" || key.starts_with("loopback_users.") => loopback_user(settings, key, value)?,
        _ if settings.cluster.set(key, value, &mut settings.warnings)? => {}
        _ if MEANINGLESS.iter().any(|known| key.starts_with(known)) => return Ok(false),
        _ => return Err(unknown(key)),
    }
    Ok(true)
}

pub(super) fn listener(key: &str, value: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = value.parse::<u16>() {
        return Ok(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)));
    }
    // RabbitMQ's way of writing an IPv6 address with a port has no brackets.
    let bare =
        value.rsplit_once(':').and_then(|(host, port)| Some((host.parse::<Ipv6Addr>().ok()?, port.parse().ok()?)));
    bare.map(SocketAddr::from).or_else(|| value.parse().ok()).ok_or_else(|| {
        format!("{key}: \"{value}\" is neither a port nor an IP address with a port, such as 127.0.0.1:5672")
    })
}

/// `loopback_users = none` lets all in from everywhere; `loopback_users.NAME = true` keeps one to this machine.
fn loopback_user(settings: &mut FileSettings, key: &str, value: &str) -> Result<(), String> {
    let users = &mut settings.engine.loopback_users;
    match key.strip_prefix("loopback_users.") {
        None if value == "none" => users.clear(),
        None => return Err(format!("{key}: expected none, or loopback_users.NAME = true")),
        Some(user) => {
            users.retain(|other| other != user);
            if boolean(key, value)? {
                users.push(user.to_owned());
            }
        }
    }
    Ok(())
}

/// `default_user_tags.TAG = true` gives the default user a tag; the first such line takes away what it has without one.
fn user_tag(settings: &mut FileSettings, key: &str, value: &str) -> Result<(), String> {
    let tag = key.strip_prefix("default_user_tags.").unwrap_or_default();
    if !std::mem::replace(&mut settings.names_user_tags, true) {
        settings.engine.default_user_tags.clear();
    }
    if boolean(key, value)? {
        settings.engine.default_user_tags.push(tag.to_owned());
    }
    Ok(())
}

/// What RabbitMQ's nodes do that cannot reach each other. Here a majority decides what is declared, whatever the setting.
fn partition_handling(settings: &mut FileSettings, key: &str, value: &str) -> Result<(), String> {
    match value {
        "ignore" | "autoheal" => settings.notes.push(format!(
            "{key}: {value} needs no doing here: nodes that cannot reach a majority change nothing that is declared, so that nothing can \
             diverge that would have to be healed"
        )),
        "pause_minority" => settings.cluster.pause_minority = true,
        "pause_if_all_down" => settings.warnings.push(format!(
            "{key}: {value} is not known here: nodes that cannot reach a majority go on serving their clients, and change nothing that is \
             declared; with pause_minority they serve none"
        )),
        _ => {
            return Err(format!(
                "{key}: \"{value}\" is none of ignore, autoheal, pause_minority and pause_if_all_down"
            ));
        }
    }
    Ok(())
}

/// The type of queue, also by the name of RabbitMQ's module.
fn queue_type(key: &str, value: &str) -> Result<&'static str, String> {
    match value {
        "classic" | "rabbit_classic_queue" => Ok("classic"),
        "quorum" | "rabbit_quorum_queue" => Ok("quorum"),
        _ => Err(format!("{key}: \"{value}\" is no type of queue: expected classic or quorum")),
    }
}

/// What confirms promise.
fn durability(key: &str, value: &str) -> Result<Durability, String> {
    match value {
        "fsync" => Ok(Durability::Fsync),
        "os" => Ok(Durability::Os),
        _ => Err(format!("{key}: {value:?} is neither fsync nor os")),
    }
}

/// Where queues are.
fn locator(key: &str, value: &str) -> Result<LeaderLocator, String> {
    let unknown = || format!("{key}: {value:?} is neither client-local nor balanced");
    LeaderLocator::named(value.as_bytes()).ok_or_else(unknown)
}

/// A number, or `infinity` for none.
fn limit(key: &str, value: &str) -> Result<Option<u32>, String> {
    if value == "infinity" { Ok(None) } else { number(key, value).map(Some) }
}

fn number<T: FromStr>(key: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{key}: \"{value}\" is no number in its range"))
}

fn boolean(key: &str, value: &str) -> Result<bool, String> {
    match value {
        "true" | "on" | "yes" => Ok(true),
        "false" | "off" | "no" => Ok(false),
        _ => Err(format!("{key}: \"{value}\" is neither true nor false")),
    }
}

/// RabbitMQ's level as ours.
fn level(key: &str, value: &str) -> Result<&'static str, String> {
    Ok(match value {
        "debug" => "debug",
        "info" | "notice" => "info",
        "warning" | "warn" => "warn",
        "error" | "critical" | "alert" | "emergency" => "error",
        "none" => "off",
        _ => {
            return Err(format!(
                "{key}: \"{value}\" is no level: expected debug, info, warning, error, critical or none"
            ));
        }
    })
}

/// Says that there is no such key, and which is nearest.
fn unknown(key: &str) -> String {
    let nearest = KNOWN.iter().map(|known| (distance(key, known), *known)).min();
    match nearest {
        Some((distance, known)) if distance <= 3 => format!("there is no setting {key}; did you mean {known}?"),
        _ => format!("there is no setting {key}"),
    }
}

/// How many letters have to be added, taken away or exchanged to make one word of the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in b.iter().enumerate() {
            let exchanged = diagonal + usize::from(letter != *other);
            diagonal = row[j + 1];
            row[j + 1] = exchanged.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

//! From a command line to a request.

use leveret_engine::amqp::ShortStr;
use leveret_engine::auth::SALT_BYTES;
use leveret_engine::ids::ConnectionId;
use leveret_engine::management::{
    AdminRequest, ConnectionRequest, ConnectionSelection, DepartureRequest, ExchangeRequest, NodeRequest, QueueName,
    QueueRequest, Selection as Selected, password_hash,
};

use super::output::{Body, Outcome, exit, format};
use super::verbs::{CommandLine, Options, Selection, Verb};
use super::{Plan, cluster, columns, replicas, tenants};
use crate::config::size::parse_size;
use crate::gauge::total_memory_bytes;

/// What to do for a command line.
pub(super) fn plan(line: &CommandLine, input: Option<&str>) -> Result<Plan, Outcome> {
    let CommandLine { options, verb } = line;
    columns::check(verb)?;
    if let Some(request) = tenants::request(line, input)? {
        return Ok(Plan::Ask(Box::new(request)));
    }
    if let Some(request) = cluster::request(verb)? {
        return Ok(Plan::Ask(Box::new(request)));
    }
    if let Some(request) = replicas::request(options, verb)? {
        return Ok(Plan::Ask(Box::new(request)));
    }
    let request = match verb {
        Verb::Version => {
            let body = Body::Text(env!("CARGO_PKG_VERSION").to_owned());
            return Ok(Plan::Done(Outcome { output: format(options, "", &body), ..Outcome::default() }));
        }
        Verb::HashPassword { password } => {
            let mut salt = [0; SALT_BYTES];
            getrandom::fill(&mut salt).map_err(|error| {
                Outcome::failure(exit::UNAVAILABLE, format!("Error:\nthe system has no entropy: {error}\n"))
            })?;
            let body = Body::Text(password_hash(password.as_deref().or(input).unwrap_or_default(), salt));
            return Ok(Plan::Done(Outcome { output: format(options, "", &body), ..Outcome::default() }));
        }
        Verb::Ping | Verb::AwaitStartup => AdminRequest::Ping,
        Verb::Status => NodeRequest::Status.into(),
        Verb::Drain => NodeRequest::Drain.into(),
        Verb::Revive => NodeRequest::Revive.into(),
        Verb::SetVmMemoryHighWatermark { watermark } => {
            NodeRequest::SetMemoryHighWatermark(Some(watermark_bytes(watermark)?)).into()
        }
        Verb::SetDiskFreeLimit { limit } => NodeRequest::SetDiskFreeLimit(disk_limit_bytes(limit)?).into(),

        Verb::ListQueues { .. } => QueueRequest::List { vhost: Some(vhost(options)?) }.into(),
        Verb::ListExchanges { .. } => ExchangeRequest::List { vhost: Some(vhost(options)?) }.into(),
        Verb::ListBindings { .. } => ExchangeRequest::ListBindings { vhost: Some(vhost(options)?) }.into(),
        Verb::ListConnections { .. } => ConnectionRequest::List.into(),
        Verb::ListChannels { .. } => ConnectionRequest::ListChannels.into(),
        Verb::ListConsumers { .. } => ConnectionRequest::ListConsumers { vhost: Some(vhost(options)?) }.into(),

        Verb::DeleteQueue { queue, if_empty, if_unused } => {
            QueueRequest::Delete { queue: queue_name(options, queue)?, if_empty: *if_empty, if_unused: *if_unused }
                .into()
        }
        Verb::PurgeQueue { queue, count } => {
            QueueRequest::Purge { queue: queue_name(options, queue)?, count: *count }.into()
        }

        Verb::PeekQueue { queue, count, offset } => QueueRequest::Peek {
            queue: queue_name(options, queue)?,
            selection: Selected { offset: *offset, count: Some(u64::from(*count)), message_id: None },
        }
        .into(),
        Verb::PauseQueue { queue } => QueueRequest::Pause(queue_name(options, queue)?).into(),
        Verb::ResumeQueue { queue } => QueueRequest::Resume(queue_name(options, queue)?).into(),
        Verb::MoveMessages { source, destination, selection } => QueueRequest::Move {
            queue: queue_name(options, source)?,
            destination: name("a queue", destination)?,
            selection: selected(selection)?,
        }
        .into(),
        Verb::DeleteMessages { queue, selection } => {
            QueueRequest::DeleteMessages { queue: queue_name(options, queue)?, selection: selected(selection)? }.into()
        }
        Verb::Why { queue } => {
            AdminRequest::Departures(DepartureRequest::Queue { vhost: vhost(options)?, name: name("a queue", queue)? })
        }

        Verb::ListDelayed { exchange, count } => ExchangeRequest::ListDelayed {
            vhost: vhost(options)?,
            exchange: name("an exchange", exchange)?,
            count: *count,
        }
        .into(),
        Verb::CancelDelayed { exchange, message_id, sequence } => {
            let (vhost, exchange) = (vhost(options)?, name("an exchange", exchange)?);
            match sequence {
                Some(sequence) => ExchangeRequest::CancelDelayed { vhost, exchange, sequence: *sequence }.into(),
                None => {
                    let message_id = name("a message", message_id.as_deref().unwrap_or_default())?;
                    ExchangeRequest::CancelDelayedById { vhost, exchange, message_id }.into()
                }
            }
        }

        Verb::CloseConnection { connection, reason } => {
            ConnectionRequest::Close { which: connection_named(connection), reason: reason.clone() }.into()
        }
        Verb::CloseAllConnections { global, reason, .. } => {
            let which = if *global { ConnectionSelection::All } else { ConnectionSelection::OfVhost(vhost(options)?) };
            ConnectionRequest::Close { which, reason: reason.clone() }.into()
        }
        Verb::CloseAllUserConnections { username, reason } => ConnectionRequest::Close {
            which: ConnectionSelection::OfUser(name("a user", username)?),
            reason: reason.clone(),
        }
        .into(),
        _ => return Err(Outcome::failure(exit::UNAVAILABLE, "Error:\nthis broker cannot do that\n")),
    };
    Ok(Plan::Ask(Box::new(request)))
}

/// What is said before the result, as rabbitmqctl does.
pub(super) fn banner(options: &Options, verb: &Verb) -> String {
    let vhost = &options.vhost;
    if let Some(banner) = replicas::banner(verb) {
        return banner;
    }
    match verb {
        Verb::Status => "Status of the node ...".to_owned(),
        Verb::Ping => "Will ping the node ...".to_owned(),
        Verb::Drain => {
            "Will put the node into maintenance mode. The node will no longer serve any client traffic!".to_owned()
        }
        Verb::Revive => "Will put the node back into regular operating mode".to_owned(),
        Verb::ClusterStatus => "Cluster status of the node ...".to_owned(),
        Verb::AwaitOnlineNodes { count } => format!("Will wait for at least {count} nodes to join the cluster ..."),
        Verb::ForgetClusterNode { node } => format!("Removing node {node} from the cluster"),
        Verb::ListUsers => "Listing users ...".to_owned(),
        Verb::AddUser { username, .. } => format!("Adding user \"{username}\" ..."),
        Verb::DeleteUser { username } => format!("Deleting user \"{username}\" ..."),
        Verb::ChangePassword { username, .. } => format!("Changing password for user \"{username}\" ..."),
        Verb::ClearPassword { username } => format!("Clearing password for user \"{username}\" ..."),
        Verb::AuthenticateUser { username, .. } => format!("Authenticating user \"{username}\" ..."),
        Verb::SetUserTags { username, tags } => {
            format!("Setting tags for user \"{username}\" to [{}] ...", tags.join(", "))
        }
        Verb::SetUserLimits { username, definition } => {
            format!("Setting user limits to \"{definition}\" for user \"{username}\" ...")
        }
        Verb::ClearUserLimits { username, limit } => format!("Clearing \"{limit}\" limit for user \"{username}\" ..."),
        Verb::ListUserLimits { user: Some(user), .. } => format!("Listing limits for user \"{user}\" ..."),
        Verb::ListUserLimits { user: None, .. } => "Listing limits for all users ...".to_owned(),
        Verb::SetPermissions { username, .. } => {
            format!("Setting permissions for user \"{username}\" in vhost \"{vhost}\" ...")
        }
        Verb::ClearPermissions { username } => {
            format!("Clearing permissions for user \"{username}\" in vhost \"{vhost}\" ...")
        }
        Verb::ListPermissions => format!("Listing permissions for vhost \"{vhost}\" ..."),
        Verb::ListUserPermissions { username } => format!("Listing permissions for user \"{username}\" ..."),
        Verb::SetTopicPermissions { username, exchange, .. } => {
            format!("Setting topic permissions on \"{exchange}\" for user \"{username}\" in vhost \"{vhost}\" ...")
        }
        Verb::ClearTopicPermissions { username, .. } => {
            format!("Clearing topic permissions for user \"{username}\" in vhost \"{vhost}\" ...")
        }
        Verb::ListTopicPermissions => format!("Listing topic permissions for vhost \"{vhost}\" ..."),
        Verb::ListUserTopicPermissions { username } => {
            format!("Listing topic permissions for user \"{username}\" ...")
        }
        Verb::AddVhost { name, .. } => format!("Adding vhost \"{name}\" ..."),
        Verb::DeleteVhost { name } => format!("Deleting vhost \"{name}\" ..."),
        Verb::ListVhosts { .. } => "Listing vhosts ...".to_owned(),
        Verb::UpdateVhostMetadata { name, .. } => format!("Updating metadata of vhost \"{name}\" ..."),
        Verb::SetVhostTags { name, tags } => format!("Setting tags for vhost \"{name}\" to [{}] ...", tags.join(", ")),
        Verb::EnableVhostDeletionProtection { name } => {
            format!("Enabling deletion protection for vhost \"{name}\" ...")
        }
        Verb::DisableVhostDeletionProtection { name } => {
            format!("Disabling deletion protection for vhost \"{name}\" ...")
        }
        Verb::SetVhostLimits { definition } => {
            format!("Setting vhost limits to \"{definition}\" for vhost \"{vhost}\" ...")
        }
        Verb::ClearVhostLimits => format!("Clearing vhost \"{vhost}\" limits ..."),
        Verb::ListVhostLimits { global: true } => "Listing limits for all vhosts ...".to_owned(),
        Verb::ListVhostLimits { global: false } => format!("Listing limits for vhost \"{vhost}\" ..."),
        Verb::TraceOn => format!("Starting tracing for vhost \"{vhost}\" ..."),
        Verb::TraceOff => format!("Stopping tracing for vhost \"{vhost}\" ..."),
        Verb::SetPolicy(policy) => format!(
            "Setting policy \"{}\" for pattern \"{}\" to \"{}\" with priority \"{}\" for vhost \"{vhost}\" ...",
            policy.name, policy.pattern, policy.definition, policy.priority
        ),
        Verb::ClearPolicy { name } => format!("Clearing policy \"{name}\" on vhost \"{vhost}\" ..."),
        Verb::ListPolicies => format!("Listing policies for vhost \"{vhost}\" ..."),
        Verb::SetOperatorPolicy(policy) => format!(
            "Setting operator policy override \"{}\" for pattern \"{}\" to \"{}\" with priority \"{}\" for vhost \"{vhost}\" ...",
            policy.name, policy.pattern, policy.definition, policy.priority
        ),
        Verb::ClearOperatorPolicy { name } => format!("Clearing operator policy \"{name}\" on vhost \"{vhost}\" ..."),
        Verb::ListOperatorPolicies => format!("Listing operator policy overrides for vhost \"{vhost}\" ..."),
        Verb::SetParameter { component, name, value } => format!(
            "Setting runtime parameter \"{name}\" for component \"{component}\" to \"{value}\" in vhost \"{vhost}\" ..."
        ),
        Verb::ClearParameter { component, name } => {
            format!("Clearing runtime parameter \"{name}\" for component \"{component}\" on vhost \"{vhost}\" ...")
        }
        Verb::ListParameters => format!("Listing runtime parameters for vhost \"{vhost}\" ..."),
        Verb::SetGlobalParameter { name, value } => {
            format!("Setting global runtime parameter \"{name}\" to \"{value}\" ...")
        }
        Verb::ClearGlobalParameter { name } => format!("Clearing global runtime parameter \"{name}\" ..."),
        Verb::ListGlobalParameters => "Listing global runtime parameters ...".to_owned(),
        Verb::SetClusterName { name } => format!("Setting cluster name to {name} ..."),
        Verb::ListQueues { .. } => format!("Listing queues for vhost {vhost} ..."),
        Verb::ListExchanges { .. } => format!("Listing exchanges for vhost {vhost} ..."),
        Verb::ListBindings { .. } => format!("Listing bindings for vhost {vhost}..."),
        Verb::ListConnections { .. } => "Listing connections ...".to_owned(),
        Verb::ListChannels { .. } => "Listing channels ...".to_owned(),
        Verb::ListConsumers { .. } => format!("Listing consumers in vhost {vhost} ..."),
        Verb::DeleteQueue { queue, .. } => format!("Deleting queue '{queue}' on vhost '{vhost}' ..."),
        Verb::PurgeQueue { queue, .. } => format!("Purging queue '{queue}' in vhost '{vhost}' ..."),
        Verb::PeekQueue { queue, .. } => format!("Looking into queue '{queue}' in vhost '{vhost}' ..."),
        Verb::PauseQueue { queue } => format!("Pausing queue '{queue}' in vhost '{vhost}' ..."),
        Verb::ResumeQueue { queue } => format!("Resuming queue '{queue}' in vhost '{vhost}' ..."),
        Verb::MoveMessages { source, destination, .. } => {
            format!("Moving messages from queue '{source}' to queue '{destination}' in vhost '{vhost}' ...")
        }
        Verb::DeleteMessages { queue, .. } => format!("Deleting messages of queue '{queue}' in vhost '{vhost}' ..."),
        Verb::Why { queue } => {
            format!("Listing messages that left queue '{queue}' in vhost '{vhost}' without being acked ...")
        }
        Verb::ListDelayed { exchange, .. } => {
            format!("Listing messages held by exchange '{exchange}' in vhost '{vhost}' ...")
        }
        Verb::CancelDelayed { exchange, .. } => {
            format!("Dropping messages held by exchange '{exchange}' in vhost '{vhost}' ...")
        }
        Verb::CloseConnection { connection, reason } => format!("Closing connection {connection}, reason: {reason}..."),
        Verb::CloseAllConnections { global: true, reason, .. } => {
            format!("Closing all connections, reason: {reason}...")
        }
        Verb::CloseAllConnections { reason, .. } => {
            format!("Closing all connections in vhost {vhost}, reason: {reason}...")
        }
        Verb::CloseAllUserConnections { username, reason } => {
            format!("Closing all connections of user {username}, reason: {reason}...")
        }
        Verb::SetVmMemoryHighWatermark { watermark } => {
            format!("Setting memory threshold to {} ...", watermark.join(" "))
        }
        Verb::SetDiskFreeLimit { limit } => format!("Setting disk free limit to {} ...", limit.join(" ")),
        Verb::ExportDefinitions { file, .. } => format!("Exporting definitions in JSON to {} ...", file.display()),
        Verb::ImportDefinitions { .. } => "Importing definitions in JSON ...".to_owned(),
        Verb::Version
        | Verb::AwaitStartup
        | Verb::HashPassword { .. }
        | Verb::JoinCluster { .. }
        | Verb::Reset
        | Verb::ForceReset => String::new(),
        // Told above.
        Verb::AddMember { .. }
        | Verb::DeleteMember { .. }
        | Verb::TransferLeadership { .. }
        | Verb::Grow { .. }
        | Verb::Shrink { .. }
        | Verb::Rebalance { .. }
        | Verb::QuorumStatus { .. }
        | Verb::CheckIfNodeIsQuorumCritical
        | Verb::AwaitOnlineQuorumPlusOne => String::new(),
    }
}

/// A name that AMQP can carry.
pub(super) fn name(what: &str, text: &str) -> Result<ShortStr, Outcome> {
    ShortStr::try_from(text).map_err(|_| {
        Outcome::failure(exit::DATA, format!("Error:\nthe name of {what} has {} bytes; 255 are the most\n", text.len()))
    })
}

/// The vhost it is about.
pub(super) fn vhost(options: &Options) -> Result<ShortStr, Outcome> {
    name("a vhost", &options.vhost)
}

pub(super) fn queue_name(options: &Options, queue: &str) -> Result<QueueName, Outcome> {
    Ok(QueueName { vhost: vhost(options)?, name: name("a queue", queue)? })
}

fn selected(selection: &Selection) -> Result<Selected, Outcome> {
    let Selection { count, offset, message_id } = selection;
    let message_id = message_id.as_deref().map(|id| name("a message", id)).transpose()?;
    Ok(Selected { offset: *offset, count: *count, message_id })
}

/// A connection by its pid in a listing, `<NODE.NUMBER.0>`, by the number alone, or by its name.
fn connection_named(text: &str) -> ConnectionSelection {
    let pid = text.strip_prefix('<').and_then(|rest| rest.strip_suffix(".0>")).and_then(|rest| rest.rsplit_once('.'));
    let (node, number) = pid.unwrap_or(("", text));
    match number.parse() {
        Ok(number) => ConnectionSelection::One { node: node.to_owned(), id: ConnectionId(number) },
        Err(_) => ConnectionSelection::Named(text.to_owned()),
    }
}

/// The bytes of `absolute SIZE`, or of a fraction of the memory there is.
fn watermark_bytes(words: &[String]) -> Result<u64, Outcome> {
    match words {
        [word, size] if word == "absolute" => size_bytes(size),
        [word] if word == "absolute" => Err(usage("absolute needs a size, such as 2GB")),
        [fraction] => match fraction_of_memory(fraction)? {
            bytes if bytes <= total_memory_bytes() => Ok(bytes),
            _ => Err(Outcome::failure(
                exit::DATA,
                "Error (argument validation): The threshold should be a fraction between 0.0 and 1.0\n".to_owned(),
            )),
        },
        _ => Err(usage("expected a fraction such as 0.6, or the word absolute and a size such as 2GB")),
    }
}

/// The bytes of a size, or of `mem_relative FRACTION`.
fn disk_limit_bytes(words: &[String]) -> Result<u64, Outcome> {
    match words {
        [word, fraction] if word == "mem_relative" => fraction_of_memory(fraction),
        [word] if word == "mem_relative" => Err(usage("mem_relative needs a multiple of the memory, such as 1.5")),
        [size] => size_bytes(size),
        _ => {
            Err(usage("expected a size such as 2GB, or the word mem_relative and a multiple of the memory such as 1.5"))
        }
    }
}

fn size_bytes(text: &str) -> Result<u64, Outcome> {
    parse_size(text).map_err(|reason| Outcome::failure(exit::DATA, format!("Error (argument validation): {reason}\n")))
}

fn fraction_of_memory(text: &str) -> Result<u64, Outcome> {
    crate::config::size::fraction_of(text, total_memory_bytes())
        .map_err(|reason| Outcome::failure(exit::DATA, format!("Error (argument validation): {reason}\n")))
}

fn usage(text: &str) -> Outcome {
    Outcome::failure(exit::USAGE, format!("Error (argument validation): {text}\n"))
}

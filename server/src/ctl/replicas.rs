//! The verbs about replicas of quorum queues: those of rabbitmq-queues (RabbitMQ docs: rabbitmq-queues(8)).

use leveret_engine::management::{
    AdminReply, AdminRequest, LeaderCount, MemberStatus, QueueName, QueuePatterns, ReplicaChange, ReplicaRequest,
};
use serde_json::{Value, json};

use super::columns::text;
use super::output::{Body, Outcome, Table, exit};
use super::request::queue_name;
use super::verbs::{Options, Patterns, Strategy, Verb};

/// The request that a verb makes. `None` if it is about something else.
///
/// # Errors
/// If a name is none.
pub(super) fn request(options: &Options, verb: &Verb) -> Result<Option<AdminRequest>, Outcome> {
    let patterns = |patterns: &Patterns| QueuePatterns {
        vhost: patterns.vhost_pattern.clone(),
        queue: patterns.queue_pattern.clone(),
    };
    let request = match verb {
        Verb::AddMember { queue, node, .. } => {
            ReplicaRequest::Add { queue: queue_name(options, queue)?, node: node.clone() }
        }
        Verb::DeleteMember { queue, node } => {
            ReplicaRequest::Remove { queue: queue_name(options, queue)?, node: node.clone() }
        }
        Verb::TransferLeadership { queue, node } => {
            ReplicaRequest::Lead { queue: queue_name(options, queue)?, node: node.clone() }
        }
        Verb::Grow { node, strategy, queues, .. } => ReplicaRequest::Grow {
            node: node.clone(),
            only_even: *strategy == Strategy::Even,
            queues: patterns(queues),
        },
        Verb::Shrink { node, .. } => ReplicaRequest::Shrink { node: node.clone() },
        Verb::Rebalance { queues, .. } => ReplicaRequest::Rebalance { queues: patterns(queues) },
        Verb::QuorumStatus { queue } => ReplicaRequest::Status(queue_name(options, queue)?),
        Verb::CheckIfNodeIsQuorumCritical | Verb::AwaitOnlineQuorumPlusOne => ReplicaRequest::Critical,
        _ => return Ok(None),
    };
    Ok(Some(request.into()))
}

/// What is said before the result; `None` for other verbs.
pub(super) fn banner(verb: &Verb) -> Option<String> {
    Some(match verb {
        Verb::AddMember { queue, node, .. } => format!("Adding a member for queue {queue} on node {node}..."),
        Verb::DeleteMember { queue, node } => format!("Removing a replica of queue {queue} on node {node}..."),
        Verb::TransferLeadership { queue, node } => {
            format!("Transferring leadership of quorum queue {queue} to node {node}...")
        }
        Verb::Grow { node, strategy: Strategy::All, .. } => format!("Growing all quorum queues on {node}..."),
        Verb::Grow { node, strategy: Strategy::Even, .. } => format!("Growing even quorum queues on {node}..."),
        Verb::Shrink { node, .. } => format!("Shrinking quorum queues on {node}..."),
        Verb::Rebalance { kind, .. } if kind == "quorum" => "Re-balancing leaders of quorum queues...".to_owned(),
        Verb::Rebalance { .. } => "Re-balancing leaders of all replicated queues...".to_owned(),
        Verb::QuorumStatus { queue } => format!("Status of queue {queue} ..."),
        Verb::AwaitOnlineQuorumPlusOne => {
            "Will wait for a quorum + 1 of nodes to be online for all quorum queues ...".to_owned()
        }
        Verb::CheckIfNodeIsQuorumCritical => {
            "Checking if the node is critical for quorum of any quorum queues ...".to_owned()
        }
        _ => return None,
    })
}

/// Words the answer to a verb; or an exit code and a reason, for an answer that means a failure.
///
/// # Errors
/// The answer, if it is about something else.
pub(super) fn body(verb: &Verb, reply: AdminReply) -> Result<Result<Body, (u8, String)>, AdminReply> {
    Ok(Ok(match reply {
        AdminReply::ReplicaChanges(changes) => Body::Table(changed(&changes, verb)),
        AdminReply::Members(members) => Body::PrettyTable(members_of(&members)),
        AdminReply::Leaders(leaders) => Body::PrettyTable(leading(&leaders)),
        AdminReply::QueueNames(queues) if queues.is_empty() && matches!(verb, Verb::AwaitOnlineQuorumPlusOne) => {
            Body::Nothing
        }
        AdminReply::QueueNames(queues) if queues.is_empty() => {
            Body::Text("The node reported no quorum queues with minimum quorum".to_owned())
        }
        AdminReply::QueueNames(queues) => {
            let line = |queue: &QueueName| {
                format!("queue '{}' in vhost '{}' would lose quorum if the node is stopped", queue.name, queue.vhost)
            };
            let lines: Vec<_> = queues.iter().map(line).collect();
            return Ok(Err((exit::UNAVAILABLE, lines.join("\n"))));
        }
        other => return Err(other),
    }))
}

fn changed(changes: &[ReplicaChange], verb: &Verb) -> Table {
    let only_errors = matches!(verb, Verb::Grow { errors_only: true, .. } | Verb::Shrink { errors_only: true, .. });
    let row = |change: &ReplicaChange| {
        let ReplicaChange { queue, size, result } = change;
        let size = size.map_or_else(|| json!("?"), |size| json!(size));
        let result = result.as_ref().map_or_else(|reason| format!("error: {reason}"), |()| "ok".to_owned());
        vec![text(&queue.vhost), text(&queue.name), size, json!(result)]
    };
    let told = changes.iter().filter(|change| !only_errors || change.result.is_err());
    table(&["vhost", "name", "size", "result"], told.map(row).collect())
}

/// The columns of RabbitMQ 4.
fn members_of(members: &[MemberStatus]) -> Table {
    let row = |member: &MemberStatus| {
        let node = json!(member.node);
        let Some(state) = member.state else {
            let nothing = || json!("");
            return [node, json!("noproc")].into_iter().chain((0..7).map(|_| nothing())).collect();
        };
        vec![
            node,
            json!(if state.leads { "leader" } else { "follower" }),
            json!(if state.has_vote { "voter" } else { "promotable" }),
            json!(state.last_index),
            json!(state.written_index),
            json!(state.applied_index),
            json!(state.commit_index),
            json!(state.snapshot_index),
            json!(state.term),
        ]
    };
    let columns = [
        "Node Name",
        "Raft State",
        "Membership",
        "Last Log Index",
        "Last Written",
        "Last Applied",
        "Commit Index",
        "Snapshot Index",
        "Term",
    ];
    table(&columns, members.iter().map(row).collect())
}

fn leading(leaders: &[LeaderCount]) -> Table {
    let row = |LeaderCount { node, queues }: &LeaderCount| vec![json!(node), json!(queues)];
    table(&["Node name", "Number of quorum queues"], leaders.iter().map(row).collect())
}

fn table(columns: &[&str], rows: Vec<Vec<Value>>) -> Table {
    Table { columns: columns.iter().map(|&name| name.to_owned()).collect(), rows }
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;
    use leveret_engine::amqp::ShortStr;
    use leveret_engine::management::MemberState;

    fn shown(line: &[&str], reply: AdminReply) -> Outcome {
        parse(line).unwrap().outcome(Ok(reply))
    }

    fn named(queue: &str) -> QueueName {
        QueueName { vhost: ShortStr::truncated("/"), name: ShortStr::truncated(queue) }
    }

    #[test]
    fn changes_are_told_as_rabbitmq_queues_tells_them() {
        let change = |queue, size, result: Result<(), &str>| ReplicaChange {
            queue: named(queue),
            size,
            result: result.map_err(str::to_owned),
        };
        let all = vec![
            change("a", Some(3), Ok(())),
            change("b", Some(1), Err("the last node cannot be removed")),
            change("c", None, Err("the operation timed out and may not have been completed")),
        ];
        let Outcome { code, output, .. } = shown(&["shrink", "n@b"], AdminReply::ReplicaChanges(all.clone()));
        let expected = "Shrinking quorum queues on n@b...\nvhost\tname\tsize\tresult\n/\ta\t3\tok\n\
                        /\tb\t1\terror: the last node cannot be removed\n\
                        /\tc\t?\terror: the operation timed out and may not have been completed\n";
        assert_eq!((code, output.as_str()), (exit::OK, expected));
        let few = shown(&["-q", "grow", "n@b", "even", "--errors-only"], AdminReply::ReplicaChanges(all));
        assert!(!few.output.contains("\ta\t") && few.output.contains("\tb\t"), "{}", few.output);
    }

    #[test]
    fn members_stand_in_a_table_with_lines_unless_told_otherwise() {
        let state = MemberState {
            leads: true,
            has_vote: true,
            last_index: 9,
            written_index: 9,
            applied_index: 8,
            commit_index: 9,
            snapshot_index: 1,
            term: 2,
        };
        let members = || {
            let of = |node: &str, state| MemberStatus { node: node.to_owned(), state };
            AdminReply::Members(vec![of("n@a", Some(state)), of("n@b", None)])
        };
        let pretty = shown(&["quorum_status", "q"], members()).output;
        assert!(pretty.contains("│ Node Name │ Raft State │") && pretty.contains("│ n@b       │ noproc"), "{pretty}");
        let tabs = shown(&["-q", "quorum_status", "q", "--formatter", "table"], members()).output;
        assert!(tabs.contains("n@a\tleader\tvoter\t9\t9\t8\t9\t1\t2\n"), "{tabs}");
    }

    #[test]
    fn a_critical_node_is_a_failure() {
        let line = &["check_if_node_is_quorum_critical"];
        assert_eq!(shown(line, AdminReply::QueueNames(vec![])).code, exit::OK);
        let Outcome { code, error, .. } = shown(line, AdminReply::QueueNames(vec![named("q")]));
        assert_eq!(code, exit::UNAVAILABLE);
        assert!(error.contains("queue 'q' in vhost '/' would lose quorum"), "{error}");
    }
}

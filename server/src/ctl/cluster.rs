//! The verbs about the nodes of a cluster (RabbitMQ docs: rabbitmqctl(8), Cluster management).

use leveret_engine::management::{AdminRequest, ClusterNode, ClusterRequest, ClusterStatus};
use serde_json::{Map, Value, json};

use super::output::{Body, Outcome, Section, exit};
use super::verbs::Verb;

/// The request that a verb makes. `None` if it is about something else.
///
/// # Errors
/// What to do instead, of a verb that cannot be carried out.
pub(super) fn request(verb: &Verb) -> Result<Option<AdminRequest>, Outcome> {
    Ok(Some(match verb {
        Verb::ClusterStatus | Verb::AwaitOnlineNodes { .. } => ClusterRequest::Status.into(),
        Verb::ForgetClusterNode { node } => ClusterRequest::Forget(node.clone()).into(),
        Verb::JoinCluster { node, .. } => return Err(instead(&join(node))),
        Verb::Reset | Verb::ForceReset => return Err(instead(RESET)),
        _ => return Ok(None),
    }))
}

/// Words the answer to a verb; or an exit code and a reason, for what is not so yet.
pub(super) fn body(verb: &Verb, status: &ClusterStatus) -> Result<Body, (u8, String)> {
    match verb {
        Verb::AwaitOnlineNodes { count } => {
            let running = status.nodes.iter().filter(|node| node.is_running).count();
            if running >= usize::from(*count) {
                Ok(Body::Nothing)
            } else {
                Err((exit::UNAVAILABLE, format!("{running} of {count} nodes are online")))
            }
        }
        _ => Ok(report(status)),
    }
}

fn report(status: &ClusterStatus) -> Body {
    let ClusterStatus { node, version, protocol, alarms, name, nodes, missing, leader } = status;
    let names = |is_meant: fn(&ClusterNode) -> bool| -> Vec<String> {
        let mut names: Vec<_> = nodes.iter().filter(|node| is_meant(node)).map(|node| node.name.clone()).collect();
        names.sort();
        names
    };
    let (all, running, voting) = (names(|_| true), names(|node| node.is_running), names(|node| node.has_vote));
    let status = |node: &ClusterNode| if node.is_drained { "under maintenance" } else { "not under maintenance" };
    let maintenance: Vec<String> =
        nodes.iter().map(|node| format!("Node: {}, status: {}", node.name, status(node))).collect();
    let drained = names(|node| node.is_drained);
    let short: Vec<String> =
        alarms.iter().map(|(node, resource)| format!("{} alarm on node {node}", resource.name())).collect();
    let alarms: Vec<Value> =
        alarms.iter().map(|(node, resource)| json!({ "node": node, "resource": resource.name() })).collect();
    let section = |title, lines: &[String]| Section {
        title,
        lines: if lines.is_empty() { vec!["(none)".to_owned()] } else { lines.to_vec() },
    };
    let mut versions = vec![format!("{node}: Leveret {version}")];
    versions.extend(protocol.map(|protocol| format!("between all nodes: protocol version {protocol}")));
    let mut sections = vec![
        section("Basics", &[format!("Node name: {node}"), format!("Cluster name: {name}")]),
        section("Disk Nodes", &all),
        section("Running Nodes", &running),
        section("Voting Nodes", &voting),
        section("Leader", leader.as_slice()),
        section("Versions", &versions),
        section("Alarms", &short),
        section("Maintenance status", &maintenance),
    ];
    if !missing.is_empty() {
        sections.push(section("Nodes that are configured and have not joined", missing));
    }
    let of_programs: Map<_, _> = [(node.clone(), json!({ "leveret_version": version }))].into_iter().collect();
    let document = json!({
        "node": node,
        "cluster_name": name,
        "disk_nodes": all,
        "ram_nodes": [],
        "running_nodes": running,
        "voting_nodes": voting,
        "missing_nodes": missing,
        "leader": leader,
        "partitions": {},
        "versions": Value::Object(of_programs),
        "protocol_version": protocol,
        "alarms": alarms,
        "nodes_under_maintenance": drained,
    });
    Body::Report(sections, document)
}

fn join(node: &str) -> String {
    format!(
        "a node joins its cluster when it starts. Stop this one, name {node} and the cluster's secret in its configuration file, and start \
         it with an empty data directory:\n\n  cluster_formation.classic_config.nodes.1 = {node}\n  cluster.secret_file = FILE"
    )
}

const RESET: &str = "a node is not reset while it runs. Stop it and move its data directory away; it begins anew at the next start. If it was \
                     in a cluster and is not to come back, run forget_cluster_node on another node";

fn instead(text: &str) -> Outcome {
    Outcome::failure(exit::UNAVAILABLE, format!("Error:\n{text}\n"))
}

#[cfg(test)]
mod tests {
    use super::super::{Plan, parse};
    use super::*;
    use leveret_engine::management::AdminReply;

    fn status() -> ClusterStatus {
        let node = |name: &str, is_running, has_vote| ClusterNode {
            name: name.to_owned(),
            is_running,
            has_vote,
            is_drained: !has_vote,
        };
        ClusterStatus {
            node: "a@one".to_owned(),
            version: "0.1.0",
            protocol: Some(2),
            alarms: Vec::new(),
            name: "east".to_owned(),
            nodes: vec![node("a@one", true, true), node("b@two", true, false), node("c@three", false, true)],
            missing: vec!["d@four".to_owned()],
            leader: Some("a@one".to_owned()),
        }
    }

    fn shown(line: &[&str]) -> Outcome {
        parse(line).unwrap().outcome(Ok(AdminReply::Cluster(Box::new(status()))))
    }

    #[test]
    fn the_status_looks_like_rabbitmqctls() {
        let Outcome { code, output, .. } = shown(&["cluster_status"]);
        assert_eq!(code, exit::OK);
        assert!(
            output.starts_with("Cluster status of the node ...\nBasics\n\nNode name: a@one\nCluster name: east\n\n"),
            "{output}"
        );
        assert!(
            output.contains("Disk Nodes\n\na@one\nb@two\nc@three\n\nRunning Nodes\n\na@one\nb@two\n\n"),
            "{output}"
        );
        let versions = "Versions\n\na@one: Leveret 0.1.0\nbetween all nodes: protocol version 2\n\n";
        assert!(output.contains(versions), "{output}");
        assert!(output.contains("Alarms\n\n(none)\n\n") && output.contains("have not joined\n\nd@four\n"), "{output}");
        let json: Value = serde_json::from_str(&shown(&["cluster_status", "--formatter", "json"]).output).unwrap();
        assert_eq!(json["nodes_under_maintenance"], json!(["b@two"]));
        assert!(
            output.contains("Node: b@two, status: under maintenance\nNode: c@three, status: not under"),
            "{output}"
        );
        assert_eq!(json["running_nodes"], json!(["a@one", "b@two"]));
        assert_eq!(json["versions"]["a@one"]["leveret_version"], "0.1.0");
    }

    #[test]
    fn nodes_are_waited_for() {
        assert!(parse(["await_online_nodes", "2"]).unwrap().waits_for_broker());
        assert_eq!(shown(&["await_online_nodes", "2"]).code, exit::OK);
        let few = shown(&["await_online_nodes", "3"]);
        assert!(few.code == exit::UNAVAILABLE && few.error.contains("2 of 3 nodes"), "{few:?}");
    }

    #[test]
    fn what_cannot_be_done_says_what_to_do_instead() {
        for (line, hint) in [
            (&["join_cluster", "a@one"][..], "nodes.1 = a@one"),
            (&["reset"], "move its data directory away"),
            (&["force_reset"], "forget_cluster_node"),
        ] {
            let Plan::Done(outcome) = parse(line).unwrap().plan(None) else { panic!("{line:?} is asked for") };
            assert!(outcome.code == exit::UNAVAILABLE && outcome.error.contains(hint), "{outcome:?}");
        }
    }
}

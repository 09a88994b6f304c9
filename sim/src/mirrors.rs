//! Policies by which classic queues are on several nodes: an operator sets them once the cluster is there, and the clients of these
//! queues come when that is done.

use std::collections::BTreeMap;

use leveret_engine::ids::AdminId;
use leveret_engine::input::Input;
use leveret_engine::management::{AdminAnswer, PolicyInfo, PolicyRequest};
use leveret_engine::metadata::PolicyKind;
use serde_json::json;

use crate::clock::{Micros, SECOND};
use crate::nodes::At;
use crate::plan::Plan;
use crate::world::World;

/// Their requests have numbers from here on.
const FIRST_ID: u64 = 1 << 40;
/// After so long without an answer they are made again.
const PATIENCE: Micros = 2 * SECOND;
/// The version of the cluster by which queues can be on several nodes.
const VERSION: u16 = 3;

/// Policies that are to be set.
#[derive(Debug, Default)]
pub(crate) struct Mirrors {
    /// The queues whose policy is not known to be there, by the number of the request: each with how many nodes.
    missing: BTreeMap<u64, (String, u32)>,
    asked_at: Option<Micros>,
}

impl Mirrors {
    /// Those of a plan.
    pub(crate) fn new(plan: &Plan) -> Self {
        let queues = plan.topology.queues.iter().filter(|queue| queue.is_shared(plan.node_count()));
        let mirrored = queues.filter_map(|queue| Some((queue.name.clone(), queue.rules.mirrors?)));
        Self { missing: (FIRST_ID..).zip(mirrored).collect(), asked_at: None }
    }
}

impl World {
    /// Whether a queue that a client of this node declares is on as many nodes as it is to be. If not, an operator sees to it.
    pub(crate) fn has_mirrors(&mut self, at: At) -> bool {
        if self.mirrors.missing.is_empty() && self.mirrors.asked_at.is_none() {
            return true;
        }
        let engine = self.nodes[at].engine.as_ref().filter(|_| self.nodes[at].is_accepting());
        if engine.is_none_or(|engine| engine.cluster_version() < VERSION) {
            return false;
        }
        let now = self.scheduler.time();
        if self.mirrors.missing.is_empty() {
            return true;
        }
        if self.mirrors.asked_at.is_none_or(|asked| asked + PATIENCE <= now) {
            self.mirrors.asked_at = Some(now);
            for (id, (queue, count)) in self.mirrors.missing.clone() {
                let policy = PolicyInfo {
                    vhost: "/".to_owned(),
                    name: queue.clone(),
                    pattern: format!("^{}$", queue.replace('.', "\\.")),
                    apply_to: "classic_queues".to_owned(),
                    definition: match count {
                        0 => [("ha-mode".to_owned(), json!("all"))].into_iter().collect(),
                        count => [("ha-mode".to_owned(), json!("exactly")), ("ha-params".to_owned(), json!(count))]
                            .into_iter()
                            .collect(),
                    },
                    priority: 0,
                };
                let request = PolicyRequest::Set { kind: PolicyKind::User, policy };
                self.input(at, Input::Admin { id: AdminId(id), request: Box::new(request.into()) });
            }
        }
        self.mirrors.missing.is_empty()
    }

    /// What the operator was answered; whether it was about these policies.
    pub(crate) fn mirrors_told(&mut self, answer: &AdminAnswer) -> bool {
        if answer.id.0 < FIRST_ID {
            return false;
        }
        if answer.reply.is_ok() {
            self.mirrors.missing.remove(&answer.id.0);
        }
        true
    }
}

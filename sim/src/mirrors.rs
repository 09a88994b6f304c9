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
use crate::world::{Event, World};

/// Their requests have numbers from here on.
const FIRST_ID: u64 = 1 << 40;
/// After so long without an answer they are made again.
const PATIENCE: Micros = 2 * SECOND;
/// Those that come later have numbers from here on.
const FIRST_LATER_ID: u64 = 1 << 41;
/// The version of the cluster by which queues can be on several nodes.
const VERSION: u16 = 3;

/// Policies that are to be set.
#[derive(Debug, Default)]
pub(crate) struct Mirrors {
    /// The queues whose policy is not known to be there, by the number of the request: each with how many nodes.
    missing: BTreeMap<u64, (String, u32)>,
    asked_at: Option<Micros>,
    /// Those whose policy is to come later and is not known to be there.
    later: BTreeMap<u64, (String, u32)>,
}

impl Mirrors {
    /// Those of a plan.
    pub(crate) fn new(plan: &Plan) -> Self {
        let queues = plan.topology.queues.iter().filter(|queue| queue.is_shared(plan.node_count()));
        let mirrored = queues.filter_map(|queue| Some((queue.name.clone(), queue.rules.mirrors?)));
        let later = plan.topology.queues.iter();
        let later = later.filter_map(|queue| Some((queue.name.clone(), queue.rules.mirrored_later?.1)));
        let (missing, later) = ((FIRST_ID..).zip(mirrored), (FIRST_LATER_ID..).zip(later));
        Self { missing: missing.collect(), asked_at: None, later: later.collect() }
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
                self.ask_for_mirrors(at, id, &queue, count);
            }
        }
        self.mirrors.missing.is_empty()
    }

    /// An operator sets the policies that are due by now, and does so again until he hears that it is done.
    pub(crate) fn mirror_later(&mut self, index: u32) {
        let id = FIRST_LATER_ID + u64::from(index);
        let Some((queue, count)) = self.mirrors.later.get(&id).cloned() else { return };
        let is_asked = |at: &At| self.nodes[*at].is_accepting() && self.nodes[*at].held.is_none();
        if let Some(at) = (0..self.plan.node_count()).map(At::new).find(is_asked) {
            self.ask_for_mirrors(at, id, &queue, count);
        }
        let again = self.scheduler.time() + PATIENCE;
        self.scheduler.at(again, Event::Mirror(index));
    }

    fn ask_for_mirrors(&mut self, at: At, id: u64, queue: &str, count: u32) {
        let policy = PolicyInfo {
            vhost: "/".to_owned(),
            name: queue.to_owned(),
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

    /// What the operator was answered; whether it was about these policies.
    pub(crate) fn mirrors_told(&mut self, answer: &AdminAnswer) -> bool {
        if answer.id.0 < FIRST_ID {
            return false;
        }
        if answer.reply.is_ok() {
            self.mirrors.missing.remove(&answer.id.0);
            self.mirrors.later.remove(&answer.id.0);
        }
        true
    }
}

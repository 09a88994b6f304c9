//! Which policies apply to which queue and exchange, and what that sets.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::policy::{JsonMap, PolicyTarget, best, merged};
use super::{Change, Changes, Metadata, PolicyKind, Vhost, VhostKey};
use crate::amqp::ShortStr;

/// The policies that apply to one queue or exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedPolicies {
    /// The name of the policy.
    pub policy: Option<ShortStr>,
    /// The name of the operator policy.
    pub operator_policy: Option<ShortStr>,
    /// What both set together (RabbitMQ docs: Policies / effective policy definition).
    pub definition: JsonMap,
}

impl Vhost {
    /// The policies that apply to an object; `None` if none does.
    pub(super) fn policies_for(&self, target: PolicyTarget, name: &[u8]) -> Option<Box<AppliedPolicies>> {
        let policy = best(self.policies(PolicyKind::User), target, name);
        // Operator policies are for queues only: none of their keys means anything to an exchange.
        let operator =
            best(self.policies(PolicyKind::Operator), target, name).filter(|_| target != PolicyTarget::Exchange);
        if policy.is_none() && operator.is_none() {
            return None;
        }
        Some(Box::new(AppliedPolicies {
            policy: policy.map(|policy| policy.name.clone()),
            operator_policy: operator.map(|policy| policy.name.clone()),
            definition: merged(policy.map(|policy| &policy.definition), operator.map(|policy| &policy.definition)),
        }))
    }
}

impl Metadata {
    /// What applies is what would be found.
    pub(super) fn check_policy_invariants(&self) {
        for queue in self.queues.values() {
            let found = self.vhosts[queue.vhost].policies_for(queue.policy_target(), queue.name.as_bytes());
            assert_eq!(found, queue.policies, "queue {} has the policies that are for it", queue.name);
        }
        for exchange in self.exchanges.values() {
            let found = self.vhosts[exchange.vhost].policies_for(PolicyTarget::Exchange, exchange.name.as_bytes());
            assert_eq!(found, exchange.policies, "exchange {} has the policies that are for it", exchange.name);
        }
    }

    /// Finds the policies of all objects of a vhost again, after these have changed.
    pub(super) fn apply_policies(&mut self, vhost: VhostKey, changes: &mut Changes) {
        let record = &self.vhosts[vhost];
        let queues = self.queues().into_iter().filter(|(_, queue)| queue.vhost == vhost);
        let queues: Vec<_> = queues
            .filter_map(|(key, queue)| {
                let policies = record.policies_for(queue.policy_target(), queue.name.as_bytes());
                (policies != queue.policies).then_some((key, policies))
            })
            .collect();
        let exchanges = self.exchanges.iter().filter(|(_, exchange)| exchange.vhost == vhost);
        let exchanges: Vec<_> = exchanges
            .filter_map(|(key, exchange)| {
                let policies = record.policies_for(PolicyTarget::Exchange, exchange.name.as_bytes());
                (policies != exchange.policies).then_some((key, policies))
            })
            .collect();
        for (key, policies) in queues {
            let queue = &mut self.queues[key];
            queue.policies = policies;
            if queue.merge_settings() {
                changes.list.push(Change::QueueSettings(key));
            }
        }
        for (key, policies) in exchanges {
            let exchange = &mut self.exchanges[key];
            exchange.policies = policies;
            exchange.merge_settings();
            self.version += 1;
        }
    }
}

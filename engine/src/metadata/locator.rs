//! Where the leader of a queue is at first, or a classic queue as long as it is there (RabbitMQ docs: Quorum Queues / Leader Placement,
//! Classic Queues / Queue Leader Location).

use super::Metadata;
use super::policy::{JsonMap, PolicyTarget};
use crate::amqp::ShortStr;
use crate::queue::QueueKind;

/// How that node is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LeaderLocator {
    /// It is the node on which the queue is declared.
    #[default]
    ClientLocal,
    /// It is the one that leads the fewest queues.
    Balanced,
}

impl LeaderLocator {
    /// What is called like that. `random`, `least-leaders` and, of classic queues, `min-masters` are what RabbitMQ had before `balanced`,
    /// and mean that.
    pub fn named(name: &[u8]) -> Option<Self> {
        match name {
            b"client-local" => Some(Self::ClientLocal),
            b"balanced" | b"random" | b"least-leaders" | b"min-masters" => Some(Self::Balanced),
            _ => None,
        }
    }
}

/// What was said by its name of today, and by its former one, which counts less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Locators {
    /// `queue-leader-locator`.
    pub leader: Option<LeaderLocator>,
    /// `queue-master-locator`.
    pub master: Option<LeaderLocator>,
}

impl Locators {
    fn of(definition: &JsonMap) -> Self {
        let key = |key: &str| definition.get(key)?.as_str().and_then(|name| LeaderLocator::named(name.as_bytes()));
        Self { leader: key("queue-leader-locator"), master: key("queue-master-locator") }
    }

    /// What holds, where `other` counts less than this.
    pub(crate) fn over(self, other: Self) -> Option<LeaderLocator> {
        self.leader.or(other.leader).or(self.master).or(other.master)
    }
}

impl Metadata {
    /// What policies say of a queue that is to be declared.
    pub(crate) fn locators_of(&self, vhost: &ShortStr, name: &ShortStr, kind: QueueKind) -> Locators {
        let vhost = self.vhost(vhost.as_bytes()).and_then(|key| self.vhost_by_key(key));
        let target = match kind {
            QueueKind::Classic => PolicyTarget::ClassicQueue,
            QueueKind::Quorum => PolicyTarget::QuorumQueue,
        };
        let policies = vhost.and_then(|vhost| vhost.policies_for(target, name.as_bytes()));
        policies.map(|policies| Locators::of(&policies.definition)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: Option<LeaderLocator> = Some(LeaderLocator::ClientLocal);
    const BALANCED: Option<LeaderLocator> = Some(LeaderLocator::Balanced);

    #[test]
    fn policies_have_two_names_for_it() {
        let check = |json: &str, leader, master| {
            let definition: JsonMap = serde_json::from_str(json).unwrap();
            assert_eq!(Locators::of(&definition), Locators { leader, master }, "{json}");
        };
        check("{}", None, None);
        check(r#"{"queue-leader-locator":"client-local"}"#, LOCAL, None);
        check(r#"{"queue-leader-locator":"balanced","queue-master-locator":"client-local"}"#, BALANCED, LOCAL);
        check(r#"{"queue-master-locator":"min-masters"}"#, None, BALANCED);
    }

    #[test]
    fn the_name_of_today_counts_more_and_then_who_says_it() {
        let check = |leader: [_; 2], master: [_; 2], expected: Option<LeaderLocator>| {
            let [one, other] = [0, 1].map(|at| Locators { leader: leader[at], master: master[at] });
            assert_eq!(one.over(other), expected, "{leader:?} {master:?}");
        };
        check([None, None], [None, None], None);
        check([LOCAL, BALANCED], [None, None], LOCAL);
        check([None, LOCAL], [BALANCED, BALANCED], LOCAL);
        check([None, None], [BALANCED, LOCAL], BALANCED);
        check([None, None], [None, LOCAL], LOCAL);
    }
}

//! What a fault is aimed at, in words: `node`, `client 2`, `publishers`, `consumers of orders`, `leader(orders)`.

use super::error::hint;
use crate::nodes::At;
use crate::plan::{ClientPlan, Role};

/// What a fault is aimed at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// All there is of what the fault is for: the node, or all clients.
    All,
    /// The one node, or, of several, any.
    Node,
    /// The node of that letter.
    One(At),
    /// The node that leads the cluster at that time.
    ClusterLeader,
    /// The node that leads a queue: the one that it is on.
    Leader(String),
    /// One client, by its place among all.
    Client(usize),
    /// All of a kind, or those of one queue.
    Clients(Kind, Option<String>),
}

/// A kind of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Any,
    Publisher,
    Consumer,
    Getter,
}

const KINDS: [(&str, Kind); 4] =
    [("clients", Kind::Any), ("publishers", Kind::Publisher), ("consumers", Kind::Consumer), ("getters", Kind::Getter)];

const WORDS: [&str; 10] = [
    "all",
    "node",
    "node a",
    "leader",
    "leader(QUEUE)",
    "client 0",
    "clients",
    "publishers",
    "consumers of QUEUE",
    "getters",
];

/// Reads a target; a queue that it names is not looked up.
///
/// # Errors
/// With what is wrong, and what may have been meant.
pub(super) fn parse(text: &str) -> Result<Target, String> {
    let text = text.trim();
    match text {
        "all" => return Ok(Target::All),
        "node" | "node 1" => return Ok(Target::Node),
        "leader" => return Ok(Target::ClusterLeader),
        "minority" | "majority" => {
            return Err(format!(
                "a {text} is no target: take one node, as `node a`, or `[[fault]] kind = \"partition\"` with `parts`"
            ));
        }
        _ => {}
    }
    if let Some(queue) = text.strip_prefix("leader(").and_then(|rest| rest.strip_suffix(')')) {
        return Ok(Target::Leader(queue.trim().to_owned()));
    }
    if let Some(letter) = text.strip_prefix("node ") {
        let at = At::of_letter(letter.trim());
        return at.map(Target::One).ok_or_else(|| "nodes are called a, b, c and so on: `node b`".to_owned());
    }
    if text.starts_with("follower(") {
        return Err("queues have no followers yet: take a node, as `node b`".to_owned());
    }
    if let Some(number) = text.strip_prefix("client ") {
        let number = number.trim().parse();
        return number.map(Target::Client).map_err(|_| "clients are numbered from 0: `client 0`".to_owned());
    }
    let (word, queue) = match [" of ", " to "].iter().find_map(|it| text.split_once(it)) {
        Some((word, queue)) => (word.trim(), Some(queue.trim().to_owned())),
        None => (text, None),
    };
    let kind = KINDS.iter().find(|(name, _)| *name == word);
    let kind = kind.ok_or_else(|| format!("nothing to aim at is called \"{text}\"{}", hint(text, WORDS)))?;
    Ok(Target::Clients(kind.1, queue))
}

impl Target {
    /// The queue it names.
    pub(super) fn queue(&self) -> Option<&str> {
        match self {
            Self::Leader(queue) | Self::Clients(_, Some(queue)) => Some(queue),
            _ => None,
        }
    }

    /// Whether the node can be meant.
    pub(super) fn may_be_node(&self) -> bool {
        matches!(self, Self::All | Self::Node | Self::One(_) | Self::ClusterLeader | Self::Leader(_))
    }

    /// The places of the clients that are meant; `queues` are the names that the queue stands for.
    pub(super) fn clients(&self, clients: &[ClientPlan], queues: &[String]) -> Vec<usize> {
        let is_meant = |index: usize, client: &ClientPlan| match self {
            Self::All => true,
            Self::Node | Self::One(_) | Self::ClusterLeader | Self::Leader(_) => false,
            Self::Client(number) => index == *number,
            Self::Clients(kind, queue) => is_of(*kind, &client.role) && (queue.is_none() || uses(&client.role, queues)),
        };
        (0..clients.len()).filter(|&index| is_meant(index, &clients[index])).collect()
    }
}

fn is_of(kind: Kind, role: &Role) -> bool {
    match kind {
        Kind::Any => true,
        Kind::Publisher => matches!(role, Role::Publisher(_)),
        Kind::Consumer => matches!(role, Role::Consumer(_)),
        Kind::Getter => matches!(role, Role::Getter(_)),
    }
}

/// Whether a client has to do with one of these queues.
fn uses(role: &Role, queues: &[String]) -> bool {
    match role {
        Role::Publisher(plan) => plan.bursts.iter().any(|burst| queues.contains(&burst.key)),
        Role::Consumer(plan) => queues.contains(&plan.queue.name),
        Role::Getter(plan) => queues.contains(&plan.queue),
        Role::Churner(_) | Role::Rogue(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_as_they_are_said() {
        assert_eq!(parse("leader(orders)"), Ok(Target::Leader("orders".to_owned())));
        assert_eq!(parse("client 2"), Ok(Target::Client(2)));
        assert_eq!(parse("consumers of orders"), Ok(Target::Clients(Kind::Consumer, Some("orders".to_owned()))));
        assert_eq!(parse("all"), Ok(Target::All));
    }

    #[test]
    fn nodes_are_called_by_their_letters() {
        assert!(parse("minority").unwrap_err().contains("parts"));
        assert!(parse("node 2").unwrap_err().contains("node b"));
        assert_eq!(parse("node b"), Ok(Target::One(At::new(1))));
        assert_eq!(parse("leader"), Ok(Target::ClusterLeader));
        assert!(parse("publsihers").unwrap_err().contains("did you mean `publishers`"));
    }
}

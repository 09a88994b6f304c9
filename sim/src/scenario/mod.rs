//! Scenario files: what kind of runs to make. A seed then chooses one.
//!
//! A scenario has drawn parts, of which each seed takes another share, and parts written by hand: these queues, these clients, this
//! fault after the third confirm. `scenarios/README.md` describes the format, `scenarios/schema.json` is its schema.

mod check;
mod drawn;
mod error;
mod hand;
mod kinds;
mod load;
pub(crate) mod make;
mod moment;
#[cfg(test)]
mod schema;
mod target;
mod value;

use serde::Deserialize;
use toml::Spanned;

pub use self::drawn::{ClientSpec, FaultSpec, Feature, KnobSpec, RunSpec, Span, StorySpec};
pub use self::hand::{
    BindingSpec, ClientByHand, ClientKind, ClusterSpec, Deed, ExchangeSpec, ExchangeType, ExpectSpec, FarSpec,
    FaultByHand, HaMode, NemesisSpec, NodeSpec, Overflow, PhaseSpec, QueueSpec, QueueType, Strategy,
};
pub use self::value::{Pair, Rate, Share, Time};

/// A scenario as written in its file.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Its name: that of its file.
    pub name: String,
    /// What it is about, in a sentence.
    pub about: String,
    /// Lengths.
    #[serde(default)]
    pub run: RunSpec,
    /// Who takes part, drawn.
    #[serde(default)]
    pub clients: ClientSpec,
    /// What goes wrong, drawn.
    #[serde(default)]
    pub faults: FaultSpec,
    /// Settings that are not drawn.
    #[serde(default)]
    pub knobs: KnobSpec,
    /// What queues with rules may be asked for. With it, all clients are those of a story.
    #[serde(default)]
    pub story: StorySpec,
    /// The node, or each of them.
    #[serde(default)]
    pub node: NodeSpec,
    /// Several nodes.
    #[serde(default)]
    pub cluster: ClusterSpec,
    /// Queues, by hand.
    #[serde(default)]
    pub queue: Vec<QueueSpec>,
    /// Exchanges, by hand.
    #[serde(default)]
    pub exchange: Vec<ExchangeSpec>,
    /// Bindings, by hand.
    #[serde(default)]
    pub binding: Vec<BindingSpec>,
    /// Clients, by hand; they are numbered from 0, after those that are drawn.
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "Vec<ClientByHand>"))]
    pub client: Vec<Spanned<ClientByHand>>,
    /// Faults, by hand.
    #[serde(default)]
    pub fault: Vec<FaultByHand>,
    /// Faults that come again and again.
    #[serde(default)]
    pub nemesis: Vec<NemesisSpec>,
    /// Phases.
    #[serde(default)]
    pub phases: PhaseSpec,
    /// What is expected.
    #[serde(default)]
    pub expect: ExpectSpec,
}

impl Scenario {
    /// Whether its queues or messages have rules, so that it is judged message by message instead of by the exact model.
    pub(crate) fn is_story(&self) -> bool {
        !self.story.features.is_empty()
            || self.queue.iter().any(|queue| queue.has_rules() && !self.is_shared(queue))
            || self.exchange.iter().any(|exchange| exchange.kind == ExchangeType::Delayed)
            || self.client.iter().any(|client| client.as_ref().has_rules())
    }

    /// Whether clients of all nodes use a queue.
    pub(crate) fn is_shared(&self, queue: &QueueSpec) -> bool {
        self.is_replicated(queue) || (self.nodes_max() > 1 && queue.remote)
    }

    /// Whether a queue has replicas on several nodes from the first.
    pub(crate) fn is_replicated(&self, queue: &QueueSpec) -> bool {
        let is_mirrored = queue.ha_mode.is_some() && queue.ha_after.is_none();
        self.nodes_max() > 1 && (queue.queue_type == QueueType::Quorum || is_mirrored)
    }

    /// The most nodes that one of its runs has.
    pub(crate) fn nodes_max(&self) -> usize {
        self.cluster.nodes.as_ref().map_or(1, |nodes| nodes.as_ref().1 as usize)
    }

    /// The fewest nodes that a run can have.
    pub(crate) fn nodes_min(&self) -> usize {
        self.cluster.nodes.as_ref().map_or(1, |nodes| nodes.as_ref().0 as usize)
    }

    /// Situations that have to come up in some run, by their names.
    pub fn required_marks(&self) -> impl Iterator<Item = &str> {
        self.expect.sometimes.iter().map(|name| &**name.as_ref())
    }

    /// The promise that some run has to break, if it is a negative scenario.
    pub fn expected_failure(&self) -> Option<&str> {
        self.expect.fails.as_ref().map(|name| &**name.as_ref())
    }

    /// Why this program cannot run it, if it cannot: it plants a bug, and the program was built without them.
    pub fn unavailable(&self) -> Option<String> {
        let plant = self.node.plant.as_ref().filter(|_| !cfg!(feature = "mutants"))?;
        Some(format!("it plants the bug {}, which takes a program built with `--features mutants`", plant.as_ref()))
    }
}

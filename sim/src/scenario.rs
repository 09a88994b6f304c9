//! Scenario files: what kind of runs to make. A seed then chooses one.
//!
//! The format is small on purpose. Counts are pairs, the least and the most; what is left out is none.

use serde::Deserialize;

use crate::rng::Stream;

/// The least and the most of something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Span(pub u64, pub u64);

impl Span {
    /// A number in the span; draws nothing where there is no choice.
    pub(crate) fn draw(self, stream: &mut Stream) -> u64 {
        if self.0 >= self.1 { self.0 } else { stream.range(self.0, self.1) }
    }
}

/// A scenario as written in its file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// What it is about, in a sentence.
    pub about: String,
    /// Lengths.
    #[serde(default)]
    pub run: RunSpec,
    /// Who takes part.
    pub clients: ClientSpec,
    /// What goes wrong.
    #[serde(default)]
    pub faults: FaultSpec,
    /// Settings that are not drawn.
    #[serde(default)]
    pub knobs: KnobSpec,
    /// What queues with rules may be asked for. With it, all clients are those of a story.
    #[serde(default)]
    pub story: StorySpec,
}

/// What queues with rules may be asked for; each queue of each seed gets some of it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StorySpec {
    /// What may be drawn. Nothing makes no story.
    pub features: Vec<Feature>,
}

/// One thing that a queue, or its messages, may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Feature {
    /// `x-message-ttl`.
    MessageTtl,
    /// `expiration` of messages.
    Expiration,
    /// `x-max-length`, dropping the oldest.
    MaxLength,
    /// `x-max-length`, refusing the newest.
    RejectPublish,
    /// A dead-letter exchange, at most once.
    DeadLetter,
    /// A dead-letter exchange, at least once.
    AtLeastOnce,
    /// Dead letters come back after a while.
    Loop,
    /// Consumers reject some.
    Reject,
    /// `x-max-priority`.
    Priority,
    /// `x-single-active-consumer`.
    SingleActive,
    /// `x-delivery-limit`.
    DeliveryLimit,
    /// `x-consumer-timeout`, with consumers that are slower.
    ConsumerTimeout,
    /// `x-queue-type` quorum.
    Quorum,
    /// An exchange that holds messages back.
    Delayed,
    /// Consumers come and go all the time.
    Churn,
    /// Consumers have priorities.
    ConsumerPriority,
    /// A policy limits the queues' length, and no longer does.
    Policy,
}

/// Lengths of a run.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunSpec {
    /// Milliseconds of the phase with faults.
    pub chaos_ms: Span,
    /// Milliseconds within which everything must come to rest.
    pub settle_ms: u64,
    /// Whether faults go beyond what one node can survive.
    pub beyond_claim: bool,
    /// The one seed it is about; without it, any.
    pub seed: Option<u64>,
}

impl Default for RunSpec {
    fn default() -> Self {
        Self { chaos_ms: Span(1500, 4000), settle_ms: 240_000, beyond_claim: false, seed: None }
    }
}

/// Who takes part.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClientSpec {
    /// Publishers with confirms.
    pub confirming: Span,
    /// Publishers without.
    pub plain: Span,
    /// Publishers with transactions.
    pub transacting: Span,
    /// Consumers of the shared queues.
    pub consumers: Span,
    /// Consumers with queues of their own: exclusive, auto-delete, transient.
    pub private: Span,
    /// Pollers.
    pub getters: Span,
    /// Those who change the topology.
    pub churners: Span,
    /// Those who break the rules.
    pub rogues: Span,
    /// Whether there is a consistent hash exchange, from which those who change the topology bind and unbind.
    pub consistent_hash: bool,
    /// Shared queues.
    pub queues: Span,
    /// Messages per publisher.
    pub messages: Span,
    /// Bytes of the largest body; 0 leaves it to the seed.
    pub body_max: u64,
    /// Bodies look like the log's own bytes.
    pub hostile_bodies: bool,
    /// Consumers start so many milliseconds late.
    pub consumers_late_ms: Span,
}

/// What goes wrong: how often.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FaultSpec {
    /// The process is killed.
    pub kill: Span,
    /// The machine loses power.
    pub power_loss: Span,
    /// The node is stopped in order.
    pub shutdown: Span,
    /// Times that each of these repeats during the recovery after it.
    pub again: Span,
    /// No space for new segments, or for anything.
    pub disk_full: Span,
    /// A sync fails.
    pub fsync_error: Span,
    /// The disk does nothing for a while.
    pub disk_stall: Span,
    /// The disk is slow for a while.
    pub disk_slow: Span,
    /// A connection is reset.
    pub reset: Span,
    /// A socket is closed without a word.
    pub fin: Span,
    /// A client's machine vanishes.
    pub half_open: Span,
    /// A client stops reading for a while.
    pub stop_reading: Span,
    /// A client's link is slow for a while.
    pub slow_link: Span,
    /// Memory is short for a while.
    pub memory_high: Span,
    /// Free disk space is short for a while.
    pub disk_low: Span,
    /// Reads fail; beyond the claim.
    pub read_errors: Span,
    /// A durable bit turns; beyond the claim.
    pub rot: Span,
}

/// Settings that a scenario fixes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KnobSpec {
    /// See [`crate::plan::Knobs`].
    pub segment_bytes: Option<u64>,
    /// See [`crate::plan::Knobs`].
    pub slack_bytes: Option<u64>,
    /// See [`crate::plan::Knobs`].
    pub queue_cache_bytes: Option<u64>,
    /// See [`crate::plan::Knobs`].
    pub memory_high_bytes: Option<u64>,
    /// See [`crate::plan::Knobs`].
    pub outbox_high_bytes: Option<u64>,
    /// Milliseconds; see [`crate::plan::Knobs`].
    pub sync_interval_ms: Option<u64>,
    /// Seconds between heartbeats of every client.
    pub heartbeat_s: Option<u16>,
    /// Whether every client has a link of moderate habits, and inputs are not batched: for measuring speed.
    pub plain_links: bool,
}

/// The scenarios that are part of the program, by name.
const BUILT_IN: &[(&str, &str)] = &[
    ("steady", include_str!("../../scenarios/fast/steady.toml")),
    ("power-loss", include_str!("../../scenarios/fast/power-loss.toml")),
    ("kill-loop", include_str!("../../scenarios/fast/kill-loop.toml")),
    ("crash-during-recovery", include_str!("../../scenarios/fast/crash-during-recovery.toml")),
    ("full-disk", include_str!("../../scenarios/fast/full-disk.toml")),
    ("fsync-error", include_str!("../../scenarios/fast/fsync-error.toml")),
    ("slow-disk", include_str!("../../scenarios/fast/slow-disk.toml")),
    ("connection-resets", include_str!("../../scenarios/fast/connection-resets.toml")),
    ("slow-reader", include_str!("../../scenarios/fast/slow-reader.toml")),
    ("half-open", include_str!("../../scenarios/fast/half-open.toml")),
    ("big-backlog", include_str!("../../scenarios/fast/big-backlog.toml")),
    ("tx", include_str!("../../scenarios/fast/tx.toml")),
    ("churn", include_str!("../../scenarios/fast/churn.toml")),
    ("everything", include_str!("../../scenarios/fast/everything.toml")),
    ("unacked-owners", include_str!("../../scenarios/fast/unacked-owners.toml")),
    ("hostile-bodies", include_str!("../../scenarios/fast/hostile-bodies.toml")),
    ("redeclare", include_str!("../../scenarios/fast/redeclare.toml")),
    ("routing-churn", include_str!("../../scenarios/fast/routing-churn.toml")),
    ("consumer-churn", include_str!("../../scenarios/fast/consumer-churn.toml")),
    ("every-publish-answered", include_str!("../../scenarios/fast/every-publish-answered.toml")),
    ("dead-letters", include_str!("../../scenarios/fast/dead-letters.toml")),
    ("takeover", include_str!("../../scenarios/fast/takeover.toml")),
    ("consistent-hash", include_str!("../../scenarios/fast/consistent-hash.toml")),
    ("single-active", include_str!("../../scenarios/fast/single-active.toml")),
    ("expiry", include_str!("../../scenarios/fast/expiry.toml")),
    ("length-limits", include_str!("../../scenarios/fast/length-limits.toml")),
    ("priorities", include_str!("../../scenarios/fast/priorities.toml")),
    ("dead-letter-loops", include_str!("../../scenarios/fast/dead-letter-loops.toml")),
    ("delayed", include_str!("../../scenarios/fast/delayed.toml")),
    ("consumer-timeouts", include_str!("../../scenarios/fast/consumer-timeouts.toml")),
    ("delivery-limits", include_str!("../../scenarios/fast/delivery-limits.toml")),
    ("policies", include_str!("../../scenarios/fast/policies.toml")),
    ("alarms", include_str!("../../scenarios/fast/alarms.toml")),
    ("bit-rot", include_str!("../../scenarios/fast/bit-rot.toml")),
];

/// Runs in which something was wrong once, each with its seed.
const REGRESSIONS: &[(&str, &str)] = &[
    ("queue-gone-under-its-delivery", include_str!("../../scenarios/regressions/queue-gone-under-its-delivery.toml")),
    ("exclusive-queue-handed-on", include_str!("../../scenarios/regressions/exclusive-queue-handed-on.toml")),
    ("purge-behind-a-closed-channel", include_str!("../../scenarios/regressions/purge-behind-a-closed-channel.toml")),
    ("commit-into-a-new-queue", include_str!("../../scenarios/regressions/commit-into-a-new-queue.toml")),
    ("place-given-again", include_str!("../../scenarios/regressions/place-given-again.toml")),
    ("queue-gone-before-a-publish", include_str!("../../scenarios/regressions/queue-gone-before-a-publish.toml")),
    ("requeue-behind-a-redeclare", include_str!("../../scenarios/regressions/requeue-behind-a-redeclare.toml")),
    ("slow-then-fast", include_str!("../../scenarios/regressions/slow-then-fast.toml")),
    ("shortages-in-one-moment", include_str!("../../scenarios/regressions/shortages-in-one-moment.toml")),
    ("limit-below-what-is-there", include_str!("../../scenarios/regressions/limit-below-what-is-there.toml")),
    ("expired-while-stopped", include_str!("../../scenarios/regressions/expired-while-stopped.toml")),
];

impl Scenario {
    /// Reads a scenario file's text.
    ///
    /// # Errors
    /// With the place and the reason if it is no scenario.
    pub fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    /// All scenarios that are part of the program.
    ///
    /// # Panics
    /// Never: each of them is parsed in a test.
    pub fn built_in() -> Vec<Self> {
        BUILT_IN.iter().map(|(_, text)| Self::parse(text).expect("parsed in a test")).collect()
    }

    /// Runs in which something was wrong once: scenarios of one seed.
    ///
    /// # Panics
    /// Never: each of them is parsed in a test.
    pub fn regressions() -> Vec<Self> {
        REGRESSIONS.iter().map(|(_, text)| Self::parse(text).expect("parsed in a test")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_scenario_parses_and_has_its_files_name() {
        for (name, text) in BUILT_IN {
            let scenario = Scenario::parse(text).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(&scenario.name, name);
            assert!(scenario.about.ends_with('.'), "{name}");
            assert_eq!(scenario.run.seed, None, "{name}");
        }
        for (name, text) in REGRESSIONS {
            let scenario = Scenario::parse(text).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(&scenario.name, name);
            assert!(scenario.run.seed.is_some(), "{name}");
        }
    }

    /// A file that nobody named would be run by nobody.
    #[test]
    fn every_file_is_built_in() {
        for (folder, listed) in [("fast", BUILT_IN), ("regressions", REGRESSIONS)] {
            let path = format!("{}/../scenarios/{folder}", env!("CARGO_MANIFEST_DIR"));
            let mut files: Vec<String> = std::fs::read_dir(path)
                .unwrap()
                .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
                .collect();
            files.sort();
            let mut names: Vec<&str> = listed.iter().map(|(name, _)| *name).collect();
            names.sort_unstable();
            assert_eq!(files, names, "{folder}");
        }
    }

    #[test]
    fn a_misspelt_key_is_an_error() {
        let text = "name = \"x\"\nabout = \"X.\"\n[clients]\npublishers = [1, 2]\n";
        assert!(Scenario::parse(text).unwrap_err().contains("publishers"));
    }
}

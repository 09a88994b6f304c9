//! How many nodes a policy wants a classic queue to be on (RabbitMQ docs: Classic Queue Mirroring, which its 4.0 does without).

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use serde_json::Value;

use super::policy::{JsonMap, PolicyTarget, shown};
use super::{AdminError, Metadata};
use crate::amqp::ShortStr;

/// The nodes that a classic queue is to have its replicas on: `ha-mode`, with `ha-params`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mirroring {
    /// All nodes of the cluster.
    All,
    /// So many of them, or as many as there are.
    Exactly(u32),
    /// Those of these names that there are.
    Nodes(Vec<String>),
}

impl Mirroring {
    /// What a policy says. `None` if it says nothing of it, or what means nothing.
    pub(super) fn of(definition: &JsonMap) -> Option<Self> {
        let params = definition.get("ha-params");
        match definition.get("ha-mode")?.as_str()? {
            "all" => Some(Self::All),
            "exactly" => {
                let count = params?.as_u64().filter(|count| *count > 0)?;
                Some(Self::Exactly(u32::try_from(count).unwrap_or(u32::MAX)))
            }
            "nodes" => {
                let names = params?.as_array()?.iter().map(|name| name.as_str().map(String::from));
                names.collect::<Option<Vec<_>>>().filter(|names| !names.is_empty()).map(Self::Nodes)
            }
            _ => None,
        }
    }

    /// Whether a node of this name is one of those that it is about.
    pub(crate) fn is_about(&self, name: &str) -> bool {
        match self {
            Self::All | Self::Exactly(_) => true,
            Self::Nodes(names) => names.iter().any(|other| other == name),
        }
    }

    /// On how many of them a queue is to be.
    pub(crate) fn size(&self) -> u32 {
        match self {
            Self::All | Self::Nodes(_) => u32::MAX,
            Self::Exactly(count) => *count,
        }
    }

    /// Checks that mode and parameters of a policy that is about to be set fit together. What was set before stays as it is.
    ///
    /// # Errors
    /// In RabbitMQ's words (`rabbit_mirror_queue_misc` and the modules of the modes) if they do not.
    pub fn check(definition: &JsonMap) -> Result<(), AdminError> {
        let params = definition.get("ha-params");
        let wrong = |text: String| Err(AdminError::bad_request(text));
        match (definition.get("ha-mode").and_then(Value::as_str), params) {
            (None, _) => {
                let needs_mode = ["ha-params", "ha-sync-mode", "ha-sync-batch-size"];
                let needs_mode = needs_mode.iter().chain(&["ha-promote-on-shutdown", "ha-promote-on-failure"]);
                if needs_mode.into_iter().any(|key| definition.contains_key(*key)) {
                    let text = "ha-mode must be specified to specify ha-params, ha-sync-mode or ha-promote-on-shutdown";
                    return wrong(text.into());
                }
                Ok(())
            }
            (Some("all"), Some(_)) => wrong("ha-mode=\"all\" does not take parameters".into()),
            (Some("exactly"), Some(Value::Number(count))) if count.as_u64().is_some_and(|count| count > 0) => Ok(()),
            (Some("exactly"), params) => wrong(format!(
                "ha-mode=\"exactly\" takes an integer, {} given",
                params.map_or_else(|| "none".into(), shown)
            )),
            (Some("nodes"), Some(Value::Array(names))) if names.is_empty() => {
                wrong("ha-mode=\"nodes\" list must be non-empty".into())
            }
            (Some("nodes"), Some(Value::Array(names))) => {
                let others: Vec<String> = names.iter().filter(|name| !name.is_string()).map(shown).collect();
                if others.is_empty() {
                    return Ok(());
                }
                wrong(format!("ha-mode=\"nodes\" takes a list of strings, [{}] was not a string", others.join(",")))
            }
            (Some("nodes"), params) => {
                wrong(format!("ha-mode=\"nodes\" takes a list, {} given", params.map_or_else(|| "none".into(), shown)))
            }
            (Some(_), _) => Ok(()),
        }
    }
}

impl Metadata {
    /// What policies want of a classic queue that is to be declared.
    pub(crate) fn mirroring_of(&self, vhost: &ShortStr, name: &ShortStr) -> Option<Mirroring> {
        let vhost = self.vhost_by_key(self.vhost(vhost.as_bytes())?)?;
        let policies = vhost.policies_for(PolicyTarget::ClassicQueue, name.as_bytes())?;
        Mirroring::of(&policies.definition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(json: &str) -> JsonMap {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn modes_are_read_with_their_parameters() {
        let check = |json: &str, expected| assert_eq!(Mirroring::of(&map(json)), expected, "{json}");
        check(r#"{"ha-mode":"all"}"#, Some(Mirroring::All));
        check(r#"{"ha-mode":"exactly","ha-params":2}"#, Some(Mirroring::Exactly(2)));
        let nodes = Mirroring::Nodes(Vec::from(["rabbit@a".into(), "rabbit@b".into()]));
        check(r#"{"ha-mode":"nodes","ha-params":["rabbit@a","rabbit@b"]}"#, Some(nodes));
        for nothing in [
            "{}",
            r#"{"ha-mode":"exactly"}"#,
            r#"{"ha-mode":"exactly","ha-params":0}"#,
            r#"{"ha-mode":"nodes","ha-params":[]}"#,
            r#"{"ha-mode":"nodes","ha-params":["a",1]}"#,
            r#"{"ha-params":2}"#,
        ] {
            check(nothing, None);
        }
    }

    /// Texts as RabbitMQ 3.13 has them.
    #[test]
    fn what_does_not_fit_together_is_refused() {
        let check = |json: &str, text: &str| {
            assert_eq!(Mirroring::check(&map(json)).unwrap_err().text, text, "{json}");
        };
        let no_mode = "ha-mode must be specified to specify ha-params, ha-sync-mode or ha-promote-on-shutdown";
        check(r#"{"ha-params":2}"#, no_mode);
        check(r#"{"ha-sync-mode":"automatic"}"#, no_mode);
        check(r#"{"ha-mode":"all","ha-params":2}"#, "ha-mode=\"all\" does not take parameters");
        check(r#"{"ha-mode":"exactly"}"#, "ha-mode=\"exactly\" takes an integer, none given");
        check(r#"{"ha-mode":"exactly","ha-params":"2"}"#, "ha-mode=\"exactly\" takes an integer, <<\"2\">> given");
        check(r#"{"ha-mode":"nodes","ha-params":[]}"#, "ha-mode=\"nodes\" list must be non-empty");
        check(
            r#"{"ha-mode":"nodes","ha-params":["a",5]}"#,
            "ha-mode=\"nodes\" takes a list of strings, [5] was not a string",
        );
        check(r#"{"ha-mode":"nodes","ha-params":2}"#, "ha-mode=\"nodes\" takes a list, 2 given");
        for sound in ["{}", r#"{"ha-mode":"all"}"#, r#"{"ha-mode":"nodes","ha-params":["a"]}"#] {
            assert_eq!(Mirroring::check(&map(sound)), Ok(()), "{sound}");
        }
    }
}

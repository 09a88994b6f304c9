//! What the user says of publishers, consumers, and what is not to be reported.

use super::weakness::{Weakness, find};

/// A publisher as the user describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PublishRule {
    /// The exchange; empty is the default exchange.
    pub(super) exchange: String,
    /// The routing key.
    pub(super) key: String,
    /// Delivery mode 2.
    pub(super) persistent: bool,
    /// Whether it waits for confirms.
    pub(super) confirm: bool,
    /// Whether it asks for unroutable messages to be returned.
    pub(super) mandatory: bool,
}

/// A consumer as the user describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ConsumeRule {
    /// The queue.
    pub(super) queue: String,
    /// What it does with what it gets.
    pub(super) how: Manner,
    /// `basic.qos`; 0 is no limit.
    pub(super) prefetch: u16,
}

/// What a consumer does with what it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// Acks when it is done.
    Ack,
    /// Everything counts as acked once it is sent.
    AutoAck,
    /// Rejects everything, without requeueing it.
    Reject,
    /// Never answers.
    Never,
}

/// What is not to be reported.
#[derive(Clone, Debug)]
pub(super) struct IgnoreRule {
    weakness: &'static Weakness,
    /// The queue or exchange; `None` is everywhere.
    place: Option<String>,
}

impl PublishRule {
    /// Reads `EXCHANGE KEY [persistent|transient] [confirm] [mandatory]`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let usage = || format!("--publish '{text}': write 'EXCHANGE KEY [persistent|transient] [confirm] [mandatory]'");
        let words = words(text).ok_or_else(usage)?;
        let [exchange, key, options @ ..] = words.as_slice() else { return Err(usage()) };
        let (exchange, key) = (exchange.clone(), key.clone());
        let mut rule = Self { exchange, key, persistent: true, confirm: false, mandatory: false };
        for option in options {
            match option.as_str() {
                "persistent" => rule.persistent = true,
                "transient" => rule.persistent = false,
                "confirm" => rule.confirm = true,
                "mandatory" => rule.mandatory = true,
                other => return Err(format!("{}; '{other}' is none of these", usage())),
            }
        }
        Ok(rule)
    }
}

impl ConsumeRule {
    /// Reads `QUEUE [auto-ack|ack|reject|never] [prefetch=N]`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let usage = || format!("--consume '{text}': write 'QUEUE [auto-ack|ack|reject|never] [prefetch=N]'");
        let words = words(text).ok_or_else(usage)?;
        let [queue, options @ ..] = words.as_slice() else { return Err(usage()) };
        let mut rule = Self { queue: queue.clone(), how: Manner::Ack, prefetch: 0 };
        for option in options {
            match option.as_str() {
                "ack" => rule.how = Manner::Ack,
                "auto-ack" => rule.how = Manner::AutoAck,
                "reject" => rule.how = Manner::Reject,
                "never" => rule.how = Manner::Never,
                other => {
                    let count = other.strip_prefix("prefetch=").and_then(|count| count.parse().ok());
                    rule.prefetch = count.ok_or_else(|| format!("{}; '{other}' is none of these", usage()))?;
                }
            }
        }
        Ok(rule)
    }
}

impl IgnoreRule {
    /// Reads `WEAKNESS[:PLACE]`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (name, place) = match text.split_once(':') {
            Some((name, place)) => (name, Some(place.to_owned())),
            None => (text, None),
        };
        Ok(Self { weakness: find(name).map_err(|error| format!("--ignore '{text}': {error}"))?, place })
    }

    /// Whether it is about this weakness of this queue or exchange.
    pub(super) fn covers(&self, weakness: &Weakness, place: &str) -> bool {
        self.weakness.name == weakness.name && self.place.as_deref().is_none_or(|own| own == place)
    }
}

/// The words of a rule; what stands in double quotes is one word, and may be empty. `None` if a quote is not closed.
fn words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len())),
        };
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_say_what_they_mean() {
        let rule = PublishRule::parse("shop.events order.1.paid transient mandatory").unwrap();
        assert_eq!((rule.persistent, rule.confirm, rule.mandatory), (false, false, true));
        let rule = PublishRule::parse(r#""" "a queue" confirm"#).unwrap();
        assert_eq!((rule.exchange.as_str(), rule.key.as_str(), rule.confirm), ("", "a queue", true));
        let rule = ConsumeRule::parse("orders auto-ack prefetch=10").unwrap();
        assert_eq!((rule.how, rule.prefetch), (Manner::AutoAck, 10));
    }

    #[test]
    fn mistakes_are_told_with_the_form() {
        for (text, says) in [("x", "EXCHANGE KEY"), ("x k loud", "'loud'"), (r#"x "k"#, "EXCHANGE KEY")] {
            let error = PublishRule::parse(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
        assert!(ConsumeRule::parse("q prefetch=lots").unwrap_err().contains("'prefetch=lots'"));
        assert!(ConsumeRule::parse("").unwrap_err().contains("QUEUE"));
        assert!(IgnoreRule::parse("ttl:q").unwrap_err().contains("ttl-without-dlx"));
    }

    #[test]
    fn an_ignored_weakness_may_be_one_of_one_queue() {
        let rule = IgnoreRule::parse("ttl-without-dlx:cache").unwrap();
        let ttl = find("ttl-without-dlx").unwrap();
        assert!(rule.covers(ttl, "cache") && !rule.covers(ttl, "orders"));
        assert!(!rule.covers(find("queue-expires").unwrap(), "cache"));
        assert!(IgnoreRule::parse("ttl-without-dlx").unwrap().covers(ttl, "orders"));
    }
}

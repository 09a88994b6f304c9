//! Regular expressions over names: what permissions allow and what policies are for.
//!
//! RabbitMQ's are PCRE, searched for anywhere in the name, and people use look-ahead (`^(?!amq\.).*`). A plain automaton cannot do
//! that, so these backtrack where they have to, within a bound of steps that does not depend on the machine.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;

use fancy_regex::{Regex, RegexBuilder};

use crate::limits;

/// A regular expression as somebody wrote it, ready for use.
#[derive(Clone, Default)]
pub struct Pattern {
    text: String,
    matcher: Matcher,
}

/// What an expression came to.
#[derive(Clone, Default)]
enum Matcher {
    /// It cannot be read.
    #[default]
    Nothing,
    /// It is [`EVERYTHING`], which most permissions are, and needs no automaton.
    Everything,
    /// Any other.
    Regex(Regex),
}

impl Pattern {
    /// Reads a regular expression.
    ///
    /// # Errors
    /// Why it is none, in words.
    pub fn new(text: &str) -> Result<Self, String> {
        if text.len() > limits::PATTERN_BYTES_MAX {
            return Err(format!("longer than {} bytes", limits::PATTERN_BYTES_MAX));
        }
        let matcher = compile(text).map_err(|error| error.to_string())?;
        Ok(Self { text: text.to_owned(), matcher })
    }

    /// An expression for permissions, where nothing written means that nothing is allowed (RabbitMQ docs: Access Control).
    ///
    /// # Errors
    /// As [`Pattern::new`].
    pub fn of_permission(text: &str) -> Result<Self, String> {
        let pattern = Self::new(if text.is_empty() { NOTHING } else { text })?;
        Ok(Self { text: text.to_owned(), ..pattern })
    }

    /// One that was read before. If this program cannot read it any more, it matches nothing: that is better than a node that does
    /// not start, and for a permission it is the safe side.
    pub(super) fn restored(text: String, of_permission: bool) -> Self {
        let matcher = compile(if of_permission && text.is_empty() { NOTHING } else { &text }).unwrap_or_default();
        Self { text, matcher }
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it occurs in `name`. One that takes too many steps does not.
    pub fn is_match(&self, name: &[u8]) -> bool {
        match &self.matcher {
            Matcher::Nothing => false,
            Matcher::Everything => true,
            Matcher::Regex(regex) => regex.is_match(&*String::from_utf8_lossy(name)).unwrap_or(false),
        }
    }
}

/// The empty name, which is also what RabbitMQ makes of an empty permission.
const NOTHING: &str = "^$";

/// What occurs in every name, be it as nothing at its beginning.
const EVERYTHING: &str = ".*";

fn compile(text: &str) -> Result<Matcher, fancy_regex::Error> {
    if text == EVERYTHING {
        return Ok(Matcher::Everything);
    }
    let regex = RegexBuilder::new(text)
        .backtrack_limit(limits::PATTERN_STEPS_MAX)
        .delegate_size_limit(limits::PATTERN_AUTOMATON_BYTES_MAX)
        .delegate_dfa_size_limit(limits::PATTERN_AUTOMATON_BYTES_MAX)
        .build()?;
    Ok(Matcher::Regex(regex))
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_searched_for_anywhere() {
        let is_match = |pattern: &str, name: &str| Pattern::new(pattern).unwrap().is_match(name.as_bytes());
        assert!(is_match("ord", "my.orders"));
        assert!(!is_match("^ord", "my.orders"));
        assert!(is_match("", "anything"));
        assert!(is_match("^(?!amq\\.).*", "orders"));
        assert!(!is_match("^(?!amq\\.).*", "amq.topic"));
        assert!(is_match("^(a|b)\\1$", "aa"));
        assert!(is_match("^(?i)ORD", "orders"));
    }

    #[test]
    fn an_empty_permission_allows_nothing_but_the_empty_name() {
        let none = Pattern::of_permission("").unwrap();
        assert!(!none.is_match(b"x"));
        assert!(none.is_match(b""));
        assert_eq!(none.as_str(), "");
        assert!(!Pattern::restored(String::new(), true).is_match(b"x"));
        assert!(Pattern::restored(String::new(), false).is_match(b"x"));
    }

    #[test]
    fn what_is_no_expression_is_refused_or_matches_nothing() {
        assert!(Pattern::new("(").is_err());
        assert!(Pattern::new("*").is_err());
        assert!(!Pattern::restored("(".to_owned(), false).is_match(b"("));
        assert!(Pattern::new(&"a".repeat(limits::PATTERN_BYTES_MAX + 1)).is_err());
    }

    /// Exponential for a matcher that backtracks without a bound.
    #[test]
    fn a_costly_pattern_ends() {
        let costly = Pattern::new("^(?=(a+)+$)((a+)+)\\2$").unwrap();
        let name = alloc::format!("{}b", "a".repeat(250));
        assert!(!costly.is_match(name.as_bytes()));
    }
}

//! What is wrong with a scenario file, told so that one can mend it: the place, the reason, and what was probably meant.

use std::fmt::Write;
use std::ops::Range;

/// A complaint about a place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Complaint {
    /// Bytes of the text.
    pub(super) place: Range<usize>,
    /// Why.
    pub(super) reason: String,
}

impl Complaint {
    /// A complaint about a place.
    pub(super) fn new(place: Range<usize>, reason: impl Into<String>) -> Self {
        Self { place, reason: reason.into() }
    }

    /// In words, with line and column (both from 1) and the line itself.
    pub(super) fn show(&self, text: &str) -> String {
        let start = self.place.start.min(text.len());
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line = text[line_start..].lines().next().unwrap_or("");
        let number = text[..line_start].matches('\n').count() + 1;
        let column = text[line_start..start].chars().count() + 1;
        let marked = text.get(start..self.place.end).unwrap_or("").lines().next().unwrap_or("");
        let marks = "^".repeat(marked.chars().count().max(1));
        let number = number.to_string();
        let margin = " ".repeat(number.len());
        let mut out = format!("line {number}, column {column}: {}", self.reason);
        let _ = write!(out, "\n {number} | {line}\n {margin} | {}{marks}", " ".repeat(column - 1));
        out
    }
}

/// What the parser found, in plainer words and with a guess of what was meant.
pub(super) fn of_toml(error: &toml::de::Error) -> Complaint {
    let place = error.span().unwrap_or(0..0);
    let message = error.message().trim();
    let mut words = message.split('`').skip(1).step_by(2);
    let reason = match words.next() {
        Some(word) if message.starts_with("unknown field") => {
            format!("unknown key `{word}`{}", hint(word, words))
        }
        Some(word) if message.starts_with("unknown variant") => {
            format!("`{word}` is not known here{}", hint(word, words))
        }
        Some(word) if message.starts_with("missing field") => format!("`{word}` is missing"),
        _ => message.replace('\n', ", "),
    };
    Complaint { place, reason }
}

/// "; did you mean …?", or else all there is.
pub(super) fn hint<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let distance =
        |other: &str| strsim::osa_distance(&word.to_lowercase().replace(['_', ' '], "-"), &other.replace('_', "-"));
    let nearest = known.iter().map(|other| (distance(other), *other)).min();
    match nearest {
        Some((distance, nearest)) if distance <= 1 + word.len() / 4 => format!("; did you mean `{nearest}`?"),
        Some(_) => format!("; known are {}", known.iter().map(|it| format!("`{it}`")).collect::<Vec<_>>().join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_points_at_its_place() {
        let text = "name = \"x\"\nkidn = 7\n";
        let complaint = Complaint::new(11..15, "unknown key `kidn`");
        assert_eq!(complaint.show(text), "line 2, column 1: unknown key `kidn`\n 2 | kidn = 7\n   | ^^^^");
        assert!(Complaint::new(500..501, "the end").show(text).starts_with("line 3, column 1: the end"));
    }

    #[test]
    fn a_near_miss_is_guessed_and_a_far_one_is_shown_all() {
        assert_eq!(hint("powerloss", ["kill", "power_loss"]), "; did you mean `power_loss`?");
        assert_eq!(hint("meteor", ["kill", "power_loss"]), "; known are `kill`, `power_loss`");
    }
}

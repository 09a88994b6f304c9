//! The lines of a `rabbitmq.conf`: `key = value` (RabbitMQ docs: Configuration / the new style format).

/// One setting and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// Counted from 1.
    pub(super) number: usize,
    /// Words with dots between them.
    pub(super) key: &'a str,
    /// Without the quotes around it, if it had some.
    pub(super) value: &'a str,
}

/// The settings of a file; or the number of the first line that is none, and why.
pub(super) fn lines(text: &str) -> Result<Vec<Line<'_>>, (usize, String)> {
    let mut lines = Vec::new();
    for (at, text) in text.lines().enumerate() {
        let number = at + 1;
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| (number, format!("\"{}\" is no setting: expected KEY = VALUE", shown(text))))?;
        let (key, value) = (key.trim(), value.trim());
        if key.is_empty() {
            return Err((number, "there is no key before the =".to_owned()));
        }
        lines.push(Line {
            number,
            key,
            value: unquoted(value).ok_or_else(|| (number, "a quote is not closed".to_owned()))?,
        });
    }
    Ok(lines)
}

/// A line as it may be shown to whoever reads the log.
fn shown(text: &str) -> String {
    let word = text.split_whitespace().next().unwrap_or(text);
    let is_secret = ["secret", "pass"].iter().any(|part| word.contains(part));
    if is_secret && word.len() < text.len() { format!("{word} ...") } else { text.to_owned() }
}

/// A value without its quotes; without them, what stands behind a `#` is a comment. `None` if quotes do not match.
fn unquoted(value: &str) -> Option<&str> {
    match value.strip_prefix('\'') {
        Some(rest) => rest.split_once('\'').map(|(value, _)| value),
        None => Some(value.split_once(" #").map_or(value, |(value, _)| value.trim_end())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_comments_and_quotes_are_told_apart() {
        let text = "# a comment\n\n a.b = 5 # five\nc='x # y'\nd = \n";
        let found = lines(text).unwrap();
        let found: Vec<_> = found.iter().map(|line| (line.number, line.key, line.value)).collect();
        assert_eq!(found, [(3, "a.b", "5"), (4, "c", "x # y"), (5, "d", "")]);
        assert_eq!(lines("a = 1\nnonsense").unwrap_err().0, 2);
        assert_eq!(lines("a = 'open").unwrap_err().0, 1);
        assert_eq!(lines(" = 1").unwrap_err().0, 1);
    }
}

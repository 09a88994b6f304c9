//! JSON that a person can read: what fits on a line stays on it.

/// Columns of a line.
const WIDTH: usize = 110;

/// Lays out JSON as `serde_json` writes it without spaces. The order of fields stays.
pub(crate) fn readable(compact: &str) -> String {
    let mut out = String::with_capacity(2 * compact.len());
    let rest = value(compact, 0, 0, &mut out);
    assert!(rest.is_empty(), "one value, and nothing behind it");
    out.push('\n');
    out
}

/// Writes the value that `text` begins with, at this depth, `used` columns into its line; returns what comes after it.
fn value<'a>(text: &'a str, depth: usize, used: usize, out: &mut String) -> &'a str {
    let (whole, rest) = text.split_at(length(text));
    if !whole.starts_with(['[', '{']) || 2 * depth + used + spaced_length(whole) <= WIDTH {
        spaced(whole, out);
        return rest;
    }
    let inner = &whole[1..whole.len() - 1];
    out.push_str(&whole[..1]);
    let mut left = inner;
    while !left.is_empty() {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth + 1));
        let mut used = 0;
        if whole.starts_with('{') {
            let (name, value) = left.split_at(length(left) + 1);
            out.push_str(name);
            out.push(' ');
            used = name.len() + 1;
            left = value;
        }
        left = value(left, depth + 1, used, out);
        if let Some(next) = left.strip_prefix(',') {
            out.push(',');
            left = next;
        }
    }
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", depth));
    out.push_str(&whole[whole.len() - 1..]);
    rest
}

/// Bytes of the value that `text` begins with.
fn length(text: &str) -> usize {
    let mut open = 0;
    let mut pieces = Pieces(text.as_bytes());
    let mut length = 0;
    while let Some((byte, is_quoted)) = pieces.next() {
        match byte {
            b'[' | b'{' if !is_quoted => open += 1,
            b']' | b'}' if !is_quoted && open == 0 => return length,
            b']' | b'}' if !is_quoted => open -= 1,
            b',' | b':' if !is_quoted && open == 0 => return length,
            _ => {}
        }
        length = text.len() - pieces.0.len();
    }
    length
}

/// Columns of a value on one line.
fn spaced_length(text: &str) -> usize {
    let gaps = Pieces(text.as_bytes()).filter(|&(byte, is_quoted)| !is_quoted && (byte == b',' || byte == b':'));
    text.len() + gaps.count()
}

/// Writes a value on one line, with a space after each comma and colon.
fn spaced(text: &str, out: &mut String) {
    let mut from = 0;
    let mut pieces = Pieces(text.as_bytes());
    while let Some((byte, is_quoted)) = pieces.next() {
        if !is_quoted && (byte == b',' || byte == b':') {
            let upto = text.len() - pieces.0.len();
            out.push_str(&text[from..upto]);
            out.push(' ');
            from = upto;
        }
    }
    out.push_str(&text[from..]);
}

/// The bytes of a JSON text outside of strings; a string is one piece.
struct Pieces<'a>(&'a [u8]);

impl Iterator for Pieces<'_> {
    /// A byte, and whether it stands for a string.
    type Item = (u8, bool);

    fn next(&mut self) -> Option<Self::Item> {
        let (&first, mut rest) = self.0.split_first()?;
        let is_quoted = first == b'"';
        if is_quoted {
            loop {
                let (&byte, after) = rest.split_first().expect("a string has an end");
                rest = if byte == b'\\' { &after[1..] } else { after };
                if byte == b'"' {
                    break;
                }
            }
        }
        self.0 = rest;
        Some((first, is_quoted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_short_stays_on_a_line_and_all_of_it_stays_the_same() {
        let list: Vec<u32> = (0..60).collect();
        let compact = serde_json::json!({
            "a": { "b": [1, 2], "c": "x, \"y\": [" },
            "list": [{ "numbers": list }, null, "", {}, []],
        });
        let text = readable(&compact.to_string());
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), compact);
        assert!(text.contains("\n  \"a\": {\"b\": [1, 2], \"c\": \"x, \\\"y\\\": [\"},\n"), "{text}");
        assert!(text.contains("\n    null,\n    \"\",\n    {},\n    []\n  ]\n}\n"), "{text}");
        assert!(text.lines().all(|line| line.len() <= WIDTH + 1), "{text}");
    }
}

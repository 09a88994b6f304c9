//! Text inside XML and HTML.

use std::fmt::{Display, Formatter, Result, Write};

/// Shows a text so that it can stand inside an element or a quoted attribute. What XML 1.0 cannot hold at all becomes U+FFFD.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Escaped<'a>(pub(crate) &'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        for character in self.0.chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                '\t' | '\n' | '\r' => f.write_char(character)?,
                '\0'..'\u{20}' | '\u{fffe}' | '\u{ffff}' => f.write_char(char::REPLACEMENT_CHARACTER)?,
                _ => f.write_char(character)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_character_ends_an_element_or_an_attribute() {
        assert_eq!(Escaped("a <b> & \"c\" 'd'").to_string(), "a &lt;b&gt; &amp; &quot;c&quot; &#39;d&#39;");
        assert_eq!(Escaped("]]>\u{0}\u{1b}[0m\n").to_string(), "]]&gt;\u{fffd}\u{fffd}[0m\n");
    }
}

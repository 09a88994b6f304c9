//! Values as transcripts write them, and whether a received one is as expected.

use std::collections::BTreeMap;
use std::fmt;

/// A value in a transcript (where it may be a pattern) or in a received frame (where every table entry has its type).
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// `_`: anything, even absent.
    Any,
    /// `absent`: the property is not there.
    Absent,
    /// `$name`: bound by what it first meets, equal to that afterwards.
    Variable(String),
    /// `~"a*b"`: a string in which `*` stands for any bytes.
    Glob(Vec<u8>),
    /// `12`, `-1`, `0xff`.
    Int(i128),
    /// `true`, `false`.
    Bool(bool),
    /// `"text"`, `"ab"*100`.
    Bytes(Vec<u8>),
    /// `1.5`.
    Float(f64),
    /// `decimal(2,525)` is 5.25.
    Decimal(u8, i32),
    /// `void`.
    Void,
    /// `{a=1 b="x"}`; with `..` before the closing brace others may be there too.
    Table { entries: Vec<(String, Self)>, open: bool },
    /// `[1 2]`.
    Array(Vec<Self>),
    /// `1:l`: the value with its one-letter type in a field table.
    Typed(char, Box<Self>),
}

/// What the variables of a transcript are bound to.
pub(crate) type Bindings = BTreeMap<String, Value>;

impl Value {
    /// The text in it, for names that the runner itself needs.
    pub(crate) fn as_text(&self) -> Option<String> {
        match self {
            Self::Bytes(bytes) => String::from_utf8(bytes.clone()).ok(),
            _ => None,
        }
    }

    /// The number in it.
    pub(crate) fn as_int(&self) -> Option<i128> {
        match self {
            Self::Int(number) => Some(*number),
            Self::Typed(_, inner) => inner.as_int(),
            _ => None,
        }
    }

    /// The value with its variables replaced, for sending.
    pub(crate) fn resolve(&self, bindings: &Bindings) -> Result<Self, String> {
        Ok(match self {
            Self::Variable(name) => bindings.get(name).cloned().ok_or_else(|| format!("${name} is not bound"))?,
            Self::Typed(kind, inner) => Self::Typed(*kind, Box::new(inner.resolve(bindings)?)),
            Self::Array(items) => {
                Self::Array(items.iter().map(|item| item.resolve(bindings)).collect::<Result<_, _>>()?)
            }
            Self::Table { entries, open } => {
                let entries = entries
                    .iter()
                    .map(|(key, value)| Ok((key.clone(), value.resolve(bindings)?)))
                    .collect::<Result<_, String>>()?;
                Self::Table { entries, open: *open }
            }
            other => other.clone(),
        })
    }

    /// Whether `got` is what this pattern asks for. New variables are bound even if the answer is no, so the caller keeps a copy.
    pub(crate) fn matches(&self, got: &Self, bindings: &mut Bindings) -> bool {
        match (self, got) {
            (Self::Any, _) => true,
            (Self::Variable(name), _) => match bindings.get(name) {
                Some(bound) => bound.clone().matches(got, bindings),
                None => {
                    bindings.insert(name.clone(), got.clone());
                    true
                }
            },
            (Self::Typed(want_kind, want), Self::Typed(kind, inner)) => {
                want_kind == kind && want.matches(inner, bindings)
            }
            (_, Self::Typed(_, inner)) => self.matches(inner, bindings),
            (Self::Glob(pattern), Self::Bytes(bytes)) => glob(pattern, bytes),
            (Self::Table { entries, open }, Self::Table { entries: got, .. }) => {
                table_matches(entries, *open, got, bindings)
            }
            (Self::Array(items), Self::Array(got)) => {
                items.len() == got.len() && items.iter().zip(got).all(|(item, got)| item.matches(got, bindings))
            }
            (want, got) => want == got,
        }
    }
}

fn table_matches(want: &[(String, Value)], open: bool, got: &[(String, Value)], bindings: &mut Bindings) -> bool {
    if !open {
        return want.len() == got.len()
            && want
                .iter()
                .zip(got)
                .all(|((want_key, want), (key, got))| want_key == key && want.matches(got, bindings));
    }
    want.iter().all(|(want_key, want)| match got.iter().find(|(key, _)| key == want_key) {
        Some((_, got)) => want.matches(got, bindings),
        None => *want == Value::Absent,
    })
}

fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|skip| glob(rest, &text[skip..])),
        Some((byte, rest)) => text.split_first().is_some_and(|(first, text)| byte == first && glob(rest, text)),
    }
}

/// Bytes as a quoted string, long ones shortened.
fn quote(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let shown = &bytes[..bytes.len().min(300)];
    f.write_str("\"")?;
    for chunk in shown.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                control if control.is_control() => write!(f, "\\x{:02x}", u32::from(control))?,
                other => write!(f, "{other}")?,
            }
        }
        for byte in chunk.invalid() {
            write!(f, "\\x{byte:02x}")?;
        }
    }
    f.write_str("\"")?;
    if bytes.len() > shown.len() {
        write!(f, "...({} bytes)", bytes.len())?;
    }
    Ok(())
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("_"),
            Self::Absent => f.write_str("absent"),
            Self::Variable(name) => write!(f, "${name}"),
            Self::Glob(pattern) => {
                f.write_str("~")?;
                quote(pattern, f)
            }
            Self::Int(number) => write!(f, "{number}"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Bytes(bytes) => quote(bytes, f),
            Self::Float(number) => write!(f, "{number:?}"),
            Self::Decimal(scale, number) => write!(f, "decimal({scale},{number})"),
            Self::Void => f.write_str("void"),
            Self::Table { entries, open } => {
                f.write_str("{")?;
                for (index, (key, value)) in entries.iter().enumerate() {
                    let space = if index == 0 { "" } else { " " };
                    write!(f, "{space}{key}={value}")?;
                }
                f.write_str(if *open { " ..}" } else { "}" })
            }
            Self::Array(items) => {
                f.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    let space = if index == 0 { "" } else { " " };
                    write!(f, "{space}{item}")?;
                }
                f.write_str("]")
            }
            Self::Typed(kind, inner) => write!(f, "{inner}:{kind}"),
        }
    }
}

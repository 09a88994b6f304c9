//! The text of a transcript, parsed. README.md beside the transcripts describes the language.

use std::iter::Peekable;
use std::str::Chars;
use std::time::Duration;

use super::value::Value;

/// A transcript's steps in order.
#[derive(Debug)]
pub(crate) struct Transcript {
    pub(crate) steps: Vec<Step>,
    /// RabbitMQ has nothing like it.
    pub(crate) only: Option<Only>,
}

/// Who runs a transcript that RabbitMQ cannot run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Only {
    /// The engine and the server.
    Leveret,
    /// The engine, whose clock and disk are the test's.
    Engine,
}

impl Transcript {
    /// Whether the brokers differ in it.
    pub(crate) fn is_marked(&self) -> bool {
        self.steps.iter().any(|step| step.only.is_some())
    }

    /// How long it sleeps in all.
    pub(crate) fn sleeps(&self) -> Duration {
        let sleep = |action: &Action| if let Action::Sleep(time) = action { *time } else { Duration::ZERO };
        self.steps.iter().map(|step| sleep(&step.action)).sum()
    }

    /// Whether it publishes anything, and so feels what is set for the whole node.
    pub(crate) fn publishes(&self) -> bool {
        let is_publish = |action: &Action| matches!(action, Action::Send(_, item) if item.name == "basic.publish");
        self.steps.iter().any(|step| is_publish(&step.action))
    }

    /// Whether it sets what others feel that publish: alarms stop them, and the firehose copies what they say.
    pub(crate) fn is_node_wide(&self) -> bool {
        self.steps.iter().any(|step| match &step.action {
            Action::Admin { words, .. } => {
                words.first().is_some_and(|verb| raises_alarms(verb) || verb.as_str() == "trace_on")
            }
            _ => false,
        })
    }

    /// Whether it declares or sets anything that another transcript could meet.
    pub(crate) fn declares(&self) -> bool {
        self.steps.iter().any(|step| match &step.action {
            Action::Admin { .. } => true,
            Action::Send(_, item) | Action::Do(_, item) => {
                ["queue.declare", "exchange.declare"].contains(&item.name.as_str())
            }
            _ => false,
        })
    }
}

/// Whether a command may raise or clear an alarm.
pub(crate) fn raises_alarms(verb: &str) -> bool {
    ["set_vm_memory_high_watermark", "set_disk_free_limit"].contains(&verb)
}

/// One line.
#[derive(Debug)]
pub(crate) struct Step {
    /// Counted from 1.
    pub(crate) line: usize,
    /// The line as written.
    pub(crate) text: String,
    /// On which brokers it is carried out; `None` is all.
    pub(crate) only: Option<Side>,
    pub(crate) action: Action,
}

/// Where the two brokers differ, a line says whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    RabbitMq,
    Leveret,
}

/// A connection's letter and a channel's number; 0 is the connection itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Address {
    pub(crate) connection: String,
    pub(crate) channel: u16,
}

/// A method (with its content, if any), or a frame of another kind, with the fields that matter.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Item {
    pub(crate) name: String,
    pub(crate) fields: Fields,
}

impl Item {
    pub(crate) fn field(&self, name: &str) -> Option<&Value> {
        self.fields.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }
}

impl std::fmt::Display for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)?;
        for (key, value) in &self.fields {
            if *value != Value::Absent {
                write!(f, " {key}={value}")?;
            }
        }
        Ok(())
    }
}

/// Fields and their values, in order.
pub(crate) type Fields = Vec<(String, Value)>;

/// An expectation in an any-order block, with its line.
pub(crate) type Awaited = (usize, Address, Item);

/// What a line does.
#[derive(Debug)]
pub(crate) enum Action {
    /// `connect a user="guest"`: a socket and the whole opening handshake.
    Connect { connection: String, options: Item },
    /// `socket a`: a socket, nothing said.
    Socket { connection: String },
    /// `open a/1`.
    Open(Address),
    /// `a/1 > basic.qos prefetch_count=1`.
    Send(Address, Item),
    /// `a/1 < basic.qos-ok`.
    Expect(Address, Item),
    /// `a/1 do queue.declare queue="q"`: sent, and its `-ok` is awaited.
    Do(Address, Item),
    /// `a > bytes 41 4d "QP"`.
    SendBytes(String, Vec<u8>),
    /// `a < bytes 41 4d "QP"`.
    ExpectBytes(String, Vec<u8>),
    /// `a < closed`: the broker has closed the socket.
    ExpectClosed(String),
    /// `a/1 fails 404 "NOT_FOUND - ..." queue.declare`: a close with these, which is answered.
    Fails { address: Address, code: Value, text: Value, method: String },
    /// `a/1 idle`: nothing more is to come on this channel.
    Idle(Address),
    /// `a/1 confirmed 1..3`: acks that cover exactly these.
    Confirmed { address: Address, first: u64, last: u64 },
    /// `a/1 await queue="q" message_count=3`: a passive declare answers so, soon.
    Await(Address, Item),
    /// `any-order` ... `end`: these arrive, in whatever order.
    AnyOrder(Vec<Awaited>),
    /// `a/1 close` or `a close`: the closing handshake.
    Close(Address),
    /// `a drop`: the socket is closed without a word.
    Drop(String),
    /// `sleep 3s`.
    Sleep(Duration),
    /// The node stops without a word and starts again.
    Restart,
    /// `admin add_vhost v`: the broker's command line tool does this, with this outcome.
    Admin { words: Vec<String>, outcome: Outcome },
}

/// What is to come of an administrator's command.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It is done.
    Done,
    /// `admin gives ["q\t3"] list_queues name messages`: these rows, in whatever order.
    Gives(Vec<Value>),
    /// `admin fails "text" add_vhost v`.
    Fails(Value),
}

/// Parses a transcript.
///
/// # Errors
/// The first line that cannot be read, with the reason.
pub(crate) fn parse(text: &str) -> Result<Transcript, String> {
    let mut steps = Vec::new();
    let mut whose = None;
    let mut block: Option<Block> = None;
    for (index, text) in text.lines().enumerate() {
        let line = index + 1;
        let fail = |reason: String| format!("line {line}: {reason}\n    {text}");
        let Some((only, words)) = line_words(text).map_err(fail)? else { continue };
        match (words.first().map(String::as_str), &mut block) {
            (Some("only"), None) => match words.get(1).map(String::as_str) {
                Some("leveret") => whose = Some(Only::Leveret),
                Some("engine") => whose = Some(Only::Engine),
                _ => return Err(fail("only leveret, or only engine".to_owned())),
            },
            (Some("any-order"), None) => block = Some((line, only, Vec::new())),
            (Some("end"), Some(_)) => {
                let (line, only, items) = block.take().expect("matched above");
                steps.push(Step { line, text: "any-order".to_owned(), only, action: Action::AnyOrder(items) });
            }
            (_, Some((_, _, items))) => match action(&words).map_err(fail)? {
                Action::Expect(address, item) => items.push((line, address, item)),
                _ => return Err(fail("only `<` lines may stand in an any-order block".to_owned())),
            },
            (_, None) => {
                let action = action(&words).map_err(fail)?;
                steps.push(Step { line, text: text.trim().to_owned(), only, action });
            }
        }
    }
    if block.is_some() {
        return Err("any-order without end".to_owned());
    }
    Ok(Transcript { steps, only: whose })
}

/// An any-order block so far: its first line, whose it is, and what it holds.
type Block = (usize, Option<Side>, Vec<Awaited>);

/// Whose line it is, and its words.
type Line = (Option<Side>, Vec<String>);

/// Takes a line apart; `None` for an empty line or a comment.
fn line_words(text: &str) -> Result<Option<Line>, String> {
    let text = text.trim();
    let (only, text) = if let Some(rest) = text.strip_prefix("[rabbitmq]") {
        (Some(Side::RabbitMq), rest)
    } else if let Some(rest) = text.strip_prefix("[leveret]") {
        (Some(Side::Leveret), rest)
    } else {
        (None, text)
    };
    let words = split(text)?;
    Ok(if words.is_empty() { None } else { Some((only, words)) })
}

/// Splits at spaces outside quotes, braces and brackets; `#` at the start of a word begins a comment.
fn split(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let (mut depth, mut quoted, mut escaped) = (0_i32, false, false);
    for character in text.chars() {
        if quoted {
            word.push(character);
            (quoted, escaped) = (escaped || character != '"', !escaped && character == '\\');
            continue;
        }
        match character {
            '#' if word.is_empty() => break,
            ' ' | '\t' if depth == 0 => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            '"' => quoted = true,
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            _ => {}
        }
        word.push(character);
    }
    if quoted || depth != 0 {
        return Err("unbalanced quotes or braces".to_owned());
    }
    if !word.is_empty() {
        words.push(word);
    }
    Ok(words)
}

fn action(words: &[String]) -> Result<Action, String> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Ok(match words.as_slice() {
        ["connect", connection, options @ ..] => {
            Action::Connect { connection: (*connection).to_owned(), options: item("connect", options)? }
        }
        ["socket", connection] => Action::Socket { connection: (*connection).to_owned() },
        ["open", at] => Action::Open(address(at)?),
        ["admin", "fails", text, words @ ..] => {
            Action::Admin { words: plain_words(words)?, outcome: Outcome::Fails(value(text)?) }
        }
        ["admin", "gives", rows, words @ ..] => match value(rows)? {
            Value::Array(rows) => Action::Admin { words: plain_words(words)?, outcome: Outcome::Gives(rows) },
            other => return Err(format!("{other} is not a list of rows")),
        },
        ["admin", words @ ..] => Action::Admin { words: plain_words(words)?, outcome: Outcome::Done },
        ["sleep", time] => Action::Sleep(duration(time)?),
        ["restart"] => Action::Restart,
        [connection, ">", "bytes", parts @ ..] => Action::SendBytes((*connection).to_owned(), bytes(parts)?),
        [connection, "<", "bytes", parts @ ..] => Action::ExpectBytes((*connection).to_owned(), bytes(parts)?),
        [connection, "<", "closed"] => Action::ExpectClosed((*connection).to_owned()),
        [at, ">", name, fields @ ..] => Action::Send(address(at)?, item(name, fields)?),
        [at, "<", name, fields @ ..] => Action::Expect(address(at)?, item(name, fields)?),
        [at, "do", name, fields @ ..] => Action::Do(address(at)?, item(name, fields)?),
        [at, "fails", code, text, method] => Action::Fails {
            address: address(at)?,
            code: value(code)?,
            text: value(text)?,
            method: (*method).to_owned(),
        },
        [at, "idle"] => Action::Idle(address(at)?),
        [at, "confirmed", range] => {
            let (first, last) = range.split_once("..").unwrap_or((range, range));
            let number = |text: &str| text.parse().map_err(|_| format!("{text} is not a number"));
            Action::Confirmed { address: address(at)?, first: number(first)?, last: number(last)? }
        }
        [at, "await", fields @ ..] => Action::Await(address(at)?, item("await", fields)?),
        [at, "close"] => Action::Close(address(at)?),
        [connection, "drop"] => Action::Drop((*connection).to_owned()),
        _ => return Err("not a step".to_owned()),
    })
}

/// The words of a command: as they stand, or quoted.
fn plain_words(words: &[&str]) -> Result<Vec<String>, String> {
    let plain = |word: &&str| match word.starts_with('"') {
        true => value(word)?.as_text().ok_or_else(|| format!("{word} is not text")),
        false => Ok((*word).to_owned()),
    };
    words.iter().map(plain).collect()
}

fn address(text: &str) -> Result<Address, String> {
    let (connection, channel) = text.split_once('/').unwrap_or((text, "0"));
    let channel = channel.parse().map_err(|_| format!("{channel} is not a channel number"))?;
    Ok(Address { connection: connection.to_owned(), channel })
}

fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number = number.parse().map_err(|_| format!("{text} is not a time"))?;
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        _ => Err(format!("{text} is neither ms nor s")),
    }
}

/// Pairs of hex digits and quoted strings.
fn bytes(parts: &[&str]) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    for part in parts {
        if part.starts_with('"') {
            match value(part)? {
                Value::Bytes(text) => out.extend(text),
                other => return Err(format!("{other} is not bytes")),
            }
        } else {
            for at in (0..part.len()).step_by(2) {
                let pair = part.get(at..at + 2).ok_or_else(|| format!("{part} is not pairs of hex digits"))?;
                out.push(u8::from_str_radix(pair, 16).map_err(|_| format!("{pair} is not hex"))?);
            }
        }
    }
    Ok(out)
}

fn item(name: &str, fields: &[&str]) -> Result<Item, String> {
    let fields = fields
        .iter()
        .map(|field| {
            let (key, text) = field.split_once('=').ok_or_else(|| format!("{field} is not name=value"))?;
            Ok((key.to_owned(), value(text)?))
        })
        .collect::<Result<_, String>>()?;
    Ok(Item { name: name.to_owned(), fields })
}

fn value(text: &str) -> Result<Value, String> {
    let mut parser = Parser { chars: text.chars().peekable() };
    let value = parser.value()?;
    match parser.chars.next() {
        None => Ok(value),
        Some(extra) => Err(format!("{extra:?} after the value in {text}")),
    }
}

struct Parser<'a> {
    chars: Peekable<Chars<'a>>,
}

impl Parser<'_> {
    fn value(&mut self) -> Result<Value, String> {
        let plain = match self.chars.peek() {
            Some('"') => Value::Bytes(self.string()?),
            Some('~') => {
                self.chars.next();
                Value::Glob(self.string()?)
            }
            Some('$') => {
                self.chars.next();
                Value::Variable(self.word())
            }
            Some('{') => self.table()?,
            Some('[') => self.array()?,
            _ => bare(&self.word())?,
        };
        if self.chars.next_if_eq(&':').is_none() {
            return Ok(plain);
        }
        let kind = self.chars.next().ok_or("a type is missing after ':'")?;
        Ok(Value::Typed(kind, Box::new(plain)))
    }

    fn word(&mut self) -> String {
        let mut word = String::new();
        let mut depth = 0;
        while let Some(character) = self.chars.next_if(|c| depth > 0 || !" :}]=".contains(*c)) {
            depth += i32::from(character == '(') - i32::from(character == ')');
            word.push(character);
        }
        word
    }

    fn spaces(&mut self) {
        while self.chars.next_if_eq(&' ').is_some() {}
    }

    fn string(&mut self) -> Result<Vec<u8>, String> {
        if self.chars.next() != Some('"') {
            return Err("a string is missing".to_owned());
        }
        let mut text = Vec::new();
        loop {
            match self.chars.next().ok_or("the string does not end")? {
                '"' => break,
                '\\' => match self.chars.next().ok_or("the string does not end")? {
                    'n' => text.push(b'\n'),
                    'r' => text.push(b'\r'),
                    't' => text.push(b'\t'),
                    'x' => {
                        let pair: String = self.chars.by_ref().take(2).collect();
                        text.push(u8::from_str_radix(&pair, 16).map_err(|_| format!("\\x{pair}"))?);
                    }
                    other => text.extend(other.to_string().as_bytes()),
                },
                other => text.extend(other.to_string().as_bytes()),
            }
        }
        if self.chars.next_if_eq(&'*').is_some() {
            let count = self.word();
            return Ok(text.repeat(count.parse().map_err(|_| format!("{count} is not a count"))?));
        }
        Ok(text)
    }

    fn table(&mut self) -> Result<Value, String> {
        self.chars.next();
        let mut entries = Vec::new();
        let mut open = false;
        loop {
            self.spaces();
            if self.chars.next_if_eq(&'}').is_some() {
                return Ok(Value::Table { entries, open });
            }
            let key = if self.chars.peek() == Some(&'"') {
                String::from_utf8(self.string()?).map_err(|_| "a key is not UTF-8")?
            } else {
                self.word()
            };
            if key == ".." {
                open = true;
                continue;
            }
            if self.chars.next() != Some('=') {
                return Err(format!("= is missing after {key:?}"));
            }
            entries.push((key, self.value()?));
        }
    }

    fn array(&mut self) -> Result<Value, String> {
        self.chars.next();
        let mut items = Vec::new();
        loop {
            self.spaces();
            if self.chars.next_if_eq(&']').is_some() {
                return Ok(Value::Array(items));
            }
            items.push(self.value()?);
        }
    }
}

fn bare(word: &str) -> Result<Value, String> {
    Ok(match word {
        "_" => Value::Any,
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        "void" => Value::Void,
        "absent" => Value::Absent,
        _ => {
            if let Some(hex) = word.strip_prefix("0x") {
                Value::Int(i128::from_str_radix(hex, 16).map_err(|_| format!("{word} is not hex"))?)
            } else if let Some(inner) = word.strip_prefix("decimal(").and_then(|rest| rest.strip_suffix(')')) {
                let (scale, number) = inner.split_once(',').ok_or("decimal(scale,number)")?;
                let scale = scale.parse().map_err(|_| "decimal's scale")?;
                Value::Decimal(scale, number.parse().map_err(|_| "decimal's number")?)
            } else if let Ok(number) = word.parse() {
                Value::Int(number)
            } else {
                Value::Float(word.parse().map_err(|_| format!("{word:?} is not a value"))?)
            }
        }
    })
}

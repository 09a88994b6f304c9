//! What a verb prints, in rabbitmqctl's formats (RabbitMQ docs: rabbitmqctl(8), OUTPUT ESCAPING and --formatter).

use std::fmt::Write as _;

use serde_json::Value;

use super::verbs::{Formatter, Options};

/// What one verb has to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The exit code.
    pub code: u8,
    /// For standard output, or the file.
    pub output: String,
    /// For standard error.
    pub error: String,
}

/// Exit codes, which are those of `sysexits.h` that rabbitmqctl uses.
pub mod exit {
    /// Done.
    pub const OK: u8 = 0;
    /// The command line makes no sense.
    pub const USAGE: u8 = 64;
    /// A value makes no sense, or a password is wrong.
    pub const DATA: u8 = 65;
    /// There is no such user.
    pub const NO_USER: u8 = 67;
    /// There is no broker, or it refuses.
    pub const UNAVAILABLE: u8 = 69;
    /// It contradicts what is there.
    pub const CONFLICT: u8 = 70;
}

impl Outcome {
    /// A failure with its reason.
    pub fn failure(code: u8, reason: impl Into<String>) -> Self {
        Self { code, error: reason.into(), ..Self::default() }
    }
}

/// A result as it is before formatting.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Body {
    /// Nothing but the fact that it was done.
    Nothing,
    /// One sentence or number.
    Text(String),
    /// Rows under column names.
    Table(Table),
    /// The same, for people unless another format is asked for.
    PrettyTable(Table),
    /// A document, whatever the format asked for.
    Document(String),
    /// Titled sections for people, and a document for programs.
    Report(Vec<Section>, Value),
}

/// Rows under column names.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Table {
    /// The names.
    pub(super) columns: Vec<String>,
    /// As many values as there are names, each.
    pub(super) rows: Vec<Vec<Value>>,
}

/// A titled part of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Section {
    /// What it is about.
    pub(super) title: &'static str,
    /// What there is to say.
    pub(super) lines: Vec<String>,
}

/// Formats a result, under a sentence about what was done.
pub(super) fn format(options: &Options, banner: &str, body: &Body) -> String {
    let is_pretty = matches!(body, Body::PrettyTable(_));
    let default = if is_pretty { Formatter::PrettyTable } else { Formatter::Table };
    let formatter = options.formatter.unwrap_or(default);
    let mut out = String::new();
    let is_talkative =
        !options.quiet && !options.silent && matches!(formatter, Formatter::Table | Formatter::PrettyTable);
    if is_talkative && !banner.is_empty() && !matches!(body, Body::Document(_)) {
        out.push_str(banner);
        out.push('\n');
    }
    let has_headers = !options.silent && !options.no_table_headers;
    match (body, formatter) {
        (Body::Nothing, _) => {}
        (Body::Text(text), Formatter::Json) => push_line(&mut out, &Value::from(text.as_str()).to_string()),
        (Body::Document(text) | Body::Text(text), _) => push_line(&mut out, text),
        (Body::Table(table) | Body::PrettyTable(table), Formatter::Table) => push_tabs(&mut out, table, has_headers),
        (Body::Table(table) | Body::PrettyTable(table), Formatter::Csv) => push_csv(&mut out, table, has_headers),
        (Body::Table(table) | Body::PrettyTable(table), Formatter::Json) => push_json(&mut out, table),
        (Body::Table(table) | Body::PrettyTable(table), Formatter::PrettyTable) => push_pretty(&mut out, table),
        (Body::Report(_, document), Formatter::Json) => push_line(&mut out, &document.to_string()),
        (Body::Report(sections, _), _) => {
            for Section { title, lines } in sections {
                let _ = writeln!(out, "{title}\n");
                lines.iter().for_each(|line| push_line(&mut out, line));
                out.push('\n');
            }
        }
    }
    out
}

fn push_line(out: &mut String, line: &str) {
    out.push_str(line);
    out.push('\n');
}

fn push_tabs(out: &mut String, table: &Table, has_headers: bool) {
    // Without rows rabbitmqctl prints no headers either.
    if has_headers && !table.rows.is_empty() {
        push_line(out, &table.columns.join("\t"));
    }
    for row in &table.rows {
        let cells: Vec<_> = row.iter().map(|value| escape(&text(value))).collect();
        push_line(out, &cells.join("\t"));
    }
}

fn push_csv(out: &mut String, table: &Table, has_headers: bool) {
    let quote = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    if has_headers {
        push_line(out, &table.columns.iter().map(|name| quote(name)).collect::<Vec<_>>().join(","));
    }
    for row in &table.rows {
        let cells = row.iter().map(|value| quote(&text(value)));
        push_line(out, &cells.collect::<Vec<_>>().join(","));
    }
}

/// One object a line, with the columns in their order.
fn push_json(out: &mut String, table: &Table) {
    out.push_str("[\n");
    for (at, row) in table.rows.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        let fields =
            table.columns.iter().zip(row).map(|(name, value)| format!("{}:{value}", Value::from(name.as_str())));
        push_line(out, &format!("{{{}}}", fields.collect::<Vec<_>>().join(",")));
    }
    out.push_str("]\n");
}

fn push_pretty(out: &mut String, table: &Table) {
    let rows: Vec<Vec<String>> =
        table.rows.iter().map(|row| row.iter().map(|value| escape(&text(value))).collect()).collect();
    let widths: Vec<usize> = table
        .columns
        .iter()
        .enumerate()
        .map(|(at, name)| {
            rows.iter().map(|row| row[at].chars().count()).chain([name.chars().count()]).max().unwrap_or(0)
        })
        .collect();
    let rule = |left, middle, right| {
        let lines: Vec<_> = widths.iter().map(|width| "─".repeat(width + 2)).collect();
        format!("{left}{}{right}", lines.join(middle))
    };
    let line = |cells: &[String]| {
        let cells: Vec<_> = cells.iter().zip(&widths).map(|(cell, width)| format!(" {cell:<width$} ")).collect();
        format!("│{}│", cells.join("│"))
    };
    push_line(out, &rule("┌", "┬", "┐"));
    push_line(out, &line(&table.columns));
    for row in &rows {
        push_line(out, &rule("├", "┼", "┤"));
        push_line(out, &line(row));
    }
    push_line(out, &rule("└", "┴", "┘"));
}

/// A value as it stands in a table: lists and tables in Erlang's notation, as rabbitmqctl prints them.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(text).collect::<Vec<_>>().join(", ")),
        Value::Object(_) => term(value),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// A value within a table of arguments.
fn term(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(term).collect::<Vec<_>>().join(",")),
        Value::Object(fields) => {
            let fields =
                fields.iter().map(|(name, value)| format!("{{{},{}}}", Value::from(name.as_str()), term(value)));
            format!("[{}]", fields.collect::<Vec<_>>().join(","))
        }
        Value::Null => String::from("undefined"),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}

/// Keeps what would break a line or a column apart from the format.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\\' => out.push_str("\\\\"),
            letter if letter.is_control() => {
                let _ = write!(out, "\\{:03o}", u32::from(letter));
            }
            letter => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::verbs::CommandLine;
    use clap::Parser;
    use serde_json::json;

    fn shown(arguments: &[&str]) -> String {
        let line = ["leveretctl"].iter().chain(arguments).chain(&["ping"]);
        let options = CommandLine::try_parse_from(line).unwrap().options;
        let table = Table {
            columns: ["name", "tags", "arguments", "messages"].map(str::to_owned).to_vec(),
            rows: vec![
                vec![json!("a\tb\\"), json!(["x", "y"]), json!({"k": "v", "l": [1, true]}), json!(5)],
                vec![json!("say \"c\""), json!([]), json!({}), Value::Null],
            ],
        };
        format(&options, "Listing ...", &Body::Table(table))
    }

    /// Taken from rabbitmqctl 3.10.
    #[test]
    fn tables_look_like_rabbitmqctls() {
        let rows = "a\\011b\\\\\t[x, y]\t[{\"k\",\"v\"},{\"l\",[1,true]}]\t5\nsay \"c\"\t[]\t[]\t\n";
        let header = "name\ttags\targuments\tmessages\n";
        assert_eq!(shown(&[]), format!("Listing ...\n{header}{rows}"));
        assert_eq!(shown(&["-q"]), format!("{header}{rows}"));
        assert_eq!(shown(&["-s"]), rows);
        assert_eq!(shown(&["--no-table-headers"]), format!("Listing ...\n{rows}"));
        assert_eq!(shown(&["--formatter", "csv"]).lines().nth(2), Some("\"say \"\"c\"\"\",\"[]\",\"[]\",\"\""));
        assert!(shown(&["--formatter", "csv"]).contains(",\"5\"\n"));
    }

    #[test]
    fn json_is_json_with_the_columns_in_their_order() {
        let text = shown(&["--formatter", "json"]);
        assert!(text.contains("{\"name\":\"a\\tb\\\\\",\"tags\":[\"x\",\"y\"],\"arguments\":{\"k\":\"v\""), "{text}");
        let parsed: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(parsed[1]["messages"], Value::Null);
        let empty = serde_json::from_str::<Value>(&{
            let mut out = String::new();
            push_json(&mut out, &Table::default());
            out
        });
        assert_eq!(empty.unwrap(), json!([]));
    }

    #[test]
    fn pretty_tables_have_lines() {
        let text = shown(&["--formatter", "pretty_table"]);
        assert!(text.contains("│ name "), "{text}");
        let widths: Vec<_> = text.lines().skip(1).map(|line| line.chars().count()).collect();
        assert!(widths.windows(2).all(|pair| pair[0] == pair[1]), "{text}");
    }
}

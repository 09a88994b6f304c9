//! The story of a failure on one screen: what was promised, what happened to the message in question, what should have been.

mod promise;

use std::fmt::Write;

use serde::Serialize;

pub use self::promise::promise;
use crate::clock::Micros;
use crate::record::{Cause, Event, Fate, Kind, Recording};
use crate::report::{Report, seconds};

/// Numbered lines of an explanation at most.
pub const LINES_MAX: usize = 10;

/// Why a run failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The scenario.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// The kind of failure: "safety", "liveness" or "crash".
    pub kind: &'static str,
    /// The promise's name.
    pub oracle: String,
    /// What was promised.
    pub promised: String,
    /// What happened, in a sentence.
    pub happened: String,
    /// About what it is: a message, a queue, a channel or the whole node.
    pub subject: String,
    /// The messages it is about, by their numbers.
    pub messages: Vec<u32>,
    /// How it came to it, oldest first.
    pub lines: Vec<Line>,
    /// Events about the same that are not among the lines.
    pub left_out: u64,
    /// What should have been.
    pub expected: String,
    /// What was.
    pub actual: String,
    /// The command that repeats the run.
    pub repeat: String,
}

/// One step of a story.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// When, in microseconds.
    pub at: Micros,
    /// What.
    pub text: String,
    /// Whether it is here that the promise breaks.
    pub is_break: bool,
}

/// Explains the failure of a recorded run; `None` if it did not fail.
pub fn explain(report: &Report, recording: &Recording, repeat: &str) -> Option<Explanation> {
    let failure = report.failure.as_ref()?;
    let cause = recording.cause.clone().unwrap_or_else(|| Cause {
        at: recording.end,
        oracle: failure.oracle.to_owned(),
        text: failure.text.clone(),
        ..Cause::default()
    });
    let (lines, left_out) = lines(recording, &cause);
    Some(Explanation {
        scenario: report.scenario.clone(),
        seed: report.seed,
        kind: failure.kind.name(),
        oracle: failure.oracle.to_owned(),
        promised: promise(failure.oracle).to_owned(),
        happened: cause.text.clone(),
        subject: subject(recording, &cause),
        messages: cause.messages.clone(),
        lines,
        left_out,
        expected: cause.expected,
        actual: cause.actual,
        repeat: repeat.to_owned(),
    })
}

impl Explanation {
    /// The explanation as a screen of text.
    pub fn text(&self) -> String {
        let Self { scenario, seed, kind, oracle, promised, happened, subject, expected, actual, repeat, .. } = self;
        let mut out = String::new();
        let _ = writeln!(out, "FAIL {oracle} ({kind})  {scenario}  seed={seed}");
        let _ = writeln!(out, "promised: {promised}");
        let _ = writeln!(out, "happened: {happened}");
        let _ = writeln!(out, "the story of {subject}:");
        for (number, line) in (1..).zip(&self.lines) {
            let mark = if line.is_break { "  <-- here it breaks" } else { "" };
            let _ = writeln!(out, "{number:>3}. {} {}{mark}", seconds(line.at), line.text);
        }
        if self.left_out > 0 {
            let _ = writeln!(out, "     ({} less telling events are left out)", self.left_out);
        }
        let _ = writeln!(out, "expected: {expected}");
        let _ = writeln!(out, "actual:   {actual}");
        let _ = writeln!(out, "repeat:   {repeat}");
        out
    }
}

/// About what a failure is.
fn subject(recording: &Recording, cause: &Cause) -> String {
    match (&cause.messages[..], cause.channel, &cause.queue, cause.lane) {
        ([one], ..) => format!("message #{one}"),
        ([one, other, ..], ..) => format!("messages #{one} and #{other}"),
        ([], Some((connection, 0)), ..) => format!("connection {connection}"),
        ([], Some((connection, channel)), ..) => format!("channel {connection}/{channel}"),
        ([], None, Some(queue), _) => format!("queue {queue}"),
        ([], None, None, Some(lane)) => recording.lanes[lane].name.clone(),
        ([], None, None, None) => "the node".to_owned(),
    }
}

/// The most telling of the events that matter, oldest first, and how many others there are.
fn lines(recording: &Recording, cause: &Cause) -> (Vec<Line>, u64) {
    let first = recording.events.iter().find(|event| event.is_about(&cause.messages)).map_or(0, start);
    let consumers: Vec<usize> = recording
        .events
        .iter()
        .filter(|event| event.kind == Kind::Said && event.queue.is_some() && event.queue == cause.queue)
        .map(|event| event.lane)
        .collect();
    let mut chosen: Vec<Step<'_>> = Vec::new();
    let (mut count, mut starts) = (0, 0);
    for (place, event) in recording.events.iter().enumerate() {
        let is_end = event.kind == Kind::FaultBegins && event.text.starts_with("fault: end");
        if event.kind == Kind::Broken || is_end {
            continue;
        }
        let Some(mut weight) = weight(event, cause, first, &consumers) else { continue };
        if event.kind == Kind::Node {
            starts += 1;
            // That the node came up in the first place goes without saying.
            weight = if starts <= 2 && event.at < START { 5 } else { weight };
        }
        count += 1;
        match chosen.last_mut() {
            // Without a message to follow, it does not matter which one of many alike it was.
            Some(last) if cause.messages.is_empty() && last.is_like(event) => {
                (last.end, last.alike) = (event, last.alike + 1);
            }
            _ => chosen.push(Step { weight, place, event, end: event, alike: 0 }),
        }
    }
    // Of equals, the later ones tell more.
    chosen.sort_by_key(|step| std::cmp::Reverse((step.weight, step.place)));
    chosen.truncate(LINES_MAX - 1);
    chosen.sort_by_key(|step| (line(step.event).at, step.place));
    let told: u64 = chosen.iter().map(|step| step.alike + 1).sum();
    let mut lines: Vec<Line> = chosen.iter().map(|step| step.line(cause.at)).collect();
    lines.push(Line { at: cause.at, text: cause.text.clone(), is_break: true });
    (lines, count - told)
}

/// By when a node has come up for the first time.
const START: Micros = 50_000;

/// One step of a story: an event, or several alike.
struct Step<'a> {
    weight: u32,
    place: usize,
    event: &'a Event,
    /// The last of those that are alike, and how many follow the first.
    end: &'a Event,
    alike: u64,
}

impl Step<'_> {
    fn is_like(&self, event: &Event) -> bool {
        let is_traffic = matches!(event.kind, Kind::Publish | Kind::Deliver | Kind::Ack | Kind::Confirm | Kind::Taken);
        self.event.text == event.text
            || is_traffic && (self.event.kind, self.event.lane, self.event.to) == (event.kind, event.lane, event.to)
    }

    /// The step in words; `end` is when the run ended.
    fn line(&self, end: Micros) -> Line {
        let mut line = line(self.event);
        if self.event.fate == Fate::Underway && line.at < end {
            line.text += " (still on its way)";
        }
        if self.alike > 0 {
            line.text += &format!(", and so on {} times, to {}", self.alike, seconds(self.end.at).trim_start());
        }
        line
    }
}

fn start(event: &Event) -> Micros {
    event.from.unwrap_or(event.at)
}

/// How much an event tells about the failure; `None` if it has nothing to do with it. `first` is when the story begins, `consumers`
/// are the lanes that consume the queue in question.
fn weight(event: &Event, cause: &Cause, first: Micros, consumers: &[usize]) -> Option<u32> {
    let is_about_messages = event.is_about(&cause.messages);
    let is_whole = matches!(event.kind, Kind::Node | Kind::FaultBegins);
    let is_mine = match (&cause.messages[..], cause.channel, &cause.queue, cause.lane) {
        ([_, ..], ..) => is_about_messages,
        ([], Some((connection, 0)), ..) => event.channel.is_some_and(|(its, _)| its == connection),
        ([], Some(channel), ..) => event.channel == Some(channel),
        ([], None, Some(queue), _) => {
            let is_near = matches!(event.kind, Kind::Connected | Kind::Closed) && consumers.contains(&event.lane);
            is_near || event.queue.as_ref() == Some(queue)
        }
        ([], None, None, Some(lane)) => event.lane == lane || event.to == Some(lane),
        ([], None, None, None) => !matches!(event.kind, Kind::Disk | Kind::Said),
    };
    let weight = match event.kind {
        Kind::LogLost => 100,
        Kind::Node => 85,
        // Of one message every step counts; of many, what is said besides.
        Kind::Publish | Kind::Confirm | Kind::Return | Kind::Deliver | Kind::Ack if !is_about_messages => 30,
        Kind::Refuse | Kind::Reject | Kind::Requeued | Kind::Left | Kind::Settled if !is_about_messages => 35,
        Kind::Said if cause.messages.is_empty() => 65,
        Kind::Publish | Kind::Confirm | Kind::Refuse | Kind::Return => 90,
        Kind::Deliver | Kind::Ack | Kind::Reject | Kind::Requeued | Kind::Left => 80,
        Kind::Queue => 75,
        Kind::Synced => 70,
        Kind::FaultBegins => 60,
        Kind::Connected | Kind::Closed => 50,
        Kind::Taken | Kind::Enqueued if !is_about_messages => 10,
        Kind::Taken | Kind::Enqueued => 45,
        Kind::Written | Kind::Settled => 40,
        Kind::Said => 20,
        Kind::FaultEnds | Kind::Disk | Kind::Broken => 10,
    };
    (is_mine || (is_whole && event.at >= first)).then_some(weight)
}

fn line(event: &Event) -> Line {
    let mut text = event.text.clone();
    if let (Fate::Lost, Some(from), Some(_)) = (event.fate, event.from, event.to) {
        let _ = write!(text, " (sent at {}, lost on its way)", seconds(from).trim_start());
    }
    // Something on its way is told when it set out: that is when somebody decided it.
    let is_told_late = event.fate == Fate::Lost || (event.kind == Kind::Publish && event.fate == Fate::Done);
    let at = if is_told_late { event.at } else { start(event) };
    Line { at, text, is_break: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recording(count: u32) -> Recording {
        let event = |at: u32| Event {
            at: at.into(),
            kind: if at == 0 { Kind::Publish } else { Kind::Deliver },
            messages: vec![7],
            text: format!("step {at}"),
            ..Event::default()
        };
        Recording { events: (0..count).map(event).collect(), ..Recording::default() }
    }

    fn cause() -> Cause {
        Cause { at: 1000, text: "it broke".to_owned(), messages: vec![7], ..Cause::default() }
    }

    #[test]
    fn a_long_story_is_cut_to_ten_lines_with_its_beginning_and_its_end() {
        let (lines, left_out) = lines(&recording(40), &cause());
        assert_eq!(lines.len(), LINES_MAX);
        assert_eq!(lines[0].text, "step 0");
        assert_eq!(lines[8].text, "step 39");
        assert!(lines[9].is_break);
        assert_eq!(left_out, 31);
    }

    #[test]
    fn what_is_about_other_messages_is_left_out() {
        let mut other = recording(3);
        other.events[1].messages = vec![8];
        let (lines, left_out) = lines(&other, &cause());
        assert_eq!(lines.iter().map(|line| &*line.text).collect::<Vec<_>>(), ["step 0", "step 2", "it broke"]);
        assert_eq!(left_out, 0);
    }
}

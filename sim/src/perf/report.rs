//! What people and programs get to see.

use std::io::{IsTerminal as _, Write as _};

use indicatif::{ProgressBar, ProgressStyle};

use super::run::{Latency, Outcome, Progress};

/// Writes to standard output; whoever closed it does not want to hear more.
pub(super) fn say(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Prints a value as JSON.
pub(super) fn say_json(value: &impl serde::Serialize) -> Result<(), String> {
    let text = serde_json::to_string(value).map_err(|error| error.to_string())?;
    say(&format!("{text}\n"));
    Ok(())
}

/// One line on the terminal that tells how a run goes.
#[derive(Debug)]
pub(super) struct Live {
    bar: ProgressBar,
    name: String,
    last: Option<Progress>,
}

impl Live {
    /// A line for a run; nothing where nobody looks.
    pub(super) fn new(name: &str, is_quiet: bool) -> Self {
        let bar = if is_quiet || !std::io::stderr().is_terminal() {
            ProgressBar::hidden()
        } else {
            let style = ProgressStyle::with_template("{spinner} {msg}");
            ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
        };
        Self { bar, name: name.to_owned(), last: None }
    }

    pub(super) fn show(&mut self, progress: Progress) {
        let Progress { elapsed, counts, is_draining } = progress;
        let last = self.last.replace(progress);
        let since = last.map_or(elapsed, |last| elapsed.saturating_sub(last.elapsed));
        let before = last.map(|last| last.counts).unwrap_or_default();
        let rate = |now: u64, before: u64| {
            let millis = since.as_millis().max(1);
            group(u64::try_from(u128::from(now.saturating_sub(before)) * 1000 / millis).unwrap_or(u64::MAX))
        };
        let state = if is_draining { ", draining" } else { "" };
        self.bar.set_message(format!(
            "{} {:.1} s: published {}/s, confirmed {}/s, delivered {}/s, {} behind{state}",
            self.name,
            elapsed.as_secs_f64(),
            rate(counts.published, before.published),
            rate(counts.confirmed, before.confirmed),
            rate(counts.delivered, before.delivered),
            group(counts.published.saturating_sub(counts.delivered)),
        ));
        self.bar.tick();
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// The table at the end of a run.
pub(super) fn table(outcome: &Outcome) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| text.push_str(&format!("{name:<22}{value}\n"));
    line("measured", format!("{:.2} s", outcome.seconds));
    line("published", format!("{} ({} /s)", group(outcome.published), group(outcome.publish_rate)));
    if outcome.confirmed > 0 {
        let nacked = if outcome.nacked > 0 { format!(", {} refused", group(outcome.nacked)) } else { String::new() };
        line("confirmed", format!("{} ({} /s){nacked}", group(outcome.confirmed), group(outcome.confirm_rate)));
    }
    line("delivered", format!("{} ({} /s)", group(outcome.delivered), group(outcome.delivery_rate)));
    if outcome.blocked > 0 {
        line("blocked", format!("{} times", outcome.blocked));
    }
    if let Some(latency) = outcome.confirm_latency {
        line("confirm latency", latencies(latency));
    }
    if let Some(latency) = outcome.end_to_end_latency {
        line("end-to-end latency", latencies(latency));
    }
    if let Some(cpu) = outcome.broker_cpu_ns_per_message {
        line("broker's processor", format!("{:.2} µs per message", micros(cpu)));
    }
    if let Some(stolen) = outcome.stolen_share.filter(|&share| share > 0.0) {
        line("stolen by the host", format!("{:.1} % of a core", stolen * 100.0));
    }
    if let Some(resident) = outcome.broker_resident_kib {
        line("broker's memory", format!("{} MiB", resident / 1024));
    }
    if let Some(verdict) = outcome.verdict {
        let judgement = if verdict.is_clean() {
            "every message came once, in order and unharmed".to_owned()
        } else {
            format!(
                "{} lost, {} duplicated, {} redelivered, {} out of order, {} corrupted",
                verdict.lost, verdict.duplicated, verdict.redelivered, verdict.out_of_order, verdict.corrupted
            )
        };
        line("messages", judgement);
    }
    text
}

pub(super) fn latencies(latency: Latency) -> String {
    let Latency { p50_us, p99_us, p999_us, max_us } = latency;
    format!("p50 {} µs, p99 {} µs, p99.9 {} µs, max {} µs", group(p50_us), group(p99_us), group(p999_us), group(max_us))
}

/// Nanoseconds as microseconds.
pub(super) fn micros(nanos: u64) -> f64 {
    std::time::Duration::from_nanos(nanos).as_secs_f64() * 1e6
}

/// A number with commas.
pub(super) fn group(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let check = |number, text| assert_eq!(group(number), text);
        check(0, "0");
        check(999, "999");
        check(1000, "1,000");
        check(1_234_567, "1,234,567");
    }
}

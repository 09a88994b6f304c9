//! A measurement as a page for a browser: one file, without a script, that needs nothing from anywhere.

use std::fmt::Write as _;

use super::histogram::Histogram;
use super::plot::{Axis, Line, picture};
use super::report::{group, table};
use super::run::{Outcome, Progress};
use crate::suite::escape::Escaped;

const STYLE: &str = include_str!("page.css");

/// The words of a command line as one text. Whoever gets the page is not to get a password.
pub(super) fn command(words: impl IntoIterator<Item = String>) -> String {
    let shown = words.into_iter().map(|word| {
        let login = word.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?)));
        match login.and_then(|(scheme, (login, place))| Some((scheme, login.split_once(':')?.0, place))) {
            Some((scheme, user, place)) => format!("{scheme}://{user}:***@{place}"),
            None => word,
        }
    });
    shown.collect::<Vec<_>>().join(" ")
}

/// The page's text: what was asked for, what came of it, the rates over time and the latencies of all messages.
pub(super) fn page(command: &str, outcome: &Outcome, course: &[Progress]) -> String {
    let mut out = String::from("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    out.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    let is_good = outcome.verdict.is_none_or(|verdict| verdict.is_clean());
    let title = format!("{} messages a second", group(outcome.delivery_rate.max(outcome.publish_rate)));
    let _ = writeln!(out, "<title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>");
    let class = if is_good { "good" } else { "bad" };
    let _ =
        writeln!(out, "<header class=\"{class}\"><h1>{title}</h1>\n<p><code>{}</code></p></header>", Escaped(command));
    let _ = writeln!(out, "<pre class=\"card\">{}</pre>", Escaped(table(outcome).trim_end()));
    out.push_str("<div class=\"two\">\n");
    out.push_str(&rates(course));
    let latencies = [("confirm", &outcome.confirm_times), ("end to end", &outcome.end_to_end_times)];
    let latencies: Vec<(&'static str, &Histogram)> =
        latencies.into_iter().filter_map(|(name, times)| Some((name, times.as_ref()?))).collect();
    if !latencies.is_empty() {
        out.push_str(&shares(&latencies));
    }
    out.push_str("</div>\n</main>\n</body>\n</html>\n");
    out
}

/// How many messages went where, second by second.
fn rates(course: &[Progress]) -> String {
    let rate = |count: fn(&Progress) -> u64| {
        let steps = course.windows(2).filter_map(move |pair| {
            let [before, after] = pair else { return None };
            let seconds = (after.elapsed.saturating_sub(before.elapsed)).as_secs_f64();
            let count = count(after).saturating_sub(count(before)) as f64;
            (seconds > 0.0).then(|| (after.elapsed.as_secs_f64(), count / seconds))
        });
        steps.collect::<Vec<_>>()
    };
    let lines = [
        Line { name: "published", points: rate(|progress| progress.counts.published) },
        Line { name: "confirmed", points: rate(|progress| progress.counts.confirmed) },
        Line { name: "delivered", points: rate(|progress| progress.counts.delivered) },
    ];
    let lines: Vec<Line> = lines.into_iter().filter(|line| line.points.iter().any(|(_, rate)| *rate > 0.0)).collect();
    let greatest = |part: fn(&(f64, f64)) -> f64| {
        lines.iter().flat_map(|line| &line.points).map(part).fold(f64::MIN_POSITIVE, f64::max)
    };
    let x = Axis::linear("seconds since the first publish", greatest(|point| point.0), |seconds| format!("{seconds}"));
    let y = Axis::linear("messages a second", greatest(|point| point.1), short);
    picture("Messages a second", &x, &y, &lines)
}

/// How long which share of the messages took at most. Both axes are logarithmic: to the right the slowest of ten, of a hundred, of a
/// thousand.
fn shares(latencies: &[(&'static str, &Histogram)]) -> String {
    let lines: Vec<Line> = latencies
        .iter()
        .map(|(name, times)| {
            let points = times.shares().map(|(nanos, share)| (-(1.0 - share).log10(), (nanos.max(1) as f64).log10()));
            Line { name, points: points.collect() }
        })
        .collect();
    let points = || lines.iter().flat_map(|line| &line.points);
    let nines = points().map(|point| point.0).fold(1.0, f64::max).ceil();
    let lowest = points().map(|point| point.1).fold(f64::MAX, f64::min).floor();
    let highest = points().map(|point| point.1).fold(0.0, f64::max).ceil().max(lowest + 1.0);
    let x_marks = [(0.0, "0 %"), (1.0, "90 %"), (2.0, "99 %"), (3.0, "99.9 %"), (4.0, "99.99 %"), (5.0, "99.999 %")];
    let x_marks = x_marks.into_iter().chain([(6.0, "99.9999 %"), (7.0, "99.99999 %")]);
    let x = Axis {
        label: "share of the messages",
        from: 0.0,
        to: nines,
        marks: x_marks.filter(|(at, _)| *at <= nines).map(|(at, text)| (at, text.to_owned())).collect(),
    };
    let y_marks = [(2.0, "100 ns"), (3.0, "1 µs"), (4.0, "10 µs"), (5.0, "100 µs"), (6.0, "1 ms"), (7.0, "10 ms")];
    let y_marks = y_marks.into_iter().chain([(8.0, "100 ms"), (9.0, "1 s"), (10.0, "10 s"), (11.0, "100 s")]);
    let y = Axis {
        label: "took at most",
        from: lowest,
        to: highest,
        marks: y_marks
            .filter(|(at, _)| (lowest..=highest).contains(at))
            .map(|(at, text)| (at, text.to_owned()))
            .collect(),
    };
    picture("Latency", &x, &y, &lines)
}

/// A rate in few letters.
fn short(number: f64) -> String {
    match number {
        _ if number >= 1e6 => format!("{}M", number / 1e6),
        _ if number >= 1e3 => format!("{}k", number / 1e3),
        _ => format!("{number}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::perf::counters::Counts;

    #[test]
    fn passwords_are_not_shown() {
        let words = ["perf", "--uri=amqp://me:secret@example:5672", "--uri", "amqp://127.0.0.1", "-s", "16"];
        let text = command(words.map(str::to_owned));
        assert_eq!(text, "perf --uri=amqp://me:***@example:5672 --uri amqp://127.0.0.1 -s 16");
    }

    #[test]
    fn a_page_shows_rates_and_latencies() {
        let mut times = Histogram::new();
        for micros in 1..=1000 {
            times.record(micros * 1000);
        }
        let outcome = Outcome { end_to_end_times: Some(times), delivery_rate: 4000, ..Outcome::default() };
        let course: Vec<Progress> = (0..8)
            .map(|step| Progress {
                elapsed: Duration::from_millis(250 * step),
                counts: Counts { published: 1000 * step, delivered: 1000 * step, ..Counts::default() },
                is_draining: false,
            })
            .collect();
        let page = page("leveret-sim perf -u \"<q>\"", &outcome, &course);
        assert!(page.contains("<h1>4,000 messages a second</h1>"));
        assert!(page.contains("-u &quot;&lt;q&gt;&quot;"));
        // Nothing was confirmed, so there is no line for it.
        assert_eq!(page.matches("<polyline").count(), 3);
        assert!(page.contains(">delivered</span>") && !page.contains(">confirmed</span>"));
        // A thousand messages say something about the slowest of a thousand and no more.
        assert!(page.contains(">99.9 %<") && !page.contains(">99.99 %<"));
    }
}

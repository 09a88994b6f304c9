//! A suite as a page for a browser: one file, without a script, that needs nothing from anywhere.

use std::fmt::Write;
use std::path::{Component, Path, PathBuf};

use super::determinism;
use super::entry::Entry;
use super::escape::Escaped;
use super::table::{duration, first, times};
use super::tally::{Cell, Ending, Mark, ScenarioTally, Tally};
use super::verdict::Verdict;

const STYLE: &str = include_str!("page.css");
/// Squares in a scenario's row; with more runs than that, one square stands for several.
const SQUARES_MAX: usize = 400;
/// Runs in the list of the slowest.
const SLOWEST: usize = 10;
/// A run is slow if it takes so many times as long as half of its scenario's runs do at most...
const SLOW_TIMES: u64 = 4;
/// ...and at least this long.
const SLOW_MIN_US: u64 = 20_000;

/// What the page shows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page<'a> {
    /// The scenarios.
    pub(crate) entries: &'a [Entry],
    /// What came of them.
    pub(crate) tally: &'a Tally,
    /// Whether that is good enough.
    pub(crate) verdict: &'a Verdict,
    /// Whether runs were the same twice.
    pub(crate) check: Option<&'a determinism::Outcome>,
    /// The program.
    pub(crate) build: &'a str,
    /// Real time of it all.
    pub(crate) wall_ms: u64,
    /// The folder that the page will be in; links to what was saved start there.
    pub(crate) folder: &'a Path,
}

/// The page of a capsule.
const PICTURE: &str = "report.html";

impl Page<'_> {
    /// The page's text.
    pub(crate) fn html(&self) -> String {
        let mut out = String::from("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
        out.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
        let _ = writeln!(out, "<title>Simulation: {}</title>\n<style>\n{STYLE}</style>", self.verdict.text());
        out.push_str("</head>\n<body>\n<main>\n");
        self.header(&mut out);
        self.failures(&mut out);
        self.shortcomings(&mut out);
        self.heat_map(&mut out);
        self.slowest(&mut out);
        out.push_str("<div class=\"two\">\n");
        self.marks(&mut out, "How often each promise was at stake", &self.tally.promises(self.entries));
        self.marks(&mut out, "How often it came to", &self.tally.situations(self.entries));
        out.push_str("</div>\n</main>\n</body>\n</html>\n");
        out
    }

    fn header(&self, out: &mut String) {
        let class = if self.verdict.is_good() { "good" } else { "bad" };
        let scenarios = self.tally.scenarios.iter().filter(|scenario| !scenario.cells.is_empty()).count();
        let _ = writeln!(
            out,
            "<header class=\"{class}\"><h1>Simulation: {}</h1>\n<p>{} runs of {scenarios} scenarios in {}, {} failed · \
             {} messages · {} s simulated · {}</p></header>",
            self.verdict.text(),
            self.tally.runs,
            duration(self.wall_ms.saturating_mul(1000)),
            self.tally.failures(),
            self.tally.scenarios.iter().map(|scenario| scenario.messages).sum::<u64>(),
            self.tally.scenarios.iter().map(|scenario| scenario.virtual_us).sum::<u64>() / 1_000_000,
            Escaped(self.build),
        );
    }

    fn failures(&self, out: &mut String) {
        if !self.tally.groups.is_empty() {
            out.push_str("<h2>Failures</h2>\n");
        }
        for group in self.tally.ranked() {
            let place = self.place_of(&group.signature);
            let example = group.example();
            let _ = writeln!(
                out,
                "<section class=\"card failure\" id=\"f{place}\"><h3>{} <span class=\"tag\">{} · {}</span></h3>\n<p>{}</p>",
                Escaped(group.oracle),
                group.kind.name(),
                times(group.count),
                Escaped(&example.text),
            );
            for (&entry, example) in &group.soonest {
                let command = self.entries[entry].repeat_command(example.item.seed);
                let _ = write!(out, "<p><code>{}</code>", Escaped(&command));
                if let Some(saved) = &example.saved {
                    let _ = write!(
                        out,
                        " <a href=\"{}\">what was saved of it</a>",
                        Escaped(&link(self.folder, &saved.join(PICTURE)))
                    );
                }
                out.push_str("</p>\n");
            }
            let _ = writeln!(
                out,
                "<details><summary>The story</summary><pre>{}</pre></details></section>",
                Escaped(example.story.trim_end())
            );
        }
    }

    fn place_of(&self, signature: &str) -> usize {
        self.tally.groups.iter().position(|group| group.signature == signature).unwrap_or_default()
    }

    /// What is wrong beside broken promises.
    fn shortcomings(&self, out: &mut String) {
        let Verdict { unmet, untried, .. } = self.verdict;
        if !unmet.is_empty() || !untried.is_empty() {
            out.push_str("<h2>Never tried</h2>\n<section class=\"card failure\">\n");
            for (scenario, text) in unmet {
                let _ = writeln!(out, "<p><code>{}</code> {}</p>", Escaped(scenario), Escaped(text));
            }
            out.push_str("<ul class=\"never\">\n");
            for name in untried {
                let _ = writeln!(out, "<li>{}</li>", Escaped(name));
            }
            out.push_str("</ul></section>\n");
        }
        let Some(outcome) = self.check else { return };
        let class = if outcome.divergence.is_some() { "card failure" } else { "card" };
        let _ = writeln!(
            out,
            "<h2>Determinism</h2>\n<section class=\"{class}\"><p>{} runs were made again in another process, {} differed.</p>",
            outcome.compared, outcome.differed
        );
        if let Some(divergence) = &outcome.divergence {
            let _ = writeln!(out, "<pre>{}</pre>", Escaped(divergence.story().trim_end()));
        }
        out.push_str("</section>\n");
    }

    fn heat_map(&self, out: &mut String) {
        out.push_str("<h2>Scenarios and seeds</h2>\n<p class=\"legend\">");
        out.push_str("<span>quick");
        for class in ["a", "b", "c", "d"] {
            let _ = write!(out, "<i class=\"{class}\"></i>");
        }
        out.push_str("long</span>");
        for (class, text) in [("s", "slow for its scenario"), ("e", "failed as it should"), ("f", "failed")] {
            let _ = write!(out, "<span><i class=\"{class}\"></i>{text}</span>");
        }
        out.push_str("</p>\n<div class=\"card map\">\n");
        let mut all: Vec<u64> =
            self.tally.scenarios.iter().flat_map(|scenario| &scenario.cells).map(|cell| cell.wall_us).collect();
        let median = median(&mut all);
        for (entry, scenario) in self.entries.iter().zip(&self.tally.scenarios) {
            let failures = scenario.failures();
            let failed = if failures > 0 { format!("<b>{failures}</b> / ") } else { String::new() };
            let _ = write!(
                out,
                "<div class=\"name\" title=\"{}\">{}</div><div class=\"count\">{failed}{}</div><div class=\"cells\">",
                Escaped(&entry.scenario.about),
                Escaped(entry.name()),
                scenario.cells.len()
            );
            match &entry.unavailable {
                Some(reason) => {
                    let _ = write!(out, "<span class=\"skipped\">skipped: {}</span>", Escaped(reason));
                }
                None => self.squares(out, scenario, median),
            }
            out.push_str("</div>\n");
        }
        out.push_str("</div>\n");
    }

    fn squares(&self, out: &mut String, scenario: &ScenarioTally, median_of_all: u64) {
        let mut own: Vec<u64> = scenario.cells.iter().map(|cell| cell.wall_us).collect();
        let slow_us = (SLOW_TIMES * median(&mut own)).max(SLOW_MIN_US);
        let per_square = scenario.cells.len().div_ceil(SQUARES_MAX).max(1);
        for cells in scenario.cells.chunks(per_square) {
            let (first, last) = (cells[0].item.seed, cells[cells.len() - 1].item.seed);
            let seeds = if first == last { format!("seed {first}") } else { format!("seeds {first} to {last}") };
            if let Some((cell, group)) = cells.iter().find_map(|cell| match cell.ending {
                Ending::Failed { group, .. } => Some((cell, group)),
                Ending::Kept | Ending::AsExpected => None,
            }) {
                let (href, oracle) = self.target(cell, group);
                let (href, oracle) = (Escaped(&href), Escaped(oracle));
                let _ = write!(out, "<a class=\"f\" href=\"{href}\" title=\"{seeds}: {oracle}\"></a>");
                continue;
            }
            let longest = cells.iter().map(|cell| cell.wall_us).max().unwrap_or_default();
            let class = if cells.iter().any(|cell| matches!(cell.ending, Ending::AsExpected)) {
                "e"
            } else if longest > slow_us {
                "s"
            } else {
                shade(longest, median_of_all)
            };
            let _ = write!(out, "<i class=\"{class}\" title=\"{seeds}: {}\"></i>", duration(longest));
        }
    }

    /// Where a failed run's square leads to: what was saved of it, or the list of failures.
    fn target(&self, cell: &Cell, group: usize) -> (String, &'static str) {
        let failures = &self.tally.groups[group];
        let example = failures.soonest.get(&cell.item.entry).filter(|example| example.item == cell.item);
        let saved = example.and_then(|example| example.saved.as_ref());
        (saved.map_or_else(|| format!("#f{group}"), |saved| link(self.folder, &saved.join(PICTURE))), failures.oracle)
    }

    fn slowest(&self, out: &mut String) {
        let mut cells: Vec<&Cell> = self.tally.scenarios.iter().flat_map(|scenario| &scenario.cells).collect();
        cells.sort_by_key(|cell| (std::cmp::Reverse(cell.wall_us), cell.item.order));
        cells.truncate(SLOWEST);
        out.push_str("<h2>The slowest runs</h2>\n<div class=\"card scroll\"><table>\n");
        for cell in cells {
            let command = self.entries[cell.item.entry].repeat_command(cell.item.seed);
            let _ = writeln!(
                out,
                "<tr><td class=\"n\">{}</td><td><code>{}</code></td></tr>",
                duration(cell.wall_us),
                Escaped(&command)
            );
        }
        out.push_str("</table></div>\n");
    }

    fn marks(&self, out: &mut String, title: &str, marks: &[Mark]) {
        let _ = writeln!(out, "<section><h2>{title}</h2>\n<div class=\"card scroll\"><table>");
        out.push_str("<tr><th class=\"n\">hits</th><th>what</th><th>first</th></tr>\n");
        for mark in marks {
            let class = if mark.hits == 0 { " class=\"never\"" } else { "" };
            let _ = writeln!(
                out,
                "<tr{class}><td class=\"n\">{}</td><td>{}</td><td>{}</td></tr>",
                mark.hits,
                Escaped(mark.name),
                Escaped(&first(self.entries, mark))
            );
        }
        out.push_str("</table></div></section>\n");
    }
}

/// The darker the longer.
fn shade(wall_us: u64, median_us: u64) -> &'static str {
    match wall_us.saturating_mul(4) / median_us.max(1) {
        0..2 => "a",
        2..8 => "b",
        8..32 => "c",
        _ => "d",
    }
}

fn median(values: &mut [u64]) -> u64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// The way from a folder to a file, for a link; both are as given on the command line, from the same place.
fn link(folder: &Path, file: &Path) -> String {
    let plain = |path: &Path| path.components().filter(|part| *part != Component::CurDir).collect::<PathBuf>();
    let (folder, file) = (plain(folder), plain(file));
    if file.is_absolute() != folder.is_absolute() || folder.components().any(|part| part == Component::ParentDir) {
        return percent(&std::path::absolute(&file).unwrap_or(file).display().to_string());
    }
    let shared = folder.components().zip(file.components()).take_while(|(one, other)| one == other).count();
    let up = "../".repeat(folder.components().count() - shared);
    let rest: PathBuf = file.components().skip(shared).collect();
    percent(&format!("{up}{}", rest.display()))
}

/// What stands for something else in an address stands for itself.
fn percent(path: &str) -> String {
    path.replace('%', "%25").replace('#', "%23").replace('?', "%3F").replace(' ', "%20")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::tally::tests::{Sample, lost};
    use crate::suite::verdict::Gate;

    #[test]
    fn the_page_needs_nothing_and_leads_from_a_failed_run_to_what_was_saved() {
        let mut sample = Sample::new();
        for seed in 0..4 {
            sample.add(seed, 0, seed, None);
            sample.add(10 + seed, 1, seed, (seed > 1).then(|| lost(9)));
        }
        sample.tally.finish();
        let soonest = sample.tally.groups[0].soonest.get_mut(&1).unwrap();
        assert_eq!(soonest.item.seed, 3);
        soonest.saved = Some(PathBuf::from("out/failures/lost tx"));
        let Sample { entries, tally, .. } = &sample;
        let verdict = Verdict::of(entries, tally, Gate::Whole, None);
        let page = Page {
            entries,
            tally,
            verdict: &verdict,
            check: None,
            build: "here",
            wall_ms: 5,
            folder: Path::new("out"),
        };
        let html = page.html();
        assert!(!html.contains("http") && !html.contains("<script"), "{html}");
        assert!(html.contains("<a class=\"f\" href=\"#f0\" title=\"seed 2: lost\">"), "{html}");
        assert!(
            html.contains("<a class=\"f\" href=\"failures/lost%20tx/report.html\" title=\"seed 3: lost\">"),
            "{html}"
        );
        assert!(html.contains("message 9 &lt;was&gt; &amp; is &quot;gone&quot;"), "{html}");
        assert_eq!(html.matches(" title=\"seed ").count(), 8);
        assert!(html.contains("<tr class=\"never\"><td class=\"n\">0</td><td>power failures</td>"), "{html}");
    }

    #[test]
    fn many_runs_share_squares_and_none_is_left_out() {
        let mut sample = Sample::new();
        for seed in 0..1001 {
            sample.add(seed, 0, seed, (seed == 500).then(|| lost(1)));
        }
        sample.tally.finish();
        let mut out = String::new();
        let Sample { entries, tally, .. } = &sample;
        let verdict = Verdict::of(entries, tally, Gate::Own, None);
        let page =
            Page { entries, tally, verdict: &verdict, check: None, build: "", wall_ms: 5, folder: Path::new("out") };
        page.squares(&mut out, &tally.scenarios[0], 1000);
        assert_eq!(out.matches(" title=").count(), 1001_usize.div_ceil(3));
        assert!(
            out.contains("title=\"seeds 498 to 500: lost\"") && out.contains("title=\"seeds 999 to 1000: "),
            "{out}"
        );
    }

    #[test]
    fn a_link_starts_where_the_page_is() {
        for (folder, file, expected) in [
            ("out", "out/failures/a", "failures/a"),
            ("./out/", "out/a", "a"),
            ("out/html", "saved/a#1", "../../saved/a%231"),
            ("/tmp/out", "/tmp/b", "../b"),
        ] {
            assert_eq!(link(Path::new(folder), Path::new(file)), expected, "{folder} {file}");
        }
        assert!(link(Path::new("../out"), Path::new("a")).starts_with('/'));
    }
}

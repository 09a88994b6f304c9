//! The verdict as one page with a drawing: exchanges, queues, who sends to whom, and in red what loses messages.
//!
//! The page needs nothing but itself. Columns follow the way of a message: from exchanges to queues, on to dead-letter and alternate
//! exchanges, and to the queues behind them; what leads back is drawn in an arc below.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use super::Verdict;
use super::finding::{Cause, Finding};
use super::lab::shown;
use super::subject::{Subject, is_own, text};

/// Pixels.
const NODE_WIDTH: usize = 190;
const NODE_HEIGHT: usize = 46;
const COLUMN: usize = 302;
const ROW: usize = 66;
const MARGIN: usize = 24;
/// Letters of a name that a node has room for, and those of a key beside an arrow.
const NAME_LETTERS: usize = 25;
const KEY_LETTERS: usize = 16;

/// A queue or an exchange.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Node {
    is_queue: bool,
    name: String,
}

/// An arrow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Edge {
    from: usize,
    to: usize,
    kind: Kind,
    label: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Binding,
    DeadLetter,
    Alternate,
}

impl Kind {
    const fn class(self) -> &'static str {
        match self {
            Self::Binding => "binding",
            Self::DeadLetter => "dead",
            Self::Alternate => "alternate",
        }
    }
}

/// What is drawn of one vhost.
#[derive(Debug)]
struct Drawing {
    nodes: Vec<Node>,
    edges: Vec<Edge>,
    /// The place of each node: column and row.
    places: Vec<(usize, usize)>,
}

/// The page.
pub(super) fn page(path: &Path, verdict: &Verdict) -> String {
    let title = escaped(&path.file_name().unwrap_or_default().to_string_lossy());
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}: can it lose messages?</title><style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n"
    );
    let findings = &verdict.findings;
    let says = match findings.len() {
        0 => "Sound: no message was lost without its publisher or consumer being told.".to_owned(),
        1 => "Messages can be lost in 1 way.".to_owned(),
        count => format!("Messages can be lost in {count} ways."),
    };
    let class = if findings.is_empty() { "sound" } else { "weak" };
    let tally = &verdict.tally;
    let _ = writeln!(
        out,
        "<p class=\"verdict {class}\">{says}</p>\n<p class=\"small\">{} experiments with the real engine, {} messages, {} lost.</p>",
        tally.experiments, tally.published, tally.lost
    );
    out.push_str(LEGEND);
    for subject in &verdict.subjects {
        if verdict.subjects.len() > 1 {
            let _ = writeln!(out, "<h2>vhost {}</h2>", escaped(&subject.vhost));
        }
        out.push_str("<div class=\"figure\">\n");
        Drawing::of(subject).draw(subject, findings, &mut out);
        out.push_str("</div>\n");
    }
    for (index, finding) in findings.iter().enumerate() {
        card(index + 1, finding, verdict.subjects.len() > 1, &mut out);
    }
    for note in &verdict.notes {
        let _ = writeln!(out, "<p class=\"small\">Note: {}.</p>", escaped(note));
    }
    out.push_str("</body></html>\n");
    out
}

fn card(number: usize, finding: &Finding, names_vhost: bool, out: &mut String) {
    let Finding { weakness, cause, story, vhost, .. } = finding;
    let vhost = if names_vhost { format!(" in vhost '{}'", escaped(vhost)) } else { String::new() };
    let cause = match cause {
        Cause::Design => "By design of your topology.".to_owned(),
        Cause::Fault(fault) => format!("By a fault: {}.", escaped(fault)),
    };
    let _ = writeln!(
        out,
        "<section id=\"f{number}\" class=\"{}\"><h3><span class=\"number\">{number}</span> {} <small>{} · {}{vhost}</small></h3>\n\
         <p><b>{cause}</b> {}</p><ol>",
        weakness.severity.name(),
        weakness.name,
        weakness.severity.name(),
        escaped(&finding.place_in_words()),
        escaped(weakness.about),
    );
    for line in story {
        let _ = writeln!(out, "<li><time>{}</time> {}</li>", shown(line.at_us), escaped(&line.text));
    }
    let _ = writeln!(out, "</ol><p class=\"mend\">To mend it: {}.</p></section>", escaped(weakness.hint));
}

impl Drawing {
    fn of(subject: &Subject) -> Self {
        let nodes = nodes(subject);
        let at: BTreeMap<&Node, usize> = nodes.iter().enumerate().map(|(index, node)| (node, index)).collect();
        let find = |is_queue, name: String| at.get(&Node { is_queue, name }).copied();
        let mut edges = BTreeSet::new();
        let mut add = |from: Option<usize>, to: Option<usize>, kind, label: String| {
            if let (Some(from), Some(to)) = (from, to) {
                edges.insert(Edge { from, to, kind, label });
            }
        };
        for binding in &subject.bindings {
            let from = find(false, binding.source.to_string_lossy().into_owned());
            let to = find(binding.leads_to_queue, binding.destination.to_string_lossy().into_owned());
            add(from, to, Kind::Binding, binding.routing_key.to_string_lossy().into_owned());
        }
        for (name, queue) in &subject.queues {
            let Some(exchange) = subject.dead_letter_exchange(name) else { continue };
            let key = queue.settings.dead_letter_routing_key.as_ref().map(text);
            let from = find(true, name.clone());
            if exchange.is_empty() {
                let key = key.unwrap_or_else(|| name.clone());
                add(from, find(true, key), Kind::DeadLetter, String::new());
            } else {
                add(from, find(false, exchange), Kind::DeadLetter, key.unwrap_or_default());
            }
        }
        for (name, exchange) in &subject.exchanges {
            if let Some(alternate) = &exchange.alternate_exchange {
                add(find(false, name.clone()), find(false, text(alternate)), Kind::Alternate, String::new());
            }
        }
        let edges: Vec<Edge> = edges.into_iter().collect();
        let places = places(nodes.len(), &edges);
        Self { nodes, edges, places }
    }

    fn draw(&self, subject: &Subject, findings: &[Finding], out: &mut String) {
        let columns = self.places.iter().map(|place| place.0 + 1).max().unwrap_or(1);
        let rows = self.places.iter().map(|place| place.1 + 1).max().unwrap_or(1);
        let has_arcs = self.edges.iter().any(|edge| self.leads_back(edge));
        let width = 2 * MARGIN + (columns - 1) * COLUMN + NODE_WIDTH;
        let height = 2 * MARGIN + (rows - 1) * ROW + NODE_HEIGHT + if has_arcs { ROW } else { 0 };
        let _ = writeln!(
            out,
            "<svg viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\" \
             aria-label=\"exchanges and queues\"><defs>"
        );
        for kind in [Kind::Binding, Kind::DeadLetter, Kind::Alternate] {
            let class = kind.class();
            let _ = writeln!(
                out,
                "<marker id=\"{class}\" class=\"{class}\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"7\" \
                 markerHeight=\"7\" orient=\"auto\"><path d=\"M0 0L8 4L0 8z\"/></marker>"
            );
        }
        out.push_str("</defs>\n");
        let mut labels: BTreeSet<(usize, usize)> = BTreeSet::new();
        for edge in &self.edges {
            self.draw_edge(edge, height, &mut labels, out);
        }
        for (index, node) in self.nodes.iter().enumerate() {
            self.draw_node(subject, index, node, findings, out);
        }
        out.push_str("</svg>\n");
    }

    fn leads_back(&self, edge: &Edge) -> bool {
        self.places[edge.to].0 <= self.places[edge.from].0
    }

    fn corner(&self, node: usize) -> (usize, usize) {
        let (column, row) = self.places[node];
        (MARGIN + column * COLUMN, MARGIN + row * ROW)
    }

    fn draw_edge(&self, edge: &Edge, height: usize, labels: &mut BTreeSet<(usize, usize)>, out: &mut String) {
        let (from_x, from_y) = self.corner(edge.from);
        let (to_x, to_y) = self.corner(edge.to);
        let class = edge.kind.class();
        let path = if self.leads_back(edge) {
            let (start, end) = (from_x + NODE_WIDTH / 2, to_x + NODE_WIDTH / 2);
            let low = (from_y.max(to_y) + NODE_HEIGHT + ROW).min(height - 4);
            format!("M{start} {}C{start} {low} {end} {low} {end} {}", from_y + NODE_HEIGHT, to_y + NODE_HEIGHT)
        } else {
            let (x, y, end, end_y) = (from_x + NODE_WIDTH, from_y + NODE_HEIGHT / 2, to_x, to_y + NODE_HEIGHT / 2);
            let half = (end - x) / 2;
            format!("M{x} {y}C{} {y} {} {end_y} {end} {end_y}", x + half, end - half)
        };
        let _ = writeln!(out, "<path class=\"edge {class}\" d=\"{path}\" marker-end=\"url(#{class})\"/>");
        if !edge.label.is_empty() && !self.leads_back(edge) {
            // Beside the arrow's head, above those that are there already.
            let (x, mut y) = (to_x - 12, to_y + NODE_HEIGHT / 2 - 4);
            while !labels.insert((x, y)) {
                y = y.saturating_sub(11);
            }
            let label = escaped(&cut(&edge.label, KEY_LETTERS));
            let _ = writeln!(out, "<text class=\"key\" x=\"{x}\" y=\"{y}\">{label}</text>");
        }
    }

    fn draw_node(&self, subject: &Subject, index: usize, node: &Node, findings: &[Finding], out: &mut String) {
        let (x, y) = self.corner(index);
        let numbers: Vec<usize> = findings
            .iter()
            .enumerate()
            .filter(|(_, finding)| {
                let is_here = (finding.is_queue, &finding.place) == (node.is_queue, &node.name);
                is_here && finding.vhost == subject.vhost
            })
            .map(|(index, _)| index + 1)
            .collect();
        let (kind, about, radius) = if node.is_queue {
            ("queue", of_queue(subject, &node.name), 4)
        } else {
            ("exchange", of_exchange(subject, &node.name), NODE_HEIGHT / 2)
        };
        let is_missing = !node.is_queue && !subject.exchanges.contains_key(&node.name);
        let weak = match (numbers.is_empty(), is_missing) {
            (_, true) => " missing",
            (true, _) => "",
            (false, _) => " weak",
        };
        let _ = writeln!(
            out,
            "<g class=\"node {kind}{weak}\"><title>{}</title><rect x=\"{x}\" y=\"{y}\" width=\"{NODE_WIDTH}\" \
             height=\"{NODE_HEIGHT}\" rx=\"{radius}\"/><text class=\"name\" x=\"{}\" y=\"{}\">{}</text>\
             <text class=\"about\" x=\"{}\" y=\"{}\">{}</text></g>",
            escaped(&node.name),
            x + NODE_WIDTH / 2,
            y + 20,
            escaped(&cut(&node.name, NAME_LETTERS)),
            x + NODE_WIDTH / 2,
            y + 36,
            escaped(&about),
        );
        for (at, number) in numbers.iter().rev().enumerate() {
            let x = x + NODE_WIDTH - 8 - at * 20;
            let _ = writeln!(
                out,
                "<a href=\"#f{number}\"><circle class=\"badge\" cx=\"{x}\" cy=\"{y}\" r=\"10\"/>\
                 <text class=\"badge\" x=\"{x}\" y=\"{}\">{number}</text></a>",
                y + 4
            );
        }
    }
}

/// Whatever takes part: exchanges that were declared, are bound or named by others, and all queues.
fn nodes(subject: &Subject) -> Vec<Node> {
    let is_bound = |name: &str| {
        subject.bindings.iter().any(|binding| {
            binding.source.as_bytes() == name.as_bytes()
                || (!binding.leads_to_queue && binding.destination.as_bytes() == name.as_bytes())
        })
    };
    let inner = subject.inner_exchanges();
    let exchanges = subject
        .exchanges
        .iter()
        .filter(|(name, exchange)| !name.is_empty() && (is_own(exchange) || is_bound(name) || inner.contains(*name)));
    // Those that something sends to although they are not there are drawn too.
    let missing = inner.iter().filter(|name| !subject.exchanges.contains_key(*name));
    let exchanges = exchanges.map(|(name, _)| name).chain(missing);
    let exchanges = exchanges.map(|name| Node { is_queue: false, name: name.clone() });
    exchanges.chain(subject.queues.keys().map(|name| Node { is_queue: true, name: name.clone() })).collect()
}

/// Columns by the longest way that leads there, rows so that arrows are short. Arrows that lead back count for nothing.
fn places(count: usize, edges: &[Edge]) -> Vec<(usize, usize)> {
    let forward = without_circles(count, edges);
    let mut columns = vec![0; count];
    // No way is longer than there are nodes.
    for _ in 0..count {
        let mut is_changed = false;
        for (from, to) in &forward {
            if columns[*to] < columns[*from] + 1 {
                columns[*to] = columns[*from] + 1;
                is_changed = true;
            }
        }
        if !is_changed {
            break;
        }
    }
    let mut places: Vec<(usize, usize)> = columns.iter().map(|column| (*column, 0)).collect();
    for column in 0..=columns.iter().copied().max().unwrap_or_default() {
        let mut members: Vec<(usize, usize)> = (0..count)
            .filter(|node| columns[*node] == column)
            .map(|node| {
                let rows: Vec<usize> =
                    forward.iter().filter(|(_, to)| *to == node).map(|(from, _)| places[*from].1).collect();
                // In hundredths, so that the mean keeps its order without fractions.
                (if rows.is_empty() { node * 100 } else { rows.iter().sum::<usize>() * 100 / rows.len() }, node)
            })
            .collect();
        members.sort_unstable();
        for (row, (_, node)) in members.into_iter().enumerate() {
            places[node].1 = row;
        }
    }
    places
}

/// The arrows without those that would close a circle; bindings come first.
fn without_circles(count: usize, edges: &[Edge]) -> Vec<(usize, usize)> {
    let mut kept: Vec<Vec<usize>> = vec![Vec::new(); count];
    let mut ordered: Vec<&Edge> = edges.iter().collect();
    ordered.sort_by_key(|edge| edge.kind);
    let mut forward = Vec::new();
    for edge in ordered {
        if !reaches(&kept, edge.to, edge.from) {
            kept[edge.from].push(edge.to);
            forward.push((edge.from, edge.to));
        }
    }
    forward
}

fn reaches(next: &[Vec<usize>], from: usize, to: usize) -> bool {
    let mut seen = BTreeSet::from([from]);
    let mut open = vec![from];
    while let Some(node) = open.pop() {
        if node == to {
            return true;
        }
        open.extend(next[node].iter().filter(|other| seen.insert(**other)));
    }
    false
}

fn of_queue(subject: &Subject, name: &str) -> String {
    let Some(queue) = subject.queues.get(name) else { return String::new() };
    let settings = &queue.settings;
    let mut words = vec![queue.kind.to_owned()];
    for (is_so, word) in [(!queue.durable, "transient"), (queue.auto_delete, "auto-delete")] {
        if is_so {
            words.push(word.to_owned());
        }
    }
    words.extend(settings.message_ttl_ms.map(|ttl| format!("ttl {}", shown(ttl * 1000))));
    words.extend(settings.length_max.map(|max| format!("max {max}")));
    words.extend(settings.length_max_bytes.map(|max| format!("max {max} B")));
    words.join(" · ")
}

fn of_exchange(subject: &Subject, name: &str) -> String {
    let Some(exchange) = subject.exchanges.get(name) else { return "does not exist".to_owned() };
    let transient = if exchange.durable { "" } else { " · transient" };
    format!("{} exchange{transient}", exchange.kind)
}

fn cut(text: &str, letters: usize) -> String {
    if text.chars().count() <= letters {
        return text.to_owned();
    }
    let head: String = text.chars().take(letters - 1).collect();
    format!("{head}…")
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            letter => out.push(letter),
        }
    }
    out
}

const LEGEND: &str = "<p class=\"small legend\"><span class=\"line binding\"></span> binding \
<span class=\"line dead\"></span> dead letters <span class=\"line alternate\"></span> alternate exchange \
<span class=\"box\"></span> loses messages</p>\n";

const STYLE: &str = "\
:root{color-scheme:light dark;--back:#fff;--text:#1d2430;--soft:#667085;--line:#c6ccd6;--queue:#eef4ff;--exchange:#f3f1fa;\
--binding:#5b6b86;--dead:#b54708;--alternate:#2e7d6b;--red:#c01c28;--weak:#fdebec;--green:#1a7f4b}\
@media(prefers-color-scheme:dark){:root{--back:#14171c;--text:#e6e9ef;--soft:#98a2b3;--line:#3a4250;--queue:#1c2737;\
--exchange:#25213a;--binding:#93a3bf;--dead:#f0a35e;--alternate:#6cc7b0;--red:#ff6b74;--weak:#3a1c20;--green:#5fce94}}\
body{margin:0 auto;max-width:1200px;padding:16px;background:var(--back);color:var(--text);\
font:15px/1.5 system-ui,sans-serif}h1{font-size:1.4rem;margin:.2em 0;overflow-wrap:anywhere}h2{font-size:1.1rem}\
h3{margin:0 0 .3em;font-size:1.02rem}small,.small,time{color:var(--soft);font-size:.86rem;font-weight:400}\
.verdict{font-size:1.1rem;font-weight:600;margin:.2em 0}.sound{color:var(--green)}p.weak{color:var(--red)}\
.figure{overflow:auto;border:1px solid var(--line);border-radius:8px;margin:12px 0}svg{display:block}\
.node rect{stroke:var(--line);stroke-width:1.2}.queue rect{fill:var(--queue)}.exchange rect{fill:var(--exchange)}\
.node.weak rect{fill:var(--weak);stroke:var(--red);stroke-width:2}.node.missing rect{fill:none;stroke:var(--red);stroke-dasharray:4 4}.node.missing text{fill:var(--red)}\
svg text{fill:var(--text);text-anchor:middle;font-size:12.5px}\
svg text.about{fill:var(--soft);font-size:11px}svg text.key{fill:var(--soft);font-size:10.5px;text-anchor:end;\
paint-order:stroke;stroke:var(--back);stroke-width:3px}circle.badge{fill:var(--red)}svg text.badge{fill:#fff;font-size:11px;\
font-weight:700}.edge{fill:none;stroke-width:1.3}.edge.binding{stroke:var(--binding)}.edge.dead{stroke:var(--dead);\
stroke-dasharray:6 4}.edge.alternate{stroke:var(--alternate);stroke-dasharray:2 4}marker.binding{fill:var(--binding)}\
marker.dead{fill:var(--dead)}marker.alternate{fill:var(--alternate)}.line{display:inline-block;width:28px;vertical-align:middle;\
border-top:2px solid var(--binding);margin-left:10px}.line.dead{border-top:2px dashed var(--dead)}\
.line.alternate{border-top:2px dotted var(--alternate)}.box{display:inline-block;width:14px;height:12px;vertical-align:middle;\
border:2px solid var(--red);background:var(--weak);border-radius:3px;margin-left:10px}section{border:1px solid var(--line);\
border-left:4px solid var(--soft);border-radius:8px;padding:10px 14px;margin:12px 0}section.high{border-left-color:var(--red)}\
section.medium{border-left-color:var(--dead)}section:target{outline:2px solid var(--red)}section p{margin:.3em 0}\
ol{margin:.4em 0;padding-left:1.6em}li{overflow-wrap:anywhere}time{display:inline-block;min-width:5.5em}\
.number{display:inline-block;min-width:1.5em;text-align:center;border-radius:1em;background:var(--red);color:#fff;\
font-size:.85rem}.mend{color:var(--green)}";

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(from: usize, to: usize, kind: Kind) -> Edge {
        Edge { from, to, kind, label: String::new() }
    }

    #[test]
    fn columns_follow_a_message_and_circles_end() {
        // 0 binds 1, which dead-letters to 2, which binds 3, which dead-letters back to 0.
        let edges = [
            edge(0, 1, Kind::Binding),
            edge(1, 2, Kind::DeadLetter),
            edge(2, 3, Kind::Binding),
            edge(3, 0, Kind::DeadLetter),
        ];
        let places = places(4, &edges);
        assert_eq!(places, [(0, 0), (1, 0), (2, 0), (3, 0)]);
    }

    #[test]
    fn two_in_one_column_have_rows_of_their_own() {
        let edges = [edge(0, 1, Kind::Binding), edge(0, 2, Kind::Binding)];
        assert_eq!(places(3, &edges), [(0, 0), (1, 0), (1, 1)]);
    }

    #[test]
    fn names_cannot_break_the_page() {
        assert_eq!(escaped("<q&\"1\">"), "&lt;q&amp;&quot;1&quot;&gt;");
        assert_eq!(cut("ümlaut", 4), "üml…");
    }
}

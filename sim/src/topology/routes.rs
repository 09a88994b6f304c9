//! Where messages can come in, and how they come to each queue: found by publishing and looking where they are.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use leveret_engine::amqp::{FieldTable, FieldValue};
use leveret_engine::management::BindingInfo;

use super::experiment::{Entry, Experiment, Heard, How, Path, Tally};
use super::rules::PublishRule;
use super::subject::{Subject, is_own};

/// Paths that are tried for one queue.
const PATHS_EACH: usize = 8;
/// Entries that are tried in all; a topology with more has many of a kind.
const ENTRIES_MAX: usize = 4000;
/// How often a message may die on its way to a queue.
const DEATHS_MAX: usize = 4;
/// Messages that go to one binding by chance or hash are published so often.
const TRIES: usize = 32;

/// How messages come to queues.
#[derive(Debug, Default)]
pub(super) struct Routes {
    /// The paths to each queue, shortest first.
    pub(super) paths: BTreeMap<String, Vec<Path>>,
    /// Entries whose messages no queue took, and nobody was told.
    pub(super) unroutable: Vec<Entry>,
    /// For the reader.
    pub(super) notes: Vec<String>,
    /// What became of the messages that were published to find this.
    pub(super) tally: Tally,
}

impl Routes {
    /// Finds them: from all exchanges that somebody may publish to, or only from where the user says that somebody does.
    ///
    /// # Errors
    /// If a rule names what does not exist or may not be published to.
    pub(super) fn find(subject: &Subject, rules: &[PublishRule]) -> Result<Self, String> {
        let mut explorer = Explorer { experiment: Experiment::new(subject), subject, routes: Self::default() };
        if rules.is_empty() {
            explorer.explore_all();
        }
        for rule in rules {
            let entry = of_rule(subject, rule)?;
            let heard = explorer.explore(&entry);
            if heard == Heard::Closed {
                let exchange = &rule.exchange;
                return Err(format!("--publish: exchange '{exchange}' cannot be published to: it is internal"));
            }
        }
        let mut routes = explorer.routes;
        routes.tally = explorer.experiment.finish().2;
        for paths in routes.paths.values_mut() {
            paths.sort_by_key(|path| path.deaths.len());
            paths.truncate(PATHS_EACH);
        }
        Ok(routes)
    }

    /// The paths to a queue.
    pub(super) fn to(&self, queue: &str) -> &[Path] {
        self.paths.get(queue).map(Vec::as_slice).unwrap_or_default()
    }
}

struct Explorer<'a> {
    experiment: Experiment<'a>,
    subject: &'a Subject,
    routes: Routes,
}

impl Explorer<'_> {
    fn explore_all(&mut self) {
        let subject = self.subject;
        let inner = subject.inner_exchanges();
        let mut entries = Vec::new();
        for (name, exchange) in &subject.exchanges {
            let bindings: Vec<&BindingInfo> =
                subject.bindings.iter().filter(|binding| is_named(&binding.source, name)).collect();
            if exchange.internal || inner.contains(name) || (bindings.is_empty() && !is_own(exchange)) {
                continue;
            }
            entries.extend(bindings.iter().flat_map(|binding| self.matching(name, binding)));
            // One that only other exchanges send to has the keys that they send.
            let is_fed =
                subject.bindings.iter().any(|binding| !binding.leads_to_queue && is_named(&binding.destination, name));
            if !is_fed {
                entries.extend(self.unmatched(name, &bindings));
            }
        }
        let mut tried: Vec<Entry> = Vec::new();
        for entry in entries {
            if tried.len() >= ENTRIES_MAX {
                let note = format!(
                    "only the first {ENTRIES_MAX} exchanges with their keys were tried; --publish names others"
                );
                self.routes.notes.push(note);
                break;
            }
            if !tried.contains(&entry) {
                self.explore(&entry);
                tried.push(entry);
            }
        }
        // Queues that nothing leads to so far: first those that messages stay in, by their own exchanges, or else directly.
        let mut rest: Vec<&String> = subject.queues.keys().collect();
        rest.sort_by_key(|queue| subject.queues[*queue].settings.message_ttl_ms.is_some());
        for queue in rest {
            if !self.routes.to(queue).is_empty() {
                continue;
            }
            let bindings = subject.bindings.iter();
            let leading = bindings.filter(|binding| binding.leads_to_queue && is_named(&binding.destination, queue));
            let entries: Vec<Entry> = leading
                .filter(|binding| {
                    let exchange = subject.exchanges.get(&*binding.source.to_string_lossy());
                    exchange.is_some_and(|exchange| !exchange.internal)
                })
                .flat_map(|binding| self.matching(&binding.source.to_string_lossy(), binding))
                .collect();
            for entry in entries {
                self.explore(&entry);
            }
            if self.routes.to(queue).is_empty() {
                self.explore(&usual("", queue));
            }
        }
    }

    /// Publishes a message, notes where it is, and then lets it die there, to see where it goes next.
    fn explore(&mut self, entry: &Entry) -> Heard {
        let (message, heard) = self.experiment.publish(entry, 8);
        let is_unroutable =
            self.experiment.losses().iter().any(|loss| loss.message == message && loss.how == How::Unroutable);
        if is_unroutable {
            self.routes.unroutable.push(entry.clone());
        }
        let mut open: VecDeque<(String, Vec<String>)> =
            self.experiment.holders(&message).into_iter().map(|queue| (queue, Vec::new())).collect();
        while let Some((queue, deaths)) = open.pop_front() {
            let path = Path { entry: entry.clone(), deaths, targets: BTreeSet::new() };
            let path = self.follow(&queue, path, &message, &mut open);
            let paths = self.routes.paths.entry(queue).or_default();
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
        self.experiment.purge();
        heard
    }

    fn follow(&mut self, queue: &str, path: Path, message: &str, open: &mut VecDeque<(String, Vec<String>)>) -> Path {
        if self.subject.dead_letter_exchange(queue).is_none() {
            return path;
        }
        let count = |contents: &BTreeMap<String, Vec<String>>, queue: &str| {
            contents.get(queue).map_or(0, |ids| ids.iter().filter(|id| *id == message).count())
        };
        let before = self.experiment.contents();
        if !self.experiment.reject(queue, message) {
            return path;
        }
        let after = self.experiment.contents();
        let came = after.keys().filter(|other| {
            let had = count(&before, other) - usize::from(*other == queue && count(&before, other) > 0);
            count(&after, other) > had
        });
        let targets: BTreeSet<String> = came.cloned().collect();
        let mut deaths = path.deaths.clone();
        deaths.push(queue.to_owned());
        if deaths.len() <= DEATHS_MAX {
            let next = targets.iter().filter(|target| !deaths.contains(target));
            open.extend(next.map(|target| (target.clone(), deaths.clone())));
        }
        Path { targets, ..path }
    }

    /// Messages that a binding is for.
    fn matching(&self, exchange: &str, binding: &BindingInfo) -> Vec<Entry> {
        let key = binding.routing_key.to_string_lossy();
        match &*self.subject.matching(exchange) {
            "topic" => {
                let words: Vec<&str> =
                    key.split('.').map(|word| if matches!(word, "*" | "#") { "any" } else { word }).collect();
                vec![usual(exchange, &words.join("."))]
            }
            "headers" => {
                let mut entry = usual(exchange, &key);
                entry.headers = Some(headers_for(&binding.arguments));
                vec![entry]
            }
            "direct" => vec![usual(exchange, &key)],
            "fanout" | "x-recent-history" => vec![usual(exchange, "any")],
            _ => (0..TRIES).map(|number| usual(exchange, &format!("any-{number}"))).collect(),
        }
    }

    /// Messages that perhaps no binding is for: a key like those that there are, and one unlike them.
    fn unmatched(&self, exchange: &str, bindings: &[&BindingInfo]) -> Vec<Entry> {
        let like = bindings.iter().filter_map(|binding| {
            let key = binding.routing_key.to_string_lossy().into_owned();
            let (head, _) = key.rsplit_once('.')?;
            (!head.contains(['*', '#'])).then(|| format!("{head}.unknown"))
        });
        let mut keys: BTreeSet<String> = like.take(PATHS_EACH).collect();
        keys.insert("unknown".to_owned());
        keys.into_iter().map(|key| usual(exchange, &key)).collect()
    }
}

/// A persistent message of a publisher who waits for confirms.
pub(super) fn usual(exchange: &str, key: &str) -> Entry {
    Entry {
        exchange: exchange.to_owned(),
        key: key.to_owned(),
        headers: None,
        persistent: true,
        confirm: true,
        mandatory: false,
    }
}

fn of_rule(subject: &Subject, rule: &PublishRule) -> Result<Entry, String> {
    if rule.exchange.is_empty() {
        if !subject.queues.contains_key(&rule.key) {
            let error = unknown("queue", &rule.key, subject.queues.keys());
            return Err(format!(
                "--publish: {error}; the default exchange (\"\") leads to the queue that the key names"
            ));
        }
    } else if !subject.exchanges.contains_key(&rule.exchange) {
        let own = subject.exchanges.iter().filter(|(_, exchange)| is_own(exchange)).map(|(name, _)| name);
        return Err(format!("--publish: {}", unknown("exchange", &rule.exchange, own)));
    }
    let PublishRule { exchange, key, persistent, confirm, mandatory } = rule.clone();
    Ok(Entry { exchange, key, headers: None, persistent, confirm, mandatory })
}

/// What to say of a name that nothing has.
pub(super) fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a String>) -> String {
    const SHOWN: usize = 12;
    let known: Vec<&str> = known.map(String::as_str).collect();
    let shown = known[..known.len().min(SHOWN)].join(", ");
    let more = if known.len() > SHOWN { format!(" and {} more", known.len() - SHOWN) } else { String::new() };
    let there_are = if known.is_empty() { "there are none".to_owned() } else { format!("there are: {shown}{more}") };
    format!("there is no {what} '{name}'; {there_are}")
}

fn headers_for(arguments: &FieldTable) -> FieldTable {
    let asked = arguments.iter().filter(|(name, _)| *name != "x-match");
    asked
        .map(|(name, value)| {
            // An argument without a value asks only that the header be there.
            let value = if matches!(value, FieldValue::Void) { FieldValue::Bool(true) } else { value.clone() };
            (name.clone(), value)
        })
        .collect()
}

fn is_named(name: &leveret_engine::amqp::ShortStr, text: &str) -> bool {
    name.as_bytes() == text.as_bytes()
}

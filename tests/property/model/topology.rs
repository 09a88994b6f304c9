//! Exchanges, bindings and routes: lists, and a walk over them.

use leveret_engine::amqp::FieldValue;

use super::super::program::Kind;
use super::message::Message;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Exchange {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) durable: bool,
    pub(super) auto_delete: bool,
    pub(super) internal: bool,
    pub(super) alternate: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Queue(String),
    Exchange(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Binding {
    pub(super) source: String,
    pub(super) target: Target,
    pub(super) key: String,
}

#[derive(Debug, Default)]
pub(super) struct Topology {
    pub(super) exchanges: Vec<Exchange>,
    pub(super) bindings: Vec<Binding>,
}

impl Topology {
    /// The exchanges that are there from the beginning.
    pub(super) fn new() -> Self {
        let predeclared = [
            ("amq.direct", Kind::Direct),
            ("amq.fanout", Kind::Fanout),
            ("amq.topic", Kind::Topic),
            ("amq.headers", Kind::Headers),
        ];
        let exchange = |(name, kind): (&str, Kind)| Exchange {
            name: name.to_owned(),
            kind,
            durable: true,
            auto_delete: false,
            internal: false,
            alternate: None,
        };
        Self { exchanges: predeclared.map(exchange).to_vec(), bindings: Vec::new() }
    }

    pub(super) fn exchange(&self, name: &str) -> Option<&Exchange> {
        self.exchanges.iter().find(|exchange| exchange.name == name)
    }

    pub(super) fn bind(&mut self, binding: Binding) {
        if !self.bindings.contains(&binding) {
            self.bindings.push(binding);
        }
    }

    pub(super) fn unbind(&mut self, binding: &Binding) {
        if self.bindings.contains(binding) {
            self.remove_bindings(|other| other == binding);
        }
    }

    /// Removes an exchange with all its bindings, and the auto-delete exchanges that lose their last one by it.
    pub(super) fn delete_exchange(&mut self, name: &str) {
        self.exchanges.retain(|exchange| exchange.name != name);
        self.bindings.retain(|binding| binding.source != name);
        self.remove_bindings(|binding| binding.target == Target::Exchange(name.to_owned()));
    }

    /// Removes bindings; an auto-delete exchange goes with the last binding of which it is the source.
    pub(super) fn remove_bindings(&mut self, is_gone: impl Fn(&Binding) -> bool) {
        let sources: Vec<String> =
            self.bindings.iter().filter(|binding| is_gone(binding)).map(|binding| binding.source.clone()).collect();
        self.bindings.retain(|binding| !is_gone(binding));
        for source in sources {
            let is_used = self.bindings.iter().any(|binding| binding.source == source);
            if !is_used && self.exchange(&source).is_some_and(|exchange| exchange.auto_delete) {
                self.delete_exchange(&source);
            }
        }
    }

    /// The names of the queues that a message reaches from an exchange with these keys, each once.
    ///
    /// An alternate exchange takes what no binding of its exchange matches (RabbitMQ docs: Alternate Exchanges). Each exchange is
    /// passed once, so cycles end. The default exchange is no use as an alternate one: it has no bindings to be found.
    pub(super) fn route(&self, exchange: &str, keys: &[String], message: &Message) -> Vec<String> {
        if exchange.is_empty() {
            let mut queues = keys.to_vec();
            queues.sort();
            queues.dedup();
            return queues;
        }
        let mut queues = Vec::new();
        let mut passed = Vec::new();
        let mut waiting = vec![exchange.to_owned()];
        while let Some(name) = waiting.pop() {
            if passed.contains(&name) {
                continue;
            }
            passed.push(name.clone());
            let Some(exchange) = self.exchange(&name) else { continue };
            let matching: Vec<&Binding> = self
                .bindings
                .iter()
                .filter(|binding| binding.source == name)
                .filter(|binding| keys.iter().any(|key| matches(exchange.kind, &binding.key, key, message)))
                .collect();
            if matching.is_empty() {
                waiting.extend(exchange.alternate.clone());
            }
            for binding in matching {
                match &binding.target {
                    Target::Queue(queue) => queues.push(queue.clone()),
                    Target::Exchange(exchange) => waiting.push(exchange.clone()),
                }
            }
        }
        queues.sort();
        queues.dedup();
        queues
    }
}

/// Whether a binding lets a message through. Bindings of headers exchanges ask for the header `h` with the binding key as its value.
fn matches(kind: Kind, binding_key: &str, key: &str, message: &Message) -> bool {
    match kind {
        Kind::Direct => binding_key == key,
        Kind::Fanout => true,
        Kind::Topic => {
            let words = |text: &str| text.split('.').map(ToOwned::to_owned).collect::<Vec<_>>();
            matches_words(&words(binding_key), &words(key))
        }
        Kind::Headers => message.header("h").and_then(FieldValue::as_str) == Some(binding_key),
    }
}

/// `*` is one word, `#` any number of words (AMQP 0-9-1 §3.1.3.3).
fn matches_words(pattern: &[String], words: &[String]) -> bool {
    match (pattern.split_first(), words.split_first()) {
        (None, None) => true,
        (None, Some(_)) => false,
        (Some((first, rest)), None) => first == "#" && matches_words(rest, words),
        (Some((first, rest)), Some((word, others))) => match first.as_str() {
            "#" => matches_words(rest, words) || matches_words(pattern, others),
            "*" => matches_words(rest, others),
            literal => literal == word && matches_words(rest, others),
        },
    }
}

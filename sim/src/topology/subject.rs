//! What is judged: one vhost of the definitions, as the engine understands it.

use std::collections::{BTreeMap, BTreeSet};

use leveret_engine::amqp::{FieldValue, LongStr};
use leveret_engine::management::{
    AdminReply, BindingInfo, DefinitionsRequest, ExchangeInfo, ExchangeRequest, Json, PermissionInfo,
    PermissionRequest, QueueInfo, QueueRequest, VhostRequest,
};

use super::definitions::Definitions;
use super::lab::{Lab, USER, short};

/// One vhost of the definitions.
#[derive(Debug)]
pub(super) struct Subject {
    /// Its name.
    pub(super) vhost: String,
    /// Its queues by name, with what policies and arguments come to.
    pub(super) queues: BTreeMap<String, QueueInfo>,
    /// Its exchanges by name.
    pub(super) exchanges: BTreeMap<String, ExchangeInfo>,
    /// Its bindings, but those of the default exchange.
    pub(super) bindings: Vec<BindingInfo>,
    json: String,
    into: Option<String>,
}

impl Subject {
    /// The vhosts of the definitions that have queues or exchanges of their own.
    ///
    /// # Errors
    /// In the engine's words, with the place in the document, if the definitions cannot be imported.
    pub(super) fn all(definitions: &Definitions) -> Result<Vec<Self>, String> {
        let json = definitions.document.to_string();
        let mut lab = Lab::new();
        let request = DefinitionsRequest::Import { json, vhost: definitions.into.clone() };
        lab.ask(request).map_err(|error| format!("the definitions cannot be imported: {error}"))?;
        let AdminReply::Vhosts(vhosts) = lab.ask(VhostRequest::List)? else { return Ok(Vec::new()) };
        let mut subjects = Vec::new();
        for vhost in vhosts {
            let json = of_vhost(&definitions.document, definitions.into.is_none(), &vhost.name).to_string();
            let mut subject = Self {
                queues: BTreeMap::new(),
                exchanges: BTreeMap::new(),
                bindings: Vec::new(),
                vhost: vhost.name,
                json,
                into: definitions.into.clone(),
            };
            subject.look(&mut lab)?;
            let has_own = subject.exchanges.values().any(is_own);
            if !subject.queues.is_empty() || has_own || !subject.bindings.is_empty() {
                subjects.push(subject);
            }
        }
        Ok(subjects)
    }

    /// A node on which the vhost is as the definitions have it, and its clients may do everything.
    ///
    /// # Panics
    /// Never: the same definitions have been imported before.
    pub(super) fn lab(&self) -> Lab {
        let mut lab = Lab::new();
        self.import(&mut lab);
        let all = || ".*".to_owned();
        let (user, vhost) = (USER.to_owned(), self.vhost.clone());
        let permission = PermissionInfo { user, vhost, configure: all(), write: all(), read: all() };
        lab.ask(PermissionRequest::Set(permission)).expect("the user and the vhost are there");
        lab
    }

    /// Declares again what is missing.
    ///
    /// # Panics
    /// Never: the same definitions have been imported before.
    pub(super) fn import(&self, lab: &mut Lab) {
        let request = DefinitionsRequest::Import { json: self.json.clone(), vhost: self.into.clone() };
        lab.ask(request).expect("what was imported once is imported again");
    }

    fn look(&mut self, lab: &mut Lab) -> Result<(), String> {
        let vhost = || Some(short(&self.vhost));
        if let AdminReply::Queues(queues) = lab.ask(QueueRequest::List { vhost: vhost() })? {
            self.queues = queues.into_iter().map(|queue| (queue.name.to_string_lossy().into_owned(), queue)).collect();
        }
        if let AdminReply::Exchanges(exchanges) = lab.ask(ExchangeRequest::List { vhost: vhost() })? {
            self.exchanges = exchanges.into_iter().map(|it| (it.name.to_string_lossy().into_owned(), it)).collect();
        }
        if let AdminReply::Bindings(bindings) = lab.ask(ExchangeRequest::ListBindings { vhost: vhost() })? {
            self.bindings = bindings.into_iter().filter(|binding| !binding.source.is_empty()).collect();
        }
        Ok(())
    }

    /// Exchanges that other objects of the topology send to: dead letters, or what could not be routed.
    pub(super) fn inner_exchanges(&self) -> BTreeSet<String> {
        let dead_letters = self.queues.values().filter_map(|queue| queue.settings.dead_letter_exchange.as_ref());
        let alternates = self.exchanges.values().filter_map(|exchange| exchange.alternate_exchange.as_ref());
        dead_letters.chain(alternates).map(text).collect()
    }

    /// The dead-letter exchange of a queue.
    pub(super) fn dead_letter_exchange(&self, queue: &str) -> Option<String> {
        self.queues.get(queue)?.settings.dead_letter_exchange.as_ref().map(text)
    }

    /// The type that decides how an exchange compares messages with bindings: a delayed one has it among its arguments.
    pub(super) fn matching(&self, exchange: &str) -> String {
        let Some(info) = self.exchanges.get(exchange) else { return String::new() };
        match info.arguments.get("x-delayed-type") {
            Some(FieldValue::LongStr(kind)) => text(kind),
            _ => info.kind.to_owned(),
        }
    }

    /// Whether a queue has a single active consumer, so that nothing can be got from it.
    pub(super) fn has_single_active_consumer(&self, queue: &str) -> bool {
        let argument =
            |queue: &QueueInfo| queue.arguments.get("x-single-active-consumer").and_then(FieldValue::as_bool);
        self.queues.get(queue).and_then(argument) == Some(true)
    }
}

/// Whether somebody declared it.
pub(super) fn is_own(exchange: &ExchangeInfo) -> bool {
    !exchange.name.is_empty() && !exchange.name.as_bytes().starts_with(b"amq.")
}

/// An argument as text.
pub(super) fn text(value: &LongStr) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// What of the document is about one vhost.
fn of_vhost(document: &Json, is_named: bool, vhost: &str) -> Json {
    let mut document = document.clone();
    if is_named && let Some(sections) = document.as_object_mut() {
        for (section, items) in sections {
            let key = if section == "vhosts" { "name" } else { "vhost" };
            if let Some(items) = items.as_array_mut() {
                items.retain(|item| item.get(key).and_then(Json::as_str) == Some(vhost));
            }
        }
    }
    document
}

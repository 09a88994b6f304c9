//! From a document to commands.
//!
//! Everything is tried on a copy of the metadata first, in RabbitMQ's order, so that a mistake anywhere is found before anything is
//! made, and is told with its place in the document.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use serde_json::{Map, Value};

use super::arguments::from_json;
use crate::amqp::{FieldTable, ShortStr};
use crate::auth::{HashingAlgorithm, SALT_BYTES};
use crate::management::limits::{read_user_limits, read_vhost_limits};
use crate::management::parameters::{GlobalParameterInfo, ParameterInfo, to_map};
use crate::management::permissions::{PermissionInfo, TopicPermissionInfo};
use crate::management::plan::{Plan, name, short};
use crate::management::policies::PolicyInfo;
use crate::management::users::{Secret, read_tags};
use crate::management::vhosts::VhostChange;
use crate::metadata::{
    AdminError, Administration, Answer, Command, DestinationName, Metadata, PolicyKind, UserLimits, VhostLimits,
    VhostSettings,
};

/// The sections in the order in which they are imported: what comes later needs what comes before.
const SECTIONS: [(&str, Section); 10] = [
    ("users", Import::user),
    ("vhosts", Import::vhost),
    ("permissions", Import::permissions),
    ("topic_permissions", Import::topic_permissions),
    ("parameters", Import::parameter),
    ("global_parameters", Import::global_parameter),
    ("policies", Import::policy),
    ("queues", Import::queue),
    ("exchanges", Import::exchange),
    ("bindings", Import::binding),
];

type Section = fn(&mut Import, &Map<String, Value>) -> Result<(), AdminError>;

/// An import on its way.
struct Import {
    /// The copy on which it is tried.
    metadata: Metadata,
    /// What is to be carried out, each with whether it outlives a restart.
    commands: Vec<(Command, bool)>,
    salt: [u8; SALT_BYTES],
    /// Where everything goes.
    vhost: Option<String>,
    /// How a hash was made whose algorithm is not named.
    old_algorithm: HashingAlgorithm,
}

/// What importing a document comes to.
pub(super) fn plan(
    metadata: &Metadata,
    salt: [u8; SALT_BYTES],
    json: &str,
    vhost: Option<&str>,
) -> Result<Plan, AdminError> {
    let document: Value = serde_json::from_str(json)
        .map_err(|error| AdminError::bad_request(format!("the definitions are not JSON: {error}")))?;
    let Some(document) = document.as_object() else {
        return Err(AdminError::bad_request("the definitions are not a JSON object"));
    };
    if let Some(vhost) = vhost {
        metadata.expect_vhost(&short(vhost, "virtual host")?)?;
    }
    let mut import = Import {
        metadata: metadata.clone(),
        commands: Vec::new(),
        salt,
        vhost: vhost.map(String::from),
        old_algorithm: old_algorithm(document),
    };
    for (section, add) in SECTIONS {
        let items = match document.get(section) {
            None | Some(Value::Null) => continue,
            Some(Value::Array(items)) => items,
            Some(_) => return Err(AdminError::bad_request(format!("{section} is not a list"))),
        };
        for (index, item) in items.iter().enumerate() {
            let added = match item.as_object() {
                Some(item) => add(&mut import, item),
                None => Err(AdminError::bad_request("not an object")),
            };
            added.map_err(|error| {
                let what = item.get("name").or_else(|| item.get("user")).or_else(|| item.get("source"));
                let what = what.and_then(Value::as_str).map(|name| format!(" ({name})")).unwrap_or_default();
                AdminError::new(error.kind, format!("{section}[{index}]{what}: {}", error.text))
            })?;
        }
    }
    Ok(Plan::Import { commands: import.commands, next_queue_id: import.metadata.next_queue_id() })
}

/// RabbitMQ before 3.6 had one algorithm and did not name it.
fn old_algorithm(document: &Map<String, Value>) -> HashingAlgorithm {
    let version = document.get("rabbit_version").or_else(|| document.get("rabbitmq_version")).and_then(Value::as_str);
    let mut parts = version.unwrap_or_default().split('.').map(|part| part.parse::<u32>().unwrap_or(u32::MAX));
    match (parts.next(), parts.next()) {
        (Some(major), Some(minor)) if (major, minor) < (3, 6) => HashingAlgorithm::Md5,
        _ => HashingAlgorithm::Sha256,
    }
}

impl Import {
    fn user(&mut self, item: &Map<String, Value>) -> Result<(), AdminError> {
        let user = name(text(item, "name")?, "user")?;
        let algorithm = match item.get("hashing_algorithm").and_then(Value::as_str) {
            None => self.old_algorithm,
            Some(known) => HashingAlgorithm::from_name(known)
                .ok_or_else(|| AdminError::bad_request(format!("there is no hashing algorithm '{known}'")))?,
        };
        let secret = match (item.get("password_hash"), item.get("password")) {
            (Some(hash), _) => {
                let hash = hash.as_str().ok_or_else(|| AdminError::bad_request("password_hash is not text"))?;
                Secret::Hash { algorithm, hash: hash.to_owned() }
            }
            (None, Some(password)) => {
                let password = password.as_str().ok_or_else(|| AdminError::bad_request("password is not text"))?;
                Secret::Password(password.to_owned())
            }
            (None, None) => Secret::Hash { algorithm, hash: String::new() },
        };
        let password = secret.hash(self.salt)?;
        let tags = read_tags(&texts(item.get("tags")))?;
        self.administer(Administration::PutUser { name: user.clone(), password, tags })?;
        if let Some(limits) = item.get("limits").and_then(Value::as_object) {
            let limits = read_user_limits(UserLimits::default(), limits)?;
            self.administer(Administration::SetUserLimits { user, limits })?;
        }
        Ok(())
    }

    fn vhost(&mut self, item: &Map<String, Value>) -> Result<(), AdminError> {
        let vhost = name(text(item, "name")?, "virtual host")?;
        let about = item.get("metadata").and_then(Value::as_object);
        let field = |key: &str| about.and_then(|about| about.get(key)).or_else(|| item.get(key));
        let change = VhostChange {
            description: field("description").and_then(Value::as_str).map(String::from),
            tags: field("tags").map(|tags| texts(Some(tags))),
            default_queue_type: field("default_queue_type").and_then(Value::as_str).map(String::from),
            protected_from_deletion: field("protected_from_deletion").and_then(Value::as_bool),
            tracing: None,
        };
        let current = self.metadata.vhost(vhost.as_bytes()).and_then(|key| self.metadata.vhost_by_key(key));
        let mut settings: VhostSettings = current.map(|vhost| vhost.settings.clone()).unwrap_or_default();
        change.apply(&mut settings)?;
        self.administer(Administration::PutVhost { name: vhost.clone(), settings })?;
        if let Some(limits) = item.get("limits").and_then(to_map) {
            let limits = read_vhost_limits(&Value::Object(limits))?;
            if limits != VhostLimits::default() {
                self.administer(Administration::SetVhostLimits { vhost, limits })?;
            }
        }
        Ok(())
    }

    fn permissions(&mut self, item: &Map<String, Value>) -> Result<(), AdminError> {
        let info = PermissionInfo {
            user: text(item, "user")?.to_owned(),
            vhost: self.vhost_of(item)?,
            configure: text(item, "configure")?.to_owned(),
            write: text(item, "write")?.to_owned(),
            read: text(item, "read")?.to_owned(),
        };
        self.administer(info.to_change()?)
    }

    fn topic_permissions(&mut self, item: &Map<String, Value>) -> Result<(), AdminError> {
        let info = TopicPermissionInfo {
            user: text(item, "user")?.to_owned(),
            vhost: self.vhost_of(item)?,
            exchange: text(item, "exchange")?.to_owned(),
            write: text(item, "write")?.to_owned(),
            read: text(item, "read")?.to_owned(),
        };
        self.administer(info.to_change()?)
    }

    fn parameter(&mut self, item: &Map<String, Value>) -> Result<(), AdminError> {
        let info = ParameterInfo {
            vhost: self.vhost_of(item)?,
            component: text(item, "component")?.to_owned(),
            name: text(item, "name")?.to_owned(),
            value: item.get("value").cloned().ok_or_else(|| missing("value"))?,
        };
        self.administer(info.to_change()?)
    }

    fn global_parameter(&mut self, item: &Map<String, Value>) -> Result<(), AdminError> {
        // It says which cluster this is; RabbitMQ keeps its own too.
        if text(item, "name")? == "internal_cluster_id" {
            return Ok(());
        }
        let value = item.get("value").cloned().ok_or_else(|| missing("value"))?;
        self.administer(GlobalParameterInfo { name: text(item, "name")?.to_owned(), value }.to_change()?)
    }

    fn policy(&mut self, item: &Map<String, Value>) -> Result<(), AdminError> {
        let info = PolicyInfo {
            vhost: self.vhost_of(item)?,
            name: text(item, "name")?.to_owned(),
            pattern: text(item, "pattern")?.to_owned(),
            apply_to: item.get("apply-to").and_then(Value::as_str).unwrap_or("all").to_owned(),
            definition: item
                .get("definition")
                .and_then(Value::as_object)
                .cloned()
                .ok_or_else(|| missing("definition"))?,
            priority: item.get("priority").and_then(Value::as_i64).unwrap_or(0),
        };
        self.administer(info.to_change(PolicyKind::User)?)
    }

    fn queue(&mut self, item: &Map<String, Value>) -> Result<(), AdminError> {
        let (vhost, name) = (self.short_vhost_of(item)?, name(text(item, "name")?, "queue")?);
        let key = self.metadata.expect_vhost(&vhost)?;
        if self.metadata.queue(key, name.as_bytes()).is_some() {
            return Ok(());
        }
        let id = self.metadata.allocate_queue_id();
        let home = self.metadata.own();
        self.carry_out(Command::DeclareQueue {
            home,
            members: Vec::new(),
            vhost,
            id,
            name,
            durable: flag(item, "durable", true),
            exclusive: None,
            auto_delete: flag(item, "auto_delete", false),
            arguments: arguments(item)?,
        })
    }

    fn exchange(&mut self, item: &Map<String, Value>) -> Result<(), AdminError> {
        let (vhost, name) = (self.short_vhost_of(item)?, short(text(item, "name")?, "exchange")?);
        let key = self.metadata.expect_vhost(&vhost)?;
        // Those that every vhost has are there.
        let is_predeclared = name.is_empty() || name.as_bytes().starts_with(b"amq.");
        if is_predeclared || self.metadata.exchange(key, name.as_bytes()).is_some() {
            return Ok(());
        }
        self.carry_out(Command::DeclareExchange {
            vhost,
            name,
            kind: short(text(item, "type")?, "exchange type")?,
            durable: flag(item, "durable", true),
            auto_delete: flag(item, "auto_delete", false),
            internal: flag(item, "internal", false),
            arguments: arguments(item)?,
        })
    }

    fn binding(&mut self, item: &Map<String, Value>) -> Result<(), AdminError> {
        let destination = short(text(item, "destination")?, "destination")?;
        let destination = match text(item, "destination_type")? {
            "queue" => DestinationName::Queue(destination),
            "exchange" => DestinationName::Exchange(destination),
            other => return Err(AdminError::bad_request(format!("destination_type '{other}' is not known"))),
        };
        let vhost = self.short_vhost_of(item)?;
        let source = short(text(item, "source")?, "exchange")?;
        let key = self.metadata.expect_vhost(&vhost)?;
        let is_missing = |exchange: &ShortStr| self.metadata.exchange(key, exchange.as_bytes()).is_none();
        // RabbitMQ exports the bindings of internal exchanges, but not these, and leaves such bindings out of an import.
        if is_missing(&source) || matches!(&destination, DestinationName::Exchange(name) if is_missing(name)) {
            return Ok(());
        }
        self.carry_out(Command::Bind {
            vhost,
            source,
            destination,
            routing_key: short(item.get("routing_key").and_then(Value::as_str).unwrap_or_default(), "routing key")?,
            arguments: arguments(item)?,
        })
    }

    fn vhost_of(&self, item: &Map<String, Value>) -> Result<String, AdminError> {
        self.vhost.clone().map_or_else(|| Ok(text(item, "vhost")?.to_owned()), Ok)
    }

    fn short_vhost_of(&self, item: &Map<String, Value>) -> Result<ShortStr, AdminError> {
        short(&self.vhost_of(item)?, "virtual host")
    }

    fn administer(&mut self, administration: Administration) -> Result<(), AdminError> {
        if self.metadata.check_administration(&administration)? == Answer::NeedsApply {
            let command = Command::Administer(Box::new(administration));
            self.commands.push((command.clone(), true));
            self.metadata.apply(command).map_err(AdminError::from)?;
        }
        Ok(())
    }

    fn carry_out(&mut self, command: Command) -> Result<(), AdminError> {
        if self.metadata.check(&command, None)? == Answer::NeedsApply {
            self.commands.push((command.clone(), self.metadata.is_durable(&command)));
            self.metadata.apply(command)?;
        }
        Ok(())
    }
}

fn missing(key: &str) -> AdminError {
    AdminError::bad_request(format!("\"{key}\" is missing"))
}

fn text<'a>(item: &'a Map<String, Value>, key: &str) -> Result<&'a str, AdminError> {
    match item.get(key) {
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(AdminError::bad_request(format!("\"{key}\" is not text"))),
        None => Err(missing(key)),
    }
}

fn flag(item: &Map<String, Value>, key: &str, default: bool) -> bool {
    item.get(key).and_then(Value::as_bool).unwrap_or(default)
}

/// A list of texts, or, as old documents have it, one text with commas.
fn texts(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::Array(values)) => values.iter().filter_map(Value::as_str).map(String::from).collect(),
        Some(Value::String(text)) => {
            text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(String::from).collect()
        }
        _ => Vec::new(),
    }
}

fn arguments(item: &Map<String, Value>) -> Result<FieldTable, AdminError> {
    match item.get("arguments") {
        Some(Value::Object(map)) => from_json(map)
            .map_err(|what| AdminError::bad_request(format!("the argument '{what}' is nothing that AMQP can carry"))),
        _ => Ok(FieldTable::new()),
    }
}

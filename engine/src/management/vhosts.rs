//! Vhosts, as `rabbitmqctl`'s vhost commands and the HTTP API have them.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::plan::{Plan, name, short};
use super::users::read_tags;
use super::{AdminReply, AdminRequest};
use crate::amqp::ShortStr;
use crate::metadata::{AdminError, Administration, Metadata, Vhost, VhostSettings};

/// What can be asked about vhosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VhostRequest {
    /// Makes a vhost, or changes what is said about one.
    Put {
        /// Its name.
        name: String,
        /// What is to be said about it.
        change: VhostChange,
    },
    /// Deletes a vhost with everything in it and closes its connections.
    Delete {
        /// Its name.
        name: String,
    },
    /// Turns the firehose on or off (RabbitMQ docs: Firehose Tracer). The vhost has to exist.
    SetTracing {
        /// Its name.
        name: String,
        /// Whether what is published and delivered is copied.
        tracing: bool,
    },
    /// Protects a vhost from being deleted, or ends that.
    SetProtected {
        /// Its name.
        name: String,
        /// Whether it cannot be deleted.
        protected_from_deletion: bool,
    },
    /// All vhosts.
    List,
}

/// What is to be said about a vhost; `None` leaves it as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VhostChange {
    /// For people.
    pub description: Option<String>,
    /// For people.
    pub tags: Option<Vec<String>>,
    /// The type of durable queues declared without one.
    pub default_queue_type: Option<String>,
    /// Whether it cannot be deleted.
    pub protected_from_deletion: Option<bool>,
    /// Whether what is published and delivered is copied to the firehose.
    pub tracing: Option<bool>,
}

/// What can be known about a vhost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VhostInfo {
    /// Its name.
    pub name: String,
    /// For people.
    pub description: String,
    /// For people.
    pub tags: Vec<String>,
    /// The type of durable queues declared without one; `None` is classic.
    pub default_queue_type: Option<String>,
    /// Whether it cannot be deleted.
    pub protected_from_deletion: bool,
    /// Whether what is published and delivered is copied to the firehose.
    pub tracing: bool,
}

impl From<VhostRequest> for AdminRequest {
    fn from(request: VhostRequest) -> Self {
        Self::Vhost(request)
    }
}

impl VhostInfo {
    pub(super) fn new(vhost: &Vhost) -> Self {
        let text = |text: &ShortStr| text.to_string_lossy().into_owned();
        let VhostSettings { description, tags, default_queue_type, protected_from_deletion, tracing } = &vhost.settings;
        Self {
            name: text(&vhost.name),
            description: description.clone(),
            tags: tags.iter().map(text).collect(),
            default_queue_type: default_queue_type.as_ref().map(text),
            protected_from_deletion: *protected_from_deletion,
            tracing: *tracing,
        }
    }
}

/// What a request comes to.
pub(crate) fn plan(metadata: &Metadata, request: VhostRequest) -> Result<Plan, AdminError> {
    Ok(match request {
        VhostRequest::Put { name: text, change } => put(metadata, name(&text, "virtual host")?, change)?,
        VhostRequest::Delete { name } => {
            Plan::change(Administration::DeleteVhost { name: short(&name, "virtual host")? })
        }
        VhostRequest::SetTracing { name, tracing } => {
            let change = VhostChange { tracing: Some(tracing), ..VhostChange::default() };
            put_existing(metadata, &name, change)?
        }
        VhostRequest::SetProtected { name, protected_from_deletion } => {
            let protected_from_deletion = Some(protected_from_deletion);
            put_existing(metadata, &name, VhostChange { protected_from_deletion, ..VhostChange::default() })?
        }
        VhostRequest::List => {
            Plan::Reply(AdminReply::Vhosts(metadata.vhosts().map(|(_, vhost)| VhostInfo::new(vhost)).collect()))
        }
    })
}

fn put_existing(metadata: &Metadata, text: &str, change: VhostChange) -> Result<Plan, AdminError> {
    let name = short(text, "virtual host")?;
    metadata.expect_vhost(&name)?;
    put(metadata, name, change)
}

fn put(metadata: &Metadata, name: ShortStr, change: VhostChange) -> Result<Plan, AdminError> {
    let current = metadata.vhost(name.as_bytes()).and_then(|key| metadata.vhost_by_key(key));
    let mut settings = current.map(|vhost| vhost.settings.clone()).unwrap_or_default();
    change.apply(&mut settings)?;
    Ok(Plan::change(Administration::PutVhost { name, settings }))
}

impl VhostChange {
    /// Changes what is said about a vhost.
    pub(super) fn apply(self, settings: &mut VhostSettings) -> Result<(), AdminError> {
        if let Some(description) = self.description {
            settings.description = description;
        }
        if let Some(tags) = self.tags {
            settings.tags = read_tags(&tags)?;
        }
        if let Some(kind) = self.default_queue_type {
            settings.default_queue_type = match kind.as_str() {
                // How RabbitMQ exports a vhost without one.
                "" | "undefined" => None,
                "classic" | "rabbit_classic_queue" => Some(ShortStr::from_static("classic")),
                "quorum" | "rabbit_quorum_queue" => Some(ShortStr::from_static("quorum")),
                "stream" | "rabbit_stream_queue" => Some(ShortStr::from_static("stream")),
                _ => return Err(AdminError::bad_request(format!("Unsupported queue type: '{kind}'"))),
            };
        }
        if let Some(protected) = self.protected_from_deletion {
            settings.protected_from_deletion = protected;
        }
        if let Some(tracing) = self.tracing {
            settings.tracing = tracing;
        }
        Ok(())
    }
}

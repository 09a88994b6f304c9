//! Definitions: everything declared and administered as one JSON document, in RabbitMQ's format (RabbitMQ docs: Schema Definition
//! Export and Import).

mod arguments;
mod export;
mod import;

use alloc::string::String;

use super::plan::Plan;
use super::{AdminReply, AdminRequest};
use crate::auth::SALT_BYTES;
use crate::metadata::{AdminError, Metadata};

/// What can be asked about definitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DefinitionsRequest {
    /// Everything that is durable, as JSON.
    Export {
        /// Only what is in this vhost, and so that it can be imported into another.
        vhost: Option<String>,
    },
    /// Makes everything that a document names and that is not there. What is there stays, except that users, permissions, policies and
    /// parameters become as the document has them. If anything in it cannot be, nothing of it is made.
    Import {
        /// The document.
        json: String,
        /// Everything goes into this vhost, which has to exist.
        vhost: Option<String>,
    },
}

impl From<DefinitionsRequest> for AdminRequest {
    fn from(request: DefinitionsRequest) -> Self {
        Self::Definitions(request)
    }
}

/// What a request comes to.
pub(crate) fn plan(
    metadata: &Metadata,
    salt: [u8; SALT_BYTES],
    request: DefinitionsRequest,
) -> Result<Plan, AdminError> {
    match request {
        DefinitionsRequest::Export { vhost } => {
            let json = export::export(metadata, vhost.as_deref())?;
            Ok(Plan::Reply(AdminReply::Definitions(json)))
        }
        DefinitionsRequest::Import { json, vhost } => import::plan(metadata, salt, &json, vhost.as_deref()),
    }
}

#[cfg(test)]
mod tests;

//! Policies and operator policies.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::plan::{Plan, name, short};
use super::{AdminReply, AdminRequest};
use crate::metadata::{
    AdminError, Administration, ApplyTo, JsonMap, Metadata, Mirroring, Pattern, Policy, PolicyKind, VhostKey,
    check_definition,
};

/// What can be asked about policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyRequest {
    /// Makes or changes one.
    Set {
        /// Of which kind.
        kind: PolicyKind,
        /// What it is to be.
        policy: PolicyInfo,
    },
    /// Deletes one.
    Clear {
        /// Of which kind.
        kind: PolicyKind,
        /// Where.
        vhost: String,
        /// Its name.
        name: String,
    },
    /// All of one kind.
    List {
        /// Of which kind.
        kind: PolicyKind,
        /// Where; `None` is everywhere.
        vhost: Option<String>,
    },
}

/// One policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyInfo {
    /// Where.
    pub vhost: String,
    /// Its name.
    pub name: String,
    /// Regular expression: which names it is for.
    pub pattern: String,
    /// Which kinds of objects it is for: `all`, `queues`, `exchanges`, `classic_queues`, `quorum_queues`, `streams`.
    pub apply_to: String,
    /// What it sets.
    pub definition: JsonMap,
    /// Of several that match, the one with the greatest number applies.
    pub priority: i64,
}

impl From<PolicyRequest> for AdminRequest {
    fn from(request: PolicyRequest) -> Self {
        Self::Policy(request)
    }
}

impl PolicyInfo {
    /// The change that makes it so, if it makes sense.
    pub(super) fn to_change(&self, kind: PolicyKind) -> Result<Administration, AdminError> {
        let pattern = Pattern::new(&self.pattern).map_err(|reason| {
            AdminError::bad_request(format!("pattern should be regular expression but is invalid: {reason}"))
        })?;
        let policy = Policy {
            name: name(&self.name, "policy")?,
            pattern,
            apply_to: ApplyTo::from_name(&self.apply_to)?,
            priority: self.priority,
            definition: self.definition.clone(),
        };
        check_definition(kind, &policy.definition)?;
        Mirroring::check(&policy.definition)?;
        Ok(Administration::PutPolicy { vhost: short(&self.vhost, "virtual host")?, kind, policy })
    }

    fn new(vhost: &str, policy: &Policy) -> Self {
        Self {
            vhost: vhost.to_owned(),
            name: policy.name.to_string_lossy().into_owned(),
            pattern: policy.pattern.as_str().to_owned(),
            apply_to: policy.apply_to.name().to_owned(),
            definition: policy.definition.clone(),
            priority: policy.priority,
        }
    }
}

/// What a request comes to.
pub(crate) fn plan(metadata: &Metadata, request: PolicyRequest) -> Result<Plan, AdminError> {
    Ok(match request {
        PolicyRequest::Set { kind, policy } => Plan::change(policy.to_change(kind)?),
        PolicyRequest::Clear { kind, vhost, name } => {
            let (vhost, name) = (short(&vhost, "virtual host")?, short(&name, "policy")?);
            Plan::change(Administration::DeletePolicy { vhost, kind, name })
        }
        PolicyRequest::List { kind, vhost } => {
            let vhost = vhost.map(|vhost| metadata.expect_vhost(&short(&vhost, "virtual host")?)).transpose()?;
            Plan::Reply(AdminReply::Policies(list(metadata, kind, vhost)))
        }
    })
}

/// The policies there are, ordered by vhost and name.
pub(super) fn list(metadata: &Metadata, kind: PolicyKind, vhost: Option<VhostKey>) -> Vec<PolicyInfo> {
    let mut all = Vec::new();
    for (key, record) in metadata.vhosts().filter(|(key, _)| vhost.is_none_or(|wanted| wanted == *key)) {
        let name = record.name.to_string_lossy();
        all.extend(metadata.policies(key, kind).map(|policy| PolicyInfo::new(&name, policy)));
    }
    all
}

//! Runtime parameters and global ones (RabbitMQ docs: Parameters and Policies).
//!
//! Some parameters are other things seen from outside: policies, and the limits of vhosts. Those of federation and shovels are kept
//! for whoever imports the definitions later.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use serde_json::Value;

use super::limits::{read_vhost_limits, show_vhost_limits};
use super::plan::{Plan, name, short};
use super::policies::PolicyInfo;
use super::{AdminReply, AdminRequest};
use crate::metadata::{AdminError, Administration, JsonMap, Metadata, PolicyKind, VhostKey, VhostLimits};

/// What can be asked about parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParameterRequest {
    /// Sets one.
    Set(ParameterInfo),
    /// Takes one away.
    Clear {
        /// Where.
        vhost: String,
        /// Whose.
        component: String,
        /// Its name.
        name: String,
    },
    /// All of a vhost, or everywhere.
    List {
        /// Where; `None` is everywhere.
        vhost: Option<String>,
        /// Whose; `None` is everybody's.
        component: Option<String>,
    },
    /// Sets a global one.
    SetGlobal(GlobalParameterInfo),
    /// Takes a global one away.
    ClearGlobal {
        /// Its name.
        name: String,
    },
    /// All global ones.
    ListGlobal,
}

/// One parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterInfo {
    /// Where.
    pub vhost: String,
    /// Whose.
    pub component: String,
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Value,
}

/// One global parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlobalParameterInfo {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Value,
}

/// The component that the limits of vhosts are, and its only name.
pub(super) const VHOST_LIMITS: (&str, &str) = ("vhost-limits", "limits");
/// The component that operator policies are.
pub(super) const OPERATOR_POLICY: &str = "operator_policy";
/// Components whose values are kept for others.
const KEPT: [&str; 4] = ["federation-upstream", "federation-upstream-set", "federation", "shovel"];

impl From<ParameterRequest> for AdminRequest {
    fn from(request: ParameterRequest) -> Self {
        Self::Parameter(request)
    }
}

impl ParameterInfo {
    /// The change that makes it so.
    pub(super) fn to_change(&self) -> Result<Administration, AdminError> {
        let vhost = short(&self.vhost, "virtual host")?;
        match self.component.as_str() {
            "policy" => Err(AdminError::bad_request("policies may not be set using this method")),
            OPERATOR_POLICY => operator_policy(self)?.to_change(PolicyKind::Operator),
            "vhost-limits" => {
                let limits = read_vhost_limits(&self.value)?;
                Ok(Administration::SetVhostLimits { vhost, limits })
            }
            component if KEPT.contains(&component) => {
                if !self.value.is_object() && !self.value.is_array() {
                    return Err(AdminError::bad_request(format!("{} should be an object or a list", self.name)));
                }
                let (component, name) = (short(component, "component")?, name(&self.name, "parameter")?);
                Ok(Administration::PutParameter { vhost, component, name, value: self.value.clone() })
            }
            component => Err(AdminError::bad_request(format!("component {component} not found"))),
        }
    }
}

impl GlobalParameterInfo {
    /// The change that makes it so.
    pub(super) fn to_change(&self) -> Result<Administration, AdminError> {
        let name = name(&self.name, "parameter")?;
        Ok(Administration::PutGlobalParameter { name, value: self.value.clone() })
    }
}

/// An operator policy as old definitions have it, among the parameters.
fn operator_policy(info: &ParameterInfo) -> Result<PolicyInfo, AdminError> {
    let field = |key: &str| info.value.get(key);
    let missing = |key: &str| AdminError::bad_request(format!("Key \"{key}\" not found in operator_policy"));
    let text = |key: &str| field(key).and_then(Value::as_str).map(String::from);
    Ok(PolicyInfo {
        vhost: info.vhost.clone(),
        name: info.name.clone(),
        pattern: text("pattern").ok_or_else(|| missing("pattern"))?,
        apply_to: text("apply-to").unwrap_or_else(|| String::from("all")),
        definition: field("definition").and_then(to_map).ok_or_else(|| missing("definition"))?,
        priority: field("priority").and_then(Value::as_i64).unwrap_or(0),
    })
}

/// An object, or, as RabbitMQ 3.10 exports operator policies and limits of vhosts, a list of pairs.
pub(super) fn to_map(value: &Value) -> Option<JsonMap> {
    match value {
        Value::Object(map) => Some(map.clone()),
        Value::Array(pairs) => {
            let pair = |pair: &Value| match pair.as_array()?.as_slice() {
                [Value::String(key), value] => Some((key.clone(), value.clone())),
                _ => None,
            };
            pairs.iter().map(pair).collect()
        }
        _ => None,
    }
}

/// What a request comes to.
pub(crate) fn plan(metadata: &Metadata, request: ParameterRequest) -> Result<Plan, AdminError> {
    Ok(match request {
        ParameterRequest::Set(info) => Plan::change(info.to_change()?),
        ParameterRequest::Clear { vhost, component, name } => {
            let vhost = short(&vhost, "virtual host")?;
            match component.as_str() {
                "policy" => return Err(AdminError::bad_request("policies may not be cleared using this method")),
                OPERATOR_POLICY => {
                    let (kind, name) = (PolicyKind::Operator, short(&name, "policy")?);
                    Plan::change(Administration::DeletePolicy { vhost, kind, name })
                }
                "vhost-limits" => {
                    Plan::change(Administration::SetVhostLimits { vhost, limits: VhostLimits::default() })
                }
                _ => {
                    let (component, name) = (short(&component, "component")?, short(&name, "parameter")?);
                    Plan::change(Administration::DeleteParameter { vhost, component, name })
                }
            }
        }
        ParameterRequest::List { vhost, component } => {
            let vhost = vhost.map(|vhost| metadata.expect_vhost(&short(&vhost, "virtual host")?)).transpose()?;
            let mut all = list(metadata, vhost);
            all.retain(|info| component.as_ref().is_none_or(|component| *component == info.component));
            Plan::Reply(AdminReply::Parameters(all))
        }
        ParameterRequest::SetGlobal(info) => Plan::change(info.to_change()?),
        ParameterRequest::ClearGlobal { name } => {
            Plan::change(Administration::DeleteGlobalParameter { name: short(&name, "parameter")? })
        }
        ParameterRequest::ListGlobal => Plan::Reply(AdminReply::GlobalParameters(list_global(metadata))),
    })
}

/// The parameters there are, ordered by vhost, component and name; limits and operator policies among them, as RabbitMQ lists them.
pub(super) fn list(metadata: &Metadata, vhost: Option<VhostKey>) -> Vec<ParameterInfo> {
    let mut all = Vec::new();
    for (key, record) in metadata.vhosts().filter(|(key, _)| vhost.is_none_or(|wanted| wanted == *key)) {
        let vhost = record.name.to_string_lossy();
        let info = |component: &str, name: &str, value: Value| ParameterInfo {
            vhost: vhost.clone().into_owned(),
            component: component.into(),
            name: name.into(),
            value,
        };
        let mut own: Vec<_> = record
            .parameters()
            .map(|(component, name, value)| info(&component.to_string_lossy(), &name.to_string_lossy(), value.clone()))
            .collect();
        own.extend(metadata.policies(key, PolicyKind::Operator).map(|policy| {
            let value = serde_json::json!({
                "pattern": policy.pattern.as_str(),
                "apply-to": policy.apply_to.name(),
                "definition": policy.definition,
                "priority": policy.priority,
            });
            info(OPERATOR_POLICY, &policy.name.to_string_lossy(), value)
        }));
        if record.limits != VhostLimits::default() {
            own.push(info(VHOST_LIMITS.0, VHOST_LIMITS.1, Value::Object(show_vhost_limits(record.limits))));
        }
        own.sort_by(|a, b| (&a.component, &a.name).cmp(&(&b.component, &b.name)));
        all.append(&mut own);
    }
    all
}

/// The global parameters there are, ordered by name.
pub(super) fn list_global(metadata: &Metadata) -> Vec<GlobalParameterInfo> {
    let info = |(name, value): (&crate::amqp::ShortStr, &Value)| GlobalParameterInfo {
        name: name.to_string_lossy().into_owned(),
        value: value.clone(),
    };
    metadata.global_parameters().map(info).collect()
}

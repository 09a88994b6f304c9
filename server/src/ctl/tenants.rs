//! Verbs about vhosts, users, permissions, policies, parameters, limits and definitions: to requests, and from replies.

use leveret_engine::management::{
    AdminReply, AdminRequest, DefinitionsRequest, GlobalParameterInfo, LimitRequest, ParameterInfo, ParameterRequest,
    PermissionInfo, PermissionRequest, PolicyInfo, PolicyRequest, Secret, TopicPermissionInfo, UserRequest,
    VhostChange, VhostInfo, VhostRequest,
};
use leveret_engine::metadata::PolicyKind;
use serde_json::{Map, Value, json};

use super::columns::Column;
use super::output::{Body, Outcome, Table, exit};
use super::verbs::{CommandLine, SetPolicy, Verb};

pub(super) const VHOSTS: &[Column<VhostInfo>] = &[
    ("name", |vhost| json!(vhost.name)),
    ("tracing", |vhost| json!(vhost.tracing)),
    ("description", |vhost| json!(vhost.description)),
    ("tags", |vhost| json!(vhost.tags)),
    ("default_queue_type", |vhost| json!(vhost.default_queue_type.as_deref().unwrap_or("classic"))),
    ("protected_from_deletion", |vhost| json!(vhost.protected_from_deletion)),
    ("cluster_state", |_| json!("running")),
];
const VHOSTS_DEFAULT: &[&str] = &["name"];

/// The request of a verb; `None` if it is not one of these.
pub(super) fn request(line: &CommandLine, input: Option<&str>) -> Result<Option<AdminRequest>, Outcome> {
    let vhost = || line.options.vhost.clone();
    let password = |given: &Option<String>| given.clone().or_else(|| input.map(str::to_owned)).unwrap_or_default();
    let secret = |given: &Option<String>| Secret::Password(password(given));
    Ok(Some(match &line.verb {
        Verb::ListUsers => AdminRequest::User(UserRequest::List),
        Verb::AddUser { username, password } => {
            AdminRequest::User(UserRequest::Add { name: username.clone(), secret: secret(password) })
        }
        Verb::DeleteUser { username } => AdminRequest::User(UserRequest::Delete { name: username.clone() }),
        Verb::ChangePassword { username, password } => {
            AdminRequest::User(UserRequest::ChangePassword { name: username.clone(), secret: secret(password) })
        }
        Verb::ClearPassword { username } => AdminRequest::User(UserRequest::ClearPassword { name: username.clone() }),
        Verb::AuthenticateUser { username, password: given } => {
            AdminRequest::User(UserRequest::Authenticate { name: username.clone(), password: password(given) })
        }
        Verb::SetUserTags { username, tags } => {
            AdminRequest::User(UserRequest::SetTags { name: username.clone(), tags: tags.clone() })
        }
        Verb::SetUserLimits { username, definition } => {
            AdminRequest::Limit(LimitRequest::SetUser { user: username.clone(), limits: object(definition)? })
        }
        Verb::ClearUserLimits { username, limit } => AdminRequest::Limit(LimitRequest::ClearUser {
            user: username.clone(),
            limit: (limit != "all").then(|| limit.clone()),
        }),
        Verb::ListUserLimits { user, .. } => AdminRequest::Limit(LimitRequest::ListUser { user: user.clone() }),

        Verb::SetPermissions { username, configure, write, read } => {
            AdminRequest::Permission(PermissionRequest::Set(PermissionInfo {
                user: username.clone(),
                vhost: vhost(),
                configure: configure.clone(),
                write: write.clone(),
                read: read.clone(),
            }))
        }
        Verb::ClearPermissions { username } => {
            AdminRequest::Permission(PermissionRequest::Clear { user: username.clone(), vhost: vhost() })
        }
        Verb::ListPermissions => AdminRequest::Permission(PermissionRequest::List { user: None, vhost: Some(vhost()) }),
        Verb::ListUserPermissions { username } => {
            AdminRequest::Permission(PermissionRequest::List { user: Some(username.clone()), vhost: None })
        }
        Verb::SetTopicPermissions { username, exchange, write, read } => {
            AdminRequest::Permission(PermissionRequest::SetTopic(TopicPermissionInfo {
                user: username.clone(),
                vhost: vhost(),
                exchange: exchange.clone(),
                write: write.clone(),
                read: read.clone(),
            }))
        }
        Verb::ClearTopicPermissions { username, exchange } => AdminRequest::Permission(PermissionRequest::ClearTopic {
            user: username.clone(),
            vhost: vhost(),
            exchange: exchange.clone(),
        }),
        Verb::ListTopicPermissions => {
            AdminRequest::Permission(PermissionRequest::ListTopic { user: None, vhost: Some(vhost()) })
        }
        Verb::ListUserTopicPermissions { username } => {
            AdminRequest::Permission(PermissionRequest::ListTopic { user: Some(username.clone()), vhost: None })
        }

        Verb::AddVhost { name, description, tags, default_queue_type, protected_from_deletion } => put_vhost(
            name,
            VhostChange {
                description: (!description.is_empty()).then(|| description.clone()),
                tags: (!tags.is_empty()).then(|| tags.clone()),
                default_queue_type: default_queue_type.clone(),
                protected_from_deletion: protected_from_deletion.then_some(true),
                tracing: None,
            },
        ),
        Verb::UpdateVhostMetadata { name, description, tags, default_queue_type } => put_vhost(
            name,
            VhostChange {
                description: description.clone(),
                tags: tags.clone(),
                default_queue_type: default_queue_type.clone(),
                ..VhostChange::default()
            },
        ),
        Verb::SetVhostTags { name, tags } => {
            put_vhost(name, VhostChange { tags: Some(tags.clone()), ..VhostChange::default() })
        }
        Verb::DeleteVhost { name } => AdminRequest::Vhost(VhostRequest::Delete { name: name.clone() }),
        Verb::ListVhosts { .. } => AdminRequest::Vhost(VhostRequest::List),
        Verb::EnableVhostDeletionProtection { name } => protect(name, true),
        Verb::DisableVhostDeletionProtection { name } => protect(name, false),
        Verb::SetVhostLimits { definition } => {
            AdminRequest::Limit(LimitRequest::SetVhost { vhost: vhost(), limits: object(definition)? })
        }
        Verb::ClearVhostLimits => AdminRequest::Limit(LimitRequest::ClearVhost { vhost: vhost() }),
        Verb::ListVhostLimits { global } => {
            AdminRequest::Limit(LimitRequest::ListVhost { vhost: (!global).then(vhost) })
        }
        Verb::TraceOn => AdminRequest::Vhost(VhostRequest::SetTracing { name: vhost(), tracing: true }),
        Verb::TraceOff => AdminRequest::Vhost(VhostRequest::SetTracing { name: vhost(), tracing: false }),

        Verb::SetPolicy(policy) => set_policy(vhost(), PolicyKind::User, policy)?,
        Verb::SetOperatorPolicy(policy) => set_policy(vhost(), PolicyKind::Operator, policy)?,
        Verb::ClearPolicy { name } => clear_policy(vhost(), PolicyKind::User, name),
        Verb::ClearOperatorPolicy { name } => clear_policy(vhost(), PolicyKind::Operator, name),
        Verb::ListPolicies => {
            AdminRequest::Policy(PolicyRequest::List { kind: PolicyKind::User, vhost: Some(vhost()) })
        }
        Verb::ListOperatorPolicies => {
            AdminRequest::Policy(PolicyRequest::List { kind: PolicyKind::Operator, vhost: Some(vhost()) })
        }
        Verb::SetParameter { component, name, value } => {
            AdminRequest::Parameter(ParameterRequest::Set(ParameterInfo {
                vhost: vhost(),
                component: component.clone(),
                name: name.clone(),
                value: document(value)?,
            }))
        }
        Verb::ClearParameter { component, name } => AdminRequest::Parameter(ParameterRequest::Clear {
            vhost: vhost(),
            component: component.clone(),
            name: name.clone(),
        }),
        Verb::ListParameters => {
            AdminRequest::Parameter(ParameterRequest::List { vhost: Some(vhost()), component: None })
        }
        Verb::SetGlobalParameter { name, value } => set_global(name, document(value)?),
        Verb::SetClusterName { name } => set_global("cluster_name", json!(name)),
        Verb::ClearGlobalParameter { name } => {
            AdminRequest::Parameter(ParameterRequest::ClearGlobal { name: name.clone() })
        }
        Verb::ListGlobalParameters => AdminRequest::Parameter(ParameterRequest::ListGlobal),

        Verb::ExportDefinitions { .. } => AdminRequest::Definitions(DefinitionsRequest::Export { vhost: None }),
        Verb::ImportDefinitions { .. } => AdminRequest::Definitions(DefinitionsRequest::Import {
            json: input.unwrap_or_default().to_owned(),
            vhost: None,
        }),
        _ => return Ok(None),
    }))
}

/// What is printed for a reply to one of these; the reply back if it is none.
pub(super) fn body(verb: &Verb, reply: AdminReply) -> Result<Body, AdminReply> {
    let table = |columns: &[&str], rows: Vec<Vec<Value>>| {
        Body::Table(Table { columns: columns.iter().map(|&name| name.to_owned()).collect(), rows })
    };
    Ok(match reply {
        AdminReply::Users(users) => {
            table(&["user", "tags"], users.into_iter().map(|user| vec![json!(user.name), json!(user.tags)]).collect())
        }
        AdminReply::Vhosts(vhosts) => {
            let wanted = match verb {
                Verb::ListVhosts { columns } => columns.as_slice(),
                _ => &[],
            };
            Body::Table(super::columns::table(VHOSTS, VHOSTS_DEFAULT, wanted, &vhosts))
        }
        AdminReply::Permissions(permissions) => {
            let by_user = matches!(verb, Verb::ListUserPermissions { .. });
            let rows = permissions.into_iter().map(|own| {
                let whose = if by_user { own.vhost } else { own.user };
                vec![json!(whose), json!(own.configure), json!(own.write), json!(own.read)]
            });
            table(&[if by_user { "vhost" } else { "user" }, "configure", "write", "read"], rows.collect())
        }
        AdminReply::TopicPermissions(permissions) => {
            let by_user = matches!(verb, Verb::ListUserTopicPermissions { .. });
            let rows = permissions.into_iter().map(|own| {
                let whose = if by_user { own.vhost } else { own.user };
                vec![json!(whose), json!(own.exchange), json!(own.write), json!(own.read)]
            });
            table(&[if by_user { "vhost" } else { "user" }, "exchange", "write", "read"], rows.collect())
        }
        AdminReply::Policies(policies) => {
            let rows = policies.into_iter().map(|policy| {
                let PolicyInfo { vhost, name, pattern, apply_to, definition, priority } = policy;
                let definition = Value::Object(definition).to_string();
                vec![json!(vhost), json!(name), json!(pattern), json!(apply_to), json!(definition), json!(priority)]
            });
            table(&["vhost", "name", "pattern", "apply-to", "definition", "priority"], rows.collect())
        }
        AdminReply::Parameters(parameters) => {
            let rows = parameters
                .into_iter()
                .map(|own| vec![json!(own.component), json!(own.name), json!(own.value.to_string())]);
            table(&["component", "name", "value"], rows.collect())
        }
        AdminReply::GlobalParameters(parameters) => {
            let rows = parameters.into_iter().map(|own| vec![json!(own.name), json!(own.value.to_string())]);
            table(&["name", "value"], rows.collect())
        }
        AdminReply::Limits(limits) => {
            let limits: Vec<_> = limits.into_iter().map(|own| (own.name, Value::Object(own.limits))).collect();
            match verb {
                // Of one, rabbitmqctl shows only the limits.
                Verb::ListVhostLimits { global: false } | Verb::ListUserLimits { user: Some(_), .. } => {
                    Body::Text(limits.first().map_or_else(|| "{}".to_owned(), |(_, limits)| limits.to_string()))
                }
                Verb::ListUserLimits { .. } => table(&["user", "limits"], limit_rows(limits)),
                _ => table(&["vhost", "limits"], limit_rows(limits)),
            }
        }
        AdminReply::Definitions(definitions) => Body::Document(definitions.to_string()),
        reply => return Err(reply),
    })
}

fn limit_rows(limits: Vec<(String, Value)>) -> Vec<Vec<Value>> {
    limits.into_iter().map(|(name, limits)| vec![json!(name), json!(limits.to_string())]).collect()
}

fn put_vhost(name: &str, change: VhostChange) -> AdminRequest {
    AdminRequest::Vhost(VhostRequest::Put { name: name.to_owned(), change })
}

fn protect(name: &str, protected_from_deletion: bool) -> AdminRequest {
    AdminRequest::Vhost(VhostRequest::SetProtected { name: name.to_owned(), protected_from_deletion })
}

fn set_policy(vhost: String, kind: PolicyKind, policy: &SetPolicy) -> Result<AdminRequest, Outcome> {
    let SetPolicy { name, pattern, definition, priority, apply_to } = policy;
    let policy = PolicyInfo {
        vhost,
        name: name.clone(),
        pattern: pattern.clone(),
        apply_to: apply_to.clone(),
        definition: object(definition)?,
        priority: *priority,
    };
    Ok(AdminRequest::Policy(PolicyRequest::Set { kind, policy }))
}

fn clear_policy(vhost: String, kind: PolicyKind, name: &str) -> AdminRequest {
    AdminRequest::Policy(PolicyRequest::Clear { kind, vhost, name: name.to_owned() })
}

fn set_global(name: &str, value: Value) -> AdminRequest {
    AdminRequest::Parameter(ParameterRequest::SetGlobal(GlobalParameterInfo { name: name.to_owned(), value }))
}

/// A JSON value from the command line.
fn document(text: &str) -> Result<Value, Outcome> {
    serde_json::from_str(text)
        .map_err(|error| Outcome::failure(exit::UNAVAILABLE, format!("Error:\nJSON decoding error. Reason: {error}\n")))
}

/// A JSON object from the command line.
fn object(text: &str) -> Result<Map<String, Value>, Outcome> {
    match document(text)? {
        Value::Object(object) => Ok(object),
        other => {
            let text = format!("Error:\nexpected a JSON object such as {{\"max-length\": 1000}}, not {other}\n");
            Err(Outcome::failure(exit::DATA, text))
        }
    }
}

//! How much vhosts and users may use (RabbitMQ docs: Virtual Hosts / Limits, Per-User Limits).

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use serde_json::Value;

use super::plan::{Plan, short};
use super::{AdminReply, AdminRequest};
use crate::metadata::{AdminError, Administration, JsonMap, Metadata, UserLimits, VhostLimits};

/// What can be asked about limits. They are JSON objects: `max-connections` and `max-queues` of a vhost, `max-connections` and
/// `max-channels` of a user; a negative number is no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LimitRequest {
    /// Sets all limits of a vhost.
    SetVhost {
        /// Which.
        vhost: String,
        /// The limits; those that it does not name are none.
        limits: JsonMap,
    },
    /// Takes the limits of a vhost away.
    ClearVhost {
        /// Which.
        vhost: String,
    },
    /// The limits of vhosts that have any.
    ListVhost {
        /// Which; `None` is all.
        vhost: Option<String>,
    },
    /// Sets limits of a user.
    SetUser {
        /// Whose.
        user: String,
        /// The limits; those that it does not name stay.
        limits: JsonMap,
    },
    /// Takes limits of a user away.
    ClearUser {
        /// Whose.
        user: String,
        /// Which; `None` is all.
        limit: Option<String>,
    },
    /// The limits of users that have any.
    ListUser {
        /// Whose; `None` is everybody's.
        user: Option<String>,
    },
}

/// The limits of one vhost or user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitInfo {
    /// Of which vhost or user.
    pub name: String,
    /// The limits it has, as JSON.
    pub limits: JsonMap,
}

impl From<LimitRequest> for AdminRequest {
    fn from(request: LimitRequest) -> Self {
        Self::Limit(request)
    }
}

/// What a request comes to.
pub(crate) fn plan(metadata: &Metadata, request: LimitRequest) -> Result<Plan, AdminError> {
    Ok(match request {
        LimitRequest::SetVhost { vhost, limits } => {
            let (vhost, limits) = (short(&vhost, "virtual host")?, read_vhost_limits(&Value::Object(limits))?);
            Plan::change(Administration::SetVhostLimits { vhost, limits })
        }
        LimitRequest::ClearVhost { vhost } => {
            let vhost = short(&vhost, "virtual host")?;
            Plan::change(Administration::SetVhostLimits { vhost, limits: VhostLimits::default() })
        }
        LimitRequest::ListVhost { vhost } => {
            let wanted = vhost.map(|vhost| metadata.expect_vhost(&short(&vhost, "virtual host")?)).transpose()?;
            let vhosts = metadata.vhosts().filter(|(key, _)| wanted.is_none_or(|wanted| wanted == *key));
            let all = vhosts.map(|(_, vhost)| LimitInfo {
                name: vhost.name.to_string_lossy().into_owned(),
                limits: show_vhost_limits(vhost.limits),
            });
            Plan::Reply(AdminReply::Limits(all.filter(|info| !info.limits.is_empty()).collect()))
        }
        LimitRequest::SetUser { user, limits } => {
            let user = short(&user, "user")?;
            let limits = read_user_limits(metadata.expect_user(&user)?.limits, &limits)?;
            Plan::change(Administration::SetUserLimits { user, limits })
        }
        LimitRequest::ClearUser { user, limit } => {
            let user = short(&user, "user")?;
            let mut limits = metadata.expect_user(&user)?.limits;
            match limit.as_deref() {
                None => limits = UserLimits::default(),
                Some("max-connections") => limits.connections_max = None,
                Some("max-channels") => limits.channels_max = None,
                Some(other) => return Err(AdminError::bad_request(format!("there is no user limit '{other}'"))),
            }
            Plan::change(Administration::SetUserLimits { user, limits })
        }
        LimitRequest::ListUser { user } => {
            if let Some(user) = &user {
                metadata.expect_user(&short(user, "user")?)?;
            }
            let users = metadata
                .users()
                .filter(|record| user.as_ref().is_none_or(|wanted| record.name.as_bytes() == wanted.as_bytes()));
            let all = users.map(|user| LimitInfo {
                name: user.name.to_string_lossy().into_owned(),
                limits: show_user_limits(user.limits),
            });
            Plan::Reply(AdminReply::Limits(all.filter(|info| !info.limits.is_empty()).collect()))
        }
    })
}

/// Reads the limits of a vhost; those that are not named are none.
pub(super) fn read_vhost_limits(value: &Value) -> Result<VhostLimits, AdminError> {
    let Some(map) = value.as_object() else {
        return Err(AdminError::bad_request("limits should be an object"));
    };
    check_known(map, &["max-connections", "max-queues"], "limits")?;
    let read = |key| map.get(key).map_or(Ok(None), |value| number(key, value));
    Ok(VhostLimits { connections_max: read("max-connections")?, queues_max: read("max-queues")? })
}

/// Reads the limits of a user; those that are not named stay.
pub(super) fn read_user_limits(current: UserLimits, map: &JsonMap) -> Result<UserLimits, AdminError> {
    check_known(map, &["max-connections", "max-channels"], "user-limits")?;
    let read = |key, current| map.get(key).map_or(Ok(current), |value| number(key, value));
    Ok(UserLimits {
        connections_max: read("max-connections", current.connections_max)?,
        channels_max: read("max-channels", current.channels_max)?,
    })
}

/// The limits there are, as JSON.
pub(super) fn show_vhost_limits(limits: VhostLimits) -> JsonMap {
    show(&[("max-connections", limits.connections_max), ("max-queues", limits.queues_max)])
}

/// The limits there are, as JSON.
pub(super) fn show_user_limits(limits: UserLimits) -> JsonMap {
    show(&[("max-connections", limits.connections_max), ("max-channels", limits.channels_max)])
}

fn show(limits: &[(&str, Option<u32>)]) -> JsonMap {
    let set = limits.iter().filter_map(|(key, limit)| Some((String::from(*key), Value::from((*limit)?))));
    set.collect()
}

fn check_known(map: &JsonMap, known: &[&str], what: &str) -> Result<(), AdminError> {
    let unknown = map.iter().filter(|(key, _)| !known.contains(&key.as_str()));
    let unknown: Vec<_> = unknown.map(|(key, value)| format!("{{<<{key:?}>>,{value}}}")).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(AdminError::bad_request(format!("Unrecognised terms [{}] in {what}", unknown.join(","))))
}

fn number(key: &str, value: &Value) -> Result<Option<u32>, AdminError> {
    let Some(number) = value.as_i64() else {
        let shown = value.as_str().map_or_else(|| format!("{value}"), |text| format!("<<{text:?}>>"));
        return Err(AdminError::bad_request(format!("{key} should be a number, actually was {shown}")));
    };
    if number < 0 {
        return Ok(None);
    }
    let limit = u32::try_from(number);
    limit.map(Some).map_err(|_| AdminError::bad_request(format!("{key} should be a smaller number than {number}")))
}

//! Changes that administrators ask for, and how they are stored.
//!
//! Each says how something is from here on, whole, so that doing it twice does no harm.

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::Value;

use super::Pattern;
use super::encoding::{DecodeError, Reader, put_count, put_long, put_short};
use super::policy::{ApplyTo, JsonMap, Policy, PolicyKind};
use super::user::{Permissions, TopicPermissions, UserLimits};
use super::vhost::{VhostLimits, VhostSettings};
use crate::amqp::ShortStr;
use crate::auth::{HashingAlgorithm, PasswordHash};

/// A change to vhosts, users, permissions, policies or parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Administration {
    /// A vhost exists, with these settings.
    PutVhost {
        /// Its name.
        name: ShortStr,
        /// What is said about it.
        settings: VhostSettings,
    },
    /// A vhost is gone with everything in it.
    DeleteVhost {
        /// Its name.
        name: ShortStr,
    },
    /// How much a vhost may use.
    SetVhostLimits {
        /// Its name.
        vhost: ShortStr,
        /// All of its limits.
        limits: VhostLimits,
    },
    /// A user exists, with this password and these tags. What else is known about them stays.
    PutUser {
        /// Their name.
        name: ShortStr,
        /// What proves that it is them.
        password: PasswordHash,
        /// What they may do.
        tags: Vec<ShortStr>,
    },
    /// A user is gone, with their permissions.
    DeleteUser {
        /// Their name.
        name: ShortStr,
    },
    /// How much a user may use.
    SetUserLimits {
        /// Their name.
        user: ShortStr,
        /// All of their limits.
        limits: UserLimits,
    },
    /// What a user may do in a vhost.
    SetPermissions {
        /// Whose.
        user: ShortStr,
        /// Where.
        vhost: ShortStr,
        /// What.
        permissions: Box<Permissions>,
    },
    /// A user may not open a vhost any more.
    ClearPermissions {
        /// Whose.
        user: ShortStr,
        /// Where.
        vhost: ShortStr,
    },
    /// Which routing keys a user may use with an exchange.
    SetTopicPermissions {
        /// Whose.
        user: ShortStr,
        /// Where.
        vhost: ShortStr,
        /// With which exchange.
        exchange: ShortStr,
        /// Which.
        permissions: TopicPermissions,
    },
    /// A user may use all routing keys again.
    ClearTopicPermissions {
        /// Whose.
        user: ShortStr,
        /// Where.
        vhost: ShortStr,
        /// With which exchange; `None` is all.
        exchange: Option<ShortStr>,
    },
    /// A policy exists.
    PutPolicy {
        /// Where.
        vhost: ShortStr,
        /// Of which kind.
        kind: PolicyKind,
        /// The policy.
        policy: Policy,
    },
    /// A policy is gone.
    DeletePolicy {
        /// Where.
        vhost: ShortStr,
        /// Of which kind.
        kind: PolicyKind,
        /// Its name.
        name: ShortStr,
    },
    /// A runtime parameter has a value.
    PutParameter {
        /// Where.
        vhost: ShortStr,
        /// Whose.
        component: ShortStr,
        /// Its name.
        name: ShortStr,
        /// Its value.
        value: Value,
    },
    /// A runtime parameter is gone.
    DeleteParameter {
        /// Where.
        vhost: ShortStr,
        /// Whose.
        component: ShortStr,
        /// Its name.
        name: ShortStr,
    },
    /// A global parameter has a value.
    PutGlobalParameter {
        /// Its name.
        name: ShortStr,
        /// Its value.
        value: Value,
    },
    /// A global parameter is gone.
    DeleteGlobalParameter {
        /// Its name.
        name: ShortStr,
    },
}

// The kinds as stored; those of `Command` come before.
pub(super) const PUT_VHOST: u8 = 16;
const DELETE_VHOST: u8 = 17;
const SET_VHOST_LIMITS: u8 = 18;
const PUT_USER: u8 = 19;
const DELETE_USER: u8 = 20;
const SET_USER_LIMITS: u8 = 21;
const SET_PERMISSIONS: u8 = 22;
const CLEAR_PERMISSIONS: u8 = 23;
const SET_TOPIC_PERMISSIONS: u8 = 24;
const CLEAR_TOPIC_PERMISSIONS: u8 = 25;
const PUT_POLICY: u8 = 26;
const DELETE_POLICY: u8 = 27;
const PUT_PARAMETER: u8 = 28;
const DELETE_PARAMETER: u8 = 29;
const PUT_GLOBAL_PARAMETER: u8 = 30;
const DELETE_GLOBAL_PARAMETER: u8 = 31;

impl Administration {
    /// Appends kind and fields.
    pub(super) fn encode(&self, out: &mut BytesMut) {
        out.put_u8(self.code());
        match self {
            Self::PutVhost { name, settings } => {
                put_short(out, name);
                put_vhost_settings(out, settings);
            }
            Self::DeleteVhost { name } | Self::DeleteUser { name } | Self::DeleteGlobalParameter { name } => {
                put_short(out, name);
            }
            Self::SetVhostLimits { vhost, limits } => {
                put_short(out, vhost);
                put_vhost_limits(out, *limits);
            }
            Self::PutUser { name, password, tags } => {
                put_short(out, name);
                put_password(out, password);
                put_shorts(out, tags);
            }
            Self::SetUserLimits { user, limits } => {
                put_short(out, user);
                put_user_limits(out, *limits);
            }
            Self::SetPermissions { user, vhost, permissions } => {
                put_short(out, user);
                put_short(out, vhost);
                put_permissions(out, permissions);
            }
            Self::ClearPermissions { user, vhost } => {
                put_short(out, user);
                put_short(out, vhost);
            }
            Self::SetTopicPermissions { user, vhost, exchange, permissions } => {
                put_short(out, user);
                put_short(out, vhost);
                put_short(out, exchange);
                put_topic_permissions(out, permissions);
            }
            Self::ClearTopicPermissions { user, vhost, exchange } => {
                put_short(out, user);
                put_short(out, vhost);
                put_optional(out, exchange.as_ref());
            }
            Self::PutPolicy { vhost, kind, policy } => {
                put_short(out, vhost);
                out.put_u8(kind.code());
                put_policy(out, policy);
            }
            Self::DeletePolicy { vhost, kind, name } => {
                put_short(out, vhost);
                out.put_u8(kind.code());
                put_short(out, name);
            }
            Self::PutParameter { vhost, component, name, value } => {
                put_short(out, vhost);
                put_short(out, component);
                put_short(out, name);
                put_json(out, value);
            }
            Self::DeleteParameter { vhost, component, name } => {
                put_short(out, vhost);
                put_short(out, component);
                put_short(out, name);
            }
            Self::PutGlobalParameter { name, value } => {
                put_short(out, name);
                put_json(out, value);
            }
        }
    }

    /// Reads what [`Administration::encode`] wrote after the kind.
    pub(super) fn decode(code: u8, reader: &mut Reader) -> Result<Self, DecodeError> {
        let first = reader.short()?;
        Ok(match code {
            PUT_VHOST => Self::PutVhost { name: first, settings: read_vhost_settings(reader)? },
            DELETE_VHOST => Self::DeleteVhost { name: first },
            SET_VHOST_LIMITS => Self::SetVhostLimits { vhost: first, limits: read_vhost_limits(reader)? },
            PUT_USER => {
                let password = read_password(reader)?;
                Self::PutUser { name: first, password, tags: read_shorts(reader)? }
            }
            DELETE_USER => Self::DeleteUser { name: first },
            SET_USER_LIMITS => Self::SetUserLimits { user: first, limits: read_user_limits(reader)? },
            SET_PERMISSIONS => {
                let vhost = reader.short()?;
                Self::SetPermissions { user: first, vhost, permissions: Box::new(read_permissions(reader)?) }
            }
            CLEAR_PERMISSIONS => Self::ClearPermissions { user: first, vhost: reader.short()? },
            SET_TOPIC_PERMISSIONS => {
                let (vhost, exchange) = (reader.short()?, reader.short()?);
                let permissions = read_topic_permissions(reader)?;
                Self::SetTopicPermissions { user: first, vhost, exchange, permissions }
            }
            CLEAR_TOPIC_PERMISSIONS => {
                let vhost = reader.short()?;
                Self::ClearTopicPermissions { user: first, vhost, exchange: read_optional(reader)? }
            }
            PUT_POLICY => {
                let kind = PolicyKind::from_code(reader.u8()?)?;
                Self::PutPolicy { vhost: first, kind, policy: read_policy(reader)? }
            }
            DELETE_POLICY => {
                let kind = PolicyKind::from_code(reader.u8()?)?;
                Self::DeletePolicy { vhost: first, kind, name: reader.short()? }
            }
            PUT_PARAMETER => {
                let (component, name) = (reader.short()?, reader.short()?);
                Self::PutParameter { vhost: first, component, name, value: read_json(reader)? }
            }
            DELETE_PARAMETER => {
                let (component, name) = (reader.short()?, reader.short()?);
                Self::DeleteParameter { vhost: first, component, name }
            }
            PUT_GLOBAL_PARAMETER => Self::PutGlobalParameter { name: first, value: read_json(reader)? },
            DELETE_GLOBAL_PARAMETER => Self::DeleteGlobalParameter { name: first },
            other => return Err(DecodeError::Malformed(format!("command of kind {other}"))),
        })
    }

    fn code(&self) -> u8 {
        match self {
            Self::PutVhost { .. } => PUT_VHOST,
            Self::DeleteVhost { .. } => DELETE_VHOST,
            Self::SetVhostLimits { .. } => SET_VHOST_LIMITS,
            Self::PutUser { .. } => PUT_USER,
            Self::DeleteUser { .. } => DELETE_USER,
            Self::SetUserLimits { .. } => SET_USER_LIMITS,
            Self::SetPermissions { .. } => SET_PERMISSIONS,
            Self::ClearPermissions { .. } => CLEAR_PERMISSIONS,
            Self::SetTopicPermissions { .. } => SET_TOPIC_PERMISSIONS,
            Self::ClearTopicPermissions { .. } => CLEAR_TOPIC_PERMISSIONS,
            Self::PutPolicy { .. } => PUT_POLICY,
            Self::DeletePolicy { .. } => DELETE_POLICY,
            Self::PutParameter { .. } => PUT_PARAMETER,
            Self::DeleteParameter { .. } => DELETE_PARAMETER,
            Self::PutGlobalParameter { .. } => PUT_GLOBAL_PARAMETER,
            Self::DeleteGlobalParameter { .. } => DELETE_GLOBAL_PARAMETER,
        }
    }
}

impl PolicyKind {
    pub(super) fn code(self) -> u8 {
        match self {
            Self::User => 0,
            Self::Operator => 1,
        }
    }

    pub(super) fn from_code(code: u8) -> Result<Self, DecodeError> {
        match code {
            0 => Ok(Self::User),
            1 => Ok(Self::Operator),
            other => Err(DecodeError::Malformed(format!("policy of kind {other}"))),
        }
    }
}

pub(super) fn put_vhost_settings(out: &mut BytesMut, settings: &VhostSettings) {
    let VhostSettings { description, tags, default_queue_type, protected_from_deletion, tracing } = settings;
    put_long(out, description);
    put_shorts(out, tags);
    put_optional(out, default_queue_type.as_ref());
    out.put_u8(u8::from(*protected_from_deletion) | u8::from(*tracing) << 1);
}

pub(super) fn read_vhost_settings(reader: &mut Reader) -> Result<VhostSettings, DecodeError> {
    let (description, tags, default_queue_type) = (reader.long()?, read_shorts(reader)?, read_optional(reader)?);
    let [protected_from_deletion, tracing] = reader.flags()?;
    Ok(VhostSettings { description, tags, default_queue_type, protected_from_deletion, tracing })
}

pub(super) fn put_vhost_limits(out: &mut BytesMut, limits: VhostLimits) {
    put_limit(out, limits.connections_max);
    put_limit(out, limits.queues_max);
}

pub(super) fn read_vhost_limits(reader: &mut Reader) -> Result<VhostLimits, DecodeError> {
    Ok(VhostLimits { connections_max: read_limit(reader)?, queues_max: read_limit(reader)? })
}

pub(super) fn put_user_limits(out: &mut BytesMut, limits: UserLimits) {
    put_limit(out, limits.connections_max);
    put_limit(out, limits.channels_max);
}

pub(super) fn read_user_limits(reader: &mut Reader) -> Result<UserLimits, DecodeError> {
    Ok(UserLimits { connections_max: read_limit(reader)?, channels_max: read_limit(reader)? })
}

pub(super) fn put_password(out: &mut BytesMut, password: &PasswordHash) {
    out.put_u8(match password.algorithm {
        HashingAlgorithm::Sha256 => 0,
        HashingAlgorithm::Sha512 => 1,
        HashingAlgorithm::Md5 => 2,
    });
    put_count(out, password.bytes.len());
    out.put_slice(&password.bytes);
}

pub(super) fn read_password(reader: &mut Reader) -> Result<PasswordHash, DecodeError> {
    let algorithm = match reader.u8()? {
        0 => HashingAlgorithm::Sha256,
        1 => HashingAlgorithm::Sha512,
        2 => HashingAlgorithm::Md5,
        other => return Err(DecodeError::Malformed(format!("password hash of kind {other}"))),
    };
    Ok(PasswordHash { algorithm, bytes: Bytes::copy_from_slice(&reader.bytes()?) })
}

pub(super) fn put_permissions(out: &mut BytesMut, permissions: &Permissions) {
    put_long(out, permissions.configure.as_str());
    put_long(out, permissions.write.as_str());
    put_long(out, permissions.read.as_str());
}

pub(super) fn read_permissions(reader: &mut Reader) -> Result<Permissions, DecodeError> {
    let mut pattern = || Ok(Pattern::restored(reader.long()?, true));
    Ok(Permissions { configure: pattern()?, write: pattern()?, read: pattern()? })
}

pub(super) fn put_topic_permissions(out: &mut BytesMut, permissions: &TopicPermissions) {
    put_long(out, &permissions.write);
    put_long(out, &permissions.read);
}

pub(super) fn read_topic_permissions(reader: &mut Reader) -> Result<TopicPermissions, DecodeError> {
    Ok(TopicPermissions { write: reader.long()?, read: reader.long()? })
}

pub(super) fn put_policy(out: &mut BytesMut, policy: &Policy) {
    let Policy { name, pattern, apply_to, priority, definition } = policy;
    put_short(out, name);
    put_long(out, pattern.as_str());
    put_long(out, apply_to.name());
    out.put_i64(*priority);
    put_json(out, &Value::Object(definition.clone()));
}

pub(super) fn read_policy(reader: &mut Reader) -> Result<Policy, DecodeError> {
    let (name, pattern) = (reader.short()?.detached(), Pattern::restored(reader.long()?, false));
    let apply_to = ApplyTo::from_name(&reader.long()?).map_err(|error| DecodeError::Malformed(error.text))?;
    let priority = reader.i64()?;
    let definition = read_object(reader)?;
    Ok(Policy { name, pattern, apply_to, priority, definition })
}

pub(super) fn put_json(out: &mut BytesMut, value: &Value) {
    put_long(out, &format!("{value}"));
}

pub(super) fn read_json(reader: &mut Reader) -> Result<Value, DecodeError> {
    serde_json::from_str(&reader.long()?).map_err(|error| DecodeError::Malformed(format!("{error}")))
}

fn read_object(reader: &mut Reader) -> Result<JsonMap, DecodeError> {
    match read_json(reader)? {
        Value::Object(map) => Ok(map),
        other => Err(DecodeError::Malformed(format!("{other} is no object"))),
    }
}

pub(super) fn put_shorts(out: &mut BytesMut, texts: &[ShortStr]) {
    put_count(out, texts.len());
    texts.iter().for_each(|text| put_short(out, text));
}

pub(super) fn read_shorts(reader: &mut Reader) -> Result<Vec<ShortStr>, DecodeError> {
    (0..reader.u32()?).map(|_| Ok(reader.short()?.detached())).collect()
}

fn put_optional(out: &mut BytesMut, text: Option<&ShortStr>) {
    out.put_u8(u8::from(text.is_some()));
    if let Some(text) = text {
        put_short(out, text);
    }
}

fn read_optional(reader: &mut Reader) -> Result<Option<ShortStr>, DecodeError> {
    let [is_there] = reader.flags()?;
    if is_there { Ok(Some(reader.short()?.detached())) } else { Ok(None) }
}

fn put_limit(out: &mut BytesMut, limit: Option<u32>) {
    out.put_i64(limit.map_or(-1, i64::from));
}

fn read_limit(reader: &mut Reader) -> Result<Option<u32>, DecodeError> {
    let limit = reader.i64()?;
    match u32::try_from(limit) {
        Ok(limit) => Ok(Some(limit)),
        Err(_) if limit == -1 => Ok(None),
        Err(_) => Err(DecodeError::Malformed(format!("limit {limit}"))),
    }
}

//! Logging in: from credentials to a user.

use super::Credentials;
use crate::config::Config;
use crate::metadata::{Metadata, User};

/// Why a login was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoginError {
    /// No such user, or not its password.
    Refused,
    /// The user may only connect from this machine (RabbitMQ docs: Access Control / loopback users).
    LoopbackOnly,
}

/// The user these credentials belong to.
///
/// # Errors
/// If they belong to nobody, or to somebody who may not come from there.
pub(crate) fn log_in<'a>(
    metadata: &'a Metadata,
    config: &Config,
    credentials: &Credentials,
    from_loopback: bool,
) -> Result<&'a User, LoginError> {
    let user = metadata.user(&credentials.user).ok_or(LoginError::Refused)?;
    if !user.password.matches(&credentials.password) {
        return Err(LoginError::Refused);
    }
    let is_local = config.loopback_users.iter().any(|name| name.as_bytes() == credentials.user);
    if is_local && !from_loopback {
        return Err(LoginError::LoopbackOnly);
    }
    Ok(user)
}

//! Users and what they may do before they have opened anything.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use super::Credentials;
use super::password::{PasswordHash, SALT_BYTES};
use crate::config::Config;

/// All users of the node.
#[derive(Debug)]
pub(crate) struct Users {
    by_name: BTreeMap<Vec<u8>, User>,
}

/// One user.
#[derive(Debug)]
struct User {
    name: String,
    password: PasswordHash,
    /// Whether it may only connect from this machine (RabbitMQ docs: Access Control / loopback users).
    loopback_only: bool,
}

/// Why a login was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoginError {
    /// No such user, or not its password.
    Refused,
    /// The user may only connect from this machine.
    LoopbackOnly,
}

impl Users {
    /// The users of an empty node: the default one.
    pub(crate) fn new(config: &Config, salt: [u8; SALT_BYTES]) -> Self {
        let user = User {
            name: config.default_user.clone(),
            password: PasswordHash::new(salt, config.default_pass.as_bytes()),
            loopback_only: config.default_user_loopback_only,
        };
        Self { by_name: BTreeMap::from([(config.default_user.clone().into_bytes(), user)]) }
    }

    /// The name of the user these credentials belong to.
    ///
    /// # Errors
    /// If they belong to nobody, or to somebody who may not come from there.
    pub(crate) fn log_in(&self, credentials: &Credentials, from_loopback: bool) -> Result<&str, LoginError> {
        let user = self.by_name.get(&credentials.user).ok_or(LoginError::Refused)?;
        if !user.password.matches(&credentials.password) {
            return Err(LoginError::Refused);
        }
        if user.loopback_only && !from_loopback {
            return Err(LoginError::LoopbackOnly);
        }
        Ok(&user.name)
    }
}

//! Users, as `rabbitmqctl`'s user commands and the HTTP API have them.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::base64;
use super::plan::{Plan, name, short};
use super::{AdminReply, AdminRequest};
use crate::amqp::ShortStr;
use crate::auth::{HashingAlgorithm, PasswordHash, SALT_BYTES};
use crate::metadata::{AdminError, Administration, Metadata, User};

/// What can be asked about users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserRequest {
    /// Makes a user without tags. Refused if there is one of this name.
    Add {
        /// Their name.
        name: String,
        /// Their password.
        secret: Secret,
    },
    /// Makes a user, or changes one.
    Put {
        /// Their name.
        name: String,
        /// Their password; `None` keeps it, or makes a user who cannot log in with one.
        secret: Option<Secret>,
        /// Their tags.
        tags: Vec<String>,
    },
    /// Deletes a user and closes their connections.
    Delete {
        /// Their name.
        name: String,
    },
    /// Gives a user another password.
    ChangePassword {
        /// Their name.
        name: String,
        /// The password.
        secret: Secret,
    },
    /// Keeps a user from logging in with a password.
    ClearPassword {
        /// Their name.
        name: String,
    },
    /// Gives a user other tags.
    SetTags {
        /// Their name.
        name: String,
        /// The tags.
        tags: Vec<String>,
    },
    /// Whether this is a user's password.
    Authenticate {
        /// Their name.
        name: String,
        /// What may be it.
        password: String,
    },
    /// All users.
    List,
}

/// A password, or what is left of it.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// As it was typed. It is hashed before anything is stored.
    Password(String),
    /// A hash in RabbitMQ's format, base64 around it.
    Hash {
        /// How it was made.
        algorithm: HashingAlgorithm,
        /// Salt and digest in base64; empty is no password.
        hash: String,
    },
}

/// What can be known about a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserInfo {
    /// Their name.
    pub name: String,
    /// Their tags.
    pub tags: Vec<String>,
    /// How their password was hashed.
    pub algorithm: HashingAlgorithm,
    /// The hash, base64 around it; empty if they have none.
    pub password_hash: String,
}

impl From<UserRequest> for AdminRequest {
    fn from(request: UserRequest) -> Self {
        Self::User(request)
    }
}

impl core::fmt::Debug for Secret {
    /// Passwords do not belong into logs.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    pub(super) fn hash(&self, salt: [u8; SALT_BYTES]) -> Result<PasswordHash, AdminError> {
        match self {
            Self::Password(password) => Ok(PasswordHash::new(HashingAlgorithm::default(), salt, password.as_bytes())),
            Self::Hash { algorithm, hash } => {
                let bytes = base64::decode(hash)
                    .ok_or_else(|| AdminError::bad_request(format!("password_hash '{hash}' is not base64")))?;
                Ok(PasswordHash { algorithm: *algorithm, bytes: bytes.into() })
            }
        }
    }
}

impl UserInfo {
    pub(super) fn new(user: &User) -> Self {
        Self {
            name: user.name.to_string_lossy().into_owned(),
            tags: user.tags.iter().map(|tag| tag.to_string_lossy().into_owned()).collect(),
            algorithm: user.password.algorithm,
            password_hash: base64::encode(&user.password.bytes),
        }
    }
}

/// The hash of a password, as definitions hold it. The salt should be random.
pub fn password_hash(password: &str, salt: [u8; SALT_BYTES]) -> String {
    base64::encode(&PasswordHash::new(HashingAlgorithm::default(), salt, password.as_bytes()).bytes)
}

/// What a request comes to. `salt` is for a password that is to be hashed.
pub(crate) fn plan(metadata: &Metadata, salt: [u8; SALT_BYTES], request: UserRequest) -> Result<Plan, AdminError> {
    let put = |name, password, tags| Plan::change(Administration::PutUser { name, password, tags });
    Ok(match request {
        UserRequest::Add { name: text, secret } => {
            let name = name(&text, "user")?;
            if metadata.user(name.as_bytes()).is_some() {
                return Err(AdminError::conflict(format!("User \"{text}\" already exists")));
            }
            put(name, secret.hash(salt)?, Vec::new())
        }
        UserRequest::Put { name: text, secret, tags } => {
            let name = name(&text, "user")?;
            let current = metadata.user(name.as_bytes()).map(|user| user.password.clone()).unwrap_or_default();
            let password = secret.map_or(Ok(current), |secret| secret.hash(salt))?;
            put(name, password, read_tags(&tags)?)
        }
        UserRequest::Delete { name: text } => Plan::change(Administration::DeleteUser { name: name(&text, "user")? }),
        UserRequest::ChangePassword { name, secret } => {
            let user = metadata.expect_user(&short(&name, "user")?)?;
            put(user.name.clone(), secret.hash(salt)?, user.tags.clone())
        }
        UserRequest::ClearPassword { name } => {
            let user = metadata.expect_user(&short(&name, "user")?)?;
            put(user.name.clone(), PasswordHash::default(), user.tags.clone())
        }
        UserRequest::SetTags { name, tags } => {
            let user = metadata.expect_user(&short(&name, "user")?)?;
            put(user.name.clone(), user.password.clone(), read_tags(&tags)?)
        }
        UserRequest::Authenticate { name, password } => {
            let user = metadata.user(name.as_bytes());
            if !user.is_some_and(|user| user.password.matches(password.as_bytes())) {
                return Err(AdminError::refused(format!("failed to authenticate user \"{name}\"")));
            }
            Plan::Reply(AdminReply::Done)
        }
        UserRequest::List => Plan::Reply(AdminReply::Users(metadata.users().map(UserInfo::new).collect())),
    })
}

pub(super) fn read_tags(tags: &[String]) -> Result<Vec<ShortStr>, AdminError> {
    tags.iter().map(|tag| name(tag, "tag")).collect()
}

//! Who may come in: SASL mechanisms and users.

mod login;
mod password;
mod sasl;

pub(crate) use login::log_in;
pub(crate) use password::SALT_BYTES;
pub use password::{HashingAlgorithm, PasswordHash};
pub(crate) use sasl::{Credentials, Mechanism};

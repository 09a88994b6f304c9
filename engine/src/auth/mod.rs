//! Who may come in: SASL mechanisms and users.

mod login;
mod password;
mod sasl;

pub(crate) use login::log_in;
pub use password::{HashingAlgorithm, PasswordHash, SALT_BYTES};
pub(crate) use sasl::{Credentials, Mechanism};

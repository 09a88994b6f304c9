//! Who may come in: SASL mechanisms and users.

mod password;
mod sasl;
mod user;

pub(crate) use sasl::{Credentials, Mechanism};
pub(crate) use user::Users;

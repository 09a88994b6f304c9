//! Administration as values: what an operator may ask of a node, and what it answers. HTTP and command lines only translate.
//!
//! A request that changes what outlives a restart is answered once the change is durable.

mod departures;

use alloc::boxed::Box;
use alloc::string::String;

use crate::ids::AdminId;

pub use crate::queue::{LeaveReason, LeftTo};
pub use departures::{Departure, DepartureReport, DepartureRequest, LeaveCounts, Way};

/// What an operator asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminRequest {
    /// Whether the node is there.
    Ping,
    /// Why messages are gone that nobody acked.
    Departures(DepartureRequest),
}

/// What a node answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminReply {
    /// It is done.
    Done,
    /// What is remembered of messages that are gone.
    Departures(Box<DepartureReport>),
}

/// An answer and the request it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminAnswer {
    /// The number of the request.
    pub id: AdminId,
    /// The answer.
    pub reply: Result<AdminReply, AdminError>,
}

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminError {
    /// What kind of reason.
    pub kind: AdminErrorKind,
    /// The reason in words, for a person.
    pub text: String,
}

/// The kinds of reasons, as front ends tell them apart (HTTP statuses, exit codes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminErrorKind {
    /// What it is about does not exist.
    NotFound,
    /// It makes no sense.
    BadRequest,
    /// It contradicts what is there.
    Conflict,
    /// It is not allowed.
    Refused,
}

impl AdminError {
    /// An error of this kind.
    pub fn new(kind: AdminErrorKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }
}

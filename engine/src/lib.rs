//! The Leveret broker as one deterministic state machine: (state, now, input) → (state, effects).
//!
//! # The journey of one published message
//!
//! The modules stand in the order in which a message meets them.
//!
//! 1. Bytes arrive from a socket as [`input::Input::ClientReceived`]; [`engine::Engine::handle`] gives them to their connection.
//! 2. `amqp` makes frames of them, and of frames a command with its content.
//! 3. `connection` hands the command to its `channel`, which numbers the publish if it is to be confirmed.
//! 4. `routing`, by what `metadata` knows, finds the queues.
//! 5. The `broker`, which all connections share, gives it to each `queue`, and,
//! 6. if it is to survive a restart, to the log in `storage`.
//! 7. The driver carries out the [`effect::Effects`]: it writes the log and answers with [`input::Input::DiskDone`].
//! 8. Once the log is durable, `channel::confirm` tells the publisher.
//! 9. A consumer with credit gets it: the queue offers, the connection's outbox takes, `channel::deliver` numbers the delivery.
//! 10. The consumer acks; `channel::ack` settles it with the queue and the log, and its place is free for the next.
//!
//! # Rules
//!
//! - Nothing here reads a clock, a file, a socket, the environment or a global. The crate is `no_std`, so that it cannot.
//! - Machines talk by returned values. Nothing points up: `amqp` ← `message` ← `routing`, `metadata`, `auth` ← `queue` ← `channel` ←
//!   `connection` ← `engine`. `storage` moves opaque bytes and knows no AMQP.
//! - Hash maps are for looking up, never for walking through ([`collections`]).
//! - What a client does wrong becomes frames; what the world does wrong is an input; what we do wrong is a panic.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod administer;
pub mod alarm;
mod buggify;
pub mod collections;
pub mod config;
pub mod effect;
pub mod engine;
pub mod event;
pub mod ids;
pub mod input;
pub mod limits;
pub mod mutants;
pub mod time;
pub mod timer;
mod window;

pub mod amqp;
pub mod auth;
mod broker;
mod channel;
pub mod client;
pub mod cluster;
mod connection;
mod exchange;
pub mod management;
mod message;
pub mod metadata;
pub mod queue;
pub mod routing;
pub mod storage;

#[cfg(test)]
mod tests;

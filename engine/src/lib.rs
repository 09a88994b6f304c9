//! The Leveret broker as one deterministic state machine: (state, now, input) → (state, effects).
#![no_std]

extern crate alloc;

pub mod collections;
pub mod config;
pub mod effect;
pub mod engine;
pub mod event;
pub mod ids;
pub mod input;
pub mod limits;
pub mod storage;
pub mod time;
pub mod timer;

pub mod amqp;
pub mod client;
pub mod metadata;
pub mod routing;

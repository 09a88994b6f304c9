//! The Leveret broker as one deterministic state machine.
#![no_std]

extern crate alloc;

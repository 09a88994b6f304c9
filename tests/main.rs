//! Tests across the crates: one binary, one module per area.

#![allow(
    clippy::print_stderr,
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    reason = "tests tell on stderr what they skipped, and fail by panicking"
)]

mod harness;

mod benchmark;
mod clients;
mod cluster;
mod conformance;
mod crash;
mod features;
mod management;
mod process;
mod property;
mod simulator;
mod turmoil;

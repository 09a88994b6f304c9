//! Suites: many seeds of many scenarios, judged together, for people who wait and for machines that gate a merge.
//!
//! An [`entry::Entry`] is a scenario and what it has to show; the [`agenda`] says which seeds come when; the [`tally`] keeps what came
//! of them; the [`verdict`] says whether that is good enough; the rest writes it down. No run knows that it is part of a suite.

pub(crate) mod agenda;
pub(crate) mod canary;
pub(crate) mod corpus;
pub(crate) mod determinism;
pub(crate) mod entry;
pub(crate) mod escape;
pub(crate) mod json;
pub(crate) mod junit;
pub(crate) mod page;
pub(crate) mod summary;
pub(crate) mod table;
pub(crate) mod tally;
pub(crate) mod verdict;

//! Groups against networks and disks that fail.

#![expect(clippy::cast_possible_truncation, reason = "the numbers are small")]

mod disk;
mod rng;
mod truth;
mod world;

mod bytes;
mod chaos;
mod hazards;
mod journal;
#[cfg(feature = "mutants")]
mod planted;
mod sleep;
mod table;

//! Clusters on disks, links and clocks that fail.

#![expect(clippy::cast_possible_truncation, reason = "the numbers are small")]

mod world;

mod bytes;
mod chaos;
mod formation;
#[cfg(feature = "mutants")]
mod planted;

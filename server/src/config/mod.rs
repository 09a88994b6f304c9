//! The configuration file.

pub mod size;

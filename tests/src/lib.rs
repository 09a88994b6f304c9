//! Tests across the crates: one binary, one module per area.

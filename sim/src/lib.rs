//! Leveret's sim.

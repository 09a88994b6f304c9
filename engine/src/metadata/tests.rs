//! Commands against the whole machine.

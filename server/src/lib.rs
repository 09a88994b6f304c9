//! Leveret's server.

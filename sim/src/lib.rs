//! Leveret's simulator: a world of clients, a disk, a network and their faults around the real engine, all decided by a seed.
//!
//! A [`scenario::Scenario`] and a seed make a [`plan::Plan`]; the world carries it out; the model keeps beside the engine what the
//! promise says; the oracles object. The same plan gives the same run to the byte, which the trace hash shows.

mod agreement;
pub mod atlas;
mod availability;
pub mod capsule;
pub mod cli;
mod client;
pub mod clock;
mod cluster;
mod disk;
pub mod expect;
pub mod explain;
mod fault;
mod field;
mod history;
pub mod html;
pub mod lab;
mod ledger;
mod message;
mod mirrors;
mod model;
#[cfg(feature = "mutants")]
pub mod mutants;
mod nemesis;
mod network;
mod node;
mod nodes;
pub mod operator;
mod options;
mod oracle;
mod outage;
mod pause;
mod peers;
pub mod perf;
pub mod plan;
mod quiesce;
mod readable;
pub mod record;
mod replicas;
pub mod report;
pub mod rng;
pub mod run;
pub mod scenario;
mod scheduler;
pub mod shrink;
mod situation;
mod sorted;
mod speed;
mod steps;
mod story;
mod suite;
mod swarm;
mod tap;
mod topology;
mod trace;
mod trigger;
mod trouble;
mod workload;
mod world;

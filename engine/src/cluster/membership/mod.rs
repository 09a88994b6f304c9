//! The cluster: which nodes belong to it, and the one sequence of commands that all of them apply.
//!
//! Every node is a member of one group (see [`super::consensus`]). Its entries are commands of the embedder, in which this module does
//! not look, and changes of the *roster*, the list of nodes. Any node may ask for a command: it goes to whoever leads, is numbered by
//! who asked, and is carried out once and in that order, however often it had to be sent.
//!
//! # How a node gets in
//!
//! ```text
//!  first start: draws the number of its disk
//!       │
//!       ├── no other nodes are configured, or it is the first of them by name, has reached a majority of them,
//!       │   and none of those belongs to a cluster: it forms one, and is its node 1
//!       └── otherwise it asks every member that it reaches
//!             → the leader has "admit (name, disk)" carried out: the node has a number
//!             → the leader adds it as a learner, and gives it a vote once it has caught up
//! ```
//!
//! A node whose disk was lost comes back under its name with another disk. It is another node then, with another number, since others
//! had counted on what the former one remembered; that one leaves as the new one comes in. A name whose node is running cannot be
//! taken.
//!
//! So does a node that gave its data up because it was damaged, but for one thing: it never forms a cluster. A first node that comes to
//! others which have nothing begins anew; this one waits for those who have what it had, however many gave theirs up.
//!
//! # What is written
//!
//! Who the node is, before it says anything in each of its lives; the group's records; and now and then the state, so that the log
//! before it can go. All of that are records in the node's one log, which is written in order: what counts on something else being
//! durable comes after it.

mod boot;
mod command;
mod identity;
mod roster;
mod single;
mod state;

mod cluster;
mod group;
mod links;
mod look;
mod remains;
mod replicas;

#[cfg(test)]
mod tests;

pub(crate) use cluster::OWNERS_START;
pub use cluster::{Cluster, Config, Decided, Event, NotTaken, Outputs, Peer, Send};
pub use identity::Place;
pub(crate) use links::sign_of_life;
pub(crate) use remains::Remains;
pub(crate) use replicas::{FoundReplica, OfGroup};
pub use roster::Node;

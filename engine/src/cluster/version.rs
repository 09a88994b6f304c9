//! What all nodes of a cluster understand of each other, so that a cluster goes on while its programs are exchanged one after the other.
//!
//! A program says in the hello of its links which versions it speaks ([`Versions::SPOKEN`](super::link::Versions::SPOKEN)). The cluster
//! has a version of its own, in its replicated state: the highest that all of its nodes were seen to speak. It never falls. What a
//! version brought is used from then on that the cluster has it, and nodes that do not speak it are turned away from then on; RabbitMQ's
//! feature flags are enabled in the same way.
//!
//! # Versions
//!
//! | version | brought |
//! | --- | --- |
//! | 1 | links, the cluster's log, replicated queues |
//! | 2 | bodies that are carried to the end of a queue's log; the classic queues of a node that comes back without its data |
//! | 3 | classic queues with replicas; how often a message was given out, and how many of a quorum queue came back and wait; connections of all nodes |
//! | 4 | classic queues that get replicas while they are in use |
//! | 5 | which members of a queue have no vote yet |

/// From this version on nodes know [`Command::Carry`](crate::queue::quorum::Command::Carry).
pub const CARRY: u16 = 2;
/// From this version on replicated queues may have the [`Rules`](crate::queue::quorum::Rules) of classic ones.
pub const MIRRORS: u16 = 3;
/// From this version on nodes know [`Command::SetHome`](crate::metadata::Command::SetHome).
pub const SET_HOME: u16 = 2;
/// From this version on nodes tell each other how often a message was given out ([`Delivery`](super::queues::Delivery)), and how many
/// messages came back and wait ([`Counts`](super::inquiries::Counts)).
pub const COUNTS: u16 = 3;
/// From this version on nodes ask each other for their connections ([`Inquiry`](super::inquiries::Inquiry)).
pub const LISTINGS: u16 = 3;
/// From this version on nodes know [`Command::Replicate`](crate::metadata::Command::Replicate), and of queues
/// [`Command::Bring`](crate::queue::quorum::Command::Bring), [`Command::Adopt`](crate::queue::quorum::Command::Adopt) and
/// [`Command::Forsake`](crate::queue::quorum::Command::Forsake).
pub const TURN: u16 = 4;
/// From this version on nodes tell each other which members of a queue have no vote yet ([`Counts`](super::inquiries::Counts)).
pub const VOTES: u16 = 5;
/// The version of a cluster about which its state says nothing.
pub const FIRST: u16 = 1;

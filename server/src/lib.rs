//! Leveret's server: sockets, files and clocks around the engine. It carries; every decision is the engine's.
//!
//! [`node::serve`] is generic over the network, the disk and the clocks, and uses nothing of the operating system itself: the same
//! code runs on TCP and on a simulated network. What belongs to one process (threads, signals, the command line) is in `main.rs`.

pub mod admin;
pub mod clock;
pub mod config;
pub mod ctl;
pub mod data_dir;
pub mod disk;
pub mod gauge;
mod inbox;
mod listener;
mod logging;
pub mod net;
pub mod node;
pub mod peers;
mod stream;
pub mod tls;

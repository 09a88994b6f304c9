//! Client libraries that people use, each through the patterns of RabbitMQ's six tutorials.

mod broker;
mod lapin;
pub(crate) mod scripts;

//! Pointsman's native host and the parts of its command line.

pub mod backend;
pub mod client;
pub mod configuration;
pub mod envoy;
pub mod exchange;
pub mod module;

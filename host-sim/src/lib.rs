//! Pointsman's native host and the parts of its command line.

pub mod backend;
pub mod bench;
pub mod check;
pub mod client;
pub mod configuration;
pub mod envoy;
pub mod envoy_host;
pub mod exchange;
pub mod explain;
pub mod explain_header;
pub mod faults;
pub mod module;
pub mod request_test;
pub mod schema;
pub mod simulation;
pub mod testkit;
pub mod wait;
pub mod world;

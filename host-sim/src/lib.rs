//! Pointsman's native host and the parts of its command line. `host-sim/README.md` has every
//! command and the formats of its files.
//!
//! | subject | modules |
//! |---|---|
//! | the simulated proxy, which runs the unmodified filter | [`world`] |
//! | a real Envoy, its backends and clients | [`envoy`], [`envoy_host`], [`backend`], [`client`], [`module`] |
//! | what both can do: one request and what came of it | [`exchange`], [`explain`], [`explain_header`] |
//! | traffic over virtual time | [`simulation`] |
//! | files that people write | [`configuration`], [`request_test`], [`schema`], [`check`] |
//! | what is measured and broken on a real Envoy | [`mod@bench`], [`faults`] |
//! | what tests share | [`testkit`], [`wait`] |
//!
//! A test that is to run on both hosts takes a [`exchange::Host`]: [`world::World`] is one,
//! [`envoy_host::EnvoyHost`] the other.

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

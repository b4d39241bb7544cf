//! Pointsman's native hosts, and the parts of its command line. `host-sim/README.md` has every
//! command and the formats of its files.
//!
//! A row may use the rows below it, and none above (`tests/import_direction.rs` reads this table).
//!
//! | modules | what they are |
//! |---|---|
//! | [`mod@bench`], [`faults`] | what Pointsman costs, and what breaks: measured on a real Envoy |
//! | [`envoy_host`] | a real Envoy as an [`exchange::Host`], with a fleet of backends |
//! | [`testkit`] | an Envoy with its backends, loads and raw servers, for tests and measurements |
//! | [`envoy`] | a real Envoy: installed, configured, started, with the backends behind it |
//! | [`schema`] | JSON Schemas of configurations, tests and scenarios, for editors |
//! | [`simulation`] | traffic over virtual time through the simulated proxy |
//! | [`status`] | what a running Envoy says of Pointsman at its admin address |
//! | [`request_test`] | files of requests with what is expected of them, run on any host |
//! | [`mod@diff`] | which requests a change of the configuration treats differently |
//! | [`check`] | what is legal in a configuration, and wrong |
//! | [`world`] | the simulated proxy, which runs the unmodified filter; an [`exchange::Host`] |
//! | [`explain`], [`explain_header`] | what the filter did with a request, and why |
//! | [`connection_manager`] | what an Envoy does to a request before any filter |
//! | [`configuration`] | configurations, read from files |
//! | [`environment`] | the variables that a configuration leaves its secrets to |
//! | [`yaml`] | YAML as Envoy, Kubernetes and YAML 1.2 read it |
//! | [`import`] | other programs' routes as a configuration that loads |
//! | [`header_map`] | header maps as Envoy keeps them |
//! | [`backend`], [`client`] | an HTTP server and an HTTP client on this machine |
//! | [`exchange`] | what both hosts can do: carry out one request |
//! | [`clock`] | the time that an Envoy sees, set by a test |
//! | [`package`] | the filter's module as it ships |
//! | [`mod@keys`] | lists of keys of a file's format |
//! | [`share`] | shares and rates in words |
//! | [`module`], [`process`], [`wait`] | what Cargo builds; programs beside us; waiting until something is so |
//!
//! The command line is the program `host-sim` (`main.rs` and `cli`), which uses all of it.

pub mod backend;
pub mod bench;
pub mod check;
pub mod client;
pub mod clock;
pub mod configuration;
pub mod connection_manager;
pub mod diff;
pub mod environment;
pub mod envoy;
pub mod envoy_host;
pub mod exchange;
pub mod explain;
pub mod explain_header;
pub mod faults;
pub mod header_map;
pub mod import;
mod keys;
pub mod module;
pub mod package;
pub mod process;
pub mod request_test;
pub mod schema;
pub mod share;
pub mod simulation;
pub mod status;
pub mod testkit;
pub mod wait;
pub mod world;
pub mod yaml;

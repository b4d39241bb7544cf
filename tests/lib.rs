//! The tests of Pointsman on every host that we have. Each file beside this one, and each directory
//! with a `main.rs`, is a test program of its own, listed in `Cargo.toml`. What they share is
//! `host_sim::testkit`, [`tls`], [`grpc_server`] and [`sources`].

pub mod grpc_server;
pub mod sources;
pub mod tls;

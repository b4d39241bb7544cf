//! What the tests, `bench` and `faults` share: real proxies with their backends ([`Site`]), clients
//! under whose load something happens ([`load`], [`flood`]), servers that answer with bytes which no
//! good server sends ([`raw_server`]), proxies that share one limit
//! ([`shared_limit`], [`engine`]), and a registry of images ([`registry`]). Waiting is [`crate::wait`], the client is
//! [`crate::client`].

pub mod attack;
pub mod engine;
pub mod flood;
pub mod load;
pub mod raw_server;
pub mod registry;
pub mod shared_limit;
mod site;

pub use site::{Site, module};

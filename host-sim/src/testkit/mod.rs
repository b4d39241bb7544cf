//! What the tests, `bench` and `faults` share: real proxies with their backends ([`Site`]), clients
//! under whose load something happens ([`load`], [`flood`]), and servers that answer with bytes
//! which no good server sends ([`raw_server`]). Waiting is [`crate::wait`], the client is
//! [`crate::client`].

pub mod attack;
pub mod flood;
pub mod load;
pub mod raw_server;
mod site;

pub use site::Site;

//! What Pointsman decides. Values in, values out: nothing here knows proxy-wasm, reads a clock or
//! draws a random number. Whoever calls brings the bytes of the request, the time `now`, a random
//! `roll`, and one [`port::Port`] through which the few things are asked that are not always needed
//! (the client's address, the workers' shared data).
//!
//! A request's way can be read top-down in [`worker`].
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::todo,
        clippy::unimplemented,
        clippy::indexing_slicing,
        clippy::string_slice
    )
)]

pub mod base64;
pub mod config;
pub mod decision;
pub mod entropy;
pub mod explain;
pub mod http;
pub mod index;
pub mod pool;
pub mod port;
pub mod rate_limit;
pub mod route;
pub mod shared;
pub mod siphash;
pub mod time;
pub mod worker;

//! The entry of the module `pointsman.wasm`. Everything else is in `pointsman-shell` (what knows
//! proxy-wasm) and `pointsman-core` (what decides).

#![allow(missing_docs)] // of the symbols that the macro exports
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::unreachable,
    clippy::todo,
    clippy::unimplemented,
    clippy::indexing_slicing,
    clippy::string_slice
)]

proxy_wasm::main! {{
    pointsman_shell::start();
}}

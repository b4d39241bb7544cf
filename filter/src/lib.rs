//! The entry of the module `pointsman.wasm`. Everything else is in `pointsman-shell` (what knows
//! proxy-wasm) and `pointsman-core` (what decides).

#![allow(missing_docs)] // of the symbols that the macro exports

#[cfg(target_arch = "wasm32")]
mod allocator;

proxy_wasm::main! {{
    pointsman_shell::start();
}}

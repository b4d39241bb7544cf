//! The only part of Pointsman that knows proxy-wasm. What a proxy calls is in [`mod@root`] (once
//! for each worker) and [`stream`] (once for each request), what is asked of a proxy in [`host`];
//! every decision is `pointsman-core`'s.

mod ask;
#[cfg(target_arch = "wasm32")]
pub mod end;
pub mod host;
mod logger;
mod metrics;
mod packed;
mod port;
mod root;
mod shared;
mod stream;

use proxy_wasm::traits::RootContext;

/// Registers the filter with the SDK's dispatcher: once for each VM, before anything else.
pub fn start() {
    proxy_wasm::set_root_context(root_of);
}

fn root_of(id: u32) -> Box<dyn RootContext> {
    logger::install();
    Box::new(root::Root::new(id))
}

/// A root context of the filter that does not know its number, for a guest that puts something around it.
pub fn root() -> Box<dyn RootContext> {
    logger::install();
    Box::<root::Root>::default()
}

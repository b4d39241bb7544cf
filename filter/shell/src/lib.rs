//! The only part of Pointsman that knows proxy-wasm.

/// Registers the filter with the SDK's dispatcher: once for each VM.
pub fn start() {}

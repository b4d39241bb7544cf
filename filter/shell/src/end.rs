//! The end of a stream as one callback. A host calls `proxy_on_log` and then `proxy_on_delete`, and
//! each call into a VM costs a request 1,200 to 1,900 instructions. The module as it ships has one
//! of them: `host-sim package` exports [`pointsman_on_delete`] as `proxy_on_delete`, and no
//! `proxy_on_log`. A host that calls only one of them is served all the same.

#![allow(unsafe_code, reason = "the SDK's callbacks are functions of C")]

unsafe extern "C" {
    /// The SDK's, which calls [`proxy_wasm::traits::HttpContext::on_log`].
    fn proxy_on_log(context: u32);
    /// The SDK's, which drops the context.
    fn proxy_on_delete(context: u32);
}

/// The end of a context of this number: what the SDK does in `proxy_on_log`, and then what it does
/// in `proxy_on_delete`.
#[unsafe(no_mangle)]
pub extern "C" fn pointsman_on_delete(context: u32) {
    // SAFETY: both are safe functions of the SDK.
    unsafe {
        proxy_on_log(context);
        proxy_on_delete(context);
    }
}

//! The end of a context as one callback. A host calls `proxy_on_done` and `proxy_on_delete`, and each
//! call into a VM costs a request 1,200 to 1,900 instructions, though of the first only a root
//! context has any use. The module as it ships has one of them: `host-sim package` exports
//! [`pointsman_on_delete`] as `proxy_on_delete`, and no `proxy_on_done`.

#![allow(unsafe_code, reason = "the SDK's callbacks are functions of C")]

unsafe extern "C" {
    /// The SDK's, which calls `on_done` of a root context, and asks whether it may be deleted.
    fn proxy_on_done(context: u32) -> bool;
    /// The SDK's, which drops the context.
    fn proxy_on_delete(context: u32);
}

/// The end of the context with this number, whatever it is: all that the SDK does for it then.
#[unsafe(no_mangle)]
pub extern "C" fn pointsman_on_delete(context: u32) {
    // SAFETY: they are safe functions of the SDK. No context of ours asks for more time, so what
    // `on_done` says is known.
    unsafe {
        proxy_on_done(context);
        proxy_on_delete(context);
    }
}

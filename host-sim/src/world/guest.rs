//! The functions that the filter exports (`proxy-wasm`'s dispatcher), which the host calls.

#![allow(unsafe_code, reason = "the guest's functions are linked by name")]

unsafe extern "C" {
    pub(super) safe fn proxy_on_context_create(context: u32, root: u32);
    pub(super) safe fn proxy_on_vm_start(root: u32, size: usize) -> bool;
    pub(super) safe fn proxy_on_configure(root: u32, size: usize) -> bool;
    pub(super) safe fn proxy_on_tick(root: u32);
    pub(super) safe fn proxy_on_request_headers(
        context: u32,
        count: usize,
        end_of_stream: bool,
    ) -> u32;
    pub(super) safe fn proxy_on_response_headers(
        context: u32,
        count: usize,
        end_of_stream: bool,
    ) -> u32;
    pub(super) safe fn proxy_on_response_body(
        context: u32,
        size: usize,
        end_of_stream: bool,
    ) -> u32;
    pub(super) safe fn proxy_on_response_trailers(context: u32, count: usize) -> u32;
    pub(super) safe fn proxy_on_http_call_response(
        context: u32,
        token: u32,
        headers: usize,
        body_size: usize,
        trailers: usize,
    );
    pub(super) safe fn proxy_on_done(context: u32) -> bool;
    pub(super) safe fn proxy_on_log(context: u32);
    pub(super) safe fn proxy_on_delete(context: u32);
    pub(super) safe fn proxy_on_memory_allocate(size: usize) -> *mut u8;
}

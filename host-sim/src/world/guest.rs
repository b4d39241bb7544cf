//! The functions that the filter exports (`proxy-wasm`'s dispatcher), which the host calls: of the
//! module in the VM whose code is running, or else of the filter that is linked natively.

#![allow(unsafe_code, reason = "the guest's functions are linked by name")]

use super::engine::Instance;
use std::cell::RefCell;
use std::rc::Rc;

thread_local! {
    /// The module whose callback is running.
    static RUNNING: RefCell<Option<Rc<Instance>>> = const { RefCell::new(None) };
}

/// Runs callbacks of this module; of the filter that is linked natively where there is none.
pub(super) fn of<T>(instance: Option<Rc<Instance>>, callbacks: impl FnOnce() -> T) -> T {
    RUNNING.set(instance);
    let result = callbacks();
    RUNNING.set(None);
    result
}

mod linked {
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
        pub(super) safe fn proxy_on_grpc_receive(context: u32, token: u32, size: usize);
        pub(super) safe fn proxy_on_done(context: u32) -> bool;
        pub(super) safe fn proxy_on_log(context: u32);
        pub(super) safe fn proxy_on_delete(context: u32);
        pub(super) safe fn proxy_on_memory_allocate(size: usize) -> *mut u8;
    }
}

/// A number of 32 bits, as a module has it.
trait InModule {
    fn in_module(self) -> u32;
}

impl InModule for u32 {
    fn in_module(self) -> u32 {
        self
    }
}

impl InModule for usize {
    fn in_module(self) -> u32 {
        self as u32
    }
}

impl InModule for bool {
    fn in_module(self) -> u32 {
        self.into()
    }
}

/// What a callback returns; `default` where a module has none of that name.
trait OutOfModule {
    fn out_of_module(returned: Option<u32>) -> Self;
}

impl OutOfModule for () {
    fn out_of_module(_: Option<u32>) {}
}

/// An action: go on.
impl OutOfModule for u32 {
    fn out_of_module(returned: Option<u32>) -> u32 {
        returned.unwrap_or(0)
    }
}

/// Yes, it is good, and yes, it is done.
impl OutOfModule for bool {
    fn out_of_module(returned: Option<u32>) -> bool {
        returned != Some(0)
    }
}

macro_rules! callbacks {
    ($($name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {
        $(
            pub(super) fn $name($($argument: $type),*) -> $result {
                match RUNNING.with_borrow(Clone::clone) {
                    Some(instance) => {
                        let arguments = [$($argument.in_module()),*];
                        OutOfModule::out_of_module(instance.call(stringify!($name), &arguments))
                    }
                    None => linked::$name($($argument),*),
                }
            }
        )*
    };
}

callbacks! {
    proxy_on_context_create(context: u32, root: u32) -> ();
    proxy_on_vm_start(root: u32, size: usize) -> bool;
    proxy_on_configure(root: u32, size: usize) -> bool;
    proxy_on_tick(root: u32) -> ();
    proxy_on_request_headers(context: u32, count: usize, end_of_stream: bool) -> u32;
    proxy_on_response_headers(context: u32, count: usize, end_of_stream: bool) -> u32;
    proxy_on_response_body(context: u32, size: usize, end_of_stream: bool) -> u32;
    proxy_on_response_trailers(context: u32, count: usize) -> u32;
    proxy_on_http_call_response(
        context: u32,
        token: u32,
        headers: usize,
        body_size: usize,
        trailers: usize
    ) -> ();
    proxy_on_grpc_receive(context: u32, token: u32, size: usize) -> ();
    proxy_on_done(context: u32) -> bool;
    proxy_on_log(context: u32) -> ();
    proxy_on_delete(context: u32) -> ();
}

/// Allocates memory of the filter that is linked natively.
pub(super) fn proxy_on_memory_allocate(size: usize) -> *mut u8 {
    linked::proxy_on_memory_allocate(size)
}

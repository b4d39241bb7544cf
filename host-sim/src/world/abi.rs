//! The host calls: the functions that the filter imports.
//!
//! Native pointers take the place of addresses in a VM's memory. Memory for what is returned is
//! allocated by the filter's own `proxy_on_memory_allocate`, as in a proxy, and an empty value is
//! null.

#![allow(
    unsafe_code,
    reason = "the guest hands over pointers, and finds the functions by name"
)]

use super::guest;
use super::metrics::MetricKind;
use super::proxy::GrpcCalls;
use super::status::Status;
use super::vm::{self, Vm};
use crate::header_map::HeaderMap;
use pointsman_core::http::headers::Headers;
use std::ptr::null_mut;

/// The most that `random_get` gives at once (`PROXY_WASM_HOST_WASI_RANDOM_GET_MAX_SIZE_BYTES`).
pub(super) const RANDOM_GET_MAX: usize = 64 * 1024;
/// The status of a call that a test has refused. No version of the ABI has it; neither would the
/// filter know a status of a newer host.
pub(super) const REFUSED: u32 = 4711;
/// WASI's `EINVAL`.
pub(super) const WASI_EINVAL: u16 = 28;

/// Runs one host call: waits for the worker's next turn, counts the call, and turns its result into
/// a status.
fn call(kind: &'static str, body: impl FnOnce(&Vm) -> Result<(), Status>) -> u32 {
    vm::current(|vm| {
        if !vm.begin_call(kind) {
            return REFUSED;
        }
        match body(vm) {
            Ok(()) => Status::Ok as u32,
            Err(status) => status as u32,
        }
    })
}

/// The bytes that the filter passed as pointer and size.
///
/// # Safety
/// The filter keeps `size` bytes alive at `data` during the call; with a size of 0 the pointer may
/// be anything.
unsafe fn passed<'a>(data: *const u8, size: usize) -> &'a [u8] {
    match size {
        0 => &[],
        // SAFETY: as above.
        _ => unsafe { std::slice::from_raw_parts(data, size) },
    }
}

/// Returns bytes in memory that the filter allocates and then owns.
///
/// # Safety
/// Both pointers are the filter's, for one value each.
unsafe fn give(vm: &Vm, bytes: &[u8], data: *mut *mut u8, size: *mut usize) {
    let memory = match bytes {
        [] => null_mut(),
        _ => {
            vm.count_returned_bytes();
            let memory = guest::proxy_on_memory_allocate(bytes.len());
            // SAFETY: the filter just allocated so many bytes.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), memory, bytes.len()) };
            memory
        }
    };
    // SAFETY: as above.
    unsafe {
        *data = memory;
        *size = bytes.len();
    }
}

/// Reads a serialised map. Bytes that are none read as an empty map, as in `PairsUtil::toPairs`.
pub(super) fn pairs(wire: &[u8]) -> crate::exchange::Pairs {
    let headers = Headers::from_wire(wire.to_vec()).unwrap_or_default();
    headers
        .iter()
        .map(|(name, value)| (name.to_vec(), value.to_vec()))
        .collect()
}

#[unsafe(no_mangle)]
extern "C" fn proxy_log(level: u32, message: *const u8, size: usize) -> u32 {
    call("log", |vm| {
        // SAFETY: the ABI's promise about what is passed.
        let message = unsafe { passed(message, size) };
        vm.proxy()
            .log_line(level, String::from_utf8_lossy(message).into_owned());
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_get_current_time_nanoseconds(time: *mut u64) -> u32 {
    call("get_current_time", |vm| {
        // SAFETY: the ABI's promise about what is returned into.
        unsafe { *time = vm.proxy().now().get() };
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_set_tick_period_milliseconds(period: u32) -> u32 {
    call("set_tick_period", |vm| {
        vm.set_tick_period(period);
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_get_buffer_bytes(
    kind: u32,
    start: usize,
    max: usize,
    data: *mut *mut u8,
    size: *mut usize,
) -> u32 {
    call("get_buffer", |vm| {
        let buffer = vm.buffer(kind).ok_or(Status::NotFound)?;
        let start = start.min(buffer.len());
        let end = start.saturating_add(max).min(buffer.len());
        // SAFETY: the ABI's promise about what is returned into.
        unsafe { give(vm, &buffer[start..end], data, size) };
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, size: *mut usize) -> u32 {
    call("get_header_map", |vm| {
        // A map that is not there reads as empty.
        let wire = vm.read_map(map, |map| match map.pairs().is_empty() {
            true => Vec::new(),
            false => Headers::to_wire(map.pairs()),
        });
        let wire = wire.unwrap_or_default();
        // SAFETY: the ABI's promise about what is returned into.
        unsafe { give(vm, &wire, data, size) };
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_set_header_map_pairs(map: u32, wire: *const u8, size: usize) -> u32 {
    call("set_header_map", |vm| {
        // SAFETY: the ABI's promise about what is passed.
        let pairs = pairs(unsafe { passed(wire, size) });
        vm.edit_map(map, |map| *map = HeaderMap::new(&pairs))
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_get_header_map_value(
    map: u32,
    name: *const u8,
    name_size: usize,
    data: *mut *mut u8,
    size: *mut usize,
) -> u32 {
    call("get_header", |vm| {
        // SAFETY: the ABI's promise about what is passed.
        let name = unsafe { passed(name, name_size) };
        let value = vm.read_map(map, |map| map.get(name).map(<[u8]>::to_vec))?;
        // SAFETY: the ABI's promise about what is returned into.
        unsafe { give(vm, &value.ok_or(Status::NotFound)?, data, size) };
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_replace_header_map_value(
    map: u32,
    name: *const u8,
    name_size: usize,
    value: *const u8,
    value_size: usize,
) -> u32 {
    call("set_header", |vm| {
        // SAFETY: the ABI's promise about what is passed.
        let (name, value) = unsafe { (passed(name, name_size), passed(value, value_size)) };
        vm.edit_map(map, |map| map.set(name, value))
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_add_header_map_value(
    map: u32,
    name: *const u8,
    name_size: usize,
    value: *const u8,
    value_size: usize,
) -> u32 {
    call("add_header", |vm| {
        // SAFETY: the ABI's promise about what is passed.
        let (name, value) = unsafe { (passed(name, name_size), passed(value, value_size)) };
        vm.edit_map(map, |map| map.add(name, value))
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_remove_header_map_value(map: u32, name: *const u8, name_size: usize) -> u32 {
    call("remove_header", |vm| {
        // SAFETY: the ABI's promise about what is passed.
        let name = unsafe { passed(name, name_size) };
        vm.edit_map(map, |map| map.remove(name))
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_get_property(
    path: *const u8,
    path_size: usize,
    data: *mut *mut u8,
    size: *mut usize,
) -> u32 {
    call("get_property", |vm| {
        // SAFETY: the ABI's promise about what is passed.
        let value = vm
            .property(unsafe { passed(path, path_size) })
            .ok_or(Status::NotFound)?;
        // SAFETY: the ABI's promise about what is returned into.
        unsafe { give(vm, &value, data, size) };
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_set_property(
    path: *const u8,
    path_size: usize,
    value: *const u8,
    value_size: usize,
) -> u32 {
    call("set_property", |vm| {
        // SAFETY: the ABI's promise about what is passed.
        let (path, value) = unsafe { (passed(path, path_size), passed(value, value_size)) };
        vm.set_property(path, value)
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_get_shared_data(
    key: *const u8,
    key_size: usize,
    data: *mut *mut u8,
    size: *mut usize,
    cas: *mut u32,
) -> u32 {
    call("get_shared_data", |vm| {
        // SAFETY: the ABI's promise about what is passed.
        let found = vm.proxy().shared_data.get(unsafe { passed(key, key_size) });
        let (value, version) = found.ok_or(Status::NotFound)?;
        // SAFETY: the ABI's promise about what is returned into.
        unsafe {
            give(vm, &value, data, size);
            *cas = version;
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_set_shared_data(
    key: *const u8,
    key_size: usize,
    value: *const u8,
    value_size: usize,
    cas: u32,
) -> u32 {
    call("set_shared_data", |vm| {
        // SAFETY: the ABI's promise about what is passed.
        let (key, value) = unsafe { (passed(key, key_size), passed(value, value_size)) };
        Ok(vm.proxy().shared_data.set(key, value, cas)?)
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_send_local_response(
    status: u32,
    details: *const u8,
    details_size: usize,
    body: *const u8,
    body_size: usize,
    headers: *const u8,
    headers_size: usize,
    grpc_status: i32,
) -> u32 {
    call("send_local_response", |vm| {
        // SAFETY: the ABI's promise about what is passed.
        let (details, body, headers) = unsafe {
            (
                passed(details, details_size),
                passed(body, body_size),
                passed(headers, headers_size),
            )
        };
        vm.send_local_response(status, details, body, pairs(headers), grpc_status)
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_http_call(
    cluster: *const u8,
    cluster_size: usize,
    headers: *const u8,
    headers_size: usize,
    body: *const u8,
    body_size: usize,
    _trailers: *const u8,
    _trailers_size: usize,
    timeout_milliseconds: u32,
    token: *mut u32,
) -> u32 {
    call("http_call", |vm| {
        // SAFETY: the ABI's promise about what is passed.
        let (cluster, headers, body) = unsafe {
            (
                passed(cluster, cluster_size),
                passed(headers, headers_size),
                passed(body, body_size),
            )
        };
        let number = vm.http_call(cluster, pairs(headers), body, timeout_milliseconds)?;
        // SAFETY: the ABI's promise about what is returned into.
        unsafe { *token = number };
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_define_metric(
    kind: u32,
    name: *const u8,
    name_size: usize,
    id: *mut u32,
) -> u32 {
    call("define_metric", |vm| {
        let kind = MetricKind::of(kind).ok_or(Status::BadArgument)?;
        // SAFETY: the ABI's promise about what is passed.
        let name = String::from_utf8_lossy(unsafe { passed(name, name_size) });
        // SAFETY: the ABI's promise about what is returned into.
        unsafe { *id = vm.proxy().metrics().define(kind, &name) };
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_increment_metric(id: u32, offset: i64) -> u32 {
    call("increment_metric", |vm| {
        Ok(vm.proxy().metrics().increment(id, offset)?)
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_record_metric(id: u32, value: u64) -> u32 {
    call("record_metric", |vm| {
        Ok(vm.proxy().metrics().record(id, value)?)
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_get_metric(id: u32, value: *mut u64) -> u32 {
    call("get_metric", |vm| {
        // SAFETY: the ABI's promise about what is returned into.
        unsafe { *value = vm.proxy().metrics().get(id)? };
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_set_effective_context(context: u32) -> u32 {
    call("set_effective_context", |vm| {
        vm.set_effective_context(context)
    })
}

#[unsafe(no_mangle)]
extern "C" fn random_get(data: *mut u8, size: usize) -> u16 {
    vm::current(|vm| {
        if !vm.begin_call("random_get") || size > RANDOM_GET_MAX {
            return WASI_EINVAL;
        }
        if size > 0 {
            // SAFETY: the filter passes a buffer of `size` bytes; no byte of it is read.
            let bytes = unsafe {
                std::ptr::write_bytes(data, 0, size);
                std::slice::from_raw_parts_mut(data, size)
            };
            vm.proxy().fill_random(bytes);
        }
        0
    })
}

#[unsafe(no_mangle)]
extern "C" fn environ_sizes_get(count: *mut usize, size: *mut usize) -> u16 {
    vm::current(|vm| {
        if !vm.begin_call("environ_sizes_get") {
            return WASI_EINVAL;
        }
        let entries = vm.proxy().environment_entries();
        // SAFETY: WASI's promise about what is returned into.
        unsafe {
            *count = entries.len();
            *size = entries.iter().map(Vec::len).sum();
        }
        0
    })
}

#[unsafe(no_mangle)]
extern "C" fn environ_get(places: *mut *mut u8, data: *mut u8) -> u16 {
    vm::current(|vm| {
        if !vm.begin_call("environ_get") {
            return WASI_EINVAL;
        }
        let (mut place, mut at) = (places, data);
        for entry in vm.proxy().environment_entries() {
            // SAFETY: the filter passes as much room as `environ_sizes_get` has told.
            unsafe {
                *place = at;
                std::ptr::copy_nonoverlapping(entry.as_ptr(), at, entry.len());
                place = place.add(1);
                at = at.add(entry.len());
            }
        }
        0
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_grpc_call(
    _: In,
    _: usize,
    _: In,
    _: usize,
    _: In,
    _: usize,
    _: In,
    _: usize,
    _: In,
    _: usize,
    _timeout: u32,
    token: *mut u32,
) -> u32 {
    call("grpc_call", |vm| {
        let number = vm.grpc_call()?;
        // SAFETY: the ABI's promise about what is returned into.
        unsafe { *token = number };
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_grpc_cancel(_: u32) -> u32 {
    call("grpc_cancel", |vm| match vm.proxy().grpc_calls() {
        GrpcCalls::Refused => Err(Status::Unimplemented),
        GrpcCalls::Lost | GrpcCalls::Answered(_) => Err(Status::NotFound),
    })
}

/// Defines host calls that the SDK can import and this host does not implement. (Envoy implements
/// some of them; the filter uses none.)
macro_rules! unimplemented_calls {
    ($($name:ident($($type:ty),*);)*) => {
        $(
            #[unsafe(no_mangle)]
            extern "C" fn $name($(_: $type),*) -> u32 {
                call(stringify!($name), |_| Err(Status::Unimplemented))
            }
        )*
    };
}

type In = *const u8;
type Out = *mut *mut u8;
type OutSize = *mut usize;

unimplemented_calls! {
    proxy_get_log_level(*mut u32);
    proxy_set_buffer_bytes(u32, usize, usize, In, usize);
    proxy_register_shared_queue(In, usize, *mut u32);
    proxy_resolve_shared_queue(In, usize, In, usize, *mut u32);
    proxy_dequeue_shared_queue(u32, Out, OutSize);
    proxy_enqueue_shared_queue(u32, In, usize);
    proxy_continue_stream(u32);
    proxy_close_stream(u32);
    proxy_grpc_stream(In, usize, In, usize, In, usize, In, usize, *mut u32);
    proxy_grpc_send(u32, In, usize, bool);
    proxy_grpc_close(u32);
    proxy_get_status(*mut u32, Out, OutSize);
    proxy_call_foreign_function(In, usize, In, usize, Out, OutSize);
    proxy_done();
}

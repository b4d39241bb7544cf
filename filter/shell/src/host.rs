//! Host calls: a thin layer over the proxy-wasm ABI 0.2.1. Bytes in, `Result` out.
//!
//! The SDK has wrappers for the same imports, and the filter must not use them: they panic on a
//! header value that is not UTF-8 and on most statuses that they do not expect, and a panic kills
//! the worker's VM. (`clippy.toml` keeps them out.) Here a status is a number, whatever it is, and
//! what comes back are bytes.
//!
//! What a call costs is a matter of its class (nanoseconds inside Envoy 1.40 with V8, measured
//! once; `host-sim bench` measures all calls of a request together):
//!
//! | class | price | because |
//! |---|---|---|
//! | *plain* | 50–190 | the host reads our memory, or writes a number into it |
//! | *bytes* | 600–1200 | the host calls back into the VM to allocate what it returns |

#![allow(unsafe_code, reason = "an import has no other way to be called")]

use log::Level;
use pointsman_core::port::{Expected, Gauge, Version};
use pointsman_core::time::Nanos;
use std::fmt;
use std::ptr::null_mut;

/// What the host answered in place of a result. Any number: a newer host may have statuses that we
/// do not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(u32);

impl Status {
    /// There is no such key, property or buffer.
    pub const NOT_FOUND: Status = Status(1);
    /// Somebody else wrote the shared data first.
    pub const CAS_MISMATCH: Status = Status(8);
    /// What the host returned is not what the ABI says. Not a number of the ABI's own.
    pub const MALFORMED: Status = Status(u32::MAX);
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the host answered with status {}", self.0)
    }
}

/// A header map of the stream whose callback is running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum HeaderMap {
    /// Only during the request callbacks.
    Request = 0,
    /// Only during the response callbacks.
    Response = 2,
    /// Of the answer to an HTTP call of the filter's own, only during its callback.
    CallResponse = 6,
    /// Its trailers, only during the same callback.
    CallTrailers = 7,
}

/// A counter that was defined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter(u32);

/// A histogram that was defined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Histogram(u32);

/// proxy-wasm's number of the buffer that holds the body of the answer to an HTTP call.
const CALL_RESPONSE_BODY: u32 = 4;
/// proxy-wasm's number of the buffer that holds the answer to a gRPC call of the filter's own.
const GRPC_RECEIVED: u32 = 5;
/// proxy-wasm's number of the request's half of a stream.
const REQUEST_STREAM: u32 = 0;
/// A gRPC call that there is not.
const NO_CALL: u32 = 0;
/// The status of a host that has no such call.
const UNIMPLEMENTED: u32 = 12;
/// proxy-wasm's number of the buffer that holds the plugin's configuration.
const PLUGIN_CONFIGURATION: u32 = 7;
/// proxy-wasm's number of the metric type "counter".
const COUNTER: u32 = 0;
/// proxy-wasm's number of the metric type "gauge".
const GAUGE: u32 = 1;
/// proxy-wasm's number of the metric type "histogram".
const HISTOGRAM: u32 = 2;
/// The gRPC status of a local reply that says none: the host makes one of the HTTP status.
const NO_GRPC_STATUS: i32 = -1;
/// A `cas` that no stored value has in practice, and that a host ignores where the key does not
/// exist: together that is "create if absent".
const CAS_ABSENT: u32 = u32::MAX;
/// The `cas` that the host does not check.
const CAS_ANY: u32 = 0;

mod import {
    //! As in the ABI; the statuses are numbers, because an `enum` as the result of a foreign
    //! function is undefined behaviour for a number that it does not list.

    #[link(wasm_import_module = "env")]
    unsafe extern "C" {
        pub(super) fn proxy_log(level: u32, message: *const u8, size: usize) -> u32;
        pub(super) fn proxy_get_current_time_nanoseconds(time: *mut u64) -> u32;
        pub(super) fn proxy_get_buffer_bytes(
            kind: u32,
            start: usize,
            max: usize,
            data: *mut *mut u8,
            size: *mut usize,
        ) -> u32;
        pub(super) fn proxy_set_tick_period_milliseconds(period: u32) -> u32;
        pub(super) fn proxy_get_header_map_pairs(
            map: u32,
            data: *mut *mut u8,
            size: *mut usize,
        ) -> u32;
        pub(super) fn proxy_get_header_map_value(
            map: u32,
            name: *const u8,
            name_size: usize,
            data: *mut *mut u8,
            size: *mut usize,
        ) -> u32;
        pub(super) fn proxy_replace_header_map_value(
            map: u32,
            name: *const u8,
            name_size: usize,
            value: *const u8,
            value_size: usize,
        ) -> u32;
        pub(super) fn proxy_add_header_map_value(
            map: u32,
            name: *const u8,
            name_size: usize,
            value: *const u8,
            value_size: usize,
        ) -> u32;
        pub(super) fn proxy_remove_header_map_value(
            map: u32,
            name: *const u8,
            name_size: usize,
        ) -> u32;
        pub(super) fn proxy_get_property(
            path: *const u8,
            path_size: usize,
            data: *mut *mut u8,
            size: *mut usize,
        ) -> u32;
        pub(super) fn proxy_set_property(
            path: *const u8,
            path_size: usize,
            value: *const u8,
            value_size: usize,
        ) -> u32;
        pub(super) fn proxy_get_shared_data(
            key: *const u8,
            key_size: usize,
            data: *mut *mut u8,
            size: *mut usize,
            cas: *mut u32,
        ) -> u32;
        pub(super) fn proxy_set_shared_data(
            key: *const u8,
            key_size: usize,
            value: *const u8,
            value_size: usize,
            cas: u32,
        ) -> u32;
        pub(super) fn proxy_send_local_response(
            status: u32,
            details: *const u8,
            details_size: usize,
            body: *const u8,
            body_size: usize,
            headers: *const u8,
            headers_size: usize,
            grpc_status: i32,
        ) -> u32;
        pub(super) fn proxy_continue_stream(stream: u32) -> u32;
        pub(super) fn proxy_set_effective_context(context: u32) -> u32;
        pub(super) fn proxy_grpc_cancel(token: u32) -> u32;
        pub(super) fn proxy_define_metric(
            kind: u32,
            name: *const u8,
            name_size: usize,
            id: *mut u32,
        ) -> u32;
        pub(super) fn proxy_increment_metric(id: u32, offset: i64) -> u32;
        pub(super) fn proxy_record_metric(id: u32, value: u64) -> u32;
        pub(super) fn proxy_get_metric(id: u32, value: *mut u64) -> u32;
    }

    #[link(wasm_import_module = "wasi_snapshot_preview1")]
    unsafe extern "C" {
        pub(super) fn random_get(data: *mut u8, size: usize) -> u16;
        pub(super) fn environ_sizes_get(count: *mut usize, size: *mut usize) -> u16;
        pub(super) fn environ_get(places: *mut *mut u8, data: *mut u8) -> u16;
    }
}

/// Writes a line to the proxy's log, if the proxy's log level admits it. Plain. The macros of the
/// `log` crate end here.
pub fn log(level: Level, message: &str) {
    let level = match level {
        Level::Trace => 0,
        Level::Debug => 1,
        Level::Info => 2,
        Level::Warn => 3,
        Level::Error => 4,
    };
    // A log line that is lost is nothing that the filter could mend or report.
    // SAFETY: the host reads `message` during the call.
    let _ = unsafe { import::proxy_log(level, message.as_ptr(), message.len()) };
}

/// The time since 1970, by the proxy's clock; it can jump, backwards too. Plain.
pub fn current_time() -> Result<Nanos, Status> {
    let mut time = 0;
    // SAFETY: the host writes one `u64` during the call.
    checked(unsafe { import::proxy_get_current_time_nanoseconds(&mut time) })?;
    Ok(Nanos::new(time))
}

/// Random bytes, good enough for secrets. Plain.
pub fn random<const N: usize>() -> Result<[u8; N], Status> {
    let mut bytes = [0; N];
    // SAFETY: the host writes `N` bytes during the call.
    checked(u32::from(unsafe {
        import::random_get(bytes.as_mut_ptr(), N)
    }))?;
    Ok(bytes)
}

/// A variable of the environment that the proxy gives this VM: of an Envoy what stands in
/// `environment_variables` of its `vm_config`. None: it is not set there, or is no UTF-8. Plain,
/// twice.
#[cold]
pub fn variable(name: &str) -> Option<String> {
    let (mut count, mut size) = (0, 0);
    // SAFETY: the host writes two numbers during the call.
    let answer = unsafe { import::environ_sizes_get(&mut count, &mut size) };
    checked(u32::from(answer)).ok()?;
    let (mut places, mut entries) = (vec![null_mut(); count], vec![0; size]);
    // SAFETY: the host writes `count` places and `size` bytes during the call, and the places are
    // not used.
    let answer = unsafe { import::environ_get(places.as_mut_ptr(), entries.as_mut_ptr()) };
    checked(u32::from(answer)).ok()?;
    let before = format!("{name}=");
    for entry in entries.split(|byte| *byte == 0) {
        if let Some(value) = entry.strip_prefix(before.as_bytes()) {
            // What is no UTF-8 is no base64.
            return String::from_utf8(value.to_vec()).ok();
        }
    }
    None
}

/// How long from one tick of this root context to the next, in milliseconds; 0: no ticks. The proxy
/// counts from the end of a tick. Plain.
pub fn set_tick_period(milliseconds: u32) -> Result<(), Status> {
    // SAFETY: numbers only.
    checked(unsafe { import::proxy_set_tick_period_milliseconds(milliseconds) })
}

/// The plugin's configuration; empty where there is none. Only during `on_configure`. Bytes.
pub fn plugin_configuration() -> Result<Vec<u8>, Status> {
    // SAFETY: the host writes one pointer and one size during the call.
    returned(|data, size| unsafe {
        import::proxy_get_buffer_bytes(PLUGIN_CONFIGURATION, 0, usize::MAX, data, size)
    })
}

/// The first `most` bytes of the body of the answer to an HTTP call of the filter's own. Only during
/// its callback. Bytes.
pub fn call_response_body(most: usize) -> Result<Vec<u8>, Status> {
    // SAFETY: the host writes one pointer and one size during the call.
    returned(|data, size| unsafe {
        import::proxy_get_buffer_bytes(CALL_RESPONSE_BODY, 0, most, data, size)
    })
}

/// The first `most` bytes of the answer to a gRPC call of the filter's own. Only during its callback,
/// and only in the context that made the call. Bytes.
pub fn grpc_answer(most: usize) -> Result<Vec<u8>, Status> {
    // SAFETY: the host writes one pointer and one size during the call.
    returned(|data, size| unsafe {
        import::proxy_get_buffer_bytes(GRPC_RECEIVED, 0, most, data, size)
    })
}

/// Whether the host makes gRPC calls at all: one that does not would have the SDK panic. Plain.
pub fn has_grpc() -> bool {
    // SAFETY: numbers only.
    let status = unsafe { import::proxy_grpc_cancel(NO_CALL) };
    status != UNIMPLEMENTED
}

/// Lets a request go on that was paused. Plain.
pub fn continue_request() -> Result<(), Status> {
    // SAFETY: numbers only.
    checked(unsafe { import::proxy_continue_stream(REQUEST_STREAM) })
}

/// Makes all host calls until the end of this callback those of another context. Plain.
pub fn set_effective_context(context: u32) -> Result<(), Status> {
    // SAFETY: numbers only.
    checked(unsafe { import::proxy_set_effective_context(context) })
}

/// A whole header map, serialised; `pointsman_core::http::headers::Headers::from_wire` reads it.
/// Bytes.
pub fn headers(map: HeaderMap) -> Result<Vec<u8>, Status> {
    // SAFETY: the host writes one pointer and one size during the call.
    returned(|data, size| unsafe { import::proxy_get_header_map_pairs(map as u32, data, size) })
}

/// The first value of a header. None where there is no such header. Bytes.
pub fn header(map: HeaderMap, name: &[u8]) -> Result<Option<Vec<u8>>, Status> {
    // SAFETY: the host reads `name`, and writes one pointer and one size, during the call.
    found(returned(|data, size| unsafe {
        import::proxy_get_header_map_value(map as u32, name.as_ptr(), name.len(), data, size)
    }))
}

/// Replaces every value of a header by this one, or adds it. On a request the route is chosen anew.
/// Plain.
pub fn set_header(map: HeaderMap, name: &[u8], value: &[u8]) -> Result<(), Status> {
    // SAFETY: the host reads `name` and `value` during the call.
    checked(unsafe {
        import::proxy_replace_header_map_value(
            map as u32,
            name.as_ptr(),
            name.len(),
            value.as_ptr(),
            value.len(),
        )
    })
}

/// Adds a value to a header. On a request the route is chosen anew. Plain.
pub fn add_header(map: HeaderMap, name: &[u8], value: &[u8]) -> Result<(), Status> {
    // SAFETY: the host reads `name` and `value` during the call.
    checked(unsafe {
        import::proxy_add_header_map_value(
            map as u32,
            name.as_ptr(),
            name.len(),
            value.as_ptr(),
            value.len(),
        )
    })
}

/// Removes every value of a header. On a request the route is chosen anew. Plain.
pub fn remove_header(map: HeaderMap, name: &[u8]) -> Result<(), Status> {
    // SAFETY: the host reads `name` during the call.
    checked(unsafe { import::proxy_remove_header_map_value(map as u32, name.as_ptr(), name.len()) })
}

/// A property of the stream; the parts of its path are separated by NUL. None where it does not
/// exist. Bytes.
pub fn property(path: &[u8]) -> Result<Option<Vec<u8>>, Status> {
    // SAFETY: the host reads `path`, and writes one pointer and one size, during the call.
    found(returned(|data, size| unsafe {
        import::proxy_get_property(path.as_ptr(), path.len(), data, size)
    }))
}

/// Sets a property of the stream's own: in an Envoy, the filter state `wasm.` and this name, which
/// its access logs can show. Plain.
pub fn set_property(name: &[u8], value: &[u8]) -> Result<(), Status> {
    // SAFETY: the host reads `name` and `value` during the call.
    checked(unsafe {
        import::proxy_set_property(name.as_ptr(), name.len(), value.as_ptr(), value.len())
    })
}

/// A shared value with its version; None where the key does not exist. Bytes.
pub fn shared_data(key: &[u8]) -> Result<Option<(Vec<u8>, Version)>, Status> {
    let mut cas = 0;
    // SAFETY: the host reads `key`, and writes one pointer, one size and one `u32`, during the
    // call.
    let value = found(returned(|data, size| unsafe {
        import::proxy_get_shared_data(key.as_ptr(), key.len(), data, size, &mut cas)
    }))?;
    Ok(value.map(|value| (value, cas)))
}

/// Writes a shared value, if `expected` holds; otherwise [`Status::CAS_MISMATCH`]. Plain.
pub fn set_shared_data(key: &[u8], value: &[u8], expected: Expected) -> Result<(), Status> {
    let cas = match expected {
        Expected::Absent => CAS_ABSENT,
        Expected::Version(version) => version,
        Expected::Any => CAS_ANY,
    };
    // SAFETY: the host reads `key` and `value` during the call.
    checked(unsafe {
        import::proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), cas)
    })
}

/// Answers the request. `headers` is a serialised map
/// (`pointsman_core::http::headers::Headers::to_wire`); `details` is what `response.code_details`
/// says in the proxy's access log. `grpc_status` is for clients that speak gRPC, and none for others.
/// The host copies everything, sends the answer after the callback,
/// and takes it through the response callbacks. Plain.
pub fn send_local_response(
    status: u16,
    details: &[u8],
    body: &[u8],
    headers: &[u8],
    grpc_status: Option<u32>,
) -> Result<(), Status> {
    let grpc_status = grpc_status.and_then(|status| i32::try_from(status).ok());
    // SAFETY: the host reads `details`, `body` and `headers` during the call.
    checked(unsafe {
        import::proxy_send_local_response(
            u32::from(status),
            details.as_ptr(),
            details.len(),
            body.as_ptr(),
            body.len(),
            headers.as_ptr(),
            headers.len(),
            grpc_status.unwrap_or(NO_GRPC_STATUS),
        )
    })
}

/// Defines a counter. The same name again is another handle of the same counter, and a little
/// memory of the host's that is given back with the VM only: once for each root context. Plain.
pub fn define_counter(name: &str) -> Result<Counter, Status> {
    define_metric(COUNTER, name).map(Counter)
}

/// Defines a gauge; as [`define_counter`]. Plain.
pub fn define_gauge(name: &str) -> Result<Gauge, Status> {
    define_metric(GAUGE, name).map(Gauge)
}

/// Defines a histogram; as [`define_counter`]. Plain.
pub fn define_histogram(name: &str) -> Result<Histogram, Status> {
    define_metric(HISTOGRAM, name).map(Histogram)
}

fn define_metric(kind: u32, name: &str) -> Result<u32, Status> {
    let mut id = 0;
    // SAFETY: the host reads `name`, and writes one `u32`, during the call.
    checked(unsafe { import::proxy_define_metric(kind, name.as_ptr(), name.len(), &mut id) })?;
    Ok(id)
}

/// Adds to a counter. Plain.
pub fn increment(counter: Counter, by: u32) -> Result<(), Status> {
    // SAFETY: numbers only.
    checked(unsafe { import::proxy_increment_metric(counter.0, i64::from(by)) })
}

/// Records a value in a histogram. Plain.
pub fn record(histogram: Histogram, value: u64) -> Result<(), Status> {
    // SAFETY: numbers only.
    checked(unsafe { import::proxy_record_metric(histogram.0, value) })
}

/// Adds to a gauge, or takes from it. Plain.
pub fn add_to_gauge(gauge: Gauge, by: i64) -> Result<(), Status> {
    // SAFETY: numbers only.
    checked(unsafe { import::proxy_increment_metric(gauge.0, by) })
}

/// Sets a gauge. Plain.
pub fn set_gauge(gauge: Gauge, value: u64) -> Result<(), Status> {
    // SAFETY: numbers only.
    checked(unsafe { import::proxy_record_metric(gauge.0, value) })
}

/// The value of a gauge; the host's number has no sign, and wraps around below 0. Plain.
pub fn gauge_value(gauge: Gauge) -> Result<i64, Status> {
    let mut value = 0;
    // SAFETY: the host writes one `u64` during the call.
    checked(unsafe { import::proxy_get_metric(gauge.0, &mut value) })?;
    Ok(value.cast_signed())
}

fn checked(status: u32) -> Result<(), Status> {
    match status {
        0 => Ok(()),
        other => Err(Status(other)),
    }
}

/// Makes a call that returns bytes, and takes ownership of them.
fn returned(call: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> Result<Vec<u8>, Status> {
    let mut data = null_mut();
    let mut size = 0;
    checked(call(&mut data, &mut size))?;
    // Null is how a host says "empty".
    if data.is_null() || size == 0 {
        return Ok(Vec::new());
    }
    // SAFETY: the host allocated `size` bytes through the SDK's `proxy_on_memory_allocate`, which
    // is this program's global allocator with an alignment of 1, wrote all of them, and keeps no
    // pointer to them.
    Ok(unsafe { Vec::from_raw_parts(data, size, size) })
}

fn found(result: Result<Vec<u8>, Status>) -> Result<Option<Vec<u8>>, Status> {
    match result {
        Ok(bytes) => Ok(Some(bytes)),
        Err(Status::NOT_FOUND) => Ok(None),
        Err(status) => Err(status),
    }
}

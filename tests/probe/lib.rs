//! A guest that makes the host calls that a request asks for, and answers with what they returned.
//! The same laws ask it in the simulated host and in a real one.
//!
//! The header `x-do` holds commands separated by `;`, each of words; `x-do-response` those for the
//! response phase. What they returned, `;` between them, is the body of the answer, and the header
//! `x-did` of the response. Without a command `go` the request is answered by the probe, with it it
//! goes on.
//!
//! | command | returns |
//! |---|---|
//! | `get KEY` | status, value; remembers the version |
//! | `set KEY VALUE 0 \| same \| other \| never \| N` | status of a write with that `cas`: none, the remembered version, another, `u32::MAX`, the one N writes after the remembered version |
//! | `header MAP NAME` | status, value; `MAP` is `request` or `response` |
//! | `names MAP` | status, the names of the map in order |
//! | `add \| put MAP NAME VALUE`, `remove MAP NAME` | status |
//! | `property PATH` | status, value; `.` in the path stands for NUL |
//! | `define counter \| gauge \| histogram NAME` | status; remembers the id |
//! | `up N`, `record N`, `value` | status (and value) of the metric remembered last |
//! | `configuration` | status of reading the plugin's configuration outside of `on_configure` |
//! | `random N` | errno of asking for so many bytes |
//! | `log NAME` | nothing; at the end of the stream the key `log.NAME` gets one more line: where the end of the response was seen, then `response.code`, `.flags` and `.grpc_status` and `upstream.address` |
//! | `reply STATUS BODY [NAME=VALUE…]` | status; `-` is an empty body |
//! | `go` | the request goes on |
//! | `trap` | never |
//!
//! A configuration of `refuse` is refused; one that starts with `call CLUSTER…` makes one HTTP call
//! to each cluster at the first tick, with a time-out of half a second, and writes to the key
//! `called.CLUSTER` what became of it. `CLUSTER=ENDPOINT` names an endpoint in the header
//! `x-pointsman-endpoint`. With one that starts with `tick NAME` each VM raises the gauge
//! `ticking.NAME` at its first tick, and the key `ticked.NAME` at every tick.

#![allow(missing_docs)] // of the symbols that `main!` exports
#![allow(
    unsafe_code,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "it makes host calls as they are, and where it panics the law that asked it fails"
)]

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType};
use std::collections::HashMap;
use std::ptr::null_mut;
use std::time::Duration;

#[cfg(target_family = "wasm")]
proxy_wasm::main! {{
    start();
}}

/// Registers the probe with the SDK's dispatcher.
pub fn start() {
    proxy_wasm::set_root_context(|_| Box::new(Root::default()));
}

mod import {
    #[link(wasm_import_module = "env")]
    unsafe extern "C" {
        pub(crate) fn proxy_get_buffer_bytes(
            kind: u32,
            start: usize,
            max: usize,
            data: *mut *mut u8,
            size: *mut usize,
        ) -> u32;
        pub(crate) fn proxy_get_header_map_pairs(
            map: u32,
            data: *mut *mut u8,
            size: *mut usize,
        ) -> u32;
        pub(crate) fn proxy_get_header_map_value(
            map: u32,
            name: *const u8,
            name_size: usize,
            data: *mut *mut u8,
            size: *mut usize,
        ) -> u32;
        pub(crate) fn proxy_replace_header_map_value(
            map: u32,
            name: *const u8,
            name_size: usize,
            value: *const u8,
            value_size: usize,
        ) -> u32;
        pub(crate) fn proxy_add_header_map_value(
            map: u32,
            name: *const u8,
            name_size: usize,
            value: *const u8,
            value_size: usize,
        ) -> u32;
        pub(crate) fn proxy_remove_header_map_value(
            map: u32,
            name: *const u8,
            name_size: usize,
        ) -> u32;
        pub(crate) fn proxy_get_property(
            path: *const u8,
            path_size: usize,
            data: *mut *mut u8,
            size: *mut usize,
        ) -> u32;
        pub(crate) fn proxy_get_shared_data(
            key: *const u8,
            key_size: usize,
            data: *mut *mut u8,
            size: *mut usize,
            cas: *mut u32,
        ) -> u32;
        pub(crate) fn proxy_set_shared_data(
            key: *const u8,
            key_size: usize,
            value: *const u8,
            value_size: usize,
            cas: u32,
        ) -> u32;
        pub(crate) fn proxy_send_local_response(
            status: u32,
            details: *const u8,
            details_size: usize,
            body: *const u8,
            body_size: usize,
            headers: *const u8,
            headers_size: usize,
            grpc_status: i32,
        ) -> u32;
        pub(crate) fn proxy_set_tick_period_milliseconds(period: u32) -> u32;
        pub(crate) fn proxy_define_metric(
            kind: u32,
            name: *const u8,
            name_size: usize,
            id: *mut u32,
        ) -> u32;
        pub(crate) fn proxy_increment_metric(id: u32, offset: i64) -> u32;
        pub(crate) fn proxy_record_metric(id: u32, value: u64) -> u32;
        pub(crate) fn proxy_get_metric(id: u32, value: *mut u64) -> u32;
    }

    #[link(wasm_import_module = "wasi_snapshot_preview1")]
    unsafe extern "C" {
        pub(crate) fn random_get(data: *mut u8, size: usize) -> u16;
    }
}

const PLUGIN_CONFIGURATION: u32 = 7;
const CALL_RESPONSE: u32 = 6;
const CALL_RESPONSE_BODY: u32 = 4;

/// A call that returns bytes: its status, and the bytes as text.
fn bytes(call: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> (u32, Vec<u8>) {
    let (mut data, mut size) = (null_mut(), 0);
    let status = call(&mut data, &mut size);
    match data.is_null() {
        true => (status, Vec::new()),
        // SAFETY: the host allocated it with the SDK's `proxy_on_memory_allocate`, for us.
        false => (status, unsafe { Vec::from_raw_parts(data, size, size) }),
    }
}

fn shown((status, value): (u32, Vec<u8>)) -> String {
    format!("{status} {}", String::from_utf8_lossy(&value))
}

fn get_shared(key: &str) -> ((u32, Vec<u8>), u32) {
    let mut cas = 0;
    let found = bytes(|data, size| unsafe {
        import::proxy_get_shared_data(key.as_ptr(), key.len(), data, size, &mut cas)
    });
    (found, cas)
}

fn set_shared(key: &str, value: &str, cas: u32) -> u32 {
    unsafe {
        import::proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), cas)
    }
}

fn header(map: u32, name: &str) -> (u32, Vec<u8>) {
    bytes(|data, size| unsafe {
        import::proxy_get_header_map_value(map, name.as_ptr(), name.len(), data, size)
    })
}

/// `.` in the path stands for NUL.
fn property(path: &str) -> (u32, Vec<u8>) {
    let path = path.replace('.', "\0");
    bytes(|data, size| unsafe { import::proxy_get_property(path.as_ptr(), path.len(), data, size) })
}

fn configuration() -> (u32, Vec<u8>) {
    bytes(|data, size| unsafe {
        import::proxy_get_buffer_bytes(PLUGIN_CONFIGURATION, 0, usize::MAX, data, size)
    })
}

#[derive(Default)]
struct Root {
    clusters: Vec<String>,
    calls: HashMap<u32, String>,
    ticks: Option<String>,
    ticked: u32,
}

impl Context for Root {
    fn on_http_call_response(&mut self, token: u32, headers: usize, body: usize, _trailers: usize) {
        let Some(cluster) = self.calls.remove(&token) else {
            return;
        };
        let status = shown(header(CALL_RESPONSE, ":status"));
        let body = shown(bytes(|data, size| unsafe {
            import::proxy_get_buffer_bytes(CALL_RESPONSE_BODY, 0, body, data, size)
        }));
        let some = match headers {
            0 => "no",
            _ => "some",
        };
        set_shared(
            &format!("called.{cluster}"),
            &format!("{some} headers, {status}, {body}"),
            0,
        );
    }
}

impl RootContext for Root {
    fn on_configure(&mut self, _size: usize) -> bool {
        let (_, configuration) = configuration();
        let configuration = String::from_utf8_lossy(&configuration).into_owned();
        let ((_, count), _) = get_shared("configured");
        let count: u32 = String::from_utf8_lossy(&count).parse().unwrap_or(0);
        set_shared("configured", &(count + 1).to_string(), 0);
        if let Some(clusters) = configuration.strip_prefix("call ") {
            self.clusters = clusters.split(' ').map(str::to_owned).collect();
            unsafe { import::proxy_set_tick_period_milliseconds(50) };
        }
        if let Some(name) = configuration.strip_prefix("tick ") {
            self.ticks = Some(name.to_owned());
            unsafe { import::proxy_set_tick_period_milliseconds(50) };
        }
        configuration != "refuse"
    }

    fn on_tick(&mut self) {
        if let Some(name) = &self.ticks {
            if self.ticked == 0 {
                let gauge = format!("ticking.{name}");
                let mut id = 0;
                unsafe {
                    import::proxy_define_metric(1, gauge.as_ptr(), gauge.len(), &mut id);
                    import::proxy_increment_metric(id, 1);
                }
            }
            self.ticked += 1;
            set_shared(&format!("ticked.{name}"), &self.ticked.to_string(), 0);
        }
        for cluster in std::mem::take(&mut self.clusters) {
            let mut headers = vec![(":method", "GET"), (":path", "/"), (":authority", "probe")];
            let name = match cluster.split_once('=') {
                None => &cluster[..],
                Some((name, endpoint)) => {
                    headers.push(("x-pointsman-endpoint", endpoint));
                    name
                }
            };
            match self.dispatch_http_call(name, headers, None, vec![], Duration::from_millis(500)) {
                Ok(token) => drop(self.calls.insert(token, cluster)),
                Err(status) => drop(set_shared(
                    &format!("called.{cluster}"),
                    &format!("not: {}", status as u32),
                    0,
                )),
            }
        }
    }

    fn create_http_context(&self, _context: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream::default()))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

#[derive(Default)]
struct Stream {
    version: u32,
    metric: Option<u32>,
    goes_on: bool,
    replied: bool,
    later: String,
    log: Option<String>,
    end: Option<&'static str>,
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _count: usize, _end: bool) -> Action {
        let commands = header(0, "x-do").1;
        self.later = String::from_utf8_lossy(&header(0, "x-do-response").1).into_owned();
        let did = self.run(&String::from_utf8_lossy(&commands));
        match (self.goes_on, self.replied) {
            (true, _) => Action::Continue,
            (false, true) => Action::Pause,
            (false, false) => {
                reply(200, &did, &[]);
                Action::Pause
            }
        }
    }

    fn on_http_response_body(&mut self, _size: usize, end: bool) -> Action {
        self.sees("body", end);
        Action::Continue
    }

    fn on_http_response_trailers(&mut self, _count: usize) -> Action {
        self.sees("trailers", true);
        Action::Continue
    }

    fn on_log(&mut self) {
        let Some(name) = &self.log else {
            return;
        };
        let key = format!("log.{name}");
        let (before, _) = get_shared(&key);
        let number = |path: &str| match property(path) {
            (0, value) => i64::from_le_bytes(value.try_into().unwrap()).to_string(),
            (status, _) => format!("not: {status}"),
        };
        let end = self.end.unwrap_or("nowhere");
        let line = format!(
            "end {end}, code {}, flags {}, grpc {}, upstream {}\n",
            number("response.code"),
            number("response.flags"),
            number("response.grpc_status"),
            shown(property("upstream.address"))
        );
        set_shared(
            &key,
            &(String::from_utf8_lossy(&before.1).into_owned() + &line),
            0,
        );
    }

    fn on_http_response_headers(&mut self, _count: usize, end: bool) -> Action {
        self.sees("headers", end);
        let later = std::mem::take(&mut self.later);
        if !later.is_empty() {
            let did = self.run(&later);
            let name = "x-did";
            unsafe {
                import::proxy_add_header_map_value(
                    2,
                    name.as_ptr(),
                    name.len(),
                    did.as_ptr(),
                    did.len(),
                )
            };
        }
        Action::Continue
    }
}

impl Stream {
    fn sees(&mut self, what: &'static str, end: bool) {
        if end {
            self.end = Some(what);
        }
    }

    fn run(&mut self, commands: &str) -> String {
        let commands = commands
            .split(';')
            .map(str::trim)
            .filter(|command| !command.is_empty());
        let did: Vec<_> = commands
            .map(|command| {
                let words: Vec<_> = command.split(' ').collect();
                self.call(&words)
            })
            .collect();
        did.join(";")
    }

    fn call(&mut self, words: &[&str]) -> String {
        match words {
            ["get", key] => {
                let (found, cas) = get_shared(key);
                self.version = cas;
                shown(found)
            }
            ["set", key, value, cas] => {
                let cas = match *cas {
                    "0" => 0,
                    "same" => self.version,
                    "other" => self.version.wrapping_add(1_000_000),
                    "never" => u32::MAX,
                    later => self.version + later.parse::<u32>().unwrap(),
                };
                set_shared(key, value, cas).to_string()
            }
            ["header", map, name] => shown(header(number(map), name)),
            ["names", map] => {
                let (status, wire) = bytes(|data, size| unsafe {
                    import::proxy_get_header_map_pairs(number(map), data, size)
                });
                format!("{status} {}", names(&wire).join(" "))
            }
            [edit @ ("add" | "put"), map, name, value] => {
                let edit = match *edit {
                    "add" => import::proxy_add_header_map_value,
                    _ => import::proxy_replace_header_map_value,
                };
                let (map, name_size, value_size) = (number(map), name.len(), value.len());
                unsafe { edit(map, name.as_ptr(), name_size, value.as_ptr(), value_size) }
                    .to_string()
            }
            ["remove", map, name] => unsafe {
                import::proxy_remove_header_map_value(number(map), name.as_ptr(), name.len())
            }
            .to_string(),
            ["property", path] => shown(property(path)),
            ["log", name] => {
                self.log = Some((*name).to_owned());
                String::new()
            }
            ["define", kind, name] => {
                let kind = match *kind {
                    "counter" => 0,
                    "gauge" => 1,
                    _ => 2,
                };
                let mut number = 0;
                let status = unsafe {
                    import::proxy_define_metric(kind, name.as_ptr(), name.len(), &mut number)
                };
                let id = match self.metric.replace(number) == Some(number) {
                    true => "the same id",
                    false => "another id",
                };
                format!("{status} {id}")
            }
            ["up", by] => {
                unsafe { import::proxy_increment_metric(self.metric.unwrap(), by.parse().unwrap()) }
                    .to_string()
            }
            ["record", value] => {
                unsafe { import::proxy_record_metric(self.metric.unwrap(), value.parse().unwrap()) }
                    .to_string()
            }
            ["value"] => {
                let mut value = 0;
                let status = unsafe { import::proxy_get_metric(self.metric.unwrap(), &mut value) };
                format!("{status} {value}")
            }
            ["configuration"] => shown(configuration()),
            ["random", size] => {
                let mut bytes = vec![0; size.parse().unwrap()];
                unsafe { import::random_get(bytes.as_mut_ptr(), bytes.len()) }.to_string()
            }
            ["reply", status, body, headers @ ..] => {
                self.replied = true;
                let body = match *body {
                    "-" => "",
                    body => body,
                };
                let headers: Vec<_> = headers
                    .iter()
                    .filter_map(|header| header.split_once('='))
                    .collect();
                reply(status.parse().unwrap(), body, &headers).to_string()
            }
            ["go"] => {
                self.goes_on = true;
                "on".to_owned()
            }
            ["trap"] => panic!("as asked"),
            _ => "?".to_owned(),
        }
    }
}

fn number(map: &str) -> u32 {
    match map {
        "request" => 0,
        "response" => 2,
        _ => CALL_RESPONSE,
    }
}

fn reply(status: u32, body: &str, headers: &[(&str, &str)]) -> u32 {
    let wire = serialised(headers);
    unsafe {
        import::proxy_send_local_response(
            status,
            "probe".as_ptr(),
            5,
            body.as_ptr(),
            body.len(),
            wire.as_ptr(),
            wire.len(),
            -1,
        )
    }
}

/// A map as the ABI serialises it.
fn serialised(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut wire = (pairs.len() as u32).to_le_bytes().to_vec();
    for (name, value) in pairs {
        wire.extend((name.len() as u32).to_le_bytes());
        wire.extend((value.len() as u32).to_le_bytes());
    }
    for (name, value) in pairs {
        wire.extend([name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat());
    }
    wire
}

/// The names of a serialised map.
fn names(wire: &[u8]) -> Vec<String> {
    let number = |at: usize| u32::from_le_bytes(wire[at..at + 4].try_into().unwrap()) as usize;
    if wire.is_empty() {
        return Vec::new();
    }
    let count = number(0);
    let mut at = 4 + 8 * count;
    (0..count)
        .map(|i| {
            let (name, value) = (number(4 + 8 * i), number(8 + 8 * i));
            let text = String::from_utf8_lossy(&wire[at..at + name]).into_owned();
            at += name + value + 2;
            text
        })
        .collect()
}

//! One worker's VM, and after a trap the next one: contexts, and what the host keeps for each.
//!
//! `proxy-wasm`'s dispatcher is one for each thread, so context ids and call tokens are unique in a
//! thread, and several workers on one thread do not meet. (In a proxy they repeat across workers,
//! which a filter must not notice.)

use super::abi::{Status, export};
use super::header_map::HeaderMap;
use super::proxy::{FailurePolicy, Proxy};
use super::stream::{LocalReply, grpc_status};
use crate::exchange::{Pairs, Response};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

/// The least time between loading a VM and loading the next in its place, in nanoseconds. Envoy
/// adds a jitter of up to half of it, which is left out here.
const RELOAD_BACK_OFF: u64 = 1_000_000_000;

/// proxy-wasm's numbers of header maps.
const REQUEST_HEADERS: u32 = 0;
const RESPONSE_HEADERS: u32 = 2;
const HTTP_CALL_RESPONSE_HEADERS: u32 = 6;
/// proxy-wasm's numbers of buffers.
const HTTP_CALL_RESPONSE_BODY: u32 = 4;
const PLUGIN_CONFIGURATION: u32 = 7;

thread_local! {
    /// The VM whose code is running.
    static CURRENT: RefCell<Option<Rc<Vm>>> = const { RefCell::new(None) };
    /// The last context id or token that was given out on this thread.
    static LAST_ID: Cell<u32> = const { Cell::new(0) };
}

/// Runs `body` with the VM whose code is running: what a host call does.
pub fn current<T>(body: impl FnOnce(&Vm) -> T) -> T {
    let vm = CURRENT.with_borrow(Clone::clone);
    body(&vm.expect("a host call comes from a callback"))
}

fn fresh_id() -> u32 {
    LAST_ID.set(LAST_ID.get() + 1);
    LAST_ID.get()
}

/// Which of the filter's functions was running: host calls are counted for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Callback {
    /// Creation and configuration of a root context.
    Configure,
    /// From the creation of a stream to the end of its request headers.
    Request,
    /// Response headers, body and trailers.
    Response,
    /// Log, done, delete.
    End,
    /// A tick.
    Tick,
    /// The answer to an HTTP call of the filter's own.
    HttpCall,
}

/// The host calls that were made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostCalls {
    /// How many of each kind: `get_header_map`, `set_shared_data` …
    pub of: BTreeMap<&'static str, u32>,
    /// How many returned bytes: the dear ones.
    pub returned_bytes: u32,
}

/// An HTTP call that the filter made and that is not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpCall {
    /// The call's number; unique in its thread.
    pub token: u32,
    /// Where it goes.
    pub cluster: String,
    /// The request's headers.
    pub headers: Pairs,
    /// The request's body.
    pub body: Vec<u8>,
    root: u32,
    due: u64,
}

/// How an HTTP call ends.
#[derive(Clone, Debug, PartialEq)]
pub enum HttpCallOutcome {
    /// With the backend's answer.
    Answer(Response),
    /// No backend could be reached, or it closed the connection: the proxy answers 503.
    Unreachable,
    /// The time was up: the proxy answers 504.
    TimeOut,
    /// The connection broke in the middle of the answer: the filter hears of no headers at all.
    Broken,
}

/// One worker's VM.
pub struct Vm {
    proxy: Arc<Proxy>,
    worker: usize,
    guest: fn(),
    /// The context whose callback is running, or the one that took its place
    /// (`proxy_set_effective_context`).
    context: Cell<u32>,
    callback: Cell<Callback>,
    state: RefCell<VmState>,
}

#[derive(Default)]
struct VmState {
    /// The root context that new streams belong to. None: the VM is dead, or never began.
    root: Option<u32>,
    /// The configuration that a reloaded VM gets.
    configuration: Arc<[u8]>,
    configuring: bool,
    /// How many streams each root context still has; a root that is no longer [`VmState::root`] goes
    /// with its last one.
    roots: BTreeMap<u32, usize>,
    streams: HashMap<u32, StreamState>,
    ticks: BTreeMap<u32, Tick>,
    http_calls: Vec<HttpCall>,
    /// What [`Vm::next_due`] found, until ticks or calls change.
    next_due: Option<Option<u64>>,
    http_answer: Option<(HeaderMap, Vec<u8>)>,
    /// When a VM was last loaded, or that was last tried.
    last_load: u64,
    /// Few, and asked for with every call: a walk through them is faster than a map.
    calls: Vec<(Callback, &'static str, u32)>,
    returned_bytes: BTreeMap<Callback, u32>,
    refused: BTreeSet<&'static str>,
}

#[derive(Clone, Copy)]
struct Tick {
    period: u64,
    due: u64,
}

impl VmState {
    fn forget_root(&mut self, root: u32) {
        self.roots.remove(&root);
        self.ticks.remove(&root);
        self.http_calls.retain(|call| call.root != root);
        self.next_due = None;
    }
}

/// What the host keeps for one stream.
struct StreamState {
    root: u32,
    /// Whether the filter has heard of it.
    created: bool,
    /// Each map with whether the filter may read it, and may change it, now.
    request: (HeaderMap, Access),
    response: (HeaderMap, Access),
    source: SocketAddr,
    properties: BTreeMap<Vec<u8>, Vec<u8>>,
    reply: Option<LocalReply>,
    trailers: HeaderMap,
    info: StreamInfo,
}

/// What a proxy notes down of a stream (Envoy's `StreamInfo`), and tells as properties.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamInfo {
    /// `response.code`
    pub code: Option<u16>,
    /// `response.flags`
    pub flags: u64,
    /// `upstream.address`: the one that was tried last.
    pub upstream: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    None,
    Read,
    Write,
}

impl Vm {
    pub fn new(proxy: Arc<Proxy>, worker: usize, guest: fn()) -> Rc<Vm> {
        Rc::new(Vm {
            proxy,
            worker,
            guest,
            context: Cell::new(0),
            callback: Cell::new(Callback::Configure),
            state: RefCell::default(),
        })
    }

    pub fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    /// Runs a callback of the filter. Its host calls come back to this VM.
    fn enter<T>(self: &Rc<Vm>, context: u32, callback: Callback, body: impl FnOnce() -> T) -> T {
        self.context.set(context);
        self.callback.set(callback);
        CURRENT.with_borrow_mut(|current| {
            assert!(current.is_none(), "a callback inside a callback");
            *current = Some(self.clone());
        });
        let result = body();
        CURRENT.set(None);
        result
    }

    // Roots.

    /// Starts a root context with a configuration. The one before keeps its streams until they end;
    /// where the filter refuses the configuration, it stays in place.
    pub fn configure(self: &Rc<Vm>, configuration: &Arc<[u8]>) -> bool {
        let root = fresh_id();
        (self.guest)();
        let before = {
            let state = &mut *self.state.borrow_mut();
            state.configuring = true;
            state.last_load = self.proxy.monotonic();
            state.roots.insert(root, 0);
            std::mem::replace(&mut state.configuration, configuration.clone())
        };
        let accepted = self.enter(root, Callback::Configure, || {
            export::proxy_on_context_create(root, 0);
            export::proxy_on_vm_start(root, 0)
                && export::proxy_on_configure(root, configuration.len())
        });
        let mut state = self.state.borrow_mut();
        state.configuring = false;
        if !accepted {
            state.configuration = before;
            state.forget_root(root);
            export::proxy_on_delete(root);
            return false;
        }
        let old = state.root.replace(root);
        drop(state);
        if let Some(old) = old {
            self.end_root_without_streams(old);
        }
        true
    }

    fn end_root_without_streams(self: &Rc<Vm>, root: u32) {
        let mut state = self.state.borrow_mut();
        if state.root == Some(root) || state.roots.get(&root) != Some(&0) {
            return;
        }
        state.forget_root(root);
        drop(state);
        self.enter(root, Callback::End, || {
            export::proxy_on_done(root);
            export::proxy_on_delete(root);
        });
    }

    /// The VM traps, or ends with its proxy: none of its contexts hears of anything any more.
    /// Natively they are the thread's and would stay as long as that, so they are dropped here.
    pub fn kill(&self) {
        let state = &mut *self.state.borrow_mut();
        state.root = None;
        state.ticks.clear();
        state.http_calls.clear();
        state.next_due = None;
        let streams = state.streams.drain().filter(|(_, stream)| stream.created);
        let streams = streams.map(|(context, _)| context);
        let roots = std::mem::take(&mut state.roots).into_keys();
        streams
            .chain(roots)
            .for_each(|context| export::proxy_on_delete(context));
    }

    /// A root context for a new stream, of a fresh VM if the failure policy says so.
    fn living_root(self: &Rc<Vm>) -> Option<u32> {
        let root = self.state.borrow().root;
        if root.is_some() || self.proxy.failure_policy != FailurePolicy::Reload {
            return root;
        }
        let now = self.proxy.monotonic();
        let configuration = {
            let state = &mut *self.state.borrow_mut();
            if now - state.last_load < RELOAD_BACK_OFF {
                return None;
            }
            state.configuration.clone()
        };
        self.configure(&configuration);
        self.state.borrow().root
    }

    // Streams.

    /// A stream; None where the VM is dead.
    pub fn open(self: &Rc<Vm>, headers: &Pairs, source: SocketAddr) -> Option<u32> {
        let root = self.living_root()?;
        let context = fresh_id();
        let stream = StreamState {
            root,
            created: false,
            request: (HeaderMap::new(headers), Access::None),
            response: (HeaderMap::default(), Access::None),
            source,
            properties: BTreeMap::new(),
            reply: None,
            trailers: HeaderMap::default(),
            info: StreamInfo::default(),
        };
        let state = &mut *self.state.borrow_mut();
        state.streams.insert(context, stream);
        *state.roots.entry(root).or_default() += 1;
        Some(context)
    }

    /// Whether the stream's VM is still the one that it began on.
    pub fn lives(&self, context: u32) -> bool {
        self.state.borrow().streams.contains_key(&context)
    }

    /// Request headers. True: the stream goes on.
    pub fn request_headers(self: &Rc<Vm>, context: u32) -> bool {
        let (root, count) = self.with_stream(context, |stream| {
            stream.created = true;
            stream.request.1 = Access::Write;
            (stream.root, stream.request.0.pairs().len())
        });
        let goes_on = self.enter(context, Callback::Request, || {
            export::proxy_on_context_create(context, root);
            export::proxy_on_request_headers(context, count, true) == 0
        });
        // Envoy forgets the map when the callback lets the stream go on, and only then.
        if goes_on {
            self.with_stream(context, |stream| stream.request.1 = Access::None);
        }
        goes_on
    }

    /// Response headers.
    pub fn response_headers(self: &Rc<Vm>, context: u32, headers: HeaderMap, end_of_stream: bool) {
        let count = headers.pairs().len();
        self.with_stream(context, |stream| stream.response = (headers, Access::Write));
        let goes_on = self.enter(context, Callback::Response, || {
            export::proxy_on_response_headers(context, count, end_of_stream) == 0
        });
        if goes_on {
            self.with_stream(context, |stream| stream.response.1 = Access::None);
        }
    }

    /// A piece of the response's body.
    pub fn response_body(self: &Rc<Vm>, context: u32, size: usize, end_of_stream: bool) {
        self.enter(context, Callback::Response, || {
            export::proxy_on_response_body(context, size, end_of_stream)
        });
    }

    /// Response trailers.
    pub fn response_trailers(self: &Rc<Vm>, context: u32, trailers: HeaderMap) {
        let count = trailers.pairs().len();
        self.with_stream(context, |stream| stream.trailers = trailers);
        self.enter(context, Callback::Response, || {
            export::proxy_on_response_trailers(context, count)
        });
    }

    /// Notes something down.
    pub fn note(&self, context: u32, note: impl FnOnce(&mut StreamInfo)) {
        self.with_stream(context, |stream| note(&mut stream.info));
    }

    /// The end of a stream, however it came.
    pub fn close(self: &Rc<Vm>, context: u32) {
        let (root, created) = self.with_stream(context, |stream| {
            stream.request.1 = Access::Read;
            stream.response.1 = Access::Read;
            (stream.root, stream.created)
        });
        if created {
            self.enter(context, Callback::End, || {
                export::proxy_on_log(context);
                export::proxy_on_done(context);
                export::proxy_on_delete(context);
            });
        }
        let mut state = self.state.borrow_mut();
        state.streams.remove(&context);
        if let Some(streams) = state.roots.get_mut(&root) {
            *streams -= 1;
        }
        drop(state);
        self.end_root_without_streams(root);
    }

    /// The request's headers as they are now.
    pub fn request_pairs(&self, context: u32) -> Pairs {
        self.with_stream(context, |stream| stream.request.0.pairs().clone())
    }

    /// The response's headers as they are now.
    pub fn response_map(&self, context: u32) -> HeaderMap {
        self.with_stream(context, |stream| stream.response.0.clone())
    }

    /// The local reply that the callback asked for.
    pub fn take_reply(&self, context: u32) -> Option<LocalReply> {
        self.with_stream(context, |stream| stream.reply.take())
    }

    fn with_stream<T>(&self, context: u32, body: impl FnOnce(&mut StreamState) -> T) -> T {
        let mut state = self.state.borrow_mut();
        body(
            state
                .streams
                .get_mut(&context)
                .expect("callers ask for streams that live"),
        )
    }

    // Time.

    /// When something is due on this worker: a tick, or the time-out of a call.
    pub fn next_due(&self) -> Option<u64> {
        let state = &mut *self.state.borrow_mut();
        let ticks = state.ticks.values().map(|tick| tick.due);
        let due = ticks.chain(state.http_calls.iter().map(|call| call.due));
        *state.next_due.get_or_insert_with(|| due.min())
    }

    /// Does what is due now.
    pub fn do_due(self: &Rc<Vm>) {
        let now = self.proxy.monotonic();
        self.state.borrow_mut().next_due = None;
        let roots: Vec<u32> = self.state.borrow().ticks.keys().copied().collect();
        for root in roots {
            let due = match self.state.borrow_mut().ticks.get_mut(&root) {
                Some(tick) if tick.due <= now => {
                    tick.due = now + tick.period;
                    true
                }
                _ => false,
            };
            if due {
                self.enter(root, Callback::Tick, || export::proxy_on_tick(root));
            }
        }
        let late = |call: &&HttpCall| call.due <= now;
        let late: Vec<u32> = self
            .state
            .borrow()
            .http_calls
            .iter()
            .filter(late)
            .map(|call| call.token)
            .collect();
        for token in late {
            self.end_http_call(token, &HttpCallOutcome::TimeOut);
        }
    }

    // HTTP calls of the filter's own.

    /// The calls that wait for an answer.
    pub fn http_calls(&self) -> Vec<HttpCall> {
        self.state.borrow().http_calls.clone()
    }

    /// Ends a call. False: there is no such call.
    pub fn end_http_call(self: &Rc<Vm>, token: u32, outcome: &HttpCallOutcome) -> bool {
        let answer = match outcome {
            HttpCallOutcome::Answer(response) => Some(response.clone()),
            HttpCallOutcome::Unreachable => Some(super::stream::unreachable()),
            HttpCallOutcome::TimeOut => Some(super::stream::timed_out()),
            HttpCallOutcome::Broken => None,
        };
        let root = {
            let state = &mut *self.state.borrow_mut();
            let Some(at) = state.http_calls.iter().position(|call| call.token == token) else {
                return false;
            };
            state.http_answer =
                answer.map(|response| (super::stream::headers_of(&response), response.body));
            state.next_due = None;
            state.http_calls.remove(at).root
        };
        let (headers, body) = match &self.state.borrow().http_answer {
            Some((headers, body)) => (headers.pairs().len(), body.len()),
            None => (0, 0),
        };
        self.enter(root, Callback::HttpCall, || {
            export::proxy_on_http_call_response(root, token, headers, body, 0)
        });
        self.state.borrow_mut().http_answer = None;
        true
    }

    // What host calls do.

    /// False: the call is refused, because a test wants to see what the filter makes of that.
    pub fn begin_call(&self, kind: &'static str) -> bool {
        if let Some(baton) = &self.proxy.baton {
            baton.pass(self.worker);
        }
        let state = &mut *self.state.borrow_mut();
        let callback = self.callback.get();
        match state
            .calls
            .iter_mut()
            .find(|call| (call.0, call.1) == (callback, kind))
        {
            Some(call) => call.2 += 1,
            None => state.calls.push((callback, kind, 1)),
        }
        !state.refused.contains(kind)
    }

    pub fn refuse(&self, kinds: &[&'static str]) {
        self.state.borrow_mut().refused = kinds.iter().copied().collect();
    }

    pub fn count_returned_bytes(&self) {
        let state = &mut *self.state.borrow_mut();
        *state.returned_bytes.entry(self.callback.get()).or_default() += 1;
    }

    pub fn take_calls(&self) -> BTreeMap<Callback, HostCalls> {
        let state = &mut *self.state.borrow_mut();
        let mut calls: BTreeMap<Callback, HostCalls> = BTreeMap::new();
        for (callback, kind, count) in std::mem::take(&mut state.calls) {
            calls.entry(callback).or_default().of.insert(kind, count);
        }
        for (callback, count) in std::mem::take(&mut state.returned_bytes) {
            calls.entry(callback).or_default().returned_bytes = count;
        }
        calls
    }

    pub fn read_map<T>(&self, map: u32, body: impl FnOnce(&HeaderMap) -> T) -> Result<T, Status> {
        let state = self.state.borrow();
        if map == HTTP_CALL_RESPONSE_HEADERS {
            let (headers, _) = state.http_answer.as_ref().ok_or(Status::BadArgument)?;
            return Ok(body(headers));
        }
        let stream = state
            .streams
            .get(&self.context.get())
            .ok_or(Status::BadArgument)?;
        let (headers, access) = match map {
            REQUEST_HEADERS => &stream.request,
            RESPONSE_HEADERS => &stream.response,
            _ => return Err(Status::BadArgument),
        };
        match access {
            Access::None => Err(Status::BadArgument),
            Access::Read | Access::Write => Ok(body(headers)),
        }
    }

    pub fn edit_map(&self, map: u32, body: impl FnOnce(&mut HeaderMap)) -> Result<(), Status> {
        let state = &mut *self.state.borrow_mut();
        let stream = state
            .streams
            .get_mut(&self.context.get())
            .ok_or(Status::BadArgument)?;
        let (headers, access) = match map {
            REQUEST_HEADERS => &mut stream.request,
            RESPONSE_HEADERS => &mut stream.response,
            _ => return Err(Status::BadArgument),
        };
        match access {
            Access::None | Access::Read => Err(Status::BadArgument),
            Access::Write => {
                body(headers);
                Ok(())
            }
        }
    }

    pub fn buffer(&self, kind: u32) -> Option<Vec<u8>> {
        let state = self.state.borrow();
        match kind {
            PLUGIN_CONFIGURATION if state.configuring => Some(state.configuration.to_vec()),
            HTTP_CALL_RESPONSE_BODY => state.http_answer.as_ref().map(|(_, body)| body.clone()),
            _ => None,
        }
    }

    pub fn property(&self, path: &[u8]) -> Option<Vec<u8>> {
        let state = self.state.borrow();
        let stream = state.streams.get(&self.context.get())?;
        match path {
            b"source\0address" => Some(stream.source.to_string().into_bytes()),
            b"source\0port" => Some(number(stream.source.port())),
            b"response\0code" => stream.info.code.map(number),
            b"response\0flags" => Some(number(stream.info.flags.cast_signed())),
            b"response\0grpc_status" => {
                grpc_status(&stream.trailers, &stream.response.0, stream.info.code).map(number)
            }
            b"upstream\0address" => stream.info.upstream.clone().map(String::into_bytes),
            _ => stream.properties.get(path).cloned(),
        }
    }

    pub fn set_property(&self, path: &[u8], value: &[u8]) -> Result<(), Status> {
        let state = &mut *self.state.borrow_mut();
        let stream = state
            .streams
            .get_mut(&self.context.get())
            .ok_or(Status::NotFound)?;
        stream.properties.insert(path.to_vec(), value.to_vec());
        Ok(())
    }

    pub fn send_local_response(
        &self,
        status: u32,
        details: &[u8],
        body: &[u8],
        headers: Pairs,
    ) -> Result<(), Status> {
        let state = &mut *self.state.borrow_mut();
        let stream = state
            .streams
            .get_mut(&self.context.get())
            .ok_or(Status::BadArgument)?;
        if stream.reply.is_some() {
            return Err(Status::BadArgument);
        }
        stream.reply = Some(LocalReply {
            status: status as u16,
            details: details.to_vec(),
            headers,
            body: body.to_vec(),
        });
        Ok(())
    }

    pub fn set_tick_period(&self, milliseconds: u32) {
        let state = &mut *self.state.borrow_mut();
        let context = self.context.get();
        let root = state
            .streams
            .get(&context)
            .map_or(context, |stream| stream.root);
        state.next_due = None;
        match u64::from(milliseconds) * 1_000_000 {
            0 => state.ticks.remove(&root),
            period => state.ticks.insert(
                root,
                Tick {
                    period,
                    due: self.proxy.monotonic() + period,
                },
            ),
        };
    }

    pub fn http_call(
        &self,
        cluster: &[u8],
        headers: Pairs,
        body: &[u8],
        timeout: u32,
    ) -> Result<u32, Status> {
        let cluster = String::from_utf8_lossy(cluster).into_owned();
        let has = |name: &[u8]| headers.iter().any(|(other, _)| other == name);
        if self.proxy.endpoints(&cluster).is_none()
            || !has(b":method")
            || !has(b":path")
            || !has(b":authority")
        {
            return Err(Status::BadArgument);
        }
        let state = &mut *self.state.borrow_mut();
        let context = self.context.get();
        let token = fresh_id();
        state.next_due = None;
        state.http_calls.push(HttpCall {
            token,
            cluster,
            headers,
            body: body.to_vec(),
            root: state
                .streams
                .get(&context)
                .map_or(context, |stream| stream.root),
            due: self.proxy.monotonic() + u64::from(timeout) * 1_000_000,
        });
        Ok(token)
    }

    pub fn set_effective_context(&self, context: u32) -> Result<(), Status> {
        let state = self.state.borrow();
        if !state.streams.contains_key(&context) && !state.roots.contains_key(&context) {
            return Err(Status::BadArgument);
        }
        self.context.set(context);
        Ok(())
    }
}

/// A number as a property: eight bytes, little-endian.
fn number(number: impl Into<i64>) -> Vec<u8> {
    number.into().to_le_bytes().to_vec()
}

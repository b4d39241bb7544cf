//! A worker's VM, and after a trap the next one in its place: its contexts, and what the host keeps
//! for each of them.
//!
//! `proxy-wasm`'s dispatcher exists once in each thread. Context ids and call tokens are therefore
//! unique in a thread, so that several workers on one thread do not collide. (In a proxy they
//! repeat across workers, which a filter must not depend on.)

mod host_calls;
mod streams;
mod timers;

use super::engine::Instance;
use super::host_calls::{Callback, HostCallCounter, HostCalls};
use super::http_call::HttpCall;
use super::local_reply::LocalReply;
use super::proxy::{FailurePolicy, Proxy};
use super::stream_info::StreamInfo;
use super::{Code, guest};
use crate::header_map::HeaderMap;
use pointsman_core::time::Nanos;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

/// The least time between loading a VM and loading the next in its place. Envoy adds a jitter of up
/// to half of it, which is left out here.
const RELOAD_BACK_OFF: Nanos = Nanos::SECOND;

thread_local! {
    /// The VM whose code is running.
    static CURRENT: RefCell<Option<Rc<Vm>>> = const { RefCell::new(None) };
    /// The last context id or token that was given out on this thread.
    static LAST_ID: Cell<u32> = const { Cell::new(0) };
}

/// Calls `body` with the VM whose code is running: every host call does that.
pub(super) fn current<T>(body: impl FnOnce(&Vm) -> T) -> T {
    let vm = CURRENT.with_borrow(Clone::clone);
    body(&vm.expect("a host call comes from a callback"))
}

fn fresh_id() -> u32 {
    LAST_ID.set(LAST_ID.get() + 1);
    LAST_ID.get()
}

/// A worker's VM.
pub(super) struct Vm {
    proxy: Arc<Proxy>,
    worker: usize,
    code: Code,
    /// Where the code is a module: what the VM has of it. None: it is not loaded.
    instance: RefCell<Option<Rc<Instance>>>,
    /// The context whose callback is running, or the one that the filter has put in its place
    /// (`proxy_set_effective_context`).
    context: Cell<u32>,
    callback: Cell<Callback>,
    state: RefCell<VmState>,
}

#[derive(Default)]
struct VmState {
    /// The root context that new streams belong to. None: the VM is dead, or was never loaded.
    root: Option<u32>,
    /// The configuration that a reloaded VM gets.
    configuration: Arc<[u8]>,
    /// Whether a root context is being configured.
    configuring: bool,
    /// How many streams each root context has. A root context that is no longer [`VmState::root`]
    /// ends with its last stream.
    roots: BTreeMap<u32, usize>,
    /// Those that are being drained, in the order of their configurations: they stay without streams
    /// too.
    draining: Vec<u32>,
    streams: HashMap<u32, StreamState>,
    /// The ticks of each root context.
    ticks: BTreeMap<u32, Tick>,
    http_calls: Vec<HttpCall>,
    /// gRPC calls that are to be answered, with the contexts that made them.
    grpc_calls: Vec<(u32, u32)>,
    /// The cached result of [`Vm::next_due`]. None: ticks or calls have changed since.
    next_due: Option<Option<Nanos>>,
    /// The answer to an HTTP call, while the filter's callback for it is running.
    http_answer: Option<(HeaderMap, Vec<u8>)>,
    /// The same of a gRPC call.
    grpc_answer: Option<Arc<[u8]>>,
    /// When a VM was last loaded, or when that was last tried.
    last_load: Nanos,
    calls: HostCallCounter,
    /// The kinds of host calls that are refused.
    refused: BTreeSet<&'static str>,
}

/// The ticks of a root context.
#[derive(Clone, Copy)]
struct Tick {
    period: Nanos,
    due: Nanos,
}

impl VmState {
    fn forget_root(&mut self, root: u32) {
        self.roots.remove(&root);
        self.ticks.remove(&root);
        self.http_calls.retain(|call| call.root != root);
        self.next_due = None;
    }

    /// The root context of a context, which may be one itself.
    fn root_of(&self, context: u32) -> u32 {
        let stream = self.streams.get(&context);
        stream.map_or(context, |stream| stream.root)
    }
}

/// What the host keeps for one stream.
struct StreamState {
    root: u32,
    /// Whether the filter has a context for it.
    created: bool,
    /// The request's headers, and what the filter may do with them now.
    request: (HeaderMap, Access),
    /// The response's headers, and what the filter may do with them now.
    response: (HeaderMap, Access),
    source: SocketAddr,
    /// The properties that the filter has set.
    properties: BTreeMap<Vec<u8>, Vec<u8>>,
    reply: Option<LocalReply>,
    trailers: HeaderMap,
    info: StreamInfo,
}

/// What the filter may do with a header map.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    None,
    Read,
    Write,
}

impl Vm {
    /// A VM of this worker that is not loaded: [`Vm::configure`] loads it.
    pub(super) fn new(proxy: Arc<Proxy>, worker: usize, code: Code) -> Rc<Vm> {
        Rc::new(Vm {
            proxy,
            worker,
            code,
            instance: RefCell::default(),
            context: Cell::new(0),
            callback: Cell::new(Callback::Configure),
            state: RefCell::default(),
        })
    }

    /// What the VM shares with those of other workers.
    pub(super) fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    /// Runs a callback of the filter, whose host calls come to this VM.
    fn enter<T>(self: &Rc<Vm>, context: u32, callback: Callback, body: impl FnOnce() -> T) -> T {
        self.context.set(context);
        self.callback.set(callback);
        CURRENT.with_borrow_mut(|current| {
            assert!(current.is_none(), "a callback inside a callback");
            *current = Some(self.clone());
        });
        let instance = self.instance.borrow().clone();
        let result = guest::of(instance, body);
        CURRENT.set(None);
        result
    }

    /// Starts a root context with a configuration. The one before keeps its streams until they end.
    /// False: the filter refuses the configuration, and the root context before stays in place.
    pub(super) fn configure(self: &Rc<Vm>, configuration: &Arc<[u8]>) -> bool {
        let root = fresh_id();
        let fresh = self.load();
        let before = {
            let state = &mut *self.state.borrow_mut();
            state.configuring = true;
            state.last_load = self.proxy.monotonic();
            state.roots.insert(root, 0);
            std::mem::replace(&mut state.configuration, configuration.clone())
        };
        let accepted = self.enter(root, Callback::Configure, || {
            if let Some(instance) = fresh {
                instance.initialize();
            }
            guest::proxy_on_context_create(root, 0);
            guest::proxy_on_vm_start(root, 0)
                && guest::proxy_on_configure(root, configuration.len())
        });
        let mut state = self.state.borrow_mut();
        state.configuring = false;
        if !accepted {
            state.configuration = before;
            state.forget_root(root);
            drop(state);
            self.enter(root, Callback::End, || guest::proxy_on_delete(root));
            return false;
        }
        let old = state.root.replace(root);
        if self.proxy.drains {
            state.draining.extend(old);
        }
        drop(state);
        if let Some(old) = old {
            self.end_root_without_streams(old);
        }
        true
    }

    /// Makes the code ready for another root context. Returns a module's instance that is new and has
    /// to be initialized.
    fn load(&self) -> Option<Rc<Instance>> {
        match &self.code {
            Code::Linked(start) => {
                start();
                None
            }
            Code::Module(module) => {
                let instance = &mut *self.instance.borrow_mut();
                if instance.is_some() {
                    return None;
                }
                *instance = Some(Rc::new(Instance::of(module)));
                instance.clone()
            }
        }
    }

    fn end_root_without_streams(self: &Rc<Vm>, root: u32) {
        let mut state = self.state.borrow_mut();
        let stays = state.root == Some(root) || state.draining.contains(&root);
        if stays || state.roots.get(&root) != Some(&0) {
            return;
        }
        state.forget_root(root);
        drop(state);
        self.enter(root, Callback::End, || {
            guest::proxy_on_done(root);
            guest::proxy_on_delete(root);
        });
    }

    /// The drain time of every configuration but the last is over.
    pub(super) fn drained(self: &Rc<Vm>) {
        let drained = std::mem::take(&mut self.state.borrow_mut().draining);
        for root in drained {
            self.end_root_without_streams(root);
        }
    }

    /// The root context of the configuration so many reloads ago, for a stream of a connection that
    /// is as old; 0 is the last one. None: there is none, or the VM is dead.
    fn root_before(self: &Rc<Vm>, reloads: usize) -> Option<u32> {
        let Some(back) = reloads.checked_sub(1) else {
            return self.living_root();
        };
        self.state.borrow().draining.iter().nth_back(back).copied()
    }

    /// The VM traps, or ends with its proxy: no callback of its contexts runs any more. Natively
    /// the contexts belong to the thread and would stay as long as it, so they are dropped here.
    pub(super) fn kill(&self) {
        let state = &mut *self.state.borrow_mut();
        state.root = None;
        state.draining.clear();
        state.ticks.clear();
        state.http_calls.clear();
        state.grpc_calls.clear();
        state.next_due = None;
        let streams = state.streams.drain().filter(|(_, stream)| stream.created);
        let streams = streams.map(|(context, _)| context);
        let roots = std::mem::take(&mut state.roots).into_keys();
        // A module's contexts are in its memory, and go with it.
        if self.instance.take().is_some() {
            return;
        }
        streams.chain(roots).for_each(guest::proxy_on_delete);
    }

    /// The root context for a new stream. If the VM is dead, another is loaded if the failure
    /// policy says so. None: the VM is dead.
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

    /// From now on refuses host calls of these kinds, and no others.
    pub(super) fn refuse(&self, kinds: &[&'static str]) {
        self.state.borrow_mut().refused = kinds.iter().copied().collect();
    }

    /// The host calls since this was called last.
    pub(super) fn take_calls(&self) -> BTreeMap<Callback, HostCalls> {
        self.state.borrow_mut().calls.take()
    }
}

//! The root context: one for each worker and configuration. Everything that outlives a request
//! belongs to it.
//!
//! After a reload the root context of the configuration before lives on for as long as the proxy
//! drains it, and gets its ticks: its requests are counted as in flight to their end, while its
//! configuration sleeps ([`crate::shared`]).

use crate::ask::{self, Contexts};
use crate::host::{self, HeaderMap};
use crate::packed::Packed;
use crate::port::Host;
use crate::shared::Shared;
use crate::stream::{self, Stream};
use core::time::Duration;
use pointsman_core::config::Config;
use pointsman_core::pool::health::{Probe, ProbeAnswer};
use pointsman_core::rate_limit::global::Question;
use pointsman_core::scope::{Plugin, Scope};
use pointsman_core::time::Nanos;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;
use std::rc::Rc;

/// The root context. Without a configuration that loaded it has nothing to share, and its streams
/// answer 503.
#[derive(Default)]
pub(crate) struct Root {
    shared: Option<Rc<Shared>>,
    /// The probes that wait for their responses, by the token of the call. Their time-outs bound
    /// how many there are.
    probes: Vec<(u32, Probe)>,
    /// The purchases of tokens that wait for an answer, by the token of the call.
    purchases: Vec<(u32, Question)>,
    /// Its number. 0: it does not know.
    id: u32,
}

impl Context for Root {
    /// No stream of this configuration is left, so nothing more will be counted.
    fn on_done(&mut self) -> bool {
        if let Some(shared) = &self.shared
            && let Some(mut state) = shared.borrow("at the end the worker is borrowed")
            && let Some(loaded) = state.in_memory()
        {
            loaded.worker.finish(&mut Host);
            loaded.count();
            loaded.metrics.flush();
        }
        true
    }

    /// The response to a probe. Without headers: the connection broke. Where there was none in time
    /// it is the proxy's own.
    fn on_http_call_response(&mut self, token: u32, headers: usize, body: usize, trailers: usize) {
        let Some(place) = self.probes.iter().position(|(other, _)| *other == token) else {
            return;
        };
        let (_, probe) = self.probes.remove(place);
        let of = |map, name| host::header(map, name).ok().flatten();
        let status = match headers {
            0 => None,
            _ => of(HeaderMap::CallResponse, b":status"),
        };
        let status: Option<u16> =
            status.and_then(|status| std::str::from_utf8(&status).ok()?.parse().ok());
        if !self.is_grpc(&probe) {
            self.on_probe_result(&probe, status.map(ProbeAnswer::from));
            return;
        }
        // An answer without a body has it among its headers.
        let grpc_status = match trailers {
            0 => of(HeaderMap::CallResponse, b"grpc-status"),
            _ => of(HeaderMap::CallTrailers, b"grpc-status"),
        };
        // What is longer is no answer of the health service.
        let body = match body {
            1..=MAX_GRPC_ANSWER => host::call_response_body(body).unwrap_or_default(),
            _ => Vec::new(),
        };
        let answer = status.map(|status| ProbeAnswer {
            status,
            grpc_status: grpc_status.as_deref(),
            body: &body,
        });
        self.on_probe_result(&probe, answer);
    }

    /// An engine's answer to a purchase.
    fn on_grpc_call_response(&mut self, token: u32, status: u32, size: usize) {
        if let Some(place) = self.purchases.iter().position(|(other, _)| *other == token) {
            let (_, question) = self.purchases.remove(place);
            self.on_purchase(&question, ask::answer(status, size).as_deref());
            self.resume_served();
        }
    }
}

impl RootContext for Root {
    /// Loads the configuration. False, after a log line for each problem, refuses it: the proxy
    /// then keeps the one before. The answer depends on the configuration's bytes alone, because a
    /// proxy whose main thread accepted what a worker refuses takes no configuration any more
    /// (envoyproxy/envoy#43751).
    ///
    /// This runs in every worker, and twice more on the main thread, so it leaves shared state as
    /// it finds it.
    fn on_configure(&mut self, _size: usize) -> bool {
        let bytes = match host::plugin_configuration() {
            Ok(bytes) => bytes,
            Err(status) => {
                log::error!("the configuration cannot be read: {status}");
                return false;
            }
        };
        let plugin = plugin();
        // First, so that the memory that it takes meanwhile is what the configuration fills next.
        let packed = Packed::new(&bytes);
        let scope = &mut || Scope::of_plugin(&plugin, &mut Host);
        let config = match Config::load_in(&bytes, scope, &host::variable) {
            Ok(config) => config,
            Err(problems) => {
                for problem in &problems.0 {
                    log::error!("{problem}");
                }
                let count = problems.0.len();
                log::error!("the configuration is refused; problems: {count}");
                return false;
            }
        };
        self.shared = Some(Rc::new(Shared::new(&plugin, &bytes, packed, config)));
        true
    }

    fn on_tick(&mut self) {
        for probe in self.tick().unwrap_or_default() {
            match self.send_probe(&probe) {
                Some(token) => self.probes.push((token, probe)),
                // There is no such cluster, or no host in it.
                None => self.on_probe_result(&probe, None),
            }
        }
        for question in self.purchases() {
            match ask::call(self, &question) {
                Some(token) => {
                    // An answer that is lost must not be waited for for ever.
                    if self.purchases.len() >= MAX_PURCHASES {
                        self.purchases.remove(0);
                    }
                    self.purchases.push((token, question));
                }
                None => self.on_purchase(&question, None),
            }
        }
        // Last, since they make other contexts' calls.
        self.resume_served();
        if let Some(shared) = &self.shared {
            let period = shared.borrow("at a tick the worker is borrowed");
            let period = period.map(|state| state.tick_period());
            shared.waiting.end_lost(period.unwrap_or(Nanos::SECOND));
        }
    }

    fn create_http_context(&self, context_id: u32) -> Option<Box<dyn HttpContext>> {
        let ids = Contexts {
            root: self.id,
            stream: context_id,
        };
        Some(Box::new(Stream::new(self.shared.clone(), ids)))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

impl Root {
    /// A root context of this number.
    pub(crate) fn new(id: u32) -> Root {
        Root {
            id,
            ..Root::default()
        }
    }

    fn tick(&self) -> Option<Vec<Probe>> {
        let shared = self.shared.as_deref()?;
        let mut state = shared.borrow("at a tick the worker is borrowed")?;
        Some(state.tick(&shared.failures))
    }

    /// What to buy ahead of need.
    fn purchases(&self) -> Vec<Question> {
        let of = |shared: &Shared| {
            let mut state = shared.borrow("at a purchase the worker is borrowed")?;
            let worker = &mut state.awake()?.worker;
            Some(worker.purchases(worker.last_time()))
        };
        self.shared.as_deref().and_then(of).unwrap_or_default()
    }

    fn on_purchase(&self, question: &Question, answer: Option<&[u8]>) {
        if let Some(shared) = &self.shared
            && let Some(mut state) = shared.borrow("at a purchase the worker is borrowed")
            && let Some(loaded) = state.awake()
            && let Ok(now) = host::current_time()
        {
            loaded.worker.on_engine_answer(question, answer, now);
            loaded.count();
        }
    }

    fn resume_served(&self) {
        if let Some(shared) = &self.shared {
            stream::resume_served(shared, self.id);
        }
    }

    /// Whether a probe asks the gRPC health service.
    fn is_grpc(&self, probe: &Probe) -> bool {
        let of = |shared: &Shared| {
            let mut state = shared.borrow("at a probe's answer the worker is borrowed")?;
            let config = state.in_memory()?.worker.config().clone();
            let active = config.pool(probe.target.pool)?.health.active.as_ref()?;
            Some(active.grpc.is_some())
        };
        self.shared.as_deref().and_then(of).unwrap_or_default()
    }

    fn on_probe_result(&self, probe: &Probe, answer: Option<ProbeAnswer<'_>>) {
        if let Some(shared) = &self.shared
            && let Some(mut state) = shared.borrow("at a probe's answer the worker is borrowed")
            && let Some(loaded) = state.in_memory()
            && let Ok(now) = host::current_time()
        {
            let worker = &mut loaded.worker;
            worker.on_probe_result(probe, answer, &mut Host, now);
            loaded.count();
        }
    }

    /// Sends a probe. Nothing in it comes from a client. The call's number; None: the proxy does
    /// not even try.
    fn send_probe(&self, probe: &Probe) -> Option<u32> {
        let config = self
            .shared
            .as_deref()?
            .borrow("at a probe the worker is borrowed")?
            .in_memory()?
            .worker
            .config()
            .clone();
        let (pool, target) = config.target(probe.target)?;
        let active = pool.health.active.as_ref()?;
        let text = |bytes| std::str::from_utf8(bytes).ok();
        let host = active.host.as_deref().unwrap_or(target.cluster.as_bytes());
        let mut headers = active.request(text(host)?)?;
        let body = active.body();
        if let Some(endpoint) = &target.endpoint {
            headers.push((text(&config.upstream.endpoint_header)?, endpoint));
        }
        let timeout = Duration::from_nanos(active.timeout.get());
        // Of the SDK's host calls the one that must be: only the SDK can hand the answer to this
        // context.
        self.dispatch_http_call(
            &target.cluster,
            headers,
            body.as_deref(),
            Vec::new(),
            timeout,
        )
        .ok()
    }
}

/// The longest answer of the gRPC health service that is looked at, in bytes: it is one small number.
const MAX_GRPC_ANSWER: usize = 1024;

/// Purchases that wait at a time: one for each key of a worker.
const MAX_PURCHASES: usize = 512;

/// What the proxy tells of this plugin. It is asked once for each configuration.
fn plugin() -> Plugin {
    let property = |path: &[u8]| host::property(path).ok().flatten().unwrap_or_default();
    Plugin {
        vm_id: property(b"plugin_vm_id"),
        name: property(b"plugin_name"),
        root_id: property(b"plugin_root_id"),
        direction: property(b"listener_direction"),
    }
}

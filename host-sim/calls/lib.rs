//! A filter that makes the host calls of its configuration and decides nothing: what Pointsman's
//! calls cost without Pointsman, for `host-sim bench`.
//!
//! The configuration is text: the cluster that gets every request, then a line for each kind of
//! call, with how often it is made on a request's way in and on its way out: `get_current_time 2
//! 1`. The header that names the cluster is one call more on the way in.

#![allow(missing_docs)] // of the symbols that `main!` exports

use pointsman_core::port::{Expected, Gauge};
use pointsman_shell::host::{self, Counter, HeaderMap, Histogram, Status};
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType};
use std::cell::Cell;
use std::rc::Rc;

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| Box::new(Root(None)));
}}

const KEY: &[u8] = b"calls/record";
/// About as long as a record of Pointsman's.
const RECORD: &[u8] = &[7; 64];
/// About as long as a session cookie.
const COOKIE: &[u8] = b"pm_0=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4v; Max-Age=3600; Path=/; HttpOnly; SameSite=Lax";

/// One call of a kind, on this header map if it is on one.
type Call = fn(&Metrics, HeaderMap) -> Result<(), Status>;

struct Metrics {
    counter: Counter,
    gauge: Gauge,
    histogram: Histogram,
}

/// What is done for each request.
struct Plan {
    cluster: String,
    metrics: Metrics,
    request: Vec<Call>,
    /// The header edits of the way out.
    response: Vec<Call>,
    /// Everything else on the way out.
    log: Vec<Call>,
    /// A call failed. Then no request is sent on, and nobody takes what failed for what was
    /// measured.
    failed: Cell<bool>,
}

fn call(kind: &str) -> Option<Call> {
    let call: Call = match kind {
        "add_header" => |_, map| host::add_header(map, b"set-cookie", COOKIE),
        "get_current_time" => |_, _| host::current_time().map(drop),
        "get_header_map" => |_, map| host::headers(map).map(drop),
        "get_metric" => |metrics, _| host::gauge_value(metrics.gauge).map(drop),
        "get_property" => |_, _| host::property(b"source\0address").map(drop),
        "get_shared_data" => |_, _| host::shared_data(KEY).map(drop),
        "increment_metric" => |metrics, _| host::increment(metrics.counter, 1),
        "record_metric" => |metrics, _| host::record(metrics.histogram, 5),
        "set_header" => |_, map| host::set_header(map, b"x-route", b"route-0"),
        "set_property" => |_, _| host::set_property(b"pointsman.route", b"route-0"),
        "set_shared_data" => |_, _| host::set_shared_data(KEY, RECORD, Expected::Any),
        _ => return None,
    };
    Some(call)
}

impl Plan {
    fn parse(text: &str) -> Option<Plan> {
        let mut lines = text.lines();
        let mut plan = Plan {
            cluster: lines.next()?.to_owned(),
            metrics: Metrics {
                counter: host::define_counter("calls.counter").ok()?,
                gauge: host::define_gauge("calls.gauge").ok()?,
                histogram: host::define_histogram("calls.histogram").ok()?,
            },
            request: Vec::new(),
            response: Vec::new(),
            log: Vec::new(),
            failed: Cell::new(false),
        };
        for line in lines {
            let mut words = line.split(' ');
            let kind = words.next()?;
            let call = call(kind)?;
            let mut times = || words.next()?.parse().ok();
            let (way_in, way_out): (usize, usize) = (times()?, times()?);
            plan.request.extend(vec![call; way_in]);
            let out = if kind.ends_with("_header") {
                &mut plan.response
            } else {
                &mut plan.log
            };
            out.extend(vec![call; way_out]);
        }
        Some(plan)
    }

    fn make(&self, calls: &[Call], map: HeaderMap) {
        for call in calls {
            if call(&self.metrics, map).is_err() {
                self.failed.set(true);
            }
        }
    }
}

struct Root(Option<Rc<Plan>>);

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _size: usize) -> bool {
        let text = host::plugin_configuration().unwrap_or_default();
        self.0 = String::from_utf8(text)
            .ok()
            .and_then(|text| Plan::parse(&text))
            .map(Rc::new);
        self.0.is_some()
    }

    fn create_http_context(&self, _context_id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream(Rc::clone(self.0.as_ref()?))))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

struct Stream(Rc<Plan>);

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _count: usize, _end: bool) -> Action {
        let Stream(plan) = self;
        plan.make(&plan.request, HeaderMap::Request);
        if !plan.failed.get() {
            let chosen = host::add_header(
                HeaderMap::Request,
                b"x-pointsman-cluster",
                plan.cluster.as_bytes(),
            );
            plan.failed.set(chosen.is_err());
        }
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _count: usize, _end: bool) -> Action {
        self.0.make(&self.0.response, HeaderMap::Response);
        Action::Continue
    }

    fn on_log(&mut self) {
        self.0.make(&self.0.log, HeaderMap::Response);
    }
}

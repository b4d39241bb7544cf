//! The simulator: a native host for the unmodified filter. It is a proxy with virtual workers on
//! one thread ([`Builder::start`]), or with a real thread for each worker ([`Builder::race`]). It
//! has a clock and a random number generator of its own, and everything that happens is a function
//! of the seed; in a race with a scheduler, of the scheduler's seed too.
//!
//! It copies these behaviours of Envoy 1.40. A *law* is a test of `tests/host_laws`: it asks a
//! probe module the same questions in this host and in a real Envoy, and compares the answers. What
//! is not in the table is not copied.
//!
//! | behaviour | law |
//! |---|---|
//! | Shared data: a `cas` of 0 overwrites; any other must match where the key exists, and is ignored where it does not | `cas_decides_where_the_key_exists_and_is_ignored_where_it_does_not` |
//! | Shared data: the writes of all keys are numbered in one sequence, and refused ones get no number | `writes_of_all_keys_are_numbered_in_one_row` |
//! | An empty value is returned as null, but the key exists | `an_empty_value_is_a_value` |
//! | Shared data and metrics outlive a VM and a configuration | `a_trap_answers_503_and_the_next_request_has_a_fresh_vm`, `a_refused_configuration_leaves_the_one_before_and_shared_data` |
//! | Header names are case-insensitive; pseudo-headers come first; a header that is set moves to the end | `names_have_no_case_and_pseudo_headers_come_first` |
//! | Set replaces every value, add adds one, reading one value returns the first; removing an absent header is no error | `set_replaces_every_value_and_reading_one_gives_the_first` |
//! | A header map can be used in its own callbacks, and further if the callback pauses; otherwise the whole map reads as empty, and any other call is a bad argument | `a_map_is_there_only_in_its_phase` |
//! | The route is chosen by the headers as the filter left them (a change clears the route cache) | `a_changed_request_header_chooses_the_route_anew` |
//! | `cluster_header` that is missing, or names no cluster: 503, through the response phase | `a_cluster_that_is_unknown_or_not_named_is_503_through_the_response_phase` |
//! | `override_host`: the first address of the header | the scenarios with pools of endpoints |
//! | A local reply is sent after the callback, and passes the response phase | `a_local_reply_passes_the_response_phase` |
//! | A local reply is `text/plain` by default; without a body it has no content type | `a_local_reply_is_plain_text_unless_it_says_otherwise_and_without_a_body_nothing` |
//! | A second local reply changes nothing | `only_the_first_local_reply_counts` |
//! | `source.address` is `ip:port`; an unknown property is not found | `properties_of_the_connection_are_there_and_unknown_ones_are_not_found` |
//! | A metric defined twice has two ids and one value | `a_metric_defined_twice_has_two_ids_and_one_value` |
//! | Counters never decrease, histograms can only be recorded to; a record sets a gauge and adds to a counter | `each_kind_of_metric_takes_only_what_it_can` |
//! | The plugin's configuration can only be read while it is loaded | `the_configuration_is_there_only_while_it_is_loaded` |
//! | A configuration is loaded in a canary and on the main thread before the workers see it | `a_configuration_is_loaded_workers_plus_two_times` |
//! | A refused configuration leaves the one before in place; the next good one loads | `a_refused_configuration_leaves_the_one_before_and_shared_data` |
//! | Random bytes come in pieces of at most 64 KiB | `randomness_comes_in_pieces_of_at_most_64_kib` |
//! | `FAIL_RELOAD`: after a trap the streams of that VM get 503 and no more callbacks; the next request gets a fresh VM, but not within a second of the last load | `a_trap_answers_503_and_the_next_request_has_a_fresh_vm` |
//! | A gauge is unsigned and wraps around | `a_gauge_has_no_sign_and_wraps_around` |
//! | What is added to a metric that `stats_matcher` rejects is lost without an error | `what_is_added_to_a_metric_that_the_proxy_rejects_is_lost` |
//! | The end of a stream is reported once, whatever ends it; `response.code`, `.flags`, `.grpc_status` are numbers of 8 bytes, and there is no `.code` without a response | `the_end_of_a_stream_is_told_once_with_what_became_of_it` |
//! | A response that has begun and is not whole has a flag, whoever broke it off | `a_response_that_is_not_whole_has_a_flag` |
//! | `upstream.address` is the one that was tried last | `the_upstream_address_is_the_one_that_was_tried_last` |
//! | The main thread's VM ticks as the workers' do; all share metrics | `workers_and_the_main_thread_tick_and_share_gauges` |
//! | After a reload the root context before ticks until its last stream has ended | `the_ticks_of_a_root_context_go_on_while_it_has_streams` |
//! | While it is drained it stays without streams too, and an old connection can ask it once more ([`Builder::drain`]) | `an_old_configuration_that_nobody_asks_sleeps_and_wakes_as_it_was`, and `tests/reload_laws.rs` on Envoy |
//! | HTTP calls are routed to an endpoint by their headers, as requests are | `an_http_call_reaches_the_endpoint_that_its_header_names` |
//! | HTTP calls: to an unknown cluster, a bad argument; without an answer in time, 504; without a connection, 503; broken off, a callback without headers | `an_http_call_is_answered_by_the_proxy_where_the_backend_does_not_and_broken_ones_have_no_headers` |
//!
//! It cannot simulate a panic of the filter itself, which natively ends the process:
//! [`World::kill`] takes the place of a trap.
//!
//! The host calls stand in `abi`, the filter's callbacks in `guest`; `vm` keeps the state of a
//! worker, [`proxy`] what the workers share. The filter is linked natively, or its `.wasm` file runs
//! in an [`engine`]: [`Code`].

mod abi;
pub mod engine;
mod exchange;
mod guest;
pub mod host_calls;
pub mod http_call;
mod imports;
mod local_reply;
pub mod metrics;
pub mod proxy;
pub mod shared_data;
mod status;
pub mod stream;
mod stream_info;
mod vm;

use crate::environment::Environment;
use crate::exchange::Pairs;
use anyhow::Context as _;
use exchange::Exchanges;
use pointsman_core::time::Nanos;
use pointsman_interleave::Scheduler;
use proxy::{Clusters, FailurePolicy, LogLine, Proxy};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use stream::Stream;
use vm::Vm;

pub use engine::Trap;
pub use host_calls::{Callback, HostCalls};
pub use http_call::{HttpCall, HttpCallOutcome};

/// The default start time of a world: 2026-01-01, in seconds since 1970.
const START: Duration = Duration::from_secs(1_767_225_600);
/// So long after something happened, and before something will, every tick is played.
const SETTLES: Nanos = Nanos::from_secs(3600);
/// The time from one tick to the next between those: longer than what workers wait for each other.
const STRIDE: Nanos = Nanos::from_secs(60);
/// The default address that connections come from.
const CLIENT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 50_000);
/// The number of the main thread's VM and of the canary's, which are no workers.
const MAIN: usize = usize::MAX;

/// A proxy with virtual workers.
pub struct World {
    proxy: Arc<Proxy>,
    code: Code,
    /// The main thread's VM, which has no streams.
    main: Rc<Vm>,
    workers: Vec<Worker>,
    /// The clusters that the builder was given. None: the configuration names them.
    clusters: Option<Clusters>,
    exchanges: Option<Exchanges>,
    /// The streams of requests that are held ([`crate::exchange::Host::hold`]).
    held: Vec<Stream>,
}

impl Drop for World {
    /// # Panics
    /// Where the filter has met a state that cannot be: [`Proxy::filter_bugs`].
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.vms().for_each(|vm| vm.kill());
            assert_no_bugs(&self.proxy);
        }
    }
}

/// Asserts that the filter met no bug of its own, so that every test of anything tests this too.
fn assert_no_bugs(proxy: &Proxy) {
    let bugs = proxy.filter_bugs();
    if bugs > 0 {
        let log = proxy.take_log().into_iter().map(|line| line.message);
        let lines = log.filter(|line| line.contains("a bug of Pointsman"));
        panic!(
            "the filter has met {bugs} states that cannot be:\n{}",
            lines.collect::<Vec<_>>().join("\n")
        );
    }
}

/// The filter's code.
#[derive(Clone)]
pub enum Code {
    /// Linked into this program. The function starts it, and runs for each root context.
    Linked(fn()),
    /// A `.wasm` file, in an engine.
    Module(engine::Module),
}

impl Code {
    /// A module from its `.wasm` file. Error: the file cannot be read, it is no module, or one that
    /// this host cannot run.
    pub fn read(path: &Path) -> anyhow::Result<Code> {
        let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        let module = engine::Module::new(&bytes, imports::linker);
        Ok(Code::Module(
            module.with_context(|| path.display().to_string())?,
        ))
    }
}

impl Default for Code {
    /// Pointsman, linked.
    fn default() -> Code {
        Code::Linked(pointsman_shell::start)
    }
}

/// Builds a world.
#[derive(Clone)]
pub struct Builder {
    workers: usize,
    configuration: Arc<[u8]>,
    clusters: Option<Clusters>,
    seed: u64,
    start: Duration,
    failure_policy: FailurePolicy,
    code: Code,
    exchanges: Option<Exchanges>,
    drains: bool,
    environment: Environment,
}

/// The filter refused its configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigureFailed {
    /// What the filter logged.
    pub log: Vec<LogLine>,
}

impl fmt::Display for ConfigureFailed {
    /// Writes a heading, and a line for each line of the log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the filter refuses its configuration")?;
        self.log
            .iter()
            .try_for_each(|line| write!(f, "\n{}", line.message))
    }
}

impl std::error::Error for ConfigureFailed {}

impl From<ConfigureFailed> for String {
    fn from(failed: ConfigureFailed) -> String {
        failed.to_string()
    }
}

/// One worker of a proxy.
pub struct Worker(Rc<Vm>);

/// The result of a race.
pub struct Race<T> {
    /// What the job of each worker returned.
    pub results: Vec<T>,
    /// What the workers share: shared data, metrics, log, clock.
    pub proxy: Arc<Proxy>,
}

impl World {
    /// A world with one worker, seed 0 and an empty configuration.
    ///
    /// ```
    /// use host_sim::exchange::{ExchangeRequest, Host};
    /// use host_sim::world::World;
    /// use serde_json::json;
    ///
    /// let config = json!({
    ///     "pools": { "web": { "targets": [{ "cluster": "blue" }] } },
    ///     "routes": [{ "name": "all", "pool": "web" }],
    /// });
    /// let mut world = World::builder().workers(2).seed(7).exchanges(&config).start()?;
    /// let request = ExchangeRequest::new(b"GET", b"http://shop.example.com/cart")?;
    /// let result = world.exchange(&request)?;
    /// assert_eq!(result.response.status, 200);
    /// assert_eq!(result.upstream_cluster.as_deref(), Some("blue"));
    /// assert_eq!(result.decision["reason"], "balance");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn builder() -> Builder {
        Builder {
            workers: 1,
            configuration: Arc::default(),
            clusters: None,
            seed: 0,
            start: START,
            failure_policy: FailurePolicy::default(),
            code: Code::default(),
            exchanges: None,
            drains: false,
            environment: Environment::new(),
        }
    }

    /// A started world for exchanges with this configuration.
    pub fn of(configuration: &Value, workers: usize) -> Result<World, ConfigureFailed> {
        World::builder()
            .workers(workers)
            .exchanges(configuration)
            .start()
    }

    /// What the workers share: shared data, metrics, log, clock.
    pub fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    /// The workers.
    pub fn workers(&self) -> &[Worker] {
        &self.workers
    }

    /// Begins a stream on a worker.
    pub fn open(&self, worker: usize, headers: &Pairs) -> Stream {
        self.workers[worker].open(headers)
    }

    /// A worker's VM traps.
    pub fn kill(&self, worker: usize) {
        self.workers[worker].0.kill();
    }

    /// When the next tick or time-out of an HTTP call is due, as the time since the world began.
    pub fn next_due(&self) -> Option<Nanos> {
        self.vms().filter_map(|vm| vm.next_due()).min()
    }

    /// Lets time pass. Ticks and time-outs of HTTP calls that are due happen at their own times, in
    /// order; but of more than two hours only the first and the last are played so. Between them
    /// each VM ticks once a minute: after an hour without a request all is as it stays, but for
    /// what waits for a time, and a year of seconds takes minutes.
    pub fn advance(&self, by: Duration) {
        let start = self.proxy.monotonic();
        let end = start + Nanos::new(by.as_nanos() as u64);
        let calm = start + SETTLES..end - SETTLES;
        while let Some(due) = self.next_due()
            && due <= end
        {
            let now = self.proxy.monotonic();
            let is_calm = calm.contains(&now) && due < calm.end;
            let at = match is_calm {
                true => due.max(now + STRIDE).min(calm.end),
                false => due,
            };
            self.proxy.pass_until(at);
            self.vms().for_each(|vm| vm.do_due());
            self.vms().for_each(Vm::answer_grpc_calls);
        }
        self.proxy.pass_until(end);
        self.vms().for_each(Vm::answer_grpc_calls);
    }

    /// Loads another configuration, as an LDS update does: first on the main thread, and if it is
    /// accepted there, on the workers. Open streams keep the configuration that they began with.
    pub fn reload(&self, configuration: &[u8]) -> Result<(), ConfigureFailed> {
        let configuration: Arc<[u8]> = configuration.into();
        try_out(&self.proxy, &self.code, &configuration)?;
        if !self.main.configure(&configuration) {
            return Err(refused(&self.proxy));
        }
        if self.clusters.is_none() {
            self.proxy.set_clusters(clusters_of(&configuration));
        }
        for worker in &self.workers {
            if !worker.0.configure(&configuration) {
                return Err(refused(&self.proxy));
            }
        }
        Ok(())
    }

    /// The drain time of every configuration but the last is over.
    pub fn drained(&self) {
        self.vms().for_each(Vm::drained);
    }

    /// The filter's own HTTP calls that have no answer yet: of the workers and of the main thread's
    /// VM.
    pub fn http_calls(&self) -> Vec<HttpCall> {
        self.vms().flat_map(|vm| vm.http_calls()).collect()
    }

    /// Ends an HTTP call. False: there is no such call, or it has ended before.
    pub fn end_http_call(&self, token: u32, outcome: &HttpCallOutcome) -> bool {
        self.vms().any(|vm| vm.end_http_call(token, outcome))
    }

    fn vms(&self) -> impl Iterator<Item = &Rc<Vm>> {
        std::iter::once(&self.main).chain(self.workers.iter().map(|worker| &worker.0))
    }

    /// The host calls of all workers since this was called last.
    pub fn take_calls(&self) -> BTreeMap<Callback, HostCalls> {
        let mut sum: BTreeMap<Callback, HostCalls> = BTreeMap::new();
        for worker in &self.workers {
            for (callback, calls) in worker.0.take_calls() {
                sum.entry(callback).or_default().add(calls);
            }
        }
        sum
    }
}

impl Worker {
    /// What the worker shares with the others.
    pub fn proxy(&self) -> &Proxy {
        self.0.proxy()
    }

    /// Begins a stream from 127.0.0.1.
    pub fn open(&self, headers: &Pairs) -> Stream {
        self.open_from(headers, CLIENT)
    }

    /// Begins a stream from this address.
    pub fn open_from(&self, headers: &Pairs, source: SocketAddr) -> Stream {
        Stream::open(&self.0, 0, headers, source)
    }

    /// Begins a stream on a connection from before the last `reloads` ([`Builder::drain`]).
    pub fn open_before(&self, reloads: usize, headers: &Pairs) -> Stream {
        Stream::open(&self.0, reloads, headers, CLIENT)
    }

    /// From now on refuses host calls of these kinds (those of [`HostCalls::of`]), and no others.
    pub fn refuse(&self, kinds: &[&'static str]) {
        self.0.refuse(kinds);
    }
}

impl Builder {
    /// Sets how many workers there are. Default 1.
    pub fn workers(mut self, workers: usize) -> Builder {
        self.workers = workers;
        self
    }

    /// Sets the bytes of the plugin's configuration. If they are JSON, the proxy has the clusters
    /// and endpoints that they name; otherwise none. Default: empty.
    pub fn config(mut self, configuration: &[u8]) -> Builder {
        self.configuration = configuration.into();
        self
    }

    /// Sets the configuration for exchanges through [`crate::exchange::Host`]. `explain` is
    /// switched on in it where it is off, because the filter reports its decisions by it.
    pub fn exchanges(mut self, configuration: &Value) -> Builder {
        let mut configuration = configuration.clone();
        self.exchanges = Some(Exchanges::of(&mut configuration));
        self.config(configuration.to_string().as_bytes())
    }

    /// The proxy of exchanges has no route for requests without the header that names the cluster.
    /// By default it has one, to a backend that no pool names.
    pub fn without_own_route(mut self) -> Builder {
        if let Some(exchanges) = &mut self.exchanges {
            exchanges.own_route = false;
        }
        self
    }

    /// Sets the proxy's clusters. Default: those that the configuration names.
    pub fn clusters(mut self, clusters: Clusters) -> Builder {
        self.clusters = Some(clusters);
        self
    }

    /// Sets the seed of the random number generator. Default 0.
    pub fn seed(mut self, seed: u64) -> Builder {
        self.seed = seed;
        self
    }

    /// Sets the wall clock's first time, since 1970. Default: 2026-01-01.
    pub fn start_time(mut self, start: Duration) -> Builder {
        self.start = start;
        self
    }

    /// Sets what happens to requests while their worker's VM is dead. Default: reload.
    pub fn failure_policy(mut self, policy: FailurePolicy) -> Builder {
        self.failure_policy = policy;
        self
    }

    /// After a reload the configuration before stays, as in an Envoy whose drain time is not over,
    /// until [`World::drained`] is called. By default only its streams keep it.
    pub fn drain(mut self) -> Builder {
        self.drains = true;
        self
    }

    /// Sets the variables that the proxy gives to the VMs. Default: none.
    pub fn environment(mut self, environment: Environment) -> Builder {
        self.environment = environment;
        self
    }

    /// Sets the filter's start function, which runs for each VM. Default: Pointsman's.
    pub fn guest(self, guest: fn()) -> Builder {
        self.code(Code::Linked(guest))
    }

    /// Sets the filter's code. Default: Pointsman's, linked.
    pub fn code(mut self, code: Code) -> Builder {
        self.code = code;
        self
    }

    /// Starts the main thread's VM and the workers', all on this thread.
    pub fn start(mut self) -> Result<World, ConfigureFailed> {
        if let Some(exchanges) = &mut self.exchanges {
            exchanges.explain.take_from(&self.environment);
        }
        let proxy = self.proxy(None);
        try_out(&proxy, &self.code, &self.configuration)?;
        let Worker(main) = self.worker(&proxy, MAIN)?;
        let workers = (0..self.workers).map(|worker| self.worker(&proxy, worker));
        Ok(World {
            workers: workers.collect::<Result<_, _>>()?,
            main,
            clusters: self.clusters,
            code: self.code,
            exchanges: self.exchanges,
            held: Vec::new(),
            proxy,
        })
    }

    /// Runs `job` on real threads, one for each worker, each with a VM of its own. With a seed, one
    /// thread runs at a time, and the seed chooses which at each host call; without a seed, the
    /// operating system schedules the threads. No time passes by itself.
    ///
    /// # Panics
    /// If a job panics, or if the filter has met a state that cannot be.
    pub fn race<T: Send>(
        self,
        seed: Option<u64>,
        job: impl Fn(usize, &Worker) -> T + Sync,
    ) -> Result<Race<T>, ConfigureFailed> {
        let scheduler = seed.map(|seed| Scheduler::new(self.workers, seed));
        let proxy = self.proxy(scheduler);
        let results = std::thread::scope(|scope| {
            let run = |number| {
                let (this, proxy, job) = (&self, &proxy, &job);
                scope.spawn(move || {
                    let _turn = proxy
                        .scheduler
                        .as_ref()
                        .map(|scheduler| scheduler.enter(number));
                    let worker = this.worker(proxy, number)?;
                    Ok(job(number, &worker))
                })
            };
            let threads: Vec<_> = (0..self.workers).map(run).collect();
            let join = |thread: std::thread::ScopedJoinHandle<'_, _>| match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            threads
                .into_iter()
                .map(join)
                .collect::<Result<Vec<T>, ConfigureFailed>>()
        });
        let results = results?;
        assert_no_bugs(&proxy);
        Ok(Race { results, proxy })
    }

    fn proxy(&self, scheduler: Option<Scheduler>) -> Arc<Proxy> {
        let proxy = Proxy::new(
            self.seed,
            self.start,
            self.failure_policy,
            self.drains,
            scheduler,
            self.environment.clone(),
        );
        proxy.set_clusters(
            self.clusters
                .clone()
                .unwrap_or_else(|| clusters_of(&self.configuration)),
        );
        Arc::new(proxy)
    }

    fn worker(&self, proxy: &Arc<Proxy>, number: usize) -> Result<Worker, ConfigureFailed> {
        let vm = Vm::new(proxy.clone(), number, self.code.clone());
        match vm.configure(&self.configuration) {
            true => Ok(Worker(vm)),
            false => Err(refused(proxy)),
        }
    }
}

/// Loads a configuration in a canary VM and drops that, as Envoy's main thread does before any
/// other VM gets the configuration.
fn try_out(
    proxy: &Arc<Proxy>,
    code: &Code,
    configuration: &Arc<[u8]>,
) -> Result<(), ConfigureFailed> {
    let canary = Vm::new(proxy.clone(), MAIN, code.clone());
    let accepted = canary.configure(configuration);
    canary.kill();
    match accepted {
        true => Ok(()),
        false => Err(refused(proxy)),
    }
}

fn refused(proxy: &Proxy) -> ConfigureFailed {
    ConfigureFailed {
        log: proxy.take_log(),
    }
}

/// The clusters and endpoints that a configuration names, if it is JSON; else none.
fn clusters_of(configuration: &[u8]) -> Clusters {
    let mut clusters = Clusters::new();
    let configuration: Value = serde_json::from_slice(configuration).unwrap_or_default();
    let pools = configuration["pools"].as_object().into_iter().flatten();
    for (_, pool) in pools {
        for target in pool["targets"].as_array().into_iter().flatten() {
            let Some(cluster) = pool["cluster"].as_str().or(target["cluster"].as_str()) else {
                continue;
            };
            let endpoints = clusters.entry(cluster.to_owned()).or_default();
            endpoints.extend(target["endpoint"].as_str().map(str::to_owned));
        }
    }
    clusters
}

#[cfg(test)]
mod tests;

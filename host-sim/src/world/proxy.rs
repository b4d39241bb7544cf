//! What all workers of a proxy share. It outlives their VMs.

use super::metrics::{MetricValue, Metrics};
use super::shared_data::SharedData;
use crate::environment::Environment;
use pointsman_core::time::Nanos;
use pointsman_interleave::Scheduler;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The part of a proxy that its workers share.
#[derive(Debug)]
pub struct Proxy {
    /// The shared data of the filter's `vm_id`.
    pub shared_data: SharedData,
    pub(super) failure_policy: FailurePolicy,
    /// Whether a configuration stays after a reload, its streams apart.
    pub(super) drains: bool,
    pub(super) scheduler: Option<Scheduler>,
    /// The monotonic clock: nanoseconds since the world began. Ticks, time-outs and back-offs use
    /// it.
    monotonic: AtomicU64,
    /// What the wall clock is ahead of the monotonic one, in nanoseconds since 1970.
    wall_offset: AtomicI64,
    random: Mutex<fastrand::Rng>,
    metrics: Mutex<Metrics>,
    log: Mutex<Vec<LogLine>>,
    clusters: Mutex<Clusters>,
    /// What the VMs are given of the proxy's environment.
    environment: Environment,
    grpc_calls: Mutex<GrpcCalls>,
}

/// What becomes of the filter's own gRPC calls.
#[derive(Clone, Debug, Default)]
pub(super) enum GrpcCalls {
    /// The proxy makes none.
    #[default]
    Refused,
    /// Nothing ever comes of them.
    Lost,
    /// Each gets this answer.
    Answered(Arc<[u8]>),
}

/// The proxy's clusters by name, each with the addresses of those endpoints that a configuration
/// names.
pub type Clusters = BTreeMap<String, BTreeSet<String>>;

/// A line that the filter logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// proxy-wasm's number of the level: 0 trace, 1 debug, 2 info, 3 warn, 4 error, 5 critical.
    pub level: u32,
    /// The line's text.
    pub message: String,
}

/// What happens to requests while their worker's VM is dead (`failure_policy` of Envoy's filter).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FailurePolicy {
    /// The next request gets a fresh VM, unless one was loaded less than a second ago; until then
    /// requests are answered 503.
    #[default]
    Reload,
    /// All requests are answered 503.
    Closed,
    /// All requests bypass the filter unchanged.
    Open,
}

impl Proxy {
    pub(super) fn new(
        seed: u64,
        start: Duration,
        failure_policy: FailurePolicy,
        drains: bool,
        scheduler: Option<Scheduler>,
        environment: Environment,
    ) -> Proxy {
        Proxy {
            shared_data: SharedData::default(),
            failure_policy,
            drains,
            scheduler,
            monotonic: AtomicU64::new(0),
            wall_offset: AtomicI64::new(start.as_nanos() as i64),
            random: Mutex::new(fastrand::Rng::with_seed(seed)),
            metrics: Mutex::default(),
            log: Mutex::default(),
            clusters: Mutex::default(),
            environment,
            grpc_calls: Mutex::default(),
        }
    }

    /// From now on it takes gRPC calls, and never tells of their ends, as no proxy should. Without
    /// this it makes none.
    pub fn lose_grpc_calls(&self) {
        self.set_grpc_calls(GrpcCalls::Lost);
    }

    /// From now on gRPC calls get this answer, with [`World::advance`](super::World::advance).
    pub fn answer_grpc_calls(&self, message: &[u8]) {
        self.set_grpc_calls(GrpcCalls::Answered(message.into()));
    }

    fn set_grpc_calls(&self, become_of: GrpcCalls) {
        *self
            .grpc_calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = become_of;
    }

    pub(super) fn grpc_calls(&self) -> GrpcCalls {
        let become_of = self.grpc_calls.lock();
        become_of.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The wall clock: the time since 1970.
    pub fn now(&self) -> Nanos {
        let offset = self.wall_offset.load(Ordering::SeqCst);
        Nanos::new(self.monotonic().get().saturating_add_signed(offset))
    }

    /// Sets the wall clock forwards or back by so many nanoseconds, as an administrator or NTP
    /// does. No time passes.
    pub fn jump(&self, nanoseconds: i64) {
        self.wall_offset.fetch_add(nanoseconds, Ordering::SeqCst);
    }

    /// The monotonic clock: the time since the world began.
    pub(super) fn monotonic(&self) -> Nanos {
        Nanos::new(self.monotonic.load(Ordering::SeqCst))
    }

    /// Lets time pass until then, by the monotonic clock. Nothing that is due happens: that is for
    /// [`super::World::advance`].
    pub(super) fn pass_until(&self, monotonic: Nanos) {
        self.monotonic.fetch_max(monotonic.get(), Ordering::SeqCst);
    }

    pub(super) fn fill_random(&self, bytes: &mut [u8]) {
        self.random.lock().unwrap().fill(bytes);
    }

    /// The environment as WASI has it: `NAME=value`, each with a zero at its end.
    pub(super) fn environment_entries(&self) -> Vec<Vec<u8>> {
        let entries = self.environment.iter();
        entries
            .map(|(name, value)| format!("{name}={value}\0").into_bytes())
            .collect()
    }

    pub(super) fn log_line(&self, level: u32, message: String) {
        self.log.lock().unwrap().push(LogLine { level, message });
    }

    /// The lines that were logged since this was called last.
    pub fn take_log(&self) -> Vec<LogLine> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }

    /// The metrics; locked as long as the guard lives.
    pub fn metrics(&self) -> MutexGuard<'_, Metrics> {
        self.metrics.lock().unwrap()
    }

    /// The value of a counter or gauge. None where nothing has defined one of this name.
    pub fn counter(&self, name: &str) -> Option<u64> {
        match self.metrics().named(name)? {
            MetricValue::Number(number) => Some(*number),
            MetricValue::Samples(_) => None,
        }
    }

    /// How often the filter has met a state that cannot be (`pointsman.bug`). 0 for a guest that
    /// has no such counter.
    pub fn filter_bugs(&self) -> u64 {
        self.counter("pointsman.bug").unwrap_or(0)
    }

    pub(super) fn set_clusters(&self, clusters: Clusters) {
        *self.clusters.lock().unwrap() = clusters;
    }

    /// The endpoints of a cluster. None: the proxy has no such cluster.
    pub fn endpoints(&self, cluster: &str) -> Option<BTreeSet<String>> {
        self.clusters.lock().unwrap().get(cluster).cloned()
    }
}

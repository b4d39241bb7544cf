//! Two proxies that share one limit, by an engine on Redis.

use super::Site;
use super::engine::{Engine, EngineOptions, Redis};
use crate::client::Client;
use crate::clock::SteppedClock;
use crate::envoy::Program;
use crate::envoy::fleet::Fleet;
use crate::wait::poll;
use anyhow::{Context, Result, bail};
use serde_json::json;
use std::net::SocketAddr;
use std::ops::AddAssign;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// What the proxies and the engine are started with.
#[derive(Clone, Copy, Debug)]
pub struct SharedLimitPlan {
    /// `ask` or `lease`.
    pub mode: &'static str,
    /// `admit` or `refuse`.
    pub on_error: &'static str,
    /// How long a request waits for the engine.
    pub timeout: &'static str,
    /// How many requests the engine admits in a window.
    pub limit: u64,
    /// How long a window is, in seconds.
    pub seconds: u64,
    /// How many requests per second, and at once, each proxy admits by itself.
    pub own: u64,
    /// The engine's.
    pub options: EngineOptions,
    /// Whether Redis keeps its counts when it is killed.
    pub keeps: bool,
    /// Whether the first proxy has a clock of its own.
    pub has_clock: bool,
}

impl SharedLimitPlan {
    /// All that is played in less than a day falls into one window.
    pub const DAY: u64 = 86_400;
}

impl Default for SharedLimitPlan {
    fn default() -> Self {
        SharedLimitPlan {
            mode: "ask",
            on_error: "refuse",
            // As far from what an answer takes as a test can afford.
            timeout: "1s",
            limit: 1_000,
            seconds: SharedLimitPlan::DAY,
            own: 100_000,
            options: EngineOptions::default(),
            keeps: false,
            has_clock: false,
        }
    }
}

/// How often requests are sent until none is admitted any more, at most.
const ROUNDS: usize = 300;

/// The proxies, and what they ask.
pub struct SharedLimit {
    /// The proxies.
    pub sites: Vec<Site>,
    /// The engine.
    pub engine: Engine,
    /// Its store.
    pub redis: Redis,
    /// Of the first proxy, where it has one of its own.
    pub clock: Option<SteppedClock>,
}

/// What became of requests to one proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answered {
    /// 200.
    pub admitted: u64,
    /// 429.
    pub refused: u64,
    /// Anything else, no answer included.
    pub failed: u64,
}

impl AddAssign for Answered {
    fn add_assign(&mut self, other: Answered) {
        self.admitted += other.admitted;
        self.refused += other.refused;
        self.failed += other.failed;
    }
}

impl SharedLimit {
    /// Starts all of it.
    pub fn start(program: &Program, module: &Path, plan: &SharedLimitPlan) -> Result<SharedLimit> {
        let redis = Redis::start(plan.keeps)?;
        let limits = json!([{
            "namespace": "shop",
            "max_value": plan.limit,
            "seconds": plan.seconds,
            "conditions": ["descriptors[0].limit == 'fleet'"],
            "variables": ["descriptors[0]['header.x-tenant']"],
        }]);
        let engine = Engine::start(&redis, &limits, plan.options)?;
        let configuration = json!({
            "pools": { "web": { "targets": [{ "cluster": "web" }] } },
            "rate_limits": {
                "fleet": {
                    "requests": plan.own, "per": "1s", "key": [{ "header": "x-tenant" }],
                    "global": {
                        "cluster": "ratelimit", "domain": "shop", "mode": plan.mode,
                        "timeout": plan.timeout, "on_error": plan.on_error,
                    },
                },
            },
            "routes": [{ "name": "all", "rate_limits": ["fleet"], "pool": "web" }],
        });
        let clock = plan.has_clock.then(SteppedClock::start).transpose()?;
        let site = |clock: Option<&SteppedClock>| {
            let fleet = Fleet::start(&configuration)?;
            let mut deployment = fleet.deployment(module)?.updatable();
            deployment.clusters_mut().push(engine.cluster("ratelimit"));
            if let Some(clock) = clock {
                let [library, file] = clock.environment();
                deployment = deployment.under(vec!["env".to_owned(), library, file]);
            }
            Site::of(program, fleet, deployment)
        };
        Ok(SharedLimit {
            sites: vec![site(clock.as_ref())?, site(None)?],
            engine,
            redis,
            clock,
        })
    }

    /// Sends so many requests to the proxies, by so many clients of each. What became of them, for
    /// each proxy.
    pub fn send(&self, clients: usize, requests: usize) -> Result<Vec<Answered>> {
        let addresses = self.sites.iter().map(|site| site.envoy.address());
        let left = &AtomicUsize::new(requests);
        thread::scope(|scope| {
            let of_site = |address: Result<SocketAddr>| {
                let address = address?;
                let threads = (0..clients).map(|_| scope.spawn(move || run(address, left)));
                Ok(threads.collect::<Vec<_>>())
            };
            let threads: Vec<_> = addresses.map(of_site).collect::<Result<_>>()?;
            let of_site = |threads: Vec<thread::ScopedJoinHandle<'_, Result<Answered>>>| {
                let mut sum = Answered::default();
                for thread in threads {
                    sum += thread.join().expect("a client panicked")?;
                }
                Ok(sum)
            };
            threads.into_iter().map(of_site).collect()
        })
    }

    /// The same, over all proxies.
    pub fn send_all(&self, clients: usize, requests: usize) -> Result<Answered> {
        let mut sum = Answered::default();
        for counts in self.send(clients, requests)? {
            sum += counts;
        }
        Ok(sum)
    }

    /// Sends until one request is admitted, and on until no more are.
    pub fn send_until_refused(&self, clients: usize) -> Result<Answered> {
        let mut sum = Answered::default();
        let first = poll(|| {
            sum += self.send_all(1, 2)?;
            anyhow::Ok((sum.admitted > 0).then_some(()))
        })?;
        first.context("none is admitted")?;
        for _ in 0..ROUNDS {
            let round = self.send_all(clients, 300)?;
            sum += round;
            if round.admitted == 0 {
                return Ok(sum);
            }
        }
        bail!("there is no end of what is admitted: {sum:?}");
    }

    /// Of all proxies, the filter's counter of the limit: `asked`, `asked_failed`, `leased`.
    pub fn counted(&self, what: &str) -> Result<u64> {
        self.sites.iter().map(|site| counted(site, what)).sum()
    }
}

/// The same of one proxy.
pub fn counted(site: &Site, what: &str) -> Result<u64> {
    let name = "pointsman.rate_limit.fleet.";
    Ok(site.envoy.filter_sum(name, what)?.unwrap_or(0))
}

/// A client that sends while there are requests left.
fn run(address: SocketAddr, left: &AtomicUsize) -> Result<Answered> {
    let mut client = Client::new(address)?;
    let mut counts = Answered::default();
    let take = |left: usize| left.checked_sub(1);
    while left
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
        .is_ok()
    {
        let answer = client.get_with("h", "/", &[("x-tenant", "a")]);
        match answer.map(|answer| answer.status().as_u16()) {
            Ok(200) => counts.admitted += 1,
            Ok(429) => counts.refused += 1,
            Ok(_) => counts.failed += 1,
            Err(_) => {
                counts.failed += 1;
                client.disconnect();
            }
        }
    }
    Ok(counts)
}

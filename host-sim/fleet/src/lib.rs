//! Simulates one limit over a fleet of proxies whose workers buy tokens ahead of need
//! ([`pointsman_core::rate_limit::global::lease`]), by the very functions of the filter. Time goes
//! in steps; requests come at random times, from a seed.

use fastrand::Rng;
use pointsman_core::rate_limit::global::Reply;
use pointsman_core::rate_limit::global::lease::{self, BucketKey, INTERVAL, Leases, PACE, Take};
use pointsman_core::rate_limit::global::wire::{Code, DescriptorStatus, Response};
use pointsman_core::time::Nanos;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::{self, Display};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

pub mod balance;
pub mod plot;

/// How an engine's windows lie, what it counts and what it tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// A window begins with its first request; what is refused is not counted; what is left and
    /// until when are told. So is the engine of `host-sim/engine`.
    Telling,
    /// The same, but it looks first and counts [`CROSSING`] later, as Limitador's own storage on Redis
    /// does: what is asked for in between looks at the same count.
    TwoSteps,
    /// As `Telling`, and nothing is told: `limitador-server` without an option.
    Untold,
    /// A window is a second of the clock; what is refused is counted; what is left, and a whole
    /// number of seconds until the window ends, are told.
    Ratelimit,
}

/// Which proxies the requests come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// All alike.
    Even,
    /// To the n-th proxy the n-th part of what comes to the first.
    Zipf,
    /// As with `Zipf`, with other proxies first in each second.
    Moving,
    /// All alike, for a second on and a second off, out of step with the engine's windows.
    Bursts,
}

/// One simulation.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Proxies.
    pub proxies: usize,
    /// Workers of each, among which its requests are spread at random.
    pub workers: u32,
    /// Requests per second that the engine grants.
    pub limit: u32,
    /// What comes, as a part of the limit.
    pub load: f64,
    /// Where it comes to.
    pub traffic: Traffic,
    /// What is asked.
    pub engine: Engine,
    /// How far the clocks of proxies are from the engine's, at most: each somewhere between.
    pub skew: Nanos,
    /// From a call to its answer: half of it to the engine.
    pub round_trip: Nanos,
    /// How long it lasts. The first two seconds are not counted.
    pub length: Nanos,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    /// Admitted, of the limit or, where less came, of what came.
    pub admitted: f64,
    /// The most that was admitted in a window of the engine, as a part of the limit.
    pub most: f64,
    /// The most that was admitted in a window beyond what the engine granted in it.
    pub carried: u64,
    /// Calls of the engine per second.
    pub calls: f64,
    /// Calls for each proxy in 100 ms, on the average.
    pub calls_per_interval: f64,
    /// The same of the proxy that made the most.
    pub most_calls_per_interval: f64,
    /// Requests that waited for an answer, of those that came.
    pub waited: f64,
    /// The longest time that a request waited.
    pub longest: Nanos,
}

const STEP: Nanos = Nanos::MILLISECOND;
const TIMEOUT: Nanos = Nanos::from_millis(20);
const START: Nanos = Nanos::from_secs(1_767_225_600);
const WARM_UP: Nanos = Nanos::from_secs(2);
/// Of an engine that keeps its counts for a window after the other.
const WINDOW: Nanos = Nanos::SECOND;
/// From the look of an engine of two steps to its count: what a Redis in the same network takes.
pub const CROSSING: Nanos = Nanos::MILLISECOND;

/// A call under way.
struct Call {
    proxy: usize,
    worker: usize,
    call: lease::Call,
    /// When it was made, by no proxy's clock.
    made: Nanos,
    /// With the window that it was counted in.
    answer: Option<(Response, Nanos)>,
}

struct Fleet {
    scenario: Scenario,
    /// How far each proxy's clock is ahead of the earliest one.
    ahead: Vec<Nanos>,
    workers: Vec<Vec<Leases>>,
    /// By the time at which they reach the engine, or come back.
    calls: BTreeMap<u64, Vec<Call>>,
    engine: Counter,
    /// Admitted and granted in each window.
    windows: BTreeMap<u64, (u64, u64)>,
    came: u64,
    admitted: u64,
    /// Of each proxy.
    asked: Vec<u64>,
    waited: u64,
    /// When each request came that waits in a queue.
    waiting: BTreeMap<u32, Nanos>,
    /// How many have waited so.
    numbers: u32,
    longest: Nanos,
}

/// The engine's own count.
struct Counter {
    kind: Engine,
    limit: u32,
    window: Nanos,
    count: u64,
    /// What two steps have granted and not counted yet: when that is due, and how much it is.
    granted: VecDeque<(Nanos, u64)>,
}

impl Counter {
    /// The window of this time: when it began.
    fn window(&self, now: Nanos) -> Nanos {
        match self.kind {
            Engine::Ratelimit => Nanos::new(now.get() / WINDOW.get() * WINDOW.get()),
            Engine::Untold | Engine::Telling | Engine::TwoSteps => {
                match now.checked_sub(self.window) {
                    Some(age) if age < WINDOW => self.window,
                    _ => now,
                }
            }
        }
    }

    fn ask(&mut self, hits: u32, now: Nanos) -> Response {
        while let Some((due, granted)) = self.granted.front().copied()
            && due <= now
        {
            self.count += granted;
            self.granted.pop_front();
        }
        let window = self.window(now);
        if window != self.window {
            (self.window, self.count) = (window, 0);
        }
        let after = self.count + u64::from(hits);
        let fits = after <= u64::from(self.limit);
        if fits && self.kind == Engine::TwoSteps {
            self.granted.push_back((now + CROSSING, hits.into()));
        } else if fits || self.kind == Engine::Ratelimit {
            self.count = after;
        }
        let code = if fits { Code::Ok } else { Code::OverLimit };
        let left = u64::from(self.limit).saturating_sub(self.count);
        let reset = match self.kind {
            // No whole second: that is how those tell that count by a clock.
            Engine::Telling | Engine::TwoSteps => {
                (self.window + WINDOW).checked_sub(now + Nanos::new(1))
            }
            _ => Some(WINDOW),
        };
        let status = DescriptorStatus {
            code,
            remaining: u32::try_from(left).unwrap_or(u32::MAX),
            reset,
        };
        let statuses = match self.kind {
            Engine::Untold => Vec::new(),
            Engine::Ratelimit | Engine::Telling | Engine::TwoSteps => vec![status],
        };
        Response {
            code,
            statuses,
            reset_at_least: None,
        }
    }
}

/// Plays a scenario.
pub fn play(scenario: Scenario, seed: u64) -> Outcome {
    let mut random = Rng::with_seed(seed);
    let mut fleet = Fleet::new(scenario, &mut random);
    let steps = scenario.length / STEP;
    // Ticks of the workers lie anywhere.
    let ticks: Vec<Vec<u64>> = (0..scenario.proxies)
        .map(|_| {
            let tick = |_| random.u64(0..PACE / STEP);
            (0..scenario.workers).map(tick).collect()
        })
        .collect();
    // So do the intervals.
    for leases in fleet.workers.iter_mut().flatten() {
        for _ in 0..random.u64(0..INTERVAL / PACE) {
            leases.tick(scenario.workers, |_| TIMEOUT, START);
        }
    }
    for step in 0..steps {
        let now = START + Nanos::new(step * STEP.get());
        fleet.answers(now);
        for (proxy, ticks) in ticks.iter().enumerate() {
            for (worker, tick) in ticks.iter().enumerate() {
                if step % (PACE / STEP) == *tick {
                    fleet.tick(proxy, worker, now);
                }
            }
            let mean = fleet.mean(proxy, step);
            for _ in 0..poisson(mean, &mut random) {
                let worker = random.usize(0..scenario.workers as usize);
                fleet.request(proxy, worker, now);
            }
        }
    }
    fleet.outcome()
}

/// Plays scenarios, each with the same seed, on as many threads as there are processors.
pub fn play_all(scenarios: &[Scenario], seed: u64) -> Vec<Outcome> {
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(vec![Outcome::default(); scenarios.len()]);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some(scenario) = scenarios.get(place) else {
                        break;
                    };
                    let outcome = play(*scenario, seed);
                    outcomes.lock().expect("a thread panicked")[place] = outcome;
                }
            });
        }
    });
    outcomes.into_inner().expect("a thread panicked")
}

impl Fleet {
    fn new(scenario: Scenario, random: &mut Rng) -> Fleet {
        let workers = |_| (0..scenario.workers).map(|_| Leases::default()).collect();
        let mut ahead = |_| Nanos::new(random.u64(0..=2 * scenario.skew.get()));
        Fleet {
            scenario,
            ahead: (0..scenario.proxies).map(&mut ahead).collect(),
            workers: (0..scenario.proxies).map(workers).collect(),
            calls: BTreeMap::new(),
            engine: Counter {
                kind: scenario.engine,
                limit: scenario.limit,
                window: Nanos::ZERO,
                count: 0,
                granted: VecDeque::new(),
            },
            windows: BTreeMap::new(),
            came: 0,
            admitted: 0,
            asked: vec![0; scenario.proxies],
            waited: 0,
            waiting: BTreeMap::new(),
            numbers: 0,
            longest: Nanos::ZERO,
        }
    }

    /// How many requests come to a proxy in a step, on the average.
    fn mean(&self, proxy: usize, step: u64) -> f64 {
        let Scenario {
            proxies, traffic, ..
        } = self.scenario;
        let all = f64::from(self.scenario.limit) * self.scenario.load * STEP.as_secs_f64();
        let second = step * STEP.get() / WINDOW.get();
        let rank = match traffic {
            Traffic::Even => return all / proxies as f64,
            Traffic::Bursts => {
                let half = (step * STEP.get() + 350_000_000) / WINDOW.get();
                return if half.is_multiple_of(2) {
                    all / proxies as f64
                } else {
                    0.0
                };
            }
            Traffic::Zipf => proxy,
            Traffic::Moving => (proxy + second as usize * 37) % proxies,
        };
        let sum: f64 = (1..=proxies).map(|rank| 1.0 / rank as f64).sum();
        all / sum / (rank + 1) as f64
    }

    /// What a proxy's clock says.
    fn clock(&self, proxy: usize, now: Nanos) -> Nanos {
        let earliest = now.checked_sub(self.scenario.skew).unwrap_or_default();
        earliest + self.ahead.get(proxy).copied().unwrap_or_default()
    }

    fn counts(&self, now: Nanos) -> bool {
        now.checked_sub(START) >= Some(WARM_UP)
    }

    fn call(&mut self, proxy: usize, worker: usize, call: lease::Call, now: Nanos) {
        if self.counts(now) {
            self.asked[proxy] += 1;
        }
        let call = Call {
            proxy,
            worker,
            call,
            made: now,
            answer: None,
        };
        let at = now + self.scenario.round_trip / 2;
        self.calls.entry(at.get()).or_default().push(call);
    }

    fn tick(&mut self, proxy: usize, worker: usize, now: Nanos) {
        let workers = self.scenario.workers;
        let clock = self.clock(proxy, now);
        let leases = &mut self.workers[proxy][worker];
        for bought in leases.tick(workers, |_| TIMEOUT, clock) {
            self.call(proxy, worker, bought.call, now);
        }
    }

    fn request(&mut self, proxy: usize, worker: usize, now: Nanos) {
        if self.counts(now) {
            self.came += 1;
        }
        let workers = self.scenario.workers;
        let clock = self.clock(proxy, now);
        let leases = &mut self.workers[proxy][worker];
        match leases.take(KEY, workers, TIMEOUT, clock) {
            Take::Taken => self.admit(self.engine.window(now), now),
            Take::Refused(_) | Take::Failed => {}
            Take::Ask(call) => {
                leases.begin(KEY, workers, BucketKey::default, clock);
                self.waits(now);
                self.call(proxy, worker, call, now);
            }
            Take::Wait => {
                self.numbers += 1;
                assert!(leases.wait(KEY, self.numbers), "it has a place");
                self.waiting.insert(self.numbers, now);
                self.waits(now);
            }
        }
    }

    fn waits(&mut self, now: Nanos) {
        if self.counts(now) {
            self.waited += 1;
        }
    }

    fn admit(&mut self, window: Nanos, now: Nanos) {
        self.windows.entry(window.get()).or_default().0 += 1;
        if self.counts(now) {
            self.admitted += 1;
        }
    }

    /// What reaches the engine, and what comes back.
    fn answers(&mut self, now: Nanos) {
        while let Some(entry) = self.calls.first_entry() {
            if *entry.key() > now.get() {
                return;
            }
            let (at, calls) = entry.remove_entry();
            let at = Nanos::new(at);
            for mut call in calls {
                let Some((answer, window)) = call.answer.take() else {
                    let answer = self.engine.ask(call.call.hits, at);
                    let window = self.engine.window;
                    if answer.code == Code::Ok {
                        self.windows.entry(window.get()).or_default().1 +=
                            u64::from(call.call.hits);
                    }
                    call.answer = Some((answer, window));
                    let back = at + self.scenario.round_trip / 2;
                    self.calls.entry(back.get()).or_default().push(call);
                    continue;
                };
                let clock = self.clock(call.proxy, at);
                let leases = &mut self.workers[call.proxy][call.worker];
                leases.answered(KEY, call.call, Some(&answer), clock);
                let served = leases.served();
                if call.call.used > 0 {
                    self.end(call.made, at);
                    if answer.code == Code::Ok {
                        // In the window that granted it: it has waited since.
                        self.admit(window, at);
                    }
                }
                for served in served {
                    let came = self.waiting.remove(&served.request).expect("it waits");
                    self.end(came, at);
                    if served.reply == Reply::Admitted {
                        // One that came later has taken a token.
                        let window = match came <= call.made {
                            true => window,
                            false => self.engine.window(at),
                        };
                        self.admit(window, at);
                    }
                }
            }
        }
    }

    /// A request that came then waits no longer.
    fn end(&mut self, came: Nanos, now: Nanos) {
        if self.counts(came) {
            self.longest = self.longest.max(now - came);
        }
    }

    fn outcome(&self) -> Outcome {
        let Scenario {
            limit,
            length,
            proxies,
            ..
        } = self.scenario;
        let seconds = (length - WARM_UP).as_secs_f64();
        let could = (f64::from(limit) * seconds).min(self.came as f64);
        let most = self.windows.values().map(|(admitted, _)| *admitted).max();
        let asked = self.asked.iter().sum::<u64>() as f64 / seconds;
        let busiest = self.asked.iter().max().copied().unwrap_or_default() as f64 / seconds;
        let carried = |(admitted, granted): &(u64, u64)| admitted.saturating_sub(*granted);
        Outcome {
            admitted: self.admitted as f64 / could,
            most: most.unwrap_or_default() as f64 / f64::from(limit),
            carried: self.windows.values().map(carried).max().unwrap_or_default(),
            calls: asked,
            calls_per_interval: asked / proxies as f64 * INTERVAL.as_secs_f64(),
            most_calls_per_interval: busiest * INTERVAL.as_secs_f64(),
            waited: self.waited as f64 / self.came.max(1) as f64,
            longest: self.longest,
        }
    }
}

const KEY: u64 = 1;

/// A number of requests around a mean.
fn poisson(mean: f64, random: &mut Rng) -> u32 {
    let (end, mut product, mut count) = ((-mean).exp(), random.f64(), 0);
    while product > end {
        product *= random.f64();
        count += 1;
    }
    count
}

/// What the scenarios have in common.
fn base() -> Scenario {
    Scenario {
        proxies: 100,
        workers: 1,
        limit: 10_000,
        load: 1.2,
        traffic: Traffic::Even,
        engine: Engine::Telling,
        skew: Nanos::from_millis(5),
        round_trip: Nanos::from_millis(2),
        length: Nanos::from_secs(8),
    }
}

/// The scenarios of the table: 100 proxies.
pub fn scenarios() -> Vec<Scenario> {
    let base = base();
    let mut all = Vec::new();
    for engine in [Engine::Telling, Engine::Ratelimit, Engine::Untold] {
        for traffic in [
            Traffic::Even,
            Traffic::Zipf,
            Traffic::Moving,
            Traffic::Bursts,
        ] {
            let most = match traffic {
                // Half of the time nothing comes.
                Traffic::Bursts => 1.3,
                _ => 3.0,
            };
            for load in [0.8, 1.0, 1.2, most] {
                all.push(Scenario {
                    engine,
                    traffic,
                    load,
                    ..base
                });
            }
        }
        for traffic in [Traffic::Even, Traffic::Zipf] {
            for load in [0.8, 1.0, 1.2, 3.0] {
                all.push(Scenario {
                    engine,
                    traffic,
                    load,
                    workers: 4,
                    ..base
                });
            }
        }
    }
    for traffic in [Traffic::Even, Traffic::Zipf] {
        for load in [1.2, 3.0] {
            all.push(Scenario {
                engine: Engine::TwoSteps,
                traffic,
                load,
                ..base
            });
        }
    }
    all
}

/// What was played with different numbers of proxies: a fifth more than the limit comes.
pub struct ByNumber {
    /// How many proxies.
    pub numbers: Vec<usize>,
    /// What each line is of, and an outcome for each number.
    pub lines: Vec<(String, Vec<Outcome>)>,
}

impl ByNumber {
    /// Plays it.
    pub fn play(seed: u64) -> ByNumber {
        let numbers = vec![1, 2, 5, 10, 20, 50, 100, 200, 500, 1000];
        let mut lines = Vec::new();
        for engine in [Engine::Telling, Engine::Ratelimit] {
            for traffic in [Traffic::Even, Traffic::Zipf] {
                let of = |proxies: &usize| Scenario {
                    engine,
                    traffic,
                    proxies: *proxies,
                    ..base()
                };
                let scenarios: Vec<_> = numbers.iter().map(of).collect();
                let name = format!("{engine:?}, {traffic:?}");
                lines.push((name, play_all(&scenarios, seed)));
            }
        }
        ByNumber { numbers, lines }
    }
}

impl Display for ByNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "| proxies |")?;
        for (name, _) in &self.lines {
            write!(f, " {name} |")?;
        }
        writeln!(f, "\n|---:|{}", "---:|".repeat(self.lines.len()))?;
        for (place, number) in self.numbers.iter().enumerate() {
            write!(f, "| {number} |")?;
            for outcome in self.lines.iter().filter_map(|(_, line)| line.get(place)) {
                write!(
                    f,
                    " {:.1} %, {:.2} |",
                    outcome.admitted * 100.0,
                    outcome.calls_per_interval
                )?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// A line of the table, in Markdown.
pub struct Row(pub Scenario, pub Outcome);

/// The head of the table.
pub const HEAD: &str = "\
| engine | proxies × workers | traffic | came | admitted | most in a window | carried over | calls/s | for each \
proxy in 100 ms | for the busiest | waited | at most |
|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|";

impl Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Row(scenario, outcome) = self;
        write!(
            f,
            "| {:?} | {} × {} | {:?} | {:.0} % | {:.1} % | {:.1} % | {} | {:.0} | {:.2} | {:.2} | {:.1} % | {} ms |",
            scenario.engine,
            scenario.proxies,
            scenario.workers,
            scenario.traffic,
            scenario.load * 100.0,
            outcome.admitted * 100.0,
            outcome.most * 100.0,
            outcome.carried,
            outcome.calls,
            outcome.calls_per_interval,
            outcome.most_calls_per_interval,
            outcome.waited * 100.0,
            outcome.longest / Nanos::MILLISECOND,
        )
    }
}

#[cfg(test)]
mod tests;

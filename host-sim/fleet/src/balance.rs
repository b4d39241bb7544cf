//! Simulates `least_connections` by several proxies, each of which knows its own requests alone, by
//! the very function of the filter. The servers are those that the function was chosen with
//! (`filter/core/src/pool/balance/least_connections.rs`): 20 that serve 8 requests at a time each,
//! every fourth at half the speed; requests come at random times, three quarters of what the
//! servers can do.

use fastrand::Rng;
use pointsman_core::config::Config;
use pointsman_core::index::TargetIndex;
use pointsman_core::pool::balance::least_connections::{LeastConnections, Load};
use pointsman_core::pool::candidates::Candidates;
use pointsman_core::time::Nanos;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt::{self, Display};

/// How a proxy chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Among all servers, by what it has in flight itself.
    LeastConnections,
    /// The same among five of them: each server is that of as many proxies as any other.
    Subset,
    /// The same of two, drawn for each request.
    TwoChoices,
    /// At random.
    Random,
    /// With what all proxies have in flight.
    AllCounts,
    /// Where the request will be over first; it knows how long everything takes.
    Oracle,
}

/// All rules, in the order of the table.
pub const RULES: [Rule; 6] = [
    Rule::LeastConnections,
    Rule::Subset,
    Rule::TwoChoices,
    Rule::Random,
    Rule::AllCounts,
    Rule::Oracle,
];

const SERVERS: usize = 20;
const SLOTS: usize = 8;
/// Servers of a proxy with [`Rule::Subset`].
const SUBSET: usize = 5;
/// Of what the servers can do.
const LOAD: f64 = 0.75;
const START: Nanos = Nanos::from_secs(1_800_000_000);
const MILLISECOND: f64 = Nanos::MILLISECOND.get() as f64;

/// How many times longer a server takes than the fastest.
fn slowness(server: usize) -> f64 {
    if server % 4 == 3 { 2.0 } else { 1.0 }
}

/// A bounded Pareto distribution of shape 1.5 from 2 ms to 1 s, in milliseconds.
fn service(random: &mut Rng) -> f64 {
    let (least, most, shape) = (2.0_f64, 1000.0_f64, 1.5);
    let bound = 1.0 - (least / most).powf(shape);
    least / (1.0 - random.f64() * bound).powf(1.0 / shape)
}

/// Its mean.
const MEAN_SERVICE: f64 = 5.73;

/// What a proxy has in flight at each server.
struct Own<'a>(&'a [u32]);

impl Load for Own<'_> {
    fn others(&mut self, _: TargetIndex) -> u32 {
        0
    }

    fn own(&self, target: TargetIndex) -> u32 {
        self.0.get(target.get()).copied().unwrap_or_default()
    }

    fn response_time(&self, _: TargetIndex) -> f64 {
        1.0
    }
}

/// Response times in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Half of the requests take no longer.
    pub p50: f64,
    /// One of a hundred takes longer.
    pub p99: f64,
}

/// Plays so many requests to so many proxies, which get the same share each; the same arrivals and
/// service times for each rule.
pub fn play(rule: Rule, proxies: usize, requests: usize, seed: u64) -> Times {
    let config = config();
    let mut random = Rng::with_seed(seed);
    let mut rolls = Rng::with_seed(!seed);
    let capacity: f64 = (0..SERVERS)
        .map(|server| SLOTS as f64 / MEAN_SERVICE / slowness(server))
        .sum();
    let gap = 1.0 / (capacity * LOAD);
    let counters = if rule == Rule::AllCounts { 1 } else { proxies };
    let mut counts = vec![vec![0_u32; SERVERS]; counters];
    let mut choosers: Vec<_> = (0..counters).map(|_| LeastConnections::default()).collect();
    // When each slot of each server is free, and what is in flight: both in picoseconds.
    let mut slots: Vec<BinaryHeap<Reverse<u64>>> = (0..SERVERS)
        .map(|_| (0..SLOTS).map(|_| Reverse(0)).collect())
        .collect();
    let mut flights = BinaryHeap::new();
    let mut times = Vec::with_capacity(requests);
    let mut now = 0.0;
    for _ in 0..requests {
        now += -gap * (1.0 - random.f64()).ln();
        let at = stamp(now);
        while let Some(Reverse((end, counter, server))) = flights.peek().copied() {
            if end > at {
                break;
            }
            flights.pop();
            let counts: &mut Vec<u32> = &mut counts[counter];
            counts[server] -= 1;
        }
        let proxy = random.usize(0..proxies);
        let took = service(&mut random);
        let end = |server: usize, slots: &[BinaryHeap<Reverse<u64>>]| {
            let free = slots[server].peek().map_or(0, |Reverse(free)| *free);
            free.max(at) + stamp(took * slowness(server))
        };
        let counter = if rule == Rule::AllCounts { 0 } else { proxy };
        let drawn: Vec<usize> = match rule {
            Rule::LeastConnections | Rule::AllCounts | Rule::Oracle => (0..SERVERS).collect(),
            // Neighbours in a circle; every fourth is a slow one.
            Rule::Subset => {
                let first = proxy * SERVERS / proxies;
                let size = SUBSET.max(SERVERS.div_ceil(proxies));
                (0..size).map(|i| (first + i) % SERVERS).collect()
            }
            Rule::TwoChoices => two(&mut rolls),
            Rule::Random => vec![rolls.usize(0..SERVERS)],
        };
        let server = match rule {
            Rule::Oracle => drawn.into_iter().min_by_key(|server| end(*server, &slots)),
            _ => {
                let mut candidates = Candidates::default();
                candidates.collect(&config.pools[0], |target| drawn.contains(&target.get()));
                let nanos = Nanos::new((now * MILLISECOND) as u64);
                let load = &mut Own(&counts[counter]);
                let roll = rolls.u64(..);
                let chosen = choosers[counter].pick(&candidates, load, roll, START + nanos);
                chosen.map(TargetIndex::get)
            }
        };
        let server = server.expect("there are servers");
        let end = end(server, &slots);
        slots[server].pop();
        slots[server].push(Reverse(end));
        counts[counter][server] += 1;
        flights.push(Reverse((end, counter, server)));
        times.push((end - at) as f64 / STAMPS);
    }
    // The first tenth fills the servers.
    let times = &mut times[requests / 10..];
    times.sort_unstable_by(f64::total_cmp);
    let percentile = |part: f64| times[(times.len() as f64 * part) as usize];
    Times {
        p50: percentile(0.5),
        p99: percentile(0.99),
    }
}

/// Stamps in a millisecond.
const STAMPS: f64 = 1e9;

fn stamp(milliseconds: f64) -> u64 {
    (milliseconds * STAMPS) as u64
}

fn two(rolls: &mut Rng) -> Vec<usize> {
    let first = rolls.usize(0..SERVERS);
    let second = (first + rolls.usize(1..SERVERS)) % SERVERS;
    vec![first, second]
}

fn config() -> Config {
    let targets: Vec<_> = (0..SERVERS)
        .map(|server| format!(r#"{{ "cluster": "c{server}" }}"#))
        .collect();
    let text = format!(
        r#"{{ "pools": {{ "p": {{ "balance": "least_connections", "targets": [{}] }} }} }}"#,
        targets.join(", ")
    );
    match Config::load(text.as_bytes()) {
        Ok(config) => config,
        Err(problems) => panic!("{problems:?}"),
    }
}

/// The table of [`play`].
pub struct Table {
    /// Of each number of proxies, by [`RULES`].
    rows: Vec<(usize, Vec<Times>)>,
}

impl Table {
    /// Plays all of it.
    pub fn play(requests: usize, seed: u64) -> Table {
        let row = |proxies: usize| {
            let times = RULES.map(|rule| play(rule, proxies, requests, seed));
            (proxies, times.to_vec())
        };
        Table {
            rows: [1, 2, 5, 10, 50].into_iter().map(row).collect(),
        }
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| proxies | `least_connections` | a part of the targets each | two drawn | `random` | all counts \
             known | oracle |"
        )?;
        writeln!(f, "|---:|---:|---:|---:|---:|---:|---:|")?;
        for (proxies, times) in &self.rows {
            write!(f, "| {proxies} |")?;
            let oracle = times.last().map_or(f64::NAN, |times| times.p99);
            for Times { p99, .. } in times {
                write!(f, " {p99:.0} ms, {:.2} |", p99 / oracle)?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

//! Pointsman natively: how many requests it does in a second of processor time, and how many calls
//! to the host each makes.

use super::processor;
use super::routes::{self, FeatureSet, MeasuredRoute};
use super::statistics::Spread;
use super::wrk::HEADERS;
use crate::exchange::{Pairs, Response};
use crate::simulation::scenario::Scenario;
use crate::simulation::{self, Chooser};
use crate::testkit::load::run;
use crate::world::shared_data::SharedData;
use crate::world::stream::RequestOutcome;
use crate::world::{Callback, Worker as Simulated, World};
use anyhow::{Context, Result, anyhow, ensure};
use pointsman_core::config::Config;
use pointsman_core::decision::Disposition;
use pointsman_core::entropy::{Entropy, WorkerId};
use pointsman_core::http::headers::Headers;
use pointsman_core::http::request::Request;
use pointsman_core::pool::outcome::Seen;
use pointsman_core::port::memory::MemoryStreamInfo;
use pointsman_core::port::{
    Connection, Expected, Gauge, SetFailed, Stats, Store, StoreFailed, Version,
};
use pointsman_core::time::{Nanos, Seconds};
use pointsman_core::worker::Worker;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What passes on the clock between two requests of a worker: the limit always has room.
const PAUSE: Nanos = Nanos::new(10_000);
/// Where the clock stands at first.
const START: Nanos = Nanos::from_secs(1_800_000_000);
/// Requests before those whose calls are counted: each worker has seen the records of the other.
const FIRST: usize = 100;
/// Requests whose calls are counted, to the workers in turn.
const COUNTED: usize = 1_000;
const WORKERS: usize = 2;

/// The headers of a request to a route, as Envoy hands them over.
fn headers(route: MeasuredRoute) -> Pairs {
    let pseudo = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", HEADERS[0].1),
    ];
    let path = route.path();
    let pairs = pseudo
        .into_iter()
        .chain([(":path", &path[..])])
        .chain(HEADERS.into_iter().skip(1));
    pairs
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

fn configuration(routes: usize) -> String {
    routes::configuration(routes, FeatureSet::Everything).to_string()
}

// Calls.

/// How often a request makes a call of this kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CallsPerRequest {
    /// `get_header_map`, `set_shared_data` …
    pub kind: &'static str,
    /// On its way in.
    pub request: f64,
    /// On its way out, from the response's headers to the log.
    pub response: f64,
}

/// What the calls that return bytes, all kinds together, are listed as.
pub(super) const RETURNING_BYTES: &str = "returning bytes";

/// Which clients a request is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clients {
    /// New ones, which bring no cookie.
    New,
    /// Clients that bring the cookie of their first answer, if it had one.
    InSession,
}

/// The calls of a request in the steady state, on two simulated workers that take turns, of a
/// configuration with this number of routes.
pub(super) fn calls(
    configuration: &Value,
    routes: usize,
    clients: Clients,
) -> Result<Vec<CallsPerRequest>> {
    let text = configuration.to_string();
    let builder = World::builder().workers(WORKERS).config(text.as_bytes());
    let world = builder.start().map_err(|failed| anyhow!("{failed}"))?;
    let mut asked: Vec<_> = (0..routes)
        .map(|route| headers(MeasuredRoute(route)))
        .collect();
    if clients == Clients::InSession {
        for headers in &mut asked {
            let answer = live(&world.workers()[0], headers).context("a request did not go on")?;
            let set = answer
                .headers
                .iter()
                .find(|(name, _)| name == b"set-cookie");
            if let Some((_, cookie)) = set {
                let pair = cookie
                    .split(|byte| *byte == b';')
                    .next()
                    .unwrap_or_default();
                headers.push((b"cookie".to_vec(), pair.to_vec()));
            }
        }
    }
    let mut of: BTreeMap<&str, [u32; 2]> = BTreeMap::new();
    for (number, headers) in asked.iter().cycle().take(FIRST + COUNTED).enumerate() {
        world.proxy().jump(PAUSE.get() as i64);
        world.take_calls();
        ensure!(
            live(&world.workers()[number % WORKERS], headers).is_some(),
            "a request did not go on"
        );
        for (callback, calls) in world.take_calls() {
            let way = usize::from(callback != Callback::Request);
            if number >= FIRST {
                calls
                    .of
                    .iter()
                    .for_each(|(kind, count)| of.entry(kind).or_default()[way] += count);
                of.entry(RETURNING_BYTES).or_default()[way] += calls.returned_bytes;
            }
        }
    }
    let per_request = |count| f64::from(count) / COUNTED as f64;
    let rows = of
        .into_iter()
        .map(|(kind, [request, response])| CallsPerRequest {
            kind,
            request: per_request(request),
            response: per_request(response),
        });
    Ok(rows.collect())
}

/// A request of the unmodified filter in the simulated proxy, from its headers to its log. What the
/// client gets; None: it was not forwarded.
fn live(worker: &Simulated, headers: &Pairs) -> Option<Response> {
    let upstream = Response {
        status: 200,
        headers: Vec::new(),
        body: b"ok\n".to_vec(),
    };
    let mut stream = worker.open(headers);
    let forwarded = matches!(stream.request(), RequestOutcome::Forward(_));
    let answer = forwarded.then(|| stream.response(&upstream));
    stream.close();
    answer
}

/// Requests of the unmodified filter in the simulated proxy, in a second of each worker's processor
/// time, all together.
pub(super) fn simulated_rate(routes: usize, workers: usize, rounds: Rounds) -> Result<Spread> {
    let asked: Vec<_> = (0..routes)
        .map(|route| headers(MeasuredRoute(route)))
        .collect();
    let builder = World::builder()
        .workers(workers)
        .config(configuration(routes).as_bytes());
    let race = builder.race(None, |_, worker| {
        rounds.run(&asked, |headers| {
            worker.proxy().jump(PAUSE.get() as i64);
            ensure!(live(worker, headers).is_some(), "a request did not go on");
            Ok(())
        })
    });
    let race = race.map_err(|failed| anyhow!("{failed}"))?;
    rounds.rate(race.results)
}

// Simulation.

/// What a simulation took.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct SimulationCost {
    /// How many requests came to an end.
    pub requests: usize,
    /// Processor time in seconds.
    pub seconds: f64,
}

/// Plays `million.yaml`, a thousand requests a second, for so long.
pub(super) fn play(virtual_time: Duration) -> Result<SimulationCost> {
    let mut scenario = Scenario::parse("million", include_str!("million.yaml"), Path::new(""))?;
    scenario.duration = Nanos::new(virtual_time.as_nanos() as u64);
    let before = processor::time(std::process::id())?;
    let run = simulation::run(&scenario, Chooser::Filter)?;
    Ok(SimulationCost {
        requests: run.records.len(),
        seconds: (processor::time(std::process::id())? - before).as_secs_f64(),
    })
}

// Decisions.

/// What the workers share: shared data, and gauges by name.
#[derive(Default)]
struct SharedMemory {
    data: SharedData,
    gauges: Mutex<BTreeMap<String, Arc<AtomicI64>>>,
}

/// One worker's port: as little as does what a proxy does. (`MemoryPort` is for one thread: a lock
/// around its gauges would cost the workers more than the gauges of a proxy do.)
struct SharedPort<'s> {
    shared: &'s SharedMemory,
    gauges: Vec<Arc<AtomicI64>>,
}

impl Store for SharedPort<'_> {
    fn get(&mut self, key: &[u8]) -> Result<Option<(Vec<u8>, Version)>, StoreFailed> {
        Ok(self.shared.data.get(key))
    }

    fn set(&mut self, key: &[u8], value: &[u8], expected: Expected) -> Result<(), SetFailed> {
        let cas = match expected {
            Expected::Absent => u32::MAX,
            Expected::Version(version) => version,
            Expected::Any => 0,
        };
        self.shared
            .data
            .set(key, value, cas)
            .map_err(|_| SetFailed::CasMismatch)
    }
}

impl Connection for SharedPort<'_> {
    fn source_address(&mut self) -> Option<IpAddr> {
        Some(Ipv4Addr::LOCALHOST.into())
    }
}

impl Stats for SharedPort<'_> {
    fn gauge(&mut self, name: &str) -> Option<Gauge> {
        let mut gauges = self
            .shared
            .gauges
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.gauges
            .push(Arc::clone(gauges.entry(name.to_owned()).or_default()));
        Some(Gauge(self.gauges.len() as u32 - 1))
    }

    fn add(&mut self, gauge: Gauge, by: i64) {
        self.gauges[gauge.0 as usize].fetch_add(by, Ordering::Relaxed);
    }

    fn value(&mut self, gauge: Gauge) -> Option<i64> {
        Some(self.gauges[gauge.0 as usize].load(Ordering::Relaxed))
    }
}

/// Decisions of the core alone, from the serialised header map to the end of the request, in a
/// second of each worker's processor time, all together.
pub(super) fn decision_rate(routes: usize, workers: usize, rounds: Rounds) -> Result<Spread> {
    let shared = SharedMemory::default();
    let asked: Vec<_> = (0..routes)
        .map(|route| Headers::to_wire(&headers(MeasuredRoute(route))))
        .collect();
    let configuration = configuration(routes);
    let work = |number: usize| -> Result<Vec<f64>> {
        let config =
            Config::load(configuration.as_bytes()).map_err(|problems| anyhow!("{problems}"))?;
        let number = number as u32;
        let entropy = Entropy {
            seed: [7; 16],
            rolls: number.into(),
            worker: WorkerId::new(Seconds::ZERO, number),
        };
        let mut worker = Worker::new(Rc::new(config), entropy);
        let mut port = SharedPort {
            shared: &shared,
            gauges: Vec::new(),
        };
        let mut now = START;
        rounds.run(&asked, |wire| {
            now += PAUSE;
            let headers =
                Headers::from_wire(wire.clone()).map_err(|_| anyhow!("what was just written"))?;
            let config = worker.config().clone();
            let decision = worker.decide(&config, &Request::new(&headers), &mut port, now);
            ensure!(
                decision.disposition == Disposition::Continue,
                "a request did not go on"
            );
            let mut flight = decision.flight.context("a request without a target")?;
            flight.on_response_headers(|| Some(now));
            let mut end = MemoryStreamInfo {
                status: Some(200),
                flags: Some(0),
                ..MemoryStreamInfo::default()
            };
            worker.on_request_complete(flight, &Seen::WHOLE, &mut end, &mut port, now);
            worker.take_events().for_each(drop);
            Ok(())
        })
    };
    rounds.rate(run(workers, work))
}

/// What each worker does: `count` rounds of `requests` requests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rounds {
    /// How many rounds.
    pub count: usize,
    /// How many requests each round has.
    pub requests: usize,
}

impl Rounds {
    /// Makes a request of each of `asked` in turn, over and over. Returns the processor time of
    /// each round, in seconds.
    fn run<T>(self, asked: &[T], mut request: impl FnMut(&T) -> Result<()>) -> Result<Vec<f64>> {
        let mut asked = asked.iter().cycle();
        let mut round = || {
            let before = processor::of_this_thread()?;
            asked
                .by_ref()
                .take(self.requests)
                .try_for_each(&mut request)?;
            Ok((processor::of_this_thread()? - before).as_secs_f64())
        };
        (0..self.count).map(|_| round()).collect()
    }

    /// The requests in a second of processor time, of all workers together. `workers` are the
    /// seconds that each worker's rounds took.
    fn rate(self, workers: Vec<Result<Vec<f64>>>) -> Result<Spread> {
        let workers = workers.into_iter().collect::<Result<Vec<_>>>()?;
        let rate = |round: usize| -> f64 {
            let seconds = workers.iter().filter_map(|rounds| rounds.get(round));
            seconds.map(|seconds| self.requests as f64 / seconds).sum()
        };
        Spread::of((0..self.count).map(rate)).context("no rounds")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTES: usize = 4;

    #[test]
    fn the_header_map_is_read_once_and_every_kind_of_call_is_told() {
        let configuration = routes::configuration(ROUTES, FeatureSet::Everything);
        let calls = calls(&configuration, ROUTES, Clients::New).unwrap();
        let of = |kind| calls.iter().find(|row| row.kind == kind).unwrap();
        let map = of("get_header_map");
        assert_eq!((map.request, map.response), (1.0, 0.0));
        assert!(
            of("add_header").request >= 2.0,
            "the route's own and the choice"
        );
        assert!(of(RETURNING_BYTES).request >= 1.0);
    }

    #[test]
    fn every_worker_decides_every_request() {
        let rounds = Rounds {
            count: 2,
            requests: 100,
        };
        for workers in [1, 2] {
            assert!(decision_rate(ROUTES, workers, rounds).unwrap().least > 0.0);
            assert!(simulated_rate(ROUTES, workers, rounds).unwrap().least > 0.0);
        }
    }

    #[test]
    fn the_rates_of_workers_are_added_round_by_round() {
        let rounds = Rounds {
            count: 3,
            requests: 100,
        };
        let rate = rounds
            .rate(vec![Ok(vec![1.0, 2.0, 4.0]), Ok(vec![2.0, 1.0, 4.0])])
            .unwrap();
        assert_eq!((rate.least, rate.median, rate.most), (50.0, 150.0, 150.0));
        assert!(rounds.rate(vec![Err(anyhow!("a worker failed"))]).is_err());
    }

    #[test]
    fn every_round_asks_for_what_comes_next() {
        let mut asked = Vec::new();
        let rounds = Rounds {
            count: 2,
            requests: 3,
        };
        let seconds = rounds.run(&["a", "b"], |request| {
            asked.push(*request);
            Ok(())
        });
        assert_eq!(seconds.unwrap().len(), 2);
        assert_eq!(asked.concat(), "ababab");
    }
}

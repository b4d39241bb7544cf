//! The engine: plays a scenario event by event.

mod faults;
mod probes;
mod requests;
mod router;
mod schedule;

use super::arrivals::Arrivals;
use super::record::{RequestRecord, Run, Sample, TargetSample};
use super::scenario::{Scenario, SimulatedTarget};
use super::server::{Server, Started};
use crate::exchange::Response;
use crate::world::metrics::MetricValue;
use crate::world::{Code, HttpCallOutcome, World};
use anyhow::{Result, anyhow};
use pointsman_core::siphash::mixed;
use pointsman_core::time::Nanos;
use requests::OpenRequest;
use router::Router;
use schedule::{Event, RequestId, Schedule};
use slab::Slab;
use std::time::Duration;

/// How long it takes until a connection is refused: one round trip in a data centre.
const REFUSAL: Nanos = Nanos::new(200_000);
/// How many samples a run has.
const SAMPLES: u64 = 240;
/// proxy-wasm's number of the log level of warnings.
const WARNING: u32 = 3;

/// Who chooses the targets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Chooser {
    /// The filter.
    #[default]
    Filter,
    /// An oracle that knows each target's queue and how long each request will take. It sends a
    /// request to the target that will answer it first. The filter is not asked.
    Oracle,
}

/// Plays a scenario. An error says why the filter does not start.
pub fn run(scenario: &Scenario, chooser: Chooser) -> Result<Run> {
    run_code(scenario, chooser, Code::default())
}

/// Plays a scenario with this code of the filter's. An error says why it does not start.
pub fn run_code(scenario: &Scenario, chooser: Chooser, code: Code) -> Result<Run> {
    let mut engine = Engine::new(scenario, chooser, code)?;
    engine.play();
    Ok(engine.into_run())
}

/// The one who waits for the end of a target's job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// A request.
    Request(RequestId),
    /// The filter, by the token of its HTTP call.
    Probe(u32),
}

struct Engine<'s> {
    scenario: &'s Scenario,
    chooser: Chooser,
    world: World,
    /// Virtual time since the beginning of the run.
    now: Nanos,
    schedule: Schedule,
    /// One for each kind of traffic.
    arrivals: Vec<Arrivals>,
    requests: Slab<OpenRequest>,
    /// How many requests have arrived.
    arrived: u64,
    /// One for each target, as are the following four.
    servers: Vec<Server<Owner>>,
    /// The address (`ip:port`) of each target.
    addresses: Vec<String>,
    /// The share of each target's probes that is lost, from 0 to 1.
    probe_loss: Vec<f64>,
    /// The state of each target since the last sample.
    states: Vec<TargetSample>,
    router: Router<'s>,
    random: fastrand::Rng,
    /// The token of the last HTTP call that was routed.
    last_call: u32,
    records: Vec<RequestRecord>,
    samples: Vec<Sample>,
    /// Why the filter refused configurations.
    refused: Vec<String>,
}

impl<'s> Engine<'s> {
    fn new(scenario: &'s Scenario, chooser: Chooser, code: Code) -> Result<Engine<'s>> {
        let world = World::builder()
            .workers(scenario.workers)
            .seed(scenario.seed)
            .failure_policy(scenario.proxy.failure_policy)
            .config(scenario.config.to_string().as_bytes())
            .environment(scenario.environment.clone())
            .code(code)
            .start()
            .map_err(|error| anyhow!(error))?;
        let arrivals =
            |(place, traffic)| Arrivals::new(traffic, mixed(scenario.seed ^ place as u64));
        let targets = scenario.targets.len();
        let mut engine = Engine {
            scenario,
            chooser,
            world,
            now: Nanos::ZERO,
            schedule: Schedule::default(),
            arrivals: scenario.traffic.iter().enumerate().map(arrivals).collect(),
            requests: Slab::new(),
            arrived: 0,
            servers: scenario
                .targets
                .iter()
                .map(|target| Server::new(target.model))
                .collect(),
            addresses: scenario.targets.iter().enumerate().map(address).collect(),
            probe_loss: vec![0.0; targets],
            states: vec![TargetSample::default(); targets],
            router: Router::new(scenario),
            random: fastrand::Rng::with_seed(scenario.seed),
            last_call: 0,
            records: Vec::new(),
            samples: Vec::new(),
            refused: Vec::new(),
        };
        for (number, fault) in scenario.faults.iter().enumerate() {
            engine.schedule.at(fault.at, Event::FaultBegins(number));
            if let Some(until) = fault.until {
                engine.schedule.at(until, Event::FaultEnds(number));
            }
        }
        engine.schedule.at(Nanos::ZERO, Event::Sample);
        (0..scenario.traffic.len()).for_each(|place| engine.schedule_arrival(place));
        Ok(engine)
    }

    /// Schedules an event so long from now.
    fn after(&mut self, time: Nanos, event: Event) {
        self.schedule.at(self.now + time, event);
    }

    /// Lets the world's events (ticks, time-outs of probes) and the engine's own happen in the
    /// order of their times; of one time, the world's first.
    fn play(&mut self) {
        let end = self.scenario.duration;
        loop {
            let requests = &self.requests;
            let next = self.schedule.next(|id| is_open(requests, id)).min(end);
            if let Some(due) = self.world.next_due().filter(|due| *due <= next) {
                self.advance_to(due);
                self.route_calls();
                continue;
            }
            self.advance_to(next);
            match self.schedule.pop(end) {
                Some(event) => self.handle(event),
                None => break,
            }
        }
    }

    fn advance_to(&mut self, at: Nanos) {
        let by = at - self.now;
        self.world.advance(Duration::from_nanos(by.get()));
        self.now = at;
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Arrival(place) => {
                self.schedule_arrival(place);
                self.arrive(place);
            }
            Event::Done(target, ticket) => self.done(target, ticket),
            Event::Try(id) => self.try_target(id),
            Event::ConnectFailed(id) => self.connect_failed(id),
            Event::TimedOut(id) => self.timed_out(id),
            Event::ClientGivesUp(id) => self.client_gives_up(id),
            Event::ProbeFailed(token) => {
                self.world
                    .end_http_call(token, &HttpCallOutcome::Unreachable);
            }
            Event::FaultBegins(number) => self.begin_fault(&self.scenario.faults[number]),
            Event::FaultEnds(number) => self.end_fault(&self.scenario.faults[number]),
            Event::Sample => {
                self.sample();
                let interval = (self.scenario.duration / SAMPLES).max(Nanos::new(1));
                self.after(interval, Event::Sample);
            }
        }
    }

    /// A job has got a slot: schedules its end.
    fn started(&mut self, target: usize, started: Started) {
        self.after(started.after, Event::Done(target, started.ticket));
    }

    fn sample(&mut self) {
        let counted = self.counted_in_flight();
        let states = self.states.iter_mut().zip(counted);
        let targets = states.map(|(state, counted)| {
            let sample = TargetSample { counted, ..*state };
            (state.tries, state.failed) = (0, 0);
            sample
        });
        self.samples.push(Sample {
            at: self.now,
            targets: targets.collect(),
        });
    }

    /// The filter's own counts of requests in flight, over all pools that have a target.
    fn counted_in_flight(&self) -> Vec<u32> {
        let proxy = self.world.proxy();
        // The gauge of a target is defined with its first request.
        let count = |prefix: &String| {
            let gauge = proxy.counter(&format!("{prefix}.in_flight"));
            gauge.unwrap_or(0) as u32
        };
        let targets = self.scenario.targets.iter();
        targets
            .map(|target| target.metric_prefixes.iter().map(count).sum())
            .collect()
    }

    fn into_run(self) -> Run {
        let proxy = self.world.proxy();
        let numbers = |(name, value): (&str, &MetricValue)| match value {
            MetricValue::Number(number) => Some((name.to_owned(), *number)),
            MetricValue::Samples(_) => None,
        };
        let metrics = proxy.metrics().all().filter_map(numbers).collect();
        let log = proxy
            .take_log()
            .into_iter()
            .filter(|line| line.level >= WARNING);
        Run {
            metrics,
            log: self
                .refused
                .into_iter()
                .chain(log.map(|line| line.message))
                .collect(),
            open: self.requests.len(),
            records: self.records,
            samples: self.samples,
        }
    }
}

/// Whether a request has not ended yet.
fn is_open(requests: &Slab<OpenRequest>, id: RequestId) -> bool {
    let request = requests.get(id.slot);
    request.is_some_and(|request| request.number == id.number)
}

/// An endpoint's own address; for the backend of a cluster, one for benchmarks (RFC 2544).
fn address((place, target): (usize, &SimulatedTarget)) -> String {
    let [high, low] = (place as u16).to_be_bytes();
    match target.is_endpoint {
        true => target.name.clone(),
        false => format!("198.18.{high}.{low}:80"),
    }
}

/// The answer of a target: a status and nothing else, because the simulation looks at nothing else.
fn answer(status: u16) -> Response {
    Response::bare(status)
}

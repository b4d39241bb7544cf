//! Traffic over virtual time through the real filter: many requests open at a time over the workers
//! of a [`World`], targets that take their time, queue, fail and come back, VMs that trap, clocks
//! that jump.
//!
//! A run is a function of its scenario: the order of events is that of their times, and of those
//! with one time that in which they were made. Every request has randomness of its own, so the same
//! request takes the same time whoever chose its target, and two runs with different rules differ
//! by the rules alone.
//!
//! The proxy around the filter is the one of `envoy-config/`: a request whose connection fails is
//! tried again, in a pool of endpoints at the next one of the filter's list, in a pool of clusters
//! at the same; a request that was sent is not.

pub mod backend;
pub mod measure;
pub mod record;
pub mod report;
pub mod scenario;
pub mod service;
pub mod summary;
pub mod traffic;

use crate::exchange::{Pairs, Response};
use crate::world::metrics::MetricValue;
use crate::world::stream::{RequestOutcome, Stream, UpstreamFailure};
use crate::world::{HttpCallOutcome, World};
use anyhow::{Result, anyhow};
use backend::{Arrived, Begun, Job, Reach, Server, Ticket};
use measure::Verdict;
use pointsman_core::siphash::mixed;
use record::{LEFT, Record, Sample, TargetSample};
use scenario::{FaultKind, Scenario, ScheduledFault, Target};
use slab::Slab;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::time::Duration;
use traffic::Flow;

/// How long it takes until a connection is refused, in nanoseconds: a way there and back in a data
/// centre.
const REFUSAL: u64 = 200_000;
/// The longest pause before a retry, in nanoseconds (`retry_back_off` of `envoy-config/`).
const BACK_OFF: u64 = 1_000_000;
/// How many samples a run has.
const SAMPLES: u64 = 240;

/// A run that is over.
#[derive(Debug)]
pub struct Run {
    /// Of every request that came to an end, in the order of their ends.
    pub records: Vec<Record>,
    /// In order of time.
    pub samples: Vec<Sample>,
    /// What the filter counts, at the end: every metric with a number.
    pub metrics: BTreeMap<String, u64>,
    /// The filter's log: warnings and worse.
    pub log: Vec<String>,
    /// How many requests were still open.
    pub open: usize,
}

/// Who chooses the targets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Chooser {
    /// The filter.
    #[default]
    Filter,
    /// Somebody who sees everything at all times: each target's queue, and how long each request
    /// will take. It sends a request to where it will be answered first. The filter is not asked.
    Oracle,
}

/// Plays a scenario.
pub fn run(scenario: &Scenario, chooser: Chooser) -> Result<Run> {
    let mut engine = Engine::new(scenario, chooser)?;
    engine.play();
    Ok(engine.into_run())
}

/// Holds a run against what its scenario expects.
pub fn judge(scenario: &Scenario, run: &Run) -> Vec<Verdict> {
    scenario
        .expect
        .iter()
        .map(|expectation| expectation.judge(run))
        .collect()
}

/// Who waits for a target's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// A request.
    Request(Id),
    /// The filter: this HTTP call of its own.
    Probe(u32),
}

/// Names a request, also after its end, when its place may have another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Id {
    place: usize,
    number: u64,
}

/// Something that will happen.
#[derive(Debug)]
enum Event {
    /// A request of this kind of traffic comes.
    Arrival(usize),
    /// A target has done its work.
    Done(usize, Ticket),
    /// A request goes to the next of its targets.
    Try(Id),
    /// No connection came about.
    NoConnection(Id),
    /// The client waits no longer.
    Leave(Id),
    /// A probe finds nobody.
    Unreachable(u32),
    /// A fault begins.
    ScheduledFault(usize),
    /// A fault is over.
    Over(usize),
    /// A look at everything.
    Sample,
}

/// An event with its time; the least is the greatest, for a heap. `number`: those of one time keep
/// their order.
struct Due {
    at: u64,
    number: u64,
    event: Event,
}

impl Ord for Due {
    fn cmp(&self, other: &Due) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Due) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Due) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Due {}

/// A request under way.
struct Request {
    number: u64,
    start: u64,
    traffic: usize,
    /// None: the oracle chose.
    stream: Option<Stream>,
    /// Where it goes, in order; at least one.
    tries: Vec<u16>,
    tried: usize,
    random: fastrand::Rng,
}

impl Request {
    /// The target of the present try.
    fn target(&self) -> usize {
        usize::from(self.tries[self.tried])
    }
}

/// How a request ends that has a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// With the target's answer.
    Status(u16),
    /// No try found anybody.
    NoConnection,
    /// The connection broke while the target worked.
    Lost,
    /// The proxy waits no longer.
    TimedOut,
}

impl End {
    /// What the client gets.
    fn status(self) -> u16 {
        match self {
            End::Status(status) => status,
            End::NoConnection | End::Lost => 503,
            End::TimedOut => 504,
        }
    }
}

/// What a cluster of the proxy is.
enum Cluster {
    /// A target.
    Target(u16),
    /// Endpoints, by address.
    Endpoints(BTreeMap<String, u16>),
}

struct Engine<'s> {
    scenario: &'s Scenario,
    chooser: Chooser,
    world: World,
    now: u64,
    due: BinaryHeap<Due>,
    /// The time-outs of requests, in their order: most never come true, and all wait equally long.
    time_outs: VecDeque<(u64, Id)>,
    events: u64,
    flows: Vec<Flow>,
    requests: Slab<Request>,
    /// How many requests there ever were.
    number: u64,
    targets: Vec<Server<Owner>>,
    /// Where each of them is.
    addresses: Vec<String>,
    /// Which part of a target's probes is lost.
    probe_loss: Vec<f64>,
    clusters: BTreeMap<Vec<u8>, Cluster>,
    random: fastrand::Rng,
    /// The last HTTP call that was seen.
    seen_calls: u32,
    records: Vec<Record>,
    samples: Vec<Sample>,
    /// Of each target, since the last sample.
    seen: Vec<TargetSample>,
    /// What was said of configurations that the filter refused.
    refused: Vec<String>,
}

impl<'s> Engine<'s> {
    fn new(scenario: &'s Scenario, chooser: Chooser) -> Result<Engine<'s>> {
        let world = World::builder()
            .workers(scenario.workers)
            .seed(scenario.seed)
            .failure_policy(scenario.proxy.failure_policy)
            .config(scenario.config.to_string().as_bytes())
            .start()
            .map_err(|error| anyhow!(error))?;
        let flow = |(place, traffic)| Flow::new(traffic, mixed(scenario.seed ^ place as u64));
        let mut engine = Engine {
            scenario,
            chooser,
            world,
            now: 0,
            due: BinaryHeap::new(),
            time_outs: VecDeque::new(),
            events: 0,
            flows: scenario.traffic.iter().enumerate().map(flow).collect(),
            requests: Slab::new(),
            number: 0,
            targets: scenario
                .targets
                .iter()
                .map(|target| Server::new(target.model))
                .collect(),
            addresses: scenario.targets.iter().enumerate().map(address).collect(),
            probe_loss: vec![0.0; scenario.targets.len()],
            clusters: clusters(scenario),
            random: fastrand::Rng::with_seed(scenario.seed),
            seen_calls: 0,
            records: Vec::new(),
            samples: Vec::new(),
            seen: vec![TargetSample::default(); scenario.targets.len()],
            refused: Vec::new(),
        };
        for (number, fault) in scenario.faults.iter().enumerate() {
            engine.at(fault.at, Event::ScheduledFault(number));
            if let Some(until) = fault.until {
                engine.at(until, Event::Over(number));
            }
        }
        engine.at(0, Event::Sample);
        (0..scenario.traffic.len()).for_each(|place| engine.expect_arrival(place));
        Ok(engine)
    }

    fn at(&mut self, at: u64, event: Event) {
        self.events += 1;
        self.due.push(Due {
            at,
            number: self.events,
            event,
        });
    }

    fn after(&mut self, nanoseconds: u64, event: Event) {
        self.at(self.now.saturating_add(nanoseconds), event);
    }

    /// What falls due in the world (ticks, time-outs of probes) and what falls due here, in the
    /// order of their times.
    fn play(&mut self) {
        let end = self.scenario.duration;
        loop {
            while let Some((_, id)) = self.time_outs.front()
                && !self.is_open(*id)
            {
                self.time_outs.pop_front();
            }
            let time_out = self.time_outs.front().map_or(u64::MAX, |(at, _)| *at);
            let due = self.due.peek().map_or(u64::MAX, |due| due.at);
            let here = due.min(time_out).min(end);
            if let Some(there) = self.world.next_due().filter(|there| *there <= here) {
                self.pass_until(there);
                self.answer_calls();
                continue;
            }
            self.pass_until(here);
            if time_out < due && time_out <= end {
                if let Some((_, id)) = self.time_outs.pop_front() {
                    self.answer(id, End::TimedOut);
                }
                continue;
            }
            match self.due.pop() {
                Some(due) if due.at <= end => self.happen(due.event),
                _ => break,
            }
        }
    }

    fn pass_until(&mut self, at: u64) {
        self.world.advance(Duration::from_nanos(at - self.now));
        self.now = at;
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrival(place) => {
                self.expect_arrival(place);
                self.arrive(place);
            }
            Event::Done(target, ticket) => self.done(target, ticket),
            Event::Try(id) => self.attempt(id),
            Event::NoConnection(id) => self.no_connection(id),
            Event::Leave(id) => self.leave(id),
            Event::Unreachable(token) => {
                self.world
                    .end_http_call(token, &HttpCallOutcome::Unreachable);
            }
            Event::ScheduledFault(number) => self.fault(&self.scenario.faults[number]),
            Event::Over(number) => self.over(&self.scenario.faults[number]),
            Event::Sample => {
                self.sample();
                self.after((self.scenario.duration / SAMPLES).max(1), Event::Sample);
            }
        }
    }

    // The way of a request.

    fn expect_arrival(&mut self, place: usize) {
        if let Some(at) = self.flows[place].next(&self.scenario.traffic[place], self.now) {
            self.at(at, Event::Arrival(place));
        }
    }

    fn arrive(&mut self, place: usize) {
        self.number += 1;
        let traffic = &self.scenario.traffic[place];
        let client = self.flows[place].client(place, traffic);
        let random =
            fastrand::Rng::with_seed(mixed(self.scenario.seed.wrapping_add(mixed(self.number))));
        let mut request = Request {
            number: self.number,
            start: self.now,
            traffic: place,
            stream: None,
            tries: Vec::new(),
            tried: 0,
            random,
        };
        request.tries = match self.chooser {
            Chooser::Oracle => vec![self.foresee(&request)],
            Chooser::Filter => {
                // A client keeps its connection, and a connection stays on its worker.
                let worker = client.number as usize % self.scenario.workers;
                let personal = self.flows[place].headers(traffic, client);
                let headers = personal.as_ref().unwrap_or(&traffic.headers);
                let mut stream = self.world.workers()[worker].open_from(headers, client.address);
                let tries = match stream.request() {
                    RequestOutcome::Forward(headers) => {
                        route(self.scenario, &self.clusters, &headers, &mut self.random)
                    }
                    RequestOutcome::Reply(response) => {
                        stream.close();
                        return self.record(&request, response.status, true);
                    }
                    // Nothing will ever become of it, and nobody is told.
                    RequestOutcome::Wait => Vec::new(),
                };
                if tries.is_empty() {
                    let response = stream.fails(UpstreamFailure::NoCluster);
                    stream.close();
                    return self.record(&request, response.status, false);
                }
                request.stream = Some(stream);
                tries
            }
        };
        self.seen[usize::from(request.tries[0])].in_flight += 1;
        let number = request.number;
        let id = Id {
            place: self.requests.insert(request),
            number,
        };
        if let Some(patience) = traffic.patience {
            self.after(patience, Event::Leave(id));
        }
        let time_out = self.now.saturating_add(self.scenario.proxy.timeout);
        self.time_outs.push_back((time_out, id));
        self.attempt(id);
    }

    /// The target that will answer the request first.
    fn foresee(&self, request: &Request) -> u16 {
        let answered = |target: &Server<Owner>| {
            let job = Job {
                owner: (),
                service: target.model.service.draw(&mut request.random.clone()),
            };
            let begun = target.foreseen(self.now);
            begun + (job.service as f64 * target.slow) as u64
        };
        let reachable = self
            .targets
            .iter()
            .enumerate()
            .filter(|(_, target)| target.reach == Reach::Up);
        let best = reachable.min_by_key(|(_, target)| (answered(target), target.load()));
        best.map_or(0, |(place, _)| place as u16)
    }

    fn is_open(&self, id: Id) -> bool {
        self.requests
            .get(id.place)
            .is_some_and(|request| request.number == id.number)
    }

    fn request(&mut self, id: Id) -> Option<&mut Request> {
        let request = self.requests.get_mut(id.place)?;
        (request.number == id.number).then_some(request)
    }

    /// Sends a request to the target of its present try.
    fn attempt(&mut self, id: Id) {
        let Some(request) = self
            .requests
            .get(id.place)
            .filter(|request| request.number == id.number)
        else {
            return;
        };
        let target = request.target();
        if let Some(stream) = &request.stream {
            stream.tries(&self.addresses[target]);
        }
        let mut random = request.random.clone();
        self.seen[target].asked += 1;
        match self.targets[target].reach {
            Reach::Refused => self.after(REFUSAL, Event::NoConnection(id)),
            Reach::Silent => {
                self.after(self.scenario.proxy.connect_timeout, Event::NoConnection(id))
            }
            Reach::Up => {
                let service = self.targets[target].model.service.draw(&mut random);
                match self.targets[target].arrive(
                    Job {
                        owner: Owner::Request(id),
                        service,
                    },
                    self.now,
                ) {
                    Arrived::Begun(begun) => self.begun(target, begun),
                    Arrived::Waits => {}
                    Arrived::Overflow => self.answer(id, End::Status(503)),
                }
            }
        }
    }

    fn begun(&mut self, target: usize, begun: Begun) {
        self.after(begun.after, Event::Done(target, begun.ticket));
    }

    fn no_connection(&mut self, id: Id) {
        let pause = self.random.u64(..BACK_OFF);
        let Some(request) = self.request(id) else {
            return;
        };
        if request.tried + 1 < request.tries.len() {
            let failed = request.target();
            request.tried += 1;
            self.seen[failed].failed += 1;
            self.after(pause, Event::Try(id));
        } else {
            self.answer(id, End::NoConnection);
        }
    }

    fn done(&mut self, target: usize, ticket: Ticket) {
        let Some((owner, next)) = self.targets[target].end(ticket, self.now) else {
            return;
        };
        if let Some(begun) = next {
            self.begun(target, begun);
        }
        let status = match self.targets[target].fails {
            Some((status, share)) if self.random.f64() < share => status,
            _ => 200,
        };
        match owner {
            Owner::Request(id) => self.answer(id, End::Status(status)),
            Owner::Probe(token) => {
                self.world
                    .end_http_call(token, &HttpCallOutcome::Answer(bare(status)));
            }
        }
    }

    fn take(&mut self, id: Id) -> Option<Request> {
        self.request(id)?;
        let request = self.requests.remove(id.place);
        self.seen[usize::from(request.tries[0])].in_flight -= 1;
        Some(request)
    }

    /// A request comes to its end.
    fn answer(&mut self, id: Id, end: End) {
        let Some(mut request) = self.take(id) else {
            return;
        };
        if end.status() >= 500 {
            self.seen[request.target()].failed += 1;
        }
        let status = match request.stream.take() {
            Some(mut stream) => {
                let response = match end {
                    End::Status(status) => stream.response(&bare(status)),
                    End::NoConnection => stream.fails(UpstreamFailure::Unreachable),
                    End::Lost => stream.fails(UpstreamFailure::Closed),
                    End::TimedOut => stream.fails(UpstreamFailure::TimedOut),
                };
                stream.close();
                response.status
            }
            None => end.status(),
        };
        self.record(&request, status, false);
    }

    fn leave(&mut self, id: Id) {
        let Some(mut request) = self.take(id) else {
            return;
        };
        if let Some(stream) = request.stream.take() {
            stream.leaves();
        }
        self.record(&request, LEFT, false);
    }

    fn record(&mut self, request: &Request, status: u16, own: bool) {
        self.records.push(Record {
            start: request.start,
            latency: self.now - request.start,
            traffic: request.traffic as u16,
            target: request.tries.get(request.tried).copied(),
            status,
            retries: request.tried as u8,
            own,
        });
    }

    // The filter's own calls.

    /// Sends what HTTP calls the filter has made since this was last asked.
    fn answer_calls(&mut self) {
        let seen = self.seen_calls;
        let calls = self.world.http_calls();
        for call in calls.iter().filter(|call| call.token > seen) {
            self.seen_calls = self.seen_calls.max(call.token);
            let Some(target) = self.route_call(call) else {
                continue;
            };
            self.probe(call.token, usize::from(target));
        }
    }

    fn route_call(&mut self, call: &crate::world::HttpCall) -> Option<u16> {
        let endpoint = call
            .headers
            .iter()
            .find(|(name, _)| *name == *self.scenario.loaded.upstream.endpoint_header);
        match self.clusters.get(call.cluster.as_bytes())? {
            Cluster::Target(target) => Some(*target),
            Cluster::Endpoints(endpoints) => {
                let address = endpoint.and_then(|(_, value)| std::str::from_utf8(value).ok());
                address
                    .and_then(|address| endpoints.get(address))
                    .or(endpoints.values().next())
                    .copied()
            }
        }
    }

    fn probe(&mut self, token: u32, target: usize) {
        if self.random.f64() < self.probe_loss[target] {
            return;
        }
        match self.targets[target].reach {
            Reach::Refused => self.after(REFUSAL, Event::Unreachable(token)),
            Reach::Silent => self.after(
                self.scenario.proxy.connect_timeout,
                Event::Unreachable(token),
            ),
            Reach::Up => {
                let service = self.targets[target].model.probe.draw(&mut self.random);
                let job = Job {
                    owner: Owner::Probe(token),
                    service,
                };
                match self.targets[target].arrive(job, self.now) {
                    Arrived::Begun(begun) => self.begun(target, begun),
                    Arrived::Waits => {}
                    Arrived::Overflow => {
                        self.world
                            .end_http_call(token, &HttpCallOutcome::Answer(bare(503)));
                    }
                }
            }
        }
    }

    // Faults.

    fn fault(&mut self, fault: &ScheduledFault) {
        match fault.what {
            FaultKind::Refused(target) => {
                self.targets[target].reach = Reach::Refused;
                for owner in self.targets[target].reset() {
                    self.lost(owner);
                }
            }
            FaultKind::Silent(target) => {
                self.targets[target].reach = Reach::Silent;
                self.targets[target].hang();
            }
            FaultKind::Hang(target) => self.targets[target].hang(),
            FaultKind::Slow(target, times) => self.targets[target].slow = times,
            FaultKind::Fail(target, status, share) => {
                self.targets[target].fails = Some((status, share))
            }
            FaultKind::LoseProbes(target, share) => self.probe_loss[target] = share,
            FaultKind::Trap(worker) => self.world.kill(worker),
            FaultKind::Jump(nanoseconds) => self.world.proxy().jump(nanoseconds),
            FaultKind::Reload(ref configuration) => {
                if let Err(failed) = self.world.reload(configuration) {
                    self.refused.push(failed.to_string());
                }
            }
        }
    }

    fn over(&mut self, fault: &ScheduledFault) {
        match fault.what {
            FaultKind::Refused(target) => self.targets[target].reach = Reach::Up,
            FaultKind::Silent(target) | FaultKind::Hang(target) => {
                self.targets[target].reach = Reach::Up;
                for begun in self.targets[target].go_on(self.now) {
                    self.begun(target, begun);
                }
            }
            FaultKind::Slow(target, _) => self.targets[target].slow = 1.0,
            FaultKind::Fail(target, ..) => self.targets[target].fails = None,
            FaultKind::LoseProbes(target, _) => self.probe_loss[target] = 0.0,
            FaultKind::Trap(_) | FaultKind::Jump(_) | FaultKind::Reload(_) => {}
        }
    }

    /// Somebody's work is lost with its connection. It was sent, so it is not tried again.
    fn lost(&mut self, owner: Owner) {
        match owner {
            Owner::Request(id) => self.answer(id, End::Lost),
            Owner::Probe(token) => {
                self.world
                    .end_http_call(token, &HttpCallOutcome::Unreachable);
            }
        }
    }

    // What is seen.

    fn sample(&mut self) {
        let counted = self.counted();
        let seen = self.seen.iter_mut().zip(counted);
        let targets = seen.map(|(seen, counted)| {
            let sample = TargetSample { counted, ..*seen };
            (seen.asked, seen.failed) = (0, 0);
            sample
        });
        self.samples.push(Sample {
            at: self.now,
            targets: targets.collect(),
        });
    }

    /// The filter's own counts of requests in flight, over all pools that have a target.
    fn counted(&self) -> Vec<u32> {
        let proxy = self.world.proxy();
        // The gauge of a target is defined with its first request.
        let count =
            |place: &String| proxy.counter(&format!("{place}.in_flight")).unwrap_or(0) as u32;
        let targets = self.scenario.targets.iter();
        targets
            .map(|target| target.places.iter().map(count).sum())
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

/// The targets of a request's tries, as the proxy's router finds them: `cluster_header`,
/// `override_host`, and for what the list does not cover any endpoint of the cluster. Empty: there
/// is no such cluster.
fn route(
    scenario: &Scenario,
    clusters: &BTreeMap<Vec<u8>, Cluster>,
    headers: &Pairs,
    random: &mut fastrand::Rng,
) -> Vec<u16> {
    let upstream = &scenario.loaded.upstream;
    let first = |name: &[u8]| {
        headers
            .iter()
            .find(|(other, _)| other == name)
            .map(|(_, value)| &value[..])
    };
    let tries = scenario.proxy.retries + 1;
    match first(&upstream.cluster_header).and_then(|name| clusters.get(name)) {
        None => Vec::new(),
        Some(Cluster::Target(target)) => vec![*target; tries],
        Some(Cluster::Endpoints(endpoints)) => {
            let list = first(&upstream.endpoint_header).unwrap_or_default();
            let list = std::str::from_utf8(list).unwrap_or_default();
            let listed = list
                .split(',')
                .filter_map(|address| endpoints.get(address).copied());
            let mut targets: Vec<u16> = listed.take(tries).collect();
            let any = || random.choice(endpoints.values()).copied();
            targets.extend(std::iter::from_fn(any).take(tries - targets.len()));
            targets
        }
    }
}

/// proxy-wasm's number of the level of warnings.
const WARNING: u32 = 3;

/// An endpoint's own address; of the backend of a cluster, one for benchmarks (RFC 2544).
fn address((place, target): (usize, &Target)) -> String {
    let [high, low] = (place as u16).to_be_bytes();
    match target.is_endpoint {
        true => target.name.clone(),
        false => format!("198.18.{high}.{low}:80"),
    }
}

/// What the clusters of all configurations are.
fn clusters(scenario: &Scenario) -> BTreeMap<Vec<u8>, Cluster> {
    let mut clusters = BTreeMap::new();
    for (place, target) in scenario.targets.iter().enumerate() {
        let place = place as u16;
        for cluster in &target.clusters {
            let cluster = cluster.clone().into_bytes();
            if !target.is_endpoint {
                clusters.insert(cluster, Cluster::Target(place));
            } else if let Cluster::Endpoints(endpoints) = clusters
                .entry(cluster)
                .or_insert_with(|| Cluster::Endpoints(BTreeMap::new()))
            {
                endpoints.insert(target.name.clone(), place);
            }
        }
    }
    clusters
}

/// A status and nothing else.
fn bare(status: u16) -> Response {
    Response {
        status,
        headers: Pairs::new(),
        body: Vec::new(),
    }
}

#[cfg(test)]
mod tests;

//! A request's life: it arrives, the filter chooses its targets, it tries them, and it ends.

use super::schedule::{Event, RequestId};
use super::{Chooser, Engine, Owner, REFUSAL, answer};
use crate::simulation::record::{ABANDONED, RequestRecord};
use crate::simulation::server::{Admission, Job, Reachability, Server, Ticket};
use crate::world::HttpCallOutcome;
use crate::world::stream::{RequestOutcome, Stream, UpstreamFailure};
use pointsman_core::siphash::mixed;
use pointsman_core::time::Nanos;

/// The longest pause before a retry (`retry_back_off` of `envoy-config/`).
const RETRY_BACK_OFF: Nanos = Nanos::MILLISECOND;

/// A request that has not ended.
pub(super) struct OpenRequest {
    /// The request's number in the order of arrivals.
    pub number: u64,
    start: Nanos,
    /// The kind of traffic, a position in the scenario.
    traffic: usize,
    /// None: the oracle chose the target.
    stream: Option<Stream>,
    /// The targets to try, in order; at least one.
    tries: Vec<u16>,
    /// How many of them failed.
    failed_tries: usize,
    random: fastrand::Rng,
}

impl OpenRequest {
    /// The target of the present try.
    fn target(&self) -> usize {
        usize::from(self.tries[self.failed_tries])
    }
}

/// How a request ends that has a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The target answers with this status.
    Status(u16),
    /// No try got a connection.
    ConnectFailed,
    /// The connection broke while the target worked on it.
    ConnectionLost,
    /// The proxy waits no longer.
    TimedOut,
}

impl End {
    /// The status that the client gets.
    fn status(self) -> u16 {
        match self {
            End::Status(status) => status,
            End::ConnectFailed | End::ConnectionLost => 503,
            End::TimedOut => 504,
        }
    }
}

impl Engine<'_> {
    /// Schedules the next arrival of this kind of traffic, if there is one.
    pub(super) fn schedule_arrival(&mut self, place: usize) {
        if let Some(at) = self.arrivals[place].next(&self.scenario.traffic[place], self.now) {
            self.schedule.at(at, Event::Arrival(place));
        }
    }

    /// A request of this kind of traffic arrives.
    pub(super) fn arrive(&mut self, place: usize) {
        self.arrived += 1;
        let traffic = &self.scenario.traffic[place];
        let client = self.arrivals[place].client(place, traffic);
        let random =
            fastrand::Rng::with_seed(mixed(self.scenario.seed.wrapping_add(mixed(self.arrived))));
        let mut request = OpenRequest {
            number: self.arrived,
            start: self.now,
            traffic: place,
            stream: None,
            tries: Vec::new(),
            failed_tries: 0,
            random,
        };
        let mut timeout = Some(self.scenario.proxy.timeout);
        request.tries = match self.chooser {
            Chooser::Oracle => vec![self.fastest_target(&request)],
            Chooser::Filter => {
                // A client keeps its connection, and a connection stays on its worker.
                let worker = client.number as usize % self.scenario.workers;
                let own_headers = self.arrivals[place].headers(traffic, client);
                let headers = own_headers.as_ref().unwrap_or(&traffic.headers);
                let mut stream = self.world.workers()[worker].open_from(headers, client.address);
                let tries = match stream.request() {
                    RequestOutcome::Forward(headers) => {
                        timeout = self.router.timeout(&headers);
                        self.router.tries(&headers, &mut self.random)
                    }
                    RequestOutcome::Reply(response) => {
                        stream.close();
                        return self.record(&request, response.status, true);
                    }
                    // A request that is paused for good ends as one without a cluster does.
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
        self.states[usize::from(request.tries[0])].in_flight += 1;
        let number = request.number;
        let id = RequestId {
            slot: self.requests.insert(request),
            number,
        };
        if let Some(patience) = traffic.patience {
            self.after(patience, Event::ClientGivesUp(id));
        }
        if let Some(timeout) = timeout {
            self.schedule.time_out_at(self.now + timeout, id);
        }
        self.try_target(id);
    }

    /// The target that will answer the request first.
    fn fastest_target(&self, request: &OpenRequest) -> u16 {
        let answered = |target: &Server<Owner>| {
            let job = Job {
                owner: (),
                service: target.model.service.draw(&mut request.random.clone()),
            };
            let start = target.earliest_start(self.now);
            start + target.takes(&job)
        };
        let reachable = self
            .servers
            .iter()
            .enumerate()
            .filter(|(_, target)| target.reachability == Reachability::Up);
        let best = reachable.min_by_key(|(_, target)| (answered(target), target.load()));
        best.map_or(0, |(place, _)| place as u16)
    }

    fn open_request(&mut self, id: RequestId) -> Option<&mut OpenRequest> {
        let request = self.requests.get_mut(id.slot)?;
        (request.number == id.number).then_some(request)
    }

    /// Sends a request to the target of its present try.
    pub(super) fn try_target(&mut self, id: RequestId) {
        let Some(request) = self
            .requests
            .get(id.slot)
            .filter(|request| request.number == id.number)
        else {
            return;
        };
        let target = request.target();
        if let Some(stream) = &request.stream {
            stream.tries(&self.addresses[target]);
        }
        let mut random = request.random.clone();
        self.states[target].tries += 1;
        match self.servers[target].reachability {
            Reachability::Refused => self.after(REFUSAL, Event::ConnectFailed(id)),
            Reachability::Silent => self.after(
                self.scenario.proxy.connect_timeout,
                Event::ConnectFailed(id),
            ),
            Reachability::Up => {
                let service = self.servers[target].model.service.draw(&mut random);
                let job = Job {
                    owner: Owner::Request(id),
                    service,
                };
                match self.servers[target].arrive(job, self.now) {
                    Admission::Started(started) => self.started(target, started),
                    Admission::Queued => {}
                    Admission::Overflow => self.end_request(id, End::Status(503)),
                }
            }
        }
    }

    /// The connection of a request's present try failed: the next target is tried, if there is one.
    pub(super) fn connect_failed(&mut self, id: RequestId) {
        let pause = Nanos::new(self.random.u64(..RETRY_BACK_OFF.get()));
        let Some(request) = self.open_request(id) else {
            return;
        };
        if request.failed_tries + 1 < request.tries.len() {
            let failed = request.target();
            request.failed_tries += 1;
            self.states[failed].failed += 1;
            self.after(pause, Event::Try(id));
        } else {
            self.end_request(id, End::ConnectFailed);
        }
    }

    /// A target has done a job, a request's or a probe's.
    pub(super) fn done(&mut self, target: usize, ticket: Ticket) {
        let Some((owner, next)) = self.servers[target].end(ticket, self.now) else {
            return;
        };
        if let Some(started) = next {
            self.started(target, started);
        }
        let status = match self.servers[target].fails {
            Some((status, share)) if self.random.f64() < share => status,
            _ => 200,
        };
        match owner {
            Owner::Request(id) => self.end_request(id, End::Status(status)),
            Owner::Probe(token) => {
                let outcome = HttpCallOutcome::Answer(answer(status));
                self.world.end_http_call(token, &outcome);
            }
        }
    }

    /// The proxy waits for a request's answer no longer.
    pub(super) fn timed_out(&mut self, id: RequestId) {
        self.end_request(id, End::TimedOut);
    }

    /// Removes a request from those that are open. None: it has ended before.
    fn take(&mut self, id: RequestId) -> Option<OpenRequest> {
        self.open_request(id)?;
        let request = self.requests.remove(id.slot);
        self.states[usize::from(request.tries[0])].in_flight -= 1;
        Some(request)
    }

    /// Ends a request, unless it has ended before.
    pub(super) fn end_request(&mut self, id: RequestId, end: End) {
        let Some(mut request) = self.take(id) else {
            return;
        };
        if end.status() >= 500 {
            self.states[request.target()].failed += 1;
        }
        let status = match request.stream.take() {
            Some(mut stream) => {
                let response = match end {
                    End::Status(status) => stream.response(&answer(status)),
                    End::ConnectFailed => stream.fails(UpstreamFailure::Unreachable),
                    End::ConnectionLost => stream.fails(UpstreamFailure::Closed),
                    End::TimedOut => stream.fails(UpstreamFailure::TimedOut),
                };
                stream.close();
                response.status
            }
            None => end.status(),
        };
        self.record(&request, status, false);
    }

    /// A request's client waits no longer, unless the request has ended before.
    pub(super) fn client_gives_up(&mut self, id: RequestId) {
        let Some(mut request) = self.take(id) else {
            return;
        };
        if let Some(stream) = request.stream.take() {
            stream.leaves();
        }
        self.record(&request, ABANDONED, false);
    }

    fn record(&mut self, request: &OpenRequest, status: u16, by_filter: bool) {
        self.records.push(RequestRecord {
            start: request.start,
            latency: self.now - request.start,
            traffic: request.traffic as u16,
            target: request.tries.get(request.failed_tries).copied(),
            status,
            retries: request.failed_tries as u8,
            by_filter,
        });
    }
}

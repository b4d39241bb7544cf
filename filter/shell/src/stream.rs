//! One request and its response: host calls before a decision, host calls after it.

use crate::ask::{self, Contexts, DecidedElsewhere, Outstanding, Resumed, Waiting};
use crate::host::{self, HeaderMap, Status};
use crate::metrics::Metrics;
use crate::port::Host;
use crate::shared::{ConfigurationState, Loaded, Shared};
use pointsman_core::access_log;
use pointsman_core::config::Config;
use pointsman_core::decision::{Change, Decision, Disposition, ResponsePlan, SessionPlan};
use pointsman_core::http::edit::Edit;
use pointsman_core::http::headers::Headers;
use pointsman_core::http::request::{Request, is_grpc_content_type};
use pointsman_core::http::respond::Answer;
use pointsman_core::http::vary::Vary;
use pointsman_core::pool::flight::Flight;
use pointsman_core::pool::outcome::{ResponseSeen, Seen};
use pointsman_core::rate_limit::global::Question;
use pointsman_core::time::Nanos;
use pointsman_core::worker::{self, Decided, Refusal, Waited};
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;
use std::cell::RefMut;
use std::fmt;
use std::rc::Rc;
use std::vec::IntoIter;

/// One stream. It keeps what it was decided to do with its response: a reload does not change a
/// request that is under way. It keeps no more than that of its configuration, so that requests
/// that wait do not hold the configurations of a thousand reloads in memory.
pub(crate) struct Stream {
    shared: Option<Rc<Shared>>,
    /// None: nothing, but for its session.
    decided: Option<Box<ResponsePlan>>,
    session: Option<SessionPlan>,
    /// Of a request that went to a target, until the stream is over.
    flight: Option<Flight>,
    /// How far request and response have come.
    seen: Seen,
    /// What the request waits for.
    waiting: Option<Box<Waiting>>,
    ids: Contexts,
}

impl Context for Stream {
    /// An engine's answer, or that there is none.
    fn on_grpc_call_response(&mut self, token: u32, status: u32, size: usize) {
        let is_it = |waiting: &mut Box<Waiting>| matches!(&**waiting, Waiting::Answer(call) if call.token == token);
        let Some(Waiting::Answer(call)) = self.waiting.take_if(is_it).map(|waiting| *waiting)
        else {
            return;
        };
        let Some(shared) = self.shared.clone() else {
            return;
        };
        if !shared.waiting.end(self.ids.stream) {
            return;
        }
        let answer = self.ids.answer(status, size);
        let action = self.answered(call.question, answer.as_deref(), call.rest);
        let action = action.unwrap_or_else(|failed| self.cannot_decide(&failed));
        if action == Action::Continue {
            // Refused, it is a request that the proxy has given up meanwhile.
            let _ = host::continue_request();
        }
        resume_served(&shared, self.ids.stream);
    }
}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _count: usize, end_of_stream: bool) -> Action {
        self.seen.request_end = end_of_stream;
        match self.decide() {
            Ok(action) => action,
            Err(failed) => self.cannot_decide(&failed),
        }
    }

    /// Comes only with a request that has a body. Nothing else tells whether all of it came, where it
    /// does not say how long it is.
    fn on_http_request_body(&mut self, _size: usize, end_of_stream: bool) -> Action {
        self.seen.request_end |= end_of_stream;
        Action::Continue
    }

    fn on_http_request_trailers(&mut self, _count: usize) -> Action {
        self.seen.request_end = true;
        Action::Continue
    }

    /// The answers of the filter's own come here too: the proxy takes them through the response
    /// callbacks, so the response is edited here and nowhere else. No call here returns bytes, but
    /// for one where the request was gRPC, and those that ask who answered
    /// ([`worker::Worker::on_response_headers`]).
    fn on_http_response_headers(&mut self, _count: usize, end_of_stream: bool) -> Action {
        if self.waiting.is_some() {
            self.take_over();
        }
        self.seen.response = match end_of_stream {
            true => ResponseSeen::End,
            false => ResponseSeen::Headers,
        };
        self.seen.grpc = self.flight.as_ref().is_some_and(|flight| flight.grpc) && is_grpc();
        if let Some(flight) = &mut self.flight {
            flight.on_response_headers(|| host::current_time().ok());
        }
        let session = self.session.take();
        if let (Some(flight), Some(shared)) = (&mut self.flight, self.shared.as_deref())
            && (session.is_some() || !flight.retries.is_empty())
            && let Some(mut state) = shared.borrow("at a response the worker is borrowed")
            && let Some(Loaded { worker, metrics }) = state.in_memory()
            && worker.wants_answer(flight, session)
        {
            let clock = &mut || host::current_time().ok();
            let plan = self.decided.get_or_insert_default();
            plan.session = session;
            worker.on_response_headers(flight, plan, &mut Host, &mut Host, clock);
            metrics.count_events(worker);
        }
        if let Some(plan) = self.decided.take() {
            self.edit_response(&plan);
        }
        Action::Continue
    }

    /// The stream is over, however it ended. This is the only callback that comes in every case but
    /// a trap, and comes once.
    fn on_log(&mut self) {
        if self.waiting.is_some() {
            self.take_over();
            self.wait_no_longer();
        }
        let Some(flight) = self.flight.take() else {
            return;
        };
        let Some(shared) = self.shared.as_deref() else {
            return;
        };
        // Without the worker the request would stay counted as in flight.
        let Some(mut state) = shared.borrow("at the end of a request the worker is borrowed")
        else {
            return;
        };
        let Some(Loaded { worker, metrics }) = state.in_memory() else {
            return shared
                .failures
                .bug("a request ended in a configuration that had none in flight");
        };
        let needs_time = worker.needs_time_of_end(&flight, &self.seen);
        let clock = needs_time.then(host::current_time);
        let clock = clock.and_then(Result::ok);
        let now = clock.unwrap_or_else(|| worker.last_time());
        worker.on_request_complete(flight, &self.seen, &mut Host, &mut Host, now);
        metrics.count_events(worker);
    }
}

impl Stream {
    /// A stream of a root context; without `shared`, of one that has no configuration.
    pub(crate) fn new(shared: Option<Rc<Shared>>, ids: Contexts) -> Stream {
        Stream {
            shared,
            decided: None,
            session: None,
            flight: None,
            seen: Seen::default(),
            waiting: None,
            ids,
        }
    }

    /// The request path: mostly one call for the time, one for the headers, those that the decision makes,
    /// and those that carry it out.
    fn decide(&mut self) -> Result<Action, DecideError> {
        self.decide_with(None)
    }

    /// The same with what engines said, if they were asked: whether a global limit refuses. Once in
    /// the module: it is much of it.
    #[inline(never)]
    fn decide_with(&mut self, verdict: Option<Option<Refusal>>) -> Result<Action, DecideError> {
        let shared = self.shared.clone().ok_or(DecideError::NotConfigured)?;
        let mut state = shared
            .borrow("at a request the worker is borrowed")
            .ok_or(DecideError::WorkerBusy)?;
        let loaded = state
            .for_request(&shared.failures)
            .ok_or(DecideError::NotConfigured)?;
        let Loaded { worker, metrics } = loaded;
        let is_timed = metrics.is_timed();
        let now = worker.request_time(is_timed, host::current_time)?;
        let mut headers = Headers::default();
        let read = headers.read(host::headers(HeaderMap::Request)?);
        read.map_err(|_| Status::MALFORMED)?;
        let config = worker.config().clone();
        let request = Request::new(&headers);
        // Before anything can fail it is kept: it is counted as in flight.
        let flight = &mut self.flight;
        let decided = match verdict {
            None => worker.on_request_headers(&config, &request, &mut Host, now, flight),
            Some(verdict) => worker.decide_asked(&config, &request, &mut Host, now, verdict),
        };
        let forward = match decided {
            Decided::Forward(forward) if !config.access_log => forward,
            Decided::Forward(forward) => {
                let flight = self.flight.take();
                let decision = forward.into_decision(&config, worker.endpoints(), flight);
                return self.carry_out(state, Box::new(decision), &config, now, is_timed);
            }
            Decided::Other(decision) => {
                return self.carry_out(state, decision, &config, now, is_timed);
            }
        };
        if let Some(flight) = &self.flight {
            metrics.forwarded(&forward, flight.target);
        }
        metrics.count_events(worker);
        self.session = forward.session;
        let cluster = forward.target.cluster.as_bytes();
        host::add_header(HeaderMap::Request, &config.upstream.cluster_header, cluster)?;
        if forward.pool.endpoints {
            let name = &config.upstream.endpoint_header;
            host::add_header(HeaderMap::Request, name, worker.endpoints())?;
        }
        if is_timed {
            took(metrics, now);
        }
        Ok(Action::Continue)
    }

    /// Does what was decided, whatever it is. Once in the module: it is much of it.
    #[inline(never)]
    fn carry_out(
        &mut self,
        mut state: RefMut<'_, ConfigurationState>,
        decision: Box<Decision<'_>>,
        config: &Config,
        now: Nanos,
        is_timed: bool,
    ) -> Result<Action, DecideError> {
        let Some(Loaded { worker, metrics }) = state.awake() else {
            return Err(DecideError::NotConfigured);
        };
        if let Disposition::Ask(asking) = decision.disposition {
            if !asking.needs.is_empty() {
                worker.wait(self.ids.stream, asking.needs);
            }
            metrics.count_events(worker);
            drop(state);
            return self.ask(asking.questions.into_iter());
        }
        metrics.decided(&decision);
        if !decision.hits.is_empty() {
            metrics.found(&decision, now);
        }
        if config.access_log {
            // Without it the request is no worse; only a log says less.
            let _ = host::set_property(ACCESS_LOG, access_log::line(&decision).as_bytes());
        }
        metrics.count_events(worker);
        let Decision {
            disposition,
            request_edits,
            response,
            flight,
            ..
        } = *decision;
        // Before anything can fail: it is counted as in flight.
        self.flight = flight;
        let action = match disposition {
            Disposition::Continue => {
                request_edits.iter().try_for_each(|change| match change {
                    Change::Remove(name) => host::remove_header(HeaderMap::Request, name),
                    Change::Set(name, value) => host::set_header(HeaderMap::Request, name, value),
                    Change::Add(name, value) => host::add_header(HeaderMap::Request, name, value),
                })?;
                Action::Continue
            }
            Disposition::Answer(answer) => {
                send(&answer)?;
                Action::Pause
            }
            // It was asked above.
            Disposition::Ask(_) => return Err(DecideError::WorkerBusy),
        };
        drop(request_edits);
        self.session = response.session;
        self.decided = Some(Box::new(response));
        if is_timed {
            took(metrics, now);
        }
        Ok(action)
    }
}

impl Stream {
    /// Asks the next question. Where none is left, it decides, or waits for tokens.
    #[cold]
    #[inline(never)]
    fn ask(&mut self, mut questions: IntoIter<Question>) -> Result<Action, DecideError> {
        let Some(question) = questions.next() else {
            return match self.waited()? {
                Waited::Over(refusal) => self.decide_with(Some(refusal)),
                Waited::NotYet => {
                    let resumed = Rc::new(Resumed::default());
                    self.wait(Waiting::Tokens(Rc::clone(&resumed)), Some(resumed));
                    Ok(Action::Pause)
                }
            };
        };
        let Some(token) = ask::ask(self, self.ids, &question) else {
            return self.answered(question, None, questions);
        };
        let call = Outstanding {
            token,
            question,
            rest: questions,
        };
        self.wait(Waiting::Answer(call), None);
        Ok(Action::Pause)
    }

    fn wait(&mut self, waiting: Waiting, resumed: Option<Rc<Resumed>>) {
        if let Some(shared) = &self.shared {
            shared.waiting.begin(self.ids.stream, resumed);
        }
        self.waiting = Some(Box::new(waiting));
    }

    /// Whether the request waits for tokens.
    fn waited(&self) -> Result<Waited, DecideError> {
        let shared = self.shared.as_deref().ok_or(DecideError::NotConfigured)?;
        let mut state = shared
            .borrow("at an engine's answer the worker is borrowed")
            .ok_or(DecideError::WorkerBusy)?;
        let loaded = state.awake().ok_or(DecideError::NotConfigured)?;
        Ok(loaded.worker.waited(self.ids.stream))
    }

    /// Decides a request that has waited for tokens.
    #[cold]
    pub(crate) fn go_on(&mut self) -> Action {
        let action = self.ask(Vec::new().into_iter());
        action.unwrap_or_else(|failed| self.cannot_decide(&failed))
    }

    /// Takes over what was decided in another context's callback, if anything was.
    #[cold]
    #[inline(never)]
    fn take_over(&mut self) {
        let Some(Waiting::Tokens(resumed)) = self.waiting.as_deref() else {
            return;
        };
        if let Some(other) = resumed.take() {
            (self.decided, self.session) = (other.decided, other.session);
            self.flight = other.flight;
            self.waiting = None;
        }
    }

    /// What another stream object of the same request takes over.
    fn into_decided(self) -> DecidedElsewhere {
        DecidedElsewhere {
            decided: self.decided,
            session: self.session,
            flight: self.flight,
        }
    }

    /// The stream is over, or its request is answered: it waits for nothing.
    #[cold]
    #[inline(never)]
    fn wait_no_longer(&mut self) {
        let (Some(waiting), Some(shared)) = (self.waiting.take(), &self.shared) else {
            return;
        };
        shared.waiting.end(self.ids.stream);
        let Some(mut state) = shared.borrow("at the end of a request the worker is borrowed")
        else {
            return;
        };
        if let Some(Loaded { worker, .. }) = state.awake() {
            worker.forget(self.ids.stream);
            if let Waiting::Answer(call) = &*waiting {
                worker.abandon(&call.question);
                worker.withdraw(call.rest.as_slice());
            }
        }
    }

    /// Goes on with what an engine answered. None: it did not.
    #[cold]
    #[inline(never)]
    fn answered(
        &mut self,
        question: Question,
        answer: Option<&[u8]>,
        rest: IntoIter<Question>,
    ) -> Result<Action, DecideError> {
        let shared = self.shared.as_deref().ok_or(DecideError::NotConfigured)?;
        let mut state = shared
            .borrow("at an engine's answer the worker is borrowed")
            .ok_or(DecideError::WorkerBusy)?;
        let loaded = state
            .for_request(&shared.failures)
            .ok_or(DecideError::NotConfigured)?;
        let now = host::current_time().unwrap_or_else(|_| loaded.worker.last_time());
        let refusal = loaded.worker.on_engine_answer(&question, answer, now);
        if refusal.is_some() {
            loaded.worker.withdraw(rest.as_slice());
            loaded.worker.forget(self.ids.stream);
        }
        loaded.count();
        drop(state);
        match refusal {
            None => self.ask(rest),
            Some(refusal) => self.decide_with(Some(Some(refusal))),
        }
    }

    #[cold]
    #[inline(never)]
    fn edit_response(&self, plan: &ResponsePlan) {
        // A response without its edits is still the answer to the request.
        if (plan.has_edits() || !plan.vary.is_empty())
            && let Err(status) = edit_response(plan)
        {
            if let Some(shared) = &self.shared {
                shared.failures.response_failed();
            }
            log::error!("a response cannot be edited: {status}");
        }
    }

    /// Answers a request that cannot be decided.
    #[cold]
    #[inline(never)]
    fn cannot_decide(&self, failed: &DecideError) -> Action {
        if let Some(shared) = &self.shared {
            shared.failures.request_failed();
        }
        log::error!("a request cannot be decided: {failed}");
        // If even this is refused, the request waits until the proxy gives it up. It never goes on.
        let _ = host::send_local_response(UNAVAILABLE, b"pointsman_failed", b"", &[], None);
        Action::Pause
    }
}

/// Goes on with the requests that need not wait for tokens any more, after an engine's answer or a
/// tick in the context `running`.
#[cold]
#[inline(never)]
pub(crate) fn resume_served(shared: &Rc<Shared>, running: u32) {
    let served = shared.borrow("at an engine's answer the worker is borrowed");
    let served = served.and_then(|mut state| Some(state.awake()?.worker.served()));
    let mut is_elsewhere = false;
    for id in served.unwrap_or_default() {
        // One that has none still waits for an answer of its own.
        let Some(resumed) = shared.waiting.resume(id) else {
            continue;
        };
        // One that is not there any more has ended.
        if host::set_effective_context(id).is_err() {
            continue;
        }
        is_elsewhere = true;
        let ids = Contexts {
            root: 0,
            stream: id,
        };
        let mut stream = Stream::new(Some(Rc::clone(shared)), ids);
        let action = stream.go_on();
        resumed.put(stream.into_decided());
        if action == Action::Continue {
            // Refused, it is a request that the proxy has given up meanwhile.
            let _ = host::continue_request();
        }
    }
    if is_elsewhere {
        let _ = host::set_effective_context(running);
    }
}

/// Whether the response is gRPC, by its content type. One call that returns bytes.
fn is_grpc() -> bool {
    let kind = host::header(HeaderMap::Response, b"content-type");
    kind.is_ok_and(|kind| kind.is_some_and(|kind| is_grpc_content_type(&kind)))
}

#[inline(never)]
fn edit_response(plan: &ResponsePlan) -> Result<(), Status> {
    worker::response_edits(plan).try_for_each(|edit| match edit {
        Edit::Remove(name) => host::remove_header(HeaderMap::Response, name),
        Edit::Set(name, value) => host::set_header(HeaderMap::Response, name, value),
        Edit::Add(name, value) => host::add_header(HeaderMap::Response, name, value),
    })?;
    add_vary(plan.vary)
}

/// Adds what is missing of `vary`, behind all edits: a cache must know even where a configuration sets
/// the header. One call that returns bytes, only where a decision looked at what is told.
fn add_vary(vary: Vary) -> Result<(), Status> {
    if vary.is_empty() {
        return Ok(());
    }
    let headers = Headers::from_wire(host::headers(HeaderMap::Response)?);
    let headers = headers.map_err(|_| Status::MALFORMED)?;
    let missing = vary.missing(headers.all(b"vary"));
    match missing.is_empty() {
        true => Ok(()),
        false => host::add_header(HeaderMap::Response, b"vary", &missing),
    }
}

/// Tells how long a decision took that began at this time.
#[cold]
#[inline(never)]
fn took(metrics: &Metrics, began: Nanos) {
    let now = host::current_time().ok();
    // A clock that was set back meanwhile says nothing.
    if let Some(took) = now.and_then(|now| now.checked_sub(began)) {
        metrics.took(took);
    }
}

fn send(answer: &Answer) -> Result<(), Status> {
    let headers = Headers::to_wire(&answer.headers);
    let (body, grpc_status) = (&answer.body, answer.grpc_status);
    host::send_local_response(answer.status, b"pointsman", body, &headers, grpc_status)
}

/// Why a request could not be decided. The host's fault, or the machine's; never the client's.
enum DecideError {
    /// A host call was refused.
    Host(Status),
    /// The root context has no configuration.
    NotConfigured,
    /// Another callback of the VM holds the worker, which is counted as a bug: the SDK's dispatcher
    /// runs one callback at a time.
    WorkerBusy,
}

impl fmt::Display for DecideError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecideError::Host(status) => status.fmt(f),
            DecideError::NotConfigured => f.write_str("there is no configuration"),
            DecideError::WorkerBusy => f.write_str("another callback holds the worker"),
        }
    }
}

impl From<Status> for DecideError {
    fn from(status: Status) -> DecideError {
        DecideError::Host(status)
    }
}

/// The property that tells an access log of the decision. (An Envoy puts `wasm.` before it.)
const ACCESS_LOG: &[u8] = b"pointsman";

/// The status of the answer where the filter cannot do its work: the request must not go where a
/// client's own header says.
const UNAVAILABLE: u16 = 503;

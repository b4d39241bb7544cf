//! A request that waits for the engine of a global limit: one gRPC call after another, until all
//! questions are answered or one of them refuses the request; and then, if it needs tokens that
//! others have asked for, until these have come.
//!
//! A call is made as one of the root context's, so that its answer comes even if the stream has
//! ended meanwhile: the SDK forgets a call only when that is over. The proxy ends each call by its
//! time-out. A request whose answer is lost all the same is answered with 503 by a tick.

use crate::host::{self, Status};
use core::time::Duration;
use pointsman_core::decision::{ResponsePlan, SessionPlan};
use pointsman_core::pool::flight::Flight;
use pointsman_core::rate_limit::global::Question;
use pointsman_core::rate_limit::global::by_request::ByRequest;
use pointsman_core::time::Nanos;
use proxy_wasm::traits::Context;
use std::cell::RefCell;
use std::rc::Rc;
use std::vec::IntoIter;

/// The numbers of a stream's contexts.
#[derive(Clone, Copy)]
pub(crate) struct Contexts {
    /// Of its root context. 0: not known.
    pub root: u32,
    /// Its own.
    pub stream: u32,
}

impl Contexts {
    /// Does something as the root context.
    fn as_root<T>(self, act: impl FnOnce() -> T) -> T {
        let is_root = self.root != 0 && host::set_effective_context(self.root).is_ok();
        let result = act();
        if is_root {
            let _ = host::set_effective_context(self.stream);
        }
        result
    }

    /// The answer to a call of the stream's, as [`answer`] has it.
    pub(crate) fn answer(self, status: u32, size: usize) -> Option<Vec<u8>> {
        self.as_root(|| answer(status, size))
    }
}

/// What a stream waits for.
pub(crate) enum Waiting {
    /// The answer to a question of its own.
    Answer(Outstanding),
    /// Tokens. Whoever gets them for it puts here what was decided then.
    Tokens(Rc<Resumed>),
}

/// A question that is out.
pub(crate) struct Outstanding {
    /// The call's number.
    pub token: u32,
    /// What is asked.
    pub question: Question,
    /// What is asked next.
    pub rest: IntoIter<Question>,
}

/// What was decided about a request in another context's callback, until its own stream takes it.
#[derive(Default)]
pub(crate) struct Resumed(RefCell<Option<DecidedElsewhere>>);

/// What a stream keeps of a decision.
pub(crate) struct DecidedElsewhere {
    pub decided: Option<Box<ResponsePlan>>,
    pub session: Option<SessionPlan>,
    pub flight: Option<Flight>,
}

impl Resumed {
    pub(crate) fn put(&self, decided: DecidedElsewhere) {
        if let Ok(mut place) = self.0.try_borrow_mut() {
            *place = Some(decided);
        }
    }

    /// None: it still waits.
    pub(crate) fn take(&self) -> Option<DecidedElsewhere> {
        self.0.try_borrow_mut().ok()?.take()
    }
}

/// Asks. The call's number; None: the proxy does not even try.
pub(crate) fn ask(stream: &dyn Context, ids: Contexts, question: &Question) -> Option<u32> {
    ids.as_root(|| call(stream, question))
}

/// The same for whatever context is running, which gets the answer.
pub(crate) fn call(context: &dyn Context, question: &Question) -> Option<u32> {
    if !host::has_grpc() {
        return None;
    }
    let timeout = Duration::from_nanos(question.timeout.get());
    // Of the SDK's host calls the one that must be: only the SDK can hand the answer to a context.
    let call = context.dispatch_grpc_call(
        &question.service,
        "envoy.service.ratelimit.v3.RateLimitService",
        "ShouldRateLimit",
        Vec::new(),
        Some(&question.message),
        timeout,
    );
    call.ok()
}

/// The answer to a call of the context that is running. None: there is none, or it is longer than
/// any of the protocol.
pub(crate) fn answer(status: u32, size: usize) -> Option<Vec<u8>> {
    match (status, size) {
        (0, 1..=MAX_ANSWER) => host::grpc_answer(size).ok(),
        _ => None,
    }
}

/// The requests of a root context that wait, by their streams. Their time-outs bound how many there
/// are.
#[derive(Default)]
pub(crate) struct WaitingRequests(RefCell<ByRequest<Waits>>);

struct Waits {
    /// Of one that waits for tokens.
    resumed: Option<Rc<Resumed>>,
    /// For so long, by its root context's ticks.
    time: Nanos,
}

impl WaitingRequests {
    /// A request begins to wait; for tokens, if there is a place for what is decided then.
    pub(crate) fn begin(&self, stream: u32, resumed: Option<Rc<Resumed>>) {
        if let Ok(mut waiting) = self.0.try_borrow_mut() {
            let time = Nanos::ZERO;
            waiting.insert(stream, Waits { resumed, time });
        }
    }

    /// It waits no longer. False: it did not, since a tick has answered it.
    pub(crate) fn end(&self, stream: u32) -> bool {
        let waiting = self.0.try_borrow_mut();
        waiting.is_ok_and(|mut waiting| waiting.remove(stream).is_some())
    }

    /// A request that waits for tokens waits no longer. None: it does not wait for any.
    pub(crate) fn resume(&self, stream: u32) -> Option<Rc<Resumed>> {
        let mut waiting = self.0.try_borrow_mut().ok()?;
        let resumed = waiting.get_mut(stream)?.resumed.take()?;
        waiting.remove(stream);
        Some(resumed)
    }

    /// Answers the requests whose callbacks are lost. `period`: the time since the last tick; no clock
    /// is asked, since one that is set must not end a request that just came.
    pub(crate) fn end_lost(&self, period: Nanos) {
        let Ok(mut waiting) = self.0.try_borrow_mut() else {
            return;
        };
        waiting.retain(|stream, waits| {
            // The first tick may come at once.
            if waits.time < LOST {
                waits.time += period;
                return true;
            }
            let answered: Result<(), Status> = host::set_effective_context(stream).and_then(|()| {
                host::send_local_response(UNAVAILABLE, b"pointsman_lost", b"", &[], None)
            });
            if answered.is_err() {
                log::error!("a request whose answer was lost cannot be answered");
            }
            false
        });
    }
}

/// The longest answer of an engine that is read, in bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// After so long a callback is lost: the longest time-out is a second.
const LOST: Nanos = Nanos::from_secs(3);

/// The status of the answer to a request whose callback was lost.
const UNAVAILABLE: u16 = 503;

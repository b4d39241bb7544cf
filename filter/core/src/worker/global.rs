//! A request of a global limit: it takes a token, or it waits for an engine and is decided again
//! with what that says. And the tokens that the worker buys ahead of need.

use super::{Decided, Worker, refusal};
use crate::config::Config;
use crate::decision::{Action, Decision, Disposition, Reason};
use crate::http::request::Request;
use crate::port::Port;
use crate::rate_limit::global::by_request::ByRequest;
use crate::rate_limit::global::lease::{self, BucketKey, Leases, Served, Take};
use crate::rate_limit::global::{
    Asking, Descriptor, Global, Mode, Need, OnError, Question, Reply, Tokens, wire,
};
use crate::rate_limit::{BucketRef, KeyReader, RateLimit, RateLimitEvent};
use crate::time::Nanos;
use std::rc::Rc;

/// What engines have said about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// None was asked.
    NotYet,
    /// All admit it.
    Admitted,
    /// A limit refuses it.
    Refused(Refusal),
}

/// A global limit refuses a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The limit: its place in [`Config::rate_limits`].
    pub limit: usize,
    /// From now; at least a nanosecond.
    pub retry_after: Nanos,
}

impl Asked {
    /// The refusal, as a decision.
    pub(super) fn refusal(self, config: &Config) -> Option<Decision<'_>> {
        let Asked::Refused(Refusal { limit, retry_after }) = self else {
            return None;
        };
        Some(refused(config.rate_limits.get(limit)?, retry_after))
    }
}

/// The decision about a request that a limit refuses.
pub(super) fn refused(limit: &RateLimit, retry_after: Nanos) -> Decision<'_> {
    let answer = refusal(limit, retry_after);
    Decision {
        limit: Some(limit.name()),
        ..Decision::answer(Action::RateLimited, Reason::RateLimit, answer)
    }
}

/// The tokens of a worker, and the requests that wait for some.
#[derive(Debug, Default)]
pub(super) struct Purchases {
    leases: Leases,
    /// Ticks until the next purchases.
    ticks: u64,
    /// By the number of the request.
    waiting: ByRequest<Waiting>,
    /// Those of them that need not wait any more.
    served: Vec<u32>,
}

/// A request that waits for tokens.
#[derive(Debug)]
struct Waiting {
    /// Those that it does not have.
    needs: Vec<Need>,
    refusal: Option<Refusal>,
}

/// Whether a request still waits for tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// It does.
    NotYet,
    /// It does not; with the refusal, if it is refused.
    Over(Option<Refusal>),
}

impl Waiting {
    fn is_over(&self) -> bool {
        self.needs.is_empty() || self.refusal.is_some()
    }
}

impl Worker {
    /// Decides a request again whose questions have been answered: it goes on as if its limits had
    /// admitted it, or is refused. None of them is charged again.
    pub fn decide_asked<'c>(
        &mut self,
        config: &'c Config,
        request: &Request<'_>,
        port: &mut dyn Port,
        now: Nanos,
        answered: Option<Refusal>,
    ) -> Decided<'c> {
        let asked = answered.map_or(Asked::Admitted, Asked::Refused);
        Decided::Other(self.decide_in_full(config, request, port, now, asked))
    }

    /// What is to be asked about a request that the proxy's own buckets admit, or that it is
    /// refused. None: it is admitted by tokens.
    #[cold]
    #[inline(never)]
    pub(super) fn ask<'c, 'r>(
        &mut self,
        limits: &'c [Rc<RateLimit>],
        buckets: &[BucketRef<'r>],
        reader: &mut KeyReader<'r>,
        now: Nanos,
    ) -> Option<Decision<'c>> {
        let workers = self.in_flight.workers();
        let mut asking = Asking::default();
        let (mut before, mut combination) = (None, 0);
        let mut descriptor = None;
        for bucket in buckets {
            let limit = bucket.limit();
            // Those of one limit follow each other.
            combination = match before == Some(limit.index()) {
                true => combination + 1,
                false => 0,
            };
            before = Some(limit.index());
            if combination == 0 {
                descriptor = None;
            }
            let Some(global) = limit.global() else {
                continue;
            };
            let mut tokens = None;
            if global.mode == Mode::Lease {
                let leases = &mut self.purchases.leases;
                let id = bucket.id();
                let refusal = match leases.take(id, workers, global.timeout, now) {
                    Take::Taken => continue,
                    Take::Wait => {
                        let limit = limit.index();
                        asking.needs.push(Need { limit, id });
                        continue;
                    }
                    Take::Ask(call) => {
                        tokens = Some(Tokens { id, call });
                        None
                    }
                    Take::Refused(after) => Some(Reply::Refused(Some(after))),
                    Take::Failed => Some(Reply::Failed),
                };
                if let Some(reply) = refusal {
                    match self.refusal_of(limit, reply) {
                        None => continue,
                        Some(Refusal { limit, retry_after }) => {
                            self.withdraw(&asking.questions);
                            let limit = limits.iter().find(|other| other.index() == limit)?;
                            return Some(refused(limit, retry_after));
                        }
                    }
                }
            }
            let descriptor = descriptor.get_or_insert_with(|| Descriptor::of(limit, reader));
            let message = descriptor.message(global, combination);
            let question = Question::new(global, limit.index(), &message, tokens);
            asking.questions.extend(question);
            if let Some(Tokens { id, .. }) = tokens {
                let key = || BucketKey {
                    limit: limit.index(),
                    message: message.into(),
                };
                self.purchases.leases.begin(id, workers, key, now);
            }
            self.limit_events.push(RateLimitEvent::Asked(limit.index()));
        }
        let is_admitted = asking.questions.is_empty() && asking.needs.is_empty();
        (!is_admitted).then(|| Decision {
            disposition: Disposition::Ask(asking),
            ..Decision::forward(Action::RateLimited, Reason::RateLimit, Vec::new())
        })
    }

    /// The engine's answer to a question; None: it cannot be asked, or did not answer in time. The
    /// refusal, if it is one.
    pub fn on_engine_answer(
        &mut self,
        question: &Question,
        answer: Option<&[u8]>,
        now: Nanos,
    ) -> Option<Refusal> {
        let answer = answer.and_then(|answer| wire::response(answer).ok());
        let reply = Reply::of(answer.as_ref());
        self.limit_events.extend(match reply {
            Reply::Admitted => None,
            Reply::Refused(_) => Some(RateLimitEvent::AskedRefused(question.limit)),
            Reply::Failed => Some(RateLimitEvent::AskedFailed(question.limit)),
        });
        if let Some(Tokens { id, call }) = question.tokens {
            let leases = &mut self.purchases.leases;
            let granted = leases.answered(id, call, answer.as_ref(), now);
            if granted > 0 {
                let event = RateLimitEvent::Leased(question.limit, granted);
                self.limit_events.push(event);
            }
            self.serve(id);
            if call.used == 0 {
                return None;
            }
        }
        self.reply_to(question.limit, reply)
    }

    /// A request waits for tokens from now on, under a number that no other has. What comes of it is
    /// told by [`Worker::waited`].
    #[cold]
    pub fn wait(&mut self, request: u32, needs: Vec<Need>) {
        let mut waiting = Waiting {
            needs: Vec::new(),
            refusal: None,
        };
        for need in needs {
            match self.purchases.leases.wait(need.id, request) {
                true => waiting.needs.push(need),
                // Nobody would ask for it.
                false => waiting.refusal = self.reply_to(need.limit, Reply::Failed),
            }
        }
        self.purchases.waiting.insert(request, waiting);
    }

    /// What comes of a request that [`Worker::wait`] got, or that needs nothing.
    pub fn waited(&mut self, request: u32) -> Waited {
        match self.purchases.waiting.get_mut(request) {
            Some(waiting) if !waiting.is_over() => Waited::NotYet,
            _ => Waited::Over(self.forget(request)),
        }
    }

    /// The requests that need not wait any more. To be asked for after each answer.
    pub fn served(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.purchases.served)
    }

    /// Whether a request waits for tokens.
    pub fn has_waiting(&self) -> bool {
        !self.purchases.waiting.is_empty()
    }

    /// A request waits no longer. What came of it.
    #[inline(never)]
    pub fn forget(&mut self, request: u32) -> Option<Refusal> {
        let waiting = self.purchases.waiting.remove(request)?;
        for need in waiting.needs {
            self.purchases.leases.leave(need.id, request);
        }
        waiting.refusal
    }

    /// These questions are not asked: the request is refused before.
    pub fn withdraw(&mut self, questions: &[Question]) {
        for Tokens { id, .. } in questions.iter().filter_map(|question| question.tokens) {
            self.purchases.leases.withdrawn(id);
        }
    }

    /// The request is gone that asked this, and nobody gets the answer.
    pub fn abandon(&mut self, question: &Question) {
        if let Some(Tokens { id, .. }) = question.tokens {
            self.purchases.leases.abandoned(id);
        }
    }

    /// Gives those that wait for a key what an answer said.
    fn serve(&mut self, id: u64) {
        for Served { request, reply } in self.purchases.leases.served() {
            let Some(waiting) = self.purchases.waiting.get_mut(request) else {
                continue;
            };
            let Some(place) = waiting.needs.iter().position(|need| need.id == id) else {
                continue;
            };
            let need = waiting.needs.remove(place);
            let refusal = self.reply_to(need.limit, reply);
            if let Some(waiting) = self.purchases.waiting.get_mut(request) {
                waiting.refusal = waiting.refusal.or(refusal);
                if waiting.is_over() {
                    self.purchases.served.push(request);
                }
            }
        }
    }

    /// What a reply means for a request of the limit at this place.
    #[inline(never)]
    fn reply_to(&mut self, limit: usize, reply: Reply) -> Option<Refusal> {
        let config = self.config.clone();
        self.refusal_of(config.rate_limits.get(limit)?, reply)
    }

    /// What a reply means for a request of a limit.
    #[inline(never)]
    fn refusal_of(&mut self, limit: &RateLimit, reply: Reply) -> Option<Refusal> {
        let retry_after = match reply {
            Reply::Admitted => return None,
            Reply::Refused(retry_after) => retry_after,
            Reply::Failed if limit.global()?.on_error == OnError::Admit => return None,
            Reply::Failed => None,
        };
        let index = limit.index();
        if limit.is_shadow() {
            self.limit_events.push(RateLimitEvent::Shadow(index));
            return None;
        }
        self.limit_events.push(RateLimitEvent::Refused(index));
        // An engine that does not say when admits the next request no sooner than the limit would.
        let quota = limit.quota();
        let interval = quota.per / u64::from(quota.requests.max(1));
        Some(Refusal {
            limit: index,
            retry_after: retry_after.unwrap_or(interval).max(Nanos::new(1)),
        })
    }

    /// The time from one purchase to the next. None: the worker buys nothing.
    pub(super) fn purchase_period(&self) -> Option<Nanos> {
        let mut limits = self.config.rate_limits.iter();
        let leases = |global: &Global| global.mode == Mode::Lease;
        limits
            .any(|limit| limit.global().is_some_and(leases))
            .then_some(lease::PACE)
    }

    /// What to buy ahead of need. To be asked after each [`Worker::tick`]; the answers go to
    /// [`Worker::on_engine_answer`].
    pub fn purchases(&mut self, now: Nanos) -> Vec<Question> {
        if self.purchase_period().is_none() {
            return Vec::new();
        }
        if let Some(left) = self.purchases.ticks.checked_sub(1) {
            self.purchases.ticks = left;
            return Vec::new();
        }
        let ticks = lease::PACE / self.tick_period().max(Nanos::new(1));
        self.purchases.ticks = ticks.saturating_sub(1);
        let workers = self.in_flight.workers();
        let limits = &self.config.rate_limits;
        let global = |limit: usize| limits.get(limit)?.global();
        let timeout = |limit: usize| global(limit).map_or(Nanos::ZERO, |global| global.timeout);
        let bought = self.purchases.leases.tick(workers, timeout, now);
        let question = |bought: lease::Purchase| {
            let tokens = Tokens {
                id: bought.id,
                call: bought.call,
            };
            let limit = bought.key.limit;
            Question::new(global(limit)?, limit, &bought.key.message, Some(tokens))
        };
        bought.into_iter().filter_map(question).collect()
    }
}

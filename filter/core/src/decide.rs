//! A request's way: route → rate limit → sticky → balance → verdict.

use crate::config::{Config, NoRoute};
use crate::edit::Edit;
use crate::hash::Seed;
use crate::port::Port;
use crate::rate_limit::Event;
use crate::request::Request;
use crate::respond::Answer;
use std::borrow::Cow;
use std::rc::Rc;

/// What one worker of the proxy keeps between requests. It hangs off the root context and dies with its VM.
pub struct Worker {
    config: Rc<Config>,
    events: Vec<Event>,
}

/// What was decided for one request. `'c` is the configuration.
#[derive(Debug)]
pub struct Decision<'c> {
    /// Whether the request goes on.
    pub outcome: Outcome,
    /// The changes of the request's headers, in the order in which they are applied. They hold for
    /// [`Outcome::Continue`]; with an answer there are none.
    pub request_edits: Vec<Change<'c>>,
    /// What the response phase needs.
    pub response: ResponsePlan,
}

/// Whether a request goes on.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// To the proxy's router, after the edits.
    Continue,
    /// No further: this is the answer. The response phase still applies its plan to it.
    Answer(Answer),
}

/// An [`Edit`] that may own its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change<'c> {
    /// Remove every value of the name.
    Remove(Cow<'c, [u8]>),
    /// Replace every value of the name by this one.
    Set(Cow<'c, [u8]>, Cow<'c, [u8]>),
    /// Add a value to the name.
    Add(Cow<'c, [u8]>, Cow<'c, [u8]>),
}

/// What the response phase does, kept by the stream.
#[derive(Debug, Default)]
pub struct ResponsePlan {
    route: Option<usize>,
    part: Option<usize>,
    set_cookie: Option<Vec<u8>>,
    explain: Option<Vec<u8>>,
}

impl ResponsePlan {
    /// The changes of the response's headers, in the order in which they are applied.
    pub fn edits<'a>(&'a self, config: &'a Config) -> impl Iterator<Item = Edit<'a>> {
        let _ = (config, self.route, self.part, &self.explain);
        self.set_cookie.iter().map(|value| Edit::Add(b"set-cookie", value))
    }
}

impl Worker {
    /// A worker that has decided nothing yet. `seed` is the secret that all workers share; `roll_seed` is this
    /// worker's own randomness.
    pub fn new(config: Rc<Config>, seed: Seed, roll_seed: u64) -> Worker {
        let _ = (seed, roll_seed);
        Worker {
            config,
            events: Vec::new(),
        }
    }

    /// The configuration that this worker decides by.
    pub fn config(&self) -> &Rc<Config> {
        &self.config
    }

    /// What happened since this was last asked, for counters.
    pub fn take_events(&mut self) -> std::vec::Drain<'_, Event> {
        self.events.drain(..)
    }

    /// Decides one request. `now` is in nanoseconds since 1970.
    pub fn decide<'c>(
        &mut self,
        config: &'c Config,
        request: &Request<'_>,
        port: &mut dyn Port,
        now: u64,
    ) -> Decision<'c> {
        let _ = (request, port, now);
        let outcome = match &config.no_route {
            NoRoute::Pass => Outcome::Continue,
            NoRoute::Respond(respond) => Outcome::Answer(respond.answer()),
        };
        Decision {
            outcome,
            request_edits: Vec::new(),
            response: ResponsePlan::default(),
        }
    }
}

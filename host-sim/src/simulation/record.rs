//! What is kept of a run: a record for each request, and samples of every target over time.

use pointsman_core::time::Nanos;
use std::collections::BTreeMap;

/// The status of a request whose client gave up.
pub const ABANDONED: u16 = 0;

/// A run that is over.
#[derive(Debug)]
pub struct Run {
    /// A record of every request that ended, in the order of their ends.
    pub records: Vec<RequestRecord>,
    /// Samples in the order of time.
    pub samples: Vec<Sample>,
    /// The filter's counters and gauges at the end, by name.
    pub metrics: BTreeMap<String, u64>,
    /// The filter's log: warnings and worse.
    pub log: Vec<String>,
    /// How many requests were still open at the end.
    pub open: usize,
}

/// The record of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestRecord {
    /// When the request began.
    pub start: Nanos,
    /// How long the client waited.
    pub latency: Nanos,
    /// Which kind of traffic it belongs to, as a position in the scenario.
    pub traffic: u16,
    /// The target that answered or was tried last, as a position in the scenario. None: the filter
    /// or the proxy answered.
    pub target: Option<u16>,
    /// The status that the client got; [`ABANDONED`] if it gave up.
    pub status: u16,
    /// How many tries there were beyond the first.
    pub retries: u8,
    /// Whether the filter answered by itself.
    pub by_filter: bool,
}

impl RequestRecord {
    /// Whether the request got no answer, or a 5xx.
    pub fn is_error(&self) -> bool {
        self.status >= 500
    }

    /// Whether the request got an answer that is neither an error nor a rate limit's refusal.
    pub fn is_answered(&self) -> bool {
        !self.is_error() && !self.is_refused() && !self.is_abandoned()
    }

    /// Whether a rate limit refused the request.
    pub fn is_refused(&self) -> bool {
        self.by_filter && self.status == 429
    }

    /// Whether the client gave up before it got an answer.
    pub fn is_abandoned(&self) -> bool {
        self.status == ABANDONED
    }
}

/// The state of all targets at one time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// When the sample was taken.
    pub at: Nanos,
    /// One for each target, in the order of the scenario.
    pub targets: Vec<TargetSample>,
}

/// The state of one target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TargetSample {
    /// Requests that are in flight to the target, as the simulation knows it.
    pub in_flight: u32,
    /// Requests in flight by the filter's own count.
    pub counted: u32,
    /// Tries since the sample before.
    pub tries: u32,
    /// Tries that failed since the sample before: no connection, a lost one, no answer in time, a
    /// 5xx.
    pub failed: u32,
}

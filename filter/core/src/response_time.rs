//! Response times: a decaying average for each target of a pool with `least_response_time`, over all workers.

use crate::config::Config;
use crate::pool::Pool;
use crate::port::Store;

/// What one worker knows of response times.
#[derive(Debug)]
pub struct ResponseTimes {}

impl ResponseTimes {
    /// For a configuration.
    pub fn new(_config: &Config) -> ResponseTimes {
        ResponseTimes {}
    }

    /// Takes over what other workers have measured, and hands on what this one has, if the last time is long enough ago: at most
    /// one read and one write then, nothing otherwise. Called on a request's way in. `now` is in nanoseconds since 1970.
    pub fn exchange(&mut self, _store: &mut dyn Store, _pool: &Pool, _now: u64) {}

    /// A target answered after `took` nanoseconds (to the response's headers).
    pub fn sample(&mut self, _pool: &Pool, _target: usize, _took: u64, _now: u64) {}

    /// The average response time in nanoseconds. None: not measured yet, or too long ago.
    pub fn of(&self, _pool: &Pool, _target: usize, _now: u64) -> Option<u64> {
        None
    }
}

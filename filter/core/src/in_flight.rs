//! Requests in flight for each target, over all workers.

use crate::config::Config;
use crate::pool::Pool;
use crate::port::Port;

/// One worker's part of the counts. It hangs off the root context and dies with its VM; what it counted does not.
#[derive(Debug)]
pub struct InFlight {}

impl InFlight {
    /// For a configuration. `holder` is random: it tells this worker from all others that ever were.
    pub fn new(_config: &Config, _holder: u64) -> InFlight {
        InFlight {}
    }

    /// A request goes to a target.
    pub fn begin(&mut self, _port: &mut dyn Port, _pool: &Pool, _target: usize) {}

    /// A request is over: exactly once for each [`InFlight::begin`]. One that failed keeps its place for a while longer, so that a
    /// target that fails fast does not look idle. `now` is in nanoseconds since 1970.
    pub fn end(&mut self, _port: &mut dyn Port, _pool: &Pool, _target: usize, _failed: bool, _now: u64) {}

    /// How many requests a target has in flight now, over all workers. No call that returns bytes.
    pub fn of(&mut self, _port: &mut dyn Port, _pool: &Pool, _target: usize) -> u32 {
        0
    }

    /// Once a second: shows that this worker lives, and takes back what the dead have left.
    pub fn tick(&mut self, _port: &mut dyn Port, _now: u64) {}
}

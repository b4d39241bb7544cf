//! Traffic over virtual time through the real filter: many requests open at a time over the workers
//! of a [`World`](crate::world::World), targets that take time, queue, fail and recover, VMs that
//! trap, clocks that jump.
//!
//! A run is a function of its scenario: events happen in the order of their times, and events of
//! one time in the order in which they were scheduled. Every request has a random number generator
//! of its own, so the same request takes the same time whichever target was chosen, and two runs
//! with different balancing rules differ by the rules alone.
//!
//! The proxy around the filter behaves as that of `envoy-config/`: a request whose connection fails
//! is retried, in a pool of endpoints at the next endpoint of the filter's list, in a pool of
//! clusters at the same target; a request that was sent is not retried.
//!
//! | module | what it defines |
//! |---|---|
//! | [`scenario`] | the scenario file: what to play, and what is expected |
//! | [`arrivals`] | when requests arrive, and from which client |
//! | [`server`], [`service_time`] | a target: slots, a queue, how long a request takes |
//! | `engine` | plays a scenario: [`run`] |
//! | [`record`] | what is kept of a run |
//! | [`measure`], [`expectation`] | what is computed from a run, and compared with the scenario |
//! | [`summary`], [`report`] | a run as text and JSON, and as an HTML page |
//! | `quantity` | times and numbers, as scenario files write them |

pub mod arrivals;
mod engine;
pub mod expectation;
pub mod measure;
mod quantity;
pub mod record;
pub mod report;
pub mod scenario;
pub mod server;
pub mod service_time;
pub mod summary;
#[cfg(test)]
mod tests;

pub use engine::{Chooser, run, run_code};
use expectation::Verdict;
use record::Run;
use scenario::Scenario;

/// Compares a run with what its scenario expects.
pub fn judge(scenario: &Scenario, run: &Run) -> Vec<Verdict> {
    let expectations = scenario.expect.iter();
    expectations
        .map(|expectation| expectation.judge(run))
        .collect()
}

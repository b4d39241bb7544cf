//! Laws of load balancing with two workers: on a real Envoy with real backends, and, where a law
//! needs neither, the same one on the simulator. A file for each subject.
//!
//! No law depends on how fast the machine is: a test waits for what takes time.

mod consistent_hash;
mod health;
mod in_flight;
mod least;
mod max_in_flight;
mod retry;
mod target_state;

use host_sim::client::{Client, header};
use host_sim::exchange::Response;
use host_sim::testkit::Site;
use host_sim::wait::until;
use hyper::body::Bytes;
use serde_json::Value;
use std::time::Duration;

/// How many workers a proxy has here: what one worker alone could hide shows.
const WORKERS: usize = 2;

/// How long a connection may go on after a reload.
const DRAIN_TIME: Duration = Duration::from_secs(10);

/// An Envoy with a backend for each target, that can be given another configuration under load.
fn updatable(configuration: &Value) -> Site {
    let drains = |deployment: host_sim::envoy::Deployment| deployment.with_drain_time(DRAIN_TIME);
    Site::start_with(configuration, |_, deployment| Ok(drains(deployment))).unwrap()
}

/// The backend that answered a request, which has to be answered with 200.
fn backend(answer: &hyper::Response<Bytes>) -> &str {
    assert_eq!(answer.status().as_u16(), 200, "{:?}", answer.headers());
    header(answer, "x-backend")
}

/// Asks for `/` with these headers.
fn get(client: &mut Client, headers: &[(&str, &str)]) -> hyper::Response<Bytes> {
    client.get_with("a", "/", headers).unwrap()
}

/// A job of a load's clients: a request that has to be answered with 200.
fn is_answered(client: &mut Client) {
    backend(&get(client, &[]));
}

/// What a backend answers.
fn answered(status: u16) -> Response {
    Response {
        status,
        headers: Vec::new(),
        body: b"half".to_vec(),
    }
}

/// Waits until no request is counted as in flight.
fn until_none_is_in_flight(site: &Site) {
    until("all counts are 0", || {
        site.envoy.requests_in_flight().unwrap() == 0
    });
}

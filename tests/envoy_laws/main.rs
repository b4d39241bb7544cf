//! Laws that only a real Envoy can show, with two workers under load: shares, limits and memory;
//! and what sessions and limits are after reloads and restarts. A file for each subject.

mod rate_limit;
mod sticky;
mod weight;

use host_sim::client::Client;
use host_sim::envoy::Envoy;
use host_sim::testkit::load;
use hyper::Response;
use hyper::body::Bytes;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many workers an Envoy has here: what one worker alone could hide shows.
const WORKERS: usize = 2;

/// How many connections reach both workers. The kernel deals connections to workers by a hash of
/// their ports: that one worker gets none of 40 has a chance of 1 in 10^12.
const CONNECTIONS: usize = 40;

/// Runs a job for each of many clients at once, each with a thread and a connection of its own.
/// Every worker serves some.
fn crowd<T: Send>(envoy: &Envoy, job: impl Fn(&mut Client) -> T + Sync) -> Vec<T> {
    on_every_worker(envoy, || {
        load::run(CONNECTIONS, |_| job(&mut envoy.client().unwrap()))
    })
}

/// The same, one after the other.
fn each_in_turn(envoy: &Envoy, mut job: impl FnMut(&mut Client)) {
    on_every_worker(envoy, || {
        for _ in 0..CONNECTIONS {
            job(&mut envoy.client().unwrap());
        }
    });
}

/// Runs `act`, and asserts that each worker has accepted connections meanwhile.
fn on_every_worker<T>(envoy: &Envoy, act: impl FnOnce() -> T) -> T {
    let before = envoy.connections_by_worker().unwrap();
    let result = act();
    let after = envoy.connections_by_worker().unwrap();
    assert_eq!(after.len(), WORKERS, "{after:?}");
    for (worker, count) in &after {
        assert!(
            before.get(worker).is_none_or(|before| before < count),
            "idle: {worker}, of {after:?}"
        );
    }
    result
}

fn get(client: &mut Client, path: &str, headers: &[(&str, &str)]) -> Response<Bytes> {
    client.get_with("shop.example.com", path, headers).unwrap()
}

/// Lets the tests that need the whole machine run one at a time.
fn whole_machine() -> MutexGuard<'static, ()> {
    static MACHINE: Mutex<()> = Mutex::new(());
    // A law that failed says nothing about the next one.
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}

//! Operations of several workers on the shared records, in any order, with records that somebody
//! else has damaged: nothing traps; and where nobody damages them, what is in flight adds up.
#![no_main]

use arbitrary::Arbitrary;
use pointsman_core::config::Config;
use pointsman_core::worker::Worker;
use pointsman_core::entropy::{Entropy, WorkerId};
use pointsman_core::port::{Expected, Store};
use pointsman_core::http::headers::Headers;
use pointsman_core::http::request::Request;
use pointsman_core::time::{Nanos, Seconds};
use pointsman_core::pool::flight::Flight;
use pointsman_core::pool::outcome::Seen;
use pointsman_core::port::memory::MemoryPort;
use pointsman_fuzz::{EVERYTHING, answered, port};
use std::rc::Rc;

#[derive(Arbitrary, Debug)]
enum Step {
    /// A worker gets a request of this client.
    Request { worker: u8, client: u8, web: bool },
    /// One of the requests under way ends so.
    Land { which: u8, status: u16, complete: bool },
    /// A worker ticks; its probes are answered so.
    Tick { worker: u8, status: Option<u16> },
    /// The clock, in milliseconds, mostly forwards. Who ticked last so long before that its slot
    /// may be another's finds out what became of it: what it costs that the other dies too before
    /// that is a test of `in_flight`.
    Clock(i32),
    /// A worker's VM traps, and there is a new one. Should others have taken it for dead, it finds
    /// out first: what two faults at once cost is a test of `in_flight`.
    Trap { worker: u8 },
    /// A record is damaged.
    Damage { which: u8, at: u8, by: u8, cut: bool },
}

const WORKERS: usize = 3;

/// Within so long a worker has found out what became of its slot: its heartbeats are a second apart.
const FINDS_OUT: Nanos = Nanos::from_secs(2);

/// Within so long the penalties of those that failed pass, and the counts of the dead are
/// subtracted.
const SETTLES: Nanos = Nanos::from_secs(10);

/// Less than a freed slot rests.
const HANGS: Nanos = Nanos::from_secs(20);

/// What a stream has seen that came to its end, or to nothing.
fn seen(is_complete: bool) -> Seen {
    match is_complete {
        true => Seen::WHOLE,
        false => Seen::default(),
    }
}

/// So many ticks take so long, whatever this configuration needs them for.
fn ticks(worker: &Worker, duration: Nanos) -> u64 {
    duration / worker.tick_period()
}

fn find_out(worker: &mut Worker, port: &mut MemoryPort, now: Nanos) {
    for _ in 0..ticks(worker, FINDS_OUT) {
        worker.tick(port, now);
    }
}

libfuzzer_sys::fuzz_target!(|steps: Vec<Step>| {
    let config = Rc::new(Config::load(EVERYTHING.as_bytes()).expect("it loads"));
    let mut port = port();
    let mut born = 0;
    let mut worker = || {
        born += 1;
        let entropy = Entropy {
            seed: [7; 16],
            rolls: born,
            worker: WorkerId::new(Seconds::new(born), 0),
        };
        Worker::new(config.clone(), entropy)
    };
    let mut workers: Vec<Worker> = (0..WORKERS).map(|_| worker()).collect();
    let mut under_way: Vec<(usize, Flight)> = Vec::new();
    let mut now = Nanos::from_secs(1_800_000_000);
    let mut found_out = [now; WORKERS];
    let mut damaged = false;
    for step in steps {
        match step {
            Step::Request { worker, client, web } => {
                let worker = usize::from(worker) % WORKERS;
                let path: &[u8] = if web { b"/users/1/x" } else { b"/" };
                let agent = [client];
                let headers = Headers::from_pairs(&[(&b":path"[..], path), (b"user-agent", &agent)]);
                let mut decision = workers[worker].decide(&config, &Request::new(&headers), &mut port, now);
                under_way.extend(decision.flight.take().map(|flight| (worker, flight)));
            }
            Step::Land {
                which,
                status,
                complete,
            } if !under_way.is_empty() => {
                let (worker, mut flight) = under_way.swap_remove(usize::from(which) % under_way.len());
                flight.on_response_headers(|| Some(now));
                workers[worker].on_request_complete(flight, &seen(complete), &mut answered(status), &mut port, now);
            }
            Step::Land { .. } => {}
            Step::Tick { worker, status } => {
                let worker = &mut workers[usize::from(worker) % WORKERS];
                for probe in worker.tick(&mut port, now) {
                    worker.on_probe_result(&probe, status.map(u16::into), &mut port, now);
                }
            }
            Step::Clock(milliseconds) => {
                let by = Nanos::from_millis(milliseconds.unsigned_abs().into());
                let later = if milliseconds < 0 { now - by } else { now + by };
                for (worker, found_out) in workers.iter_mut().zip(&mut found_out) {
                    if later.abs_diff(*found_out) > HANGS {
                        find_out(worker, &mut port, now);
                        *found_out = later;
                    }
                }
                now = later;
            }
            Step::Trap { worker: dead } => {
                let dead = usize::from(dead) % WORKERS;
                find_out(&mut workers[dead], &mut port, now);
                under_way.retain(|(worker, _)| *worker != dead);
                workers[dead] = worker();
            }
            Step::Damage { which, at, by, cut } => {
                damaged = true;
                let mut keys: Vec<_> = port.values.keys().cloned().collect();
                keys.sort();
                if let Some(key) = keys.get(usize::from(which) % keys.len().max(1)) {
                    let (mut value, version) = port.get(key).expect("it answers").expect("it is there");
                    let at = usize::from(at) % value.len().max(1);
                    match cut {
                        true => value.truncate(at),
                        false => value.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= by),
                    }
                    port.set(key, &value, Expected::Version(version))
                        .expect("nobody was faster");
                }
            }
        }
    }
    if damaged {
        return;
    }
    // All land, and then it is quiet.
    for (worker, flight) in under_way {
        workers[worker].on_request_complete(flight, &Seen::WHOLE, &mut answered(200), &mut port, now);
    }
    let period = workers[0].tick_period();
    for _ in 0..ticks(&workers[0], SETTLES) {
        now += period;
        for worker in &mut workers {
            worker.tick(&mut port, now);
        }
    }
    assert_eq!(port.sum_of_gauges(".in_flight"), 0, "{:?}", port.gauges);
});

//! Whole streams on the simulated host: several at a time on two workers, in any order of steps,
//! with traps, ticks, lost probes and reloads. A panic of the filter ends the process, which is the
//! find.
#![no_main]

use arbitrary::Arbitrary;
use host_sim::exchange::Response;
use host_sim::world::{HttpCallOutcome, World};
use pointsman_fuzz::EVERYTHING;
use std::time::Duration;

#[derive(Arbitrary, Debug)]
enum Step {
    Open {
        worker: bool,
        headers: Vec<(u8, Vec<u8>)>,
    },
    Respond {
        which: u8,
        status: u16,
        headers: Vec<(u8, Vec<u8>)>,
    },
    Close {
        which: u8,
    },
    Advance(u16),
    Probe(Option<u16>),
    Trap {
        worker: bool,
    },
    Reload,
}

const NAMES: [&str; 10] = [
    ":path",
    ":authority",
    ":method",
    "cookie",
    "x-forwarded-for",
    "content-type",
    "x-pointsman-endpoint",
    "x-why",
    "grpc-status",
    "x-session",
];

fn pairs(headers: Vec<(u8, Vec<u8>)>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let named = |(name, value): (u8, Vec<u8>)| (NAMES[usize::from(name) % NAMES.len()].into(), value);
    headers.into_iter().map(named).collect()
}

libfuzzer_sys::fuzz_target!(|steps: Vec<Step>| {
    let world = World::builder()
        .workers(2)
        .config(EVERYTHING.as_bytes())
        .start()
        .expect("it loads");
    let mut streams = Vec::new();
    for step in steps {
        match step {
            Step::Open { worker, headers } => {
                let mut stream = world.open(usize::from(worker), &pairs(headers));
                stream.request();
                streams.push(stream);
            }
            Step::Respond { which, status, headers } if !streams.is_empty() => {
                let which = usize::from(which) % streams.len();
                streams[which].response(&Response {
                    status,
                    headers: pairs(headers),
                    body: Vec::new(),
                });
            }
            Step::Close { which } if !streams.is_empty() => {
                let which = usize::from(which) % streams.len();
                streams.swap_remove(which).close();
            }
            Step::Respond { .. } | Step::Close { .. } => {}
            Step::Advance(milliseconds) => world.advance(Duration::from_millis(milliseconds.into())),
            Step::Probe(status) => {
                for call in world.http_calls() {
                    let outcome = match status {
                        Some(status) => HttpCallOutcome::Answer(Response {
                            status,
                            headers: Vec::new(),
                            body: Vec::new(),
                        }),
                        None => HttpCallOutcome::Broken,
                    };
                    world.end_http_call(call.token, &outcome);
                }
            }
            Step::Trap { worker } => world.kill(usize::from(worker)),
            Step::Reload => world.reload(EVERYTHING.as_bytes()).expect("it loads again"),
        }
    }
});

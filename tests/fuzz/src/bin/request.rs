//! Request headers, cookies, paths and queries of any bytes, through every kind of condition and
//! action: the core decides, and what a client sent in the upstream headers chooses nothing.
#![no_main]

use arbitrary::Arbitrary;
use pointsman_core::config::Config;
use pointsman_core::worker::Worker;
use pointsman_core::entropy::{Entropy, WorkerId};
use pointsman_core::http::headers::Headers;
use pointsman_core::http::request::Request;
use pointsman_core::pool::outcome::Seen;
use pointsman_core::time::{Nanos, Seconds};
use pointsman_core::decision::{Change, Disposition};
use pointsman_fuzz::{EVERYTHING, answered, port};
use std::rc::Rc;

#[derive(Arbitrary, Debug)]
struct Sent {
    path: Vec<u8>,
    authority: Vec<u8>,
    headers: Vec<(Name, Vec<u8>)>,
    /// The bytes of a whole header map, as if the host had gone mad.
    wire: Option<Vec<u8>>,
    status: u16,
}

#[derive(Arbitrary, Debug)]
enum Name {
    Cookie,
    Known(u8),
    Any(Vec<u8>),
}

const KNOWN: [&str; 9] = [
    "x-forwarded-for",
    "user-agent",
    "x-tier",
    "x-session",
    "x-geo",
    "x-why",
    "x-pointsman-cluster",
    "x-pointsman-endpoint",
    ":method",
];

libfuzzer_sys::fuzz_target!(|sent: Vec<Sent>| {
    let config = Rc::new(Config::load(EVERYTHING.as_bytes()).expect("it loads"));
    let entropy = Entropy {
        seed: [7; 16],
        rolls: 1,
        worker: WorkerId::new(Seconds::ZERO, 2),
    };
    let mut worker = Worker::new(config.clone(), entropy);
    let mut port = port();
    for (number, sent) in sent.into_iter().enumerate() {
        let now = Nanos::from_secs(1_800_000_000) + Nanos::from_millis(number as u64);
        if let Some(wire) = sent.wire {
            let _ = Headers::from_wire(wire);
        }
        let mut pairs = vec![(b":path".to_vec(), sent.path), (b":authority".to_vec(), sent.authority)];
        pairs.extend(sent.headers.into_iter().map(|(name, value)| {
            let name = match name {
                Name::Cookie => b"cookie".to_vec(),
                Name::Known(which) => KNOWN[usize::from(which) % KNOWN.len()].as_bytes().to_vec(),
                Name::Any(name) => name.to_ascii_lowercase(),
            };
            (name, value)
        }));
        let headers = Headers::from_wire(Headers::to_wire(&pairs)).expect("our own writing is read");
        let mut decision = worker.decide(&config, &Request::new(&headers), &mut port, now);
        if decision.disposition == Disposition::Continue {
            for upstream in config.upstream.headers() {
                let edits = || decision.request_edits.iter().filter(|edit| edit.name() == upstream);
                let decided = edits().any(|edit| matches!(edit, Change::Set(..) | Change::Remove(_)));
                assert!(
                    decided || headers.first(upstream).is_none(),
                    "a client's own choice went on"
                );
            }
        }
        if let Some(flight) = decision.flight.take() {
            worker.on_request_complete(
                flight,
                &Seen {
                    request_end: sent.status % 3 == 0,
                    grpc: sent.status % 5 == 0,
                    ..match sent.status % 2 == 0 {
                        true => Seen::WHOLE,
                        false => Seen::default(),
                    }
                },
                &mut answered(sent.status),
                &mut port,
                now + Nanos::new(1),
            );
        }
    }
});

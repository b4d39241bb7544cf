//! The common path against the whole one: two workers with the same seeds, one of which never takes
//! the common path, get the same requests at the same times, and the same ends of them.

use super::*;
use crate::pool::outcome::ResponseSeen;
use crate::worker::Asked;
use crate::worker::common::Decided;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const CONFIGURATION: &str = r#"{
    "pools": {
        "turns": { "targets": [{ "cluster": "a", "weight": 3 }, { "cluster": "b" }] },
        "drawn": { "balance": "random", "targets": [{ "cluster": "a" }, { "cluster": "b", "weight": 2 },
            { "cluster": "c", "state": "draining" }] },
        "least": { "balance": "least_connections", "cluster": "e", "health": { "passive": {} },
            "targets": [{ "endpoint": "127.0.0.1:1" }, { "endpoint": "127.0.0.1:2" }],
            "sticky": { "cookie": { "name": "s", "ttl": "1h" } } },
        "three": { "cluster": "f", "failover": ["turns"], "health": { "passive": {} },
            "targets": [{ "endpoint": "127.0.0.1:1" }, { "endpoint": "127.0.0.1:2", "weight": 2 },
                { "endpoint": "127.0.0.1:3" }],
            "sticky": { "cookie": { "name": "s", "ttl": "1h" } } },
        "slow": { "slow_start": "5s", "targets": [{ "cluster": "a" }, { "cluster": "b" }] },
        "full": { "targets": [{ "cluster": "a", "max_in_flight": 2 }, { "cluster": "b" }] }
    },
    "rate_limits": {
        "often": { "requests": 20000, "per": "1s", "key": ["client_ip"] },
        "header": { "requests": 100000, "per": "1s", "key": [{ "header": "x-user" }] },
        "seldom": { "requests": 1, "per": "1s", "burst": 3, "key": ["path"] }
    },
    "client_ip": { "header": "x-forwarded-for" },
    "explain": { "header": "x-why", "token": "t" },
    "routes": [
        { "name": "phone", "match": { "path": { "prefix": "/seldom" }, "device": ["mobile"] }, "pool": "drawn" },
        { "name": "turns", "match": { "path": { "prefix": "/turns" } }, "pool": "turns" },
        { "name": "drawn", "match": { "path": { "exact": "/drawn" } }, "rate_limits": ["header"], "pool": "drawn" },
        { "name": "least", "match": { "path": { "prefix": "/least" } }, "rate_limits": ["often"], "pool": "least" },
        { "name": "three", "match": { "path": { "prefix": "/three" } }, "rate_limits": ["often"], "pool": "three" },
        { "name": "slow", "match": { "path": { "prefix": "/slow" } }, "pool": "slow" },
        { "name": "full", "match": { "path": { "prefix": "/full" } }, "pool": "full" },
        { "name": "seldom", "match": { "path": { "prefix": "/seldom" } }, "rate_limits": ["seldom"], "pool": "turns" },
        { "name": "edits", "match": { "path": { "prefix": "/edits" } }, "request_headers": { "set": { "x-a": "b" } }, "pool": "turns" }
    ]
}"#;

/// One of the two workers, and what it shares with nobody.
struct Side {
    worker: Worker,
    port: MemoryPort,
    flights: Vec<Flight>,
}

impl Side {
    fn new(config: &Rc<Config>) -> Side {
        let entropy = Entropy {
            seed: [7; 16],
            rolls: 7,
            worker: WorkerId::new(Seconds::new(1_800_000_000), 7),
        };
        Side {
            worker: Worker::new(config.clone(), entropy),
            port: MemoryPort::default(),
            flights: Vec::new(),
        }
    }
}

#[test]
fn the_common_path_decides_what_the_whole_one_does() {
    let config = Rc::new(Config::load(CONFIGURATION.as_bytes()).unwrap());
    let [mut common, mut whole] = [(), ()].map(|()| Side::new(&config));
    let mut random = SplitMix64(4);
    let mut now = Nanos::from_secs(1_800_000_000);
    let mut cookies: Vec<String> = Vec::new();
    let (mut taken, mut requests) = (0, 0);
    let mut below = |most: u64| random.next() % most;
    for _ in 0..40_000 {
        // Mostly a busy worker, now and then a pause, and once in a while a clock that is set back.
        now = match below(1000) {
            0 => now + Nanos::from_secs(below(40)),
            1 => now - Nanos::from_secs(1),
            _ => now + Nanos::new(below(200_000)),
        };
        if below(500) == 0 {
            for side in [&mut common, &mut whole] {
                side.worker.tick(&mut side.port, now);
            }
        }
        if below(2) == 0 && !common.flights.is_empty() {
            let at = below(common.flights.len() as u64) as usize;
            let is_bad = below(400) == 0;
            let seen = Seen {
                response: match below(400) {
                    0 => ResponseSeen::Nothing,
                    _ => ResponseSeen::End,
                },
                ..Seen::WHOLE
            };
            for side in [&mut common, &mut whole] {
                let flight = side.flights.swap_remove(at);
                let info = &mut MemoryStreamInfo {
                    status: Some(if is_bad { 503 } else { 200 }),
                    upstream_address: Some(b"127.0.0.1:1".to_vec()),
                    ..MemoryStreamInfo::default()
                };
                let port = &mut side.port;
                side.worker
                    .on_request_complete(flight, &seen, info, port, now);
            }
            continue;
        }
        let path = [
            "turns",
            "drawn",
            "least",
            "three/x/y",
            "slow",
            "full",
            "seldom",
            "edits",
            "none",
            "turns",
            "drawn",
            "least",
            "three",
        ];
        let path = format!("/{}", path[below(path.len() as u64) as usize]);
        let mut pairs = vec![(":method", "GET".to_owned()), (":path", path)];
        let mut add = |odds: u64, name, value: &str| {
            if below(odds) == 0 {
                pairs.push((name, value.to_owned()));
            }
        };
        add(2, "x-forwarded-for", "1.2.3.4");
        add(3, "x-user", "u");
        add(50, "x-pointsman-cluster", "forged");
        add(50, "x-why", "t");
        add(20, "user-agent", "Mobile");
        add(9, "user-agent", "Mozilla/5.0 (iPhone) Mobile Safari");
        if !cookies.is_empty() && below(3) > 0 {
            pairs.push((
                "cookie",
                cookies[below(cookies.len() as u64) as usize].clone(),
            ));
        }
        let headers = Headers::from_pairs(&pairs);
        let mut flight = None;
        let request = Request::new(&headers);
        let decided =
            common
                .worker
                .on_request_headers(&config, &request, &mut common.port, now, &mut flight);
        requests += 1;
        let decision = match decided {
            Decided::Forward(forward) => {
                taken += 1;
                forward.into_decision(&config, common.worker.endpoints(), flight)
            }
            Decided::Other(decision) => *decision,
        };
        let port = &mut whole.port;
        let request = Request::new(&headers);
        let other = whole
            .worker
            .decide_in_full(&config, &request, port, now, Asked::NotYet);
        assert_eq!(format!("{decision:?}"), format!("{other:?}"), "{pairs:?}");
        let events = |side: &mut Side| side.worker.take_events().collect::<Vec<_>>();
        assert_eq!(events(&mut common), events(&mut whole), "{pairs:?}");
        for (side, mut decision) in [(&mut common, decision), (&mut whole, *other)] {
            let Some(mut flight) = decision.flight.take() else {
                continue;
            };
            let info = &mut MemoryStreamInfo {
                upstream_address: Some(b"127.0.0.1:2".to_vec()),
                from_upstream: Some(true),
                ..MemoryStreamInfo::default()
            };
            let (plan, port) = (&mut decision.response, &mut side.port);
            side.worker
                .on_response_headers(&mut flight, plan, info, port, &mut || Some(now));
            if let Some(cookie) = &plan.set_cookie
                && cookies.len() < 40
            {
                let cookie = String::from_utf8(cookie.clone()).unwrap();
                cookies.push(cookie.split(';').next().unwrap().to_owned());
            }
            side.flights.push(flight);
        }
        assert_eq!(
            format!("{:?}", common.flights),
            format!("{:?}", whole.flights)
        );
    }
    assert!(taken * 4 > requests, "{taken} of {requests}");
}

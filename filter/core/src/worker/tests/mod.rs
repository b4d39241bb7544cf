//! What a worker decides, by subject.

mod balance;
mod common;
mod crowded;
mod dear;
mod edits;
mod failover;
mod global;
mod max_in_flight;
mod prefer_region;
mod router_options;
mod slow_start;
mod sticky;

use super::*;
use crate::decision::Change;
use crate::decision::Disposition;
use crate::entropy::WorkerId;
use crate::http::headers::Headers;
use crate::index::{PoolIndex, TargetIndex};
use crate::pool::outcome::Seen;
use crate::port::memory::{MemoryPort, MemoryStreamInfo};
use crate::time::Seconds;

/// Some day.
const NOW: Nanos = Nanos::from_secs(1_800_000_000);

/// One worker and its port.
struct TestWorker {
    worker: Worker,
    port: MemoryPort,
    now: Nanos,
    /// The endpoint that answers. None: the one that was chosen.
    answers: Option<String>,
    /// Whether the proxy answers in place of every target.
    proxy_answers: bool,
}

/// What was decided about a request.
struct Decided {
    /// The headers that go upstream; None for an answer.
    upstream: Option<Vec<(String, String)>>,
    status: Option<u16>,
    response: Vec<String>,
    /// What a request with the token is told.
    told: Option<String>,
    cookie: Option<String>,
    flight: Option<Flight>,
}

impl TestWorker {
    fn of(config: &str) -> TestWorker {
        let config = match Config::load(config.as_bytes()) {
            Ok(config) => config,
            Err(problems) => panic!("{problems}"),
        };
        TestWorker {
            worker: Worker::new(
                Rc::new(config),
                Entropy {
                    seed: [7; 16],
                    rolls: 42,
                    worker: WorkerId::new(Seconds::ZERO, 1),
                },
            ),
            port: MemoryPort {
                source_address: Some([192, 0, 2, 1].into()),
                ..MemoryPort::default()
            },
            now: NOW,
            answers: None,
            proxy_answers: false,
        }
    }

    fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> Decided {
        let mut pairs = vec![
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", "h"),
            (":path", path),
        ];
        pairs.extend(headers);
        let map = Headers::from_pairs(&pairs);
        let config = self.worker.config().clone();
        let mut decision =
            self.worker
                .decide(&config, &Request::new(&map), &mut self.port, self.now);
        let chosen = decision
            .target
            .and_then(|(_, target)| target.endpoint.as_deref());
        let answered = self.answers.as_deref().or(chosen);
        let mut info = MemoryStreamInfo {
            upstream_address: answered.map(|address| address.as_bytes().to_vec()),
            from_upstream: Some(!self.proxy_answers),
            ..MemoryStreamInfo::default()
        };
        if let Some(flight) = &mut decision.flight {
            let (plan, now) = (&mut decision.response, self.now);
            self.worker
                .on_response_headers(flight, plan, &mut info, &mut self.port, &mut || Some(now));
        }
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let status = match &decision.disposition {
            Disposition::Continue | Disposition::Ask(_) => None,
            Disposition::Answer(answer) => Some(answer.status),
        };
        let mut upstream: Vec<_> = pairs
            .iter()
            .map(|(n, v)| (n.to_string(), v.to_string()))
            .collect();
        for change in &decision.request_edits {
            let name = text(change.name());
            if let Change::Remove(_) | Change::Set(..) = change {
                upstream.retain(|(known, _)| *known != name);
            }
            if let Change::Set(_, value) | Change::Add(_, value) = change {
                upstream.push((name, text(value)));
            }
        }
        Decided {
            upstream: status.is_none().then_some(upstream),
            status,
            response: response_edits(&decision.response)
                .map(|edit| format!("{edit:?}"))
                .collect(),
            told: decision.response.explain.map(|(_, told)| text(&told)),
            cookie: decision.response.set_cookie.map(|cookie| text(&cookie)),
            flight: decision.flight,
        }
    }
}

impl Decided {
    fn header(&self, name: &str) -> Option<&str> {
        let mut values = self
            .upstream
            .iter()
            .flatten()
            .filter(|(known, _)| known == name);
        let value = values.next().map(|(_, value)| &**value);
        assert!(values.next().is_none(), "{name} goes upstream twice");
        value
    }

    fn cluster(&self) -> Option<&str> {
        self.header("x-pointsman-cluster")
    }

    /// The first endpoint, and whether others follow.
    fn endpoint(&self) -> &str {
        let list = self.header("x-pointsman-endpoint").unwrap();
        assert_eq!(
            list.split(',').count(),
            3,
            "the others are there for retries"
        );
        list.split(',').next().unwrap()
    }

    fn reason(&self) -> &str {
        let (_, after) = self
            .told
            .as_deref()
            .unwrap()
            .split_once(r#""reason":""#)
            .unwrap();
        after.split('"').next().unwrap()
    }

    fn endpoints(&self) -> Vec<String> {
        let list = self.header("x-pointsman-endpoint").unwrap();
        list.split(',').map(str::to_owned).collect()
    }

    /// The cookie as a client sends it back.
    fn pair(&self) -> String {
        let cookie = self.cookie.as_deref().unwrap();
        cookie.split(';').next().unwrap().to_owned()
    }
}

/// A pool of endpoints with this balance, with anything beside it.
fn balanced(balance: &str, beside: &str) -> TestWorker {
    TestWorker::of(&format!(
        r#"{{
            "pools": {{"p": {{"cluster": "c", "balance": {balance}, "targets": [
                {{"endpoint": "127.0.0.1:1"}}, {{"endpoint": "127.0.0.1:2"}}, {{"endpoint": "127.0.0.1:3"}}] {beside} }}}},
            "client_ip": {{"header": "x-forwarded-for"}},
            "rate_limits": {{"many": {{"requests": 1000000, "per": "1s", "key": ["client_ip"]}}}},
            "routes": [{{"name": "r", "rate_limits": ["many"], "pool": "p"}}],
            "explain": {{"header": "x-why", "token": "t"}}
        }}"#
    ))
}

/// A pool of clusters, each with what else is said of it.
fn clusters(targets: &[(&str, &str)], beside: &str) -> String {
    let targets: Vec<String> = targets
        .iter()
        .map(|(name, with)| format!(r#"{{"cluster": "{name}"{with}}}"#))
        .collect();
    format!(r#"{{"targets": [{}] {beside}}}"#, targets.join(","))
}

/// One route to the first of these pools, which tells why.
fn routed(pools: &[(&str, String)]) -> TestWorker {
    let defined: Vec<String> = pools
        .iter()
        .map(|(name, pool)| format!(r#""{name}": {pool}"#))
        .collect();
    TestWorker::of(&format!(
        r#"{{"pools": {{{}}}, "routes": [{{"name": "r", "pool": "{}"}}], "explain": {{"header": "x-why", "token": "t"}}}}"#,
        defined.join(","),
        pools[0].0
    ))
}

const UP: &str = "";
const DOWN: &str = r#", "state": "down""#;
const WHY: (&str, &str) = ("x-why", "t");

/// Has requests to this target of the first pool fail until it is ejected.
fn eject(test: &mut TestWorker, target: usize) {
    for _ in 0..3 {
        let flight = Flight {
            target: TargetRef {
                pool: PoolIndex::new(0),
                index: TargetIndex::new(target),
            },
            counted: TargetIndex::new(target),
            address: None,
            retries: Retries::default(),
            grpc: false,
            grpc_timeout: false,
            connect: false,
            upgrade: false,
            client: None,
            started: NOW,
            timed: false,
            answered: None,
        };
        let endpoint = test.worker.config().pools[0].targets[target]
            .endpoint
            .clone();
        let mut end = ended(503, endpoint.map(|endpoint| endpoint.as_bytes().into()));
        test.worker
            .on_request_complete(flight, &Seen::WHOLE, &mut end, &mut test.port, NOW);
    }
}

/// The end of a whole response with this status from this address.
fn ended(status: u16, upstream_address: Option<Vec<u8>>) -> MemoryStreamInfo {
    MemoryStreamInfo {
        status: Some(status),
        flags: Some(0),
        upstream_address,
        ..MemoryStreamInfo::default()
    }
}

/// A canary: two pools by weight, both sticky.
fn canary(stable: u32, new: u32) -> TestWorker {
    TestWorker::of(&format!(
        r#"{{
            "pools": {{
                "stable": {{ "targets": [{{"cluster": "s1"}}, {{"cluster": "s2"}}], "sticky": {{
                    "cookie": {{"name": "pm"}}, "header": "x-session", "keys": ["MDEyMzQ1Njc4OWFiY2RlZg=="] }} }},
                "new": {{ "targets": [{{"cluster": "n1"}}, {{"cluster": "n2"}}], "sticky": {{
                    "cookie": {{"name": "pm"}}, "header": "x-session", "keys": ["MDEyMzQ1Njc4OWFiY2RlZg=="] }} }}
            }},
            "routes": [{{ "name": "r", "split": [
                {{"pool": "stable", "weight": {stable}}}, {{"pool": "new", "weight": {new}}}] }}]
        }}"#
    ))
}

const PASSIVE: &str = r#""passive": {"consecutive_failures": 3, "max_ejected_percent": 100}"#;

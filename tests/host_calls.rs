//! What a request costs in host calls, counted on the simulator. The dear ones return bytes: the
//! host calls back into the VM to allocate what it returns.

use host_sim::exchange::{Pairs, Response};
use host_sim::world::stream::RequestOutcome;
use host_sim::world::{Callback, HostCalls, World};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

const WORKERS: usize = 2;
const REQUESTS: u32 = 1000;
/// Of a proxy that has little to do, and of a busy one, from one request to the next.
const GAP: Duration = Duration::from_millis(1);
const BUSY_GAP: Duration = Duration::from_micros(25);
/// So that other workers' writes, and clients in other slots, come in between.
const CLIENTS: u8 = 5;

/// Everything that can be configured and that one request can use, on one route. `/limited` has a
/// bucket that is soon empty.
fn everything() -> Value {
    json!({
        "pools": {
            "blue": {
                "targets": [{ "cluster": "blue-a", "weight": 3, "region": "here" }, { "cluster": "blue-b", "region": "there" }],
                "balance": "least_connections",
                "prefer_region": { "header": "x-geo-country", "map": { "KR": "here" }, "default": "there" },
                "failover": ["green"],
                "health": { "passive": {}, "active": { "path": "/health" } },
                "sticky": {
                    "cookie": { "name": "pm_blue", "ttl": "1h" },
                    "keys": ["YS1uZXcta2V5LW9mLWF0LWxlYXN0LTE2LWJ5dGVz", "YW4tb2xkLWtleS1vZi1hdC1sZWFzdC0xNi1ieXRlcw=="],
                },
            },
            "green": {
                "cluster": "green",
                "targets": [
                    { "endpoint": "127.0.0.1:9101" }, { "endpoint": "127.0.0.1:9102" }, { "endpoint": "127.0.0.1:9103" },
                ],
                "balance": "least_response_time",
                "health": { "passive": {}, "active": { "path": "/health" } },
            },
        },
        "rate_limits": {
            "wide": { "requests": 1_000_000, "per": "1s", "key": ["client_ip"] },
            "narrow": { "requests": 1, "per": "1h", "key": ["client_ip"] },
        },
        "routes": [
            { "name": "elsewhere", "match": { "client_ip": ["192.0.2.0/24"] }, "pass": true },
            {
                "name": "all",
                "match": {
                    "hosts": ["*.example.com"],
                    "path": { "template": "/users/{id}" },
                    "methods": ["GET"],
                    "headers": [{ "name": "x-tier", "regex": "g.*d" }],
                    "cookies": [{ "name": "beta", "exact": "1" }],
                    "query": [{ "name": "region", "exact": "eu" }],
                    "client_ip": ["10.0.0.0/8"],
                },
                "rate_limits": ["wide"],
                "request_headers": { "set": { "x-route": "all" }, "add": { "x-also": ["a", "b"] }, "remove": ["x-debug"] },
                "response_headers": { "set": { "x-served-by": "pointsman" }, "remove": ["server"] },
                "rewrite": { "path": "/people/{id}", "host": "internal.example.com" },
                "split": [{ "pool": "blue", "weight": 3 }, { "pool": "green", "weight": 1 }],
            },
            {
                "name": "limited",
                "match": { "path": { "exact": "/limited" }, "client_ip": ["10.0.0.0/8"] },
                "rate_limits": ["narrow"],
                "response_headers": { "set": { "x-served-by": "pointsman" } },
                "pool": "green",
            },
        ],
        "explain": { "header": "x-pointsman-explain", "token": "a-secret" },
    })
}

/// The same without what needs more than the request's headers.
fn without_more_than_headers() -> Value {
    let mut configuration = everything();
    for pool in configuration["pools"].as_object_mut().unwrap().values_mut() {
        pool.as_object_mut()
            .unwrap()
            .retain(|key, _| !["health", "balance"].contains(&&**key));
    }
    let routes = configuration["routes"].as_array_mut().unwrap();
    routes.remove(0);
    for route in routes.iter_mut().filter_map(Value::as_object_mut) {
        route.remove("rate_limits");
        route["match"].as_object_mut().unwrap().remove("client_ip");
    }
    configuration.as_object_mut().unwrap().remove("rate_limits");
    configuration
}

/// What requests cost: each callback's calls altogether, and the most calls that returned bytes in
/// one request.
#[derive(Default)]
struct Costs {
    requests: u32,
    calls: BTreeMap<Callback, HostCalls>,
    most: BTreeMap<Callback, u32>,
    /// The most of one request on its way out: in the response and at the end.
    most_out: u32,
}

impl Costs {
    fn add(&mut self, calls: BTreeMap<Callback, HostCalls>) {
        self.requests += 1;
        let out = [Callback::Response, Callback::End].iter();
        let out = out.filter_map(|callback| calls.get(callback));
        self.most_out = self
            .most_out
            .max(out.map(|calls| calls.returned_bytes).sum());
        for (callback, calls) in calls {
            let most = self.most.entry(callback).or_default();
            *most = calls.returned_bytes.max(*most);
            let sum = self.calls.entry(callback).or_default();
            sum.returned_bytes += calls.returned_bytes;
            for (kind, count) in calls.of {
                *sum.of.entry(kind).or_default() += count;
            }
        }
    }

    /// In one request at most, in this callback.
    fn most(&self, callback: Callback) -> u32 {
        self.most.get(&callback).copied().unwrap_or_default()
    }

    fn print(&self, title: &str) {
        println!("{title}: calls per request, of {} requests", self.requests);
        let row = |callback: &str, kind: &str, count: u32| {
            println!(
                "  {callback:<9} {kind:<20} {:>6.3}",
                f64::from(count) / f64::from(self.requests)
            );
        };
        for (callback, calls) in &self.calls {
            let callback = format!("{callback:?}");
            calls
                .of
                .iter()
                .for_each(|(kind, count)| row(&callback, kind, *count));
            row(&callback, "(returned bytes)", calls.returned_bytes);
        }
    }
}

/// Sends requests, to the workers and from the clients in turn, and counts the calls of each but
/// the first few, in which workers see the clients' records for the first time. `session` are the
/// cookies that the clients bring.
fn costs(
    title: &str,
    configuration: &Value,
    path: &str,
    session: &str,
    expect: impl Fn(&RequestOutcome) -> bool,
) -> Costs {
    costs_at(GAP, title, configuration, path, session, expect)
}

/// The same with so much time from one request to the next.
fn costs_at(
    gap: Duration,
    title: &str,
    configuration: &Value,
    path: &str,
    session: &str,
    expect: impl Fn(&RequestOutcome) -> bool,
) -> Costs {
    let configuration = configuration.to_string();
    let builder = World::builder()
        .workers(WORKERS)
        .config(configuration.as_bytes());
    let world = builder.start().unwrap();
    let headers = request(path, &format!("beta=1; {session}"));
    let upstream = Response {
        status: 200,
        headers: vec![(b"server".to_vec(), b"backend".to_vec())],
        body: b"hello".to_vec(),
    };
    let warm_up = WORKERS as u32 * u32::from(CLIENTS);
    let mut costs = Costs::default();
    for number in 0..warm_up + REQUESTS {
        // Each client comes to each worker.
        let client = (number / WORKERS as u32 % u32::from(CLIENTS)) as u8;
        let worker = &world.workers()[number as usize % WORKERS];
        world.take_calls();
        let mut stream = worker.open_from(&headers, SocketAddr::from(([10, 0, 0, client], 50_000)));
        let step = stream.request();
        if let RequestOutcome::Forward(headers) = &step {
            stream.tries(&chosen(headers));
            stream.response(&upstream);
        }
        stream.close();
        if number >= warm_up {
            assert!(expect(&step), "{step:?}");
            costs.add(world.take_calls());
        }
        world.advance(gap);
    }
    costs.print(title);
    costs
}

fn request(path: &str, cookies: &str) -> Pairs {
    [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "shop.example.com"),
        (":path", path),
        ("x-tier", "gold"),
        ("cookie", cookies),
        ("x-debug", "1"),
    ]
    .map(|(name, value)| (name.into(), value.into()))
    .into()
}

const PATH: &str = "/users/7?region=eu";

/// The address that the proxy tries first for a request with these headers.
fn chosen(headers: &Pairs) -> String {
    let endpoint = headers
        .iter()
        .find(|(name, _)| name == b"x-pointsman-endpoint");
    let list = endpoint.map_or("192.0.2.1:80".into(), |(_, list)| {
        String::from_utf8_lossy(list)
    });
    list.split(',').next().unwrap().to_owned()
}

fn forwards(step: &RequestOutcome) -> bool {
    let RequestOutcome::Forward(headers) = step else {
        return false;
    };
    headers.contains(&(b":path".to_vec(), b"/people/7?region=eu".to_vec()))
}

/// A session of the pool `blue`.
fn session(configuration: &Value) -> String {
    let world = World::of(configuration, 1).unwrap();
    let headers = request(PATH, "beta=1");
    let cookies = (0..100).find_map(|_| {
        let mut stream =
            world.workers()[0].open_from(&headers, SocketAddr::from(([10, 0, 0, 1], 50_000)));
        if let RequestOutcome::Forward(headers) = stream.request() {
            stream.tries(&chosen(&headers));
        }
        let answer = stream.response(&Response {
            status: 200,
            headers: vec![],
            body: vec![],
        });
        stream.close();
        answer
            .headers
            .into_iter()
            .find(|(name, _)| name == b"set-cookie")
    });
    let (_, cookie) = cookies.expect("three requests of four belong to the pool");
    let cookie = String::from_utf8(cookie).unwrap();
    cookie.split(';').next().unwrap().to_owned()
}

/// With everything configured and one rate limit on the route, a steady-state request makes at most
/// 4 host calls that return bytes on its way in. On its way out it makes one on average, and where
/// its end is looked at 3: status, flags, and of endpoints the address.
fn assert_within_the_promise(costs: &Costs, first: u32) {
    assert!(costs.most(Callback::Request) <= 4, "{:?}", costs.most);
    // Only the first answer of a session costs more: whether it is a target's at all.
    assert!(costs.most(Callback::Response) <= first, "{:?}", costs.most);
    assert!(costs.most(Callback::End) <= 3, "{:?}", costs.most);
    let of_ends = costs.calls.get(&Callback::End);
    let of_ends = of_ends.map_or(0, |calls| calls.returned_bytes);
    assert!(of_ends <= costs.requests, "{of_ends}");
}

#[test]
fn a_request_with_everything_makes_4_calls_that_return_bytes_on_its_way_in_and_1_on_its_way_out() {
    let costs = costs("a new client", &everything(), PATH, "", forwards);
    assert_within_the_promise(&costs, 1);
}

/// Two workers look at one end in 10 ms of each of five targets.
#[test]
fn few_ends_are_looked_at_where_there_are_many() {
    let configuration = everything();
    let title = "everything, in a busy worker";
    let costs = costs_at(BUSY_GAP, title, &configuration, PATH, "", forwards);
    let of_ends = costs.calls[&Callback::End].returned_bytes;
    assert!(of_ends * 5 <= costs.requests, "{of_ends}");
}

#[test]
fn a_sticky_hit_keeps_within_the_same() {
    let configuration = everything();
    let session = session(&configuration);
    let in_session = |step: &RequestOutcome| {
        let RequestOutcome::Forward(headers) = step else {
            return false;
        };
        forwards(step)
            && headers
                .iter()
                .any(|(name, value)| name == b"x-pointsman-cluster" && value.starts_with(b"blue"))
    };
    let costs = costs("a sticky hit", &configuration, PATH, &session, in_session);
    assert_within_the_promise(&costs, 0);
}

#[test]
fn a_refusal_keeps_within_the_same() {
    let refused = |step: &RequestOutcome| matches!(step, RequestOutcome::Reply(answer) if answer.status == 429);
    let costs = costs("a refusal", &everything(), "/limited", "", refused);
    assert_within_the_promise(&costs, 1);
}

#[test]
fn a_protection_that_finds_nothing_makes_no_call() {
    let plain = without_more_than_headers();
    let mut guarded = plain.clone();
    let detect = [
        "sql_injection",
        "cross_site_scripting",
        "path_traversal",
        "scanner",
    ];
    guarded["protect"] = json!({ "edge": { "detect": detect, "mode": "block" } });
    for route in guarded["routes"].as_array_mut().unwrap() {
        route["protect"] = json!(["edge"]);
    }
    let plain = costs("without a protection", &plain, PATH, "", forwards);
    let guarded = costs("with a protection", &guarded, PATH, "", forwards);
    for (callback, calls) in &plain.calls {
        assert_eq!(calls.of, guarded.calls[callback].of, "{callback:?}");
    }
}

#[test]
fn the_headers_are_all_that_is_read_where_nothing_else_is_needed() {
    let configuration = without_more_than_headers();
    // The first answer of a session is the exception: whether it is a target's at all.
    for (session, out) in [(session(&configuration), 0), (String::new(), 1)] {
        let title = "without what needs more than headers";
        let costs = costs(title, &configuration, PATH, &session, forwards);
        assert_eq!(
            costs.calls[&Callback::Request].returned_bytes,
            costs.requests
        );
        assert_eq!(costs.most(Callback::Request), 1);
        assert_eq!(costs.most_out, out);
    }
}

/// Two workers with 20,000 requests a second each. The counters of requests are not among these
/// calls: with them, `increment_metric` is more.
#[test]
fn a_busy_worker_makes_no_host_call_for_limits_and_counts_of_most_requests() {
    let configuration = json!({
        "pools": { "p": {
            "targets": [{ "cluster": "blue-a" }, { "cluster": "blue-b" }, { "cluster": "green" }],
            "balance": "least_connections",
        } },
        "rate_limits": {
            "wide": { "requests": 1_000_000, "per": "1s", "key": [] },
            "also": { "requests": 500_000, "per": "1s", "key": ["client_ip"], "shadow": true },
        },
        "routes": [{ "name": "all", "rate_limits": ["wide", "also"], "pool": "p" }],
    });
    let is_forwarded = |step: &RequestOutcome| matches!(step, RequestOutcome::Forward(_));
    let costs = costs_at(
        BUSY_GAP,
        "a busy worker",
        &configuration,
        "/",
        "",
        is_forwarded,
    );
    let calls = |kind: &str| -> u32 {
        let calls = costs.calls.values();
        calls.filter_map(|calls| calls.of.get(kind)).sum()
    };
    // Of the limit by address each client has its own bucket, and has to become busy first.
    let [reads, writes, looks] = ["get_shared_data", "set_shared_data", "get_metric"].map(calls);
    assert!(reads <= costs.requests / 10, "{reads}");
    assert!(writes <= costs.requests / 5, "{writes}");
    // One is for what health tells.
    assert!(looks <= costs.requests * 6 / 5, "{looks}");
}

/// Counts that are shared at once, and looked at before and after: no call returns bytes for that.
#[test]
fn a_bound_of_requests_in_flight_is_kept_without_a_call_that_returns_bytes() {
    let configuration = json!({
        "pools": { "p": { "targets": [
            { "cluster": "blue-a", "max_in_flight": 10 }, { "cluster": "blue-b", "max_in_flight": 10 },
        ] } },
        "routes": [{ "name": "all", "pool": "p" }],
    });
    let any = |step: &RequestOutcome| matches!(step, RequestOutcome::Forward(_));
    for gap in [GAP, BUSY_GAP] {
        let costs = costs_at(gap, "max_in_flight", &configuration, "/", "", any);
        assert_eq!(costs.most(Callback::Request), 1);
        assert_eq!(costs.most_out, 0);
        let calls = |kind: &str| -> u32 {
            let calls = costs.calls.values();
            calls.filter_map(|calls| calls.of.get(kind)).sum()
        };
        // To find what is full each of two, and the one that was chosen before and after.
        assert!(
            calls("get_metric") <= costs.requests * 9 / 2,
            "{}",
            calls("get_metric")
        );
        assert!(calls("set_shared_data") <= costs.requests * 9 / 4);
    }
}

/// What `timeout`, `retry` and `mirror` cost: a call for each header, and no other.
#[test]
fn what_the_router_is_asked_for_costs_the_headers_that_ask_for_it() {
    let plain = json!({
        "pools": {
            "p": { "targets": [{ "cluster": "blue" }, { "cluster": "green" }] },
            "shadow": { "targets": [{ "cluster": "shadow" }] },
        },
        "routes": [{ "name": "all", "pool": "p" }, { "name": "never", "pool": "shadow" }],
    });
    let mut asking = plain.clone();
    asking["pools"]["p"]["timeout"] = "5s".into();
    asking["routes"][0]["retry"] =
        json!({ "attempts": 2, "on": ["5xx", "unavailable"], "per_try_timeout": "1s" });
    asking["routes"][0]["mirror"] = json!({ "pool": "shadow" });
    let is_forwarded = |step: &RequestOutcome| matches!(step, RequestOutcome::Forward(_));
    let calls = |title: &str, configuration: &Value| {
        let costs = costs(title, configuration, "/", "", is_forwarded);
        let mut calls = BTreeMap::new();
        for (kind, count) in costs.calls.values().flat_map(|calls| &calls.of) {
            *calls.entry(*kind).or_insert(0) += count;
        }
        (costs.requests, calls)
    };
    let (requests, mut expected) = calls("only routed", &plain);
    let (_, asked) = calls("with time-outs, retries and a mirror", &asking);
    *expected.get_mut("add_header").unwrap() += 6 * requests;
    assert_eq!(asked, expected);
}

/// A pool of endpoints with sessions, and nothing else.
fn endpoints_with_sessions() -> Value {
    json!({
        "pools": { "blue": {
            "cluster": "blue",
            "targets": [
                { "endpoint": "127.0.0.1:9101" }, { "endpoint": "127.0.0.1:9102" }, { "endpoint": "127.0.0.1:9103" },
            ],
            "sticky": { "cookie": { "name": "pm_blue" } },
        } },
        "routes": [{ "name": "all", "pool": "blue" }],
    })
}

/// Who answered is asked for the first answer of a session, and then once in 10 ms for each target:
/// here there is a request every 2 ms in each of two workers.
#[test]
fn who_answered_is_asked_for_the_first_answer_of_a_session_and_then_seldom() {
    let configuration = endpoints_with_sessions();
    let any = |step: &RequestOutcome| matches!(step, RequestOutcome::Forward(_));
    let first = costs("the first of a session", &configuration, PATH, "", any);
    assert_eq!(first.most(Callback::Response), 2);
    let session = session(&configuration);
    let later = costs(
        "a session among endpoints",
        &configuration,
        PATH,
        &session,
        any,
    );
    assert_eq!(later.most(Callback::Response), 1);
    let asked = later.calls[&Callback::Response].returned_bytes;
    assert!(asked <= later.requests / 5, "{asked} of {}", later.requests);
    assert_eq!(later.most(Callback::Request) + later.most(Callback::End), 1);
}

/// To add to `vary` the filter reads the response's headers, and only where it has something to add.
#[test]
fn what_vary_costs_is_paid_where_a_decision_looked_at_who_asks() {
    let configuration = without_more_than_headers();
    let session = session(&configuration);
    let who = json!({
        "name": "who", "match": { "device": "bot", "language": "ko" }, "respond": { "status": 403 },
    });
    for (place, out) in [(1, 0), (0, 1)] {
        let mut configuration = configuration.clone();
        let routes = configuration["routes"].as_array_mut().unwrap();
        routes.insert(place, who.clone());
        let costs = costs("who asks", &configuration, PATH, &session, forwards);
        assert_eq!(costs.most(Callback::Request), 1);
        assert_eq!(costs.most_out, out, "a route at {place}");
    }
}

/// A limit over a fleet by `lease`, whose key is busy: the worker buys ahead of need with its ticks,
/// and a request makes the calls that it makes with a limit of one proxy.
#[test]
fn a_request_of_a_key_whose_tokens_are_leased_makes_no_more_calls_than_with_a_limit_of_one_proxy() {
    let own = json!({
        "pools": { "p": { "targets": [{ "cluster": "blue" }] } },
        "rate_limits": { "l": { "requests": 1_000_000, "per": "1s", "key": [] } },
        "routes": [{ "name": "all", "rate_limits": ["l"], "pool": "p" }],
    });
    let mut leased = own.clone();
    leased["rate_limits"]["l"]["global"] =
        json!({ "cluster": "engine", "domain": "d", "mode": "lease", "on_error": "refuse" });
    let [own, leased] = [own, leased].map(|configuration| {
        let world = World::of(&configuration, 1).unwrap();
        // It admits, and its window lasts ten minutes and a little.
        let told = b"\x08\x01\x12\x09\x08\x01\x22\x05\x08\xd8\x04\x10\x05";
        world.proxy().answer_grpc_calls(told);
        let mut costs = Costs::default();
        let (mut ahead, warm_up) = (0, 1000);
        for number in 0..warm_up + REQUESTS {
            world.take_calls();
            let mut stream = world.open(0, &request("/", ""));
            let step = stream.request();
            let waits = step == RequestOutcome::Wait;
            if waits {
                // The engine answers.
                world.advance(Duration::from_micros(1));
            }
            stream.close();
            let calls = world.take_calls();
            if number >= warm_up {
                assert!(!waits, "request {number} waits");
                costs.add(calls);
            }
            world.advance(Duration::from_millis(1));
            let of_tick = world.take_calls();
            let of_tick = of_tick.get(&Callback::Tick);
            ahead += of_tick
                .and_then(|calls| calls.of.get("grpc_call"))
                .copied()
                .unwrap_or(0);
        }
        costs.print("a request of a busy key");
        assert_eq!(world.proxy().filter_bugs(), 0);
        (costs, ahead)
    });
    let (own, bought_by_one) = own;
    let (leased, bought) = leased;
    assert_eq!(bought_by_one, 0);
    assert!(bought > 0, "nothing was bought ahead of need");
    for (callback, calls) in &own.calls {
        for kind in calls.of.keys().chain(leased.calls[callback].of.keys()) {
            let of = |costs: &Costs| costs.calls[callback].of.get(kind).copied().unwrap_or(0);
            assert!(of(&leased) <= of(&own), "{callback:?}: {kind}");
        }
    }
}

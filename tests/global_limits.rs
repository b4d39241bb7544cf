//! `global` limits on real Envoys: an engine that speaks Envoy's rate limit protocol is asked about
//! each request, and whatever becomes of it no request hangs.

use host_sim::client::{Client, header};
use host_sim::envoy::{Deployment, FilterFile, PluginConfiguration};
use host_sim::module;
use host_sim::testkit::Site;
use host_sim::testkit::engine::http2_cluster;
use host_sim::wait::until;
use host_sim::world::World;
use host_sim::world::stream::RequestOutcome;
use hyper::http::Request;
use pointsman_tests::grpc_server::{Answer, GrpcServer};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, spawn};
use std::time::{Duration, Instant};

/// How the engine behaves.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Behaviour {
    /// It answers by its limit.
    Answers,
    /// It takes the call and never answers.
    Silent,
    /// It counts the call, and answers once it is told to behave otherwise.
    Holds,
    /// It answers with bytes that are no message.
    Garbage,
    /// It ends the call with this gRPC status.
    Fails(u32),
}

/// How many requests of each descriptor it admits at first, without a window.
const LIMIT: u64 = 10;
/// What it says of when that ends.
const RESET: u64 = 7;

struct State {
    behaviour: Behaviour,
    limit: u64,
    hits: HashMap<Vec<u8>, u64>,
    asked: Vec<Vec<u8>>,
}

/// An engine of Envoy's rate limit protocol, over HTTP/2.
struct Engine {
    server: GrpcServer,
    state: Arc<Mutex<State>>,
    /// Another behaviour.
    changed: Arc<Condvar>,
}

impl Engine {
    fn start() -> Engine {
        let state = Arc::new(Mutex::new(State {
            behaviour: Behaviour::Answers,
            limit: LIMIT,
            hits: HashMap::new(),
            asked: Vec::new(),
        }));
        let changed = Arc::new(Condvar::new());
        let (of_calls, told) = (state.clone(), changed.clone());
        let server = GrpcServer::start(move |call| answer(call, of_calls.lock().unwrap(), &told));
        Engine {
            server,
            state,
            changed,
        }
    }

    fn behave(&self, behaviour: Behaviour) {
        self.state.lock().unwrap().behaviour = behaviour;
        self.changed.notify_all();
    }

    /// How many requests are counted.
    fn counted(&self) -> u64 {
        self.state.lock().unwrap().hits.values().sum()
    }

    /// The requests since this was last asked.
    fn take_asked(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.state.lock().unwrap().asked)
    }

    /// An Envoy's cluster that leads here.
    fn cluster(&self, name: &str) -> Value {
        http2_cluster(name, self.server.address())
    }
}

impl Drop for Engine {
    /// The server ends with its calls, so none is held.
    fn drop(&mut self) {
        self.behave(Behaviour::Silent);
    }
}

fn answer(
    call: &Request<Vec<u8>>,
    mut guard: MutexGuard<'_, State>,
    changed: &Condvar,
) -> Option<Answer> {
    let state = &mut *guard;
    let path = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";
    assert_eq!(call.uri().path(), path);
    // gRPC's frame: not compressed, and the length.
    let message = call.body()[5..].to_vec();
    let reply = reply(&message, state.limit, &mut state.hits);
    state.asked.push(message);
    let is_held = |state: &mut State| state.behaviour == Behaviour::Holds;
    let state = changed.wait_while(guard, is_held).unwrap();
    let framed = |reply: Vec<u8>| [vec![0, 0, 0, 0, reply.len() as u8], reply].concat();
    let (status, message) = match state.behaviour {
        Behaviour::Answers => (0, framed(reply)),
        Behaviour::Garbage => (0, framed(vec![0xff; 30])),
        Behaviour::Fails(status) => (status, Vec::new()),
        Behaviour::Silent | Behaviour::Holds => return None,
    };
    Some(Answer {
        message: Some(message),
        status,
    })
}

/// Counts the hits of a call's one descriptor, and writes a `RateLimitResponse`.
fn reply(message: &[u8], limit: u64, hits: &mut HashMap<Vec<u8>, u64>) -> Vec<u8> {
    let fields = fields(message);
    let of = |number: u64| fields.iter().find(|(it, ..)| *it == number).unwrap();
    let (descriptor, addend) = (of(2).2, of(3).1);
    let count = hits.entry(descriptor.to_vec()).or_default();
    let fits = *count + addend <= limit;
    if fits {
        *count += addend;
    }
    let code = if fits { 1 } else { 2 };
    let left = u8::try_from(limit - *count).unwrap_or(127).min(127);
    vec![
        8,
        code,
        0x12,
        8,
        8,
        code,
        0x18,
        left,
        0x22,
        2,
        8,
        RESET as u8,
    ]
}

/// The fields of a message: number, and varint or bytes.
fn fields(mut message: &[u8]) -> Vec<(u64, u64, &[u8])> {
    fn varint(message: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let (byte, rest) = message.split_first().unwrap();
            *message = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        value
    }
    let mut fields = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message);
        let value = varint(&mut message);
        let size = if tag & 7 == 2 { value as usize } else { 0 };
        let (bytes, rest) = message.split_at(size);
        fields.push((tag >> 3, value, bytes));
        message = rest;
    }
    fields
}

/// A site whose limit `fleet` asks `cluster`.
fn site(engine: &Engine, cluster: &str, on_error: &str) -> Site {
    site_with(engine, cluster, ("ask", on_error), |deployment| deployment)
}

fn site_with(
    engine: &Engine,
    cluster: &str,
    (mode, on_error): (&str, &str),
    adjust: impl FnOnce(Deployment) -> Deployment,
) -> Site {
    Site::start_with(
        &configuration(cluster, mode, on_error),
        |_, mut deployment| {
            deployment.clusters_mut().push(engine.cluster("p1"));
            Ok(adjust(deployment))
        },
    )
    .unwrap()
}

fn configuration(cluster: &str, mode: &str, on_error: &str) -> Value {
    let global = json!({
        "cluster": cluster, "domain": "shop", "mode": mode, "timeout": "1s", "on_error": on_error,
    });
    json!({
        "pools": { "web": { "targets": [{ "cluster": "web" }] } },
        "rate_limits": {
            "fleet": {
                "requests": 1000, "per": "1s", "key": [{ "header": "x-tenant" }], "global": global,
                "respond": { "status": 429, "body": "slow down" },
            },
        },
        "routes": [{ "name": "all", "rate_limits": ["fleet"], "pool": "web" }],
    })
}

fn get(client: &mut Client, tenant: &str) -> u16 {
    let answer = client.get_with("h", "/", &[("x-tenant", tenant)]).unwrap();
    answer.status().as_u16()
}

fn counted(site: &Site, what: &str) -> u64 {
    let sum = site.envoy.filter_sum("pointsman.rate_limit.fleet.", what);
    sum.unwrap().unwrap_or(0)
}

/// The cluster's name is one that a proxy reads as protobuf where it is not in a message.
#[test]
fn a_limit_holds_over_two_proxies() {
    let engine = Engine::start();
    let sites = [site(&engine, "p1", "refuse"), site(&engine, "p1", "refuse")];
    let mut clients = sites.each_ref().map(|site| site.client().unwrap());
    for tenant in ["a", "b"] {
        let statuses: Vec<_> = (0..20)
            .map(|at| get(&mut clients[at % 2], tenant))
            .collect();
        let admitted = statuses.iter().filter(|status| **status == 200).count();
        assert_eq!(admitted as u64, LIMIT, "{statuses:?}");
    }
    let asked = engine.take_asked();
    assert_eq!(asked.len(), 40);
    let first = b"\n\x04shop\x12\x26\n\x0e\n\x05limit\x12\x05fleet\
        \n\x14\n\x0fheader.x-tenant\x12\x01a\x18\x01";
    assert_eq!(asked[0], first);
    let answer = clients[0].get_with("h", "/", &[("x-tenant", "a")]).unwrap();
    assert_eq!(answer.status(), 429);
    assert_eq!(header(&answer, "retry-after"), RESET.to_string());
    assert_eq!(answer.body(), "slow down");
    let grpc = [("x-tenant", "a"), ("content-type", "application/grpc")];
    let answer = clients[0].get_with("h", "/", &grpc).unwrap();
    assert_eq!(header(&answer, "grpc-status"), "8");
    until("the counters", || {
        counted(&sites[0], "asked") + counted(&sites[1], "asked") == 42
    });
    until("the refusals", || {
        let refused = sites.each_ref().map(|site| counted(site, "asked_refused"));
        refused.iter().sum::<u64>() == 22
    });
    let backend = |site: &Site| site.backend("web").unwrap().count() as u64;
    assert_eq!(sites.iter().map(backend).sum::<u64>(), 2 * LIMIT);
}

/// "A request first needs the proxy's own bucket": the engine is not asked about one that it refuses,
/// and while the engine is away it is what one proxy may have.
#[test]
fn the_engine_is_asked_about_what_the_proxys_own_bucket_admits() {
    const OWN: usize = 3;
    let mut engine = Engine::start();
    let mut configuration = configuration("p1", "ask", "admit");
    let limit = &mut configuration["rate_limits"]["fleet"];
    (limit["requests"], limit["per"]) = (json!(OWN), json!("1h"));
    let site = Site::start_with(&configuration, |_, mut deployment| {
        deployment.clusters_mut().push(engine.cluster("p1"));
        Ok(deployment)
    });
    let mut client = site.as_ref().unwrap().client().unwrap();
    let mut expected = [429; 2 * OWN];
    expected[..OWN].fill(200);
    assert_eq!([(); 2 * OWN].map(|()| get(&mut client, "a")), expected);
    assert_eq!(engine.take_asked().len(), OWN);
    engine.server.kill();
    assert_eq!([(); 2 * OWN].map(|()| get(&mut client, "b")), expected);
}

#[test]
fn without_an_answer_a_request_is_admitted_or_refused_as_configured_and_in_time() {
    for (on_error, expected) in [("admit", 200), ("refuse", 429)] {
        let mut engine = Engine::start();
        let site = site(&engine, "p1", on_error);
        let mut client = site.client().unwrap();
        assert_eq!(get(&mut client, "well"), 200);
        for behaviour in [
            Behaviour::Silent,
            Behaviour::Garbage,
            Behaviour::Fails(14),
            Behaviour::Fails(13),
        ] {
            engine.behave(behaviour);
            // Envoy's timers may be a few milliseconds early. That the time-out is kept, and not only
            // the three seconds after which the filter itself answers, is told by the status: that
            // answer is a 503.
            let mut waits = || {
                let start = Instant::now();
                assert_eq!(get(&mut client, "ill"), expected, "{behaviour:?}");
                start.elapsed() >= Duration::from_millis(950)
            };
            match behaviour {
                Behaviour::Silent => assert!(waits(), "{behaviour:?}"),
                // A busy machine may be late once, and what waits for the time-out is each time.
                _ => assert!((0..5).any(|_| !waits()), "{behaviour:?}"),
            }
        }
        engine.behave(Behaviour::Answers);
        assert_eq!(get(&mut client, "well"), 200);
        engine.server.kill();
        assert_eq!(get(&mut client, "dead"), expected);
        engine.server.start_again();
        engine.take_asked();
        until("the engine is asked again", || {
            get(&mut client, "back");
            !engine.take_asked().is_empty()
        });
        // A client that leaves while it waits.
        engine.behave(Behaviour::Silent);
        let address = site.envoy.address().unwrap();
        for _ in 0..20 {
            let mut stream = TcpStream::connect(address).unwrap();
            stream
                .write_all(b"GET / HTTP/1.1\r\nhost: h\r\nx-tenant: gone\r\n\r\n")
                .unwrap();
            until("it waits", || !engine.take_asked().is_empty());
        }
        engine.behave(Behaviour::Answers);
        assert_eq!(get(&mut client, "well"), 200);
        until("nothing is in flight", || {
            site.envoy.requests_in_flight().unwrap() == 0
        });
        until("the counters", || counted(&site, "asked_failed") >= 5);
        assert!(!site.has_trapped());
    }
}

#[test]
fn a_cluster_that_there_is_not_is_an_engine_that_does_not_answer() {
    let engine = Engine::start();
    for (on_error, expected) in [("admit", 200), ("refuse", 429)] {
        for cluster in ["x1", "nowhere"] {
            let site = site(&engine, cluster, on_error);
            let mut client = site.client().unwrap();
            for _ in 0..5 {
                assert_eq!(get(&mut client, "a"), expected);
            }
            until("the counters", || counted(&site, "asked_failed") == 5);
            assert!(!site.has_trapped());
        }
    }
    assert!(engine.take_asked().is_empty());
}

/// Of the page: "the client goes away while it waits: nothing; the engine has counted the request".
#[test]
fn of_a_client_that_leaves_while_it_waits_nothing_is_left_but_what_the_engine_counted() {
    for mode in ["ask", "lease"] {
        let engine = Engine::start();
        let site = site_with(&engine, "p1", (mode, "refuse"), |deployment| deployment);
        let backend = site.backend("web").unwrap();
        engine.behave(Behaviour::Holds);
        let mut stream = TcpStream::connect(site.envoy.address().unwrap()).unwrap();
        let request = b"GET / HTTP/1.1\r\nhost: h\r\nx-tenant: a\r\n\r\n";
        stream.write_all(request).unwrap();
        until("it waits", || !engine.take_asked().is_empty());
        drop(stream);
        until("it is gone", || {
            site.envoy.stat("http.edge.downstream_rq_active").unwrap() == 0
        });
        engine.behave(Behaviour::Answers);
        let left = engine.counted();
        assert!(left > 0, "{mode}");
        // The others have what is left of the limit. Each may be of a worker that has yet to learn of
        // a failed call.
        let mut client = site.client().unwrap();
        let mut admitted = 0;
        until("the limit is reached", || {
            admitted += u64::from(get(&mut client, "a") == 200);
            engine.counted() == LIMIT
        });
        match mode {
            "ask" => assert_eq!(admitted, LIMIT - left),
            _ => assert!(admitted <= LIMIT - left, "{admitted}"),
        }
        assert_eq!(get(&mut client, "b"), 200);
        assert_eq!(backend.count() as u64, admitted + 1, "{mode}");
        until("nothing is in flight", || {
            site.envoy.requests_in_flight().unwrap() == 0
        });
        assert!(!site.has_trapped());
    }
}

/// Of the page: "a reload while a request waits: it goes on by the configuration that it began with",
/// whether the engine answers after the reload or not at all.
#[test]
fn a_request_that_waits_over_a_reload_ends_by_the_configuration_that_it_began_with() {
    for (mode, then) in [
        ("ask", Behaviour::Answers),
        ("ask", Behaviour::Silent),
        ("lease", Behaviour::Answers),
        ("lease", Behaviour::Silent),
    ] {
        let engine = Engine::start();
        let version = |version: &str, on_error: &str| {
            let mut configuration = configuration("p1", mode, on_error);
            let headers = json!({ "set": { "x-version": version } });
            let routes = configuration["routes"].as_array_mut().unwrap();
            routes[0]["response_headers"] = headers.clone();
            let match_ = json!({ "path": { "exact": "/version" } });
            routes.insert(0, json!({
                "name": "version", "match": match_, "respond": { "status": 200 }, "response_headers": headers,
            }));
            configuration
        };
        let (before, after) = (version("before", "refuse"), version("after", "admit"));
        let mut file = None;
        let site = Site::start_with(&before, |_, mut deployment| {
            deployment.clusters_mut().push(engine.cluster("p1"));
            let (deployment, watched) = FilterFile::of(deployment.with_workers(1))?;
            file = Some(watched);
            Ok(deployment)
        });
        let (site, file) = (site.unwrap(), file.unwrap());
        let mut client = site.client().unwrap();
        let mut become_live = |configuration: &Value, name: &str| {
            let configuration = PluginConfiguration::Struct(configuration.clone());
            file.configure(configuration).unwrap();
            until("it is live", || {
                header(&client.get("h", "/version").unwrap(), "x-version") == name
            });
        };
        // A reload may take longer than a request may wait. Whichever way, it ends as it began.
        let mut tenant = 0;
        until("a request waits over a reload", || {
            become_live(&before, "before");
            tenant += 1;
            engine.behave(match then {
                Behaviour::Answers => Behaviour::Holds,
                then => then,
            });
            engine.take_asked();
            let mut waiting = site.client().unwrap();
            let of_tenant = tenant.to_string();
            let ask = move |client: &mut Client| {
                let answer = client.get_with("h", "/", &[("x-tenant", &of_tenant)]);
                let answer = answer.unwrap();
                let version = header(&answer, "x-version").to_owned();
                (answer.status().as_u16(), version)
            };
            let waiting = spawn(move || (ask(&mut waiting), waiting, ask));
            until("it waits", || !engine.take_asked().is_empty());
            become_live(&after, "after");
            let has_waited = !waiting.is_finished();
            engine.behave(then);
            let (ended, mut same_connection, ask) = waiting.join().unwrap();
            let expected = match then {
                Behaviour::Answers if has_waited => 200,
                Behaviour::Answers => ended.0,
                _ => 429,
            };
            assert_eq!(ended, (expected, "before".to_owned()), "{mode} {then:?}");
            let next = ask(&mut same_connection);
            assert_eq!(next, (200, "after".to_owned()), "{mode} {then:?}");
            has_waited
        });
        assert!(!site.has_trapped());
    }
}

/// Of the page: "the host makes no gRPC calls: the same as without an answer", and at once.
#[test]
fn a_host_without_grpc_is_an_engine_that_does_not_answer() {
    for (mode, on_error, status) in [
        ("ask", "admit", None),
        ("ask", "refuse", Some(429)),
        ("lease", "admit", None),
        ("lease", "refuse", Some(429)),
    ] {
        let world = World::of(&configuration("p1", mode, on_error), 1).unwrap();
        let pairs = [(":authority", "h"), (":path", "/"), ("x-tenant", "a")];
        let pair = |(name, value): (&str, &str)| (name.into(), value.into());
        let mut request = world.open(0, &pairs.map(pair).to_vec());
        let told = match request.request() {
            RequestOutcome::Forward(_) => None,
            RequestOutcome::Reply(reply) => Some(reply.status),
            RequestOutcome::Wait => panic!("{mode} {on_error}: it waits"),
        };
        assert_eq!(told, status, "{mode} {on_error}");
        request.close();
        assert_eq!(world.proxy().filter_bugs(), 0);
    }
}

/// A proxy tells the end of each call, at the latest at its time-out. Should one not, a tick answers
/// the request, once, after three seconds.
#[test]
fn a_request_whose_answer_is_lost_is_answered_all_the_same() {
    for mode in ["ask", "lease"] {
        let world = World::of(&configuration("p1", mode, "admit"), 1).unwrap();
        world.proxy().lose_grpc_calls();
        let pairs = |tenant: &str| {
            let pairs = [(":authority", "h"), (":path", "/"), ("x-tenant", tenant)];
            let pair = |(name, value): (&str, &str)| (name.into(), value.into());
            pairs.map(pair).to_vec()
        };
        let mut waiting = world.open(0, &pairs("a"));
        assert_eq!(waiting.request(), RequestOutcome::Wait);
        // A clock that jumps ends none.
        world.proxy().jump(3_600_000_000_000);
        world.advance(Duration::from_millis(1));
        assert_eq!(waiting.reply(), None);
        let mut gone = world.open(0, &pairs("b"));
        assert_eq!(gone.request(), RequestOutcome::Wait);
        gone.leaves();
        let mut later = world.open(0, &pairs("c"));
        world.proxy().jump(-3_600_000_000_000);
        world.advance(Duration::from_millis(2500));
        assert_eq!(waiting.reply(), None);
        assert_eq!(later.request(), RequestOutcome::Wait);
        world.advance(Duration::from_millis(2500));
        assert_eq!(waiting.reply().map(|reply| reply.status), Some(503));
        assert_eq!(later.reply(), None);
        world.advance(Duration::from_secs(5));
        assert_eq!(waiting.reply(), None);
        assert_eq!(later.reply().map(|reply| reply.status), Some(503));
        waiting.close();
        later.close();
        assert_eq!(world.proxy().filter_bugs(), 0);
    }
}

/// The VM dies while a request waits: nothing in it can answer any more, and the proxy's own
/// time-out for streams does.
#[test]
fn a_request_that_waits_in_a_vm_that_traps_is_ended_by_the_proxy() {
    let engine = Engine::start();
    engine.behave(Behaviour::Silent);
    let trap = module::build_package("pointsman-trap").unwrap();
    let site = site_with(&engine, "p1", ("ask", "admit"), |mut deployment| {
        deployment.connection_manager_mut()["stream_idle_timeout"] = json!("2s");
        deployment.with_module(&trap).with_workers(1)
    });
    let mut waiting = TcpStream::connect(site.envoy.address().unwrap()).unwrap();
    let request = b"GET / HTTP/1.1\r\nhost: h\r\nx-tenant: a\r\nconnection: close\r\n\r\n";
    waiting.write_all(request).unwrap();
    until("it waits", || !engine.take_asked().is_empty());
    let mut client = site.client().unwrap();
    let _ = client.get_with("h", "/other", &[("x-trap", "1")]);
    until("the trap", || site.has_trapped());
    let mut answer = String::new();
    waiting.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    // The next request finds a new VM.
    engine.behave(Behaviour::Answers);
    until("a new VM serves", || {
        let answer = site
            .client()
            .unwrap()
            .get_with("h", "/", &[("x-tenant", "b")]);
        answer.is_ok_and(|answer| answer.status() == 200)
    });
}

/// Two proxies that buy ahead share one limit: never more than it is admitted, whatever they hold,
/// and with an engine that is dead they have what they had bought and no more.
#[test]
fn tokens_are_bought_ahead_of_need_and_never_above_the_limit() {
    let limit = 3000;
    let mut engine = Engine::start();
    engine.state.lock().unwrap().limit = limit;
    let lease = || site_with(&engine, "p1", ("lease", "refuse"), |deployment| deployment);
    let sites = [lease(), lease()];
    let mut clients = sites.each_ref().map(|site| site.client().unwrap());
    let mut get = |at: usize| get(&mut clients[at % 2], "a");
    let mut admitted = 0;
    let mut calls = 0;
    let leased = || {
        sites
            .iter()
            .map(|site| counted(site, "leased"))
            .sum::<u64>()
    };
    for at in 0..20_000 {
        admitted += u64::from(get(at) == 200);
        if at % 100 == 0 {
            calls += engine.take_asked().len() as u64;
            if leased() > 0 && admitted > calls + 100 {
                break;
            }
        }
    }
    assert!(admitted > calls, "{admitted} by {calls} calls");
    let mut refused = 0;
    for at in 0..20_000 {
        match get(at) {
            200 => (admitted, refused) = (admitted + 1, 0),
            _ => refused += 1,
        }
        if refused == 200 {
            break;
        }
    }
    assert!(admitted <= limit, "{admitted}");
    let granted = engine.counted();
    assert!(
        admitted <= granted && granted <= limit,
        "{admitted} of {granted}"
    );
    engine.server.kill();
    let more = (0..200).filter(|at| get(*at) == 200).count() as u64;
    assert!(
        admitted + more <= granted,
        "{admitted} and {more} of {granted}"
    );
    assert!(sites.iter().all(|site| !site.has_trapped()));
}

/// How many requests the proxy has not answered.
fn active(site: &Site) -> u64 {
    site.envoy.stat("http.edge.downstream_rq_active").unwrap()
}

/// An engine with room for all, and a proxy of one worker that buys tokens of the tenant `a` from it.
fn busy(on_error: &str) -> (Engine, Site) {
    let engine = Engine::start();
    engine.state.lock().unwrap().limit = 100_000;
    let site = site_with(&engine, "p1", ("lease", on_error), |deployment| {
        deployment.with_workers(1)
    });
    let mut client = site.client().unwrap();
    until("the key is busy", || {
        assert_eq!(get(&mut client, "a"), 200);
        counted(&site, "leased") > 0
    });
    (engine, site)
}

/// What is asked for while a call is out waits for its answer, on one worker, and goes on by what
/// that grants or by the next call: for all of them together.
#[test]
fn requests_of_a_busy_key_wait_for_one_call_and_go_on_with_it() {
    const REQUESTS: usize = 60;
    let (engine, site) = busy("admit");
    engine.take_asked();
    engine.behave(Behaviour::Holds);
    let finished = AtomicUsize::new(0);
    let statuses: Vec<u16> = thread::scope(|scope| {
        let requests: Vec<_> = (0..REQUESTS)
            .map(|_| {
                scope.spawn(|| {
                    let status = get(&mut site.client().unwrap(), "a");
                    finished.fetch_add(1, Ordering::SeqCst);
                    status
                })
            })
            .collect();
        until("all are there", || {
            let finished = finished.load(Ordering::SeqCst);
            let waiting = active(&site) as usize;
            waiting >= 20 && finished + waiting >= REQUESTS
        });
        assert!(engine.take_asked().len() <= 1, "each asks for itself");
        engine.behave(Behaviour::Answers);
        let join = |request: thread::ScopedJoinHandle<'_, u16>| request.join().unwrap();
        requests.into_iter().map(join).collect()
    });
    assert_eq!(statuses, vec![200; REQUESTS]);
    let asked = engine.take_asked().len();
    assert!(asked <= 5, "{asked} calls for those that waited");
    until("nothing is in flight", || active(&site) == 0);
    let backend = site.backend("web").unwrap().count();
    assert!(backend >= REQUESTS, "{backend}");
    assert_eq!(site.envoy.filter_bugs().unwrap(), 0);
    assert!(!site.has_trapped());
}

/// Those that wait and go away are forgotten, and cost the others nothing.
#[test]
fn who_waits_for_a_token_and_leaves_is_forgotten() {
    let (engine, site) = busy("refuse");
    let mut client = site.client().unwrap();
    engine.behave(Behaviour::Holds);
    let address = site.envoy.address().unwrap();
    let mut gone = Vec::new();
    until("twenty wait", || {
        let mut stream = TcpStream::connect(address).unwrap();
        let request = b"GET / HTTP/1.1\r\nhost: h\r\nx-tenant: a\r\n\r\n";
        stream.write_all(request).unwrap();
        gone.push(stream);
        active(&site) >= 20
    });
    drop(gone);
    until("they have gone", || active(&site) == 0);
    engine.behave(Behaviour::Answers);
    until("others are admitted", || get(&mut client, "a") == 200);
    for _ in 0..50 {
        assert_eq!(get(&mut client, "a"), 200);
    }
    assert_eq!(site.envoy.filter_bugs().unwrap(), 0);
    assert!(!site.has_trapped());
}

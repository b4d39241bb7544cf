//! Laws of load balancing with two workers: on a real Envoy with real backends, and where a law can
//! be told without either, the same one on the simulator.
//!
//! No law measures how fast the machine is: what takes time is waited for.

use fastrand::Rng;
use host_sim::backend::{Answer, Backend, Received};
use host_sim::client::Client;
use host_sim::envoy::fleet::{Fleet, Member};
use host_sim::envoy::{Deployment, Envoy, FILTER, PluginConfiguration, Wanted, install};
use host_sim::exchange::{Pairs, Response};
use host_sim::module;
use host_sim::world::World;
use host_sim::world::stream::{RequestOutcome, Stream, UpstreamFailure};
use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use pointsman_tests::{GLANCE, PATIENCE, Then, read_until, server, under_load, until};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

/// So that what one worker alone could hide shows.
const WORKERS: usize = 2;

/// How the requests to a cluster of this name end.
const ENDS: [&str; 8] = [
    "whole", "torn", "gone", "nobody", "silent", "endless", "switched", "nowhere",
];

/// For each way to end a pool, a cluster and a route.
fn ends() -> Value {
    let pools = ENDS.map(|end| (end.to_owned(), json!({ "targets": [{ "cluster": end }] })));
    let routes =
        ENDS.map(|end| json!({ "name": end, "match": { "path": { "exact": format!("/{end}") } }, "pool": end }));
    json!({ "pools": serde_json::Map::from_iter(pools), "routes": routes })
}

/// The gauge of a pool of one cluster.
fn gauge(end: &str) -> String {
    format!("pointsman.pool.{end}.target.{end}.in_flight")
}

/// A proxy that counts. A request to `endless` goes on until it is released.
trait Site {
    /// Opens so many requests that go on.
    fn hold(&mut self, count: usize);
    /// How many of them are on VMs that live. (Where a response has begun, an Envoy goes on with it
    /// when the VM traps, and the filter hears no more of it.)
    fn held(&mut self) -> usize;
    /// How long after a trap all counts are right at the latest.
    fn most(&self) -> Duration;
    /// Lets all of them end.
    fn release(&mut self);
    /// One worker's VM traps.
    fn trap(&mut self);
    /// The requests in flight by the gauges.
    fn count(&mut self) -> u64;
    /// Whether a request of its own is answered.
    fn serves(&mut self) -> bool;
    /// Lets a little time pass; how much passed since the site began.
    fn glance(&mut self) -> Duration;
}

struct Simulated {
    world: World,
    held: Vec<Stream>,
    opened: usize,
    passed: Duration,
}

impl Simulated {
    fn start(configuration: &Value) -> Simulated {
        let mut world = World::builder()
            .workers(WORKERS)
            .config(configuration.to_string().as_bytes());
        let clusters = ENDS.iter().filter(|end| **end != "nowhere");
        world = world.clusters(
            clusters
                .map(|end| ((*end).to_owned(), BTreeSet::new()))
                .collect(),
        );
        Simulated {
            world: world.start().unwrap(),
            held: Vec::new(),
            opened: 0,
            passed: Duration::ZERO,
        }
    }

    /// A request, on the workers in turn.
    fn open(&mut self, path: &str) -> (Stream, RequestOutcome) {
        let headers: Pairs = [
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", "a"),
            (":path", path),
        ]
        .map(|(name, value)| (name.into(), value.into()))
        .into();
        self.opened += 1;
        let mut stream = self.world.open(self.opened % WORKERS, &headers);
        let step = stream.request();
        (stream, step)
    }
}

fn answered(status: u16) -> Response {
    Response {
        status,
        headers: Vec::new(),
        body: b"half".to_vec(),
    }
}

impl Site for Simulated {
    fn hold(&mut self, count: usize) {
        for _ in 0..count {
            let (mut stream, step) = self.open("/endless");
            assert!(matches!(step, RequestOutcome::Forward(_)), "{step:?}");
            stream.response_headers(&answered(200), false);
            self.held.push(stream);
        }
    }

    fn held(&mut self) -> usize {
        self.held.retain(Stream::lives);
        self.held.len()
    }

    fn most(&self) -> Duration {
        Duration::from_secs(5)
    }

    fn release(&mut self) {
        self.held.drain(..).for_each(Stream::leaves);
    }

    fn trap(&mut self) {
        self.world.kill(1);
    }

    fn count(&mut self) -> u64 {
        // The gauge of a target is defined with its first request.
        ENDS.iter()
            .filter_map(|end| self.world.proxy().counter(&gauge(end)))
            .sum()
    }

    fn serves(&mut self) -> bool {
        let (mut stream, step) = self.open("/whole");
        if let RequestOutcome::Forward(_) = step {
            stream.response(&answered(200));
        }
        stream.close();
        matches!(step, RequestOutcome::Forward(_))
    }

    fn glance(&mut self) -> Duration {
        self.world.advance(GLANCE);
        self.passed += GLANCE;
        self.passed
    }
}

struct Real {
    envoy: Envoy,
    #[expect(dead_code, reason = "the backends stop with it")]
    fleet: Fleet,
    /// With the workers that they are on.
    held: Vec<(String, TcpStream)>,
    /// Those of VMs that trapped.
    orphans: Vec<(String, TcpStream)>,
    began: Instant,
}

impl Real {
    fn start(configuration: &Value) -> Real {
        static TRAP: OnceLock<PathBuf> = OnceLock::new();
        let trap = TRAP.get_or_init(|| module::build_package("pointsman-trap").unwrap());
        let fleet = Fleet::start(configuration).unwrap();
        let mut deployment = Deployment::of(&fleet, trap)
            .unwrap()
            .with_workers(WORKERS as u32);
        let half = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf";
        let switched = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhalf";
        for member in fleet.members() {
            let to = match &*member.cluster {
                "torn" => server(half, Then::Close),
                "gone" => server("", Then::Close),
                "nobody" => ([127, 0, 0, 1], 1).into(),
                "silent" => server("", Then::Wait),
                "endless" => server(half, Then::Wait),
                "switched" => server(switched, Then::Wait),
                _ => continue,
            };
            deployment = deployment.move_endpoint(member.backend.address(), to);
        }
        let bootstrap = deployment.bootstrap_mut();
        let manager = &mut bootstrap["static_resources"]["listeners"][0]["filter_chains"][0]["filters"]
            [0]["typed_config"];
        manager["upgrade_configs"] = json!([{ "upgrade_type": "websocket" }]);
        // Requests that are held go on for as long as they like.
        let routes = manager["route_config"]["virtual_hosts"][0]["routes"].as_array_mut();
        routes
            .unwrap()
            .iter_mut()
            .for_each(|route| route["route"]["timeout"] = "0s".into());
        let clusters = bootstrap["static_resources"]["clusters"]
            .as_array_mut()
            .unwrap();
        clusters.retain(|cluster| cluster["name"] != "nowhere");
        let envoy = Envoy::start(&install::find(Wanted::Any).unwrap(), deployment).unwrap();
        Real {
            envoy,
            fleet,
            held: Vec::new(),
            orphans: Vec::new(),
            began: Instant::now(),
        }
    }

    /// The worker that takes the one connection that `act` opens.
    fn on_a_worker<T>(&self, act: impl FnOnce(&Real) -> T) -> (String, T) {
        let connections = || {
            let stats = self.envoy.stats("listener.").unwrap().into_iter();
            stats.filter(|(name, _)| {
                name.contains(".worker_") && name.ends_with(".downstream_cx_total")
            })
        };
        let before: BTreeMap<_, _> = connections().collect();
        let result = act(self);
        let mut grown =
            connections().filter(|(name, count)| before.get(name).copied().unwrap_or(0) < *count);
        (grown.next().expect("a connection").0, result)
    }

    /// Sends a request on a connection of its own, with these header lines.
    fn open(&self, path: &str, headers: &str) -> TcpStream {
        open(self.envoy.address().unwrap(), path, headers)
    }
}

fn open(to: SocketAddr, path: &str, headers: &str) -> TcpStream {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

fn in_flight(envoy: &Envoy) -> u64 {
    envoy.requests_in_flight().unwrap()
}

impl Site for Real {
    fn hold(&mut self, count: usize) {
        for _ in 0..count {
            let held = self.on_a_worker(|site| {
                let mut stream = site.open("/endless", "");
                read_until(&mut stream, "half");
                stream
            });
            self.held.push(held);
        }
    }

    fn held(&mut self) -> usize {
        self.held.len()
    }

    /// The ticks of a busy machine come late.
    fn most(&self) -> Duration {
        Duration::from_secs(20)
    }

    fn release(&mut self) {
        self.held.clear();
        self.orphans.clear();
    }

    fn trap(&mut self) {
        let (dead, _) =
            self.on_a_worker(|site| site.open("/whole", "x-trap: 1\r\n").read(&mut [0; 64]));
        let (orphans, held) = self.held.drain(..).partition(|(worker, _)| *worker == dead);
        self.held = held;
        self.orphans.extend::<Vec<_>>(orphans);
    }

    fn count(&mut self) -> u64 {
        in_flight(&self.envoy)
    }

    fn serves(&mut self) -> bool {
        let answer = self.envoy.client().unwrap().get("a", "/whole");
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    fn glance(&mut self) -> Duration {
        sleep(GLANCE);
        self.began.elapsed()
    }
}

/// Each law on both hosts.
macro_rules! laws {
    ($($name:ident;)*) => {
        mod simulated {
            $(#[test] fn $name() { super::$name(&mut super::Simulated::start(&super::ends())); })*
        }
        mod envoy {
            $(#[test] fn $name() { super::$name(&mut super::Real::start(&super::ends())); })*
        }
    };
}

laws! {
    counts_are_right_again_5_s_after_a_vm_trapped_in_the_middle_of_a_hundred_requests;
}

fn counts_are_right_again_5_s_after_a_vm_trapped_in_the_middle_of_a_hundred_requests(
    site: &mut dyn Site,
) {
    const HELD: usize = 100;
    for round in 0..2 {
        let held = site.held();
        site.hold(HELD - held);
        assert_eq!(site.count(), HELD as u64, "round {round}");
        site.trap();
        let trapped = site.glance();
        let took = loop {
            let now = site.glance();
            let held = site.held();
            if held < HELD && site.count() == held as u64 {
                break now - trapped;
            }
            assert!(
                now - trapped < PATIENCE,
                "round {round}: {held} go on, {} are counted",
                site.count()
            );
        };
        println!(
            "round {round}: {} went on, right after {took:?}",
            site.held()
        );
        assert!(took <= site.most(), "round {round}: {took:?}");
        // Both workers serve, and what lives is still counted.
        let mut served = 0;
        while served < 20 {
            let now = site.glance();
            served = if site.serves() { served + 1 } else { 0 };
            assert!(now - trapped < PATIENCE);
        }
    }
    site.release();
    let released = site.glance();
    while site.count() > 0 {
        assert!(
            site.glance() - released < PATIENCE,
            "{} are counted",
            site.count()
        );
    }
}

#[test]
fn counts_return_to_zero_after_a_million_requests_of_which_many_end_badly() {
    const REQUESTS: usize = 1_000_000;
    const STAY: usize = 50;
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = Rng::with_seed(seed);
    let mut site = Simulated::start(&ends());
    for request in 0..REQUESTS {
        let end = ENDS[rng.usize(..ENDS.len())];
        let (mut stream, step) = site.open(&format!("/{end}"));
        assert!(
            matches!(step, RequestOutcome::Forward(_)),
            "{end}: {step:?}"
        );
        match end {
            "torn" => {
                stream.response_headers(&answered(200), false);
                stream.breaks();
            }
            "gone" => {
                stream.fails(UpstreamFailure::Closed);
                stream.close();
            }
            "nobody" => {
                stream.fails(UpstreamFailure::Unreachable);
                stream.close();
            }
            "nowhere" => {
                stream.fails(UpstreamFailure::NoCluster);
                stream.close();
            }
            "silent" => stream.leaves(),
            "endless" | "switched" => {
                stream.response_headers(&answered(if end == "endless" { 200 } else { 101 }), false);
                stream.response_body(4, false);
                // Some stay for a while.
                match site.held.len() < STAY {
                    true => site.held.push(stream),
                    false => std::mem::replace(&mut site.held[rng.usize(..STAY)], stream).leaves(),
                }
            }
            _ => {
                stream.response(&answered(200));
                stream.close();
            }
        }
        if request % 1000 == 0 {
            site.glance();
            assert!(site.count() >= site.held.len() as u64, "seed {seed}");
        }
    }
    site.release();
    // Until the last penalty is over.
    for _ in 0..150 {
        site.glance();
    }
    assert_eq!(site.count(), 0, "seed {seed}");
}

/// `REQUESTS=1000000` in the environment: so many. A million take about ten minutes.
#[test]
fn counts_return_to_zero_on_a_real_envoy_however_requests_end() {
    const CLIENTS: usize = 100;
    let wanted = std::env::var("REQUESTS").map_or(5_000, |wanted| wanted.parse().unwrap());
    let each = wanted / CLIENTS;
    let site = Real::start(&ends());
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    scope(|scope| {
        let address = site.envoy.address().unwrap();
        for client in 0..CLIENTS {
            scope.spawn(move || {
                let mut rng = Rng::with_seed(seed ^ client as u64);
                for _ in 0..each {
                    let end = ENDS[rng.usize(..ENDS.len())];
                    let headers = match end {
                        "switched" => "connection: upgrade\r\nupgrade: websocket\r\n",
                        _ => "connection: close\r\n",
                    };
                    let mut stream = open(address, &format!("/{end}"), headers);
                    match end {
                        // The client leaves: before the answer, in the middle of it, in the other
                        // protocol.
                        "silent" => sleep(Duration::from_millis(rng.u64(..5))),
                        "endless" | "switched" => read_until(&mut stream, "half"),
                        _ => drop(stream.read_to_end(&mut Vec::new())),
                    }
                }
            });
        }
    });
    until("all are received", || {
        site.envoy.stat("http.edge.downstream_rq_total").unwrap() == (each * CLIENTS) as u64
    });
    until("all counts are 0", || in_flight(&site.envoy) == 0);
    let stats = site
        .envoy
        .stats(&format!("{FILTER}pointsman.pool."))
        .unwrap();
    for end in ENDS {
        let gauge = format!("{FILTER}{}", gauge(end));
        assert!(
            stats.iter().any(|(name, _)| *name == gauge),
            "{end} was never counted"
        );
    }
}

#[test]
fn a_web_socket_is_counted_until_it_is_closed() {
    let site = Real::start(&ends());
    let mut sockets = Vec::new();
    for count in 1..=5 {
        let mut socket = site.open("/switched", "connection: upgrade\r\nupgrade: websocket\r\n");
        read_until(&mut socket, "half");
        sockets.push(socket);
        assert_eq!(in_flight(&site.envoy), count);
    }
    while sockets.pop().is_some() {
        until("one less", || {
            in_flight(&site.envoy) == sockets.len() as u64
        });
    }
}

/// How long a connection may go on after a reload.
const DRAIN_TIME: Duration = Duration::from_secs(10);

/// An Envoy with a backend for each target, that can be given another configuration under load.
fn updatable(configuration: &Value) -> (Envoy, Fleet) {
    let fleet = Fleet::start(configuration).unwrap();
    let deployment = Deployment::of(&fleet, &module::build().unwrap()).unwrap();
    let deployment = deployment
        .with_workers(WORKERS as u32)
        .with_drain_time(DRAIN_TIME)
        .updatable();
    (
        Envoy::start(&install::find(Wanted::Any).unwrap(), deployment).unwrap(),
        fleet,
    )
}

fn update(envoy: &mut Envoy, configuration: Value) {
    let deployment = envoy.deployment().clone();
    envoy
        .update(deployment.with_configuration(PluginConfiguration::Struct(configuration)))
        .unwrap();
}

fn get(client: &mut Client, headers: &[(&str, &str)]) -> hyper::Response<Bytes> {
    let request = headers.iter().fold(
        Request::get("/").header("host", "a"),
        |request, (name, value)| request.header(*name, *value),
    );
    client.send(request.body(Full::default()).unwrap()).unwrap()
}

fn backend(answer: &hyper::Response<Bytes>) -> &str {
    assert_eq!(answer.status().as_u16(), 200, "{:?}", answer.headers());
    answer.headers()["x-backend"].to_str().unwrap()
}

/// A job for clients.
fn is_answered(client: &mut Client) {
    backend(&get(client, &[]));
}

/// The pool `web` with targets in these states.
fn web(targets: [(&str, &str); 2]) -> Value {
    let targets = targets.map(|(cluster, state)| json!({ "cluster": cluster, "state": state }));
    let sticky =
        json!({ "cookie": { "name": "pm" }, "keys": ["YS1uZXcta2V5LW9mLWF0LWxlYXN0LTE2LWJ5dGVz"] });
    json!({
        "pools": { "web": { "targets": targets, "sticky": sticky } },
        "routes": [{ "name": "all", "pool": "web" }],
    })
}

#[test]
fn switching_from_blue_to_green_and_back_under_load_loses_no_request() {
    const CLIENTS: usize = 6;
    let (blue, green) = (
        web([("blue", "up"), ("green", "down")]),
        web([("blue", "down"), ("green", "up")]),
    );
    let (mut envoy, fleet) = updatable(&blue);
    let address = envoy.address().unwrap();
    under_load(address, CLIENTS, is_answered, |load| {
        let count = |name: &str| {
            let member = fleet.members().iter().find(|member| member.cluster == name);
            member.unwrap().backend.count()
        };
        for (configuration, to) in [
            (&green, "green"),
            (&blue, "blue"),
            (&green, "green"),
            (&blue, "blue"),
        ] {
            update(&mut envoy, configuration.clone());
            let before = count(to);
            until("the other has the requests", || count(to) > before + 100);
            load.turn();
        }
    });
    until("all counts are 0", || in_flight(&envoy) == 0);
}

#[test]
fn a_draining_target_keeps_its_sessions_and_requests_and_gets_nothing_new() {
    let (mut envoy, fleet) = updatable(&web([("blue", "up"), ("green", "up")]));
    let mut client = envoy.client().unwrap();
    let mut session = String::new();
    until("blue answers", || {
        let answer = get(&mut client, &[]);
        let cookie = answer.headers()["set-cookie"].to_str().unwrap();
        session = cookie.split(';').next().unwrap().to_owned();
        backend(&answer) == "blue"
    });
    // A request to blue that is under way while it begins to drain.
    let slow = Answer::After(Duration::from_secs(3), answered(200));
    let blue = fleet
        .members()
        .iter()
        .find(|member| member.cluster == "blue")
        .unwrap();
    blue.backend.answer(slow);
    let (address, before) = (envoy.address().unwrap(), blue.backend.count());
    scope(|scope| {
        let under_way = scope.spawn(|| {
            let mut client = Client::new(address).unwrap();
            backend(&get(&mut client, &[("cookie", &session)])).to_owned()
        });
        until("it is under way", || blue.backend.count() > before);
        update(&mut envoy, web([("blue", "draining"), ("green", "up")]));
        blue.backend.answer(Answer::Name);
        assert_eq!(under_way.join().unwrap(), "blue");
    });
    for _ in 0..20 {
        let mut client = envoy.client().unwrap();
        assert_eq!(backend(&get(&mut client, &[])), "green");
        assert_eq!(backend(&get(&mut client, &[("cookie", &session)])), "blue");
    }
    until("all counts are 0", || in_flight(&envoy) == 0);
    // Down: the session moves, and is a new one.
    update(&mut envoy, web([("blue", "down"), ("green", "up")]));
    for _ in 0..20 {
        let answer = get(&mut envoy.client().unwrap(), &[("cookie", &session)]);
        assert_eq!(backend(&answer), "green");
        assert!(answer.headers().contains_key("set-cookie"));
    }
}

#[test]
fn a_key_goes_to_the_same_target_on_every_worker_and_after_a_restart() {
    const KEYS: usize = 50;
    const CONNECTIONS: usize = 30;
    let targets = ["a", "b", "c", "d", "e"].map(|cluster| json!({ "cluster": cluster }));
    let (mut envoy, _fleet) = updatable(&json!({
        "pools": { "web": { "balance": { "consistent_hash": { "key": { "header": "x-key" } } }, "targets": targets } },
        "routes": [{ "name": "all", "pool": "web" }],
    }));
    let mut homes = BTreeMap::<String, String>::new();
    for restarts in 0..2 {
        if restarts > 0 {
            envoy.restart().unwrap();
        }
        // The kernel deals connections to workers by a hash: that one of two gets none of thirty
        // has a chance of 1 in 5 × 10^8.
        for _ in 0..CONNECTIONS {
            let mut client = envoy.client().unwrap();
            for key in (0..KEYS).map(|key| key.to_string()) {
                let home = backend(&get(&mut client, &[("x-key", &key)])).to_owned();
                let first = homes.entry(key).or_insert_with(|| home.clone());
                assert_eq!(*first, home, "{restarts} restarts");
            }
        }
    }
    assert_eq!(homes.values().collect::<BTreeSet<_>>().len(), targets.len());
}

#[test]
fn a_slow_backend_gets_less_than_a_fifth_of_its_share() {
    const CLIENTS: usize = 12;
    const REQUESTS: usize = 400;
    /// Before these, when nothing is known yet.
    const FIRST: usize = 60;
    // Long enough that a busy machine does not make them alike.
    let delay = |name: &str| Duration::from_millis(if name == "slow" { 3000 } else { 300 });
    for balance in ["least_connections", "least_response_time"] {
        let targets = ["fast", "faster", "slow"].map(|cluster| json!({ "cluster": cluster }));
        let (envoy, fleet) = updatable(&json!({
            "pools": { "web": { "balance": balance, "targets": targets } },
            "routes": [{ "name": "all", "pool": "web" }],
        }));
        for Member { backend, .. } in fleet.members() {
            backend.answer(Answer::After(delay(backend.name()), answered(200)));
        }
        let (address, sent, slow) = (
            envoy.address().unwrap(),
            AtomicUsize::new(0),
            AtomicUsize::new(0),
        );
        scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| {
                    let mut client = Client::new(address).unwrap();
                    loop {
                        let number = sent.fetch_add(1, Ordering::Relaxed);
                        if number >= FIRST + REQUESTS {
                            break;
                        }
                        if backend(&get(&mut client, &[])) == "slow" && number >= FIRST {
                            slow.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        let (slow, fair) = (slow.into_inner(), REQUESTS / 3);
        println!("{balance}: {slow} of {REQUESTS}; a fair share is {fair}");
        assert!(slow < fair / 5, "{balance}: {slow} of {REQUESTS}");
    }
}

/// A pool of three endpoints.
fn three() -> Value {
    let targets = ["127.0.0.1:9101", "127.0.0.1:9102", "127.0.0.1:9103"]
        .map(|endpoint| json!({ "endpoint": endpoint }));
    json!({
        "pools": { "api": { "cluster": "api", "targets": targets } },
        "routes": [{ "name": "all", "pool": "api" }],
    })
}

#[test]
fn with_the_shipped_retry_no_client_notices_that_one_backend_of_three_is_killed() {
    const CLIENTS: usize = 6;
    let (envoy, mut fleet) = updatable(&three());
    under_load(envoy.address().unwrap(), CLIENTS, is_answered, |load| {
        for _ in 0..3 {
            load.more(200);
            fleet.members_mut()[1].backend.stop();
            load.more(500);
            fleet.members_mut()[1].backend.start_again().unwrap();
            until("it is back", || fleet.members()[1].backend.count() > 20);
        }
    });
    until("all counts are 0", || in_flight(&envoy) == 0);
}

// Health.

/// Probes of every target each second, and passive checks that a second failure answers.
fn checks() -> Value {
    json!({
        "active": { "path": "/health", "interval": "1s", "timeout": "1s", "rise": RISE, "fall": 2 },
        "passive": { "consecutive_failures": 2, "eject": "1h", "max_eject": "1h" },
    })
}

/// So many good probes bring a target back.
const RISE: usize = 2;

fn member<'f>(fleet: &'f mut Fleet, name: &str) -> &'f mut Backend {
    let member = fleet
        .members_mut()
        .iter_mut()
        .find(|member| member.backend.name() == name);
    &mut member.unwrap().backend
}

/// Who answers a request of a new connection; none: an error.
fn answerer(envoy: &Envoy, headers: &[(&str, &str)]) -> Option<String> {
    let answer = get(&mut envoy.client().unwrap(), headers);
    answer
        .status()
        .is_success()
        .then(|| backend(&answer).to_owned())
}

/// A request and the next ones, on whatever workers, are answered by this backend: at last, and
/// then always.
fn goes_to(envoy: &Envoy, name: &str, headers: &[(&str, &str)]) {
    let is_it = || answerer(envoy, headers).as_deref() == Some(name);
    // So many in a row that every worker has learned of it.
    let mut row = 0;
    until("all requests go there", || {
        row = if is_it() { row + 1 } else { 0 };
        row >= 10
    });
    for _ in 0..30 {
        assert!(is_it(), "{name}");
    }
}

#[test]
fn of_a_killed_backend_clients_see_its_first_failures_only_and_rise_probes_bring_it_back() {
    const CLIENTS: usize = 6;
    let targets = ["one", "two", "three"].map(|cluster| json!({ "cluster": cluster }));
    let (envoy, mut fleet) = updatable(&json!({
        "pools": { "web": { "targets": targets, "health": checks() } },
        "routes": [{ "name": "all", "pool": "web" }],
    }));
    let errors = AtomicUsize::new(0);
    let job = |client: &mut Client| {
        if !get(client, &[]).status().is_success() {
            errors.fetch_add(1, Ordering::Relaxed);
        }
    };
    under_load(envoy.address().unwrap(), CLIENTS, job, |load| {
        load.more(300);
        assert_eq!(errors.load(Ordering::Relaxed), 0);
        let metric = |name: &str| {
            envoy
                .filter_stat(&format!("pointsman.pool.web.target.two.{name}"))
                .unwrap()
        };
        member(&mut fleet, "two").stop();
        until("it is ejected", || metric("ejected") + metric("fell") > 0);
        // What is under way may still fail.
        load.turn();
        let first = errors.load(Ordering::Relaxed);
        load.more(1000);
        assert_eq!(
            errors.load(Ordering::Relaxed),
            first,
            "after {first} failures"
        );
        println!("{first} failures");
        let late = || envoy.stat("cluster.two.upstream_rq_timeout").unwrap();
        let late_before = late();
        member(&mut fleet, "two").start_again().unwrap();
        until("probes bring it back", || metric("recovered") > 0);
        let mut received = Vec::new();
        let is_probe = |request: &Received| request.headers[1].1 == b"/health";
        until("requests come to it", || {
            received.extend(member(&mut fleet, "two").take_received());
            received.iter().any(|request| !is_probe(request))
        });
        let probes = received
            .iter()
            .take_while(|request| is_probe(request))
            .count();
        // No more of them than it takes; one may be under way meanwhile, and on a busy machine a
        // late one makes them begin afresh.
        let late = (late() - late_before) as usize;
        assert!(
            (RISE..=RISE * (late + 1) + 1).contains(&probes),
            "{probes} probes, of which {late} were answered late"
        );
        load.more(300);
        assert_eq!(errors.load(Ordering::Relaxed), first);
    });
}

#[test]
fn a_region_that_is_down_is_passed_over_and_comes_back_by_itself() {
    let (envoy, mut fleet) = updatable(&json!({
        "pools": { "web": {
            "targets": [{ "cluster": "kr", "region": "seoul" }, { "cluster": "us", "region": "virginia" }],
            "prefer_region": { "header": "x-geo-country", "map": { "KR": "seoul", "US": "virginia" }, "default": "seoul" },
            "health": checks(),
        } },
        "routes": [{ "name": "all", "pool": "web" }],
    }));
    let (korea, america) = ([("x-geo-country", "KR")], [("x-geo-country", "US")]);
    goes_to(&envoy, "kr", &korea);
    goes_to(&envoy, "us", &america);
    member(&mut fleet, "kr").stop();
    goes_to(&envoy, "us", &korea);
    goes_to(&envoy, "us", &america);
    member(&mut fleet, "kr").start_again().unwrap();
    goes_to(&envoy, "kr", &korea);
    goes_to(&envoy, "us", &america);
}

#[test]
fn a_pool_fails_over_and_comes_back_by_itself() {
    let (envoy, mut fleet) = updatable(&json!({
        "pools": {
            "web": { "targets": [{ "cluster": "web" }], "failover": ["spare"], "health": checks() },
            "spare": { "targets": [{ "cluster": "spare" }] },
        },
        "routes": [{ "name": "all", "pool": "web" }],
    }));
    goes_to(&envoy, "web", &[]);
    member(&mut fleet, "web").stop();
    goes_to(&envoy, "spare", &[]);
    let failover = envoy.filter_stat("pointsman.pool.web.failover").unwrap();
    assert!(failover >= 30, "{failover}");
    member(&mut fleet, "web").start_again().unwrap();
    goes_to(&envoy, "web", &[]);
}

#[test]
fn one_vm_probes_at_a_time_and_another_goes_on_when_vms_trap() {
    const PROBES: usize = 10;
    let configuration = json!({
        "pools": { "web": { "targets": [{ "cluster": "web" }], "health": checks() } },
        "routes": [{ "name": "all", "pool": "web" }],
    });
    let fleet = Fleet::start(&configuration).unwrap();
    let trap = module::build_package("pointsman-trap").unwrap();
    let deployment = Deployment::of(&fleet, &trap)
        .unwrap()
        .with_workers(WORKERS as u32);
    let envoy = Envoy::start(&install::find(Wanted::Any).unwrap(), deployment).unwrap();
    let backend = &fleet.members()[0].backend;
    for round in 0..2 {
        // Between the first of these probes and the last at least so many intervals pass: with two
        // probers half of it would do.
        until("a probe", || !backend.take_received().is_empty());
        let (start, before) = (Instant::now(), backend.count());
        until("probes", || backend.count() >= before + PROBES);
        let intervals = start.elapsed().as_secs_f64();
        assert!(
            intervals > 0.7 * PROBES as f64,
            "round {round}: {PROBES} probes in {intervals} intervals"
        );
        for _ in 0..10 {
            // Some come to either worker; a VM that is dead already answers 503.
            let _ = get(&mut envoy.client().unwrap(), &[("x-trap", "1")]);
        }
    }
}

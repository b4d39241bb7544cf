//! The counts of requests in flight: over all workers, however requests end, and whatever VMs trap
//! meanwhile.

use super::{WORKERS, answered, until_none_is_in_flight};
use fastrand::Rng;
use host_sim::envoy::FILTER;
use host_sim::exchange::Pairs;
use host_sim::module;
use host_sim::testkit::raw_server::{self, HALF, SWITCHED, Then, read_until};
use host_sim::testkit::{Site, load};
use host_sim::wait::{TIMEOUT, until};
use host_sim::world::World;
use host_sim::world::stream::{RequestOutcome, Stream, UpstreamFailure};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How requests end: each cluster is called like the end of its requests.
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

/// How much time passes between two looks at the counts.
const STEP: Duration = Duration::from_millis(20);

/// How far apart the requests are that a host opens to hold them.
const APART: Duration = Duration::from_millis(3);

/// A host whose filter counts. A request to `endless` goes on until it is released.
trait CountingHost {
    /// Opens `count` requests that go on.
    fn hold(&mut self, count: usize);
    /// How many of them are on VMs that have not trapped. (Where a response has begun, an Envoy
    /// goes on with it when the VM traps, and the filter does not see its end.)
    fn held(&mut self) -> usize;
    /// After what time since a trap all counts are right at the latest.
    fn deadline(&self) -> Duration;
    /// Lets all requests end that are held.
    fn release(&mut self);
    /// The VM of one worker traps.
    fn trap(&mut self);
    /// The requests in flight by the gauges.
    fn count(&mut self) -> u64;
    /// Whether another request is answered.
    fn serves(&mut self) -> bool;
    /// Lets [`STEP`] pass. Returns how much time has passed since the host began.
    fn step(&mut self) -> Duration;
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

impl CountingHost for Simulated {
    fn hold(&mut self, count: usize) {
        for _ in 0..count {
            // As a real one, not all at one instant: a burst is shared with the next tick.
            self.world.advance(APART);
            self.passed += APART;
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

    /// The promise.
    fn deadline(&self) -> Duration {
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

    fn step(&mut self) -> Duration {
        self.world.advance(STEP);
        self.passed += STEP;
        self.passed
    }
}

/// A real Envoy whose VMs trap on demand.
struct Real {
    site: Site,
    /// The requests that are held, with the workers that they are on.
    held: Vec<(String, TcpStream)>,
    /// The requests that were held on VMs that trapped.
    orphans: Vec<(String, TcpStream)>,
    began: Instant,
}

impl Real {
    fn start(configuration: &Value) -> Real {
        static TRAP: OnceLock<PathBuf> = OnceLock::new();
        let trap = TRAP.get_or_init(|| module::build_package("pointsman-trap").unwrap());
        let site = Site::start_with(configuration, |fleet, deployment| {
            let mut deployment = deployment.with_module(trap);
            for member in fleet.members() {
                let to = match &*member.cluster {
                    "torn" => raw_server::start(HALF, Then::Close),
                    "gone" => raw_server::start("", Then::Close),
                    "nobody" => ([127, 0, 0, 1], 1).into(),
                    "silent" => raw_server::start("", Then::Wait),
                    "endless" => raw_server::start(HALF, Then::Wait),
                    "switched" => raw_server::start(SWITCHED, Then::Wait),
                    _ => continue,
                };
                deployment = deployment.move_endpoint(member.backend.address(), to);
            }
            let manager = deployment.connection_manager_mut();
            manager["upgrade_configs"] = json!([{ "upgrade_type": "websocket" }]);
            // Requests that are held go on for as long as they like.
            let routes = manager["route_config"]["virtual_hosts"][0]["routes"].as_array_mut();
            routes
                .unwrap()
                .iter_mut()
                .for_each(|route| route["route"]["timeout"] = "0s".into());
            let clusters = deployment.clusters_mut();
            clusters.retain(|cluster| cluster["name"] != "nowhere");
            Ok(deployment)
        });
        Real {
            site: site.unwrap(),
            held: Vec::new(),
            orphans: Vec::new(),
            began: Instant::now(),
        }
    }

    /// The worker that takes the one connection that `act` opens, and what `act` returned.
    fn on_a_worker<T>(&self, act: impl FnOnce(&Real) -> T) -> (String, T) {
        let connections = || self.site.envoy.connections_by_worker().unwrap();
        let before = connections();
        let result = act(self);
        let mut grown = connections()
            .into_iter()
            .filter(|(worker, count)| before.get(worker).copied().unwrap_or(0) < *count);
        (grown.next().expect("a connection").0, result)
    }

    /// Sends a request on a connection of its own, with these header lines.
    fn open(&self, path: &str, headers: &str) -> TcpStream {
        open(self.site.envoy.address().unwrap(), path, headers)
    }

    fn in_flight(&self) -> u64 {
        self.site.envoy.requests_in_flight().unwrap()
    }
}

fn open(to: SocketAddr, path: &str, headers: &str) -> TcpStream {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

impl CountingHost for Real {
    fn hold(&mut self, count: usize) {
        for _ in 0..count {
            let held = self.on_a_worker(|real| {
                let mut stream = real.open("/endless", "");
                read_until(&mut stream, "half");
                stream
            });
            self.held.push(held);
        }
    }

    fn held(&mut self) -> usize {
        self.held.len()
    }

    /// Four times the promise: the ticks of a busy machine come late.
    fn deadline(&self) -> Duration {
        Duration::from_secs(20)
    }

    fn release(&mut self) {
        self.held.clear();
        self.orphans.clear();
    }

    fn trap(&mut self) {
        let (dead, _) =
            self.on_a_worker(|real| real.open("/whole", "x-trap: 1\r\n").read(&mut [0; 64]));
        let (orphans, held) = self.held.drain(..).partition(|(worker, _)| *worker == dead);
        self.held = held;
        self.orphans.extend::<Vec<_>>(orphans);
    }

    fn count(&mut self) -> u64 {
        self.in_flight()
    }

    fn serves(&mut self) -> bool {
        let answer = self.site.client().unwrap().get("a", "/whole");
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    fn step(&mut self) -> Duration {
        sleep(STEP);
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
    counts_are_right_again_after_a_vm_traps_in_the_middle_of_a_hundred_requests;
}

fn counts_are_right_again_after_a_vm_traps_in_the_middle_of_a_hundred_requests(
    host: &mut dyn CountingHost,
) {
    const HELD: usize = 100;
    for round in 0..2 {
        let held = host.held();
        host.hold(HELD - held);
        // A worker that had many within a moment tells of the last ones with its next tick.
        let opened = host.step();
        while host.count() != HELD as u64 {
            let now = host.step();
            assert!(now - opened < TIMEOUT, "round {round}: {}", host.count());
        }
        host.trap();
        let trapped = host.step();
        let took = loop {
            let now = host.step();
            let held = host.held();
            if held < HELD && host.count() == held as u64 {
                break now - trapped;
            }
            assert!(
                now - trapped < TIMEOUT,
                "round {round}: {held} go on, {} are counted",
                host.count()
            );
        };
        println!(
            "round {round}: {} went on, right after {took:?}",
            host.held()
        );
        assert!(took <= host.deadline(), "round {round}: {took:?}");
        // Both workers serve, and the requests that go on are still counted.
        let mut served = 0;
        while served < 20 {
            let now = host.step();
            served = if host.serves() { served + 1 } else { 0 };
            assert!(now - trapped < TIMEOUT);
        }
    }
    host.release();
    let released = host.step();
    while host.count() > 0 {
        assert!(
            host.step() - released < TIMEOUT,
            "{} are counted",
            host.count()
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
    let mut host = Simulated::start(&ends());
    for request in 0..REQUESTS {
        let end = ENDS[rng.usize(..ENDS.len())];
        let (mut stream, step) = host.open(&format!("/{end}"));
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
                match host.held.len() < STAY {
                    true => host.held.push(stream),
                    false => std::mem::replace(&mut host.held[rng.usize(..STAY)], stream).leaves(),
                }
            }
            _ => {
                stream.response(&answered(200));
                stream.close();
            }
        }
        if request % 1000 == 0 {
            host.step();
            // A busy worker asks for the time with one request of 16 (`worker/clock.rs`), and then
            // shares its counts.
            (0..WORKERS * 16).for_each(|_| assert!(host.serves()));
            assert!(host.count() >= host.held.len() as u64, "seed {seed}");
        }
    }
    host.release();
    // Until the last penalty is over.
    for _ in 0..150 {
        host.step();
    }
    assert_eq!(host.count(), 0, "seed {seed}");
}

/// `REQUESTS=1000000` in the environment sets how many. A million take about ten minutes.
#[test]
fn counts_return_to_zero_on_a_real_envoy_however_requests_end() {
    const CLIENTS: usize = 100;
    let wanted = std::env::var("REQUESTS").map_or(5_000, |wanted| wanted.parse().unwrap());
    let each = wanted / CLIENTS;
    let Real { site, .. } = Real::start(&ends());
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let address = site.envoy.address().unwrap();
    load::run(CLIENTS, |client| {
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
    until("all are received", || {
        site.envoy.stat("http.edge.downstream_rq_total").unwrap() == (each * CLIENTS) as u64
    });
    until_none_is_in_flight(&site);
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
    let real = Real::start(&ends());
    let mut sockets = Vec::new();
    for count in 1..=5 {
        let mut socket = real.open("/switched", "connection: upgrade\r\nupgrade: websocket\r\n");
        read_until(&mut socket, "half");
        sockets.push(socket);
        until("one more", || real.in_flight() == count);
    }
    while sockets.pop().is_some() {
        until("one less", || real.in_flight() == sockets.len() as u64);
    }
}

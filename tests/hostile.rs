//! Nothing unsafe to face the internet: whatever bytes a client sends, no VM traps, the client does
//! not choose the upstream, and what the filter writes is well-formed. On the simulator whole lives
//! of streams are drawn from a seed; on a real Envoy with two workers a raw socket sends what no
//! client library would.

use host_sim::envoy::{Wanted, install};
use host_sim::envoy_host::EnvoyHost;
use host_sim::exchange::{ExchangeRequest, Host, Pairs, Response};
use host_sim::module;
use host_sim::world::World;
use host_sim::world::stream::RequestOutcome;
use pointsman_tests::{PATIENCE, until};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{RngSeed, TestRunner};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const SEED: u64 = 0x6865_6c6c_6f21;

/// How many worlds the property test lives through, each with up to [`LIVES`] streams.
const CASES: u32 = 400;
const LIVES: usize = 12;

/// The longest value: what the issue asks for.
const LONG: usize = 64 * 1024;
/// The most repeats of one header or cookie: what the issue asks for.
const REPEATS: usize = 500;

const TOKEN: &str = "secret";
/// What a decision can be. The proxy has one more cluster, `spare`.
const CLUSTERS: [&str; 4] = ["blue", "green", "violet", "api"];
const ENDPOINTS: [&str; 2] = ["127.0.0.1:9101", "127.0.0.1:9102"];

/// Every feature, on routes that hostile requests reach.
fn configuration() -> Value {
    let served = json!({ "set": { "x-served-by": "pointsman" }, "remove": ["server"], "add": { "x-list": ["a", "b"] } });
    json!({
        "client_ip": { "header": "x-forwarded-for", "trusted_hops": 2 },
        "pools": {
            "web": {
                "targets": [{ "cluster": "blue", "weight": 3 }, { "cluster": "green", "state": "draining" }, { "cluster": "violet" }],
                "sticky": {
                    "cookie": { "name": "pm", "ttl": "1h", "secure": true, "same_site": "none" },
                    "header": "x-session",
                    "keys": ["c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0ISEhISE=", "b2xkZXItc2VjcmV0LW9sZGVyLXNlY3JldA=="],
                },
            },
            "no route leads here": { "targets": [{ "cluster": "spare" }] },
            "plain": { "balance": "random", "targets": [{ "cluster": "green" }], "sticky": { "cookie": { "name": "pm" } } },
            "api": {
                "cluster": "api",
                "targets": [{ "endpoint": ENDPOINTS[0], "weight": 2 }, { "endpoint": ENDPOINTS[1] }],
            },
        },
        "rate_limits": {
            "few": { "requests": 3, "per": "1s", "key": ["client_ip", { "header": "user-agent" }, { "cookie": "a" }] },
            "seen": { "requests": 1, "per": "1m", "key": ["path", { "query": "a" }], "shadow": true },
        },
        "rate_limit_table": { "max_keys": 8 },
        "routes": [
            {
                "name": "everything",
                "match": [
                    {
                        "hosts": ["*.a", "b"],
                        "path": { "regex": "/(r|[^/]*x)+.*" },
                        "methods": ["GET", "POST"],
                        "scheme": "http",
                        "headers": [
                            { "name": "x-a", "regex": "(a|aa|.)*" },
                            { "name": "x-b", "contains": "bb", "invert": true },
                            { "name": "x-c", "prefix": "c", "invert": true },
                            { "name": ":path", "suffix": "zz", "invert": true },
                        ],
                        "cookies": [{ "name": "a", "regex": "[^b]*", "invert": true }, { "name": "z", "present": false }],
                        "query": [{ "name": "a", "contains": "z", "invert": true }],
                        "client_ip": ["0.0.0.0/0", "::/0"],
                    },
                    { "path": { "regex": "/r.*" } },
                ],
                "response_headers": served,
                "rate_limits": ["few", "seen"],
                "rewrite": { "path_regex": { "pattern": "(a+|.)(b)?", "substitution": "\\2(\\1)" }, "host": "inner:80" },
                "pool": "web",
            },
            {
                "name": "prefix",
                "match": { "path": { "prefix": "/p", "ignore_case": true } },
                "request_headers": { "set": { "x-set": "1" }, "add": { "x-a": ["1", "2"] }, "remove": ["x-b", "cookie"] },
                "response_headers": served,
                "rewrite": { "path_prefix": "/" },
                "rate_limits": ["seen"],
                "pool": "api",
            },
            {
                "name": "template",
                "match": { "path": { "template": "/t/{id}/{rest=**}" } },
                "response_headers": served,
                "rewrite": { "path": "/{rest}/{id}" },
                "split": [
                    { "pool": "web", "weight": 2, "request_headers": { "set": { "x-part": "1" } } },
                    { "pool": "api", "weight": 1, "response_headers": { "add": { "x-part": "2" } } },
                    { "pool": "plain", "weight": 1 },
                ],
            },
            {
                "name": "moved",
                "match": { "path": { "prefix": "/m" } },
                "response_headers": served,
                "redirect": { "path_regex": { "pattern": "m(.*)", "substitution": "n\\1\\1" }, "port": 8443 },
            },
            {
                "name": "shortened",
                "match": { "path": { "template": "/s/{rest=**}" } },
                "response_headers": served,
                "redirect": { "scheme": "https", "path": "/{rest}", "status": 308 },
            },
            {
                "name": "closed",
                "match": { "path": { "prefix": "/c" } },
                "response_headers": served,
                "respond": { "status": 403, "body": "no entry\n", "headers": { "x-why": ["a", "b"] } },
            },
            { "name": "out", "match": { "path": { "prefix": "/o" } }, "response_headers": served, "pass": true },
            { "name": "plain", "match": { "path": { "exact": "/" } }, "response_headers": served, "pool": "plain" },
        ],
        "no_route": { "pass": true },
        "explain": { "header": "x-explain", "token": TOKEN },
    })
}

/// The starts of paths that lead to each route of [`configuration`], to none, and to what is no
/// path.
const PATHS: [&str; 14] = [
    "/r", "/x", "/p", "/P/", "/t/1/", "/t/", "/m", "/s/", "/c", "/o", "/", "/none", "*", "",
];

/// The headers that some condition, key or decision looks at.
const NAMES: [&str; 14] = [
    "cookie",
    "x-a",
    "x-b",
    "x-c",
    "x-session",
    "x-forwarded-for",
    "user-agent",
    "x-explain",
    "x-pointsman-cluster",
    "X-Pointsman-Endpoint",
    "x-set",
    "server",
    "connection",
    "",
];

/// What is almost right.
const SEMANTIC: [&[u8]; 22] = [
    b"blue",
    b"api",
    b"127.0.0.1:9101",
    b"a=1",
    b"pm=; pm; pm==; =pm; pm=\"",
    b"pm=AAAAAAAAAAAAAAAAAAA; a=\xff",
    b"pm=AQ/+AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    b"1.1.1.1, 2.2.2.2",
    b"[::1]:1,[",
    b"::ffff:1.2.3.4%x,%",
    b"a:b:c",
    b"[::1]:99999",
    b"user:pass@b",
    b"x.a",
    b"secret",
    b"secret;roll=0.9999999999999999999999",
    b"secret;roll=1e-400",
    b"?a=%",
    b"?a=%4&&=&a=%zz&%61=z",
    b"\r\nset-cookie: evil=1\r\n\r\n",
    b"\0",
    b"/../..//%2f",
];

fn bytes() -> BoxedStrategy<Vec<u8>> {
    let few = vec(any::<u8>(), 0..24);
    let words = vec(select(&SEMANTIC[..]), 1..4).prop_map(|words| words.concat());
    let long = (vec(any::<u8>(), 1..3), 1..=LONG)
        .prop_map(|(unit, length)| unit.repeat(length / unit.len()));
    prop_oneof![8 => few, 8 => words, 1 => long].boxed()
}

fn header() -> impl Strategy<Value = (Vec<u8>, Vec<u8>, usize)> {
    let name = prop_oneof![
        12 => select(&NAMES[..]).prop_map(|name| name.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 1..8),
    ];
    (
        name,
        bytes(),
        prop_oneof![20 => 1..3_usize, 1 => REPEATS..=REPEATS],
    )
        // What is both long and many is more than any proxy takes.
        .prop_map(|(name, value, times): (Vec<u8>, Vec<u8>, usize)| {
            let times = times.min(1 + 4 * LONG / value.len().max(1));
            (name, value, times)
        })
}

/// How long a stream lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Life {
    /// It is opened and never heard of again.
    Opened,
    /// The client leaves before anything.
    Left,
    /// The request, and then nothing more.
    Lost,
    /// The client leaves before the response.
    Aborted,
    /// The response too, but never an end.
    Endless,
    /// To its end.
    Whole,
}

#[derive(Clone, Debug)]
struct Hostile {
    request: Pairs,
    life: Life,
    /// How the clock jumps before, in nanoseconds.
    jump: i64,
    upstream: Vec<u8>,
}

fn hostile() -> impl Strategy<Value = Hostile> {
    let path =
        (select(&PATHS[..]), bytes()).prop_map(|(start, rest)| [start.as_bytes(), &rest].concat());
    let or_bytes = |usual: &'static [&'static str]| prop_oneof![4 => select(usual).prop_map(|usual| usual.as_bytes().to_vec()), 1 => bytes()];
    let pseudo = (
        prop::option::weighted(0.95, or_bytes(&["b", "x.a", "b:80", "c"])),
        prop::option::weighted(0.95, path),
        prop::option::weighted(0.95, or_bytes(&["GET", "POST", "CONNECT", "OPTIONS"])),
        prop::option::weighted(0.95, or_bytes(&["http", "https"])),
    );
    let life = select(
        &[
            Life::Opened,
            Life::Left,
            Life::Lost,
            Life::Aborted,
            Life::Endless,
            Life::Whole,
            Life::Whole,
            Life::Whole,
        ][..],
    );
    let second = 1_000_000_000_i64;
    let jump = prop_oneof![10 => Just(0), 4 => -3 * second..3 * second, 1 => any::<i64>()];
    (
        pseudo,
        any::<bool>(),
        vec(header(), 0..6),
        life,
        jump,
        bytes(),
    )
        .prop_map(
            |((authority, path, method, scheme), asks, headers, life, jump, upstream)| {
                let pseudo = [
                    (":authority", authority),
                    (":path", path),
                    (":method", method),
                    (":scheme", scheme),
                ];
                let mut request: Pairs = pseudo
                    .into_iter()
                    .filter_map(|(name, value)| Some((name.into(), value?)))
                    .collect();
                // The first value counts.
                request.extend(asks.then(|| (b"x-explain".to_vec(), TOKEN.into())));
                for (name, value, times) in headers {
                    request.extend(std::iter::repeat_n((name, value), times));
                }
                Hostile {
                    request,
                    life,
                    jump,
                    upstream,
                }
            },
        )
}

fn values<'p>(pairs: &'p Pairs, name: &str) -> Vec<&'p [u8]> {
    let named = pairs.iter().filter(|(other, _)| other == name.as_bytes());
    named.map(|(_, value)| &value[..]).collect()
}

fn ends_a_header(value: &[u8]) -> bool {
    value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0))
}

/// What the filter wrote: the pairs that were not there before. Pseudo-headers may hold what the
/// client's held.
fn assert_well_formed(after: &Pairs, before: &Pairs) {
    for (name, value) in after {
        let theirs = before
            .iter()
            .any(|(n, v)| n.eq_ignore_ascii_case(name) && v == value);
        let path = |pairs: &Pairs| {
            values(pairs, ":path")
                .iter()
                .any(|path| ends_a_header(path))
        };
        let carried = name == b":path" && path(before);
        assert!(
            theirs || carried || !ends_a_header(value),
            "{}: {}",
            name.escape_ascii(),
            value.escape_ascii()
        );
    }
}

/// The upstream headers are those of the filter's decision, as far as it told it.
fn assert_chosen(forwarded: &Pairs, decision: Option<&Value>) {
    let (cluster, endpoint) = (
        values(forwarded, "x-pointsman-cluster"),
        values(forwarded, "x-pointsman-endpoint"),
    );
    assert!(
        cluster.len() <= 1 && endpoint.len() <= cluster.len(),
        "{cluster:?} {endpoint:?}"
    );
    assert!(values(forwarded, "x-explain").is_empty());
    let known = |value: &[u8], all: &[&str]| all.iter().any(|one| one.as_bytes() == value);
    assert!(
        cluster.iter().all(|cluster| known(cluster, &CLUSTERS)),
        "{cluster:?}"
    );
    for list in &endpoint {
        assert!(
            list.split(|byte| *byte == b',')
                .all(|endpoint| known(endpoint, &ENDPOINTS))
        );
    }
    if let Some(decision) = decision {
        let told = |key: &str| decision[key].as_str().map(str::as_bytes);
        assert_eq!(cluster.first().copied(), told("cluster"), "{decision}");
        let first = endpoint
            .first()
            .and_then(|list| list.split(|byte| *byte == b',').next());
        assert_eq!(first, told("endpoint"), "{decision}");
        assert_eq!(
            told("action") == Some(b"forward"),
            !cluster.is_empty(),
            "{decision}"
        );
    }
}

fn live(world: &World, worker: usize, hostile: &Hostile) {
    world.proxy().jump(hostile.jump);
    let mut stream = world.open(worker, &hostile.request);
    let upstream = Response {
        status: 200,
        headers: vec![
            (b"x-up".to_vec(), hostile.upstream.clone()),
            (b"server".to_vec(), hostile.upstream.clone()),
        ],
        body: Vec::new(),
    };
    if hostile.life > Life::Left {
        let step = stream.request();
        if let RequestOutcome::Forward(headers) = &step {
            assert_well_formed(headers, &hostile.request);
            assert_chosen(headers, None);
        }
        let response = match &step {
            RequestOutcome::Wait => panic!("it waits"),
            RequestOutcome::Reply(response) => Some(response.clone()),
            RequestOutcome::Forward(_) => {
                (hostile.life > Life::Aborted).then(|| stream.response(&upstream))
            }
        };
        if let Some(response) = response {
            // Every pool has a target, so this would be a failure of the filter.
            assert_ne!(response.status, 503);
            assert_well_formed(&response.headers, &upstream.headers);
            let account = values(&response.headers, "x-explain").pop();
            let decision = account.map(|account| serde_json::from_slice::<Value>(account).unwrap());
            let shown = hostile
                .request
                .iter()
                .find(|(name, _)| name == b"x-explain");
            assert!(
                shown.is_some_and(|(_, value)| value.starts_with(TOKEN.as_bytes()))
                    || decision.is_none()
            );
            if let RequestOutcome::Forward(headers) = &step {
                assert_chosen(headers, decision.as_ref());
            }
        }
    }
    if matches!(hostile.life, Life::Left | Life::Aborted | Life::Whole) {
        stream.close();
    }
}

#[test]
fn no_life_of_a_stream_is_an_error() {
    eprintln!("seed {SEED}");
    let mut runner = TestRunner::new(ProptestConfig {
        cases: CASES,
        rng_seed: RngSeed::Fixed(SEED),
        failure_persistence: None,
        max_shrink_iters: 2_000,
        ..ProptestConfig::default()
    });
    let lives = vec((0..2usize, hostile()), 1..LIVES);
    let result = runner.run(&lives, |lives| {
        let builder = World::builder()
            .workers(2)
            .config(configuration().to_string().as_bytes());
        let world = builder.start().unwrap();
        for (worker, hostile) in &lives {
            live(&world, *worker, hostile);
        }
        let log = world.proxy().take_log();
        prop_assert!(log.is_empty(), "{log:?}");
        for counter in ["pointsman.request.failed", "pointsman.response.failed"] {
            prop_assert_eq!(world.proxy().counter(counter), Some(0), "{}", counter);
        }
        Ok(())
    });
    result.unwrap_or_else(|failed| panic!("seed {SEED}: {failed}"));
}

/// The first instant that the clock can show, and the last.
#[test]
fn the_ends_of_time_are_ordinary() {
    let most = Duration::from_nanos(i64::MAX as u64);
    for (start, jump) in [(Duration::ZERO, 0), (most, i64::MAX), (most, 1)] {
        let builder = World::builder().config(configuration().to_string().as_bytes());
        let world = builder.start_time(start).start().unwrap();
        // Ticks and probes at that time; all those in between would be a tick for every second of
        // three centuries.
        world.proxy().jump(jump);
        world.advance(Duration::from_secs(10));
        for path in ["/r", "/p", "/t/1/2", "/m", "/c", "/o", "/", "/none"] {
            let pseudo = [
                (":authority", "b"),
                (":path", path),
                (":method", "GET"),
                (":scheme", "http"),
            ];
            let request = pseudo
                .map(|(name, value)| (name.into(), value.into()))
                .to_vec();
            for jump in [0, 0, 0, 0, -i64::MAX, i64::MAX] {
                live(
                    &world,
                    0,
                    &Hostile {
                        request: request.clone(),
                        life: Life::Whole,
                        jump,
                        upstream: Vec::new(),
                    },
                );
            }
        }
        assert_eq!(world.proxy().take_log(), []);
    }
}

// The upstream headers.

/// What a client may send in the hope of choosing.
fn forgeries() -> Vec<Pairs> {
    let pairs = |pairs: &[(&str, &str)]| -> Pairs {
        pairs
            .iter()
            .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
            .collect()
    };
    let (cluster, endpoint) = ("x-pointsman-cluster", "x-pointsman-endpoint");
    vec![
        pairs(&[(cluster, "spare"), (endpoint, ENDPOINTS[1])]),
        pairs(&[
            ("X-POINTSMAN-CLUSTER", "spare"),
            ("X-Pointsman-Endpoint", ENDPOINTS[1]),
        ]),
        pairs(&[
            ("x-PoInTsMaN-cLuStEr", "spare"),
            ("X-pointsman-endpoinT", "127.0.0.1:1"),
        ]),
        pairs(&[(cluster, "spare"); 20]),
        pairs(&[
            (cluster, ""),
            (cluster, "spare"),
            (endpoint, ""),
            (endpoint, ENDPOINTS[1]),
        ]),
        pairs(&[
            (cluster, "spare"),
            (cluster, ""),
            ("X-Pointsman-Cluster", "evil"),
        ]),
        pairs(&[(cluster, ""), (endpoint, "")]),
        pairs(&[(cluster, "   spare \t "), (endpoint, " \t")]),
        pairs(&[
            (cluster, "blue, spare"),
            (endpoint, "127.0.0.1:1, 127.0.0.1:9102"),
        ]),
        pairs(&[
            ("connection", "x-pointsman-cluster, close"),
            (cluster, "spare"),
        ]),
    ]
}

/// Paths of [`configuration`], and whether a pool gets them; otherwise they take the proxy's own
/// route.
const FORGED: [(&str, bool); 7] = [
    ("/r?1", true),
    ("/p/1", true),
    ("/t/1/2", true),
    ("/", true),
    ("/o", false),
    ("/none", false),
    ("/none?x-pointsman-cluster=spare", false),
];

fn upstream_headers_never_take_effect(host: &mut dyn Host) {
    for (path, to_a_pool) in FORGED {
        for (number, headers) in forgeries().into_iter().enumerate() {
            let told = host
                .exchange(&ExchangeRequest {
                    method: b"GET".to_vec(),
                    scheme: b"http".to_vec(),
                    authority: b"b".to_vec(),
                    target: path.into(),
                    // A client of its own, for the limit.
                    headers: [
                        &headers[..],
                        &[(b"user-agent".to_vec(), number.to_string().into())],
                    ]
                    .concat(),
                    client_ip: None,
                    roll: None,
                    upstream: Response {
                        status: 200,
                        headers: Vec::new(),
                        body: Vec::new(),
                    },
                })
                .unwrap();
            let what = format!("{} {path} {number}: {told:?}", host.name());
            assert_eq!(told.response.status, 200, "{what}");
            assert_eq!(told.upstream_cluster.is_some(), to_a_pool, "{what}");
            assert_eq!(
                told.decision["cluster"].as_str(),
                told.upstream_cluster.as_deref(),
                "{what}"
            );
            assert_eq!(
                told.decision["endpoint"].as_str(),
                told.upstream_endpoint.as_deref(),
                "{what}"
            );
            assert_chosen(&told.upstream_headers.unwrap(), Some(&told.decision));
        }
    }
}

#[test]
fn upstream_headers_never_take_effect_on_the_simulator() {
    upstream_headers_never_take_effect(&mut World::of(&configuration(), 2).unwrap());
}

// A real Envoy.

/// Sends bytes on a connection of their own, and returns the first answer, or what there is of it
/// when the connection ends. Not to its end in any case: Envoy keeps a connection for another
/// second after it said `close`.
fn raw(to: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut connection = TcpStream::connect(to).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    // Envoy may refuse the request before it has all of it.
    let _ = connection.write_all(bytes);
    let mut answer = Vec::new();
    let mut chunk = [0; 16 * 1024];
    while !is_complete(&answer) {
        match connection.read(&mut chunk) {
            Ok(0) => break,
            Ok(size) => answer.extend_from_slice(&chunk[..size]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("no answer: {}", bytes.escape_ascii())
            }
            // A child that ends, such as another test's Envoy, sends a signal.
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_reset) => break,
        }
    }
    answer
}

/// Whether it is a whole answer with a `content-length`, which all of ours, Envoy's and the
/// backends' have.
fn is_complete(answer: &[u8]) -> bool {
    let head = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .map(|end| answer.split_at(end + 4));
    head.is_some_and(|(head, body)| {
        let head = String::from_utf8_lossy(head);
        let size = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        size.is_some_and(|size| body.len() >= size.parse().unwrap())
    })
}

/// The status of an answer; 0 where there is none.
fn status(answer: &[u8]) -> u16 {
    let digits = answer
        .strip_prefix(b"HTTP/1.1 ")
        .and_then(|rest| rest.get(..3));
    digits.map_or(0, |digits| {
        std::str::from_utf8(digits).unwrap().parse().unwrap()
    })
}

/// Whether the filter answered or edited it.
fn is_ours(answer: &[u8]) -> bool {
    let needle = b"x-served-by: pointsman";
    answer.windows(needle.len()).any(|window| window == needle)
}

fn get(target: &[u8], headers: &[&[u8]]) -> Vec<u8> {
    let mut request = [
        b"GET ",
        target,
        b" HTTP/1.1\r\nhost: b\r\nconnection: close\r\n",
    ]
    .concat();
    for header in headers {
        request.extend_from_slice(header);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    request
}

/// How many connections each worker has had.
fn connections(host: &EnvoyHost) -> BTreeMap<String, u64> {
    let stats = host.envoy().stats("listener.").unwrap();
    let of_workers =
        |name: &str| name.contains(".worker_") && name.ends_with(".downstream_cx_total");
    stats
        .into_iter()
        .filter(|(name, _)| of_workers(name))
        .collect()
}

/// What Envoy counts of its VMs: how many there are, were made, were loaded anew.
fn vms(host: &EnvoyHost) -> Vec<(String, u64)> {
    host.envoy().stats("wasm.").unwrap()
}

/// Two workers, and header limits far above what is sent.
fn envoy_host() -> EnvoyHost {
    let program = install::find(Wanted::Any).unwrap();
    EnvoyHost::start(&program, &module::build().unwrap(), &configuration()).unwrap()
}

#[test]
fn no_bytes_trap_a_vm_of_a_real_envoy() {
    let host = envoy_host();
    let address = host.envoy().address().unwrap();
    let before = vms(&host);
    assert!(!before.is_empty());

    // Every byte, in every place.
    let mut reached: BTreeMap<&str, usize> = BTreeMap::new();
    for byte in 0..=255u8 {
        let places = [
            (
                "header",
                get(
                    b"/c",
                    &[&[b"x-a: a", &[byte][..], b"a"].concat(), b"x-b: 1"],
                ),
            ),
            (
                "cookie",
                get(
                    b"/c",
                    &[&[b"cookie: a=", &[byte][..], b"; pm=", &[byte]].concat()],
                ),
            ),
            ("path", get(&[b"/c/", &[byte][..], b"/"].concat(), &[])),
            (
                "rewritten path",
                get(
                    &[b"/r", &[byte][..], b"/"].concat(),
                    &[&[b"user-agent: ", &[byte][..]].concat()],
                ),
            ),
            (
                "redirected path",
                get(&[b"/m/", &[byte][..], b"/"].concat(), &[]),
            ),
            ("query", get(&[b"/c?a=", &[byte][..], b"%"].concat(), &[])),
            (
                "authority",
                [
                    b"GET /m HTTP/1.1\r\nhost: b",
                    &[byte][..],
                    b"\r\nconnection: close\r\n\r\n",
                ]
                .concat(),
            ),
        ];
        for (place, request) in places {
            let answer = raw(address, &request);
            assert!(
                status(&answer) != 503 && status(&answer) != 500,
                "{byte:#x} in {place}"
            );
            *reached.entry(place).or_default() += usize::from(is_ours(&answer));
        }
    }
    eprintln!("of 256 bytes reach the filter: {reached:?}");
    // Blanks, what is printable, and all that is not ASCII are let through in a header; in a path
    // only what is printable.
    for (place, least) in [
        ("header", 224),
        ("cookie", 224),
        ("path", 90),
        ("query", 90),
        ("rewritten path", 90),
        ("redirected path", 90),
    ] {
        assert!(reached[place] >= least, "{place}: {reached:?}");
    }

    // What is long, what is many, what is empty.
    let fill = |start: &[u8], unit: &[u8], length: usize| {
        [start, &unit.repeat(length / unit.len())].concat()
    };
    for length in [60_000, LONG - 1, LONG, LONG + 1] {
        for unit in [
            &b"a"[..],
            b"\xff",
            b"a=1; ",
            b"pm=A; ",
            b",",
            b"%61",
            b"[::1],",
        ] {
            for name in [
                "x-a: ",
                "x-b: ",
                "cookie: ",
                "x-forwarded-for: ",
                "x-session: ",
                "user-agent: ",
                "x-explain: ",
            ] {
                let answer = raw(
                    address,
                    &get(b"/r", &[&fill(name.as_bytes(), unit, length)]),
                );
                assert!(
                    is_ours(&answer),
                    "{length} of {} in {name}: {}",
                    unit.escape_ascii(),
                    status(&answer)
                );
            }
        }
        for start in [
            &b"/rx"[..],
            b"/r",
            b"/m",
            b"/s/",
            b"/p/",
            b"/t/",
            b"/t/1/",
            b"/c?a=",
            b"/c?",
            b"/m?",
        ] {
            for unit in [&b"a"[..], b"/", b"ab", b"a&", b"%61=%", b"?"] {
                let answer = raw(address, &get(&fill(start, unit, length), &[]));
                assert!(
                    ![0, 500, 503].contains(&status(&answer)),
                    "{} {length} of {}: {}",
                    start.escape_ascii(),
                    unit.escape_ascii(),
                    status(&answer)
                );
            }
        }
    }
    for header in [
        &b"x-a: a"[..],
        b"cookie: a=1",
        b"cookie: pm=1",
        b"x-forwarded-for: 1.1.1.1",
        b"x-forwarded-for:",
        b"x-pointsman-cluster: spare",
        b"cookie:",
        b"x-explain: secret",
        b"x-session:",
    ] {
        for path in [&b"/c"[..], b"/m"] {
            let answer = raw(address, &get(path, &vec![header; REPEATS]));
            assert!(
                is_ours(&answer),
                "{REPEATS} of {}: {}",
                header.escape_ascii(),
                status(&answer)
            );
        }
    }

    // What a library would not write.
    let oddities: [(&[u8], &[u16]); 14] = [
        (b"POST /c HTTP/1.1\r\nhost: b\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", &[403]),
        (b"POST / HTTP/1.1\r\nhost: b\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-trailer: 1\r\n\r\n", &[200]),
        (b"POST / HTTP/1.1\r\nhost: b\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", &[400, 0]),
        (b"POST /c HTTP/1.1\r\nhost: b\r\nconnection: close\r\ncontent-length: 3\r\n\r\nabc", &[403]),
        (b"POST /c HTTP/1.1\r\nhost: b\r\nconnection: close\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", &[400, 403]),
        (b"GET http://other:81/c HTTP/1.1\r\nhost: b\r\nconnection: close\r\n\r\n", &[403]),
        (b"GET http://other HTTP/1.1\r\nhost: b\r\nconnection: close\r\n\r\n", &[200, 400]),
        (b"OPTIONS * HTTP/1.1\r\nhost: b\r\nconnection: close\r\n\r\n", &[200, 400, 404]),
        (b"CONNECT b:80 HTTP/1.1\r\nhost: b:80\r\nconnection: close\r\n\r\n", &[200, 400, 403, 404]),
        (b"GET /c HTTP/1.0\r\n\r\n", &[403, 426]),
        (b"GET /c HTTP/1.1\r\nconnection: close\r\n\r\n", &[400]),
        (b"GET /c HTTP/1.1\r\nhost:\r\nconnection: close\r\n\r\n", &[400, 403]),
        (b"GET /c HTTP/1.1\r\nhost: b\r\nhost: c\r\nconnection: close\r\n\r\n", &[400, 403]),
        (b"ABRACADABRA /c HTTP/1.1\r\nhost: b\r\nconnection: close\r\n\r\n", &[400, 403]),
    ];
    for (request, statuses) in oddities {
        let got = status(&raw(address, request));
        assert!(statuses.contains(&got), "{got}: {}", request.escape_ascii());
    }
    // The client leaves in the middle of its request, and before the answer.
    for cut in [10, 30, 60] {
        let request = get(b"/r", &[b"x-a: aaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]);
        TcpStream::connect(address)
            .unwrap()
            .write_all(&request[..cut])
            .unwrap();
        TcpStream::connect(address)
            .unwrap()
            .write_all(&request)
            .unwrap();
    }

    // Both workers have seen their share of it, and both answer as before.
    let attacked = connections(&host);
    assert_eq!(attacked.len(), 2, "{attacked:?}");
    assert!(attacked.values().all(|count| *count > 100), "{attacked:?}");
    until("each has answered three more", || {
        let answer = raw(address, &get(b"/", &[]));
        assert!(status(&answer) == 200 && is_ours(&answer));
        let mut now = connections(&host).into_iter();
        now.all(|(worker, count)| count >= attacked[&worker] + 3)
    });
    // No VM trapped: none was loaded anew, the filter failed at nothing, and Envoy has nothing to
    // say about it.
    assert_eq!(vms(&host), before);
    for counter in ["request.failed", "response.failed", "shared.failed", "bug"] {
        assert_eq!(
            host.envoy()
                .stat(&format!("wasmcustom.pointsman.{counter}"))
                .unwrap(),
            0,
            "{counter}"
        );
    }
    let log = host.envoy().log();
    let complaint = log.lines().find(|line| {
        let line = line.to_lowercase();
        ["wasm", "panicked", "unreachable"]
            .iter()
            .any(|word| line.contains(word))
    });
    assert_eq!(complaint, None);
}

#[test]
fn upstream_headers_never_take_effect_on_a_real_envoy() {
    upstream_headers_never_take_effect(&mut envoy_host().client());
}

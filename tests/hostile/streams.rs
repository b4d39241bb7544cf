//! Streams with hostile bytes and all that may happen to them, on the simulator.

use super::{LONG, REPEATS, TOKEN, assert_chosen, configuration, values};
use host_sim::exchange::{Pairs, Response};
use host_sim::world::World;
use host_sim::world::stream::RequestOutcome;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{RngSeed, TestRunner};
use serde_json::Value;
use std::time::Duration;

const SEED: u64 = 0x6865_6c6c_6f21;

/// How many worlds the property test makes, each with up to [`STREAMS`] streams.
const CASES: u32 = 400;
const STREAMS: usize = 12;

/// The starts of paths that lead to each route of [`configuration`], to none, and to what is no
/// path.
const PATHS: [&str; 15] = [
    "/r", "/x", "/p", "/P/", "/t/1/", "/t/", "/m", "/s/", "/c", "/d", "/o", "/", "/none", "*", "",
];

/// The headers that some condition, key or decision reads.
const NAMES: [&str; 16] = [
    "cookie",
    "x-a",
    "x-b",
    "x-c",
    "x-session",
    "x-forwarded-for",
    "user-agent",
    "sec-ch-ua-mobile",
    "accept-language",
    "x-explain",
    "x-pointsman-cluster",
    "X-Pointsman-Endpoint",
    "x-set",
    "server",
    "connection",
    "",
];

/// Values that are almost right.
const SEMANTIC: [&[u8]; 25] = [
    b"blue",
    b"api",
    b"127.0.0.1:9101",
    b"Mozilla/5.0 (Linux; Android 1\xff) Mobile bot",
    b"ko-KR-x-\x80;q=0.9999999999,,en;q=1.0000;q=2,*;q=-1,;",
    b"?1",
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

/// How far a stream gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Lifetime {
    /// It is opened, and nothing more happens.
    Opened,
    /// It is opened, and the client leaves.
    ClientLeft,
    /// The request comes, and nothing more happens.
    RequestOnly,
    /// The request comes, and the client leaves before the response.
    ClientAborted,
    /// The response comes too, but never an end.
    Endless,
    /// It gets to its end.
    Whole,
}

#[derive(Clone, Debug)]
struct Hostile {
    request: Pairs,
    lifetime: Lifetime,
    /// How far the clock jumps before the stream, in nanoseconds.
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
    let lifetime = select(
        &[
            Lifetime::Opened,
            Lifetime::ClientLeft,
            Lifetime::RequestOnly,
            Lifetime::ClientAborted,
            Lifetime::Endless,
            Lifetime::Whole,
            Lifetime::Whole,
            Lifetime::Whole,
        ][..],
    );
    let second = 1_000_000_000_i64;
    let jump = prop_oneof![10 => Just(0), 4 => -3 * second..3 * second, 1 => any::<i64>()];
    (
        pseudo,
        any::<bool>(),
        vec(header(), 0..6),
        lifetime,
        jump,
        bytes(),
    )
        .prop_map(
            |((authority, path, method, scheme), asks, headers, lifetime, jump, upstream)| {
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
                    lifetime,
                    jump,
                    upstream,
                }
            },
        )
}

fn ends_a_header(value: &[u8]) -> bool {
    value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0))
}

/// No header that the filter wrote, which are the pairs that were not there before, holds a byte
/// that ends a header. `:path` may hold one if the client's did.
fn assert_well_formed(after: &Pairs, before: &Pairs) {
    for (name, value) in after {
        let lines = before.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        let lines: Vec<_> = lines.map(|(_, value)| &value[..]).collect();
        // The proxy joins the lines of most headers that it knows, before any filter, but for empty
        // ones.
        let joined = lines.iter().filter(|line| !line.is_empty()).copied();
        let joined = joined.collect::<Vec<_>>().join(&b',');
        let theirs = lines.contains(&&value[..]) || joined == *value;
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

fn play(world: &World, worker: usize, hostile: &Hostile) {
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
    if hostile.lifetime > Lifetime::ClientLeft {
        let step = stream.request();
        if let RequestOutcome::Forward(headers) = &step {
            assert_well_formed(headers, &hostile.request);
            assert_chosen(headers, None);
        }
        let response = match &step {
            RequestOutcome::Wait => panic!("it waits"),
            RequestOutcome::Reply(response) => Some(response.clone()),
            RequestOutcome::Forward(_) => {
                (hostile.lifetime > Lifetime::ClientAborted).then(|| stream.response(&upstream))
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
    if matches!(
        hostile.lifetime,
        Lifetime::ClientLeft | Lifetime::ClientAborted | Lifetime::Whole
    ) {
        stream.close();
    }
}

#[test]
fn no_sequence_of_stream_events_is_an_error() {
    eprintln!("seed {SEED}");
    let mut runner = TestRunner::new(ProptestConfig {
        cases: CASES,
        rng_seed: RngSeed::Fixed(SEED),
        failure_persistence: None,
        max_shrink_iters: 2_000,
        ..ProptestConfig::default()
    });
    let streams = vec((0..2usize, hostile()), 1..STREAMS);
    let result = runner.run(&streams, |streams| {
        let builder = World::builder()
            .workers(2)
            .config(configuration().to_string().as_bytes());
        let world = builder.start().unwrap();
        for (worker, hostile) in &streams {
            play(&world, *worker, hostile);
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
fn the_first_and_the_last_instant_of_the_clock_are_ordinary() {
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
                play(
                    &world,
                    0,
                    &Hostile {
                        request: request.clone(),
                        lifetime: Lifetime::Whole,
                        jump,
                        upstream: Vec::new(),
                    },
                );
            }
        }
        // What was loaded, and nothing more.
        let [loaded] = &world.proxy().take_log()[..] else {
            panic!("more than one line in the log");
        };
        assert!(loaded.message.contains("; configuration "), "{loaded:?}");
    }
}

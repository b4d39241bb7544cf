//! The limits, defaults and words of the configuration, each in one place: the parser reads by
//! them, the JSON schema (`host-sim schema`) is generated from them, and tests hold the comments of
//! `envoy-config/pointsman.yaml` to them.

use crate::http::router_options::RetryOn;
use crate::http::steps;
use crate::pool::outcome;
use crate::rate_limit::global::{Mode, OnError, wire};
use crate::route::language::Languages;
use crate::time::Nanos;
use std::fmt;

/// The values that a key may have, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds<T> {
    /// The smallest value.
    pub least: T,
    /// The largest value.
    pub most: T,
}

impl<T> Bounds<T> {
    /// From `least` to `most`, both included.
    pub const fn new(least: T, most: T) -> Bounds<T> {
        Bounds { least, most }
    }
}

impl fmt::Display for Bounds<u32> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.least, self.most)
    }
}

impl fmt::Display for Bounds<Nanos> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", duration(self.least), duration(self.most))
    }
}

/// A duration as the configuration has it, in the largest unit in which it is a whole number, from
/// milliseconds to hours: `250ms`, `30s`, `24h`.
pub fn duration(time: Nanos) -> String {
    const UNITS: [(Nanos, &str); 3] = [
        (Nanos::from_secs(3600), "h"),
        (Nanos::from_secs(60), "m"),
        (Nanos::SECOND, "s"),
    ];
    let fits = |(unit, _): &(Nanos, &str)| time > Nanos::ZERO && time % *unit == Nanos::ZERO;
    match UNITS.into_iter().find(fits) {
        Some((unit, word)) => format!("{}{word}", time / unit),
        None if time == Nanos::ZERO => "0s".to_owned(),
        None => format!("{}ms", time / Nanos::MILLISECOND),
    }
}

/// A number of bytes as the configuration has it, in the largest unit in which it is a whole
/// number: `512B`, `8KiB`, `1MiB`.
pub fn size(bytes: u32) -> String {
    const UNITS: [(u32, &str); 2] = [(1024 * 1024, "MiB"), (1024, "KiB")];
    let fits = |(unit, _): &(u32, &str)| bytes > 0 && bytes.is_multiple_of(*unit);
    match UNITS.into_iter().find(fits) {
        Some((unit, word)) => format!("{}{word}", bytes / unit),
        None => format!("{bytes}B"),
    }
}

/// The longest configuration, in bytes. 100,000 routes with everything on are half of it.
pub const MAX_CONFIGURATION: usize = 48 * 1024 * 1024;

/// The most memory that a configuration may take in each worker, in bytes, by an estimate from above
/// that depends on nothing but what is configured. A VM has room for some 1,400 MiB, and holds two
/// configurations that are awake and the text of a third while it is loaded. 100,000 routes with
/// everything on are less than a third of it.
pub const MAX_MEMORY: usize = 400 * 1024 * 1024;

/// What an item of a list, or an entry of a map whose keys are names, takes at most besides its
/// texts, in bytes: a condition takes most, and a host with its place in the index.
pub const ITEM_MEMORY: usize = 112;
/// What a block of conditions takes besides its items and its own place in a list.
pub const BLOCK_MEMORY: usize = 112;
/// What a route takes besides what its lists hold.
pub const ROUTE_MEMORY: usize = 400;
/// What a pool takes besides its targets, with what a worker keeps for it.
pub const POOL_MEMORY: usize = 1024;
/// The same of a target.
pub const TARGET_MEMORY: usize = 320;
/// What a worker keeps of a target for each region of its pool, which have turns of their own.
pub const TURN_MEMORY: usize = 40;

/// The longest name of a route, pool, target or limit, in bytes: names go into metrics, logs and
/// headers.
pub const MAX_NAME: usize = 128;

/// `max_value`. The least is what ordinary values have; of the most a pattern of a few states still
/// sees all.
pub const MAX_VALUE: Bounds<u32> = Bounds::new(256, 1024 * 1024);
/// `max_value`, where it is not given.
pub const DEFAULT_MAX_VALUE: u32 = steps::DEFAULT_MAX_VALUE;

/// The longest `scope`, in characters: it is a part of each metric's name.
pub const MAX_SCOPE: usize = 64;

// `upstream` and `client_ip`.

/// `upstream.cluster_header`, where it is not given.
pub const DEFAULT_CLUSTER_HEADER: &str = "x-pointsman-cluster";
/// `upstream.endpoint_header`, where it is not given.
pub const DEFAULT_ENDPOINT_HEADER: &str = "x-pointsman-endpoint";
/// `upstream.mirror_header`, where it is not given.
pub const DEFAULT_MIRROR_HEADER: &str = "x-pointsman-mirror";
/// `client_ip.trusted_hops`.
pub const TRUSTED_HOPS: Bounds<u32> = Bounds::new(1, u8::MAX as u32);
/// `client_ip.trusted_hops`, where it is not given.
pub const DEFAULT_TRUSTED_HOPS: u32 = 1;

// `pools`.

/// The most pools: more than a proxy has clusters.
pub const MAX_POOLS: usize = 10_000;
/// The most targets of a pool: a choice looks at each.
pub const MAX_TARGETS: usize = 10_000;
/// `max_in_flight` of a target.
pub const MAX_IN_FLIGHT: Bounds<u32> = Bounds::new(1, 1_000_000);
/// `bounded_load` of `consistent_hash`, times 100: Envoy's `hash_balance_factor`. With 100, no key
/// would keep its target as soon as two are busy.
pub const BOUNDED_LOAD_PERCENT: Bounds<u32> = Bounds::new(101, 10_000);
/// The most pools of `failover`: a request may look at each.
pub const MAX_FAILOVER: usize = 16;
/// `weight` of a target, and of a part of a split. Their sum has the same bound, as in Envoy.
pub const WEIGHT: Bounds<u32> = Bounds::new(0, u32::MAX);
/// `weight`, where it is not given.
pub const DEFAULT_WEIGHT: u32 = 1;
/// `slow_start`.
pub const SLOW_START: Bounds<Nanos> = Bounds::new(Nanos::ZERO, Nanos::from_secs(3600));
/// `slow_start` with a `balance` by load, where it is not given. With every other balance: none.
pub const DEFAULT_SLOW_START: Nanos = Nanos::from_secs(10);

// `sticky`.

/// The shortest key of `sticky.keys`, in bytes: 128 bits are beyond guessing.
pub const MIN_KEY: usize = 16;
/// The most keys of `sticky.keys`: a forged cookie is tried against each.
pub const MAX_KEYS: usize = 16;
/// `sticky.cookie.ttl`. The longest is 400 days: browsers keep no cookie longer (RFC 6265bis,
/// section 5.5).
pub const TTL: Bounds<Nanos> = Bounds::new(Nanos::SECOND, Nanos::from_secs(400 * 24 * 3600));
/// `sticky.cookie.path`, where it is not given.
pub const DEFAULT_COOKIE_PATH: &str = "/";

// `health`.

/// `consecutive_failures`, `rise` and `fall`. A target that needs more is not checked at all.
pub const IN_A_ROW: Bounds<u32> = Bounds::new(1, 1000);
/// `passive.consecutive_failures`, where it is not given.
pub const DEFAULT_CONSECUTIVE_FAILURES: u32 = 5;
/// `passive.eject` and `passive.max_eject`. A target that is to be gone for longer is `down`.
pub const EJECT: Bounds<Nanos> = Bounds::new(Nanos::MILLISECOND, Nanos::from_secs(24 * 3600));
/// `passive.eject`, where it is not given.
pub const DEFAULT_EJECT: Nanos = Nanos::from_secs(30);
/// `passive.max_eject`, where it is not given; `eject`, where that is longer.
pub const DEFAULT_MAX_EJECT: Nanos = Nanos::from_secs(300);
/// `passive.max_ejected_percent`.
pub const MAX_EJECTED_PERCENT: Bounds<u32> = Bounds::new(0, 100);
/// `passive.max_ejected_percent`, where it is not given.
pub const DEFAULT_MAX_EJECTED_PERCENT: u32 = 50;
/// `passive.statuses`, where it is not given.
pub const DEFAULT_STATUSES: [(u16, u16); 2] = outcome::DEFAULT_STATUSES;
/// `active.method`, where it is not given.
pub const DEFAULT_PROBE_METHOD: &str = "GET";
/// `active.interval`. Every worker wakes up at least that often.
pub const INTERVAL: Bounds<Nanos> = Bounds::new(Nanos::from_millis(10), Nanos::from_secs(3600));
/// `active.interval`, where it is not given.
pub const DEFAULT_INTERVAL: Nanos = Nanos::from_secs(10);
/// The shortest `active.timeout`. The longest is `active.interval`.
pub const MIN_TIMEOUT: Nanos = Nanos::MILLISECOND;
/// `active.timeout`, where it is not given; `interval`, where that is shorter.
pub const DEFAULT_TIMEOUT: Nanos = Nanos::SECOND;
/// `active.rise`, where it is not given.
pub const DEFAULT_RISE: u32 = 2;
/// `active.fall`, where it is not given.
pub const DEFAULT_FALL: u32 = 3;
/// The most ranges of `active.expect` and of `passive.statuses`.
pub const MAX_EXPECTED: usize = 32;
/// `active.expect`, where it is not given.
pub const DEFAULT_EXPECT: u16 = 200;
/// A status that ends an exchange.
pub const STATUS: Bounds<u32> = Bounds::new(200, 599);

// `timeout`, `retry` and `mirror`.

/// `timeout`. 0: none.
pub const REQUEST_TIMEOUT: Bounds<Nanos> = Bounds::new(Nanos::ZERO, Nanos::from_secs(24 * 3600));
/// `retry.attempts`.
pub const ATTEMPTS: Bounds<u32> = Bounds::new(0, 100);
/// `retry.per_try_timeout`.
pub const PER_TRY_TIMEOUT: Bounds<Nanos> =
    Bounds::new(Nanos::MILLISECOND, Nanos::from_secs(24 * 3600));
/// The words of `retry.on`: Envoy's, without those that need a list of statuses or headers besides.
pub const RETRY_ON: &[(&str, RetryOn)] = &[
    ("5xx", RetryOn::http("5xx")),
    ("gateway-error", RetryOn::http("gateway-error")),
    ("reset", RetryOn::http("reset")),
    (
        "reset-before-request",
        RetryOn::http("reset-before-request"),
    ),
    ("connect-failure", RetryOn::http("connect-failure")),
    ("refused-stream", RetryOn::http("refused-stream")),
    ("retriable-4xx", RetryOn::http("retriable-4xx")),
    ("envoy-ratelimited", RetryOn::http("envoy-ratelimited")),
    (
        "http3-post-connect-failure",
        RetryOn::http("http3-post-connect-failure"),
    ),
    ("cancelled", RetryOn::grpc("cancelled")),
    ("deadline-exceeded", RetryOn::grpc("deadline-exceeded")),
    ("internal", RetryOn::grpc("internal")),
    ("resource-exhausted", RetryOn::grpc("resource-exhausted")),
    ("unavailable", RetryOn::grpc("unavailable")),
];
/// `retry.on`, where it is not given: the target has not begun to work on the request, so that any
/// request can be tried again.
pub const DEFAULT_RETRY_ON: [RetryOn; 2] = [
    RetryOn::http("connect-failure"),
    RetryOn::http("refused-stream"),
];
/// What a route or a pool with `timeout` or `retry` takes for it.
pub const ROUTER_OPTIONS_MEMORY: usize = 1024;
/// `mirror.percent`.
pub const MIRROR_PERCENT: Bounds<u32> = Bounds::new(0, 100);
/// `mirror.percent`, where it is not given: every request.
pub const DEFAULT_MIRROR_PERCENT: u32 = 100;
/// Shares are kept in millionths.
pub const MILLIONTHS_OF_PERCENT: u32 = 10_000;

// `prefer_region`.

/// The most values of `prefer_region.map`: more than there are countries, each with its provinces.
pub const MAX_VALUES: usize = 10_000;
/// The most regions of a pool: each has turns of its own in every worker.
pub const MAX_REGIONS: usize = 64;

// `rate_limits`.

/// The most limits: each has metrics of its own.
pub const MAX_LIMITS: usize = 1000;
/// `requests` and `burst`.
pub const REQUESTS: Bounds<u32> = Bounds::new(1, u32::MAX);
/// `per`. Its end is also the longest time that an empty bucket may take to fill: 366 days. With it
/// every instant of a limit fits into 64 bits of nanoseconds until the year 2500, and every product
/// into 128.
pub const PER: Bounds<Nanos> = Bounds::new(Nanos::MILLISECOND, Nanos::from_secs(366 * 24 * 3600));
/// The most parts of a limit's `key`: each is hashed on each request.
pub const MAX_KEY_PARTS: usize = 8;
/// `client_ip.v4` in a limit's key. A shorter prefix than the least is no longer a client's
/// network.
pub const V4_PREFIX: Bounds<u32> = Bounds::new(8, 32);
/// `client_ip.v6` in a limit's key.
pub const V6_PREFIX: Bounds<u32> = Bounds::new(16, 128);
/// `client_ip.v4`, where it is not given.
pub const DEFAULT_V4_PREFIX: u8 = 32;
/// `client_ip.v6`, where it is not given: the least that a home or a phone gets (RFC 6177), which
/// can use any address in it.
pub const DEFAULT_V6_PREFIX: u8 = 64;
/// `rate_limit_table.max_keys`.
pub const MAX_TABLE_KEYS: Bounds<u32> = Bounds::new(1, 1 << 24);
/// `rate_limit_table.max_keys`, where it is not given.
pub const DEFAULT_TABLE_KEYS: u32 = 1 << 16;

/// `global.timeout`. A request waits for it, so it is no longer than a second.
pub const GLOBAL_TIMEOUT: Bounds<Nanos> = Bounds::new(Nanos::MILLISECOND, Nanos::SECOND);
/// `global.timeout`, where it is not given.
pub const DEFAULT_GLOBAL_TIMEOUT: Nanos = Nanos::from_millis(20);
/// The longest `global.cluster`, in bytes.
pub const MAX_ENGINE_CLUSTER: usize = wire::MAX_CLUSTER;
/// The words of `global.mode`.
pub const GLOBAL_MODES: &[(&str, Mode)] = &[("ask", Mode::Ask), ("lease", Mode::Lease)];
/// The words of `global.on_error`.
pub const ON_ERROR: &[(&str, OnError)] = &[("admit", OnError::Admit), ("refuse", OnError::Refuse)];

// `routes`.

/// The most routes: ten times what has been measured to load in a blink.
pub const MAX_ROUTES: usize = 100_000;
/// The most blocks of a route's `match`, and the most items of each list in a block.
pub const MAX_ITEMS: usize = 10_000;
/// The most languages of all routes together: each has a bit of a number.
pub const MAX_LANGUAGES: usize = Languages::MOST;
/// The most limits of a route: each costs a read of shared data for each request.
pub const MAX_ROUTE_LIMITS: usize = 16;
/// The most protections: each has metrics of its own.
pub const MAX_PROTECTS: usize = 100;
/// The most protections of a route: they share the steps that a request may take.
pub const MAX_ROUTE_PROTECTS: usize = 4;
/// The most exceptions of a protection: each parameter is compared with each.
pub const MAX_EXCEPTIONS: usize = 32;
/// The most entries of a protection's `in`, and the most headers of one.
pub const MAX_PLACES: usize = 16;
/// The most parts of a `split`: a choice looks at each.
pub const MAX_PARTS: usize = 1000;
/// The most headers of one map, and the most values of one header: a request may have no more
/// either.
pub const MAX_HEADERS: usize = 100;
/// `redirect.port`.
pub const PORT: Bounds<u32> = Bounds::new(1, u16::MAX as u32);
/// The statuses of `redirect.status`.
pub const REDIRECT_STATUSES: [u16; 5] = [301, 302, 303, 307, 308];
/// `redirect.status`, where it is not given: a permanent redirect should be asked for.
pub const DEFAULT_REDIRECT_STATUS: u16 = 302;
/// The longest `respond.body`, in bytes: every worker holds a copy, and a page that is longer
/// belongs on a server.
pub const MAX_BODY: usize = 64 * 1024;
/// The status of an answer where no route matches and `no_route` is not given.
pub const DEFAULT_NO_ROUTE_STATUS: u16 = 404;
/// The schemes of HTTP.
pub const SCHEMES: &[(&str, &str)] = &[("http", "http"), ("https", "https")];

#[cfg(test)]
mod tests {
    use super::super::syntax;
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn durations_are_written_as_they_are_read() {
        for (time, text) in [
            (Nanos::ZERO, "0s"),
            (Nanos::from_millis(250), "250ms"),
            (Nanos::from_millis(1500), "1500ms"),
            (Nanos::from_secs(1), "1s"),
            (Nanos::from_secs(90), "90s"),
            (Nanos::from_secs(300), "5m"),
            (Nanos::from_secs(24 * 3600), "24h"),
        ] {
            assert_eq!(duration(time), text);
            assert_eq!(syntax::duration(text), Some(time));
        }
        assert_eq!(EJECT.to_string(), "1ms to 24h");
        assert_eq!(IN_A_ROW.to_string(), "1 to 1000");
    }

    #[test]
    fn sizes_are_written_as_they_are_read() {
        for (bytes, text) in [
            (0, "0B"),
            (1000, "1000B"),
            (1024, "1KiB"),
            (8192, "8KiB"),
            (1 << 20, "1MiB"),
            ((1 << 20) + 1024, "1025KiB"),
        ] {
            assert_eq!(size(bytes), text);
            assert_eq!(syntax::size(text), Some(bytes));
        }
    }
}

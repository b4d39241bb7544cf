//! Clients that attack: from a million addresses, from one network with made-up keys, a byte at a
//! time, with cookies that are forged.

use super::load::{self, Ending, backend};
use super::stage::{Stage, shown, survived, under_load};
use super::{FaultPlan, FaultResult};
use crate::client::{Client, session_cookie};
use crate::testkit::attack::{self, ATTACKS};
use crate::testkit::flood::{flood, flood_with, neighbour, newcomer};
use crate::testkit::load::{Jobs, run_while};
use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use serde_json::{Value, json};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

const MEBIBYTE: f64 = 1024.0 * 1024.0;
/// What a flood may add to Envoy's memory.
const MOST_MEMORY: f64 = 16.0 * MEBIBYTE;

pub(super) fn many_addresses(stage: &Stage, plan: &FaultPlan) -> Result<FaultResult> {
    let site = stage.site(&json!({
        // What the proxy appends is the last one.
        "client_ip": { "header": "x-forwarded-for", "trusted_hops": 2 },
        "pools": { "web": { "targets": [{ "cluster": "web" }] } },
        // No client of the load is near its limit.
        "rate_limits": { "per-ip": { "requests": 200, "per": "1s", "key": ["client_ip"] } },
        "routes": [
            { "name": "flood", "match": { "path": { "exact": "/flood" } }, "rate_limits": ["per-ip"], "respond": { "status": 204 } },
            { "name": "all", "rate_limits": ["per-ip"], "pool": "web" },
        ],
    }))?;
    let memory = || {
        anyhow::Ok([
            site.envoy.resident_memory()? as f64,
            site.envoy.allocated_memory()? as f64,
        ])
    };
    let address = site.envoy.address()?;
    let ask = |number: usize, _: usize, client: &mut Client| {
        load::get(
            client,
            &[("x-forwarded-for", format!("203.0.113.{number}").as_bytes())],
            |_| Ending::Good,
        )
    };
    let (mut log, (statuses, took, grown)) = load::under(address, plan, &ask, |_| {
        let before = memory()?;
        let start = Instant::now();
        let statuses = flood(address, "/flood", plan.addresses).context("the flood")?;
        let took = start.elapsed();
        let after = memory()?;
        Ok((
            statuses,
            took,
            (after[0] - before[0]).max(after[1] - before[1]),
        ))
    })?;
    log.at_most(0);
    if grown > MOST_MEMORY {
        log.broken.push(format!("{:.1} MiB more", grown / MEBIBYTE));
    }
    if statuses.get(&204) != Some(&(plan.addresses as usize)) {
        log.broken
            .push(format!("the flood was answered {statuses:?}"));
    }
    let seen = format!(
        "none refused either; in {}, {:.1} MiB more memory of at most {}",
        shown(took),
        grown.max(0.0) / MEBIBYTE,
        MOST_MEMORY / MEBIBYTE
    );
    let fault = format!(
        "a flood from {} addresses through a rate limit",
        plan.addresses
    );
    survived(
        site,
        fault,
        log,
        "none fails, memory stays where it was",
        seen,
    )
}

/// The newcomers of each limit after a flood.
const NEWCOMERS: u16 = 100;
/// How many of them have to be admitted.
const ADMITTED: usize = 99;

/// A /64 makes up the rest of a key, against a limit that holds the table's keys for an hour.
pub(super) fn slow_limit_flooded(stage: &Stage, plan: &FaultPlan) -> Result<FaultResult> {
    const SLOW: &str = "report";
    const OTHER: &str = "login";
    let route = |limit: &str| {
        json!({
            "name": limit,
            "match": { "path": { "exact": format!("/{limit}") } },
            "rate_limits": [limit],
            "respond": { "status": 204 },
        })
    };
    let site = stage.site(&json!({
        // What the proxy appends is the last one.
        "client_ip": { "header": "x-forwarded-for", "trusted_hops": 2 },
        "pools": { "web": { "targets": [{ "cluster": "web" }] } },
        "rate_limits": {
            SLOW: { "requests": 1, "per": "1h", "key": ["client_ip", { "header": "user-agent" }] },
            OTHER: { "requests": 1, "per": "1h", "key": ["client_ip"] },
            "per-ip": { "requests": 200, "per": "1s", "key": ["client_ip"] },
        },
        // The flood is ten times as many.
        "rate_limit_table": { "max_keys": plan.addresses / 10 },
        "routes": [
            route(SLOW),
            route(OTHER),
            { "name": "all", "rate_limits": ["per-ip"], "pool": "web" },
        ],
    }))?;
    let address = site.envoy.address()?;
    let admitted = |limit: &str, newcomers: std::ops::Range<u16>| -> Result<usize> {
        let mut client = Client::new(address)?;
        let mut admitted = 0;
        for n in newcomers {
            let (path, from) = (format!("/{limit}"), newcomer(n).to_string());
            let headers = [("x-forwarded-for", &*from), ("user-agent", "honest")];
            let answer = client.get_with("a", &path, &headers)?;
            admitted += usize::from(answer.status() == 204);
        }
        Ok(admitted)
    };
    let ask = |number: usize, _: usize, client: &mut Client| {
        load::get(
            client,
            &[("x-forwarded-for", format!("203.0.113.{number}").as_bytes())],
            |_| Ending::Good,
        )
    };
    let (mut log, (took, before, after, again)) = load::under(address, plan, &ask, |_| {
        let before = admitted(SLOW, 0..NEWCOMERS)?;
        let start = Instant::now();
        let headers = |n| {
            let from = neighbour(n);
            format!("x-forwarded-for: {from}\r\nuser-agent: {n}\r\n")
        };
        flood_with(address, &format!("/{SLOW}"), plan.addresses, &headers).context("the flood")?;
        let took = start.elapsed();
        let newcomers = NEWCOMERS..2 * NEWCOMERS;
        let after = [
            admitted(SLOW, newcomers.clone())?,
            admitted(OTHER, newcomers)?,
        ];
        Ok((took, before, after, admitted(SLOW, 0..NEWCOMERS)?))
    })?;
    log.at_most(0);
    if before < ADMITTED || after.iter().any(|admitted| *admitted < ADMITTED) {
        log.broken
            .push(format!("of {NEWCOMERS} newcomers {before}, then {after:?}"));
    }
    if again > 0 {
        log.broken.push(format!(
            "{again} buckets of clients from before were forgotten"
        ));
    }
    let seen = format!(
        "none refused either; in {}; then of {NEWCOMERS} newcomers {} at that limit and {} at another; {again} of {before} from before admitted again",
        shown(took),
        after[0],
        after[1],
    );
    let fault = format!(
        "a flood of {} keys from one /64 against a slow limit",
        plan.addresses
    );
    let promised = "none fails, 99 of 100 newcomers elsewhere are admitted, no bucket is forgotten";
    survived(site, fault, log, promised, seen)
}

/// The pause between two bytes on a slow connection.
const BYTE: Duration = Duration::from_millis(500);
/// What comes before the header that never ends.
const HEAD: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\nx-slow: ";

/// Opens `connections` connections, sends a byte on each every [`BYTE`], and opens those anew that
/// the proxy has closed, until the load is over.
fn trickle(
    to: SocketAddr,
    connections: usize,
    closed: &AtomicUsize,
    jobs: &Jobs<'_>,
) -> Result<()> {
    let open = || {
        let mut stream =
            TcpStream::connect(to).context("a connection (each needs a file: `ulimit -n`)")?;
        stream.write_all(HEAD)?;
        stream.set_nonblocking(true)?;
        anyhow::Ok(stream)
    };
    let mut streams = Vec::new();
    while streams.len() < connections && !jobs.is_over() {
        streams.push(open()?);
    }
    while !jobs.is_over() {
        let round = Instant::now();
        for stream in &mut streams {
            let sent = stream.write(b"a").is_ok();
            let waits = stream
                .read(&mut [0; 512])
                .is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
            if !(sent && waits) {
                closed.fetch_add(1, Ordering::Relaxed);
                *stream = open()?;
            }
        }
        sleep(BYTE.saturating_sub(round.elapsed()));
    }
    Ok(())
}

pub(super) fn slow_headers(stage: &Stage, plan: &FaultPlan) -> Result<FaultResult> {
    let mut site = stage.site(&json!({
        "pools": { "web": { "targets": [{ "cluster": "web" }] } },
        "routes": [{ "name": "all", "pool": "web" }],
    }))?;
    let closed = AtomicUsize::new(0);
    let (mut log, (most, took)) = under_load(&mut site, plan, |site, watch| {
        let to = site.envoy.address()?;
        let (mut most, start) = (0, Instant::now());
        let slow = |jobs: Jobs<'_>| trickle(to, plan.slow_connections, &closed, &jobs);
        let (slow, seen) = run_while(1, slow, |load| {
            watch.until("every slow connection is closed", || {
                most = most.max(site.envoy.stat("http.edge.downstream_cx_active")?);
                Ok(load.has_ended() || closed.load(Ordering::Relaxed) >= plan.slow_connections)
            })
        });
        slow.into_iter().collect::<Result<()>>()?;
        seen?;
        Ok((most, start.elapsed()))
    })?;
    log.at_most(0);
    let seen = format!(
        "{most} connections at once; within {} Envoy had closed {} of them by `request_headers_timeout`; slowest answer of the load {}",
        shown(took),
        closed.into_inner(),
        shown(log.slowest())
    );
    let fault = format!(
        "{} connections send their headers a byte at a time",
        plan.slow_connections
    );
    survived(
        site,
        fault,
        log,
        "none fails, every slow connection is closed",
        seen,
    )
}

/// Two pools with the same targets and keys.
fn shops() -> Value {
    let targets = ["a", "b", "c"].map(|cluster| json!({ "cluster": cluster }));
    let pool = |cookie: &str| {
        json!({
            "targets": targets,
            "sticky": { "cookie": { "name": cookie }, "keys": ["YS1uZXcta2V5LW9mLWF0LWxlYXN0LTE2LWJ5dGVz"] },
        })
    };
    json!({
        "pools": { "shop": pool("pm"), "other": pool("pm_other") },
        "routes": [
            { "name": "other", "match": { "headers": [{ "name": "x-other", "present": true }] }, "pool": "other" },
            { "name": "shop", "pool": "shop" },
        ],
    })
}

/// The bytes that a cookie's value may have (RFC 6265, 4.1.1), and those above ASCII, which proxies
/// let through.
fn is_cookie_byte(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x2b | 0x2d..=0x3a | 0x3c..=0x5b | 0x5d..=0x7e | 0x80..)
}

/// A forged cookie, made from two real ones: `name=value`.
fn forged(rng: &mut Rng, own: &[u8], other: &[u8]) -> Vec<u8> {
    const NAME: &[u8] = b"pm=";
    let value = own.strip_prefix(NAME).unwrap_or_default();
    let other = other.strip_prefix(b"pm_other=").unwrap_or_default();
    let mut forged = match rng.u8(..5) {
        0 => (0..rng.usize(..200)).map(|_| rng.u8(0x21..)).collect(),
        1 => value[..rng.usize(..value.len())].to_vec(),
        2 => {
            let (mut value, place) = (value.to_vec(), rng.usize(..value.len()));
            value[place] ^= 1 << rng.u8(..8);
            value
        }
        3 => [value, &[b"AZaz09-_"[rng.usize(..8)]]].concat(),
        _ => other.to_vec(),
    };
    forged.retain(|byte| is_cookie_byte(*byte));
    match forged == value {
        true => NAME.to_vec(),
        false => [NAME, &forged].concat(),
    }
}

pub(super) fn forged_cookies(stage: &Stage, plan: &FaultPlan) -> Result<FaultResult> {
    let site = stage.site(&shops())?;
    let mut client = site.envoy.client()?;
    let mut begin = |headers: &[(&str, &[u8])]| {
        let mut session = None;
        load::get(&mut client, headers, |answer| {
            session = session_cookie(answer).map(|cookie| (cookie, backend(answer).to_owned()));
            Ending::Good
        });
        session.context("a session")
    };
    let (own, target) = begin(&[])?;
    let (other, _) = begin(&[("x-other", b"1")])?;
    ensure!(
        own.starts_with("pm=") && other.starts_with("pm_other="),
        "other cookies"
    );
    let seed = fastrand::u64(..);
    let sent = AtomicUsize::new(0);
    let ask = |number: usize, nth: usize, client: &mut Client| {
        // The real one is as good as before, all the time.
        if nth.is_multiple_of(8) {
            return load::get(
                client,
                &[("cookie", own.as_bytes())],
                |answer| match session_cookie(answer) {
                    None if backend(answer) == target => Ending::Good,
                    _ => Ending::Wrong("the real cookie is worth nothing".to_owned()),
                },
            );
        }
        let mut rng = Rng::with_seed(seed ^ ((number as u64) << 32) ^ nth as u64);
        let forged = forged(&mut rng, own.as_bytes(), other.as_bytes());
        sent.fetch_add(1, Ordering::Relaxed);
        load::get(
            client,
            &[("cookie", &forged)],
            |answer| match session_cookie(answer) {
                Some(_) => Ending::Good,
                None => Ending::Wrong(format!("seed {seed}: pinned by {}", forged.escape_ascii())),
            },
        )
    };
    let plan = &FaultPlan {
        interval: Duration::ZERO,
        ..*plan
    };
    let (mut log, ()) = load::under(site.envoy.address()?, plan, &ask, |watch| {
        watch
            .until("enough cookies", || {
                Ok(sent.load(Ordering::Relaxed) >= plan.forged)
            })
            .map(drop)
    })?;
    log.at_most(0);
    let sent = sent.into_inner();
    let seen = format!(
        "random bytes, real ones cut short, longer, with a bit flipped, of another pool: none pinned; seed {seed}"
    );
    survived(
        site,
        format!("{sent} forged session cookies"),
        log,
        "none fails, none holds to a target",
        seen,
    )
}

pub(super) fn health_attacked(stage: &Stage, plan: &FaultPlan) -> Result<FaultResult> {
    /// How often each attack is made, all at once: on each target more often than it may fail in a
    /// row.
    const TIMES: usize = 36;
    const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
    let targets = ["a", "b", "c"].map(|cluster| json!({ "cluster": cluster }));
    let passive = json!({ "consecutive_failures": 5, "max_ejected_percent": 100 });
    let configuration = json!({
        "pools": { "web": { "targets": targets, "health": { "passive": passive } } },
        "routes": [{ "name": "all", "pool": "web" }],
    });
    let mut site = stage.site_with(&configuration, |mut deployment| {
        for (_, backend) in deployment.endpoints() {
            deployment = deployment.move_endpoint(backend, attack::server());
        }
        attack::expose(deployment.connection_manager_mut());
        Ok(deployment)
    })?;
    let (mut log, ejected) = under_load(&mut site, plan, |site, _| {
        let address = site.envoy.address()?;
        for attack in ATTACKS {
            attack.play(address, ATTACKER, TIMES).context(attack.name)?;
        }
        let ejected = site.envoy.filter_sum("pointsman.pool.", ".ejected")?;
        Ok(ejected.unwrap_or(0))
    })?;
    log.at_most(0);
    if ejected > 0 {
        log.broken.push(format!("{ejected} targets ejected"));
    }
    let fault = format!(
        "a client attacks the health of targets in {} ways, {TIMES} times each at once",
        ATTACKS.len()
    );
    let seen = format!(
        "{} requests of the attacker, {ejected} targets ejected",
        ATTACKS.len() * TIMES
    );
    survived(site, fault, log, "none fails, no target is ejected", seen)
}

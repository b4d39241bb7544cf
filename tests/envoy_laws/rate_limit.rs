//! `rate_limits`: what a limit admits, how much memory it takes, and what is left of it after a
//! reload.

use super::{crowd, each_in_turn, get, whole_machine};
use host_sim::client::{Client, header};
use host_sim::testkit::Site;
use host_sim::testkit::flood::{flood, flood_with, neighbour, newcomer};
use serde_json::json;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// One request and its answer. Times are in seconds since 1970, by the clock that the filter goes
/// by.
struct Exchange {
    sent: f64,
    answered: f64,
    admitted: bool,
}

fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs_f64()
}

/// Every request of a flood is decided somewhere between its sending and its answer, and these
/// times are known. So both bounds are exact, however slow the machine is.
#[test]
fn a_limit_holds_for_all_workers_together() {
    holds_for_all_workers_together(100, 50, 0.99);
}

/// Its workers charge many requests of the busy client at a time. What lapses of them is lost.
#[test]
fn a_fast_limit_holds_for_all_workers_together() {
    holds_for_all_workers_together(1000, 1000, 0.97);
}

fn holds_for_all_workers_together(rate: u32, burst: u32, share: f64) {
    const FLOOD: Duration = Duration::from_secs(10);
    let _machine = whole_machine();
    let site = Site::start(&json!({
        "pools": { "web": { "targets": [{ "cluster": "web" }] } },
        "rate_limits": { "per-ip": { "requests": rate, "per": "1s", "burst": burst, "key": ["client_ip"] } },
        "routes": [{ "name": "all", "rate_limits": ["per-ip"], "pool": "web" }],
    }))
    .unwrap();
    let end = Instant::now() + FLOOD;
    let exchanges = crowd(&site.envoy, |client| {
        let mut exchanges = Vec::new();
        while Instant::now() < end {
            let sent = now();
            let answer = get(client, "/", &[]);
            let answered = now();
            let admitted = match answer.status().as_u16() {
                200 => true,
                429 => false,
                status => panic!("{status}: {:?}", answer.headers()),
            };
            if !admitted {
                let retry_after: u32 = header(&answer, "retry-after").parse().unwrap();
                assert!(retry_after >= 1);
                assert_eq!(
                    header(&answer, "ratelimit-policy"),
                    format!("\"per-ip\";q={rate};w=1")
                );
                assert_eq!(
                    header(&answer, "ratelimit"),
                    format!("\"per-ip\";r=0;t={retry_after}")
                );
            }
            exchanges.push(Exchange {
                sent,
                answered,
                admitted,
            });
        }
        exchanges
    });
    let exchanges: Vec<_> = exchanges.into_iter().flatten().collect();
    let admitted = exchanges
        .iter()
        .filter(|exchange| exchange.admitted)
        .count();
    assert_eq!(
        site.fleet.members()[0].backend.count(),
        admitted,
        "what is refused reaches no backend"
    );

    let (rate, burst) = (f64::from(rate), f64::from(burst));
    let first_sent = exchanges
        .iter()
        .map(|exchange| exchange.sent)
        .fold(f64::INFINITY, f64::min);
    let last_answered = exchanges
        .iter()
        .map(|exchange| exchange.answered)
        .fold(0.0, f64::max);
    let most = burst + rate * (last_answered - first_sent);

    // A request is refused while the bucket holds less than one. So what was admitted until then is
    // all that the bucket held and got, less what ran over in pauses between requests that were
    // longer than the bucket takes to fill.
    let first_answered = exchanges
        .iter()
        .map(|exchange| exchange.answered)
        .fold(f64::INFINITY, f64::min);
    let mut refused: Vec<_> = exchanges
        .iter()
        .filter(|exchange| !exchange.admitted)
        .collect();
    refused.sort_by(|a, b| a.sent.total_cmp(&b.sent));
    let pauses = refused
        .windows(2)
        .map(|pair| pair[1].answered - pair[0].sent);
    let ran_over: f64 = pauses
        .map(|pause| (pause - (burst - 1.0) / rate).max(0.0))
        .sum();
    let least = match refused.last() {
        Some(last) => share * (burst + rate * (last.sent - first_answered - ran_over)),
        // A machine that is too slow to ask for too much.
        None => exchanges.len() as f64,
    };

    println!(
        "{admitted} of {} admitted; at least {least:.1}, at most {most:.1}; ran over for {ran_over:.3} s",
        exchanges.len()
    );
    assert!(admitted as f64 <= most);
    assert!(admitted as f64 >= least);
}

/// The limit keeps each slot of the table in use for longer than it takes to fill it, so that
/// buckets make room for others too.
#[test]
fn a_million_client_addresses_leave_memory_where_it_was() {
    const ADDRESSES: u32 = 1_000_000;
    const MEBIBYTE: f64 = 1024.0 * 1024.0;
    const MOST: f64 = 16.0 * MEBIBYTE;
    let _machine = whole_machine();
    let site = Site::start(&json!({
        // What the proxy appends is the last one.
        "client_ip": { "header": "x-forwarded-for", "trusted_hops": 2 },
        "rate_limits": { "per-ip": { "requests": 1, "per": "1h", "key": ["client_ip"] } },
        "routes": [{ "name": "all", "rate_limits": ["per-ip"], "respond": { "status": 204 } }],
    }))
    .unwrap();
    let memory = || {
        [
            site.envoy.resident_memory().unwrap() as f64,
            site.envoy.allocated_memory().unwrap() as f64,
        ]
    };
    let before = memory();
    let start = Instant::now();
    let statuses = flood(site.envoy.address().unwrap(), "/", ADDRESSES).unwrap();
    let after = memory();
    println!("{statuses:?} in {:.1} s", start.elapsed().as_secs_f64());
    for (what, (before, after)) in ["resident", "allocated"]
        .iter()
        .zip(before.iter().zip(after))
    {
        println!(
            "{what}: {:.1} MiB, then {:.1} MiB",
            before / MEBIBYTE,
            after / MEBIBYTE
        );
    }
    assert_eq!(statuses.values().sum::<usize>(), ADDRESSES as usize);
    assert_eq!(statuses.keys().copied().collect::<Vec<_>>(), [204, 429]);
    // Each address is admitted once at most: by a slot, or by a bucket that made room and whose
    // debt went to its network's mark. Marks are bounded too: they merge into their regions', which
    // makes room for more. Three times the slots were seen.
    let slots = 65_536;
    assert!((slots * 9 / 10..=slots * 35 / 10).contains(&statuses[&204]));
    for (before, after) in before.iter().zip(after) {
        assert!(after - before <= MOST);
    }
}

/// A client of one IPv6 /64 that makes up the rest of a key, against limits that stay full for an
/// hour or a year, in a table that is a third of the flood.
#[test]
fn no_stranger_shuts_newcomers_out() {
    const FLOOD: u32 = 25_000;
    let _machine = whole_machine();
    let by_agent = json!(["client_ip", { "header": "user-agent" }]);
    let route = |limit: &str| {
        json!({
            "name": limit,
            "match": { "path": { "exact": format!("/{limit}") } },
            "rate_limits": [limit],
            "respond": { "status": 204 },
        })
    };
    let routes = ["report", "signup", "watched", "login"].map(route);
    let site = Site::start(&json!({
        // What the proxy appends is the last one.
        "client_ip": { "header": "x-forwarded-for", "trusted_hops": 2 },
        "rate_limits": {
            "report": { "requests": 1, "per": "1h", "key": by_agent },
            "signup": { "requests": 1, "per": "8784h", "key": [{ "header": "user-agent" }] },
            "watched": { "requests": 1, "per": "8784h", "key": by_agent, "shadow": true },
            "login": { "requests": 5, "per": "1h", "key": ["client_ip"] },
        },
        "rate_limit_table": { "max_keys": FLOOD / 3 },
        "routes": routes,
    }))
    .unwrap();
    let mut client = site.envoy.client().unwrap();
    let mut is_admitted = |limit: &str, n: u16| {
        let (path, from, agent) = (
            format!("/{limit}"),
            newcomer(n).to_string(),
            format!("honest {n}"),
        );
        let headers = [("x-forwarded-for", &*from), ("user-agent", &*agent)];
        match get(&mut client, &path, &headers).status().as_u16() {
            204 => true,
            429 => false,
            status => panic!("{status}"),
        }
    };
    // Clients from before: nothing is left of the slow limits, and two of five of the other.
    for n in 0..20 {
        for limit in ["report", "signup", "login", "login", "login"] {
            assert!(is_admitted(limit, n), "{limit}, {n}");
        }
    }
    let mut next = 1_000;
    for attacked in ["report", "signup", "watched"] {
        let headers = |n| {
            let from = neighbour(n);
            format!("x-forwarded-for: {from}\r\nuser-agent: {attacked} {n}\r\n")
        };
        let (path, start) = (format!("/{attacked}"), Instant::now());
        let statuses = flood_with(site.envoy.address().unwrap(), &path, FLOOD, &headers).unwrap();
        println!(
            "{attacked}: {statuses:?} in {:.1} s",
            start.elapsed().as_secs_f64()
        );
        assert_eq!(statuses.values().sum::<usize>(), FLOOD as usize);
        for limit in ["report", "signup", "login"] {
            let newcomers = next..next + 100;
            let admitted = newcomers.filter(|n| is_admitted(limit, *n)).count();
            next += 100;
            println!("  newcomers of {limit}: {admitted} of 100");
            assert!(admitted >= 99, "{attacked}, {limit}: {admitted}");
        }
    }
    for n in 0..20 {
        for limit in ["report", "signup"] {
            assert!(!is_admitted(limit, n), "{limit}: {n} was forgotten");
        }
        let left = (0..5).filter(|_| is_admitted("login", n)).count();
        assert_eq!(left, 2, "{n}");
    }
}

#[test]
fn reload_keeps_limits() {
    let configuration = |answer: u16| {
        json!({
            "rate_limits": { "per-client": { "requests": 3, "per": "1h", "key": [{ "header": "x-client" }] } },
            "routes": [{ "name": "all", "rate_limits": ["per-client"], "respond": { "status": answer } }],
        })
    };
    let mut site = Site::start(&configuration(200)).unwrap();
    let status =
        |client: &mut Client, name| get(client, "/", &[("x-client", name)]).status().as_u16();
    let mut client = site.envoy.client().unwrap();
    let statuses: Vec<_> = (0..4).map(|_| status(&mut client, "ann")).collect();
    assert_eq!(statuses, [200, 200, 200, 429]);
    assert_eq!(status(&mut client, "bob"), 200);

    site.update(configuration(201)).unwrap();
    each_in_turn(&site.envoy, |client| assert_eq!(status(client, "ann"), 429));
    let mut bob = Vec::new();
    each_in_turn(&site.envoy, |client| bob.push(status(client, "bob")));
    assert_eq!(bob[..2], [201, 201]);
    assert!(bob[2..].iter().all(|status| *status == 429), "{bob:?}");
}

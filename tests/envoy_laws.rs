//! Laws that only a real Envoy can show, with two workers under load: shares, limits and memory;
//! and what sessions and limits are after reloads and restarts.

use host_sim::client::Client;
use host_sim::envoy::fleet::Fleet;
use host_sim::envoy::{Deployment, Envoy, PluginConfiguration, Wanted, install};
use host_sim::faults::flood::flood;
use host_sim::module;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Request, Response};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// So that what one worker alone could hide shows.
const WORKERS: usize = 2;

/// The kernel deals connections to workers by a hash of their ports. That one of two gets none of
/// so many has a chance of 1 in 10^12.
const CONNECTIONS: usize = 40;

/// An Envoy with the backends that its configuration names.
struct Site {
    envoy: Envoy,
    fleet: Fleet,
}

impl Site {
    fn start(configuration: &Value) -> Site {
        let fleet = Fleet::start(configuration).unwrap();
        let deployment = Deployment::of(&fleet, &module::build().unwrap()).unwrap();
        let deployment = deployment.with_workers(WORKERS as u32).updatable();
        let envoy = Envoy::start(&install::find(Wanted::Any).unwrap(), deployment).unwrap();
        Site { envoy, fleet }
    }

    /// Another configuration for the same backends, over LDS.
    fn update(&mut self, configuration: Value) {
        let deployment = self.envoy.deployment().clone();
        let configuration = PluginConfiguration::Struct(configuration);
        self.envoy
            .update(deployment.with_configuration(configuration))
            .unwrap();
    }
}

/// Runs a job for each of many clients at once, each with a thread and a connection of its own.
/// Every worker serves some.
fn crowd<T: Send>(envoy: &Envoy, job: impl Fn(&mut Client) -> T + Sync) -> Vec<T> {
    on_every_worker(envoy, || {
        thread::scope(|scope| {
            let clients =
                (0..CONNECTIONS).map(|_| scope.spawn(|| job(&mut envoy.client().unwrap())));
            let clients: Vec<_> = clients.collect();
            clients
                .into_iter()
                .map(|client| client.join().unwrap())
                .collect()
        })
    })
}

/// The same, one after the other.
fn each_in_turn(envoy: &Envoy, mut job: impl FnMut(&mut Client)) {
    on_every_worker(envoy, || {
        for _ in 0..CONNECTIONS {
            job(&mut envoy.client().unwrap());
        }
    });
}

fn on_every_worker<T>(envoy: &Envoy, act: impl FnOnce() -> T) -> T {
    let before = connections(envoy);
    let result = act();
    let after = connections(envoy);
    assert_eq!(after.len(), WORKERS, "{after:?}");
    for (worker, count) in &after {
        assert!(
            before.get(worker).is_none_or(|before| before < count),
            "idle: {worker}, of {after:?}"
        );
    }
    result
}

/// How many connections each worker has accepted so far.
fn connections(envoy: &Envoy) -> BTreeMap<String, u64> {
    let stats = envoy.stats("listener.").unwrap().into_iter();
    let of_workers = stats
        .filter(|(name, _)| name.contains(".worker_") && name.ends_with(".downstream_cx_total"));
    of_workers.collect()
}

fn get(client: &mut Client, path: &str, headers: &[(&str, &str)]) -> Response<Bytes> {
    let request = Request::get(path).header("host", "shop.example.com");
    let request = headers.iter().fold(request, |request, (name, value)| {
        request.header(*name, *value)
    });
    client.send(request.body(Full::default()).unwrap()).unwrap()
}

fn header<'r>(response: &'r Response<Bytes>, name: &str) -> &'r str {
    response
        .headers()
        .get(name)
        .map_or("", |value| value.to_str().unwrap())
}

/// The tests that need the whole machine, one at a time.
fn whole_machine() -> MutexGuard<'static, ()> {
    static MACHINE: Mutex<()> = Mutex::new(());
    // A law that failed says nothing about the next one.
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}

// Shares.

#[test]
fn ten_thousand_requests_split_nine_to_one_within_the_number_of_workers() {
    const REQUESTS: usize = 10_000;
    let site = Site::start(&json!({
        "pools": {
            "clusters": { "targets": [{ "cluster": "often", "weight": 9 }, { "cluster": "seldom", "weight": 1 }] },
            "endpoints": { "cluster": "api", "targets": [
                { "endpoint": "127.0.0.1:9101", "weight": 9 },
                { "endpoint": "127.0.0.1:9102", "weight": 1 },
            ] },
        },
        "routes": [
            { "name": "clusters", "match": { "path": { "exact": "/clusters" } }, "pool": "clusters" },
            { "name": "endpoints", "match": { "path": { "exact": "/endpoints" } }, "pool": "endpoints" },
        ],
    }));
    for (path, seldom) in [("/clusters", "seldom"), ("/endpoints", "127.0.0.1:9102")] {
        let counts = crowd(&site.envoy, |client| {
            let answers = (0..REQUESTS / CONNECTIONS).map(|_| get(client, path, &[]));
            let count = |answer: Response<Bytes>| {
                assert_eq!(answer.status().as_u16(), 200);
                usize::from(header(&answer, "x-backend") == seldom)
            };
            answers.map(count).sum::<usize>()
        });
        let seldom: usize = counts.iter().sum();
        println!("{path}: {} : {seldom}", REQUESTS - seldom);
        assert!(
            seldom.abs_diff(REQUESTS / 10) <= WORKERS,
            "{path}: {} : {seldom}",
            REQUESTS - seldom
        );
    }
}

// Limits.

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
    const RATE: u32 = 100;
    const BURST: u32 = 50;
    const FLOOD: Duration = Duration::from_secs(10);
    let _machine = whole_machine();
    let site = Site::start(&json!({
        "pools": { "web": { "targets": [{ "cluster": "web" }] } },
        "rate_limits": { "per-ip": { "requests": RATE, "per": "1s", "burst": BURST, "key": ["client_ip"] } },
        "routes": [{ "name": "all", "rate_limits": ["per-ip"], "pool": "web" }],
    }));
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
                    format!("\"per-ip\";q={RATE};w=1")
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

    let (rate, burst) = (f64::from(RATE), f64::from(BURST));
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
    // all that the bucket held and got, save what ran over because nobody asked for longer than it
    // takes to fill.
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
    let last_refused = refused.last().unwrap().sent;
    let least = 0.99 * (burst + rate * (last_refused - first_answered - ran_over));

    println!(
        "{admitted} of {} admitted; at least {least:.1}, at most {most:.1}; ran over for {ran_over:.3} s",
        exchanges.len()
    );
    assert!(admitted as f64 <= most);
    assert!(admitted as f64 >= least);
}

/// The limit keeps each slot of the table in use for longer than it takes to fill it, so that
/// clients without a slot come too.
#[test]
fn a_million_client_addresses_leave_memory_where_it_was() {
    const ADDRESSES: u32 = 1_000_000;
    const MEBIBYTE: f64 = 1024.0 * 1024.0;
    const MOST: f64 = 16.0 * MEBIBYTE;
    let _machine = whole_machine();
    let Site { envoy, .. } = Site::start(&json!({
        // What the proxy appends is the last one.
        "client_ip": { "header": "x-forwarded-for", "trusted_hops": 2 },
        "rate_limits": { "per-ip": { "requests": 1, "per": "1h", "key": ["client_ip"] } },
        "routes": [{ "name": "all", "rate_limits": ["per-ip"], "respond": { "status": 204 } }],
    }));
    let memory = || {
        [
            envoy.resident_memory().unwrap() as f64,
            envoy.allocated_memory().unwrap() as f64,
        ]
    };
    let before = memory();
    let start = Instant::now();
    let statuses = flood(envoy.address().unwrap(), "/", ADDRESSES).unwrap();
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
    let slots = 65_536;
    assert!(
        (slots * 9 / 10..=slots + 1).contains(&statuses[&204]),
        "a full table, and the overflow bucket's one"
    );
    for (before, after) in before.iter().zip(after) {
        assert!(after - before <= MOST);
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
    let mut site = Site::start(&configuration(200));
    let status =
        |client: &mut Client, name| get(client, "/", &[("x-client", name)]).status().as_u16();
    let mut client = site.envoy.client().unwrap();
    let statuses: Vec<_> = (0..4).map(|_| status(&mut client, "ann")).collect();
    assert_eq!(statuses, [200, 200, 200, 429]);
    assert_eq!(status(&mut client, "bob"), 200);

    site.update(configuration(201));
    each_in_turn(&site.envoy, |client| assert_eq!(status(client, "ann"), 429));
    let mut bob = Vec::new();
    each_in_turn(&site.envoy, |client| bob.push(status(client, "bob")));
    assert_eq!(bob[..2], [201, 201]);
    assert!(bob[2..].iter().all(|status| *status == 429), "{bob:?}");
}

// Sessions.

const OLD_KEY: &str = "YW4tb2xkLWtleS1vZi1hdC1sZWFzdC0xNi1ieXRlcw==";
const NEW_KEY: &str = "YS1uZXcta2V5LW9mLWF0LWxlYXN0LTE2LWJ5dGVz";

/// A pool with sessions. The targets are clusters.
fn shop(targets: &[&str], keys: &[&str]) -> Value {
    let targets: Vec<_> = targets
        .iter()
        .map(|name| json!({ "cluster": name }))
        .collect();
    json!({
        "pools": { "shop": { "targets": targets, "sticky": { "cookie": { "name": "pm" }, "keys": keys } } },
        "routes": [{ "name": "all", "pool": "shop" }],
    })
}

/// What the answer sets as the cookie's value.
fn cookie(answer: &Response<Bytes>) -> Option<String> {
    let set = header(answer, "set-cookie").split(';').next()?;
    (!set.is_empty()).then(|| set.to_owned())
}

/// Sends a session's cookie to every worker. The cookies that came back, where they did.
fn stays(envoy: &Envoy, backend: &str, session: &str) -> Vec<Option<String>> {
    let mut cookies = Vec::new();
    each_in_turn(envoy, |client| {
        let answer = get(client, "/", &[("cookie", session)]);
        assert_eq!(header(&answer, "x-backend"), backend);
        cookies.push(cookie(&answer));
    });
    cookies
}

#[test]
fn sticky_survives() {
    let all = ["blue", "green", "red", "violet"];
    let mut site = Site::start(&shop(&all, &[OLD_KEY]));
    site.update(shop(&["blue", "green", "red"], &[OLD_KEY]));
    let mut sessions = BTreeMap::new();
    let mut client = site.envoy.client().unwrap();
    // Round robin: three requests, three targets.
    for _ in 0..3 {
        let answer = get(&mut client, "/", &[]);
        sessions.insert(
            header(&answer, "x-backend").to_owned(),
            cookie(&answer).unwrap(),
        );
    }
    assert_eq!(sessions.len(), 3);
    let all_stay = |envoy: &Envoy| {
        for (backend, session) in &sessions {
            let cookies = stays(envoy, backend, session);
            assert!(cookies.iter().all(Option::is_none), "{cookies:?}");
        }
    };
    all_stay(&site.envoy);

    site.update(shop(&["violet", "red", "blue", "green"], &[OLD_KEY]));
    all_stay(&site.envoy);

    site.envoy.restart().unwrap();
    all_stay(&site.envoy);

    let other = Envoy::start(site.envoy.program(), site.envoy.deployment().clone()).unwrap();
    all_stay(&other);

    // The new key signs, both verify: who comes is given the same session under the new key.
    site.update(shop(&all, &[NEW_KEY, OLD_KEY]));
    let renewed: Vec<_> = sessions
        .iter()
        .map(|(backend, session)| {
            let mut cookies = stays(&site.envoy, backend, session);
            cookies.dedup();
            assert_eq!(cookies.len(), 1, "each time the same");
            (
                backend,
                session,
                cookies.remove(0).expect("the old key's cookie is renewed"),
            )
        })
        .collect();

    // The old key is gone: what it signed is worth nothing, what the new one signed stays.
    site.update(shop(&all, &[NEW_KEY]));
    for (backend, session, renewed) in renewed {
        assert!(
            stays(&site.envoy, backend, &renewed)
                .iter()
                .all(Option::is_none)
        );
        each_in_turn(&site.envoy, |client| {
            let answer = get(client, "/", &[("cookie", session)]);
            assert!(cookie(&answer).is_some(), "a fresh choice");
        });
    }
}

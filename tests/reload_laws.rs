//! A reload never takes down what runs: many reloads of a large configuration within the drain time
//! of one real Envoy, with requests held over them; a configuration that is too large; connections
//! that were open.

use host_sim::backend::Answer;
use host_sim::client::{Client, header};
use host_sim::envoy::{Deployment, PluginConfiguration};
use host_sim::exchange::Response;
use host_sim::testkit::Site;
use host_sim::wait::until;
use pointsman_core::config::limits;
use serde_json::{Value, json};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

/// Routes of a large configuration.
const ROUTES: usize = 10_000;

/// What is shipped.
const DRAIN_TIME: Duration = Duration::from_secs(30);

/// From one reload to the next, at least.
const PACE: Duration = Duration::from_millis(600);

/// How many reloads. The full claim, 1,000 within ten minutes: `RELOADS=1000`.
fn reloads() -> usize {
    let told = std::env::var("RELOADS").ok();
    told.map_or(60, |number| number.parse().unwrap())
}

/// A configuration with this many routes, that tells its version in each answer and has a pool of
/// its own, which is probed.
fn version(number: usize, routes: usize) -> Value {
    let pool = format!("web-{number}");
    let others = (2..routes).map(|route| {
        json!({
            "name": format!("route-{route}"),
            "match": { "hosts": ["shop.example.com"], "path": { "prefix": format!("/service-{route}") } },
            "pool": pool,
        })
    });
    let mut routes: Vec<_> = others.collect();
    let told = json!({ "set": { "x-version": number.to_string() } });
    routes.push(json!({
        "name": "slow", "match": { "path": { "prefix": "/slow" } }, "response_headers": told, "pool": "slow",
    }));
    routes.push(json!({ "name": "all", "response_headers": told, "pool": pool }));
    json!({
        "pools": {
            pool: {
                "targets": [{ "cluster": "web" }],
                "health": { "active": { "path": "/health", "interval": "500ms" } },
            },
            "slow": { "targets": [{ "cluster": "slow" }], "balance": "least_connections" },
        },
        "routes": routes,
    })
}

/// As a string: what a proxy itself keeps of a configuration that it drains is then a tenth.
fn text(configuration: &Value) -> PluginConfiguration {
    PluginConfiguration::Text(configuration.to_string())
}

fn site(configuration: &Value, adjust: impl FnOnce(Deployment) -> Deployment) -> Site {
    let start = |_: &_, deployment: Deployment| {
        let deployment = deployment.without_access_log().with_drain_time(DRAIN_TIME);
        Ok(adjust(deployment.with_configuration(text(configuration))))
    };
    Site::start_with(configuration, start).unwrap()
}

fn update(site: &mut Site, configuration: &Value) -> Result<(), String> {
    let deployment = site.envoy.deployment().clone();
    let update = deployment.with_configuration(text(configuration));
    site.envoy
        .update(update)
        .map_err(|refused| format!("{refused:#}"))
}

/// The version that answers a request on this connection.
fn told(client: &mut Client, path: &str) -> usize {
    let answer = client.get("shop.example.com", path).unwrap();
    assert_eq!(answer.status().as_u16(), 200, "{:?}", answer.headers());
    header(&answer, "x-version").parse().unwrap()
}

/// A request that takes three seconds, on a connection of its own. It ends with the version that
/// decided it.
fn held(site: &Site) -> JoinHandle<usize> {
    let mut client = site.client().unwrap();
    spawn(move || told(&mut client, "/slow"))
}

#[test]
fn many_reloads_of_a_large_configuration_take_down_nothing() {
    let mut site = site(&version(0, ROUTES), |deployment| deployment);
    let slow = Response {
        status: 200,
        headers: Vec::new(),
        body: b"slow".to_vec(),
    };
    let hold = Answer::After(Duration::from_secs(3), slow);
    site.backend("slow").unwrap().answer(hold);
    let (mut requests, mut first, mut most) = (Vec::new(), 0, 0);
    let begun = Instant::now();
    for number in 1..=reloads() {
        // No faster than a thousand within ten minutes.
        sleep((PACE * number as u32).saturating_sub(begun.elapsed()));
        if number % 10 == 1 {
            requests.push((number - 1, held(&site)));
            // It is on its way before the configuration is replaced.
            let in_flight = || site.envoy.requests_in_flight().is_ok_and(|count| count > 0);
            until("the request is in flight", in_flight);
        }
        update(&mut site, &version(number, ROUTES)).unwrap();
        until("the new configuration serves", || {
            told(&mut site.client().unwrap(), "/") == number
        });
        let memory = site.envoy.resident_memory().unwrap() >> 20;
        if number <= 3 {
            first = first.max(memory);
        }
        most = most.max(memory);
        if number % 10 == 0 {
            println!("{number} reloads in {:.0?}: {memory} MiB", begun.elapsed());
        }
    }
    println!("at most {most} MiB, {first} MiB in the first three");
    for (number, request) in requests {
        assert_eq!(request.join().unwrap(), number);
    }
    until("all counts are 0", || {
        site.envoy.requests_in_flight().unwrap() == 0
    });
    assert_eq!(
        site.envoy.filter_stat("pointsman.in_flight.local").unwrap(),
        0
    );
    assert_eq!(
        site.envoy
            .filter_stat("pointsman.in_flight.reaped")
            .unwrap(),
        0
    );
    assert!(!site.has_trapped());
    assert!(
        most <= 2 * first,
        "{most} MiB, and {first} MiB in the first three"
    );

    // The last configuration's pool is the only one that is probed: twice a second.
    sleep(Duration::from_secs(4));
    let web = site.backend("web").unwrap();
    web.forget();
    let before = web.count();
    sleep(Duration::from_secs(6));
    let probes = web.count() - before;
    assert!((6..=18).contains(&probes), "{probes} probes in 6 s");

    let last = reloads() + 1;
    update(&mut site, &version(last, 2)).unwrap();
    until("the last configuration serves", || {
        told(&mut site.client().unwrap(), "/") == last
    });
}

#[test]
fn a_configuration_without_room_is_refused_and_the_next_good_one_loads() {
    let mut site = site(&version(1, 2), |deployment| deployment);
    let mut large = version(2, 2);
    let filler = "x".repeat(60_000);
    let body = |number: usize| json!({ "name": format!("page-{number}"), "respond": { "status": 200, "body": filler } });
    let pages = 0..limits::MAX_CONFIGURATION / filler.len() + 1;
    large["routes"]
        .as_array_mut()
        .unwrap()
        .extend(pages.map(body));
    let refused = update(&mut site, &large).unwrap_err();
    assert!(refused.contains("bytes of configuration"), "{refused}");
    for number in 3..5 {
        assert_ne!(told(&mut site.client().unwrap(), "/"), 2);
        update(&mut site, &version(number, 2)).unwrap();
        until("the next one serves", || {
            told(&mut site.client().unwrap(), "/") == number
        });
    }
    assert!(!site.has_trapped());
}

/// With `--drain-strategy immediate` a connection that was open is answered by the configuration
/// before once more at most, and then closed.
#[test]
fn an_open_connection_gets_at_most_one_more_answer_by_the_configuration_before() {
    let mut site = site(&version(1, 2), |deployment| deployment);
    let mut clients: Vec<_> = (0..20).map(|_| site.client().unwrap()).collect();
    for client in &mut clients {
        assert_eq!(told(client, "/"), 1);
    }
    update(&mut site, &version(2, 2)).unwrap();
    until("the new configuration serves", || {
        told(&mut site.client().unwrap(), "/") == 2
    });
    for client in &mut clients {
        // The client connects anew where the connection was closed.
        told(client, "/");
        assert_eq!(told(client, "/"), 2);
    }
}

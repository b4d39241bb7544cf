//! A reload never takes down what runs: many reloads of a large configuration within the drain time
//! of one real Envoy, with requests held over them; a configuration that is too large; connections
//! that were open.

use host_sim::backend::Answer;
use host_sim::client::{Client, header};
use host_sim::envoy::{Deployment, FilterFile, PluginConfiguration};
use host_sim::exchange::Response;
use host_sim::testkit::Site;
use host_sim::wait::until;
use host_sim::world::World;
use pointsman_core::config::limits;
use serde_json::{Value, json};
use std::cell::OnceCell;
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

/// Routes of a large configuration.
const ROUTES: usize = 10_000;

/// What is shipped.
const DRAIN_TIME: Duration = Duration::from_secs(10);

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

/// The text of a large configuration, which is the same in all versions but for their numbers. To
/// write it anew for each version would take longer than the proxy takes to read it.
struct Large(String);

impl Large {
    /// Stands for the number of a version.
    const MARK: usize = 987_654_321;

    fn new() -> Large {
        Large(version(Self::MARK, ROUTES).to_string())
    }

    fn version(&self, number: usize) -> PluginConfiguration {
        let text = self.0.replace(&Self::MARK.to_string(), &number.to_string());
        PluginConfiguration::Text(text)
    }
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

fn update(site: &mut Site, configuration: PluginConfiguration) -> Result<(), String> {
    let deployment = site.envoy.deployment().clone();
    let update = deployment.with_configuration(configuration);
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

/// How configurations come.
enum Way {
    /// With their listener. Until the drain time is over Envoy keeps four copies of each text: it
    /// is these copies that the drain time of what is shipped bounds.
    Listener,
    /// Alone, in a file: nothing drains. Empty before the start.
    Filter(OnceCell<FilterFile>),
}

impl Way {
    fn start(&self) -> Site {
        self.start_with(&version(0, ROUTES), |deployment| deployment)
    }

    fn start_with(
        &self,
        configuration: &Value,
        adjust: impl FnOnce(Deployment) -> Deployment,
    ) -> Site {
        site(configuration, |deployment| {
            let deployment = adjust(deployment);
            let Way::Filter(cell) = self else {
                return deployment;
            };
            let (deployment, file) = FilterFile::of(deployment).unwrap();
            assert!(cell.set(file).is_ok());
            deployment
        })
    }

    fn update(&self, site: &mut Site, configuration: PluginConfiguration) {
        match self {
            Way::Listener => update(site, configuration).unwrap(),
            Way::Filter(file) => file.get().unwrap().configure(configuration).unwrap(),
        }
    }
}

#[test]
fn many_reloads_of_a_large_configuration_take_down_nothing() {
    many_reloads(&Way::Listener);
}

#[test]
fn many_reloads_of_the_filter_alone_take_down_nothing() {
    many_reloads(&Way::Filter(OnceCell::new()));
}

fn many_reloads(way: &Way) {
    let mut site = way.start();
    let slow = Response {
        status: 200,
        headers: Vec::new(),
        body: b"slow".to_vec(),
    };
    let hold = Answer::After(Duration::from_secs(3), slow);
    site.backend("slow").unwrap().answer(hold);
    let large = Large::new();
    let (mut requests, mut first, mut most) = (Vec::new(), 0, 0);
    let (begun, mut last) = (Instant::now(), Instant::now());
    // Spent on writing a configuration, and on waiting for it.
    let (mut writing, mut waiting) = (Duration::ZERO, Duration::ZERO);
    for number in 1..=reloads() {
        // No faster than a thousand within ten minutes; and where the machine was slow, nothing is
        // made up for, since what drains at a time must not become more.
        sleep(PACE.saturating_sub(last.elapsed()));
        last = Instant::now();
        if number % 10 == 1 {
            requests.push((number - 1, held(&site)));
            // It is on its way before the configuration is replaced.
            let in_flight = || site.envoy.requests_in_flight().is_ok_and(|count| count > 0);
            until("the request is in flight", in_flight);
        }
        let start = Instant::now();
        way.update(&mut site, large.version(number));
        writing += start.elapsed();
        let start = Instant::now();
        until("the new configuration serves", || {
            told(&mut site.client().unwrap(), "/") == number
        });
        waiting += start.elapsed();
        let memory = site.envoy.resident_memory().unwrap() >> 20;
        if number <= 3 {
            first = first.max(memory);
        }
        most = most.max(memory);
        if number % 10 == 0 {
            println!(
                "{number} reloads in {:.0?} ({writing:.0?} for writing them, {waiting:.0?} until \
                 they serve): {memory} MiB",
                begun.elapsed()
            );
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

    // The last configuration's pool is the only one that is probed: twice a second. Two of them
    // would be probed four times.
    let web = site.backend("web").unwrap();
    web.forget();
    until("only one configuration probes", || {
        let (start, before) = (Instant::now(), web.count());
        sleep(Duration::from_secs(6));
        let (probes, seconds) = (web.count() - before, start.elapsed().as_secs_f64());
        println!("{probes} probes in {seconds:.1} s");
        probes >= 6 && (probes as f64) <= 3.0 * seconds
    });

    let last = reloads() + 1;
    way.update(&mut site, text(&version(last, 2)));
    until("the last configuration serves", || {
        told(&mut site.client().unwrap(), "/") == last
    });
}

/// A slot of the table of workers for each worker of each configuration: 1,312 claims of 1,024 slots
/// in less than it takes until a slot is free that nobody gave back.
#[test]
fn old_configurations_of_many_workers_give_their_slots_back() {
    const WORKERS: u32 = 32;
    let counted = |number: usize| {
        let mut configuration = version(number, 2);
        let pool = &mut configuration["pools"][format!("web-{number}")];
        pool["balance"] = "least_connections".into();
        pool["health"] = json!({ "passive": {} });
        configuration
    };
    for way in [Way::Filter(OnceCell::new()), Way::Listener] {
        let mut site = way.start_with(&counted(0), |deployment| {
            let mut deployment = deployment.with_workers(WORKERS);
            let listeners = &mut deployment.bootstrap_mut()["static_resources"]["listeners"];
            listeners[0]["connection_balance_config"] = json!({ "exact_balance": {} });
            deployment
        });
        // One connection on each worker.
        let mut clients: Vec<_> = (0..WORKERS).map(|_| site.client().unwrap()).collect();
        let begun = Instant::now();
        for number in 0..=40 {
            if number > 0 {
                // Within the drain time, and slower than configurations fall asleep.
                if let Way::Listener = way {
                    sleep((PACE * number as u32).saturating_sub(begun.elapsed()));
                }
                way.update(&mut site, text(&counted(number)));
            }
            for client in &mut clients {
                until("the new configuration serves", || {
                    told(client, "/") == number
                });
            }
        }
        println!("{:.0?}", begun.elapsed());
        until("all counts are 0", || {
            site.envoy.requests_in_flight().unwrap() == 0
        });
        let alone = site.envoy.filter_stat("pointsman.in_flight.local");
        assert_eq!(alone.unwrap(), 0, "requests that were not counted together");
        assert!(!site.has_trapped());
    }
}

/// Configurations for which there is no room, each with what says so: by its bytes, and by what
/// would become of them.
fn without_room() -> [(Value, &'static str); 2] {
    let filler = "x".repeat(60_000);
    let body = |number: usize| json!({ "name": format!("page-{number}"), "respond": { "status": 200, "body": filler } });
    let pages = 0..limits::MAX_CONFIGURATION / filler.len() + 1;
    let blocks = vec![json!({}); limits::MAX_ITEMS];
    let block = |number: usize| json!({ "name": format!("blocks-{number}"), "match": blocks, "pool": "slow" });
    let many = 0..limits::MAX_MEMORY / limits::BLOCK_MEMORY / limits::MAX_ITEMS + 1;
    let with = |routes: Vec<Value>| {
        let mut large = version(2, 2);
        large["routes"].as_array_mut().unwrap().extend(routes);
        large
    };
    [
        (with(pages.map(body).collect()), "bytes of configuration"),
        (
            with(many.map(block).collect()),
            "bytes of memory up to here, by estimate",
        ),
    ]
}

#[test]
fn a_configuration_without_room_is_refused_and_the_next_good_one_loads() {
    let mut site = site(&version(1, 2), |deployment| deployment);
    let mut number = 2;
    for (large, why) in without_room() {
        let refused = update(&mut site, text(&large)).unwrap_err();
        assert!(refused.contains(why), "{refused}");
        for _ in 0..2 {
            assert_ne!(told(&mut site.client().unwrap(), "/"), 2);
            number += 1;
            update(&mut site, text(&version(number, 2))).unwrap();
            until("the next one serves", || {
                told(&mut site.client().unwrap(), "/") == number
            });
        }
    }
    assert!(!site.has_trapped());
}

#[test]
fn a_configuration_without_room_is_refused_on_the_simulator_with_its_reason() {
    let good = version(1, 2).to_string();
    let world = World::builder().config(good.as_bytes()).start().unwrap();
    for (large, why) in without_room() {
        let refused = world.reload(large.to_string().as_bytes()).unwrap_err();
        let refused = format!("{refused:?}");
        assert!(refused.contains(why), "{refused}");
    }
    world.reload(version(3, 2).to_string().as_bytes()).unwrap();
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
    update(&mut site, text(&version(2, 2))).unwrap();
    until("the new configuration serves", || {
        told(&mut site.client().unwrap(), "/") == 2
    });
    for client in &mut clients {
        // The client connects anew where the connection was closed.
        told(client, "/");
        assert_eq!(told(client, "/"), 2);
    }
}

/// Over ECDS a configuration holds from the next request on, on the connections that are open.
#[test]
fn an_open_connection_gets_its_next_answer_by_a_filter_that_came_alone() {
    let way = Way::Filter(OnceCell::new());
    let mut site = way.start();
    let mut clients: Vec<_> = (0..20).map(|_| site.client().unwrap()).collect();
    for client in &mut clients {
        assert_eq!(told(client, "/"), 0);
    }
    for number in 1..4 {
        way.update(&mut site, text(&version(number, 2)));
        // On every worker.
        until("the new configuration serves", || {
            (0..20).all(|_| told(&mut site.client().unwrap(), "/") == number)
        });
        for client in &mut clients {
            assert_eq!(told(client, "/"), number);
        }
    }
    let closed = site.envoy.stat("http.edge.downstream_cx_destroy_local");
    assert_eq!(closed.unwrap(), 0);
}

//! No client ejects a target that answers others, on a real Envoy: everything that one client can
//! do to a target that is well, beside honest traffic from another address; and the other half,
//! targets that are ill, which are ejected after as many failures as the configuration says.

use host_sim::client::Client;
use host_sim::testkit::attack::{self, ATTACKS};
use host_sim::testkit::raw_server::{self, Then};
use host_sim::testkit::{Site, load};
use host_sim::wait::until;
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::Duration;

/// How often an attacker does everything, all at once: each of three targets gets twelve, more than
/// may fail in a row.
const TIMES: usize = 36;
/// From one request of an honest client to its next. Were there no pause, a success would end each
/// row of failures before it is long enough.
const PAUSE: Duration = Duration::from_millis(25);
/// Another address than that of the honest clients.
const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// A site whose targets are these servers.
fn site(configuration: &Value, servers: &dyn Fn(&str) -> Option<SocketAddr>) -> Site {
    let site = Site::start_with(configuration, |fleet, mut deployment| {
        for member in fleet.members() {
            let name = member.endpoint.as_ref().unwrap_or(&member.cluster);
            if let Some(server) = servers(name) {
                deployment = deployment.move_endpoint(member.backend.address(), server);
            }
        }
        attack::expose(deployment.connection_manager_mut());
        Ok(deployment)
    });
    site.unwrap()
}

fn ejected(site: &Site) -> u64 {
    let ejected = site.envoy.filter_sum("pointsman.pool.", ".ejected");
    ejected.unwrap().unwrap_or(0)
}

/// Attacks a pool with these targets, and says what was ejected and failed.
fn attacked(targets: Value) {
    let mut pool = json!({
        "targets": targets,
        "health": { "passive": { "consecutive_failures": 5, "max_ejected_percent": 100 } },
    });
    if targets[0]["endpoint"].is_string() {
        pool["cluster"] = json!("web");
    }
    let configuration = json!({
        "pools": { "web": pool },
        "routes": [{ "name": "all", "pool": "web" }],
    });
    let site = site(&configuration, &|_| Some(attack::server()));
    let address = site.envoy.address().unwrap();
    let failed = AtomicUsize::new(0);
    let honest = |client: &mut Client| {
        let answer = client.get("a", "/").unwrap();
        failed.fetch_add(usize::from(answer.status() != 200), Ordering::Relaxed);
        sleep(PAUSE);
    };
    load::repeat_while(address, 4, honest, |load| {
        // Both workers know by then that there is an honest client.
        load.wait_for_jobs(200);
        let mut faults = Vec::new();
        for attack in ATTACKS {
            let (ejected_before, failed_before) = (ejected(&site), failed.load(Ordering::Relaxed));
            attack.play(address, ATTACKER, TIMES).unwrap();
            load.wait_for_every_client();
            let ejected = ejected(&site) - ejected_before;
            let failed = failed.load(Ordering::Relaxed) - failed_before;
            println!("{ejected} ejected, {failed} honest failed: {}", attack.name);
            if ejected + failed as u64 > 0 {
                faults.push(attack.name);
            }
        }
        assert!(faults.is_empty(), "{faults:?}");
    });
}

#[test]
fn no_client_ejects_a_cluster_that_answers_others() {
    attacked(json!([{ "cluster": "one" }, { "cluster": "two" }, { "cluster": "three" }]));
}

#[test]
fn no_client_ejects_an_endpoint_that_answers_others() {
    attacked(json!([
        { "endpoint": "127.0.0.1:9101" }, { "endpoint": "127.0.0.1:9102" }, { "endpoint": "127.0.0.1:9103" },
    ]));
}

/// An answer of 503.
const UNAVAILABLE: &str =
    "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
const FAILURES: u64 = 3;

/// Targets that are ill, each beside one that is well, and what is wrong with them.
#[test]
fn a_target_that_is_ill_is_ejected_after_as_many_failures_as_the_configuration_says() {
    const ILL: [&str; 4] = ["killed", "hanging", "unavailable", "resetting"];
    let pools: serde_json::Map<_, _> = ILL
        .iter()
        .map(|ill| {
            let passive =
                json!({ "consecutive_failures": FAILURES, "eject": "1h", "max_eject": "1h" });
            let targets = json!([{ "cluster": ill }, { "cluster": format!("{ill}-well") }]);
            let pool = json!({ "targets": targets, "health": { "passive": passive } });
            ((*ill).to_owned(), pool)
        })
        .collect();
    let routes = ILL.map(|ill| {
        json!({ "name": ill, "match": { "path": { "exact": format!("/{ill}") } }, "pool": ill })
    });
    let configuration = json!({ "pools": pools, "routes": routes });
    let site = site(&configuration, &|name| match name {
        // Nobody listens there.
        "killed" => {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            Some(listener.local_addr().unwrap())
        }
        "hanging" => Some(raw_server::start("", Then::Wait)),
        "unavailable" => Some(raw_server::start(UNAVAILABLE, Then::Close)),
        "resetting" => Some(raw_server::start("", Then::Close)),
        _ => None,
    });
    for ill in ILL {
        let metric = |what: &str| {
            let name = format!("pointsman.pool.{ill}.target.{ill}.{what}");
            site.envoy
                .filter_stat_if_defined(&name)
                .unwrap()
                .unwrap_or(0)
        };
        let path = format!("/{ill}");
        // One client, and then no other.
        let mut client = site.client().unwrap();
        until("it is ejected", || {
            client.get("a", &path).unwrap();
            metric("ejected") == 1
        });
        assert_eq!(metric("failed"), FAILURES, "{ill}");
        for _ in 0..20 {
            assert_eq!(client.get("a", &path).unwrap().status(), 200, "{ill}");
        }
    }
}

/// Failover happens: a pool whose targets are all dead, by what `passive` alone says of them.
#[test]
fn failover_happens_once_all_targets_are_dead() {
    const DEAD: [usize; 3] = [1, 2, 4];
    let pools = DEAD.iter().flat_map(|dead| {
        let targets: Vec<_> = (0..*dead)
            .map(|number| json!({ "cluster": format!("dead-{dead}-{number}") }))
            .collect();
        let passive = json!({ "eject": "1h", "max_eject": "1h" });
        let fails_over =
            json!({ "targets": targets, "health": { "passive": passive }, "failover": ["spare"] });
        let mut responds = fails_over.clone();
        responds.as_object_mut().unwrap().remove("failover");
        responds["health"]["when_all_unhealthy"] = json!("respond_503");
        [
            (format!("failover-{dead}"), fails_over),
            (format!("respond-{dead}"), responds),
        ]
    });
    let mut pools: serde_json::Map<_, _> = pools.collect();
    let routes: Vec<_> = pools
        .keys()
        .map(|pool| json!({ "name": pool, "match": { "path": { "exact": format!("/{pool}") } }, "pool": pool }))
        .collect();
    pools.insert(
        "spare".to_owned(),
        json!({ "targets": [{ "cluster": "spare" }] }),
    );
    let configuration = json!({ "pools": pools, "routes": routes });
    let site = site(&configuration, &|name| {
        // Nobody listens there.
        name.starts_with("dead").then(|| {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            listener.local_addr().unwrap()
        })
    });
    for dead in DEAD {
        let ask = |pool: &str, requests: usize| {
            let mut client = site.client().unwrap();
            let path = format!("/{pool}-{dead}");
            let answers = (0..requests).map(|_| client.get("a", &path).unwrap().status().as_u16());
            answers.collect::<Vec<_>>()
        };
        ask("failover", 30);
        assert_eq!(ask("failover", 30), [200; 30], "{dead} dead");
        ask("respond", 30);
        let no_target = format!("pointsman.pool.respond-{dead}.no_target");
        let refused = || site.envoy.filter_stat(&no_target).unwrap();
        let targets = format!("pointsman.pool.respond-{dead}.target.");
        let failed = || site.envoy.filter_sum(&targets, ".failed").unwrap();
        // What requests count waits for the tick, a second at most.
        until("each is counted where it failed", || {
            refused() + failed().unwrap_or(0) == 30
        });
        let before = refused();
        assert_eq!(ask("respond", 30), [503; 30], "{dead} dead");
        until("all that were refused are counted", || {
            refused() - before == 30
        });
    }
}

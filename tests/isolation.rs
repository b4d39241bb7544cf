//! Two configurations in one Envoy do not meet unless they are told to: two listeners, whose pools,
//! targets, limits and routes have the same names and other backends, with one `vm_id` and with two,
//! with plugins of one name and of two. Nor do two Envoys of one configuration.

use host_sim::backend::Answer;
use host_sim::client::Client;
use host_sim::envoy::fleet::Fleet;
use host_sim::envoy::{Envoy, Wanted, install};
use host_sim::testkit::{Site, load};
use host_sim::wait::until;
use serde_json::{Value, json};

const TEAMS: [&str; 2] = ["one", "two"];
const HELD: usize = 8;

/// How two filters are told apart.
#[derive(Clone, Copy, Debug)]
struct Told {
    vm_ids: [&'static str; 2],
    names: [&'static str; 2],
    scope: Option<&'static str>,
}

impl Told {
    /// Whether the proxy tells the filter anything that differs.
    fn differs(&self) -> bool {
        self.vm_ids[0] != self.vm_ids[1] || self.names[0] != self.names[1]
    }
}

/// The configuration of a team: the names are the same for all teams, the clusters are its own.
fn configuration(team: &str, scope: Option<&str>) -> Value {
    let cluster = |of: &str| format!("{team}-{of}");
    let two = |pool: &str| {
        json!([
            { "cluster": cluster(&format!("{pool}-v1")), "name": "v1" },
            { "cluster": cluster(&format!("{pool}-v2")), "name": "v2" },
        ])
    };
    let route = |name: &str| json!({ "name": name, "match": { "path": { "exact": format!("/{name}") } }, "pool": name });
    let mut limited = route("limited");
    limited["pool"] = json!("load");
    limited["rate_limits"] = json!(["narrow"]);
    let passive = json!({ "consecutive_failures": 3, "eject": "1h", "max_eject": "1h" });
    let active =
        json!({ "path": format!("/health-{team}"), "interval": "200ms", "timeout": "200ms" });
    // Of one name, and the first team has one target of it and the second two.
    let load = match team {
        "one" => json!([{ "cluster": cluster("load-v1"), "name": "v1" }]),
        _ => two("load"),
    };
    let mut configuration = json!({
        "pools": {
            "web": { "targets": two("web"), "health": { "passive": passive } },
            "probed": { "targets": [{ "cluster": cluster("probed"), "name": "v1" }], "health": { "active": active } },
            "load": { "targets": load, "balance": "least_connections" },
        },
        "rate_limits": { "narrow": { "requests": 2, "per": "1h", "key": [] } },
        "routes": [route("web"), route("probed"), route("load"), limited],
    });
    if let Some(scope) = scope {
        configuration["scope"] = json!(scope);
    }
    configuration
}

/// All pools of both teams, for their backends.
fn backends() -> Value {
    let pools = TEAMS.iter().flat_map(|team| {
        let Value::Object(pools) = configuration(team, None)["pools"].take() else {
            panic!("no pools");
        };
        pools.into_iter().map(move |(name, mut pool)| {
            pool.as_object_mut().unwrap().remove("health");
            (format!("{team}-{name}"), pool)
        })
    });
    json!({ "pools": pools.collect::<serde_json::Map<_, _>>(), "routes": [] })
}

/// An Envoy with a listener for each team.
fn start(told: Told) -> Site {
    let adjust = |_: &Fleet, mut deployment: host_sim::envoy::Deployment| {
        let listeners = &mut deployment.bootstrap_mut()["static_resources"]["listeners"];
        let first = listeners[0].take();
        let both = (0..2).map(|team| {
            let mut listener = first.clone();
            listener["name"] = json!(TEAMS[team]);
            let manager = &mut listener["filter_chains"][0]["filters"][0]["typed_config"];
            let filters = manager["http_filters"].as_array_mut().unwrap();
            let wasm = filters
                .iter_mut()
                .find(|filter| filter["typed_config"]["config"].is_object());
            let config = &mut wasm.unwrap()["typed_config"]["config"];
            config["name"] = json!(told.names[team]);
            config["vm_config"]["vm_id"] = json!(told.vm_ids[team]);
            config["configuration"]["value"] = configuration(TEAMS[team], told.scope);
            listener
        });
        *listeners = both.collect();
        Ok(deployment)
    };
    Site::start_with(&backends(), adjust).unwrap()
}

fn client(site: &Site, team: usize) -> Client {
    Client::new(site.envoy.listener(TEAMS[team]).unwrap()).unwrap()
}

/// Which backends answer so many requests, each with how many; `-` stands for those without one.
fn answered(site: &Site, team: usize, path: &str, requests: usize) -> Vec<(String, usize)> {
    let mut client = client(site, team);
    let mut counts = std::collections::BTreeMap::new();
    for _ in 0..requests {
        let answer = client.get("a", path).unwrap();
        let backend = answer.headers().get("x-backend");
        let name = backend.map_or("-", |name| name.to_str().unwrap());
        *counts.entry(name.to_owned()).or_default() += 1;
    }
    counts.into_iter().collect()
}

fn in_flight(site: &Site) -> u64 {
    site.envoy.requests_in_flight().unwrap_or(0)
}

/// (a) A target of one team that fails is no worse for the other, and (b) each team's targets get
/// its own probes, and no others.
fn health_is_apart(site: &mut Site) {
    for target in TEAMS.map(|team| format!("{team}-probed")) {
        let path = format!("/health-{}", target.strip_suffix("-probed").unwrap());
        let site = &*site;
        let backend = site.backend(&target).unwrap();
        // Of two configurations of one name in a VM the later one is the newer: the earlier one goes
        // on probing while it is asked for.
        until("it is probed", || {
            (0..2).for_each(|team| drop(answered(site, team, "/web", 1)));
            backend.count() > 5
        });
        for probe in backend.take_received() {
            let (_, seen) = probe
                .headers
                .iter()
                .find(|(name, _)| name == b":path")
                .unwrap();
            assert_eq!(String::from_utf8_lossy(seen), path);
        }
    }
    site.backend_mut("one-web-v1").unwrap().stop();
    let ejected = |site: &Site| answered(site, 0, "/web", 4) == [("one-web-v2".to_owned(), 4)];
    until("it is ejected", || ejected(site));
    let of_two = answered(site, 1, "/web", 20);
    assert_eq!(of_two.len(), 2, "{of_two:?}");
    assert!(
        of_two
            .iter()
            .all(|(name, count)| name.starts_with("two-web-v") && *count >= 8),
        "{of_two:?}"
    );
}

/// (d) What one team's target has in flight is not counted for the other's.
fn counts_are_apart(site: &Site) {
    let of_one = site.backend("one-load-v1").unwrap();
    of_one.answer(Answer::Hold);
    load::run_while(
        HELD,
        |_| assert_eq!(client(site, 0).get("a", "/load").unwrap().status(), 200),
        |_| {
            until("they are under way", || in_flight(site) == HELD as u64);
            let of_two = answered(site, 1, "/load", 100);
            assert_eq!(of_two.len(), 2, "{of_two:?}");
            // Each is a fair draw between two targets that have nothing in flight: that one of them
            // gets less than 15 has a chance of 1e-13. Were the other team's requests counted, it
            // would get none.
            assert!(of_two.iter().all(|(_, count)| *count >= 15), "{of_two:?}");
            of_one.answer(Answer::Name);
        },
    );
    until("none is under way", || in_flight(site) == 0);
}

/// How many of three requests the limit of each team admits.
fn admitted(site: &Site) -> [usize; 2] {
    [0, 1].map(|team| {
        let answered = answered(site, team, "/limited", 3);
        answered
            .iter()
            .filter(|(name, _)| name != "-")
            .map(|(_, count)| count)
            .sum()
    })
}

fn apart(told: Told) {
    println!("{told:?}");
    let mut site = start(told);
    // Whoever is first has the names that a configuration alone has.
    let plain = "pointsman.route.web.requests";
    assert_eq!(answered(&site, 0, "/web", 1).len(), 1);
    // What requests count waits for the tick.
    until("the first request is counted", || {
        site.envoy.filter_stat(plain).unwrap() == 1
    });
    answered(&site, 1, "/web", 2);
    let prefix = format!("pointsman.scope.{}-", told.names[1]);
    let expected = match told.differs() {
        true => (1, Some(2)),
        false => (3, None),
    };
    until("each request is counted where it belongs", || {
        let scoped = site.envoy.filter_sum(&prefix, ".route.web.requests");
        (site.envoy.filter_stat(plain).unwrap(), scoped.unwrap()) == expected
    });

    health_is_apart(&mut site);
    counts_are_apart(&site);
    // (c) Two listeners with filters of one name in one VM are two versions of one configuration, as
    // far as anybody can tell.
    assert_eq!(
        admitted(&site),
        if told.differs() { [2, 2] } else { [2, 0] }
    );
}

#[test]
fn two_filters_of_one_vm_do_not_meet() {
    apart(Told {
        vm_ids: ["vm", "vm"],
        names: ["one", "two"],
        scope: None,
    });
}

#[test]
fn two_filters_of_one_name_in_one_vm_share_no_target() {
    apart(Told {
        vm_ids: ["vm", "vm"],
        names: ["same", "same"],
        scope: None,
    });
}

#[test]
fn two_vms_do_not_meet() {
    apart(Told {
        vm_ids: ["vm-1", "vm-2"],
        names: ["one", "two"],
        scope: None,
    });
    apart(Told {
        vm_ids: ["vm-1", "vm-2"],
        names: ["same", "same"],
        scope: None,
    });
}

#[test]
fn a_scope_of_one_name_is_shared_on_purpose_and_still_no_target_is_another() {
    for vm_ids in [["vm", "vm"], ["vm-1", "vm-2"]] {
        let told = Told {
            vm_ids,
            names: ["one", "two"],
            scope: Some("edge"),
        };
        println!("{told:?}");
        let mut site = start(told);
        (0..2).for_each(|team| drop(answered(&site, team, "/web", 2)));
        until("the requests of both are counted in one place", || {
            let counted = site
                .envoy
                .filter_stat("pointsman.scope.edge.route.web.requests");
            counted.unwrap() == 4
        });
        health_is_apart(&mut site);
        counts_are_apart(&site);
        // Shared data is a VM's.
        let shared = vm_ids[0] == vm_ids[1];
        assert_eq!(admitted(&site), if shared { [2, 0] } else { [2, 2] });
    }
}

/// A reload keeps all: the filter's name and its VM say whose records they are.
#[test]
fn a_reload_keeps_what_is_a_configurations_own() {
    let mut site = start(Told {
        vm_ids: ["vm", "vm"],
        names: ["one", "two"],
        scope: None,
    });
    let site_of_two = |path: &str| answered(&site, 1, path, 3);
    assert_eq!(
        site_of_two("/limited")
            .iter()
            .filter(|(name, _)| name == "-")
            .count(),
        1
    );
    site.backend_mut("two-web-v1").unwrap().stop();
    until("it is ejected", || {
        answered(&site, 1, "/web", 4) == [("two-web-v2".to_owned(), 4)]
    });
    let mut deployment = site.envoy.deployment().clone();
    let listeners = deployment.bootstrap_mut()["static_resources"]["listeners"].as_array_mut();
    for listener in listeners.unwrap() {
        let manager = &mut listener["filter_chains"][0]["filters"][0]["typed_config"];
        for filter in manager["http_filters"].as_array_mut().unwrap() {
            let value = &mut filter["typed_config"]["config"]["configuration"]["value"];
            if let Some(routes) = value["routes"].as_array_mut() {
                let new = json!({ "name": "new", "match": { "path": { "exact": "/new" } }, "respond": { "status": 204 } });
                routes.push(new);
            }
        }
    }
    site.envoy.update(deployment).unwrap();
    until("it is loaded", || {
        client(&site, 1).get("a", "/new").unwrap().status() == 204
    });
    assert_eq!(
        answered(&site, 1, "/web", 8),
        [("two-web-v2".to_owned(), 8)]
    );
    assert_eq!(answered(&site, 1, "/limited", 1), [("-".to_owned(), 1)]);
}

/// "limits without `global`: each proxy's own: *n* proxies admit *n* times as much", and health:
/// "each ejects what it has seen fail itself".
#[test]
fn two_proxies_share_neither_limits_nor_health() {
    let mut site = Site::start(&configuration("one", None)).unwrap();
    let program = install::find(Wanted::Any).unwrap();
    let other = Envoy::start(&program, site.envoy.deployment().clone()).unwrap();
    let admitted = |envoy: &Envoy| {
        let mut client = envoy.client().unwrap();
        let statuses = (0..3).map(|_| client.get("a", "/limited").unwrap().status());
        statuses.filter(|status| *status == 200).count()
    };
    assert_eq!([admitted(&site.envoy), admitted(&other)], [2, 2]);

    site.backend_mut("one-web-v1").unwrap().stop();
    let failed = |client: &mut Client| {
        let statuses = (0..4).map(|_| client.get("a", "/web").unwrap().status());
        statuses.filter(|status| *status == 503).count()
    };
    let mut client = site.client().unwrap();
    until("it is ejected", || failed(&mut client) == 0);
    let mut client = other.client().unwrap();
    assert_eq!(failed(&mut client), 2, "half of them are the dead one's");
    until("the other one has ejected it too", || {
        failed(&mut client) == 0
    });
}

//! Pointsman's metrics and its place in the access log, as an Envoy shows them that is started with
//! `envoy-config/envoy.yaml`.

use host_sim::backend::Answer;
use host_sim::client::{Client, session_cookie};
use host_sim::envoy::fleet::Fleet;
use host_sim::envoy::{Deployment, Envoy, PluginConfiguration, Wanted, install};
use host_sim::exchange::Response;
use host_sim::module;
use host_sim::testkit::Site;
use host_sim::wait::until;
use pointsman_tests::sources::words;
use prometheus_parse::{Scrape, Value as Measured};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Names that a tag rule which splits at dots or slashes would take apart wrongly.
const ODD: [&str; 5] = [
    "a.b c/é",
    "target",
    ".target.target",
    "requests",
    "say \"x\\y\"",
];

/// A client's secrets, which no log may have.
const SECRETS: [&str; 3] = [
    "a-cookie-of-the-client",
    "a-token-in-the-query",
    "the-explain-token",
];

/// Everything that has a metric of its own.
fn configuration() -> Value {
    let sticky =
        json!({ "cookie": { "name": "pm" }, "keys": ["YS1rZXktb2YtYXQtbGVhc3QtMTYtYnl0ZXM="] });
    let mut pools = json!({
        "web": { "targets": [{ "cluster": "blue" }], "sticky": sticky, "health": { "passive": { "consecutive_failures": 2 } } },
        "gone": { "targets": [{ "cluster": "nobody", "state": "down" }], "failover": ["web"] },
        "none": { "targets": [{ "cluster": "nobody", "state": "down", "max_in_flight": 1 }] },
        "bad": {
            "targets": [{ "cluster": "absent", "name": "absent" }],
            "health": {
                "passive": { "consecutive_failures": 1, "max_ejected_percent": 100, "eject": "1h" },
                "active": { "path": "/health", "interval": "1h" },
            },
        },
    });
    // A first client goes to the one that fails, by an answer of its own: one of the proxy's begins
    // no session. Then it goes to the other.
    pools["moves"] = json!({
        "targets": [{ "cluster": "failing", "weight": 1_000_000 }, { "cluster": "blue" }],
        "sticky": { "cookie": { "name": "pm_moves" }, "keys": ["YS1rZXktb2YtYXQtbGVhc3QtMTYtYnl0ZXM="] },
        "health": { "passive": { "consecutive_failures": 1, "eject": "1h" } },
    });
    let exact = |name: &str, action: (&str, Value)| {
        let path = format!("/{name}");
        let mut route = json!({ "name": name, "match": { "path": { "exact": path } } });
        route[action.0] = action.1;
        route
    };
    let mut limited = exact("limited", ("pool", json!("web")));
    limited["rate_limits"] = json!(["narrow"]);
    let mut probed = exact(".git", ("pool", json!("web")));
    probed["protect"] = json!(["edge"]);
    let mut routes = vec![
        limited,
        probed,
        exact("web", ("pool", json!("web"))),
        exact("gone", ("pool", json!("gone"))),
        exact("none", ("pool", json!("none"))),
        exact("bad", ("pool", json!("bad"))),
        exact("moves", ("pool", json!("moves"))),
        exact("old", ("redirect", json!({ "path": "/new" }))),
    ];
    for (number, name) in ODD.into_iter().enumerate() {
        pools[name] = json!({ "targets": [{ "cluster": "blue", "name": name }] });
        let path = json!({ "path": { "exact": format!("/odd/{number}") } });
        routes.push(json!({ "name": name, "match": path, "pool": name }));
    }
    let engine = json!({ "cluster": "absent", "domain": "d", "mode": "lease" });
    json!({
        "pools": pools,
        "protect": { "edge": { "detect": ["scanner", "sql_injection", "cross_site_scripting", "path_traversal"], "mode": "block" } },
        "rate_limits": {
            "narrow": { "requests": 1, "per": "1h", "key": ["client_ip"] },
            "fleet": { "requests": 1, "per": "1h", "key": [], "global": engine },
        },
        "routes": routes,
        "explain": { "header": "x-explain", "token": SECRETS[2] },
        "access_log": true,
    })
}

/// An Envoy as it is shipped, but for Pointsman's configuration and the clusters that belong to it.
fn start() -> Site {
    let fleet = Fleet::start(&configuration()).unwrap();
    let members = fleet.members().iter();
    for failing in members.filter(|member| member.cluster == "failing") {
        failing.backend.answer(Answer::With(Response::bare(503)));
    }
    let mut deployment = Deployment::file("envoy.yaml", &module::build().unwrap())
        .unwrap()
        .on_free_ports()
        .with_configuration(PluginConfiguration::Struct(fleet.configuration().clone()));
    let mut clusters = fleet.clusters();
    clusters.retain(|cluster| cluster["name"] != "absent");
    deployment.bootstrap_mut()["static_resources"]["clusters"] = clusters.into();
    Site::of(&install::find(Wanted::Any).unwrap(), fleet, deployment).unwrap()
}

/// Asks for a path; the status, and the session's cookie if there is a new one.
fn ask(client: &mut Client, path: &str, cookie: &str) -> (u16, Option<String>) {
    let path = format!("{path}?token={}", SECRETS[1]);
    let cookies = format!("secret={}; {cookie}", SECRETS[0]);
    let headers = [("cookie", &*cookies), ("x-explain", SECRETS[2])];
    let answer = client
        .get_with("shop.example.com", &path, &headers)
        .unwrap();
    (answer.status().as_u16(), session_cookie(&answer))
}

/// Some of everything; the session's cookie.
fn traffic(envoy: &Envoy) -> String {
    let mut client = envoy.client().unwrap();
    let (status, cookie) = ask(&mut client, "/web", "");
    let cookie = cookie.expect("a session");
    assert_eq!(status, 200);
    for (path, statuses) in [
        ("/web", &[200, 200][..]),
        ("/gone", &[200]),
        ("/none", &[503]),
        ("/bad", &[503, 503]),
        ("/.git", &[403]),
        ("/old", &[302]),
        ("/limited", &[200, 429, 429]),
        ("/nowhere", &[404]),
    ] {
        for status in statuses {
            assert_eq!(ask(&mut client, path, &cookie).0, *status, "{path}");
        }
    }
    let (status, session) = ask(&mut client, "/moves", "");
    let moved = ask(&mut client, "/moves", &session.expect("a session"));
    assert_eq!((status, moved.0, moved.1.is_some()), (503, 200, true));
    for (number, name) in ODD.iter().enumerate() {
        assert_eq!(
            ask(&mut client, &format!("/odd/{number}"), "").0,
            200,
            "{name}"
        );
    }
    cookie
}

fn scrape(envoy: &Envoy) -> Scrape {
    let text = envoy.admin("/stats/prometheus").unwrap();
    // The crate does not read a name without labels and with braces.
    Scrape::parse(text.lines().map(|line| Ok(line.replace("{} ", " ")))).unwrap()
}

/// The value of the series with exactly these labels.
fn value(scrape: &Scrape, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let labels: BTreeMap<_, _> = labels.iter().copied().collect();
    let found = scrape.samples.iter().find(|sample| {
        let own: BTreeMap<_, _> = sample
            .labels
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        sample.metric == name && own == labels
    })?;
    match found.value {
        Measured::Counter(value) | Measured::Gauge(value) | Measured::Untyped(value) => Some(value),
        _ => None,
    }
}

#[test]
fn every_metric_is_in_the_scrape_with_its_labels_and_exact_counts() {
    let Site { envoy, .. } = &start();
    traffic(envoy);
    // What requests count waits for the next tick, and is added in the order in which it was counted:
    // this is the last of it.
    let last = ODD[ODD.len() - 1]
        .replace('\\', "\\\\")
        .replace('"', "\\\"");
    let last = format!(r#"pointsman_target="{last}"}} 1"#);
    until("the last request is counted", || {
        let text = envoy.admin("/stats/prometheus").unwrap();
        let mut lines = text.lines();
        lines
            .any(|line| line.starts_with("pointsman_pool_target_requests") && line.ends_with(&last))
    });
    let scrape = scrape(envoy);
    let web = [("pointsman_pool", "web"), ("pointsman_target", "blue")];
    let bad = [("pointsman_pool", "bad"), ("pointsman_target", "absent")];
    let route = |name| [("pointsman_route", name)];
    let pool = |name| [("pointsman_pool", name)];
    let limit = [("pointsman_limit", "narrow")];
    let protect = [("pointsman_protect", "edge")];
    let fleet = [("pointsman_limit", "fleet")];
    let rows: &[(&str, &[(&str, &str)], f64)] = &[
        ("pointsman_route_requests", &route("web"), 3.0),
        ("pointsman_route_requests", &route("limited"), 3.0),
        ("pointsman_route_refused", &route("limited"), 2.0),
        ("pointsman_route_requests", &route("old"), 1.0),
        ("pointsman_no_route_requests", &[], 1.0),
        ("pointsman_match_too_long", &[], 0.0),
        ("pointsman_pool_target_requests", &web, 5.0),
        ("pointsman_pool_target_failed", &web, 0.0),
        ("pointsman_pool_target_in_flight", &web, 0.0),
        ("pointsman_pool_target_requests", &bad, 2.0),
        ("pointsman_pool_target_failed", &bad, 2.0),
        ("pointsman_pool_target_ejected", &bad, 1.0),
        ("pointsman_pool_target_recovered", &bad, 0.0),
        ("pointsman_pool_target_healthy", &bad, 0.0),
        ("pointsman_pool_target_healthy", &web, 1.0),
        ("pointsman_pool_healthy_targets", &pool("bad"), 0.0),
        ("pointsman_pool_targets", &pool("bad"), 1.0),
        ("pointsman_pool_healthy_targets", &pool("moves"), 1.0),
        ("pointsman_pool_targets", &pool("moves"), 2.0),
        ("pointsman_pool_sticky", &pool("web"), 3.0),
        ("pointsman_pool_sticky", &pool("moves"), 0.0),
        ("pointsman_pool_repin", &pool("web"), 0.0),
        ("pointsman_pool_repin", &pool("moves"), 1.0),
        ("pointsman_pool_failover", &pool("gone"), 1.0),
        ("pointsman_pool_use_all", &pool("bad"), 1.0),
        ("pointsman_pool_no_target", &pool("none"), 1.0),
        ("pointsman_rate_limit_refused", &limit, 2.0),
        ("pointsman_rate_limit_shadow", &limit, 0.0),
        ("pointsman_rate_limit_overflow", &limit, 0.0),
        ("pointsman_rate_limit_contended", &limit, 0.0),
        ("pointsman_protect_scanner", &protect, 1.0),
        ("pointsman_protect_blocked", &protect, 1.0),
        ("pointsman_protect_not_inspected", &protect, 0.0),
        ("pointsman_rate_limit_asked", &fleet, 0.0),
        ("pointsman_rate_limit_asked_refused", &fleet, 0.0),
        ("pointsman_rate_limit_asked_failed", &fleet, 0.0),
        ("pointsman_rate_limit_leased", &fleet, 0.0),
        ("pointsman_request_failed", &[], 0.0),
        ("pointsman_shared_failed", &[], 0.0),
        ("pointsman_bug", &[], 0.0),
    ];
    for (name, labels, expected) in rows {
        assert_eq!(
            value(&scrape, name, labels),
            Some(*expected),
            "{name} {labels:?}"
        );
    }
    // Names come out as they went in, however odd; but see `Pool::metric`. The crate leaves escapes
    // of a label's value as they are.
    let text = envoy.admin("/stats/prometheus").unwrap();
    for name in ODD {
        let told = name.replace('\\', "\\\\").replace('"', "\\\"");
        let pool = told.replace(".target", "_target");
        for line in [
            format!(r#"pointsman_route_requests{{pointsman_route="{told}"}} 1"#),
            format!(
                r#"pointsman_pool_target_requests{{pointsman_pool="{pool}",pointsman_target="{told}"}} 1"#
            ),
            format!(r#"pointsman_pool_no_target{{pointsman_pool="{pool}"}} 0"#),
        ] {
            assert!(text.contains(&line), "{line}");
        }
    }
}

#[test]
fn each_change_of_health_is_one_line_of_the_log_with_its_reason() {
    let Site { envoy, .. } = &start();
    traffic(envoy);
    let lines = || {
        let log = envoy.log();
        let told = log
            .lines()
            .filter_map(|line| line.split_once("pool ")?.1.into());
        told.map(str::to_owned).collect::<Vec<String>>()
    };
    let expected = [
        "moves: failing ejected for 3600 s after 1 failure (503)",
        "bad: absent ejected for 3600 s after 1 failure (no connection)",
    ];
    for expected in expected {
        until("the line is there", || {
            lines().iter().any(|line| line.ends_with(expected))
        });
    }
    for expected in expected {
        let told = lines()
            .iter()
            .filter(|line| line.ends_with(expected))
            .count();
        assert_eq!(told, 1, "{expected}: {:#?}", lines());
    }
}

/// README.md's own lines, of the runbook's "whether requests or probes found them out".
#[test]
fn the_log_says_whether_requests_or_probes_found_a_target_out_and_when_it_is_back() {
    let readme = words(include_str!("../envoy-config/README.md"));
    let passive = json!({ "passive": { "consecutive_failures": 5, "eject": "30s", "max_ejected_percent": 100 } });
    let active =
        json!({ "active": { "path": "/health", "interval": "100ms", "fall": 3, "rise": 2 } });
    for (health, failure, out, back) in [
        (
            passive,
            503,
            "pool web: green ejected for 30 s after 5 failures (503)",
            None,
        ),
        (
            active,
            500,
            "pool web: green fell after 3 failed probes (500)",
            Some("pool web: green is back after 2 good probes"),
        ),
    ] {
        let configuration = json!({
            "pools": { "web": { "targets": [{ "cluster": "green" }], "health": health } },
            "routes": [{ "name": "all", "pool": "web" }],
        });
        let site = Site::start(&configuration).unwrap();
        let green = site.backend("green").unwrap();
        let mut client = site.client().unwrap();
        let target = |what: &str| {
            let name = format!("pointsman.pool.web.target.green.{what}");
            site.envoy.filter_stat_if_defined(&name).unwrap()
        };
        // "The gauges of health show from the first tick on": no request has come.
        until("its gauge is there", || target("healthy") == Some(1));
        let mut says = |line: &str| {
            assert!(readme.contains(&format!("`{line}`")), "{line}");
            until(line, || {
                client.get("a", "/").unwrap();
                site.envoy.log().lines().any(|told| told.ends_with(line))
            });
        };
        green.answer(Answer::With(Response::bare(failure)));
        says(out);
        until("it is shown", || target("healthy") == Some(0));
        let fell = u64::from(back.is_some());
        assert_eq!(
            ["ejected", "fell"].map(|it| target(it).unwrap_or(0)),
            [1 - fell, fell]
        );
        if let Some(back) = back {
            green.answer(Answer::Name);
            says(back);
            until("it is shown", || target("healthy") == Some(1));
            assert_eq!(target("recovered"), Some(1));
        }
    }
}

/// "requests that went to another target than the one that they belong to, because of its
/// `max_in_flight`".
#[test]
fn a_request_that_finds_its_target_full_is_counted() {
    let target = |cluster: &str| json!({ "cluster": cluster, "max_in_flight": 1 });
    let configuration = json!({
        "pools": { "web": {
            "balance": { "consistent_hash": { "key": { "header": "x-tenant" } } },
            "targets": [target("a"), target("b")],
        } },
        "routes": [{ "name": "all", "pool": "web" }],
    });
    let site = Site::start(&configuration).unwrap();
    let backends = ["a", "b"].map(|name| site.backend(name).unwrap());
    let of_acme = |client: &mut Client| client.get_with("h", "/", &[("x-tenant", "acme")]);
    assert_eq!(of_acme(&mut site.client().unwrap()).unwrap().status(), 200);
    let full = || site.envoy.filter_stat("pointsman.pool.web.full").unwrap();
    let home = backends.iter().position(|it| it.count() == 1).unwrap();
    backends[home].answer(Answer::Hold);
    let address = site.envoy.address().unwrap();
    let held = std::thread::spawn(move || of_acme(&mut Client::new(address).unwrap()));
    until("one is under way", || backends[home].count() == 2);
    assert_eq!(full(), 0);
    assert_eq!(of_acme(&mut site.client().unwrap()).unwrap().status(), 200);
    assert_eq!(backends[1 - home].count(), 1);
    until("it is counted", || full() == 1);
    backends[home].answer(Answer::Name);
    assert_eq!(held.join().unwrap().unwrap().status(), 200);
}

/// A test that asks for a count must not get 0 because the name is wrong.
#[test]
fn a_name_that_no_metric_has_is_refused() {
    let Site { envoy, .. } = &start();
    let misspelt = "pointsman.rate_limit_store_failed";
    let refused = envoy.filter_stat(misspelt).unwrap_err().to_string();
    assert!(refused.contains(misspelt), "{refused}");
    assert_eq!(envoy.filter_stat_if_defined(misspelt).unwrap(), None);
    assert_eq!(
        envoy.filter_sum("pointsman.pool.", ".no_such").unwrap(),
        None
    );
    assert_eq!(envoy.filter_stat("pointsman.shared.failed").unwrap(), 0);
    // "Routes and targets show from their first request on, all else once it can happen."
    let of_requests = ["route.web.requests", "pool.web.target.blue.requests"];
    let is_there = |name: &str| {
        let name = format!("pointsman.{name}");
        envoy.filter_stat_if_defined(&name).unwrap().is_some()
    };
    assert_eq!(of_requests.map(is_there), [false, false]);
    let others = ["rate_limit.narrow.refused", "pool.none.no_target"];
    assert_eq!(others.map(is_there), [true, true]);
    // The first request to a pool defines its gauges.
    assert!(envoy.requests_in_flight().is_err());
    traffic(envoy);
    until("they are there", || {
        of_requests.map(is_there) == [true, true]
    });
    until("all counts are 0", || {
        envoy.requests_in_flight().unwrap() == 0
    });
}

/// The strings under any of these keys, wherever they stand.
fn strings<'v>(value: &'v Value, keys: &[&str], found: &mut Vec<&'v str>) {
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                found.extend(value.as_str().filter(|_| keys.contains(&key.as_str())));
                strings(value, keys, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| strings(item, keys, found)),
        _ => {}
    }
}

/// Names of Pointsman's metrics and labels in a text.
fn names(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
    words.filter(|word| word.starts_with("pointsman_"))
}

#[test]
fn the_dashboard_asks_for_what_there_is_and_for_all_of_it() {
    const BESIDE: [&str; 4] = [
        // Of use to workers alone.
        "pointsman_pool_health_version",
        "pointsman_first_scope",
        // The dashboard takes the histogram's buckets.
        "pointsman_decision_us_sum",
        "pointsman_decision_us_count",
    ];
    let Site { envoy, .. } = &start();
    traffic(envoy);
    // A worker tells what it loaded on its first tick.
    let scrape = || envoy.admin("/stats/prometheus").unwrap();
    until("what is live is shown", || {
        scrape().contains("pointsman_configuration")
    });
    let text = scrape();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let shown: BTreeSet<&str> = lines
        .clone()
        .flat_map(|line| names(line.split(' ').next().unwrap_or_default()))
        .collect();
    let metrics = lines.filter_map(|line| names(line).next());

    let dashboard = include_str!("../envoy-config/dashboard.json");
    let dashboard: Value = serde_json::from_str(dashboard).unwrap();
    let mut expressions = Vec::new();
    strings(&dashboard, &["expr", "definition"], &mut expressions);
    assert!(expressions.len() > 20, "{expressions:#?}");
    let asked: BTreeSet<&str> = expressions
        .iter()
        .flat_map(|expression| names(expression))
        .collect();
    for name in &asked {
        assert!(shown.contains(name), "the dashboard asks for {name}");
    }
    for metric in metrics.filter(|metric| !BESIDE.contains(metric)) {
        assert!(asked.contains(metric), "the dashboard has no {metric}");
    }
}

/// The lines of the access log so far.
fn access_log(envoy: &Envoy) -> Vec<Value> {
    let log = envoy.log();
    let lines = log.lines().filter(|line| line.starts_with('{'));
    lines
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

#[test]
fn the_access_log_tells_route_pool_target_and_reason_and_no_secret() {
    let Site { envoy, .. } = &start();
    let cookie = traffic(envoy);
    // Envoy writes its log when it has time.
    until("every line", || access_log(envoy).len() >= 14 + ODD.len());
    let told: BTreeSet<String> = access_log(envoy)
        .iter()
        .map(|line| {
            let part = |key: &str| line[key].as_str().unwrap_or("-").to_owned();
            ["path", "cluster", "pointsman"].map(part).join(" ")
        })
        .collect();
    for expected in [
        "/web blue route=web pool=web target=blue reason=balance",
        "/web blue route=web pool=web target=blue reason=sticky",
        "/gone blue route=gone pool=web target=blue reason=failover",
        "/none - route=none reason=no_target",
        "/bad absent route=bad pool=bad target=absent reason=use_all",
        "/moves blue route=moves pool=moves target=blue reason=repin",
        "/old - route=old reason=route",
        "/limited - route=limited reason=rate_limit",
        "/nowhere - reason=no_route",
        "/odd/0 blue route=a.b%20c/é pool=a.b%20c/é target=a.b%20c/é reason=balance",
        "/odd/4 blue route=say%20%22x%5Cy%22 pool=say%20%22x%5Cy%22 target=say%20%22x%5Cy%22 \
         reason=balance",
    ] {
        assert!(told.contains(expected), "{expected}: {told:#?}");
    }
    let log = envoy.log();
    for secret in SECRETS
        .into_iter()
        .chain([cookie.split_once('=').unwrap().1])
    {
        assert!(!log.contains(secret), "{secret}");
    }
}

#[test]
fn both_files_label_alike() {
    let rules = |file: &str| {
        let mut deployment = Deployment::file(file, "m".as_ref()).unwrap();
        deployment.bootstrap_mut()["stats_config"].take()
    };
    assert_ne!(rules("envoy.yaml"), Value::Null);
    assert_eq!(rules("envoy.yaml"), rules("sidecar.yaml"));
}

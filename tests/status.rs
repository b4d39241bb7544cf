//! `host-sim status` and which configuration is live, on a real Envoy: one that is well, a dead
//! target, a limit that refuses, an update that is refused, several filters, and addresses where no
//! Pointsman is.

use host_sim::backend::{Answer, Backend};
use host_sim::envoy::fleet::Fleet;
use host_sim::envoy::{Deployment, FilterFile, PluginConfiguration, Wanted, install};
use host_sim::exchange::Response;
use host_sim::module;
use host_sim::status::admin::Admin;
use host_sim::status::{Status, Watcher, report};
use host_sim::testkit::Site;
use host_sim::wait::until;
use host_sim::{configuration, environment};
use pointsman_core::config::Config;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};

const REQUESTS: u64 = 40;

fn shop(version: &str) -> Value {
    json!({
        "version": version,
        "pools": { "web": {
            "targets": [{ "cluster": "blue", "weight": 3 }, { "cluster": "green" }],
            "health": { "passive": { "consecutive_failures": 2, "eject": "1h" } },
        } },
        "rate_limits": { "narrow": { "requests": 2, "per": "1h", "key": ["path"] } },
        "routes": [
            { "name": "limited", "match": { "path": { "exact": "/limited" } }, "rate_limits": ["narrow"], "pool": "web" },
            { "name": "all", "pool": "web" },
        ],
        "explain": { "header": "x-why", "token": "a-token" },
    })
}

fn loaded(configuration: &Value) -> Config {
    Config::load(configuration.to_string().as_bytes()).unwrap()
}

fn watcher(site: &Site) -> Watcher {
    let address = site.envoy.admin_address().to_string();
    Watcher::new(Admin::open(&address).unwrap())
}

/// Looks until `is_so`.
fn look(watcher: &mut Watcher, what: &str, mut is_so: impl FnMut(&Status) -> bool) -> Status {
    let mut last = None;
    until(what, || {
        let status = watcher.look().unwrap();
        let so = is_so(&status);
        last = Some(status);
        so
    });
    last.unwrap()
}

fn kinds(status: &Status) -> Vec<&'static str> {
    status.findings.iter().map(|it| it.kind).collect()
}

/// The hash that is live, of the only filter.
fn live(status: &Status) -> Option<&str> {
    assert_eq!(status.filters.len(), 1);
    status.filters[0].configuration.as_deref()
}

fn requests(status: &Status) -> u64 {
    let targets = status.filters[0].pools.iter().flat_map(|it| &it.targets);
    targets.map(|it| it.requests).sum()
}

#[test]
fn one_look_tells_what_is_live_where_requests_go_and_what_is_wrong() {
    let mut site = Site::start(&shop("one")).unwrap();
    let mut watcher = watcher(&site);
    let hash = loaded(&shop("one")).hash.to_string();
    let mut client = site.client().unwrap();
    for _ in 0..REQUESTS {
        client.get("shop.example.com", "/").unwrap();
    }
    for expected in [200, 200, 429, 429, 429] {
        let status = client.get("shop.example.com", "/limited").unwrap().status();
        assert_eq!(status, expected);
    }
    let status = look(&mut watcher, "all is counted", |it| {
        requests(it) == REQUESTS + 2 && it.filters[0].limits[0].refused == 3
    });
    assert_eq!(status.findings, []);
    assert_eq!(live(&status), Some(&*hash));
    let filter = &status.filters[0];
    assert_eq!(
        (filter.version.as_deref(), filter.routes),
        (Some("one"), Some(2))
    );
    let limit = &filter.limits[0];
    assert_eq!((limit.admitted, limit.refused), (Some(2), 3));
    let told = filter.pools[0]
        .targets
        .iter()
        .map(|it| (&*it.name, it.healthy, it.due));
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            ("blue", Some(true), Some(0.75)),
            ("green", Some(true), Some(0.25))
        ]
    );
    let shares = filter.pools[0].targets.iter().filter_map(|it| it.share);
    assert!((shares.sum::<f64>() - 1.0).abs() < 1e-9);

    // `explain` says the same, and the log has it in one line, whatever the number of workers.
    let told = client
        .get_with("shop.example.com", "/", &[("x-why", "a-token")])
        .unwrap();
    let told: Value = serde_json::from_slice(told.headers()["x-why"].as_bytes()).unwrap();
    assert_eq!(
        (&told["configuration"], &told["version"]),
        (&json!(hash), &json!("one"))
    );
    let line = |hash: &str, version: &str| {
        format!(": 2 routes, 1 pool, 1 limit; configuration {hash} (version \"{version}\")")
    };
    assert_eq!(site.envoy.log().matches(&line(&hash, "one")).count(), 1);

    // A target that fails is out, on a phone too.
    site.backend("green")
        .unwrap()
        .answer(Answer::With(Response::bare(503)));
    let status = look(&mut watcher, "the target is out", |it| {
        client.get("shop.example.com", "/").unwrap();
        !it.findings.is_empty()
    });
    assert_eq!(kinds(&status), ["target_out"]);
    let text = report::text(&status, 60);
    assert!(
        text.contains("OUT") && text.contains("out: green"),
        "{text}"
    );
    site.backend("green").unwrap().answer(Answer::Name);

    // An update that is refused changes nothing of what is live, and is told with its problem.
    let mut wrong = shop("two");
    wrong["routes"][1]["pool"] = "wbe".into();
    site.update(wrong).unwrap_err();
    let status = watcher.look().unwrap();
    assert_eq!(
        (live(&status), status.filters[0].version.as_deref()),
        (Some(&*hash), Some("one"))
    );
    assert_eq!(
        kinds(&status),
        ["target_out", "refused_now", "update_refused"]
    );
    let text = &status.findings[1].text;
    assert!(
        text.contains("(version \"two\")") && text.contains("no pool is named \"wbe\""),
        "{text}"
    );

    // The next good one is live: its line is there once, and only the counts remember.
    let next = loaded(&shop("three")).hash.to_string();
    site.update(shop("three")).unwrap();
    let status = look(&mut watcher, "the next one is live", |it| {
        live(it) == Some(&*next)
    });
    assert_eq!(status.filters[0].version.as_deref(), Some("three"));
    assert!(!kinds(&status).contains(&"refused_now"), "{status:#?}");
    assert_eq!(site.envoy.log().matches(&line(&next, "three")).count(), 1);
    let mut expecting = status.clone();
    expecting.expect("next.yaml", [loaded(&shop("three"))].iter());
    assert_eq!(kinds(&expecting), kinds(&status));
    expecting.expect("other.yaml", [loaded(&shop("four"))].iter());
    assert_eq!(kinds(&expecting)[0], "not_expected");
}

#[test]
fn over_ecds_the_dump_has_what_was_refused_and_status_what_is_live() {
    let fleet = Fleet::start(&shop("one")).unwrap();
    let deployment = fleet.deployment(&module::build().unwrap()).unwrap();
    let (deployment, file) = FilterFile::of(deployment).unwrap();
    let envoy = install::find(Wanted::Any).unwrap();
    let site = Site::of(&envoy, fleet, deployment).unwrap();
    let mut watcher = watcher(&site);
    let hash = loaded(&shop("one")).hash.to_string();
    let status = look(&mut watcher, "it is live", |it| live(it) == Some(&*hash));
    assert_eq!(status.findings, []);
    assert_eq!(status.filters[0].version.as_deref(), Some("one"));

    let mut wrong = shop("two");
    wrong["routes"] = json!([{ "name": "all", "pool": "wbe" }]);
    file.configure(PluginConfiguration::Struct(wrong)).unwrap();
    let status = look(&mut watcher, "it is refused", |it| !it.findings.is_empty());
    assert_eq!(live(&status), Some(&*hash));
    assert_eq!(kinds(&status), ["refused_now", "update_refused"]);
    assert_eq!(status.findings[1].count, 1);
    // Envoy has forgotten the text of what serves.
    assert_eq!(status.filters[0].version, None);

    let text = shop("three").to_string();
    file.configure(PluginConfiguration::Text(text)).unwrap();
    let next = loaded(&shop("three")).hash.to_string();
    let status = look(&mut watcher, "the next one is live", |it| {
        live(it) == Some(&*next)
    });
    assert_eq!(status.filters[0].version.as_deref(), Some("three"));
    assert_eq!(kinds(&status), ["update_refused"]);
}

#[test]
fn the_shipped_envoy_is_well() {
    let file = host_sim::module::repository()
        .unwrap()
        .join("envoy-config/envoy.yaml");
    let expected = environment::load_anywhere(&configuration::read(&file).unwrap()).unwrap();
    let deployment = Deployment::file("envoy.yaml", &module::build().unwrap()).unwrap();
    let (fleet, deployment) = Fleet::in_place_of_endpoints(deployment.on_free_ports()).unwrap();
    let envoy = install::find(Wanted::Any).unwrap();
    let site = Site::of(&envoy, fleet, deployment.updatable()).unwrap();
    let mut watcher = watcher(&site);
    // What moved to free ports is another configuration: that of the dump.
    let status = look(&mut watcher, "it is live", |it| live(it).is_some());
    assert_eq!(status.filters[0].routes, Some(expected.routes.len()));
    assert_eq!(status.filters[0].pools.len(), expected.pools.len());
    site.client().unwrap().get("shop.example.com", "/").unwrap();
    let status = look(&mut watcher, "the request is counted", |it| {
        requests(it) == 1
    });
    assert_eq!(status.findings, []);
    assert_eq!(status.proxy.version, envoy.version.to_string());
}

#[test]
fn python_makes_the_same_hash_of_a_file_as_the_page_says() {
    let page = include_str!("../envoy-config/README.md");
    let (_, code) = page.split_once("python3 -c '").unwrap();
    let (code, _) = code.split_once("' < shop.json").unwrap();
    let mut configuration = shop("2026-11-26.3 é😀 \"\\");
    configuration["routes"][0]["mirror"] = json!({ "pool": "web", "percent": 0.25 });
    let mut python = Command::new("python3")
        .args(["-c", code])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("python3: {error}; apt-get install python3"));
    let mut stdin = python.stdin.take().unwrap();
    write!(stdin, "{configuration:#}").unwrap();
    drop(stdin);
    let mut told = String::new();
    python
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut told)
        .unwrap();
    assert!(python.wait().unwrap().success());
    assert_eq!(told.trim(), loaded(&configuration).hash.to_string());
}

/// Why there is nothing to see at an address.
fn why_not(address: &str) -> String {
    let looked = Admin::open(address).and_then(|admin| Watcher::new(admin).look());
    format!("{:#}", looked.expect_err("nothing to see"))
}

#[test]
fn where_no_pointsman_is_the_error_says_so() {
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let told = why_not(&nobody.to_string());
    assert!(
        told.contains("refused") && told.contains("admin address"),
        "{told}"
    );

    let backend = Backend::start("a").unwrap();
    let told = why_not(&format!("http://{}/", backend.address()));
    assert!(told.contains("not as an Envoy's admin interface"), "{told}");

    let site = Site::start_with(&shop("one"), |_, mut deployment| {
        // The router alone.
        let filters = deployment.connection_manager_mut()["http_filters"].as_array_mut();
        filters.unwrap().retain(|filter| {
            let kind = filter["typed_config"]["@type"].as_str().unwrap_or_default();
            !kind.contains(".wasm.")
        });
        Ok(deployment)
    });
    let site = site.unwrap();
    let told = why_not(&site.envoy.admin_address().to_string());
    assert!(told.contains("no metrics of Pointsman"), "{told}");
    // The port of clients, which is not that of the admin interface.
    let told = why_not(&site.envoy.address().unwrap().to_string());
    assert!(told.contains("not as an Envoy's admin interface"), "{told}");
}

/// The runbook: the gauge's value "is the hash, which `printf …` shows as the log has it", with the
/// label of its scope where it has one.
#[test]
fn the_gauge_of_what_is_live_is_the_hash_of_the_log_with_its_scope() {
    let runbook = include_str!("../envoy-config/runbook.md");
    let (_, command) = runbook.split_once("`printf ").unwrap();
    let (command, _) = command.split_once('`').unwrap();
    for scope in [None, Some("edge")] {
        let mut configuration = shop("one");
        if let Some(scope) = scope {
            configuration["scope"] = scope.into();
        }
        let site = Site::start(&configuration).unwrap();
        let labels = scope.map_or("{}".to_owned(), |it| {
            format!("{{pointsman_scope=\"{it}\"}}")
        });
        let begin = format!("pointsman_configuration{labels} ");
        let mut value = String::new();
        until("a worker tells what it loaded", || {
            let text = site.envoy.admin("/stats/prometheus").unwrap();
            let told = text.lines().find_map(|line| line.strip_prefix(&begin));
            value = told.unwrap_or_default().to_owned();
            !["", "0"].contains(&&*value)
        });
        let command = format!("printf {}", command.replace("VALUE", &value));
        let told = Command::new("sh").args(["-c", &command]).output().unwrap();
        let told = String::from_utf8(told.stdout).unwrap();
        let log = site.envoy.log();
        let said = format!("configuration {} (version \"one\")", told.trim_end());
        assert!(told.len() == 13 && log.contains(&said), "{command}: {told}");
    }
}

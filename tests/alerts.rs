//! `envoy-config/alerts.yaml`: each alert fires when it should, asks for metrics that there are, and
//! has a place in the runbook.

use host_sim::backend::Answer;
use host_sim::client::status_and_backend;
use host_sim::configuration;
use host_sim::envoy::fleet::Fleet;
use host_sim::envoy::{Deployment, Wanted, install};
use host_sim::exchange::Response;
use host_sim::module;
use host_sim::status::Watcher;
use host_sim::status::admin::Admin;
use host_sim::testkit::Site;
use host_sim::wait::until;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

const ALERTS: &str = include_str!("../envoy-config/alerts.yaml");
const DASHBOARD: &str = include_str!("../envoy-config/dashboard.json");
const RUNBOOK: &str = include_str!("../envoy-config/runbook.md");

/// The rules of the file.
fn rules() -> Vec<Value> {
    let file = configuration::to_json(&configuration::parse(ALERTS).unwrap());
    let rules = file["groups"][0]["rules"].as_array().unwrap().clone();
    assert!(rules.len() > 10, "{rules:#?}");
    rules
}

/// Runs Prometheus's own checker, and panics with what it says where it finds something.
fn promtool(directory: &Path, arguments: [&str; 3]) {
    let output = Command::new("promtool")
        .args(arguments)
        .current_dir(directory)
        .output()
        .unwrap_or_else(|error| panic!("promtool: {error}; apt-get install prometheus"));
    let told = [output.stdout, output.stderr].concat();
    let told = String::from_utf8_lossy(&told);
    assert!(
        output.status.success() && !told.contains("FAILED"),
        "{told}"
    );
}

/// The queries of the dashboard's panels, with numbers in place of Grafana's variables.
fn queries() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = target["expr"].as_str().unwrap();
            let query = query.replace("$__rate_interval", "5m");
            let query = ["$instance", "$route", "$pool"]
                .iter()
                .fold(query, |query, variable| query.replace(variable, ".*"));
            assert!(!query.contains('$'), "{query}");
            queries.push((panel["title"].as_str().unwrap().to_owned(), query));
        }
    }
    assert!(queries.len() > 30, "{queries:#?}");
    queries
}

/// Evaluates queries on what an Envoy showed, as if it had shown it for ten minutes. `increase` of
/// two names whose labels are alike, say, is an error that only the evaluation finds.
fn evaluate(queries: &[(String, String)], scraped: &str) {
    let directory = tempfile::tempdir().unwrap();
    let series: Vec<Value> = scraped
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let name = match name.split_once('{') {
                Some((name, labels)) => format!("{name}{{instance=\"a\",{labels}"),
                None => format!("{name}{{instance=\"a\"}}"),
            };
            json!({ "series": name, "values": format!("{value}x20") })
        })
        .collect();
    let rules: Vec<Value> = (0..)
        .zip(queries)
        .map(|(number, (_, query))| json!({ "record": format!("q{number}"), "expr": query }))
        .collect();
    // Rules are evaluated up to the last time that a test asks for.
    let last = json!({
        "expr": "vector(1)", "eval_time": "8m", "exp_samples": [{ "labels": "{}", "value": 1 }],
    });
    let rules = json!({ "groups": [{ "name": "queries", "rules": rules }] });
    let tests = json!({
        "rule_files": ["rules.json"],
        "evaluation_interval": "1m",
        "tests": [{ "interval": "30s", "input_series": series, "promql_expr_test": [last] }],
    });
    std::fs::write(directory.path().join("rules.json"), rules.to_string()).unwrap();
    std::fs::write(directory.path().join("tests.json"), tests.to_string()).unwrap();
    promtool(directory.path(), ["check", "rules", "rules.json"]);
    promtool(directory.path(), ["test", "rules", "tests.json"]);
}

#[test]
fn prometheus_takes_the_configuration_of_the_compose_file() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../envoy-config/compose");
    promtool(&directory, ["check", "config", "prometheus.yaml"]);
}

#[test]
fn each_alert_fires_when_it_should_and_none_where_all_is_well() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../envoy-config");
    promtool(&directory, ["check", "rules", "alerts.yaml"]);
    promtool(&directory, ["test", "rules", "alerts_test.yaml"]);
    let tests = include_str!("../envoy-config/alerts_test.yaml");
    // The runbook: "Each has the proxy in its label `instance`", but one.
    let parsed = configuration::to_json(&configuration::parse(tests).unwrap());
    let mut fired = 0;
    for test in parsed["tests"].as_array().unwrap() {
        for at in test["alert_rule_test"].as_array().unwrap() {
            for alert in at["exp_alerts"].as_array().unwrap() {
                let is_of_a_job = at["alertname"] == "PointsmanConfigurationsDiffer";
                let instance = &alert["exp_labels"]["instance"];
                assert_eq!(instance.is_null(), is_of_a_job, "{at}");
                fired += 1;
            }
        }
    }
    assert_eq!(fired, rules().len());
    for rule in rules() {
        let name = rule["alert"].as_str().unwrap();
        let fires = format!("- name: {name} fires\n");
        let is_quiet = format!("alertname: {name}, exp_alerts: [] }}");
        assert!(
            tests.contains(&fires) && tests.contains(&is_quiet),
            "{name}"
        );
    }
}

#[test]
fn each_alert_has_a_place_in_the_runbook_and_says_how_bad_it_is() {
    let mut headings = RUNBOOK.lines().filter_map(|line| line.strip_prefix("## "));
    for rule in rules() {
        let name = rule["alert"].as_str().unwrap();
        assert_eq!(headings.next(), Some(name), "in the order of the file");
        let anchor = format!("envoy-config/runbook.md#{}", name.to_lowercase());
        assert_eq!(rule["annotations"]["runbook"], *anchor, "{name}");
        let severity = &rule["labels"]["severity"];
        assert!(
            ["page", "ticket"].iter().any(|known| severity == known),
            "{name}"
        );
    }
    assert_eq!(headings.next(), None);
}

/// The names of metrics and labels in a text.
fn names(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
    words.filter(|word| word.starts_with("pointsman_") || word.starts_with("envoy_"))
}

#[test]
fn alerts_and_dashboard_ask_for_what_a_real_envoy_shows_and_a_refused_update_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ecds.yaml");
    let deployment = Deployment::file("envoy.yaml", &module::build().unwrap()).unwrap();
    let (fleet, deployment) = Fleet::in_place_of_endpoints(deployment.on_free_ports()).unwrap();
    let deployment = deployment.discover_filter(&file).unwrap().updatable();
    let envoy = install::find(Wanted::Any).unwrap();
    let site = Site::of(&envoy, fleet, deployment).unwrap();
    let mut client = site.client().unwrap();
    for path in ["/", "/login", "/account", "/api"] {
        client.get("shop.example.com", path).unwrap();
    }
    let scrape = || site.envoy.admin("/stats/prometheus").unwrap();
    until("what was counted is shown", || {
        let text = scrape();
        ["pointsman_route_refused", "pointsman_pool_target_healthy"]
            .iter()
            .all(|name| text.contains(name))
    });
    let text = scrape();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let shown: BTreeSet<&str> = lines.flat_map(names).collect();
    let alerts = rules().into_iter().map(|rule| {
        let [name, query] = ["alert", "expr"].map(|key| rule[key].as_str().unwrap().to_owned());
        (name, query)
    });
    // Pointsman's own names in the dashboard are held by `metrics.rs`, whose configuration has all.
    let of_envoy = |(panel, query): &(String, String)| {
        let names = names(query).filter(|name| name.starts_with("envoy_"));
        (panel.clone(), names.collect::<Vec<_>>().join(" "))
    };
    let alerts: Vec<_> = alerts.collect();
    let dashboard = queries();
    let asking = alerts.iter().cloned().chain(dashboard.iter().map(of_envoy));
    for (of, query) in asking {
        // Only a proxy whose listeners come by LDS has these.
        let names = names(&query).filter(|name| !name.starts_with("envoy_listener_manager_lds_"));
        for name in names {
            // The beginning of a pattern.
            let is_there = match name.ends_with('_') {
                true => shown.iter().any(|shown| shown.starts_with(name)),
                false => shown.contains(name),
            };
            assert!(is_there, "{of} asks for {name}");
        }
    }
    evaluate(&[alerts, dashboard].concat(), &text);
    // What PointsmanConfigurationRefused asks for rises.
    let refused = || {
        let text = scrape();
        let counts = text.lines().filter(|line| {
            let name = line.split('{').next().unwrap_or_default();
            name.starts_with("envoy_extension_config_discovery_")
                && (name.ends_with("_update_rejected") || name.ends_with("_config_fail"))
        });
        let count = |line: &str| line.rsplit(' ').next()?.parse::<u64>().ok();
        counts.filter_map(count).sum::<u64>()
    };
    assert_eq!(refused(), 0);
    let next = file.with_extension("next");
    let wrong = std::fs::read_to_string(&file).unwrap();
    std::fs::write(
        &next,
        wrong.replace("\"pool\": \"gold\"", "\"pool\": \"golden\""),
    )
    .unwrap();
    std::fs::rename(&next, &file).unwrap();
    until("the update is refused and counted", || refused() > 0);
    assert!(site.envoy.log().contains("golden"));
}

/// What the runbook tells to write into the configuration, done by a reload while the trouble lasts.
#[test]
fn what_the_runbook_tells_to_configure_helps() {
    for words in [
        "`when_all_unhealthy: use_all` brings traffic back at\nonce",
        "`state: down` keeps it out",
        "set its weight to 0",
        "`shadow: true` makes it\ncount and refuse nobody",
    ] {
        assert!(RUNBOOK.contains(words), "{words}");
    }
    let configuration = json!({
        "pools": {
            "web": {
                "targets": [{ "cluster": "web" }],
                "health": {
                    "passive": { "consecutive_failures": 2, "eject": "24h", "max_ejected_percent": 100 },
                    "when_all_unhealthy": "respond_503",
                },
            },
            "canary": { "targets": [
                { "cluster": "old", "name": "old", "weight": 1 },
                { "cluster": "new", "name": "new", "weight": 1 },
            ] },
        },
        "rate_limits": { "tight": { "requests": 1, "per": "1h", "key": [] } },
        "routes": [
            { "name": "web", "match": { "path": { "exact": "/web" } }, "pool": "web" },
            { "name": "tight", "match": { "path": { "exact": "/tight" } },
              "rate_limits": ["tight"], "respond": { "status": 200 } },
            { "name": "canary", "pool": "canary" },
        ],
    });
    let mut site = Site::start(&configuration).unwrap();
    let ask = |site: &Site, path: &str| {
        status_and_backend(&site.client().unwrap().get("a", path).unwrap())
    };
    // A target that is well, and a check that says otherwise.
    let failing = Answer::With(Response::bare(500));
    site.backend("web").unwrap().answer(failing);
    until("it is ejected", || ask(&site, "/web").0 == 503);
    site.backend("web").unwrap().answer(Answer::Name);
    assert_eq!(ask(&site, "/web"), (503, String::new()));
    let statuses = [(); 2].map(|()| ask(&site, "/tight").0);
    assert_eq!(statuses, [200, 429]);
    let used = |site: &Site| -> BTreeSet<String> { (0..8).map(|_| ask(site, "/").1).collect() };
    assert_eq!(used(&site).len(), 2);

    let mut next = configuration.clone();
    next["pools"]["web"]["health"]["when_all_unhealthy"] = json!("use_all");
    next["rate_limits"]["tight"]["shadow"] = json!(true);
    next["pools"]["canary"]["targets"][1]["weight"] = json!(0);
    site.update(site.fleet.moved(next.clone())).unwrap();
    assert_eq!(ask(&site, "/web"), (200, "web".to_owned()));
    assert_eq!([(); 4].map(|()| ask(&site, "/tight").0), [200; 4]);
    let shadow = "pointsman.rate_limit.tight.shadow";
    until("it counts all the same", || {
        let counted = site.envoy.filter_stat_if_defined(shadow).unwrap();
        counted.is_some_and(|counted| counted > 0)
    });
    let old = || BTreeSet::from(["old".to_owned()]);
    assert_eq!(used(&site), old());

    next["pools"]["canary"]["targets"][1]["weight"] = json!(1);
    next["pools"]["canary"]["targets"][1]["state"] = json!("down");
    site.update(site.fleet.moved(next)).unwrap();
    assert_eq!(used(&site), old());
}

/// Asks as so many clients with a bucket each, and waits until they are counted.
fn clients_with_a_bucket_each(site: &Site, numbers: std::ops::Range<u64>) {
    let mut client = site.client().unwrap();
    for number in numbers.clone() {
        let tenant = number.to_string();
        let answer = client.get_with("a", "/", &[("x-tenant", &tenant)]);
        assert!([200, 429].contains(&answer.unwrap().status().as_u16()));
    }
    until("all are counted", || {
        let counted = site.envoy.filter_stat("pointsman.route.all.requests");
        counted.unwrap() == numbers.end
    });
}

/// "More clients come than the limits' table has keys (`overflow`; give `rate_limit_table.max_keys`
/// more)".
#[test]
fn clients_that_found_the_table_full_have_room_in_one_of_more_keys() {
    let keys = |max_keys: u32| {
        json!({
            "pools": { "web": { "targets": [{ "cluster": "web" }] } },
            "rate_limit_table": { "max_keys": max_keys },
            "rate_limits": {
                "tenants": { "requests": 1, "per": "1h", "key": [{ "header": "x-tenant" }] },
            },
            "routes": [{ "name": "all", "rate_limits": ["tenants"], "pool": "web" }],
        })
    };
    let mut site = Site::start(&keys(8)).unwrap();
    let overflow = |site: &Site| {
        let name = "pointsman.rate_limit.tenants.overflow";
        site.envoy.filter_stat(name).unwrap()
    };
    clients_with_a_bucket_each(&site, 0..40);
    let before = overflow(&site);
    assert!(before >= 32, "{before}");
    site.update(site.fleet.moved(keys(65_536))).unwrap();
    clients_with_a_bucket_each(&site, 40..80);
    assert_eq!(overflow(&site), before);
}

/// PointsmanTrapped: what it asks for rises once another VM serves, the log says where it died, and
/// the configuration of before ends what a configuration brought about.
#[test]
fn a_vm_that_died_is_counted_and_the_configuration_of_before_serves() {
    let good = json!({
        "pools": { "web": { "targets": [{ "cluster": "web" }] } },
        "routes": [{ "name": "all", "pool": "web" }],
    });
    let mut deadly = good.clone();
    // By this header the module traps.
    deadly["routes"][0]["request_headers"] = json!({ "set": { "x-trap": "now" } });
    let trap = module::build_package("pointsman-trap").unwrap();
    let site = Site::start_with(&good, |_, deployment| {
        Ok(deployment.with_module(&trap).with_workers(1))
    });
    let mut site = site.unwrap();
    let status = |site: &Site| site.client().unwrap().get("a", "/").unwrap().status();
    let counted = |site: &Site, what: &str| {
        let text = site.envoy.admin("/stats/prometheus").unwrap();
        let begin = format!("envoy_wasm_pointsman_{what}{{");
        let line = text.lines().find(|line| line.starts_with(&begin));
        let value = line.unwrap().rsplit(' ').next().unwrap();
        value.parse::<u64>().unwrap()
    };
    let reloads = |site: &Site| counted(site, "vm_reload_success");
    assert_eq!((status(&site).as_u16(), reloads(&site)), (200, 0));
    site.update(site.fleet.moved(deadly)).unwrap();
    until("a request dies by the new one", || status(&site) == 503);
    until("another VM was made", || {
        status(&site);
        reloads(&site) > 0
    });
    // "which it never counts"
    assert_eq!(counted(&site, "vm_reload"), 0);
    let log = site.envoy.log();
    assert!(log.contains("panicked at tests/trap/lib.rs:"), "{log}");
    assert!(log.contains("\nas asked\n"), "{log}");
    let admin = Admin::open(&site.envoy.admin_address().to_string()).unwrap();
    let found = Watcher::new(admin).look().unwrap().findings;
    assert!(
        found.iter().any(|finding| finding.kind == "vm_trap"),
        "{found:?}"
    );
    site.update(site.fleet.moved(good)).unwrap();
    until("the one before serves", || status(&site) == 200);
    assert_eq!([(); 20].map(|()| status(&site).as_u16()), [200; 20]);
}

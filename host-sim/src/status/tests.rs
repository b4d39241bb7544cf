use super::*;
use pointsman_core::config::hash::ConfigurationHash;
use serde_json::json;

fn stats(pairs: &[(&str, u64)]) -> Value {
    let stats = pairs
        .iter()
        .map(|(name, value)| json!({ "name": name, "value": value }));
    let mut stats: Vec<_> = stats.collect();
    stats.push(json!({ "name": "a.text", "value": "v3" }));
    stats.push(json!({ "histograms": {
        "supported_quantiles": [0.0, 50.0, 99.0],
        "computed_quantiles": [
            { "name": "wasmcustom.pointsman.decision_us", "values": [
                { "interval": null, "cumulative": 1.0 },
                { "interval": null, "cumulative": 12.4 },
                { "interval": null, "cumulative": 40.0 },
            ] },
        ],
    } }));
    json!({ "stats": stats })
}

fn configuration(pool: &str) -> Value {
    json!({
        "version": "7",
        "pools": { "web.eu": {
            "targets": [
                { "cluster": "b", "name": "blue.1", "weight": 9 },
                { "cluster": "g", "name": "green", "weight": 1 },
                { "cluster": "o", "name": "old", "weight": 5, "state": "draining" },
            ],
            "health": { "passive": { "consecutive_failures": 3 } },
        } },
        "rate_limits": { "per.ip": { "requests": 1, "per": "1s", "key": ["client_ip"] } },
        "routes": [
            { "name": "a.b", "match": { "path": { "prefix": "/a" } }, "rate_limits": ["per.ip"], "pool": pool },
            { "name": "rest", "pool": "web.eu" },
        ],
    })
}

fn filter(configuration: &Value) -> Value {
    json!({ "name": "any", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
        "config": { "name": "edge", "configuration": {
            "@type": "type.googleapis.com/google.protobuf.Struct", "value": configuration,
        } },
    } })
}

fn proxy() -> Proxy {
    let info = json!({
        "version": "9e5580933739775e8bce696a57a2e1bc99368f23/1.40.0/Clean/RELEASE/BoringSSL",
        "state": "LIVE",
        "uptime_all_epochs": "11520s",
        "command_line_options": { "concurrency": 4 },
    });
    super::proxy(&info, "127.0.0.1:9901")
}

fn hash(configuration: &Value) -> u64 {
    let tree = serde_json::from_value(configuration.clone()).unwrap();
    ConfigurationHash::of(&tree).number()
}

/// What a proxy counts that serves `configuration`.
fn counted(configuration: &Value) -> Vec<(&'static str, u64)> {
    vec![
        ("wasmcustom.pointsman.configuration", hash(configuration)),
        ("wasmcustom.pointsman.first_scope", 5),
        ("wasmcustom.pointsman.bug", 0),
        ("wasmcustom.pointsman.no_route.requests", 3),
        ("wasmcustom.pointsman.route.a.b.requests", 50),
        ("wasmcustom.pointsman.route.a.b.refused", 20),
        ("wasmcustom.pointsman.route.rest.requests", 70),
        ("wasmcustom.pointsman.rate_limit.per.ip.refused", 20),
        ("wasmcustom.pointsman.pool.web.eu.healthy_targets", 2),
        (
            "wasmcustom.pointsman.pool.web.eu.target.blue.1.requests",
            1_080_000,
        ),
        ("wasmcustom.pointsman.pool.web.eu.target.blue.1.failed", 0),
        ("wasmcustom.pointsman.pool.web.eu.target.blue.1.healthy", 1),
        (
            "wasmcustom.pointsman.pool.web.eu.target.blue.1.in_flight",
            2,
        ),
        (
            "wasmcustom.pointsman.pool.web.eu.target.green.requests",
            120_000,
        ),
        ("wasmcustom.pointsman.pool.web.eu.target.green.failed", 4),
        ("wasmcustom.pointsman.pool.web.eu.target.green.healthy", 1),
        (
            "wasmcustom.pointsman.pool.web.eu.target.green.id.0a1b2c3d.in_flight",
            1,
        ),
        ("wasmcustom.pointsman.pool.gone.target.x.requests", 9),
        ("wasm.edge.vm_reload_success", 0),
        ("listener_manager.lds.update_rejected", 0),
        ("http.edge.no_route", 0),
        ("http.admin.no_route", 77),
    ]
}

fn status(counted: &[(&str, u64)], dump: &Value) -> Status {
    let counts = ProxyCounts::of(&stats(counted));
    Status::of(proxy(), &counts, &dump::offers(dump), None)
}

#[test]
fn a_proxy_that_is_well_is_told_of_as_its_configuration_has_it() {
    let configuration = configuration("web.eu");
    let dump = json!({ "configs": [{ "listener": filter(&configuration) }] });
    let status = status(&counted(&configuration), &dump);
    assert_eq!(status.findings, []);
    assert_eq!(
        (&*status.proxy.version, status.proxy.workers),
        ("1.40.0", Some(4))
    );
    let [filter] = &status.filters[..] else {
        panic!("{status:#?}");
    };
    assert_eq!(filter.version.as_deref(), Some("7"));
    assert_eq!((filter.routes, filter.no_route), (Some(2), 3));
    assert_eq!(filter.decision_us, Some([12.4, 40.0]));
    let [pool] = &filter.pools[..] else {
        panic!("{filter:#?}");
    };
    assert_eq!((&*pool.name, pool.healthy), ("web.eu", Some(2)));
    let told = pool
        .targets
        .iter()
        .map(|it| (&*it.name, it.share, it.due, it.in_flight, it.failed));
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            ("blue.1", Some(0.9), Some(0.9), 2, Some(0)),
            ("green", Some(0.1), Some(0.1), 1, Some(4)),
            ("old", Some(0.0), Some(0.0), 0, None),
        ]
    );
    let limit = &filter.limits[0];
    assert_eq!(
        (&*limit.name, limit.admitted, limit.refused),
        ("per.ip", Some(30), 20)
    );
    let text = report::text(&status, 100);
    for part in [
        "Envoy 1.40.0 at 127.0.0.1:9901: live for 3 h 12 min, 4 workers",
        "✓ all is well",
        "(version \"7\") of filter `edge`: 2 routes, 1 pool, 1 limit",
        "1,080,000",
        "draining",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn each_thing_that_should_be_zero_is_a_finding() {
    let configuration = configuration("web.eu");
    let dump = json!({ "configs": [{ "listener": filter(&configuration) }] });
    for (name, value, kind) in [
        ("wasmcustom.pointsman.bug", 1, "bug"),
        ("wasmcustom.pointsman.request.failed", 1, "request_failed"),
        ("wasmcustom.pointsman.response.failed", 1, "response_failed"),
        ("wasmcustom.pointsman.shared.failed", 1, "shared_failed"),
        ("wasmcustom.pointsman.in_flight.local", 1, "in_flight_local"),
        (
            "wasmcustom.pointsman.in_flight.reaped",
            1,
            "in_flight_reaped",
        ),
        (
            "wasmcustom.pointsman.pool.web.eu.target.green.healthy",
            0,
            "target_out",
        ),
        ("wasm.edge.vm_reload_success", 2, "vm_trap"),
        ("listener_manager.lds.update_rejected", 1, "update_refused"),
        (
            "extension_config_discovery.http_filter.x.config_fail",
            1,
            "update_refused",
        ),
        ("http.edge.no_route", 4, "no_route"),
        ("http.edge.no_cluster", 4, "no_route"),
    ] {
        let mut counted = counted(&configuration);
        counted.retain(|(other, _)| *other != name);
        counted.push((name, value));
        let found = status(&counted, &dump).findings;
        let [finding] = &found[..] else {
            panic!("{name}: {found:?}");
        };
        assert_eq!(finding.kind, kind, "{name}");
    }
}

#[test]
fn what_was_refused_is_told_with_its_problem_and_not_taken_for_live() {
    let (live, refused) = (configuration("web.eu"), configuration("web.us"));
    let taken = json!({ "active_state": { "listener": filter(&live) } });
    // A listener that was refused stands beside the one that serves; a filter of ECDS in its place.
    let listener = json!({ "dynamic_listeners": [
        { "active_state": taken["active_state"], "error_state": { "failed_configuration": filter(&refused) } },
    ] });
    for dump in [listener, json!({ "ecds_filters": [filter(&refused)] })] {
        let status = status(&counted(&live), &dump);
        let [finding] = &status.findings[..] else {
            panic!("{status:#?}");
        };
        assert_eq!(finding.kind, "refused_now");
        let expected = format!(
            "refused: configuration {:012x} (version \"7\") for filter `edge`: routes[0].pool: ",
            hash(&refused)
        );
        assert!(finding.text.starts_with(&expected), "{}", finding.text);
        let told = status.filters[0].configuration.as_deref();
        assert_eq!(told, Some(&*format!("{:012x}", hash(&live))));
    }
    // One that is on its way, or drains, is nothing to tell of.
    let other =
        json!({ "pools": {}, "routes": [{ "name": "other", "respond": { "status": 200 } }] });
    let moving = json!({ "dynamic_listeners": [
        { "active_state": taken["active_state"], "draining_state": { "listener": filter(&other) } },
    ] });
    assert_eq!(status(&counted(&live), &moving).findings, []);
    let gone_back =
        json!({ "dynamic_listeners": [{ "active_state": { "listener": filter(&other) } }] });
    assert_eq!(
        status(&counted(&live), &gone_back).findings[0].kind,
        "not_taken"
    );
}

#[test]
fn what_is_expected_is_a_finding_until_it_is_live() {
    let (live, next) = (configuration("web.eu"), {
        let mut next = configuration("web.eu");
        next["version"] = "8".into();
        next
    });
    let dump = json!({ "listener": filter(&live) });
    let mut status = status(&counted(&live), &dump);
    let load = |it: &Value| Config::load(it.to_string().as_bytes()).unwrap();
    status.expect("live.json", [load(&live)].iter());
    assert_eq!(status.findings, []);
    status.expect("next.json", [load(&next)].iter());
    let text = &status.findings[0].text;
    assert!(
        text.contains("(version \"8\")") && text.contains("next.json"),
        "{text}"
    );
}

#[test]
fn filters_with_scopes_are_told_apart() {
    let counted = [
        ("wasmcustom.pointsman.bug", 0),
        ("wasmcustom.pointsman.scope.b-1.bug", 2),
        ("wasmcustom.pointsman.scope.b-1.configuration", 77),
        ("wasmcustom.pointsman.scope.b-1.pool.p.target.t.requests", 4),
    ];
    let status = status(&counted, &json!({}));
    let scopes = status.filters.iter().map(|it| it.scope.as_deref());
    assert_eq!(scopes.collect::<Vec<_>>(), [None, Some("b-1")]);
    assert_eq!(
        status.filters[1].configuration.as_deref(),
        Some("00000000004d")
    );
    assert_eq!(status.filters[1].pools[0].targets[0].due, None);
    assert!(status.findings[0].text.contains("(scope b-1)"));
    let text = report::text(&status, 100);
    assert!(text.contains("not in Envoy's dump"), "{text}");
    assert!(text.contains("no configuration is live yet"), "{text}");
}

#[test]
fn rates_are_those_between_two_looks() {
    let configuration = configuration("web.eu");
    let before = ProxyCounts::of(&stats(&counted(&configuration)));
    let mut later = counted(&configuration);
    later.push(("wasmcustom.pointsman.pool.web.eu.target.green.requests", 30));
    later.push(("wasmcustom.pointsman.rate_limit.per.ip.refused", 10));
    let dump = json!({ "listener": filter(&configuration) });
    let (now, offers) = (ProxyCounts::of(&stats(&later)), dump::offers(&dump));
    let status = Status::of(proxy(), &now, &offers, Some((&before, 2.0)));
    let filter = &status.filters[0];
    let rates = filter.pools[0]
        .targets
        .iter()
        .map(|it| it.requests_per_second);
    assert_eq!(
        rates.collect::<Vec<_>>(),
        [Some(0.0), Some(15.0), Some(0.0)]
    );
    assert_eq!(filter.limits[0].refused_per_second, Some(5.0));
    assert!(report::text(&status, 100).contains("15.0"));
}

#[test]
fn nothing_is_wider_than_the_screen() {
    let mut configuration = configuration("web.eu");
    let long = "a-name-of-a-target-that-no-phone-has-room-for-in-a-table";
    configuration["pools"]["web.eu"]["targets"][1]["name"] = long.into();
    configuration["version"] = "2026-11-26.3-of-the-shop-with-a-name-as-long-as-it-may-be".into();
    let mut counted = counted(&configuration);
    counted.push(("wasmcustom.pointsman.bug", 12));
    counted.push(("wasmcustom.pointsman.pool.web.eu.no_target", 12_345_678));
    counted.push(("wasmcustom.pointsman.pool.web.eu.failover", 1_234_567));
    let dump = json!({ "listener": filter(&configuration) });
    let (now, offers) = (ProxyCounts::of(&stats(&counted)), dump::offers(&dump));
    for before in [None, Some((&now, 1.0))] {
        let status = Status::of(proxy(), &now, &offers, before);
        for width in [60, 79, 80, 100, 200] {
            let text = anstream::adapter::strip_str(&report::text(&status, width)).to_string();
            for line in text.lines() {
                assert!(line.chars().count() <= width, "{width}: {line}\n{text}");
            }
            assert!(text.contains("health"), "{text}");
        }
    }
}

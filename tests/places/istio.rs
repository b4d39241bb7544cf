//! Istio: a sidecar and an ingress gateway as istiod writes them, with what it makes of our
//! resources.

use super::{
    ASKS, MANAGER, ROUTER, WASM, bootstrap, cluster, counts, envoy_filter, get, has_to_be_listed,
    list, listener, mistaken, named, nothing_forged, one, resources, resources_of, shares, start,
    survives_a_trap,
};
use host_sim::client::Client;
use host_sim::wait::until;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const REVIEWS: &str = "reviews.default.svc.cluster.local";
const RATINGS: &str = "ratings.default.svc.cluster.local";
const SHOP: &str = "shop.example.com";

/// The connection manager of a listener, before any plugin.
fn manager(name: &str, virtual_hosts: Value) -> Value {
    json!({
        "@type": MANAGER,
        "stat_prefix": name,
        // MeshConfig's default, BASE.
        "normalize_path": true,
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
        "upgrade_configs": [{ "upgrade_type": "websocket" }],
        "http_filters": [
            { "name": "envoy.filters.http.fault", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault" } },
            { "name": "envoy.filters.http.cors", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors" } },
            { "name": "envoy.filters.http.router", "typed_config": { "@type": ROUTER } },
        ],
        "route_config": {
            "name": name,
            "validate_clusters": false,
            "ignore_port_in_host_matching": true,
            "virtual_hosts": virtual_hosts,
        },
    })
}

fn virtual_host(host: &str, port: u16, cluster: &str) -> Value {
    let short = host.strip_suffix(".svc.cluster.local").unwrap_or(host);
    let mut domains = vec![host, short];
    domains.dedup();
    domains.extend(host.split('.').next().filter(|_| short != host));
    json!({
        "name": format!("{host}:{port}"),
        "domains": domains,
        "routes": [{
            "name": "default", "match": { "prefix": "/" }, "route": { "cluster": cluster, "timeout": "0s" },
        }],
    })
}

/// The proxy of an application that calls `reviews` and `ratings`.
fn sidecar() -> Value {
    let local = "127.0.0.1";
    let of = |host: &str| format!("outbound|8080||{host}");
    let hosts = [REVIEWS, RATINGS].map(|host| virtual_host(host, 8080, &of(host)));
    let inbound = json!([{ "name": "inbound|http|8080", "domains": ["*"], "routes": [{
        "name": "default", "match": { "prefix": "/" }, "route": { "cluster": "inbound|8080||" } }] }]);
    bootstrap(
        vec![
            listener("0.0.0.0_8080", "OUTBOUND", manager("8080", json!(hosts))),
            listener(
                "virtualInbound",
                "INBOUND",
                manager("inbound|8080||", inbound),
            ),
        ],
        vec![
            cluster(&of(REVIEWS), &[(local, 9201), (local, 9202)]),
            cluster(&of(RATINGS), &[(local, 9301)]),
            cluster("inbound|8080||", &[(local, 9401)]),
        ],
    )
}

/// An ingress gateway with the server of the Gateway of a file.
fn gateway(resources: &[Value]) -> Value {
    let local = "127.0.0.1";
    let server = &one(resources, "Gateway")["spec"]["servers"][0];
    assert_eq!(
        (&server["port"]["number"], &server["hosts"][0]),
        (&json!(80), &json!(SHOP))
    );
    let hosts = json!([virtual_host(SHOP, 80, "none")]);
    let mut clusters: Vec<_> = [("web-blue", 9001), ("web-green", 9002)]
        .map(|(name, port)| {
            cluster(
                &format!("outbound|80||{name}.default.svc.cluster.local"),
                &[(local, port)],
            )
        })
        .into();
    for entry in resources.iter().filter(|it| it["kind"] == "ServiceEntry") {
        let spec = &entry["spec"];
        let (host, port) = (spec["hosts"][0].as_str().unwrap(), &spec["ports"][0]);
        let endpoints = list(spec, "endpoints").iter().map(|it| {
            let number = it["ports"][port["name"].as_str().unwrap()]
                .as_u64()
                .unwrap();
            (
                it["address"].as_str().unwrap(),
                u16::try_from(number).unwrap(),
            )
        });
        let endpoints: Vec<_> = endpoints.collect();
        clusters.push(cluster(
            &format!("outbound|{}||{host}", port["number"]),
            &endpoints,
        ));
    }
    let listener = listener("0.0.0.0_80", "OUTBOUND", manager("http.80", hosts));
    bootstrap(vec![listener], clusters)
}

fn listeners(bootstrap: &mut Value) -> impl Iterator<Item = &mut Value> {
    let listeners = bootstrap["static_resources"]["listeners"].as_array_mut();
    listeners.into_iter().flatten()
}

fn manager_of(listener: &mut Value) -> &mut Value {
    &mut listener["filter_chains"][0]["filters"][0]["typed_config"]
}

/// What of a `WasmPlugin` or a `TrafficExtension` is about the plugin itself.
fn wasm(plugin: &Value) -> &Value {
    match plugin["kind"] == "TrafficExtension" {
        true => &plugin["spec"]["wasm"],
        false => &plugin["spec"],
    }
}

/// What of the proxy's environment the plugin's VM gets.
fn environment(wasm: &Value) -> Value {
    let (mut passed, mut written) = (Vec::new(), serde_json::Map::new());
    for entry in list(&wasm["vmConfig"], "env") {
        let name = entry["name"].as_str().unwrap();
        match entry["valueFrom"] == "HOST" {
            true => passed.push(name),
            false => drop(written.insert(name.to_owned(), entry["value"].clone())),
        }
    }
    json!({ "host_env_keys": passed, "key_values": written })
}

/// Puts the plugin's filter where its `match` says: first of those of no phase.
fn add_plugin(plugin: &Value, bootstrap: &mut Value) {
    let (spec, wasm) = (&plugin["spec"], wasm(plugin));
    let metadata = &plugin["metadata"];
    let of = |key: &str| metadata[key].as_str().unwrap();
    let name = format!("{}.{}", of("namespace"), of("name"));
    let policy = match wasm["failStrategy"].as_str() {
        Some("FAIL_RELOAD") => "FAIL_RELOAD",
        Some("FAIL_OPEN") => "FAIL_OPEN",
        _ => "FAIL_CLOSED",
    };
    let filter = json!({
        "name": format!("extensions.istio.io/trafficextension/{name}~istio-translated-wasmplugin"),
        "typed_config": { "@type": WASM, "config": {
            "name": name,
            "root_id": wasm["pluginName"].as_str().unwrap_or_default(),
            "failure_policy": policy,
            // No vm_id: all plugins of a proxy share their data.
            "vm_config": { "runtime": "envoy.wasm.runtime.v8", "environment_variables": environment(wasm) },
            "configuration": { "value": wasm["pluginConfig"] },
        } },
    });
    for listener in listeners(bootstrap) {
        let mode = match listener["traffic_direction"] == "OUTBOUND" {
            true => "CLIENT",
            false => "SERVER",
        };
        let selectors = list(spec, "match");
        let takes = |it: &Value| it["mode"].as_str().is_none_or(|it| it.contains(mode));
        if selectors.is_empty() || selectors.iter().any(takes) {
            let filters = manager_of(listener)["http_filters"].as_array_mut();
            filters.unwrap().insert(0, filter.clone());
        }
    }
}

/// The clusters of the subsets of a `DestinationRule`: of two, the first endpoint and the second.
fn add_subsets(rule: &Value, bootstrap: &mut Value) {
    let host = rule["spec"]["host"].as_str().unwrap();
    for (subset, port) in list(&rule["spec"], "subsets").iter().zip([9201, 9202]) {
        let name = format!("outbound|8080|{}|{host}", subset["name"].as_str().unwrap());
        let clusters = bootstrap["static_resources"]["clusters"].as_array_mut();
        clusters
            .unwrap()
            .push(cluster(&name, &[("127.0.0.1", port)]));
    }
}

/// The routes of a `VirtualService`, in its order, in place of those of its host.
fn add_routes(service: &Value, bootstrap: &mut Value) {
    let spec = &service["spec"];
    let routes = list(spec, "http").iter().map(|rule| {
        let [route] = list(rule, "route") else {
            panic!("one destination: {rule}")
        };
        let destination = &route["destination"];
        let text = |key: &str| destination[key].as_str().unwrap_or_default();
        let port = &destination["port"]["number"];
        let cluster = format!("outbound|{port}|{}|{}", text("subset"), text("host"));
        let headers = list(rule, "match").first().map(|it| {
            let headers = it["headers"].as_object().unwrap().iter();
            let headers = headers.map(|(name, value)| {
                json!({
                    "name": name, "string_match": { "exact": value["exact"].as_str().unwrap() },
                })
            });
            headers.collect::<Vec<_>>()
        });
        json!({
            "name": rule["name"],
            "match": { "prefix": "/", "headers": headers.unwrap_or_default() },
            "route": { "cluster": cluster, "timeout": "0s" },
        })
    });
    let routes: Vec<_> = routes.collect();
    let host = spec["hosts"][0].as_str().unwrap();
    let mut placed = 0;
    for listener in listeners(bootstrap) {
        let hosts = manager_of(listener)["route_config"]["virtual_hosts"].as_array_mut();
        for it in hosts
            .unwrap()
            .iter_mut()
            .filter(|it| it["domains"][0] == host)
        {
            it["routes"] = json!(routes);
            placed += 1;
        }
    }
    assert_eq!(placed, 1, "{host}");
}

/// What the files for sidecars promise.
fn decides_in_a_sidecar(bootstrap: &Value) {
    let site = start(bootstrap);
    let mut client = site.client().unwrap();
    for host in ["reviews", "reviews.default:8080", REVIEWS] {
        let told = shares(&mut client, host, &[], 20);
        assert_eq!(told, counts(&[("9201", 18), ("9202", 2)]), "{host}");
    }
    let tester = [("x-tester", "")];
    assert_eq!(
        shares(&mut client, "reviews", &tester, 5),
        counts(&[("9202", 5)])
    );
    let forged = format!("outbound|8080|v2|{REVIEWS}");
    let headers = [
        ("x-pointsman-cluster", &*forged),
        ("x-pointsman-endpoint", &*forged),
    ];
    site.fleet.take_received();
    let told = shares(&mut client, "ratings.default", &headers, 5);
    assert_eq!(told, counts(&[("9301", 5)]), "passed");
    nothing_forged(&site, &forged);
    let told = shares(&mut client, "reviews", &headers, 20);
    assert_eq!(told, counts(&[("9201", 18), ("9202", 2)]), "a client chose");
    survives_a_trap(&site, "reviews");
}

#[test]
fn sidecar_yaml_decides_with_ordinary_routes_as_both_resources() {
    let resources = resources("istio/sidecar.yaml");
    let extension = super::resources("istio/sidecar-traffic-extension.yaml");
    for plugin in [
        one(&resources, "WasmPlugin"),
        one(&extension, "TrafficExtension"),
    ] {
        let mut proxy = sidecar();
        add_plugin(plugin, &mut proxy);
        add_subsets(one(&resources, "DestinationRule"), &mut proxy);
        add_routes(one(&resources, "VirtualService"), &mut proxy);
        let inbound = listeners(&mut proxy).nth(1).unwrap();
        let filters = list(manager_of(inbound), "http_filters").len();
        assert_eq!(filters, 3, "what comes in is not touched");
        if plugin["kind"] == "WasmPlugin" {
            decides_in_a_sidecar(&proxy);
        }
    }
}

#[test]
fn the_traffic_extensions_say_what_the_wasm_plugins_say() {
    for name in ["sidecar", "gateway"] {
        let plugin = resources(&format!("istio/{name}.yaml"));
        let plugin = one(&plugin, "WasmPlugin");
        let extension = resources(&format!("istio/{name}-traffic-extension.yaml"));
        let [extension] = &extension[..] else {
            panic!("{name}: one resource")
        };
        let mut spec = extension["spec"].clone();
        let Some(Value::Object(wasm)) = spec.as_object_mut().unwrap().remove("wasm") else {
            panic!("{name}")
        };
        spec.as_object_mut().unwrap().extend(wasm);
        assert_eq!(spec, plugin["spec"], "{name}");
        assert_eq!(extension["metadata"], plugin["metadata"], "{name}");
    }
}

#[test]
fn sidecar_envoy_filter_yaml_serves_every_target_by_one_route() {
    let resources = resources("istio/sidecar.yaml");
    let filter = super::resources("istio/sidecar-envoy-filter.yaml");
    let mut proxy = sidecar();
    add_plugin(one(&resources, "WasmPlugin"), &mut proxy);
    add_subsets(one(&resources, "DestinationRule"), &mut proxy);
    envoy_filter::apply(one(&filter, "EnvoyFilter"), "SIDECAR_OUTBOUND", &mut proxy);
    let outbound = listeners(&mut proxy).next().unwrap();
    let routes = &manager_of(outbound)["route_config"]["virtual_hosts"][1]["routes"];
    let names = routes.as_array().unwrap().iter().map(|it| &it["name"]);
    let names: Vec<_> = names.collect();
    assert_eq!(names, ["pointsman-mirror", "pointsman", "default"]);
    decides_in_a_sidecar(&proxy);
    // "An EnvoyFilter removes it before any filter": also where requests go on without the filter.
    let text = super::text("istio/sidecar.yaml").replace("FAIL_RELOAD", "FAIL_OPEN");
    let mut proxy = sidecar();
    add_plugin(one(&resources_of(&text), "WasmPlugin"), &mut proxy);
    add_subsets(one(&resources, "DestinationRule"), &mut proxy);
    envoy_filter::apply(one(&filter, "EnvoyFilter"), "SIDECAR_OUTBOUND", &mut proxy);
    let site = start(&proxy);
    let mut client = site.client().unwrap();
    get(&mut client, "reviews", "/", &[("x-trap", "now")]);
    until("it died", || site.has_trapped());
    let forged = format!("outbound|8080|v2|{REVIEWS}");
    let headers = [("x-pointsman-cluster", &*forged)];
    let told = shares(&mut client, "reviews", &headers, 10);
    assert_eq!(told, counts(&[("9201", 5), ("9202", 5)]), "a client chose");
    // What ordinary routes cannot do: a copy of each request.
    let mut text = super::text("istio/sidecar.yaml");
    let copies =
        format!("      copies: {{ targets: [{{ cluster: outbound|8080||{RATINGS} }}] }}\n");
    for (line, added) in [
        (
            "        pool: reviews-next\n",
            "        mirror: { pool: copies }\n",
        ),
        ("    pools:\n", &*copies),
    ] {
        assert!(text.contains(line), "{line}");
        text = text.replacen(line, &format!("{line}{added}"), 1);
    }
    let mut proxy = sidecar();
    add_plugin(one(&resources_of(&text), "WasmPlugin"), &mut proxy);
    add_subsets(one(&resources, "DestinationRule"), &mut proxy);
    envoy_filter::apply(one(&filter, "EnvoyFilter"), "SIDECAR_OUTBOUND", &mut proxy);
    let site = start(&proxy);
    let tester = [("x-tester", "")];
    let told = shares(&mut site.client().unwrap(), "reviews", &tester, 5);
    assert_eq!(told, counts(&[("9202", 5)]));
    let copied = || site.backend("9301").unwrap().count();
    until("all are copied", || copied() == 5);
}

/// What both files for gateways promise.
fn decides_in_a_gateway(site: &super::Site) {
    let mut client = site.client().unwrap();
    let told = shares(&mut client, SHOP, &[], 20);
    assert_eq!(told, counts(&[("9001", 18), ("9002", 2)]));
    let forged = "outbound|80||web-green.default.svc.cluster.local";
    let headers = [("x-pointsman-cluster", forged)];
    let told = shares(&mut client, SHOP, &headers, 20);
    assert_eq!(told, counts(&[("9001", 18), ("9002", 2)]), "a client chose");
    survives_a_trap(site, SHOP);
}

#[test]
fn gateway_yaml_decides_with_ordinary_routes_and_needs_the_path_made_plain() {
    let resources = resources("istio/gateway.yaml");
    let mut proxy = gateway(&resources);
    add_plugin(one(&resources, "WasmPlugin"), &mut proxy);
    add_routes(one(&resources, "VirtualService"), &mut proxy);
    let escaped = "/x%2f..%2finternal";
    let site = start(&proxy);
    let mut client = site.client().unwrap();
    assert_eq!(get(&mut client, SHOP, "/internal", &[]).0, 403);
    assert_eq!(
        get(&mut client, SHOP, escaped, &[]).0,
        200,
        "as the page says of BASE"
    );
    // DECODE_AND_MERGE_SLASHES
    let manager = manager_of(listeners(&mut proxy).next().unwrap());
    manager["merge_slashes"] = json!(true);
    manager["path_with_escaped_slashes_action"] = json!("UNESCAPE_AND_FORWARD");
    let site = start(&proxy);
    let mut client = site.client().unwrap();
    assert_eq!(get(&mut client, SHOP, escaped, &[]).0, 403);
    assert_eq!(get(&mut client, SHOP, "//internal", &[]).0, 403);
    let tester = [("cookie", "tester=1")];
    assert_eq!(
        shares(&mut client, SHOP, &tester, 5),
        counts(&[("9002", 5)])
    );
    decides_in_a_gateway(&site);
}

/// "EnvoyFilters that named it by `subFilter` no longer find it. Those here name none."
#[test]
fn no_envoy_filter_looks_for_the_filter_by_its_name() {
    for name in ["sidecar", "gateway"] {
        let text = super::text(&format!("istio/{name}-envoy-filter.yaml"));
        let is_named = text.contains("subFilter");
        assert!(text.contains("configPatches") && !is_named, "{name}");
    }
}

#[test]
fn gateway_envoy_filter_yaml_has_a_pool_of_endpoints_too() {
    let resources = resources("istio/gateway-envoy-filter.yaml");
    let mut proxy = gateway(&resources);
    add_plugin(
        named(&resources, "WasmPlugin", "pointsman-gateway"),
        &mut proxy,
    );
    add_routes(one(&resources, "VirtualService"), &mut proxy);
    envoy_filter::apply(one(&resources, "EnvoyFilter"), "GATEWAY", &mut proxy);
    let site = start(&proxy);
    let mut client = site.client().unwrap();
    let one = site.backend("8081").unwrap().address().to_string();
    for headers in [&[][..], &[("x-pointsman-endpoint", &*one)]] {
        let asked = (0..30).map(|_| get(&mut client, SHOP, "/api/x", headers));
        let answers: BTreeSet<_> = asked.collect();
        let expected = ["8081", "8082", "8083"].map(|it| (200, it.to_owned()));
        assert_eq!(answers, BTreeSet::from(expected), "{headers:?}");
    }
    decides_in_a_gateway(&site);
}

/// A sidecar with the file as it is mistaken: what `check` warns of is what Envoy then does.
#[test]
fn what_check_warns_of_in_sidecar_yaml_goes_wrong() {
    let file = "istio/sidecar.yaml";
    let started = |text: &str| {
        let resources = resources_of(text);
        let mut proxy = sidecar();
        add_plugin(one(&resources, "WasmPlugin"), &mut proxy);
        add_subsets(one(&resources, "DestinationRule"), &mut proxy);
        add_routes(one(&resources, "VirtualService"), &mut proxy);
        start(&proxy)
    };
    // Nothing but `reviews` can be called any more.
    let site = started(&mistaken(
        file,
        "    no_route: { pass: true }\n",
        "",
        "answers_the_rest",
    ));
    let mut client = site.client().unwrap();
    assert_eq!(get(&mut client, "ratings.default", "/", &[]).0, 404);
    assert_eq!(get(&mut client, "reviews", "/", &[]).0, 200);

    // What comes in for the application is answered by a route for what goes out.
    let refuse = "    routes:\n      - name: out\n        match: { hosts: [productpage] }\n        \
                  respond: { status: 418 }\n";
    for (mode, comes_in) in [("  match: [{ mode: CLIENT }]\n", 200), ("", 418)] {
        let text = match mode {
            "" => mistaken(file, "  match: [{ mode: CLIENT }]\n", "", "inbound_too"),
            _ => super::text(file),
        };
        let site = started(&text.replacen("    routes:\n", refuse, 1));
        let address = site.envoy.listener("virtualInbound").unwrap();
        let mut client = Client::new(address).unwrap();
        let status = get(&mut client, "productpage", "/", &[]).0;
        assert_eq!(status, comes_in, "{mode}");
    }

    // Who is to get v2 gets whatever comes.
    let text = mistaken(
        file,
        "    - name: pointsman-v1\n",
        "    - name: all\n      route:\n        - destination: { host: reviews.default.svc.cluster.local, \
         port: { number: 8080 } }\n    - name: pointsman-v1\n",
        "choice_not_obeyed",
    );
    let site = started(&text);
    let mut client = site.client().unwrap();
    let told = shares(&mut client, "reviews", &[("x-tester", "")], 10);
    assert_eq!(told, counts(&[("9201", 5), ("9202", 5)]));
}

#[test]
fn a_variable_has_to_be_listed_in_the_plugin() {
    let asks = format!("    {ASKS}    routes:\n");
    let text = mistaken(
        "istio/sidecar.yaml",
        "    routes:\n",
        &asks,
        "variable_not_given",
    );
    let listing = "  vmConfig: { env: [{ name: PATH, valueFrom: HOST }] }\n  failStrategy:";
    let proxy = |text: &str| {
        let mut proxy = sidecar();
        add_plugin(one(&resources_of(text), "WasmPlugin"), &mut proxy);
        proxy
    };
    let listed = proxy(&text.replacen("  failStrategy:", listing, 1));
    has_to_be_listed(&proxy(&text), &listed, "ratings");
}

/// "Istio puts a filter in its place that denies everything: **403** for every request,
/// `rbac_access_denied` in the access log's details".
#[test]
fn without_the_module_every_request_is_403_and_the_access_log_says_by_whom() {
    let resources = resources("istio/sidecar.yaml");
    let mut proxy = sidecar();
    add_plugin(one(&resources, "WasmPlugin"), &mut proxy);
    let manager = manager_of(listeners(&mut proxy).next().unwrap());
    let rbac = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC";
    manager["http_filters"][0]["typed_config"] = json!({ "@type": rbac, "rules": {} });
    manager["access_log"] = json!([{ "name": "envoy.access_loggers.stderr", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StderrAccessLog",
        "log_format": { "text_format_source": { "inline_string": "%RESPONSE_CODE_DETAILS%\n" } },
    } }]);
    let site = start(&proxy);
    let mut client = site.client().unwrap();
    for host in ["reviews", "ratings.default"] {
        assert_eq!(get(&mut client, host, "/", &[]).0, 403, "{host}");
    }
    until("it is logged", || {
        let log = site.envoy.log();
        let denied = |line: &&str| line.starts_with("rbac_access_denied");
        log.lines().filter(denied).count() == 2
    });
}

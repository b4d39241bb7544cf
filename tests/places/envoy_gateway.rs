//! Envoy Gateway: the listener, the routes and the clusters that it makes of our resources.

use super::{
    ASKS, MANAGER, MUTATION, OVERRIDE_HOST, ROUND_ROBIN, ROUTER, WASM, bootstrap, cluster, counts,
    get, has_to_be_listed, list, listener, mistaken, named, nothing_forged, one, resources,
    resources_of, shares, start, survives_a_trap,
};
use host_sim::client::header;
use host_sim::wait::until;
use json_patch::{AddOperation, PatchOperation, jsonptr::PointerBuf, patch};
use serde_json::{Value, json};
use serde_json_path::JsonPath;
use std::collections::BTreeSet;

const SHOP: &str = "shop.example.com";
const FILTER: &str = "envoy.filters.http.wasm/envoyextensionpolicy/default/pointsman/wasm/0";

/// What Envoy Gateway makes of the resources.
fn translated(resources: &[Value]) -> Value {
    let policy = one(resources, "EnvoyExtensionPolicy");
    let [wasm] = list(&policy["spec"], "wasm") else {
        panic!("one filter")
    };
    let open = wasm["failOpen"].as_bool().unwrap_or_default();
    let filter = json!({
        "name": FILTER,
        // It is on where the policy's target has its routes.
        "disabled": true,
        "typed_config": { "@type": WASM, "config": {
            "name": wasm["name"],
            "fail_open": open,
            "vm_config": {
                "vm_id": "envoyextensionpolicy/default/pointsman/wasm/0",
                "runtime": "envoy.wasm.runtime.v8",
                "environment_variables": { "host_env_keys": list(&wasm["env"], "hostKeys") },
            },
            "configuration": { "value": wasm["config"] },
        } },
    });
    let client = &one(resources, "ClientTrafficPolicy")["spec"];
    let removed = list(&client["headers"]["earlyRequestHeaders"], "remove");
    let removed: Vec<_> = removed
        .iter()
        .map(|name| json!({ "remove": name }))
        .collect();
    assert_eq!(client["headers"]["withUnderscoresAction"], "RejectRequest");
    assert_eq!(
        client["path"]["escapedSlashesAction"],
        "UnescapeAndRedirect"
    );
    let (mut routes, clusters) = routes(resources, &policy["spec"]["targetRefs"][0]["name"]);
    // Equal paths: more conditions on headers first. No rule has a longer path.
    routes.sort_by_key(|it| std::cmp::Reverse(list(&it["match"], "headers").len()));
    let manager = json!({
        "@type": MANAGER,
        "stat_prefix": "http",
        "common_http_protocol_options": { "headers_with_underscores_action": "REJECT_REQUEST" },
        "early_header_mutation_extensions": [{
            "name": "envoy.http.early_header_mutation.header_mutation",
            "typed_config": { "@type": MUTATION, "mutations": removed },
        }],
        "http_filters": [
            filter,
            { "name": "envoy.filters.http.router", "typed_config": { "@type": ROUTER, "suppress_envoy_headers": true } },
        ],
        "normalize_path": true,
        "merge_slashes": client["path"]["disableMergeSlashes"] == false,
        "path_with_escaped_slashes_action": "UNESCAPE_AND_REDIRECT",
        "use_remote_address": true,
        "xff_num_trusted_hops": client["clientIPDetection"]["xForwardedFor"]["numTrustedHops"],
        "route_config": { "name": "default/shop/http", "ignore_port_in_host_matching": true, "virtual_hosts": [{
            "name": "default/shop/http/shop_example_com", "domains": [SHOP], "routes": routes,
        }] },
    });
    let mut listener = listener("default/shop/http", "UNSPECIFIED", manager);
    listener
        .as_object_mut()
        .unwrap()
        .remove("traffic_direction");
    bootstrap(vec![listener], clusters)
}

/// The routes and the clusters of every rule.
fn routes(resources: &[Value], with_filter: &Value) -> (Vec<Value>, Vec<Value>) {
    let (mut routes, mut clusters) = (Vec::new(), Vec::new());
    let traffic = &one(resources, "BackendTrafficPolicy")["spec"];
    for route in resources.iter().filter(|it| it["kind"] == "HTTPRoute") {
        let name = &route["metadata"]["name"];
        let is_tuned = traffic["targetRefs"][0]["name"] == *name;
        for (number, rule) in list(&route["spec"], "rules").iter().enumerate() {
            let cluster_name =
                format!("httproute/default/{}/rule/{number}", name.as_str().unwrap());
            let [condition] = list(rule, "matches") else {
                panic!("one match")
            };
            let headers = list(condition, "headers")
                .iter()
                .map(|it| json!({ "name": it["name"], "string_match": { "exact": it["value"] } }));
            let prefix = condition["path"]["value"].as_str().unwrap_or("/");
            assert_eq!(
                prefix, "/",
                "a longer path goes past the rules by the header"
            );
            let mut made = json!({
                "name": format!("{cluster_name}/match/0/shop_example_com"),
                "match": { "prefix": prefix, "headers": headers.collect::<Vec<_>>() },
                "route": { "cluster": cluster_name, "upgrade_configs": [{ "upgrade_type": "websocket" }] },
            });
            if name == with_filter {
                made["typed_per_filter_config"][FILTER] = json!({ "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "config": {} });
            }
            let backend = &rule["backendRefs"][0]["name"];
            let mut cluster = cluster(&cluster_name, &endpoints(resources, backend));
            if is_tuned {
                tune(traffic, &mut made, &mut cluster);
            }
            routes.push(made);
            clusters.push(cluster);
        }
    }
    (routes, clusters)
}

/// The endpoints of a Service: those of its slices, or of Pods.
fn endpoints<'a>(resources: &'a [Value], service: &Value) -> Vec<(&'a str, u16)> {
    let slices = resources.iter().filter(|it| {
        it["kind"] == "EndpointSlice"
            && it["metadata"]["labels"]["kubernetes.io/service-name"] == *service
    });
    let of_slices = slices.map(|slice| {
        let port = slice["ports"][0]["port"].as_u64().unwrap();
        let address = slice["endpoints"][0]["addresses"][0].as_str().unwrap();
        (address, u16::try_from(port).unwrap())
    });
    let of_slices: Vec<_> = of_slices.collect();
    match service.as_str().unwrap() {
        "web-blue" => vec![("127.0.0.1", 9001)],
        "web-green" => vec![("127.0.0.1", 9002)],
        "web-red" => vec![("127.0.0.1", 9003)],
        "api" => of_slices,
        other => panic!("{other}"),
    }
}

/// What a `BackendTrafficPolicy` makes of a route and its cluster.
fn tune(policy: &Value, route: &mut Value, cluster: &mut Value) {
    let retry = &policy["retry"];
    let triggers = list(&retry["retryOn"], "triggers").iter();
    let triggers: Vec<_> = triggers.map(|it| it.as_str().unwrap()).collect();
    route["route"]["retry_policy"] = json!({
        "retry_on": triggers.join(","), "num_retries": retry["numRetries"],
    });
    let balancer = &policy["loadBalancer"];
    assert_eq!(balancer["type"], "RoundRobin");
    let sources = list(&balancer["endpointOverride"], "extractFrom");
    let policy = |name: &str, config: Value| json!({ "policies": [{ "typed_extension_config": { "name": name, "typed_config": config } }] });
    cluster["load_balancing_policy"] = policy(
        "envoy.load_balancing_policies.override_host",
        json!({
            "@type": OVERRIDE_HOST,
            "override_host_sources": sources,
            "fallback_policy": policy("envoy.load_balancing_policies.round_robin", json!({ "@type": ROUND_ROBIN })),
        }),
    );
}

/// Applies an `EnvoyPatchPolicy` as Envoy Gateway does: its path comes behind each place that its
/// JSONPath finds.
fn apply(policy: &Value, bootstrap: &mut Value) {
    for it in list(&policy["spec"], "jsonPatches") {
        assert_eq!(
            it["type"],
            "type.googleapis.com/envoy.config.listener.v3.Listener"
        );
        let listeners = bootstrap["static_resources"]["listeners"].as_array_mut();
        let mut listeners = listeners.unwrap().iter_mut();
        let listener = listeners
            .find(|listener| listener["name"] == it["name"])
            .unwrap();
        let operation = &it["operation"];
        let path = JsonPath::parse(operation["jsonPath"].as_str().unwrap()).unwrap();
        let places = path.query_located(listener);
        let places: Vec<_> = places.locations().map(|it| it.to_json_pointer()).collect();
        assert_eq!(places.len(), 1, "{operation}");
        assert_eq!(operation["op"], "add");
        for place in places {
            let path = place + operation["path"].as_str().unwrap();
            let add = PatchOperation::Add(AddOperation {
                path: PointerBuf::parse(path).unwrap(),
                value: operation["value"].clone(),
            });
            patch(listener, &[add]).unwrap();
        }
    }
}

#[test]
fn pointsman_yaml_decides_without_a_patch() {
    let resources = resources("envoy-gateway/pointsman.yaml");
    let site = start(&translated(&resources));
    let mut client = site.client().unwrap();
    let shop = counts(&[("9001", 18), ("9002", 2)]);
    assert_eq!(shares(&mut client, SHOP, &[], 20), shop);
    let tester = [("cookie", "tester=1")];
    assert_eq!(
        shares(&mut client, SHOP, &tester, 5),
        counts(&[("9002", 5)])
    );
    let asked = (0..30).map(|_| get(&mut client, SHOP, "/api", &[]));
    let expected = ["8081", "8082", "8083"].map(|it| (200, it.to_owned()));
    assert_eq!(asked.collect::<BTreeSet<_>>(), BTreeSet::from(expected));
    for path in ["/internal", "//internal", "/a/../internal"] {
        assert_eq!(get(&mut client, SHOP, path, &[]).0, 403, "{path}");
    }
    // Each client has its own limit, and is the one that the balancer in front names.
    for address in ["192.0.2.1", "192.0.2.2"] {
        let headers = [("x-forwarded-for", address)];
        let asked = (0..5).map(|_| get(&mut client, SHOP, "/login", &headers).0);
        let asked: Vec<_> = asked.collect();
        assert_eq!(asked[..3], [200; 3], "{address}");
        assert!(asked.contains(&429), "{address}: {asked:?}");
    }
    site.fleet.take_received();
    let headers = [("x-pointsman-cluster", "web-green")];
    assert_eq!(
        get(&mut client, SHOP, "/plain", &headers),
        (200, "9001".to_owned()),
        "passed"
    );
    nothing_forged(&site, "web-green");
    assert_eq!(
        shares(&mut client, SHOP, &headers, 20),
        shop,
        "a client chose"
    );
    // As the page says: FAIL_CLOSED, on the worker whose VM died.
    for headers in [&[("x-trap", "now")][..], &[], &[]] {
        assert_eq!(get(&mut client, SHOP, "/", headers).0, 503);
    }
}

#[test]
fn fail_reload_yaml_lets_the_filter_survive_a_trap() {
    let resources = resources("envoy-gateway/pointsman.yaml");
    let mut proxy = translated(&resources);
    let patches = super::resources("envoy-gateway/fail-reload.yaml");
    apply(named(&patches, "EnvoyPatchPolicy", "pointsman"), &mut proxy);
    let site = start(&proxy);
    survives_a_trap(&site, SHOP);
    let mut client = site.client().unwrap();
    let answer = client.get(SHOP, "/").unwrap();
    assert!(header(&answer, "set-cookie").starts_with("pm_shop="));
}

/// "With `failOpen: true` requests go to the HTTPRoute `shop` undecided".
#[test]
fn a_policy_that_fails_open_sends_requests_to_its_route_undecided() {
    let text = super::text("envoy-gateway/pointsman.yaml");
    let name = "    - name: pointsman\n";
    let text = text.replacen(name, &format!("{name}      failOpen: true\n"), 1);
    let site = start(&translated(&resources_of(&text)));
    let mut client = site.client().unwrap();
    let tester = [("cookie", "tester=1")];
    assert_eq!(get(&mut client, SHOP, "/", &tester).1, "9002");
    assert_eq!(get(&mut client, SHOP, "/internal", &[]).0, 403);
    get(&mut client, SHOP, "/", &[("x-trap", "now")]);
    until("it died", || site.has_trapped());
    for (path, headers) in [("/", &tester[..]), ("/internal", &[])] {
        let undecided = (200, "9001".to_owned());
        assert_eq!(get(&mut client, SHOP, path, headers), undecided, "{path}");
    }
}

/// "add it to a pool, and a rule with its word", and of `health.active`: "name those in `cluster`, in
/// the rules' values too, if you want probes".
#[test]
fn a_target_is_added_with_its_rule_and_probed_by_the_name_of_its_rules_cluster() {
    let green = "              - { name: green, weight: 1, cluster: web-green }\n";
    let red = "              - { name: red, weight: 10, cluster: web-red }\n";
    let api = "      backendRefs: [{ name: api, port: 80 }]\n";
    let rule = "    - matches: [{ headers: [{ name: x-pointsman-cluster, value: web-red }] }]\n      \
                backendRefs: [{ name: web-red, port: 80 }]\n";
    let passive = "            health: { passive: {} }\n          next";
    let active = "            health: { active: { path: /alive, interval: 100ms, fall: 1 } }\n          next";
    let mut text = super::text("envoy-gateway/pointsman.yaml");
    for (from, to) in [
        (green, &*format!("{green}{red}")),
        (api, &format!("{api}{rule}")),
        (passive, active),
    ] {
        assert!(text.contains(from), "{from}");
        text = text.replacen(from, to, 1);
    }
    for (word, number) in [("web-blue", 0), ("web-green", 1), ("web-red", 3)] {
        let cluster = format!("httproute/default/shop-targets/rule/{number}");
        for key in ["cluster", "value"] {
            let from = format!("{key}: {word} }}");
            text = text.replace(&from, &format!("{key}: {cluster} }}"));
        }
    }
    let site = start(&translated(&resources_of(&text)));
    for backend in ["9001", "9002", "9003"] {
        until("it is probed", || {
            let received = site.backend(backend).unwrap().take_received();
            let mut headers = received.iter().flat_map(|it| &it.headers);
            headers.any(|(_, value)| value == b"/alive")
        });
    }
    // None fell.
    let told = shares(&mut site.client().unwrap(), SHOP, &[], 20);
    assert_eq!(told, counts(&[("9001", 9), ("9002", 1), ("9003", 10)]));
}

#[test]
fn what_check_warns_of_in_pointsman_yaml_goes_wrong() {
    let file = "envoy-gateway/pointsman.yaml";
    // A client goes where it likes, past the filter: `closed` does not hold.
    let text = mistaken(
        file,
        "remove: [x-pointsman-cluster, ",
        "remove: [",
        "upstream_header_kept",
    );
    let site = start(&translated(&resources_of(&text)));
    let mut client = site.client().unwrap();
    let forged = [("x-pointsman-cluster", "web-green")];
    assert_eq!(get(&mut client, SHOP, "/internal", &[]).0, 403);
    assert_eq!(
        get(&mut client, SHOP, "/internal", &forged),
        (200, "9002".to_owned())
    );

    // No request comes to the filter.
    let text = mistaken(
        file,
        "kind: HTTPRoute, name: shop }]\n  wasm",
        "kind: HTTPRoute, name: shop-targets }]\n  wasm",
        "filter_never_reached",
    );
    let site = start(&translated(&resources_of(&text)));
    let mut client = site.client().unwrap();
    assert_eq!(get(&mut client, SHOP, "/internal", &[]).0, 200);
}

#[test]
fn a_variable_has_to_be_listed_in_the_policy() {
    let asks = format!("        {ASKS}        pools:\n");
    let text = mistaken(
        "envoy-gateway/pointsman.yaml",
        "        pools:\n",
        &asks,
        "variable_not_given",
    );
    let name = "    - name: pointsman\n";
    let listing = format!("{name}      env: {{ hostKeys: [PATH] }}\n");
    let proxy = |text: &str| translated(&resources_of(text));
    let listed = proxy(&text.replacen(name, &listing, 1));
    has_to_be_listed(&proxy(&text), &listed, SHOP);
}

//! Each mistake in a shipped file of resources, and what is beside it and right. `tests/places` starts
//! some of these very mistakes in a real Envoy.

use crate::check::{file_notes, file_warnings};
use crate::configuration::{parse_parts, read};
use crate::connection_manager;
use crate::exchange::ExchangeRequest;
use crate::module;
use std::path::{Path, PathBuf};

fn shipped(file: &str) -> PathBuf {
    module::repository()
        .unwrap()
        .join("envoy-config")
        .join(file)
}

/// The file with these texts in place of others.
fn changed(file: &str, changes: &[(&str, &str)]) -> String {
    let mut text = std::fs::read_to_string(shipped(file)).unwrap();
    for (from, to) in changes {
        assert!(text.contains(from), "{file}: {from}");
        text = text.replacen(from, to, 1);
    }
    text
}

/// `place kind` of each warning.
fn warned(text: &str) -> Vec<String> {
    let warnings = file_warnings(text, Path::new(""), false);
    let told = warnings.iter();
    told.map(|warning| format!("{} {}", warning.place, warning.kind))
        .collect()
}

fn noted(text: &str) -> Vec<&'static str> {
    file_notes(text, Path::new(""))
        .iter()
        .map(|note| note.kind)
        .collect()
}

fn rows(file: &str, rows: &[(&[(&str, &str)], &[&str])]) {
    for (changes, expected) in rows {
        assert_eq!(warned(&changed(file, changes)), *expected, "{changes:?}");
    }
}

const SIDECAR: &str = "istio/sidecar.yaml";
const GATEWAY: &str = "istio/gateway.yaml";
const PATCHED_SIDECAR: &str = "istio/sidecar-envoy-filter.yaml";
const PATCHED_GATEWAY: &str = "istio/gateway-envoy-filter.yaml";
const EXTENSION: &str = "istio/sidecar-traffic-extension.yaml";
const POLICY: &str = "envoy-gateway/pointsman.yaml";
const KUBERNETES: &str = "kubernetes/pointsman.yaml";
const ZEROS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

#[test]
fn nothing_is_wrong_with_what_is_shipped() {
    for (file, notes) in [
        (SIDECAR, &[][..]),
        (GATEWAY, &[]),
        (PATCHED_SIDECAR, &[]),
        (PATCHED_GATEWAY, &[]),
        (EXTENSION, &["routes_elsewhere"]),
        (
            "istio/gateway-traffic-extension.yaml",
            &["routes_elsewhere"],
        ),
        (POLICY, &["no_reload"]),
        ("envoy-gateway/fail-reload.yaml", &[]),
        (KUBERNETES, &[]),
    ] {
        let text = changed(file, &[]);
        assert_eq!(warned(&text), [""; 0], "{file}");
        assert_eq!(noted(&text), notes, "{file}");
    }
}

/// As `explain`, `test` and `diff` read it: the one configuration of the file.
#[test]
fn each_shipped_file_with_a_configuration_has_one() {
    for file in [
        SIDECAR,
        GATEWAY,
        PATCHED_GATEWAY,
        EXTENSION,
        "istio/gateway-traffic-extension.yaml",
        POLICY,
        KUBERNETES,
        "compose/envoy.yaml",
        "compose/filter/ecds.yaml",
        "two-tiers/l7.yaml",
    ] {
        let tree = read(&shipped(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        pointsman_core::config::Config::from_value(&tree).unwrap();
    }
    for file in [PATCHED_SIDECAR, "envoy-gateway/fail-reload.yaml"] {
        let error = read(&shipped(file)).unwrap_err().to_string();
        assert!(error.contains("no configuration of Pointsman"), "{error}");
    }
}

/// As `explain` and `test` see a request: Istio resolves `..` alone, Envoy Gateway all.
#[test]
fn what_the_system_makes_of_a_path_is_known() {
    let path_of = |file: &str, path: &str| {
        let text = changed(file, &[]);
        let manager = connection_manager::of_file(&text, &shipped(file)).unwrap();
        let url = format!("http://shop.example.com{path}");
        let request = ExchangeRequest::new(b"GET", url.as_bytes()).unwrap();
        match manager.admit(&request) {
            Ok(admitted) => String::from_utf8(admitted.target).unwrap(),
            Err(answer) => answer.status.to_string(),
        }
    };
    for (path, istio, gateway, kubernetes) in [
        ("/x/../internal", "/internal", "/internal", "/internal"),
        ("//internal", "//internal", "/internal", "/internal"),
        ("/x%2finternal", "/x%2finternal", "307", "307"),
    ] {
        assert_eq!(path_of(SIDECAR, path), istio);
        assert_eq!(path_of(POLICY, path), gateway);
        assert_eq!(path_of(KUBERNETES, path), kubernetes);
    }
}

#[test]
fn what_istio_s_plugin_does_not_say_is_told() {
    const RELOAD: &str = "  failStrategy: FAIL_RELOAD\n";
    const MODE: &str = "  match: [{ mode: CLIENT }]\n";
    const PRIORITY: &str = "  priority: 10\n";
    const PASS: &str = "    no_route: { pass: true }\n";
    let failure = "the WasmPlugin `pointsman`: spec.failStrategy failure_policy";
    let inbound = "the WasmPlugin `pointsman`: spec.match inbound_too";
    let digest = |key: &str| format!("the WasmPlugin `pointsman`: spec.{key} module_digest");
    let sum = |sum: &str| format!("{PRIORITY}  sha256: {sum}\n");
    let other = format!("\"{}\"", ZEROS.replacen('0', "a", 1));
    let waf = |priority: &str, labels: &str| {
        format!(
            "---\nkind: WasmPlugin\nmetadata: {{ name: waf, namespace: default }}\nspec: {{ {priority} selector: \
             {{ matchLabels: {{ app: {labels} }} }}, pluginConfig: {{ rules: [] }} }}\n---\n"
        )
    };
    let before = "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule";
    let beside = |labels: &str| before.replacen("---\n", &waf("", labels), 1);
    rows(
        SIDECAR,
        &[
            (&[(RELOAD, "")], &[failure]),
            (&[("FAIL_RELOAD", "FAIL_CLOSE")], &[failure]),
            (&[("FAIL_RELOAD", "FAIL_OPEN")], &[failure]),
            (&[(MODE, "")], &[inbound]),
            (
                &[("mode: CLIENT }", "mode: CLIENT_AND_SERVER }")],
                &[inbound],
            ),
            (
                &[("[{ mode: CLIENT }]", "[{ ports: [{ number: 80 }] }]")],
                &[inbound],
            ),
            (
                &[(
                    "[{ mode: CLIENT }]",
                    "[{ mode: CLIENT, ports: [{ number: 80 }] }]",
                )],
                &[],
            ),
            (
                &[("mode: CLIENT }", "mode: SERVER }")],
                &["the WasmPlugin `pointsman`: spec.match choice_not_obeyed"],
            ),
            (&[(PASS, "")], &["no_route answers_the_rest"]),
            (
                &[(PASS, ""), ("        match: { hosts: *reviews }\n", "")],
                &[],
            ),
            (
                &[("{ pass: true }\n---", "{ respond: { status: 404 } }\n---")],
                &[],
            ),
            (
                &[(&format!("@sha256:{ZEROS}"), "")],
                &["the WasmPlugin `pointsman`: spec.url moving_tag"],
            ),
            (
                &[(&format!("@sha256:{ZEROS}"), ""), (PRIORITY, &sum(&other))],
                &[],
            ),
            (
                &[(
                    &format!("oci://registry.example.com/pointsman:v0.2.0@sha256:{ZEROS}"),
                    "file:///etc/pointsman/plugin.wasm",
                )],
                &[],
            ),
            (
                &[(&format!("@sha256:{ZEROS}"), "@sha256:1234")],
                &[&digest("url")],
            ),
            (&[(PRIORITY, &sum(&other))], &[&digest("sha256")]),
            (&[(PRIORITY, &sum(&format!("\"{ZEROS}\"")))], &[]),
            (&[(PRIORITY, &sum(ZEROS))], &[&digest("sha256")]),
            (
                &[(PRIORITY, "  priority: 10\n  type: NETWORK\n")],
                &["the WasmPlugin `pointsman`: spec.type not_http"],
            ),
            (&[(PRIORITY, "  priority: 10\n  type: HTTP\n")], &[]),
            (
                &[("failStrategy", "failurePolicy")],
                &[
                    "the WasmPlugin `pointsman`: spec.failurePolicy unknown_field",
                    failure,
                ],
            ),
            (&[(PRIORITY, "")], &[]),
            (
                &[(PRIORITY, ""), (before, &beside("productpage"))],
                &["the WasmPlugin `pointsman`: spec.priority no_priority"],
            ),
            (&[(PRIORITY, ""), (before, &beside("reviews"))], &[]),
            (&[(before, &beside("productpage"))], &[]),
        ],
    );
    assert_eq!(noted(&changed(SIDECAR, &[(PRIORITY, "")])), ["no_priority"]);
    // A gateway has no application, and answers 404 like any other.
    rows(
        GATEWAY,
        &[
            (&[(MODE, "")], &[]),
            (&[(PASS, "")], &[]),
            (
                &[(RELOAD, "")],
                &["the WasmPlugin `pointsman-gateway`: spec.failStrategy failure_policy"],
            ),
        ],
    );
    rows(
        EXTENSION,
        &[
            (
                &[("    failStrategy: FAIL_RELOAD\n", "")],
                &["the TrafficExtension `pointsman`: spec.wasm.failStrategy failure_policy"],
            ),
            (
                &[(MODE, "")],
                &["the TrafficExtension `pointsman`: spec.match inbound_too"],
            ),
            (
                &[(&format!("@sha256:{ZEROS}"), "")],
                &["the TrafficExtension `pointsman`: spec.wasm.url moving_tag"],
            ),
            (
                &[(
                    "  priority: 10\n",
                    "  priority: 10\n  failStrategy: FAIL_RELOAD\n",
                )],
                &["the TrafficExtension `pointsman`: spec.failStrategy unknown_field"],
            ),
        ],
    );
}

#[test]
fn where_istio_s_routes_and_patches_do_not_obey_is_told() {
    const V2: &str = "x-pointsman-cluster: { exact: outbound|8080|v2|reviews";
    let route = |number: usize, of: &str| {
        format!("the VirtualService `reviews`: spec.http[{number}]{of} choice_not_obeyed")
    };
    let target = |number: usize| format!("pools.reviews.targets[{number}].cluster");
    rows(
        SIDECAR,
        &[
            (
                &[(V2, "x-pointsman-cluster: { exact: outbound|8080|v3|reviews")],
                &[&format!("{} choice_not_obeyed", target(1))],
            ),
            (
                &[(V2, "X-Pointsman-Cluster: { exact: outbound|8080|v2|reviews")],
                &[],
            ),
            (
                &[("            subset: v2\n", "            subset: v1\n")],
                &[&route(1, ".route")],
            ),
            (&[("            subset: v2\n", "")], &[&route(1, ".route")]),
            (
                &[(
                    "            host: reviews.default.svc.cluster.local\n            subset: v2\n",
                    "            host: reviews\n            subset: v2\n",
                )],
                &[],
            ),
            (
                &[(
                    "    - name: pointsman-v1\n",
                    "    - name: all\n      route: []\n    - name: pointsman-v1\n",
                )],
                &[&route(1, ""), &route(2, "")],
            ),
            (
                &[("    - { name: v2, labels: { version: v2 } }\n", "")],
                &[&format!("{} unknown_cluster", target(1))],
            ),
            (
                &[("health: { passive: {} }", "health: { active: { path: / } }")],
                &[],
            ),
            (
                &[
                    (
                        "cluster: outbound|8080|v1|reviews.default.svc.cluster.local",
                        "cluster: one",
                    ),
                    (
                        "exact: outbound|8080|v1|reviews.default.svc.cluster.local",
                        "exact: one",
                    ),
                ],
                &[],
            ),
            (
                &[
                    ("health: { passive: {} }", "health: { active: { path: / } }"),
                    (
                        "cluster: outbound|8080|v1|reviews.default.svc.cluster.local",
                        "cluster: one",
                    ),
                    (
                        "exact: outbound|8080|v1|reviews.default.svc.cluster.local",
                        "exact: one",
                    ),
                ],
                &[&format!("{} unknown_cluster", target(0))],
            ),
            (
                &[(
                    "        pool: reviews-next\n",
                    "        pool: reviews-next\n        mirror: { pool: reviews }\n",
                )],
                &["routes[0].mirror mirror_not_obeyed"],
            ),
        ],
    );
    let gateway = "the EnvoyFilter `pointsman-gateway` choice_not_obeyed";
    rows(
        PATCHED_GATEWAY,
        &[
            (
                &[(
                    "cluster_header: x-pointsman-cluster",
                    "cluster_header: x-cluster",
                )],
                &[gateway],
            ),
            (
                &[(
                    "cluster_header: x-pointsman-cluster",
                    "cluster_header: X-Pointsman-Cluster",
                )],
                &[],
            ),
            (
                &[(
                    "[{ header: x-pointsman-endpoint }]",
                    "[{ header: x-endpoint }]",
                )],
                &["pools.api.cluster endpoint_not_obeyed"],
            ),
        ],
    );
}

#[test]
fn what_envoy_gateway_will_not_do_is_told() {
    const REMOVE: &str = "remove: [x-pointsman-cluster, x-pointsman-endpoint, x-pointsman-mirror]";
    let kept = "the ClientTrafficPolicy `shop`: spec.headers.earlyRequestHeaders \
                upstream_header_kept";
    let open = "the EnvoyExtensionPolicy `pointsman`: spec.wasm[0].failOpen failure_policy";
    let digest = format!("          sha256: \"{ZEROS}\"\n");
    let no_digest = "the EnvoyExtensionPolicy `pointsman`: spec.wasm[0].code.image.url moving_tag";
    let policy = "kind: EnvoyExtensionPolicy";
    rows(
        POLICY,
        &[
            (
                &[(
                    "    - name: pointsman\n",
                    "    - name: pointsman\n      failOpen: true\n",
                )],
                &[open],
            ),
            (
                &[(
                    "    - name: pointsman\n",
                    "    - name: pointsman\n      failOpen: false\n",
                )],
                &[],
            ),
            (&[(&digest, "")], &[no_digest]),
            (
                &[
                    (&digest, ""),
                    ("pointsman:v0.2.0", &format!("pointsman@sha256:{ZEROS}")),
                ],
                &[],
            ),
            (
                &[(&digest, &digest.replace('"', ""))],
                &[
                    "the EnvoyExtensionPolicy `pointsman`: spec.wasm[0].code.image.sha256 \
                     module_digest",
                ],
            ),
            // Where Istio has it: Envoy Gateway's definition does not.
            (
                &[(&digest, &digest[2..])],
                &[
                    "the EnvoyExtensionPolicy `pointsman`: spec.wasm[0].code.sha256 unknown_field",
                    no_digest,
                ],
            ),
            (
                &[(
                    "    - name: pointsman\n",
                    "    - name: pointsman\n      failStrategy: FAIL_RELOAD\n",
                )],
                &["the EnvoyExtensionPolicy `pointsman`: spec.wasm[0].failStrategy unknown_field"],
            ),
            (&[(REMOVE, "remove: [x-pointsman-endpoint]")], &[kept]),
            (
                &[(
                    REMOVE,
                    "remove: [X-Pointsman-Cluster, x-pointsman-endpoint]",
                )],
                &[],
            ),
            (
                &[("value: web-green }", "value: web-red }")],
                &["pools.shop.targets[1].cluster choice_not_obeyed"],
            ),
            (
                &[(
                    "backendRefs: [{ name: web-green, port: 80 }]",
                    "backendRefs: [{ name: web-green, port: 80 }, { name: web-red, port: 80 }]",
                )],
                &["the HTTPRoute `shop-targets`: spec.rules[1].backendRefs choice_not_obeyed"],
            ),
            // The Service of a pool of endpoints may have several.
            (
                &[(
                    "backendRefs: [{ name: api, port: 80 }]",
                    "backendRefs: [{ name: api, port: 80 }, { name: api-2, port: 80 }]",
                )],
                &[],
            ),
            (
                &[(
                    "type: PathPrefix, value: / }",
                    "type: PathPrefix, value: /shop }",
                )],
                &["the HTTPRoute `shop`: spec.rules[0] choice_not_obeyed"],
            ),
            (
                &[(
                    "kind: HTTPRoute, name: shop }",
                    "kind: HTTPRoute, name: shop-targets }",
                )],
                &["the EnvoyExtensionPolicy `pointsman`: spec.targetRefs filter_never_reached"],
            ),
            (
                &[(
                    "kind: HTTPRoute, name: shop }",
                    "kind: Gateway, name: shop }",
                )],
                &[],
            ),
            (
                &[(
                    "endpointOverride: { extractFrom: [{ header: x-pointsman-endpoint }] }",
                    "consistentHash: {}",
                )],
                &["pools.api.cluster endpoint_not_obeyed"],
            ),
            (
                &[("pass: true }", "pass: true, mirror: { pool: next } }")],
                &["routes[4].mirror mirror_not_obeyed"],
            ),
            (
                &[(
                    "            health: { passive: {} }\n          next",
                    "            health: { active: { path: / } }\n          next",
                )],
                &[
                    "pools.shop.targets[0].cluster unknown_cluster",
                    "pools.shop.targets[1].cluster unknown_cluster",
                ],
            ),
            (
                &[(policy, "kind: EnvoyExtensionsPolicy")],
                &["the EnvoyExtensionsPolicy `pointsman` unknown_kind"],
            ),
        ],
    );
    // One patch says what the policy cannot.
    let both = |policy: &str| {
        format!(
            "{policy}---\n{}",
            changed("envoy-gateway/fail-reload.yaml", &[])
        )
    };
    assert_eq!(noted(&both(&changed(POLICY, &[]))), [""; 0]);
    let change = [(
        "    - name: pointsman\n",
        "    - name: pointsman\n      failOpen: true\n",
    )];
    let refused = file_warnings(&both(&changed(POLICY, &change)), Path::new(""), false);
    assert!(refused[0].why.contains("refuses"), "{refused:?}");
}

#[test]
fn the_files_of_config_maps_are_looked_into() {
    rows(
        KUBERNETES,
        &[
            (
                &[(
                    "                              watched_directory: { path: /etc/pointsman/filter }\n",
                    "",
                )],
                &["the ConfigMap `pointsman-envoy`: data[\"envoy.yaml\"] never_reloaded"],
            ),
            (
                &[(
                    "{ name: filter, mountPath: /etc/pointsman/filter,",
                    "{ name: filter, subPath: ecds.yaml, mountPath: /etc/pointsman/filter/ecds.yaml,",
                )],
                &["the Deployment `pointsman` never_reloaded"],
            ),
            (
                &[(
                    "{ name: module, mountPath: /etc/pointsman/module,",
                    "{ name: module, subPath: plugin.wasm, mountPath: /etc/pointsman/module/plugin.wasm,",
                )],
                &[],
            ),
            // The proxy of one and the filter of the other are looked at as one.
            (
                &[("merge_slashes: true", "merge_slashes: false")],
                &["the HTTP connection manager: merge_slashes path_as_it_came"],
            ),
            (
                &[("            failure_policy: FAIL_RELOAD\n", "")],
                &["the Wasm filter `pointsman`: failure_policy failure_policy"],
            ),
        ],
    );
    let wrong = changed(KUBERNETES, &[("weight: 9 }", "weight: nine }")]);
    let tree = parse_parts(&wrong).unwrap().remove(0).tree;
    assert!(pointsman_core::config::Config::from_value(&tree).is_err());
    let broken = changed(KUBERNETES, &[("    resources:\n", "    resources: [\n")]);
    let problems = parse_parts(&broken).unwrap_err();
    assert!(
        problems.0[0]
            .place
            .starts_with("the ConfigMap `pointsman-filter`: data[\"ecds.yaml\"]: line "),
        "{problems}"
    );
}

/// A file by itself, several of ours, other people's files, and YAML of Kubernetes' reader.
#[test]
fn config_maps_and_lists_hold_several_things() {
    let map = |name: &str, text: &str| {
        let text = text.replace('\n', "\n    ");
        format!("kind: ConfigMap\nmetadata: {{ name: m }}\ndata:\n  {name}: |\n    {text}\n")
    };
    let ours = "routes:\n- { name: r, pass: true }\n";
    let parts = |text: &str| {
        let parts = parse_parts(text).unwrap();
        let places = parts.into_iter().map(|part| part.place);
        places.collect::<Vec<_>>()
    };
    assert_eq!(parts(&map("shop.yaml", ours)), ["filter 1 `shop.yaml`"]);
    let two = format!("{}---\n{}", map("a.yaml", ours), map("b.yaml", ours));
    assert_eq!(parts(&two), ["filter 1 `a.yaml`", "filter 2 `b.yaml`"]);
    for other in [
        "server {\n  listen 80;\n}\n",
        "routes: [{ receiver: mail }]\n",
        "pools: { db: { size: 3 } }\n",
        "groups: []\n",
        "a: [\n",
    ] {
        assert_eq!(parts(&map("other", other)), [""; 0], "{other}");
        assert_eq!(warned(&map("other", other)), [""; 0], "{other}");
    }
    let list = "kind: List\napiVersion: v1\nitems:\n- kind: WasmPlugin\n  metadata: { name: w }\n  spec: { pluginConfig: { routes: [{ name: r, pass: yes }] } }\n";
    assert_eq!(parts(list), ["filter 1 `w`"]);
    // What is read otherwise, in the file within.
    let octal = "rate_limits:\n  l: { requests: 010, per: 1s, key: [] }\nroutes:\n- { name: r, pass: true, rate_limits: [l] }\n";
    assert_eq!(
        warned(&map("shop.yaml", octal)),
        ["the ConfigMap `m`: data[\"shop.yaml\"]: line 2: rate_limits.l.requests read_differently"]
    );
    // Kinds that nobody knows here are told, and known ones are not.
    let certificate = "---\napiVersion: v1\nkind: Certificate\n---\napiVersion: v1\nkind: Widget\nmetadata: { name: w }\n";
    let file = format!("{}{certificate}", map("shop.yaml", ours));
    let notes = file_notes(&file, Path::new(""));
    let places: Vec<_> = notes.iter().map(|note| &*note.place).collect();
    assert_eq!(places, ["the Widget `w`"]);
}

/// A key that is left to the environment, and what each system's resource has to say so that the VM
/// gets it.
#[test]
fn a_variable_that_the_vm_does_not_get_is_told() {
    let untold = "pools.shop.sticky.keys[0] variable_not_given";
    let in_istio = |env: &str| {
        let text = changed(
            GATEWAY,
            &[(
                "  failStrategy: FAIL_RELOAD\n",
                &format!("  failStrategy: FAIL_RELOAD\n{env}"),
            )],
        );
        warned(&of_environment(&text))
    };
    let vm = |env: &str| in_istio(&format!("  vmConfig: {{ env: [{env}] }}\n"));
    assert_eq!(in_istio(""), [untold]);
    assert_eq!(vm("{ name: PM_KEY_2, valueFrom: HOST }"), [untold]);
    // INLINE is the default, and then the variable is empty.
    assert_eq!(vm("{ name: PM_KEY_1 }"), [untold]);
    assert_eq!(vm("{ name: PM_KEY_1, valueFrom: HOST }"), [""; 0]);
    let written = "the WasmPlugin `pointsman-gateway`: spec.vmConfig.env[1].value secret_told";
    assert_eq!(
        vm("{ name: A, value: b }, { name: PM_KEY_1, value: c2VjcmV0 }"),
        [written]
    );

    let in_gateway = |env: &str| {
        let name = "    - name: pointsman\n";
        let text = changed(POLICY, &[(name, &format!("{name}{env}"))]);
        warned(&of_environment(&text))
    };
    assert_eq!(in_gateway(""), [untold]);
    assert_eq!(
        in_gateway("      env: { hostKeys: [PM_KEY_2] }\n"),
        [untold]
    );
    let passed = "      env: { hostKeys: [PM_KEY_2, PM_KEY_1] }\n";
    assert_eq!(in_gateway(passed), [""; 0]);
}

/// A shipped file with its session's key left to the environment.
fn of_environment(text: &str) -> String {
    let (before, rest) = text.split_once("keys: [\"").unwrap();
    let (_, behind) = rest.split_once(']').unwrap();
    format!("{before}keys: [{{ env: PM_KEY_1 }}]{behind}")
}

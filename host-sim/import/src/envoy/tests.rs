//! What is carried over, and that nothing is forgotten.

use super::*;
use crate::InputFile;
use pointsman_core::config::Config;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor,
    ReflectMessage, Value,
};
use serde_json::{Value as Json, json};
use std::collections::HashMap;

fn import_with(name: &str, text: String, options: &Options) -> Result<Output, UnreadableFile> {
    let name = name.to_owned();
    crate::import(crate::Kind::Envoy, &[InputFile { name, text }], options)
}

/// Imports a document; what comes of it is a configuration that the filter takes.
fn imported(input: &Json) -> Output {
    let output = import_with("e", input.to_string(), &Options::default()).unwrap();
    let text = output.configuration_text();
    if let Err(problems) = Config::load(text.as_bytes()) {
        panic!("{problems}\n{text}");
    }
    output
}

impl Output {
    fn configuration_text(&self) -> String {
        self.to_json().to_string()
    }

    fn paths(&self) -> Vec<&str> {
        self.not_carried.iter().map(|it| it.path.as_str()).collect()
    }
}

/// A table with one virtual host for every host.
fn table(routes: Json) -> Json {
    json!({ "virtual_hosts": [{ "name": "v", "domains": ["*"], "routes": routes }] })
}

/// The routes of an output, without their names.
fn routes(output: &Output) -> Vec<Json> {
    let each = |entry: &crate::output::Entry| Json::Object(entry.value.clone());
    output.configuration.routes.iter().map(each).collect()
}

/// The one route that one of Envoy's becomes, and the paths that are named.
fn route(from: Json) -> (Json, Vec<String>) {
    let output = imported(&table(json!([from])));
    let paths = output.paths().into_iter().map(str::to_owned).collect();
    (routes(&output).remove(0), paths)
}

/// One that is carried over whole.
fn whole(from: Json) -> Json {
    let (route, paths) = route(from);
    assert!(paths.is_empty(), "{paths:?} of {route}");
    route
}

fn match_of(from: Json) -> Json {
    whole(json!({ "match": from, "route": { "cluster": "c" } }))["match"].take()
}

#[test]
fn paths_become_paths() {
    for (envoy, ours) in [
        (
            json!({ "prefix": "/" }),
            json!({ "path": { "prefix": "/" } }),
        ),
        (
            json!({ "prefix": "/a" }),
            json!({ "path": { "regex": "/a.*" } }),
        ),
        (
            json!({ "prefix": "/a.b", "case_sensitive": false }),
            json!({ "path": { "regex": "(?i)/a\\.b.*" } }),
        ),
        (
            json!({ "path": "/a" }),
            json!({ "path": { "exact": "/a" } }),
        ),
        (
            json!({ "path": "/a", "case_sensitive": false }),
            json!({ "path": { "exact": "/a" }, "ignore_case": true }),
        ),
        (
            json!({ "safe_regex": { "google_re2": {}, "regex": "/\\d+" } }),
            json!({ "path": { "regex": "/\\d+" } }),
        ),
        (
            json!({ "path_separated_prefix": "/a" }),
            json!({ "path": { "prefix": "/a" } }),
        ),
        (
            template("/a/{b}"),
            json!({ "path": { "template": "/a/{b}" } }),
        ),
    ] {
        assert_eq!(match_of(envoy), ours);
    }
}

fn template(text: &str) -> Json {
    json!({ "path_match_policy": {
        "name": "t",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig",
            "path_template": text,
        },
    } })
}

#[test]
fn conditions_on_headers_become_conditions() {
    let gold = json!({ "exact": "gold" });
    for (envoy, ours) in [
        (
            json!({ "string_match": gold }),
            json!([{ "name": "x", "exact": "gold" }]),
        ),
        (
            json!({ "exact_match": "gold" }),
            json!([{ "name": "x", "exact": "gold" }]),
        ),
        (
            json!({ "exact_match": "" }),
            json!([{ "name": "x", "regex": ".*" }]),
        ),
        (
            json!({ "prefix_match": "g" }),
            json!([{ "name": "x", "prefix": "g" }]),
        ),
        (
            json!({ "suffix_match": "g" }),
            json!([{ "name": "x", "suffix": "g" }]),
        ),
        (
            json!({ "contains_match": "g" }),
            json!([{ "name": "x", "contains": "g" }]),
        ),
        (
            json!({ "safe_regex_match": { "regex": "g+" } }),
            json!([{ "name": "x", "regex": "g+" }]),
        ),
        (
            json!({ "string_match": { "prefix": "g.", "ignore_case": true } }),
            json!([{ "name": "x", "regex": "(?i)g\\..*" }]),
        ),
        (
            json!({ "range_match": { "start": 1, "end": 3 } }),
            json!([{ "name": "x", "regex": "[+]?0*1|[+]?0*2" }]),
        ),
        (json!({}), json!([{ "name": "x", "present": true }])),
        (
            json!({ "present_match": false }),
            json!([{ "name": "x", "present": false }]),
        ),
        (
            json!({ "present_match": true, "invert_match": true }),
            json!([{ "name": "x", "present": false }]),
        ),
        // In Envoy a missing header is not unlike anything, unless it counts as empty.
        (
            json!({ "string_match": gold, "invert_match": true }),
            json!([
                { "name": "x", "exact": "gold", "invert": true },
                { "name": "x", "present": true },
            ]),
        ),
        (
            json!({
                "string_match": gold, "invert_match": true, "treat_missing_header_as_empty": true,
            }),
            json!([{ "name": "x", "exact": "gold", "invert": true }]),
        ),
        (
            json!({
                "string_match": { "safe_regex": { "regex": "g*" } },
                "invert_match": true, "treat_missing_header_as_empty": true,
            }),
            json!([
                { "name": "x", "regex": "g*", "invert": true },
                { "name": "x", "present": true },
            ]),
        ),
    ] {
        let mut envoy = envoy;
        envoy["name"] = "X".into();
        let found = match_of(json!({ "path": "/", "headers": [envoy] }));
        assert_eq!(found["headers"], ours, "{envoy}");
    }
    // Either of two things.
    let empty = json!({
        "name": "x", "string_match": { "safe_regex": { "regex": "g*" } },
        "treat_missing_header_as_empty": true,
    });
    assert_eq!(
        match_of(json!({ "path": "/", "headers": [empty] })),
        json!([
            { "path": { "exact": "/" }, "headers": [{ "name": "x", "regex": "g*" }] },
            { "path": { "exact": "/" }, "headers": [{ "name": "x", "present": false }] },
        ])
    );
    let method = json!({
        "name": ":method", "string_match": { "safe_regex": { "regex": "GET|POST" } },
    });
    let host = json!({ "name": "host", "string_match": { "exact": "a" } });
    assert_eq!(
        match_of(json!({ "path": "/", "headers": [method, host], "grpc": {} })),
        json!({
            "path": { "exact": "/" },
            "methods": ["GET", "POST"],
            "headers": [
                { "name": ":authority", "exact": "a" },
                { "name": "content-type", "regex": "application/grpc(\\+.*)?" },
            ],
        })
    );
}

/// Those behind it are reached.
#[test]
fn of_connect_nothing_but_connect_goes_to_envoys_own_routes() {
    let output = imported(&table(json!([
        { "match": { "connect_matcher": {} }, "route": { "cluster": "tunnel" } },
        { "match": { "prefix": "/" }, "route": { "cluster": "web" } },
    ])));
    let routes = routes(&output);
    assert_eq!(routes[0]["pass"], true);
    assert_eq!(routes[0]["match"], json!({ "methods": ["CONNECT"] }));
    assert_eq!(routes[1]["pool"], "web");
    let named = "e: virtual_hosts[0].routes[0].match.connect_matcher";
    assert!(output.paths().contains(&named), "{:?}", output.paths());
}

#[test]
fn what_cannot_be_matched_goes_to_envoys_own_routes() {
    let route_of = |matched: Json| {
        let route = json!({ "match": matched, "direct_response": { "status": 403 } });
        let output = imported(&table(json!([route])));
        let routes = routes(&output);
        assert_eq!(routes[0]["pass"], true, "{routes:?}");
        let here = "e: virtual_hosts[0].routes[0]";
        assert!(output.paths().contains(&here), "{:?}", output.paths());
        output.to_yaml()
    };
    for (matched, named) in [
        (
            json!({ "prefix": "/", "tls_context": { "presented": true } }),
            "match.tls_context",
        ),
        (
            json!({ "safe_regex": { "regex": "\\pL" } }),
            "match.safe_regex.regex",
        ),
        (
            json!({ "prefix": "/", "runtime_fraction": { "default_value": { "numerator": 5 } } }),
            "match.runtime_fraction.default_value",
        ),
        (
            json!({ "prefix": "/", "headers": [{ "name": "x", "range_match": { "end": 5000 } }] }),
            "match.headers[0].range_match",
        ),
    ] {
        let text = route_of(matched);
        assert!(
            text.contains(&format!("routes[0].{named}: ")),
            "{named} in {text}"
        );
    }
}

#[test]
fn actions_become_actions() {
    let under = |prefix: &str, key: &str, action: Json| {
        let mut route = json!({ "match": { "path_separated_prefix": prefix } });
        route[key] = action;
        let mut ours = whole(route);
        ours.as_object_mut().unwrap().remove("match");
        ours
    };
    for (key, envoy, ours) in [
        ("route", json!({ "cluster": "c" }), json!({ "pool": "c" })),
        (
            "route",
            json!({ "cluster": "c", "prefix_rewrite": "/b", "host_rewrite_literal": "h" }),
            json!({ "pool": "c", "rewrite": { "path_prefix": "/b", "host": "h" } }),
        ),
        // Envoy leaves an empty segment.
        (
            "route",
            json!({ "cluster": "c", "prefix_rewrite": "/" }),
            json!({
                "pool": "c",
                "rewrite": { "path_regex": { "pattern": "^/a", "substitution": "/" } },
            }),
        ),
        (
            "route",
            json!({
                "cluster": "c",
                "regex_rewrite": { "pattern": { "regex": "a(.)" }, "substitution": "\\1" },
                "host_rewrite_header": "X-To",
                "append_x_forwarded_host": true,
            }),
            json!({
                "pool": "c",
                "request_headers": { "add": { "x-forwarded-host": "{header.:authority}" } },
                "rewrite": {
                    "path_regex": { "pattern": "a(.)", "substitution": "\\1" },
                    "host": "{header.x-to}",
                },
            }),
        ),
        (
            "redirect",
            json!({ "https_redirect": true, "host_redirect": "n.test:8443", "strip_query": true }),
            json!({ "redirect": {
                "scheme": "https", "host": "n.test", "port": 8443, "query": "drop", "status": 301,
            } }),
        ),
        (
            "redirect",
            json!({ "prefix_rewrite": "/b", "response_code": "PERMANENT_REDIRECT" }),
            json!({ "redirect": { "path_prefix": "/b", "status": 308 } }),
        ),
        (
            "redirect",
            json!({ "path_redirect": "/{x}", "port_redirect": 81, "response_code": "SEE_OTHER" }),
            json!({ "redirect": { "path": "/{{x}", "port": 81, "status": 303 } }),
        ),
        (
            "direct_response",
            json!({ "status": 410, "body": { "inline_bytes": "Z29uZQ==" } }),
            json!({ "respond": { "status": 410, "body": "gone" } }),
        ),
    ] {
        assert_eq!(under("/a", key, envoy.clone()), ours, "{envoy}");
    }
    let whole_path = whole(json!({
        "match": { "path": "/a" }, "route": { "cluster": "c", "prefix_rewrite": "/b" },
    }));
    assert_eq!(whole_path["rewrite"], json!({ "path": "/b" }));
}

#[test]
fn templates_are_rewritten() {
    let rewritten = |from: &str, to: &str| {
        whole(json!({
            "match": template(from),
            "route": { "cluster": "c", "path_rewrite_policy": {
                "name": "t",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig",
                    "path_template_rewrite": to,
                },
            } },
        }))
    };
    assert_eq!(
        rewritten("/a/{b}", "/c/{b}")["rewrite"],
        json!({ "path": "/c/{b}" })
    );
    let other = rewritten("/a/{b}.txt", "/c/{b}");
    assert_eq!(other["rewrite"]["path_regex"]["substitution"], "/c/\\1");
}

#[test]
fn weighted_clusters_become_a_split() {
    let add = |name: &str, value: &str| json!([{ "header": { "key": name, "value": value } }]);
    let route = whole(json!({
        "match": { "prefix": "/" },
        "request_headers_to_add": add("x", "route"),
        "route": { "weighted_clusters": { "clusters": [
            { "name": "a", "weight": 9 },
            { "name": "b", "weight": 1, "request_headers_to_add": add("x", "part") },
        ] } },
    }));
    assert_eq!(
        route["split"],
        json!([
            { "pool": "a", "weight": 9, "request_headers": { "add": { "x": "route" } } },
            { "pool": "b", "weight": 1, "request_headers": { "add": { "x": ["part", "route"] } } },
        ])
    );
}

/// A new path with a query of its own goes on to Envoy's own routes.
#[test]
fn a_question_mark_in_a_new_path_is_named() {
    let regex = |to: &str| json!({ "pattern": { "regex": "a" }, "substitution": to });
    for (key, action, field) in [
        (
            "route",
            json!({ "cluster": "c", "prefix_rewrite": "/b?c=d" }),
            "prefix_rewrite",
        ),
        (
            "route",
            json!({ "cluster": "c", "regex_rewrite": regex("b?c") }),
            "substitution",
        ),
        (
            "redirect",
            json!({ "prefix_rewrite": "/b?c=d" }),
            "prefix_rewrite",
        ),
        (
            "redirect",
            json!({ "regex_rewrite": regex("b?c") }),
            "substitution",
        ),
    ] {
        let mut route = json!({ "match": { "prefix": "/a" } });
        route[key] = action;
        let output = imported(&table(json!([route])));
        let mut named = output.not_carried.iter();
        assert!(
            named.any(|it| it.path.ends_with(field)),
            "{:?}",
            output.not_carried
        );
        assert_eq!(routes(&output)[0]["pass"], json!(true), "{route}");
    }
}

#[test]
fn header_edits_of_all_levels_come_to_one() {
    let option = |name: &str, value: &str, action: &str| json!({ "header": { "key": name, "value": value }, "append_action": action });
    let of = |specific_last: bool| {
        let mut table = table(json!([{
            "match": { "prefix": "/" },
            "route": { "cluster": "c" },
            "request_headers_to_add": [
                option("x", "route", "OVERWRITE_IF_EXISTS_OR_ADD"),
                option("y", "route", "APPEND_IF_EXISTS_OR_ADD"),
                option("z", "%REQ(q)%", "APPEND_IF_EXISTS_OR_ADD"),
                option("u", "no", "ADD_IF_ABSENT"),
            ],
            "request_headers_to_remove": ["gone"],
        }]));
        table["request_headers_to_add"] = json!([
            option("x", "table", "OVERWRITE_IF_EXISTS_OR_ADD"),
            option("y", "table", "APPEND_IF_EXISTS_OR_ADD"),
        ]);
        table["virtual_hosts"][0]["request_headers_to_remove"] = json!(["y"]);
        table["most_specific_header_mutations_wins"] = specific_last.into();
        let output = imported(&table);
        let why = "the filter does not look at whether a header is there before it writes it";
        assert!(
            output.not_carried.iter().any(|it| it.why == why),
            "{:?}",
            output.not_carried
        );
        routes(&output).remove(0)["request_headers"].take()
    };
    assert_eq!(
        of(false),
        json!({
            "set": { "x": "table", "y": "table" },
            "add": { "z": "{header.q}" },
            "remove": ["gone"],
        })
    );
    assert_eq!(
        of(true),
        json!({
            "set": { "x": "route", "y": "route" },
            "add": { "z": "{header.q}" },
            "remove": ["gone"],
        })
    );
}

#[test]
fn domains_with_ports_take_no_request_where_envoy_ignores_ports() {
    let to =
        |cluster: &str| json!([{ "match": { "prefix": "/" }, "route": { "cluster": cluster } }]);
    for (ignores, hosts, reported) in [
        (false, vec![json!(null), json!(["a.test"]), json!(null)], 0),
        (true, vec![json!(["a.test"]), json!(null)], 3),
    ] {
        let output = imported(&json!({
            "ignore_port_in_host_matching": ignores,
            "virtual_hosts": [
                { "name": "a", "domains": ["a.test", "a.test:81"], "routes": to("a") },
                { "name": "b", "domains": ["b.test:81", "*.b.test:81"], "routes": to("b") },
                { "name": "rest", "domains": ["*"], "routes": to("r") },
            ],
        }));
        let mut found: Vec<Json> = routes(&output)
            .iter()
            .map(|route| route["match"]["hosts"].clone())
            .collect();
        found.sort_by_key(Json::is_null);
        let mut hosts = hosts;
        hosts.sort_by_key(Json::is_null);
        assert_eq!(found, hosts, "{ignores}");
        assert_eq!(
            output.not_carried.len(),
            reported,
            "{:?}",
            output.not_carried
        );
    }
}

#[test]
fn a_virtual_host_with_later_ones_ends_with_404() {
    let to =
        |cluster: &str| json!([{ "match": { "path": "/x" }, "route": { "cluster": cluster } }]);
    let output = imported(&json!({ "virtual_hosts": [
        { "name": "rest", "domains": ["*"], "routes": to("r") },
        { "name": "a", "domains": ["a.test"], "routes": to("a"), "require_tls": "ALL" },
    ] }));
    let names: Vec<_> = output
        .configuration
        .routes
        .iter()
        .map(|it| it.name.as_str())
        .collect();
    assert_eq!(names, ["a-https", "a-0", "a-no-route", "rest-0"]);
    assert_eq!(
        routes(&output)[2],
        json!({ "match": { "hosts": ["a.test"] }, "respond": { "status": 404 } })
    );
}

/// A bootstrap with one connection manager.
fn bootstrap(table: Json, filters: Json) -> Json {
    json!({
        "admin": {},
        "static_resources": {
            "listeners": [{
                "name": "l",
                "address": { "socket_address": { "address": "0.0.0.0", "port_value": 80 } },
                "filter_chains": [{ "filters": [{
                    "name": "hcm",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                        "stat_prefix": "s",
                        "http_filters": filters,
                        "route_config": table,
                    },
                }] }],
            }],
            "clusters": [{
                "name": "c",
                "load_assignment": { "cluster_name": "c", "endpoints": [{ "lb_endpoints": [{
                    "endpoint": { "address": { "socket_address": {
                        "address": "10.0.0.1", "port_value": 8080,
                    } } },
                    "load_balancing_weight": 3,
                }] }] },
            }],
        },
    })
}

#[test]
fn sessions_and_hashes_are_of_pools_of_endpoints() {
    let session = json!([{
        "name": "session",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.stateful_session.v3.StatefulSession",
            "session_state": { "name": "cookie", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.http.stateful_session.cookie.v3.CookieBasedSessionState",
                "cookie": {
                    "name": "s", "ttl": "60s", "path": "/p",
                    "attributes": [{ "name": "SameSite", "value": "Lax" }, { "name": "Secure" }],
                },
            } },
        },
    }]);
    let route = |policies: Json| {
        table(json!([{
            "match": { "prefix": "/" }, "route": { "cluster": "c", "hash_policy": policies },
        }]))
    };
    let pool = |output: &Output| Json::Object(output.configuration.pools[0].value.clone());
    let targets = json!([{ "endpoint": "10.0.0.1:8080", "weight": 3 }]);
    let sticky = imported(&bootstrap(route(json!([])), session));
    assert!(sticky.not_carried.is_empty(), "{:?}", sticky.not_carried);
    assert_eq!(
        pool(&sticky),
        json!({
            "cluster": "c",
            "sticky": { "cookie": {
                "name": "s", "ttl": "60s", "path": "/p", "same_site": "lax", "secure": true,
            } },
            "targets": targets,
        })
    );
    let text = sticky.to_yaml();
    for stays in ["admin", "static_resources.clusters", "listeners[0].address"] {
        assert!(text.contains(stays), "{stays} in {text}");
    }

    let header = json!({ "header": { "header_name": "x-user" } });
    let hashed = imported(&bootstrap(route(json!([header])), json!([])));
    assert_eq!(
        pool(&hashed),
        json!({
            "cluster": "c",
            "balance": { "consistent_hash": { "key": { "header": "x-user" } } },
            "targets": targets,
        })
    );
    // Without the endpoints there is nothing to choose from.
    let bare = imported(&route(json!([header])));
    assert_eq!(
        bare.paths(),
        ["e: virtual_hosts[0].routes[0].route.hash_policy"]
    );
}

#[test]
fn tables_are_found_wherever_they_stand() {
    let to = |name: &str| {
        let mut table =
            table(json!([{ "match": { "prefix": "/" }, "route": { "cluster": name } }]));
        table["name"] = name.into();
        table
    };
    let typed = |name: &str| {
        let mut table = to(name);
        table["@type"] = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration".into();
        table
    };
    let camel = json!([{ "name": "a", "virtualHosts": [{
        "name": "v", "domains": ["*"],
        "routes": [{ "match": { "prefix": "/" }, "route": { "cluster": "a" } }],
    }] }]);
    for input in [
        to("a"),
        camel,
        json!({ "resources": [typed("a")] }),
        json!({ "configs": [
            { "@type": "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump" },
            {
                "@type": "type.googleapis.com/envoy.admin.v3.RoutesConfigDump",
                "dynamic_route_configs": [{ "route_config": typed("a") }],
            },
        ] }),
        bootstrap(to("a"), json!([])),
    ] {
        let output = imported(&input);
        let pools = &output.configuration.pools;
        assert_eq!((pools.len(), pools[0].name.as_str()), (1, "a"), "{input}");
        assert!(output.not_carried.is_empty(), "{:?}", output.not_carried);
    }

    let two = json!([to("a"), to("b")]);
    assert_eq!(imported(&two).paths(), ["e: [1]"]);
    let options = |name: &str| Options {
        route_configuration: Some(name.to_owned()),
        ..Options::default()
    };
    let second = import_with("e", two.to_string(), &options("b")).unwrap();
    assert_eq!(
        (second.configuration.pools[0].name.as_str(), second.paths()),
        ("b", vec!["e: [0]"])
    );
    import_with("e", two.to_string(), &options("c")).unwrap_err();
}

#[test]
fn fields_that_envoy_does_not_have_are_errors_or_named() {
    let mut wrong = table(json!([{ "match": { "prefx": "/" }, "route": { "cluster": 1 } }]));
    wrong["virtual_hots"] = json!([]);
    let error = import_with("e", wrong.to_string(), &Options::default()).unwrap_err();
    let error = error.to_string();
    for said in [
        "routes[0].match.prefx: envoy.config.route.v3.RouteMatch has no such field; did you mean \
         prefix?",
        "e: virtual_hots: envoy.config.route.v3.RouteConfiguration has no such field; did you mean \
         virtual_hosts?",
    ] {
        assert!(error.contains(said), "{said} in {error}");
    }
    assert!(!error.contains("e: e: "), "{error}");
    let of_a_type = table(json!([{ "match": { "prefix": "/" }, "route": { "cluster": 1 } }]));
    let error = import_with("e", of_a_type.to_string(), &Options::default()).unwrap_err();
    assert!(
        error.to_string().contains("routes[0].route.cluster: "),
        "{error}"
    );

    let later = imported(&json!([{ "newField": 1, "virtualHosts": [] }]));
    assert_eq!(later.paths(), ["e: [0].newField"]);
    let foreign = imported(&table(json!([{
        "match": { "prefix": "/" }, "route": { "cluster": "c" },
        "typed_per_filter_config": { "x": { "@type": "type.googleapis.com/istio.X", "a": 1 } },
    }])));
    assert_eq!(
        foreign.paths(),
        ["e: virtual_hosts[0].routes[0].typed_per_filter_config[\"x\"]"]
    );
}

/// Every field of every message that a `RouteConfiguration` is made of, set to a value: it changes
/// what comes out, or it is named.
#[test]
fn every_field_is_carried_over_or_named() {
    let pool = descriptors::pool();
    let kind = pool
        .get_message_by_name("envoy.config.route.v3.RouteConfiguration")
        .unwrap();
    let bases = [
        json!({ "route": { "cluster": "c" } }),
        json!({ "route": { "cluster": "c", "host_rewrite_literal": "h" } }),
        json!({ "route": { "weighted_clusters": { "clusters": [{ "name": "c", "weight": 1 }] } } }),
        json!({ "redirect": { "host_redirect": "h" } }),
        json!({ "direct_response": { "status": 200 } }),
    ];
    let (mut walked, mut forgotten) = (0, Vec::new());
    for base in bases {
        let mut route = base;
        route["match"] = json!({
            "path": "/a",
            "headers": [{ "name": "x", "string_match": { "exact": "y" } }],
            "query_parameters": [{ "name": "x", "string_match": { "exact": "y" } }],
            "cookies": [{ "name": "x", "string_match": { "exact": "y" } }],
        });
        let mut base = table(json!([route]));
        base["virtual_hosts"][0]["domains"] = json!(["a.test"]);
        let report = Report::default();
        let message =
            document::decode("", base, &kind, document::Unknown::Refuse, &report).unwrap();
        let before = text_of(&message);
        let mut walk = Walk {
            pool: &pool,
            before: &before,
            root: message,
            at: Vec::new(),
            walked: 0,
            forgotten: Vec::new(),
        };
        walk.message(&kind);
        walked += walk.walked;
        forgotten.append(&mut walk.forgotten);
    }
    forgotten.sort();
    forgotten.dedup();
    assert!(
        forgotten.is_empty(),
        "neither carried over nor named: {forgotten:#?}"
    );
    println!("{walked} fields were set");
    assert!(walked > 1000, "{walked}");
}

/// What an import says of a table.
fn text_of(table: &DynamicMessage) -> String {
    let pool = table.descriptor().parent_pool().clone();
    let report = Report::default();
    let mut found = Found::new(pool, &report);
    found.push_message("e: ", table.clone());
    let output = finish(found, "e", &Options::default(), &report).unwrap();
    let text = output.configuration_text();
    if let Err(problems) = Config::load(text.as_bytes()) {
        panic!("{problems}\n{text}");
    }
    output.to_yaml()
}

/// A step into a message.
#[derive(Clone, Debug)]
struct Step {
    field: FieldDescriptor,
    /// Of a list: the first item.
    is_list: bool,
}

struct Walk<'w> {
    pool: &'w DescriptorPool,
    before: &'w str,
    root: DynamicMessage,
    at: Vec<Step>,
    walked: usize,
    /// What is neither carried over nor named.
    forgotten: Vec<String>,
}

/// Deep enough for every message that the import reads.
const DEPTH: usize = 9;

impl Walk<'_> {
    fn message(&mut self, kind: &MessageDescriptor) {
        for field in kind.fields() {
            for sample in samples(self.pool, &field) {
                self.field(kind, &field, sample);
            }
            // Into the message, from a base in which it is set.
            let Kind::Message(inner) = field.kind() else {
                continue;
            };
            let is_known = inner.full_name().starts_with("envoy.") && !field.is_map();
            let turns = self.at.iter().filter(|step| step.field == field).count();
            if !is_known || self.at.len() == DEPTH || turns > 0 {
                continue;
            }
            let root = self.root.clone();
            let step = Step {
                is_list: field.is_list(),
                field: field.clone(),
            };
            let here = descend(&mut self.root, &self.at);
            if !here.has_field(&field) {
                let sample = samples(self.pool, &field).remove(0);
                here.set_field(&field, sample);
            }
            let before = text_of(&self.root);
            self.at.push(step);
            // Only where something within it is read: otherwise the whole of it is named.
            let path = self.path();
            if !names(&before, &path) {
                let mut inside = Walk {
                    pool: self.pool,
                    before: &before,
                    root: self.root.clone(),
                    at: self.at.clone(),
                    walked: 0,
                    forgotten: Vec::new(),
                };
                inside.message(&inner);
                self.walked += inside.walked;
                self.forgotten.append(&mut inside.forgotten);
            }
            self.at.pop();
            self.root = root;
        }
    }

    fn field(&mut self, kind: &MessageDescriptor, field: &FieldDescriptor, sample: Value) {
        let mut root = self.root.clone();
        let here = descend(&mut root, &self.at);
        if here.has_field(field) && *here.get_field(field) == sample {
            return;
        }
        here.set_field(field, sample.clone());
        let after = text_of(&root);
        self.walked += 1;
        let path = match self.path().as_str() {
            "" => field.name().to_owned(),
            path => format!("{path}.{}", field.name()),
        };
        if says_nothing(kind.full_name(), field.name(), &path, self.before) {
            return;
        }
        if after == self.before && !names(&after, &path) {
            self.forgotten.push(path);
        }
    }

    fn path(&self) -> String {
        let each = |step: &Step| {
            let index = if step.is_list { "[0]" } else { "" };
            format!("{}{index}", step.field.name())
        };
        self.at.iter().map(each).collect::<Vec<_>>().join(".")
    }
}

/// Whether a path, or one that it lies in, is among what was not carried over.
fn names(text: &str, path: &str) -> bool {
    let named = text.lines().filter_map(|line| line.strip_prefix("# - e: "));
    let mut named = named
        .filter_map(|line| line.split_once(": "))
        .map(|(path, _)| path);
    named.any(|named| {
        let rest = path
            .strip_prefix(named)
            .or_else(|| named.strip_prefix(path));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[', ' ']))
    })
}

fn descend<'m>(mut message: &'m mut DynamicMessage, at: &[Step]) -> &'m mut DynamicMessage {
    for step in at {
        let value = message.get_field_mut(&step.field);
        message = match (value, step.is_list) {
            (Value::List(items), true) => items[0].as_message_mut().unwrap(),
            (value, _) => value.as_message_mut().unwrap(),
        };
    }
    message
}

/// Fields that change nothing in Envoy either, and so are silent.
fn says_nothing(message: &str, field: &str, path: &str, before: &str) -> bool {
    let short = message.rsplit('.').next().unwrap();
    // What a request is forwarded with, where none is.
    let is_forwarded = before.contains("pool: ");
    let of_forwarding = ["request_headers", "request_mirror", "retry_policy"];
    if !is_forwarded && of_forwarding.iter().any(|it| path.contains(it)) {
        return true;
    }
    matches!(
        (short, field),
        // A name in a list of extensions.
        ("TypedExtensionConfig", "name")
        // Without a rewrite of the host.
        | ("RouteAction", "append_x_forwarded_host")
        // The filter's hosts have no ports.
        | ("RouteConfiguration", "ignore_port_in_host_matching")
        // The order of edits, of which there are none.
        | ("RouteConfiguration", "most_specific_header_mutations_wins")
        // Of a value that is not empty.
        | ("HeaderValueOption", "keep_empty_value")
        // The condition is not true of an empty value.
        | ("HeaderMatcher", "treat_missing_header_as_empty")
        // The sum of the weights.
        | ("WeightedCluster", "total_weight")
        // With one policy.
        | ("HashPolicy", "terminal")
        // The only engine.
        | ("RegexMatcher", "google_re2")
        // All requests.
        | ("RouteMatch" | "RequestMirrorPolicy", "runtime_fraction")
    )
}

/// Values of a field.
fn samples(pool: &DescriptorPool, field: &FieldDescriptor) -> Vec<Value> {
    if field.is_map() {
        let any = sample_any(pool);
        let map = HashMap::from([(MapKey::String("k".into()), any)]);
        return vec![Value::Map(map)];
    }
    let values: Vec<Value> = match field.kind() {
        Kind::Bool => vec![Value::Bool(true)],
        Kind::String => vec![Value::String(text(field.name()).into())],
        Kind::Bytes => vec![Value::Bytes(b"y".as_slice().into())],
        Kind::Enum(of) => of
            .values()
            .filter(|value| value.number() != 0)
            .map(|value| Value::EnumNumber(value.number()))
            .collect(),
        Kind::Uint32 if field.name() == "numerator" => vec![Value::U32(7)],
        Kind::Uint32 | Kind::Fixed32 => vec![Value::U32(307)],
        Kind::Uint64 | Kind::Fixed64 => vec![Value::U64(307)],
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => vec![Value::I32(7)],
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => vec![Value::I64(7)],
        Kind::Double => vec![Value::F64(1.5)],
        Kind::Float => vec![Value::F32(1.5)],
        // True is what it is without the field.
        Kind::Message(of) => vec![message_sample(
            pool,
            &of,
            !matches!(field.name(), "case_sensitive" | "append"),
        )],
    };
    match field.is_list() {
        true => values
            .into_iter()
            .map(|value| Value::List(vec![value]))
            .collect(),
        false => values,
    }
}

fn text(field: &str) -> &'static str {
    match field {
        "regex" => "z+",
        "substitution" => "/z",
        "retry_on" => "5xx",
        _ if field.contains("prefix") || field.contains("path") => "/z",
        _ => "z",
    }
}

fn sample_any(pool: &DescriptorPool) -> Value {
    let kind = "envoy.extensions.filters.http.buffer.v3.BufferPerRoute";
    let inner = DynamicMessage::new(pool.get_message_by_name(kind).unwrap());
    let mut any = DynamicMessage::new(pool.get_message_by_name("google.protobuf.Any").unwrap());
    any.set_field_by_name(
        "type_url",
        Value::String(format!("type.googleapis.com/{kind}")),
    );
    let bytes = prost_reflect::prost::Message::encode_to_vec(&inner);
    any.set_field_by_name("value", Value::Bytes(bytes.into()));
    Value::Message(any)
}

/// A message with something in it.
fn message_sample(pool: &DescriptorPool, of: &MessageDescriptor, is_true: bool) -> Value {
    let mut message = DynamicMessage::new(of.clone());
    let mut set = |name: &str, value: Value| message.set_field_by_name(name, value);
    match of.full_name() {
        "google.protobuf.Any" => return sample_any(pool),
        "google.protobuf.Duration" => set("seconds", Value::I64(7)),
        "google.protobuf.BoolValue" => set("value", Value::Bool(is_true)),
        "google.protobuf.UInt32Value" => set("value", Value::U32(7)),
        "google.protobuf.UInt64Value" => set("value", Value::U64(7)),
        // What Envoy wants to be there.
        name if name.starts_with("envoy.") => {
            let short = name.rsplit('.').next().unwrap();
            let wanted: &[&str] = match short {
                "VirtualHost" => &["name", "domains"],
                "Route" => &["match", "route"],
                "RouteMatch" => &["path"],
                "RouteAction" | "RequestMirrorPolicy" => &["cluster"],
                "ClusterWeight" => &["name", "weight"],
                "WeightedCluster" => &["clusters"],
                "HeaderValueOption" => &["header"],
                "HeaderValue" => &["key", "value"],
                "HeaderMatcher" | "QueryParameterMatcher" | "CookieMatcher" => {
                    &["name", "string_match"]
                }
                "StringMatcher" => &["exact"],
                "RegexMatcher" => &["regex"],
                "RegexMatchAndSubstitute" => &["pattern", "substitution"],
                "RetryPolicy" => &["retry_on"],
                "HashPolicy" => &["header"],
                "Header" => &["header_name"],
                "Cookie" => &["name", "ttl"],
                "QueryParameter" => &["name"],
                "TypedExtensionConfig" => &["name", "typed_config"],
                "RuntimeFractionalPercent" => &["default_value"],
                "FractionalPercent" => &["numerator"],
                "DataSource" => &["inline_string"],
                "Int64Range" => &["end"],
                _ => &[],
            };
            for name in wanted {
                let field = of.get_field_by_name(name).unwrap();
                let value = match (short, *name) {
                    // All of them, so that the route is not passed on.
                    ("FractionalPercent", _) => Value::U32(100),
                    _ => samples(pool, &field).remove(0),
                };
                message.set_field(&field, value);
            }
        }
        _ => {}
    }
    Value::Message(message)
}

//! Laws of `check`: every warning is true, and what the rules can prove is warned of.

use super::*;
use crate::configuration;
use crate::environment;
use crate::request_test::File;
use pointsman_core::index::RouteIndex;
use pointsman_core::route::Found;
use pointsman_core::route::index::Index;
use serde_json::{Value as Json, json};
use std::path::Path;

fn load(text: &str) -> (Value, Config) {
    let tree = configuration::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let config = environment::load_anywhere(&tree);
    let config = config.unwrap_or_else(|problems| panic!("{text}: {problems}"));
    (tree, config)
}

/// `place kind`, in order.
fn brief(tree: &Value, config: &Config) -> Vec<String> {
    let warnings = warnings(tree, config);
    warnings
        .iter()
        .map(|warning| format!("{} {}", warning.place, warning.kind))
        .collect()
}

/// Each line is a route's `match`, with what is said of the whole.
#[test]
fn routes_that_can_never_match_are_found_and_no_others() {
    let shadowed: &[&str] = &["routes[1] unreachable_route"];
    for (first, second, expected) in [
        ("{}", "{ hosts: [a] }", shadowed),
        ("{ hosts: [a] }", "{}", &[]),
        ("{ hosts: ['*.a'] }", "{ hosts: [b.a, c.a] }", shadowed),
        ("{ hosts: ['*.a'] }", "{ hosts: [b.a, a] }", &[]),
        ("{ hosts: ['*.a'] }", "{ hosts: ['*.b.a'] }", shadowed),
        ("{ hosts: ['*.b.a'] }", "{ hosts: ['*.a'] }", &[]),
        ("{ hosts: ['*'] }", "{ methods: [GET] }", shadowed),
        ("{ device: bot }", "{ device: bot, hosts: [a] }", shadowed),
        (
            "{ device: [mobile, tablet] }",
            "{ device: tablet }",
            shadowed,
        ),
        ("{ device: tablet }", "{ device: [mobile, tablet] }", &[]),
        (
            "[{ device: mobile }, { device: tablet }]",
            "{ device: [tablet, mobile] }",
            shadowed,
        ),
        ("{ device: [mobile, tablet, desktop, bot] }", "{}", shadowed),
        ("{ device: desktop }", "{}", &[]),
        ("{ language: [ko, en] }", "{ language: EN }", shadowed),
        ("{ language: en }", "{ language: [ko, en] }", &[]),
        ("{ language: ko }", "{}", &[]),
        ("{ device: bot }", "{ language: ko }", &[]),
        ("{ device: bot, language: ko }", "{ device: bot }", &[]),
        (
            "{ path: { prefix: /a } }",
            "{ path: { exact: /a/b } }",
            shadowed,
        ),
        ("{ path: { prefix: /a } }", "{ path: { exact: /ab } }", &[]),
        (
            "{ path: { prefix: /a } }",
            "{ path: { prefix: /a/b/ } }",
            shadowed,
        ),
        (
            "{ path: { prefix: /a } }",
            "{ path: { template: '/a/{x}' } }",
            shadowed,
        ),
        (
            "{ path: { prefix: /a } }",
            "{ path: { regex: '/a/[0-9]+' } }",
            shadowed,
        ),
        (
            "{ path: { prefix: /a } }",
            "{ path: { regex: '/a[0-9]+' } }",
            &[],
        ),
        (
            "{ path: { prefix: / } }",
            "{ path: { regex: '/.*' } }",
            shadowed,
        ),
        (
            "{ path: { regex: '/[a-z]+(/.*)?' } }",
            "{ path: { regex: '/(a|b+)/c' } }",
            shadowed,
        ),
        (
            "{ path: { regex: '/(a|b+)/c' } }",
            "{ path: { regex: '/[a-z]+(/.*)?' } }",
            &[],
        ),
        (
            "{ path: { template: '/{x}/b' } }",
            "{ path: { regex: '/[0-9]+/b' } }",
            shadowed,
        ),
        (
            "{ path: { regex: '/a/[^/]+' } }",
            "{ path: { template: '/a/{x}' } }",
            shadowed,
        ),
        (
            "{ headers: [{ name: x, regex: '[a-c]+' }] }",
            "{ headers: [{ name: x, regex: 'a|bc' }] }",
            shadowed,
        ),
        (
            "{ headers: [{ name: x, suffix: c }] }",
            "{ headers: [{ name: x, regex: '(a|b)*c' }] }",
            shadowed,
        ),
        // A request without a path (CONNECT), or for `*` (OPTIONS), goes to the second.
        ("{ path: { prefix: / } }", "{}", &[]),
        ("{ path: { prefix: / } }", "{ hosts: ['*'] }", &[]),
        (
            "{ path: { prefix: / } }",
            "{ headers: [{ name: x, exact: a }] }",
            &["routes[1].match only_without_path"],
        ),
        (
            "{ path: { prefix: / } }",
            "{ hosts: [a] }",
            &["routes[1].match only_without_path"],
        ),
        (
            "{ hosts: [a], path: { prefix: / } }",
            "{ hosts: [a], methods: [GET] }",
            &["routes[1].match only_without_path"],
        ),
        (
            "{ path: { prefix: / } }",
            "[{ path: { exact: /a } }, { hosts: [a] }]",
            &[
                "routes[1].match[0] unreachable_block",
                "routes[1].match[1] only_without_path",
            ],
        ),
        (
            "{ hosts: [a], path: { prefix: / } }",
            "{ hosts: [a, b] }",
            &[],
        ),
        ("{ path: { prefix: / } }", "{ methods: [CONNECT] }", &[]),
        ("{ path: { prefix: / } }", "{ methods: [OPTIONS] }", &[]),
        ("{ path: { prefix: / }, methods: [GET] }", "{}", &[]),
        (
            "{ path: { template: '/a/{x=**}' } }",
            "{ path: { prefix: /a/b } }",
            shadowed,
        ),
        (
            "{ path: { template: '/a/{x=**}' } }",
            "{ path: { prefix: /a } }",
            &[],
        ),
        (
            "{ path: { template: '/{x}/b' } }",
            "{ path: { template: '/a/b' } }",
            shadowed,
        ),
        (
            "{ path: { template: '/{x}/b' } }",
            "{ path: { template: '/a/{x}' } }",
            &[],
        ),
        (
            "{ path: { prefix: /a }, ignore_case: true }",
            "{ path: { prefix: /A } }",
            shadowed,
        ),
        (
            "{ path: { prefix: /a } }",
            "{ path: { prefix: /a }, ignore_case: true }",
            &[],
        ),
        ("{ methods: [GET, POST] }", "{ methods: [POST] }", shadowed),
        ("{ methods: [POST] }", "{ methods: [GET, POST] }", &[]),
        (
            "{ scheme: https }",
            "{ scheme: https, hosts: [a] }",
            shadowed,
        ),
        ("{ scheme: https }", "{ hosts: [a] }", &[]),
        (
            "{ client_ip: [10.0.0.0/8] }",
            "{ client_ip: [10.1.0.0/16, 10.2.3.4] }",
            shadowed,
        ),
        (
            "{ client_ip: [10.0.0.0/8] }",
            "{ client_ip: [10.1.0.0/16, 11.2.3.4] }",
            &[],
        ),
        (
            "{ headers: [{ name: x, present: true }] }",
            "{ headers: [{ name: X, exact: a }] }",
            shadowed,
        ),
        (
            "{ headers: [{ name: x, prefix: a }] }",
            "{ headers: [{ name: x, prefix: ab }] }",
            shadowed,
        ),
        (
            "{ headers: [{ name: x, prefix: ab }] }",
            "{ headers: [{ name: x, prefix: a }] }",
            &[],
        ),
        (
            "{ headers: [{ name: x, exact: a, invert: true }] }",
            "{ headers: [{ name: x, present: false }] }",
            shadowed,
        ),
        (
            "{ cookies: [{ name: x, contains: b }] }",
            "{ cookies: [{ name: x, exact: abc }, { name: y, present: true }] }",
            shadowed,
        ),
        (
            "{ cookies: [{ name: x, exact: a }] }",
            "{ headers: [{ name: x, exact: a }] }",
            &[],
        ),
        (
            "{ query: [{ name: x, suffix: b }] }",
            "{ query: [{ name: x, suffix: ab }] }",
            shadowed,
        ),
        (
            "{ headers: [{ name: x, regex: 'a+' }] }",
            "{ headers: [{ name: x, regex: 'a+' }], methods: [GET] }",
            shadowed,
        ),
        // Several blocks.
        (
            "[{ hosts: [a] }, { hosts: [b] }]",
            "{ hosts: [a, b] }",
            shadowed,
        ),
        (
            "[{ hosts: [a] }, { hosts: [b], methods: [GET] }]",
            "{ hosts: [a, b], methods: [GET, POST] }",
            &[],
        ),
        (
            "[{ methods: [GET] }, { methods: [PUT] }]",
            "{ methods: [PUT, GET], hosts: [a] }",
            shadowed,
        ),
        (
            "[{ headers: [{ name: x, exact: a }] }, { headers: [{ name: x, exact: a, invert: true }] }]",
            "{ hosts: [a] }",
            shadowed,
        ),
        (
            "[{ cookies: [{ name: x, present: true }], hosts: [a] }, { cookies: [{ name: x, present: false }] }]",
            "{ hosts: [a] }",
            shadowed,
        ),
        (
            "{ hosts: [a] }",
            "[{ hosts: [a], methods: [GET] }, { hosts: [b] }]",
            &["routes[1].match[0] unreachable_block"],
        ),
        (
            "{ hosts: [a] }",
            "[{ hosts: [a], methods: [GET] }, { hosts: [a], path: { exact: /a } }]",
            shadowed,
        ),
        (
            "{ hosts: [a] }",
            "[{ path: { prefix: /a } }, { path: { exact: /a/b } }]",
            &["routes[1].match[1] repeated"],
        ),
    ] {
        let text = format!(
            "{{ routes: [ {{ name: one, match: {first}, pass: true }}, {{ name: two, match: {second}, pass: true }} ] }}"
        );
        let (tree, config) = load(&text);
        assert_eq!(brief(&tree, &config), expected, "{text}");
    }
}

#[test]
fn several_routes_that_shadow_one_are_all_named() {
    let (tree, config) = load(
        "{ routes: [ { name: a, match: { hosts: [a] }, pass: true }, { name: b, match: { hosts: [b] }, pass: true },
            { name: c, match: { hosts: [c] }, pass: true }, { name: both, match: { hosts: [b, a] }, pass: true } ] }",
    );
    let [warning] = &warnings(&tree, &config)[..] else {
        panic!()
    };
    assert_eq!(warning.shadowed_by, ["a", "b"]);
    assert!(
        warning
            .why
            .ends_with("by `a` (routes[0]) and `b` (routes[1])"),
        "{}",
        warning.why
    );
    assert_eq!(
        warning.command("f").unwrap(),
        "host-sim explain f --url http://b/"
    );
    assert_eq!(warning.example.as_ref().unwrap().1, "b");
}

#[test]
fn contradictions_are_found_where_they_stand() {
    for (conditions, expected) in [
        (
            "headers: [{ name: x, exact: a }, { name: x, exact: b }]",
            &[][..],
        ),
        (
            "headers: [{ name: x, exact: a }, { name: x, present: false }]",
            &["headers[1] contradiction"],
        ),
        (
            "headers: [{ name: x, exact: a, invert: true }, { name: x, exact: a }]",
            &["headers[1] contradiction"],
        ),
        (
            "headers: [{ name: x, exact: a, invert: true }, { name: x, prefix: a }]",
            &[],
        ),
        (
            "headers: [{ name: x, present: true, invert: true }, { name: x, contains: a }]",
            &["headers[1] contradiction"],
        ),
        (
            "headers: [{ name: x, prefix: a, invert: true }, { name: x, regex: 'a[0-9]' }]",
            &["headers[1] contradiction"],
        ),
        (
            "headers: [{ name: x, exact: a }], cookies: [{ name: x, present: false }]",
            &[],
        ),
        (
            "cookies: [{ name: x, exact: a }, { name: x, present: false }]",
            &["cookies[1] contradiction"],
        ),
        (
            "query: [{ name: x, exact: a }, { name: x, present: false }]",
            &["query[1] contradiction"],
        ),
        (
            "cookies: [{ name: x, contains: 'a;b' }]",
            &["cookies[0] contradiction"],
        ),
        (
            "cookies: [{ name: x, exact: ' a' }]",
            &["cookies[0] contradiction"],
        ),
        (
            "headers: [{ name: ':method', exact: PUT }, { name: ':method', exact: GET }]",
            &["headers[1] contradiction"],
        ),
        (
            "headers: [{ name: ':method', exact: PUT }], methods: [GET, POST]",
            &["headers[0] contradiction"],
        ),
        (
            "headers: [{ name: ':method', exact: GET }], methods: [GET, POST]",
            &[],
        ),
        (
            "headers: [{ name: ':host', exact: a }]",
            &["headers[0] contradiction"],
        ),
        ("headers: [{ name: ':host', present: false }]", &[]),
        ("path: { exact: '/a b' }", &["path contradiction"]),
        ("path: { template: '/a#b/{x}' }", &["path contradiction"]),
        ("path: { regex: 'api/.*' }", &["path contradiction"]),
        ("path: { regex: '/a\\?x=[0-9]' }", &["path contradiction"]),
        ("path: { regex: '(a|/)b' }", &[]),
        ("path: { regex: '(a|b)/c' }", &["path contradiction"]),
        ("path: { regex: '/a(\\?|#)b' }", &["path contradiction"]),
        (
            "headers: [{ name: ':method', regex: 'P.*' }, { name: ':method', regex: 'G.*' }]",
            &["headers[1] contradiction"],
        ),
    ] {
        let text =
            format!("{{ routes: [ {{ name: r, match: {{ {conditions} }}, pass: true }} ] }}");
        let (tree, config) = load(&text);
        let expected: Vec<_> = expected
            .iter()
            .map(|it| format!("routes[0].match.{it}"))
            .collect();
        assert_eq!(brief(&tree, &config), expected, "{text}");
    }
    let (tree, config) = load(
        "{ routes: [ { name: r, match: [ { hosts: [a] }, { headers: [{ name: x, exact: a }, { name: x, present: false }] } ], pass: true } ] }",
    );
    let [warning] = &warnings(&tree, &config)[..] else {
        panic!()
    };
    assert_eq!(warning.place, "routes[0].match[1].headers[1]");
    assert!(
        warning.found.contains("this block can never match"),
        "{}",
        warning.found
    );
    assert_eq!(warning.why, "it contradicts headers[0]");
}

#[test]
fn what_adds_nothing_is_found() {
    for (conditions, expected) in [
        ("hosts: [a.b, '*.b', c]", &["hosts[0] repeated"][..]),
        ("hosts: [a, A]", &["hosts[1] repeated"]),
        ("methods: [GET, PUT, GET]", &["methods[2] repeated"]),
        (
            "client_ip: [10.0.0.0/8, 10.1.2.3, 11.0.0.0/8]",
            &["client_ip[1] repeated"],
        ),
        (
            "headers: [{ name: x, exact: a }, { name: x, exact: a }]",
            &["headers[1] repeated"],
        ),
        (
            "headers: [{ name: x, present: true }, { name: x, exact: a }]",
            &["headers[0] repeated"],
        ),
        (
            "headers: [{ name: x, exact: a, invert: true }, { name: x, present: false }]",
            &["headers[0] repeated"],
        ),
        (
            "headers: [{ name: x, prefix: a }, { name: x, suffix: a }]",
            &[],
        ),
        ("path: { regex: /old }", &[]),
        ("path: { regex: '/a(/.*)?' }", &[]),
        ("path: { regex: '/a/.*' }", &[]),
        ("path: { regex: '/a.*' }", &[]),
        ("path: { regex: '/a[0-9]' }", &[]),
        ("headers: [{ name: x, regex: gold }]", &[]),
        ("cookies: [{ name: x, regex: 'a.*' }]", &[]),
        (
            "query: [{ name: x, regex: '.*a' }, { name: y, regex: '.*a.*' }]",
            &[],
        ),
        ("headers: [{ name: x, regex: '.*' }]", &[]),
        ("headers: [{ name: x, regex: '.+' }]", &[]),
    ] {
        let text =
            format!("{{ routes: [ {{ name: r, match: {{ {conditions} }}, pass: true }} ] }}");
        let (tree, config) = load(&text);
        let expected: Vec<_> = expected
            .iter()
            .map(|it| format!("routes[0].match.{it}"))
            .collect();
        assert_eq!(brief(&tree, &config), expected, "{text}");
    }
}

#[test]
fn pools_limits_and_splits_that_do_nothing_are_found() {
    for (text, expected) in [
        (
            "pools: { a: { targets: [{ cluster: c }] } }",
            &["pools.a unused_pool"][..],
        ),
        (
            "pools: { a b: { targets: [{ cluster: c }] } }",
            &["pools[\"a b\"] unused_pool"],
        ),
        (
            "rate_limits: { l: { requests: 1, per: 1s, key: [path] } }",
            &["rate_limits.l unused_rate_limit"],
        ),
        (
            "protect: { p: { detect: [scanner] } }",
            &["protect.p unused_protect"],
        ),
        (
            "routes: [{ name: r, protect: [p], pass: true }], protect: { p: { detect: [scanner], in: [query] } }",
            &["protect.p.in protect_without_place"],
        ),
        (
            "routes: [{ name: r, protect: [p], respond: { status: 200 } }], protect: { p: { detect: [sql_injection], mode: block } }",
            &["routes[0].protect no_effect"],
        ),
        (
            "pools: { a: { targets: [{ cluster: c, weight: 0 }, { cluster: d, state: draining }, { cluster: e, state: down }] } }, routes: [{ name: r, pool: a }]",
            &["pools.a.targets no_weight"],
        ),
        (
            "pools: { a: { targets: [{ cluster: c, weight: 0 }, { cluster: d }] } }, routes: [{ name: r, split: [{ pool: a, weight: 0 }] }]",
            &["routes[0].split no_weight"],
        ),
        (
            "pools: { a: { targets: [{ cluster: c }] } }, routes: [{ name: r, split: [{ pool: a, weight: 0 }, { pool: a }] }]",
            &[],
        ),
        (
            "routes: [{ name: r, match: { hosts: [a] }, redirect: { host: h }, rate_limits: [l], request_headers: { remove: [x] } }], rate_limits: { l: { requests: 1, per: 1s, key: [path] } }",
            &[
                "routes[0].request_headers no_effect",
                "routes[0].rate_limits limit_on_redirect",
            ],
        ),
        (
            "routes: [{ name: r, respond: { status: 200 }, rate_limits: [l], rewrite: { host: h }, response_headers: { remove: [x] } }], rate_limits: { l: { requests: 1, per: 1s, key: [path] } }",
            &["routes[0].rewrite no_effect"],
        ),
        (
            "pools: { a: { targets: [{ cluster: c }] }, b: { targets: [{ cluster: c }] } }, routes: [{ name: r, pool: a, mirror: { pool: b } }]",
            &[],
        ),
        // The list of a pool that is failed over to is not followed.
        (
            "pools: { a: { targets: [{ cluster: c }], failover: [b] }, b: { targets: [{ cluster: c }], failover: [d] }, d: { targets: [{ cluster: c }] } }, routes: [{ name: r, pool: a }]",
            &["pools.b.failover unused_failover", "pools.d unused_pool"],
        ),
        (
            "pools: { a: { targets: [{ cluster: c, weight: 0 }], failover: [b] }, b: { targets: [{ cluster: c }] } }, routes: [{ name: r, pool: a }]",
            &["pools.a.targets no_weight"],
        ),
        (
            "pools: { a: { targets: [{ cluster: c }], health: { passive: {} } }, b: { targets: [{ cluster: c }, { cluster: d }], health: { passive: {} } } }, routes: [{ name: r, split: [{ pool: a }, { pool: b }] }]",
            &["pools.a.health.passive never_ejects"],
        ),
        (
            "pools: { a: { targets: [{ cluster: c }], health: { active: { grpc: s, method: HEAD } } } }, routes: [{ name: r, pool: a }]",
            &["pools.a.health.active.method unused_method"],
        ),
        (
            "pools: { a: { targets: [{ cluster: c }], health: { active: { grpc: s, method: POST } } } }, routes: [{ name: r, pool: a }]",
            &[],
        ),
        (
            "pools: { a: { targets: [{ cluster: c }], health: { active: { path: /, method: HEAD } } } }, routes: [{ name: r, pool: a }]",
            &[],
        ),
        (
            "pools: { a: { targets: [{ cluster: c }, { cluster: d }, { cluster: e }], health: { passive: { max_ejected_percent: 33 } } } }, routes: [{ name: r, pool: a }]",
            &["pools.a.health.passive never_ejects"],
        ),
        (
            "pools: { a: { targets: [{ cluster: c }, { cluster: d }, { cluster: e }], health: { passive: { max_ejected_percent: 34 } } } }, routes: [{ name: r, pool: a }]",
            &[],
        ),
        (
            "pools: { a: { targets: [{ cluster: c }], health: { passive: {}, when_all_unhealthy: respond_503 } } }, routes: [{ name: r, pool: a }]",
            &[],
        ),
        (
            "pools: { a: { targets: [{ cluster: c }, { cluster: d }], failover: [b], health: { passive: {} } }, b: { targets: [{ cluster: s }] } }, routes: [{ name: r, pool: a }]",
            &[],
        ),
        (
            "pools: { a: { targets: [{ cluster: c }, { cluster: d }], failover: [b], health: { passive: { max_ejected_percent: 0 } } }, b: { targets: [{ cluster: s }] } }, routes: [{ name: r, pool: a }]",
            &["pools.a.health.passive.max_ejected_percent empty_promise"],
        ),
        (
            "pools: { a: { targets: [{ cluster: c }, { cluster: d }], health: { passive: { max_ejected_percent: 20 }, when_all_unhealthy: respond_503 } } }, routes: [{ name: r, pool: a }]",
            &["pools.a.health.passive ejects_all_or_none"],
        ),
        (
            "routes: [{ name: r, pass: true, rewrite: { host: h }, request_headers: { remove: [x] } }]",
            &[],
        ),
    ] {
        let (tree, config) = load(&format!("{{ {text} }}"));
        assert_eq!(brief(&tree, &config), expected, "{text}");
    }
}

#[test]
fn timeouts_retries_and_copies_without_effect_are_found() {
    // The keys of the pools `a`, of clusters, and `e`, of five endpoints, then those of a route with
    // its action.
    for (a, e, route, expected) in [
        (
            "timeout: 5s, retry: { attempts: 2, per_try_timeout: 1s }",
            "",
            "pool: a",
            &[][..],
        ),
        (
            "timeout: 1s, retry: { attempts: 2, per_try_timeout: 1s }",
            "",
            "pool: a",
            &["pools.a.retry.per_try_timeout try_no_shorter"],
        ),
        (
            "timeout: 0s, retry: { attempts: 2, per_try_timeout: 1s }",
            "",
            "pool: a",
            &[],
        ),
        (
            "timeout: 1s",
            "",
            "pool: a, retry: { attempts: 2, per_try_timeout: 2s }",
            &["routes[0].retry.per_try_timeout try_no_shorter"],
        ),
        (
            "timeout: 1s",
            "",
            "pool: a, timeout: 3s, retry: { attempts: 2, per_try_timeout: 2s }",
            &[],
        ),
        // One part has no timeout of ours.
        (
            "timeout: 1s",
            "",
            "split: [{ pool: a }, { pool: e }], retry: { attempts: 2, per_try_timeout: 2s }",
            &[],
        ),
        ("retry: { attempts: 10 }", "", "pool: a", &[]),
        (
            "retry: { attempts: 11 }",
            "",
            "pool: a",
            &["pools.a.retry.attempts many_attempts"],
        ),
        ("", "retry: { attempts: 3 }", "pool: e", &[]),
        (
            "",
            "retry: { attempts: 4 }",
            "pool: e",
            &["pools.e.retry.attempts more_attempts_than_endpoints"],
        ),
        (
            "",
            "",
            "pool: e, retry: { attempts: 4 }",
            &["routes[0].retry.attempts more_attempts_than_endpoints"],
        ),
        (
            "",
            "",
            "redirect: { path: /x }, timeout: 1s, retry: { attempts: 1 }, mirror: { pool: a }",
            &[
                "routes[0].timeout no_effect",
                "routes[0].retry no_effect",
                "routes[0].mirror no_effect",
            ],
        ),
        (
            "",
            "",
            "pass: true, timeout: 1s, retry: { attempts: 1 }, mirror: { pool: a }",
            &[],
        ),
        (
            "",
            "",
            "pool: a, timeout: 1s, request_headers: { set: { X-Envoy-Upstream-Rq-Timeout-Ms: '1' } }",
            &["routes[0].request_headers edit_replaced"],
        ),
        (
            "",
            "",
            "pool: a, timeout: 1s, request_headers: { set: { x-envoy-max-retries: '1' } }",
            &[],
        ),
        ("", "", "pool: e, mirror: { pool: a, percent: 0.0001 }", &[]),
        (
            "",
            "",
            "pool: a, mirror: { pool: a }",
            &["routes[0].mirror.pool mirror_of_itself"],
        ),
        (
            "",
            "",
            "split: [{ pool: e }, { pool: a }], mirror: { pool: a, percent: 0 }",
            &[
                "routes[0].mirror.percent copies_nothing",
                "routes[0].mirror.pool mirror_of_itself",
            ],
        ),
    ] {
        let endpoints = [1, 2, 3, 4, 5].map(|port| format!("{{ endpoint: '127.0.0.1:{port}' }}"));
        let text = format!(
            "{{ pools: {{ a: {{ targets: [{{ cluster: c }}], {a} }},
                          e: {{ cluster: e, targets: [{}], {e} }} }},
                routes: [ {{ name: r, match: {{ path: {{ prefix: /r }} }}, {route} }},
                          {{ name: a, match: {{ path: {{ prefix: /a }} }}, pool: a }},
                          {{ name: e, match: {{ path: {{ prefix: /e }} }}, pool: e }} ] }}",
            endpoints.join(", ")
        );
        let (tree, config) = load(&text);
        assert_eq!(brief(&tree, &config), expected, "{text}");
    }
}

#[test]
fn cookies_are_told_apart_where_a_client_sends_both() {
    let pool = |name: &str, path: &str| {
        format!(
            "{{ targets: [{{ cluster: c }}], sticky: {{ cookie: {{ name: {name}, path: {path} }} }} }}"
        )
    };
    for (one, two, hosts, warned) in [
        (("s", "/"), ("s", "/"), ("a", "a"), true),
        (("s", "/"), ("t", "/"), ("a", "a"), false),
        (("s", "/"), ("s", "/a"), ("a", "'*'"), true),
        (("s", "/a"), ("s", "/a/b"), ("a", "a"), true),
        (("s", "/a"), ("s", "/ab"), ("a", "a"), false),
        (("s", "/a/"), ("s", "/a/b"), ("a", "a"), true),
        (("s", "/"), ("s", "/"), ("a", "b"), false),
        (("s", "/"), ("s", "/"), ("'*.b.a'", "'*.a'"), true),
        (("s", "/"), ("s", "/"), ("'*.b.a'", "'*.c.a'"), false),
    ] {
        let text = format!(
            "{{ pools: {{ one: {}, two: {} }}, routes: [
                {{ name: one, match: {{ hosts: [{}], methods: [GET] }}, pool: one }},
                {{ name: two, match: {{ hosts: [{}], methods: [POST] }}, pool: two }} ] }}",
            pool(one.0, one.1),
            pool(two.0, two.1),
            hosts.0,
            hosts.1
        );
        let (tree, config) = load(&text);
        let expected: &[&str] = if warned {
            &["pools.two.sticky.cookie.name same_cookie"]
        } else {
            &[]
        };
        assert_eq!(brief(&tree, &config), expected, "{text}");
    }
}

/// F9, F18 and S10: what is legal and certainly wrong, each with a neighbour that is not.
#[test]
fn what_is_certainly_wrong_is_told_and_its_neighbour_is_not() {
    let route = |rest: &str| format!("routes: [{{ name: r, {rest} }}]");
    let on = |conditions: &str| route(&format!("match: {{ {conditions} }}, pass: true"));
    let pool = |pool: &str, routes: &str| {
        format!(
            "pools: {{ p: {{ targets: [{{ cluster: c }}, {{ cluster: d }}], {pool} }} }}, {routes}"
        )
    };
    let sticky = "sticky: { cookie: { name: s } }";
    let to_p = "routes: [{ name: r, pool: p }]";
    let two = |one: &str, two: &str| {
        format!(
            "pools: {{ a: {{ targets: [{{ cluster: c }}], {one} }}, b: {{ targets: [{{ cluster: d }}], {two} }} }},
             routes: [{{ name: r, split: [{{ pool: a, weight: 95 }}, {{ pool: b, weight: 5 }}] }}]"
        )
    };
    let rows: Vec<(String, &[&str])> = vec![
        // A28: circles of redirects.
        (route("match: { path: { prefix: / } }, redirect: { path: /login }"), &["routes[0].redirect redirect_loop"]),
        (route("match: { path: { prefix: /old } }, redirect: { path: /login }"), &[]),
        (route("match: { hosts: [a.example] }, redirect: { host: a.example }"), &["routes[0].redirect redirect_loop"]),
        (route("match: { hosts: [a.example] }, redirect: { host: www.a.example }"), &[]),
        (route("match: { hosts: ['*.a.example'] }, redirect: { host: www.a.example }"), &["routes[0].redirect redirect_loop"]),
        (
            "routes: [{ name: a, match: { path: { exact: /a } }, redirect: { path: /b } }, { name: b, match: { path: { exact: /b } }, redirect: { path: /a } }]".to_owned(),
            &["routes[0].redirect redirect_loop"],
        ),
        (
            "routes: [{ name: a, match: { path: { exact: /a } }, redirect: { path: /b } }, { name: b, match: { path: { exact: /b } }, redirect: { path: /c } }]".to_owned(),
            &[],
        ),
        (route("match: { methods: [POST] }, redirect: { status: 303 }"), &[]),
        (route("match: { methods: [POST] }, redirect: { status: 307 }"), &["routes[0].redirect redirect_loop"]),
        (route("redirect: { status: 303 }"), &["routes[0].redirect redirect_loop"]),
        (route("redirect: { scheme: https }"), &["routes[0].redirect redirect_loop"]),
        (route("match: { scheme: http }, redirect: { scheme: https }"), &[]),
        (route("match: { path: { prefix: /a } }, redirect: { path_regex: { pattern: '/a', substitution: '/a/a' } }"), &["routes[0].redirect redirect_loop"]),
        // Another port is another listener, and a cookie that is set changes what is asked.
        (route("redirect: { port: 8443 }"), &[]),
        (route("redirect: { path: /x }, response_headers: { set: { set-cookie: a=b } }"), &[]),
        (route("match: { headers: [{ name: x, exact: a }] }, redirect: { path: /x }"), &["routes[0].redirect redirect_loop"]),
        // A29: a split that only one side holds.
        (two("sticky: { cookie: { name: s } }", ""), &["routes[0].split[1] split_drifts"]),
        (two("", "sticky: { cookie: { name: s } }"), &["routes[0].split[0] split_drifts"]),
        (two("sticky: { cookie: { name: s } }", "sticky: { cookie: { name: t } }"), &[]),
        (two("", ""), &[]),
        (two("sticky: { header: x }", ""), &[]),
        // A30: nothing frees a session.
        (pool(sticky, to_p), &["pools.p.sticky sessions_never_freed"]),
        (pool(&format!("{sticky}, health: {{ passive: {{}} }}"), to_p), &[]),
        (pool(&format!("{sticky}, health: {{ active: {{ path: / }} }}"), to_p), &[]),
        (pool("", to_p), &[]),
        // A31: a cookie's path.
        (
            pool("sticky: { cookie: { name: s, path: /app } }, health: { passive: {} }", "routes: [{ name: r, match: { path: { prefix: /shop } }, pool: p }]"),
            &["pools.p.sticky.cookie.path cookie_never_sent"],
        ),
        (
            pool("sticky: { cookie: { name: s, path: /app } }, health: { passive: {} }", "routes: [{ name: r, match: { path: { regex: '/apple/.*' } }, pool: p }]"),
            &["pools.p.sticky.cookie.path cookie_never_sent"],
        ),
        (
            pool("sticky: { cookie: { name: s, path: /app } }, health: { passive: {} }", "routes: [{ name: r, match: { path: { template: '/{x}/cart' } }, pool: p }]"),
            &[],
        ),
        (
            pool("sticky: { cookie: { name: s, path: /app } }, health: { passive: {} }", "routes: [{ name: r, match: [{ path: { prefix: /shop } }, { path: { prefix: /app/x } }], pool: p }]"),
            &[],
        ),
        // A cookie's domain.
        (
            pool("sticky: { cookie: { name: s, domain: b.example } }, health: { passive: {} }", "routes: [{ name: r, match: { hosts: [x.b.example, a.example] }, pool: p }]"),
            &["pools.p.sticky.cookie.domain cookie_never_taken"],
        ),
        (
            pool("sticky: { cookie: { name: s, domain: b.example } }, health: { passive: {} }", "routes: [{ name: r, match: { hosts: ['*.ab.example'] }, pool: p }]"),
            &["pools.p.sticky.cookie.domain cookie_never_taken"],
        ),
        (
            pool("sticky: { cookie: { name: s, domain: b.example } }, health: { passive: {} }", "routes: [{ name: r, match: [{ hosts: [x.b.example] }, { hosts: [b.example, '*.b.example'] }, { hosts: ['*.example'] }], pool: p }]"),
            &[],
        ),
        (
            pool("sticky: { cookie: { name: s, domain: b.example } }, health: { passive: {} }", to_p),
            &[],
        ),
        // What a value tells.
        (
            "explain: { header: x-why, token: 0123456789abcdef }, ".to_owned() + &route("pass: true, request_headers: { set: { x-a: '{header.X-Why}' } }"),
            &["routes[0].request_headers secret_told"],
        ),
        (
            "explain: { header: x-why, token: 0123456789abcdef }, ".to_owned() + &route("pass: true, request_headers: { set: { x-a: '{header.x-other}', x-b: 'x-why' } }"),
            &[],
        ),
        (
            "explain: { header: x-why, token: 0123456789abcdef }, ".to_owned() + &route("match: { path: { exact: /x } }, redirect: { path: '/y{header.x-why}' }"),
            &["routes[0].redirect secret_told"],
        ),
        (
            pool("sticky: { cookie: { name: s } }, health: { passive: {} }", "routes: [{ name: r, pool: p, response_headers: { add: { x-s: '{cookie.s}' } } }]"),
            &["routes[0].response_headers secret_told"],
        ),
        (
            pool("sticky: { cookie: { name: s, http_only: false } }, health: { passive: {} }", "routes: [{ name: r, pool: p, response_headers: { add: { x-s: '{cookie.s}' } } }]"),
            &[],
        ),
        (
            pool("sticky: { cookie: { name: s } }, health: { passive: {} }", "routes: [{ name: r, pool: p, request_headers: { add: { x-s: '{cookie.s}' } } }]"),
            &[],
        ),
        // A key behind one that every request has.
        (
            pool("balance: { consistent_hash: { key: [{ header: x }, path, { cookie: c }] } }", to_p),
            &["pools.p.balance.consistent_hash.key[2] unused_key"],
        ),
        (
            pool("balance: { consistent_hash: { key: [{ header: x }, { cookie: c }, path] } }", to_p),
            &[],
        ),
        // A32, A33: values that nobody sends.
        (on("headers: [{ name: x, exact: ' a' }]"), &["routes[0].match.headers[0] contradiction"]),
        (on("headers: [{ name: x, suffix: 'a ' }]"), &["routes[0].match.headers[0] contradiction"]),
        (on("headers: [{ name: x, suffix: ' a' }]"), &[]),
        (on("headers: [{ name: x, exact: ' a', invert: true }]"), &[]),
        (on("headers: [{ name: keep-alive, present: true }]"), &["routes[0].match.headers[0] contradiction"]),
        (on("headers: [{ name: upgrade, exact: websocket }]"), &[]),
        (on("path: { exact: /café }"), &["routes[0].match.path contradiction"]),
        (on("path: { prefix: /a/ü }"), &["routes[0].match.path contradiction"]),
        (on("path: { exact: /caf%C3%A9 }"), &[]),
        // A34: patterns that look anchored at one end.
        (on("path: { regex: '^/api' }"), &["routes[0].match.path.regex half_anchored"]),
        (on("headers: [{ name: user-agent, regex: 'bot$' }]"), &["routes[0].match.headers[0].regex half_anchored"]),
        (on("cookies: [{ name: a, regex: '^(x|y)' }]"), &["routes[0].match.cookies[0].regex half_anchored"]),
        (on("path: { regex: '^/api.*' }"), &[]),
        (on("path: { regex: '^/api$' }"), &[]),
        (on("headers: [{ name: user-agent, regex: '.*bot$' }]"), &[]),
        (on("headers: [{ name: user-agent, regex: '.*bot.*' }]"), &[]),
        // A35: wildcards of other programs.
        (on("path: { prefix: '/api/*' }"), &["routes[0].match.path.prefix literal_wildcard"]),
        (on("path: { exact: '/api/**' }"), &["routes[0].match.path.exact literal_wildcard"]),
        (on("path: { exact: '/static*' }"), &["routes[0].match.path.exact literal_wildcard"]),
        (on("path: { template: '/users/:id' }"), &["routes[0].match.path.template literal_wildcard"]),
        (on("path: { template: '/users/*' }"), &["routes[0].match.path.template literal_wildcard"]),
        (on("path: { template: '/users/{id}' }"), &[]),
        (on("path: { exact: '/v1/users:batch' }"), &[]),
        (on("path: { exact: '/10:30' }"), &[]),
        // A36
        ("client_ip: { header: Forwarded }".to_owned(), &["client_ip.header no_addresses"]),
        ("client_ip: { header: x-forwarded-for }".to_owned(), &[]),
        // A53: a hash cannot tell old clients from new ones.
        (
            "pools: { p: { targets: [{ cluster: c }, { cluster: d, state: draining }], sticky: { header: x } } }, routes: [{ name: r, pool: p }]".to_owned(),
            &["pools.p.sticky.header header_sessions_move"],
        ),
        (
            "pools: { p: { targets: [{ cluster: c }, { cluster: d, weight: 0 }], sticky: { header: x } } }, routes: [{ name: r, pool: p }]".to_owned(),
            &["pools.p.sticky.header header_sessions_move"],
        ),
        (
            "pools: { p: { targets: [{ cluster: c }, { cluster: d, state: down }], sticky: { header: x } } }, routes: [{ name: r, pool: p }]".to_owned(),
            &[],
        ),
        // Sessions without keys are anybody's to make.
        (
            "pools: { p: { targets: [{ cluster: c }, { cluster: d, weight: 0 }], health: { passive: {} }, sticky: { cookie: { name: s } } } }, routes: [{ name: r, pool: p }]".to_owned(),
            &["pools.p.sticky forgeable_session"],
        ),
        (
            "pools: { p: { targets: [{ cluster: c }, { cluster: d, state: draining }], health: { passive: {} }, sticky: { cookie: { name: s }, keys: [q7b1O0v5Z0m3nqGmI1Fh9m0r3yS7m8d2oJ3xQv1c5bE=] } } }, routes: [{ name: r, pool: p }]".to_owned(),
            &[],
        ),
        (
            "pools: { a: { targets: [{ cluster: c }], sticky: { cookie: { name: s } } }, b: { targets: [{ cluster: d }] } }, routes: [{ name: r, split: [{ pool: a, weight: 0 }, { pool: b }] }]".to_owned(),
            &["routes[0].split[0] forgeable_session"],
        ),
        ("explain: { header: x-why, token: a }".to_owned(), &["explain.token short_token"]),
        ("explain: { header: x-why, token: my-token }".to_owned(), &[]),
        (pool("health: { active: { path: /, interval: 10ms } }", to_p), &[]),
        (
            format!(
                "pools: {{ p: {{ targets: [{}], health: {{ active: {{ path: /, interval: 10ms }} }} }} }}, {to_p}",
                (0..30).map(|n| format!("{{ cluster: c{n} }}")).collect::<Vec<_>>().join(", ")
            ),
            &["pools.p.health.active.interval many_probes"],
        ),
        // Names that are one in metrics.
        (
            "pools: { a.target: { targets: [{ cluster: c }] }, a_target: { targets: [{ cluster: c }] } }, routes: [{ name: r, split: [{ pool: a.target }, { pool: a_target }] }]".to_owned(),
            &["pools.a_target same_metrics"],
        ),
        (
            "pools: { a.target: { targets: [{ cluster: c }] }, b_target: { targets: [{ cluster: c }] } }, routes: [{ name: r, split: [{ pool: a.target }, { pool: b_target }] }]".to_owned(),
            &[],
        ),
    ];
    for (text, expected) in rows {
        let (tree, config) = load(&format!("{{ {text} }}"));
        assert_eq!(brief(&tree, &config), expected, "{text}");
    }
}

/// F6: scalars that others read otherwise, in a plain file and in those of proxies.
#[test]
fn what_readers_of_yaml_read_differently_is_told_where_it_matters() {
    let told = |text: &str, refused: bool| -> Vec<String> {
        file_warnings(text, Path::new(""), refused)
            .into_iter()
            .filter(|warning| warning.kind == "read_differently")
            .map(|warning| warning.place)
            .collect()
    };
    let config = "rate_limits:\n  l: { requests: 010, per: 1s, key: [] }\nroutes:\n  - { name: no, pass: yes }\n";
    let plain = [
        "line 2: rate_limits.l.requests",
        "line 4: routes[0].name",
        "line 4: routes[0].pass",
    ];
    assert_eq!(told(config, false), plain);
    let indented = config.replace('\n', "\n    ");
    let plugin = format!("kind: WasmPlugin\nspec:\n  pluginConfig:\n    {indented}\n");
    assert_eq!(told(&plugin, false), ["line 5: rate_limits.l.requests"]);
    assert_eq!(told(&plugin, true).len(), 3);
    // Where a text is taken for a number with a point there is nothing to tell.
    let points = "routes:\n  - { name: a, mirror: { pool: p, percent: 0.05 }, timeout: 0.05 }\n";
    assert_eq!(told(points, false), ["line 2: routes[0].timeout"]);
    let quoted = config
        .replace("010", "10")
        .replace("no", "'no'")
        .replace("yes", "true");
    assert_eq!(told(&quoted, true), [""; 0]);
}

/// What is warned of in the files that we ship and test with. All of it is meant to be as it is.
#[test]
fn examples_raise_no_false_alarm() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    for directory in ["envoy-config", "tests/scenarios"] {
        let entries = root.join(directory).read_dir().unwrap();
        files.extend(entries.map(|entry| entry.unwrap().path()));
    }
    files.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "yaml")
    });
    // Those are for Prometheus.
    files.retain(|path| !path.ends_with("alerts.yaml") && !path.ends_with("alerts_test.yaml"));
    files.sort();
    files.push(root.join("filter/core/src/config/interface.yaml"));
    assert!(files.len() > 20, "{files:?}");
    let mut found = Vec::new();
    for file in &files {
        let tree = match file
            .components()
            .any(|part| part.as_os_str() == "scenarios")
        {
            true => serde_json::from_value(File::read(file).unwrap().config).unwrap(),
            false => configuration::read(file).unwrap(),
        };
        let config = environment::load_anywhere(&tree).unwrap();
        // Nor of the proxy's part of a file, nor of how it is read.
        let text = std::fs::read_to_string(file).unwrap();
        if file.starts_with(root.join("envoy-config")) {
            assert!(
                file_warnings(&text, file, false).is_empty(),
                "{}",
                file.display()
            );
        }
        let name = file.file_stem().unwrap().to_string_lossy();
        // Those of `variables::tests`: an example's secret is everybody's.
        let of_file = brief(&tree, &config).into_iter();
        let of_file = of_file.filter(|warning| !warning.ends_with(" published_secret"));
        found.extend(of_file.map(|warning| format!("{name}: {warning}")));
    }
    assert_eq!(found, EXPECTED);
}

/// The same of the files in the folders of `envoy-config`, and of what its pages show.
#[test]
fn folders_and_pages_of_envoy_config_raise_no_false_alarm() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../envoy-config");
    let is_secret = |warning: &String| warning.ends_with(" published_secret");
    let (mut files, mut blocks) = (0, 0);
    let mut folders = vec![root];
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let kind = path.extension().unwrap_or_default().to_string_lossy();
            let Ok(text) = std::fs::read_to_string(&path) else {
                continue;
            };
            let shown = path.display();
            if kind == "md" {
                for block in text.split("```yaml\n").skip(1) {
                    let (block, _) = block.split_once("```").unwrap();
                    blocks += usize::from(page_has_no_false_alarm(&shown.to_string(), block));
                }
            }
            // Those of other programs have nothing of ours.
            let (true, Ok(tree)) = (kind == "yaml", configuration::read(&path)) else {
                continue;
            };
            let Ok(config) = environment::load_anywhere(&tree) else {
                continue;
            };
            files += 1;
            assert!(file_warnings(&text, &path, false).is_empty(), "{shown}");
            let found = brief(&tree, &config).into_iter();
            let found: Vec<_> = found.filter(|it| !is_secret(it)).collect();
            assert_eq!(found, [""; 0], "{shown}");
        }
    }
    // Of the folders alone: Istio's three, Envoy Gateway's, Kubernetes', docker's, TLS, two tiers.
    assert!(files >= 16, "{files}");
    assert!(blocks >= 6, "{blocks}");
}

/// Whether a block of a page is a configuration. Pools that it leaves to the reader have a target.
fn page_has_no_false_alarm(page: &str, block: &str) -> bool {
    let mut tree: Json = configuration::to_json(&configuration::parse(block).unwrap());
    let keys = ["routes", "rate_limits", "pools", "protect"];
    if !keys.iter().any(|key| tree.get(key).is_some()) {
        return false;
    }
    let routes = tree["routes"].as_array().cloned().unwrap_or_default();
    for pool in routes.iter().filter_map(|route| route["pool"].as_str()) {
        if tree["pools"][pool].is_null() {
            tree["pools"][pool] = json!({ "targets": [{ "cluster": pool }] });
        }
    }
    if tree["routes"].is_null() {
        let limits: Vec<_> = tree["rate_limits"]
            .as_object()
            .into_iter()
            .flatten()
            .collect();
        let names: Vec<_> = limits.iter().map(|(name, _)| (*name).clone()).collect();
        tree["routes"] = json!([{ "name": "r", "rate_limits": names, "pass": true }]);
    }
    let (tree, config) = load(&tree.to_string());
    assert_eq!(brief(&tree, &config), [""; 0], "{page}: {block}");
    true
}

const EXPECTED: &[&str] = &[
    "balance: pools.nobody.targets no_weight",
    "bytes: routes[2].rate_limits limit_on_redirect",
    "bytes: routes[3].rate_limits limit_on_redirect",
    "bytes: routes[3].redirect redirect_loop",
    "explain: explain.token short_token",
    "explain: pools.down.targets no_weight",
    "explain: pools.empty.targets no_weight",
    "failover: pools.also-circle.targets no_weight",
    "failover: pools.also-circle.failover unused_failover",
    "failover: pools.also-down.targets no_weight",
    "failover: pools.also-down.failover unused_failover",
    "failover: pools.circle.targets no_weight",
    "failover: pools.down.targets no_weight",
    "failover: pools.far.targets no_weight",
    "failover: pools.green.sticky sessions_never_freed",
    "failover: pools.leaving.targets no_weight",
    "failover: pools.leaving.sticky forgeable_session",
    "failover: pools.spare.sticky sessions_never_freed",
    "failover: routes[0].split[1] forgeable_session",
    "failover: routes[1].split[0] forgeable_session",
    "hash: pools.nobody.targets no_weight",
    "hash: pools.sticky.sticky sessions_never_freed",
    "hash: pools.sticky.sticky forgeable_session",
    "hash: pools.sticky.sticky.header header_sessions_move",
    "hosts: routes[2] unreachable_route",
    "max_in_flight: pools.alone.health.passive never_ejects",
    "max_in_flight: pools.full-too.targets no_weight",
    "max_in_flight: pools.sticky.sticky sessions_never_freed",
    "mirror: pools.gone.targets no_weight",
    "path: routes[13] unreachable_route",
    "query_edit: routes[5].redirect redirect_loop",
    "redirect: routes[5].redirect redirect_loop",
    "redirect: routes[6].redirect redirect_loop",
    "redirect: routes[14].redirect redirect_loop",
    "region: pools.sticky.sticky sessions_never_freed",
    "sticky: pools.by-header.sticky.header header_sessions_move",
    "sticky: pools.plain.sticky sessions_never_freed",
    "sticky: pools.plain.sticky forgeable_session",
    "sticky: pools.rotated.sticky sessions_never_freed",
    "sticky: pools.states.sticky sessions_never_freed",
    "sticky: pools.twin.sticky sessions_never_freed",
    "sticky: pools.web.sticky sessions_never_freed",
    "sticky: routes[7].split[2] split_drifts",
    "sticky: routes[10].split[1] split_drifts",
    "values: pools.none.targets no_weight",
    "interface: rate_limits.login unused_rate_limit",
];

/// Any configuration of few words, so that routes often meet.
fn table(random: &mut fastrand::Rng) -> Json {
    let pick = |random: &mut fastrand::Rng, words: &[&str]| {
        random
            .choice(words.iter().copied())
            .unwrap_or_default()
            .to_owned()
    };
    let block = |random: &mut fastrand::Rng| {
        let mut block = json!({});
        if random.u8(..3) == 0 {
            let hosts: Vec<_> = (0..random.usize(1..4))
                .map(|_| pick(random, &["a", "b", "a.b", "b.b", "*.b", "*.a.b", "*"]))
                .collect();
            block["hosts"] = json!(hosts);
        }
        if random.u8(..4) > 0 {
            let segments: Vec<_> = (0..random.usize(0..4))
                .map(|_| pick(random, &["a", "b", "A", ""]))
                .collect();
            let literal = format!("/{}", segments.join("/"));
            let templates = [
                "/{x}",
                "/a/{x}",
                "/{x}/b",
                "/a/{x=**}",
                "/{x}/{y=**}",
                "/a/b",
                "/{y=**}",
                "/A/{x}/",
            ];
            let regexes = [
                "/a.*",
                "/a/.*",
                "/a(/.*)?",
                ".*",
                "/.*",
                "/(a|b)",
                "/a/b?",
                "/A(?-i)/b",
                "/a",
                "/[ab]/a",
            ];
            block["path"] = match random.u8(..4) {
                0 => json!({ "exact": literal }),
                1 => json!({ "prefix": literal }),
                2 => json!({ "template": pick(random, &templates) }),
                _ => json!({ "regex": pick(random, &regexes) }),
            };
            if random.u8(..4) == 0 {
                block["ignore_case"] = json!(true);
            }
        }
        if random.u8(..5) == 0 {
            let methods: Vec<_> = (0..random.usize(1..3))
                .map(|_| pick(random, &["GET", "POST"]))
                .collect();
            block["methods"] = json!(methods);
        }
        if random.u8(..8) == 0 {
            block["scheme"] = json!(pick(random, &["http", "https"]));
        }
        for key in ["headers", "cookies", "query"] {
            if random.u8(..4) > 0 {
                continue;
            }
            let conditions = (0..random.usize(1..3)).map(|_| {
                let kind = pick(random, &["exact", "prefix", "suffix", "contains", "regex", "present"]);
                let value = match kind.as_str() {
                    "present" => json!(random.bool()),
                    "regex" => json!(pick(random, &["1.*", "[12]", ".*", "12"])),
                    _ => json!(pick(random, &["1", "2", "12", ""])),
                };
                json!({ "name": pick(random, &["x", "x", "y"]), kind: value, "invert": random.u8(..3) == 0 })
            });
            block[key] = conditions.collect();
        }
        if random.u8(..6) == 0 {
            let networks: Vec<_> = (0..random.usize(1..3))
                .map(|_| {
                    pick(
                        random,
                        &["10.0.0.0/8", "10.1.0.0/16", "10.1.1.1", "::/0", "0.0.0.0/0"],
                    )
                })
                .collect();
            block["client_ip"] = json!(networks);
        }
        block
    };
    let routes = (0..random.usize(2..9)).map(|at| {
        let blocks: Vec<_> = (0..random.usize(1..3)).map(|_| block(random)).collect();
        json!({ "name": at.to_string(), "match": blocks, "pass": true })
    });
    json!({ "routes": routes.collect::<Vec<_>>() })
}

fn request(random: &mut fastrand::Rng) -> ExchangeRequest {
    let pick = |random: &mut fastrand::Rng, words: &[&str]| {
        random
            .choice(words.iter().copied())
            .unwrap_or_default()
            .to_owned()
    };
    let values = ["1", "2", "12", "21", "", "121"];
    let pair = |random: &mut fastrand::Rng| {
        format!("{}={}", pick(random, &["x", "y"]), pick(random, &values))
    };
    let segments: Vec<_> = (0..random.usize(0..4))
        .map(|_| pick(random, &["a", "b", "A", "", "ab", "c"]))
        .collect();
    let query: Vec<_> = (0..random.usize(0..3)).map(|_| pair(random)).collect();
    let scheme = pick(random, &["http", "https"]);
    let host = pick(random, &["a", "b", "a.b", "b.b", "c.a.b", "c", "B:80"]);
    let url = format!(
        "{scheme}://{host}/{}?{}",
        segments.join("/"),
        query.join("&")
    );
    let mut headers = Vec::new();
    for _ in 0..random.usize(0..3) {
        headers.push((
            pick(random, &["x", "y"]).into_bytes(),
            pick(random, &values).into_bytes(),
        ));
    }
    for _ in 0..random.usize(0..3) {
        headers.push((b"cookie".to_vec(), pair(random).into_bytes()));
    }
    let method = pick(random, &["GET", "POST", "PUT"]);
    let request = ExchangeRequest::new(method.as_bytes(), url.as_bytes());
    let target = match random.u8(..20) {
        0 => Some(b"*".to_vec()),
        1 => Some(Vec::new()),
        _ => None,
    };
    let request = request.unwrap();
    ExchangeRequest {
        headers,
        client_ip: pick(
            random,
            &[
                "10.1.1.1",
                "10.1.2.3",
                "10.2.0.0",
                "11.1.1.1",
                "2001:db8::1",
            ],
        )
        .parse()
        .ok(),
        target: target.unwrap_or(request.target.clone()),
        ..request
    }
}

#[test]
fn what_is_said_never_to_match_matches_no_request() {
    const SEED: u64 = 0x0063_6865_636b;
    let mut random = fastrand::Rng::with_seed(SEED);
    let (mut routes, mut blocks) = (0, 0);
    for number in 0..1_500 {
        let text = table(&mut random).to_string();
        let (tree, config) = load(&text);
        let index = Index::new(&config.routes);
        let warnings = warnings(&tree, &config);
        // `routes[3].match[1]…`
        let numbers = |place: &str| -> Vec<usize> {
            place
                .split(['[', ']'])
                .filter_map(|part| part.parse().ok())
                .collect()
        };
        let taken_by = |request: &ExchangeRequest| {
            crate::explain::with_request(&config, request, |request, client| {
                index.find(&config.routes, request, client)
            })
        };
        let mut dead_routes = Vec::new();
        let mut dead_blocks: Vec<Found> = Vec::new();
        let mut without_path: Vec<Found> = Vec::new();
        for warning in &warnings {
            let at = numbers(&warning.place);
            match warning.kind {
                "unreachable_route" => dead_routes.push(RouteIndex::new(at[0])),
                "only_without_path" => without_path.push(Found {
                    route: RouteIndex::new(at[0]),
                    block: at.get(1).copied().unwrap_or_default(),
                }),
                "unreachable_block" | "contradiction" => dead_blocks.push(Found {
                    route: RouteIndex::new(at[0]),
                    block: at[1],
                }),
                "repeated" if warning.place.ends_with(&format!("match[{}]", at[1])) => {
                    dead_blocks.push(Found {
                        route: RouteIndex::new(at[0]),
                        block: at[1],
                    });
                }
                _ => continue,
            }
            if let Some((request, name)) = &warning.example {
                let found = taken_by(request).unwrap();
                assert_eq!(
                    &*config.routes[found.route.get()].name,
                    name,
                    "seed {SEED}, table {number}: {text}"
                );
                assert!(
                    found.route.get() < at[0] && warning.shadowed_by.contains(name),
                    "seed {SEED}, table {number}: {text}"
                );
                let alone = config.routes[at[0]].blocks.iter();
                let matches = crate::explain::with_request(&config, request, |request, client| {
                    alone
                        .into_iter()
                        .any(|block| block.matches(request, client))
                });
                assert!(matches, "seed {SEED}, table {number}: {warning:?}\n{text}");
            } else {
                assert!(!warning.kind.starts_with("unreachable"));
            }
        }
        routes += dead_routes.len();
        blocks += dead_blocks.len();
        if dead_routes.is_empty() && dead_blocks.is_empty() && without_path.is_empty() {
            continue;
        }
        for _ in 0..400 {
            let request = request(&mut random);
            if let Some(found) = taken_by(&request) {
                assert!(
                    !(request.target.starts_with(b"/") && without_path.contains(&found)),
                    "seed {SEED}, table {number}: {found:?} takes {request:?}\n{warnings:#?}\n{text}"
                );
                assert!(
                    !dead_routes.contains(&found.route) && !dead_blocks.contains(&found),
                    "seed {SEED}, table {number}: {found:?} takes {request:?}\n{warnings:#?}\n{text}"
                );
            }
        }
    }
    // The law is about something.
    assert!(
        routes > 500 && blocks > 500,
        "{routes} routes, {blocks} blocks"
    );
}

/// 100,000 routes take seconds to parse: what `check` does with a file must not parse it again for
/// each question.
#[test]
fn a_file_is_parsed_once() {
    let parsed = || crate::yaml::PARSED.with(|parsed| parsed.take());
    let filter = "{ '@type': type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm, \
                  config: { configuration: { '@type': type.googleapis.com/google.protobuf.Struct, \
                  value: { routes: [{ name: a, pass: true }] } } } }";
    for (text, expected) in [
        ("routes: [{ name: a, pass: true }]".to_owned(), 1),
        (format!("resources: [{filter}]"), 1),
        // What readers read differently: as its reader reads it, and as we do.
        ("routes: [{ name: a, pass: !!bool true }]".to_owned(), 2),
        (format!("resources: [{filter}, {{ a: no }}]"), 2),
    ] {
        parsed();
        let source = ParsedText::new(&text);
        let parts = source.parts(Path::new("")).unwrap();
        assert_eq!(parts.len(), 1);
        let (_, notes) = around(&source, Path::new(""), false);
        assert!(notes.is_empty(), "{notes:?}");
        assert_eq!(parsed(), expected, "{text}");
    }
}

//! Every field of an Ingress and every annotation is carried over or named.

use crate::{Document, InputFile, NotCarried, Options, Output, documents};
use serde_json::{Value, json};

/// An Ingress with these annotations (their names without the prefix) and these keys of `spec`.
fn ingress(annotations: &str, spec: &str) -> String {
    let annotations = annotations.replace("@", super::annotations::PREFIX);
    format!(
        "{{ apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {{ name: i, namespace: n, \
            annotations: {{ {annotations} }} }}, spec: {{ {spec} }} }}"
    )
}

const PATH: &str = "rules: [{ host: a.com, http: { paths: [{ path: /p, pathType: Exact, \
                    backend: { service: { name: web, port: { number: 80 } } } }] } }]";

fn annotated(annotations: &str) -> String {
    ingress(annotations, PATH)
}

fn documents(text: &str) -> Vec<Document> {
    let [name, text] = ["f", text].map(str::to_owned);
    documents::read(&[InputFile { name, text }]).unwrap()
}

fn imported(text: &str) -> Output {
    super::import(documents(text), &Options::default())
}

fn named(text: &str) -> Vec<String> {
    let not_carried = imported(text).not_carried.into_iter();
    let paths = not_carried.map(|NotCarried { path, .. }| path);
    paths
        .map(|path| {
            path.replace("Ingress n/i: ", "")
                .replace(super::annotations::PREFIX, "@")
        })
        .collect()
}

enum Becomes {
    /// The configuration has this at this place.
    Carried(&'static str, Value),
    /// It is named by its place.
    Named(&'static str),
    /// It is carried over without anything of its own, or says nothing.
    Silent,
}
use Becomes::{Carried, Named, Silent};

#[test]
fn every_field_is_carried_over_or_named() {
    let spec = |spec: &str| ingress("", spec);
    let path = |keys: &str| {
        spec(&format!(
            "rules: [{{ host: a.com, http: {{ paths: [{{ {keys} }}] }} }}]"
        ))
    };
    let backend = "backend: { service: { name: web, port: { number: 80 } } }";
    let at = |name: &'static str| Named(name);
    let rows: Vec<(String, Becomes)> = vec![
        (spec("ingressClassName: nginx"), Silent),
        (annotated("kubernetes.io/ingress.class: nginx"), Silent),
        (spec("other: 1"), at("spec.other")),
        (
            spec("defaultBackend: { service: { name: d, port: { number: 1 } } }"),
            Carried("/routes/0/pool", json!("n/d/1")),
        ),
        (
            spec("defaultBackend: { resource: { kind: a } }"),
            at("spec.defaultBackend.resource"),
        ),
        (
            spec("tls: [{ secretName: s }]"),
            at("spec.tls[0].secretName"),
        ),
        (spec("tls: [{ other: s }]"), at("spec.tls[0].other")),
        (
            spec(&format!("tls: [{{ hosts: [a.com] }}], {PATH}")),
            Carried(
                "/routes/0/redirect",
                json!({ "scheme": "https", "status": 308 }),
            ),
        ),
        (
            path(&format!("path: /p, pathType: Exact, {backend}")),
            Carried(
                "/routes/0/match",
                json!({ "hosts": ["a.com"], "path": { "exact": "/p" } }),
            ),
        ),
        (
            path(&format!("path: /p, pathType: Prefix, {backend}")),
            Carried("/routes/0/match/path", json!({ "prefix": "/p" })),
        ),
        (
            path(&format!(
                "path: /p, pathType: ImplementationSpecific, {backend}"
            )),
            Carried("/routes/0/match/path", json!({ "regex": "/p.*" })),
        ),
        (
            path(&format!("pathType: Prefix, {backend}")),
            Carried("/routes/0/match/path", json!({ "prefix": "/" })),
        ),
        (
            path(&format!("path: /p, pathType: Some, {backend}")),
            at("spec.rules[0].http.paths[0].pathType"),
        ),
        (
            path(&format!("path: p, {backend}")),
            at("spec.rules[0].http.paths[0].path"),
        ),
        (
            path(&format!("other: p, {backend}")),
            at("spec.rules[0].http.paths[0].other"),
        ),
        (path("path: /p"), at("spec.rules[0].http.paths[0].backend")),
        (
            path("path: /p, backend: { service: { name: web, port: { name: http } } }"),
            Carried("/routes/0/pool", json!("n/web/http")),
        ),
        (
            path("path: /p, backend: { service: { name: web, other: 1 } }"),
            at("spec.rules[0].http.paths[0].backend.service.other"),
        ),
        (
            path("path: /p, backend: { resource: { kind: x } }"),
            at("spec.rules[0].http.paths[0].backend.resource"),
        ),
        (
            path("path: /p, backend: { resource: { kind: x } }"),
            Carried("/routes/0/respond/status", json!(503)),
        ),
        (
            spec("rules: [{ host: a.com, other: 1 }]"),
            at("spec.rules[0].other"),
        ),
        // Annotations.
        (
            annotated("example.com/a: b"),
            at("metadata.annotations[\"example.com/a\"]"),
        ),
        (
            annotated("@unheard-of: b"),
            at("metadata.annotations[\"@unheard-of\"]"),
        ),
        (
            annotated("@auth-url: 'http://a'"),
            at("metadata.annotations[\"@auth-url\"]"),
        ),
        (
            annotated("@auth-url: 'http://a'"),
            Carried("/routes/0/respond/status", json!(403)),
        ),
        (
            annotated("@permanent-redirect: 'https://b.com/c'"),
            Carried("/routes/0/redirect/status", json!(301)),
        ),
        (
            annotated("@permanent-redirect: 'https://b.com/c', @permanent-redirect-code: '308'"),
            Carried("/routes/0/redirect/status", json!(308)),
        ),
        (
            annotated("@permanent-redirect: 'https://$x/'"),
            at("metadata.annotations[\"@permanent-redirect\"]"),
        ),
        (
            annotated("@temporal-redirect: 'https://b.com/c'"),
            Carried("/routes/0/redirect/status", json!(302)),
        ),
        (
            annotated("@force-ssl-redirect: 'true'"),
            Carried("/routes/0/match/scheme", json!("http")),
        ),
        (
            annotated("@ssl-redirect: 'maybe'"),
            at("metadata.annotations[\"@ssl-redirect\"]"),
        ),
        (
            annotated("@app-root: /app"),
            Carried("/routes/0/redirect/path", json!("/app")),
        ),
        (
            annotated("@app-root: app"),
            at("metadata.annotations[\"@app-root\"]"),
        ),
        (
            annotated("@server-alias: 'b.com, c.com'"),
            Carried("/routes/0/match/hosts", json!(["a.com", "b.com", "c.com"])),
        ),
        (
            annotated("@server-alias: '~^x$'"),
            at("metadata.annotations[\"@server-alias\"]"),
        ),
        (
            annotated("@from-to-www-redirect: 'true'"),
            Carried("/routes/0/match/hosts", json!(["www.a.com"])),
        ),
        (
            annotated("@whitelist-source-range: '10.0.0.0/8'"),
            Carried("/routes/0/match/client_ip", json!(["10.0.0.0/8"])),
        ),
        (
            annotated("@allowlist-source-range: '10.0.0.0/8'"),
            Carried("/routes/1/respond/status", json!(403)),
        ),
        (
            annotated("@denylist-source-range: '10.0.0.0/8'"),
            Carried("/routes/0/respond/status", json!(403)),
        ),
        (
            annotated("@denylist-source-range: 'x'"),
            at("metadata.annotations[\"@denylist-source-range\"]"),
        ),
        (
            annotated("@limit-rps: '10'"),
            Carried(
                "/rate_limits/n~1i~1rps",
                json!({ "requests": 10, "per": "1s", "burst": 51, "key": [{ "client_ip": { "v4": 32, "v6": 128 } }], "respond": { "status": 503 } }),
            ),
        ),
        (
            annotated("@limit-rpm: '10', @limit-burst-multiplier: '2'"),
            Carried("/rate_limits/n~1i~1rpm/burst", json!(21)),
        ),
        (
            annotated("@limit-rps: 'x'"),
            at("metadata.annotations[\"@limit-rps\"]"),
        ),
        (
            annotated("@limit-rps: '1', @limit-whitelist: 10.0.0.0/8"),
            Carried("/routes/0/match/client_ip", json!(["10.0.0.0/8"])),
        ),
        (
            annotated("@limit-connections: '1'"),
            at("metadata.annotations[\"@limit-connections\"]"),
        ),
        (
            annotated("@rewrite-target: /b"),
            Carried(
                "/routes/0/rewrite/path_regex",
                json!({ "pattern": "(?i)^/p.*$", "substitution": "/b" }),
            ),
        ),
        (
            annotated("@rewrite-target: /$host"),
            at("metadata.annotations[\"@rewrite-target\"]"),
        ),
        (
            annotated("@use-regex: 'true'"),
            Carried("/routes/0/match/path", json!({ "regex": "(?i:/p).*" })),
        ),
        (
            annotated("@upstream-vhost: b.com"),
            Carried("/routes/0/rewrite/host", json!("b.com")),
        ),
        (
            annotated("@upstream-vhost: $x"),
            at("metadata.annotations[\"@upstream-vhost\"]"),
        ),
        (
            annotated("@x-forwarded-prefix: /x"),
            Carried(
                "/routes/0/request_headers/set",
                json!({ "x-forwarded-prefix": "/x" }),
            ),
        ),
        (
            annotated("@affinity: cookie"),
            Carried(
                "/pools/n~1web~180/sticky/cookie",
                json!({ "name": "INGRESSCOOKIE", "path": "/p" }),
            ),
        ),
        (
            annotated("@affinity: cookie"),
            at("metadata.annotations[\"@affinity\"]"),
        ),
        (
            annotated("@affinity: ip"),
            at("metadata.annotations[\"@affinity\"]"),
        ),
        (
            annotated(
                "@affinity: cookie, @session-cookie-name: s, @session-cookie-path: /, @session-cookie-domain: a.com, @session-cookie-expires: '60', @session-cookie-samesite: Lax, @session-cookie-secure: 'true'",
            ),
            Carried(
                "/pools/n~1web~180/sticky/cookie",
                json!({ "name": "s", "path": "/", "domain": "a.com", "ttl": "60s", "same_site": "lax", "secure": true }),
            ),
        ),
        (
            annotated(
                "@affinity: cookie, @session-cookie-max-age: '60', @session-cookie-expires: '70'",
            ),
            at("metadata.annotations[\"@session-cookie-expires\"]"),
        ),
        (
            annotated("@session-cookie-name: s"),
            at("metadata.annotations[\"@session-cookie-name\"]"),
        ),
        (
            annotated("@affinity-mode: persistent"),
            at("metadata.annotations[\"@affinity-mode\"]"),
        ),
        (
            annotated("@permanent-redirect-code: '308'"),
            at("metadata.annotations[\"@permanent-redirect-code\"]"),
        ),
        (
            annotated("@limit-whitelist: 10.0.0.0/8"),
            at("metadata.annotations[\"@limit-whitelist\"]"),
        ),
        (
            annotated("@affinity: cookie, @affinity-mode: odd"),
            at("metadata.annotations[\"@affinity-mode\"]"),
        ),
        (
            annotated("@session-cookie-change-on-failure: 'true'"),
            at("metadata.annotations[\"@session-cookie-change-on-failure\"]"),
        ),
        (
            annotated("@load-balance: ewma"),
            Carried("/pools/n~1web~180/balance", json!("least_response_time")),
        ),
        (
            annotated("@load-balance: odd"),
            at("metadata.annotations[\"@load-balance\"]"),
        ),
        (
            annotated("@upstream-hash-by: $arg_x"),
            Carried(
                "/pools/n~1web~180/balance",
                json!({ "consistent_hash": { "key": { "query": "x" } } }),
            ),
        ),
        (
            annotated("@upstream-hash-by: $remote_addr"),
            Carried(
                "/pools/n~1web~180/balance/consistent_hash/key",
                json!("client_ip"),
            ),
        ),
        (
            annotated("@upstream-hash-by: $a$b"),
            at("metadata.annotations[\"@upstream-hash-by\"]"),
        ),
        (
            annotated("@proxy-read-timeout: '5'"),
            at("metadata.annotations[\"@proxy-read-timeout\"]"),
        ),
        (
            annotated("@default-backend: d"),
            at("metadata.annotations[\"@default-backend\"]"),
        ),
        (
            annotated("@server-snippet: x"),
            at("metadata.annotations[\"@server-snippet\"]"),
        ),
        (
            annotated("@canary-weight: '5'"),
            at("metadata.annotations[\"@canary-weight\"]"),
        ),
    ];
    for (text, becomes) in &rows {
        let places = named(text);
        match becomes {
            Named(place) => assert!(places.iter().any(|it| it == place), "{text}\n{places:?}"),
            Silent => assert_eq!(places, Vec::<String>::new(), "{text}"),
            Carried(at, expected) => {
                let found = imported(text).to_json();
                assert_eq!(found.pointer(at), Some(expected), "{text}\n{found:#}");
            }
        }
    }
}

#[test]
fn a_canary_is_chosen_by_header_cookie_and_weight() {
    let canary = |annotations: &str| {
        let canary = annotated(&format!("@canary: 'true', {annotations}"))
            .replace("name: i", "name: c")
            .replace("name: web", "name: new");
        imported(&format!("{}\n---\n{canary}", annotated("")))
    };
    for (annotations, at, expected) in [
        (
            "@canary-by-header: x",
            "/routes/0/match/headers",
            json!([{ "name": "x", "exact": "always" }]),
        ),
        (
            "@canary-by-header: x",
            "/routes/1/match/headers",
            json!([{ "name": "x", "exact": "never" }]),
        ),
        (
            "@canary-by-header: x, @canary-by-header-value: v",
            "/routes/0/match/headers",
            json!([{ "name": "x", "exact": "v" }]),
        ),
        (
            "@canary-by-header: x, @canary-by-header-pattern: v",
            "/routes/0/match/headers/0/regex",
            json!("(?s:.*)(?:v)(?s:.*)"),
        ),
        (
            "@canary-by-cookie: x",
            "/routes/0/match/cookies",
            json!([{ "name": "x", "exact": "always" }]),
        ),
        (
            "@canary-weight: '30'",
            "/routes/0/split",
            json!([{ "pool": "n/web/80", "weight": 70 }, { "pool": "n/new/80", "weight": 30 }]),
        ),
        (
            "@canary-weight: '30', @canary-weight-total: '300'",
            "/routes/0/split/0/weight",
            json!(270),
        ),
        ("@canary-weight: '100'", "/routes/0/pool", json!("n/new/80")),
        ("@canary-weight: '0'", "/routes/0/pool", json!("n/web/80")),
    ] {
        let output = canary(annotations);
        let found = output.to_json();
        assert_eq!(
            found.pointer(at),
            Some(&expected),
            "{annotations}\n{found:#}"
        );
        assert!(output.not_carried.is_empty(), "{:?}", output.not_carried);
    }
    let others = canary("@limit-rps: '5', @canary-unheard: '1'").not_carried;
    assert_eq!(others.len(), 2, "{others:?}");
    let alone = imported(&annotated("@canary: 'true'"));
    assert_eq!(
        alone.not_carried[0].path,
        "Ingress n/i: spec.rules[0].http.paths[0]"
    );
}

/// The controller gives the location of all other paths the annotations of the first Ingress of the
/// host: who may not pass elsewhere may not pass there either.
#[test]
fn the_default_backend_is_as_closed_as_the_paths() {
    let all =
        format!("defaultBackend: {{ service: {{ name: d, port: {{ number: 1 }} }} }}, {PATH}");
    let default = |annotations: &str, spec: &str| {
        let output = imported(&ingress(annotations, spec)).to_json();
        let routes = output["routes"].as_array().unwrap().iter();
        let of_default = routes.filter(|route| {
            let name = route["name"].as_str().unwrap();
            name.starts_with("n/i/default")
        });
        of_default
            .map(|route| {
                let mut route = route.clone();
                route.as_object_mut().unwrap().remove("name");
                route
            })
            .collect::<Vec<_>>()
    };
    let rest = json!({ "hosts": ["a.com"], "path": { "prefix": "/" } });
    let closed = json!({ "match": rest, "respond": { "status": 403 } });
    let open = json!({ "match": rest, "pool": "n/d/1" });
    assert_eq!(default("", &all), [open]);
    assert_eq!(
        default("@auth-url: 'http://a/'", &all),
        std::slice::from_ref(&closed)
    );
    let allowed = default("@whitelist-source-range: 10.0.0.0/8", &all);
    assert_eq!(allowed[0]["match"]["client_ip"], json!(["10.0.0.0/8"]));
    assert_eq!(allowed[1..], [closed]);
    let limited = default("@limit-rps: '5'", &all);
    assert_eq!(limited[0]["rate_limits"], json!(["n/i/rps"]));
    // It is a redirect where the whole Ingress is one, with a default backend and without.
    for spec in [&*all, PATH] {
        let moved = default("@permanent-redirect: 'https://b.com/'", spec);
        assert_eq!(moved[0]["redirect"]["status"], json!(301), "{spec}");
    }
    // Of all other hosts only by an Ingress without rules, and not where it redirects.
    let only = "defaultBackend: { service: { name: d, port: { number: 1 } } }";
    let redirect = "@permanent-redirect: 'https://b.com/', @denylist-source-range: 10.0.0.0/8";
    let catch_all = default(redirect, only);
    assert_eq!(catch_all[0]["match"]["client_ip"], json!(["10.0.0.0/8"]));
    assert_eq!(catch_all[1]["pool"], json!("n/d/1"));
}

/// nginx compares paths decoded, the configuration as they came.
#[test]
fn a_path_is_one_that_a_client_can_send() {
    let of = |kind: &str, path: &str| {
        let spec = PATH
            .replace("/p,", &format!("{path},"))
            .replace("Exact", kind);
        imported(&ingress("", &spec)).to_json()["routes"][0]["match"]["path"].clone()
    };
    assert_eq!(of("Exact", "'/a b'"), json!({ "exact": "/a%20b" }));
    assert_eq!(of("Prefix", "/café"), json!({ "prefix": "/caf%C3%A9" }));
    let pattern = json!({ "regex": "/a%20b\\.c.*" });
    assert_eq!(of("ImplementationSpecific", "'/a b.c'"), pattern);
    assert_eq!(of("Exact", "/%41~(x)"), json!({ "exact": "/%41~(x)" }));
}

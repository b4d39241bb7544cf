//! Every field of the specification is carried over or named.

use crate::{Document, InputFile, NotCarried, Options, Output, documents};
use serde_json::{Value, json};

/// An `HTTPRoute` with these keys of `spec`.
fn http(spec: &str) -> String {
    format!(
        "{{ apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, \
            metadata: {{ name: r, namespace: n }}, spec: {{ {spec} }} }}"
    )
}

fn grpc(spec: &str) -> String {
    http(spec).replace("HTTPRoute", "GRPCRoute")
}

/// One rule with a backend and these keys.
fn rule(keys: &str) -> String {
    http(&format!(
        "rules: [{{ backendRefs: [{{ name: web, port: 80 }}], {keys} }}]"
    ))
}

fn imported(text: &str) -> Output {
    let options = Options {
        gateway: None,
        ..Options::default()
    };
    super::import(documents(text), &options)
}

fn documents(text: &str) -> Vec<Document> {
    let [name, text] = ["f", text].map(str::to_owned);
    documents::read(&[InputFile { name, text }]).unwrap()
}

/// The places that were named.
fn named(text: &str) -> Vec<String> {
    let not_carried = imported(text).not_carried.into_iter();
    let paths = not_carried.map(|NotCarried { path, .. }| path.replace("HTTPRoute n/r: ", ""));
    paths.collect()
}

/// What becomes of a field.
enum Becomes {
    /// The configuration's first route has this at this place.
    Route(&'static str, Value),
    /// The configuration's first pool has this at this place.
    Pool(&'static str, Value),
    /// It is named by its place.
    Named(&'static str),
    /// It says nothing about where requests go.
    Bookkeeping,
}
use Becomes::{Bookkeeping, Named, Pool, Route};

#[test]
fn every_field_is_carried_over_or_named() {
    let matched = |keys: &str| rule(&format!("matches: [{{ {keys} }}]"));
    let filter = |keys: &str| rule(&format!("filters: [{{ {keys} }}]"));
    let backend = |keys: &str| {
        http(&format!(
            "rules: [{{ backendRefs: [{{ name: web, port: 80, {keys} }}, {{ name: b, port: 81 }}] }}]"
        ))
    };
    let session = |keys: &str| rule(&format!("sessionPersistence: {{ {keys} }}"));
    let parent = |keys: &str| http(&format!("parentRefs: [{{ name: g, {keys} }}], rules: []"));
    let call = |keys: &str| {
        grpc(&format!(
            "rules: [{{ backendRefs: [{{ name: web, port: 80 }}], {keys} }}]"
        ))
    };
    let metadata = |keys: &str| rule("").replace("namespace: n", &format!("namespace: n, {keys}"));
    let rows: Vec<(String, Becomes)> = vec![
        // The object.
        (
            rule("").replace("spec:", "status: { parents: [] }, spec:"),
            Bookkeeping,
        ),
        (rule("").replace("spec:", "extra: 1, spec:"), Named("extra")),
        (
            metadata("labels: { a: b }, uid: u, generation: 3, resourceVersion: '1'"),
            Bookkeeping,
        ),
        (
            metadata("finalizers: [a], ownerReferences: [], managedFields: [], selfLink: s"),
            Bookkeeping,
        ),
        (
            metadata("annotations: { a.b/c: d }"),
            Named("metadata.annotations[\"a.b/c\"]"),
        ),
        (
            metadata("annotations: { kubectl.kubernetes.io/last-applied-configuration: x }"),
            Bookkeeping,
        ),
        (metadata("other: d"), Named("metadata.other")),
        // The route.
        (
            http("hostnames: [a.com], rules: [{}]"),
            Route("/match/hosts", json!(["a.com"])),
        ),
        (
            parent("namespace: n, kind: Gateway, group: gateway.networking.k8s.io"),
            Bookkeeping,
        ),
        (parent("kind: Service"), Named("spec.parentRefs[0].kind")),
        (
            parent("sectionName: https"),
            Named("spec.parentRefs[0].sectionName"),
        ),
        (parent("port: 443"), Named("spec.parentRefs[0].port")),
        (parent("other: 443"), Named("spec.parentRefs[0].other")),
        (
            http("useDefaultGateways: All, rules: []"),
            Named("spec.useDefaultGateways"),
        ),
        (http("other: 1"), Named("spec.other")),
        // A rule.
        (rule("name: first"), Route("/name", json!("n/r/first"))),
        (rule("other: 1"), Named("spec.rules[0].other")),
        // A match.
        (
            matched("path: { type: Exact, value: /a }"),
            Route("/match/path", json!({ "exact": "/a" })),
        ),
        (
            matched("path: { type: PathPrefix, value: /a }"),
            Route("/match/path", json!({ "prefix": "/a" })),
        ),
        (
            matched("path: { value: /a }"),
            Route("/match/path", json!({ "prefix": "/a" })),
        ),
        (
            matched("path: { type: RegularExpression, value: '/a.*' }"),
            Route("/match/path", json!({ "regex": "/a.*" })),
        ),
        (
            matched("path: { type: Glob, value: /a }"),
            Named("spec.rules[0].matches[0].path.type"),
        ),
        (
            matched("path: { value: a }"),
            Named("spec.rules[0].matches[0].path.value"),
        ),
        (
            matched("path: { other: /a }"),
            Named("spec.rules[0].matches[0].path.other"),
        ),
        (
            matched("headers: [{ name: X, value: v }]"),
            Route("/match/headers", json!([{ "name": "X", "exact": "v" }])),
        ),
        (
            matched("headers: [{ type: Exact, name: X, value: v }]"),
            Route("/match/headers/0/exact", json!("v")),
        ),
        (
            matched("headers: [{ type: RegularExpression, name: X, value: v }]"),
            Route("/match/headers/0/regex", json!("v")),
        ),
        (
            matched("headers: [{ name: X, value: v }, { name: x, value: w }]"),
            Named("spec.rules[0].matches[0].headers[1]"),
        ),
        (
            matched("headers: [{ name: Host, value: v }]"),
            Named("spec.rules[0].matches[0].headers[0].name"),
        ),
        (
            matched("headers: [{ type: Some, name: X, value: v }]"),
            Named("spec.rules[0].matches[0].headers[0].type"),
        ),
        (
            matched("queryParams: [{ name: X, value: v }]"),
            Route("/match/query", json!([{ "name": "X", "exact": "v" }])),
        ),
        (
            matched("queryParams: [{ type: RegularExpression, name: X, value: v }]"),
            Route("/match/query/0/regex", json!("v")),
        ),
        (
            matched("queryParams: [{ name: X, value: v }, { name: X, value: w }]"),
            Named("spec.rules[0].matches[0].queryParams[1]"),
        ),
        (
            matched("method: PUT"),
            Route("/match/methods", json!(["PUT"])),
        ),
        (
            matched("other: PUT"),
            Named("spec.rules[0].matches[0].other"),
        ),
        // Filters.
        (
            filter(
                "type: RequestHeaderModifier, requestHeaderModifier: { set: [{ name: X, value: 'a{b' }] }",
            ),
            Route("/request_headers/set", json!({ "x": "a{{b" })),
        ),
        (
            filter(
                "type: RequestHeaderModifier, requestHeaderModifier: { add: [{ name: X, value: v }] }",
            ),
            Route("/request_headers/add", json!({ "x": "v" })),
        ),
        (
            filter("type: RequestHeaderModifier, requestHeaderModifier: { remove: [X] }"),
            Route("/request_headers/remove", json!(["x"])),
        ),
        (
            filter("type: RequestHeaderModifier, requestHeaderModifier: { remove: [Host] }"),
            Named("spec.rules[0].filters[0].requestHeaderModifier.remove[0]"),
        ),
        (
            filter("type: RequestHeaderModifier, requestHeaderModifier: { other: [X] }"),
            Named("spec.rules[0].filters[0].requestHeaderModifier.other"),
        ),
        (
            filter(
                "type: RequestHeaderModifier, requestHeaderModifier: { set: [{ name: Upgrade, value: v }] }",
            ),
            Named("spec.rules[0].filters[0].requestHeaderModifier.set[0]"),
        ),
        (
            filter(
                "type: ResponseHeaderModifier, responseHeaderModifier: { set: [{ name: X, value: v }] }",
            ),
            Route("/response_headers/set", json!({ "x": "v" })),
        ),
        (
            filter("type: RequestRedirect, requestRedirect: { scheme: https }"),
            Route("/redirect", json!({ "scheme": "https", "status": 302 })),
        ),
        (
            filter("type: RequestRedirect, requestRedirect: { scheme: ftp }"),
            Named("spec.rules[0].filters[0].requestRedirect.scheme"),
        ),
        (
            filter(
                "type: RequestRedirect, requestRedirect: { hostname: b.com, port: 8443, statusCode: 301 }",
            ),
            Route(
                "/redirect",
                json!({ "host": "b.com", "port": 8443, "status": 301 }),
            ),
        ),
        (
            filter("type: RequestRedirect, requestRedirect: { statusCode: 303 }"),
            Route("/redirect", json!({ "status": 303 })),
        ),
        (
            filter("type: RequestRedirect, requestRedirect: { statusCode: 304 }"),
            Named("spec.rules[0].filters[0].requestRedirect.statusCode"),
        ),
        (
            filter(
                "type: RequestRedirect, requestRedirect: { path: { type: ReplaceFullPath, replaceFullPath: /b } }",
            ),
            Route("/redirect/path", json!("/b")),
        ),
        (
            filter(
                "type: RequestRedirect, requestRedirect: { path: { type: ReplacePrefixMatch, replacePrefixMatch: /b } }",
            ),
            Route("/redirect/path_prefix", json!("/b")),
        ),
        (
            filter("type: RequestRedirect"),
            Named("spec.rules[0].filters[0].requestRedirect"),
        ),
        (
            filter("type: URLRewrite, urlRewrite: { hostname: b.com }"),
            Route("/rewrite/host", json!("b.com")),
        ),
        (
            filter(
                "type: URLRewrite, urlRewrite: { path: { type: ReplaceFullPath, replaceFullPath: '/{b}' } }",
            ),
            Route("/rewrite/path", json!("/{{b}")),
        ),
        (
            filter(
                "type: URLRewrite, urlRewrite: { path: { type: ReplaceFullPath, replaceFullPath: '/?b' } }",
            ),
            Named("spec.rules[0].filters[0].urlRewrite.path"),
        ),
        (
            filter(
                "type: URLRewrite, urlRewrite: { path: { type: ReplacePrefixMatch, replacePrefixMatch: '' } }",
            ),
            Route("/rewrite/path_prefix", json!("/")),
        ),
        (
            filter("type: URLRewrite, urlRewrite: { path: { type: Other, other: '' } }"),
            Named("spec.rules[0].filters[0].urlRewrite.path.other"),
        ),
        (
            rule(
                "matches: [{ path: { type: Exact, value: /a } }], filters: [{ type: URLRewrite, urlRewrite: { path: { type: ReplacePrefixMatch, replacePrefixMatch: '/' } } }]",
            ),
            Named("spec.rules[0].filters[0].urlRewrite.path"),
        ),
        (
            filter("type: RequestMirror, requestMirror: { backendRef: { name: m, port: 80 } }"),
            Route("/mirror", json!({ "pool": "n/m/80" })),
        ),
        (
            filter(
                "type: RequestMirror, requestMirror: { backendRef: { name: m, port: 80 }, percent: 5 }",
            ),
            Route("/mirror/percent", json!(5)),
        ),
        (
            filter(
                "type: RequestMirror, requestMirror: { backendRef: { name: m, port: 80 }, fraction: { numerator: 1, denominator: 1000 } }",
            ),
            Route("/mirror/percent", json!(0.1)),
        ),
        (
            filter(
                "type: RequestMirror, requestMirror: { backendRef: { name: m, port: 80 }, fraction: { numerator: 1, denominator: 3 } }",
            ),
            Named("spec.rules[0].filters[0].requestMirror.fraction"),
        ),
        (
            filter(
                "type: RequestMirror, requestMirror: { backendRef: { name: m, port: 80 }, other: 1 }",
            ),
            Named("spec.rules[0].filters[0].requestMirror.other"),
        ),
        (
            filter("type: CORS, cors: { allowOrigins: ['*'] }"),
            Named("spec.rules[0].filters[0].cors"),
        ),
        (
            filter("type: ExternalAuth, externalAuth: { protocol: HTTP }"),
            Named("spec.rules[0].filters[0].externalAuth"),
        ),
        (
            filter("type: ExternalAuth, externalAuth: { protocol: HTTP }"),
            Route("/respond/status", json!(500)),
        ),
        (
            filter("type: ExtensionRef, extensionRef: { group: a, kind: b, name: c }"),
            Named("spec.rules[0].filters[0].extensionRef"),
        ),
        (
            filter("type: ExtensionRef, extensionRef: { group: a, kind: b, name: c }"),
            Route("/respond/status", json!(500)),
        ),
        (
            filter("type: Unheard, unheard: {}"),
            Named("spec.rules[0].filters[0].type"),
        ),
        (
            filter("type: Unheard, unheard: {}"),
            Route("/respond/status", json!(500)),
        ),
        (
            filter("type: CORS, cors: {}, requestMirror: {}"),
            Named("spec.rules[0].filters[0].requestMirror"),
        ),
        (
            rule(
                "filters: [{ type: RequestMirror, requestMirror: { backendRef: { name: m, port: 1 } } }, { type: RequestMirror, requestMirror: { backendRef: { name: m, port: 2 } } }]",
            ),
            Named("spec.rules[0].filters[1]"),
        ),
        // Time-outs, retries, sessions.
        (
            rule("timeouts: { request: 10s }"),
            Route("/timeout", json!("10s")),
        ),
        (
            rule("timeouts: { request: 0s }"),
            Route("/timeout", json!("0s")),
        ),
        (
            rule("timeouts: { request: 10s, backendRequest: 2s }"),
            Route("/timeout", json!("2s")),
        ),
        (
            rule("timeouts: { request: 10s, backendRequest: 2s }, retry: { attempts: 3 }"),
            Route(
                "/retry",
                json!({ "attempts": 3, "per_try_timeout": "2s", "on": ["connect-failure", "refused-stream", "reset"] }),
            ),
        ),
        (
            rule("timeouts: { request: soon }"),
            Named("spec.rules[0].timeouts.request"),
        ),
        (
            rule("timeouts: { other: 1s }"),
            Named("spec.rules[0].timeouts.other"),
        ),
        (
            rule("retry: { codes: [502, 503, 504] }"),
            Route("/retry/on/3", json!("gateway-error")),
        ),
        (
            rule("retry: { codes: [409] }"),
            Route("/retry/on/3", json!("retriable-4xx")),
        ),
        (
            rule("retry: { codes: [500] }"),
            Named("spec.rules[0].retry.codes[0]"),
        ),
        (
            rule("retry: { backoff: 1s }"),
            Named("spec.rules[0].retry.backoff"),
        ),
        // How often is left to each gateway.
        (rule("retry: {}"), Route("/retry/attempts", json!(1))),
        (rule("retry: {}"), Named("spec.rules[0].retry.attempts")),
        (
            rule("retry: { attempts: 1000 }"),
            Route("/retry/attempts", json!(100)),
        ),
        (
            rule("retry: { attempts: 1000 }"),
            Named("spec.rules[0].retry.attempts"),
        ),
        // Lists of nothing, empty texts and absent lists are what the specification takes them for.
        (
            rule("matches: []"),
            Route("/match/path", json!({ "prefix": "/" })),
        ),
        (
            http("hostnames: [a.com]"),
            Route("/respond/status", json!(500)),
        ),
        (
            call("matches: [{ method: { service: a.B, method: '' } }]"),
            Route("/match/path", json!({ "prefix": "/a.B/" })),
        ),
        (
            call("matches: []"),
            Route("/match/methods", json!(["POST"])),
        ),
        (
            session("sessionName: 'my session;'"),
            Pool("/sticky/cookie/name", json!("pm-n-r-0")),
        ),
        (
            session("sessionName: 'my session;'"),
            Named("spec.rules[0].sessionPersistence.sessionName"),
        ),
        (
            filter(
                "type: RequestMirror, requestMirror: { backendRef: { name: m, port: 80 }, fraction: { numerator: 3, denominator: 0 } }",
            ),
            Named("spec.rules[0].filters[0].requestMirror"),
        ),
        (
            rule("retry: { other: 1s }"),
            Named("spec.rules[0].retry.other"),
        ),
        (
            session("sessionName: s"),
            Pool("/sticky/cookie/name", json!("s")),
        ),
        (
            session("sessionName: s"),
            Named("spec.rules[0].sessionPersistence"),
        ),
        (
            session("type: Cookie, absoluteTimeout: 1h, cookieConfig: { lifetimeType: Permanent }"),
            Pool("/sticky/cookie/ttl", json!("1h")),
        ),
        (
            session("absoluteTimeout: 1h"),
            Named("spec.rules[0].sessionPersistence.absoluteTimeout"),
        ),
        (
            session("cookie: { name: c, path: /p, lifetimeType: Session }"),
            Pool("/sticky/cookie", json!({ "name": "c", "path": "/p" })),
        ),
        (
            session("cookie: { other: 1 }"),
            Named("spec.rules[0].sessionPersistence.cookie.other"),
        ),
        (
            session("idleTimeout: 1h"),
            Named("spec.rules[0].sessionPersistence.idleTimeout"),
        ),
        (
            session("type: Header, header: { name: x-s }"),
            Pool("/sticky/header", json!("x-s")),
        ),
        (
            session("type: Header, header: { name: x-s }"),
            Named("spec.rules[0].sessionPersistence"),
        ),
        (
            session("type: Other"),
            Named("spec.rules[0].sessionPersistence.type"),
        ),
        (
            session("other: 1"),
            Named("spec.rules[0].sessionPersistence.other"),
        ),
        // Backends.
        (
            backend("weight: 9"),
            Route("/split/0", json!({ "pool": "n/web/80", "weight": 9 })),
        ),
        (
            backend("group: '', kind: Service"),
            Route("/split/1", json!({ "pool": "n/b/81", "weight": 1 })),
        ),
        (
            backend("kind: ServiceImport"),
            Named("spec.rules[0].backendRefs[0].kind"),
        ),
        (
            backend("namespace: m"),
            Route("/split/0/pool", json!("m/web/80")),
        ),
        (
            backend("namespace: m"),
            Named("spec.rules[0].backendRefs[0].namespace"),
        ),
        (
            backend("other: m"),
            Named("spec.rules[0].backendRefs[0].other"),
        ),
        (
            backend(
                "filters: [{ type: RequestHeaderModifier, requestHeaderModifier: { remove: [x] } }]",
            ),
            Route("/split/0/request_headers", json!({ "remove": ["x"] })),
        ),
        (
            backend(
                "filters: [{ type: ResponseHeaderModifier, responseHeaderModifier: { remove: [x] } }]",
            ),
            Route("/split/0/response_headers", json!({ "remove": ["x"] })),
        ),
        (
            backend("filters: [{ type: URLRewrite, urlRewrite: { hostname: h } }]"),
            Named("spec.rules[0].backendRefs[0].filters"),
        ),
        (
            http("rules: [{ backendRefs: [{ name: a, port: 80, weight: 0 }] }]"),
            Route("/respond/status", json!(500)),
        ),
        (http("rules: [{}]"), Route("/respond/status", json!(500))),
        (
            http("rules: [{ backendRefs: [{ port: 80 }] }]"),
            Named("spec.rules[0].backendRefs[0].name"),
        ),
        (
            rule("filters: [{ type: RequestRedirect, requestRedirect: { statusCode: 303 } }]"),
            Named("spec.rules[0].backendRefs"),
        ),
        (
            rule("filters: [{ type: ExternalAuth, externalAuth: {} }]"),
            Named("spec.rules[0].backendRefs"),
        ),
        (
            backend("filters: [{ type: ExtensionRef, extensionRef: {} }]"),
            Named("spec.rules[0].backendRefs"),
        ),
        // GRPCRoute.
        (
            call("matches: [{ method: { service: a.B, method: C } }]"),
            Route("/match/path", json!({ "exact": "/a.B/C" })),
        ),
        (
            call("matches: [{ method: { type: Exact, service: a.B } }]"),
            Route("/match/path", json!({ "prefix": "/a.B/" })),
        ),
        (
            call("matches: [{ method: { method: C } }]"),
            Route("/match/path", json!({ "template": "/{service}/C" })),
        ),
        (
            call("matches: [{ method: { type: RegularExpression, method: 'C|D' } }]"),
            Route("/match/path", json!({ "regex": "/[^/]+/(?:C|D)" })),
        ),
        (
            call("matches: [{ headers: [{ name: x, value: v }] }]"),
            Route("/match/headers/1", json!({ "name": "x", "exact": "v" })),
        ),
        (
            call("matches: [{ method: { other: C } }]"),
            Named("GRPCRoute n/r: spec.rules[0].matches[0].method.other"),
        ),
        (
            call("matches: [{ other: C }]"),
            Named("GRPCRoute n/r: spec.rules[0].matches[0].other"),
        ),
        (
            call(""),
            Route(
                "/match/headers",
                json!([{ "name": "content-type", "prefix": "application/grpc" }]),
            ),
        ),
        // Other objects.
        (
            "{ apiVersion: v1, kind: Service, metadata: { name: a } }".into(),
            Named("Service default/a"),
        ),
        ("{ a: b }".into(), Named("f")),
    ];
    for (text, becomes) in &rows {
        let output = imported(text);
        let places = named(text);
        match becomes {
            Named(place) => assert!(places.iter().any(|it| it == place), "{text}\n{places:?}"),
            Bookkeeping => assert_eq!(places, Vec::<String>::new(), "{text}"),
            Route(at, expected) => {
                let found = &output.to_json()["routes"][0];
                assert_eq!(found.pointer(at), Some(expected), "{text}\n{found:#}");
            }
            Pool(at, expected) => {
                let pool = Value::Object(output.configuration.pools[0].value.clone());
                assert_eq!(pool.pointer(at), Some(expected), "{text}\n{pool:#}");
            }
        }
    }
}

/// Renames every field in turn: what was known by its name is not known any more, and has to be
/// named.
#[test]
fn no_field_is_lost_by_an_unknown_name() {
    let text = http(
        "parentRefs: [{ name: g }], hostnames: [a.com], rules: [{ name: first, \
           matches: [{ path: { type: Exact, value: /a }, headers: [{ type: Exact, name: x, value: v }], \
             queryParams: [{ name: q, value: v }], method: GET }], \
           filters: [ \
             { type: RequestHeaderModifier, requestHeaderModifier: { set: [{ name: x, value: v }], \
               add: [{ name: y, value: v }], remove: [z] } }, \
             { type: URLRewrite, urlRewrite: { hostname: h, path: { type: ReplaceFullPath, \
               replaceFullPath: /b } } }, \
             { type: RequestMirror, requestMirror: { backendRef: { name: m, port: 80 }, percent: 5 } } ], \
           timeouts: { request: 10s, backendRequest: 1s }, retry: { attempts: 2, codes: [409] }, \
           sessionPersistence: { type: Cookie, cookie: { name: c, path: /, lifetimeType: Permanent }, \
             absoluteTimeout: 1h }, \
           backendRefs: [{ name: web, port: 80, weight: 1 }] }]",
    );
    let value = documents(&text).remove(0).value;
    let mut pointers = Vec::new();
    collect(&value["spec"], "/spec", &mut pointers);
    assert!(pointers.len() > 40, "{}", pointers.len());
    for pointer in pointers {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let mut changed = value.clone();
        let map = changed
            .pointer_mut(parent)
            .unwrap()
            .as_object_mut()
            .unwrap();
        let old = map.remove(key).unwrap();
        map.insert("unheardOf".into(), old);
        let document = Document {
            place: "f".into(),
            value: changed,
        };
        let not_carried = super::import(vec![document], &Options::default()).not_carried;
        assert!(
            not_carried.iter().any(|it| it.path.contains("unheardOf")),
            "{pointer}: {not_carried:?}"
        );
    }
}

/// The pointers of all keys of maps below a value.
fn collect(value: &Value, at: &str, pointers: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                pointers.push(format!("{at}/{key}"));
                collect(value, &format!("{at}/{key}"), pointers);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                collect(item, &format!("{at}/{index}"), pointers);
            }
        }
        _ => {}
    }
}

#[test]
fn grants_and_gateways_are_heard() {
    let route = rule("").replace("name: web", "name: web, namespace: m");
    let grant = |from: &str, to: &str| {
        format!(
            "{{ apiVersion: gateway.networking.k8s.io/v1beta1, kind: ReferenceGrant, \
               metadata: {{ name: g, namespace: m }}, spec: {{ \
               from: [{{ group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: {from} }}], \
               to: [{{ group: '', kind: Service{to} }}] }} }}"
        )
    };
    for (from, to, is_allowed) in [
        ("n", "", true),
        ("n", ", name: web", true),
        ("n", ", name: other", false),
        ("o", "", false),
    ] {
        let all = format!("{route}\n---\n{}", grant(from, to));
        assert_eq!(named(&all).is_empty(), is_allowed, "{from} {to}");
    }

    let of = |name: &str, gateway: &str| {
        http(&format!(
            "parentRefs: [{{ name: {gateway} }}], rules: [{{ x: 1 }}]"
        ))
        .replace("name: r", &format!("name: {name}"))
    };
    let both = format!("{}\n---\n{}", of("one", "a"), of("two", "b"));
    assert!(
        named(&both)
            .iter()
            .any(|it| it.ends_with("two: spec.parentRefs[0]"))
    );
    let options = Options {
        gateway: Some("n/b".into()),
        ..Options::default()
    };
    let output = super::import(documents(&both), &options);
    let names: Vec<_> = output
        .configuration
        .routes
        .iter()
        .map(|it| &it.name)
        .collect();
    assert_eq!(names, ["n/two/0"]);
    assert_eq!(output.not_carried.len(), 1, "{:?}", output.not_carried);
}

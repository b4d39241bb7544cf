//! Laws of loading a configuration.

use super::value::{MAX_DEPTH, Value};
use super::{Config, Problems, protobuf};
use crate::http::key::KeyPart;
use crate::http::regex::SubstitutionPart;
use crate::http::value::{Part, Piece};
use crate::index::PoolIndex;
use crate::pool::State;
use crate::pool::balance::bounded_load::LoadFactor;
use crate::pool::balance::{Balance, HashBy};
use crate::pool::failover::WhenAllUnhealthy;
use crate::pool::health::{Active, Checks, Initial, Passive};
use crate::pool::prefer_region::PreferRegion;
use crate::pool::sticky::SameSite;
use crate::rate_limit::Table;
use crate::route::RouteAction;
use crate::route::host::HostMatch;
use crate::route::no_route::NoRoute;
use crate::route::path::{PathKind, Segment};
use crate::route::rewrite::PathRewrite;
use crate::scope::Scope;
use crate::time::{Nanos, Seconds};
use proptest::prelude::*;
use std::collections::BTreeSet;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// The example of the interface, as it stands there.
const INTERFACE: &str = include_str!("interface.yaml");

/// The sections that a row of `refused.txt` need not write itself.
const BASE: &str = "
pools: { web: { targets: [ { cluster: web } ] }, spare: { targets: [ { cluster: spare } ] } }
rate_limits: { per-ip: { requests: 1, per: 1s, key: [client_ip] } }
";

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn loaded(text: &str) -> Config {
    Config::from_value(&yaml(text)).unwrap_or_else(|problems| panic!("{text}:\n{problems}"))
}

fn over_base(text: &str) -> Value {
    let mut value = yaml(text);
    if let (Value::Map(own), Value::Map(base)) = (&mut value, yaml(BASE)) {
        let missing: Vec<_> = base
            .into_iter()
            .filter(|(key, _)| !own.iter().any(|(own, _)| own == key))
            .collect();
        own.extend(missing);
    }
    value
}

fn messages(result: Result<Config, Problems>) -> Vec<String> {
    match result {
        Ok(_) => Vec::new(),
        Err(problems) => problems.0.iter().map(ToString::to_string).collect(),
    }
}

/// JSON text, for what YAML's parser refuses by itself.
fn json(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(yes) => yes.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Text(text) => serde_json::to_string(text).unwrap(),
        Value::List(items) => format!("[{}]", items.iter().map(json).collect::<Vec<_>>().join(",")),
        Value::Map(entries) => {
            let entry = |(key, value): &(String, Value)| {
                format!("{}:{}", serde_json::to_string(key).unwrap(), json(value))
            };
            format!(
                "{{{}}}",
                entries.iter().map(entry).collect::<Vec<_>>().join(",")
            )
        }
    }
}

/// The same tree with its keys sorted, as a `Struct` has it.
fn sorted(value: &Value) -> Value {
    match value {
        Value::List(items) => Value::List(items.iter().map(sorted).collect()),
        Value::Map(entries) => {
            let mut entries: Vec<_> = entries
                .iter()
                .map(|(key, value)| (key.clone(), sorted(value)))
                .collect();
            entries.sort_by(|(a, _), (b, _)| a.cmp(b));
            Value::Map(entries)
        }
        other => other.clone(),
    }
}

/// An encoder of `google.protobuf.Struct`, written from `struct.proto` and used nowhere else.
mod encode {
    use super::Value;

    fn varint(mut number: usize, out: &mut Vec<u8>) {
        while number > 127 {
            out.push(number as u8 | 128);
            number >>= 7;
        }
        out.push(number as u8);
    }

    fn field(number: u8, content: &[u8], out: &mut Vec<u8>) {
        out.push(number << 3 | 2);
        varint(content.len(), out);
        out.extend_from_slice(content);
    }

    pub(super) fn structure(value: &Value) -> Vec<u8> {
        let Value::Map(entries) = value else {
            panic!("a Struct is a map");
        };
        let mut out = Vec::new();
        for (key, value) in entries {
            let mut entry = Vec::new();
            field(1, key.as_bytes(), &mut entry);
            field(2, &self::value(value), &mut entry);
            field(1, &entry, &mut out);
        }
        out
    }

    pub(super) fn value(value: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        match value {
            Value::Null => out.extend([1 << 3, 0]),
            Value::Number(number) => {
                out.push(2 << 3 | 1);
                out.extend(number.to_le_bytes());
            }
            Value::Text(text) => field(3, text.as_bytes(), &mut out),
            Value::Bool(yes) => out.extend([4 << 3, u8::from(*yes)]),
            Value::Map(_) => field(5, &structure(value), &mut out),
            Value::List(items) => {
                let mut list = Vec::new();
                for item in items {
                    field(1, &self::value(item), &mut list);
                }
                field(6, &list, &mut out);
            }
        }
        out
    }
}

#[test]
fn interface_example_loads() {
    let config = loaded(INTERFACE);
    let [web, api, spare] = config.pools.as_slice() else {
        panic!("{:?}", config.pools);
    };
    assert_eq!(
        (&*web.name, web.index.get(), web.endpoints),
        ("web", 0, false)
    );
    assert_eq!(
        (&*api.name, api.index.get(), api.endpoints),
        ("api", 1, true)
    );
    assert_eq!(
        (&*web.targets[0].name, &*web.targets[0].cluster),
        ("blue", "web-blue")
    );
    assert_eq!(&*spare.targets[0].name, "spare");
    assert_eq!(
        (&*api.targets[0].name, &*api.targets[0].cluster),
        ("127.0.0.1:9101", "api")
    );
    assert_eq!(api.targets[0].endpoint.as_deref(), Some("127.0.0.1:9101"));
    assert_eq!(api.targets[0].region.as_deref(), Some("seoul"));
    let sticky = web.sticky.as_ref().unwrap();
    let cookie = sticky.cookie.as_ref().unwrap();
    assert_eq!(
        (cookie.ttl, cookie.same_site),
        (Some(Seconds::new(3600)), Some(SameSite::Lax))
    );
    assert_eq!(&*sticky.keys[0].0, b"secret-secret-secret-secret!!!!!");
    assert_eq!(
        (&web.failover[..], &web.health),
        (&[PoolIndex::new(2)][..], &Checks::default())
    );
    let passive = api.health.passive.as_ref().unwrap();
    assert_eq!(
        (passive.consecutive_failures, passive.max_ejected_percent),
        (5, 50)
    );
    assert_eq!(passive.statuses, [(500, 500), (502, 504)]);
    assert_eq!(
        (passive.eject, passive.max_eject),
        (Nanos::from_secs(30), Nanos::from_secs(300))
    );
    let active = api.health.active.as_ref().unwrap();
    assert_eq!((&*active.path, &active.host), (&b"/health"[..], &None));
    assert_eq!(
        (active.interval, active.timeout),
        (Nanos::from_secs(3), Nanos::SECOND)
    );
    assert_eq!(
        (active.rise, active.fall, &active.expect[..]),
        (2, 3, &[(200, 200)][..])
    );
    assert_eq!(api.health.when_all_unhealthy, WhenAllUnhealthy::UseAll);

    let [per_ip, login] = config.rate_limits.as_slice() else {
        panic!("{:?}", config.rate_limits);
    };
    assert_eq!(
        (
            per_ip.quota().requests,
            per_ip.quota().per,
            per_ip.quota().burst
        ),
        (100, Nanos::SECOND, 50)
    );
    assert_eq!((login.quota().burst, login.is_shadow()), (5, true));
    assert_eq!(
        login.key(),
        [
            KeyPart::ClientNetwork { v4: 32, v6: 64 },
            KeyPart::Header((*b"user-agent").into())
        ]
    );

    let [checkout, canary, old, closed, rest] = config.routes.as_slice() else {
        panic!("{:?}", config.routes);
    };
    let block = &checkout.blocks[0];
    assert_eq!(
        block.hosts,
        [
            HostMatch::Exact((*b"shop.example.com").into()),
            HostMatch::Suffix((*b".shop.example.com").into())
        ]
    );
    assert!(matches!(&checkout.action, RouteAction::Pool(pool) if std::rc::Rc::ptr_eq(pool, web)));
    assert!(
        matches!(&canary.action, RouteAction::Split(parts) if parts[0].weight == 95 && parts[1].pool.index.get() == 2)
    );
    assert!(matches!(&old.action, RouteAction::Redirect(redirect) if redirect.status == 301));
    assert!(matches!(&closed.action, RouteAction::Respond(respond) if respond.status == 403));
    assert!(matches!(rest.action, RouteAction::Pass));
    assert_eq!(rest.blocks.len(), 1);
    assert_eq!(
        std::rc::Rc::as_ptr(&checkout.rate_limits[0]),
        std::rc::Rc::as_ptr(per_ip)
    );
}

#[test]
fn balance_says_what_is_hashed() {
    let name = |name: &[u8]| name.into();
    for (balance, expected) in [
        ("round_robin", Balance::RoundRobin),
        ("random", Balance::Random),
        ("least_connections", Balance::LeastConnections),
        ("least_response_time", Balance::LeastResponseTime),
        ("ip_hash", Balance::Hash(HashBy::key(KeyPart::ClientIp))),
        (
            "{ consistent_hash: { key: client_ip } }",
            Balance::Hash(HashBy::key(KeyPart::ClientIp)),
        ),
        (
            "{ consistent_hash: { key: path } }",
            Balance::Hash(HashBy::key(KeyPart::Path)),
        ),
        (
            "{ consistent_hash: { key: { header: X-Tenant } } }",
            Balance::Hash(HashBy::key(KeyPart::Header(name(b"x-tenant")))),
        ),
        (
            "{ consistent_hash: { key: { cookie: Id } } }",
            Balance::Hash(HashBy::key(KeyPart::Cookie(name(b"Id")))),
        ),
        (
            "{ consistent_hash: { key: { query: q } } }",
            Balance::Hash(HashBy::key(KeyPart::Query(name(b"q")))),
        ),
        (
            "{ consistent_hash: { key: [ { header: A }, { cookie: b }, path ], bounded_load: 1.25 } }",
            Balance::Hash(HashBy {
                key: KeyPart::Header(name(b"a")),
                otherwise: vec![KeyPart::Cookie(name(b"b")), KeyPart::Path],
                bounded_load: Some(LoadFactor { percent: 125 }),
            }),
        ),
        (
            // As Envoy reads a number with a point.
            r#"{ consistent_hash: { key: [path], bounded_load: "1.07" } }"#,
            Balance::Hash(HashBy {
                bounded_load: Some(LoadFactor { percent: 107 }),
                ..HashBy::key(KeyPart::Path)
            }),
        ),
    ] {
        let config = loaded(&format!(
            "{{ pools: {{ p: {{ balance: {balance}, targets: [ {{ cluster: c }} ] }} }} }}"
        ));
        assert_eq!(config.pools[0].balance, expected, "{balance}");
    }
}

/// Envoy makes a text of a number with a point in YAML.
#[test]
fn a_share_may_be_a_text() {
    for percent in ["0.05", "\"0.05\"", "\"00.0500\""] {
        let config = loaded(&format!(
            "{{ pools: {{ p: {{ targets: [ {{ cluster: c }} ] }} }},
               routes: [ {{ name: r, pass: true, mirror: {{ pool: p, percent: {percent} }} }} ] }}"
        ));
        let mirror = config.routes[0].mirror.as_ref().unwrap();
        assert_eq!(mirror.millionths, 500, "{percent}");
    }
}

#[test]
fn what_is_not_given_is_the_documented_default() {
    let config = loaded("{}");
    assert_eq!(&*config.upstream.cluster_header, b"x-pointsman-cluster");
    assert_eq!(&*config.upstream.endpoint_header, b"x-pointsman-endpoint");
    assert_eq!((config.client_ip, config.explain), (None, None));
    assert!(!config.access_log);
    assert_eq!(config.rate_limit_table, Table { max_keys: 65536 });
    assert!(
        matches!(config.no_route, NoRoute::Respond(respond) if respond.status == 404 && respond.body.is_empty())
    );

    let config = loaded(
        "{ pools: { p: { targets: [ { cluster: c } ], sticky: { cookie: { name: s } } } },
           rate_limits: { l: { requests: 7, per: 250ms, key: [path] } },
           client_ip: { header: X-Real-IP },
           routes: [ { name: a, redirect: { host: h } }, { name: b, respond: { status: 200, body: x } },
                     { name: c, split: [ { pool: p } ] } ] }",
    );
    let (pool, limit) = (&config.pools[0], &config.rate_limits[0]);
    assert_eq!(
        (&pool.balance, pool.endpoints),
        (&Balance::RoundRobin, false)
    );
    assert_eq!((&pool.health, pool.failover.len()), (&Checks::default(), 0));
    assert_eq!((&pool.prefer_region, pool.slow_start), (&None, Nanos::ZERO));
    let target = &pool.targets[0];
    assert_eq!(
        (&*target.name, target.weight, target.state),
        ("c", 1, State::Up)
    );
    let cookie = pool.sticky.as_ref().unwrap().cookie.clone().unwrap();
    assert_eq!(
        (&*cookie.path, cookie.ttl, cookie.secure, cookie.http_only),
        (&b"/"[..], None, false, true)
    );
    assert_eq!(
        (limit.quota().per, limit.quota().burst, limit.is_shadow()),
        (Nanos::from_millis(250), 7, false)
    );
    let client_ip = config.client_ip.unwrap();
    assert_eq!(
        (&*client_ip.header, client_ip.trusted_hops),
        (&b"x-real-ip"[..], 1)
    );
    assert!(
        matches!(&config.routes[0].action, RouteAction::Redirect(redirect) if redirect.status == 302)
    );
    let RouteAction::Respond(respond) = &config.routes[1].action else {
        panic!("{:?}", config.routes[1]);
    };
    assert_eq!(
        respond.headers,
        [((*b"content-type").into(), (*b"text/plain").into())]
    );
    assert!(matches!(&config.routes[2].action, RouteAction::Split(parts) if parts[0].weight == 1));
}

#[test]
fn health_is_read_with_its_defaults() {
    let of = |text: &str| {
        let config = loaded(&format!(
            "{{ pools: {{ p: {{ targets: [ {{ cluster: c }} ], {text} }} }} }}"
        ));
        config.pools[0].health.clone()
    };
    const SECOND: Nanos = Nanos::SECOND;
    let passive = Passive {
        consecutive_failures: 5,
        eject: 30 * SECOND,
        max_eject: 300 * SECOND,
        max_ejected_percent: 50,
        statuses: vec![(500, 500), (502, 504)],
    };
    let active = Active {
        method: "GET".into(),
        headers: Vec::new(),
        grpc: None,
        initial: Initial::Healthy,
        path: (*b"/h").into(),
        host: None,
        interval: 10 * SECOND,
        timeout: SECOND,
        rise: 2,
        fall: 3,
        expect: vec![(200, 200)],
    };
    assert_eq!(of("health: { passive: {} }").passive, Some(passive.clone()));
    assert_eq!(
        of("health: { active: { path: /h } }").active,
        Some(active.clone())
    );
    assert_eq!(
        of("health: { passive: { eject: 10m } }").passive,
        Some(Passive {
            eject: 600 * SECOND,
            max_eject: 600 * SECOND,
            ..passive.clone()
        })
    );
    assert_eq!(
        of("health: { passive: { statuses: [503, '505-599'] } }").passive,
        Some(Passive {
            statuses: vec![(503, 503), (505, 599)],
            ..passive
        })
    );
    let given = of(
        "health: { when_all_unhealthy: respond_503, active: { path: '/h?full', host: 'h:1', interval: 500ms, \
         expect: [204, '300-399'] } }",
    );
    assert_eq!(given.when_all_unhealthy, WhenAllUnhealthy::Respond503);
    assert_eq!(
        given.active,
        Some(Active {
            path: (*b"/h?full").into(),
            host: Some((*b"h:1").into()),
            interval: SECOND / 2,
            timeout: SECOND / 2,
            expect: vec![(204, 204), (300, 399)],
            ..active.clone()
        })
    );
    assert_eq!(
        of("health: { active: { path: /h, method: HEAD, headers: { X-Probe: '1' }, initial: unhealthy } }").active,
        Some(Active {
            method: "HEAD".into(),
            headers: vec![("x-probe".into(), "1".into())],
            initial: Initial::Unhealthy,
            ..active.clone()
        })
    );
    assert_eq!(
        of("health: { active: { method: HEAD, headers: { x-probe: '1' }, grpc: shop.Checkout } }")
            .active,
        Some(Active {
            method: "HEAD".into(),
            path: (*b"/grpc.health.v1.Health/Check").into(),
            headers: vec![("x-probe".into(), "1".into())],
            grpc: Some("shop.Checkout".into()),
            ..active
        })
    );
}

#[test]
fn a_probe_is_these_headers() {
    let of = |text: &str| {
        let config = loaded(&format!(
            "{{ pools: {{ p: {{ targets: [ {{ cluster: c }} ], health: {{ active: {text} }} }} }} }}"
        ));
        let active = config.pools[0].health.active.clone().unwrap();
        let headers = active.request("h").unwrap();
        let headers = headers
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        (headers.collect::<Vec<_>>().join(" "), active.body())
    };
    assert_eq!(
        of("{ path: /h }"),
        (
            ":method=GET :path=/h :authority=h user-agent=pointsman-health".to_owned(),
            None
        )
    );
    assert_eq!(
        of("{ path: /h, method: HEAD, headers: { User-Agent: me, x-probe: '1' } }"),
        (
            ":method=HEAD :path=/h :authority=h user-agent=me x-probe=1".to_owned(),
            None
        )
    );
    assert_eq!(
        of("{ grpc: '', method: HEAD }"),
        (
            ":method=POST :path=/grpc.health.v1.Health/Check :authority=h \
             content-type=application/grpc te=trailers user-agent=pointsman-health"
                .to_owned(),
            Some(vec![0; 5])
        )
    );
}

#[test]
fn load_makes_a_slow_start_the_default() {
    for (balance, slow_start, expected) in [
        ("least_connections", "", Nanos::from_secs(10)),
        ("least_response_time", "", Nanos::from_secs(10)),
        ("least_connections", ", slow_start: 0s", Nanos::ZERO),
        ("random", "", Nanos::ZERO),
        ("ip_hash", ", slow_start: 250ms", Nanos::from_millis(250)),
    ] {
        let text = format!(
            "{{ pools: {{ p: {{ targets: [ {{ cluster: c }} ], balance: {balance}{slow_start} }} }} }}"
        );
        assert_eq!(loaded(&text).pools[0].slow_start, expected, "{text}");
    }
}

#[test]
fn regions_are_one_or_a_list() {
    let config = loaded(
        "{ pools: { p: { targets: [ { cluster: a, region: x }, { cluster: b, region: z }, { cluster: c, region: x } ],
             prefer_region: { header: X-Geo, map: { US: [z, x], NO: x }, default: z, order: [x, z] } } } }",
    );
    let names =
        |names: &[&str]| -> Vec<Box<str>> { names.iter().map(|name| (*name).into()).collect() };
    let expected = PreferRegion {
        header: (*b"x-geo").into(),
        map: vec![
            ((*b"NO").into(), names(&["x"])),
            ((*b"US").into(), names(&["z", "x"])),
        ],
        default: names(&["z"]),
        order: names(&["x", "z"]),
    };
    assert_eq!(config.pools[0].prefer_region, Some(expected));
}

#[test]
fn paths_are_read_into_their_parts() {
    let config = loaded(
        r#"{ pools: { p: { targets: [ { cluster: c } ] } }, routes: [
            { name: a, pool: p, match: { path: { prefix: / } } },
            { name: b, pool: p, match: { path: { prefix: /a/ }, ignore_case: true } },
            { name: c, pool: p, match: { path: { template: "/u/{id}/{rest=**}", ignore_case: true } },
              rewrite: { path: "/{rest}/x{id}" } },
            { name: d, pool: p, match: { path: { template: /t/ } },
              rewrite: { path_regex: { pattern: "(a)(b)", substitution: "x\\2\\\\\\0" } } } ] }"#,
    );
    let path = |route: usize| config.routes[route].blocks[0].path.as_ref().unwrap();
    let text = |text: &[u8]| Box::<[u8]>::from(text);
    assert!(matches!(&path(0).kind, PathKind::Prefix(prefix) if prefix.is_empty()));
    assert!(matches!(&path(1).kind, PathKind::Prefix(prefix) if **prefix == *b"/a"));
    assert_eq!(
        (
            path(0).ignore_case,
            path(1).ignore_case,
            path(2).ignore_case
        ),
        (false, true, true)
    );
    let PathKind::Template(segments) = &path(2).kind else {
        panic!("{:?}", path(2));
    };
    let expected = [
        Segment::Text(text(b"u")),
        Segment::Name("id".into()),
        Segment::Rest("rest".into()),
    ];
    assert_eq!(*segments, expected);
    let PathKind::Template(segments) = &path(3).kind else {
        panic!("{:?}", path(3));
    };
    assert_eq!(
        *segments,
        [Segment::Text(text(b"t")), Segment::Text(text(b""))]
    );

    let rewrite = |route: usize| {
        config.routes[route]
            .rewrite
            .as_ref()
            .unwrap()
            .path
            .as_ref()
            .unwrap()
    };
    let PathRewrite::Whole(pieces) = rewrite(2) else {
        panic!("{:?}", rewrite(2));
    };
    let (slash, slash_x) = (Piece::Text(text(b"/")), Piece::Text(text(b"/x")));
    assert_eq!(
        *pieces,
        [
            slash,
            Piece::Part(Part::Name("rest".into())),
            slash_x,
            Piece::Part(Part::Name("id".into()))
        ]
    );
    let PathRewrite::Regex { substitution, .. } = rewrite(3) else {
        panic!("{:?}", rewrite(3));
    };
    let (x, backslash) = (
        SubstitutionPart::Text(text(b"x")),
        SubstitutionPart::Text(text(b"\\")),
    );
    assert_eq!(
        *substitution,
        [
            x,
            SubstitutionPart::Group(2),
            backslash,
            SubstitutionPart::Group(0)
        ]
    );
}

/// `refused.txt` holds rows: a configuration, and under it, indented, what is said of it.
#[test]
fn everything_wrong_is_told_with_its_place() {
    let mut rows: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in include_str!("refused.txt").lines() {
        match line.strip_prefix("    ") {
            Some(message) => rows.last_mut().unwrap().1.push(message),
            None if line.is_empty() || line.starts_with("# ") => {}
            None => rows.push((line, Vec::new())),
        }
    }
    assert!(rows.len() > 50);
    for (config, expected) in rows {
        assert_eq!(
            messages(Config::from_value_with(&over_base(config), &variable)),
            expected,
            "{config}"
        );
    }
}

/// The environment of the rows of `refused.txt` and of the tests below.
fn variable(name: &str) -> Option<String> {
    let value = match name {
        "KEY" => "c2VjcmV0LXNlY3JldC1zZWNyZXQ=\n",
        "SHORT" => "c2VjcmV0",
        "NO_BASE64" => "c2VjcmV0!",
        "EMPTY" => " \n",
        "TOKEN" => "from-the-environment\n",
        "TWO_PARTS" => "c2VjcmV0;roll=1",
        _ => return None,
    };
    Some(value.to_owned())
}

#[test]
fn a_secret_in_the_environment_is_as_one_that_is_written_down() {
    let text = |key: &str, token: &str| {
        format!(
            "{{ pools: {{ a: {{ targets: [{{ cluster: x }}], sticky: {{ cookie: {{ name: c }}, keys: [{key}] }} }} }}, \
             explain: {{ header: x-why, token: {token} }}, routes: [] }}"
        )
    };
    let given = text(
        "{ env: KEY }, \"MDEyMzQ1Njc4OWFiY2RlZg==\"",
        "{ env: TOKEN }",
    );
    let written = text(
        "c2VjcmV0LXNlY3JldC1zZWNyZXQ=, \"MDEyMzQ1Njc4OWFiY2RlZg==\"",
        "from-the-environment",
    );
    let secrets = |config: Config| {
        let sticky = config.pools[0].sticky.as_ref().unwrap();
        let keys: Vec<_> = sticky.keys.iter().map(|key| key.0.to_vec()).collect();
        (keys, config.explain.unwrap().token)
    };
    let wanted = secrets(loaded(&written));
    assert_eq!(wanted.0[0], b"secret-secret-secret");
    let value = yaml(&given);
    let bytes = [json(&value).into_bytes(), encode::structure(&value)];
    for bytes in &bytes {
        let config = Config::load_in(bytes, &mut Scope::default, &variable).unwrap();
        assert_eq!(secrets(config), wanted);
    }
    let config = Config::from_value_with(&value, &variable).unwrap();
    assert_eq!(secrets(config), wanted);
    // Without a proxy nothing is set.
    assert_eq!(messages(Config::load(&bytes[0])).len(), 2);
}

#[test]
fn no_problem_tells_a_secret() {
    const SECRET: &str = "c2VjcmV0";
    let sticky = |sticky: &str| {
        format!(
            r#"{{"pools":{{"a":{{"targets":[{{"cluster":"x"}}],"sticky":{sticky}}}}},"routes":[]}}"#
        )
    };
    let with_keys = |keys: &str| sticky(&format!(r#"{{"cookie":{{"name":"c"}},{keys}}}"#));
    let explain = |explain: &str| format!(r#"{{"routes":[],"explain":{explain}}}"#);
    for config in [
        with_keys(r#""keys":[{"env":"SHORT"}]"#),
        with_keys(r#""keys":[{"env":"NO_BASE64"}]"#),
        with_keys(r#""keys":[{"env":"c2VjcmV0"}]"#),
        with_keys(r#""keys":[{"value":"c2VjcmV0"}]"#),
        with_keys(r#""keys":[{"env":["c2VjcmV0"]}]"#),
        explain(r#"{"header":"x-why","token":{"env":"TWO_PARTS"}}"#),
        explain(r#"{"header":"x-why","token":{"env":"c2VjcmV0"}}"#),
        with_keys(r#""keys":["c2VjcmV0"]"#),
        with_keys(r#""keys":["c2VjcmV0!"]"#),
        with_keys(r#""keys":"c2VjcmV0""#),
        with_keys(r#""keys":[["c2VjcmV0"]]"#),
        with_keys(r#""keys":{"first":"c2VjcmV0"}"#),
        with_keys(r#""keys":["c2VjcmV0"],"keys":["c2VjcmV0"]"#),
        with_keys(r#""key":"c2VjcmV0""#),
        sticky(r#"{"cookie":{"name":"c","keys":"c2VjcmV0"}}"#),
        explain(r#"{"header":"x-why","token":["c2VjcmV0"]}"#),
        explain(r#"{"header":"x-why","token":{"is":"c2VjcmV0"}}"#),
        explain(r#"{"header":"x-why","token":"c2VjcmV0\n"}"#),
        explain(r#"{"header":"x-why","tokens":"c2VjcmV0"}"#),
        explain(r#"{"token":"c2VjcmV0","token":"c2VjcmV0"}"#),
        explain(r#""c2VjcmV0""#),
    ] {
        let loaded = Config::load_in(config.as_bytes(), &mut Scope::default, &variable);
        let problems = loaded.unwrap_err().to_string();
        assert!(!problems.contains(SECRET), "{config}: {problems}");
    }
    // One that is a number.
    let problems = Config::load(explain(r#"{"header":"x","token":4711}"#).as_bytes()).unwrap_err();
    assert!(!problems.to_string().contains("4711"), "{problems}");
}

#[test]
fn key_given_twice_is_refused_wherever_it_stands() {
    for (text, place) in [
        (r#"{"routes":[],"pools":{},"routes":[]}"#, "routes"),
        (
            r#"{"pools":{"a":{"targets":[{"cluster":"x"}]},"a":{"targets":[{"cluster":"y"}]}}}"#,
            "pools.a",
        ),
        (
            r#"{"pools":{"a":{"targets":[{"cluster":"x","cluster":"y"}]}}}"#,
            "pools.a.targets[0].cluster",
        ),
        (
            r#"{"routes":[{"name":"a","pass":true,"response_headers":{"set":{"x":"1","x":"2"}}}]}"#,
            "routes[0].response_headers.set.x",
        ),
        (
            r#"{"routes":[{"name":"a","pass":true,"pass":true}]}"#,
            "routes[0].pass",
        ),
    ] {
        let expected = format!("{place}: given twice; expected each key at most once");
        assert_eq!(
            messages(Config::load(text.as_bytes())),
            [expected],
            "{text}"
        );
    }
}

#[test]
fn text_that_is_no_json_is_told_by_line_and_column() {
    let deep = "[".repeat(usize::from(MAX_DEPTH) + 1);
    for (text, expected) in [
        (
            "",
            "the configuration: nothing; expected JSON text or a google.protobuf.Struct",
        ),
        (
            " ",
            "line 1, column 1: EOF while parsing a value; expected JSON text",
        ),
        (
            "{\n  \"a\": trux\n}",
            "line 2, column 11: expected ident; expected JSON text",
        ),
        (
            "{} x",
            "line 1, column 4: trailing characters; expected JSON text",
        ),
        (
            "\n\n{\"a\" 1}",
            "line 3, column 6: expected `:`; expected JSON text",
        ),
        (
            "routes: []",
            "line 1, column 1: expected value; expected JSON text",
        ),
        (
            &deep,
            "line 1, column 33: nested deeper than 32 levels; expected JSON text",
        ),
    ] {
        assert_eq!(
            messages(Config::load(text.as_bytes())),
            [expected],
            "{text}"
        );
    }
    let not_utf8 = messages(Config::load(b"{\"a\xff\": 1}"));
    assert_eq!(
        not_utf8,
        ["line 1, column 4: invalid unicode code point; expected JSON text"]
    );
}

#[test]
fn line_break_before_json_does_not_make_it_a_struct() {
    // The first two bytes of each are also those of a Struct's entry of 10, 123 or 32 bytes.
    for text in [
        "\n\n\n{}",
        "\n{\"routes\": [], \"pools\": {}}\n",
        "\n {}",
        "\n\n  {\n  \"routes\": []\n}\n",
    ] {
        assert_eq!(messages(Config::load(text.as_bytes())), [""; 0], "{text}");
    }
}

#[test]
fn struct_and_json_load_alike() {
    for text in [
        INTERFACE,
        "{ routes: [] }",
        include_str!("../../../../envoy-config/pointsman.yaml"),
    ] {
        let value = yaml(text);
        let from_struct = Config::load(&encode::structure(&value))
            .unwrap_or_else(|problems| panic!("{problems}"));
        let from_json = Config::load(json(&sorted(&value)).as_bytes())
            .unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(format!("{from_struct:?}"), format!("{from_json:?}"));
        assert_eq!(
            protobuf::decode(&encode::structure(&value)),
            Ok(sorted(&value))
        );
    }
}

#[test]
fn log_line_says_what_is_live() {
    let text =
        "{ version: \"2026-11-26.3\", pools: { a: { targets: [{ cluster: a }] } }, routes: [] }";
    let config = loaded(text);
    let line = format!(
        "pointsman {}: 0 routes, 1 pool, 0 limits; configuration {} (version \"2026-11-26.3\")",
        env!("CARGO_PKG_VERSION"),
        config.hash
    );
    assert_eq!(config.summary(), line);
    let plain = loaded("{ routes: [] }").summary();
    assert!(
        plain.ends_with(&loaded("{ routes: [] }").hash.to_string()),
        "{plain}"
    );
}

#[test]
fn number_of_a_struct_that_is_no_number_is_refused() {
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, 0.5, -0.5] {
        let value = Value::Map(vec![(
            "rate_limit_table".to_owned(),
            Value::Map(vec![("max_keys".to_owned(), Value::Number(number))]),
        )]);
        let found = messages(Config::load(&encode::structure(&value)));
        assert_eq!(found.len(), 1, "{number}");
        assert!(
            found[0].starts_with("rate_limit_table.max_keys: "),
            "{found:?}"
        );
    }
}

#[test]
fn bounds_are_told() {
    let repeated = |item: &str, times: usize| vec![item; times].join(",");
    let named = |times: usize, item: &str| {
        let entries: Vec<String> = (0..times).map(|i| format!("\"n{i}\":{item}")).collect();
        format!("{{{}}}", entries.join(","))
    };
    let pool = r#"{"targets":[{"cluster":"c"}]}"#;
    let limit = r#"{"requests":1,"per":"1s","key":["path"]}"#;
    for (text, expected) in [
        (
            format!(r#"{{"routes":[{}]}}"#, repeated("1", 100_001)),
            "routes: 100001 entries; expected at most 100000",
        ),
        (
            format!(r#"{{"pools":{}}}"#, named(10_001, pool)),
            "pools: 10001 entries; expected at most 10000",
        ),
        (
            format!(r#"{{"rate_limits":{}}}"#, named(1001, limit)),
            "rate_limits: 1001 entries; expected at most 1000",
        ),
        (
            {
                let targets: Vec<String> = (0..65)
                    .map(|i| format!(r#"{{"cluster":"c{i}","region":"r{i}"}}"#))
                    .collect();
                let prefer = r#"{"header":"x","map":{"a":"r64"}}"#;
                format!(
                    r#"{{"pools":{{"p":{{"targets":[{}],"prefer_region":{prefer}}}}}}}"#,
                    targets.join(",")
                )
            },
            "pools.p.prefer_region: targets in 65 regions; expected at most 64 in a pool that prefers some",
        ),
        (
            format!(
                r#"{{"no_route":{{"respond":{{"status":200,"body":"{}"}}}}}}"#,
                "x".repeat(65_537)
            ),
            "no_route.respond.body: a body of 65537 bytes; expected at most 65536",
        ),
        (
            format!(
                r#"{{"no_route":{{"respond":{{"status":200,"headers":{}}}}}}}"#,
                named(101, "\"\"")
            ),
            "no_route.respond.headers: 101 entries; expected at most 100",
        ),
        (
            format!(
                r#"{{"routes":[{{"name":"a","pass":true,"match":{{"methods":[{}]}}}}]}}"#,
                repeated("\"GET\"", 10_001)
            ),
            "routes[0].match.methods: 10001 entries; expected at most 10000",
        ),
        (
            {
                let tag =
                    |i: u8| format!("{}{}", char::from(b'a' + i / 10), char::from(b'a' + i % 10));
                let tags: Vec<String> = (0..65).map(tag).collect();
                let route = |name: &str, languages: &[String]| {
                    let matched = serde_json::json!({ "language": languages });
                    serde_json::json!({ "name": name, "pass": true, "match": matched })
                };
                let (most, last) = tags.split_at(64);
                serde_json::json!({ "routes": [route("a", most), route("b", last)] }).to_string()
            },
            "routes: more languages; expected at most 64 languages in all",
        ),
    ] {
        let mut found = messages(Config::load(text.as_bytes()));
        found.truncate(5);
        assert_eq!(found, [expected]);
    }
    let name = "n".repeat(129);
    let long = messages(Config::load(
        format!(r#"{{"routes":[{{"name":"{name}","pass":true}}]}}"#).as_bytes(),
    ));
    let shown = "n".repeat(60);
    assert_eq!(
        long,
        [format!(
            "routes[0].name: the string \"{shown}…\"; expected a name: 1 to 128 bytes, no control characters, no blanks at its ends"
        )]
    );
}

#[test]
fn secret_is_never_shown() {
    let secret = "hunter2hunter2";
    for text in [
        format!(r#"{{"explain":{{"header":"x","token":";{secret}"}}}}"#),
        format!(r#"{{"explain":{{"header":"x y","token":"{secret}"}}}}"#),
        r#"{"explain":{"header":"x","token":424242}}"#.to_owned(),
        format!(
            r#"{{"pools":{{"p":{{"targets":[{{"cluster":"c"}}],"sticky":{{"header":"h","keys":["{secret}"]}}}}}}}}"#
        ),
        format!(
            r#"{{"pools":{{"p":{{"targets":[{{"cluster":"c"}}],"sticky":{{"header":"h","keys":["{secret}!"]}}}}}}}}"#
        ),
        r#"{"pools":{"p":{"targets":[{"cluster":"c"}],"sticky":{"header":"h","keys":[424242]}}}}"#
            .to_owned(),
    ] {
        let found = messages(Config::load(text.as_bytes()));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            !found[0].contains("hunter2") && !found[0].contains("424242"),
            "{found:?}"
        );
    }
}

#[test]
fn depth_is_bounded_alike_in_both_forms() {
    for depth in 1..=40 {
        let mut value = Value::Map(Vec::new());
        for _ in 1..depth {
            value = Value::Map(vec![("a".to_owned(), value)]);
        }
        let too_deep = |bytes: &[u8]| {
            messages(Config::load(bytes))
                .iter()
                .any(|it| it.contains("deeper than 32 levels"))
        };
        let expected = depth > usize::from(MAX_DEPTH);
        assert_eq!(too_deep(json(&value).as_bytes()), expected, "{depth}");
        assert_eq!(too_deep(&encode::structure(&value)), expected, "{depth}");
    }
}

/// Every map of a tree, by the indices that lead to it.
fn maps(value: &Value, at: &mut Vec<usize>, found: &mut Vec<Vec<usize>>) {
    let mut inside = |values: &mut dyn Iterator<Item = &Value>| {
        for (i, value) in values.enumerate() {
            at.push(i);
            maps(value, at, found);
            at.pop();
        }
    };
    match value {
        Value::Map(entries) => {
            inside(&mut entries.iter().map(|(_, value)| value));
            found.push(at.clone());
        }
        Value::List(items) => inside(&mut items.iter()),
        _ => {}
    }
}

fn at<'v>(value: &'v mut Value, path: &[usize]) -> &'v mut Value {
    match (path.split_first(), value) {
        (None, value) => value,
        (Some((first, rest)), Value::Map(entries)) => at(&mut entries[*first].1, rest),
        (Some((first, rest)), Value::List(items)) => at(&mut items[*first], rest),
        (Some(_), value) => panic!("{value:?}"),
    }
}

/// An unknown key in each map of the example file makes the loader name all keys that may stand
/// there. Each of them has to be in the file, with a comment or as one; so no key is left
/// unexplained, and none unchecked.
#[test]
fn example_file_explains_every_key() {
    let text = include_str!("../../../../envoy-config/pointsman.yaml");
    let whole = yaml(text);
    let mut found = Vec::new();
    maps(&whole, &mut Vec::new(), &mut found);
    let mut keys = BTreeSet::new();
    for path in &found {
        let mut changed = whole.clone();
        let Value::Map(entries) = at(&mut changed, path) else {
            panic!("{path:?}");
        };
        entries.insert(0, ("no-such-key".to_owned(), Value::Bool(true)));
        for message in messages(Config::from_value(&changed)) {
            if let Some((_, known)) =
                message.split_once("no-such-key: unknown key; expected one of ")
            {
                keys.extend(known.split(", ").map(str::to_owned));
            }
        }
    }
    assert!(keys.len() > 60, "{keys:?}");
    for key in keys {
        assert!(text.contains(&format!("{key}:")), "{key}");
    }
}

/// Whatever stands in place of any part of a configuration.
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<f64>().prop_map(Value::Number),
        (-3i32..70_000).prop_map(|number| Value::Number(number.into())),
        ".{0,12}".prop_map(Value::Text),
        "[/{}=*.:a0\\\\%\\[\\]-]{0,12}".prop_map(Value::Text),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::List),
            proptest::collection::vec(("[a-z_]{0,8}", inner), 0..4).prop_map(Value::Map),
        ]
    })
}

/// The nodes of a tree in one order, so that a number names one.
fn nth<'v>(value: &'v mut Value, left: &mut usize) -> Option<&'v mut Value> {
    if *left == 0 {
        return Some(value);
    }
    *left -= 1;
    match value {
        Value::List(items) => items.iter_mut().find_map(|item| nth(item, left)),
        Value::Map(entries) => entries.iter_mut().find_map(|(_, value)| nth(value, left)),
        _ => None,
    }
}

proptest! {
    #[test]
    fn any_bytes_are_loaded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Config::load(&bytes);
        let _ = protobuf::decode(&bytes);
    }

    #[test]
    fn damaged_bytes_are_loaded_or_refused(at in any::<prop::sample::Index>(), with in any::<u8>(), cut in any::<bool>()) {
        let value = yaml(INTERFACE);
        for mut bytes in [json(&value).into_bytes(), encode::structure(&value)] {
            let at = at.index(bytes.len());
            bytes[at] = with;
            if cut {
                bytes.truncate(at + 1);
            }
            match Config::load(&bytes) {
                Ok(_) => {}
                Err(problems) => prop_assert!(!problems.0.is_empty() && !problems.to_string().is_empty()),
            }
        }
    }

    #[test]
    fn changed_part_is_loaded_or_refused_and_in_every_form_alike(at in 0usize..220, with in any_value()) {
        let mut value = yaml(INTERFACE);
        if let Some(node) = nth(&mut value, &mut { at }) {
            *node = with;
        }
        let said = |loaded: Result<Config, Problems>| match loaded {
            Ok(config) => format!("{config:?}"),
            Err(problems) => problems.to_string(),
        };
        let whole = said(Config::from_value(&value));
        prop_assert!(!whole.is_empty());
        // These two read the routes one by one.
        let text = json(&value);
        if !text.contains("NaN") && !text.contains("inf") {
            prop_assert_eq!(said(Config::load(text.as_bytes())), whole);
        }
        if matches!(&value, Value::Map(entries) if !entries.is_empty()) {
            let bytes = encode::structure(&value);
            prop_assert_eq!(said(Config::load(&bytes)), said(Config::from_value(&sorted(&value))));
        }
    }

    #[test]
    fn struct_round_trips(entries in proptest::collection::vec(("[a-z]{0,9}", any_value()), 1..5)) {
        let value = Value::Map(entries);
        let bytes = encode::structure(&value);
        prop_assert!(protobuf::is_struct(&bytes));
        let text = format!("\n{}", json(&value));
        prop_assert!(!protobuf::is_struct(text.as_bytes()));
        // Debug and not equality, for a NaN is not equal to itself.
        prop_assert_eq!(format!("{:?}", protobuf::decode(&bytes)), format!("{:?}", Ok::<_, ()>(sorted(&value))));
    }
}

use super::condition::{Condition, Text};
use super::host::HostMatch;
use super::r#match::{AskConnection, PeerMatch, TlsMatch};
use super::path::tests::path;
use super::scan::scan;
use super::*;
use crate::http::client_ip::Network;
use crate::http::device::Devices;
use crate::http::headers::Headers;
use crate::http::request::Request;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// A host as it is written: `a.b`, `*.a.b`, `*`.
pub(crate) fn host(text: &str) -> HostMatch {
    match text.strip_prefix('*') {
        Some("") => HostMatch::Any,
        Some(suffix) => HostMatch::Suffix(suffix.as_bytes().into()),
        None => HostMatch::Exact(text.as_bytes().into()),
    }
}

/// A route of these blocks that does nothing.
pub(crate) fn route(blocks: Vec<Match>) -> Route {
    Route {
        name: "".into(),
        blocks,
        rate_limits: vec![],
        protect: Box::default(),
        request_headers: Edits::default(),
        response_headers: None,
        rewrite: None,
        router_options: None,
        mirror: None,
        action: RouteAction::Pass,
    }
}

#[test]
fn hosts_match_as_the_interface_says() {
    for (ours, authority, expected) in [
        ("shop.example.com", "shop.example.com", true),
        ("shop.example.com", "SHOP.example.COM:8080", true),
        ("shop.example.com", "a.shop.example.com", false),
        ("shop.example.com", "shop.example.com.", true),
        ("shop.example.com", "shop.example.com..", false),
        ("shop.example.com", "shop.example.com:80@evil.test", false),
        ("*.example.com", "a,b.example.com", false),
        ("*.example.com", "a..example.com", false),
        ("shop.example.com", "", false),
        ("*.example.com", "example.com", false),
        ("*.example.com", ".example.com", false),
        ("*.example.com", "a.example.com", true),
        ("*.example.com", "a.b.EXAMPLE.com:1", true),
        ("*.example.com", "aexample.com", false),
        ("*.example.com", "a.example.com.org", false),
        ("*", "", true),
        ("*", "a", true),
        ("::1", "[::1]:80", false),
        ("[::1]", "[::1]:80", true),
    ] {
        let headers = Headers::from_pairs(&[(":authority", authority)]);
        assert_eq!(
            host(ours).matches(Request::new(&headers).host()),
            expected,
            "{ours} on {authority}"
        );
        assert_eq!(host(ours).to_string(), ours);
    }
}

fn named(name: &str, text: &str, invert: bool) -> Vec<Condition> {
    vec![Condition {
        name: name.as_bytes().into(),
        text: match text {
            "" => Text::Present(true),
            text => Text::Exact(text.as_bytes().into()),
        },
        invert,
    }]
}

/// A block with one condition of each kind.
fn full() -> Match {
    Match {
        hosts: vec![host("a"), host("*.a")],
        path: Some(path("prefix", "/checkout")),
        scheme: Some(b"https"[..].into()),
        methods: vec![b"GET"[..].into(), b"POST"[..].into()],
        headers: named("x-tier", "gold", false),
        cookies: named("beta", "1", false),
        query: named("re gion", "us east", false),
        client_ip: vec![
            Network::parse("10.0.0.0/8").unwrap(),
            Network::parse("::1").unwrap(),
        ],
        devices: Devices::default(),
        language: None,
        tls: None,
    }
}

/// A connection of which TLS says this, and how often it was asked.
struct Shown {
    server_name: Option<&'static str>,
    peer: Option<&'static str>,
    asked: (u32, u32),
}

impl AskConnection for Shown {
    fn address(&mut self) -> Option<std::net::IpAddr> {
        None
    }

    fn server_name(&mut self) -> Option<&[u8]> {
        self.asked.0 += 1;
        self.server_name.map(str::as_bytes)
    }

    fn peer(&mut self) -> Option<&[u8]> {
        self.asked.1 += 1;
        self.peer.map(str::as_bytes)
    }
}

#[test]
fn tls_matches_as_the_interface_says() {
    let block = |sni: &[&str], peer: &[&str]| Match {
        path: Some(path("prefix", "/a")),
        tls: Some(Box::new(TlsMatch {
            sni: sni.iter().map(|text| host(text)).collect(),
            peer: peer
                .iter()
                .map(|text| match text.strip_suffix('*') {
                    Some(start) => PeerMatch::Prefix(start.as_bytes().into()),
                    None => PeerMatch::Exact(text.as_bytes().into()),
                })
                .collect(),
        })),
        ..Match::default()
    };
    const SHOP: &str = "spiffe://mesh/ns/shop/sa/web";
    let mesh: &[&str] = &["spiffe://mesh/ns/shop/*", "spiffe://mesh/ns/ops/sa/admin"];
    for (sni, peer, server_name, shown, failed) in [
        (&["a.com"][..], &[][..], Some("a.com"), None, None),
        (&["a.com"], &[], Some("A.COM"), None, None),
        (
            &["a.com"],
            &[],
            Some("b.a.com"),
            None,
            Some("tls sni: a.com, got b.a.com"),
        ),
        (&["*.a.com"], &[], Some("c.b.a.com"), None, None),
        (
            &["*.a.com", "b.com"],
            &[],
            Some("a.com"),
            None,
            Some("tls sni: *.a.com or b.com, got a.com"),
        ),
        (&["*"], &[], Some("x"), None, None),
        (
            &["*"],
            &[],
            None,
            Some(SHOP),
            Some("tls sni: *, got nothing"),
        ),
        (&[], mesh, None, Some(SHOP), None),
        (&[], mesh, None, Some("spiffe://mesh/ns/ops/sa/admin"), None),
        (
            &[],
            &["spiffe://mesh/*"],
            None,
            None,
            Some("tls peer: spiffe://mesh/*, got nothing"),
        ),
        // A prefix is not what it is the prefix of, and case counts.
        (
            &[],
            &["s:a/*"],
            None,
            Some("s:a/"),
            Some("tls peer: s:a/*, got s:a/"),
        ),
        (
            &[],
            &["s:a"],
            None,
            Some("s:A"),
            Some("tls peer: s:a, got s:A"),
        ),
        (
            &[],
            &["s:a"],
            None,
            Some("s:ab"),
            Some("tls peer: s:a, got s:ab"),
        ),
        (&["a.com"], mesh, Some("a.com"), Some(SHOP), None),
        (
            &["a.com"],
            &["s:a"],
            Some("a.com"),
            Some(SHOP),
            Some("tls peer: s:a, got spiffe://mesh/ns/shop/sa/web"),
        ),
    ] {
        let mut connection = Shown {
            server_name,
            peer: shown,
            asked: (0, 0),
        };
        let headers = Headers::from_pairs(&[(":path", "/a")]);
        let request = Request::new(&headers);
        let routes = [route(vec![block(sni, peer)])];
        let (found, trace) = scan(&routes, &request, &mut connection);
        assert_eq!(trace[0].failed.as_deref(), failed, "{sni:?} {peer:?}");
        assert_eq!(found.is_some(), failed.is_none());
    }
    // Nobody is asked where another condition does not hold.
    let mut connection = Shown {
        server_name: None,
        peer: None,
        asked: (0, 0),
    };
    let headers = Headers::from_pairs(&[(":path", "/b")]);
    let wanted = block(&["*"], &["s:*"]);
    assert!(!wanted.matches(&Request::new(&headers), &mut connection));
    assert_eq!(connection.asked, (0, 0));
}

const GOOD: &[(&str, &str)] = &[
    (":authority", "a:80"),
    (":path", "/checkout/x?re%20gion=us+east&x"),
    (":scheme", "HTTPS"),
    (":method", "POST"),
    ("x-tier", "gold"),
    ("cookie", "beta=0; beta=1"),
];

fn traced(blocks: Vec<Match>, request: &[(&str, &str)], client: &str) -> Option<String> {
    let headers = Headers::from_pairs(request);
    let (found, mut trace) = scan(&[route(blocks)], &Request::new(&headers), &mut || {
        client.parse().ok()
    });
    let last = trace.pop().unwrap();
    assert!(trace.is_empty());
    assert_eq!(found.is_some(), last.failed.is_none());
    last.failed
}

#[test]
fn every_condition_is_needed_and_the_first_that_fails_is_told() {
    assert_eq!(traced(vec![full()], GOOD, "10.1.2.3"), None);
    assert_eq!(traced(vec![Match::default()], &[], ""), None);
    for (name, value, failed) in [
        (":authority", "b:80", "host: a or *.a, got b"),
        (":authority", "", "host: a or *.a, got nothing"),
        (":path", "/cart?region", "path: prefix /checkout, got /cart"),
        (
            ":path",
            "/\x00\x01",
            "path: prefix /checkout, got /\\u{0}\\u{1}",
        ),
        (":scheme", "http", "scheme: https, got http"),
        (":method", "get", "method: GET or POST, got get"),
        ("x-tier", "silver", "header x-tier: exact gold, got silver"),
        ("cookie", "beta=0; beta=2", "cookie beta: exact 1, got 0, 2"),
        ("cookie", "", "cookie beta: exact 1, got nothing"),
        (
            ":path",
            "/checkout?re+gion=%75s",
            "query re gion: exact us east, got us",
        ),
    ] {
        let mut request = GOOD.to_vec();
        request
            .iter_mut()
            .filter(|pair| pair.0 == name)
            .for_each(|pair| pair.1 = value);
        assert_eq!(
            traced(vec![full()], &request, "10.1.2.3").as_deref(),
            Some(failed)
        );
    }
    let networks = "client_ip: 10.0.0.0/8 or ::1/128, got";
    assert_eq!(
        traced(vec![full()], GOOD, "11.0.0.1"),
        Some(format!("{networks} 11.0.0.1"))
    );
    assert_eq!(
        traced(vec![full()], GOOD, ""),
        Some(format!("{networks} nothing"))
    );
}

#[test]
fn pseudo_headers_are_headers_and_inverted_none_may_match() {
    for (name, text, invert, failed) in [
        (":method", "POST", false, None),
        (
            ":method",
            "POST",
            true,
            Some("header :method: not exact POST, got POST"),
        ),
        (
            "x-none",
            "",
            false,
            Some("header x-none: present, got nothing"),
        ),
        ("x-none", "", true, None),
        ("x-none", "a", true, None),
    ] {
        let block = Match {
            headers: named(name, text, invert),
            ..Match::default()
        };
        assert_eq!(traced(vec![block], GOOD, "").as_deref(), failed);
    }
}

#[test]
fn of_several_blocks_the_one_that_got_furthest_is_told() {
    let blocks = || {
        let other_host = Match {
            hosts: vec![host("b")],
            ..Match::default()
        };
        let other_method = Match {
            methods: vec![b"PUT"[..].into()],
            ..Match::default()
        };
        let other_path = Match {
            path: Some(path("exact", "/y")),
            ..Match::default()
        };
        vec![other_host, other_method, other_path]
    };
    assert_eq!(
        traced(blocks(), GOOD, "").as_deref(),
        Some("method: PUT, got POST")
    );
}

#[test]
fn long_values_are_shortened() {
    let value = "x".repeat(10_000);
    let failed = traced(vec![full()], &[(":authority", &value)], "").unwrap();
    assert_eq!(failed, format!("host: a or *.a, got {}…", "x".repeat(80)));
    let cookies = "beta=0;".repeat(1_000);
    let mut request = GOOD.to_vec();
    request
        .iter_mut()
        .filter(|pair| pair.0 == "cookie")
        .for_each(|pair| pair.1 = &cookies);
    let failed = traced(vec![full()], &request, "").unwrap();
    assert_eq!(
        failed,
        "cookie beta: exact 1, got 0, 0, 0, 0, 0, 0, 0, 0, …"
    );
}

#[test]
fn the_client_is_asked_for_only_where_all_else_matches() {
    let routes = [route(vec![full()]), route(vec![full(), Match::default()])];
    let index = index::Index::new(&routes);
    for (method, asked) in [("PUT", 0), ("GET", 2)] {
        let mut request = GOOD.to_vec();
        request
            .iter_mut()
            .filter(|pair| pair.0 == ":method")
            .for_each(|pair| pair.1 = method);
        let headers = Headers::from_pairs(&request);
        let mut times = 0;
        let found = index.find(&routes, &Request::new(&headers), &mut || {
            times += 1;
            None
        });
        assert_eq!(
            (found, times),
            (
                Some(Found {
                    route: RouteIndex::new(1),
                    block: 1
                }),
                asked
            )
        );
    }
}

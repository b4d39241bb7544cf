//! Laws of a request's way.

use super::*;
use crate::decision::Disposition;
use crate::entropy::WorkerId;
use crate::http::request::Headers;
use crate::index::PoolIndex;
use crate::index::TargetIndex;
use crate::pool::outcome::Seen;
use crate::port::StreamInfo;
use crate::port::memory::MemoryPort;
use crate::time::Seconds;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// Some day.
const NOW: Nanos = Nanos::from_secs(1_800_000_000);

/// One worker and its port.
struct Asked {
    worker: Worker,
    port: MemoryPort,
    now: Nanos,
}

/// What became of a request.
struct Became {
    /// The headers that go upstream; None for an answer.
    upstream: Option<Vec<(String, String)>>,
    status: Option<u16>,
    response: Vec<String>,
    /// What a request with the token is told.
    told: Option<String>,
    cookie: Option<String>,
    flight: Option<Flight>,
}

impl Asked {
    fn of(config: &str) -> Asked {
        let config = match Config::load(config.as_bytes()) {
            Ok(config) => config,
            Err(problems) => panic!("{problems}"),
        };
        Asked {
            worker: Worker::new(
                Rc::new(config),
                Entropy {
                    seed: [7; 16],
                    rolls: 42,
                    worker: WorkerId::new(Seconds::ZERO, 1),
                },
            ),
            port: MemoryPort {
                source_address: Some([192, 0, 2, 1].into()),
                ..MemoryPort::default()
            },
            now: NOW,
        }
    }

    fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> Became {
        let mut pairs = vec![
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", "h"),
            (":path", path),
        ];
        pairs.extend(headers);
        let map = Headers::from_pairs(&pairs);
        let config = self.worker.config().clone();
        let decision = self
            .worker
            .decide(&config, &Request::new(&map), &mut self.port, self.now);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let status = match &decision.disposition {
            Disposition::Continue => None,
            Disposition::Answer(answer) => Some(answer.status),
        };
        let mut upstream: Vec<_> = pairs
            .iter()
            .map(|(n, v)| (n.to_string(), v.to_string()))
            .collect();
        for change in &decision.request_edits {
            let name = text(change.name());
            if let Change::Remove(_) | Change::Set(..) = change {
                upstream.retain(|(known, _)| *known != name);
            }
            if let Change::Set(_, value) | Change::Add(_, value) = change {
                upstream.push((name, text(value)));
            }
        }
        Became {
            upstream: status.is_none().then_some(upstream),
            status,
            response: response_edits(&decision.response, &config)
                .map(|edit| format!("{edit:?}"))
                .collect(),
            told: decision.response.explain.as_deref().map(text),
            cookie: decision.response.set_cookie.map(|cookie| text(&cookie)),
            flight: decision.flight,
        }
    }
}

impl Became {
    fn header(&self, name: &str) -> Option<&str> {
        let mut values = self
            .upstream
            .iter()
            .flatten()
            .filter(|(known, _)| known == name);
        let value = values.next().map(|(_, value)| &**value);
        assert!(values.next().is_none(), "{name} goes upstream twice");
        value
    }

    fn cluster(&self) -> Option<&str> {
        self.header("x-pointsman-cluster")
    }

    /// The cookie as a client sends it back.
    fn pair(&self) -> String {
        let cookie = self.cookie.as_deref().unwrap();
        cookie.split(';').next().unwrap().to_owned()
    }
}

/// A canary: `STABLE` to `NEW` by weight, both sticky, in the words of a configuration.
fn canary(stable: u32, new: u32) -> Asked {
    Asked::of(&format!(
        r#"{{
            "pools": {{
                "stable": {{ "targets": [{{"cluster": "s1"}}, {{"cluster": "s2"}}], "sticky": {{
                    "cookie": {{"name": "pm"}}, "header": "x-session", "keys": ["MDEyMzQ1Njc4OWFiY2RlZg=="] }} }},
                "new": {{ "targets": [{{"cluster": "n1"}}, {{"cluster": "n2"}}], "sticky": {{
                    "cookie": {{"name": "pm"}}, "header": "x-session", "keys": ["MDEyMzQ1Njc4OWFiY2RlZg=="] }} }}
            }},
            "routes": [{{ "name": "r", "split": [
                {{"pool": "stable", "weight": {stable}}}, {{"pool": "new", "weight": {new}}}] }}]
        }}"#
    ))
}

#[test]
fn a_session_stays_whatever_becomes_of_the_weights() {
    for (before, after) in [((1, 0), (0, 1)), ((0, 1), (1, 0)), ((1, 1), (0, 0))] {
        let first = canary(before.0, before.1).get("/", &[]);
        let mut shifted = canary(after.0, after.1);
        for _ in 0..5 {
            let again = shifted.get("/", &[("cookie", &first.pair())]);
            assert_eq!(again.cluster(), first.cluster());
            assert_eq!(again.cookie, None, "nothing new to tell the client");
        }
    }
}

#[test]
fn a_header_holds_a_client_to_its_part_and_target() {
    let (mut asked, mut other_worker) = (canary(1, 1), canary(1, 1));
    let mut seen = std::collections::BTreeSet::new();
    for client in 0..50 {
        let session = [("x-session", &*client.to_string())];
        let home = asked.get("/", &session).cluster().map(str::to_owned);
        assert_eq!(other_worker.get("/", &session).cluster(), home.as_deref());
        assert_eq!(asked.get("/", &session).cluster(), home.as_deref());
        seen.insert(home);
    }
    assert_eq!(seen.len(), 4, "clients spread over all targets");
}

#[test]
fn a_canary_that_grows_moves_header_clients_one_way_only() {
    let (mut small, mut large) = (canary(90, 10), canary(50, 50));
    for client in 0..200 {
        let session = [("x-session", &*client.to_string())];
        let (before, after) = (small.get("/", &session), large.get("/", &session));
        if before.cluster() != after.cluster() {
            assert!(
                before.cluster().unwrap().starts_with('s')
                    && after.cluster().unwrap().starts_with('n')
            );
        }
    }
}

#[test]
fn nothing_new_comes_where_no_target_takes_it() {
    for target in [
        r#""weight": 0"#,
        r#""state": "draining""#,
        r#""state": "down""#,
    ] {
        let mut asked = Asked::of(&format!(
            r#"{{"pools": {{"p": {{"targets": [{{"cluster": "c", {target}}}]}}}}, "routes": [{{"name": "r", "pool": "p"}}]}}"#
        ));
        assert_eq!(asked.get("/", &[]).status, Some(503), "{target}");
    }
    assert_eq!(canary(0, 0).get("/", &[]).status, Some(503));
}

/// Every kind of way on, with edits that try to keep what a client sent.
const EVERY_WAY: &str = r#"{
    "pools": {
        "c": {"targets": [{"cluster": "ours"}]},
        "e": {"cluster": "ours", "targets": [{"endpoint": "127.0.0.1:1"}, {"endpoint": "127.0.0.1:2"}]}
    },
    "routes": [
        {"name": "pool", "match": {"path": {"prefix": "/pool"}}, "pool": "c"},
        {"name": "endpoints", "match": {"path": {"prefix": "/endpoints"}}, "pool": "e"},
        {"name": "split", "match": {"path": {"prefix": "/split"}}, "split": [{"pool": "c", "weight": 1}]},
        {"name": "pass", "match": {"path": {"prefix": "/pass"}}, "pass": true}
    ],
    "no_route": {"pass": true},
    "explain": {"header": "x-why", "token": "secret"}
}"#;

#[test]
fn upstream_headers_and_tokens_of_a_client_go_nowhere() {
    let mut asked = Asked::of(EVERY_WAY);
    let theirs = [
        ("x-pointsman-cluster", "theirs"),
        ("x-pointsman-endpoint", "127.0.0.1:3"),
        ("x-pointsman-cluster", "theirs"),
        ("x-why", "guess"),
    ];
    for (path, cluster, endpoint) in [
        ("/pool", Some("ours"), None),
        ("/endpoints", Some("ours"), Some("127.0.0.1:1,127.0.0.1:2")),
        ("/split", Some("ours"), None),
        ("/pass", None, None),
        ("/none", None, None),
    ] {
        let became = asked.get(path, &theirs);
        assert_eq!(became.cluster(), cluster, "{path}");
        let list = became
            .header("x-pointsman-endpoint")
            .map(|list| list.split(',').count());
        assert_eq!(list, endpoint.map(|list| list.split(',').count()), "{path}");
        assert_eq!(became.header("x-why"), None, "{path}");
        assert_eq!(
            became.response,
            Vec::<String>::new(),
            "{path}: a guess is told nothing"
        );
    }
    let told = asked.get("/pool", &[("x-why", "secret")]);
    assert_eq!(told.response.len(), 1);
    assert_eq!(told.header("x-why"), None);
}

#[test]
fn edits_come_in_order_and_the_choice_is_last() {
    let mut asked = Asked::of(
        r#"{
        "pools": {"p": {"targets": [{"cluster": "c"}]}},
        "routes": [{
            "name": "r",
            "match": {"path": {"prefix": "/a"}},
            "rewrite": {"path_prefix": "/b", "host": "inner"},
            "request_headers": {"remove": ["x-gone", "x-never"], "set": {"x-set": "route"}, "add": {"x-add": "route"}},
            "split": [{"pool": "p", "weight": 1, "request_headers": {"set": {"x-set": "part"}, "remove": ["x-add"]}}]
        }]
    }"#,
    );
    let became = asked.get("/a/1?q", &[("x-gone", "1"), ("x-set", "client")]);
    for (name, value) in [
        (":path", Some("/b/1?q")),
        (":authority", Some("inner")),
        ("x-gone", None),
        ("x-set", Some("part")),
        ("x-add", None),
        ("x-pointsman-cluster", Some("c")),
    ] {
        assert_eq!(became.header(name), value, "{name}");
    }
    assert_eq!(
        became.upstream.unwrap().last().unwrap().0,
        "x-pointsman-cluster"
    );
}

#[test]
fn a_refused_request_takes_no_turn_and_gets_no_session() {
    let mut asked = Asked::of(
        r#"{
        "pools": {"p": {"targets": [{"cluster": "a"}, {"cluster": "b"}], "sticky": {"cookie": {"name": "pm"}}}},
        "rate_limits": {"one": {"requests": 1, "per": "1h", "key": [{"header": "x-client"}]}},
        "routes": [{"name": "r", "rate_limits": ["one"], "pool": "p"}]
    }"#,
    );
    let first = asked.get("/", &[("x-client", "1")]);
    let refused = asked.get("/", &[("x-client", "1")]);
    assert_eq!((refused.status, refused.cookie), (Some(429), None));
    let second = asked.get("/", &[("x-client", "2")]);
    assert_ne!(
        first.cluster(),
        second.cluster(),
        "the turn after the first is the second's"
    );
}

/// A pool of endpoints with this balance, with anything beside it.
fn balanced(balance: &str, beside: &str) -> Asked {
    Asked::of(&format!(
        r#"{{
            "pools": {{"p": {{"cluster": "c", "balance": {balance}, "targets": [
                {{"endpoint": "127.0.0.1:1"}}, {{"endpoint": "127.0.0.1:2"}}, {{"endpoint": "127.0.0.1:3"}}] {beside} }}}},
            "client_ip": {{"header": "x-forwarded-for"}},
            "rate_limits": {{"many": {{"requests": 1000000, "per": "1s", "key": ["client_ip"]}}}},
            "routes": [{{"name": "r", "rate_limits": ["many"], "pool": "p"}}],
            "explain": {{"header": "x-why", "token": "t"}}
        }}"#
    ))
}

impl Became {
    /// The first endpoint, and whether others follow.
    fn endpoint(&self) -> &str {
        let list = self.header("x-pointsman-endpoint").unwrap();
        assert_eq!(
            list.split(',').count(),
            3,
            "the others are there for retries"
        );
        list.split(',').next().unwrap()
    }

    fn reason(&self) -> &str {
        let (_, after) = self
            .told
            .as_deref()
            .unwrap()
            .split_once(r#""reason":""#)
            .unwrap();
        after.split('"').next().unwrap()
    }
}

#[test]
fn a_key_keeps_its_target_and_keys_spread_over_all() {
    let header = |name: &'static str| move |key: &str| ("/".to_owned(), name, key.to_owned());
    type Request = Box<dyn Fn(&str) -> (String, &'static str, String)>;
    let rows: [(&str, Request); 6] = [
        (
            r#""ip_hash""#,
            Box::new(|key| ("/".to_owned(), "x-forwarded-for", format!("10.0.0.{key}"))),
        ),
        (
            r#"{"consistent_hash": {"key": "client_ip"}}"#,
            Box::new(|key| ("/".to_owned(), "x-forwarded-for", format!("::{key}"))),
        ),
        (
            r#"{"consistent_hash": {"key": {"header": "X-Tenant"}}}"#,
            Box::new(header("x-tenant")),
        ),
        (
            r#"{"consistent_hash": {"key": {"cookie": "t"}}}"#,
            Box::new(|key| ("/".to_owned(), "cookie", format!("a=b; t={key}"))),
        ),
        (
            r#"{"consistent_hash": {"key": {"query": "t"}}}"#,
            Box::new(|key| (format!("/{key}?t={key}"), "x-other", key.to_owned())),
        ),
        (
            r#"{"consistent_hash": {"key": "path"}}"#,
            Box::new(|key| (format!("/{key}?{key}"), "x-other", key.to_owned())),
        ),
    ];
    for (balance, request) in rows {
        let (mut asked, mut other) = (balanced(balance, ""), balanced(balance, ""));
        let entropy = Entropy {
            seed: [8; 16],
            rolls: 43,
            worker: WorkerId::new(Seconds::ZERO, 2),
        };
        other.worker = Worker::new(other.worker.config().clone(), entropy);
        let mut seen = std::collections::BTreeSet::new();
        for key in 0..40 {
            let (path, name, value) = request(&key.to_string());
            let headers = [(name, &*value), ("x-why", "t")];
            let first = asked.get(&path, &headers);
            assert_eq!(first.reason(), "hash", "{balance}");
            for worker in [&mut asked, &mut other] {
                assert_eq!(
                    worker.get(&path, &headers).endpoint(),
                    first.endpoint(),
                    "{balance} {key}"
                );
            }
            seen.insert(first.endpoint().to_owned());
        }
        assert_eq!(seen.len(), 3, "{balance}");
    }
}

#[test]
fn requests_without_the_key_take_turns() {
    for key in ["header", "cookie", "query"] {
        let mut asked = balanced(
            &format!(r#"{{"consistent_hash": {{"key": {{"{key}": "t"}}}}}}"#),
            "",
        );
        let mut seen = std::collections::BTreeMap::<_, u32>::new();
        for _ in 0..30 {
            let became = asked.get("/", &[("x-why", "t")]);
            assert_eq!(became.reason(), "balance");
            *seen.entry(became.endpoint().to_owned()).or_default() += 1;
        }
        assert_eq!(
            seen.into_values().collect::<Vec<_>>(),
            [10, 10, 10],
            "{key}"
        );
    }
}

#[test]
fn a_session_goes_before_the_hash() {
    let sticky = r#", "sticky": {"cookie": {"name": "pm"}, "header": "x-session"}"#;
    let mut asked = balanced(
        r#"{"consistent_hash": {"key": {"header": "x-tenant"}}}"#,
        sticky,
    );
    let mut sets_apart = false;
    for tenant in 0..20 {
        let tenant = tenant.to_string();
        let home = asked.get("/", &[("x-tenant", "home"), ("x-why", "t")]);
        let other = asked.get("/", &[("x-tenant", &tenant)]);
        sets_apart |= home.endpoint() != other.endpoint();
        let kept = asked.get(
            "/",
            &[
                ("x-tenant", &tenant),
                ("cookie", &home.pair()),
                ("x-why", "t"),
            ],
        );
        assert_eq!(
            (kept.endpoint(), kept.reason()),
            (home.endpoint(), "sticky")
        );
        let by_header = |asked: &mut Asked, tenant: &str| {
            let became = asked.get(
                "/",
                &[("x-tenant", tenant), ("x-session", "s"), ("x-why", "t")],
            );
            assert_eq!(became.reason(), "sticky_header");
            became.endpoint().to_owned()
        };
        assert_eq!(
            by_header(&mut asked, &tenant),
            by_header(&mut asked, "home")
        );
    }
    assert!(sets_apart);
}

#[test]
fn the_source_address_is_asked_for_once_and_only_where_it_decides() {
    for (balance, client_limit, questions) in [
        (r#""ip_hash""#, false, 1),
        (r#""ip_hash""#, true, 1),
        (r#"{"consistent_hash": {"key": "path"}}"#, false, 0),
        (r#""round_robin""#, false, 0),
    ] {
        let limits = if client_limit {
            r#""rate_limits": ["l"], "#
        } else {
            ""
        };
        let mut asked = Asked::of(&format!(
            r#"{{
                "pools": {{"p": {{"balance": {balance}, "targets": [{{"cluster": "a"}}, {{"cluster": "b"}}]}}}},
                "rate_limits": {{"l": {{"requests": 9, "per": "1s", "key": ["client_ip"]}}}},
                "routes": [{{"name": "r", {limits} "pool": "p"}}]
            }}"#
        ));
        asked.get("/", &[]);
        assert_eq!(
            asked.port.address_reads, questions,
            "{balance} {client_limit}"
        );
    }
}

/// A pool of clusters, each with what else is said of it.
fn clusters(targets: &[(&str, &str)], beside: &str) -> String {
    let targets: Vec<String> = targets
        .iter()
        .map(|(name, with)| format!(r#"{{"cluster": "{name}"{with}}}"#))
        .collect();
    format!(r#"{{"targets": [{}] {beside}}}"#, targets.join(","))
}

/// One route to the first of these pools, which tells why.
fn routed(pools: &[(&str, String)]) -> Asked {
    let defined: Vec<String> = pools
        .iter()
        .map(|(name, pool)| format!(r#""{name}": {pool}"#))
        .collect();
    Asked::of(&format!(
        r#"{{"pools": {{{}}}, "routes": [{{"name": "r", "pool": "{}"}}], "explain": {{"header": "x-why", "token": "t"}}}}"#,
        defined.join(","),
        pools[0].0
    ))
}

const UP: &str = "";
const DOWN: &str = r#", "state": "down""#;
const WHY: (&str, &str) = ("x-why", "t");

#[test]
fn failover_takes_the_first_pool_that_can_and_follows_no_list_but_the_first() {
    let pools = |b: &str, c: &str| {
        routed(&[
            (
                "a",
                clusters(&[("a1", DOWN)], r#", "failover": ["b", "c"]"#),
            ),
            ("b", clusters(&[("b1", b)], r#", "failover": ["a", "d"]"#)),
            ("c", clusters(&[("c1", c)], r#", "failover": ["b", "a"]"#)),
            ("d", clusters(&[("d1", UP)], "")),
        ])
    };
    for (b, c, cluster, reason) in [
        (UP, UP, Some("b1"), "failover"),
        (DOWN, UP, Some("c1"), "failover"),
        (DOWN, DOWN, None, "no_target"),
    ] {
        let became = pools(b, c).get("/", &[WHY]);
        assert_eq!((became.cluster(), became.reason()), (cluster, reason));
        assert_eq!(became.status, cluster.is_none().then_some(503));
        assert!(became.told.unwrap().contains(r#""pool":"#));
    }
}

#[test]
fn a_pool_of_failover_keeps_its_own_sessions_and_gives_clients_back() {
    const STICKY: &str = r#""sticky": {"cookie": {"name": "#;
    let pools = |state: &str| {
        routed(&[
            (
                "web",
                clusters(
                    &[("w1", state), ("w2", state)],
                    &format!(r#", {STICKY}"web"}}}}, "failover": ["spare"]"#),
                ),
            ),
            (
                "spare",
                clusters(
                    &[("s1", UP), ("s2", UP), ("s3", UP)],
                    &format!(r#", {STICKY}"spare"}}}}"#),
                ),
            ),
        ])
    };
    let home = pools(UP).get("/", &[]);
    let mut down = pools(DOWN);
    let away = down.get("/", &[("cookie", &home.pair()), WHY]);
    assert_eq!(away.reason(), "failover");
    assert!(
        away.pair().starts_with("spare="),
        "the old cookie stays beside it"
    );
    let both = format!("{}; {}", home.pair(), away.pair());
    for _ in 0..6 {
        let again = down.get("/", &[("cookie", &both), WHY]);
        assert_eq!(
            (again.cluster(), again.reason()),
            (away.cluster(), "failover")
        );
        assert_eq!(again.cookie, None);
    }
    let back = pools(UP).get("/", &[("cookie", &both), WHY]);
    assert_eq!((back.cluster(), back.reason()), (home.cluster(), "sticky"));
    assert_eq!(back.cookie, None);
}

#[test]
fn a_session_outlives_draining_and_not_its_targets_end() {
    let one = |state: &str| {
        let sticky = r#", "sticky": {"cookie": {"name": "pm"}}"#;
        routed(&[(
            "p",
            clusters(&[("blue", state), ("green", r#", "weight": 0"#)], sticky),
        )])
    };
    let first = one(UP).get("/", &[]);
    assert_eq!(first.cluster(), Some("blue"));
    for state in [r#", "state": "draining""#, r#", "weight": 0"#] {
        let kept = one(state).get("/", &[("cookie", &first.pair()), WHY]);
        assert_eq!((kept.cluster(), kept.reason()), (Some("blue"), "sticky"));
        assert_eq!(one(state).get("/", &[]).status, Some(503), "nobody new");
    }
    assert_eq!(
        one(DOWN).get("/", &[("cookie", &first.pair())]).status,
        Some(503)
    );
}

#[test]
fn a_client_whose_target_is_gone_keeps_its_part_of_a_split() {
    let canary = |state: &str, weights: (u32, u32)| {
        let sticky = r#", "sticky": {"cookie": {"name": "pm"}}"#;
        let stable = clusters(&[("s1", UP)], sticky);
        let new = clusters(&[("n1", state), ("n2", UP)], sticky);
        Asked::of(&format!(
            r#"{{"pools": {{"stable": {stable}, "new": {new}}}, "explain": {{"header": "x-why", "token": "t"}},
                "routes": [{{"name": "r", "split": [
                    {{"pool": "stable", "weight": {}}}, {{"pool": "new", "weight": {}}}]}}]}}"#,
            weights.0, weights.1
        ))
    };
    let mut before = canary(UP, (0, 1));
    let first = std::iter::repeat_with(|| before.get("/", &[]))
        .take(2)
        .find(|became| became.cluster() == Some("n1"))
        .unwrap();
    let mut after = canary(DOWN, (1, 0));
    let moved = after.get("/", &[("cookie", &first.pair()), WHY]);
    assert_eq!((moved.cluster(), moved.reason()), (Some("n2"), "repin"));
    let again = after.get("/", &[("cookie", &moved.pair()), WHY]);
    assert_eq!(
        (again.cluster(), again.reason(), again.cookie.as_deref()),
        (Some("n2"), "sticky", None)
    );
}

/// A pool of two endpoints in each of two regions.
fn two_regions(seoul: &str, beside: &str) -> Asked {
    Asked::of(&format!(
        r#"{{"pools": {{"p": {{"cluster": "c", "targets": [
                {{"endpoint": "127.0.0.1:1", "region": "seoul", "weight": 3{seoul}}},
                {{"endpoint": "127.0.0.2:1", "region": "virginia", "weight": 3}},
                {{"endpoint": "127.0.0.1:2", "region": "seoul"{seoul}}}, {{"endpoint": "127.0.0.2:2", "region": "virginia"}}],
                "prefer_region": {{"header": "x-geo", "map": {{"KR": "seoul", "US": "virginia"}}, "default": "seoul"}} {beside}}}}},
            "routes": [{{"name": "r", "pool": "p"}}], "explain": {{"header": "x-why", "token": "t"}}}}"#
    ))
}

impl Became {
    fn endpoints(&self) -> Vec<String> {
        let list = self.header("x-pointsman-endpoint").unwrap();
        list.split(',').map(str::to_owned).collect()
    }
}

#[test]
fn each_region_takes_its_own_turns_and_retries_stay_near() {
    let mut asked = two_regions("", "");
    let mut seen = std::collections::BTreeMap::<_, u32>::new();
    for i in 0..40 {
        // Clients of both regions, one after the other.
        let (country, near, region) = [
            ("KR", "127.0.0.1:", "seoul"),
            ("US", "127.0.0.2:", "virginia"),
        ][i % 2];
        let became = asked.get("/", &[("x-geo", country), WHY]);
        let list = became.endpoints();
        let is_near: Vec<bool> = list
            .iter()
            .map(|endpoint| endpoint.starts_with(near))
            .collect();
        assert_eq!(is_near, [true, true, false, false], "{list:?}");
        assert!(
            became
                .told
                .as_deref()
                .unwrap()
                .contains(&format!(r#""region":"{region}""#))
        );
        *seen.entry(list[0].clone()).or_default() += 1;
    }
    assert_eq!(seen.into_values().collect::<Vec<_>>(), [15, 5, 15, 5]);
}

#[test]
fn a_region_that_is_down_is_passed_over_and_comes_back() {
    for (seoul, near) in [(UP, "127.0.0.1:"), (DOWN, "127.0.0.2:"), (UP, "127.0.0.1:")] {
        let mut asked = two_regions(seoul, "");
        for country in ["KR", "elsewhere"] {
            let list = asked.get("/", &[("x-geo", country)]).endpoints();
            assert!(list[0].starts_with(near), "{list:?}");
            assert_eq!(list.len(), if seoul == DOWN { 2 } else { 4 });
        }
    }
}

#[test]
fn a_session_goes_before_nearness() {
    let mut asked = two_regions("", r#", "sticky": {"cookie": {"name": "pm"}}"#);
    let home = asked.get("/", &[("x-geo", "KR")]);
    let abroad = asked.get("/", &[("x-geo", "US"), ("cookie", &home.pair()), WHY]);
    assert_eq!(
        (&abroad.endpoints()[0], abroad.reason()),
        (&home.endpoints()[0], "sticky")
    );
}

#[test]
fn a_hashed_key_has_one_home_in_each_region() {
    let mut asked = two_regions(
        "",
        r#", "balance": {"consistent_hash": {"key": {"header": "x-tenant"}}}"#,
    );
    for tenant in 0..20 {
        for (country, near) in [("KR", "127.0.0.1:"), ("US", "127.0.0.2:")] {
            let headers = [("x-tenant", &*tenant.to_string()), ("x-geo", country), WHY];
            let home = asked.get("/", &headers);
            assert!(home.endpoints()[0].starts_with(near));
            assert_eq!(home.reason(), "hash");
            assert_eq!(asked.get("/", &headers).endpoints()[0], home.endpoints()[0]);
        }
    }
}

/// Has requests to this target of the first pool fail until it is ejected.
fn eject(asked: &mut Asked, target: usize) {
    for _ in 0..3 {
        let flight = Flight {
            target: TargetRef {
                pool: PoolIndex::new(0),
                index: TargetIndex::new(target),
            },
            retries: Vec::new(),
            grpc: false,
            grpc_timeout: false,
            connect: false,
            upgrade: false,
            client: None,
            started: NOW,
            timed: false,
            answered: None,
        };
        let endpoint = asked.worker.config().pools[0].targets[target]
            .endpoint
            .clone();
        let mut ending = Ended(503, endpoint.map(|endpoint| endpoint.as_bytes().into()));
        asked
            .worker
            .on_request_complete(flight, &Seen::WHOLE, &mut ending, &mut asked.port, NOW);
    }
}

/// The end of a whole response with this status from this address.
struct Ended(u16, Option<Vec<u8>>);

impl StreamInfo for Ended {
    fn status(&mut self) -> Option<u16> {
        Some(self.0)
    }

    fn grpc_status(&mut self) -> Option<u32> {
        None
    }

    fn flags(&mut self) -> Option<u64> {
        Some(0)
    }

    fn upstream_address(&mut self) -> Option<Vec<u8>> {
        self.1.clone()
    }
}

const PASSIVE: &str = r#""passive": {"consecutive_failures": 3, "max_ejected_percent": 100}"#;

/// Three endpoints with passive health and a session cookie, and one to fail over to.
fn checked(when: &str, failover: &str) -> Asked {
    Asked::of(&format!(
        r#"{{"pools": {{
                "p": {{"cluster": "c", "targets": [
                        {{"endpoint": "127.0.0.1:1"}}, {{"endpoint": "127.0.0.1:2"}}, {{"endpoint": "127.0.0.1:3"}}],
                    "health": {{{PASSIVE} {when}}}, "sticky": {{"cookie": {{"name": "pm"}}}} {failover}}},
                "spare": {{"cluster": "c", "targets": [{{"endpoint": "127.0.0.1:4"}}], "sticky": {{"cookie": {{"name": "pm"}}}}}}}},
            "routes": [{{"name": "r", "pool": "p"}}], "explain": {{"header": "x-why", "token": "t"}}}}"#
    ))
}

#[test]
fn an_ejected_target_gets_nothing_and_its_clients_move_for_good() {
    let mut asked = checked("", "");
    let first = asked.get("/", &[]);
    let home = first.endpoints()[0].clone();
    let target = (0..3)
        .find(|i| home.ends_with(&format!(":{}", i + 1)))
        .unwrap();
    eject(&mut asked, target);
    let moved = asked.get("/", &[("cookie", &first.pair()), WHY]);
    assert_eq!(moved.reason(), "repin");
    assert!(!moved.endpoints().contains(&home) && moved.endpoints().len() == 2);
    let stays = asked.get("/", &[("cookie", &moved.pair()), WHY]);
    assert_eq!(
        (&stays.endpoints()[0], stays.reason()),
        (&moved.endpoints()[0], "sticky")
    );
    for _ in 0..6 {
        assert!(
            !asked.get("/", &[]).endpoints().contains(&home),
            "in the retries neither"
        );
    }
}

#[test]
fn when_all_are_unhealthy_the_others_help_and_then_all_are_used_or_none() {
    let rows = [
        ("", r#", "failover": ["spare"]"#, Some("failover")),
        (
            r#", "when_all_unhealthy": "respond_503""#,
            r#", "failover": ["spare"]"#,
            Some("failover"),
        ),
        ("", "", Some("use_all")),
        (r#", "when_all_unhealthy": "use_all""#, "", Some("use_all")),
        (r#", "when_all_unhealthy": "respond_503""#, "", None),
    ];
    for (when, failover, forwarded) in rows {
        let mut asked = checked(when, failover);
        let first = asked.get("/", &[]);
        (0..3).for_each(|target| eject(&mut asked, target));
        for _ in 0..3 {
            let became = asked.get("/", &[("cookie", &first.pair()), WHY]);
            assert_eq!(
                became.reason(),
                forwarded.unwrap_or("unhealthy"),
                "{when} {failover}"
            );
            assert_eq!(became.status, forwarded.is_none().then_some(503));
            if forwarded == Some("use_all") {
                let list = became.endpoints();
                assert_eq!(
                    (&list[0], list.len()),
                    (&first.endpoints()[0], 3),
                    "the session stays"
                );
                assert_eq!(became.cookie, None);
            }
        }
    }
}

/// The part of so many requests that each of three targets gets, each request with a key of its
/// own.
fn shares(asked: &mut Asked) -> [f64; 3] {
    const REQUESTS: u32 = 3000;
    let mut counts = [0.0; 3];
    for key in 0..REQUESTS {
        let became = asked.get("/", &[("x-key", &key.to_string())]);
        counts[became.flight.unwrap().target.index.get()] += 1.0;
    }
    counts.map(|count| count / f64::from(REQUESTS))
}

#[test]
fn a_target_that_is_back_gets_its_share_little_by_little_whatever_the_balance() {
    const SECOND: Nanos = Nanos::SECOND;
    let key = r#"{"consistent_hash": {"key": {"header": "x-key"}}}"#;
    for balance in [r#""random""#, r#""round_robin""#, key] {
        let mut asked = balanced(
            balance,
            r#", "slow_start": "10s", "health": {"passive": {"consecutive_failures": 3, "eject": "10s"}}"#,
        );
        eject(&mut asked, 0);
        assert_eq!(shares(&mut asked)[0], 0.0, "{balance}");
        // How long it is back, in seconds, and about which part of the requests that makes: a third
        // of so many tenths.
        for (back, part) in [(3, 0.1), (6, 0.2), (11, 1.0 / 3.0)] {
            asked.now = NOW + (10 + back) * SECOND;
            let [returned, others @ ..] = shares(&mut asked);
            assert!(
                (returned - part).abs() < 0.03,
                "{balance}, after {back} s: {returned}"
            );
            let fair = (1.0 - part) / 2.0;
            assert!(
                others.iter().all(|other| (other - fair).abs() < 0.04),
                "{balance}: {others:?}"
            );
        }
    }
}

#[test]
fn slow_start_leaves_no_request_without_a_target_beside_one_that_takes_nothing_new() {
    let mut asked = Asked::of(&format!(
        r#"{{"pools": {{"p": {{"cluster": "c", "slow_start": "10s", "health": {{{PASSIVE}}},
                "targets": [{{"endpoint": "127.0.0.1:1"}}, {{"endpoint": "127.0.0.1:2", "state": "draining"}}]}}}},
            "routes": [{{"name": "r", "pool": "p"}}], "explain": {{"header": "x-why", "token": "t"}}}}"#
    ));
    eject(&mut asked, 0);
    assert_eq!(asked.get("/", &[WHY]).reason(), "use_all");
    // It is back, with a tenth of its weight.
    asked.now += 31 * Nanos::SECOND;
    for _ in 0..100 {
        let became = asked.get("/", &[WHY]);
        assert_eq!((became.status, became.reason()), (None, "balance"));
    }
}

#[test]
fn who_fails_fast_attracts_nothing() {
    const FAILS: usize = 1;
    for balance in [r#""least_connections""#, r#""least_response_time""#] {
        let mut asked = balanced(balance, "");
        let mut failed = 0;
        for _ in 0..1000 {
            let mut flight = asked.get("/", &[]).flight.unwrap();
            asked.now += Nanos::from_millis(10);
            let fails = flight.target.index.get() == FAILS;
            failed += u32::from(fails);
            // It answers at once, the others ten milliseconds later than the request came.
            flight.answered = Some(if fails { flight.started } else { asked.now });
            let address = format!("127.0.0.1:{}", flight.target.index.get() + 1);
            let mut ending = Ended(if fails { 503 } else { 200 }, Some(address.into()));
            let now = asked.now;
            asked.worker.on_request_complete(
                flight,
                &Seen::WHOLE,
                &mut ending,
                &mut asked.port,
                now,
            );
        }
        // A failure keeps its place for a second, in which a hundred requests come.
        assert!((5..=25).contains(&failed), "{balance}: {failed} of 1000");
    }
}

/// What a decision takes, for pools of all kinds; it promises nothing.
#[test]
#[ignore = "prints times"]
fn time_of_a_decision() {
    let target = |i: usize, extra: &str| {
        format!(
            r#"{{"endpoint": "10.{}.{}.{}:80", "weight": {} {extra}}}"#,
            i >> 16,
            i >> 8 & 255,
            i & 255,
            1 + i * 5 % 8
        )
    };
    let region = |i: usize| format!(r#", "region": "r{}""#, i % 3);
    let rows: [(&str, &str, bool); 8] = [
        ("round_robin", "", false),
        ("random", "", false),
        ("least_connections", r#", "slow_start": "0s""#, false),
        ("least_response_time", "", false),
        ("ip_hash", "", false),
        (
            "round_robin, checked",
            r#", "health": {"passive": {"consecutive_failures": 5}}"#,
            false,
        ),
        ("random, slow start", r#", "slow_start": "10s""#, false),
        (
            "round_robin, regions",
            r#", "health": {"passive": {"consecutive_failures": 5}}, "prefer_region": {"header": "x-geo", "map": {"KR": ["r1"]}, "default": ["r0"]}"#,
            true,
        ),
    ];
    for (name, beside, regions) in rows {
        for count in [3, 20, 200, 2000] {
            let targets: Vec<String> = (0..count)
                .map(|i| target(i, &if regions { region(i) } else { String::new() }))
                .collect();
            let balance = name.split(',').next().unwrap();
            let mut asked = Asked::of(&format!(
                r#"{{
                    "pools": {{"p": {{"cluster": "c", "balance": "{balance}", "targets": [{}] {beside}}}}},
                    "routes": [{{"name": "r", "pool": "p"}}]
                }}"#,
                targets.join(",")
            ));
            let headers = Headers::from_pairs(&[
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "h"),
                (":path", "/"),
            ]);
            let config = asked.worker.config().clone();
            let rounds = (200_000 / count) as u32;
            let mut times: Vec<_> = (0..9)
                .map(|_| {
                    let begin = std::time::Instant::now();
                    for _ in 0..rounds {
                        asked.now += Nanos::from_millis(1);
                        let decision = asked.worker.decide(
                            &config,
                            &Request::new(&headers),
                            &mut asked.port,
                            asked.now,
                        );
                        let _ = std::hint::black_box(&decision.flight);
                    }
                    begin.elapsed() / rounds
                })
                .collect();
            times.sort_unstable();
            println!(
                "{name}, {count} targets: {:?} ({:?} to {:?})",
                times[4], times[0], times[8]
            );
        }
    }
}

//! Against Envoy itself: random route tables, written as Envoy's own routes and as Pointsman's, and
//! random requests through both in one Envoy. Cluster, status, rewritten path and host, location
//! and body have to be the same.
//!
//! What the two mean differently on purpose is left out of the tables, and stands in
//! [`differences`] as rows of its own (and in `envoy-config/README.md`), so that a difference that
//! goes away is noticed too. `SEED=7 cargo test -p pointsman-tests --test against_envoy` plays
//! other tables, `REQUESTS=1000000` that many requests, and any seed passes. (Envoy 1.36 joins the
//! values of a repeated header before it looks at them, so this runs on the newest.)

use fastrand::Rng;
use host_sim::client::{Client, header};
use host_sim::envoy::fleet::Fleet;
use host_sim::envoy::{Deployment, PluginConfiguration, Wanted, install};
use host_sim::envoy_host::PATH_NORMALISATION;
use host_sim::module;
use host_sim::testkit::Site;
use http_body_util::Full;
use hyper::Request;
use pointsman_import::{InputFile, Kind, Options};
use serde_json::{Value, json};

/// Tables in one Envoy: each is two listeners.
const TABLES: usize = 8;
/// Routes of a table: enough that most requests match more than one route.
const ROUTES: usize = 12;
/// Requests to each table.
const REQUESTS: usize = 500;
const CLUSTERS: usize = 4;

/// The values of requests and conditions: few and alike, so that conditions often match and nearly
/// match.
const SEGMENTS: [&str; 6] = ["a", "A", "ab", "b", "42", "x.y"];
/// Segments of requests only: no settings change a path here, so each is what it is to both.
const ODD_SEGMENTS: [&str; 10] = [
    "", ".", "..", "%61", "%2e%2e", "a%2fb", "a;x=1", "..;", "a:b@c", "%C3%A9",
];
const HOSTS: [&str; 5] = ["a.test", "b.a.test", "c.b.a.test", "A.Test", "other.test"];
/// Hosts of requests only: no route names them, and each is what it is to both.
const ODD_HOSTS: [&str; 3] = ["b-a.test", "xa.test", "127.0.0.1"];
/// Authorities that Envoy compares as they are, and we as RFC 3986 reads them. To Envoy's side of a
/// table that is a pattern, see [`host_condition`].
const ODD_AUTHORITIES: [&str; 15] = [
    "a.test:80",
    "A.test:8080",
    "b.a.test.:443",
    "a.test.",
    "a.test..",
    "a.test:",
    "a.test:x",
    "a.test:80:81",
    "u@a.test",
    "a.test:80@other.test",
    "a.test,other.test",
    "x,b.a.test",
    "a..a.test",
    ".a.test",
    "[::1]:80",
];
/// The second is one of which Envoy joins the lines.
const HEADERS: [&str; 3] = ["x-one", "accept", "x-two"];
const COOKIES: [&str; 2] = ["beta", "exp"];
const VALUES: [&str; 6] = ["gold", "golden", "old", "Gold", "1", ""];
/// Values of headers of requests only.
const ODD_VALUES: [&str; 5] = ["gold,old", "a, gold", "\"gold\"", "g\told", "gold\u{e9}"];
/// Pieces of cookies of requests only, which both read alike: [`differences`] has the others.
const ODD_COOKIES: [&str; 8] = [
    "beta",
    "Beta=1",
    "=1",
    "",
    "x=beta=1",
    "beta==1",
    "exp=1=gold",
    "xbeta=1",
];
/// Pieces of queries of requests only, which both read alike.
const ODD_PARAMETERS: [&str; 8] = [
    "",
    "q",
    "=gold",
    "q==gold",
    "Q=gold",
    "xq=gold",
    "q=gold?r=1",
    "q;r=gold",
];
const METHODS: [&str; 4] = ["GET", "POST", "PUT", "DELETE"];
/// A method of requests only.
const ODD_METHOD: &str = "OPTIONS";
const QUERY: [&str; 2] = ["q", "r"];

/// A route in both languages.
struct Route {
    envoy: Value,
    ours: Value,
}

/// A request to both.
#[derive(Debug)]
struct TestRequest {
    method: &'static str,
    host: &'static str,
    target: String,
    headers: Vec<(&'static str, String)>,
}

/// What Envoy and Pointsman make of the same words.
struct Difference {
    route: Route,
    ask: TestRequest,
    /// What shows it: the path that the backend gets, or the status and where it redirects to.
    envoy: &'static str,
    ours: &'static str,
}

/// The result of a request.
#[derive(Debug, PartialEq)]
struct Observed {
    status: u16,
    /// What header edits made of the request and of the response: of each `name: value`, by name.
    edited: [Vec<String>; 2],
    /// Empty where there is none.
    location: String,
    body: String,
    /// What the backend saw: its name, `:path`, `:authority`.
    upstream: Option<[String; 3]>,
}

/// One Envoy with two listeners for each table: `envoy-N` with Envoy's routes, `ours-N` with
/// Pointsman's.
struct Tables(Site);

impl Tables {
    fn start(tables: &[Vec<Route>]) -> Tables {
        let both = tables.iter().map(|table| {
            let routes: Vec<Value> = table.iter().map(|route| route.ours.clone()).collect();
            let ours = json!({ "pools": pools(), "routes": routes });
            (route_configuration(table), ours)
        });
        Tables::of(&both.collect::<Vec<_>>())
    }

    /// Of Envoy's route configurations, and Pointsman's configurations.
    fn of(tables: &[(Value, Value)]) -> Tables {
        Tables::on(Wanted::Any, tables)
    }

    fn on(wanted: Wanted, tables: &[(Value, Value)]) -> Tables {
        let module = module::build().unwrap();
        let fleet = Fleet::start(&json!({ "pools": pools() })).unwrap();
        let deployment = |fleet: &Fleet| -> anyhow::Result<Deployment> {
            let mut deployment = fleet.deployment(&module)?.updatable();
            let shipped = deployment.bootstrap_mut()["static_resources"]["listeners"][0].clone();
            let mut listeners = Vec::new();
            for (number, (table, configuration)) in tables.iter().enumerate() {
                let mut own = shipped.clone();
                own["name"] = format!("envoy-{number}").into();
                let manager = manager(&mut own);
                manager["http_filters"].as_array_mut().unwrap().remove(0);
                manager["route_config"] = table.clone();
                listeners.push(own);

                let mut ours = fleet
                    .deployment(&module)?
                    .with_configuration(PluginConfiguration::Text(configuration.to_string()));
                let mut ours = ours.bootstrap_mut()["static_resources"]["listeners"][0].take();
                ours["name"] = format!("ours-{number}").into();
                listeners.push(ours);
            }
            for listener in &mut listeners {
                let manager = manager(listener).as_object_mut().unwrap();
                // Envoy would change a path, or a host, before it compares it with any route, ours
                // or its own.
                for setting in PATH_NORMALISATION {
                    manager.remove(setting);
                }
                manager.remove("strip_trailing_host_dot");
            }
            deployment.bootstrap_mut()["static_resources"]["listeners"] = listeners.into();
            Ok(deployment)
        };
        let deployment = deployment(&fleet).unwrap();
        let program = install::find(wanted).unwrap();
        Tables(Site::of(&program, fleet, deployment).unwrap())
    }

    fn client(&self, listener: &str) -> Client {
        Client::new(self.0.envoy.listener(listener).unwrap()).unwrap()
    }

    fn ask(&self, client: &mut Client, ask: &TestRequest) -> Observed {
        let mut request = Request::builder()
            .method(ask.method)
            .uri(&ask.target)
            .header("host", ask.host);
        for (name, value) in &ask.headers {
            request = request.header(*name, value.as_bytes());
        }
        let response = client.send(request.body(Full::default()).unwrap()).unwrap();
        let mut upstream = None;
        let mut edited = [Vec::new(), Vec::new()];
        for member in self.0.fleet.members() {
            for received in member.backend.take_received() {
                assert!(upstream.is_none(), "two backends got {ask:?}");
                let header = |name: &[u8]| {
                    let found = received.headers.iter().find(|(known, _)| known == name);
                    String::from_utf8(found.unwrap().1.clone()).unwrap()
                };
                edited[0] = edits(
                    received
                        .headers
                        .iter()
                        .map(|(name, value)| (str::from_utf8(name).unwrap(), value.as_slice())),
                );
                upstream = Some([
                    member.backend.name().to_owned(),
                    header(b":path"),
                    header(b":authority"),
                ]);
            }
        }
        let headers = response.headers().iter();
        edited[1] = edits(headers.map(|(name, value)| (name.as_str(), value.as_bytes())));
        Observed {
            edited,
            status: response.status().as_u16(),
            location: header(&response, "location").to_owned(),
            body: String::from_utf8(response.body().to_vec()).unwrap(),
            upstream,
        }
    }
}

/// The headers that only edits write, by name and in the order of each name's values.
fn edits<'h>(headers: impl Iterator<Item = (&'h str, &'h [u8])>) -> Vec<String> {
    let mut found: Vec<_> = headers
        .filter(|(name, _)| name.starts_with("x-edit"))
        .collect();
    found.sort_by_key(|(name, _)| *name);
    let each = |(name, value)| format!("{name}: {}", String::from_utf8_lossy(value));
    found.into_iter().map(each).collect()
}

/// A location without its scheme and host. Of an authority that is none we write no host, and `/.`
/// before a path that would be read as one.
fn without_host(location: &str) -> &str {
    let path = match location.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("", |at| &rest[at..]),
        None => location,
    };
    match path.strip_prefix("/.") {
        Some(rest) if rest.starts_with("//") => rest,
        _ => path,
    }
}

/// A pool for each cluster.
fn pools() -> Value {
    let each = |i| {
        let targets = json!([{ "cluster": format!("c{i}") }]);
        (format!("c{i}"), json!({ "targets": targets }))
    };
    Value::Object((0..CLUSTERS).map(each).collect())
}

/// Envoy's side of a table, with a 404 at its end.
fn route_configuration(table: &[Route]) -> Value {
    let mut routes: Vec<Value> = table.iter().map(|route| route.envoy.clone()).collect();
    routes.push(json!({ "match": { "prefix": "/" }, "direct_response": { "status": 404 } }));
    json!({ "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": routes }] })
}

/// Envoy's `string_match` of the authorities that are this host to us, or of its subdomains.
fn host_condition(host: &str) -> Value {
    let labels = match host.strip_prefix("*.") {
        Some(host) => format!("([a-z0-9_-]+\\.)+{}", host.replace('.', "\\.")),
        None => host.replace('.', "\\."),
    };
    json!({ "safe_regex": { "regex": format!("(?i){labels}\\.?(:[0-9]*)?") } })
}

fn manager(listener: &mut Value) -> &mut Value {
    &mut listener["filter_chains"][0]["filters"][0]["typed_config"]
}

fn one<T: Copy>(rng: &mut Rng, of: &[T]) -> T {
    of[rng.usize(..of.len())]
}

/// `/a/b`, of up to three segments, at least one.
fn path(rng: &mut Rng) -> String {
    (0..rng.usize(1..4))
        .map(|_| format!("/{}", one(rng, &SEGMENTS)))
        .collect()
}

/// A value condition: Envoy's `string_match`, and our keys.
fn string_match(rng: &mut Rng, literal: &str) -> (Value, (&'static str, Value)) {
    match rng.u8(..5) {
        0 if !literal.is_empty() => (json!({ "prefix": literal }), ("prefix", literal.into())),
        1 if !literal.is_empty() => (json!({ "suffix": literal }), ("suffix", literal.into())),
        2 if !literal.is_empty() => (json!({ "contains": literal }), ("contains", literal.into())),
        3 => (
            json!({ "safe_regex": { "regex": "g?old.*|[0-9]+" } }),
            ("regex", "g?old.*|[0-9]+".into()),
        ),
        _ => (json!({ "exact": literal }), ("exact", literal.into())),
    }
}

/// Conditions: Envoy's `match`, ours, and the prefix if there is one.
fn conditions(rng: &mut Rng) -> (Value, Value, Option<String>) {
    let (mut envoy, mut ours) = (json!({}), json!({}));
    let mut prefix = None;
    let path = path(rng);
    let one_less = |path: &str| {
        path.rsplit_once('/')
            .map(|(head, _)| head.to_owned())
            .unwrap_or_default()
    };
    match rng.u8(..6) {
        0 => {
            envoy["path"] = path.clone().into();
            ours["path"] = json!({ "exact": path });
        }
        1 | 2 => {
            envoy["path_separated_prefix"] = path.clone().into();
            ours["path"] = json!({ "prefix": path });
            prefix = Some(path);
        }
        3 => {
            let regex = format!("{}/[^/]+(/.*)?", one_less(&path));
            envoy["safe_regex"] = json!({ "regex": regex });
            ours["path"] = json!({ "regex": regex });
        }
        4 => {
            let template = format!("{}/{{id}}", one_less(&path));
            envoy["path_match_policy"] = json!({
                "name": "envoy.path.match.uri_template.uri_template_matcher",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig",
                    "path_template": template,
                },
            });
            ours["path"] = json!({ "template": template });
        }
        _ => {
            envoy["prefix"] = "/".into();
            ours["path"] = json!({ "prefix": "/" });
        }
    }
    let plain = ["path", "path_separated_prefix"]
        .iter()
        .any(|kind| !envoy[*kind].is_null());
    if plain && rng.u8(..4) == 0 {
        envoy["case_sensitive"] = false.into();
        ours["ignore_case"] = true.into();
    }
    let (mut headers, mut our_headers) = (Vec::new(), Vec::new());
    if rng.u8(..3) == 0 {
        let mut host = one(rng, &HOSTS).to_owned();
        if rng.bool() {
            host.insert_str(0, "*.");
        }
        headers.push(json!({ "name": ":authority", "string_match": host_condition(&host) }));
        ours["hosts"] = json!([host]);
    }
    if rng.u8(..3) == 0 {
        let two = [one(rng, &METHODS), one(rng, &METHODS)];
        let regex = two.join("|");
        headers.push(
            json!({ "name": ":method", "string_match": { "safe_regex": { "regex": regex } } }),
        );
        let mut methods = two.to_vec();
        methods.dedup();
        ours["methods"] = json!(methods);
    }
    for name in HEADERS {
        match rng.u8(..6) {
            0 => {
                let present = rng.bool();
                headers.push(json!({ "name": name, "present_match": present }));
                our_headers.push(json!({ "name": name, "present": present }));
            }
            1 => {
                let value = one(rng, &VALUES);
                let (matches, (key, literal)) = string_match(rng, value);
                headers.push(json!({ "name": name, "string_match": matches }));
                our_headers.push(json!({ "name": name, key: literal }));
            }
            2 => {
                // Envoy says of a header that is not there that it is not unlike anything, unless
                // it is told to take it for empty.
                let (matches, (key, literal)) = string_match(rng, "gold");
                headers.push(json!({
                    "name": name, "string_match": matches, "invert_match": true, "treat_missing_header_as_empty": true,
                }));
                our_headers.push(json!({ "name": name, key: literal, "invert": true }));
            }
            _ => {}
        }
    }
    if rng.u8(..6) == 0 {
        // Values that both read alike: `differences` has those that they do not.
        let value = one(rng, &["1", "gold", "old"]);
        let (matches, (key, literal)) = string_match(rng, value);
        let name = one(rng, &COOKIES);
        let invert = rng.u8(..3) == 0;
        envoy["cookies"] =
            json!([{ "name": name, "string_match": matches, "invert_match": invert }]);
        ours["cookies"] = json!([{ "name": name, key: literal, "invert": invert }]);
    }
    if rng.u8(..4) == 0 {
        let name = one(rng, &QUERY);
        let value = one(rng, &VALUES);
        let (matches, (key, literal)) = string_match(rng, value);
        envoy["query_parameters"] = json!([{ "name": name, "string_match": matches }]);
        ours["query"] = json!([{ "name": name, key: literal }]);
    }
    if !headers.is_empty() {
        envoy["headers"] = headers.into();
    }
    if !our_headers.is_empty() {
        ours["headers"] = our_headers.into();
    }
    (envoy, ours, prefix)
}

fn route(rng: &mut Rng, number: usize) -> Route {
    let (matches, our_matches, prefix) = conditions(rng);
    let name = format!("r{number}");
    let mut envoy = json!({ "name": name, "match": matches });
    let mut ours = json!({ "name": name, "match": our_matches });
    match rng.u8(..8) {
        0 => {
            envoy["direct_response"] = json!({ "status": 403, "body": { "inline_string": name } });
            ours["respond"] = json!({ "status": 403, "body": name });
        }
        1 => {
            let (code, status) = one(
                rng,
                &[
                    ("MOVED_PERMANENTLY", 301),
                    ("FOUND", 302),
                    ("SEE_OTHER", 303),
                    ("TEMPORARY_REDIRECT", 307),
                    ("PERMANENT_REDIRECT", 308),
                ],
            );
            let (mut to, mut our_to) = (
                json!({ "response_code": code }),
                json!({ "status": status }),
            );
            if rng.bool() {
                to["https_redirect"] = true.into();
                our_to["scheme"] = "https".into();
            }
            if rng.bool() {
                to["host_redirect"] = "new.test".into();
                our_to["host"] = "new.test".into();
            }
            match (rng.u8(..3), prefix) {
                (0, _) => {
                    to["path_redirect"] = "/new".into();
                    our_to["path"] = "/new".into();
                }
                (1, Some(_)) => {
                    to["prefix_rewrite"] = "/fresh".into();
                    our_to["path_prefix"] = "/fresh".into();
                }
                (2, _) => {
                    let (pattern, substitution) = ("/([a-z]+)", "/\\1-\\0");
                    to["regex_rewrite"] =
                        json!({ "pattern": { "regex": pattern }, "substitution": substitution });
                    our_to["path_regex"] =
                        json!({ "pattern": pattern, "substitution": substitution });
                }
                _ => {
                    to["path_redirect"] = "/elsewhere".into();
                    our_to["path"] = "/elsewhere".into();
                }
            }
            envoy["redirect"] = to;
            ours["redirect"] = our_to;
        }
        _ => {
            let cluster = format!("c{}", rng.usize(..CLUSTERS));
            let mut to = json!({ "cluster": cluster });
            ours["pool"] = cluster.into();
            match (rng.u8(..4), prefix) {
                (0 | 1, Some(_)) => {
                    to["prefix_rewrite"] = "/inner".into();
                    ours["rewrite"]["path_prefix"] = "/inner".into();
                }
                (2, _) => {
                    let (pattern, substitution) = ("([a-z])([a-z])?", "\\2<\\1>");
                    to["regex_rewrite"] =
                        json!({ "pattern": { "regex": pattern }, "substitution": substitution });
                    ours["rewrite"]["path_regex"] =
                        json!({ "pattern": pattern, "substitution": substitution });
                }
                _ => {}
            }
            if rng.u8(..4) == 0 {
                to["host_rewrite_literal"] = "inner.test".into();
                ours["rewrite"]["host"] = "inner.test".into();
            }
            envoy["route"] = to;
        }
    }
    Route { envoy, ours }
}

/// A table. In every other one the last route takes whatever comes there, and in those between each
/// route names its methods: so many requests find a route and many do not, whatever the seed.
fn table(rng: &mut Rng, number: usize) -> Vec<Route> {
    let mut table: Vec<_> = (0..ROUTES).map(|number| route(rng, number)).collect();
    if number.is_multiple_of(2) {
        table.push(Route {
            envoy: json!({ "name": "rest", "match": { "prefix": "/" }, "route": { "cluster": "c0" } }),
            ours: json!({ "name": "rest", "match": { "path": { "prefix": "/" } }, "pool": "c0" }),
        });
        return table;
    }
    for route in &mut table {
        if !route.ours["match"]["methods"].is_null() {
            continue;
        }
        route.ours["match"]["methods"] = json!(METHODS);
        let any = json!({ "safe_regex": { "regex": METHODS.join("|") } });
        let condition = json!({ "name": ":method", "string_match": any });
        match route.envoy["match"]["headers"].as_array_mut() {
            Some(headers) => headers.push(condition),
            None => route.envoy["match"]["headers"] = json!([condition]),
        }
    }
    table
}

/// Puts an odd piece in front of pairs, where Envoy takes the first of a name, unless there is one of
/// its name.
fn insert_odd(pairs: &mut Vec<String>, odd: &str) {
    let name = |pair: &str| pair.split('=').next().unwrap_or_default().to_owned();
    if !pairs.iter().any(|pair| name(pair) == name(odd)) {
        pairs.insert(0, odd.to_owned());
    }
}

/// A request. `authorities`: odd ones too.
fn ask(rng: &mut Rng, authorities: &[&'static str]) -> TestRequest {
    let mut target = path(rng);
    if rng.u8(..6) == 0 {
        let odd = one(rng, &ODD_SEGMENTS);
        target = match rng.bool() {
            true => format!("/{odd}{target}"),
            false => format!("{target}/{odd}"),
        };
    }
    if rng.u8(..4) == 0 {
        target.push('/');
    }
    if rng.bool() {
        // Of a name one, unless both have the same value.
        let mut pairs: Vec<_> = (0..rng.usize(0..3))
            .map(|i| format!("{}={}", QUERY[i], one(rng, &VALUES)))
            .collect();
        match rng.u8(..8) {
            0 => insert_odd(&mut pairs, one(rng, &ODD_PARAMETERS)),
            1 => pairs.extend(pairs.first().cloned()),
            _ => {}
        }
        target = format!("{target}?{}", pairs.join("&"));
    }
    let mut headers = Vec::new();
    for name in HEADERS {
        // Some more than once.
        while rng.u8(..5) < 2 {
            let value = match rng.u8(..6) {
                0 => one(rng, &ODD_VALUES),
                _ => one(rng, &VALUES),
            };
            headers.push((name, value.to_owned()));
        }
    }
    // Cookies in one line or in several; of a name one, unless both have the same value.
    let mut pairs: Vec<String> = Vec::new();
    for name in COOKIES {
        if rng.u8(..3) == 0 {
            let pair = format!("{name}={}", one(rng, &["1", "gold", "golden", "2", "old"]));
            if rng.u8(..6) == 0 {
                pairs.push(pair.clone());
            }
            pairs.push(pair);
        }
    }
    if rng.u8(..8) == 0 {
        insert_odd(&mut pairs, one(rng, &ODD_COOKIES));
    }
    let mut lines: Vec<String> = Vec::new();
    for pair in pairs {
        match lines.last_mut() {
            Some(line) if rng.bool() => {
                *line += &format!("{}{pair}", one(rng, &["; ", ";", ";  "]))
            }
            _ => lines.push(pair),
        }
    }
    headers.extend(lines.into_iter().map(|line| ("cookie", line)));
    let method = match rng.u8(..6) {
        0 => ODD_METHOD,
        _ => one(rng, &METHODS),
    };
    if method == ODD_METHOD && rng.u8(..8) == 0 {
        // Envoy answers 404 before any filter.
        target = "*".to_owned();
    }
    TestRequest {
        method,
        host: match rng.u8(..8) {
            0 => one(rng, &ODD_HOSTS),
            1 if !authorities.is_empty() => one(rng, authorities),
            _ => one(rng, &HOSTS),
        },
        target,
        headers,
    }
}

/// Each with its reason.
fn differences() -> Vec<Difference> {
    let get = |target: &str, headers: &[(&'static str, &'static str)]| TestRequest {
        method: "GET",
        host: "a.test",
        target: target.to_owned(),
        headers: headers
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect(),
    };
    let row =
        |envoy: Value, ours: Value, ask: TestRequest, theirs: &'static str, our: &'static str| {
            Difference {
                route: Route { envoy, ours },
                ask,
                envoy: theirs,
                ours: our,
            }
        };
    let to = json!({ "cluster": "c0" });
    let gold = json!({ "exact": "gold" });
    let cookie = |value: &'static str, theirs: &'static str, our: &'static str| {
        row(
            json!({ "match": { "prefix": "/", "cookies": [{ "name": "beta", "string_match": { "exact": "1" } }] }, "route": to }),
            json!({ "name": "r", "match": { "cookies": [{ "name": "beta", "exact": "1" }] }, "pool": "c0" }),
            get("/", &[("cookie", value)]),
            theirs,
            our,
        )
    };
    let host =
        |name: &'static str, asked: &'static str, theirs: &'static str, our: &'static str| {
            // As Envoy compares the domains of virtual hosts.
            let matches = match name.strip_prefix('*') {
                Some(suffix) => json!({ "suffix": suffix, "ignore_case": true }),
                None => json!({ "exact": name, "ignore_case": true }),
            };
            let headers = json!([{ "name": ":authority", "string_match": matches }]);
            row(
                json!({ "match": { "prefix": "/", "headers": headers }, "route": to }),
                json!({ "name": "r", "match": { "hosts": [name] }, "pool": "c0" }),
                TestRequest {
                    host: asked,
                    ..get("/", &[])
                },
                theirs,
                our,
            )
        };
    let redirect = |asked: &'static str, scheme: bool, theirs: &'static str, our: &'static str| {
        let (mut to, mut our_to) = (
            json!({ "path_redirect": "/b" }),
            json!({ "path": "/b", "status": 301 }),
        );
        if scheme {
            to["https_redirect"] = true.into();
            our_to["scheme"] = "https".into();
        }
        row(
            json!({ "match": { "prefix": "/" }, "redirect": to }),
            json!({ "name": "r", "redirect": our_to }),
            TestRequest {
                host: asked,
                ..get("/", &[])
            },
            theirs,
            our,
        )
    };
    vec![
        // Quotes are part of a cookie's value (RFC 6265, 4.1.1), every cookie of a name counts, and
        // blanks around the `=` do not.
        cookie("beta=\"1\"", "/", "404"),
        cookie("beta=2; beta=1", "404", "/"),
        cookie("beta = 1", "404", "/"),
        cookie("beta=1 ; a=b", "404", "/"),
        // A prefix is made of segments, so to replace it by / leaves no empty one.
        row(
            json!({ "match": { "path_separated_prefix": "/a" }, "route": { "cluster": "c0", "prefix_rewrite": "/" } }),
            json!({ "name": "r", "match": { "path": { "prefix": "/a" } }, "rewrite": { "path_prefix": "/" }, "pool": "c0" }),
            get("/a/b", &[]),
            "//b",
            "/b",
        ),
        // "Not gold" is true of a header that is not there.
        row(
            json!({
                "match": { "prefix": "/", "headers": [{ "name": "x-one", "string_match": gold, "invert_match": true }] },
                "route": to,
            }),
            json!({
                "name": "r", "match": { "headers": [{ "name": "x-one", "exact": "gold", "invert": true }] }, "pool": "c0",
            }),
            get("/", &[]),
            "404",
            "/",
        ),
        // Names and values of a query are what they decode to, so that %67old does not go past a
        // route for gold.
        row(
            json!({ "match": { "prefix": "/", "query_parameters": [{ "name": "q", "string_match": gold }] }, "route": to }),
            json!({ "name": "r", "match": { "query": [{ "name": "q", "exact": "gold" }] }, "pool": "c0" }),
            get("/?q=%67old", &[]),
            "404",
            "/?q=%67old",
        ),
        // Every parameter of a name counts.
        row(
            json!({ "match": { "prefix": "/", "query_parameters": [{ "name": "q", "string_match": gold }] }, "route": to }),
            json!({ "name": "r", "match": { "query": [{ "name": "q", "exact": "gold" }] }, "pool": "c0" }),
            get("/?q=old&q=gold", &[]),
            "404",
            "/?q=old&q=gold",
        ),
        // The port is no part of a host.
        host("a.test", "a.test:8080", "404", "/"),
        // The dot of an absolute name is no part of it (RFC 3986, 3.2.2), and what has more than
        // labels is no host.
        host("a.test", "a.test.", "404", "/"),
        host("*.a.test", "x,b.a.test", "/", "404"),
        // A redirect keeps a port only with the scheme and the host that it belongs to, leaves out the
        // scheme's own, and writes no host that is none.
        redirect(
            "a.test:8080",
            true,
            "301 https://a.test:8080/b",
            "301 https://a.test/b",
        ),
        redirect(
            "a.test:80",
            false,
            "301 http://a.test:80/b",
            "301 http://a.test/b",
        ),
        redirect(
            "a.test.",
            false,
            "301 http://a.test./b",
            "301 http://a.test/b",
        ),
        redirect("u@a.test", false, "301 http://u@a.test/b", "301 /b"),
        // A permanent redirect should be asked for.
        row(
            json!({ "match": { "prefix": "/" }, "redirect": { "path_redirect": "/new" } }),
            json!({ "name": "r", "redirect": { "path": "/new" } }),
            get("/", &[]),
            "301 http://a.test/new",
            "302 http://a.test/new",
        ),
    ]
}

#[test]
fn differences_are_those_on_purpose() {
    let rows = differences();
    let one = |row: &Difference| {
        vec![Route {
            envoy: row.route.envoy.clone(),
            ours: row.route.ours.clone(),
        }]
    };
    let both = Tables::start(&rows.iter().map(one).collect::<Vec<_>>());
    for (number, row) in rows.iter().enumerate() {
        for (side, expected) in [("envoy", row.envoy), ("ours", row.ours)] {
            let seen = both.ask(&mut both.client(&format!("{side}-{number}")), &row.ask);
            let shows = match &seen.upstream {
                Some([_, path, _]) => path.clone(),
                None => format!("{} {}", seen.status, seen.location)
                    .trim_end()
                    .to_owned(),
            };
            assert_eq!(shows, expected, "{side}: {}", row.route.ours);
        }
    }
}

/// The difference that is of whole tables: to Envoy the most specific domain wins, wherever it stands.
#[test]
fn hosts_are_part_of_a_route() {
    let to =
        |cluster: &str| json!([{ "match": { "prefix": "/" }, "route": { "cluster": cluster } }]);
    let theirs = json!({ "virtual_hosts": [
        { "name": "wide", "domains": ["*.test"], "routes": to("c0") },
        { "name": "narrow", "domains": ["a.test"], "routes": to("c1") },
    ]});
    let ours = json!({ "pools": pools(), "routes": [
        { "name": "wide", "match": { "hosts": ["*.test"] }, "pool": "c0" },
        { "name": "narrow", "match": { "hosts": ["a.test"] }, "pool": "c1" },
    ]});
    let both = Tables::of(&[(theirs, ours)]);
    for (host, envoy, ours) in [("a.test", "c1", "c0"), ("b.test", "c0", "c0")] {
        let ask = TestRequest {
            method: "GET",
            host,
            target: "/".to_owned(),
            headers: Vec::new(),
        };
        for (side, expected) in [("envoy-0", envoy), ("ours-0", ours)] {
            let seen = both.ask(&mut both.client(side), &ask);
            let [backend, ..] = seen.upstream.unwrap();
            assert_eq!(backend, expected, "{side}, {host}");
        }
    }
}

/// The difference that only older Envoys make: their routes join the lines of any header.
#[test]
fn an_older_envoy_joins_the_lines_of_a_repeated_header() {
    let gold = json!({ "name": "x-one", "string_match": { "exact": "gold" } });
    let to = json!({ "cluster": "c0" });
    let route = || Route {
        envoy: json!({ "match": { "prefix": "/", "headers": [gold] }, "route": to }),
        ours: json!({
            "name": "r", "match": { "headers": [{ "name": "x-one", "exact": "gold" }] }, "pool": "c0",
        }),
    };
    let ours = json!({ "pools": pools(), "routes": [route().ours] });
    let table = [(route_configuration(&[route()]), ours)];
    let lines = |values: &[&str]| TestRequest {
        method: "GET",
        host: "a.test",
        target: "/".to_owned(),
        headers: values
            .iter()
            .map(|it| ("x-one", (*it).to_owned()))
            .collect(),
    };
    for (wanted, of_two) in [
        (Wanted::Any, 200),
        (Wanted::Exactly(install::OLDEST_TESTED), 404),
    ] {
        let both = Tables::on(wanted, &table);
        for (ask, theirs) in [(lines(&["gold"]), 200), (lines(&["old", "gold"]), of_two)] {
            for (side, expected) in [("envoy-0", theirs), ("ours-0", 200)] {
                let seen = both.ask(&mut both.client(side), &ask);
                assert_eq!(seen.status, expected, "{side} of {wanted:?}, {ask:?}");
            }
        }
    }
}

/// What the environment says: a generator by `SEED`, and of `REQUESTS` those to each table.
fn drawn() -> (Rng, usize) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().unwrap());
    let seed: u64 = number("SEED").unwrap_or(3);
    println!("SEED={seed}");
    let requests = number("REQUESTS").map_or(REQUESTS, |requests| requests as usize / TABLES);
    (Rng::with_seed(seed), requests)
}

#[test]
fn random_tables_mean_the_same_in_both_languages() {
    let (mut rng, requests) = drawn();
    let tables: Vec<Vec<Route>> = (0..TABLES).map(|number| table(&mut rng, number)).collect();
    let both = Tables::start(&tables);
    let mut routed = [0_usize; 2];
    for (number, table) in tables.iter().enumerate() {
        let mut envoy = both.client(&format!("envoy-{number}"));
        let mut ours = both.client(&format!("ours-{number}"));
        for _ in 0..requests {
            let ask = ask(&mut rng, &ODD_AUTHORITIES);
            let (mut theirs, mut ours_seen) =
                (both.ask(&mut envoy, &ask), both.ask(&mut ours, &ask));
            routed[usize::from(theirs.status == 404)] += 1;
            if ODD_AUTHORITIES.contains(&ask.host) {
                // What a redirect makes of them is in `differences`.
                for seen in [&mut theirs, &mut ours_seen] {
                    seen.location = without_host(&seen.location).to_owned();
                }
            }
            let shown = || {
                let routes = table
                    .iter()
                    .map(|route| format!("{}\n    {}", route.envoy, route.ours));
                routes.collect::<Vec<_>>().join("\n")
            };
            assert_eq!(
                ours_seen,
                theirs,
                "left is Pointsman's; table {number}, {ask:?}\n{}",
                shown()
            );
        }
    }
    let [found, lost] = routed;
    println!("{found} requests found a route, {lost} did not");
    // `table` sees to both.
    let least = TABLES * requests / 50;
    assert!(found > least && lost > least, "{found} and {lost}");
}

/// The words of Envoy that a table of ours never has: what an import has to make something of.
mod foreign {
    use super::*;

    /// Domains of virtual hosts that share hosts with each other.
    const DOMAINS: [&[&[&str]]; 4] = [
        &[&["*"], &["a.test"]],
        &[&["*.a.test", "other.test"], &["*"], &["*.b.a.test"]],
        &[&["a.*"], &["*-a.test"], &["*.test"], &["a.test"]],
        // No order of the whole virtual hosts is right.
        &[&["a.test", "*"], &["*.test"]],
    ];
    const PREFIXES: [&str; 5] = ["/a", "/a/", "/A", "/ab/", "/b"];
    /// Paths in RE2's syntax, some of which are not Rust's.
    const PATTERNS: [&str; 6] = [
        "/[a[b&&]+(/.*)?",
        "\\Q/x.y\\E.*",
        "/(?i:AB)/[\\w.]{1,2}",
        "/\\x61\\C?(/\\142)*",
        "(?U)/.*\\/42\\z",
        "/[^/{]{1,}/[[:alpha:]]{x}?|/42",
    ];

    fn edit(rng: &mut Rng) -> Value {
        let action = one(
            rng,
            &["APPEND_IF_EXISTS_OR_ADD", "OVERWRITE_IF_EXISTS_OR_ADD"],
        );
        let value = one(
            rng,
            &["v{1}", "100%%", "%REQ(:method)%", "%REQ(:path)%", "w"],
        );
        let key = one(rng, &["x-edit-a", "x-edit-b"]);
        json!({
            "header": { "key": key, "value": value },
            "append_action": action,
            // Without it Envoy drops a header whose value is empty, and we write it.
            "keep_empty_value": true,
        })
    }

    /// Adds edits to what may have them.
    fn edited(rng: &mut Rng, mut to: Value) -> Value {
        for of in ["request", "response"] {
            let add: Vec<Value> = (0..rng.usize(..3)).map(|_| edit(rng)).collect();
            // Parts of the request only.
            let add: Vec<Value> = add
                .into_iter()
                .filter(|it| of == "request" || !it.to_string().contains("REQ("))
                .collect();
            if !add.is_empty() {
                to[format!("{of}_headers_to_add")] = add.into();
            }
            if rng.u8(..4) == 0 {
                to[format!("{of}_headers_to_remove")] = json!(["x-edit-a"]);
            }
        }
        to
    }

    fn header(rng: &mut Rng) -> Value {
        let name = one(rng, &HEADERS);
        let mut matcher = match rng.u8(..8) {
            0 => json!({ "exact_match": one(rng, &VALUES) }),
            1 => json!({ "prefix_match": "go" }),
            2 => json!({ "suffix_match": "old" }),
            3 => json!({ "contains_match": "ol" }),
            4 => json!({ "range_match": { "start": -1, "end": 2 } }),
            5 => json!({ "string_match": { "prefix": "GO", "ignore_case": true } }),
            6 => json!({ "safe_regex_match": { "regex": "g?o?l?d?" } }),
            _ => json!({}),
        };
        let is_presence = matcher == json!({});
        matcher["name"] = name.into();
        if rng.u8(..3) == 0 {
            matcher["invert_match"] = true.into();
        }
        if !is_presence && rng.u8(..3) == 0 {
            matcher["treat_missing_header_as_empty"] = true.into();
        }
        matcher
    }

    fn route(rng: &mut Rng, number: usize) -> Value {
        let mut route = super::route(rng, number).envoy;
        let is_plain = route["route"]["prefix_rewrite"].is_null()
            && route["redirect"]["prefix_rewrite"].is_null();
        let other = if is_plain { rng.u8(..4) } else { 3 };
        if other == 0 && rng.bool() {
            route["route"]["prefix_rewrite"] = "/p/".into();
        }
        let matched = route["match"].as_object_mut().unwrap();
        if other < 2 {
            let paths = [
                "path",
                "path_separated_prefix",
                "safe_regex",
                "path_match_policy",
            ];
            for path in paths {
                matched.remove(path);
            }
            matched.remove("prefix");
        }
        match other {
            0 => drop(matched.insert("prefix".into(), one(rng, &PREFIXES).into())),
            1 => {
                let regex = json!({ "regex": one(rng, &PATTERNS) });
                matched.insert("safe_regex".into(), regex);
            }
            _ => {}
        }
        if rng.u8(..3) == 0 {
            matched.insert("headers".into(), json!([header(rng)]));
        }
        if rng.u8(..6) == 0 {
            let present = json!([{ "name": "q", "present_match": rng.bool() }]);
            matched.insert("query_parameters".into(), present);
        }
        if rng.u8(..6) == 0 {
            let not =
                json!([{ "name": "beta", "string_match": { "exact": "1" }, "invert_match": true }]);
            matched.insert("cookies".into(), not);
        }
        // A `route` that the rewrite above made where there is another action.
        if route["route"]["cluster"].is_null() {
            route.as_object_mut().unwrap().remove("route");
        } else if route["route"]["regex_rewrite"].is_object()
            && route["route"]["prefix_rewrite"].is_string()
        {
            route["route"]
                .as_object_mut()
                .unwrap()
                .remove("regex_rewrite");
        }
        if route["route"].is_object() && rng.u8(..4) == 0 {
            let cluster = route["route"]["cluster"].take();
            route["route"].as_object_mut().unwrap().remove("cluster");
            let part = edited(rng, json!({ "name": cluster, "weight": 7 }));
            let none = json!({ "name": "c0", "weight": 0 });
            route["route"]["weighted_clusters"] = json!({ "clusters": [part, none] });
        }
        edited(rng, route)
    }

    /// A route configuration. In every other one of them each virtual host takes whatever comes there,
    /// and the whole edits, so that many requests are edited, whatever the seed.
    pub(super) fn table(rng: &mut Rng, number: usize) -> Value {
        let takes_all = number % 4 == 1;
        let domains = one(rng, &DOMAINS);
        let mut made = 0;
        let hosts = domains.iter().enumerate().map(|(at, domains)| {
            let mut routes: Vec<Value> = (0..6)
                .map(|_| {
                    made += 1;
                    route(rng, made)
                })
                .collect();
            if takes_all {
                let to = json!({ "cluster": "c1" });
                routes.push(json!({ "name": "rest", "match": { "prefix": "/" }, "route": to }));
            }
            let name = format!("v{at}");
            let mut host = json!({ "name": name, "domains": domains, "routes": routes });
            if rng.u8(..6) == 0 {
                host["require_tls"] = "EXTERNAL_ONLY".into();
            }
            edited(rng, host)
        });
        let hosts: Vec<Value> = hosts.collect();
        let mut table = edited(rng, json!({ "virtual_hosts": hosts }));
        if takes_all {
            table["response_headers_to_add"] = json!([{
                "header": { "key": "x-edit-b", "value": "w" },
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            }]);
        }
        table["most_specific_header_mutations_wins"] = rng.bool().into();
        table
    }
}

/// What an import makes of a route configuration, all of which can be carried over.
fn imported(table: &Value) -> Value {
    let (imported, not_carried) = import(table);
    assert!(not_carried.is_empty(), "{not_carried:?} of {table}");
    imported
}

/// What an import makes of a route configuration, and what of it could not be carried over.
fn import(table: &Value) -> (Value, Vec<String>) {
    let file = InputFile {
        name: "table".into(),
        text: table.to_string(),
    };
    let output = pointsman_import::import(Kind::Envoy, &[file], &Options::default()).unwrap();
    let not_carried = output.not_carried.iter();
    let paths = not_carried.map(|it| it.path.clone()).collect();
    (output.to_json(), paths)
}

#[test]
fn an_imported_table_that_ignores_ports_means_the_same() {
    let to =
        |cluster: &str| json!([{ "match": { "prefix": "/" }, "route": { "cluster": cluster } }]);
    let table = json!({
        "ignore_port_in_host_matching": true,
        "virtual_hosts": [
            { "name": "a", "domains": ["a.test", "other.test:81"], "routes": to("c0") },
            { "name": "b", "domains": ["a.test:81", "*.a.test:81"], "routes": to("c1") },
            { "name": "c", "domains": ["*.a.test"], "routes": to("c2") },
            { "name": "rest", "domains": ["*"], "routes": to("c3") },
        ],
    });
    let (ours, not_carried) = import(&table);
    assert_eq!(not_carried.len(), 3, "{not_carried:?}");
    let both = Tables::of(&[(table, ours)]);
    for (host, backend) in [
        ("a.test", "c0"),
        ("a.test:81", "c0"),
        ("a.test:80", "c0"),
        ("b.a.test", "c2"),
        ("b.a.test:81", "c2"),
        ("other.test", "c3"),
        ("other.test:81", "c3"),
    ] {
        let ask = TestRequest {
            method: "GET",
            host,
            target: "/".to_owned(),
            headers: Vec::new(),
        };
        for side in ["envoy-0", "ours-0"] {
            let seen = both.ask(&mut both.client(side), &ask);
            assert_eq!(seen.upstream.unwrap()[0], backend, "{side}, {host}");
        }
    }
}

#[test]
fn an_imported_table_means_the_same_as_the_original() {
    let (mut rng, requests) = drawn();
    let originals: Vec<Value> = (0..TABLES)
        .map(|number| match number.is_multiple_of(2) {
            true => route_configuration(&table(&mut rng, number)),
            false => foreign::table(&mut rng, number),
        })
        .collect();
    let tables: Vec<(Value, Value)> = originals
        .iter()
        .map(|original| (original.clone(), imported(original)))
        .collect();
    let both = Tables::of(&tables);
    let mut found = 0;
    let mut edited = 0;
    for (number, (original, imported)) in tables.iter().enumerate() {
        let mut envoy = both.client(&format!("envoy-{number}"));
        let mut ours = both.client(&format!("ours-{number}"));
        for _ in 0..requests {
            // Domains of Envoy's are compared as they are.
            let ask = ask(&mut rng, &[]);
            let (theirs, ours_seen) = (both.ask(&mut envoy, &ask), both.ask(&mut ours, &ask));
            found += usize::from(theirs.status != 404);
            edited += usize::from(!theirs.edited.iter().all(Vec::is_empty));
            assert_eq!(
                ours_seen, theirs,
                "left is the imported table's; table {number}, {ask:?}\n{original}\n{imported}"
            );
        }
    }
    println!("{found} requests found a route, {edited} were edited");
    // Half of the tables have edits, and many requests find no route there.
    let least = TABLES * requests / 50;
    assert!(found > least && edited > least, "{found} and {edited}");
}

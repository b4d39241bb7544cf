//! What the dearest requests take, beside Envoy's own routes with the same rules: `host-sim bench
//! --instructions --dear`. A request that brings as much as the shipped edge lets in is dear; an
//! ordinary one is what browsers send.

use super::callgrind::{self, ProfiledEnvoy};
use super::{STEP, VMS, rows};
use crate::bench::envoys_own::{self, EnvoyRoutes};
use crate::bench::processor::Machine;
use crate::bench::report::table;
use crate::bench::routes::MeasuredRoute;
use crate::bench::wrk::HEADERS;
use crate::client::Client;
use crate::clock::ClockLibrary;
use crate::envoy::fleet::Fleet;
use crate::envoy::{PluginConfiguration, Wanted, install};
use crate::module;
use anyhow::{Context, Result, ensure};
use pointsman_core::http::steps::TIMES;
use serde::Serialize;
use serde_json::{Value, json};
use std::fmt;
use std::path::Path;

/// The longest value that a condition searches where nothing else is configured.
const LONGEST: usize = 8 * 1024;
/// What a client may bring in all headers: the shipped 16 KiB, without what every request has.
const FULL: usize = 15 * 1024;

/// Requests before those that are counted, and requests that are counted. Dear ones take longer, and
/// their code is warm sooner.
const ORDINARY: [usize; 2] = [200, 200];
const DEAR: [usize; 2] = [40, 40];

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct DearReport {
    /// On what. The counts do not depend on it.
    pub machine: Machine,
    /// Envoy's version.
    pub envoy: String,
    /// How to repeat it.
    pub command: String,
    /// One for each dear request.
    pub rows: Vec<DearRow>,
}

/// A dear request.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DearRow {
    /// The rules.
    pub rules: &'static str,
    /// What the request brings.
    pub request: &'static str,
    /// With Pointsman.
    pub pointsman: DearTimes,
    /// With Envoy's own routes. None: it has no such rule.
    pub own: Option<DearTimes>,
}

/// What a worker takes for a request, in instructions of Envoy and filter.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct DearTimes {
    /// For an ordinary one.
    pub ordinary: f64,
    /// For the dear one.
    pub dear: f64,
}

impl DearTimes {
    /// How many times an ordinary one the dear one takes.
    pub fn times(self) -> f64 {
        self.dear / self.ordinary
    }
}

impl DearRow {
    /// Whether it keeps the bound that is promised.
    pub fn is_kept(&self) -> bool {
        self.pointsman.times() <= TIMES as f64
    }
}

impl DearReport {
    /// Whether all rows keep the bound.
    pub fn is_kept(&self) -> bool {
        self.rows.iter().all(DearRow::is_kept)
    }
}

impl fmt::Display for DearReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine {
            processor, kernel, ..
        } = &self.machine;
        writeln!(
            f,
            "`{}` on {processor},\nLinux {kernel}, Envoy {}. Instructions of the worker for a request, and \
             how many times an\nordinary one a dear one takes: at most {TIMES}.\n",
            self.command, self.envoy
        )?;
        let mut rows = table([
            "rules, and what the dear request brings",
            "ordinary",
            "dear",
            "times",
            "Envoy's own: ordinary",
            "dear",
            "times",
            "holds",
        ]);
        for row in &self.rows {
            let of = |times: DearTimes| {
                let DearTimes { ordinary, dear } = times;
                let numbers = [ordinary, dear].map(|number| format!("{number:.0}"));
                numbers.into_iter().chain([format!("{:.1}", times.times())])
            };
            let mut cells = vec![format!("{}: {}", row.rules, row.request)];
            cells.extend(of(row.pointsman));
            match row.own {
                Some(own) => cells.extend(of(own)),
                None => cells.extend([""; 3].map(str::to_owned)),
            }
            cells.push(if row.is_kept() { "yes" } else { "**no**" }.to_owned());
            rows.add_row(cells);
        }
        write!(f, "{rows}")
    }
}

/// A request by its path and the headers that are not those of every request.
#[derive(Clone, Debug)]
struct Sent {
    what: &'static str,
    path: String,
    headers: Vec<(&'static str, String)>,
}

/// Rules, as Pointsman has them and as Envoy does.
struct Rules {
    name: &'static str,
    /// `match` of each of Pointsman's routes but the last.
    pointsman: Vec<Value>,
    /// What else the configuration has: its parts, and `routes` for keys of the last route, which the
    /// requests take.
    more: Value,
    /// `match` of each of Envoy's routes. Empty: Envoy has no such rules.
    own: Vec<Value>,
    ordinary: Sent,
    dear: Vec<Sent>,
}

fn sent(what: &'static str, path: impl Into<String>, headers: &[(&'static str, String)]) -> Sent {
    Sent {
        what,
        path: path.into(),
        headers: headers.to_vec(),
    }
}

fn filled(text: &str, length: usize) -> String {
    text.repeat(length / text.len())
}

/// Rules as people write them. There are no more than an Envoy under Valgrind has room for VMs.
fn all() -> Vec<Rules> {
    const BOTS: &str =
        "(?i).*(bot|crawl|spider|slurp|curl|wget|python|scrapy|headless|phantom|java).*";
    let words = [
        "shop", "cart", "blog", "help", "jobs", "news", "docs", "team", "legal", "press",
    ];
    let paths = words
        .map(|word| format!(r".*/(en|de|fr|ko)/[a-z0-9-]+/{word}/[0-9]+\.(html|json)"))
        .to_vec();
    let forty: Vec<_> = (0..40)
        .map(|number| format!(r".*/(en|de|fr|ko)/[a-z0-9-]+/word{number}/[0-9]+\.(html|json)"))
        .collect();
    let numbers = || (0..20).map(|number| format!("v{number}"));
    // Keys of 32 bytes.
    let keys = [("YWFh", "YWE="), ("YmJi", "YmI="), ("Y2Nj", "Y2M=")];
    let keys = keys.map(|(text, end)| text.repeat(10) + end);
    let cluster = MeasuredRoute(0).first_cluster();
    let pools = (0..20).map(move |number| {
        let sticky = json!({ "cookie": { "name": "pm" }, "keys": keys });
        let pool = json!({ "targets": [{ "cluster": cluster }], "sticky": sticky });
        (format!("pool-{number}"), pool)
    });
    let in_cookie = |value: String| {
        let regex = format!("(.*; ?)?exp={value}(;.*)?");
        json!({ "name": "cookie", "string_match": { "safe_regex": { "regex": regex } } })
    };
    let of = |name: &'static str, value: String| [(name, value)];
    vec![
        Rules {
            name: "a pattern of bots on `user-agent`",
            pointsman: vec![json!({ "headers": [{ "name": "user-agent", "regex": BOTS }] })],
            more: json!({}),
            own: vec![json!({ "prefix": "/", "headers": [
                { "name": "user-agent", "string_match": { "safe_regex": { "regex": BOTS } } }
            ] })],
            ordinary: sent("", "/", &[]),
            dear: vec![
                sent(
                    "8 KiB of `bo`",
                    "/",
                    &of("user-agent", filled("bo", LONGEST)),
                ),
                sent("15 KiB of `bo`", "/", &of("user-agent", filled("bo", FULL))),
            ],
        },
        patterns_on_the_path("ten patterns on the path", &paths),
        patterns_on_the_path("forty patterns on the path", &forty),
        Rules {
            name: "20 conditions on a cookie, 20 on the query",
            pointsman: numbers()
                .map(|value| json!({ "cookies": [{ "name": "exp", "exact": value }] }))
                .chain(
                    numbers()
                        .map(|value| json!({ "query": [{ "name": "region", "exact": value }] })),
                )
                .collect(),
            more: json!({}),
            own: numbers()
                .map(|value| json!({ "prefix": "/", "headers": [in_cookie(value)] }))
                .chain(numbers().map(|value| {
                    let region = json!({ "name": "region", "string_match": { "exact": value } });
                    json!({ "prefix": "/", "query_parameters": [region] })
                }))
                .collect(),
            ordinary: sent(
                "",
                "/?page=1&region=eu",
                &of(
                    "cookie",
                    "session=0123456789abcdef; exp=99; lang=en".to_owned(),
                ),
            ),
            dear: vec![
                sent("15 KiB of `a=b;`", "/", &of("cookie", filled("a=b;", FULL))),
                sent(
                    "15 KiB of `exp=b;`",
                    "/",
                    &of("cookie", filled("exp=b;", FULL)),
                ),
                sent(
                    "15 KiB of `a=b&`",
                    format!("/?{}", filled("a=b&", FULL)),
                    &[],
                ),
                sent(
                    "15 KiB of `region=%61&`",
                    format!("/?{}", filled("region=%61&", FULL)),
                    &[],
                ),
            ],
        },
        limits_of_eight_parts("five limits of eight parts", 5),
        limits_of_eight_parts("sixteen limits of eight parts", 16),
        Rules {
            name: "five patterns that no table holds",
            pointsman: without_table()
                .map(|regex| json!({ "headers": [{ "name": "x-a", "regex": regex }] }))
                .collect(),
            more: json!({}),
            own: without_table()
                .map(|regex| {
                    let text = json!({ "safe_regex": { "regex": regex } });
                    json!({ "prefix": "/", "headers": [{ "name": "x-a", "string_match": text }] })
                })
                .collect(),
            ordinary: sent("", "/", &of("x-a", "a header".to_owned())),
            dear: vec![
                sent("8 KiB of `a`", "/", &of("x-a", filled("a", LONGEST))),
                sent("8 KiB of `ab`", "/", &of("x-a", filled("ab", LONGEST))),
            ],
        },
        Rules {
            name: "20 texts that a header contains",
            pointsman: contained()
                .map(|text| json!({ "headers": [{ "name": "x-a", "contains": text }] }))
                .collect(),
            more: json!({}),
            own: contained()
                .map(|text| {
                    let text = json!({ "contains": text });
                    json!({ "prefix": "/", "headers": [{ "name": "x-a", "string_match": text }] })
                })
                .collect(),
            ordinary: sent("", "/", &of("x-a", "a header".to_owned())),
            dear: vec![sent("8 KiB of `a`", "/", &of("x-a", filled("a", LONGEST)))],
        },
        Rules {
            name: "five patterns of attacks on a parameter",
            pointsman: ATTACKS
                .map(|regex| json!({ "query": [{ "name": "q", "regex": regex }] }))
                .into(),
            more: json!({}),
            own: ATTACKS
                .map(|regex| {
                    let text = json!({ "safe_regex": { "regex": regex } });
                    let parameter = json!({ "name": "q", "string_match": text });
                    json!({ "prefix": "/", "query_parameters": [parameter] })
                })
                .into(),
            ordinary: sent("", "/?q=red+shoes", &[]),
            dear: vec![
                sent(
                    "8 KiB of `select+`",
                    format!("/?q={}", filled("select+", LONGEST)),
                    &[],
                ),
                sent(
                    "15 KiB of `q=select+a&`",
                    format!("/?{}", filled("q=select+a&", FULL)),
                    &[],
                ),
                sent(
                    "15 KiB of `q=a&`",
                    format!("/?{}", filled("q=a&", FULL)),
                    &[],
                ),
            ],
        },
        rewrite("a rewrite that looks ahead", "a.*z|a", "a"),
        rewrite(
            "a rewrite of many states",
            "(a|b|ab)*(c|d)+[a-f]{20}z",
            "ab",
        ),
        Rules {
            name: "`protect`, all that it detects",
            pointsman: Vec::new(),
            more: json!({
                "protect": { "all": { "detect": DETECTED } },
                "last": { "protect": ["all"] },
            }),
            own: Vec::new(),
            ordinary: sent(
                "",
                "/products/42?q=red+shoes&sort=price-asc",
                &of(
                    "cookie",
                    "session=c2Vzc2lvbi1vZi1zb21lYm9keQ; theme=dark".to_owned(),
                ),
            ),
            dear: vec![
                sent(
                    "8 KiB of `%3Ca%20`",
                    format!("/?q={}", filled("%3Ca%20", LONGEST)),
                    &[],
                ),
                sent(
                    "15 KiB of `a=1&`",
                    format!("/?{}", filled("a=1&", FULL)),
                    &[],
                ),
                sent(
                    "15 KiB of `a='\"(;`",
                    "/",
                    &of("cookie", filled("a='\"(;", FULL)),
                ),
                sent("15 KiB of `../`", "/", &of("referer", filled("../", FULL))),
                sent("15 KiB of `/n-`", filled("/n-", FULL), &[]),
            ],
        },
        Rules {
            name: "a split of 20 pools with sessions",
            pointsman: Vec::new(),
            more: json!({
                "pools": pools.clone().collect::<serde_json::Map<_, _>>(),
                "last": { "pool": null, "split": pools.map(|(name, _)| json!({ "pool": name })).collect::<Vec<_>>() },
            }),
            own: Vec::new(),
            ordinary: sent("", "/", &of("cookie", "lang=en".to_owned())),
            dear: vec![sent(
                "15 KiB of forged sessions",
                "/",
                &of(
                    "cookie",
                    filled("pm=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA;", FULL),
                ),
            )],
        },
        Rules {
            name: "26 languages",
            pointsman: (b'a'..=b'z')
                .map(|letter| json!({ "language": [format!("{}-x-1", char::from(letter))] }))
                .collect(),
            more: json!({}),
            own: Vec::new(),
            ordinary: sent("", "/", &of("accept-language", "zz, zy;q=0.5".to_owned())),
            dear: vec![sent(
                "15 KiB of `b-aa-bb-cc-dd;q=0.1,`",
                "/",
                &of("accept-language", filled("b-aa-bb-cc-dd;q=0.1,", FULL)),
            )],
        },
        Rules {
            name: "devices and bots",
            pointsman: ["bot", "tablet", "mobile"]
                .map(|device| json!({ "device": device, "methods": ["PUT"] }))
                .into(),
            more: json!({}),
            own: Vec::new(),
            ordinary: sent("", "/", &[]),
            dear: vec![
                sent("15 KiB of `bo`", "/", &of("user-agent", filled("bo", FULL))),
                sent(
                    "15 KiB of `Googlebo/2.1 `",
                    "/",
                    &of("user-agent", filled("Googlebo/2.1 ", FULL)),
                ),
            ],
        },
        prefer_region(),
        limits_over_a_fleet(),
    ]
}

/// A region by a header, of which a client brings as much as it may.
fn prefer_region() -> Rules {
    let cluster = MeasuredRoute(0).first_cluster();
    let regions: serde_json::Map<_, _> = (0..50)
        .map(|at| (format!("C{at}"), json!("here")))
        .collect();
    let pool = json!({
        "targets": [
            { "cluster": cluster, "name": "a", "region": "here" },
            { "cluster": cluster, "name": "b", "region": "there" },
        ],
        "prefer_region": { "header": "x-geo-country", "map": regions, "default": "there" },
    });
    let of = |value: String| [("x-geo-country", value)];
    Rules {
        name: "a region of fifty countries",
        pointsman: Vec::new(),
        more: json!({ "pools": { "regions": pool }, "last": { "pool": "regions" } }),
        own: Vec::new(),
        ordinary: sent("", "/", &of("C7".to_owned())),
        dear: vec![
            sent("a country of 15 KiB", "/", &of(filled("C", FULL))),
            sent(
                "8 KiB of countries",
                "/",
                &(0..80)
                    .map(|_| ("x-geo-country", "C".repeat(100)))
                    .collect::<Vec<_>>(),
            ),
        ],
    }
}

/// Limits that ask an engine: here a backend that is none, so that each call fails as soon as it is
/// answered. A client with several values of a key is asked about for each.
fn limits_over_a_fleet() -> Rules {
    let cluster = MeasuredRoute(0).first_cluster();
    let limits = (0..2).map(|at| {
        let limit = json!({
            "requests": 1_000_000, "per": "1s", "key": [{ "header": "x-tenant" }, "path"],
            "global": { "cluster": cluster, "domain": "shop", "mode": "ask", "on_error": "admit" },
        });
        (format!("limit-{at}"), limit)
    });
    let limits: serde_json::Map<_, _> = limits.collect();
    let names: Vec<_> = limits.keys().cloned().collect();
    let tenant = |at: u8| ("x-tenant", char::from(b'a' + at).to_string().repeat(1800));
    let tenants: Vec<_> = (0..8).map(tenant).collect();
    Rules {
        name: "two limits over a fleet",
        pointsman: Vec::new(),
        more: json!({ "rate_limits": limits, "last": { "rate_limits": names } }),
        own: Vec::new(),
        ordinary: sent("", "/", &[("x-tenant", "acme".to_owned())]),
        dear: vec![
            sent("a key of 15 KiB", "/", &[("x-tenant", filled("a", FULL))]),
            sent("a path of 15 KiB", filled("/a", FULL), &[]),
            sent("eight keys of 1,800 bytes", "/", &tenants),
        ],
    }
}

/// What `protect` can look for.
const DETECTED: [&str; 4] = [
    "sql_injection",
    "cross_site_scripting",
    "path_traversal",
    "scanner",
];

/// What people look for in parameters.
const ATTACKS: [&str; 5] = [
    r"(?i).*(union\s+select|select\s.+\sfrom).*",
    r"(?i).*<\s*(script|img|svg)[^>]*>.*",
    r"(?i).*(\.\./|\.\.\\).*",
    r"(?i).*(sleep|benchmark|waitfor)\s*\(.*",
    r"(?i).*(/etc/passwd|cmd\.exe|\$\{jndi:).*",
];

/// Patterns whose states are too many for a table.
fn without_table() -> impl Iterator<Item = String> {
    (20..25).map(|times| format!(".*a.{{{times}}}b"))
}

/// Texts that nearly are in a value of one letter.
fn contained() -> impl Iterator<Item = String> {
    (0..20).map(|number| format!("{}b{number}", "a".repeat(200)))
}

fn patterns_on_the_path(name: &'static str, patterns: &[String]) -> Rules {
    Rules {
        name,
        pointsman: patterns
            .iter()
            .map(|regex| json!({ "path": { "regex": regex } }))
            .collect(),
        more: json!({}),
        own: patterns
            .iter()
            .map(|regex| json!({ "safe_regex": { "regex": regex } }))
            .collect(),
        ordinary: sent("", "/service/en/shoes/item/42.html", &[]),
        dear: vec![
            sent("8 KiB of `/en/a-`", filled("/en/a-", LONGEST), &[]),
            sent(
                "8 KiB of `/en/a/shop/1`",
                filled("/en/a/shop/1", LONGEST),
                &[],
            ),
        ],
    }
}

fn limits_of_eight_parts(name: &'static str, count: usize) -> Rules {
    let parts = json!([
        "path", "host", "method", "route", { "cookie": "a" }, { "cookie": "b" }, { "query": "a" },
        { "header": "cookie" }
    ]);
    let limits = (0..count).map(|at| {
        let limit = json!({ "requests": 1_000_000, "per": "1s", "key": parts });
        (format!("limit-{at}"), limit)
    });
    let limits: serde_json::Map<_, _> = limits.collect();
    let names: Vec<_> = limits.keys().cloned().collect();
    let cookie = |text: String| [("cookie", text)];
    let session = format!("a={};", "x".repeat(60));
    Rules {
        name,
        pointsman: Vec::new(),
        more: json!({ "rate_limits": limits, "last": { "rate_limits": names } }),
        own: Vec::new(),
        ordinary: sent("", "/?a=1", &cookie("a=1; b=2".to_owned())),
        dear: vec![
            sent(
                "a cookie of 15 KiB",
                "/",
                &cookie(format!("a={}", filled("1", FULL))),
            ),
            sent("15 KiB of `x=y;`", "/", &cookie(filled("x=y;", FULL))),
            sent(
                "15 KiB of one session",
                "/",
                &cookie(filled(&session, FULL)),
            ),
            sent("a path of 15 KiB", filled("/a", FULL), &[]),
        ],
    }
}

fn rewrite(name: &'static str, pattern: &str, text: &'static str) -> Rules {
    let rewrite = json!({ "path_regex": { "pattern": pattern, "substitution": "/" } });
    Rules {
        name,
        pointsman: Vec::new(),
        more: json!({ "last": { "rewrite": rewrite } }),
        own: Vec::new(),
        ordinary: sent("", "/a/path/of/a/shop", &[]),
        dear: vec![
            sent("8 KiB", format!("/{}", filled(text, LONGEST - 1)), &[]),
            sent("15 KiB", format!("/{}", filled(text, FULL)), &[]),
        ],
    }
}

impl Rules {
    fn configuration(&self, name: &str) -> Value {
        let mut routes: Vec<_> = self
            .pointsman
            .iter()
            .enumerate()
            .map(|(at, matched)| {
                json!({ "name": format!("rule-{at}"), "match": matched, "pool": name })
            })
            .collect();
        let mut last = json!({ "name": "all", "pool": name });
        let cluster = MeasuredRoute(0).first_cluster();
        let mut configuration =
            json!({ "pools": { name: { "targets": [{ "cluster": cluster }] } } });
        for (key, more) in self.more.as_object().into_iter().flatten() {
            match key.as_str() {
                "last" => extend(&mut last, more),
                "pools" => extend(&mut configuration["pools"], more),
                _ => configuration[key] = more.clone(),
            }
        }
        routes.push(last);
        configuration["routes"] = routes.into();
        configuration
    }

    /// A listener of this name with Pointsman.
    fn pointsman(&self, name: &str, fleet: &Fleet, module: &Path) -> Result<Value> {
        let configuration = PluginConfiguration::Struct(self.configuration(name));
        let mut deployment = fleet.deployment(module)?.with_configuration(configuration);
        let manager = deployment.connection_manager_mut();
        // A VM of its own.
        manager["http_filters"][0]["typed_config"]["config"]["vm_config"]["vm_id"] = name.into();
        let mut listener = deployment.bootstrap_mut()["static_resources"]["listeners"][0].take();
        listener["name"] = name.into();
        Ok(listener)
    }

    /// A listener of this name with Envoy's own routes.
    fn own(&self, name: &str, fleet: &Fleet, module: &Path) -> Result<Value> {
        let mut deployment = fleet.deployment(module)?;
        let manager = deployment.connection_manager_mut();
        let router = manager["http_filters"][1].take();
        manager["http_filters"] = json!([router]);
        let cluster = MeasuredRoute(0).first_cluster();
        let routes = |own: &EnvoyRoutes| ("routes", own.matching(&self.own, &cluster));
        envoys_own::choose(manager, routes)?;
        let mut listener = deployment.bootstrap_mut()["static_resources"]["listeners"][0].take();
        listener["name"] = name.into();
        Ok(listener)
    }
}

/// Sets keys of a mapping; null takes one away.
fn extend(mapping: &mut Value, more: &Value) {
    for (key, value) in more.as_object().into_iter().flatten() {
        match (value, mapping.as_object_mut()) {
            (Value::Null, Some(mapping)) => {
                mapping.remove(key);
            }
            _ => mapping[key] = value.clone(),
        }
    }
}

/// Measures all rows, or those of the rules whose name contains `only`. `say` gets each step's name
/// as it begins.
pub fn measure_dear(only: Option<&str>, command: String, say: &dyn Fn(&str)) -> Result<DearReport> {
    callgrind::find()?;
    let program = install::find(Wanted::Any)?.binary()?;
    let directory = tempfile::tempdir()?;
    let library = ClockLibrary::build(directory.path())?;
    let module = module::build()?;
    let mut rules = all();
    rules.retain(|rules| only.is_none_or(|only| rules.name.contains(only)));
    ensure!(!rules.is_empty(), "no rules are called like that");
    let fleet = rows::backends()?;
    fleet
        .members()
        .iter()
        .for_each(|member| member.backend.forget());

    let mut measured = Vec::new();
    for rules in rules.chunks(VMS) {
        let mut listeners = Vec::new();
        for (at, rules) in rules.iter().enumerate() {
            listeners.push(rules.pointsman(&format!("rules-{at}"), &fleet, &module)?);
            if !rules.own.is_empty() {
                listeners.push(rules.own(&format!("own-{at}"), &fleet, &module)?);
            }
        }
        let deployment = rows::deployment(&fleet, &module, listeners)?;
        let mut profiled = ProfiledEnvoy::start(&program, &library, deployment)?;
        profiled.count()?;
        for (at, rules) in rules.iter().enumerate() {
            say(rules.name);
            let pointsman = measure(rules, &format!("rules-{at}"), &mut profiled)?;
            let own = match rules.own.is_empty() {
                true => None,
                false => Some(measure(rules, &format!("own-{at}"), &mut profiled)?),
            };
            measured.extend(rules.dear.iter().enumerate().map(|(at, dear)| DearRow {
                rules: rules.name,
                request: dear.what,
                pointsman: pointsman[at],
                own: own.as_ref().map(|own| own[at]),
            }));
        }
        let bugs = profiled.envoy.filter_bugs()?;
        ensure!(bugs == 0, "the filter has met {bugs} states that cannot be");
    }
    Ok(DearReport {
        machine: Machine::here()?,
        envoy: program.version.to_string(),
        command,
        rows: measured,
    })
}

/// What each dear request takes on this listener.
fn measure(rules: &Rules, name: &str, profiled: &mut ProfiledEnvoy) -> Result<Vec<DearTimes>> {
    let mut client = Client::new(profiled.envoy.listener(name)?)?;
    let mut of = |sent: &Sent, [warm_up, counted]: [usize; 2]| -> Result<f64> {
        let context = || format!("{name}: {}: {}", rules.name, sent.what);
        ask(&mut client, sent, profiled, warm_up).with_context(context)?;
        let all = profiled.instructions(|profiled| ask(&mut client, sent, profiled, counted));
        Ok(all.with_context(context)? as f64 / counted as f64)
    };
    let ordinary = of(&rules.ordinary, ORDINARY)?;
    let dear = rules.dear.iter().map(|sent| {
        Ok(DearTimes {
            ordinary,
            dear: of(sent, DEAR)?,
        })
    });
    dear.collect()
}

/// So many requests, and time passes.
fn ask(client: &mut Client, sent: &Sent, profiled: &mut ProfiledEnvoy, count: usize) -> Result<()> {
    let is_own = |name: &str| sent.headers.iter().any(|(own, _)| *own == name);
    let common = HEADERS.into_iter().filter(|(name, _)| !is_own(name));
    let own = sent.headers.iter().map(|(name, value)| (*name, &**value));
    let headers: Vec<_> = common.chain(own).collect();
    for _ in 0..count {
        profiled.clock.advance(STEP)?;
        let answer = client.get_with(HEADERS[0].1, &sent.path, &headers)?;
        // One that uses up what its conditions may take is refused, which costs that too.
        let is_known = matches!(answer.status().as_u16(), 200 | 431);
        ensure!(is_known, "answered with {}", answer.status());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pointsman_core::config::Config;

    #[test]
    fn the_configurations_are_good() {
        let all = all();
        for rules in &all {
            let text = rules.configuration("a").to_string();
            let config = Config::load(text.as_bytes()).unwrap();
            assert_eq!(config.routes.len(), rules.pointsman.len() + 1);
            let own = rules.own.len();
            assert!(own == 0 || own == rules.pointsman.len(), "{}", rules.name);
        }
        let asks = |name: &str| all.iter().any(|rules| rules.name.contains(name));
        for name in [
            "bots",
            "ten patterns",
            "20 conditions",
            "limits",
            "table",
            "contains",
            "attacks",
            "rewrite",
            "protect",
            "sessions",
            "languages",
        ] {
            assert!(asks(name), "{name}");
        }
    }

    #[test]
    fn every_dear_request_is_as_long_as_the_edge_lets_in_and_no_longer() {
        for rules in all() {
            for sent in &rules.dear {
                let headers = sent
                    .headers
                    .iter()
                    .map(|(name, value)| name.len() + value.len());
                let bytes = sent.path.len() + headers.sum::<usize>();
                assert!((LONGEST - 16..=FULL + 16).contains(&bytes), "{}", sent.what);
            }
        }
    }

    #[test]
    fn a_row_above_the_bound_fails_the_run() {
        let report = |dear: f64| DearReport {
            machine: Machine {
                processor: "a processor".into(),
                cores: 2,
                kernel: "6.1".into(),
            },
            envoy: "1.40.0".into(),
            command: "a command".into(),
            rows: vec![DearRow {
                rules: "a rule",
                request: "much",
                pointsman: DearTimes {
                    ordinary: 200_000.0,
                    dear,
                },
                own: Some(DearTimes {
                    ordinary: 100_000.0,
                    dear: 150_000.0,
                }),
            }],
        };
        let (good, bad) = (report(2_000_000.0), report(2_000_001.0));
        assert!(good.is_kept() && !bad.is_kept());
        let cells = |report: &DearReport| -> Vec<String> {
            let text = report.to_string();
            let last = text.lines().last().unwrap_or_default();
            last.split('|').map(|cell| cell.trim().to_owned()).collect()
        };
        assert_eq!(
            cells(&good)[1..9],
            [
                "a rule: much",
                "200000",
                "2000000",
                "10.0",
                "100000",
                "150000",
                "1.5",
                "yes"
            ]
        );
        assert_eq!(cells(&bad)[8], "**no**");
    }
}

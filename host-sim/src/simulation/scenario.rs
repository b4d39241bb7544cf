//! A scenario file, read into what can be played, or refused with every problem at once (the
//! configuration's own reader reads it).
//!
//! ```yaml
//! config: shop.yaml                  # relative to this file; or the configuration itself
//! seed: 1                            # of everything that is random. Default 1
//! workers: 2                         # of the proxy. Default 2
//! duration: 60s
//! proxy: { timeout: 15s, connect_timeout: 1s, retries: 2, failure_policy: reload }     # the defaults: those of envoy-config/
//! every_target: { service: { lognormal: { median: 20ms, sigma: 0.5 } }, concurrency: 64, queue: 1000, probe: { constant: 1ms } }
//! targets: { web-green: { service: { exponential: { mean: 30ms } } } }                 # a cluster, or the address of an endpoint
//! traffic:
//!   - name: shoppers
//!     rate: [{ at: 0s, per_second: 100 }, { at: 20s, per_second: 900 }]                # or a number; straight lines between the points
//!     from: 0s
//!     until: 60s
//!     clients: 500                   # each with an address and a connection of its own, so with one worker. Default 1000
//!     patience: 5s                   # leaves without an answer after so long. Default: never
//!     request: { method: GET, url: "http://shop.example.com/", headers: { x-client: "{client}" } }
//! faults:                            # each `at` a time, most `until` another one; without it until the end
//!   - { at: 20s, until: 40s, target: web-blue, down: refused }        # or `silent`: no answer to a connection, none to a request
//!   - { at: 20s, until: 40s, target: web-blue, hang: true }           # takes requests, works on none
//!   - { at: 20s, until: 40s, target: web-blue, slow: 10 }             # so many times
//!   - { at: 20s, until: 40s, target: web-blue, fail: { status: 500, share: 0.3 } }
//!   - { at: 20s, until: 40s, target: web-blue, lose_probes: 0.5 }     # this part of the probes is never answered
//!   - { at: 30s, trap: 0 }                                            # the VM of a worker
//!   - { at: 30s, jump: 1h }  # the clock on the wall; `back: 1h` sets it back
//!   - { at: 30s, reload: other.yaml }                                 # or the configuration itself
//! expect:                            # see `measure`; `from`, `until`, `traffic`, `target` narrow what is looked at
//!   - { errors: { max: 0 }, from: 21s }
//!   - { share: { min: 0.08, max: 0.12 }, target: web-green }
//!   - { p99: { max: 300ms }, traffic: shoppers }
//! ```

use super::backend::Model;
use super::measure::{self, Expectation};
use super::service::Service;
use crate::configuration::{self, PATH_OR_CONFIGURATION};
use crate::exchange::{ExchangeRequest, Pairs};
use crate::world::proxy::FailurePolicy;
use anyhow::{Context, Result};
use pointsman_core::config::Config;
use pointsman_core::config::reader::{Map, Names, Node, Report};
use pointsman_core::config::syntax;
use pointsman_core::config::value::Value;
use pointsman_core::pool::{self, Pool};
use pointsman_core::time::Nanos;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

/// In a second.
pub const SECOND: u64 = 1_000_000_000;

/// The longest time that can be said, in nanoseconds: a year.
const MAX_TIME: u64 = 366 * 24 * 3600 * SECOND;
/// What [`time`] takes, in words.
const TIME_RANGE: &str = "at most a year";
/// The most workers: as many as a large machine has threads.
const MAX_WORKERS: u32 = 256;
/// The most entries of any list: targets, traffic, faults, expectations.
const MAX_ENTRIES: usize = 1000;
/// The most clients of one kind of traffic: their addresses are 10.*k*.*x*.*y*.
pub const MAX_CLIENTS: u32 = 1 << 16;
/// The most retries: a request's tries are kept in a small array.
const MAX_RETRIES: u32 = 7;
/// How long a request takes where the scenario does not say: 10 ms, as a small service does.
const SERVICE: Service = Service::Exponential { mean: 1e7 };
/// The highest rate, in requests per second.
const MAX_RATE: f64 = 1e9;

/// What can be played.
#[derive(Debug)]
pub struct Scenario {
    /// The file's name without its ending.
    pub name: String,
    /// Pointsman's configuration as JSON.
    pub config: serde_json::Value,
    /// The same, loaded.
    pub loaded: Config,
    /// Of everything that is random.
    pub seed: u64,
    /// At least 1.
    pub workers: usize,
    /// In nanoseconds, as all times here; above 0.
    pub duration: u64,
    /// What the proxy does by itself.
    pub proxy: Proxy,
    /// All targets that any configuration of the scenario names, each once.
    pub targets: Vec<Target>,
    /// At least one.
    pub traffic: Vec<Traffic>,
    /// In the order of the file.
    pub faults: Vec<ScheduledFault>,
    /// In the order of the file.
    pub expect: Vec<Expectation>,
}

/// What the proxy does by itself. The defaults are what `envoy-config/` ships.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Proxy {
    /// How long a request may take.
    pub timeout: u64,
    /// How long a connection may take.
    pub connect_timeout: u64,
    /// How often a request is tried again that no target can have worked on yet.
    pub retries: usize,
    /// What becomes of requests while a VM is dead.
    pub failure_policy: FailurePolicy,
}

/// A target.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// The address of an endpoint, or else the name of a cluster.
    pub name: String,
    /// The clusters that it belongs to: its own, or those that have the endpoint.
    pub clusters: Vec<String>,
    /// Whether it is an endpoint.
    pub is_endpoint: bool,
    /// What the names of its metrics begin with: one for each pool that has it.
    pub places: Vec<String>,
    /// How it works.
    pub model: Model,
}

/// One kind of traffic.
#[derive(Clone, Debug, PartialEq)]
pub struct Traffic {
    /// Unique.
    pub name: String,
    /// Points in order; before the first and after the last it is as there.
    pub rate: Vec<Point>,
    /// When it begins.
    pub from: u64,
    /// When it ends.
    pub until: u64,
    /// How many clients there are.
    pub clients: u32,
    /// After how long a client leaves. None: never.
    pub patience: Option<u64>,
    /// The request, with `{client}` for the client's number in the values of headers.
    pub headers: Pairs,
}

/// A rate at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// When.
    pub at: u64,
    /// How many requests per second.
    pub per_second: f64,
}

/// Something that goes wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct ScheduledFault {
    /// When.
    pub at: u64,
    /// Until when. None: until the end, or it is over at once.
    pub until: Option<u64>,
    /// What.
    pub what: FaultKind,
    /// What, for people.
    pub label: String,
}

/// What goes wrong. Targets by their place in [`Scenario::targets`].
#[derive(Clone, Debug, PartialEq)]
pub enum FaultKind {
    /// Nobody listens.
    Refused(usize),
    /// Packets vanish.
    Silent(usize),
    /// It takes requests and works on none.
    Hang(usize),
    /// So many times slower.
    Slow(usize, f64),
    /// Answers with a status, this part of the requests.
    Fail(usize, u16, f64),
    /// This part of its probes is never answered.
    LoseProbes(usize, f64),
    /// The VM of a worker.
    Trap(usize),
    /// The clock on the wall, in nanoseconds, backwards too.
    Jump(i64),
    /// Another configuration.
    Reload(Vec<u8>),
}

impl Scenario {
    /// Reads a file and the configurations that it names.
    pub fn read(path: &Path) -> Result<Scenario> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        Scenario::parse(&name, &text, path.parent().unwrap_or(Path::new("")))
            .with_context(|| path.display().to_string())
    }

    /// Reads a file's text. `beside` is where the configurations are that it names.
    pub fn parse(name: &str, text: &str, beside: &Path) -> Result<Scenario> {
        let tree = configuration::parse(text)?;
        let mut report = Report::default();
        let scenario = scenario(name, &Node::root(&tree), beside, &mut report);
        configuration::finish(report, "the scenario")?;
        scenario.context("a scenario without problems is whole")
    }
}

/// A target's name in a scenario.
fn name_of(target: &pool::Target) -> &str {
    target.endpoint.as_deref().unwrap_or(&target.cluster)
}

const FAULT: &[&str] = &[
    "at",
    "until",
    "target",
    "down",
    "hang",
    "slow",
    "fail",
    "lose_probes",
    "trap",
    "jump",
    "back",
    "reload",
];

fn scenario(name: &str, node: &Node<'_>, beside: &Path, report: &mut Report) -> Option<Scenario> {
    const KEYS: &[&str] = &[
        "config",
        "seed",
        "workers",
        "duration",
        "proxy",
        "every_target",
        "targets",
        "traffic",
        "faults",
        "expect",
    ];
    const TRAFFIC: &str = "a list of at least one kind of traffic";
    let map = node.map(report, KEYS)?;
    let config = map.need(report, "config", PATH_OR_CONFIGURATION);
    let config = config.and_then(|node| config_of(&node, beside, report));
    let faults = map.get("faults");
    let faults = items(&faults, "a list of faults", report);
    let reloads = reloads(&faults, beside, report);

    // Which targets there are is for the configurations to say.
    let loaded = config
        .iter()
        .chain(reloads.iter().flatten())
        .map(|(_, config)| config);
    let mut targets = targets_of(loaded);
    let known: Vec<String> = targets.iter().map(|target| target.name.clone()).collect();
    let mut names = Names::default();
    for (place, name) in known.iter().enumerate() {
        // They are unique.
        let _ = names.add(name, place);
    }
    models(&map, &mut targets, &names, report);

    let workers = map
        .get("workers")
        .and_then(|node| node.whole(report, 1, MAX_WORKERS));
    let workers = workers.unwrap_or(2) as usize;
    let duration = map.need(report, "duration", "a duration");
    let duration = duration
        .and_then(|node| node.duration(report, Nanos::new(1), Nanos::new(MAX_TIME), TIME_RANGE))
        .map_or(SECOND, Nanos::get);
    let traffic = map.need(report, "traffic", TRAFFIC);
    let traffic: Vec<Traffic> = traffic
        .iter()
        .flat_map(|node| {
            node.filled_list(report, TRAFFIC, MAX_ENTRIES)
                .collect::<Vec<_>>()
        })
        .collect::<Vec<_>>()
        .iter()
        .filter_map(|node| traffic_of(node, duration, report))
        .collect();
    let mut kinds = Names::default();
    for (i, kind) in traffic.iter().enumerate() {
        if kinds.add(&kind.name, i).is_err() {
            report.note(
                node,
                &format!("two kinds of traffic named {}", kind.name),
                "unique names",
            );
        }
    }
    let expect = map.get("expect");
    let expect = items(&expect, "a list of expectations", report);
    let reads = faults.iter().zip(reloads);
    let (config, loaded) = config?;
    Some(Scenario {
        name: name.to_owned(),
        seed: map
            .get("seed")
            .and_then(|node| node.whole(report, 0, u32::MAX))
            .map_or(1, u64::from),
        workers,
        duration,
        proxy: proxy(map.get("proxy"), report),
        targets,
        faults: reads
            .filter_map(|(node, reload)| fault(node, reload, workers, &names, report))
            .collect(),
        expect: expect
            .iter()
            .filter_map(|node| measure::read(node, &names, &kinds, report))
            .collect(),
        traffic: traffic.clone(),
        config,
        loaded,
    })
}

fn items<'n>(list: &'n Option<Node<'n>>, expected: &str, report: &mut Report) -> Vec<Node<'n>> {
    list.iter()
        .flat_map(|list| list.list(report, expected, MAX_ENTRIES))
        .collect()
}

/// The configuration at a node, or in the file beside the scenario that the node names.
fn config_of(
    node: &Node<'_>,
    beside: &Path,
    report: &mut Report,
) -> Option<(serde_json::Value, Config)> {
    let read = |path: &str| configuration::read(&beside.join(path));
    configuration::named_or_inline(node, &read, report)
}

/// The configuration that each fault loads, if it does. Whatever else is wrong with a fault is
/// noted when it is read.
fn reloads(
    faults: &[Node<'_>],
    beside: &Path,
    report: &mut Report,
) -> Vec<Option<(serde_json::Value, Config)>> {
    let reload = |node: &Node<'_>| {
        let map = node.map(&mut Report::default(), FAULT)?;
        config_of(&map.get("reload")?, beside, report)
    };
    faults.iter().map(reload).collect()
}

fn proxy(node: Option<Node<'_>>, report: &mut Report) -> Proxy {
    const POLICIES: &[&str] = &["reload", "closed", "open"];
    let mut proxy = Proxy {
        timeout: 15 * SECOND,
        connect_timeout: SECOND,
        retries: 2,
        failure_policy: FailurePolicy::Reload,
    };
    let keys = &["timeout", "connect_timeout", "retries", "failure_policy"];
    if let Some(map) = node.as_ref().and_then(|node| node.map(report, keys)) {
        let mut set = |key: &str, value: &mut u64| {
            let given = map.get(key).and_then(|node| time(&node, report));
            *value = given.unwrap_or(*value);
        };
        set("timeout", &mut proxy.timeout);
        set("connect_timeout", &mut proxy.connect_timeout);
        let retries = map
            .get("retries")
            .and_then(|node| node.whole(report, 0, MAX_RETRIES));
        proxy.retries = retries.map_or(proxy.retries, |retries| retries as usize);
        proxy.failure_policy = match map
            .get("failure_policy")
            .and_then(|node| node.choice(report, POLICIES))
        {
            Some(1) => FailurePolicy::Closed,
            Some(2) => FailurePolicy::Open,
            _ => FailurePolicy::Reload,
        };
    }
    proxy
}

/// What a scenario may say of a target.
#[derive(Clone, Copy, Default)]
struct Said {
    service: Option<Service>,
    probe: Option<Service>,
    concurrency: Option<usize>,
    queue: Option<usize>,
}

impl Said {
    fn read(node: &Node<'_>, report: &mut Report) -> Said {
        let Some(map) = node.map(report, &["service", "probe", "concurrency", "queue"]) else {
            return Said::default();
        };
        let count = |node: Node<'_>, least, report: &mut Report| {
            node.whole(report, least, u32::MAX).map(|n| n as usize)
        };
        Said {
            service: map
                .get("service")
                .and_then(|node| Service::read(&node, report)),
            probe: map
                .get("probe")
                .and_then(|node| Service::read(&node, report)),
            concurrency: map
                .get("concurrency")
                .and_then(|node| count(node, 1, report)),
            queue: map.get("queue").and_then(|node| count(node, 0, report)),
        }
    }

    fn model(self, every: Said) -> Model {
        let service = self.service.or(every.service).unwrap_or(SERVICE);
        Model {
            service,
            probe: self.probe.or(every.probe).unwrap_or(service),
            concurrency: self.concurrency.or(every.concurrency),
            queue: self.queue.or(every.queue),
        }
    }
}

/// Every target of these configurations, once, in their order.
fn targets_of<'c>(configs: impl Iterator<Item = &'c Config>) -> Vec<Target> {
    let mut targets: Vec<Target> = Vec::new();
    let mut places = BTreeMap::new();
    let of_pool = |pool: &'c Rc<Pool>| pool.targets.iter().map(move |target| (pool, target));
    for (pool, target) in configs.flat_map(|config| &config.pools).flat_map(of_pool) {
        let name = name_of(target);
        let place = *places.entry(name).or_insert(targets.len());
        if place == targets.len() {
            targets.push(Target {
                name: name.to_owned(),
                clusters: Vec::new(),
                is_endpoint: target.endpoint.is_some(),
                places: Vec::new(),
                model: Said::default().model(Said::default()),
            });
        }
        targets[place].clusters.push(target.cluster.to_string());
        let metric = pool.target_metric(target);
        if !targets[place].places.contains(&metric) {
            targets[place].places.push(metric);
        }
    }
    targets
}

/// How each target works.
fn models(map: &Map<'_>, targets: &mut [Target], names: &Names<'_>, report: &mut Report) {
    let every = map
        .get("every_target")
        .map(|node| Said::read(&node, report))
        .unwrap_or_default();
    for target in targets.iter_mut() {
        target.model = Said::default().model(every);
    }
    let given = map.get("targets");
    let given = given
        .as_ref()
        .and_then(|node| node.names(report, "a map of targets", MAX_ENTRIES));
    for node in given.iter().flat_map(Map::iter) {
        match names.get(node.key()) {
            Some(target) => targets[target].model = Said::read(&node, report).model(every),
            None => {
                let near = report.nearest(
                    node.key(),
                    &mut targets.iter().map(|target| target.name.as_str()),
                );
                let expected = "a cluster or an endpoint of the configuration's pools";
                report.note_near(&node, "no such target", expected, near);
            }
        }
    }
}

fn traffic_of(node: &Node<'_>, duration: u64, report: &mut Report) -> Option<Traffic> {
    const REQUEST: &str = "a request: method, url, headers";
    let map = node.map(
        report,
        &[
            "name", "rate", "from", "until", "clients", "patience", "request",
        ],
    )?;
    let mut time_of = |key| map.get(key).and_then(|node| time(&node, report));
    let (from, until, patience) = (time_of("from"), time_of("until"), time_of("patience"));
    let name = map
        .need(report, "name", "a name")
        .and_then(|node| node.text(report, "a name"));
    let rate = map
        .need(report, "rate", RATE)
        .and_then(|node| rate(&node, report));
    let clients = map
        .get("clients")
        .and_then(|node| node.whole(report, 1, MAX_CLIENTS));
    let request = map
        .need(report, "request", REQUEST)
        .and_then(|node| request(&node, report));
    Some(Traffic {
        name: name?.to_owned(),
        rate: rate?,
        from: from.unwrap_or(0),
        until: until.unwrap_or(duration).min(duration),
        clients: clients.unwrap_or(1000),
        patience,
        headers: request?,
    })
}

const RATE: &str =
    "a number of requests per second, or a list of points { at, per_second } in order";

fn rate(node: &Node<'_>, report: &mut Report) -> Option<Vec<Point>> {
    if node.number().is_some() {
        return number(node, report, 0.0, MAX_RATE)
            .map(|per_second| vec![Point { at: 0, per_second }]);
    }
    let mut points: Vec<Point> = Vec::new();
    for node in node
        .filled_list(report, RATE, MAX_ENTRIES)
        .collect::<Vec<_>>()
    {
        let map = node.map(report, &["at", "per_second"])?;
        let at = map
            .need(report, "at", "a duration")
            .and_then(|node| time(&node, report));
        let per_second = map.need(report, "per_second", "a number");
        let per_second = per_second.and_then(|node| number(&node, report, 0.0, MAX_RATE));
        let (at, per_second) = (at?, per_second?);
        if points.last().is_some_and(|last| last.at > at) {
            report.note(&node, "earlier than the point before", RATE);
        }
        points.push(Point { at, per_second });
    }
    Some(points)
}

fn request(node: &Node<'_>, report: &mut Report) -> Option<Pairs> {
    let map = node.map(report, &["method", "url", "headers"])?;
    let method = map
        .get("method")
        .and_then(|node| node.text_that(report, syntax::is_token, "a method"))
        .unwrap_or("GET");
    let url_node = map.need(report, "url", "a URL")?;
    let url = url_node.text(report, "a URL")?;
    let mut ask = match ExchangeRequest::new(method.as_bytes(), url.as_bytes()) {
        Ok(ask) => ask,
        Err(error) => {
            report.note(&url_node, &error, "a URL");
            return None;
        }
    };
    let headers = map.get("headers");
    let headers = headers
        .as_ref()
        .and_then(|node| node.names(report, "a map of headers", MAX_ENTRIES));
    for node in headers.iter().flat_map(Map::iter) {
        let value = node.text_that(report, syntax::is_header_value, "a header's value")?;
        ask.headers
            .push((node.key().to_ascii_lowercase().into(), value.into()));
    }
    Some(ask.header_map())
}

fn fault(
    node: &Node<'_>,
    reload: Option<(serde_json::Value, Config)>,
    workers: usize,
    names: &Names<'_>,
    report: &mut Report,
) -> Option<ScheduledFault> {
    const WAYS: &[&str] = &["refused", "silent"];
    let map = node.map(report, FAULT)?;
    let at = map
        .need(report, "at", "a duration")
        .and_then(|node| time(&node, report));
    let until = map.get("until").and_then(|node| time(&node, report));
    let kind = map.exactly_one(report, &FAULT[3..])?;
    let target = match kind.key() {
        "trap" | "jump" | "back" | "reload" => {
            for key in ["target", "until"] {
                if let Some(node) = map.get(key) {
                    report.note(
                        &node,
                        &format!("stands beside {}", kind.key()),
                        "neither target nor until",
                    );
                }
            }
            None
        }
        _ => {
            let node = map.need(report, "target", "a cluster or an endpoint");
            Some(node.and_then(|node| node.reference(report, names, "target"))?)
        }
    };
    let target = target.unwrap_or_default();
    let what = match kind.key() {
        "down" => match kind.choice(report, WAYS)? {
            0 => FaultKind::Refused(target),
            _ => FaultKind::Silent(target),
        },
        "hang" => kind.yes(report).map(|_| FaultKind::Hang(target))?,
        "slow" => FaultKind::Slow(target, number(&kind, report, 0.001, 1e6)?),
        "lose_probes" => FaultKind::LoseProbes(target, number(&kind, report, 0.0, 1.0)?),
        "fail" => {
            let map = kind.map(report, &["status", "share"])?;
            let status = map
                .need(report, "status", "a status")
                .and_then(|node| node.whole(report, 200, 599))?;
            let share = map
                .get("share")
                .map_or(Some(1.0), |node| number(&node, report, 0.0, 1.0))?;
            FaultKind::Fail(target, status as u16, share)
        }
        "trap" => FaultKind::Trap(kind.whole(report, 0, workers as u32 - 1)? as usize),
        "jump" => FaultKind::Jump(time(&kind, report)? as i64),
        "back" => FaultKind::Jump(-(time(&kind, report)? as i64)),
        _ => FaultKind::Reload(reload?.0.to_string().into_bytes()),
    };
    let place = map
        .get("target")
        .and_then(|node| node.as_text())
        .map_or(String::new(), |name| format!("{name} "));
    let amount = match kind.value() {
        Value::Text(text) if kind.key() != "reload" => format!(" {text}"),
        Value::Number(number) => format!(" {number}"),
        _ => String::new(),
    };
    Some(ScheduledFault {
        at: at?,
        until,
        what,
        label: format!("{place}{}{amount}", kind.key()),
    })
}

/// A time from 0 on.
pub fn time(node: &Node<'_>, report: &mut Report) -> Option<u64> {
    let time = node.duration(report, Nanos::ZERO, Nanos::new(MAX_TIME), TIME_RANGE);
    time.map(Nanos::get)
}

/// A number in a range, its ends included.
pub fn number(node: &Node<'_>, report: &mut Report, least: f64, most: f64) -> Option<f64> {
    let number = node
        .number()
        .filter(|number| (least..=most).contains(number));
    if number.is_none() {
        node.wrong(report, &format!("a number from {least} to {most}"));
    }
    number
}

//! What a running Envoy says of Pointsman at its admin address: which configuration is live, pools
//! and targets, limits, and what should be zero.
//!
//! Most of it is in Envoy's counters and gauges ([`counts`]). They know no weights and no `version`:
//! those are in the configuration, which Envoy shows in its dump ([`dump`]). The gauge
//! `pointsman.configuration` says which of those in the dump is live: a refused one stands there
//! too.

pub mod admin;
mod counts;
mod dump;
mod filter;
pub mod report;

#[cfg(test)]
mod tests;

use admin::Admin;
use anyhow::{Result, bail};
use counts::ProxyCounts;
use dump::{Offer, Offered};
use pointsman_core::config::Config;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// One look at an Envoy.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The Envoy.
    pub proxy: Proxy,
    /// Each filter that has metrics of its own.
    pub filters: Vec<FilterStatus>,
    /// What is not as it should be, worst first. Empty: all is well.
    pub findings: Vec<Finding>,
}

/// An Envoy.
#[derive(Clone, Debug, Serialize)]
pub struct Proxy {
    /// Where its admin interface was asked.
    pub address: String,
    /// `1.40.0`
    pub version: String,
    /// `LIVE`, `DRAINING`, …
    pub state: String,
    /// How long it runs, in seconds.
    pub uptime: u64,
    /// How many worker threads it has. None: it does not say.
    pub workers: Option<u64>,
}

/// What one filter decides by, and what it did since the proxy started.
#[derive(Clone, Debug, Serialize)]
pub struct FilterStatus {
    /// The label of its scope in the names of metrics. None: it has the plain names.
    pub scope: Option<String>,
    /// The plugin's name. None: the live configuration is not in Envoy's dump.
    pub plugin: Option<String>,
    /// The hash of its live configuration. None: nothing is live yet, or the module tells no hash.
    pub configuration: Option<String>,
    /// What that calls itself.
    pub version: Option<String>,
    /// How many routes it has. None: the configuration is not in Envoy's dump.
    pub routes: Option<usize>,
    /// Requests that no route matched.
    pub no_route: u64,
    /// How long decisions took, in microseconds: the median, and what 99 of 100 keep to.
    pub decision_us: Option<[f64; 2]>,
    /// In the order of the configuration.
    pub pools: Vec<PoolStatus>,
    /// In the order of the configuration.
    pub limits: Vec<LimitStatus>,
}

/// A pool.
#[derive(Clone, Debug, Serialize)]
pub struct PoolStatus {
    /// Its name.
    pub name: String,
    /// Healthy targets, of those that take new requests. None: it has no `health`.
    pub healthy: Option<u64>,
    /// Requests for it that went to one of its `failover`.
    pub failover: u64,
    /// Requests that went to another target, since their own was full.
    pub full: u64,
    /// Requests that went to an unhealthy target, because all were.
    pub use_all: u64,
    /// Requests answered 503, because no target took them.
    pub no_target: u64,
    /// Its targets.
    pub targets: Vec<TargetStatus>,
}

/// A target.
#[derive(Clone, Debug, Serialize)]
pub struct TargetStatus {
    /// Its name.
    pub name: String,
    /// `up`, `draining` or `down`. None: the configuration is not in Envoy's dump.
    pub state: Option<&'static str>,
    /// Whether it is sent requests. None: its pool has no `health`.
    pub healthy: Option<bool>,
    /// Its part of the pool's requests, from 0 to 1. None: there were none.
    pub share: Option<f64>,
    /// The part that its weight brings. None: the configuration is not in Envoy's dump.
    pub due: Option<f64>,
    /// Requests that it was chosen for.
    pub requests: u64,
    /// The same in a second. None: this is the first look.
    pub requests_per_second: Option<f64>,
    /// Requests under way.
    pub in_flight: u64,
    /// Requests that it failed. None: nothing counts them.
    pub failed: Option<u64>,
}

/// A limit.
#[derive(Clone, Debug, Serialize)]
pub struct LimitStatus {
    /// Its name.
    pub name: String,
    /// Requests of its routes that no limit refused. None: the configuration is not in Envoy's
    /// dump.
    pub admitted: Option<u64>,
    /// Requests that it refused.
    pub refused: u64,
    /// The same in a second. None: this is the first look.
    pub refused_per_second: Option<f64>,
    /// Requests that it would have refused, if it were no shadow.
    pub shadow: u64,
    /// Requests of clients that found its table full.
    pub overflow: u64,
    /// Requests refused undecided.
    pub contended: u64,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// A word for programs.
    pub kind: &'static str,
    /// How often; of targets how many.
    pub count: u64,
    /// The same for people, with what to look at.
    pub text: String,
}

/// Looks at one Envoy, again and again.
pub struct Watcher {
    admin: Admin,
    /// The configurations in Envoy's dump, with the hashes that were live when it was asked for.
    offers: Option<(Vec<Option<u64>>, u64, Vec<Offer>)>,
    /// The last look, and when it was.
    last: Option<(ProxyCounts, std::time::Instant)>,
}

impl Watcher {
    /// Of the Envoy at an admin address.
    pub fn new(admin: Admin) -> Watcher {
        Watcher {
            admin,
            offers: None,
            last: None,
        }
    }

    /// One look. Rates are those since the look before. An error says why there is nothing to see.
    pub fn look(&mut self) -> Result<Status> {
        let info = self.admin.server_info()?;
        let counts = ProxyCounts::of(&self.admin.json(&counts::path())?);
        if counts.scopes.is_empty() {
            let Proxy {
                version, address, ..
            } = proxy(&info, self.admin.address());
            let why = match counts.refused {
                0 => "no filter was loaded, or `stats_matcher` rejects them",
                _ => "a configuration was refused, and there was none before; the log says why",
            };
            bail!("the Envoy {version} at {address} has no metrics of Pointsman: {why}");
        }
        let live: Vec<_> = counts.scopes.values().map(|it| it.configuration).collect();
        let is_known = matches!(&self.offers,
            Some((hashes, refused, _)) if *hashes == live && *refused == counts.refused);
        if !is_known {
            let offers = dump::offers(&self.admin.json("/config_dump")?);
            self.offers = Some((live, counts.refused, offers));
        }
        let offers = self.offers.as_ref().map_or(&[][..], |(_, _, it)| it);
        let before = self.last.as_ref();
        let before = before.map(|(counts, at)| (counts, at.elapsed().as_secs_f64()));
        let proxy = proxy(&info, self.admin.address());
        let status = Status::of(proxy, &counts, offers, before);
        self.last = Some((counts, std::time::Instant::now()));
        Ok(status)
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn proxy(info: &Value, address: &str) -> Proxy {
    let seconds = |key: &str| text(&info[key]).trim_end_matches('s').parse().ok();
    Proxy {
        address: address.to_owned(),
        version: text(&info["version"])
            .split('/')
            .nth(1)
            .unwrap_or_default()
            .to_owned(),
        state: text(&info["state"]).to_owned(),
        uptime: seconds("uptime_all_epochs").unwrap_or_default(),
        workers: info["command_line_options"]["concurrency"].as_u64(),
    }
}

impl Status {
    /// Of what was read; `before`: the counts of the look before, and so many seconds ago.
    fn of(
        proxy: Proxy,
        counts: &ProxyCounts,
        offers: &[Offer],
        before: Option<(&ProxyCounts, f64)>,
    ) -> Status {
        let filters = counts.scopes.iter().map(|(scope, now)| {
            let before =
                before.and_then(|(before, seconds)| Some((before.scopes.get(scope)?, seconds)));
            FilterStatus::of(scope, now, offers, before)
        });
        let filters: Vec<_> = filters.collect();
        let findings = findings(&proxy, counts, &filters, offers);
        Status {
            proxy,
            filters,
            findings,
        }
    }

    /// A finding unless each of these configurations is live: those of `file`.
    pub fn expect<'c>(&mut self, file: &str, configs: impl Iterator<Item = &'c Config>) {
        for config in configs {
            let hash = config.hash.to_string();
            if !self
                .filters
                .iter()
                .any(|it| it.configuration.as_ref() == Some(&hash))
            {
                let named = named(&hash, config.version.as_deref());
                self.findings.insert(
                    0,
                    Finding {
                        kind: "not_expected",
                        count: 1,
                        text: format!("not live: {named}, of {file}"),
                    },
                );
            }
        }
    }
}

/// `configuration 3f9c1a2b4d5e (version "1")`
fn named(hash: &str, version: Option<&str>) -> String {
    let version = version.map(|version| format!(" (version \"{version}\")"));
    format!("configuration {hash}{}", version.unwrap_or_default())
}

/// What is counted where something is wrong that should never be: of the filter.
const SHOULD_BE_ZERO: [(&str, &str, &str); 6] = [
    (
        "bug",
        "bug",
        "states that the code rules out; the log says which: please report them",
    ),
    (
        "request_failed",
        "request.failed",
        "requests that the filter could not read, answered 503; the log says why",
    ),
    (
        "response_failed",
        "response.failed",
        "responses that could not be edited; the log says why",
    ),
    (
        "shared_failed",
        "shared.failed",
        "calls on shared data that the proxy failed: limits admit then",
    ),
    (
        "in_flight_local",
        "in_flight.local",
        "workers without shared counts: does `stats_matcher` reject Pointsman's gauges?",
    ),
    (
        "in_flight_reaped",
        "in_flight.reaped",
        "workers that died with requests under way",
    ),
];

fn findings(
    proxy: &Proxy,
    counts: &ProxyCounts,
    filters: &[FilterStatus],
    offers: &[Offer],
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut note = |kind: &'static str, count: u64, text: String| {
        if count > 0 {
            findings.push(Finding { kind, count, text });
        }
    };
    if proxy.state != "LIVE" {
        note("not_live", 1, format!("the proxy is {}", proxy.state));
    }
    for filter in filters {
        let of = match &filter.scope {
            Some(scope) => format!(" (scope {scope})"),
            None => String::new(),
        };
        for pool in &filter.pools {
            let out: Vec<_> = pool
                .targets
                .iter()
                .filter(|it| it.healthy == Some(false))
                .map(|it| it.name.as_str())
                .collect();
            let (count, all) = (out.len(), pool.targets.len());
            let names = shortened(&out);
            let text = format!(
                "{count} of {all} targets of pool {} are out: {names}{of}",
                pool.name
            );
            note("target_out", count as u64, text);
        }
        for (kind, name, why) in SHOULD_BE_ZERO {
            let count = counts.scopes[&filter.scope].count(name);
            note(kind, count, format!("{count} {why}{of}"));
        }
    }
    let is_live = |offer: &Offer| {
        let hash = offer.hash.to_string();
        filters
            .iter()
            .any(|it| it.configuration.as_ref() == Some(&hash))
    };
    for offer in offers.iter().filter(|it| !is_live(it)) {
        let version = offer.version.as_deref();
        let named = named(&offer.hash.to_string(), version);
        let of = &offer.plugin;
        match (&offer.config, offer.offered) {
            (Err(problems), _) => {
                let count = problems.0.len();
                let first = problems
                    .0
                    .first()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                let more = match count {
                    0 | 1 => String::new(),
                    _ => format!(" (and {} more)", count - 1),
                };
                let text = format!("refused: {named} for {of}: {first}{more}");
                note("refused_now", 1, text);
            }
            (Ok(_), Offered::Refused) => {
                note(
                    "refused_now",
                    1,
                    format!("refused: {named} for {of}; the log says why"),
                );
            }
            (Ok(_), Offered::Taken) => note(
                "not_taken",
                1,
                format!("Envoy has {named} for {of}, which is not what is live"),
            ),
            (Ok(_), Offered::OnItsWay) => {}
        }
    }
    let (refused, traps) = (counts.refused, counts.traps);
    note(
        "update_refused",
        refused,
        format!("{refused} updates refused since the start; the log says why"),
    );
    note(
        "vm_trap",
        traps,
        format!("{traps} VMs of Wasm filters died and were made again; the log says where"),
    );
    for (name, count) in &counts.router {
        let what = match name.rsplit('.').next() {
            Some("no_cluster") => "for a cluster that Envoy does not have",
            _ => "for which Envoy has no route",
        };
        note(
            "no_route",
            *count,
            format!("{count} requests {what} ({name})"),
        );
    }
    findings
}

/// A few names of many.
fn shortened(names: &[&str]) -> String {
    const SHOWN: usize = 5;
    match names.len() {
        0..=SHOWN => names.join(", "),
        count => format!("{} and {} more", names[..SHOWN].join(", "), count - SHOWN),
    }
}

/// Counts by name.
type ByName = BTreeMap<String, u64>;

//! Envoy's counters and gauges that tell of Pointsman, from `/stats?format=json`: by their names, so
//! that no rules for labels are needed.

use super::ByName;
use serde_json::Value;
use std::collections::BTreeMap;

/// All counts.
#[derive(Clone, Debug, Default)]
pub(super) struct ProxyCounts {
    /// By the label of the scope; None: that of the plain names.
    pub scopes: BTreeMap<Option<String>, ScopeCounts>,
    /// Updates that Envoy refused: listeners, and filters of ECDS.
    pub refused: u64,
    /// The same by the name of the discovery.
    refused_by_name: ByName,
    /// VMs that died and were made again.
    pub traps: u64,
    /// Requests that Envoy's router had nowhere to send to, by the name of the counter.
    pub router: ByName,
}

/// The counts of one scope.
#[derive(Clone, Debug, Default)]
pub(super) struct ScopeCounts {
    /// The gauge `configuration`. None: there is none, or nothing is live yet.
    pub configuration: Option<u64>,
    pub decision_us: Option<[f64; 2]>,
    /// Those without a name of the user's own in them.
    whole: ByName,
    pub routes: BTreeMap<String, ByName>,
    pub pools: BTreeMap<String, PoolCounts>,
    pub limits: BTreeMap<String, ByName>,
}

impl ScopeCounts {
    /// One of those without a name of the user's own in them.
    pub(super) fn count(&self, name: &str) -> u64 {
        self.whole.get(name).copied().unwrap_or_default()
    }
}

/// The counts of one pool.
#[derive(Clone, Debug, Default)]
pub(super) struct PoolCounts {
    pub whole: ByName,
    pub targets: BTreeMap<String, ByName>,
}

/// Where the counts are.
pub(super) fn path() -> String {
    let wanted = [
        r"^wasmcustom\.pointsman\.",
        r"^wasm\..*\.vm_reload_(success|failure)$",
        r"^listener_manager\.lds\.update_rejected$",
        r"^extension_config_discovery\..*\.(update_rejected|config_fail)$",
        r"^http\..*\.no_(route|cluster)$",
    ];
    format!("/stats?format=json&filter={}", wanted.join("|"))
}

impl ProxyCounts {
    /// Of Envoy's answer.
    pub(super) fn of(answer: &Value) -> ProxyCounts {
        let mut counts = ProxyCounts::default();
        for stat in answer["stats"].as_array().map_or(&[][..], Vec::as_slice) {
            if let (Some(name), Some(value)) = (stat["name"].as_str(), stat["value"].as_u64()) {
                counts.add(name, value);
            }
            let computed = stat["histograms"]["computed_quantiles"].as_array();
            let quantiles = &stat["histograms"]["supported_quantiles"];
            for histogram in computed.map_or(&[][..], Vec::as_slice) {
                counts.add_histogram(histogram, quantiles);
            }
        }
        counts
    }

    fn add(&mut self, name: &str, value: u64) {
        if let Some(name) = name.strip_prefix(OURS) {
            let (scope, name) = scoped(name);
            if scope.is_none() && name == "first_scope" {
                return;
            }
            self.scopes.entry(scope).or_default().add(name, value);
        } else if name.starts_with("wasm.") {
            // Envoy has `.vm_reload` too, which it never counts.
            if name.ends_with(".vm_reload_success") || name.ends_with(".vm_reload_failure") {
                self.traps += value;
            }
        } else if name.starts_with("http.") {
            if !NOT_OF_CLIENTS.iter().any(|it| name.starts_with(it)) {
                *self.router.entry(name.to_owned()).or_default() += value;
            }
        } else if let Some((of, _)) = name.rsplit_once('.') {
            // Of ECDS the same refusal is counted by two names.
            let count = self.refused_by_name.entry(of.to_owned()).or_default();
            *count = value.max(*count);
            self.refused = self.refused_by_name.values().sum();
        }
    }

    fn add_histogram(&mut self, histogram: &Value, quantiles: &Value) {
        let name = histogram["name"]
            .as_str()
            .and_then(|it| it.strip_prefix(OURS));
        let Some((scope, "decision_us")) = name.map(scoped) else {
            return;
        };
        let at = |wanted: f64| {
            let mut places = quantiles.as_array()?.iter();
            let place = places.position(|it| it.as_f64() == Some(wanted))?;
            histogram["values"][place]["cumulative"].as_f64()
        };
        let both = at(50.0).zip(at(99.0));
        self.scopes.entry(scope).or_default().decision_us = both.map(|(a, b)| [a, b]);
    }
}

/// What the names of Pointsman's metrics begin with in an Envoy.
const OURS: &str = "wasmcustom.pointsman.";

/// What the names of the routers' counters begin with that serve no clients.
const NOT_OF_CLIENTS: [&str; 2] = ["http.admin.", "http.async-client."];

/// A scope's label and the rest of the name.
fn scoped(name: &str) -> (Option<String>, &str) {
    let labelled = name
        .strip_prefix("scope.")
        .and_then(|it| it.split_once('.'));
    match labelled {
        Some((label, rest)) => (Some(label.to_owned()), rest),
        None => (None, name),
    }
}

impl ScopeCounts {
    fn add(&mut self, name: &str, value: u64) {
        if name == "configuration" {
            self.configuration = (value > 0).then_some(value);
            return;
        }
        let named = |prefix: &str| name.strip_prefix(prefix)?.rsplit_once('.');
        let (by_name, what) = if let Some((route, what)) = named("route.") {
            (self.routes.entry(route.to_owned()).or_default(), what)
        } else if let Some((limit, what)) = named("rate_limit.") {
            (self.limits.entry(limit.to_owned()).or_default(), what)
        } else if let Some((pool, what)) = named("pool.") {
            // In a pool's own name it is written otherwise.
            match pool.split_once(".target.") {
                Some((pool, target)) => {
                    let pool = self.pools.entry(pool.to_owned()).or_default();
                    let target = without_id(target).to_owned();
                    (pool.targets.entry(target).or_default(), what)
                }
                None => (
                    &mut self.pools.entry(pool.to_owned()).or_default().whole,
                    what,
                ),
            }
        } else {
            (&mut self.whole, name)
        };
        *by_name.entry(what.to_owned()).or_default() += value;
    }
}

/// A target's name without the id that its gauge of requests in flight may have.
fn without_id(target: &str) -> &str {
    match target.rsplit_once(".id.") {
        Some((name, id)) if id.len() == 8 && id.bytes().all(|it| it.is_ascii_hexdigit()) => name,
        _ => target,
    }
}

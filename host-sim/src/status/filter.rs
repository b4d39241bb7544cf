//! One filter's counts beside the configuration that they are of.

use super::counts::{PoolCounts, ScopeCounts};
use super::dump::Offer;
use super::{ByName, FilterStatus, LimitStatus, PoolStatus, TargetStatus};
use pointsman_core::config::Config;
use pointsman_core::config::hash::ConfigurationHash;
use pointsman_core::pool::{Pool, State, Target};

/// What is known of a filter.
struct Known<'k> {
    now: &'k ScopeCounts,
    /// The counts of the look before, and the seconds since then. None: this is the first look.
    before: Option<(&'k ScopeCounts, f64)>,
    /// The live configuration. None: it is not in Envoy's dump.
    config: Option<&'k Config>,
}

impl FilterStatus {
    /// Of the filter with a scope. `offers`: the configurations in Envoy's dump. `before`: the counts
    /// of the look before, and the seconds since then.
    pub(super) fn of(
        scope: &Option<String>,
        now: &ScopeCounts,
        offers: &[Offer],
        before: Option<(&ScopeCounts, f64)>,
    ) -> FilterStatus {
        let hash = now.configuration.map(ConfigurationHash::of_number);
        let offer = offers.iter().find(|offer| Some(offer.hash) == hash);
        let config = offer.and_then(|offer| offer.config.as_ref().ok());
        let known = Known {
            now,
            before,
            config,
        };
        let pools: Vec<_> = match config {
            Some(config) => config.pools.iter().map(|it| it.name.to_string()).collect(),
            None => now.pools.keys().cloned().collect(),
        };
        let limits: Vec<_> = match config {
            Some(config) => {
                let limits = config.rate_limits.iter();
                limits.map(|it| it.name().to_owned()).collect()
            }
            None => now.limits.keys().cloned().collect(),
        };
        FilterStatus {
            scope: scope.clone(),
            plugin: offer.map(|offer| offer.plugin.clone()),
            configuration: hash.map(|hash| hash.to_string()),
            version: config
                .and_then(|it| it.version.as_deref())
                .map(str::to_owned),
            routes: config.map(|config| config.routes.len()),
            no_route: now.count("no_route.requests"),
            decision_us: now.decision_us,
            pools: pools.iter().map(|name| known.pool(name)).collect(),
            limits: limits.iter().map(|name| known.limit(name)).collect(),
        }
    }
}

impl Known<'_> {
    /// The pool in the configuration.
    fn configured(&self, name: &str) -> Option<&Pool> {
        let mut pools = self.config?.pools.iter();
        Some(pools.find(|it| *it.name == *name)?)
    }

    fn pool(&self, name: &str) -> PoolStatus {
        let pool = self.configured(name);
        let counts = self.now.pools.get(name);
        let count = |what: &str| counts.and_then(|it| it.whole.get(what)).copied();
        let targets: Vec<_> = match pool {
            Some(pool) => pool.targets.iter().map(|it| it.name.to_string()).collect(),
            None => counts.map_or(Vec::new(), |it| it.targets.keys().cloned().collect()),
        };
        let all: u64 = targets.iter().map(|it| requests(counts, it)).sum();
        let targets = targets.iter().map(|it| self.target(name, it, all));
        PoolStatus {
            name: name.to_owned(),
            healthy: count("healthy_targets").filter(|_| is_checked(pool)),
            failover: count("failover").unwrap_or_default(),
            full: count("full").unwrap_or_default(),
            use_all: count("use_all").unwrap_or_default(),
            no_target: count("no_target").unwrap_or_default(),
            targets: targets.collect(),
        }
    }

    /// `all`: the requests of all targets of the pool.
    fn target(&self, pool_name: &str, name: &str, all: u64) -> TargetStatus {
        let pool = self.configured(pool_name);
        let target = pool.and_then(|it| it.targets.iter().find(|it| *it.name == *name));
        let counts = self.now.pools.get(pool_name);
        let count = |what: &str| of_target(counts, name).and_then(|it| it.get(what)).copied();
        let own = requests(counts, name);
        let weights: Option<u64> = pool.map(|pool| pool.targets.iter().map(weight).sum());
        TargetStatus {
            name: name.to_owned(),
            state: target.map(|target| match target.state {
                State::Up => "up",
                State::Draining => "draining",
                State::Down => "down",
            }),
            healthy: count("healthy")
                .filter(|_| is_checked(pool))
                .map(|it| it > 0),
            share: (all > 0).then(|| own as f64 / all as f64),
            due: target
                .zip(weights)
                .map(|(target, weights)| weight(target) as f64 / weights.max(1) as f64),
            requests: own,
            requests_per_second: self.before.map(|(before, seconds)| {
                let before = requests(before.pools.get(pool_name), name);
                rate(own, before, seconds)
            }),
            in_flight: count("in_flight").unwrap_or_default(),
            failed: count("failed"),
        }
    }

    fn limit(&self, name: &str) -> LimitStatus {
        let count = |counts: &ScopeCounts, what: &str| {
            let of = counts.limits.get(name);
            of.and_then(|it| it.get(what)).copied().unwrap_or_default()
        };
        let refused = count(self.now, "refused");
        LimitStatus {
            name: name.to_owned(),
            admitted: self.config.map(|config| self.admitted(config, name)),
            refused,
            refused_per_second: self
                .before
                .map(|(before, seconds)| rate(refused, count(before, "refused"), seconds)),
            shadow: count(self.now, "shadow"),
            overflow: count(self.now, "overflow"),
            contended: count(self.now, "contended"),
        }
    }

    /// Requests of the limit's routes that no limit refused.
    fn admitted(&self, config: &Config, limit: &str) -> u64 {
        let routes = config.routes.iter();
        let routes = routes.filter(|it| it.rate_limits.iter().any(|it| it.name() == limit));
        let admitted = routes.filter_map(|route| {
            let counts = self.now.routes.get(&*route.name)?;
            let of = |what: &str| counts.get(what).copied().unwrap_or_default();
            Some(of("requests").saturating_sub(of("refused")))
        });
        admitted.sum()
    }
}

fn of_target<'c>(counts: Option<&'c PoolCounts>, target: &str) -> Option<&'c ByName> {
    counts?.targets.get(target)
}

/// How many requests a target was chosen for.
fn requests(counts: Option<&PoolCounts>, target: &str) -> u64 {
    let of = of_target(counts, target).and_then(|it| it.get("requests"));
    of.copied().unwrap_or_default()
}

/// Whether anything looks at the health of the pool's targets. Of a pool that is not known it may.
fn is_checked(pool: Option<&Pool>) -> bool {
    pool.is_none_or(|pool| pool.health.passive.is_some() || pool.health.active.is_some())
}

/// What a target's part of new requests goes by.
fn weight(target: &Target) -> u64 {
    match target.state {
        State::Up => u64::from(target.weight),
        State::Draining | State::Down => 0,
    }
}

/// By how much a count grows in a second. After a restart it begins anew.
fn rate(now: u64, before: u64, seconds: f64) -> f64 {
    now.saturating_sub(before) as f64 / seconds.max(1e-3)
}

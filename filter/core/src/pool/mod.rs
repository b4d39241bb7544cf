//! Pools and their targets: where requests can go.

pub mod balance;
pub mod candidates;
pub mod failover;
pub mod flight;
pub mod health;
pub mod in_flight;
pub mod least_response_time;
pub mod look;
pub mod max_in_flight;
pub mod outcome;
pub mod pace;
pub mod prefer_region;
pub mod slow_start;
pub mod sticky;

use crate::http::router_options::RouterOptions;
use crate::index::{PoolIndex, TargetIndex};
use crate::pool::balance::Balance;
use crate::pool::health::Checks;
use crate::pool::prefer_region::PreferRegion;
use crate::pool::sticky::Sticky;
use crate::scope::Scope;
use crate::siphash::SipWriter;
use crate::time::Nanos;

/// A pool of targets: Envoy clusters (`cluster_header`), or endpoints of one Envoy cluster
/// (`override_host`).
#[derive(Debug, Default)]
pub struct Pool {
    /// Whose its records and metrics are: its configuration's.
    pub scope: Scope,
    /// Its place in [`crate::config::Config::pools`].
    pub index: PoolIndex,
    /// Its key in the configuration.
    pub name: Box<str>,
    /// How new requests are spread.
    pub balance: Balance,
    /// At least one; names are unique within the pool.
    pub targets: Vec<Target>,
    /// How clients are held to a target. None: they are not.
    pub sticky: Option<Sticky>,
    /// Whether the targets are endpoints of one cluster.
    pub endpoints: bool,
    /// How the health of the targets is known. Default: not at all, every target is healthy.
    pub health: Checks,
    /// Pools that are tried in this order where this one has no healthy target, see [`failover`].
    /// Never this one; no pool twice.
    pub failover: Vec<PoolIndex>,
    /// Which region goes first. None: regions do not matter.
    pub prefer_region: Option<PreferRegion>,
    /// How long a new or recovered target takes to get its whole weight; 0: at once. Default: 10 s
    /// with `least_connections` and `least_response_time`, which would flood it, 0 with all others.
    pub slow_start: Nanos,
    /// Whether one of its targets has [`Target::max_in_flight`].
    pub is_limited: bool,
    /// `timeout` and `retry` of its requests. None: as the proxy has them.
    pub router_options: Option<Box<RouterOptions>>,
}

/// One place where requests can go.
#[derive(Debug)]
pub struct Target {
    /// Unique in its pool; defaults to the cluster's or endpoint's own name. A sticky session
    /// belongs to this name.
    pub name: Box<str>,
    /// The Envoy cluster: the target's own, or that of its pool of endpoints.
    pub cluster: Box<str>,
    /// `ip:port` (IPv6 in brackets) in a pool of endpoints.
    pub endpoint: Option<Box<str>>,
    /// Its share of new requests. 0 brings nothing new. Default 1.
    pub weight: u32,
    /// Whether it takes part.
    pub state: State,
    /// A label.
    pub region: Option<Box<str>>,
    /// How many requests it has in flight at most, from 1, over all workers ([`max_in_flight`]).
    /// None: as many as come.
    pub max_in_flight: Option<u32>,
}

/// What an operator says of a target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Takes part.
    #[default]
    Up,
    /// Gets its existing sticky sessions, and nothing new.
    Draining,
    /// Gets nothing at all.
    Down,
}

impl Pool {
    /// A target. None: the index is of another pool.
    pub fn target(&self, index: TargetIndex) -> Option<&Target> {
        self.targets.get(index.get())
    }

    /// The places of all targets.
    pub fn target_indices(&self) -> impl Iterator<Item = TargetIndex> + Clone {
        (0..self.targets.len()).map(TargetIndex::new)
    }

    /// All targets with their places.
    pub fn indexed_targets(&self) -> impl Iterator<Item = (TargetIndex, &Target)> + Clone {
        self.target_indices().zip(&self.targets)
    }

    /// How many requests a target has in flight at most. None: as many as come.
    pub fn max_in_flight(&self, target: TargetIndex) -> Option<u32> {
        match self.is_limited {
            true => self.target(target)?.max_in_flight,
            false => None,
        }
    }

    /// Whether a request may have to go to another target than the one that it belongs to.
    pub fn turns_away(&self) -> bool {
        let is_bounded = matches!(&self.balance, Balance::Hash(by) if by.bounded_load.is_some());
        is_bounded || self.is_limited
    }

    /// Whether it matters how requests to its targets end.
    pub fn wants_outcomes(&self) -> bool {
        self.health.passive.is_some() || self.balance.is_by_load()
    }

    /// What one of its targets is, as a hash: its name, and what is behind it. Records and gauges go
    /// by this, so that targets of the same name with other clusters or endpoints behind them never
    /// meet: neither those of two listeners, nor those before and after a reload.
    pub fn target_identity(&self, target: &Target) -> u64 {
        let mut hash = SipWriter::new(*b"pointsman target");
        for part in [&self.name, &target.name, &target.cluster] {
            hash.write_field(part.as_bytes());
        }
        hash.write(target.endpoint.as_deref().unwrap_or_default().as_bytes());
        hash.finish()
    }

    /// What the names of this pool's metrics begin with; those of a target go on with `.target.`
    /// and its name. That the first `.target.` ends the pool's name is what the proxy's tag rules
    /// go by (`envoy-config/`), so it is not left in the name itself.
    pub fn metric(&self) -> String {
        let name = self.name.replace(".target", "_target");
        [self.scope.metric(), ".pool.", &name].concat()
    }

    /// What the names of the metrics of one of its targets begin with.
    pub fn target_metric(&self, target: &Target) -> String {
        [&self.metric(), ".target.", &target.name].concat()
    }
}

impl Target {
    /// Whether the target takes requests that are not held to it.
    pub fn takes_new(&self) -> bool {
        self.state == State::Up && self.weight > 0
    }

    /// Whether the target takes requests of its existing sticky sessions.
    pub fn keeps_sessions(&self) -> bool {
        self.state != State::Down
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn the_first_target_of_a_metric_ends_the_pools_name() {
        let target = |name: &str| Target {
            name: name.into(),
            cluster: "c".into(),
            endpoint: None,
            weight: 1,
            state: State::Up,
            region: None,
            max_in_flight: None,
        };
        for (pool, told) in [
            ("web", "web"),
            ("a.b c/é", "a.b c/é"),
            ("target", "target"),
            ("a.target.b", "a_target.b"),
            (".target.target", "_target_target"),
            ("a.targe", "a.targe"),
        ] {
            let pool = Pool {
                name: pool.into(),
                ..Pool::default()
            };
            assert_eq!(pool.metric(), format!("pointsman.pool.{told}"));
            for name in ["blue", "127.0.0.1:80", "x.target.y", "target."] {
                let metric = pool.target_metric(&target(name));
                let names = metric.strip_prefix("pointsman.pool.").unwrap();
                assert_eq!(names.split_once(".target."), Some((told, name)));
            }
        }
    }
}

//! The gauges that show an operator which targets are healthy. For a pool that has `health`:
//!
//! | gauge | what |
//! |---|---|
//! | `pool.<pool>.target.<target>.healthy` | 1: requests are sent to it; 0: it is ejected, fell, or waits for its first good probe |
//! | `pool.<pool>.healthy_targets` | how many of those that take new requests are healthy |
//! | `pool.<pool>.targets` | how many take new requests |
//!
//! A gauge is one number of the process, so that it is set and not added to: a VM that dies leaves
//! nothing behind. The worker that changed the record sets it. Each worker of the newest
//! configuration compares once a second, since ejections end by time, and since a worker may have
//! died before it could set what it had changed.
//!
//! **Handles cost memory of the proxy for good**, in each worker and for each configuration. So a
//! worker asks for that of a target only where it has something to say: of a target that is not
//! simply well, or of all if the pool's numbers are not what they should be, as at first. To compare
//! costs two reads of a gauge for each pool.
//!
//! **A configuration that is over** sets what it showed as unhealthy to healthy, for its targets may
//! be in no configuration any more, and nobody would ever set them again. Where they are in the
//! newest, it sets them right within a second.

use super::state::TargetHealth;
use crate::pool::Pool;
use crate::port::{Gauge, Port};

/// What is known of a target.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown {
    /// Whether it is sent requests.
    pub is_healthy: bool,
    /// Whether there is more to say than that it always was: its gauge has to be there.
    pub is_told: bool,
}

impl Shown {
    /// Of a target with this state. None: its pool's record does not have it yet.
    pub(super) fn of(health: Option<&TargetHealth>, is_healthy: bool) -> Shown {
        Shown {
            is_healthy,
            is_told: health.is_none_or(|health| !health.is_idle()),
        }
    }
}

/// The gauges of a pool.
#[derive(Debug, Default)]
pub(super) struct HealthGauges {
    pool: PoolGauges,
    /// One for each target, once there is one.
    targets: Vec<Option<Gauge>>,
}

#[derive(Clone, Copy, Debug, Default)]
enum PoolGauges {
    /// The proxy has not been asked for them yet.
    #[default]
    NotAsked,
    /// The proxy has no gauges, or none that keep what is set.
    Missing,
    Found {
        healthy_targets: Gauge,
        targets: Gauge,
    },
}

impl HealthGauges {
    /// Brings the gauges up to date. `shown`: one for each target of the pool.
    pub(super) fn show(&mut self, port: &mut dyn Port, pool: &Pool, shown: &[Shown]) {
        let takes_new = || {
            let targets = pool.targets.iter().zip(shown);
            targets.filter(|(target, _)| target.takes_new())
        };
        let healthy = count(takes_new().filter(|(_, shown)| shown.is_healthy).count());
        let all = count(takes_new().count());
        let PoolGauges::Found {
            healthy_targets,
            targets,
        } = self.find(port, pool)
        else {
            return;
        };
        let is_right =
            port.value(healthy_targets) == Some(healthy) && port.value(targets) == Some(all);
        self.targets.resize(pool.targets.len(), None);
        for ((target, shown), gauge) in pool.targets.iter().zip(shown).zip(&mut self.targets) {
            if gauge.is_none() && (shown.is_told || !is_right) {
                let name = [&pool.target_metric(target), ".healthy"].concat();
                *gauge = port.gauge(&name);
            }
            if let Some(gauge) = *gauge {
                set(port, gauge, i64::from(shown.is_healthy));
            }
        }
        // Last: as long as these are wrong, every worker looks at all targets.
        set(port, targets, all);
        set(port, healthy_targets, healthy);
    }

    /// Shows every target as healthy that this worker knows a gauge of.
    pub(super) fn withdraw(&self, port: &mut dyn Port) {
        let known = self.targets.iter().flatten();
        known.for_each(|gauge| set(port, *gauge, 1));
        if let PoolGauges::Found {
            healthy_targets,
            targets,
        } = self.pool
            && let Some(all) = port.value(targets)
        {
            set(port, healthy_targets, all);
        }
    }

    fn find(&mut self, port: &mut dyn Port, pool: &Pool) -> PoolGauges {
        if let PoolGauges::NotAsked = self.pool {
            self.pool = PoolGauges::of(port, pool);
        }
        self.pool
    }
}

impl PoolGauges {
    fn of(port: &mut dyn Port, pool: &Pool) -> PoolGauges {
        let metric = pool.metric();
        let mut gauge = |what: &str| port.gauge(&[&metric, what].concat());
        match (gauge(".healthy_targets"), gauge(".targets")) {
            (Some(healthy_targets), Some(targets)) => {
                // A proxy that rejects the statistic gives a gauge that stays 0.
                if port.value(targets) == Some(0) {
                    port.add(targets, 1);
                }
                match port.value(targets) {
                    None | Some(0) => PoolGauges::Missing,
                    Some(_) => PoolGauges::Found {
                        healthy_targets,
                        targets,
                    },
                }
            }
            _ => PoolGauges::Missing,
        }
    }
}

/// Sets a gauge that has another value.
fn set(port: &mut dyn Port, gauge: Gauge, value: i64) {
    if port.value(gauge) != Some(value) {
        port.set_gauge(gauge, value);
    }
}

/// A pool has fewer targets than 2^63.
fn count(targets: usize) -> i64 {
    i64::try_from(targets).unwrap_or(i64::MAX)
}

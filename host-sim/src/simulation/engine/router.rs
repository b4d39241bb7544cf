//! The proxy's router: which target a request or a probe goes to.

use crate::exchange::{Pairs, first_value};
use crate::simulation::scenario::Scenario;
use crate::world::HttpCall;
use pointsman_core::time::Nanos;
use std::collections::BTreeMap;

/// The router. Targets are positions in the scenario.
pub(super) struct Router<'s> {
    scenario: &'s Scenario,
    clusters: BTreeMap<Vec<u8>, Cluster>,
}

/// A cluster of the proxy.
enum Cluster {
    /// It is one target.
    Target(u16),
    /// Its endpoints are the targets, by address.
    Endpoints(BTreeMap<String, u16>),
}

impl<'s> Router<'s> {
    /// A router for the clusters that all configurations of the scenario name.
    pub(super) fn new(scenario: &'s Scenario) -> Router<'s> {
        let mut clusters = BTreeMap::new();
        for (place, target) in scenario.targets.iter().enumerate() {
            let place = place as u16;
            for cluster in &target.clusters {
                let cluster = cluster.clone().into_bytes();
                if !target.is_endpoint {
                    clusters.insert(cluster, Cluster::Target(place));
                } else if let Cluster::Endpoints(endpoints) = clusters
                    .entry(cluster)
                    .or_insert_with(|| Cluster::Endpoints(BTreeMap::new()))
                {
                    endpoints.insert(target.name.clone(), place);
                }
            }
        }
        Router { scenario, clusters }
    }

    /// The targets of a request's tries: `cluster_header` names the cluster, and `override_host`
    /// the endpoints; tries that its list does not cover go to any endpoint of the cluster. Empty:
    /// there is no such cluster.
    pub(super) fn tries(&self, headers: &Pairs, random: &mut fastrand::Rng) -> Vec<u16> {
        let upstream = &self.scenario.loaded.upstream;
        let attempts = number(headers, b"x-envoy-max-retries");
        let tries = 1 + attempts.map_or(self.scenario.proxy.retries, |attempts| attempts as usize);
        let cluster = first_value(headers, &upstream.cluster_header);
        match cluster.and_then(|name| self.clusters.get(name)) {
            None => Vec::new(),
            Some(Cluster::Target(target)) => vec![*target; tries],
            Some(Cluster::Endpoints(endpoints)) => {
                let list = first_value(headers, &upstream.endpoint_header).unwrap_or_default();
                let list = std::str::from_utf8(list).unwrap_or_default();
                let listed = list
                    .split(',')
                    .filter_map(|address| endpoints.get(address).copied());
                let mut targets: Vec<u16> = listed.take(tries).collect();
                let any = || random.choice(endpoints.values()).copied();
                targets.extend(std::iter::from_fn(any).take(tries - targets.len()));
                targets
            }
        }
    }

    /// How long a request may take with all its tries. None: as long as it takes.
    pub(super) fn timeout(&self, headers: &Pairs) -> Option<Nanos> {
        match number(headers, b"x-envoy-upstream-rq-timeout-ms") {
            None => Some(self.scenario.proxy.timeout),
            Some(0) => None,
            Some(time) => Some(Nanos::from_millis(time)),
        }
    }

    /// The target of an HTTP call of the filter's own. None: there is no such cluster.
    pub(super) fn call_target(&self, call: &HttpCall) -> Option<u16> {
        match self.clusters.get(call.cluster.as_bytes())? {
            Cluster::Target(target) => Some(*target),
            Cluster::Endpoints(endpoints) => {
                let header = &self.scenario.loaded.upstream.endpoint_header;
                let address = first_value(&call.headers, header);
                let address = address.and_then(|value| std::str::from_utf8(value).ok());
                address
                    .and_then(|address| endpoints.get(address))
                    .or(endpoints.values().next())
                    .copied()
            }
        }
    }
}

/// What one of the filter's headers for the router says.
fn number(headers: &Pairs, name: &[u8]) -> Option<u64> {
    std::str::from_utf8(first_value(headers, name)?)
        .ok()?
        .parse()
        .ok()
}

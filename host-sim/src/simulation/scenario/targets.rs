//! Reads the targets of a scenario: the configurations name them, the scenario says how they work.

use super::SimulatedTarget;
use super::limits::MAX_ENTRIES;
use crate::configuration::field;
use crate::simulation::server::ServerModel;
use crate::simulation::service_time::ServiceTime;
use pointsman_core::config::Config;
use pointsman_core::config::reader::{Map, Names, Node, Report};
use pointsman_core::config::value::Value;
use pointsman_core::pool::{self, Pool};
use std::collections::BTreeMap;
use std::rc::Rc;

/// The service time where the scenario gives none: 10 ms on average, as a small service has.
const DEFAULT_SERVICE: ServiceTime = ServiceTime::Exponential { mean: 1e7 };

/// A target's name in a scenario.
fn name_of(target: &pool::Target) -> &str {
    target.endpoint.as_deref().unwrap_or(&target.cluster)
}

/// The parts of a target's model that a scenario gives.
#[derive(Clone, Copy, Default)]
struct GivenModel {
    service: Option<ServiceTime>,
    probe: Option<ServiceTime>,
    concurrency: Option<usize>,
    queue: Option<usize>,
}

impl GivenModel {
    fn read(node: &Node<'_>, report: &mut Report) -> GivenModel {
        let Some(map) = node.map(report, &["service", "probe", "concurrency", "queue"]) else {
            return GivenModel::default();
        };
        let count = |node: Node<'_>, least, report: &mut Report| {
            node.whole(report, least, u32::MAX).map(|n| n as usize)
        };
        GivenModel {
            service: map
                .get("service")
                .and_then(|node| ServiceTime::read(&node, report)),
            probe: map
                .get("probe")
                .and_then(|node| ServiceTime::read(&node, report)),
            concurrency: map
                .get("concurrency")
                .and_then(|node| count(node, 1, report)),
            queue: map.get("queue").and_then(|node| count(node, 0, report)),
        }
    }

    /// The whole model: what is not given here is as for every target, or the default.
    fn model(self, every: GivenModel) -> ServerModel {
        let service = self.service.or(every.service).unwrap_or(DEFAULT_SERVICE);
        ServerModel {
            service,
            probe: self.probe.or(every.probe).unwrap_or(service),
            concurrency: self.concurrency.or(every.concurrency),
            queue: self.queue.or(every.queue),
        }
    }
}

/// Every target of these configurations, once, in their order, with the default model.
pub(super) fn targets_of<'c>(configs: impl Iterator<Item = &'c Config>) -> Vec<SimulatedTarget> {
    let mut targets: Vec<SimulatedTarget> = Vec::new();
    let mut places = BTreeMap::new();
    let of_pool = |pool: &'c Rc<Pool>| pool.targets.iter().map(move |target| (pool, target));
    for (pool, target) in configs.flat_map(|config| &config.pools).flat_map(of_pool) {
        let name = name_of(target);
        let place = *places.entry(name).or_insert(targets.len());
        if place == targets.len() {
            targets.push(SimulatedTarget {
                is_endpoint: target.endpoint.is_some(),
                ..bare(name)
            });
        }
        targets[place].clusters.push(target.cluster.to_string());
        let metric = pool.target_metric(target);
        if !targets[place].metric_prefixes.contains(&metric) {
            targets[place].metric_prefixes.push(metric);
        }
    }
    targets
}

/// Every target that a scenario names, as if its configurations had it: they do not load.
pub(super) fn mentioned(scenario: &Map<'_>) -> Vec<SimulatedTarget> {
    let mut names = std::collections::BTreeSet::new();
    if let Some(Value::Map(models)) = scenario.get("targets").as_ref().map(Node::value) {
        names.extend(models.iter().map(|(name, _)| name));
    }
    for key in ["faults", "expect"] {
        let Some(Value::List(items)) = scenario.get(key).as_ref().map(Node::value) else {
            continue;
        };
        for item in items {
            if let Some(Value::Text(name)) = field(item, "target") {
                names.insert(name);
            }
        }
    }
    names.into_iter().map(|name| bare(name)).collect()
}

fn bare(name: &str) -> SimulatedTarget {
    SimulatedTarget {
        name: name.to_owned(),
        clusters: Vec::new(),
        is_endpoint: false,
        metric_prefixes: Vec::new(),
        model: GivenModel::default().model(GivenModel::default()),
    }
}

/// Reads `every_target` and `targets`, and gives each target its model.
pub(super) fn apply_models(
    map: &Map<'_>,
    targets: &mut [SimulatedTarget],
    names: &Names<'_>,
    report: &mut Report,
) {
    let every = map
        .get("every_target")
        .map(|node| GivenModel::read(&node, report))
        .unwrap_or_default();
    for target in targets.iter_mut() {
        target.model = GivenModel::default().model(every);
    }
    let given = map.get("targets");
    let given = given
        .as_ref()
        .and_then(|node| node.names(report, "a map of targets", MAX_ENTRIES));
    for node in given.iter().flat_map(Map::iter) {
        match names.get(node.key()) {
            Some(target) => targets[target].model = GivenModel::read(&node, report).model(every),
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

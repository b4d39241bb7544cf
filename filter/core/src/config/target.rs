//! The key `targets` of a pool.

use super::limits;
use super::reader::{Names, Node, Report, quoted};
use super::syntax;
use super::weight::{weight, weights};
use crate::pool::{State, Target};

/// What `cluster` is.
pub(super) const CLUSTER: &str = "the name of an Envoy cluster";
/// What `targets` is.
pub(super) const TARGETS: &str = "a list of targets, at least one";

/// The pool that targets belong to.
pub(super) struct Of<'n> {
    /// The pool's own `cluster`, in a pool of endpoints.
    pub cluster_node: Option<Node<'n>>,
    /// Its name, in a pool of endpoints.
    pub cluster: &'n str,
}

/// Reads `targets`.
pub(super) fn targets(list: &Node<'_>, of: &Of<'_>, report: &mut Report) -> Vec<Target> {
    let mut seen = Names::default();
    let mut targets = Vec::new();
    let nodes: Vec<Node<'_>> = list
        .filled_list(report, TARGETS, limits::MAX_TARGETS)
        .collect();
    for node in &nodes {
        let Some((named, target)) = target(node, of, report) else {
            continue;
        };
        if let Err(other) = seen.add(named, node.position()) {
            let found = format!(
                "{} is the name of {}[{other}] too",
                quoted(named),
                list.place()
            );
            report.note(node, &found, "a `name` of its own");
        }
        targets.push(target);
    }
    weights(list, targets.iter().map(|target| target.weight), report);
    targets
}

/// A target with its name.
fn target<'n>(node: &'n Node<'n>, of: &Of<'_>, report: &mut Report) -> Option<(&'n str, Target)> {
    const STATES: &[(&str, State)] = &[
        ("up", State::Up),
        ("draining", State::Draining),
        ("down", State::Down),
    ];
    let map = node.map(
        report,
        &[
            "cluster",
            "endpoint",
            "name",
            "weight",
            "state",
            "region",
            "max_in_flight",
        ],
    )?;
    let (own, other, expected) = match of.cluster_node {
        Some(_) => ("endpoint", "cluster", ENDPOINT),
        None => ("cluster", "endpoint", CLUSTER),
    };
    let own = match map.get(other) {
        Some(wrong) => {
            let (found, expected) = match &of.cluster_node {
                Some(cluster) => (
                    format!(
                        "stands in a pool of endpoints ({} is given)",
                        cluster.place()
                    ),
                    "`endpoint` only: the cluster is the pool's",
                ),
                None => (
                    "stands in a pool of clusters (it has no `cluster` of its own)".to_owned(),
                    "`cluster` only, or a `cluster` on the pool",
                ),
            };
            report.note(&wrong, &found, expected);
            map.get(own)
        }
        None => map.need(report, own, expected),
    };
    let good = match of.cluster_node {
        Some(_) => syntax::is_endpoint,
        None => syntax::is_line,
    };
    let own = own.and_then(|node| node.text_that(report, good, expected));
    let name = map
        .get("name")
        .map(|node| node.text_that(report, syntax::is_name, syntax::NAME));
    let weight = weight(&map, report);
    let state = map
        .get("state")
        .and_then(|node| node.choice(report, STATES));
    let region = map
        .get("region")
        .and_then(|node| node.text_that(report, syntax::is_name, syntax::NAME));
    let max_in_flight = map
        .get("max_in_flight")
        .and_then(|node| node.whole_within(report, limits::MAX_IN_FLIGHT));
    let own = own?;
    let name = name.unwrap_or(Some(own))?;
    let target = Target {
        name: name.into(),
        cluster: if of.cluster_node.is_some() {
            of.cluster
        } else {
            own
        }
        .into(),
        endpoint: of
            .cluster_node
            .is_some()
            .then(|| syntax::endpoint(own).into()),
        weight,
        state: state.unwrap_or_default(),
        region: region.map(Into::into),
        max_in_flight,
    };
    Some((name, target))
}

const ENDPOINT: &str = "`ip:port`, an IPv6 address in brackets";

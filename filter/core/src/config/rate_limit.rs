//! The sections `rate_limits` and `rate_limit_table`.

use super::defined::Defined;
use super::key::{KEY, key_parts};
use super::limits;
use super::reader::{Map, Node, Report};
use super::respond::respond;
use super::syntax;
use crate::rate_limit::global::{Global, Mode, wire};
use crate::rate_limit::{Quota, RateLimit, Table};
use crate::time::Nanos;
use std::rc::Rc;

/// Reads `rate_limits`.
pub(super) fn rate_limits<'n>(map: &Map<'n>, report: &mut Report) -> Defined<'n, RateLimit> {
    let mut defined = Defined::default();
    for (index, node) in map.iter().enumerate() {
        if !syntax::is_ascii_name(node.key()) {
            report.note(&node, "not a name", syntax::ASCII_NAME);
        }
        // A name given twice has been noted.
        let _ = defined.names.add(node.key(), index);
        defined
            .all
            .push(rate_limit(&node, index, report).map(Rc::new));
    }
    defined
}

fn rate_limit(node: &Node<'_>, index: usize, report: &mut Report) -> Option<RateLimit> {
    const REQUESTS: &str = "how many requests `per` time, a whole number from 1";
    const PER: &str = "a duration such as 1s";
    let map = node.map(
        report,
        &[
            "requests", "per", "burst", "key", "shadow", "respond", "tell", "global",
        ],
    )?;
    let requests = map
        .need(report, "requests", REQUESTS)
        .and_then(|node| node.whole_within(report, limits::REQUESTS));
    let per = map
        .need(report, "per", PER)
        .and_then(|node| node.duration_within(report, limits::PER));
    let burst_node = map.get("burst");
    let burst = burst_node.and_then(|node| node.whole_within(report, limits::REQUESTS));
    let key = map
        .need(report, "key", KEY)
        .map(|node| key_parts(&node, report));
    let shadow = map.get("shadow").and_then(|node| node.yes(report));
    let respond = map.get("respond").and_then(|node| respond(&node, report));
    let tell = map.get("tell").and_then(|node| node.yes(report));
    let global = map
        .get("global")
        .and_then(|node| global(&node, per, report));

    let (requests, per) = (requests?, per?);
    let burst = burst.unwrap_or(requests);
    if u64::from(requests) > per.get() {
        report.note(
            node,
            "more than one request per nanosecond",
            "fewer `requests` or a longer `per`",
        );
    }
    let fills_in = u128::from(burst) * u128::from(per.get()) / u128::from(requests);
    if fills_in > u128::from(limits::PER.most.get()) {
        report.note(
            &burst_node.unwrap_or(*node),
            "a burst that takes more than 366 days to fill again",
            "a smaller `burst` or a higher rate",
        );
    }
    let quota = Quota {
        requests,
        per,
        burst,
    };
    let shadow = shadow.unwrap_or_default();
    let limit = RateLimit::new(index, node.key(), quota, key?, shadow);
    let limit = limit.answering(respond, tell.unwrap_or_default());
    Some(limit.over_fleet(global))
}

fn global(node: &Node<'_>, per: Option<Nanos>, report: &mut Report) -> Option<Box<Global>> {
    const CLUSTER: &str = "the name of an Envoy cluster, of at most 120 bytes";
    const DOMAIN: &str = "the domain of the engine's limits";
    const MODE: &str = "ask or lease";
    const KEYS: [&str; 5] = ["cluster", "domain", "mode", "timeout", "on_error"];
    let map = node.map(report, &KEYS)?;
    let is_cluster = |text: &str| syntax::is_line(text) && text.len() <= wire::MAX_CLUSTER;
    let cluster = map
        .need(report, "cluster", CLUSTER)
        .and_then(|node| node.text_that(report, is_cluster, CLUSTER));
    let domain = map
        .need(report, "domain", DOMAIN)
        .and_then(|node| node.text_that(report, syntax::is_name, DOMAIN));
    let mode = map
        .need(report, "mode", MODE)
        .and_then(|node| node.choice(report, limits::GLOBAL_MODES));
    let timeout = map
        .get("timeout")
        .and_then(|node| node.duration_within(report, limits::GLOBAL_TIMEOUT));
    let on_error = map
        .get("on_error")
        .and_then(|node| node.choice(report, limits::ON_ERROR));
    let mode = mode?;
    if mode == Mode::Lease && per.is_some_and(|per| per < Nanos::SECOND) {
        report.note(
            node,
            "a lease of a limit `per` less than a second",
            "`per` of a second or more, as engines count, or `mode: ask`",
        );
    }
    Some(Box::new(Global {
        mode,
        cluster: cluster?.into(),
        domain: domain?.into(),
        timeout: timeout.unwrap_or(limits::DEFAULT_GLOBAL_TIMEOUT),
        on_error: on_error.unwrap_or_default(),
    }))
}

/// Reads `rate_limit_table`, or its default.
pub(super) fn table(node: Option<Node<'_>>, report: &mut Report) -> Table {
    let node = node.as_ref();
    let max_keys = node
        .and_then(|node| node.map(report, &["max_keys"]))
        .and_then(|map| map.get("max_keys"))
        .and_then(|node| node.whole_within(report, limits::MAX_TABLE_KEYS));
    Table {
        max_keys: max_keys.unwrap_or(limits::DEFAULT_TABLE_KEYS),
    }
}

//! The key `health` of a pool.

use super::header::{not_host, not_of_the_connection, not_upstream};
use super::limits;
use super::reader::{Map, Node, Report};
use super::syntax;
use crate::http::upstream::Upstream;
use crate::pool::failover::WhenAllUnhealthy;
use crate::pool::health::{Active, Checks, Initial, Passive, grpc};

/// Reads `health`.
pub(super) fn checks(node: &Node<'_>, upstream: &Upstream, report: &mut Report) -> Option<Checks> {
    const WHEN: &[(&str, WhenAllUnhealthy)] = &[
        ("use_all", WhenAllUnhealthy::UseAll),
        ("respond_503", WhenAllUnhealthy::Respond503),
    ];
    let map = node.map(report, &["passive", "active", "when_all_unhealthy"])?;
    map.need_any(report, &["passive", "active"]);
    let when = map
        .get("when_all_unhealthy")
        .and_then(|node| node.choice(report, WHEN));
    Some(Checks {
        passive: map.get("passive").and_then(|node| passive(&node, report)),
        active: map
            .get("active")
            .and_then(|node| active(&node, upstream, report)),
        when_all_unhealthy: when.unwrap_or_default(),
    })
}

fn passive(node: &Node<'_>, report: &mut Report) -> Option<Passive> {
    let map = node.map(
        report,
        &[
            "consecutive_failures",
            "eject",
            "max_eject",
            "max_ejected_percent",
            "statuses",
        ],
    )?;
    let eject = map
        .get("eject")
        .and_then(|node| node.duration_within(report, limits::EJECT))
        .unwrap_or(limits::DEFAULT_EJECT);
    let max_eject_node = map.get("max_eject");
    let max_eject = max_eject_node
        .and_then(|node| node.duration_within(report, limits::EJECT))
        .unwrap_or(eject.max(limits::DEFAULT_MAX_EJECT));
    if let (Some(node), true) = (max_eject_node, max_eject < eject) {
        report.note(&node, "less than `eject`", "a duration from `eject` on");
    }
    let percent = map.get("max_ejected_percent");
    Some(Passive {
        consecutive_failures: in_a_row(
            &map,
            "consecutive_failures",
            limits::DEFAULT_CONSECUTIVE_FAILURES,
            report,
        ),
        eject,
        max_eject,
        max_ejected_percent: percent
            .and_then(|node| node.whole_within(report, limits::MAX_EJECTED_PERCENT))
            .unwrap_or(limits::DEFAULT_MAX_EJECTED_PERCENT),
        statuses: map
            .get("statuses")
            .map(|node| status_list(&node, report))
            .unwrap_or_else(|| limits::DEFAULT_STATUSES.into()),
    })
}

fn active(node: &Node<'_>, upstream: &Upstream, report: &mut Report) -> Option<Active> {
    const PATH: &str = "a path in ASCII that starts with `/`, with a query if there is one, without blanks and `#`";
    const HOST: &str = "a host, with a port if there is one";
    const METHOD: &str = "a method such as `GET` or `HEAD`, but not `CONNECT`";
    const SERVICE: &str = "a gRPC service such as `shop.Checkout`, or \"\" for the whole server";
    const INITIAL: &[(&str, Initial)] = &[
        ("healthy", Initial::Healthy),
        ("unhealthy", Initial::Unhealthy),
    ];
    let map = node.map(
        report,
        &[
            "path", "method", "headers", "grpc", "host", "interval", "timeout", "rise", "fall",
            "expect", "initial",
        ],
    )?;
    let grpc_node = map.get("grpc");
    let is_service = |text: &str| text.is_empty() || syntax::is_name(text);
    let service = grpc_node
        .as_ref()
        .and_then(|node| node.text_that(report, is_service, SERVICE));
    let path = match &grpc_node {
        None => map
            .need(report, "path", PATH)
            .and_then(|node| node.text_that(report, syntax::is_request_target, PATH)),
        Some(_) => {
            // What a gRPC call asks for, and what a good answer is, is the service's matter.
            for key in ["path", "expect"] {
                if let Some(node) = map.get(key) {
                    report.note(&node, "stands beside `grpc`", "one of the two");
                }
            }
            Some(grpc::PATH)
        }
    };
    let is_method = |text: &str| syntax::is_token(text) && text != "CONNECT";
    let method = map
        .get("method")
        .and_then(|node| node.text_that(report, is_method, METHOD));
    let headers = map
        .get("headers")
        .map(|node| probe_headers(&node, grpc_node.is_some(), upstream, report));
    let initial = map
        .get("initial")
        .and_then(|node| node.choice(report, INITIAL));
    let host = map
        .get("host")
        .and_then(|node| node.text_that(report, syntax::is_authority, HOST));
    let interval = map
        .get("interval")
        .and_then(|node| node.duration_within(report, limits::INTERVAL))
        .unwrap_or(limits::DEFAULT_INTERVAL);
    let timeout_node = map.get("timeout");
    let timeout = timeout_node
        .and_then(|node| {
            node.duration(
                report,
                limits::MIN_TIMEOUT,
                limits::INTERVAL.most,
                "from 1ms to `interval`",
            )
        })
        .unwrap_or(interval.min(limits::DEFAULT_TIMEOUT));
    if let (Some(node), true) = (timeout_node, timeout > interval) {
        report.note(&node, "more than `interval`", "a duration up to `interval`");
    }
    let (rise, fall) = (
        in_a_row(&map, "rise", limits::DEFAULT_RISE, report),
        in_a_row(&map, "fall", limits::DEFAULT_FALL, report),
    );
    let expect = map.get("expect").map(|node| status_list(&node, report));
    Some(Active {
        method: method.unwrap_or(limits::DEFAULT_PROBE_METHOD).into(),
        headers: headers.unwrap_or_default(),
        grpc: service.map(Into::into),
        initial: initial.unwrap_or_default(),
        path: syntax::bytes(path?),
        host: host.map(syntax::bytes),
        interval,
        timeout,
        rise,
        fall,
        expect: expect.unwrap_or(vec![(limits::DEFAULT_EXPECT, limits::DEFAULT_EXPECT)]),
    })
}

/// `active.headers`: names in lower case, each with one value.
fn probe_headers(
    node: &Node<'_>,
    is_grpc: bool,
    upstream: &Upstream,
    report: &mut Report,
) -> Vec<(Box<str>, Box<str>)> {
    const VALUE: &str = "a string without line breaks and NUL";
    let map = node.names(report, "a map of headers", limits::MAX_HEADERS);
    let mut headers: Vec<(Box<str>, Box<str>)> = Vec::new();
    for node in map.iter().flat_map(|map| map.iter()) {
        if !syntax::is_token(node.key()) {
            report.note(
                &node,
                "not a header name",
                "letters, digits and !#$%&'*+-.^_`|~",
            );
        }
        let name = node.key().to_ascii_lowercase();
        not_host(&node, name.as_bytes(), "`host` beside `headers`", report);
        not_of_the_connection(&node, name.as_bytes(), report);
        not_upstream(&node, name.as_bytes(), upstream, report);
        if is_grpc && name == "content-type" {
            report.note(&node, "a header that `grpc` writes", "another header");
        }
        // The same letters twice are a key given twice, which has been noted.
        if headers.iter().any(|(other, _)| **other == *name) {
            report.note(
                &node,
                "given twice: header names compare without case",
                "each header at most once",
            );
        }
        if let Some(value) = node.text_that(report, syntax::is_header_value, VALUE) {
            headers.push((name.into(), value.into()));
        }
    }
    headers
}

/// How many in a row it takes.
fn in_a_row(map: &Map<'_>, key: &str, default: u32, report: &mut Report) -> u32 {
    let number = map
        .get(key)
        .and_then(|node| node.whole_within(report, limits::IN_A_ROW));
    number.unwrap_or(default)
}

/// `active.expect` and `passive.statuses`.
fn status_list(list: &Node<'_>, report: &mut Report) -> Vec<(u16, u16)> {
    const LIST: &str =
        "a list of statuses from 200 to 599 and of ranges such as \"200-299\", at least one";
    list.filled_list(report, LIST, limits::MAX_EXPECTED)
        .filter_map(|node| statuses(&node, report))
        .collect()
}

/// A status, or a range of them.
fn statuses(node: &Node<'_>, report: &mut Report) -> Option<(u16, u16)> {
    const STATUSES: &str = "a status from 200 to 599, or a range such as \"200-299\"";
    let one = node.number();
    let one = one.and_then(|number| (200..=599).find(|status| f64::from(*status) == number));
    let two = node.as_text().and_then(|text| text.split_once('-'));
    let range = match one {
        Some(status) => Some((status, status)),
        None => two.and_then(|(from, to)| Some((syntax::status(from)?, syntax::status(to)?))),
    };
    let range = range.filter(|(from, to)| from <= to);
    if range.is_none() {
        node.wrong(report, STATUSES);
    }
    range
}

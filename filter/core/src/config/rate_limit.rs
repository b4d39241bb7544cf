//! The sections `rate_limits` and `rate_limit_table`.

use super::pool::Defined;
use super::reader::{Map, Node, Report};
use super::syntax;
use super::upstream::header_name;
use crate::http::key::KeyPart;
use crate::rate_limit::{Quota, RateLimit, Table};
use crate::time::Nanos;
use std::rc::Rc;

/// The most limits: each has metrics of its own.
pub const MAX_LIMITS: usize = 1000;
/// The most parts of a key: each is hashed on each request.
pub const MAX_KEY_PARTS: usize = 8;
/// The longest `per`, and the longest that an empty bucket may take to fill: 366 days. With it every
/// instant of a limit fits into 64 bits of nanoseconds until the year 2500, and every product into
/// 128.
pub const MAX_TIME: Nanos = Nanos::from_secs(366 * 24 * 3600);
/// The most keys of the table.
pub const MAX_TABLE_KEYS: u32 = 1 << 24;
/// The default of `max_keys`.
pub const DEFAULT_TABLE_KEYS: u32 = 1 << 16;

/// Reads `rate_limits`.
pub fn rate_limits<'n>(map: &Map<'n>, report: &mut Report) -> Defined<'n, RateLimit> {
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
    let map = node.map(report, &["requests", "per", "burst", "key", "shadow"])?;
    let requests = map
        .need(report, "requests", REQUESTS)
        .and_then(|node| node.whole(report, 1, u32::MAX));
    let per = map
        .need(report, "per", PER)
        .and_then(|node| node.duration(report, Nanos::MILLISECOND, MAX_TIME, "from 1ms to 8784h"));
    let burst_node = map.get("burst");
    let burst = burst_node.and_then(|node| node.whole(report, 1, u32::MAX));
    let key = map
        .need(report, "key", KEY)
        .map(|node| key_parts(&node, report));
    let shadow = map.get("shadow").and_then(|node| node.yes(report));

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
    if fills_in > u128::from(MAX_TIME.get()) {
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
    Some(RateLimit::new(index, node.key(), quota, key?, shadow))
}

const KEY: &str =
    "a list of client_ip, path, { header: … }, { cookie: … } or { query: … }, at least one";
/// What a part of a key looks like.
pub const KEY_PART: &str = "one of client_ip, path, { header: … }, { cookie: … }, { query: … }";

fn key_parts(list: &Node<'_>, report: &mut Report) -> Vec<KeyPart> {
    list.filled_list(report, KEY, MAX_KEY_PARTS)
        .filter_map(|node| key_part(&node, report))
        .collect()
}

/// Reads a part of a key.
pub fn key_part(node: &Node<'_>, report: &mut Report) -> Option<KeyPart> {
    const NAMED: &[&str] = &["header", "cookie", "query"];
    if !node.is_map() {
        let text = node.text(report, KEY_PART)?;
        let part = match text {
            "client_ip" => Some(KeyPart::ClientIp),
            "path" => Some(KeyPart::Path),
            _ => None,
        };
        if part.is_none() {
            let near = report.nearest(text, &mut ["client_ip", "path"].into_iter());
            report.note_near(node, &node.shown(), KEY_PART, near);
        }
        return part;
    }
    let map = node.map(report, NAMED)?;
    let part = map.exactly_one(report, NAMED)?;
    Some(match part.key() {
        "header" => KeyPart::Header(header_name(&part, report)),
        "cookie" => KeyPart::Cookie(syntax::bytes(part.text_that(
            report,
            syntax::is_cookie_name,
            "a cookie name",
        )?)),
        _ => KeyPart::Query(syntax::bytes(part.text_that(
            report,
            |name| !name.is_empty(),
            "a parameter's name",
        )?)),
    })
}

/// Reads `rate_limit_table`, or its default.
pub fn table(node: Option<Node<'_>>, report: &mut Report) -> Table {
    let node = node.as_ref();
    let max_keys = node
        .and_then(|node| node.map(report, &["max_keys"]))
        .and_then(|map| map.get("max_keys"))
        .and_then(|node| node.whole(report, 1, MAX_TABLE_KEYS));
    Table {
        max_keys: max_keys.unwrap_or(DEFAULT_TABLE_KEYS),
    }
}

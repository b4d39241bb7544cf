//! The key `balance` of a pool.

use super::key::{HASH_KEY, key_part};
use super::limits;
use super::reader::{Node, Report, one_of};
use crate::http::key::KeyPart;
use crate::pool::balance::bounded_load::LoadFactor;
use crate::pool::balance::{Balance, HashBy};

/// The balances that are a word.
const WORDS: &[(&str, Balance)] = &[
    ("round_robin", Balance::RoundRobin),
    ("random", Balance::Random),
    ("least_connections", Balance::LeastConnections),
    ("least_response_time", Balance::LeastResponseTime),
    ("ip_hash", Balance::Hash(HashBy::key(KeyPart::ClientIp))),
];

/// Reads `balance`.
pub(super) fn balance(node: &Node<'_>, report: &mut Report) -> Option<Balance> {
    if node.is_map() {
        let map = node.map(report, &["consistent_hash"])?;
        let hash = map.need(report, "consistent_hash", "a map of key")?;
        let hash = hash.map(report, &["key", "bounded_load"])?;
        let key = hash.need(report, "key", HASH_KEY);
        let bounded_load = hash
            .get("bounded_load")
            .and_then(|node| load_factor(&node, report));
        let mut keys = keys(&key?, report).into_iter();
        return Some(Balance::Hash(HashBy {
            key: keys.next()?,
            otherwise: keys.collect(),
            bounded_load,
        }));
    }
    let words: Vec<&str> = WORDS.iter().map(|(word, _)| *word).collect();
    let expected = format!("{}, {{ consistent_hash: {{ key: … }} }}", one_of(&words));
    node.choice_or(report, WORDS, &expected)
}

/// Reads the `key` of `consistent_hash`: one, or a list.
fn keys(node: &Node<'_>, report: &mut Report) -> Vec<KeyPart> {
    if !node.is_list() {
        return key_part(node, report).into_iter().collect();
    }
    let nodes = node.filled_list(report, HASH_KEY, limits::MAX_KEY_PARTS);
    nodes.filter_map(|node| key_part(&node, report)).collect()
}

/// Reads `bounded_load`.
#[expect(clippy::cast_possible_truncation, reason = "within bounds")]
fn load_factor(node: &Node<'_>, report: &mut Report) -> Option<LoadFactor> {
    let bounds = limits::BOUNDED_LOAD_PERCENT;
    let percent = node.decimal().and_then(|written| {
        let percent = (written * 100.0).round();
        let is_exact = (written * 100.0 - percent).abs() < 1e-6;
        let range = f64::from(bounds.least)..=f64::from(bounds.most);
        (is_exact && range.contains(&percent)).then_some(percent as u32)
    });
    if percent.is_none() {
        node.wrong(report, BOUNDED_LOAD);
    }
    percent.map(|percent| LoadFactor { percent })
}

/// What `bounded_load` is.
const BOUNDED_LOAD: &str = "a number from 1.01 to 100, with at most two decimals";

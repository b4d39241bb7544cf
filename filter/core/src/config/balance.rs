//! The key `balance` of a pool.

use super::key::{KEY_PART, key_part};
use super::reader::{Node, Report, one_of};
use crate::http::key::KeyPart;
use crate::pool::balance::Balance;

/// The balances that are a word.
const WORDS: &[(&str, Balance)] = &[
    ("round_robin", Balance::RoundRobin),
    ("random", Balance::Random),
    ("least_connections", Balance::LeastConnections),
    ("least_response_time", Balance::LeastResponseTime),
    ("ip_hash", Balance::Hash(KeyPart::ClientIp)),
];

/// Reads `balance`.
pub(super) fn balance(node: &Node<'_>, report: &mut Report) -> Option<Balance> {
    if node.is_map() {
        let map = node.map(report, &["consistent_hash"])?;
        let hash = map.need(report, "consistent_hash", "a map of key")?;
        let key = hash.map(report, &["key"])?.need(report, "key", KEY_PART)?;
        return key_part(&key, report).map(Balance::Hash);
    }
    let words: Vec<&str> = WORDS.iter().map(|(word, _)| *word).collect();
    let expected = format!("{}, {{ consistent_hash: {{ key: … }} }}", one_of(&words));
    node.choice_or(report, WORDS, &expected)
}

//! What an attacker needs to fill a limit's share of the table, and which parts of its key are the
//! client's to choose.

use super::{Note, named};
use pointsman_core::config::Config;
use pointsman_core::http::key::KeyPart;
use pointsman_core::rate_limit::RateLimit;
use pointsman_core::route::Route;
use pointsman_core::route::path::{PathKind, PathMatch};

/// The notes on every limit, in the order of the file.
pub(super) fn notes(config: &Config) -> Vec<Note> {
    let mut notes = Vec::new();
    for limit in &config.rate_limits {
        let place = named("rate_limits", limit.name());
        if !limit.key().is_empty() {
            notes.push(Note {
                place: place.clone(),
                kind: "rate_limit_share",
                found: share(config, limit),
            });
        }
        let chosen: Vec<_> = limit
            .key()
            .iter()
            .filter_map(|part| chosen(config, limit, part))
            .collect();
        if !chosen.is_empty() {
            let found = format!(
                "the client chooses {} of its key: with another value it has another bucket",
                chosen.join(", ")
            );
            notes.push(Note {
                place,
                kind: "client_chosen_key",
                found,
            });
        }
    }
    notes
}

fn share(config: &Config, limit: &RateLimit) -> String {
    let alike = config.rate_limits.iter();
    let alike = alike.filter(|other| other.is_shadow() == limit.is_shadow());
    let keys = (config.rate_limit_table.max_keys / alike.count().max(1) as u32).max(1);
    format!(
        "{} requests a second with a key each hold its share of the table, {keys} of {} keys",
        shown(hold_rate(keys, limit)),
        config.rate_limit_table.max_keys
    )
}

/// How many requests a second keep so many buckets from being full: a request keeps one for `per`
/// through `requests`.
fn hold_rate(keys: u32, limit: &RateLimit) -> f64 {
    let quota = limit.quota();
    f64::from(keys) * f64::from(quota.requests) / (quota.per.get() as f64 / 1e9)
}

/// Two figures where a number is small, and whole where it is not.
fn shown(rate: f64) -> String {
    match rate {
        10.0.. => format!("{rate:.0}"),
        0.1.. => format!("{rate:.1}"),
        _ => "fewer than 0.1".to_owned(),
    }
}

/// A part of a key as the file has it, if the client chooses its value on a route of the limit.
fn chosen(config: &Config, limit: &RateLimit, part: &KeyPart) -> Option<String> {
    let named = |what: &str, name: &[u8]| {
        let name = String::from_utf8_lossy(name);
        Some(format!("{{ {what}: {name} }}"))
    };
    match part {
        KeyPart::Header(name) => named("header", name),
        KeyPart::Cookie(name) => named("cookie", name),
        KeyPart::Query(name) => named("query", name),
        KeyPart::Path => {
            let mut routes = config.routes.iter().filter(|route| has_limit(route, limit));
            routes.any(is_path_open).then(|| "path".to_owned())
        }
        KeyPart::ClientIp
        | KeyPart::ClientNetwork { .. }
        | KeyPart::Host
        | KeyPart::Method
        | KeyPart::Route => None,
    }
}

fn has_limit(route: &Route, limit: &RateLimit) -> bool {
    let mut limits = route.rate_limits.iter();
    limits.any(|other| other.index() == limit.index())
}

/// Whether the route takes more than a few paths.
fn is_path_open(route: &Route) -> bool {
    let exact = |path: &PathMatch| matches!(path.kind, PathKind::Exact(_));
    !route
        .blocks
        .iter()
        .all(|block| block.path.as_ref().is_some_and(exact))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration;

    #[test]
    fn each_limit_has_its_share_and_the_parts_that_clients_choose() {
        let text = "{
            rate_limits: {
                report: { requests: 1, per: 1h, key: [client_ip] },
                year: { requests: 1, per: 8784h, key: [{ cookie: id }, { header: x-a }, path] },
                login: { requests: 5, per: 1m, key: [client_ip, path], shadow: true },
                all: { requests: 9, per: 1s, key: [] },
            },
            rate_limit_table: { max_keys: 60000 },
            routes: [
                { name: login, match: { path: { exact: /login } }, rate_limits: [login], pass: true },
                { name: rest, rate_limits: [report, year, all], pass: true },
            ],
        }";
        let tree = configuration::parse(text).unwrap();
        let config = Config::from_value(&tree).unwrap();
        let notes = notes(&config);
        let notes: Vec<_> = notes
            .iter()
            .map(|note| format!("{} {}: {}", note.place, note.kind, note.found))
            .collect();
        assert_eq!(
            notes,
            [
                "rate_limits.report rate_limit_share: 5.6 requests a second with a key each hold its share of the table, 20000 of 60000 keys",
                "rate_limits.year rate_limit_share: fewer than 0.1 requests a second with a key each hold its share of the table, 20000 of 60000 keys",
                "rate_limits.year client_chosen_key: the client chooses { cookie: id }, { header: x-a }, path of its key: with another value it has another bucket",
                "rate_limits.login rate_limit_share: 5000 requests a second with a key each hold its share of the table, 60000 of 60000 keys",
            ]
        );
    }
}

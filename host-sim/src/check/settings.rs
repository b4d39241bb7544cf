//! Settings of the whole: the client's address, the token of `explain`, how much is probed, and
//! names that are one in the metrics.

use super::{Note, Warning, named};
use pointsman_core::config::Config;
use pointsman_core::pool::balance::Balance;
use std::collections::BTreeMap;

/// The shortest token that is no warning, in bytes: guesses are not counted, and about 1,000 can be
/// made a second.
const MIN_TOKEN: usize = 8;
/// The most probes a second: they take a fifth of a core then.
const MAX_PROBES: f64 = 2_000.0;

/// Every warning about them, in the order of the file.
pub(super) fn warnings(config: &Config) -> Vec<Warning> {
    let mut warnings = Vec::new();
    if let Some(client_ip) = &config.client_ip
        && *client_ip.header == *b"forwarded"
    {
        warnings.push(Warning::new(
            "no_addresses",
            "client_ip.header".to_owned(),
            "never has an address",
            "entries of `forwarded` are pairs such as `for=192.0.2.1` (RFC 7239), and what is \
             read are lists of addresses",
            "take `x-forwarded-for`, or let the proxy in front write that",
        ));
    }
    if let Some(explain) = &config.explain
        && explain.token.len() < MIN_TOKEN
    {
        warnings.push(Warning::new(
            "short_token",
            "explain.token".to_owned(),
            format!("is shorter than {MIN_TOKEN} bytes"),
            "whoever guesses it reads the names of routes, pools and targets, and as many guesses \
             as one likes are free",
            "make one with `head -c 24 /dev/urandom | base64`",
        ));
    }
    warnings.extend(many_probes(config));
    warnings.extend(same_metrics(config));
    warnings
}

/// What the client's address costs where no header tells it.
pub(super) fn notes(config: &Config) -> Vec<Note> {
    let in_limit = config.rate_limits.iter().find_map(|limit| {
        let asks = limit.key().iter().any(|part| part.prefixes().is_some());
        asks.then(|| named("rate_limits", limit.name()))
    });
    let in_pool = || {
        config.pools.iter().find_map(|pool| {
            let asks = matches!(&pool.balance, Balance::Hash(by) if by.keys().any(|part| part.prefixes().is_some()));
            asks.then(|| named("pools", &pool.name))
        })
    };
    let in_match = || {
        config
            .routes
            .iter()
            .enumerate()
            .find_map(|(number, route)| {
                let asks = route.blocks.iter().any(|block| !block.client_ip.is_empty());
                asks.then(|| format!("routes[{number}]"))
            })
    };
    if config.client_ip.is_some() {
        return Vec::new();
    }
    let asks = in_limit.or_else(in_pool).or_else(in_match);
    let note = asks.map(|place| Note {
        place,
        kind: "source_address",
        found: "the client's address is asked of the proxy, which costs each such request a call \
                that returns bytes; where the proxy writes it into a header, `client_ip: { header: \
                x-forwarded-for }` costs none"
            .to_owned(),
    });
    note.into_iter().collect()
}

fn many_probes(config: &Config) -> Option<Warning> {
    let rate = |pool: &std::rc::Rc<pointsman_core::pool::Pool>| {
        let active = pool.health.active.as_ref()?;
        let seconds = active.interval.get() as f64 / 1e9;
        Some((pool.targets.len() as f64 / seconds, pool.name.clone()))
    };
    let rates: Vec<_> = config.pools.iter().filter_map(rate).collect();
    let all: f64 = rates.iter().map(|(rate, _)| rate).sum();
    let (most, name) = rates
        .iter()
        .max_by(|one, other| one.0.total_cmp(&other.0))?;
    (all > MAX_PROBES).then(|| {
        Warning::new(
            "many_probes",
            format!("{}.health.active.interval", named("pools", name)),
            format!("makes {most:.0} probes a second, of {all:.0} by all pools"),
            "the workers do nothing else then, requests wait, and probes that are late find all \
             targets down",
            &format!("raise it until all pools make at most {MAX_PROBES:.0} together"),
        )
    })
}

/// Targets whose counters and gauge are those of another one.
fn same_metrics(config: &Config) -> Vec<Warning> {
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    let mut warnings = Vec::new();
    for pool in &config.pools {
        let mut other = None;
        for target in &pool.targets {
            let metric = pool.target_metric(target);
            match known.get(&metric) {
                Some(owner) if **owner != *pool.name => other = Some(owner.clone()),
                _ => {
                    known.insert(metric, pool.name.to_string());
                }
            }
        }
        if let Some(other) = other {
            warnings.push(Warning::new(
                "same_metrics",
                named("pools", &pool.name),
                format!("is counted together with `{other}`"),
                "`.target` in a pool's name is written `_target` in metrics, so both have the same \
                 counters, and the same gauge of requests in flight",
                "give one of them another name",
            ));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration;

    #[test]
    fn an_address_that_no_header_tells_is_noted_once() {
        let notes = |text: &str| -> Vec<String> {
            let tree = configuration::parse(text).unwrap();
            let config = Config::from_value(&tree).unwrap();
            let notes = super::notes(&config).into_iter();
            notes
                .map(|note| format!("{} {}", note.place, note.kind))
                .collect()
        };
        const LIMIT: &str = "rate_limits: { l: { requests: 1, per: 1s, key: [KEY] } }, \
                             routes: [{ name: r, rate_limits: [l], pass: true }]";
        const POOL: &str = "pools: { p: { balance: KEY, targets: [{ cluster: c }] } }, \
                            routes: [{ name: r, pool: p }]";
        const MATCH: &str = "routes: [{ name: r, match: { KEY }, pass: true }]";
        let header = "client_ip: { header: x-forwarded-for },";
        for (configuration, key, other, place) in [
            (LIMIT, "client_ip", "path", "rate_limits.l"),
            (
                LIMIT,
                "{ client_ip: { v4: 24 } }",
                "{ header: x-a }",
                "rate_limits.l",
            ),
            (POOL, "ip_hash", "random", "pools.p"),
            (
                MATCH,
                "client_ip: [10.0.0.0/8]",
                "scheme: http",
                "routes[0]",
            ),
        ] {
            let asks = configuration.replace("KEY", key);
            assert_eq!(
                notes(&format!("{{ {asks} }}")),
                [format!("{place} source_address")]
            );
            assert!(notes(&format!("{{ {header} {asks} }}")).is_empty(), "{key}");
            let asks_not = configuration.replace("KEY", other);
            assert!(notes(&format!("{{ {asks_not} }}")).is_empty(), "{other}");
        }
    }
}

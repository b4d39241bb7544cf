//! Settings of the whole: the client's address, the token of `explain`, how much is probed, and
//! names that are one in the metrics.

use super::{Warning, named};
use pointsman_core::config::Config;
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

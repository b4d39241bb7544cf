//! Where the configurations of two filters in one Envoy meet.

use super::{Note, Warning, named};
use crate::configuration::FilterConfiguration;
use pointsman_core::config::Config;
use pointsman_core::pool::sticky::Sticky;

/// Filters that a proxy does not tell apart although their configurations differ.
pub fn warnings(parts: &[(&FilterConfiguration, &Config)]) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for ((one, config), (other, theirs)) in pairs(parts) {
        let is_given = config.scope.label().is_some() || theirs.scope.label().is_some();
        if one.plugin != other.plugin || one.tree == other.tree {
            continue;
        }
        if is_given {
            warnings.push(Warning::new(
                "same_filter",
                other.place.clone(),
                format!("is not told from {}", one.place),
                "both have the vm_id, name and root_id of one plugin, which looks like a reload: \
                 the one that was loaded first is taken for the old one, and sleeps whenever \
                 nobody asks for it; then it probes no target",
                "give each plugin a `name` of its own",
            ));
            continue;
        }
        let shared = shared_names(config, theirs);
        let shared = match shared.is_empty() {
            true => String::new(),
            false => format!(", such as {}", shared.join(", ")),
        };
        warnings.push(Warning::new(
            "same_filter",
            other.place.clone(),
            format!("is not told from {}", one.place),
            format!(
                "both have the vm_id, name and root_id of one plugin, which looks like a reload: \
                 limits and metrics of the same names are shared{shared}"
            ),
            "give each plugin a `name` of its own, or both a `scope`",
        ));
    }
    warnings
}

/// What two filters share because their configurations say so.
pub fn notes(parts: &[(&FilterConfiguration, &Config)]) -> Vec<Note> {
    let mut notes = Vec::new();
    for ((one, config), (other, theirs)) in pairs(parts) {
        let mut note = |kind, found| {
            notes.push(Note {
                place: other.place.clone(),
                kind,
                found,
            });
        };
        if let Some(scope) = config.scope.label()
            && config.scope == theirs.scope
        {
            let shared = match (shared_names(config, theirs), one.same_vm(other)) {
                (_, false) => "metrics alone, since they have another vm_id".to_owned(),
                (names, true) if names.is_empty() => "no record".to_owned(),
                (names, true) => names.join(", "),
            };
            note(
                "same_scope",
                format!("shares the scope `{scope}` with {}: {shared}", one.place),
            );
        }
        for pool in &config.pools {
            let sessions = theirs.pools.iter().find(|other| {
                other.name == pool.name && take_each_others(&pool.sticky, &other.sticky)
            });
            if sessions.is_some() {
                let found = format!(
                    "takes the session cookies that {} gives for the pool `{}`: they have one name, \
                     and a key in common or none",
                    one.place, pool.name
                );
                note("same_sessions", found);
            }
        }
    }
    notes
}

fn pairs<'p, T: Copy>(parts: &'p [T]) -> impl Iterator<Item = (T, T)> + 'p {
    let firsts = parts.iter().enumerate();
    firsts.flat_map(|(at, one)| parts.iter().skip(at + 1).map(|other| (*one, *other)))
}

/// The limits and targets that both have, and that are one to a proxy that shares them.
fn shared_names(one: &Config, other: &Config) -> Vec<String> {
    let limits = one.rate_limits.iter().filter(|limit| {
        let same = |theirs: &&std::rc::Rc<_>| -> bool {
            let theirs: &pointsman_core::rate_limit::RateLimit = theirs;
            theirs.name() == limit.name() && theirs.quota() == limit.quota()
        };
        other.rate_limits.iter().find(same).is_some()
    });
    let targets = one.pools.iter().flat_map(|pool| {
        let theirs = other.pools.iter().find(|theirs| theirs.name == pool.name);
        pool.targets.iter().filter_map(move |target| {
            let identity = pool.target_identity(target);
            let theirs = theirs?;
            let same = |other| theirs.target_identity(other) == identity;
            theirs
                .targets
                .iter()
                .any(same)
                .then(|| format!("{}.targets.{}", named("pools", &pool.name), target.name))
        })
    });
    limits
        .map(|limit| named("rate_limits", limit.name()))
        .chain(targets)
        .collect()
}

fn take_each_others(one: &Option<Sticky>, other: &Option<Sticky>) -> bool {
    let (Some(one), Some(other)) = (one, other) else {
        return false;
    };
    let (Some(cookie), Some(theirs)) = (&one.cookie, &other.cookie) else {
        return false;
    };
    let without_keys = one.keys.is_empty() && other.keys.is_empty();
    let common = one
        .keys
        .iter()
        .any(|key| other.keys.iter().any(|theirs| theirs.0 == key.0));
    cookie.name == theirs.name && (without_keys || common)
}

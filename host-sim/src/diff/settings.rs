//! Differences outside of routes: pools, limits and the rest, in words, with what follows.

use super::{Owner, SettingChange};
use crate::configuration::{field, to_json};
use crate::share::percent_of;
use pointsman_core::config::Config;
use pointsman_core::config::value::Value;
use pointsman_core::pool::{Pool, State};
use serde_json::Value as Json;
use std::collections::BTreeSet;

/// Every difference of the two configurations but for their routes.
pub(super) fn changes(old: (&Config, &Value), new: (&Config, &Value)) -> Vec<SettingChange> {
    let mut changes = Vec::new();
    for pool in &old.0.pools {
        if !new.0.pools.iter().any(|it| it.name == pool.name) {
            changes.push(SettingChange::of(
                Owner::Pool(pool.name.to_string()),
                "is gone".to_owned(),
                pool.sticky.as_ref().map(|_| "its sessions end".to_owned()),
            ));
        }
    }
    for pool in &new.0.pools {
        let owner = Owner::Pool(pool.name.to_string());
        match old.0.pools.iter().find(|it| it.name == pool.name) {
            None => changes.push(SettingChange::of(owner, "is new".to_owned(), None)),
            Some(before) => {
                let trees = [old.1, new.1]
                    .map(|tree| field(tree, "pools").and_then(|pools| field(pools, &pool.name)));
                of_pool(&owner, (before, old.0), (pool, new.0), trees, &mut changes);
            }
        }
    }
    let names = |tree: &Value| -> Vec<(String, Json)> {
        match field(tree, "rate_limits") {
            Some(Value::Map(limits)) => limits
                .iter()
                .map(|(name, limit)| (name.clone(), to_json(limit)))
                .collect(),
            _ => Vec::new(),
        }
    };
    let (before, after) = (names(old.1), names(new.1));
    for (name, _) in &before {
        if !after.iter().any(|(other, _)| other == name) {
            let owner = Owner::Limit(name.clone());
            changes.push(SettingChange::of(owner, "is gone".to_owned(), None));
        }
    }
    for (name, limit) in &after {
        let owner = Owner::Limit(name.clone());
        let Some((_, was)) = before.iter().find(|(other, _)| other == name) else {
            changes.push(SettingChange::of(owner, "is new".to_owned(), None));
            continue;
        };
        let limits = [old.0, new.0].map(|config| {
            let mut all = config.rate_limits.iter();
            all.find(|it| it.name() == name)
        });
        let [Some(one), Some(other)] = limits else {
            continue;
        };
        let is_other_bucket = one.quota() != other.quota();
        let differences = differences("", was, limit);
        if is_other_bucket || format!("{one:?}") != format!("{other:?}") {
            let what = match differences.is_empty() {
                true => "differs".to_owned(),
                false => differences.join("; "),
            };
            let follows = is_other_bucket.then(|| {
                "its buckets are new ones: every client begins with a full one".to_owned()
            });
            changes.push(SettingChange::of(owner, what, follows));
        }
    }
    of_the_rest(old, new, &mut changes);
    changes
}

fn of_pool(
    owner: &Owner,
    (old, old_config): (&Pool, &Config),
    (new, new_config): (&Pool, &Config),
    trees: [Option<&Value>; 2],
    changes: &mut Vec<SettingChange>,
) {
    let mut note = |what: String, follows: Option<String>| {
        changes.push(SettingChange::of(owner.clone(), what, follows));
    };
    let sessions = sessions(old, new, trees);
    let kept = match (&old.sticky, &sessions) {
        (None, _) => None,
        (Some(_), None) => Some("sessions stay where they are".to_owned()),
        (Some(_), Some(_)) => None,
    };
    let weight = |pool: &Pool, at: usize| match pool.targets[at].state {
        State::Up => u64::from(pool.targets[at].weight),
        State::Draining | State::Down => 0,
    };
    let all = |pool: &Pool| {
        (0..pool.targets.len())
            .map(|at| weight(pool, at))
            .sum::<u64>()
    };
    let place = |pool: &Pool, name: &str| pool.targets.iter().position(|it| *it.name == *name);
    for (at, target) in old.targets.iter().enumerate() {
        let share = percent_of(weight(old, at), all(old));
        if place(new, &target.name).is_none() {
            let follows = old
                .sticky
                .as_ref()
                .map(|_| format!("sessions of {} begin anew at other targets", target.name));
            note(format!("{}: {share} -> gone", target.name), follows);
        }
    }
    for (at, target) in new.targets.iter().enumerate() {
        let share = percent_of(weight(new, at), all(new));
        let Some(before) = place(old, &target.name) else {
            note(format!("{}: new, {share}", target.name), None);
            continue;
        };
        let was = &old.targets[before];
        let share_before = percent_of(weight(old, before), all(old));
        if share_before != share {
            note(
                format!("{}: {share_before} -> {share}", target.name),
                kept.clone(),
            );
        }
        if was.state != target.state {
            let follows = match target.state {
                State::Up => None,
                State::Draining => Some("its sessions stay, nothing new comes"),
                State::Down => Some("its sessions move to other targets"),
            };
            let states = (format!("{:?}", was.state), format!("{:?}", target.state));
            let (one, other) = (states.0.to_lowercase(), states.1.to_lowercase());
            note(
                format!("{}: {one} -> {other}", target.name),
                follows.map(str::to_owned),
            );
        }
        let (from, to) = (
            (&*was.cluster, was.endpoint.as_deref()),
            (&*target.cluster, target.endpoint.as_deref()),
        );
        if from != to {
            let shown = |(cluster, endpoint): (&str, Option<&str>)| match endpoint {
                Some(endpoint) => format!("{endpoint} of {cluster}"),
                None => cluster.to_string(),
            };
            note(
                format!("{}: {} -> {}", target.name, shown(from), shown(to)),
                Some("its health and its requests in flight are counted anew".to_owned()),
            );
        }
        let others = [
            (
                "region",
                format!("{:?}", was.region),
                format!("{:?}", target.region),
            ),
            (
                "max_in_flight",
                format!("{:?}", was.max_in_flight),
                format!("{:?}", target.max_in_flight),
            ),
        ];
        for (key, one, other) in others {
            if one != other {
                let shown = |text: &str| match text {
                    "None" => "none".to_owned(),
                    text => text
                        .trim_start_matches("Some(")
                        .trim_end_matches(')')
                        .to_owned(),
                };
                let (one, other) = (shown(&one), shown(&other));
                note(format!("{}: {key} {one} -> {other}", target.name), None);
            }
        }
    }
    if let Some(lost) = sessions {
        note(lost, None);
    }
    // What is left is told as it is written.
    let names = |pool: &Pool, config: &Config| -> Vec<String> {
        let all = pool.failover.iter().filter_map(|at| config.pool(*at));
        all.map(|pool| pool.name.to_string()).collect()
    };
    let is_by_hash = |pool: &Pool| {
        let name = format!("{:?}", pool.balance);
        name.starts_with("Hash")
    };
    for (key, one, other) in [
        (
            "balance",
            format!("{:?}", old.balance),
            format!("{:?}", new.balance),
        ),
        (
            "health",
            format!("{:?}", old.health),
            format!("{:?}", new.health),
        ),
        (
            "prefer_region",
            format!("{:?}", old.prefer_region),
            format!("{:?}", new.prefer_region),
        ),
        (
            "slow_start",
            format!("{:?}", old.slow_start),
            format!("{:?}", new.slow_start),
        ),
        (
            "timeout and retry",
            format!("{:?}", old.router_options),
            format!("{:?}", new.router_options),
        ),
        (
            "failover",
            names(old, old_config).join(", "),
            names(new, new_config).join(", "),
        ),
    ] {
        if one == other {
            continue;
        }
        let keys: &[&str] = match key {
            "timeout and retry" => &["timeout", "retry"],
            key => &[key],
        };
        let written = keys.iter().flat_map(|key| {
            let of = trees.map(|tree| {
                let value = tree.and_then(|tree| field(tree, key));
                value.map_or(Json::Null, to_json)
            });
            differences(key, &of[0], &of[1])
        });
        let written: Vec<_> = written.collect();
        let what = match written.is_empty() {
            true => format!("{key} differs"),
            false => written.join("; "),
        };
        let follows = (key == "balance" && (is_by_hash(old) || is_by_hash(new)))
            .then(|| "clients move to other targets".to_owned());
        note(what, follows);
    }
}

/// Which sessions are lost, or changed. None: nothing changes for any.
fn sessions(old: &Pool, new: &Pool, trees: [Option<&Value>; 2]) -> Option<String> {
    let [one, other] = trees.map(|tree| tree.and_then(|tree| field(tree, "sticky")));
    let (was, is) = match (&old.sticky, &new.sticky) {
        (None, None) => return None,
        (None, Some(_)) => return Some("sessions are new: clients stay at a target".to_owned()),
        (Some(_), None) => return Some("sessions are gone: clients no longer stay".to_owned()),
        (Some(was), Some(is)) => (was, is),
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match (&was.cookie, &is.cookie) {
        (Some(_), None) => {
            return Some("sessions of cookies are lost: no cookie is read".to_owned());
        }
        (None, Some(_)) => return Some("sessions by cookie are new".to_owned()),
        (Some(was), Some(is)) if was.name != is.name => {
            return Some(format!(
                "the cookie's name {} -> {}: every session is lost",
                text(&was.name),
                text(&is.name)
            ));
        }
        _ => {}
    }
    // A key itself is never shown.
    let keys = |tree: Option<&Value>| -> Vec<String> {
        match tree.and_then(|tree| field(tree, "keys")) {
            Some(Value::List(keys)) => keys.iter().map(|key| to_json(key).to_string()).collect(),
            _ => Vec::new(),
        }
    };
    let (before, after) = (keys(one), keys(other));
    if before != after {
        let signs = |keys: &[String]| keys.first().cloned();
        let is_verified = signs(&before).is_some_and(|key| after.contains(&key));
        let is_known_before = signs(&after).is_some_and(|key| before.contains(&key));
        return Some(match (is_verified, is_known_before) {
            (false, _) => {
                "keys: the one that signs now is not among the new ones: every session is lost"
                    .to_owned()
            }
            (true, false) => {
                "keys: cookies stay valid; those that are signed with the new key are \
                 not valid at a proxy that still has the old configuration: with several \
                 proxies append it everywhere before it comes to the front"
                    .to_owned()
            }
            (true, true) => "keys: session cookies stay valid".to_owned(),
        });
    }
    if format!("{was:?}") != format!("{is:?}") {
        let [one, other] = [one, other].map(|tree| tree.map_or(Json::Null, to_json));
        return Some(format!(
            "{}; session cookies stay valid",
            differences("sticky", &one, &other).join("; ")
        ));
    }
    None
}

fn of_the_rest(old: (&Config, &Value), new: (&Config, &Value), changes: &mut Vec<SettingChange>) {
    let Value::Map(keys) = new.1 else { return };
    let Value::Map(before) = old.1 else { return };
    let mut all: Vec<&str> = keys
        .iter()
        .chain(before)
        .map(|(key, _)| key.as_str())
        .collect();
    let mut seen = BTreeSet::new();
    all.retain(|key| seen.insert(*key));
    for key in all {
        if ["pools", "rate_limits", "routes", "no_route"].contains(&key) {
            continue;
        }
        let of = |tree: &Value| field(tree, key).map_or(Json::Null, to_json);
        let written = differences(key, &of(old.1), &of(new.1));
        if written.is_empty() {
            continue;
        }
        let follows = match key {
            "scope" => Some("limits, health and requests in flight are counted anew"),
            "client_ip" => Some("conditions, limits and hashes see other client addresses"),
            "upstream" => Some("the proxy's own routes have to use the new names"),
            "max_value" => Some("`contains` and `regex` look at values of other lengths"),
            _ => None,
        };
        let what = match key {
            // The token is a secret.
            "explain" => "explain differs".to_owned(),
            _ => written.join("; "),
        };
        changes.push(SettingChange::of(
            Owner::Whole,
            what,
            follows.map(str::to_owned),
        ));
    }
}

/// What differs between two values, in words.
fn differences(place: &str, one: &Json, other: &Json) -> Vec<String> {
    if one == other {
        return Vec::new();
    }
    let within = |key: &str| match place {
        "" => key.to_owned(),
        place => format!("{place}.{key}"),
    };
    if let (Json::Object(one), Json::Object(other)) = (one, other) {
        let mut keys: Vec<&String> = one.keys().chain(other.keys()).collect();
        let mut seen = BTreeSet::new();
        keys.retain(|key| seen.insert(*key));
        return keys
            .into_iter()
            .flat_map(|key| {
                let of = |map: &serde_json::Map<String, Json>| {
                    map.get(key).cloned().unwrap_or(Json::Null)
                };
                differences(&within(key), &of(one), &of(other))
            })
            .collect();
    }
    let shown = |value: &Json| match value {
        Json::Null => "not given".to_owned(),
        Json::String(text) => text.clone(),
        value => value.to_string(),
    };
    vec![format!("{place} {} -> {}", shown(one), shown(other))]
}

//! The routes of one path: redirects first, then who may not pass, then the canary.

use super::annotations::{Canary, Settings};
use super::{HostPath, Ingress, Made, networks, pattern};
use crate::header_edits::{Edit, HeaderEdits, literal};
use crate::output::Entry;
use serde_json::{Map, Value, json};

/// A path of a host.
pub(super) struct Location<'i> {
    pub of: &'i Ingress,
    pub path: &'i HostPath,
    pub canary: Option<(&'i Ingress, &'i HostPath)>,
    pub matched: Path,
    /// Whether the host's paths are patterns.
    pub is_regex: bool,
    pub has_certificate: bool,
}

/// How a path is matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Path {
    Exact(String),
    Prefix(String),
    Regex(String),
}

/// Blocks of conditions, any of which holds.
pub(super) type Blocks = Vec<Map<String, Value>>;

/// The blocks for a path of some hosts.
pub(super) fn blocks(hosts: &[&str], path: &Path) -> Blocks {
    let path = match path {
        Path::Exact(path) => json!({ "exact": path }),
        Path::Prefix(path) => json!({ "prefix": path }),
        Path::Regex(path) => json!({ "regex": path }),
    };
    let block = |hosts: &[&str]| {
        let mut block = Map::new();
        if !hosts.is_empty() {
            block.insert("hosts".into(), json!(hosts));
        }
        block.insert("path".into(), path.clone());
        block
    };
    if hosts.contains(&"") {
        return vec![block(&[])];
    }
    let (wild, exact): (Vec<&str>, Vec<&str>) = hosts.iter().partition(|it| it.starts_with('*'));
    let mut blocks = Vec::new();
    if !exact.is_empty() {
        blocks.push(block(&exact));
    }
    for host in wild {
        let mut block = block(&[host]);
        // To Kubernetes a wildcard is one label, to the configuration one or more.
        let suffix = pattern::escaped(host.strip_prefix('*').unwrap_or(host));
        let authority = format!("(?i:[\\w-]+{suffix})(:[0-9]+)?");
        block.insert(
            "headers".into(),
            json!([{ "name": ":authority", "regex": authority }]),
        );
        blocks.push(block);
    }
    blocks
}

/// Whether a host has a wildcard that one of these is within.
pub(super) fn is_wild_of(wild: &str, hosts: &[&str]) -> bool {
    let suffix = wild.strip_prefix('*');
    suffix.is_some_and(|suffix| {
        hosts
            .iter()
            .any(|host| host.ends_with(suffix) && *host != wild)
    })
}

/// The value of `match`.
pub(super) fn matched(blocks: &Blocks) -> Value {
    match &blocks[..] {
        [block] => block.clone().into(),
        _ => blocks.iter().cloned().map(Value::Object).collect(),
    }
}

/// The blocks with one more condition.
fn and(blocks: &Blocks, key: &str, condition: Value) -> Blocks {
    let mut blocks = blocks.clone();
    for block in &mut blocks {
        match (block.get_mut(key), condition.clone()) {
            (Some(Value::Array(all)), Value::Array(more)) => all.extend(more),
            (_, condition) => drop(block.insert(key.into(), condition)),
        }
    }
    blocks
}

/// Adds the routes of a path.
pub(super) fn add(location: &Location<'_>, hosts: &[&str], made: &mut Made<'_>) {
    let settings = &location.of.settings;
    let all = blocks(hosts, &location.matched);
    // nginx redirects before it asks who the client is.
    if let Some((action, value)) = &settings.redirect {
        route(location, "", &all, &[(action, value.clone())], made);
        return;
    }
    if settings.force_ssl_redirect || (settings.ssl_redirect && location.has_certificate) {
        let plain = and(&all, "scheme", "http".into());
        let to = json!({ "scheme": "https", "status": 308 });
        route(location, "/https", &plain, &[("redirect", to)], made);
    }
    let forbidden = json!({ "status": 403 });
    if settings.is_closed {
        route(location, "", &all, &[("respond", forbidden)], made);
        return;
    }
    if !settings.deny.is_empty() {
        let denied = and(&all, "client_ip", json!(settings.deny));
        route(
            location,
            "/denied",
            &denied,
            &[("respond", forbidden.clone())],
            made,
        );
    }
    let Some(service) = &location.path.backend else {
        let answer = json!({ "status": 503 });
        route(location, "", &all, &[("respond", answer)], made);
        return;
    };
    let cluster = service.cluster(location.of, &location.path.number, made);
    let limits = limits(location, made);
    let mut extras = extras(location, made);
    if !limits.is_empty() && !settings.without_limits.is_empty() {
        let free = match &settings.allow {
            Some(allow) => networks::both(allow, &settings.without_limits),
            None => settings.without_limits.clone(),
        };
        if !free.is_empty() {
            let free = and(&all, "client_ip", json!(free));
            choose(location, "/without-limits", &free, &cluster, &extras, made);
        }
    }
    if !limits.is_empty() {
        extras.push(("rate_limits", json!(limits)));
    }
    match &settings.allow {
        None => choose(location, "", &all, &cluster, &extras, made),
        Some(allow) => {
            if !allow.is_empty() {
                let allowed = and(&all, "client_ip", json!(allow));
                choose(location, "", &allowed, &cluster, &extras, made);
            }
            route(
                location,
                "/not-allowed",
                &all,
                &[("respond", forbidden)],
                made,
            );
        }
    }
}

/// Adds the routes that choose between the service and its canary.
fn choose(
    location: &Location<'_>,
    suffix: &str,
    blocks: &Blocks,
    (cluster, comment): &(String, String),
    extras: &[(&str, Value)],
    made: &mut Made<'_>,
) {
    let settings = &location.of.settings;
    let with = |action: &'static str, value: Value| {
        let mut all = extras.to_vec();
        all.push((action, value));
        all
    };
    let canary = location.canary.and_then(|(of, path)| {
        let canary = of.settings.canary.as_ref()?;
        let service = path.backend.as_ref()?;
        Some((canary, service.cluster(of, &path.number, made)))
    });
    let Some((canary, (canary_cluster, canary_comment))) = canary else {
        let own = pool(location, cluster, comment, made);
        route(location, suffix, blocks, &with("pool", own.into()), made);
        return;
    };
    let weight = canary.weight.min(canary.total);
    let is_shared = weight > 0 && weight < canary.total && settings.cookie.is_some();
    // The sessions are those of a pool of both, and a client has one cookie of a name.
    let own = match is_shared {
        true => made.pools.of_cluster(cluster, comment),
        false => pool(location, cluster, comment, made),
    };
    let other = made.pools.of_cluster(&canary_cluster, &canary_comment);
    for (word, is_canary, blocks) in conditions(canary, blocks) {
        let suffix = format!("{suffix}/canary-{word}");
        let pool = if is_canary { &other } else { &own };
        route(
            location,
            &suffix,
            &blocks,
            &with("pool", pool.clone().into()),
            made,
        );
    }
    let action = match (weight, &settings.cookie) {
        (0, _) => with("pool", own.into()),
        (weight, _) if weight == canary.total => with("pool", other.into()),
        (weight, Some(cookie)) => {
            // One pool, so that a client whom the weight made the canary's stays with it.
            let mut pool = Map::new();
            pool.insert(
                "targets".into(),
                json!([
                    { "cluster": cluster, "weight": canary.total - weight },
                    { "cluster": canary_cluster, "weight": weight },
                ]),
            );
            pool.insert("sticky".into(), sticky(location, cookie));
            // Without this nothing frees the sessions of one that fails.
            pool.insert("health".into(), json!({ "passive": {} }));
            let wanted = format!(
                "{}/{}/{}",
                location.of.namespace, location.of.name, location.path.number
            );
            let comment = format!("{comment}, and its canary {canary_comment}");
            with("pool", made.pools.named(&wanted, &comment, pool).into())
        }
        (weight, None) => with(
            "split",
            json!([
                { "pool": own, "weight": canary.total - weight },
                { "pool": other, "weight": weight },
            ]),
        ),
    };
    route(location, suffix, blocks, &action, made);
}

/// Who is sent to the canary, or kept from it, whatever the weight. In their order.
fn conditions(canary: &Canary, blocks: &Blocks) -> Vec<(&'static str, bool, Blocks)> {
    let mut found = Vec::new();
    if let Some(name) = &canary.header {
        let mut add = |word, is_canary, kind: &str, value: &str| {
            let condition = json!([{ "name": name, kind: value }]);
            found.push((word, is_canary, and(blocks, "headers", condition)));
        };
        match (&canary.header_value, &canary.header_pattern) {
            (Some(value), _) => add("header", true, "exact", value),
            // It is searched for.
            (None, Some(pattern)) => {
                add(
                    "header",
                    true,
                    "regex",
                    &format!("(?s:.*)(?:{pattern})(?s:.*)"),
                );
            }
            (None, None) => {
                add("header", true, "exact", "always");
                add("never-by-header", false, "exact", "never");
            }
        }
    }
    if let Some(name) = &canary.cookie {
        for (word, is_canary, value) in [
            ("cookie", true, "always"),
            ("never-by-cookie", false, "never"),
        ] {
            let condition = json!([{ "name": name, "exact": value }]);
            found.push((word, is_canary, and(blocks, "cookies", condition)));
        }
    }
    found
}

/// The pool of the service.
fn pool(location: &Location<'_>, cluster: &str, comment: &str, made: &mut Made<'_>) -> String {
    let Settings {
        cookie, balance, ..
    } = &location.of.settings;
    let mut pool = Map::new();
    pool.insert("targets".into(), json!([{ "cluster": cluster }]));
    if let Some(cookie) = cookie {
        pool.insert("sticky".into(), sticky(location, cookie));
    }
    if let Some(balance) = balance {
        pool.insert("balance".into(), balance.clone());
    }
    made.pools.named(cluster, comment, pool)
}

/// The value of `sticky`. The cookie's path is the location's, unless the location is a pattern.
fn sticky(location: &Location<'_>, cookie: &Map<String, Value>) -> Value {
    let mut cookie = cookie.clone();
    let path = &location.path.path;
    if !cookie.contains_key("path") && !location.is_regex && path != "/" && !path.contains(';') {
        cookie.insert("path".into(), path.clone().into());
    }
    json!({ "cookie": cookie })
}

/// The names of the Ingress's limits. nginx counts all of its paths together.
fn limits(location: &Location<'_>, made: &mut Made<'_>) -> Vec<String> {
    let of = location.of;
    let mut names = Vec::new();
    for limit in &of.settings.limits {
        let comment = format!(
            "from: Ingress {}/{} limit-{}",
            of.namespace, of.name, limit.unit
        );
        let known = made
            .limits
            .iter()
            .find(|it| it.comments == [comment.clone()]);
        if let Some(known) = known {
            names.push(known.name.clone());
            continue;
        }
        let name = made
            .limit_names
            .unique(&format!("{}/{}/{}", of.namespace, of.name, limit.unit));
        let mut value = Map::new();
        value.insert("requests".into(), limit.requests.into());
        let per = if limit.unit == "rps" { "1s" } else { "1m" };
        value.insert("per".into(), per.into());
        value.insert("burst".into(), limit.burst.into());
        // nginx counts each address, IPv6 too.
        let key = json!([{ "client_ip": { "v4": 32, "v6": 128 } }]);
        value.insert("key".into(), key);
        // What the controller answers.
        value.insert("respond".into(), json!({ "status": 503 }));
        made.limits.push(Entry {
            comments: vec![comment],
            name: name.clone(),
            value,
        });
        names.push(name);
    }
    names
}

/// What the routes to the service have besides.
fn extras(location: &Location<'_>, made: &Made<'_>) -> Vec<(&'static str, Value)> {
    let settings = &location.of.settings;
    let path = &location.path.path;
    let mut extras = Vec::new();
    let mut rewrite = Map::new();
    let target = settings.rewrite_target.as_ref();
    if let Some(target) = target.filter(|target| !target.is_empty() && *target != path) {
        match pattern::rewrite(path, target) {
            Ok(value) => drop(rewrite.insert("path_regex".into(), value)),
            Err(why) => made.report.add(&settings.rewrite_place, why),
        }
    }
    if let Some(host) = &settings.upstream_host {
        rewrite.insert("host".into(), literal(host).into());
    }
    if !rewrite.is_empty() {
        extras.push(("rewrite", rewrite.into()));
    }
    if let Some(prefix) = &settings.forwarded_prefix {
        let mut edits = HeaderEdits::default();
        if let Err(why) = edits.edit(Edit::Set, "x-forwarded-prefix", prefix) {
            made.report.add(&location.path.place, why);
        }
        extras.extend(edits.value().map(|edits| ("request_headers", edits)));
    }
    extras
}

fn route(
    location: &Location<'_>,
    suffix: &str,
    blocks: &Blocks,
    keys: &[(&str, Value)],
    made: &mut Made<'_>,
) {
    let Ingress {
        namespace, name, ..
    } = location.of;
    let HostPath {
        host, path, number, ..
    } = location.path;
    let mut value = Map::new();
    value.insert("match".into(), matched(blocks));
    for (key, of_key) in keys {
        value.insert((*key).to_owned(), of_key.clone());
    }
    let shown = if host.is_empty() { "*" } else { host };
    let why = suffix.trim_start_matches('/').replace('/', ", ");
    let why = match &*why {
        "" => String::new(),
        why => format!(" ({why})"),
    };
    made.routes.push(Entry {
        comments: vec![format!(
            "from: Ingress {namespace}/{name} {shown}{path}{why}"
        )],
        name: made
            .names
            .unique(&format!("{namespace}/{name}/{number}{suffix}")),
        value,
    });
}

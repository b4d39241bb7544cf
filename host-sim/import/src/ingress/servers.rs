//! Which path takes a request: nginx's order, as the controller configures it.

use super::backend::Service;
use super::routes::{self, Location, Path};
use super::{HostPath, Ingress, Made, PathType, pattern};
use crate::output::Entry;
use serde_json::{Map, Value, json};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// What one host has.
#[derive(Default)]
struct Server<'i> {
    paths: Vec<Found<'i>>,
    /// What takes all other paths. None: 404.
    default_backend: Option<(&'i Ingress, &'i Service)>,
    aliases: Vec<&'i str>,
    has_certificate: bool,
    app_root: Option<(&'i Ingress, &'i str)>,
    from_to_www: Option<&'i Ingress>,
}

/// A path with its canary.
struct Found<'i> {
    of: &'i Ingress,
    path: &'i HostPath,
    canary: Option<(&'i Ingress, &'i HostPath)>,
}

/// Adds the routes of all Ingresses, the older first.
pub(super) fn add(ingresses: &[Ingress], made: &mut Made<'_>) {
    let mut servers: BTreeMap<&str, Server<'_>> = BTreeMap::new();
    let is_canary = |ingress: &&Ingress| ingress.settings.canary.is_some();
    for ingress in ingresses.iter().filter(|it| !is_canary(it)) {
        collect(ingress, &mut servers, made);
    }
    for ingress in ingresses.iter().filter(is_canary) {
        attach(ingress, &mut servers, made);
    }
    let names: Vec<&str> = servers.keys().copied().collect();
    for server in servers.values_mut() {
        // A host of its own wins over an alias.
        server.aliases.retain(|alias| !names.contains(alias));
        server.aliases.sort_unstable();
        server.aliases.dedup();
    }
    let mut order: Vec<(&str, Server<'_>)> = servers.into_iter().collect();
    order.sort_by_key(|(host, _)| match *host {
        "" => (2, Reverse(0)),
        host if host.starts_with('*') => (1, Reverse(host.len())),
        _ => (0, Reverse(0)),
    });
    for at in 0..order.len() {
        let (host, server) = &order[at];
        let hosts: Vec<&str> = [*host]
            .into_iter()
            .chain(server.aliases.iter().copied())
            .collect();
        let falls_through = order[at + 1..]
            .iter()
            .any(|(later, _)| later.is_empty() || routes::is_wild_of(later, &hosts));
        of_server(&hosts, server, falls_through, &names, made);
    }
}

fn collect<'i>(ingress: &'i Ingress, servers: &mut BTreeMap<&'i str, Server<'i>>, made: &Made<'_>) {
    if ingress.paths.is_empty() {
        if let Some(service) = &ingress.default_backend {
            let server = servers.entry("").or_default();
            server.default_backend.get_or_insert((ingress, service));
        }
        return;
    }
    for path in &ingress.paths {
        let server = servers.entry(&path.host).or_default();
        if let Some(service) = &ingress.default_backend {
            server.default_backend.get_or_insert((ingress, service));
        }
        let settings = &ingress.settings;
        server
            .aliases
            .extend(settings.aliases.iter().map(|alias| &**alias));
        let is_covered = |tls: &String| {
            tls.eq_ignore_ascii_case(&path.host)
                || tls.strip_prefix('*').is_some_and(|suffix| {
                    let label = path.host.strip_suffix(suffix);
                    label.is_some_and(|label| !label.is_empty() && !label.contains('.'))
                })
        };
        server.has_certificate |= ingress.tls_hosts.iter().any(is_covered);
        if let Some(root) = &settings.app_root {
            server.app_root.get_or_insert((ingress, root));
        }
        if settings.from_to_www {
            server.from_to_www.get_or_insert(ingress);
        }
        let same =
            |other: &&Found<'_>| other.path.path == path.path && other.path.kind == path.kind;
        match server.paths.iter().find(same) {
            Some(other) => made.report.add(
                &path.place,
                format!(
                    "Ingress {}/{} has the same host and path and is older: the controller takes \
                     that one",
                    other.of.namespace, other.of.name
                ),
            ),
            None => server.paths.push(Found {
                of: ingress,
                path,
                canary: None,
            }),
        }
    }
}

/// Gives a canary's paths to those that they stand beside.
fn attach<'i>(ingress: &'i Ingress, servers: &mut BTreeMap<&'i str, Server<'i>>, made: &Made<'_>) {
    if ingress.default_backend.is_some() {
        made.report.add(
            format!("{}.defaultBackend", ingress.place),
            "a canary stands beside paths of other Ingresses, and has no default backend",
        );
    }
    for path in &ingress.paths {
        let server = servers.get_mut(&*path.host);
        let beside = server.and_then(|server| {
            let mut paths = server.paths.iter_mut();
            paths.find(|it| it.path.path == path.path && it.path.kind == path.kind)
        });
        match beside {
            None => made.report.add(
                &path.place,
                "no other Ingress has this host and path: the controller ignores the canary",
            ),
            Some(beside) if beside.canary.is_some() => made.report.add(
                &path.place,
                "another canary stands beside this host and path: the controller takes one",
            ),
            Some(beside) => beside.canary = Some((ingress, path)),
        }
    }
}

fn of_server(
    hosts: &[&str],
    server: &Server<'_>,
    falls_through: bool,
    names: &[&str],
    made: &mut Made<'_>,
) {
    // One path that is a pattern makes patterns of all paths of the host.
    let needs_rewrite = |found: &&Found<'_>| {
        let target = found.of.settings.rewrite_target.as_ref();
        target.is_some_and(|target| !target.is_empty() && *target != found.path.path)
    };
    let is_regex = server
        .paths
        .iter()
        .any(|found| found.of.settings.use_regex || needs_rewrite(&found));
    if let Some(ingress) = server.from_to_www {
        from_to_www(hosts[0], ingress, names, made);
    }
    if let Some((ingress, root)) = server.app_root {
        let mut value = Map::new();
        let blocks = routes::blocks(hosts, &Path::Exact("/".into()));
        value.insert("match".into(), routes::matched(&blocks));
        value.insert(
            "redirect".into(),
            json!({ "path": root, "query": "drop", "status": 302 }),
        );
        entry(ingress, "app-root", value, made);
    }
    let mut locations: Vec<&Found<'_>> = server.paths.iter().collect();
    // As the controller sorts them: by path, then by length, the longest first. nginx tries exact
    // ones before others, but patterns in their order.
    let length = |found: &Found<'_>| {
        let HostPath { path, kind, .. } = found.path;
        let has_slash = *kind == PathType::Prefix && path != "/" && !path.ends_with('/');
        path.len() + usize::from(has_slash)
    };
    locations.sort_by(|one, other| other.path.path.cmp(&one.path.path));
    locations.sort_by_key(|it| {
        let is_exact = it.path.kind == PathType::Exact && !is_regex;
        (!is_exact, Reverse(length(it)))
    });
    let mut has_root = false;
    for found in locations {
        let HostPath { path, kind, .. } = found.path;
        let path = match kind {
            _ if is_regex && path == "/" => Path::Prefix("/".into()),
            _ if is_regex => Path::Regex(pattern::location(path)),
            PathType::Exact => Path::Exact(path.clone()),
            PathType::Prefix => Path::Prefix(path.clone()),
            PathType::ImplementationSpecific if path == "/" => Path::Prefix("/".into()),
            PathType::ImplementationSpecific => {
                Path::Regex(format!("{}.*", pattern::escaped(path)))
            }
        };
        has_root |= path == Path::Prefix("/".into());
        let location = Location {
            of: found.of,
            path: found.path,
            canary: found.canary,
            matched: path,
            is_regex,
            has_certificate: server.has_certificate,
        };
        routes::add(&location, hosts, made);
    }
    if has_root {
        return;
    }
    let blocks = routes::blocks(hosts, &Path::Prefix("/".into()));
    let mut value = Map::new();
    value.insert("match".into(), routes::matched(&blocks));
    match server.default_backend {
        Some((ingress, service)) => {
            let (cluster, comment) = service.cluster(ingress, "0/0", made);
            let pool = made.pools.of_cluster(&cluster, &comment);
            value.insert("pool".into(), pool.into());
            entry(ingress, "default", value, made);
        }
        // nginx looks at no other server: without this a wildcard's paths would.
        None if falls_through => {
            value.insert("respond".into(), json!({ "status": 404 }));
            let ingress = server.paths[0].of;
            entry(ingress, "no-path", value, made);
        }
        None => {}
    }
}

/// `www.example.com` leads to `example.com`, or the other way round.
fn from_to_www(host: &str, ingress: &Ingress, names: &[&str], made: &mut Made<'_>) {
    let other = match host.strip_prefix("www.") {
        Some(bare) => bare.to_owned(),
        None => format!("www.{host}"),
    };
    if host.is_empty() || host.starts_with('*') || names.contains(&&*other) {
        made.report.add(
            &ingress.place,
            format!("from-to-www-redirect: `{other}` is a host of its own"),
        );
        return;
    }
    let mut value = Map::new();
    value.insert("match".into(), json!({ "hosts": [other] }));
    value.insert("redirect".into(), json!({ "host": host, "status": 308 }));
    entry(ingress, "www", value, made);
}

fn entry(of: &Ingress, what: &str, value: Map<String, Value>, made: &mut Made<'_>) {
    let name = made
        .names
        .unique(&format!("{}/{}/{what}", of.namespace, of.name));
    made.routes.push(Entry {
        comments: vec![format!("from: Ingress {}/{} {what}", of.namespace, of.name)],
        name,
        value,
    });
}

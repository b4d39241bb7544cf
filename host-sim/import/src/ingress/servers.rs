//! Which path takes a request: nginx's order, as the controller configures it.

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
    /// Whose annotations are those of all other paths: of a host the first Ingress that names it, of
    /// all other hosts the first that has a default backend and no rules.
    first: Option<&'i Ingress>,
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
        if ingress.default_backend.is_some() {
            servers.entry("").or_default().first.get_or_insert(ingress);
        }
        return;
    }
    for path in &ingress.paths {
        let server = servers.entry(&path.host).or_default();
        if !path.host.is_empty() {
            server.first.get_or_insert(ingress);
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
            PathType::Exact => Path::Exact(as_sent(path)),
            PathType::Prefix => Path::Prefix(as_sent(path)),
            PathType::ImplementationSpecific if path == "/" => Path::Prefix("/".into()),
            PathType::ImplementationSpecific => {
                Path::Regex(format!("{}.*", pattern::escaped(&as_sent(path))))
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
    let redirects = |ingress: &Ingress| ingress.settings.redirect.is_some();
    let has_default = |ingress: &&Ingress| ingress.default_backend.is_some() || redirects(ingress);
    if let Some(ingress) = server.first.filter(has_default) {
        return default_location(ingress, hosts, server, is_regex, made);
    }
    // nginx looks at no other server: without this a wildcard's paths would.
    if falls_through {
        let blocks = routes::blocks(hosts, &Path::Prefix("/".into()));
        let mut value = Map::new();
        value.insert("match".into(), routes::matched(&blocks));
        value.insert("respond".into(), json!({ "status": 404 }));
        entry(server.paths[0].of, "no-path", value, made);
    }
}

/// What takes the paths of a host that no path of it takes. It has the Ingress's annotations like any
/// other, who may pass among them; but for all other hosts not where they redirect and rewrite.
fn default_location(
    ingress: &Ingress,
    hosts: &[&str],
    server: &Server<'_>,
    is_regex: bool,
    made: &mut Made<'_>,
) {
    let mut ingress = ingress.clone();
    let host = hosts[0];
    if host.is_empty() {
        ingress.settings.redirect = None;
        ingress.settings.rewrite_target = None;
        ingress.settings.ssl_redirect = false;
        ingress.settings.force_ssl_redirect = false;
    }
    let path = HostPath {
        host: host.to_owned(),
        path: "/".into(),
        kind: PathType::Prefix,
        backend: ingress.default_backend.clone(),
        place: format!("{}.defaultBackend", ingress.place),
        number: "default".into(),
    };
    let location = Location {
        of: &ingress,
        path: &path,
        canary: None,
        matched: Path::Prefix("/".into()),
        is_regex,
        has_certificate: server.has_certificate,
    };
    routes::add(&location, hosts, made);
}

/// A path as clients send it: nginx compares it decoded, the configuration as it came.
fn as_sent(path: &str) -> String {
    let mut sent = String::new();
    for byte in path.bytes() {
        match byte {
            b'!'..=b'~' if !b"\"#<>?\\^`{|}".contains(&byte) => sent.push(char::from(byte)),
            _ => sent.push_str(&format!("%{byte:02X}")),
        }
    }
    sent
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

//! What a proxy's file does around the filter: whether requests reach the filter as its routes
//! expect them, and whether what it chooses is obeyed. Only what the file itself says is told; what
//! comes from a control plane is not known here.

mod engines;
mod hops;

use super::{Note, Warning, named, variables};
use crate::configuration::type_url::WASM;
use crate::configuration::{self, field};
use crate::connection_manager::{ConnectionManager, EscapedSlashes, TYPE};
use crate::environment;
use pointsman_core::config::Config;
use pointsman_core::config::value::Value;
use pointsman_core::http::regex::Regex;
use pointsman_core::route::RouteAction;
use pointsman_core::route::path::{PathKind, PathMatch};
use std::collections::BTreeSet;

/// Every warning about the file around its filters of ours. `tree`: the whole Envoy configuration.
pub(super) fn warnings(tree: &Value) -> Vec<Warning> {
    let (mut filters, mut managers) = (Vec::new(), Vec::new());
    collect(tree, WASM, &mut filters);
    collect(tree, TYPE, &mut managers);
    let mut warnings: Vec<Warning> = Vec::new();
    for filter in filters {
        let Some(ours) = configuration::ours_of(filter) else {
            continue;
        };
        let Ok(config) = environment::load_anywhere(&ours) else {
            continue;
        };
        let manager = managers.iter().find(|manager| has(manager, filter));
        let mut found = Vec::new();
        if let Some(manager) = manager {
            found.extend(path_warnings(manager, &config));
            found.extend(size_warning(manager, &config));
            found.extend(hops::warning(manager, &config));
            found.extend(header_warnings(manager, &config));
            found.extend(order_warnings(manager, filter));
            found.extend(route_warnings(manager, &config));
            found.extend(mirror_warning(manager, &config));
            found.extend(certificate_warnings(tree, manager, &config));
        }
        found.extend(filter_warnings(filter));
        found.extend(variables::not_given(filter, &ours));
        found.extend(cluster_warnings(tree, filter, &config));
        found.extend(stats_warning(tree, &config));
        for warning in found {
            let is_same =
                |other: &Warning| (&other.place, &other.found) == (&warning.place, &warning.found);
            if !warnings.iter().any(is_same) {
                warnings.push(warning);
            }
        }
    }
    warnings
}

/// What is to be known about the file around its filters of ours.
pub(super) fn notes(tree: &Value) -> Vec<Note> {
    let mut filters = Vec::new();
    collect(tree, WASM, &mut filters);
    let has_ours = filters
        .iter()
        .any(|filter| configuration::ours_of(filter).is_some());
    // Only a bootstrap says how metrics are labelled.
    match has_ours && field(tree, "static_resources").is_some() {
        true => labels_note(tree).into_iter().collect(),
        false => Vec::new(),
    }
}

/// Metrics whose names have the pools' and routes' within them.
fn labels_note(tree: &Value) -> Option<Note> {
    let tags = at(tree, "stats_config").map_or(&[][..], |it| list(it, "stats_tags"));
    let is_ours = |tag: &&Value| {
        let regex = text(tag, "regex").unwrap_or_default();
        text(tag, "tag_name") == Some("pointsman_pool") || regex.contains("pointsman")
    };
    if tags.iter().any(|tag| is_ours(&tag)) {
        return None;
    }
    let place = match field(tree, "stats_config") {
        Some(_) => "stats_config",
        None => "",
    };
    Some(Note {
        place: place.to_owned(),
        kind: "no_labels",
        found: "has no `stats_tags` for Pointsman's metrics: names of pools and routes stand in \
                the names of metrics, and envoy-config/alerts.yaml and dashboard.json, which go by \
                labels, find nothing; envoy-config/envoy.yaml has the rules at (6)"
            .to_owned(),
    })
}

/// The messages of a type, the outermost.
fn collect<'t>(tree: &'t Value, kind: &str, found: &mut Vec<&'t Value>) {
    match tree {
        Value::Map(_) if text(tree, "@type") == Some(kind) => found.push(tree),
        Value::Map(map) => map
            .iter()
            .for_each(|(_, value)| collect(value, kind, found)),
        Value::List(list) => list.iter().for_each(|value| collect(value, kind, found)),
        _ => {}
    }
}

/// Whether a node is this one, or above it.
fn has(tree: &Value, node: &Value) -> bool {
    std::ptr::eq(tree, node)
        || match tree {
            Value::Map(map) => map.iter().any(|(_, value)| has(value, node)),
            Value::List(list) => list.iter().any(|value| has(value, node)),
            _ => false,
        }
}

pub(super) fn text<'t>(tree: &'t Value, key: &str) -> Option<&'t str> {
    match field(tree, key) {
        Some(Value::Text(text)) => Some(text),
        _ => None,
    }
}

pub(super) fn list<'t>(tree: &'t Value, key: &str) -> &'t [Value] {
    match field(tree, key) {
        Some(Value::List(list)) => list,
        _ => &[],
    }
}

/// `a.b.c`
pub(super) fn at<'t>(tree: &'t Value, path: &str) -> Option<&'t Value> {
    path.split('.').try_fold(tree, |tree, key| field(tree, key))
}

const MANAGER: &str = "the HTTP connection manager";

/// The settings without which a path goes past a route that compares it.
fn path_warnings(manager: &Value, config: &Config) -> Vec<Warning> {
    let is_narrow = |path: &PathMatch| match &path.kind {
        PathKind::Prefix(prefix) => !prefix.is_empty(),
        PathKind::Exact(_) | PathKind::Template(_) => true,
        PathKind::Regex(regex) => !matches!(regex.pattern(), ".*" | "/.*"),
    };
    let is_on_path = |route: &&pointsman_core::route::Route| {
        let mut blocks = route.blocks.iter();
        blocks.any(|block| block.path.as_ref().is_some_and(is_narrow))
    };
    let refuses = |route: &&&pointsman_core::route::Route| matches!(&route.action, RouteAction::Respond(answer) if answer.status >= 400);
    let on_paths: Vec<_> = config.routes.iter().filter(is_on_path).collect();
    let Some(route) = on_paths.iter().find(refuses).or(on_paths.first()) else {
        return Vec::new();
    };
    let settings = ConnectionManager::read(manager);
    let mut warnings = Vec::new();
    let mut warn = |key: &str, found: &str, spelling: &str, advice: &str| {
        warnings.push(Warning::new(
            "path_as_it_came",
            format!("{MANAGER}: {key}"),
            found,
            format!(
                "`{spelling}` is the same path to most backends, and goes past the route `{}`, \
                 which compares paths as they are handed over",
                route.name
            ),
            advice,
        ));
    };
    if !settings.normalize_path {
        warn(
            "normalize_path",
            "is not on",
            "/x/../…",
            "write `normalize_path: true`",
        );
    }
    if !settings.merge_slashes {
        warn(
            "merge_slashes",
            "is not on",
            "//…",
            "write `merge_slashes: true`",
        );
    }
    if settings.escaped_slashes == EscapedSlashes::Keep {
        warn(
            "path_with_escaped_slashes_action",
            "leaves `%2F` and `%5C` as they are",
            "/x%2f..%2f…",
            "write `path_with_escaped_slashes_action: UNESCAPE_AND_REDIRECT`, or REJECT_REQUEST",
        );
    }
    warnings
}

/// As much as the shipped edge lets in, in KiB: what a request costs at most is promised for that.
const MAX_HEADERS: f64 = 16.0;

/// More headers than what a request may cost is promised for, where it is the client's to choose.
fn size_warning(manager: &Value, config: &Config) -> Option<Warning> {
    let found = match field(manager, "max_request_headers_kb") {
        None => "is Envoy's default, 60".to_owned(),
        Some(Value::Number(most)) if *most > MAX_HEADERS => format!("is {most}"),
        Some(_) => return None,
    };
    // Where no request is dear their size is Envoy's alone.
    if let (None, None) = super::dearest_request(config) {
        return None;
    }
    Some(Warning::new(
        "long_headers",
        format!("{MANAGER}: max_request_headers_kb"),
        found,
        "the routes look at what clients choose, and the bound of what a request costs holds for 16 KiB",
        "write `max_request_headers_kb: 16`",
    ))
}

/// The headers that carry the choice.
fn header_warnings(manager: &Value, config: &Config) -> Vec<Warning> {
    let settings = ConnectionManager::read(manager);
    let upstream = &config.upstream;
    let mut warnings = Vec::new();
    let mirror = [&*upstream.mirror_header].into_iter();
    let mirror = mirror.filter(|_| obeys_mirrors(manager, &upstream.mirror_header));
    let choice = [&*upstream.cluster_header, &*upstream.endpoint_header].into_iter();
    for name in choice.chain(mirror) {
        if settings.removed.iter().any(|removed| removed == name) {
            continue;
        }
        let shown = String::from_utf8_lossy(name);
        let what = match *name == *upstream.mirror_header {
            true => "has requests copied",
            false => "chooses the upstream",
        };
        warnings.push(Warning::new(
            "upstream_header_kept",
            format!("{MANAGER}: early_header_mutation_extensions"),
            format!("does not remove `{shown}`"),
            format!(
                "nothing but the filter removes it: with FAIL_OPEN a client that sends it {what} \
                 itself while the filter's VM is dead"
            ),
            &format!(
                "add the mutation `remove: {shown}` of \
                 envoy.http.early_header_mutation.header_mutation, as envoy-config/envoy.yaml has \
                 it at (1)"
            ),
        ));
    }
    warnings
}

/// Where the filter stands among others.
fn order_warnings(manager: &Value, filter: &Value) -> Option<Warning> {
    const ROUTER: &str = "envoy.extensions.filters.http.router.v3.Router";
    let filters = list(manager, "http_filters");
    let kind = |filter: &Value| at(filter, "typed_config.@type").cloned();
    let is_router = |filter: &Value| {
        text(filter, "name") == Some("envoy.filters.http.router")
            || matches!(kind(filter), Some(Value::Text(kind)) if kind.ends_with(ROUTER))
    };
    let router = filters.iter().position(is_router);
    let ours = filters.iter().position(|other| has(other, filter))?;
    let found = match router {
        Some(router) if router > ours => return None,
        Some(_) => "has the filter behind the router",
        None => "has no router",
    };
    Some(Warning::new(
        "not_before_router",
        format!("{MANAGER}: http_filters"),
        found,
        "the router ends the list and sends the request: Envoy refuses a file without it, or with \
         a filter behind it",
        "put `envoy.filters.http.router` last, and the Wasm filter before it",
    ))
}

/// Whether some route obeys the choice.
fn route_warnings(manager: &Value, config: &Config) -> Option<Warning> {
    let routes = field(manager, "route_config")?;
    let header = String::from_utf8_lossy(&config.upstream.cluster_header).into_owned();
    fn obeys(tree: &Value, header: &str) -> bool {
        match tree {
            Value::Map(map) => map.iter().any(|(key, value)| {
                key == "cluster_header"
                    && matches!(value, Value::Text(name) if name.eq_ignore_ascii_case(header))
                    || key == "vhds"
                    || obeys(value, header)
            }),
            Value::List(list) => list.iter().any(|value| obeys(value, header)),
            _ => false,
        }
    }
    if config.pools.is_empty() {
        return None;
    }
    let warning = |found: String, why: &str, advice: &str| {
        let place = format!("{MANAGER}: route_config");
        Warning::new("choice_not_obeyed", place, found, why, advice)
    };
    if !obeys(routes, &header) {
        return Some(warning(
            format!("has no route by the header `{header}`"),
            "the filter's choice is in that header, and no route reads it",
            &format!("add a route with `route: {{ cluster_header: {header} }}`"),
        ));
    }
    // The routes of a host that stand behind one that takes every request.
    let hosts = list(routes, "virtual_hosts").iter();
    let mut taken = hosts.filter_map(|host| {
        let routes = list(host, "routes");
        let all = routes.iter().position(takes_all)?;
        let cluster = text(field(&routes[all], "route")?, "cluster")?;
        let hidden = routes[all + 1..].iter().any(|it| obeys(it, &header));
        let seen = routes[..all].iter().any(|it| obeys(it, &header));
        (hidden && !seen).then_some(cluster)
    });
    taken.next().map(|cluster| {
        warning(
            format!("has a route to the cluster `{cluster}` before the one by `{header}`"),
            "it takes every request, whatever the filter has chosen",
            "put the route by the header first, or remove the other",
        )
    })
}

/// Whether one of Envoy's routes has no condition.
fn takes_all(route: &Value) -> bool {
    let Some(Value::Map(conditions)) = field(route, "match") else {
        return false;
    };
    matches!(&conditions[..], [(key, Value::Text(prefix))] if key == "prefix" && prefix == "/")
}

/// Whether some route of the file copies requests by this header.
fn obeys_mirrors(manager: &Value, header: &[u8]) -> bool {
    fn names(tree: &Value, header: &[u8]) -> bool {
        match tree {
            Value::Map(map) => map.iter().any(|(key, value)| match (&**key, value) {
                ("request_mirror_policies", Value::List(policies)) => policies.iter().any(|it| {
                    let name = text(it, "cluster_header").unwrap_or_default();
                    name.as_bytes().eq_ignore_ascii_case(header)
                }),
                _ => names(value, header),
            }),
            Value::List(list) => list.iter().any(|value| names(value, header)),
            _ => false,
        }
    }
    field(manager, "route_config").is_some_and(|routes| names(routes, header))
}

/// Whether some route makes the copies that a route of ours asks for.
fn mirror_warning(manager: &Value, config: &Config) -> Option<Warning> {
    let route = config.routes.iter().find(|route| route.mirror.is_some())?;
    let header = &config.upstream.mirror_header;
    let routes = field(manager, "route_config")?;
    if obeys_mirrors(manager, header) || field(routes, "vhds").is_some() {
        return None;
    }
    let shown = String::from_utf8_lossy(header);
    Some(Warning::new(
        "mirror_not_obeyed",
        format!("{MANAGER}: route_config"),
        format!("has no mirror policy by the header `{shown}`"),
        format!(
            "the copies that the route `{}` asks for are made by the proxy's route",
            route.name
        ),
        &format!(
            "add, before the others, a route for requests with that header and \
             `request_mirror_policies: [{{ cluster_header: {shown} }}]`, as envoy-config/envoy.yaml \
             has it at (4)"
        ),
    ))
}

/// Conditions on the TLS connection where the listener has none, or asks for no certificate.
fn certificate_warnings(tree: &Value, manager: &Value, config: &Config) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let Some(chain) = chain_of(tree, manager) else {
        return warnings;
    };
    let mut contexts = Vec::new();
    let socket = field(chain, "transport_socket");
    if let Some(socket) = socket {
        collect(socket, DOWNSTREAM_TLS, &mut contexts);
    }
    // Another transport may tell of the peer too.
    if socket.is_some() && contexts.is_empty() {
        return warnings;
    }
    let common = || {
        contexts
            .iter()
            .filter_map(|it| field(it, "common_tls_context"))
    };
    let is_verified = common().any(verifies);
    let is_open = common()
        .flat_map(inline_validation)
        .any(|it| text(it, "trust_chain_verification") == Some("ACCEPT_UNTRUSTED"));
    for (number, route) in config.routes.iter().enumerate() {
        let blocks = route.blocks.iter().filter_map(|block| block.tls.as_ref());
        let (mut sni, mut peer) = (false, false);
        for tls in blocks {
            sni |= !tls.sni.is_empty();
            peer |= !tls.peer.is_empty();
        }
        let place = format!("routes[{number}].match.tls");
        let mut warn = |kind, key: &str, found: &str, why: &str, advice: &str| {
            warnings.push(Warning::new(
                kind,
                format!("{place}{key}"),
                found,
                why,
                advice,
            ));
        };
        if socket.is_none() && (sni || peer) {
            warn(
                "no_client_certificate",
                "",
                "is a condition on TLS, and the filter's listener has none",
                "no connection to it has a server name or a certificate: the condition never holds",
                "give the filter chain a `transport_socket` with a DownstreamTlsContext",
            );
        } else if peer && is_open {
            warn(
                "no_client_certificate",
                ".peer",
                "goes by certificates that nobody verifies",
                "with `trust_chain_verification: ACCEPT_UNTRUSTED` Envoy takes any certificate, \
                 also one that a client made itself for this very name",
                "leave `trust_chain_verification` out, and give the `trusted_ca` of the clients",
            );
        } else if peer && !is_verified {
            warn(
                "no_client_certificate",
                ".peer",
                "is a condition on client certificates, which the listener does not ask for",
                "without a `trusted_ca` Envoy asks for none, whatever `require_client_certificate` \
                 says: the condition never holds",
                "add `require_client_certificate: true`, and a `validation_context` with the \
                 `trusted_ca` of the clients",
            );
        }
    }
    warnings
}

/// What stands in a TLS context itself of which certificates it takes.
fn inline_validation(common: &Value) -> impl Iterator<Item = &Value> {
    const INLINE: [&str; 2] = [
        "validation_context",
        "combined_validation_context.default_validation_context",
    ];
    INLINE.into_iter().filter_map(|path| at(common, path))
}

/// Whether a TLS context has an authority of the clients, or has it from elsewhere.
fn verifies(common: &Value) -> bool {
    const ELSEWHERE: [&str; 3] = [
        "validation_context_sds_secret_config",
        "combined_validation_context.validation_context_sds_secret_config",
        "validation_context_certificate_provider_instance",
    ];
    const AUTHORITIES: [&str; 4] = [
        "trusted_ca",
        "ca_certificate_provider_instance",
        "system_root_certs",
        "custom_validator_config",
    ];
    let has = |tree: &Value, path: &str| at(tree, path).is_some();
    ELSEWHERE.iter().any(|path| has(common, path))
        || inline_validation(common).any(|it| AUTHORITIES.iter().any(|path| has(it, path)))
}

const DOWNSTREAM_TLS: &str =
    "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";

/// The filter chain that a connection manager is in. None: it is not in this file.
fn chain_of<'t>(tree: &'t Value, manager: &Value) -> Option<&'t Value> {
    match tree {
        Value::Map(map) => {
            let inner = map.iter().find_map(|(_, value)| chain_of(value, manager));
            let is_chain = field(tree, "filters").is_some_and(|filters| has(filters, manager));
            inner.or(is_chain.then_some(tree))
        }
        Value::List(list) => list.iter().find_map(|value| chain_of(value, manager)),
        _ => None,
    }
}

/// What becomes of requests while the filter's VM is dead, and whose its shared data is.
fn filter_warnings(filter: &Value) -> Vec<Warning> {
    const RELOAD: &str = "write `failure_policy: FAIL_RELOAD`";
    let mut warnings = Vec::new();
    let Some(config) = field(filter, "config") else {
        return warnings;
    };
    let name = text(config, "name").unwrap_or_default();
    let place = |key: &str| format!("the Wasm filter `{name}`: {key}");
    let is_open = matches!(field(config, "fail_open"), Some(Value::Bool(true)));
    let (found, why) = match text(config, "failure_policy") {
        Some("FAIL_RELOAD") => ("", ""),
        Some("FAIL_OPEN") => (
            "is FAIL_OPEN",
            "after a trap all requests go through undecided: nothing is refused any more",
        ),
        Some("FAIL_CLOSED") => (
            "is FAIL_CLOSED",
            "after a trap every request is answered 503, for ever",
        ),
        _ if is_open => (
            "is missing, with `fail_open`",
            "after a trap all requests go through undecided: nothing is refused any more",
        ),
        _ => (
            "is missing, which is FAIL_CLOSED",
            "after a trap every request is answered 503, for ever",
        ),
    };
    if !found.is_empty() {
        warnings.push(Warning::new(
            "failure_policy",
            place("failure_policy"),
            found,
            why,
            RELOAD,
        ));
    }
    let vm_id = field(config, "vm_config").and_then(|vm| text(vm, "vm_id"));
    if vm_id.is_none_or(str::is_empty) {
        warnings.push(Warning::new(
            "no_vm_id",
            place("vm_config.vm_id"),
            "is missing",
            "limits, health and counts belong to this name: all filters without one share them, \
             those of other vendors included",
            "write a name of its own, such as `vm_id: pointsman`",
        ));
    }
    warnings
}

/// Clusters and endpoints that the file does not have, and those that do not obey a choice of an
/// endpoint. Only where the file has all clusters.
fn cluster_warnings(tree: &Value, filter: &Value, config: &Config) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let Some(Value::List(clusters)) = at(tree, "static_resources.clusters") else {
        return warnings;
    };
    let is_whole = at(tree, "dynamic_resources.cds_config").is_none()
        && at(tree, "dynamic_resources.ads_config").is_none();
    // Another listener of the proxy is a server like any other.
    let all = at(tree, "static_resources").map_or(&[][..], |it| list(it, "listeners"));
    let with_filter = all.iter().filter(|listener| has(listener, filter));
    let listeners: Vec<String> = with_filter
        .flat_map(|listener| addresses(Some(listener), "address"))
        .collect();
    let endpoint_header = String::from_utf8_lossy(&config.upstream.endpoint_header).into_owned();
    for pool in &config.pools {
        let mut told = BTreeSet::new();
        for (number, target) in pool.targets.iter().enumerate() {
            let place = match pool.endpoints {
                true => named("pools", &pool.name),
                false => format!("{}.targets[{number}]", named("pools", &pool.name)),
            };
            let cluster = clusters
                .iter()
                .find(|cluster| text(cluster, "name") == Some(&*target.cluster));
            let Some(cluster) = cluster else {
                if is_whole && told.insert(&*target.cluster) {
                    warnings.push(Warning::new(
                        "unknown_cluster",
                        format!("{place}.cluster"),
                        format!("names `{}`, which the file does not have", target.cluster),
                        "Envoy answers 503 where the chosen cluster is unknown",
                        "add it to `static_resources.clusters`, or correct the name",
                    ));
                }
                continue;
            };
            let endpoints = addresses(field(cluster, "load_assignment"), "endpoint");
            let is_static = text(cluster, "type").is_none_or(|kind| kind == "STATIC");
            let goes_to: Vec<&str> = match &target.endpoint {
                Some(endpoint) => vec![endpoint],
                None => endpoints.iter().map(String::as_str).collect(),
            };
            if goes_to
                .iter()
                .any(|to| listeners.iter().any(|own| own == to))
            {
                warnings.push(Warning::new(
                    "own_listener",
                    place.clone(),
                    format!("leads to the proxy's own listener, by `{}`", target.name),
                    "requests and probes that come in again go there again, without an end",
                    "name a server behind the proxy",
                ));
            }
            let Some(endpoint) = &target.endpoint else {
                continue;
            };
            if told.insert(&*target.cluster) && !obeys_endpoints(cluster, &endpoint_header) {
                warnings.push(Warning::new(
                    "endpoint_not_obeyed",
                    format!("{place}.cluster"),
                    format!(
                        "is balanced by Envoy: `{}` has no override_host",
                        target.cluster
                    ),
                    format!(
                        "the endpoint that is chosen is in the header `{endpoint_header}`, and the \
                         cluster's policy does not read it"
                    ),
                    &format!(
                        "give the cluster the `load_balancing_policy` override_host with \
                         `override_host_sources: [{{ header: {endpoint_header} }}]`, as \
                         envoy-config/envoy.yaml has it at (5)"
                    ),
                ));
            }
            if is_static
                && !endpoints.is_empty()
                && !endpoints.iter().any(|own| **own == **endpoint)
            {
                warnings.push(Warning::new(
                    "unknown_endpoint",
                    format!("{place}.targets[{number}].endpoint"),
                    format!("is no endpoint of the cluster `{}`", target.cluster),
                    "requests for it go to an endpoint of Envoy's own choice",
                    "add it to the cluster's `load_assignment`, or correct it",
                ));
            }
        }
    }
    warnings.extend(engines::warnings(clusters, is_whole, config));
    warnings
}

/// Whether a cluster takes the endpoint that this header names.
fn obeys_endpoints(cluster: &Value, header: &str) -> bool {
    let Some(policies) = at(cluster, "load_balancing_policy.policies") else {
        return false;
    };
    fn any(tree: &Value, header: &str) -> bool {
        match tree {
            Value::Map(map) => map.iter().any(|(key, value)| match (&**key, value) {
                ("override_host_sources", Value::List(sources)) => sources.iter().any(|source| {
                    text(source, "header").is_some_and(|it| it.eq_ignore_ascii_case(header))
                }),
                _ => any(value, header),
            }),
            Value::List(list) => list.iter().any(|value| any(value, header)),
            _ => false,
        }
    }
    any(policies, header)
}

/// The `ip:port` of every `socket_address` under this key, as Envoy writes them.
fn addresses(tree: Option<&Value>, key: &str) -> Vec<String> {
    fn walk(tree: &Value, under: bool, key: &str, found: &mut Vec<String>) {
        match tree {
            Value::Map(map) => {
                if under && let Some(socket) = field(tree, "socket_address") {
                    let port = match field(socket, "port_value") {
                        Some(Value::Number(port)) => *port as u64,
                        _ => 0,
                    };
                    if let Some(address) = text(socket, "address") {
                        let address = match address.contains(':') {
                            true => format!("[{address}]:{port}"),
                            false => format!("{address}:{port}"),
                        };
                        found.push(pointsman_core::config::syntax::endpoint(&address));
                    }
                }
                for (name, value) in map {
                    walk(value, under || name == key, key, found);
                }
            }
            Value::List(list) => list.iter().for_each(|value| walk(value, under, key, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    if let Some(tree) = tree {
        walk(tree, false, key, &mut found);
    }
    found
}

/// Gauges that Envoy is told to leave out.
fn stats_warning(tree: &Value, config: &Config) -> Option<Warning> {
    let matcher = at(tree, "stats_config.stats_matcher")?;
    let gauges = config.pools.iter().flat_map(|pool| {
        let targets = pool.targets.iter();
        targets.map(|target| format!("wasmcustom.{}.in_flight", pool.target_metric(target)))
    });
    let matches = |patterns: &Value, name: &str| {
        list(patterns, "patterns")
            .iter()
            .any(|pattern| is_match(pattern, name))
    };
    let is_rejected = |name: &String| {
        if matches!(field(matcher, "reject_all"), Some(Value::Bool(true))) {
            return true;
        }
        if let Some(excluded) = field(matcher, "exclusion_list") {
            return matches(excluded, name);
        }
        match field(matcher, "inclusion_list") {
            Some(included) => !matches(included, name),
            None => false,
        }
    };
    let rejected = gauges.into_iter().find(is_rejected)?;
    Some(Warning::new(
        "gauges_rejected",
        "stats_config.stats_matcher".to_owned(),
        format!("leaves out `{rejected}`"),
        "workers tell each other of requests in flight and of health by gauges: without them each \
         balances by its own requests alone",
        "let through what begins with `wasmcustom.pointsman`",
    ))
}

/// Envoy's `StringMatcher`.
fn is_match(pattern: &Value, name: &str) -> bool {
    let lower = matches!(field(pattern, "ignore_case"), Some(Value::Bool(true)));
    let fold = |text: &str| match lower {
        true => text.to_ascii_lowercase(),
        false => text.to_owned(),
    };
    let name = fold(name);
    let of = |key: &str| text(pattern, key).map(fold);
    if let Some(regex) = field(pattern, "safe_regex").and_then(|regex| text(regex, "regex")) {
        return Regex::new(regex, lower).is_ok_and(|regex| regex.matches_whole(name.as_bytes()));
    }
    of("exact").is_some_and(|exact| name == exact)
        || of("prefix").is_some_and(|prefix| name.starts_with(&prefix))
        || of("suffix").is_some_and(|suffix| name.ends_with(&suffix))
        || of("contains").is_some_and(|part| name.contains(&part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection_manager::find;
    use crate::yaml::{Reading, documents};
    use std::path::Path;

    fn shipped(file: &str) -> String {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        std::fs::read_to_string(root.join("envoy-config").join(file)).unwrap()
    }

    /// `place kind` of the shipped edge file with each of these texts in place of another.
    fn with(file: &str, changes: &[(&str, &str)]) -> Vec<String> {
        let mut text = shipped(file);
        for (from, to) in changes {
            assert!(text.contains(from), "{from}");
            text = text.replacen(from, to, 1);
        }
        let tree = documents(&text, Reading::Envoy).unwrap().trees.remove(0);
        warnings(&tree)
            .iter()
            .map(|warning| format!("{} {}", warning.place, warning.kind))
            .collect()
    }

    const REMOTE: &str = "use_remote_address: true";
    const PROXIES_1: &str = "use_remote_address: true\n                xff_num_trusted_hops: 1";
    const NO_APPEND: &str = "use_remote_address: true\n                skip_xff_append: true";
    const HOPS_1: &str = "client_ip: { header: x-forwarded-for, trusted_hops: 1 }";
    const HOPS_2: &str = "client_ip: { header: x-forwarded-for, trusted_hops: 2 }";
    const OTHER: &str = "client_ip: { header: x-real-ip, trusted_hops: 1 }";

    const COPIES: &str = "request_mirror_policies: [{ cluster_header: x-pointsman-mirror }]";
    const GOLD: &str = "pool: gold\n";
    const GOLD_COPIED: &str =
        "pool: gold\n                                mirror: { pool: beta, percent: 5 }\n";

    const LOGIN: &str = "burst: 3, key: [client_ip] }";

    fn engine(cluster: &str) -> String {
        let global = format!("{{ cluster: {cluster}, domain: d, mode: ask }}");
        format!("burst: 3, key: [client_ip], global: {global} }}")
    }

    fn http2(cluster: &str) -> String {
        let options = "{ explicit_http_config: { http2_protocol_options: {} } }";
        let options = format!("typed_extension_protocol_options: {{ {HTTP_OPTIONS}: {options} }}");
        format!("- name: {cluster}\n      {options}\n      type")
    }

    const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

    #[test]
    fn metrics_without_labels_are_noted_of_a_bootstrap() {
        let kinds = |text: &str| -> Vec<&str> {
            let tree = documents(text, Reading::Envoy).unwrap().trees.remove(0);
            notes(&tree).iter().map(|note| note.kind).collect()
        };
        let read = |file: &str| {
            std::fs::read_to_string(format!(
                "{}/../envoy-config/{file}",
                env!("CARGO_MANIFEST_DIR")
            ))
            .unwrap()
        };
        let edge = read("envoy.yaml");
        assert!(kinds(&edge).is_empty());
        let without = edge.replace("stats_tags:", "histogram_bucket_settings:");
        assert_eq!(kinds(&without), ["no_labels"]);
        assert_eq!(kinds(&read("canary.yaml")), ["no_labels"]);
        // What comes by LDS or ECDS has no say in this.
        assert!(kinds(&read("ecds.yaml")).is_empty());
        let bare = "static_resources: { listeners: [{ name: pointsman }] }";
        assert!(kinds(bare).is_empty());
    }

    #[test]
    fn what_the_proxy_s_file_lacks_is_found_and_nothing_in_the_shipped_ones() {
        for file in [
            "canary.yaml",
            "envoy.yaml",
            "edge.yaml",
            "two-tiers/l7.yaml",
            "sidecar.yaml",
            "sidecar-mtls/inbound.yaml",
            "sidecar-mtls/outbound.yaml",
        ] {
            assert_eq!(with(file, &[]), [""; 0], "{file}");
        }
        let manager = |key: &str| format!("{MANAGER}: {key}");
        for (changes, expected) in [
            (
                &[("normalize_path: true", "")][..],
                &[manager("normalize_path path_as_it_came")][..],
            ),
            (
                &[("normalize_path: true", "normalize_path: false")],
                &[manager("normalize_path path_as_it_came")],
            ),
            (
                &[("merge_slashes: true", "")],
                &[manager("merge_slashes path_as_it_came")],
            ),
            (
                &[("UNESCAPE_AND_REDIRECT", "KEEP_UNCHANGED")],
                &[manager("path_with_escaped_slashes_action path_as_it_came")],
            ),
            (&[("UNESCAPE_AND_REDIRECT", "REJECT_REQUEST")], &[]),
            (
                &[("max_request_headers_kb: 16", "")],
                &[manager("max_request_headers_kb long_headers")],
            ),
            (
                &[("max_request_headers_kb: 16", "max_request_headers_kb: 17")],
                &[manager("max_request_headers_kb long_headers")],
            ),
            (
                &[("max_request_headers_kb: 16", "max_request_headers_kb: 8")],
                &[],
            ),
            (&[("UNESCAPE_AND_REDIRECT", "UNESCAPE_AND_FORWARD")], &[]),
            // Behind N proxies Envoy appends the last one, so the client is number N + 1.
            (
                &[(REMOTE, PROXIES_1)],
                &[manager("xff_num_trusted_hops trusted_hops")],
            ),
            (&[(REMOTE, PROXIES_1), (HOPS_1, HOPS_2)], &[]),
            (&[(REMOTE, PROXIES_1), (HOPS_1, "")], &[]),
            (
                &[(HOPS_1, HOPS_2)],
                &[manager("xff_num_trusted_hops trusted_hops")],
            ),
            // Without it, it appends nothing, and takes the last one where it is not told.
            (&[(REMOTE, ""), (HOPS_1, HOPS_2)], &[]),
            (
                &[(REMOTE, "xff_num_trusted_hops: 1"), (HOPS_1, HOPS_2)],
                &[],
            ),
            (
                &[(REMOTE, "xff_num_trusted_hops: 2"), (HOPS_1, HOPS_2)],
                &[manager("xff_num_trusted_hops trusted_hops")],
            ),
            // Nothing is appended: with no proxy told, all of the header is the client's.
            (
                &[(REMOTE, NO_APPEND)],
                &[manager("xff_num_trusted_hops trusted_hops")],
            ),
            (&[(REMOTE, NO_APPEND), (HOPS_1, OTHER)], &[]),
            (&[(REMOTE, NO_APPEND), (HOPS_1, "")], &[]),
            (
                &[("- remove: x-pointsman-cluster", "- remove: x-other")],
                &[manager(
                    "early_header_mutation_extensions upstream_header_kept",
                )],
            ),
            (
                &[(
                    "- remove: x-pointsman-cluster",
                    "- remove: X-Pointsman-Cluster",
                )],
                &[],
            ),
            (
                &[("- remove: x-pointsman-mirror", "- remove: x-other")],
                &[manager(
                    "early_header_mutation_extensions upstream_header_kept",
                )],
            ),
            // Without a policy by it the header is any other header.
            (
                &[
                    ("- remove: x-pointsman-mirror", "- remove: x-other"),
                    (COPIES, ""),
                ],
                &[],
            ),
            (&[(GOLD, GOLD_COPIED)], &[]),
            (
                &[(GOLD, GOLD_COPIED), (COPIES, "")],
                &[manager("route_config mirror_not_obeyed")],
            ),
            (
                &[
                    (GOLD, GOLD_COPIED),
                    (COPIES, "request_mirror_policies: [{ cluster: beta }]"),
                ],
                &[manager("route_config mirror_not_obeyed")],
            ),
            (
                &[(
                    "early_header_mutation_extensions",
                    "late_header_mutation_extensions",
                )],
                &[
                    manager("early_header_mutation_extensions upstream_header_kept"),
                    manager("early_header_mutation_extensions upstream_header_kept"),
                    manager("early_header_mutation_extensions upstream_header_kept"),
                ],
            ),
            (
                &[("failure_policy: FAIL_RELOAD", "failure_policy: FAIL_OPEN")],
                &["the Wasm filter `pointsman`: failure_policy failure_policy".to_owned()],
            ),
            (
                &[("failure_policy: FAIL_RELOAD", "")],
                &["the Wasm filter `pointsman`: failure_policy failure_policy".to_owned()],
            ),
            (
                &[("failure_policy: FAIL_RELOAD", "fail_open: true")],
                &["the Wasm filter `pointsman`: failure_policy failure_policy".to_owned()],
            ),
            (
                &[("vm_id: pointsman", "")],
                &["the Wasm filter `pointsman`: vm_config.vm_id no_vm_id".to_owned()],
            ),
            (&[("vm_id: pointsman", "vm_id: other")], &[]),
            (
                &[
                    ("cluster_header: x-pointsman-cluster", "cluster: beta"),
                    ("cluster_header: x-pointsman-cluster", "cluster: beta"),
                    ("cluster_header: x-pointsman-cluster", "cluster: beta"),
                    ("cluster_header: x-pointsman-cluster", "cluster: beta"),
                ],
                &[manager("route_config choice_not_obeyed")],
            ),
            (
                &[("cluster_header: x-pointsman-cluster", "cluster: beta")],
                &[],
            ),
            (
                &[(
                    "                        # What can be asked twice (RFC",
                    "                        - { match: { prefix: / }, route: { cluster: eu } }\n                        # What can be asked twice (RFC",
                )],
                &[manager("route_config choice_not_obeyed")],
            ),
            (
                &[(
                    "                        # What can be asked twice (RFC",
                    "                        - { match: { prefix: /own }, route: { cluster: eu } }\n                        # What can be asked twice (RFC",
                )],
                &[],
            ),
            (
                &[(
                    "- name: eu\n      type: STATIC",
                    "- name: us\n      type: STATIC",
                )],
                &["pools.eu.targets[0].cluster unknown_cluster".to_owned()],
            ),
            (
                &[
                    (
                        "- name: eu\n      type: STATIC",
                        "- name: us\n      type: STATIC",
                    ),
                    (
                        "static_resources:",
                        "dynamic_resources: { cds_config: {} }\nstatic_resources:",
                    ),
                ],
                &[],
            ),
            (
                &[("[{ header: x-pointsman-endpoint }]", "[{ header: x-else }]")],
                &["pools.api.cluster endpoint_not_obeyed".to_owned()],
            ),
            (
                &[("port_value: 9102 }", "port_value: 9112 }")],
                &["pools.api.targets[1].endpoint unknown_endpoint".to_owned()],
            ),
            (
                &[("port_value: 9005", "port_value: 10000")],
                &["pools.eu.targets[0] own_listener".to_owned()],
            ),
            (
                &[(
                    "stats_config:",
                    "stats_config:\n  stats_matcher: { reject_all: true }",
                )],
                &["stats_config.stats_matcher gauges_rejected".to_owned()],
            ),
            (
                &[(
                    "stats_config:",
                    "stats_config:\n  stats_matcher: { inclusion_list: { patterns: [{ prefix: cluster. }] } }",
                )],
                &["stats_config.stats_matcher gauges_rejected".to_owned()],
            ),
            (
                &[(
                    "stats_config:",
                    "stats_config:\n  stats_matcher: { inclusion_list: { patterns: [{ prefix: wasmcustom. }] } }",
                )],
                &[],
            ),
            (
                &[(
                    "stats_config:",
                    "stats_config:\n  stats_matcher: { exclusion_list: { patterns: [{ safe_regex: { regex: '.*\\.in_flight' } }] } }",
                )],
                &["stats_config.stats_matcher gauges_rejected".to_owned()],
            ),
            (
                &[(LOGIN, &engine("rls"))],
                &["rate_limits.login.global.cluster unknown_cluster".to_owned()],
            ),
            (
                &[(LOGIN, &engine("eu"))],
                &["rate_limits.login.global.cluster engine_without_http2".to_owned()],
            ),
            (
                &[
                    (LOGIN, &engine("eu")),
                    ("- name: eu\n      type", &http2("eu")),
                ],
                &[],
            ),
        ] {
            assert_eq!(with("envoy.yaml", changes), expected, "{changes:?}");
        }
        // Another listener is a server like any other, and that of the filter is a circle.
        assert_eq!(
            with(
                "canary.yaml",
                &[(
                    "port_value: 9001 } }\n      filter",
                    "port_value: 9009 } }\n      filter"
                )]
            ),
            [""; 0]
        );
        assert_eq!(
            with("canary.yaml", &[("port_value: 10000", "port_value: 9001")]),
            ["pools.web.targets[0] own_listener"]
        );
        // In a sidecar that compares no path nothing needs to be normalised.
        assert_eq!(
            with("sidecar.yaml", &[("normalize_path: true", "")]),
            [""; 0]
        );
    }

    /// Conditions on who connects, where the listener does not ask, or does not verify.
    #[test]
    fn conditions_on_certificates_that_nobody_asks_for_are_found() {
        const FILE: &str = "sidecar-mtls/inbound.yaml";
        const REQUIRED: (&str, &str) = (
            "require_client_certificate: true",
            "require_client_certificate: false",
        );
        const UNVERIFIED: (&str, &str) = ("validation_context_sds_secret_config:", "other:");
        const PLAIN: (&str, &str) = ("          transport_socket:\n", "          other:\n");
        let found = |changes: &[(&str, &str)]| -> Vec<(String, String)> {
            let mut text = shipped(FILE);
            for (from, to) in changes {
                assert!(text.contains(from), "{from}");
                text = text.replacen(from, to, 1);
            }
            let tree = documents(&text, Reading::Envoy).unwrap().trees.remove(0);
            let warnings = warnings(&tree).into_iter();
            warnings.map(|it| (it.place, it.found)).collect()
        };
        let place = |found: &[(String, String)], end: &str| {
            assert!(!found.is_empty());
            assert!(
                found.iter().all(|(place, _)| place.ends_with(end)),
                "{found:?}"
            );
        };
        assert_eq!(found(&[]), []);
        // A client may show one, and then it is verified.
        assert_eq!(found(&[REQUIRED]), []);
        // Without an authority Envoy asks for none, also where one is required.
        const EMPTY: (&str, &str) = (
            "                tls_certificate_sds",
            "                validation_context: {}\n                tls_certificate_sds",
        );
        const CA: (&str, &str) = (
            "validation_context: {}",
            "validation_context: { trusted_ca: { filename: a.crt } }",
        );
        let asks_not = [
            &[UNVERIFIED][..],
            &[REQUIRED, UNVERIFIED],
            &[UNVERIFIED, EMPTY],
        ];
        for changes in asks_not {
            let nobody = found(changes);
            place(&nobody, ".match.tls.peer");
            assert!(nobody[0].1.contains("does not ask"), "{nobody:?}");
        }
        assert_eq!(found(&[UNVERIFIED, EMPTY, CA]), []);
        // It takes any.
        const OPEN: (&str, &str) = (
            "validation_context: {",
            "validation_context: { trust_chain_verification: ACCEPT_UNTRUSTED, ",
        );
        for changes in [&[UNVERIFIED, EMPTY, CA, OPEN][..], &[EMPTY, OPEN]] {
            let anybody = found(changes);
            place(&anybody, ".match.tls.peer");
            assert!(anybody[0].1.contains("nobody verifies"), "{anybody:?}");
        }
        let plain = found(&[PLAIN]);
        place(&plain, ".match.tls");
        // Without such a condition the listener may be as it likes: that one has no TLS.
        assert_eq!(with("sidecar.yaml", &[]), [""; 0]);
    }

    #[test]
    fn a_filter_behind_the_router_is_found() {
        let text = shipped("envoy.yaml");
        let tree = documents(&text, Reading::Envoy).unwrap().trees.remove(0);
        let mut manager = find(&tree).unwrap().clone();
        let told = |manager: &Value| {
            let mut filters = Vec::new();
            collect(manager, WASM, &mut filters);
            order_warnings(manager, filters[0]).map(|warning| warning.kind)
        };
        assert_eq!(told(&manager), None);
        let Value::Map(map) = &mut manager else {
            panic!()
        };
        for (key, value) in map {
            if let ("http_filters", Value::List(filters)) = (&**key, value) {
                filters.reverse();
            }
        }
        assert_eq!(told(&manager), Some("not_before_router"));
    }
}

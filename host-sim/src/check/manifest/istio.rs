//! Istio's resources around a configuration: a `WasmPlugin` or a `TrafficExtension`, with the
//! VirtualServices, DestinationRules and EnvoyFilters of the file.

use super::Manifest;
use crate::check::proxy_file::{at, list, text};
use crate::check::variables::{self, Variables};
use crate::check::{Note, Warning};
use crate::configuration::field;
use crate::configuration::manifest::Resource;
use pointsman_core::config::value::Value;

/// Every warning of one configuration.
pub(super) fn warnings(manifest: &Manifest<'_>) -> Vec<Warning> {
    let mut warnings = Vec::new();
    warnings.extend(kind_warning(manifest));
    warnings.extend(direction_warning(manifest));
    warnings.extend(failure_warning(manifest));
    warnings.extend(no_route_warning(manifest));
    let filter = manifest.held.filter;
    let at = |key: &str| format!("{}.{key}", manifest.held.at);
    warnings.extend(manifest.module_warning(
        (&at("url"), text(filter, "url")),
        (&at("sha256"), field(filter, "sha256")),
    ));
    warnings.extend(variables::told(&variables(manifest), manifest.held.config));
    warnings.extend(priority_warning(manifest));
    warnings.extend(route_warnings(manifest));
    warnings.extend(patch_warnings(manifest));
    warnings.extend(cluster_warnings(manifest));
    warnings
}

/// What is not in this file.
pub(super) fn notes(manifest: &Manifest<'_>) -> Vec<Note> {
    let mut notes = Vec::new();
    let mut note = |kind, place, found: String| notes.push(Note { place, kind, found });
    let obeys = !header_routes(manifest).is_empty() || has_patches(manifest);
    if !manifest.config.pools.is_empty() && !obeys {
        note(
            "routes_elsewhere",
            manifest.held.resource.place(),
            format!(
                "no route of this file reads `{}`: whether the choice is obeyed is not known here",
                manifest.cluster_header()
            ),
        );
    }
    let has_priority = manifest.spec().and_then(|spec| field(spec, "priority"));
    if has_priority.is_none() && priority_warning(manifest).is_none() {
        note(
            "no_priority",
            manifest.place("spec"),
            "has no `priority`: it comes after all plugins of its phase that have one, those with \
             negative ones included"
                .to_owned(),
        );
    }
    notes
}

/// Whether the proxies that it is for are not sidecars: the words that say so.
fn is_gateway(manifest: &Manifest<'_>) -> bool {
    let Some(spec) = manifest.spec() else {
        return false;
    };
    let targets = list(spec, "targetRefs").iter();
    let mut targets = targets.chain(field(spec, "targetRef"));
    if targets.any(|_| true) {
        return true;
    }
    let Some(Value::Map(labels)) = at(spec, "selector.matchLabels") else {
        return false;
    };
    labels.iter().any(|(key, value)| {
        let value = match value {
            Value::Text(value) => value,
            _ => "",
        };
        key == "gateway.networking.k8s.io/gateway-name" || value.contains("gateway")
    })
}

/// What the plugin's VM gets of variables.
fn variables(manifest: &Manifest<'_>) -> Variables {
    let mut variables = Variables {
        key: "`vmConfig.env`",
        listing: "vmConfig: { env: [{ name: {name}, valueFrom: HOST }] }",
        ..Variables::default()
    };
    let settings = field(manifest.held.filter, "vmConfig");
    let entries = settings.map_or(&[][..], |settings| list(settings, "env"));
    for (number, entry) in entries.iter().enumerate() {
        let name = text(entry, "name").unwrap_or_default().to_owned();
        let value = text(entry, "value").unwrap_or_default();
        match text(entry, "valueFrom") {
            Some("HOST") => variables.passed.push(name),
            // INLINE, which is the default. An empty value is as good as none.
            _ if !value.is_empty() => {
                let place = manifest.at_filter(&format!("vmConfig.env[{number}].value"));
                variables.written.push((name, place));
            }
            _ => {}
        }
    }
    variables
}

fn kind_warning(manifest: &Manifest<'_>) -> Option<Warning> {
    let kind = text(manifest.held.filter, "type")?;
    (kind == "NETWORK").then(|| {
        Warning::new(
            "not_http",
            manifest.at_filter("type"),
            "is NETWORK",
            "a filter of connections never sees a request",
            "leave it out, or write HTTP",
        )
    })
}

/// On which side of the application it is.
fn direction_warning(manifest: &Manifest<'_>) -> Option<Warning> {
    let spec = manifest.spec()?;
    let selectors = list(spec, "match");
    let is = |wanted: &'static [&'static str]| {
        move |selector: &Value| {
            wanted.contains(&text(selector, "mode").unwrap_or("CLIENT_AND_SERVER"))
        }
    };
    let is_server_only = !selectors.is_empty() && selectors.iter().all(is(&["SERVER"]));
    if is_server_only && !manifest.config.pools.is_empty() && !is_gateway(manifest) {
        return Some(Warning::new(
            "choice_not_obeyed",
            manifest.place("spec.match"),
            "is SERVER only",
            "what comes in goes to the application itself: no route by a header is there",
            "write `match: [{ mode: CLIENT }]` in the sidecars of those who call",
        ));
    }
    let other = ["CLIENT_AND_SERVER", "UNDEFINED", "SERVER"];
    let is_inbound = selectors.is_empty()
        || !is_server_only
            && selectors
                .iter()
                .any(|it| other.contains(&text(it, "mode").unwrap_or("CLIENT_AND_SERVER")));
    (is_inbound && !is_gateway(manifest)).then(|| {
        let found = match selectors.is_empty() {
            true => "is missing, which is CLIENT_AND_SERVER",
            false => "has a `mode` other than CLIENT",
        };
        Warning::new(
            "inbound_too",
            manifest.place("spec.match"),
            found,
            "the filter is before the application too: what comes in is counted, limited and \
             decided as if the application sent it",
            "write `match: [{ mode: CLIENT }]`",
        )
    })
}

fn failure_warning(manifest: &Manifest<'_>) -> Option<Warning> {
    let found = match text(manifest.held.filter, "failStrategy") {
        Some("FAIL_RELOAD") => return None,
        Some("FAIL_OPEN") => "is FAIL_OPEN",
        Some(_) => "is FAIL_CLOSE",
        None => "is missing, which is FAIL_CLOSE",
    };
    let why = match found {
        "is FAIL_OPEN" => {
            "after a trap all requests go through undecided: nothing is refused any more"
        }
        _ => "after a trap every request is answered 503, for ever",
    };
    Some(Warning::new(
        "failure_policy",
        manifest.at_filter("failStrategy"),
        found,
        why,
        "write `failStrategy: FAIL_RELOAD`, which Istio has from 1.27 on",
    ))
}

/// What else a sidecar's application calls.
fn no_route_warning(manifest: &Manifest<'_>) -> Option<Warning> {
    let config = manifest.held.config;
    let is_given = field(config, "no_route").is_some();
    let is_catch_all = |route: &Value| match field(route, "match") {
        None => true,
        Some(Value::Map(conditions)) => conditions.is_empty(),
        Some(_) => false,
    };
    let takes_all = list(config, "routes").iter().any(is_catch_all);
    (!is_given && !takes_all && !is_gateway(manifest)).then(|| {
        Warning::new(
            "answers_the_rest",
            "no_route".to_owned(),
            "is missing, which answers 404",
            "a sidecar's filter sees all that the application calls: what no route names is \
             answered 404 instead of sent",
            "write `no_route: { pass: true }`",
        )
    })
}

/// Its place among other plugins of the file.
fn priority_warning(manifest: &Manifest<'_>) -> Option<Warning> {
    let spec = manifest.spec()?;
    if field(spec, "priority").is_some() {
        return None;
    }
    let own = manifest.held.resource;
    let phase = |spec: &Value| text(spec, "phase").map(str::to_owned);
    let other = ["WasmPlugin", "TrafficExtension"]
        .into_iter()
        .flat_map(|kind| manifest.of_kind(kind).collect::<Vec<_>>())
        .find(|other| {
            let theirs = field(other.0, "spec");
            let is_same = theirs.is_some_and(|theirs| {
                phase(theirs) == phase(spec)
                    && field(theirs, "selector") == field(spec, "selector")
                    && field(theirs, "targetRefs") == field(spec, "targetRefs")
            });
            !std::ptr::eq(other.0, own.0) && other.namespace() == own.namespace() && is_same
        })?;
    Some(Warning::new(
        "no_priority",
        manifest.place("spec.priority"),
        format!("is missing, beside {}", other.place()),
        "without one it comes after all plugins of its phase that have one, and the order of those \
         without is that of their ages",
        "write a `priority`: the higher is first",
    ))
}

/// A route of a VirtualService by the header's value.
struct HeaderRoute<'t> {
    service: Resource<'t>,
    /// `spec.http[0]`
    place: String,
    value: &'t str,
    route: &'t Value,
    /// The place of a route before it that takes every request.
    behind: Option<String>,
}

fn header_routes<'t>(manifest: &Manifest<'t>) -> Vec<HeaderRoute<'t>> {
    let header = manifest.cluster_header();
    let mut found = Vec::new();
    for service in manifest.of_kind("VirtualService") {
        let mut behind: Option<String> = None;
        let routes = at(service.0, "spec").map_or(&[][..], |spec| list(spec, "http"));
        for (number, route) in routes.iter().enumerate() {
            let place = format!("spec.http[{number}]");
            let blocks = list(route, "match");
            for block in blocks {
                let Some(Value::Map(headers)) = field(block, "headers") else {
                    continue;
                };
                let of_ours = headers
                    .iter()
                    .filter(|(name, _)| name.eq_ignore_ascii_case(&header));
                found.extend(of_ours.filter_map(|(_, condition)| {
                    Some(HeaderRoute {
                        service,
                        place: place.clone(),
                        value: text(condition, "exact")?,
                        route,
                        behind: behind.clone(),
                    })
                }));
            }
            if blocks.is_empty() && behind.is_none() {
                behind = Some(place);
            }
        }
    }
    found
}

/// Whether what is chosen goes where it says.
fn route_warnings(manifest: &Manifest<'_>) -> Vec<Warning> {
    let routes = header_routes(manifest);
    let mut warnings = Vec::new();
    for route in &routes {
        let place = |of: &str| format!("{}: {}{of}", route.service.place(), route.place);
        if let Some(before) = &route.behind {
            warnings.push(Warning::new(
                "choice_not_obeyed",
                place(""),
                format!("stands behind {before}, which takes every request"),
                "a VirtualService is read in order: this route is never taken",
                "put those by the header first, and the one without `match` last",
            ));
        }
        if let Some(found) = other_destination(route, manifest) {
            warnings.push(Warning::new(
                "choice_not_obeyed",
                place(".route"),
                found,
                format!(
                    "the filter chose `{}`, and requests go elsewhere",
                    route.value
                ),
                "give it one destination: the host, the subset and the port that the value names",
            ));
        }
    }
    // By a patch every cluster is obeyed.
    if routes.is_empty() || has_patches(manifest) {
        return warnings;
    }
    for (place, cluster, _) in manifest.clusters() {
        if !routes.iter().any(|route| route.value == cluster) {
            warnings.push(Warning::new(
                "choice_not_obeyed",
                place,
                format!("is `{cluster}`, and no VirtualService of the file has a route for it"),
                format!(
                    "requests for it go by the route for all others: `{}` has a value that no \
                     route names",
                    manifest.cluster_header()
                ),
                "add a route whose `match` has that header with this value",
            ));
        }
    }
    warnings
}

/// Where a route goes to that is not the cluster of its value, `outbound|PORT|SUBSET|HOST`.
fn other_destination(route: &HeaderRoute<'_>, manifest: &Manifest<'_>) -> Option<String> {
    let chosen = manifest.clusters().into_iter();
    let is_chosen = chosen
        .into_iter()
        .any(|(_, cluster, _)| cluster == route.value);
    let mut parts = route.value.split('|');
    let (Some("outbound"), Some(port), Some(subset), Some(host)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    if !is_chosen {
        return None;
    }
    let destinations = list(route.route, "route");
    let [destination] = destinations else {
        let count = destinations.len();
        return (count > 1).then(|| format!("has {count} destinations"));
    };
    let destination = field(destination, "destination")?;
    let theirs = text(destination, "host").unwrap_or_default();
    let is_short = !theirs.contains('.');
    let is_host = theirs == host || is_short && host.starts_with(&format!("{theirs}."));
    if !is_host {
        return Some(format!("goes to the host `{theirs}`"));
    }
    let of_subset = text(destination, "subset").unwrap_or_default();
    if of_subset != subset {
        return Some(format!("goes to the subset `{of_subset}`"));
    }
    match at(destination, "port.number") {
        Some(Value::Number(number)) if number.to_string() != port => {
            Some(format!("goes to the port {number}"))
        }
        _ => None,
    }
}

/// Whether the file patches proxies: what is not said by resources may be said there.
fn has_patches(manifest: &Manifest<'_>) -> bool {
    manifest.of_kind("EnvoyFilter").next().is_some()
}

/// What the patches of the file do not say.
fn patch_warnings(manifest: &Manifest<'_>) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let header = manifest.cluster_header();
    let filters: Vec<_> = manifest.of_kind("EnvoyFilter").collect();
    let mut read = Vec::new();
    filters
        .iter()
        .for_each(|filter| values(filter.0, "cluster_header", &mut read));
    let is = |name: &'_ str| {
        let name = name.to_owned();
        move |value: &&str| value.eq_ignore_ascii_case(&name)
    };
    let mirrors = manifest.mirror_header();
    let others: Vec<_> = read
        .iter()
        .copied()
        .filter(|it| !is(&mirrors)(it))
        .collect();
    if let (Some(filter), Some(other)) = (filters.first(), others.first())
        && !others.iter().any(is(&header))
        && header_routes(manifest).is_empty()
    {
        warnings.push(Warning::new(
            "choice_not_obeyed",
            filter.place(),
            format!("has a route by the header `{other}`"),
            format!("the filter's choice is in `{header}`, which no route reads"),
            &format!("write `cluster_header: {header}`"),
        ));
    }
    let is_whole = !filters.is_empty() || !header_routes(manifest).is_empty();
    if let Some((place, name)) = manifest.mirroring().filter(|_| is_whole)
        && !read.iter().any(is(&mirrors))
    {
        warnings.push(Warning::new(
            "mirror_not_obeyed",
            place,
            format!("has no mirror policy by the header `{mirrors}` in this file"),
            format!(
                "the copies that the route `{name}` asks for are made by the proxy's route, and \
                 only an EnvoyFilter can say so"
            ),
            "add the patch `pointsman-mirror` of envoy-config/istio/sidecar-envoy-filter.yaml",
        ));
    }
    if let Some(pool) = manifest.endpoint_pool().filter(|_| is_whole) {
        let (mut sources, endpoint) = (Vec::new(), manifest.endpoint_header());
        filters
            .iter()
            .for_each(|filter| values(filter.0, "header", &mut sources));
        if !sources.iter().any(is(&endpoint)) {
            warnings.push(crate::check::endpoint_not_obeyed(
                pool,
                &endpoint,
                "add the patch of the cluster of envoy-config/istio/gateway-envoy-filter.yaml",
            ));
        }
    }
    warnings
}

/// The texts at every such key.
fn values<'t>(tree: &'t Value, key: &str, found: &mut Vec<&'t str>) {
    match tree {
        Value::Map(map) => map.iter().for_each(|(name, value)| match value {
            Value::Text(text) if name == key => found.push(text),
            _ => values(value, key, found),
        }),
        Value::List(list) => list.iter().for_each(|value| values(value, key, found)),
        _ => {}
    }
}

/// Clusters that Istio does not make.
fn cluster_warnings(manifest: &Manifest<'_>) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let adds_clusters = manifest.of_kind("EnvoyFilter").any(|filter| {
        let patches = at(filter.0, "spec").map_or(&[][..], |spec| list(spec, "configPatches"));
        let is_new = |patch: &Value| {
            text(patch, "applyTo") == Some("CLUSTER")
                && at(patch, "patch.operation") == Some(&Value::Text("ADD".to_owned()))
        };
        patches.iter().any(is_new)
    });
    for (place, cluster, pool) in manifest.clusters() {
        let parts: Vec<_> = cluster.split('|').collect();
        let [_, _, subset, host] = parts[..] else {
            if pool.health.active.is_some() && !adds_clusters {
                warnings.push(Warning::new(
                    "unknown_cluster",
                    place,
                    format!("is `{cluster}`, which is no name that Istio gives a cluster"),
                    "probes are sent to the cluster of this name, and there is none: every target \
                     becomes unhealthy",
                    "write `outbound|PORT|SUBSET|HOST`",
                ));
            }
            continue;
        };
        let rules = manifest.of_kind("DestinationRule");
        let of_host: Vec<_> = rules
            .filter(|rule| {
                let own = at(rule.0, "spec.host");
                matches!(own, Some(Value::Text(own)) if own == host || !own.contains('.') && host.starts_with(&format!("{own}.")))
            })
            .collect();
        let has = of_host.iter().any(|rule| {
            let subsets = at(rule.0, "spec").map_or(&[][..], |spec| list(spec, "subsets"));
            subsets.iter().any(|it| text(it, "name") == Some(subset))
        });
        if let Some(rule) = of_host.first().filter(|_| !subset.is_empty() && !has) {
            warnings.push(Warning::new(
                "unknown_cluster",
                place,
                format!(
                    "has the subset `{subset}`, which {} does not have",
                    rule.place()
                ),
                "Istio makes no such cluster, and requests for it are answered 503",
                "add the subset, or correct the name",
            ));
        }
    }
    warnings
}

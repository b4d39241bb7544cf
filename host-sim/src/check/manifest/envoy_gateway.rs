//! Envoy Gateway's resources around a configuration: an `EnvoyExtensionPolicy`, with the HTTPRoutes
//! and the policies of the file.

use super::Manifest;
use crate::check::proxy_file::{at, list, text};
use crate::check::variables::{self, Variables, texts};
use crate::check::{Note, Warning};
use crate::configuration::field;
use crate::configuration::manifest::Resource;
use pointsman_core::config::value::Value;

/// Every warning of one configuration.
pub(super) fn warnings(manifest: &Manifest<'_>) -> Vec<Warning> {
    let mut warnings = Vec::new();
    warnings.extend(failure_warning(manifest));
    let code = field(manifest.held.filter, "code");
    let code_at = |key: &str| format!("{}.code.{key}", manifest.held.at);
    for kind in ["image", "http"] {
        let of = code.and_then(|code| field(code, kind));
        warnings.extend(manifest.module_warning(
            (
                &code_at(&format!("{kind}.url")),
                of.and_then(|it| text(it, "url")),
            ),
            (
                &code_at(&format!("{kind}.sha256")),
                of.and_then(|it| field(it, "sha256")),
            ),
        ));
    }
    let passed = Variables {
        passed: texts(at(manifest.held.filter, "env.hostKeys")),
        key: "`env.hostKeys`",
        listing: "env: { hostKeys: [{name}] }",
        ..Variables::default()
    };
    warnings.extend(variables::told(&passed, manifest.held.config));
    let rules = header_rules(manifest);
    warnings.extend(rule_warnings(manifest, &rules));
    warnings.extend(target_warnings(manifest, &rules));
    warnings.extend(removal_warnings(manifest, &rules));
    if let Some((place, name)) = manifest.mirroring() {
        warnings.push(Warning::new(
            "mirror_not_obeyed",
            place,
            "is not done by Envoy Gateway",
            format!(
                "it has no rule that copies by a header: the route `{name}` sends no copy anywhere"
            ),
            "add a RequestMirror filter to the rules of the targets, and leave `mirror` out",
        ));
    }
    if let Some(pool) = manifest.endpoint_pool().filter(|_| !rules.is_empty()) {
        let header = manifest.endpoint_header();
        let obeys = manifest.of_kind("BackendTrafficPolicy").any(|policy| {
            let source = at(policy.0, "spec.loadBalancer.endpointOverride");
            let sources = source.map_or(&[][..], |it| list(it, "extractFrom"));
            let mut names = sources.iter().filter_map(|source| text(source, "header"));
            names.any(|name| name.eq_ignore_ascii_case(&header))
        });
        if !obeys {
            warnings.push(crate::check::endpoint_not_obeyed(
                pool,
                &header,
                "add a BackendTrafficPolicy with `loadBalancer.endpointOverride`, as \
                 envoy-config/envoy-gateway/pointsman.yaml has it",
            ));
        }
    }
    warnings.extend(probe_warnings(manifest));
    warnings
}

/// What an `EnvoyExtensionPolicy` cannot say.
pub(super) fn notes(manifest: &Manifest<'_>) -> Vec<Note> {
    let mut notes = Vec::new();
    let mut note = |kind, found: String| {
        notes.push(Note {
            place: manifest.held.resource.place(),
            kind,
            found,
        });
    };
    let is_open = matches!(
        field(manifest.held.filter, "failOpen"),
        Some(Value::Bool(true))
    );
    if !is_open && !is_patched(manifest) {
        note(
            "no_reload",
            "after a trap every request that its worker gets is answered 503 until the proxy is \
             restarted: only a patch such as envoy-config/envoy-gateway/fail-reload.yaml says \
             FAIL_RELOAD"
                .to_owned(),
        );
    }
    if !manifest.config.pools.is_empty() && header_rules(manifest).is_empty() {
        note(
            "routes_elsewhere",
            format!(
                "no rule of this file reads `{}`: whether the choice is obeyed is not known here",
                manifest.cluster_header()
            ),
        );
    }
    notes
}

/// Whether a patch of the file makes it FAIL_RELOAD.
fn is_patched(manifest: &Manifest<'_>) -> bool {
    manifest.of_kind("EnvoyPatchPolicy").any(|policy| {
        let patches = at(policy.0, "spec").map_or(&[][..], |spec| list(spec, "jsonPatches"));
        patches.iter().any(|patch| {
            let value = at(patch, "operation.value");
            value == Some(&Value::Text("FAIL_RELOAD".to_owned()))
        })
    })
}

fn failure_warning(manifest: &Manifest<'_>) -> Option<Warning> {
    let is_open = matches!(
        field(manifest.held.filter, "failOpen"),
        Some(Value::Bool(true))
    );
    let why = match is_patched(manifest) {
        true => "Envoy refuses a filter that has it beside a failure policy",
        false => "after a trap all requests go through undecided: nothing is refused any more",
    };
    is_open.then(|| {
        Warning::new(
            "failure_policy",
            manifest.at_filter("failOpen"),
            "is true",
            why,
            "leave it out, and apply envoy-config/envoy-gateway/fail-reload.yaml",
        )
    })
}

/// A rule of an HTTPRoute.
struct Rule<'t> {
    route: Resource<'t>,
    /// `spec.rules[0]`
    place: String,
    rule: &'t Value,
    /// The value of our header that it asks for. None: it asks for none.
    value: Option<&'t str>,
    /// Of its path; `/` is 1.
    path: usize,
}

fn rules<'t>(manifest: &Manifest<'t>) -> Vec<Rule<'t>> {
    let header = manifest.cluster_header();
    let mut found = Vec::new();
    for route in manifest.of_kind("HTTPRoute") {
        let rules = at(route.0, "spec").map_or(&[][..], |spec| list(spec, "rules"));
        for (number, rule) in rules.iter().enumerate() {
            let matches = match list(rule, "matches") {
                [] => vec![&Value::Null],
                some => some.iter().collect(),
            };
            for block in matches {
                let headers = list(block, "headers").iter();
                let mut ours = headers.filter(|condition| {
                    text(condition, "name").is_some_and(|it| it.eq_ignore_ascii_case(&header))
                });
                let path = at(block, "path.value").map_or(1, |path| match path {
                    Value::Text(path) => path.len(),
                    _ => 1,
                });
                found.push(Rule {
                    route,
                    place: format!("spec.rules[{number}]"),
                    rule,
                    value: ours.next().and_then(|condition| text(condition, "value")),
                    path,
                });
            }
        }
    }
    found
}

/// Those by our header.
fn header_rules<'t>(manifest: &Manifest<'t>) -> Vec<Rule<'t>> {
    let rules = rules(manifest).into_iter();
    rules.filter(|rule| rule.value.is_some()).collect()
}

/// Whether what is chosen goes where it says.
fn rule_warnings(manifest: &Manifest<'_>, rules: &[Rule<'_>]) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for rule in rules {
        let value = rule.value.unwrap_or_default();
        let mut chosen = manifest.clusters().into_iter();
        let is_pool = chosen.any(|(_, cluster, pool)| cluster == value && !pool.endpoints);
        let backends = list(rule.rule, "backendRefs").len();
        if is_pool && backends > 1 {
            warnings.push(Warning::new(
                "choice_not_obeyed",
                format!("{}: {}.backendRefs", rule.route.place(), rule.place),
                format!("has {backends} backends"),
                "they are one cluster, and Envoy chooses among them",
                "write one rule for each target, with one backend",
            ));
        }
    }
    if rules.is_empty() {
        return warnings;
    }
    for (place, cluster, _) in manifest.clusters() {
        if !rules.iter().any(|rule| rule.value == Some(cluster)) {
            warnings.push(Warning::new(
                "choice_not_obeyed",
                place,
                format!("is `{cluster}`, and no HTTPRoute of the file has a rule for it"),
                format!(
                    "requests for it go by the rule for all others: `{}` has a value that no rule \
                     names",
                    manifest.cluster_header()
                ),
                "add a rule whose `matches` have that header with this value",
            ));
        }
    }
    warnings
}

/// Whether requests come to the filter, and go on by the rules of the header.
fn target_warnings(manifest: &Manifest<'_>, by_header: &[Rule<'_>]) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let Some(spec) = manifest.spec() else {
        return warnings;
    };
    let targets = list(spec, "targetRefs").iter();
    let targets: Vec<_> = targets.chain(field(spec, "targetRef")).collect();
    let is = |target: &&&Value, kind: &str, name: &str| {
        text(target, "kind") == Some(kind) && text(target, "name") == Some(name)
    };
    let has_filter = |route: Resource<'_>| {
        let own = targets.iter().any(|it| is(&it, "HTTPRoute", route.name()));
        let parents = at(route.0, "spec").map_or(&[][..], |spec| list(spec, "parentRefs"));
        let mut parents = parents.iter().filter_map(|parent| text(parent, "name"));
        own || parents.any(|name| targets.iter().any(|it| is(&it, "Gateway", name)))
    };
    let all = rules(manifest);
    let with_filter: Vec<_> = all.iter().filter(|rule| has_filter(rule.route)).collect();
    let is_whole = targets.iter().all(|it| {
        text(it, "kind") == Some("HTTPRoute")
            && all
                .iter()
                .any(|rule| text(it, "name") == Some(rule.route.name()))
    });
    if is_whole && !with_filter.is_empty() && with_filter.iter().all(|it| it.value.is_some()) {
        warnings.push(Warning::new(
            "filter_never_reached",
            manifest.place("spec.targetRefs"),
            "names only rules that ask for the filter's own header",
            "a request sees the filter by the rule that takes it first, and comes without this \
             header",
            "name the HTTPRoute that takes what comes in",
        ));
    }
    let shortest = by_header.iter().map(|rule| rule.path).min();
    let Some(shortest) = shortest.filter(|_| !manifest.config.pools.is_empty()) else {
        return warnings;
    };
    for rule in with_filter {
        if rule.value.is_none() && rule.path > shortest {
            warnings.push(Warning::new(
                "choice_not_obeyed",
                format!("{}: {}", rule.route.place(), rule.place),
                "has a longer path than the rules by the header",
                "the Gateway API prefers it to them: requests for this path stay here, whatever \
                 the filter chose",
                "leave the path to Pointsman's routes, and write one rule for `/`",
            ));
        }
    }
    warnings
}

/// Whether a client chooses its upstream by the header.
fn removal_warnings(manifest: &Manifest<'_>, rules: &[Rule<'_>]) -> Vec<Warning> {
    let policies: Vec<_> = manifest.of_kind("ClientTrafficPolicy").collect();
    let gateway = manifest.of_kind("Gateway").next();
    let place = match (policies.first(), gateway) {
        (Some(policy), _) => format!("{}: spec.headers.earlyRequestHeaders", policy.place()),
        (None, Some(gateway)) => gateway.place(),
        (None, None) => return Vec::new(),
    };
    let is_removed = |name: &str| {
        policies.iter().any(|policy| {
            let early = at(policy.0, "spec.headers.earlyRequestHeaders");
            let removed = early.map_or(&[][..], |early| list(early, "remove"));
            let is_it = |it: &Value| matches!(it, Value::Text(it) if it.eq_ignore_ascii_case(name));
            removed.iter().any(is_it)
        })
    };
    let cluster = Some(manifest.cluster_header()).filter(|_| !rules.is_empty());
    let endpoint = manifest.endpoint_pool().map(|_| manifest.endpoint_header());
    let kept = cluster.into_iter().chain(endpoint);
    let kept = kept.filter(|name| !is_removed(name));
    kept.map(|name| {
        Warning::new(
            "upstream_header_kept",
            place.clone(),
            format!("does not remove `{name}`"),
            "a client that sends it chooses its upstream itself: the rule for that value takes the \
             request at once, and it never comes to the filter",
            &format!(
                "write `headers: {{ earlyRequestHeaders: {{ remove: [{name}] }} }}` in a \
                 ClientTrafficPolicy of the Gateway"
            ),
        )
    })
    .collect()
}

/// Clusters that Envoy Gateway does not make, where that matters.
fn probe_warnings(manifest: &Manifest<'_>) -> Vec<Warning> {
    if manifest.of_kind("EnvoyPatchPolicy").next().is_some() {
        return Vec::new();
    }
    let made = ["httproute/", "grpcroute/"];
    let unknown = manifest
        .clusters()
        .into_iter()
        .filter(|(_, cluster, pool)| {
            pool.health.active.is_some() && !made.iter().any(|before| cluster.starts_with(before))
        });
    unknown
        .map(|(place, cluster, _)| {
            Warning::new(
                "unknown_cluster",
                place,
                format!("is `{cluster}`, which is no name that Envoy Gateway gives a cluster"),
                "probes are sent to the cluster of this name, and there is none: every target \
                 becomes unhealthy",
                "write `httproute/NAMESPACE/NAME/rule/NUMBER`, here and in the rule's value",
            )
        })
        .collect()
}

//! What resources of Kubernetes say around the filter: whether the system that reads them does with
//! Pointsman what its configuration says. Only what the file itself says is told; other resources
//! may be in other files.

mod envoy_gateway;
mod istio;

use super::proxy_file::{at, list, text};
use super::{Note, Warning, named};
use crate::configuration::manifest::{Held, Holder, Resource, resources};
use crate::configuration::{field, is_ours};
use crate::environment;
use pointsman_core::config::Config;
use pointsman_core::config::value::Value;
use pointsman_core::pool::Pool;

/// A configuration in a resource, with the file around it.
pub(super) struct Manifest<'t> {
    pub(super) held: &'t Held<'t>,
    pub(super) config: &'t Config,
    pub(super) resources: &'t [Resource<'t>],
}

/// Every warning about the resources around configurations of ours.
pub(super) fn warnings(documents: &[Value]) -> Vec<Warning> {
    let resources = resources(documents);
    let mut warnings = Vec::new();
    for (held, config) in &configurations(&resources) {
        let manifest = Manifest {
            held,
            config,
            resources: &resources,
        };
        warnings.extend(unknown_fields(held));
        match held.kind {
            Holder::EnvoyExtensionPolicy => warnings.extend(envoy_gateway::warnings(&manifest)),
            Holder::WasmPlugin | Holder::TrafficExtension | Holder::ConfigMap => {
                warnings.extend(istio::warnings(&manifest));
            }
        }
    }
    for resource in &resources {
        warnings.extend(misnamed(*resource));
        warnings.extend(never_reloaded(*resource, &resources));
    }
    warnings
}

/// What is to be known of them.
pub(super) fn notes(documents: &[Value]) -> Vec<Note> {
    let resources = resources(documents);
    let mut notes = Vec::new();
    let configurations = configurations(&resources);
    for (held, config) in &configurations {
        let manifest = Manifest {
            held,
            config,
            resources: &resources,
        };
        notes.extend(match held.kind {
            Holder::EnvoyExtensionPolicy => envoy_gateway::notes(&manifest),
            Holder::WasmPlugin | Holder::TrafficExtension | Holder::ConfigMap => {
                istio::notes(&manifest)
            }
        });
    }
    for resource in resources.iter().filter(|it| !it.is_known()) {
        if !holds_ours(resource.0) {
            notes.push(Note {
                place: resource.place(),
                kind: "unknown_kind",
                found: "is of a kind that is not known here, and was passed over".to_owned(),
            });
        }
    }
    notes
}

/// Those that load; what is wrong with the others is said as errors.
fn configurations<'t>(resources: &[Resource<'t>]) -> Vec<(Held<'t>, Config)> {
    let held = resources.iter().flat_map(|it| it.held());
    held.filter_map(|held| {
        let config = environment::load_anywhere(held.config).ok()?;
        Some((held, config))
    })
    .collect()
}

impl<'t> Manifest<'t> {
    /// A place in the resource: `spec.match`.
    pub(super) fn place(&self, of: &str) -> String {
        format!("{}: {of}", self.held.resource.place())
    }

    /// A place at the Wasm filter: `spec.wasm.failStrategy`.
    pub(super) fn at_filter(&self, key: &str) -> String {
        self.place(&format!("{}.{key}", self.held.at))
    }

    pub(super) fn spec(&self) -> Option<&'t Value> {
        field(self.held.resource.0, "spec")
    }

    pub(super) fn of_kind(&self, kind: &str) -> impl Iterator<Item = Resource<'t>> + use<'_, 't> {
        let kind = kind.to_owned();
        let resources = self.resources.iter().copied();
        resources.filter(move |resource| resource.kind() == Some(&*kind))
    }

    pub(super) fn cluster_header(&self) -> String {
        lossy(&self.config.upstream.cluster_header)
    }

    pub(super) fn endpoint_header(&self) -> String {
        lossy(&self.config.upstream.endpoint_header)
    }

    pub(super) fn mirror_header(&self) -> String {
        lossy(&self.config.upstream.mirror_header)
    }

    /// Each cluster that may be chosen once, with the place of the first target that names it.
    pub(super) fn clusters(&self) -> Vec<(String, &'t str, &'t Pool)> {
        let mut clusters: Vec<(String, &str, &Pool)> = Vec::new();
        for pool in &self.config.pools {
            for (number, target) in pool.targets.iter().enumerate() {
                if clusters.iter().any(|(_, own, _)| **own == *target.cluster) {
                    continue;
                }
                let pool_at = named("pools", &pool.name);
                let place = match pool.endpoints {
                    true => format!("{pool_at}.cluster"),
                    false => format!("{pool_at}.targets[{number}].cluster"),
                };
                clusters.push((place, &target.cluster, pool));
            }
        }
        clusters
    }

    /// The first pool of endpoints, which takes more of the proxy than those of clusters.
    pub(super) fn endpoint_pool(&self) -> Option<&'t Pool> {
        let mut pools = self.config.pools.iter();
        pools.find(|pool| pool.endpoints).map(|pool| &**pool)
    }

    /// The first route that copies requests.
    pub(super) fn mirroring(&self) -> Option<(String, &'t str)> {
        let mut routes = self.config.routes.iter().enumerate();
        let (at, route) = routes.find(|(_, route)| route.mirror.is_some())?;
        Some((format!("routes[{at}].mirror"), &route.name))
    }

    /// Whose bytes run: a digest says it once and for all. Each is a place in the resource, and
    /// what stands there.
    pub(super) fn module_warning(
        &self,
        (url_at, url): (&str, Option<&str>),
        (sum_at, sum): (&str, Option<&Value>),
    ) -> Option<Warning> {
        const WRITE: &str = "write, in quotes, the one that `host-sim package` prints";
        let url = url?;
        let wrong = |place: &str, found: &str, why: &str, advice: &str| {
            Some(Warning::new(
                "module_digest",
                self.place(place),
                found,
                why,
                advice,
            ))
        };
        let in_url = url.split_once("@sha256:").map(|(_, digest)| digest);
        let given = match (sum, in_url) {
            (Some(Value::Text(sum)), Some(digest)) if !sum.is_empty() && sum != digest => {
                return wrong(
                    sum_at,
                    &format!("is not the digest that `{url_at}` names"),
                    "both are the digest of the image's manifest: the module is never loaded",
                    "leave it out, since the digest in the URL says it",
                );
            }
            (Some(Value::Text(sum)), _) if !sum.is_empty() => Some((sum_at, &**sum)),
            (None | Some(Value::Text(_) | Value::Null), digest) => digest.map(|it| (url_at, it)),
            (Some(_), _) => {
                return wrong(
                    sum_at,
                    "is read as a number",
                    "digits without quotes are no text to YAML: the resource is refused",
                    WRITE,
                );
            }
        };
        let Some((place, digest)) = given else {
            let is_file = url.starts_with("file://");
            return (!is_file).then(|| {
                Warning::new(
                    "moving_tag",
                    self.place(url_at),
                    "names no digest",
                    "where it was fetched before, what is put there later is not fetched again: \
                     proxies run different modules",
                    "write the digest that `host-sim package` prints: `…@sha256:…` of the image's \
                     manifest, or beside an HTTP URL `sha256` of the module",
                )
            });
        };
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if digest.len() == 64 && digest.bytes().all(is_hex) {
            return None;
        }
        wrong(
            place,
            &format!("has the digest `{digest}`, which is none"),
            "a SHA-256 is 64 hexadecimal digits in lower case: the module is never loaded",
            WRITE,
        )
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Fields that the resource does not have, which the API server drops, or refuses.
fn unknown_fields(held: &Held<'_>) -> Vec<Warning> {
    const PLUGIN: &[&str] = &[
        "failStrategy",
        "imagePullPolicy",
        "imagePullSecret",
        "pluginConfig",
        "pluginName",
        "sha256",
        "type",
        "url",
        "verificationKey",
        "vmConfig",
    ];
    const AROUND: &[&str] = &[
        "match",
        "phase",
        "priority",
        "selector",
        "targetRef",
        "targetRefs",
    ];
    const EXTENSION: &[&str] = &["lua"];
    const POLICY: &[&str] = &["code", "config", "env", "failOpen", "name", "rootID"];
    // The digest stands beside the URL that it is of, not beside `image` or `http`.
    const CODE: &[&str] = &["http", "image", "pullPolicy", "type"];
    const IMAGE: &[&str] = &["pullSecretRef", "sha256", "tls", "url"];
    const HTTP: &[&str] = &["sha256", "tls", "url"];
    let spec = field(held.resource.0, "spec");
    let code_at = format!("{}.code", held.at);
    let image_at = format!("{code_at}.image");
    let http_at = format!("{code_at}.http");
    let code = field(held.filter, "code");
    let in_code = |key| code.and_then(|code| field(code, key));
    let levels: Vec<(&str, Option<&Value>, Vec<&[&str]>)> = match held.kind {
        Holder::WasmPlugin => vec![("spec", spec, vec![PLUGIN, AROUND])],
        Holder::TrafficExtension => vec![
            ("spec", spec, vec![AROUND, EXTENSION, &["wasm"]]),
            (&held.at, Some(held.filter), vec![PLUGIN]),
        ],
        Holder::EnvoyExtensionPolicy => vec![
            (&held.at, Some(held.filter), vec![POLICY]),
            (&code_at, code, vec![CODE]),
            (&image_at, in_code("image"), vec![IMAGE]),
            (&http_at, in_code("http"), vec![HTTP]),
        ],
        Holder::ConfigMap => Vec::new(),
    };
    let mut warnings = Vec::new();
    for (place, node, known) in levels {
        let Some(Value::Map(entries)) = node else {
            continue;
        };
        for (key, _) in entries {
            let key: &str = key;
            if known.iter().any(|names| names.contains(&key)) {
                continue;
            }
            let mut known = known.iter().copied().flatten().copied();
            let advice = match pointsman_core::config::problem::nearest(key, &mut known) {
                Some(near) => format!("write `{near}`"),
                None => "leave it out".to_owned(),
            };
            warnings.push(Warning::new(
                "unknown_field",
                format!("{}: {place}.{key}", held.resource.place()),
                "is no field of this resource",
                "the API server drops it, or refuses the resource: what it says is not so",
                &advice,
            ));
        }
    }
    warnings
}

/// A resource with a configuration of ours that nobody reads, because its kind or the field is
/// another one.
fn misnamed(resource: Resource<'_>) -> Option<Warning> {
    let is_looked_into = !resource.files().is_empty() || !resource.held().is_empty();
    (!is_looked_into && holds_ours(resource.0)).then(|| {
        Warning::new(
            "unknown_kind",
            resource.place(),
            "has a configuration of Pointsman where nobody looks for one",
            "it is passed over here and by the system that it is for",
            "write it into `spec.pluginConfig` of a WasmPlugin, `spec.wasm.pluginConfig` of a \
             TrafficExtension, `spec.wasm[].config` of an EnvoyExtensionPolicy, or into a file of a \
             ConfigMap",
        )
    })
}

/// Whether a configuration of ours is anywhere in it. Other things have `routes` too.
fn holds_ours(tree: &Value) -> bool {
    let is_here = is_ours(tree)
        && matches!(field(tree, "pools"), Some(Value::Map(pools)) if !pools.is_empty() && pools.iter().all(|(_, pool)| field(pool, "targets").is_some()));
    is_here
        || match tree {
            Value::Map(map) => map.iter().any(|(_, value)| holds_ours(value)),
            Value::List(list) => list.iter().any(holds_ours),
            _ => false,
        }
}

/// Files of a `ConfigMap` that change and are not read again.
fn never_reloaded(resource: Resource<'_>, all: &[Resource<'_>]) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for file in resource.files() {
        let Some(tree) = file.envoy() else { continue };
        let mut sources = Vec::new();
        path_sources(&tree, &mut sources);
        for source in sources {
            if field(source, "watched_directory").is_none() {
                let path = text(source, "path").unwrap_or_default();
                warnings.push(Warning::new(
                    "never_reloaded",
                    file.place(),
                    format!("has `{path}` without `watched_directory`"),
                    "Kubernetes changes a ConfigMap's files by moving a link beside them, and \
                     Envoy waits for the file itself to be moved: a change is never seen",
                    "add `watched_directory: { path: … }`, the directory that is mounted",
                ));
            }
        }
        let is_ours = !file.is_other();
        if is_ours && let Some(place) = mounted_by_sub_path(resource.name(), all) {
            warnings.push(Warning::new(
                "never_reloaded",
                place,
                format!("mounts the ConfigMap `{}` by `subPath`", resource.name()),
                "a file that is mounted so never changes while the Pod lives",
                "mount the whole ConfigMap as a directory",
            ));
        }
    }
    warnings
}

/// The `path_config_source`s of filters.
fn path_sources<'t>(tree: &'t Value, found: &mut Vec<&'t Value>) {
    match tree {
        Value::Map(map) => map.iter().for_each(|(key, value)| {
            match (&**key, at(value, "config_source.path_config_source")) {
                ("config_discovery", Some(source)) => found.push(source),
                _ => path_sources(value, found),
            }
        }),
        Value::List(list) => list.iter().for_each(|value| path_sources(value, found)),
        _ => {}
    }
}

/// The Pod template's mount of this `ConfigMap` by `subPath`.
fn mounted_by_sub_path(name: &str, all: &[Resource<'_>]) -> Option<String> {
    all.iter().find_map(|resource| {
        let template = at(resource.0, "spec.template.spec");
        let pod = template.or_else(|| {
            let spec = field(resource.0, "spec");
            spec.filter(|_| resource.kind() == Some("Pod"))
        })?;
        let is_it =
            |volume: &&Value| at(volume, "configMap.name") == Some(&Value::Text(name.to_owned()));
        let volume = list(pod, "volumes").iter().find(is_it)?;
        let volume = text(volume, "name")?;
        let mounts = list(pod, "containers")
            .iter()
            .flat_map(|it| list(it, "volumeMounts"));
        let mut ours = mounts.filter(|mount| text(mount, "name") == Some(volume));
        ours.any(|mount| field(mount, "subPath").is_some())
            .then(|| resource.place())
    })
}

#[cfg(test)]
mod tests;

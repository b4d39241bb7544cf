//! Kubernetes resources: which of them hold Pointsman's configuration, and where.
//!
//! A file has several documents, and a `List` holds several resources. A `ConfigMap` holds files of
//! its own: Pointsman's configuration, or a proxy's.

use super::{
    FilterConfiguration, ParsedText, field, is_envoy, is_ours, one_problem, parse, text_of_value,
    within_envoy,
};
use crate::yaml::{self, Odd, Reading};
use pointsman_core::config::problem::Problems;
use pointsman_core::config::value::Value;

/// The resources that hold a configuration, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// Istio's: `spec.pluginConfig`.
    WasmPlugin,
    /// Istio's from 1.30 on: `spec.wasm.pluginConfig`.
    TrafficExtension,
    /// Envoy Gateway's: `spec.wasm[].config`.
    EnvoyExtensionPolicy,
    /// Files: `data`.
    ConfigMap,
}

/// What we know of, and what need not hold a configuration of ours.
const OTHERS: &[&str] = &[
    // Kubernetes.
    "ClusterRole",
    "ClusterRoleBinding",
    "CronJob",
    "CustomResourceDefinition",
    "DaemonSet",
    "Deployment",
    "EndpointSlice",
    "Endpoints",
    "HorizontalPodAutoscaler",
    "Ingress",
    "IngressClass",
    "Job",
    "Kustomization",
    "Namespace",
    "NetworkPolicy",
    "PersistentVolumeClaim",
    "Pod",
    "PodDisruptionBudget",
    "Role",
    "RoleBinding",
    "Secret",
    "Service",
    "ServiceAccount",
    "StatefulSet",
    // The Gateway API.
    "BackendTLSPolicy",
    "GRPCRoute",
    "Gateway",
    "GatewayClass",
    "HTTPRoute",
    "ListenerSet",
    "ReferenceGrant",
    "TCPRoute",
    "TLSRoute",
    "UDPRoute",
    // Istio.
    "AuthorizationPolicy",
    "DestinationRule",
    "EnvoyFilter",
    "IstioOperator",
    "PeerAuthentication",
    "ProxyConfig",
    "RequestAuthentication",
    "ServiceEntry",
    "Sidecar",
    "Telemetry",
    "VirtualService",
    "WorkloadEntry",
    "WorkloadGroup",
    // Envoy Gateway.
    "Backend",
    "BackendTrafficPolicy",
    "ClientTrafficPolicy",
    "EnvoyPatchPolicy",
    "EnvoyProxy",
    "HTTPRouteFilter",
    "SecurityPolicy",
    // Prometheus' operator, cert-manager.
    "Certificate",
    "Issuer",
    "PodMonitor",
    "PrometheusRule",
    "ServiceMonitor",
];

/// A resource of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resource<'t>(pub(crate) &'t Value);

/// A place with a configuration of ours.
pub(crate) struct Held<'t> {
    /// The resource.
    pub(crate) resource: Resource<'t>,
    /// What its kind is.
    pub(crate) kind: Holder,
    /// Where in the resource the Wasm filter is: `spec`, `spec.wasm`, `spec.wasm[0]`.
    pub(crate) at: String,
    /// The same as a node.
    pub(crate) filter: &'t Value,
    /// The configuration.
    pub(crate) config: &'t Value,
}

/// A file within a `ConfigMap`.
pub(crate) struct Inner<'t> {
    resource: Resource<'t>,
    /// Its name: `ecds.yaml`.
    pub(crate) name: &'t str,
    /// What is in it.
    pub(crate) text: &'t str,
}

/// Whether a document is a resource.
pub(super) fn is_resource(tree: &Value) -> bool {
    let resource = Resource(tree);
    resource.holder().is_some()
        || text_of_value(field(tree, "apiVersion")).is_some() && resource.kind().is_some()
}

/// The resources of a file's documents.
pub(crate) fn resources(documents: &[Value]) -> Vec<Resource<'_>> {
    let each = documents.iter().flat_map(|document| {
        match (Resource(document).kind(), field(document, "items")) {
            (Some("List"), Some(Value::List(items))) => items.iter().collect(),
            _ => vec![document],
        }
    });
    // Between two `---` nothing has to be.
    each.filter(|document| !matches!(document, Value::Null))
        .map(Resource)
        .collect()
}

impl<'t> Resource<'t> {
    pub(crate) fn kind(self) -> Option<&'t str> {
        text_of_value(field(self.0, "kind"))
    }

    pub(crate) fn name(self) -> &'t str {
        self.metadata("name")
    }

    /// Default: the one that the resource is applied in, which is the same for all of a file.
    pub(crate) fn namespace(self) -> &'t str {
        self.metadata("namespace")
    }

    fn metadata(self, key: &str) -> &'t str {
        let metadata = field(self.0, "metadata");
        text_of_value(metadata.and_then(|it| field(it, key))).unwrap_or_default()
    }

    fn holder(self) -> Option<Holder> {
        match self.kind()? {
            "WasmPlugin" => Some(Holder::WasmPlugin),
            "TrafficExtension" => Some(Holder::TrafficExtension),
            "EnvoyExtensionPolicy" => Some(Holder::EnvoyExtensionPolicy),
            "ConfigMap" => Some(Holder::ConfigMap),
            _ => None,
        }
    }

    /// Whether it is of a kind that is passed over in silence, or looked into.
    pub(crate) fn is_known(self) -> bool {
        let kind = self.kind().unwrap_or_default();
        self.holder().is_some() || OTHERS.contains(&kind)
    }

    /// The start of a place in it: ``the WasmPlugin `pointsman` ``.
    pub(crate) fn place(self) -> String {
        format!("the {} `{}`", self.kind().unwrap_or_default(), self.name())
    }

    /// The Wasm filters that it is of: where, the node, and the configuration.
    fn filters(self) -> Vec<(String, &'t Value, &'static str)> {
        let Some(spec) = field(self.0, "spec") else {
            return Vec::new();
        };
        match self.holder() {
            Some(Holder::WasmPlugin) => vec![("spec".to_owned(), spec, "pluginConfig")],
            Some(Holder::TrafficExtension) => {
                let wasm = field(spec, "wasm").into_iter();
                wasm.map(|wasm| ("spec.wasm".to_owned(), wasm, "pluginConfig"))
                    .collect()
            }
            Some(Holder::EnvoyExtensionPolicy) => {
                let Some(Value::List(filters)) = field(spec, "wasm") else {
                    return Vec::new();
                };
                let each = filters.iter().enumerate();
                each.map(|(at, filter)| (format!("spec.wasm[{at}]"), filter, "config"))
                    .collect()
            }
            Some(Holder::ConfigMap) | None => Vec::new(),
        }
    }

    /// Those of ours.
    pub(crate) fn held(self) -> Vec<Held<'t>> {
        let Some(kind) = self.holder() else {
            return Vec::new();
        };
        let filters = self.filters().into_iter();
        let ours = filters.filter_map(|(at, filter, key)| {
            let config = field(filter, key).filter(|config| is_ours(config))?;
            Some(Held {
                resource: self,
                kind,
                at,
                filter,
                config,
            })
        });
        ours.collect()
    }

    /// The files of a `ConfigMap`.
    pub(crate) fn files(self) -> Vec<Inner<'t>> {
        let data = field(self.0, "data").filter(|_| self.holder() == Some(Holder::ConfigMap));
        let Some(Value::Map(data)) = data else {
            return Vec::new();
        };
        let texts = data
            .iter()
            .filter_map(|(name, value)| Some((name, text_of_value(Some(value))?)));
        texts
            .map(|(name, text)| Inner {
                resource: self,
                name,
                text,
            })
            .collect()
    }
}

impl Held<'_> {
    /// The identity of the plugin in the proxy: those of one proxy have one `vm_id` in Istio.
    fn part(&self, number: usize) -> FilterConfiguration {
        let (name, vm_id, root_id) = match self.kind {
            Holder::EnvoyExtensionPolicy => {
                let name = text_of_value(field(self.filter, "name")).unwrap_or_default();
                let policy = self.resource.name();
                let namespace = self.resource.namespace();
                (
                    name.to_owned(),
                    format!("{namespace}/{policy}/{}", self.at),
                    "rootID",
                )
            }
            _ => {
                let spec = field(self.resource.0, "spec");
                let workloads = ["selector", "targetRefs", "targetRef"].map(|key| {
                    let node = spec.and_then(|spec| field(spec, key));
                    node.map(super::to_json).unwrap_or_default().to_string()
                });
                // Not its real one, which is empty: it tells those of one proxy from others.
                let vm_id = format!("{}{}", self.resource.namespace(), workloads.join(""));
                (self.resource.name().to_owned(), vm_id, "pluginName")
            }
        };
        let root_id = text_of_value(field(self.filter, root_id)).unwrap_or_default();
        FilterConfiguration {
            place: format!("filter {} `{name}`", number + 1),
            plugin: [vm_id, name, root_id.to_owned(), String::new()],
            tree: self.config.clone(),
        }
    }
}

impl Inner<'_> {
    /// `the ConfigMap `filter`: data["ecds.yaml"]`
    pub(crate) fn place(&self) -> String {
        format!("{}: data[{:?}]", self.resource.place(), self.name)
    }

    /// Whether what is no YAML is meant to be ours.
    fn says_so(&self) -> bool {
        let is_section = |line: &str| line.starts_with("routes:") || line.starts_with("pools:");
        self.text.contains(super::type_url::WASM) || self.text.lines().any(is_section)
    }

    /// The configurations in it. Empty: it is something else's.
    fn parts(&self) -> Result<Vec<FilterConfiguration>, Problems> {
        let documents = match yaml::documents(self.text, Reading::Core) {
            Ok(documents) => documents.trees,
            Err(problems) if self.says_so() => return Err(self.within(problems)),
            Err(_) => return Ok(Vec::new()),
        };
        match &documents[..] {
            [only] if is_envoy(only) => {
                // Many files of a proxy have no filter of ours.
                let parts = self.envoy().map(within_envoy);
                let mut parts = parts.and_then(Result::ok).unwrap_or_default();
                parts.retain(|part| is_ours(&part.tree));
                Ok(parts)
            }
            [only] if is_configuration(only) => Ok(vec![FilterConfiguration {
                place: String::new(),
                plugin: ["", self.name, "", ""].map(str::to_owned),
                tree: parse(self.text).map_err(|problems| self.within(problems))?,
            }]),
            _ => Ok(Vec::new()),
        }
    }

    /// Problems of the text as such of the resource.
    fn within(&self, mut problems: Problems) -> Problems {
        for problem in &mut problems.0 {
            problem.place = format!("{}: {}", self.place(), problem.place);
        }
        problems
    }

    /// Whether it has no configuration of ours.
    pub(crate) fn is_other(&self) -> bool {
        self.parts().is_ok_and(|parts| parts.is_empty())
    }

    /// The tree, if it is a proxy's file.
    pub(crate) fn envoy(&self) -> Option<Value> {
        let source = ParsedText::new(self.text);
        let is_it = source.reading == Reading::Envoy;
        is_it.then(|| source.whole().ok()).flatten()
    }
}

/// Whether a file of a `ConfigMap` is a configuration of ours: others have `routes` too.
fn is_configuration(tree: &Value) -> bool {
    const ACTIONS: [&str; 5] = ["pool", "split", "redirect", "respond", "pass"];
    let acts = |route: &Value| ACTIONS.iter().any(|key| field(route, key).is_some());
    match field(tree, "routes") {
        Some(Value::List(routes)) if routes.iter().any(acts) => true,
        _ => {
            matches!(field(tree, "pools"), Some(Value::Map(pools)) if pools.iter().any(|(_, pool)| field(pool, "targets").is_some()))
        }
    }
}

/// Every configuration of ours in a file of resources, in the file's order. None is an error where
/// a resource could hold one and holds another vendor's; else it is for others that are in the file.
pub(super) fn parts(documents: &[Value]) -> Result<Vec<FilterConfiguration>, Problems> {
    let resources = resources(documents);
    let mut parts: Vec<FilterConfiguration> = Vec::new();
    let mut problems = Vec::new();
    for resource in &resources {
        for held in resource.held() {
            parts.push(held.part(parts.len()));
        }
        for file in resource.files() {
            match file.parts() {
                Ok(found) => {
                    for mut part in found {
                        let name = part.plugin[1].clone();
                        part.place = format!("filter {} `{name}`", parts.len() + 1);
                        parts.push(part);
                    }
                }
                Err(found) => problems.extend(found.0),
            }
        }
    }
    if !problems.is_empty() {
        return Err(Problems(problems));
    }
    let others = resources.iter().any(|it| !it.filters().is_empty());
    if parts.is_empty() && others {
        return Err(one_problem(
            "",
            "no configuration with Pointsman's keys",
            "`routes` or `pools` in the `pluginConfig` of a WasmPlugin or a TrafficExtension, or \
             in the `config` of an EnvoyExtensionPolicy",
        ));
    }
    Ok(parts)
}

/// The proxies' files within `ConfigMap`s, each with the filters that it names another of them for.
pub(super) fn envoy_trees(documents: &[Value]) -> Vec<Value> {
    let resources = resources(documents);
    let files: Vec<_> = resources.iter().flat_map(|it| it.files()).collect();
    let named: Vec<_> = files.iter().map(|file| (file.name, file.text)).collect();
    let mut trees: Vec<Value> = files.iter().filter_map(Inner::envoy).collect();
    for tree in &mut trees {
        // What is wrong with the other file is an error of `parts`.
        drop(super::discovery::fill(
            tree,
            super::discovery::Files::Among(&named),
        ));
    }
    trees
}

/// The scalars of our parts that are read differently, each with its place in its part.
pub(super) fn odd(documents: &[Value], odd: Vec<Odd>) -> Vec<Odd> {
    // Where an odd scalar stands is told without its document: that of any part will do.
    let beginnings = resources(documents).into_iter().flat_map(Resource::held);
    let beginnings = beginnings.map(|held| match held.kind {
        Holder::EnvoyExtensionPolicy => format!("{}.config.", held.at),
        _ => format!("{}.pluginConfig.", held.at),
    });
    let beginnings: Vec<String> = beginnings.collect();
    let within = |odd: Odd| {
        let mut each = beginnings.iter();
        let place = each.find_map(|before| odd.place.split_once(&**before))?.1;
        let place = place.to_owned();
        Some(Odd { place, ..odd })
    };
    odd.into_iter().filter_map(within).collect()
}

/// The same of the files within `ConfigMap`s, with who reads each.
pub(crate) fn odd_of_files(documents: &[Value]) -> Vec<(String, Reading, Vec<Odd>)> {
    let resources = resources(documents);
    let files = resources.iter().flat_map(|it| it.files());
    let ours = files.filter(|file| !file.is_other());
    ours.map(|file| {
        let (reading, odd) = ParsedText::new(file.text).read_differently();
        (file.place(), reading, odd)
    })
    .collect()
}

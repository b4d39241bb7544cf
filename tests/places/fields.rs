//! The fields of the files, against those of the resources that they are: a field that is not known
//! is a typo that a control plane would refuse, or worse, ignore.

use super::{list, resources};
use serde_json::Value;

const FILES: &[&str] = &[
    "istio/sidecar.yaml",
    "istio/sidecar-traffic-extension.yaml",
    "istio/sidecar-envoy-filter.yaml",
    "istio/gateway.yaml",
    "istio/gateway-traffic-extension.yaml",
    "istio/gateway-envoy-filter.yaml",
    "envoy-gateway/pointsman.yaml",
    "envoy-gateway/fail-reload.yaml",
    "kubernetes/pointsman.yaml",
];

/// What every resource has.
const ALL: &str = "apiVersion kind metadata.name metadata.namespace metadata.labels.*";

/// Kinds with the version and the fields that ours have, as their definitions have them. `*`: what
/// is below is free. Lists are as their items.
const KNOWN: &[(&str, &str, &str)] = &[
    (
        "WasmPlugin",
        "extensions.istio.io/v1alpha1",
        "spec.selector.matchLabels.* spec.targetRefs.group spec.targetRefs.kind \
         spec.targetRefs.name spec.url spec.sha256 spec.imagePullPolicy spec.imagePullSecret \
         spec.pluginConfig.* spec.pluginName spec.phase spec.priority spec.failStrategy \
         spec.match.mode spec.match.ports.number spec.type",
    ),
    (
        "TrafficExtension",
        "extensions.istio.io/v1alpha1",
        "spec.selector.matchLabels.* spec.targetRefs.group spec.targetRefs.kind \
         spec.targetRefs.name spec.phase spec.priority spec.match.mode spec.match.ports.number \
         spec.wasm.url spec.wasm.sha256 spec.wasm.imagePullPolicy spec.wasm.imagePullSecret \
         spec.wasm.pluginConfig.* spec.wasm.pluginName spec.wasm.failStrategy spec.wasm.type",
    ),
    (
        "EnvoyFilter",
        "networking.istio.io/v1alpha3",
        "spec.workloadSelector.labels.* spec.priority spec.configPatches.applyTo \
         spec.configPatches.match.context spec.configPatches.match.proxy.* \
         spec.configPatches.match.listener.filterChain.filter.name \
         spec.configPatches.match.routeConfiguration.portNumber \
         spec.configPatches.match.routeConfiguration.gateway \
         spec.configPatches.match.cluster.service spec.configPatches.patch.operation \
         spec.configPatches.patch.value.*",
    ),
    (
        "DestinationRule",
        "networking.istio.io/v1",
        "spec.host spec.subsets.name spec.subsets.labels.*",
    ),
    (
        "VirtualService",
        "networking.istio.io/v1",
        "spec.hosts spec.gateways spec.http.name spec.http.match.headers.* \
         spec.http.route.destination.host spec.http.route.destination.subset \
         spec.http.route.destination.port.number",
    ),
    (
        "ServiceEntry",
        "networking.istio.io/v1",
        "spec.hosts spec.location spec.resolution spec.ports.number spec.ports.name \
         spec.ports.protocol spec.endpoints.address spec.endpoints.ports.*",
    ),
    (
        "HTTPRoute",
        "gateway.networking.k8s.io/v1",
        "spec.parentRefs.name spec.hostnames spec.rules.matches.path.type \
         spec.rules.matches.path.value spec.rules.matches.headers.name \
         spec.rules.matches.headers.value spec.rules.backendRefs.name spec.rules.backendRefs.port",
    ),
    (
        "EnvoyExtensionPolicy",
        "gateway.envoyproxy.io/v1alpha1",
        "spec.targetRefs.group spec.targetRefs.kind spec.targetRefs.name spec.wasm.name \
         spec.wasm.rootID spec.wasm.code.type spec.wasm.code.image.url \
         spec.wasm.code.image.pullSecretRef.name spec.wasm.code.image.sha256 \
         spec.wasm.code.http.url spec.wasm.code.http.sha256 \
         spec.wasm.code.pullPolicy spec.wasm.config.* spec.wasm.failOpen",
    ),
    (
        "ClientTrafficPolicy",
        "gateway.envoyproxy.io/v1alpha1",
        "spec.targetRefs.group spec.targetRefs.kind spec.targetRefs.name \
         spec.headers.earlyRequestHeaders.remove spec.headers.withUnderscoresAction \
         spec.path.escapedSlashesAction spec.path.disableMergeSlashes \
         spec.clientIPDetection.xForwardedFor.numTrustedHops",
    ),
    (
        "BackendTrafficPolicy",
        "gateway.envoyproxy.io/v1alpha1",
        "spec.targetRefs.group spec.targetRefs.kind spec.targetRefs.name spec.loadBalancer.type \
         spec.loadBalancer.endpointOverride.extractFrom.header spec.retry.numRetries \
         spec.retry.retryOn.triggers spec.retry.perRetry.backOff.baseInterval \
         spec.retry.perRetry.backOff.maxInterval",
    ),
    (
        "EnvoyPatchPolicy",
        "gateway.envoyproxy.io/v1alpha1",
        "spec.targetRef.group spec.targetRef.kind spec.targetRef.name spec.type spec.priority \
         spec.jsonPatches.type spec.jsonPatches.name spec.jsonPatches.operation.op \
         spec.jsonPatches.operation.path spec.jsonPatches.operation.jsonPath \
         spec.jsonPatches.operation.from spec.jsonPatches.operation.value",
    ),
    ("ConfigMap", "v1", "data.*"),
    (
        "Service",
        "v1",
        "spec.selector.* spec.ports.name spec.ports.port spec.ports.targetPort",
    ),
    (
        "EndpointSlice",
        "discovery.k8s.io/v1",
        "addressType ports.name ports.port endpoints.addresses",
    ),
    (
        "PodDisruptionBudget",
        "policy/v1",
        "spec.minAvailable spec.selector.matchLabels.*",
    ),
    (
        "Deployment",
        "apps/v1",
        "spec.replicas spec.strategy.rollingUpdate.maxUnavailable \
         spec.strategy.rollingUpdate.maxSurge spec.selector.matchLabels.* \
         spec.template.metadata.labels.* spec.template.metadata.annotations.* \
         spec.template.spec.terminationGracePeriodSeconds spec.template.spec.containers.name \
         spec.template.spec.containers.image spec.template.spec.containers.command \
         spec.template.spec.containers.args spec.template.spec.containers.ports.name \
         spec.template.spec.containers.ports.containerPort \
         spec.template.spec.containers.readinessProbe.httpGet.port \
         spec.template.spec.containers.readinessProbe.httpGet.path \
         spec.template.spec.containers.readinessProbe.httpGet.httpHeaders.name \
         spec.template.spec.containers.readinessProbe.httpGet.httpHeaders.value \
         spec.template.spec.containers.readinessProbe.periodSeconds \
         spec.template.spec.containers.livenessProbe.httpGet.port \
         spec.template.spec.containers.livenessProbe.httpGet.path \
         spec.template.spec.containers.livenessProbe.initialDelaySeconds \
         spec.template.spec.containers.livenessProbe.failureThreshold \
         spec.template.spec.containers.lifecycle.preStop.exec.command \
         spec.template.spec.containers.resources.requests.* \
         spec.template.spec.containers.resources.limits.* \
         spec.template.spec.containers.securityContext.allowPrivilegeEscalation \
         spec.template.spec.containers.securityContext.readOnlyRootFilesystem \
         spec.template.spec.containers.securityContext.runAsNonRoot \
         spec.template.spec.containers.securityContext.runAsUser \
         spec.template.spec.containers.securityContext.capabilities.drop \
         spec.template.spec.containers.volumeMounts.name \
         spec.template.spec.containers.volumeMounts.mountPath \
         spec.template.spec.containers.volumeMounts.readOnly spec.template.spec.volumes.name \
         spec.template.spec.volumes.configMap.name",
    ),
];

/// `Gateway` is a kind of Istio's and of the Gateway API.
const GATEWAYS: &[(&str, &str)] = &[
    (
        "networking.istio.io/v1",
        "spec.selector.* spec.servers.port.number spec.servers.port.name \
         spec.servers.port.protocol spec.servers.hosts",
    ),
    (
        "gateway.networking.k8s.io/v1",
        "spec.gatewayClassName spec.listeners.name spec.listeners.protocol spec.listeners.port \
         spec.listeners.hostname",
    ),
];

/// The fields of a tree that the table does not have.
fn unknown(value: &Value, place: &str, known: &[&str], found: &mut Vec<String>) {
    let is_free = |it: &&&str| {
        let free = it.strip_suffix(".*");
        free.is_some_and(|it| place == it || place.starts_with(&format!("{it}.")))
    };
    if known.contains(&place) && !value.is_object() || known.iter().any(|it| is_free(&it)) {
        return;
    }
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| {
            let place = [place, key].join(".");
            unknown(value, place.trim_start_matches('.'), known, found);
        }),
        Value::Array(items) => items.iter().for_each(|it| unknown(it, place, known, found)),
        _ => found.push(place.to_owned()),
    }
}

/// The fields of a resource that are not known, or its kind.
fn unknown_of(resource: &Value) -> Vec<String> {
    let text = |key: &str| resource[key].as_str().unwrap_or_default();
    let fields = match text("kind") {
        "Gateway" => GATEWAYS
            .iter()
            .find(|(version, _)| *version == text("apiVersion"))
            .map(|(_, fields)| fields),
        kind => KNOWN
            .iter()
            .find(|(name, version, _)| *name == kind && *version == text("apiVersion"))
            .map(|(_, _, fields)| fields),
    };
    let Some(fields) = fields else {
        return vec![format!("{} {}", text("apiVersion"), text("kind"))];
    };
    let known: Vec<_> = ALL.split(' ').chain(fields.split(' ')).collect();
    let mut found = Vec::new();
    unknown(resource, "", &known, &mut found);
    found
}

#[test]
fn every_field_is_one_of_its_resource() {
    for file in FILES {
        for resource in resources(file) {
            let found = unknown_of(&resource);
            assert!(found.is_empty(), "{file}: {found:?}");
        }
    }
    let mut plugin = resources("istio/sidecar.yaml").swap_remove(0);
    plugin["spec"]["failurePolicy"] = "FAIL_RELOAD".into();
    assert_eq!(unknown_of(&plugin), ["spec.failurePolicy"]);
    plugin["apiVersion"] = "extensions.istio.io/v1".into();
    assert_eq!(unknown_of(&plugin), ["extensions.istio.io/v1 WasmPlugin"]);
}

/// What the definitions of Istio's resources ask of their values.
#[test]
fn values_are_within_what_istio_takes() {
    for file in FILES.iter().filter(|file| file.starts_with("istio/")) {
        for resource in resources(file) {
            let spec = &resource["spec"];
            let wasm = match &*resource["kind"].to_string() {
                "\"WasmPlugin\"" => spec,
                "\"TrafficExtension\"" => &spec["wasm"],
                _ => continue,
            };
            assert_eq!(wasm["failStrategy"], "FAIL_RELOAD", "{file}");
            let url = wasm["url"].as_str().unwrap();
            let (image, digest) = url.split_once("@sha256:").unwrap();
            assert!(image.starts_with("oci://"), "{file}");
            let is_hex = |it: u8| it.is_ascii_digit() || (b'a'..=b'f').contains(&it);
            assert!(digest.len() == 64 && digest.bytes().all(is_hex), "{file}");
            assert!(
                spec["selector"].is_null() || spec["targetRefs"].is_null(),
                "{file}"
            );
            assert!(
                i32::try_from(spec["priority"].as_i64().unwrap()).is_ok(),
                "{file}"
            );
            let modes = list(spec, "match").iter().map(|it| &it["mode"]);
            assert_eq!(modes.collect::<Vec<_>>(), ["CLIENT"], "{file}");
            assert_eq!(wasm["pluginConfig"]["no_route"]["pass"], true, "{file}");
        }
    }
}

//! The fields of the resources whose definitions are in no package, so that `.ci/resources` cannot
//! hold them against those: a field that is not known is a typo that a control plane would refuse,
//! or worse, ignore.

use super::{list, resources};
use serde_json::Value;
use std::collections::BTreeSet;

const FILES: &[&str] = &[
    "istio/sidecar.yaml",
    "istio/sidecar-traffic-extension.yaml",
    "istio/sidecar-envoy-filter.yaml",
    "istio/gateway.yaml",
    "istio/gateway-traffic-extension.yaml",
    "istio/gateway-envoy-filter.yaml",
    "envoy-gateway/pointsman.yaml",
    "envoy-gateway/fail-reload.yaml",
];

/// What every resource has.
const ALL: &str = "apiVersion kind metadata.name metadata.namespace metadata.labels.*";

/// The kinds with their version, and the fields that ours have: Istio's of 1.32 (of which a
/// WasmPlugin has the same), and Envoy Gateway's of 1.9. `*`: what is below is free. Lists are as
/// their items.
const KNOWN: &[(&str, &str, &str)] = &[
    (
        "TrafficExtension",
        "extensions.istio.io/v1alpha1",
        "spec.selector.matchLabels.* spec.targetRefs.group spec.targetRefs.kind \
         spec.targetRefs.name spec.phase spec.priority spec.match.mode spec.match.ports.number \
         spec.wasm.url spec.wasm.sha256 spec.wasm.imagePullPolicy spec.wasm.imagePullSecret \
         spec.wasm.pluginConfig.* spec.wasm.pluginName spec.wasm.failStrategy spec.wasm.type",
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

/// The fields of a resource that are not known, or its version. None: its definition is in a package.
fn unknown_of(resource: &Value) -> Option<Vec<String>> {
    let text = |key: &str| resource[key].as_str().unwrap_or_default();
    let mut kinds = KNOWN.iter();
    let (_, version, fields) = kinds.find(|(name, ..)| *name == text("kind"))?;
    if *version != text("apiVersion") {
        return Some(vec![format!("{} {}", text("apiVersion"), text("kind"))]);
    }
    let known: Vec<_> = ALL.split(' ').chain(fields.split(' ')).collect();
    let mut found = Vec::new();
    unknown(resource, "", &known, &mut found);
    Some(found)
}

#[test]
fn every_field_is_one_of_its_resource() {
    let mut met = BTreeSet::new();
    for file in FILES {
        for resource in resources(file) {
            if let Some(found) = unknown_of(&resource) {
                assert!(found.is_empty(), "{file}: {found:?}");
                met.insert(resource["kind"].as_str().unwrap().to_owned());
            }
        }
    }
    let kinds = KNOWN.iter().map(|(kind, ..)| (*kind).to_owned());
    assert_eq!(met, kinds.collect());
    let mut policies = resources("envoy-gateway/pointsman.yaml").into_iter();
    let mut policy = policies
        .find(|it| it["kind"] == "EnvoyExtensionPolicy")
        .unwrap();
    let code = &mut policy["spec"]["wasm"][0]["code"];
    // Where it once stood.
    code["sha256"] = "00".into();
    let found = unknown_of(&policy).unwrap();
    assert_eq!(found, ["spec.wasm.code.sha256"]);
    policy["apiVersion"] = "gateway.envoyproxy.io/v1".into();
    let found = unknown_of(&policy).unwrap();
    assert_eq!(found, ["gateway.envoyproxy.io/v1 EnvoyExtensionPolicy"]);
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

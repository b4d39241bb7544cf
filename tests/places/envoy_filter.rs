//! Istio's `EnvoyFilter`: what istiod does with one, as far as ours say. Merges come first, then what
//! is inserted, in the order of the list; so of two routes that are inserted first the later one
//! ends up first. A merge is that of protobuf: what is repeated is appended to.

use super::list;
use serde_json::Value;

/// Applies a resource to the configuration of a proxy that is in this context.
pub(super) fn apply(filter: &Value, context: &str, bootstrap: &mut Value) {
    let patches = list(&filter["spec"], "configPatches");
    assert!(!patches.is_empty());
    for is_merge in [true, false] {
        for patch in patches {
            let operation = &patch["patch"]["operation"];
            if (operation == "MERGE") == is_merge {
                assert_eq!(patch["match"]["context"], context);
                let found = one(patch, context, bootstrap);
                assert!(found > 0, "nothing to patch: {patch}");
            }
        }
    }
}

/// Applies one patch. How many places it changed.
fn one(patch: &Value, context: &str, bootstrap: &mut Value) -> usize {
    let (condition, value) = (&patch["match"], &patch["patch"]["value"]);
    let operation = patch["patch"]["operation"].as_str().unwrap();
    let resources = &mut bootstrap["static_resources"];
    match (patch["applyTo"].as_str().unwrap(), operation) {
        ("NETWORK_FILTER", "MERGE") => {
            let name = &condition["listener"]["filterChain"]["filter"]["name"];
            let chains = listeners(resources, context).flat_map(|it| items(it, "filter_chains"));
            let filters = chains.flat_map(|chain| items(chain, "filters"));
            let filters = filters.filter(|filter| filter["name"] == *name);
            filters.map(|filter| merge(filter, value)).count()
        }
        ("HTTP_ROUTE", "INSERT_FIRST") => {
            let wanted = &condition["routeConfiguration"];
            assert!(wanted["vhost"].is_null(), "every virtual host");
            let configurations = listeners(resources, context).map(|listener| {
                &mut listener["filter_chains"][0]["filters"][0]["typed_config"]["route_config"]
            });
            let configurations = configurations.filter(|it| is_of(it, wanted, context));
            let hosts = configurations.flat_map(|it| items(it, "virtual_hosts"));
            let inserted = hosts.map(|host| {
                host["routes"]
                    .as_array_mut()
                    .unwrap()
                    .insert(0, value.clone());
            });
            inserted.count()
        }
        ("CLUSTER", "MERGE") => {
            let service = condition["cluster"]["service"].as_str().unwrap();
            let clusters = items(resources, "clusters");
            let is_service = |it: &&mut Value| {
                let mut parts = it["name"].as_str().unwrap().split('|');
                parts.nth(3) == Some(service)
            };
            clusters
                .filter(is_service)
                .map(|it| merge(it, value))
                .count()
        }
        other => panic!("{other:?} is not known here"),
    }
}

/// The listeners that a context means.
fn listeners<'a>(
    resources: &'a mut Value,
    context: &str,
) -> impl Iterator<Item = &'a mut Value> + use<'a> {
    let direction = match context {
        "SIDECAR_OUTBOUND" | "GATEWAY" => "OUTBOUND",
        "SIDECAR_INBOUND" => "INBOUND",
        other => panic!("{other}"),
    };
    items(resources, "listeners").filter(move |it| it["traffic_direction"] == direction)
}

fn items<'a>(value: &'a mut Value, key: &str) -> impl Iterator<Item = &'a mut Value> + use<'a> {
    value[key].as_array_mut().into_iter().flatten()
}

/// Whether routes are those of the port; the routes of a sidecar are called `8080`, and those of a
/// gateway `http.8080`. A gateway by its name only tells servers of one port apart.
fn is_of(routes: &Value, wanted: &Value, context: &str) -> bool {
    let port = wanted["portNumber"].to_string();
    match context {
        "GATEWAY" => routes["name"] == format!("http.{port}"),
        _ => routes["name"] == port,
    }
}

/// A merge of protobuf's: `patch` into `value`.
fn merge(value: &mut Value, patch: &Value) {
    match (value, patch) {
        (Value::Object(map), Value::Object(patch)) => {
            let kinds = (map.get("@type"), patch.get("@type"));
            assert!(kinds.0.is_none() || kinds.0 == kinds.1, "another message");
            for (key, patch) in patch {
                match map.get_mut(key) {
                    Some(value) => merge(value, patch),
                    None => drop(map.insert(key.clone(), patch.clone())),
                }
            }
        }
        (Value::Array(list), Value::Array(patch)) => list.extend(patch.iter().cloned()),
        (value, patch) => *value = patch.clone(),
    }
}

#[test]
fn a_merge_appends_to_what_is_repeated() {
    use serde_json::json;
    let mut value = json!({ "a": [1], "b": { "c": 1 }, "d": 1 });
    merge(&mut value, &json!({ "a": [2], "b": { "e": 2 }, "d": 2 }));
    let expected = json!({ "a": [1, 2], "b": { "c": 1, "e": 2 }, "d": 2 });
    assert_eq!(value, expected);
}

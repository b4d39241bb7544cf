//! Pointsman's part of an Envoy configuration: the plugin configurations of its Wasm filters.

use super::{field, one_problem};
use pointsman_core::config::problem::Problems;
use pointsman_core::config::value::Value;
use type_url::{STRING, STRUCT, WASM};

/// The names of the messages in an Envoy configuration that hold Pointsman's part of it.
pub(crate) mod type_url {
    /// The Wasm filter.
    pub(crate) const WASM: &str = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm";
    /// A plugin configuration that is nested in the Envoy configuration.
    pub(crate) const STRUCT: &str = "type.googleapis.com/google.protobuf.Struct";
    /// A plugin configuration that is a text.
    pub(crate) const STRING: &str = "type.googleapis.com/google.protobuf.StringValue";
}

/// A configuration in a file.
#[derive(Debug)]
pub struct FilterConfiguration {
    /// Which filter of the file it is of: its plugin's name, and its number among ours. Empty where
    /// the file is the configuration itself.
    pub place: String,
    /// The plugin's vm_id, name and root_id, and the `traffic_direction` of its listener, by which a
    /// proxy tells it from others.
    pub plugin: [String; 4],
    /// The configuration.
    pub tree: Value,
}

impl FilterConfiguration {
    /// Whether both are in one VM, and so see one map of shared data.
    pub fn same_vm(&self, other: &FilterConfiguration) -> bool {
        self.plugin[0] == other.plugin[0]
    }
}

/// Whether a tree is an Envoy configuration.
pub(super) fn is_envoy(tree: &Value) -> bool {
    ["static_resources", "resources", "http_filters"]
        .iter()
        .any(|key| field(tree, key).is_some())
}

/// Takes Pointsman's parts out of an Envoy configuration. Any other tree is returned unchanged: it
/// is Pointsman's configuration itself.
pub(super) fn within_envoy(tree: Value) -> Result<Vec<FilterConfiguration>, Problems> {
    if !is_envoy(&tree) {
        return Ok(vec![FilterConfiguration {
            place: String::new(),
            plugin: Default::default(),
            tree,
        }]);
    }
    let mut filters = Vec::new();
    collect_filters(&tree, "", &mut filters);
    // A lone filter is ours, whatever its configuration looks like.
    if let [(filter, direction)] = filters[..] {
        return Ok(vec![part(filter, direction, 0, configuration_of(filter)?)]);
    }
    let mut parts = Vec::new();
    for (filter, direction) in &filters {
        match configuration_of(filter) {
            Ok(tree) if is_ours(&tree) => parts.push(part(filter, direction, parts.len(), tree)),
            // Of another vendor, whatever it is.
            Ok(_) | Err(_) => {}
        }
    }
    match parts.is_empty() {
        false => Ok(parts),
        true => Err(one_problem(
            "",
            &format!(
                "{} Wasm filters in an Envoy configuration, none with Pointsman's keys",
                filters.len()
            ),
            "one with `routes` or `pools`, in a bootstrap, an LDS or an ECDS file",
        )),
    }
}

/// Whether a plugin configuration is one of Pointsman, by its two main keys.
pub(crate) fn is_ours(tree: &Value) -> bool {
    matches!(field(tree, "routes"), Some(Value::List(_)))
        || matches!(field(tree, "pools"), Some(Value::Map(_)))
}

fn part(filter: &Value, direction: &str, number: usize, tree: Value) -> FilterConfiguration {
    let config = field(filter, "config");
    let text = |value: Option<&Value>| match value {
        Some(Value::Text(text)) => text.clone(),
        _ => String::new(),
    };
    let of = |key: &str| text(config.and_then(|config| field(config, key)));
    let vm = config.and_then(|config| field(config, "vm_config"));
    let name = of("name");
    FilterConfiguration {
        place: format!("filter {} `{name}`", number + 1),
        plugin: [
            text(vm.and_then(|vm| field(vm, "vm_id"))),
            name,
            of("root_id"),
            direction.to_owned(),
        ],
        tree,
    }
}

/// The configuration of a Wasm filter of ours. None: the filter is another vendor's.
pub(crate) fn ours_of(filter: &Value) -> Option<Value> {
    configuration_of(filter).ok().filter(is_ours)
}

/// The plugin configuration of a Wasm filter.
fn configuration_of(filter: &Value) -> Result<Value, Problems> {
    let any = field(filter, "config").and_then(|config| field(config, "configuration"));
    let kind = any.and_then(|any| field(any, "@type"));
    match (any.and_then(|any| field(any, "value")), kind) {
        (Some(value), Some(Value::Text(kind))) if kind == STRUCT => Ok(value.clone()),
        (Some(Value::Text(text)), Some(Value::Text(kind))) if kind == STRING => json(text),
        _ => Err(one_problem(
            "config.configuration",
            "something else",
            "a google.protobuf.Struct or StringValue",
        )),
    }
}

/// Parses JSON text, which is all that the filter takes.
fn json(text: &str) -> Result<Value, Problems> {
    serde_json::from_str(text).map_err(|error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        let message = error.to_string();
        let found = message.split(" at line ").next().unwrap_or_default();
        one_problem(&place, found, "JSON text in the StringValue")
    })
}

/// Each Wasm filter with the direction of its listener.
pub(super) fn collect_filters<'a>(
    tree: &'a Value,
    direction: &'a str,
    found: &mut Vec<(&'a Value, &'a str)>,
) {
    let direction = match field(tree, "traffic_direction") {
        Some(Value::Text(direction)) => direction,
        _ => direction,
    };
    match tree {
        Value::Map(_) if matches!(field(tree, "@type"), Some(Value::Text(kind)) if kind == WASM) => {
            found.push((tree, direction))
        }
        Value::Map(map) => map
            .iter()
            .for_each(|(_, value)| collect_filters(value, direction, found)),
        Value::List(list) => list
            .iter()
            .for_each(|value| collect_filters(value, direction, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    #[test]
    fn an_envoy_configuration_is_looked_into() {
        let filter = |configuration: &str| {
            let yaml = format!(
                r#"static_resources: {{ listeners: [{{ "@type": {WASM}, config: {{ configuration: {configuration} }} }}] }}"#
            );
            within_envoy(parse(&yaml).unwrap()).map(|mut parts| parts.remove(0).tree)
        };
        let expected = parse("routes: []").unwrap();
        assert_eq!(
            filter(&format!(
                r#"{{ "@type": {STRUCT}, value: {{ routes: [] }} }}"#
            ))
            .unwrap(),
            expected
        );
        assert_eq!(
            filter(&format!(
                r#"{{ "@type": {STRING}, value: '{{"routes": []}}' }}"#
            ))
            .unwrap(),
            expected
        );
        assert!(filter(r#"{ "@type": x }"#).is_err());
        assert!(within_envoy(parse("static_resources: {}").unwrap()).is_err());
    }

    #[test]
    fn every_filter_of_ours_is_found_beside_those_of_others() {
        let filter = |name: &str, value: &str| {
            format!(
                r#"{{ "@type": {WASM}, config: {{ name: {name}, vm_config: {{ vm_id: vm }},
                    configuration: {{ "@type": {STRUCT}, value: {value} }} }} }}"#
            )
        };
        let found = |filters: &[String]| {
            let yaml = format!("static_resources: {{ listeners: [{}] }}", filters.join(","));
            within_envoy(parse(&yaml).unwrap())
        };
        let waf = filter("waf", "{ rules: [a] }");
        let ours = ["a", "b"].map(|name| filter(name, "{ routes: [] }"));
        let [a, b] = ours;
        let places = |parts: Vec<FilterConfiguration>| {
            parts.into_iter().map(|part| part.place).collect::<Vec<_>>()
        };
        assert_eq!(
            places(found(&[waf.clone(), a.clone()]).unwrap()),
            ["filter 1 `a`"]
        );
        let both = found(&[a, waf.clone(), b]).unwrap();
        assert_eq!(both[1].plugin, ["vm", "b", "", ""].map(String::from));
        assert_eq!(places(both), ["filter 1 `a`", "filter 2 `b`"]);
        assert!(found(&[waf.clone(), waf]).is_err());
    }
}

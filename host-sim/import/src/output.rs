//! What an import makes: a configuration with comments, and what it could not carry over.

use serde::Serialize;
use serde::ser::{SerializeMap, SerializeSeq, Serializer};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::fmt::Write;

/// What an import makes.
#[derive(Clone, Debug, Default)]
pub struct Output {
    /// What was carried over.
    pub configuration: Configuration,
    /// What was not, in the order of the input.
    pub not_carried: Vec<NotCarried>,
}

/// Something of the input that the configuration does not say.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NotCarried {
    /// Where it stands: `HTTPRoute shop/web: spec.rules[0].filters[1].cors`.
    pub path: String,
    /// Why, and what to do instead where there is something.
    pub why: String,
}

/// A configuration of Pointsman, as it is written.
#[derive(Clone, Debug, Default)]
pub struct Configuration {
    /// What a reader should know first, such as the clusters that the proxy must have. One line
    /// each.
    pub notes: Vec<String>,
    /// Keys of the top level besides those below: `client_ip`, `no_route`.
    pub top: Map<String, Value>,
    /// The pools, in the order in which they are written.
    pub pools: Vec<Entry>,
    /// The limits.
    pub rate_limits: Vec<Entry>,
    /// The routes: the first that matches wins.
    pub routes: Vec<Entry>,
}

/// A pool, a limit or a route.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    /// The lines above it: `from: shop/web rule 2`.
    pub comments: Vec<String>,
    /// Its name, unique among its like.
    pub name: String,
    /// All that stands in it but the name.
    pub value: Map<String, Value>,
}

impl Output {
    /// The configuration as commented YAML, with all that was not carried over at its top.
    pub fn to_yaml(&self) -> String {
        let mut text = String::new();
        for note in &self.configuration.notes {
            comment(&mut text, "", note);
        }
        if !self.not_carried.is_empty() {
            if !text.is_empty() {
                text.push_str("#\n");
            }
            comment(&mut text, "", "Not carried over:");
            for NotCarried { path, why } in &self.not_carried {
                comment(&mut text, "", &format!("- {path}: {why}"));
            }
        }
        if !text.is_empty() {
            text.push('\n');
        }
        let Configuration {
            top,
            pools,
            rate_limits,
            routes,
            ..
        } = &self.configuration;
        if !top.is_empty() {
            text.push_str(&yaml(&Value::Object(top.clone())));
        }
        for (key, entries) in [("pools", pools), ("rate_limits", rate_limits)] {
            if !entries.is_empty() {
                text.push_str(&format!("{key}:\n"));
            }
            for entry in entries {
                for line in &entry.comments {
                    comment(&mut text, "  ", line);
                }
                let value = json!({ &entry.name: entry.value });
                indented(&mut text, "  ", "  ", &yaml(&value));
            }
        }
        if routes.is_empty() {
            text.push_str("routes: []\n");
            return text;
        }
        text.push_str("routes:\n");
        for entry in routes {
            for line in &entry.comments {
                comment(&mut text, "  ", line);
            }
            indented(&mut text, "  - ", "    ", &yaml(&route(entry)));
        }
        text
    }

    /// Takes out the pools and limits that no route uses: those of routes that were left out.
    pub fn drop_unused(&mut self) {
        let Configuration {
            pools,
            rate_limits,
            routes,
            ..
        } = &mut self.configuration;
        let (mut used_pools, mut used_limits) = (BTreeSet::new(), BTreeSet::new());
        let add = |used: &mut BTreeSet<String>, name: &Value| {
            used.extend(name.as_str().map(str::to_owned));
        };
        for Entry { value, .. } in routes.iter() {
            add(
                &mut used_pools,
                &value.get("pool").cloned().unwrap_or_default(),
            );
            for key in ["split", "mirror"] {
                let parts = value.get(key).cloned().unwrap_or_default();
                add(&mut used_pools, &parts["pool"]);
                for part in parts.as_array().into_iter().flatten() {
                    add(&mut used_pools, &part["pool"]);
                }
            }
            let limits = value.get("rate_limits").and_then(Value::as_array);
            for limit in limits.into_iter().flatten() {
                add(&mut used_limits, limit);
            }
        }
        for Entry { name, value, .. } in pools.iter() {
            if used_pools.contains(name) {
                let others = value.get("failover").and_then(Value::as_array).cloned();
                for other in others.into_iter().flatten() {
                    add(&mut used_pools, &other);
                }
            }
        }
        pools.retain(|entry| used_pools.contains(&entry.name));
        rate_limits.retain(|entry| used_limits.contains(&entry.name));
    }

    /// The configuration as the filter takes it.
    pub fn to_json(&self) -> Value {
        let Configuration {
            top,
            pools,
            rate_limits,
            routes,
            ..
        } = &self.configuration;
        let mut all = top.clone();
        for (key, entries) in [("pools", pools), ("rate_limits", rate_limits)] {
            if !entries.is_empty() {
                let by_name = entries
                    .iter()
                    .map(|entry| (entry.name.clone(), entry.value.clone().into()));
                all.insert(key.into(), Value::Object(by_name.collect()));
            }
        }
        all.insert("routes".into(), routes.iter().map(route).collect());
        Value::Object(all)
    }

    /// What `--json` prints: `configuration`, and `not_carried` with `path` and `why`.
    pub fn to_object(&self) -> Value {
        let not_carried = self
            .not_carried
            .iter()
            .map(|NotCarried { path, why }| json!({ "path": path, "why": why }));
        json!({
            "configuration": self.to_json(),
            "not_carried": not_carried.collect::<Vec<_>>(),
        })
    }
}

fn route(entry: &Entry) -> Value {
    let mut value = entry.value.clone();
    value.insert("name".into(), entry.name.clone().into());
    Value::Object(value)
}

/// Appends a line of comment. What the input says never ends it.
fn comment(text: &mut String, indent: &str, line: &str) {
    let shown = line
        .chars()
        .map(|c| if is_line_safe(c) { c } else { '\u{fffd}' });
    let shown: String = shown.collect();
    let _ = writeln!(text, "{}", format!("{indent}# {shown}").trim_end());
}

/// Whether YAML allows it within a comment.
fn is_line_safe(c: char) -> bool {
    !c.is_control()
        && !matches!(
            c,
            '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
        )
}

fn indented(text: &mut String, first: &str, others: &str, block: &str) {
    for (index, line) in block.lines().enumerate() {
        let indent = if index == 0 { first } else { others };
        let _ = writeln!(text, "{indent}{line}");
    }
}

/// A value as YAML that every reader reads alike: `no` is quoted.
fn yaml(value: &Value) -> String {
    let options = serde_saphyr::ser_options! {
        // A block would have to be indented by its own rules.
        prefer_block_scalars: false,
        compact_list_indent: false,
    };
    serde_saphyr::to_string_with_options(&Ordered(value), options)
        .expect("a value of JSON is one of YAML")
}

/// The keys that stand first in their map, in this order. All others follow by name.
const ORDER: &[&str] = &[
    "name",
    "match",
    "hosts",
    "scheme",
    "path",
    "ignore_case",
    "methods",
    "headers",
    "cookies",
    "query",
    "client_ip",
    "rate_limits",
    "request_headers",
    "response_headers",
    "rewrite",
    "timeout",
    "retry",
    "mirror",
    "cluster",
    "endpoint",
    "pool",
    "split",
    "redirect",
    "respond",
    "pass",
    "balance",
    "targets",
    "weight",
    "sticky",
    "failover",
    "health",
];

/// A value whose maps are in the order of [`ORDER`].
struct Ordered<'v>(&'v Value);

impl Serialize for Ordered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(map) => {
                let place = |key: &str| ORDER.iter().position(|it| *it == key);
                let mut pairs: Vec<_> = map.iter().collect();
                pairs.sort_by_key(|(key, _)| (place(key).unwrap_or(ORDER.len()), key.as_str()));
                let mut out = serializer.serialize_map(Some(pairs.len()))?;
                for (key, value) in pairs {
                    out.serialize_entry(key, &Ordered(value))?;
                }
                out.end()
            }
            Value::Array(items) => {
                let mut out = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    out.serialize_element(&Ordered(item))?;
                }
                out.end()
            }
            other => other.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(comment: &str, name: &str, value: Value) -> Entry {
        let Value::Object(value) = value else {
            panic!("{value}")
        };
        Entry {
            comments: vec![comment.into()],
            name: name.into(),
            value,
        }
    }

    fn output() -> Output {
        Output {
            configuration: Configuration {
                notes: vec!["imported".into()],
                pools: vec![entry(
                    "a service",
                    "web",
                    json!({ "targets": [{ "cluster": "no" }] }),
                )],
                routes: vec![
                    entry(
                        "from: a\nb",
                        "all",
                        json!({ "pool": "web", "match": { "path": { "prefix": "/" } },
                            "request_headers": { "set": { "x": ["1", "two\nlines"] } } }),
                    ),
                    entry("", "010", json!({ "pass": true })),
                ],
                ..Configuration::default()
            },
            not_carried: vec![NotCarried {
                path: "a.b".into(),
                why: "for a reason".into(),
            }],
        }
    }

    #[test]
    fn what_no_route_uses_is_dropped() {
        let mut output = output();
        let pools = &mut output.configuration.pools;
        pools[0].value.insert("failover".into(), json!(["spare"]));
        for name in ["spare", "part", "copy", "unused"] {
            pools.push(entry("", name, json!({})));
        }
        let split = json!({ "split": [{ "pool": "part" }], "mirror": { "pool": "copy" },
            "rate_limits": ["used"] });
        output.configuration.routes.push(entry("", "split", split));
        for name in ["used", "unused"] {
            output
                .configuration
                .rate_limits
                .push(entry("", name, json!({})));
        }
        output.drop_unused();
        let names = |entries: &[Entry]| {
            let names = entries.iter().map(|entry| entry.name.clone());
            names.collect::<Vec<_>>()
        };
        assert_eq!(
            names(&output.configuration.pools),
            ["web", "spare", "part", "copy"]
        );
        assert_eq!(names(&output.configuration.rate_limits), ["used"]);
    }

    #[test]
    fn yaml_has_comments_and_says_the_same_as_json() {
        let text = output().to_yaml();
        let read: Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(read, output().to_json(), "{text}");
        assert_eq!(
            text,
            "# imported\n#\n# Not carried over:\n# - a.b: for a reason\n\n\
             pools:\n  # a service\n  web:\n    targets:\n      - cluster: \"no\"\n\
             routes:\n  # from: a\u{fffd}b\n  - name: all\n    match:\n      path:\n        \
             prefix: /\n    request_headers:\n      set:\n        x:\n          - \"1\"\n          \
             - \"two\\nlines\"\n    pool: web\n  #\n  - name: \"010\"\n    pass: true\n"
        );
    }
}

//! `matches` of a rule: what a request must have, and how exact that is.

use crate::fields::Fields;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// One match.
#[derive(Clone, Debug)]
pub(super) struct Match {
    /// What the specification compares, the greater the earlier.
    pub precedence: [usize; 5],
    /// The block, without hosts.
    pub block: Map<String, Value>,
    /// Whether the path is matched by its prefix.
    pub is_prefix: bool,
}

/// What is said of a match that asks for something that cannot be asked for.
const DROPPED: &str = "the whole match was left out: without this condition it would take other \
                       requests too";

/// Reads the `matches` of an `HTTPRoute`'s rule. Without any they are every path.
pub(super) fn http(rule: &mut Fields) -> Vec<Match> {
    if rule.is_empty("matches") {
        rule.ignore("matches");
        let (block, _) = path(None).unwrap_or_default();
        return vec![Match {
            precedence: [0, 1, 0, 0, 0],
            block,
            is_prefix: true,
        }];
    }
    let items = rule.items("matches").into_iter();
    items.filter_map(|mut item| one(&mut item)).collect()
}

fn one(item: &mut Fields) -> Option<Match> {
    // All are read before one gives up, so that what is wrong with each is said.
    let path = match item.fields("path") {
        None => path(None),
        Some(mut fields) => path(Some(&mut fields)),
    };
    let headers = conditions(item, "headers", true);
    let query = conditions(item, "queryParams", false);
    let method = item.text("method");
    let ((mut block, exactness), headers, query) = match (path, headers, query) {
        (Some(path), Some(headers), Some(query)) => (path, headers, query),
        _ => {
            item.report().add(item.place(), DROPPED);
            return None;
        }
    };
    let [class, length] = exactness;
    let precedence = [
        class,
        length,
        usize::from(method.is_some()),
        headers.len(),
        query.len(),
    ];
    if let Some(method) = method {
        block.insert("methods".into(), json!([method]));
    }
    for (key, conditions) in [("headers", headers), ("query", query)] {
        if !conditions.is_empty() {
            block.insert(key.into(), conditions.into());
        }
    }
    Some(Match {
        precedence,
        block,
        is_prefix: class == PREFIX,
    })
}

const PREFIX: usize = 0;
/// The specification leaves the place of patterns open; Envoy Gateway has them here.
const REGEX: usize = 1;
const EXACT: usize = 2;

/// The path's condition with its class and its length.
fn path(fields: Option<&mut Fields>) -> Option<(Map<String, Value>, [usize; 2])> {
    let mut block = Map::new();
    let Some(fields) = fields else {
        block.insert("path".into(), json!({ "prefix": "/" }));
        return Some((block, [PREFIX, 1]));
    };
    const TYPES: &[&str] = &["Exact", "PathPrefix", "RegularExpression"];
    let kind = fields.word("type", TYPES, "PathPrefix");
    let value = match fields.has("value") {
        true => fields.text("value")?,
        false => "/".into(),
    };
    let (key, class) = match kind? {
        "Exact" => ("exact", EXACT),
        "RegularExpression" => ("regex", REGEX),
        _ => ("prefix", PREFIX),
    };
    if class != REGEX && (!value.starts_with('/') || value.contains(['?', '#'])) {
        fields.not_carried(
            "value",
            "no path: it has to start with `/`, without a query",
        );
        return None;
    }
    // `/a` and `/a/` are one prefix.
    let counted = match class {
        PREFIX if value.len() > 1 => value.trim_end_matches('/'),
        _ => &value,
    };
    let length = counted.chars().count();
    block.insert("path".into(), json!({ key: value }));
    Some((block, [class, length]))
}

/// `headers` or `queryParams`. Of several of one name the specification takes the first. None: one
/// cannot be carried over.
fn conditions(item: &mut Fields, key: &str, of_headers: bool) -> Option<Vec<Value>> {
    let mut names = BTreeSet::new();
    let mut conditions = Vec::new();
    let mut complete = true;
    for mut fields in item.items(key) {
        let kind = fields.word("type", &["Exact", "RegularExpression"], "Exact");
        let (name, value) = (fields.text("name"), fields.text("value"));
        let (Some(kind), Some(name), Some(value)) = (kind, name, value) else {
            complete = false;
            continue;
        };
        let compared = match of_headers {
            true => name.to_ascii_lowercase(),
            false => name.clone(),
        };
        if !names.insert(compared) {
            fields.report().add(
                fields.place(),
                "a condition on the same name stands before it, and the specification ignores \
                 this one",
            );
            continue;
        }
        if of_headers && name.eq_ignore_ascii_case("host") {
            fields.not_carried("name", "the host is matched by `hostnames`");
            complete = false;
            continue;
        }
        let kind = match kind {
            "RegularExpression" => "regex",
            _ => "exact",
        };
        conditions.push(json!({ "name": name, kind: value }));
    }
    complete.then_some(conditions)
}

/// Reads the `matches` of a `GRPCRoute`'s rule. Without any they are every call.
pub(super) fn grpc(rule: &mut Fields) -> Vec<Match> {
    if rule.is_empty("matches") {
        rule.ignore("matches");
        return vec![Match {
            precedence: [0; 5],
            block: call(None, None, false),
            is_prefix: false,
        }];
    }
    let items = rule.items("matches").into_iter();
    items.filter_map(|mut item| one_call(&mut item)).collect()
}

fn one_call(item: &mut Fields) -> Option<Match> {
    let (mut service, mut method, mut kind) = (None, None, Some("Exact"));
    if let Some(mut fields) = item.fields("method") {
        kind = fields.word("type", &["Exact", "RegularExpression"], "Exact");
        // An empty one is any, as if it were absent.
        service = fields.text("service").filter(|text| !text.is_empty());
        method = fields.text("method").filter(|text| !text.is_empty());
    }
    let (Some(kind), Some(headers)) = (kind, conditions(item, "headers", true)) else {
        item.report().add(item.place(), DROPPED);
        return None;
    };
    let length = |text: &Option<String>| text.as_ref().map_or(0, |text| text.chars().count());
    let precedence = [length(&service), length(&method), headers.len(), 0, 0];
    let mut block = call(service.as_deref(), method.as_deref(), kind != "Exact");
    if let Some(Value::Array(all)) = block.get_mut("headers") {
        all.extend(headers);
    }
    Some(Match {
        precedence,
        block,
        is_prefix: false,
    })
}

/// Calls of a service's method: both are segments of the path.
fn call(service: Option<&str>, method: Option<&str>, is_regex: bool) -> Map<String, Value> {
    let mut block = Map::new();
    let path = match (service, method) {
        (None, None) => None,
        (service, method) if is_regex => {
            let part = |part: Option<&str>| match part {
                Some(pattern) => format!("(?:{pattern})"),
                None => "[^/]+".to_owned(),
            };
            Some(json!({ "regex": format!("/{}/{}", part(service), part(method)) }))
        }
        (Some(service), Some(method)) => Some(json!({ "exact": format!("/{service}/{method}") })),
        (Some(service), None) => Some(json!({ "prefix": format!("/{service}/") })),
        (None, Some(method)) => Some(json!({ "template": format!("/{{service}}/{method}") })),
    };
    if let Some(path) = path {
        block.insert("path".into(), path);
    }
    // What makes a request a call.
    block.insert("methods".into(), json!(["POST"]));
    block.insert(
        "headers".into(),
        json!([{ "name": "content-type", "prefix": "application/grpc" }]),
    );
    block
}

//! `filters` of a rule or of a backend.

use super::Context;
use super::backends::{self, Owner};
use crate::fields::Fields;
use crate::header_edits::{Edit, HeaderEdits, literal};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// What the filters of a rule or a backend say.
#[derive(Debug, Default)]
pub(super) struct Filters {
    pub request: HeaderEdits,
    pub response: HeaderEdits,
    /// The redirect, and whether it replaces the path's prefix.
    pub redirect: Option<Change>,
    /// The rewrite, and whether it replaces the path's prefix.
    pub rewrite: Option<Change>,
    /// The value of `mirror`.
    pub mirror: Option<Value>,
    /// A filter decides whether a request may pass, and could not be carried over.
    pub is_closed: bool,
}

/// A redirect or a rewrite.
#[derive(Clone, Debug, Default)]
pub(super) struct Change {
    pub value: Map<String, Value>,
    /// Where it replaces the path's prefix: the filter's place.
    pub replaces_prefix: Option<String>,
}

/// Reads `filters`.
pub(super) fn read(of: &mut Fields, owner: &Owner<'_>, context: &mut Context<'_>) -> Filters {
    const TYPES: &[&str] = &[
        "RequestHeaderModifier",
        "ResponseHeaderModifier",
        "RequestRedirect",
        "URLRewrite",
        "RequestMirror",
        "CORS",
        "ExternalAuth",
        "ExtensionRef",
    ];
    let mut filters = Filters::default();
    let mut met = BTreeSet::new();
    for mut item in of.items("filters") {
        let Some(kind) = item.word("type", TYPES, "") else {
            // An unknown filter may have been what keeps requests out.
            filters.is_closed = true;
            continue;
        };
        if !met.insert(kind) && kind != "ExtensionRef" {
            let why = match kind {
                "RequestMirror" => "a route has one mirror",
                _ => "a rule has one filter of this type, and the first is taken",
            };
            item.report().add(item.place(), why);
            for key in item.keys() {
                item.ignore(&key);
            }
            continue;
        }
        match kind {
            "RequestHeaderModifier" => {
                edits(&mut item, "requestHeaderModifier", &mut filters.request);
            }
            "ResponseHeaderModifier" => {
                edits(&mut item, "responseHeaderModifier", &mut filters.response);
            }
            "RequestRedirect" => filters.redirect = redirect(&mut item),
            "URLRewrite" => filters.rewrite = rewrite(&mut item),
            "RequestMirror" => filters.mirror = mirror(&mut item, owner, context),
            "CORS" => {
                item.refuse(
                    "cors",
                    "the configuration has no CORS: let the proxy answer preflights, such as by \
                     Envoy's filter `envoy.filters.http.cors` before this one",
                );
            }
            "ExternalAuth" => {
                filters.is_closed = true;
                item.refuse(
                    "externalAuth",
                    "the configuration asks nobody: put the proxy's own filter, such as Envoy's \
                     `ext_authz`, before this one. Until then the route answers 500",
                );
            }
            "ExtensionRef" => {
                filters.is_closed = true;
                item.refuse(
                    "extensionRef",
                    "what it refers to is not read; as the specification has it, the route answers \
                     500 until you say here what should happen",
                );
            }
            _ => {
                filters.is_closed = true;
                item.report().add(item.path("type"), "missing");
            }
        }
    }
    filters
}

fn edits(item: &mut Fields, key: &str, edits: &mut HeaderEdits) {
    let Some(mut fields) = item.needed(key) else {
        return;
    };
    for (key, edit) in [("set", Edit::Set), ("add", Edit::Add)] {
        for mut header in fields.items(key) {
            let (name, value) = (header.text("name"), header.text("value"));
            if let Err(why) =
                edits.edit(edit, &name.unwrap_or_default(), &value.unwrap_or_default())
            {
                header.report().add(header.place(), why);
            }
        }
    }
    for (place, name) in fields.list("remove") {
        let removed = match &name {
            Value::String(name) => edits.remove(name),
            _ => Err("a string is expected".into()),
        };
        if let Err(why) = removed {
            fields.report().add(place, why);
        }
    }
}

fn redirect(item: &mut Fields) -> Option<Change> {
    let mut fields = item.needed("requestRedirect")?;
    let mut change = new_path(&mut fields);
    if let Some(scheme) = fields.text("scheme") {
        match &*scheme {
            "http" | "https" => {
                change.value.insert("scheme".into(), scheme.into());
            }
            _ => fields.not_carried("scheme", "neither http nor https"),
        }
    }
    if let Some(host) = fields.text("hostname") {
        change.value.insert("host".into(), literal(&host).into());
    }
    if let Some(port) = fields.whole("port") {
        change.value.insert("port".into(), port.into());
    }
    let status = match fields.has("statusCode") {
        true => fields.whole("statusCode"),
        false => Some(302),
    };
    match status {
        Some(status @ (301 | 302 | 303 | 307 | 308)) => {
            change.value.insert("status".into(), status.into());
        }
        _ => fields.not_carried(
            "statusCode",
            "none of 301, 302, 303, 307, 308; 302 is taken",
        ),
    }
    Some(change)
}

fn rewrite(item: &mut Fields) -> Option<Change> {
    let mut fields = item.needed("urlRewrite")?;
    let mut change = new_path(&mut fields);
    if let Some(host) = fields.text("hostname") {
        change.value.insert("host".into(), literal(&host).into());
    }
    (!change.value.is_empty()).then_some(change)
}

/// `path` of a redirect or a rewrite.
fn new_path(fields: &mut Fields) -> Change {
    let mut change = Change::default();
    let Some(mut path) = fields.fields("path") else {
        return change;
    };
    const TYPES: &[&str] = &["ReplaceFullPath", "ReplacePrefixMatch"];
    let (key, text) = match path.word("type", TYPES, "") {
        Some("ReplaceFullPath") => ("path", path.text("replaceFullPath")),
        Some("ReplacePrefixMatch") => ("path_prefix", path.text("replacePrefixMatch")),
        _ => return change,
    };
    // Nothing in place of the prefix leaves the rest, and that of nothing is `/`.
    let text = match text.unwrap_or_default() {
        text if text.is_empty() => "/".to_owned(),
        text => text,
    };
    let is_good = text.starts_with('/')
        && !text.contains(['?', '#'])
        && !text.contains(|c: char| c.is_whitespace() || c.is_control());
    if !is_good {
        let why = "no path: it has to start with `/`, without a query, a fragment and blanks";
        path.report().add(path.place(), why);
        return change;
    }
    let text = match key {
        "path" => literal(&text),
        _ => {
            change.replaces_prefix = Some(path.place().to_owned());
            text
        }
    };
    change.value.insert(key.into(), text.into());
    change
}

fn mirror(item: &mut Fields, owner: &Owner<'_>, context: &mut Context<'_>) -> Option<Value> {
    let mut fields = item.needed("requestMirror")?;
    let backend = fields
        .needed("backendRef")
        .and_then(|mut backend| backends::one(&mut backend, owner, 0, context));
    let percent = match (fields.whole("percent"), fields.fields("fraction")) {
        (Some(percent), _) => percent as f64,
        (None, Some(mut fraction)) => {
            let denominator = match fraction.has("denominator") {
                true => fraction.whole("denominator")?,
                false => 100,
            };
            let numerator = fraction.whole("numerator")?;
            let percent = numerator as f64 * 100.0 / denominator as f64;
            // The configuration takes four decimals.
            let rounded = (percent * 10_000.0).round() / 10_000.0;
            if (rounded - percent).abs() > 1e-9 {
                let why = format!("{percent} percent is not whole in ten-thousandths: {rounded}");
                fraction.report().add(fraction.place(), why);
            }
            rounded
        }
        (None, None) => 100.0,
    };
    if !(0.0..=100.0).contains(&percent) {
        fields
            .report()
            .add(fields.place(), "a share that is not from 0 to 100 percent");
        return None;
    }
    let backend = backend?;
    let pool = context.pools.of_cluster(&backend.cluster, &backend.comment);
    let mut mirror = json!({ "pool": pool });
    if percent < 100.0 {
        // People read `5` and not `5.0`.
        mirror["percent"] = match percent.fract() == 0.0 {
            true => json!(percent as i64),
            false => json!(percent),
        };
    }
    Some(mirror)
}

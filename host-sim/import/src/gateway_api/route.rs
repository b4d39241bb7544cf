//! One `HTTPRoute` or `GRPCRoute`.

use super::Context;
use super::backends::{self, Owner};
use super::filters::{self, Change};
use super::matches::{self, Match};
use super::parents::{Attached, Parents};
use crate::duration;
use crate::fields::Fields;
use crate::kubernetes::{Object, refuse_annotations};
use serde_json::{Map, Value, json};

/// A route.
#[derive(Debug)]
pub(super) struct Route {
    pub kind: String,
    pub namespace: String,
    pub name: String,
    /// In RFC 3339; empty where it is not known.
    pub created: String,
    /// Empty: every host.
    pub hostnames: Vec<String>,
    pub attached: Attached,
    pub rules: Vec<Rule>,
}

/// A rule of it.
#[derive(Debug)]
pub(super) struct Rule {
    /// From 0.
    pub number: usize,
    pub name: Option<String>,
    pub matches: Vec<Match>,
    /// All of the configuration's route but its name and its `match`.
    pub value: Map<String, Value>,
}

impl Route {
    /// `HTTPRoute shop/web`.
    pub(super) fn title(&self) -> String {
        format!("{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// Reads a route. None: it is for another gateway.
pub(super) fn read(
    object: Object,
    parents: &mut Parents<'_>,
    context: &mut Context<'_>,
) -> Option<Route> {
    let title = object.title();
    let Object {
        kind,
        namespace,
        name,
        created,
        mut fields,
        annotations,
        ..
    } = object;
    let mut spec = fields.fields("spec")?;
    let Some(attached) = parents.read(&mut spec, &title, &namespace) else {
        // It was asked for that it is left out, and a note says that it was.
        for fields in [Some(spec), annotations].iter_mut().flatten() {
            for key in fields.keys() {
                fields.ignore(&key);
            }
        }
        return None;
    };
    refuse_annotations(annotations);
    let hostnames = spec.texts("hostnames");
    // Without `rules` an HTTPRoute has one, which takes every path to no backend.
    let mut items = match spec.has("rules") || kind != "HTTPRoute" {
        true => spec.items("rules"),
        false => Vec::from_iter(Fields::of(spec.path("rules"), Value::Null, spec.report())),
    };
    let rules = items.iter_mut().enumerate().map(|(number, fields)| {
        let owner = Owner {
            kind: &kind,
            namespace: &namespace,
            name: &name,
            rule: number,
        };
        rule(fields, &owner, context)
    });
    let rules = rules.collect();
    Some(Route {
        kind,
        namespace,
        name,
        created,
        hostnames: hostnames.iter().map(|it| it.to_ascii_lowercase()).collect(),
        attached,
        rules,
    })
}

fn rule(fields: &mut Fields, owner: &Owner<'_>, context: &mut Context<'_>) -> Rule {
    let name = fields.text("name");
    let matches = match owner.kind {
        "GRPCRoute" => matches::grpc(fields),
        _ => matches::http(fields),
    };
    let filters = filters::read(fields, owner, context);
    let sticky = session_persistence(fields, owner);
    let mut value = Map::new();
    for (key, edits) in [
        ("request_headers", &filters.request),
        ("response_headers", &filters.response),
    ] {
        if let Some(edits) = edits.value() {
            value.insert(key.into(), edits);
        }
    }
    let all_prefixes = matches.iter().all(|it| it.is_prefix);
    if let Some(rewrite) = filters.rewrite {
        let rewrite = with_prefix(rewrite, all_prefixes, fields);
        if !rewrite.is_empty() {
            value.insert("rewrite".into(), rewrite.into());
        }
    }
    timeouts(fields, &mut value);
    if let Some(mirror) = filters.mirror {
        value.insert("mirror".into(), mirror);
    }
    let (action, what) = match filters.redirect {
        _ if filters.is_closed => {
            fields.refuse("backendRefs", backends::CLOSED);
            ("respond", json!({ "status": 500 }))
        }
        Some(redirect) => {
            fields.refuse("backendRefs", "the rule redirects, so nothing reaches them");
            (
                "redirect",
                with_prefix(redirect, all_prefixes, fields).into(),
            )
        }
        None => backends::action(fields, sticky, owner, context),
    };
    if ["redirect", "respond"].contains(&action) {
        for key in ["request_headers", "rewrite", "timeout", "retry", "mirror"] {
            if value.remove(key).is_some() {
                let why = format!("the rule answers by itself, where `{key}` has no effect");
                fields.report().add(fields.place(), why);
            }
        }
    }
    value.insert(action.into(), what);
    Rule {
        number: owner.rule,
        name,
        matches,
        value,
    }
}

/// The change, without the new prefix where not every match has one.
fn with_prefix(change: Change, all_prefixes: bool, fields: &Fields) -> Map<String, Value> {
    let mut value = change.value;
    if let Some(place) = change.replaces_prefix.filter(|_| !all_prefixes) {
        value.remove("path_prefix");
        fields.report().add(
            place,
            "not every match of the rule is a PathPrefix, so there is no prefix to replace",
        );
    }
    value
}

/// `timeouts` and `retry`.
fn timeouts(fields: &mut Fields, value: &mut Map<String, Value>) {
    let (mut request, mut backend) = (None, None);
    if let Some(mut timeouts) = fields.fields("timeouts") {
        request = duration_of(&mut timeouts, "request");
        backend = duration_of(&mut timeouts, "backendRequest");
    }
    let mut retry = fields.fields("retry").map(|mut fields| retry(&mut fields));
    match (&mut retry, backend) {
        (Some(retry), Some(backend)) if backend > 0 => {
            retry.insert("per_try_timeout".into(), duration::text(backend).into());
        }
        // Without retries the one request to the backend is the whole. 0 is no limit.
        (None, Some(backend)) => {
            request = match request {
                Some(request) if request > 0 && backend > 0 => Some(request.min(backend)),
                Some(request) if backend == 0 => Some(request),
                _ => Some(backend),
            };
        }
        _ => {}
    }
    if let Some(request) = request {
        value.insert("timeout".into(), duration::text(request).into());
    }
    if let Some(retry) = retry {
        value.insert("retry".into(), retry.into());
    }
}

fn duration_of(fields: &mut Fields, key: &str) -> Option<u64> {
    let text = fields.text(key)?;
    let duration = duration::gateway_api(&text);
    if duration.is_none() {
        fields.not_carried(
            key,
            format!("`{text}` is no duration such as 1h30m or 500ms"),
        );
    }
    duration
}

/// How often Envoy tries again where nothing is said.
const ATTEMPTS: i64 = 1;
/// The most attempts that the configuration takes.
const MOST_ATTEMPTS: i64 = 100;

fn retry(fields: &mut Fields) -> Map<String, Value> {
    let mut retry = Map::new();
    let attempts = match fields.has("attempts") {
        true => fields.whole("attempts").unwrap_or(ATTEMPTS),
        false => {
            fields.not_carried(
                "attempts",
                format!(
                    "missing, and the specification leaves the number to each gateway: carried \
                     over as {ATTEMPTS}, as Envoy has it"
                ),
            );
            ATTEMPTS
        }
    };
    if attempts > MOST_ATTEMPTS {
        let why = format!("{attempts} are too many: carried over as {MOST_ATTEMPTS}");
        fields.not_carried("attempts", why);
    }
    retry.insert("attempts".into(), attempts.min(MOST_ATTEMPTS).into());
    fields.refuse(
        "backoff",
        "the configuration has no pause between attempts: Envoy's own begins with 25ms",
    );
    // Without any status the specification retries where there was no answer.
    let mut on = vec!["connect-failure", "refused-stream", "reset"];
    let codes = fields.list("codes");
    let has = |code: i64| codes.iter().any(|(_, it)| it.as_i64() == Some(code));
    let is_gateway_error = [502, 503, 504].into_iter().all(has);
    for (place, code) in &codes {
        let word = match code.as_i64() {
            Some(502..=504) if is_gateway_error => "gateway-error",
            Some(409) => "retriable-4xx",
            _ => {
                let why = format!(
                    "`retry.on` has Envoy's words and no list of statuses: `gateway-error` is 502, \
                     503 and 504 together, `5xx` all of them; {code} alone is not retried"
                );
                fields.report().add(place, why);
                continue;
            }
        };
        if !on.contains(&word) {
            on.push(word);
        }
    }
    retry.insert("on".into(), json!(on));
    retry
}

/// `sessionPersistence`: the value of `sticky`.
fn session_persistence(rule: &mut Fields, owner: &Owner<'_>) -> Option<Value> {
    let mut fields = rule.fields("sessionPersistence")?;
    let kind = fields.word("type", &["Cookie", "Header"], "Cookie")?;
    fields.refuse(
        "idleTimeout",
        "a session of the configuration ends a time after its beginning and not after its last \
         request",
    );
    let ttl = duration_of(&mut fields, "absoluteTimeout");
    let old_name = fields.text("sessionName");
    let report = fields.report().clone();
    if kind == "Header" {
        let name = fields.fields("header").and_then(|mut it| it.text("name"));
        if ttl.is_some() {
            fields.not_carried("absoluteTimeout", "the hash of a header does not end");
        }
        report.add(
            fields.place(),
            "carried over as the hash of the header that the client sends; the specification has \
             the gateway make it up, and tell it in the response",
        );
        let name = name.or(old_name).unwrap_or_else(|| "x-session".into());
        return Some(json!({ "header": name }));
    }
    let mut cookie = Map::new();
    let mut lifetime = None;
    let mut name = None;
    // `cookieConfig` until release 1.5.
    for key in ["cookie", "cookieConfig"] {
        if let Some(mut fields) = fields.fields(key) {
            lifetime =
                lifetime.or(fields.word("lifetimeType", &["Session", "Permanent"], "Session"));
            name = name.or(fields.text("name"));
            if let Some(path) = fields.text("path") {
                cookie.insert("path".into(), path.into());
            }
        }
    }
    let default = || format!("pm-{}-{}-{}", owner.namespace, owner.name, owner.rule);
    let name = name.or(old_name);
    // A session's name may be any text, a cookie's name may not.
    let is_token = |name: &String| {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        !name.is_empty() && name.bytes().all(is_part)
    };
    if let Some(name) = name.as_ref().filter(|name| !is_token(name)) {
        let why = format!(
            "`{name}` is no name of a cookie: carried over as `{}`",
            default()
        );
        fields.not_carried("sessionName", why);
    }
    let name = name.filter(is_token).unwrap_or_else(default);
    cookie.insert("name".into(), name.into());
    match (ttl, lifetime) {
        (Some(ttl), Some("Permanent")) if ttl >= 1000 => {
            if ttl % 1000 != 0 {
                fields.not_carried(
                    "absoluteTimeout",
                    "a cookie's time is whole seconds: shortened",
                );
            }
            cookie.insert("ttl".into(), duration::text(ttl / 1000 * 1000).into());
        }
        (Some(_), _) => fields.not_carried(
            "absoluteTimeout",
            "a cookie that is not permanent ends with the browser's session alone",
        ),
        (None, _) => {}
    }
    report.add(
        fields.place(),
        "carried over so far as a client stays with one of the rule's backends; to hold it to one \
         endpoint of it, write a pool of endpoints (`cluster`, and targets with `endpoint`)",
    );
    Some(json!({ "cookie": cookie }))
}

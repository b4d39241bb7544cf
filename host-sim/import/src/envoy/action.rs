//! What happens to a request: Envoy's `RouteAction`, `RedirectAction` and `DirectResponseAction`.

use super::format;
use super::headers::{self, Level};
use super::matches::{self, Conditions, PathForm};
use super::message::Message;
use super::pools::{Affinity, Pools};
use super::regex;
use super::sessions;
use super::strings;
use pointsman_core::config::syntax;
use serde_json::{Map, Value, json};

/// What the levels above a route say of it.
#[derive(Debug, Default)]
pub(super) struct Outer {
    /// `retry` of the virtual host.
    pub(super) retry: Option<Value>,
    /// `mirror` of the virtual host or of all routes: a cluster, and the share in percent.
    pub(super) mirror: Option<Mirror>,
    /// How clients stay with an endpoint, and where that stands.
    pub(super) session: Option<(Affinity, String)>,
}

/// A copy of requests.
#[derive(Clone, Debug)]
pub(super) struct Mirror {
    cluster: String,
    percent: f64,
}

/// Header edits, from the route to the table, in the order in which Envoy makes them.
#[derive(Debug)]
pub(super) struct Edits<'e> {
    pub(super) request: Vec<&'e Level>,
    pub(super) response: Vec<&'e Level>,
}

impl Edits<'_> {
    /// The keys `request_headers` and `response_headers`, with those of a part of a split.
    fn keys(&self, part: Option<(&Level, &Level)>) -> Map<String, Value> {
        let mut keys = Map::new();
        let mut put = |key: &str, outer: &[&Level], own: Option<&Level>| {
            let mut levels = outer.to_vec();
            // Envoy makes those of a part first, whatever the order of the others.
            if let Some(own) = own {
                levels.insert(0, own);
            }
            if let Some(edits) = headers::edits(&levels) {
                keys.insert(key.into(), edits);
            }
        };
        put("request_headers", &self.request, part.map(|(own, _)| own));
        put("response_headers", &self.response, part.map(|(_, own)| own));
        keys
    }
}

/// The keys of a route. None: the request has to go to Envoy's own routes, and what was in the way
/// has been reported.
pub(super) type Keys = Option<Map<String, Value>>;

/// Reads a `RouteAction`.
pub(super) fn forward(
    mut from: Message,
    conditions: &Conditions,
    edits: &Edits<'_>,
    outer: &Outer,
    pools: &mut Pools,
) -> Keys {
    let keys = forward_keys(&mut from, conditions, edits, outer, pools);
    if keys.is_none() {
        // The whole route is named.
        from.rest();
    }
    keys
}

fn forward_keys(
    from: &mut Message,
    conditions: &Conditions,
    edits: &Edits<'_>,
    outer: &Outer,
    pools: &mut Pools,
) -> Keys {
    const CHOSEN_ELSEWHERE: &str = "the cluster is chosen by something else than the filter";
    for field in [
        "cluster_header",
        "cluster_specifier_plugin",
        "inline_cluster_specifier_plugin",
    ] {
        if from.refuse(field, CHOSEN_ELSEWHERE) {
            return None;
        }
    }
    let hash = sessions::hash_policies(from.messages("hash_policy"));
    let hash = hash.map(|hash| (hash, from.path("hash_policy")));
    if let (Some(_), Some((_, place))) = (&outer.session, &hash) {
        from.report().add(
            place,
            "the session of the stateful session filter comes first",
        );
    }
    let affinity = outer.session.clone().or(hash);
    let mut pool_of = |cluster: &str, from: &Message| {
        let known = pools.knows_endpoints(cluster);
        if let (Some((_, place)), false) = (&affinity, known) {
            let why = format!(
                "a pool of endpoints names them, and the input does not say those of {cluster}"
            );
            from.report().add(place, why);
        }
        let affinity = affinity.as_ref().filter(|_| known);
        pools.of(cluster, affinity.map(|(affinity, _)| affinity.clone()))
    };
    let mut keys = Map::new();
    if let Some(cluster) = from.text("cluster") {
        keys = edits.keys(None);
        keys.insert("pool".into(), pool_of(&cluster, from).into());
    } else {
        let mut weighted = from.message("weighted_clusters")?;
        weighted.ignore("total_weight");
        let mut parts = Vec::new();
        for mut part in weighted.messages("clusters") {
            if part.refuse("cluster_header", CHOSEN_ELSEWHERE) {
                part.rest();
                weighted.rest();
                return None;
            }
            if part.refuse(
                "host_rewrite_literal",
                "a part of a split has no rewrite of its own",
            ) {
                part.rest();
                weighted.rest();
                return None;
            }
            let cluster = part.text("name").unwrap_or_default();
            let weight = part.whole("weight").unwrap_or_default();
            let own = (
                headers::level(&mut part, "request"),
                headers::level(&mut part, "response"),
            );
            parts.push((cluster, weight, own));
        }
        let with_edits = parts
            .iter()
            .any(|(_, _, (a, b))| !a.is_empty() || !b.is_empty());
        if !with_edits {
            keys = edits.keys(None);
        }
        let mut split = Vec::new();
        for (cluster, weight, own) in &parts {
            let mut part = match with_edits {
                true => edits.keys(Some((&own.0, &own.1))),
                false => Map::new(),
            };
            part.insert("pool".into(), pool_of(cluster, from).into());
            part.insert("weight".into(), (*weight).into());
            split.push(Value::Object(part));
        }
        keys.insert("split".into(), split.into());
    }
    rewrite(from, conditions, &mut keys)?;
    if let Some(timeout) = from.duration("timeout") {
        keys.insert("timeout".into(), duration(from, "timeout", timeout));
    }
    let retry = match from.message("retry_policy") {
        Some(policy) => retry(policy),
        None => outer.retry.clone(),
    };
    if let Some(retry) = retry {
        keys.insert("retry".into(), retry);
    }
    let policies = from.messages("request_mirror_policies");
    let mirror = match policies.is_empty() {
        true => outer.mirror.clone(),
        false => mirror(policies),
    };
    if let Some(mirror) = mirror {
        let mut to = json!({ "pool": pools.of(&mirror.cluster, None) });
        if mirror.percent < 100.0 {
            to["percent"] = mirror.percent.into();
        }
        keys.insert("mirror".into(), to);
    }
    Some(keys)
}

fn duration(from: &Message, field: &str, duration: std::time::Duration) -> Value {
    let (text, is_exact) = sessions::duration(duration);
    if !is_exact {
        from.not_carried(field, "carried over in whole milliseconds");
    }
    text.into()
}

/// The words of `retry.on`: Envoy's, without those that need a list besides.
const RETRY_ON: [&str; 14] = [
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "refused-stream",
    "retriable-4xx",
    "envoy-ratelimited",
    "http3-post-connect-failure",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
];

/// Reads a `RetryPolicy`.
pub(super) fn retry(mut from: Message) -> Option<Value> {
    let words = from.text("retry_on").unwrap_or_default();
    let mut on: Vec<&str> = Vec::new();
    for word in words
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty())
    {
        match RETRY_ON.contains(&word) {
            true => on.push(word),
            false => from.not_carried(
                "retry_on",
                format!("{word} is not among the filter's words"),
            ),
        }
    }
    on.dedup();
    if on.is_empty() {
        return None;
    }
    let attempts = from.whole("num_retries").unwrap_or(1);
    let mut retry = json!({ "attempts": attempts, "on": on });
    if let Some(time) = from.duration("per_try_timeout")
        && !time.is_zero()
    {
        retry["per_try_timeout"] = duration(&from, "per_try_timeout", time);
    }
    Some(retry)
}

/// Reads mirror policies: the first. The others are reported.
pub(super) fn mirror(policies: Vec<Message>) -> Option<Mirror> {
    let mut chosen = None;
    for mut policy in policies {
        if chosen.is_some() {
            policy
                .report()
                .add(policy.place(), "a route has one `mirror`");
            policy.rest();
            continue;
        }
        let mut percent = 100.0;
        if let Some(mut fraction) = policy.message("runtime_fraction") {
            fraction.refuse("runtime_key", "the filter has no runtime");
            if let Some(mut value) = fraction.message("default_value") {
                percent = matches::percent(&mut value);
            }
        }
        if let Some(cluster) = policy.text("cluster") {
            chosen = Some(Mirror { cluster, percent });
        }
    }
    chosen
}

/// Reads what becomes of the path and the host. None: it cannot be carried over.
fn rewrite(
    from: &mut Message,
    conditions: &Conditions,
    keys: &mut Map<String, Value>,
) -> Option<()> {
    let mut rewrite = Map::new();
    if let Some(to) = from.text("prefix_rewrite") {
        match prefix(&conditions.path, &to) {
            Ok(Some((key, value))) => {
                rewrite.insert(key.into(), value);
            }
            Ok(None) => {}
            Err(why) => {
                from.not_carried("prefix_rewrite", why);
                return None;
            }
        }
    } else if let Some(regex) = from.message("regex_rewrite") {
        rewrite.insert("path_regex".into(), path_regex(regex)?);
    } else if let Some(path) = from.text("path_rewrite") {
        rewrite.insert(
            "path".into(),
            formatted(from, "path_rewrite", &path, PATH_PARTS)?,
        );
    } else if let Some(mut policy) = from.message("path_rewrite_policy") {
        policy.ignore("name");
        let mut policy = policy.any("typed_config")?;
        if !policy.kind().ends_with(".UriTemplateRewriteConfig") {
            policy
                .report()
                .add(policy.place(), "an extension of Envoy's own");
            policy.rest();
            return None;
        }
        let to = policy.text("path_template_rewrite").unwrap_or_default();
        let PathForm::Template(template) = &conditions.path else {
            policy.not_carried("path_template_rewrite", "the path matches by no template");
            return None;
        };
        match template.rewrite(&to) {
            Ok((key, value)) => {
                rewrite.insert(key.into(), value);
            }
            Err(why) => {
                policy.not_carried("path_template_rewrite", why);
                return None;
            }
        }
    }

    if let Some(host) = from.text("host_rewrite_literal") {
        rewrite.insert("host".into(), format::plain(&host).into());
    } else if let Some(name) = from.text("host_rewrite_header") {
        let name = name.to_ascii_lowercase();
        rewrite.insert("host".into(), format!("{{header.{name}}}").into());
    } else if let Some(host) = from.text("host_rewrite") {
        rewrite.insert("host".into(), formatted(from, "host_rewrite", &host, None)?);
    } else if from.has("auto_host_rewrite") {
        if from.boolean("auto_host_rewrite") == Some(true) {
            from.not_carried(
                "auto_host_rewrite",
                "the filter does not know the names of endpoints",
            );
            return None;
        }
    } else if from.refuse(
        "host_rewrite_path_regex",
        "the filter makes no host of a path's parts",
    ) {
        return None;
    }
    // Without a rewrite of the host it says nothing.
    if from.boolean("append_x_forwarded_host") == Some(true) && rewrite.contains_key("host") {
        let add = |edits| headers::and_add(edits, "x-forwarded-host", "{header.:authority}");
        match keys.get_mut("split").and_then(Value::as_array_mut) {
            Some(parts)
                if parts
                    .iter()
                    .any(|part| part.get("request_headers").is_some()) =>
            {
                for part in parts {
                    let own = part.get("request_headers").cloned();
                    part["request_headers"] = add(own);
                }
            }
            _ => {
                let own = keys.remove("request_headers");
                keys.insert("request_headers".into(), add(own));
            }
        }
    }
    if !rewrite.is_empty() {
        keys.insert("rewrite".into(), rewrite.into());
    }
    Some(())
}

/// What is said of a path that holds parts of the request.
const PATH_PARTS: Option<&str> = Some(
    "carried over, with one difference: what the parts hold is percent-encoded, at most one \
     segment",
);

/// A format string as a value with parts. None: it has parts that the filter does not have.
fn formatted(from: &Message, field: &str, text: &str, note: Option<&str>) -> Option<Value> {
    match format::format(text) {
        Ok(value) => {
            if let Some(note) = note.filter(|_| value.varies) {
                from.not_carried(field, note);
            }
            Some(value.text.into())
        }
        Err(why) => {
            from.not_carried(field, why);
            None
        }
    }
}

/// What replaces a prefix, for each way in which the path may have matched. None: nothing changes.
fn prefix(form: &PathForm, to: &str) -> Result<Option<(&'static str, Value)>, String> {
    if to.contains('?') {
        return Err(TWO_QUERIES.into());
    }
    match form {
        PathForm::Prefix {
            text,
            segments: false,
            ..
        } if text == "/" && to == "/" => Ok(None),
        // In the filter a prefix that is replaced by one with a slash at its end leaves no empty
        // segment; in Envoy it does.
        PathForm::Prefix { segments: true, .. } if syntax::is_path(to) && !to.ends_with('/') => {
            Ok(Some(("path_prefix", to.into())))
        }
        PathForm::Prefix {
            text, ignore_case, ..
        } => {
            let case = if *ignore_case { "(?i)" } else { "" };
            let pattern = format!("{case}^{}", regex::literal(text));
            let substitution = to.replace('\\', "\\\\");
            let value = json!({ "pattern": pattern, "substitution": substitution });
            Ok(Some(("path_regex", value)))
        }
        PathForm::Whole => Ok(Some(("path", format::plain(to).into()))),
        PathForm::Template(_) => Err("Envoy does not replace a prefix of a template either".into()),
    }
}

/// Why a new path with a `?` is not carried over.
const TWO_QUERIES: &str = "a path with a query of its own: of a request with a query Envoy makes a \
                           path with two, and the filter one";

/// The key `path_regex` of a `RegexMatchAndSubstitute`.
fn path_regex(mut from: Message) -> Option<Value> {
    let substitution = from.text("substitution").unwrap_or_default();
    let pattern = strings::regex_searcher(from.message("pattern")?)?;
    if substitution.contains('?') {
        from.not_carried("substitution", TWO_QUERIES);
        return None;
    }
    Some(json!({ "pattern": pattern, "substitution": substitution }))
}

/// Reads a `RedirectAction`.
pub(super) fn redirect(mut from: Message, conditions: &Conditions, edits: &Edits<'_>) -> Keys {
    let redirect = redirect_keys(&mut from, conditions);
    if redirect.is_none() {
        from.rest();
    }
    let mut keys = edits.keys(None);
    keys.remove("request_headers");
    keys.insert("redirect".into(), redirect?.into());
    Some(keys)
}

fn redirect_keys(from: &mut Message, conditions: &Conditions) -> Keys {
    let mut redirect = Map::new();
    if from.boolean("https_redirect") == Some(true) {
        redirect.insert("scheme".into(), "https".into());
    } else if let Some(scheme) = from.text("scheme_redirect") {
        redirect.insert("scheme".into(), scheme.to_ascii_lowercase().into());
    }
    let port = from.whole("port_redirect");
    if let Some(host) = from.text("host_redirect") {
        let bare = super::domains::without_port(&host);
        redirect.insert("host".into(), format::plain(bare).into());
        if let Some(own) = host
            .get(bare.len() + 1..)
            .and_then(|it| it.parse::<u16>().ok())
        {
            redirect.insert("port".into(), own.into());
        }
    }
    if let Some(port) = port {
        redirect.insert("port".into(), port.into());
    }
    if let Some(path) = from.text("path_redirect") {
        if path.contains('?') {
            from.not_carried(
                "path_redirect",
                "a path with a query of its own: Envoy drops the request's, and the filter has \
                 only one of the two",
            );
            return None;
        }
        redirect.insert("path".into(), format::plain(&path).into());
    } else if let Some(to) = from.text("prefix_rewrite") {
        match prefix(&conditions.path, &to) {
            Ok(Some((key, value))) => {
                redirect.insert(key.into(), value);
            }
            Ok(None) => {}
            Err(why) => {
                from.not_carried("prefix_rewrite", why);
                return None;
            }
        }
    } else if let Some(regex) = from.message("regex_rewrite") {
        redirect.insert("path_regex".into(), path_regex(regex)?);
    } else if let Some(path) = from.text("path_rewrite") {
        redirect.insert(
            "path".into(),
            formatted(from, "path_rewrite", &path, PATH_PARTS)?,
        );
    }
    if from.boolean("strip_query") == Some(true) {
        redirect.insert("query".into(), "drop".into());
    }
    let status = match from.choice("response_code").as_deref() {
        Some("FOUND") => 302,
        Some("SEE_OTHER") => 303,
        Some("TEMPORARY_REDIRECT") => 307,
        Some("PERMANENT_REDIRECT") => 308,
        _ => 301,
    };
    redirect.insert("status".into(), status.into());
    Some(redirect)
}

/// Reads a `DirectResponseAction`.
pub(super) fn respond(mut from: Message, edits: &Edits<'_>) -> Keys {
    let mut respond = Map::new();
    let status = from.whole("status").unwrap_or_default();
    respond.insert("status".into(), status.into());
    let mut is_whole = !from.refuse("body_format", "the filter's answers have a fixed body");
    if let Some(mut body) = from.message("body") {
        let inline = body.bytes("inline_bytes");
        let text = match inline {
            Some(bytes) => match String::from_utf8(bytes) {
                Ok(text) => Some(text),
                Err(_) => {
                    body.not_carried("inline_bytes", "a configuration is text: bytes are not");
                    is_whole = false;
                    None
                }
            },
            None => body.text("inline_string"),
        };
        for field in ["filename", "environment_variable"] {
            is_whole &= !body.refuse(field, "the filter reads no files and no environment");
        }
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            respond.insert("body".into(), text.into());
        }
    }
    if !is_whole {
        from.rest();
        return None;
    }
    let mut keys = edits.keys(None);
    keys.remove("request_headers");
    keys.insert("respond".into(), respond.into());
    Some(keys)
}

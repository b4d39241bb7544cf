//! How clients stay with an endpoint: hash policies and the stateful session filter.

use super::message::Message;
use super::pools::Affinity;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Reads a route's hash policies: the first that the filter has. The others are reported.
pub(super) fn hash_policies(policies: Vec<Message>) -> Option<Affinity> {
    let mut chosen = None;
    for mut policy in policies {
        if chosen.is_some() {
            let place = policy.place().to_owned();
            policy
                .report()
                .add(place, "the filter hashes one key: the first policy");
            policy.rest();
            continue;
        }
        // With one policy it says nothing.
        policy.ignore("terminal");
        chosen = hash_policy(&mut policy);
    }
    chosen
}

fn hash_policy(policy: &mut Message) -> Option<Affinity> {
    if let Some(mut header) = policy.message("header") {
        header.refuse("regex_rewrite", "the filter hashes the whole value");
        let name = header.text("header_name").unwrap_or_default();
        return Some(Affinity::hash(json!({ "header": name })));
    }
    if let Some(mut cookie) = policy.message("cookie") {
        let name = cookie.text("name").unwrap_or_default();
        // Envoy makes a cookie that is not there.
        return Some(match cookie.has("ttl") {
            true => Affinity::cookie(cookie_of(name, &mut cookie)),
            false => {
                for field in ["path", "attributes"] {
                    cookie.refuse(field, "without a `ttl` Envoy makes no cookie");
                }
                Affinity::hash(json!({ "cookie": name }))
            }
        });
    }
    if let Some(mut parameter) = policy.message("query_parameter") {
        let name = parameter.text("name").unwrap_or_default();
        return Some(Affinity::hash(json!({ "query": name })));
    }
    if let Some(mut connection) = policy.message("connection_properties") {
        let by_address = connection.boolean("source_ip").unwrap_or_default();
        return by_address.then(|| Affinity::hash(json!("client_ip")));
    }
    policy.refuse(
        "filter_state",
        "the filter hashes parts of the request only",
    );
    None
}

/// Reads the configuration of the stateful session filter.
pub(super) fn stateful_session(mut session: Message) -> Option<Affinity> {
    for field in ["strict", "status_on_strict_destination_not_found"] {
        session.refuse(field, "a client whose endpoint is gone gets another one");
    }
    session.refuse("stat_prefix", "Envoy's own statistics");
    let mut state = session.message("session_state")?;
    state.ignore("name");
    let mut state = state.any("typed_config")?;
    if !state.kind().ends_with(".CookieBasedSessionState") {
        let why = "the filter's sessions are in a cookie; a header's value can be hashed with \
                   `sticky.header`";
        state.report().add(state.place(), why);
        state.rest();
        return None;
    }
    let mut cookie = state.message("cookie")?;
    let name = cookie.text("name").unwrap_or_default();
    Some(Affinity::cookie(cookie_of(name, &mut cookie)))
}

/// The keys of `sticky.cookie`.
fn cookie_of(name: String, from: &mut Message) -> Value {
    let mut cookie = Map::new();
    cookie.insert("name".into(), name.into());
    if let Some(ttl) = from.duration("ttl")
        && !ttl.is_zero()
    {
        // Whole seconds: a cookie's Max-Age.
        let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        cookie.insert("ttl".into(), format!("{seconds}s").into());
    }
    if let Some(path) = from.text("path") {
        cookie.insert("path".into(), path.into());
    }
    for mut attribute in from.messages("attributes") {
        let name = attribute.text("name").unwrap_or_default();
        let value = attribute.text("value").unwrap_or_default();
        match name.to_ascii_lowercase().as_str() {
            "secure" => cookie.insert("secure".into(), true.into()),
            "httponly" => cookie.insert("http_only".into(), true.into()),
            "partitioned" => cookie.insert("partitioned".into(), true.into()),
            "domain" => cookie.insert("domain".into(), value.into()),
            "samesite" => {
                let value = value.to_ascii_lowercase();
                cookie.insert("same_site".into(), value.into())
            }
            _ => {
                let why = "the filter's cookies have no such attribute";
                attribute.report().add(attribute.place(), why);
                None
            }
        };
    }
    cookie.into()
}

/// A duration as the configuration has it, and whether that is exact: it counts milliseconds.
pub(super) fn duration(duration: Duration) -> (String, bool) {
    let is_exact = duration.subsec_nanos().is_multiple_of(1_000_000);
    let millis = duration.as_millis() + u128::from(!is_exact);
    let text = match millis % 1000 {
        0 => format!("{}s", millis / 1000),
        _ => format!("{millis}ms"),
    };
    (text, is_exact)
}

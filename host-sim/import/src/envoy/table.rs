//! A `RouteConfiguration` as a list of routes.

use super::action::{self, Edits, Mirror, Outer};
use super::domains::{self, Domain};
use super::headers::{self, Level};
use super::matches::{self, Conditions};
use super::message::Message;
use super::pools::{Affinity, Pools, unique};
use super::sessions;
use crate::output::Entry;
use serde_json::{Map, Value, json};
use std::collections::HashSet;

/// The filter whose sessions are carried over.
const STATEFUL_SESSION: &str = "envoy.extensions.filters.http.stateful_session.v3.";

/// What is said of a route that stays with Envoy.
pub(super) const KEPT: &str = "the filter passes these requests on to Envoy's own routes (`pass`): \
                               keep this one there, and all others of its virtual host";

/// A route that was made.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) entry: Entry,
    /// Where it comes from.
    pub(super) place: String,
    /// The conditions on hosts alone: what must hold at least.
    pub(super) hosts: Option<Value>,
}

/// A route before its virtual host's domains are known.
struct Draft {
    name: String,
    place: String,
    conditions: Conditions,
    keys: Map<String, Value>,
}

struct VirtualHost {
    name: String,
    place: String,
    domains: Vec<Domain>,
    drafts: Vec<Draft>,
}

/// What all routes of the table share.
struct Shared {
    request: Level,
    response: Level,
    specific_last: bool,
    mirror: Option<Mirror>,
    session: Option<(Affinity, String)>,
}

/// Reads a `RouteConfiguration`. `session`: of the connection manager's own filter.
pub(super) fn routes(
    mut from: Message,
    session: Option<(Affinity, String)>,
    pools: &mut Pools,
) -> Vec<Made> {
    from.ignore("name");
    // The filter's hosts have no ports, so this changes nothing but for domains that have one.
    let without_ports = from.boolean("ignore_port_in_host_matching") == Some(true);
    let header = from
        .text("vhost_header")
        .map(|name| name.to_ascii_lowercase());
    from.refuse(
        "ignore_path_parameters_in_path_matching",
        "the filter compares a path with the parameters of its segments",
    );
    let mut shared = Shared {
        request: headers::level(&mut from, "request"),
        response: headers::level(&mut from, "response"),
        specific_last: from.boolean("most_specific_header_mutations_wins") == Some(true),
        mirror: action::mirror(from.messages("request_mirror_policies")),
        session,
    };
    if let Some(session) = session_of(&mut from) {
        shared.session = session;
    }
    let hosts: Vec<VirtualHost> = from
        .messages("virtual_hosts")
        .into_iter()
        .map(|host| virtual_host(host, &shared, without_ports, pools))
        // Of one without a domain Envoy would say so; here all of them had ports.
        .filter(|host| !host.domains.is_empty())
        .collect();
    drop(from);

    let all: Vec<Vec<Domain>> = hosts.iter().map(|host| host.domains.clone()).collect();
    let mut units = domains::in_order(&all);
    let mut made = Vec::new();
    let mut names = HashSet::new();
    while !units.is_empty() {
        let (at, domains) = units.remove(0);
        write(
            &hosts[at],
            &domains,
            &units,
            header.as_deref(),
            &mut names,
            &mut made,
        );
    }
    made
}

/// Appends the routes of one virtual host for these domains.
fn write(
    host: &VirtualHost,
    domains: &[Domain],
    later: &domains::Units,
    header: Option<&str>,
    names: &mut HashSet<String>,
    made: &mut Vec<Made>,
) {
    let conditions = domains::conditions(domains, header);
    let hosts = Conditions::everything().r#match(&conditions);
    let mut push =
        |wanted: &str, place: &str, comment: String, keys: Map<String, Value>, matched| {
            let name = unique(wanted, |name| names.contains(name));
            names.insert(name.clone());
            let mut value = keys;
            if let Some(matched) = matched {
                value.insert("match".into(), matched);
            }
            made.push(Made {
                entry: Entry {
                    comments: vec![comment],
                    name,
                    value,
                },
                place: place.to_owned(),
                hosts: hosts.clone(),
            });
        };
    let mut is_closed = false;
    for draft in &host.drafts {
        let matched = draft.conditions.r#match(&conditions);
        let comment = format!("virtual host {}: {}", host.name, draft.place);
        push(
            &draft.name,
            &draft.place,
            comment,
            draft.keys.clone(),
            matched,
        );
        is_closed |= draft.conditions.is_everything;
    }
    // In Envoy a request never comes to a second virtual host.
    if !is_closed && domains::is_shared(domains, later) {
        let comment = format!(
            "virtual host {}: what none of its routes matches",
            host.name
        );
        let keys = of("respond", json!({ "status": 404 }));
        push(
            &format!("{}-no-route", host.name),
            &host.place,
            comment,
            keys,
            hosts.clone(),
        );
    }
}

fn of(key: &str, value: Value) -> Map<String, Value> {
    let mut keys = Map::new();
    keys.insert(key.into(), value);
    keys
}

fn virtual_host(
    mut from: Message,
    shared: &Shared,
    without_ports: bool,
    pools: &mut Pools,
) -> VirtualHost {
    let name = from.text("name").unwrap_or_default();
    let place = from.place().to_owned();
    let mut domains: Vec<Domain> = from
        .texts("domains")
        .iter()
        .map(|it| Domain::read(it))
        .collect();
    if without_ports {
        domains.retain(|domain| {
            if domain.has_port() {
                from.report().add(
                    format!("{place}domains: {domain}"),
                    "no request comes here in Envoy either: `ignore_port_in_host_matching` compares \
                     hosts without their ports with domains as they are written",
                );
            }
            !domain.has_port()
        });
    }
    let request = headers::level(&mut from, "request");
    let response = headers::level(&mut from, "response");
    let mirror = action::mirror(from.messages("request_mirror_policies"));
    let outer = Outer {
        retry: from.message("retry_policy").and_then(action::retry),
        mirror: mirror.or_else(|| shared.mirror.clone()),
        session: match session_of(&mut from) {
            Some(own) => own,
            None => shared.session.clone(),
        },
    };
    let mut drafts = Vec::new();
    match from.choice("require_tls").as_deref() {
        Some("ALL") => drafts.push(to_https(&name, &from, Conditions::scheme("http"))),
        Some("EXTERNAL_ONLY") => {
            let internal = json!({ "name": "x-envoy-internal", "exact": "true", "invert": true });
            let conditions = Conditions::scheme("http").with_header(internal);
            drafts.push(to_https(&name, &from, conditions));
        }
        _ => {}
    }
    if from.has("matcher") {
        from.refuse(
            "matcher",
            "a tree of matchers; its requests go to Envoy's own routes (`pass`)",
        );
        drafts.push(Draft {
            name: format!("{name}-matcher"),
            place: from.path("matcher"),
            conditions: Conditions::everything(),
            keys: of("pass", true.into()),
        });
    }
    for (index, route) in from.messages("routes").into_iter().enumerate() {
        let levels = (&request, &response);
        drafts.push(draft(route, &name, index, levels, &outer, shared, pools));
    }
    VirtualHost {
        name,
        place,
        domains,
        drafts,
    }
}

/// The redirect of `require_tls`.
fn to_https(name: &str, from: &Message, conditions: Conditions) -> Draft {
    Draft {
        name: format!("{name}-https"),
        place: from.path("require_tls"),
        conditions,
        keys: of("redirect", json!({ "scheme": "https", "status": 301 })),
    }
}

fn draft(
    mut from: Message,
    host: &str,
    index: usize,
    (host_request, host_response): (&Level, &Level),
    outer: &Outer,
    shared: &Shared,
    pools: &mut Pools,
) -> Draft {
    let place = from.place().to_owned();
    let name = from.text("name").unwrap_or_default();
    let name = match name.is_empty() {
        true => format!("{host}-{index}"),
        false => name,
    };
    let conditions = match from.message("match") {
        Some(message) => matches::conditions(message),
        None => Conditions::everything(),
    };
    let own = (
        headers::level(&mut from, "request"),
        headers::level(&mut from, "response"),
    );
    let mut edits = Edits {
        request: vec![&own.0, host_request, &shared.request],
        response: vec![&own.1, host_response, &shared.response],
    };
    if shared.specific_last {
        edits.request.reverse();
        edits.response.reverse();
    }
    let of_route = Outer {
        retry: outer.retry.clone(),
        mirror: outer.mirror.clone(),
        session: match session_of(&mut from) {
            Some(own) => own,
            None => outer.session.clone(),
        },
    };
    let keys = match from.first_of(&["route", "redirect", "direct_response"]) {
        _ if !conditions.is_complete => None,
        Some("route") => from
            .message("route")
            .and_then(|route| action::forward(route, &conditions, &edits, &of_route, pools)),
        Some("redirect") => from
            .message("redirect")
            .and_then(|redirect| action::redirect(redirect, &conditions, &edits)),
        Some(_) => from
            .message("direct_response")
            .and_then(|response| action::respond(response, &edits)),
        None => None,
    };
    let keys = keys.unwrap_or_else(|| {
        from.report().add(&place, KEPT);
        of("pass", true.into())
    });
    if keys.contains_key("pass") {
        // All of it is named.
        from.rest();
    }
    Draft {
        name,
        place,
        conditions,
        keys,
    }
}

/// What `typed_per_filter_config` says of sessions: None: nothing; Some(None): that there are none.
/// What it says of other filters is reported.
fn session_of(from: &mut Message) -> Option<Option<(Affinity, String)>> {
    let mut found = None;
    for (name, config) in from.any_map("typed_per_filter_config") {
        let place = format!("{}[{name:?}]", from.path("typed_per_filter_config"));
        match config {
            Some(mut config) if config.kind().starts_with(STATEFUL_SESSION) => {
                if config.boolean("disabled") == Some(true) {
                    found = Some(None);
                } else if let Some(session) = config.message("stateful_session") {
                    let session = sessions::stateful_session(session);
                    found = Some(session.map(|session| (session, place)));
                }
            }
            // A type that is not Envoy's has been reported.
            None => {}
            Some(config) => {
                let kind = config.kind();
                from.report().add(
                    place,
                    format!(
                        "{}: say it on the route that takes the filter's choice",
                        super::reasons::of_filter(&kind)
                    ),
                );
                config.rest();
            }
        }
    }
    found
}

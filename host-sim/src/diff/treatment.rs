//! What a table does with the requests of one block.

use crate::configuration::{field, to_json};
use crate::share::percent_of;
use pointsman_core::config::Config;
use pointsman_core::config::value::Value;
use pointsman_core::index::RouteIndex;
use pointsman_core::pool::{Pool, State};
use pointsman_core::route::r#match::Match;
use pointsman_core::route::no_route::NoRoute;
use pointsman_core::route::{Route, RouteAction};
use std::collections::BTreeSet;

/// What happens to a request that a block takes.
#[derive(Clone, Debug)]
pub(super) struct Treatment {
    /// The route's name. None: there is no route.
    pub route: Option<String>,
    /// The parts in which treatments may differ.
    pub parts: Vec<TreatmentPart>,
    /// The pools that may take the request, and the limits that may refuse it.
    pub pools: BTreeSet<String>,
    pub limits: BTreeSet<String>,
}

/// One part of it: two are the same if their meaning is.
#[derive(Clone, Debug)]
pub(super) struct TreatmentPart {
    pub key: &'static str,
    pub meaning: String,
    /// In words; empty: nothing.
    pub words: String,
}

impl Treatment {
    /// That of a block; None: that of requests that no route takes.
    pub(super) fn of(
        config: &Config,
        tree: &Value,
        place: Option<(RouteIndex, usize)>,
    ) -> Treatment {
        let found = place.and_then(|(at, number)| {
            let route = config.route(at)?;
            Some((at, route, route.blocks.get(number)?))
        });
        let Some((at, route, block)) = found else {
            return Treatment::of_none(config);
        };
        let written = match field(tree, "routes") {
            Some(Value::List(routes)) => routes.get(at.get()),
            _ => None,
        };
        let written = |key: &str| {
            let value = written.and_then(|route| field(route, key));
            value
                .map(|value| to_json(value).to_string())
                .unwrap_or_default()
        };
        let part = |key: &'static str, meaning: String, words: String| TreatmentPart {
            key,
            meaning,
            words,
        };
        let of_block = |meaning: String| with_block(meaning, block);
        let action = action(route, &written("redirect"));
        let limits: BTreeSet<String> = route
            .rate_limits
            .iter()
            .map(|limit| limit.name().to_owned())
            .collect();
        let named: Vec<_> = route.rate_limits.iter().map(|limit| limit.name()).collect();
        let rewrite = route.rewrite.as_ref().map(|it| format!("{it:?}"));
        let mirror = route.mirror.as_ref();
        let mirror = mirror.map(|it| format!("{} {}", it.pool.name, it.millionths));
        let mut pools: BTreeSet<String> = BTreeSet::new();
        for (pool, _) in route.action.parts() {
            pools.insert(pool.name.to_string());
            let others = pool.failover.iter().filter_map(|at| config.pool(*at));
            pools.extend(others.map(|pool| pool.name.to_string()));
        }
        let own = &route.router_options;
        let timeout = own.as_ref().and_then(|options| options.timeout());
        Treatment {
            route: Some(route.name.to_string()),
            parts: vec![
                part("route", route.name.to_string(), route.name.to_string()),
                part("action", of_block(action.0), action.1),
                part("rate_limits", named.join(","), named.join(", ")),
                part(
                    "rewrite",
                    of_block(rewrite.unwrap_or_default()),
                    written("rewrite"),
                ),
                part(
                    "request_headers",
                    of_block(format!("{:?}", route.request_headers)),
                    written("request_headers"),
                ),
                part(
                    "response_headers",
                    of_block(format!("{:?}", route.response_headers)),
                    written("response_headers"),
                ),
                part("timeout", format!("{timeout:?}"), written("timeout")),
                part(
                    "retry",
                    format!("{:?}", own.as_ref().and_then(|options| options.retry())),
                    written("retry"),
                ),
                part("mirror", mirror.unwrap_or_default(), written("mirror")),
                part("protect", written("protect"), written("protect")),
            ],
            pools,
            limits,
        }
    }

    fn of_none(config: &Config) -> Treatment {
        let words = match &config.no_route {
            NoRoute::Pass => "left to the proxy's own routes".to_owned(),
            NoRoute::Respond(answer) => format!("answered {}", answer.status),
        };
        let part = |key, meaning: String, words: String| TreatmentPart {
            key,
            meaning,
            words,
        };
        let action = match &config.no_route {
            NoRoute::Pass => "Pass".to_owned(),
            NoRoute::Respond(answer) => format!("{answer:?}"),
        };
        let edits = pointsman_core::http::edit::Edits::default();
        Treatment {
            route: None,
            parts: vec![
                part("route", String::new(), "none".to_owned()),
                part("action", action, words),
                part("rate_limits", String::new(), String::new()),
                part("rewrite", String::new(), String::new()),
                part("request_headers", format!("{edits:?}"), String::new()),
                part("response_headers", "None".to_owned(), String::new()),
                part("timeout", "None".to_owned(), String::new()),
                part("retry", "None".to_owned(), String::new()),
                part("mirror", String::new(), String::new()),
                part("protect", String::new(), String::new()),
            ],
            pools: BTreeSet::new(),
            limits: BTreeSet::new(),
        }
    }

    /// What tells it from others.
    pub(super) fn identity(&self) -> String {
        let meanings: Vec<_> = self
            .parts
            .iter()
            .map(|part| part.meaning.as_str())
            .collect();
        format!("{:?}{}", self.route, meanings.join("\0"))
    }
}

/// What the meaning takes of the block: the prefix that a rewrite replaces, the names of a template,
/// the wildcard of a host.
fn with_block(mut meaning: String, block: &Match) -> String {
    if ["Prefix(", "Name(", "Label"]
        .iter()
        .any(|it| meaning.contains(it))
    {
        meaning.push_str(&format!(" of {:?} {:?}", block.path, block.hosts));
    }
    meaning
}

/// Its meaning and its words.
fn action(route: &Route, written: &str) -> (String, String) {
    match &route.action {
        RouteAction::Pool(pool) => (
            format!("pool {}", pool.name),
            format!("forwarded to {}", odds(pool)),
        ),
        RouteAction::Split(parts) => {
            let meaning = parts.iter().map(|part| {
                format!(
                    "{} {} {:?} {:?}",
                    part.pool.name, part.weight, part.request_headers, part.response_headers
                )
            });
            let meaning: Vec<_> = meaning.collect();
            let all: u64 = parts.iter().map(|part| u64::from(part.weight)).sum();
            let words = parts.iter().map(|part| {
                let share = percent_of(u64::from(part.weight), all);
                format!("{share} {}", odds(&part.pool))
            });
            let words: Vec<_> = words.collect();
            (
                format!("split {}", meaning.join("\0")),
                format!("split: {}", words.join(", ")),
            )
        }
        RouteAction::Redirect(redirect) => {
            let words = format!("redirected with {}: {written}", redirect.status);
            (format!("{redirect:?}"), words)
        }
        RouteAction::Respond(answer) => {
            let body = String::from_utf8_lossy(&answer.body);
            let line: String = body
                .chars()
                .take_while(|it| !it.is_control())
                .take(40)
                .collect();
            let words = match line.is_empty() {
                true => format!("answered {}", answer.status),
                false => format!("answered {} `{line}`", answer.status),
            };
            (format!("{answer:?}"), words)
        }
        RouteAction::Pass => (
            "Pass".to_owned(),
            "left to the proxy's own routes".to_owned(),
        ),
    }
}

/// A pool with the chances of its targets for what is new.
pub fn odds(pool: &Pool) -> String {
    /// More fit no line.
    const MAX_SHOWN: usize = 6;
    let takes = |state: State, weight: u32| match state {
        State::Up => u64::from(weight),
        State::Draining | State::Down => 0,
    };
    let weights = pool.targets.iter().map(|it| takes(it.state, it.weight));
    let all: u64 = weights.clone().sum();
    let several = pool
        .targets
        .iter()
        .zip(weights)
        .map(|(target, weight)| format!("{} {}", target.name, percent_of(weight, all)));
    let mut several: Vec<_> = several.collect();
    let more = several.len().saturating_sub(MAX_SHOWN);
    several.truncate(MAX_SHOWN);
    if more > 0 {
        several.push(format!("{more} more"));
    }
    format!("{} ({})", pool.name, several.join(", "))
}

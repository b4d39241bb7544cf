//! Coverage: which routes and which conditions the requests of tests reached.
//!
//! Routes are compared in their order until one matches, and so are their blocks; the conditions of
//! a block are evaluated up to the first that is false. A condition is reached when it was true for
//! one request and false for another: tests for which it is always true would not notice if it were
//! removed.

use pointsman_core::config::Config;
use pointsman_core::http::client_ip::Network;
use pointsman_core::http::request::Request;
use pointsman_core::route::Route;
use pointsman_core::route::host::HostMatch;
use pointsman_core::route::r#match::{AskConnection, Match, Mismatch};
use pointsman_core::route::path::PathKind;
use std::fmt::Display;

/// The coverage of one configuration.
#[derive(Clone, Debug)]
pub struct Coverage {
    routes: Vec<CoveredRoute>,
}

#[derive(Clone, Debug)]
struct CoveredRoute {
    name: String,
    reached: bool,
    /// The conditions of each block, in the order in which they are evaluated.
    blocks: Vec<Vec<CoveredCondition>>,
}

#[derive(Clone, Debug)]
struct CoveredCondition {
    condition: Mismatch,
    /// The condition for reports: `header x-tier: exact gold`.
    text: String,
    was_true: bool,
    was_false: bool,
}

/// A condition that was not reached.
#[derive(Debug, PartialEq, Eq)]
pub struct Unreached<'c> {
    /// The name of the condition's route.
    pub route: &'c str,
    /// The condition: `header x-tier: exact gold`.
    pub condition: &'c str,
    /// What is missing: `never true`, `never false`, or `never looked at`.
    pub what: &'static str,
}

impl Coverage {
    /// The coverage of a configuration before the first request.
    pub fn new(config: &Config) -> Coverage {
        let covered = |route: &Route| CoveredRoute {
            name: route.name.to_string(),
            reached: false,
            blocks: route.blocks.iter().map(conditions).collect(),
        };
        Coverage {
            routes: config.routes.iter().map(covered).collect(),
        }
    }

    /// Notes the routes and conditions that one request reaches.
    pub fn note(&mut self, config: &Config, request: &Request, connection: &mut dyn AskConnection) {
        for (route, covered) in config.routes.iter().zip(&mut self.routes) {
            for (block, seen) in route.blocks.iter().zip(&mut covered.blocks) {
                let mismatch = block.mismatch(request, connection);
                for seen in seen {
                    seen.was_true |= mismatch.is_none_or(|failed| seen.condition < failed);
                    seen.was_false |= mismatch == Some(seen.condition);
                }
                if mismatch.is_none() {
                    covered.reached = true;
                    return;
                }
            }
        }
    }

    /// Adds the coverage by other tests of the same configuration.
    pub fn merge(&mut self, other: &Coverage) {
        for (ours, theirs) in self.routes.iter_mut().zip(&other.routes) {
            ours.reached |= theirs.reached;
            let seen = ours
                .blocks
                .iter_mut()
                .flatten()
                .zip(theirs.blocks.iter().flatten());
            for (ours, theirs) in seen {
                ours.was_true |= theirs.was_true;
                ours.was_false |= theirs.was_false;
            }
        }
    }

    /// The names of the routes that matched no request, in the order of the configuration.
    pub fn unreached_routes(&self) -> impl Iterator<Item = &str> {
        let unreached = self.routes.iter().filter(|route| !route.reached);
        unreached.map(|route| route.name.as_str())
    }

    /// The conditions that were not reached, in the order of the configuration.
    pub fn unreached_conditions(&self) -> impl Iterator<Item = Unreached<'_>> {
        let conditions = self.routes.iter().flat_map(|route| {
            let seen = route.blocks.iter().flatten();
            seen.map(move |seen| (route.name.as_str(), seen))
        });
        conditions.filter_map(|(route, seen)| {
            let what = match (seen.was_true, seen.was_false) {
                (true, true) => return None,
                (true, false) => "never false",
                (false, true) => "never true",
                (false, false) => "never looked at",
            };
            Some(Unreached {
                route,
                condition: &seen.text,
                what,
            })
        })
    }

    /// How many routes and conditions were reached, and how many there are.
    pub fn count(&self) -> (usize, usize) {
        let conditions = self
            .routes
            .iter()
            .map(|route| route.blocks.iter().flatten().count());
        let total = self.routes.len() + conditions.sum::<usize>();
        let unreached = self.unreached_routes().count() + self.unreached_conditions().count();
        (total - unreached, total)
    }
}

/// The conditions of a block, without those that are true for every request.
fn conditions(block: &Match) -> Vec<CoveredCondition> {
    let mut seen = Vec::new();
    let mut push = |condition, text: String| {
        seen.push(CoveredCondition {
            condition,
            text,
            was_true: false,
            was_false: false,
        });
    };
    if !block.hosts.is_empty() && !block.hosts.contains(&HostMatch::Any) {
        push(Mismatch::Host, format!("host: {}", either(&block.hosts)));
    }
    if let Some(path) = &block.path
        && !matches!(&path.kind, PathKind::Prefix(prefix) if prefix.is_empty())
    {
        push(Mismatch::Path, format!("path: {path}"));
    }
    if let Some(scheme) = &block.scheme {
        push(
            Mismatch::Scheme,
            format!("scheme: {}", scheme.escape_ascii()),
        );
    }
    if !block.methods.is_empty() {
        let methods = block.methods.iter().map(|method| method.escape_ascii());
        push(Mismatch::Method, format!("method: {}", either(methods)));
    }
    for (kind, conditions, mismatch) in [
        (
            "header",
            &block.headers,
            Mismatch::Header as fn(usize) -> Mismatch,
        ),
        ("cookie", &block.cookies, Mismatch::Cookie),
        ("query", &block.query, Mismatch::Query),
    ] {
        for (at, condition) in conditions.iter().enumerate() {
            let name = condition.name.escape_ascii();
            push(mismatch(at), format!("{kind} {name}: {condition}"));
        }
    }
    if !block.devices.is_empty() {
        push(Mismatch::Device, format!("device: {}", block.devices));
    }
    if let Some(language) = &block.language {
        push(Mismatch::Language, format!("language: {language}"));
    }
    if !block.client_ip.is_empty() {
        push(
            Mismatch::ClientIp,
            format!("client_ip: {}", either::<&Network>(&block.client_ip)),
        );
    }
    if let Some(tls) = &block.tls {
        if !tls.sni.is_empty() {
            push(Mismatch::Sni, format!("tls sni: {}", either(&tls.sni)));
        }
        if !tls.peer.is_empty() {
            push(Mismatch::Peer, format!("tls peer: {}", either(&tls.peer)));
        }
    }
    seen
}

fn either<T: Display>(values: impl IntoIterator<Item = T>) -> String {
    let values: Vec<_> = values.into_iter().map(|value| value.to_string()).collect();
    values.join(" or ")
}

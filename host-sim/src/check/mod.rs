//! What is legal in a configuration, and wrong.
//!
//! A warning is certain: what it says holds for every request. Where these rules do not see far
//! enough they say nothing, so that nobody learns to overlook them. A route is only said to be
//! unreachable when the conditions prove it, and a request is shown that it matches by itself and
//! that another route takes.

mod case;
mod example;
mod path;
mod pattern;
mod pools;
mod routes;
#[cfg(test)]
mod tests;

use crate::configuration::field;
use crate::exchange::{ExchangeRequest, shown};
use pointsman_core::config::Config;
use pointsman_core::config::value::Value;
use pointsman_core::index::RouteIndex;

/// One thing that is legal and wrong.
#[derive(Debug)]
pub struct Warning {
    /// `routes[3].match.headers[1]`
    pub place: String,
    /// Its kind, for machines: stays the same from release to release.
    pub kind: &'static str,
    /// What is wrong: a sentence that goes on after the place.
    pub found: String,
    /// Why.
    pub why: String,
    /// What to do.
    pub advice: String,
    /// A request that shows it, and the name of the route that takes it.
    pub example: Option<(ExchangeRequest, String)>,
    /// The names of the routes that take the requests.
    pub shadowed_by: Vec<String>,
}

impl Warning {
    fn new(
        kind: &'static str,
        place: String,
        found: impl Into<String>,
        why: impl Into<String>,
        advice: &str,
    ) -> Warning {
        Warning {
            place,
            kind,
            found: found.into(),
            why: why.into(),
            advice: advice.to_owned(),
            example: None,
            shadowed_by: Vec::new(),
        }
    }

    /// The command that shows it, for a shell.
    pub fn command(&self, file: &str) -> Option<String> {
        self.example
            .as_ref()
            .map(|(ask, _)| example::command(ask, file))
    }

    /// The URL of the request that shows it.
    pub fn url(&self) -> Option<String> {
        let (ask, _) = self.example.as_ref()?;
        Some(shown(&ask.url()))
    }
}

/// Every warning, in the order of the file's sections: pools, limits, routes. `config` was read
/// from `tree`.
pub fn warnings(tree: &Value, config: &Config) -> Vec<Warning> {
    let mut warnings = pools::warnings(config);
    warnings.extend(routes::warnings(config, &Places(tree)));
    warnings
}

/// Where things stand in the file.
struct Places<'t>(&'t Value);

impl Places<'_> {
    fn route(&self, route: RouteIndex) -> String {
        format!("routes[{}]", route.get())
    }

    /// `match`, or its item if it is a list; the route where it has none.
    fn block(&self, route: RouteIndex, block: usize) -> String {
        let Some(Value::List(routes)) = field(self.0, "routes") else {
            return self.route(route);
        };
        match routes
            .get(route.get())
            .and_then(|route| field(route, "match"))
        {
            None => self.route(route),
            Some(Value::List(_)) => format!("{}.match[{block}]", self.route(route)),
            Some(_) => format!("{}.match", self.route(route)),
        }
    }
}

/// `pools.web`, `pools["a.b"]`, as the parser writes it.
fn named(section: &str, name: &str) -> String {
    match name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
    {
        true => format!("{section}.{name}"),
        false => format!("{section}[{name:?}]"),
    }
}

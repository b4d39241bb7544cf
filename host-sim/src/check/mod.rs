//! Warnings: what is legal in a configuration, and wrong.
//!
//! A warning is certain: what it says holds for every request. Where these rules cannot prove it
//! they say nothing, because false alarms teach people to overlook warnings. A route is only said
//! to be unreachable if the conditions prove it, and the warning shows a request that the route
//! matches by itself and that another route takes.
//!
//! Blocks are sets of requests (`request_set`), conditions are sets of values (`values`), and
//! sets of values are compared as automata (`language`).

mod candidates;
mod dearest;
pub(crate) mod example;
mod kinds;
pub(crate) mod language;
mod manifest;
pub mod meetings;
mod patterns;
mod pools;
mod protect;
mod proxy_file;
mod rate_limits;
mod redirects;
pub(crate) mod request_set;
mod router_options;
mod routes;
mod secrets;
mod sessions;
mod settings;
#[cfg(test)]
mod tests;
mod uses;
pub(crate) mod values;
mod variables;

use crate::configuration::{self, ParsedText, field};
use crate::exchange::{ExchangeRequest, shown};
use crate::yaml::{Odd, Reading};
use pointsman_core::config::Config;
use pointsman_core::config::value::Value;
use pointsman_core::index::RouteIndex;
use pointsman_core::pool::Pool;
use std::path::Path;

pub use kinds::KINDS;

/// One thing that is legal, and wrong.
#[derive(Debug)]
pub struct Warning {
    /// Where it stands: `routes[3].match.headers[1]`.
    pub place: String,
    /// Its kind, for machines: stays the same in all releases.
    pub kind: &'static str,
    /// What is wrong: the place is the beginning of the sentence.
    pub found: String,
    /// Why it is wrong.
    pub why: String,
    /// What to do about it.
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
            .map(|(request, _)| example::command(request, file))
    }

    /// The URL of the request that shows it.
    pub fn url(&self) -> Option<String> {
        let (request, _) = self.example.as_ref()?;
        Some(shown(&request.url()))
    }
}

/// Every warning: of the whole, then of pools, rate limits, routes. `config` was
/// read from `tree`.
pub fn warnings(tree: &Value, config: &Config) -> Vec<Warning> {
    warnings_and_notes(tree, config).0
}

/// The same, and every note, in the order of the file.
pub fn warnings_and_notes(tree: &Value, config: &Config) -> (Vec<Warning>, Vec<Note>) {
    let mut warnings = settings::warnings(config);
    warnings.extend(pools::warnings(config));
    warnings.extend(protect::warnings(config));
    warnings.extend(secrets::warnings(config));
    warnings.extend(variables::published(config));
    let (of_routes, note) = routes::warnings(config, &Places(tree));
    warnings.extend(of_routes);
    warnings.extend(router_options::warnings(config));
    let mut notes = settings::notes(config);
    notes.extend(variables::notes(tree));
    notes.extend(variables::unsigned(config));
    notes.extend(rate_limits::notes(config));
    notes.extend(note);
    (warnings, notes)
}

/// What is wrong with a file around Pointsman's part, and how its YAML is read, and what is to be
/// known about it. `refused`: the part has errors, which scalars that are read otherwise than written
/// may explain. `path`: where the text was read.
pub fn around(source: &ParsedText<'_>, path: &Path, refused: bool) -> (Vec<Warning>, Vec<Note>) {
    let (reading, odd) = source.read_differently();
    let mut warnings = odd_warnings(reading, &odd, refused, "");
    let trees = source.envoy_trees(path);
    let mut around: Vec<Warning> = trees.iter().flat_map(proxy_file::warnings).collect();
    let mut notes = Vec::new();
    if let Some(documents) = source.resource_documents() {
        for (place, reading, odd) in configuration::manifest::odd_of_files(documents) {
            warnings.extend(odd_warnings(reading, &odd, refused, &format!("{place}: ")));
        }
        around.extend(manifest::warnings(documents));
        notes = manifest::notes(documents);
    }
    notes.extend(trees.iter().flat_map(proxy_file::notes));
    for warning in around {
        let is_same =
            |other: &Warning| (&other.place, &other.found) == (&warning.place, &warning.found);
        if !warnings.iter().any(is_same) {
            warnings.push(warning);
        }
    }
    (warnings, notes)
}

/// The warnings of [`around`].
pub fn file_warnings(text: &str, path: &Path, refused: bool) -> Vec<Warning> {
    around(&ParsedText::new(text), path, refused).0
}

/// The notes of [`around`].
pub fn file_notes(text: &str, path: &Path) -> Vec<Note> {
    around(&ParsedText::new(text), path, false).1
}

/// What is to be known of a file without a configuration of ours.
pub fn nothing_of_ours() -> Note {
    Note {
        place: String::new(),
        kind: "no_configuration",
        found: "is not in this file: only what is around it was looked at".to_owned(),
    }
}

fn odd_warnings(reading: Reading, odd: &[Odd], refused: bool, before: &str) -> Vec<Warning> {
    /// A file that says `yes` throughout says so in many places.
    const MAX_SHOWN: usize = 20;
    let is_told = |odd: &&Odd| match reading {
        Reading::Core => true,
        // What is read as text or as false is an error where it should not be; a number is not.
        Reading::Envoy | Reading::Kubernetes => {
            let numbers = [&odd.readings[0], &odd.readings[reading as usize]];
            let [Value::Number(written), Value::Number(read)] = numbers else {
                return refused;
            };
            refused || written != read
        }
    };
    // The numbers with a point; a text is taken for one.
    let is_taken = |odd: &&Odd| {
        [".bounded_load", ".mirror.percent"]
            .iter()
            .any(|key| odd.place.ends_with(key))
            && matches!(odd.readings[0], Value::Number(_))
    };
    let told = odd.iter().filter(|odd| is_told(odd) && !is_taken(odd));
    told.take(MAX_SHOWN)
        .map(|odd| {
            let warning = read_differently(odd, reading);
            Warning {
                place: format!("{before}{}", warning.place),
                ..warning
            }
        })
        .collect()
}

fn read_differently(odd: &Odd, reading: Reading) -> Warning {
    let shown = |value: &Value| match value {
        Value::Text(_) => "a text".to_owned(),
        Value::Null => "nothing".to_owned(),
        other => configuration::to_json(other).to_string(),
    };
    let [core, envoy, kubernetes] = odd.readings.each_ref().map(shown);
    let found = match reading {
        Reading::Core => format!("is read as {core} here"),
        Reading::Envoy => format!("is read as {envoy} by Envoy"),
        Reading::Kubernetes => format!("is read as {kubernetes} by Kubernetes"),
    };
    let advice = match odd.readings[0] {
        Value::Number(_) => {
            "write the number with decimal digits only, or quote it where it is text"
        }
        _ => "quote it, or write true or false",
    };
    Warning::new(
        "read_differently",
        format!("line {}: {}", odd.line, odd.place),
        format!("`{}` {found}", odd.text),
        format!(
            "readers of YAML differ: it is {core} by YAML 1.2, {envoy} in an Envoy configuration \
             and {kubernetes} in a WasmPlugin"
        ),
        advice,
    )
}

/// Something to know that is not wrong.
#[derive(Debug)]
pub struct Note {
    /// `rate_limits.login`
    pub place: String,
    /// Its kind, for machines: stays the same from release to release.
    pub kind: &'static str,
    /// What holds: a sentence that goes on after the place.
    pub found: String,
}

/// The dearest request of a configuration, where it is dear: a warning where it costs more than is
/// promised, and else a note.
pub fn dearest_request(config: &Config) -> (Option<Warning>, Option<Note>) {
    match dearest::dearest(config) {
        Some(dearest) if dearest.is_too_dear() => (Some(dearest.warning()), None),
        Some(dearest) => (None, Some(dearest.note())),
        None => (None, None),
    }
}

/// The places of routes and blocks in the file.
struct Places<'t>(&'t Value);

impl Places<'_> {
    fn route(&self, route: RouteIndex) -> String {
        format!("routes[{}]", route.get())
    }

    /// The place of `match`, or of its item if it is a list; of the route if it has none.
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

/// A pool of endpoints whose choice the resources of a file do not let Envoy obey.
fn endpoint_not_obeyed(pool: &Pool, header: &str, advice: &str) -> Warning {
    Warning::new(
        "endpoint_not_obeyed",
        format!("{}.cluster", named("pools", &pool.name)),
        "is balanced by Envoy",
        format!(
            "the endpoint that is chosen is in the header `{header}`, and nothing in the file lets \
             the cluster's policy read it"
        ),
        advice,
    )
}

/// The place of a named entry as the parser writes it: `pools.web`, `pools["a.b"]`.
fn named(section: &str, name: &str) -> String {
    match name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
    {
        true => format!("{section}.{name}"),
        false => format!("{section}[{name:?}]"),
    }
}

//! `import envoy`: an Envoy's route table as Pointsman's routes.
//!
//! The input is read with Envoy's own descriptors. Each field that is understood is taken from its
//! message, and what is still set at the end is the list of what was not carried over; a field that
//! a later Envoy adds is on it by itself.
//!
//! A condition or an action that the filter does not have makes a route that passes its requests
//! on to Envoy's own routes. So the original routes stay in Envoy, behind the one that takes the
//! filter's choice, and a request never goes where the original would not have sent it.

mod action;
mod descriptors;
mod document;
mod domains;
mod format;
mod headers;
mod matches;
mod message;
mod pools;
mod reasons;
mod regex;
mod sessions;
mod source;
mod strings;
mod table;
mod template;

#[cfg(test)]
mod tests;

use crate::fields::Report;
use crate::output::Configuration;
use crate::{Document, Options, Output, UnreadableFile};
use pointsman_core::config::Config;
use pools::Pools;
use serde_json::Map;
use source::{Found, Table};
use table::Made;

/// Imports an Envoy's routes.
pub fn import(documents: Vec<Document>, options: &Options) -> Result<Output, UnreadableFile> {
    let report = Report::default();
    let mut found = Found::new(descriptors::pool(), &report);
    let mut file = "the files".to_owned();
    for document in documents {
        found
            .document(&document.place, document.value)
            .map_err(|why| UnreadableFile {
                file: document.place.clone(),
                // Each line begins with the file, and what shows the error begins with it too.
                why: match why.strip_prefix(&format!("{}: ", document.place)) {
                    Some(rest) => rest.to_owned(),
                    None => why,
                },
            })?;
        file = document.place;
    }
    finish(found, &file, options, &report)
}

/// Makes routes of what was found. `file`: the last one that was read.
fn finish(
    mut found: Found,
    file: &str,
    options: &Options,
    report: &Report,
) -> Result<Output, UnreadableFile> {
    let chosen = choose(&mut found, options, report).map_err(|why| UnreadableFile {
        file: file.to_owned(),
        why,
    })?;

    let mut pools = Pools::new(std::mem::take(&mut found.endpoints));
    let mut notes = vec![
        format!(
            "Imported from Envoy's route configuration {:?}.",
            chosen.name
        ),
        "The clusters are Envoy's own, and stay there.".to_owned(),
    ];
    let made = table::routes(chosen.message, chosen.session, &mut pools);
    let mut configuration = Configuration {
        pools: pools.into_entries(),
        ..Configuration::default()
    };
    configuration.routes = accepted(&configuration, made, report);
    let is_passed = |entry: &crate::output::Entry| entry.value.contains_key("pass");
    if configuration.routes.iter().any(is_passed) {
        notes.push(
            "Routes with `pass: true` hand requests to Envoy's own routes: keep the original ones \
             there, behind the route that takes the filter's choice."
                .to_owned(),
        );
    }
    let mut stays: Vec<String> = found
        .stays
        .iter()
        .map(|place| format!("- {place}"))
        .collect();
    if !stays.is_empty() {
        notes.push("Not about routes; it stays in the proxy's own configuration:".to_owned());
        notes.append(&mut stays);
    }
    configuration.notes = notes;
    Ok(Output {
        configuration,
        not_carried: report.take(),
    })
}

/// The table that is imported: a filter has one, as its connection manager has. The others are
/// reported.
fn choose(found: &mut Found, options: &Options, report: &Report) -> Result<Table, String> {
    let tables = std::mem::take(&mut found.tables);
    let names: Vec<String> = tables.iter().map(|table| table.name.clone()).collect();
    let wanted = |table: &Table| match &options.route_configuration {
        Some(name) => table.name == *name,
        None => true,
    };
    let mut chosen = None;
    for table in tables {
        if chosen.is_none() && wanted(&table) {
            chosen = Some(table);
            continue;
        }
        let why = format!(
            "another connection manager's routes, for a filter of its own: --route-config {:?}",
            table.name
        );
        report.add(table.message.place().trim_end_matches(": "), why);
        table.message.rest();
    }
    chosen.ok_or_else(|| match (&options.route_configuration, names.is_empty()) {
        (Some(name), false) => {
            format!(
                "no route configuration {name:?}; there are {}",
                names.join(", ")
            )
        }
        _ => "no route configuration".to_owned(),
    })
}

/// Keys that a route can do without.
const SOFT: [&str; 5] = [
    "request_headers",
    "response_headers",
    "timeout",
    "retry",
    "mirror",
];

/// The routes, each of which the filter takes: what it refuses is left out, or the route passes
/// its requests on, and the refusal is reported.
fn accepted(
    configuration: &Configuration,
    mut made: Vec<Made>,
    report: &Report,
) -> Vec<crate::output::Entry> {
    // What is left out of one route never makes another one wrong, so few rounds do.
    const ROUNDS: usize = 4;
    for _ in 0..ROUNDS {
        let mut whole = configuration.clone();
        whole.routes = made.iter().map(|made| made.entry.clone()).collect();
        let output = Output {
            configuration: whole,
            not_carried: Vec::new(),
        };
        let Err(problems) = Config::load(output.to_json().to_string().as_bytes()) else {
            break;
        };
        for problem in problems.0 {
            let Some((at, key)) = of_route(&problem.place) else {
                continue;
            };
            let Some(made) = made.get_mut(at) else {
                continue;
            };
            let why = format!("the filter refuses it: {problem}");
            if SOFT.contains(&key) {
                if made.entry.value.remove(key).is_some() {
                    report.add(format!("{} ({key})", made.place), why);
                }
                continue;
            }
            if made.entry.value.contains_key("pass") && key != "match" {
                continue;
            }
            report.add(&made.place, format!("{}; {why}", table::KEPT));
            let matched = match key {
                "match" => made.hosts.clone(),
                _ => made.entry.value.get("match").cloned(),
            };
            let mut value = Map::new();
            value.insert("pass".into(), true.into());
            if let Some(matched) = matched {
                value.insert("match".into(), matched);
            }
            made.entry.value = value;
        }
    }
    made.into_iter().map(|made| made.entry).collect()
}

/// `routes[3].match.path` is of the fourth route's `match`.
fn of_route(place: &str) -> Option<(usize, &str)> {
    let (index, rest) = place.strip_prefix("routes[")?.split_once(']')?;
    let key = rest.trim_start_matches('.');
    let end = key.find(['.', '[']).unwrap_or(key.len());
    Some((index.parse().ok()?, &key[..end]))
}

//! Other programs' routes as a configuration that loads. What an importer carried over and the
//! filter would refuse, such as a pattern in another syntax, is taken out again, and named.

use pointsman_core::config::Config;
use pointsman_core::config::problem::Problem;
use pointsman_core::config::value::Value;
use pointsman_import::output::Entry;
use pointsman_import::{InputFile, Kind, NotCarried, Options, Output, UnreadableFile};
use std::collections::BTreeSet;

/// Imports the routes of files.
pub fn import(
    kind: Kind,
    files: &[InputFile],
    options: &Options,
) -> Result<Output, UnreadableFile> {
    let mut output = pointsman_import::import(kind, files, options)?;
    while let Some(problems) = problems(&output) {
        if !take_out(&mut output, &problems) {
            break;
        }
    }
    output.drop_unused();
    Ok(output)
}

/// What the filter says of the configuration. None: it loads.
fn problems(output: &Output) -> Option<Vec<Problem>> {
    let tree: Value = serde_json::from_value(output.to_json()).ok()?;
    Config::from_value(&tree).err().map(|problems| problems.0)
}

/// Takes out the pools, limits and routes that have problems. False: none has.
fn take_out(output: &mut Output, problems: &[Problem]) -> bool {
    let configuration = &mut output.configuration;
    let mut bad: [BTreeSet<usize>; 3] = Default::default();
    let mut named = Vec::new();
    for problem in problems {
        let sections = [
            ("pools", &configuration.pools),
            ("rate_limits", &configuration.rate_limits),
            ("routes", &configuration.routes),
        ];
        for ((section, entries), bad) in sections.into_iter().zip(&mut bad) {
            let is_of = |(at, entry): (usize, &Entry)| {
                let place = match section {
                    "routes" => format!("routes[{at}]"),
                    _ => place(section, &entry.name),
                };
                problem
                    .place
                    .strip_prefix(&place)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
            };
            let Some(at) = entries.iter().enumerate().position(is_of) else {
                continue;
            };
            bad.insert(at);
            let entry = &entries[at];
            let path = match entry.comments.first() {
                Some(comment) => comment.strip_prefix("from: ").unwrap_or(comment).to_owned(),
                None => format!("{section} {}", entry.name),
            };
            named.push(NotCarried {
                path,
                why: format!("left out, as it would be refused: {problem}"),
            });
            break;
        }
    }
    let [pools, rate_limits, routes] = &bad;
    remove(&mut configuration.pools, pools);
    remove(&mut configuration.rate_limits, rate_limits);
    remove(&mut configuration.routes, routes);
    let found = !named.is_empty();
    output.not_carried.extend(named);
    found
}

fn remove(entries: &mut Vec<Entry>, bad: &BTreeSet<usize>) {
    let mut at = 0;
    entries.retain(|_| {
        at += 1;
        !bad.contains(&(at - 1))
    });
}

/// The place of a named entry as problems have it: `pools.web`, `pools["a.b"]`.
fn place(section: &str, name: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    match name.bytes().all(is_plain) {
        true => format!("{section}.{name}"),
        false => format!("{section}[{name:?}]"),
    }
}

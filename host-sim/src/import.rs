//! Other programs' routes as a configuration that loads. What an importer carried over and the
//! filter would refuse, such as a pattern in another syntax, is taken out again, and named: an option
//! or one of several blocks of a `match` by itself, and what else says which requests go where with
//! its whole route or pool.

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

/// Keys without which requests go where they would go with them.
const OPTIONS: [&str; 6] = ["balance", "health", "mirror", "retry", "sticky", "timeout"];

/// Takes out the pools, limits and routes that have problems, or their options. False: none has.
fn take_out(output: &mut Output, problems: &[Problem]) -> bool {
    let configuration = &mut output.configuration;
    let mut bad: [BTreeSet<usize>; 3] = Default::default();
    let mut options: Vec<(usize, usize, &str)> = Vec::new();
    let mut blocks: BTreeSet<(usize, usize)> = BTreeSet::new();
    let mut named: Vec<NotCarried> = Vec::new();
    for problem in problems {
        let sections = [
            ("pools", &configuration.pools),
            ("rate_limits", &configuration.rate_limits),
            ("routes", &configuration.routes),
        ];
        for (number, (section, entries)) in sections.into_iter().enumerate() {
            let within = |(at, entry): (usize, &Entry)| {
                let place = match section {
                    "routes" => format!("routes[{at}]"),
                    _ => place(section, &entry.name),
                };
                let rest = problem.place.strip_prefix(&place)?;
                let is_of = rest.is_empty() || rest.starts_with(['.', '[']);
                is_of.then(|| (at, rest.trim_start_matches('.')))
            };
            let Some((at, rest)) = entries.iter().enumerate().find_map(within) else {
                continue;
            };
            let entry = &entries[at];
            let option = OPTIONS.iter().find(|option| {
                let rest = rest.strip_prefix(**option);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
            });
            let taken = match (option, block(section, rest)) {
                (Some(option), _) => {
                    options.push((number, at, option));
                    format!("`{option}` was left out")
                }
                (None, Some(block)) => {
                    blocks.insert((at, block));
                    format!(
                        "`match[{block}]` was left out, so its requests go to the routes behind it"
                    )
                }
                (None, None) => {
                    bad[number].insert(at);
                    match section {
                        "routes" => "left out, so its requests go to the routes behind it".into(),
                        _ => "left out".to_owned(),
                    }
                }
            };
            let path = match entry.comments.first() {
                Some(comment) => comment.strip_prefix("from: ").unwrap_or(comment).to_owned(),
                None => format!("{section} {}", entry.name),
            };
            // Its place in a configuration that is not there any more tells nobody anything.
            let shown = Problem {
                place: rest.to_owned(),
                ..problem.clone()
            };
            let told = NotCarried {
                path,
                why: format!("{taken}, as it would be refused: {shown}"),
            };
            // A rule of several hosts is several routes.
            if !named.contains(&told) {
                named.push(told);
            }
            break;
        }
    }
    for (number, at, option) in options {
        let entries = match number {
            0 => &mut configuration.pools,
            1 => &mut configuration.rate_limits,
            _ => &mut configuration.routes,
        };
        if let Some(entry) = entries.get_mut(at) {
            entry.value.remove(option);
        }
    }
    // The last first, so that the numbers of those before stay what they are.
    for (at, block) in blocks.into_iter().rev() {
        let route = configuration.routes.get_mut(at);
        let blocks = route.and_then(|route| route.value.get_mut("match")?.as_array_mut());
        let Some(blocks) = blocks else { continue };
        if block < blocks.len() {
            blocks.remove(block);
        }
        if blocks.is_empty() {
            // Without any it would take every request.
            bad[2].insert(at);
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

/// The block of a route's `match` that a place is in, where it has several.
fn block(section: &str, rest: &str) -> Option<usize> {
    let rest = rest
        .strip_prefix("match[")
        .filter(|_| section == "routes")?;
    rest.split_once(']')?.0.parse().ok()
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

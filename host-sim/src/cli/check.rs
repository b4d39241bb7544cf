//! `host-sim check`: everything that is wrong with a configuration.

use super::{Outcome, style};
use anyhow::{Context, Result};
use host_sim::check::{self, Note, Warning};
use host_sim::configuration::{self, FilterConfiguration};
use host_sim::exchange::{pairs_to_json, shown};
use pointsman_core::config::Config;
use pointsman_core::config::problem::Problem;
use pointsman_core::config::value;
use serde_json::{Value, json};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Says what is wrong with a configuration: errors, for which it would be refused, and what is
/// legal but wrong.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Pointsman's configuration in YAML or JSON, or an Envoy configuration: each of its Pointsman
    /// filters is checked, and where two of them meet.
    config: PathBuf,
    /// Print one JSON object: `errors`, each with `place`, `found`, `expected` and `nearest`, and
    /// `warnings`, each with `place`, `kind`, `found`, `why`, `advice`, `shadowed_by`, and an
    /// `example` or null, and `notes`, each with `place`, `kind` and `found`, which change no exit
    /// status.
    #[arg(long)]
    json: bool,
}

/// Prints the findings to stdout. [`Outcome::Found`]: there are some.
pub(crate) fn run(arguments: &Arguments) -> Result<Outcome> {
    let file = &arguments.config;
    let mut findings = match configuration::read_parts(file) {
        Ok(parts) => of_all(&parts),
        Err(configuration::LoadError::Problems(problems)) => Findings {
            errors: problems.0,
            ..Findings::default()
        },
        Err(configuration::LoadError::Unreadable(error)) => {
            return Err(error).with_context(|| format!("reading {}", file.display()));
        }
    };
    if let Ok(text) = fs::read_to_string(file) {
        let around = check::file_warnings(&text, file, !findings.errors.is_empty());
        findings.warnings.splice(0..0, around);
    }
    let mut out = anstream::stdout().lock();
    if arguments.json {
        writeln!(out, "{:#}", object(&findings, file))?;
    } else {
        write_text(&mut out, &findings, file)?;
    }
    Ok(
        match findings.errors.is_empty() && findings.warnings.is_empty() {
            true => Outcome::Good,
            false => Outcome::Found,
        },
    )
}

/// What was found in a file.
#[derive(Default)]
struct Findings {
    errors: Vec<Problem>,
    warnings: Vec<Warning>,
    notes: Vec<Note>,
}

fn findings(tree: &value::Value) -> Findings {
    match Config::from_value(tree) {
        Ok(config) => {
            let (too_dear, dearest) = check::dearest_request(&config);
            let (mut warnings, mut notes) = check::warnings_and_notes(tree, &config);
            warnings.extend(too_dear);
            notes.extend(dearest);
            Findings {
                errors: Vec::new(),
                warnings,
                notes,
            }
        }
        Err(problems) => Findings {
            errors: problems.0,
            ..Findings::default()
        },
    }
}

/// What was found in every filter of a file, and between them.
fn of_all(parts: &[FilterConfiguration]) -> Findings {
    if let [part] = parts {
        return findings(&part.tree);
    }
    let mut all = Findings::default();
    let mut loaded = Vec::new();
    for part in parts {
        let found = findings(&part.tree);
        let within = |place: &mut String| *place = format!("{}: {place}", part.place);
        all.errors.extend(found.errors.into_iter().map(|mut error| {
            within(&mut error.place);
            error
        }));
        all.warnings
            .extend(found.warnings.into_iter().map(|mut warning| {
                within(&mut warning.place);
                warning
            }));
        all.notes.extend(found.notes.into_iter().map(|mut note| {
            within(&mut note.place);
            note
        }));
        loaded.extend(
            Config::from_value(&part.tree)
                .ok()
                .map(|config| (part, config)),
        );
    }
    let loaded: Vec<_> = loaded
        .iter()
        .map(|(part, config)| (*part, config))
        .collect();
    all.warnings.extend(check::meetings::warnings(&loaded));
    all.notes.extend(check::meetings::notes(&loaded));
    all
}

fn object(findings: &Findings, file: &Path) -> Value {
    let Findings {
        errors,
        warnings,
        notes,
    } = findings;
    let notes = notes
        .iter()
        .map(|note| json!({ "place": note.place, "kind": note.kind, "found": note.found }));
    let errors = errors.iter().map(|problem| {
        json!({
            "place": problem.place,
            "found": problem.found,
            "expected": problem.expected,
            "nearest": problem.nearest,
        })
    });
    let warnings = warnings.iter().map(|warning| {
        let example = warning.example.as_ref().map(|(request, route)| {
            json!({
                "method": shown(&request.method),
                "url": warning.url(),
                "headers": pairs_to_json(&request.headers),
                "client_ip": request.client_ip,
                "sni": request.tls.sni,
                "peer": request.tls.peer,
                "route": route,
                "command": warning.command(&file.to_string_lossy()),
            })
        });
        json!({
            "place": warning.place,
            "kind": warning.kind,
            "found": warning.found,
            "why": warning.why,
            "advice": warning.advice,
            "shadowed_by": warning.shadowed_by,
            "example": example,
        })
    });
    json!({
        "errors": errors.collect::<Vec<_>>(),
        "warnings": warnings.collect::<Vec<_>>(),
        "notes": notes.collect::<Vec<_>>(),
    })
}

fn write_text(out: &mut impl Write, findings: &Findings, file: &Path) -> io::Result<()> {
    let Findings {
        errors,
        warnings,
        notes,
    } = findings;
    let (bad, odd, strong, faint) = (style::BAD, style::ODD, style::STRONG, style::FAINT);
    for error in errors {
        writeln!(out, "{bad}error{bad:#}: {error}")?;
    }
    for warning in warnings {
        let Warning {
            place,
            found,
            why,
            advice,
            ..
        } = warning;
        writeln!(
            out,
            "{odd}warning{odd:#}: {strong}{place}{strong:#}: {found}"
        )?;
        writeln!(out, "  {faint}why:{faint:#} {why}")?;
        if let (Some((_, route)), Some(command)) =
            (&warning.example, warning.command(&file.to_string_lossy()))
        {
            writeln!(out, "  {faint}see:{faint:#} {command}")?;
            writeln!(out, "       which goes to `{route}`")?;
        }
        writeln!(out, "  {faint}do:{faint:#}  {advice}")?;
    }
    for Note { place, found, .. } in notes {
        writeln!(
            out,
            "{faint}note{faint:#}: {strong}{place}{strong:#}: {found}"
        )?;
    }
    let count = |count: usize, what: &str| match count {
        0 => None,
        1 => Some(format!("1 {what}")),
        _ => Some(format!("{count} {what}s")),
    };
    let counts = [
        count(errors.len(), "error"),
        count(warnings.len(), "warning"),
    ];
    let counts: Vec<_> = counts.into_iter().flatten().collect();
    let (colour, verdict) = match (&errors[..], &warnings[..]) {
        ([], []) => (style::GOOD, "good".to_owned()),
        ([], _) => (style::ODD, counts.join(", ")),
        _ => (style::BAD, counts.join(", ")),
    };
    writeln!(out, "{}: {colour}{verdict}{colour:#}", file.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHADOWED: &str = "{ routes: [
        { name: all, match: { path: { prefix: / } }, pass: true },
        { name: shop, match: { path: { exact: /shop }, methods: [POST], headers: [{ name: x-a, prefix: it's }] }, pass: true } ] }";

    fn found(text: &str) -> Findings {
        findings(&configuration::parse(text).unwrap())
    }

    fn printed(text: &str) -> String {
        let findings = found(text);
        let mut out = anstream::StripStream::new(Vec::new());
        write_text(&mut out, &findings, Path::new("shop.yaml")).unwrap();
        String::from_utf8(out.into_inner()).unwrap()
    }

    #[test]
    fn text_says_where_what_why_and_what_to_do() {
        assert_eq!(printed("{}"), "shop.yaml: good\n");
        assert_eq!(
            printed("{ rotes: [], pols: {} }").lines().last(),
            Some("shop.yaml: 2 errors")
        );
        assert_eq!(
            printed(SHADOWED),
            "warning: routes[1]: the route `shop` can never match\n  \
               why: every request that it matches is taken before it by `all` (routes[0])\n  \
               see: host-sim explain shop.yaml --method POST --url http://example.com/shop -H \"x-a: it's\"\n       \
                    which goes to `all`\n  \
               do:  put it before them, ask for more in the earlier match, or remove it\n\
             shop.yaml: 1 warning\n"
        );
    }

    #[test]
    fn notes_are_told_and_nothing_is_wrong_for_them() {
        let text = "{ rate_limits: { a: { requests: 1, per: 1s, key: [{ header: x }] } },
            routes: [{ name: a, rate_limits: [a], pass: true }] }";
        assert_eq!(
            printed(text),
            "note: rate_limits.a: 65536 requests a second with a key each hold its share of the \
               table, 65536 of 65536 keys\n\
             note: rate_limits.a: the client chooses { header: x } of its key: with another value \
               it has another bucket\n\
             shop.yaml: good\n"
        );
        let notes = &object(&found(text), Path::new("shop.yaml"))["notes"];
        assert_eq!(notes[1]["kind"], json!("client_chosen_key"));
    }

    #[test]
    fn filters_that_meet_are_told() {
        let part = |name: &str, scope: &str, cluster: &str| {
            FilterConfiguration {
            place: format!("filter `{name}` of {cluster}"),
            plugin: ["vm", name, "", ""].map(String::from),
            tree: configuration::parse(&format!(
                "{{ {scope} pools: {{ web: {{ targets: [{{ cluster: {cluster}, name: v1 }}, {{ cluster: same }}],
                    health: {{ passive: {{}} }}, sticky: {{ cookie: {{ name: pm }} }} }} }},
                    rate_limits: {{ all: {{ requests: 1, per: 1s, key: [] }} }},
                    routes: [{{ name: r, pool: web, rate_limits: [all] }}] }}"
            ))
            .unwrap(),
        }
        };
        let kinds = |one: &FilterConfiguration, other: FilterConfiguration| {
            let Findings {
                errors,
                warnings,
                notes,
            } = of_all(&[
                FilterConfiguration {
                    tree: one.tree.clone(),
                    place: one.place.clone(),
                    plugin: one.plugin.clone(),
                },
                other,
            ]);
            assert!(errors.is_empty(), "{errors:?}");
            let meet = notes
                .into_iter()
                .filter(|note| note.kind.starts_with("same_"));
            let found = warnings
                .into_iter()
                .map(|warning| (warning.kind, warning.why));
            found
                .chain(meet.map(|note| (note.kind, note.found)))
                .collect::<Vec<_>>()
        };
        let one = part("a", "", "c");
        let names = |found: &[(&'static str, String)]| {
            found.iter().map(|(kind, _)| *kind).collect::<Vec<_>>()
        };
        assert_eq!(names(&kinds(&one, part("b", "", "d"))), ["same_sessions"]);
        let same = kinds(&one, part("a", "", "d"));
        assert_eq!(names(&same), ["same_filter", "same_sessions"]);
        assert!(
            same[0]
                .1
                .ends_with("such as rate_limits.all, pools.web.targets.same"),
            "{same:?}"
        );
        let one = part("a", "scope: edge,", "c");
        let scoped = kinds(&one, part("b", "scope: edge,", "d"));
        assert_eq!(names(&scoped), ["same_scope", "same_sessions"]);
        assert!(
            scoped[0]
                .1
                .ends_with(": rate_limits.all, pools.web.targets.same"),
            "{scoped:?}"
        );
    }

    #[test]
    fn json_has_errors_and_warnings() {
        let findings = found(SHADOWED);
        let object = object(&findings, Path::new("shop.yaml"));
        assert_eq!(object["errors"], json!([]));
        let warning = &object["warnings"][0];
        assert_eq!(
            (&warning["place"], &warning["kind"], &warning["shadowed_by"]),
            (
                &json!("routes[1]"),
                &json!("unreachable_route"),
                &json!(["all"])
            )
        );
        let example = &warning["example"];
        assert_eq!(
            (&example["url"], &example["headers"], &example["route"]),
            (
                &json!("http://example.com/shop"),
                &json!([["x-a", "it's"]]),
                &json!("all")
            )
        );
        let findings = found("{ rotes: [] }");
        let object = super::object(&findings, Path::new("shop.yaml"));
        assert_eq!(
            (&object["errors"][0]["nearest"], &object["warnings"]),
            (&json!("routes"), &json!([]))
        );
    }
}

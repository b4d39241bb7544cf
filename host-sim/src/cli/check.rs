//! `host-sim check`: everything that is wrong with configurations.

use super::problem::{self, MAX_SHOWN, said};
use super::{Outcome, style};
use anyhow::Result;
use clap::ValueEnum;
use clap::builder::PossibleValuesParser;
use host_sim::check::{self, Note, Warning};
use host_sim::configuration::{self, FilterConfiguration, LoadError, ParsedText};
use host_sim::environment;
use host_sim::exchange::{pairs_to_json, shown};
use pointsman_core::config::problem::{Problem, Problems};
use pointsman_core::config::value;
use pointsman_locate::{Positions, advice};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;

/// Says what is wrong with configurations: errors, for which they would be refused, and what is
/// legal but wrong, each with its line and column.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Pointsman's configuration in YAML or JSON, an Envoy configuration, or resources of Kubernetes
    /// (WasmPlugin, TrafficExtension, EnvoyExtensionPolicy, ConfigMap): each of their Pointsman
    /// filters is checked, and where two of them meet. `-` is the standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How to print what is found: `github` are commands that a job of GitHub Actions shows beside
    /// the lines.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// The same as `--format json`. Of one file this is an object: `file`, `errors`, each with
    /// `place`, `line`, `column`, `route`, `found`, `expected`, `nearest` and `advice`, `warnings`,
    /// each with `place`, `line`, `column`, `route`, `kind`, `found`, `why`, `advice`,
    /// `shadowed_by`, and an `example` or null, `notes`, each with `place`, `line`, `column`,
    /// `route`, `kind` and `found`, which change no exit status, and `allowed`, the number of those
    /// left out by `--allow`. Of several files it is a list of these.
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Leave out warnings and notes of this kind, which is `kind` in JSON and stands behind each
    /// warning. May be repeated.
    #[arg(long, value_name = "KIND", value_parser = PossibleValuesParser::new(check::KINDS), hide_possible_values = true)]
    allow: Vec<String>,
}

/// How findings are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
    Github,
}

/// Prints the findings to stdout. [`Outcome::Found`]: there are some.
pub(crate) fn run(arguments: &Arguments) -> Result<Outcome> {
    let format = match arguments.json {
        true => Format::Json,
        false => arguments.format,
    };
    let mut out = anstream::stdout().lock();
    let mut objects = Vec::new();
    let mut outcome = Outcome::Good;
    let mut unread = Vec::new();
    for path in &arguments.files {
        let text = Text::read(path);
        let file = text
            .as_ref()
            .map(|text| File::of(path, text, &arguments.allow));
        let file = match file {
            Ok(Ok(file)) => file,
            // The others are checked all the same.
            Ok(Err(error)) => {
                unread.push(error);
                continue;
            }
            Err(_) => {
                unread.extend(text.err());
                continue;
            }
        };
        match format {
            Format::Text => write_text(&mut out, &file)?,
            Format::Json => objects.push(object(&file)),
            Format::Github => write_github(&mut out, &file)?,
        }
        if !file.findings.is_good() {
            outcome = Outcome::Found;
        }
    }
    match &objects[..] {
        [] => {}
        [only] if arguments.files.len() == 1 => writeln!(out, "{only:#}")?,
        several => writeln!(out, "{:#}", json!(several))?,
    }
    let last = unread.pop();
    unread.iter().for_each(problem::tell);
    last.map_or(Ok(outcome), Err)
}

/// A file, and what was found in it.
struct File<'t> {
    /// As it was named; `<stdin>` of the standard input.
    name: String,
    /// Its name in a command: the standard input has none.
    argument: String,
    findings: Findings,
    /// None: it is no YAML.
    positions: Option<Positions<'t>>,
}

/// What a file has: its text, or why it is none.
struct Text(String, Option<Problems>);

impl Text {
    fn read(path: &Path) -> Result<Text> {
        match configuration::text_of(path) {
            Ok(text) => Ok(Text(text, None)),
            Err(LoadError::Problems(problems)) => Ok(Text(String::new(), Some(problems))),
            Err(LoadError::Unreadable(error)) => Err(unread(error, path)),
        }
    }
}

fn unread(error: io::Error, path: &Path) -> anyhow::Error {
    let name = shown_name(path);
    anyhow::Error::new(error).context(format!("reading {name}"))
}

fn shown_name(path: &Path) -> String {
    match path.as_os_str() == "-" {
        true => "<stdin>".to_owned(),
        false => path.to_string_lossy().into_owned(),
    }
}

impl<'t> File<'t> {
    fn of(path: &Path, Text(text, no_text): &'t Text, allowed: &[String]) -> Result<File<'t>> {
        let name = shown_name(path);
        // Of 100,000 routes each takes a second or two.
        let (positions, findings) = thread::scope(|scope| {
            let positions = scope.spawn(|| Positions::read(text));
            let findings = match no_text {
                None => Self::findings(path, text),
                Some(problems) => Ok(Findings::of_problems(problems.clone())),
            };
            (positions.join().ok().flatten(), findings)
        });
        let mut findings = findings?;
        findings.allow(allowed);
        Ok(File {
            positions,
            argument: match path.as_os_str() == "-" {
                true => "FILE".to_owned(),
                false => name.clone(),
            },
            name,
            findings,
        })
    }

    fn findings(path: &Path, text: &str) -> Result<Findings> {
        let source = ParsedText::new(text);
        let mut findings = match source.parts(path) {
            Ok(parts) if parts.is_empty() => Findings {
                notes: vec![check::nothing_of_ours()],
                ..Findings::default()
            },
            Ok(parts) => match another_kind(&parts) {
                Some(problem) => return Ok(Findings::of_problems(Problems(vec![problem]))),
                None => of_all(&parts),
            },
            Err(LoadError::Problems(problems)) => Findings::of_problems(problems),
            Err(LoadError::Unreadable(error)) => return Err(unread(error, path)),
        };
        let (warnings, notes) = check::around(&source, path, !findings.errors.is_empty());
        findings.warnings.splice(0..0, warnings);
        findings.notes.splice(0..0, notes);
        Ok(findings)
    }

    /// The line and the column of a place. None: it is in another file, or this is no YAML.
    fn position(&self, place: &str) -> Option<(usize, usize)> {
        let at = match &self.positions {
            Some(positions) => positions.find(place),
            None => Positions::written(place),
        }?;
        Some((at.line, at.column))
    }

    /// The name of the route that a place is in.
    fn route(&self, place: &str) -> Option<&str> {
        self.positions.as_ref()?.route(place)
    }

    /// `shop.yaml:14:11`
    fn shown_position(&self, place: &str) -> String {
        match self.position(place) {
            Some((line, column)) => format!("{}:{line}:{column}", self.name),
            None => self.name.clone(),
        }
    }

    /// `routes[3] (shop).pool`
    fn shown_place(&self, place: &str) -> String {
        let named = || {
            let name = self.route(place)?;
            let at = place.find("routes[")?;
            let end = at + place.get(at..)?.find(']')? + 1;
            let (before, behind) = place.split_at_checked(end)?;
            Some(format!("{before} ({name}){behind}"))
        };
        match place {
            "" => "the configuration".to_owned(),
            _ => named().unwrap_or_else(|| without_line(place).to_owned()),
        }
    }
}

/// What was found in a file.
#[derive(Default)]
struct Findings {
    errors: Vec<Problem>,
    warnings: Vec<Warning>,
    notes: Vec<Note>,
    /// How many warnings and notes were left out because they are allowed.
    allowed: usize,
}

impl Findings {
    fn of_problems(problems: Problems) -> Findings {
        Findings {
            errors: problems.0,
            ..Findings::default()
        }
    }

    fn is_good(&self) -> bool {
        self.errors.is_empty() && self.warnings.is_empty()
    }

    /// Leaves out what is of these kinds.
    fn allow(&mut self, kinds: &[String]) {
        let is_allowed = |kind: &str| kinds.iter().any(|allowed| allowed == kind);
        let before = self.warnings.len() + self.notes.len();
        self.warnings.retain(|warning| !is_allowed(warning.kind));
        self.notes.retain(|note| !is_allowed(note.kind));
        self.allowed = before - self.warnings.len() - self.notes.len();
    }
}

/// What a file is that is no configuration, but a file of another command's: each of its keys is
/// unknown here, which says less.
fn another_kind(parts: &[FilterConfiguration]) -> Option<Problem> {
    let [FilterConfiguration { place, tree, .. }] = parts else {
        return None;
    };
    let value::Value::Map(entries) = tree else {
        return None;
    };
    let has = |key: &str| entries.iter().any(|(own, _)| own == key);
    let (key, found, expected) = match (has("tests"), has("traffic")) {
        (true, _) => (
            "tests",
            "a file of tests",
            "`host-sim test FILE`, which runs it",
        ),
        (_, true) => (
            "traffic",
            "a scenario",
            "`host-sim run FILE`, which plays it",
        ),
        _ => return None,
    };
    let is_ours = has("routes") || has("pools");
    (place.is_empty() && has("config") && !is_ours).then(|| Problem {
        place: key.to_owned(),
        found: format!("this is {found}, and no configuration"),
        expected: expected.to_owned(),
        nearest: None,
    })
}

fn findings(tree: &value::Value) -> Findings {
    match environment::load_anywhere(tree) {
        Ok(config) => {
            let (too_dear, dearest) = check::dearest_request(&config);
            let (mut warnings, mut notes) = check::warnings_and_notes(tree, &config);
            warnings.extend(too_dear);
            notes.extend(dearest);
            Findings {
                warnings,
                notes,
                ..Findings::default()
            }
        }
        Err(problems) => Findings::of_problems(problems),
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
            environment::load_anywhere(&part.tree)
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

fn object(file: &File<'_>) -> Value {
    let Findings {
        errors,
        warnings,
        notes,
        allowed,
    } = &file.findings;
    let line = |place: &str| file.position(place).map(|(line, _)| line);
    let column = |place: &str| file.position(place).map(|(_, column)| column);
    let notes = notes.iter().map(|note| {
        let place = &note.place;
        json!({
            "place": place,
            "line": line(place),
            "column": column(place),
            "route": file.route(place),
            "kind": note.kind,
            "found": note.found,
        })
    });
    let errors = errors.iter().map(|problem| {
        let place = &problem.place;
        let advice = advice(place, &problem.found, &problem.expected);
        json!({
            "place": place,
            "line": line(place),
            "column": column(place),
            "route": file.route(place),
            "found": problem.found,
            "expected": problem.expected,
            "nearest": problem.nearest.as_ref().filter(|_| advice.is_none()),
            "advice": advice,
        })
    });
    let warnings = warnings.iter().map(|warning| {
        let place = &warning.place;
        let example = warning.example.as_ref().map(|(request, route)| {
            json!({
                "method": shown(&request.method),
                "url": warning.url(),
                "headers": pairs_to_json(&request.headers),
                "client_ip": request.client_ip,
                "sni": request.tls.sni,
                "peer": request.tls.peer,
                "route": route,
                "command": warning.command(&file.argument),
            })
        });
        json!({
            "place": place,
            "line": line(place),
            "column": column(place),
            "route": file.route(place),
            "kind": warning.kind,
            "found": warning.found,
            "why": warning.why,
            "advice": warning.advice,
            "shadowed_by": warning.shadowed_by,
            "example": example,
        })
    });
    json!({
        "file": file.name,
        "errors": errors.collect::<Vec<_>>(),
        "warnings": warnings.collect::<Vec<_>>(),
        "notes": notes.collect::<Vec<_>>(),
        "allowed": allowed,
    })
}

/// One workflow command for each finding: GitHub shows it beside the line.
fn write_github(out: &mut impl Write, file: &File<'_>) -> io::Result<()> {
    let message = |text: &str| {
        text.replace('%', "%25")
            .replace('\r', "%0D")
            .replace('\n', "%0A")
    };
    let property = |text: &str| message(text).replace(':', "%3A").replace(',', "%2C");
    let mut command = |level: &str, place: &str, text: &str| {
        let at = match file.position(place) {
            Some((line, column)) => format!(",line={line},col={column}"),
            None => String::new(),
        };
        let name = property(&file.name);
        let text = message(&format!("{}: {text}", file.shown_place(place)));
        writeln!(out, "::{level} file={name}{at}::{text}")
    };
    for error in &file.findings.errors {
        command("error", &error.place, &said(error))?;
    }
    for warning in &file.findings.warnings {
        let Warning {
            found, why, advice, ..
        } = warning;
        let text = format!("{found}: {why}. {advice} [{}]", warning.kind);
        command("warning", &warning.place, &text)?;
    }
    for note in &file.findings.notes {
        command("notice", &note.place, &note.found)?;
    }
    Ok(())
}

/// `line 3: a.b` without the line, which is told before.
fn without_line(place: &str) -> &str {
    match place.split_once(": ") {
        Some((before, behind)) if is_position(before) => behind,
        _ => place,
    }
}

/// `line 3`, `line 3, column 7`
fn is_position(place: &str) -> bool {
    let mut words = place.split([' ', ',']).filter(|word| !word.is_empty());
    let is_number = |word: &str| word.bytes().all(|byte| byte.is_ascii_digit());
    place.starts_with("line ")
        && words.all(|word| ["line", "column"].contains(&word) || is_number(word))
}

fn write_text(out: &mut impl Write, file: &File<'_>) -> io::Result<()> {
    let Findings {
        errors,
        warnings,
        notes,
        allowed,
    } = &file.findings;
    let (bad, odd, strong, faint) = (style::BAD, style::ODD, style::STRONG, style::FAINT);
    for error in errors.iter().take(MAX_SHOWN) {
        let at = file.shown_position(&error.place);
        // Of what is no YAML the position is the place.
        let place = match is_position(&error.place) {
            true => String::new(),
            false => format!("{}: ", file.shown_place(&error.place)),
        };
        writeln!(out, "{at}: {bad}error{bad:#}: {place}{}", said(error))?;
    }
    if let Some(more @ 1..) = errors.len().checked_sub(MAX_SHOWN) {
        writeln!(out, "and {more} more; `--format json` has them all")?;
    }
    for warning in warnings {
        let Warning {
            place,
            kind,
            found,
            why,
            advice,
            ..
        } = warning;
        let at = file.shown_position(place);
        let place = file.shown_place(place);
        writeln!(
            out,
            "{at}: {odd}warning{odd:#}: {strong}{place}{strong:#}: {found} \
             {faint}[{kind}]{faint:#}"
        )?;
        writeln!(out, "  {faint}why:{faint:#} {why}")?;
        if let (Some((_, route)), Some(command)) =
            (&warning.example, warning.command(&file.argument))
        {
            writeln!(out, "  {faint}see:{faint:#} {command}")?;
            writeln!(out, "       which goes to `{route}`")?;
        }
        writeln!(out, "  {faint}do:{faint:#}  {advice}")?;
    }
    for Note { place, found, .. } in notes {
        let at = file.shown_position(place);
        let place = file.shown_place(place);
        writeln!(
            out,
            "{at}: {faint}note{faint:#}: {strong}{place}{strong:#}: {found}"
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
    let allowed = match allowed {
        0 => String::new(),
        allowed => format!(" ({allowed} allowed)"),
    };
    writeln!(out, "{}: {colour}{verdict}{colour:#}{allowed}", file.name)
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

    fn file(text: &str) -> File<'_> {
        File {
            name: "shop.yaml".to_owned(),
            argument: "shop.yaml".to_owned(),
            findings: found(text),
            positions: Positions::read(text),
        }
    }

    fn printed(text: &str) -> String {
        let mut out = anstream::StripStream::new(Vec::new());
        write_text(&mut out, &file(text)).unwrap();
        String::from_utf8(out.into_inner()).unwrap()
    }

    fn printed_of(text: &str) -> String {
        let text = Text(text.to_owned(), None);
        let file = File::of(Path::new("shop.yaml"), &text, &[]).unwrap();
        let mut out = anstream::StripStream::new(Vec::new());
        write_text(&mut out, &file).unwrap();
        String::from_utf8(out.into_inner()).unwrap()
    }

    #[test]
    fn a_file_of_another_command_is_told_once() {
        for (text, expected) in [
            (
                "config: a.yaml\ntests: []\n",
                "shop.yaml:2:1: error: tests: this is a file of tests, and no configuration; \
                 expected `host-sim test FILE`, which runs it\nshop.yaml: 1 error\n",
            ),
            (
                "config: { routes: [] }\nduration: 1s\ntraffic: [{ name: a, rate: 0.5 }]\n",
                "shop.yaml:3:1: error: traffic: this is a scenario, and no configuration; \
                 expected `host-sim run FILE`, which plays it\nshop.yaml: 1 error\n",
            ),
        ] {
            assert_eq!(printed_of(text), expected);
        }
        let both = printed_of("config: a\ntests: []\nroutes: [{ name: a, pass: true }]\n");
        assert!(both.ends_with("shop.yaml: 2 errors\n"), "{both}");
    }

    #[test]
    fn the_position_of_what_is_no_yaml_is_told_once() {
        let told = printed_of("pools:\n  web: { targets: [}\n");
        let first = told.lines().next().unwrap();
        assert!(
            first.starts_with("shop.yaml:2:") && !first.contains("line 2"),
            "{told}"
        );
        let odd = printed_of("routes: [{ name: a, match: { methods: [yes] }, pass: true }]\n");
        assert!(!odd.contains("error"), "{odd}");
        assert!(is_position("line 3, column 7") && is_position("line 3"));
        assert!(!is_position("line 3: a.b") && !is_position("lines") && !is_position("pools"));
    }

    #[test]
    fn other_products_words_are_answered_and_long_lists_are_cut() {
        assert_eq!(
            printed(
                "pools:\n  web: { balance: least_conn, targets: [{ cluster: c }] }\nroutes: [{ name: r, pool: wbe }]\n"
            ),
            "shop.yaml:2:19: error: pools.web.balance: the string \"least_conn\"; write \
               `least_connections`\n\
             shop.yaml:3:27: error: routes[0] (r).pool: no pool is named \"wbe\"; expected the name \
               of a pool: web; did you mean `web`?\n\
             shop.yaml: 2 errors\n"
        );
        let routes = "{ name: r, pass: 1 }, ".repeat(150);
        let printed = printed(&format!("routes: [{routes}]"));
        let lines: Vec<_> = printed.lines().collect();
        assert_eq!(lines.len(), MAX_SHOWN + 2, "{printed}");
        assert!(lines[MAX_SHOWN].starts_with("and 199 more;"), "{printed}");
    }

    #[test]
    fn github_is_told_where() {
        let mut out = Vec::new();
        let mut file = file("pools: { 50%: { targets: [] } }\n");
        file.name = "a,b.yaml".to_owned();
        write_github(&mut out, &file).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert_eq!(
            out,
            "::error file=a%2Cb.yaml,line=1,col=17::pools[\"50%25\"].targets: an empty list; \
             expected a list of targets, at least one\n"
        );
        file.findings = found(SHADOWED);
        let mut out = Vec::new();
        write_github(&mut out, &file).unwrap();
        assert!(out.starts_with(b"::warning file=a%2Cb.yaml"));
    }

    #[test]
    fn what_is_allowed_is_left_out_and_counted() {
        let mut file = file(SHADOWED);
        file.findings.allow(&["unused_pool".to_owned()]);
        assert!(!file.findings.is_good());
        file.findings.allow(&["unreachable_route".to_owned()]);
        assert!(file.findings.is_good());
        let mut out = anstream::StripStream::new(Vec::new());
        write_text(&mut out, &file).unwrap();
        assert_eq!(out.into_inner(), b"shop.yaml: good (1 allowed)\n");
        assert_eq!(object(&file)["allowed"], json!(1));
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
            "shop.yaml:3:9: warning: routes[1] (shop): the route `shop` can never match \
               [unreachable_route]\n  \
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
            "shop.yaml:1:18: note: rate_limits.a: 65536 requests a second with a key each hold its share of the \
               table, 65536 of 65536 keys\n\
             shop.yaml:1:18: note: rate_limits.a: the client chooses { header: x } of its key: with another value \
               it has another bucket\n\
             shop.yaml: good\n"
        );
        let notes = &object(&file(text))["notes"];
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
                ..
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
        // A scope tells apart what they keep, and not which of the two is the newer one.
        let apart = kinds(
            &part("a", "scope: edge,", "c"),
            part("a", "scope: inner,", "d"),
        );
        assert_eq!(names(&apart), ["same_filter", "same_sessions"]);
        assert!(apart[0].1.contains("probes no target"), "{apart:?}");
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
        let object = object(&file(SHADOWED));
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
        assert_eq!(
            (&warning["line"], &warning["column"], &warning["route"]),
            (&json!(3), &json!(9), &json!("shop"))
        );
        let object = super::object(&file("{ rotes: [] }"));
        assert_eq!(
            (&object["errors"][0]["nearest"], &object["warnings"]),
            (&json!("routes"), &json!([]))
        );
    }
}

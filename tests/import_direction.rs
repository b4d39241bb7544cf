//! Imports run in one direction: modules that import each other in a circle cannot be read, tested
//! or moved one by one.
//!
//! [`Imports`] reads what the modules of a crate import of it, without their tests. A module is
//! named by its path: `world::vm`.

use host_sim::module;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};

/// The modules of a crate, each with those that it imports.
struct Imports(BTreeMap<String, BTreeSet<String>>);

impl Imports {
    /// Reads the modules below a crate's `src`. The root is left out: it declares all others.
    fn of(src: &Path) -> Imports {
        let mut files = BTreeMap::new();
        collect_modules(src, "", &mut files);
        let read = |(module, path): (&String, &PathBuf)| {
            let text = fs::read_to_string(path).unwrap();
            let imported = imports(&text, module).into_iter();
            let imported = imported.filter_map(|path| {
                // The longest part of the path that is a module: the rest is an item in it.
                let mut ends = (1..=path.len()).rev();
                ends.find_map(|end| files.get_key_value(&path[..end].join("::")))
            });
            let others = imported
                .map(|(module, _)| module)
                .filter(|it| *it != module);
            (module.clone(), others.cloned().collect())
        };
        Imports(files.iter().map(read).collect())
    }

    /// The same between the topmost folders and files of the crate: `world::vm` belongs to `world`.
    fn between_folders(&self) -> Imports {
        let folder = |module: &String| module.split("::").next().unwrap_or_default().to_owned();
        let mut folders: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (module, imported) in &self.0 {
            let others = imported
                .iter()
                .map(folder)
                .filter(|it| *it != folder(module));
            folders.entry(folder(module)).or_default().extend(others);
        }
        Imports(folders)
    }

    /// The same without imports between a module and those below it, which may go both ways.
    fn without_parents(&self) -> Imports {
        let is_below = |one: &str, other: &str| {
            let rest = one.strip_prefix(other);
            rest.is_some_and(|rest| rest.starts_with("::"))
        };
        let others = |(module, imported): (&String, &BTreeSet<String>)| {
            let are_related = |it: &String| is_below(it, module) || is_below(module, it);
            let imported = imported.iter().filter(|it| !are_related(it));
            (module.clone(), imported.cloned().collect())
        };
        Imports(self.0.iter().map(others).collect())
    }

    /// A shortest circle through each module that is in one: `a → b → a`.
    fn circles(&self) -> Vec<String> {
        self.0
            .keys()
            .filter_map(|start| self.circle(start))
            .collect()
    }

    fn circle(&self, start: &String) -> Option<String> {
        let mut seen = BTreeSet::new();
        let mut queue = VecDeque::from([vec![start]]);
        while let Some(way) = queue.pop_front() {
            for next in self.0.get(*way.last()?).into_iter().flatten() {
                let way = [&way[..], &[next]].concat();
                if next == start {
                    let names: Vec<_> = way.iter().map(|name| name.as_str()).collect();
                    return Some(names.join(" → "));
                }
                if seen.insert(next) {
                    queue.push_back(way);
                }
            }
        }
        None
    }
}

/// The files of the modules of a directory, by the modules' paths.
fn collect_modules(directory: &Path, parent: &str, files: &mut BTreeMap<String, PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        if ["lib", "main", "tests"].contains(&name) {
            continue;
        }
        let module = match (parent, name) {
            (_, "mod") => parent.to_owned(),
            ("", _) => name.to_owned(),
            _ => format!("{parent}::{name}"),
        };
        if path.is_dir() {
            collect_modules(&path, &module, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.insert(module, path);
        }
    }
}

/// The paths into its own crate that a module's text names.
fn imports(text: &str, module: &str) -> Vec<Vec<String>> {
    let tokens = without_tests(tokens(text));
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let is_start = ["crate", "self", "super"].contains(&token.as_str());
        let follows = |token: &str| tokens.get(at + 1).is_some_and(|next| next == token);
        let continues = at > 0 && tokens[at - 1] == "::";
        if !is_start || !follows("::") || continues {
            continue;
        }
        let mut prefix: Vec<String> = match token.as_str() {
            "crate" => Vec::new(),
            _ => module.split("::").map(str::to_owned).collect(),
        };
        if token == "super" {
            prefix.pop();
        }
        push_paths(&tokens, at + 2, prefix, &mut found);
    }
    found
}

/// Pushes the paths of a tree of imports, from this token on: `a::{b, c::d}`. Returns the token
/// behind it.
fn push_paths(
    tokens: &[String],
    mut at: usize,
    mut prefix: Vec<String>,
    found: &mut Vec<Vec<String>>,
) -> usize {
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token.as_str() {
            "{" => {
                while tokens.get(at).is_some_and(|token| token != "}") {
                    at = push_paths(tokens, at, prefix.clone(), found);
                    // A name that an import is given, and the comma.
                    while tokens.get(at).is_some_and(|it| it != "}" && it != ",") {
                        at += 1;
                    }
                    at += usize::from(tokens.get(at).is_some_and(|token| token == ","));
                }
                return at + 1;
            }
            "super" => drop(prefix.pop()),
            "self" | "*" => {}
            name => prefix.push(name.to_owned()),
        }
        if tokens.get(at).is_none_or(|token| token != "::") {
            break;
        }
        at += 1;
    }
    found.push(prefix);
    at
}

/// The tokens of Rust code, as far as they matter here: names, `::`, and single characters.
/// Comments and the contents of strings are left out.
fn tokens(text: &str) -> Vec<String> {
    let is_name = |char: char| char.is_alphanumeric() || char == '_';
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let size = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if let Some(string) = rest.strip_prefix('"') {
            let mut escaped = false;
            let end = string.find(|char| {
                let is_end = char == '"' && !escaped;
                escaped = char == '\\' && !escaped;
                is_end
            });
            1 + end.map_or(string.len(), |end| end + 1)
        } else if let Some(raw) = raw_string(rest) {
            raw
        } else if rest.starts_with("r#") {
            // The name behind it is the next token: `r#match` is in `match.rs`.
            2
        } else if is_name(first) {
            let size = rest.find(|char| !is_name(char)).unwrap_or(rest.len());
            tokens.push(rest[..size].to_owned());
            size
        } else if rest.starts_with("::") {
            tokens.push("::".to_owned());
            2
        } else if let Some(size) = char_literal(rest) {
            size
        } else {
            if !first.is_whitespace() {
                tokens.push(first.to_string());
            }
            first.len_utf8()
        };
        rest = &rest[size..];
    }
    tokens
}

/// The length of the raw string that a text begins with.
fn raw_string(text: &str) -> Option<usize> {
    let hashes = text.strip_prefix("br").or(text.strip_prefix('r'))?;
    let text_of = hashes.trim_start_matches('#').strip_prefix('"')?;
    let hashes = &hashes[..hashes.len() - text_of.len() - 1];
    let end = text_of.find(&format!("\"{hashes}"))?;
    Some(text.len() - text_of.len() + end + 1 + hashes.len())
}

/// The length of the character literal that a text begins with. None: it is a lifetime.
fn char_literal(text: &str) -> Option<usize> {
    let inner = text.strip_prefix('\'')?;
    if let Some(escaped) = inner.strip_prefix('\\') {
        let second = escaped.chars().next()?.len_utf8();
        return Some(2 + second + escaped[second..].find('\'')? + 1);
    }
    let size = inner.chars().next()?.len_utf8();
    inner[size..].starts_with('\'').then_some(size + 2)
}

/// Tokens without the items under `#[cfg(test)]`.
fn without_tests(tokens: Vec<String>) -> Vec<String> {
    const TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut rest = &tokens[..];
    while let Some((first, others)) = rest.split_first() {
        let is_test = rest.len() > TEST.len() && rest.iter().zip(TEST).all(|(it, test)| it == test);
        rest = match is_test {
            true => &rest[TEST.len() + item_size(&rest[TEST.len()..])..],
            false => {
                kept.push(first.clone());
                others
            }
        };
    }
    kept
}

/// How many tokens the item has that these begin with: up to a `;`, or to the end of its braces.
fn item_size(tokens: &[String]) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate() {
        match token.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 && (token == ";" || token == "}") {
            return at + 1;
        }
    }
    tokens.len()
}

fn host_sim() -> Imports {
    let imports = Imports::of(&module::repository().unwrap().join("host-sim/src"));
    // So that a reader that reads nothing is noticed.
    for (module, imported) in [
        ("world::exchange", "exchange"),
        ("simulation::engine::requests", "world::stream"),
        ("check::example", "explain"),
    ] {
        let found = imports.0.get(module);
        assert!(
            found.is_some_and(|found| found.contains(imported)),
            "{module} imports {found:?}"
        );
    }
    imports
}

#[test]
fn folders_of_host_sim_import_each_other_in_no_circle() {
    let circles = host_sim().between_folders().circles();
    assert!(circles.is_empty(), "\n{}", circles.join("\n"));
}

#[test]
fn files_of_host_sim_import_each_other_in_no_circle_but_parents() {
    let circles = host_sim().without_parents().circles();
    assert!(circles.is_empty(), "\n{}", circles.join("\n"));
}

/// The rows of the table in the documentation of `lib.rs` say who may use whom.
#[test]
fn modules_of_host_sim_use_what_stands_below_them_in_their_table() {
    let lib = module::repository().unwrap().join("host-sim/src/lib.rs");
    let text = fs::read_to_string(lib).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("//! | [`"));
    let mut rank = BTreeMap::new();
    for (row, line) in rows.enumerate() {
        let modules = line.split('|').nth(1).unwrap_or_default();
        for module in modules.split('`').skip(1).step_by(2) {
            rank.insert(module.trim_start_matches("mod@").to_owned(), row);
        }
    }
    let declared = text
        .lines()
        .map(|line| line.trim_start_matches("pub "))
        .filter_map(|line| line.strip_prefix("mod "));
    let declared: Vec<_> = declared
        .map(|module| module.trim_end_matches(';'))
        .collect();
    assert_eq!(declared, rank.keys().collect::<Vec<_>>());
    for (module, imported) in &host_sim().between_folders().0 {
        for other in imported.iter().filter(|_| rank.contains_key(module)) {
            assert!(rank[module] <= rank[other], "{module} imports {other}");
        }
    }
}

/// The modules of the core, those above first: each row may use the rows below it. (The core's
/// `lib.rs` shows it as a picture.)
const ROWS_OF_THE_CORE: &[&[&str]] = &[
    &["worker"],
    &["config"],
    &["access_log", "explain"],
    &["decision"],
    &["route"],
    &["pool", "protect", "rate_limit"],
    &["generation"],
    &["http", "shared"],
    &["scope"],
    &["port"],
    &["base64", "entropy", "index"],
    &["siphash", "time"],
];

fn filter(krate: &str, known: &[(&str, &str)]) -> Imports {
    let src = format!("filter/{krate}/src");
    let imports = Imports::of(&module::repository().unwrap().join(src));
    for (module, imported) in known {
        let found = imports.0.get(*module);
        assert!(
            found.is_some_and(|found| found.contains(*imported)),
            "{module} imports {found:?}"
        );
    }
    imports
}

fn core() -> Imports {
    let known = [
        ("worker::target", "pool::balance::consistent_hash"),
        ("route::rewrite", "route::parts"),
        ("decision", "pool::flight"),
    ];
    filter("core", &known)
}

#[test]
fn modules_of_the_core_use_what_stands_below_them() {
    let row = |module: &str| {
        let mut rows = ROWS_OF_THE_CORE.iter();
        let row = rows.position(|row| row.contains(&module));
        row.unwrap_or_else(|| panic!("{module} stands in no row"))
    };
    let mut upwards = Vec::new();
    for (module, imported) in &core().between_folders().0 {
        for other in imported.iter().filter(|other| row(module) >= row(other)) {
            upwards.push(format!("{module} imports {other}"));
        }
    }
    assert!(upwards.is_empty(), "\n{}", upwards.join("\n"));
}

#[test]
fn files_of_the_filter_import_each_other_in_no_circle_but_parents() {
    let shell = filter("shell", &[("root", "stream"), ("stream", "host")]);
    for imports in [core(), shell] {
        let circles = imports.without_parents().circles();
        assert!(circles.is_empty(), "\n{}", circles.join("\n"));
    }
}

#[test]
fn every_form_of_import_is_read_and_no_other_text() {
    let text = r##"
//! crate::comment
use super::{self, sibling as other, deep::{er::Item, *}};
pub(super) use crate::root::Thing;
use self::child::f;
use crate::r#match::{r#type::U, V};
use std::super_::no;
/// [`crate::comment::in_docs`]
fn a<'a>(x: &'a str, y: crate::inline::Type<super::super::uncle::T>) -> char {
    let text = "crate::string::\" crate::string"; // crate::comment
    let raw = r#"crate::"raw""#;
    match x { "}" => '"', _ => '\'' };
    crate::called::function()
}
#[cfg(test)]
use crate::test::only;
#[cfg(test)]
mod tests {
    fn b() { use crate::test::block; }
}
#[cfg(unix)]
fn c() { super::last() }
"##;
    let found: Vec<_> = imports(text, "here::inner")
        .iter()
        .map(|path| path.join("::"))
        .collect();
    assert_eq!(
        found,
        [
            "here",
            "here::sibling",
            "here::deep::er::Item",
            "here::deep",
            "root::Thing",
            "here::inner::child::f",
            "match::type::U",
            "match::V",
            "inline::Type",
            "uncle::T",
            "called::function",
            "here::last",
        ]
    );
}

#[test]
fn circles_are_found_and_parents_may_import_what_is_below_them() {
    let graph = |edges: &[(&str, &[&str])]| {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        Imports(
            edges
                .iter()
                .map(|(a, b)| (a.to_string(), names(b)))
                .collect(),
        )
    };
    let acyclic = graph(&[("a", &["b", "c"]), ("b", &["c"]), ("c", &[])]);
    assert!(acyclic.circles().is_empty());
    let cyclic = graph(&[("a", &["b", "d"]), ("b", &["c"]), ("c", &["a"]), ("d", &[])]);
    assert_eq!(
        cyclic.circles(),
        ["a → b → c → a", "b → c → a → b", "c → a → b → c"]
    );
    let family = graph(&[("f", &["f::x"]), ("f::x", &["f", "g::y"]), ("g::y", &["f"])]);
    assert_eq!(
        family.between_folders().circles(),
        ["f → g → f", "g → f → g"]
    );
    assert!(family.without_parents().circles().is_empty());
}

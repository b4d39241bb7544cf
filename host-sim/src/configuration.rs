//! Reading configurations from files: YAML or JSON, by itself or inside an Envoy configuration.
//! Files of tests and of scenarios are read with the same functions.

mod discovery;
pub(crate) mod manifest;
mod wasm_filter;

use crate::environment::{self, Environment};
use crate::yaml::{self, Documents, Odd, Reading};
use pointsman_core::config::Config;
use pointsman_core::config::problem::{Problem, Problems};
use pointsman_core::config::reader::{Node, Report};
use pointsman_core::config::value::Value;
use serde_saphyr::options::DuplicateKeyPolicy;
use std::cell::Cell;
use std::io::Read;
use std::path::Path;
use std::{fmt, fs, io};
use wasm_filter::{collect_filters, is_envoy, within_envoy};

pub use wasm_filter::FilterConfiguration;
pub(crate) use wasm_filter::{is_ours, ours_of, type_url};

/// Why a file could not be loaded.
#[derive(Debug)]
pub enum LoadError {
    /// The file cannot be read. The caller or the machine is at fault.
    Unreadable(io::Error),
    /// The text is wrong. Its author is at fault.
    Problems(Problems),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => error.fmt(f),
            Self::Problems(problems) => problems.fmt(f),
        }
    }
}

impl std::error::Error for LoadError {}

impl From<Problems> for LoadError {
    fn from(problems: Problems) -> Self {
        Self::Problems(problems)
    }
}

/// Reads a file into a tree. Of an Envoy configuration this is the plugin configuration of its one
/// Pointsman filter.
pub fn read(path: &Path) -> Result<Value, LoadError> {
    tree_of(&text_of(path)?, path)
}

/// The same for a text that was read from this file.
pub fn tree_of(text: &str, path: &Path) -> Result<Value, LoadError> {
    Ok(the_one(parts_of(text, path)?)?)
}

/// Reads the text of a file with one configuration, as [`parse_parts`].
pub fn parse_file(text: &str) -> Result<Value, Problems> {
    the_one(parse_parts(text)?)
}

fn the_one(mut parts: Vec<FilterConfiguration>) -> Result<Value, Problems> {
    match parts.len() {
        1 => Ok(parts.remove(0).tree),
        0 => Err(one_problem(
            "",
            "no configuration of Pointsman in the file",
            "one",
        )),
        count => Err(one_problem(
            "",
            &format!("{count} Pointsman filters in a file"),
            "one",
        )),
    }
}

/// Reads every configuration in a file: the file itself, or in an Envoy configuration those of all
/// Pointsman filters, also where the file names others that have them (ECDS), or in resources of
/// Kubernetes those that hold one. Filters of others are left out. None where nothing in the file
/// could hold one: an `EnvoyFilter` by itself, an Envoy without a Wasm filter.
pub fn read_parts(path: &Path) -> Result<Vec<FilterConfiguration>, LoadError> {
    parts_of(&text_of(path)?, path)
}

/// The same for a text that was read from this file.
pub fn parts_of(text: &str, path: &Path) -> Result<Vec<FilterConfiguration>, LoadError> {
    ParsedText::new(text).parts(path)
}

/// A text with what is read of it. It is parsed once if nothing in it is unusual: a table of 100,000
/// routes is dear to parse.
pub struct ParsedText<'t> {
    text: &'t str,
    /// Who reads such a file.
    reading: Reading,
    /// What that reader makes of it. An error: it is no YAML; [`parse`] tells of that where we are
    /// the reader.
    documents: Result<Documents, Problems>,
    /// What [`parse`] would read, where that is known and was not taken yet.
    parsed: Cell<Option<Value>>,
}

impl<'t> ParsedText<'t> {
    /// Reads a text.
    pub fn new(text: &'t str) -> ParsedText<'t> {
        let mut documents = yaml::documents(text, Reading::Core);
        let mut parsed = None;
        let reading = match &mut documents {
            Ok(all) => {
                let reading = reader(&all.trees);
                if reading == Reading::Core && all.is_plain && all.trees.len() == 1 {
                    parsed = all.trees.pop();
                }
                reading
            }
            Err(_) => Reading::Core,
        };
        let is_alike = |all: &Documents| all.is_plain && all.odd.is_empty();
        let is_read = reading == Reading::Core || documents.as_ref().is_ok_and(is_alike);
        ParsedText {
            text,
            reading,
            documents: match is_read {
                true => documents,
                false => yaml::documents(text, reading),
            },
            parsed: Cell::new(parsed),
        }
    }

    /// Every configuration in it, as [`read_parts`] says; `path`: where the text was read.
    pub fn parts(&self, path: &Path) -> Result<Vec<FilterConfiguration>, LoadError> {
        if self.reading == Reading::Kubernetes {
            return Ok(self.parts_alone()?);
        }
        let mut tree = self.whole()?;
        if is_envoy(&tree) {
            discovery::fill(&mut tree, discovery::Files::Beside(path))?;
            let mut filters = Vec::new();
            collect_filters(&tree, "", &mut filters);
            if filters.is_empty() {
                return Ok(Vec::new());
            }
        }
        Ok(within_envoy(tree)?)
    }

    /// The same without other files that it names.
    fn parts_alone(&self) -> Result<Vec<FilterConfiguration>, Problems> {
        match self.reading {
            Reading::Kubernetes => manifest::parts(self.read()?),
            Reading::Core | Reading::Envoy => within_envoy(self.whole()?),
        }
    }

    fn read(&self) -> Result<&[Value], Problems> {
        match &self.documents {
            Ok(documents) => Ok(&documents.trees),
            Err(problems) => Err(problems.clone()),
        }
    }

    /// The tree of an Envoy configuration, or of any other file.
    fn whole(&self) -> Result<Value, Problems> {
        match self.reading {
            Reading::Core | Reading::Kubernetes => match self.parsed.take() {
                Some(tree) => Ok(tree),
                None => parse(self.text),
            },
            Reading::Envoy => Ok(self.read()?.first().cloned().unwrap_or(Value::Null)),
        }
    }

    /// The documents of a file of Kubernetes' resources. None: it is another one.
    pub(crate) fn resource_documents(&self) -> Option<&[Value]> {
        let is_it = self.reading == Reading::Kubernetes;
        is_it.then(|| self.read().ok()).flatten()
    }

    /// The tree of every Envoy configuration in it, with the filters that it names other files for,
    /// if there are such files; resources may hold several. `path`: where the text was read.
    pub(crate) fn envoy_trees(&self, path: &Path) -> Vec<Value> {
        match (self.reading, self.read()) {
            (Reading::Kubernetes, Ok(documents)) => manifest::envoy_trees(documents),
            (Reading::Envoy, Ok([first, ..])) => {
                let mut tree = first.clone();
                // What is wrong with the other file is an error of `read_parts`.
                drop(discovery::fill(&mut tree, discovery::Files::Beside(path)));
                vec![tree]
            }
            _ => Vec::new(),
        }
    }

    /// Who reads the file, and the plain scalars of Pointsman's part of it that readers read
    /// differently; their places are within that part.
    pub fn read_differently(&self) -> (Reading, Vec<Odd>) {
        let Ok(Documents { trees, odd, .. }) = &self.documents else {
            return (self.reading, Vec::new());
        };
        let of_envoy = |odd: &Odd| {
            let (_, place) = odd.place.split_once(".configuration.value.")?;
            Some(Odd {
                place: place.to_owned(),
                ..odd.clone()
            })
        };
        let odd = match self.reading {
            Reading::Core => odd.clone(),
            Reading::Envoy => odd.iter().filter_map(of_envoy).collect(),
            Reading::Kubernetes => manifest::odd(trees, odd.clone()),
        };
        (self.reading, odd)
    }
}

/// The text of a file, which has to be UTF-8 and more than blanks; `-` is the standard input.
pub fn text_of(path: &Path) -> Result<String, LoadError> {
    let (bytes, what) = match path.as_os_str() == "-" {
        true => {
            let mut bytes = Vec::new();
            let read = io::stdin().lock().read_to_end(&mut bytes);
            (read.map(|_| bytes), "the standard input")
        }
        false => (fs::read(path), "the file"),
    };
    let text = utf_8(bytes.map_err(LoadError::Unreadable)?)?;
    match text.trim().is_empty() {
        false => Ok(text),
        true => Err(one_problem(what, "empty", "YAML or JSON").into()),
    }
}

fn utf_8(bytes: Vec<u8>) -> Result<String, LoadError> {
    String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        let bytes = error.as_bytes();
        let before = bytes.get(..offset).unwrap_or_default();
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        let found = match bytes {
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "UTF-16".to_owned(),
            _ => format!(
                "the byte 0x{:02x} at offset {offset}, which is no UTF-8",
                bytes.get(offset).copied().unwrap_or_default()
            ),
        };
        LoadError::Problems(one_problem(
            &format!("line {line}"),
            &found,
            "text in UTF-8",
        ))
    })
}

/// Reads the text of a file, as its reader reads it: an Envoy configuration as Envoy does,
/// resources as Kubernetes does, and any other as [`parse`].
pub fn parse_parts(text: &str) -> Result<Vec<FilterConfiguration>, Problems> {
    ParsedText::new(text).parts_alone()
}

/// Who reads a file with these documents.
fn reader(documents: &[Value]) -> Reading {
    match documents {
        [only] if is_envoy(only) => Reading::Envoy,
        all if all.iter().any(manifest::is_resource) => Reading::Kubernetes,
        _ => Reading::Core,
    }
}

/// The whole tree of an Envoy configuration, with the filters that it names other files for, if
/// there are such files; of resources the first in a `ConfigMap`. `path`: where the text was read.
/// None: it is no such configuration.
pub fn envoy_tree(text: &str, path: &Path) -> Option<Value> {
    ParsedText::new(text).envoy_trees(path).into_iter().next()
}

/// Parses YAML, of which JSON is a part, into a tree.
pub fn parse(text: &str) -> Result<Value, Problems> {
    #[cfg(test)]
    yaml::PARSED.with(|parsed| parsed.set(parsed.get() + 1));
    // Repeated keys stay in the tree, so that they are reported together with all other problems.
    // Words such as `no` and `on` are text, as in YAML 1.2: `no` is a country, not false.
    // 100,000 routes are promised, of some dozens of nodes each.
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: MAX_NODES,
            max_events: 3 * MAX_NODES,
            max_total_scalar_bytes: MAX_BYTES,
        },
        duplicate_keys: DuplicateKeyPolicy::LastWins,
        strict_booleans: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let place = error
            .location()
            .map(|at| format!("line {}, column {}", at.line(), at.column()));
        let message = error.to_string();
        let (found, expected) = in_our_words(message.lines().next().unwrap_or_default());
        one_problem(&place.unwrap_or_default(), &found, expected)
    })
}

/// What the parser says, without the position, which is told beside it, and without its own names;
/// and what is expected.
fn in_our_words(message: &str) -> (String, &'static str) {
    const YAML: &str = "YAML or JSON";
    if message.contains("multiple YAML documents") {
        let expected = "one: `---` begins another, which only a file of Kubernetes's objects may \
                        have";
        return ("several documents".to_owned(), expected);
    }
    if message.contains("budget breached") {
        let found = "more than a configuration can have: nodes, repetitions by `*`, or depth";
        return (
            found.to_owned(),
            "at most 10,000,000 nodes and 1 GiB of text",
        );
    }
    let mut found = message;
    for before in [" at line ", " (line "] {
        found = found.split(before).next().unwrap_or(found);
    }
    let found = found.strip_prefix("error: ").unwrap_or(found);
    let place_first = found.strip_prefix("line ").and_then(|rest| {
        let (position, said) = rest.split_once(": ")?;
        let is_position = |c: char| c.is_ascii_digit() || ", column".contains(c);
        position.chars().all(is_position).then_some(said)
    });
    (place_first.unwrap_or(found).to_owned(), YAML)
}

/// The most nodes of a file, and the most bytes of its scalars.
const MAX_NODES: usize = 10_000_000;
const MAX_BYTES: usize = 1 << 30;

/// Converts a tree to JSON, which the filter takes. Of a repeated key the last value stays.
pub fn to_json(tree: &Value) -> serde_json::Value {
    match tree {
        Value::Null => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        // People read the JSON: a whole number is `3` and not `3.0`.
        Value::Number(number) if number.fract() == 0.0 && number.abs() <= f64::from(u32::MAX) => {
            (*number as i64).into()
        }
        Value::Number(number) => (*number).into(),
        Value::Text(text) => text.as_str().into(),
        Value::List(list) => list.iter().map(to_json).collect(),
        Value::Map(map) => map
            .iter()
            .map(|(key, value)| (key.clone(), to_json(value)))
            .collect(),
    }
}

/// What should stand where a file of tests or a scenario has its configuration.
pub(crate) const PATH_OR_CONFIGURATION: &str = "a file, or the configuration itself";

/// The configuration at a node, as JSON and loaded: `read` reads the file that the node names, or
/// the node is the configuration itself. `environment` gets what it asks for, from this process,
/// unless it has that. None: the problem is noted.
pub(crate) fn named_or_inline(
    node: &Node<'_>,
    read: &dyn Fn(&str) -> Result<Value, LoadError>,
    environment: &mut Environment,
    report: &mut Report,
) -> Option<(serde_json::Value, Config)> {
    let (tree, file) = match node.value() {
        Value::Text(path) => (read(path), Some(path)),
        tree @ Value::Map(_) => (Ok(tree.clone()), None),
        _ => {
            node.wrong(report, PATH_OR_CONFIGURATION);
            return None;
        }
    };
    let config = tree.and_then(|tree| {
        for (name, value) in environment::of_process(&tree) {
            environment.entry(name).or_insert(value);
        }
        let config = environment::load(&tree, environment)?;
        Ok((to_json(&tree), config))
    });
    let error = match config {
        Ok(config) => return Some(config),
        Err(error) => error,
    };
    match (error, file) {
        (LoadError::Unreadable(error), file) => {
            let file = file.map(|file| format!("{file}: ")).unwrap_or_default();
            report.note(
                node,
                &format!("{file}{error}"),
                "a configuration that loads",
            );
        }
        (LoadError::Problems(problems), None) => {
            let problems = problems.0.iter();
            problems.for_each(|problem| report.note_within(node, problem));
        }
        // Their lines are those of the other file.
        (LoadError::Problems(problems), Some(file)) => {
            for problem in &problems.0 {
                let found = format!("{file}: {}: {}", problem.place, problem.found);
                let near = problem.nearest.as_deref();
                report.note_near(node, &found, &problem.expected, near);
            }
        }
    }
    None
}

/// The end of reading a file: an error with all problems, if there are any. A problem of the file
/// as a whole is said of `file`.
pub(crate) fn finish(report: Report, file: &str) -> Result<(), Problems> {
    report.finish().map_err(|mut problems| {
        for problem in &mut problems.0 {
            if problem.place.is_empty() {
                problem.place = file.to_owned();
            }
        }
        problems
    })
}

/// A text. None: it is something else.
pub(crate) fn text_of_value(value: Option<&Value>) -> Option<&str> {
    match value {
        Some(Value::Text(text)) => Some(text),
        _ => None,
    }
}

/// The value of a key in a map. None: the tree is no map, or has no such key.
pub(crate) fn field<'a>(tree: &'a Value, key: &str) -> Option<&'a Value> {
    let Value::Map(map) = tree else { return None };
    map.iter()
        .find(|(name, _)| name == key)
        .map(|(_, value)| value)
}

fn one_problem(place: &str, found: &str, expected: &str) -> Problems {
    let (place, found, expected) = (place.to_owned(), found.to_owned(), expected.to_owned());
    Problems(vec![Problem {
        place,
        found,
        expected,
        nearest: None,
    }])
}

#[cfg(test)]
mod tests {
    use super::type_url::{STRUCT, WASM};
    use super::*;

    #[test]
    fn yaml_is_read_as_the_filter_reads_json() {
        let yaml = "pools: { a: { targets: [{ cluster: c, weight: 9 }] } }\nroutes:\n  - { name: r, pool: a }\n";
        let json = r#"{"pools":{"a":{"targets":[{"cluster":"c","weight":9}]}},"routes":[{"name":"r","pool":"a"}]}"#;
        assert_eq!(parse(yaml).unwrap(), serde_json::from_str(json).unwrap());
        assert_eq!(parse(json).unwrap(), serde_json::from_str(json).unwrap());
    }

    #[test]
    fn tree_goes_to_json_and_back() {
        let tree = parse("{ a: [1, 2.5, -3, null, true, no, \"x\"], b: { c: {} } }").unwrap();
        let json = to_json(&tree);
        assert_eq!(
            json.to_string(),
            r#"{"a":[1,2.5,-3,null,true,"no","x"],"b":{"c":{}}}"#
        );
        assert_eq!(serde_json::from_value::<Value>(json).unwrap(), tree);
    }

    /// A text that is called plain is not parsed again, neither by the parser of configurations nor
    /// for another reader.
    #[test]
    fn what_is_called_plain_is_the_same_to_every_reader() {
        const SCALARS: &str = "a|ab c|abcdef|no|NO|yes|Off|y|on|null|Null|~|true|True|tRUE|false|\
            FALSE|nullable|nan|NaN|.nan|inf|Infinity|infinite|nanny|0|00|007|08|10|0.5|.5|5.|1.25|\
            1.5.0|123456789012345|1234567890123456|12345678901234567890|1e3|1E-3|0x1f|0o17|0b11|\
            1_000|+1|-1|-a|--|1s|250ms|1h|10.0.0.0/8|127.0.0.1:9101|1:30|12:30:45|2026-11-26|1-2|\
            2026-11-26T10:00:00Z|deadbeef|1d|0xyz|1f|/|/a b|/a:b|é|_a|=|\"no\"|'1'|\"a\\nb\"|\"\"|''";
        let mut texts: Vec<String> = Vec::new();
        for scalar in SCALARS.split('|') {
            texts.push(format!(
                "pools: {scalar}\nroutes:\n- {scalar}\n- {scalar}: {scalar}\n"
            ));
            texts.push(format!(
                "{{ a: {scalar}, b: [{scalar}], \"{}\": }}",
                scalar.len()
            ));
            texts.push(format!("{scalar}\n"));
        }
        for text in [
            "",
            "# nothing\n",
            "---\n",
            "a:\n",
            "a: &x 1\nb: *x\n",
            "a: !!str 1\n",
            "a: !x 1\n",
            "a: { <<: { b: 1 } }\n",
            "%YAML 1.1\n---\na: no\n",
            "---\na: 1\n---\nb: 1\n",
            "a: |\n  1\n  no\nb: >-\n  x\n  y\n",
            "a: 1\na: 2\n",
            "\u{feff}a: 1\r\nb: c\r\n",
            "? a\n: b\n",
            "? [a]\n: b\n",
            "a: [1, 2,]\n...\n",
            "a: 1\n...\nb: 2\n",
            "[]\n",
            "{}\n",
            "a: \"\\u00e9\\t\"\n",
            "1: a\n",
            "true: a\n",
            "null: a\n",
            "~: a\n",
            "\"\": a\n",
            "static_resources: { a: no }\n",
            "static_resources: { a: b }\n",
            "kind: ConfigMap\na: b\n",
        ] {
            texts.push(text.to_owned());
        }
        texts.push(format!("a: {}1{}", "[".repeat(40), "]".repeat(40)));
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        for folder in [
            "envoy-config",
            "host-sim/scenarios",
            "host-sim/examples",
            "tests/scenarios",
        ] {
            for file in fs::read_dir(format!("{root}/{folder}")).unwrap() {
                let path = file.unwrap().path();
                let name = path.to_string_lossy().into_owned();
                if name.ends_with(".yaml") || name.ends_with(".json") {
                    texts.push(fs::read_to_string(path).unwrap());
                }
            }
        }
        let (mut plain, mut alike) = (0, 0);
        for text in &texts {
            let Ok(read) = yaml::documents(text, Reading::Core) else {
                continue;
            };
            if let (true, [tree]) = (read.is_plain, &read.trees[..]) {
                assert_eq!(parse(text).as_ref(), Ok(tree), "{text}");
                plain += 1;
            }
            if read.is_plain && read.odd.is_empty() {
                for reading in [Reading::Envoy, Reading::Kubernetes] {
                    let other = yaml::documents(text, reading).unwrap();
                    assert_eq!(other.trees, read.trees, "{reading:?}: {text}");
                }
                alike += 1;
            }
        }
        // Of what is written as most files are, nothing is parsed twice.
        assert!(
            plain > 100 && alike > 80,
            "{plain}, {alike} of {}",
            texts.len()
        );
    }

    #[test]
    fn a_repeated_key_is_still_there_to_be_reported() {
        let problems = Config::from_value(&parse("routes: []\nroutes: []\n").unwrap()).unwrap_err();
        assert!(
            problems.0.iter().any(|problem| problem.place == "routes"),
            "{problems}"
        );
    }

    #[test]
    fn what_is_not_yaml_says_where() {
        let problems = parse("routes:\n  - {\n").unwrap_err();
        assert!(problems.0[0].place.starts_with("line "), "{problems}");
    }

    #[test]
    fn what_is_not_yaml_is_told_in_our_words() {
        let told = |text: &str| parse(text).unwrap_err().to_string();
        let several = told("routes: []\n---\nroutes: []\n");
        assert!(several.contains("several documents"), "{several}");
        for text in ["a: [", "a: b: c", "a: *b", "{ a: 1"] {
            let told = told(text);
            assert_eq!(told.matches("line ").count(), 1, "{told}");
            for word in ["from_str", "_with_", "Nodes {", "breached", "serde"] {
                assert!(!told.contains(word), "{told}");
            }
        }
    }

    #[test]
    fn what_is_not_utf_8_is_told_where() {
        let told = |bytes: &[u8]| utf_8(bytes.to_vec()).unwrap_err().to_string();
        assert!(told(b"a: b\nc: \xe9").starts_with("line 2: the byte 0xe9 at offset 8"));
        assert!(told(b"\xff\xfea\0").contains("UTF-16"));
        assert_eq!(utf_8(b"a".to_vec()).unwrap(), "a");
    }

    /// A19: a manifest of Istio's, beside other objects.
    #[test]
    fn a_wasm_plugin_is_looked_into() {
        let plugin = |config: &str| {
            format!(
                "apiVersion: extensions.istio.io/v1alpha1\nkind: WasmPlugin\nspec:\n  url: x\n  pluginConfig: {config}\n"
            )
        };
        let other = "---\nkind: Service\nspec: { a: b }\n---\n";
        let ours = plugin("{ routes: [{ name: r, pass: yes }] }");
        let expected = parse("routes: [{ name: r, pass: true }]").unwrap();
        assert_eq!(parse_file(&ours).unwrap(), expected);
        assert_eq!(parse_file(&format!("{other}{ours}")).unwrap(), expected);
        let waf = plugin("{ rules: [a] }");
        assert_eq!(parse_file(&format!("{waf}---\n{ours}")).unwrap(), expected);
        assert!(parse_file(&waf).is_err());
        assert!(parse_file(&format!("{ours}---\n{ours}")).is_err());
    }

    /// A14 to A18.
    #[test]
    fn an_envoy_configuration_is_read_as_envoy_reads_it() {
        let read = |value: &str| {
            let text = format!(
                "http_filters: [{{ '@type': {WASM}, config: {{ configuration: {{ '@type': {STRUCT}, value: {value} }} }} }}]"
            );
            Config::from_value(&parse_file(&text).unwrap())
        };
        let limit = |number: &str| {
            format!("{{ rate_limits: {{ l: {{ requests: {number}, per: 1s, key: [] }} }} }}")
        };
        for refused in [
            "{ routes: [{ name: on, pass: true }] }",
            "{ routes: [{ name: a, pass: true, match: { hosts: [no] } }] }",
            "{ routes: [{ name: a, pass: true, match: { headers: [{ name: x, exact: no }] } }] }",
            "{ pools: { a: &a { targets: [{ cluster: c }] }, b: { <<: *a } } }",
            &limit("1_000"),
            &limit("1e3"),
            &limit("0o10"),
            &limit("5.0"),
            &limit("0b11"),
        ] {
            assert!(read(refused).is_err(), "{refused}");
        }
        assert_eq!(
            read(&limit("010")).unwrap().rate_limits[0].quota().requests,
            8
        );
        assert!(read("{ routes: [{ name: a, pass: yes }] }").is_ok());
        assert!(read("{ routes: [{ name: a, pass: true, match: { headers: [{ name: x, exact: 1e3 }] } }] }").is_ok());
    }

    #[test]
    fn a_hundred_thousand_routes_are_read() {
        let route = |number: usize| {
            format!(
                "- {{ name: r{number}, match: {{ path: {{ exact: /{number} }}, methods: [GET] }}, pass: true }}\n"
            )
        };
        let text = "routes:\n".to_owned() + &(0..30_000).map(route).collect::<String>();
        assert!(parse_file(&text).is_ok());
    }
}

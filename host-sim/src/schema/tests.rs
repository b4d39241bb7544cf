//! Laws that hold the schema to the parser.

use super::Of;
use crate::configuration::{self, LoadError, to_json};
use crate::explain;
use crate::request_test::File;
use crate::simulation::scenario::Scenario;
use jsonschema::Validator;
use pointsman_core::config::Config;
use pointsman_core::config::hash::ConfigurationHash;
use pointsman_core::config::problem::{Problem, Problems};
use pointsman_core::config::value::Value;
use schemars::Schema;
use serde_json::Value as Json;
use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn validator() -> Validator {
    jsonschema::validator_for(schema().as_value()).unwrap()
}

fn schema() -> Schema {
    super::schema(Of::Configuration)
}

/// The files that between them have every key.
fn full() -> [Value; 3] {
    let [explained, interface] = [
        "envoy-config/pointsman.yaml",
        "filter/core/src/config/interface.yaml",
    ]
    .map(|file| configuration::read(&root().join(file)).unwrap());
    // A secret is a text there, and a map here.
    let secrets = configuration::parse(
        "{ pools: { a: { targets: [{ cluster: c }], sticky: { header: x-session, keys: [{ env: KEY }] } } }, \
         explain: { header: x-why, token: { env: TOKEN } } }",
    );
    [explained, interface, secrets.unwrap()]
}

/// Loads it where every variable is a key.
fn load(tree: &Value) -> Result<Config, Problems> {
    Config::from_value_with(tree, &|_| Some("c2VjcmV0LXNlY3JldC1zZWNyZXQ=".to_owned()))
}

fn yaml_files(directory: &str) -> Vec<PathBuf> {
    let entries = root().join(directory).read_dir().unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|it| it == "yaml"))
        // Those are for Prometheus.
        .filter(|path| !path.ends_with("alerts.yaml") && !path.ends_with("alerts_test.yaml"))
        .collect()
}

#[test]
fn shipped_schemas_are_the_generated_ones() {
    for (of, name, word) in [
        (Of::Configuration, "pointsman", "configuration"),
        (Of::Test, "pointsman-test", "test"),
        (Of::Scenario, "pointsman-scenario", "scenario"),
    ] {
        let file = format!("envoy-config/{name}.schema.json");
        let shipped = fs::read_to_string(root().join(&file)).unwrap_or_default();
        assert!(
            serde_json::from_str(&shipped).ok() == Some(super::schema(of).to_value()),
            "cargo run -p host-sim -- schema --of {word} > {file}"
        );
    }
}

#[test]
fn examples_are_valid() {
    let validator = validator();
    let mut trees: Vec<Json> = full().iter().map(to_json).collect();
    trees.extend(
        yaml_files("envoy-config")
            .iter()
            .map(|file| to_json(&configuration::read(file).unwrap())),
    );
    trees.extend(
        yaml_files("tests/scenarios")
            .iter()
            .map(|file| File::read(file).unwrap().config),
    );
    assert!(trees.len() > 20);
    for tree in trees {
        let errors: Vec<_> = validator
            .iter_errors(&tree)
            .map(|error| error.to_string())
            .collect();
        assert!(errors.is_empty(), "{errors:#?}\n{tree}");
    }
}

/// The nodes of a tree, in one order.
fn nodes(value: &Value) -> usize {
    1 + match value {
        Value::Map(entries) => entries.iter().map(|(_, value)| nodes(value)).sum(),
        Value::List(items) => items.iter().map(nodes).sum(),
        _ => 0,
    }
}

fn nth<'v>(value: &'v mut Value, left: &mut usize) -> Option<&'v mut Value> {
    if *left == 0 {
        return Some(value);
    }
    *left -= 1;
    match value {
        Value::List(items) => items.iter_mut().find_map(|item| nth(item, left)),
        Value::Map(entries) => entries.iter_mut().find_map(|(_, value)| nth(value, left)),
        _ => None,
    }
}

/// A copy with one node changed.
fn changed(tree: &Value, at: usize, change: impl FnOnce(&mut Value)) -> Value {
    let mut tree = tree.clone();
    change(nth(&mut tree, &mut { at }).unwrap());
    tree
}

/// An unknown key in each map makes the parser name all that may stand there.
#[test]
fn keys_are_those_of_the_parser() {
    let mut parsed: BTreeSet<BTreeSet<String>> = BTreeSet::new();
    let validator = validator();
    for tree in &full() {
        for at in 0..nodes(tree) {
            let with_unknown = changed(tree, at, |node| {
                if let Value::Map(entries) = node {
                    entries.push(("no-such-key".to_owned(), Value::Bool(true)));
                }
            });
            let Err(problems) = load(&with_unknown) else {
                continue;
            };
            for problem in problems
                .0
                .iter()
                .filter(|problem| problem.found == "unknown key")
            {
                let keys = problem.expected.strip_prefix("one of ").unwrap();
                parsed.insert(keys.split(", ").map(str::to_owned).collect());
                assert!(!validator.is_valid(&to_json(&with_unknown)), "{problem}");
            }
        }
    }
    let schema = schema().to_value();
    let definitions = schema["$defs"].as_object().unwrap();
    let objects = definitions.values().chain([&schema]);
    let described: BTreeSet<BTreeSet<String>> = objects
        .filter_map(|object| object["properties"].as_object())
        .map(|properties| properties.keys().cloned().collect())
        .collect();
    assert!(parsed.len() > 20);
    assert_eq!(parsed, described);
}

/// A file of tests or a scenario that has every key, and the problems of another one of its kind.
type Other = (Of, &'static str, fn(&Value) -> Vec<Problem>);

fn others() -> [Other; 2] {
    fn of_tests(tree: &Value) -> Vec<Problem> {
        let text = to_json(tree).to_string();
        let file = File::parse(&text, |_| {
            Err(LoadError::Unreadable(ErrorKind::NotFound.into()))
        });
        file.map_or_else(|problems| problems.0, |_| Vec::new())
    }
    fn of_scenario(tree: &Value) -> Vec<Problem> {
        let text = to_json(tree).to_string();
        let scenario = Scenario::parse("s", &text, Path::new(""));
        scenario.map_or_else(|problems| problems.0, |_| Vec::new())
    }
    [
        (Of::Test, "host-sim/examples/every_key_test.yaml", of_tests),
        (
            Of::Scenario,
            "host-sim/scenarios/every_key.yaml",
            of_scenario,
        ),
    ]
}

/// The keys of the objects of a schema, but for those of the configuration in it.
fn own_keys(of: Of) -> BTreeSet<BTreeSet<String>> {
    let [all, configuration] = [of, Of::Configuration].map(|of| super::schema(of).to_value());
    let (root, definitions) = (&all, all["$defs"].as_object().unwrap());
    let of_configuration = configuration["$defs"].as_object().unwrap();
    let own = definitions.iter().filter(|(name, _)| {
        *name != "Configuration" && !of_configuration.contains_key(name.as_str())
    });
    let objects = own.map(|(_, object)| object).chain([root]);
    objects
        .filter_map(|object| object["properties"].as_object())
        .map(|properties| properties.keys().cloned().collect())
        .collect()
}

#[test]
fn files_of_tests_and_scenarios_have_the_keys_of_their_schemas() {
    for (of, file, problems) in others() {
        let schema = super::schema(of);
        let validator = jsonschema::validator_for(schema.as_value()).unwrap();
        let tree = configuration::parse(&fs::read_to_string(root().join(file)).unwrap()).unwrap();
        let errors: Vec<_> = validator
            .iter_errors(&to_json(&tree))
            .map(|it| it.to_string())
            .collect();
        assert!(errors.is_empty(), "{file}: {errors:#?}");
        let mut parsed = BTreeSet::new();
        if of == Of::Test {
            // A map with other keys than these is no item of a trace, but a matcher.
            parsed.insert(explain::TRACE_KEYS.map(str::to_owned).into());
        }
        // Problems of the configuration itself are those of its own schema.
        let within = |problem: &Problem| {
            problem.place.starts_with("config.") || problem.place.contains(".reload.")
        };
        for at in 0..nodes(&tree) {
            let with_unknown = changed(&tree, at, |node| {
                if let Value::Map(entries) = node {
                    entries.push(("no-such-key".to_owned(), Value::Bool(true)));
                }
            });
            let problems = problems(&with_unknown).into_iter();
            let unknown = problems.filter(|problem| problem.found.ends_with("unknown key"));
            for problem in unknown.filter(|problem| !within(problem)) {
                let keys = problem.expected.strip_prefix("one of ").unwrap();
                parsed.insert(keys.split(", ").map(str::to_owned).collect());
                assert!(!validator.is_valid(&to_json(&with_unknown)), "{problem}");
            }
        }
        assert_eq!(parsed, own_keys(of), "{file}");
    }
}

#[test]
fn shipped_files_of_tests_and_scenarios_are_valid() {
    for (of, directories, least) in [
        (Of::Test, ["tests/scenarios", "host-sim/examples"], 20),
        (
            Of::Scenario,
            ["host-sim/scenarios", "host-sim/scenarios"],
            8,
        ),
    ] {
        let validator = jsonschema::validator_for(super::schema(of).as_value()).unwrap();
        let files = directories.into_iter().flat_map(yaml_files);
        let files: Vec<_> = files.filter(|path| !path.ends_with("shop.yaml")).collect();
        assert!(files.len() >= least);
        for file in files {
            let tree = configuration::parse(&fs::read_to_string(&file).unwrap()).unwrap();
            let errors: Vec<_> = validator
                .iter_errors(&to_json(&tree))
                .map(|it| it.to_string())
                .collect();
            assert!(errors.is_empty(), "{}: {errors:#?}", file.display());
        }
    }
}

/// One value of a file is another one, from elsewhere in it.
#[test]
fn what_the_parsers_of_tests_and_scenarios_take_their_schemas_take() {
    const SEED: u64 = 0x6f74_6865_7273;
    const CASES: usize = 3_000;
    let mut random = fastrand::Rng::with_seed(SEED);
    for (of, file, problems) in others() {
        let validator = jsonschema::validator_for(super::schema(of).as_value()).unwrap();
        let tree = configuration::parse(&fs::read_to_string(root().join(file)).unwrap()).unwrap();
        let all = nodes(&tree);
        let part = |at: usize| nth(&mut tree.clone(), &mut { at }).unwrap().clone();
        let parts: Vec<Value> = (0..all).map(part).filter(|part| nodes(part) < 20).collect();
        let (mut taken, mut refused) = (0, 0);
        for _ in 0..CASES {
            let (at, place) = (random.usize(..all), random.usize(..100));
            let number = f64::from(random.i32(-2..700)) / if random.bool() { 1.0 } else { 2.0 };
            let (kind, part) = (random.u8(..4), random.choice(&parts).unwrap());
            let tree = changed(&tree, at, |node| match (kind, node) {
                (0, Value::Map(entries)) if !entries.is_empty() => {
                    let _ = entries.remove(place % entries.len());
                }
                (0, Value::List(items)) if !items.is_empty() => {
                    let _ = items.remove(place % items.len());
                }
                (1, node) => *node = Value::Number(number),
                (_, node) => *node = part.clone(),
            });
            let valid = validator.is_valid(&to_json(&tree));
            refused += usize::from(!valid);
            if problems(&tree).is_empty() {
                taken += 1;
                let errors = validator
                    .iter_errors(&to_json(&tree))
                    .map(|it| it.to_string())
                    .collect::<Vec<_>>();
                assert!(valid, "seed {SEED}: {errors:?}: {}", to_json(&tree));
            }
        }
        assert!(
            taken > CASES / 50 && refused > CASES / 5,
            "{file}: {taken}, {refused}"
        );
    }
}

#[test]
fn every_key_is_described() {
    fn look(schema: &Json, place: &str) {
        for (key, property) in schema["properties"].as_object().into_iter().flatten() {
            let described = property["description"].is_string();
            assert!(described, "{place}.{key}: {property}");
        }
    }
    for of in [Of::Configuration, Of::Test, Of::Scenario] {
        let schema = super::schema(of).to_value();
        look(&schema, "");
        for (name, definition) in schema["$defs"].as_object().unwrap() {
            look(definition, name);
        }
    }
}

#[test]
fn nothing_may_be_null() {
    let validator = validator();
    for tree in &full() {
        for at in 0..nodes(tree) {
            let with_null = changed(tree, at, |node| *node = Value::Null);
            assert!(load(&with_null).is_err());
            assert!(
                !validator.is_valid(&to_json(&with_null)),
                "{at}: {}",
                to_json(&with_null)
            );
        }
    }
}

#[test]
fn what_excludes_each_other_and_what_is_no_address_an_editor_marks_too() {
    let validator = validator();
    let pools = "pools: { p: { targets: [{ cluster: c }] }, \
                 e: { cluster: c, targets: [{ endpoint: '127.0.0.1:80' }] } }";
    let with = |route: &str| to_json(&configuration::parse(&format!("{pools}\n{route}")).unwrap());
    for (good, bad) in [
        ("routes: [{ name: a, pool: p }]", "routes: [{ name: a }]"),
        (
            "routes: [{ name: a, pass: true }]",
            "routes: [{ name: a, pool: p, pass: true }]",
        ),
        (
            "routes: [{ name: a, pool: p, match: { path: { exact: /a, ignore_case: true } } }]",
            "routes: [{ name: a, pool: p, match: { path: { exact: /a, prefix: /a } } }]",
        ),
        (
            "routes: [{ name: a, pool: p, match: { headers: [{ name: b, present: true }] } }]",
            "routes: [{ name: a, pool: p, match: { headers: [{ name: b }] } }]",
        ),
        (
            "routes: [{ name: a, pool: p, match: { cookies: [{ name: b, exact: c }] } }]",
            "routes: [{ name: a, pool: p, match: { cookies: [{ name: b, exact: c, regex: c }] } }]",
        ),
        (
            "routes: [{ name: a, pool: p, match: { hosts: ['*.a.b', '*', 'a.', '[::1]', a_b] } }]",
            "routes: [{ name: a, pool: p, match: { hosts: ['a.b:80'] } }]",
        ),
        (
            "routes: [{ name: a, pool: p, match: { client_ip: [10.0.0.0/8, '::1', 1.2.3.4] } }]",
            "routes: [{ name: a, pool: p, match: { client_ip: [localhost] } }]",
        ),
        (
            "no_route: { pass: true }",
            "no_route: { pass: true, respond: { status: 404 } }",
        ),
        (
            "",
            "pools: { e: { cluster: c, targets: [{ endpoint: 'localhost:80' }] } }",
        ),
    ] {
        let good_tree = with(good);
        let problems: Vec<_> = validator.iter_errors(&good_tree).collect();
        assert!(problems.is_empty(), "{good}: {problems:?}");
        let bad_tree = with(bad);
        assert!(!validator.is_valid(&bad_tree), "{bad}");
        assert!(
            load(&configuration::parse(&format!("{pools}\n{good}")).unwrap()).is_ok(),
            "{good}"
        );
    }
}

#[test]
fn what_the_parser_takes_the_schema_takes() {
    const SEED: u64 = 0x7363_6865_6d61;
    const WORDS: &[&str] = &[
        "",
        "/",
        "/a",
        "/a b",
        "/a/{x}",
        "a",
        "*.a",
        "*",
        "GET",
        "web",
        "spare",
        "per-ip",
        "1s",
        "250ms",
        "0s",
        "01h",
        "up",
        "down",
        "true",
        "200-299",
        "10.0.0.1",
        "::/0",
        "127.0.0.1:1",
        "x-a",
        ":method",
        "a.b:80",
        "ä",
        "client_ip",
        "path",
        "random",
        "least_connections",
        "https",
        "seoul",
        "[a-z]+",
        "\\1",
        "a\nb",
        "lax",
    ];
    let mut random = fastrand::Rng::with_seed(SEED);
    let validator = validator();
    let trees = full();
    // Parts of configurations stand in places where they were not, too.
    let parts: Vec<Value> = trees
        .iter()
        .flat_map(|tree| {
            (0..nodes(tree)).map(|at| nth(&mut tree.clone(), &mut { at }).unwrap().clone())
        })
        .filter(|part| nodes(part) < 20)
        .collect();
    let (mut taken, mut refused_by_schema) = (0, 0);
    const CASES: usize = 10_000;
    for _ in 0..CASES {
        let tree = random.choice(&trees).unwrap();
        let at = random.usize(..nodes(tree));
        let kind = random.u8(..7);
        let number = random.i32(-2..700);
        let word = random.choice(WORDS).unwrap();
        let part = random.choice(&parts).unwrap();
        let place = random.usize(..100);
        let tree = changed(tree, at, |node| match (kind, node) {
            (0, Value::Map(entries)) if !entries.is_empty() => {
                let _ = entries.remove(place % entries.len());
            }
            (0 | 1, Value::List(items)) if !items.is_empty() => {
                let at = place % items.len();
                match kind {
                    0 => drop(items.remove(at)),
                    _ => items.push(part.clone()),
                }
            }
            (1, Value::Map(entries)) if !entries.is_empty() => {
                let at = place % entries.len();
                entries[at].1 = part.clone();
            }
            (2, node) => *node = Value::Number(f64::from(number)),
            (3, node) => *node = Value::Number(f64::from(number) / 2.0),
            (4, node) => *node = Value::Bool(number % 2 == 0),
            (5, node) => *node = Value::Text((*word).to_owned()),
            (_, node) => *node = part.clone(),
        });
        let valid = validator.is_valid(&to_json(&tree));
        refused_by_schema += usize::from(!valid);
        if load(&tree).is_ok() {
            taken += 1;
            assert!(valid, "seed {SEED}: {}", to_json(&tree));
        }
    }
    // The law is about something, and the schema is not empty words.
    assert!(
        taken > CASES / 50 && refused_by_schema > CASES / 3,
        "{taken}, {refused_by_schema}"
    );
}

/// A property of the schema at every place of a configuration where it may stand: the place of its
/// map (as keys and positions), its name, and its schema.
fn places<'s>(
    schema: &'s Json,
    root: &'s Json,
    value: &Value,
    at: &mut Vec<usize>,
    found: &mut Vec<(Vec<usize>, String, &'s Json)>,
) {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap();
        return places(&root["$defs"][name], root, value, at, found);
    }
    for variant in schema["anyOf"].as_array().into_iter().flatten() {
        places(variant, root, value, at, found);
    }
    match value {
        Value::Map(entries) => {
            let properties = schema["properties"].as_object();
            for (name, property) in properties.into_iter().flatten() {
                found.push((at.clone(), name.clone(), property));
            }
            for (position, (key, value)) in entries.iter().enumerate() {
                let inner = properties
                    .and_then(|properties| properties.get(key))
                    .unwrap_or(&schema["additionalProperties"]);
                at.push(position);
                places(inner, root, value, at, found);
                at.pop();
            }
        }
        Value::List(items) => {
            for (position, value) in items.iter().enumerate() {
                at.push(position);
                places(&schema["items"], root, value, at, found);
                at.pop();
            }
        }
        _ => {}
    }
}

fn map_at<'v>(value: &'v mut Value, at: &[usize]) -> &'v mut Vec<(String, Value)> {
    match (at.split_first(), value) {
        (None, Value::Map(entries)) => entries,
        (Some((first, rest)), Value::Map(entries)) => map_at(&mut entries[*first].1, rest),
        (Some((first, rest)), Value::List(items)) => map_at(&mut items[*first], rest),
        (_, value) => panic!("{value:?}"),
    }
}

/// The configuration with a key of one map set, or without it.
fn with(tree: &Value, at: &[usize], key: &str, value: Option<Value>) -> Value {
    let mut tree = tree.clone();
    let entries = map_at(&mut tree, at);
    entries.retain(|(name, _)| name != key);
    entries.extend(value.map(|value| (key.to_owned(), value)));
    tree
}

fn from_json(json: &Json) -> Value {
    match json {
        Json::Bool(yes) => Value::Bool(*yes),
        Json::Number(number) => Value::Number(number.as_f64().unwrap()),
        Json::String(text) => Value::Text(text.clone()),
        Json::Array(items) => Value::List(items.iter().map(from_json).collect()),
        other => panic!("{other}"),
    }
}

/// Each default of the schema, written out, loads to the same configuration as nothing written.
#[test]
fn defaults_of_the_schema_are_the_parsers() {
    let schema = schema().to_value();
    let (mut all, mut held) = (BTreeSet::new(), BTreeSet::new());
    for tree in &full() {
        let mut found = Vec::new();
        places(&schema, &schema, tree, &mut Vec::new(), &mut found);
        for (at, key, property) in found {
            let default = &property["default"];
            if default.is_null() {
                continue;
            }
            let id = format!("{key}: {property}");
            // But for the estimate of its memory and its hash, which go by what is written.
            let load_with = |value| {
                load(&with(tree, &at, &key, value)).map(|config| Config {
                    memory: 0,
                    hash: ConfigurationHash::default(),
                    ..config
                })
            };
            let (written, absent) = (load_with(Some(from_json(default))), load_with(None));
            if let (Ok(written), Ok(absent)) = (&written, &absent) {
                assert_eq!(format!("{written:?}"), format!("{absent:?}"), "{id}");
                held.insert(id.clone());
            }
            all.insert(id);
        }
    }
    assert!(all.len() > 25, "{all:#?}");
    assert_eq!(
        all, held,
        "a default that no configuration could be loaded with"
    );
}

/// `10ms`, in milliseconds. None: it is no duration.
fn milliseconds(text: &str) -> Option<u64> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit())?;
    let unit = match text[digits..].trim_end_matches(['.', ',', ';']) {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    Some(text[..digits].parse::<u64>().ok()? * unit)
}

/// The ranges of durations that a text names: `10ms to 1h`.
fn ranges(text: &str) -> Vec<(u64, u64)> {
    let words: Vec<&str> = text.split_whitespace().collect();
    words
        .windows(3)
        .filter(|words| words[1] == "to")
        .filter_map(|words| Some((milliseconds(words[0])?, milliseconds(words[2])?)))
        .collect()
}

/// Both ends of each range of durations that a description names load; what is beyond does not.
#[test]
fn ranges_of_durations_that_the_schema_tells_are_the_parsers() {
    let schema = schema().to_value();
    let mut held = BTreeSet::new();
    for tree in &full() {
        let mut found = Vec::new();
        places(&schema, &schema, tree, &mut Vec::new(), &mut found);
        for (at, key, property) in found {
            let description = property["description"].as_str().unwrap_or_default();
            for (least, most) in ranges(description) {
                let refused = |time: u64| {
                    let text = Value::Text(format!("{time}ms"));
                    let loaded = load(&with(tree, &at, &key, Some(text)));
                    // Another key may forbid the same value in its own words.
                    loaded.err().is_some_and(|problems| {
                        let text = problems.to_string();
                        text.contains(&format!("{key}: the string")) && text.contains(" from ")
                    })
                };
                for good in [least, most] {
                    assert!(!refused(good), "{key}: {good} ms: {description}");
                }
                assert!(refused(most + 1000), "{key}: {most} ms: {description}");
                assert!(
                    least == 0 || refused(least - 1),
                    "{key}: {least} ms: {description}"
                );
                held.insert(key.clone());
            }
        }
    }
    assert!(held.len() >= 5, "{held:?}");
}

/// The comments of the example file name the defaults and the ranges that the schema has.
#[test]
fn comments_of_the_example_tell_the_defaults_and_ranges_of_the_schema() {
    let schema = schema().to_value();
    let definitions = schema["$defs"].as_object().unwrap().values();
    let properties: Vec<(&String, &Json)> = definitions
        .chain([&schema])
        .filter_map(|object| object["properties"].as_object())
        .flatten()
        .collect();
    let any = |key: &str, told: &dyn Fn(&Json) -> bool| {
        properties
            .iter()
            .any(|(name, property)| *name == key && told(property))
    };
    let shown = |json: &Json| match json {
        Json::String(text) => text.clone(),
        Json::Array(items) => items
            .iter()
            .map(Json::to_string)
            .collect::<Vec<_>>()
            .join(", "),
        other => other.to_string(),
    };
    let text = fs::read_to_string(root().join("envoy-config/pointsman.yaml")).unwrap();
    let (mut defaults, mut bounds) = (0, 0);
    for line in text.lines() {
        let Some((before, comment)) = line.split_once(" # ") else {
            continue;
        };
        let before = before
            .trim()
            .trim_start_matches("- ")
            .trim_start_matches("{ ");
        let Some((key, _)) = before.split_once(':') else {
            continue;
        };
        let lower = [", ", &comment.to_ascii_lowercase()].concat();
        // The word begins a clause: `1 to 255, default 1`.
        let clause = [", default ", "; default ", ". default "]
            .into_iter()
            .find_map(|begin| lower.split_once(begin));
        if let Some((_, default)) = clause {
            let told = default
                .split([' ', ',', ';', '(', ')'])
                .next()
                .unwrap_or_default()
                .trim_end_matches('.');
            assert!(
                any(key, &|property| shown(&property["default"])
                    .eq_ignore_ascii_case(told)),
                "{line}"
            );
            defaults += 1;
        }
        for range in ranges(comment) {
            let told = |property: &Json| {
                ranges(property["description"].as_str().unwrap_or_default()).contains(&range)
            };
            assert!(any(key, &told), "{line}");
            bounds += 1;
        }
        let words: Vec<&str> = comment.split([' ', ';', ',', '.']).collect();
        for words in words.windows(3).filter(|words| words[1] == "to") {
            if let (Ok(least), Ok(most)) = (words[0].parse::<u64>(), words[2].parse::<u64>()) {
                let told =
                    |property: &Json| property["minimum"] == least && property["maximum"] == most;
                assert!(any(key, &told), "{line}");
                bounds += 1;
            }
        }
    }
    assert!(defaults >= 12 && bounds >= 8, "{defaults}, {bounds}");
}

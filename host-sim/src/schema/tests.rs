//! Laws that hold the schema to the parser.

use super::schema;
use crate::configuration::{self, to_json};
use crate::request_test::File;
use jsonschema::Validator;
use pointsman_core::config::Config;
use pointsman_core::config::value::Value;
use serde_json::Value as Json;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn validator() -> Validator {
    jsonschema::validator_for(schema().as_value()).unwrap()
}

/// The files that between them have every key.
fn full() -> [Value; 2] {
    [
        "envoy-config/pointsman.yaml",
        "filter/core/src/config/interface.yaml",
    ]
    .map(|file| configuration::read(&root().join(file)).unwrap())
}

fn yaml_files(directory: &str) -> Vec<PathBuf> {
    let entries = root().join(directory).read_dir().unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|it| it == "yaml"))
        .collect()
}

#[test]
fn shipped_schema_is_the_generated_one() {
    let shipped =
        fs::read_to_string(root().join("envoy-config/pointsman.schema.json")).unwrap_or_default();
    assert!(
        serde_json::from_str(&shipped).ok() == Some(schema().to_value()),
        "cargo run -p host-sim -- schema > envoy-config/pointsman.schema.json"
    );
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
            let Err(problems) = Config::from_value(&with_unknown) else {
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

#[test]
fn every_key_is_described() {
    fn look(schema: &Json, place: &str) {
        for (key, property) in schema["properties"].as_object().into_iter().flatten() {
            let described = property["description"].is_string();
            assert!(described, "{place}.{key}: {property}");
        }
    }
    let schema = schema().to_value();
    look(&schema, "");
    for (name, definition) in schema["$defs"].as_object().unwrap() {
        look(definition, name);
    }
}

#[test]
fn nothing_may_be_null() {
    let validator = validator();
    for tree in &full() {
        for at in 0..nodes(tree) {
            let with_null = changed(tree, at, |node| *node = Value::Null);
            assert!(Config::from_value(&with_null).is_err());
            assert!(
                !validator.is_valid(&to_json(&with_null)),
                "{at}: {}",
                to_json(&with_null)
            );
        }
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
        if Config::from_value(&tree).is_ok() {
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

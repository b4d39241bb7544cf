//! Secrets that are left to the proxy's environment, and secrets that are none.

use super::{Note, Warning, named};
use crate::configuration::field;
use crate::environment::{self, Asked};
use pointsman_core::config::Config;
use pointsman_core::config::value::Value;
use std::collections::BTreeSet;

/// What each variable has to be, where it is not set here.
pub(super) fn notes(tree: &Value) -> Vec<Note> {
    let asked = environment::unset(tree, &environment::of_process(tree));
    let note = |Asked { place, name }| Note {
        place,
        kind: "unset_variable",
        found: format!(
            "is the variable {name}, which is not set here: what it is was not checked. The proxy \
             has to have it, and to list it in `vm_config.environment_variables.host_env_keys`"
        ),
    };
    asked.into_iter().map(note).collect()
}

/// Sessions that a client can make up.
pub(super) fn unsigned(config: &Config) -> Vec<Note> {
    let mut notes = Vec::new();
    for pool in &config.pools {
        let sticky = pool.sticky.as_ref();
        if sticky.is_some_and(|sticky| sticky.cookie.is_some() && sticky.keys.is_empty()) {
            notes.push(Note {
                place: format!("{}.sticky", named("pools", &pool.name)),
                kind: "unsigned_cookie",
                found: "has no `keys`: a client that makes up a cookie chooses its target; with \
                        keys it cannot"
                    .to_owned(),
            });
        }
    }
    notes
}

/// What a file says of the variables of a filter's VM.
#[derive(Default)]
pub(super) struct Variables {
    /// Those that come from the proxy's environment.
    pub(super) passed: Vec<String>,
    /// Those whose value stands in the file, each with its place.
    pub(super) written: Vec<(String, String)>,
    /// Where both are said: `` `environment_variables` of its `vm_config` ``.
    pub(super) key: &'static str,
    /// What to write in place of a value, and how the name is listed: `{name}`.
    pub(super) listing: &'static str,
}

impl Variables {
    /// Of a Wasm filter in an Envoy configuration.
    fn of_filter(filter: &Value) -> Variables {
        let path = ["config", "vm_config", "environment_variables"];
        let variables = path.iter().try_fold(filter, |tree, key| field(tree, key));
        let of = |key: &str| variables.and_then(|variables| field(variables, key));
        let written = match of("key_values") {
            Some(Value::Map(entries)) => &entries[..],
            _ => &[],
        };
        let written = written
            .iter()
            .map(|(name, _)| (name.clone(), "environment_variables.key_values".to_owned()));
        Variables {
            passed: texts(of("host_env_keys")),
            written: written.collect(),
            key: "`environment_variables` of its `vm_config`",
            listing: "environment_variables: { host_env_keys: [{name}] }",
        }
    }
}

/// The texts of a list.
pub(super) fn texts(list: Option<&Value>) -> Vec<String> {
    let Some(Value::List(items)) = list else {
        return Vec::new();
    };
    let texts = items.iter().filter_map(|item| match item {
        Value::Text(text) => Some(text.clone()),
        _ => None,
    });
    texts.collect()
}

/// Variables that the filter's VM does not get. `filter`: the Wasm filter of an Envoy configuration;
/// `tree`: its Pointsman configuration.
pub(super) fn not_given(filter: &Value, tree: &Value) -> Vec<Warning> {
    told(&Variables::of_filter(filter), tree)
}

/// The same of whatever says what the VM gets.
pub(super) fn told(variables: &Variables, tree: &Value) -> Vec<Warning> {
    let mut seen = BTreeSet::new();
    let mut warnings = Vec::new();
    for Asked { place, name } in environment::asked(tree) {
        if !seen.insert(name.clone()) {
            continue;
        }
        let listing = variables.listing.replace("{name}", &name);
        let mut written = variables.written.iter();
        if let Some((_, place)) = written.find(|(other, _)| *other == name) {
            warnings.push(Warning::new(
                "secret_told",
                place.clone(),
                format!("has the value of {name}"),
                "it stands in this file, and in `config_dump` of the proxy's admin interface",
                &format!("write `{listing}`, and set the variable where the proxy is started"),
            ));
        } else if !variables.passed.contains(&name) {
            warnings.push(Warning::new(
                "variable_not_given",
                place,
                format!("is the variable {name}, which the filter's VM does not get"),
                format!(
                    "the proxy refuses the configuration: of its environment a VM gets only what \
                     {} lists",
                    variables.key
                ),
                &format!("add `{listing}` to it"),
            ));
        }
    }
    warnings
}

/// Keys and tokens that everybody can read, because they stand in the examples of this repository.
pub(super) fn published(config: &Config) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let mut warn = |place: String, what: &str, advice: &str| {
        warnings.push(Warning::new(
            "published_secret",
            place,
            "is that of an example, which everybody can read",
            what,
            advice,
        ));
    };
    for pool in &config.pools {
        let keys = pool.sticky.iter().flat_map(|sticky| &sticky.keys);
        for (at, key) in keys.enumerate() {
            if PUBLISHED_KEYS.contains(&&*key.0) {
                warn(
                    format!("{}.sticky.keys[{at}]", named("pools", &pool.name)),
                    "whoever has the key makes up sessions for any target",
                    "make one with `head -c 32 /dev/urandom | base64`, and leave it to the \
                     environment: `{ env: PM_KEY_1 }`",
                );
            }
        }
    }
    if let Some(explain) = &config.explain
        && PUBLISHED_TOKENS.contains(&&*explain.token)
    {
        warn(
            "explain.token".to_owned(),
            "whoever has it reads the names of routes, pools and targets",
            "make one with `head -c 24 /dev/urandom | base64`, and leave it to the environment: \
             `{ env: PM_TOKEN }`",
        );
    }
    warnings
}

/// The keys of the examples. A test holds that it has all of them.
const PUBLISHED_KEYS: &[&[u8]] = &[
    b"demo-key-demo-key-demo-key-demo!",
    b"secret-secret-secret-secret!!!!!",
    b"secret-secret-secret",
];

/// The tokens of the examples, and words that people leave in their place.
const PUBLISHED_TOKENS: &[&[u8]] = &[
    b"a-secret",
    b"change-me",
    b"changeme",
    b"change-it",
    b"explain-token",
    b"password",
    b"s3cret-token",
    b"secret-token",
    b"x-pointsman-explain",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{file_warnings, warnings_and_notes};
    use crate::configuration::parse;
    use crate::module;
    use pointsman_core::base64;
    use std::fs;
    use std::path::{Path, PathBuf};

    fn told(key: &str, token: &str) -> Vec<String> {
        let tree = parse(&format!(
            "{{ pools: {{ a: {{ targets: [{{ cluster: c }}, {{ cluster: d }}], health: {{ passive: {{}} }}, \
             sticky: {{ cookie: {{ name: n }}, keys: [{key}] }} }} }}, \
             explain: {{ header: x-why, token: {token} }}, routes: [{{ name: r, pool: a }}] }}"
        ));
        let tree = tree.unwrap();
        let (warnings, notes) =
            warnings_and_notes(&tree, &environment::load_anywhere(&tree).unwrap());
        let warnings = warnings
            .into_iter()
            .map(|it| format!("{} {}", it.place, it.kind));
        let notes = notes.into_iter().filter(|it| it.kind == "unset_variable");
        let notes = notes.map(|it| format!("{} {}: {}", it.place, it.kind, it.found));
        warnings.chain(notes).collect()
    }

    #[test]
    fn secrets_of_examples_are_told_and_others_are_not() {
        let published = "pools.a.sticky.keys[0] published_secret";
        let own = "q7b1O0v5Z0m3nqGmI1Fh9m0r3yS7m8d2oJ3xQv1c5bE=";
        let demo = "ZGVtby1rZXktZGVtby1rZXktZGVtby1rZXktZGVtbyE=";
        // As it is read, not as it is written.
        let unpadded = demo.trim_end_matches('=');
        assert_eq!(told(demo, "a-token-of-my-own"), [published]);
        assert_eq!(told(unpadded, "a-token-of-my-own"), [published]);
        assert_eq!(told(own, "change-me"), ["explain.token published_secret"]);
        assert_eq!(told(own, "a"), ["explain.token short_token"]);
        assert_eq!(told(own, "change-me-not"), [""; 0]);
    }

    #[test]
    fn a_cookie_without_keys_is_a_note() {
        let kinds = |sticky: &str| {
            let tree = parse(&format!(
                "{{ pools: {{ a: {{ targets: [{{ cluster: c }}], sticky: {sticky} }} }}, \
                 routes: [{{ name: r, pool: a }}] }}"
            ));
            let tree = tree.unwrap();
            let (_, notes) = warnings_and_notes(&tree, &environment::load_anywhere(&tree).unwrap());
            notes.into_iter().map(|it| it.kind).collect::<Vec<_>>()
        };
        assert_eq!(kinds("{ cookie: { name: n } }"), ["unsigned_cookie"]);
        assert_eq!(kinds("{ header: x-session }"), [""; 0]);
        let signed = "{ cookie: { name: n }, keys: [c2VjcmV0LXNlY3JldC1zZWNyZXQ=] }";
        assert_eq!(kinds(signed), [""; 0]);
    }

    #[test]
    fn a_variable_that_is_not_set_is_a_note_and_no_secret_is_told() {
        let told = told("{ env: PM_KEY_OF_NOBODY }", "{ env: PM_TOKEN_OF_NOBODY }");
        let [key, token] = &told[..] else {
            panic!("{told:?}")
        };
        let begins = "pools.a.sticky.keys[0] unset_variable: is the variable PM_KEY_OF_NOBODY,";
        assert!(key.starts_with(begins), "{key}");
        assert!(
            token.starts_with("explain.token unset_variable: "),
            "{token}"
        );
    }

    /// Of `envoy-config/`, the README and what it shows: whoever copies them is told.
    #[test]
    fn every_secret_that_is_published_is_known() {
        let root = module::repository().unwrap();
        let mut files = vec![root.join("README.md")];
        for directory in [
            "envoy-config",
            "host-sim/examples",
            "host-sim/scenarios",
            "host-sim/src/cli",
        ] {
            collect(&root.join(directory), &mut files);
        }
        files.push(root.join("filter/core/src/config/interface.yaml"));
        let mut count = 0;
        for file in &files {
            for line in fs::read_to_string(file).unwrap().lines() {
                let line = line.trim_start_matches(['#', ' ']);
                let keys = line.split_once("keys: [").map_or("", |(_, keys)| keys);
                for key in keys.split('"').skip(1).step_by(2) {
                    let known = base64::decode(key).unwrap_or_default();
                    let is_known = PUBLISHED_KEYS.contains(&&*known);
                    assert!(is_known, "{}: {key}", file.display());
                    count += 1;
                }
                if let Some((before, token)) = line.split_once("token: ")
                    && (before.is_empty() || before.ends_with(", "))
                    && !token.starts_with('{')
                {
                    let ends = |c: char| c == '"' || c == ' ' || c == '}';
                    let token = token.trim_start_matches('"').split(ends).next().unwrap();
                    let is_known = PUBLISHED_TOKENS.contains(&token.as_bytes());
                    assert!(is_known, "{}: {token}", file.display());
                    count += 1;
                }
            }
        }
        assert!(count > 10, "{count}");
    }

    fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
        for entry in directory.read_dir().unwrap() {
            let path = entry.unwrap().path();
            let ending = path.extension().and_then(|it| it.to_str());
            if path.is_dir() {
                collect(&path, files);
            } else if matches!(ending, Some("yaml" | "yml" | "md")) {
                files.push(path);
            }
        }
    }

    #[test]
    fn a_variable_that_the_vm_does_not_get_is_told() {
        let file = module::repository().unwrap().join("envoy-config/ecds.yaml");
        let text = fs::read_to_string(&file).unwrap();
        let (before, rest) = text.split_once("keys: [\"").unwrap();
        let (_, behind) = rest.split_once(']').unwrap();
        let text = format!("{before}keys: [{{ env: PM_KEY_OF_NOBODY }}]{behind}");
        let kinds = |variables: &str| {
            let id = "vm_id: pointsman\n";
            let vm = format!("{id}          {variables}\n");
            let text = text.replacen(id, &vm, 1);
            let warnings = file_warnings(&text, &file, false);
            warnings.into_iter().map(|it| it.kind).collect::<Vec<_>>()
        };
        let listing = |names: &str| kinds(&format!("environment_variables: {names}"));
        assert_eq!(kinds(""), ["variable_not_given"]);
        assert_eq!(
            listing("{ host_env_keys: [PM_KEY_1] }"),
            ["variable_not_given"]
        );
        assert_eq!(
            listing("{ host_env_keys: [PM_KEY_1, PM_KEY_OF_NOBODY] }"),
            [""; 0]
        );
        let written = "{ key_values: { PM_KEY_OF_NOBODY: c2VjcmV0LXNlY3JldC1zZWNyZXQ= } }";
        assert_eq!(listing(written), ["secret_told"]);
    }
}

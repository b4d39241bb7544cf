//! The environment that a configuration leaves its secrets to (`{ env: NAME }`): that of this
//! process, that of a file of tests, or stand-ins for what is not set.

use pointsman_core::config::Config;
use pointsman_core::config::problem::Problems;
use pointsman_core::config::reader::{Node, Report};
use pointsman_core::config::syntax;
use pointsman_core::config::value::Value;
use std::collections::BTreeMap;

/// Variables by name.
pub type Environment = BTreeMap<String, String>;

/// A key and a token in one, for a variable that is not set: "stand-in for a variable that is not
/// set".
const STAND_IN: &str = "c3RhbmQtaW4gZm9yIGEgdmFyaWFibGUgdGhhdCBpcyBub3Qgc2V0";

/// The most variables of a file of tests.
const MAX_VARIABLES: usize = 1000;

/// A variable that a configuration asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Where: `pools.web.sticky.keys[0]`.
    pub place: String,
    /// The variable's name.
    pub name: String,
}

/// The variables of this process that a configuration asks for, if they are set.
pub fn of_process(tree: &Value) -> Environment {
    let asked = asked(tree).into_iter();
    asked
        .filter_map(|asked| Some((asked.name.clone(), std::env::var(asked.name).ok()?)))
        .collect()
}

/// Every variable that a configuration asks for, in the order of the file.
pub fn asked(tree: &Value) -> Vec<Asked> {
    let root = Node::root(tree);
    let mut unread = Report::default();
    let mut found = Vec::new();
    let mut ask = |node: &Node<'_>| {
        let Value::Map(entries) = node.value() else {
            return;
        };
        if let [(key, Value::Text(name))] = &entries[..]
            && key == "env"
            && syntax::is_variable(name)
        {
            found.push(Asked {
                place: node.place(),
                name: name.clone(),
            });
        }
    };
    let Some(top) = root.names(&mut unread, "", usize::MAX) else {
        return found;
    };
    if let Some(pools) = top.get("pools")
        && let Some(pools) = pools.names(&mut unread, "", usize::MAX)
    {
        for pool in pools.iter() {
            let Some(pool) = pool.names(&mut unread, "", usize::MAX) else {
                continue;
            };
            if let Some(sticky) = pool.get("sticky")
                && let Some(sticky) = sticky.names(&mut unread, "", usize::MAX)
                && let Some(keys) = sticky.get("keys")
                && keys.is_list()
            {
                keys.list(&mut unread, "", usize::MAX)
                    .for_each(|key| ask(&key));
            }
        }
    }
    if let Some(explain) = top.get("explain")
        && let Some(explain) = explain.names(&mut unread, "", usize::MAX)
        && let Some(token) = explain.get("token")
    {
        ask(&token);
    }
    found
}

/// What of it is not set in `environment`.
pub fn unset(tree: &Value, environment: &Environment) -> Vec<Asked> {
    let mut asked = asked(tree);
    asked.retain(|asked| !environment.contains_key(&asked.name));
    asked
}

/// The environment, with stand-ins for all that is asked for and not set: routes go where they go
/// with the real ones, but a cookie of the real proxy is not valid.
pub fn with_stand_ins(tree: &Value, mut environment: Environment) -> Environment {
    for asked in unset(tree, &environment) {
        environment.insert(asked.name, STAND_IN.to_owned());
    }
    environment
}

/// Loads a configuration with these variables.
pub fn load(tree: &Value, environment: &Environment) -> Result<Config, Problems> {
    Config::from_value_with(tree, &|name| environment.get(name).cloned())
}

/// Loads a configuration with the variables of this process, and stand-ins for what is not set: where
/// the secrets themselves do not matter.
pub fn load_anywhere(tree: &Value) -> Result<Config, Problems> {
    load(tree, &with_stand_ins(tree, of_process(tree)))
}

/// Reads the key `env` of a file of tests: a map of names and values.
pub(crate) fn read(node: &Node<'_>, report: &mut Report) -> Environment {
    const EXPECTED: &str = "a map of variables and their values";
    let mut environment = Environment::new();
    if let Some(map) = node.names(report, EXPECTED, MAX_VARIABLES) {
        for variable in map.iter() {
            if !syntax::is_variable(variable.key()) {
                report.note(&variable, "not a name", syntax::VARIABLE);
            }
            if let Some(value) = variable.secret(report, "text (in quotes)") {
                environment.insert(variable.key().to_owned(), value.to_owned());
            }
        }
    }
    environment
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Value {
        serde_saphyr::from_str(text).unwrap()
    }

    fn tree() -> Value {
        parse(
            "{ pools: { \"a b\": { targets: [{ cluster: c }], sticky: { cookie: { name: session }, keys: [{ env: KEY_OF_THIS_TEST }, c2VjcmV0LXNlY3JldC1zZWNyZXQ=, { env: PATH }] } } },
             explain: { header: x, token: { env: TOKEN_OF_THIS_TEST } },
             routes: [{ name: r, match: { headers: [{ name: env, exact: env }] }, pool: a b }] }",
        )
    }

    #[test]
    fn what_is_asked_for_is_found_with_its_place() {
        let shown = |asked: Vec<Asked>| {
            let lines = asked
                .into_iter()
                .map(|it| format!("{} {}", it.place, it.name));
            lines.collect::<Vec<_>>()
        };
        let (key, token) = (
            "pools[\"a b\"].sticky.keys[0] KEY_OF_THIS_TEST",
            "explain.token TOKEN_OF_THIS_TEST",
        );
        let path = "pools[\"a b\"].sticky.keys[2] PATH";
        assert_eq!(shown(asked(&tree())), [key, path, token]);
        let own = of_process(&tree());
        assert_eq!(own.keys().collect::<Vec<_>>(), ["PATH"]);
        assert_eq!(shown(unset(&tree(), &own)), [key, token]);
        assert!(asked(&parse("[]")).is_empty());
        assert!(asked(&parse("pools: []\nexplain: 1")).is_empty());
    }

    #[test]
    fn a_stand_in_is_a_key_and_a_token() {
        let environment = with_stand_ins(&tree(), Environment::new());
        let config = load(&tree(), &environment).unwrap();
        assert_eq!(*config.explain.unwrap().token, *STAND_IN.as_bytes());
        assert_eq!(
            *config.pools[0].sticky.as_ref().unwrap().keys[0].0,
            *b"stand-in for a variable that is not set"
        );
    }
}

//! The hash of a configuration, by which people and programs tell which one is live.
//!
//! It is the first 48 bits of the SHA-256 of the configuration as JSON in ASCII, with keys sorted by
//! their code points, no blanks, whole numbers without a point and others with at most six decimals.
//! So it is the same whether the configuration came as YAML, as JSON or as a `Struct`, in whatever
//! order and with whatever comments. `json.dumps` of Python and `jq -cSa` write the same text, as
//! `envoy-config/README.md` shows.
//!
//! Everything is in it, secrets too, so that a change of a key changes it. 48 bits tell nothing of a
//! secret that cannot be guessed anyway.

use super::reader::decimal;
use super::value::{ROUTES, Value};
use crate::explain::quote;
use sha2::{Digest, Sha256};
use std::cmp::Ordering;
use std::fmt;

/// The hash of a configuration: 48 bits, so that every reader of a metric can hold it exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConfigurationHash(u64);

impl ConfigurationHash {
    /// As the gauge has it.
    pub fn number(self) -> u64 {
        self.0
    }

    /// Of the number that a gauge has.
    pub fn of_number(number: u64) -> ConfigurationHash {
        ConfigurationHash(number)
    }

    /// Of a tree, whether or not it loads.
    pub fn of(tree: &Value) -> ConfigurationHash {
        Canonical::new(tree, false).finish(tree)
    }
}

/// As people see it: 12 hexadecimal digits.
impl fmt::Display for ConfigurationHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012x}", self.0)
    }
}

/// Makes the hash of a configuration whose routes are read one by one.
pub(super) struct Canonical {
    sha: Sha256,
    /// What is to be hashed next.
    text: Vec<u8>,
    /// Whether a comma stands before the next item.
    has_item: bool,
    /// Whether the routes are not in the tree.
    is_outline: bool,
}

impl Canonical {
    /// Of this tree; `is_outline`: its routes come by [`Canonical::route`].
    pub(super) fn new(tree: &Value, is_outline: bool) -> Canonical {
        let mut own = Canonical {
            sha: Sha256::new(),
            text: Vec::new(),
            has_item: false,
            is_outline,
        };
        if is_outline {
            own.open(b'{');
            own.members(tree, Some(Ordering::Less));
            own.key(ROUTES);
            own.open(b'[');
        }
        own
    }

    /// The next route.
    pub(super) fn route(&mut self, route: &Value) {
        self.item();
        self.value(route);
    }

    /// The end, of the same tree.
    pub(super) fn finish(mut self, tree: &Value) -> ConfigurationHash {
        if self.is_outline {
            self.close(b']');
            self.members(tree, Some(Ordering::Greater));
            self.close(b'}');
        } else {
            self.value(tree);
        }
        self.flush();
        let [a, b, c, d, e, f, ..] = self.sha.finalize().0;
        ConfigurationHash(u64::from_be_bytes([0, 0, a, b, c, d, e, f]))
    }

    fn open(&mut self, bracket: u8) {
        self.text.push(bracket);
        self.has_item = false;
    }

    fn close(&mut self, bracket: u8) {
        self.text.push(bracket);
        self.has_item = true;
    }

    #[inline(never)]
    fn flush(&mut self) {
        self.sha.update(&self.text);
        self.text.clear();
    }

    #[inline(never)]
    fn item(&mut self) {
        if self.text.len() >= ENOUGH {
            self.flush();
        }
        if std::mem::replace(&mut self.has_item, true) {
            self.text.push(b',');
        }
    }

    #[inline(never)]
    fn key(&mut self, key: &str) {
        self.item();
        quote(key, &mut self.text);
        self.text.push(b':');
    }

    /// The members of a map by their keys; if `side` is given, those on this side of the routes.
    /// Those of a `Struct` are sorted already; a sort would be more code than all of this.
    #[inline(never)]
    fn members(&mut self, map: &Value, side: Option<Ordering>) {
        let mut sorted: Vec<&(String, Value)> = Vec::new();
        if let Value::Map(entries) = map {
            for entry in entries {
                if side.is_none_or(|side| entry.0.as_str().cmp(ROUTES) == side) {
                    let at = sorted.partition_point(|before| before.0 < entry.0);
                    sorted.insert(at, entry);
                }
            }
        }
        for (key, value) in sorted {
            self.key(key);
            self.value(value);
        }
    }

    #[inline(never)]
    fn word(&mut self, word: &str) {
        self.text.extend_from_slice(word.as_bytes());
    }

    #[inline(never)]
    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.word("null"),
            Value::Bool(true) => self.word("true"),
            Value::Bool(false) => self.word("false"),
            Value::Number(number) => self.word(&decimal(*number)),
            Value::Text(text) => quote(text, &mut self.text),
            Value::List(items) => {
                self.open(b'[');
                for item in items {
                    self.item();
                    self.value(item);
                }
                self.close(b']');
            }
            Value::Map(_) => {
                self.open(b'{');
                self.members(value, None);
                self.close(b'}');
            }
        }
    }
}

/// So many bytes are hashed at a time.
const ENOUGH: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn of(text: &str) -> String {
        ConfigurationHash::of(&serde_json::from_str(text).unwrap()).to_string()
    }

    /// Of a text that is canonical already.
    fn plainly(text: &str) -> String {
        let hash = Sha256::digest(text.as_bytes());
        let digits = hash.iter().take(6).map(|byte| format!("{byte:02x}"));
        digits.collect()
    }

    #[test]
    fn it_is_that_of_the_canonical_json() {
        for (text, canonical) in [
            ("{}", "{}"),
            ("[ ]", "[]"),
            (
                r#"{ "b": [1, 2.50, -0.000001, true, null], "a": {"é": "\u00e9/\u0001\u0008\t\n\f\r\"\\\u007f😀"} }"#,
                r#"{"a":{"\u00e9":"\u00e9/\u0001\b\t\n\f\r\"\\\u007f\ud83d\ude00"},"b":[1,2.5,-0.000001,true,null]}"#,
            ),
            (
                r#"{"version":"1","routes":[{"b":1e3,"a":4294967295},{}],"scope":"a","pools":{}}"#,
                r#"{"pools":{},"routes":[{"a":4294967295,"b":1000},{}],"scope":"a","version":"1"}"#,
            ),
        ] {
            assert_eq!(of(text), plainly(canonical), "{text}");
        }
    }

    #[test]
    fn routes_that_are_read_one_by_one_are_hashed_as_those_of_a_tree() {
        let pool = r#""pools": { "b": { "targets": [{ "cluster": "x" }] }, "a": { "targets": [{ "cluster": "y" }] } }"#;
        let one = r#"{ "pool": "a", "name": "1" }"#;
        let texts = [
            format!("{{ {pool} }}"),
            format!(r#"{{ "routes": [], {pool} }}"#),
            format!(r#"{{ {pool}, "routes": [{one}], "version": "v" }}"#),
            format!(
                r#"{{ "access_log": true, "routes": [{one}, {{ "name": "2", "pool": "b" }}], {pool} }}"#
            ),
        ];
        let hashes = texts.each_ref().map(|text| {
            let tree: Value = serde_json::from_str(text).unwrap();
            let loaded = Config::load(text.as_bytes()).unwrap().hash;
            assert_eq!(loaded, ConfigurationHash::of(&tree), "{text}");
            assert_eq!(loaded, Config::from_value(&tree).unwrap().hash, "{text}");
            loaded.number()
        });
        let different: std::collections::BTreeSet<u64> = hashes.into_iter().collect();
        assert_eq!(different.len(), texts.len());
        assert!(different.iter().all(|hash| hash >> 48 == 0));
    }
}

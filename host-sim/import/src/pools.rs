//! The pools and names that an import makes.

use crate::output::Entry;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The longest name of a pool, limit or route, in bytes.
const MAX_NAME: usize = 128;

/// Names that are unique and not too long.
#[derive(Debug, Default)]
pub(crate) struct Names(BTreeSet<String>);

impl Names {
    /// The name that is wanted, or one like it that is free.
    pub(crate) fn unique(&mut self, wanted: &str) -> String {
        let legal = wanted.chars().filter(|c| !c.is_control());
        let legal = legal.collect::<String>();
        let legal = match legal.trim() {
            "" => "unnamed",
            trimmed => trimmed,
        };
        let mut name = shortened(legal, MAX_NAME).to_owned();
        let mut number = 2;
        while !self.0.insert(name.clone()) {
            let suffix = format!("~{number}");
            name = shortened(legal, MAX_NAME - suffix.len()).to_owned() + &suffix;
            number += 1;
        }
        name
    }
}

/// The first characters of a text, as many as fit in so many bytes.
fn shortened(text: &str, most: usize) -> &str {
    let mut ends = text.char_indices().map(|(at, c)| at + c.len_utf8());
    let end = ends.by_ref().take_while(|end| *end <= most).last();
    text[..end.unwrap_or_default()].trim_end()
}

/// Pools, each made once.
#[derive(Debug, Default)]
pub(crate) struct Pools {
    names: Names,
    /// What each was asked for as, with its name.
    known: BTreeMap<String, String>,
    entries: Vec<Entry>,
}

impl Pools {
    /// The name of the pool that is made like this; it is new if there is none yet.
    pub(crate) fn named(
        &mut self,
        wanted: &str,
        comment: &str,
        value: Map<String, Value>,
    ) -> String {
        // The same name with other contents is another pool.
        let identity = json!([wanted, value]).to_string();
        if let Some(name) = self.known.get(&identity) {
            return name.clone();
        }
        let name = self.names.unique(wanted);
        self.known.insert(identity, name.clone());
        self.entries.push(Entry {
            comments: vec![comment.to_owned()],
            name: name.clone(),
            value,
        });
        name
    }

    /// The pool of one cluster, which has its name.
    pub(crate) fn of_cluster(&mut self, cluster: &str, comment: &str) -> String {
        let mut value = Map::new();
        value.insert("targets".into(), json!([{ "cluster": cluster }]));
        self.named(cluster, comment, value)
    }

    /// All of them in the order in which they were made.
    pub(crate) fn into_entries(self) -> Vec<Entry> {
        self.entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_short() {
        let mut names = Names::default();
        let long = "ä".repeat(100);
        let all = ["a", "a", " a\n", "", &long, &long].map(|name| names.unique(name));
        assert_eq!(all[..4], ["a", "a~2", "a~3", "unnamed"]);
        assert_eq!((all[4].len(), all[5].len()), (128, 128));
        assert_ne!(all[4], all[5]);
    }
}

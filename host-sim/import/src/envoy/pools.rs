//! Pools: one for each cluster, and for each way in which clients stay with an endpoint of it.

use crate::output::Entry;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The endpoints of the clusters whose addresses the input says: `ip:port` and weight.
pub(super) type Endpoints = BTreeMap<String, Vec<(String, Option<u64>)>>;

/// How clients stay with an endpoint: the keys `balance` or `sticky` of a pool.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Affinity {
    key: &'static str,
    value: Value,
}

impl Affinity {
    /// The hash of this key chooses.
    pub(super) fn hash(key: Value) -> Affinity {
        Affinity {
            key: "balance",
            value: json!({ "consistent_hash": { "key": key } }),
        }
    }

    /// A cookie that the first answer sets.
    pub(super) fn cookie(cookie: Value) -> Affinity {
        Affinity {
            key: "sticky",
            value: json!({ "cookie": cookie }),
        }
    }
}

/// The pools that the routes name.
#[derive(Debug, Default)]
pub(super) struct Pools {
    endpoints: Endpoints,
    made: Vec<(String, Option<Affinity>)>,
    entries: Vec<Entry>,
}

impl Pools {
    pub(super) fn new(endpoints: Endpoints) -> Pools {
        Pools {
            endpoints,
            ..Pools::default()
        }
    }

    /// Whether the input says the endpoints of a cluster.
    pub(super) fn knows_endpoints(&self, cluster: &str) -> bool {
        self.endpoints.contains_key(cluster)
    }

    /// The name of the pool of a cluster. `affinity` only where the endpoints are known.
    pub(super) fn of(&mut self, cluster: &str, affinity: Option<Affinity>) -> String {
        let key = (cluster.to_owned(), affinity);
        if let Some(at) = self.made.iter().position(|made| *made == key) {
            return self.entries[at].name.clone();
        }
        let is_taken = |name: &str| self.entries.iter().any(|entry| entry.name == name);
        let name = unique(cluster, is_taken);
        let mut value = Map::new();
        let mut comments = Vec::new();
        match (&key.1, self.endpoints.get(cluster)) {
            (Some(affinity), Some(endpoints)) => {
                comments.push(format!(
                    "Clients stay with an endpoint of {cluster}, so the cluster needs the load \
                     balancing policy override_host."
                ));
                value.insert("cluster".into(), cluster.into());
                value.insert(affinity.key.into(), affinity.value.clone());
                let each = |(endpoint, weight): &(String, Option<u64>)| match weight {
                    Some(weight) => json!({ "endpoint": endpoint, "weight": weight }),
                    None => json!({ "endpoint": endpoint }),
                };
                value.insert("targets".into(), endpoints.iter().map(each).collect());
            }
            _ => {
                let target = match cluster.len() > MAX_NAME {
                    true => json!({ "cluster": cluster, "name": name }),
                    false => json!({ "cluster": cluster }),
                };
                value.insert("targets".into(), json!([target]));
            }
        }
        self.made.push(key);
        self.entries.push(Entry {
            comments,
            name: name.clone(),
            value,
        });
        name
    }

    pub(super) fn into_entries(self) -> Vec<Entry> {
        self.entries
    }
}

/// The longest name in bytes.
const MAX_NAME: usize = 128;

/// A name that nothing else has, made of another: `a`, `a-2`, `a-3`.
pub(super) fn unique(wanted: &str, is_taken: impl Fn(&str) -> bool) -> String {
    let clean: String = wanted.chars().filter(|c| !c.is_control()).collect();
    let clean = match clean.trim() {
        "" => "unnamed",
        trimmed => trimmed,
    };
    let cut = |most: usize| {
        let end = (0..=most.min(clean.len()))
            .rev()
            .find(|at| clean.is_char_boundary(*at));
        clean[..end.unwrap_or_default()].trim_end()
    };
    let whole = cut(MAX_NAME);
    if !is_taken(whole) {
        return whole.to_owned();
    }
    let mut number = 2_usize;
    loop {
        let end = format!("-{number}");
        let name = format!("{}{end}", cut(MAX_NAME - end.len()));
        if !is_taken(&name) {
            return name;
        }
        number += 1;
    }
}

//! `consistent_hash`: a key's target.

use super::{backend, get, updatable};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

#[test]
fn a_key_goes_to_the_same_target_on_every_worker_and_after_a_restart() {
    const KEYS: usize = 50;
    const CONNECTIONS: usize = 30;
    let targets = ["a", "b", "c", "d", "e"].map(|cluster| json!({ "cluster": cluster }));
    let mut site = updatable(&json!({
        "pools": { "web": { "balance": { "consistent_hash": { "key": { "header": "x-key" } } }, "targets": targets } },
        "routes": [{ "name": "all", "pool": "web" }],
    }));
    let mut homes = BTreeMap::<String, String>::new();
    for restarts in 0..2 {
        if restarts > 0 {
            site.envoy.restart().unwrap();
        }
        // The kernel deals connections to workers by a hash: that one of two gets none of thirty
        // has a chance of 1 in 5 × 10^8.
        for _ in 0..CONNECTIONS {
            let mut client = site.client().unwrap();
            for key in (0..KEYS).map(|key| key.to_string()) {
                let home = backend(&get(&mut client, &[("x-key", &key)])).to_owned();
                let first = homes.entry(key).or_insert_with(|| home.clone());
                assert_eq!(*first, home, "{restarts} restarts");
            }
        }
    }
    assert_eq!(homes.values().collect::<BTreeSet<_>>().len(), targets.len());
}

//! `least_connections` and `least_response_time`: a target's load decides what it gets.

use super::{answered, backend, get, updatable};
use host_sim::backend::Answer;
use host_sim::client::Client;
use host_sim::envoy::fleet::Member;
use host_sim::testkit::load;
use serde_json::json;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

#[test]
fn a_slow_backend_gets_less_than_a_fifth_of_its_share() {
    const CLIENTS: usize = 12;
    const REQUESTS: usize = 400;
    /// Before these, when nothing is known yet.
    const FIRST: usize = 60;
    // With `least_connections` the slow one has four of twelve at a time, and so 24 of 1000 requests.
    // A fifth of its share, 66 of 1000, it gets where a busy machine adds half a second to each.
    let delay = |name: &str| Duration::from_millis(if name == "slow" { 6000 } else { 300 });
    for balance in ["least_connections", "least_response_time"] {
        let targets = ["fast", "faster", "slow"].map(|cluster| json!({ "cluster": cluster }));
        let site = updatable(&json!({
            "pools": { "web": { "balance": balance, "targets": targets } },
            "routes": [{ "name": "all", "pool": "web" }],
        }));
        for Member { backend, .. } in site.fleet.members() {
            backend.answer(Answer::After(delay(backend.name()), answered(200)));
        }
        let (address, sent) = (site.envoy.address().unwrap(), AtomicUsize::new(0));
        let slow = load::run(CLIENTS, |_| {
            let mut client = Client::new(address).unwrap();
            let mut slow = 0;
            loop {
                let number = sent.fetch_add(1, Ordering::Relaxed);
                if number >= FIRST + REQUESTS {
                    return slow;
                }
                if backend(&get(&mut client, &[])) == "slow" && number >= FIRST {
                    slow += 1;
                }
            }
        });
        let (slow, fair) = (slow.into_iter().sum::<usize>(), REQUESTS / 3);
        println!("{balance}: {slow} of {REQUESTS}; a fair share is {fair}");
        assert!(slow < fair / 5, "{balance}: {slow} of {REQUESTS}");
    }
}

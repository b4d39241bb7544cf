//! `max_in_flight` and `bounded_load` under a flood, by what the backends themselves count.

use super::{until_none_is_in_flight, updatable};
use host_sim::backend::Answer;
use host_sim::exchange::Response;
use host_sim::testkit::{Site, load};
use host_sim::wait::until;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

const CLIENTS: usize = 40;

fn start(pool: &Value) -> Site {
    updatable(&json!({
        "pools": { "p": pool },
        "routes": [{ "name": "all", "pool": "p" }],
    }))
}

/// Sends requests from clients on all workers, and counts the answers by status. The first ones are
/// held until as many are under way as can be, however slow the machine is; then each takes 20 ms.
fn flood(site: &Site, requests: usize, at_once: usize) -> BTreeMap<u16, usize> {
    site.fleet.answer(&Answer::Hold);
    let statuses = Mutex::new(BTreeMap::new());
    let address = site.envoy.address().unwrap();
    let ask = |client: &mut host_sim::client::Client| {
        let status = client.get("a", "/").unwrap().status().as_u16();
        *statuses.lock().unwrap().entry(status).or_default() += 1;
    };
    load::repeat_while(address, CLIENTS, ask, |load| {
        let backends = || site.fleet.members().iter().map(|member| &member.backend);
        until("they are under way", || {
            let held: usize = backends().map(|backend| backend.most_at_once()).sum();
            load.has_ended() || held == at_once
        });
        let slow = Answer::After(Duration::from_millis(20), Response::bare(200));
        site.fleet.answer(&slow);
        load.wait_for_jobs(requests);
    });
    statuses.into_inner().unwrap()
}

#[test]
fn a_backend_never_has_more_requests_than_max_in_flight_whichever_worker_sends_them() {
    let site = start(&json!({ "targets": [
        { "cluster": "a", "weight": 9, "max_in_flight": 7 }, { "cluster": "b", "max_in_flight": 1 }, { "cluster": "c" },
    ] }));
    let statuses = flood(&site, 6000, CLIENTS);
    assert_eq!(statuses.into_keys().collect::<Vec<_>>(), [200]);
    let most = ["a", "b"].map(|name| site.backend(name).unwrap().most_at_once());
    assert_eq!(most, [7, 1]);
    until_none_is_in_flight(&site);

    // Where there is nobody else, what is too much is refused.
    let site = start(&json!({ "targets": [{ "cluster": "a", "max_in_flight": 7 }] }));
    let statuses = flood(&site, 6000, 7);
    assert_eq!(statuses.into_keys().collect::<Vec<_>>(), [200, 503]);
    assert_eq!(site.backend("a").unwrap().most_at_once(), 7);
    until_none_is_in_flight(&site);
}

/// One hot key. A worker knows its own requests exactly, and those of the other as of 15 ms ago, or
/// whenever a busy machine let the other tell it. By its own alone each keeps to the bound.
#[test]
fn a_hot_key_does_not_overload_its_target() {
    let targets = ["a", "b", "c", "d"].map(|cluster| json!({ "cluster": cluster }));
    let site = start(&json!({
        "targets": targets,
        "balance": { "consistent_hash": { "key": "path", "bounded_load": 1.5 } },
    }));
    let statuses = flood(&site, 4000, CLIENTS);
    assert_eq!(statuses.into_keys().collect::<Vec<_>>(), [200]);
    let mut most = ["a", "b", "c", "d"].map(|name| site.backend(name).unwrap().most_at_once());
    most.sort_unstable();
    // Of 40 at once 15 are the bound. Without one all 40 were at one target.
    assert!(most[3] <= 2 * 15, "{most:?}");
    assert!(most[3] >= 10, "{most:?}");
    until_none_is_in_flight(&site);
}

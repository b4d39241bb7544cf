//! `health`, and what depends on it: `prefer_region` and `failover`.

use super::{backend, get, updatable};
use host_sim::backend::Received;
use host_sim::client::Client;
use host_sim::module;
use host_sim::testkit::{Site, load};
use host_sim::wait::until;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Probes of every target each second, and passive checks that eject a target at its second
/// failure.
fn checks() -> Value {
    json!({
        "active": { "path": "/health", "interval": "1s", "timeout": "1s", "rise": RISE, "fall": 2 },
        "passive": { "consecutive_failures": 2, "eject": "1h", "max_eject": "1h" },
    })
}

/// How many good probes in a row bring a target back.
const RISE: usize = 2;

/// The backend that answers a request of a new connection. None: the answer is an error.
fn answerer(site: &Site, headers: &[(&str, &str)]) -> Option<String> {
    let answer = get(&mut site.client().unwrap(), headers);
    answer
        .status()
        .is_success()
        .then(|| backend(&answer).to_owned())
}

/// Waits until all requests, on whatever workers, are answered by this backend, and then asserts
/// that they stay there.
fn goes_to(site: &Site, name: &str, headers: &[(&str, &str)]) {
    let is_it = || answerer(site, headers).as_deref() == Some(name);
    // Every worker has learned of it: the kernel deals connections to workers by a hash, and that
    // all of 40 in a row come to one of two has a chance of 1 in 5 × 10^11.
    let mut row = 0;
    until("all requests go there", || {
        row = if is_it() { row + 1 } else { 0 };
        row >= 40
    });
    for _ in 0..30 {
        assert!(is_it(), "{name}");
    }
}

#[test]
fn clients_see_only_the_first_failures_of_a_killed_backend_and_rise_probes_bring_it_back() {
    const CLIENTS: usize = 6;
    let targets = ["one", "two", "three"].map(|cluster| json!({ "cluster": cluster }));
    let mut site = updatable(&json!({
        "pools": { "web": { "targets": targets, "health": checks() } },
        "routes": [{ "name": "all", "pool": "web" }],
    }));
    let errors = AtomicUsize::new(0);
    let job = |client: &mut Client| {
        if !get(client, &[]).status().is_success() {
            errors.fetch_add(1, Ordering::Relaxed);
        }
    };
    let address = site.envoy.address().unwrap();
    load::repeat_while(address, CLIENTS, job, |load| {
        load.wait_for_jobs(300);
        assert_eq!(errors.load(Ordering::Relaxed), 0);
        site.backend_mut("two").unwrap().stop();
        let metric = |name: &str| {
            site.envoy
                .filter_stat(&format!("pointsman.pool.web.target.two.{name}"))
                .unwrap()
        };
        until("it is ejected", || metric("ejected") + metric("fell") > 0);
        // What is under way may still fail.
        load.wait_for_every_client();
        let first = errors.load(Ordering::Relaxed);
        load.wait_for_jobs(1000);
        assert_eq!(
            errors.load(Ordering::Relaxed),
            first,
            "after {first} failures"
        );
        println!("{first} failures");
        let late_before = late(&site);
        site.backend_mut("two").unwrap().start_again().unwrap();
        let recovered = || {
            site.envoy
                .filter_stat("pointsman.pool.web.target.two.recovered")
                .unwrap()
        };
        until("probes bring it back", || recovered() > 0);
        let mut received = Vec::new();
        let is_probe = |request: &Received| request.headers[1].1 == b"/health";
        until("requests come to it", || {
            received.extend(site.backend("two").unwrap().take_received());
            received.iter().any(|request| !is_probe(request))
        });
        let probes = received
            .iter()
            .take_while(|request| is_probe(request))
            .count();
        // No more of them than it takes; one may be under way meanwhile, and on a busy machine a
        // late one makes them begin afresh.
        let late = (late(&site) - late_before) as usize;
        assert!(
            (RISE..=RISE * (late + 1) + 1).contains(&probes),
            "{probes} probes, of which {late} were answered late"
        );
        load.wait_for_jobs(300);
        assert_eq!(errors.load(Ordering::Relaxed), first);
    });
}

/// How many requests to the target `two` were not answered in time.
fn late(site: &Site) -> u64 {
    site.envoy.stat("cluster.two.upstream_rq_timeout").unwrap()
}

#[test]
fn a_region_that_is_down_is_passed_over_and_comes_back_by_itself() {
    let mut site = updatable(&json!({
        "pools": { "web": {
            "targets": [{ "cluster": "kr", "region": "seoul" }, { "cluster": "us", "region": "virginia" }],
            "prefer_region": { "header": "x-geo-country", "map": { "KR": "seoul", "US": "virginia" }, "default": "seoul" },
            "health": checks(),
        } },
        "routes": [{ "name": "all", "pool": "web" }],
    }));
    let (korea, america) = ([("x-geo-country", "KR")], [("x-geo-country", "US")]);
    goes_to(&site, "kr", &korea);
    goes_to(&site, "us", &america);
    site.backend_mut("kr").unwrap().stop();
    goes_to(&site, "us", &korea);
    goes_to(&site, "us", &america);
    site.backend_mut("kr").unwrap().start_again().unwrap();
    goes_to(&site, "kr", &korea);
    goes_to(&site, "us", &america);
}

#[test]
fn a_pool_fails_over_and_comes_back_by_itself() {
    let mut site = updatable(&json!({
        "pools": {
            "web": { "targets": [{ "cluster": "web" }], "failover": ["spare"], "health": checks() },
            "spare": { "targets": [{ "cluster": "spare" }] },
        },
        "routes": [{ "name": "all", "pool": "web" }],
    }));
    goes_to(&site, "web", &[]);
    site.backend_mut("web").unwrap().stop();
    goes_to(&site, "spare", &[]);
    until("the requests that went elsewhere are counted", || {
        let failover = site.envoy.filter_stat("pointsman.pool.web.failover");
        failover.unwrap() >= 30
    });
    site.backend_mut("web").unwrap().start_again().unwrap();
    goes_to(&site, "web", &[]);
}

#[test]
fn one_vm_probes_at_a_time_and_another_takes_over_when_vms_trap() {
    const PROBES: usize = 10;
    let configuration = json!({
        "pools": { "web": { "targets": [{ "cluster": "web" }], "health": checks() } },
        "routes": [{ "name": "all", "pool": "web" }],
    });
    let trap = module::build_package("pointsman-trap").unwrap();
    let trapping = Site::start_with(&configuration, |_, deployment| {
        Ok(deployment.with_module(&trap))
    });
    let site = trapping.unwrap();
    let backend = site.backend("web").unwrap();
    for round in 0..2 {
        // With one prober, at least this many intervals pass between the first of these probes and
        // the last; with two, half as many would pass.
        until("a probe", || !backend.take_received().is_empty());
        let (start, before) = (Instant::now(), backend.count());
        until("probes", || backend.count() >= before + PROBES);
        let intervals = start.elapsed().as_secs_f64();
        assert!(
            intervals > 0.7 * PROBES as f64,
            "round {round}: {PROBES} probes in {intervals} intervals"
        );
        for _ in 0..10 {
            // Either worker gets some of them; a VM that is dead already answers 503.
            let _ = get(&mut site.client().unwrap(), &[("x-trap", "1")]);
        }
    }
}

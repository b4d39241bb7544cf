//! `global` limits with an engine on Redis behind two real Envoys: whoever asks at the same time,
//! the fleet is admitted what the limit says. What happens when one of them dies is among the
//! faults (`host-sim faults`).

use host_sim::envoy::{Deployment, Wanted, install};
use host_sim::module;
use host_sim::testkit::Site;
use host_sim::testkit::engine::{Engine, EngineOptions, Redis};
use host_sim::testkit::shared_limit::{SharedLimit, SharedLimitPlan};
use serde_json::{Value, json};
use std::fs;

fn start(plan: &SharedLimitPlan) -> SharedLimit {
    let program = install::find(Wanted::Any).unwrap();
    SharedLimit::start(&program, &module::build().unwrap(), plan).unwrap()
}

#[test]
fn who_asks_is_admitted_as_many_as_the_limit_by_each_kind_of_window() {
    for windows in ["first-request", "clock"] {
        let options = EngineOptions {
            windows,
            ..EngineOptions::default()
        };
        let plan = SharedLimitPlan {
            limit: 500,
            options,
            ..SharedLimitPlan::default()
        };
        let shared = start(&plan);
        let counts = shared.send(8, 800).unwrap();
        let sum: u64 = counts.iter().map(|counts| counts.admitted).sum();
        assert_eq!(sum, plan.limit, "{windows}: {counts:?}");
        assert!(
            counts.iter().all(|counts| counts.admitted > 0),
            "{counts:?}"
        );
    }
}

/// An engine that looks first and counts then, as Limitador's own storage on Redis does: of those that
/// cross all see the same count. There are as many as are under way at once, and one of them is right.
#[test]
fn who_asks_an_engine_of_two_steps_is_admitted_more_by_those_that_cross_at_most() {
    const CLIENTS: usize = 8;
    let plan = SharedLimitPlan {
        limit: 500,
        options: EngineOptions {
            windows: "two-steps",
            ..EngineOptions::default()
        },
        ..SharedLimitPlan::default()
    };
    let shared = start(&plan);
    let sum = shared.send_all(CLIENTS, 800).unwrap();
    let crossing = (CLIENTS * shared.sites.len()) as u64 - 1;
    assert_eq!(sum.failed, 0, "{sum:?}");
    assert!(
        (plan.limit..=plan.limit + crossing).contains(&sum.admitted),
        "{sum:?}"
    );
    println!("{} of {}", sum.admitted, plan.limit);
}

/// However the tokens lie, none is used twice, and what is held at the end is all that is lost.
#[test]
fn who_leases_is_admitted_no_more_and_loses_what_is_held() {
    let plan = SharedLimitPlan {
        mode: "lease",
        limit: 4_000,
        ..SharedLimitPlan::default()
    };
    let shared = start(&plan);
    let sum = shared.send_until_refused(4).unwrap();
    assert_eq!(sum.failed, 0, "{sum:?}");
    let sum = sum.admitted;
    assert!(sum <= plan.limit, "{sum}");
    let (asked, leased) = (
        shared.counted("asked").unwrap(),
        shared.counted("leased").unwrap(),
    );
    assert!(leased > 0, "{asked} asked");
    assert!(
        sum > plan.limit / 2,
        "{sum}: {asked} asked, {leased} leased"
    );
}

/// The blocks of `envoy-config/fleet.md`: Pointsman's limit, Envoy's cluster, the files of Limitador
/// and of envoyproxy/ratelimit.
fn page() -> Vec<Value> {
    let page = module::repository().unwrap().join("envoy-config/fleet.md");
    let page = fs::read_to_string(page).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("block.yaml");
    let blocks = page.split("```yaml\n").skip(1).map(|rest| {
        fs::write(&path, rest.split("```").next().unwrap()).unwrap();
        Deployment::read(&path).unwrap().bootstrap_mut().take()
    });
    blocks.collect()
}

/// The page's files, but for where the engine is, how much it admits and how long it may take, on a
/// real Envoy; and that of envoyproxy/ratelimit names what is asked.
#[test]
fn the_files_of_the_page_are_a_limit_over_a_fleet() {
    let [mut pointsman, mut clusters, mut limits, ratelimit] = page().try_into().unwrap();
    let redis = Redis::start(false).unwrap();
    // The file is read as it stands.
    drop(Engine::start(&redis, &limits, EngineOptions::default()).unwrap());
    limits[0]["max_value"] = json!(50);
    limits[0]["seconds"] = json!(SharedLimitPlan::DAY);
    let engine = Engine::start(&redis, &limits, EngineOptions::default()).unwrap();
    let cluster = &mut clusters["clusters"][0];
    assert_eq!(
        cluster["name"],
        pointsman["rate_limits"]["fleet"]["global"]["cluster"]
    );
    cluster["type"] = json!("STATIC");
    cluster["load_assignment"] = engine.cluster("ratelimit")["load_assignment"].take();
    let global = &mut pointsman["rate_limits"]["fleet"]["global"];
    (global["timeout"], global["on_error"]) = (json!("1s"), json!("refuse"));
    pointsman["pools"] = json!({ "web": { "targets": [{ "cluster": "web" }] } });
    pointsman["routes"] = json!([{ "name": "all", "rate_limits": ["fleet"], "pool": "web" }]);
    let site = Site::start_with(&pointsman, |_, mut deployment| {
        deployment.clusters_mut().push(cluster.take());
        Ok(deployment)
    });
    let site = site.unwrap();
    let mut client = site.client().unwrap();
    let mut admitted = 0;
    for tenant in ["a", "b"] {
        let headers = [("x-tenant", tenant)];
        let mut get = || {
            client
                .get_with("h", "/", &headers)
                .unwrap()
                .status()
                .as_u16()
        };
        let answers: Vec<_> = (0..80).map(|_| get()).collect();
        let of_tenant = answers.iter().filter(|status| **status == 200).count();
        // Near the limit some may be refused that a call for one would have admitted.
        assert!((25..=50).contains(&of_tenant), "{answers:?}");
        assert!(answers.iter().all(|status| matches!(status, 200 | 429)));
        admitted += of_tenant as u64;
    }
    let granted = redis.counted().unwrap();
    assert!(
        admitted <= granted && granted <= 100,
        "{admitted} of {granted}"
    );
    let limit = &ratelimit["descriptors"][0];
    assert_eq!(
        ratelimit["domain"],
        pointsman["rate_limits"]["fleet"]["global"]["domain"]
    );
    assert_eq!(
        (&limit["key"], &limit["value"]),
        (&json!("limit"), &json!("fleet"))
    );
    assert_eq!(limit["descriptors"][0]["key"], "header.x-tenant");
}

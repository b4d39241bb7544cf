//! `global` limits with an engine on Redis behind two real Envoys: whoever asks at the same time,
//! the fleet is admitted what the limit says. What happens when one of them dies is among the
//! faults (`host-sim faults`).

use host_sim::envoy::{Wanted, install};
use host_sim::module;
use host_sim::testkit::engine::EngineOptions;
use host_sim::testkit::shared_limit::{SharedLimit, SharedLimitPlan};

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

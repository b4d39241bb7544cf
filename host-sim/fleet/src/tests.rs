use super::*;
use pointsman_core::rate_limit::global::lease::life;

fn scenario(engine: Engine, traffic: Traffic, load: f64) -> Scenario {
    Scenario {
        engine,
        traffic,
        load,
        length: Nanos::from_secs(6),
        ..base()
    }
}

/// The promise: 100 proxies, 10,000 requests per second.
#[test]
fn a_fleet_is_admitted_nearly_all_of_the_limit_and_never_more_by_one_call_in_100_ms() {
    for engine in [Engine::Telling, Engine::Ratelimit] {
        for (traffic, least) in [(Traffic::Even, 0.95), (Traffic::Zipf, 0.9)] {
            for load in [0.8, 1.0, 1.2, 3.0] {
                let scenario = scenario(engine, traffic, load);
                let outcome = play(scenario, 11);
                assert!(outcome.admitted >= least, "{scenario:?} {outcome:?}");
                assert!(outcome.most <= 1.0, "{scenario:?} {outcome:?}");
                assert_eq!(outcome.carried, 0, "{scenario:?} {outcome:?}");
                assert!(
                    outcome.calls_per_interval <= 1.0,
                    "{scenario:?} {outcome:?}"
                );
            }
        }
    }
}

/// Where the engine tells nothing, a window has no more than was granted from [`life`] before it on.
#[test]
fn what_is_carried_over_is_little() {
    for load in [0.8, 1.0, 1.2, 3.0] {
        let scenario = scenario(Engine::Limitador, Traffic::Even, load);
        let outcome = play(scenario, 11);
        assert!(outcome.admitted >= 0.95, "{scenario:?} {outcome:?}");
        assert!(outcome.most <= 1.02, "{scenario:?} {outcome:?}");
        assert!(life(1) < WINDOW);
    }
}

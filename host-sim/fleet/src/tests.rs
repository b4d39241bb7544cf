use super::balance::Rule;
use super::*;
use pointsman_core::rate_limit::global::lease::CLOCK_SKEW;

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
                // Of the proxy too to which a fifth of all comes.
                assert!(
                    outcome.most_calls_per_interval <= 1.0,
                    "{scenario:?} {outcome:?}"
                );
                let longest = Nanos::from_millis(50);
                assert!(outcome.longest <= longest, "{scenario:?} {outcome:?}");
            }
        }
    }
}

/// Of an engine that tells nothing no token can be kept. Requests wait for each other's calls: that
/// too is never above the limit, and admits all of it.
#[test]
fn with_an_engine_that_tells_nothing_nothing_is_carried_over() {
    for (traffic, least) in [(Traffic::Even, 0.95), (Traffic::Zipf, 0.9)] {
        for load in [0.8, 1.0, 1.2, 3.0] {
            let scenario = scenario(Engine::Untold, traffic, load);
            let outcome = play(scenario, 11);
            assert!(outcome.admitted >= least, "{scenario:?} {outcome:?}");
            assert!(outcome.most <= 1.0, "{scenario:?} {outcome:?}");
            assert_eq!(outcome.carried, 0, "{scenario:?} {outcome:?}");
            println!("{traffic:?} {load} {outcome:?}");
        }
    }
}

/// An engine that looks first and counts then grants more than the limit: what crosses, a millisecond
/// of calls, each for as much as it buys. `envoy-config/fleet.md` has the figure.
#[test]
fn an_engine_of_two_steps_is_passed_by_what_crosses() {
    let mut most: f64 = 0.0;
    for traffic in [Traffic::Even, Traffic::Zipf] {
        for load in [1.2, 3.0] {
            let outcome = play(scenario(Engine::TwoSteps, traffic, load), 11);
            println!("{traffic:?} {load}: {:.4}", outcome.most);
            // No proxy uses what it was not granted.
            assert_eq!(outcome.carried, 0, "{outcome:?}");
            most = most.max(outcome.most);
        }
    }
    assert!(most > 1.0 && most <= 1.05, "{most}");
}

/// Where seconds of a clock are told, those of proxies may differ from the engine's.
#[test]
fn clocks_that_differ_a_little_carry_nothing_over() {
    for skew in [Nanos::ZERO, CLOCK_SKEW] {
        for load in [1.0, 1.2] {
            let scenario = Scenario {
                skew,
                ..scenario(Engine::Ratelimit, Traffic::Even, load)
            };
            let outcome = play(scenario, 5);
            assert_eq!(outcome.carried, 0, "{scenario:?} {outcome:?}");
            assert!(outcome.most <= 1.0, "{scenario:?} {outcome:?}");
        }
    }
}

/// One proxy is nearly as good as an oracle; of fifty each knows little, which costs, and is no
/// worse than to know nothing. With a part of the servers each knows nearly enough.
#[test]
fn least_connections_by_many_proxies_is_between_all_counts_and_none() {
    let p99 = |rule, proxies| balance::play(rule, proxies, 100_000, 3).p99;
    let oracle = p99(Rule::Oracle, 1);
    assert!(p99(Rule::LeastConnections, 1) <= 1.4 * oracle);
    let (many, all, none) = (
        p99(Rule::LeastConnections, 50),
        p99(Rule::AllCounts, 50),
        p99(Rule::Random, 50),
    );
    assert!(many > 1.1 * all, "{many} ms, {all} ms with all counts");
    assert!(many < none, "{many} ms, {none} ms at random");
    let parts = p99(Rule::Subset, 50);
    assert!(
        parts < 1.1 * all,
        "{parts} ms with parts, {all} ms with all counts"
    );
}

#[test]
fn the_plot_has_a_line_for_each_engine_and_traffic() {
    let outcome = Outcome {
        admitted: 0.9,
        ..Outcome::default()
    };
    let played = ByNumber {
        numbers: vec![1, 10],
        lines: vec![("Telling, Even".to_owned(), vec![outcome; 2])],
    };
    let svg = plot::svg(&played).unwrap();
    assert!(svg.contains("Telling, Even"), "{svg}");
    assert_eq!(played.to_string().lines().count(), 4);
}

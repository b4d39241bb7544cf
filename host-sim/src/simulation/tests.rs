//! Laws of the simulation, with the real filter.

use super::*;
use measure::{Measure, Scope};
use pointsman_core::time::Nanos;
use record::RequestRecord;
use std::path::Path;

/// 200 requests per second for 10 s in a pool of three endpoints, or of two clusters at
/// `/clusters`.
const SCENARIO: &str = r#"
config:
  pools:
    api: { cluster: api, targets: [{ endpoint: "10.0.0.1:80" }, { endpoint: "10.0.0.2:80" }, { endpoint: "10.0.0.3:80" }] }
    web: { targets: [{ cluster: blue }, { cluster: green }] }
  rate_limits: { one: { requests: 1, per: 1h, key: [client_ip] } }
  routes:
    - { name: clusters, match: { path: { prefix: /clusters } }, pool: web }
    - { name: limited, match: { path: { prefix: /limited } }, rate_limits: [one], pool: web }
    - { name: rest, pool: api }
duration: 10s
workers: 2
every_target: { service: { constant: 20ms } }
traffic: [{ name: t, rate: 200, request: { url: "http://h/PATH" } }]
"#;

/// The scenario with this path and more keys, played.
fn play(path: &str, more: &str) -> (Scenario, Run) {
    play_text(&(SCENARIO.replace("PATH", path) + more))
}

fn play_text(text: &str) -> (Scenario, Run) {
    let scenario = Scenario::parse("test", text, Path::new("")).unwrap();
    let run = run(&scenario, Chooser::Filter).unwrap();
    (scenario, run)
}

fn count(run: &Run, is: impl Fn(&RequestRecord) -> bool) -> usize {
    run.records.iter().filter(|record| is(record)).count()
}

#[test]
fn a_run_is_a_function_of_its_scenario() {
    let [(mut scenario, first), (_, second)] = [(); 2].map(|()| play("", ""));
    assert_eq!(first.records, second.records);
    assert!(first.records.len() > 1500);
    scenario.seed += 1;
    assert_ne!(
        run(&scenario, Chooser::Filter).unwrap().records,
        first.records
    );
}

#[test]
fn every_request_ends_once_with_its_service_time() {
    let (_, run) = play("", "");
    assert_eq!(
        count(&run, |record| record.status == 200
            && record.latency == Nanos::from_millis(20)),
        run.records.len()
    );
    let counted: u32 = run
        .samples
        .last()
        .unwrap()
        .targets
        .iter()
        .map(|target| target.in_flight)
        .sum();
    assert_eq!(counted as usize, run.open, "the last sample is at the end");
}

#[test]
fn a_refused_connection_is_tried_again_at_the_next_endpoint_and_no_client_notices() {
    let (_, run) = play(
        "",
        "faults: [{ at: 2s, until: 8s, target: \"10.0.0.2:80\", down: refused }]",
    );
    let lost = count(&run, RequestRecord::is_error);
    assert!(lost <= 5, "what was under way: {lost}");
    let retried = count(&run, |record| record.retries == 1);
    assert!((300..500).contains(&retried), "a third of 1200: {retried}");
    assert_eq!(
        count(&run, |record| record.retries > 0
            && record.target == Some(1)),
        0
    );
    let seconds = Nanos::from_secs;
    let dead = |record: &RequestRecord| {
        (seconds(2)..seconds(8)).contains(&record.start) && record.target == Some(1)
    };
    assert_eq!(count(&run, dead), 0);
}

#[test]
fn a_cluster_that_is_down_has_no_other_to_try() {
    let (_, run) = play(
        "clusters",
        "faults: [{ at: 2s, target: green, down: refused }]",
    );
    let failed = count(&run, |record| record.status == 503 && record.retries == 2);
    assert!((650..950).contains(&failed), "half of 1600: {failed}");
}

#[test]
fn a_routes_own_time_and_attempts_take_the_place_of_the_proxys() {
    let own = "timeout: 200ms, retry: { attempts: 1 }, pool: web }\n    - { name: limited";
    let text = SCENARIO.replace("PATH", "clusters");
    let text = text.replace("pool: web }\n    - { name: limited", own);
    for (fault, status, retries, latency) in [
        ("hang: true", 504, 0, Some(Nanos::from_millis(200))),
        ("down: refused", 503, 1, None),
    ] {
        let (_, run) = play_text(&format!(
            "{text}faults: [{{ at: 2s, target: green, {fault} }}]"
        ));
        let failed = run.records.iter();
        let failed =
            failed.filter(|record| record.is_error() && record.start > Nanos::from_secs(2));
        let failed: Vec<_> = failed.collect();
        assert!(failed.len() > 300, "{fault}: {}", failed.len());
        for record in failed {
            assert_eq!(
                (record.status, record.retries),
                (status, retries),
                "{fault}"
            );
            assert!(
                latency.is_none_or(|latency| record.latency == latency),
                "{fault}"
            );
        }
    }
}

#[test]
fn silence_takes_the_time_out_of_connections_and_hanging_that_of_requests() {
    let proxy = "proxy: { timeout: 3s, connect_timeout: 500ms, retries: 0 }\n";
    let fault = |kind: &str| format!("{proxy}faults: [{{ at: 2s, target: green, {kind} }}]");
    for (kind, status, latency) in [
        ("down: silent", 503, Nanos::from_millis(500)),
        ("hang: true", 504, Nanos::from_secs(3)),
    ] {
        let (_, run) = play("clusters", &fault(kind));
        let failed = run
            .records
            .iter()
            .filter(|record| record.is_error() && record.start > Nanos::from_secs(2));
        let failed: Vec<_> = failed
            .map(|record| (record.status, record.latency))
            .collect();
        assert!(
            failed.len() > 300 && failed.iter().all(|failed| *failed == (status, latency)),
            "{kind}"
        );
    }
}

#[test]
fn what_hung_is_answered_when_the_target_goes_on() {
    let (_, run) = play(
        "clusters",
        "faults: [{ at: 2s, until: 4s, target: green, hang: true }]",
    );
    assert_eq!(count(&run, RequestRecord::is_error), 0);
    let longest = run
        .records
        .iter()
        .map(|record| record.latency)
        .max()
        .unwrap();
    assert!(
        (Nanos::from_millis(1_900)..=Nanos::from_millis(2_050)).contains(&longest),
        "{longest:?}"
    );
}

#[test]
fn slow_and_failing_targets_are_as_slow_and_fail_as_often_as_they_are_told() {
    let slow = play("clusters", "faults: [{ at: 0s, target: green, slow: 3 }]").1;
    assert_eq!(
        count(&slow, |record| (record.target == Some(4))
            != (record.latency == Nanos::from_millis(60))),
        0
    );
    let (_, failing) = play(
        "clusters",
        "faults: [{ at: 0s, target: green, fail: { status: 500, share: 0.25 } }]",
    );
    let part = Scope {
        target: Some(4),
        ..Scope::default()
    };
    let share = Measure::ErrorShare.of(&failing, &part).unwrap();
    assert!((0.2..0.3).contains(&share), "{share}");
}

#[test]
fn clients_without_patience_leave() {
    let text = SCENARIO
        .replace("PATH", "")
        .replace("rate: 200", "rate: 200, patience: 10ms");
    let scenario = Scenario::parse("test", &text, Path::new("")).unwrap();
    let run = run(&scenario, Chooser::Filter).unwrap();
    assert_eq!(
        count(&run, |record| record.is_abandoned()
            && record.latency == Nanos::from_millis(10)),
        run.records.len()
    );
}

#[test]
fn a_limit_counts_by_the_clients_address() {
    let text = SCENARIO
        .replace("PATH", "limited")
        .replace("rate: 200", "rate: 200, clients: 7");
    let scenario = Scenario::parse("test", &text, Path::new("")).unwrap();
    let run = run(&scenario, Chooser::Filter).unwrap();
    assert_eq!(count(&run, |record| !record.is_refused()) + run.open, 7);
}

#[test]
fn a_trap_costs_what_its_worker_had_under_way() {
    let (_, run) = play("", "faults: [{ at: 5s, trap: 0 }]");
    let failed: Vec<_> = run
        .records
        .iter()
        .filter(|record| record.is_error())
        .collect();
    assert!(
        failed.len() <= 12
            && failed
                .iter()
                .all(|record| record.start.abs_diff(Nanos::from_secs(5)) < Nanos::from_millis(20))
    );
}

#[test]
fn a_reload_loses_no_request_and_takes_effect() {
    let reload = "faults: [{ at: 5s, reload: { pools: { p: { targets: [{ cluster: new }] } }, routes: [{ name: r, pool: p }] } }]";
    let (scenario, run) = play("", reload);
    assert_eq!(count(&run, RequestRecord::is_error), 0);
    let new = scenario
        .targets
        .iter()
        .position(|target| target.name == "new");
    let late = |record: &RequestRecord| record.start > Nanos::from_secs(5);
    assert_eq!(
        count(&run, |record| late(record)
            != (record.target.map(usize::from) == new)),
        0
    );
}

#[test]
fn the_clock_on_the_wall_jumps_and_virtual_time_does_not() {
    let (_, run) = play("", "faults: [{ at: 5s, jump: 1h }, { at: 6s, back: 2h }]");
    assert_eq!(
        count(&run, |record| record.latency == Nanos::from_millis(20)),
        run.records.len()
    );
}

#[test]
fn the_oracle_loses_to_nobody() {
    let text = SCENARIO.replace("PATH", "").replace(
        "service: { constant: 20ms }",
        "service: { pareto: { least: 2ms, most: 2s, alpha: 1.2 } }, concurrency: 1",
    );
    let scenario = Scenario::parse("test", &text, Path::new("")).unwrap();
    let [filter, oracle] =
        [Chooser::Filter, Chooser::Oracle].map(|chooser| run(&scenario, chooser).unwrap());
    let p99 = |run: &Run| Measure::Latency(990).of(run, &Scope::default()).unwrap();
    assert!(
        p99(&oracle) < p99(&filter),
        "{} {}",
        p99(&oracle),
        p99(&filter)
    );
    // The same requests at the same times.
    let starts = |run: &Run| {
        run.records
            .iter()
            .map(|record| record.start)
            .collect::<std::collections::BTreeSet<_>>()
    };
    assert!(starts(&oracle).intersection(&starts(&filter)).count() > 1500);
}

#[test]
fn whatever_is_wrong_with_a_scenario_is_said_at_once_and_where() {
    let text = "
config: { pools: { p: { targets: [{ cluster: blue }] } }, routes: [{ name: r, pool: p }] }
duration: 10
targets: { bleu: { concurrency: 0 } }
traffic: [{ name: t, rate: [{ at: 2s, per_second: 1 }, { at: 1s, per_second: 1 }], request: { url: /x } }]
faults: [{ at: 1s, target: blue }, { at: 1s, trap: 9 }, { at: 1s, trap: 0, until: 2s }, { at: 1s, slow: 2 }]
expect: [{ errors: {} }, { share: { max: 1 } }, { p99: { max: 3 }, traffic: x }]
";
    let error = format!(
        "{:#}",
        Scenario::parse("test", text, Path::new("")).unwrap_err()
    );
    for place in [
        "duration: the number 10",
        "targets.bleu: no such target; expected a cluster or an endpoint of the configuration's pools; did you mean `blue`?",
        "traffic[0].rate[1]: earlier",
        "traffic[0].request.url",
        "faults[0]: none of down",
        "faults[1].trap: the number 9; expected a whole number from 0 to 1",
        "faults[2].until: stands beside trap",
        "faults[3].target: missing",
        "expect[0].errors: neither min nor max",
        "expect[1].target: missing",
        "expect[2].p99.max: the number 3",
        "expect[2].traffic: no kind of traffic is named \"x\"",
    ] {
        assert!(error.contains(place), "{place}\n{error}");
    }
}

#[test]
fn a_report_stands_by_itself_and_shows_names_as_text() {
    let text = SCENARIO
        .replace("PATH", "")
        .replace("name: t", "name: \"<b>&\"")
        + "faults: [{ at: 2s, until: 4s, target: \"10.0.0.1:80\", slow: 5 }]\nexpect: [{ errors: { max: 0 } }]";
    let scenario = Scenario::parse("test", &text, Path::new("")).unwrap();
    let run = run(&scenario, Chooser::Filter).unwrap();
    let html = report::html(&scenario, &run, &judge(&scenario, &run), "<i>");
    for outside in ["src=", "href=", "@import", "url(", "fetch(", "<b>", "<i>"] {
        assert!(!html.contains(outside), "{outside}");
    }
    for inside in [
        "&lt;b&gt;&amp;",
        "10.0.0.1:80 5 × slower",
        "✓ errors: at most 0",
        "✓ passed 1 of 1",
        "<svg",
    ] {
        assert!(html.contains(inside), "{inside}");
    }
}

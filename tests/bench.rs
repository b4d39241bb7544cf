//! `host-sim bench` measures what it says. How much that is stands in
//! `host-sim/README.md`.

use host_sim::bench::instructions::{self, ClientHeaders};
use host_sim::bench::{self, BenchPlan};
use std::time::Duration;

/// As little as can be.
const PLAN: BenchPlan = BenchPlan {
    rounds: 1,
    time: Duration::from_secs(1),
    warm_up: Duration::ZERO,
    routes: [2, 4, 8],
    requests: 1_000,
    simulation: Duration::from_secs(1),
};

#[test]
fn bench_measures_every_candidate_on_a_real_envoy() {
    let report = bench::measure(&PLAN, None, "a command".to_owned(), &|_| {}).unwrap();
    assert_eq!(report.costs.len(), PLAN.candidates().len());
    for cost in &report.costs {
        let positive = cost.total.least > 0.0 && cost.rate.least > 0.0;
        assert!(positive, "{cost:?}");
    }
    let bare = &report.costs[0];
    assert_eq!(
        bare.added.median, 0.0,
        "it is what the others are compared with"
    );
    assert!(report.module > 0 && !report.native.is_empty() && !report.calls.is_empty());

    let text = report.to_string();
    for what in [
        "a command",
        "bare Envoy",
        "empty SDK filter",
        "the choice of a cluster, and nothing else",
        "the host calls of everything on, and nothing else",
        "Pointsman, 8 routes, everything on",
        "Envoy's own list of 8 routes, the last one asked for",
        "Envoy's own matcher tree of 2 routes",
        "`local_ratelimit`",
        "8 routes ÷ 2 routes",
        "memory of one VM with 8 routes",
        "`get_header_map`",
    ] {
        assert!(text.contains(what), "no {what} in:\n{text}");
    }
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["costs"][0]["kind"], "bare Envoy");
    assert!(json["costs"][1]["added"]["median"].is_number(), "{json}");
}

#[test]
fn bench_counts_the_instructions_of_a_filter() {
    let only = Some("empty SDK filter");
    let report =
        instructions::measure(only, ClientHeaders::Browser, String::new(), &|_| {}).unwrap();
    let [bare, empty] = &report.rows[..] else {
        panic!("{:?}", report.rows);
    };
    // Of any Envoy; how much exactly is for the gate.
    assert!((100_000.0..500_000.0).contains(&bare.total), "{bare:?}");
    assert!((10_000.0..50_000.0).contains(&empty.added), "{empty:?}");
    assert_eq!((bare.added, empty.ratio), (0.0, 1.0));
    let map = report.calls.iter().flat_map(|of| &of.calls);
    let maps = map.filter(|calls| calls.kind == "get_header_map");
    assert!(maps.count() == report.calls.len() && !report.is_whole);
}

#[test]
fn bench_counts_the_dearest_requests_beside_envoys_own_routes() {
    let report =
        instructions::measure_dear(Some("pattern of bots"), String::new(), &|_| {}).unwrap();
    assert_eq!(report.rows.len(), 2);
    for row in &report.rows {
        let own = row.own.unwrap();
        assert!(own.ordinary > 100_000.0, "{row:?}");
        // The filter comes on top, and what is longer takes more of both.
        assert!(row.pointsman.ordinary > own.ordinary, "{row:?}");
        assert!(own.times() > 1.0 && row.pointsman.times() > 1.0, "{row:?}");
    }
    assert!(report.is_kept(), "{report}");
}

#[test]
fn bench_can_measure_a_few() {
    let report = bench::measure(&PLAN, Some("matcher tree of 4"), String::new(), &|_| {}).unwrap();
    let names: Vec<_> = report.costs.iter().map(|cost| cost.kind.name()).collect();
    assert_eq!(
        names,
        [
            "bare Envoy",
            "bare Envoy again",
            "empty SDK filter",
            "Envoy's own matcher tree of 4 routes"
        ]
    );
    assert!(report.vm.is_none() && report.native.is_empty());
}

use super::record::MAX_FOREIGN_ENTRIES;
use super::*;
use crate::config::Config;
use crate::pool::outcome::{Cause, Outcome};
use crate::port::memory::MemoryPort;
use crate::scope::ScopeKey;
use crate::shared::keys;
use crate::shared::record::Entry;
use crate::shared::record::tests::assert_layout;
use crate::shared::tests::Random;
#[cfg(not(target_arch = "wasm32"))]
use crate::shared::tests::interleaved;
use crate::time::Seconds;
use std::rc::Rc;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const SECOND: Nanos = Nanos::SECOND;
/// Some day.
const NOW: Nanos = Nanos::from_secs(1_800_000_000);

const PASSIVE: &str = r#""passive": {"consecutive_failures": 3, "eject": "10s", "max_eject": "35s", "max_ejected_percent": 50}"#;
const ACTIVE: &str =
    r#""active": {"path": "/", "interval": "2s", "timeout": "1s", "rise": 2, "fall": 3}"#;

fn both() -> String {
    [PASSIVE, ACTIVE].join(",")
}

fn config(health: &str, targets: &[&str]) -> Rc<Config> {
    let targets: Vec<_> = targets
        .iter()
        .map(|name| format!(r#"{{"cluster": "{name}"}}"#))
        .collect();
    let text = format!(
        r#"{{"pools": {{"p": {{"slow_start": "10s", "health": {{{health}}}, "targets": [{}]}}}}}}"#,
        targets.join(",")
    );
    Rc::new(Config::load(text.as_bytes()).unwrap())
}

/// A worker with its configuration.
struct Worker {
    health: Health,
    config: Rc<Config>,
}

impl Worker {
    fn new(config: &Rc<Config>, random: u32) -> Worker {
        Worker::loaded_at(Seconds::ZERO, config, random)
    }

    fn loaded_at(time: Seconds, config: &Rc<Config>, random: u32) -> Worker {
        Worker {
            health: Health::new(&config.pools, WorkerId::new(time, random)),
            config: config.clone(),
        }
    }

    fn pool(&self) -> Rc<Pool> {
        self.config.pools[0].clone()
    }

    fn healthy(&mut self, port: &mut MemoryPort, target: usize, now: Nanos) -> bool {
        let pool = self.pool();
        self.health.refresh(port, &pool, now);
        self.health.is_healthy(&pool, TargetIndex::new(target), now)
    }

    fn slow_start_factor(&mut self, port: &mut MemoryPort, target: usize, now: Nanos) -> f64 {
        let pool = self.pool();
        self.health.refresh(port, &pool, now);
        self.health
            .slow_start_factor(&pool, TargetIndex::new(target), now)
    }

    fn fails(&mut self, port: &mut MemoryPort, target: usize, now: Nanos) {
        self.health.on_outcome(
            port,
            &self.pool(),
            TargetIndex::new(target),
            Outcome::Failure(Cause::NoConnection),
            Clients::default(),
            now,
        );
    }

    fn succeeds(&mut self, port: &mut MemoryPort, target: usize, now: Nanos) {
        self.health.on_outcome(
            port,
            &self.pool(),
            TargetIndex::new(target),
            Outcome::Success,
            Clients::default(),
            now,
        );
    }

    /// Sends the probes that are due; `answer` says what each target answers, None if its
    /// connection breaks.
    fn tick(
        &mut self,
        port: &mut MemoryPort,
        now: Nanos,
        answer: &dyn Fn(usize) -> Option<u16>,
    ) -> usize {
        let config = self.config.clone();
        let probes = self.health.tick(port, &config.pools, now);
        for probe in &probes {
            self.health.on_probe_result(
                port,
                &config.pools,
                probe,
                answer(probe.target.index.get()).map(ProbeAnswer::from),
                now,
            );
        }
        probes.len()
    }

    fn changes(&mut self) -> Vec<HealthChange> {
        let events = self.health.take_events();
        let changes = events.into_iter().map(|event| match event {
            HealthEvent::Changed { change, .. } => change,
            HealthEvent::Bug(what) => panic!("{what}"),
        });
        changes.collect()
    }
}

fn two(health: &str) -> (MemoryPort, Worker, Worker) {
    let config = config(health, &["a", "b", "c", "d"]);
    (
        MemoryPort::default(),
        Worker::new(&config, 1),
        Worker::new(&config, 2),
    )
}

#[test]
fn failures_in_a_row_are_counted_over_all_workers_and_a_success_begins_anew() {
    let (mut port, mut one, mut other) = two(PASSIVE);
    one.fails(&mut port, 0, NOW);
    other.fails(&mut port, 0, NOW);
    other.succeeds(&mut port, 0, NOW);
    one.fails(&mut port, 0, NOW);
    other.fails(&mut port, 0, NOW);
    assert!(one.healthy(&mut port, 0, NOW), "two since the success");
    one.fails(&mut port, 0, NOW);
    for worker in [&mut one, &mut other] {
        assert!(
            !worker.healthy(&mut port, 0, NOW),
            "at once, in every worker"
        );
        assert!(worker.healthy(&mut port, 1, NOW));
    }
    assert_eq!(
        (one.changes(), other.changes()),
        (vec![HealthChange::Ejected], vec![])
    );
}

#[test]
fn ejection_grows_with_repetition_up_to_its_bound_and_is_forgotten_with_health() {
    let (mut port, mut worker, _) = two(PASSIVE);
    let mut now = NOW;
    let end = |worker: &mut Worker, port: &mut MemoryPort, now: Nanos| {
        let end = (0..100).find(|seconds| worker.healthy(port, 0, now + *seconds * SECOND));
        now + end.unwrap() * SECOND
    };
    (0..3).for_each(|_| worker.fails(&mut port, 0, now));
    for expected in [10, 20, 30, 35, 35] {
        let ended = end(&mut worker, &mut port, now);
        assert_eq!(ended - now, expected * SECOND);
        // One more is enough now.
        worker.fails(&mut port, 0, ended);
        now = ended;
    }
    now = end(&mut worker, &mut port, now);
    worker.succeeds(&mut port, 0, now);
    assert_eq!(worker.changes().last(), Some(&HealthChange::Recovered));
    worker.fails(&mut port, 0, now);
    assert!(
        worker.healthy(&mut port, 0, now),
        "well again: one failure is one failure"
    );
    // Six times ejected, less four for 40 s of health, and this time.
    now += 40 * SECOND;
    (0..3).for_each(|_| worker.fails(&mut port, 0, now));
    assert_eq!(end(&mut worker, &mut port, now) - now, 30 * SECOND);
}

#[test]
fn no_more_are_ejected_than_the_bound_says() {
    let (mut port, mut worker, _) = two(PASSIVE);
    for target in 0..4 {
        (0..9).for_each(|_| worker.fails(&mut port, target, NOW));
    }
    let healthy: Vec<_> = (0..4)
        .map(|target| worker.healthy(&mut port, target, NOW))
        .collect();
    assert_eq!(healthy, [false, false, true, true]);
    // As soon as there is room, the next failure ejects.
    worker.fails(&mut port, 2, NOW + 10 * SECOND);
    assert!(!worker.healthy(&mut port, 2, NOW + 10 * SECOND));
}

#[test]
fn fall_bad_answers_eject_and_rise_good_ones_bring_back_and_none_fewer() {
    let (mut port, mut worker, mut other) = two(ACTIVE);
    let mut now = NOW;
    let mut rounds =
        |worker: &mut Worker, port: &mut MemoryPort, status: Option<u16>, rounds: usize| {
            for _ in 0..4 * rounds {
                worker.tick(port, now, &|target| {
                    if target == 1 { status } else { Some(200) }
                });
                now += SECOND / 2;
            }
            now
        };
    for slow in [Some(504), None, Some(500)] {
        // One slow answer ejects nobody, nor do two.
        let now = rounds(&mut worker, &mut port, slow, 2);
        assert!(other.healthy(&mut port, 1, now));
        let now = rounds(&mut worker, &mut port, Some(200), 1);
        assert!(other.healthy(&mut port, 1, now));
    }
    let now = rounds(&mut worker, &mut port, Some(404), 2);
    assert!(other.healthy(&mut port, 1, now));
    let now = rounds(&mut worker, &mut port, Some(404), 1);
    assert!(!other.healthy(&mut port, 1, now));
    // One good answer does not readmit, nor do two with a bad one between.
    let now = rounds(&mut worker, &mut port, Some(200), 1);
    assert!(!other.healthy(&mut port, 1, now));
    rounds(&mut worker, &mut port, Some(503), 1);
    let now = rounds(&mut worker, &mut port, Some(200), 1);
    assert!(!other.healthy(&mut port, 1, now));
    let now = rounds(&mut worker, &mut port, Some(200), 1);
    assert!(other.healthy(&mut port, 1, now));
    assert_eq!(
        worker.changes(),
        [HealthChange::Fell, HealthChange::Recovered]
    );
    assert!(
        other.slow_start_factor(&mut port, 1, now) < 0.5,
        "slow start"
    );
}

#[test]
fn probes_bring_back_what_failed_requests_ejected_and_time_alone_does_not() {
    let (mut port, mut worker, _) = two(&both());
    (0..3).for_each(|_| worker.fails(&mut port, 0, NOW));
    let mut now = NOW;
    for _ in 0..100 {
        worker.tick(&mut port, now, &|target| (target != 0).then_some(200));
        assert!(
            !worker.healthy(&mut port, 0, now),
            "{} s later",
            (now - NOW) / SECOND
        );
        now += SECOND / 2;
    }
    // Its return: within `rise` times the interval, and not with the first good answer.
    let mut ticks = 0;
    while !worker.healthy(&mut port, 0, now) {
        worker.tick(&mut port, now, &|_| Some(200));
        now += SECOND / 2;
        ticks += 1;
    }
    assert!((5..=8).contains(&ticks), "{ticks} ticks of half a second");
}

#[test]
fn one_worker_probes_and_another_goes_on_within_two_intervals_of_its_death() {
    let config = config(ACTIVE, &["a", "b", "c", "d"]);
    for seed in 0..50 {
        let mut random = Random(seed << 20);
        let mut port = MemoryPort::default();
        let mut workers: Vec<_> = (1..=8).map(|random| Worker::new(&config, random)).collect();
        let mut sent = [0_usize; 8];
        let dies = 40 + random.below(20);
        // Who died, and when.
        let mut dead = None;
        let mut gone_on = None;
        // Ticks of half a second, each worker's at a time of its own.
        for step in 0..120 {
            for (number, worker) in workers.iter_mut().enumerate() {
                if dead.is_some_and(|(dead, _)| dead == number) {
                    continue;
                }
                let now = NOW + step * SECOND / 2 + number as u64 * SECOND / 20;
                let probes = worker.tick(&mut port, now, &|_| Some(200));
                sent[number] += probes;
                if probes > 0 && dead.is_some() {
                    gone_on.get_or_insert(now);
                }
            }
            let leaders = sent.iter().filter(|sent| **sent > 0).count();
            assert_eq!(
                leaders,
                1 + usize::from(gone_on.is_some()),
                "seed {seed}: {sent:?}"
            );
            if step == dies {
                let leader = sent.iter().position(|sent| *sent > 0).unwrap();
                // Four targets, each once in an interval, which are four ticks.
                assert!(
                    sent[leader].abs_diff(step as usize) <= 4,
                    "seed {seed}: {sent:?}"
                );
                dead = Some((leader, NOW + step * SECOND / 2));
            }
        }
        let (_, died) = dead.unwrap();
        assert!(gone_on.unwrap() - died <= 4 * SECOND, "seed {seed}");
    }
}

#[test]
fn a_later_configuration_takes_the_probes_over_and_keeps_them() {
    let config = config(ACTIVE, &["a", "b"]);
    let mut port = MemoryPort::default();
    let later = NOW.to_seconds();
    let mut workers = [(Seconds::ZERO, 9), (later, 2), (later, 1)]
        .map(|(time, random)| Worker::loaded_at(time, &config, random));
    let mut probes = [0; 3];
    for tenth in 0..300 {
        // The later ones come after 10 s.
        let there = if tenth < 100 { 1 } else { 3 };
        if tenth == 150 {
            assert!(probes[0] >= 10, "{probes:?}");
            probes = [0; 3];
        }
        for (worker, sent) in workers.iter_mut().zip(&mut probes).take(there) {
            *sent += worker.tick(&mut port, NOW + tenth * SECOND / 10, &|_| Some(200));
        }
    }
    assert_eq!((probes[0], probes[2]), (0, 0), "{probes:?}");
    assert!((14..=16).contains(&probes[1]), "{probes:?}");
}

#[test]
fn probe_that_is_never_answered_is_a_bad_one_and_an_answer_that_is_late_is_none() {
    let (mut port, mut worker, _) = two(ACTIVE);
    let config = worker.config.clone();
    let mut sent = Vec::new();
    let mut now = NOW;
    for _ in 0..24 {
        sent.extend(worker.health.tick(&mut port, &config.pools, now));
        now += SECOND / 2;
    }
    assert!((0..4).all(|target| !worker.healthy(&mut port, target, now)));
    assert_eq!(worker.changes(), vec![HealthChange::Fell; 4]);
    let writes = port.writes;
    worker
        .health
        .on_probe_result(&mut port, &config.pools, &sent[0], Some(200.into()), now);
    assert_eq!(port.writes, writes, "late");
    let last = sent.last().unwrap().clone();
    worker
        .health
        .on_probe_result(&mut port, &config.pools, &last, Some(200.into()), now);
    assert!(port.writes > writes, "in time");
    let writes = port.writes;
    worker
        .health
        .on_probe_result(&mut port, &config.pools, &last, Some(200.into()), now);
    assert_eq!(port.writes, writes, "once");
}

/// [`ACTIVE`], with targets that are unhealthy at first.
fn initial() -> String {
    ACTIVE.replace("{", r#"{"initial": "unhealthy", "#)
}

#[test]
fn new_target_waits_for_its_first_good_probe_and_those_that_were_there_do_not() {
    let (mut port, mut worker, mut other) = two(&initial());
    let healthy = |worker: &mut Worker, port: &mut MemoryPort| -> Vec<bool> {
        let targets = 0..worker.pool().targets.len();
        targets
            .map(|target| worker.healthy(port, target, NOW))
            .collect()
    };
    // Before anything is read, and after it, in whichever worker.
    let pool = worker.pool();
    assert!(!worker.health.is_healthy(&pool, TargetIndex::new(0), NOW));
    assert_eq!(healthy(&mut worker, &mut port), [false; 4]);
    assert_eq!(healthy(&mut other, &mut port), [false; 4]);
    // All are probed at once, and one good probe is enough, although `rise` is 2.
    let up = |target: usize| (target != 3).then_some(200);
    assert_eq!(worker.tick(&mut port, NOW, &up), 4);
    for worker in [&mut worker, &mut other] {
        assert_eq!(healthy(worker, &mut port), [true, true, true, false]);
    }
    assert_eq!(worker.changes(), vec![HealthChange::Recovered; 3]);
    // A reload with one more target, by the next generation of workers: only that one is new.
    let config = config(&initial(), &["a", "b", "c", "d", "e"]);
    let mut next = Worker::loaded_at(Seconds::new(9), &config, 3);
    let expected = [true, true, true, false, false];
    assert_eq!(healthy(&mut next, &mut port), expected);
    // Bad probes are not the first good one; after them one is still enough.
    let mut now = NOW;
    for _ in 0..10 {
        now += SECOND;
        next.tick(&mut port, now, &|target| (target < 3).then_some(200));
    }
    assert_eq!(healthy(&mut next, &mut port), expected);
    assert_eq!(next.changes(), vec![]);
    for _ in 0..2 {
        now += SECOND;
        next.tick(&mut port, now, &|_| Some(200));
    }
    assert_eq!(healthy(&mut next, &mut port), [true; 5]);
    // One that fell later is no new one: it takes `rise` good ones.
    for _ in 0..6 {
        now += SECOND;
        next.tick(&mut port, now, &|target| (target != 4).then_some(200));
    }
    assert!(!next.healthy(&mut port, 4, now));
    for _ in 0..2 {
        now += SECOND;
        next.tick(&mut port, now, &|_| Some(200));
    }
    assert!(!next.healthy(&mut port, 4, now));
}

#[test]
fn worker_that_takes_over_the_probes_goes_on_with_those_that_wait() {
    let (mut port, mut worker, mut other) = two(&initial());
    // It leads, and dies with its probes under way.
    let config = worker.config.clone();
    assert_eq!(worker.health.tick(&mut port, &config.pools, NOW).len(), 4);
    drop(worker);
    assert_eq!(other.tick(&mut port, NOW, &|_| Some(200)), 0);
    let now = NOW + 4 * SECOND;
    assert_eq!(other.tick(&mut port, now, &|_| Some(200)), 4);
    assert!((0..4).all(|target| other.healthy(&mut port, target, now)));
}

#[test]
fn configuration_without_probes_holds_nothing_against_a_target_that_waits_or_fell() {
    let (mut port, mut worker, _) = two(&initial());
    assert!(!worker.healthy(&mut port, 0, NOW));
    let config = config(PASSIVE, &["a", "b", "c", "d"]);
    let mut next = Worker::loaded_at(Seconds::new(9), &config, 3);
    assert!(next.healthy(&mut port, 0, NOW));
}

#[test]
fn grpc_probe_is_good_if_the_service_is_serving() {
    let active = r#""active": {"grpc": "shop.Cart", "interval": "2s", "timeout": "1s", "fall": 1}"#;
    let (mut port, mut worker, _) = two(active);
    let config = worker.config.clone();
    let mut now = NOW;
    for (status, body, expected) in [
        (&b"0"[..], &b"\0\0\0\0\x02\x08\x01"[..], true),
        (b"0", b"\0\0\0\0\x02\x08\x02", false),
    ] {
        now += 2 * SECOND;
        for probe in worker.health.tick(&mut port, &config.pools, now) {
            let answer = ProbeAnswer {
                status: 200,
                grpc_status: Some(status),
                body,
            };
            let (health, pools) = (&mut worker.health, &config.pools);
            health.on_probe_result(&mut port, pools, &probe, Some(answer), now);
        }
        assert_eq!(worker.healthy(&mut port, 0, now), expected);
    }
}

#[test]
fn clock_that_is_set_back_keeps_nobody_out_and_no_probe_waiting() {
    let (mut port, mut worker, mut other) = two(&both());
    (0..3).for_each(|_| worker.fails(&mut port, 0, NOW));
    worker.tick(&mut port, NOW, &|_| Some(200));
    let back = NOW - 7200 * SECOND;
    assert!(worker.healthy(&mut port, 0, back));
    assert_eq!(worker.slow_start_factor(&mut port, 0, back), 1.0);
    let mut sent = 0;
    for tick in 0..8 {
        for worker in [&mut other, &mut worker] {
            sent += worker.tick(&mut port, back + tick * SECOND / 2, &|_| Some(200));
        }
    }
    assert!(
        (7..=12).contains(&sent),
        "{sent} probes in two intervals of four targets"
    );
}

#[test]
fn steady_state_reads_only_a_gauge() {
    let (mut port, mut worker, mut other) = two(&both());
    other.healthy(&mut port, 0, NOW);
    worker.healthy(&mut port, 0, NOW);
    let (reads, writes) = (port.reads, port.writes);
    for request in 0..1000 {
        let now = NOW + request * SECOND;
        worker.healthy(&mut port, 0, now);
        worker.succeeds(&mut port, 0, now);
    }
    assert_eq!((port.reads, port.writes), (reads, writes));
}

#[test]
fn without_gauges_workers_read_the_record_every_50_ms() {
    let (mut port, mut one, mut other) = two(PASSIVE);
    for worker in [&mut one, &mut other] {
        worker.healthy(&mut port, 0, NOW);
        worker.health.pools[0].as_mut().unwrap().gauge = ChangeGauge::Missing;
    }
    (0..3).for_each(|_| one.fails(&mut port, 0, NOW));
    assert!(other.healthy(&mut port, 0, NOW + POLL_INTERVAL - Nanos::new(1)));
    assert!(!other.healthy(&mut port, 0, NOW + POLL_INTERVAL));
}

#[test]
fn reload_keeps_health_and_makes_new_only_what_was_not_there() {
    let mut port = MemoryPort::default();
    let mut worker = Worker::new(&config(PASSIVE, &["a", "b", "c"]), 1);
    worker.healthy(&mut port, 0, NOW);
    assert_eq!(
        worker.slow_start_factor(&mut port, 0, NOW),
        1.0,
        "those of a new record are old"
    );
    (0..3).for_each(|_| worker.fails(&mut port, 1, NOW));
    let mut worker = Worker::new(&config(PASSIVE, &["new", "b", "a"]), 2);
    assert!(!worker.healthy(&mut port, 1, NOW));
    assert_eq!(worker.slow_start_factor(&mut port, 2, NOW), 1.0);
    for (seconds, share) in [(0, 0.1), (5, 0.5), (10, 1.0)] {
        assert_eq!(
            worker.slow_start_factor(&mut port, 0, NOW + seconds * SECOND),
            share
        );
    }
}

#[test]
fn a_thousand_reloads_grow_no_record() {
    for gap in [Nanos::ZERO, SECOND, 100 * SECOND] {
        let mut port = MemoryPort::default();
        for reload in 0..1000 {
            let name = format!("target-{reload}");
            let mut worker = Worker::new(&config(PASSIVE, &["stays", &name]), reload);
            let now = NOW + u64::from(reload) * gap;
            worker.healthy(&mut port, 0, now);
            worker.fails(&mut port, 1, now);
        }
        assert_eq!(port.values.len(), 1);
        assert!(
            port.last.len() <= HealthEntry::SIZE * (MAX_FOREIGN_ENTRIES + 4),
            "{} bytes",
            port.last.len()
        );
    }
}

/// Workers of two releases share records during a hot restart, so a release keeps its bytes. Those
/// of the first one stand here; what came after it begins with the same fields, at a key of its
/// own.
#[test]
fn a_record_is_these_bytes() {
    let mut port = MemoryPort::default();
    let mut worker = Worker::loaded_at(
        Seconds::new(0x6b49_d200),
        &config(&both(), &["a", "b"]),
        0x0123_4567,
    );
    worker.tick(&mut port, NOW, &|_| Some(200));
    (0..3).for_each(|_| worker.fails(&mut port, 0, NOW));
    worker.fails(&mut port, 1, NOW + SECOND);
    let mut now = NOW;
    for _ in 0..12 {
        now += SECOND / 2;
        worker.tick(&mut port, now, &|target| (target == 0).then_some(200));
    }
    let mut later = Worker::loaded_at(
        Seconds::new(0x6b49_d201),
        &config(&both(), &["b", "new"]),
        1,
    );
    later.healthy(&mut port, 0, now);
    let (key, (record, _)) = port.values.iter().next().unwrap();
    assert_eq!(key, b"pm3/health/\0\0\0\0\0\0\0\0\x03B");
    let hex = |entry: &[u8]| -> String { entry.iter().map(|byte| format!("{byte:02x}")).collect() };
    // An entry begins as in the first release, which had 52 bytes of each.
    let entries: Vec<_> = record
        .chunks(HealthEntry::SIZE)
        .map(|entry| entry.split_at(52))
        .collect();
    let first: Vec<String> = entries.iter().map(|(first, _)| hex(first)).collect();
    assert_eq!(
        first,
        [
            // `b`, with a failure of a request, and ejected by probes.
            "1844f83597e4b49f00f2b9bd77e2fa1800000000000000000000000000000000\
             0100000000000000000000000300000001000000",
            // `a`, ejected by requests and brought back by probes.
            "94dc92a578161f8a00281f8277e2fa1800281f8277e2fa180000000000000000\
             0000000001000000020000000000000000000000",
            // The lease.
            "ba9026300983bbf500bc54f977e2fa186745230100d2496b001a25ac78e2fa18\
             0000000000000000000000000000000000000000",
            // `new`, in its slow start.
            "5d0ff2c7be1ef83b00bc54f977e2fa1800bc54f977e2fa180000000000000000\
             0000000000000000000000000000000000000000",
        ]
    );
    let votes: Vec<String> = entries.iter().map(|(_, votes)| hex(votes)).collect();
    let none = "0".repeat(40);
    assert_eq!(
        votes,
        [
            // The failure of `b` was one without a connection.
            "01000000000000000000000000ca4ecf76e2fa18",
            &none[..],
            &none,
            &none,
        ]
    );
}

#[test]
fn an_entry_is_these_bytes() {
    let entry = HealthEntry {
        id: 1,
        changed_at: Nanos::new(2),
        health: TargetHealth {
            slow_start_at: Nanos::new(3),
            ejected_until: Nanos::new(4),
            ejections: 6,
            good_probes: 7,
            bad_probes: 8,
            fallen: 9,
            row: votes::FailureRow {
                failures: 5,
                no_connection: 10,
                voters: Clients::from_bits(11),
                since: Nanos::new(12),
            },
        },
    };
    let long = |number: u64| number.to_le_bytes().to_vec();
    let short = |number: u32| number.to_le_bytes().to_vec();
    let fields = [
        [1, 2, 3, 4].map(long).concat(),
        [5, 6, 7, 8, 9, 10].map(short).concat(),
        [11, 12].map(long).concat(),
    ];
    assert_layout(entry, &fields.concat());
}

/// A client by its number.
fn client(number: u8) -> Clients {
    Clients::from_bits(1 << number)
}

impl Worker {
    /// A request of this client fails in a way that the client can have provoked.
    fn fails_for(&mut self, port: &mut MemoryPort, target: usize, number: u8, now: Nanos) {
        self.health.on_outcome(
            port,
            &self.pool(),
            TargetIndex::new(target),
            Outcome::Failure(Cause::Exchange),
            client(number),
            now,
        );
    }

    /// Another target of the pool answers this client.
    fn answers(&mut self, port: &mut MemoryPort, number: u8, now: Nanos) {
        let pool = self.pool();
        assert!(self.health.wants_client(&pool, true, now));
        self.health.answered(&pool, client(number), now);
        self.succeeds(port, 3, now);
    }
}

#[test]
fn one_client_ejects_a_target_only_where_the_pool_answers_no_other() {
    // The only client.
    let (mut port, mut worker, _) = two(PASSIVE);
    worker.answers(&mut port, 1, NOW);
    (0..2).for_each(|_| worker.fails_for(&mut port, 0, 1, NOW));
    assert!(worker.healthy(&mut port, 0, NOW));
    worker.fails_for(&mut port, 0, 1, NOW);
    assert!(!worker.healthy(&mut port, 0, NOW), "at the third");
    assert_eq!(worker.changes(), [HealthChange::Ejected]);

    // One of two, of whom the other is answered by another worker, which has told of it.
    let (mut port, mut worker, mut other) = two(PASSIVE);
    other.answers(&mut port, 2, NOW);
    other.tick(&mut port, NOW, &|_| None);
    assert!(worker.healthy(&mut port, 0, NOW));
    (0..60).for_each(|_| worker.fails_for(&mut port, 0, 1, NOW));
    assert!(other.healthy(&mut port, 0, NOW), "one vote");
    // The other one too: as many failures as ever.
    worker.fails_for(&mut port, 0, 2, NOW);
    assert!(!other.healthy(&mut port, 0, NOW));

    // The other one was there a while ago.
    let (mut port, mut worker, mut other) = two(PASSIVE);
    other.answers(&mut port, 2, NOW);
    other.tick(&mut port, NOW, &|_| None);
    let later = NOW + 10 * SECOND;
    (0..3).for_each(|_| worker.fails_for(&mut port, 0, 1, later));
    assert!(!worker.healthy(&mut port, 0, later));
}

#[test]
fn one_client_does_not_bring_back_an_ejection_and_two_do() {
    let (mut port, mut worker, _) = two(PASSIVE);
    (0..3).for_each(|_| worker.fails(&mut port, 0, NOW));
    let probing = NOW + 10 * SECOND;
    worker.answers(&mut port, 2, probing);
    worker.answers(&mut port, 3, probing);
    (0..9).for_each(|_| worker.fails_for(&mut port, 0, 1, probing));
    assert!(worker.healthy(&mut port, 0, probing));
    worker.fails_for(&mut port, 0, 2, probing);
    assert!(!worker.healthy(&mut port, 0, probing));
}

#[test]
fn clients_of_any_pools_take_a_bounded_record() {
    let (mut port, mut worker, _) = two(PASSIVE);
    let id = record::clients_id(&worker.pool());
    let foreign: Vec<u8> = (0..32 * 1000_u64).map(|byte| (byte % 251) as u8).collect();
    port.values.insert(
        keys::pool_clients(ScopeKey::default(), id).to_vec(),
        (foreign, 1),
    );
    worker.answers(&mut port, 1, NOW);
    worker.tick(&mut port, NOW, &|_| None);
    let (record, _) = &port.values[&keys::pool_clients(ScopeKey::default(), id)[..]];
    assert_eq!(record.len(), 32, "what is old goes");
    let writes = port.writes;
    worker.answers(&mut port, 1, NOW);
    worker.tick(&mut port, NOW, &|_| None);
    assert_eq!(port.writes, writes, "nothing new");
}

#[test]
fn any_bytes_are_a_record_that_keeps_its_bounds_and_the_entries_of_others() {
    let mut random = Random(7 << 20);
    for round in 0..300 {
        let (mut port, mut worker, mut other) = two(&both());
        let known = PoolHealth::new(&worker.pool());
        let length = match round % 10 {
            0 => random.below(300 * HealthEntry::SIZE as u64),
            _ => random.below(400),
        };
        let mut bytes: Vec<u8> = (0..length).map(|_| random.below(256) as u8).collect();
        let has_own = round % 2 == 0;
        if has_own {
            let targets = known.entries.iter().map(|entry| entry.id);
            let own: Vec<u64> = targets.chain([known.lease_id]).collect();
            for entry in bytes.chunks_exact_mut(HealthEntry::SIZE) {
                let id = own[random.below(5) as usize];
                if random.below(3) == 0 {
                    entry[..8].copy_from_slice(&id.to_le_bytes());
                }
            }
        }
        if round % 10 == 0 {
            // Young, so that none makes room for its age.
            for entry in bytes.chunks_exact_mut(HealthEntry::SIZE) {
                let changed_at = NOW - random.below(60) * SECOND;
                entry[8..16].copy_from_slice(&changed_at.get().to_le_bytes());
            }
        }
        let whole = bytes.len() / HealthEntry::SIZE * HealthEntry::SIZE;
        let entries = record::decode(Some(&bytes));
        assert!(record::encode(&entries) == bytes[..whole], "round {round}");

        port.values.insert(known.key.to_vec(), (bytes, 1));
        let was_healthy = worker.healthy(&mut port, 0, NOW);
        (0..3).for_each(|_| worker.fails(&mut port, 0, NOW));
        if !has_own {
            assert!(
                was_healthy && !worker.healthy(&mut port, 0, NOW),
                "round {round}"
            );
        }
        worker.tick(&mut port, NOW, &|_| Some(200));

        let (written, _) = &port.values[&known.key[..]];
        let written = record::decode(Some(written));
        let foreign: Vec<&HealthEntry> = written
            .iter()
            .filter(|entry| !known.ids.contains_key(&entry.id) && entry.id != known.lease_id)
            .collect();
        assert!(foreign.len() <= MAX_FOREIGN_ENTRIES + 4, "round {round}");
        for entry in foreign {
            assert!(entries.contains(entry), "round {round}: {entry:?}");
        }
        for target in 0..4 {
            let healthy = worker.healthy(&mut port, target, NOW);
            assert_eq!(
                other.healthy(&mut port, target, NOW),
                healthy,
                "round {round}"
            );
        }
    }
}

#[test]
fn a_pool_or_target_of_another_configuration_is_a_bug_and_changes_nothing() {
    let (mut port, mut worker, _) = two(&both());
    worker.fails(&mut port, 4, NOW);
    let elsewhere = Pool {
        index: crate::index::PoolIndex::new(1),
        ..Pool::default()
    };
    worker.health.refresh(&mut port, &elsewhere, NOW);
    let events = worker.health.take_events();
    let is_bug = |event: &HealthEvent| matches!(event, HealthEvent::Bug(_));
    assert!(events.len() == 2 && events.iter().all(is_bug), "{events:?}");
    assert_eq!((port.reads, port.writes), (0, 0));
}

#[cfg(not(target_arch = "wasm32"))] // threads
#[test]
fn workers_in_any_order_of_steps_eject_as_many_as_the_bound_allows_and_tell_it_once() {
    for seed in 0..60 {
        let (told, mut world) = interleaved(seed, 4, NOW, |turn| {
            let config = config(PASSIVE, &["a", "b", "c", "d"]);
            let mut health = Health::new(
                &config.pools,
                WorkerId::new(Seconds::ZERO, turn.worker as u32),
            );
            for round in 0..24 {
                health.refresh(turn, &config.pools[0], NOW);
                let target = TargetIndex::new(round % 4);
                health.on_outcome(
                    turn,
                    &config.pools[0],
                    target,
                    Outcome::Failure(Cause::NoConnection),
                    Clients::default(),
                    NOW,
                );
            }
            health.take_events().len()
        });
        assert_eq!(told.iter().sum::<usize>(), 2, "seed {seed}: {told:?}");
        let mut worker = Worker::new(&config(PASSIVE, &["a", "b", "c", "d"]), 9);
        let out = (0..4).filter(|target| !worker.healthy(&mut world.port, *target, NOW));
        assert_eq!(out.count(), 2, "seed {seed}");
    }
}

/// What becomes of a pool of so many targets, of which the first `dead` fail every connection and
/// the others answer: how many are healthy after each target was tried eight times.
fn healthy_after(health: &str, rest: &str, targets: usize, dead: usize) -> usize {
    let named: Vec<_> = (0..targets)
        .map(|name| format!(r#"{{"cluster": "{name}"}}"#))
        .collect();
    let text = format!(
        r#"{{"pools": {{"p": {{"health": {{{health}}}, {rest} "targets": [{}]}}, "s": {{"targets": [{{"cluster": "s"}}]}}}}}}"#,
        named.join(",")
    );
    let config = Rc::new(Config::load(text.as_bytes()).unwrap());
    let mut port = MemoryPort::default();
    let mut workers = [1, 2].map(|random| Worker::new(&config, random));
    for round in 0..8 {
        for target in 0..targets {
            let worker = &mut workers[round % 2];
            match target < dead {
                true => worker.fails(&mut port, target, NOW),
                false => worker.succeeds(&mut port, target, NOW),
            }
        }
    }
    // Three probes of each target, by the one worker that leads.
    let mut now = NOW;
    for _ in 0..40 {
        now += SECOND / 4;
        for worker in &mut workers {
            worker.tick(&mut port, now, &|target| (target >= dead).then_some(200));
        }
    }
    (0..targets)
        .filter(|target| workers[0].healthy(&mut port, *target, now))
        .count()
}

#[test]
fn all_targets_are_unhealthy_once_all_are_dead_wherever_the_pool_says_what_then() {
    const FAILOVER: &str = r#""failover": ["s"],"#;
    const RESPOND: &str = r#", "when_all_unhealthy": "respond_503""#;
    let passive = |percent: u32| {
        format!(r#""passive": {{"consecutive_failures": 3, "max_ejected_percent": {percent}}}"#)
    };
    let active = r#""active": {"path": "/", "interval": "1s", "timeout": "1s"}"#;
    let both = |percent| [&passive(percent), ", ", active].concat();
    for (health, rest, healthy) in [
        // Healthy of four, of which one, two, three and four are dead; and of one.
        (passive(50), FAILOVER, [3, 2, 2, 0, 0]),
        (passive(50) + RESPOND, "", [3, 2, 2, 0, 0]),
        (passive(25), FAILOVER, [3, 3, 3, 0, 0]),
        (passive(10), FAILOVER, [4, 4, 4, 0, 0]),
        (passive(100), FAILOVER, [3, 2, 1, 0, 0]),
        (passive(0), FAILOVER, [4, 4, 4, 4, 1]),
        // What is to happen is that all are used.
        (passive(50), "", [3, 2, 2, 2, 1]),
        (active.to_owned(), FAILOVER, [3, 2, 1, 0, 0]),
        (active.to_owned() + RESPOND, "", [3, 2, 1, 0, 0]),
        (active.to_owned(), "", [3, 2, 1, 0, 0]),
        (both(50), FAILOVER, [3, 2, 1, 0, 0]),
        (both(0) + RESPOND, "", [3, 2, 1, 0, 0]),
    ] {
        let of_four = [1, 2, 3, 4].map(|dead| healthy_after(&health, rest, 4, dead));
        let [a, b, c, d] = of_four;
        let seen = [a, b, c, d, healthy_after(&health, rest, 1, 1)];
        assert_eq!(seen, healthy, "{health} {rest}");
    }
}

/// The bound does not end because one client fails everywhere.
#[test]
fn one_client_does_not_bring_failover_about() {
    let text = format!(
        r#"{{"pools": {{"p": {{"health": {{{PASSIVE}, "when_all_unhealthy": "respond_503"}}, "targets": [{{"cluster": "a"}}, {{"cluster": "b"}}, {{"cluster": "c"}}, {{"cluster": "d"}}]}}}}}}"#
    );
    let config = Rc::new(Config::load(text.as_bytes()).unwrap());
    let (mut port, mut worker) = (MemoryPort::default(), Worker::new(&config, 1));
    worker.answers(&mut port, 2, NOW);
    for _ in 0..50 {
        (0..4).for_each(|target| worker.fails_for(&mut port, target, 1, NOW));
    }
    assert!((0..4).all(|target| worker.healthy(&mut port, target, NOW)));
    // Its failures, and those of a target that is dead.
    (0..3).for_each(|_| worker.fails(&mut port, 0, NOW));
    let healthy: Vec<_> = (0..4)
        .map(|target| worker.healthy(&mut port, target, NOW))
        .collect();
    assert_eq!(healthy, [false, true, true, true]);
}

/// The value of a gauge of the pool. None: there is none.
fn gauge(port: &MemoryPort, what: &str) -> Option<i64> {
    let name = format!("pointsman.pool.p.{what}");
    let known = port.gauges.iter().find(|(known, _)| *known == name);
    known.map(|(_, value)| *value)
}

fn healthy_of(port: &MemoryPort, targets: &[&str]) -> Vec<Option<i64>> {
    let of = |target: &&str| gauge(port, &format!("target.{target}.healthy"));
    targets.iter().map(of).collect()
}

fn show(port: &mut MemoryPort, worker: &mut Worker, now: Nanos) {
    let pools = worker.config.pools.clone();
    worker.health.show(port, &pools, now);
}

#[test]
fn gauges_show_the_health_of_each_target_whoever_changes_it() {
    const ALL: [&str; 4] = ["a", "b", "c", "d"];
    let (mut port, mut one, mut other) = two(PASSIVE);
    show(&mut port, &mut one, NOW);
    assert_eq!(healthy_of(&port, &ALL), [Some(1); 4], "before any request");
    assert_eq!(gauge(&port, "healthy_targets"), Some(4));
    assert_eq!(gauge(&port, "targets"), Some(4));
    let defined = port.gauges.len();
    show(&mut port, &mut other, NOW);
    assert_eq!(port.gauges.len(), defined);
    (0..3).for_each(|_| other.fails(&mut port, 1, NOW));
    let out = [Some(1), Some(0), Some(1), Some(1)];
    assert_eq!(healthy_of(&port, &ALL), out, "at once");
    assert_eq!(gauge(&port, "healthy_targets"), Some(3));
    // An ejection ends by time, which any worker notices.
    let later = NOW + 11 * SECOND;
    show(&mut port, &mut one, later);
    assert_eq!(healthy_of(&port, &ALL), [Some(1); 4]);
    assert_eq!(gauge(&port, "healthy_targets"), Some(4));
    other.fails(&mut port, 1, later);
    assert_eq!(gauge(&port, "healthy_targets"), Some(3));
}

#[test]
fn gauges_are_right_after_a_worker_died_before_it_could_set_them() {
    let (mut port, mut one, mut other) = two(PASSIVE);
    show(&mut port, &mut one, NOW);
    let before = port.gauges.clone();
    (0..3).for_each(|_| one.fails(&mut port, 2, NOW));
    // What it had set is lost.
    port.gauges[..before.len()].clone_from_slice(&before);
    show(&mut port, &mut other, NOW);
    assert_eq!(healthy_of(&port, &["b", "c"]), [Some(1), Some(0)]);
    assert_eq!(gauge(&port, "healthy_targets"), Some(3));
    // The same where the record says that all are well and a gauge does not.
    let mut fresh = Worker::new(&other.config.clone(), 3);
    let (later, all) = (NOW + 11 * SECOND, ["a", "b", "c", "d"]);
    fresh.succeeds(&mut port, 2, later);
    let place = |name: &str| {
        port.gauges
            .iter()
            .position(|(known, _)| known.ends_with(name))
    };
    let (target, pool) = (
        place(".a.healthy").unwrap(),
        place("healthy_targets").unwrap(),
    );
    (port.gauges[target].1, port.gauges[pool].1) = (0, 3);
    show(&mut port, &mut fresh, later);
    assert_eq!(healthy_of(&port, &all), [Some(1); 4]);
}

#[test]
fn a_configuration_that_is_over_leaves_no_target_unhealthy() {
    let (mut port, mut one, _) = two(PASSIVE);
    (0..3).for_each(|_| one.fails(&mut port, 2, NOW));
    assert_eq!(healthy_of(&port, &["c"]), [Some(0)]);
    one.health.withdraw(&mut port);
    assert_eq!(healthy_of(&port, &["c"]), [Some(1)]);
    assert_eq!(gauge(&port, "healthy_targets"), gauge(&port, "targets"));
    // Another one with some of the targets.
    let mut next = Worker::new(&config(PASSIVE, &["a", "c"]), 4);
    show(&mut port, &mut next, NOW);
    assert_eq!(healthy_of(&port, &["a", "c"]), [Some(1), Some(0)]);
    assert_eq!(gauge(&port, "healthy_targets"), Some(1));
    assert_eq!(gauge(&port, "targets"), Some(2));
}

#[test]
fn a_change_says_why() {
    let (mut port, mut one, mut other) = two(&both());
    let why = |worker: &mut Worker| match worker.health.take_events()[..] {
        [HealthEvent::Changed { why, .. }] => why,
        ref events => panic!("{events:?}"),
    };
    one.fails(&mut port, 0, NOW);
    other.fails(&mut port, 0, NOW);
    one.fails(&mut port, 0, NOW);
    let expected = Why {
        count: 3,
        last: LastFailure::NoConnection,
        eject: 10 * SECOND,
    };
    assert_eq!(why(&mut one), expected);
    assert!(other.health.take_events().is_empty(), "one line");
    for second in 0..12 {
        one.tick(&mut port, NOW + second * SECOND, &|target| {
            Some(if target == 1 { 500 } else { 200 })
        });
    }
    let events = one.health.take_events();
    let told = events.iter().filter_map(|event| match event {
        HealthEvent::Changed { change, why, .. } => Some((*change, *why)),
        HealthEvent::Bug(_) => None,
    });
    let expected = [
        (HealthChange::Recovered, 2, LastFailure::Unknown),
        (HealthChange::Fell, 3, LastFailure::Status(500)),
    ]
    .map(|(change, count, last)| {
        let eject = Nanos::ZERO;
        (change, Why { count, last, eject })
    });
    assert_eq!(told.collect::<Vec<_>>(), expected);
}

use super::*;
use crate::config::Config;
use crate::port::memory::MemoryPort;
use crate::port::{Connection, Expected, SetFailed, Stats, Store, StoreFailed, Version};
use crate::shared::tests::Random;
#[cfg(not(target_arch = "wasm32"))]
use crate::shared::tests::interleaved;
use crate::time::Seconds;
use penalty::{PENALTY, PENALTY_STEP};
use std::net::IpAddr;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

pub(super) const SECOND: Nanos = Nanos::SECOND;

/// Some day.
pub(super) const NOW: Nanos = Nanos::from_secs(1_800_000_000);

/// One pool `p` of targets `t<from>` to before `t<to>`.
pub(super) fn config(from: usize, to: usize) -> Rc<Config> {
    let targets: Vec<_> = (from..to)
        .map(|target| format!(r#"{{"cluster": "t{target}"}}"#))
        .collect();
    let targets = targets.join(",");
    let json = format!(
        r#"{{"pools": {{"p": {{"targets": [{targets}]}}}}, "routes": [{{"name": "r", "pool": "p"}}]}}"#
    );
    Rc::new(Config::load(json.as_bytes()).unwrap())
}

/// A worker, and the targets of its requests in flight.
pub(super) struct Worker {
    pub(super) counts: InFlight,
    pool: Rc<Pool>,
    flights: Vec<usize>,
}

impl Worker {
    pub(super) fn new(config: &Rc<Config>, id: u64) -> Worker {
        Worker {
            counts: InFlight::new(&config.pools, WorkerId::new(Seconds::new(id), 0)),
            pool: config.pools[0].clone(),
            flights: Vec::new(),
        }
    }

    pub(super) fn begin(&mut self, port: &mut dyn Port, target: usize, now: Nanos) {
        let index = TargetIndex::new(target);
        self.counts.begin(port, &self.pool, index, now);
        self.flights.push(target);
    }

    /// Ends one of its requests, which a random number chooses. Returns its target.
    pub(super) fn end(
        &mut self,
        port: &mut dyn Port,
        random: u64,
        failed: bool,
        now: Nanos,
    ) -> Option<usize> {
        let place = (random as usize).checked_rem(self.flights.len())?;
        let target = self.flights.swap_remove(place);
        let index = TargetIndex::new(target);
        self.counts.end(port, &self.pool, index, failed, now);
        Some(target)
    }

    pub(super) fn tick(&mut self, port: &mut dyn Port, now: Nanos) {
        self.counts.tick(port, now);
    }

    /// As a choice of a target sees it.
    pub(super) fn of(&mut self, port: &mut dyn Port, target: usize) -> u32 {
        let index = TargetIndex::new(target);
        let own = self.counts.own(TargetRef {
            pool: self.pool.index,
            index,
        });
        let others = self.counts.others(port, &self.pool, index);
        others.saturating_add(own)
    }
}

/// What the gauge of a target says, to operators too.
pub(super) fn gauge(port: &MemoryPort, target: usize) -> i64 {
    let name = format!("pointsman.pool.p.target.t{target}.in_flight");
    port.gauges
        .iter()
        .find(|(known, _)| *known == name)
        .map_or(0, |(_, value)| *value)
}

/// A proxy that records the calls it gets.
#[derive(Default)]
struct Recorder {
    port: MemoryPort,
    calls: Vec<&'static str>,
    /// The gauges are not there, or they take nothing in.
    no_gauges: bool,
    null_gauges: bool,
    /// After this many calls at which a VM can trap, it does.
    trap: Option<u32>,
}

impl Recorder {
    fn call(&mut self, name: &'static str, can_trap: bool) {
        self.trap = self.trap.map(|left| match left {
            0 if can_trap => std::panic::resume_unwind(Box::new(())),
            left => left - u32::from(can_trap),
        });
        self.calls.push(name);
    }
}

impl Connection for Recorder {
    fn source_address(&mut self) -> Option<IpAddr> {
        None
    }
}

impl Store for Recorder {
    fn get(&mut self, key: &[u8]) -> Result<Option<(Vec<u8>, Version)>, StoreFailed> {
        self.call("read", true);
        self.port.get(key)
    }

    fn set(&mut self, key: &[u8], value: &[u8], expected: Expected) -> Result<(), SetFailed> {
        // Nothing that could fail comes before a write without a check: a CAS that was won, or
        // arithmetic.
        match expected {
            Expected::Any => self.call("write", false),
            _ => self.call("swap", true),
        }
        self.port.set(key, value, expected)
    }
}

impl Stats for Recorder {
    fn gauge(&mut self, name: &str) -> Option<Gauge> {
        self.call("define", true);
        if self.no_gauges {
            None
        } else {
            self.port.gauge(name)
        }
    }

    fn add(&mut self, gauge: Gauge, by: i64) {
        self.call("add", false);
        if !self.null_gauges {
            self.port.add(gauge, by);
        }
    }

    fn value(&mut self, gauge: Gauge) -> Option<i64> {
        self.call("value", true);
        self.port.value(gauge)
    }
}

#[test]
fn counts_are_exact_at_any_time_and_return_to_zero() {
    for seed in 0..4 {
        let (mut port, mut random, config) =
            (MemoryPort::default(), Random(seed << 32), config(0, 100));
        let mut workers: Vec<_> = (1..=8).map(|id| Worker::new(&config, id)).collect();
        let (mut now, mut counts, mut penalties) = (NOW, [0_u32; 100], Vec::new());
        for step in 0..100_000_u64 {
            // All workers tick once a second, of a thousand steps each.
            now += SECOND / 1000;
            let worker = &mut workers[random.below(8) as usize];
            let target = random.below(100).min(random.below(100)) as usize;
            if random.below(2) == 0 {
                worker.begin(&mut port, target, now);
                counts[target] += 1;
            } else {
                let failed = random.below(3) == 0;
                match worker.end(&mut port, random.below(1 << 40), failed, now) {
                    Some(target) if failed => penalties.push((now, target)),
                    Some(target) => counts[target] -= 1,
                    None => {}
                }
            }
            if step % 1000 < 8 {
                workers[step as usize % 8].tick(&mut port, now);
            }
            // All that failed before the last second's ticks is over; what failed within a
            // second is not.
            penalties.retain(|(then, target)| {
                let over = now - *then > 2 * SECOND + PENALTY_STEP;
                counts[*target] -= u32::from(over);
                !over
            });
            if step % 64 == 0 {
                let target = random.below(100) as usize;
                let seen = workers[random.below(8) as usize].of(&mut port, target);
                let maybe_over = |then: Nanos| now - then >= PENALTY;
                let open = penalties
                    .iter()
                    .filter(|(then, of)| *of == target && maybe_over(*then))
                    .count() as u32;
                assert!(
                    (counts[target] - open..=counts[target]).contains(&seen),
                    "seed {seed}, step {step}"
                );
            }
        }
        for worker in &mut workers {
            while worker.end(&mut port, 0, false, now).is_some() {}
            worker.tick(&mut port, now + 2 * SECOND);
        }
        assert!(
            port.gauges.len() >= 100 && port.gauges.iter().all(|(_, value)| *value == 0),
            "seed {seed}"
        );
        assert!(
            workers
                .iter_mut()
                .all(|worker| worker.counts.take_events().is_empty())
        );
        assert!(
            workers.iter().all(|worker| worker
                .counts
                .ledger
                .counts()
                .iter()
                .all(|byte| *byte == 0))
        );
    }
}

#[test]
fn a_request_in_steady_state_is_a_write_and_an_add_each_way() {
    let (mut port, config) = (Recorder::default(), config(0, 10));
    let mut worker = Worker::new(&config, 1);
    for step in 0..100 {
        if step % 10 == 0 {
            worker.tick(&mut port, NOW + step * SECOND / 10);
        }
        port.calls.clear();
        worker.begin(&mut port, 3, NOW + step * SECOND / 10);
        let way_in = std::mem::take(&mut port.calls);
        assert_eq!(worker.of(&mut port, 3), 1);
        let look = std::mem::take(&mut port.calls);
        worker.end(&mut port, 0, false, NOW + step * SECOND / 10);
        if step > 0 {
            assert_eq!(
                (&way_in[..], &look[..]),
                (&["write", "add"][..], &["value"][..])
            );
            assert_eq!(port.calls, ["write", "add"]);
        }
    }
    // The first request to another target asks for its gauge, writes its name for the ledger's new
    // count, and checks that the gauge takes it in. A mere comparison asks for the gauge.
    port.calls.clear();
    worker.begin(&mut port, 4, NOW + 10 * SECOND);
    assert_eq!(port.calls, ["define", "write", "write", "add", "value"]);
    port.calls.clear();
    worker.of(&mut port, 5);
    assert_eq!(port.calls, ["define", "value"]);
    // A tick is one read and one write of the table.
    port.calls.clear();
    worker.tick(&mut port, NOW + 10 * SECOND);
    assert_eq!(port.calls, ["read", "swap"]);
}

#[test]
fn a_busy_worker_shares_its_counts_each_5_ms_and_then_the_ledger_is_what_the_gauges_have() {
    const TARGETS: usize = 10;
    const GAP: Nanos = Nanos::new(50_000);
    let (mut port, config) = (Recorder::default(), config(0, TARGETS));
    let (mut worker, mut random) = (Worker::new(&config, 1), Random(1));
    (0..TARGETS).for_each(|target| worker.begin(&mut port, target, NOW));
    let gauges = |port: &Recorder| -> Vec<i64> {
        (0..TARGETS)
            .map(|target| gauge(&port.port, target))
            .collect()
    };
    let (mut own, mut shared_at) = ([1_i64; TARGETS], NOW);
    port.calls.clear();
    for step in 1..=20_000 {
        let now = NOW + GAP * step;
        let before = gauges(&port);
        if random.below(2) == 0 && worker.flights.len() > TARGETS {
            let ended = worker.end(&mut port, random.below(1 << 40), false, now);
            own[ended.unwrap()] -= 1;
        } else {
            let target = random.below(TARGETS as u64) as usize;
            worker.begin(&mut port, target, now);
            own[target] += 1;
        }
        let seen = gauges(&port);
        if seen == own {
            shared_at = now;
        } else {
            assert_eq!(seen, before, "step {step}: all at a time, or none");
        }
        assert!(now - shared_at <= Pace::INTERVAL, "step {step}");
        let (ledger, _) = &port.port.values[&b"pm1/ledg\0\0\0\0\0\0"[..]];
        let ledger: Vec<_> = ledger::counts(&ledger[8..]).map(i64::from).collect();
        assert_eq!(ledger, seen, "step {step}");
        let told = worker.of(&mut port, 3);
        assert_eq!(i64::from(told), own[3], "of its own it knows all");
    }
    let count = |what| port.calls.iter().filter(|call| **call == what).count();
    assert_eq!((count("read"), count("swap"), count("define")), (0, 0, 0));
    assert!((190..=230).contains(&count("write")), "{}", count("write"));
    assert!(count("add") <= TARGETS * count("write"));
    // What a quiet worker has not shared yet its next tick shares.
    let now = NOW + GAP * 20_001;
    (0..30).for_each(|_| worker.begin(&mut port, 5, now));
    assert_ne!(gauges(&port), own.to_vec());
    own[5] += 30;
    worker.counts.share(&mut port);
    assert_eq!(gauges(&port), own);
}

/// The root context of a configuration that was replaced gets no tick after its last request.
#[test]
fn a_worker_whose_last_request_is_over_has_shared_that() {
    let (mut port, config) = (Recorder::default(), config(0, 3));
    let mut worker = Worker::new(&config, 1);
    (0..3).for_each(|target| worker.begin(&mut port, target, NOW));
    let mut writes = 0;
    for _ in 0..1000 {
        (0..20).for_each(|request| worker.begin(&mut port, request % 3, NOW));
        port.calls.clear();
        while worker.end(&mut port, 1, false, NOW).is_some() {}
        writes += port.calls.iter().filter(|call| **call == "write").count();
        assert!(
            [0, 1, 2]
                .iter()
                .all(|target| gauge(&port.port, *target) == 0)
        );
    }
    assert!(writes <= 2 * Pace::BURST as usize, "{writes}");
}

/// Random interleavings of every host call, with ticks so frequent that workers expire all the time
/// although they are alive, and VMs that trap with requests in flight. A trap is between requests:
/// within one, the only host calls after which the sums would be wrong are followed at once by the
/// call that makes them right.
#[cfg(not(target_arch = "wasm32"))] // threads
#[test]
fn sums_are_exact_in_every_interleaving_with_traps_and_stalls() {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    const WORKERS: usize = 4;
    const TARGETS: usize = 3;
    let (mut rejoined, mut reclaimed) = (0, 0);
    for seed in 0..60 {
        let met = AtomicUsize::new(0);
        let alive = Mutex::new([0_i64; TARGETS]);
        let gauges = |port: &MemoryPort| [0, 1, 2].map(|target| gauge(port, target));
        let (events, world) = interleaved(seed, WORKERS, NOW, |turn| {
            let config = config(0, TARGETS);
            let number = turn.worker as u64 + 1;
            let mut worker = Worker::new(&config, number);
            let mut events = Vec::new();
            for step in 1..80 {
                let (random, target, which) = turn.step(|world| {
                    let random = &mut world.random;
                    (
                        random.below(24),
                        random.below(TARGETS as u64),
                        random.below(100),
                    )
                });
                match random {
                    // Not between a false expiry and the rejoining: what a worker counts then is
                    // in no ledger.
                    0 => {
                        worker.tick(turn, NOW);
                        if worker.counts.lease.held().is_some() {
                            events.extend(worker.counts.take_events());
                            worker = Worker::new(&config, number + 100 * step);
                        }
                    }
                    1..6 => worker.tick(turn, NOW),
                    6..16 => worker.begin(turn, target as usize, NOW),
                    _ => drop(worker.end(turn, which, false, NOW)),
                }
                events.extend(worker.counts.take_events());
            }
            let mut round = 0;
            let mut meet = |turn: &mut crate::shared::tests::Turn<'_>| {
                round += 1;
                turn.step(|_| met.fetch_add(1, Ordering::SeqCst));
                while turn.step(|_| met.load(Ordering::SeqCst)) < round * WORKERS {}
            };
            // In step, so that only workers that trapped expire, and all others rejoin.
            for _ in 0..8 {
                meet(turn);
                worker.tick(turn, NOW);
            }
            for target in &worker.flights {
                alive.lock().unwrap()[*target] += 1;
            }
            meet(turn);
            let seen = turn.step(|world| gauges(&world.port));
            assert_eq!(seen, *alive.lock().unwrap(), "seed {seed}");
            let told: Vec<_> = (0..TARGETS)
                .map(|target| i64::from(worker.of(turn, target)))
                .collect();
            assert_eq!(told, seen, "seed {seed}");
            meet(turn);
            while worker.end(turn, 0, false, NOW).is_some() {}
            events.extend(worker.counts.take_events());
            events
        });
        assert_eq!(gauges(&world.port), [0; 3], "seed {seed}");
        let count = |what: fn(&InFlightEvent) -> bool| {
            events.iter().flatten().filter(|event| what(event)).count()
        };
        rejoined += count(|event| *event == InFlightEvent::Rejoined);
        reclaimed += count(|event| matches!(event, InFlightEvent::Reclaimed(_)));
    }
    assert!(rejoined > 100 && reclaimed > 100, "{rejoined} {reclaimed}");
}

#[cfg(not(target_arch = "wasm32"))] // unwinding
#[test]
fn a_trap_in_the_middle_of_a_callback_leaves_no_count_behind() {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    for calls in 0..1000 {
        let (mut port, config) = (Recorder::default(), config(0, 70));
        let mut trapped_before = Worker::new(&config, 1);
        (0..70).for_each(|target| trapped_before.begin(&mut port, target, NOW));
        port.trap = Some(calls);
        let trapped = catch_unwind(AssertUnwindSafe(|| {
            let mut worker = Worker::new(&config, 2);
            for step in 1..=5 {
                let now = NOW + step * SECOND;
                worker.begin(&mut port, step as usize, now);
                worker.begin(&mut port, 69, now);
                worker.end(&mut port, step, step % 2 == 0, now);
                worker.tick(&mut port, now);
            }
        }));
        port.trap = None;
        let mut survivor = Worker::new(&config, 3);
        (6..12).for_each(|step| survivor.tick(&mut port, NOW + step * SECOND));
        assert!(
            port.port.gauges.iter().all(|(_, value)| *value == 0),
            "after {calls} calls"
        );
        if trapped.is_ok() {
            assert!(calls > 20, "{calls}");
            return;
        }
    }
    panic!("the script is longer than that");
}

#[test]
fn without_gauges_a_worker_uses_its_own_counts() {
    for null_gauges in [true, false] {
        let (mut port, config) = (Recorder::default(), config(0, 3));
        (port.null_gauges, port.no_gauges) = (null_gauges, !null_gauges);
        let (mut worker, mut other) = (Worker::new(&config, 1), Worker::new(&config, 2));
        for request in 0..6 {
            worker.begin(&mut port, request % 2, NOW);
        }
        other.begin(&mut port, 0, NOW);
        assert_eq!(
            [0, 1, 2].map(|target| worker.of(&mut port, target)),
            [3, 3, 0]
        );
        assert_eq!(other.of(&mut port, 0), 1);
        for worker in [&mut worker, &mut other] {
            assert_eq!(
                worker.counts.take_events(),
                [InFlightEvent::NoGauges],
                "told once"
            );
        }
        while worker.end(&mut port, 0, false, NOW).is_some() {}
        assert_eq!(worker.of(&mut port, 0), 0);
        // Nor does it matter to a worker that takes it for expired.
        (1..=5).for_each(|tick| other.tick(&mut port, NOW + tick * SECOND));
        assert_eq!(other.of(&mut port, 0), 1);
    }
}

/// Workers of two releases share records during a hot restart.
#[test]
fn records_are_the_bytes_of_the_first_release() {
    let (mut port, config) = (MemoryPort::default(), config(0, 3));
    let mut worker = Worker::new(&config, 0x0102_0304);
    for target in [2, 0, 2] {
        worker.begin(&mut port, target, NOW);
    }
    worker.tick(&mut port, NOW);
    let record = |port: &MemoryPort, key: &[u8]| port.values[key].0.escape_ascii().to_string();
    let bytes = |bytes: &[u8]| bytes.escape_ascii().to_string();
    assert_eq!(
        record(&port, b"pm1/hold"),
        bytes(b"\x01\0\0\0\x04\x03\x02\x01\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0")
    );
    let counts = bytes(b"\x01\0\0\0\x04\x03\x02\x01\x02\0\0\0\x01\0\0\0");
    assert_eq!(record(&port, b"pm1/ledg\0\0\0\0\0\0"), counts);
    let names = b"\x01\0\0\0\x04\x03\x02\x01\
        \x24\0\0\0pointsman.pool.p.target.t2.in_flight\
        \x24\0\0\0pointsman.pool.p.target.t0.in_flight";
    assert_eq!(record(&port, b"pm1/name\0\0\0\0\0\0"), bytes(names));
    // Another worker takes it for expired. It has served nothing, so it has no slot itself.
    let mut other = Worker::new(&config, 0x0506_0708);
    for second in 0..4 {
        other.tick(&mut port, NOW + second * SECOND);
    }
    let freed = (NOW + 3 * SECOND).get().to_le_bytes();
    assert_eq!(
        record(&port, b"pm1/hold"),
        bytes(b"\x01\0\0\0\x04\x03\x02\x01\0\0\0\0\0\0\0\0") + &bytes(&freed)
    );
    assert_eq!(record(&port, b"pm1/took\0\0\0\0\0\0"), counts);
    let owners = port
        .values
        .keys()
        .find(|key| key.starts_with(b"pm3/gauge/"));
    assert!(owners.is_some());
    assert_eq!(port.values.len(), 5);
}

#[test]
fn damaged_values_and_unpaired_calls_do_no_harm() {
    let (mut port, config) = (MemoryPort::default(), config(0, 3));
    let mut worker = Worker::new(&config, 1);
    for (value, seen) in [(-5, 0), (0, 0), (7, 7), (1 << 40, u32::MAX), (i64::MIN, 0)] {
        let name = "pointsman.pool.p.target.t0.in_flight";
        let handle = port.gauge(name).unwrap();
        port.gauges[handle.0 as usize].1 = value;
        assert_eq!(worker.of(&mut port, 0), seen);
    }
    // A target that is none, and an end without a beginning, count nothing, and are reported.
    worker.begin(&mut port, 3, NOW);
    worker
        .counts
        .end(&mut port, &config.pools[0], TargetIndex::new(3), false, NOW);
    worker
        .counts
        .end(&mut port, &config.pools[0], TargetIndex::new(1), false, NOW);
    worker.begin(&mut port, 1, NOW);
    (0..2).for_each(|_| {
        worker
            .counts
            .end(&mut port, &config.pools[0], TargetIndex::new(1), false, NOW)
    });
    assert_eq!(
        (
            gauge(&port, 1),
            worker.of(&mut port, 1),
            worker.of(&mut port, 3)
        ),
        (0, 0, 0)
    );
    let no_target = "a request began at a target that no pool has";
    let no_beginning = "a request ended at a target where none began";
    let too_many_ends = "more requests ended at a target than began there";
    assert_eq!(
        worker.counts.take_events(),
        [no_target, no_beginning, no_beginning, too_many_ends].map(InFlightEvent::Bug)
    );
    // Records that are none are as if they were not there.
    let mut other = Worker::new(&config, 2);
    worker.begin(&mut port, 1, NOW);
    let keys: Vec<_> = port.values.keys().cloned().collect();
    for junk in [&b""[..], b"x", &[255; 100]] {
        for key in &keys {
            port.set(key, junk, Expected::Any).unwrap();
        }
        (1..9).for_each(|tick| other.tick(&mut port, NOW + tick * SECOND));
        other.begin(&mut port, 2, NOW + 9 * SECOND);
    }
    assert_eq!(
        [1, 2].map(|target| other.of(&mut port, target) > 0),
        [true; 2]
    );
}

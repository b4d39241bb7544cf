use super::*;
use crate::config::Config;
use crate::port::{Connection, SetFailed, Stats, Store, StoreFailed, Version};
#[cfg(not(target_arch = "wasm32"))]
use crate::shared::tests::interleaved;
use crate::shared::tests::{Dice, Map};
use crate::time::Seconds;
use std::net::IpAddr;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const SECOND: Nanos = Nanos::SECOND;

/// Some day.
const NOW: Nanos = Nanos::from_secs(1_800_000_000);

/// One pool `p` of targets `t<from>` to before `t<to>`.
fn config(from: usize, to: usize) -> Rc<Config> {
    let targets: Vec<_> = (from..to)
        .map(|target| format!(r#"{{"cluster": "t{target}"}}"#))
        .collect();
    let targets = targets.join(",");
    let json = format!(
        r#"{{"pools": {{"p": {{"targets": [{targets}]}}}}, "routes": [{{"name": "r", "pool": "p"}}]}}"#
    );
    Rc::new(Config::load(json.as_bytes()).unwrap())
}

/// A worker with what it has in flight.
struct Worker {
    counts: InFlight,
    pool: Rc<Pool>,
    flights: Vec<usize>,
}

impl Worker {
    fn new(config: &Rc<Config>, holder: u64) -> Worker {
        Worker {
            counts: InFlight::new(&config.pools, WorkerId::new(Seconds::new(holder), 0)),
            pool: config.pools[0].clone(),
            flights: Vec::new(),
        }
    }

    fn begin(&mut self, port: &mut dyn Port, target: usize, now: Nanos) {
        let index = TargetIndex::new(target);
        self.counts.begin(port, &self.pool, index, now);
        self.flights.push(target);
    }

    /// Ends one of its requests, whichever the dice say.
    fn end(&mut self, port: &mut dyn Port, roll: u64, failed: bool, now: Nanos) -> Option<usize> {
        let place = (roll as usize).checked_rem(self.flights.len())?;
        let target = self.flights.swap_remove(place);
        let index = TargetIndex::new(target);
        self.counts.end(port, &self.pool, index, failed, now);
        Some(target)
    }

    fn tick(&mut self, port: &mut dyn Port, now: Nanos) {
        self.counts.tick(port, now);
    }

    fn of(&mut self, port: &mut dyn Port, target: usize) -> u32 {
        self.counts.of(port, &self.pool, TargetIndex::new(target))
    }
}

/// What the gauge of a target says, to operators too.
fn gauge(map: &Map, target: usize) -> i64 {
    let name = format!("pointsman.pool.p.target.t{target}.in_flight");
    map.gauges
        .iter()
        .find(|(known, _)| *known == name)
        .map_or(0, |(_, value)| *value)
}

#[test]
fn counts_are_exact_at_any_time_and_return_to_zero() {
    for seed in 0..4 {
        let (mut map, mut dice, config) = (Map::default(), Dice(seed << 32), config(0, 100));
        let mut workers: Vec<_> = (1..=8).map(|holder| Worker::new(&config, holder)).collect();
        let (mut now, mut counts, mut penalties) = (NOW, [0_u32; 100], Vec::new());
        for step in 0..100_000_u64 {
            // All workers tick once a second, of a thousand steps each.
            now += SECOND / 1000;
            let worker = &mut workers[dice.roll(8) as usize];
            let target = dice.roll(100).min(dice.roll(100)) as usize;
            if dice.roll(2) == 0 {
                worker.begin(&mut map, target, now);
                counts[target] += 1;
            } else {
                let failed = dice.roll(3) == 0;
                match worker.end(&mut map, dice.roll(1 << 40), failed, now) {
                    Some(target) if failed => penalties.push((now, target)),
                    Some(target) => counts[target] -= 1,
                    None => {}
                }
            }
            if step % 1000 < 8 {
                workers[step as usize % 8].tick(&mut map, now);
            }
            // All that failed before the last second's ticks is over; what failed within a
            // second is not.
            penalties.retain(|(then, target)| {
                let over = now - *then > 2 * SECOND + PENALTY_STEP;
                counts[*target] -= u32::from(over);
                !over
            });
            if step % 64 == 0 {
                let target = dice.roll(100) as usize;
                let seen = workers[dice.roll(8) as usize].of(&mut map, target);
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
            while worker.end(&mut map, 0, false, now).is_some() {}
            worker.tick(&mut map, now + 2 * SECOND);
        }
        assert!(
            map.gauges.len() >= 100 && map.gauges.iter().all(|(_, value)| *value == 0),
            "seed {seed}"
        );
        assert!(
            workers
                .iter_mut()
                .all(|worker| worker.counts.take_events().is_empty())
        );
        assert!(
            workers
                .iter()
                .all(|worker| worker.counts.own_counts().iter().all(|byte| *byte == 0))
        );
    }
}

/// Found by the fuzz target `records`. This is all that two faults within the same seconds can
/// cost.
#[test]
fn who_is_taken_for_dead_and_traps_before_it_knows_loses_what_it_counted_since_and_no_more() {
    let (mut map, config) = (Map::default(), config(0, 1));
    let mut workers = [1, 2].map(|holder| Worker::new(&config, holder));
    let [hangs, lives] = &mut workers;
    hangs.begin(&mut map, 0, NOW);
    lives.begin(&mut map, 0, NOW);
    for second in 1..=u64::from(PATIENCE) + 1 {
        lives.tick(&mut map, NOW + second * SECOND);
    }
    assert_eq!(gauge(&map, 0), 1, "what it had is taken back");
    // Its clock stands where it hung; a later one would tell it.
    hangs.begin(&mut map, 0, NOW);
    hangs.begin(&mut map, 0, NOW);
    lives.end(&mut map, 0, false, NOW + 5 * SECOND);
    for second in 6..60 {
        lives.tick(&mut map, NOW + second * SECOND);
    }
    assert_eq!(gauge(&map, 0), 2);
}

/// Found by the fuzz target `records`. Three faults: a worker hangs for longer than its slot
/// rests, the next owner of the slot dies with requests in flight, and only then the first one
/// finds out.
#[test]
fn who_hangs_until_its_note_is_gone_puts_back_what_it_has_itself() {
    let (mut map, config) = (Map::default(), config(0, 1));
    let mut workers = [1, 2, 3].map(|holder| Worker::new(&config, holder));
    let [hangs, lives, dies] = &mut workers;
    let mut second = 0;
    let mut pass = |lives: &mut Worker, map: &mut Map, seconds: u64| {
        for _ in 0..seconds {
            second += 1;
            lives.tick(map, NOW + second * SECOND);
        }
        NOW + second * SECOND
    };
    lives.begin(&mut map, 0, NOW);
    hangs.begin(&mut map, 0, NOW);
    pass(lives, &mut map, u64::from(PATIENCE) + 1);
    // Nobody took this one back, and it will be put back with the other.
    hangs.begin(&mut map, 0, NOW);
    let now = pass(lives, &mut map, REST / SECOND + 1);
    dies.begin(&mut map, 0, now);
    let now = pass(lives, &mut map, u64::from(PATIENCE) + 1);
    assert_eq!(gauge(&map, 0), 2, "one lives, one was not taken");
    hangs.tick(&mut map, now);
    assert_eq!(gauge(&map, 0), 2 + 2);
    while hangs.end(&mut map, 0, false, now).is_some() {}
    lives.end(&mut map, 0, false, now);
    assert_eq!(gauge(&map, 0), 1, "what it counted before it knew");
}

/// A proxy whose calls are watched.
#[derive(Default)]
struct Watched {
    map: Map,
    calls: Vec<&'static str>,
    /// The gauges are not there, or they take nothing in.
    no_gauges: bool,
    null_gauges: bool,
    /// After so many calls at which a VM can trap, it does.
    trap: Option<u32>,
}

impl Watched {
    fn call(&mut self, name: &'static str, can_trap: bool) {
        self.trap = self.trap.map(|left| match left {
            0 if can_trap => std::panic::resume_unwind(Box::new(())),
            left => left - u32::from(can_trap),
        });
        self.calls.push(name);
    }
}

impl Connection for Watched {
    fn source_address(&mut self) -> Option<IpAddr> {
        None
    }
}

impl Store for Watched {
    fn get(&mut self, key: &[u8]) -> Result<Option<(Vec<u8>, Version)>, StoreFailed> {
        self.call("read", true);
        self.map.get(key)
    }

    fn set(&mut self, key: &[u8], value: &[u8], expected: Expected) -> Result<(), SetFailed> {
        // Before a blind write comes nothing that could fail: a CAS that was won, or
        // arithmetic.
        match expected {
            Expected::Any => self.call("write", false),
            _ => self.call("swap", true),
        }
        self.map.set(key, value, expected)
    }
}

impl Stats for Watched {
    fn gauge(&mut self, name: &str) -> Option<Gauge> {
        self.call("define", true);
        if self.no_gauges {
            None
        } else {
            self.map.gauge(name)
        }
    }

    fn add(&mut self, gauge: Gauge, by: i64) {
        self.call("add", false);
        if !self.null_gauges {
            self.map.add(gauge, by);
        }
    }

    fn value(&mut self, gauge: Gauge) -> Option<i64> {
        self.call("value", true);
        self.map.value(gauge)
    }
}

#[test]
fn a_request_in_steady_state_is_a_write_and_an_add_each_way() {
    let (mut port, config) = (Watched::default(), config(0, 10));
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
    // The first request to another target asks for its gauge, says whose the ledger's new place
    // is, and looks whether the gauge takes it in. A mere look asks for the gauge.
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

/// Random interleavings of every host call, with ticks so frequent that the living are taken
/// for dead all the time, and VMs that trap with requests in flight. A trap is between
/// requests: within one, the only host calls after which the sums would be wrong are followed
/// at once by the call that makes them right.
#[cfg(not(target_arch = "wasm32"))] // threads
#[test]
fn sums_are_exact_in_every_interleaving_with_traps_and_stalls() {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    const WORKERS: usize = 4;
    const TARGETS: usize = 3;
    let (mut revived, mut reaped) = (0, 0);
    for seed in 0..60 {
        let met = AtomicUsize::new(0);
        let alive = Mutex::new([0_i64; TARGETS]);
        let gauges = |map: &Map| [0, 1, 2].map(|target| gauge(map, target));
        let (events, world) = interleaved(seed, WORKERS, NOW, |turn| {
            let config = config(0, TARGETS);
            let number = turn.worker as u64 + 1;
            let mut worker = Worker::new(&config, number);
            let mut events = Vec::new();
            for step in 1..80 {
                let (dice, target, which) = turn.step(|world| {
                    let dice = &mut world.dice;
                    (dice.roll(24), dice.roll(TARGETS as u64), dice.roll(100))
                });
                match dice {
                    // Not while it is taken for dead and has not found out: what such a one
                    // counts is in no ledger.
                    0 => {
                        worker.tick(turn, NOW);
                        if worker.counts.slot().is_some() {
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
            // In step, so that nobody alive is taken for dead any more: the dead are, and the
            // rest puts things right.
            for _ in 0..8 {
                meet(turn);
                worker.tick(turn, NOW);
            }
            for target in &worker.flights {
                alive.lock().unwrap()[*target] += 1;
            }
            meet(turn);
            let seen = turn.step(|world| gauges(&world.map));
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
        assert_eq!(gauges(&world.map), [0; 3], "seed {seed}");
        let count =
            |what: fn(&Event) -> bool| events.iter().flatten().filter(|event| what(event)).count();
        revived += count(|event| *event == Event::Revived);
        reaped += count(|event| matches!(event, Event::Reaped(_)));
    }
    assert!(revived > 100 && reaped > 100, "{revived} {reaped}");
}

#[cfg(not(target_arch = "wasm32"))] // unwinding
#[test]
fn a_trap_in_the_middle_of_a_callback_leaves_nothing_behind() {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    for calls in 0..1000 {
        let (mut port, config) = (Watched::default(), config(0, 70));
        let mut dead = Worker::new(&config, 1);
        (0..70).for_each(|target| dead.begin(&mut port, target, NOW));
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
        let mut heir = Worker::new(&config, 3);
        (6..12).for_each(|step| heir.tick(&mut port, NOW + step * SECOND));
        assert!(
            port.map.gauges.iter().all(|(_, value)| *value == 0),
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
fn what_the_dead_had_is_back_within_five_ticks_and_the_living_keep_theirs() {
    for workers in 1..4 {
        let (mut map, config) = (Map::default(), config(0, 200));
        let mut worker = Worker::new(&config, 1);
        (0..500).for_each(|request| worker.begin(&mut map, request % 200, NOW));
        // A VM that trapped is followed by a fresh one; other configurations may not even have
        // its targets.
        let others = self::config(150, 250);
        let mut alive: Vec<_> = (0..workers)
            .map(|number| Worker::new(&others, number + 2))
            .collect();
        alive
            .iter_mut()
            .for_each(|worker| worker.begin(&mut map, 0, NOW));
        for tick in 1..=100 {
            // The clock jumps about: that does nothing.
            let now = NOW + [0, 7200, 1, 3600][tick as usize % 4] * SECOND;
            alive
                .iter_mut()
                .for_each(|worker| worker.tick(&mut map, now));
            if tick < PATIENCE {
                assert_eq!(gauge(&map, 0), 3, "tick {tick}");
            }
            if tick >= 5 {
                for target in 0..200 {
                    let own = if target == 150 { workers as i64 } else { 0 };
                    assert_eq!(gauge(&map, target), own, "tick {tick}, target {target}");
                }
            }
        }
        let events: Vec<_> = alive
            .iter_mut()
            .flat_map(|worker| worker.counts.take_events())
            .collect();
        assert_eq!(events, [Event::Reaped(500)]);
    }
}

#[test]
fn who_was_taken_for_dead_puts_back_exactly_what_was_taken() {
    for by_a_tick in [true, false] {
        let (mut map, config) = (Map::default(), config(0, 3));
        let (mut hung, mut other) = (Worker::new(&config, 1), Worker::new(&config, 2));
        let mut now = NOW;
        for time in 1..4 {
            (0..5).for_each(|_| hung.begin(&mut map, 1, now));
            other.begin(&mut map, 1, now);
            for _ in 0..5 {
                now += SECOND;
                other.tick(&mut map, now);
            }
            assert_eq!(gauge(&map, 1), time, "what the hung one had is off");
            assert_eq!(other.counts.take_events(), [Event::Reaped(5 * time as u32)]);
            // It goes on where it was, and does not know. What comes meanwhile was not taken.
            if by_a_tick {
                let then = now - 5 * SECOND;
                hung.begin(&mut map, 1, then);
                hung.end(&mut map, 0, false, then);
                hung.end(&mut map, 0, false, then);
                assert_eq!(gauge(&map, 1), time - 1);
                assert_eq!(other.of(&mut map, 2), 0);
                hung.tick(&mut map, now);
            } else {
                // No tick comes, but a request: it looks first.
                hung.end(&mut map, 0, false, now);
            }
            assert_eq!(hung.counts.take_events(), [Event::Revived]);
            assert_eq!(gauge(&map, 1), 6 * time - 1);
            hung.begin(&mut map, 1, now);
        }
        // Its new ledger is right too.
        drop(hung);
        (1..=5).for_each(|tick| other.tick(&mut map, now + tick * SECOND));
        assert_eq!((gauge(&map, 1), other.of(&mut map, 1)), (3, 3));
    }
}

#[test]
fn without_gauges_a_worker_goes_by_its_own_counts() {
    for null_gauges in [true, false] {
        let (mut port, config) = (Watched::default(), config(0, 3));
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
            assert_eq!(worker.counts.take_events(), [Event::NoGauges], "told once");
        }
        while worker.end(&mut port, 0, false, NOW).is_some() {}
        assert_eq!(worker.of(&mut port, 0), 0);
        // Nor does it matter to who takes it for dead.
        (1..=5).for_each(|tick| other.tick(&mut port, NOW + tick * SECOND));
        assert_eq!(other.of(&mut port, 0), 1);
    }
}

#[test]
fn without_a_slot_a_worker_goes_by_its_own_counts_until_there_is_one() {
    let (mut map, config) = (Map::default(), config(0, 3));
    let table = (0..MAX_SLOTS as u64)
        .flat_map(|nonce| [nonce, 1, 1])
        .flat_map(u64::to_le_bytes);
    map.set(HOLDERS, &table.collect::<Vec<_>>(), Expected::Any)
        .unwrap();
    let (mut worker, mut other) = (Worker::new(&config, 1), Worker::new(&config, 2));
    (0..5).for_each(|_| worker.begin(&mut map, 1, NOW));
    other.begin(&mut map, 1, NOW);
    assert_eq!(
        (
            worker.of(&mut map, 1),
            other.of(&mut map, 1),
            gauge(&map, 1)
        ),
        (5, 1, 0)
    );
    let reads = map.reads;
    (0..100).for_each(|_| worker.begin(&mut map, 2, NOW));
    assert_eq!(map.reads, reads, "it asks for a slot once a tick");
    // The table's holders are dead; each worker buries as many as it may in a tick, and the
    // slots rest.
    for tick in 1..=60 {
        worker.tick(&mut map, NOW + tick * SECOND);
        other.tick(&mut map, NOW + tick * SECOND);
        if tick < 30 {
            assert_eq!(gauge(&map, 1), 0, "tick {tick}");
        }
    }
    assert_eq!(gauge(&map, 1), 6);
    assert_eq!([1, 2].map(|target| worker.of(&mut map, target)), [6, 100]);
    assert_eq!(worker.counts.take_events(), [Event::NoSlot], "told once");
    assert_eq!(map.values[HOLDERS].0.len(), SLOT * MAX_SLOTS);
}

/// Targets change with each reload. The old root contexts live on for a while and end their
/// requests, unless their VM traps.
#[test]
fn a_thousand_reloads_need_no_more_keys_than_a_few() {
    const WORKERS: u64 = 3;
    for (seed, seconds, few) in [(0, 40, 10), (1, 5, 20)] {
        let (mut map, mut dice, mut now, mut keys) = (Map::default(), Dice(seed << 32), NOW, 0);
        let mut old = Vec::<Worker>::new();
        for reload in 0..1000 {
            let from = (reload * 7 % 50) as usize;
            let config = config(from, from + 20);
            let holders = reload * WORKERS + 1..=(reload + 1) * WORKERS;
            let mut workers: Vec<_> = holders.map(|holder| Worker::new(&config, holder)).collect();
            for worker in &mut workers {
                (0..30).for_each(|request| worker.begin(&mut map, request % 20, now));
            }
            for second in 0..seconds {
                now += SECOND;
                workers
                    .iter_mut()
                    .for_each(|worker| worker.tick(&mut map, now));
                if second == 0 {
                    for mut worker in old.drain(..).filter(|_| dice.roll(10) > 0) {
                        while worker.end(&mut map, 0, false, now).is_some() {}
                    }
                }
            }
            old = workers;
            if reload == few {
                keys = map.values.len();
            }
        }
        assert_eq!(map.values.len(), keys, "with {seconds} s between reloads");
        // Of each slot a ledger, its names, a note, and room for all that rest.
        assert!(
            keys <= 1 + 3 * WORKERS as usize * (2 + 40 / seconds as usize),
            "{keys}"
        );
        let mut last = Worker::new(&config(0, 70), 1 << 20);
        old.clear();
        (1..=5).for_each(|tick| last.tick(&mut map, now + tick * SECOND));
        assert!(map.gauges.iter().all(|(_, value)| *value == 0));
    }
}

#[test]
fn a_failed_request_keeps_its_place_for_a_second() {
    let (mut map, config) = (Map::default(), config(0, 3));
    let mut worker = Worker::new(&config, 1);
    for _ in 0..3 {
        worker.begin(&mut map, 1, NOW);
    }
    worker.end(&mut map, 0, true, NOW);
    worker.end(&mut map, 0, true, NOW + SECOND / 2);
    worker.end(&mut map, 0, false, NOW + SECOND / 2);
    assert_eq!(worker.of(&mut map, 1), 2);
    for (now, left) in [
        (SECOND - Nanos::new(1), 2),
        (SECOND + PENALTY_STEP, 1),
        (SECOND * 3 / 2, 1),
        (3 * SECOND, 0),
    ] {
        worker.tick(&mut map, NOW + now);
        assert_eq!(
            (worker.of(&mut map, 1), gauge(&map, 1)),
            (left, left.into()),
            "{now:?}"
        );
    }
    // Requests release penalties too; and a clock that is set back far keeps nothing.
    for later in [4 * SECOND, Nanos::ZERO] {
        worker.begin(&mut map, 1, NOW + 2 * SECOND);
        worker.end(&mut map, 1, true, NOW + 2 * SECOND);
        assert_eq!(worker.of(&mut map, 1), 1);
        worker.begin(&mut map, 2, NOW + later);
        assert_eq!(worker.of(&mut map, 1), 0);
    }
    // However many fail, what is remembered is bounded.
    for request in 0..100_000 {
        worker.begin(&mut map, request % 3, NOW);
        worker.end(
            &mut map,
            0,
            true,
            NOW + (request as u64 * SECOND / 2000) % SECOND,
        );
    }
    assert!(
        worker.counts.penalties.len() <= 3 * 12,
        "{}",
        worker.counts.penalties.len()
    );
}

#[test]
fn strange_values_do_no_harm() {
    let (mut map, config) = (Map::default(), config(0, 3));
    let mut worker = Worker::new(&config, 1);
    for (value, seen) in [(-5, 0), (0, 0), (7, 7), (1 << 40, u32::MAX), (i64::MIN, 0)] {
        let name = "pointsman.pool.p.target.t0.in_flight";
        let handle = map.gauge(name).unwrap();
        map.gauges[handle.0 as usize].1 = value;
        assert_eq!(worker.of(&mut map, 0), seen);
    }
    // A target that is none, and an end without a beginning, count nothing.
    worker.begin(&mut map, 3, NOW);
    worker
        .counts
        .end(&mut map, &config.pools[0], TargetIndex::new(3), false, NOW);
    worker
        .counts
        .end(&mut map, &config.pools[0], TargetIndex::new(1), false, NOW);
    worker.begin(&mut map, 1, NOW);
    (0..2).for_each(|_| {
        worker
            .counts
            .end(&mut map, &config.pools[0], TargetIndex::new(1), false, NOW)
    });
    assert_eq!(
        (
            gauge(&map, 1),
            worker.of(&mut map, 1),
            worker.of(&mut map, 3)
        ),
        (0, 0, 0)
    );
    // Records that are none are as if they were not there.
    let mut other = Worker::new(&config, 2);
    worker.begin(&mut map, 1, NOW);
    let keys: Vec<_> = map.values.keys().cloned().collect();
    for junk in [&b""[..], b"x", &[255; 100]] {
        for key in &keys {
            map.set(key, junk, Expected::Any).unwrap();
        }
        (1..9).for_each(|tick| other.tick(&mut map, NOW + tick * SECOND));
        other.begin(&mut map, 2, NOW + 9 * SECOND);
    }
    assert_eq!(
        [1, 2].map(|target| other.of(&mut map, target) > 0),
        [true; 2]
    );
}

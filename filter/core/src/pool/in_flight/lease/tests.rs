use crate::pool::in_flight::InFlightEvent;
use crate::pool::in_flight::slots::{MAX_SLOTS, MISSED_HEARTBEATS, SLOT_QUARANTINE, Slot};
use crate::pool::in_flight::tests::{NOW, SECOND, Worker, config, gauge};
use crate::port::{Expected, Store};
use crate::shared::keys::WORKER_SLOTS;
use crate::shared::record::Entry;
use crate::shared::tests::Map;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[test]
fn after_a_false_expiry_a_worker_adds_again_exactly_what_was_subtracted() {
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
            assert_eq!(gauge(&map, 1), time, "its counts are subtracted");
            assert_eq!(
                other.counts.take_events(),
                [InFlightEvent::Reclaimed(5 * time as u32)]
            );
            // It goes on where it was, and has not noticed. What it counts now was not subtracted.
            if by_a_tick {
                let then = now - 5 * SECOND;
                hung.begin(&mut map, 1, then);
                hung.end(&mut map, 0, false, then);
                hung.end(&mut map, 0, false, then);
                assert_eq!(gauge(&map, 1), time - 1);
                assert_eq!(other.of(&mut map, 2), 0);
                hung.tick(&mut map, now);
            } else {
                // No tick comes, but a request: it sends a heartbeat first.
                hung.end(&mut map, 0, false, now);
            }
            assert_eq!(hung.counts.take_events(), [InFlightEvent::Rejoined]);
            assert_eq!(gauge(&map, 1), 6 * time - 1);
            hung.begin(&mut map, 1, now);
        }
        // Its new ledger is right too.
        drop(hung);
        (1..=5).for_each(|tick| other.tick(&mut map, now + tick * SECOND));
        assert_eq!((gauge(&map, 1), other.of(&mut map, 1)), (3, 3));
    }
}

/// Found by the fuzz target `records`. This is all that two faults within the same seconds can
/// cost.
#[test]
fn counts_added_after_a_false_expiry_stay_if_the_vm_traps_before_it_rejoins() {
    let (mut map, config) = (Map::default(), config(0, 1));
    let mut workers = [1, 2].map(|holder| Worker::new(&config, holder));
    let [hangs, lives] = &mut workers;
    hangs.begin(&mut map, 0, NOW);
    lives.begin(&mut map, 0, NOW);
    for second in 1..=u64::from(MISSED_HEARTBEATS) + 1 {
        lives.tick(&mut map, NOW + second * SECOND);
    }
    assert_eq!(gauge(&map, 0), 1, "what it had is subtracted");
    // Its clock stands where it hung. At a later time it would send a heartbeat, and notice.
    hangs.begin(&mut map, 0, NOW);
    hangs.begin(&mut map, 0, NOW);
    lives.end(&mut map, 0, false, NOW + 5 * SECOND);
    for second in 6..60 {
        lives.tick(&mut map, NOW + second * SECOND);
    }
    assert_eq!(gauge(&map, 0), 2);
}

/// Found by the fuzz target `records`. Three faults: a worker hangs for longer than its slot is in
/// quarantine, the next holder of the slot traps with requests in flight, and only then the first
/// one notices.
#[test]
fn a_worker_whose_note_was_overwritten_adds_all_its_own_counts_again() {
    let (mut map, config) = (Map::default(), config(0, 1));
    let mut workers = [1, 2, 3].map(|holder| Worker::new(&config, holder));
    let [hangs, lives, traps] = &mut workers;
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
    pass(lives, &mut map, u64::from(MISSED_HEARTBEATS) + 1);
    // Nobody subtracted this one, and it will be added again with the other.
    hangs.begin(&mut map, 0, NOW);
    let now = pass(lives, &mut map, SLOT_QUARANTINE / SECOND + 1);
    traps.begin(&mut map, 0, now);
    let now = pass(lives, &mut map, u64::from(MISSED_HEARTBEATS) + 1);
    assert_eq!(gauge(&map, 0), 2, "one is alive, one was not subtracted");
    hangs.tick(&mut map, now);
    assert_eq!(gauge(&map, 0), 2 + 2);
    while hangs.end(&mut map, 0, false, now).is_some() {}
    lives.end(&mut map, 0, false, now);
    assert_eq!(gauge(&map, 0), 1, "what it counted before it noticed");
}

#[test]
fn without_a_slot_a_worker_uses_its_own_counts_until_one_is_free() {
    let (mut map, config) = (Map::default(), config(0, 3));
    let table = (0..MAX_SLOTS as u64)
        .flat_map(|nonce| [nonce, 1, 1])
        .flat_map(u64::to_le_bytes);
    map.set(WORKER_SLOTS, &table.collect::<Vec<_>>(), Expected::Any)
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
    // The workers in the table have expired. Each other one reclaims as many as it may in a tick,
    // and then the slots are in quarantine.
    for tick in 1..=60 {
        worker.tick(&mut map, NOW + tick * SECOND);
        other.tick(&mut map, NOW + tick * SECOND);
        if tick < 30 {
            assert_eq!(gauge(&map, 1), 0, "tick {tick}");
        }
    }
    assert_eq!(gauge(&map, 1), 6);
    assert_eq!([1, 2].map(|target| worker.of(&mut map, target)), [6, 100]);
    assert_eq!(
        worker.counts.take_events(),
        [InFlightEvent::NoSlot],
        "told once"
    );
    assert_eq!(map.values[WORKER_SLOTS].0.len(), Slot::SIZE * MAX_SLOTS);
}

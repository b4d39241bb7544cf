use crate::pool::in_flight::InFlightEvent;
use crate::pool::in_flight::slots::MISSED_HEARTBEATS;
use crate::pool::in_flight::tests::{NOW, SECOND, Worker, config, gauge};
use crate::port::memory::MemoryPort;
use crate::shared::tests::Random;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[test]
fn counts_of_a_trapped_vm_are_subtracted_within_five_ticks_and_no_others() {
    for workers in 1..4 {
        let (mut port, config) = (MemoryPort::default(), config(0, 200));
        let mut worker = Worker::new(&config, 1);
        (0..500).for_each(|request| worker.begin(&mut port, request % 200, NOW));
        worker.counts.share(&mut port);
        // These it has not shared when it traps: nobody knows of them.
        (0..30).for_each(|request| worker.begin(&mut port, request, NOW));
        // A VM that trapped is followed by a fresh one; other configurations may not even have
        // its targets.
        let others = self::config(150, 250);
        let mut alive: Vec<_> = (0..workers)
            .map(|number| Worker::new(&others, number + 2))
            .collect();
        alive
            .iter_mut()
            .for_each(|worker| worker.begin(&mut port, 0, NOW));
        for tick in 1..=100 {
            // The clock jumps about: that does nothing.
            let now = NOW + [0, 7200, 1, 3600][tick as usize % 4] * SECOND;
            alive
                .iter_mut()
                .for_each(|worker| worker.tick(&mut port, now));
            if tick < MISSED_HEARTBEATS {
                assert_eq!(gauge(&port, 0), 3, "tick {tick}");
            }
            if tick >= 5 {
                for target in 0..200 {
                    let own = if target == 150 { workers as i64 } else { 0 };
                    assert_eq!(gauge(&port, target), own, "tick {tick}, target {target}");
                }
            }
        }
        let events: Vec<_> = alive
            .iter_mut()
            .flat_map(|worker| worker.counts.take_events())
            .collect();
        assert_eq!(events, [InFlightEvent::Reclaimed(500)]);
    }
}

/// Targets change with each reload. The old root contexts live on for a while and end their
/// requests, unless their VM traps.
#[test]
fn a_thousand_reloads_need_no_more_keys_than_a_few() {
    const WORKERS: u64 = 3;
    for (seed, seconds, few) in [(0, 40, 10), (1, 5, 20)] {
        let (mut port, mut random, mut now, mut keys) =
            (MemoryPort::default(), Random(seed << 32), NOW, 0);
        let mut old = Vec::<Worker>::new();
        for reload in 0..1000 {
            let from = (reload * 7 % 50) as usize;
            let config = config(from, from + 20);
            let ids = reload * WORKERS + 1..=(reload + 1) * WORKERS;
            let mut workers: Vec<_> = ids.map(|id| Worker::new(&config, id)).collect();
            for worker in &mut workers {
                (0..30).for_each(|request| worker.begin(&mut port, request % 20, now));
            }
            for second in 0..seconds {
                now += SECOND;
                workers
                    .iter_mut()
                    .for_each(|worker| worker.tick(&mut port, now));
                if second == 0 {
                    for mut worker in old.drain(..).filter(|_| random.below(10) > 0) {
                        while worker.end(&mut port, 0, false, now).is_some() {}
                    }
                }
            }
            old = workers;
            if reload == few {
                keys = port.values.len();
            }
        }
        assert_eq!(port.values.len(), keys, "with {seconds} s between reloads");
        // For each slot a ledger, its names, and a note; and room for all that are in quarantine.
        assert!(
            keys <= 1 + 3 * WORKERS as usize * (2 + 40 / seconds as usize),
            "{keys}"
        );
        let mut last = Worker::new(&config(0, 70), 1 << 20);
        old.clear();
        (1..=5).for_each(|tick| last.tick(&mut port, now + tick * SECOND));
        assert!(port.gauges.iter().all(|(_, value)| *value == 0));
    }
}

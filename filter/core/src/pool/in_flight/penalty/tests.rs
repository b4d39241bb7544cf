use super::*;
use crate::pool::in_flight::tests::{NOW, SECOND, Worker, config, gauge};
use crate::port::memory::MemoryPort;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[test]
fn a_failed_request_stays_counted_for_a_second() {
    let (mut port, config) = (MemoryPort::default(), config(0, 3));
    let mut worker = Worker::new(&config, 1);
    for _ in 0..3 {
        worker.begin(&mut port, 1, NOW);
    }
    worker.end(&mut port, 0, true, NOW);
    worker.end(&mut port, 0, true, NOW + SECOND / 2);
    worker.end(&mut port, 0, false, NOW + SECOND / 2);
    assert_eq!(worker.of(&mut port, 1), 2);
    for (now, left) in [
        (SECOND - Nanos::new(1), 2),
        (SECOND + PENALTY_STEP, 1),
        (SECOND * 3 / 2, 1),
        (3 * SECOND, 0),
    ] {
        worker.tick(&mut port, NOW + now);
        assert_eq!(
            (worker.of(&mut port, 1), gauge(&port, 1)),
            (left, left.into()),
            "{now:?}"
        );
    }
    // Requests end penalties too, and after the clock was set back far all of them are over.
    for later in [4 * SECOND, Nanos::ZERO] {
        worker.begin(&mut port, 1, NOW + 2 * SECOND);
        worker.end(&mut port, 1, true, NOW + 2 * SECOND);
        assert_eq!(worker.of(&mut port, 1), 1);
        worker.begin(&mut port, 2, NOW + later);
        assert_eq!(worker.of(&mut port, 1), 0);
    }
    // However many fail, the number of penalties is bounded.
    for request in 0..100_000 {
        worker.begin(&mut port, request % 3, NOW);
        worker.end(
            &mut port,
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

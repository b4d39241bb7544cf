use crate::config::Config;
use crate::entropy::WorkerId;
use crate::index::TargetIndex;
use crate::pool::in_flight::InFlight;
use crate::port::memory::MemoryPort;
use crate::shared::tests::interleaved;
use crate::time::{Nanos, Seconds};
use std::sync::Mutex;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const NOW: Nanos = Nanos::from_secs(1_800_000_000);
const TARGET: TargetIndex = TargetIndex::new(0);
const GAUGE: &str = "pointsman.pool.p.target.t.in_flight";

fn config(most: u32) -> Config {
    let json = format!(
        r#"{{"pools": {{"p": {{"targets": [{{"cluster": "t", "max_in_flight": {most}}}, {{"cluster": "u"}}]}}}}, "routes": [{{"name": "r", "pool": "p"}}]}}"#
    );
    Config::load(json.as_bytes()).unwrap()
}

/// Each call on a host is a step, and a seed chooses the worker that takes the next one. Requests
/// come and go without a pause, so the workers are too busy to share other counts at once.
#[test]
fn no_interleaving_of_workers_lets_through_more_than_the_bound() {
    let mut reached = 0;
    for seed in 0..400 {
        let workers = 2 + (seed % 4) as usize;
        let most = 1 + (seed / 4 % 3) as u32;
        let in_flight = Mutex::new(0);
        let (admitted, mut world) = interleaved(seed, workers, NOW, |port| {
            let config = config(most);
            let pool = &config.pools[0];
            let id = WorkerId::new(Seconds::new(port.worker as u64), 0);
            let mut counts = InFlight::new(&config.pools, id);
            let (mut own, mut admitted, mut highest) = (0_u32, 0, 0);
            for _ in 0..60 {
                match port.step(|world| world.random.below(3)) {
                    0 if own > 0 => {
                        // For the backend it is over before the filter hears of it.
                        *in_flight.lock().unwrap() -= 1;
                        own -= 1;
                        counts.end(port, pool, TARGET, own == 0, NOW);
                    }
                    _ if counts.begin_within(port, pool, TARGET, most, NOW) => {
                        let mut in_flight = in_flight.lock().unwrap();
                        *in_flight += 1;
                        highest = highest.max(*in_flight);
                        own += 1;
                        admitted += 1;
                    }
                    _ => {}
                }
            }
            for _ in 0..own {
                *in_flight.lock().unwrap() -= 1;
                counts.end(port, pool, TARGET, false, NOW);
            }
            (admitted, highest)
        });
        let highest = admitted.iter().map(|(_, highest)| *highest).max().unwrap();
        assert!(highest <= most, "seed {seed}: {highest} of at most {most}");
        let admitted: u32 = admitted.iter().map(|(admitted, _)| admitted).sum();
        assert!(admitted > most, "seed {seed}: {admitted}");
        reached += usize::from(highest == most);
        assert_eq!(world.port.sum_of_gauges(GAUGE), 0, "seed {seed}");
        // Nobody else is there any more: the whole bound is free.
        let config = config(most);
        let mut last = InFlight::new(&config.pools, WorkerId::new(Seconds::new(99), 0));
        let free = (0..10)
            .filter(|_| last.begin_within(&mut world.port, &config.pools[0], TARGET, most, NOW));
        assert_eq!(free.count() as u32, most, "seed {seed}");
    }
    assert!(reached > 350, "the bound was hardly met: {reached}");
}

#[test]
fn without_shared_counts_a_worker_keeps_the_bound_for_itself() {
    let config = config(2);
    // A proxy whose gauges take nothing in.
    let mut port = MemoryPort::default();
    let mut counts = InFlight::new(&config.pools, WorkerId::new(Seconds::new(1), 0));
    let mut admits =
        |port: &mut MemoryPort| counts.begin_within(port, &config.pools[0], TARGET, 2, NOW);
    assert!(admits(&mut port));
    port.gauges.iter_mut().for_each(|(_, value)| *value = 0);
    assert!(admits(&mut port));
    port.gauges.iter_mut().for_each(|(_, value)| *value = 0);
    assert!(!admits(&mut port));
}

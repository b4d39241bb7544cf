//! Workers on threads whose steps interleave in any order, drawn from a seed.

use super::Random;
use crate::port::memory::MemoryPort;
use crate::port::{Connection, Expected, Gauge, SetFailed, Stats, Store, StoreFailed, Version};
use crate::time::Nanos;
use pointsman_interleave::Scheduler;
use std::net::IpAddr;
use std::sync::Mutex;

/// What the workers share, and what each step may draw.
pub(crate) struct World {
    pub(crate) port: MemoryPort,
    pub(crate) random: Random,
    pub(crate) now: Nanos,
}

/// One worker's view: each call on its port is a step, after which the seed chooses the worker that
/// takes the next one.
pub(crate) struct Turn<'a> {
    scheduler: &'a Scheduler,
    world: &'a Mutex<World>,
    pub(crate) worker: usize,
}

impl Turn<'_> {
    /// One step.
    pub(crate) fn step<T>(&mut self, act: impl FnOnce(&mut World) -> T) -> T {
        let result = act(&mut self.world.lock().unwrap());
        self.scheduler.pass(self.worker);
        result
    }
}

impl Connection for Turn<'_> {
    fn source_address(&mut self) -> Option<IpAddr> {
        None
    }
}

impl Stats for Turn<'_> {
    fn gauge(&mut self, name: &str) -> Option<Gauge> {
        self.step(|world| world.port.gauge(name))
    }

    fn add(&mut self, gauge: Gauge, by: i64) {
        self.step(|world| world.port.add(gauge, by));
    }

    fn value(&mut self, gauge: Gauge) -> Option<i64> {
        self.step(|world| world.port.value(gauge))
    }
}

impl Store for Turn<'_> {
    fn get(&mut self, key: &[u8]) -> Result<Option<(Vec<u8>, Version)>, StoreFailed> {
        self.step(|world| world.port.get(key))
    }

    fn set(&mut self, key: &[u8], value: &[u8], expected: Expected) -> Result<(), SetFailed> {
        self.step(|world| world.port.set(key, value, expected))
    }
}

/// Runs `body` for each worker, and returns the results and the world that the workers leave. So
/// every interleaving can happen, and happens again with the same seed.
pub(crate) fn interleaved<T: Send>(
    seed: u64,
    workers: usize,
    now: Nanos,
    body: impl Fn(&mut Turn<'_>) -> T + Sync,
) -> (Vec<T>, World) {
    let world = Mutex::new(World {
        port: MemoryPort::default(),
        random: Random(seed << 32),
        now,
    });
    let scheduler = Scheduler::new(workers, seed);
    let results = std::thread::scope(|scope| {
        let run = |worker: usize| {
            let (scheduler, world, body) = (&scheduler, &world, &body);
            scope.spawn(move || {
                let _entered = scheduler.enter(worker);
                body(&mut Turn {
                    scheduler,
                    world,
                    worker,
                })
            })
        };
        let threads: Vec<_> = (0..workers).map(run).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    (results, world.into_inner().unwrap())
}

//! Workers whose steps interleave in any order, drawn from a seed.

use super::memory::Map;
use crate::port::{Connection, Expected, Gauge, SetFailed, Stats, Store, StoreFailed, Version};
use crate::time::Nanos;
use std::net::IpAddr;
use std::sync::{Condvar, Mutex};

/// Random numbers from a seed.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        let mut hash = crate::siphash::SipWriter::new([3; 16]);
        hash.write_u64(self.0);
        self.0 += 1;
        hash.finish() % sides
    }
}

/// Workers on threads, of which one runs at a time: each call on the store is a step, and the
/// worker that takes the next step is drawn from a seed. So every interleaving can happen, and
/// happens again with the same seed.
pub(crate) struct Baton {
    world: Mutex<World>,
    passed: Condvar,
}

pub(crate) struct World {
    pub(crate) map: Map,
    pub(crate) dice: Dice,
    pub(crate) now: Nanos,
    holder: usize,
    running: Vec<bool>,
}

impl World {
    fn pass(&mut self) {
        let running: Vec<usize> = (0..self.running.len())
            .filter(|i| self.running[*i])
            .collect();
        if !running.is_empty() {
            self.holder = running[self.dice.roll(running.len() as u64) as usize];
        }
    }
}

/// One worker's view.
pub(crate) struct Turn<'a> {
    baton: &'a Baton,
    pub(crate) worker: usize,
}

impl Turn<'_> {
    /// One step.
    pub(crate) fn step<T>(&mut self, act: impl FnOnce(&mut World) -> T) -> T {
        let mut world = self.baton.world.lock().unwrap();
        while world.holder != self.worker {
            world = self.baton.passed.wait(world).unwrap();
        }
        let result = act(&mut world);
        world.pass();
        self.baton.passed.notify_all();
        result
    }
}

/// A worker that fails must not leave the others waiting.
impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Ok(mut world) = self.baton.world.lock()
        {
            world.running[self.worker] = false;
            world.pass();
            self.baton.passed.notify_all();
        }
    }
}

impl Connection for Turn<'_> {
    fn source_address(&mut self) -> Option<IpAddr> {
        None
    }
}

impl Stats for Turn<'_> {
    fn gauge(&mut self, name: &str) -> Option<Gauge> {
        self.step(|world| world.map.gauge(name))
    }

    fn add(&mut self, gauge: Gauge, by: i64) {
        self.step(|world| world.map.add(gauge, by));
    }

    fn value(&mut self, gauge: Gauge) -> Option<i64> {
        self.step(|world| world.map.value(gauge))
    }
}

impl Store for Turn<'_> {
    fn get(&mut self, key: &[u8]) -> Result<Option<(Vec<u8>, Version)>, StoreFailed> {
        self.step(|world| world.map.get(key))
    }

    fn set(&mut self, key: &[u8], value: &[u8], expected: Expected) -> Result<(), SetFailed> {
        self.step(|world| world.map.set(key, value, expected))
    }
}

/// Runs this many workers. Returns what each returned, and the world after the last step.
pub(crate) fn interleaved<T: Send>(
    seed: u64,
    workers: usize,
    now: Nanos,
    body: impl Fn(&mut Turn<'_>) -> T + Sync,
) -> (Vec<T>, World) {
    let mut world = World {
        map: Map::default(),
        dice: Dice(seed << 32),
        now,
        holder: 0,
        running: vec![true; workers],
    };
    world.pass();
    let baton = Baton {
        world: Mutex::new(world),
        passed: Condvar::new(),
    };
    let results = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers)
            .map(|worker| {
                let (baton, body) = (&baton, &body);
                scope.spawn(move || {
                    let mut turn = Turn { baton, worker };
                    let result = body(&mut turn);
                    turn.step(|world| world.running[worker] = false);
                    result
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    (results, baton.world.into_inner().unwrap())
}

use super::*;
use crate::port::{Connection, Gauge, Stats};
use crate::time::Nanos;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Condvar, Mutex};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// Shared data by the rules of proxy-wasm-cpp-host, which `host-sim` pins against a real Envoy.
#[derive(Default)]
pub(crate) struct Map {
    pub(crate) values: HashMap<Vec<u8>, (Vec<u8>, Version)>,
    pub(crate) newest: Version,
    pub(crate) reads: u32,
    pub(crate) writes: u32,
    /// What was last written.
    pub(crate) last: Vec<u8>,
    /// Names and values of the gauges, by their handles.
    pub(crate) gauges: Vec<(String, i64)>,
}

impl Stats for Map {
    fn gauge(&mut self, name: &str) -> Option<Gauge> {
        let known = self.gauges.iter().position(|(known, _)| known == name);
        let place = known.unwrap_or_else(|| {
            self.gauges.push((name.to_owned(), 0));
            self.gauges.len() - 1
        });
        Some(Gauge(place as u32))
    }

    fn add(&mut self, gauge: Gauge, by: i64) {
        self.gauges[gauge.0 as usize].1 += by;
    }

    fn value(&mut self, gauge: Gauge) -> Option<i64> {
        Some(self.gauges[gauge.0 as usize].1)
    }
}

impl Connection for Map {
    fn source_address(&mut self) -> Option<IpAddr> {
        None
    }
}

impl Store for Map {
    fn get(&mut self, key: &[u8]) -> Result<Option<(Vec<u8>, Version)>, StoreFailed> {
        self.reads += 1;
        Ok(self.values.get(key).cloned())
    }

    fn set(&mut self, key: &[u8], value: &[u8], expected: Expected) -> Result<(), SetFailed> {
        self.writes += 1;
        let current = self.values.get(key).map(|(_, version)| *version);
        match (current, expected) {
            (Some(_), Expected::Absent) => return Err(SetFailed::CasMismatch),
            (Some(current), Expected::Version(version)) if current != version => {
                return Err(SetFailed::CasMismatch);
            }
            _ => {}
        }
        self.newest = self.newest.checked_add(1).unwrap_or(1);
        self.last = value.to_vec();
        self.values
            .insert(key.to_vec(), (value.to_vec(), self.newest));
        Ok(())
    }
}

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

/// Workers on threads, of which one runs at a time: each call on the store is a step, and who
/// takes the next one is drawn from a seed. So every interleaving can happen, and happens again
/// with the same seed.
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

/// Runs as many workers as are asked for, and hands back what they returned and the world that
/// they left.
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

/// Adds one to the number at a key, and returns what it was.
fn count(memory: &mut RecordCache, store: &mut dyn Store, key: &[u8]) -> Result<u64, UpdateError> {
    memory.update(store, key, &mut |current| {
        let number = number(current);
        Update::Write((number + 1).to_le_bytes().to_vec(), number)
    })
}

/// Reads the number at a key.
fn look(memory: &mut RecordCache, store: &mut dyn Store, key: &[u8]) -> u64 {
    memory
        .update(store, key, &mut |current| Update::Keep(number(current)))
        .unwrap()
}

fn number(value: Option<&[u8]>) -> u64 {
    value.map_or(0, |value| u64::from_le_bytes(value.try_into().unwrap()))
}

#[cfg(not(target_arch = "wasm32"))] // threads
#[test]
fn no_update_is_lost_and_no_final_look_is_stale() {
    for seed in 0..200 {
        let keys = [&b"a"[..], b"b", b"c"];
        let (done, world) = interleaved(seed, 4, Nanos::ZERO, |turn| {
            let mut memory = RecordCache::default();
            let mut done = [0_u64; 3];
            for _ in 0..25 {
                let (key, write) =
                    turn.step(|world| (world.dice.roll(3) as usize, world.dice.roll(3) > 0));
                if write {
                    match count(&mut memory, turn, keys[key]) {
                        Ok(_) => done[key] += 1,
                        Err(failed) => assert_eq!(failed, UpdateError::Contended),
                    }
                } else {
                    let before = turn
                        .step(|world| number(world.map.values.get(keys[key]).map(|(v, _)| &v[..])));
                    let seen = look(&mut memory, turn, keys[key]);
                    assert!(seen >= before, "seed {seed}: {seen} was {before} before");
                }
            }
            done
        });
        for (i, key) in keys.iter().enumerate() {
            let written: u64 = done.iter().map(|done| done[i]).sum();
            let value = world.map.values.get(*key).map(|(value, _)| &value[..]);
            assert_eq!(number(value), written, "seed {seed}");
        }
    }
}

/// The same when the host's 32 bits of versions run out in the middle.
#[test]
fn no_update_is_lost_when_versions_wrap_around() {
    let mut map = Map {
        newest: Version::MAX - 50,
        ..Map::default()
    };
    let mut memories = [RecordCache::default(), RecordCache::default()];
    let mut dice = Dice(1);
    for done in 0..200 {
        let memory = &mut memories[dice.roll(2) as usize];
        assert_eq!(count(memory, &mut map, b"a"), Ok(done));
        map.set(
            b"other",
            b"",
            Expected::Version(map.values.get(&b"other"[..]).map_or(1, |v| v.1)),
        )
        .unwrap();
    }
}

#[test]
fn a_worker_alone_reads_a_record_once() {
    let (mut map, mut memory) = (Map::default(), RecordCache::default());
    // What the newest version is, it learns by reading what it wrote last.
    for _ in 0..2 {
        count(&mut memory, &mut map, b"first").unwrap();
    }
    assert_eq!((map.reads, map.writes), (2, 2));
    for round in 0..100 {
        for key in 0..8_u8 {
            assert_eq!(count(&mut memory, &mut map, &[key]), Ok(round));
        }
    }
    assert_eq!((map.reads, map.writes), (10, 802));
    // An old version that it meets teaches it nothing wrong.
    assert_eq!(look(&mut memory, &mut map, b"first"), 2);
    for round in 100..110 {
        for key in 0..8_u8 {
            assert_eq!(count(&mut memory, &mut map, &[key]), Ok(round));
        }
    }
    assert_eq!((map.reads, map.writes), (11, 882));
}

#[test]
fn among_writing_workers_an_update_costs_one_read_and_soon_no_vain_write() {
    let mut map = Map::default();
    let mut memories = [RecordCache::default(), RecordCache::default()];
    for round in 0..500 {
        for (worker, memory) in memories.iter_mut().enumerate() {
            let reads = map.reads;
            assert_eq!(count(memory, &mut map, b"a"), Ok(2 * round + worker as u64));
            assert!(map.reads - reads <= 1);
        }
    }
    assert!(map.writes < 1010, "{}", map.writes);
    // The others fall silent, and trust comes back without a vain write.
    let (reads, writes) = (map.reads, map.writes);
    for _ in 0..100 {
        count(&mut memories[0], &mut map, b"a").unwrap();
    }
    assert!(map.reads - reads <= 4, "{}", map.reads - reads);
    assert_eq!(map.writes - writes, 100);
}

#[test]
fn a_glance_may_be_stale_and_costs_nothing() {
    let (mut map, mut memory) = (Map::default(), RecordCache::default());
    count(&mut memory, &mut map, b"a").unwrap();
    assert_eq!(look(&mut memory, &mut map, b"a"), 1);
    count(&mut RecordCache::default(), &mut map, b"a").unwrap();
    let reads = map.reads;
    let seen = memory.update(&mut map, b"a", &mut |current| {
        Update::KeepStale(number(current))
    });
    assert_eq!((seen, map.reads), (Ok(1), reads));
    assert_eq!(look(&mut memory, &mut map, b"a"), 2);
}

/// A store that somebody else always writes first, or that fails.
struct Broken(Result<SetFailed, StoreFailed>, u32);

impl Store for Broken {
    fn get(&mut self, _: &[u8]) -> Result<Option<(Vec<u8>, Version)>, StoreFailed> {
        self.1 += 1;
        self.0.map(|_| Some((vec![0; 8], self.1)))
    }

    fn set(&mut self, _: &[u8], _: &[u8], _: Expected) -> Result<(), SetFailed> {
        Err(self.0.unwrap())
    }
}

#[test]
fn retries_are_bounded_and_failures_are_told() {
    let mut memory = RecordCache::default();
    let mut outrun = Broken(Ok(SetFailed::CasMismatch), 0);
    assert_eq!(
        count(&mut memory, &mut outrun, b"a"),
        Err(UpdateError::Contended)
    );
    assert_eq!(
        (outrun.1, memory.take_cas_mismatches()),
        (ATTEMPTS, u64::from(ATTEMPTS))
    );
    for failing in [Ok(SetFailed::Store), Err(StoreFailed)] {
        assert_eq!(
            count(&mut memory, &mut Broken(failing, 0), b"a"),
            Err(UpdateError::Store)
        );
    }
}

#[test]
fn a_worker_remembers_a_bounded_number_of_values() {
    let (mut map, mut memory) = (Map::default(), RecordCache::default());
    for key in 0..10_000_u32 {
        count(&mut memory, &mut map, &key.to_le_bytes()).unwrap();
    }
    assert_eq!(memory.places.len() as u64, REMEMBERED);
}

#[cfg(not(target_arch = "wasm32"))] // threads
#[test]
fn all_workers_get_the_same_seed_and_keep_it() {
    for schedule in 0..50 {
        let (seeds, mut world) = interleaved(schedule, 4, Nanos::ZERO, |turn| {
            let fresh = [turn.worker as u8; 16];
            seed(turn, fresh).unwrap()
        });
        assert!(
            seeds.iter().all(|seed| *seed == seeds[0]),
            "schedule {schedule}"
        );
        assert_eq!(seed(&mut world.map, [99; 16]), Ok(seeds[0]));
    }
    // What is no seed, such as the rest of a value that was removed, is replaced.
    let mut map = Map::default();
    map.set(keys::SEED, b"", Expected::Absent).unwrap();
    assert_eq!(seed(&mut map, [5; 16]), Ok([5; 16]));
    assert_eq!(seed(&mut map, [6; 16]), Ok([5; 16]));
}

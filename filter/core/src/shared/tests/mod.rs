#[cfg(not(target_arch = "wasm32"))]
use super::seed::load_or_create;
use super::*;
#[cfg(not(target_arch = "wasm32"))]
use crate::time::Nanos;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[cfg(not(target_arch = "wasm32"))] // threads
mod interleaving;

use crate::port::memory::MemoryPort;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use interleaving::{Turn, interleaved};

/// Random numbers from a seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// A number from 0 to below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        let mut hash = crate::siphash::SipWriter::new([3; 16]);
        hash.write_u64(self.0);
        self.0 += 1;
        hash.finish() % bound
    }
}

/// Adds one to the number at a key, and returns what it was.
fn count(cache: &mut RecordCache, store: &mut dyn Store, key: &[u8]) -> Result<u64, UpdateError> {
    cache.update(store, key, &mut |current| {
        let number = number(current);
        Update::Write((number + 1).to_le_bytes().to_vec(), number)
    })
}

/// Reads the number at a key.
fn look(cache: &mut RecordCache, store: &mut dyn Store, key: &[u8]) -> u64 {
    cache
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
            let mut cache = RecordCache::default();
            let mut done = [0_u64; 3];
            for _ in 0..25 {
                let (key, write) =
                    turn.step(|world| (world.random.below(3) as usize, world.random.below(3) > 0));
                if write {
                    match count(&mut cache, turn, keys[key]) {
                        Ok(_) => done[key] += 1,
                        Err(failed) => assert_eq!(failed, UpdateError::Contended),
                    }
                } else {
                    let before = turn.step(|world| {
                        number(world.port.values.get(keys[key]).map(|(v, _)| &v[..]))
                    });
                    let seen = look(&mut cache, turn, keys[key]);
                    assert!(seen >= before, "seed {seed}: {seen} was {before} before");
                }
            }
            done
        });
        for (i, key) in keys.iter().enumerate() {
            let written: u64 = done.iter().map(|done| done[i]).sum();
            let value = world.port.values.get(*key).map(|(value, _)| &value[..]);
            assert_eq!(number(value), written, "seed {seed}");
        }
    }
}

/// The same when the host's 32 bits of versions run out in the middle.
#[test]
fn no_update_is_lost_when_versions_wrap_around() {
    let mut port = MemoryPort {
        newest: Version::MAX - 50,
        ..MemoryPort::default()
    };
    let mut caches = [RecordCache::default(), RecordCache::default()];
    let mut random = Random(1);
    for done in 0..200 {
        let cache = &mut caches[random.below(2) as usize];
        if random.below(2) == 0 {
            assert_eq!(look(cache, &mut port, b"a"), done);
        }
        assert_eq!(count(cache, &mut port, b"a"), Ok(done));
        port.set(
            b"other",
            b"",
            Expected::Version(port.values.get(&b"other"[..]).map_or(1, |v| v.1)),
        )
        .unwrap();
    }
}

#[test]
fn update_costs_one_read_and_one_write_whether_others_write_or_not() {
    let mut port = MemoryPort::default();
    let mut caches = [RecordCache::default(), RecordCache::default()];
    for round in 0..100 {
        for (worker, cache) in caches.iter_mut().enumerate() {
            for key in 0..8_u8 {
                let (reads, writes) = (port.reads, port.writes);
                let before = 2 * round + worker as u64;
                assert_eq!(count(cache, &mut port, &[key]), Ok(before));
                assert_eq!((port.reads - reads, port.writes - writes), (1, 1));
            }
        }
    }
    let (reads, writes) = (port.reads, port.writes);
    for _ in 0..100 {
        count(&mut caches[0], &mut port, b"alone").unwrap();
    }
    assert_eq!((port.reads - reads, port.writes - writes), (100, 100));
}

#[test]
fn value_that_was_read_is_written_without_another_read() {
    let (mut port, mut cache) = (MemoryPort::default(), RecordCache::default());
    count(&mut cache, &mut port, b"a").unwrap();
    assert_eq!(look(&mut cache, &mut port, b"a"), 1);
    let (reads, writes) = (port.reads, port.writes);
    assert_eq!(count(&mut cache, &mut port, b"a"), Ok(1));
    assert_eq!((port.reads - reads, port.writes - writes), (0, 1));
    // Unless another worker wrote since: that costs the write that fails, and is no retry.
    assert_eq!(look(&mut cache, &mut port, b"a"), 2);
    count(&mut RecordCache::default(), &mut port, b"a").unwrap();
    let (reads, writes) = (port.reads, port.writes);
    assert_eq!(count(&mut cache, &mut port, b"a"), Ok(3));
    assert_eq!((port.reads - reads, port.writes - writes), (1, 2));
    assert_eq!(cache.take_cas_mismatches(), 0);
}

#[test]
fn what_may_be_stale_costs_nothing() {
    let (mut port, mut cache) = (MemoryPort::default(), RecordCache::default());
    count(&mut cache, &mut port, b"a").unwrap();
    assert_eq!(look(&mut cache, &mut port, b"a"), 1);
    count(&mut RecordCache::default(), &mut port, b"a").unwrap();
    let reads = port.reads;
    let seen = cache.update(&mut port, b"a", &mut |current| {
        Update::KeepStale(number(current))
    });
    assert_eq!((seen, port.reads), (Ok(1), reads));
    assert_eq!(look(&mut cache, &mut port, b"a"), 2);
}

/// A store that another worker always writes first, or that fails.
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
fn retries_are_bounded_and_failures_are_reported() {
    let mut cache = RecordCache::default();
    let mut outpaced = Broken(Ok(SetFailed::CasMismatch), 0);
    assert_eq!(
        count(&mut cache, &mut outpaced, b"a"),
        Err(UpdateError::Contended)
    );
    assert_eq!(
        (outpaced.1, cache.take_cas_mismatches()),
        (ATTEMPTS, u64::from(ATTEMPTS))
    );
    for failing in [Ok(SetFailed::Store), Err(StoreFailed)] {
        assert_eq!(
            count(&mut cache, &mut Broken(failing, 0), b"a"),
            Err(UpdateError::Store)
        );
    }
}

#[cfg(not(target_arch = "wasm32"))] // threads
#[test]
fn all_workers_get_the_same_seed_and_keep_it() {
    for schedule in 0..50 {
        let (seeds, mut world) = interleaved(schedule, 4, Nanos::ZERO, |turn| {
            let fresh = [turn.worker as u8; 16];
            load_or_create(turn, fresh).unwrap()
        });
        assert!(
            seeds.iter().all(|seed| *seed == seeds[0]),
            "schedule {schedule}"
        );
        assert_eq!(load_or_create(&mut world.port, [99; 16]), Ok(seeds[0]));
    }
    // Bytes that are no seed, such as those of a damaged value, are replaced.
    let mut port = MemoryPort::default();
    port.set(keys::SEED, b"", Expected::Absent).unwrap();
    assert_eq!(load_or_create(&mut port, [5; 16]), Ok([5; 16]));
    assert_eq!(load_or_create(&mut port, [6; 16]), Ok([5; 16]));
}

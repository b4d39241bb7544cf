//! The values that one worker has read, so that a change can be written without another read.
//!
//! A read costs five times a write, because the host copies the value into the VM. So a change is
//! first tried on the value read last, where it was kept: its write succeeds if the value is still
//! the current one. If it is not, that has cost one write. `set` does not return the version that
//! it gave to the value, so a value is dropped from the cache when this worker writes it.

use super::{Update, UpdateError, read_and_update};
use crate::port::{Expected, SetFailed, Store, Version};

/// The most values that a worker caches. Most of what many clients share fits; of values of at most
/// 1.4 kB it is 90 kB.
const SLOTS: u64 = 64;

/// A bounded number of values from shared data, each in the one slot that its key hashes to.
#[derive(Debug, Default)]
pub struct RecordCache {
    /// Empty until the first value is kept.
    slots: Vec<Option<Cached>>,
    cas_mismatches: u64,
}

#[derive(Debug)]
struct Cached {
    key: Box<[u8]>,
    value: Vec<u8>,
    version: Version,
}

impl RecordCache {
    /// As [`update`](super::update), but first on the cached value, if there is one: a
    /// [`Update::KeepStale`] then costs nothing, and a [`Update::Write`] only the write.
    pub fn update<T>(
        &mut self,
        store: &mut dyn Store,
        key: &[u8],
        change: &mut dyn FnMut(Option<&[u8]>) -> Update<T>,
    ) -> Result<T, UpdateError> {
        if let Some(cached) = self.take(key) {
            match change(Some(&cached.value)) {
                Update::Keep(_) => {}
                Update::KeepStale(result) => {
                    self.insert(cached);
                    return Ok(result);
                }
                Update::Write(value, result) => {
                    match store.set(key, &value, Expected::Version(cached.version)) {
                        Ok(()) => return Ok(result),
                        Err(SetFailed::CasMismatch) => {}
                        Err(SetFailed::Store) => return Err(UpdateError::Store),
                    }
                }
            }
        }
        let (result, kept) = read_and_update(store, key, change, &mut self.cas_mismatches)?;
        if let Some((value, version)) = kept {
            self.insert(Cached {
                key: key.into(),
                value,
                version,
            });
        }
        Ok(result)
    }

    /// How often, since the last call, another worker wrote between a read and the write that
    /// followed.
    pub fn take_cas_mismatches(&mut self) -> u64 {
        std::mem::take(&mut self.cas_mismatches)
    }

    fn take(&mut self, key: &[u8]) -> Option<Cached> {
        let slot = self.slot(key)?;
        slot.take_if(|cached| *cached.key == *key)
    }

    fn insert(&mut self, cached: Cached) {
        if self.slots.is_empty() {
            self.slots = (0..SLOTS).map(|_| None).collect();
        }
        if let Some(slot) = self.slot(&cached.key) {
            *slot = Some(cached);
        }
    }

    fn slot(&mut self, key: &[u8]) -> Option<&mut Option<Cached>> {
        // A kind and a number: keys of consecutive numbers have slots of their own.
        let tail = key.get(key.len().saturating_sub(8)..)?;
        let tail = tail
            .iter()
            .fold(0, |tail, byte| tail << 8 | u64::from(*byte));
        self.slots.get_mut(((tail ^ tail >> 32) % SLOTS) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::memory::MemoryPort;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn cache_holds_a_bounded_number_of_values() {
        let (mut port, mut cache) = (MemoryPort::default(), RecordCache::default());
        for key in 0..10_000_u32 {
            let key = key.to_be_bytes();
            port.set(&key, b"value", Expected::Absent).unwrap();
            cache
                .update(&mut port, &key, &mut |_| Update::Keep(()))
                .unwrap();
        }
        assert_eq!(cache.slots.iter().flatten().count() as u64, SLOTS);
    }
}

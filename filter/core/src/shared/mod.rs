//! Records in shared data: `update(key, pure fn)`.
//!
//! All workers see one map, whose values have versions; a write can ask for the version that it
//! expects. So a change is a pure function of the current value that runs again whenever somebody
//! else wrote first, as `measure_and_replace` of the `governor` crate. Every change that was
//! written started from the value before it: none is lost.
//!
//! A read costs five times a write (the host copies the value into the VM), so a worker remembers a
//! few values and writes first, without a read. Where that fails it has cost one write. The version
//! that a write gets is not told, but it can be foretold: the host numbers all writes of all keys
//! in one row, so it is at least one more than the newest version that this worker knows of, and
//! exactly that if no other worker wrote anything meanwhile. If the key has the foretold version,
//! then nobody wrote it since: the version of our write is not smaller, and later ones are larger.
//! Where a worker writes little else that saves most reads. Where others write, or where it writes
//! past its [`RecordCache`] itself, as requests in flight are counted with each request to a pool, it
//! rarely holds; so two bits remember whether it does (J. E. Smith, "A study of branch prediction
//! strategies", 1981).
//!
//! A decision not to write has no version to be checked by. It is only final on a value that was
//! read.

pub mod keys;
pub mod record;

use crate::port::{Expected, SetFailed, Store, StoreFailed, Version};
use crate::siphash::Seed;

/// How many values a worker remembers. Most of what many clients share fits; of values of at most
/// 1.4 kB it is 90 kB.
const REMEMBERED: u64 = 64;

/// How often a change is tried on a value just read. Between that read and its write lies about a
/// microsecond, while other workers write a record once in tens of microseconds each: eight losses
/// in a row are out of reach of mere load.
const ATTEMPTS: u32 = 8;

/// From this trust on a foretold version is used; the most is 3.
const TRUSTED: u8 = 2;

/// What a pure function makes of the current value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update<T> {
    /// Replace the value by these bytes.
    Write(Vec<u8>, T),
    /// Leave it; what is decided has to be true of the value as it is now.
    Keep(T),
    /// Leave it; what is decided may be true of a value a moment ago, because a later write will
    /// check it.
    KeepStale(T),
}

/// Why there is no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateError {
    /// Other workers wrote first, more often than one should wait for.
    Contended,
    /// The host refused a call.
    Store,
}

impl From<StoreFailed> for UpdateError {
    fn from(StoreFailed: StoreFailed) -> UpdateError {
        UpdateError::Store
    }
}

/// What one worker remembers of shared data: a bounded number of values, each in the one place that
/// its key hashes to.
#[derive(Debug)]
pub struct RecordCache {
    places: Vec<Option<Remembered>>,
    /// The newest version known to exist, of any key. None: nothing was read yet.
    newest: Option<Version>,
    trust: u8,
    cas_mismatches: u64,
}

#[derive(Debug)]
struct Remembered {
    key: Box<[u8]>,
    value: Vec<u8>,
    version: Version,
    /// The version is that of a write of our own, and was not told by the host.
    foretold: bool,
}

impl Default for RecordCache {
    fn default() -> RecordCache {
        RecordCache {
            places: (0..REMEMBERED).map(|_| None).collect(),
            newest: None,
            trust: TRUSTED,
            cas_mismatches: 0,
        }
    }
}

impl RecordCache {
    /// Lets `decide` replace the value at `key`. It gets the current bytes, None where there are
    /// none, and must be pure: it runs again when another worker wrote first.
    pub fn update<T>(
        &mut self,
        store: &mut dyn Store,
        key: &[u8],
        decide: &mut dyn FnMut(Option<&[u8]>) -> Update<T>,
    ) -> Result<T, UpdateError> {
        let mut spare = None;
        let mut foretold = None;
        if let Some(known) = self.recall(key) {
            foretold = known.foretold.then_some(known.version);
            if !known.foretold || self.trust >= TRUSTED {
                match decide(Some(&known.value)) {
                    Update::KeepStale(result) => {
                        self.remember(known);
                        return Ok(result);
                    }
                    Update::Keep(_) => {}
                    Update::Write(value, result) => {
                        match store.set(key, &value, Expected::Version(known.version)) {
                            Ok(()) => {
                                self.judge(foretold, known.version);
                                self.wrote(known.key, value);
                                return Ok(result);
                            }
                            Err(SetFailed::CasMismatch) => self.judge(foretold.take(), 0),
                            Err(SetFailed::Store) => return Err(UpdateError::Store),
                        }
                    }
                }
            }
            spare = Some(known.key);
        }
        let mut owned = || spare.take().unwrap_or_else(|| key.into());
        for _ in 0..ATTEMPTS {
            let current = store.get(key)?;
            let (value, expected) = match &current {
                None => (None, Expected::Absent),
                Some((value, version)) => {
                    self.saw(*version);
                    self.judge(foretold.take(), *version);
                    (Some(&value[..]), Expected::Version(*version))
                }
            };
            match decide(value) {
                Update::Keep(result) | Update::KeepStale(result) => {
                    if let Some((value, version)) = current {
                        self.remember(Remembered {
                            key: owned(),
                            value,
                            version,
                            foretold: false,
                        });
                    }
                    return Ok(result);
                }
                Update::Write(value, result) => match store.set(key, &value, expected) {
                    Ok(()) => {
                        self.wrote(owned(), value);
                        return Ok(result);
                    }
                    Err(SetFailed::CasMismatch) => self.cas_mismatches += 1,
                    Err(SetFailed::Store) => return Err(UpdateError::Store),
                },
            }
        }
        Err(UpdateError::Contended)
    }

    /// How often, since this was last asked, another worker wrote between a read and the write that
    /// followed.
    pub fn take_cas_mismatches(&mut self) -> u64 {
        std::mem::take(&mut self.cas_mismatches)
    }

    /// Takes what is remembered of a key.
    fn recall(&mut self, key: &[u8]) -> Option<Remembered> {
        let place = self.place(key)?;
        place.take_if(|remembered| *remembered.key == *key)
    }

    fn remember(&mut self, remembered: Remembered) {
        if let Some(place) = self.place(&remembered.key) {
            *place = Some(remembered);
        }
    }

    fn place(&mut self, key: &[u8]) -> Option<&mut Option<Remembered>> {
        // A kind and a number: keys of consecutive numbers have places of their own.
        let tail = key.get(key.len().saturating_sub(8)..)?;
        let tail = tail
            .iter()
            .fold(0, |tail, byte| tail << 8 | u64::from(*byte));
        self.places
            .get_mut(((tail ^ tail >> 32) % REMEMBERED) as usize)
    }

    fn wrote(&mut self, key: Box<[u8]>, value: Vec<u8>) {
        // 0 is no version; the host leaves it out as well when its 32 bits are used up.
        self.newest = self.newest.map(|newest| newest.checked_add(1).unwrap_or(1));
        if let Some(version) = self.newest {
            self.remember(Remembered {
                key,
                value,
                version,
                foretold: true,
            });
        }
    }

    /// Versions wrap around, so of two the newer one is less than half of the circle ahead.
    fn saw(&mut self, version: Version) {
        if self
            .newest
            .is_none_or(|newest| version.wrapping_sub(newest) < 1 << 31)
        {
            self.newest = Some(version);
        }
    }

    /// Learns from a foretold version, if there was one, what it was in truth.
    fn judge(&mut self, foretold: Option<Version>, truth: Version) {
        self.trust = match foretold {
            None => self.trust,
            Some(foretold) if foretold == truth => (self.trust + 1).min(3),
            Some(_) => self.trust.saturating_sub(1),
        };
    }
}

/// The secret that all workers of the proxy share, and that outlives reloads: `fresh`, which has to
/// be random, if nobody had one before.
pub fn seed(store: &mut dyn Store, fresh: Seed) -> Result<Seed, UpdateError> {
    RecordCache::default().update(store, keys::SEED, &mut |current| match current
        .map(Seed::try_from)
    {
        Some(Ok(seed)) => Update::Keep(seed),
        _ => Update::Write(fresh.to_vec(), fresh),
    })
}

#[cfg(test)]
pub(crate) mod tests;

//! Records in shared data: one value for each of the [`keys`], changed by compare-and-swap.
//!
//! All workers see one map, whose values have versions; a write can name the version that it
//! expects to replace. So a change is a pure function from the current value to an [`Update`],
//! which runs again whenever another worker wrote first, like `measure_and_replace` of the
//! `governor` crate. Every value that is written was computed from the value before it: no change
//! is lost.
//!
//! A write is checked by its version. A decision to keep the value has no such check, so it is only
//! final on a value that was just read.
//!
//! [`update`] reads on each call, [`RecordCache::update`] only where it has to.

pub mod keys;
pub mod record;
pub mod seed;

mod cache;

pub use cache::RecordCache;

use crate::port::{Expected, SetFailed, Store, StoreFailed, Version};

/// How often a change is tried on a value just read. Between that read and its write lies about a
/// microsecond, while other workers write a record once in tens of microseconds each: eight losses
/// in a row are out of reach of mere load.
const ATTEMPTS: u32 = 8;

/// What a change makes of the current value, and what it returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update<T> {
    /// Replace the value by these bytes.
    Write(Vec<u8>, T),
    /// Keep the value. The result has to follow from the value as it is now.
    Keep(T),
    /// Keep the value. The result may follow from a value that another worker has replaced since,
    /// because a later write checks the version.
    KeepStale(T),
}

/// Why a change was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateError {
    /// Other workers wrote first, eight times in a row.
    Contended,
    /// The host refused a call.
    Store,
}

impl From<StoreFailed> for UpdateError {
    fn from(StoreFailed: StoreFailed) -> UpdateError {
        UpdateError::Store
    }
}

/// A value as it was read.
type Versioned = (Vec<u8>, Version);

/// Lets `change` replace the value at `key`. It gets the current bytes, None where there are none,
/// and must be pure: it runs again when another worker wrote first. Costs one read, and one write
/// if `change` asks for it; each time that another worker wrote in between, both again.
pub fn update<T>(
    store: &mut dyn Store,
    key: &[u8],
    change: &mut dyn FnMut(Option<&[u8]>) -> Update<T>,
) -> Result<T, UpdateError> {
    let (result, _) = read_and_update(store, key, change, &mut 0)?;
    Ok(result)
}

/// As [`update`]. Also returns the value that was read, if `change` kept it, and counts the writes
/// that came too late.
fn read_and_update<T>(
    store: &mut dyn Store,
    key: &[u8],
    change: &mut dyn FnMut(Option<&[u8]>) -> Update<T>,
    cas_mismatches: &mut u64,
) -> Result<(T, Option<Versioned>), UpdateError> {
    for _ in 0..ATTEMPTS {
        let current = store.get(key)?;
        let (value, expected) = match &current {
            None => (None, Expected::Absent),
            Some((value, version)) => (Some(&value[..]), Expected::Version(*version)),
        };
        match change(value) {
            Update::Keep(result) | Update::KeepStale(result) => return Ok((result, current)),
            Update::Write(value, result) => match store.set(key, &value, expected) {
                Ok(()) => return Ok((result, None)),
                Err(SetFailed::CasMismatch) => *cas_mismatches += 1,
                Err(SetFailed::Store) => return Err(UpdateError::Store),
            },
        }
    }
    Err(UpdateError::Contended)
}

#[cfg(test)]
pub(crate) mod tests;

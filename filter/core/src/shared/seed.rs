//! The secret seed of all hashes that clients must not predict.

use super::{Update, UpdateError, keys, update};
use crate::port::Store;
use crate::siphash::Seed;

/// The seed that all workers of the proxy share, and that outlives reloads. Where there is none yet
/// it becomes `fresh`, which has to be random.
pub fn load_or_create(store: &mut dyn Store, fresh: Seed) -> Result<Seed, UpdateError> {
    update(
        store,
        keys::SEED,
        &mut |current| match current.map(Seed::try_from) {
            Some(Ok(seed)) => Update::Keep(seed),
            _ => Update::Write(fresh.to_vec(), fresh),
        },
    )
}

//! What a worker is given at its start and cannot make up by itself, since nothing here draws a
//! random number or reads a clock.

use crate::siphash::Seed;
use crate::time::Seconds;

/// What makes one worker different from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entropy {
    /// The secret that all workers of the proxy share ([`crate::shared::seed::load_or_create`]). It
    /// decides which slot of the rate limits' table a client has.
    pub seed: Seed,
    /// The seed of this worker's own random numbers. They spread load; no secret depends on them.
    pub rolls: u64,
    /// Which worker it is.
    pub worker: WorkerId,
}

/// Identifies a worker, which is one root context of one VM, among all that ever ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId {
    /// When its configuration was loaded, in seconds since 1970, so until the year 2106.
    loaded: u32,
    /// Tells it from those that loaded one in the same second.
    random: u32,
}

impl WorkerId {
    /// Of a worker whose configuration was loaded then. `random` must be.
    #[expect(clippy::cast_possible_truncation, reason = "until the year 2106")]
    pub const fn new(loaded: Seconds, random: u32) -> WorkerId {
        WorkerId {
            loaded: loaded.get() as u32,
            random,
        }
    }

    /// When its configuration was loaded.
    pub const fn loaded(self) -> Seconds {
        Seconds::new(self.loaded as u64)
    }

    /// As it stands in records: one number of 8 bytes.
    pub const fn to_bits(self) -> u64 {
        (self.loaded as u64) << 32 | self.random as u64
    }

    /// What [`WorkerId::to_bits`] made; every number is one.
    pub const fn from_bits(bits: u64) -> WorkerId {
        WorkerId {
            loaded: (bits >> 32) as u32,
            random: (bits & 0xffff_ffff) as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// Records outlive releases: these are the bytes of the first one.
    #[test]
    fn a_worker_in_a_record_is_its_time_over_its_random_number() {
        let worker = WorkerId::new(Seconds::new(0x6b49_d200), 0x0123_4567);
        assert_eq!(worker.to_bits(), 0x6b49_d200_0123_4567);
        assert_eq!(WorkerId::from_bits(worker.to_bits()), worker);
        assert_eq!(worker.loaded(), Seconds::new(0x6b49_d200));
    }
}

//! Places in the lists of a configuration. Each kind has a type of its own, so that a target is not
//! taken for a pool, nor a number of something else for either.
//!
//! They mean something in one configuration only. What outlives it (records, cookies) knows pools
//! and targets by hashes of their names.

macro_rules! index {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u32);

        impl $name {
            /// The place, from 0. No configuration has 2^32 of anything.
            #[inline]
            #[expect(clippy::cast_possible_truncation, reason = "fewer than 2^32")]
            pub const fn new(place: usize) -> $name {
                $name(place as u32)
            }

            /// The place, for a list that has an entry for each of them.
            #[inline]
            pub const fn get(self) -> usize {
                self.0 as usize
            }
        }
    };
}

index! {
    /// The place of a pool in [`crate::config::Config::pools`].
    PoolIndex
}

index! {
    /// The place of a route in [`crate::config::Config::routes`].
    RouteIndex
}

index! {
    /// The place of a target in [`crate::pool::Pool::targets`].
    TargetIndex
}

/// A target of one of the pools.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetRef {
    /// Its pool.
    pub pool: PoolIndex,
    /// Which of the pool's targets.
    pub index: TargetIndex,
}

//! Which target a new request goes to: weighted selection.

/// `balance` of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// Smooth and weighted: over any whole cycle of the weights each target gets exactly its share. The default.
    #[default]
    RoundRobin,
    /// Independent draws in proportion to the weights.
    Random,
}

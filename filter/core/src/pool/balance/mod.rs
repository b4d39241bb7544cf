//! Which of a pool's candidates a new request goes to. Each rule has a file of its own.

pub mod consistent_hash;
pub mod least_connections;
pub mod random;
pub mod retries;
pub mod round_robin;

use crate::http::key::KeyPart;

/// `balance` of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// Smooth and weighted: over any whole cycle of the weights each target gets exactly its share.
    /// The default.
    #[default]
    RoundRobin,
    /// Independent draws in proportion to the weights.
    Random,
    /// The target with the fewest requests in flight for its weight.
    LeastConnections,
    /// The target with the least of response time × requests in flight for its weight.
    LeastResponseTime,
    /// The target that the hash of this part of the request belongs to: `consistent_hash`, and
    /// `ip_hash` with the client's address. A request without the part is balanced as by
    /// [`Balance::RoundRobin`], so that such requests do not all end on one target. The part of a
    /// split is still the roll's choice.
    Hash(KeyPart),
}

impl Balance {
    /// Whether it looks at what goes on at the targets.
    pub fn is_by_load(&self) -> bool {
        matches!(self, Balance::LeastConnections | Balance::LeastResponseTime)
    }
}

#[cfg(test)]
mod tests;

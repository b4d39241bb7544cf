//! Which of a pool's candidates a new request goes to. Each rule has a file of its own.

pub mod bounded_load;
pub mod consistent_hash;
pub mod least_connections;
pub mod random;
pub mod retries;
pub mod round_robin;

use crate::http::key::KeyPart;
use crate::pool::balance::bounded_load::LoadFactor;

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
    /// The target that the hash of a key of the request belongs to: `consistent_hash`, and
    /// `ip_hash` with the client's address. A request without a key is balanced as by
    /// [`Balance::RoundRobin`], so that such requests do not all end on one target. The part of a
    /// split is still the roll's choice.
    Hash(HashBy),
}

/// What is hashed, and how strictly its target is kept to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashBy {
    /// The key.
    pub key: KeyPart,
    /// The keys of requests that do not have it: the first that a request has.
    pub otherwise: Vec<KeyPart>,
    /// How much more than its share a target may have. Default: any number.
    pub bounded_load: Option<LoadFactor>,
}

impl HashBy {
    /// By this key, without any bound.
    pub const fn key(key: KeyPart) -> HashBy {
        HashBy {
            key,
            otherwise: Vec::new(),
            bounded_load: None,
        }
    }

    /// The keys, in their order.
    pub fn keys(&self) -> impl Iterator<Item = &KeyPart> {
        std::iter::once(&self.key).chain(&self.otherwise)
    }
}

impl Balance {
    /// Whether it looks at what goes on at the targets.
    pub fn is_by_load(&self) -> bool {
        matches!(self, Balance::LeastConnections | Balance::LeastResponseTime)
    }
}

#[cfg(test)]
mod tests;

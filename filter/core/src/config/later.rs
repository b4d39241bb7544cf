//! What the interface names and this version does not have yet. Said apart from what nobody knows.

/// Keys of a pool.
pub const POOL_KEYS: &[&str] = &["health", "failover", "prefer_region"];
/// Values of `balance`.
pub const BALANCES: &[&str] = &["least_connections", "least_response_time"];
/// What is said of them.
pub const NOT_YET: &str = "is not in this version";

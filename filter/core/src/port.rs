//! What the core may ask of its surroundings while it decides: the little that costs a host call and is not always
//! needed. Everything else (headers, time, randomness) is an argument.

use std::net::IpAddr;

/// The surroundings of one decision. In the proxy this is the shell; in tests it is whatever the test wants.
pub trait Port: Store {
    /// The connection's source address. None where the connection has none (a Unix socket).
    fn source_address(&mut self) -> Option<IpAddr>;
}

/// Shared data: the one map that all workers of a proxy see.
pub trait Store {
    /// The value at `key` with its version, or None where the key does not exist.
    fn get(&mut self, key: &[u8]) -> Result<Option<(Vec<u8>, Version)>, StoreFailed>;

    /// Writes `value` at `key`, if `expected` still holds.
    fn set(&mut self, key: &[u8], value: &[u8], expected: Expected) -> Result<(), SetFailed>;
}

/// proxy-wasm's `cas` number of a stored value. Never 0. Writes of all keys are numbered in one row, so of two writes the later
/// one has the larger number, until the 32 bits are used up and the row begins again at 1.
pub type Version = u32;

/// What a write expects to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// The key does not exist yet. (On the wire: `cas = u32::MAX`, which can match nothing, while a host ignores the
    /// `cas` of a key that does not exist.)
    Absent,
    /// The key holds the value of this version.
    Version(Version),
}

/// The host refused the call. Its fault or the machine's, never the client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreFailed;

/// Why a write did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetFailed {
    /// Somebody else wrote first: read again, decide again.
    Outrun,
    /// The host refused the call.
    Store,
}

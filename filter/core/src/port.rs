//! What the core may ask of the proxy while it decides: the little that costs a host call and is
//! not always needed. Everything else (headers, time, randomness) is an argument.

#[cfg(any(test, feature = "testkit"))]
pub mod memory;

use std::net::IpAddr;

/// The proxy, as a decision sees it: in the filter the shell, in tests `memory::MemoryPort`.
pub trait Port: Connection + Store + Stats {}

impl<T: Connection + Store + Stats> Port for T {}

/// The connection that a request came on.
pub trait Connection {
    /// Its source address. None where the connection has none (a Unix socket).
    fn source_address(&mut self) -> Option<IpAddr>;

    /// The host's name that its client asked for in the TLS handshake (SNI). None: it named none, or
    /// the connection has no TLS. Default: the proxy does not tell.
    fn server_name(&mut self) -> Option<Vec<u8>> {
        None
    }

    /// The first URI among the names of the client's certificate, which a mesh has its identities
    /// in. None: it has none, or showed no certificate. Default: the proxy does not tell.
    fn peer(&mut self) -> Option<Vec<u8>> {
        None
    }
}

/// Shared data: the one map that all workers of a proxy see.
pub trait Store {
    /// The value at `key` with its version, or None where the key does not exist.
    fn get(&mut self, key: &[u8]) -> Result<Option<(Vec<u8>, Version)>, StoreFailed>;

    /// Writes `value` at `key`, if `expected` still holds.
    fn set(&mut self, key: &[u8], value: &[u8], expected: Expected) -> Result<(), SetFailed>;
}

/// proxy-wasm's `cas` number of a stored value. Never 0. The host numbers the writes of all keys in
/// one row, so no two values of a key have the same version, until the 32 bits are used up and the
/// row begins again at 1.
pub type Version = u32;

/// What a write expects to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// The key does not exist yet. (On the wire: `cas = u32::MAX`, which can match nothing, while a
    /// host ignores the `cas` of a key that does not exist.)
    Absent,
    /// The key holds the value of this version.
    Version(Version),
    /// Nothing: whatever is there is overwritten. Only for keys with one writer. (On the wire: `cas
    /// = 0`.)
    Any,
}

/// The host refused the call. Its fault or the machine's, never the client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreFailed;

/// Why a write did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetFailed {
    /// The key has another version than was expected: another worker wrote first.
    CasMismatch,
    /// The host refused the call.
    Store,
}

/// The proxy's own metrics, as numbers that all workers share: a gauge is one atomic number of the
/// process. To add to one or to read one returns no bytes, so it costs a tenth of a read of shared
/// data. What a VM that died had added stays.
pub trait Stats {
    /// The gauge of this name, made if it is not there. Each call for a name makes another handle
    /// of the same gauge, which costs the proxy a little memory for good: ask once. None: the proxy
    /// has no such gauge to give.
    fn gauge(&mut self, name: &str) -> Option<Gauge>;

    /// Adds to a gauge, or takes from it.
    fn add(&mut self, gauge: Gauge, by: i64);

    /// The value of a gauge, now. Negative where more was taken than added. None: the proxy does
    /// not tell.
    fn value(&mut self, gauge: Gauge) -> Option<i64>;

    /// Sets a gauge, from 0. By default it adds what is missing, which is not the same where several
    /// workers set one gauge at once.
    fn set_gauge(&mut self, gauge: Gauge, value: i64) {
        let now = self.value(gauge).unwrap_or_default();
        self.add(gauge, value.saturating_sub(now));
    }
}

/// A handle of a gauge, of one VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Gauge(pub u32);

/// What the proxy knows of a stream that is over, or whose response's headers came. Each question costs a call that returns bytes.
pub trait StreamInfo {
    /// The status of the response; 0 where there was none.
    fn status(&mut self) -> Option<u16>;

    /// The gRPC status, of the trailers where there are some.
    fn grpc_status(&mut self) -> Option<u32>;

    /// Envoy's response flags, as bits (`response.flags`).
    fn flags(&mut self) -> Option<u64>;

    /// Whether the response came from an upstream, and not from the proxy or from another filter.
    /// None: the proxy does not tell.
    fn is_from_upstream(&mut self) -> Option<bool>;

    /// The address `ip:port` that was tried last. None: the request reached no upstream.
    fn upstream_address(&mut self) -> Option<Vec<u8>>;
}

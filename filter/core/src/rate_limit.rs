//! Rate limits: GCRA on shared data.

/// One limit of `rate_limits`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Its place in [`crate::config::Config::rate_limits`].
    pub index: usize,
    /// Its key in the configuration.
    pub name: Box<str>,
    /// Requests per `per`, from 1.
    pub requests: u32,
    /// In nanoseconds, from 1 ms.
    pub per: u64,
    /// The size of the bucket in requests, from 1. Default: `requests`.
    pub burst: u32,
    /// What tells clients apart. At least one part.
    pub key: Vec<KeyPart>,
    /// Count, never refuse.
    pub shadow: bool,
}

/// A part of a limit's key, or of a hash. A part that the request does not have counts as absent, a value of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPart {
    /// The client's address.
    ClientIp,
    /// All values of this header. Lower case.
    Header(Box<[u8]>),
    /// The first value of this cookie.
    Cookie(Box<[u8]>),
    /// The first value of this query parameter, percent-decoded.
    Query(Box<[u8]>),
    /// The path without the query.
    Path,
}

/// `rate_limit_table: { max_keys }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// 1 to 16,777,216. Default 65,536.
    pub max_keys: u32,
}

/// Something that happened and that an operator can count. Indices are those of [`crate::config::Config::rate_limits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// This limit refused a request.
    Refused(usize),
}

//! A part of a request that tells requests apart: a rate limit's `key`, and what `ip_hash` and
//! `consistent_hash` hash.
//!
//! **An empty value is no key** of a hash: such a request is balanced, or all of them would end on
//! one target. In a limit's key to have no value is a value like any other: all requests without
//! the header, cookie or query parameter share one bucket, and those where it is empty another.
//!
//! **Several values.** A client that names two keys may mean either, and a backend may read either.
//! A limit takes each of them ([`crate::rate_limit::KeyReader`]), so that a second line is no way
//! round it.

use crate::http::request::Request;
use crate::siphash::SipWriter;
use std::net::IpAddr;

/// A part of a limit's key, or of what a pool hashes. In a limit's key, a part that the request
/// does not have is a value of its own, the same for all such requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPart {
    /// The client's address.
    ClientIp,
    /// The client's network: so many bits of its IPv4 address, or of its IPv6 address. Only in a
    /// limit's key.
    ClientNetwork {
        /// 8 to 32.
        v4: u8,
        /// 16 to 128.
        v6: u8,
    },
    /// The values of this header. Lower case.
    Header(Box<[u8]>),
    /// The values of this cookie; what is hashed is the first.
    Cookie(Box<[u8]>),
    /// The values of this query parameter, percent-decoded; what is hashed is the first.
    Query(Box<[u8]>),
    /// The path without the query.
    Path,
    /// The host without its port, in lower case. Only in a limit's key.
    Host,
    /// The method. Only in a limit's key.
    Method,
    /// The name of the route. Only in a limit's key.
    Route,
}

impl KeyPart {
    /// Whether the request has this part. An empty value is none.
    pub fn is_in(&self, request: &Request<'_>, client: Option<IpAddr>) -> bool {
        match self {
            KeyPart::ClientIp | KeyPart::ClientNetwork { .. } => client.is_some(),
            KeyPart::Header(name) => header_values(request, name).next().is_some(),
            KeyPart::Cookie(name) => cookie_values(request, name).next().is_some(),
            KeyPart::Query(name) => query_values(request, name).next().is_some(),
            KeyPart::Path | KeyPart::Host | KeyPart::Method | KeyPart::Route => true,
        }
    }

    /// How many bits of an IPv4 and an IPv6 address this part tells apart. None: it has no address.
    pub fn prefixes(&self) -> Option<[u8; 2]> {
        match self {
            KeyPart::ClientIp => Some([32, 128]),
            KeyPart::ClientNetwork { v4, v6 } => Some([*v4, *v6]),
            _ => None,
        }
    }

    /// Writes what a pool hashes of the request: of a header all values that are not empty. No two
    /// different values write the same bytes.
    pub fn feed(&self, request: &Request<'_>, client: Option<IpAddr>, hash: &mut SipWriter) {
        match self {
            KeyPart::ClientIp => feed_address(hash, client),
            KeyPart::Header(name) => {
                for value in header_values(request, name) {
                    request.steps.count(value.len());
                    hash.write_byte(1);
                    hash.write_field(value);
                }
                hash.write_byte(0);
            }
            KeyPart::Cookie(name) => {
                feed_optional(request, hash, cookie_values(request, name).next())
            }
            KeyPart::Query(name) => {
                feed_optional(request, hash, query_values(request, name).next())
            }
            KeyPart::Path => {
                request.steps.count(request.path.len());
                hash.write_field(request.path);
            }
            // Only in a limit's key.
            KeyPart::ClientNetwork { .. } | KeyPart::Host | KeyPart::Method | KeyPart::Route => {}
        }
    }
}

/// The values of a header that are not empty.
pub fn header_values<'r>(
    request: &'r Request<'_>,
    name: &'r [u8],
) -> impl Iterator<Item = &'r [u8]> {
    let values = request.headers.all(name);
    values.filter(|value| !value.is_empty())
}

/// The values of a cookie that are not empty; in quotes neither.
pub(crate) fn cookie_values<'r>(
    request: &'r Request<'_>,
    name: &'r [u8],
) -> impl Iterator<Item = &'r [u8]> {
    request.filled_cookie_values(name)
}

/// The values of a query parameter that are not empty.
pub(crate) fn query_values<'r>(
    request: &'r Request<'_>,
    name: &'r [u8],
) -> impl Iterator<Item = &'r [u8]> {
    request.filled_query_values(name)
}

/// The first address of the network of so many bits that an address is in. An IPv4-mapped IPv6
/// address is an IPv4 address.
pub fn network(address: IpAddr, v4: u8, v6: u8) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let host_bits = 32_u32.saturating_sub(v4.into());
            let mask = u32::MAX.checked_shl(host_bits).unwrap_or_default();
            IpAddr::V4((u32::from(address) & mask).into())
        }
        IpAddr::V6(address) => {
            let host_bits = 128_u32.saturating_sub(v6.into());
            let mask = u128::MAX.checked_shl(host_bits).unwrap_or_default();
            IpAddr::V6((u128::from(address) & mask).into())
        }
    }
}

/// Writes an address, or that there is none, into a hash.
pub fn feed_address(hash: &mut SipWriter, address: Option<IpAddr>) {
    match address.map(|address| address.to_canonical()) {
        None => hash.write_byte(0),
        Some(IpAddr::V4(address)) => {
            hash.write_byte(4);
            hash.write(&address.octets());
        }
        Some(IpAddr::V6(address)) => {
            hash.write_byte(6);
            hash.write(&address.octets());
        }
    }
}

fn feed_optional(request: &Request<'_>, hash: &mut SipWriter, value: Option<&[u8]>) {
    request.steps.count(value.map_or(0, <[u8]>::len));
    hash.write_byte(value.is_some().into());
    hash.write_field(value.unwrap_or_default());
}

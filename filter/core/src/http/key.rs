//! A part of a request that tells requests apart: a rate limit's `key`, and what `ip_hash` and
//! `consistent_hash` hash.

use crate::http::request::Request;
use crate::siphash::SipWriter;
use std::net::IpAddr;

/// A part of a limit's key, or of what a pool hashes. In a limit's key, a part that the request does
/// not have is a value of its own.
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

impl KeyPart {
    /// Whether the request has this part. An empty value is one.
    pub fn is_in(&self, request: &Request<'_>, client: Option<IpAddr>) -> bool {
        match self {
            KeyPart::ClientIp => client.is_some(),
            KeyPart::Header(name) => request.headers.first(name).is_some(),
            KeyPart::Cookie(name) => request.cookie_values(name).next().is_some(),
            KeyPart::Query(name) => request.query_values(name).next().is_some(),
            KeyPart::Path => true,
        }
    }

    /// Writes what the request has of this part into a hash. No two different values write the same
    /// bytes.
    pub fn feed(&self, request: &Request<'_>, client: Option<IpAddr>, hash: &mut SipWriter) {
        match self {
            KeyPart::ClientIp => match client.map(|address| address.to_canonical()) {
                None => hash.write_byte(0),
                Some(IpAddr::V4(address)) => {
                    hash.write_byte(4);
                    hash.write(&address.octets());
                }
                Some(IpAddr::V6(address)) => {
                    hash.write_byte(6);
                    hash.write(&address.octets());
                }
            },
            KeyPart::Header(name) => {
                for value in request.headers.all(name) {
                    hash.write_byte(1);
                    hash.write_field(value);
                }
                hash.write_byte(0);
            }
            KeyPart::Cookie(name) => feed_optional(hash, request.cookie_values(name).next()),
            KeyPart::Query(name) => {
                feed_optional(hash, request.query_values(name).next().as_deref())
            }
            KeyPart::Path => hash.write_field(request.path),
        }
    }
}

fn feed_optional(hash: &mut SipWriter, value: Option<&[u8]>) {
    hash.write_byte(value.is_some().into());
    hash.write_field(value.unwrap_or_default());
}

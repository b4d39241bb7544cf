//! Who the client is.

use std::net::IpAddr;

/// `client_ip: { header, trusted_hops }`. Without it the client is the connection's source address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIp {
    /// The header that trusted proxies append to. Lower case.
    pub header: Box<[u8]>,
    /// Which address of the header, counted from the right, is the client: 1 is the last. 1 to 255.
    pub trusted_hops: u8,
}

/// A network, such as `10.0.0.0/8` or `2001:db8::/32`. An address alone is a network of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// The network's address, its host bits zero.
    pub address: IpAddr,
    /// The length of the prefix in bits.
    pub prefix: u8,
}

//! `client_ip`: which address is the client's.

use crate::http::headers::Headers;
use crate::port::Connection;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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

impl ClientIp {
    /// The address that the trusted proxies report: every line of the header joined in order, empty
    /// entries left out, counted from the right. Ports and brackets are tolerated. None: there is
    /// no such entry, or it is no address.
    fn reported(&self, headers: &Headers) -> Option<IpAddr> {
        let mut left = self.trusted_hops;
        // Mostly it is one address.
        if left <= 1
            && let Some(line) = headers.lone(&self.header)
            && let Some(address) = parse_plain_ipv4(line)
        {
            return Some(address.into());
        }
        for line in headers.all(&self.header).rev() {
            for entry in line.rsplit(|byte| *byte == b',') {
                let entry = entry.trim_ascii();
                if entry.is_empty() {
                    continue;
                }
                if left <= 1 {
                    return parse_address(entry);
                }
                left -= 1;
            }
        }
        None
    }
}

/// The client of one request. Its address is determined when it is first needed, and only once: the
/// connection's source address costs a host call.
#[derive(Debug)]
pub struct Client<'a> {
    from: Option<&'a ClientIp>,
    headers: &'a Headers,
    known: Option<Option<IpAddr>>,
    reported: Option<Option<IpAddr>>,
}

impl<'a> Client<'a> {
    /// The client of a request with these headers.
    pub fn new(from: Option<&'a ClientIp>, headers: &'a Headers) -> Client<'a> {
        Client {
            from,
            headers,
            known: None,
            reported: None,
        }
    }

    /// Its address, IPv4 as IPv4 even where it came mapped into IPv6: the one that the configured
    /// header reports, and where there is none or it is no address, the connection's source
    /// address. None: the connection has none.
    pub fn address(&mut self, connection: &mut dyn Connection) -> Option<IpAddr> {
        *self.known.get_or_insert_with(|| {
            let reported = || self.from.and_then(|from| from.reported(self.headers));
            let reported = self.reported.get_or_insert_with(reported);
            reported
                .or_else(|| connection.source_address())
                .map(|address| address.to_canonical())
        })
    }
}

impl Client<'_> {
    /// The address that conditions on networks compare. Unlike [`Client::address`] it is never that
    /// of the connection where a header is configured: behind trusted proxies that one is a proxy
    /// of one's own, in a network that is trusted most.
    pub fn address_for_networks(&mut self, connection: &mut dyn Connection) -> Option<IpAddr> {
        match self.from {
            Some(from) => {
                let reported = || from.reported(self.headers);
                *self.reported.get_or_insert_with(reported)
            }
            None => self.address(connection),
        }
    }

    /// Its address, if that is known without a question to the proxy.
    pub fn known(&self) -> Option<IpAddr> {
        match self.known {
            Some(known) => known,
            None => self.from?.reported(self.headers),
        }
    }
}

impl Network {
    /// Reads `10.0.0.0/8`, `2001:db8::/32` or an address alone. Host bits are dropped; a network of
    /// IPv4-mapped addresses is the IPv4 network. None: it is none of these.
    pub fn parse(text: &str) -> Option<Network> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix: u8 = match prefix {
            None => bits,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().ok()?
            }
            Some(_) => return None,
        };
        if prefix > bits {
            return None;
        }
        // The 96 bits that map IPv4 into IPv6.
        let (address, prefix) = match (address.to_canonical(), prefix.checked_sub(96)) {
            (IpAddr::V4(mapped), Some(prefix)) if address.is_ipv6() => (IpAddr::V4(mapped), prefix),
            _ => (address, prefix),
        };
        Some(Network {
            address: masked(address, prefix),
            prefix,
        })
    }

    /// Whether an address lies in the network. IPv4 mapped into IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        // An address of the other family stays of the other family.
        masked(address.to_canonical(), self.prefix) == self.address
    }
}

/// As [`Network::parse`] reads it.
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let host_bits = 32_u32.saturating_sub(prefix.into());
            IpAddr::V4(Ipv4Addr::from_bits(
                v4.to_bits() & u32::MAX.checked_shl(host_bits).unwrap_or(0),
            ))
        }
        IpAddr::V6(v6) => {
            let host_bits = 128_u32.saturating_sub(prefix.into());
            IpAddr::V6(Ipv6Addr::from_bits(
                v6.to_bits() & u128::MAX.checked_shl(host_bits).unwrap_or(0),
            ))
        }
    }
}

/// Reads an address as proxies write it: `1.2.3.4`, `1.2.3.4:5`, `::1`, `[::1]`, `[::1]:5`, and
/// Envoy's `source.address`. A zone (`fe80::1%eth0`) is dropped.
pub fn parse_address(text: &[u8]) -> Option<IpAddr> {
    match parse_plain_ipv4(text) {
        Some(address) => Some(address.into()),
        None => parse_any_address(text),
    }
}

/// `1.2.3.4` and nothing around it, in one pass. None: it is another spelling, or no address.
fn parse_plain_ipv4(text: &[u8]) -> Option<Ipv4Addr> {
    let mut rest = text;
    let mut address = 0;
    for number in 0..4 {
        if number > 0 {
            rest = rest.strip_prefix(b".")?;
        }
        let (part, behind) = ipv4_part(rest)?;
        address = address << 8 | part;
        rest = behind;
    }
    rest.is_empty().then(|| Ipv4Addr::from_bits(address))
}

/// A number up to 255, and what follows its digits. No zero in front: some readers take such a number
/// for octal.
#[inline]
fn ipv4_part(text: &[u8]) -> Option<(u32, &[u8])> {
    let digit = |byte: &u8| {
        let digit = u32::from(byte.wrapping_sub(b'0'));
        (digit < 10).then_some(digit)
    };
    let (first, mut rest) = text.split_first()?;
    let mut part = digit(first)?;
    while let Some((byte, behind)) = rest.split_first()
        && let Some(digit) = digit(byte)
    {
        if part == 0 {
            return None;
        }
        part = part * 10 + digit;
        if part > 255 {
            return None;
        }
        rest = behind;
    }
    Some((part, rest))
}

#[cold]
#[inline(never)]
fn parse_any_address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?.trim_ascii();
    let address = match text.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']')?.0,
        // One colon is that of a port, several are IPv6's own.
        None => match text.split_once(':') {
            Some((v4, port)) if !port.contains(':') => v4,
            _ => text,
        },
    };
    let address = address
        .split_once('%')
        .map_or(address, |(address, _zone)| address);
    address
        .parse::<IpAddr>()
        .ok()
        .map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn addresses_are_read_as_proxies_write_them() {
        for (text, address) in [
            (&b"1.2.3.4"[..], Some("1.2.3.4")),
            (b"255.0.10.200", Some("255.0.10.200")),
            (b"256.0.0.1", None),
            (b"1.2.3.04", None),
            (b"1.2.3.", None),
            (b"1.2.3", None),
            (b"1..2.3", None),
            (b".1.2.3", None),
            (b"1.2.3.4.", None),
            (b"1.2.3.4.5", None),
            (b"99999999999.2.3.4", None),
            (b"1.2.3.4:5", Some("1.2.3.4")),
            (b" 1.2.3.4 ", Some("1.2.3.4")),
            (b"::1", Some("::1")),
            (b"[::1]", Some("::1")),
            (b"[::1]:5", Some("::1")),
            (b"[fe80::1%eth0]:5", Some("fe80::1")),
            (b"fe80::1%eth0", Some("fe80::1")),
            (b"::ffff:1.2.3.4", Some("1.2.3.4")),
            (b"[::ffff:1.2.3.4]:80", Some("1.2.3.4")),
            (b"2001:db8::5:80", Some("2001:db8::5:80")),
            (b"", None),
            (b":", None),
            (b"[", None),
            (b"[::1", None),
            (b"1.2.3", None),
            (b"1.2.3.4.5", None),
            (b"unknown", None),
            (b"/tmp/socket", None),
            (b"\xff", None),
        ] {
            let expected = address.map(|address| address.parse::<IpAddr>().unwrap());
            assert_eq!(parse_address(text), expected, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn networks_contain_their_addresses_and_no_others() {
        for (network, yes, no) in [
            (
                "10.0.0.0/8",
                &["10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3"][..],
                &["11.0.0.0", "9.255.255.255", "::1"][..],
            ),
            ("10.1.2.3/8", &["10.0.0.0"], &["11.0.0.0"]),
            ("1.2.3.4", &["1.2.3.4"], &["1.2.3.5"]),
            ("0.0.0.0/0", &["0.0.0.0", "255.255.255.255"], &["::", "::1"]),
            (
                "2001:db8::/32",
                &["2001:db8::", "2001:db8:ffff::1"],
                &["2001:db9::", "32.1.13.184"],
            ),
            ("::1", &["::1"], &["::2", "0.0.0.1"]),
            ("::/0", &["::", "2001:db8::1"], &["1.2.3.4"]),
            (
                "::ffff:10.0.0.0/104",
                &["10.9.9.9", "::ffff:10.0.0.1"],
                &["11.0.0.0"],
            ),
        ] {
            let network = Network::parse(network).unwrap();
            for (addresses, expected) in [(yes, true), (no, false)] {
                for address in addresses {
                    assert_eq!(
                        network.contains(address.parse().unwrap()),
                        expected,
                        "{address} in {network}"
                    );
                }
            }
            assert_eq!(Network::parse(&network.to_string()), Some(network));
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "",
            "10.0.0.0/33",
            "::/129",
            "10.0.0/8",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0.0/8/8",
            "a",
            "1.2.3.4:80",
        ] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
    }

    /// A connection whose address is asked for.
    struct Source {
        address: Option<IpAddr>,
        asked: usize,
    }

    impl Connection for Source {
        fn source_address(&mut self) -> Option<IpAddr> {
            self.asked += 1;
            self.address
        }
    }

    #[test]
    fn client_is_counted_from_the_right_over_all_lines() {
        let source = "9.9.9.9";
        for (trusted_hops, lines, client) in [
            (1, &["1.1.1.1, 2.2.2.2"][..], "2.2.2.2"),
            (2, &["1.1.1.1, 2.2.2.2"], "1.1.1.1"),
            (1, &["1.1.1.1", "2.2.2.2"], "2.2.2.2"),
            (2, &["1.1.1.1", "2.2.2.2"], "1.1.1.1"),
            (3, &["1.1.1.1,2.2.2.2", "3.3.3.3"], "1.1.1.1"),
            (1, &["1.1.1.1:80"], "1.1.1.1"),
            (1, &["[2001:db8::1]:80"], "2001:db8::1"),
            (2, &["1.1.1.1,, 2.2.2.2 ,"], "1.1.1.1"),
            (3, &["1.1.1.1, 2.2.2.2"], source),
            (1, &[], source),
            (1, &[""], source),
            (1, &["1.1.1.1, unknown"], source),
        ] {
            let header: Box<[u8]> = b"x-forwarded-for"[..].into();
            let pairs: Vec<_> = lines.iter().map(|line| (&header[..], line)).collect();
            let headers = Headers::from_pairs(&pairs);
            let from = ClientIp {
                header: header.clone(),
                trusted_hops,
            };
            let address = source.parse().ok();
            let mut client_of = Client::new(Some(&from), &headers);
            let mut connection = Source { address, asked: 0 };
            let found = client_of.address(&mut connection);
            assert_eq!(found, client.parse().ok(), "{trusted_hops} of {lines:?}");
            // The connection's own address is in no network that a route is meant for.
            let compared = client_of.address_for_networks(&mut connection);
            let reported = client.parse().ok().filter(|_| client != source);
            assert_eq!(compared, reported, "{trusted_hops} of {lines:?}");
        }
    }

    #[test]
    fn the_connection_is_asked_at_most_once() {
        for (address, expected) in [(Some("::ffff:1.2.3.4"), Some("1.2.3.4")), (None, None)] {
            let mut connection = Source {
                address: address.map(|address| address.parse().unwrap()),
                asked: 0,
            };
            let headers = Headers::default();
            let mut client = Client::new(None, &headers);
            for _ in 0..3 {
                assert_eq!(
                    client.address_for_networks(&mut connection),
                    expected.map(|address| address.parse().unwrap())
                );
                assert_eq!(
                    client.address(&mut connection),
                    expected.map(|address| address.parse().unwrap())
                );
            }
            assert_eq!(connection.asked, 1);
        }
    }
}

//! The host of an authority.

use std::net::Ipv6Addr;

/// The host of an authority: without its port, and without the one dot at its end, which only says
/// that the name is absolute. Empty where it is no authority of `http` (RFC 9110 section 4.2: a
/// host, and digits behind a colon): what one reader takes for a host in it, another one does not.
/// So the host is labels of letters, digits, `-` and `_`, none of them empty, or an IPv6 address in
/// brackets, as it can stand in a configuration.
pub fn host_of(authority: &[u8]) -> &[u8] {
    match is_plain_host(authority) {
        true => authority,
        false => host_of_unusual(authority),
    }
}

/// Whether an authority is its host: labels between dots, and nothing else. That is one pass over
/// what nearly all requests have.
fn is_plain_host(authority: &[u8]) -> bool {
    let mut was_dot = true;
    for byte in authority {
        match PLACE_IN_HOST.get(usize::from(*byte)) {
            Some(InHost::Label) => was_dot = false,
            Some(InHost::Dot) if !was_dot => was_dot = true,
            _ => return false,
        }
    }
    !was_dot
}

/// What a byte is in a host.
#[derive(Clone, Copy)]
enum InHost {
    Label,
    Dot,
    Nothing,
}

/// For each byte: a table is one load where comparisons are six.
const PLACE_IN_HOST: [InHost; 256] = {
    let mut places = [InHost::Nothing; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        if let Some((_, [place, ..])) = places.split_at_mut_checked(byte as usize) {
            if byte == b'.' {
                *place = InHost::Dot;
            } else if is_in_labels(byte) {
                *place = InHost::Label;
            }
        }
        byte += 1;
    }
    places
};

#[cold]
#[inline(never)]
fn host_of_unusual(authority: &[u8]) -> &[u8] {
    let end = match authority {
        [b'[', ..] => authority
            .iter()
            .position(|byte| *byte == b']')
            .map(|at| at + 1),
        _ => authority.iter().position(|byte| *byte == b':'),
    };
    let end = end.unwrap_or(authority.len());
    let (host, port) = authority.split_at_checked(end).unwrap_or_default();
    let is_port = match port.split_first() {
        None => true,
        Some((colon, digits)) => *colon == b':' && digits.iter().all(u8::is_ascii_digit),
    };
    let host = host.strip_suffix(b".").unwrap_or(host);
    let is_host = match host.strip_prefix(b"[") {
        Some(address) => is_ipv6(address.strip_suffix(b"]")),
        None => host.split(|byte| *byte == b'.').all(is_label),
    };
    match is_port && is_host {
        true => host,
        false => &[],
    }
}

fn is_label(label: &[u8]) -> bool {
    !label.is_empty() && label.iter().all(|byte| is_in_labels(*byte))
}

const fn is_in_labels(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

fn is_ipv6(address: Option<&[u8]>) -> bool {
    let text = address.and_then(|address| std::str::from_utf8(address).ok());
    text.is_some_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn port_is_dropped_and_nothing_else() {
        for (authority, host) in [
            ("a", "a"),
            ("a:80", "a"),
            ("[::1]", "[::1]"),
            ("[::1]:80", "[::1]"),
            (":", ""),
            ("", ""),
        ] {
            assert_eq!(host_of(authority.as_bytes()), host.as_bytes());
        }
    }

    #[test]
    fn a_dot_at_the_end_is_the_same_host_and_what_is_no_authority_has_none() {
        for (authority, host) in [
            ("a.b.", "a.b"),
            ("a.b.:80", "a.b"),
            ("A_1-2.b:", "A_1-2.b"),
            ("127.0.0.1:1", "127.0.0.1"),
            ("[2001:DB8::1]:65535", "[2001:DB8::1]"),
            (".", ""),
            ("a..", ""),
            ("a..b", ""),
            (".a", ""),
            ("a:80@evil", ""),
            ("u@a", ""),
            ("u:p@a:80", ""),
            ("a:80:81", ""),
            ("a:b", ""),
            ("a:-1", ""),
            ("::1", ""),
            ("[::1", ""),
            ("[::1]x", ""),
            ("[::1].:80", ""),
            ("[a]", ""),
            ("[]", ""),
            ("a,b", ""),
            ("a, b", ""),
            ("a b", ""),
            ("a%2e", ""),
            ("a/b", ""),
            ("\u{e9}.a", ""),
        ] {
            assert_eq!(
                host_of(authority.as_bytes()),
                host.as_bytes(),
                "{authority}"
            );
        }
        assert_eq!(host_of(b"\xff.a"), b"");
    }
}

//! The small grammars that strings of a configuration follow.

use super::limits;
use crate::time::Nanos;
use std::net::{Ipv6Addr, SocketAddr};

/// What [`is_name`] accepts.
pub const NAME: &str = "a name: 1 to 128 bytes, no control characters, no blanks at its ends";

/// A name of the user's own.
pub fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= limits::MAX_NAME && is_line(text)
}

/// What [`is_ascii_name`] accepts.
pub const ASCII_NAME: &str =
    "a name: 1 to 128 ASCII characters, no control characters, no blanks at its ends";

/// A name that is also written into a structured header field, which is ASCII.
pub fn is_ascii_name(text: &str) -> bool {
    is_name(text) && text.is_ascii()
}

/// What [`is_scope`] accepts.
pub const SCOPE: &str = "a name: 1 to 64 letters, digits, `-` and `_`";

/// The name of a scope. It stands in the names of metrics, which dots divide.
pub fn is_scope(text: &str) -> bool {
    is_plain_key(text) && text.len() <= limits::MAX_SCOPE
}

/// Not empty, and without control characters and blanks at its ends: unchanged by whatever carries
/// it.
pub fn is_line(text: &str) -> bool {
    !text.is_empty() && text.trim() == text && !text.chars().any(char::is_control)
}

/// Whether a key can stand in a place (`a.b`) without quotes.
pub fn is_plain_key(key: &str) -> bool {
    !key.is_empty()
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

/// A token of RFC 9110, section 5.6.2: a header name, a method, a cookie's name.
pub fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// What [`is_variable`] accepts.
pub const VARIABLE: &str = "the name of a variable: capital letters, digits and `_`";

/// The name of a variable of the environment, as POSIX wants it: in capitals, so that a secret that
/// was written in its place is not taken for one and shown.
pub fn is_variable(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_uppercase() || c == '_')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

/// A header name, or a pseudo-header such as `:scheme`.
pub fn is_header_or_pseudo(text: &str) -> bool {
    is_token(text.strip_prefix(':').unwrap_or(text))
}

/// What may stand in a header's value: anything without the three bytes that would end it.
pub fn is_header_value(text: &str) -> bool {
    !text.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | 0))
}

/// What begins as an absolute URI does, without a `*`, which would stand for itself: a scheme, its
/// colon, and characters that a URI has.
pub fn is_uri_text(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"*\"<>\\^`{|}".contains(&byte);
    let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
        && text.bytes().all(is_plain)
}

/// A cookie's name as a client may send it.
pub fn is_cookie_name(text: &str) -> bool {
    is_line(text) && !text.contains(['=', ';'])
}

/// A path to match or to send: it starts with a slash, and has no query, no fragment, no blank.
pub fn is_path(text: &str) -> bool {
    text.starts_with('/')
        && !text
            .bytes()
            .any(|byte| matches!(byte, 0..=b' ' | 0x7f | b'?' | b'#'))
}

/// What a request asks a server for: a path in ASCII, with its query if there is one.
pub fn is_request_target(text: &str) -> bool {
    is_path(text.split('?').next().unwrap_or_default())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'#')
}

/// A status that ends an exchange.
pub fn status(text: &str) -> Option<u16> {
    let digits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|status| {
        digits && (limits::STATUS.least..=limits::STATUS.most).contains(&u32::from(*status))
    })
}

/// A cookie's `Path` attribute.
pub fn is_cookie_path(text: &str) -> bool {
    is_path(text) && text.is_ascii() && !text.contains(';')
}

/// A cookie's `Domain` attribute: a host name, and no address.
pub fn is_cookie_domain(text: &str) -> bool {
    let last = text.rsplit('.').next().unwrap_or_default();
    is_host(text)
        && !text.ends_with('.')
        && !last.bytes().all(|byte| byte.is_ascii_digit())
        && !text.starts_with('[')
}

/// A host without a port: labels of letters, digits, `-` and `_`, or an IPv6 address in brackets.
pub fn is_host(text: &str) -> bool {
    if let Some(address) = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        return address.parse::<Ipv6Addr>().is_ok();
    }
    let is_label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    // A dot at the end makes a name absolute.
    text.strip_suffix('.')
        .unwrap_or(text)
        .split('.')
        .all(is_label)
}

/// `host` or `host:port`.
pub fn is_authority(text: &str) -> bool {
    match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => {
            is_host(host)
                && port.bytes().all(|byte| byte.is_ascii_digit())
                && port.parse::<u16>().is_ok_and(|port| port > 0)
        }
        _ => is_host(text),
    }
}

/// `ip:port`, IPv6 in brackets.
pub fn is_endpoint(text: &str) -> bool {
    // A scope (`fe80::1%2`) means something on one machine only.
    text.parse::<SocketAddr>()
        .is_ok_and(|address| address.port() > 0)
        && !text.contains('%')
}

/// An endpoint as the proxy itself writes it, which compares addresses as texts:
/// `[2001:DB8:0::1]:80` is `[2001:db8::1]:80`.
pub fn endpoint(text: &str) -> String {
    match text.parse::<SocketAddr>() {
        Ok(address) => address.to_string(),
        Err(_) => text.to_owned(),
    }
}

/// `250ms`, `3s`, `1m`, `1h`.
pub fn duration(text: &str) -> Option<Nanos> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let unit = match unit {
        "ms" => Nanos::MILLISECOND,
        "s" => Nanos::SECOND,
        "m" => Nanos::from_secs(60),
        "h" => Nanos::from_secs(3600),
        _ => return None,
    };
    unit.checked_mul(number.parse().ok()?)
}

/// Lower case, as bytes.
#[inline(never)]
pub fn lower(text: &str) -> Box<[u8]> {
    text.to_ascii_lowercase().into_bytes().into()
}

/// As bytes.
#[inline(never)]
pub fn bytes(text: &str) -> Box<[u8]> {
    text.as_bytes().into()
}

/// `8KiB` in bytes. None: it is no number with one of the units `B`, `KiB` and `MiB`, or too large.
pub fn size(text: &str) -> Option<u32> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let unit = match unit {
        "B" => 1,
        "KiB" => 1024,
        "MiB" => 1024 * 1024,
        _ => return None,
    };
    number.parse::<u32>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn durations() {
        for (text, expected) in [
            ("250ms", Some(250_000_000)),
            ("3s", Some(3_000_000_000)),
            ("1m", Some(60_000_000_000)),
            ("1h", Some(3_600_000_000_000)),
            ("0s", Some(0)),
            ("", None),
            ("s", None),
            ("3", None),
            ("3 s", None),
            ("-3s", None),
            ("+3s", None),
            ("1.5s", None),
            ("1h30m", None),
            ("3S", None),
            ("18446744073709551616ms", None),
            ("18446744073709551615h", None),
            ("٣s", None),
        ] {
            assert_eq!(duration(text), expected.map(Nanos::new), "{text}");
        }
    }

    #[test]
    fn hosts_and_authorities() {
        for (text, host, authority) in [
            ("a", true, true),
            ("a.b-c.example", true, true),
            ("a_b", true, true),
            ("a.", true, true),
            ("127.0.0.1", true, true),
            ("[::1]", true, true),
            ("a:80", false, true),
            ("[::1]:80", false, true),
            ("a:0", false, false),
            ("a:65536", false, false),
            ("a:+1", false, false),
            ("a:", false, false),
            (":80", false, false),
            ("", false, false),
            (".", false, false),
            ("a..b", false, false),
            ("::1", false, false),
            ("[a]", false, false),
            ("a/b", false, false),
            ("a b", false, false),
            ("a\n", false, false),
            ("é", false, false),
        ] {
            assert_eq!(
                (is_host(text), is_authority(text)),
                (host, authority),
                "{text}"
            );
        }
    }

    #[test]
    fn endpoints_are_written_as_the_proxy_does() {
        for (text, expected) in [
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("[2001:DB8:0::1]:80", "[2001:db8::1]:80"),
            ("[::ffff:192.0.2.1]:80", "[::ffff:192.0.2.1]:80"),
        ] {
            assert!(is_endpoint(text));
            assert_eq!(endpoint(text), expected);
        }
    }
}

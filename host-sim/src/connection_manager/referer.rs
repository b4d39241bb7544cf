//! Which values of `referer` Envoy leaves. It drops what is no reference to a page: one with a
//! fragment or a user in it (RFC 9110, 10.1.3), or with what no URL has.

/// Whether Envoy leaves a `referer` of this value.
pub(super) fn is_left(value: &[u8]) -> bool {
    match url(value) {
        Some((authority, rest)) => {
            is_host_and_port(authority) && rest.iter().all(|byte| is_of_urls(*byte))
        }
        // A path: what stands before its first `/` has no colon.
        None => {
            let first = value.split(|byte| *byte == b'/').next();
            !first.unwrap_or_default().contains(&b':') && value.iter().all(|byte| is_of_urls(*byte))
        }
    }
}

/// Of `scheme://authority…` the authority, and what is behind it.
fn url(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = value.iter().position(|byte| *byte == b':')?;
    let (scheme, rest) = value.split_at(colon);
    let rest = rest.strip_prefix(b"://")?;
    let is_of_schemes = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    let is_scheme = scheme.first()?.is_ascii_alphabetic() && scheme.iter().all(is_of_schemes);
    let end = rest.iter().position(|byte| b"/?#".contains(byte));
    is_scheme.then(|| rest.split_at(end.unwrap_or(rest.len())))
}

/// What may stand in a path or a query.
fn is_of_urls(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:@/?".contains(&byte)
}

fn is_host_and_port(text: &[u8]) -> bool {
    let (has_host, port) = match text.strip_prefix(b"[") {
        Some(rest) => {
            let (address, port) = split_once(rest, b']');
            let (address, zone) = split_once(address, b'%');
            let is_of_addresses = |byte: &u8| byte.is_ascii_hexdigit() || b":.".contains(byte);
            let is_of_zones = |byte: &u8| byte.is_ascii_alphanumeric() || b"%.-_~".contains(byte);
            let is_address = !address.is_empty() && address.iter().all(is_of_addresses);
            let is_closed = text.contains(&b']');
            (
                is_address && is_closed && zone.iter().all(is_of_zones),
                port,
            )
        }
        None => {
            let colon = text.iter().position(|byte| *byte == b':');
            let (host, port) = text.split_at(colon.unwrap_or(text.len()));
            let is_of_names = |byte: &u8| byte.is_ascii_alphanumeric() || b".-".contains(byte);
            (!host.is_empty() && host.iter().all(is_of_names), port)
        }
    };
    let is_port = match port {
        [] => true,
        [b':', digits @ ..] => {
            // Leading zeros are no matter: what counts is the number.
            let digits = str::from_utf8(digits).unwrap_or_default();
            digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u16>().is_ok()
        }
        _ => false,
    };
    has_host && is_port
}

/// Before and behind the first such byte. The second is empty where there is none.
fn split_once(text: &[u8], at: u8) -> (&[u8], &[u8]) {
    match text.iter().position(|byte| *byte == at) {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::is_left;

    /// What Envoy 1.40.0 does with these; `tests/explain_laws.rs` asks it.
    #[test]
    fn what_is_no_reference_to_a_page_is_dropped() {
        for (value, left) in [
            ("", true),
            ("gold", true),
            ("gold,a", true),
            ("/path", true),
            ("http://h/", true),
            ("https://a.b:1/c?d", true),
            ("android-app://x/", true),
            ("a, b", false),
            ("https://a.b:1/c?d#e", false),
            ("http://user@h/", false),
            ("http://h_/", false),
            ("http://h:x/", false),
            ("a:b", false),
        ] {
            assert_eq!(is_left(value.as_bytes()), left, "{value}");
        }
    }
}

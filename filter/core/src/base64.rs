//! Base64 (RFC 4648). Of several spellings of the same bytes only the canonical one is read: bits
//! that no byte takes are 0.

/// Reads base64 of section 4, as people paste it into a configuration; the padding may be left out.
/// None: it is none.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    let padding = text.len() - digits.len();
    if padding > 0 && (!text.len().is_multiple_of(4) || padding > 2) {
        return None;
    }
    decode_digits(digits.as_bytes(), *b"+/")
}

/// Reads base64url of section 5 without padding, as [`encode_url`] writes it. None: it is none.
pub fn decode_url(text: &[u8]) -> Option<Vec<u8>> {
    decode_digits(text, *b"-_")
}

/// Appends the base64url of section 5, without padding.
pub fn encode_url(bytes: &[u8], text: &mut Vec<u8>) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for three in bytes.chunks(3) {
        let word = three
            .iter()
            .fold(0_u32, |word, byte| word << 8 | u32::from(*byte))
            << (8 * (3 - three.len()));
        for shift in [18, 12, 6, 0].into_iter().take(three.len() + 1) {
            text.extend(DIGITS.get((word >> shift) as usize % 64));
        }
    }
}

/// The last two digits stand for 62 and 63: in them the two alphabets differ.
fn decode_digits(digits: &[u8], [digit_62, digit_63]: [u8; 2]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    let (mut word, mut bits) = (0_u32, 0);
    for digit in digits {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            _ if *digit == digit_62 => 62,
            _ if *digit == digit_63 => 63,
            _ => return None,
        };
        word = word << 6 | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((word >> bits & 0xff) as u8);
            word &= (1 << bits) - 1;
        }
    }
    // A digit too many, or bits that no byte takes.
    (bits < 6 && word == 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn base64_of_rfc_4648() {
        for (text, expected) in [
            ("", Some(&b""[..])),
            ("Zg==", Some(b"f")),
            ("Zm8=", Some(b"fo")),
            ("Zm9v", Some(b"foo")),
            ("Zm9vYg==", Some(b"foob")),
            ("Zm9vYmE=", Some(b"fooba")),
            ("Zm9vYmFy", Some(b"foobar")),
            ("+/+/", Some(b"\xfb\xff\xbf")),
            ("Zm9vYg", Some(b"foob")),
            ("Zm9vYmE", Some(b"fooba")),
            ("Z", None),
            ("Zm9vY", None),
            ("Zg=", None),
            ("Zg===", None),
            ("====", None),
            ("Zh==", None),
            ("Zm 9", None),
            ("-_-_", None),
        ] {
            assert_eq!(decode(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn base64url_is_that_of_the_rfc() {
        for (bytes, text) in [
            (&b""[..], &b""[..]),
            (b"f", b"Zg"),
            (b"fo", b"Zm8"),
            (b"foo", b"Zm9v"),
            (b"foob", b"Zm9vYg"),
            (b"\xfb\xff", b"-_8"),
        ] {
            let mut written = Vec::new();
            encode_url(bytes, &mut written);
            assert_eq!(written, text);
            assert_eq!(decode_url(text).as_deref(), Some(bytes));
        }
        // Other spellings of the same bytes.
        for text in [
            &b"Zh"[..],
            b"Zm9",
            b"Z",
            b"Zg==",
            b"Zm9vY",
            b"Zm 9v",
            b"+/+/",
        ] {
            assert_eq!(decode_url(text), None);
        }
    }
}

//! Values without their percent-encoding.
//!
//! The core has a decoder of its own (`http/pairs.rs`), which all requests with a query may pass: it
//! appends to one text, eight bytes at a time, and is compiled for speed. This crate is compiled for
//! size, and only what `protect` names comes here, so one for both would cost one of them.

/// A value with its percent-encoding taken off once. `plus`: a `+` is a blank, as in a query. None:
/// it has none.
pub(super) fn decoded(value: &[u8], plus: bool) -> Option<Vec<u8>> {
    let is_encoded = |byte: &u8| *byte == b'%' || plus && *byte == b'+';
    value.iter().any(is_encoded).then(|| {
        let mut decoded = Vec::with_capacity(value.len());
        let mut rest = value;
        while let Some((byte, mut after)) = rest.split_first() {
            decoded.push(match (byte, after) {
                (b'%', [high, low, tail @ ..]) => match (hex(*high), hex(*low)) {
                    (Some(high), Some(low)) => {
                        after = tail;
                        high << 4 | low
                    }
                    _ => b'%',
                },
                (b'+', _) if plus => b' ',
                _ => *byte,
            });
            rest = after;
        }
        decoded
    })
}

fn hex(digit: u8) -> Option<u8> {
    u8::try_from((digit as char).to_digit(16)?).ok()
}

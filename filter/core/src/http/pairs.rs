//! Names and values that a request carries in one text: its cookies, or its query. They are taken
//! apart once, where something first asks for one, and then found by name at once.
//!
//! A look-up never gives up. Clients choose the names, so their places in a table are those of a
//! hash whose key no client knows: beside what is asked for stand hardly any others, whatever a
//! request brings. A look-up that ended early would say that a session is not there while the target
//! reads it.

use super::find::{find_any, is_equal, split_at_byte};
use super::steps::Steps;
use crate::siphash::mixed;
use std::ops::Range;

/// What a text was taken apart into. It takes at most 20 bytes for each byte of the text.
#[derive(Clone, Debug)]
pub(super) struct Pairs {
    /// What the ranges are of. None: of the text itself.
    decoded: Option<Vec<u8>>,
    /// In the order of the text.
    pairs: Vec<Pair>,
    places: Places,
}

#[derive(Clone, Debug)]
struct Pair {
    name: Range<u32>,
    value: Range<u32>,
    /// The next pairs whose names have the same place.
    next: Next,
}

/// The numbers of pairs, from 1. 0: there is none.
#[derive(Clone, Copy, Debug, Default)]
struct Next {
    any: u32,
    /// The next one that has a value.
    filled: u32,
}

/// For each hash of a name, as far as there is room, the first pairs that have it.
#[derive(Clone, Debug)]
struct Places {
    secret: u64,
    /// Empty: there are so few pairs that all are looked at.
    heads: Vec<Next>,
}

/// Which values of a name are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    All,
    /// Those that are not empty, and perhaps others.
    Filled,
}

impl Pairs {
    /// Of all `cookie` headers, which lie so in the text of the header map.
    pub(super) fn of_cookies(
        text: &[u8],
        headers: impl Iterator<Item = Range<u32>>,
        secret: u64,
        steps: &Steps,
    ) -> Pairs {
        let mut pairs = Vec::with_capacity(FEW);
        for header in headers {
            steps.spend(STEPS_PER_BYTE * header.len());
            let (mut rest, mut start) = (slice(text, &header), header.start);
            // A name ends with the first `=`; a part without one is no cookie.
            while let Some(at) = find_any(rest, [b'=', b';'])
                && let Some((name, [sign, behind @ ..])) = rest.split_at_checked(at)
            {
                let here = start + length(name) + 1;
                (rest, start) = (behind, here);
                if *sign == b'=' {
                    let (value, next) = split_at_byte(behind, b';');
                    pairs.push(Pair::new(
                        trimmed(name, here - 1 - length(name)),
                        trimmed(value, here),
                    ));
                    rest = next.unwrap_or_default();
                    start = here + length(value) + 1;
                }
            }
        }
        Pairs::new(text, None, pairs, true, secret, steps)
    }

    /// Of a query.
    pub(super) fn of_query(query: &[u8], secret: u64, steps: &Steps) -> Pairs {
        let is_encoded = query.iter().any(|byte| matches!(byte, b'%' | b'+'));
        let steps_per_byte = match is_encoded {
            true => STEPS_PER_ENCODED_BYTE,
            false => STEPS_PER_BYTE,
        };
        steps.spend(steps_per_byte * query.len());
        let mut decoded = Vec::with_capacity(if is_encoded { query.len() } else { 0 });
        // Where a part lies: in the query, or in what it was decoded to.
        let mut place = |part: &[u8], at: u32| {
            let start = match is_encoded {
                true => length(&decoded),
                false => at,
            };
            if is_encoded {
                decode(part, &mut decoded);
            }
            let end = match is_encoded {
                true => length(&decoded),
                false => at + length(part),
            };
            start..end
        };
        let mut pairs = Vec::new();
        for part in split(query, 0..length(query), b'&') {
            let bytes = slice(query, &part);
            if bytes.is_empty() {
                continue;
            }
            let (name, value) = split_at_byte(bytes, b'=');
            let behind = part.start + length(name) + 1;
            let name = place(name, part.start);
            pairs.push(Pair::new(name, place(value.unwrap_or_default(), behind)));
        }
        let decoded = is_encoded.then_some(decoded);
        Pairs::new(query, decoded, pairs, false, secret, steps)
    }

    /// `quotes`: a value of two quotes is empty too.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a header map is shorter than 2^32 bytes"
    )]
    fn new(
        text: &[u8],
        decoded: Option<Vec<u8>>,
        mut pairs: Vec<Pair>,
        quotes: bool,
        secret: u64,
        steps: &Steps,
    ) -> Pairs {
        steps.spend(STEPS_PER_PAIR * pairs.len());
        let text = decoded.as_deref().unwrap_or(text);
        let mut places = Places {
            secret,
            heads: Vec::new(),
        };
        if pairs.len() > FEW {
            places.heads = vec![Next::default(); pairs.len().next_power_of_two()];
            // From the last to the first, so that each leads to the one behind it.
            for (at, pair) in pairs.iter_mut().enumerate().rev() {
                let place = places.of(slice(text, &pair.name));
                if let Some(head) = places.heads.get_mut(place) {
                    pair.next = *head;
                    head.any = at as u32 + 1;
                    let is_empty = match pair.value.end - pair.value.start {
                        0 => true,
                        2 => quotes && is_empty_cookie(slice(text, &pair.value)),
                        _ => false,
                    };
                    if !is_empty {
                        head.filled = head.any;
                    }
                }
            }
        }
        Pairs {
            decoded,
            pairs,
            places,
        }
    }

    /// The values of a name, in the order of the text, which is the same one. What looking at more
    /// than a few pairs takes is taken from the allowance, but all are there: who asks may stop.
    pub(super) fn values<'p>(
        &'p self,
        text: &'p [u8],
        name: &'p [u8],
        which: Which,
        steps: &'p Steps,
    ) -> impl Iterator<Item = &'p [u8]> {
        let text = self.decoded.as_deref().unwrap_or(text);
        steps.count(STEPS_PER_LOOK);
        let heads = &self.places.heads;
        let is_chained = !heads.is_empty();
        let mut next = match is_chained {
            true => heads.get(self.places.of(name)).map_or(0, |it| it.of(which)),
            false => 1,
        };
        let mut free = FREE;
        std::iter::from_fn(move || {
            loop {
                let number = next;
                let pair = self.pairs.get(number.checked_sub(1)? as usize)?;
                next = match is_chained {
                    true => pair.next.of(which),
                    false => number + 1,
                };
                match free.checked_sub(1) {
                    Some(left) => {
                        free = left;
                        steps.count(STEPS_PER_VALUE);
                    }
                    None => steps.spend(STEPS_PER_VALUE),
                }
                if is_equal(slice(text, &pair.name), name) {
                    return Some(slice(text, &pair.value));
                }
            }
        })
    }
}

impl Next {
    fn of(self, which: Which) -> u32 {
        match which {
            Which::All => self.any,
            Which::Filled => self.filled,
        }
    }
}

/// Whether a cookie's value is none: in quotes too.
pub(super) fn is_empty_cookie(value: &[u8]) -> bool {
    matches!(value, b"" | b"\"\"")
}

impl Pair {
    fn new(name: Range<u32>, value: Range<u32>) -> Pair {
        Pair {
            name,
            value,
            next: Next::default(),
        }
    }
}

/// The parts of a range of the text between a byte.
fn split(text: &[u8], range: Range<u32>, at: u8) -> impl Iterator<Item = Range<u32>> {
    let mut start = range.start;
    let parts = slice(text, &range).split(move |byte| *byte == at);
    parts.map(move |part| {
        let here = start..start + length(part);
        start = here.end + 1;
        here
    })
}

/// Where what is left of a part without blanks around it lies.
#[inline]
fn trimmed(part: &[u8], at: u32) -> Range<u32> {
    let behind_blanks = part.trim_ascii_start();
    let start = at + length(part) - length(behind_blanks);
    start..start + length(behind_blanks.trim_ascii_end())
}

impl Places {
    /// The place of a name among the heads, whose number is a power of two: by the highest bits of
    /// its hash, since lower ones do not depend on all of a name.
    fn of(&self, name: &[u8]) -> usize {
        let hash = u64::from(hash(name, self.secret));
        ((hash * self.heads.len() as u64) >> 32) as usize
    }
}

/// The hash of a name under a secret: of two names that differ, whatever a client chose, its bits
/// are equal as seldom as those of random numbers. A name of up to 8 bytes is one number, and takes
/// two multiplications (Dietzfelbinger and others, "A reliable randomized algorithm for the
/// closest-pair problem", 1997); a longer one is several ("multilinear", Lemire and Kaser, "Strongly
/// universal string hashing is fast", 2014). The factors are random numbers made of the secret.
fn hash(name: &[u8], secret: u64) -> u32 {
    let of_length = secret.wrapping_mul(name.len() as u64);
    if name.len() > 8 {
        return hash_of_long(name, secret.wrapping_add(of_length));
    }
    let word = match (name.first_chunk::<4>(), name.last_chunk::<4>()) {
        // They overlap, which the length tells apart.
        (Some(first), Some(last)) => {
            u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << 32
        }
        _ => {
            let bytes = name.iter().rev();
            bytes.fold(0, |word, byte| word << 8 | u64::from(*byte))
        }
    };
    let factor = secret.rotate_left(32) | 1;
    (factor.wrapping_mul(word).wrapping_add(of_length) >> 32) as u32
}

fn hash_of_long(name: &[u8], mut state: u64) -> u32 {
    let (words, rest) = name.as_chunks::<4>();
    // The last word is filled up with zeros, which the length tells apart.
    let last = rest.iter().rev();
    let last = last.fold(0, |word, byte| word << 8 | u64::from(*byte));
    let words = words
        .iter()
        .map(|word| u64::from(u32::from_le_bytes(*word)));
    let sum = words.chain([last]).fold(mixed(state), |sum, word| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        sum.wrapping_add(mixed(state).wrapping_mul(word))
    });
    (sum >> 32) as u32
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a header map is shorter than 2^32 bytes"
)]
fn length(bytes: &[u8]) -> u32 {
    bytes.len() as u32
}

fn slice<'a>(bytes: &'a [u8], range: &Range<u32>) -> &'a [u8] {
    bytes
        .get(range.start as usize..range.end as usize)
        .unwrap_or_default()
}

/// Appends the bytes of an encoded query name or value: `%41` is `A`, `+` is a blank; a `%` without
/// two hex digits is itself.
pub(super) fn decode(encoded: &[u8], decoded: &mut Vec<u8>) {
    let mut rest = encoded;
    while let Some(at) = find_any(rest, [b'%', b'+'])
        && let Some((plain, [sign, after @ ..])) = rest.split_at_checked(at)
    {
        decoded.extend_from_slice(plain);
        rest = after;
        decoded.push(match (sign, after) {
            (b'%', [high, low, tail @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    rest = tail;
                    high << 4 | low
                }
                _ => b'%',
            },
            (b'%', _) => b'%',
            _ => b' ',
        });
    }
    decoded.extend_from_slice(rest);
}

fn hex(digit: u8) -> Option<u8> {
    u8::try_from((digit as char).to_digit(16)?).ok()
}

/// So few pairs are looked at one after the other.
const FEW: usize = 8;

/// What taking a text apart costs for each of its bytes and for each pair, in steps.
const STEPS_PER_BYTE: usize = 1;
const STEPS_PER_PAIR: usize = 30;

/// The same for each byte of a query that has encoded ones.
const STEPS_PER_ENCODED_BYTE: usize = 5;

/// What looking for a name costs, and at each pair of its place, in steps.
const STEPS_PER_LOOK: usize = 24;
const STEPS_PER_VALUE: usize = 12;

/// So many pairs of a look-up take nothing of the allowance.
const FREE: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// The values of a name as a scan of the text finds them.
    fn scanned(query: &[u8], name: &[u8]) -> Vec<Vec<u8>> {
        let decoded = |encoded: &[u8]| {
            let mut bytes = Vec::new();
            decode(encoded, &mut bytes);
            bytes
        };
        query
            .split(|byte| *byte == b'&')
            .filter(|part| !part.is_empty())
            .map(|part| split_at_byte(part, b'='))
            .filter(|(n, _)| decoded(n) == name)
            .map(|(_, value)| decoded(value.unwrap_or_default()))
            .collect()
    }

    #[test]
    fn few_and_many_parameters_are_found_in_their_order() {
        for count in [0, 1, FEW, FEW + 1, 100, 5000] {
            for encoded in [false, true] {
                let part = |n: usize| match encoded {
                    true => format!("n{}=%2{}+x", n % 50, n % 10),
                    false => format!("n{}={n}", n % 50),
                };
                let query = (0..count).map(part).collect::<Vec<_>>().join("&");
                let steps = Steps::default();
                let pairs = Pairs::of_query(query.as_bytes(), 7, &steps);
                for name in ["n0", "n7", "n49", "n50", "", "n"] {
                    let found: Vec<_> = pairs
                        .values(query.as_bytes(), name.as_bytes(), Which::All, &steps)
                        .collect();
                    assert_eq!(
                        found,
                        scanned(query.as_bytes(), name.as_bytes()),
                        "{name} of {count}"
                    );
                }
            }
        }
    }

    /// Names of all lengths that differ in one bit or in the last bytes: what a client would try.
    #[test]
    fn names_that_are_alike_are_spread_over_all_places() {
        const NAMES: usize = 1024;
        let alike = |kind: usize, n: usize| -> Vec<u8> {
            let digits = [b'!' + (n & 31) as u8, b'!' + (n >> 5) as u8];
            match kind {
                0 => digits.to_vec(),
                1 => [&digits[..], b"x"].concat(),
                2 => [&b"session"[..], &digits[..1], &digits[1..]].concat(),
                3 => [&b"abcdef"[..], &digits].concat(),
                4 => [&digits[..], b"abcdef"].concat(),
                5 => [&b"a-name-of-some-length-"[..], &digits].concat(),
                _ => [&digits[..], b"-a-name-of-some-length"].concat(),
            }
        };
        for kind in 0..7 {
            for secret in [1, 7, 0x0123_4567_89ab_cdef, u64::MAX, mixed(1), mixed(2)] {
                let places = Places {
                    secret: mixed(secret),
                    heads: vec![Next::default(); NAMES],
                };
                let mut counts = vec![0; NAMES];
                (0..NAMES).for_each(|n| counts[places.of(&alike(kind, n))] += 1);
                let most = *counts.iter().max().unwrap();
                assert!(most <= 40, "{most} of {NAMES}, {kind}, {secret}");
            }
        }
    }

    #[test]
    fn encoded_bytes_are_decoded_once() {
        for (encoded, decoded) in [
            ("%41%4+%", "A%4 %"),
            ("", ""),
            ("%2541", "%41"),
            ("a%zzb", "a%zzb"),
        ] {
            let mut bytes = Vec::new();
            decode(encoded.as_bytes(), &mut bytes);
            assert_eq!(bytes, decoded.as_bytes());
        }
    }
}

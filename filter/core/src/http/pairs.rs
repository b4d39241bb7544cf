//! Names and values that a request carries in one text: its cookies, or its query. They are taken
//! apart once, where something first asks for one, and then found by name at once.
//!
//! A look-up never gives up. Clients choose the names, so pairs are gathered by their names under a
//! hash whose key no client knows: what is asked for is found in the same few steps whatever stands
//! beside it. A look-up that ended early would say that a session is not there while the target
//! reads it.

use super::find::{find_any, is_equal, split_at_byte};
use super::steps::Steps;
use crate::siphash::mixed;
use std::ops::Range;

/// What a text was taken apart into. It takes at most 16 bytes for each byte of the text.
#[derive(Clone, Debug)]
pub(super) struct Pairs {
    /// What the ranges are of. None: of the text itself.
    decoded: Option<Vec<u8>>,
    /// In the order of the text.
    pairs: Vec<Pair>,
    /// None: there are so few pairs that all are looked at.
    names: Option<Names>,
}

#[derive(Clone, Debug)]
struct Pair {
    name: Range<u32>,
    value: Range<u32>,
    /// The next pair of the same name, and the next one that has a value. Without [`Names`]: 0.
    next: Next,
}

/// The numbers of pairs, from 1. 0: there is none.
#[derive(Clone, Copy, Debug, Default)]
struct Next {
    any: u32,
    filled: u32,
}

/// The different names.
#[derive(Clone, Debug)]
struct Names {
    secret: u64,
    /// For each hash of a name, as far as there is room, the number of the last name that has it,
    /// from 1. 0: there is none.
    heads: Vec<u32>,
    names: Vec<Name>,
}

#[derive(Clone, Debug)]
struct Name {
    name: Range<u32>,
    hash: u32,
    /// The first pairs that have it.
    first: Next,
    /// The number of the next name in the same place of `heads`.
    next: u32,
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
        Pairs::new(text, None, pairs, is_empty_cookie, secret, steps)
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
        Pairs::new(query, decoded, pairs, <[u8]>::is_empty, secret, steps)
    }

    fn new(
        text: &[u8],
        decoded: Option<Vec<u8>>,
        mut pairs: Vec<Pair>,
        is_empty: fn(&[u8]) -> bool,
        secret: u64,
        steps: &Steps,
    ) -> Pairs {
        steps.spend(STEPS_PER_PAIR * pairs.len());
        let text = decoded.as_deref().unwrap_or(text);
        let names = (pairs.len() > FEW).then(|| Names::of(text, &mut pairs, is_empty, secret));
        Pairs {
            decoded,
            pairs,
            names,
        }
    }

    /// The values of a name, in the order of the text, which is the same one. What looking at more
    /// than a few of them takes is taken from the allowance, but all are there: who asks may stop.
    pub(super) fn values<'p>(
        &'p self,
        text: &'p [u8],
        name: &'p [u8],
        which: Which,
        steps: &'p Steps,
    ) -> impl Iterator<Item = &'p [u8]> {
        let text = self.decoded.as_deref().unwrap_or(text);
        steps.count(STEPS_PER_LOOK);
        let mut next = match &self.names {
            Some(names) => names.first(text, name).of(which),
            None => 1,
        };
        let mut free = FREE;
        std::iter::from_fn(move || {
            loop {
                let number = next;
                let pair = self.pairs.get(number.checked_sub(1)? as usize)?;
                match free.checked_sub(1) {
                    Some(left) => {
                        free = left;
                        steps.count(STEPS_PER_VALUE);
                    }
                    None => steps.spend(STEPS_PER_VALUE),
                }
                if self.names.is_some() {
                    next = pair.next.of(which);
                    return Some(slice(text, &pair.value));
                }
                next = number + 1;
                if is_equal(slice(text, &pair.name), name) {
                    return Some(slice(text, &pair.value));
                }
            }
        })
    }
}

impl Names {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a header map is shorter than 2^32 bytes"
    )]
    fn of(text: &[u8], pairs: &mut [Pair], is_empty: fn(&[u8]) -> bool, secret: u64) -> Names {
        let mut names = Names {
            secret,
            heads: vec![0; pairs.len().next_power_of_two()],
            names: Vec::new(),
        };
        // From the last to the first, so that each leads to the one behind it.
        for (at, pair) in pairs.iter_mut().enumerate().rev() {
            let number = at as u32 + 1;
            let Some(name) = names.name_of(text, &pair.name) else {
                continue;
            };
            pair.next = name.first;
            name.first.any = number;
            if !is_empty(slice(text, &pair.value)) {
                name.first.filled = number;
            }
        }
        names
    }

    /// The name of a pair, which is noted if it is new.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a header map is shorter than 2^32 bytes"
    )]
    fn name_of(&mut self, text: &[u8], name: &Range<u32>) -> Option<&mut Name> {
        let bytes = slice(text, name);
        let hash = hash(bytes, self.secret);
        let at = match self.find(text, bytes, hash) {
            Some(known) => known,
            None => {
                let place = self.place(hash);
                let head = self.heads.get_mut(place)?;
                let new = Name {
                    name: name.clone(),
                    hash,
                    first: Next::default(),
                    next: *head,
                };
                self.names.push(new);
                *head = self.names.len() as u32;
                self.names.len() - 1
            }
        };
        self.names.get_mut(at)
    }

    /// The first pairs of a name.
    fn first(&self, text: &[u8], name: &[u8]) -> Next {
        let found = self.find(text, name, hash(name, self.secret));
        let found = found.and_then(|at| self.names.get(at));
        found.map(|name| name.first).unwrap_or_default()
    }

    fn find(&self, text: &[u8], bytes: &[u8], hash: u32) -> Option<usize> {
        let mut next = self.heads.get(self.place(hash)).copied()?;
        loop {
            let at = next.checked_sub(1)? as usize;
            let name = self.names.get(at)?;
            if name.hash == hash && is_equal(slice(text, &name.name), bytes) {
                return Some(at);
            }
            next = name.next;
        }
    }

    /// Of a hash among the heads, whose number is a power of two.
    fn place(&self, hash: u32) -> usize {
        hash as usize & self.heads.len().saturating_sub(1)
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

/// The hash of a name under a secret: of two names that differ, whatever a client chose, the hashes
/// are equal with a probability of 2^-32, and so are any of their bits ("multilinear", Lemire and
/// Kaser, "Strongly universal string hashing is fast", 2014). Its factors are random numbers made of
/// the secret (SplitMix64).
fn hash(name: &[u8], secret: u64) -> u32 {
    let mut state = secret;
    let mut factor = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(state)
    };
    // The last word is filled up with zeros, which the length tells apart.
    let mut sum = factor().wrapping_add(factor().wrapping_mul(name.len() as u64));
    let (words, rest) = name.as_chunks::<4>();
    for word in words {
        let word = u32::from_le_bytes(*word);
        sum = sum.wrapping_add(factor().wrapping_mul(u64::from(word)));
    }
    if !rest.is_empty() {
        let bytes = rest.iter().rev();
        let word = bytes.fold(0, |word, byte| word << 8 | u64::from(*byte));
        sum = sum.wrapping_add(factor().wrapping_mul(word));
    }
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

/// What looking for a name costs, and each value of it, in steps.
const STEPS_PER_LOOK: usize = 24;
const STEPS_PER_VALUE: usize = 12;

/// So many values of a look-up take nothing of the allowance.
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

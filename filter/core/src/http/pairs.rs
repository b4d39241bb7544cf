//! Names and values that a request carries in one text: its cookies, or its query. They are taken
//! apart once, where something first asks for one, and then found by name at once.

use super::find::{find_any, is_equal, split_at_byte};
use super::steps::Steps;
use fnv::FnvHasher;
use std::hash::Hasher;
use std::ops::Range;

/// What a text was taken apart into. It takes at most 14 bytes for each byte of the text.
#[derive(Clone, Debug)]
pub(super) struct Pairs {
    /// What the ranges are of. None: of the text itself.
    decoded: Option<Vec<u8>>,
    /// In the order of the text.
    pairs: Vec<Pair>,
    /// For each hash of a name, as far as there is room, the last pair that has it, and one more.
    /// Empty: there are so few pairs that all are looked at.
    heads: Vec<u32>,
}

#[derive(Clone, Debug)]
struct Pair {
    name: Range<u32>,
    value: Range<u32>,
    /// The next pair whose name falls into the same place of `heads`, and one more. 0: none.
    next: u32,
}

impl Pairs {
    /// Of all `cookie` headers, which lie so in the text of the header map.
    pub(super) fn of_cookies(
        text: &[u8],
        headers: impl Iterator<Item = Range<u32>>,
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
        Pairs::new(text, None, pairs, steps)
    }

    /// Of a query.
    pub(super) fn of_query(query: &[u8], steps: &Steps) -> Pairs {
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
        Pairs::new(query, is_encoded.then_some(decoded), pairs, steps)
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "a header map is shorter than 2^32 bytes"
    )]
    fn new(text: &[u8], decoded: Option<Vec<u8>>, mut pairs: Vec<Pair>, steps: &Steps) -> Pairs {
        steps.spend(STEPS_PER_PAIR * pairs.len());
        let text = decoded.as_deref().unwrap_or(text);
        let mut heads = Vec::new();
        if pairs.len() > FEW {
            heads = vec![0; pairs.len().next_power_of_two()];
            // From the last to the first, so that a chain goes from the first to the last.
            for (at, pair) in pairs.iter_mut().enumerate().rev() {
                let place = place(slice(text, &pair.name), heads.len());
                if let Some(head) = heads.get_mut(place) {
                    pair.next = std::mem::replace(head, at as u32 + 1);
                }
            }
        }
        Pairs {
            decoded,
            pairs,
            heads,
        }
    }

    /// Every value of a name, in the order of the text, which is the same one. Clients choose names
    /// that fall into one place, so pairs that are looked at draw on the allowance.
    pub(super) fn values<'p>(
        &'p self,
        text: &'p [u8],
        name: &'p [u8],
        steps: &'p Steps,
    ) -> impl Iterator<Item = &'p [u8]> {
        let text = self.decoded.as_deref().unwrap_or(text);
        let is_chained = !self.heads.is_empty();
        let mut next = match is_chained {
            true => self.heads.get(place(name, self.heads.len())).copied(),
            false => Some(1),
        };
        let mut free = FREE;
        std::iter::from_fn(move || {
            loop {
                let number = next?;
                let pair = self.pairs.get(number.checked_sub(1)? as usize)?;
                next = Some(if is_chained { pair.next } else { number + 1 });
                steps.count(STEPS_PER_LOOK as usize);
                match free.checked_sub(1) {
                    Some(left) => free = left,
                    None if steps.draw(STEPS_PER_LOOK) => {}
                    None => return None,
                }
                if is_equal(slice(text, &pair.name), name) {
                    return Some(slice(text, &pair.value));
                }
            }
        })
    }
}

impl Pair {
    fn new(name: Range<u32>, value: Range<u32>) -> Pair {
        Pair {
            name,
            value,
            next: 0,
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

/// The place of a name among so many, which is a power of two.
fn place(name: &[u8], places: usize) -> usize {
    let mut hasher = FnvHasher::default();
    hasher.write(name);
    // The highest bits of FNV are the best.
    (hasher.finish() >> 32) as usize & places.saturating_sub(1)
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

/// What looking at a pair costs, in steps.
const STEPS_PER_LOOK: u32 = 24;

/// So many pairs of a look-up draw on nothing.
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
                let pairs = Pairs::of_query(query.as_bytes(), &steps);
                for name in ["n0", "n7", "n49", "n50", "", "n"] {
                    // So many look-ups are more than one request may have.
                    let steps = Steps::default();
                    let found: Vec<_> = pairs
                        .values(query.as_bytes(), name.as_bytes(), &steps)
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

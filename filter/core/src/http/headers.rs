//! The header map of a request or a response, as the host serialises it. Nothing is copied, nothing
//! has to be UTF-8.

use super::find::is_equal;
use std::ops::Range;

/// A header map. Names are lower case, as every host hands them over. It is kept as it came: what
/// was read of it are where the lines that every request has lie, and which names there may be.
#[derive(Clone, Debug)]
pub struct Headers {
    /// The serialised map: a count, the sizes of each name and value, then these.
    bytes: Vec<u8>,
    /// The bits of all names. Most names that are asked for are not there, which the bits say without
    /// a search.
    names: u64,
    /// The bits that several lines have.
    repeated: u64,
    /// For each bit the number of the first line that has it, from 1. 0: there is none, or it is not
    /// noted.
    firsts: [u8; 64],
    pseudo: PseudoHeaders,
    /// Where the last value ends, with its NUL.
    end: usize,
    count: usize,
}

/// Names, as far as their bits tell them.
#[derive(Clone, Copy, Debug, Default)]
pub struct NameSet(u64);

impl<'n> FromIterator<&'n [u8]> for NameSet {
    fn from_iter<I: IntoIterator<Item = &'n [u8]>>(names: I) -> NameSet {
        let names = names.into_iter();
        NameSet(names.fold(0, |bits, name| bits | 1 << place(name)))
    }
}

/// Where in [`Headers::text`] the values of the pseudo-headers lie. Empty: there is none.
#[derive(Clone, Debug, Default)]
pub(super) struct PseudoHeaders {
    pub(super) method: Range<u32>,
    pub(super) scheme: Range<u32>,
    pub(super) authority: Range<u32>,
    pub(super) path: Range<u32>,
}

/// Where the name and the value of one line lie.
struct Line {
    name: Range<u32>,
    value: Range<u32>,
}

/// The lines of a map that was read, by their sizes.
struct Lines<'a> {
    sizes: std::slice::Iter<'a, [u8; 8]>,
    /// Where the next line begins, and where the last one ends.
    front: usize,
    back: usize,
}

/// The bytes are not a serialised map: the host's fault, never the client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedMap;

impl Default for Headers {
    fn default() -> Headers {
        Headers {
            bytes: Vec::new(),
            names: 0,
            repeated: 0,
            firsts: [0; 64],
            pseudo: PseudoHeaders::default(),
            end: 0,
            count: 0,
        }
    }
}

impl Headers {
    /// Reads proxy-wasm's serialised map: a count, then the sizes of each name and value, then each
    /// name and value with a NUL after it; all numbers are little-endian `u32`. One pass, which
    /// copies nothing.
    pub fn from_wire(bytes: Vec<u8>) -> Result<Headers, MalformedMap> {
        let mut headers = Headers::default();
        headers.read(bytes)?;
        Ok(headers)
    }

    /// The same, into headers that are still the default.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "an end is at most u32::MAX, and what the bytes hold has a size"
    )]
    pub fn read(&mut self, bytes: Vec<u8>) -> Result<(), MalformedMap> {
        // No map at all (null, 0) is how a host says "empty".
        if bytes.is_empty() {
            return Ok(());
        }
        let (count, rest) = bytes.split_first_chunk().ok_or(MalformedMap)?;
        let count = u32::from_le_bytes(*count) as usize;
        let (sizes, _) = rest.as_chunks();
        // The bytes may not hold as many.
        let sizes: &[[u8; 8]] = sizes.get(..count).ok_or(MalformedMap)?;
        if bytes.len() >= u32::MAX as usize {
            return Err(MalformedMap);
        }
        // As 64 bits: the sizes may be anything.
        let (mut end, mut number) = (4 + 8 * count as u64, 0_u8);
        let (mut names, mut repeated) = (0_u64, 0_u64);
        for both in sizes {
            let (at, [name_size, value_size]) = (end as u32, both_sizes(*both));
            end += u64::from(name_size) + u64::from(value_size) + 2;
            number = number.wrapping_add(1);
            let first = bytes.get(at as usize).copied().unwrap_or_default();
            let place = place_of(name_size, first);
            let bit = 1 << place;
            if names & bit != 0 {
                repeated |= bit;
            } else if let Some(first) = self.firsts.get_mut(place) {
                *first = number;
            }
            names |= bit;
            if first == b':' {
                // Behind the end of the bytes it is nothing, and refused below.
                let value = at.wrapping_add(name_size).wrapping_add(1)..end as u32 - 1;
                let name = at + 1..value.start.wrapping_sub(1);
                self.pseudo.note(slice(&bytes, &name), value);
            }
        }
        if end > bytes.len() as u64 {
            *self = Headers::default();
            return Err(MalformedMap);
        }
        // Then each is searched.
        if count > MAX_NOTED {
            self.firsts = [0; 64];
            repeated = names;
        }
        self.end = end as usize;
        self.count = count;
        self.names = names;
        self.repeated = repeated;
        self.bytes = bytes;
        Ok(())
    }

    /// Writes proxy-wasm's serialised map.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a header map is shorter than 2^32 bytes"
    )]
    pub fn to_wire<N: AsRef<[u8]>, V: AsRef<[u8]>>(pairs: &[(N, V)]) -> Vec<u8> {
        let mut wire = Vec::new();
        wire.extend_from_slice(&(pairs.len() as u32).to_le_bytes());
        for (name, value) in pairs {
            wire.extend_from_slice(&(name.as_ref().len() as u32).to_le_bytes());
            wire.extend_from_slice(&(value.as_ref().len() as u32).to_le_bytes());
        }
        for (name, value) in pairs {
            wire.extend_from_slice(name.as_ref());
            wire.push(0);
            wire.extend_from_slice(value.as_ref());
            wire.push(0);
        }
        wire
    }

    /// A map of these pairs.
    pub fn from_pairs<N: AsRef<[u8]>, V: AsRef<[u8]>>(pairs: &[(N, V)]) -> Headers {
        // What was just written can be read.
        Headers::from_wire(Headers::to_wire(pairs)).unwrap_or_default()
    }

    /// Every pair, in the order of the message.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&[u8], &[u8])> {
        self.lines().map(|line| {
            (
                slice(&self.bytes, &line.name),
                slice(&self.bytes, &line.value),
            )
        })
    }

    /// Every value of a name. Most names differ in length already, so their bytes are not compared.
    pub fn all<'a>(&'a self, name: &[u8]) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        self.ranges(name).map(|value| slice(&self.bytes, &value))
    }

    /// How many pairs there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// All bytes, names and values of all pairs among them.
    pub(super) fn text(&self) -> &[u8] {
        &self.bytes
    }

    /// What lies there.
    pub(super) fn at(&self, range: &Range<u32>) -> &[u8] {
        slice(&self.bytes, range)
    }

    pub(super) fn pseudo(&self) -> &PseudoHeaders {
        &self.pseudo
    }

    /// Where in [`Headers::text`] every value of a name lies.
    pub(super) fn ranges(&self, name: &[u8]) -> impl DoubleEndedIterator<Item = Range<u32>> {
        let of_name = move |line: Line| {
            let is_it = is_equal(slice(&self.bytes, &line.name), name);
            is_it.then_some(line.value)
        };
        self.lines_like(name).filter_map(of_name)
    }

    fn lines(&self) -> Lines<'_> {
        let (sizes, _) = self.bytes.get(4..).unwrap_or_default().as_chunks();
        Lines {
            sizes: sizes.get(..self.count).unwrap_or_default().iter(),
            front: 4 + 8 * self.count,
            back: self.end,
        }
    }

    /// The lines among which are all of a name: none, one, or from the first one on.
    fn lines_like(&self, name: &[u8]) -> Lines<'_> {
        let place = place(name);
        if self.names >> place & 1 == 0 {
            return Lines {
                sizes: [].iter(),
                front: 0,
                back: 0,
            };
        }
        let mut lines = self.lines();
        let Some((number, front)) = self.first_line(place) else {
            return lines;
        };
        let sizes = lines.sizes.as_slice().get(number..).unwrap_or_default();
        lines.front = front;
        if self.repeated >> place & 1 == 1 {
            lines.sizes = sizes.iter();
            return lines;
        }
        if let Some((only, _)) = sizes.split_first() {
            let [name_size, value_size] = both_sizes(*only);
            lines.back = front + name_size as usize + value_size as usize + 2;
            lines.sizes = std::slice::from_ref(only).iter();
        }
        lines
    }

    /// The number of the first line of a bit, from 0, and where it begins. None: it is not noted.
    fn first_line(&self, place: usize) -> Option<(usize, usize)> {
        let number = usize::from(*self.firsts.get(place)?).checked_sub(1)?;
        let (sizes, _) = self.bytes.get(4..)?.as_chunks();
        let before = sizes.get(..number)?.iter();
        let size = before.fold(0, |all, both| {
            let [name_size, value_size] = both_sizes(*both);
            all + name_size as usize + value_size as usize + 2
        });
        Some((number, 4 + 8 * self.count + size))
    }

    /// The first value of a name.
    pub fn first<'a>(&'a self, name: &[u8]) -> Option<&'a [u8]> {
        match self.names >> place(name) & 1 {
            0 => None,
            _ => self.find(name),
        }
    }

    /// The value of a name that stands in one line. None: in several, or in none, or perhaps in
    /// several.
    pub fn lone<'a>(&'a self, name: &[u8]) -> Option<&'a [u8]> {
        match self.repeated >> place(name) & 1 {
            0 => self.first(name),
            _ => None,
        }
    }

    /// Whether one of these names may be there. False: none is.
    #[inline]
    pub fn may_have(&self, names: &NameSet) -> bool {
        self.names & names.0 != 0
    }

    /// Whether there is such a name.
    pub fn has(&self, name: &[u8]) -> bool {
        self.first(name).is_some()
    }

    #[inline(never)]
    fn find<'a>(&'a self, name: &[u8]) -> Option<&'a [u8]> {
        let place = place(name);
        if let Some((number, at)) = self.first_line(place) {
            let (sizes, _) = self.bytes.get(4..)?.as_chunks();
            let [name_size, value_size] = both_sizes(*sizes.get(number)?);
            let value = at + name_size as usize + 1;
            if is_equal(self.bytes.get(at..value - 1)?, name) {
                return self.bytes.get(value..value + value_size as usize);
            }
        }
        match self.repeated >> place & 1 {
            0 => None,
            _ => self.all(name).next(),
        }
    }
}

impl PseudoHeaders {
    /// Notes a line by its name without the colon. Of several the last one counts.
    fn note(&mut self, name: &[u8], value: Range<u32>) {
        // By their lengths first, and as arrays: each is then one comparison of a number.
        if let Ok(name) = <&[u8; 4]>::try_from(name) {
            if name == b"path" {
                self.path = value;
            }
        } else if let Ok(name) = <&[u8; 6]>::try_from(name) {
            match name {
                b"method" => self.method = value,
                b"scheme" => self.scheme = value,
                _ => {}
            }
        } else if name == b"authority" {
            self.authority = value;
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "`Headers::from_wire` refuses what ends behind u32::MAX"
)]
impl Iterator for Lines<'_> {
    type Item = Line;

    fn next(&mut self) -> Option<Line> {
        let [name_size, value_size] = both_sizes(*self.sizes.next()?);
        let name = self.front as u32..self.front as u32 + name_size;
        let value = name.end + 1..name.end + 1 + value_size;
        self.front = value.end as usize + 1;
        Some(Line { name, value })
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "`Headers::from_wire` refuses what ends behind u32::MAX"
)]
impl DoubleEndedIterator for Lines<'_> {
    fn next_back(&mut self) -> Option<Line> {
        let [name_size, value_size] = both_sizes(*self.sizes.next_back()?);
        let value_end = self.back as u32 - 1;
        let value = value_end - value_size..value_end;
        let name_end = value.start - 1;
        let name = name_end - name_size..name_end;
        self.back = name.start as usize;
        Some(Line { name, value })
    }
}

/// The sizes of a name and of its value.
#[expect(clippy::cast_possible_truncation, reason = "the two halves")]
fn both_sizes(both: [u8; 8]) -> [u32; 2] {
    let both = u64::from_le_bytes(both);
    [both as u32, (both >> 32) as u32]
}

/// The place of a name's bit, by its length and its first byte: few names of a request have the same.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the six lowest bits are all that count"
)]
fn place(name: &[u8]) -> usize {
    let first = name.first().copied().unwrap_or_default();
    place_of(name.len() as u32, first)
}

/// The same by its length and its first byte; 0: it has none. Of the names that browsers and proxies
/// send no two have the same but `:method` and `:scheme`, and those that differ in their ends.
fn place_of(length: u32, first: u8) -> usize {
    ((length.wrapping_mul(3) ^ u32::from(first)) % 64) as usize
}

/// Of more lines than these none is noted by its number.
const MAX_NOTED: usize = u8::MAX as usize;

fn slice<'a>(bytes: &'a [u8], range: &Range<u32>) -> &'a [u8] {
    bytes
        .get(range.start as usize..range.end as usize)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn map_reads_back_what_was_written() {
        let pairs = [
            (&b":path"[..], &b"/a?b"[..]),
            (b"x", b""),
            (b"x", b"\xff\x80"),
        ];
        let headers = Headers::from_pairs(&pairs);
        assert_eq!(headers.iter().collect::<Vec<_>>(), pairs);
        assert_eq!(headers.all(b"x").count(), 2);
        let backwards: Vec<_> = headers.iter().rev().collect();
        assert_eq!(backwards, [pairs[2], pairs[1], pairs[0]]);
        assert_eq!(headers.all(b"x").next_back(), Some(&b"\xff\x80"[..]));
        // From both ends they meet.
        let mut both = headers.iter();
        assert_eq!(
            (both.next_back(), both.next()),
            (Some(pairs[2]), Some(pairs[0]))
        );
        assert_eq!((both.next(), both.next_back()), (Some(pairs[1]), None));
    }

    #[test]
    fn a_name_is_found_wherever_it_stands_and_among_names_that_look_like_it() {
        // `x` comes twice, and `far` behind all that are noted.
        let mut pairs: Vec<(String, String)> = (0..300)
            .map(|number| (format!("n{number}"), format!("v{number}")))
            .collect();
        pairs.insert(7, ("x".into(), "first".into()));
        pairs.push(("x".into(), "last".into()));
        pairs.push(("far".into(), "away".into()));
        let headers = Headers::from_pairs(&pairs);
        for name in [
            "x", "far", "n0", "n7", "n255", "n256", "n299", "n300", "y", "",
        ] {
            let expected: Vec<&[u8]> = pairs
                .iter()
                .filter(|(other, _)| other == name)
                .map(|(_, value)| value.as_bytes())
                .collect();
            let name = name.as_bytes();
            assert_eq!(headers.all(name).collect::<Vec<_>>(), expected);
            assert_eq!(headers.first(name), expected.first().copied());
            let backwards: Vec<_> = headers.all(name).rev().collect();
            assert!(backwards.iter().eq(expected.iter().rev()));
        }
    }

    #[test]
    fn map_cut_anywhere_is_refused() {
        let wire = Headers::to_wire(&[("name", "value"), ("n2", "value2")]);
        for end in 1..wire.len() {
            assert_eq!(
                Headers::from_wire(wire[..end].to_vec()).err(),
                Some(MalformedMap),
                "cut at {end}"
            );
        }
        assert_eq!(Headers::from_wire(vec![255; 64]).err(), Some(MalformedMap));
    }
}

//! The tables of words and of fingerprints, packed. `tests/tables.rs` writes them, and checks each
//! entry.

/// Sorted words in blocks of `BLOCK`. First the number of blocks, then where each begins, as two
/// bytes each; then the words. A word is one byte, whose upper four bits say how many letters it
/// shares with the word before, the lower four which of `kinds` it is; then its other letters, the
/// last with the highest bit set. The first word of a block shares nothing.
pub(crate) struct Words {
    pub(crate) bytes: &'static [u8],
    pub(crate) kinds: &'static [u8],
}

/// Keywords, functions, types and operators of SQL.
pub(crate) const SQL: Words = Words {
    bytes: include_bytes!("sql.words"),
    kinds: b"oftknTvEU1B&A",
};

/// Attributes of HTML: `e` an event, `b` never good, `u` a URL, `s` a style, `i` the name of an
/// attribute.
pub(crate) const ATTRIBUTES: Words = Words {
    bytes: include_bytes!("html.words"),
    kinds: b"ebusi",
};

/// The letters of fingerprints, in the order of a node's bits.
const LETTERS: &[u8] = b"&(),1:;ABCEFKNOSTUVX";
const FINGERPRINTS: &[u8] = include_bytes!("sql.fingerprints");
const FINAL: u32 = 1 << 23;
const LAST: u32 = 1 << 22;

fn u16_at(bytes: &[u8], at: usize) -> Option<usize> {
    let two = bytes.get(at..)?.first_chunk::<2>()?;
    Some(usize::from(u16::from_le_bytes(*two)))
}

impl Words {
    /// The kind of a word, in letters of any case; 0 if it is not in the table.
    pub(crate) fn kind(&self, word: &[u8]) -> u8 {
        self.find(word).unwrap_or(0)
    }

    fn find(&self, word: &[u8]) -> Option<u8> {
        let blocks = u16_at(self.bytes, 0)?;
        // The last block whose first word is not after ours.
        let (mut low, mut high) = (0, blocks);
        while high - low > 1 {
            let middle = (low + high) / 2;
            if self.is_after(middle, word)? {
                high = middle;
            } else {
                low = middle;
            }
        }
        let end = match low + 1 < blocks {
            true => u16_at(self.bytes, 4 + 2 * low)?,
            false => self.bytes.len(),
        };
        let mut rest = self
            .bytes
            .get(u16_at(self.bytes, 2 + 2 * low)?..end)?
            .iter();
        // How many letters the word before had in common with ours.
        let mut common = 0;
        while let Some(&head) = rest.next() {
            let shared = usize::from(head >> 4);
            if shared < common {
                // What follows differs from ours in a letter that the word before still had.
                return None;
            }
            let mut equal = shared == common;
            loop {
                let &letter = rest.next()?;
                let ours = word.get(common).map(u8::to_ascii_uppercase);
                if equal && ours == Some(letter & 0x7f) {
                    common += 1;
                } else {
                    equal = false;
                }
                if letter & 0x80 != 0 {
                    break;
                }
            }
            if equal && common == word.len() {
                return self.kinds.get(usize::from(head & 15)).copied();
            }
        }
        None
    }

    /// Whether the first word of a block comes after this one.
    fn is_after(&self, block: usize, word: &[u8]) -> Option<bool> {
        let first = self.bytes.get(u16_at(self.bytes, 2 + 2 * block)? + 1..)?;
        for (at, &letter) in first.iter().enumerate() {
            let Some(ours) = word.get(at).map(u8::to_ascii_uppercase) else {
                return Some(true);
            };
            if ours != letter & 0x7f {
                return Some(letter & 0x7f > ours);
            }
            if letter & 0x80 != 0 {
                break;
            }
        }
        Some(false)
    }
}

/// Whether tokens of these kinds, one letter each, are SQL injection.
///
/// The fingerprints are an automaton. A node is three bytes: a bit for each of [`LETTERS`] that may
/// follow, [`FINAL`] where a fingerprint may end, and [`LAST`] where one ends after each of those
/// letters. Otherwise there follows where the node of each letter is, in two bytes: 0 is the end.
pub(crate) fn is_fingerprint(kinds: &[u8]) -> bool {
    walk(kinds).unwrap_or(false)
}

fn walk(kinds: &[u8]) -> Option<bool> {
    let mut at = 0;
    let mut rest = kinds.iter();
    loop {
        let [a, b, c] = FINGERPRINTS.get(at..)?.first_chunk::<3>()?;
        let node = u32::from_le_bytes([*a, *b, *c, 0]);
        let Some(kind) = rest.next() else {
            return Some(node & FINAL != 0);
        };
        let letter = LETTERS
            .iter()
            .position(|l| *l == kind.to_ascii_uppercase())?;
        let bit = 1 << letter;
        if node & bit == 0 {
            return Some(false);
        }
        let before = (node & (bit - 1)).count_ones();
        at = match node & LAST != 0 {
            true => 0,
            false => u16_at(FINGERPRINTS, at + 3 + 2 * usize::try_from(before).ok()?)?,
        };
        if at == 0 {
            return Some(rest.next().is_none());
        }
    }
}

//! Whether a user agent is a program that nobody looks at: crawlers, scanners, HTTP libraries.
//!
//! The lists in `bots/` are those of the package `crawler-user-agents` (MIT, `bots/LICENSE`), as far
//! as they are literals, with a few words that any crawler may have; `tests/bots/generate` writes
//! them. Bytes are compared, and case counts: that is what the package's authors tested.

/// Whether a user agent has a text of the list.
pub(super) fn is_bot(user_agent: &[u8]) -> bool {
    START
        .lines()
        .any(|start| user_agent.starts_with(start.as_bytes()))
        || (0..user_agent.len()).any(|at| begins_with_one(user_agent.get(at..).unwrap_or_default()))
}

/// No text of the list begins another, and they are sorted: only the last one that is not behind
/// `rest` in their order can begin it.
fn begins_with_one(rest: &[u8]) -> bool {
    let [a, b, c, ..] = rest else { return false };
    let (word, bit) = place(*a, *b, *c);
    if BEGINNINGS.get(word).is_none_or(|known| known & bit == 0) {
        return false;
    }
    let list = ANYWHERE.as_bytes();
    let (mut low, mut high) = (0, list.len());
    while low < high {
        let (before, behind) = list
            .split_at_checked(low.midpoint(high))
            .unwrap_or_default();
        let start = before.iter().rposition(|byte| *byte == b'\n');
        let start = start.map_or(0, |at| at + 1);
        let end = behind.iter().position(|byte| *byte == b'\n');
        let end = end.map_or(list.len(), |at| before.len() + at);
        let line = list.get(start..end).unwrap_or_default();
        if rest.starts_with(line) {
            return true;
        }
        match line < rest {
            true => low = end + 1,
            false => high = start,
        }
    }
    false
}

/// A line each, sorted by bytes; three bytes at least, and none within another.
const ANYWHERE: &str = include_str!("bots/anywhere.txt");

/// Only at the start of a user agent.
const START: &str = include_str!("bots/start.txt");

/// A bit for the first three bytes of each line of [`ANYWHERE`]: at most places of a user agent no
/// line begins, which this says without a search.
const BEGINNINGS: [u64; WORDS] = beginnings(ANYWHERE.as_bytes());

/// Of [`BEGINNINGS`]: with 8,192 bits every seventh is set.
const WORDS: usize = 128;

const fn place(a: u8, b: u8, c: u8) -> (usize, u64) {
    let hash = a as usize ^ (b as usize) << 4 ^ (c as usize) << 7;
    (hash / 64 % WORDS, 1 << (hash % 64))
}

const fn beginnings(list: &[u8]) -> [u64; WORDS] {
    let mut beginnings = [0; WORDS];
    let mut rest = list;
    while let [a, b, c, ..] = rest {
        let (word, bit) = place(*a, *b, *c);
        if let Some((_, [bits, ..])) = beginnings.split_at_mut_checked(word) {
            *bits |= bit;
        }
        while let [byte, behind @ ..] = rest {
            rest = behind;
            if *byte == b'\n' {
                break;
            }
        }
    }
    beginnings
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn every_text_of_the_list_is_found_wherever_it_may_stand() {
        for text in ANYWHERE.lines() {
            for (before, behind) in [("", ""), ("Mozilla/5.0 (", ")"), ("\u{1}", "\u{ff}")] {
                assert!(
                    is_bot(format!("{before}{text}{behind}").as_bytes()),
                    "{text}"
                );
            }
            // (Behind a blank is what may also stand at the start.)
            assert!(
                text.starts_with(' ') || !is_bot(&text.as_bytes()[1..]),
                "{text} without its first byte"
            );
        }
        for text in START.lines() {
            assert!(is_bot(format!("{text} 1").as_bytes()), "{text}");
            assert!(!is_bot(format!("a{text}").as_bytes()), "{text}");
        }
    }

    #[test]
    fn the_list_is_as_the_search_wants_it() {
        let lines: Vec<_> = ANYWHERE.lines().collect();
        assert!(lines.is_sorted() && lines.len() > 1000);
        for line in &lines {
            assert!(line.len() >= 3, "{line}");
            let within = lines.iter().filter(|other| line.contains(**other));
            assert_eq!(within.count(), 1, "{line}");
        }
        let set: u32 = BEGINNINGS.iter().map(|word| word.count_ones()).sum();
        assert!(set < 8_192 / 6, "{set}");
    }
}

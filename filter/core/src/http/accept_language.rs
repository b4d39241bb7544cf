//! `accept-language`: which of some languages a client prefers, by RFC 4647's lookup (section 3.4)
//! over the weights of RFC 9110 (sections 12.4.2 and 12.5.4).

/// The first language by the client's preference that `offered` knows; what `offered` gives for it.
/// It is asked with a language tag in the client's case, from the whole tag to its first part.
///
/// A weight of 0 excludes what its range is the longest match of. `*` says that the client takes
/// anything, which prefers nothing. An item that is malformed is left out, as is what is beyond
/// [`MAX_RANGES`] items and [`MAX_BYTES`] bytes of one value.
pub(crate) fn preferred<'v, T>(
    values: impl Iterator<Item = &'v [u8]>,
    mut offered: impl FnMut(&[u8]) -> Option<T>,
) -> Option<T> {
    let values = values.map(|value| value.get(..MAX_BYTES).unwrap_or(value));
    let items = values.flat_map(|value| value.split(|byte| *byte == b','));
    let mut ranges: Vec<Range> = Vec::new();
    for range in items.take(MAX_RANGES).filter_map(Range::of) {
        // Of equal weights the first one is preferred.
        let place = ranges.partition_point(|other| other.weight >= range.weight);
        ranges.insert(place, range);
    }
    for range in ranges.iter().filter(|range| range.weight > 0) {
        let mut tag = Some(range.tag);
        while let Some(asked) = tag {
            if let Some(found) = offered(asked)
                && !is_excluded(asked, &ranges)
            {
                return Some(found);
            }
            tag = shorter(asked);
        }
    }
    None
}

/// The most items that are looked at; browsers send fewer than ten.
pub const MAX_RANGES: usize = 32;

/// The most bytes of one value that are looked at.
pub const MAX_BYTES: usize = 1024;

/// The longest tag, in bytes; RFC 5646 section 4.4.1 asks for 35.
const MAX_TAG: usize = 64;

/// What it costs at most, in steps: each tag and each shorter one is looked for in what is offered.
pub const MAX_STEPS: usize = 16 * MAX_RANGES * MAX_TAG;

/// Whether a text is a language tag as far as its form goes: letters, then letters and digits, one
/// to eight between two `-`, and 64 bytes at most.
pub fn is_tag(text: &[u8]) -> bool {
    if text.len() > MAX_TAG {
        return false;
    }
    let mut parts = text.split(|byte| *byte == b'-');
    let first = parts.next().unwrap_or_default();
    let is_part = |part: &[u8]| (1..=8).contains(&part.len());
    is_part(first)
        && first.iter().all(u8::is_ascii_alphabetic)
        && parts.all(|part| is_part(part) && part.iter().all(u8::is_ascii_alphanumeric))
}

/// One item: a language range with its weight in thousandths.
struct Range<'v> {
    tag: &'v [u8],
    weight: u16,
}

impl<'v> Range<'v> {
    /// None: it is malformed, or `*`.
    fn of(item: &'v [u8]) -> Option<Range<'v>> {
        let (tag, weight) = match item.iter().position(|byte| *byte == b';') {
            None => (item, 1000),
            Some(at) => (item.get(..at)?, weight(item.get(at + 1..)?.trim_ascii())?),
        };
        let tag = tag.trim_ascii();
        is_tag(tag).then_some(Range { tag, weight })
    }
}

/// `q=0.123` in thousandths.
fn weight(text: &[u8]) -> Option<u16> {
    let [b'q' | b'Q', b'=', whole @ (b'0' | b'1'), rest @ ..] = text else {
        return None;
    };
    let digits = match rest {
        [] => rest,
        [b'.', digits @ ..] => digits,
        _ => return None,
    };
    if digits.len() > 3 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = digits.iter().chain(b"000").take(3);
    let decimals = digits.fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    let weight = u16::from(whole - b'0') * 1000 + decimals;
    (weight <= 1000).then_some(weight)
}

/// Whether the longest range that a tag lies in has the weight 0.
fn is_excluded(tag: &[u8], ranges: &[Range]) -> bool {
    let within = |range: &&Range| {
        let start = tag.get(..range.tag.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(range.tag))
            && matches!(tag.get(range.tag.len()), None | Some(b'-'))
    };
    let longest = ranges
        .iter()
        .filter(within)
        .max_by_key(|range| range.tag.len());
    longest.is_some_and(|range| range.weight == 0)
}

/// A tag without its last part, and without the single letter before it, which says what kind of
/// part follows.
fn shorter(tag: &[u8]) -> Option<&[u8]> {
    let cut = |tag: &[u8]| tag.iter().rposition(|byte| *byte == b'-');
    let shorter = tag.get(..cut(tag)?)?;
    match cut(shorter) {
        Some(at) if shorter.len() - at == 2 => shorter.get(..at),
        None if shorter.len() == 1 => None,
        _ => Some(shorter),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// Of `ko en en-gb zh-hant de x-a`, the value that a client prefers.
    fn of(values: &[&str]) -> &'static str {
        let known = ["ko", "en", "en-gb", "zh-hant", "de", "x-a"];
        let offered = |tag: &[u8]| {
            let mut known = known.iter();
            known.find(|known| known.as_bytes().eq_ignore_ascii_case(tag))
        };
        preferred(values.iter().map(|value| value.as_bytes()), offered).map_or("", |tag| tag)
    }

    #[test]
    fn the_first_by_weight_that_is_offered_is_preferred() {
        for (value, expected) in [
            ("ko", "ko"),
            ("KO", "ko"),
            ("fr", ""),
            ("", ""),
            ("fr, ko", "ko"),
            ("de, ko", "de"),
            ("de;q=0.5, ko", "ko"),
            ("de;q=0.5, ko;q=0.501", "ko"),
            ("de;q=0.5, ko;q=0.5", "de"),
            ("de ; q=0.1 ,\tko ; Q=1.000", "ko"),
            // What is asked for is cut short, what is offered never.
            ("ko-KR", "ko"),
            ("en-GB-oed", "en-gb"),
            ("en-US", "en"),
            ("zh-Hant-CN-x-private1-private2", "zh-hant"),
            ("zh-Hans", ""),
            ("zh", ""),
            ("fr-CH, en;q=0.9", "en"),
            ("de-a-b, ko", "de"),
            ("x-a", "x-a"),
            ("x-b, ko;q=0.1", "ko"),
            // `*` prefers nothing.
            ("*", ""),
            ("*, ko;q=0.1", "ko"),
            ("fr, *;q=0.5", ""),
            // A weight of 0 excludes.
            ("ko;q=0", ""),
            ("ko-KR, ko;q=0", ""),
            ("ko, ko-KR;q=0", "ko"),
            ("en-GB, en;q=0", "en-gb"),
            ("en-US, en;q=0, de;q=0.1", "de"),
            ("en-GB-oed, en-GB;q=0", "en"),
            ("ko;q=0.000, de;q=0.001", "de"),
            // What is malformed is left out.
            ("ko;q=2, de", "de"),
            ("ko;q=1.001, de;q=0.1", "de"),
            ("ko;q=0.1234, de;q=0.1", "de"),
            ("ko;q=, de;q=0.1", "de"),
            ("ko;q, de;q=0.1", "de"),
            ("ko;level=1, de;q=0.1", "de"),
            ("ko;q=0.5;q=1, de;q=0.1", "de"),
            ("ko;q=.5, de;q=0.1", "de"),
            ("ko;q=+1, de;q=0.1", "de"),
            ("ko kr, de;q=0.1", "de"),
            ("ko_KR, de;q=0.1", "de"),
            ("k\u{f6}, de;q=0.1", "de"),
            ("ko-, -ko, ko--kr, de;q=0.1", "de"),
            ("abcdefghi, de;q=0.1", "de"),
            (",,;,=,-,*-ko, ;q=1, de;q=0.1", "de"),
            ("ko;q=1., de", "ko"),
            (&format!("ko{}, de;q=0.1", "-abcdefgh".repeat(6)), "ko"),
            (&format!("ko{}, de;q=0.1", "-abcdefgh".repeat(7)), "de"),
        ] {
            assert_eq!(of(&[value]), expected, "{value}");
        }
        assert_eq!(of(&["de;q=0.1", "fr, ko"]), "ko");
        assert_eq!(of(&[]), "");
    }

    /// Whatever a client sends, in however many lines.
    #[test]
    fn no_more_is_looked_for_than_the_bound_says() {
        let two = "aa-".repeat(20) + "aa";
        let long = "abcdefgh-".repeat(6) + "abcdefgh";
        for item in [&two, &long, "a-b-c-d-e-f-g-h", &"a-".repeat(31), "*", ""] {
            for (items, lines) in [(1, 1), (15, 1), (15, 100), (1, 5000), (5000, 1)] {
                let value = [item, ";q=0.5,"].concat().repeat(items);
                let mut steps = 0;
                let offered = |tag: &[u8]| {
                    steps += tag.len();
                    None::<()>
                };
                preferred((0..lines).map(|_| value.as_bytes()), offered);
                assert!(steps <= MAX_STEPS, "{item}: {steps}");
            }
        }
    }

    #[test]
    fn what_is_beyond_the_bounds_is_not_looked_at() {
        assert_eq!(of(&[&("fr,".repeat(MAX_RANGES - 1) + "ko")]), "ko");
        assert_eq!(of(&[&("fr,".repeat(MAX_RANGES) + "ko")]), "");
        assert_eq!(of(&[&(" ".repeat(MAX_BYTES - 2) + "ko")]), "ko");
        assert_eq!(of(&[&(" ".repeat(MAX_BYTES - 1) + "ko")]), "");
        assert_eq!(of(&[&" ".repeat(MAX_BYTES), "ko"]), "ko");
    }
}

//! The search for a byte, and comparisons, eight bytes at a time: cookies, queries and paths are mostly bytes that are
//! no separators, and a loop over single bytes was a tenth of what a request costs.

/// Where the first such byte is.
pub(crate) fn find_byte(bytes: &[u8], byte: u8) -> Option<usize> {
    find_any(bytes, [byte])
}

/// Where the first of some bytes is.
#[inline]
pub(crate) fn find_any<const N: usize>(bytes: &[u8], wanted: [u8; N]) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);
    let eight_of = wanted.map(|byte| u64::from_ne_bytes([byte; 8]));
    // A byte that is found becomes 0, and borrows from its highest bit. Only bytes behind the first
    // one that is found may look as if they were found too.
    let find_in = |word: &[u8; 8]| {
        let word = u64::from_le_bytes(*word);
        let found = eight_of.iter().fold(0, |found, eight| {
            let differs = word ^ eight;
            found | (differs.wrapping_sub(ONES) & !differs & HIGHS)
        });
        (found != 0).then(|| found.trailing_zeros() as usize / 8)
    };
    let (words, rest) = bytes.as_chunks();
    let mut at = 0;
    for word in words {
        if let Some(place) = find_in(word) {
            return Some(at + place);
        }
        at += 8;
    }
    match bytes.last_chunk() {
        _ if rest.is_empty() => None,
        // It begins with bytes that were searched.
        Some(last) => find_in(last).map(|place| bytes.len() - 8 + place),
        None => rest.iter().position(|found| wanted.contains(found)),
    }
}

/// Whether two texts are equal: the comparison of the compiler's own library goes byte by byte.
#[inline]
pub(crate) fn is_equal(ours: &[u8], theirs: &[u8]) -> bool {
    if ours.len() != theirs.len() {
        return false;
    }
    // The last eight bytes, and the last four of less than eight, overlap what stands before them.
    if let (Some(last), Some(their_last)) = (ours.last_chunk::<8>(), theirs.last_chunk::<8>()) {
        let (words, _) = ours.as_chunks::<8>();
        let (their_words, _) = theirs.as_chunks::<8>();
        let mut words = words.iter().zip(their_words);
        return last == their_last && words.all(|(a, b)| a == b);
    }
    if let (Some(last), Some(their_last)) = (ours.last_chunk::<4>(), theirs.last_chunk::<4>()) {
        return last == their_last && ours.first_chunk::<4>() == theirs.first_chunk::<4>();
    }
    let bytes = ours.iter().zip(theirs);
    bytes.fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

/// What stands before the first such byte, and what behind it.
pub(crate) fn split_at_byte(bytes: &[u8], at: u8) -> (&[u8], Option<&[u8]>) {
    let found = find_byte(bytes, at);
    let (before, behind) = found
        .and_then(|place| bytes.split_at_checked(place))
        .unwrap_or((bytes, &[]));
    (before, behind.get(1..))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn a_byte_is_found_where_a_loop_finds_it() {
        let bytes = proptest::collection::vec(0_u8..=255, 0..40);
        let few = proptest::collection::vec(0x7f_u8..=0x82, 0..40);
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let law = |(bytes, byte): (Vec<u8>, u8)| {
            let expected = bytes.iter().position(|other| *other == byte);
            prop_assert_eq!(find_byte(&bytes, byte), expected);
            let either = bytes.iter().position(|other| [byte, 0x80].contains(other));
            prop_assert_eq!(find_any(&bytes, [byte, 0x80]), either);
            let mut parts = bytes.splitn(2, |other| *other == byte);
            let expected = (parts.next().unwrap_or_default(), parts.next());
            prop_assert_eq!(split_at_byte(&bytes, byte), expected);
            Ok(())
        };
        runner.run(&(bytes, any::<u8>()), law).unwrap();
        runner.run(&(few, 0x7f_u8..=0x82), law).unwrap();
    }

    #[test]
    fn texts_are_equal_where_their_bytes_are() {
        let text: Vec<u8> = (0..40).collect();
        for length in 0..text.len() {
            let ours = &text[..length];
            assert!(is_equal(ours, ours));
            assert!(!is_equal(ours, &text[..length + 1]));
            for at in 0..length {
                let mut theirs = ours.to_vec();
                theirs[at] ^= 0x80;
                assert!(!is_equal(ours, &theirs), "{length} {at}");
            }
        }
    }
}

//! The search for one byte, eight at a time: cookies, queries and paths are mostly bytes that are
//! no separators, and a loop over single bytes was a tenth of what a request costs.

/// Where the first such byte is.
pub(super) fn find_byte(bytes: &[u8], byte: u8) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);
    let wanted = u64::from_ne_bytes([byte; 8]);
    let (words, rest) = bytes.as_chunks();
    let mut at = 0;
    for word in words {
        // A byte that is found becomes 0, and borrows from its highest bit. Only bytes behind the
        // first one that is found may look as if they were found too.
        let differs = u64::from_le_bytes(*word) ^ wanted;
        let found = differs.wrapping_sub(ONES) & !differs & HIGHS;
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize / 8);
        }
        at += word.len();
    }
    let in_rest = rest.iter().position(|found| *found == byte);
    in_rest.map(|place| at + place)
}

/// What stands before the first such byte, and what behind it.
pub(super) fn split_at_byte(bytes: &[u8], at: u8) -> (&[u8], Option<&[u8]>) {
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
            let mut parts = bytes.splitn(2, |other| *other == byte);
            let expected = (parts.next().unwrap_or_default(), parts.next());
            prop_assert_eq!(split_at_byte(&bytes, byte), expected);
            Ok(())
        };
        runner.run(&(bytes, any::<u8>()), law).unwrap();
        runner.run(&(few, 0x7f_u8..=0x82), law).unwrap();
    }
}

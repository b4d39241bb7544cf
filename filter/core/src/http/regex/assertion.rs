//! Assertions of a pattern: `^`, `$`, `\b` and their like.

use regex_automata::util::look::Look;

/// Whether an assertion holds between two bytes. None: the value begins or ends there.
pub(super) fn holds(assertion: Look, before: Option<u8>, after: Option<u8>) -> bool {
    let is_word =
        |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let (word_before, word_after) = (is_word(before), is_word(after));
    match assertion {
        Look::Start => before.is_none(),
        Look::End => after.is_none(),
        Look::StartLF => matches!(before, None | Some(b'\n')),
        Look::EndLF => matches!(after, None | Some(b'\n')),
        Look::StartCRLF => match before {
            None | Some(b'\n') => true,
            Some(b'\r') => after != Some(b'\n'),
            _ => false,
        },
        Look::EndCRLF => match after {
            None | Some(b'\r') => true,
            Some(b'\n') => before != Some(b'\r'),
            _ => false,
        },
        Look::WordAscii => word_before != word_after,
        Look::WordAsciiNegate => word_before == word_after,
        Look::WordStartAscii => !word_before && word_after,
        Look::WordEndAscii => word_before && !word_after,
        Look::WordStartHalfAscii => !word_before,
        Look::WordEndHalfAscii => !word_after,
        // Patterns are without Unicode.
        _ => false,
    }
}

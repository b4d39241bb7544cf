//! Bytes of a request or of the configuration as text for people.

use std::fmt;

/// Bytes for people: control characters escaped, what is not UTF-8 as U+FFFD, and no more than fits
/// a line.
pub(super) struct Escaped<'a>(pub &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.get(..MAX_BYTES).unwrap_or(self.0);
        for character in String::from_utf8_lossy(shown).chars() {
            match character.is_control() {
                true => write!(f, "{}", character.escape_default())?,
                false => write!(f, "{character}")?,
            }
        }
        f.write_str(if shown.len() < self.0.len() {
            "…"
        } else {
            ""
        })
    }
}

/// Some values, as many as fit a line.
pub(super) fn listed<T: fmt::Display>(
    values: impl IntoIterator<Item = T>,
    between: &str,
) -> String {
    let mut values = values.into_iter();
    let mut shown: Vec<String> = values
        .by_ref()
        .take(MAX_VALUES)
        .map(|value| value.to_string())
        .collect();
    if values.next().is_some() {
        shown.push("…".to_owned());
    }
    shown.join(between)
}

/// How many bytes of a value are shown: enough to recognise it.
const MAX_BYTES: usize = 80;

/// How many of several values are shown.
const MAX_VALUES: usize = 8;

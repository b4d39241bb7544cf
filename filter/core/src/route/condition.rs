//! Conditions on named values: headers, cookies, query parameters.

use super::escaped::Escaped;
use crate::http::regex::Regex;
use std::fmt;

/// A condition on the values of one name. One of several values has to match; inverted, none may.
#[derive(Debug)]
pub struct Condition {
    /// Headers: lower case. Cookies and query parameters: as written.
    pub name: Box<[u8]>,
    /// What a value must be.
    pub text: Text,
    /// Whether the opposite has to hold.
    pub invert: bool,
}

/// What a value must be.
#[derive(Debug)]
pub enum Text {
    /// Exactly this.
    Exact(Box<[u8]>),
    /// Starts so.
    Prefix(Box<[u8]>),
    /// Ends so.
    Suffix(Box<[u8]>),
    /// Has this somewhere.
    Contains(Box<[u8]>),
    /// Matches as a whole.
    Regex(Regex),
    /// Is there (true) or is not (false).
    Present(bool),
}

impl Condition {
    /// Whether the condition holds for these values of its name.
    pub fn holds<V: AsRef<[u8]>>(&self, mut values: impl Iterator<Item = V>) -> bool {
        let holds = match &self.text {
            Text::Present(present) => values.next().is_some() == *present,
            text => values.any(|value| text.matches(value.as_ref())),
        };
        holds != self.invert
    }
}

impl Text {
    /// Whether one value is as it must be. Bytes and case count.
    pub fn matches(&self, value: &[u8]) -> bool {
        match self {
            Text::Exact(text) => value == &text[..],
            Text::Prefix(text) => value.starts_with(text),
            Text::Suffix(text) => value.ends_with(text),
            Text::Contains(text) => {
                text.is_empty() || value.windows(text.len()).any(|window| window == &text[..])
            }
            Text::Regex(regex) => regex.matches_whole(value),
            Text::Present(present) => *present,
        }
    }
}

/// For people: `exact gold`, `not present`.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.invert {
            f.write_str("not ")?;
        }
        match &self.text {
            Text::Exact(text) => write!(f, "exact {}", Escaped(text)),
            Text::Prefix(text) => write!(f, "prefix {}", Escaped(text)),
            Text::Suffix(text) => write!(f, "suffix {}", Escaped(text)),
            Text::Contains(text) => write!(f, "contains {}", Escaped(text)),
            Text::Regex(regex) => write!(f, "regex {}", regex.pattern()),
            Text::Present(true) => f.write_str("present"),
            Text::Present(false) => f.write_str("absent"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn of_several_values_one_is_enough_and_inverted_none_may() {
        let text = |kind: &str, text: &str| match kind {
            "exact" => Text::Exact(text.as_bytes().into()),
            "prefix" => Text::Prefix(text.as_bytes().into()),
            "suffix" => Text::Suffix(text.as_bytes().into()),
            "contains" => Text::Contains(text.as_bytes().into()),
            "regex" => Text::Regex(Regex::new(text, false).unwrap()),
            "present" => Text::Present(text == "true"),
            _ => unreachable!(),
        };
        for (kind, wanted, values, holds) in [
            ("exact", "gold", &["gold"][..], true),
            ("exact", "gold", &["silver", "gold"], true),
            ("exact", "gold", &["Gold", "golden", ""], false),
            ("exact", "gold", &[], false),
            ("exact", "", &[""], true),
            ("exact", "", &[], false),
            ("prefix", "go", &["gold"], true),
            ("prefix", "go", &["ego"], false),
            ("prefix", "", &["x"], true),
            ("prefix", "", &[], false),
            ("suffix", "ld", &["gold"], true),
            ("suffix", "ld", &["d"], false),
            ("contains", "ol", &["gold"], true),
            ("contains", "ol", &["lo", "o", ""], false),
            ("contains", "", &[""], true),
            ("regex", "g|gold", &["gold"], true),
            ("regex", "g|gold", &["golden"], false),
            ("present", "true", &[""], true),
            ("present", "true", &[], false),
            ("present", "false", &[], true),
            ("present", "false", &["", "x"], false),
        ] {
            for invert in [false, true] {
                let name = b"x"[..].into();
                let condition = Condition {
                    name,
                    text: text(kind, wanted),
                    invert,
                };
                assert_eq!(
                    condition.holds(values.iter()),
                    holds != invert,
                    "{condition} of {values:?}"
                );
            }
        }
    }
}

//! Conditions on named values: headers, cookies, query parameters.

use super::escaped::Escaped;
use crate::http::regex::Regex;
use crate::http::steps::{Allowed, Steps};
use std::fmt;

/// A condition on the values of one name. One of several values has to match; inverted, none may.
///
/// `contains` and `regex` have to look at all of a value, so the length of values that they take is
/// bounded (`max_value`). Of a longer one nobody knows whether it matches: unless another value
/// does, the condition does not hold, and inverted it does not hold either. Nor does it where the
/// request's allowance is used up, of which [`Steps::has_run_out`] tells: such a request is refused.
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
    Contains(Contained),
    /// Matches as a whole.
    Regex(Regex),
    /// Is there (true) or is not (false).
    Present(bool),
}

/// A text that is looked for, in time that is linear in what it is looked for in (Knuth, Morris,
/// Pratt, 1977).
#[derive(Debug)]
pub struct Contained {
    text: Box<[u8]>,
    /// For each byte of the text: how many bytes before it are the text's first ones again, so that
    /// they need not be compared a second time.
    again: Box<[u32]>,
}

impl Contained {
    /// What it takes besides its text, in bytes.
    pub fn memory(&self) -> usize {
        4 * self.again.len()
    }

    /// A text to look for.
    pub fn new(text: &[u8]) -> Contained {
        let mut again: Vec<u32> = vec![0; text.len()];
        let mut matched: u32 = 0;
        for (at, byte) in text.iter().enumerate().skip(1) {
            if let Some(here) = again.get_mut(at) {
                *here = matched;
            }
            while matched > 0 && text.get(matched as usize) != Some(byte) {
                matched = again.get(matched as usize).copied().unwrap_or_default();
            }
            matched += u32::from(text.get(matched as usize) == Some(byte));
        }
        Contained {
            text: text.into(),
            again: again.into(),
        }
    }

    /// The text.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Whether it is somewhere in a value.
    pub fn is_in(&self, value: &[u8]) -> bool {
        let mut matched = 0;
        for byte in value {
            let mut wanted = self.text.get(matched);
            while wanted != Some(byte) && matched > 0 {
                matched = self.again.get(matched).copied().unwrap_or_default() as usize;
                wanted = self.text.get(matched);
            }
            matched += usize::from(wanted == Some(byte));
            if matched == self.text.len() {
                return true;
            }
        }
        self.text.is_empty()
    }
}

impl Condition {
    /// Whether the condition holds for these values of its name, of a request with these steps.
    pub fn holds<V: AsRef<[u8]>>(
        &self,
        mut values: impl Iterator<Item = V>,
        steps: &Steps,
    ) -> bool {
        if let Text::Present(present) = &self.text {
            return (values.next().is_some() == *present) != self.invert;
        }
        let mut allowed = steps.allow();
        let mut all_known = true;
        for value in values {
            match self.text.matches_within(value.as_ref(), &mut allowed) {
                Some(true) => return !self.invert,
                Some(false) => {}
                None if allowed.is_used_up() => return false,
                None => all_known = false,
            }
        }
        self.invert && all_known
    }
}

impl Text {
    /// The text that a value must be, or have. None: it is no text.
    pub fn text(&self) -> Option<&[u8]> {
        match self {
            Text::Exact(text) | Text::Prefix(text) | Text::Suffix(text) => Some(text),
            Text::Contains(text) => Some(text.text()),
            Text::Regex(_) | Text::Present(_) => None,
        }
    }

    /// Whether one value is as it must be, however long that takes. Bytes and case count.
    pub fn matches(&self, value: &[u8]) -> bool {
        self.matches_within(value, &mut Allowed::unbounded())
            .unwrap_or_default()
    }

    /// The same within a bound. None: the value is too long, or the steps are used up.
    pub fn matches_within(&self, value: &[u8], allowed: &mut Allowed<'_>) -> Option<bool> {
        // Whatever the condition, a value is looked at.
        if !allowed.take(STEPS_PER_VALUE) {
            return None;
        }
        Some(match self {
            Text::Exact(text) => value == &text[..],
            Text::Prefix(text) => value.starts_with(text),
            Text::Suffix(text) => value.ends_with(text),
            Text::Contains(text) => {
                let may = allowed.admits(value.len()) && allowed.take(STEPS_PER_BYTE * value.len());
                return may.then(|| text.is_in(value));
            }
            Text::Regex(regex) => return regex.matches_within(value, allowed),
            Text::Present(present) => *present,
        })
    }
}

/// What looking at one value costs, in steps.
const STEPS_PER_VALUE: usize = 16;

/// What a byte costs in which a text is looked for, in steps: two comparisons at most.
const STEPS_PER_BYTE: usize = 4;

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
            Text::Contains(text) => write!(f, "contains {}", Escaped(text.text())),
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
            "contains" => Text::Contains(Contained::new(text.as_bytes())),
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
                    condition.holds(values.iter(), &Steps::default()),
                    holds != invert,
                    "{condition} of {values:?}"
                );
            }
        }
    }
}

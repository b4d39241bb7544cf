//! Regular expressions: from RE2's syntax, as Envoy reads it, to the filter's.
//!
//! Envoy gives its patterns to RE2 as Latin-1: each byte is a character. The filter's patterns work
//! on bytes too, so a byte outside ASCII becomes `\xC3`, wherever it stands.

use pointsman_core::http::regex::{Regex, Search};
use std::fmt::Write;

/// A pattern that a whole value has to match. The error says why there is none.
pub(super) fn whole(pattern: &str) -> Result<String, String> {
    let ours = translate(pattern.as_bytes())?;
    match Regex::new(&ours, false) {
        Ok(_) => Ok(ours),
        Err(why) => Err(format!("as a pattern of Rust's regex crate: {why}")),
    }
}

/// A pattern that is searched.
pub(super) fn search(pattern: &str) -> Result<String, String> {
    let ours = translate(pattern.as_bytes())?;
    match Search::new(&ours) {
        Ok(_) => Ok(ours),
        Err(why) => Err(format!("as a pattern of Rust's regex crate: {why}")),
    }
}

/// Whether a pattern that [`whole`] made matches the empty value.
pub(super) fn matches_empty(pattern: &str) -> bool {
    Regex::new(pattern, false).is_ok_and(|regex| regex.matches_whole(b""))
}

/// A pattern for a text as it stands.
pub(super) fn literal(text: &str) -> String {
    let mut pattern = String::new();
    for byte in text.bytes() {
        push_literal(byte, &mut pattern);
    }
    pattern
}

/// A pattern for a decimal number from `start` on and below `end`, with a sign and zeros before it
/// as RE2 has none of its own: as Envoy reads the header of a `range_match`. None: there are too
/// many numbers for a pattern.
pub(super) fn numbers(start: i64, end: i64) -> Option<String> {
    const MOST: i64 = 1000;
    if end.checked_sub(start)? > MOST {
        return None;
    }
    let mut ways = Vec::new();
    for number in start..end {
        ways.push(match number {
            0 => "[+-]?0+".to_owned(),
            1.. => format!("[+]?0*{number}"),
            _ => format!("-0*{}", number.unsigned_abs()),
        });
    }
    // None of them: what no value matches.
    Some(match ways.is_empty() {
        true => "[^\\x00-\\xff]".to_owned(),
        false => ways.join("|"),
    })
}

fn translate(pattern: &[u8]) -> Result<String, String> {
    let mut reader = Reader {
        pattern,
        at: 0,
        out: String::new(),
    };
    while let Some(byte) = reader.next() {
        match byte {
            b'\\' => reader.escape()?,
            b'[' => reader.class()?,
            b'{' => match reader.quantifier() {
                Some(quantifier) => reader.out.push_str(&quantifier),
                None => reader.out.push_str("\\{"),
            },
            b'}' => reader.out.push_str("\\}"),
            byte if byte.is_ascii() => reader.out.push(byte.into()),
            byte => push_literal(byte, &mut reader.out),
        }
    }
    Ok(reader.out)
}

struct Reader<'p> {
    pattern: &'p [u8],
    at: usize,
    out: String,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.pattern.get(self.at).copied()
    }

    fn rest(&self) -> &[u8] {
        &self.pattern[self.at..]
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    /// What stands behind a `{` that repeats: RE2 takes any other `{` as it stands.
    fn quantifier(&mut self) -> Option<String> {
        let end = self.rest().iter().position(|byte| *byte == b'}')?;
        let inner = std::str::from_utf8(&self.rest()[..end]).ok()?;
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
        let (least, most) = inner.split_once(',').unwrap_or((inner, ""));
        let is_quantifier = is_number(least) && (most.is_empty() || is_number(most));
        let quantifier = is_quantifier.then(|| format!("{{{inner}}}"))?;
        self.at += end + 1;
        Some(quantifier)
    }

    /// What stands behind a backslash outside of a class.
    fn escape(&mut self) -> Result<(), String> {
        match self.peek() {
            Some(b'Q') => {
                self.at += 1;
                let end = self.rest().windows(2).position(|two| two == b"\\E");
                let quoted = &self.pattern[self.at..][..end.unwrap_or(self.rest().len())];
                self.at += quoted.len() + if end.is_some() { 2 } else { 0 };
                for byte in quoted {
                    push_literal(*byte, &mut self.out);
                }
            }
            // The end of a quotation that nobody began.
            Some(b'E') => self.at += 1,
            Some(b'C') => {
                self.at += 1;
                self.out.push_str("(?s:.)");
            }
            Some(byte @ (b'A' | b'z' | b'b' | b'B' | b'd' | b'D' | b's' | b'S' | b'w' | b'W')) => {
                self.at += 1;
                self.out.push('\\');
                self.out.push(byte.into());
            }
            _ => {
                let byte = self.escaped_byte()?;
                push_literal(byte, &mut self.out);
            }
        }
        Ok(())
    }

    /// The byte that an escape stands for.
    fn escaped_byte(&mut self) -> Result<u8, String> {
        let Some(byte) = self.next() else {
            return Err("a backslash at its end".into());
        };
        match byte {
            b'a' => Ok(7),
            b'f' => Ok(12),
            b'n' => Ok(b'\n'),
            b'r' => Ok(b'\r'),
            b't' => Ok(b'\t'),
            b'v' => Ok(11),
            b'x' => {
                let digits = match self.peek() {
                    Some(b'{') => {
                        let end = self.rest().iter().position(|it| *it == b'}');
                        let end = end.ok_or("`\\x{` without its `}`")?;
                        let digits = self.pattern[self.at + 1..][..end - 1].to_vec();
                        self.at += end + 1;
                        digits
                    }
                    _ => {
                        let digits = self.rest().get(..2).ok_or("`\\x` without two digits")?;
                        let digits = digits.to_vec();
                        self.at += 2;
                        digits
                    }
                };
                let digits = String::from_utf8_lossy(&digits).into_owned();
                match u32::from_str_radix(&digits, 16).map(u8::try_from) {
                    Ok(Ok(byte)) => Ok(byte),
                    _ => Err(format!("`\\x{{{digits}}}`, which is not one byte")),
                }
            }
            b'0'..=b'7' => {
                let mut number = u32::from(byte - b'0');
                let mut left = 2;
                while let Some(digit @ b'0'..=b'7') = self.peek()
                    && left > 0
                {
                    number = number * 8 + u32::from(digit - b'0');
                    self.at += 1;
                    left -= 1;
                }
                if byte != b'0' && left == 2 {
                    return Err("a reference to a group".into());
                }
                u8::try_from(number).map_err(|_| "an octal number beyond a byte".into())
            }
            b'p' | b'P' => Err("a class of Unicode; the filter's patterns work on bytes".into()),
            byte if byte.is_ascii_alphanumeric() || !byte.is_ascii() => {
                Err(format!("the escape `\\{}`", char::from(byte)))
            }
            byte => Ok(byte),
        }
    }

    /// What stands behind `[`. In RE2 a `[`, `&&`, `--` or `~~` within it is what it looks like.
    fn class(&mut self) -> Result<(), String> {
        const NO_END: &str = "a `[` without its `]`";
        self.out.push('[');
        if self.peek() == Some(b'^') {
            self.at += 1;
            self.out.push('^');
        }
        let mut first = true;
        loop {
            let Some(byte) = self.peek() else {
                return Err(NO_END.into());
            };
            match byte {
                b']' if !first => {
                    self.at += 1;
                    self.out.push(']');
                    return Ok(());
                }
                b'[' if self.rest().starts_with(b"[:") => {
                    let end = self.rest().windows(2).position(|two| two == b":]");
                    let end = end.ok_or(NO_END)? + 2;
                    let named = String::from_utf8_lossy(&self.rest()[..end]).into_owned();
                    self.out.push_str(&named);
                    self.at += end;
                }
                b'\\'
                    if matches!(
                        self.rest().get(1),
                        Some(b'd' | b'D' | b's' | b'S' | b'w' | b'W')
                    ) =>
                {
                    let letter = self.rest()[1];
                    self.at += 2;
                    self.out.push('\\');
                    self.out.push(letter.into());
                }
                _ => {
                    let low = self.class_byte()?;
                    push_in_class(low, &mut self.out);
                    if self.peek() == Some(b'-')
                        && self.rest().get(1).is_some_and(|next| *next != b']')
                    {
                        self.at += 1;
                        let high = self.class_byte()?;
                        self.out.push('-');
                        push_in_class(high, &mut self.out);
                    }
                }
            }
            first = false;
        }
    }

    fn class_byte(&mut self) -> Result<u8, String> {
        match self.next() {
            Some(b'\\') => self.escaped_byte(),
            Some(byte) => Ok(byte),
            None => Err("a `[` without its `]`".into()),
        }
    }
}

/// Appends a byte as it stands, outside of a class.
fn push_literal(byte: u8, out: &mut String) {
    match byte {
        b'\\' | b'.' | b'+' | b'*' | b'?' | b'(' | b')' | b'|' | b'[' | b']' | b'{' | b'}'
        | b'^' | b'$' => {
            out.push('\\');
            out.push(byte.into());
        }
        b' '..=b'~' => out.push(byte.into()),
        _ => push_hex(byte, out),
    }
}

fn push_in_class(byte: u8, out: &mut String) {
    match byte {
        b'\\' | b'[' | b']' | b'^' | b'-' | b'&' | b'~' => {
            out.push('\\');
            out.push(byte.into());
        }
        b' '..=b'~' => out.push(byte.into()),
        _ => push_hex(byte, out),
    }
}

fn push_hex(byte: u8, out: &mut String) {
    let _ = write!(out, "\\x{byte:02X}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_re2_become_ours() {
        for (re2, ours) in [
            ("/v[0-9]+/.*", "/v[0-9]+/.*"),
            ("a{2,3}b{x}c{,2}", "a{2,3}b\\{x\\}c\\{,2\\}"),
            ("\\Qa.b\\E+", "a\\.b+"),
            ("\\Qa.b", "a\\.b"),
            ("\\<a\\>\\-\\/", "<a>-/"),
            ("[a[b&&c]", "[a\\[b\\&\\&c]"),
            ("[]a]", "[\\]a]"),
            ("[+--]", "[+-\\-]"),
            ("[^\\d_-]", "[^\\d_\\-]"),
            ("[[:alpha:]-]", "[[:alpha:]\\-]"),
            ("\\x41\\x{e9}\\101\\0", "A\\xE9A\\x00"),
            ("é[é]", "\\xC3\\xA9[\\xC3\\xA9]"),
            ("\\C\\a", "(?s:.)\\x07"),
            ("(?i)^a$|\\z", "(?i)^a$|\\z"),
            ("(?P<n>x)(?U:y*)", "(?P<n>x)(?U:y*)"),
        ] {
            assert_eq!(whole(re2).as_deref(), Ok(ours), "{re2}");
        }
        for (re2, why) in [
            ("\\pL", "class of Unicode"),
            ("a\\x{100}", "not one byte"),
            ("(a)\\1", "reference to a group"),
            ("[a", "without its `]`"),
            ("a\\", "backslash at its end"),
            ("\\y", "the escape"),
            ("(a", "Rust's regex crate"),
        ] {
            let error = whole(re2).unwrap_err();
            assert!(error.contains(why), "{re2}: {error}");
        }
    }

    #[test]
    fn texts_and_numbers_become_patterns() {
        assert_eq!(literal("a.b{"), "a\\.b\\{");
        let range = Regex::new(&numbers(-1, 3).unwrap(), false).unwrap();
        for (value, expected) in [
            ("-1", true),
            ("-01", true),
            ("0", true),
            ("+00", true),
            ("2", true),
            ("+2", true),
            ("3", false),
            ("-2", false),
            ("", false),
            ("1.0", false),
            ("12", false),
        ] {
            assert_eq!(range.matches_whole(value.as_bytes()), expected, "{value}");
        }
        let none = Regex::new(&numbers(3, 3).unwrap(), false).unwrap();
        assert!(!none.matches_whole(b"3") && !none.matches_whole(b""));
        assert_eq!(numbers(0, 2000), None);
        assert_eq!(numbers(i64::MIN, i64::MAX), None);
    }
}

//! What libinjection takes for SQL injection and people write every day. Each kind is narrow: nothing
//! of it changes what a statement does, wherever it is pasted into. What is left of a value without
//! the links in it is read once more.

use crate::table::SQL;

/// What a byte costs here, in steps.
pub(crate) const STEPS_PER_BYTE: usize = 6;

/// Whether a value is of such a kind.
pub(crate) fn is_ordinary(value: &[u8]) -> bool {
    is_call(value)
        || is_search(value)
        || is_token(value)
        || is_word_with_marks(value)
        || is_word_with_numbers(value)
}

/// `count(5)`, `max(width)`: one call of a function that only computes, with numbers and words.
fn is_call(value: &[u8]) -> bool {
    let Some((name, rest)) = split_at(value, |byte| !byte.is_ascii_alphabetic()) else {
        return false;
    };
    let Some(arguments) = rest
        .strip_prefix(b"(")
        .and_then(|rest| rest.strip_suffix(b")"))
    else {
        return false;
    };
    let is_argument =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b' ' | b',' | b'.' | b'_');
    COMPUTES
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known))
        && arguments.iter().all(is_argument)
}

/// `(red OR blue) AND shoes`: words that SQL does not know, and `and`, `or` and `not` between them.
fn is_search(value: &[u8]) -> bool {
    let is_mark = |byte: u8| matches!(byte, b' ' | b'(' | b')');
    if !value
        .iter()
        .all(|byte| byte.is_ascii_alphabetic() || is_mark(*byte))
    {
        return false;
    }
    let is_operator = |word: &[u8]| {
        let operators: [&[u8]; 3] = [b"and", b"or", b"not"];
        operators.iter().any(|it| word.eq_ignore_ascii_case(it))
    };
    let mut was_word = false;
    for word in value.split(|byte| is_mark(*byte)) {
        if word.is_empty() {
            continue;
        }
        let is_word = !is_operator(word);
        if is_word && (was_word || SQL.kind(word) != 0) {
            return false;
        }
        was_word = is_word;
    }
    true
}

/// `1234-ABCDEFEhfhihwuefi--`: base64 as URLs have it.
fn is_token(value: &[u8]) -> bool {
    let is_of_it = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    value.len() >= SHORTEST_TOKEN
        && value.iter().all(is_of_it)
        && value.iter().any(u8::is_ascii_alphabetic)
}

/// `a!@#`: a word, and marks after it.
fn is_word_with_marks(value: &[u8]) -> bool {
    let Some((word, marks)) = split_at(value, |byte| !byte.is_ascii_alphanumeric()) else {
        return false;
    };
    let is_mark = |byte: &u8| b"!@#$%^&*".contains(byte);
    word.first().is_some_and(u8::is_ascii_alphabetic) && marks.iter().all(is_mark)
}

/// `TEST 0001 - (09/07/2025)`: a word that SQL does not know, and nothing but numbers after it. It is
/// no SQL at all.
fn is_word_with_numbers(value: &[u8]) -> bool {
    let Some((word, rest)) = split_at(value, |byte| !byte.is_ascii_alphabetic()) else {
        return false;
    };
    let numbers = rest.trim_ascii_start();
    let is_of_it = |byte: &u8| {
        byte.is_ascii_digit()
            || matches!(byte, b' ' | b'-' | b'/' | b'.' | b',' | b':' | b'(' | b')')
    };
    rest.len() > numbers.len()
        && numbers.first().is_some_and(u8::is_ascii_digit)
        && numbers.iter().all(is_of_it)
        && !numbers.windows(2).any(|two| two == b"--")
        && SQL.kind(word) == 0
}

/// The value without its links, if it has some: `="…"` behind `href` or `src`, with the path of a URL
/// or a URL in it.
pub(crate) fn without_links(value: &[u8]) -> Option<Vec<u8>> {
    let mut left = Vec::new();
    let mut rest = value;
    let mut has_some = false;
    while let Some(at) = rest.iter().position(|byte| *byte == b'=') {
        let (before, after) = (rest.get(..at)?, rest.get(at..)?);
        left.extend_from_slice(before);
        let is_named = ATTRIBUTES.iter().any(|name| {
            let start = before.len().checked_sub(name.len());
            let end = start.and_then(|start| before.get(start..));
            end.is_some_and(|end| end.eq_ignore_ascii_case(name))
        });
        let length = if is_named { link(after) } else { None };
        has_some |= length.is_some();
        rest = match length {
            Some(length) => after.get(length..)?,
            None => {
                left.push(b'=');
                after.get(1..)?
            }
        };
    }
    left.extend_from_slice(rest);
    has_some.then_some(left)
}

/// How long the `="…"` is that these bytes begin with. None: it is none, or no link.
fn link(value: &[u8]) -> Option<usize> {
    let [b'=', quote @ (b'"' | b'\''), inner @ ..] = value else {
        return None;
    };
    let end = inner.iter().position(|byte| byte == quote)?;
    let inner = inner.get(..end)?;
    let path = [&b"https://"[..], b"http://", b"/"]
        .iter()
        .find_map(|start| inner.strip_prefix(*start))?;
    let is_of_path = |byte: &u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'_' | b'-' | b'~')
    };
    let is_path = path.iter().all(is_of_path) && !path.windows(2).any(|two| two == b"--");
    is_path.then_some(end + 3)
}

/// The bytes before the first one that is such, none of them missing, and the rest.
fn split_at(value: &[u8], is: impl Fn(&u8) -> bool) -> Option<(&[u8], &[u8])> {
    let at = value.iter().position(is)?;
    value
        .split_at_checked(at)
        .filter(|(before, _)| !before.is_empty())
}

/// Functions that only compute. Who calls one alone wants to know nothing, and waits for nothing.
const COMPUTES: [&[u8]; 6] = [b"avg", b"count", b"max", b"min", b"round", b"sum"];

/// Shorter ones could be a number less a column, and a comment.
const SHORTEST_TOKEN: usize = 16;

const ATTRIBUTES: [&[u8]; 2] = [b" href", b" src"];

//! Whether a value of a request looks like an attack.
//!
//! [`libinjection_sqli`] and [`cross_site_scripting`] are libinjection's: its tokenizers, folding
//! rules and tables. [`sql_injection`] is that without what people write every day. A port of [libinjection](https://github.com/libinjection/libinjection) 4 (`COPYING`
//! is its licence), whose tables are those of the crate `libinjectionrs`. That crate itself is 260
//! kB in the module, most of it one list of 9,352 words; here the same list has 11 kB. `tests/`
//! shows that the tables say the same, and compares the answers with those of the library in C.
//!
//! It is a crate of its own so that it is compiled for size: most requests go through none of it.
//!
//! Why this cannot panic: no value is indexed or sliced but by `get`, which the lints hold, and
//! nothing recurses. Why it ends: each loop moves forward in the value, or takes of the steps that
//! the caller gave, and what is dear takes of them too. A step is about two nanoseconds. Where no
//! step is left, the answer is `false`, and means nothing.

mod decoded;
mod html;
mod inspect;
mod ordinary;
mod path_traversal;
mod rules;
mod scanner;
mod sql;
mod table;

pub use html::cross_site_scripting;
pub use inspect::inspect;
pub use rules::{Class, Classes, EachValue, Found, Parameter, Parts, Places, Rules};
pub use sql::{libinjection_sqli, sql_injection};

/// Takes steps. False: there were not so many, and none is left.
fn take(left: &mut u32, steps: usize) -> bool {
    let steps = u32::try_from(steps).unwrap_or(u32::MAX);
    *left = left.saturating_sub(steps);
    *left > 0
}

/// Whether the two are equal, the first in upper case, the second in any.
fn equal_upper(upper: &[u8], value: &[u8]) -> bool {
    upper.len() == value.len() && starts_upper(upper, value)
}

/// Whether the second begins with the first, which is in upper case.
fn starts_upper(upper: &[u8], value: &[u8]) -> bool {
    value
        .get(..upper.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(upper))
}

/// The first place of a byte at or after `from`.
fn find(bytes: &[u8], from: usize, byte: u8) -> Option<usize> {
    let rest = bytes.get(from..)?;
    Some(from + rest.iter().position(|&b| b == byte)?)
}

/// The first place of some bytes at or after `from`.
fn find_all(bytes: &[u8], mut from: usize, wanted: &[u8]) -> Option<usize> {
    let first = *wanted.first()?;
    loop {
        from = find(bytes, from, first)?;
        if bytes.get(from..)?.starts_with(wanted) {
            return Some(from);
        }
        from += 1;
    }
}

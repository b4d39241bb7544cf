//! Regular expressions, as far as a check understands them: what something simpler says as well,
//! and one value that matches. What it does not understand it says nothing about.
//!
//! `.` leaves out line feeds, which are in no path and no header: `.*` counts as anything.

use regex_syntax::ast;
use regex_syntax::hir::translate::TranslatorBuilder;
use regex_syntax::hir::{Class, Dot, Hir, HirKind};

/// What a pattern says, where that can be said without one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plain {
    /// This and nothing else.
    Exact(Vec<u8>),
    /// Anything that starts so.
    Prefix(Vec<u8>),
    /// Anything that ends so.
    Suffix(Vec<u8>),
    /// Anything that has this in it.
    Contains(Vec<u8>),
    /// `/a(/.*)?`: a path of these segments, and those below it.
    Segments(Vec<u8>),
    /// Anything.
    Any,
}

enum Piece {
    Literal(Vec<u8>),
    Dots,
    /// `(/.*)?`
    Below,
}

/// What a pattern says without `ignore_case`.
pub fn plain(pattern: &str) -> Option<Plain> {
    let mut pieces = Vec::new();
    push(&parse(pattern)?, &mut pieces)?;
    Some(match &pieces[..] {
        [] => Plain::Exact(Vec::new()),
        [Piece::Literal(text)] => Plain::Exact(text.clone()),
        [Piece::Dots] => Plain::Any,
        [Piece::Literal(text), Piece::Dots] => Plain::Prefix(text.clone()),
        [Piece::Dots, Piece::Literal(text)] => Plain::Suffix(text.clone()),
        [Piece::Dots, Piece::Literal(text), Piece::Dots] => Plain::Contains(text.clone()),
        [Piece::Literal(text), Piece::Below] if !text.ends_with(b"/") => {
            Plain::Segments(text.clone())
        }
        _ => return None,
    })
}

/// A value that matches, as plain as can be. Whoever asks makes sure of it.
pub fn sample(pattern: &str) -> Option<Vec<u8>> {
    let mut value = Vec::new();
    extend(&parse(pattern)?, &mut value)?;
    Some(value)
}

/// As the filter does, on bytes.
fn parse(pattern: &str) -> Option<Hir> {
    let ast = ast::parse::Parser::new().parse(pattern).ok()?;
    let mut translator = TranslatorBuilder::new().unicode(false).utf8(false).build();
    translator.translate(pattern, &ast).ok()
}

fn is_dots(hir: &Hir) -> bool {
    let HirKind::Repetition(repetition) = bare(hir).kind() else {
        return false;
    };
    let any = [Dot::AnyByteExceptLF, Dot::AnyByte].map(Hir::dot);
    (repetition.min, repetition.max) == (0, None) && any.contains(bare(&repetition.sub))
}

/// Without the groups around it.
fn bare(hir: &Hir) -> &Hir {
    match hir.kind() {
        HirKind::Capture(group) => bare(&group.sub),
        _ => hir,
    }
}

/// `/.*`
fn is_below(hir: &Hir) -> bool {
    match bare(hir).kind() {
        HirKind::Concat(parts) => {
            let slash =
                |hir: &Hir| matches!(hir.kind(), HirKind::Literal(text) if &*text.0 == b"/");
            matches!(&parts[..], [first, rest] if slash(first) && is_dots(rest))
        }
        _ => false,
    }
}

fn push(hir: &Hir, pieces: &mut Vec<Piece>) -> Option<()> {
    match hir.kind() {
        _ if is_dots(hir) => pieces.push(Piece::Dots),
        HirKind::Empty => {}
        HirKind::Literal(text) => match pieces.last_mut() {
            Some(Piece::Literal(before)) => before.extend_from_slice(&text.0),
            _ => pieces.push(Piece::Literal(text.0.to_vec())),
        },
        HirKind::Capture(group) => push(&group.sub, pieces)?,
        HirKind::Concat(parts) => parts.iter().try_for_each(|part| push(part, pieces))?,
        HirKind::Repetition(may) if (may.min, may.max) == (0, Some(1)) && is_below(&may.sub) => {
            pieces.push(Piece::Below);
        }
        HirKind::Alternation(either) => match &either[..] {
            [nothing, below] | [below, nothing]
                if *nothing.kind() == HirKind::Empty && is_below(below) =>
            {
                pieces.push(Piece::Below);
            }
            _ => return None,
        },
        HirKind::Look(_) | HirKind::Class(_) | HirKind::Repetition(_) => return None,
    }
    Some(())
}

/// The longest sample in bytes: it is for people to read.
const LONGEST_SAMPLE: usize = 1000;

fn extend(hir: &Hir, value: &mut Vec<u8>) -> Option<()> {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(text) => value.extend_from_slice(&text.0),
        HirKind::Class(class) => {
            let has = |byte: &u8| match class {
                Class::Bytes(class) => class
                    .iter()
                    .any(|range| (range.start()..=range.end()).contains(byte)),
                // What `a|b` becomes.
                Class::Unicode(class) => class
                    .iter()
                    .any(|range| (range.start()..=range.end()).contains(&char::from(*byte))),
            };
            value.push(
                (b'a'..=b'z')
                    .chain(b'0'..=b'9')
                    .chain(b'!'..=b'~')
                    .find(has)?,
            );
        }
        HirKind::Repetition(repetition) => {
            for _ in 0..repetition.min {
                extend(&repetition.sub, value)?;
                if value.len() > LONGEST_SAMPLE {
                    return None;
                }
            }
        }
        HirKind::Capture(group) => extend(&group.sub, value)?,
        HirKind::Concat(parts) => parts.iter().try_for_each(|part| extend(part, value))?,
        HirKind::Alternation(either) => return extend(either.first()?, value),
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pointsman_core::http::regex::Regex;

    #[test]
    fn pattern_is_plain_only_where_it_says_nothing_more() {
        let text = |text: &str| text.as_bytes().to_vec();
        for (pattern, expected) in [
            ("/old", Some(Plain::Exact(text("/old")))),
            ("(/o)(ld)", Some(Plain::Exact(text("/old")))),
            (r"/a\.b", Some(Plain::Exact(text("/a.b")))),
            ("/a/.*", Some(Plain::Prefix(text("/a/")))),
            (".*b", Some(Plain::Suffix(text("b")))),
            (".*(b).*", Some(Plain::Contains(text("b")))),
            ("/a(/.*)?", Some(Plain::Segments(text("/a")))),
            ("/a(?:|/.*)", Some(Plain::Segments(text("/a")))),
            (".*", Some(Plain::Any)),
            ("(?s).*", Some(Plain::Any)),
            (".+", None),
            ("/a.b", None),
            ("/a|/b", None),
            ("^/a$", None),
            ("(?i)/a", None),
            ("/a(/.*)", Some(Plain::Prefix(text("/a/")))),
            ("/a(.*)?", None),
            ("a*", None),
        ] {
            assert_eq!(plain(pattern), expected, "{pattern}");
        }
    }

    #[test]
    fn sample_matches() {
        for (pattern, expected) in [
            ("/users/[0-9]+", "/users/0"),
            ("(a|b)c?", "a"),
            ("x{3}", "xxx"),
            (r"\w\W", "a!"),
            ("^/a$", "/a"),
            (".", "a"),
        ] {
            let value = sample(pattern).unwrap();
            assert_eq!(String::from_utf8_lossy(&value), expected, "{pattern}");
            assert!(
                Regex::new(pattern, false).unwrap().matches_whole(&value),
                "{pattern}"
            );
        }
        for none in [r"[\x80-\xff]", "a{999}{999}"] {
            assert_eq!(sample(none), None, "{none}");
        }
    }
}

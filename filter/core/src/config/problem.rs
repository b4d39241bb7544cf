//! What is wrong with a configuration: where, what was found, what would be right, and the nearest
//! known name.

use std::fmt;

/// One thing that is wrong. Always the fault of who wrote the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// `routes[3].match.path.prefix`; `line 3, column 7` of a text that is not JSON; empty: the
    /// whole.
    pub place: String,
    /// What stands there. Never a secret.
    pub found: String,
    /// What would be right.
    pub expected: String,
    /// The known name that was probably meant.
    pub nearest: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match self.place.as_str() {
            "" => "the configuration",
            place => place,
        };
        write!(f, "{place}: {}; expected {}", self.found, self.expected)?;
        match &self.nearest {
            Some(nearest) => write!(f, "; did you mean `{nearest}`?"),
            None => Ok(()),
        }
    }
}

/// Everything that is wrong, in the order of the file. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    /// One line for each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// The known name that is close enough to `name` to have been meant: at most one edit in three
/// letters.
pub fn nearest<'a>(name: &str, known: &mut dyn Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut best = None;
    for candidate in known {
        let bound = (name.len().max(candidate.len()) / 3).max(1);
        if name.len().abs_diff(candidate.len()) > bound {
            continue;
        }
        let distance = distance(name.as_bytes(), candidate.as_bytes());
        if distance <= bound && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// How many letters must be put in, left out, replaced or swapped with their neighbour to make `b`
/// of `a`, without case: the optimal string alignment distance (Boytsov 2011, "Indexing methods for
/// approximate dictionary searching").
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    let mut previous_a = None;
    for (i, x) in a.iter().map(u8::to_ascii_lowercase).enumerate() {
        let mut row = vec![i + 1];
        let mut left = i + 1;
        let mut previous_b = None;
        for (j, y) in b.iter().map(u8::to_ascii_lowercase).enumerate() {
            let at = |row: &[usize], j: usize| row.get(j).copied().unwrap_or(usize::MAX - 1);
            let mut cell = (at(&last, j) + usize::from(x != y))
                .min(at(&last, j + 1) + 1)
                .min(left + 1);
            if previous_a == Some(y) && previous_b == Some(x) && j > 0 {
                cell = cell.min(at(&before_last, j - 1) + 1);
            }
            row.push(cell);
            left = cell;
            previous_b = Some(y);
        }
        before_last = std::mem::replace(&mut last, row);
        previous_a = Some(x);
    }
    last.last().copied().unwrap_or(a.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn distance_counts_edits_and_swaps() {
        for (a, b, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("prefx", "prefix", 1),
            ("perfix", "prefix", 1),
            ("Prefix", "prefix", 0),
            ("kitten", "sitting", 3),
            ("ca", "abc", 3),
            ("flaw", "lawn", 2),
        ] {
            assert_eq!(distance(a.as_bytes(), b.as_bytes()), expected, "{a} {b}");
        }
    }

    #[test]
    fn nearest_is_the_closest_one_or_none() {
        for (name, known, expected) in [
            (
                "prefx",
                &["exact", "prefix", "prefixes"][..],
                Some("prefix"),
            ),
            ("we", &["web"], Some("web")),
            ("abc", &["xyz", "abz"], Some("abz")),
            ("api", &["web", "spare"], None),
            ("anything", &[], None),
            ("same-far", &["same-bar", "same-car"], Some("same-bar")),
        ] {
            assert_eq!(
                nearest(name, &mut known.iter().copied()),
                expected,
                "{name}"
            );
        }
    }
}

//! The key `query` of a rewrite and of a redirect: what becomes of the request's query.

use super::find::split_at_byte;
use super::pairs::decode;
use std::borrow::Cow;

/// `query: drop`, or `query: { remove: […], set: {…} }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueryEdit {
    /// Nothing stays.
    Drop,
    /// Parameters go and come. All others stay as they are, byte for byte.
    Parameters {
        /// Names, percent-decoded: every parameter of such a name goes. Those that are set are
        /// among them.
        remove: Vec<Box<[u8]>>,
        /// What stands at the end: `name=value` with an `&` between them, percent-encoded. May be
        /// empty.
        set: Box<[u8]>,
    },
}

impl QueryEdit {
    /// What becomes of a query. None: nothing stays, not even the `?`. A query that is not edited
    /// stays as it is.
    pub fn apply<'q>(&self, query: Option<&'q [u8]>) -> Option<Cow<'q, [u8]>> {
        let QueryEdit::Parameters { remove, set } = self else {
            return None;
        };
        let old = query.unwrap_or_default();
        let mut name = Vec::new();
        let mut goes = |part: &[u8]| {
            name.clear();
            decode(split_at_byte(part, b'=').0, &mut name);
            !part.is_empty() && remove.iter().any(|gone| **gone == *name)
        };
        let is_part = |byte: &u8| *byte == b'&';
        if set.is_empty() && !old.split(is_part).any(&mut goes) {
            return query.map(Cow::Borrowed);
        }
        let mut new = Vec::with_capacity(old.len() + set.len() + 1);
        let mut is_first = true;
        let stay = old.split(is_part).filter(|part| !goes(part));
        let set = std::iter::once(&**set).filter(|set| !set.is_empty());
        for part in stay.filter(|_| !old.is_empty()).chain(set) {
            if !is_first {
                new.push(b'&');
            }
            is_first = false;
            new.extend_from_slice(part);
        }
        (!new.is_empty()).then_some(Cow::Owned(new))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn parameters_go_and_come_and_all_others_stay_as_they_are() {
        for (remove, set, query, expected) in [
            ("", "", Some("a=1&&b=%20"), Some("a=1&&b=%20")),
            ("", "", Some(""), Some("")),
            ("", "", None, None),
            ("x", "", Some(""), Some("")),
            ("x", "", Some("a=1&&b=%2a"), Some("a=1&&b=%2a")),
            ("a", "", Some("a=1&b=%2a&a=2&aa=3&a"), Some("b=%2a&aa=3")),
            ("a", "", Some("%61=1&&b"), Some("&b")),
            ("a b", "", Some("a+b=1&a%20b=2&a=b"), Some("a=b")),
            ("a", "", Some("a=1"), None),
            ("a", "", Some("a"), None),
            ("A", "", Some("a=1"), Some("a=1")),
            ("a,b", "", Some("a=1&c=2&b"), Some("c=2")),
            ("v", "v=2", Some("v=1&w=3&v"), Some("w=3&v=2")),
            ("v", "v=2", Some("w"), Some("w&v=2")),
            ("v", "v=2", Some(""), Some("v=2")),
            ("v", "v=2", None, Some("v=2")),
            ("v", "v=2", Some("v=1"), Some("v=2")),
        ] {
            let edit = QueryEdit::Parameters {
                remove: remove
                    .split(',')
                    .map(|name| name.as_bytes().into())
                    .collect(),
                set: set.as_bytes().into(),
            };
            let query = query.map(str::as_bytes);
            assert_eq!(
                edit.apply(query).as_deref(),
                expected.map(str::as_bytes),
                "-{remove} +{set} of {query:?}"
            );
            assert_eq!(QueryEdit::Drop.apply(query), None);
        }
    }
}

//! Rewrites: what the upstream sees in place of the client's path and host. The query stays, unless
//! it is edited.

use super::parts::Parts;
use crate::http::query::QueryEdit;
use crate::http::regex::Search;
use crate::http::regex::SubstitutionPart;
use crate::http::value::{Piece, ValueWithParts};
use std::borrow::Cow;

/// `rewrite: { path_prefix | path | path_regex, host, query }`.
#[derive(Debug, Default)]
pub struct Rewrite {
    /// How the path changes.
    pub path: Option<PathRewrite>,
    /// The new host, with a port if one is wanted. If what is built is no host, the request's
    /// stays.
    pub host: Option<ValueWithParts>,
    /// What becomes of the query. None: it stays.
    pub query: Option<QueryEdit>,
}

/// How a path changes. Redirects use it too.
#[derive(Debug)]
pub enum PathRewrite {
    /// Replaces the prefix that matched. The configuration makes sure that every block of the route
    /// matches by prefix.
    Prefix(Box<[u8]>),
    /// The whole path. It may hold parts of the request, such as names of the template that
    /// matched.
    Whole(Vec<Piece>),
    /// Searches, and replaces every match.
    Regex {
        /// What is searched.
        pattern: Search,
        /// What replaces each match.
        substitution: Vec<SubstitutionPart>,
    },
}

/// What a rewrite makes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewritten<'a> {
    /// The new `:path`, with the query. None: it stays.
    pub path: Option<Vec<u8>>,
    /// The new `:authority`. None: it stays.
    pub authority: Option<Cow<'a, [u8]>>,
}

impl Rewrite {
    /// What the rewrite makes of a request. If the new path has a `?` of its own, the request's
    /// query follows after an `&`.
    pub fn apply(&self, parts: &mut Parts<'_>) -> Rewritten<'_> {
        let request = parts.request;
        let query = match &self.query {
            Some(edit) => {
                request.steps.count(request.query.map_or(0, <[u8]>::len));
                edit.apply(request.query)
            }
            None => request.query.map(Cow::Borrowed),
        };
        let mut path = self.path.as_ref().map(|rewrite| rewrite.path(parts));
        if path.is_none() && query.as_deref() != request.query {
            path = Some(request.path.to_vec());
        }
        if let (Some(path), Some(query)) = (&mut path, query) {
            path.push(if path.contains(&b'?') { b'&' } else { b'?' });
            path.extend_from_slice(&query);
        }
        Rewritten {
            path,
            authority: self.host.as_ref().and_then(|host| parts.host(host)),
        }
    }
}

impl PathRewrite {
    /// The new path of a request, without the query. It always starts with a `/`, which is put
    /// before a result that does not: an empty one is `/`.
    pub(crate) fn path(&self, parts: &mut Parts<'_>) -> Vec<u8> {
        let (request, matched) = (parts.request, parts.block.path.as_ref());
        let path = request.path;
        let mut new = match self {
            PathRewrite::Prefix(prefix) => {
                match matched.and_then(|matched| matched.after_prefix(path)) {
                    // What follows brings its own slash: `/x` behind `/` is `/x`.
                    Some(rest) if !rest.is_empty() => {
                        [prefix.strip_suffix(b"/").unwrap_or(prefix), rest].concat()
                    }
                    Some(_) => prefix.to_vec(),
                    None => path.to_vec(),
                }
            }
            PathRewrite::Whole(pieces) => parts.path(pieces),
            PathRewrite::Regex {
                pattern,
                substitution,
            } => {
                let mut steps = 0;
                let new = match request.steps.admits(path.len()) {
                    true => pattern.replace_counted(path, substitution, &mut steps),
                    false => path.to_vec(),
                };
                request.steps.count(STEPS_PER_STATE * steps);
                new
            }
        };
        if !new.starts_with(b"/") {
            new.insert(0, b'/');
        }
        new
    }
}

/// What a state costs that a search tries, in steps.
const STEPS_PER_STATE: usize = 12;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::http::headers::Headers;
    use crate::http::request::Request;
    use crate::http::value::Part;
    use crate::route::r#match::Match;
    use crate::route::parts::tests::parts;
    use crate::route::path::tests::path;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// `prefix /x`; `whole /a/{id}`, `regex pattern>substitution`.
    pub(crate) fn rewrite(kind: &str, text: &str) -> PathRewrite {
        match kind {
            "prefix" => PathRewrite::Prefix(text.as_bytes().into()),
            "whole" => PathRewrite::Whole(
                text.split_inclusive('}')
                    .flat_map(|run| {
                        match run.strip_suffix('}').and_then(|run| run.split_once('{')) {
                            Some((text, name)) => vec![
                                Piece::Text(text.as_bytes().into()),
                                Piece::Part(Part::Name(name.into())),
                            ],
                            None => vec![Piece::Text(run.as_bytes().into())],
                        }
                    })
                    .collect(),
            ),
            "regex" => {
                let (pattern, substitution) = text.split_once('>').unwrap();
                let mut parts = substitution.split('\\');
                let mut substitution = vec![SubstitutionPart::Text(
                    parts.next().unwrap().as_bytes().into(),
                )];
                for part in parts {
                    substitution.push(SubstitutionPart::Group(part[..1].parse().unwrap()));
                    substitution.push(SubstitutionPart::Text(part.as_bytes()[1..].into()));
                }
                PathRewrite::Regex {
                    pattern: Search::new(pattern).unwrap(),
                    substitution,
                }
            }
            _ => unreachable!("{kind}"),
        }
    }

    #[test]
    fn paths_are_rewritten_and_keep_their_query() {
        for (matched, (kind, text), from, to) in [
            (
                ("prefix", "/checkout"),
                ("prefix", "/"),
                "/checkout/x",
                "/x",
            ),
            (("prefix", "/checkout"), ("prefix", "/"), "/checkout", "/"),
            (("prefix", "/checkout"), ("prefix", "/"), "/checkout/", "/"),
            (
                ("prefix", "/checkout/"),
                ("prefix", "/"),
                "/checkout/x?a=b?c",
                "/x?a=b?c",
            ),
            (
                ("prefix", "/checkout"),
                ("prefix", "/"),
                "/checkout?x=1",
                "/?x=1",
            ),
            (("prefix", "/checkout"), ("prefix", ""), "/checkout", "/"),
            (
                ("prefix", "/checkout"),
                ("prefix", ""),
                "/checkout/x/",
                "/x/",
            ),
            (("prefix", "/api"), ("prefix", "/v1/api"), "/api", "/v1/api"),
            (
                ("prefix", "/api"),
                ("prefix", "/v1/api"),
                "/api/x?",
                "/v1/api/x?",
            ),
            (("prefix", "/api"), ("prefix", "/v1/"), "/api/x", "/v1/x"),
            (("prefix", "/api"), ("prefix", "/v1/"), "/api", "/v1/"),
            (("prefix", "/"), ("prefix", "/v1"), "/api", "/v1/api"),
            (("prefix", "/"), ("prefix", "/v1"), "/", "/v1/"),
            (("prefix", "/a"), ("prefix", "/b"), "/a//x", "/b//x"),
            (("PREFIX", "/Api"), ("prefix", "/v1"), "/aPI/X", "/v1/X"),
            (
                ("template", "/u/{id}"),
                ("whole", "/users/{id}/home"),
                "/u/7?x",
                "/users/7/home?x",
            ),
            (("template", "/u/{id}"), ("whole", "{id}"), "/u/7", "/7"),
            (
                ("template", "/f/{rest=**}"),
                ("whole", "/files/{rest}"),
                "/f/a/b",
                "/files/a/b",
            ),
            (
                ("template", "/f/{rest=**}"),
                ("whole", "{rest}"),
                "/f/",
                "/",
            ),
            (("exact", "/old"), ("whole", "/new"), "/old?x=1", "/new?x=1"),
            (
                ("exact", "/old"),
                ("whole", "/new?y=2"),
                "/old?x=1",
                "/new?y=2&x=1",
            ),
            (("exact", "/old"), ("whole", "/new?y=2"), "/old", "/new?y=2"),
            (
                ("prefix", "/"),
                ("regex", r"^/v(\d)/(.*)$>/\2/v\1"),
                "/v2/x/y?q",
                "/x/y/v2?q",
            ),
            (("prefix", "/"), ("regex", "a>b"), "/banana?a", "/bbnbnb?a"),
            (("prefix", "/"), ("regex", "x>y"), "/banana", "/banana"),
            (("prefix", "/"), ("regex", ".*>"), "/banana", "/"),
            (("prefix", "/"), ("regex", "^/a/>"), "/a/b", "/b"),
        ] {
            let block = Match {
                path: Some(path(matched.0, matched.1)),
                ..Match::default()
            };
            let headers = Headers::from_pairs(&[(":path", from)]);
            let request = Request::new(&headers);
            assert!(
                block.path.as_ref().unwrap().matches(request.path),
                "{matched:?} {from}"
            );
            let rewrite = Rewrite {
                path: Some(rewrite(kind, text)),
                ..Rewrite::default()
            };
            let client = &mut || None;
            let rewritten = rewrite.apply(&mut parts(&request, &block, client));
            let path = String::from_utf8(rewritten.path.unwrap()).unwrap();
            assert_eq!(path, to, "{kind} {text} on {from}");
            assert_eq!(rewritten.authority, None);
        }
    }

    #[test]
    fn what_is_not_rewritten_stays() {
        let headers = Headers::from_pairs(&[(":path", "/a?b"), (":authority", "h")]);
        let rewrite = Rewrite {
            host: Some(ValueWithParts::Text(b"internal.example:81"[..].into())),
            ..Rewrite::default()
        };
        let (request, block, client) = (Request::new(&headers), Match::default(), &mut || None);
        let rewritten = rewrite.apply(&mut parts(&request, &block, client));
        assert_eq!(rewritten.path, None);
        assert_eq!(
            rewritten.authority.as_deref(),
            Some(&b"internal.example:81"[..])
        );
    }

    #[test]
    fn a_query_is_edited_with_the_path_and_alone() {
        let remove = |name: &str| QueryEdit::Parameters {
            remove: vec![name.as_bytes().into()],
            set: Box::default(),
        };
        let set = || QueryEdit::Parameters {
            remove: vec![b"v"[..].into()],
            set: b"v=2"[..].into(),
        };
        for (query, new, from, to) in [
            (QueryEdit::Drop, None, "/a?b=1", Some("/a")),
            (QueryEdit::Drop, None, "/a?", Some("/a")),
            (QueryEdit::Drop, None, "/a", None),
            (QueryEdit::Drop, Some("/new"), "/a?b=1", Some("/new")),
            (remove("b"), None, "/a?b=1", Some("/a")),
            (remove("b"), None, "/a?b=1&c=%20", Some("/a?c=%20")),
            (remove("x"), None, "/a?b=1", None),
            (remove("x"), None, "/a", None),
            (remove("b"), Some("/new"), "/a?b=1&c", Some("/new?c")),
            (remove("b"), Some("/new"), "/a?b=1", Some("/new")),
            (set(), None, "/a", Some("/a?v=2")),
            (set(), None, "/a?v=1&w", Some("/a?w&v=2")),
            (set(), Some("/new"), "/a", Some("/new?v=2")),
            (set(), Some("/new?y"), "/a?b", Some("/new?y&b&v=2")),
        ] {
            let headers = Headers::from_pairs(&[(":path", from)]);
            let name = format!("{query:?} {new:?} on {from}");
            let rewrite = Rewrite {
                path: new.map(|new| rewrite("whole", new)),
                query: Some(query),
                ..Rewrite::default()
            };
            let (request, block, client) = (Request::new(&headers), Match::default(), &mut || None);
            let rewritten = rewrite.apply(&mut parts(&request, &block, client));
            assert_eq!(rewritten.path.as_deref(), to.map(str::as_bytes), "{name}");
        }
    }
}

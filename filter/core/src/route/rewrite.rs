//! Rewrites: what the upstream sees in place of the client's path and host. The query stays.

use crate::http::regex::Search;
use crate::http::regex::SubstitutionPart;
use crate::http::request::Request;
use crate::route::r#match::Match;
use crate::route::path::PathMatch;

/// `rewrite: { path_prefix | path | path_regex, host }`.
#[derive(Debug, Default)]
pub struct Rewrite {
    /// How the path changes.
    pub path: Option<PathRewrite>,
    /// The new host, with a port if one is wanted.
    pub host: Option<Box<[u8]>>,
}

/// How a path changes. Redirects use it too.
#[derive(Debug)]
pub enum PathRewrite {
    /// Replaces the prefix that matched. The configuration makes sure that every block of the route
    /// matches by prefix.
    Prefix(Box<[u8]>),
    /// The whole path: literal text and names of the template that matched.
    Whole(Vec<Piece>),
    /// Searches, and replaces every match.
    Regex {
        /// What is searched.
        pattern: Search,
        /// What replaces each match.
        substitution: Vec<SubstitutionPart>,
    },
}

/// A piece of `rewrite.path` or `redirect.path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// As it stands.
    Text(Box<[u8]>),
    /// The segment (or rest) that this name of the route's template took.
    Name(Box<str>),
}

/// What a rewrite makes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewritten<'a> {
    /// The new `:path`, with the query. None: it stays.
    pub path: Option<Vec<u8>>,
    /// The new `:authority`. None: it stays.
    pub authority: Option<&'a [u8]>,
}

impl Rewrite {
    /// What the rewrite makes of a request that this block matched. If the new path has a `?` of
    /// its own, the request's query follows after an `&`.
    pub fn apply(&self, request: &Request, block: &Match) -> Rewritten<'_> {
        let path = self.path.as_ref().map(|rewrite| {
            let mut path = rewrite.path(request, block);
            if let Some(query) = request.query {
                path.push(if path.contains(&b'?') { b'&' } else { b'?' });
                path.extend_from_slice(query);
            }
            path
        });
        Rewritten {
            path,
            authority: self.host.as_deref(),
        }
    }
}

impl PathRewrite {
    /// The new path of a request, without the query. It always starts with a `/`, which is put
    /// before a result that does not: an empty one is `/`.
    pub(crate) fn path(&self, request: &Request<'_>, block: &Match) -> Vec<u8> {
        let (path, matched) = (request.path, block.path.as_ref());
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
            PathRewrite::Whole(pieces) => whole(pieces, path, matched),
            PathRewrite::Regex {
                pattern,
                substitution,
            } => {
                let mut steps = 0;
                let new = pattern.replace_counted(path, substitution, &mut steps);
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
const STEPS_PER_STATE: usize = 4;

fn whole(pieces: &[Piece], path: &[u8], matched: Option<&PathMatch>) -> Vec<u8> {
    let mut new = Vec::new();
    for piece in pieces {
        new.extend_from_slice(match piece {
            Piece::Text(text) => text,
            Piece::Name(name) => matched
                .and_then(|matched| matched.captured(path, name))
                .unwrap_or_default(),
        });
    }
    new
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::http::request::Headers;
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
                                Piece::Name(name.into()),
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
                host: None,
            };
            let rewritten = rewrite.apply(&request, &block);
            let path = String::from_utf8(rewritten.path.unwrap()).unwrap();
            assert_eq!(path, to, "{kind} {text} on {from}");
            assert_eq!(rewritten.authority, None);
        }
    }

    #[test]
    fn what_is_not_rewritten_stays() {
        let headers = Headers::from_pairs(&[(":path", "/a?b"), (":authority", "h")]);
        let rewrite = Rewrite {
            path: None,
            host: Some(b"internal.example:81"[..].into()),
        };
        let rewritten = rewrite.apply(&Request::new(&headers), &Match::default());
        assert_eq!(rewritten.path, None);
        assert_eq!(rewritten.authority, Some(&b"internal.example:81"[..]));
    }
}

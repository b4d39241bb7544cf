//! The action `redirect`: an absolute `location`. Parts of it that the configuration does not give
//! are those of the request.

use super::parts::Parts;
use crate::http::host::host_of;
use crate::http::query::QueryEdit;
use crate::http::request::Request;
use crate::http::value::ValueWithParts;
use crate::route::rewrite::PathRewrite;
use std::borrow::Cow;

/// `redirect: { scheme, host, port, path | path_prefix | path_regex, query, status }`.
#[derive(Debug)]
pub struct Redirect {
    /// `http` or `https`.
    pub scheme: Option<Box<[u8]>>,
    /// The new host. A port in what is built is dropped; if it is no host, the request's stays, as
    /// if this were not given.
    pub host: Option<ValueWithParts>,
    /// The new port. A port that is the scheme's default is not written.
    pub port: Option<u16>,
    /// The new path.
    pub path: Option<PathRewrite>,
    /// What becomes of the request's query. None: it stays.
    pub query: Option<QueryEdit>,
    /// 301, 302, 303, 307 or 308. Default 302: a permanent one should be asked for.
    pub status: u16,
}

impl Redirect {
    /// The `location` for a request. A path that has a query of its own replaces the request's,
    /// whatever `query` says. Bytes that may not stand in a URI are percent-encoded. A request
    /// without any host (HTTP/1.0, or an authority that is none) is sent to a path, as there is
    /// nothing to make it absolute with.
    pub fn location(&self, parts: &mut Parts<'_>) -> Vec<u8> {
        let request = parts.request;
        let scheme = match (&self.scheme, request.scheme) {
            (Some(scheme), _) => scheme,
            (None, b"") => &b"http"[..],
            (None, scheme) => scheme,
        };
        let new_host = self.host.as_ref().and_then(|host| parts.host(host));
        let host = match (&self.host, &new_host) {
            (Some(ValueWithParts::Built(_)), Some(built)) => host_of(built),
            (_, Some(host)) => host,
            (_, None) => request.host(),
        };
        // A new host or scheme drops the port: it belonged to the old ones.
        let port = self.port.or_else(|| match (&self.scheme, &new_host) {
            (None, None) => port(request),
            _ => None,
        });
        let mut location = Vec::with_capacity(
            host.len() + request.path.len() + request.query.unwrap_or_default().len() + 32,
        );
        if !host.is_empty() {
            encode(&mut location, scheme);
            location.extend_from_slice(b"://");
            encode(&mut location, host);
            if let Some(port) = port.filter(|port| Some(*port) != default_port(scheme)) {
                location.push(b':');
                location.extend_from_slice(port.to_string().as_bytes());
            }
        }
        let path = match &self.path {
            Some(rewrite) => Cow::Owned(rewrite.path(parts)),
            None => Cow::Borrowed(request.path),
        };
        if !path.starts_with(b"/") {
            location.push(b'/');
        }
        // Without a host, what follows `//` would be read as one (RFC 3986, 4.2).
        if host.is_empty() && path.starts_with(b"//") {
            location.extend_from_slice(b"/.");
        }
        encode(&mut location, &path);
        let query = match &self.query {
            Some(edit) => edit.apply(request.query),
            None => request.query.map(Cow::Borrowed),
        };
        if let Some(query) = query.filter(|_| !path.contains(&b'?')) {
            location.push(b'?');
            encode(&mut location, &query);
        }
        location
    }
}

fn port(request: &Request) -> Option<u16> {
    let digits = request.authority.rsplit(|byte| *byte == b':').next()?;
    // Without a colon these are the host, which may be a number; what is no authority has no port.
    if digits.len() == request.authority.len() || request.host().is_empty() {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn default_port(scheme: &[u8]) -> Option<u16> {
    match scheme {
        _ if scheme.eq_ignore_ascii_case(b"http") => Some(80),
        _ if scheme.eq_ignore_ascii_case(b"https") => Some(443),
        _ => None,
    }
}

/// Appends bytes as a URI has them: printable ASCII as it is, everything else (CR, LF and NUL,
/// which would end a header, among it) percent-encoded.
fn encode(location: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        if byte.is_ascii_graphic() {
            location.push(*byte);
        } else {
            let digit = |four: u8| {
                if four < 10 {
                    b'0' + four
                } else {
                    b'A' + four - 10
                }
            };
            location.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::headers::Headers;
    use crate::route::r#match::Match;
    use crate::route::parts::tests::parts;
    use crate::route::path::tests::path;
    use crate::route::rewrite::tests::rewrite;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// A redirect as it is written: `scheme=https host=h port=1 prefix=/a whole=/b regex=a>b
    /// query=drop`.
    fn redirect(text: &str) -> Redirect {
        let mut redirect = Redirect {
            scheme: None,
            host: None,
            port: None,
            path: None,
            query: None,
            status: 302,
        };
        for (key, value) in text.split(' ').filter_map(|part| part.split_once('=')) {
            match key {
                "scheme" => redirect.scheme = Some(value.as_bytes().into()),
                "host" => redirect.host = Some(ValueWithParts::Text(value.as_bytes().into())),
                "port" => redirect.port = Some(value.parse().unwrap()),
                "status" => redirect.status = value.parse().unwrap(),
                "query" => redirect.query = Some(QueryEdit::Drop),
                kind => redirect.path = Some(rewrite(kind, value)),
            }
        }
        redirect
    }

    fn location(text: &str, matched: &str, request: &[(&str, &[u8])]) -> String {
        let headers = Headers::from_pairs(request);
        let (kind, on) = matched.split_once(' ').unwrap();
        let block = Match {
            path: Some(path(kind, on)),
            ..Match::default()
        };
        let location =
            redirect(text).location(&mut parts(&Request::new(&headers), &block, &mut || None));
        String::from_utf8(location).unwrap()
    }

    #[test]
    fn location_takes_from_the_request_what_is_not_given() {
        for (text, matched, (scheme, authority, target), expected) in [
            (
                "scheme=https",
                "prefix /",
                ("http", "h", "/a?b=c"),
                "https://h/a?b=c",
            ),
            (
                "scheme=https",
                "prefix /",
                ("http", "h:8080", "/"),
                "https://h/",
            ),
            (
                "scheme=https port=8443",
                "prefix /",
                ("http", "h:8080", "/"),
                "https://h:8443/",
            ),
            (
                "scheme=https port=443",
                "prefix /",
                ("http", "h:8080", "/"),
                "https://h/",
            ),
            (
                "status=303",
                "exact /a",
                ("https", "h:8443", "/a?b=c"),
                "https://h:8443/a?b=c",
            ),
            (
                "scheme=http port=443",
                "prefix /",
                ("https", "h", "/"),
                "http://h:443/",
            ),
            ("host=n", "prefix /", ("http", "h:8080", "/a"), "http://n/a"),
            (
                "host=n port=80",
                "prefix /",
                ("http", "h:8080", "/a"),
                "http://n/a",
            ),
            (
                "host=n port=80",
                "prefix /",
                ("https", "h", "/a"),
                "https://n:80/a",
            ),
            (
                "port=81",
                "prefix /",
                ("http", "h:8080", "/a"),
                "http://h:81/a",
            ),
            (
                "whole=/new",
                "exact /old",
                ("http", "h:8080", "/old?x"),
                "http://h:8080/new?x",
            ),
            (
                "whole=/new",
                "exact /old",
                ("http", "h:80", "/old?"),
                "http://h/new?",
            ),
            (
                "whole=/new",
                "exact /old",
                ("https", "[::1]:8443", "/old"),
                "https://[::1]:8443/new",
            ),
            (
                "whole=/new",
                "exact /old",
                ("https", "[::1]", "/old"),
                "https://[::1]/new",
            ),
            (
                "whole=/new",
                "exact /old",
                ("https", "h:", "/old"),
                "https://h/new",
            ),
            (
                "whole=/new",
                "exact /old",
                ("https", "h:99999", "/old"),
                "https://h/new",
            ),
            (
                "whole=/new?y=1",
                "exact /old",
                ("https", "h", "/old?x"),
                "https://h/new?y=1",
            ),
            (
                "whole=/u/{id}",
                "template /users/{id}",
                ("http", "H", "/users/7"),
                "http://H/u/7",
            ),
            (
                "whole=/new query=drop",
                "exact /old",
                ("http", "h", "/old?x"),
                "http://h/new",
            ),
            (
                "scheme=https query=drop",
                "exact /old",
                ("http", "h", "/old?"),
                "https://h/old",
            ),
            ("prefix=/", "prefix /a", ("http", "h", "/a"), "http://h/"),
            (
                "prefix=/",
                "prefix /a",
                ("http", "h", "/a/b?c"),
                "http://h/b?c",
            ),
            ("regex=^/a>", "prefix /a", ("http", "h", "/a"), "http://h/"),
            (
                "scheme=https host=n whole=/x",
                "prefix /",
                ("http", "h", "/a"),
                "https://n/x",
            ),
            (
                "scheme=https",
                "prefix /",
                ("http", "h", "*"),
                "https://h/*",
            ),
            ("scheme=https", "prefix /", ("http", "", "/a?b"), "/a?b"),
            (
                "scheme=https",
                "prefix /",
                ("http", "", "//evil.example/b"),
                "/.//evil.example/b",
            ),
            (
                "prefix=/",
                "prefix /a",
                ("http", "", "/a//evil.example"),
                "/.//evil.example",
            ),
            ("port=81", "prefix /", ("", "h", "/"), "http://h:81/"),
        ] {
            let request = [
                (":scheme", scheme),
                (":authority", authority),
                (":path", target),
            ]
            .map(|(n, v)| (n, v.as_bytes()));
            assert_eq!(
                location(text, matched, &request),
                expected,
                "{text} for {scheme}://{authority}{target}"
            );
        }
    }

    #[test]
    fn nothing_that_ends_a_header_gets_in() {
        let request = [
            (":scheme", &b"http\r\nx: y"[..]),
            (":authority", b"h\r\n\0"),
            (":path", b"/a\r\nset-cookie: x=y\0\xff?\r\n"),
        ];
        for text in ["port=1", "prefix=/", "regex=b>c", "whole=/{rest}"] {
            let matched = if text.starts_with("whole") {
                "template /{rest=**}"
            } else {
                "prefix /"
            };
            let location = location(text, matched, &request);
            assert!(
                location.bytes().all(|byte| byte.is_ascii_graphic()),
                "{location}"
            );
            assert!(
                location.contains("/a%0D%0Aset-cookie:%20x=y%00%FF?%0D%0A"),
                "{location}"
            );
        }
    }
}

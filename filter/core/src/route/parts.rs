//! The parts of one request, and of the decision about it, that values may hold
//! ([`crate::http::value`]).
//!
//! What a client sent is only ever a part of one value: control characters, which would end a header
//! or make a receiver refuse it, are left out of headers and percent-encoded in paths, what is no
//! host never becomes one, and in a path what is not of the request's own path is at most one
//! segment.

use super::r#match::{AskClient, Match};
use crate::http::host::host_of;
use crate::http::request::Request;
use crate::http::value::{MAX_PARTS, Part, Piece, ValueWithParts};
use std::borrow::Cow;

/// What values may hold.
pub struct Parts<'a> {
    /// The request, as it came.
    pub request: &'a Request<'a>,
    /// The block of the route's `match` that the request met.
    pub block: &'a Match,
    /// The route's name.
    pub route: &'a str,
    /// The name of the pool that takes the request; empty: none does.
    pub pool: &'a str,
    /// The name of the target that is tried first; empty: there is none.
    pub target: &'a str,
    /// Asks for the client's address.
    pub client: &'a mut AskClient<'a>,
}

/// Appends a part as it may stand in a value.
type Append = fn(&Part, &[u8], &mut Vec<u8>);

/// What of a client's bytes may stand in a header that the filter writes: all but control
/// characters, of which the tab may.
pub fn in_header(bytes: &[u8]) -> impl Iterator<Item = u8> + '_ {
    let stays = |byte: &u8| *byte == b'\t' || !byte.is_ascii_control();
    bytes.iter().copied().filter(stays)
}

impl<'a> Parts<'a> {
    /// Those of a request that goes to no target, or to none yet.
    pub fn without_target(
        request: &'a Request<'a>,
        block: &'a Match,
        route: &'a str,
        client: &'a mut AskClient<'a>,
    ) -> Parts<'a> {
        Parts {
            request,
            block,
            route,
            pool: "",
            target: "",
            client,
        }
    }
}

impl Parts<'_> {
    /// A header's value. Of what is built, control characters but for the tab are left out, and
    /// blanks at its ends: a target that refuses a request for them has not failed.
    pub fn header<'v>(&mut self, value: &'v ValueWithParts) -> Cow<'v, [u8]> {
        match value {
            ValueWithParts::Text(text) => Cow::Borrowed(text),
            ValueWithParts::Built(pieces) => {
                let built = self.build(pieces, |_, bytes, built| built.extend(in_header(bytes)));
                Cow::Owned(built.trim_ascii().to_vec())
            }
        }
    }

    /// A path, without a query.
    ///
    /// What is of the request's own path or query already stands there as a URI has it: only
    /// control characters, blanks, `?` and `#` are percent-encoded. Everything else is data: one
    /// segment, or a part of one, in which whatever has a meaning in paths is percent-encoded. Data
    /// of nothing but dots is left out: it would be a way up.
    pub fn path(&mut self, pieces: &[Piece]) -> Vec<u8> {
        self.build(pieces, |part, bytes, built| {
            let is_path = matches!(part, Part::Path | Part::Query | Part::Name(_));
            if !is_path && bytes.iter().all(|byte| *byte == b'.') {
                return;
            }
            let stays = |byte: u8| match is_path {
                true => !matches!(byte, 0..=b' ' | 0x7f | b'?' | b'#'),
                false => byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte),
            };
            for byte in bytes {
                match stays(*byte) {
                    true => built.push(*byte),
                    false => percent_encode(*byte, built),
                }
            }
        })
    }

    /// A host, with a port if it has one. Dots before it, which absent parts leave, are dropped.
    /// None: what was built is no host.
    pub fn host<'v>(&mut self, value: &'v ValueWithParts) -> Option<Cow<'v, [u8]>> {
        let pieces = match value {
            ValueWithParts::Text(text) => return Some(Cow::Borrowed(text)),
            ValueWithParts::Built(pieces) => pieces,
        };
        let built = self.build(pieces, |_, bytes, built| built.extend_from_slice(bytes));
        let dots = built.iter().take_while(|byte| **byte == b'.').count();
        let host = built.get(dots..).unwrap_or_default();
        (!host_of(host).is_empty()).then(|| Cow::Owned(host.to_vec()))
    }

    fn build(&mut self, pieces: &[Piece], append: Append) -> Vec<u8> {
        let (mut built, mut bytes) = (Vec::new(), Vec::new());
        let mut left = MAX_PARTS;
        for piece in pieces {
            let part = match piece {
                Piece::Text(text) => {
                    built.extend_from_slice(text);
                    continue;
                }
                Piece::Part(part) => part,
            };
            bytes.clear();
            self.read(part, &mut bytes);
            self.request.steps.count(bytes.len());
            let before = built.len();
            append(part, &bytes, &mut built);
            match left.checked_sub(built.len() - before) {
                Some(rest) => left = rest,
                None => built.truncate(before),
            }
        }
        built
    }

    /// Appends a part as the request has it.
    fn read(&mut self, part: &Part, bytes: &mut Vec<u8>) {
        let request = self.request;
        let mut values = |values: &mut dyn Iterator<Item = &[u8]>, between: &[u8]| {
            for (at, value) in values.enumerate() {
                if at > 0 {
                    bytes.extend_from_slice(between);
                }
                bytes.extend_from_slice(value);
            }
        };
        let mut one = |value: &[u8]| values(&mut std::iter::once(value), b"");
        match part {
            Part::ClientIp => {
                if let Some(address) = (self.client)() {
                    one(address.to_string().as_bytes());
                }
            }
            Part::Host => one(request.host()),
            Part::Path => one(request.path),
            Part::Query => one(request.query.unwrap_or_default()),
            Part::Method => one(request.method),
            Part::Scheme => one(request.scheme),
            Part::Header(name) => {
                let between: &[u8] = if **name == *b"cookie" { b"; " } else { b"," };
                values(&mut request.headers.all(name), between);
            }
            Part::Cookie(name) => values(&mut request.cookie_values(name).take(1), b""),
            Part::Parameter(name) => values(&mut request.query_values(name).take(1), b""),
            Part::Label => {
                let mut hosts = self.block.hosts.iter();
                one(hosts
                    .find_map(|host| host.label(request.host()))
                    .unwrap_or_default());
            }
            Part::Route => one(self.route.as_bytes()),
            Part::Pool => one(self.pool.as_bytes()),
            Part::Target => one(self.target.as_bytes()),
            Part::Name(name) => {
                let path = self.block.path.as_ref();
                let taken = path.and_then(|path| path.captured(request.path, name));
                one(taken.unwrap_or_default());
            }
        }
    }
}

/// Appends a byte as `%41`.
pub(super) fn percent_encode(byte: u8, to: &mut Vec<u8>) {
    let digit = |four: u8| match four {
        0..10 => b'0' + four,
        _ => b'A' + four - 10,
    };
    to.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::http::headers::Headers;
    use crate::route::host::HostMatch;
    use crate::route::path::tests::path;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// Those of a request without a route.
    pub(crate) fn parts<'a>(
        request: &'a Request<'a>,
        block: &'a Match,
        client: &'a mut AskClient<'_>,
    ) -> Parts<'a> {
        Parts::without_target(request, block, "", client)
    }

    fn of(part: Part) -> Vec<Piece> {
        vec![Piece::Part(part)]
    }

    /// Calls `body` with the parts of a request with these headers beside its own.
    fn with_parts<T>(headers: &[(&str, &[u8])], body: impl FnOnce(&mut Parts<'_>) -> T) -> T {
        let own: [(&str, &[u8]); 4] = [
            (":method", b"POST"),
            (":scheme", b"https"),
            (":authority", b"A.b.Shop.test:8443"),
            (
                ":path",
                b"/u/7%2F8/x//y?q=%41%2F&q=2&e=%0d%0aset-cookie:+x%00&up=..&c=+%01a%7f%09b+",
            ),
        ];
        let headers = Headers::from_pairs(&[&own[..], headers].concat());
        let request = Request::new(&headers);
        let block = Match {
            hosts: vec![
                HostMatch::Exact(b"other"[..].into()),
                HostMatch::Suffix(b".shop.test"[..].into()),
            ],
            path: Some(path("template", "/u/{id}/{rest=**}")),
            ..Match::default()
        };
        let client = &mut || Some([192, 0, 2, 1].into());
        body(&mut Parts {
            route: "a route/1",
            pool: "web",
            target: "blue",
            ..parts(&request, &block, client)
        })
    }

    #[test]
    fn parts_are_those_of_the_request_as_it_came() {
        let name = |name: &str| Box::<[u8]>::from(name.as_bytes());
        let headers: [(&str, &[u8]); 5] = [
            ("x", b"1"),
            ("x", b""),
            ("x", b"a, \xff"),
            ("cookie", b"a=1; b=/%2f"),
            ("cookie", b"a=2"),
        ];
        for (part, header, path) in [
            (Part::ClientIp, &b"192.0.2.1"[..], &b"192.0.2.1"[..]),
            (Part::Host, b"A.b.Shop.test", b"A.b.Shop.test"),
            (Part::Path, b"/u/7%2F8/x//y", b"/u/7%2F8/x//y"),
            (Part::Method, b"POST", b"POST"),
            (Part::Scheme, b"https", b"https"),
            (Part::Header(name("x")), b"1,,a, \xff", b"1,,a,%20%FF"),
            (Part::Header(name("none")), b"", b""),
            (
                Part::Header(name("cookie")),
                b"a=1; b=/%2f; a=2",
                b"a=1;%20b=%2F%252f;%20a=2",
            ),
            (Part::Cookie(name("a")), b"1", b"1"),
            (Part::Cookie(name("b")), b"/%2f", b"%2F%252f"),
            (Part::Cookie(name("none")), b"", b""),
            (Part::Parameter(name("q")), b"A/", b"A%2F"),
            (Part::Parameter(name("none")), b"", b""),
            (Part::Parameter(name("up")), b"..", b""),
            (
                Part::Parameter(name("e")),
                b"set-cookie: x",
                b"%0D%0Aset-cookie:%20x%00",
            ),
            (Part::Parameter(name("c")), b"a\tb", b"%20%01a%7F%09b%20"),
            (Part::Label, b"A.b", b"A.b"),
            (Part::Route, b"a route/1", b"a%20route%2F1"),
            (Part::Pool, b"web", b"web"),
            (Part::Target, b"blue", b"blue"),
            (Part::Name("id".into()), b"7%2F8", b"7%2F8"),
            (Part::Name("rest".into()), b"x//y", b"x//y"),
            (Part::Name("none".into()), b"", b""),
        ] {
            let shown = format!("{part:?}");
            let built = with_parts(&headers, |parts| {
                let value = ValueWithParts::Built(of(part.clone()));
                (parts.header(&value).into_owned(), parts.path(&of(part)))
            });
            assert_eq!(built, (header.to_vec(), path.to_vec()), "{shown}");
        }
    }

    #[test]
    fn what_is_no_host_never_becomes_one() {
        let text = |text: &str| Piece::Text(text.as_bytes().into());
        let header = || Piece::Part(Part::Header(b"x"[..].into()));
        for (x, pieces, expected) in [
            (
                "eu",
                vec![header(), text(".shop.test")],
                Some("eu.shop.test"),
            ),
            ("", vec![header(), text(".shop.test")], Some("shop.test")),
            ("..", vec![header(), text(".shop.test")], Some("shop.test")),
            ("a..b", vec![header(), text(".shop.test")], None),
            ("evil.test/", vec![header(), text(".shop.test")], None),
            ("evil.test:1", vec![header(), text(".shop.test")], None),
            ("u@evil.test", vec![header()], None),
            ("a\r\nb", vec![header()], None),
            ("", vec![header()], None),
            ("[::1]:8080", vec![header()], Some("[::1]:8080")),
            ("8080", vec![text("h:"), header()], Some("h:8080")),
            ("x", vec![text("h:"), header()], None),
        ] {
            let headers = [("x", x.as_bytes())];
            let built = with_parts(&headers, |parts| {
                let value = ValueWithParts::Built(pieces.clone());
                parts.host(&value).map(Cow::into_owned)
            });
            assert_eq!(
                built.as_deref(),
                expected.map(str::as_bytes),
                "{x} in {pieces:?}"
            );
        }
    }

    #[test]
    fn a_part_that_does_not_fit_is_empty() {
        let long = vec![b'x'; MAX_PARTS];
        let longer = vec![b'/'; MAX_PARTS / 3 + 1];
        let headers = [("fits", &long[..]), ("one", b"1"), ("encoded", &longer[..])];
        let header = |name: &str| Piece::Part(Part::Header(name.as_bytes().into()));
        with_parts(&headers, |parts| {
            let value = ValueWithParts::Built(vec![header("fits"), Piece::Text(b"-"[..].into())]);
            assert_eq!(parts.header(&value).len(), MAX_PARTS + 1);
            let value = ValueWithParts::Built(vec![header("one"), header("fits"), header("one")]);
            assert_eq!(*parts.header(&value), *b"11");
            assert_eq!(parts.path(&[header("encoded"), header("one")]), b"1");
        });
    }
}

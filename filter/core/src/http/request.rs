//! One request as bytes: the parts of its headers that routes ask for. Nothing is copied but a query
//! that is percent-encoded, nothing has to be UTF-8.

use super::accept_language;
use super::device::{self, Device};
use super::find::{is_equal, split_at_byte};
use super::headers::{Headers, PseudoHeaders};
use super::host::host_of;
use super::pairs::{Pairs, Which, is_empty_cookie};
use super::steps::Steps;
use super::vary::Vary;
use std::cell::{Cell, OnceCell};
use std::ops::Range;

/// A request as routes see it: its headers, and those parts of them that have names of their own.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// All headers, pseudo-headers included.
    pub headers: &'a Headers,
    /// `:method`; empty where there is none.
    pub method: &'a [u8],
    /// `:scheme`; empty where there is none.
    pub scheme: &'a [u8],
    /// `:authority` as it came, with its port; empty where there is none.
    pub authority: &'a [u8],
    /// The path without the query.
    pub path: &'a [u8],
    /// What follows the first `?`; None where there is none.
    pub query: Option<&'a [u8]>,
    /// What it costs, and may cost.
    pub steps: Steps,
    /// What names are hashed with.
    secret: Cell<u64>,
    /// Where in the authority it lies.
    host: OnceCell<Range<usize>>,
    has_asked_for_cookie: Cell<bool>,
    cookies: OnceCell<Pairs>,
    parameters: OnceCell<Pairs>,
    slashes: OnceCell<Vec<u32>>,
    device: OnceCell<Device>,
    language: OnceCell<Option<u8>>,
}

impl<'a> Request<'a> {
    /// The request of a header map.
    pub fn new(headers: &'a Headers) -> Request<'a> {
        let of = |value: &Range<u32>| headers.at(value);
        let PseudoHeaders {
            method,
            scheme,
            authority,
            path,
        } = headers.pseudo();
        let authority = of(authority);
        let (path, query) = split_at_byte(of(path), b'?');
        let steps = Steps::default();
        steps.count(authority.len());
        Request {
            headers,
            method: of(method),
            scheme: of(scheme),
            authority,
            path,
            query,
            steps,
            secret: Cell::new(NO_SECRET),
            host: OnceCell::new(),
            has_asked_for_cookie: Cell::new(false),
            cookies: OnceCell::new(),
            parameters: OnceCell::new(),
            slashes: OnceCell::new(),
            device: OnceCell::new(),
            language: OnceCell::new(),
        }
    }

    /// Sets a number that no client knows, before the first cookie or parameter is asked for. Without
    /// it they are found as well, but clients choose how long that takes.
    pub fn set_secret(&self, secret: u64) {
        self.secret.set(secret);
    }

    /// The host of the authority ([`host_of`]), its case as it came; empty where there is none. It is
    /// looked for once, where something depends on it.
    pub fn host(&self) -> &'a [u8] {
        let place = self.host.get_or_init(|| {
            let host = host_of(self.authority);
            let before = host
                .as_ptr()
                .addr()
                .wrapping_sub(self.authority.as_ptr().addr());
            match host {
                [] => 0..0,
                _ => before..before.saturating_add(host.len()),
            }
        });
        self.authority.get(place.clone()).unwrap_or_default()
    }

    /// Where the path has a `/`: it is looked for once, however many templates there are.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a header map is shorter than 2^32 bytes"
    )]
    pub fn slashes(&self) -> &[u32] {
        self.slashes.get_or_init(|| {
            self.steps.count(self.path.len());
            let bytes = self.path.iter().enumerate();
            let slashes = bytes.filter(|(_, byte)| **byte == b'/');
            slashes.map(|(at, _)| at as u32).collect()
        })
    }

    /// What kind of device asks. It is looked for once, however many conditions there are.
    pub fn device(&self) -> Device {
        *self.device.get_or_init(|| {
            let first = |name: &[u8]| self.headers.first(name).unwrap_or_default();
            let user_agent = first(b"user-agent");
            self.steps.count(device::steps(user_agent));
            Device::of(user_agent, first(b"sec-ch-ua-mobile"))
        })
    }

    /// The language that the client prefers, as `find` finds it in the values of
    /// `accept-language`. It is looked for once: a request is matched with one configuration.
    pub(crate) fn preferred_language(
        &self,
        find: impl FnOnce(&mut dyn Iterator<Item = &'a [u8]>) -> Option<u8>,
    ) -> Option<u8> {
        *self.language.get_or_init(|| {
            self.steps.count(accept_language::MAX_STEPS);
            find(&mut self.headers.all(b"accept-language"))
        })
    }

    /// What was looked at so far of that which is for `vary` to tell.
    pub fn vary(&self) -> Vary {
        Vary {
            device: self.device.get().is_some(),
            language: self.language.get().is_some(),
        }
    }

    /// Whether it is gRPC, by its content type as Envoy sees it
    /// (`Grpc::Common::hasGrpcContentType`): `application/grpc`, alone or with `+`, which leaves
    /// out gRPC-Web.
    pub fn is_grpc(&self) -> bool {
        self.headers
            .first(b"content-type")
            .is_some_and(is_grpc_content_type)
    }

    /// Whether it asks for another protocol on its connection: a CONNECT, or an upgrade that has no
    /// body.
    pub fn asks_for_another_protocol(&self) -> bool {
        let has = |name: &[u8]| self.headers.first(name).is_some();
        let has_body = || has(b"content-length") || has(b"transfer-encoding");
        self.method == b"CONNECT" || (self.method == b"GET" && has(b"upgrade") && !has_body())
    }

    /// Every value of a cookie.
    ///
    /// Cookies are every `name=value` of every `cookie` header, as RFC 6265 section 5.4 has clients
    /// write them and section 4.2.2 has servers take them: parts between `;`, blanks around name
    /// and value dropped, quotes kept. Who asks for the second cookie has them taken apart, once; the
    /// first one, mostly the only one, is found in the text as it is.
    pub fn cookie_values<'r>(&'r self, name: &'r [u8]) -> impl Iterator<Item = &'r [u8]> {
        self.cookies_of(name, Which::All)
    }

    /// The values of a cookie that are not empty; in quotes neither.
    pub(super) fn filled_cookie_values<'r>(
        &'r self,
        name: &'r [u8],
    ) -> impl Iterator<Item = &'r [u8]> {
        let values = self.cookies_of(name, Which::Filled);
        values.filter(|value| !is_empty_cookie(value))
    }

    fn cookies_of<'r>(
        &'r self,
        name: &'r [u8],
        which: Which,
    ) -> CookieValues<'r, impl Iterator<Item = &'r [u8]>> {
        let is_first = !self.has_asked_for_cookie.replace(true);
        let alone = self.headers.lone(b"cookie").filter(|_| is_first);
        if let Some(text) = alone.filter(|text| text.len() <= FEW_COOKIES) {
            self.steps.count(STEPS_PER_COOKIE_BYTE * text.len());
            return CookieValues::InText { rest: text, name };
        }
        let text = self.headers.text();
        let cookies = self.cookies.get_or_init(|| {
            let headers = self.headers.ranges(b"cookie");
            Pairs::of_cookies(text, headers, self.secret.get(), &self.steps)
        });
        CookieValues::TakenApart(cookies.values(text, name, which, &self.steps))
    }

    /// Every value of a query parameter, both percent-decoded. A part of the query without `=` has
    /// an empty value. The query is taken apart once.
    pub fn query_values<'r>(&'r self, name: &'r [u8]) -> impl Iterator<Item = &'r [u8]> {
        self.parameters_of(name, Which::All)
    }

    /// The values of a query parameter that are not empty.
    pub(super) fn filled_query_values<'r>(
        &'r self,
        name: &'r [u8],
    ) -> impl Iterator<Item = &'r [u8]> {
        let values = self.parameters_of(name, Which::Filled);
        values.filter(|value| !value.is_empty())
    }

    fn parameters_of<'r>(&'r self, name: &'r [u8], which: Which) -> impl Iterator<Item = &'r [u8]> {
        let query = self.query.unwrap_or_default();
        let parameters = self
            .parameters
            .get_or_init(|| Pairs::of_query(query, self.secret.get(), &self.steps));
        parameters.values(query, name, which, &self.steps)
    }
}

/// Every value of a cookie.
enum CookieValues<'r, I> {
    /// What is left of the only `cookie` header.
    InText {
        rest: &'r [u8],
        name: &'r [u8],
    },
    TakenApart(I),
}

impl<'r, I: Iterator<Item = &'r [u8]>> Iterator for CookieValues<'r, I> {
    type Item = &'r [u8];

    #[inline]
    fn next(&mut self) -> Option<&'r [u8]> {
        let (rest, name) = match self {
            CookieValues::InText { rest, name } => (rest, *name),
            CookieValues::TakenApart(values) => return values.next(),
        };
        while !rest.is_empty() {
            let part = rest.trim_ascii_start();
            if let Some((start, behind)) = part.split_at_checked(name.len())
                && is_equal(start, name)
                && let [b'=', value @ ..] = behind.trim_ascii_start()
            {
                let (value, next) = split_at_byte(value, b';');
                *rest = next.unwrap_or_default();
                return Some(value.trim_ascii());
            }
            let (_, next) = split_at_byte(part, b';');
            *rest = next.unwrap_or_default();
        }
        None
    }
}

/// The number until there is one that no client knows: any with bits all over.
const NO_SECRET: u64 = 0x243f_6a88_85a3_08d3;

/// Of a text of so many bytes one cookie is found sooner than all are taken apart.
const FEW_COOKIES: usize = 1024;

/// What that costs, in steps: as much as to take them apart.
const STEPS_PER_COOKIE_BYTE: usize = 4;

/// Whether this value of `content-type` says gRPC, see [`Request::is_grpc`].
pub fn is_grpc_content_type(kind: &[u8]) -> bool {
    let rest = kind.strip_prefix(b"application/grpc");
    matches!(rest, Some([] | [b'+', ..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn the_first_cookie_that_is_asked_for_is_the_same_as_when_all_are_taken_apart() {
        use proptest::prelude::*;
        let pieces =
            prop::sample::select(&["a", "ab", "=", "=", ";", ";", " ", "\"", "\t", "1"][..]);
        let text = prop::collection::vec(pieces, 0..24).prop_map(|pieces| pieces.concat());
        let law = |text: String| {
            let headers = Headers::from_pairs(&[(":path", "/"), ("cookie", &*text)]);
            for name in [&b"a"[..], b"ab", b"b", b"", b"1"] {
                let request = Request::new(&headers);
                let found = || request.cookie_values(name).collect::<Vec<_>>();
                let (first, second) = (found(), found());
                prop_assert_eq!(first, second, "{} in {:?}", name.escape_ascii(), text);
            }
            Ok(())
        };
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        runner.run(&text, law).unwrap();
    }

    #[test]
    fn of_several_pseudo_headers_the_last_counts() {
        let headers =
            Headers::from_pairs(&[(":path", "/a"), ("x", "1"), (":path", "/b"), (":p", "/c")]);
        assert_eq!(Request::new(&headers).path, b"/b");
    }

    #[test]
    fn grpc_is_told_by_its_content_type() {
        for (kind, is) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc-web", false),
            ("application/grpc-web+proto", false),
            ("application/json", false),
        ] {
            let headers = Headers::from_pairs(&[("content-type", kind)]);
            assert_eq!(Request::new(&headers).is_grpc(), is, "{kind}");
        }
        assert!(!Request::new(&Headers::default()).is_grpc());
    }

    #[test]
    fn request_parts() {
        let headers = Headers::from_pairs(&[
            (&b":path"[..], &b"/a/b?x=1&&y&z=%41%4+%"[..]),
            (b":authority", b"Shop.example:8080"),
            (b"cookie", b"a=1; b = \"2\" ;c"),
            (b"cookie", b"a=3;=;"),
        ]);
        let request = Request::new(&headers);
        assert_eq!(request.path, b"/a/b");
        assert_eq!(request.host(), b"Shop.example");
        assert_eq!(request.cookie_values(b"b").collect::<Vec<_>>(), [b"\"2\""]);
        assert_eq!(request.cookie_values(b"").collect::<Vec<_>>(), [b""]);
        assert_eq!(request.cookie_values(b"c").count(), 0);
        assert_eq!(request.query_values(b"y").collect::<Vec<_>>(), [b""]);
        assert_eq!(request.query_values(b"").count(), 0);
        assert_eq!(
            request.cookie_values(b"a").collect::<Vec<_>>(),
            [b"1", b"3"]
        );
        assert_eq!(request.query_values(b"x").collect::<Vec<_>>(), [&b"1"[..]]);
        assert_eq!(
            request.query_values(b"z").collect::<Vec<_>>(),
            [&b"A%4 %"[..]]
        );
    }
}

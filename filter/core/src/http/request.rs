//! One request as bytes: the header map as the host serialises it, and the parts of it that routes
//! ask for. Nothing is copied but a query that is percent-encoded, nothing has to be UTF-8.

use super::accept_language;
use super::device::{self, Device};
use super::find::{is_equal, split_at_byte};
use super::pairs::{Pairs, Which, is_empty_cookie};
use super::steps::Steps;
use super::vary::Vary;
use std::cell::{Cell, OnceCell};
use std::net::Ipv6Addr;
use std::ops::Range;

/// A header map. Names are lower case, as every host hands them over. It is kept as it came: what
/// was read of it are where the lines that every request has lie, and which names there may be.
#[derive(Clone, Debug)]
pub struct Headers {
    /// The serialised map: a count, the sizes of each name and value, then these.
    bytes: Vec<u8>,
    /// The bits of all names. Most names that are asked for are not there, which the bits say without
    /// a search.
    names: u64,
    /// The bits that several lines have.
    repeated: u64,
    /// For each bit the number of the first line that has it, from 1. 0: there is none, or it is not
    /// noted.
    firsts: [u8; 64],
    pseudo: PseudoHeaders,
    /// Where the last value ends, with its NUL.
    end: usize,
    count: usize,
}

/// Names, as far as their bits tell them.
#[derive(Clone, Copy, Debug, Default)]
pub struct NameSet(u64);

impl<'n> FromIterator<&'n [u8]> for NameSet {
    fn from_iter<I: IntoIterator<Item = &'n [u8]>>(names: I) -> NameSet {
        let names = names.into_iter();
        NameSet(names.fold(0, |bits, name| bits | 1 << place(name)))
    }
}

/// Where in [`Headers::text`] the values of the pseudo-headers lie. Empty: there is none.
#[derive(Clone, Debug, Default)]
struct PseudoHeaders {
    method: Range<u32>,
    scheme: Range<u32>,
    authority: Range<u32>,
    path: Range<u32>,
}

/// Where the name and the value of one line lie.
struct Line {
    name: Range<u32>,
    value: Range<u32>,
}

/// The lines of a map that was read, by their sizes.
struct Lines<'a> {
    sizes: std::slice::Iter<'a, [u8; 8]>,
    /// Where the next line begins, and where the last one ends.
    front: usize,
    back: usize,
}

/// The bytes are not a serialised map: the host's fault, never the client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedMap;

impl Default for Headers {
    fn default() -> Headers {
        Headers {
            bytes: Vec::new(),
            names: 0,
            repeated: 0,
            firsts: [0; 64],
            pseudo: PseudoHeaders::default(),
            end: 0,
            count: 0,
        }
    }
}

impl Headers {
    /// Reads proxy-wasm's serialised map: a count, then the sizes of each name and value, then each
    /// name and value with a NUL after it; all numbers are little-endian `u32`. One pass, which
    /// copies nothing.
    pub fn from_wire(bytes: Vec<u8>) -> Result<Headers, MalformedMap> {
        let mut headers = Headers::default();
        headers.read(bytes)?;
        Ok(headers)
    }

    /// The same, into headers that are still the default.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "an end is at most u32::MAX, and what the bytes hold has a size"
    )]
    pub fn read(&mut self, bytes: Vec<u8>) -> Result<(), MalformedMap> {
        // No map at all (null, 0) is how a host says "empty".
        if bytes.is_empty() {
            return Ok(());
        }
        let (count, rest) = bytes.split_first_chunk().ok_or(MalformedMap)?;
        let count = u32::from_le_bytes(*count) as usize;
        let (sizes, _) = rest.as_chunks();
        // The bytes may not hold as many.
        let sizes: &[[u8; 8]] = sizes.get(..count).ok_or(MalformedMap)?;
        if bytes.len() >= u32::MAX as usize {
            return Err(MalformedMap);
        }
        // As 64 bits: the sizes may be anything.
        let (mut end, mut number) = (4 + 8 * count as u64, 0_u8);
        let (mut names, mut repeated) = (0_u64, 0_u64);
        for both in sizes {
            let (at, [name_size, value_size]) = (end as u32, both_sizes(*both));
            end += u64::from(name_size) + u64::from(value_size) + 2;
            number = number.wrapping_add(1);
            let first = bytes.get(at as usize).copied().unwrap_or_default();
            let place = place_of(name_size, first);
            let bit = 1 << place;
            if names & bit != 0 {
                repeated |= bit;
            } else if let Some(first) = self.firsts.get_mut(place) {
                *first = number;
            }
            names |= bit;
            if first == b':' {
                // Behind the end of the bytes it is nothing, and refused below.
                let value = at.wrapping_add(name_size).wrapping_add(1)..end as u32 - 1;
                let name = at + 1..value.start.wrapping_sub(1);
                self.pseudo.note(slice(&bytes, &name), value);
            }
        }
        if end > bytes.len() as u64 {
            *self = Headers::default();
            return Err(MalformedMap);
        }
        // Then each is searched.
        if count > MAX_NOTED {
            self.firsts = [0; 64];
            repeated = names;
        }
        self.end = end as usize;
        self.count = count;
        self.names = names;
        self.repeated = repeated;
        self.bytes = bytes;
        Ok(())
    }

    /// Writes proxy-wasm's serialised map.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a header map is shorter than 2^32 bytes"
    )]
    pub fn to_wire<N: AsRef<[u8]>, V: AsRef<[u8]>>(pairs: &[(N, V)]) -> Vec<u8> {
        let mut wire = Vec::new();
        wire.extend_from_slice(&(pairs.len() as u32).to_le_bytes());
        for (name, value) in pairs {
            wire.extend_from_slice(&(name.as_ref().len() as u32).to_le_bytes());
            wire.extend_from_slice(&(value.as_ref().len() as u32).to_le_bytes());
        }
        for (name, value) in pairs {
            wire.extend_from_slice(name.as_ref());
            wire.push(0);
            wire.extend_from_slice(value.as_ref());
            wire.push(0);
        }
        wire
    }

    /// A map of these pairs.
    pub fn from_pairs<N: AsRef<[u8]>, V: AsRef<[u8]>>(pairs: &[(N, V)]) -> Headers {
        // What was just written can be read.
        Headers::from_wire(Headers::to_wire(pairs)).unwrap_or_default()
    }

    /// Every pair, in the order of the message.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&[u8], &[u8])> {
        self.lines().map(|line| {
            (
                slice(&self.bytes, &line.name),
                slice(&self.bytes, &line.value),
            )
        })
    }

    /// Every value of a name. Most names differ in length already, so their bytes are not compared.
    pub fn all<'a>(&'a self, name: &[u8]) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        self.ranges(name).map(|value| slice(&self.bytes, &value))
    }

    /// How many pairs there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// All bytes, names and values of all pairs among them.
    pub(super) fn text(&self) -> &[u8] {
        &self.bytes
    }

    /// Where in [`Headers::text`] every value of a name lies.
    pub(super) fn ranges(&self, name: &[u8]) -> impl DoubleEndedIterator<Item = Range<u32>> {
        let of_name = move |line: Line| {
            let is_it = is_equal(slice(&self.bytes, &line.name), name);
            is_it.then_some(line.value)
        };
        self.lines_like(name).filter_map(of_name)
    }

    fn lines(&self) -> Lines<'_> {
        let (sizes, _) = self.bytes.get(4..).unwrap_or_default().as_chunks();
        Lines {
            sizes: sizes.get(..self.count).unwrap_or_default().iter(),
            front: 4 + 8 * self.count,
            back: self.end,
        }
    }

    /// The lines among which are all of a name: none, one, or from the first one on.
    fn lines_like(&self, name: &[u8]) -> Lines<'_> {
        let place = place(name);
        if self.names >> place & 1 == 0 {
            return Lines {
                sizes: [].iter(),
                front: 0,
                back: 0,
            };
        }
        let mut lines = self.lines();
        let Some((number, front)) = self.first_line(place) else {
            return lines;
        };
        let sizes = lines.sizes.as_slice().get(number..).unwrap_or_default();
        lines.front = front;
        if self.repeated >> place & 1 == 1 {
            lines.sizes = sizes.iter();
            return lines;
        }
        if let Some((only, _)) = sizes.split_first() {
            let [name_size, value_size] = both_sizes(*only);
            lines.back = front + name_size as usize + value_size as usize + 2;
            lines.sizes = std::slice::from_ref(only).iter();
        }
        lines
    }

    /// The number of the first line of a bit, from 0, and where it begins. None: it is not noted.
    fn first_line(&self, place: usize) -> Option<(usize, usize)> {
        let number = usize::from(*self.firsts.get(place)?).checked_sub(1)?;
        let (sizes, _) = self.bytes.get(4..)?.as_chunks();
        let before = sizes.get(..number)?.iter();
        let size = before.fold(0, |all, both| {
            let [name_size, value_size] = both_sizes(*both);
            all + name_size as usize + value_size as usize + 2
        });
        Some((number, 4 + 8 * self.count + size))
    }

    /// The first value of a name.
    pub fn first<'a>(&'a self, name: &[u8]) -> Option<&'a [u8]> {
        match self.names >> place(name) & 1 {
            0 => None,
            _ => self.find(name),
        }
    }

    /// The value of a name that stands in one line. None: in several, or in none, or perhaps in
    /// several.
    pub fn lone<'a>(&'a self, name: &[u8]) -> Option<&'a [u8]> {
        match self.repeated >> place(name) & 1 {
            0 => self.first(name),
            _ => None,
        }
    }

    /// Whether one of these names may be there. False: none is.
    #[inline]
    pub fn may_have(&self, names: &NameSet) -> bool {
        self.names & names.0 != 0
    }

    /// Whether there is such a name.
    pub fn has(&self, name: &[u8]) -> bool {
        self.first(name).is_some()
    }

    #[inline(never)]
    fn find<'a>(&'a self, name: &[u8]) -> Option<&'a [u8]> {
        let place = place(name);
        if let Some((number, at)) = self.first_line(place) {
            let (sizes, _) = self.bytes.get(4..)?.as_chunks();
            let [name_size, value_size] = both_sizes(*sizes.get(number)?);
            let value = at + name_size as usize + 1;
            if is_equal(self.bytes.get(at..value - 1)?, name) {
                return self.bytes.get(value..value + value_size as usize);
            }
        }
        match self.repeated >> place & 1 {
            0 => None,
            _ => self.all(name).next(),
        }
    }
}

impl PseudoHeaders {
    /// Notes a line by its name without the colon. Of several the last one counts.
    fn note(&mut self, name: &[u8], value: Range<u32>) {
        // By their lengths first, and as arrays: each is then one comparison of a number.
        if let Ok(name) = <&[u8; 4]>::try_from(name) {
            if name == b"path" {
                self.path = value;
            }
        } else if let Ok(name) = <&[u8; 6]>::try_from(name) {
            match name {
                b"method" => self.method = value,
                b"scheme" => self.scheme = value,
                _ => {}
            }
        } else if name == b"authority" {
            self.authority = value;
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "`Headers::from_wire` refuses what ends behind u32::MAX"
)]
impl Iterator for Lines<'_> {
    type Item = Line;

    fn next(&mut self) -> Option<Line> {
        let [name_size, value_size] = both_sizes(*self.sizes.next()?);
        let name = self.front as u32..self.front as u32 + name_size;
        let value = name.end + 1..name.end + 1 + value_size;
        self.front = value.end as usize + 1;
        Some(Line { name, value })
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "`Headers::from_wire` refuses what ends behind u32::MAX"
)]
impl DoubleEndedIterator for Lines<'_> {
    fn next_back(&mut self) -> Option<Line> {
        let [name_size, value_size] = both_sizes(*self.sizes.next_back()?);
        let value_end = self.back as u32 - 1;
        let value = value_end - value_size..value_end;
        let name_end = value.start - 1;
        let name = name_end - name_size..name_end;
        self.back = name.start as usize;
        Some(Line { name, value })
    }
}

/// The sizes of a name and of its value.
#[expect(clippy::cast_possible_truncation, reason = "the two halves")]
fn both_sizes(both: [u8; 8]) -> [u32; 2] {
    let both = u64::from_le_bytes(both);
    [both as u32, (both >> 32) as u32]
}

/// The place of a name's bit, by its length and its first byte: few names of a request have the same.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the six lowest bits are all that count"
)]
fn place(name: &[u8]) -> usize {
    let first = name.first().copied().unwrap_or_default();
    place_of(name.len() as u32, first)
}

/// The same by its length and its first byte; 0: it has none. Of the names that browsers and proxies
/// send no two have the same but `:method` and `:scheme`, and those that differ in their ends.
fn place_of(length: u32, first: u8) -> usize {
    ((length.wrapping_mul(3) ^ u32::from(first)) % 64) as usize
}

/// Of more lines than these none is noted by its number.
const MAX_NOTED: usize = u8::MAX as usize;

fn slice<'a>(bytes: &'a [u8], range: &Range<u32>) -> &'a [u8] {
    bytes
        .get(range.start as usize..range.end as usize)
        .unwrap_or_default()
}

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
        let of = |value: &Range<u32>| slice(&headers.bytes, value);
        let PseudoHeaders {
            method,
            scheme,
            authority,
            path,
        } = &headers.pseudo;
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

/// The host of an authority: without its port, and without the one dot at its end, which only says
/// that the name is absolute. Empty where it is no authority of `http` (RFC 9110 section 4.2: a
/// host, and digits behind a colon): what one reader takes for a host in it, another one does not.
/// So the host is labels of letters, digits, `-` and `_`, none of them empty, or an IPv6 address in
/// brackets, as it can stand in a configuration.
pub fn host_of(authority: &[u8]) -> &[u8] {
    match is_plain_host(authority) {
        true => authority,
        false => host_of_unusual(authority),
    }
}

/// Whether an authority is its host: labels between dots, and nothing else. That is one pass over
/// what nearly all requests have.
fn is_plain_host(authority: &[u8]) -> bool {
    let mut was_dot = true;
    for byte in authority {
        match PLACE_IN_HOST.get(usize::from(*byte)) {
            Some(InHost::Label) => was_dot = false,
            Some(InHost::Dot) if !was_dot => was_dot = true,
            _ => return false,
        }
    }
    !was_dot
}

/// What a byte is in a host.
#[derive(Clone, Copy)]
enum InHost {
    Label,
    Dot,
    Nothing,
}

/// For each byte: a table is one load where comparisons are six.
const PLACE_IN_HOST: [InHost; 256] = {
    let mut places = [InHost::Nothing; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        if let Some((_, [place, ..])) = places.split_at_mut_checked(byte as usize) {
            if byte == b'.' {
                *place = InHost::Dot;
            } else if is_in_labels(byte) {
                *place = InHost::Label;
            }
        }
        byte += 1;
    }
    places
};

#[cold]
#[inline(never)]
fn host_of_unusual(authority: &[u8]) -> &[u8] {
    let end = match authority {
        [b'[', ..] => authority
            .iter()
            .position(|byte| *byte == b']')
            .map(|at| at + 1),
        _ => authority.iter().position(|byte| *byte == b':'),
    };
    let end = end.unwrap_or(authority.len());
    let (host, port) = authority.split_at_checked(end).unwrap_or_default();
    let is_port = match port.split_first() {
        None => true,
        Some((colon, digits)) => *colon == b':' && digits.iter().all(u8::is_ascii_digit),
    };
    let host = host.strip_suffix(b".").unwrap_or(host);
    let is_host = match host.strip_prefix(b"[") {
        Some(address) => is_ipv6(address.strip_suffix(b"]")),
        None => host.split(|byte| *byte == b'.').all(is_label),
    };
    match is_port && is_host {
        true => host,
        false => &[],
    }
}

fn is_label(label: &[u8]) -> bool {
    !label.is_empty() && label.iter().all(|byte| is_in_labels(*byte))
}

const fn is_in_labels(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

fn is_ipv6(address: Option<&[u8]>) -> bool {
    let text = address.and_then(|address| std::str::from_utf8(address).ok());
    text.is_some_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn map_reads_back_what_was_written() {
        let pairs = [
            (&b":path"[..], &b"/a?b"[..]),
            (b"x", b""),
            (b"x", b"\xff\x80"),
        ];
        let headers = Headers::from_pairs(&pairs);
        assert_eq!(headers.iter().collect::<Vec<_>>(), pairs);
        assert_eq!(headers.all(b"x").count(), 2);
        let backwards: Vec<_> = headers.iter().rev().collect();
        assert_eq!(backwards, [pairs[2], pairs[1], pairs[0]]);
        assert_eq!(headers.all(b"x").next_back(), Some(&b"\xff\x80"[..]));
        // From both ends they meet.
        let mut both = headers.iter();
        assert_eq!(
            (both.next_back(), both.next()),
            (Some(pairs[2]), Some(pairs[0]))
        );
        assert_eq!((both.next(), both.next_back()), (Some(pairs[1]), None));
    }

    #[test]
    fn a_name_is_found_wherever_it_stands_and_among_names_that_look_like_it() {
        // `x` comes twice, and `far` behind all that are noted.
        let mut pairs: Vec<(String, String)> = (0..300)
            .map(|number| (format!("n{number}"), format!("v{number}")))
            .collect();
        pairs.insert(7, ("x".into(), "first".into()));
        pairs.push(("x".into(), "last".into()));
        pairs.push(("far".into(), "away".into()));
        let headers = Headers::from_pairs(&pairs);
        for name in [
            "x", "far", "n0", "n7", "n255", "n256", "n299", "n300", "y", "",
        ] {
            let expected: Vec<&[u8]> = pairs
                .iter()
                .filter(|(other, _)| other == name)
                .map(|(_, value)| value.as_bytes())
                .collect();
            let name = name.as_bytes();
            assert_eq!(headers.all(name).collect::<Vec<_>>(), expected);
            assert_eq!(headers.first(name), expected.first().copied());
            let backwards: Vec<_> = headers.all(name).rev().collect();
            assert!(backwards.iter().eq(expected.iter().rev()));
        }
    }

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
    fn map_cut_anywhere_is_refused() {
        let wire = Headers::to_wire(&[("name", "value"), ("n2", "value2")]);
        for end in 1..wire.len() {
            assert_eq!(
                Headers::from_wire(wire[..end].to_vec()).err(),
                Some(MalformedMap),
                "cut at {end}"
            );
        }
        assert_eq!(Headers::from_wire(vec![255; 64]).err(), Some(MalformedMap));
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

    #[test]
    fn port_is_dropped_and_nothing_else() {
        for (authority, host) in [
            ("a", "a"),
            ("a:80", "a"),
            ("[::1]", "[::1]"),
            ("[::1]:80", "[::1]"),
            (":", ""),
            ("", ""),
        ] {
            assert_eq!(host_of(authority.as_bytes()), host.as_bytes());
        }
    }

    #[test]
    fn a_dot_at_the_end_is_the_same_host_and_what_is_no_authority_has_none() {
        for (authority, host) in [
            ("a.b.", "a.b"),
            ("a.b.:80", "a.b"),
            ("A_1-2.b:", "A_1-2.b"),
            ("127.0.0.1:1", "127.0.0.1"),
            ("[2001:DB8::1]:65535", "[2001:DB8::1]"),
            (".", ""),
            ("a..", ""),
            ("a..b", ""),
            (".a", ""),
            ("a:80@evil", ""),
            ("u@a", ""),
            ("u:p@a:80", ""),
            ("a:80:81", ""),
            ("a:b", ""),
            ("a:-1", ""),
            ("::1", ""),
            ("[::1", ""),
            ("[::1]x", ""),
            ("[::1].:80", ""),
            ("[a]", ""),
            ("[]", ""),
            ("a,b", ""),
            ("a, b", ""),
            ("a b", ""),
            ("a%2e", ""),
            ("a/b", ""),
            ("\u{e9}.a", ""),
        ] {
            assert_eq!(
                host_of(authority.as_bytes()),
                host.as_bytes(),
                "{authority}"
            );
        }
        assert_eq!(host_of(b"\xff.a"), b"");
    }
}

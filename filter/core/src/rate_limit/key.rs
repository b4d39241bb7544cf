//! What the keys of a request's limits have of it.
//!
//! However many limits a route has, whatever is long is hashed once for a request, and the values of
//! a part that comes several times are told apart once: a client chooses how long they are. The hash
//! of a bucket's key has of a value longer than [`LONG`] the value's length and its hash, which is
//! under the workers' secret, and of a shorter one the value itself.

use super::RateLimit;
use crate::http::key::{
    KeyPart, cookie_values, feed_address, header_values, network, query_values,
};
use crate::http::request::Request;
use crate::siphash::{Seed, SipWriter};
use std::borrow::Cow;
use std::net::IpAddr;
use std::rc::Rc;

/// How many combinations of values of one limit's key a request may have: each of them is charged.
pub(super) const MAX_VALUES: usize = 8;

/// Values of so many bytes are hashed for each limit. Most are shorter than that, user agents and
/// session cookies too.
const LONG: usize = 256;

/// What a byte costs that is hashed for an engine, in steps.
const SHA256_STEPS: usize = 3;

/// The different values of a part of a key, none of them empty: at least two.
type Several<'r> = Rc<[&'r [u8]]>;

/// What a request's keys are made of. Without a long value and without a part that comes several
/// times it allocates nothing.
#[derive(Debug)]
pub struct KeyReader<'r> {
    request: &'r Request<'r>,
    client: Option<IpAddr>,
    route: &'r str,
    seed: Seed,
    /// The parts that came more than once. None: always with the same value.
    known: Vec<(&'r KeyPart, Option<Several<'r>>)>,
    digests: Vec<Digest<'r>>,
    /// What engines get of long values, by their parts and their places among several.
    texts: Vec<(&'r KeyPart, usize, String)>,
}

/// The hash of a long value.
#[derive(Debug)]
struct Digest<'r> {
    /// Where it lies says which it is.
    value: &'r [u8],
    form: Form,
    hash: u64,
}

/// How a value compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    AsItCame,
    WithoutCase,
}

impl<'r> KeyReader<'r> {
    pub(super) fn new(
        request: &'r Request<'r>,
        client: Option<IpAddr>,
        route: &'r str,
        seed: Seed,
    ) -> KeyReader<'r> {
        KeyReader {
            request,
            client,
            route,
            seed,
            known: Vec::new(),
            digests: Vec::new(),
            texts: Vec::new(),
        }
    }

    /// The client's address. None: it has none.
    pub(super) fn client(&self) -> Option<IpAddr> {
        self.client
    }

    /// How many combinations of values of this limit's key the request has: at least 1. Past
    /// [`MAX_VALUES`] it is only a bound.
    pub fn combinations(&mut self, limit: &'r RateLimit) -> usize {
        let mut count = |part| self.several(part).map_or(1, |several| several.len());
        let counts = limit.key().iter().map(&mut count);
        counts.fold(1, usize::saturating_mul)
    }

    /// Appends one combination of the key's values to a hash. None: the request has too many. No two
    /// different keys write the same bytes.
    pub(super) fn write(
        &mut self,
        limit: &'r RateLimit,
        mut combination: Option<usize>,
        hash: &mut SipWriter,
    ) {
        for part in limit.key() {
            let Some(several) = self.several(part) else {
                self.write_only(part, hash);
                continue;
            };
            let Some(rest) = &mut combination else {
                hash.write_byte(2);
                continue;
            };
            let place = rest.checked_rem(several.len()).unwrap_or_default();
            *rest = rest.checked_div(several.len()).unwrap_or_default();
            self.write_optional(part, several.get(place).copied(), hash);
        }
    }

    /// A part that the request has not several values of.
    fn write_only(&mut self, part: &'r KeyPart, hash: &mut SipWriter) {
        let request = self.request;
        match part {
            KeyPart::ClientIp => feed_address(hash, self.client),
            KeyPart::ClientNetwork { v4, v6 } => {
                let client = self.client.map(|address| network(address, *v4, *v6));
                feed_address(hash, client);
            }
            KeyPart::Header(name) => {
                let value = header_values(request, name).next();
                let value = value.or_else(|| request.headers.first(name));
                self.write_optional(part, value, hash);
            }
            KeyPart::Cookie(name) => {
                let value = cookie_values(request, name).next();
                let is_there = || request.cookie_values(name).next().map(|_| &b""[..]);
                self.write_optional(part, value.or_else(is_there), hash);
            }
            KeyPart::Query(name) => {
                let value = query_values(request, name).next();
                let value = value.or_else(|| request.query_values(name).next());
                self.write_optional(part, value, hash);
            }
            KeyPart::Path => self.write_value(request.path, Form::AsItCame, hash),
            KeyPart::Host => self.write_value(request.host(), Form::WithoutCase, hash),
            KeyPart::Method => self.write_value(request.method, Form::AsItCame, hash),
            KeyPart::Route => hash.write_field(self.route.as_bytes()),
        }
    }

    /// A header, a cookie or a query parameter; an empty value is not the same as none.
    fn write_optional(&mut self, part: &KeyPart, value: Option<&'r [u8]>, hash: &mut SipWriter) {
        hash.write_byte(value.is_some().into());
        match part {
            // The list of a header's values ends with a 0.
            KeyPart::Header(_) => {
                if let Some(value) = value {
                    self.write_value(value, Form::AsItCame, hash);
                    hash.write_byte(0);
                }
            }
            _ => self.write_value(value.unwrap_or_default(), Form::AsItCame, hash),
        }
    }

    fn write_value(&mut self, value: &'r [u8], form: Form, hash: &mut SipWriter) {
        if value.len() > LONG {
            let digest = self.digest(value, form);
            hash.write_u64(value.len() as u64);
            hash.write_u64(digest);
            return;
        }
        self.request.steps.count(value.len());
        write_field(value, form, hash);
    }

    /// The hash of a long value.
    fn digest(&mut self, value: &'r [u8], form: Form) -> u64 {
        let is_it = |known: &&Digest<'_>| std::ptr::eq(known.value, value) && known.form == form;
        if let Some(known) = self.digests.iter().find(is_it) {
            return known.hash;
        }
        self.request.steps.count(value.len());
        let mut hash = SipWriter::new(self.seed);
        write_field(value, form, &mut hash);
        let hash = hash.finish();
        self.digests.push(Digest { value, form, hash });
        hash
    }

    /// The value of a part that the request has not several values of. Empty: it has none.
    pub(super) fn only(&self, part: &'r KeyPart) -> Cow<'r, [u8]> {
        let request = self.request;
        let address = |address: IpAddr| Cow::Owned(address.to_string().into_bytes());
        let client = self.client.map(|client| client.to_canonical());
        let value = match part {
            KeyPart::ClientIp => return client.map_or_else(Cow::default, address),
            KeyPart::ClientNetwork { v4, v6 } => {
                let client = client.map(|client| network(client, *v4, *v6));
                return client.map_or_else(Cow::default, address);
            }
            KeyPart::Host => return Cow::Owned(request.host().to_ascii_lowercase()),
            KeyPart::Header(name) => header_values(request, name).next(),
            KeyPart::Cookie(name) => cookie_values(request, name).next(),
            KeyPart::Query(name) => query_values(request, name).next(),
            KeyPart::Path => Some(request.path),
            KeyPart::Method => Some(request.method),
            KeyPart::Route => Some(self.route.as_bytes()),
        };
        Cow::Borrowed(value.unwrap_or_default())
    }

    /// What an engine gets of a long value of a part, made once for a request however many limits
    /// and combinations have it. `place`: which of several it is.
    pub(super) fn long_text(
        &mut self,
        part: &'r KeyPart,
        place: usize,
        value: &[u8],
        make: impl FnOnce(&[u8]) -> String,
    ) -> String {
        let is_it = |(known, at, _): &&(&KeyPart, usize, String)| *at == place && *known == part;
        if let Some((.., text)) = self.texts.iter().find(is_it) {
            return text.clone();
        }
        self.request.steps.count(SHA256_STEPS * value.len());
        let text = make(value);
        self.texts.push((part, place, text.clone()));
        text
    }

    /// The different values of a part, where there are several.
    pub(super) fn several(&mut self, part: &'r KeyPart) -> Option<Several<'r>> {
        let request = self.request;
        if let Some((_, known)) = self.known.iter().find(|(known, _)| *known == part) {
            return known.clone();
        }
        match part {
            KeyPart::Header(name) => self.tell_apart(part, &mut header_values(request, name)),
            KeyPart::Cookie(name) => self.tell_apart(part, &mut cookie_values(request, name)),
            KeyPart::Query(name) => self.tell_apart(part, &mut query_values(request, name)),
            _ => None,
        }
    }

    fn tell_apart(
        &mut self,
        part: &'r KeyPart,
        values: &mut dyn Iterator<Item = &'r [u8]>,
    ) -> Option<Several<'r>> {
        let (first, second) = (values.next()?, values.next()?);
        let (mut several, mut digests) = (Vec::new(), Vec::new());
        for value in [first, second].into_iter().chain(values) {
            // No more are told apart, and a client must not make this quadratic.
            if several.len() > MAX_VALUES {
                break;
            }
            let digest = (value.len() > LONG).then(|| self.digest(value, Form::AsItCame));
            let is_it = |(known, known_digest): (&&[u8], &Option<u64>)| {
                let of_one_length = known.len() == value.len();
                if digest.is_some() {
                    return of_one_length && *known_digest == digest;
                }
                if of_one_length {
                    // Eight bytes at a time.
                    self.request.steps.count(4 + value.len() / 4);
                }
                *known == value
            };
            if !several.iter().zip(&digests).any(is_it) {
                several.push(value);
                digests.push(digest);
            }
        }
        let several = (several.len() > 1).then(|| several.into());
        self.known.push((part, several.clone()));
        several
    }
}

/// Appends a value with its length in front.
fn write_field(value: &[u8], form: Form, hash: &mut SipWriter) {
    match form {
        Form::AsItCame => hash.write_field(value),
        Form::WithoutCase => {
            hash.write_u64(value.len() as u64);
            for byte in value {
                hash.write_byte(byte.to_ascii_lowercase());
            }
        }
    }
}

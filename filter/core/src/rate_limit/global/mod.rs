//! Limits that hold over all proxies of a fleet together: the worker asks an engine that speaks
//! Envoy's rate limit protocol (`envoy.service.ratelimit.v3`), such as Limitador or
//! envoyproxy/ratelimit.
//!
//! A request is asked about after the proxy's own bucket of the limit has admitted it; what that
//! bucket was charged stays charged whatever the engine says. A [`Question`] is one call about one
//! bucket: Limitador's rules name descriptors by their place, so there is one in each call. It has
//! the limit's name (`limit`) and the parts of its key: `client_ip`, `header.NAME`, `cookie.NAME`,
//! `query.NAME`, `path`, `host`, `method` and `route`. A value that is longer than [`MAX_VALUE`] or
//! not UTF-8 is `sha256:` and its hash, so that no client chooses how much memory it takes in an
//! engine.

pub mod by_request;
pub mod lease;
pub mod wire;

use super::RateLimit;
use super::key::{KeyReader, MAX_VALUES};
use crate::http::key::KeyPart;
use crate::time::Nanos;
use lease::Call;
use sha2::{Digest, Sha256};
use wire::{Code, Response};

/// `global` of a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Global {
    /// The proxy's cluster of the engine: at most [`wire::MAX_CLUSTER`] bytes.
    pub cluster: Box<str>,
    /// The domain that the engine knows the limits under.
    pub domain: Box<str>,
    /// How long a request waits for the engine: 1 ms to 1 s. Default 20 ms.
    pub timeout: Nanos,
    /// What happens to a request that the engine did not answer about. Default: it is admitted.
    pub on_error: OnError,
    /// When the engine is asked.
    pub mode: Mode,
}

/// When an engine is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// With each request.
    Ask,
    /// Ahead of need, for keys that are busy; see [`lease`].
    Lease,
}

/// What happens to a request that the engine did not answer about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// It is admitted: the proxy's own bucket has bounded it.
    #[default]
    Admit,
    /// It is refused.
    Refuse,
}

/// What a request waits for before it is decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asking {
    /// What an engine is asked about it.
    pub questions: Vec<Question>,
    /// The keys of which it needs a token that others ask for as well: [`crate::worker::Worker::wait`].
    pub needs: Vec<Need>,
}

/// A token that a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// The limit: its place in [`crate::config::Config::rate_limits`].
    pub limit: usize,
    /// The key's id.
    pub id: u64,
}

/// One call of an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// A serialised `GrpcService`: the cluster of the call.
    pub service: String,
    /// A serialised `RateLimitRequest`.
    pub message: Vec<u8>,
    /// How long to wait for the answer.
    pub timeout: Nanos,
    /// The limit: its place in [`crate::config::Config::rate_limits`].
    pub limit: usize,
    /// The tokens that it asks for. None: of a limit without leases.
    pub tokens: Option<Tokens>,
}

/// The tokens that a call asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// The key's id.
    pub id: u64,
    /// How many, and for whom.
    pub call: Call,
}

/// What an engine says to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The limit admits the request.
    Admitted,
    /// It refuses the request, until so long. None: the engine does not say.
    Refused(Option<Nanos>),
    /// It says nothing, or nothing that can be understood.
    Failed,
}

impl Reply {
    /// What an answer says. None: there was none.
    pub fn of(answer: Option<&Response>) -> Reply {
        match answer.map(|answer| (answer.code, answer.statuses.first())) {
            Some((Code::Ok, _)) => Reply::Admitted,
            Some((Code::OverLimit, status)) => Reply::Refused(status.and_then(|it| it.reset)),
            Some((Code::Unknown, _)) | None => Reply::Failed,
        }
    }
}

impl Question {
    /// A call about a bucket of a limit. None: its cluster's name is too long. `request`: a
    /// serialised `RateLimitRequest` without its hits.
    pub fn new(
        global: &Global,
        limit: usize,
        request: &[u8],
        tokens: Option<Tokens>,
    ) -> Option<Question> {
        Some(Question {
            service: wire::service(&global.cluster)?,
            message: wire::with_hits(request, tokens.map_or(1, |tokens| tokens.call.hits)),
            timeout: global.timeout,
            limit,
            tokens,
        })
    }
}

/// What an engine gets of a request about a limit: of each part of the key the values that the request
/// has of it, read once however many combinations of them there are.
#[derive(Clone, Debug)]
pub struct Descriptor<'r> {
    limit: &'r RateLimit,
    parts: Vec<(String, Vec<String>)>,
}

impl<'r> Descriptor<'r> {
    /// What a request has of a limit's key.
    #[cold]
    pub fn of(limit: &'r RateLimit, reader: &mut KeyReader<'r>) -> Descriptor<'r> {
        let is_many = reader.combinations(limit) > MAX_VALUES;
        let values = |part: &'r KeyPart| match reader.several(part) {
            None => {
                let value = reader.only(part);
                vec![text(reader, part, 0, &value)]
            }
            Some(_) if is_many => vec!["several".to_owned()],
            Some(several) => {
                let values = several.iter().enumerate();
                let text = |(place, value): (usize, &&[u8])| text(reader, part, place, value);
                values.map(text).collect()
            }
        };
        let names = limit.key().iter().map(name);
        Descriptor {
            limit,
            parts: names.zip(limit.key().iter().map(values)).collect(),
        }
    }

    /// The `RateLimitRequest`, without its hits, of one combination of values; of too many, of all who
    /// have so many.
    pub fn message(&self, global: &Global, combination: usize) -> Vec<u8> {
        let mut rest = combination;
        let mut entries = vec![("limit", self.limit.name())];
        for (name, values) in &self.parts {
            let place = rest.checked_rem(values.len()).unwrap_or_default();
            rest = rest.checked_div(values.len()).unwrap_or_default();
            let value = values.get(place).map_or("", String::as_str);
            entries.push((name, value));
        }
        wire::request(&global.domain, &entries)
    }
}

/// The key of a descriptor's entry.
fn name(part: &KeyPart) -> String {
    let named = |kind: &str, name: &[u8]| [kind, ".", &String::from_utf8_lossy(name)].concat();
    match part {
        KeyPart::ClientIp | KeyPart::ClientNetwork { .. } => "client_ip".to_owned(),
        KeyPart::Header(of) => named("header", of),
        KeyPart::Cookie(of) => named("cookie", of),
        KeyPart::Query(of) => named("query", of),
        KeyPart::Path => "path".to_owned(),
        KeyPart::Host => "host".to_owned(),
        KeyPart::Method => "method".to_owned(),
        KeyPart::Route => "route".to_owned(),
    }
}

/// A value as an engine gets it.
fn text<'r>(reader: &mut KeyReader<'r>, part: &'r KeyPart, place: usize, value: &[u8]) -> String {
    if value.len() > MAX_VALUE {
        return reader.long_text(part, place, value, hashed);
    }
    let text = std::str::from_utf8(value).map(str::to_owned);
    text.unwrap_or_else(|_| hashed(value))
}

fn hashed(value: &[u8]) -> String {
    let mut text = "sha256:".to_owned();
    for byte in Sha256::digest(value) {
        for digit in [byte >> 4, byte & 15] {
            text.extend(char::from_digit(digit.into(), 16));
        }
    }
    text
}

/// The longest value that an engine gets as it is, in bytes.
pub const MAX_VALUE: usize = 128;

#[cfg(test)]
mod tests;

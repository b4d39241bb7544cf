//! `sticky` of a pool: a client stays at its target.
//!
//! The cookie carries the whole session ([`cookie`]), so that it survives a reload, a restart, and
//! another proxy with the same configuration; nothing is stored. It names its target by a hash of
//! the pool's and the target's *names*: adding, removing or reordering targets changes no session,
//! and neither address nor name can be read in it. With `keys` that hash is keyed and the cookie
//! carries a MAC, so a client cannot make one up, prolong one or take one to another pool. Without
//! keys the hash is plain and nothing is authenticated: a client that knows the configuration's
//! names can choose its target.
//!
//! Keys rotate in three steps, each rolled out everywhere before the next: the new key joins at the
//! end (every proxy verifies it), moves to the front (it signs), the old one leaves. A valid cookie
//! that is not as a fresh one would be (an older key, another `ttl`, more than half of its time
//! gone) is renewed, so sessions in use never expire.
//!
//! A client without a cookie can be held by the hash of `sticky.header`, see [`header_hash`].

mod cookie;

use crate::http::key::header_values;
use crate::http::request::Request;
use crate::index::TargetIndex;
use crate::pool::Pool;
use crate::siphash::SipWriter;
use crate::time::Seconds;
use cookie::{Signer, Token};

/// `sticky` of a pool: at least one of `cookie` and `header` is given.
#[derive(Debug)]
pub struct Sticky {
    /// The session cookie.
    pub cookie: Option<Cookie>,
    /// Clients without cookies are held by the hash of this header's value. Lower case.
    pub header: Option<Box<[u8]>>,
    /// The first signs, every one verifies. May be empty: then cookies are opaque but not
    /// authenticated.
    pub keys: Vec<Key>,
}

/// `sticky.cookie`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookie {
    /// A cookie name (an RFC 9110 token).
    pub name: Box<[u8]>,
    /// From 1 s. None: a cookie of the browser's session.
    pub ttl: Option<Seconds>,
    /// Default `/`.
    pub path: Box<[u8]>,
    /// Default false.
    pub secure: bool,
    /// Default true.
    pub http_only: bool,
    /// Default: not written.
    pub same_site: Option<SameSite>,
}

/// `same_site` of a cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    /// `SameSite=Strict`
    Strict,
    /// `SameSite=Lax`
    Lax,
    /// `SameSite=None`; the configuration makes sure that the cookie is `secure`.
    None,
}

/// A key of at least 16 bytes.
#[derive(Clone)]
pub struct Key(pub Box<[u8]>);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

/// What a valid cookie says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// The target. It may be unhealthy or down.
    pub target: TargetIndex,
    /// Whether the client should get a fresh cookie for the same target.
    pub renew: bool,
}

/// The sessions of one pool: reads and writes their cookies. Each worker has one for each pool.
pub struct Sessions {
    /// One for each of the pool's keys, in their order. Without keys: one that does not sign.
    signers: Vec<Signer>,
    /// For each target the header that was written last. All new clients of a target within one
    /// second get the same bytes, and a MAC is the dearest part of a request.
    written: Vec<Option<SetCookie>>,
}

/// A `set-cookie` header.
struct SetCookie {
    /// When its cookie expires; 0: never.
    expires: Seconds,
    value: Vec<u8>,
}

impl Sessions {
    /// The sessions of a pool.
    pub fn new(pool: &Pool) -> Sessions {
        let keys = pool.sticky.as_ref().map_or(&[][..], |sticky| &sticky.keys);
        let signers = match keys {
            [] => vec![Signer::unkeyed(pool)],
            keys => keys
                .iter()
                .filter_map(|key| Signer::keyed(pool, key))
                .collect(),
        };
        let written = pool.targets.iter().map(|_| None).collect();
        Sessions { signers, written }
    }

    /// The session that these values of the configured cookie carry: that of the first valid one
    /// among the first [`MAX_TRIED`], in their order. A cookie is not valid if it is forged,
    /// cut, expired, of another pool, or for a target that is gone. One for a target that is down
    /// is valid, and keeps a client in its part of a split. A cookie expires exactly `ttl` after it
    /// was set.
    pub fn find<'a>(
        &self,
        pool: &Pool,
        values: impl Iterator<Item = &'a [u8]>,
        now: Seconds,
    ) -> Option<Session> {
        let cookie = pool.sticky.as_ref()?.cookie.as_ref()?;
        values
            .take(MAX_TRIED)
            .find_map(|value| self.session(cookie, value, now))
    }

    /// The session of one cookie's value.
    fn session(&self, cookie: &Cookie, value: &[u8], now: Seconds) -> Option<Session> {
        let token = Token::decode(value)?;
        // Before the MAC, because it costs less. A client knows the time already.
        if token.has_expired(now) {
            return None;
        }
        let mut signers = self.signers.iter().enumerate();
        let (order, signer) = signers.find(|(_, signer)| signer.verifies(&token))?;
        let target = signer.target(token.target)?;
        let is_first_key = order == 0;
        Some(Session {
            target,
            renew: !(is_first_key && cookie.is_fresh(token.expires, now)),
        })
    }

    /// The value of a `set-cookie` header that holds the client to this target from `now` on. None:
    /// the pool has no such target, or no `sticky.cookie`.
    pub fn set_cookie(
        &mut self,
        pool: &Pool,
        target: TargetIndex,
        now: Seconds,
    ) -> Option<Vec<u8>> {
        let cookie = pool.sticky.as_ref()?.cookie.as_ref()?;
        let signer = self.signers.first()?;
        let written = self.written.get_mut(target.get())?;
        let expires = cookie.ttl.map_or(Seconds::ZERO, |ttl| now + ttl);
        if !matches!(written, Some(written) if written.expires == expires) {
            let value = cookie.header(&signer.encode(target, expires)?);
            *written = Some(SetCookie { expires, value });
        }
        written.as_ref().map(|written| written.value.clone())
    }
}

impl Cookie {
    /// Whether a valid cookie is much as a fresh one would be: with this `ttl`, and not half of it
    /// gone. `expires`: 0 for never.
    fn is_fresh(&self, expires: Seconds, now: Seconds) -> bool {
        let left = expires - now;
        match self.ttl {
            None => expires == Seconds::ZERO,
            Some(ttl) => 2 * left >= ttl && left <= ttl,
        }
    }

    /// The value of a `set-cookie` header for this value of the cookie.
    fn header(&self, value: &[u8]) -> Vec<u8> {
        let mut header = [&self.name, &b"="[..], value].concat();
        if let Some(ttl) = self.ttl {
            header.extend_from_slice(b"; Max-Age=");
            header.extend_from_slice(ttl.get().to_string().as_bytes());
        }
        header.extend_from_slice(b"; Path=");
        header.extend_from_slice(&self.path);
        if self.secure {
            header.extend_from_slice(b"; Secure");
        }
        if self.http_only {
            header.extend_from_slice(b"; HttpOnly");
        }
        header.extend_from_slice(match self.same_site {
            None => b"",
            Some(SameSite::Strict) => b"; SameSite=Strict",
            Some(SameSite::Lax) => b"; SameSite=Lax",
            Some(SameSite::None) => b"; SameSite=None",
        });
        header
    }
}

/// The hash that holds a client without a cookie: of the first value of `sticky.header` that is not
/// empty, the same on every worker and every proxy. [`crate::pool::balance::consistent_hash`] makes
/// a target of it. None: the pool has no `sticky.header`, or the request has no such value.
pub fn header_hash(pool: &Pool, request: &Request<'_>) -> Option<u64> {
    let name = pool.sticky.as_ref()?.header.as_ref()?;
    Some(hash_of(pool, header_values(request, name).next()?))
}

fn hash_of(pool: &Pool, value: &[u8]) -> u64 {
    // The key is no secret: every proxy must get the same hash.
    let mut hash = SipWriter::new(*b"pointsman header");
    hash.write_field(pool.name.as_bytes());
    hash.write(value);
    hash.finish()
}

/// How many cookies of the name one request may offer. A client has one, two around a change of
/// `path` or domain; each one costs a MAC for each key.
const MAX_TRIED: usize = 4;

#[cfg(test)]
mod tests;

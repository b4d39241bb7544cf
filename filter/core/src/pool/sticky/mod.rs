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
//! The cookie names who answered ([`crate::worker::Worker::on_response_headers`]), and an answer of
//! the proxy's own begins no session.
//!
//! A session belongs to a part of a split ([`Origin`]): to one of those that send to its pool, known
//! by its place among them, so that parts of other pools come and go without a trace. A session that
//! began in `failover` belongs to the pool that the other one stood in for, and ends there as soon
//! as that one has a healthy target.
//!
//! A client without a cookie can be held by the hash of `sticky.header`, see [`header_hash`].

mod cookie;
mod verified;

pub use verified::VerifiedCookies;

use crate::http::key::header_values;
use crate::http::request::Request;
use crate::index::{PoolIndex, TargetIndex};
use crate::pool::Pool;
use crate::siphash::SipWriter;
use crate::time::Seconds;
use cookie::{Signer, Token, has_expired};

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
    /// The domain whose hosts all get the cookie. Lower case. None: the host that set it alone.
    pub domain: Option<Box<[u8]>>,
    /// Default false.
    pub secure: bool,
    /// Default true.
    pub http_only: bool,
    /// Default: not written.
    pub same_site: Option<SameSite>,
    /// One cookie for each site that embeds the host (CHIPS). The configuration makes sure that the
    /// cookie is `secure`. Default false.
    pub partitioned: bool,
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
    /// Where the session belongs.
    pub origin: Origin,
    /// Whether the client should get a fresh cookie for the same target.
    pub renew: bool,
    /// A number that tells sessions apart, as far as their cookies do.
    pub number: u64,
}

/// Where a session belongs. Default: to the first part of a split that sends to its pool, or to a
/// route without a split.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Which of the parts of a split that send to the same pool, from 0, in their order. That pool
    /// is the session's own, or the one that its own stands in for.
    pub part: u16,
    /// Who gave it.
    pub given: Given,
}

/// Who gave a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Given {
    /// The route sent the client to the pool.
    #[default]
    Route,
    /// The pool stood in for this one, by its `failover`. None: which one is not known any more.
    Failover(Option<PoolIndex>),
}

/// The sessions of one pool: reads and writes their cookies. Each worker has one for each pool.
pub struct Sessions {
    pool: PoolIndex,
    /// One for each of the pool's keys, in their order. Without keys: one that does not sign.
    signers: Vec<Signer>,
    /// For each target the headers that were written last, one for each origin. All new clients of
    /// a target within one second get the same bytes, and a MAC is the dearest part of a request.
    written: Vec<Vec<SetCookie>>,
}

/// What a cookie says whose MAC is right, whatever the time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Verified {
    target: TargetIndex,
    origin: Origin,
    /// 0: never.
    expires: Seconds,
    number: u64,
    /// Whether it was signed with the key that signs now.
    is_first_key: bool,
}

/// A `set-cookie` header.
struct SetCookie {
    origin: Origin,
    /// When its cookie expires; 0: never.
    expires: Seconds,
    value: Vec<u8>,
}

impl Sessions {
    /// The sessions of a pool. `homes`: the pools that it may stand in for.
    pub fn new(pool: &Pool, homes: &[&Pool]) -> Sessions {
        let keys = pool.sticky.as_ref().map_or(&[][..], |sticky| &sticky.keys);
        let signers = match keys {
            [] => vec![Signer::unkeyed(pool, homes)],
            keys => keys
                .iter()
                .filter_map(|key| Signer::keyed(pool, key, homes))
                .collect(),
        };
        let written = pool.targets.iter().map(|_| Vec::new()).collect();
        Sessions {
            pool: pool.index,
            signers,
            written,
        }
    }

    /// The session that these values of the configured cookie carry: that of the first valid one
    /// among the first [`MAX_TRIED`], in their order. A cookie is not valid if it is forged,
    /// cut, expired, of another pool, or for a target that is gone. One for a target that is down
    /// is valid, and keeps a client in its part of a split. A cookie expires exactly `ttl` after it
    /// was set. What is verified here, `verified` remembers.
    pub fn find<'a>(
        &self,
        pool: &Pool,
        values: impl Iterator<Item = &'a [u8]>,
        now: Seconds,
        verified: &mut VerifiedCookies,
    ) -> Option<Session> {
        let cookie = pool.sticky.as_ref()?.cookie.as_ref()?;
        values
            .take(MAX_TRIED)
            .find_map(|value| self.session(cookie, value, now, verified))
    }

    /// The session of one cookie's value.
    fn session(
        &self,
        cookie: &Cookie,
        value: &[u8],
        now: Seconds,
        known: &mut VerifiedCookies,
    ) -> Option<Session> {
        let verified = match known.get(self.pool, value) {
            Some(verified) if has_expired(verified.expires, now) => return None,
            Some(verified) => verified,
            None => {
                let verified = self.verify(value, now)?;
                known.put(self.pool, value, verified);
                verified
            }
        };
        Some(Session {
            target: verified.target,
            origin: verified.origin,
            renew: !(verified.is_first_key && cookie.is_fresh(verified.expires, now)),
            number: verified.number,
        })
    }

    /// What a cookie says that was not seen lately.
    #[cold]
    #[inline(never)]
    fn verify(&self, value: &[u8], now: Seconds) -> Option<Verified> {
        let token = Token::decode(value)?;
        // Before the MAC, because it costs less. A client knows the time already.
        if has_expired(token.expires, now) {
            return None;
        }
        let mut signers = self.signers.iter().enumerate();
        let (order, signer) = signers.find(|(_, signer)| signer.verifies(&token))?;
        Some(Verified {
            target: signer.target(token.target)?,
            origin: signer.origin(&token),
            expires: token.expires,
            number: token.number(),
            is_first_key: order == 0,
        })
    }

    /// The value of a `set-cookie` header that holds the client to this target from `now` on. None:
    /// the pool has no such target, or no `sticky.cookie`.
    pub fn set_cookie(
        &mut self,
        pool: &Pool,
        target: TargetIndex,
        origin: Origin,
        now: Seconds,
    ) -> Option<Vec<u8>> {
        let cookie = pool.sticky.as_ref()?.cookie.as_ref()?;
        let signer = self.signers.first()?;
        let written = self.written.get_mut(target.get())?;
        let expires = cookie.ttl.map_or(Seconds::ZERO, |ttl| now + ttl);
        let known = written.iter().position(|written| written.origin == origin);
        if let Some(known) = known.and_then(|place| written.get(place))
            && known.expires == expires
        {
            return Some(known.value.clone());
        }
        let value = cookie.header(&signer.encode(target, origin, expires)?);
        let fresh = SetCookie {
            origin,
            expires,
            value: value.clone(),
        };
        if let Some(known) = known.and_then(|place| written.get_mut(place)) {
            *known = fresh;
        } else if written.len() < MAX_WRITTEN {
            written.push(fresh);
        }
        Some(value)
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
        if let Some(domain) = &self.domain {
            header.extend_from_slice(b"; Domain=");
            header.extend_from_slice(domain);
        }
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
        if self.partitioned {
            header.extend_from_slice(b"; Partitioned");
        }
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

/// For how many origins the header of a target is remembered. A client chooses among those that the
/// configuration has, and an older one may have had more.
const MAX_WRITTEN: usize = 16;

/// How many cookies of the name one request may offer. A client has one, two around a change of
/// `path` or domain; each one costs a MAC for each key.
const MAX_TRIED: usize = 4;

#[cfg(test)]
mod tests;

//! The value of a session cookie: a token in base64url, 40 characters with a MAC.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | 1 with a MAC, 0 without; 3 and 2 with an origin |
//! | 5 | when it expires, in seconds since 1970 (until the year 36812), big-endian; 0: never |
//! | 8 | the id of its target: a hash of the pool's and the target's names, with `keys` keyed |
//! | 6 | with an origin: which of the parts of its pool, big-endian in 2 bytes; then the id of the pool that it stands in for, a hash of the names of both pools, with `keys` keyed; 0: for none |
//! | 16 | with `keys`: the HMAC-SHA-256 of all bytes before, cut |
//!
//! Most sessions have no origin that would have to be told ([`Origin::default`]): they belong to the
//! first or only part of a split that sends to their pool, and the route gave them.
//!
//! Cookies outlive releases, so all of this stays as it is.

use super::{Given, Key, Origin};
use crate::base64;
use crate::index::{PoolIndex, TargetIndex};
use crate::pool::Pool;
use crate::time::Seconds;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// A token that a client sent, which may be forged.
pub(super) struct Token {
    /// When it expires. 0: never.
    pub expires: Seconds,
    /// Its target.
    pub target: TargetId,
    /// Which of the parts of its pool it is of.
    part: u16,
    /// The pool that its own stands in for. [`NO_HOME`]: none.
    home: HomeId,
    bytes: Vec<u8>,
    /// How many bytes stand before the MAC.
    body: usize,
}

impl Token {
    /// Reads the value of a cookie. None: it is no token.
    pub(super) fn decode(value: &[u8]) -> Option<Token> {
        if value.len() > MAX_VALUE {
            return None;
        }
        let bytes = base64::decode_url(value)?;
        let (body, rest) = bytes.split_first_chunk::<BODY>()?;
        let [version, e0, e1, e2, e3, e4, target @ ..] = *body;
        let (origin, size) = match version {
            UNSIGNED | SIGNED => ([0; ORIGIN], BODY),
            _ => (*rest.first_chunk()?, BODY + ORIGIN),
        };
        let [p0, p1, home @ ..] = origin;
        Some(Token {
            expires: Seconds::new(u64::from_be_bytes([0, 0, 0, e0, e1, e2, e3, e4])),
            target,
            part: u16::from_be_bytes([p0, p1]),
            home,
            body: size,
            bytes,
        })
    }

    /// A number that tells sessions apart, as far as their tokens do.
    pub(super) fn number(&self) -> u64 {
        u64::from_le_bytes(self.target) ^ self.expires.get().rotate_left(32)
    }
}

/// Whether the time of a token is over.
pub(super) fn has_expired(expires: Seconds, now: Seconds) -> bool {
    expires != Seconds::ZERO && expires <= now
}

/// What one key of a pool signs and verifies.
pub(super) struct Signer {
    /// Has the key, the label and the pool's name in it already. None: there is no key.
    mac: Option<Hmac<Sha256>>,
    /// The ids of all targets, in the pool's order.
    ids: Vec<TargetId>,
    /// The ids of the pools that this one may stand in for.
    homes: Vec<(PoolIndex, HomeId)>,
}

impl Signer {
    /// `homes`: the pools that this one may stand in for. None cannot be: HMAC takes keys of any
    /// length.
    pub(super) fn keyed(pool: &Pool, key: &Key, homes: &[&Pool]) -> Option<Signer> {
        let keyed = Hmac::<Sha256>::new_from_slice(&key.0).ok()?;
        let field = |mac: Hmac<Sha256>, bytes: &[u8]| {
            mac.chain_update((bytes.len() as u64).to_le_bytes())
                .chain_update(bytes)
        };
        let labelled = |label: &[u8]| field(field(keyed.clone(), label), pool.name.as_bytes());
        let id = |namer: &Hmac<Sha256>, name: &str| {
            field(namer.clone(), name.as_bytes())
                .finalize()
                .into_bytes()
        };
        let (targets, others) = (labelled(TARGET_LABEL), labelled(HOME_LABEL));
        let home = |home: &&Pool| (home.index, home_id(&id(&others, &home.name)));
        Some(Signer {
            mac: Some(labelled(COOKIE_LABEL)),
            homes: homes.iter().map(home).collect(),
            ids: pool
                .targets
                .iter()
                .map(|target| cut(&id(&targets, &target.name)))
                .collect(),
        })
    }

    /// For a pool without keys.
    pub(super) fn unkeyed(pool: &Pool, homes: &[&Pool]) -> Signer {
        let labelled = |label: &[u8]| {
            let mut namer = Sha256::new();
            for field in [label, pool.name.as_bytes()] {
                namer.update((field.len() as u64).to_le_bytes());
                namer.update(field);
            }
            namer
        };
        let id = |namer: &Sha256, name: &str| namer.clone().chain_update(name).finalize();
        let (targets, others) = (labelled(TARGET_LABEL), labelled(HOME_LABEL));
        let home = |home: &&Pool| (home.index, home_id(&id(&others, &home.name)));
        Signer {
            mac: None,
            homes: homes.iter().map(home).collect(),
            ids: pool
                .targets
                .iter()
                .map(|target| cut(&id(&targets, &target.name)))
                .collect(),
        }
    }

    /// The value of a cookie. None: there is no such target. `expires`: 0 for never.
    pub(super) fn encode(
        &self,
        target: TargetIndex,
        origin: Origin,
        expires: Seconds,
    ) -> Option<Vec<u8>> {
        let [_, _, _, expires @ ..] = expires.get().to_be_bytes();
        let has_origin = origin != Origin::default();
        let mut bytes = Vec::with_capacity(BODY + ORIGIN + MAC);
        bytes.push(match (self.mac.is_some(), has_origin) {
            (true, false) => SIGNED,
            (false, false) => UNSIGNED,
            (true, true) => SIGNED_WITH_ORIGIN,
            (false, true) => UNSIGNED_WITH_ORIGIN,
        });
        bytes.extend_from_slice(&expires);
        bytes.extend_from_slice(self.ids.get(target.get())?);
        if has_origin {
            bytes.extend_from_slice(&origin.part.to_be_bytes());
            bytes.extend_from_slice(&self.home(origin.given));
        }
        if let Some(mac) = &self.mac {
            let mac = mac.clone().chain_update(&bytes).finalize().into_bytes();
            bytes.extend(mac.iter().take(MAC));
        }
        let mut value = Vec::with_capacity(MAX_VALUE);
        base64::encode_url(&bytes, &mut value);
        Some(value)
    }

    fn home(&self, given: Given) -> HomeId {
        let Given::Failover(home) = given else {
            return NO_HOME;
        };
        let known = self.homes.iter().find(|(pool, _)| Some(*pool) == home);
        known.map_or(UNKNOWN_HOME, |(_, id)| *id)
    }

    /// Where the session of a token that this signer made belongs.
    pub(super) fn origin(&self, token: &Token) -> Origin {
        let known = self.homes.iter().find(|(_, id)| *id == token.home);
        Origin {
            part: token.part,
            given: match token.home {
                NO_HOME => Given::Route,
                _ => Given::Failover(known.map(|(pool, _)| *pool)),
            },
        }
    }

    /// Whether a token is one that this signer made.
    pub(super) fn verifies(&self, token: &Token) -> bool {
        let Some((body, given)) = token.bytes.split_at_checked(token.body) else {
            return false;
        };
        let version = body.first().copied();
        let Some(mac) = &self.mac else {
            let is_ours = matches!(version, Some(UNSIGNED | UNSIGNED_WITH_ORIGIN));
            return is_ours && given.is_empty();
        };
        let mac = mac.clone().chain_update(body);
        // The comparison takes the same time wherever the MACs differ.
        matches!(version, Some(SIGNED | SIGNED_WITH_ORIGIN))
            && given.len() == MAC
            && mac.verify_truncated_left(given).is_ok()
    }

    /// The target with this id. None: it is gone.
    pub(super) fn target(&self, id: TargetId) -> Option<TargetIndex> {
        let place = self.ids.iter().position(|known| *known == id);
        place.map(TargetIndex::new)
    }
}

fn cut(digest: &[u8]) -> TargetId {
    digest.first_chunk().copied().unwrap_or_default()
}

/// A target in a token. 64 bits: of a thousand targets in a pool, two share an id with a chance of
/// 1 in 10^13.
type TargetId = [u8; 8];

/// The id of a home; neither of the two below.
fn home_id(digest: &[u8]) -> HomeId {
    match digest.first_chunk().copied().unwrap_or_default() {
        NO_HOME | UNKNOWN_HOME => ANY_HOME,
        id => id,
    }
}

/// A pool in a token that another one stands in for. 32 bits are enough: what is told apart are the
/// pools that name one pool in their `failover`.
type HomeId = [u8; 4];

const NO_HOME: HomeId = [0; 4];
const UNKNOWN_HOME: HomeId = [255; 4];
const ANY_HOME: HomeId = [1; 4];

/// The first byte of a token with a MAC, and of one without.
const SIGNED: u8 = 1;
const UNSIGNED: u8 = 0;
/// The same of one that tells its origin.
const SIGNED_WITH_ORIGIN: u8 = 3;
const UNSIGNED_WITH_ORIGIN: u8 = 2;

/// The bytes before the origin.
const BODY: usize = 1 + 5 + 8;

/// Those of an origin.
const ORIGIN: usize = 2 + 4;

/// 128 of the 256 bits, as RFC 2104 section 5 allows: nobody guesses them, and the cookie stays
/// short.
const MAC: usize = 16;

/// The longest value of a cookie: that of a token with an origin and a MAC, in base64.
pub(super) const MAX_VALUE: usize = (BODY + ORIGIN + MAC).div_ceil(3) * 4;

const TARGET_LABEL: &[u8] = b"pointsman sticky target";
const COOKIE_LABEL: &[u8] = b"pointsman sticky cookie";
const HOME_LABEL: &[u8] = b"pointsman sticky home";

//! The value of a session cookie: a token in base64url, 40 characters with a MAC.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | 1 with a MAC, 0 without |
//! | 5 | when it expires, in seconds since 1970 (until the year 36812), big-endian; 0: never |
//! | 8 | the id of its target: a hash of the pool's and the target's names, with `keys` keyed |
//! | 16 | with `keys`: the HMAC-SHA-256 of all bytes before, cut |
//!
//! Cookies outlive releases, so all of this stays as it is.

use super::Key;
use crate::base64;
use crate::index::TargetIndex;
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
    version: u8,
    /// All bytes before the MAC.
    body: [u8; BODY],
    /// The bytes after the body; empty in one without a MAC.
    mac: Vec<u8>,
}

impl Token {
    /// Reads the value of a cookie. None: it is no token.
    pub(super) fn decode(value: &[u8]) -> Option<Token> {
        if value.len() > MAX_VALUE {
            return None;
        }
        let bytes = base64::decode_url(value)?;
        let (body, mac) = bytes.split_first_chunk::<BODY>()?;
        let [version, e0, e1, e2, e3, e4, target @ ..] = *body;
        Some(Token {
            expires: Seconds::new(u64::from_be_bytes([0, 0, 0, e0, e1, e2, e3, e4])),
            target,
            version,
            body: *body,
            mac: mac.to_vec(),
        })
    }

    /// Whether its time is over.
    pub(super) fn has_expired(&self, now: Seconds) -> bool {
        self.expires != Seconds::ZERO && self.expires <= now
    }
}

/// What one key of a pool signs and verifies.
pub(super) struct Signer {
    /// Has the key, the label and the pool's name in it already. None: there is no key.
    mac: Option<Hmac<Sha256>>,
    /// The ids of all targets, in the pool's order.
    ids: Vec<TargetId>,
}

impl Signer {
    /// None cannot be: HMAC takes keys of any length.
    pub(super) fn keyed(pool: &Pool, key: &Key) -> Option<Signer> {
        let keyed = Hmac::<Sha256>::new_from_slice(&key.0).ok()?;
        let field = |mac: Hmac<Sha256>, bytes: &[u8]| {
            mac.chain_update((bytes.len() as u64).to_le_bytes())
                .chain_update(bytes)
        };
        let labelled = |label: &[u8]| field(field(keyed.clone(), label), pool.name.as_bytes());
        let namer = labelled(TARGET_LABEL);
        let id = |name: &str| {
            field(namer.clone(), name.as_bytes())
                .finalize()
                .into_bytes()
        };
        Some(Signer {
            mac: Some(labelled(COOKIE_LABEL)),
            ids: pool
                .targets
                .iter()
                .map(|target| cut(&id(&target.name)))
                .collect(),
        })
    }

    /// For a pool without keys.
    pub(super) fn unkeyed(pool: &Pool) -> Signer {
        let mut namer = Sha256::new();
        for field in [TARGET_LABEL, pool.name.as_bytes()] {
            namer.update((field.len() as u64).to_le_bytes());
            namer.update(field);
        }
        let id = |name: &str| namer.clone().chain_update(name).finalize();
        Signer {
            mac: None,
            ids: pool
                .targets
                .iter()
                .map(|target| cut(&id(&target.name)))
                .collect(),
        }
    }

    /// The value of a cookie. None: there is no such target. `expires`: 0 for never.
    pub(super) fn encode(&self, target: TargetIndex, expires: Seconds) -> Option<Vec<u8>> {
        let [_, _, _, expires @ ..] = expires.get().to_be_bytes();
        let mut bytes = Vec::with_capacity(BODY + MAC);
        bytes.push(if self.mac.is_some() { SIGNED } else { UNSIGNED });
        bytes.extend_from_slice(&expires);
        bytes.extend_from_slice(self.ids.get(target.get())?);
        if let Some(mac) = &self.mac {
            let mac = mac.clone().chain_update(&bytes).finalize().into_bytes();
            bytes.extend(mac.iter().take(MAC));
        }
        let mut value = Vec::with_capacity(MAX_VALUE);
        base64::encode_url(&bytes, &mut value);
        Some(value)
    }

    /// Whether a token is one that this signer made.
    pub(super) fn verifies(&self, token: &Token) -> bool {
        let Some(mac) = &self.mac else {
            return token.version == UNSIGNED && token.mac.is_empty();
        };
        let mac = mac.clone().chain_update(token.body);
        // The comparison takes the same time wherever the MACs differ.
        token.version == SIGNED
            && token.mac.len() == MAC
            && mac.verify_truncated_left(&token.mac).is_ok()
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

/// The first byte of a token with a MAC, and of one without.
const SIGNED: u8 = 1;
const UNSIGNED: u8 = 0;

/// The bytes before the MAC.
const BODY: usize = 1 + 5 + 8;

/// 128 of the 256 bits, as RFC 2104 section 5 allows: nobody guesses them, and the cookie stays
/// short.
const MAC: usize = 16;

/// The longest value of a cookie: that of a token with a MAC, in base64.
const MAX_VALUE: usize = (BODY + MAC).div_ceil(3) * 4;

const TARGET_LABEL: &[u8] = b"pointsman sticky target";
const COOKIE_LABEL: &[u8] = b"pointsman sticky cookie";

//! Sticky sessions: a client stays where it is.
//!
//! The cookie carries the whole session, so that it survives a reload, a restart, and another proxy
//! with the same configuration; nothing is stored. It names its target by a hash of the pool's and
//! the target's *names*: adding, removing or reordering targets changes no session, and neither
//! address nor name can be read in it. With `keys` that hash is keyed and the cookie carries a MAC,
//! so a client cannot make one up, prolong one or take one to another pool. Without keys the hash
//! is plain and nothing is authenticated: a client that knows the configuration's names can choose
//! its target.
//!
//! Keys rotate in three steps, each rolled out everywhere before the next: the new key joins at the
//! end (every proxy verifies it), moves to the front (it signs), the old one leaves. A valid cookie
//! that is not as a fresh one would be (an older key, another `ttl`, more than half of its time
//! gone) is renewed, so sessions in use never expire.
//!
//! Clients without cookies are held by the hash of `sticky.header`, see [`crate::pool::balance::Hashed`].

use crate::http::request::Request;
use crate::index::TargetIndex;
use crate::pool::Pool;
use crate::siphash::SipWriter;
use crate::time::Seconds;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

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

/// How many cookies of the name one request may offer. A client has one, two around a change of
/// `path` or domain; each one costs a MAC for each key.
const MOST_TRIED: usize = 4;

/// The first byte of a cookie with a MAC, and of one without.
const SIGNED: u8 = 1;
const UNSIGNED: u8 = 0;

/// 64 bits: of a thousand targets in a pool, two share an id with a chance of 1 in 10^13.
const ID: usize = 8;

/// Seconds since 1970 in 40 bits (until the year 36812); 0 in a cookie without an end.
const EXPIRY: usize = 5;

/// 128 of the 256 bits, as RFC 2104 section 5 allows: nobody guesses them, and the cookie stays at
/// 40 characters.
const MAC: usize = 16;

const BODY: usize = 1 + EXPIRY + ID;

/// A target's name in cookies.
type Id = [u8; ID];

/// The sessions of one pool, ready for use. One worker keeps one for each pool with a
/// `sticky.cookie`.
pub struct Sessions {
    /// One for each of the pool's keys, in their order. Without keys: one, whose `mac` is None.
    signers: Vec<Signer>,
    /// What was written last for each target. All new clients of a target within one second get the
    /// same bytes, and a MAC is the dearest part of a request.
    written: Vec<Option<Written>>,
}

/// A `set-cookie` header.
struct Written {
    /// The end of its cookie; 0 where it has none.
    expiry: Seconds,
    header: Vec<u8>,
}

/// What one key needs.
struct Signer {
    /// Has the key, the label and the pool's name in it already.
    mac: Option<Hmac<Sha256>>,
    /// Of every target, in the pool's order.
    ids: Vec<Id>,
}

/// What a valid cookie says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// The target. It may be unhealthy or down.
    pub target: TargetIndex,
    /// Whether the client should get a fresh cookie for the same target.
    pub renew: bool,
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

    /// The session that a request's cookies carry: that of the first valid one among the first few
    /// of the configured name, in their order. A cookie that is forged, expired, cut, of another
    /// pool, or for a target that is gone is none; that of a target that is down is valid, and
    /// keeps a client in its part of a split. A cookie ends exactly `ttl` after it was set.
    pub fn find<'a>(
        &self,
        pool: &Pool,
        cookies: impl Iterator<Item = (&'a [u8], &'a [u8])>,
        now: Seconds,
    ) -> Option<Session> {
        let cookie = pool.sticky.as_ref()?.cookie.as_ref()?;
        cookies
            .filter(|(name, _)| *name == &*cookie.name)
            .take(MOST_TRIED)
            .find_map(|(_, value)| self.read(cookie, value, now))
    }

    fn read(&self, cookie: &Cookie, value: &[u8], now: Seconds) -> Option<Session> {
        let bytes = from_base64url(value)?;
        let (body, mac) = bytes.split_first_chunk::<BODY>()?;
        let [version, e0, e1, e2, e3, e4, id @ ..] = *body;
        let expiry = Seconds::new(u64::from_be_bytes([0, 0, 0, e0, e1, e2, e3, e4]));
        // Cheaper than the MAC, and nothing that the client does not know already.
        if expiry != Seconds::ZERO && expiry <= now {
            return None;
        }
        let (order, signer) = self
            .signers
            .iter()
            .enumerate()
            .find(|(_, signer)| signer.verifies(version, body, mac))?;
        let target = signer.ids.iter().position(|known| *known == id)?;
        let left = expiry - now;
        let as_if_fresh = match cookie.ttl {
            None => expiry == Seconds::ZERO,
            Some(ttl) => 2 * left >= ttl && left <= ttl,
        };
        Some(Session {
            target: TargetIndex::new(target),
            renew: order > 0 || !as_if_fresh,
        })
    }

    /// The value of a `set-cookie` header that holds the client to this target from `now` on. None: the pool has no such target, or no `sticky.cookie`.
    pub fn set_cookie(
        &mut self,
        pool: &Pool,
        target: TargetIndex,
        now: Seconds,
    ) -> Option<Vec<u8>> {
        let cookie = pool.sticky.as_ref()?.cookie.as_ref()?;
        let signer = self.signers.first()?;
        let written = self.written.get_mut(target.get())?;
        let expiry = cookie.ttl.map_or(Seconds::ZERO, |ttl| now + ttl);
        if !matches!(written, Some(written) if written.expiry == expiry) {
            let value = signer.sign(target, expiry)?;
            let header = cookie.header(&value);
            *written = Some(Written { expiry, header });
        }
        written.as_ref().map(|written| written.header.clone())
    }
}

impl Cookie {
    /// A `set-cookie` header with this value.
    fn header(&self, value: &[u8]) -> Vec<u8> {
        let mut header = self.name.to_vec();
        header.push(b'=');
        to_base64url(value, &mut header);
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

impl Signer {
    /// None cannot be: HMAC takes keys of any length.
    fn keyed(pool: &Pool, key: &Key) -> Option<Signer> {
        let keyed = Hmac::<Sha256>::new_from_slice(&key.0).ok()?;
        let field = |mac: Hmac<Sha256>, bytes: &[u8]| {
            mac.chain_update((bytes.len() as u64).to_le_bytes())
                .chain_update(bytes)
        };
        let labelled = |label: &[u8]| field(field(keyed.clone(), label), pool.name.as_bytes());
        let namer = labelled(b"pointsman sticky target");
        let id = |name: &str| {
            field(namer.clone(), name.as_bytes())
                .finalize()
                .into_bytes()
        };
        Some(Signer {
            mac: Some(labelled(b"pointsman sticky cookie")),
            ids: pool
                .targets
                .iter()
                .map(|target| cut(&id(&target.name)))
                .collect(),
        })
    }

    fn unkeyed(pool: &Pool) -> Signer {
        let mut namer = Sha256::new();
        for field in [&b"pointsman sticky target"[..], pool.name.as_bytes()] {
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

    /// A cookie's value, as bytes. None: there is no such target.
    fn sign(&self, target: TargetIndex, expiry: Seconds) -> Option<Vec<u8>> {
        let [_, _, _, expiry @ ..] = expiry.get().to_be_bytes();
        let mut bytes = Vec::with_capacity(BODY + MAC);
        bytes.push(if self.mac.is_some() { SIGNED } else { UNSIGNED });
        bytes.extend_from_slice(&expiry);
        bytes.extend_from_slice(self.ids.get(target.get())?);
        if let Some(mac) = &self.mac {
            let mac = mac.clone().chain_update(&bytes).finalize().into_bytes();
            bytes.extend(mac.iter().take(MAC));
        }
        Some(bytes)
    }

    fn verifies(&self, version: u8, body: &[u8], tag: &[u8]) -> bool {
        match &self.mac {
            None => version == UNSIGNED && tag.is_empty(),
            // The comparison takes the same time wherever the tags differ.
            Some(mac) => {
                version == SIGNED
                    && tag.len() == MAC
                    && mac
                        .clone()
                        .chain_update(body)
                        .verify_truncated_left(tag)
                        .is_ok()
            }
        }
    }
}

/// The hash that holds a client without cookies: of the first value of `sticky.header`, the same on
/// every worker and every proxy. [`crate::pool::balance::Hashed`] makes a target of it. None: the pool
/// has no `sticky.header`, or the request has not.
pub fn header_hash(pool: &Pool, request: &Request<'_>) -> Option<u64> {
    let name = pool.sticky.as_ref()?.header.as_ref()?;
    Some(hash_of(pool, request.headers.first(name)?))
}

fn hash_of(pool: &Pool, value: &[u8]) -> u64 {
    // The key is no secret: every proxy must get the same hash.
    let mut hash = SipWriter::new(*b"pointsman header");
    hash.write_field(pool.name.as_bytes());
    hash.write(value);
    hash.finish()
}

fn cut(digest: &[u8]) -> Id {
    digest.first_chunk().copied().unwrap_or_default()
}

const BASE64URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Appends bytes as RFC 4648 section 5 writes them, without padding.
fn to_base64url(bytes: &[u8], text: &mut Vec<u8>) {
    for three in bytes.chunks(3) {
        let word = three
            .iter()
            .fold(0_u32, |word, byte| word << 8 | u32::from(*byte))
            << (8 * (3 - three.len()));
        for shift in [18, 12, 6, 0].into_iter().take(three.len() + 1) {
            text.extend(BASE64URL.get((word >> shift) as usize % 64));
        }
    }
}

/// Reads what [`to_base64url`] writes, and nothing else: of several spellings of the same bytes one
/// is taken. None as well for what is longer than any cookie of ours.
fn from_base64url(text: &[u8]) -> Option<Vec<u8>> {
    if text.len() > (BODY + MAC).div_ceil(3) * 4 {
        return None;
    }
    let mut bytes = Vec::with_capacity(BODY + MAC);
    let (mut word, mut bits) = (0_u32, 0);
    for digit in text {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        word = word << 6 | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((word >> bits) as u8);
            word &= (1 << bits) - 1;
        }
    }
    // A digit that carries no byte, or bits that no byte takes.
    (bits < 6 && word == 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::PoolIndex;
    use crate::pool::balance::{Balance, Hashed};
    use crate::pool::{State, Target};
    use proptest::prelude::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn home(pool: &Pool, value: &[u8]) -> Option<usize> {
        let home = Hashed::new(pool).pick(pool, &|_| true, hash_of(pool, value));
        home.map(TargetIndex::get)
    }

    const NOW: Seconds = Seconds::new(1_800_000_000);
    const TTL: Seconds = Seconds::new(3600);
    const SECOND: Seconds = Seconds::new(1);
    const OLD: &[u8] = b"an-old-key-16-bytes-at-least";
    const NEW: &[u8] = b"a-new-key-of-16-bytes-or-more";

    fn pool(name: &str, targets: &[&str], keys: &[&[u8]]) -> Pool {
        let target = |name: &&str| Target {
            name: (*name).into(),
            cluster: format!("cluster-{name}").into(),
            endpoint: None,
            weight: 1,
            state: State::Up,
            region: None,
        };
        Pool {
            index: PoolIndex::default(),
            name: name.into(),
            balance: Balance::RoundRobin,
            targets: targets.iter().map(target).collect(),
            sticky: Some(Sticky {
                cookie: Some(Cookie {
                    name: b"pm"[..].into(),
                    ttl: Some(TTL),
                    path: b"/"[..].into(),
                    secure: false,
                    http_only: true,
                    same_site: None,
                }),
                header: None,
                keys: keys.iter().map(|key| Key((*key).into())).collect(),
            }),
            ..Pool::default()
        }
    }

    fn cookie_mut(pool: &mut Pool) -> &mut Cookie {
        pool.sticky.as_mut().unwrap().cookie.as_mut().unwrap()
    }

    /// The value of the cookie that a target's clients get.
    fn value(pool: &Pool, target: usize, now: Seconds) -> Vec<u8> {
        let target = TargetIndex::new(target);
        let header = Sessions::new(pool).set_cookie(pool, target, now).unwrap();
        let value = header.strip_prefix(b"pm=").unwrap();
        value.split(|byte| *byte == b';').next().unwrap().to_vec()
    }

    fn read(pool: &Pool, value: &[u8], now: Seconds) -> Option<Session> {
        Sessions::new(pool).find(pool, [(&b"pm"[..], value)].into_iter(), now)
    }

    const KEYS: [&[&[u8]]; 3] = [&[], &[NEW], &[NEW, OLD]];

    #[test]
    fn what_was_written_before_changes_no_cookie() {
        let pool = pool("web", &["a", "b"], &[NEW]);
        let mut sessions = Sessions::new(&pool);
        for (target, now) in [
            (0, NOW),
            (1, NOW),
            (0, NOW),
            (0, NOW + SECOND),
            (1, NOW),
            (0, NOW),
            (2, NOW),
        ] {
            let target = TargetIndex::new(target);
            let fresh = Sessions::new(&pool).set_cookie(&pool, target, now);
            assert_eq!(
                sessions.set_cookie(&pool, target, now),
                fresh,
                "{target:?} at {now:?}"
            );
        }
    }

    #[test]
    fn a_cookie_leads_back_to_its_target() {
        for keys in KEYS {
            let pool = pool("web", &["blue", "green", "red"], keys);
            for target in 0..3 {
                let session = read(&pool, &value(&pool, target, NOW), NOW);
                assert_eq!(
                    session,
                    Some(Session {
                        target: TargetIndex::new(target),
                        renew: false
                    })
                );
            }
        }
    }

    #[test]
    fn a_cookie_with_any_bit_flipped_is_refused() {
        let pool = pool("web", &["blue", "green"], &[NEW, OLD]);
        let good = value(&pool, 0, NOW);
        assert_eq!(good.len(), 40);
        for bit in 0..8 * good.len() {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(&pool, &bad, NOW), None, "bit {bit}");
        }
    }

    #[test]
    fn a_cookie_cut_or_prolonged_is_refused() {
        for keys in KEYS {
            let pool = pool("web", &["blue", "green"], keys);
            let good = value(&pool, 1, NOW);
            for end in 0..good.len() {
                assert_eq!(read(&pool, &good[..end], NOW), None, "{end}");
            }
            for more in [&b"A"[..], b"=", b"AAAA", &[b'A'; 100_000]] {
                assert_eq!(read(&pool, &[&good, more].concat(), NOW), None);
            }
        }
    }

    #[test]
    fn with_keys_an_unsigned_cookie_is_refused() {
        let unsigned = value(&pool("web", &["blue"], &[]), 0, NOW);
        let signed = value(&pool("web", &["blue"], &[NEW]), 0, NOW);
        assert_eq!(read(&pool("web", &["blue"], &[NEW]), &unsigned, NOW), None);
        assert_eq!(read(&pool("web", &["blue"], &[]), &signed, NOW), None);
    }

    #[test]
    fn keys_rotate_without_a_lost_session() {
        let with = |keys: &[&[u8]]| pool("web", &["blue", "green"], keys);
        let (old, joined, turned, new) = (
            with(&[OLD]),
            with(&[OLD, NEW]),
            with(&[NEW, OLD]),
            with(&[NEW]),
        );
        let by_old = value(&old, 1, NOW);
        let by_new = value(&turned, 1, NOW);
        let target = TargetIndex::new(1);
        let kept = |renew| Some(Session { target, renew });
        assert_eq!(read(&joined, &by_old, NOW), kept(false));
        assert_eq!(read(&joined, &by_new, NOW), kept(true));
        assert_eq!(read(&turned, &by_old, NOW), kept(true));
        assert_eq!(read(&turned, &by_new, NOW), kept(false));
        assert_eq!(read(&new, &by_new, NOW), kept(false));
        assert_eq!(read(&new, &by_old, NOW), None);
        assert_eq!(read(&old, &by_new, NOW), None);
    }

    #[test]
    fn another_pools_cookie_is_refused() {
        for keys in KEYS {
            let (web, api) = (pool("web", &["blue"], keys), pool("api", &["blue"], keys));
            assert_eq!(read(&api, &value(&web, 0, NOW), NOW), None);
        }
    }

    #[test]
    fn nothing_can_be_read_in_a_cookie() {
        let names = ["127.0.0.1:9101", "blue", "web"];
        for keys in KEYS {
            let pool = pool("web", &names[..2], keys);
            for target in 0..2 {
                let text = value(&pool, target, NOW);
                let bytes = from_base64url(&text).unwrap();
                for secret in names
                    .iter()
                    .map(|name| name.as_bytes())
                    .chain([&[127, 0, 0, 1][..], b"cluster"])
                {
                    for hay in [&text, &bytes] {
                        assert!(!hay.windows(secret.len()).any(|window| window == secret));
                    }
                }
            }
        }
        // And with keys the same names look different under another key.
        let id = |key| {
            Signer::keyed(&pool("web", &["blue"], &[]), &Key(key))
                .unwrap()
                .ids
        };
        assert_ne!(id(OLD.into()), id(NEW.into()));
    }

    #[test]
    fn sessions_survive_targets_that_come_go_and_move() {
        for keys in KEYS {
            let cookie = value(&pool("web", &["blue", "green"], keys), 1, NOW);
            let target_in = |targets: &[&str]| {
                read(&pool("web", targets, keys), &cookie, NOW).map(|s| s.target.get())
            };
            assert_eq!(target_in(&["green", "blue"]), Some(0));
            assert_eq!(target_in(&["red", "blue", "black", "green"]), Some(3));
            assert_eq!(target_in(&["green"]), Some(0));
            assert_eq!(target_in(&["blue", "red"]), None);
        }
    }

    #[test]
    fn a_cookie_ends_at_the_second_and_is_renewed_from_half_time_on() {
        for keys in KEYS {
            let pool = pool("web", &["blue"], keys);
            let cookie = value(&pool, 0, NOW);
            let renew = |after| {
                read(&pool, &cookie, NOW + Seconds::new(after)).map(|session| session.renew)
            };
            assert_eq!(renew(0), Some(false));
            let ttl = TTL.get();
            assert_eq!(renew(ttl / 2), Some(false));
            assert_eq!(renew(ttl / 2 + 1), Some(true));
            assert_eq!(renew(ttl - 1), Some(true));
            assert_eq!(renew(ttl), None);
            assert_eq!(renew(u64::MAX - NOW.get()), None);
        }
    }

    #[test]
    fn a_change_of_ttl_reaches_cookies_that_are_out() {
        let mut pool = pool("web", &["blue"], &[NEW]);
        let long = value(&pool, 0, NOW);
        cookie_mut(&mut pool).ttl = None;
        let endless = value(&pool, 0, NOW);
        assert_eq!(
            read(&pool, &endless, NOW * 2),
            Some(Session {
                target: TargetIndex::new(0),
                renew: false
            })
        );
        assert_eq!(
            read(&pool, &long, NOW),
            Some(Session {
                target: TargetIndex::new(0),
                renew: true
            })
        );
        cookie_mut(&mut pool).ttl = Some(Seconds::new(60));
        assert_eq!(
            read(&pool, &endless, NOW),
            Some(Session {
                target: TargetIndex::new(0),
                renew: true
            })
        );
        assert_eq!(
            read(&pool, &long, NOW),
            Some(Session {
                target: TargetIndex::new(0),
                renew: true
            })
        );
    }

    #[test]
    fn the_first_valid_cookie_of_the_name_wins_and_few_are_tried() {
        let pool = pool("web", &["blue", "green"], &[NEW]);
        let (blue, green) = (value(&pool, 0, NOW), value(&pool, 1, NOW));
        let find = |cookies: &[(&[u8], &[u8])]| {
            let sessions = Sessions::new(&pool);
            sessions
                .find(&pool, cookies.iter().copied(), NOW)
                .map(|session| session.target.get())
        };
        assert_eq!(
            find(&[
                (b"other", &blue),
                (b"pm", b"junk"),
                (b"pm", &green),
                (b"pm", &blue)
            ]),
            Some(1)
        );
        let mut many = vec![(&b"pm"[..], &b"junk"[..]); MOST_TRIED];
        many.push((b"pm", &blue));
        assert_eq!(find(&many), None);
        assert_eq!(find(&many[1..]), Some(0));
    }

    #[test]
    fn attributes_are_written_as_configured() {
        let mut pool = pool("web", &["blue"], &[NEW]);
        let attributes = |pool: &Pool| {
            let header = Sessions::new(pool)
                .set_cookie(pool, TargetIndex::new(0), NOW)
                .unwrap();
            String::from_utf8(header)
                .unwrap()
                .split_once(';')
                .unwrap()
                .1
                .to_owned()
        };
        assert_eq!(attributes(&pool), " Max-Age=3600; Path=/; HttpOnly");
        let cookie = cookie_mut(&mut pool);
        cookie.ttl = None;
        cookie.path = b"/shop"[..].into();
        (cookie.secure, cookie.http_only) = (true, false);
        for (same_site, text) in [
            (SameSite::Strict, "Strict"),
            (SameSite::Lax, "Lax"),
            (SameSite::None, "None"),
        ] {
            cookie_mut(&mut pool).same_site = Some(same_site);
            assert_eq!(
                attributes(&pool),
                format!(" Path=/shop; Secure; SameSite={text}")
            );
        }
        let none = TargetIndex::new(1);
        assert_eq!(Sessions::new(&pool).set_cookie(&pool, none, NOW), None);
    }

    /// Cookies that are out must stay valid over releases. These were computed by Python's `hmac`
    /// from the layout above.
    #[test]
    fn a_cookie_is_what_it_was_in_the_first_release() {
        let text = |keys| String::from_utf8(value(&pool("web", &["blue"], keys), 0, NOW)).unwrap();
        assert_eq!(text(&[NEW]), "AQBrSeAQdJer2lGdMxYwWcxzFn6aj8a5YGoqkYEM");
        assert_eq!(text(&[]), "AABrSeAQ1hNKiv2NdsU");
    }

    #[test]
    fn base64url_is_that_of_the_rfc() {
        for (bytes, text) in [
            (&b""[..], &b""[..]),
            (b"f", b"Zg"),
            (b"fo", b"Zm8"),
            (b"foo", b"Zm9v"),
            (b"foob", b"Zm9vYg"),
            (b"\xfb\xff", b"-_8"),
        ] {
            let mut written = Vec::new();
            to_base64url(bytes, &mut written);
            assert_eq!(written, text);
            assert_eq!(from_base64url(text).as_deref(), Some(bytes));
        }
        // Other spellings of the same bytes.
        for text in [&b"Zh"[..], b"Zm9", b"Z", b"Zg==", b"Zm9vY", b"Zm 9v"] {
            assert_eq!(from_base64url(text), None);
        }
    }

    proptest! {
        #[test]
        fn garbage_is_no_session(value: Vec<u8>, keyed: bool) {
            let pool = pool("web", &["blue"], if keyed { &[NEW] } else { &[] });
            prop_assert_eq!(read(&pool, &value, NOW), None);
            let mut text = Vec::new();
            to_base64url(&value, &mut text);
            prop_assert_eq!(read(&pool, &text, NOW), None);
        }

        #[test]
        fn a_headers_value_has_one_home_on_every_worker(value: Vec<u8>) {
            let there = pool("web", &["blue", "green", "red"], &[]);
            let turned = pool("web", &["red", "green", "blue"], &[NEW]);
            let at = home(&there, &value).unwrap();
            prop_assert_eq!(home(&turned, &value), Some(2 - at));
        }
    }

    #[test]
    fn a_headers_home_depends_on_the_pool() {
        let home = |pool: &Pool, i: u32| self::home(pool, &i.to_le_bytes());
        let (web, api) = (pool("web", &["a", "b"], &[]), pool("api", &["a", "b"], &[]));
        let same = (0..1000)
            .filter(|i| home(&web, *i) == home(&api, *i))
            .count();
        assert!((400..600).contains(&same), "{same}");
    }
}

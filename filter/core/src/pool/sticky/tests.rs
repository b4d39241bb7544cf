use super::*;
use crate::base64;
use crate::http::headers::Headers;
use crate::http::request::Request;
use crate::index::PoolIndex;
use crate::pool::balance::Balance;
use crate::pool::balance::consistent_hash::ConsistentHash;
use crate::pool::candidates::tests::all;
use crate::pool::{State, Target};
use proptest::prelude::*;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

fn home(pool: &Pool, value: &[u8]) -> Option<usize> {
    let home = ConsistentHash::new(pool).pick(&all(pool), hash_of(pool, value));
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
        max_in_flight: None,
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
                domain: None,
                partitioned: false,
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
    let header = Sessions::new(pool, &[])
        .set_cookie(pool, target, Origin::default(), now)
        .unwrap();
    let value = header.strip_prefix(b"pm=").unwrap();
    value.split(|byte| *byte == b';').next().unwrap().to_vec()
}

/// The target, and whether the client should get a fresh cookie.
fn read(pool: &Pool, value: &[u8], now: Seconds) -> Option<(usize, bool)> {
    let session = found(pool, &[], value, now)?;
    assert_eq!(session.origin, Origin::default());
    Some((session.target.get(), session.renew))
}

fn found(pool: &Pool, homes: &[&Pool], value: &[u8], now: Seconds) -> Option<Session> {
    let verified = &mut VerifiedCookies::default();
    Sessions::new(pool, homes).find(pool, [value].into_iter(), now, verified)
}

const KEYS: [&[&[u8]]; 3] = [&[], &[NEW], &[NEW, OLD]];

#[test]
fn what_was_written_before_changes_no_cookie() {
    let pool = pool("web", &["a", "b"], &[NEW]);
    let mut sessions = Sessions::new(&pool, &[]);
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
        let fresh = Sessions::new(&pool, &[]).set_cookie(&pool, target, Origin::default(), now);
        assert_eq!(
            sessions.set_cookie(&pool, target, Origin::default(), now),
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
            assert_eq!(session, Some((target, false)));
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
    let kept = |renew| Some((1, renew));
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
            let bytes = base64::decode_url(&text).unwrap();
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
    let id = |key: &[u8]| {
        let value = value(&pool("web", &["blue"], &[key]), 0, NOW);
        Token::decode(&value).unwrap().target
    };
    assert_ne!(id(OLD), id(NEW));
}

#[test]
fn sessions_survive_targets_that_come_go_and_move() {
    for keys in KEYS {
        let cookie = value(&pool("web", &["blue", "green"], keys), 1, NOW);
        let target_in = |targets: &[&str]| {
            read(&pool("web", targets, keys), &cookie, NOW).map(|(target, _)| target)
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
        let renew = |after| read(&pool, &cookie, NOW + Seconds::new(after)).map(|(_, renew)| renew);
        assert_eq!(renew(0), Some(false));
        let ttl = TTL.get();
        assert_eq!(renew(ttl / 2), Some(false));
        assert_eq!(renew(ttl / 2 + 1), Some(true));
        assert_eq!(renew(ttl - 1), Some(true));
        assert_eq!(renew(ttl), None);
        assert_eq!(renew(u64::MAX - NOW.get()), None);
        // By a clock that was set back it would last longer than any: it is renewed.
        let back = read(&pool, &cookie, NOW - Seconds::new(3600));
        assert_eq!(back.map(|(_, renew)| renew), Some(true));
    }
}

#[test]
fn a_change_of_ttl_reaches_cookies_that_are_out() {
    let mut pool = pool("web", &["blue"], &[NEW]);
    let long = value(&pool, 0, NOW);
    cookie_mut(&mut pool).ttl = None;
    let endless = value(&pool, 0, NOW);
    assert_eq!(read(&pool, &endless, NOW * 2), Some((0, false)));
    assert_eq!(read(&pool, &long, NOW), Some((0, true)));
    cookie_mut(&mut pool).ttl = Some(Seconds::new(60));
    assert_eq!(read(&pool, &endless, NOW), Some((0, true)));
    assert_eq!(read(&pool, &long, NOW), Some((0, true)));
}

#[test]
fn the_first_valid_cookie_of_the_name_wins_and_few_are_tried() {
    let pool = pool("web", &["blue", "green"], &[NEW]);
    let (blue, green) = (value(&pool, 0, NOW), value(&pool, 1, NOW));
    let find = |cookies: &[(&[u8], &[u8])]| {
        let pairs: Vec<_> = cookies
            .iter()
            .map(|(name, value)| (&b"cookie"[..], [name, &b"="[..], value].concat()))
            .collect();
        let headers = Headers::from_pairs(&pairs);
        let request = Request::new(&headers);
        Sessions::new(&pool, &[])
            .find(
                &pool,
                request.cookie_values(b"pm"),
                NOW,
                &mut VerifiedCookies::default(),
            )
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
    let mut many = vec![(&b"pm"[..], &b"junk"[..]); MAX_TRIED];
    many.push((b"pm", &blue));
    assert_eq!(find(&many), None);
    assert_eq!(find(&many[1..]), Some(0));
}

#[test]
fn attributes_are_written_as_configured() {
    let mut pool = pool("web", &["blue"], &[NEW]);
    let attributes = |pool: &Pool| {
        let header = Sessions::new(pool, &[])
            .set_cookie(pool, TargetIndex::new(0), Origin::default(), NOW)
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
    let cookie = cookie_mut(&mut pool);
    (cookie.domain, cookie.partitioned) = (Some(b"example.com"[..].into()), true);
    assert_eq!(
        attributes(&pool),
        " Path=/shop; Domain=example.com; Secure; SameSite=None; Partitioned"
    );
    let none = TargetIndex::new(1);
    assert_eq!(
        Sessions::new(&pool, &[]).set_cookie(&pool, none, Origin::default(), NOW),
        None
    );
}

/// Cookies that are out must stay valid over releases. These were computed by Python's `hmac`
/// from the layout above.
#[test]
fn a_cookie_is_what_it_was_in_the_first_release() {
    let text = |keys| String::from_utf8(value(&pool("web", &["blue"], keys), 0, NOW)).unwrap();
    assert_eq!(text(&[NEW]), "AQBrSeAQdJer2lGdMxYwWcxzFn6aj8a5YGoqkYEM");
    assert_eq!(text(&[]), "AABrSeAQ1hNKiv2NdsU");
}

fn origin(part: u16, given: Given) -> Origin {
    Origin { part, given }
}

#[test]
fn a_cookie_tells_its_origin_and_no_bit_of_that_can_be_flipped() {
    let at = |index: usize, mut pool: Pool| {
        pool.index = PoolIndex::new(index);
        pool
    };
    for keys in KEYS {
        let green = at(0, pool("green", &["a", "b"], keys));
        let (blue, red) = (
            at(1, pool("blue", &["a"], &[])),
            at(2, pool("red", &["a"], &[])),
        );
        let homes = [&blue, &red];
        for origin in [
            origin(1, Given::Route),
            origin(u16::MAX, Given::Route),
            origin(0, Given::Failover(Some(blue.index))),
            origin(7, Given::Failover(Some(red.index))),
            origin(0, Given::Failover(None)),
        ] {
            let target = TargetIndex::new(1);
            let mut sessions = Sessions::new(&green, &homes);
            // Before and after another one, for the same bytes are told twice.
            let first = sessions.set_cookie(&green, target, origin, NOW).unwrap();
            sessions.set_cookie(&green, target, Origin::default(), NOW);
            let header = sessions.set_cookie(&green, target, origin, NOW).unwrap();
            assert_eq!(first, header);
            let value = header.strip_prefix(b"pm=").unwrap();
            let value = value.split(|byte| *byte == b';').next().unwrap();
            assert_eq!(value.len(), if keys.is_empty() { 27 } else { 48 });
            let session = found(&green, &homes, value, NOW).unwrap();
            assert_eq!((session.target, session.origin), (target, origin));
            // Another list of pools, by place or by name, is no other home.
            let turned = [&red, &blue];
            assert_eq!(found(&green, &turned, value, NOW).unwrap().origin, origin);
            if let Given::Failover(_) = origin.given {
                let unknown = Given::Failover(None);
                assert_eq!(
                    found(&green, &[], value, NOW).unwrap().origin.given,
                    unknown
                );
            }
            if keys.is_empty() {
                continue;
            }
            for bit in 0..8 * value.len() {
                let mut bad = value.to_vec();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(found(&green, &homes, &bad, NOW), None, "bit {bit}");
            }
            for end in 0..value.len() {
                assert_eq!(
                    found(&green, &homes, &value[..end], NOW),
                    None,
                    "cut at {end}"
                );
            }
        }
    }
}

proptest! {
    #[test]
    fn garbage_is_no_session(value: Vec<u8>, keyed: bool) {
        let pool = pool("web", &["blue"], if keyed { &[NEW] } else { &[] });
        prop_assert_eq!(read(&pool, &value, NOW), None);
        let mut text = Vec::new();
        base64::encode_url(&value, &mut text);
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

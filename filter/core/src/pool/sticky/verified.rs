//! What the cookies said whose MACs were verified lately. To verify one is 10,000 instructions, which
//! is more than all the rest of a decision, and a client sends the same cookie with each request.
//!
//! Only valid cookies get here, whole: what a client forges finds nothing and puts nothing in its
//! way. A look takes the same time wherever the bytes of two cookies differ, so it tells nothing of
//! the cookies of others. What depends on the time, or on the configuration's `ttl`, is not kept.

use super::Verified;
use super::cookie::MAX_VALUE;
use crate::index::PoolIndex;
use crate::siphash::mixed;

/// The cookies of all pools of one worker that were verified lately. Each has one place, which it
/// takes from the one before.
#[derive(Debug, Default)]
pub struct VerifiedCookies {
    /// Empty until the first one: workers without sessions need no memory for them.
    places: Vec<Option<Place>>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    cookie: Cookie,
    verified: Verified,
}

/// The value of a cookie, filled up with zeros, its length, and its pool.
#[derive(Clone, Copy, Debug)]
struct Cookie {
    value: [u64; WORDS],
    pool_and_length: u64,
}

impl VerifiedCookies {
    /// What this value of a pool's cookie says, if it was verified lately.
    pub(super) fn get(&self, pool: PoolIndex, value: &[u8]) -> Option<Verified> {
        let cookie = Cookie::new(pool, value)?;
        let place = self.places.get(cookie.place())?.as_ref()?;
        place.cookie.is(&cookie).then_some(place.verified)
    }

    /// Keeps what a valid one says.
    pub(super) fn put(&mut self, pool: PoolIndex, value: &[u8], verified: Verified) {
        let Some(cookie) = Cookie::new(pool, value) else {
            return;
        };
        self.places.resize(PLACES, None);
        if let Some(place) = self.places.get_mut(cookie.place()) {
            *place = Some(Place { cookie, verified });
        }
    }
}

impl Cookie {
    /// None: it is too long for one.
    fn new(pool: PoolIndex, value: &[u8]) -> Option<Cookie> {
        if value.len() > MAX_VALUE {
            return None;
        }
        let mut cookie = Cookie {
            value: [0; WORDS],
            pool_and_length: (pool.get() as u64) << 8 | value.len() as u64,
        };
        let (whole, rest) = value.as_chunks();
        for (word, bytes) in cookie.value.iter_mut().zip(whole) {
            *word = u64::from_le_bytes(*bytes);
        }
        if let Some(word) = cookie.value.get_mut(whole.len()) {
            let bytes = rest.iter().rev();
            *word = bytes.fold(0, |word, byte| word << 8 | u64::from(*byte));
        }
        Some(cookie)
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "the number of places is small"
    )]
    fn place(&self) -> usize {
        let words = self.value.iter();
        let all = words.fold(self.pool_and_length, |all, word| all.rotate_left(7) ^ word);
        mixed(all) as usize % PLACES
    }

    /// Whether they are equal, in a time that does not depend on where they differ.
    fn is(&self, other: &Cookie) -> bool {
        let words = self.value.iter().zip(&other.value);
        let differences = words.fold(0, |all, (ours, theirs)| all | (ours ^ theirs));
        differences | (self.pool_and_length ^ other.pool_and_length) == 0
    }
}

/// How many cookies are kept: 50 kB in a worker that has sessions.
const PLACES: usize = 512;

/// A value fills this many words.
const WORDS: usize = MAX_VALUE.div_ceil(8);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::TargetIndex;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const POOL: PoolIndex = PoolIndex::new(0);

    fn verified(target: usize) -> Verified {
        Verified {
            target: TargetIndex::new(target),
            ..Verified::default()
        }
    }

    #[test]
    fn a_cookie_is_known_in_its_pool_and_as_it_was() {
        let mut cookies = VerifiedCookies::default();
        let value = [b'A'; 40];
        assert_eq!(cookies.get(POOL, &value), None);
        cookies.put(POOL, &value, verified(1));
        assert_eq!(cookies.get(POOL, &value), Some(verified(1)));
        assert_eq!(cookies.get(PoolIndex::new(1), &value), None);
        for at in 0..value.len() {
            let mut other = value;
            other[at] = b'B';
            assert_eq!(cookies.get(POOL, &other), None, "{at}");
            assert_eq!(cookies.get(POOL, &value[..at]), None, "{at}");
        }
        assert_eq!(cookies.get(POOL, &[&value[..], b"\0"].concat()), None);
        for long in [vec![b'A'; 41], vec![b'A'; 4096]] {
            assert_eq!(cookies.get(POOL, &long), None);
            cookies.put(POOL, &[b'A'; 4096], verified(2));
        }
        assert_eq!(cookies.get(POOL, &value), Some(verified(1)));
    }

    #[test]
    fn most_of_few_cookies_are_kept_and_no_more_than_there_is_room_for() {
        let mut cookies = VerifiedCookies::default();
        let value = |number: usize| format!("AQBrSeAQUGnm76l00UBo50pg3kY7_hgJlKU{number:05}");
        for number in 0..100 {
            cookies.put(POOL, value(number).as_bytes(), verified(number));
        }
        let is_known = |number: &usize| match cookies.get(POOL, value(*number).as_bytes()) {
            Some(known) => known == verified(*number),
            None => false,
        };
        assert!((0..100).filter(is_known).count() > 70);
        for number in 100..10_000 {
            cookies.put(POOL, value(number).as_bytes(), verified(number));
        }
        assert_eq!(cookies.places.len(), PLACES);
    }
}

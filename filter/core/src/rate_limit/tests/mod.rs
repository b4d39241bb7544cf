//! What the tests of rate limits share: workers, limits, and the promise itself as an oracle.

use super::*;
use crate::http::headers::Headers;
use crate::port::memory::MemoryPort;
use crate::port::{Expected, SetFailed, StoreFailed, Version};
use crate::scope::ScopeKey;

mod gcra;
mod headers;
mod keys;
mod leases;
mod limits;
mod store;
mod strangers;
mod table;
mod workers;

const SECOND: Nanos = Nanos::SECOND;
const NS: Nanos = Nanos::new(1);
const NOW: Nanos = Nanos::from_secs(1_800_000_000);

fn limit(requests: u32, per: Nanos, burst: u32) -> RateLimit {
    let quota = Quota {
        requests,
        per,
        burst,
    };
    RateLimit::new(0, "limit", quota, vec![KeyPart::ClientIp], false)
}

fn named(index: usize, name: &str, burst: u32, shadow: bool) -> RateLimit {
    let quota = Quota {
        requests: 1,
        per: 3600 * SECOND,
        burst,
    };
    RateLimit::new(index, name, quota, vec![KeyPart::ClientIp], shadow)
}

/// A worker, and the events that it reported.
struct Worker {
    limits: RateLimits,
    events: Vec<RateLimitEvent>,
}

impl Worker {
    fn new(max_keys: u32) -> Worker {
        Worker {
            limits: RateLimits::new(Table { max_keys }, [9; 16], ScopeKey::default()),
            events: Vec::new(),
        }
    }

    fn check(
        &mut self,
        limits: &[&RateLimit],
        store: &mut dyn Store,
        client: u32,
        now: Nanos,
    ) -> Verdict {
        self.check_address(limits, store, IpAddr::V4(client.into()), &[], now)
    }

    fn check_address(
        &mut self,
        limits: &[&RateLimit],
        store: &mut dyn Store,
        client: IpAddr,
        headers: &[(&str, &str)],
        now: Nanos,
    ) -> Verdict {
        let headers = Headers::from_pairs(headers);
        let request = Request::new(&headers);
        let mut reader = self.limits.reader(&request, Some(client), "route");
        let buckets: Vec<_> = limits
            .iter()
            .map(|limit| self.limits.bucket(limit, &mut reader))
            .collect();
        self.limits.check(&buckets, store, now, &mut self.events)
    }

    fn admits(
        &mut self,
        limit: &RateLimit,
        store: &mut dyn Store,
        client: u32,
        now: Nanos,
    ) -> bool {
        self.check(&[limit], store, client, now) == Verdict::Admitted
    }

    /// How many requests of a client are admitted at one instant.
    fn flood(&mut self, limit: &RateLimit, store: &mut dyn Store, client: u32, now: Nanos) -> u32 {
        (0..100_000)
            .find(|_| !self.admits(limit, store, client, now))
            .unwrap()
    }
}

/// Passes all calls on to another store, and notes the time of the record that was written last:
/// the time at which an admitted request was charged.
struct Recorder<'a> {
    store: &'a mut dyn Store,
    charged_at: Nanos,
}

impl Store for Recorder<'_> {
    fn get(&mut self, key: &[u8]) -> Result<Option<(Vec<u8>, Version)>, StoreFailed> {
        self.store.get(key)
    }

    fn set(&mut self, key: &[u8], value: &[u8], expected: Expected) -> Result<(), SetFailed> {
        self.store.set(key, value, expected)?;
        self.charged_at = Nanos::new(u64::from_le_bytes(*value.first_chunk().unwrap()));
        Ok(())
    }
}

/// Whether a request at `now` may follow those admitted so far, by the promise itself: over
/// every window that ends now, at most `burst` + rate × window.
fn conforms(limit: &RateLimit, admitted: &[Nanos], now: Nanos) -> bool {
    admitted.iter().rev().zip(2_u128..).all(|(start, count)| {
        let over =
            count.saturating_sub(limit.quota.burst.into()) * u128::from(limit.quota.per.get());
        over <= u128::from(now.abs_diff(*start).get()) * u128::from(limit.quota.requests)
    })
}

/// Whether all of some admitted requests keep the promise, in whatever order they came.
fn assert_conforms(limit: &RateLimit, mut admitted: Vec<Nanos>, context: &str) {
    admitted.sort_unstable();
    for (i, now) in admitted.iter().enumerate() {
        assert!(
            conforms(limit, &admitted[..i], *now),
            "{context}: {i} of {admitted:?}"
        );
    }
}

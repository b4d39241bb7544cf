//! Rate limits on shared data, so that a limit holds for all workers of the proxy together.
//!
//! A limit has a bucket for each client: [`gcra`] is the rule of one bucket, [`record`] its bytes
//! in shared data, [`table`] where it lies, and what happens when there is no room for it. A worker
//! charges the requests of a busy client many at a time, see [`lease`].
//!
//! **Several limits** of a request are checked in their order, and the first that refuses answers;
//! nothing is charged. Then all are charged in that order. If one of them refuses after all,
//! because another worker charged it in between, the charges before it are refunded. A `shadow`
//! limit is charged and counted like any other, and refuses nothing.
//!
//! **Several keys.** Where a request has several values of a part of a limit's key (a header line, a
//! cookie or a query parameter that comes twice), it is charged for each of them, as if it came
//! once with each. A request with more than [`key::MAX_VALUES`] combinations belongs to one bucket with
//! all others that have so many.
//!
//! **When shared data fails.** Contention past all attempts refuses the request: the bound is the
//! promise, and since refusals write nothing, only admitted requests contend. If the host fails a
//! call, the limit admits the request: it must not take the site down. Both are counted.

mod gcra;
pub mod global;
mod headers;
mod key;
mod lease;
mod record;
mod table;

pub use gcra::Quota;
pub use headers::{refusal_headers, state_headers};
pub use key::KeyReader;

use crate::http::key::KeyPart;
use crate::http::request::Request;
use crate::http::respond::Respond;
use crate::port::Store;
use crate::scope::ScopeKey;
use crate::shared::{RecordCache, UpdateError};
use crate::siphash::{Seed, SipWriter};
use crate::time::Nanos;
use global::Global;
use key::MAX_VALUES;
use lease::Leases;
use record::{Bucket, Owner};
use std::cell::OnceCell;
use std::net::IpAddr;
use table::{Charge, CheckContext, Mode};

/// One limit of `rate_limits`.
///
/// ```
/// use pointsman_core::config::Config;
/// use pointsman_core::time::Nanos;
///
/// let config = Config::load(
///     br#"{
///         "rate_limits": { "login": { "requests": 5, "per": "1m", "key": ["client_ip"] } },
///         "routes": [{ "name": "login", "rate_limits": ["login"], "pass": true }]
///     }"#,
/// )?;
/// let login = config.rate_limits[0].quota();
/// // Five at once, and then one every twelve seconds.
/// assert_eq!((login.requests, login.burst), (5, 5));
/// assert_eq!(login.per, Nanos::from_secs(60));
/// # Ok::<(), pointsman_core::config::problem::Problems>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    index: usize,
    name: Box<str>,
    quota: Quota,
    key: Vec<KeyPart>,
    /// How much of an IPv4 and an IPv6 address the key has. None: it has none.
    prefixes: Option<[u8; 2]>,
    shadow: bool,
    /// The hash of the name and the quota, by which records know the limit.
    identity: u64,
    /// How long requests can be used that were charged ahead of time. None: none are.
    lease: Option<Nanos>,
    respond: Option<Respond>,
    tell: bool,
    global: Option<Box<Global>>,
}

impl RateLimit {
    /// A limit. `index` is its place in [`crate::config::Config::rate_limits`], `name` its key
    /// there; `key` tells clients apart, and without a part all of them share one bucket; a
    /// `shadow` only counts.
    pub fn new(
        index: usize,
        name: &str,
        quota: Quota,
        key: Vec<KeyPart>,
        shadow: bool,
    ) -> RateLimit {
        // No client has a say in these, so the hash needs no secret. It is computed here, and not
        // for each request.
        let mut identity = SipWriter::new(Seed::default());
        identity.write_field(name.as_bytes());
        identity.write_u64(quota.requests.into());
        identity.write_u64(quota.per.get());
        identity.write_u64(quota.burst.into());
        let prefixes = key.iter().filter_map(KeyPart::prefixes);
        let prefixes = prefixes.reduce(|[a, b], [c, d]| [a.max(c), b.max(d)]);
        RateLimit {
            index,
            name: name.into(),
            quota,
            key,
            prefixes,
            shadow,
            identity: identity.finish(),
            lease: lease::length(&quota),
            respond: None,
            tell: false,
            global: None,
        }
    }

    /// The same limit with these answers. `respond`: what it answers where it refuses; None: 429
    /// without a body. `tell`: whether admitted requests are told its state as well, which is known
    /// exactly only without leases.
    pub fn answering(self, respond: Option<Respond>, tell: bool) -> RateLimit {
        RateLimit {
            respond,
            tell,
            lease: self.lease.filter(|_| !tell),
            ..self
        }
    }

    /// The same limit, which holds over a fleet of proxies besides.
    pub fn over_fleet(self, global: Option<Box<Global>>) -> RateLimit {
        RateLimit { global, ..self }
    }

    /// How it holds over a fleet of proxies. None: each proxy has its own.
    pub fn global(&self) -> Option<&Global> {
        self.global.as_deref()
    }

    /// What it answers where it refuses. None: 429 without a body.
    pub fn respond(&self) -> Option<&Respond> {
        self.respond.as_ref()
    }

    /// Its place in [`crate::config::Config::rate_limits`].
    pub fn index(&self) -> usize {
        self.index
    }

    /// Its key in `rate_limits`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many requests it admits.
    pub fn quota(&self) -> Quota {
        self.quota
    }

    /// What tells clients apart.
    pub fn key(&self) -> &[KeyPart] {
        &self.key
    }

    /// Whether it only counts, and never refuses.
    pub fn is_shadow(&self) -> bool {
        self.shadow
    }

    /// Whether a request's buckets depend on the client's address. Where the key does not have it,
    /// it still says whose slot of the table the bucket takes; a limit of one bucket has no need.
    pub fn needs_client(&self) -> bool {
        !self.key.is_empty()
    }

    /// The hash that all ids of the limit's buckets begin with.
    fn bucket_hash(&self, seed: Seed) -> SipWriter {
        let mut hash = SipWriter::new(seed);
        hash.write_u64(self.identity);
        hash
    }
}

/// `rate_limit_table: { max_keys }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// 1 to 16,777,216. Default 65,536.
    pub max_keys: u32,
}

/// Something that happened and that an operator can count. Indices are those of
/// [`crate::config::Config::rate_limits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateLimitEvent {
    /// This limit refused a request.
    Refused(usize),
    /// This limit would have refused a request, if it were not a shadow.
    Shadow(usize),
    /// A client of this limit found the table full: its new bucket took the slot of one that was
    /// not full, or the client was refused for what was merged before. See the table.
    Overflow(usize),
    /// Other workers wrote the same records more often than a change is tried: this limit refused a
    /// request that it could not check, or let it pass if it is a shadow, or kept a charge that
    /// should have been refunded.
    Contended(usize),
    /// Another worker wrote first; the decision was made again.
    Retry,
    /// The host failed a call on shared data; the limit was not applied.
    StoreFailed,
    /// An engine was asked about a request of this global limit.
    Asked(usize),
    /// The engine refused a request of this global limit.
    AskedRefused(usize),
    /// The engine said nothing in time, or nothing that can be understood.
    AskedFailed(usize),
    /// So many requests of this global limit were granted ahead of need.
    Leased(usize, u32),
}

/// What the limits of a request say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The request is admitted, and was charged to every limit.
    Admitted,
    /// The request is refused, and was charged to no limit.
    Refused {
        /// The place of the limit that refuses, among the buckets that were checked.
        limit: usize,
        /// From `now`, at least a nanosecond: until then this limit refuses, and then it admits one
        /// request.
        retry_after: Nanos,
    },
}

/// The state of a client's bucket after an admitted request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitState {
    /// The limit: its place in [`crate::config::Config::rate_limits`].
    pub limit: usize,
    /// When the bucket is full again.
    pub full_at: Nanos,
}

/// A client's bucket of one limit.
#[derive(Clone, Debug)]
pub struct BucketRef<'a> {
    limit: &'a RateLimit,
    id: u64,
    client: Option<IpAddr>,
    /// Whose it is, and the hash of its site, once something needs that: what was charged ahead of
    /// time needs no more than the id.
    owner: OnceCell<(Owner, u64)>,
}

impl BucketRef<'_> {
    fn owner(&self, seed: Seed) -> (Owner, u64) {
        let owner = || table::owner(seed, self.limit, self.client, self.limit.prefixes);
        *self.owner.get_or_init(owner)
    }
}

impl<'a> BucketRef<'a> {
    /// What tells it from other buckets.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The limit.
    pub fn limit(&self) -> &'a RateLimit {
        self.limit
    }
}

/// One worker's rate limits.
#[derive(Debug)]
pub struct RateLimits {
    table: Table,
    seed: Seed,
    scope: ScopeKey,
    cache: RecordCache,
    leases: Leases,
    /// Of the limits that tell, after the last check.
    states: Vec<LimitState>,
}

impl RateLimits {
    /// The limits of a worker that has checked nothing yet. `seed` is the secret that all workers
    /// share. Another `table` than before the last reload begins all limits afresh, and so does another
    /// `scope`.
    pub fn new(table: Table, seed: Seed, scope: ScopeKey) -> RateLimits {
        RateLimits {
            table,
            seed,
            scope,
            cache: RecordCache::default(),
            leases: Leases::default(),
            states: Vec::new(),
        }
    }

    /// What a request that came to the route of this name has of its limits' keys. `client` is the
    /// client's address, None where it has none; see [`RateLimit::needs_client`].
    pub fn reader<'r>(
        &self,
        request: &'r Request<'r>,
        client: Option<IpAddr>,
        route: &'r str,
    ) -> KeyReader<'r> {
        KeyReader::new(request, client, route, self.seed)
    }

    /// The bucket of a request's client, where the request has one combination of values
    /// ([`KeyReader::combinations`]); otherwise that of its first.
    pub fn bucket<'a>(&self, limit: &'a RateLimit, reader: &mut KeyReader<'a>) -> BucketRef<'a> {
        self.bucket_of(limit, reader, Some(0))
    }

    /// Appends the buckets of all combinations of values that a request has of this limit's key.
    pub fn buckets<'a>(
        &self,
        limit: &'a RateLimit,
        reader: &mut KeyReader<'a>,
        buckets: &mut Vec<BucketRef<'a>>,
    ) {
        match reader.combinations(limit) {
            count @ 0..=MAX_VALUES => {
                buckets.extend((0..count).map(|place| self.bucket_of(limit, reader, Some(place))));
            }
            _ => buckets.push(self.bucket_of(limit, reader, None)),
        }
    }

    /// The bucket of one combination. None: of too many.
    fn bucket_of<'a>(
        &self,
        limit: &'a RateLimit,
        reader: &mut KeyReader<'a>,
        combination: Option<usize>,
    ) -> BucketRef<'a> {
        let mut id = limit.bucket_hash(self.seed);
        reader.write(limit, combination, &mut id);
        BucketRef {
            limit,
            id: Bucket::client_id(id.finish(), limit.prefixes.is_none()),
            client: reader.client(),
            owner: OnceCell::new(),
        }
    }

    /// Checks the buckets of a request, those of each of its limits, in their order. Charges all of
    /// them if all admit the request.
    pub fn check(
        &mut self,
        buckets: &[BucketRef<'_>],
        store: &mut dyn Store,
        now: Nanos,
        events: &mut Vec<RateLimitEvent>,
    ) -> Verdict {
        let mut context = CheckContext { store, now, events };
        self.states.clear();
        let verdict = self.check_all(buckets, &mut context);
        let retries = self.cache.take_cas_mismatches();
        events.extend((0..retries).map(|_| RateLimitEvent::Retry));
        verdict
    }

    /// Takes a request of this bucket that was charged already, if there is one: then it is checked.
    /// No host call.
    pub fn take_leased(&mut self, bucket: &BucketRef<'_>, now: Nanos) -> bool {
        let is_leased = self.check_lease(bucket, Mode::Charge, now).is_some();
        if is_leased {
            self.states.clear();
        }
        is_leased
    }

    /// The states of the limits that tell, after a check that admitted: of several buckets of a
    /// limit, the one that is emptiest.
    pub fn states(&self) -> &[LimitState] {
        &self.states
    }

    fn check_all(&mut self, buckets: &[BucketRef<'_>], context: &mut CheckContext<'_>) -> Verdict {
        // A lone limit is checked and charged in one step. Of several, none is charged before all
        // have been checked.
        if let [bucket] = buckets {
            return match self.check_one(bucket, Mode::Charge, context) {
                Ok(_) => Verdict::Admitted,
                Err(retry_after) => Verdict::Refused {
                    limit: 0,
                    retry_after,
                },
            };
        }
        if self.check_leases(buckets, context.now) {
            return Verdict::Admitted;
        }
        let mut admitting = vec![true; buckets.len()];
        for (limit, (bucket, admitting)) in buckets.iter().zip(&mut admitting).enumerate() {
            match self.check_one(bucket, Mode::Peek, context) {
                Ok(charge) => *admitting = charge.is_some(),
                Err(retry_after) => return Verdict::Refused { limit, retry_after },
            }
        }
        let mut charges = Vec::new();
        for (limit, (bucket, admitting)) in buckets.iter().zip(admitting).enumerate() {
            if !admitting {
                continue;
            }
            match self.check_one(bucket, Mode::Charge, context) {
                Ok(charge) => charges.extend(charge.map(|charge| (bucket.limit, charge))),
                Err(retry_after) => {
                    for (limit, charge) in charges {
                        self.refund(limit, &charge, context);
                    }
                    return Verdict::Refused { limit, retry_after };
                }
            }
        }
        Verdict::Admitted
    }

    fn tell(&mut self, limit: usize, charge: &Charge) {
        let Charge::Bucket { full_at, .. } = *charge else {
            return;
        };
        match self.states.iter_mut().find(|state| state.limit == limit) {
            Some(state) => state.full_at = state.full_at.max(full_at),
            None => self.states.push(LimitState { limit, full_at }),
        }
    }

    /// Checks one limit, and applies what shadows and failures change. The charge, or None where
    /// the request is admitted without one; or for how long it is refused.
    fn check_one(
        &mut self,
        bucket: &BucketRef<'_>,
        mode: Mode,
        context: &mut CheckContext<'_>,
    ) -> Result<Option<Charge>, Nanos> {
        if let Some(charge) = self.check_lease(bucket, mode, context.now) {
            return Ok(Some(charge));
        }
        let RateLimit { index, shadow, .. } = *bucket.limit;
        let verdict = self.check_slot(bucket, mode, context);
        if let Ok(verdict) = &verdict {
            // A peek that admits is followed by the charge, which counts.
            let counts = matches!(mode, Mode::Charge) || verdict.result.is_err();
            if verdict.is_overflow && counts {
                context.events.push(RateLimitEvent::Overflow(index));
            }
        }
        let (event, until) = match verdict.map(|verdict| verdict.result) {
            Ok(Ok(charge)) => {
                if bucket.limit.tell && matches!(mode, Mode::Charge) {
                    self.tell(index, &charge);
                }
                return Ok(Some(charge));
            }
            Err(UpdateError::Store) => {
                context.events.push(RateLimitEvent::StoreFailed);
                return Ok(None);
            }
            // When it would be admitted is not known, but soon.
            Err(UpdateError::Contended) => (RateLimitEvent::Contended(index), Nanos::ZERO),
            Ok(Err(until)) if shadow => (RateLimitEvent::Shadow(index), until),
            Ok(Err(until)) => (RateLimitEvent::Refused(index), until),
        };
        context.events.push(event);
        match shadow {
            true => Ok(None),
            false => Err((until - context.now).max(Nanos::new(1))),
        }
    }
}

#[cfg(test)]
mod tests;

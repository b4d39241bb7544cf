//! Rate limits: GCRA on shared data, so that a limit holds for all workers together.
//!
//! **The rule.** A bucket of `burst` requests refills at `requests` per `per`. It is kept as one
//! instant, when it will be full again (the "theoretical arrival time" of ITU-T I.371's generic
//! cell rate algorithm): a request moves that instant on by T = `per`/`requests`, and is refused if
//! it would then lie more than `burst`·T ahead. So over any window the admitted requests are at
//! most `burst` + rate × window, and whoever keeps to that is never refused. T need not be a whole
//! number of nanoseconds: the instant carries a fraction in units of 1/`requests` ns, so that
//! neither promise drifts.
//!
//! **The table.** A key per client would be a leak that clients drive (shared data knows no
//! delete), so the buckets lie in slots of a fixed set of records: `max_keys` slots altogether, up
//! to 64 in a record. A client's record and its name in it come from a hash under a secret seed, so
//! it cannot choose whom to share with. Only a bucket that is full makes room: to forget it changes
//! nothing. Names cover the limit's numbers too; a limit that is changed begins afresh.
//!
//! **No room.** Where all slots of its record are in use, a newcomer is charged to the one overflow
//! bucket that its limit has for all such newcomers. It must not get a second burst when it gets a
//! slot later. So before the overflow bucket is charged, the record is marked with the instant to
//! which the charge moves that bucket, and a new slot begins no fuller than the limit's mark. Then
//! at any time the bucket that a client is charged to is no fuller than one that saw all its
//! admitted requests: the overflow bucket saw them all and more; a new slot begins at a mark that
//! is no earlier than the overflow bucket was when this client was last charged to it; and a slot
//! is only given away when it is full. The price: a client that comes to a record with a mark may
//! find a bucket that is not full though it is new.
//!
//! **Time.** Within a record time does not run backwards: a worker whose clock is behind uses the
//! latest time the record has seen. Past [`CLOCK_STEP`] that is no skew but a clock that was set
//! back, and everything in the record moves back with it: each bucket stays exactly as full as it
//! was, so the bound holds, and nobody waits for the old time to come round again.
//!
//! **Several limits.** All are asked in their order, and the first that refuses answers; nothing is
//! charged. Then all are charged in that order; if one of them refuses after all because another
//! worker was faster, the charges before it are given back. A `shadow` limit is charged and counted
//! as any other and refuses nothing.
//!
//! **When shared data fails us.** Contention past all retries refuses: the bound is the promise,
//! and since refusals write nothing, only admitted requests contend. A host that fails its calls
//! admits: it must not take the site down. Both are counted.

use crate::http::key::KeyPart;
use crate::http::request::Request;
use crate::port::Store;
use crate::shared::keys::{self, BucketsKey};
use crate::shared::record::{Entry, FieldReader, FieldWriter, decode};
use crate::shared::{RecordCache, Update, UpdateError};
use crate::siphash::{Seed, SipWriter};
use crate::time::Nanos;
use std::net::IpAddr;

/// One limit of `rate_limits`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Its place in [`crate::config::Config::rate_limits`].
    pub index: usize,
    /// Its key in the configuration.
    pub name: Box<str>,
    /// Requests per `per`, from 1.
    pub requests: u32,
    /// From 1 ms.
    pub per: Nanos,
    /// The size of the bucket in requests, from 1. Default: `requests`.
    pub burst: u32,
    /// What tells clients apart. At least one part.
    pub key: Vec<KeyPart>,
    /// Count, never refuse.
    pub shadow: bool,
    /// What records know it by: [`RateLimit::identified`] sets it.
    pub identity: u64,
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
pub enum Event {
    /// This limit refused a request.
    Refused(usize),
    /// This limit would have refused a request, if it were not a shadow.
    Shadow(usize),
    /// A client of this limit found no slot and was charged to the overflow bucket, or refused by
    /// it.
    Overflow(usize),
    /// Other workers wrote the same records more often than we try: this limit refused a request
    /// unseen, or let it pass if it is a shadow, or kept a charge that should have been given back.
    Contended(usize),
    /// Another worker wrote first; the decision was made again.
    Retry,
    /// The host failed a call on shared data; the limit was not applied.
    StoreFailed,
}

/// A clock that is further behind than this was set back; what is less is skew between workers, or
/// a small correction, and is waited out.
const CLOCK_STEP: Nanos = Nanos::SECOND;

/// 64 slots are 1.3 kB, which costs the same to read as one slot, and are enough for the load of
/// records to even out.
const SLOTS: u64 = 64;

/// How often a charge to an overflow bucket is tried; each try is two writes that may have to be
/// repeated themselves.
const OVERFLOW_ATTEMPTS: u32 = 4;

/// An instant, and a fraction of a nanosecond in units of one in the limit's `requests`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Instant {
    ns: Nanos,
    part: u32,
}

/// A bucket, or a mark: the lowest bit of its id is 1 in marks and overflow buckets, 0 in slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bucket {
    id: u64,
    full: Instant,
}

/// A record as it lies in shared data: the latest time it has seen, 8 bytes little-endian, then
/// buckets in no order. It is changed in place: of up to 64 buckets a request changes one.
struct Record {
    /// The time that holds in this record.
    now: Nanos,
    bytes: Vec<u8>,
    /// The clock was set back, and everything in the record with it: that has to be written,
    /// whatever is decided.
    moved: bool,
}

/// The size of the time in front of the buckets.
const TIME: usize = 8;

impl Record {
    /// What is no record (a value that somebody removed, or of another release) is an empty one,
    /// and half a bucket at its end is none.
    fn read(bytes: Option<&[u8]>, now: Nanos) -> Record {
        let bytes = bytes
            .filter(|bytes| bytes.len() >= TIME)
            .unwrap_or(&[0; TIME]);
        let whole = bytes.len() - (bytes.len() - TIME) % Bucket::SIZE;
        // One more, because most changes of a young record add one.
        let mut own = Vec::with_capacity(whole + Bucket::SIZE);
        own.extend(bytes.get(..whole).unwrap_or_default());
        let mut record = Record {
            now,
            bytes: own,
            moved: false,
        };
        let latest = FieldReader::new(bytes).nanos().unwrap_or_default();
        match latest.checked_sub(now) {
            None => {}
            Some(behind) if behind <= CLOCK_STEP => record.now = latest,
            Some(behind) => {
                record.moved = true;
                for place in record.places() {
                    if let Some(mut bucket) = Bucket::read(&mut FieldReader::new(place)) {
                        bucket.full.ns -= behind;
                        bucket.write(&mut FieldWriter::new(place));
                    }
                }
            }
        }
        record
    }

    fn places(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let places = self.bytes.get_mut(TIME..).unwrap_or_default();
        places.chunks_exact_mut(Bucket::SIZE)
    }

    fn buckets(&self) -> impl Iterator<Item = Bucket> {
        decode(self.bytes.get(TIME..).unwrap_or_default())
    }

    fn find(&self, id: u64) -> Option<Instant> {
        self.buckets()
            .find(|bucket| bucket.id == id)
            .map(|bucket| bucket.full)
    }

    /// Whether a slot can be added.
    fn has_room(&self, capacity: u64) -> bool {
        let slots = || self.buckets().filter(|bucket| !bucket.is_mark());
        (slots().count() as u64) < capacity || slots().any(|slot| slot.is_idle(self.now))
    }

    /// Changes a bucket. A new one takes the place of an idle one of its kind, where there is one.
    fn put(&mut self, new: Bucket) {
        let now = self.now;
        let own = self.buckets().position(|bucket| bucket.id == new.id);
        let place = own.or_else(|| {
            let mut buckets = self.buckets();
            buckets.position(|bucket| bucket.is_mark() == new.is_mark() && bucket.is_idle(now))
        });
        let place = place.unwrap_or_else(|| {
            self.bytes.resize(self.bytes.len() + Bucket::SIZE, 0);
            self.places().count() - 1
        });
        if let Some(place) = self.places().nth(place) {
            new.write(&mut FieldWriter::new(place));
        }
    }

    fn write<T>(mut self, result: T) -> Update<T> {
        FieldWriter::new(&mut self.bytes).nanos(self.now);
        Update::Write(self.bytes, result)
    }

    fn leave<T>(self, result: T) -> Update<T> {
        match self.moved {
            true => self.write(result),
            false => Update::Keep(result),
        }
    }
}

impl Entry for Bucket {
    const SIZE: usize = 20;

    fn read(fields: &mut FieldReader<'_>) -> Option<Bucket> {
        Some(Bucket {
            id: fields.u64()?,
            full: Instant {
                ns: fields.nanos()?,
                part: fields.u32()?,
            },
        })
    }

    fn write(&self, fields: &mut FieldWriter<'_>) {
        fields.u64(self.id);
        fields.nanos(self.full.ns);
        fields.u32(self.full.part);
    }
}

impl Bucket {
    fn is_mark(&self) -> bool {
        self.id & 1 == 1
    }

    /// Full again: nothing is lost with it.
    fn is_idle(&self, now: Nanos) -> bool {
        self.full <= Instant { ns: now, part: 0 }
    }
}

impl RateLimit {
    /// The limit with its identity: the hash of all that makes this limit this limit, its name and
    /// its numbers. No client has a say in these, so the hash needs no secret, and it is taken once
    /// and not for each request.
    pub fn identified(self) -> RateLimit {
        let mut hash = SipWriter::new(Seed::default());
        hash.write_field(self.name.as_bytes());
        hash.write_u64(self.requests.into());
        hash.write_u64(self.per.get());
        hash.write_u64(self.burst.into());
        RateLimit {
            identity: hash.finish(),
            ..self
        }
    }

    /// What the hash of a client of this limit begins with.
    fn hash(&self, seed: Seed) -> SipWriter {
        let mut hash = SipWriter::new(seed);
        hash.write_u64(self.identity);
        hash
    }

    /// How many parts of a nanosecond are one. No configuration has 0 requests; here it cannot
    /// divide by them either.
    fn parts(&self) -> u64 {
        self.requests.max(1).into()
    }

    /// The rule: when the bucket will be full again, after one more request at `now`; or until when
    /// that is refused.
    fn admit(&self, full: Instant, now: Nanos) -> Result<Instant, Nanos> {
        let Some(next) = full.max(Instant { ns: now, part: 0 }).later(self) else {
            // Past the year 2554, only a bucket that takes centuries to refill.
            return Err(Nanos::MAX);
        };
        // In units of 1/`requests` ns, where T is `per`.
        let requests = u128::from(self.parts());
        let ahead = u128::from((next.ns - now).get()) * requests + u128::from(next.part);
        match ahead.checked_sub(u128::from(self.burst) * u128::from(self.per.get())) {
            None | Some(0) => Ok(next),
            Some(excess) => {
                let wait = u64::try_from(excess.div_ceil(requests)).unwrap_or(u64::MAX);
                Err(now + Nanos::new(wait))
            }
        }
    }
}

impl Instant {
    /// T later. None: there is no such instant.
    fn later(self, limit: &RateLimit) -> Option<Instant> {
        let requests = limit.parts();
        let part = u64::from(self.part) + limit.per.get() % requests;
        let carry = u64::from(part >= requests);
        Some(Instant {
            ns: self
                .ns
                .checked_add(limit.per / requests)?
                .checked_add(Nanos::new(carry))?,
            part: (part - carry * requests) as u32,
        })
    }

    /// T earlier.
    fn earlier(self, limit: &RateLimit) -> Instant {
        let requests = limit.parts();
        let less = limit.per.get() % requests;
        let borrow = u64::from(u64::from(self.part) < less);
        Instant {
            ns: self.ns - (limit.per / requests + Nanos::new(borrow)),
            part: (u64::from(self.part) + borrow * requests - less) as u32,
        }
    }
}

/// One worker's rate limits.
#[derive(Debug)]
pub struct RateLimits {
    table: Table,
    seed: Seed,
    cache: RecordCache,
}

/// What one request asks of one limit.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    limit: &'a RateLimit,
    /// The client's, as [`Bucket::id`].
    id: u64,
}

/// What the limits of a request say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may go on, and was charged to every limit.
    Admitted,
    /// It may not, and was charged to none.
    Refused {
        /// The place of the limit that refuses among the claims.
        claim: usize,
        /// From `now`, at least a nanosecond: until then this limit refuses, and then it admits one
        /// request.
        retry_after: Nanos,
    },
}

/// What is the same for all claims of a request.
struct Moment<'a> {
    store: &'a mut dyn Store,
    now: Nanos,
    events: &'a mut Vec<Event>,
}

/// How far a step may go.
#[derive(Clone, Copy)]
enum Mode {
    /// Only look.
    Look,
    /// Charge.
    Charge,
    /// Charge; where there is no room, mark the record with this instant.
    Mark(Instant),
}

/// What one limit says.
enum Answer {
    /// Admitted; when looking, that it would be.
    Admitted(Charge),
    /// Refused until this instant.
    Refused(Nanos),
    /// The record has no slot for this client, and it is this time in it.
    NoRoom(Nanos),
}

/// What has to be known to give a charge back.
struct Charge {
    key: BucketsKey,
    id: u64,
    /// When the bucket will be full again.
    full: Nanos,
}

impl Record {
    /// Asks the bucket that is `full` then, and charges it unless this is only a look.
    fn ask(
        mut self,
        limit: &RateLimit,
        key: BucketsKey,
        id: u64,
        full: Instant,
        mode: Mode,
    ) -> Update<Answer> {
        match limit.admit(full, self.now) {
            Err(until) => self.leave(Answer::Refused(until)),
            Ok(full) => {
                let charge = Answer::Admitted(Charge {
                    key,
                    id,
                    full: full.ns,
                });
                if let Mode::Look = mode {
                    return Update::KeepStale(charge);
                }
                self.put(Bucket { id, full });
                self.write(charge)
            }
        }
    }
}

impl RateLimits {
    /// The limits of a worker that remembers nothing yet. `seed` is the secret that all workers
    /// share. Another `table` than before the last reload begins all limits afresh.
    pub fn new(table: Table, seed: Seed) -> RateLimits {
        RateLimits {
            table,
            seed,
            cache: RecordCache::default(),
        }
    }

    /// What a request asks of a limit. `client` is the client's address, None where it has none; it
    /// is only looked at where the limit's key says so.
    pub fn claim<'a>(
        &self,
        limit: &'a RateLimit,
        request: &Request<'_>,
        client: Option<IpAddr>,
    ) -> Claim<'a> {
        let mut id = limit.hash(self.seed);
        for part in &limit.key {
            part.feed(request, client, &mut id);
        }
        Claim {
            limit,
            id: id.finish() & !1,
        }
    }

    /// Asks all limits of a request, in their order, and charges them if all admit it.
    pub fn check(
        &mut self,
        claims: &[Claim<'_>],
        store: &mut dyn Store,
        now: Nanos,
        events: &mut Vec<Event>,
    ) -> Verdict {
        let mut moment = Moment { store, now, events };
        let verdict = self.decide(claims, &mut moment);
        events.extend((0..self.cache.take_cas_mismatches()).map(|_| Event::Retry));
        verdict
    }

    fn decide(&mut self, claims: &[Claim<'_>], moment: &mut Moment<'_>) -> Verdict {
        // A lone limit is charged or not in one step; several have to be asked before any is
        // charged.
        if let [claim] = claims {
            return match self.ask(claim, Mode::Charge, moment) {
                Ok(_) => Verdict::Admitted,
                Err(retry_after) => Verdict::Refused {
                    claim: 0,
                    retry_after,
                },
            };
        }
        let mut willing = vec![true; claims.len()];
        for (i, (claim, willing)) in claims.iter().zip(&mut willing).enumerate() {
            match self.ask(claim, Mode::Look, moment) {
                Ok(charge) => *willing = charge.is_some(),
                Err(retry_after) => {
                    return Verdict::Refused {
                        claim: i,
                        retry_after,
                    };
                }
            }
        }
        let mut charges = Vec::new();
        for (i, (claim, willing)) in claims.iter().zip(willing).enumerate() {
            if !willing {
                continue;
            }
            match self.ask(claim, Mode::Charge, moment) {
                Ok(charge) => charges.extend(charge.map(|charge| (claim, charge))),
                Err(retry_after) => {
                    for (claim, charge) in charges {
                        self.give_back(claim, &charge, moment);
                    }
                    return Verdict::Refused {
                        claim: i,
                        retry_after,
                    };
                }
            }
        }
        Verdict::Admitted
    }

    /// One limit's answer, with all that shadow and failures make of it: the charge, or None where
    /// the request goes on uncharged; or for how long it is refused.
    fn ask(
        &mut self,
        claim: &Claim<'_>,
        mode: Mode,
        moment: &mut Moment<'_>,
    ) -> Result<Option<Charge>, Nanos> {
        let index = claim.limit.index;
        let mut answer = self.ask_slot(claim, mode, moment);
        if let Ok(Answer::NoRoom(now)) = answer {
            answer = self.ask_overflow(claim, mode, now, moment);
            // A look that admits is followed by the charge, which counts.
            if !matches!((mode, &answer), (Mode::Look, Ok(Answer::Admitted(_)))) {
                moment.events.push(Event::Overflow(index));
            }
        }
        let (event, until) = match answer {
            Ok(Answer::Admitted(charge)) => return Ok(Some(charge)),
            Err(UpdateError::Store) => {
                moment.events.push(Event::StoreFailed);
                return Ok(None);
            }
            // When it would be admitted is not known, but soon.
            Ok(Answer::NoRoom(_)) | Err(UpdateError::Contended) => {
                (Event::Contended(index), Nanos::ZERO)
            }
            Ok(Answer::Refused(until)) if claim.limit.shadow => (Event::Shadow(index), until),
            Ok(Answer::Refused(until)) => (Event::Refused(index), until),
        };
        moment.events.push(event);
        match claim.limit.shadow {
            true => Ok(None),
            false => Err((until - moment.now).max(Nanos::new(1))),
        }
    }

    /// Asks the client's own slot.
    fn ask_slot(
        &mut self,
        claim: &Claim<'_>,
        mode: Mode,
        moment: &mut Moment<'_>,
    ) -> Result<Answer, UpdateError> {
        let slots = u64::from(self.table.max_keys);
        // Every slot is as likely, so a last record with fewer slots gets fewer clients.
        let number = ((u128::from(claim.id) * u128::from(slots)) >> 64) as u64 / SLOTS;
        let capacity = (slots - number * SLOTS).min(SLOTS);
        let key = keys::buckets(number);
        let (seed, now, limit) = (self.seed, moment.now, claim.limit);
        self.cache.update(moment.store, &key, &mut |bytes| {
            let mut record = Record::read(bytes, now);
            if let Some(full) = record.find(claim.id) {
                return record.ask(limit, key, claim.id, full, mode);
            }
            let mark = limit.hash(seed).finish() | 1;
            let marked = record.find(mark).unwrap_or_default();
            if record.has_room(capacity) {
                return record.ask(limit, key, claim.id, marked, mode);
            }
            let no_room = Answer::NoRoom(record.now);
            match mode {
                Mode::Mark(full) if marked < full => {
                    record.put(Bucket { id: mark, full });
                    record.write(no_room)
                }
                _ => record.leave(no_room),
            }
        })
    }

    /// Asks the overflow bucket. Before it is charged the client's record is marked with what it
    /// will be then: whoever gets a slot in between already counts this request. The time is the
    /// record's: what the record forgot was full by then.
    fn ask_overflow(
        &mut self,
        claim: &Claim<'_>,
        mode: Mode,
        mut now: Nanos,
        moment: &mut Moment<'_>,
    ) -> Result<Answer, UpdateError> {
        let limit = claim.limit;
        let id = limit.hash(self.seed).finish() | 1;
        let key = keys::overflow_bucket(id >> 1);
        let mut marked = Instant::default();
        for _ in 0..OVERFLOW_ATTEMPTS {
            // Only looks, as long as what the bucket will be is later than the mark.
            let mut next = marked;
            let answer = self.cache.update(moment.store, &key, &mut |bytes| {
                let record = Record::read(bytes, now);
                let full = record.find(id).unwrap_or_default();
                next = limit.admit(full, record.now).unwrap_or(marked);
                record.ask(
                    limit,
                    key,
                    id,
                    full,
                    if next > marked { Mode::Look } else { mode },
                )
            })?;
            if next <= marked || matches!(mode, Mode::Look) {
                return Ok(answer);
            }
            marked = next;
            match self.ask_slot(claim, Mode::Mark(marked), moment)? {
                Answer::NoRoom(time) => now = time,
                answer => return Ok(answer),
            }
        }
        Err(UpdateError::Contended)
    }

    /// Takes a charge back, unless the bucket refilled that much by itself since: then there is
    /// nothing to give back, and doing so would admit one request too many.
    fn give_back(&mut self, claim: &Claim<'_>, charge: &Charge, moment: &mut Moment<'_>) {
        let now = moment.now;
        let result = self.cache.update(moment.store, &charge.key, &mut |bytes| {
            let mut record = Record::read(bytes, now);
            match record.find(charge.id) {
                Some(full) if record.now <= charge.full => {
                    let full = full.earlier(claim.limit);
                    record.put(Bucket {
                        id: charge.id,
                        full,
                    });
                    record.write(())
                }
                _ => record.leave(()),
            }
        });
        moment.events.extend(match result {
            Ok(()) => None,
            Err(UpdateError::Contended) => Some(Event::Contended(claim.limit.index)),
            Err(UpdateError::Store) => Some(Event::StoreFailed),
        });
    }
}

/// The headers of a refusal's answer: `retry-after`, and `ratelimit-policy` and `ratelimit` as
/// draft-ietf-httpapi-ratelimit-headers-10 has them. All three name whole seconds, rounded up: then
/// the limit admits.
pub fn refusal_headers(limit: &RateLimit, retry_after: Nanos) -> [(&'static [u8], Vec<u8>); 3] {
    let seconds = retry_after.div_ceil(Nanos::SECOND).max(1).to_string();
    let mut policy = quoted(&limit.name);
    let mut state = policy.clone();
    let (quota, window) = limit.whole_seconds();
    policy.push_str(";q=");
    policy.push_str(&quota.to_string());
    if let Some(window) = window {
        policy.push_str(";w=");
        policy.push_str(&window.to_string());
    }
    state.push_str(";r=0;t=");
    state.push_str(&seconds);
    [
        (b"retry-after", seconds.into_bytes()),
        (b"ratelimit-policy", policy.into_bytes()),
        (b"ratelimit", state.into_bytes()),
    ]
}

/// The largest integer of Structured Fields (RFC 9651 section 3.3.1).
const LARGEST: u64 = 999_999_999_999_999;

impl RateLimit {
    /// The rate as requests per whole seconds, the only ones that a policy can name: `100` per
    /// `250ms` are 400 per second. Where that takes numbers that the field cannot hold, the
    /// requests without a window.
    fn whole_seconds(&self) -> (u64, Option<u64>) {
        let (mut common, mut rest) = (Nanos::SECOND, self.per);
        while rest > Nanos::ZERO {
            (common, rest) = (rest, common % rest);
        }
        let requests = u64::from(self.requests);
        let window = self.per / common;
        match requests.checked_mul(Nanos::SECOND / common) {
            Some(quota) if quota.max(window) <= LARGEST => (quota, Some(window)),
            _ => (requests, None),
        }
    }
}

/// A String of Structured Fields. It holds printable ASCII; other bytes are percent-encoded.
fn quoted(name: &str) -> String {
    let mut string = String::from('"');
    for byte in name.bytes() {
        match byte {
            b'"' | b'\\' => string.extend(['\\', byte.into()]),
            b' '..=b'~' => string.push(byte.into()),
            _ => {
                string.push('%');
                for digit in [byte >> 4, byte & 15] {
                    string.extend(char::from_digit(digit.into(), 16));
                }
            }
        }
    }
    string.push('"');
    string
}

#[cfg(test)]
mod tests;

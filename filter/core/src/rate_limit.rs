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

use crate::hash::{Seed, SipWriter};
use crate::port::Store;
use crate::request::Request;
use crate::shared::{Decision, Failed, Memory};
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

/// A part of a limit's key, or what a pool's hash is of. In a limit's key a part that the request
/// does not have counts as absent, a value of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPart {
    /// The client's address.
    ClientIp,
    /// All values of this header. Lower case.
    Header(Box<[u8]>),
    /// The first value of this cookie.
    Cookie(Box<[u8]>),
    /// The first value of this query parameter, percent-decoded.
    Query(Box<[u8]>),
    /// The path without the query.
    Path,
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

/// Overflow buckets lie in this many records. More limits than that share records, never buckets.
const OVERFLOW_RECORDS: u64 = 64;

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

/// The size of a [`Bucket`] in a record: id, nanoseconds, fraction, all little-endian.
const BUCKET: usize = 20;

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
        let whole = bytes.len() - (bytes.len() - TIME) % BUCKET;
        // One more, because most changes of a young record add one.
        let mut own = Vec::with_capacity(whole + BUCKET);
        own.extend(bytes.get(..whole).unwrap_or_default());
        let mut record = Record {
            now,
            bytes: own,
            moved: false,
        };
        let latest = bytes.first_chunk().map_or(Nanos::ZERO, |latest| {
            Nanos::new(u64::from_le_bytes(*latest))
        });
        match latest.checked_sub(now) {
            None => {}
            Some(behind) if behind <= CLOCK_STEP => record.now = latest,
            Some(behind) => {
                record.moved = true;
                for place in record.places() {
                    let mut bucket = Bucket::read(place);
                    bucket.full.ns -= behind;
                    *place = bucket.bytes();
                }
            }
        }
        record
    }

    fn places(&mut self) -> &mut [[u8; BUCKET]] {
        let (places, _) = self
            .bytes
            .get_mut(TIME..)
            .unwrap_or_default()
            .as_chunks_mut();
        places
    }

    fn buckets(&self) -> impl Iterator<Item = Bucket> {
        let (buckets, _) = self.bytes.get(TIME..).unwrap_or_default().as_chunks();
        buckets.iter().map(Bucket::read)
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
        match place.and_then(|place| self.places().get_mut(place)) {
            Some(place) => *place = new.bytes(),
            None => self.bytes.extend(new.bytes()),
        }
    }

    fn write<T>(mut self, result: T) -> Decision<T> {
        if let Some(time) = self.bytes.first_chunk_mut() {
            *time = self.now.get().to_le_bytes();
        }
        Decision::Write(self.bytes, result)
    }

    fn leave<T>(self, result: T) -> Decision<T> {
        match self.moved {
            true => self.write(result),
            false => Decision::Leave(result),
        }
    }
}

impl Bucket {
    fn read(bytes: &[u8; BUCKET]) -> Bucket {
        let [
            n0,
            n1,
            n2,
            n3,
            n4,
            n5,
            n6,
            n7,
            t0,
            t1,
            t2,
            t3,
            t4,
            t5,
            t6,
            t7,
            part @ ..,
        ] = *bytes;
        Bucket {
            id: u64::from_le_bytes([n0, n1, n2, n3, n4, n5, n6, n7]),
            full: Instant {
                ns: Nanos::new(u64::from_le_bytes([t0, t1, t2, t3, t4, t5, t6, t7])),
                part: u32::from_le_bytes(part),
            },
        }
    }

    fn bytes(&self) -> [u8; BUCKET] {
        let [n0, n1, n2, n3, n4, n5, n6, n7] = self.id.to_le_bytes();
        let [t0, t1, t2, t3, t4, t5, t6, t7] = self.full.ns.get().to_le_bytes();
        let [p0, p1, p2, p3] = self.full.part.to_le_bytes();
        [
            n0, n1, n2, n3, n4, n5, n6, n7, t0, t1, t2, t3, t4, t5, t6, t7, p0, p1, p2, p3,
        ]
    }

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
    memory: Memory,
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
    key: Key,
    id: u64,
    /// When the bucket will be full again.
    full: Nanos,
}

/// The key of a record: `pm1/`, what it holds, and its number.
type Key = [u8; 12];

fn key(kind: &[u8; 4], number: u64) -> Key {
    let [a, b, c, d] = *kind;
    let [.., w, x, y, z] = number.to_be_bytes();
    [b'p', b'm', b'1', b'/', a, b, c, d, w, x, y, z]
}

impl Record {
    /// Asks the bucket that is `full` then, and charges it unless this is only a look.
    fn ask(
        mut self,
        limit: &RateLimit,
        key: Key,
        id: u64,
        full: Instant,
        mode: Mode,
    ) -> Decision<Answer> {
        match limit.admit(full, self.now) {
            Err(until) => self.leave(Answer::Refused(until)),
            Ok(full) => {
                let charge = Answer::Admitted(Charge {
                    key,
                    id,
                    full: full.ns,
                });
                if let Mode::Look = mode {
                    return Decision::Glance(charge);
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
            memory: Memory::default(),
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
        events.extend((0..self.memory.take_outrun()).map(|_| Event::Retry));
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
            Err(Failed::Store) => {
                moment.events.push(Event::StoreFailed);
                return Ok(None);
            }
            // When it would be admitted is not known, but soon.
            Ok(Answer::NoRoom(_)) | Err(Failed::Contended) => {
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
    ) -> Result<Answer, Failed> {
        let slots = u64::from(self.table.max_keys);
        // Every slot is as likely, so a last record with fewer slots gets fewer clients.
        let number = ((u128::from(claim.id) * u128::from(slots)) >> 64) as u64 / SLOTS;
        let capacity = (slots - number * SLOTS).min(SLOTS);
        let key = key(b"slot", number);
        let (seed, now, limit) = (self.seed, moment.now, claim.limit);
        self.memory.update(moment.store, &key, &mut |bytes| {
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
    ) -> Result<Answer, Failed> {
        let limit = claim.limit;
        let id = limit.hash(self.seed).finish() | 1;
        let key = key(b"over", (id >> 1) % OVERFLOW_RECORDS);
        let mut marked = Instant::default();
        for _ in 0..OVERFLOW_ATTEMPTS {
            // Only looks, as long as what the bucket will be is later than the mark.
            let mut next = marked;
            let answer = self.memory.update(moment.store, &key, &mut |bytes| {
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
        Err(Failed::Contended)
    }

    /// Takes a charge back, unless the bucket refilled that much by itself since: then there is
    /// nothing to give back, and doing so would admit one request too many.
    fn give_back(&mut self, claim: &Claim<'_>, charge: &Charge, moment: &mut Moment<'_>) {
        let now = moment.now;
        let result = self.memory.update(moment.store, &charge.key, &mut |bytes| {
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
            Err(Failed::Contended) => Some(Event::Contended(claim.limit.index)),
            Err(Failed::Store) => Some(Event::StoreFailed),
        });
    }
}

impl KeyPart {
    /// Whether the request has this part. An empty value is one.
    pub fn is_in(&self, request: &Request<'_>, client: Option<IpAddr>) -> bool {
        match self {
            KeyPart::ClientIp => client.is_some(),
            KeyPart::Header(name) => request.headers.first(name).is_some(),
            KeyPart::Cookie(name) => request.cookie_values(name).next().is_some(),
            KeyPart::Query(name) => request.query_values(name).next().is_some(),
            KeyPart::Path => true,
        }
    }

    /// Feeds what the request has of this part into a hash. No two different things are fed the
    /// same bytes.
    pub fn feed(&self, request: &Request<'_>, client: Option<IpAddr>, hash: &mut SipWriter) {
        match self {
            KeyPart::ClientIp => match client.map(|address| address.to_canonical()) {
                None => hash.write_byte(0),
                Some(IpAddr::V4(address)) => {
                    hash.write_byte(4);
                    hash.write(&address.octets());
                }
                Some(IpAddr::V6(address)) => {
                    hash.write_byte(6);
                    hash.write(&address.octets());
                }
            },
            KeyPart::Header(name) => {
                for value in request.headers.all(name) {
                    hash.write_byte(1);
                    hash.write_field(value);
                }
                hash.write_byte(0);
            }
            KeyPart::Cookie(name) => feed_optional(hash, request.cookie_values(name).next()),
            KeyPart::Query(name) => {
                feed_optional(hash, request.query_values(name).next().as_deref())
            }
            KeyPart::Path => hash.write_field(request.path),
        }
    }
}

fn feed_optional(hash: &mut SipWriter, value: Option<&[u8]>) {
    hash.write_byte(value.is_some().into());
    hash.write_field(value.unwrap_or_default());
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
mod tests {
    use super::*;
    use crate::port::{Expected, SetFailed, StoreFailed, Version};
    use crate::request::Headers;
    #[cfg(not(target_arch = "wasm32"))]
    use crate::shared::tests::interleaved;
    use crate::shared::tests::{Dice, Map};
    use proptest::prelude::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const SECOND: Nanos = Nanos::SECOND;
    const NS: Nanos = Nanos::new(1);
    const NOW: Nanos = Nanos::from_secs(1_800_000_000);

    fn limit(requests: u32, per: Nanos, burst: u32) -> RateLimit {
        RateLimit {
            index: 0,
            name: "limit".into(),
            requests,
            per,
            burst,
            key: vec![KeyPart::ClientIp],
            shadow: false,
            identity: 0,
        }
        .identified()
    }

    /// A worker with its share of the world.
    struct Worker {
        limits: RateLimits,
        events: Vec<Event>,
    }

    impl Worker {
        fn new(max_keys: u32) -> Worker {
            Worker {
                limits: RateLimits::new(Table { max_keys }, [9; 16]),
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
            let headers = Headers::default();
            let request = Request::new(&headers);
            let address = Some(IpAddr::V4(client.into()));
            let claims: Vec<_> = limits
                .iter()
                .map(|limit| self.limits.claim(limit, &request, address))
                .collect();
            self.limits.check(&claims, store, now, &mut self.events)
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
        fn flood(
            &mut self,
            limit: &RateLimit,
            store: &mut dyn Store,
            client: u32,
            now: Nanos,
        ) -> u32 {
            (0..100_000)
                .find(|_| !self.admits(limit, store, client, now))
                .unwrap()
        }
    }

    /// Passes everything on, and remembers the time of the record that was written last: the time
    /// at which a request that was admitted has been charged.
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
            let over = count.saturating_sub(limit.burst.into()) * u128::from(limit.per.get());
            over <= u128::from(now.abs_diff(*start).get()) * u128::from(limit.requests)
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

    fn any_limit() -> impl Strategy<Value = RateLimit> {
        let per = prop_oneof![
            1_000_000_u64..5_000_000,
            Just(SECOND.get()),
            Just((60 * SECOND).get()),
            1..u64::from(u32::MAX)
        ];
        (
            prop_oneof![1_u32..10, 1_u32..2000],
            per,
            prop_oneof![1_u32..4, 1_u32..100],
        )
            .prop_map(|(requests, per, burst)| limit(requests, Nanos::new(per), burst))
    }

    proptest! {
        /// Both promises at once: what is admitted is exactly what the promise lets through, to the
        /// nanosecond.
        #[test]
        fn a_request_is_admitted_exactly_if_no_window_is_exceeded(
            limit in any_limit(),
            steps in prop::collection::vec((any::<u16>(), 0_usize..3), 1..300),
        ) {
            let mut store = Map::default();
            let mut workers = [Worker::new(4), Worker::new(4), Worker::new(4)];
            let (mut now, mut admitted) = (NOW, Vec::new());
            let interval = limit.per / u64::from(limit.requests);
            for (step, worker) in steps {
                // Mostly about as fast as the limit, in bursts and pauses, to the nanosecond.
                now += match step % 4 {
                    0 => Nanos::ZERO,
                    1 => interval + u64::from(step % 3) * NS - NS.min(interval),
                    2 => interval * u64::from(step) / 20_000,
                    _ => interval * u64::from(step) / 60_000,
                };
                let expected = conforms(&limit, &admitted, now);
                match workers[worker].check(&[&limit], &mut store, 1, now) {
                    Verdict::Admitted => {
                        prop_assert!(expected, "admitted too much");
                        admitted.push(now);
                    }
                    Verdict::Refused { retry_after, .. } => {
                        prop_assert!(!expected, "refused too much");
                        prop_assert!(conforms(&limit, &admitted, now + retry_after), "not admitted at {retry_after:?}");
                        prop_assert!(!conforms(&limit, &admitted, now + retry_after - NS), "promise {retry_after:?} too late");
                    }
                }
            }
        }
    }

    #[test]
    fn limit_refuses_until_the_promised_instant() {
        let limit = limit(7, 60 * SECOND, 3);
        let (mut worker, mut store, mut now) = (Worker::new(4), Map::default(), NOW);
        assert_eq!(worker.flood(&limit, &mut store, 1, now), 3);
        for _ in 0..100 {
            let Verdict::Refused { retry_after, .. } = worker.check(&[&limit], &mut store, 1, now)
            else {
                panic!("admitted");
            };
            now += retry_after - NS;
            let just_before = worker.check(&[&limit], &mut store, 1, now);
            assert_eq!(
                just_before,
                Verdict::Refused {
                    claim: 0,
                    retry_after: NS
                }
            );
            now += NS;
            assert!(worker.admits(&limit, &mut store, 1, now));
        }
    }

    /// 3/s and 7/1m have no whole nanoseconds between requests: a rounding of either side would
    /// show after a while.
    #[test]
    fn a_client_exactly_at_its_rate_is_never_refused_and_one_above_it_gains_nothing() {
        for limit in [
            limit(3, SECOND, 2),
            limit(7, 60 * SECOND, 2),
            limit(999_983, Nanos::MILLISECOND, 2),
        ] {
            let (mut worker, mut store) = (Worker::new(1), Map::default());
            let time = |k: u64| {
                let since = u128::from(k) * u128::from(limit.per.get());
                NOW + Nanos::new(since.div_ceil(limit.requests.into()) as u64)
            };
            assert_eq!(worker.flood(&limit, &mut store, 1, NOW), limit.burst);
            for k in 1..700_000 {
                let now = time(k);
                assert!(worker.admits(&limit, &mut store, 1, now), "{k}");
                if k % 100 == 0 {
                    assert!(
                        !worker.admits(&limit, &mut store, 1, now),
                        "one more after {k}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_refused_request_charges_nothing_and_writes_nothing() {
        let limit = limit(1, SECOND, 2);
        let (mut worker, mut store) = (Worker::new(4), Map::default());
        assert_eq!(worker.flood(&limit, &mut store, 1, NOW), 2);
        let (before, writes) = (store.values.clone(), store.writes);
        for _ in 0..1000 {
            assert!(!worker.admits(&limit, &mut store, 1, NOW + NS));
        }
        assert_eq!((store.values, store.writes), (before, writes));
    }

    #[test]
    fn a_lone_worker_reads_once_and_then_only_to_refuse() {
        let limit = limit(1000, SECOND, 10);
        let (mut worker, mut store) = (Worker::new(65_536), Map::default());
        worker.admits(&limit, &mut store, 1, NOW);
        worker.admits(&limit, &mut store, 1, NOW);
        let reads = store.reads;
        assert_eq!(worker.flood(&limit, &mut store, 1, NOW), 8);
        assert_eq!(store.reads - reads, 1);
    }

    #[test]
    fn one_limit_never_costs_more_than_one_read() {
        let limit = limit(1000, SECOND, 10);
        let mut store = Map::default();
        let mut workers = [Worker::new(64), Worker::new(64), Worker::new(64)];
        let mut dice = Dice(7);
        for i in 0..5000 {
            let reads = store.reads;
            workers[dice.roll(3) as usize].admits(
                &limit,
                &mut store,
                dice.roll(5) as u32,
                NOW + i * 300 * Nanos::MICROSECOND,
            );
            assert!(store.reads - reads <= 1);
        }
    }

    fn named(index: usize, name: &str, burst: u32, shadow: bool) -> RateLimit {
        RateLimit {
            index,
            name: name.into(),
            shadow,
            ..limit(1, 3600 * SECOND, burst)
        }
        .identified()
    }

    #[test]
    fn the_first_limit_that_refuses_answers_and_none_is_charged() {
        let (wide, narrow, middle) = (
            named(0, "wide", 9, false),
            named(1, "narrow", 2, false),
            named(2, "middle", 5, false),
        );
        let (mut worker, mut store) = (Worker::new(4096), Map::default());
        for expected in [true, true, false, false] {
            let verdict = worker.check(&[&wide, &narrow, &middle], &mut store, 1, NOW);
            assert_eq!(verdict == Verdict::Admitted, expected);
            if let Verdict::Refused { claim, .. } = verdict {
                assert_eq!(claim, 1);
            }
        }
        assert_eq!(worker.events, [Event::Refused(1), Event::Refused(1)]);
        // The others were charged for what was admitted, and for nothing else.
        assert_eq!(worker.flood(&wide, &mut store, 1, NOW), 7);
        assert_eq!(worker.flood(&middle, &mut store, 1, NOW), 3);
        worker.events.clear();
        let verdict = worker.check(&[&middle, &wide], &mut store, 1, NOW);
        assert!(matches!(verdict, Verdict::Refused { claim: 0, .. }));
        assert_eq!(worker.events, [Event::Refused(2)]);
    }

    #[test]
    fn a_shadow_counts_what_it_would_refuse_and_refuses_nothing() {
        let (shadow, hard) = (named(0, "shadow", 2, true), named(1, "hard", 4, false));
        let (mut worker, mut store) = (Worker::new(4096), Map::default());
        let admitted = (0..6)
            .filter(|_| worker.check(&[&shadow, &hard], &mut store, 1, NOW) == Verdict::Admitted);
        assert_eq!(admitted.count(), 4);
        let count = |events: &[Event], event| events.iter().filter(|e| **e == event).count();
        assert_eq!(count(&worker.events, Event::Shadow(0)), 4);
        assert_eq!(count(&worker.events, Event::Refused(1)), 2);
        // Alone as well; and it was charged twice, so it is where a hard limit would be.
        for _ in 0..3 {
            assert!(worker.admits(&shadow, &mut store, 1, NOW));
        }
        assert_eq!(count(&worker.events, Event::Shadow(0)), 7);
        assert!(worker.admits(&shadow, &mut store, 1, NOW + 3600 * SECOND));
        assert_eq!(count(&worker.events, Event::Shadow(0)), 7);
    }

    #[test]
    fn a_limit_of_another_name_or_other_numbers_is_another_limit() {
        let (mut worker, mut store) = (Worker::new(4096), Map::default());
        let first = named(0, "a", 3, false);
        for limit in [
            &first,
            &named(0, "b", 3, false),
            &RateLimit {
                requests: 2,
                ..first.clone()
            }
            .identified(),
        ] {
            assert_eq!(worker.flood(limit, &mut store, 1, NOW), 3);
        }
        // The place in the configuration makes no difference.
        assert_eq!(
            worker.flood(&RateLimit { index: 5, ..first }, &mut store, 1, NOW),
            0
        );
    }

    #[test]
    fn past_max_keys_newcomers_share_one_bucket() {
        for (max_keys, clients) in [(1, 50), (4, 50), (64, 200), (65, 3000), (200, 3000)] {
            let limit = limit(1, 3600 * SECOND, 3);
            let mut store = Map::default();
            let mut workers = [Worker::new(max_keys), Worker::new(max_keys)];
            let mut bursts = 0;
            for client in 0..clients {
                let admitted = workers[client as usize % 2].flood(&limit, &mut store, client, NOW);
                bursts += u32::from(admitted > 0);
                assert!(admitted == 0 || admitted == 3, "{admitted}");
            }
            assert_eq!(bursts, max_keys + 1);
            let overflows = workers.iter().flat_map(|worker| &worker.events);
            let overflows = overflows
                .filter(|event| **event == Event::Overflow(0))
                .count() as u32;
            // Three that it admitted, and then one refusal of each newcomer.
            assert_eq!(overflows, 3 + clients - max_keys);
            // When all is full again, all have room again.
            let later = NOW + 3 * 3600 * SECOND;
            assert_eq!(workers[0].flood(&limit, &mut store, clients, later), 3);
        }
    }

    /// Clients come and go through a table that is much too small, with slots and without: each
    /// keeps the promise.
    #[test]
    fn no_client_gains_by_moving_between_overflow_and_slot() {
        for seed in 0..300 {
            let mut dice = Dice(seed << 32);
            let limits = [
                limit(5, SECOND, 4),
                RateLimit {
                    index: 1,
                    ..limit(2, SECOND, 7)
                },
            ];
            let mut store = Map::default();
            let mut workers = [Worker::new(2), Worker::new(2)];
            let mut admitted = vec![[const { Vec::new() }; 2]; 6];
            let mut now = NOW;
            for _ in 0..600 {
                now +=
                    [Nanos::ZERO, Nanos::ZERO, NS, SECOND / 50, SECOND / 3][dice.roll(5) as usize];
                let (client, which) = (dice.roll(6) as usize, dice.roll(2) as usize);
                let worker = &mut workers[dice.roll(2) as usize];
                if worker.admits(&limits[which], &mut store, client as u32, now) {
                    admitted[client][which].push(now);
                }
            }
            assert!(
                workers[0]
                    .events
                    .iter()
                    .any(|event| matches!(event, Event::Overflow(_)))
            );
            for (client, of_client) in admitted.into_iter().enumerate() {
                for (limit, of_limit) in limits.iter().zip(of_client) {
                    assert_conforms(limit, of_limit, &format!("seed {seed}, client {client}"));
                }
            }
        }
    }

    #[test]
    fn a_slot_is_given_away_only_when_its_bucket_is_full() {
        let limit = limit(1, SECOND, 5);
        let (mut worker, mut store) = (Worker::new(1), Map::default());
        assert_eq!(worker.flood(&limit, &mut store, 1, NOW), 5);
        // Newcomers are let in by the overflow bucket alone.
        assert_eq!(
            worker.flood(&limit, &mut store, 2, NOW + 5 * SECOND - NS),
            5
        );
        assert_eq!(
            worker.flood(&limit, &mut store, 3, NOW + 5 * SECOND - NS),
            0
        );
        assert_eq!(
            worker.flood(&limit, &mut store, 1, NOW + 5 * SECOND - NS),
            4
        );
    }

    #[test]
    fn a_million_clients_leave_the_store_small() {
        let limit = limit(1, 3600 * SECOND, 1);
        let (mut worker, mut store) = (Worker::new(1000), Map::default());
        for client in 0..1_000_000 {
            worker.admits(
                &limit,
                &mut store,
                client,
                NOW + u64::from(client) * Nanos::MICROSECOND,
            );
            worker.events.clear();
        }
        let bytes: usize = store
            .values
            .iter()
            .map(|(key, (value, _))| key.len() + value.len())
            .sum();
        // 16 records of slots and one of overflow buckets; in each the slots, and a mark.
        assert_eq!(store.values.len(), 17);
        assert!(
            bytes < 1000 * BUCKET + 17 * (12 + 8 + BUCKET) + BUCKET,
            "{bytes}"
        );
    }

    #[cfg(not(target_arch = "wasm32"))] // threads
    #[test]
    fn workers_in_any_order_of_steps_keep_the_promise_together() {
        for seed in 0..150 {
            // A table with room, and one without.
            for max_keys in [64, 2] {
                let limit = limit(1000, SECOND, 3);
                let (logs, _) = interleaved(seed, 4, NOW, |turn| {
                    let mut worker = Worker::new(max_keys);
                    let mut admitted = Vec::new();
                    for _ in 0..20 {
                        let (now, client) = turn.step(|world| {
                            world.now += [0, 0, 0, 100, 700][world.dice.roll(5) as usize]
                                * Nanos::MICROSECOND;
                            (world.now, world.dice.roll(4) as u32)
                        });
                        let mut recorder = Recorder {
                            store: turn,
                            charged_at: Nanos::ZERO,
                        };
                        if worker.admits(&limit, &mut recorder, client, now) {
                            admitted.push((client, recorder.charged_at));
                        }
                    }
                    admitted
                });
                for client in 0..4 {
                    let of_client = logs.iter().flatten().filter(|(who, _)| *who == client);
                    let context = format!("seed {seed}, {max_keys} keys");
                    assert_conforms(&limit, of_client.map(|(_, at)| *at).collect(), &context);
                }
            }
        }
    }

    /// Time stands still, so the buckets say exactly what was charged and not given back.
    #[cfg(not(target_arch = "wasm32"))] // threads
    #[test]
    fn charges_of_a_refused_request_are_given_back_whoever_was_faster() {
        for seed in 0..200 {
            let (wide, narrow) = (named(0, "wide", 60, false), named(1, "narrow", 5, false));
            let (admitted, mut world) = interleaved(seed, 4, NOW, |turn| {
                let mut worker = Worker::new(64);
                let verdicts: Vec<_> = (0..4)
                    .map(|_| worker.check(&[&wide, &narrow], turn, 1, NOW))
                    .collect();
                assert!(
                    !worker
                        .events
                        .iter()
                        .any(|event| matches!(event, Event::Contended(_)))
                );
                verdicts
                    .iter()
                    .filter(|verdict| **verdict == Verdict::Admitted)
                    .count() as u32
            });
            assert_eq!(admitted.iter().sum::<u32>(), 5, "seed {seed}");
            let mut worker = Worker::new(64);
            assert_eq!(
                worker.flood(&wide, &mut world.map, 1, NOW),
                55,
                "seed {seed}"
            );
        }
    }

    #[test]
    fn what_has_refilled_since_is_not_given_back() {
        let limit = limit(1, SECOND / 10, 2);
        let (mut worker, mut store) = (Worker::new(4), Map::default());
        let headers = Headers::default();
        let claim = worker.limits.claim(&limit, &Request::new(&headers), None);
        let later = NOW + SECOND / 2;
        let mut charge_at = |worker: &mut Worker, now, give_back: Option<&Charge>| {
            let mut moment = Moment {
                store: &mut store,
                now,
                events: &mut worker.events,
            };
            if let Some(charge) = give_back {
                worker.limits.give_back(&claim, charge, &mut moment);
            }
            worker.limits.ask(&claim, Mode::Charge, &mut moment)
        };
        // In time it is: two of two, one back, one more.
        let first = charge_at(&mut worker, NOW, None).unwrap().unwrap();
        assert!(charge_at(&mut worker, NOW, None).is_ok());
        assert!(charge_at(&mut worker, NOW, Some(&first)).is_ok());
        assert!(charge_at(&mut worker, NOW, None).is_err());
        // Later all is full again, and nothing of the old charge is left.
        assert!(charge_at(&mut worker, later, None).is_ok());
        assert!(charge_at(&mut worker, later, Some(&first)).is_ok());
        assert!(charge_at(&mut worker, later, None).is_err());
    }

    #[test]
    fn workers_whose_clocks_differ_keep_the_promise() {
        for seed in 0..100 {
            let mut dice = Dice(seed << 32);
            let limit = limit(20, SECOND, 3);
            let mut store = Map::default();
            let mut workers = [Worker::new(1), Worker::new(1), Worker::new(1)];
            let skews: Vec<Nanos> = (0..3)
                .map(|_| Nanos::new(dice.roll((CLOCK_STEP / 2).get())))
                .collect();
            let (mut now, mut admitted) = (NOW, Vec::new());
            for _ in 0..400 {
                now += Nanos::new(dice.roll((SECOND / 15).get()));
                let i = dice.roll(3) as usize;
                let client = dice.roll(2) as u32;
                let mut recorder = Recorder {
                    store: &mut store,
                    charged_at: Nanos::ZERO,
                };
                if workers[i].admits(&limit, &mut recorder, client, now + skews[i]) && client == 0 {
                    admitted.push(recorder.charged_at);
                }
            }
            assert!(admitted.len() > 20);
            assert_conforms(&limit, admitted, &format!("seed {seed}"));
        }
    }

    #[test]
    fn a_clock_set_back_leaves_every_bucket_as_full_as_it_was() {
        let limit = limit(1, 10 * SECOND, 3);
        for back in [CLOCK_STEP + NS, 3600 * SECOND, NOW] {
            let (mut worker, mut store) = (Worker::new(4), Map::default());
            let mut other = Worker::new(4);
            for _ in 0..2 {
                assert!(worker.admits(&limit, &mut store, 1, NOW));
            }
            assert_eq!(other.flood(&limit, &mut store, 2, NOW), 3);
            let mut now = NOW - back;
            // One is left of the first bucket and none of the second; and both refill at their pace
            // from now on.
            assert_eq!(other.flood(&limit, &mut store, 2, now), 0);
            assert_eq!(worker.flood(&limit, &mut store, 1, now), 1);
            now += 5 * SECOND;
            let verdict = other.check(&[&limit], &mut store, 2, now);
            assert_eq!(
                verdict,
                Verdict::Refused {
                    claim: 0,
                    retry_after: 5 * SECOND
                }
            );
            now += 5 * SECOND;
            assert_eq!(other.flood(&limit, &mut store, 2, now), 1);
            assert_eq!(worker.flood(&limit, &mut store, 1, now), 1);
        }
    }

    /// A refusal writes nothing, save this: else the record would go on living in the old time.
    #[test]
    fn a_clock_set_back_heals_although_only_refusals_see_it() {
        let limit = limit(1, 10 * SECOND, 1);
        let (mut worker, mut store) = (Worker::new(4), Map::default());
        assert!(worker.admits(&limit, &mut store, 1, NOW));
        let now = NOW - 3600 * SECOND;
        for wait in [10, 9, 5, 1] {
            let verdict = worker.check(&[&limit], &mut store, 1, now + (10 - wait) * SECOND);
            assert_eq!(
                verdict,
                Verdict::Refused {
                    claim: 0,
                    retry_after: wait * SECOND
                }
            );
        }
        assert!(worker.admits(&limit, &mut store, 1, now + 10 * SECOND));
    }

    #[test]
    fn a_bucket_that_takes_centuries_to_refill_refuses_rather_than_overflows() {
        let limit = limit(1, Nanos::MAX / 8, u32::MAX);
        let (mut worker, mut store) = (Worker::new(4), Map::default());
        let admitted = worker.flood(&limit, &mut store, 1, NOW);
        assert!((1..8).contains(&admitted), "{admitted}");
    }

    #[test]
    fn bytes_that_are_no_record_are_an_empty_one() {
        let limit = limit(1, SECOND, 2);
        for junk in [&b""[..], b"x", &[255; 7], &[0; 8], &[0; 27]] {
            let (mut worker, mut store) = (Worker::new(1), Map::default());
            store.set(&key(b"slot", 0), junk, Expected::Absent).unwrap();
            assert_eq!(worker.flood(&limit, &mut store, 1, NOW), 2, "{junk:?}");
        }
    }

    /// A store that fails, or that others always write first.
    struct Broken {
        get: Result<(), StoreFailed>,
        set: SetFailed,
        calls: u32,
    }

    impl Store for Broken {
        fn get(&mut self, _: &[u8]) -> Result<Option<(Vec<u8>, Version)>, StoreFailed> {
            self.calls += 1;
            self.get.map(|()| None)
        }

        fn set(&mut self, _: &[u8], _: &[u8], _: Expected) -> Result<(), SetFailed> {
            self.calls += 1;
            Err(self.set)
        }
    }

    #[test]
    fn a_store_that_fails_admits_and_is_counted() {
        let broken = [
            (Err(StoreFailed), SetFailed::Store),
            (Ok(()), SetFailed::Store),
        ];
        for (get, set) in broken {
            let (first, second) = (named(0, "a", 1, false), named(1, "b", 1, false));
            let mut worker = Worker::new(4);
            let mut store = Broken { get, set, calls: 0 };
            for _ in 0..3 {
                assert_eq!(
                    worker.check(&[&first], &mut store, 1, NOW),
                    Verdict::Admitted
                );
                assert_eq!(
                    worker.check(&[&first, &second], &mut store, 1, NOW),
                    Verdict::Admitted
                );
            }
            assert_eq!(worker.events, [Event::StoreFailed; 9]);
        }
    }

    #[test]
    fn contention_without_end_refuses_soon_and_is_counted() {
        let mut store = Broken {
            get: Ok(()),
            set: SetFailed::Outrun,
            calls: 0,
        };
        let mut worker = Worker::new(4);
        let verdict = worker.check(&[&named(3, "a", 1, false)], &mut store, 1, NOW);
        assert_eq!(
            verdict,
            Verdict::Refused {
                claim: 0,
                retry_after: NS
            }
        );
        assert_eq!(worker.events[0], Event::Contended(3));
        assert!(
            worker.events[1..]
                .iter()
                .all(|event| *event == Event::Retry)
        );
        assert!(store.calls <= 16, "{}", store.calls);
        let verdict = worker.check(&[&named(3, "a", 1, true)], &mut store, 1, NOW);
        assert_eq!(verdict, Verdict::Admitted);
    }

    #[test]
    fn keys_tell_clients_apart_by_their_parts() {
        let worker = Worker::new(4);
        let id = |part: &KeyPart, pairs: &[(&[u8], &[u8])], ip: Option<&str>| {
            let headers = Headers::from_pairs(pairs);
            let limit = RateLimit {
                key: vec![part.clone(), KeyPart::Path],
                ..limit(1, SECOND, 1)
            };
            let address = ip.map(|ip| ip.parse().unwrap());
            worker
                .limits
                .claim(&limit, &Request::new(&headers), address)
                .id
        };
        let all_differ = |ids: &[u64]| {
            let mut unique = ids.to_vec();
            unique.sort_unstable();
            unique.dedup();
            unique.len() == ids.len()
        };

        let ip = |ip| id(&KeyPart::ClientIp, &[], ip);
        assert!(all_differ(&[
            ip(None),
            ip(Some("1.2.3.4")),
            ip(Some("::1")),
            ip(Some("0.0.0.0")),
            ip(Some("::"))
        ]));
        assert_eq!(ip(Some("::ffff:1.2.3.4")), ip(Some("1.2.3.4")));

        let part = KeyPart::Header(b"h"[..].into());
        let header = |pairs: &[(&[u8], &[u8])]| id(&part, pairs, None);
        assert!(all_differ(&[
            header(&[]),
            header(&[(b"h", b"")]),
            header(&[(b"h", b""), (b"h", b"")]),
            header(&[(b"h", b"ab")]),
            header(&[(b"h", b"a"), (b"h", b"b")]),
            header(&[(b"h", b"b"), (b"h", b"a")]),
            header(&[(b"h", b"\xff")]),
        ]));
        assert_eq!(
            header(&[(b"i", b"x"), (b"h", b"a")]),
            header(&[(b"h", b"a"), (b"i", b"y")])
        );

        let part = KeyPart::Cookie(b"c"[..].into());
        let cookie = |value: &[u8]| id(&part, &[(b"cookie", value)], None);
        assert!(all_differ(&[
            cookie(b""),
            cookie(b"c="),
            cookie(b"c=1"),
            cookie(b"c=2; c=1")
        ]));
        assert_eq!(cookie(b"d=1"), cookie(b""));
        assert_eq!(cookie(b"c=1; c=2"), cookie(b"c=1"));

        let part = KeyPart::Query(b"q"[..].into());
        let query = |path: &[u8]| id(&part, &[(b":path", path)], None);
        assert!(all_differ(&[
            query(b"/"),
            query(b"/?q"),
            query(b"/?q=1"),
            query(b"/?q=%2B"),
            query(b"/x?q=1")
        ]));
        assert_eq!(query(b"/?q=%31"), query(b"/?%71=1&q=2"));
    }

    #[test]
    fn refusals_say_when_to_come_back_in_whole_seconds() {
        let texts = |limit: &RateLimit, retry_after| {
            refusal_headers(limit, retry_after)
                .map(|(name, value)| (name, String::from_utf8(value).unwrap()))
        };
        assert_eq!(
            texts(&limit(5, 60 * SECOND, 9), 11 * SECOND + NS),
            [
                (&b"retry-after"[..], "12".to_owned()),
                (b"ratelimit-policy", "\"limit\";q=5;w=60".to_owned()),
                (b"ratelimit", "\"limit\";r=0;t=12".to_owned()),
            ]
        );
        for (wait, seconds) in [
            (NS, "1"),
            (SECOND, "1"),
            (SECOND + NS, "2"),
            (Nanos::MAX, "18446744074"),
        ] {
            assert_eq!(texts(&limit(1, NS, 1), wait)[0].1, seconds);
        }
    }

    #[test]
    fn policies_are_structured_fields_with_the_exact_rate() {
        let policy = |name: &str, requests, per| {
            let limit = RateLimit {
                name: name.into(),
                ..limit(requests, per, 1)
            };
            let [_, (_, policy), _] = refusal_headers(&limit, NS);
            String::from_utf8(policy).unwrap()
        };
        for (requests, per, expected) in [
            (100, SECOND / 4, r#""a";q=400;w=1"#),
            (2, 3 * SECOND / 2, r#""a";q=4;w=3"#),
            (7, 3600 * SECOND, r#""a";q=7;w=3600"#),
            (1, Nanos::MILLISECOND, r#""a";q=1000;w=1"#),
            (u32::MAX, SECOND - NS, r#""a";q=4294967295"#),
        ] {
            assert_eq!(policy("a", requests, per), expected);
        }
        for (name, expected) in [
            ("a\"b\\c", r#""a\"b\\c";q=1;w=1"#),
            ("한", r#""%ed%95%9c";q=1;w=1"#),
        ] {
            assert_eq!(policy(name, 1, SECOND), expected);
        }
    }
}

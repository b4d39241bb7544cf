//! The table of buckets: a fixed number of records, whatever clients send.
//!
//! A key of shared data for each client would be a leak that clients drive, because shared data
//! knows no delete. So buckets lie in slots of a fixed set of records: `max_keys` slots altogether,
//! up to 64 in a record. A hash under a secret seed gives the client's record and its id there, so
//! no client can choose whose record it shares. A new bucket takes a free slot, or that of a bucket
//! that is full, because to forget a full bucket changes nothing. Ids cover the limit's name and
//! numbers too; a limit that is changed begins with full buckets.
//!
//! **Overflow.** Where all slots of its record are in use, a client without a slot is charged to the
//! overflow bucket, which its limit has for all such clients. It must not get a second burst when it
//! gets a slot later. So a record also holds an *initial TAT* for each limit, with which new buckets
//! of the limit begin. Before the overflow bucket is charged, the initial TAT in the client's record
//! is raised to the TAT that the overflow bucket will have after the charge. Then the bucket that a
//! client is charged to is never fuller than one that was charged for all its admitted requests:
//!
//! - the overflow bucket was charged for all of them, and for those of other clients;
//! - a new bucket begins with an initial TAT that is no earlier than the overflow bucket's was when
//!   this client was last charged to it;
//! - a slot is given to another client only when its bucket is full.
//!
//! The price: a client that is new to a record with an initial TAT may find a bucket that is not
//! full.

use super::gcra::Tat;
use super::record::{Bucket, Record};
use super::{BucketRef, RateLimit, RateLimitEvent, RateLimits};
use crate::port::Store;
use crate::shared::keys::{self, BucketsKey};
use crate::shared::{Update, UpdateError};
use crate::time::Nanos;

/// 64 slots are 1.3 kB, which costs the same to read as one slot, and are enough for the load of
/// records to even out.
const SLOTS: u64 = 64;

/// How often a charge to an overflow bucket is tried; each try is two writes that may have to be
/// repeated themselves.
const OVERFLOW_ATTEMPTS: u32 = 4;

/// What is the same for all limits of a request.
pub(super) struct CheckContext<'a> {
    pub(super) store: &'a mut dyn Store,
    pub(super) now: Nanos,
    pub(super) events: &'a mut Vec<RateLimitEvent>,
}

/// What to do to a bucket that admits the request.
#[derive(Clone, Copy)]
pub(super) enum Mode {
    /// Nothing.
    Peek,
    /// Charge it.
    Charge,
    /// Charge it; where the record has no slot for the client, raise the limit's initial TAT to this
    /// one.
    ChargeOrRaiseInitial(Tat),
}

/// What a bucket says to a request.
pub(super) enum BucketVerdict {
    /// It admits the request, and was charged unless this was a peek.
    Admitted(Charge),
    /// It refuses the request until this instant.
    Refused(Nanos),
    /// The record has no slot for the client. The time is the record's.
    NoSlot(Nanos),
}

/// What it takes to refund a charge.
pub(super) struct Charge {
    key: BucketsKey,
    id: u64,
    /// When the bucket will be full after the charge.
    full_at: Nanos,
}

impl RateLimits {
    /// Checks the client's own bucket.
    pub(super) fn check_slot(
        &mut self,
        bucket: &BucketRef<'_>,
        mode: Mode,
        context: &mut CheckContext<'_>,
    ) -> Result<BucketVerdict, UpdateError> {
        let slots = u64::from(self.table.max_keys);
        // Every slot is as likely, so a last record with fewer slots gets fewer clients.
        let number = ((u128::from(bucket.id) * u128::from(slots)) >> 64) as u64 / SLOTS;
        let slots = (slots - number * SLOTS).min(SLOTS);
        let key = keys::buckets(number);
        let (seed, now, limit) = (self.seed, context.now, bucket.limit);
        self.cache.update(context.store, &key, &mut |bytes| {
            let mut record = Record::read(bytes, now);
            if let Some(tat) = record.find(bucket.id) {
                let bucket = Bucket { id: bucket.id, tat };
                return check_bucket(record, limit, key, bucket, mode);
            }
            let initial_id = limit.own_bucket_id(seed);
            let initial = record.find(initial_id).unwrap_or_default();
            if record.has_room(slots) {
                let bucket = Bucket {
                    id: bucket.id,
                    tat: initial,
                };
                return check_bucket(record, limit, key, bucket, mode);
            }
            let no_slot = BucketVerdict::NoSlot(record.now);
            match mode {
                Mode::ChargeOrRaiseInitial(tat) if initial < tat => {
                    record.put(Bucket {
                        id: initial_id,
                        tat,
                    });
                    record.write(no_slot)
                }
                _ => record.keep(no_slot),
            }
        })
    }

    /// Checks the limit's overflow bucket. Before it is charged, the limit's initial TAT in the
    /// client's record is raised to what the overflow bucket's will be: a client that gets a slot in
    /// between has been charged for this request already. `now` is the time of the client's record,
    /// because buckets that this record forgot were full by then.
    pub(super) fn check_overflow(
        &mut self,
        bucket: &BucketRef<'_>,
        mode: Mode,
        mut now: Nanos,
        context: &mut CheckContext<'_>,
    ) -> Result<BucketVerdict, UpdateError> {
        let limit = bucket.limit;
        let id = limit.own_bucket_id(self.seed);
        let key = keys::overflow_bucket(id >> 1);
        let mut raised = Tat::default();
        for _ in 0..OVERFLOW_ATTEMPTS {
            // Only a peek, as long as the TAT after the charge would be later than the initial TAT.
            let mut next = raised;
            let verdict = self.cache.update(context.store, &key, &mut |bytes| {
                let record = Record::read(bytes, now);
                let tat = record.find(id).unwrap_or_default();
                next = limit.quota.admit(tat, record.now).unwrap_or(raised);
                let mode = if next > raised { Mode::Peek } else { mode };
                check_bucket(record, limit, key, Bucket { id, tat }, mode)
            })?;
            if next <= raised || matches!(mode, Mode::Peek) {
                return Ok(verdict);
            }
            raised = next;
            match self.check_slot(bucket, Mode::ChargeOrRaiseInitial(raised), context)? {
                BucketVerdict::NoSlot(time) => now = time,
                verdict => return Ok(verdict),
            }
        }
        Err(UpdateError::Contended)
    }

    /// Takes a charge back, unless the bucket would be full by now even with it: then there is
    /// nothing to refund, and to do so would admit one request too many.
    pub(super) fn refund(
        &mut self,
        limit: &RateLimit,
        charge: &Charge,
        context: &mut CheckContext<'_>,
    ) {
        let now = context.now;
        let result = self.cache.update(context.store, &charge.key, &mut |bytes| {
            let mut record = Record::read(bytes, now);
            match record.find(charge.id) {
                Some(tat) if record.now <= charge.full_at => {
                    record.put(Bucket {
                        id: charge.id,
                        tat: tat.earlier(&limit.quota),
                    });
                    record.write(())
                }
                _ => record.keep(()),
            }
        });
        context.events.extend(match result {
            Ok(()) => None,
            Err(UpdateError::Contended) => Some(RateLimitEvent::Contended(limit.index)),
            Err(UpdateError::Store) => Some(RateLimitEvent::StoreFailed),
        });
    }
}

/// Checks a bucket of a record, and charges it unless this is only a peek.
fn check_bucket(
    mut record: Record,
    limit: &RateLimit,
    key: BucketsKey,
    Bucket { id, tat }: Bucket,
    mode: Mode,
) -> Update<BucketVerdict> {
    match limit.quota.admit(tat, record.now) {
        Err(until) => record.keep(BucketVerdict::Refused(until)),
        Ok(tat) => {
            let admitted = BucketVerdict::Admitted(Charge {
                key,
                id,
                full_at: tat.ns,
            });
            if let Mode::Peek = mode {
                return Update::KeepStale(admitted);
            }
            record.put(Bucket { id, tat });
            record.write(admitted)
        }
    }
}

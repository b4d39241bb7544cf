//! The table of buckets: a fixed number of records, whatever clients send.
//!
//! A key of shared data for each client would be a leak that clients drive, because shared data
//! knows no delete. So buckets lie in slots of a fixed set of records: `max_keys` slots altogether,
//! up to 64 in a record, and as many again for shadow limits, so that these never take a slot of a
//! limit that refuses. Hashes under a secret seed give the client's record and its id there, so no
//! client can choose whose record it shares. Ids cover the limit's name and numbers too; a limit
//! that is changed begins with full buckets.
//!
//! **Making room.** A new bucket takes a free slot, or that of a bucket that is full, because to
//! forget a full bucket changes nothing. Where there is neither, one bucket is merged into a *mark*
//! of its client's network: the mark is raised to the bucket's TAT, and buckets of that network
//! that are new to the record begin with the mark's TAT. [`room`](super::record::room) says which
//! bucket: one of whoever holds the most slots of the record. So an attacker gives its own slots,
//! and its debts lie on its own network. A record has room for 64 marks of networks; past these,
//! they are merged into those of wider networks, and at last into the limit's, again by whoever has
//! the most.
//!
//! A client's bucket is then never fuller than one that was charged for all its admitted requests,
//! so over any window they are at most `burst` + rate × window:
//!
//! - all its requests go to one record, whose time does not run backwards;
//! - a bucket is forgotten only when it is full, and merged only into a mark that covers it; marks
//!   are never lowered, forgotten only when past, and merged only into marks that cover what they
//!   cover;
//! - a new bucket begins with the latest TAT of all marks that cover it.
//!
//! That an upper bound of many clients' debts is kept in few cells, and each client's is read from
//! the cells that cover it, is the idea of multistage filters (Estan, Varghese, "New directions in
//! traffic measurement and accounting", 2002).
//!
//! **Networks.** A client's *site* is its IPv4 address or its IPv6 /48, which is what one customer
//! gets; its *region* is the IPv4 /16 or IPv6 /32, which is what one provider gets; a key with
//! shorter prefixes makes them no longer than these. All buckets that a limit has for a site lie in
//! [`RECORDS_OF_SITE`] records, so that an attacker with one network reaches hardly any newcomer's.
//! Where the key does not have the client's address, clients of all networks share a bucket. Its
//! record and mark follow from its id, and its owner is the network that made it. A network that
//! holds the most slots of such a record makes no room: the request is refused until a bucket of
//! its network is full.
//!
//! The price: a client whose bucket, or whose neighbour's bucket, was merged may find a bucket that
//! is not full.
//!
//! Requests of a busy client are charged many at a time, see [`super::lease`].

use super::gcra::Tat;
use super::record::{Bucket, Owner, Record, Room};
use super::{BucketRef, RateLimit, RateLimitEvent, RateLimits};
use crate::http::key::{feed_address, network};
use crate::port::Store;
use crate::shared::keys::{self, BucketsKey};
use crate::shared::{Update, UpdateError};
use crate::siphash::{Seed, mixed};
use crate::time::Nanos;
use std::net::IpAddr;

/// 64 slots are 1.8 kB, which costs about the same to read as one slot, and are enough for the load
/// of records to even out.
const SLOTS: u64 = 64;

/// In how many records a limit's buckets of one site lie: enough slots for the people behind one
/// address, and few enough that 10,000 attacking addresses are not in every record.
const RECORDS_OF_SITE: u64 = 4;

/// The prefix lengths of sites and regions, of IPv4 and of IPv6.
const SITE: [u8; 2] = [32, 48];
const REGION: [u8; 2] = [16, 32];

/// Whose the buckets of a client are, and the hash of its site. `prefixes` are those of the
/// addresses in the limit's key.
#[expect(clippy::cast_possible_truncation, reason = "a tag is a part of a hash")]
pub(super) fn owner(
    seed: Seed,
    limit: &RateLimit,
    client: Option<IpAddr>,
    prefixes: Option<[u8; 2]>,
) -> (Owner, u64) {
    let [v4, v6] = prefixes.unwrap_or([32, 128]);
    let hash = |[of_v4, of_v6]: [u8; 2]| {
        let mut hash = limit.bucket_hash(seed);
        let network = client.map(|client| network(client, of_v4.min(v4), of_v6.min(v6)));
        feed_address(&mut hash, network);
        hash.finish()
    };
    let site = hash(SITE);
    let owner = Owner {
        limit: (limit.identity >> 32) as u32,
        region: hash(REGION) as u16 | 1,
        site: site as u16 | 1,
    };
    (owner, site)
}

/// What the record of a bucket is chosen by. All numbers are as likely.
pub(super) fn record_hash(id: u64, site: u64, shared: bool) -> u64 {
    match shared {
        true => id,
        false => mixed(site.wrapping_add(id >> 32 & (RECORDS_OF_SITE - 1))),
    }
}

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
}

/// What a bucket says to a request, and whether the client found the table full.
pub(super) struct BucketVerdict {
    /// The charge, which was made unless this was a peek; or until when the request is refused.
    pub(super) result: Result<Charge, Nanos>,
    /// The client's bucket was new, and took the slot of one that was not full, or did not get one,
    /// or was refused for what the client's network owes.
    pub(super) is_overflow: bool,
    /// How many requests were charged ahead of time.
    leased: u32,
}

/// What it takes to refund a charge.
pub(super) enum Charge {
    /// The bucket was charged.
    Bucket {
        key: BucketsKey,
        id: u64,
        /// When the bucket will be full after the charge.
        full_at: Nanos,
    },
    /// It was charged before, with a lease.
    Leased { id: u64 },
}

impl RateLimits {
    /// Takes a request that was charged already, if there is one. No host call.
    pub(super) fn check_lease(
        &mut self,
        bucket: &BucketRef<'_>,
        mode: Mode,
        now: Nanos,
    ) -> Option<Charge> {
        bucket.limit.lease?;
        let has = match mode {
            Mode::Peek => self.leases.has(bucket.id, now),
            Mode::Charge => self.leases.take(bucket.id, now),
        };
        has.then_some(Charge::Leased { id: bucket.id })
    }

    /// The same of all buckets of a request, or of none. Returns whether it was all.
    pub(super) fn check_leases(&mut self, buckets: &[BucketRef<'_>], now: Nanos) -> bool {
        let missing = buckets
            .iter()
            .position(|bucket| self.check_lease(bucket, Mode::Charge, now).is_none());
        for taken in buckets.iter().take(missing.unwrap_or(0)) {
            self.leases.give_back(taken.id);
        }
        missing.is_none()
    }

    /// Checks the client's bucket, and leases more with a charge.
    pub(super) fn check_slot(
        &mut self,
        bucket: &BucketRef<'_>,
        mode: Mode,
        context: &mut CheckContext<'_>,
    ) -> Result<BucketVerdict, UpdateError> {
        let (owner, site) = bucket.owner(self.seed);
        let record_hash = record_hash(bucket.id, site, bucket.limit.prefixes.is_none());
        let slots = u64::from(self.table.max_keys);
        // Every slot is as likely, so a last record with fewer slots gets fewer clients.
        let number = ((u128::from(record_hash) * u128::from(slots)) >> 64) as u64 / SLOTS;
        let slots = (slots - number * SLOTS).min(SLOTS);
        let (limit, now) = (bucket.limit, context.now);
        let key = match limit.shadow {
            false => keys::buckets(self.scope, number),
            true => keys::shadow_buckets(self.scope, number),
        };
        let lease = limit.lease.filter(|_| matches!(mode, Mode::Charge));
        let wanted = lease.map_or(0, |_| self.leases.wanted(bucket.id, now));
        let check = Check {
            key,
            slots,
            bucket,
            owner,
            mode,
            wanted,
        };
        let verdict = self.cache.update(context.store, &key, &mut |bytes| {
            check.record(Record::read(bytes, now))
        })?;
        if let (Some(length), Ok(_)) = (lease, &verdict.result) {
            let leased = verdict.leased;
            self.leases.charged(bucket.id, now, length, leased);
        }
        Ok(verdict)
    }

    /// Takes a charge back, unless the bucket would be full by now even with it: then there is
    /// nothing to refund, and to do so would admit one request too many. A lease that another
    /// worker took since may have moved a bucket on that is as full as that, so the same holds for
    /// the length of one. A bucket that was merged since keeps the charge.
    pub(super) fn refund(
        &mut self,
        limit: &RateLimit,
        charge: &Charge,
        context: &mut CheckContext<'_>,
    ) {
        let (key, id, full_at) = match charge {
            Charge::Bucket { key, id, full_at } => (key, *id, *full_at),
            Charge::Leased { id } => return self.leases.give_back(*id),
        };
        let now = context.now;
        let length = limit.lease.unwrap_or_default();
        let result = self.cache.update(context.store, key, &mut |bytes| {
            let mut record = Record::read(bytes, now);
            match record.find(id) {
                Some((place, bucket)) if record.now + length <= full_at => {
                    let tat = bucket.tat.earlier(&limit.quota);
                    record.put_at(place, Bucket { tat, ..bucket });
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

/// A check of a bucket.
struct Check<'a> {
    key: BucketsKey,
    /// The slots of the record.
    slots: u64,
    bucket: &'a BucketRef<'a>,
    owner: Owner,
    mode: Mode,
    /// How many requests to lease with a charge.
    wanted: u32,
}

impl Check<'_> {
    /// Checks the bucket in its record, and charges it unless this is only a peek.
    fn record(&self, record: Record) -> Update<BucketVerdict> {
        match record.find(self.bucket.id) {
            Some((place, own)) => self.known(record, place, own),
            None => self.newcomer(record),
        }
    }

    /// The record has the bucket.
    fn known(&self, mut record: Record, place: usize, mut own: Bucket) -> Update<BucketVerdict> {
        let limit = self.bucket.limit;
        let ahead = limit.lease.filter(|_| self.wanted > 0);
        let ahead =
            ahead.and_then(|length| limit.quota.lease(own.tat, record.now, length, self.wanted));
        let (tat, leased) = match ahead {
            Some(ahead) => ahead,
            None => match limit.quota.admit(own.tat, record.now) {
                Ok(tat) => (tat, 0),
                Err(until) => return refused(record, until, false),
            },
        };
        own.tat = tat;
        let admitted = self.admitted(&own, leased, false);
        if let Mode::Peek = self.mode {
            return Update::KeepStale(admitted);
        }
        record.put_at(place, own);
        record.write(admitted)
    }

    /// The record does not have it: it begins with what its client's network owes.
    fn newcomer(&self, mut record: Record) -> Update<BucketVerdict> {
        let mut own = Bucket {
            id: self.bucket.id,
            owner: self.owner,
            tat: Tat::default(),
        };
        let initial = record.initial(&own);
        own.tat = match self.bucket.limit.quota.admit(initial, record.now) {
            Err(until) => return refused(record, until, true),
            Ok(tat) => tat,
        };
        let old = match record.room(self.slots, &own) {
            Room::None(other) => {
                let until = other.tat.ns + Nanos::new((other.tat.part > 0).into());
                return refused(record, until, true);
            }
            Room::Free => None,
            Room::Merge(old) => Some(old),
        };
        let admitted = self.admitted(&own, 0, old.is_some());
        if let Mode::Peek = self.mode {
            return Update::KeepStale(admitted);
        }
        match old {
            None => record.add(own),
            Some(old) => record.merge(&old, own),
        }
        record.write(admitted)
    }

    fn admitted(&self, own: &Bucket, leased: u32, is_overflow: bool) -> BucketVerdict {
        BucketVerdict {
            result: Ok(Charge::Bucket {
                key: self.key,
                id: own.id,
                full_at: own.tat.ns,
            }),
            is_overflow,
            leased,
        }
    }
}

/// The bucket refuses the request, which writes nothing.
fn refused(record: Record, until: Nanos, is_overflow: bool) -> Update<BucketVerdict> {
    record.keep(BucketVerdict {
        result: Err(until),
        is_overflow,
        leased: 0,
    })
}

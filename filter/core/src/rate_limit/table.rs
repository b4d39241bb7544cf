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
}

/// What it takes to refund a charge.
pub(super) struct Charge {
    key: BucketsKey,
    id: u64,
    /// When the bucket will be full after the charge.
    full_at: Nanos,
}

impl RateLimits {
    /// Checks the client's bucket.
    pub(super) fn check_slot(
        &mut self,
        bucket: &BucketRef<'_>,
        mode: Mode,
        context: &mut CheckContext<'_>,
    ) -> Result<BucketVerdict, UpdateError> {
        let slots = u64::from(self.table.max_keys);
        // Every slot is as likely, so a last record with fewer slots gets fewer clients.
        let number = ((u128::from(bucket.record_hash) * u128::from(slots)) >> 64) as u64 / SLOTS;
        let slots = (slots - number * SLOTS).min(SLOTS);
        let (limit, now) = (bucket.limit, context.now);
        let key = match limit.shadow {
            false => keys::buckets(number),
            true => keys::shadow_buckets(number),
        };
        self.cache.update(context.store, &key, &mut |bytes| {
            check_record(Record::read(bytes, now), key, slots, bucket, mode)
        })
    }

    /// Takes a charge back, unless the bucket would be full by now even with it: then there is
    /// nothing to refund, and to do so would admit one request too many. A bucket that was merged
    /// since keeps it.
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
                Some(bucket) if record.now <= charge.full_at => {
                    record.put(Bucket {
                        tat: bucket.tat.earlier(&limit.quota),
                        ..bucket
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

/// Checks a bucket of a record with so many slots, and charges it unless this is only a peek.
fn check_record(
    mut record: Record,
    key: BucketsKey,
    slots: u64,
    bucket: &BucketRef<'_>,
    mode: Mode,
) -> Update<BucketVerdict> {
    let found = record.find(bucket.id);
    let is_new = found.is_none();
    let mut own = found.unwrap_or(Bucket {
        id: bucket.id,
        owner: bucket.owner,
        tat: Tat::default(),
    });
    if is_new {
        own.tat = record.initial(&own);
    }
    let refused = |record: Record, until| {
        record.keep(BucketVerdict {
            result: Err(until),
            is_overflow: is_new,
        })
    };
    own.tat = match bucket.limit.quota.admit(own.tat, record.now) {
        Err(until) => return refused(record, until),
        Ok(tat) => tat,
    };
    let room = match is_new {
        true => record.room(slots, &own),
        false => Room::Free,
    };
    let old = match room {
        Room::None(other) => {
            let until = other.tat.ns + Nanos::new((other.tat.part > 0).into());
            return refused(record, until);
        }
        Room::Free => None,
        Room::Merge(old) => Some(old),
    };
    let admitted = BucketVerdict {
        result: Ok(Charge {
            key,
            id: own.id,
            full_at: own.tat.ns,
        }),
        is_overflow: old.is_some(),
    };
    if let Mode::Peek = mode {
        return Update::KeepStale(admitted);
    }
    match old {
        None => record.put(own),
        Some(old) => record.merge(&old, own),
    }
    record.write(admitted)
}

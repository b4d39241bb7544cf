//! Leases: requests of a busy client that a worker has charged ahead of time, so that the next ones
//! need no host call.
//!
//! A worker that admits the second request of a client within [`LEASE`] charges one more with it,
//! and keeps that for the client's next request. While what it leased is used up in half the time,
//! it leases twice as many, up to [`MOST`]; if some are left when the lease is over, they lapse, and
//! the next lease has half of what was used. What lapses is lost to the client, and what a VM holds
//! when it traps too. So a lease is at most a 32nd of what is left above half of the bucket: the
//! other half is charged request by request, exactly, and that is what a client that is refused has
//! used up. A client that stays within half of its burst is never refused.
//!
//! **No window has more.** A lease of *k* requests at *c* ends at *e*. It moves the TAT, from *e*
//! where the TAT is before that, on by *k*·T, and it is over at *e*. Take any window from *a* to
//! *b*, and the *n* requests in it, of whatever workers. Each is used no later than its lease ends,
//! so all these leases ended at *a* or later. So the first of them moved the TAT to *a* or later
//! and then on by T for each request, and so did the others: the TAT is at least *a* + *n*·T. And
//! the last charge of them, at *b* or earlier, left it at *b* + τ at most. So *n*·T ≤ τ + *b* − *a*,
//! the same bound as without leases.
//!
//! A lease takes part in the debt of its client's bucket and is nowhere else in the record: if the
//! bucket makes room, the mark has that debt too. A bucket is forgotten when its TAT is past, and
//! by then all its leases are over.
//!
//! Only limits of more than 100 requests/s have leases: under the others no client is busy for
//! long. A limit with a short burst has shorter leases, of a quarter of what its bucket holds.

use super::gcra::Quota;
use crate::time::Nanos;

/// For how long leased requests can be used.
const LEASE: Nanos = Nanos::from_millis(10);

/// The most requests of one lease.
const MOST: u32 = 127;

/// Clients whose leases a worker keeps: two in each set. 20 kB.
const SETS: usize = 256;
const CLIENTS_OF_SET: usize = 2;

/// How long a lease from a bucket of this size can be used. None: it has no leases.
pub(super) fn length(quota: &Quota) -> Option<Nanos> {
    let tau = quota.per.checked_mul(quota.burst.into());
    let tau = tau.map_or(Nanos::MAX, |tau| tau / u64::from(quota.requests.max(1)));
    let length = LEASE.min(tau / 4);
    // T is shorter.
    let requests = length.checked_mul(quota.requests.into());
    (quota.per < requests?).then_some(length)
}

/// What one worker has leased, by the id of the bucket. Bounded: clients choose what the keys are,
/// and not how much memory they take. A client that has a lease keeps its place; one that has none
/// gives it to any other.
#[derive(Debug, Default)]
pub(super) struct Leases {
    /// Empty until the first charge of a limit that has leases.
    sets: Vec<[Lease; CLIENTS_OF_SET]>,
}

/// The last charge of a client, and what was leased with it.
#[derive(Clone, Copy, Debug, Default)]
struct Lease {
    id: u64,
    since: Nanos,
    length: Nanos,
    took: u32,
    left: u32,
}

impl Lease {
    /// Whether it is not over. A clock that was set back ends it.
    fn lasts(&self, now: Nanos) -> bool {
        let age = now.checked_sub(self.since);
        age.is_some_and(|age| age < self.length)
    }

    /// How many requests to lease next, once nothing of this can be used any more.
    fn next(&self, now: Nanos) -> u32 {
        let Some(age) = now.checked_sub(self.since) else {
            return 0;
        };
        if age < self.length / 2 {
            (self.took * 2 + 1).min(MOST)
        } else if age < self.length {
            self.took.max(1)
        } else if age / 2 < self.length {
            (self.took - self.left) / 2
        } else {
            0
        }
    }
}

impl Leases {
    /// Whether a request of this bucket was charged already.
    pub(super) fn has(&mut self, id: u64, now: Nanos) -> bool {
        self.find(id)
            .is_some_and(|lease| lease.left > 0 && lease.lasts(now))
    }

    /// Takes a request that was charged already, if there is one.
    pub(super) fn take(&mut self, id: u64, now: Nanos) -> bool {
        let lease = self.find(id);
        let lease = lease.filter(|lease| lease.left > 0 && lease.lasts(now));
        lease.map(|lease| lease.left -= 1).is_some()
    }

    /// Gives a request back that was just taken.
    pub(super) fn give_back(&mut self, id: u64) {
        if let Some(lease) = self.find(id).filter(|lease| lease.left < lease.took) {
            lease.left += 1;
        }
    }

    /// How many requests to lease with the next charge of this bucket.
    pub(super) fn wanted(&mut self, id: u64, now: Nanos) -> u32 {
        self.find(id).map_or(0, |lease| lease.next(now))
    }

    /// A bucket was charged for a request, and for so many more ahead of time.
    pub(super) fn charged(&mut self, id: u64, now: Nanos, length: Nanos, leased: u32) {
        if self.sets.is_empty() {
            self.sets = vec![Default::default(); SETS];
        }
        let Some(set) = self.set(id) else {
            return;
        };
        let gives = |lease: &&mut Lease| lease.took == 0 || !lease.lasts(now);
        let place = match set.iter().position(|lease| lease.id == id) {
            Some(place) => set.get_mut(place),
            None => set.iter_mut().filter(gives).min_by_key(|lease| lease.since),
        };
        if let Some(place) = place {
            *place = Lease {
                id,
                since: now,
                length,
                took: leased,
                left: leased,
            };
        }
    }

    /// Everything that was leased lapses.
    #[cfg(test)]
    pub(super) fn clear(&mut self) {
        self.sets.clear();
    }

    /// Of how many clients there are leases at most.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.sets.iter().flatten().count()
    }

    fn find(&mut self, id: u64) -> Option<&mut Lease> {
        self.set(id)?.iter_mut().find(|lease| lease.id == id)
    }

    /// Ids are hashes under the secret seed, so no client can choose whose set it shares.
    fn set(&mut self, id: u64) -> Option<&mut [Lease; CLIENTS_OF_SET]> {
        self.sets.get_mut((id >> 56) as usize)
    }
}

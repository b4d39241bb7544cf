//! The lease on the probes of a pool: the worker that holds it sends them.
//!
//! It is an entry of the pool's record. Its holder renews it each `interval`; one that was not
//! renewed for [`LEASE_PERCENT`] of an interval has expired, and any worker can acquire it. Each
//! worker looks at it when the lease that it knows of expires, so the probes of a worker that died
//! go on within two intervals.
//!
//! After a reload a worker of the later configuration takes the lease from one of an earlier. That
//! worker lives for as long as it has a request under way, and would never probe new targets.

use super::Active;
use crate::entropy::WorkerId;
use crate::pool::Pool;
use crate::pool::health::record::{self, HealthEntry};
use crate::pool::health::{Health, is_pending, known_mut};
use crate::port::Port;
use crate::shared::Update;
use crate::time::Nanos;

impl Health {
    /// Renews the lease on a pool's probes, or acquires it if no other worker holds it.
    pub(super) fn renew_or_acquire_lease(
        &mut self,
        port: &mut dyn Port,
        pool: &Pool,
        active: &Active,
        now: Nanos,
    ) {
        let Some(known) = known_mut(&mut self.pools, &mut self.events, pool) else {
            return;
        };
        let longest = active.interval * LEASE_PERCENT / 100;
        if is_pending(known.prober.lease_due, longest, now) {
            return;
        }
        let (worker, id, ids) = (self.worker, known.lease_id, &known.ids);
        let lease = self.cache.update(port, &known.key, &mut |bytes| {
            let mut entries = record::decode(bytes);
            if let Some(lease) = entries.iter().find(|entry| entry.id == id)
                && !may_acquire(lease, worker, longest, now)
            {
                return Update::Keep(Err(lease.lease_expires()));
            }
            entries.retain(|entry| entry.id != id);
            entries.push(HealthEntry::lease(id, worker, now + longest, now));
            record::tidy(&mut entries, ids, now);
            Update::Write(record::encode(&entries), Ok(()))
        });
        let prober = &mut known.prober;
        match lease {
            Ok(Ok(())) => {
                if !prober.is_leader {
                    let waits = known.entries.iter().map(|entry| entry.health.is_waiting());
                    prober.lead(waits, active.interval, now);
                }
                prober.lease_due = now + active.interval;
            }
            Ok(Err(expires)) => {
                prober.is_leader = false;
                prober.lease_due = expires;
            }
            // It is not known who holds the lease, so this worker sends nothing until it is.
            Err(_) => prober.is_leader = false,
        }
    }
}

/// Whether a worker may write itself into a lease: its own, one that has expired, or one of an
/// earlier configuration.
fn may_acquire(lease: &HealthEntry, worker: WorkerId, longest: Nanos, now: Nanos) -> bool {
    let holder = lease.lease_holder();
    holder == worker
        || !is_pending(lease.lease_expires(), longest, now)
        || holder.loaded() < worker.loaded()
}

/// How long a lease holds, in hundredths of an interval. It is renewed after 100 of them, or up to
/// a quarter later, which is the time between two ticks.
const LEASE_PERCENT: u64 = 150;

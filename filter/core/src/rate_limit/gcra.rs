//! The rule: the generic cell rate algorithm of ITU-T I.371.
//!
//! A bucket of `burst` requests refills at `requests` per `per`. It is kept as one instant, its
//! theoretical arrival time (TAT): when it will be full again. With the emission interval
//! T = `per`/`requests`, a request moves the TAT on by T, from `now` where the TAT is past, and is
//! refused if the TAT would then lie more than τ = `burst`·T ahead. So over any window the admitted
//! requests are at most `burst` + rate × window, and a client that keeps to that is never refused.
//!
//! T need not be a whole number of nanoseconds: a TAT carries a fraction in units of 1/`requests`
//! nanoseconds, so that neither promise drifts.

use crate::time::Nanos;

/// How many requests a limit admits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Requests per `per`, from 1.
    pub requests: u32,
    /// From 1 ms to 366 days.
    pub per: Nanos,
    /// The size of the bucket in requests, from 1. Default: `requests`.
    pub burst: u32,
}

/// What one lease takes of what is left of a bucket above its half. A worker that is not scheduled
/// for 10 ms loses all of it, and to such a worker that happens again and again.
const LEASES_OF_ROOM: u64 = 32;

/// A theoretical arrival time. The default is past, that of a full bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tat {
    pub(super) ns: Nanos,
    /// A fraction of a nanosecond, in units of one in the quota's `requests`.
    pub(super) part: u32,
}

impl Quota {
    /// The TAT after one more request at `now`; or until when that request is refused.
    pub(super) fn admit(&self, tat: Tat, now: Nanos) -> Result<Tat, Nanos> {
        let Some(next) = tat.max(Tat::from(now)).later(self, 1) else {
            // Past the year 2554, only a bucket that takes centuries to refill.
            return Err(Nanos::MAX);
        };
        // All in units of 1/`requests` ns, in which T is `per`.
        let parts = u128::from(self.parts());
        let ahead = u128::from((next.ns - now).get()) * parts + u128::from(next.part);
        let tau = u128::from(self.burst) * u128::from(self.per.get());
        match ahead.checked_sub(tau) {
            None | Some(0) => Ok(next),
            Some(excess) => {
                let wait = u64::try_from(excess.div_ceil(parts)).unwrap_or(u64::MAX);
                Err(now + Nanos::new(wait))
            }
        }
    }

    /// The TAT after one more request at `now` and up to `most` more ahead of time, with their
    /// number: as if all came when the lease ends, which has this `length`, and a small part of what
    /// is left above half the bucket (see [`super::lease`]). None: that is less than one.
    pub(super) fn lease(
        &self,
        tat: Tat,
        now: Nanos,
        length: Nanos,
        most: u32,
    ) -> Option<(Tat, u32)> {
        let parts = self.parts();
        let start = tat.max(Tat::from(now + length));
        let half = self.per.checked_mul(self.burst.into())? / parts / 2;
        let room = (now + half).checked_sub(start.ns)?;
        let interval = self.per / parts + Nanos::new(1);
        let requests = (room / interval / LEASES_OF_ROOM).min(most.into());
        let next = start.later(self, requests + 1)?;
        (requests > 0).then_some((next, u32::try_from(requests).ok()?))
    }

    /// How many requests a bucket has left at `now` that will be full at this instant.
    pub(super) fn left(&self, full_at: Nanos, now: Nanos) -> u32 {
        let ahead = u128::from(full_at.checked_sub(now).unwrap_or_default().get());
        let used = (ahead * u128::from(self.parts())).div_ceil(u128::from(self.per.get().max(1)));
        let used = u32::try_from(used).unwrap_or(u32::MAX);
        self.burst.saturating_sub(used)
    }

    /// The parts of a nanosecond. A configuration never has 0 requests; this does not divide by 0
    /// even then.
    fn parts(&self) -> u64 {
        self.requests.max(1).into()
    }
}

impl From<Nanos> for Tat {
    fn from(ns: Nanos) -> Tat {
        Tat { ns, part: 0 }
    }
}

impl Tat {
    /// Whether the bucket is full at `now`.
    pub(super) fn is_past(self, now: Nanos) -> bool {
        self <= Tat::from(now)
    }

    /// So many T later. None: after the last instant.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "below `parts`, a number of 32 bits"
    )]
    fn later(self, quota: &Quota, requests: u64) -> Option<Tat> {
        let parts = quota.parts();
        let moved = quota.per.get().checked_mul(requests)?;
        let part = u64::from(self.part) + moved % parts;
        let carry = u64::from(part >= parts);
        Some(Tat {
            ns: self.ns.checked_add(Nanos::new(moved / parts + carry))?,
            part: (part - carry * parts) as u32,
        })
    }

    /// T earlier.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "below `parts`, a number of 32 bits"
    )]
    pub(super) fn earlier(self, quota: &Quota) -> Tat {
        let parts = quota.parts();
        let less = quota.per.get() % parts;
        let borrow = u64::from(u64::from(self.part) < less);
        Tat {
            ns: self.ns - (quota.per / parts + Nanos::new(borrow)),
            part: (u64::from(self.part) + borrow * parts - less) as u32,
        }
    }
}

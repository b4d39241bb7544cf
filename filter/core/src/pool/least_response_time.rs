//! Response times, for `balance: least_response_time`: a decaying average for each target, over all
//! workers. [`crate::pool::balance::least_connections`] chooses by it.
//!
//! **The average.** A sample moves it by Δ/(τ + Δ) of the way, where Δ is the time since it last
//! moved and τ is [`DECAY`]: as Finagle's and linkerd's moving average, with 1/(1 + x) for e^−x,
//! which is close enough and needs no library. It depends on the rate of requests no more than
//! theirs does. Their "peak" rule, by which a sample above the average replaces it, was left out:
//! [`crate::pool::balance::least_connections`] shows what it makes of a heavy tail.
//!
//! **Between workers.** A worker uses its own samples at once. Each [`SYNC_INTERVAL`] it moves the
//! shared average by the mean of its samples, and takes the result over. This happens before a
//! request is sent, and costs one read and one write at most.
//!
//! **The record** is at [`keys::response_times`], and has an entry for each target: its id, the
//! average, and when that last moved, 8 bytes each. Pools whose names hash to the same key share a
//! record, never entries. An entry that did not move for [`ENTRY_TTL`] is not true any more, and is
//! dropped by the next worker that writes. So the entries of targets that are gone make room: after
//! a thousand reloads the record has those of the last minute.
//!
//! **A target without an average** counts as the median of the others. When the clock is set by more
//! than [`ENTRY_TTL`], no average is known, and the first samples are the new ones; when it is set
//! back by less, averages go on moving as if one [`SYNC_INTERVAL`] had passed.

use crate::index::{PoolIndex, TargetIndex};
use crate::pool::balance::Balance;
use crate::pool::{Pool, Target};
use crate::port::Store;
use crate::shared::keys::{self, ResponseTimesKey};
use crate::shared::record::{self, Entry, FieldReader, FieldWriter};
use crate::shared::{RecordCache, Update};
use crate::siphash::SipWriter;
use crate::time::Nanos;
use std::collections::BinaryHeap;
use std::rc::Rc;

/// What one worker knows of response times.
#[derive(Debug)]
pub struct ResponseTimes {
    cache: RecordCache,
    /// One for each pool. None: its balance does not go by response times.
    pools: Vec<Option<PoolTimes>>,
    /// See [`ResponseTimes::take_bugs`].
    bugs: Vec<&'static str>,
}

impl ResponseTimes {
    /// The response times of these pools, as nobody has read them yet.
    pub fn new(pools: &[Rc<Pool>]) -> ResponseTimes {
        let is_timed = |pool: &Pool| pool.balance == Balance::LeastResponseTime;
        ResponseTimes {
            cache: RecordCache::default(),
            pools: pools
                .iter()
                .map(|pool| is_timed(pool).then(|| PoolTimes::new(pool)))
                .collect(),
            bugs: Vec::new(),
        }
    }

    /// Takes over what other workers have measured, and shares what this one has, if the last time
    /// was [`SYNC_INTERVAL`] ago. That is one read and one write at most (unless other workers
    /// write at the same instant). Where shared data fails, a worker goes by its own samples.
    pub fn sync(&mut self, store: &mut dyn Store, pool: &Pool, now: Nanos) {
        let Some(Some(times)) = self.pools.get_mut(pool.index.get()) else {
            return;
        };
        let age = times.synced_at.and_then(|last| now.checked_sub(last));
        if age.is_some_and(|age| age < SYNC_INTERVAL) {
            return;
        }
        times.synced_at = Some(now);
        let shared = self.cache.update(store, &times.key, &mut |bytes| {
            let averages: Vec<Average> = record::decode(bytes.unwrap_or_default()).collect();
            match times.with_own_samples(&averages, now) {
                None => Update::Keep(averages),
                Some(averages) => Update::Write(record::encode(&averages), averages),
            }
        });
        if let Ok(averages) = shared {
            times.replace(&averages);
        }
        times.median = times.median_of_known(now);
    }

    /// A target took so long to answer, to the headers of its response.
    pub fn sample(&mut self, pool: &Pool, target: TargetIndex, took: Nanos, now: Nanos) {
        let Some(times) = self.pools.get_mut(pool.index.get()) else {
            self.bugs.push("response times: no such pool");
            return;
        };
        let Some(times) = times else {
            return;
        };
        let Some(time) = times.targets.get_mut(target.get()) else {
            self.bugs.push("response times: no such target");
            return;
        };
        time.sum += took;
        time.count += 1;
        match &mut time.average {
            Some(average) if average.is_known(now) => average.move_to(took, now),
            average => {
                *average = Some(Average {
                    id: time.id,
                    value: took,
                    moved_at: now,
                });
            }
        }
    }

    /// The average response time. None: there was no sample in the last [`ENTRY_TTL`], or the clock
    /// was set by more than that.
    pub fn of(&self, pool: &Pool, target: TargetIndex, now: Nanos) -> Option<Nanos> {
        let average = self.times(pool)?.targets.get(target.get())?.average?;
        average.is_known(now).then_some(average.value)
    }

    /// The average response time, at least 1 ns. For a target without one it is the median of the
    /// others, as of the last [`ResponseTimes::sync`]; where no target has one, it is the same for
    /// all.
    pub fn guess(&self, pool: &Pool, target: TargetIndex, now: Nanos) -> Nanos {
        let median = || self.times(pool).and_then(|times| times.median);
        self.of(pool, target, now)
            .or_else(median)
            .unwrap_or(Nanos::new(1))
            .max(Nanos::new(1))
    }

    /// Forgets the pools that are not to be `kept`: those in whose place another one is now.
    pub(crate) fn forget(&mut self, kept: impl Fn(PoolIndex) -> bool) {
        self.cache = RecordCache::default();
        for (place, known) in self.pools.iter_mut().enumerate() {
            known.take_if(|_| !kept(PoolIndex::new(place)));
        }
    }

    /// The response times of these pools again, those that were forgotten as nobody has read them
    /// yet.
    pub(crate) fn recall(&mut self, pools: &[Rc<Pool>]) {
        let fresh = ResponseTimes::new(pools);
        for (known, fresh) in self.pools.iter_mut().zip(fresh.pools) {
            *known = known.take().or(fresh);
        }
    }

    /// Whether there are some of these.
    pub(crate) fn has_bugs(&self) -> bool {
        !self.bugs.is_empty()
    }

    /// States that the code rules out, since this was last called; the worker reports them as its
    /// own.
    pub fn take_bugs(&mut self) -> Vec<&'static str> {
        std::mem::take(&mut self.bugs)
    }

    fn times(&self, pool: &Pool) -> Option<&PoolTimes> {
        self.pools.get(pool.index.get())?.as_ref()
    }
}

/// What one worker knows of the targets of one pool.
#[derive(Debug)]
struct PoolTimes {
    /// Of the pool's record.
    key: ResponseTimesKey,
    targets: Vec<TargetTimes>,
    /// The median of all averages. None: there are none.
    median: Option<Nanos>,
    /// When the last [`ResponseTimes::sync`] was. None: never.
    synced_at: Option<Nanos>,
}

/// What one worker knows of one target.
#[derive(Debug)]
struct TargetTimes {
    /// Of its entry in the record.
    id: u64,
    /// That of all workers at the last sync, moved by the samples of this one since.
    average: Option<Average>,
    /// The samples of this worker since the last sync.
    sum: Nanos,
    count: u64,
}

impl PoolTimes {
    fn new(pool: &Pool) -> PoolTimes {
        let mut hash = SipWriter::new(*b"pointsman times.");
        hash.write(pool.name.as_bytes());
        let target = |target: &Target| TargetTimes {
            id: pool.target_identity(target),
            average: None,
            sum: Nanos::ZERO,
            count: 0,
        };
        PoolTimes {
            key: keys::response_times(pool.scope.key(), hash.finish()),
            targets: pool.targets.iter().map(target).collect(),
            median: None,
            synced_at: None,
        }
    }

    /// The averages of a record, moved by the samples of this worker since the last sync. None: it
    /// has none.
    fn with_own_samples(&self, averages: &[Average], now: Nanos) -> Option<Vec<Average>> {
        if self.targets.iter().all(|target| target.count == 0) {
            return None;
        }
        let mut averages: Vec<Average> = averages
            .iter()
            .filter(|average| average.is_known(now))
            .copied()
            .collect();
        for target in &self.targets {
            let Some(mean) = target.sum.checked_div(target.count) else {
                continue;
            };
            match averages.iter_mut().find(|average| average.id == target.id) {
                Some(average) => average.move_to(mean, now),
                None => averages.push(Average {
                    id: target.id,
                    value: mean,
                    moved_at: now,
                }),
            }
        }
        Some(averages)
    }

    /// Takes over the averages of all workers, which have the samples of this one in them.
    fn replace(&mut self, averages: &[Average]) {
        for target in &mut self.targets {
            let shared = averages.iter().find(|average| average.id == target.id);
            target.average = shared.copied();
            (target.sum, target.count) = (Nanos::ZERO, 0);
        }
    }

    fn median_of_known(&self, now: Nanos) -> Option<Nanos> {
        let averages = self.targets.iter().filter_map(|target| target.average);
        let values: BinaryHeap<Nanos> = averages
            .filter(|average| average.is_known(now))
            .map(|average| average.value)
            .collect();
        let middle = values.len() / 2;
        // A heap sorts with a tenth of the code.
        values.into_sorted_vec().get(middle).copied()
    }
}

/// The average response time of one target: an entry of the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Average {
    id: u64,
    value: Nanos,
    moved_at: Nanos,
}

impl Average {
    /// Moves it towards a sample.
    fn move_to(&mut self, sample: Nanos, now: Nanos) {
        let since = now
            .checked_sub(self.moved_at)
            .unwrap_or(SYNC_INTERVAL)
            .min(ENTRY_TTL);
        let (from, to) = (i128::from(self.value.get()), i128::from(sample.get()));
        let moved =
            from + (to - from) * i128::from(since.get()) / i128::from((DECAY + since).get());
        self.value = u64::try_from(moved).map_or(sample, Nanos::new);
        self.moved_at = now;
    }

    fn is_known(&self, now: Nanos) -> bool {
        now.abs_diff(self.moved_at) < ENTRY_TTL
    }
}

impl Entry for Average {
    const SIZE: usize = 24;

    fn read(fields: &mut FieldReader<'_>) -> Option<Average> {
        Some(Average {
            id: fields.u64()?,
            value: fields.nanos()?,
            moved_at: fields.nanos()?,
        })
    }

    fn write(&self, fields: &mut FieldWriter<'_>) {
        fields.u64(self.id);
        fields.nanos(self.value);
        fields.nanos(self.moved_at);
    }
}

/// τ: how long a sample weighs. As Finagle's.
const DECAY: Nanos = Nanos::from_secs(10);

/// How often workers share what they measured. The host does not feel 20 of these a second, and
/// averages that move over seconds lose nothing.
const SYNC_INTERVAL: Nanos = Nanos::from_millis(50);

/// How long an average is known of a target that answers nothing. Longer than `eject` usually is.
const ENTRY_TTL: Nanos = Nanos::from_secs(60);

#[cfg(test)]
mod tests;

//! `health` of a pool: which targets can be sent requests.
//!
//! [`passive`] checks go by the outcomes of requests, [`active`] checks by probes. Both change the
//! state of a target ([`state`]), which is *healthy*, *ejected* or *probing*.
//!
//! All workers share the states: each pool has a record in shared data ([`record`]), and a gauge
//! that rises with each change of it ([`change_gauge`]). A worker reads the record only when the
//! gauge has moved, so health costs a request one read of a gauge (65 ns, no bytes) before it is
//! sent, and nothing more after it, as long as its target has no failures. A change reaches every
//! worker with its next request.
//!
//! **No client alone** ejects a target that answers others: see [`votes`], and [`clients`] for how
//! it is known that there are others.
//!
//! **New and recovered targets** get a rising part of their weight, see
//! [`crate::pool::slow_start`]. A target is new if the record had other targets of its pool, but
//! not this one. Where the record has no target of the pool at all, none of them is new.
//!
//! **Time.** A clock that is set back keeps no target ejected: see [`is_pending`].
//!
//! **What operators see**: [`gauges`] of the states, and a line of the log for each change
//! ([`HealthChange::line`]) by the worker that made it.
//!
//! **When shared data fails**, every worker goes on with the states that it read last. A change
//! that could not be written is made again with the next failure, success or probe.

mod active;
mod change;
mod change_gauge;
mod clients;
mod gauges;
mod passive;
mod record;
mod state;
mod votes;

pub use active::{Active, Initial, Probe, ProbeAnswer, grpc};
pub use change::{HealthChange, LastFailure, Why};
pub use clients::Clients;
pub use passive::Passive;

use crate::entropy::WorkerId;
use crate::index::{PoolIndex, TargetIndex, TargetRef};
use crate::pool::Pool;
use crate::pool::failover::WhenAllUnhealthy;
use crate::pool::pace::Pace;
use crate::pool::slow_start;
use crate::port::Port;
use crate::shared::keys::HealthKey;
use crate::shared::{RecordCache, Update};
use crate::time::Nanos;
use active::prober::Prober;
use change_gauge::ChangeGauge;
use clients::ClientsSeen;
use gauges::{HealthGauges, Shown};
use record::{HealthEntry, OtherTargets, TargetIds};
use state::{TargetHealth, Transition};
use std::rc::Rc;

/// `health` of a pool. Default: no checks, so that every target is healthy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checks {
    /// Checks by the outcomes of requests.
    pub passive: Option<Passive>,
    /// Checks by probes.
    pub active: Option<Active>,
    /// What happens when neither the pool nor any pool of its `failover` has a healthy target for
    /// a request. Default [`WhenAllUnhealthy::UseAll`].
    pub when_all_unhealthy: WhenAllUnhealthy,
}

impl Checks {
    /// Whether there are any.
    pub fn is_checked(&self) -> bool {
        self.passive.is_some() || self.active.is_some()
    }

    /// What a target is that nothing is known of.
    fn initial(&self) -> Initial {
        let active = self.active.as_ref();
        active.map(|active| active.initial).unwrap_or_default()
    }
}

/// Something that an operator can count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthEvent {
    /// This worker changed the state of a target.
    Changed {
        /// The target.
        target: TargetRef,
        /// How its state changed.
        change: HealthChange,
        /// Why.
        why: Why,
    },
    /// A state that the code rules out; the worker reports it as its own.
    Bug(&'static str),
}

/// What one worker knows of the health of all targets.
#[derive(Debug)]
pub struct Health {
    worker: WorkerId,
    cache: RecordCache,
    /// One for each pool. None: its targets are always healthy and have their whole weight.
    pools: Vec<Option<Box<PoolHealth>>>,
    events: Vec<HealthEvent>,
}

impl Health {
    /// The health of these pools, as nobody has read it yet.
    pub fn new(pools: &[Rc<Pool>], worker: WorkerId) -> Health {
        let needs_record = |pool: &Pool| {
            let has_checks = pool.health.passive.is_some() || pool.health.active.is_some();
            has_checks || pool.slow_start > Nanos::ZERO
        };
        Health {
            worker,
            cache: RecordCache::default(),
            pools: pools
                .iter()
                .map(|pool| needs_record(pool).then(|| Box::new(PoolHealth::new(pool))))
                .collect(),
            events: Vec::new(),
        }
    }

    /// Brings what this worker knows of a pool up to date. This reads the pool's gauge, that of a busy
    /// worker each 5 ms (see [`Pace`]), and the record only if the gauge has moved. Where the proxy has no gauges it reads the record each
    /// [`POLL_INTERVAL`].
    pub fn refresh(&mut self, port: &mut dyn Port, pool: &Pool, now: Nanos) {
        let Some(known) = known_mut(&mut self.pools, &mut self.events, pool) else {
            return;
        };
        let is_first = known.read_at.is_none();
        if !is_first && !known.pace.allows(now) {
            return;
        }
        if known.is_current(port, pool, now) {
            return;
        }
        known.read_at = Some(now);
        let PoolHealth { key, ids, .. } = known;
        let initial = pool.health.initial();
        let mut is_new = false;
        let read = self.cache.update(port, key, &mut |bytes| {
            let mut entries = record::decode(bytes);
            is_new = is_first && record::add_new_targets(&mut entries, ids, initial, now);
            match is_new {
                false => Update::Keep(entries),
                true => {
                    record::tidy(&mut entries, ids, now);
                    Update::Write(record::encode(&entries), entries)
                }
            }
        });
        if let Ok(entries) = read {
            known.replace(&entries);
            known.has_new |= is_new;
        }
    }

    /// Brings the gauges that operators see up to date, in every pool with checks. Once a second.
    pub(crate) fn show(&mut self, port: &mut dyn Port, pools: &[Rc<Pool>], now: Nanos) {
        for pool in pools.iter().filter(|pool| pool.health.is_checked()) {
            let Some(known) = known_mut(&mut self.pools, &mut self.events, pool) else {
                continue;
            };
            if known.read_at.is_some() {
                // What a busy worker knows may be some milliseconds old: it would undo what another
                // one has just set.
                let pace = std::mem::take(&mut known.pace);
                self.refresh(port, pool, now);
                if let Some(known) = known_mut(&mut self.pools, &mut self.events, pool) {
                    known.pace = pace;
                    let is_new = std::mem::take(&mut known.has_new);
                    known.show(port, pool, is_new, now);
                }
                continue;
            }
            // The first request reads it, and then a target may be new. Until then it is only looked
            // at.
            let read = self.cache.update(port, &known.key, &mut |bytes| {
                Update::Keep(record::decode(bytes))
            });
            if let Ok(entries) = read {
                let initial = TargetHealth::new(pool.health.initial());
                let shown = known.entries.iter().map(|own| {
                    let entry = entries.iter().find(|entry| entry.id == own.id);
                    let health = entry.map(|entry| &entry.health);
                    let is_healthy = health.unwrap_or(&initial).is_healthy(&pool.health, now);
                    Shown::of(health, is_healthy)
                });
                let shown: Vec<_> = shown.collect();
                known.gauges.show(port, pool, &shown);
            }
        }
    }

    /// This configuration is over: what its gauges showed as unhealthy is nobody's any more.
    pub(crate) fn withdraw(&self, port: &mut dyn Port) {
        let known = self.pools.iter().flatten();
        known.for_each(|known| known.gauges.withdraw(port));
    }

    /// Says of the last change what the failure was that made the difference, if it is not known
    /// yet.
    pub(crate) fn tell(&mut self, failure: LastFailure) {
        if let Some(HealthEvent::Changed { change, why, .. }) = self.events.last_mut()
            && *change != HealthChange::Recovered
            && why.last == LastFailure::Unknown
        {
            why.last = failure;
        }
    }

    /// Whether a target can be sent requests, as of the last [`Health::refresh`].
    pub fn is_healthy(&self, pool: &Pool, target: TargetIndex, now: Nanos) -> bool {
        self.target(pool, target)
            .is_none_or(|known| known.is_healthy(&pool.health, now))
    }

    /// Whether every target of a pool is healthy, with nothing held against it, and has its whole
    /// weight, as of the last [`Health::refresh`]. False where that is not known without a look at
    /// each of them.
    pub fn is_settled(&self, pool: &Pool, now: Nanos) -> bool {
        match self.pools.get(pool.index.get()) {
            Some(Some(known)) => known.settled_at.is_some_and(|settled| now >= settled),
            Some(None) => true,
            None => false,
        }
    }

    /// Whether nothing is held against a target, as of the last [`Health::refresh`]: no failure in a
    /// row, no ejection that a request has to end.
    pub fn is_well(&self, pool: &Pool, target: TargetIndex) -> bool {
        self.target(pool, target)
            .is_none_or(|known| known.is_idle())
    }

    /// Which part of its weight a target gets for being new or recovered, above 0 and at most 1.
    pub fn slow_start_factor(&self, pool: &Pool, target: TargetIndex, now: Nanos) -> f64 {
        let begun = self
            .target(pool, target)
            .and_then(|known| known.slow_start_begun());
        slow_start::factor(pool.slow_start, begun, now)
    }

    /// Whether something happened since then.
    pub(crate) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// What happened since this was last called. Only the worker that made a change reports it.
    pub fn take_events(&mut self) -> Vec<HealthEvent> {
        std::mem::take(&mut self.events)
    }

    /// Forgets the pools that are not to be `kept`: those in whose place another one is now.
    pub(crate) fn forget(&mut self, kept: impl Fn(PoolIndex) -> bool) {
        self.cache = RecordCache::default();
        for (place, known) in self.pools.iter_mut().enumerate() {
            known.take_if(|_| !kept(PoolIndex::new(place)));
        }
    }

    /// The health of these pools again, those that were forgotten as nobody has read them yet.
    pub(crate) fn recall(&mut self, pools: &[Rc<Pool>]) {
        let fresh = Health::new(pools, self.worker);
        for (known, fresh) in self.pools.iter_mut().zip(fresh.pools) {
            *known = known.take().or(fresh);
        }
    }

    /// What this worker last read of a target. None: its pool has no record.
    fn target(&self, pool: &Pool, target: TargetIndex) -> Option<&TargetHealth> {
        let known = self.pools.get(pool.index.get())?.as_ref()?;
        Some(&known.entries.get(target.get())?.health)
    }

    /// Changes the state of a target in the record, and tells the other workers. `change` gets the
    /// state, and the other targets of the pool; it must be pure, see [`RecordCache::update`].
    fn change(
        &mut self,
        port: &mut dyn Port,
        pool: &Pool,
        target: TargetIndex,
        now: Nanos,
        change: &mut dyn FnMut(&mut TargetHealth, &OtherTargets<'_>) -> Transition,
    ) {
        let Some(known) = known_mut(&mut self.pools, &mut self.events, pool) else {
            return;
        };
        let Some(id) = known.entries.get(target.get()).map(|entry| entry.id) else {
            self.events.push(HealthEvent::Bug(NO_SUCH_TARGET));
            return;
        };
        let PoolHealth { key, ids, .. } = &*known;
        let changed = self.cache.update(port, key, &mut |bytes| {
            let mut entries = record::decode(bytes);
            let others = OtherTargets {
                entries: &entries,
                pool,
                ids,
                but: id,
                now,
            };
            let before = record::health(&entries, id);
            let mut health = before;
            let transition = change(&mut health, &others);
            let why = health.why(&before, now);
            if transition == Transition::Nothing {
                return Update::Keep((entries, transition, why));
            }
            record::set_health(&mut entries, id, health, now);
            record::tidy(&mut entries, ids, now);
            Update::Write(record::encode(&entries), (entries, transition, why))
        });
        let Ok((entries, transition, why)) = changed else {
            return;
        };
        known.replace(&entries);
        if transition != Transition::Nothing {
            known.gauge.raise(port);
        }
        if let Transition::State(change) = transition {
            known.show(port, pool, false, now);
            let target = TargetRef {
                pool: pool.index,
                index: target,
            };
            self.events.push(HealthEvent::Changed {
                target,
                change,
                why,
            });
        }
    }
}

/// What one worker knows of the health of a pool's targets.
#[derive(Debug)]
struct PoolHealth {
    /// Of the pool's record.
    key: HealthKey,
    /// Of the lease in the record.
    lease_id: u64,
    ids: TargetIds,
    /// For each target what the record last had; the ids are always right.
    entries: Vec<HealthEntry>,
    /// When the last slow start of them is over. None: something is held against one of them.
    settled_at: Option<Nanos>,
    /// The pool's.
    slow_start: Nanos,
    gauge: ChangeGauge,
    /// The value of the gauge when the record was last read.
    seen_version: i64,
    /// When the record was last read. None: never.
    read_at: Option<Nanos>,
    /// Of looking at the gauge.
    pace: Pace,
    prober: Prober,
    clients: ClientsSeen,
    gauges: HealthGauges,
    /// Whether targets were added to the record that no gauge shows yet.
    has_new: bool,
}

impl PoolHealth {
    fn new(pool: &Pool) -> PoolHealth {
        let entries: Vec<HealthEntry> = pool
            .targets
            .iter()
            .map(|target| HealthEntry {
                health: TargetHealth::new(pool.health.initial()),
                ..HealthEntry::new(record::target_id(pool, target))
            })
            .collect();
        PoolHealth {
            settled_at: settled_at(&entries, pool.slow_start),
            slow_start: pool.slow_start,
            key: record::key(pool),
            lease_id: record::lease_id(pool),
            ids: entries
                .iter()
                .enumerate()
                .map(|(place, entry)| (entry.id, TargetIndex::new(place)))
                .collect(),
            entries,
            gauge: ChangeGauge::default(),
            seen_version: 0,
            read_at: None,
            pace: Pace::default(),
            prober: Prober::default(),
            clients: ClientsSeen::new(pool.scope.key(), record::clients_id(pool)),
            gauges: HealthGauges::default(),
            has_new: false,
        }
    }

    /// Whether the record need not be read now. Takes the gauge's value for seen.
    fn is_current(&mut self, port: &mut dyn Port, pool: &Pool, now: Nanos) -> bool {
        match self.gauge.version(port, pool) {
            None => {
                let age = self.read_at.and_then(|read_at| now.checked_sub(read_at));
                age.is_some_and(|age| age < POLL_INTERVAL)
            }
            Some(version) => {
                let seen = std::mem::replace(&mut self.seen_version, version);
                self.read_at.is_some() && seen == version
            }
        }
    }

    /// Brings the gauges up to date with what was read last; `all`: those of targets that are simply
    /// well too.
    fn show(&mut self, port: &mut dyn Port, pool: &Pool, all: bool, now: Nanos) {
        if !pool.health.is_checked() {
            return;
        }
        let shown = self.entries.iter().map(|entry| {
            let is_healthy = entry.health.is_healthy(&pool.health, now);
            Shown::of((!all).then_some(&entry.health), is_healthy)
        });
        let shown: Vec<_> = shown.collect();
        self.gauges.show(port, pool, &shown);
    }

    /// Takes over the record. A target that it does not have is healthy: its entry was there, and
    /// made room for its age.
    fn replace(&mut self, record: &[HealthEntry]) {
        for entry in &mut self.entries {
            *entry = HealthEntry::new(entry.id);
        }
        for entry in record {
            let place = self.ids.get(&entry.id);
            if let Some(known) = place.and_then(|place| self.entries.get_mut(place.get())) {
                *known = *entry;
            }
        }
        self.settled_at = settled_at(&self.entries, self.slow_start);
    }
}

/// From when on every target is healthy and has its whole weight, as long as the record stays as it
/// is. None: that depends on more than the time.
fn settled_at(entries: &[HealthEntry], slow_start: Nanos) -> Option<Nanos> {
    entries.iter().try_fold(Nanos::ZERO, |last, entry| {
        let begun = entry.health.slow_start_begun();
        let over = begun.map_or(Nanos::ZERO, |begun| begun + slow_start);
        entry.health.is_idle().then(|| last.max(over))
    })
}

/// What is known of a pool. None: it has no record. Each worker has one configuration, so that a
/// pool that is not in the list at all is a bug.
fn known_mut<'h>(
    pools: &'h mut [Option<Box<PoolHealth>>],
    events: &mut Vec<HealthEvent>,
    pool: &Pool,
) -> Option<&'h mut PoolHealth> {
    match pools.get_mut(pool.index.get()) {
        Some(known) => known.as_deref_mut(),
        None => {
            events.push(HealthEvent::Bug("health: no such pool"));
            None
        }
    }
}

/// Whether an instant that was set to lie at most `longest` ahead is still to come. One that lies
/// further ahead was set before the clock was set back, and counts as past.
fn is_pending(instant: Nanos, longest: Nanos, now: Nanos) -> bool {
    instant > now && instant - now <= longest
}

/// How often the record is read where the proxy has no gauges.
const POLL_INTERVAL: Nanos = Nanos::from_millis(50);

const NO_SUCH_TARGET: &str = "health: no such target";

#[cfg(test)]
mod tests;

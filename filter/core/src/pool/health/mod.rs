//! Health: which targets can be sent requests. Known passively, by what becomes of requests, and
//! actively, by probes.
//!
//! A target is *healthy*, *ejected* or *probing*. One truth for all workers, in a record for each
//! pool; a gauge that rises with each change tells who has to read it. So a request on its way in
//! costs one read of a gauge (65 ns, no bytes), and on its way out nothing more as long as its
//! target has no failures noted. A change reaches every worker with its next request.
//!
//! **Passive.** `consecutive_failures` failures in a row, over all workers, eject a target; a
//! success in between begins the count anew. For how long: `eject`, times how often in a row it
//! was, up to `max_eject`; the number falls by one for each `eject` in which the target stayed
//! (Envoy's outlier detection has the same rule). After that it is probing: the next failure ejects
//! it again at once, the next success makes it healthy. At most `max_ejected_percent` of the pool's
//! targets, rounded down, are out in this way; that is looked at within the change of the record,
//! so that several workers together keep it too.
//!
//! **Active.** `fall` bad answers in a row eject a target, `rise` good ones make it healthy, also
//! one that was ejected passively, and before its time (Envoy's
//! `successful_active_health_check_uneject_host`). With probes a passive ejection does not end by
//! time alone: not while the last probe was bad. A probe that is not answered at all counts as bad.
//!
//! Of all workers one sends the probes of a pool: that which holds its lease, which it renews each
//! `interval`. A lease that was not renewed for [`LEASE_PERCENT`] of an interval is anybody's, and
//! each worker looks when the lease that it knows of runs out; so a dead worker's probes go on
//! within two intervals. After a reload a worker of the later configuration takes it from one of an
//! earlier, which goes on for as long as it has a request under way, and would never probe what is
//! new. The probes of a pool's targets are spread over the interval.
//!
//! **New and recovered targets** get a rising share, see [`Health::share`]. A target is new if the
//! record knew others of its pool before it; those of a record that is not there yet are all old.
//!
//! **Time.** A clock that is set back keeps nobody ejected: what would end later than it could have
//! begun has ended.
//!
//! **When shared data fails**, every worker goes on with what it last knew, and a change that did
//! not get through is made again with the next failure, success or probe.
//!
//! | key | what |
//! |---|---|
//! | `pm1/health/` and 2 bytes, of the hash of the pool's name | entries of [`ENTRY`] bytes: one for each target, one for the pool's lease. Pools whose names meet share a record, never entries |
//!
//! What belongs to no target of the pool makes room when it is old, see [`tidy`]: a thousand
//! reloads do not make a record grow.

use crate::entropy::WorkerId;
use crate::index::{TargetIndex, TargetRef};
use crate::pool::Pool;
use crate::port::{Gauge, Port};
use crate::shared::{RecordCache, Update};
use crate::siphash::SipWriter;
use crate::time::Nanos;
use fnv::FnvHashMap;
use std::rc::Rc;

/// `health` of a pool. Nothing given: every target is healthy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checks {
    /// By what becomes of requests.
    pub passive: Option<Passive>,
    /// By probes.
    pub active: Option<Active>,
    /// What happens when no target that could take a request is healthy, nor any of the pools of
    /// `failover`.
    pub when_all_unhealthy: WhenAllUnhealthy,
}

/// `health.passive`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passive {
    /// So many failures in a row eject a target. From 1, default 5.
    pub consecutive_failures: u32,
    /// How long; that long again for each repetition. Default 30 s.
    pub eject: Nanos,
    /// The longest. `max_eject`, default 300 s (or `eject`, if that is longer).
    pub max_eject: Nanos,
    /// At most this part of the pool's targets, rounded down, is ejected at a time. 0 to 100,
    /// default 50.
    pub max_ejected_percent: u32,
}

/// `health.active`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Active {
    /// What is asked for, with `GET`.
    pub path: Box<[u8]>,
    /// `host`: the probe's authority. Default: the target's cluster.
    pub host: Option<Box<[u8]>>,
    /// From one probe of a target to the next. Default 10 s, from 10 ms.
    pub interval: Nanos,
    /// How long an answer may take; at most `interval`. Default 1 s, or `interval` if that is
    /// shorter.
    pub timeout: Nanos,
    /// So many good answers in a row make a target healthy. From 1, default 2.
    pub rise: u32,
    /// So many bad ones make it unhealthy. From 1, default 3.
    pub fall: u32,
    /// The statuses of good answers, as ranges from–to with both ends. Default 200.
    pub expect: Vec<(u16, u16)>,
}

/// `health.when_all_unhealthy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenAllUnhealthy {
    /// Requests go to all of them as if they were healthy. The default: health checks err, and this
    /// is no worse than nothing.
    #[default]
    UseAll,
    /// The filter answers 503.
    Respond503,
}

/// What became of a request that was sent to a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered.
    Success,
    /// 5xx, no connection, reset, time-out, or a gRPC status that means the same.
    Failure,
}

/// A probe to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The target.
    pub target: TargetRef,
    /// When it was sent: of several probes of a target only the last one counts.
    pub sent: Nanos,
}

/// Something that happened to a target and that an operator can count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The target.
    pub target: TargetRef,
    /// What happened.
    pub what: Change,
}

/// A change of health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Passively, by failures of requests.
    Ejected,
    /// Actively, by probes.
    Fell,
    /// It is back, by time or by probes.
    Recovered,
}

/// How old the last look may be where the proxy has no gauges to tell of changes.
const LOOK: Nanos = Nanos::from_millis(50);

/// The records of all pools lie under so many keys.
const RECORDS: u64 = 1024;

/// How long a lease holds, in hundredths of an interval. It is renewed after 100 of them, or up to
/// a quarter later.
const LEASE_PERCENT: u64 = 150;

/// An answer to a probe this much after its time-out is expected no longer.
const LOST: Nanos = Nanos::SECOND;

/// The bounds of the time from one tick to the next; between them it is a quarter of the shortest
/// interval.
const TICK: std::ops::RangeInclusive<Nanos> = Nanos::from_millis(10)..=Nanos::SECOND;

/// Which share of its weight a target gets when its slow start begins, as Envoy's
/// `min_weight_percent`.
const LEAST_SHARE: f64 = 0.1;

/// An entry that nobody's configuration here knows makes room so long after its last change; longer
/// if it says something.
const KEEP_IDLE: Nanos = Nanos::from_secs(60);
const KEEP: Nanos = Nanos::from_secs(600);

/// So many entries that nobody's configuration here knows are kept for each one that it does, and
/// as many more at least: a bound whatever happens.
const STRANGERS: usize = 64;

/// A probing target's, an ejected one's and a healthy one's state, and what leads from one to the
/// other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Entry {
    /// Of the target, or of the lease.
    id: u64,
    /// When it last changed.
    touched: Nanos,
    /// When the slow start begins. 0: never. In a lease this is its holder and no time, see
    /// [`Entry::holder`].
    since: Nanos,
    /// Passively ejected until then. 0: not ejected, and not probing. In a lease: its end.
    until: Nanos,
    /// Failures in a row.
    failures: u32,
    /// Passive ejections in a row.
    ejections: u32,
    /// Probes in a row that were answered well.
    good: u32,
    /// Probes in a row that were not.
    bad: u32,
    /// Actively ejected: 1.
    down: u32,
}

/// The size of an [`Entry`] in a record: all its fields in their order, little-endian.
const ENTRY: usize = 52;

impl Entry {
    fn new(id: u64) -> Entry {
        Entry {
            id,
            ..Entry::default()
        }
    }

    /// A pool's lease, which lies among the entries of its targets. Its holder has the bytes of
    /// `since`.
    fn lease(id: u64, holder: WorkerId, until: Nanos) -> Entry {
        Entry {
            since: Nanos::new(holder.to_bits()),
            until,
            ..Entry::new(id)
        }
    }

    /// Who holds a lease.
    fn holder(&self) -> WorkerId {
        WorkerId::from_bits(self.since.get())
    }

    fn read(bytes: &[u8; ENTRY]) -> Entry {
        let (long, short) = bytes.split_at_checked(32).unwrap_or_default();
        let (long, short) = (long.as_chunks::<8>().0, short.as_chunks::<4>().0);
        let long = |place: usize| long.get(place).copied().map_or(0, u64::from_le_bytes);
        let short = |place: usize| short.get(place).copied().map_or(0, u32::from_le_bytes);
        Entry {
            id: long(0),
            touched: Nanos::new(long(1)),
            since: Nanos::new(long(2)),
            until: Nanos::new(long(3)),
            failures: short(0),
            ejections: short(1),
            good: short(2),
            bad: short(3),
            down: short(4),
        }
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.id.to_le_bytes());
        for time in [self.touched, self.since, self.until] {
            bytes.extend_from_slice(&time.get().to_le_bytes());
        }
        for short in [
            self.failures,
            self.ejections,
            self.good,
            self.bad,
            self.down,
        ] {
            bytes.extend_from_slice(&short.to_le_bytes());
        }
    }

    /// Whether it is ejected by failures of requests, time alone considered. No ejection is longer
    /// than `max_eject`.
    fn is_out(&self, passive: &Passive, now: Nanos) -> bool {
        self.until
            .checked_sub(now)
            .is_some_and(|left| left > Nanos::ZERO && left <= passive.max_eject)
    }

    fn is_healthy(&self, checks: &Checks, now: Nanos) -> bool {
        if self.down != 0 {
            return false;
        }
        let Some(passive) = &checks.passive else {
            return true;
        };
        let by_probes = checks.active.is_some() && self.until != Nanos::ZERO;
        !(self.is_out(passive, now) || by_probes && self.bad > 0)
    }

    /// Whether the next outcome decides.
    fn is_probing(&self, passive: &Passive, now: Nanos) -> bool {
        self.until != Nanos::ZERO && !self.is_out(passive, now)
    }

    /// Whether nothing is lost with it.
    fn is_idle(&self) -> bool {
        self.until == Nanos::ZERO && self.failures == 0 && self.down == 0
    }

    /// A request failed. `others_out`: how many other targets of the pool are ejected. Whether this
    /// ejects the target; None: nothing changes.
    fn fail(
        &mut self,
        passive: &Passive,
        others_out: usize,
        targets: usize,
        now: Nanos,
    ) -> Option<bool> {
        // Requests that were under way when it was ejected say nothing new.
        if self.is_out(passive, now) {
            return None;
        }
        self.failures = self.failures.saturating_add(1);
        let enough = self.is_probing(passive, now) || self.failures >= passive.consecutive_failures;
        let most = targets as u64 * u64::from(passive.max_ejected_percent) / 100;
        let ejects = enough && (others_out as u64) < most;
        if ejects {
            let stayed = (now - self.since) / passive.eject.max(Nanos::new(1));
            let before = u64::from(self.ejections).saturating_sub(if self.until == Nanos::ZERO {
                stayed
            } else {
                0
            });
            let times = u32::try_from(before + 1).unwrap_or(u32::MAX);
            let time = (u64::from(times) * passive.eject).min(passive.max_eject);
            *self = Entry {
                ejections: times,
                until: now + time,
                // After which it is new again.
                since: now + time,
                failures: 0,
                good: 0,
                ..*self
            };
        }
        Some(ejects)
    }

    /// A request did not fail. Whether that makes a probing target healthy; None: nothing changes.
    fn succeed(&mut self, passive: &Passive, now: Nanos) -> Option<bool> {
        if self.is_out(passive, now) {
            return None;
        }
        let recovers = self.is_probing(passive, now);
        if !recovers && self.failures == 0 {
            return None;
        }
        self.failures = 0;
        if recovers {
            self.until = Nanos::ZERO;
        }
        Some(recovers)
    }

    /// A probe was answered well, or not. What that changes; None: nothing at all.
    fn probe(&mut self, active: &Active, good: bool, now: Nanos) -> Option<Option<Change>> {
        if !good {
            self.good = 0;
            self.bad = self.bad.saturating_add(1);
            let falls = self.down == 0 && self.bad >= active.fall;
            self.down |= u32::from(falls);
            return Some(falls.then_some(Change::Fell));
        }
        if self.down == 0 && self.until == Nanos::ZERO && self.bad == 0 {
            return None;
        }
        self.bad = 0;
        self.good = self.good.saturating_add(1);
        let rises = (self.down != 0 || self.until != Nanos::ZERO) && self.good >= active.rise;
        if rises {
            *self = Entry {
                down: 0,
                until: Nanos::ZERO,
                failures: 0,
                since: now,
                ..*self
            };
        }
        Some(rises.then_some(Change::Recovered))
    }
}

/// What one worker knows of health.
#[derive(Debug)]
pub struct Health {
    worker: WorkerId,
    cache: RecordCache,
    /// For each pool. None: all its targets are always healthy, and have their whole share.
    pools: Vec<Option<Known>>,
    events: Vec<Event>,
}

/// What one worker knows of a pool.
#[derive(Debug)]
struct Known {
    key: Vec<u8>,
    lease: u64,
    /// For each target what the record last said; the ids are always right.
    entries: Vec<Entry>,
    own: Own,
    gauge: Bell,
    /// What the gauge said when the record was last read.
    heard: i64,
    /// When that was. None: never.
    looked: Option<Nanos>,
    prober: Prober,
}

/// The ids of a pool's targets, with their places.
type Own = FnvHashMap<u64, usize>;

/// How a worker hears of changes.
#[derive(Clone, Copy, Debug)]
enum Bell {
    Unasked,
    /// The proxy has no gauges, or takes nothing into ours.
    Missing,
    Gauge(Gauge),
}

/// What a worker knows of the probes of a pool.
#[derive(Debug, Default)]
struct Prober {
    leads: bool,
    /// When to look after the lease: to renew it, or to take it.
    lease_due: Nanos,
    /// For each target.
    turns: Vec<ProbeTurn>,
}

#[derive(Clone, Copy, Debug, Default)]
struct ProbeTurn {
    due: Nanos,
    /// When the probe was sent that waits for its answer.
    sent: Option<Nanos>,
}

impl Health {
    /// For a worker and its configuration.
    pub fn new(pools: &[Rc<Pool>], worker: WorkerId) -> Health {
        let known = |pool: &Pool| {
            let checked = pool.health.passive.is_some() || pool.health.active.is_some();
            (checked || pool.slow_start > Nanos::ZERO).then(|| Known::new(pool))
        };
        Health {
            worker,
            cache: RecordCache::default(),
            pools: pools.iter().map(|pool| known(pool)).collect(),
            events: Vec::new(),
        }
    }

    /// Brings what this worker knows of a pool up to date. One read of a gauge; a record is read
    /// only if another worker has changed it, or where the proxy has no gauges if the last look is
    /// [`LOOK`] ago.
    pub fn refresh(&mut self, port: &mut dyn Port, pool: &Pool, now: Nanos) {
        let Some(Some(known)) = self.pools.get_mut(pool.index.get()) else {
            return;
        };
        let first = known.looked.is_none();
        let age = known.looked.and_then(|looked| now.checked_sub(looked));
        match known.bell(port, pool) {
            None if age.is_some_and(|age| age < LOOK) => return,
            None => {}
            Some(said) if !first && said == known.heard => return,
            Some(said) => known.heard = said,
        }
        known.looked = Some(now);
        let Known { key, own, .. } = known;
        let read = self.cache.update(port, key, &mut |bytes| {
            let mut record = record(bytes);
            let mut unknown = own.clone();
            record.iter().for_each(|entry| {
                unknown.remove(&entry.id);
            });
            if !first || unknown.is_empty() {
                return Update::Keep(record);
            }
            // A record that knew others of this pool makes the rest new.
            let since = if unknown.len() == own.len() {
                Nanos::ZERO
            } else {
                now
            };
            record.extend(unknown.into_keys().map(|id| Entry {
                since,
                touched: now,
                ..Entry::new(id)
            }));
            written(record, own, now)
        });
        if let Ok(record) = read {
            known.take_over(&record);
        }
    }

    /// Whether a target can be sent requests, by the last [`Health::refresh`].
    pub fn is_healthy(&self, pool: &Pool, target: TargetIndex, now: Nanos) -> bool {
        let entry = self
            .known(pool)
            .and_then(|known| known.entries.get(target.get()));
        entry.is_none_or(|entry| entry.is_healthy(&pool.health, now))
    }

    /// Which part of its share a target gets for being new or recovered: it rises in a straight
    /// line from [`LEAST_SHARE`] to 1 over `slow_start`.
    pub fn share(&self, pool: &Pool, target: TargetIndex, now: Nanos) -> f64 {
        let entry = self
            .known(pool)
            .and_then(|known| known.entries.get(target.get()));
        let age = entry
            .filter(|entry| entry.since != Nanos::ZERO)
            .and_then(|entry| now.checked_sub(entry.since));
        match age {
            Some(age) if age < pool.slow_start => {
                (age.get() as f64 / pool.slow_start.get() as f64).max(LEAST_SHARE)
            }
            _ => 1.0,
        }
    }

    /// What became of a request. It goes to shared data only if it changes something.
    pub fn outcome(
        &mut self,
        port: &mut dyn Port,
        pool: &Pool,
        target: TargetIndex,
        outcome: Outcome,
        now: Nanos,
    ) {
        let Some(passive) = &pool.health.passive else {
            return;
        };
        if outcome == Outcome::Success {
            self.refresh(port, pool, now);
            let entry = self
                .known(pool)
                .and_then(|known| known.entries.get(target.get()));
            if entry.is_none_or(|entry| entry.clone().succeed(passive, now).is_none()) {
                return;
            }
        }
        let changed = self.change(port, pool, target, now, &mut |own, others| match outcome {
            Outcome::Success => own
                .succeed(passive, now)
                .map(|recovers| recovers.then_some(Change::Recovered)),
            Outcome::Failure => {
                let out = others
                    .iter()
                    .filter(|other| other.is_out(passive, now))
                    .count();
                let ejects = own.fail(passive, out, pool.targets.len(), now);
                ejects.map(|ejects| ejects.then_some(Change::Ejected))
            }
        });
        self.events.extend(changed);
    }

    /// How long from one [`Health::tick`] to the next, so that `interval`s are kept. None: it has
    /// nothing to do by itself.
    pub fn tick_period(&self, pools: &[Rc<Pool>]) -> Option<Nanos> {
        let active = pools.iter().filter_map(|pool| pool.health.active.as_ref());
        let shortest = active.map(|active| active.interval).min()?;
        Some((shortest / 4).clamp(*TICK.start(), *TICK.end()))
    }

    /// The probes to send now. Of all workers one at a time has some.
    pub fn tick(&mut self, port: &mut dyn Port, pools: &[Rc<Pool>], now: Nanos) -> Vec<Probe> {
        let mut probes = Vec::new();
        for pool in pools {
            let Some(active) = &pool.health.active else {
                continue;
            };
            self.look_after_lease(port, pool, active, now);
            let Some(Some(known)) = self.pools.get_mut(pool.index.get()) else {
                continue;
            };
            let mut lost = Vec::new();
            if known.prober.leads {
                for (index, turn) in known.prober.turns.iter_mut().enumerate() {
                    let index = TargetIndex::new(index);
                    // A clock that was set back waits for nothing either.
                    let overdue = |sent: Nanos| now.abs_diff(sent) > active.timeout + LOST;
                    if turn.sent.take_if(|sent| overdue(*sent)).is_some() {
                        lost.push(index);
                    }
                    if turn.sent.is_some() || (turn.due > now && turn.due - now <= active.interval)
                    {
                        continue;
                    }
                    turn.sent = Some(now);
                    let next = turn.due + active.interval;
                    turn.due = if next > now && next - now <= active.interval {
                        next
                    } else {
                        now + active.interval
                    };
                    probes.push(Probe {
                        target: TargetRef {
                            pool: pool.index,
                            index,
                        },
                        sent: now,
                    });
                }
            }
            for target in lost {
                self.answered(port, pool, active, target, false, now);
            }
        }
        probes
    }

    /// What a probe was answered: its status, None if there was no answer. An answer that is too
    /// late, or that comes when another worker leads, counts for nothing.
    pub fn probed(
        &mut self,
        port: &mut dyn Port,
        pools: &[Rc<Pool>],
        probe: &Probe,
        status: Option<u16>,
        now: Nanos,
    ) {
        let Some(pool) = pools.get(probe.target.pool.get()) else {
            return;
        };
        let (Some(active), Some(Some(known))) = (
            &pool.health.active,
            self.pools.get_mut(probe.target.pool.get()),
        ) else {
            return;
        };
        let turn = known.prober.turns.get_mut(probe.target.index.get());
        let awaited = turn
            .and_then(|turn| turn.sent.take_if(|sent| *sent == probe.sent))
            .is_some();
        if awaited && known.prober.leads {
            let good = status.is_some_and(|status| {
                active
                    .expect
                    .iter()
                    .any(|(from, to)| (*from..=*to).contains(&status))
            });
            self.answered(port, pool, active, probe.target.index, good, now);
        }
    }

    /// What happened since this was last asked. Only the worker that made a change tells of it.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    fn known(&self, pool: &Pool) -> Option<&Known> {
        self.pools.get(pool.index.get())?.as_ref()
    }

    /// The answer to a probe, which is written only if it changes something, by what is known here.
    fn answered(
        &mut self,
        port: &mut dyn Port,
        pool: &Pool,
        active: &Active,
        target: TargetIndex,
        good: bool,
        now: Nanos,
    ) {
        self.refresh(port, pool, now);
        let entry = self
            .known(pool)
            .and_then(|known| known.entries.get(target.get()));
        if entry.is_none_or(|entry| entry.clone().probe(active, good, now).is_none()) {
            return;
        }
        let changed = self.change(port, pool, target, now, &mut |own, _| {
            own.probe(active, good, now)
        });
        self.events.extend(changed);
    }

    /// Changes a target's entry in the record. `act` gets it and those of the pool's other targets;
    /// None from it: nothing changes.
    fn change(
        &mut self,
        port: &mut dyn Port,
        pool: &Pool,
        target: TargetIndex,
        now: Nanos,
        act: &mut dyn FnMut(&mut Entry, &[Entry]) -> Option<Option<Change>>,
    ) -> Option<Event> {
        let known = self.pools.get_mut(pool.index.get())?.as_mut()?;
        let id = known.entries.get(target.get())?.id;
        let Known { key, own, .. } = &*known;
        let changed = self.cache.update(port, key, &mut |bytes| {
            let mut record = record(bytes);
            let is_other = |entry: &&Entry| entry.id != id && own.contains_key(&entry.id);
            let others: Vec<Entry> = record.iter().filter(is_other).copied().collect();
            let place = record
                .iter()
                .position(|entry| entry.id == id)
                .unwrap_or_else(|| {
                    record.push(Entry::new(id));
                    record.len() - 1
                });
            let event = record.get_mut(place).and_then(|own| {
                let event = act(own, &others)?;
                own.touched = now;
                Some(event)
            });
            match event {
                None => Update::Keep((record, None)),
                Some(event) => match written(record, own, now) {
                    Update::Write(bytes, record) => Update::Write(bytes, (record, Some(event))),
                    Update::Keep(record) | Update::KeepStale(record) => {
                        Update::Keep((record, None))
                    }
                },
            }
        });
        let (record, written) = changed.ok()?;
        known.take_over(&record);
        let event = written?;
        if let Bell::Gauge(gauge) = known.gauge {
            port.add(gauge, 1);
        }
        Some(Event {
            target: TargetRef {
                pool: pool.index,
                index: target,
            },
            what: event?,
        })
    }

    /// Renews the lease of a pool's probes, or takes it where nobody has it.
    fn look_after_lease(&mut self, port: &mut dyn Port, pool: &Pool, active: &Active, now: Nanos) {
        let Some(Some(known)) = self.pools.get_mut(pool.index.get()) else {
            return;
        };
        let longest = active.interval * LEASE_PERCENT / 100;
        let prober = &known.prober;
        if prober.lease_due > now && prober.lease_due - now <= longest {
            return;
        }
        let (holder, id) = (self.worker, known.lease);
        let own = &known.own;
        let held = self.cache.update(port, &known.key, &mut |bytes| {
            let mut record = record(bytes);
            let lease = record.iter().find(|entry| entry.id == id).copied();
            let free = |lease: Entry| lease.until <= now || lease.until - now > longest;
            match lease {
                Some(lease)
                    if lease.holder() != holder
                        && !free(lease)
                        && lease.holder().loaded() >= holder.loaded() =>
                {
                    Update::Keep(Err(lease.until))
                }
                _ => {
                    record.retain(|entry| entry.id != id);
                    record.push(Entry {
                        touched: now,
                        ..Entry::lease(id, holder, now + longest)
                    });
                    match written(record, own, now) {
                        Update::Write(bytes, _) => Update::Write(bytes, Ok(())),
                        Update::Keep(_) | Update::KeepStale(_) => Update::Keep(Err(now)),
                    }
                }
            }
        });
        let prober = &mut known.prober;
        match held {
            Ok(Ok(())) => {
                if !std::mem::replace(&mut prober.leads, true) {
                    let count = known.entries.len() as u64;
                    let turns = (0..count).map(|place| ProbeTurn {
                        due: now + active.interval / count.max(1) * place,
                        sent: None,
                    });
                    prober.turns = turns.collect();
                }
                prober.lease_due = now + active.interval;
            }
            Ok(Err(until)) => {
                prober.leads = false;
                prober.lease_due = until;
            }
            // Whoever leads is unknown, so nobody does, until the next tick.
            Err(_) => prober.leads = false,
        }
    }
}

impl Known {
    fn new(pool: &Pool) -> Known {
        let hash = |kind: &[u8], name: &str| {
            let mut hash = SipWriter::new(*b"pointsman health");
            hash.write_field(kind);
            hash.write_field(pool.name.as_bytes());
            hash.write(name.as_bytes());
            hash.finish()
        };
        let mut key = b"pm1/health/".to_vec();
        key.extend_from_slice(&((hash(b"pool", "") % RECORDS) as u16).to_be_bytes());
        let entry = |name: &str| Entry::new(hash(b"target", name));
        let entries: Vec<Entry> = pool
            .targets
            .iter()
            .map(|target| entry(&target.name))
            .collect();
        Known {
            key,
            lease: hash(b"lease", ""),
            own: entries
                .iter()
                .enumerate()
                .map(|(place, entry)| (entry.id, place))
                .collect(),
            entries,
            gauge: Bell::Unasked,
            heard: 0,
            looked: None,
            prober: Prober::default(),
        }
    }

    /// What the gauge says. None: there is none.
    fn bell(&mut self, port: &mut dyn Port, pool: &Pool) -> Option<i64> {
        if let Bell::Unasked = self.gauge {
            let name = [&pool.metric(), ".health_version"].concat();
            // One that takes nothing in (a proxy can be told to reject statistics) stays at 0.
            let working = port.gauge(&name).filter(|gauge| {
                port.add(*gauge, 1);
                port.value(*gauge).is_some_and(|value| value != 0)
            });
            self.gauge = working.map_or(Bell::Missing, Bell::Gauge);
        }
        match self.gauge {
            Bell::Gauge(gauge) => port.value(gauge),
            Bell::Unasked | Bell::Missing => None,
        }
    }

    fn take_over(&mut self, record: &[Entry]) {
        self.entries
            .iter_mut()
            .for_each(|own| *own = Entry::new(own.id));
        for entry in record {
            let place = self.own.get(&entry.id);
            if let Some(own) = place.and_then(|place| self.entries.get_mut(*place)) {
                *own = *entry;
            }
        }
    }
}

fn record(bytes: Option<&[u8]>) -> Vec<Entry> {
    let (chunks, _) = bytes.unwrap_or_default().as_chunks();
    chunks.iter().map(Entry::read).collect()
}

fn written(mut record: Vec<Entry>, own: &Own, now: Nanos) -> Update<Vec<Entry>> {
    tidy(&mut record, own, now);
    let mut bytes = Vec::with_capacity(ENTRY * record.len());
    record.iter().for_each(|entry| entry.write(&mut bytes));
    Update::Write(bytes, record)
}

/// Drops what belongs to no target here and is old: of targets that are gone. (Or of another
/// pool's, whose name meets this one's: a healthy target loses nothing with its entry, and what is
/// out is written again by each probe, or is over.)
fn tidy(record: &mut Vec<Entry>, own: &Own, now: Nanos) {
    let is_own = |entry: &Entry| own.contains_key(&entry.id);
    record.retain(|entry| {
        let age = now.abs_diff(entry.touched);
        let kept = if entry.is_idle() { KEEP_IDLE } else { KEEP };
        is_own(entry) || age < kept || (entry.until > now && age < entry.until - entry.touched)
    });
    let most = STRANGERS + own.len();
    let mut strangers = record.iter().filter(|entry| !is_own(entry)).count();
    while strangers > most {
        let oldest = record
            .iter()
            .enumerate()
            .filter(|(_, entry)| !is_own(entry));
        let Some((place, _)) = oldest.min_by_key(|(_, entry)| entry.touched) else {
            return;
        };
        record.remove(place);
        strangers -= 1;
    }
}

#[cfg(test)]
mod tests;

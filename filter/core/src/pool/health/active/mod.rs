//! `health.active`: checks by probes.
//!
//! Each target is sent a `GET` each `interval`, by one worker at a time: the one that holds the
//! pool's [`lease`]. `fall` bad answers in a row eject a target, `rise` good ones make it healthy.
//! A probe that is not answered in time is bad.

pub(super) mod lease;
pub(super) mod prober;

use super::state::Transition;
use super::{Health, HealthEvent, known_mut};
use crate::index::{TargetIndex, TargetRef};
use crate::pool::Pool;
use crate::port::Port;
use crate::time::Nanos;
use std::ops::RangeInclusive;
use std::rc::Rc;

/// `health.active`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Active {
    /// What is asked for, with `GET`.
    pub path: Box<[u8]>,
    /// The probe's authority. Default: the target's cluster.
    pub host: Option<Box<[u8]>>,
    /// From one probe of a target to the next. From 10 ms, default 10 s.
    pub interval: Nanos,
    /// How long an answer may take. At most `interval`; default 1 s, or `interval` if that is
    /// shorter.
    pub timeout: Nanos,
    /// How many good answers in a row make a target healthy. From 1, default 2.
    pub rise: u32,
    /// How many bad answers in a row eject a target. From 1, default 3.
    pub fall: u32,
    /// The statuses of good answers, as ranges with both ends. Default 200.
    pub expect: Vec<(u16, u16)>,
}

impl Active {
    /// Whether an answer with this status is good. None: there was no answer.
    fn expects(&self, status: Option<u16>) -> bool {
        status.is_some_and(|status| {
            let mut ranges = self.expect.iter();
            ranges.any(|(from, to)| (*from..=*to).contains(&status))
        })
    }
}

/// A probe to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The target.
    pub target: TargetRef,
    /// When it was sent: of several probes of a target only the last one counts.
    pub sent: Nanos,
}

impl Health {
    /// How long from one [`Health::tick`] to the next, so that each `interval` is kept. None: no
    /// pool has probes.
    pub fn tick_period(&self, pools: &[Rc<Pool>]) -> Option<Nanos> {
        let active = pools.iter().filter_map(|pool| pool.health.active.as_ref());
        let shortest = active.map(|active| active.interval).min()?;
        Some((shortest / 4).clamp(*TICK_PERIOD.start(), *TICK_PERIOD.end()))
    }

    /// The probes to send now. Of all workers one has some, for each pool.
    pub fn tick(&mut self, port: &mut dyn Port, pools: &[Rc<Pool>], now: Nanos) -> Vec<Probe> {
        self.write_clients(port, now);
        let mut probes = Vec::new();
        for pool in pools {
            let Some(active) = &pool.health.active else {
                continue;
            };
            self.renew_or_acquire_lease(port, pool, active, now);
            let Some(known) = known_mut(&mut self.pools, &mut self.events, pool) else {
                continue;
            };
            let turns = known.prober.next(active, now);
            probes.extend(turns.due.into_iter().map(|index| Probe {
                target: TargetRef {
                    pool: pool.index,
                    index,
                },
                sent: now,
            }));
            for target in turns.unanswered {
                self.record_probe(port, pool, active, target, false, now);
            }
        }
        probes
    }

    /// The answer to a probe: its status, None if there was no answer. An answer that comes after
    /// the probe was given up, or when another worker probes, counts for nothing.
    pub fn on_probe_result(
        &mut self,
        port: &mut dyn Port,
        pools: &[Rc<Pool>],
        probe: &Probe,
        status: Option<u16>,
        now: Nanos,
    ) {
        let Some(pool) = pools.get(probe.target.pool.get()) else {
            self.events
                .push(HealthEvent::Bug("health: probe of no pool"));
            return;
        };
        let (Some(active), Some(known)) = (
            &pool.health.active,
            known_mut(&mut self.pools, &mut self.events, pool),
        ) else {
            return;
        };
        if known.prober.take_awaited(probe) {
            let is_good = active.expects(status);
            self.record_probe(port, pool, active, probe.target.index, is_good, now);
        }
    }

    /// Writes the result of a probe to the record, if it changes something by what is known here.
    fn record_probe(
        &mut self,
        port: &mut dyn Port,
        pool: &Pool,
        active: &Active,
        target: TargetIndex,
        is_good: bool,
        now: Nanos,
    ) {
        self.refresh(port, pool, now);
        let known = self.target(pool, target).copied();
        let changes = known
            .is_some_and(|mut known| known.on_probe(active, is_good, now) != Transition::Nothing);
        if changes {
            self.change(port, pool, target, now, &mut |state, _| {
                state.on_probe(active, is_good, now)
            });
        }
    }
}

/// The bounds of the time from one tick to the next; between them it is a quarter of the shortest
/// interval.
const TICK_PERIOD: RangeInclusive<Nanos> = Nanos::from_millis(10)..=Nanos::SECOND;

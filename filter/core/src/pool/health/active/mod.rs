//! `health.active`: checks by probes.
//!
//! Each target is sent a request each `interval`, by one worker at a time: the one that holds the
//! pool's [`lease`]. `fall` bad answers in a row eject a target, `rise` good ones make it healthy.
//! A probe that is not answered in time is bad.
//!
//! With `initial: unhealthy` a target that is not in the pool's record yet waits there for its first
//! good probe. Whoever leads probes the targets that wait at once. The record decides, so a target
//! that is in it neither waits after a reload, nor in a new worker, nor because the worker that
//! probed has died; one that waits goes on waiting through all of these.

pub mod grpc;
pub(super) mod lease;
pub(super) mod prober;

use super::state::Transition;
use super::{Health, HealthEvent, LastFailure, known_mut};
use crate::index::{TargetIndex, TargetRef};
use crate::pool::Pool;
use crate::port::Port;
use crate::time::Nanos;
use std::ops::RangeInclusive;
use std::rc::Rc;

/// `health.active`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Active {
    /// The probe's method. Default `GET`. With [`Active::grpc`] it is always `POST`.
    pub method: Box<str>,
    /// What is asked for; with [`Active::grpc`] its method, [`grpc::PATH`].
    pub path: Box<[u8]>,
    /// Further headers of the probe, their names in lower case. Default: none.
    pub headers: Vec<(Box<str>, Box<str>)>,
    /// The service that the standard gRPC health service is asked for; empty: the server as a whole.
    /// Default: probes are plain requests.
    pub grpc: Option<Box<str>>,
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
    /// What a new target is until its first good probe. Default [`Initial::Healthy`].
    pub initial: Initial,
}

/// `health.active.initial`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Initial {
    /// It gets requests at once, and no more after `fall` bad probes.
    #[default]
    Healthy,
    /// It gets none before its first good probe, unless no target is healthy and
    /// `when_all_unhealthy` is `use_all`: so it is at the start of a proxy, for the time of a probe.
    Unhealthy,
}

/// The answer to a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeAnswer<'a> {
    /// Its status.
    pub status: u16,
    /// Its `grpc-status`, of the trailers or the headers. Only of a probe with [`Active::grpc`].
    pub grpc_status: Option<&'a [u8]>,
    /// Its body. Only of a probe with [`Active::grpc`].
    pub body: &'a [u8],
}

impl From<u16> for ProbeAnswer<'_> {
    fn from(status: u16) -> Self {
        ProbeAnswer {
            status,
            grpc_status: None,
            body: &[],
        }
    }
}

impl Active {
    /// The headers of a probe with this authority; they may be ones of the configuration only.
    pub fn request<'a>(&'a self, authority: &'a str) -> Option<Vec<(&'a str, &'a str)>> {
        let method = match self.grpc {
            Some(_) => "POST",
            None => &self.method,
        };
        let mut headers = vec![
            (":method", method),
            (":path", std::str::from_utf8(&self.path).ok()?),
            (":authority", authority),
        ];
        if self.grpc.is_some() {
            headers.extend([("content-type", "application/grpc"), ("te", "trailers")]);
        }
        if self.headers.iter().all(|(name, _)| **name != *USER_AGENT) {
            headers.push((USER_AGENT, "pointsman-health"));
        }
        let own = self.headers.iter();
        headers.extend(own.map(|(name, value)| (&**name, &**value)));
        Some(headers)
    }

    /// The body of a probe. None: it has none.
    pub fn body(&self) -> Option<Vec<u8>> {
        self.grpc.as_deref().map(grpc::body)
    }

    /// Whether an answer is good. None: there was no answer.
    fn expects(&self, answer: Option<ProbeAnswer<'_>>) -> bool {
        answer.is_some_and(|answer| match self.grpc {
            Some(_) => grpc::is_serving(&answer),
            None => {
                let mut ranges = self.expect.iter();
                ranges.any(|(from, to)| (*from..=*to).contains(&answer.status))
            }
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
            if active.initial == Initial::Unhealthy {
                // Which targets wait says when they are probed.
                self.refresh(port, pool, now);
            }
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
                self.tell(LastFailure::NoAnswer);
            }
        }
        probes
    }

    /// The answer to a probe, None if there was none. An answer that comes after the probe was given
    /// up, or when another worker probes, counts for nothing.
    pub fn on_probe_result(
        &mut self,
        port: &mut dyn Port,
        pools: &[Rc<Pool>],
        probe: &Probe,
        answer: Option<ProbeAnswer<'_>>,
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
            let is_good = active.expects(answer);
            self.record_probe(port, pool, active, probe.target.index, is_good, now);
            if !is_good {
                self.tell(match answer {
                    Some(answer) => LastFailure::Status(answer.status),
                    None => LastFailure::NoAnswer,
                });
            }
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

const USER_AGENT: &str = "user-agent";

/// The bounds of the time from one tick to the next; between them it is a quarter of the shortest
/// interval.
const TICK_PERIOD: RangeInclusive<Nanos> = Nanos::from_millis(10)..=Nanos::SECOND;

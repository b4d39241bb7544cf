//! Health: which targets can be sent requests. Known passively, by what becomes of requests, and actively, by probes.

use crate::config::Config;
use crate::pool::Pool;
use crate::port::Port;

/// `health` of a pool. Nothing given: every target is healthy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checks {
    /// By what becomes of requests.
    pub passive: Option<Passive>,
    /// By probes.
    pub active: Option<Active>,
    /// What happens when no target that could take a request is healthy, nor any of the pools of `failover`.
    pub when_all_unhealthy: WhenAllUnhealthy,
}

/// `health.passive`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passive {
    /// So many failures in a row eject a target. From 1, default 5.
    pub consecutive_failures: u32,
    /// How long, in nanoseconds; that long again for each repetition. Default 30 s.
    pub eject: u64,
    /// The longest, in nanoseconds. `max_eject`, default 300 s (or `eject`, if that is longer).
    pub max_eject: u64,
    /// At most this part of the pool's targets, rounded down, is ejected at a time. 0 to 100, default 50.
    pub max_ejected_percent: u32,
}

/// `health.active`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Active {
    /// What is asked for, with `GET`.
    pub path: Box<[u8]>,
    /// `host`: the probe's authority. Default: the target's cluster.
    pub host: Option<Box<[u8]>>,
    /// From one probe of a target to the next, in nanoseconds. Default 10 s, from 10 ms.
    pub interval: u64,
    /// How long an answer may take, in nanoseconds; at most `interval`. Default 1 s, or `interval` if that is shorter.
    pub timeout: u64,
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
    /// Requests go to all of them as if they were healthy. The default: health checks err, and this is no worse than nothing.
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
    /// The place of the pool in [`Config::pools`].
    pub pool: usize,
    /// The place of the target in [`Pool::targets`].
    pub target: usize,
}

/// Something that happened and that an operator can count, with the pool and target that it happened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The place of the pool in [`Config::pools`].
    pub pool: usize,
    /// The place of the target in [`Pool::targets`].
    pub target: usize,
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

/// What one worker knows of health.
#[derive(Debug)]
pub struct Health {}

impl Health {
    /// For a configuration. `holder` is random: it tells this worker from all others that ever were.
    pub fn new(_config: &Config, _holder: u64) -> Health {
        Health {}
    }

    /// Brings what this worker knows of a pool up to date. One read of a gauge; a record is read only if another worker has
    /// changed it, or where the proxy has no gauges if the last look is 50 ms ago. `now` is in nanoseconds since 1970.
    pub fn refresh(&mut self, _port: &mut dyn Port, _pool: &Pool, _now: u64) {}

    /// Whether a target can be sent requests, by the last [`Health::refresh`].
    pub fn is_healthy(&self, _pool: &Pool, _target: usize, _now: u64) -> bool {
        true
    }

    /// Which part of its share a target gets for being new or recovered (`slow_start`): above 0, at most 1.
    pub fn share(&self, _pool: &Pool, _target: usize, _now: u64) -> f64 {
        1.0
    }

    /// What became of a request. It goes to shared data only if it changes something.
    pub fn outcome(&mut self, _port: &mut dyn Port, _pool: &Pool, _target: usize, _outcome: Outcome, _now: u64) {}

    /// How long from one [`Health::tick`] to the next, in nanoseconds, so that `interval`s are kept. None: it has nothing to do
    /// by itself.
    pub fn tick_period(&self) -> Option<u64> {
        None
    }

    /// The probes to send now. Of all workers one at a time has some.
    pub fn tick(&mut self, _port: &mut dyn Port, _config: &Config, _now: u64) -> Vec<Probe> {
        Vec::new()
    }

    /// What a probe was answered: its status, None if there was no answer.
    pub fn probed(&mut self, _port: &mut dyn Port, _config: &Config, _probe: &Probe, _status: Option<u16>, _now: u64) {}

    /// What happened since this was last asked. Only the worker that made a change tells of it.
    pub fn take_events(&mut self) -> Vec<Event> {
        Vec::new()
    }
}

//! The state of one target, and what changes it. All of this is pure: it runs within the
//! compare-and-swap of the pool's record.
//!
//! ```text
//!            consecutive_failures                `eject` is over
//!  healthy ─────────────────────────► ejected ─────────────────────► probing
//!     ▲                                  ▲                              │ │
//!     │                                  └────────── one failure ───────┘ │
//!     └────────────────────────────────────────────── one success ────────┘
//! ```
//!
//! Which failures count, and how often, is a matter of [`super::votes`].
//!
//! Probes eject a target after `fall` bad ones in a row, and make it healthy after `rise` good
//! ones: also a target that failed requests had ejected, and before its time is over (Envoy's
//! `successful_active_health_check_uneject_host`). With probes a passive ejection does not end by
//! time alone: not while the last probe was bad. A target that is new, where `initial` is
//! `unhealthy`, waits for one good probe ([`WAITING`]).

use super::clients::Clients;
use super::votes::{Failed, FailureRow};
use super::{Active, Checks, HealthChange, Initial, LastFailure, Passive, Why, is_pending};
use crate::time::Nanos;

/// The state of one target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TargetHealth {
    /// When the slow start begins or began; later than now while it is ejected. 0: never.
    pub slow_start_at: Nanos,
    /// Passively ejected until then, and probing from then on. 0: neither.
    pub ejected_until: Nanos,
    /// Failed requests in a row.
    pub row: FailureRow,
    /// Passive ejections in a row.
    pub ejections: u32,
    /// Good probes in a row.
    pub good_probes: u32,
    /// Bad probes in a row.
    pub bad_probes: u32,
    /// Not 0: ejected by probes; [`WAITING`]: new, and without a good probe. Kept as a number, so
    /// that an entry of another pool in the same record is written as it was read.
    pub fallen: u32,
}

/// What a request or a probe changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transition {
    /// Nothing at all, so that nothing has to be written.
    Nothing,
    /// Only what is counted in a row.
    Count,
    /// The state.
    State(HealthChange),
}

impl TargetHealth {
    /// The state of a target that nothing is known of.
    pub(super) fn new(initial: Initial) -> TargetHealth {
        TargetHealth {
            fallen: match initial {
                Initial::Healthy => 0,
                Initial::Unhealthy => WAITING,
            },
            ..TargetHealth::default()
        }
    }

    /// Whether it is new and waits for its first good probe.
    pub(super) fn is_waiting(&self) -> bool {
        self.fallen == WAITING
    }

    /// Whether it can be sent requests.
    pub(super) fn is_healthy(&self, checks: &Checks, now: Nanos) -> bool {
        // A configuration without probes has none that could end it.
        if self.fallen != 0 && checks.active.is_some() {
            return false;
        }
        let Some(passive) = &checks.passive else {
            return true;
        };
        let is_held_by_probes =
            checks.active.is_some() && self.ejected_until != Nanos::ZERO && self.bad_probes > 0;
        !(self.is_ejected(passive, now) || is_held_by_probes)
    }

    /// Whether failed requests have ejected it, and the time of that is not over.
    pub(super) fn is_ejected(&self, passive: &Passive, now: Nanos) -> bool {
        is_pending(self.ejected_until, passive.max_eject, now)
    }

    /// Whether it fails as often as it takes to eject it, whatever keeps it in. `recent`: the clients
    /// that the pool answered lately.
    pub(super) fn is_failing(&self, passive: &Passive, recent: Clients, now: Nanos) -> bool {
        let threshold = passive.consecutive_failures;
        self.fallen != 0
            || self.is_ejected(passive, now)
            || self.row.is_enough(threshold, recent, now)
    }

    /// Whether its entry says no more than that the target is healthy.
    pub(super) fn is_idle(&self) -> bool {
        self.ejected_until == Nanos::ZERO && self.row.failures == 0 && self.fallen == 0
    }

    /// When its slow start begins or began. None: it never was new or ejected.
    pub(super) fn slow_start_begun(&self) -> Option<Nanos> {
        (self.slow_start_at != Nanos::ZERO).then_some(self.slow_start_at)
    }

    /// A request failed. `may_eject`: whether `max_ejected_percent` has room for one more.
    pub(super) fn on_failure(
        &mut self,
        passive: &Passive,
        failed: &Failed,
        may_eject: bool,
        now: Nanos,
    ) -> Transition {
        // A request that was sent before the ejection says nothing new.
        if self.is_ejected(passive, now) {
            return Transition::Nothing;
        }
        self.row = self.row.with(failed, now);
        let threshold = match self.is_probing(passive, now) {
            true => 1,
            false => passive.consecutive_failures,
        };
        if !(may_eject && self.row.is_enough(threshold, failed.recent, now)) {
            return Transition::Count;
        }
        let ejections = self.ejections_in_a_row(passive, now).saturating_add(1);
        let end = now + (u64::from(ejections) * passive.eject).min(passive.max_eject);
        *self = TargetHealth {
            ejections,
            ejected_until: end,
            slow_start_at: end,
            row: FailureRow::default(),
            good_probes: 0,
            ..*self
        };
        Transition::State(HealthChange::Ejected)
    }

    /// A request did not fail.
    pub(super) fn on_success(&mut self, passive: &Passive, now: Nanos) -> Transition {
        if self.is_ejected(passive, now) {
            return Transition::Nothing;
        }
        let recovers = self.is_probing(passive, now);
        if !recovers && self.row.failures == 0 {
            return Transition::Nothing;
        }
        self.row = FailureRow::default();
        if !recovers {
            return Transition::Count;
        }
        self.ejected_until = Nanos::ZERO;
        Transition::State(HealthChange::Recovered)
    }

    /// Why it has become what it is, from what it was `before`.
    pub(super) fn why(&self, before: &TargetHealth, now: Nanos) -> Why {
        let is_ejected = self.ejected_until > before.ejected_until;
        let good = self.good_probes.saturating_sub(before.good_probes);
        Why {
            count: match is_ejected {
                true => before.row.failures.saturating_add(1),
                false if self.bad_probes > before.bad_probes => self.bad_probes,
                false if good > 0 => self.good_probes,
                false => 0,
            },
            last: LastFailure::Unknown,
            eject: match is_ejected {
                true => self.ejected_until - now,
                false => Nanos::ZERO,
            },
        }
    }

    /// A probe was answered well, or it was not.
    pub(super) fn on_probe(&mut self, active: &Active, is_good: bool, now: Nanos) -> Transition {
        match is_good {
            true => self.on_good_probe(active, now),
            false => self.on_bad_probe(active),
        }
    }

    fn on_good_probe(&mut self, active: &Active, now: Nanos) -> Transition {
        let is_out = self.fallen != 0 || self.ejected_until != Nanos::ZERO;
        if !is_out && self.bad_probes == 0 {
            return Transition::Nothing;
        }
        self.bad_probes = 0;
        self.good_probes = self.good_probes.saturating_add(1);
        if !(is_out && (self.is_waiting() || self.good_probes >= active.rise)) {
            return Transition::Count;
        }
        *self = TargetHealth {
            fallen: 0,
            ejected_until: Nanos::ZERO,
            row: FailureRow::default(),
            slow_start_at: now,
            ..*self
        };
        Transition::State(HealthChange::Recovered)
    }

    fn on_bad_probe(&mut self, active: &Active) -> Transition {
        self.good_probes = 0;
        self.bad_probes = self.bad_probes.saturating_add(1);
        if self.fallen != 0 || self.bad_probes < active.fall {
            return Transition::Count;
        }
        self.fallen = 1;
        Transition::State(HealthChange::Fell)
    }

    /// Whether its ejection is over, and the next request decides.
    fn is_probing(&self, passive: &Passive, now: Nanos) -> bool {
        self.ejected_until != Nanos::ZERO && !self.is_ejected(passive, now)
    }

    /// How many ejections count as being in a row with the next one: one less for each `eject` that
    /// it was healthy since the last one.
    fn ejections_in_a_row(&self, passive: &Passive, now: Nanos) -> u32 {
        if self.ejected_until != Nanos::ZERO {
            return self.ejections;
        }
        // The last ejection ended when the slow start began.
        let healthy = (now - self.slow_start_at) / passive.eject.max(Nanos::new(1));
        let healthy = u32::try_from(healthy).unwrap_or(u32::MAX);
        self.ejections.saturating_sub(healthy)
    }
}

/// In place of the 1 of a target that fell: it is new, and waits for its first good probe.
pub(super) const WAITING: u32 = 2;

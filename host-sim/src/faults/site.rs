//! What every fault is played on.

use super::load::{Log, Watch};
use super::{Plan, Played, load};
use crate::envoy::fleet::Fleet;
use crate::envoy::{Deployment, Envoy, PluginConfiguration, Program, Wanted, install};
use crate::module;
use anyhow::{Context, Result};
use serde_json::Value;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// So that what one worker alone could hide shows.
pub const WORKERS: u32 = 2;
/// How long connections go on after a reload and before a restart. (Envoy's default is ten
/// minutes.)
pub const DRAIN_TIME: Duration = Duration::from_secs(2);
/// How long counts may take to be right: a VM that trapped is noticed within five seconds, on a
/// machine that has time.
const SETTLED: Duration = Duration::from_secs(30);
/// How often we look.
const GLANCE: Duration = Duration::from_millis(50);
/// What Envoy logs of a VM that traps.
const TRAP: &str = "Uncaught RuntimeError";

/// The programs, there before the first fault.
pub struct Stage {
    program: Program,
    pointsman: PathBuf,
    trap: PathBuf,
}

impl Stage {
    pub fn prepare() -> Result<Stage> {
        Ok(Stage {
            program: install::find(Wanted::Any)?,
            pointsman: module::build()?,
            trap: module::build_package("pointsman-trap")?,
        })
    }

    /// Envoy's.
    pub fn version(&self) -> String {
        self.program.version.to_string()
    }

    /// An Envoy with a backend for each target.
    pub fn site(&self, configuration: &Value) -> Result<Site> {
        self.site_with(configuration, Ok)
    }

    /// The same, with Pointsman in VMs that trap on demand.
    pub fn trapping_site(&self, configuration: &Value) -> Result<Site> {
        self.site_with(configuration, |deployment| {
            Ok(deployment.with_module(&self.trap))
        })
    }

    /// The same with Pointsman as it is, adjusted.
    pub fn site_with(
        &self,
        configuration: &Value,
        adjust: impl FnOnce(Deployment) -> Result<Deployment>,
    ) -> Result<Site> {
        let fleet = Fleet::start(configuration)?;
        let deployment = Deployment::of(&fleet, &self.pointsman)?
            .with_workers(WORKERS)
            .with_drain_time(DRAIN_TIME)
            .updatable();
        Ok(Site {
            envoy: Envoy::start(&self.program, adjust(deployment)?)?,
            fleet,
        })
    }
}

/// An Envoy and its backends.
pub struct Site {
    pub envoy: Envoy,
    pub fleet: Fleet,
}

impl Site {
    /// The sum of a counter over all targets of a pool. None where no target has one.
    pub fn of_targets(&self, pool: &str, counter: &str) -> Result<Option<u64>> {
        self.envoy.filter_sum(
            &format!("pointsman.pool.{pool}.target."),
            &format!(".{counter}"),
        )
    }

    /// Another configuration for the same backends, over LDS. An error is Envoy's refusal.
    pub fn update(&mut self, configuration: Value) -> Result<()> {
        let deployment = self.envoy.deployment().clone();
        let configuration = PluginConfiguration::Struct(configuration);
        self.envoy
            .update(deployment.with_configuration(configuration))
    }

    /// Whether a VM has trapped.
    pub fn has_trapped(&self) -> bool {
        self.envoy.log().contains(TRAP)
    }

    /// The row of a fault that is over: the promises of the load, and those that hold after every
    /// fault.
    pub fn played(
        &self,
        fault: String,
        mut log: Log,
        promised: &str,
        seen: String,
    ) -> Result<Played> {
        log.nothing_wrong();
        let begin = Instant::now();
        let counted = loop {
            let counted = self.envoy.requests_in_flight()?;
            if counted == 0 || begin.elapsed() > SETTLED {
                break counted;
            }
            sleep(GLANCE);
        };
        if counted > 0 {
            log.broken
                .push(format!("{counted} requests are still counted as in flight"));
        }
        Ok(Played {
            fault,
            requests: log.requests(),
            failed: log.failed(),
            promised: promised.to_owned(),
            seen,
            broken: log.broken,
        })
    }

    /// The same where no VM may trap.
    pub fn survived(
        &self,
        fault: String,
        mut log: Log,
        promised: &str,
        seen: String,
    ) -> Result<Played> {
        if self.has_trapped() {
            log.broken.push("a VM has trapped".to_owned());
        }
        self.played(fault, log, promised, seen)
    }

    /// Sends load that is as good as any other, and acts.
    pub fn under_load<T>(
        &mut self,
        plan: &Plan,
        act: impl FnOnce(&mut Site, &Watch<'_>) -> Result<T>,
    ) -> Result<(Log, T)> {
        let address = self.envoy.address()?;
        load::under(address, plan, &load::plain, |watch| act(self, watch))
    }

    /// A backend by its name.
    pub fn backend(&mut self, name: &str) -> Result<&mut crate::backend::Backend> {
        let mut backends = self
            .fleet
            .members_mut()
            .iter_mut()
            .map(|member| &mut member.backend);
        backends
            .find(|backend| backend.name() == name)
            .context("a backend")
    }
}

/// A time for people: of a fault there is no more to know than this.
pub fn shown(time: Duration) -> String {
    match time.as_millis() {
        0 => "less than 1 ms".to_owned(),
        1..1000 => format!("{} ms", time.as_millis()),
        _ => format!("{:.1} s", time.as_secs_f64()),
    }
}

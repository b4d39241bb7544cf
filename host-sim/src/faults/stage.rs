//! What every fault is played on, and what must hold after every fault.

use super::load::{self, Log, Watch};
use super::{FaultPlan, FaultResult};
use crate::envoy::fleet::Fleet;
use crate::envoy::{Deployment, Program, Wanted, install};
use crate::module;
use crate::testkit::Site;
use crate::testkit::shared_limit::{SharedLimit, SharedLimitPlan};
use crate::wait::poll_within;
use anyhow::Result;
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

/// How many workers an Envoy has: what one worker alone could hide shows.
pub(super) const WORKERS: u32 = 2;
/// How long connections go on after a reload and before a restart. (Envoy's default is ten
/// minutes.)
pub(super) const DRAIN_TIME: Duration = Duration::from_secs(2);
/// How long counts may take to be right. The promise is that they are right within five seconds
/// after a VM has trapped, on a machine that has time.
const SETTLED: Duration = Duration::from_secs(30);

/// The programs, which are there before the first fault.
pub(super) struct Stage {
    program: Program,
    pointsman: PathBuf,
    trap: PathBuf,
}

impl Stage {
    /// Builds the modules and finds an Envoy.
    pub(super) fn prepare() -> Result<Stage> {
        Ok(Stage {
            program: install::find(Wanted::Any)?,
            pointsman: module::build()?,
            trap: module::build_package("pointsman-trap")?,
        })
    }

    /// The version of Envoy.
    pub(super) fn version(&self) -> String {
        self.program.version.to_string()
    }

    /// An Envoy with a backend for each target.
    pub(super) fn site(&self, configuration: &Value) -> Result<Site> {
        self.site_with(configuration, Ok)
    }

    /// Two Envoys with a limit that they share.
    pub(super) fn shared_limit(&self, plan: &SharedLimitPlan) -> Result<SharedLimit> {
        SharedLimit::start(&self.program, &self.pointsman, plan)
    }

    /// The same, with Pointsman in VMs that trap on demand.
    pub(super) fn trapping_site(&self, configuration: &Value) -> Result<Site> {
        self.trapping_site_with(configuration, Ok)
    }

    /// The same, adjusted.
    pub(super) fn trapping_site_with(
        &self,
        configuration: &Value,
        adjust: impl FnOnce(Deployment) -> Result<Deployment>,
    ) -> Result<Site> {
        self.site_with(configuration, |deployment| {
            adjust(deployment.with_module(&self.trap))
        })
    }

    /// The same with Pointsman as it is, adjusted.
    pub(super) fn site_with(
        &self,
        configuration: &Value,
        adjust: impl FnOnce(Deployment) -> Result<Deployment>,
    ) -> Result<Site> {
        let fleet = Fleet::start(configuration)?;
        let deployment = fleet
            .deployment(&self.pointsman)?
            .with_workers(WORKERS)
            .with_drain_time(DRAIN_TIME)
            .updatable();
        Site::of(&self.program, fleet, adjust(deployment)?)
    }
}

/// Runs `act` under load on the site; in the load every answer is as good as another.
pub(super) fn under_load<T>(
    site: &mut Site,
    plan: &FaultPlan,
    act: impl FnOnce(&mut Site, &Watch<'_>) -> Result<T>,
) -> Result<(Log, T)> {
    let address = site.envoy.address()?;
    load::under(address, plan, &load::plain, |watch| act(site, watch))
}

/// The row of a fault in which no VM may trap. The fault is over, and so is the site.
pub(super) fn survived(
    site: Site,
    fault: String,
    mut log: Log,
    promised: &str,
    seen: String,
) -> Result<FaultResult> {
    if site.has_trapped() {
        log.broken.push("a VM has trapped".to_owned());
    }
    played(site, fault, log, promised, seen)
}

/// The row of a fault that is over: the promises of the load, and those that hold after every
/// fault.
pub(super) fn played(
    site: Site,
    fault: String,
    mut log: Log,
    promised: &str,
    seen: String,
) -> Result<FaultResult> {
    log.nothing_wrong();
    let mut counted = 0;
    let settled = poll_within(SETTLED, || {
        counted = site.envoy.requests_in_flight()?;
        anyhow::Ok((counted == 0).then_some(()))
    })?;
    if settled.is_none() {
        log.broken
            .push(format!("{counted} requests are still counted as in flight"));
    }
    if let Err(error) = site.finish() {
        log.broken.push(format!("{error:#}"));
    }
    Ok(FaultResult {
        fault,
        requests: log.requests(),
        failed: log.failed(),
        promised: promised.to_owned(),
        seen,
        broken: log.broken,
    })
}

/// A time for people: of a fault there is no more to know than this.
pub(super) fn shown(time: Duration) -> String {
    match time.as_millis() {
        0 => "less than 1 ms".to_owned(),
        1..1000 => format!("{} ms", time.as_millis()),
        _ => format!("{:.1} s", time.as_secs_f64()),
    }
}

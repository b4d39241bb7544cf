//! `host-sim demo --fleet`: two real Envoys that share one limit, by an engine on Redis.

use super::report::{DemoReport, step};
use crate::cli::prebuilt::Prebuilt;
use anyhow::Result;
use host_sim::envoy::{Wanted, install};
use host_sim::testkit::engine::EngineOptions;
use host_sim::testkit::shared_limit::{SharedLimit, SharedLimitPlan};
use host_sim::wait::poll_within;
use std::time::{Duration, Instant};

/// What the engine admits, and how much comes, half of it to each proxy.
const LIMIT: u64 = 5_000;
const REQUESTS: usize = 12_000;
/// Clients of each proxy.
const CLIENTS: usize = 4;
/// What of the limit is used with leases at least, in percent: what is held when the limit is
/// reached is lost.
const LEAST: u64 = 90;

/// How the engine counts: its own way, and that of Limitador's storage on Redis.
const ONE_STEP: &str = "first-request";
const TWO_STEPS: &str = "two-steps";
/// How long counters may take.
const COUNTED: Duration = Duration::from_secs(5);

/// Prints what happened. True: all is as it should be.
pub(super) fn run(prebuilt: &Prebuilt) -> Result<bool> {
    say!("Setting up");
    let module = step("module", || {
        let path = prebuilt.path()?;
        Ok((path.display().to_string(), path))
    })?;
    let program = step("Envoy", || {
        let program = install::find(Wanted::Any)?;
        let what = format!("{} at {}", program.version, program.path.display());
        Ok((what, program))
    })?;
    let started = Instant::now();
    let mut report = DemoReport::default();
    for (mode, windows) in [("ask", ONE_STEP), ("lease", ONE_STEP), ("ask", TWO_STEPS)] {
        let options = EngineOptions {
            windows,
            ..EngineOptions::default()
        };
        let plan = SharedLimitPlan {
            mode,
            limit: LIMIT,
            options,
            ..SharedLimitPlan::default()
        };
        let shared = step("fleet", || {
            let shared = SharedLimit::start(&program, &module, &plan)?;
            let proxies = shared.sites.iter().map(|site| site.envoy.address());
            let proxies = proxies.map(|address| Ok(format!("http://{}", address?)));
            let proxies = proxies.collect::<Result<Vec<_>>>()?.join(" and ");
            let what = format!("{proxies}, an engine with Limitador's limits, redis-server");
            Ok((what, shared))
        })?;
        play(&shared, &plan, &mut report)?;
    }
    Ok(report.finish(started.elapsed()))
}

fn play(shared: &SharedLimit, plan: &SharedLimitPlan, report: &mut DemoReport) -> Result<()> {
    let SharedLimitPlan { mode, options, .. } = plan;
    let how = match options.windows {
        TWO_STEPS => ", and the engine looks and counts in two steps, as Limitador does on Redis",
        _ => "",
    };
    report.section(&format!(
        "mode: {mode}: {REQUESTS} requests to two proxies whose limit is {LIMIT} together{how}"
    ));
    let start = Instant::now();
    let counts = shared.send(CLIENTS, REQUESTS)?;
    let took = start.elapsed().as_secs_f64();
    report.sent(REQUESTS);
    let (mut admitted, mut failed) = (0, 0);
    for (at, counts) in counts.iter().enumerate() {
        admitted += counts.admitted;
        failed += counts.failed;
        say!(
            "    proxy {}  admitted {:>5}, refused {:>5}",
            at + 1,
            counts.admitted,
            counts.refused
        );
    }
    let (least, most) = match (*mode, options.windows) {
        (_, TWO_STEPS) => (LIMIT, REQUESTS as u64),
        ("ask", _) => (LIMIT, LIMIT),
        _ => (LIMIT * LEAST / 100, LIMIT),
    };
    let due = match (least == most, most == LIMIT) {
        (true, _) => "all of them and no more".to_owned(),
        (_, true) => format!("at least {least}, and never more than {LIMIT}"),
        _ => format!(
            "calls that cross may pass it: {} too many",
            admitted.saturating_sub(LIMIT)
        ),
    };
    report.check(
        (least..=most).contains(&admitted),
        &format!("{admitted} of {LIMIT} are admitted; {due}"),
    );
    report.check(failed == 0, &format!("{failed} failed"));
    // Counters are written by and by.
    let (mut asked, mut leased) = (0, 0);
    poll_within(COUNTED, || {
        let before = (asked, leased);
        (asked, leased) = (shared.counted("asked")?, shared.counted("leased")?);
        let is_still = asked > 0 && before == (asked, leased) && before != (0, 0);
        anyhow::Ok(is_still.then_some(()))
    })?;
    say!(
        "    {asked} requests asked the engine and waited for it, and {leased} tokens were bought ahead; {:.0} \
         requests/s",
        REQUESTS as f64 / took
    );
    Ok(())
}

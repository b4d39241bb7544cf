//! Backends that are gone, and one that never answers.

use super::load::Watch;
use super::stage::{Stage, shown, survived, under_load};
use super::{FaultPlan, FaultResult};
use crate::backend::Answer;
use crate::exchange::Response;
use crate::testkit::Site;
use anyhow::{Result, ensure};
use serde_json::{Value, json};
use std::time::Duration;

const ENDPOINTS: [&str; 3] = ["127.0.0.1:9101", "127.0.0.1:9102", "127.0.0.1:9103"];
/// How many failures in a row eject a target.
const FAILURES: usize = 3;
/// How long a backend takes that hangs: longer than any client waits.
const FOR_EVER: Duration = Duration::from_secs(3600);

/// A pool of three endpoints.
fn endpoints() -> Value {
    json!({
        "pools": { "api": {
            "cluster": "api",
            "targets": ENDPOINTS.map(|endpoint| json!({ "endpoint": endpoint })),
            "health": { "passive": { "consecutive_failures": FAILURES, "eject": "1s" } },
        } },
        "routes": [{ "name": "all", "pool": "api" }],
    })
}

/// Waits until a target that has broken down is ejected, and returns how long that took.
fn ejected(site: &Site, pool: &str, watch: &Watch<'_>, before: u64) -> Result<Duration> {
    watch.until("the target is ejected", || {
        Ok(ejections(site, pool)? > before)
    })
}

/// How often a target was ejected or failed its probes.
fn ejections(site: &Site, pool: &str) -> Result<u64> {
    let of_targets = |counter: &str| {
        let targets = format!("pointsman.pool.{pool}.target.");
        site.envoy.filter_sum(&targets, counter)
    };
    let (passive, active) = (of_targets(".ejected")?, of_targets(".fell")?);
    ensure!(
        passive.or(active).is_some(),
        "no target of {pool} has a counter of ejections"
    );
    Ok(passive.unwrap_or(0) + active.unwrap_or(0))
}

/// Kills one backend of three and starts it again, as often as planned. Returns how long the
/// slowest ejection took, and the slowest return.
fn kill_and_revive(
    site: &mut Site,
    pool: &str,
    name: &str,
    plan: &FaultPlan,
    watch: &Watch<'_>,
) -> Result<[Duration; 2]> {
    let mut took = [Duration::ZERO; 2];
    for _ in 0..plan.rounds {
        let before = ejections(site, pool)?;
        site.backend_mut(name)?.stop();
        let out = ejected(site, pool, watch, before)?;
        watch.more(plan.answers)?;
        site.backend_mut(name)?.start_again()?;
        let back = watch.until("it has requests again", || {
            Ok(site.backend(name)?.count() > plan.clients)
        })?;
        took = [took[0].max(out), took[1].max(back)];
        watch.more(plan.answers)?;
    }
    Ok(took)
}

pub(super) fn killed(stage: &Stage, plan: &FaultPlan) -> Result<FaultResult> {
    let mut site = stage.site(&endpoints())?;
    let (mut log, [out, back]) = under_load(&mut site, plan, |site, watch| {
        kill_and_revive(site, "api", ENDPOINTS[1], plan, watch)
    })?;
    log.at_most(0);
    let retries = site.envoy.stat("cluster.api.upstream_rq_retry")?;
    let seen = format!(
        "{retries} tried again at the next endpoint; ejected after {}, back after {}",
        shown(out),
        shown(back)
    );
    let fault = format!(
        "one endpoint of three killed, and back, {} times",
        plan.rounds
    );
    survived(site, fault, log, "none fails", seen)
}

pub(super) fn cluster_killed(stage: &Stage, plan: &FaultPlan) -> Result<FaultResult> {
    let targets = ["one", "two", "three"].map(|cluster| json!({ "cluster": cluster }));
    let mut site = stage.site(&json!({
        "pools": { "web": {
            "targets": targets,
            "health": {
                "passive": { "consecutive_failures": FAILURES, "eject": "1h", "max_eject": "1h" },
                "active": { "path": "/health", "interval": "1s", "timeout": "1s", "rise": 2, "fall": 2 },
            },
        } },
        "routes": [{ "name": "all", "pool": "web" }],
    }))?;
    let (mut log, [out, back]) = under_load(&mut site, plan, |site, watch| {
        kill_and_revive(site, "web", "two", plan, watch)
    })?;
    // When the last failure ejects the target, a request of every client may be under way to it.
    log.at_most(plan.rounds * (FAILURES + plan.clients));
    let seen = format!("ejected after {}, back after {}", shown(out), shown(back));
    let fault = format!(
        "one cluster of three killed, and back, {} times",
        plan.rounds
    );
    let promised = format!(
        "each time {FAILURES} fail (`consecutive_failures`), and what is under way to it then; none after it"
    );
    survived(site, fault, log, &promised, seen)
}

pub(super) fn hung(stage: &Stage, plan: &FaultPlan) -> Result<FaultResult> {
    let mut site = stage.site(&endpoints())?;
    let (mut log, (out, back)) = under_load(&mut site, plan, |site, watch| {
        let silence = Response {
            status: 200,
            headers: Vec::new(),
            body: Vec::new(),
        };
        site.backend(ENDPOINTS[1])?
            .answer(Answer::After(FOR_EVER, silence));
        let out = ejected(site, "api", watch, 0)?;
        watch.more(plan.answers)?;
        let backend = site.backend(ENDPOINTS[1])?;
        backend.answer(Answer::Name);
        let hung = backend.count();
        let back = watch.until("it has requests again", || {
            Ok(site.backend(ENDPOINTS[1])?.count() > hung + plan.clients)
        })?;
        Ok((out, back))
    })?;
    log.at_most(0);
    let retries = site.envoy.stat("cluster.api.upstream_rq_retry")?;
    let seen = format!(
        "{retries} waited for `per_try_timeout` and were answered by the next endpoint, the slowest after {}; ejected after {}, back after {}",
        shown(log.slowest()),
        shown(out),
        shown(back)
    );
    survived(
        site,
        "one endpoint of three hangs".to_owned(),
        log,
        "none fails",
        seen,
    )
}

pub(super) fn all_down(stage: &Stage, plan: &FaultPlan) -> Result<FaultResult> {
    let mut site = stage.site(&endpoints())?;
    let (mut log, [dead, starting, back]) = under_load(&mut site, plan, |site, watch| {
        site.fleet
            .members_mut()
            .iter_mut()
            .for_each(|member| member.backend.stop());
        let dead = watch.now();
        watch.more_failures(plan.answers)?;
        let starting = watch.now();
        for member in site.fleet.members_mut() {
            member.backend.start_again()?;
        }
        Ok([dead, starting, watch.now()])
    })?;
    log.none_between(back, Duration::MAX, "after they were back");
    let during = log.failed_between(dead, starting);
    let recovered = log
        .first_good_after(back)
        .unwrap_or(Duration::MAX)
        .saturating_sub(back);
    let seen = format!(
        "for {}; {during} sent meanwhile, each answered, the slowest after {}; the first good answer {} after",
        shown(starting - dead),
        shown(log.slowest()),
        shown(recovered)
    );
    survived(
        site,
        "all endpoints killed, and back".to_owned(),
        log,
        "all fail that are sent meanwhile, none that is sent after",
        seen,
    )
}

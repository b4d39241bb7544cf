//! What goes wrong with a limit that two proxies share: with the engine, its store, a proxy that
//! holds tokens, a clock.
//!
//! What is promised is how many requests are admitted; so these faults have no load besides, and
//! all of one falls into one window of the engine, which is a day. `on_error` is `refuse`.

use super::stage::Stage;
use super::{FaultPlan, FaultResult};
use crate::testkit::engine::EngineOptions;
use crate::testkit::shared_limit::{Answered, SharedLimit, SharedLimitPlan, counted};
use anyhow::{Context, Result, bail};
use std::time::Duration;

/// What the engine admits.
const LIMIT: u64 = 2_000;
/// What comes before the fault, and while it lasts: together less than the limit.
const BEFORE: usize = 800;
const DURING: usize = 400;
const MODES: [&str; 2] = ["ask", "lease"];

/// A fault, as it is played.
#[derive(Default)]
struct Play {
    requests: u64,
    failed: u64,
    seen: Vec<String>,
    broken: Vec<String>,
}

impl Play {
    fn counted(&mut self, counts: Answered) -> u64 {
        self.requests += counts.admitted + counts.refused + counts.failed;
        self.failed += counts.failed;
        counts.admitted
    }

    fn must(&mut self, holds: bool, what: String) {
        if !holds {
            self.broken.push(what);
        }
    }

    fn never_above(&mut self, mode: &str, admitted: u64, most: u64) {
        self.must(
            admitted <= most,
            format!("`{mode}` admitted {admitted} of {most}"),
        );
    }

    /// The proxies are as before: no VM has trapped.
    fn end(&mut self, shared: SharedLimit) {
        for site in shared.sites {
            if site.has_trapped() {
                self.broken.push("a VM has trapped".to_owned());
            }
            if let Err(error) = site.finish() {
                self.broken.push(format!("{error:#}"));
            }
        }
    }

    fn result(mut self, fault: &str, promised: &str) -> FaultResult {
        self.must(self.failed == 0, format!("{} failed", self.failed));
        FaultResult {
            fault: fault.to_owned(),
            requests: usize::try_from(self.requests).unwrap_or(usize::MAX),
            failed: usize::try_from(self.failed).unwrap_or(usize::MAX),
            promised: promised.to_owned(),
            seen: self.seen.join("; "),
            broken: self.broken,
        }
    }
}

fn plan_of(mode: &'static str) -> SharedLimitPlan {
    SharedLimitPlan {
        mode,
        limit: LIMIT,
        ..SharedLimitPlan::default()
    }
}

/// The engine is killed, and comes back.
pub(super) fn engine_killed(stage: &Stage, plan: &FaultPlan) -> Result<FaultResult> {
    let mut play = Play::default();
    for mode in MODES {
        let mut shared = stage.shared_limit(&plan_of(mode))?;
        let before = play.counted(shared.send_all(plan.clients, BEFORE)?);
        shared.engine.kill();
        let during = play.counted(shared.send_all(plan.clients, DURING)?);
        shared.engine.start_again(EngineOptions::default())?;
        let after = play.counted(shared.send_until_refused(plan.clients)?);
        play.never_above(mode, before + during + after, LIMIT);
        if mode == "ask" {
            play.must(during == 0, format!("{during} admitted without the engine"));
        }
        play.seen.push(format!(
            "`{mode}`: {before} before, {during} of {DURING} without it, {after} after"
        ));
        play.end(shared);
    }
    Ok(play.result(
        "the engine is killed, and comes back",
        "never more than 2,000 are admitted; without the engine only by tokens held; none fails",
    ))
}

/// Redis is killed, and comes back: with what it has counted, or without.
pub(super) fn store_killed(stage: &Stage, plan: &FaultPlan) -> Result<FaultResult> {
    let mut play = Play::default();
    for (mode, keeps) in [("ask", true), ("lease", true), ("lease", false)] {
        let mut shared = stage.shared_limit(&SharedLimitPlan {
            keeps,
            ..plan_of(mode)
        })?;
        let before = play.counted(shared.send_all(plan.clients, BEFORE)?);
        shared.redis.kill();
        let during = play.counted(shared.send_all(plan.clients, DURING)?);
        shared.redis.start_again()?;
        let after = play.counted(shared.send_until_refused(plan.clients)?);
        let most = if keeps { LIMIT } else { 2 * LIMIT };
        play.never_above(mode, before + during + after, most);
        if mode == "ask" {
            play.must(during == 0, format!("{during} admitted without Redis"));
        }
        let kept = if keeps { "kept" } else { "lost" };
        play.seen.push(format!(
            "`{mode}`, counts {kept}: {before} before, {during} of {DURING} without it, {after} after"
        ));
        play.end(shared);
    }
    Ok(play.result(
        "Redis is killed, and comes back with its counts (`appendfsync always`) or without",
        "never more than 2,000 are admitted, or 4,000 where Redis loses its counts; none fails",
    ))
}

/// The engine answers after the limit's time-out.
pub(super) fn engine_slow(stage: &Stage, plan: &FaultPlan) -> Result<FaultResult> {
    const SLOW: usize = 40;
    let mut play = Play::default();
    for (mode, on_error) in [("ask", "refuse"), ("ask", "admit"), ("lease", "refuse")] {
        let mut shared = stage.shared_limit(&SharedLimitPlan {
            on_error,
            timeout: "200ms",
            ..plan_of(mode)
        })?;
        let before = play.counted(shared.send_all(plan.clients, BEFORE)?);
        let granted = shared.redis.counted()?;
        let mut held = 0;
        shared.engine.start_again(EngineOptions {
            delay: Duration::from_secs(2),
            ..EngineOptions::default()
        })?;
        // What is held is used up.
        if mode == "lease" {
            for _ in 0..10 {
                let now = play.counted(shared.send_all(plan.clients, DURING)?);
                held += now;
                if now == 0 {
                    break;
                }
            }
        }
        let slow = play.counted(shared.send_all(plan.clients, SLOW)?);
        let is_due = match (mode, on_error) {
            // A worker may hold tokens that no client came to before.
            ("lease", _) => before + held + slow <= granted,
            (_, "admit") => slow == SLOW as u64,
            _ => slow == 0,
        };
        play.must(
            is_due,
            format!("`{mode}`: {slow} of {SLOW} admitted for {on_error}"),
        );
        play.seen.push(format!(
            "`{mode}`, `{on_error}`: {before} before, {slow} of {SLOW} while it is slow"
        ));
        play.end(shared);
    }
    Ok(play.result(
        "the engine answers 2 s late, with a `timeout` of 200 ms",
        "each request is answered by `on_error`, and none fails",
    ))
}

/// A proxy is killed that holds tokens.
pub(super) fn holder_killed(stage: &Stage, plan: &FaultPlan) -> Result<FaultResult> {
    let mut play = Play::default();
    let mut shared = stage.shared_limit(&plan_of("lease"))?;
    let [first, second] = shared.send(plan.clients, BEFORE)?[..] else {
        bail!("there are not two proxies");
    };
    let before = play.counted(first) + play.counted(second);
    let killed = shared.sites.pop().context("no proxy")?;
    // Nothing was refused yet, so all that was asked for was granted.
    let leased = counted(&killed, "leased")?;
    let held = (counted(&killed, "asked")? + leased).saturating_sub(second.admitted);
    killed.kill();
    let after = play.counted(shared.send_until_refused(plan.clients)?);
    let granted = shared.redis.counted()?;
    play.never_above("lease", before + after, LIMIT);
    play.must(after > 0, "the other one is admitted nothing".to_owned());
    play.must(
        0 < leased && held <= leased,
        format!("the killed one held {held} of {leased} that it had leased"),
    );
    // All of the limit is granted, so that nothing else is lost than what the two held.
    play.must(granted == LIMIT, format!("{granted} are granted in all"));
    let kept = granted.saturating_sub(before + after + held);
    play.seen.push(format!(
        "{before} before by both; the killed one held {held} of {leased} that it had leased: so many \
         are lost; {after} after by the other, which holds {kept}"
    ));
    play.end(shared);
    Ok(play.result(
        "one of two proxies is killed that holds tokens",
        "never more than 2,000 are admitted; what it held is lost, at most what it had leased and no more, and the other goes on; none fails",
    ))
}

/// The engine's clock goes a window ahead, and back.
pub(super) fn engine_clock_stepped(stage: &Stage, plan: &FaultPlan) -> Result<FaultResult> {
    let mut play = Play::default();
    let clock = |clock_ahead| EngineOptions {
        windows: "clock",
        clock_ahead,
        ..EngineOptions::default()
    };
    let day = i64::try_from(SharedLimitPlan::DAY * 1000)?;
    for mode in MODES {
        let mut shared = stage.shared_limit(&SharedLimitPlan {
            options: clock(0),
            ..plan_of(mode)
        })?;
        let before = play.counted(shared.send_all(plan.clients, BEFORE)?);
        shared.engine.start_again(clock(day))?;
        let ahead = play.counted(shared.send_until_refused(plan.clients)?);
        shared.engine.start_again(clock(0))?;
        let back = match mode {
            // Refused until the window ends, by what the engine said: a day.
            "lease" => play.counted(shared.send_all(plan.clients, DURING)?),
            _ => play.counted(shared.send_until_refused(plan.clients)?),
        };
        play.never_above(mode, before + ahead + back, 2 * LIMIT);
        play.must(
            before + back <= LIMIT,
            format!("{before} and {back} admitted in one window"),
        );
        play.seen.push(format!(
            "`{mode}`: {before} before, {ahead} in the window ahead, {back} after the step back"
        ));
        play.end(shared);
    }
    Ok(play.result(
        "the clock of an engine with windows of the clock steps a window ahead, and back",
        "no more are admitted than are granted: 2,000 for each window; none fails",
    ))
}

/// The clock of one of two proxies steps, and comes back.
pub(super) fn proxy_clock_stepped(stage: &Stage, plan: &FaultPlan) -> Result<FaultResult> {
    // With each step what a worker holds is lost, and no request may be refused for that.
    const MOST: u64 = 20_000;
    const HOUR: i64 = 3_600;
    let mut play = Play::default();
    for mode in MODES {
        let shared = stage.shared_limit(&SharedLimitPlan {
            limit: MOST,
            has_clock: true,
            ..plan_of(mode)
        })?;
        let clock = shared.clock.as_ref().context("no clock")?;
        let mut admitted = play.counted(shared.send_all(plan.clients, BEFORE)?);
        let mut seen = vec![format!("{admitted} before")];
        let steps = [("ahead", HOUR), ("behind", -HOUR), ("right again", 0)];
        for (name, ahead) in steps {
            clock.set_ahead(ahead)?;
            // The other one's is right.
            let apart = shared.sites[0].envoy.time()? - shared.sites[1].envoy.time()?;
            play.must(
                (apart - ahead).abs() < 600,
                format!("{name}: the clocks are {apart} s apart"),
            );
            let now = play.counted(shared.send_all(plan.clients, DURING)?);
            play.must(
                now == DURING as u64,
                format!("`{mode}`, {name}: {now} of {DURING} admitted"),
            );
            seen.push(format!("{now} of {DURING} {name}"));
            admitted += now;
        }
        let after = play.counted(shared.send_until_refused(plan.clients)?);
        let granted = shared.redis.counted()?;
        play.never_above(mode, admitted + after, granted);
        play.never_above(mode, granted, MOST);
        play.must(
            mode == "ask" || shared.counted("leased")? > 0,
            "nothing was leased".to_owned(),
        );
        play.seen.push(format!(
            "`{mode}`: {}, {after} after; {} of the limit are lost",
            seen.join(", "),
            MOST.saturating_sub(admitted + after)
        ));
        play.end(shared);
    }
    Ok(play.result(
        "the clock of one of two proxies steps an hour ahead, two hours back, and is right again",
        "never more than 20,000 are admitted; none is refused before; none fails",
    ))
}

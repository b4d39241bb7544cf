//! What happens to the proxy itself: a VM that traps, configurations good and bad, another Envoy
//! that takes over.

use super::load::{self, Ending, LoadRequest, backend};
use super::stage::{Stage, WORKERS, played, shown, survived, under_load};
use super::{FaultPlan, FaultResult};
use crate::backend::Answer;
use crate::client::{Client, header, session_cookie};
use crate::envoy::{Deployment, FilterFile, PluginConfiguration};
use crate::exchange::Response;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a request is under way that a VM may take along when it traps.
const SERVICE: Duration = Duration::from_millis(20);
/// After a trap Envoy loads a VM anew with the next request; but not within 1.5 s of the last time,
/// until then it answers 503 (`reload_config`).
const BACK_OFF: Duration = Duration::from_secs(3);

pub(super) fn trapped(stage: &Stage, plan: &FaultPlan) -> Result<FaultResult> {
    let mut site = stage.trapping_site(&json!({
        "pools": { "web": { "balance": "least_connections", "targets": [{ "cluster": "one" }, { "cluster": "two" }] } },
        "routes": [{ "name": "all", "pool": "web" }],
    }))?;
    let slow = Response {
        status: 200,
        headers: Vec::new(),
        body: Vec::new(),
    };
    site.fleet.answer(&Answer::After(SERVICE, slow));
    let (mut log, traps) = under_load(&mut site, plan, |site, watch| {
        let mut traps = Vec::new();
        for _ in 0..plan.rounds {
            sleep(BACK_OFF);
            let sent = watch.now();
            let ending = load::get(&mut site.envoy.client()?, &[("x-trap", b"1")], |_| {
                Ending::Wrong("it should have trapped".to_owned())
            });
            let ended = watch.now();
            watch.more(plan.answers)?;
            traps.push(LoadRequest {
                sent,
                ended,
                ending,
            });
        }
        Ok(traps)
    })?;
    if !site.has_trapped() {
        log.broken.push("no VM has trapped".to_owned());
    }
    // What is sent when the trap has been seen is served by a new VM.
    let next = traps
        .iter()
        .skip(1)
        .map(|trap| trap.sent)
        .chain([Duration::MAX]);
    for (trap, next) in traps.iter().zip(next) {
        log.none_between(trap.ended, next, "after a trap");
    }
    let under_way = log.failed();
    log.add(traps);
    log.at_most(plan.rounds * (1 + plan.clients));
    let seen = format!(
        "{under_way} were under way; the next request found a new VM; all counts right again"
    );
    let fault = format!("a request makes its VM trap, {} times", plan.rounds);
    played(
        site,
        fault,
        log,
        "that request, and those under way in its VM",
        seen,
    )
}

/// A pool of two clusters, and which configuration it is in a header.
fn revision(number: usize) -> Value {
    json!({
        "pools": { "web": {
            "targets": [{ "cluster": "blue", "weight": 1 + number % 3 }, { "cluster": "green" }],
            "sticky": { "cookie": { "name": "pm" }, "keys": ["YS1uZXcta2V5LW9mLWF0LWxlYXN0LTE2LWJ5dGVz"] },
        } },
        "routes": [{ "name": "all", "pool": "web", "response_headers": { "set": { "x-revision": number.to_string() } } }],
    })
}

/// Whether a new connection is served by this configuration.
fn is_revision(client: &mut Client, number: usize) -> Ending {
    load::get(client, &[], |answer| match header(answer, "x-revision") {
        revision if revision == number.to_string() => Ending::Good,
        other => Ending::Wrong(format!("revision {other:?} in place of {number}")),
    })
}

pub(super) fn reloaded(stage: &Stage, plan: &FaultPlan) -> Result<FaultResult> {
    let mut site = stage.site(&revision(0))?;
    let (mut log, took) = under_load(&mut site, plan, |site, watch| {
        let start = Instant::now();
        for number in 1..=plan.reloads {
            site.update(revision(number))?;
            let serves = is_revision(&mut site.envoy.client()?, number);
            if serves != Ending::Good {
                watch.broken(format!("after reload {number}: {serves:?}"));
            }
        }
        Ok(start.elapsed())
    })?;
    log.at_most(0);
    let seen = format!(
        "all in {}; each one serves as soon as Envoy has taken it",
        shown(took)
    );
    let fault = format!("configuration reloaded {} times", plan.reloads);
    survived(site, fault, log, "none fails", seen)
}

/// Routes of a large configuration.
const ROUTES: usize = 10_000;
/// From one of its reloads to the next, at least: a thousand in ten minutes.
const PACE: Duration = Duration::from_millis(600);
/// After so many reloads the memory is what the later ones are held to.
const FIRST: usize = 3;

/// [`revision`] with as many routes, as text.
fn large_revision(number: usize) -> PluginConfiguration {
    let mut revision = revision(number);
    let route = |route: usize| {
        let path = json!({ "prefix": format!("/service-{route}") });
        json!({ "name": format!("route-{route}"), "match": { "path": path }, "pool": "web" })
    };
    if let Some(routes) = revision["routes"].as_array_mut() {
        routes.splice(0..0, (1..ROUTES).map(route));
    }
    PluginConfiguration::Text(revision.to_string())
}

/// As `envoy-config/envoy-ecds.yaml` has it: the filter comes alone, and nothing drains.
pub(super) fn large_reloaded(stage: &Stage, plan: &FaultPlan) -> Result<FaultResult> {
    let mut file = None;
    let mut site = stage.site_with(&revision(0), |deployment| {
        let deployment = deployment.with_configuration(large_revision(0));
        let (deployment, discovered) = FilterFile::of(deployment)?;
        file = Some(discovered);
        Ok(deployment)
    })?;
    let file = file.context("a file with the filter")?;
    let reloads = (plan.reloads / 2).max(FIRST + 1);
    let (mut log, (took, first, most)) = under_load(&mut site, plan, |site, watch| {
        let start = Instant::now();
        let (mut first, mut most) = (0, 0);
        let mut client = site.envoy.client()?;
        let mut last = start;
        for number in 1..=reloads {
            // Nothing is made up for where the machine was slow.
            sleep(PACE.saturating_sub(last.elapsed()));
            last = Instant::now();
            file.configure(large_revision(number))?;
            watch.until("the new configuration serves", || {
                Ok(is_revision(&mut client, number) == Ending::Good)
            })?;
            most = most.max(site.envoy.resident_memory()? >> 20);
            if number <= FIRST {
                first = most;
            }
        }
        Ok((start.elapsed(), first, most))
    })?;
    log.at_most(0);
    if most > 2 * first {
        log.broken.push(format!(
            "{most} MiB of memory, and {first} MiB in the first {FIRST}"
        ));
    }
    let seen = format!(
        "all in {}, by ECDS; at most {most} MiB of memory, and {first} MiB in the first {FIRST}",
        shown(took)
    );
    let fault = format!("configuration of {ROUTES} routes reloaded {reloads} times");
    let promised =
        format!("none fails, memory of the process is at most twice that of the first {FIRST}");
    survived(site, fault, log, &promised, seen)
}

/// Configurations that are wrong, each in another way. Envoy does not ask the filter again about
/// bytes that it has refused, so each `number` makes other bytes; no good configuration has that
/// number.
fn bad_configurations(number: usize) -> [Value; 5] {
    let with = |path: &str, value: Value| {
        let mut configuration = revision(number);
        if let Some(place) = configuration.pointer_mut(path) {
            *place = value;
        }
        configuration
    };
    [
        with("/routes/0/pool", "wbe".into()),
        with("/pools/web/targets", json!([])),
        with("/pools/web/sticky/keys", json!(["short"])),
        with("/routes", json!({ "all": number })),
        with("/pools", json!([number])),
    ]
}

pub(super) fn bad_configuration(stage: &Stage, plan: &FaultPlan) -> Result<FaultResult> {
    let mut site = stage.site(&revision(0))?;
    let (mut log, sent) = under_load(&mut site, plan, |site, watch| {
        let mut sent = 0;
        for round in 0..plan.rounds {
            for bad in bad_configurations(plan.rounds + 1 + round) {
                sent += 1;
                if site.update(bad.clone()).is_ok() {
                    watch.broken(format!("taken: {bad}"));
                }
                let serves = is_revision(&mut site.envoy.client()?, round);
                if serves != Ending::Good {
                    watch.broken(format!("after a bad configuration: {serves:?}"));
                }
            }
            site.update(revision(round + 1))?;
        }
        Ok(sent)
    })?;
    log.at_most(0);
    let seen = format!(
        "all {sent} refused, the one before kept serving, the next good one was taken each time"
    );
    let fault = format!("bad configuration pushed, {sent} times");
    survived(site, fault, log, "none fails", seen)
}

/// A session: its cookie, and the backend that answers it.
type Session = (String, String);

/// A client with a session asks its target only; every other client begins anew each time.
fn in_session(sessions: &[Mutex<Option<Session>>], number: usize, client: &mut Client) -> Ending {
    let mut session = sessions[number]
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    if !number.is_multiple_of(2) {
        return load::plain(number, 0, client);
    }
    match &*session {
        Some((cookie, target)) => {
            load::get(
                client,
                &[("cookie", cookie.as_bytes())],
                |answer| match backend(answer) {
                    same if same == target && !answer.headers().contains_key("set-cookie") => {
                        Ending::Good
                    }
                    other => Ending::Wrong(format!(
                        "a session of {target} was answered by {other}, or is a new one"
                    )),
                },
            )
        }
        None => {
            let mut begun = None;
            let ending = load::get(client, &[], |answer| match session_cookie(answer) {
                Some(cookie) => {
                    begun = Some((cookie, backend(answer).to_owned()));
                    Ending::Good
                }
                None => Ending::Wrong("no session".to_owned()),
            });
            *session = begun;
            ending
        }
    }
}

pub(super) fn workers_doubled(stage: &Stage, plan: &FaultPlan) -> Result<FaultResult> {
    let mut site = stage.site_with(&revision(0), Deployment::hot_restartable)?;
    let sessions: Vec<Mutex<Option<Session>>> =
        (0..plan.clients).map(|_| Mutex::default()).collect();
    let address = site.envoy.address()?;
    let ask = |number: usize, _: usize, client: &mut Client| in_session(&sessions, number, client);
    let (mut log, took) = load::under(address, plan, &ask, |watch| {
        let start = Instant::now();
        site.envoy.hand_over(2 * WORKERS)?;
        let took = start.elapsed();
        let workers = site.envoy.stat("server.concurrency")?;
        if workers != u64::from(2 * WORKERS) {
            watch.broken(format!("{workers} workers"));
        }
        Ok(took)
    })?;
    log.at_most(0);
    let seen = format!(
        "hot restart on the same sockets, the old Envoy gone after {}; {} sessions stayed on their targets",
        shown(took),
        plan.clients.div_ceil(2)
    );
    let fault = format!("worker count doubled, from {WORKERS} to {}", 2 * WORKERS);
    survived(site, fault, log, "none fails, no session moves", seen)
}

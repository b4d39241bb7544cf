//! Two configurations in one Envoy, and a pool whose targets are all gone.

use super::stage::{Stage, shown, survived, under_load};
use super::{FaultPlan, FaultResult};
use crate::client::Client;
use crate::envoy::PluginConfiguration;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

const FAILURES: usize = 3;

/// A pool `web` with the targets `a` and `b`, in front of these clusters.
fn configuration(clusters: [&str; 2]) -> Value {
    let targets = [(clusters[0], "a"), (clusters[1], "b")];
    let targets = targets.map(|(cluster, name)| json!({ "cluster": cluster, "name": name }));
    let passive = json!({ "consecutive_failures": FAILURES, "eject": "1h", "max_eject": "1h" });
    json!({
        "pools": { "web": {
            "targets": targets,
            "balance": "least_connections",
            "health": { "passive": passive, "when_all_unhealthy": "respond_503" },
        } },
        "routes": [{ "name": "all", "pool": "web" }],
    })
}

pub(super) fn neighbour_down(stage: &Stage, plan: &FaultPlan) -> Result<FaultResult> {
    const OTHER: &str = "other";
    let mut backends = configuration(["one", "two"]);
    backends["pools"]["other"] = configuration(["three", "four"])["pools"]["web"].take();
    let mut site = stage.site_with(&backends, |deployment| {
        let of = |clusters| PluginConfiguration::Struct(configuration(clusters));
        let mut other = deployment.clone().with_configuration(of(["three", "four"]));
        let mut deployment = deployment.with_configuration(of(["one", "two"]));
        let mut listener = other.bootstrap_mut()["static_resources"]["listeners"][0].take();
        listener["name"] = json!(OTHER);
        let listeners = &mut deployment.bootstrap_mut()["static_resources"]["listeners"];
        let listeners = listeners.as_array_mut().context("a list of listeners")?;
        listeners.push(listener);
        Ok(deployment)
    })?;
    let (mut log, refused) = under_load(&mut site, plan, |site, watch| {
        for name in ["three", "four"] {
            site.backend_mut(name)?.stop();
        }
        let mut client = Client::new(site.envoy.listener(OTHER)?)?;
        let mut refused = 0;
        for _ in 0..plan.answers {
            let status = client.get("a", "/")?.status().as_u16();
            ensure!(status == 503, "the other listener answers {status}");
            refused += 1;
        }
        watch.more(plan.answers)?;
        Ok(refused)
    })?;
    log.at_most(0);
    let counts = ["one", "two"].map(|name| site.backend(name).map_or(0, |backend| backend.count()));
    // Fair draws, of 600 requests at least: by chance one gets twice as many as the other once in
    // 4 × 10^15 times.
    if counts[0].abs_diff(counts[1]) * 3 > counts[0] + counts[1] {
        log.broken
            .push(format!("the targets got {counts:?} requests"));
    }
    let seen = format!(
        "the other listener refused all of {refused}; of the load the two targets got {} and {}",
        counts[0], counts[1]
    );
    let fault = "all targets killed of another listener's pool, of the same names, in the same VM";
    survived(site, fault.to_owned(), log, "none fails", seen)
}

pub(super) fn pool_killed(stage: &Stage, plan: &FaultPlan) -> Result<FaultResult> {
    const DEAD: [&str; 3] = ["one", "two", "three"];
    let targets = DEAD.map(|cluster| json!({ "cluster": cluster }));
    let passive = json!({ "consecutive_failures": FAILURES, "eject": "1h", "max_eject": "1h" });
    let mut site = stage.site(&json!({
        "pools": {
            "web": { "targets": targets, "health": { "passive": passive }, "failover": ["spare"] },
            "spare": { "targets": [{ "cluster": "spare" }] },
        },
        "routes": [{ "name": "all", "pool": "web" }],
    }))?;
    let (mut log, took) = under_load(&mut site, plan, |site, watch| {
        let dead = watch.now();
        for name in DEAD {
            site.backend_mut(name)?.stop();
        }
        watch.until("the other pool has requests", || {
            Ok(site.backend("spare")?.count() > plan.clients)
        })?;
        let took = watch.now() - dead;
        watch.more(plan.answers)?;
        Ok(took)
    })?;
    // The bound keeps two of three in until all have failed enough; then each needs one more.
    log.at_most(DEAD.len() * (FAILURES + 1 + plan.clients));
    let seen = format!("requests went to `failover` after {}", shown(took));
    let fault = "all targets of a pool killed, with `passive` alone and a `failover`";
    let promised = format!(
        "{FAILURES} fail at each target (`consecutive_failures`), and what is under way to it then; \
         all else goes to `failover`"
    );
    survived(site, fault.to_owned(), log, &promised, seen)
}

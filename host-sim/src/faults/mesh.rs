//! What goes wrong in a mesh: with what Istio's defaults make of a trap, with what its agent puts in
//! the place of a module that it did not get, and beside another plugin. The proxy is as Istio makes
//! it as far as these faults go: no `vm_id`, and its own filters.

use super::load::{self, Ending, backend};
use super::stage::{Stage, survived};
use super::{FaultPlan, FaultResult};
use crate::client::Client;
use crate::envoy::Deployment;
use crate::module;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

/// The filter that Istio's agent puts there, for each kind of request. `ALLOW` without a policy
/// denies everything, and `DENY` without one nothing.
const RBAC: &str = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC";

/// What the limit admits.
const LIMIT: usize = 5;
/// How many keys the other plugin writes for each client of the load.
const KEYS: usize = 100;

fn configuration() -> Value {
    json!({
        "pools": { "web": { "balance": "least_connections", "targets": [{ "cluster": "one" }, { "cluster": "two" }] } },
        "rate_limits": { "few": { "requests": LIMIT, "per": "1h", "key": [{ "header": "x-client" }] } },
        "routes": [
            { "name": "limited", "match": { "path": { "exact": "/limited" } }, "rate_limits": ["few"], "pool": "web" },
            { "name": "all", "pool": "web" },
        ],
    })
}

/// The filters of the connection manager.
fn filters(deployment: &mut Deployment) -> Result<&mut Vec<Value>> {
    let filters = &mut deployment.connection_manager_mut()["http_filters"];
    filters.as_array_mut().context("a list of filters")
}

/// Our filter among them.
fn ours(filters: &mut [Value]) -> Result<&mut Value> {
    let mut each = filters.iter_mut();
    let ours = each.find(|it| it["name"] == "envoy.filters.http.wasm");
    ours.context("the filter")
}

/// As a `WasmPlugin` has it.
fn without_vm_id(deployment: &mut Deployment) -> Result<()> {
    let ours = ours(filters(deployment)?)?;
    let vm = ours["typed_config"]["config"]["vm_config"].as_object_mut();
    vm.context("a VM")?.remove("vm_id");
    Ok(())
}

/// The statuses of as many requests over one connection, and so of one worker.
fn statuses(client: &mut Client, path: &str, of: &str, requests: usize) -> Result<Vec<u16>> {
    let mut statuses = Vec::new();
    for _ in 0..requests {
        let answer = client.get_with("a", path, &[("x-client", of)])?;
        statuses.push(answer.status().as_u16());
    }
    Ok(statuses)
}

fn row(
    fault: &str,
    promised: &str,
    requests: usize,
    failed: usize,
    broken: Option<String>,
    seen: String,
) -> FaultResult {
    FaultResult {
        fault: fault.to_owned(),
        requests,
        failed,
        promised: promised.to_owned(),
        seen,
        broken: broken.into_iter().collect(),
    }
}

pub(super) fn trapped(stage: &Stage, plan: &FaultPlan) -> Result<FaultResult> {
    let site = stage.trapping_site_with(&configuration(), |mut deployment| {
        without_vm_id(&mut deployment)?;
        Ok(deployment.with_failure_policy("FAIL_CLOSED"))
    })?;
    let mut client = site.client()?;
    ensure!(
        statuses(&mut client, "/", "a", 1)? == [200],
        "before the trap"
    );
    let trap = client.get_with("a", "/", &[("x-trap", "1")])?;
    let mut all = vec![trap.status().as_u16()];
    all.extend(statuses(&mut client, "/", "a", plan.answers)?);
    let failed = all.iter().filter(|status| **status == 503).count();
    let broken = (failed != all.len()).then(|| "a request was served after the trap".to_owned());
    Ok(row(
        "Istio: a VM traps where `failStrategy` is not written, which is FAIL_CLOSE",
        "every later request of that worker fails, until the proxy is restarted",
        all.len(),
        failed,
        broken,
        "503 for each request of the worker whose VM died; so write FAIL_RELOAD".to_owned(),
    ))
}

pub(super) fn module_missing(stage: &Stage, plan: &FaultPlan) -> Result<FaultResult> {
    let mut seen = Vec::new();
    for action in ["ALLOW", "DENY"] {
        let site = stage.site_with(&configuration(), |mut deployment| {
            let filter = ours(filters(&mut deployment)?)?;
            filter["typed_config"] = json!({ "@type": RBAC, "rules": { "action": action } });
            Ok(deployment)
        })?;
        let mut client = site.client()?;
        let mut all = statuses(&mut client, "/", "a", plan.answers)?;
        all.dedup();
        seen.push(all);
    }
    // Undecided requests name no cluster; Istio's own routes would take them.
    let broken = (seen != [vec![403], vec![503]]).then(|| format!("answered with {seen:?}"));
    Ok(row(
        "Istio: the module is not fetched (a filter that denies everything takes its place)",
        "every request is answered 403, also with FAIL_RELOAD; with FAIL_OPEN requests go undecided",
        2 * plan.answers,
        0,
        broken,
        "403 by `rbac`, not 503: raise the alarm on that".to_owned(),
    ))
}

pub(super) fn other_plugin(stage: &Stage, plan: &FaultPlan) -> Result<FaultResult> {
    let probe = module::build_package("pointsman-probe")?;
    let site = stage.site_with(&configuration(), |mut deployment| {
        without_vm_id(&mut deployment)?;
        let filters = filters(&mut deployment)?;
        let mut other = ours(filters)?.clone();
        other["name"] = json!("other");
        let config = &mut other["typed_config"]["config"];
        config["name"] = json!("other");
        config["vm_config"]["code"] = json!({ "local": { "filename": probe } });
        config["configuration"] = json!({
            "@type": "type.googleapis.com/google.protobuf.StringValue", "value": "other",
        });
        filters.insert(0, other);
        Ok(deployment)
    })?;
    // The other plugin writes with each request, and lets it go on.
    let ask = |client: usize, number: usize, connection: &mut Client| {
        let write = format!("set other/{client}/{} x 0; go", number % KEYS);
        let headers = [("x-do", write.as_bytes())];
        load::get(connection, &headers, |answer| match backend(answer) {
            "" => Ending::Wrong("no backend answered".to_owned()),
            _ => Ending::Good,
        })
    };
    let (mut log, admitted) = load::under(site.envoy.address()?, plan, &ask, |watch| {
        watch.more(plan.answers)?;
        let mut client = site.client()?;
        let mut admitted = 0;
        for number in 0..plan.answers {
            let write = format!("set other/{number} x 0; go");
            let headers = [("x-do", &*write), ("x-client", "one")];
            match client
                .get_with("a", "/limited", &headers)?
                .status()
                .as_u16()
            {
                200 => admitted += 1,
                429 => {}
                other => watch.broken(format!("a request of the limit is answered {other}")),
            }
        }
        Ok(admitted)
    })?;
    log.at_most(0);
    if admitted != LIMIT {
        log.broken
            .push(format!("{admitted} of {LIMIT} were admitted"));
    }
    let fault = "Istio: another plugin writes into the same shared data, with each request";
    let seen = format!(
        "{} keys of the other's; the limit of {LIMIT} requests admitted {admitted}, and all counts \
         are right",
        plan.answers + plan.clients * KEYS
    );
    survived(
        site,
        fault.to_owned(),
        log,
        "none fails, no limit changes",
        seen,
    )
}

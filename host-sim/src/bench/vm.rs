//! What one more VM costs a proxy: memory, and the time to load its configuration.
//!
//! Both are differences. **Memory**: the resident set of an Envoy with [`MORE`] workers more than
//! one, less that of an Envoy with one, each less the same of a bare Envoy, for each VM more.
//! **Time**: what the thread of a worker has used of the processor once the proxy serves, less that
//! of a worker whose configuration has hardly a route; the median of all workers.

use super::candidates::{CandidateKind, Modules};
use super::processor;
use super::routes::FeatureSet;
use super::statistics::Spread;
use crate::envoy::fleet::Fleet;
use crate::envoy::{Envoy, Program};
use anyhow::{Context, Result};
use serde::Serialize;
use std::thread::sleep;
use std::time::Duration;

/// Enough that what workers share is little beside what each has.
const MORE: u32 = 4;
/// How many routes a configuration has that is loaded in no time, and has everything else.
const FEW: usize = 1;
/// An Envoy that has used less than a twentieth of so long a time has done all that it had to.
const QUIET: Duration = Duration::from_millis(500);
/// What Envoy calls the threads of its workers.
const WORKER: &str = "wrk:worker_";

/// What one VM costs.
#[derive(Clone, Debug, Serialize)]
pub struct VmCost {
    /// In bytes, of the process's resident set.
    pub memory: f64,
    /// To load the configuration, in milliseconds of processor time.
    pub load: Spread,
}

/// Starts Envoys with this many routes, and compares.
pub(super) fn measure(
    routes: usize,
    program: &Program,
    fleet: &Fleet,
    modules: &Modules,
) -> Result<VmCost> {
    let start = |kind: CandidateKind, workers: u32| {
        let deployment = kind.deployment(fleet, modules)?.with_workers(workers);
        StartedEnvoy::of(&Envoy::start(program, deployment)?)
    };
    let pointsman = |routes| CandidateKind::Pointsman(FeatureSet::Everything, routes);
    let [bare, bare_more] = [
        start(CandidateKind::Bare, 1)?,
        start(CandidateKind::Bare, 1 + MORE)?,
    ];
    let [many, many_more] = [
        start(pointsman(routes), 1)?,
        start(pointsman(routes), 1 + MORE)?,
    ];
    let few = start(pointsman(FEW), 1 + MORE)?;
    let few = Spread::of(few.workers).context("no workers")?.median;
    let memory = (many_more.memory - many.memory) - (bare_more.memory - bare.memory);
    Ok(VmCost {
        memory: memory / f64::from(MORE),
        load: Spread::of(many_more.workers.into_iter().map(|worker| worker - few))
            .context("no workers")?,
    })
}

/// An Envoy that has just started.
struct StartedEnvoy {
    /// Bytes.
    memory: f64,
    /// Milliseconds of processor time of each worker.
    workers: Vec<f64>,
}

impl StartedEnvoy {
    /// It serves before its workers have loaded, and optimises code for a while after that.
    fn of(envoy: &Envoy) -> Result<Self> {
        let process = envoy.process_id();
        let mut before = processor::time(process)?;
        loop {
            sleep(QUIET);
            let now = processor::time(process)?;
            if now - before < QUIET / 20 {
                break;
            }
            before = now;
        }
        let threads = processor::threads(process)?;
        let workers = threads
            .into_iter()
            .filter(|thread| thread.name.starts_with(WORKER));
        Ok(Self {
            memory: envoy.resident_memory()? as f64,
            workers: workers
                .map(|worker| worker.time.as_secs_f64() * 1e3)
                .collect(),
        })
    }
}

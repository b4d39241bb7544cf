//! The clock on the wall jumps. A real one is not ours to set, so this is the simulator's.

use super::FaultResult;
use crate::simulation::measure::{Measure, Scope};
use crate::simulation::scenario::Scenario;
use crate::simulation::{self, Chooser};
use anyhow::{Context, Result};
use std::path::Path;

/// The scenario, with what it expects: `host-sim run` plays it too.
const SCENARIO: &str = include_str!("../../scenarios/clock_jump.yaml");

pub(super) fn jumped() -> Result<FaultResult> {
    let scenario = Scenario::parse("clock_jump", SCENARIO, Path::new(""))?;
    let run = simulation::run(&scenario, Chooser::Filter)?;
    let judged = simulation::judge(&scenario, &run);
    let count = |measure: Measure| {
        let measured = measure.of(&run, &Scope::default());
        measured.map(|count| count as usize).context("no requests")
    };
    let refused = count(Measure::Refused)?;
    Ok(FaultResult {
        fault: "clock jumped an hour, forwards and backwards (simulated)".to_owned(),
        requests: count(Measure::Requests)?,
        failed: count(Measure::Errors)?,
        promised: "none fails, no ejection for ever, no limit broken".to_owned(),
        seen: format!(
            "{refused} of the client that asks too much refused, nobody else; every target has its share again"
        ),
        broken: judged
            .iter()
            .filter(|judged| !judged.good)
            .map(|judged| format!("{}: {}", judged.label, judged.found))
            .collect(),
    })
}

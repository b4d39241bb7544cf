//! The measurements of `host-sim/README.md`, all in one run: `host-sim bench`.
//!
//! What a candidate adds to a request is the processor time of its Envoy, over the requests that
//! the load generator counted, less the same of a bare Envoy in the same round. The candidates take
//! turns, in another order in each round, so that whatever else the machine does meets all of them.
//! Envoy has a core of its own; load and backends have the others.

mod candidates;
mod envoys_own;
pub mod instructions;
mod native;
mod processor;
mod report;
pub mod routes;
mod statistics;
mod vm;
mod wrk;

pub use report::BenchReport;

use crate::envoy::{Wanted, install};
use crate::module;
use anyhow::{Context, Result, ensure};
use candidates::{AskedRoutes, Candidate, CandidateKind, Modules};
use fastrand::Rng;
use native::{Clients, Rounds};
use processor::Machine;
use report::{Cost, Rates};
use routes::FeatureSet;
use statistics::Spread;
use std::time::Duration;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct BenchPlan {
    /// Rounds of all candidates.
    pub rounds: usize,
    /// Load on each candidate in a round, in whole seconds.
    pub time: Duration,
    /// Load before the first round, in whole seconds: until the VM has optimised its code, and
    /// memory is what it will be.
    pub warm_up: Duration,
    /// Numbers of routes, ascending; the middle one is only for the curve.
    pub routes: [usize; 3],
    /// Native decisions of each worker in a round.
    pub requests: usize,
    /// How long the simulation is played, in virtual time, a thousand requests a second.
    pub simulation: Duration,
}

/// How many decisions a request in the simulated proxy costs as much as.
const SIMULATED: usize = 10;

impl BenchPlan {
    /// For `host-sim/README.md`: about seven minutes.
    pub const FULL: BenchPlan = BenchPlan {
        rounds: 20,
        time: Duration::from_secs(1),
        warm_up: Duration::from_secs(3),
        routes: [10, 1_000, 10_000],
        requests: 250_000,
        simulation: Duration::from_secs(1_000),
    };
    /// To see that it works.
    pub const QUICK: BenchPlan = BenchPlan {
        rounds: 1,
        time: Duration::from_secs(1),
        warm_up: Duration::from_secs(1),
        routes: [10, 100, 1_000],
        requests: 20_000,
        simulation: Duration::from_secs(10),
    };

    /// The candidates, a bare Envoy first.
    pub fn candidates(&self) -> Vec<(CandidateKind, AskedRoutes)> {
        let [few, some, many] = self.routes;
        let everything = |routes| {
            (
                CandidateKind::Pointsman(FeatureSet::Everything, routes),
                AskedRoutes::All,
            )
        };
        let mut candidates = vec![
            (CandidateKind::Bare, AskedRoutes::All),
            (CandidateKind::BareAgain, AskedRoutes::All),
            (CandidateKind::Empty, AskedRoutes::All),
            (
                CandidateKind::Pointsman(FeatureSet::Plain, few),
                AskedRoutes::All,
            ),
            everything(few),
            everything(some),
            everything(many),
            (CandidateKind::InSession(few), AskedRoutes::All),
            (CandidateKind::Choice, AskedRoutes::All),
            (CandidateKind::Calls, AskedRoutes::All),
            (CandidateKind::Filters(few), AskedRoutes::All),
        ];
        for routes in self.routes {
            candidates.push((CandidateKind::Tree(routes), AskedRoutes::All));
        }
        for routes in self.routes {
            candidates.push((CandidateKind::List(routes), AskedRoutes::All));
        }
        candidates.push((
            CandidateKind::Pointsman(FeatureSet::Everything, many),
            AskedRoutes::Last,
        ));
        candidates.push((CandidateKind::List(many), AskedRoutes::Last));
        candidates
    }
}

/// One candidate in one round.
struct Measured {
    /// Microseconds for each request.
    cost: f64,
    /// Requests in a second.
    rate: f64,
}

impl Candidate {
    fn measure(&self, time: Duration) -> Result<Measured> {
        let address = self.envoy.address()?;
        let before = processor::time(self.envoy.process_id())?;
        let served = self.script.run(address, time)?;
        let used = processor::time(self.envoy.process_id())? - before;
        ensure!(
            served.refused == 0 && served.broken == 0 && served.requests > 0,
            "{}: not every request was answered well: {served:?}",
            self.kind.name()
        );
        let bugs = self.envoy.filter_bugs()?;
        ensure!(
            bugs == 0,
            "{}: the filter has met {bugs} states that cannot be",
            self.kind.name()
        );
        let requests = served.requests as f64;
        Ok(Measured {
            cost: used.as_secs_f64() * 1e6 / requests,
            rate: requests / time.as_secs_f64(),
        })
    }
}

/// Runs the plan. `say` gets each step's name as it begins. With `only`: measures only the
/// candidates whose name contains it, and those that they are compared with; neither one VM nor
/// native numbers.
pub fn measure(
    plan: &BenchPlan,
    only: Option<&str>,
    command: String,
    say: &dyn Fn(&str),
) -> Result<BenchReport> {
    wrk::find()?;
    let program = install::find(Wanted::Any)?;
    let [few, _, many] = plan.routes;
    let everything = routes::configuration(few, FeatureSet::Everything);
    let modules = Modules {
        pointsman: module::build()?,
        empty: module::build_package("pointsman-empty")?,
        calls: module::build_package("pointsman-calls")?,
        calls_of: native::calls(&everything, few, Clients::New)?,
    };
    let mut candidates = plan.candidates();
    candidates.retain(|(kind, _)| {
        kind.is_compared_with() || only.is_none_or(|only| kind.name().contains(only))
    });

    let machine = Machine::here()?;
    let rounds = |requests| Rounds {
        count: plan.rounds,
        requests,
    };
    let rates = |workers| {
        Ok(Rates {
            decisions: native::decision_rate(few, workers, rounds(plan.requests))?,
            simulated: native::simulated_rate(few, workers, rounds(plan.requests / SIMULATED))?,
        })
    };
    let mut native = Vec::new();
    let mut played = None;
    if only.is_none() {
        say("natively");
        native = (1..=machine.cores).map(rates).collect::<Result<_>>()?;
        played = Some(native::play(plan.simulation)?);
    }

    let cores = Cores::of(processor::cores()?);
    processor::pin(std::process::id(), &cores.load)?;
    let fleet = candidates::backends()?;
    let vm = match only {
        None => {
            say("one VM");
            Some(vm::measure(many, &program, &fleet, &modules)?)
        }
        Some(_) => None,
    };

    let directory = tempfile::tempdir()?;
    let mut started = Vec::new();
    for (kind, asked) in candidates {
        say(&format!("starting: {}", kind.name()));
        let candidate =
            Candidate::start((kind, asked), &program, &fleet, &modules, directory.path())?;
        processor::pin(candidate.envoy.process_id(), &cores.envoy)?;
        started.push(candidate);
    }
    fleet
        .members()
        .iter()
        .for_each(|member| member.backend.forget());
    Ok(BenchReport {
        machine,
        envoy: program.version.to_string(),
        command,
        rounds: plan.rounds,
        seconds: plan.time.as_secs(),
        costs: costs(&started, plan, say)?,
        calls: modules.calls_of,
        module: modules.pointsman.metadata()?.len(),
        vm,
        native,
        played,
        routes: plan.routes,
    })
}

/// The cores for Envoy, and those for load and backends. Where there is only one, all share it.
struct Cores {
    envoy: Vec<usize>,
    load: Vec<usize>,
}

impl Cores {
    fn of(mut cores: Vec<usize>) -> Cores {
        match cores.len() {
            0 | 1 => Cores {
                envoy: cores.clone(),
                load: cores,
            },
            _ => Cores {
                load: cores.split_off(1),
                envoy: cores,
            },
        }
    }
}

/// Measures all candidates in turns. The first is what the others are compared with.
fn costs(candidates: &[Candidate], plan: &BenchPlan, say: &dyn Fn(&str)) -> Result<Vec<Cost>> {
    if !plan.warm_up.is_zero() {
        say("warming up");
        for candidate in candidates {
            candidate.measure(plan.warm_up)?;
        }
    }
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    let mut measured: Vec<Vec<Measured>> = candidates.iter().map(|_| Vec::new()).collect();
    for round in 0..plan.rounds {
        say(&format!("round {} of {}", round + 1, plan.rounds));
        Rng::with_seed(round as u64).shuffle(&mut order);
        for at in &order {
            measured[*at].push(candidates[*at].measure(plan.time)?);
        }
    }
    let bare: Vec<f64> = measured[0].iter().map(|round| round.cost).collect();
    let fastest = Spread::of(bare.iter().copied())
        .context("no rounds")?
        .fastest;
    let costs = candidates
        .iter()
        .zip(&measured)
        .map(|(candidate, measured)| {
            let total = Spread::of(measured.iter().map(|round| round.cost))?;
            Some(Cost {
                kind: candidate.kind,
                asked: candidate.asked,
                total,
                fastest: total.fastest - fastest,
                added: Spread::of(
                    measured
                        .iter()
                        .zip(&bare)
                        .map(|(round, bare)| round.cost - bare),
                )?,
                rate: Spread::of(measured.iter().map(|round| round.rate))?,
            })
        });
    costs.collect::<Option<_>>().context("no rounds")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envoy_has_a_core_of_its_own_where_there_are_two() {
        let split = |cores: &[usize]| {
            let Cores { envoy, load } = Cores::of(cores.to_vec());
            (envoy, load)
        };
        assert_eq!(split(&[2, 3, 5]), (vec![2], vec![3, 5]));
        assert_eq!(split(&[4]), (vec![4], vec![4]));
    }

    #[test]
    fn every_plan_compares_with_a_bare_envoy_and_with_an_empty_filter() {
        for plan in [BenchPlan::FULL, BenchPlan::QUICK] {
            let kinds: Vec<_> = plan
                .candidates()
                .into_iter()
                .map(|(kind, _)| kind)
                .collect();
            assert!(kinds[0] == CandidateKind::Bare && kinds.contains(&CandidateKind::Empty));
        }
    }
}

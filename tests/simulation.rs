//! Every scenario of `host-sim/scenarios/` keeps what it expects, with the seed that it ships with
//! and with others; and how far from the best that there could be the filter's choices are.
//!
//! `cargo test -p pointsman-tests --test simulation -- canary` runs one.

use host_sim::simulation::measure::{Measure, Scope};
use host_sim::simulation::scenario::Scenario;
use host_sim::simulation::{self, Chooser, summary};
use libtest_mimic::{Arguments, Failed, Trial};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What holds for one seed only is luck.
const SEEDS: [u64; 3] = [1, 2, 3];

fn main() -> ExitCode {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../host-sim/scenarios");
    let entries = directory.read_dir().expect("host-sim/scenarios");
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("host-sim/scenarios").path())
        .collect();
    paths.sort();
    let trial = |path: &PathBuf| {
        let name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let path = path.clone();
        Trial::test(name, move || {
            SEEDS.iter().try_for_each(|seed| play(&path, *seed))
        })
    };
    let oracle = Trial::test(
        "p99_by_load_is_at_most_1_3_times_an_oracles",
        against_the_oracle,
    );
    let trials = paths.iter().map(trial).chain([oracle]).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn play(path: &Path, seed: u64) -> Result<(), Failed> {
    let mut scenario = Scenario::read(path).map_err(|error| format!("{error:#}"))?;
    scenario.seed = seed;
    let run = simulation::run(&scenario, Chooser::Filter).map_err(|error| format!("{error:#}"))?;
    let judged = simulation::judge(&scenario, &run);
    if !judged.is_empty() && judged.iter().all(|judged| judged.good) {
        return Ok(());
    }
    let mut out = Vec::new();
    summary::write(&mut out, &scenario, &run, &judged)?;
    Err(String::from_utf8_lossy(&out).into_owned().into())
}

/// How many targets there are, and workers that balance over them.
const TARGETS: usize = 20;
const WORKERS: usize = 8;
/// What the filter's p99 may be, as a multiple of the oracle's.
const NEAR: f64 = 1.3;

/// Heavy-tailed service times (mean 12 ms, one of a hundred above 120 ms, the longest 1 s), two
/// requests at a time in each target, at three quarters of what all targets together can do.
fn heavy_tail(balance: &str, seed: u64) -> Scenario {
    let targets: String = (0..TARGETS)
        .map(|target| format!("{{ cluster: c{target} }}, "))
        .collect();
    let text = format!(
        "
config:
  pools: {{ p: {{ balance: {balance}, targets: [{targets}] }} }}
  routes: [{{ name: r, pool: p }}]
seed: {seed}
workers: {WORKERS}
duration: 20s
every_target: {{ service: {{ pareto: {{ least: 3ms, most: 1s, alpha: 1.2 }} }}, concurrency: 2 }}
traffic: [{{ name: t, rate: 2400, request: {{ url: 'http://h/' }} }}]
"
    );
    Scenario::parse("heavy_tail", &text, Path::new("")).expect("a scenario")
}

fn against_the_oracle() -> Result<(), Failed> {
    for seed in SEEDS {
        let p99 = |balance: &str, chooser| {
            let scenario = heavy_tail(balance, seed);
            let run = simulation::run(&scenario, chooser).map_err(|error| format!("{error:#}"))?;
            Measure::Latency(990)
                .of(&run, &Scope::default())
                .ok_or("no requests".to_owned())
        };
        let oracle = p99("round_robin", Chooser::Oracle)?;
        let round_robin = p99("round_robin", Chooser::Filter)?;
        println!(
            "seed {seed}: p99 of the oracle {:.1} ms, of round_robin {:.2} times that",
            oracle / 1e6,
            round_robin / oracle
        );
        for balance in ["least_connections", "least_response_time"] {
            let found = p99(balance, Chooser::Filter)?;
            println!(
                "seed {seed}: p99 of {balance} {:.2} times the oracle's",
                found / oracle
            );
            if found > NEAR * oracle || found >= round_robin {
                return Err(format!(
                    "seed {seed}: p99 of {balance}: {:.2} of the oracle's",
                    found / oracle
                )
                .into());
            }
        }
    }
    Ok(())
}

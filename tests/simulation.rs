//! Every scenario of `host-sim/scenarios/` keeps what it expects, with the seed that it ships with and with others.
//!
//! `cargo test -p pointsman-tests --test simulation -- canary` runs one.

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
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("host-sim/scenarios").path()).collect();
    paths.sort();
    let trial = |path: &PathBuf| {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let path = path.clone();
        Trial::test(name, move || SEEDS.iter().try_for_each(|seed| play(&path, *seed)))
    };
    libtest_mimic::run(&Arguments::from_args(), paths.iter().map(trial).collect()).exit_code()
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

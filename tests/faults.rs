//! What goes wrong around a load balancer, on a real Envoy under load: every fault of `host-sim
//! faults`, and whether its promise holds. It is for counts, not for times: how long anything takes
//! is the machine's.
//!
//! `cargo test -p pointsman-tests --test faults -- backend-killed` plays one.

use host_sim::faults::{self, Fault, FaultPlan};
use libtest_mimic::{Arguments, Failed, Trial};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Each has two workers and clients enough.
    arguments.test_threads = Some(1);
    let trial = |fault: &Fault| {
        let fault = *fault;
        Trial::test(fault.name(), move || keeps_its_promise(fault))
    };
    let trials = Fault::all().iter().map(trial).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn keeps_its_promise(fault: Fault) -> Result<(), Failed> {
    let report = faults::play(&[fault], &FaultPlan::SMALL, "this test".to_owned(), &|_| {});
    let report = report.map_err(|error| format!("{error:#}"))?;
    match report.is_kept() {
        true => Ok(()),
        false => Err(report.to_string().into()),
    }
}

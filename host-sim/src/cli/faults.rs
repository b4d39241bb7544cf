//! `host-sim faults`: what goes wrong around a load balancer, on a real Envoy under load.

use super::{Outcome, page};
use anyhow::Result;
use host_sim::faults::{self, Fault, FaultPlan};

/// The page that shows the last full run, and the name of its marks there.
pub(crate) const PAGE: (&str, &str) = ("tests/README.md", "faults");
/// The same of limits that several proxies share.
pub(crate) const FLEET_PAGE: (&str, &str) = ("envoy-config/fleet.md", "faults");

/// Makes things go wrong on a real Envoy under load, and counts the requests that failed.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Which faults. Default: all.
    faults: Vec<Fault>,
    /// As little of each as shows it.
    #[arg(long)]
    quick: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Also put the table into tests/README.md, and what is of a fleet into envoy-config/fleet.md:
    /// where only some faults are played their rows, beside those of the others.
    #[arg(long, conflicts_with = "quick")]
    write: bool,
}

/// Prints a table to stdout, and what it is at to stderr. [`Outcome::Found`]: a promise was broken.
pub(crate) fn run(arguments: &Arguments) -> Result<Outcome> {
    let (plan, option) = match arguments.quick {
        true => (FaultPlan::SMALL, " --quick"),
        false => (FaultPlan::FULL, ""),
    };
    let command = format!("cargo run --release -p host-sim -- faults{option}");
    let faults = match arguments.faults.is_empty() {
        true => Fault::all(),
        false => &arguments.faults,
    };
    let report = faults::play(faults, &plan, command, &|what| eprintln!("{what}"))?;
    page::print(&report, arguments.json)?;
    if arguments.write {
        for ((file, name), of_fleet) in [(PAGE, false), (FLEET_PAGE, true)] {
            let part = report.part(of_fleet);
            let all = Fault::all()
                .iter()
                .filter(|it| it.is_of_fleet() == of_fleet);
            let text = match part.rows.len() {
                0 => continue,
                played if played < all.count() => part.merged_into(&page::read(file, name)?),
                _ if of_fleet => part.of_fleet(),
                _ => part.to_string(),
            };
            page::write(file, name, &text)?;
        }
    }
    Ok(match report.is_kept() {
        true => Outcome::Good,
        false => Outcome::Found,
    })
}

//! Prints the tables of `envoy-config/fleet.md`; with `--write` puts them and the plot there.

use pointsman_fleet::balance::Table;
use pointsman_fleet::{ByNumber, Engine, HEAD, Row, play_all, plot, scenarios};
use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// Requests of each simulation of `least_connections`.
const REQUESTS: usize = 200_000;
const SEED: u64 = 7;

fn main() -> Result<(), Box<dyn Error>> {
    let mut leases = format!("{HEAD}\n");
    let (mut most, mut most_of_two_steps): (f64, f64) = (0.0, 0.0);
    let scenarios = scenarios();
    for (scenario, outcome) in scenarios.iter().zip(play_all(&scenarios, SEED)) {
        let most = match scenario.engine {
            Engine::TwoSteps => &mut most_of_two_steps,
            _ => &mut most,
        };
        *most = most.max(outcome.most);
        writeln!(leases, "{}", Row(*scenario, outcome))?;
    }
    let by_number = ByNumber::play(SEED);
    for (_, outcomes) in &by_number.lines {
        most = outcomes.iter().fold(most, |most, it| most.max(it.most));
    }
    write!(
        leases,
        "\n{by_number}\nIn no window more than {:.1} % of the limit; with `TwoSteps` {:.1} %.\n",
        most * 100.0,
        most_of_two_steps * 100.0
    )?;
    let balance = Table::play(REQUESTS, SEED).to_string();
    print!("{leases}\n{balance}");
    if std::env::args().any(|argument| argument == "--write") {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../envoy-config");
        fs::write(folder.join("fleet.svg"), plot::svg(&by_number)?)?;
        let page = folder.join("fleet.md");
        let text = fs::read_to_string(&page)?;
        let text = replaced(&text, "leases", &leases)?;
        fs::write(&page, replaced(&text, "balance", &balance)?)?;
    }
    Ok(())
}

/// The page with `text` in the place of what stands between the marks of this name.
fn replaced(page: &str, name: &str, text: &str) -> Result<String, String> {
    let (start, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->\n"));
    let parts = page.split_once(&start);
    let parts = parts.and_then(|(before, rest)| Some((before, rest.split_once(&end)?.1)));
    let (before, after) = parts.ok_or_else(|| format!("the page has no `{start}`"))?;
    Ok([before, &start, text, &end, after].concat())
}

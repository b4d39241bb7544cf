//! The tables of `tests/README.md` and `envoy-config/fleet.md`.

use super::stage::WORKERS;
use super::{Fault, FaultResult};
use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

/// Faults that were played.
#[derive(Clone, Debug, Serialize)]
pub struct FaultReport {
    /// How to repeat it.
    pub command: String,
    /// Envoy's version.
    pub envoy: String,
    /// How many clients sent the load.
    pub clients: usize,
    /// How often each of them sent a request, at most.
    pub interval: Duration,
    /// How long all of it took.
    pub took: Duration,
    /// One for each fault, in order.
    pub rows: Vec<FaultResult>,
}

impl FaultReport {
    /// Whether every promise was kept.
    pub fn is_kept(&self) -> bool {
        self.rows.iter().all(|row| row.broken.is_empty())
    }
}

impl FaultReport {
    /// The part of it that stands on the page of limits over a fleet, or the other.
    pub fn part(&self, of_fleet: bool) -> FaultReport {
        let names = Fault::all()
            .iter()
            .filter(|fault| fault.is_of_fleet() == of_fleet);
        let names: BTreeSet<String> = names.map(|fault| fault.name()).collect();
        let mut part = self.clone();
        part.rows.retain(|row| names.contains(name(&row.fault)));
        part
    }

    /// What the page of limits over a fleet shows: these faults have no load besides.
    pub fn of_fleet(&self) -> String {
        let faults = Fault::all().iter().filter(|fault| fault.is_of_fleet());
        let names: Vec<_> = faults.map(|fault| fault.name()).collect();
        format!(
            "`{} {}`: two Envoys {} with {WORKERS} workers each, {} clients of each. Failed: the client got \
             neither 200 nor 429.\n\n{}",
            self.command,
            names.join(" "),
            self.envoy,
            self.clients,
            table(self.part(true).rows.iter().map(FaultResult::cells))
        )
    }
}

impl fmt::Display for FaultReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "`{}`, {} s: Envoy {}, {WORKERS} workers, {} clients, each with a connection and a request every {} ms at most. Failed: the \
             client got a 5xx, a connection that broke off, or no answer within a minute.\n",
            self.command,
            self.took.as_secs(),
            self.envoy,
            self.clients,
            self.interval.as_millis(),
        )?;
        write!(f, "{}", table(self.rows.iter().map(FaultResult::cells)))
    }
}

impl FaultReport {
    /// A page's text of before with the rows of this run in the place of those of the same faults.
    /// The other rows and what stands above the table are kept, with a line that says which were
    /// played later.
    pub fn merged_into(&self, before: &str) -> String {
        let (head, old): (Vec<_>, Vec<_>) = before.lines().partition(|line| !line.starts_with('|'));
        let (later, head): (Vec<_>, Vec<_>) =
            head.into_iter().partition(|line| line.starts_with(LATER));
        let old = old.into_iter().skip(2).filter_map(cells);
        let rows = old.chain(self.rows.iter().map(FaultResult::cells));
        // The last of a name counts.
        let rows: BTreeMap<String, Cells> =
            rows.map(|row| (name(&row[0]).to_owned(), row)).collect();
        let new = self.rows.iter().map(|row| name(&row.fault));
        let later: BTreeSet<&str> = later
            .iter()
            .flat_map(|line| line.split('`').skip(1).step_by(2))
            .chain(new)
            .collect();
        let in_order = || Fault::all().iter().map(|fault| fault.name());
        let later: Vec<_> = in_order()
            .filter(|name| later.contains(&**name))
            .map(|name| format!("`{name}`"))
            .collect();
        let rows = in_order().filter_map(|name| rows.get(&name).cloned());
        format!(
            "{}\n\n{LATER}{}.\n\n{}",
            head.join("\n").trim_end(),
            later.join(", "),
            table(rows)
        )
    }
}

/// What the line of the faults begins with that were played after the others.
const LATER: &str = "Played later than the others, each by itself: ";

/// A row of the table.
type Cells = [String; 5];

impl FaultResult {
    fn cells(&self) -> Cells {
        let broken = self.broken.iter();
        let broken = broken.map(|broken| format!("**broken: {broken}**"));
        let seen: Vec<_> = broken.chain([self.seen.clone()]).collect();
        [
            self.fault.clone(),
            self.requests.to_string(),
            self.failed.to_string(),
            self.promised.clone(),
            seen.join("; "),
        ]
    }
}

fn table(rows: impl Iterator<Item = Cells>) -> Table {
    let mut table = Table::new();
    table
        .load_style(ASCII_MARKDOWN)
        .set_header(["fault", "requests", "failed", "promised", "seen"]);
    for column in table.column_iter_mut().skip(1).take(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    for row in rows {
        table.add_row(row);
    }
    table
}

/// The cells of a line of the table.
fn cells(line: &str) -> Option<Cells> {
    let line = line.strip_prefix('|')?.strip_suffix('|')?;
    let cells: Vec<_> = line.split('|').map(|cell| cell.trim().to_owned()).collect();
    cells.try_into().ok()
}

/// The name of a row's fault.
fn name(fault: &str) -> &str {
    fault.split('`').nth(1).unwrap_or(fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(fault: &str, seen: &str, broken: &[&str]) -> FaultResult {
        FaultResult {
            fault: fault.to_owned(),
            requests: 10,
            failed: broken.len(),
            promised: "none fails".to_owned(),
            seen: seen.to_owned(),
            broken: broken.iter().map(|broken| (*broken).to_owned()).collect(),
        }
    }

    fn report(rows: &[FaultResult]) -> FaultReport {
        FaultReport {
            command: "a command".to_owned(),
            envoy: "1.2.3".to_owned(),
            clients: 1,
            interval: Duration::ZERO,
            took: Duration::ZERO,
            rows: rows.to_vec(),
        }
    }

    #[test]
    fn a_fault_that_is_played_alone_takes_the_place_of_its_row_and_of_no_other() {
        let row =
            |fault: Fault, seen: &str| row(&format!("`{}`: something", fault.name()), seen, &[]);
        let (hung, down, pool) = (
            Fault::BackendHung,
            Fault::AllBackendsDown,
            Fault::PoolKilled,
        );
        let whole = report(&[row(hung, "a"), row(pool, "b")]);
        let before = whole.to_string();
        let first = report(&[row(down, "c")]).merged_into(&before);
        let second = report(&[row(hung, "d")]).merged_into(&first);
        let seen: Vec<_> = second
            .lines()
            .skip_while(|line| !line.starts_with('|'))
            .collect();
        assert_eq!(seen.len(), 5, "{second}");
        for (line, name, seen) in [
            (seen[2], "`backend-hung`", "d"),
            (seen[3], "`all-backends-down`", "c"),
            (seen[4], "`pool-killed`", "b"),
        ] {
            let cells = cells(line).unwrap();
            assert!(cells[0].contains(name) && cells[4] == seen, "{line}");
        }
        let later = format!("{LATER}`backend-hung`, `all-backends-down`.");
        assert_eq!(second.matches(LATER).count(), 1, "{second}");
        assert!(second.lines().any(|line| line == later), "{second}");
        assert_eq!(second.lines().next(), before.lines().next());
        // Again gives the same.
        assert_eq!(report(&[row(hung, "d")]).merged_into(&second), second);
    }

    #[test]
    fn a_promise_that_is_broken_stands_in_the_table() {
        let row = |broken: &[&str]| row("a fault", "something", broken);
        assert!(report(&[row(&[])]).is_kept());
        let bad = report(&[row(&[]), row(&["1 failed"])]);
        assert!(!bad.is_kept());
        let text = bad.to_string();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 6, "{text}");
        assert!(
            lines[5].contains("| **broken: 1 failed**; something |"),
            "{text}"
        );
    }
}

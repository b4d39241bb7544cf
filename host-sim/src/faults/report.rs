//! The table of `tests/README.md`.

use super::FaultResult;
use super::stage::WORKERS;
use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;
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
        let mut table = Table::new();
        table
            .load_style(ASCII_MARKDOWN)
            .set_header(["fault", "requests", "failed", "promised", "seen"]);
        for column in table.column_iter_mut().skip(1).take(2) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        for row in &self.rows {
            let broken = row
                .broken
                .iter()
                .map(|broken| format!("**broken: {broken}**"));
            let seen: Vec<_> = broken.chain([row.seen.clone()]).collect();
            table.add_row([
                row.fault.clone(),
                row.requests.to_string(),
                row.failed.to_string(),
                row.promised.clone(),
                seen.join("; "),
            ]);
        }
        write!(f, "{table}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_that_is_broken_stands_in_the_table() {
        let row = |broken: &[&str]| FaultResult {
            fault: "a fault".to_owned(),
            requests: 10,
            failed: 1,
            promised: "none fails".to_owned(),
            seen: "something".to_owned(),
            broken: broken.iter().map(|broken| (*broken).to_owned()).collect(),
        };
        let report = |rows: &[FaultResult]| FaultReport {
            command: "a command".to_owned(),
            envoy: "1.2.3".to_owned(),
            clients: 1,
            interval: Duration::ZERO,
            took: Duration::ZERO,
            rows: rows.to_vec(),
        };
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

//! The bars of `host-sim/bars.yaml`, and whether a run holds them.

use anyhow::{Context, Result, anyhow};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs;
use std::path::Path;

/// How much worse than before a figure may be: runs differ by a few tenths of a percent.
const MARGIN: f64 = 0.03;

/// A figure of a run: what it is of, and its value.
pub type Figure = (String, f64);

/// Every bar.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bars {
    bars: Vec<Bar>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bar {
    what: String,
    at_most: Option<f64>,
    at_least: Option<f64>,
    reached: f64,
}

/// A bar and what was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BarVerdict {
    /// What is measured.
    pub what: String,
    /// What is to be reached, with its direction.
    pub bar: String,
    /// The worst value that the gate lets through.
    pub gate: f64,
    /// What was measured, if it was.
    pub measured: Option<f64>,
    /// Whether that is what is to be reached.
    pub is_reached: bool,
    /// Whether the gate lets it through. What was not measured it does not.
    pub is_let_through: bool,
}

impl Bar {
    fn verdict(&self, measured: Option<f64>) -> BarVerdict {
        let (bar, goal, gate) = match (self.at_most, self.at_least) {
            (None, Some(least)) => (format!("≥ {least}"), least, self.reached * (1.0 - MARGIN)),
            (Some(most), _) => (format!("≤ {most}"), most, self.reached * (1.0 + MARGIN)),
            (None, None) => (String::new(), f64::INFINITY, self.reached * (1.0 + MARGIN)),
        };
        let holds = |bound: f64| match (self.at_most, self.at_least) {
            (None, Some(_)) => measured.is_some_and(|measured| measured >= bound),
            _ => measured.is_some_and(|measured| measured <= bound),
        };
        BarVerdict {
            what: self.what.clone(),
            bar,
            gate,
            measured,
            is_reached: holds(goal),
            is_let_through: holds(gate),
        }
    }
}

impl Bars {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Bars> {
        let shown = path.display();
        let text = fs::read_to_string(path).with_context(|| format!("reading {shown}"))?;
        serde_saphyr::from_str(&text).map_err(|error| anyhow!("{shown}: {error}"))
    }

    /// What a run makes of them, by its figures. Of one that is not whole: the bars that it measured.
    pub fn verdicts(&self, figures: &[Figure], is_whole: bool) -> Vec<BarVerdict> {
        let measured = |what: &str| {
            let found = figures.iter().find(|(name, _)| name == what);
            found.map(|(_, value)| *value)
        };
        self.bars
            .iter()
            .map(|bar| bar.verdict(measured(&bar.what)))
            .filter(|verdict| is_whole || verdict.measured.is_some())
            .collect()
    }

    /// The same with what a run reached.
    pub fn reached_by(mut self, figures: &[Figure]) -> Bars {
        for (name, value) in figures {
            for bar in self.bars.iter_mut().filter(|bar| bar.what == *name) {
                bar.reached = (value * 100.0).round() / 100.0;
            }
        }
        self
    }
}

/// The file.
impl fmt::Display for Bars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "# What a request may cost, in instructions over a bare Envoy, as a multiple of what an \
             empty SDK\n\
             # filter adds. `host-sim bench --instructions --gate` fails where a figure is more than \
             3 % worse\n\
             # than `reached`, the value of the last change that meant to move it; `at_most` and \
             `at_least` are\n\
             # what is to be reached. `host-sim bench --instructions --write` writes `reached`.\n\
             bars:\n",
        )?;
        for Bar {
            what,
            at_most,
            at_least,
            reached,
        } in &self.bars
        {
            write!(f, "  - {{ what: {what:?}")?;
            if let Some(most) = at_most {
                write!(f, ", at_most: {most}")?;
            }
            if let Some(least) = at_least {
                write!(f, ", at_least: {least}")?;
            }
            writeln!(f, ", reached: {reached} }}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bars(text: &str) -> Bars {
        serde_saphyr::from_str(text).unwrap()
    }

    const LISTED: &str = "Envoy's own list of 10000 routes ÷ everything on with as many";

    /// Of a whole run, or of another.
    fn verdicts(bars: &Bars, is_whole: bool) -> Vec<BarVerdict> {
        bars.verdicts(&figures(), is_whole)
    }

    fn figures() -> [Figure; 2] {
        [
            ("everything on, clusters".to_owned(), 3.0),
            (LISTED.to_owned(), 12.0),
        ]
    }

    fn bar(reached: f64) -> Bars {
        bars(&format!(
            "bars: [{{ what: \"everything on, clusters\", at_most: 2.4, reached: {reached} }}]"
        ))
    }

    #[test]
    fn the_gate_lets_three_percent_through_and_no_more() {
        let of = |reached| verdicts(&bar(reached), true).remove(0);
        assert!(of(3.0).is_let_through && of(2.92).is_let_through);
        assert!(!of(2.91).is_let_through);
        assert!(!of(3.0).is_reached);
        assert_eq!(of(3.0).measured, Some(3.0));
    }

    #[test]
    fn more_is_better_where_the_bar_says_at_least() {
        let of = |reached: f64, least: f64| {
            let bars = bars(&format!(
                "bars: [{{ what: \"{LISTED}\", at_least: {least}, reached: {reached} }}]"
            ));
            verdicts(&bars, true).remove(0)
        };
        assert!(of(12.3, 12.0).is_let_through && of(12.3, 12.0).is_reached);
        assert!(!of(12.5, 12.1).is_let_through && !of(12.5, 12.1).is_reached);
    }

    #[test]
    fn what_a_whole_run_did_not_measure_is_not_let_through() {
        let of = bars("bars: [{ what: something else, reached: 1 }]");
        assert!(!verdicts(&of, true)[0].is_let_through);
        assert_eq!(verdicts(&of, false), []);
    }

    #[test]
    fn the_file_is_what_would_be_written() {
        let path = crate::module::repository()
            .unwrap()
            .join("host-sim/bars.yaml");
        let bars = Bars::read(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), bars.to_string());
        let reached = bar(9.0).reached_by(&figures());
        assert_eq!(reached, bar(3.0));
    }
}

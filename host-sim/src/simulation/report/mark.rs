//! What happens in a run, as its plots say it: faults, and times without traffic.

use crate::simulation::arrivals::rate_at;
use crate::simulation::scenario::{Scenario, Traffic};
use pointsman_core::time::Nanos;

/// About how wide a character of a plot is.
pub(super) const CHARACTER: f64 = 6.6;
/// The most rows of words above a plot. What finds no room is in the table alone.
const MAX_ROWS: usize = 8;
/// What a fault that pauses all traffic is called.
const PAUSE: &str = "no traffic, as planned";
/// The room between two words of a row.
const GAP: f64 = 8.0;

/// One thing that happens.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Mark {
    /// When it begins, in seconds.
    pub from: f64,
    /// When it ends, in seconds. None: with the run, or it is over at once.
    pub until: Option<f64>,
    /// What it is.
    pub label: String,
    /// Whether it is a pause of the traffic, and no fault.
    pub planned: bool,
}

/// All that happens, in the order of time.
pub(super) struct Marks(Vec<Mark>);

/// The words above a plot.
pub(super) struct Placed {
    /// How many rows they need.
    pub rows: usize,
    /// The words.
    pub labels: Vec<Label>,
}

/// Words above a plot.
pub(super) struct Label {
    /// The row, from the top.
    pub row: usize,
    /// Where the words begin, and where the mark is, in pixels.
    pub left: i32,
    /// See `left`.
    pub mark: i32,
    /// The words.
    pub text: String,
}

impl Marks {
    /// The faults of a scenario, and the times at which it sends nothing.
    pub(super) fn of(scenario: &Scenario) -> Marks {
        let faults = scenario.faults.iter().map(|fault| Mark {
            from: fault.at.as_secs_f64(),
            until: fault.until.map(Nanos::as_secs_f64),
            label: fault.label.clone(),
            planned: false,
        });
        let pauses = pauses(&scenario.traffic, scenario.duration);
        let pauses = pauses.into_iter().map(|(from, until)| Mark {
            from: from.as_secs_f64(),
            until: Some(until.as_secs_f64()),
            label: PAUSE.to_owned(),
            planned: true,
        });
        let mut marks: Vec<_> = faults.chain(pauses).collect();
        marks.sort_by(|one, other| one.from.total_cmp(&other.from));
        Marks(marks)
    }

    /// All of them.
    pub(super) fn all(&self) -> &[Mark] {
        &self.0
    }

    /// Places the words above a plot whose time axis lies between these pixels: each where its mark
    /// is, in the first row that has room. The earlier is above, so that a line from it down to its
    /// mark seldom crosses words.
    pub(super) fn placed(&self, seconds: f64, left: u32, right: u32) -> Placed {
        let (left, right) = (f64::from(left), f64::from(right));
        let fits = ((right - left) / CHARACTER) as usize;
        let mut ends: Vec<f64> = Vec::new();
        let mut labels = Vec::new();
        for mark in &self.0 {
            let at = left + (right - left) * mark.from / seconds;
            let text = short(&mark.label, fits);
            let width = text.chars().count() as f64 * CHARACTER;
            let from = at.min(right - width);
            let row = match ends.iter().position(|end| end + GAP <= from) {
                Some(row) => row,
                None if ends.len() < MAX_ROWS => {
                    ends.push(0.0);
                    ends.len() - 1
                }
                None => continue,
            };
            ends[row] = from + width;
            labels.push(Label {
                row,
                left: from as i32,
                mark: at as i32,
                text,
            });
        }
        Placed {
            rows: ends.len(),
            labels,
        }
    }
}

fn short(text: &str, most: usize) -> String {
    match text.chars().count() <= most {
        true => text.to_owned(),
        false => text.chars().take(most - 1).chain(['…']).collect(),
    }
}

/// The times at which no traffic of any kind is sent, though it was before and will be again.
fn pauses(traffic: &[Traffic], duration: Nanos) -> Vec<(Nanos, Nanos)> {
    let of = |traffic: &Traffic| {
        let points = traffic.rate.iter().map(|point| point.at);
        points
            .chain([traffic.from, traffic.until])
            .collect::<Vec<_>>()
    };
    let mut times: Vec<Nanos> = traffic.iter().flat_map(of).collect();
    times.extend([Nanos::ZERO, duration]);
    times.retain(|at| *at <= duration);
    times.sort_unstable();
    times.dedup();
    // Between two of these times a rate is a straight line: it is 0 in between if it is in the
    // middle.
    let is_quiet = |pair: &[Nanos]| {
        let middle = pair[0] + (pair[1] - pair[0]) / 2;
        traffic.iter().all(|traffic| {
            middle < traffic.from
                || middle >= traffic.until
                || rate_at(&traffic.rate, middle) == 0.0
        })
    };
    let mut pauses: Vec<(Nanos, Nanos)> = Vec::new();
    for pair in times.windows(2).filter(|pair| is_quiet(pair)) {
        match pauses.last_mut() {
            Some(last) if last.1 == pair[0] => last.1 = pair[1],
            _ => pauses.push((pair[0], pair[1])),
        }
    }
    pauses
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn marks(more: &str) -> Vec<Mark> {
        let text = format!(
            "
config: {{ pools: {{ p: {{ targets: [{{ cluster: a }}] }} }}, routes: [{{ name: r, pool: p }}] }}
duration: 60s
{more}
"
        );
        let scenario = Scenario::parse("test", &text, Path::new("")).unwrap();
        Marks::of(&scenario).0
    }

    #[test]
    fn a_pause_is_where_no_kind_of_traffic_is_sent() {
        let marks = marks(
            "traffic:
  - { name: a, rate: 1, until: 10s, request: { url: 'http://h/' } }
  - name: b
    rate: [{ at: 20s, per_second: 0 }, { at: 30s, per_second: 9 }, { at: 40s, per_second: 0 }]
    from: 5s
    request: { url: 'http://h/' }",
        );
        let times: Vec<_> = marks.iter().map(|mark| (mark.from, mark.until)).collect();
        assert_eq!(times, [(10.0, Some(20.0)), (40.0, Some(60.0))]);
        assert!(marks.iter().all(|mark| mark.planned));
    }

    #[test]
    fn words_of_one_row_do_not_touch_and_end_within_the_plot() {
        let faults: Vec<_> = (0..9)
            .map(|number| format!("{{ at: {}s, target: a, slow: 1000 }}", number * 7))
            .collect();
        let traffic = "traffic: [{ name: t, rate: 1, request: { url: 'http://h/' } }]";
        let marks = Marks(marks(&format!(
            "{traffic}\nfaults: [{}]",
            faults.join(", ")
        )));
        let placed = marks.placed(60.0, 60, 450);
        assert_eq!(placed.labels.len(), 9);
        assert!(placed.rows > 1 && placed.rows <= MAX_ROWS);
        for row in 0..placed.rows {
            let of_row: Vec<_> = placed.labels.iter().filter(|it| it.row == row).collect();
            let end = |label: &Label| {
                f64::from(label.left) + label.text.chars().count() as f64 * CHARACTER
            };
            for pair in of_row.windows(2) {
                assert!(end(pair[0]) < f64::from(pair[1].left));
            }
            assert!(of_row.iter().all(|label| end(label) <= 451.0));
        }
    }
}

//! Times and numbers, as scenario files write them.

use pointsman_core::config::reader::{Node, Report};
use pointsman_core::time::Nanos;

/// The longest time that a scenario can name: a year.
const MAX_TIME: Nanos = Nanos::from_secs(366 * 24 * 3600);
/// The same in words.
const TIME_RANGE: &str = "at most a year";

/// Reads a time from 0 on.
pub(super) fn time(node: &Node<'_>, report: &mut Report) -> Option<Nanos> {
    node.duration(report, Nanos::ZERO, MAX_TIME, TIME_RANGE)
}

/// Reads a time above 0.
pub(super) fn positive_time(node: &Node<'_>, report: &mut Report) -> Option<Nanos> {
    node.duration(report, Nanos::new(1), MAX_TIME, TIME_RANGE)
}

/// Reads a number in a range, its ends included.
pub(super) fn number(node: &Node<'_>, report: &mut Report, least: f64, most: f64) -> Option<f64> {
    let number = node
        .number()
        .filter(|number| (least..=most).contains(number));
    if number.is_none() {
        node.wrong(report, &format!("a number from {least} to {most}"));
    }
    number
}

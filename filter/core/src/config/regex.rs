//! Regular expressions.

use super::reader::{Node, Report};

/// Reads a regular expression with what compiles it, and what tells how many bytes it then takes.
pub(super) fn regex<T>(
    node: &Node<'_>,
    compile: impl Fn(&str) -> Result<T, String>,
    memory: fn(&T) -> usize,
    report: &mut Report,
) -> Option<T> {
    const EXPECTED: &str = "a regular expression in the syntax of Rust's regex crate";
    match compile(node.text(report, EXPECTED)?) {
        Ok(regex) => report.has_room(node, memory(&regex)).then_some(regex),
        Err(why) => {
            report.note(node, &format!("{}: {why}", node.shown()), EXPECTED);
            None
        }
    }
}

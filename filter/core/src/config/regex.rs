//! Regular expressions.

use super::reader::{Node, Report};

/// Reads a regular expression with what compiles it.
pub(super) fn regex<T>(
    node: &Node<'_>,
    compile: impl Fn(&str) -> Result<T, String>,
    report: &mut Report,
) -> Option<T> {
    const EXPECTED: &str = "a regular expression in the syntax of Rust's regex crate";
    match compile(node.text(report, EXPECTED)?) {
        Ok(regex) => Some(regex),
        Err(why) => {
            report.note(node, &format!("{}: {why}", node.shown()), EXPECTED);
            None
        }
    }
}

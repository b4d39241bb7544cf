//! The action `pass`.

use super::reader::{Node, Report};

/// Reads `pass`, which says nothing beside that it is there.
pub(super) fn pass(node: &Node<'_>, report: &mut Report) -> Option<()> {
    match node.is_true() {
        true => Some(()),
        false => {
            node.wrong(report, "true, or another action");
            None
        }
    }
}

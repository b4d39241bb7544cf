//! Sections whose entries have names that others refer to.

use super::reader::{Names, Node, Report};
use std::rc::Rc;

/// What the rest of the configuration knows of a section whose entries have names.
pub(super) struct Defined<'n, T> {
    /// The names, with their places in `all`.
    pub names: Names<'n>,
    /// None: it was not readable, which has been noted.
    pub all: Vec<Option<Rc<T>>>,
}

impl<T> Default for Defined<'_, T> {
    fn default() -> Self {
        Defined {
            names: Names::default(),
            all: Vec::new(),
        }
    }
}

impl<T> Defined<'_, T> {
    /// The entry that this node names.
    pub(super) fn named(&self, node: &Node<'_>, what: &str, report: &mut Report) -> Option<Rc<T>> {
        let number = node.reference(report, &self.names, what)?;
        self.all.get(number).cloned().flatten()
    }
}

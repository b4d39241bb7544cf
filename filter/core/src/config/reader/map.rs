//! Maps of a configuration.

use super::{Node, Report, one_of};
use crate::config::problem::nearest;
use crate::config::value::Value;

/// A map's entries.
#[derive(Clone, Copy)]
pub struct Map<'n> {
    pub(super) node: &'n Node<'n>,
    pub(super) entries: &'n [(String, Value)],
    /// Those that are known. Empty where they are names of the user's own.
    pub(super) keys: &'static [&'static str],
}

impl<'n> Map<'n> {
    /// The map itself.
    pub fn node(&self) -> &'n Node<'n> {
        self.node
    }

    /// All entries in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Node<'n>> + use<'n> {
        let map = *self;
        let entries = self.entries.iter().enumerate();
        entries.map(move |(position, (key, value))| map.entry(position, key, value))
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "a map is shorter than 2^32 bytes"
    )]
    pub(super) fn entry(&self, position: usize, key: &'n str, value: &'n Value) -> Node<'n> {
        Node {
            value,
            parent: Some(self.node),
            key: Some(key),
            position: position as u32,
        }
    }

    pub(super) fn position(&self, key: &str) -> Option<usize> {
        self.entries.iter().position(|(own, _)| own == key)
    }

    /// The value of a key, the first if it was given twice.
    #[inline(never)]
    pub fn get(&self, key: &str) -> Option<Node<'n>> {
        let position = self.position(key)?;
        let (key, value) = self.entries.get(position)?;
        Some(self.entry(position, key, value))
    }

    /// The value of a key that must be there.
    #[inline(never)]
    pub fn need(&self, report: &mut Report, key: &str, expected: &str) -> Option<Node<'n>> {
        let found = self.get(key);
        if found.is_none() && !self.has_misspelt(&[key]) {
            let absent = Node {
                value: &Value::Null,
                parent: Some(self.node),
                key: Some(key),
                position: u32::MAX,
            };
            report.note(&absent, "missing", expected);
        }
        found
    }

    /// The one key of several that is given, or None. A second one is a problem that names the
    /// first.
    pub fn at_most_one(&self, report: &mut Report, keys: &[&str]) -> Option<Node<'n>> {
        let mut given = self.iter().filter(|node| keys.contains(&node.key()));
        let first = given.next()?;
        for other in given.filter(|other| other.key() != first.key()) {
            let found = format!("stands beside {}", first.place());
            report.note(&other, &found, &format!("only {}", one_of(keys)));
        }
        Some(first)
    }

    /// The one key of several that must be given.
    pub fn exactly_one(&self, report: &mut Report, keys: &[&str]) -> Option<Node<'n>> {
        let found = self.at_most_one(report, keys);
        if found.is_none() && !self.has_misspelt(keys) {
            report.note(
                self.node,
                &format!("none of {}", keys.join(", ")),
                "exactly one of them",
            );
        }
        found
    }

    /// Notes that none of several keys is given, of which one must be.
    pub fn need_any(&self, report: &mut Report, keys: &[&str]) {
        if !self.iter().any(|node| keys.contains(&node.key())) && !self.has_misspelt(keys) {
            let found = format!("neither {}", keys.join(" nor "));
            report.note(self.node, &found, "at least one of them");
        }
    }

    /// Whether an unknown key was probably meant to be one of these: it has been noted, and its
    /// absence would be noted a second time.
    fn has_misspelt(&self, keys: &[&str]) -> bool {
        let unknown = self
            .iter()
            .map(|node| node.key())
            .filter(|key| !self.keys.contains(key));
        unknown
            .filter_map(|key| nearest(key, &mut self.keys.iter().copied()))
            .any(|meant| keys.contains(&meant))
    }
}

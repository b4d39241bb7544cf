//! Names that a configuration defines.

use fnv::FnvHashMap;

/// Names with their numbers.
#[derive(Default)]
pub struct Names<'a> {
    numbers: FnvHashMap<&'a str, usize>,
    /// In the order in which they came.
    pub(super) list: Vec<&'a str>,
}

impl<'a> Names<'a> {
    /// The number of a name.
    pub fn get(&self, name: &str) -> Option<usize> {
        self.numbers.get(name).copied()
    }

    /// How many names there are.
    pub(in crate::config) fn len(&self) -> usize {
        self.list.len()
    }

    /// Adds a name, if it is new; else says the number that it has.
    #[inline(never)]
    pub fn add(&mut self, name: &'a str, number: usize) -> Result<(), usize> {
        if let Some(number) = self.get(name) {
            return Err(number);
        }
        self.numbers.insert(name, number);
        self.list.push(name);
        Ok(())
    }
}

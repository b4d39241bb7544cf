//! Header edits: remove, then set, then add, on requests and on responses. They may stand on a
//! route and on each part of a `split`.

use super::value::ValueWithParts;

/// Names, each with its values in their order.
pub type NamedValues = Vec<(Box<[u8]>, Vec<ValueWithParts>)>;

/// The edits of one `request_headers` or `response_headers` block. Names are lower case, values any
/// bytes that HTTP lets into a header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edits {
    /// Names to remove, all values of each.
    pub remove: Vec<Box<[u8]>>,
    /// Names to set: what was there gives way to these values.
    pub set: NamedValues,
    /// Names to add values to.
    pub add: NamedValues,
    /// Whether one of the values is built for each request.
    pub is_built: bool,
}

/// One change of a header map, in the order in which it is applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit<'a, V = &'a [u8]> {
    /// Remove every value of the name.
    Remove(&'a [u8]),
    /// Replace every value of the name by this one.
    Set(&'a [u8], V),
    /// Add a value to the name.
    Add(&'a [u8], V),
}

impl<'a, V> Edit<'a, V> {
    /// The same change with another value.
    pub fn map<W>(self, value: impl FnOnce(V) -> W) -> Edit<'a, W> {
        match self {
            Edit::Remove(name) => Edit::Remove(name),
            Edit::Set(name, old) => Edit::Set(name, value(old)),
            Edit::Add(name, old) => Edit::Add(name, value(old)),
        }
    }
}

impl Edits {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }

    /// The changes in their order: remove, set, add. The first of several values to set replaces,
    /// the others add.
    pub fn iter(&self) -> impl Iterator<Item = Edit<'_, &ValueWithParts>> {
        let remove = self.remove.iter().map(|name| Edit::Remove(name));
        let set = self.set.iter().flat_map(|(name, values)| {
            values.iter().enumerate().map(move |(i, value)| match i {
                0 => Edit::Set(name, value),
                _ => Edit::Add(name, value),
            })
        });
        let add = self
            .add
            .iter()
            .flat_map(|(name, values)| values.iter().map(move |value| Edit::Add(name, value)));
        remove.chain(set).chain(add)
    }
}

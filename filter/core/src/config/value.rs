//! The tree that every form of a configuration becomes first: JSON text, a
//! `google.protobuf.Struct`, or YAML on the command line. It keeps order and repeated keys, so that
//! both can be talked about.

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use std::cell::Cell;
use std::fmt;

/// How deep a configuration may nest. The interface needs nine levels; the bound keeps recursion
/// off the stack's end.
pub const MAX_DEPTH: u8 = 32;

/// A node of the tree.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing.
    Null,
    /// `true` or `false`
    Bool(bool),
    /// Any number: a `Struct` has only doubles, and every number of a configuration is exact in
    /// one.
    Number(f64),
    /// A string.
    Text(String),
    /// A list.
    List(Vec<Value>),
    /// Keys with values, as they stand: in order, repeated keys included.
    Map(Vec<(String, Value)>),
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Value, D::Error> {
        Nested::whole(MAX_DEPTH).deserialize(from)
    }
}

/// The key of a configuration whose list is nearly all of it, where it is large. Its items need not
/// be in the tree: they can be read one by one after all else, which they refer to.
pub const ROUTES: &str = "routes";

/// How deep an item of [`ROUTES`] may nest.
pub const ROUTE_DEPTH: u8 = MAX_DEPTH - 2;

/// Reads a configuration but for the items of [`ROUTES`]: that list is empty in the tree, and its
/// length is told beside it. (None: there is no such list.) Of several the first counts; the others
/// are errors, and stay in the tree.
pub fn outline<'de, D: Deserializer<'de>>(from: D) -> Result<(Value, Option<usize>), D::Error> {
    let count = Cell::new(None);
    let root = Nested {
        left: MAX_DEPTH,
        routes: Routes::Within(Wanted::Count(&count)),
    };
    let tree = root.deserialize(from)?;
    Ok((tree, count.get()))
}

/// Reads nothing of a configuration but the items of the first [`ROUTES`], which has to be a list.
pub fn each_route<'de, D: Deserializer<'de>>(
    from: D,
    take: &mut dyn FnMut(Value),
) -> Result<(), D::Error> {
    let taker = Cell::new(Some(take));
    let give = |value| {
        if let Some(take) = taker.take() {
            take(value);
            taker.set(Some(take));
        }
    };
    let root = Nested {
        left: MAX_DEPTH,
        routes: Routes::Within(Wanted::Items(&give)),
    };
    root.deserialize(from).map(drop)
}

/// Reads one value that may hold `left` further levels.
#[derive(Clone, Copy)]
struct Nested<'c> {
    left: u8,
    routes: Routes<'c>,
}

/// What becomes of [`ROUTES`]. (One visitor does it all: another would be 15 kB of the module.)
#[derive(Clone, Copy)]
enum Routes<'c> {
    /// This is not the root of a configuration, or all of it is wanted.
    Nothing,
    /// This is the root.
    Within(Wanted<'c>),
    /// These are the routes.
    Here(Wanted<'c>),
}

#[derive(Clone, Copy)]
enum Wanted<'c> {
    /// Their number, and all else.
    Count(&'c Cell<Option<usize>>),
    /// They alone.
    Items(&'c dyn Fn(Value)),
}

impl<'c> Nested<'c> {
    fn whole(left: u8) -> Nested<'c> {
        Nested {
            left,
            routes: Routes::Nothing,
        }
    }

    fn deeper<E: Error>(self) -> Result<Nested<'c>, E> {
        let left = self
            .left
            .checked_sub(1)
            .ok_or_else(|| E::custom(format_args!("nested deeper than {MAX_DEPTH} levels")))?;
        Ok(Nested::whole(left))
    }
}

impl<'de> DeserializeSeed<'de> for Nested<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Nested<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map, a list, a string, a number, true or false")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        self.deserialize(from)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value as f64))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value as f64))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut list = Vec::new();
        match self.routes {
            Routes::Here(Wanted::Count(count)) => {
                let mut items = 0;
                while from.next_element::<IgnoredAny>()?.is_some() {
                    items += 1;
                }
                count.set(Some(items));
            }
            routes => {
                while let Some(value) = from.next_element_seed(inner)? {
                    match routes {
                        Routes::Here(Wanted::Items(give)) => give(value),
                        _ => list.push(value),
                    }
                }
            }
        }
        // Most hold one or two, and a `Vec` starts with room for four: a fifth of all memory, with
        // 10,000 routes.
        list.shrink_to_fit();
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut map = Vec::new();
        while let Some(key) = from.next_key::<String>()? {
            let first = key == ROUTES && !map.iter().any(|(other, _)| other == ROUTES);
            let routes = match self.routes {
                Routes::Within(wanted) if first => Routes::Here(wanted),
                _ => Routes::Nothing,
            };
            let value = match (self.routes, routes) {
                (Routes::Within(Wanted::Items(_)), Routes::Nothing) => {
                    from.next_value::<IgnoredAny>()?;
                    Value::Null
                }
                _ => from.next_value_seed(Nested { routes, ..inner })?,
            };
            map.push((key, value));
        }
        map.shrink_to_fit();
        Ok(Value::Map(map))
    }
}

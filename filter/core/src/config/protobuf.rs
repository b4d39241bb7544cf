//! `google.protobuf.Struct` from its binary form. An Envoy file's nested YAML reaches a filter so.
//! Three messages and one map are all there is to it, and a protobuf library would cost more than
//! the rest of the configuration.
//!
//! The wire format is that of <https://protobuf.dev/programming-guides/encoding/>, the messages
//! those of `struct.proto`.

use super::value::{MAX_DEPTH, ROUTE_DEPTH, ROUTES, Value};

/// The bytes are not a `Struct`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed {
    /// Where, counted from 0.
    pub at: usize,
    /// What is wrong there.
    pub why: &'static str,
}

/// Whether the bytes are a `Struct` rather than JSON text.
///
/// A `Struct` that holds anything starts with the tag of its field 1, which is 0x0a and also a JSON
/// text's possible first line break. But each of its entries has a value, whose tag is 0x12: a byte
/// that stands in no JSON text.
pub(super) fn is_struct(bytes: &[u8]) -> bool {
    bytes.first() == Some(&STRUCT_FIELDS_TAG) && bytes.contains(&ENTRY_VALUE_TAG)
}

const STRUCT_FIELDS_TAG: u8 = 0x0a;
const ENTRY_VALUE_TAG: u8 = 0x12;

/// As [`super::value::outline`], of a `Struct`. Its keys come out sorted: a protobuf map has no
/// order of its own, and Envoy's would be another after every start.
pub(super) fn outline(bytes: &[u8]) -> Result<(Value, Option<usize>), Malformed> {
    let mut count = None;
    let tree = Message::whole(bytes).into_struct(MAX_DEPTH - 1, Some(&mut count))?;
    Ok((tree, count))
}

/// As [`super::value::each_route`], of a `Struct`.
pub(super) fn each_route(bytes: &[u8], take: &mut dyn FnMut(Value)) -> Result<(), Malformed> {
    let mut root = Message::whole(bytes);
    while let Some(field) = root.next()? {
        if let Field::Bytes(1, entry) = field
            && let Some(mut routes) = entry.routes()?
        {
            while let Some(field) = routes.next()? {
                if let Field::Bytes(1, item) = field {
                    take(item.into_value(ROUTE_DEPTH)?);
                }
            }
            return Ok(());
        }
    }
    Ok(())
}

/// All of it.
#[cfg(test)]
pub(super) fn decode(bytes: &[u8]) -> Result<Value, Malformed> {
    let (mut tree, count) = outline(bytes)?;
    let mut routes = Vec::new();
    each_route(bytes, &mut |route| routes.push(route))?;
    assert_eq!(count.unwrap_or_default(), routes.len());
    if let (Value::Map(entries), Some(_)) = (&mut tree, count) {
        let list = entries
            .iter_mut()
            .find(|(key, value)| key == ROUTES && *value == Value::List(Vec::new()));
        list.unwrap().1 = Value::List(routes);
    }
    Ok(tree)
}

/// The part of `bytes` that one message takes.
#[derive(Clone, Copy)]
struct Message<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
}

/// A field's number and content.
enum Field<'a> {
    Varint(u64, u64),
    Fixed64(u64, [u8; 8]),
    Bytes(u64, Message<'a>),
    /// Fields of no use here, and what `Struct` never has.
    Skipped,
}

impl<'a> Message<'a> {
    fn whole(bytes: &'a [u8]) -> Message<'a> {
        Message {
            bytes,
            at: 0,
            end: bytes.len(),
        }
    }

    fn error<T>(&self, why: &'static str) -> Result<T, Malformed> {
        Err(Malformed { at: self.at, why })
    }

    /// How many levels are left inside one that has `left`.
    fn deeper(&self, left: u8) -> Result<u8, Malformed> {
        match left.checked_sub(1) {
            Some(left) => Ok(left),
            None => self.error("nested deeper than 32 levels"),
        }
    }

    fn take(&mut self, size: u64) -> Result<Message<'a>, Malformed> {
        let left = self.end - self.at;
        let Some(size) = usize::try_from(size).ok().filter(|size| *size <= left) else {
            return self.error("a field is longer than the bytes that hold it");
        };
        let start = self.at;
        self.at += size;
        Ok(Message {
            bytes: self.bytes,
            at: start,
            end: self.at,
        })
    }

    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..self.end).unwrap_or_default()
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        // Ten groups of seven bits hold 64 bits.
        for shift in (0..64).step_by(7) {
            let Some(byte) = self.rest().first().copied() else {
                return self.error("the bytes end within a number");
            };
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        self.error("a number is longer than 64 bits")
    }

    fn next(&mut self) -> Result<Option<Field<'a>>, Malformed> {
        if self.at == self.end {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = tag >> 3;
        if number == 0 {
            return self.error("a field has the number 0");
        }
        Ok(Some(match tag & 7 {
            0 => Field::Varint(number, self.varint()?),
            1 => match self.take(8)?.rest().try_into() {
                Ok(eight) => Field::Fixed64(number, eight),
                Err(_) => Field::Skipped,
            },
            2 => {
                let size = self.varint()?;
                Field::Bytes(number, self.take(size)?)
            }
            5 => {
                self.take(4)?;
                Field::Skipped
            }
            _ => return self.error("a field has a type that is not in use"),
        }))
    }

    fn into_text(self) -> Result<String, Malformed> {
        match std::str::from_utf8(self.rest()) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => self.error("a string is not UTF-8"),
        }
    }

    /// `Struct { map<string, Value> fields = 1; }`
    /// With `routes` the first list of that name is only counted.
    fn into_struct(
        mut self,
        left: u8,
        mut routes: Option<&mut Option<usize>>,
    ) -> Result<Value, Malformed> {
        let mut map: Vec<(String, Value)> = Vec::new();
        while let Some(field) = self.next()? {
            if let Field::Bytes(1, entry) = field {
                let list = match &routes {
                    Some(None) => entry.routes()?,
                    _ => None,
                };
                let (key, value) = match (list, &mut routes) {
                    (Some(list), Some(count)) => {
                        **count = Some(list.count()?);
                        (ROUTES.to_owned(), Value::List(Vec::new()))
                    }
                    _ => entry.into_entry(left)?,
                };
                // A map that comes sorted is read in linear time; a sort would be more code than
                // all of this.
                let at = map.partition_point(|(before, _)| *before <= key);
                map.insert(at, (key, value));
            }
        }
        map.shrink_to_fit();
        Ok(Value::Map(map))
    }

    /// The list of an entry of the configuration that is [`ROUTES`].
    fn routes(mut self) -> Result<Option<Message<'a>>, Malformed> {
        let (mut is_routes, mut list) = (false, None);
        while let Some(field) = self.next()? {
            match field {
                Field::Bytes(1, key) => is_routes = key.rest() == ROUTES.as_bytes(),
                Field::Bytes(2, mut value) if is_routes => {
                    list = None;
                    while let Some(field) = value.next()? {
                        list = match field {
                            Field::Bytes(6, inner) => Some(inner),
                            Field::Skipped => list,
                            _ => None,
                        };
                    }
                }
                _ => {}
            }
        }
        Ok(list)
    }

    /// How many values a list has.
    fn count(mut self) -> Result<usize, Malformed> {
        let mut count = 0;
        while let Some(field) = self.next()? {
            count += usize::from(matches!(field, Field::Bytes(1, _)));
        }
        Ok(count)
    }

    /// `{ string key = 1; Value value = 2; }`, how the wire has an entry of a map.
    fn into_entry(mut self, left: u8) -> Result<(String, Value), Malformed> {
        let mut key = String::new();
        let mut value = Value::Null;
        while let Some(field) = self.next()? {
            match field {
                Field::Bytes(1, text) => key = text.into_text()?,
                Field::Bytes(2, inner) => value = inner.into_value(left)?,
                _ => {}
            }
        }
        Ok((key, value))
    }

    /// `Value { oneof { null_value = 1; number_value = 2; string_value = 3; bool_value = 4;
    /// struct_value = 5; list_value = 6; } }`; of several the last holds. `left` is how many
    /// further levels there may be.
    fn into_value(mut self, left: u8) -> Result<Value, Malformed> {
        let mut value = Value::Null;
        while let Some(field) = self.next()? {
            value = match field {
                Field::Varint(1, _) => Value::Null,
                Field::Fixed64(2, bits) => Value::Number(f64::from_le_bytes(bits)),
                Field::Bytes(3, text) => Value::Text(text.into_text()?),
                Field::Varint(4, yes) => Value::Bool(yes != 0),
                Field::Bytes(5, inner) => inner.into_struct(self.deeper(left)?, None)?,
                Field::Bytes(6, inner) => inner.into_list(self.deeper(left)?)?,
                _ => continue,
            };
        }
        Ok(value)
    }

    /// `ListValue { repeated Value values = 1; }`
    fn into_list(mut self, left: u8) -> Result<Value, Malformed> {
        let mut list = Vec::new();
        while let Some(field) = self.next()? {
            if let Field::Bytes(1, value) = field {
                list.push(value.into_value(left)?);
            }
        }
        list.shrink_to_fit();
        Ok(Value::List(list))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn bytes_that_are_no_struct_are_refused_where_they_go_wrong() {
        for (bytes, at, why) in [
            (&[0x0a][..], 1, "the bytes end within a number"),
            (
                &[0x0a, 5, 0x12],
                2,
                "a field is longer than the bytes that hold it",
            ),
            (
                &[0x0a, 2, 0x0a, 1, 0x12],
                4,
                "a field is longer than the bytes that hold it",
            ),
            (&[0x0a, 3, 0x0a, 1, 0xff], 4, "a string is not UTF-8"),
            (&[0x02, 0], 1, "a field has the number 0"),
            (&[0x0b], 1, "a field has a type that is not in use"),
            (
                &[0x0d, 1, 2, 3],
                1,
                "a field is longer than the bytes that hold it",
            ),
            (
                &[0x09, 1, 2, 3],
                1,
                "a field is longer than the bytes that hold it",
            ),
            (&[0xff; 12], 10, "a number is longer than 64 bits"),
        ] {
            assert_eq!(decode(bytes), Err(Malformed { at, why }), "{bytes:?}");
        }
    }

    #[test]
    fn unknown_fields_are_skipped_and_the_last_value_holds() {
        // Fields 9 of each wire type, then { "a": false } whose value says 1 before, and null
        // before that.
        let bytes = [
            &[
                9 << 3,
                1,
                9 << 3 | 1,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                9 << 3 | 2,
                1,
                7,
                9 << 3 | 5,
                0,
                0,
                0,
                0,
            ][..],
            &[0x0a, 18, 0x0a, 1, b'a', 0x12, 13, 1 << 3, 0],
            &[2 << 3 | 1, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 4 << 3, 0],
        ]
        .concat();
        assert_eq!(
            decode(&bytes),
            Ok(Value::Map(vec![("a".to_owned(), Value::Bool(false))]))
        );
    }
}

//! A reader of maps that remembers what was taken. What nobody took is reported when the reader is
//! dropped, so that no code path can forget a field.

use crate::output::NotCarried;
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::rc::Rc;

/// What is said of a field that no importer knows.
pub const UNKNOWN: &str = "this import does not know the field";

/// Collects what could not be carried over. Clones share one list.
#[derive(Clone, Debug, Default)]
pub struct Report(Rc<RefCell<Vec<NotCarried>>>);

impl Report {
    /// Names a field that could not be carried over.
    pub fn add(&self, path: impl Into<String>, why: impl Into<String>) {
        self.0.borrow_mut().push(NotCarried {
            path: path.into(),
            why: why.into(),
        });
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them in the order in which they were met; the list is empty then.
    pub fn take(&self) -> Vec<NotCarried> {
        std::mem::take(&mut self.0.borrow_mut())
    }
}

/// The fields of one map. Those that were not taken are reported when it is dropped.
#[derive(Debug)]
pub struct Fields {
    path: String,
    map: Map<String, Value>,
    report: Report,
}

impl Fields {
    /// The fields of a value. None: it is no map, which is reported. Null has no fields.
    pub fn of(path: impl Into<String>, value: Value, report: &Report) -> Option<Fields> {
        let path = path.into();
        match value {
            Value::Object(map) => Some(Fields {
                path,
                map,
                report: report.clone(),
            }),
            Value::Null => Some(Fields {
                path,
                map: Map::new(),
                report: report.clone(),
            }),
            other => {
                report.add(path, format!("{} where a map is expected", kind(&other)));
                None
            }
        }
    }

    /// Where the map stands.
    pub fn place(&self) -> &str {
        &self.path
    }

    /// Where a field stands: `spec.rules[0].name`, or `annotations["a.b/c"]`.
    pub fn path(&self, key: &str) -> String {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
        match key.chars().all(is_plain) && !key.is_empty() {
            true if self.path.is_empty() => key.to_owned(),
            true if self.path.ends_with(": ") => format!("{}{key}", self.path),
            true => format!("{}.{key}", self.path),
            false => format!("{}[{}]", self.path, Value::from(key)),
        }
    }

    /// The report that this reader writes to.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Names a field of this map that could not be carried over.
    pub fn not_carried(&self, key: &str, why: impl Into<String>) {
        self.report.add(self.path(key), why);
    }

    /// The names of the fields that were not taken yet.
    pub fn keys(&self) -> Vec<String> {
        self.map.keys().cloned().collect()
    }

    /// Whether the field is there and was not taken yet.
    pub fn has(&self, key: &str) -> bool {
        self.map.get(key).is_some_and(|value| !value.is_null())
    }

    /// Whether the field is absent, or a list of nothing.
    pub fn is_empty(&self, key: &str) -> bool {
        let is_empty_list =
            |value: &Value| matches!(value, Value::Array(items) if items.is_empty());
        !self.has(key) || self.map.get(key).is_some_and(is_empty_list)
    }

    /// Takes a field as it is. None: it is absent or null.
    pub fn take(&mut self, key: &str) -> Option<Value> {
        self.map.remove(key).filter(|value| !value.is_null())
    }

    /// Takes a string.
    pub fn text(&mut self, key: &str) -> Option<String> {
        self.typed(key, "a string", |value| match value {
            Value::String(text) => Ok(text),
            other => Err(other),
        })
    }

    /// Takes a whole number.
    pub fn whole(&mut self, key: &str) -> Option<i64> {
        self.typed(key, "a whole number", |value| value.as_i64().ok_or(value))
    }

    /// Takes a boolean.
    pub fn boolean(&mut self, key: &str) -> Option<bool> {
        self.typed(key, "true or false", |value| value.as_bool().ok_or(value))
    }

    /// Takes a word of a list, or the default where it is absent. None: it is another one, which is
    /// reported.
    pub fn word(
        &mut self,
        key: &str,
        words: &[&'static str],
        default: &'static str,
    ) -> Option<&'static str> {
        if !self.has(key) {
            return Some(default);
        }
        let text = self.text(key)?;
        let known = words.iter().find(|word| **word == text);
        if known.is_none() {
            self.not_carried(key, format!("`{text}` is none of {}", words.join(", ")));
        }
        known.copied()
    }

    /// Takes a map.
    pub fn fields(&mut self, key: &str) -> Option<Fields> {
        let value = self.take(key)?;
        Fields::of(self.path(key), value, &self.report)
    }

    /// Takes a map that has to be there.
    pub fn needed(&mut self, key: &str) -> Option<Fields> {
        if !self.has(key) {
            self.not_carried(key, "missing");
        }
        self.fields(key)
    }

    /// Takes a list: its items with their places.
    pub fn list(&mut self, key: &str) -> Vec<(String, Value)> {
        let items = self.typed(key, "a list", |value| match value {
            Value::Array(items) => Ok(items),
            other => Err(other),
        });
        let path = self.path(key);
        let items = items.unwrap_or_default().into_iter().enumerate();
        items
            .map(|(index, item)| (format!("{path}[{index}]"), item))
            .collect()
    }

    /// Takes a list of maps.
    pub fn items(&mut self, key: &str) -> Vec<Fields> {
        let items = self.list(key).into_iter();
        items
            .filter_map(|(path, item)| Fields::of(path, item, &self.report))
            .collect()
    }

    /// Takes a list of strings.
    pub fn texts(&mut self, key: &str) -> Vec<String> {
        let mut texts = Vec::new();
        for (path, item) in self.list(key) {
            match item {
                Value::String(text) => texts.push(text),
                other => self
                    .report
                    .add(path, format!("{} where a string is expected", kind(&other))),
            }
        }
        texts
    }

    /// Takes a field that says nothing about where requests go, and leaves it out silently. For
    /// bookkeeping only, such as `status`.
    pub fn ignore(&mut self, key: &str) {
        self.map.remove(key);
    }

    /// Takes a field that cannot be carried over, and says why. False: it is absent.
    pub fn refuse(&mut self, key: &str, why: &str) -> bool {
        let there = self.take(key).is_some();
        if there {
            self.not_carried(key, why);
        }
        there
    }

    fn typed<T>(
        &mut self,
        key: &str,
        expected: &str,
        read: impl FnOnce(Value) -> Result<T, Value>,
    ) -> Option<T> {
        match read(self.take(key)?) {
            Ok(read) => Some(read),
            Err(found) => {
                let why = format!("{} where {expected} is expected", kind(&found));
                self.not_carried(key, why);
                None
            }
        }
    }
}

impl Drop for Fields {
    fn drop(&mut self) {
        for key in self.keys() {
            if self.has(&key) {
                self.not_carried(&key, UNKNOWN);
            }
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_nobody_takes_is_named() {
        let report = Report::default();
        let value = json!({
            "a": 1, "b": { "c": "x", "d": null, "e.f/g": [] }, "h": [{ "i": 1 }, 2], "j": true,
        });
        let mut fields = Fields::of("r: ", value, &report).unwrap();
        assert_eq!(fields.whole("a"), Some(1));
        let mut b = fields.fields("b").unwrap();
        assert_eq!(b.whole("c"), None);
        drop(b);
        assert_eq!(fields.items("h").len(), 1);
        drop(fields);
        let paths = report.take().into_iter().map(|it| it.path);
        assert_eq!(
            paths.collect::<Vec<_>>(),
            ["r: b.c", "r: b[\"e.f/g\"]", "r: h[1]", "r: h[0].i", "r: j"]
        );
        assert!(report.is_empty());
    }
}

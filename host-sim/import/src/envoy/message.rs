//! A reader of Envoy's messages that remembers what was taken. What nobody took is reported when
//! the reader is dropped, so that no code path can forget a field, and one that a later Envoy adds
//! is named without a word here.

use super::descriptors::message_of;
use super::reasons::reason;
use crate::fields::Report;
use prost_reflect::{DynamicMessage, FieldDescriptor, MapKey, ReflectMessage, Value};
use std::time::Duration;

/// The fields of one message that were not taken yet.
#[derive(Debug)]
pub(super) struct Message {
    path: String,
    message: DynamicMessage,
    report: Report,
}

impl Message {
    pub(super) fn new(
        path: impl Into<String>,
        message: DynamicMessage,
        report: &Report,
    ) -> Message {
        Message {
            path: path.into(),
            message,
            report: report.clone(),
        }
    }

    /// Where the message stands.
    pub(super) fn place(&self) -> &str {
        &self.path
    }

    /// Where a field stands.
    pub(super) fn path(&self, field: &str) -> String {
        match self.path.is_empty() || self.path.ends_with(": ") {
            true => format!("{}{field}", self.path),
            false => format!("{}.{field}", self.path),
        }
    }

    pub(super) fn report(&self) -> &Report {
        &self.report
    }

    /// The message's full name: `envoy.config.route.v3.Route`.
    pub(super) fn kind(&self) -> String {
        self.message.descriptor().full_name().to_owned()
    }

    /// Whether a field is set and was not taken yet.
    pub(super) fn has(&self, field: &str) -> bool {
        self.message.has_field(&self.field(field))
    }

    /// Whether nothing is set that was not taken.
    pub(super) fn is_empty(&self) -> bool {
        self.message.fields().next().is_none()
    }

    /// The first of these fields that is set.
    pub(super) fn first_of<'f>(&self, fields: &[&'f str]) -> Option<&'f str> {
        fields.iter().copied().find(|field| self.has(field))
    }

    /// A string that stays where it is.
    pub(super) fn peek(&self, field: &str) -> String {
        let value = self.message.get_field(&self.field(field));
        value.as_str().unwrap_or_default().to_owned()
    }

    /// Takes a string.
    pub(super) fn text(&mut self, field: &str) -> Option<String> {
        match self.take(field)? {
            Value::String(text) => Some(text),
            other => wrong(field, &other),
        }
    }

    /// Takes bytes.
    pub(super) fn bytes(&mut self, field: &str) -> Option<Vec<u8>> {
        match self.take(field)? {
            Value::Bytes(bytes) => Some(bytes.to_vec()),
            other => wrong(field, &other),
        }
    }

    /// Takes a boolean, or a `BoolValue`.
    pub(super) fn boolean(&mut self, field: &str) -> Option<bool> {
        match unwrapped(self.take(field)?) {
            Value::Bool(value) => Some(value),
            other => wrong(field, &other),
        }
    }

    /// Takes a whole number, or a wrapped one.
    pub(super) fn whole(&mut self, field: &str) -> Option<i64> {
        match unwrapped(self.take(field)?) {
            Value::I32(number) => Some(number.into()),
            Value::I64(number) => Some(number),
            Value::U32(number) => Some(number.into()),
            Value::U64(number) => Some(i64::try_from(number).unwrap_or(i64::MAX)),
            other => wrong(field, &other),
        }
    }

    /// Takes an enumeration's value by its name.
    pub(super) fn choice(&mut self, field: &str) -> Option<String> {
        let descriptor = self.field(field);
        let Value::EnumNumber(number) = self.take(field)? else {
            unreachable!("{field} is no enumeration");
        };
        let kind = descriptor.kind();
        let values = kind.as_enum().expect("an enumeration");
        match values.get_value(number) {
            Some(value) => Some(value.name().to_owned()),
            None => {
                self.not_carried(field, "a value that this import does not know");
                None
            }
        }
    }

    /// Takes a duration.
    pub(super) fn duration(&mut self, field: &str) -> Option<Duration> {
        let Value::Message(message) = self.take(field)? else {
            unreachable!("{field} is no duration");
        };
        let part = |name| match message.get_field_by_name(name).as_deref() {
            Some(Value::I64(seconds)) => u64::try_from(*seconds).ok(),
            Some(Value::I32(nanos)) => u64::try_from(*nanos).ok(),
            _ => None,
        };
        match (part("seconds"), part("nanos")) {
            (Some(seconds), Some(nanos)) => {
                Some(Duration::from_secs(seconds) + Duration::from_nanos(nanos))
            }
            _ => {
                self.not_carried(field, "a negative duration");
                None
            }
        }
    }

    /// Takes a message.
    pub(super) fn message(&mut self, field: &str) -> Option<Message> {
        match self.take(field)? {
            Value::Message(message) => Some(Message::new(self.path(field), message, &self.report)),
            other => wrong(field, &other),
        }
    }

    /// Takes a list of messages.
    pub(super) fn messages(&mut self, field: &str) -> Vec<Message> {
        let path = self.path(field);
        let items = self.list(field).into_iter().enumerate();
        let each = |(index, item)| match item {
            Value::Message(message) => {
                Message::new(format!("{path}[{index}]"), message, &self.report)
            }
            other => unreachable!("{field}: {other:?}"),
        };
        items.map(each).collect()
    }

    /// Takes a list of strings.
    pub(super) fn texts(&mut self, field: &str) -> Vec<String> {
        let each = |item| match item {
            Value::String(text) => text,
            other => unreachable!("{field}: {other:?}"),
        };
        self.list(field).into_iter().map(each).collect()
    }

    /// Takes a map of `Any`s: each key with its message, where its type is known.
    pub(super) fn any_map(&mut self, field: &str) -> Vec<(String, Option<Message>)> {
        let path = self.path(field);
        let entries = match self.take(field) {
            Some(Value::Map(entries)) => entries,
            _ => return Vec::new(),
        };
        let mut entries: Vec<_> = entries
            .into_iter()
            .map(|(key, value)| match (key, value) {
                (MapKey::String(key), Value::Message(any)) => (key, any),
                other => unreachable!("{field}: {other:?}"),
            })
            .collect();
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        let each = |(key, any): (String, DynamicMessage)| {
            let place = format!("{path}[{key:?}]");
            let message = unpack(place, &any, &self.report);
            (key, message)
        };
        entries.into_iter().map(each).collect()
    }

    /// Takes an `Any`. None: it is absent, or of a type that this import does not know, which is
    /// reported.
    pub(super) fn any(&mut self, field: &str) -> Option<Message> {
        let path = self.path(field);
        match self.take(field)? {
            Value::Message(any) => {
                let unpacked = unpack(path, &any, &self.report);
                if unpacked.is_none() {
                    self.not_carried(field, "a type that is not one of Envoy's");
                }
                unpacked
            }
            other => wrong(field, &other),
        }
    }

    /// Names a field that could not be carried over.
    pub(super) fn not_carried(&self, field: &str, why: impl Into<String>) {
        self.report.add(self.path(field), why);
    }

    /// Takes a field that cannot be carried over, and says why. False: it is absent.
    pub(super) fn refuse(&mut self, field: &str, why: &str) -> bool {
        let there = self.take(field).is_some();
        if there {
            self.not_carried(field, why);
        }
        there
    }

    /// Takes a field that changes nothing here.
    pub(super) fn ignore(&mut self, field: &str) {
        let _ = self.take(field);
    }

    /// The places of all that was not taken; nobody reports it then.
    pub(super) fn rest(mut self) -> Vec<String> {
        let fields: Vec<_> = self.message.take_fields().collect();
        fields
            .iter()
            .flat_map(|(field, value)| self.places(field, value))
            .collect()
    }

    fn list(&mut self, field: &str) -> Vec<Value> {
        match self.take(field) {
            Some(Value::List(items)) => items,
            _ => Vec::new(),
        }
    }

    fn take(&mut self, field: &str) -> Option<Value> {
        let field = self.field(field);
        let is_set = self.message.has_field(&field);
        is_set.then(|| self.message.take_field(&field)).flatten()
    }

    fn field(&self, name: &str) -> FieldDescriptor {
        let descriptor = self.message.descriptor();
        let field = descriptor.get_field_by_name(name);
        field.unwrap_or_else(|| panic!("{} has no field {name}", descriptor.full_name()))
    }

    /// Where a value stands: each entry of a map has a place of its own.
    fn places(&self, field: &FieldDescriptor, value: &Value) -> Vec<String> {
        let path = self.path(field.name());
        match value {
            Value::Map(entries) => {
                let mut keys: Vec<_> = entries.keys().collect();
                keys.sort();
                let each = |key: &MapKey| match key {
                    MapKey::String(key) => format!("{path}[{key:?}]"),
                    other => format!("{path}[{other:?}]"),
                };
                keys.into_iter().map(each).collect()
            }
            _ => vec![path],
        }
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        let kind = self.kind();
        for (field, value) in self.message.fields() {
            for path in self.places(&field, value) {
                self.report.add(path, reason(&kind, field.name()));
            }
        }
    }
}

/// The message within an `Any`.
fn unpack(path: String, any: &DynamicMessage, report: &Report) -> Option<Message> {
    let pool = any.descriptor().parent_pool().clone();
    let url = any.get_field_by_name("type_url")?;
    let value = any.get_field_by_name("value")?;
    let descriptor = message_of(&pool, url.as_str()?)?;
    let message = DynamicMessage::decode(descriptor, value.as_bytes()?.clone()).ok()?;
    Some(Message::new(path, message, report))
}

/// What a wrapper such as `BoolValue` holds.
fn unwrapped(value: Value) -> Value {
    match &value {
        Value::Message(message) => match message.get_field_by_name("value") {
            Some(inner) => inner.into_owned(),
            None => value,
        },
        _ => value,
    }
}

fn wrong<T>(field: &str, value: &Value) -> T {
    unreachable!("{field} is of another type: {value:?}")
}

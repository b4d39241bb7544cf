//! From the text of a file to Envoy's messages: names of fields as Envoy writes them (snake_case)
//! or as protobuf's JSON has them (camelCase), and the types of `Any`s.

use super::descriptors::message_of;
use crate::fields::Report;
use pointsman_core::config::problem::nearest;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value};

/// What is done with a field that Envoy's messages do not have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Unknown {
    /// Somebody wrote it: a mistake.
    Refuse,
    /// A proxy wrote it, a later one perhaps: named, and left out.
    Name,
}

/// Reads a value as a message. The error has a line for each thing that is wrong with it.
pub(super) fn decode(
    path: &str,
    mut value: Value,
    descriptor: &MessageDescriptor,
    unknown: Unknown,
    report: &Report,
) -> Result<DynamicMessage, String> {
    let mut checked = Checked {
        unknown,
        report,
        wrong: Vec::new(),
    };
    checked.message(path, &mut value, descriptor);
    if !checked.wrong.is_empty() {
        return Err(checked.wrong.join("\n"));
    }
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(value, &mut track);
    DynamicMessage::deserialize(descriptor.clone(), tracked).map_err(|error| {
        let at = match track.path().to_string().as_str() {
            "." => String::new(),
            at => format!("{at}: "),
        };
        let between = if path.is_empty() || path.ends_with(": ") || at.is_empty() {
            ""
        } else {
            "."
        };
        format!("{path}{between}{at}{error}")
    })
}

struct Checked<'r> {
    unknown: Unknown,
    report: &'r Report,
    wrong: Vec<String>,
}

impl Checked<'_> {
    /// Looks for fields and types that Envoy does not have.
    fn message(&mut self, path: &str, value: &mut Value, descriptor: &MessageDescriptor) {
        let name = descriptor.full_name();
        if name == "google.protobuf.Any" {
            return self.any(path, value, descriptor);
        }
        if name.starts_with("google.protobuf.") {
            return;
        }
        let Value::Object(map) = value else {
            return;
        };
        self.fields(path, map, descriptor);
    }

    fn fields(&mut self, path: &str, map: &mut Map<String, Value>, descriptor: &MessageDescriptor) {
        let mut unknown = Vec::new();
        for (key, value) in map.iter_mut() {
            let field = descriptor
                .get_field_by_name(key)
                .or_else(|| descriptor.get_field_by_json_name(key));
            match field {
                Some(field) => self.field(&within(path, field.name()), value, &field),
                None => unknown.push(key.clone()),
            }
        }
        for key in unknown {
            let known: Vec<_> = descriptor.fields().map(|it| it.name().to_owned()).collect();
            let near = nearest(&key, &mut known.iter().map(String::as_str));
            let mut why = format!("{} has no such field", descriptor.full_name());
            if let Some(near) = near {
                why.push_str(&format!("; did you mean {near}?"));
            }
            match self.unknown {
                Unknown::Refuse => self.wrong.push(format!("{}: {why}", within(path, &key))),
                Unknown::Name => {
                    map.remove(&key);
                    self.report.add(within(path, &key), why);
                }
            }
        }
    }

    fn field(&mut self, path: &str, value: &mut Value, field: &FieldDescriptor) {
        let Kind::Message(of) = field.kind() else {
            return;
        };
        if field.is_map() {
            let (Kind::Message(of), Value::Object(entries)) =
                (of.map_entry_value_field().kind(), value)
            else {
                return;
            };
            let mut gone = Vec::new();
            for (key, value) in entries.iter_mut() {
                self.message(&format!("{path}[{key:?}]"), value, &of);
                if value.is_null() {
                    gone.push(key.clone());
                }
            }
            for key in gone {
                entries.remove(&key);
            }
        } else if field.is_list() {
            let Value::Array(items) = value else {
                return;
            };
            for (index, value) in items.iter_mut().enumerate() {
                self.message(&format!("{path}[{index}]"), value, &of);
            }
        } else {
            self.message(path, value, &of);
        }
    }

    /// An `Any` of a type that is not Envoy's is null then.
    fn any(&mut self, path: &str, value: &mut Value, descriptor: &MessageDescriptor) {
        let Value::Object(map) = value else {
            return;
        };
        let Some(Value::String(url)) = map.get("@type").cloned() else {
            self.wrong.push(format!("{path}: an `@type` is missing"));
            return;
        };
        let Some(of) = message_of(descriptor.parent_pool(), &url) else {
            self.report
                .add(path, format!("{url} is not a type of Envoy's own"));
            *value = Value::Null;
            return;
        };
        if of.full_name().starts_with("google.protobuf.") {
            return;
        }
        map.remove("@type");
        self.fields(path, map, &of);
        map.insert("@type".into(), url.into());
    }
}

fn within(path: &str, key: &str) -> String {
    match path.is_empty() || path.ends_with(": ") {
        true => format!("{path}{key}"),
        false => format!("{path}.{key}"),
    }
}

//! Edits of headers, as the configuration has them.

use serde_json::{Map, Value, json};

/// Edits: remove, then set, then add.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct HeaderEdits {
    set: Map<String, Value>,
    add: Map<String, Value>,
    remove: Vec<String>,
}

/// Headers that frame a message or belong to one connection: the proxy writes them.
pub(crate) const OF_THE_CONNECTION: &[&str] = &[
    "connection",
    "content-length",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What an edit does with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edit {
    Set,
    Add,
}

impl HeaderEdits {
    /// Adds an edit. The value stands for itself: its braces are no parts of the request. The error
    /// says why it cannot be carried over.
    pub(crate) fn edit(&mut self, edit: Edit, name: &str, value: &str) -> Result<(), String> {
        self.built(edit, name, &literal(value))
    }

    /// The same with a value that may hold parts of the request.
    pub(crate) fn built(&mut self, edit: Edit, name: &str, value: &str) -> Result<(), String> {
        let lower = name.to_ascii_lowercase();
        if OF_THE_CONNECTION.contains(&&*lower) {
            return Err("a header of the connection, which the proxy writes".into());
        }
        check_name(&lower)?;
        if value.contains(['\r', '\n', '\0']) {
            return Err("a value with a line break".into());
        }
        let map = match edit {
            Edit::Set => &mut self.set,
            Edit::Add => &mut self.add,
        };
        if map.contains_key(&lower) {
            return Err("the header stands before it, and the first one is taken".into());
        }
        map.insert(lower, value.into());
        Ok(())
    }

    /// Adds the removal of a header. The error says why it cannot be carried over.
    pub(crate) fn remove(&mut self, name: &str) -> Result<(), String> {
        let lower = name.to_ascii_lowercase();
        check_name(&lower)?;
        if !self.remove.contains(&lower) {
            self.remove.push(lower);
        }
        Ok(())
    }

    /// As a value of `request_headers` or `response_headers`. None: there is no edit.
    pub(crate) fn value(&self) -> Option<Value> {
        let mut map = Map::new();
        if !self.remove.is_empty() {
            map.insert("remove".into(), json!(self.remove));
        }
        for (key, edits) in [("set", &self.set), ("add", &self.add)] {
            if !edits.is_empty() {
                map.insert(key.into(), edits.clone().into());
            }
        }
        (!map.is_empty()).then_some(Value::Object(map))
    }
}

fn check_name(lower: &str) -> Result<(), String> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if lower.is_empty() || !lower.bytes().all(is_token) {
        return Err("no name of a header".into());
    }
    if lower == "host" {
        return Err("the request's host is rewritten by `rewrite: { host: … }`".into());
    }
    Ok(())
}

/// Text that stands for itself where parts of the request could stand.
pub(crate) fn literal(text: &str) -> String {
    text.replace('{', "{{")
}

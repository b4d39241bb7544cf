//! Header edits: Envoy's lists at up to four levels as `remove`, `set` and `add`.
//!
//! Envoy goes through the levels one after the other, and in each removes first, then overwrites,
//! then adds. What comes of it for one header is one of four things: it stays, it is gone, it has
//! these values, or these values come on top.

use super::format;
use super::message::Message;
use crate::header_edits::OF_THE_CONNECTION;
use serde_json::{Map, Value, json};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// The edits of one level, of requests or of responses.
#[derive(Clone, Debug, Default)]
pub(super) struct Level {
    remove: Vec<String>,
    add: Vec<Rc<Add>>,
}

#[derive(Debug)]
struct Add {
    name: String,
    value: String,
    /// The headers of the request that the value holds.
    holds: Vec<String>,
    action: Action,
    from: Message,
    reported: Cell<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Append,
    IfAbsent,
    Overwrite,
    OverwriteIfPresent,
}

/// What becomes of one header.
#[derive(Clone, Debug, Default)]
struct Fate {
    cleared: bool,
    values: Vec<String>,
}

/// Takes a level's edits: `request_headers_to_add`, `…_to_remove` and their like.
pub(super) fn level(from: &mut Message, of: &str) -> Level {
    let remove_field = format!("{of}_headers_to_remove");
    let mut remove = from.texts(&remove_field);
    remove.retain(|name| {
        let good = !name.eq_ignore_ascii_case("host") && !name.starts_with(':');
        if !good {
            from.not_carried(
                &remove_field,
                format!("Envoy does not remove {name} either"),
            );
        }
        good
    });
    remove
        .iter_mut()
        .for_each(|name| name.make_ascii_lowercase());
    let add = from.messages(&format!("{of}_headers_to_add"));
    Level {
        remove,
        add: add.into_iter().filter_map(read).map(Rc::new).collect(),
    }
}

fn read(mut from: Message) -> Option<Add> {
    let append = from.boolean("append");
    let action = match (from.choice("append_action").as_deref(), append) {
        (Some("ADD_IF_ABSENT"), _) => Action::IfAbsent,
        (Some("OVERWRITE_IF_EXISTS_OR_ADD"), _) | (None, Some(false)) => Action::Overwrite,
        (Some("OVERWRITE_IF_EXISTS"), _) => Action::OverwriteIfPresent,
        _ => Action::Append,
    };
    let keep_empty = from.boolean("keep_empty_value").unwrap_or_default();
    let mut header = from.message("header")?;
    let name = header.text("key").unwrap_or_default().to_ascii_lowercase();
    let mut is_raw = false;
    let value = match header.bytes("raw_value") {
        Some(bytes) => {
            is_raw = true;
            String::from_utf8(bytes).ok()
        }
        None => Some(header.text("value").unwrap_or_default()),
    };
    let field = if is_raw { "raw_value" } else { "value" };
    let Some(value) = value else {
        header.not_carried(
            field,
            "bytes that are not UTF-8 cannot stand in a configuration",
        );
        return None;
    };
    if OF_THE_CONNECTION.contains(&name.as_str()) || name == "host" || name.starts_with(':') {
        header.not_carried("key", format!("the filter does not write {name}"));
        return None;
    }
    if value.is_empty() && !keep_empty {
        header.not_carried(field, "Envoy drops a header without a value");
        return None;
    }
    if value.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        header.not_carried(field, "a value with line breaks or NUL");
        return None;
    }
    let value = match format::format(&value) {
        Ok(value) => value,
        Err(why) => {
            header.not_carried(field, why);
            return None;
        }
    };
    if value.varies && !keep_empty {
        header.not_carried(
            field,
            "carried over, with one difference: where the request has no such header, the filter \
             writes an empty value and Envoy none",
        );
    }
    Some(Add {
        name,
        value: value.text,
        holds: value.headers,
        action,
        from,
        reported: Cell::new(false),
    })
}

impl Add {
    fn report(&self, why: &str) {
        if !self.reported.replace(true) {
            self.from.report().add(self.from.place(), why);
        }
    }
}

impl Level {
    pub(super) fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.add.is_empty()
    }
}

/// What the levels come to, in the order in which Envoy goes through them. None: nothing.
pub(super) fn edits(levels: &[&Level]) -> Option<Value> {
    let mut fates: BTreeMap<&str, Fate> = BTreeMap::new();
    for level in levels {
        for name in &level.remove {
            *fates.entry(name).or_default() = Fate {
                cleared: true,
                values: Vec::new(),
            };
        }
        // Whether a header is there is looked at before anything is written.
        let before = fates.clone();
        let mut written: Vec<(bool, &Rc<Add>)> = Vec::new();
        for add in &level.add {
            let fate = before.get(add.name.as_str()).cloned().unwrap_or_default();
            let known = match (fate.values.is_empty(), fate.cleared) {
                (false, _) => Some(true),
                (true, true) => Some(false),
                (true, false) => None,
            };
            if add
                .holds
                .iter()
                .any(|name| before.contains_key(name.as_str()))
            {
                add.report(
                    "its value holds a header that another edit changes before; the filter's parts \
                     are of the request as it came",
                );
                continue;
            }
            match (add.action, known) {
                (Action::Append, _) | (Action::IfAbsent, Some(false)) => written.push((false, add)),
                (Action::Overwrite, _) | (Action::OverwriteIfPresent, Some(true)) => {
                    written.push((true, add));
                }
                (Action::IfAbsent, Some(true)) | (Action::OverwriteIfPresent, Some(false)) => {}
                (Action::IfAbsent | Action::OverwriteIfPresent, None) => add.report(
                    "the filter does not look at whether a header is there before it writes it",
                ),
            }
        }
        for over in [true, false] {
            for (_, add) in written.iter().filter(|(overwrites, _)| *overwrites == over) {
                let fate = fates.entry(&add.name).or_default();
                if over {
                    fate.cleared = true;
                    fate.values.clear();
                }
                fate.values.push(add.value.clone());
            }
        }
    }
    let mut edits = Map::new();
    let mut put = |key: &str, name: &str, values: Vec<String>| {
        let of_key = edits.entry(key).or_insert_with(|| json!({}));
        of_key[name] = match values.len() {
            1 => values.into_iter().next().into(),
            _ => values.into(),
        };
    };
    let mut remove = Vec::new();
    for (name, fate) in fates {
        match (fate.cleared, fate.values.is_empty()) {
            (true, true) => remove.push(name),
            (true, false) => put("set", name, fate.values),
            (false, false) => put("add", name, fate.values),
            (false, true) => {}
        }
    }
    if !remove.is_empty() {
        edits.insert("remove".into(), remove.into());
    }
    (!edits.is_empty()).then(|| edits.into())
}

/// Adds a header with one value to edits.
pub(super) fn and_add(edits: Option<Value>, name: &str, value: &str) -> Value {
    let mut edits = edits.unwrap_or_else(|| json!({}));
    let known = edits.get("set").and_then(|set| set.get(name)).is_some();
    let key = if known { "set" } else { "add" };
    match edits[key][name].take() {
        Value::Null => edits[key][name] = value.into(),
        Value::Array(mut values) => {
            values.push(value.into());
            edits[key][name] = values.into();
        }
        one => edits[key][name] = json!([one, value]),
    }
    edits
}

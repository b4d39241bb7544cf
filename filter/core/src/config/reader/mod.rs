//! Walks a [`Value`] and notes every problem on the way, instead of stopping at the first. Whatever
//! could not be read is left out or replaced by a default: once there is a problem, nobody sees the
//! result.

mod map;
mod names;

use super::limits::{self, Bounds};
use super::problem::{Problem, Problems, nearest};
use super::syntax;
use super::value::Value;
use crate::time::Nanos;

pub use map::Map;
pub use names::Names;

/// How many problems look for a nearest name, which takes time for every known one.
const MAX_NEAREST: usize = 100;
/// How many known names are listed where one is not known.
const MAX_LISTED: usize = 8;
/// How much of a text is shown, in characters.
const MAX_SHOWN: usize = 60;

/// The problems so far.
#[derive(Default)]
pub struct Report {
    /// Each with its position in the file, in that order.
    problems: Vec<(Vec<u32>, Problem)>,
    /// What was read so far takes in a worker, in bytes, by estimate.
    memory: usize,
}

impl Report {
    /// Adds what stands at this node to the estimate of memory. Returns whether there is room; that
    /// there is none is noted once.
    pub(in crate::config) fn has_room(&mut self, node: &Node<'_>, bytes: usize) -> bool {
        let had_room = self.memory <= limits::MAX_MEMORY;
        self.memory = self.memory.saturating_add(bytes);
        let has_room = self.memory <= limits::MAX_MEMORY;
        if had_room && !has_room {
            let found = format!("{} bytes of memory up to here, by estimate", self.memory);
            let expected = format!("at most {} bytes in all", limits::MAX_MEMORY);
            self.note(node, &found, &expected);
        }
        has_room
    }

    /// The estimate so far.
    pub(in crate::config) fn memory(&self) -> usize {
        self.memory
    }

    /// How many problems there are so far.
    pub(in crate::config) fn len(&self) -> usize {
        self.problems.len()
    }

    /// Notes a problem at this node.
    pub fn note(&mut self, node: &Node<'_>, found: &str, expected: &str) {
        self.note_near(node, found, expected, None);
    }

    /// Notes a problem at this node, with the name that was probably meant.
    pub fn note_near(
        &mut self,
        node: &Node<'_>,
        found: &str,
        expected: &str,
        nearest: Option<&str>,
    ) {
        let mut position = Vec::new();
        node.push_position(&mut position);
        let problem = Problem {
            place: node.place(),
            found: found.to_owned(),
            expected: expected.to_owned(),
            nearest: nearest.map(str::to_owned),
        };
        // Nearly always the last one; a sort would be more code than all of this.
        let at = self
            .problems
            .partition_point(|(before, _)| *before <= position);
        self.problems.insert(at, (position, problem));
    }

    /// Notes the problem of a tree of its own that stands at this node: its place is within that.
    pub fn note_within(&mut self, node: &Node<'_>, problem: &Problem) {
        let mut place = node.place();
        if !place.is_empty() && !problem.place.is_empty() && !problem.place.starts_with('[') {
            place.push('.');
        }
        place.push_str(&problem.place);
        let mut position = Vec::new();
        node.push_position(&mut position);
        let at = self
            .problems
            .partition_point(|(before, _)| *before <= position);
        let problem = Problem {
            place,
            ..problem.clone()
        };
        self.problems.insert(at, (position, problem));
    }

    /// All problems, if there are any.
    pub fn finish(self) -> Result<(), Problems> {
        match self.problems.is_empty() {
            true => Ok(()),
            false => Err(Problems(
                self.problems
                    .into_iter()
                    .map(|(_, problem)| problem)
                    .collect(),
            )),
        }
    }
}

/// A value and where it stands.
#[derive(Clone, Copy)]
pub struct Node<'a> {
    value: &'a Value,
    parent: Option<&'a Node<'a>>,
    /// None in a list.
    key: Option<&'a str>,
    /// Its place among its parent's.
    position: u32,
}

impl<'a> Node<'a> {
    /// The whole configuration.
    pub fn root(value: &'a Value) -> Node<'a> {
        Node {
            value,
            parent: None,
            key: None,
            position: 0,
        }
    }

    /// What stands here.
    pub fn value(&self) -> &'a Value {
        self.value
    }

    /// `routes[3].match.path`
    pub fn place(&self) -> String {
        let Some(parent) = self.parent else {
            return String::new();
        };
        let mut place = parent.place();
        match self.key {
            Some(key) if syntax::is_plain_key(key) => {
                if !place.is_empty() {
                    place.push('.');
                }
                place.push_str(key);
            }
            Some(key) => place.push_str(&format!("[{key:?}]")),
            None => place.push_str(&format!("[{}]", self.position)),
        }
        place
    }

    fn push_position(&self, position: &mut Vec<u32>) {
        if let Some(parent) = self.parent {
            parent.push_position(position);
            position.push(self.position);
        }
    }

    /// Its key in the map that holds it.
    pub fn key(&self) -> &'a str {
        self.key.unwrap_or_default()
    }

    /// Its place in the list that holds it, from 0.
    pub fn position(&self) -> usize {
        self.position as usize
    }

    /// Whether it is a list.
    pub fn is_list(&self) -> bool {
        matches!(self.value, Value::List(_))
    }

    /// The string that it is, if it is one.
    pub fn as_text(&self) -> Option<&'a str> {
        match self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether it is `true`.
    pub fn is_true(&self) -> bool {
        matches!(self.value, Value::Bool(true))
    }

    /// The number that it is, if it is one.
    pub fn number(&self) -> Option<f64> {
        match self.value {
            Value::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// The number that it is, also one that is written as a text of digits and a point: that is
    /// what Envoy makes of a number with a point in YAML.
    pub fn decimal(&self) -> Option<f64> {
        let is_part = |byte: u8| byte.is_ascii_digit() || byte == b'.';
        let text = self.as_text().filter(|text| text.bytes().all(is_part));
        self.number().or_else(|| text?.parse().ok())
    }

    /// Whether it is a map.
    pub fn is_map(&self) -> bool {
        matches!(self.value, Value::Map(_))
    }

    /// Whether a secret stands here, or would if the configuration were right. Problems get into
    /// logs.
    fn is_secret(&self) -> bool {
        let inside = |node: &Node<'_>| matches!(node.key, Some("keys" | "token"));
        let mut nodes = std::iter::successors(Some(self), |node| node.parent);
        nodes.any(inside) || self.key == Some("explain")
    }

    /// What stands here, for people.
    pub fn shown(&self) -> String {
        match self.value {
            Value::Number(_) if self.is_secret() => "a number".to_owned(),
            Value::Text(_) if self.is_secret() => "a string".to_owned(),
            Value::Null => "nothing (null)".to_owned(),
            Value::Bool(yes) => yes.to_string(),
            Value::Number(number) => number_shown(*number),
            Value::Text(text) => format!("the string {}", quoted(text)),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
        }
    }

    /// Notes that something else should stand here.
    pub fn wrong(&self, report: &mut Report, expected: &str) {
        report.note(self, &self.shown(), expected);
    }

    /// A map with these keys and no others, each at most once.
    pub fn map<'n>(
        &'n self,
        report: &mut Report,
        keys: &'static [&'static str],
    ) -> Option<Map<'n>> {
        let Value::Map(entries) = self.value else {
            self.wrong(report, &format!("a map of {}", keys.join(", ")));
            return None;
        };
        let map = Map {
            node: self,
            entries,
            keys,
        };
        for (position, (key, value)) in entries.iter().enumerate() {
            let is_first = map.position(key) == Some(position);
            if is_first && keys.contains(&key.as_str()) {
                continue;
            }
            let node = map.entry(position, key, value);
            if !keys.contains(&key.as_str()) {
                let near = report.nearest(key, &mut keys.iter().copied());
                report.note_near(&node, "unknown key", &one_of(keys), near);
            } else {
                report.note(&node, GIVEN_TWICE, ONCE);
            }
        }
        Some(map)
    }

    /// A map of at most `most` entries whose keys are names of the user's own, each at most once.
    pub fn names<'n>(
        &'n self,
        report: &mut Report,
        expected: &str,
        most: usize,
    ) -> Option<Map<'n>> {
        let Value::Map(entries) = self.value else {
            self.wrong(report, expected);
            return None;
        };
        let map = Map {
            node: self,
            entries,
            keys: &[],
        };
        self.are_few(entries.len(), most, report);
        let texts = entries.iter().map(|(key, _)| TEXT_COPIES * key.len()).sum();
        report.has_room(self, texts);
        report.has_room(self, limits::ITEM_MEMORY.saturating_mul(entries.len()));
        let mut seen = Names::default();
        for node in map.iter() {
            if seen.add(node.key(), 0).is_err() {
                report.note(&node, GIVEN_TWICE, ONCE);
            }
        }
        Some(map)
    }

    /// The items of a list that has `most` at most.
    pub fn list<'n>(&'n self, report: &mut Report, expected: &str, most: usize) -> Nodes<'n> {
        let items = match self.value {
            Value::List(items) => items.as_slice(),
            _ => {
                self.wrong(report, expected);
                &[]
            }
        };
        let memory = limits::ITEM_MEMORY.saturating_mul(items.len());
        let is_taken = self.are_few(items.len(), most, report) && report.has_room(self, memory);
        let items = if is_taken { items } else { &[] };
        Nodes {
            parent: self,
            items: items.iter(),
            position: 0,
        }
    }

    /// An item of this list that stands at this place.
    pub fn item<'n>(&'n self, value: &'n Value, position: u32) -> Node<'n> {
        Node {
            value,
            parent: Some(self),
            key: None,
            position,
        }
    }

    /// Whether there are no more than `most` entries; those of a list that is too long are not
    /// looked at.
    pub fn are_few(&self, count: usize, most: usize, report: &mut Report) -> bool {
        if count > most {
            report.note(
                self,
                &format!("{count} entries"),
                &format!("at most {most}"),
            );
        }
        count <= most
    }

    /// The items of a list that has one at least and `most` at most.
    pub fn filled_list<'n>(
        &'n self,
        report: &mut Report,
        expected: &str,
        most: usize,
    ) -> Nodes<'n> {
        let nodes = self.list(report, expected, most);
        if matches!(self.value, Value::List(items) if items.is_empty()) {
            report.note(self, "an empty list", expected);
        }
        nodes
    }

    /// A string.
    pub fn text(&self, report: &mut Report, expected: &str) -> Option<&'a str> {
        let Some(text) = self.as_text() else {
            self.wrong(report, expected);
            return None;
        };
        report
            .has_room(self, TEXT_COPIES * text.len())
            .then_some(text)
    }

    /// A string that is not to be shown, whatever it is.
    pub fn secret(&self, report: &mut Report, expected: &str) -> Option<&'a str> {
        if self.as_text().is_none() {
            report.note(self, "not a string", expected);
        }
        self.as_text()
    }

    /// A string that `good` accepts.
    #[inline(never)]
    pub fn text_that(
        &self,
        report: &mut Report,
        good: fn(&str) -> bool,
        expected: &str,
    ) -> Option<&'a str> {
        let text = self.text(report, expected)?;
        if !good(text) {
            self.wrong(report, expected);
            return None;
        }
        Some(text)
    }

    /// What one of these words stands for.
    pub fn choice<T: Clone>(
        &self,
        report: &mut Report,
        choices: &[(&'static str, T)],
    ) -> Option<T> {
        let words = || choices.iter().map(|(word, _)| *word);
        let expected = one_of(&words().collect::<Vec<_>>());
        self.choice_or(report, choices, &expected)
    }

    /// As [`Node::choice`], where something else would be right too: `expected` says what.
    pub fn choice_or<T: Clone>(
        &self,
        report: &mut Report,
        choices: &[(&'static str, T)],
        expected: &str,
    ) -> Option<T> {
        let text = self.text(report, expected)?;
        let chosen = choices.iter().find(|(word, _)| *word == text);
        if chosen.is_none() {
            let near = report.nearest(text, &mut choices.iter().map(|(word, _)| *word));
            report.note_near(self, &self.shown(), expected, near);
        }
        chosen.map(|(_, meaning)| meaning.clone())
    }

    /// `true` or `false`.
    #[inline(never)]
    pub fn yes(&self, report: &mut Report) -> Option<bool> {
        match self.value {
            Value::Bool(yes) => Some(*yes),
            _ => {
                self.wrong(report, "true or false");
                None
            }
        }
    }

    /// A whole number within bounds. None, after a problem was noted: it is none, or out of bounds.
    pub fn whole_within(&self, report: &mut Report, bounds: Bounds<u32>) -> Option<u32> {
        self.whole(report, bounds.least, bounds.most)
    }

    /// A whole number in a range, its ends included.
    #[expect(clippy::cast_possible_truncation, reason = "in the range and whole")]
    pub fn whole(&self, report: &mut Report, least: u32, most: u32) -> Option<u32> {
        match self.value {
            // A NaN is in no range. In range and whole: the conversion is exact.
            Value::Number(number)
                if (f64::from(least)..=f64::from(most)).contains(number)
                    && number.fract() == 0.0 =>
            {
                Some(*number as u32)
            }
            _ => {
                self.wrong(report, &format!("a whole number from {least} to {most}"));
                None
            }
        }
    }

    /// A duration within bounds. None, after a problem was noted: it is none, or out of bounds.
    pub fn duration_within(&self, report: &mut Report, bounds: Bounds<Nanos>) -> Option<Nanos> {
        let range = format!("from {bounds}");
        self.duration(report, bounds.least, bounds.most, &range)
    }

    /// A duration in a range, its ends included; `range` says the same in words.
    pub fn duration(
        &self,
        report: &mut Report,
        least: Nanos,
        most: Nanos,
        range: &str,
    ) -> Option<Nanos> {
        let expected = format!("a duration such as 250ms, 3s, 1m or 1h, {range}");
        let text = self.text(report, &expected)?;
        match syntax::duration(text) {
            Some(duration) if (least..=most).contains(&duration) => Some(duration),
            _ => {
                self.wrong(report, &expected);
                None
            }
        }
    }

    /// A number of bytes within bounds. None, after a problem was noted: it is none, or out of
    /// bounds.
    pub fn size_within(&self, report: &mut Report, bounds: Bounds<u32>) -> Option<u32> {
        let (least, most) = (limits::size(bounds.least), limits::size(bounds.most));
        let expected = format!("a size such as 8KiB, from {least} to {most}");
        let text = self.text(report, &expected)?;
        match syntax::size(text) {
            Some(size) if (bounds.least..=bounds.most).contains(&size) => Some(size),
            _ => {
                self.wrong(report, &expected);
                None
            }
        }
    }

    /// A name that something else defines: its number in `known`.
    pub fn reference(&self, report: &mut Report, known: &Names<'_>, what: &str) -> Option<usize> {
        let name = self.text(report, &format!("the name of a {what}"))?;
        let found = known.get(name);
        if found.is_none() {
            let near = report.nearest(name, &mut known.list.iter().copied());
            let mut listed: Vec<&str> = known.list.iter().take(MAX_LISTED).copied().collect();
            if known.list.len() > MAX_LISTED {
                listed.push("…");
            }
            let expected = match listed.is_empty() {
                true => format!("the name of a {what}, and none is defined"),
                false => format!("the name of a {what}: {}", listed.join(", ")),
            };
            report.note_near(
                self,
                &format!("no {what} is named {}", quoted(name)),
                &expected,
                near,
            );
        }
        found
    }
}

/// A text stands in the configuration, and as long again in the compressed bytes at worst.
const TEXT_COPIES: usize = 2;
const GIVEN_TWICE: &str = "given twice";
const ONCE: &str = "each key at most once";

impl Report {
    /// The nearest of the known names, as long as there are few problems.
    pub fn nearest<'a>(
        &self,
        name: &str,
        known: &mut dyn Iterator<Item = &'a str>,
    ) -> Option<&'a str> {
        match self.len() < MAX_NEAREST {
            true => nearest(name, known),
            false => None,
        }
    }
}

fn number_shown(number: f64) -> String {
    if !number.is_finite() {
        return "no finite number".to_owned();
    }
    if number.abs() >= 1e15 {
        return "a number of 16 digits or more".to_owned();
    }
    ["the number ", &decimal(number)].concat()
}

/// The number with at most six decimals; exact below 10^15. (The standard library's way to show a
/// float is 15 kB of the module.)
#[expect(
    clippy::cast_possible_truncation,
    reason = "larger numbers are refused in a configuration"
)]
pub(super) fn decimal(number: f64) -> String {
    const MILLION: u64 = 1_000_000;
    let size = number.abs();
    let millionths = (size.fract() * MILLION as f64).round() as u64;
    let sign = if number < 0.0 { "-" } else { "" };
    let (whole, part) = (
        size.trunc() as u64 + millionths / MILLION,
        millionths % MILLION,
    );
    format!("{sign}{whole}.{part:06}")
        .trim_end_matches('0')
        .trim_end_matches('.')
        .to_owned()
}

/// `one of prefix, exact`
pub fn one_of(names: &[&str]) -> String {
    format!("one of {}", names.join(", "))
}

/// The text in quotes, shortened if it is long.
pub fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().take(MAX_SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

/// The items of a list.
pub struct Nodes<'n> {
    parent: &'n Node<'n>,
    items: std::slice::Iter<'n, Value>,
    position: u32,
}

impl<'n> Iterator for Nodes<'n> {
    type Item = Node<'n>;

    fn next(&mut self) -> Option<Node<'n>> {
        let value = self.items.next()?;
        let position = self.position;
        self.position += 1;
        Some(self.parent.item(value, position))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn numbers_are_shown_as_they_were_written() {
        for (number, expected) in [
            (0.0, "the number 0"),
            (-0.0, "the number 0"),
            (-1.0, "the number -1"),
            (1.5, "the number 1.5"),
            (-0.25, "the number -0.25"),
            (0.000001, "the number 0.000001"),
            (0.9999999, "the number 1"),
            (4294967296.0, "the number 4294967296"),
            (999999999999.0, "the number 999999999999"),
            (1e15, "a number of 16 digits or more"),
            (-1e300, "a number of 16 digits or more"),
            (f64::NAN, "no finite number"),
            (f64::NEG_INFINITY, "no finite number"),
        ] {
            assert_eq!(number_shown(number), expected, "{number}");
        }
    }
}

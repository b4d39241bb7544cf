//! YAML as its readers read it. A plain scalar such as `no`, `010` or `1_000` is one thing in
//! YAML 1.2, another one for Envoy (yaml-cpp), and a third for Kubernetes and so for a
//! `WasmPlugin` (go-yaml, YAML 1.1). What a proxy's file says is what its reader makes of it.

use granit_parser::{Event, Parser, ScalarStyle, Span};
use pointsman_core::config::problem::{Problem, Problems};
use pointsman_core::config::value::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The most nodes that aliases may add: a file is as large as it is, and these multiply it.
const MAX_ALIASED: usize = 1_000_000;
/// How deep a file may nest; the stack holds far more.
const MAX_DEPTH: usize = 200;
/// How deep and how large a text is at most that is called plain: less than any reader refuses.
const MAX_PLAIN_DEPTH: usize = 16;
const MAX_PLAIN_NODES: usize = 5_000_000;

/// A reader of YAML.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// YAML 1.2, with `1_000` and `0b11` as numbers.
    Core,
    /// Envoy, by yaml-cpp.
    Envoy,
    /// Kubernetes, by go-yaml: a `WasmPlugin`.
    Kubernetes,
}

/// A plain scalar that not all readers read alike.
#[derive(Clone, Debug, PartialEq)]
pub struct Odd {
    /// Where it stands in the file: `spec.pluginConfig.routes[0].name`.
    pub place: String,
    /// The line, from 1.
    pub line: usize,
    /// As it is written.
    pub text: String,
    /// What YAML 1.2 says, what Envoy reads, and what Kubernetes reads.
    pub readings: [Value; 3],
}

#[cfg(test)]
thread_local! {
    /// How many texts were parsed.
    pub(crate) static PARSED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// What a reader makes of a text.
#[derive(Clone, Debug)]
pub struct Documents {
    /// The tree of each document.
    pub trees: Vec<Value>,
    /// The scalars that not all readers read alike.
    pub odd: Vec<Odd>,
    /// Whether all readers make the same of it but for these: it has no anchor, no tag, no `<<`, and
    /// no scalar that is written in an unusual way.
    pub is_plain: bool,
}

/// Reads every document of a text.
pub fn documents(text: &str, reading: Reading) -> Result<Documents, Problems> {
    #[cfg(test)]
    PARSED.with(|parsed| parsed.set(parsed.get() + 1));
    let mut builder = Builder {
        parser: Parser::new_from_str(text),
        reading,
        anchors: BTreeMap::new(),
        path: Vec::new(),
        odd: Vec::new(),
        aliased: 0,
        is_plain: !text.starts_with('%'),
        nodes: 0,
    };
    let mut trees = Vec::new();
    while let Some((event, span)) = builder.next()? {
        if matches!(event, Event::DocumentStart(..)) {
            let (event, span) = builder.need(&span)?;
            trees.push(builder.node(event, &span, 0)?);
        }
    }
    Ok(Documents {
        trees,
        odd: builder.odd,
        is_plain: builder.is_plain,
    })
}

struct Builder<'t> {
    parser: Parser<'t, granit_parser::StrInput<'t>>,
    reading: Reading,
    anchors: BTreeMap<usize, Value>,
    path: Vec<Step<'t>>,
    odd: Vec<Odd>,
    aliased: usize,
    is_plain: bool,
    nodes: usize,
}

/// A step of a place.
enum Step<'t> {
    Key(Cow<'t, str>),
    Item(usize),
}

impl<'t> Builder<'t> {
    /// The next event. None: the text is at its end.
    fn next(&mut self) -> Result<Option<(Event<'t>, Span)>, Problems> {
        match self.parser.next_event() {
            None => Ok(None),
            Some(Ok(event)) => Ok(Some(event)),
            Some(Err(error)) => {
                let message = error.to_string();
                let found = message.lines().next().unwrap_or_default();
                Err(problem(error.marker().line(), found))
            }
        }
    }

    fn need(&mut self, after: &Span) -> Result<(Event<'t>, Span), Problems> {
        self.next()?
            .ok_or_else(|| problem(after.start.line(), "the end of the file"))
    }

    fn node(&mut self, event: Event<'t>, span: &Span, depth: usize) -> Result<Value, Problems> {
        if depth > MAX_DEPTH {
            return Err(problem(
                span.start.line(),
                "a value that is nested too deeply",
            ));
        }
        self.nodes += 1;
        self.is_plain &= depth < MAX_PLAIN_DEPTH && self.nodes < MAX_PLAIN_NODES;
        let (value, anchor) = match event {
            Event::Alias(anchor) => {
                self.is_plain = false;
                let value = self.anchors.get(&anchor).cloned().unwrap_or(Value::Null);
                self.aliased += size(&value);
                if self.aliased > MAX_ALIASED {
                    return Err(problem(span.start.line(), "too many repetitions by `*`"));
                }
                return Ok(value);
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.is_plain &= tag.is_none();
                let is_text = tag.is_some_and(|tag| tag.is_yaml_core_schema_tag("str"))
                    && self.reading != Reading::Envoy;
                let value = match style == ScalarStyle::Plain && !is_text {
                    true => self.scalar(text, span),
                    false => Value::Text(text.into_owned()),
                };
                (value, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.is_plain &= tag.is_none();
                (self.list(span, depth)?, anchor)
            }
            Event::MappingStart(_, anchor, tag) => {
                self.is_plain &= tag.is_none();
                (self.map(span, depth)?, anchor)
            }
            // A document without anything in it.
            _ => {
                self.is_plain = false;
                (Value::Null, 0)
            }
        };
        if anchor > 0 {
            self.is_plain = false;
            self.anchors.insert(anchor, value.clone());
        }
        Ok(value)
    }

    fn list(&mut self, start: &Span, depth: usize) -> Result<Value, Problems> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.need(start)?;
            if matches!(event, Event::SequenceEnd) {
                return Ok(Value::List(items));
            }
            self.path.push(Step::Item(items.len()));
            items.push(self.node(event, &span, depth + 1)?);
            self.path.pop();
        }
    }

    fn map(&mut self, start: &Span, depth: usize) -> Result<Value, Problems> {
        let mut pairs: Vec<(String, Value)> = Vec::new();
        let mut merged: Vec<(String, Value)> = Vec::new();
        loop {
            let (event, span) = self.need(start)?;
            let key = match event {
                Event::MappingEnd => break,
                Event::Scalar(key, style, anchor, tag) => {
                    let is_usual = style != ScalarStyle::Plain || is_usual_key(&key);
                    self.is_plain &= anchor == 0 && tag.is_none() && is_usual;
                    key
                }
                _ => return Err(problem(span.start.line(), "a key that is no text")),
            };
            let (event, span) = self.need(&span)?;
            self.path.push(Step::Key(key));
            let value = self.node(event, &span, depth + 1)?;
            let key = match self.path.pop() {
                Some(Step::Key(key)) => key.into_owned(),
                Some(Step::Item(_)) | None => String::new(),
            };
            // Envoy's reader does not merge: to it this is a key like any other.
            match (&*key, self.reading, value) {
                ("<<", Reading::Core | Reading::Kubernetes, Value::Map(more)) => {
                    merged.extend(more)
                }
                ("<<", Reading::Core | Reading::Kubernetes, Value::List(maps)) => {
                    for map in maps {
                        if let Value::Map(more) = map {
                            merged.extend(more);
                        }
                    }
                }
                (_, _, value) => pairs.push((key, value)),
            }
        }
        for (key, value) in merged {
            if !pairs.iter().any(|(known, _)| *known == key) {
                pairs.push((key, value));
            }
        }
        Ok(Value::Map(pairs))
    }

    fn scalar(&mut self, text: Cow<'_, str>, span: &Span) -> Value {
        match usual(&text) {
            Some(Usual::Text) => return Value::Text(text.into_owned()),
            Some(Usual::Nothing) => return Value::Null,
            Some(Usual::Flag(flag)) => return Value::Bool(flag),
            Some(Usual::Number | Usual::Word) => {}
            None => self.is_plain = false,
        }
        let readings = [
            scalar(&text, Reading::Core),
            scalar(&text, Reading::Envoy),
            scalar(&text, Reading::Kubernetes),
        ];
        let value = readings[self.reading as usize].clone();
        if readings.iter().any(|other| *other != readings[0]) {
            self.odd.push(Odd {
                place: self.place(),
                line: span.start.line(),
                text: text.into_owned(),
                readings,
            });
        }
        value
    }

    fn place(&self) -> String {
        let mut place = String::new();
        for step in &self.path {
            match step {
                Step::Item(at) => place += &format!("[{at}]"),
                Step::Key(key) => {
                    if !place.is_empty() {
                        place.push('.');
                    }
                    place += key;
                }
            }
        }
        place
    }
}

/// What a plain scalar is that is written as most are.
enum Usual {
    /// Text to every reader.
    Text,
    /// `null` or empty, to every reader.
    Nothing,
    /// `true` or `false`, to every reader.
    Flag(bool),
    /// A whole number, or one with decimals.
    Number,
    /// `no`, `on` and the like: text in YAML 1.2.
    Word,
}

/// None: it is written in another way, in which readers may differ.
fn usual(text: &str) -> Option<Usual> {
    /// The longest that a word is which is no text to some reader: `false`.
    const MAX_WORD: usize = 5;
    /// As many digits as a number can have and be exact.
    const MAX_DIGITS: usize = 15;
    let first = match text.as_bytes().first() {
        None => return Some(Usual::Nothing),
        Some(first) => first.to_ascii_lowercase(),
    };
    match first {
        b'/' => Some(Usual::Text),
        // `inf`, `nan`
        b'i' | b'n' if text.len() > MAX_WORD => {
            let lower = text.to_ascii_lowercase();
            let is_number = lower.starts_with("inf") || lower.starts_with("nan");
            (!is_number).then_some(Usual::Text)
        }
        b'a'..=b'z' if text.len() > MAX_WORD => Some(Usual::Text),
        b'a'..=b'z' => match (text, &*text.to_ascii_lowercase()) {
            ("null", _) => Some(Usual::Nothing),
            ("true", _) => Some(Usual::Flag(true)),
            ("false", _) => Some(Usual::Flag(false)),
            (_, "null" | "true" | "false" | "inf" | "nan") => None,
            (_, "y" | "yes" | "on" | "n" | "no" | "off") => Some(Usual::Word),
            _ => Some(Usual::Text),
        },
        b'0'..=b'9' => {
            let is_digits = |text: &str| {
                let digits = 1..=MAX_DIGITS;
                digits.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
            };
            let (whole, decimals) = match text.split_once('.') {
                Some((whole, decimals)) => (whole, Some(decimals)),
                None => (text, None),
            };
            let is_whole = is_digits(whole) && (whole.len() == 1 || first != b'0');
            if is_whole && decimals.is_none_or(is_digits) && text.len() <= MAX_DIGITS {
                return Some(Usual::Number);
            }
            // No number of any reader has it, such as `250ms` and `10.0.0.0/8`.
            let of_numbers = |byte: u8| byte.is_ascii_hexdigit() || b"xob._+-".contains(&byte);
            let is_text = text
                .bytes()
                .any(|byte| !of_numbers(byte.to_ascii_lowercase()));
            is_text.then_some(Usual::Text)
        }
        _ => None,
    }
}

/// Whether a key is text to every reader.
fn is_usual_key(key: &str) -> bool {
    matches!(usual(key), Some(Usual::Text | Usual::Word))
}

/// What a reader makes of a plain scalar.
pub fn scalar(text: &str, reading: Reading) -> Value {
    if matches!(text, "" | "~" | "null" | "Null" | "NULL") {
        return Value::Null;
    }
    if let Some(value) = boolean(text, reading) {
        return Value::Bool(value);
    }
    match number(text, reading) {
        Some(number) => Value::Number(number),
        None => Value::Text(text.to_owned()),
    }
}

fn boolean(text: &str, reading: Reading) -> Option<bool> {
    let lower = text.to_ascii_lowercase();
    // `true`, `True` and `TRUE`, not `tRUE`.
    let mut letters = text.chars();
    let is_first_upper = letters.next().is_some_and(char::is_uppercase);
    let rest = letters.as_str();
    let is_written_well = text == lower
        || is_first_upper
            && (rest == rest.to_ascii_lowercase() || rest == rest.to_ascii_uppercase());
    if !is_written_well {
        return None;
    }
    match (&*lower, reading) {
        ("true", _) => Some(true),
        ("false", _) => Some(false),
        ("y" | "yes" | "on", Reading::Envoy | Reading::Kubernetes) => Some(true),
        ("n" | "no" | "off", Reading::Envoy | Reading::Kubernetes) => Some(false),
        _ => None,
    }
}

fn number(text: &str, reading: Reading) -> Option<f64> {
    let (sign, digits) = match text.as_bytes().first() {
        Some(b'-') => (-1.0, &text[1..]),
        Some(b'+') => (1.0, &text[1..]),
        _ => (1.0, text),
    };
    if !digits.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return None;
    }
    let radix = |prefix: &str, radix: u32, digits: &str| {
        let digits = digits.strip_prefix(prefix)?;
        u64::from_str_radix(digits, radix)
            .ok()
            .map(|number| number as f64)
    };
    let digits = match reading {
        Reading::Envoy => digits.to_owned(),
        Reading::Core | Reading::Kubernetes => digits.replace('_', ""),
    };
    let octal = || {
        let is_octal = digits.len() > 1 && digits.bytes().all(|byte| (b'0'..b'8').contains(&byte));
        if is_octal {
            radix("0", 8, &digits)
        } else {
            None
        }
    };
    let whole = |digits: &str| {
        let is_whole = digits.bytes().all(|byte| byte.is_ascii_digit());
        if is_whole {
            digits.parse::<u64>().ok().map(|number| number as f64)
        } else {
            None
        }
    };
    let found = match reading {
        Reading::Core => radix("0x", 16, &digits)
            .or_else(|| radix("0o", 8, &digits))
            .or_else(|| radix("0b", 2, &digits))
            .or_else(|| fraction(&digits)),
        // `std::stringstream` with the base that the digits say; what it cannot read whole, and
        // what is no `int32`, stays text.
        Reading::Envoy => {
            let number = radix("0x", 16, &digits).or_else(|| match digits.starts_with('0') {
                true if digits.len() > 1 => octal(),
                _ => whole(&digits),
            });
            number.filter(|number| {
                let number = sign * number;
                (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&number)
            })
        }
        Reading::Kubernetes => radix("0x", 16, &digits)
            .or_else(|| radix("0o", 8, &digits))
            .or_else(|| radix("0b", 2, &digits))
            .or_else(octal)
            .or_else(|| fraction(&digits)),
    };
    found.map(|number| sign * number)
}

/// `12`, `1.5`, `.5`, `1e3`
fn fraction(digits: &str) -> Option<f64> {
    let is_number = digits
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte));
    if is_number { digits.parse().ok() } else { None }
}

fn size(value: &Value) -> usize {
    match value {
        Value::List(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Map(pairs) => 1 + pairs.iter().map(|(_, value)| size(value)).sum::<usize>(),
        _ => 1,
    }
}

fn problem(line: usize, found: &str) -> Problems {
    Problems(vec![Problem {
        place: format!("line {line}"),
        found: found.to_owned(),
        expected: "YAML or JSON".to_owned(),
        nearest: None,
    }])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Envoy's readings were asked of Envoy 1.40.0.
    #[test]
    fn scalars_are_what_each_reader_makes_of_them() {
        let (yes, no) = (Value::Bool(true), Value::Bool(false));
        let number = Value::Number;
        let text = |text: &str| Value::Text(text.to_owned());
        for (scalar_text, core, envoy, kubernetes) in [
            ("no", text("no"), no.clone(), no.clone()),
            ("NO", text("NO"), no.clone(), no.clone()),
            ("nO", text("nO"), text("nO"), text("nO")),
            ("Yes", text("Yes"), yes.clone(), yes.clone()),
            ("on", text("on"), yes.clone(), yes.clone()),
            ("y", text("y"), yes.clone(), yes.clone()),
            ("true", yes.clone(), yes.clone(), yes.clone()),
            ("False", no.clone(), no.clone(), no),
            ("~", Value::Null, Value::Null, Value::Null),
            ("10", number(10.0), number(10.0), number(10.0)),
            ("-3", number(-3.0), number(-3.0), number(-3.0)),
            ("010", number(10.0), number(8.0), number(8.0)),
            ("08", number(8.0), text("08"), number(8.0)),
            ("0x10", number(16.0), number(16.0), number(16.0)),
            ("0o10", number(8.0), text("0o10"), number(8.0)),
            ("0b11", number(3.0), text("0b11"), number(3.0)),
            ("1_000", number(1000.0), text("1_000"), number(1000.0)),
            ("1e3", number(1000.0), text("1e3"), number(1000.0)),
            ("5.0", number(5.0), text("5.0"), number(5.0)),
            ("3000000000", number(3e9), text("3000000000"), number(3e9)),
            ("5s", text("5s"), text("5s"), text("5s")),
            (
                "10.0.0.1",
                text("10.0.0.1"),
                text("10.0.0.1"),
                text("10.0.0.1"),
            ),
            ("/a", text("/a"), text("/a"), text("/a")),
        ] {
            let read = |reading| scalar(scalar_text, reading);
            assert_eq!(read(Reading::Core), core, "{scalar_text}");
            assert_eq!(read(Reading::Envoy), envoy, "{scalar_text}, by Envoy");
            assert_eq!(
                read(Reading::Kubernetes),
                kubernetes,
                "{scalar_text}, by Kubernetes"
            );
        }
    }

    #[test]
    fn what_is_read_differently_is_found_with_its_place() {
        let text = "a: no\nb: 'no'\nc: [ 1, { NO: 010 } ]\nd: |\n  yes\ne: !!str yes\n";
        let Documents { trees, odd, .. } = documents(text, Reading::Envoy).unwrap();
        let found: Vec<_> = odd
            .iter()
            .map(|odd| format!("{} {} {}", odd.line, odd.place, odd.text))
            .collect();
        assert_eq!(found, ["1 a no", "3 c[1].NO 010", "6 e yes"]);
        let Value::Map(pairs) = &trees[0] else {
            panic!("{trees:?}")
        };
        assert_eq!(pairs[0].1, Value::Bool(false));
        assert_eq!(pairs[1].1, Value::Text("no".to_owned()));
    }

    #[test]
    fn aliases_are_copied_and_only_some_readers_merge() {
        let text = "base: &base { a: 1, b: 2 }\nof: { <<: *base, b: 3 }\nlike: *base\n";
        let of = |reading| match &documents(text, reading).unwrap().trees[0] {
            Value::Map(pairs) => pairs[1].1.clone(),
            other => panic!("{other:?}"),
        };
        let pair = |key: &str, value| (key.to_owned(), Value::Number(value));
        assert_eq!(
            of(Reading::Core),
            Value::Map(vec![pair("b", 3.0), pair("a", 1.0)])
        );
        let Value::Map(pairs) = of(Reading::Envoy) else {
            panic!()
        };
        assert_eq!(pairs[0].0, "<<");
    }

    #[test]
    fn what_would_be_endless_is_refused() {
        let mut bomb = "a0: &a0 [x]\n".to_owned();
        for level in 1..9 {
            let before = format!("*a{}", level - 1);
            let items = vec![before; 10].join(", ");
            bomb += &format!("a{level}: &a{level} [{items}]\n");
        }
        assert!(documents(&bomb, Reading::Core).is_err());
        assert!(documents(&"[".repeat(10_000), Reading::Core).is_err());
        assert!(documents("a: *b", Reading::Core).is_err());
    }
}

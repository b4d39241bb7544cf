//! Looking at the values of a request.

use crate::decoded::decoded;
use crate::html::cross_site_scripting;
use crate::path_traversal::{self, is_path_traversal};
use crate::rules::{Class, Classes, Found, Parameter, Parts, Rules};
use crate::scanner::{self, is_probe, is_scanner};
use crate::sql::sql_injection;

/// What one protection finds in a request: at most one of each class. It takes of the steps that are
/// `left`. `max_value`: the longest value that is looked at, in bytes.
#[inline(never)]
pub fn inspect(rules: &Rules, parts: Parts<'_>, max_value: u32, left: &mut u32) -> Vec<Found> {
    let mut inspection = Inspection {
        rules,
        open: rules.detect,
        max_value: max_value as usize,
        left: *left,
        is_skipped: false,
        found: Vec::new(),
    };
    inspection.request(parts);
    *left = inspection.left;
    inspection.found
}

/// A part of the request, and the name that it has in the request.
#[derive(Clone, Copy)]
enum Place<'r> {
    Path,
    Query(&'r [u8]),
    QueryName,
    Cookie(&'r [u8]),
    CookieName,
    Header(&'r [u8]),
}

struct Inspection<'c> {
    rules: &'c Rules,
    /// What has not been found yet.
    open: Classes,
    max_value: usize,
    /// In steps.
    left: u32,
    is_skipped: bool,
    found: Vec<Found>,
}

/// Attacks by the bytes of a value.
const IN_VALUES: [Class; 3] = [
    Class::PathTraversal,
    Class::CrossSiteScripting,
    Class::SqlInjection,
];

/// What finding the end of a value and decoding it costs for each byte, in steps.
const STEPS_PER_BYTE: usize = 6;

/// What a value costs besides its bytes, in steps.
const STEPS_PER_VALUE: usize = 60;

impl Inspection<'_> {
    fn request(&mut self, parts: Parts<'_>) {
        let places = &self.rules.places;
        if places.path {
            self.path(parts.path);
        }
        if places.query {
            self.query(parts.query);
        }
        if places.cookies {
            (parts.headers)(b"cookie", &mut |header| self.cookies(header));
        }
        for name in &places.headers {
            (parts.headers)(name, &mut |value| self.header(name, value));
        }
    }

    /// Whether nothing more is to be looked at: all was found, or what blocks.
    fn is_done(&self) -> bool {
        let stops = self.rules.stops && self.found.iter().any(|found| found.class.is_some());
        self.open.is_empty() || stops || self.left == 0
    }

    fn path(&mut self, path: &[u8]) {
        self.once_and_twice(path, false, Place::Path, &[Class::PathTraversal]);
        let classes = [
            Class::CrossSiteScripting,
            Class::SqlInjection,
            Class::Scanner,
        ];
        for segment in path.split(|byte| *byte == b'/') {
            if self.is_done() {
                return;
            }
            self.once_and_twice(segment, false, Place::Path, &classes);
        }
    }

    fn query(&mut self, query: &[u8]) {
        for part in query.split(|byte| *byte == b'&') {
            if self.is_done() {
                return;
            }
            if part.is_empty() {
                continue;
            }
            let (name, value) = split_at_byte(part, b'=');
            let decoded_name = decoded(name, true);
            let shown = decoded_name.as_deref().unwrap_or(name);
            let is_it = |known: &[u8]| known == shown;
            if self.is_excepted(|except| matches!(except, Parameter::Query(q) if is_it(q))) {
                continue;
            }
            self.once_and_twice(name, true, Place::QueryName, &IN_VALUES);
            let value = value.unwrap_or_default();
            self.once_and_twice(value, true, Place::Query(shown), &IN_VALUES);
        }
    }

    fn cookies(&mut self, header: &[u8]) {
        for part in header.split(|byte| *byte == b';') {
            if self.is_done() {
                return;
            }
            let (name, value) = split_at_byte(part, b'=');
            let name = name.trim_ascii();
            let is_it = |known: &[u8]| known == name;
            if self.is_excepted(|except| matches!(except, Parameter::Cookie(c) if is_it(c))) {
                continue;
            }
            self.once_and_twice(name, false, Place::CookieName, &IN_VALUES);
            let value = value.unwrap_or_default().trim_ascii();
            self.once_and_twice(value, false, Place::Cookie(name), &IN_VALUES);
        }
    }

    fn header(&mut self, name: &[u8], value: &[u8]) {
        let is_it = |known: &[u8]| known == name;
        if self.is_done()
            || self.is_excepted(|except| matches!(except, Parameter::Header(h) if is_it(h)))
        {
            return;
        }
        let place = Place::Header(name);
        if name == b"user-agent" && self.open.has(Class::Scanner) {
            self.take(scanner::words(value) * scanner::STEPS_PER_WORD);
            self.note(is_scanner(value), Class::Scanner, place);
        }
        let classes = [Class::CrossSiteScripting, Class::SqlInjection];
        if name != b"referer" {
            self.once_and_twice(value, false, place, &classes);
            return;
        }
        // A URL: what could be an attack are its parts, and their marks are not.
        let (url, query) = split_at_byte(value, b'?');
        let parts = url.split(|byte| matches!(byte, b'/' | b':' | b'#'));
        let query = query
            .unwrap_or_default()
            .split(|byte| matches!(byte, b'&' | b'#'));
        for part in parts.chain(query) {
            if self.is_done() {
                return;
            }
            let (name, value) = split_at_byte(part, b'=');
            self.once_and_twice(name, true, place, &classes);
            self.once_and_twice(value.unwrap_or_default(), true, place, &classes);
        }
    }

    fn is_excepted(&self, is_it: impl Fn(&Parameter) -> bool) -> bool {
        self.rules.except.iter().any(is_it)
    }

    /// Takes steps. False: there are not so many left.
    fn take(&mut self, steps: usize) -> bool {
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        self.left = self.left.saturating_sub(steps);
        self.left > 0
    }

    /// Looks at a value as it is decoded once, and twice where that is something else.
    fn once_and_twice(&mut self, value: &[u8], plus: bool, place: Place<'_>, classes: &[Class]) {
        if value.is_empty() {
            return;
        }
        let steps = STEPS_PER_VALUE + STEPS_PER_BYTE * value.len();
        if value.len() > self.max_value || !self.take(steps) {
            return self.skip(place);
        }
        let once = decoded(value, plus);
        self.value(once.as_deref().unwrap_or(value), place, classes);
        if let Some(twice) =
            once.and_then(|once| decoded(&once, plus).filter(|twice| *twice != once))
        {
            self.value(&twice, place, classes);
        }
    }

    fn value(&mut self, value: &[u8], place: Place<'_>, classes: &[Class]) {
        for class in classes {
            if !self.open.has(*class) || self.is_done() {
                continue;
            }
            let is_found = match class {
                Class::SqlInjection => sql_injection(value, &mut self.left),
                Class::CrossSiteScripting => cross_site_scripting(value, &mut self.left),
                Class::PathTraversal => {
                    let separators = path_traversal::separators(value);
                    self.take(separators * path_traversal::STEPS_PER_SEPARATOR);
                    self.left > 0 && is_path_traversal(value)
                }
                Class::Scanner => {
                    self.take(scanner::STEPS_PER_SEGMENT);
                    is_probe(value)
                }
            };
            if self.left == 0 {
                return self.skip(place);
            }
            self.note(is_found, *class, place);
        }
    }

    fn note(&mut self, is_found: bool, class: Class, place: Place<'_>) {
        if is_found && self.open.has(class) {
            self.open = self.open.without(Classes::default().with(class));
            self.found.push(found(Some(class), place));
        }
    }

    /// A value was not inspected.
    #[cold]
    fn skip(&mut self, place: Place<'_>) {
        if !self.is_skipped {
            self.is_skipped = true;
            self.found.push(found(None, place));
        }
    }
}

#[cold]
fn found(class: Option<Class>, place: Place<'_>) -> Found {
    let (kind, name): (&str, &[u8]) = match place {
        Place::Path => ("path", b""),
        Place::Query(name) => ("query parameter ", name),
        Place::QueryName => ("name of a query parameter", b""),
        Place::Cookie(name) => ("cookie ", name),
        Place::CookieName => ("name of a cookie", b""),
        Place::Header(name) => ("header ", name),
    };
    let mut place = kind.to_owned();
    place.extend(name.iter().take(MAX_NAME).map(|byte| match byte {
        b'"' | b'\\' => '?',
        b'!'..=b'~' => char::from(*byte),
        _ => '?',
    }));
    Found { class, place }
}

/// The parts before and after a byte.
fn split_at_byte(bytes: &[u8], at: u8) -> (&[u8], Option<&[u8]>) {
    match bytes.iter().position(|byte| *byte == at) {
        Some(at) => (bytes.get(..at).unwrap_or_default(), bytes.get(at + 1..)),
        None => (bytes, None),
    }
}

/// So many bytes of a name stand in a log.
const MAX_NAME: usize = 64;

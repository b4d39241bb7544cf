//! Cross-site scripting: the value is read as HTML, as if it stood in a page and in each kind of
//! attribute, and nothing in it may run a script.

use crate::table::ATTRIBUTES;
use crate::{find, find_all, starts_upper, take};

/// What reading a token costs beside its bytes, in steps.
const TOKEN_STEPS: usize = 30;
/// What looking a name up costs, in steps.
const NAME_STEPS: usize = 90;

/// Whether a value would run a script if a page contained it unescaped. It takes of the steps that
/// are `left`.
#[inline(never)]
pub fn cross_site_scripting(value: &[u8], left: &mut u32) -> bool {
    // Neither a tag nor an attribute with a value.
    if !value.iter().any(|byte| matches!(byte, b'<' | b'=')) {
        return false;
    }
    let starts = [
        State::Data,
        State::BeforeAttributeName,
        State::Quoted(b'\''),
        State::Quoted(b'"'),
        State::Quoted(b'`'),
    ];
    starts
        .into_iter()
        .any(|state| runs_script(value, state, left))
}

/// Where the reader is, in the words of the HTML standard.
#[derive(Clone, Copy)]
enum State {
    Data,
    TagOpen,
    TagNameClose,
    BeforeAttributeName,
    AfterAttributeName,
    BeforeAttributeValue,
    Quoted(u8),
    AfterQuoted,
    SelfClosing,
    End,
}

/// What was read.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Other,
    TagName,
    AttributeName,
    AttributeValue,
    Comment,
    Doctype,
}

struct Reader<'a> {
    value: &'a [u8],
    pos: usize,
    state: State,
    closes: bool,
}

fn runs_script(value: &[u8], state: State, left: &mut u32) -> bool {
    let mut reader = Reader {
        value,
        pos: 0,
        state,
        closes: false,
    };
    // What the name of the attribute said of its value.
    let mut attribute = 0;
    let mut pos = 0;
    while let Some((kind, token)) = reader.next() {
        let looks_up = !matches!(kind, Kind::Other | Kind::AttributeValue) && token.len() > 1;
        let names = if looks_up { NAME_STEPS } else { 0 };
        // URLs are read for each scheme.
        let bytes = 2 * (reader.pos.max(pos) - pos) + token.len();
        if !take(left, TOKEN_STEPS + names + bytes) {
            return false;
        }
        pos = reader.pos;
        let before = core::mem::take(&mut attribute);
        let bad = match kind {
            Kind::Other => false,
            Kind::Doctype => true,
            Kind::TagName => is_bad_tag(token),
            Kind::AttributeName => {
                attribute = attribute_kind(token);
                false
            }
            Kind::AttributeValue => match before {
                b'e' | b'b' | b's' => true,
                b'u' => is_script_url(token),
                b'i' => attribute_kind(token) != 0,
                _ => false,
            },
            Kind::Comment => is_bad_comment(token),
        };
        if bad {
            return true;
        }
    }
    false
}

impl<'a> Reader<'a> {
    fn at(&self, place: usize) -> Option<u8> {
        self.value.get(place).copied()
    }

    /// A token from one place to another; the reader goes on at a third.
    fn token(
        &mut self,
        kind: Kind,
        (from, to): (usize, usize),
        next: usize,
        state: State,
    ) -> Option<(Kind, &'a [u8])> {
        self.pos = next;
        self.state = state;
        Some((kind, self.value.get(from..to).unwrap_or_default()))
    }

    /// What is left as one token, and nothing after it.
    fn rest(&mut self, kind: Kind) -> Option<(Kind, &'a [u8])> {
        let end = self.value.len();
        self.token(kind, (self.pos, end), end, State::End)
    }

    /// The next token. Each turn of the loop either goes forward or leads to a state that does.
    fn next(&mut self) -> Option<(Kind, &'a [u8])> {
        loop {
            match self.state {
                State::End => return None,
                State::Data => {
                    let Some(open) = find(self.value, self.pos, b'<') else {
                        self.state = State::End;
                        return None;
                    };
                    // Text cannot run anything.
                    self.pos = open + 1;
                    self.state = State::TagOpen;
                }
                State::TagOpen => match self.at(self.pos)? {
                    b'!' => {
                        self.pos += 1;
                        return self.declaration();
                    }
                    b'/' => {
                        self.pos += 1;
                        self.closes = true;
                        let next = self.at(self.pos)?;
                        if next == b'>' {
                            self.state = State::Data;
                        } else if next.is_ascii_alphabetic() {
                            return self.tag_name();
                        } else {
                            self.closes = false;
                            return self.until(b">", Kind::Comment);
                        }
                    }
                    b'?' => {
                        self.pos += 1;
                        return self.until(b">", Kind::Comment);
                    }
                    b'%' => {
                        self.pos += 1;
                        return self.until(b"%>", Kind::Comment);
                    }
                    0 | b'a'..=b'z' | b'A'..=b'Z' => return self.tag_name(),
                    _ => {
                        // The `<` was text.
                        self.state = State::Data;
                        return Some((Kind::Other, &[]));
                    }
                },
                State::TagNameClose => {
                    self.closes = false;
                    self.pos += 1;
                    self.state = match self.pos < self.value.len() {
                        true => State::Data,
                        false => State::End,
                    };
                    return Some((Kind::Other, &[]));
                }
                State::BeforeAttributeName => match self.skip_white()? {
                    b'/' => {
                        self.pos += 1;
                        if self.at(self.pos).is_none_or(|next| next == b'>') {
                            self.state = State::SelfClosing;
                        }
                    }
                    b'>' => return self.close(),
                    _ => return self.attribute_name(),
                },
                State::SelfClosing => match self.at(self.pos)? {
                    b'>' => return self.close(),
                    _ => self.state = State::BeforeAttributeName,
                },
                State::AfterAttributeName => match self.skip_white()? {
                    b'/' => {
                        self.pos += 1;
                        self.state = State::SelfClosing;
                    }
                    b'=' => {
                        self.pos += 1;
                        self.state = State::BeforeAttributeValue;
                    }
                    b'>' => self.state = State::TagNameClose,
                    _ => return self.attribute_name(),
                },
                State::BeforeAttributeValue => match self.skip_white() {
                    None => {
                        self.state = State::End;
                        return None;
                    }
                    Some(quote @ (b'"' | b'\'' | b'`')) => self.state = State::Quoted(quote),
                    Some(_) => return self.unquoted(),
                },
                State::Quoted(quote) => {
                    // At the start of the value the quote stood before it.
                    if self.pos > 0 {
                        self.pos += 1;
                    }
                    return match find(self.value, self.pos, quote) {
                        None => self.rest(Kind::AttributeValue),
                        Some(end) => {
                            let token = (self.pos, end);
                            self.token(Kind::AttributeValue, token, end + 1, State::AfterQuoted)
                        }
                    };
                }
                State::AfterQuoted => match self.at(self.pos)? {
                    b'/' => {
                        self.pos += 1;
                        self.state = State::SelfClosing;
                    }
                    b'>' => return self.close(),
                    next => {
                        if is_white(next) {
                            self.pos += 1;
                        }
                        self.state = State::BeforeAttributeName;
                    }
                },
            }
        }
    }

    /// The `>` of a tag.
    fn close(&mut self) -> Option<(Kind, &'a [u8])> {
        self.token(Kind::Other, (0, 0), self.pos + 1, State::Data)
    }

    /// The next byte that is not white, where the reader now is. As in C, a byte of 255 is an end.
    fn skip_white(&mut self) -> Option<u8> {
        while let Some(byte) = self.at(self.pos) {
            if !is_white(byte) {
                return Some(byte).filter(|byte| *byte != 0xff);
            }
            self.pos += 1;
        }
        None
    }

    fn tag_name(&mut self) -> Option<(Kind, &'a [u8])> {
        let from = self.pos;
        let end = |byte: u8| byte != 0 && (is_white(byte) || byte == b'/' || byte == b'>');
        let mut to = from;
        loop {
            let (next, state) = match self.at(to) {
                None => return self.rest(Kind::TagName),
                Some(byte) if !end(byte) => {
                    to += 1;
                    continue;
                }
                Some(b'/') => (to + 1, State::SelfClosing),
                Some(b'>') if self.closes => {
                    self.closes = false;
                    return self.token(Kind::Other, (0, 0), to + 1, State::Data);
                }
                Some(b'>') => (to, State::TagNameClose),
                Some(_) => (to + 1, State::BeforeAttributeName),
            };
            return self.token(Kind::TagName, (from, to), next, state);
        }
    }

    fn attribute_name(&mut self) -> Option<(Kind, &'a [u8])> {
        let from = self.pos;
        let mut to = from + 1;
        loop {
            let (next, state) = match self.at(to) {
                None => return self.rest(Kind::AttributeName),
                Some(b'/') => (to + 1, State::SelfClosing),
                Some(b'=') => (to + 1, State::BeforeAttributeValue),
                Some(b'>') => (to, State::TagNameClose),
                Some(byte) if is_white(byte) => (to + 1, State::AfterAttributeName),
                Some(_) => {
                    to += 1;
                    continue;
                }
            };
            return self.token(Kind::AttributeName, (from, to), next, state);
        }
    }

    fn unquoted(&mut self) -> Option<(Kind, &'a [u8])> {
        let from = self.pos;
        let mut to = from;
        loop {
            let (next, state) = match self.at(to) {
                None => return self.rest(Kind::AttributeValue),
                Some(b'>') => (to, State::TagNameClose),
                Some(byte) if is_white(byte) => (to + 1, State::BeforeAttributeName),
                Some(_) => {
                    to += 1;
                    continue;
                }
            };
            return self.token(Kind::AttributeValue, (from, to), next, state);
        }
    }

    /// What stands before an end of one or more bytes.
    fn until(&mut self, end: &[u8], kind: Kind) -> Option<(Kind, &'a [u8])> {
        let from = self.pos;
        match find_all(self.value, from, end) {
            None => self.rest(kind),
            Some(to) => self.token(kind, (from, to), to + end.len(), State::Data),
        }
    }

    /// After `<!`.
    fn declaration(&mut self) -> Option<(Kind, &'a [u8])> {
        let rest = self.value.get(self.pos..).unwrap_or_default();
        if starts_upper(b"DOCTYPE", rest) {
            return self.until(b">", Kind::Doctype);
        }
        if rest.starts_with(b"[CDATA[") {
            self.pos += 7;
            return self.until(b"]]>", Kind::Other);
        }
        if rest.starts_with(b"--") {
            self.pos += 2;
            return self.comment();
        }
        self.until(b">", Kind::Comment)
    }

    /// A comment ends in `-->` or `-!>`; after its first dash there may be bytes of 0.
    fn comment(&mut self) -> Option<(Kind, &'a [u8])> {
        let from = self.pos;
        let mut search = from;
        while let Some(dash) = find(self.value, search, b'-') {
            if dash + 3 > self.value.len() {
                break;
            }
            let mut next = dash + 1;
            while self.at(next) == Some(0) {
                next += 1;
            }
            let closes = matches!(self.at(next), Some(b'-' | b'!'));
            if closes && self.at(next + 1) == Some(b'>') {
                return self.token(Kind::Comment, (from, dash), next + 2, State::Data);
            }
            if self.at(next).is_none() || closes && self.at(next + 1).is_none() {
                break;
            }
            // The dashes among which it searches are not read twice, bytes of 0 are not either.
            search = match self.at(next) {
                Some(b'-') => next,
                _ => next + 1,
            };
        }
        self.rest(Kind::Comment)
    }
}

/// White in HTML, and 0, which old browsers skip.
fn is_white(byte: u8) -> bool {
    matches!(byte, 0 | b' ' | 9..=13)
}

const BAD_TAGS: [&[u8]; 20] = [
    b"APPLET",
    b"BASE",
    b"COMMENT",
    b"EMBED",
    b"FRAME",
    b"FRAMESET",
    b"HANDLER",
    b"IFRAME",
    b"IMPORT",
    b"ISINDEX",
    b"LINK",
    b"LISTENER",
    b"META",
    b"NOSCRIPT",
    b"OBJECT",
    b"SCRIPT",
    b"STYLE",
    b"VMLFRAME",
    b"XML",
    b"XSS",
];

fn is_bad_tag(name: &[u8]) -> bool {
    if name.len() < 3 {
        return false;
    }
    let mut letters = Letters::default();
    let tag = letters.of(name);
    BAD_TAGS.iter().any(|bad| Some(*bad) == tag)
        || starts_upper(b"SVG", name)
        || starts_upper(b"XSL", name)
}

/// What its name says of an attribute's value: a kind of [`ATTRIBUTES`], or 0.
fn attribute_kind(name: &[u8]) -> u8 {
    if name.len() < 2 {
        return 0;
    }
    if starts_upper(b"XMLNS", name) || starts_upper(b"XLINK", name) {
        return b'b';
    }
    let mut letters = Letters::default();
    match letters.of(name).map_or(0, |name| ATTRIBUTES.kind(name)) {
        // A byte of 0 in `on` is not skipped.
        b'e' if !starts_upper(b"ON", name) => 0,
        kind => kind,
    }
}

/// A URL whose scheme runs or shows what follows, with entities and bytes of 0 in it.
fn is_script_url(url: &[u8]) -> bool {
    let start = url.iter().position(|byte| matches!(byte, 33..=126));
    let url = start.and_then(|start| url.get(start..)).unwrap_or_default();
    let schemes: [&[u8]; 4] = [b"DATA", b"VIEW-SOURCE", b"JAVA", b"VBSCRIPT"];
    schemes.iter().any(|scheme| starts_decoded(scheme, url))
}

fn starts_decoded(upper: &[u8], mut value: &[u8]) -> bool {
    let mut upper = upper.iter();
    let Some(mut wanted) = upper.next() else {
        return true;
    };
    let mut first = true;
    while !value.is_empty() {
        let (code, length) = decoded(value);
        value = value.get(length..).unwrap_or_default();
        // White and control characters before the scheme, and 0 and 10 in it, are skipped.
        if first && code <= 32 || code == 0 || code == 10 {
            continue;
        }
        first = false;
        // C compares one byte of the code.
        let Some(byte) = u8::try_from(code & 0xff).ok() else {
            return false;
        };
        let byte = match code {
            97..=122 => byte.to_ascii_uppercase(),
            _ => byte,
        };
        if byte != *wanted {
            return false;
        }
        match upper.next() {
            None => return true,
            Some(next) => wanted = next,
        }
    }
    false
}

/// The largest code of an entity.
const MAX_CODE: u32 = 0x10_00ff;

/// The code of the first character, which may be a numeric entity, and how many bytes it has.
fn decoded(value: &[u8]) -> (u32, usize) {
    let ampersand = (u32::from(b'&'), 1);
    let (hexadecimal, from, radix) = match value {
        [b'&', b'#', b'x' | b'X', ..] => (true, 3, 16),
        [b'&', b'#', ..] => (false, 2, 10),
        [first, ..] => return (u32::from(*first), 1),
        [] => return (0, 1),
    };
    let digit = |at: usize| {
        let byte = *value.get(at)?;
        match hexadecimal {
            true => char::from(byte).to_digit(16),
            false => char::from(byte).to_digit(10),
        }
    };
    let Some(mut code) = digit(from) else {
        return ampersand;
    };
    let mut at = from + 1;
    while let Some(next) = digit(at) {
        code = code.saturating_mul(radix).saturating_add(next);
        if code > MAX_CODE {
            return ampersand;
        }
        at += 1;
    }
    if value.get(at) == Some(&b';') {
        at += 1;
    }
    (code, at)
}

fn is_bad_comment(comment: &[u8]) -> bool {
    // Old browsers end a tag at a backquote.
    if comment.contains(&b'`') {
        return true;
    }
    let is_word = |upper: &[u8]| {
        let mut letters = Letters::default();
        comment.get(..6).and_then(|start| letters.of(start)) == Some(upper)
    };
    comment.len() > 3 && (starts_upper(b"[IF", comment) || starts_upper(b"XML", comment))
        || comment.len() > 5 && (is_word(b"IMPORT") || is_word(b"ENTITY"))
}

/// A name in upper case without its bytes of 0.
struct Letters([u8; 48]);

impl Default for Letters {
    fn default() -> Self {
        Letters([0; 48])
    }
}

impl Letters {
    /// `None` for one that is longer than all names in the tables.
    fn of(&mut self, name: &[u8]) -> Option<&[u8]> {
        let mut length = 0;
        for byte in name.iter().filter(|byte| **byte != 0) {
            *self.0.get_mut(length)? = byte.to_ascii_uppercase();
            length += 1;
        }
        self.0.get(..length)
    }
}

//! SQL injection: the value is read as tokens of SQL, which are folded to at most five. Their kinds
//! are its fingerprint, and the list of fingerprints says which are those of attacks.
//!
//! A kind is one byte, as in C: `k` keyword, `U` union, `B` group, `E` expression, `t` type, `f`
//! function, `n` word, `1` number, `v` variable, `s` string, `o` operator, `&` logic operator, `c`
//! comment, `A` collate, `T` TSQL, `X` evil, `?` unknown, and a mark for itself.

use crate::ordinary::{STEPS_PER_BYTE, is_ordinary, without_links};
use crate::table::{SQL, is_fingerprint};
use crate::{equal_upper, find, find_all, starts_upper, take};

/// What reading a token costs beside its bytes, in steps.
const TOKEN_STEPS: usize = 40;
/// What a turn of the folding costs, in steps.
const TURN_STEPS: usize = 60;

/// Whether a value would change the meaning of an SQL statement that it was pasted into: by itself,
/// or within either kind of quotes; and is nothing that people write every day. It takes of the steps
/// that are `left`.
pub fn sql_injection(value: &[u8], left: &mut u32) -> bool {
    if !libinjection_sqli(value, left) || !take(left, STEPS_PER_BYTE * value.len()) {
        return false;
    }
    if is_ordinary(value) {
        return false;
    }
    let rest = without_links(value);
    rest.is_none_or(|rest| libinjection_sqli(&rest, left))
}

/// What `libinjection_sqli` of the library in C says.
#[inline(never)]
pub fn libinjection_sqli(value: &[u8], left: &mut u32) -> bool {
    // One word, or a number and a word: no fingerprint of an attack.
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | 128..=159);
    if value.iter().all(is_plain) {
        return false;
    }
    let mut reads = |quote, mysql| {
        let mut reader = Reader::new(value, quote, mysql, *left);
        let is_attack = reader.is_attack();
        *left = reader.left;
        (is_attack, reader.reads_otherwise)
    };
    let mut either = |quote| match reads(quote, false) {
        (true, _) => true,
        (false, reads_otherwise) => reads_otherwise && reads(quote, true).0,
    };
    either(0)
        || value.contains(&b'\'') && either(b'\'')
        || value.contains(&b'"') && reads(b'"', true).0
}

/// A fingerprint has at most so many tokens.
const TOKENS: usize = 5;
/// Of a token so many bytes are kept.
const KEPT: usize = 31;

#[derive(Clone, Copy, Default)]
struct Token {
    /// 0 is no token.
    kind: u8,
    length: u8,
    text: [u8; KEPT],
    /// What a string begins and ends with; 0 where the value begins or ends in it.
    open: u8,
    close: u8,
}

impl Token {
    fn set(&mut self, kind: u8, text: &[u8]) {
        self.kind = kind;
        self.length = 0;
        for (kept, byte) in self.text.iter_mut().zip(text) {
            *kept = *byte;
            self.length += 1;
        }
    }

    fn text(&self) -> &[u8] {
        self.text
            .get(..usize::from(self.length))
            .unwrap_or_default()
    }

    fn first(&self) -> u8 {
        self.text().first().copied().unwrap_or(0)
    }

    fn is(&self, kinds: &[u8]) -> bool {
        kinds.contains(&self.kind)
    }

    fn is_unary(&self) -> bool {
        let text = self.text();
        self.kind == b'o'
            && (matches!(text, [b'+' | b'-' | b'!' | b'~'] | b"!!") || equal_upper(b"NOT", text))
    }

    fn is_word(&self, words: &[&[u8]]) -> bool {
        words.iter().any(|word| equal_upper(word, self.text()))
    }
}

struct Reader<'a> {
    value: &'a [u8],
    pos: usize,
    /// The quote that the value is read within, or 0.
    quote: u8,
    /// MySQL's comments in place of the standard's.
    mysql: bool,
    /// Whether there was something that MySQL reads otherwise.
    reads_otherwise: bool,
    /// How many tokens were read.
    read: usize,
    /// How many steps it may still take.
    left: u32,
    tokens: [Token; TOKENS + 1],
}

impl<'a> Reader<'a> {
    fn new(value: &'a [u8], quote: u8, mysql: bool, left: u32) -> Self {
        Reader {
            value,
            pos: 0,
            quote,
            mysql,
            reads_otherwise: false,
            read: 0,
            left,
            tokens: [Token::default(); TOKENS + 1],
        }
    }

    fn at(&self, place: usize) -> Option<u8> {
        self.value.get(place).copied()
    }

    /// From one place up to another, or to the end.
    fn part(&self, from: usize, to: usize) -> &'a [u8] {
        let to = to.min(self.value.len());
        self.value.get(from..to).unwrap_or_default()
    }

    /// From one place on, as long as the bytes are such.
    fn span(&self, from: usize, is: impl Fn(u8) -> bool) -> usize {
        let rest = self.value.get(from..).unwrap_or_default();
        from + rest.iter().take_while(|byte| is(**byte)).count()
    }

    fn next(&mut self) -> Option<Token> {
        let mut token = Token::default();
        let start = self.pos;
        if self.pos == 0 && self.quote != 0 && !self.value.is_empty() {
            self.pos = self.string(&mut token, 0, self.quote, 0);
        }
        while token.kind == 0 {
            let byte = self.at(self.pos)?;
            self.pos = self.token(&mut token, byte);
        }
        self.read += 1;
        take(&mut self.left, TOKEN_STEPS + 2 * (self.pos - start));
        Some(token)
    }

    /// Reads what begins with this byte; where the reader goes on. White has no token.
    fn token(&mut self, token: &mut Token, byte: u8) -> usize {
        let pos = self.pos;
        match byte {
            0..=32 | 127 | 160 => pos + 1,
            b'(' | b')' | b',' | b';' | b'{' | b'}' => self.mark(token, byte),
            b'?' | b']' => self.mark(token, b'?'),
            b'%' | b'+' | b'^' | b'~' => self.mark(token, b'o'),
            b'!' | b'&' | b'*' | b':' | b'<' | b'=' | b'>' | b'|' => self.operator(token, byte),
            b'"' | b'\'' => self.string(token, pos, byte, 1),
            b'#' => {
                self.reads_otherwise = true;
                match self.mysql {
                    true => self.line_comment(token),
                    false => self.mark(token, b'o'),
                }
            }
            b'$' => self.money(token),
            b'-' => self.dash(token),
            b'.' | b'0'..=b'9' => self.number(token, byte),
            b'/' => self.slash(token),
            b'@' => self.variable(token),
            b'B' | b'b' => self.digits_string(token, |byte| matches!(byte, b'0' | b'1')),
            b'X' | b'x' => self.digits_string(token, |byte| byte.is_ascii_hexdigit()),
            b'E' | b'e' => self.escape_string(token),
            b'N' | b'n' => match pos + 2 < self.value.len() && self.at(pos + 1) == Some(b'\'') {
                true => self.escape_string(token),
                false => self.q_string(token, pos + 1),
            },
            b'Q' | b'q' => self.q_string(token, pos),
            b'U' | b'u' => match self.part(pos + 1, pos + 3) == b"&'" {
                true => {
                    let end = self.string(token, pos + 2, b'\'', 1);
                    token.open = b'u';
                    if token.close == b'\'' {
                        token.close = b'u';
                    }
                    end
                }
                false => self.word(token),
            },
            b'[' => {
                let end = find(self.value, pos, b']').map_or(self.value.len(), |at| at + 1);
                token.set(b'n', self.part(pos, end));
                end
            }
            b'\\' => match self.at(pos + 1) {
                Some(b'N') => {
                    token.set(b'1', self.part(pos, pos + 2));
                    pos + 2
                }
                _ => self.mark(token, b'\\'),
            },
            b'`' => self.tick(token, pos),
            _ => self.word(token),
        }
    }

    /// One byte for itself.
    fn mark(&self, token: &mut Token, kind: u8) -> usize {
        token.set(kind, self.part(self.pos, self.pos + 1));
        self.pos + 1
    }

    fn operator(&self, token: &mut Token, byte: u8) -> usize {
        let pos = self.pos;
        if self.part(pos, pos + 3) == b"<=>" {
            token.set(b'o', b"<=>");
            return pos + 3;
        }
        let two = self.part(pos, pos + 2);
        match SQL.kind(two) {
            kind if kind != 0 && two.len() == 2 => {
                token.set(kind, two);
                pos + 2
            }
            _ if byte == b':' && two.len() == 2 => self.mark(token, b':'),
            _ => self.mark(token, b'o'),
        }
    }

    fn line_comment(&self, token: &mut Token) -> usize {
        let end = find(self.value, self.pos, b'\n');
        token.set(b'c', self.part(self.pos, end.unwrap_or(self.value.len())));
        end.map_or(self.value.len(), |end| end + 1)
    }

    fn dash(&mut self, token: &mut Token) -> usize {
        if self.at(self.pos + 1) == Some(b'-') {
            if self.at(self.pos + 2).is_none_or(is_white) {
                return self.line_comment(token);
            }
            if !self.mysql {
                self.reads_otherwise = true;
                return self.line_comment(token);
            }
        }
        self.mark(token, b'o')
    }

    fn slash(&self, token: &mut Token) -> usize {
        let pos = self.pos;
        if self.at(pos + 1) != Some(b'*') {
            return self.mark(token, b'o');
        }
        let close = find_all(self.value, pos + 2, b"*/");
        let end = close.map_or(self.value.len(), |close| close + 2);
        // Databases differ in comments within comments, and MySQL runs those that begin `/*!`.
        let inner = close.map_or(&[][..], |close| self.part(pos + 2, close + 1));
        let nested = find_all(inner, 0, b"/*").is_some();
        let evil = nested || self.at(pos + 2) == Some(b'!');
        token.set(if evil { b'X' } else { b'c' }, self.part(pos, end));
        end
    }

    /// A string whose quote stands `offset` bytes into the value's token, or before the value.
    fn string(&self, token: &mut Token, pos: usize, quote: u8, offset: usize) -> usize {
        let from = pos + offset;
        token.open = if offset > 0 { quote } else { 0 };
        let mut search = from;
        while let Some(end) = find(self.value, search, quote) {
            let before = self.part(from, end).iter().rev();
            let escaped = before.take_while(|byte| **byte == b'\\').count() % 2 == 1;
            if escaped {
                search = end + 1;
            } else if self.at(end + 1) == Some(quote) {
                search = end + 2;
            } else {
                token.set(b's', self.part(from, end));
                token.close = quote;
                return end + 1;
            }
        }
        token.set(b's', self.part(from, self.value.len()));
        token.close = 0;
        self.value.len()
    }

    fn escape_string(&mut self, token: &mut Token) -> usize {
        match self.pos + 2 < self.value.len() && self.at(self.pos + 1) == Some(b'\'') {
            true => self.string(token, self.pos, b'\'', 2),
            false => self.word(token),
        }
    }

    /// Oracle's `q'[…]'`.
    fn q_string(&mut self, token: &mut Token, pos: usize) -> usize {
        let [b'q' | b'Q', b'\'', open @ 33..=127] = self.part(pos, pos + 3) else {
            return self.word(token);
        };
        let close = match open {
            b'(' => b')',
            b'[' => b']',
            b'{' => b'}',
            b'<' => b'>',
            other => *other,
        };
        let end = find_all(self.value, pos + 3, &[close, b'\'']);
        self.between(token, pos + 3, end, b'q', 2)
    }

    /// A string between marks: its text ends at `end`, and the mark there has `length` bytes.
    fn between(
        &self,
        token: &mut Token,
        from: usize,
        end: Option<usize>,
        mark: u8,
        length: usize,
    ) -> usize {
        token.set(b's', self.part(from, end.unwrap_or(self.value.len())));
        token.open = mark;
        token.close = end.map_or(0, |_| mark);
        end.map_or(self.value.len(), |end| end + length)
    }

    /// `b'01'` and `x'0f'`. As in C, a byte of 0 counts as a digit.
    fn digits_string(&mut self, token: &mut Token, is_digit: impl Fn(u8) -> bool) -> usize {
        let pos = self.pos;
        if self.at(pos + 1) == Some(b'\'') {
            let end = self.span(pos + 2, |byte| byte == 0 || is_digit(byte));
            if self.at(end) == Some(b'\'') {
                token.set(b'1', self.part(pos, end + 1));
                return end + 1;
            }
        }
        self.word(token)
    }

    fn word(&mut self, token: &mut Token) -> usize {
        let pos = self.pos;
        let end = self.span(pos, |byte| !ends_word(byte));
        token.set(b'n', self.part(pos, end));
        // `SELECT.1` and `` SELECT`column` `` are two tokens.
        for at in pos..end.min(pos + KEPT) {
            if matches!(self.at(at), Some(b'.' | b'`')) {
                let part = self.part(pos, at);
                take(&mut self.left, TOKEN_STEPS);
                let kind = SQL.kind(part);
                if kind != 0 && kind != b'n' {
                    token.set(kind, part);
                    return at;
                }
            }
        }
        if end - pos <= KEPT {
            let kind = SQL.kind(token.text());
            if kind != 0 {
                token.kind = kind;
            }
        }
        end
    }

    fn tick(&self, token: &mut Token, pos: usize) -> usize {
        let end = self.string(token, pos, b'`', 1);
        token.kind = match SQL.kind(token.text()) {
            b'f' => b'f',
            _ => b'n',
        };
        end
    }

    fn variable(&self, token: &mut Token) -> usize {
        let mut pos = self.pos + 1;
        if self.at(pos) == Some(b'@') {
            pos += 1;
        }
        let end = match self.at(pos) {
            Some(b'`') => self.tick(token, pos),
            Some(quote @ (b'\'' | b'"')) => self.string(token, pos, quote, 1),
            _ => {
                let end = self.span(pos, |byte| {
                    !ends_word(byte) && byte != b'`'
                        || matches!(byte, b'[' | b']' | b'{' | b'}' | 160)
                });
                token.set(b'v', self.part(pos, end));
                end
            }
        };
        token.kind = b'v';
        end
    }

    fn money(&mut self, token: &mut Token) -> usize {
        let pos = self.pos;
        if pos + 1 == self.value.len() {
            return self.mark(token, b'n');
        }
        // As in C, a byte of 0 counts as a digit and as a letter.
        let end = self.span(pos + 1, |byte| {
            matches!(byte, 0 | b'0'..=b'9' | b'.' | b',')
        });
        if end == pos + 2 && self.at(pos + 1) == Some(b'.') {
            return self.word(token);
        }
        if end > pos + 1 {
            token.set(b'1', self.part(pos, end));
            return end;
        }
        if self.at(pos + 1) == Some(b'$') {
            let end = find_all(self.value, pos + 2, b"$$");
            return self.between(token, pos + 2, end, b'$', 2);
        }
        // PostgreSQL's `$tag$…$tag$`.
        let tag = self.span(pos + 1, |byte| byte == 0 || byte.is_ascii_alphabetic());
        if tag == pos + 1 || self.at(tag) != Some(b'$') {
            return self.mark(token, b'n');
        }
        let mark = self.part(pos, tag + 1);
        let end = find_all(self.value, tag + 1, mark);
        self.between(token, tag + 1, end, b'$', mark.len())
    }

    fn number(&self, token: &mut Token, byte: u8) -> usize {
        let pos = self.pos;
        let next = self.at(pos + 1).unwrap_or(0);
        if byte == b'0' && matches!(next, b'X' | b'x' | b'B' | b'b') {
            // As in C, a byte of 0 counts as a digit.
            let end = self.span(pos + 2, |byte| match next {
                b'X' | b'x' => byte == 0 || byte.is_ascii_hexdigit(),
                _ => matches!(byte, 0 | b'0' | b'1'),
            });
            token.set(
                if end == pos + 2 { b'n' } else { b'1' },
                self.part(pos, end),
            );
            return end;
        }
        let digits = |from| self.span(from, |byte| byte.is_ascii_digit());
        let mut end = digits(pos);
        if self.at(end) == Some(b'.') {
            end = digits(end + 1);
            if end == pos + 1 {
                return self.mark(token, b'.');
            }
        }
        let mut kind = b'1';
        if matches!(self.at(end), Some(b'E' | b'e')) {
            end += 1;
            if matches!(self.at(end), Some(b'+' | b'-')) {
                end += 1;
            }
            let exponent = digits(end);
            if exponent == end {
                kind = b'n';
            }
            end = exponent;
        }
        // Oracle's suffix, unless a word follows; `1fUNION` is two tokens.
        if matches!(self.at(end), Some(b'd' | b'D' | b'f' | b'F')) {
            let ends = |next| is_white(next) || matches!(next, b';' | b'u' | b'U');
            if self.at(end + 1).is_none_or(ends) {
                end += 1;
            }
        }
        token.set(kind, self.part(pos, end));
        end
    }

    /// The token of a place, or none.
    fn get(&self, place: usize) -> Token {
        self.tokens.get(place).copied().unwrap_or_default()
    }

    fn set_kind(&mut self, place: usize, kind: u8) {
        if let Some(token) = self.tokens.get_mut(place) {
            token.kind = kind;
        }
    }

    fn copy(&mut self, to: usize, from: usize) {
        let token = self.get(from);
        if let Some(place) = self.tokens.get_mut(to) {
            *place = token;
        }
    }

    /// Reads until `count` tokens stand after `left`, or there are no more. A comment is kept aside:
    /// only the last thing in a value matters as one.
    fn fill(&mut self, pos: &mut usize, left: usize, count: usize, comment: &mut Token) -> bool {
        while *pos <= TOKENS && *pos < left + count {
            let Some(token) = self.next() else {
                return false;
            };
            if token.kind == b'c' {
                *comment = token;
            } else {
                comment.kind = 0;
                if let Some(place) = self.tokens.get_mut(*pos) {
                    *place = token;
                }
                *pos += 1;
            }
        }
        true
    }

    /// Two words that are one: `UNION ALL`.
    fn merge(&mut self, left: usize) -> bool {
        let (a, b) = (self.get(left), self.get(left + 1));
        let length = a.text().len() + 1 + b.text().len();
        if !a.is(b"knoUfETt") || !b.is(b"knoUfETt&") || length > KEPT {
            return false;
        }
        let mut merged = a;
        let text = a.text().iter().chain(b" ").chain(b.text());
        for (kept, byte) in merged.text.iter_mut().zip(text) {
            *kept = *byte;
        }
        merged.length = u8::try_from(length).unwrap_or(0);
        merged.kind = SQL.kind(merged.text());
        if merged.kind == 0 {
            return false;
        }
        if let Some(place) = self.tokens.get_mut(left) {
            *place = merged;
        }
        true
    }

    /// Folds the value's tokens; how many are left.
    fn fold(&mut self) -> usize {
        // What stands before the first real token is skipped.
        let first = loop {
            match self.next() {
                None => return 0,
                Some(_) if self.left == 0 => return 0,
                Some(token) if token.is(b"c(t") || token.is_unary() => {}
                Some(token) => break token,
            }
        };
        if let Some(place) = self.tokens.first_mut() {
            *place = first;
        }
        let mut comment = Token::default();
        // `pos` is where the next token goes; those before `left` are folded.
        let (mut pos, mut left) = (1, 0);
        let mut more = true;
        while take(&mut self.left, TURN_STEPS) {
            if pos >= TOKENS && self.is_list() {
                if pos > TOKENS {
                    self.copy(1, TOKENS);
                    pos = 2;
                } else {
                    pos = 1;
                }
                left = 0;
            }
            if !more || left >= TOKENS {
                left = pos;
                break;
            }
            more = self.fill(&mut pos, left, 2, &mut comment);
            if pos < left + 2 {
                left = pos;
                continue;
            }
            match self.fold_two(&mut pos, &mut left) {
                Folded::Again => continue,
                Folded::Evil => return left + 2,
                Folded::Not => {}
            }
            if more {
                more = self.fill(&mut pos, left, 3, &mut comment);
            }
            if pos < left + 3 {
                left = pos;
                continue;
            }
            if !self.fold_three(&mut pos, left) {
                left += 1;
            } else {
                left = 0;
            }
        }
        if left < TOKENS && comment.kind == b'c' {
            if let Some(place) = self.tokens.get_mut(left) {
                *place = comment;
            }
            left += 1;
        }
        left.min(TOKENS)
    }

    /// Five tokens that are an ordinary list or call.
    fn is_list(&self) -> bool {
        let kinds = self.tokens.map(|token| token.kind);
        matches!(
            kinds,
            [b'1', b'o' | b',', b'(', b'1', b')', _]
                | [b'n', b'o', b'(', b'n' | b'1', b')', _]
                | [b'1', b')', b',', b'(', b'1', _]
                | [b'n', b')', b'o', b'(', b'n', _]
        )
    }

    fn fold_two(&mut self, pos: &mut usize, left: &mut usize) -> Folded {
        let (a, b) = (self.get(*left), self.get(*left + 1));
        match (a.kind, b.kind) {
            (b's', b's') | (b';', b';') => *pos -= 1,
            (b'o' | b'&', _) if b.is_unary() || b.kind == b't' => {
                *pos -= 1;
                *left = 0;
            }
            (b'(', _) if b.is_unary() => {
                *pos -= 1;
                *left = left.saturating_sub(1);
            }
            _ if self.merge(*left) => {
                *pos -= 1;
                *left = left.saturating_sub(1);
            }
            (b';', b'f') if starts_upper(b"IF", b.text()) => self.set_kind(*left + 1, b'T'),
            (b'n' | b'v', b'(') if a.is_word(&CALLED) => self.set_kind(*left, b'f'),
            (b'k', _) if a.is_word(&[b"IN", b"NOT IN"]) => {
                self.set_kind(*left, if b.kind == b'(' { b'o' } else { b'n' });
            }
            (b'o', _) if a.is_word(&[b"LIKE", b"NOT LIKE"]) => {
                if b.kind == b'(' {
                    self.set_kind(*left, b'f');
                }
                return Folded::Not;
            }
            (b't', b'n' | b'1' | b't' | b'(' | b'f' | b'v' | b's') => {
                self.copy(*left, *left + 1);
                *pos -= 1;
                *left = 0;
            }
            (b'A', b'n') => {
                let text = b.text().split(|byte| *byte == 0).next();
                if text.is_some_and(|text| text.contains(&b'_')) {
                    self.set_kind(*left + 1, b't');
                    *left = 0;
                }
                return Folded::Not;
            }
            (b'\\', _) => {
                if b.kind == b'o' && matches!(b.text(), [b'*' | b'/' | b'-' | b'+' | b'%']) {
                    self.set_kind(*left, b'1');
                } else {
                    self.copy(*left, *left + 1);
                    *pos -= 1;
                }
                *left = 0;
            }
            (b'(', b'(') | (b')', b')') => {
                *pos -= 1;
                *left = 0;
            }
            (b'{', b'n') => {
                if b.text().is_empty() {
                    self.set_kind(*left + 1, b'X');
                    return Folded::Evil;
                }
                *left = 0;
                *pos -= 2;
            }
            (_, b'}') => {
                *pos -= 1;
                *left = 0;
            }
            _ => return Folded::Not,
        }
        Folded::Again
    }

    /// Whether three tokens were folded; all are looked at again then.
    fn fold_three(&mut self, pos: &mut usize, left: usize) -> bool {
        let (a, b, c) = (self.get(left), self.get(left + 1), self.get(left + 2));
        let unary = b.is_unary();
        match (a.kind, b.kind, c.kind) {
            (b'1', b'o', b'1')
            | (b'&', _, b'&')
            | (b'v', b'o', b'v' | b'1' | b'n')
            | (b'n' | b'1', b'o', b'1' | b'n')
            | (b'n' | b'1' | b's' | b'v', b',', b'1' | b'n' | b's' | b'v')
            | (b'n', b'.', b'n') => *pos -= 2,
            (b'o', middle, b'o') if middle != b'(' => *pos -= 2,
            (b'n' | b'1' | b'v' | b's', b'o', b't') if b.text() == b"::" => *pos -= 2,
            (b'E' | b'B' | b',', _, b'(') | (b',', _, b'f') if unary => {
                self.copy(left + 1, left + 2);
                *pos -= 1;
            }
            (b'k' | b'E' | b'B', _, b'1' | b'n' | b'v' | b's' | b'f') if unary => {
                self.copy(left + 1, left + 2);
                *pos -= 1;
            }
            (b',', _, b'1' | b'n' | b'v' | b's') if unary => {
                self.copy(left + 1, left + 2);
                *pos = pos.saturating_sub(3);
            }
            (b'E', b'.', b'n') => {
                self.copy(left + 1, left + 2);
                *pos -= 1;
            }
            (b'f', b'(', other) => {
                if other != b')' && a.is_word(&[b"USER"]) {
                    self.set_kind(left, b'n');
                }
                return false;
            }
            _ => return false,
        }
        true
    }

    /// Reads the value, and says whether its fingerprint is that of an attack.
    fn is_attack(&mut self) -> bool {
        let count = self.fold();
        if self.left == 0 {
            return false;
        }
        let last = count.wrapping_sub(1);
        let token = self.get(last);
        // PHP's backquote: a word in a backquote that is empty and never closed is a comment.
        if count > 2
            && token.kind == b'n'
            && token.open == b'`'
            && token.length == 0
            && token.close == 0
        {
            self.set_kind(last, b'c');
        }
        let kinds = self.tokens.map(|token| token.kind);
        let Some(kinds) = kinds.get(..count) else {
            return false;
        };
        if kinds.is_empty() || kinds.contains(&b'X') {
            return !kinds.is_empty();
        }
        is_fingerprint(kinds) && !self.is_ordinary(kinds)
    }

    /// Short fingerprints of attacks that ordinary text has too.
    fn is_ordinary(&self, kinds: &[u8]) -> bool {
        if kinds.len() > 1
            && kinds.ends_with(b"c")
            && find_all(self.value, 0, b"sp_password").is_some()
        {
            return false;
        }
        let (a, b, c) = (self.get(0), self.get(1), self.get(2));
        match kinds {
            [_, b'U'] => self.read == 2,
            [_, _] if b.first() == b'#' => true,
            [b'n', b'c'] => b.first() != b'/',
            [b'1', b'c'] => {
                if b.first() == b'/' || self.read > 2 {
                    return false;
                }
                // Something like base64 may end in `--`. As in C, the number is taken to stand first.
                let end = a.text().len();
                match self.at(end) {
                    Some(0..=32 | 128..) => false,
                    Some(b'/') => self.at(end + 1) != Some(b'*'),
                    Some(b'-') => self.at(end + 1) != Some(b'-'),
                    _ => true,
                }
            }
            // Many write `--` in text: only at the end it is an attack's.
            [_, _] => b.length > 2 && b.first() == b'-',
            b"sos" | b"s&s" => !(a.open == 0 && c.close == 0 && a.close == c.open),
            b"s&n" | b"n&1" | b"1&1" | b"1&v" | b"1&s" => self.read == 3,
            // Of keywords in the middle only INTO OUTFILE and INTO DUMPFILE are an attack's.
            [_, b'k', _] => b.length < 5 || !starts_upper(b"INTO", b.text()),
            _ => false,
        }
    }
}

/// What two tokens came to.
enum Folded {
    /// Look at all again.
    Again,
    /// Nobody writes this but to attack.
    Evil,
    Not,
}

/// Names of columns, but functions where a parenthesis follows.
const CALLED: [&[u8]; 11] = [
    b"USER_ID",
    b"USER_NAME",
    b"DATABASE",
    b"PASSWORD",
    b"USER",
    b"CURRENT_USER",
    b"CURRENT_DATE",
    b"CURRENT_TIME",
    b"CURRENT_TIMESTAMP",
    b"LOCALTIME",
    b"LOCALTIMESTAMP",
];

fn is_white(byte: u8) -> bool {
    matches!(byte, 0 | b' ' | 9..=13 | 160)
}

fn ends_word(byte: u8) -> bool {
    is_white(byte) || b"[]{}<>:\\?=@!#~+-*/&|^%(),';\"".contains(&byte)
}

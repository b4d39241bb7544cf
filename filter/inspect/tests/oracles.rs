//! The same answers as libinjection in C (that of Debian's `libmodsecurity3`) and as the crate
//! `libinjectionrs`, over random values made of what attacks are made of. `SEED=7` for others.

#![cfg(unix)]
#![allow(unsafe_code, reason = "the library in C is loaded, and called")]
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    reason = "a panic in a test is its way to fail"
)]

use std::ffi::{CStr, c_char, c_int, c_void};

fn sql_injection(value: &[u8]) -> bool {
    pointsman_inspect::libinjection_sqli(value, &mut u32::MAX.clone())
}

fn cross_site_scripting(value: &[u8]) -> bool {
    pointsman_inspect::cross_site_scripting(value, &mut u32::MAX.clone())
}

unsafe extern "C" {
    fn dlopen(file: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
}

type Sqli = unsafe extern "C" fn(*const c_char, usize, *mut c_char) -> c_int;
type Xss = unsafe extern "C" fn(*const c_char, usize) -> c_int;

/// libinjection in C.
struct C {
    sqli: Sqli,
    xss: Xss,
}

impl C {
    fn load() -> C {
        const RTLD_NOW: c_int = 2;
        let file: &CStr = c"libmodsecurity.so.3";
        let symbol = |library, name: &CStr| {
            let symbol = unsafe { dlsym(library, name.as_ptr()) };
            assert!(!symbol.is_null(), "{file:?} has no {name:?}");
            symbol
        };
        let library = unsafe { dlopen(file.as_ptr(), RTLD_NOW) };
        assert!(
            !library.is_null(),
            "{file:?} is missing: apt-get install libmodsecurity3"
        );
        let sqli = symbol(library, c"libinjection_sqli");
        let xss = symbol(library, c"libinjection_xss");
        unsafe {
            C {
                sqli: std::mem::transmute::<*mut c_void, Sqli>(sqli),
                xss: std::mem::transmute::<*mut c_void, Xss>(xss),
            }
        }
    }

    /// It reads some bytes past the end: they are 0 here.
    fn padded(value: &[u8]) -> Vec<u8> {
        let mut padded = value.to_vec();
        padded.resize(value.len() + 64, 0);
        padded
    }

    fn sql_injection(&self, value: &[u8]) -> bool {
        let padded = Self::padded(value);
        let mut fingerprint = [0; 64];
        let text = padded.as_ptr().cast();
        unsafe { (self.sqli)(text, value.len(), fingerprint.as_mut_ptr()) != 0 }
    }

    fn cross_site_scripting(&self, value: &[u8]) -> bool {
        let padded = Self::padded(value);
        unsafe { (self.xss)(padded.as_ptr().cast(), value.len()) != 0 }
    }
}

const MARKS: &[u8] = b" '\"`;#@$\\(){}[]<>=/*-.,:&|!%+0\0\n\xa0\xff";

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).expect("less than n")
    }

    /// Pieces one after the other, here and there a random byte.
    fn value(&mut self, pieces: &[&[u8]]) -> Vec<u8> {
        let mut value = Vec::new();
        for _ in 0..1 + self.below(9) {
            match self.below(12) {
                0 => value.push(u8::try_from(self.below(256)).expect("a byte")),
                1 => value.push(MARKS[self.below(MARKS.len())]),
                _ => value.extend_from_slice(pieces[self.below(pieces.len())]),
            }
        }
        value
    }
}

fn seed() -> u64 {
    let seed = std::env::var("SEED").map_or(1, |seed| seed.parse().expect("SEED is a number"));
    println!("SEED={seed}");
    seed
}

/// So many random values each.
const VALUES: usize = 200_000;

fn sql_pieces() -> Vec<&'static [u8]> {
    let pieces = "1 0 1.5 .5 1e 1e5 1d 1fUNION 0x 0x1f 0b 0b01 b'01' x'1f' x'1g' n'a' e'a' u&'a' \
        q'[a]' nq'(a)' q'aba' ' \" ` '' \"\" \\ \\' \\N -- --+ -- --a # /* */ /**/ /*! /*!5union*/ \
        /*/**/ a foo foo.bar SELECT.1 SELECT`a` select union all distinct from where and or not \
        like in ( ) , ; : :: := <=> <= != !! = + - * / % ^ ~ & && | || ! < > . $ $1 $1,0 $$ $$a$$ \
        $a$ $ab$ab$ @ @@ @a @@version @`a` @'a' [ ] [a] { } {a sleep( user( user_id( database() \
        current_user if(1 ;if into outfile dumpfile group by having collate utf8_bin binary \
        waitfor delay exec xp_cmdshell sp_password null limit order case when then else end \
        int varchar cast( as is div xor regexp rlike between load_file( benchmark( char( true";
    let mut pieces: Vec<&[u8]> = pieces.split(' ').map(str::as_bytes).collect();
    // Mostly there is a space between words.
    pieces.extend([&b" "[..]; 40]);
    pieces.extend([
        &b"\t"[..],
        b"\n",
        b"\x0b",
        b"+",
        b"\xc2\xa0",
        b"\0",
        b"is not",
        b"union all",
    ]);
    pieces
}

fn html_pieces() -> Vec<&'static [u8]> {
    let pieces = "< > </ /> <! <!-- --> --!> -!> - -- <!doctype <![CDATA[ ]]> ]] <? ?> <% %> % \
        <a <b <p <script script <svg <xsl <xss <sv\0g <scr\0ipt <style <iframe <object <base \
        </script <x / // /on = ' \" ` href src style action xmlns xlink:href xlink attributename \
        on onerror onload onclick ONERROR on\0load onfoo onlin onbegin x y a javascript: data: \
        vbscript: view-source: java java\0script &#106;avascript &#x6a;ava &#1 &# &#x &#00106; \
        &#x10FFFF1; &amp; http: [if [IF xml import <!import ENTITY <!ENTITY im\0port values to by \
        formaction background filter \u{7f} 1 alert(1)";
    let mut pieces: Vec<&[u8]> = pieces.split(' ').map(str::as_bytes).collect();
    pieces.extend([&b" "[..]; 20]);
    pieces.extend([
        &b"\t"[..],
        b"\n",
        b"\0",
        b"\xff",
        b"\x0c",
        b"=",
        b"=",
        b"=\"",
        b"='",
    ]);
    pieces
}

/// Values of which the two say something else, with what ours says; and how many are attacks.
fn differences(
    pieces: &[&[u8]],
    ours: impl Fn(&[u8]) -> bool,
    theirs: impl Fn(&[u8]) -> bool,
) -> (Vec<(Vec<u8>, bool)>, usize) {
    let mut random = Random(seed());
    let mut attacks = 0;
    let mut differences = Vec::new();
    for _ in 0..VALUES {
        let value = random.value(pieces);
        let answer = ours(&value);
        attacks += usize::from(answer);
        if answer != theirs(&value) {
            differences.push((value, answer));
        }
    }
    (differences, attacks)
}

fn shown(differences: &[(Vec<u8>, bool)]) -> String {
    let shown = differences.iter().take(20);
    let shown = shown.map(|(value, ours)| format!("{ours}: {}\n", value.escape_ascii()));
    format!(
        "{} differences\n{}",
        differences.len(),
        shown.collect::<String>()
    )
}

#[test]
fn sql_injection_is_what_libinjection_in_c_says() {
    let c = C::load();
    let theirs = |value: &[u8]| c.sql_injection(value);
    let (differences, attacks) = differences(&sql_pieces(), sql_injection, theirs);
    println!("{attacks} of {VALUES} are attacks");
    assert!(
        attacks > VALUES / 20 && attacks < VALUES * 19 / 20,
        "{attacks}"
    );
    assert!(differences.is_empty(), "{}", shown(&differences));
}

/// Debian's libinjection takes each attribute that begins with `on` for an event; ours and the
/// newest know the events by name. Nothing else may differ.
#[test]
fn cross_site_scripting_is_what_libinjection_in_c_says_but_for_attributes_that_are_no_events() {
    let c = C::load();
    let theirs = |value: &[u8]| c.cross_site_scripting(value);
    let (mut differences, attacks) = differences(&html_pieces(), cross_site_scripting, theirs);
    println!("{attacks} of {VALUES} are attacks");
    assert!(
        attacks > VALUES / 20 && attacks < VALUES * 19 / 20,
        "{attacks}"
    );
    let all = differences.len();
    differences.retain(|(value, ours)| {
        let mut without = value.clone();
        for at in 1..without.len() {
            if without[at - 1..=at].eq_ignore_ascii_case(b"on") {
                without[at - 1] = b'x';
            }
        }
        *ours || c.cross_site_scripting(&without)
    });
    println!("{all} of {VALUES} differ in what an event is");
    assert!(differences.is_empty(), "{}", shown(&differences));
}

/// The crate reads bytes of 0, those that are not ASCII, and `@` otherwise than C.
fn is_read_alike(value: &[u8]) -> bool {
    value
        .iter()
        .all(|byte| matches!(byte, 1..=127) && *byte != b'@')
}

#[test]
fn sql_injection_is_what_libinjectionrs_says() {
    let (mut differences, _) = differences(&sql_pieces(), sql_injection, |value| {
        libinjectionrs::detect_sqli(value).is_injection()
    });
    differences.retain(|(value, _)| is_read_alike(value));
    assert!(differences.is_empty(), "{}", shown(&differences));
}

/// This one knows the events by name too.
#[test]
fn cross_site_scripting_is_what_libinjectionrs_says() {
    let (mut differences, _) = differences(&html_pieces(), cross_site_scripting, |value| {
        libinjectionrs::detect_xss(value).is_injection()
    });
    differences.retain(|(value, _)| is_read_alike(value));
    assert!(differences.is_empty(), "{}", shown(&differences));
}

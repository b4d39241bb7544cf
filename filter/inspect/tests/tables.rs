//! The packed tables say what `libinjectionrs`'s say, which are libinjection's. After a new version
//! of that crate: `WRITE=1 cargo test -p pointsman-inspect --test tables`.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    reason = "a panic in a test is its way to fail"
)]

use libinjectionrs::sqli::sqli_data::SQL_KEYWORDS;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Letters of fingerprints; kinds of words; a block's words: as `src/table.rs` has them.
const LETTERS: &[u8] = b"&(),1:;ABCEFKNOSTUVX";
const KINDS: &[u8] = b"oftknTvEU1B&A";
const ATTRIBUTE_KINDS: &[u8] = b"ebusi";
const BLOCK: usize = 16;

/// `libinjectionrs` does not export its list of events: this one is libinjection's.
const EVENTS: &str = include_str!("events.txt");
/// Attributes that are no events, each after its kind.
const ATTRIBUTES: &str = "u:ACTION i:ATTRIBUTENAME u:BY u:BACKGROUND b:DATAFORMATAS b:DATASRC \
    u:DYNSRC s:FILTER u:FORMACTION u:FOLDER u:FROM u:HANDLER u:HREF u:LOWSRC u:POSTER u:SRC \
    s:STYLE u:TO u:VALUES u:XLINK:HREF";

fn sql_words() -> BTreeMap<Vec<u8>, u8> {
    let words = SQL_KEYWORDS.iter().filter(|word| word.token_type != b'F');
    words
        .map(|word| (word.word.as_bytes().to_vec(), word.token_type))
        .collect()
}

fn fingerprints() -> BTreeSet<Vec<u8>> {
    let words = SQL_KEYWORDS.iter().filter(|word| word.token_type == b'F');
    words
        .map(|word| word.word.as_bytes()[1..].to_vec())
        .collect()
}

fn attributes() -> BTreeMap<Vec<u8>, u8> {
    let events = EVENTS
        .lines()
        .map(|event| (format!("ON{event}").into_bytes(), b'e'));
    let others = ATTRIBUTES.split_whitespace().map(|attribute| {
        let (kind, name) = attribute.split_once(':').expect("a kind and a name");
        (name.as_bytes().to_vec(), kind.as_bytes()[0])
    });
    events.chain(others).collect()
}

fn packed_words(words: &BTreeMap<Vec<u8>, u8>, kinds: &[u8]) -> Vec<u8> {
    let mut blocks = Vec::new();
    let mut before: &[u8] = &[];
    for (n, (word, kind)) in words.iter().enumerate() {
        if n % BLOCK == 0 {
            blocks.push(Vec::new());
            before = &[];
        }
        let same = word.iter().zip(before).take_while(|(a, b)| a == b).count();
        let shared = same.min(15);
        let kind = kinds.iter().position(|k| k == kind).expect("a known kind");
        let block = blocks.last_mut().expect("a block");
        block.push(u8::try_from(shared << 4 | kind).expect("four bits each"));
        let (last, rest) = word[shared..].split_last().expect("another letter");
        block.extend_from_slice(rest);
        block.push(last | 0x80);
        before = word;
    }
    let two = |n: usize| u16::try_from(n).expect("a small table").to_le_bytes();
    let mut packed = two(blocks.len()).to_vec();
    let mut at = 2 + 2 * blocks.len();
    for block in &blocks {
        packed.extend(two(at));
        at += block.len();
    }
    packed.extend(blocks.concat());
    packed
}

/// A node of the automaton: whether a fingerprint ends here, and what may follow.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Node {
    is_final: bool,
    next: BTreeMap<usize, usize>,
}

/// The node of those that begin with the same letters, less those letters; equal ones are one.
fn node(ends: &BTreeSet<&[u8]>, nodes: &mut Vec<Node>) -> usize {
    let mut next: BTreeMap<usize, BTreeSet<&[u8]>> = BTreeMap::new();
    for end in ends.iter().filter(|end| !end.is_empty()) {
        let letter = LETTERS.iter().position(|l| *l == end[0]).expect("a letter");
        next.entry(letter).or_default().insert(&end[1..]);
    }
    let made = Node {
        is_final: ends.contains(&[][..]),
        next: next
            .iter()
            .map(|(letter, ends)| (*letter, node(ends, nodes)))
            .collect(),
    };
    nodes
        .iter()
        .position(|node| *node == made)
        .unwrap_or_else(|| {
            nodes.push(made);
            nodes.len() - 1
        })
}

fn packed_fingerprints(fingerprints: &BTreeSet<Vec<u8>>) -> Vec<u8> {
    let mut nodes = Vec::new();
    let root = node(&fingerprints.iter().map(|f| &f[..]).collect(), &mut nodes);
    let is_end = |n: usize| nodes[n].next.is_empty();
    let is_last = |n: usize| nodes[n].next.values().all(|next| is_end(*next));
    // The root first, which is the last that was made.
    let order: Vec<usize> = (0..nodes.len()).rev().filter(|n| !is_end(*n)).collect();
    assert_eq!(order[0], root);
    let mut places = BTreeMap::new();
    let mut at = 0;
    for n in &order {
        places.insert(*n, at);
        at += 3 + if is_last(*n) {
            0
        } else {
            2 * nodes[*n].next.len()
        };
    }
    let mut packed = Vec::new();
    for n in &order {
        let mut bits = nodes[*n]
            .next
            .keys()
            .fold(0u32, |bits, letter| bits | 1 << letter);
        bits |= u32::from(nodes[*n].is_final) << 23 | u32::from(is_last(*n)) << 22;
        packed.extend_from_slice(&bits.to_le_bytes()[..3]);
        if !is_last(*n) {
            for next in nodes[*n].next.values() {
                let place = places.get(next).copied().unwrap_or(0);
                packed.extend(u16::try_from(place).expect("a small table").to_le_bytes());
            }
        }
    }
    packed
}

fn is_written(file: &str, bytes: &[u8]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(file);
    if std::env::var_os("WRITE").is_some() {
        std::fs::write(&path, bytes).expect("written");
    }
    let written = std::fs::read(&path).expect("the file");
    assert!(
        written == bytes,
        "{file} is not what the tables make: WRITE=1 writes it"
    );
    println!("{file}: {} bytes", bytes.len());
}

/// What `src/table.rs` reads is made of libinjection's words; `oracles.rs` looks them up.
#[test]
fn the_packed_tables_are_libinjections() {
    assert_eq!(sql_words().len() + fingerprints().len(), SQL_KEYWORDS.len());
    is_written("sql.words", &packed_words(&sql_words(), KINDS));
    is_written("html.words", &packed_words(&attributes(), ATTRIBUTE_KINDS));
    is_written("sql.fingerprints", &packed_fingerprints(&fingerprints()));
}

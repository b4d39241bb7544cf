//! Several languages at once: every way in which strings can lie in some of them and not in the
//! others.

use super::{Alphabet, Language};
use regex_automata::dfa::Automaton;
use regex_automata::util::primitives::StateID;
use std::collections::{BTreeMap, HashSet};

/// The most states of all automata together that are looked at: a second or so.
const MAX_STATES: usize = 4_000_000;

/// Which of the languages a string lies in, with the simplest string that does.
pub(crate) type Samples = Vec<(Vec<bool>, Vec<u8>)>;

/// For every combination of languages that some string of these bytes lies in (and in no other)
/// the shortest such string, of those in `all`. The simplest come first. None: the automata are too
/// large to look at together.
pub(crate) fn samples(
    all: &Language,
    languages: &[&Language],
    alphabet: Alphabet,
) -> Option<Samples> {
    let every: Vec<&Language> = std::iter::once(all)
        .chain(languages.iter().copied())
        .collect();
    let bytes = representatives(&every, alphabet);
    let start: Vec<StateID> = every.iter().map(|language| language.start).collect();
    let mut seen = HashSet::from([start.clone()]);
    // Each with the one that it was reached from, and by which byte.
    let mut reached = vec![(start, 0, 0)];
    let mut found: BTreeMap<Vec<bool>, usize> = BTreeMap::new();
    let mut order = Vec::new();
    let mut at = 0;
    while at < reached.len() {
        let states = reached[at].0.clone();
        if every[0].accepts(states[0]) {
            let pairs = every.iter().zip(&states).skip(1);
            let within: Vec<bool> = pairs.map(|(it, state)| it.accepts(*state)).collect();
            found.entry(within.clone()).or_insert_with(|| {
                order.push(within);
                at
            });
        }
        for byte in &bytes {
            let next: Vec<StateID> = every
                .iter()
                .zip(&states)
                .map(|(it, state)| it.dfa.next_state(*state, *byte))
                .collect();
            if !every[0].dfa.is_dead_state(next[0]) && !seen.contains(&next) {
                seen.insert(next.clone());
                reached.push((next, at, *byte));
            }
        }
        if reached.len() * every.len() > MAX_STATES {
            return None;
        }
        at += 1;
    }
    let text = |mut at: usize| {
        let mut text = Vec::new();
        while at > 0 {
            let (_, before, byte) = &reached[at];
            text.push(*byte);
            at = *before;
        }
        text.reverse();
        text
    };
    let samples = order.into_iter().map(|within| {
        let at = found[&within];
        (within, text(at))
    });
    Some(samples.collect())
}

/// One byte of each class of bytes that no automaton tells apart, the simplest of each.
fn representatives(languages: &[&Language], alphabet: Alphabet) -> Vec<u8> {
    let simple = (b'a'..=b'z').chain(b'0'..=b'9').chain(*b"/-_.");
    let all = simple.chain(b'!'..=b'~').chain(0..=u8::MAX);
    let mut classes = HashSet::new();
    let mut is_new = |byte: &u8| {
        let class = |it: &&Language| it.dfa.byte_classes().get(*byte);
        classes.insert(languages.iter().map(class).collect::<Vec<u8>>())
    };
    all.filter(|byte| alphabet(*byte) && is_new(byte)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn language(pattern: &str) -> Language {
        Language::of_pattern(pattern, false).unwrap()
    }

    /// The oracle are the patterns themselves, on every string of up to five letters.
    #[test]
    fn every_combination_that_a_string_has_is_found() {
        const LETTERS: [u8; 3] = *b"abc";
        let patterns = ["a.*", ".*b", "(ab|ba)c?", "[^c]*", ".*aa.*", "abc?"];
        let languages: Vec<_> = patterns.iter().map(|pattern| language(pattern)).collect();
        let compiled = patterns
            .map(|pattern| pointsman_core::http::regex::Regex::new(pattern, false).unwrap());
        let mut expected = HashSet::new();
        let mut last = vec![Vec::new()];
        for _ in 0..6 {
            for text in &last {
                let within = compiled.iter().map(|it| it.matches_whole(text));
                expected.insert(within.collect::<Vec<bool>>());
            }
            let longer = |text: &Vec<u8>| LETTERS.map(|byte| [&text[..], &[byte]].concat());
            last = last.iter().flat_map(longer).collect();
        }
        let all = language("(?s).*");
        let languages: Vec<_> = languages.iter().collect();
        let samples = samples(&all, &languages, |byte| LETTERS.contains(&byte)).unwrap();
        for (within, text) in &samples {
            let found = compiled.iter().map(|it| it.matches_whole(text));
            assert_eq!(*within, found.collect::<Vec<bool>>(), "{text:?}");
        }
        let found: HashSet<_> = samples.into_iter().map(|(within, _)| within).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_too_large_is_unknown() {
        let patterns = [101, 103, 107, 109, 113].map(|n| format!("(a{{{n}}})*b"));
        let languages = patterns.each_ref().map(|pattern| language(pattern));
        let languages: Vec<_> = languages.iter().collect();
        assert_eq!(samples(&language(".*"), &languages, |_| true), None);
    }
}

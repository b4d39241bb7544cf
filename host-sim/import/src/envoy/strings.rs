//! Conditions on texts: Envoy's `StringMatcher` and the older fields that say the same.

use super::message::Message;
use super::regex;
use serde_json::{Value, json};

/// A condition on a text: one of the keys `exact`, `prefix`, `suffix`, `contains` and `regex`.
#[derive(Clone, Debug)]
pub(super) struct Text {
    key: &'static str,
    value: String,
}

impl Text {
    pub(super) fn regex(pattern: String) -> Text {
        Text {
            key: "regex",
            value: pattern,
        }
    }

    /// The words of a pattern that is nothing but them: `GET|POST`.
    pub(super) fn words(&self) -> Option<Vec<&str>> {
        let words: Vec<&str> = match self.key {
            "exact" => vec![&self.value],
            "regex" => self.value.split('|').collect(),
            _ => return None,
        };
        let is_word =
            |word: &&str| !word.is_empty() && word.bytes().all(|it| it.is_ascii_uppercase());
        words.iter().all(is_word).then_some(words)
    }

    /// Whether the empty text is one.
    pub(super) fn matches_empty(&self) -> bool {
        match self.key {
            "regex" => regex::matches_empty(&self.value),
            _ => self.value.is_empty(),
        }
    }

    /// The condition on what has this name.
    pub(super) fn condition(&self, name: &str, invert: bool) -> Value {
        let mut condition = json!({ "name": name, self.key: self.value });
        if invert {
            condition["invert"] = true.into();
        }
        condition
    }
}

/// Reads a `StringMatcher`. None: it cannot be carried over, which has been reported.
pub(super) fn string_matcher(mut matcher: Message) -> Option<Text> {
    let ignore_case = matcher.boolean("ignore_case").unwrap_or_default();
    for key in ["exact", "prefix", "suffix", "contains"] {
        if let Some(value) = matcher.text(key) {
            return Some(text(key, value, ignore_case));
        }
    }
    if let Some(regex) = matcher.message("safe_regex") {
        // `ignore_case` says nothing of patterns.
        return regex_matcher(regex).map(Text::regex);
    }
    matcher.refuse("custom", "an extension of Envoy's own");
    None
}

/// A text that is compared without ASCII case becomes a pattern.
pub(super) fn text(key: &'static str, value: String, ignore_case: bool) -> Text {
    if !ignore_case {
        return Text { key, value };
    }
    let literal = regex::literal(&value);
    Text::regex(match key {
        "exact" => format!("(?i){literal}"),
        "prefix" => format!("(?i){literal}.*"),
        "suffix" => format!("(?i).*{literal}"),
        _ => format!("(?i).*{literal}.*"),
    })
}

/// Reads a `RegexMatcher`. None: it cannot be carried over, which has been reported.
pub(super) fn regex_matcher(matcher: Message) -> Option<String> {
    regex_of(matcher, regex::whole)
}

/// The same of a pattern that is searched.
pub(super) fn regex_searcher(matcher: Message) -> Option<String> {
    regex_of(matcher, regex::search)
}

fn regex_of(mut matcher: Message, translate: fn(&str) -> Result<String, String>) -> Option<String> {
    // The only engine; a bound on its program's size is reported.
    if let Some(mut engine) = matcher.message("google_re2") {
        engine.refuse(
            "max_program_size",
            "the filter bounds what a pattern may take by itself",
        );
    }
    let pattern = matcher.text("regex").unwrap_or_default();
    match translate(&pattern) {
        Ok(pattern) => Some(pattern),
        Err(why) => {
            matcher.not_carried("regex", why);
            None
        }
    }
}

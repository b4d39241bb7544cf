//! Paths as patterns: nginx compares from the path's beginning, without case, and what follows is
//! free.

use serde_json::{Value, json};

/// Escapes a text that stands for itself.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        if "\\.+*?()|[]{}^$#&-~/ ".contains(c) && c != '/' && c != '-' && c != '~' {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// The whole path that a location `~* "^PATTERN"` takes.
pub(super) fn location(pattern: &str) -> String {
    let pattern = pattern.strip_prefix('^').unwrap_or(pattern);
    match pattern.strip_suffix('$') {
        Some(whole) if !whole.ends_with('\\') => format!("(?i:{whole})"),
        _ => format!("(?i:{pattern}).*"),
    }
}

/// `rewrite "(?i)PATTERN" TARGET`: the value of `path_regex`. The target takes the place of the
/// whole path. The error says why it cannot be carried over.
pub(super) fn rewrite(pattern: &str, target: &str) -> Result<Value, String> {
    let pattern = pattern.strip_prefix('^').unwrap_or(pattern);
    let pattern = pattern.strip_suffix('$').unwrap_or(pattern);
    let groups = groups(pattern);
    let mut substitution = String::new();
    let mut rest = target;
    if !target.starts_with('/') {
        return Err("the target has to start with `/`".into());
    }
    if target.contains('?') {
        return Err("the target has a query, and a new path has none".into());
    }
    while let Some(at) = rest.find(['$', '\\']) {
        substitution.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if rest[at..].starts_with('\\') {
            substitution.push_str("\\\\");
            rest = after;
            continue;
        }
        let Some(digit) = after.chars().next().filter(char::is_ascii_digit) else {
            return Err("a variable of nginx that is no group of the path".into());
        };
        let number = digit as usize - '0' as usize;
        // A group that is not there is empty.
        if number <= groups {
            substitution.push('\\');
            substitution.push(digit);
        }
        rest = &after[1..];
    }
    substitution.push_str(rest);
    Ok(json!({ "pattern": format!("(?i)^{pattern}.*$"), "substitution": substitution }))
}

/// How many groups a pattern has.
fn groups(pattern: &str) -> usize {
    let mut count = 0;
    let mut in_class = false;
    let mut letters = pattern.chars().peekable();
    while let Some(c) = letters.next() {
        match c {
            '\\' => drop(letters.next()),
            '[' => in_class = true,
            ']' => in_class = false,
            '(' if !in_class => {
                let mut ahead = letters.clone();
                let is_named = match (ahead.next(), ahead.next(), ahead.next()) {
                    (Some('?'), Some('<'), after) => !matches!(after, Some('=' | '!')),
                    (Some('?'), Some('P'), _) => true,
                    (Some('?'), _, _) => false,
                    _ => true,
                };
                count += usize::from(is_named);
            }
            _ => {}
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_name_groups() {
        let of = |pattern, target| rewrite(pattern, target).map(|it| it["substitution"].clone());
        assert_eq!(of("/a(/|$)(.*)", "/$2"), Ok(json!("/\\2")));
        assert_eq!(of("/a(?:x)([(])\\(", "/$1$2"), Ok(json!("/\\1")));
        assert_eq!(of("/a", "/\\"), Ok(json!("/\\\\")));
        for wrong in ["$1", "/?a=$1", "/$host", "/$"] {
            assert!(of("/a(.*)", wrong).is_err(), "{wrong}");
        }
        assert_eq!(location("/a(/|$)(.*)"), "(?i:/a(/|$)(.*)).*");
        assert_eq!(location("/a$"), "(?i:/a)");
        assert_eq!(escaped("/a.b-c"), "/a\\.b-c");
    }
}

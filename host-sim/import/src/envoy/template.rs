//! Envoy's URI templates: as the filter's where it has the same, else as patterns.

use super::regex;

/// A template, and how a rewrite may use its names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Template {
    /// The filter has the same.
    Same(String),
    /// A pattern for the whole path, with the names of its groups in their order.
    Pattern(String, Vec<String>),
}

/// Reads a template.
pub(super) fn read(text: &str) -> Result<Template, String> {
    if is_same(text) {
        return Ok(Template::Same(text.to_owned()));
    }
    let mut pattern = String::new();
    let mut names = Vec::new();
    pieces(text, &mut pattern, &mut names)?;
    Ok(Template::Pattern(regex::whole(&pattern)?, names))
}

/// `{name}` for each whole segment, `{name=**}` at the end, and plain segments.
fn is_same(text: &str) -> bool {
    let Some(rest) = text.strip_prefix('/') else {
        return false;
    };
    let mut segments = rest.split('/').peekable();
    while let Some(segment) = segments.next() {
        let named = segment
            .strip_prefix('{')
            .and_then(|it| it.strip_suffix('}'));
        let good = match named {
            None => !segment.contains(['{', '}', '*']),
            Some(name) => {
                let name = match name.strip_suffix("=**") {
                    Some(name) if segments.peek().is_none() => name,
                    _ => name,
                };
                let letters = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
                !name.is_empty() && name.bytes().all(letters)
            }
        };
        if !good {
            return false;
        }
    }
    true
}

/// One segment, and all that follows, as Envoy's own patterns have them.
const SEGMENT: &str = "[a-zA-Z0-9-._~%!$&'()+,;:@=]+";
const REST: &str = "[a-zA-Z0-9-._~%!$&'()+,;:@=/]*";

fn pieces(text: &str, pattern: &mut String, names: &mut Vec<String>) -> Result<(), String> {
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("**") {
            pattern.push_str(REST);
            rest = after;
        } else if let Some(after) = rest.strip_prefix('*') {
            pattern.push_str(SEGMENT);
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let (inner, after) = after.split_once('}').ok_or("a `{` without its `}`")?;
            let (name, inner) = inner.split_once('=').unwrap_or((inner, "*"));
            names.push(name.to_owned());
            pattern.push('(');
            pieces(inner, pattern, names)?;
            pattern.push(')');
            rest = after;
        } else {
            let length = first.len_utf8();
            pattern.push_str(&regex::literal(&rest[..length]));
            rest = &rest[length..];
        }
    }
    Ok(())
}

impl Template {
    /// The keys of a rewrite to another template.
    pub(super) fn rewrite(&self, to: &str) -> Result<(&'static str, serde_json::Value), String> {
        let names = match self {
            // The names are the same, and there is nothing else in braces.
            Template::Same(_) => return Ok(("path", to.into())),
            Template::Pattern(_, names) => names,
        };
        let Template::Pattern(pattern, _) = self else {
            return Err(String::new());
        };
        let mut substitution = String::new();
        let mut rest = to;
        while let Some((before, from)) = rest.split_once('{') {
            substitution.push_str(&before.replace('\\', "\\\\"));
            let (name, after) = from.split_once('}').ok_or("a `{` without its `}`")?;
            let group = names.iter().position(|known| known == name);
            match group.map(|at| at + 1) {
                Some(group @ 1..=9) => substitution.push_str(&format!("\\{group}")),
                _ => return Err(format!("the name {name}, which is no group from 1 to 9")),
            }
            rest = after;
        }
        substitution.push_str(&rest.replace('\\', "\\\\"));
        let pattern = format!("^{pattern}$");
        let keys = serde_json::json!({ "pattern": pattern, "substitution": substitution });
        Ok(("path_regex", keys))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_the_same_or_patterns() {
        for same in ["/a/{id}", "/{a}/b/{rest=**}", "/"] {
            assert_eq!(read(same), Ok(Template::Same(same.into())));
        }
        let Template::Pattern(pattern, names) = read("/v/{lang=l/*}/{file}.mp4").unwrap() else {
            panic!()
        };
        assert_eq!(names, ["lang", "file"]);
        let (s, r) = (SEGMENT, "\\.mp4");
        assert_eq!(
            pattern,
            format!("/v/(l/{s})/({s}){r}")
                .replace("0-9-._~", "0-9\\-._\\~")
                .replace("$&'", "$\\&'")
        );
    }
}

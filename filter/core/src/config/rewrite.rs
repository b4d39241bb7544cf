//! The key `rewrite` of a route, and the new paths that it shares with redirects.

use super::reader::{Map, Node, Report, quoted};
use super::regex::regex;
use super::syntax;
use crate::http::regex::Search;
use crate::http::regex::SubstitutionPart;
use crate::route::r#match::Match;
use crate::route::path::{PathKind, Segment};
use crate::route::rewrite::{PathRewrite, Piece, Rewrite};

/// The keys of a new path.
pub(super) const PATH_KEYS: &[&str] = &["path_prefix", "path", "path_regex"];
const PATH: &str = "a path that starts with `/`, without query, fragment and blanks";

/// The blocks of the route that is being read.
pub(super) struct Matched<'n> {
    /// `match`, or the route where it has none.
    pub node: Node<'n>,
    /// None: they could not be read, which has been noted.
    pub blocks: Option<&'n [Match]>,
}

impl Matched<'_> {
    /// The first block that is not as it should be, by its place.
    fn first_that_is_not(&self, good: &dyn Fn(Option<&PathKind>) -> bool) -> Option<String> {
        let bad = |block: &Match| !good(block.path.as_ref().map(|path| &path.kind));
        let at = self.blocks?.iter().position(bad)?;
        Some(match self.node.is_list() {
            true => format!("{}[{at}]", self.node.place()),
            false => self.node.place(),
        })
    }
}

/// Reads `rewrite`.
pub(super) fn rewrite(
    node: &Node<'_>,
    matched: &Matched<'_>,
    report: &mut Report,
) -> Option<Rewrite> {
    const KEYS: &[&str] = &["path_prefix", "path", "path_regex", "host"];
    const HOST: &str = "a host, or `host:port`";
    let map = node.map(report, KEYS)?;
    if KEYS.iter().all(|key| map.get(key).is_none()) {
        report.note(node, "an empty map", &super::reader::one_of(KEYS));
    }
    let host = map
        .get("host")
        .and_then(|node| node.text_that(report, syntax::is_authority, HOST));
    Some(Rewrite {
        path: new_path(&map, matched, report),
        host: host.map(syntax::bytes),
    })
}

/// Reads the one of [`PATH_KEYS`] that the map has.
pub(super) fn new_path(
    map: &Map<'_>,
    matched: &Matched<'_>,
    report: &mut Report,
) -> Option<PathRewrite> {
    let node = map.at_most_one(report, PATH_KEYS)?;
    match node.key() {
        "path_prefix" => {
            if let Some(place) =
                matched.first_that_is_not(&|path| matches!(path, Some(PathKind::Prefix(_))))
            {
                let found = format!("{place} matches without `prefix`");
                report.note(
                    &node,
                    &found,
                    "a `path: { prefix: … }` in every block of the match",
                );
            }
            let prefix = node.text_that(report, syntax::is_path, PATH)?;
            Some(PathRewrite::Prefix(syntax::bytes(prefix)))
        }
        "path" => {
            let text = node.text_that(report, syntax::is_path, PATH)?;
            whole(&node, text, matched, report).map(PathRewrite::Whole)
        }
        _ => searched(&node, report),
    }
}

/// `/new/{id}`
fn whole(
    node: &Node<'_>,
    text: &str,
    matched: &Matched<'_>,
    report: &mut Report,
) -> Option<Vec<Piece>> {
    const EXPECTED: &str = "a path with `{name}` for what the route's template took";
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, from)) = rest.split_once('{') {
        let Some((name, after)) = from.split_once('}') else {
            report.note(node, "a `{` without its `}`", EXPECTED);
            return None;
        };
        if !before.is_empty() {
            pieces.push(Piece::Text(syntax::bytes(before)));
        }
        known_name(node, name, matched, report);
        pieces.push(Piece::Name(name.into()));
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(syntax::bytes(rest)));
    }
    Some(pieces)
}

/// The names of a template.
fn template_names(path: Option<&PathKind>) -> impl Iterator<Item = &str> {
    let segments = match path {
        Some(PathKind::Template(segments)) => segments.as_slice(),
        _ => &[],
    };
    segments.iter().filter_map(|segment| match segment {
        Segment::Name(name) | Segment::Rest(name) => Some(&**name),
        Segment::Text(_) => None,
    })
}

fn known_name(node: &Node<'_>, name: &str, matched: &Matched<'_>, report: &mut Report) {
    let Some(place) =
        matched.first_that_is_not(&|path| template_names(path).any(|known| known == name))
    else {
        return;
    };
    let blocks = matched.blocks.unwrap_or_default();
    let known: Vec<&str> = blocks
        .iter()
        .flat_map(|block| template_names(block.path.as_ref().map(|path| &path.kind)))
        .filter(|known| *known != name)
        .collect();
    let near = report.nearest(name, &mut known.into_iter());
    let found = format!("{} is not in a template of {place}", quoted(name));
    report.note_near(
        node,
        &found,
        "names that the template of every block has",
        near,
    );
}

/// `path_regex: { pattern, substitution }`
fn searched(node: &Node<'_>, report: &mut Report) -> Option<PathRewrite> {
    const SUBSTITUTION: &str =
        "a string, with `\\1` for what group 1 matched and `\\\\` for a backslash";
    let map = node.map(report, &["pattern", "substitution"])?;
    let pattern = map
        .need(report, "pattern", "a regular expression")
        .and_then(|node| regex(&node, Search::new, report));
    let substitution_node = map.need(report, "substitution", SUBSTITUTION);
    let text = substitution_node
        .and_then(|node| node.text_that(report, syntax::is_header_value, SUBSTITUTION));
    let (pattern, node, text) = (pattern?, substitution_node?, text?);

    let mut substitution = Vec::new();
    let mut rest = text;
    while let Some((before, from)) = rest.split_once('\\') {
        if !before.is_empty() {
            substitution.push(SubstitutionPart::Text(syntax::bytes(before)));
        }
        let mut letters = from.chars();
        match letters.next() {
            Some('\\') => substitution.push(SubstitutionPart::Text(syntax::bytes("\\"))),
            Some(digit @ '0'..='9') => {
                let group = digit as usize - '0' as usize;
                if group > pattern.groups() {
                    report.note(
                        &node,
                        &format!("\\{group} names a group that the pattern does not have"),
                        &format!("a group from 0 (the whole match) to {}", pattern.groups()),
                    );
                }
                substitution.push(SubstitutionPart::Group(group));
            }
            _ => {
                report.note(&node, "a backslash without a group's number", SUBSTITUTION);
                return None;
            }
        }
        rest = letters.as_str();
    }
    if !rest.is_empty() {
        substitution.push(SubstitutionPart::Text(syntax::bytes(rest)));
    }
    Some(PathRewrite::Regex {
        pattern,
        substitution,
    })
}

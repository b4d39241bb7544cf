//! Values that may hold parts of the request: `{host}`, `{header.x}`, the names of the path's
//! template and their like; `{{` is a brace.

use super::header::not_host;
use super::reader::{Node, Report, quoted};
use super::syntax;
use crate::http::value::{Part, Piece, ValueWithParts, WORDS};
use crate::route::host::HostMatch;
use crate::route::r#match::Match;
use crate::route::path::{PathKind, Segment};

const PARTS: &str = "client_ip, host, path, query, method, scheme, header.NAME, cookie.NAME, \
                     query.NAME, label, route, pool, target, or a name that the template of every \
                     block has; `{{` is a brace";

/// The blocks of the route that is being read.
pub(super) struct Matched<'n> {
    /// `match`, or the route where it has none.
    pub node: Node<'n>,
    /// None: they could not be read, which has been noted.
    pub blocks: Option<&'n [Match]>,
}

impl Matched<'_> {
    /// The first block that is not as it should be, by its place.
    pub(super) fn first_that_is_not(&self, good: &dyn Fn(&Match) -> bool) -> Option<String> {
        let at = self.blocks?.iter().position(|block| !good(block))?;
        Some(match self.node.is_list() {
            true => format!("{}[{at}]", self.node.place()),
            false => self.node.place(),
        })
    }
}

/// Reads a value. `good` says whether what does not vary of it is right, with something in place of
/// each part; `expected` says the same in words.
pub(super) fn value(
    node: &Node<'_>,
    good: fn(&str) -> bool,
    expected: &str,
    matched: &Matched<'_>,
    report: &mut Report,
) -> Option<ValueWithParts> {
    let text = node.text(report, expected)?;
    let mut pieces = Vec::new();
    let mut example = String::new();
    // Of the piece that is being read.
    let mut literal = String::new();
    let mut rest = text;
    while let Some((before, from)) = rest.split_once('{') {
        literal.push_str(before);
        if let Some(after) = from.strip_prefix('{') {
            literal.push('{');
            rest = after;
            continue;
        }
        let Some((name, after)) = from.split_once('}') else {
            let found = "a `{` without its `}`";
            report.note(
                node,
                found,
                "a `}` behind the name of a part; `{{` is a brace",
            );
            return None;
        };
        let part = part(node, name, matched, report)?;
        example.push_str(&literal);
        example.push_str(if part == Part::Path { "/x" } else { "x" });
        if !literal.is_empty() {
            pieces.push(Piece::Text(syntax::bytes(&literal)));
            literal.clear();
        }
        pieces.push(Piece::Part(part));
        rest = after;
    }
    literal.push_str(rest);
    example.push_str(&literal);
    if !good(&example) {
        node.wrong(report, expected);
        return None;
    }
    if pieces.is_empty() {
        return Some(ValueWithParts::Text(syntax::bytes(&literal)));
    }
    if !literal.is_empty() {
        pieces.push(Piece::Text(syntax::bytes(&literal)));
    }
    Some(ValueWithParts::Built(pieces))
}

fn part(node: &Node<'_>, name: &str, matched: &Matched<'_>, report: &mut Report) -> Option<Part> {
    let blocks = matched.blocks.unwrap_or_default();
    // A name of the template comes first: it is the operator's own.
    if blocks
        .iter()
        .flat_map(template_names)
        .any(|known| known == name)
    {
        let has_it = |block: &Match| template_names(block).any(|known| known == name);
        if let Some(place) = matched.first_that_is_not(&has_it) {
            let found = format!("{} is not in a template of {place}", quoted(name));
            report.note(node, &found, "names that the template of every block has");
        }
        return Some(Part::Name(name.into()));
    }
    if let Some((_, part)) = WORDS.iter().find(|(word, _)| *word == name) {
        let is_wild = |block: &Match| block.hosts.iter().any(HostMatch::is_wild);
        if *part == Part::Label
            && let Some(place) = matched.first_that_is_not(&is_wild)
        {
            let found = format!("{place} has no host with a wildcard");
            report.note(
                node,
                &found,
                "`hosts` with a wildcard in every block of the match",
            );
        }
        return Some(part.clone());
    }
    let (kind, of) = name.split_once('.').unwrap_or_default();
    match kind {
        "header" if syntax::is_header_or_pseudo(of) => {
            let of = syntax::lower(of);
            not_host(node, &of, "`{host}`", report);
            return Some(Part::Header(of));
        }
        "cookie" if syntax::is_cookie_name(of) => return Some(Part::Cookie(syntax::bytes(of))),
        "query" if !of.is_empty() => return Some(Part::Parameter(syntax::bytes(of))),
        _ => {}
    }
    // Where the blocks could not be read, this may be a name of a template.
    if matched.blocks.is_some() {
        let words = WORDS.iter().map(|(word, _)| *word);
        let mut known = blocks.iter().flat_map(template_names).chain(words);
        let near = report.nearest(name, &mut known);
        let found = format!("{} is no part of a request", quoted(name));
        report.note_near(node, &found, PARTS, near);
    }
    None
}

/// The names of a block's template.
fn template_names(block: &Match) -> impl Iterator<Item = &str> {
    let segments = match block.path.as_ref().map(|path| &path.kind) {
        Some(PathKind::Template(segments)) => segments.as_slice(),
        _ => &[],
    };
    segments.iter().filter_map(|segment| match segment {
        Segment::Name(name) | Segment::Rest(name) => Some(&**name),
        Segment::Text(_) => None,
    })
}

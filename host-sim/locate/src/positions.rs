//! Positions of the values of a file. A problem says its place as `routes[3].match.path`; an editor
//! and a CI want a line and a column.

use granit_parser::{Event, Parser, ScalarStyle, Span, StrInput};
use std::borrow::Cow;
use std::sync::Arc;

/// How deep a file may nest; the readers of configurations refuse what is deeper.
const MAX_DEPTH: usize = 200;

const WASM: &str = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm";
const MANAGER: &str = "type.googleapis.com/envoy.extensions.filters.network.\
                       http_connection_manager.v3.HttpConnectionManager";

/// A line and a column, both from 1; columns are counted in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// The values of a file with their positions.
#[derive(Debug)]
pub struct Positions<'t> {
    documents: Vec<Arc<Node<'t>>>,
    /// The files within the `ConfigMap`s among them.
    inner: Vec<Arc<Node<'t>>>,
    /// The configurations among all: found once, since a file may have very many problems.
    parts: Vec<Arc<Node<'t>>>,
}

#[derive(Debug)]
struct Node<'t> {
    at: Position,
    kind: Kind<'t>,
}

#[derive(Debug)]
enum Kind<'t> {
    Map(Vec<(Cow<'t, str>, Position, Arc<Node<'t>>)>),
    List(Vec<Arc<Node<'t>>>),
    /// Empty for an alias, whose value stands elsewhere.
    Scalar(Cow<'t, str>, Lines),
}

/// Where the lines of a text stand in the file.
#[derive(Clone, Copy, Debug)]
enum Lines {
    /// One behind the other, as they are (`|`): the first line, and the column of its first
    /// character.
    From(Position),
    /// Folded, quoted or escaped: all that is known is where the text begins.
    Within(Position),
}

impl Lines {
    /// The position in the file of one in the text.
    fn position(self, of: Position) -> Position {
        match self {
            Lines::From(first) => Position {
                line: first.line + of.line - 1,
                column: first.column + of.column - 1,
            },
            Lines::Within(at) => at,
        }
    }
}

impl<'t> Positions<'t> {
    /// Reads a text. None: it is no YAML, or nested too deeply; those who read it say why.
    pub fn read(text: &'t str) -> Option<Positions<'t>> {
        let whole = Lines::From(Position { line: 1, column: 1 });
        let documents = Reader::documents(text, whole, |it| it)?;
        let (mut parts, mut inner) = (Vec::new(), Vec::new());
        let resources = resources(&documents);
        for resource in &resources {
            parts.extend(held(resource));
            for (text, lines) in resource.files() {
                let keep = |it: Cow<'_, str>| Cow::Owned(it.into_owned());
                let documents = Reader::documents(text, lines, keep).unwrap_or_default();
                parts.extend(held_in_file(&documents));
                inner.extend(documents);
            }
        }
        if parts.is_empty() {
            parts = parts_of(&documents);
        }
        Some(Positions {
            documents,
            inner,
            parts,
        })
    }

    /// Where the value at a place stands, or what holds it where it is missing. Places are those of
    /// problems and warnings: within the configuration, wherever it is in the file; after
    /// `filter 2 …: ` within that of the second of our filters; or of the proxy around it; or
    /// within a resource of Kubernetes, after ``the ConfigMap `filter`: ``.
    /// None: it is not in this file.
    pub fn find(&self, place: &str) -> Option<Position> {
        if let Some(position) = Self::written(place) {
            // Of a place in a line the column, where both agree.
            let behind = place
                .split_once(": ")
                .and_then(|(_, place)| self.find(place));
            let same = behind.filter(|behind| behind.line == position.line);
            return Some(same.unwrap_or(position));
        }
        let (number, place) = split_filter(place);
        let around = place.split_once(": ").or(Some((place, "")));
        if let Some((what, rest)) = around.filter(|_| place.starts_with("the ")) {
            let around = match what.strip_prefix("the Wasm filter `") {
                Some(name) => self.filter(name.trim_end_matches('`')),
                None if what == "the HTTP connection manager" => self.first(MANAGER),
                None => match self.resource(what) {
                    Some(resource) => return Some(resource.find_in_file(rest)),
                    None => None,
                },
            };
            if let Some(node) = around {
                return Some(node.find(rest).unwrap_or(node.at));
            }
        }
        let part = match number {
            Some(number) => Some(self.parts.get(number.checked_sub(1)?)?),
            None => self.parts.first(),
        };
        let roots = part.into_iter().chain(&self.inner).chain(&self.documents);
        let found = roots.into_iter().find_map(|root| root.find(place));
        found.or_else(|| part.filter(|_| number.is_some()).map(|part| part.at))
    }

    /// The position that a place is itself: `line 3`, `line 3, column 7`, `line 3: a.b`. So the
    /// place of what is no YAML is said.
    pub fn written(place: &str) -> Option<Position> {
        let rest = place.strip_prefix("line ")?;
        let number = |text: &str| {
            let end = text.find(|c: char| !c.is_ascii_digit());
            text[..end.unwrap_or(text.len())].parse().ok()
        };
        let column = rest.split_once(", column ").map(|(_, column)| column);
        Some(Position {
            line: number(rest)?,
            column: column.and_then(number).unwrap_or(1),
        })
    }

    /// The name of the route that a place is in.
    pub fn route(&self, place: &str) -> Option<&str> {
        let (number, place) = split_filter(place);
        let at = place.strip_prefix("routes[")?.split(']').next()?;
        let at: usize = at.parse().ok()?;
        let part = self.parts.get(number.unwrap_or(1).checked_sub(1)?)?;
        let Kind::List(routes) = &part.field("routes")?.kind else {
            return None;
        };
        match &routes.get(at)?.field("name")?.kind {
            Kind::Scalar(name, _) if !name.is_empty() => Some(name),
            _ => None,
        }
    }

    /// The messages of a type, also in files of `ConfigMap`s.
    fn collect(&self, kind: &str) -> Vec<Arc<Node<'t>>> {
        let mut found = collect(&self.documents, kind);
        found.extend(collect(&self.inner, kind));
        found
    }

    fn first(&self, kind: &str) -> Option<Arc<Node<'t>>> {
        self.collect(kind).into_iter().next()
    }

    /// ``the ConfigMap `filter` ``
    fn resource(&self, what: &str) -> Option<Arc<Node<'t>>> {
        let (kind, name) = what.strip_prefix("the ")?.split_once(" `")?;
        let name = name.strip_suffix('`')?;
        let is_it = |resource: &&Arc<Node<'t>>| {
            let own = resource.field("metadata").and_then(|it| it.text("name"));
            resource.text("kind") == Some(kind) && own.unwrap_or_default() == name
        };
        resources(&self.documents).iter().find(is_it).cloned()
    }

    /// The `config` of the Wasm filter of this name.
    fn filter(&self, name: &str) -> Option<Arc<Node<'t>>> {
        let found = self.collect(WASM);
        let mut configs = found.iter().filter_map(|node| node.field("config"));
        configs
            .find(|config| config.text("name").unwrap_or_default() == name)
            .cloned()
    }
}

/// The resources of Kubernetes in a file; a `List` holds several.
fn resources<'t>(documents: &[Arc<Node<'t>>]) -> Vec<Arc<Node<'t>>> {
    let each = documents.iter().flat_map(|document| {
        let items = document.field("items").map(|items| &items.kind);
        match (document.text("kind"), items) {
            (Some("List"), Some(Kind::List(items))) => items.clone(),
            _ => vec![document.clone()],
        }
    });
    each.collect()
}

/// The configurations that a resource holds.
fn held<'t>(resource: &Node<'t>) -> Vec<Arc<Node<'t>>> {
    let spec = resource.field("spec");
    let wasm = spec.and_then(|spec| spec.field("wasm"));
    let held: Vec<_> = match resource.text("kind") {
        Some("WasmPlugin") => spec
            .and_then(|it| it.field("pluginConfig"))
            .into_iter()
            .collect(),
        Some("TrafficExtension") => wasm
            .and_then(|it| it.field("pluginConfig"))
            .into_iter()
            .collect(),
        Some("EnvoyExtensionPolicy") => {
            let filters = match wasm.map(|wasm| &wasm.kind) {
                Some(Kind::List(filters)) => &filters[..],
                _ => &[],
            };
            let configs = filters.iter().filter_map(|it| it.field("config"));
            configs.collect()
        }
        _ => Vec::new(),
    };
    held.into_iter()
        .filter(|node| node.is_ours())
        .cloned()
        .collect()
}

/// The configurations in a file of a `ConfigMap`.
fn held_in_file<'t>(documents: &[Arc<Node<'t>>]) -> Vec<Arc<Node<'t>>> {
    let [only] = documents else {
        return Vec::new();
    };
    let envoy = ["static_resources", "resources", "http_filters"];
    if envoy.iter().any(|key| only.field(key).is_some()) {
        let filters = collect(documents, WASM);
        let values = filters.iter().filter_map(|filter| filter.plugin_value());
        return values.filter(|node| node.is_ours()).cloned().collect();
    }
    let is_ours = only.is_ours() && matches!(only.kind, Kind::Map(_));
    is_ours.then(|| only.clone()).into_iter().collect()
}

/// The configurations in another file: the file itself, or those in a proxy's.
fn parts_of<'t>(documents: &[Arc<Node<'t>>]) -> Vec<Arc<Node<'t>>> {
    let filters = collect(documents, WASM);
    let values: Vec<_> = filters.iter().map(|filter| filter.plugin_value()).collect();
    // As the configurations are read: a lone filter is ours, whatever it holds.
    if let [only] = values[..] {
        return only.into_iter().cloned().collect();
    }
    let values = values.into_iter().flatten();
    let ours: Vec<_> = values.filter(|node| node.is_ours()).cloned().collect();
    match ours.is_empty() {
        false => ours,
        true => documents.iter().take(1).cloned().collect(),
    }
}

/// The messages of a type, the outermost.
fn collect<'t>(documents: &[Arc<Node<'t>>], kind: &str) -> Vec<Arc<Node<'t>>> {
    let mut found = Vec::new();
    documents
        .iter()
        .for_each(|document| Node::collect(document, kind, &mut found));
    found
}

impl<'t> Node<'t> {
    fn field(&self, key: &str) -> Option<&Arc<Node<'t>>> {
        let Kind::Map(entries) = &self.kind else {
            return None;
        };
        let mut entries = entries.iter();
        entries
            .find(|(own, _, _)| own == key)
            .map(|(_, _, node)| node)
    }

    fn text(&self, key: &str) -> Option<&str> {
        match &self.field(key)?.kind {
            Kind::Scalar(text, _) => Some(text),
            _ => None,
        }
    }

    /// The texts of a `ConfigMap`, and where their lines stand.
    fn files(&self) -> Vec<(&str, Lines)> {
        let data = self
            .field("data")
            .filter(|_| self.text("kind") == Some("ConfigMap"));
        let Some(Kind::Map(entries)) = data.map(|data| &data.kind) else {
            return Vec::new();
        };
        let texts = entries.iter().filter_map(|(_, _, node)| match &node.kind {
            Kind::Scalar(text, lines) => Some((&**text, *lines)),
            _ => None,
        });
        texts.collect()
    }

    /// A place in a resource, or in a file in it: `data["ecds.yaml"]: line 3, column 7`.
    fn find_in_file(&self, place: &str) -> Position {
        let inner = place.find(": line ").and_then(|at| {
            let position = Positions::written(place.get(at + 2..)?)?;
            match self.node(place.get(..at)?)?.kind {
                Kind::Scalar(_, lines) => Some(lines.position(position)),
                _ => None,
            }
        });
        inner.or_else(|| self.find(place)).unwrap_or(self.at)
    }

    /// The node at a place.
    fn node(&self, place: &str) -> Option<&Node<'t>> {
        let (mut node, mut rest) = (self, place);
        while !rest.is_empty() {
            let (next, _, behind) = node.step(rest)?;
            (node, rest) = (next, behind);
        }
        Some(node)
    }

    /// The plugin configuration of a Wasm filter.
    fn plugin_value(&self) -> Option<&Arc<Node<'t>>> {
        self.field("config")?.field("configuration")?.field("value")
    }

    /// As the readers tell ours from other vendors' configurations; a text is JSON.
    fn is_ours(&self) -> bool {
        match &self.kind {
            Kind::Scalar(text, _) => text.contains("\"routes\"") || text.contains("\"pools\""),
            _ => self.field("routes").is_some() || self.field("pools").is_some(),
        }
    }

    fn collect(node: &Arc<Node<'t>>, kind: &str, found: &mut Vec<Arc<Node<'t>>>) {
        match &node.kind {
            Kind::Map(_) if node.text("@type") == Some(kind) => found.push(node.clone()),
            Kind::Map(entries) => entries
                .iter()
                .for_each(|(_, _, node)| Node::collect(node, kind, found)),
            Kind::List(items) => items
                .iter()
                .for_each(|node| Node::collect(node, kind, found)),
            Kind::Scalar(..) => {}
        }
    }

    /// None: not even the first step is there.
    fn find(&self, place: &str) -> Option<Position> {
        let mut found = None;
        let (mut node, mut rest) = (self, place);
        while !rest.is_empty() {
            let Some((next, at, behind)) = node.step(rest) else {
                return found;
            };
            found = Some(at);
            (node, rest) = (next, behind);
        }
        Some(found.unwrap_or(self.at))
    }

    /// The node that a place begins with, where that is said to stand, and the rest of the place.
    fn step<'p>(&self, place: &'p str) -> Option<(&Node<'t>, Position, &'p str)> {
        let place = place.strip_prefix('.').unwrap_or(place);
        match &self.kind {
            Kind::Scalar(..) => None,
            Kind::List(items) => {
                let (number, rest) = place.strip_prefix('[')?.split_once(']')?;
                let node = items.get(number.parse::<usize>().ok()?)?;
                Some((node, node.at, rest))
            }
            Kind::Map(entries) => {
                let is_here = |key: &str| {
                    let rest = match place.starts_with('[') {
                        true => place
                            .strip_prefix('[')?
                            .strip_prefix(&format!("{key:?}]"))?,
                        false => place.strip_prefix(key)?,
                    };
                    let is_end = rest.is_empty() || rest.starts_with(['.', '[']);
                    is_end.then_some(rest)
                };
                // Of a key that is given twice the last is the one too many.
                let mut last_first = entries.iter().rev();
                last_first.find_map(|(key, at, node)| {
                    let rest = is_here(key)?;
                    // A map or a list begins on the next line or at a brace: its key says more.
                    let at = match node.kind {
                        Kind::Scalar(..) => node.at,
                        _ => *at,
                    };
                    Some((&**node, at, rest))
                })
            }
        }
    }
}

/// `filter 2 `name`: routes[0]`: the number, and the place within it.
fn split_filter(place: &str) -> (Option<usize>, &str) {
    let split = || {
        let (number, rest) = place.strip_prefix("filter ")?.split_once(' ')?;
        let (_, rest) = rest.split_once("`: ").or_else(|| {
            let name = rest.strip_suffix("`:")?;
            Some((name, ""))
        })?;
        Some((number.parse().ok()?, rest))
    };
    match split() {
        Some((number, rest)) => (Some(number), rest),
        None => (None, place),
    }
}

struct Reader<'t, 'k> {
    parser: Parser<'t, StrInput<'t>>,
    text: Vec<&'t str>,
    /// Where the text stands in the file.
    lines: Lines,
    /// What is kept of a part of the text.
    keep: Keep<'t, 'k>,
}

type Keep<'t, 'k> = fn(Cow<'t, str>) -> Cow<'k, str>;

impl<'t, 'k> Reader<'t, 'k> {
    /// Every document of a text. None: it is no YAML, or nested too deeply.
    fn documents(text: &'t str, lines: Lines, keep: Keep<'t, 'k>) -> Option<Vec<Arc<Node<'k>>>> {
        let mut reader = Reader {
            parser: Parser::new_from_str(text),
            text: text.lines().collect(),
            lines,
            keep,
        };
        let mut documents = Vec::new();
        while let Some(next) = reader.parser.next_event() {
            if matches!(next.ok()?.0, Event::DocumentStart(..)) {
                let (event, span) = reader.next()?;
                documents.push(Arc::new(reader.node(event, span, 0)?));
            }
        }
        Some(documents)
    }

    fn next(&mut self) -> Option<(Event<'t>, Span)> {
        self.parser.next_event()?.ok()
    }

    fn node(&mut self, event: Event<'t>, span: Span, depth: usize) -> Option<Node<'k>> {
        if depth > MAX_DEPTH {
            return None;
        }
        let kind = match event {
            Event::Scalar(text, style, ..) => {
                let lines = self.lines_of(style, &text, &span);
                Kind::Scalar((self.keep)(text), lines)
            }
            Event::SequenceStart(..) => {
                let mut items = Vec::new();
                loop {
                    let (event, span) = self.next()?;
                    if matches!(event, Event::SequenceEnd) {
                        break Kind::List(items);
                    }
                    items.push(Arc::new(self.node(event, span, depth + 1)?));
                }
            }
            Event::MappingStart(..) => {
                let mut entries = Vec::new();
                loop {
                    let (event, span) = self.next()?;
                    let key = match event {
                        Event::MappingEnd => break Kind::Map(entries),
                        Event::Scalar(key, ..) => (self.keep)(key),
                        _ => return None,
                    };
                    let (event, of_value) = self.next()?;
                    let node = self.node(event, of_value, depth + 1)?;
                    entries.push((key, self.position(&span), Arc::new(node)));
                }
            }
            _ => Kind::Scalar(Cow::Borrowed(""), Lines::Within(self.position(&span))),
        };
        Some(Node {
            at: self.position(&span),
            kind,
        })
    }

    /// Where the lines of a scalar stand.
    fn lines_of(&self, style: ScalarStyle, text: &str, span: &Span) -> Lines {
        let within = Lines::Within(self.position(span));
        if style != ScalarStyle::Literal {
            return within;
        }
        // The first line that is not empty tells how far all are indented.
        let Some((number, line)) = text.lines().enumerate().find(|(_, it)| !it.is_empty()) else {
            return within;
        };
        let header = span.start.line() - 1;
        let behind = self.text.iter().enumerate().skip(header);
        let mut content = behind.filter(|(_, own)| own.ends_with(line));
        let Some((at, own)) = content.next() else {
            return within;
        };
        let indentation = own.chars().count() - line.chars().count();
        Lines::From(self.lines.position(Position {
            line: at + 1 - number,
            column: indentation + 1,
        }))
    }

    fn position(&self, span: &Span) -> Position {
        self.lines.position(Position {
            line: span.start.line(),
            column: span.start.col() + 1,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, place: &str) -> Option<(usize, usize)> {
        let at = Positions::read(text).unwrap().find(place)?;
        Some((at.line, at.column))
    }

    #[test]
    fn places_are_found_where_they_stand() {
        let text = "pools:\n  web:\n    balance: x\n  \"a b\": { targets: [{ cluster: c }] }\nroutes:\n  - name: é\n    match: { path: { prefix: a } }\nroutes: []\n";
        for (place, expected) in [
            ("", Some((1, 1))),
            ("pools", Some((1, 1))),
            ("pools.web", Some((2, 3))),
            ("pools.web.balance", Some((3, 14))),
            // What is missing: whatever would hold it.
            ("pools.web.targets", Some((2, 3))),
            ("pools[\"a b\"].targets[0].cluster", Some((4, 33))),
            ("pools[\"a b\"].targets[7]", Some((4, 12))),
            ("pool", None),
            // Given twice: the second.
            ("routes", Some((8, 1))),
            ("line 3, column 7", Some((3, 7))),
            ("line 3: pools.web", Some((3, 1))),
        ] {
            assert_eq!(found(text, place), expected, "{place}");
        }
        let once = text.replace("routes: []", "");
        assert_eq!(found(&once, "routes[0].match.path.prefix"), Some((7, 30)));
        let positions = Positions::read(&once).unwrap();
        assert_eq!(positions.route("routes[0].match"), Some("é"));
        assert_eq!(positions.route("routes[1]"), None);
        assert_eq!(positions.route("pools.web"), None);
    }

    fn filter(name: &str, value: &str) -> String {
        format!(
            "- '@type': {WASM}\n  config:\n    name: {name}\n    configuration: {{ value: {value} }}\n"
        )
    }

    #[test]
    fn places_within_a_proxy_s_file_are_found() {
        let one = "http_filters:\n".to_owned() + &filter("a", "{ routes: [{ name: r, pool: x }] }");
        assert_eq!(found(&one, "routes[0].pool"), Some((5, 57)));
        assert_eq!(
            found(&one, "the Wasm filter `a`: failure_policy"),
            Some((4, 5))
        );
        assert_eq!(found(&one, "the Wasm filter `a`: name"), Some((4, 11)));
        let waf = filter("waf", "{ rules: [] }");
        let two = format!(
            "{one}{waf}{}",
            filter("b", "{ routes: [{ name: s, pool: y }] }")
        );
        let place = "filter 2 `b`: routes[0].pool";
        assert_eq!(found(&two, place), Some((13, 57)));
        assert_eq!(Positions::read(&two).unwrap().route(place), Some("s"));
        assert_eq!(found(&two, "filter 3 `c`: routes"), None);
        let text = filter("a", "'{\"routes\": 1}'");
        // JSON in a text: the text.
        assert_eq!(found(&text, "routes"), None);
        let plugin = "---\nkind: Service\n---\nkind: WasmPlugin\nspec:\n  pluginConfig:\n    routes:\n    - { pool: p }\n";
        assert_eq!(found(plugin, "routes[0].pool"), Some((8, 15)));
        let manager = format!("a:\n  '@type': {MANAGER}\n  normalize_path: false\n");
        let of = |key: &str| found(&manager, &format!("the HTTP connection manager: {key}"));
        assert_eq!(of("normalize_path"), Some((3, 19)));
        assert_eq!(of("route_config"), Some((2, 3)));
    }

    #[test]
    fn places_within_resources_and_their_files_are_found() {
        let filter = filter("a", "{ routes: [{ name: r, pool: x }] }").replace('\n', "\n    ");
        let text = format!(
            "kind: Service\nmetadata: {{ name: s }}\n---\nkind: ConfigMap\nmetadata: {{ name: c }}\ndata:\n  \
             notes: 'a: b'\n  ecds.yaml: |\n\n    resources:\n    {filter}\n  plain.yaml: |-\n      pools:\n        \
             web: {{ targets: [] }}\n---\nkind: List\nitems:\n- kind: EnvoyExtensionPolicy\n  \
             metadata: {{ name: p }}\n  spec:\n    wasm:\n    - config: {{ rules: [] }}\n    - config: {{ routes: [] }}\n"
        );
        for (place, expected) in [
            ("filter 1 `a`: routes[0].pool", Some((14, 61))),
            ("the Wasm filter `a`: failure_policy", Some((13, 9))),
            ("filter 2 `plain.yaml`: pools.web.targets", Some((18, 16))),
            (
                "the ConfigMap `c`: data[\"plain.yaml\"]: line 2, column 3",
                Some((18, 9)),
            ),
            (
                "the ConfigMap `c`: data[\"plain.yaml\"]: line 2: pools",
                Some((18, 7)),
            ),
            ("the ConfigMap `c`: data.notes", Some((7, 10))),
            ("the ConfigMap `d`: data.notes", None),
            ("filter 3 `b`: routes", Some((27, 17))),
            ("the EnvoyExtensionPolicy `p`: spec.wasm[1]", Some((27, 7))),
            ("the Service `s`: spec", Some((1, 1))),
            ("the Service `s`", Some((1, 1))),
            ("the ConfigMap `c`", Some((4, 1))),
        ] {
            assert_eq!(found(&text, place), expected, "{place}\n{text}");
        }
    }

    #[test]
    fn what_is_no_yaml_and_what_is_too_deep_has_no_positions() {
        for text in ["a: [", &"[".repeat(10_000), "a: b: c"] {
            assert!(Positions::read(text).is_none(), "{}", text.len());
        }
        let bomb = "a: &a [x]\nb: &b [*a, *a]\nc: [*b, *b]\n";
        assert_eq!(found(bomb, "c[1]"), Some((3, 9)));
        assert_eq!(found(bomb, "c[1][0]"), Some((3, 9)));
    }
}

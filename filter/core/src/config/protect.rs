//! The section `protect`.

use super::defined::Defined;
use super::header::header_name;
use super::limits;
use super::reader::{Map, Node, Report};
use super::respond::respond;
use super::syntax;
use crate::protect::{Class, Classes, HEADERS, Parameter, Places, Protect};
use pointsman_inspect::Rules;
use std::rc::Rc;

const DETECT: &str = "a list of sql_injection, cross_site_scripting, path_traversal, scanner";
const IN: &str = "a list of path, query, cookies, headers, { headers: [user-agent, x-a] }";
const EXCEPT: &str = "a list of { query: q }, { cookie: c }, { header: h }";
const MODES: &[(&str, bool)] = &[("monitor", false), ("block", true)];
const NOT_INSPECTED: &[(&str, bool)] = &[("pass", false), ("block", true)];

/// Reads `protect`.
pub(super) fn protects<'n>(map: &Map<'n>, report: &mut Report) -> Defined<'n, Protect> {
    let mut defined = Defined::default();
    for (index, node) in map.iter().enumerate() {
        if !syntax::is_ascii_name(node.key()) {
            report.note(&node, "not a name", syntax::ASCII_NAME);
        }
        // A name given twice has been noted.
        let _ = defined.names.add(node.key(), index);
        defined.all.push(protect(&node, index, report).map(Rc::new));
    }
    defined
}

fn protect(node: &Node<'_>, index: usize, report: &mut Report) -> Option<Protect> {
    let map = node.map(
        report,
        &["detect", "mode", "in", "except", "not_inspected", "respond"],
    )?;
    let detect = map.need(report, "detect", DETECT);
    let detect = detect.map(|node| detect_classes(&node, report));
    let mode = map.get("mode");
    let blocks = mode.and_then(|node| node.choice(report, MODES));
    let places = match map.get("in") {
        Some(node) => places(&node, report),
        None => Places {
            path: true,
            query: true,
            cookies: true,
            headers: usual_headers(),
        },
    };
    let except = map.get("except");
    let except = except.map(|list| {
        let nodes = list.list(report, EXCEPT, limits::MAX_EXCEPTIONS);
        nodes.filter_map(|node| parameter(&node, report)).collect()
    });
    let not_inspected = map.get("not_inspected");
    let needs_all = not_inspected.and_then(|node| node.choice(report, NOT_INSPECTED));
    let respond = map.get("respond").and_then(|node| respond(&node, report));
    Some(Protect {
        index,
        name: node.key().into(),
        rules: Rules {
            detect: detect?,
            places,
            except: except.unwrap_or_default(),
            stops: blocks.unwrap_or_default(),
        },
        needs_all: needs_all.unwrap_or_default(),
        respond,
    })
}

fn detect_classes(list: &Node<'_>, report: &mut Report) -> Classes {
    let nodes = list.filled_list(report, DETECT, Class::ALL.len());
    nodes.fold(Classes::default(), |classes, node| {
        match node.choice(report, &Class::ALL) {
            Some(class) => classes.with(class),
            None => classes,
        }
    })
}

fn places(list: &Node<'_>, report: &mut Report) -> Places {
    const WORDS: &[(&str, u8)] = &[("path", 0), ("query", 1), ("cookies", 2), ("headers", 3)];
    let mut places = Places::default();
    for node in list.filled_list(report, IN, limits::MAX_PLACES) {
        if node.is_map() {
            let map = node.map(report, &["headers"]);
            if let Some(names) = map.and_then(|map| map.need(report, "headers", IN)) {
                let names = names.filled_list(report, "a list of headers", limits::MAX_PLACES);
                names.for_each(|name| add(header_name(&name, report), &mut places));
            }
            continue;
        }
        match node.choice_or(report, WORDS, IN) {
            Some(0) => places.path = true,
            Some(1) => places.query = true,
            Some(2) => places.cookies = true,
            Some(_) => usual_headers()
                .into_iter()
                .for_each(|name| add(name, &mut places)),
            None => {}
        }
    }
    places
}

/// Adds a header that is not there yet.
fn add(name: Box<[u8]>, places: &mut Places) {
    if !places.headers.contains(&name) {
        places.headers.push(name);
    }
}

fn usual_headers() -> Vec<Box<[u8]>> {
    HEADERS.map(syntax::bytes).into()
}

fn parameter(node: &Node<'_>, report: &mut Report) -> Option<Parameter> {
    const NAMED: &[&str] = &["query", "cookie", "header"];
    let map = node.map(report, NAMED)?;
    let part = map.exactly_one(report, NAMED)?;
    if part.key() == "header" {
        return Some(Parameter::Header(header_name(&part, report)));
    }
    let name = syntax::bytes(part.text(report, "a name")?);
    Some(match part.key() {
        "query" => Parameter::Query(name),
        _ => Parameter::Cookie(name),
    })
}

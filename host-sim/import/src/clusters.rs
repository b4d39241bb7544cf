//! How the proxy calls the cluster of a backend.

use std::fmt;
use std::str::FromStr;

/// A backend, and where it is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend<'b> {
    /// The namespace of the service.
    pub namespace: &'b str,
    /// The name of the service.
    pub name: &'b str,
    /// The number or the name of its port; empty where none is given.
    pub port: &'b str,
    /// The kind of the route in lower case: `httproute`, `grpcroute`, `ingress`.
    pub kind: &'b str,
    /// The namespace of the route.
    pub route_namespace: &'b str,
    /// The name of the route.
    pub route: &'b str,
    /// Which rule of the route, from 0.
    pub rule: usize,
    /// Which backend of the rule, from 0.
    pub backend: usize,
}

/// Text with `{namespace}`, `{name}` and `{port}` of the service, and `{kind}`,
/// `{route_namespace}`, `{route}`, `{rule}` and `{backend}` of where it is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterTemplate(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Word(Word),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Namespace,
    Name,
    Port,
    Kind,
    RouteNamespace,
    Route,
    Rule,
    Backend,
}

/// The template where none is given.
pub const DEFAULT: &str = "{namespace}/{name}/{port}";

const WORDS: &[(&str, Word)] = &[
    ("namespace", Word::Namespace),
    ("name", Word::Name),
    ("port", Word::Port),
    ("kind", Word::Kind),
    ("route_namespace", Word::RouteNamespace),
    ("route", Word::Route),
    ("rule", Word::Rule),
    ("backend", Word::Backend),
];

impl Default for ClusterTemplate {
    fn default() -> ClusterTemplate {
        let [slash, other] = [(); 2].map(|()| Piece::Text("/".into()));
        ClusterTemplate(vec![
            Piece::Word(Word::Namespace),
            slash,
            Piece::Word(Word::Name),
            other,
            Piece::Word(Word::Port),
        ])
    }
}

impl FromStr for ClusterTemplate {
    type Err = String;

    fn from_str(text: &str) -> Result<ClusterTemplate, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, from)) = rest.split_once('{') {
            if !before.is_empty() {
                pieces.push(Piece::Text(before.into()));
            }
            let (word, after) = from.split_once('}').ok_or("a `{` without its `}`")?;
            let known = WORDS.iter().find(|(known, _)| *known == word);
            let (_, known) = known.ok_or_else(|| {
                let words: Vec<_> = WORDS.iter().map(|(word, _)| *word).collect();
                format!("`{{{word}}}` is none of {}", words.join(", "))
            })?;
            pieces.push(Piece::Word(*known));
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.into()));
        }
        match pieces.is_empty() {
            true => Err("an empty template".into()),
            false => Ok(ClusterTemplate(pieces)),
        }
    }
}

impl ClusterTemplate {
    /// The name of a backend's cluster.
    pub fn cluster(&self, of: &Backend<'_>) -> String {
        let pieces = self.0.iter().map(|piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Word(Word::Namespace) => of.namespace.into(),
            Piece::Word(Word::Name) => of.name.into(),
            Piece::Word(Word::Port) => of.port.into(),
            Piece::Word(Word::Kind) => of.kind.into(),
            Piece::Word(Word::RouteNamespace) => of.route_namespace.into(),
            Piece::Word(Word::Route) => of.route.into(),
            Piece::Word(Word::Rule) => of.rule.to_string(),
            Piece::Word(Word::Backend) => of.backend.to_string(),
        });
        pieces.collect()
    }
}

impl fmt::Display for ClusterTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => f.write_str(text)?,
                Piece::Word(word) => {
                    let known = WORDS.iter().find(|(_, known)| known == word);
                    write!(f, "{{{}}}", known.map_or("", |(text, _)| text))?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_envoy_gateway_and_istio() {
        let backend = Backend {
            namespace: "shop",
            name: "web",
            port: "8080",
            kind: "httproute",
            route_namespace: "edge",
            route: "all",
            rule: 2,
            backend: 1,
        };
        for (template, cluster) in [
            (DEFAULT, "shop/web/8080"),
            (
                "{kind}/{route_namespace}/{route}/rule/{rule}",
                "httproute/edge/all/rule/2",
            ),
            (
                "outbound|{port}||{name}.{namespace}.svc.cluster.local",
                "outbound|8080||web.shop.svc.cluster.local",
            ),
            ("b{backend}", "b1"),
        ] {
            let parsed: ClusterTemplate = template.parse().unwrap();
            assert_eq!(parsed.cluster(&backend), cluster);
            assert_eq!(parsed.to_string(), template);
        }
        assert_eq!(ClusterTemplate::default(), DEFAULT.parse().unwrap());
        for wrong in ["", "{names}", "{name"] {
            assert!(wrong.parse::<ClusterTemplate>().is_err(), "{wrong}");
        }
    }
}

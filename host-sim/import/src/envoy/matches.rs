//! Conditions: Envoy's `RouteMatch` as blocks of a `match`.

use super::domains::HostConditions;
use super::message::Message;
use super::regex;
use super::strings::{self, Text};
use super::template::{self, Template};
use serde_json::{Map, Value, json};

/// What a rewrite has to know of how the path matched.
#[derive(Debug)]
pub(super) enum PathForm {
    /// The whole path: an exact one, or a pattern.
    Whole,
    /// The string that the path starts with, and whether whole segments match.
    Prefix {
        text: String,
        segments: bool,
        ignore_case: bool,
    },
    /// A template.
    Template(Template),
}

/// The conditions of a route.
#[derive(Debug)]
pub(super) struct Conditions {
    /// All that holds in every block.
    all: Map<String, Value>,
    /// Alternatives, of each of which one has to hold: lists of conditions on headers.
    any: Vec<Vec<Vec<Value>>>,
    /// How the path matches.
    pub(super) path: PathForm,
    /// False: there is a condition that could not be carried over, so requests match that should
    /// not.
    pub(super) is_complete: bool,
    /// Whether every request matches.
    pub(super) is_everything: bool,
}

/// What is said of conditions that the filter does not have.
const NO_CONDITION: &str = "the filter has no such condition";

/// Reads a route's conditions. What cannot be carried over is reported.
pub(super) fn conditions(mut from: Message) -> Conditions {
    let mut all = Map::new();
    let mut is_complete = true;
    let ignore_case = from.boolean("case_sensitive") == Some(false);
    let path = match path(&mut from, &mut all, ignore_case) {
        Some(path) => path,
        None => {
            is_complete = false;
            PathForm::Whole
        }
    };
    let is_root = matches!(&path, PathForm::Prefix { text, segments: false, .. } if text == "/");

    let mut headers = Vec::new();
    let mut any = Vec::new();
    for matcher in from.messages("headers") {
        match header(matcher) {
            Some(mut ways) if ways.len() == 1 => headers.append(&mut ways[0]),
            Some(ways) => any.push(ways),
            None => is_complete = false,
        }
    }
    if from.message("grpc").is_some() {
        headers.push(json!({ "name": "content-type", "regex": "application/grpc(\\+.*)?" }));
    }
    let methods = take_methods(&mut headers);
    if let Some(methods) = methods {
        all.insert("methods".into(), methods);
    }
    if !headers.is_empty() {
        all.insert("headers".into(), headers.into());
    }

    let mut query = Vec::new();
    for mut matcher in from.messages("query_parameters") {
        let name = matcher.text("name").unwrap_or_default();
        match matcher.message("string_match") {
            Some(text) => match strings::string_matcher(text) {
                Some(text) => query.push(text.condition(&name, false)),
                None => is_complete = false,
            },
            None => {
                let present = matcher.boolean("present_match").unwrap_or(true);
                query.push(json!({ "name": name, "present": present }));
            }
        }
    }
    if !query.is_empty() {
        all.insert("query".into(), query.into());
    }

    let mut cookies = Vec::new();
    for mut matcher in from.messages("cookies") {
        let name = matcher.text("name").unwrap_or_default();
        let invert = matcher.boolean("invert_match").unwrap_or_default();
        match matcher
            .message("string_match")
            .and_then(strings::string_matcher)
        {
            Some(text) => cookies.push(text.condition(&name, invert)),
            None => is_complete = false,
        }
    }
    if !cookies.is_empty() {
        all.insert("cookies".into(), cookies.into());
    }

    for field in ["tls_context", "dynamic_metadata", "filter_state"] {
        is_complete &= !from.refuse(field, NO_CONDITION);
    }
    is_complete &= fraction(&mut from);
    let is_everything = is_complete && is_root && any.is_empty() && all.len() == 1;
    Conditions {
        all,
        any,
        path,
        is_complete,
        is_everything,
    }
}

fn path(from: &mut Message, all: &mut Map<String, Value>, ignore_case: bool) -> Option<PathForm> {
    let kinds = [
        "prefix",
        "path",
        "safe_regex",
        "path_separated_prefix",
        "path_match_policy",
        "connect_matcher",
    ];
    let kind = from.first_of(&kinds);
    let mut set = |kind: &str, value: &str| {
        all.insert("path".into(), json!({ kind: value }));
        if ignore_case && kind != "regex" {
            all.insert("ignore_case".into(), true.into());
        }
    };
    match kind? {
        "prefix" => {
            let text = from.text("prefix")?;
            match text.as_str() {
                // Every path starts with a slash.
                "" | "/" => set("prefix", "/"),
                // A string, not segments: /a matches /ab.
                _ => {
                    let case = if ignore_case { "(?i)" } else { "" };
                    set("regex", &format!("{case}{}.*", regex::literal(&text)));
                }
            }
            let text = if text.is_empty() { "/".into() } else { text };
            Some(PathForm::Prefix {
                text,
                segments: false,
                ignore_case,
            })
        }
        "path_separated_prefix" => {
            let text = from.text("path_separated_prefix")?;
            set("prefix", &text);
            Some(PathForm::Prefix {
                text,
                segments: true,
                ignore_case,
            })
        }
        "path" => {
            let text = from.text("path")?;
            set("exact", &text);
            Some(PathForm::Whole)
        }
        "safe_regex" => {
            let pattern = strings::regex_matcher(from.message("safe_regex")?)?;
            set("regex", &pattern);
            Some(PathForm::Whole)
        }
        "path_match_policy" => {
            let mut policy = from.message("path_match_policy")?;
            policy.ignore("name");
            let mut policy = policy.any("typed_config")?;
            if !policy.kind().ends_with(".UriTemplateMatchConfig") {
                policy
                    .report()
                    .add(policy.place(), "an extension of Envoy's own");
                return None;
            }
            let text = policy.text("path_template")?;
            match template::read(&text) {
                Ok(template) => {
                    match &template {
                        Template::Same(text) => {
                            all.insert("path".into(), json!({ "template": text }))
                        }
                        Template::Pattern(pattern, _) => {
                            all.insert("path".into(), json!({ "regex": pattern }))
                        }
                    };
                    Some(PathForm::Template(template))
                }
                Err(why) => {
                    policy.not_carried("path_template", why);
                    None
                }
            }
        }
        other => {
            // Requests that are no CONNECT go to the routes behind it.
            all.insert("methods".into(), json!(["CONNECT"]));
            from.refuse(other, "the filter does not route CONNECT");
            None
        }
    }
}

/// The ways in which a condition on a header can hold: of each way all have to.
fn header(mut from: Message) -> Option<Vec<Vec<Value>>> {
    let name = from.text("name").unwrap_or_default().to_ascii_lowercase();
    // Envoy knows the host by both names.
    let name = if name == "host" {
        ":authority".to_owned()
    } else {
        name
    };
    let invert = from.boolean("invert_match").unwrap_or_default();
    let missing_is_empty = from
        .boolean("treat_missing_header_as_empty")
        .unwrap_or_default();
    let present = |present: bool| json!({ "name": name, "present": present });
    const KINDS: [&str; 8] = [
        "exact_match",
        "prefix_match",
        "suffix_match",
        "contains_match",
        "safe_regex_match",
        "range_match",
        "string_match",
        "present_match",
    ];
    let text = match from.first_of(&KINDS) {
        None | Some("present_match") => {
            let wanted = from.boolean("present_match").unwrap_or(true);
            // A header that counts as empty where it is missing is always there.
            if missing_is_empty {
                from.not_carried(
                    "treat_missing_header_as_empty",
                    "beside a condition on whether the header is there",
                );
                return None;
            }
            return Some(vec![vec![present(wanted != invert)]]);
        }
        Some("range_match") => {
            let mut range = from.message("range_match")?;
            let (start, end) = (range.whole("start"), range.whole("end"));
            let (start, end) = (start.unwrap_or_default(), end.unwrap_or_default());
            match regex::numbers(start, end) {
                Some(pattern) => Text::regex(pattern),
                None => {
                    from.not_carried("range_match", "a range of more than 1000 numbers");
                    return None;
                }
            }
        }
        Some("string_match") => strings::string_matcher(from.message("string_match")?)?,
        Some("safe_regex_match") => {
            Text::regex(strings::regex_matcher(from.message("safe_regex_match")?)?)
        }
        Some(older) => {
            let key = ["exact", "prefix", "suffix", "contains"]
                .into_iter()
                .find(|key| older.starts_with(key))?;
            match from.text(older)? {
                // Envoy takes an empty `exact_match` for any value.
                value if value.is_empty() => Text::regex(".*".to_owned()),
                value => strings::text(key, value, false),
            }
        }
    };
    let condition = text.condition(&name, invert);
    let empty_matches = text.matches_empty();
    Some(match (invert, missing_is_empty) {
        (false, true) if empty_matches => vec![vec![condition], vec![present(false)]],
        (false, _) => vec![vec![condition]],
        // In the filter "not gold" is true of a header that is missing.
        (true, true) if !empty_matches => vec![vec![condition]],
        (true, _) => vec![vec![condition, present(true)]],
    })
}

/// Conditions on `:method` that `methods` can say.
fn take_methods(headers: &mut Vec<Value>) -> Option<Value> {
    let methods = headers.iter().enumerate().find_map(|(at, header)| {
        let is_method = header["name"] == ":method" && header["invert"].is_null();
        let text = ["exact", "regex"].into_iter().find_map(|key| {
            let value = header.get(key)?.as_str()?;
            Some(strings::text(key, value.to_owned(), false))
        });
        let text = text.filter(|_| is_method)?;
        let words: Vec<Value> = text.words()?.into_iter().map(Value::from).collect();
        Some((at, words))
    });
    let (at, mut words) = methods?;
    headers.remove(at);
    words.dedup();
    Some(words.into())
}

/// Reads `runtime_fraction`. False: not every request matches.
fn fraction(from: &mut Message) -> bool {
    let Some(mut fraction) = from.message("runtime_fraction") else {
        return true;
    };
    fraction.refuse("runtime_key", "the filter has no runtime");
    let percent = match fraction.message("default_value") {
        Some(mut value) => percent(&mut value),
        None => 0.0,
    };
    if percent < 100.0 {
        let why = "a share of the requests is a `split` in the filter, not a condition";
        fraction.not_carried("default_value", why);
    }
    percent >= 100.0
}

/// A `FractionalPercent` in percent.
pub(super) fn percent(value: &mut Message) -> f64 {
    let numerator = value.whole("numerator").unwrap_or_default();
    let hundredth = match value.choice("denominator").as_deref() {
        Some("TEN_THOUSAND") => 100,
        Some("MILLION") => 10_000,
        _ => 1,
    };
    #[expect(clippy::cast_precision_loss, reason = "both are below 2^32")]
    let percent = numerator as f64 / f64::from(hundredth);
    percent
}

impl Conditions {
    /// Those of every request.
    pub(super) fn everything() -> Conditions {
        Conditions {
            all: Map::new(),
            any: Vec::new(),
            path: PathForm::Whole,
            is_complete: true,
            is_everything: true,
        }
    }

    /// Those of requests that come by this scheme.
    pub(super) fn scheme(scheme: &str) -> Conditions {
        let mut conditions = Conditions::everything();
        conditions.all.insert("scheme".into(), scheme.into());
        conditions.is_everything = false;
        conditions
    }

    /// Adds a condition on a header.
    pub(super) fn with_header(mut self, header: Value) -> Conditions {
        push(&mut self.all, header);
        self.is_everything = false;
        self
    }

    /// The value of `match` for requests to these hosts. None: every request.
    pub(super) fn r#match(&self, hosts: &HostConditions) -> Option<Value> {
        let mut blocks = vec![self.all.clone()];
        for ways in &self.any {
            let each = |block: &Map<String, Value>| {
                let with = |way: &Vec<Value>| {
                    let mut block = block.clone();
                    way.iter()
                        .for_each(|header| push(&mut block, header.clone()));
                    block
                };
                ways.iter().map(with).collect::<Vec<_>>()
            };
            blocks = blocks.iter().flat_map(each).collect();
        }
        if !hosts.any {
            let each = |block: &Map<String, Value>| {
                let mut ways = Vec::new();
                if !hosts.hosts.is_empty() {
                    let mut block = block.clone();
                    block.insert("hosts".into(), hosts.hosts.clone().into());
                    ways.push(block);
                }
                for header in &hosts.headers {
                    let mut block = block.clone();
                    push(&mut block, header.clone());
                    ways.push(block);
                }
                ways
            };
            blocks = blocks.iter().flat_map(each).collect();
        }
        let mut blocks: Vec<Value> = blocks.into_iter().map(Value::Object).collect();
        match blocks.len() {
            1 if blocks[0] == json!({}) => None,
            1 => blocks.pop(),
            _ => Some(blocks.into()),
        }
    }
}

fn push(block: &mut Map<String, Value>, header: Value) {
    let headers = block.entry("headers").or_insert_with(|| json!([]));
    if let Value::Array(headers) = headers {
        headers.push(header);
    }
}

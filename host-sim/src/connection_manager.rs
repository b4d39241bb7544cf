//! What Envoy's HTTP connection manager does to a request before any filter sees it, as far as its
//! configuration says and routes can tell: the path, the host, who the client is, and which headers
//! stay. `tests/explain_laws.rs` asks a real Envoy the same.

mod clients;
mod referer;

pub use clients::ClientSettings;

use crate::configuration::manifest::{self, Holder};
use crate::configuration::{ParsedText, field, text_of_value};
use crate::exchange::{ExchangeRequest, Pairs, Response};
use crate::header_map::HeaderMap;
use pointsman_core::config::value::Value;
use std::path::Path;

/// What the proxy makes of a request before the filter gets it, as far as the file tells. `path`:
/// where the text was read. None: it is no proxy's file.
pub fn of_file(text: &str, path: &Path) -> Option<ConnectionManager> {
    let source = ParsedText::new(text);
    let of_mesh = source.resource_documents().and_then(of_mesh);
    let of_envoy = || {
        let trees = source.envoy_trees(path);
        let mut found = trees.iter().filter_map(ConnectionManager::of);
        let default = (!trees.is_empty()).then(ConnectionManager::default);
        found.next().or(default)
    };
    of_mesh.or_else(of_envoy)
}

/// What Istio or Envoy Gateway tells its connection managers, where the file has a configuration for
/// one of them. Istio: MeshConfig's default, which is in no such file.
fn of_mesh(documents: &[Value]) -> Option<ConnectionManager> {
    let resources = manifest::resources(documents);
    let kind = resources.iter().flat_map(|it| it.held()).next()?.kind;
    if kind != Holder::EnvoyExtensionPolicy {
        return Some(ConnectionManager {
            normalize_path: true,
            ..ConnectionManager::default()
        });
    }
    let mut policies = resources.iter();
    let policy = policies.find(|it| it.kind() == Some("ClientTrafficPolicy"));
    let spec = policy.and_then(|policy| field(policy.0, "spec"));
    let at = |keys: &[&str]| keys.iter().try_fold(spec?, |node, key| field(node, key));
    let word = |keys: &[&str]| text_of_value(at(keys));
    let removed = match at(&["headers", "earlyRequestHeaders", "remove"]) {
        Some(Value::List(names)) => names
            .iter()
            .filter_map(|name| text_of_value(Some(name)))
            .map(|name| name.to_ascii_lowercase().into_bytes())
            .collect(),
        _ => Vec::new(),
    };
    let keeps_slashes = at(&["path", "disableMergeSlashes"]) == Some(&Value::Bool(true));
    // Where it says nothing: the defaults of Envoy Gateway.
    Some(ConnectionManager {
        normalize_path: true,
        merge_slashes: !keeps_slashes,
        escaped_slashes: match word(&["path", "escapedSlashesAction"]) {
            Some("KeepUnchanged") => EscapedSlashes::Keep,
            Some("RejectRequest") => EscapedSlashes::Reject,
            Some("UnescapeAndForward") => EscapedSlashes::Forward,
            _ => EscapedSlashes::Redirect,
        },
        underscores: match word(&["headers", "withUnderscoresAction"]) {
            Some("Allow") => Underscores::Allow,
            Some("DropHeader") => Underscores::Drop,
            _ => Underscores::Reject,
        },
        removed,
        ..ConnectionManager::default()
    })
}

/// The name of the message in an Envoy configuration.
pub(crate) const TYPE: &str = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

/// The settings of a connection manager. Default: none changes anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionManager {
    /// `normalize_path`
    pub normalize_path: bool,
    /// `merge_slashes`
    pub merge_slashes: bool,
    /// `path_with_escaped_slashes_action`
    pub escaped_slashes: EscapedSlashes,
    /// `strip_trailing_host_dot`
    pub strip_trailing_host_dot: bool,
    /// `strip_any_host_port`
    pub strip_any_host_port: bool,
    /// `common_http_protocol_options.headers_with_underscores_action`
    pub underscores: Underscores,
    /// The headers that `early_header_mutation_extensions` removes. Lower case.
    pub removed: Vec<Vec<u8>>,
    /// Who the client is. None: what a request says of its client stays, and only that.
    pub clients: Option<ClientSettings>,
}

/// What becomes of a path with `%2F` or `%5C`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EscapedSlashes {
    /// It stays.
    #[default]
    Keep,
    /// The request is answered 400.
    Reject,
    /// The client is redirected to the path without them.
    Redirect,
    /// The request goes on with the path without them.
    Forward,
}

/// What becomes of headers whose names have an underscore.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Underscores {
    /// They stay.
    #[default]
    Allow,
    /// The request is answered 400.
    Reject,
    /// They are dropped.
    Drop,
}

impl ConnectionManager {
    /// The connection manager of an Envoy configuration that has a Wasm filter. None: there is
    /// none.
    pub fn of(tree: &Value) -> Option<ConnectionManager> {
        find(tree).map(ConnectionManager::read)
    }

    /// Reads the settings of a connection manager.
    pub fn read(manager: &Value) -> ConnectionManager {
        let yes = |key: &str| matches!(field(manager, key), Some(Value::Bool(true)));
        let text = |value: Option<&Value>| match value {
            Some(Value::Text(text)) => text.clone(),
            _ => String::new(),
        };
        let options = field(manager, "common_http_protocol_options");
        let underscores = options.and_then(|it| field(it, "headers_with_underscores_action"));
        ConnectionManager {
            normalize_path: yes("normalize_path"),
            merge_slashes: yes("merge_slashes"),
            escaped_slashes: match &*text(field(manager, "path_with_escaped_slashes_action")) {
                "REJECT_REQUEST" => EscapedSlashes::Reject,
                "UNESCAPE_AND_REDIRECT" => EscapedSlashes::Redirect,
                "UNESCAPE_AND_FORWARD" => EscapedSlashes::Forward,
                _ => EscapedSlashes::Keep,
            },
            strip_trailing_host_dot: yes("strip_trailing_host_dot"),
            strip_any_host_port: yes("strip_any_host_port"),
            underscores: match &*text(underscores) {
                "REJECT_REQUEST" => Underscores::Reject,
                "DROP_HEADER" => Underscores::Drop,
                _ => Underscores::Allow,
            },
            removed: removed(manager),
            clients: Some(ClientSettings::read(manager)),
        }
    }

    /// The request as the filter gets it. An error is what the proxy itself answers before that.
    pub fn admit(&self, request: &ExchangeRequest) -> Result<ExchangeRequest, Response> {
        let mut admitted = request.clone();
        let has_underscore = |(name, _): &(Vec<u8>, Vec<u8>)| name.contains(&b'_');
        match self.underscores {
            Underscores::Reject if request.headers.iter().any(has_underscore) => {
                return Err(Response::bare(400));
            }
            Underscores::Drop => admitted.headers.retain(|pair| !has_underscore(pair)),
            Underscores::Reject | Underscores::Allow => {}
        }
        admitted
            .headers
            .retain(|(name, _)| !self.removed.contains(name));
        if let Some(clients) = &self.clients {
            clients.admit(&mut admitted);
        }
        if self.strip_trailing_host_dot {
            let host = without_port(&admitted.authority).len();
            if host > 0 && admitted.authority.get(host - 1) == Some(&b'.') {
                admitted.authority.remove(host - 1);
            }
        }
        if self.strip_any_host_port {
            let host = without_port(&admitted.authority).len();
            let port = admitted.authority.get(host + 1..).unwrap_or_default();
            // What is no number is no port.
            if str::from_utf8(port).is_ok_and(|port| port.parse::<u32>().is_ok()) {
                admitted.authority.truncate(host);
            }
        }
        let target = std::mem::take(&mut admitted.target);
        let query = target.iter().position(|byte| *byte == b'?');
        let (path, query) = target.split_at(query.unwrap_or(target.len()));
        let mut path = path.to_vec();
        let mut redirects = false;
        if self.escaped_slashes != EscapedSlashes::Keep {
            let unescaped = unescaped_slashes(&path);
            if unescaped != path {
                match self.escaped_slashes {
                    EscapedSlashes::Reject => return Err(Response::bare(400)),
                    EscapedSlashes::Redirect => redirects = true,
                    EscapedSlashes::Forward | EscapedSlashes::Keep => {}
                }
                path = unescaped;
            }
        }
        if self.normalize_path && path.starts_with(b"/") {
            path = canonical(&without_dot_parameters(&path));
        }
        if self.merge_slashes {
            match path.len() > 1 && path.iter().all(|byte| *byte == b'/') {
                // Of slashes alone Envoy leaves two: one before and one behind no segment.
                true => path.truncate(2),
                false => path.dedup_by(|later, earlier| *later == b'/' && *earlier == b'/'),
            }
        }
        admitted.target = [&path, query].concat();
        match redirects {
            true => Err(Response {
                headers: vec![(b"location".to_vec(), admitted.target)],
                ..Response::bare(307)
            }),
            false => Ok(admitted),
        }
    }
}

/// `host:port` without the port; `[::1]:80` is `[::1]`.
pub(crate) fn without_port(authority: &[u8]) -> &[u8] {
    let mut from_the_right = authority.iter().enumerate().rev();
    match from_the_right.find(|(_, byte)| b":]".contains(byte)) {
        Some((at, b':')) => &authority[..at],
        _ => authority,
    }
}

/// A request's header map as it reaches the filter: pseudo-headers first, values joined where Envoy
/// joins them, and without what Envoy removes: the headers of the connection, and a `referer` that
/// is no reference to a page.
pub fn header_map(request: &ExchangeRequest) -> Pairs {
    let pseudo = [
        (&b":authority"[..], &request.authority),
        (b":path", &request.target),
        (b":method", &request.method),
        (b":scheme", &request.scheme),
    ];
    let pseudo = pseudo.map(|(name, value)| (name.to_vec(), value.clone()));
    let is_upgrade = is_upgrade(&request.headers);
    let goes_on = |(name, _): &&(Vec<u8>, Vec<u8>)| match &**name {
        b"connection" | b"upgrade" => is_upgrade,
        b"te" => false,
        b"keep-alive" | b"proxy-connection" | b"transfer-encoding" => false,
        _ => true,
    };
    let headers = request.headers.iter().filter(goes_on).cloned();
    // Of what a client takes only this goes on, once.
    let te = takes_trailers(&request.headers).then(|| (b"te".to_vec(), b"trailers".to_vec()));
    let pairs: Pairs = pseudo.into_iter().chain(headers).chain(te).collect();
    let mut map = HeaderMap::new(&pairs);
    if map.get(REFERER).is_some_and(|it| !referer::is_left(it)) {
        map.remove(REFERER);
    }
    map.pairs().clone()
}

const REFERER: &[u8] = b"referer";

/// Whether a client says that it takes trailers.
fn takes_trailers(headers: &Pairs) -> bool {
    let mut values = headers.iter().filter(|(name, _)| name == b"te");
    values.any(|(_, value)| {
        let mut items = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        items.any(|item| item == b"trailers")
    })
}

/// Whether a request asks for another protocol on its connection.
fn is_upgrade(headers: &Pairs) -> bool {
    let mut of_connection = headers.iter().filter(|(name, _)| name == b"connection");
    let names_upgrade = of_connection.any(|(_, value)| {
        let mut options = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        options.any(|option| option.eq_ignore_ascii_case(b"upgrade"))
    });
    names_upgrade && headers.iter().any(|(name, _)| name == b"upgrade")
}

/// The first connection manager that has a Wasm filter.
pub(crate) fn find(tree: &Value) -> Option<&Value> {
    const WASM: &str = crate::configuration::type_url::WASM;
    let is = |tree: &Value, kind: &str| matches!(field(tree, "@type"), Some(Value::Text(text)) if text == kind);
    fn any<'t>(tree: &'t Value, good: &dyn Fn(&Value) -> bool) -> Option<&'t Value> {
        if good(tree) {
            return Some(tree);
        }
        match tree {
            Value::Map(map) => map.iter().find_map(|(_, value)| any(value, good)),
            Value::List(list) => list.iter().find_map(|value| any(value, good)),
            _ => None,
        }
    }
    let has_filter = |tree: &Value| {
        let filters = field(tree, "http_filters");
        filters.is_some_and(|filters| any(filters, &|tree| is(tree, WASM)).is_some())
    };
    any(tree, &|tree| is(tree, TYPE) && has_filter(tree))
}

/// The names of the headers that go before any filter.
fn removed(manager: &Value) -> Vec<Vec<u8>> {
    let Some(Value::List(extensions)) = field(manager, "early_header_mutation_extensions") else {
        return Vec::new();
    };
    let mut names = Vec::new();
    for extension in extensions {
        let config = field(extension, "typed_config");
        let Some(Value::List(mutations)) = config.and_then(|it| field(it, "mutations")) else {
            continue;
        };
        for mutation in mutations {
            if let Some(Value::Text(name)) = field(mutation, "remove") {
                names.push(name.to_ascii_lowercase().into_bytes());
            }
        }
    }
    names
}

/// `%2F` as `/`, `%5C` as `\`.
fn unescaped_slashes(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((first, after)) = rest.split_first() {
        let escaped = rest.get(..3).map(<[u8]>::to_ascii_uppercase);
        match escaped.as_deref() {
            Some(b"%2F") => {
                out.push(b'/');
                rest = &rest[3..];
            }
            Some(b"%5C") => {
                out.push(b'\\');
                rest = &rest[3..];
            }
            _ => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

/// A path without the parameters of the segments `.` and `..`: `/..;x=1/` is `/../` to backends that
/// know parameters.
fn without_dot_parameters(path: &[u8]) -> Vec<u8> {
    let segments = path.split(|byte| *byte == b'/').map(|segment| {
        let name = segment.split(|byte| *byte == b';').next();
        match name {
            Some(name @ (b"." | b"..")) => name,
            _ => segment,
        }
    });
    segments.collect::<Vec<_>>().join(&b'/')
}

/// A path as Chromium's URL library writes it, which Envoy uses: `.` and `..`, also escaped, are
/// resolved, `\` is a slash, letters, digits, `-`, `_` and `~` are not escaped, and what may not
/// stand in a path is.
fn canonical(path: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::with_capacity(path.len());
    let mut at = 0;
    // Where the last `%` stands that begins no escape.
    let mut lone = None;
    while let Some(byte) = path.get(at) {
        let dot = dot(path, at);
        if dot > 0 {
            let after = at + dot;
            let second = self::dot(path, after);
            let is_end = |at: usize| matches!(path.get(at), None | Some(b'/' | b'\\'));
            if out.last() != Some(&b'/')
                || !is_end(after) && (second == 0 || !is_end(after + second))
            {
                out.push(b'.');
                at = after;
            } else if is_end(after) {
                at = after + 1;
            } else {
                out.pop();
                let slash = out.iter().rposition(|byte| *byte == b'/');
                out.truncate(slash.unwrap_or_default());
                out.push(b'/');
                lone = lone.filter(|at| *at < out.len());
                at = after + second + 1;
            }
            continue;
        }
        match byte {
            b'\\' => out.push(b'/'),
            b'%' => {
                let hex = |at: usize| Some((*path.get(at)? as char).to_digit(16)? as u8);
                match (hex(at + 1), hex(at + 2)) {
                    (Some(high), Some(low)) => {
                        let decoded = high << 4 | low;
                        match decoded.is_ascii_alphanumeric() || b"-_~".contains(&decoded) {
                            true => {
                                out.push(decoded);
                                escape_lone(&mut out, lone, path.get(at + 3));
                            }
                            false => out.extend_from_slice(&path[at..at + 3]),
                        }
                        at += 2;
                    }
                    _ => {
                        lone = Some(out.len());
                        out.push(b'%');
                    }
                }
            }
            0..=b' ' | b'"' | b'#' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}' | 0x7f.. => {
                out.extend_from_slice(format!("%{byte:02X}").as_bytes());
            }
            _ => out.push(*byte),
        }
        at += 1;
    }
    out
}

/// Escapes the lone `%` at this place if the letters that were decoded behind it, with the next one
/// of the path, would make an escape of it.
fn escape_lone(out: &mut Vec<u8>, lone: Option<usize>, next: Option<&u8>) {
    let Some(behind) = lone.and_then(|at| out.get(at + 1..)) else {
        return;
    };
    let digits = match (behind, next) {
        ([first, second], _) => [*first, *second],
        ([first], Some(second)) => [*first, *second],
        _ => return,
    };
    if digits.iter().all(u8::is_ascii_hexdigit) {
        let at = out.len() - behind.len();
        out.splice(at..at, *b"25");
    }
}

/// How many bytes a dot takes here: 1, or 3 as `%2e`. 0: there is none.
fn dot(path: &[u8], at: usize) -> usize {
    let rest = path.get(at..).unwrap_or_default();
    match rest {
        [b'.', ..] => 1,
        [b'%', b'2', b'e' | b'E', ..] => 3,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> ConnectionManager {
        ConnectionManager {
            normalize_path: true,
            merge_slashes: true,
            escaped_slashes: EscapedSlashes::Redirect,
            strip_trailing_host_dot: true,
            underscores: Underscores::Reject,
            removed: vec![b"x-gone".to_vec()],
            ..ConnectionManager::default()
        }
    }

    fn request(url: &str) -> ExchangeRequest {
        ExchangeRequest::new(b"GET", url.as_bytes()).unwrap()
    }

    /// A21. What Envoy 1.40.0 did with these.
    #[test]
    fn paths_are_what_the_proxy_makes_of_them() {
        for (path, expected) in [
            ("/a", "200 /a"),
            ("//internal", "200 /internal"),
            ("//", "200 //"),
            ("///", "200 //"),
            ("//a/..", "200 //"),
            ("/a//b?x=//", "200 /a/b?x=//"),
            ("/public/../internal", "200 /internal"),
            ("/../../x", "200 /x"),
            ("/./a/.", "200 /a/"),
            ("/a/..", "200 /"),
            ("/a/%2e%2E/b", "200 /b"),
            ("/..;/a", "200 /a"),
            ("/x/..;p=1/a", "200 /a"),
            ("/x/.;a", "200 /x/"),
            ("/x/%2e%2e;/a", "200 /x/..;/a"),
            ("/x/..a;/b;c", "200 /x/..a;/b;c"),
            ("/%4%31", "200 /%2541"),
            ("/%%30%30", "200 /%2500"),
            ("/a|b{c}^d`e", "200 /a%7Cb%7Bc%7D%5Ed%60e"),
            ("/a.b/..c/.d", "200 /a.b/..c/.d"),
            ("/%69nternal", "200 /internal"),
            ("/%7E%2D%5f%41", "200 /~-_A"),
            ("/%c3%a9", "200 /%c3%a9"),
            ("/a%zz%", "200 /a%zz%"),
            ("/a\\b", "200 /a/b"),
            ("/x%2f..%2finternal", "307 /internal"),
            ("/a%5Cb?q=%2f", "307 /a/b?q=%2f"),
        ] {
            let got = match settings().admit(&request(&format!("http://h{path}"))) {
                Ok(request) => format!("200 {}", String::from_utf8_lossy(&request.target)),
                Err(answer) => {
                    let location = String::from_utf8_lossy(&answer.headers[0].1).into_owned();
                    format!("{} {location}", answer.status)
                }
            };
            assert_eq!(got, expected, "{path}");
            // Without the settings it stays.
            let same = ConnectionManager::default().admit(&request(&format!("http://h{path}")));
            assert_eq!(same.unwrap().target, path.as_bytes());
        }
    }

    /// A23.
    #[test]
    fn headers_of_the_connection_do_not_reach_the_filter() {
        let names = |headers: &[(&str, &str)]| {
            let mut asked = request("http://h/");
            let pair = |(name, value): &(&str, &str)| {
                (name.as_bytes().to_vec(), value.as_bytes().to_vec())
            };
            asked.headers = headers.iter().map(pair).collect();
            let map = header_map(&asked).split_off(4).into_iter();
            map.map(|(name, _)| String::from_utf8(name).unwrap())
                .collect::<Vec<_>>()
        };
        let hop = [
            ("connection", "close"),
            ("keep-alive", "5"),
            ("te", "gzip"),
            ("x", "1"),
        ];
        assert_eq!(names(&hop), ["x"]);
        let upgrade = [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
        ];
        assert_eq!(names(&upgrade), ["connection", "upgrade"]);
        assert_eq!(names(&upgrade[1..]), [""; 0]);
        assert_eq!(
            names(&[("te", "gzip, trailers"), ("te", "trailers")]),
            ["te"]
        );
    }

    #[test]
    fn the_client_is_whom_the_proxy_takes_for_it() {
        let admitted = |settings: &str, headers: &[(&str, &str)]| {
            let tree = crate::configuration::parse(settings).unwrap();
            let mut asked = request("http://h/");
            asked.headers = headers
                .iter()
                .map(|(name, value)| ((*name).into(), (*value).into()))
                .collect();
            let manager = ConnectionManager::read(&tree);
            let admitted = manager.admit(&asked).unwrap();
            let map = HeaderMap::new(&admitted.headers);
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            let list = map.get(b"x-forwarded-for").map(text).unwrap_or_default();
            let address = admitted.client_ip.unwrap();
            format!("{address} {list} {}", text(&admitted.scheme))
        };
        let from = [
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-for", "10.0.0.2"),
        ];
        for (settings, expected) in [
            ("{}", "10.0.0.2 10.0.0.1,10.0.0.2 https"),
            (
                "{ xff_num_trusted_hops: 1 }",
                "10.0.0.1 10.0.0.1,10.0.0.2 https",
            ),
            (
                "{ xff_num_trusted_hops: 2 }",
                "127.0.0.1 10.0.0.1,10.0.0.2 https",
            ),
            (
                "{ use_remote_address: true }",
                "127.0.0.1 10.0.0.1,10.0.0.2,127.0.0.1 http",
            ),
            (
                "{ use_remote_address: true, xff_num_trusted_hops: 1 }",
                "10.0.0.2 10.0.0.1,10.0.0.2,127.0.0.1 https",
            ),
            (
                "{ use_remote_address: true, xff_num_trusted_hops: 3, skip_xff_append: true }",
                "127.0.0.1 10.0.0.1,10.0.0.2 https",
            ),
        ] {
            assert_eq!(admitted(settings, &from), expected, "{settings}");
        }
        assert_eq!(
            admitted("{ use_remote_address: true }", &[]),
            "127.0.0.1 127.0.0.1 http"
        );
        assert_eq!(
            admitted("{}", &[("x-forwarded-proto", "gopher")]),
            "127.0.0.1  http"
        );
    }

    #[test]
    fn hosts_and_headers_are_what_the_proxy_makes_of_them() {
        for (authority, expected) in [
            ("shop.example.", "shop.example"),
            ("shop.example.:80", "shop.example:80"),
            ("shop.example", "shop.example"),
        ] {
            let admitted = settings()
                .admit(&request(&format!("http://{authority}/")))
                .unwrap();
            assert_eq!(admitted.authority, expected.as_bytes());
        }
        let stripped = ConnectionManager {
            strip_any_host_port: true,
            ..ConnectionManager::default()
        };
        for (authority, expected) in [
            ("h:80", "h"),
            ("[::1]:8", "[::1]"),
            ("h:x", "h:x"),
            ("h:", "h:"),
        ] {
            let admitted = stripped
                .admit(&request(&format!("http://{authority}/")))
                .unwrap();
            assert_eq!(admitted.authority, expected.as_bytes());
        }
        let mut asked = request("http://h/");
        asked.headers = vec![
            (b"x-gone".to_vec(), b"1".to_vec()),
            (b"x".to_vec(), b"2".to_vec()),
        ];
        assert_eq!(settings().admit(&asked).unwrap().headers.len(), 1);
        asked.headers.push((b"a_b".to_vec(), b"3".to_vec()));
        assert_eq!(settings().admit(&asked).unwrap_err().status, 400);
        let drops = ConnectionManager {
            underscores: Underscores::Drop,
            ..ConnectionManager::default()
        };
        assert_eq!(drops.admit(&asked).unwrap().headers.len(), 2);
    }
}

//! A request that a block matches, to show people what a warning is about.

use super::case::{RequestSet, Requirement, ValueSource};
use super::{path, pattern};
use crate::exchange::{ExchangeRequest, Response, shown};
use crate::explain;
use pointsman_core::config::Config;
use pointsman_core::route::condition::Text;
use pointsman_core::route::{Block, Found, HostMatch};
use std::collections::BTreeMap;

/// A request that the block matches. None: none was found, which does not say that there is none.
pub fn of(config: &Config, block: &Block) -> Option<ExchangeRequest> {
    let case = RequestSet::of(block);
    let mut headers: BTreeMap<&[u8], Vec<Vec<u8>>> = BTreeMap::new();
    let (mut cookies, mut query) = (Vec::new(), Vec::new());
    for need in case.needs.iter().filter(|need| need.some) {
        let value = value(need, &case)?;
        match need.kind {
            ValueSource::Header => headers.entry(need.name).or_default().push(value),
            ValueSource::Cookie => cookies.push([need.name, b"=", &value].concat()),
            ValueSource::Query => {
                query.push([&encoded(need.name), &b"="[..], &encoded(&value)].concat())
            }
        }
    }
    if !cookies.is_empty() {
        headers
            .entry(b"cookie")
            .or_default()
            .push(cookies.join(&b"; "[..]));
    }
    // A pseudo-header that is asked for as a header is what it says.
    let mut pseudo = |name: &[u8]| headers.remove(name).and_then(|mut values| values.pop());
    let target = pseudo(b":path").map_or_else(
        || {
            let mut target = match case.path {
                Some(path) => path::sample(path)?,
                None => b"/".to_vec(),
            };
            if !query.is_empty() {
                target.push(b'?');
                target.extend(query.join(&b'&'));
            }
            Some(target)
        },
        Some,
    )?;
    let method = pseudo(b":method")
        .unwrap_or_else(|| case.methods.first().map_or(&b"GET"[..], |it| it).to_vec());
    let scheme = pseudo(b":scheme").unwrap_or_else(|| case.scheme.unwrap_or(b"http").to_vec());
    let authority = pseudo(b":authority").unwrap_or_else(|| match case.hosts.first() {
        Some(HostMatch::Exact(host)) => host.to_vec(),
        Some(HostMatch::Suffix(suffix)) => [b"www", &suffix[..]].concat(),
        Some(HostMatch::Any) | None => b"example.com".to_vec(),
    });
    let pairs = headers
        .into_iter()
        .flat_map(|(name, values)| values.into_iter().map(|value| (name.to_vec(), value)));
    let ask = ExchangeRequest {
        method,
        scheme,
        authority,
        target,
        headers: pairs.collect(),
        client_ip: case.client_ip.first().map(|network| network.address),
        roll: None,
        upstream: Response::bare(200),
    };
    let matches = explain::with_request(config, &ask, |request, client| {
        block.matches(request, client)
    });
    (matches && can_be_typed(&ask)).then_some(ask)
}

/// A value that the need asks for and no other need of the same name forbids.
fn value(need: &Requirement, case: &RequestSet) -> Option<Vec<u8>> {
    let plain = match need.text {
        None => b"1".to_vec(),
        Some(
            Text::Exact(text) | Text::Prefix(text) | Text::Suffix(text) | Text::Contains(text),
        ) => text.to_vec(),
        Some(Text::Regex(regex)) => pattern::sample(regex.pattern())?,
        Some(Text::Present(_)) => return None,
    };
    let candidates = [b"", &b"1"[..], b"x"].into_iter().flat_map(|more| {
        let behind = [&plain[..], more].concat();
        let before = [more, &plain[..]].concat();
        [behind, before]
    });
    let allowed = |value: &Vec<u8>| {
        need.text.is_none_or(|text| text.matches(value))
            && case.needs.iter().all(|other| {
                let forbids = !other.some && (other.kind, other.name) == (need.kind, need.name);
                !forbids || other.text.is_some_and(|text| !text.matches(value))
            })
    };
    candidates.into_iter().find(allowed)
}

fn encoded(text: &[u8]) -> Vec<u8> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let encode = |byte: &u8| match plain(*byte) {
        true => vec![*byte],
        false => format!("%{byte:02X}").into_bytes(),
    };
    text.iter().flat_map(encode).collect()
}

/// Whether the request can be given to `host-sim explain`.
fn can_be_typed(ask: &ExchangeRequest) -> bool {
    let url = ask.url();
    let headers = ask.headers.iter().flat_map(|(name, value)| [name, value]);
    let text = |bytes: &[u8]| {
        std::str::from_utf8(bytes).is_ok_and(|text| !text.chars().any(char::is_control))
    };
    text(&ask.method)
        && headers
            .into_iter()
            .all(|part| text(part) && part.trim_ascii().len() == part.len())
        && text(&url)
        && ExchangeRequest::new(&ask.method, &url).is_ok_and(|again| again.target == ask.target)
}

/// The command that explains the request, for a shell.
pub fn command(ask: &ExchangeRequest, file: &str) -> String {
    let mut words = vec!["host-sim".to_owned(), "explain".to_owned(), file.to_owned()];
    if ask.method != b"GET" {
        words.extend(["--method".to_owned(), shown(&ask.method)]);
    }
    words.extend(["--url".to_owned(), shown(&ask.url())]);
    for (name, value) in &ask.headers {
        words.push("-H".to_owned());
        words.push(format!("{}: {}", shown(name), shown(value)));
    }
    if let Some(address) = ask.client_ip {
        words.extend(["--client-ip".to_owned(), address.to_string()]);
    }
    let quoted = words
        .iter()
        .map(|word| shlex::try_quote(word).map_or_else(|_| word.clone(), Into::into));
    quoted.collect::<Vec<_>>().join(" ")
}

/// What takes the request.
pub fn taken_by(
    config: &Config,
    index: &pointsman_core::route::index::Index,
    ask: &ExchangeRequest,
) -> Option<Found> {
    explain::with_request(config, ask, |request, client| {
        index.find(&config.routes, request, client)
    })
}

//! Examples: requests that a block matches, to show people what a warning is about.

use super::candidates::{Candidates, TakenBy};
use super::request_set::{RequestSet, Requirement, ValueSource};
use crate::exchange::{ClientTls, ExchangeRequest, Response, shown};
use crate::explain;
use pointsman_core::config::Config;
use pointsman_core::http::device::Device;
use pointsman_core::route::host::HostMatch;
use pointsman_core::route::r#match::{Match, PeerMatch, TlsMatch};
use std::collections::BTreeMap;

/// A request that the block matches. None: none was found, though there may be one.
pub(super) fn of(config: &Config, block: &Match) -> Option<ExchangeRequest> {
    let set = RequestSet::of(block);
    let mut headers: BTreeMap<&[u8], Vec<Vec<u8>>> = BTreeMap::new();
    let (mut cookies, mut query) = (Vec::new(), Vec::new());
    for requirement in set.requirements.iter().filter(|it| it.some) {
        let (name, value) = (requirement.name, value(requirement, &set)?);
        match requirement.source {
            ValueSource::Header => headers.entry(name).or_default().push(value),
            ValueSource::Cookie => cookies.push([name, b"=", &value].concat()),
            ValueSource::Query => {
                query.push([&percent_encoded(name), &b"="[..], &percent_encoded(&value)].concat());
            }
        }
    }
    if !cookies.is_empty() {
        headers
            .entry(b"cookie")
            .or_default()
            .push(cookies.join(&b"; "[..]));
    }
    if let Some(device) = set.devices.iter().next() {
        headers
            .entry(b"user-agent")
            .or_insert_with(|| vec![user_agent(device).into()]);
    }
    if let Some(tag) = set.language.and_then(|language| language.tags.first()) {
        headers
            .entry(b"accept-language")
            .or_insert_with(|| vec![tag.to_vec()]);
    }
    // A condition on a pseudo-header sets the request's own part.
    let mut pseudo = |name: &[u8]| headers.remove(name).and_then(|mut values| values.pop());
    let target = match pseudo(b":path") {
        Some(target) => target,
        None => {
            let mut target = match &set.path {
                Some(path) => path.sample()?.to_vec(),
                None => b"/".to_vec(),
            };
            if !query.is_empty() {
                target.push(b'?');
                target.extend(query.join(&b'&'));
            }
            target
        }
    };
    let method = pseudo(b":method")
        .unwrap_or_else(|| set.methods.first().map_or(&b"GET"[..], |it| it).to_vec());
    let scheme = pseudo(b":scheme").unwrap_or_else(|| set.scheme.unwrap_or(b"http").to_vec());
    let authority = pseudo(b":authority").unwrap_or_else(|| match set.hosts.first() {
        Some(HostMatch::Exact(host)) => host.to_vec(),
        Some(HostMatch::Suffix(suffix)) => [b"www", &suffix[..]].concat(),
        Some(HostMatch::Any) | None => b"example.com".to_vec(),
    });
    let pairs = headers
        .into_iter()
        .flat_map(|(name, values)| values.into_iter().map(|value| (name.to_vec(), value)));
    let request = ExchangeRequest {
        method,
        scheme,
        authority,
        target,
        headers: pairs.collect(),
        client_ip: set.client_ip.first().map(|network| network.address),
        tls: set.tls.map(tls).unwrap_or_default(),
        roll: None,
        upstream: Response::bare(200),
    };
    let matches = explain::with_request(config, &request, |request, client| {
        block.matches(request, client)
    });
    (matches && can_be_typed(&request)).then_some(request)
}

/// What a device says of itself, as short as may be.
pub(crate) fn user_agent(device: Device) -> &'static str {
    match device {
        Device::Mobile => "Mobile",
        Device::Tablet => "Tablet",
        Device::Desktop => "Mozilla/5.0 (X11; Linux x86_64)",
        Device::Bot => "Googlebot/2.1",
    }
}

/// A connection as the conditions want it.
fn tls(wanted: &TlsMatch) -> ClientTls {
    let text = |bytes: Vec<u8>| shown(&bytes);
    let name = |host: &HostMatch| match host {
        HostMatch::Exact(host) => host.to_vec(),
        HostMatch::Suffix(suffix) => [b"www", &suffix[..]].concat(),
        HostMatch::Any => b"example.com".to_vec(),
    };
    let uri = |peer: &PeerMatch| match peer {
        PeerMatch::Exact(uri) => uri.to_vec(),
        PeerMatch::Prefix(start) => [&start[..], b"a"].concat(),
    };
    ClientTls {
        sni: wanted.sni.first().map(name).map(text),
        peer: wanted.peer.first().map(uri).map(text),
    }
}

/// A value that meets the requirement, and that no other of the same name forbids.
fn value(requirement: &Requirement, set: &RequestSet) -> Option<Vec<u8>> {
    let sample = match &requirement.values {
        None => b"1".to_vec(),
        Some(values) => values.sample()?.to_vec(),
    };
    let candidates = [b"", &b"1"[..], b"x"].into_iter().flat_map(|more| {
        let behind = [&sample[..], more].concat();
        let before = [more, &sample[..]].concat();
        [behind, before]
    });
    let is_allowed = |value: &Vec<u8>| {
        requirement.accepts(value)
            && set.requirements.iter().all(|other| {
                let is_forbidding = !other.some
                    && (other.source, other.name) == (requirement.source, requirement.name);
                !(is_forbidding && other.accepts(value))
            })
    };
    candidates.into_iter().find(is_allowed)
}

pub(crate) fn percent_encoded(text: &[u8]) -> Vec<u8> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let encode = |byte: &u8| match is_plain(*byte) {
        true => vec![*byte],
        false => format!("%{byte:02X}").into_bytes(),
    };
    text.iter().flat_map(encode).collect()
}

/// Whether the request can be given to `host-sim explain`.
pub(crate) fn can_be_typed(request: &ExchangeRequest) -> bool {
    let url = request.url();
    let headers = request
        .headers
        .iter()
        .flat_map(|(name, value)| [name, value]);
    let text = |bytes: &[u8]| {
        std::str::from_utf8(bytes).is_ok_and(|text| !text.chars().any(char::is_control))
    };
    text(&request.method)
        && headers
            .into_iter()
            .all(|part| text(part) && part.trim_ascii().len() == part.len())
        && text(&url)
        && ExchangeRequest::new(&request.method, &url)
            .is_ok_and(|again| again.target == request.target)
}

/// The command that explains the request, for a shell.
pub(crate) fn command(request: &ExchangeRequest, file: &str) -> String {
    let mut words = vec!["host-sim".to_owned(), "explain".to_owned(), file.to_owned()];
    if request.method != b"GET" {
        words.extend(["--method".to_owned(), shown(&request.method)]);
    }
    words.extend(["--url".to_owned(), shown(&request.url())]);
    for (name, value) in &request.headers {
        words.push("-H".to_owned());
        words.push(format!("{}: {}", shown(name), shown(value)));
    }
    if let Some(address) = request.client_ip {
        words.extend(["--client-ip".to_owned(), address.to_string()]);
    }
    for (option, value) in [("--sni", &request.tls.sni), ("--peer", &request.tls.peer)] {
        if let Some(value) = value {
            words.extend([option.to_owned(), value.clone()]);
        }
    }
    let quoted = words
        .iter()
        .map(|word| shlex::try_quote(word).map_or_else(|_| word.clone(), Into::into));
    quoted.collect::<Vec<_>>().join(" ")
}

/// The route and the block that match the request.
pub(super) fn taken_by(
    config: &Config,
    candidates: &Candidates,
    request: &ExchangeRequest,
) -> TakenBy {
    explain::with_request(config, request, |request, client| {
        candidates.find(request, client)
    })
}

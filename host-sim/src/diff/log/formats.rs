//! Lines of access logs: Envoy's JSON and its text, common and combined.

use crate::exchange::{ClientTls, ExchangeRequest, Pairs, Response};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// What a line tells of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogEntry<'l> {
    pub method: Cow<'l, str>,
    /// With its query.
    pub target: Cow<'l, str>,
    pub host: Option<Cow<'l, str>>,
    pub scheme: Option<Cow<'l, str>>,
    pub client: Option<IpAddr>,
    /// Names in lower case.
    pub headers: Vec<(Cow<'l, str>, Cow<'l, str>)>,
}

impl<'l> LogEntry<'l> {
    /// None: it is no request.
    pub(crate) fn parse(line: &'l [u8]) -> Option<LogEntry<'l>> {
        let text = std::str::from_utf8(line).ok()?;
        let mut parsed = match text.as_bytes().first()? {
            b'{' => serde_json::from_str::<Json<'l>>(text).ok()?.0,
            _ => text_line(text)?,
        };
        // A proxy's own log has absolute targets of forward proxies, and `-` for what is not there.
        let rest = parsed.target.split_once("://");
        if let Some((scheme, rest)) = rest.filter(|_| !parsed.target.starts_with('/')) {
            let (scheme, rest) = (scheme.to_owned(), rest.to_owned());
            let path = rest.find(['/', '?']).unwrap_or(rest.len());
            parsed.scheme.get_or_insert(scheme.into());
            parsed.host.get_or_insert(rest[..path].to_owned().into());
            let target = match rest[path..].starts_with('/') {
                true => rest[path..].to_owned(),
                false => format!("/{}", &rest[path..]),
            };
            parsed.target = target.into();
        }
        let is_method = |it: &str| {
            !it.is_empty()
                && it
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        let is_target = |it: &str| it.starts_with('/') || it == "*";
        (is_method(&parsed.method) && parsed.method != "-" && is_target(&parsed.target))
            .then_some(parsed)
    }

    /// The same for the same requests.
    pub(crate) fn key(&self, key: &mut Vec<u8>) {
        key.clear();
        let mut add = |text: &str| {
            key.extend_from_slice(text.as_bytes());
            key.push(0);
        };
        add(&self.method);
        add(&self.target);
        add(self.host.as_deref().unwrap_or_default());
        add(self.scheme.as_deref().unwrap_or_default());
        for (name, value) in &self.headers {
            add(name);
            add(value);
        }
        match self.client {
            Some(IpAddr::V4(client)) => key.extend(client.octets()),
            Some(IpAddr::V6(client)) => key.extend(client.octets()),
            None => {}
        }
    }

    /// Adds what the line tells beside method, path and host.
    pub(crate) fn told(&self, told: &mut BTreeSet<String>) {
        if self.client.is_some() {
            told.insert("client".to_owned());
        }
        for (name, _) in &self.headers {
            if !told.contains(&format!("header {name}")) {
                told.insert(format!("header {name}"));
            }
        }
    }

    /// The request. `host`: that of requests that name none.
    pub(crate) fn request(&self, host: Option<&str>) -> ExchangeRequest {
        let host = self.host.as_deref().or(host).unwrap_or_default();
        let headers = self.headers.iter();
        let headers: Pairs = headers
            .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
            .collect();
        let target = self.target.split('#').next().unwrap_or_default();
        ExchangeRequest {
            method: self.method.as_bytes().to_vec(),
            scheme: self.scheme.as_deref().unwrap_or("http").as_bytes().to_vec(),
            authority: host.as_bytes().to_vec(),
            target: target.as_bytes().to_vec(),
            headers,
            client_ip: self.client,
            tls: ClientTls::default(),
            roll: None,
            upstream: Response::bare(200),
        }
    }

    fn set(&mut self, key: &str, value: Cow<'l, str>) {
        if value == "-" || value.is_empty() {
            return;
        }
        let key = key.to_ascii_lowercase().replace('_', "-");
        match key.trim_start_matches(':') {
            "method" | "request-method" | "http-method" | "verb" => self.method = value,
            "path" | "request-path" | "uri" | "request-uri" | "target" | "url"
                if self.target.is_empty() =>
            {
                self.target = value;
            }
            // What the client sent, before any rewrite.
            "x-envoy-original-path" | "original-path" => self.target = value,
            "host" | "authority" | "request-host" | "vhost" | "server-name" | "http-host"
                if self.host.is_none() =>
            {
                self.host = Some(value);
            }
            "x-envoy-original-host" | "original-host" => self.host = Some(value),
            "scheme" | "x-forwarded-proto" => {
                let known = Some(value).filter(|value| value == "http" || value == "https");
                self.scheme = known.or(self.scheme.take());
            }
            "client"
            | "client-ip"
            | "remote-addr"
            | "remote-address"
            | "source-address"
            | "downstream-remote-address"
            | "downstream-remote-address-without-port"
            | "clientip" => {
                self.client = address(&value);
            }
            "x-forwarded-for" | "user-agent" | "referer" | "cookie" | "accept-language"
            | "content-type" | "accept" => self.headers.push((key.into(), value)),
            name if name.starts_with("x-") && !name.starts_with("x-envoy-") => {
                self.headers.push((key.into(), value));
            }
            _ => {}
        }
    }
}

/// An address, with or without a port.
fn address(text: &str) -> Option<IpAddr> {
    let alone = text.trim_matches(['[', ']']).parse();
    alone
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|it| it.ip()))
}

/// Envoy's text, common and combined: what stands in quotes and `METHOD target PROTOCOL` is first.
fn text_line(text: &str) -> Option<LogEntry<'_>> {
    let mut line = LogEntry::default();
    let (before, rest) = text.split_once('"')?;
    let (request, rest) = rest.split_once('"')?;
    let mut words = request.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    let protocol = words.next()?;
    if !protocol.starts_with("HTTP/") || words.next().is_some() {
        return None;
    }
    (line.method, line.target) = (method.into(), target.into());
    let quoted: Vec<&str> = rest.split('"').skip(1).step_by(2).collect();
    if before.starts_with('[') {
        // Envoy's: x-forwarded-for, user-agent, x-request-id, authority, upstream.
        for (key, value) in ["x-forwarded-for", "user-agent", "x-request-id", "authority"]
            .into_iter()
            .zip(&quoted[quoted.len().checked_sub(5)?..])
        {
            line.set(key, (*value).into());
        }
        return Some(line);
    }
    let mut words = before.split_whitespace();
    let mut first = words.next()?;
    // `vhost_combined` has the virtual host in front.
    if address(first).is_none() {
        let second = words.next()?;
        if address(second).is_some() {
            line.set("host", first.into());
            first = second;
        }
    }
    line.client = address(first);
    if let [referer, agent, ..] = quoted[..] {
        line.set("referer", referer.into());
        line.set("user-agent", agent.into());
    }
    Some(line)
}

/// A line of JSON.
struct Json<'l>(LogEntry<'l>);

impl<'de: 'l, 'l> Deserialize<'de> for Json<'l> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Object).map(Json)
    }
}

struct Object;

impl<'de> Visitor<'de> for Object {
    type Value = LogEntry<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of an access log")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<LogEntry<'de>, A::Error> {
        let mut line = LogEntry::default();
        while let Some(Text(key)) = map.next_key()? {
            match map.next_value()? {
                Scalar::Text(value) => line.set(&key, value),
                // `request: {…}`, `headers: {…}`
                Scalar::Object(pairs) if is_of_request(&key) => {
                    for (key, value) in pairs {
                        line.set(&key, value);
                    }
                }
                Scalar::Object(_) | Scalar::Other => {}
            }
        }
        Ok(line)
    }
}

fn is_of_request(key: &str) -> bool {
    ["request", "headers", "request_headers", "req"].contains(&key)
}

struct Text<'l>(Cow<'l, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Key;
        impl<'de> Visitor<'de> for Key {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(text.into()))
            }
            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(text.to_owned().into()))
            }
        }
        from.deserialize_str(Key)
    }
}

/// A value of a line, as far as it is read.
enum Scalar<'l> {
    Text(Cow<'l, str>),
    Object(Vec<(Cow<'l, str>, Cow<'l, str>)>),
    Other,
}

impl<'de> Deserialize<'de> for Scalar<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Scalar<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Text(text.into()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Text(text.to_owned().into()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Other)
    }

    fn visit_unit<E>(self) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Scalar<'de>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar<'de>, A::Error> {
        let mut pairs = Vec::new();
        while let Some(Text(key)) = map.next_key()? {
            if let Scalar::Text(value) = map.next_value()? {
                pairs.push((key, value));
            }
        }
        Ok(Scalar::Object(pairs))
    }
}

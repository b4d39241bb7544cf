//! HAR files, as browsers write them: read entry by entry, never as a whole.

use crate::exchange::{ExchangeRequest, Pairs};
use anyhow::Result;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;
use std::io::Read;

/// Whether a file that begins so is one: a log has a whole object on its first line.
pub(super) fn is_one(start: &[u8]) -> bool {
    let text = String::from_utf8_lossy(&start[..start.len().min(4096)]);
    let without_blanks: String = text
        .chars()
        .filter(|it| !it.is_whitespace())
        .take(8)
        .collect();
    without_blanks == "{\"log\":{"
}

/// Calls `give` with each request. The number: entries that are no request.
pub(super) fn each(reader: impl Read, give: impl FnMut(ExchangeRequest) -> bool) -> Result<u64> {
    let mut entries = Entries { give, bad: 0 };
    let mut from = serde_json::Deserializer::from_reader(reader);
    from.deserialize_map(At("log", At("entries", &mut entries)))?;
    Ok(entries.bad)
}

struct Entries<F> {
    give: F,
    bad: u64,
}

/// The value at a key of an object; all others are passed over.
struct At<S>(&'static str, S);

impl<'de, S: DeserializeSeed<'de, Value = ()>> Visitor<'de> for At<S> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object with `{}`", self.0)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seed = Some(self.1);
        while let Some(key) = map.next_key::<String>()? {
            match seed.take_if(|_| key == self.0) {
                Some(seed) => map.next_value_seed(seed)?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

impl<'de, S: DeserializeSeed<'de, Value = ()>> DeserializeSeed<'de> for At<S> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de, F: FnMut(ExchangeRequest) -> bool> DeserializeSeed<'de> for &mut Entries<F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de, F: FnMut(ExchangeRequest) -> bool> Visitor<'de> for &mut Entries<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of entries")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(entry) = seq.next_element::<Entry>()? {
            match entry.request.and_then(|it| request(&it)) {
                Some(request) => {
                    (self.give)(request);
                }
                None => self.bad += 1,
            }
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Entry {
    request: Option<Request>,
}

#[derive(Deserialize)]
struct Request {
    method: String,
    url: String,
    #[serde(default)]
    headers: Vec<Header>,
}

#[derive(Deserialize)]
struct Header {
    name: String,
    value: String,
}

fn request(of: &Request) -> Option<ExchangeRequest> {
    let request = ExchangeRequest::new(of.method.as_bytes(), of.url.as_bytes()).ok()?;
    let headers = of.headers.iter().filter(|it| !it.name.starts_with(':'));
    let headers = headers.map(|it| {
        let name = it.name.to_ascii_lowercase();
        (name.into_bytes(), it.value.as_bytes().to_vec())
    });
    Some(request.with_headers(headers.collect::<Pairs>()))
}

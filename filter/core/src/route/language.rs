//! `match.language`: which of the languages that the routes name a client prefers.

use super::escaped::{Escaped, listed};
use super::host::HostMatch;
use crate::http::accept_language::preferred;
use crate::http::request::Request;
use std::collections::BinaryHeap;
use std::fmt;
use std::rc::Rc;

/// The condition: the language that the client prefers, among those of the routes for the host that
/// it asks for, is one of these.
#[derive(Debug, Default)]
pub struct LanguageMatch {
    /// Language tags in lower case, as the block has them.
    pub tags: Vec<Box<[u8]>>,
    /// Their bits in `languages`.
    pub(super) wanted: u64,
    pub(super) languages: Rc<Languages>,
}

/// The languages that the routes of a configuration name.
#[derive(Debug, Default)]
pub struct Languages {
    /// Tags in lower case, at most [`Languages::MOST`]. Each has a bit: that of its place.
    tags: Vec<Box<[u8]>>,
    /// Of blocks for any host.
    any: u64,
    /// Of blocks for a host in lower case, or, where it begins with a dot, for hosts that end so.
    /// Sorted.
    hosts: Vec<(Box<[u8]>, u64)>,
}

impl LanguageMatch {
    /// One that is not yet linked.
    pub fn new(tags: Vec<Box<[u8]>>) -> LanguageMatch {
        LanguageMatch {
            tags,
            ..LanguageMatch::default()
        }
    }

    /// Whether a request is as it must be.
    pub fn matches(&self, request: &Request<'_>) -> bool {
        let preferred = self.languages.preferred(request);
        preferred.is_some_and(|tag| self.wanted & 1 << tag != 0)
    }

    /// Whether every request that meets this meets the other, of the same configuration.
    pub fn is_within(&self, other: &LanguageMatch) -> bool {
        self.wanted & !other.wanted == 0
    }

    /// The tag that a request prefers.
    pub(super) fn preferred(&self, request: &Request<'_>) -> Option<&[u8]> {
        let place = self.languages.preferred(request)?;
        let tag = self.languages.tags.get(usize::from(place));
        tag.map(|tag| &**tag)
    }
}

/// As it stands in the configuration, in lower case.
impl fmt::Display for LanguageMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tags = self.tags.iter().map(|tag| Escaped(tag));
        f.write_str(&listed(tags, " or "))
    }
}

impl Languages {
    /// The most languages of a configuration: each has a bit.
    pub const MOST: usize = 64;

    /// The languages of all conditions, each of which stands beside these hosts.
    ///
    /// None: there are more than [`Languages::MOST`].
    pub fn of<'a>(
        conditions: impl Iterator<Item = (&'a [HostMatch], &'a LanguageMatch)>,
    ) -> Option<Languages> {
        let mut languages = Languages::default();
        for (hosts, condition) in conditions {
            for tag in &condition.tags {
                if !languages.tags.contains(tag) {
                    languages.tags.push(tag.clone());
                }
            }
            if languages.tags.len() > Languages::MOST {
                return None;
            }
            let wanted = languages.bits(condition);
            if hosts.is_empty() {
                languages.any |= wanted;
            }
            for host in hosts {
                match host {
                    HostMatch::Any => languages.any |= wanted,
                    HostMatch::Exact(host) | HostMatch::Suffix(host) => {
                        languages.hosts.push((host.clone(), wanted));
                    }
                }
            }
        }
        // A heap sorts with a tenth of the code.
        languages.hosts = BinaryHeap::from(languages.hosts).into_sorted_vec();
        languages.hosts.dedup_by(|later, kept| {
            let is_same = later.0 == kept.0;
            if is_same {
                kept.1 |= later.1;
            }
            is_same
        });
        languages.hosts.shrink_to_fit();
        Some(languages)
    }

    /// Lets a condition compare with these.
    pub fn link(self: &Rc<Languages>, condition: &mut LanguageMatch) {
        condition.wanted = self.bits(condition);
        condition.languages = self.clone();
    }

    fn bits(&self, condition: &LanguageMatch) -> u64 {
        let known = self.tags.iter().zip(0..Languages::MOST);
        let wanted = known.filter(|(tag, _)| condition.tags.contains(tag));
        wanted.fold(0, |bits, (_, place)| bits | 1 << place)
    }

    /// The place of the tag that a request prefers. It is found once for a request.
    fn preferred(&self, request: &Request<'_>) -> Option<u8> {
        request.preferred_language(|values| {
            let offered = self.offered(request.host());
            let find = |tag: &[u8]| {
                let mut known = self.tags.iter().zip(0u8..);
                known
                    .find(|(known, place)| {
                        offered & 1 << place != 0 && known.eq_ignore_ascii_case(tag)
                    })
                    .map(|(_, place)| place)
            };
            preferred(values, find)
        })
    }

    /// The bits of the tags that routes for a host name.
    fn offered(&self, host: &[u8]) -> u64 {
        let longest = self.hosts.iter().map(|(known, _)| known.len()).max();
        let ends = host.iter().enumerate();
        let ends = ends.filter(|(at, byte)| *at > 0 && **byte == b'.');
        let ends = ends.filter_map(|(at, _)| host.get(at..));
        std::iter::once(host)
            .chain(ends)
            .filter(|end| longest.is_some_and(|longest| end.len() <= longest))
            .fold(self.any, |bits, end| bits | self.of_host(end))
    }

    fn of_host(&self, wanted: &[u8]) -> u64 {
        let lower = || wanted.iter().map(u8::to_ascii_lowercase);
        let found = self
            .hosts
            .binary_search_by(|(known, _)| known.iter().copied().cmp(lower()));
        let found = found.ok().and_then(|place| self.hosts.get(place));
        found.map_or(0, |(_, bits)| *bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::headers::Headers;
    use crate::route::tests::host;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// The conditions of one configuration: hosts, and languages.
    fn linked(blocks: &[(&[&str], &[&str])]) -> Vec<LanguageMatch> {
        let blocks = blocks.iter().map(|(hosts, tags)| {
            let tags = tags.iter().map(|tag| tag.as_bytes().into()).collect();
            let hosts: Vec<_> = hosts.iter().map(|text| host(text)).collect();
            (hosts, LanguageMatch::new(tags))
        });
        let mut blocks: Vec<_> = blocks.collect();
        let all = blocks
            .iter()
            .map(|(hosts, condition)| (&hosts[..], condition));
        let languages = Rc::new(Languages::of(all).unwrap());
        for (_, condition) in &mut blocks {
            languages.link(condition);
        }
        blocks.into_iter().map(|(_, condition)| condition).collect()
    }

    #[test]
    fn only_languages_of_routes_for_the_same_host_are_offered() {
        let blocks = linked(&[
            (&["a.com"], &["ko", "en"]),
            (&["a.com", "*.b.com"], &["de"]),
            (&["b.com"], &["fr"]),
            (&["*.x.b.com"], &["pt-br"]),
            (&["*"], &["ja"]),
            (&[], &["zh"]),
        ]);
        for (authority, value, matching) in [
            ("a.com", "ko", &[0][..]),
            ("A.COM:80", "en-GB", &[0]),
            ("a.com", "fr, de, ko", &[1]),
            ("b.com", "de, fr", &[2]),
            ("www.b.com", "fr, ko, de", &[1]),
            ("x.b.com", "pt-BR, de", &[1]),
            ("Y.X.B.com", "pt-BR, de", &[3]),
            ("y.x.b.com", "de, pt-BR", &[1]),
            ("c.com", "ko, en, de, fr, ja", &[4]),
            ("", "ko, zh-TW", &[5]),
            (".b.com", "de, ja", &[4]),
            ("a.com", "ko-KR;q=0.1, zh;q=0.2", &[5]),
            ("a.com", "*", &[]),
        ] {
            let pairs = [(":authority", authority), ("accept-language", value)];
            let headers = Headers::from_pairs(&pairs);
            let request = Request::new(&headers);
            assert!(request.vary().is_empty());
            let matches =
                |(place, block): (usize, &LanguageMatch)| block.matches(&request).then_some(place);
            let found: Vec<_> = blocks.iter().enumerate().filter_map(matches).collect();
            assert_eq!(found, matching, "{authority} {value}");
            assert!(request.vary().language && !request.vary().device);
        }
    }

    #[test]
    fn there_are_no_more_languages_than_bits() {
        let tags = |count: u8| {
            let tag = |n: u8| Box::from([b'a' + n / 26, b'a' + n % 26]);
            LanguageMatch::new((0..count).map(tag).collect())
        };
        for (count, is_good) in [(64, true), (65, false)] {
            let condition = tags(count);
            let all = std::iter::once((&[][..], &condition));
            assert_eq!(Languages::of(all).is_some(), is_good);
        }
        let mut condition = tags(64);
        let all = std::iter::once((&[][..], &condition));
        let languages = Rc::new(Languages::of(all).unwrap());
        languages.link(&mut condition);
        assert_eq!(condition.wanted, u64::MAX);
    }
}

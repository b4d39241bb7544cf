//! `hosts`: which hosts a route takes.

use super::escaped::Escaped;
use std::fmt;

/// A host, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostMatch {
    /// This one.
    Exact(Box<[u8]>),
    /// `*.example.com`: one or more labels before this suffix, which starts with its dot
    /// (`.example.com`).
    Suffix(Box<[u8]>),
    /// `*`
    Any,
}

impl HostMatch {
    /// Whether a host, without its port, is as it must be. Case does not count.
    pub fn matches(&self, host: &[u8]) -> bool {
        match self {
            HostMatch::Exact(exact) => host.eq_ignore_ascii_case(exact),
            HostMatch::Suffix(suffix) => host
                .len()
                .checked_sub(suffix.len())
                .and_then(|labels| host.split_at_checked(labels))
                .is_some_and(|(labels, end)| {
                    !labels.is_empty() && end.eq_ignore_ascii_case(suffix)
                }),
            HostMatch::Any => true,
        }
    }

    /// Whether it has a wildcard.
    pub fn is_wild(&self) -> bool {
        !matches!(self, HostMatch::Exact(_))
    }

    /// What the wildcard stands for in a host that matches: labels without the dot behind them;
    /// nothing where there is no wildcard. None: the host does not match.
    pub fn label<'h>(&self, host: &'h [u8]) -> Option<&'h [u8]> {
        let behind = match self {
            HostMatch::Exact(_) => host.len(),
            HostMatch::Suffix(suffix) => suffix.len(),
            HostMatch::Any => 0,
        };
        let label = host.get(..host.len().checked_sub(behind)?);
        label.filter(|_| self.matches(host))
    }
}

/// As it stands in the configuration.
impl fmt::Display for HostMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostMatch::Exact(host) => write!(f, "{}", Escaped(host)),
            HostMatch::Suffix(suffix) => write!(f, "*{}", Escaped(suffix)),
            HostMatch::Any => f.write_str("*"),
        }
    }
}

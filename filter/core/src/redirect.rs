//! The action `redirect`: an absolute `location`; what is not given is taken from the request.

use crate::rewrite::PathRewrite;

/// `redirect: { scheme, host, port, path | path_prefix | path_regex, status }`.
#[derive(Debug)]
pub struct Redirect {
    /// `http` or `https`.
    pub scheme: Option<Box<[u8]>>,
    /// The new host.
    pub host: Option<Box<[u8]>>,
    /// The new port. A port that is the scheme's default is not written.
    pub port: Option<u16>,
    /// The new path.
    pub path: Option<PathRewrite>,
    /// 301, 302, 303, 307 or 308. Default 302: a permanent one should be asked for.
    pub status: u16,
}

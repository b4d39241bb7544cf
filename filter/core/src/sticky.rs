//! Sticky sessions.

/// `sticky` of a pool: at least one of `cookie` and `header` is given.
#[derive(Debug)]
pub struct Sticky {
    /// The session cookie.
    pub cookie: Option<Cookie>,
    /// Clients without cookies are held by the hash of this header's value. Lower case.
    pub header: Option<Box<[u8]>>,
    /// The first signs, every one verifies. May be empty: then cookies are opaque but not authenticated.
    pub keys: Vec<Key>,
}

/// `sticky.cookie`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookie {
    /// A cookie name (an RFC 9110 token).
    pub name: Box<[u8]>,
    /// In seconds, from 1. None: a cookie of the browser's session.
    pub ttl: Option<u32>,
    /// Default `/`.
    pub path: Box<[u8]>,
    /// Default false.
    pub secure: bool,
    /// Default true.
    pub http_only: bool,
    /// Default: not written.
    pub same_site: Option<SameSite>,
}

/// `same_site` of a cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    /// `SameSite=Strict`
    Strict,
    /// `SameSite=Lax`
    Lax,
    /// `SameSite=None`; the configuration makes sure that the cookie is `secure`.
    None,
}

/// A key of at least 16 bytes.
#[derive(Clone)]
pub struct Key(pub Box<[u8]>);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

/// interim
pub struct Session {
    /// t
    pub target: usize,
    /// r
    pub renew: bool,
}

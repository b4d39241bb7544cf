//! Conditions on named values: headers, cookies, query parameters.

use crate::regex::Regex;

/// A condition on the values of one name. Of several values one that matches is enough; inverted, none may.
#[derive(Debug)]
pub struct Condition {
    /// Headers: lower case. Cookies and query parameters: as written.
    pub name: Box<[u8]>,
    /// What a value must be.
    pub text: Text,
    /// Whether the opposite is asked for.
    pub invert: bool,
}

/// What a value must be.
#[derive(Debug)]
pub enum Text {
    /// Exactly this.
    Exact(Box<[u8]>),
    /// Starts so.
    Prefix(Box<[u8]>),
    /// Ends so.
    Suffix(Box<[u8]>),
    /// Has this somewhere.
    Contains(Box<[u8]>),
    /// Matches as a whole.
    Regex(Regex),
    /// Is there (true) or is not (false).
    Present(bool),
}

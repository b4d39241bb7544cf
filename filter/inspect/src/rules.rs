//! What is looked for, and where.

/// What one protection looks for, and where.
#[derive(Debug)]
pub struct Rules {
    /// What it looks for. Never empty.
    pub detect: Classes,
    /// Where it looks.
    pub places: Places,
    /// Parameters that it does not look at.
    pub except: Vec<Parameter>,
    /// Whether it stops at the first thing that it finds.
    pub stops: bool,
}

/// Calls with each value of the header of a name.
pub type EachValue<'r> = dyn Fn(&[u8], &mut dyn FnMut(&[u8])) + 'r;

/// The parts of a request.
#[derive(Clone, Copy)]
pub struct Parts<'r> {
    /// Without the query.
    pub path: &'r [u8],
    /// Without the `?`; empty where there is none.
    pub query: &'r [u8],
    /// Calls with each value of a header, whose name is in lower case.
    pub headers: &'r EachValue<'r>,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// What. None: something was not inspected.
    pub class: Option<Class>,
    /// Where, for a log: `query parameter q`. It has no part of the value, and of the name no byte
    /// that could change a line.
    pub place: String,
}

/// A kind of attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// `sql_injection`.
    SqlInjection,
    /// `cross_site_scripting`.
    CrossSiteScripting,
    /// `path_traversal`.
    PathTraversal,
    /// `scanner`.
    Scanner,
}

/// Some kinds of attacks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Classes(u8);

/// Where a protection looks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// The path, segment by segment.
    pub path: bool,
    /// Names and values of the query.
    pub query: bool,
    /// Names and values of cookies.
    pub cookies: bool,
    /// Values of these headers, in lower case.
    pub headers: Vec<Box<[u8]>>,
}

/// A named part of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parameter {
    /// `{ query: q }`, percent-decoded.
    Query(Box<[u8]>),
    /// `{ cookie: c }`.
    Cookie(Box<[u8]>),
    /// `{ header: h }`, in lower case.
    Header(Box<[u8]>),
}

impl Class {
    /// All of them, with their words.
    pub const ALL: [(&'static str, Class); 4] = [
        ("sql_injection", Class::SqlInjection),
        ("cross_site_scripting", Class::CrossSiteScripting),
        ("path_traversal", Class::PathTraversal),
        ("scanner", Class::Scanner),
    ];

    /// The word that stands for it.
    pub fn word(self) -> &'static str {
        match self {
            Class::SqlInjection => "sql_injection",
            Class::CrossSiteScripting => "cross_site_scripting",
            Class::PathTraversal => "path_traversal",
            Class::Scanner => "scanner",
        }
    }
}

impl Classes {
    /// Whether a class is among them.
    pub fn has(self, class: Class) -> bool {
        self.0 & 1 << class as u8 != 0
    }

    /// These and one more.
    #[must_use]
    pub fn with(self, class: Class) -> Classes {
        Classes(self.0 | 1 << class as u8)
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those that are not among the others.
    pub(crate) fn without(self, others: Classes) -> Classes {
        Classes(self.0 & !others.0)
    }
}

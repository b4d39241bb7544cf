//! `protect`: values of a request that look like an attack are counted, or refused.
//!
//! What is looked at is decoded once and twice, and never changed. Bodies are not looked at. A
//! request takes [`ALLOWANCE`] steps at most, whatever it brings: what is left of it then, and a
//! value that is longer than `max_value`, is not inspected, and that is counted too, or refused.
//!
//! How values are looked at is [`pointsman_inspect`]'s.

#[cfg(test)]
mod tests;

use crate::http::request::Request;
use crate::http::respond::{Answer, Respond};
use pointsman_inspect::{Parts, Rules};

pub use pointsman_inspect::{Class, Classes, Parameter, Places};

/// What looking at one request may take, in steps of [`crate::http::steps`].
pub const ALLOWANCE: u32 = 100_000;

/// One entry of `protect`.
#[derive(Debug)]
pub struct Protect {
    /// Its place in [`crate::config::Config::protect`].
    pub index: usize,
    /// Its key in `protect`.
    pub name: Box<str>,
    /// What it looks for, and where. It stops at the first hit if it blocks.
    pub rules: Rules,
    /// Whether it refuses, where it blocks, what it could not look at all of. Default: no.
    pub needs_all: bool,
    /// What it answers where it blocks. None: 403 without a body.
    pub respond: Option<Respond>,
}

/// What a protection found in a request: at most one of each class.
#[derive(Clone, Debug)]
pub struct Hit<'c> {
    /// Which protection.
    pub protect: &'c Protect,
    /// What. None: something was not inspected.
    pub class: Option<Class>,
    /// Where, for a log: `query parameter q`. It has no part of the value, and of the name no byte
    /// that could change a line.
    pub place: String,
}

/// What all protections of a route find in a request, in their order, up to the first that blocks.
/// `max_value`: the longest value that is looked at, in bytes.
pub fn inspect<'c>(
    protects: impl Iterator<Item = &'c Protect>,
    request: &Request<'_>,
    max_value: u32,
) -> Vec<Hit<'c>> {
    let mut hits = Vec::new();
    let mut left = ALLOWANCE;
    let parts = Parts {
        path: request.path,
        query: request.query.unwrap_or_default(),
        headers: &|name, take| request.headers.all(name).for_each(take),
    };
    for protect in protects {
        let found = pointsman_inspect::inspect(&protect.rules, parts, max_value, &mut left);
        hits.extend(found.into_iter().map(|found| Hit {
            protect,
            class: found.class,
            place: found.place,
        }));
        if hits.iter().any(Hit::blocks) {
            break;
        }
    }
    request.steps.count((ALLOWANCE - left) as usize);
    hits
}

/// The headers that are looked at where `in` says `headers` and no more.
pub const HEADERS: [&str; 2] = ["user-agent", "referer"];

/// The status of the answer where none is configured.
const FORBIDDEN: u16 = 403;

impl Hit<'_> {
    /// The word of what was found.
    pub fn word(&self) -> &'static str {
        self.class.map_or("not_inspected", Class::word)
    }

    /// What a log and `explain` say of it: `edge: sql_injection in query parameter q, blocked`.
    pub fn line(&self) -> String {
        let blocked = if self.blocks() { ", blocked" } else { "" };
        let name = &self.protect.name;
        [name, ": ", self.word(), " in ", &self.place, blocked].concat()
    }

    /// Whether the request is refused for it.
    pub fn blocks(&self) -> bool {
        self.protect.rules.stops && (self.class.is_some() || self.protect.needs_all)
    }
}

impl Protect {
    /// The answer to a request that it refuses.
    pub fn answer(&self) -> Answer {
        match &self.respond {
            Some(respond) => respond.answer(),
            None => Answer::of(FORBIDDEN),
        }
    }
}

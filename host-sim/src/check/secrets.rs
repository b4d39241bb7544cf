//! Values that tell what the configuration keeps secret, and keys of hashes that are never used.

use super::{Warning, named};
use pointsman_core::config::Config;
use pointsman_core::http::edit::{Edit, Edits};
use pointsman_core::http::key::KeyPart;
use pointsman_core::http::value::{Part, Piece, ValueWithParts};
use pointsman_core::pool::balance::Balance;
use pointsman_core::route::RouteAction;
use pointsman_core::route::rewrite::PathRewrite;

/// Every warning about secrets in the values of routes, and about keys.
pub(super) fn warnings(config: &Config) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for (at, route) in config.routes.iter().enumerate() {
        let place = format!("routes[{at}]");
        let mut told = |place: String, pieces: &[&[Piece]], to_client: bool| {
            let parts = pieces.iter().copied().flatten();
            warnings.extend(parts.filter_map(|piece| told(config, &place, piece, to_client)));
        };
        let request = pieces_of(&route.request_headers);
        told(format!("{place}.request_headers"), &request, false);
        if let Some(edits) = &route.response_headers {
            told(format!("{place}.response_headers"), &pieces_of(edits), true);
        }
        match &route.action {
            RouteAction::Split(parts) => {
                for (number, part) in parts.iter().enumerate() {
                    let place = format!("{place}.split[{number}]");
                    let request = pieces_of(&part.request_headers);
                    told(format!("{place}.request_headers"), &request, false);
                    if let Some(edits) = &part.response_headers {
                        told(format!("{place}.response_headers"), &pieces_of(edits), true);
                    }
                }
            }
            RouteAction::Redirect(redirect) => {
                let host = redirect.host.as_ref().and_then(pieces);
                let path = match &redirect.path {
                    Some(PathRewrite::Whole(pieces)) => Some(&pieces[..]),
                    _ => None,
                };
                let both: Vec<_> = host.into_iter().chain(path).collect();
                told(format!("{place}.redirect"), &both, true);
            }
            _ => {}
        }
    }
    for pool in &config.pools {
        let Balance::Hash(by) = &pool.balance else {
            continue;
        };
        let always = by.keys().position(|key| *key == KeyPart::Path);
        let keys = by.keys().count();
        if let Some(always) = always.filter(|always| always + 1 < keys) {
            let place = named("pools", &pool.name);
            warnings.push(Warning::new(
                "unused_key",
                format!("{place}.balance.consistent_hash.key[{}]", always + 1),
                "is never used",
                "every request has a path, and the first key that a request has is taken",
                "put it before `path`, or remove it",
            ));
        }
    }
    warnings
}

/// The pieces of all values that are built.
fn pieces_of(edits: &Edits) -> Vec<&[Piece]> {
    let values = edits.iter().filter_map(|edit| match edit {
        Edit::Remove(_) => None,
        Edit::Set(_, value) | Edit::Add(_, value) => pieces(value),
    });
    values.collect()
}

fn pieces(value: &ValueWithParts) -> Option<&[Piece]> {
    match value {
        ValueWithParts::Text(_) => None,
        ValueWithParts::Built(pieces) => Some(pieces),
    }
}

/// What a piece of a value tells that is secret. `to_client`: whether a client, and the scripts in
/// its pages, can read the value.
fn told(config: &Config, place: &str, piece: &Piece, to_client: bool) -> Option<Warning> {
    let Piece::Part(part) = piece else {
        return None;
    };
    match part {
        Part::Header(name) => {
            let explain = config.explain.as_ref()?;
            (*name == explain.header).then(|| {
                Warning::new(
                    "secret_told",
                    place.to_owned(),
                    "tells the token of `explain`",
                    "the header that carries it never goes upstream, and its value would",
                    "leave the header out of the value",
                )
            })
        }
        Part::Cookie(name) if to_client => {
            let cookies = config.pools.iter().filter_map(|pool| {
                let cookie = pool.sticky.as_ref()?.cookie.as_ref()?;
                (cookie.name == *name && cookie.http_only).then_some(&pool.name)
            });
            cookies.take(1).next().map(|pool| {
                Warning::new(
                    "secret_told",
                    place.to_owned(),
                    format!("tells scripts the session cookie of the pool `{pool}`"),
                    "the cookie is `http_only` so that no script can read it",
                    "leave the cookie out of the value, or say `http_only: false`",
                )
            })
        }
        _ => None,
    }
}

//! Warnings of `protect`.

use super::{Warning, named};
use pointsman_core::config::Config;
use pointsman_core::protect::{Class, Protect};
use pointsman_core::route::RouteAction;

pub(super) fn warnings(config: &Config) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for protect in &config.protect {
        let place = named("protect", &protect.name);
        let is_named = config.routes.iter().any(|route| {
            let mut protects = route.protect.iter();
            protects.any(|used| used.index == protect.index)
        });
        if !is_named {
            warnings.push(Warning::new(
                "unused_protect",
                place.clone(),
                "nothing uses the protection",
                "no route names it",
                "name it in the `protect` of a route, or remove it",
            ));
        }
        warnings.extend(finds_nothing(protect, &place));
    }
    for (at, route) in config.routes.iter().enumerate() {
        let answers = matches!(
            route.action,
            RouteAction::Respond(_) | RouteAction::Redirect(_)
        );
        if answers && route.protect.iter().any(|protect| protect.rules.stops) {
            warnings.push(Warning::new(
                "no_effect",
                format!("routes[{at}].protect"),
                "refuses requests that reach no target anyway",
                "the filter itself answers",
                "remove it, or monitor",
            ));
        }
    }
    warnings
}

/// A class that is looked for where it never is.
fn finds_nothing(protect: &Protect, place: &str) -> Option<Warning> {
    let places = &protect.rules.places;
    let detect = protect.rules.detect;
    let has_agent = places.headers.iter().any(|name| **name == *b"user-agent");
    let values = places.path || places.query || places.cookies;
    let class = if detect.has(Class::Scanner) && !places.path && !has_agent {
        "scanner"
    } else if detect.has(Class::PathTraversal) && !values {
        "path_traversal"
    } else {
        return None;
    };
    Some(Warning::new(
        "protect_without_place",
        format!("{place}.in"),
        format!("has no place where {class} is looked for"),
        "scanners are known by the path and by user-agent, ways out of a directory by the path, the \
         query and cookies",
        "add such a place, or take the class out of `detect`",
    ))
}

//! A request's way: route → rate limit → sticky → balance → verdict.

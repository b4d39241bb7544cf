//! The section `protect`.

use super::HeaderName;
use super::route::Respond;
use pointsman_core::config::limits;
use schemars::JsonSchema;

/// A protection, which routes name.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Protect {
    /// What it looks for.
    #[schemars(length(min = 1, max = 4))]
    detect: Vec<Class>,
    /// `monitor`: count. `block`: refuse as well. Default: monitor.
    #[schemars(extend("default" = "monitor"))]
    mode: Option<Mode>,
    /// Where it looks. `headers` is user-agent and referer. Default: all four.
    #[schemars(length(min = 1, max = limits::MAX_PLACES))]
    r#in: Option<Vec<Place>>,
    /// Parameters, cookies and headers that it does not look at.
    #[schemars(length(max = limits::MAX_EXCEPTIONS))]
    except: Option<Vec<Except>>,
    /// What becomes of a request of which not all could be looked at: something was longer than
    /// `max_value`, or it was too much. `block` refuses it where `mode` does. Default: pass.
    #[schemars(extend("default" = "pass"))]
    not_inspected: Option<NotInspected>,
    /// What it answers where it refuses. Default: 403 without a body.
    respond: Option<Respond>,
}

/// A kind of attack.
#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Class {
    SqlInjection,
    CrossSiteScripting,
    PathTraversal,
    Scanner,
}

/// What becomes of a request.
#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Mode {
    Monitor,
    Block,
}

/// What becomes of a request that was not inspected as a whole.
#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
enum NotInspected {
    Pass,
    Block,
}

/// A part of the request.
#[derive(JsonSchema)]
#[serde(untagged)]
enum Place {
    Word(PlaceWord),
    Named(Headers),
}

/// A part of every request.
#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
enum PlaceWord {
    Path,
    Query,
    Cookies,
    Headers,
}

/// These headers.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct Headers {
    /// These headers, by name.
    #[schemars(length(min = 1, max = limits::MAX_PLACES))]
    headers: Vec<HeaderName>,
}

/// A parameter of the query, a cookie, or a header: exactly one.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
struct Except {
    /// The query parameter of this name.
    query: Option<String>,
    /// The cookie of this name.
    cookie: Option<String>,
    /// The header of this name.
    header: Option<HeaderName>,
}

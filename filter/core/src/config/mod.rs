//! The configuration: parsed into types that cannot be wrong, or refused with every error at once.

use crate::client_ip::ClientIp;
use crate::explain::Explain;
use crate::pool::Pool;
use crate::rate_limit::{RateLimit, Table};
use crate::respond::Respond;
use crate::route::Route;
use std::rc::Rc;

/// A whole configuration that loaded.
#[derive(Debug)]
pub struct Config {
    /// How the choice reaches the proxy.
    pub upstream: Upstream,
    /// Who the client is. None: the connection's source address.
    pub client_ip: Option<ClientIp>,
    /// In the order of the file.
    pub pools: Vec<Rc<Pool>>,
    /// In the order of the file.
    pub rate_limits: Vec<Rc<RateLimit>>,
    /// The bound on the limits' memory.
    pub rate_limit_table: Table,
    /// The first match wins.
    pub routes: Vec<Route>,
    /// What happens when nothing matches.
    pub no_route: NoRoute,
    /// None: off.
    pub explain: Option<Explain>,
}

/// `upstream`: the request headers that carry the choice. Lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Default `x-pointsman-cluster`.
    pub cluster_header: Box<[u8]>,
    /// Default `x-pointsman-endpoint`.
    pub endpoint_header: Box<[u8]>,
}

/// `no_route`. Default: `respond: { status: 404 }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoRoute {
    /// Answer.
    Respond(Respond),
    /// Leave the request to the proxy's own routes.
    Pass,
}

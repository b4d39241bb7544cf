//! One request, and what a decision about it may use.

use crate::config::Config;
use crate::http::client_ip::Client;
use crate::http::request::Request;
use crate::http::tls::Tls;
use crate::index::PoolIndex;
use crate::pool::sticky::Session;
use crate::port::Port;
use crate::route::r#match::AskConnection;
use crate::time::Nanos;
use std::net::IpAddr;

/// One request, and what a decision about it may use. `'c` is the configuration.
pub(super) struct RequestContext<'c, 'r> {
    pub config: &'c Config,
    pub request: &'r Request<'r>,
    pub client: Client<'r>,
    pub tls: Tls,
    pub port: &'r mut dyn Port,
    pub now: Nanos,
    pub random: RequestRandom,
    /// Whether the target of the request's session was passed over because it is full: then the
    /// response brings no cookie.
    pub is_session_full: bool,
    /// What the common path knows already, where it goes no further ([`super::common`]): the session
    /// of the request in this pool.
    pub session: Option<(PoolIndex, Option<Session>)>,
    /// The pool of which the health was just read.
    pub refreshed: Option<PoolIndex>,
    /// Whether the limits of the route have admitted the request, and are charged.
    pub is_admitted: bool,
    /// Whether the request took more than it may take before its route was known.
    pub is_undecided: bool,
}

impl<'c: 'r, 'r> RequestContext<'c, 'r> {
    /// Of a request of which nothing is known yet. Inlined: the common path would copy it.
    #[inline(always)]
    pub(super) fn new(
        config: &'c Config,
        request: &'r Request<'r>,
        port: &'r mut dyn Port,
        now: Nanos,
        random: RequestRandom,
    ) -> Self {
        RequestContext {
            config,
            request,
            client: Client::new(config.client_ip.as_ref(), request.headers),
            tls: Tls::default(),
            port,
            now,
            random,
            is_session_full: false,
            session: None,
            refreshed: None,
            is_admitted: false,
            is_undecided: false,
        }
    }
}

impl RequestContext<'_, '_> {
    /// The client's address. The proxy is asked for it once at most, and only if something depends
    /// on it.
    pub(super) fn client_address(&mut self) -> Option<IpAddr> {
        self.client.address(self.port)
    }
}

impl AskConnection for RequestContext<'_, '_> {
    fn address(&mut self) -> Option<IpAddr> {
        self.client.address_for_networks(self.port)
    }

    fn server_name(&mut self) -> Option<&[u8]> {
        self.tls.server_name(self.port)
    }

    fn peer(&mut self) -> Option<&[u8]> {
        self.tls.peer(self.port)
    }
}

/// The random number of one request, in units of 2^−64.
#[derive(Clone, Copy)]
pub(super) struct RequestRandom {
    pub number: u64,
    /// Whether the request itself set it (see [`crate::explain`]).
    pub is_fixed: bool,
}

//! The candidates: what is measured against a bare Envoy. Each is an Envoy of its own with one
//! worker. Before it is measured, a candidate has to show that it does what its name says.

use super::envoys_own;
use super::native::{CallsPerRequest, RETURNING_BYTES};
use super::routes::{self, FeatureSet, MeasuredRoute, POOLS, SERVED_BY};
use super::wrk::{HEADERS, Script};
use crate::backend::Received;
use crate::client::{Client, header, session_cookie};
use crate::envoy::fleet::Fleet;
use crate::envoy::{Deployment, Envoy, PluginConfiguration, Program};
use anyhow::{Result, ensure};
use hyper::Response;
use hyper::body::Bytes;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CandidateKind {
    /// What everything else is compared with: one route for everything, no filter.
    Bare,
    /// The same once more: how far the method errs.
    BareAgain,
    /// A filter that does nothing.
    Empty,
    /// A filter that names the cluster, and nothing else: the least that one which chooses can
    /// cost.
    Choice,
    /// A filter that makes the host calls of Pointsman with everything on, and decides nothing.
    Calls,
    /// Pointsman with this number of routes. The clients are new: each answer sets a session
    /// cookie.
    Pointsman(FeatureSet, usize),
    /// The same with clients that bring their session cookies.
    InSession(usize),
    /// Envoy's own list of this number of routes.
    List(usize),
    /// Envoy's own matcher tree of this number of routes.
    Tree(usize),
    /// Envoy's own `local_ratelimit`, `stateful_session` and `weighted_clusters`, with this number of
    /// routes.
    Filters(usize),
}

/// Which of its routes a candidate is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AskedRoutes {
    /// All, evenly.
    All,
    /// The last one only.
    Last,
}

/// The modules of the filters.
pub(super) struct Modules {
    /// Pointsman.
    pub pointsman: PathBuf,
    /// The filter that does nothing.
    pub empty: PathBuf,
    /// The filter that makes host calls.
    pub calls: PathBuf,
    /// Which ones.
    pub calls_of: Vec<CallsPerRequest>,
}

/// A candidate that runs.
pub(super) struct Candidate {
    /// What it is.
    pub kind: CandidateKind,
    /// Which routes it is asked for.
    pub asked: AskedRoutes,
    /// Its Envoy.
    pub envoy: Envoy,
    /// Its load.
    pub script: Script,
}

impl CandidateKind {
    /// How many routes it has.
    pub fn routes(self) -> usize {
        match self {
            CandidateKind::Pointsman(_, routes)
            | CandidateKind::InSession(routes)
            | CandidateKind::List(routes)
            | CandidateKind::Tree(routes)
            | CandidateKind::Filters(routes) => routes,
            CandidateKind::Bare
            | CandidateKind::BareAgain
            | CandidateKind::Empty
            | CandidateKind::Choice
            | CandidateKind::Calls => 1,
        }
    }

    /// What the table calls it.
    pub fn name(self) -> String {
        match self {
            CandidateKind::Bare => "bare Envoy".into(),
            CandidateKind::BareAgain => "bare Envoy again".into(),
            CandidateKind::Empty => "empty SDK filter".into(),
            CandidateKind::Choice => "the choice of a cluster, and nothing else".into(),
            CandidateKind::Calls => "the host calls of everything on, and nothing else".into(),
            CandidateKind::Pointsman(FeatureSet::Plain, routes) => {
                format!("Pointsman, {routes} routes, nothing else")
            }
            CandidateKind::Pointsman(FeatureSet::Everything, routes) => {
                format!("Pointsman, {routes} routes, everything on")
            }
            CandidateKind::InSession(routes) => {
                format!("Pointsman, {routes} routes, everything on, in a session")
            }
            CandidateKind::List(routes) => format!("Envoy's own list of {routes} routes"),
            CandidateKind::Tree(routes) => format!("Envoy's own matcher tree of {routes} routes"),
            CandidateKind::Filters(_) => {
                "Envoy's own `local_ratelimit`, `stateful_session`, `weighted_clusters`".into()
            }
        }
    }

    /// Whether other candidates are compared with it.
    pub fn is_compared_with(self) -> bool {
        matches!(
            self,
            CandidateKind::Bare | CandidateKind::BareAgain | CandidateKind::Empty
        )
    }

    /// Whether its filter chooses the cluster.
    fn chooses(self) -> bool {
        matches!(
            self,
            CandidateKind::Pointsman(..)
                | CandidateKind::InSession(_)
                | CandidateKind::Choice
                | CandidateKind::Calls
        )
    }

    fn is_everything(self) -> bool {
        matches!(
            self,
            CandidateKind::Pointsman(FeatureSet::Everything, _) | CandidateKind::InSession(_)
        )
    }

    /// Its Envoy, before the backends of `fleet`: `envoy-config/envoy.yaml` with as little changed
    /// as can be.
    pub(super) fn deployment(self, fleet: &Fleet, modules: &Modules) -> Result<Deployment> {
        let deployment = fleet.deployment(&modules.pointsman)?.with_workers(1);
        let pointsman =
            |routes, features| PluginConfiguration::Struct(routes::configuration(routes, features));
        let mut deployment = match self {
            CandidateKind::Pointsman(features, routes) => {
                deployment.with_configuration(pointsman(routes, features))
            }
            CandidateKind::InSession(routes) => {
                deployment.with_configuration(pointsman(routes, FeatureSet::Everything))
            }
            CandidateKind::Choice | CandidateKind::Calls => {
                let of = if self == CandidateKind::Calls {
                    &modules.calls_of[..]
                } else {
                    &[]
                };
                let calls = PluginConfiguration::Text(calls(of));
                deployment
                    .with_module(&modules.calls)
                    .with_configuration(calls)
            }
            _ => deployment.with_module(&modules.empty),
        };
        let manager = deployment.connection_manager_mut();
        let [filter, router] = [0, 1].map(|at| manager["http_filters"][at].take());
        if !self.chooses() {
            envoys_own::choose(manager, |own| match self {
                CandidateKind::List(routes) => ("routes", own.list(routes)),
                CandidateKind::Tree(routes) => ("matcher", own.tree(routes)),
                CandidateKind::Filters(routes) => ("routes", own.weighted(routes)),
                _ => ("routes", own.one(&MeasuredRoute(0).first_cluster())),
            })?;
        }
        let mut filters = match self {
            CandidateKind::Filters(_) => envoys_own::filters().into(),
            _ if self.chooses() || self == CandidateKind::Empty => vec![filter],
            _ => vec![],
        };
        filters.push(router);
        manager["http_filters"] = filters.into();
        Ok(deployment)
    }

    /// Whether a cluster may get the requests of a route.
    fn may_lead(self, route: MeasuredRoute, cluster: &str) -> bool {
        match self {
            CandidateKind::Pointsman(..)
            | CandidateKind::InSession(_)
            | CandidateKind::Filters(_) => route.clusters().any(|(name, _)| name == cluster),
            _ => cluster == route.first_cluster(),
        }
    }
}

/// What the filter that makes host calls is configured with.
fn calls(of: &[CallsPerRequest]) -> String {
    let kinds = of.iter().filter(|calls| calls.kind != RETURNING_BYTES);
    let line = |calls: &CallsPerRequest| {
        // It makes one by itself.
        let own = if calls.kind == "add_header" { 1.0 } else { 0.0 };
        let way_in = (calls.request - own).max(0.0);
        format!("\n{} {way_in:.0} {:.0}", calls.kind, calls.response)
    };
    MeasuredRoute(0).first_cluster() + &kinds.map(line).collect::<String>()
}

/// Backends for the site.
pub(super) fn backends() -> Result<Fleet> {
    // Its first routes lead to every pool.
    Fleet::start(&routes::configuration(2 * POOLS, FeatureSet::Plain))
}

impl Candidate {
    /// Starts it, and has it show what it does.
    pub(super) fn start(
        (kind, asked): (CandidateKind, AskedRoutes),
        program: &Program,
        fleet: &Fleet,
        modules: &Modules,
        directory: &Path,
    ) -> Result<Candidate> {
        let envoy = Envoy::start(program, kind.deployment(fleet, modules)?)?;
        let sessions = kind.prove(fleet, &mut envoy.client()?)?;
        let cookies = match kind {
            CandidateKind::InSession(_) => sessions,
            _ => String::new(),
        };
        let paths = match asked {
            AskedRoutes::All => routes::paths(kind.routes()),
            AskedRoutes::Last => vec![MeasuredRoute(kind.routes() - 1).path()],
        };
        let file = directory.join(format!("{}.lua", envoy.process_id()));
        let script = Script::write(&file, &paths, &cookies)?;
        Ok(Candidate {
            kind,
            asked,
            envoy,
            script,
        })
    }
}

/// One answer, and the request that the backend got.
struct Observed {
    response: Response<Bytes>,
    received: Option<Received>,
}

impl Observed {
    /// Sends a request for `path`.
    fn of(client: &mut Client, fleet: &Fleet, path: &str, cookies: &str) -> Result<Observed> {
        let (_, host) = HEADERS[0];
        let headers: Vec<_> = HEADERS.into_iter().chain([("cookie", cookies)]).collect();
        let response = client.get_with(host, path, &headers)?;
        // Not the filter's own, which come when they are due.
        let is_probe = |received: &Received| {
            received
                .headers
                .contains(&(b":path".to_vec(), b"/health".to_vec()))
        };
        let mut received = fleet.take_received();
        received.retain(|received| !is_probe(received));
        Ok(Observed {
            response,
            received: received.pop(),
        })
    }

    fn header(&self, name: &str) -> &str {
        header(&self.response, name)
    }

    fn cluster(&self) -> &str {
        self.header("x-backend")
    }

    /// The session cookie that it sets; empty where it sets none.
    fn cookie(&self) -> String {
        session_cookie(&self.response).unwrap_or_default()
    }

    fn was_received_with(&self, name: &str, value: &str) -> bool {
        let headers = self.received.iter().flat_map(|received| &received.headers);
        headers
            .into_iter()
            .any(|(other, found)| other == name.as_bytes() && found == value.as_bytes())
    }
}

impl CandidateKind {
    /// Asks for some of its routes and for none of them, and checks what the client and the backend
    /// got. Returns sessions, one for each pool.
    fn prove(self, fleet: &Fleet, client: &mut Client) -> Result<String> {
        let mut sessions = BTreeMap::new();
        let last = self.routes() - 1;
        for number in [0, 1, 2, 3, last / 2, last] {
            let route = MeasuredRoute(number.min(last));
            let path = route.path();
            let first = Observed::of(client, fleet, &path, "")?;
            let cluster = first.cluster();
            ensure!(self.may_lead(route, cluster), "{path} went to {cluster:?}");
            if !self.is_everything() {
                continue;
            }
            ensure!(
                first.was_received_with("x-route", &route.name()),
                "{path}: another route took it"
            );
            ensure!(
                first.header(SERVED_BY.0) == SERVED_BY.1,
                "{path}: the answer is not edited"
            );
            let cookie = first.cookie();
            ensure!(
                cookie.starts_with(&routes::cookie(route.pool())),
                "{path}: no session"
            );
            let second = Observed::of(client, fleet, &path, &cookie)?;
            ensure!(
                second.cluster() == cluster,
                "{path}: the session does not hold"
            );
            ensure!(
                second.cookie().is_empty(),
                "{path}: the session is replaced"
            );
            sessions.insert(route.pool(), cookie);
        }
        let nowhere = Observed::of(client, fleet, "/nowhere", "")?
            .response
            .status()
            .as_u16();
        let expected = if self.routes() > 1 { 404 } else { 200 };
        ensure!(
            nowhere == expected,
            "/nowhere is answered with {nowhere}, not with {expected}"
        );
        Ok(sessions.into_values().collect::<Vec<_>>().join("; "))
    }
}

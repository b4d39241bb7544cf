//! `import gateway-api`: `HTTPRoute` and `GRPCRoute` of the Kubernetes Gateway API, v1 as of
//! release 1.5 with its experimental fields.
//!
//! The specification orders matches by how exact they are, the configuration by their place:
//! [`order`] makes one of the other.

mod backends;
mod filters;
mod grants;
mod matches;
mod order;
mod parents;
mod route;
#[cfg(test)]
mod tests;

use crate::fields::Report;
use crate::output::Configuration;
use crate::pools::Pools;
use crate::{Document, Options, Output, kubernetes};
use grants::Grants;
use parents::Parents;

const GROUP: &str = "gateway.networking.k8s.io";

/// What the reader of a route needs to know besides it.
struct Context<'c> {
    options: &'c Options,
    grants: &'c Grants,
    pools: &'c mut Pools,
}

/// Imports the routes of the Gateway API.
pub fn import(documents: Vec<Document>, options: &Options) -> Output {
    let report = Report::default();
    let mut grants = Grants::default();
    let mut objects = Vec::new();
    for object in kubernetes::objects(documents, &report) {
        match (&*object.group, &*object.kind) {
            (GROUP, "ReferenceGrant") => grants.add(object),
            (GROUP, "HTTPRoute" | "GRPCRoute") => objects.push(object),
            _ => {
                let mut fields = object.fields;
                for key in fields.keys() {
                    fields.ignore(&key);
                }
                let whole = fields.place().trim_end_matches(": ").to_owned();
                report.add(
                    whole,
                    "no HTTPRoute, GRPCRoute or ReferenceGrant of gateway.networking.k8s.io: \
                     nothing of it was read",
                );
            }
        }
    }
    let mut parents = Parents::new(options.gateway.as_deref());
    let mut pools = Pools::default();
    let mut context = Context {
        options,
        grants: &grants,
        pools: &mut pools,
    };
    let mut routes = Vec::new();
    for object in objects {
        routes.extend(route::read(object, &mut parents, &mut context));
    }
    parents.report(&report);
    let routes = order::accepted(routes, &report);
    let mut notes = vec![format!(
        "Imported from the Gateway API. Clusters are called {}.",
        options.cluster_template
    )];
    notes.extend(parents.notes());
    Output {
        configuration: Configuration {
            notes,
            pools: pools.into_entries(),
            routes: order::entries(&routes),
            ..Configuration::default()
        },
        not_carried: report.take(),
    }
}

//! A backend: a service and its port.

use super::{Ingress, Made};
use crate::clusters;
use crate::fields::Fields;

/// A service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Service {
    pub name: String,
    /// The port's number or name.
    pub port: String,
}

/// Reads a backend. None: it is no service, which is reported.
pub(super) fn read(fields: &mut Fields) -> Option<Service> {
    fields.refuse(
        "resource",
        "no service: what it refers to is not read. Its path answers 503",
    );
    let mut service = fields.fields("service")?;
    let mut port = service.fields("port");
    let number = port.as_mut().and_then(|port| port.whole("number"));
    let name = port.as_mut().and_then(|port| port.text("name"));
    let Some(service_name) = service.text("name") else {
        service.not_carried("name", "missing");
        return None;
    };
    Some(Service {
        name: service_name,
        port: number
            .map(|number| number.to_string())
            .or(name)
            .unwrap_or_default(),
    })
}

impl Service {
    /// The cluster of it where this Ingress names it, and what stands above its pool.
    pub(super) fn cluster(&self, of: &Ingress, number: &str, made: &Made<'_>) -> (String, String) {
        let mut numbers = number.split('/').map(|it| it.parse().unwrap_or_default());
        let cluster = made.options.cluster_template.cluster(&clusters::Backend {
            namespace: &of.namespace,
            name: &self.name,
            port: &self.port,
            kind: "ingress",
            route_namespace: &of.namespace,
            route: &of.name,
            rule: numbers.next().unwrap_or_default(),
            backend: numbers.next().unwrap_or_default(),
        });
        let comment = format!("Service {}/{} port {}", of.namespace, self.name, self.port);
        (cluster, comment)
    }
}

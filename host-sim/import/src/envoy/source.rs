//! Where in the input the route tables stand: in a bootstrap, in what an Envoy shows under
//! `/config_dump`, in a file of a discovery service, in what `istioctl proxy-config routes -o json`
//! prints, or by themselves.

use super::document::{Unknown, decode};
use super::message::Message;
use super::pools::{Affinity, Endpoints};
use super::sessions;
use crate::fields::Report;
use prost_reflect::{DescriptorPool, DynamicMessage};
use serde_json::Value;
use std::net::IpAddr;

const ROUTES: &str = "envoy.config.route.v3.RouteConfiguration";
const BOOTSTRAP: &str = "envoy.config.bootstrap.v3.Bootstrap";
const MANAGER: &str =
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const SESSION_FILTER: &str = "envoy.extensions.filters.http.stateful_session.v3.StatefulSession";

/// A route table, and where it stands.
#[derive(Debug)]
pub(super) struct Table {
    /// The `RouteConfiguration`'s name; may be empty.
    pub(super) name: String,
    pub(super) message: Message,
    /// How clients stay with an endpoint, by a filter of the connection manager.
    pub(super) session: Option<(Affinity, String)>,
}

/// What was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) tables: Vec<Table>,
    pub(super) endpoints: Endpoints,
    /// What is not about routes: it stays as it is, in the proxy's own configuration.
    pub(super) stays: Vec<String>,
    pool: DescriptorPool,
    report: Report,
}

impl Found {
    pub(super) fn new(pool: DescriptorPool, report: &Report) -> Found {
        Found {
            tables: Vec::new(),
            endpoints: Endpoints::new(),
            stays: Vec::new(),
            pool,
            report: report.clone(),
        }
    }

    /// Looks through one document. The error has a line for each thing that is wrong.
    pub(super) fn document(&mut self, place: &str, value: Value) -> Result<(), String> {
        let place = format!("{place}: ");
        let has = |keys: &[&str]| keys.iter().any(|key| value.get(*key).is_some());
        if value.is_array() {
            return self.list(&place, value, Unknown::Name);
        }
        if has(&["configs"]) {
            return self.dump(&place, value);
        }
        if has(&["resources"]) {
            let resources = value.get("resources").cloned().unwrap_or_default();
            return self.list(&format!("{place}resources"), resources, Unknown::Refuse);
        }
        let of_bootstrap = [
            "static_resources",
            "staticResources",
            "dynamic_resources",
            "dynamicResources",
            "admin",
            "node",
        ];
        match has(&of_bootstrap) {
            true => self.bootstrap(&place, value, Unknown::Refuse),
            false => self.table(&place, value, Unknown::Refuse),
        }
    }

    /// A list of tables.
    fn list(&mut self, place: &str, value: Value, unknown: Unknown) -> Result<(), String> {
        let Value::Array(items) = value else {
            return Err(format!("{place}: not a list"));
        };
        for (index, item) in items.into_iter().enumerate() {
            let place = format!("{place}[{index}]");
            match type_of(&item) {
                None | Some("RouteConfiguration") => self.table(&place, item, unknown)?,
                Some(other) => self.stays.push(format!("{place} ({other})")),
            }
        }
        Ok(())
    }

    fn decode(
        &self,
        place: &str,
        mut value: Value,
        kind: &str,
        unknown: Unknown,
    ) -> Result<DynamicMessage, String> {
        if let Value::Object(map) = &mut value {
            map.remove("@type");
        }
        let descriptor = self.pool.get_message_by_name(kind);
        let descriptor = descriptor.expect("one of Envoy's messages");
        decode(place, value, &descriptor, unknown, &self.report)
    }

    fn table(&mut self, place: &str, value: Value, unknown: Unknown) -> Result<(), String> {
        let message = self.decode(place, value, ROUTES, unknown)?;
        self.push(Message::new(place, message, &self.report), None);
        Ok(())
    }

    /// A table that was read already.
    #[cfg(test)]
    pub(super) fn push_message(&mut self, place: &str, message: DynamicMessage) {
        self.push(Message::new(place, message, &self.report), None);
    }

    fn push(&mut self, message: Message, session: Option<(Affinity, String)>) {
        self.tables.push(Table {
            name: message.peek("name"),
            message,
            session,
        });
    }

    fn bootstrap(&mut self, place: &str, value: Value, unknown: Unknown) -> Result<(), String> {
        let resources = get(&value, "static_resources");
        let clusters = resources.and_then(|resources| get(resources, "clusters"));
        for cluster in clusters.and_then(Value::as_array).into_iter().flatten() {
            self.endpoints_of(cluster);
        }
        let message = self.decode(place, value, BOOTSTRAP, unknown)?;
        let mut bootstrap = Message::new(place, message, &self.report);
        if let Some(mut resources) = bootstrap.message("static_resources") {
            for listener in resources.messages("listeners") {
                self.listener(listener);
            }
            self.stays.extend(resources.rest());
        }
        self.stays.extend(bootstrap.rest());
        Ok(())
    }

    fn listener(&mut self, mut listener: Message) {
        listener.ignore("name");
        let mut chains = listener.messages("filter_chains");
        chains.extend(listener.message("default_filter_chain"));
        for mut chain in chains {
            chain.ignore("name");
            for mut filter in chain.messages("filters") {
                filter.ignore("name");
                match filter.any("typed_config") {
                    Some(manager) if manager.kind() == MANAGER => self.manager(manager),
                    Some(other) => {
                        self.stays.push(other.place().to_owned());
                        other.rest();
                    }
                    None => {}
                }
                self.stays.extend(filter.rest());
            }
            self.stays.extend(chain.rest());
        }
        self.stays.extend(listener.rest());
    }

    fn manager(&mut self, mut manager: Message) {
        let mut session = None;
        for mut filter in manager.messages("http_filters") {
            let place = filter.place().to_owned();
            let name = filter.text("name").unwrap_or_default();
            let config = match filter.has("typed_config") {
                true => filter.any("typed_config"),
                false => None,
            };
            match config {
                Some(config) if config.kind() == SESSION_FILTER => {
                    let place = config.place().to_owned();
                    // Without a configuration only routes have sessions.
                    if !config.is_empty() {
                        let own = sessions::stateful_session(config);
                        session = own.map(|own| (own, place));
                    }
                }
                other => {
                    self.stays.push(format!("{place} ({name})"));
                    other.map(Message::rest);
                }
            }
            filter.rest();
        }
        let why = "these routes come from a discovery service: import what /config_dump shows";
        manager.refuse("rds", why);
        manager.refuse("scoped_routes", why);
        if let Some(routes) = manager.message("route_config") {
            self.push(routes, session);
        }
        self.stays.extend(manager.rest());
    }

    /// What `/config_dump` shows.
    fn dump(&mut self, place: &str, value: Value) -> Result<(), String> {
        let Some(Value::Array(configs)) = value.get("configs") else {
            return Err(format!("{place}configs: not a list"));
        };
        for (index, config) in configs.iter().enumerate() {
            let place = format!("{place}configs[{index}]");
            let kind = type_of(config).unwrap_or_default().to_owned();
            match kind.as_str() {
                "RoutesConfigDump" => self.routes_dump(&place, config)?,
                "ClustersConfigDump" => {
                    for key in ["static_clusters", "dynamic_active_clusters"] {
                        let clusters = get(config, key).and_then(Value::as_array);
                        let clusters = clusters.into_iter().flatten();
                        for cluster in clusters.filter_map(|it| get(it, "cluster")) {
                            self.endpoints_of(cluster);
                        }
                    }
                    self.stays.push(format!("{place} ({kind})"));
                }
                "ListenersConfigDump" => {
                    self.sessions_in(&place, config);
                    self.stays.push(format!("{place} ({kind})"));
                }
                _ => self.stays.push(format!("{place} ({kind})")),
            }
        }
        Ok(())
    }

    fn routes_dump(&mut self, place: &str, config: &Value) -> Result<(), String> {
        for key in ["static_route_configs", "dynamic_route_configs"] {
            let entries = get(config, key).and_then(Value::as_array);
            for (index, entry) in entries.into_iter().flatten().enumerate() {
                let place = format!("{place}.{key}[{index}].route_config");
                match get(entry, "route_config") {
                    Some(table) => self.table(&place, table.clone(), Unknown::Name)?,
                    None => self.report.add(place, "there is none"),
                }
            }
        }
        Ok(())
    }

    /// The stateful session filters of listeners, which no table of a dump belongs to.
    fn sessions_in(&self, place: &str, value: &Value) {
        match value {
            Value::Object(map) => {
                if type_of(value) == Some("StatefulSession") && map.len() > 1 {
                    let why = "which routes the filter is for does not show in a dump: say \
                               `sticky` in their pools";
                    self.report.add(place, why);
                }
                for (key, value) in map {
                    self.sessions_in(&format!("{place}.{key}"), value);
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.sessions_in(&format!("{place}[{index}]"), item);
                }
            }
            _ => {}
        }
    }

    /// Remembers the endpoints of a cluster, where all of them are addresses.
    fn endpoints_of(&mut self, cluster: &Value) {
        let endpoints = || {
            let mut found = Vec::new();
            let assignment = get(cluster, "load_assignment")?;
            for locality in get(assignment, "endpoints")?.as_array()? {
                for endpoint in get(locality, "lb_endpoints")?.as_array()? {
                    let weight = get(endpoint, "load_balancing_weight").and_then(Value::as_u64);
                    let address = get(get(endpoint, "endpoint")?, "address")?;
                    let address = get(address, "socket_address")?;
                    let ip: IpAddr = get(address, "address")?.as_str()?.parse().ok()?;
                    let port = get(address, "port_value")?.as_u64()?;
                    let port = u16::try_from(port).ok()?;
                    found.push((std::net::SocketAddr::new(ip, port).to_string(), weight));
                }
            }
            (!found.is_empty()).then_some(found)
        };
        let name = get(cluster, "name").and_then(Value::as_str);
        if let (Some(name), Some(endpoints)) = (name, endpoints()) {
            self.endpoints.insert(name.to_owned(), endpoints);
        }
    }
}

/// The last part of a message's `@type`.
fn type_of(value: &Value) -> Option<&str> {
    value.get("@type")?.as_str()?.rsplit(['.', '/']).next()
}

/// A field by its name, in either spelling.
fn get<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    let camel = || {
        let mut words = name.split('_');
        let mut camel = words.next().unwrap_or_default().to_owned();
        for word in words {
            camel.push_str(&word[..1].to_ascii_uppercase());
            camel.push_str(&word[1..]);
        }
        camel
    };
    value.get(name).or_else(|| value.get(camel()))
}

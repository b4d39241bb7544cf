//! The result of one exchange as one JSON object, which `explain --json` prints and a request test
//! compares.

use crate::connection_manager::header_map;
use crate::exchange::{ClientTls, ExchangeRequest, ExchangeResult, Response, pairs_to_json};
use pointsman_core::config::Config;
use pointsman_core::http::client_ip::Client;
use pointsman_core::http::headers::Headers;
use pointsman_core::http::request::Request;
use pointsman_core::index::RouteIndex;
use pointsman_core::port::Connection;
use pointsman_core::route;
use pointsman_core::route::r#match::AskConnection;
use serde_json::{Map, Value, json};
use std::net::{IpAddr, Ipv4Addr};

/// The keys of the object, in the order in which people read them.
pub const KEYS: [&str; 16] = [
    "route",
    "action",
    "pool",
    "target",
    "cluster",
    "endpoint",
    "region",
    "reason",
    "status",
    "limit",
    "protect",
    "configuration",
    "version",
    "request_headers",
    "response_headers",
    "trace",
];

/// The keys of an item of `trace`.
pub const TRACE_KEYS: [&str; 3] = ["name", "matched", "failed"];

/// The object of one exchange. Values that are not UTF-8 are shown as
/// [`shown`](crate::exchange::shown) writes them.
///
/// An error says that the filter's account of its decision contradicts what the host observed, or
/// what a scan over the routes finds. It always is a bug of the filter or of the host, never a
/// mistake of the caller.
pub fn object(
    config: &Config,
    request: &ExchangeRequest,
    result: &ExchangeResult,
) -> Result<Map<String, Value>, String> {
    compare_with_observed(result)?;
    let (route, trace) = trace(config, request);
    if result.decision["route"] != route && !is_undecided(&result.decision) {
        return Err(format!(
            "the filter took the route {}, a scan over the routes finds {route}",
            result.decision["route"]
        ));
    }
    let mut object = Map::new();
    for key in KEYS {
        let value = match key {
            "request_headers" => {
                let headers = result.upstream_headers.as_ref();
                headers.map_or(Value::Null, pairs_to_json)
            }
            "response_headers" => pairs_to_json(&result.response.headers),
            "trace" => trace.clone(),
            // Of what the caller wrote: a host may have switched `explain` on.
            "configuration" => config.hash.to_string().into(),
            "version" => config.version.as_deref().into(),
            _ => result.decision[key].clone(),
        };
        object.insert(key.to_owned(), value);
    }
    Ok(object)
}

/// Whether a request took more than a request may take before its route was known: a scan, which
/// looks at the routes in another way, may know it.
fn is_undecided(decision: &Value) -> bool {
    decision["reason"] == "no_route" && decision["status"] == 431
}

/// The object of a request that the proxy answered before the filter saw it: the action is `proxy`.
pub fn answered_by_proxy(answer: &Response) -> Map<String, Value> {
    let value = |key: &str| match key {
        "action" | "reason" => "proxy".into(),
        "status" => answer.status.into(),
        "response_headers" => pairs_to_json(&answer.headers),
        "trace" => json!([]),
        _ => Value::Null,
    };
    KEYS.map(|key| (key.to_owned(), value(key)))
        .into_iter()
        .collect()
}

/// The name of the route that matches (null: none), and an item for each route that was compared
/// until then.
fn trace(config: &Config, request: &ExchangeRequest) -> (Value, Value) {
    let (found, looked) = with_request(config, request, |request, client| {
        route::scan::scan(&config.routes, request, client)
    });
    let name = |route: RouteIndex| Value::from(&*config.routes[route.get()].name);
    let item = |looked: &route::scan::TraceEntry| {
        let name = name(looked.route);
        json!({ "name": name, "matched": looked.failed.is_none(), "failed": looked.failed })
    };
    (
        found.map_or(Value::Null, |found| name(found.route)),
        looked.iter().map(item).collect(),
    )
}

/// Calls `body` with the request as the filter reads it, and with its connection.
pub fn with_request<T>(
    config: &Config,
    request: &ExchangeRequest,
    body: impl FnOnce(&Request, &mut dyn AskConnection) -> T,
) -> T {
    let headers = Headers::from_pairs(&header_map(request));
    let source = request.client_ip.unwrap_or(Ipv4Addr::LOCALHOST.into());
    let mut connection = KnownConnection {
        client: Client::new(config.client_ip.as_ref(), &headers),
        source: SourceAddress(source),
        tls: &request.tls,
    };
    let request = Request::new(&headers);
    request.steps.set_max_value(config.max_value);
    body(&request, &mut connection)
}

/// A connection of which all is known.
struct KnownConnection<'r> {
    client: Client<'r>,
    source: SourceAddress,
    tls: &'r ClientTls,
}

impl AskConnection for KnownConnection<'_> {
    fn address(&mut self) -> Option<IpAddr> {
        self.client.address_for_networks(&mut self.source)
    }

    fn server_name(&mut self) -> Option<&[u8]> {
        self.tls.sni.as_deref().map(str::as_bytes)
    }

    fn peer(&mut self) -> Option<&[u8]> {
        self.tls.peer.as_deref().map(str::as_bytes)
    }
}

/// A connection of which only the source address can be asked for.
struct SourceAddress(IpAddr);

impl Connection for SourceAddress {
    fn source_address(&mut self) -> Option<IpAddr> {
        Some(self.0)
    }
}

/// Compares the filter's account of its decision with what the host observed. An error says where
/// they differ.
fn compare_with_observed(result: &ExchangeResult) -> Result<(), String> {
    let decided = |key: &str| result.decision[key].as_str();
    let action = decided("action").ok_or_else(|| {
        format!(
            "the filter gave no account of its decision: {}",
            result.decision
        )
    })?;
    let was_asked = result.upstream_headers.is_some();
    match action {
        "forward" => {
            for (key, observed) in [
                ("cluster", &result.upstream_cluster),
                ("endpoint", &result.upstream_endpoint),
            ] {
                if decided(key) != observed.as_deref() {
                    return Err(format!(
                        "the filter chose {key} {:?}, and the proxy asked {observed:?} (the client \
                         got {})",
                        decided(key),
                        result.response.status
                    ));
                }
            }
            Ok(())
        }
        "pass" => Ok(()),
        _ if was_asked => Err(format!(
            "the filter answered by itself ({action}), and {:?} was asked all the same",
            result.upstream_cluster
        )),
        // To gRPC every answer is 200, and has a status of its own.
        _ if is_grpc(&result.response) => Ok(()),
        _ if result.decision["status"] != json!(result.response.status) => Err(format!(
            "the filter answered {}, and the client got {}",
            result.decision["status"], result.response.status
        )),
        _ => Ok(()),
    }
}

fn is_grpc(response: &Response) -> bool {
    let has = |(name, _): &(Vec<u8>, Vec<u8>)| name == b"grpc-status";
    response.status == 200 && response.headers.iter().any(has)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(decision: Value, cluster: Option<&str>, status: u16) -> ExchangeResult {
        ExchangeResult {
            response: Response {
                status,
                headers: vec![(b"a".to_vec(), b"\xff=\"1\"".to_vec())],
                body: Vec::new(),
            },
            upstream_headers: cluster.map(|_| Vec::new()),
            upstream_cluster: cluster.map(str::to_owned),
            upstream_endpoint: None,
            decision,
        }
    }

    fn config() -> Config {
        let config = json!({ "pools": { "p": { "targets": [{ "cluster": "c" }] } }, "client_ip": { "header": "x-ip", "trusted_hops": 1 }, "routes": [
            { "name": "no", "match": { "hosts": ["other"] }, "pool": "p" },
            { "name": "yes", "match": { "client_ip": ["1.2.3.4"] }, "pool": "p" },
            { "name": "later", "pool": "p" },
        ] });
        Config::load(config.to_string().as_bytes()).unwrap()
    }

    fn request(client: &str) -> ExchangeRequest {
        let mut request = ExchangeRequest::new(b"GET", b"http://h/").unwrap();
        request.headers = vec![(b"x-ip".to_vec(), client.as_bytes().to_vec())];
        request
    }

    #[test]
    fn object_has_every_key_and_shows_any_bytes() {
        let result = result(
            json!({ "action": "forward", "cluster": "c", "route": "yes" }),
            Some("c"),
            200,
        );
        let object = object(&config(), &request("1.2.3.4"), &result).unwrap();
        assert_eq!(object.len(), KEYS.len());
        assert_eq!(object["pool"], Value::Null);
        assert_eq!(object["response_headers"], json!([["a", "\\xff=\"1\""]]));
        let [no, yes] = &object["trace"].as_array().unwrap()[..] else {
            panic!("{object:?}")
        };
        assert_eq!((&no["name"], &no["matched"]), (&json!("no"), &json!(false)));
        assert!(no["failed"].as_str().unwrap().contains("host"), "{no}");
        assert_eq!(
            yes,
            &json!({ "name": "yes", "matched": true, "failed": null })
        );
    }

    #[test]
    fn account_that_is_not_what_happened_is_an_error() {
        for (decision, cluster, status, wrong) in [
            (
                json!({ "action": "forward", "cluster": "c" }),
                Some("c"),
                200,
                None,
            ),
            (
                json!({ "action": "forward", "cluster": "c" }),
                Some("d"),
                200,
                Some("asked Some(\"d\")"),
            ),
            (
                json!({ "action": "forward", "cluster": "c" }),
                None,
                503,
                Some("got 503"),
            ),
            (json!({ "action": "pass" }), Some("d"), 200, None),
            (
                json!({ "action": "respond", "status": 403 }),
                None,
                403,
                None,
            ),
            (
                json!({ "action": "respond", "status": 403 }),
                None,
                200,
                Some("got 200"),
            ),
            (
                json!({ "action": "respond", "status": 403 }),
                Some("c"),
                403,
                Some("all the same"),
            ),
            (json!(null), Some("c"), 200, Some("no account")),
        ] {
            let mut decision = decision;
            if !decision.is_null() {
                decision["route"] = "later".into();
            }
            match (
                object(
                    &config(),
                    &request("4.3.2.1"),
                    &result(decision.clone(), cluster, status),
                ),
                wrong,
            ) {
                (Ok(_), None) => {}
                (Err(error), Some(part)) if error.contains(part) => {}
                (result, _) => panic!("{decision}: {result:?}"),
            }
        }
    }

    #[test]
    fn route_that_a_scan_does_not_find_is_an_error() {
        let result = result(
            json!({ "action": "forward", "cluster": "c", "route": "later" }),
            Some("c"),
            200,
        );
        let error = object(&config(), &request("1.2.3.4"), &result).unwrap_err();
        assert!(error.contains("finds \"yes\""), "{error}");
    }
}

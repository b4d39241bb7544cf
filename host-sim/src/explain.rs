//! What happened to one request, as the one object that `explain --json` prints and that a request
//! test compares.

use crate::exchange::{ExchangeRequest, ExchangeResult, Pairs};
use pointsman_core::config::Config;
use pointsman_core::http::client_ip::Client;
use pointsman_core::http::request::{Headers, Request};
use pointsman_core::port::Connection;
use pointsman_core::route::{self, AskClient};
use serde_json::{Map, Value, json};
use std::net::{IpAddr, Ipv4Addr};

/// The keys of the object, in the order in which people read them.
pub const KEYS: [&str; 13] = [
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
    "request_headers",
    "response_headers",
    "trace",
];

/// The keys of an item of `trace`.
pub const TRACE_KEYS: [&str; 3] = ["name", "matched", "failed"];

/// The object of one exchange. Values that are not UTF-8 are shown as [`shown`] writes them.
///
/// An error says that the filter's account of its decision is not what the host saw happen, or not
/// what a look at the routes one by one finds: the filter or the proxy is wrong, never the one who
/// asked.
pub fn object(
    config: &Config,
    ask: &ExchangeRequest,
    told: &ExchangeResult,
) -> Result<Map<String, Value>, String> {
    agrees(told)?;
    let (route, trace) = trace(config, ask);
    if told.decision["route"] != route {
        return Err(format!(
            "the filter took the route {}, a look at one after the other finds {route}",
            told.decision["route"]
        ));
    }
    let mut object = Map::new();
    for key in KEYS {
        let value = match key {
            "request_headers" => told.upstream_headers.as_ref().map_or(Value::Null, pairs),
            "response_headers" => pairs(&told.response.headers),
            "trace" => trace.clone(),
            _ => told.decision[key].clone(),
        };
        object.insert(key.to_owned(), value);
    }
    Ok(object)
}

/// The route that matches, and what was looked at until then.
fn trace(config: &Config, ask: &ExchangeRequest) -> (Value, Value) {
    let (found, looked) = with_request(config, ask, |request, client| {
        route::scan(&config.routes, request, client)
    });
    let name = |route: usize| Value::from(&*config.routes[route].name);
    let item = |looked: &route::Looked| {
        let name = name(looked.route);
        json!({ "name": name, "matched": looked.failed.is_none(), "failed": looked.failed })
    };
    (
        found.map_or(Value::Null, |found| name(found.route)),
        looked.iter().map(item).collect(),
    )
}

/// Looks at a request as it reaches the filter, and at its client.
pub fn with_request<T>(
    config: &Config,
    ask: &ExchangeRequest,
    look: impl FnOnce(&Request, &mut AskClient) -> T,
) -> T {
    let headers = Headers::from_pairs(&request_headers(ask));
    let mut client = Client::new(config.client_ip.as_ref(), &headers);
    let mut source = Source(ask.client_ip.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    look(&Request::new(&headers), &mut || client.address(&mut source))
}

/// The header map of a request, as it reaches the filter.
pub fn request_headers(ask: &ExchangeRequest) -> Pairs {
    let pseudo = [
        (&b":method"[..], &ask.method),
        (b":scheme", &ask.scheme),
        (b":authority", &ask.authority),
        (b":path", &ask.target),
    ];
    let pseudo = pseudo.map(|(name, value)| (name.to_vec(), value.clone()));
    pseudo
        .into_iter()
        .chain(ask.headers.iter().cloned())
        .collect()
}

/// Surroundings in which a client's address is all that can be asked for.
struct Source(IpAddr);

impl Connection for Source {
    fn source_address(&mut self) -> Option<IpAddr> {
        Some(self.0)
    }
}

/// Holds what the filter said against what happened.
fn agrees(told: &ExchangeResult) -> Result<(), String> {
    let said = |key: &str| told.decision[key].as_str();
    let action = said("action").ok_or_else(|| {
        format!(
            "the filter gave no account of its decision: {}",
            told.decision
        )
    })?;
    let asked = told.upstream_headers.is_some();
    match action {
        "forward" => {
            for (key, happened) in [
                ("cluster", &told.upstream_cluster),
                ("endpoint", &told.upstream_endpoint),
            ] {
                if said(key) != happened.as_deref() {
                    return Err(format!(
                        "the filter chose {key} {:?}, and the proxy asked {happened:?} (the client got {})",
                        said(key),
                        told.response.status
                    ));
                }
            }
            Ok(())
        }
        "pass" => Ok(()),
        _ if asked => Err(format!(
            "the filter answered by itself ({action}), and {:?} was asked all the same",
            told.upstream_cluster
        )),
        _ if told.decision["status"] != json!(told.response.status) => Err(format!(
            "the filter answered {}, and the client got {}",
            told.decision["status"], told.response.status
        )),
        _ => Ok(()),
    }
}

/// Headers as JSON: pairs of texts.
pub fn pairs(pairs: &Pairs) -> Value {
    pairs
        .iter()
        .map(|(name, value)| json!([shown(name), shown(value)]))
        .collect()
}

/// Bytes as text: UTF-8 as it is, any other byte as `\xff`.
pub fn shown(bytes: &[u8]) -> String {
    bytes
        .utf8_chunks()
        .map(|chunk| chunk.valid().to_owned() + &chunk.invalid().escape_ascii().to_string())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::Response;

    fn told(decision: Value, cluster: Option<&str>, status: u16) -> ExchangeResult {
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

    fn ask(client: &str) -> ExchangeRequest {
        let mut ask =
            crate::request_test::ask(b"GET", b"http://h/", told(Value::Null, None, 200).response)
                .unwrap();
        ask.headers = vec![(b"x-ip".to_vec(), client.as_bytes().to_vec())];
        ask
    }

    #[test]
    fn object_has_every_key_and_shows_any_bytes() {
        let told = told(
            json!({ "action": "forward", "cluster": "c", "route": "yes" }),
            Some("c"),
            200,
        );
        let object = object(&config(), &ask("1.2.3.4"), &told).unwrap();
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
                    &ask("4.3.2.1"),
                    &told(decision.clone(), cluster, status),
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
        let told = told(
            json!({ "action": "forward", "cluster": "c", "route": "later" }),
            Some("c"),
            200,
        );
        let error = object(&config(), &ask("1.2.3.4"), &told).unwrap_err();
        assert!(error.contains("finds \"yes\""), "{error}");
    }
}

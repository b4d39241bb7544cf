//! What happened to one request, as the one object that `explain --json` prints and that a request test compares.

use crate::exchange::{Pairs, Told};
use serde_json::{Map, Value, json};

/// The keys of the object, in the order in which people read them.
pub const KEYS: [&str; 11] = [
    "route",
    "action",
    "pool",
    "target",
    "cluster",
    "endpoint",
    "reason",
    "status",
    "request_headers",
    "response_headers",
    "trace",
];

/// The keys of an item of `trace`.
pub const TRACE_KEYS: [&str; 3] = ["name", "matched", "failed"];

/// The object of one exchange. Values that are not UTF-8 are shown as [`shown`] writes them.
///
/// An error says that the filter's account of its decision is not what the host saw happen: the filter or the proxy is
/// wrong, never the one who asked.
pub fn object(told: &Told, trace: Value) -> Result<Map<String, Value>, String> {
    agrees(told)?;
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

/// Holds what the filter said against what happened.
fn agrees(told: &Told) -> Result<(), String> {
    let said = |key: &str| told.decision[key].as_str();
    let action =
        said("action").ok_or_else(|| format!("the filter gave no account of its decision: {}", told.decision))?;
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

fn pairs(pairs: &Pairs) -> Value {
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

    fn told(decision: Value, cluster: Option<&str>, status: u16) -> Told {
        Told {
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

    #[test]
    fn object_has_every_key_and_shows_any_bytes() {
        let told = told(json!({"action": "forward", "cluster": "c"}), Some("c"), 200);
        let object = object(&told, json!([])).unwrap();
        assert_eq!(object.len(), KEYS.len());
        assert_eq!(object["route"], Value::Null);
        assert_eq!(object["response_headers"], json!([["a", "\\xff=\"1\""]]));
    }

    #[test]
    fn account_that_is_not_what_happened_is_an_error() {
        for (decision, cluster, status, wrong) in [
            (json!({"action": "forward", "cluster": "c"}), Some("c"), 200, None),
            (
                json!({"action": "forward", "cluster": "c"}),
                Some("d"),
                200,
                Some("asked Some(\"d\")"),
            ),
            (json!({"action": "forward", "cluster": "c"}), None, 503, Some("got 503")),
            (json!({"action": "pass"}), Some("d"), 200, None),
            (json!({"action": "respond", "status": 403}), None, 403, None),
            (json!({"action": "respond", "status": 403}), None, 200, Some("got 200")),
            (
                json!({"action": "respond", "status": 403}),
                Some("c"),
                403,
                Some("all the same"),
            ),
            (json!(null), Some("c"), 200, Some("no account")),
        ] {
            match (object(&told(decision.clone(), cluster, status), json!([])), wrong) {
                (Ok(_), None) => {}
                (Err(error), Some(part)) if error.contains(part) => {}
                (result, _) => panic!("{decision}: {result:?}"),
            }
        }
    }
}

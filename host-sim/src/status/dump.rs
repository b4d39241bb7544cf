//! Pointsman's configurations in Envoy's `/config_dump`.

use crate::configuration::type_url::{STRING, STRUCT, WASM};
use crate::environment;
use pointsman_core::config::Config;
use pointsman_core::config::hash::ConfigurationHash;
use pointsman_core::config::problem::Problems;
use pointsman_core::config::value::Value as Tree;
use serde_json::Value;

/// A configuration that Envoy was given.
#[derive(Debug)]
pub(super) struct Offer {
    /// The plugin's name.
    pub plugin: String,
    /// Its hash.
    pub hash: ConfigurationHash,
    /// What it calls itself, whether or not it loads.
    pub version: Option<String>,
    /// What it loads as.
    pub config: Result<Config, Problems>,
    /// What became of it.
    pub offered: Offered,
}

/// What became of a configuration, by its place in the dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offered {
    /// It stands where what is live stands. (Of ECDS what was refused stands there too.)
    Taken,
    /// It is not live yet, or not any more.
    OnItsWay,
    /// Envoy says that it refused it.
    Refused,
}

/// All of them, each once.
pub(super) fn offers(dump: &Value) -> Vec<Offer> {
    let mut offers = Vec::new();
    collect(dump, Offered::Taken, &mut offers);
    offers
}

fn collect(part: &Value, offered: Offered, found: &mut Vec<Offer>) {
    match part {
        Value::Object(entries) if entries.get("@type").is_some_and(|kind| kind == WASM) => {
            if let Some(offer) = offer(&part["config"], offered)
                && !found.iter().any(|other| other.hash == offer.hash)
            {
                found.push(offer);
            }
        }
        Value::Object(entries) => {
            // What is taken first: of the same hash the first one is kept.
            let mut entries: Vec<_> = entries.iter().collect();
            entries.sort_by_key(|(key, _)| MOVING.contains(&key.as_str()) || *key == REFUSED);
            for (key, value) in entries {
                match key.as_str() {
                    // Its listeners come again, with those that were added.
                    "bootstrap" => {}
                    REFUSED => collect(value, Offered::Refused, found),
                    key if MOVING.contains(&key) => collect(value, Offered::OnItsWay, found),
                    _ => collect(value, offered, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, offered, found)),
        _ => {}
    }
}

/// Where a listener stands that was refused.
const REFUSED: &str = "error_state";
/// Where a listener stands that is about to be used, or was.
const MOVING: [&str; 2] = ["warming_state", "draining_state"];

/// The configuration of a plugin. None: it is of another vendor.
fn offer(plugin: &Value, offered: Offered) -> Option<Offer> {
    let configuration = &plugin["configuration"];
    let value = &configuration["value"];
    let tree: Tree = match configuration["@type"].as_str()? {
        STRUCT => serde_json::from_value(value.clone()).ok()?,
        STRING => serde_json::from_str(value.as_str()?).ok()?,
        _ => return None,
    };
    let Tree::Map(entries) = &tree else {
        return None;
    };
    let of = |key: &str| entries.iter().find(|(own, _)| own == key).map(|(_, it)| it);
    if of("routes").is_none() && of("pools").is_none() {
        return None;
    }
    let name = plugin["name"].as_str().unwrap_or_default();
    Some(Offer {
        plugin: format!("filter `{name}`"),
        hash: ConfigurationHash::of(&tree),
        version: match of("version") {
            Some(Tree::Text(version)) => Some(version.clone()),
            _ => None,
        },
        config: environment::load_anywhere(&tree),
        offered,
    })
}

//! Whom the filter takes for the client, and whom the proxy does.

use super::{MANAGER, Warning, list};
use crate::configuration::field;
use crate::connection_manager::ClientSettings;
use pointsman_core::config::Config;
use pointsman_core::config::value::Value;

/// The header that Envoy itself reads and writes. Of another one it knows nothing.
const FORWARDED_FOR: &[u8] = b"x-forwarded-for";

/// Two answers to the question who the client is. Where an extension tells Envoy, and where Envoy
/// neither appends to the header nor is told of proxies, it has none.
pub(super) fn warning(manager: &Value, config: &Config) -> Option<Warning> {
    let ours = config.client_ip.as_ref()?;
    if *ours.header != *FORWARDED_FOR
        || !list(manager, "original_ip_detection_extensions").is_empty()
    {
        return None;
    }
    let settings = ClientSettings::read(manager);
    let is_told = field(manager, "xff_num_trusted_hops").is_some();
    if !settings.use_remote_address && !is_told {
        return None;
    }
    // Which address from the right the proxy takes, of the header as the filter gets it. 0: none.
    let appends = settings.use_remote_address && !settings.skip_append;
    let right = match settings.use_remote_address {
        true => settings.trusted_hops + usize::from(appends),
        false => settings.trusted_hops + 1,
    };
    let hops = usize::from(ours.trusted_hops);
    if hops == right {
        return None;
    }
    let why = match hops > right {
        true => "a client writes that address itself, so its limits and networks are what it says",
        false => {
            "that is the address of a proxy of your own, so all clients behind it are one to \
             limits, hashes and networks"
        }
    };
    let advice = match right {
        0 => "leave `client_ip` out: Envoy's source address is the client's".to_owned(),
        right => format!(
            "write `trusted_hops: {right}`, or leave `client_ip` out: Envoy's source address is \
             the client's already"
        ),
    };
    Some(Warning::new(
        "trusted_hops",
        format!("{MANAGER}: xff_num_trusted_hops"),
        format!(
            "is {}, and `client_ip` says `trusted_hops: {hops}`",
            settings.trusted_hops
        ),
        why,
        &advice,
    ))
}

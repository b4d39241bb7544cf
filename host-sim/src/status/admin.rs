//! An Envoy's admin address, as a person writes it, and what it answers.

use crate::client::Client;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::cell::RefCell;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

/// The port where nothing else is said: that of the shipped files.
pub const DEFAULT_PORT: u16 = 9901;

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The admin interface of a running Envoy.
pub struct Admin {
    /// As it was written.
    address: String,
    client: RefCell<Client>,
}

impl Admin {
    /// `http://127.0.0.1:9901`, `127.0.0.1:9901`, `edge-1` or `[::1]`. An error says what is wrong
    /// with it, or that nobody listens there.
    pub fn open(url: &str) -> Result<Admin> {
        let address = host_and_port(url)?;
        let advice = "; is that the admin address of an Envoy (`admin.address` in its file)?";
        let candidates: Vec<SocketAddr> = address
            .to_socket_addrs()
            .with_context(|| format!("{address}: no such host"))?
            .collect();
        let mut last = None;
        for candidate in candidates {
            match TcpStream::connect_timeout(&candidate, CONNECT_TIMEOUT) {
                Ok(_) => {
                    return Ok(Admin {
                        client: RefCell::new(Client::new(candidate)?),
                        address,
                    });
                }
                Err(error) => last = Some(error),
            }
        }
        match last {
            Some(error) => bail!("{address}: {error}{advice}"),
            None => bail!("{address}: no such host"),
        }
    }

    /// `127.0.0.1:9901`
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What Envoy says of itself. An error where this is no Envoy's admin interface.
    pub fn server_info(&self) -> Result<Value> {
        let no_envoy = || {
            format!(
                "{} answers, and not as an Envoy's admin interface does",
                self.address
            )
        };
        let info = self.json("/server_info").with_context(no_envoy)?;
        match info["version"].is_string() && info["state"].is_string() {
            true => Ok(info),
            false => bail!("{}", no_envoy()),
        }
    }

    /// An answer in JSON.
    pub fn json(&self, path: &str) -> Result<Value> {
        let shown = path.split('?').next().unwrap_or(path);
        let answer = self.client.borrow_mut().get(&self.address, path)?;
        let status = answer.status();
        if !status.is_success() {
            bail!("GET {shown}: {status}");
        }
        serde_json::from_slice(answer.body()).with_context(|| format!("GET {shown}: not JSON"))
    }
}

/// `host:port` of what was written.
fn host_and_port(url: &str) -> Result<String> {
    let rest = match url.split_once("://") {
        None => url,
        Some(("http", rest)) => rest,
        Some((scheme, _)) => bail!("{url}: an admin interface speaks http, not {scheme}"),
    };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let after_brackets = host.rsplit(']').next().unwrap_or(host);
    let port = after_brackets.rsplit_once(':').map(|(_, port)| port);
    match port {
        _ if host.is_empty() || host.starts_with(':') => bail!("{url}: no host"),
        None => Ok(format!("{host}:{DEFAULT_PORT}")),
        Some(port) => match port.parse::<u16>() {
            Ok(1..) => Ok(host.to_owned()),
            _ => bail!("{url}: the port `{port}` is no number from 1 to 65535"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_as_people_do() {
        for (url, expected) in [
            ("http://127.0.0.1:9901", Ok("127.0.0.1:9901")),
            ("http://edge-1:8001/", Ok("edge-1:8001")),
            ("127.0.0.1:9901/stats?format=json", Ok("127.0.0.1:9901")),
            ("edge-1", Ok("edge-1:9901")),
            ("[::1]", Ok("[::1]:9901")),
            ("http://[::1]:15000/", Ok("[::1]:15000")),
            ("https://edge-1:9901", Err("speaks http, not https")),
            ("http://", Err("no host")),
            (":9901", Err("no host")),
            ("", Err("no host")),
            ("edge-1:99999", Err("`99999` is no number from 1 to 65535")),
            ("edge-1:0", Err("`0`")),
            ("edge-1:", Err("``")),
        ] {
            match (host_and_port(url), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{url}"),
                (Err(error), Err(part)) => {
                    assert!(error.to_string().contains(part), "{url}: {error}");
                }
                (found, _) => panic!("{url}: {found:?}"),
            }
        }
    }
}

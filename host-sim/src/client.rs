//! A plain HTTP/1.1 client: one connection, kept alive, one request at a time.

use anyhow::{Context, Result, anyhow};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::SendRequest;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

/// How long a response may take. Far above what a loaded machine needs; it only keeps a broken
/// proxy from hanging us.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);

/// A client of one server. It opens its connection with the first request, and anew after the
/// connection was closed.
pub struct Client {
    address: SocketAddr,
    connection: Option<SendRequest<Full<Bytes>>>,
    /// Last, so that the connection's task goes after its sender.
    runtime: Runtime,
}

impl Client {
    /// A client of the server at `address`.
    pub fn new(address: SocketAddr) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        Ok(Self {
            address,
            connection: None,
            runtime,
        })
    }

    /// Sends a request, whose URI is the path and query and whose `host` header stands among its
    /// headers, and waits for the whole response.
    pub fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Bytes>> {
        let exchange = async {
            let mut kept = self.connection.take();
            if let Some(connection) = &mut kept
                && connection.ready().await.is_err()
            {
                kept = None;
            }
            let mut connection = match kept {
                Some(connection) => connection,
                None => connect(self.address).await?,
            };
            let (head, body) = connection
                .send_request(request)
                .await
                .context("no response")?
                .into_parts();
            let body = body
                .collect()
                .await
                .context("the response broke off")?
                .to_bytes();
            self.connection = Some(connection);
            Ok(Response::from_parts(head, body))
        };
        self.runtime
            .block_on(async { tokio::time::timeout(RESPONSE_TIMEOUT, exchange).await })
            .unwrap_or_else(|_| Err(anyhow!("no response within {RESPONSE_TIMEOUT:?}")))
            .with_context(|| format!("a request to {}", self.address))
    }

    /// Sends `GET path` to this `host`.
    pub fn get(&mut self, host: &str, path: &str) -> Result<Response<Bytes>> {
        self.get_with::<&str>(host, path, &[])
    }

    /// Sends `GET path` to this `host`, with these headers. A `host` among them takes the place of
    /// the one before.
    pub fn get_with<V: AsRef<[u8]>>(
        &mut self,
        host: &str,
        path: &str,
        headers: &[(&str, V)],
    ) -> Result<Response<Bytes>> {
        let mut request = Request::get(path);
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", host);
        }
        for (name, value) in headers {
            request = request.header(*name, value.as_ref());
        }
        self.send(request.body(Full::default())?)
    }

    /// The next request opens a new connection.
    pub fn disconnect(&mut self) {
        self.connection = None;
    }
}

async fn connect(address: SocketAddr) -> Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // The sender gets the connection's error too.
    tokio::spawn(connection);
    Ok(sender)
}

/// The value of a response's header; empty where there is none, or where it is no text.
pub fn header<'r>(response: &'r Response<Bytes>, name: &str) -> &'r str {
    let value = response.headers().get(name);
    value
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

/// The status of an answer, and the name of the backend that gave it: empty where none did.
pub fn status_and_backend(response: &Response<Bytes>) -> (u16, String) {
    let backend = header(response, "x-backend").to_owned();
    (response.status().as_u16(), backend)
}

/// The cookie that a response sets, as a client sends it back: `name=value`.
pub fn session_cookie(response: &Response<Bytes>) -> Option<String> {
    let pair = header(response, "set-cookie").split(';').next()?;
    (!pair.is_empty()).then(|| pair.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{Answer, Backend};

    #[test]
    fn a_host_among_the_headers_takes_the_place_of_the_other() {
        let backend = Backend::start("a").unwrap();
        let mut client = Client::new(backend.address()).unwrap();
        client.get_with("a.example", "/x", &[("x-a", "1")]).unwrap();
        client
            .get_with("a.example", "/", &[("host", "b.example")])
            .unwrap();
        let pair = |name: &str, value: &str| (name.into(), value.into());
        let [first, second] = &backend.take_received()[..] else {
            panic!("two requests")
        };
        let expected = [
            pair(":method", "GET"),
            pair(":path", "/x"),
            pair(":authority", "a.example"),
            pair("x-a", "1"),
        ];
        assert_eq!(first.headers, expected);
        assert_eq!(second.headers[2..], [pair(":authority", "b.example")]);
    }

    #[test]
    fn a_session_cookie_is_the_pair_before_its_attributes() {
        let backend = Backend::start("a").unwrap();
        let mut client = Client::new(backend.address()).unwrap();
        let plain = client.get("a", "/").unwrap();
        assert_eq!(
            (header(&plain, "x-backend"), header(&plain, "x-b")),
            ("a", "")
        );
        assert_eq!(session_cookie(&plain), None);
        let cookie = (b"set-cookie".to_vec(), b"pm=x; path=/; httponly".to_vec());
        backend.answer(Answer::With(crate::exchange::Response {
            status: 200,
            headers: vec![cookie],
            body: Vec::new(),
        }));
        let set = client.get("a", "/").unwrap();
        assert_eq!(session_cookie(&set).as_deref(), Some("pm=x"));
    }
}

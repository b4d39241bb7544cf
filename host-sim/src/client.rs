//! A plain HTTP/1.1 client: one connection, kept alive, one request at a time. And many at work at
//! once.

use anyhow::{Context, Result, anyhow};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::SendRequest;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::scope;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

/// How long an answer may take. Far above what a loaded machine needs; it only keeps a broken proxy
/// from hanging us.
const PATIENCE: Duration = Duration::from_secs(60);

/// A client of one server. Its connection is opened when it is needed and opened anew after it was
/// closed.
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
            .block_on(async { tokio::time::timeout(PATIENCE, exchange).await })
            .unwrap_or_else(|_| Err(anyhow!("no response within {PATIENCE:?}")))
            .with_context(|| format!("a request to {}", self.address))
    }

    /// Asks for `path` with this `host`.
    pub fn get(&mut self, host: &str, path: &str) -> Result<Response<Bytes>> {
        self.send(
            Request::get(path)
                .header("host", host)
                .body(Full::default())?,
        )
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
    // Its error is told to the sender too.
    tokio::spawn(connection);
    Ok(sender)
}

/// Ends the work when it is dropped: in a scope whose own thread panics, clients without an end
/// would never be joined.
struct Over<'w>(&'w AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Acts while so many clients are at work, each on a thread of its own, and returns what they made
/// and what the act did. A client gets its number, and goes on until it is told that it is over: as
/// soon as the act is, also where that panics. The act can ask whether a client has ended before.
///
/// # Panics
/// Where the act does, or a client.
pub fn at_work<C: Send, T>(
    clients: usize,
    client: impl Fn(usize, &AtomicBool) -> C + Sync,
    act: impl FnOnce(&dyn Fn() -> bool) -> T,
) -> (Vec<C>, T) {
    let over = AtomicBool::new(false);
    scope(|scope| {
        let (client, over) = (&client, &over);
        let clients: Vec<_> = (0..clients)
            .map(|number| scope.spawn(move || client(number, over)))
            .collect();
        let acted = {
            let _over = Over(over);
            act(&|| clients.iter().any(|client| client.is_finished()))
        };
        let made = clients
            .into_iter()
            .map(|client| client.join().unwrap_or_else(|panic| resume_unwind(panic)));
        (made.collect(), acted)
    })
}

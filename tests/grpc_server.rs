//! A server of gRPC over HTTP/2 on an own thread, whose answers a test gives.

use h2::RecvStream;
use h2::server::{self, SendResponse};
use hyper::body::Bytes;
use hyper::http::{HeaderMap, Request, Response};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::spawn;
use tokio::net::TcpListener;
use tokio::runtime::Builder;

/// The end of a call.
#[derive(Clone, Debug)]
pub struct Answer {
    /// A message with its frame. None: the status is among the headers, and there is no body.
    pub message: Option<Vec<u8>>,
    /// The `grpc-status`.
    pub status: u32,
}

/// Starts a server that answers each call so, once its body is complete. It runs for as long as the
/// process.
///
/// # Panics
/// Where there is no free port.
pub fn start(answer: impl Fn(&Request<Vec<u8>>) -> Answer + Send + Sync + 'static) -> SocketAddr {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let listener = runtime.block_on(listener).expect("a free port");
    let address = listener.local_addr().expect("its address");
    let answer = Arc::new(answer);
    spawn(move || {
        runtime.block_on(async {
            while let Ok((stream, _)) = listener.accept().await {
                let answer = answer.clone();
                tokio::spawn(async move {
                    let mut connection = server::handshake(stream).await?;
                    while let Some(call) = connection.accept().await {
                        let (request, respond) = call?;
                        let answer = answer.clone();
                        tokio::spawn(async move {
                            let request = whole(request).await?;
                            send(respond, answer(&request))
                        });
                    }
                    Ok::<_, h2::Error>(())
                });
            }
        });
    });
    address
}

async fn whole(request: Request<RecvStream>) -> Result<Request<Vec<u8>>, h2::Error> {
    let (head, mut body) = request.into_parts();
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        bytes.extend(data?);
    }
    Ok(Request::from_parts(head, bytes))
}

fn send(mut respond: SendResponse<Bytes>, answer: Answer) -> Result<(), h2::Error> {
    let mut head = Response::new(());
    let headers = head.headers_mut();
    headers.insert("content-type", "application/grpc".parse().expect("a value"));
    let Some(message) = answer.message else {
        headers.insert("grpc-status", answer.status.into());
        return respond.send_response(head, true).map(drop);
    };
    let mut body = respond.send_response(head, false)?;
    body.send_data(message.into(), false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", answer.status.into());
    body.send_trailers(trailers)
}

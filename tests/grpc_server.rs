//! A server of gRPC over HTTP/2 on an own thread, whose answers a test gives.

use h2::RecvStream;
use h2::server::{self, SendResponse};
use hyper::body::Bytes;
use hyper::http::{HeaderMap, Request, Response};
use std::future::pending;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::{JoinHandle, spawn};
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::sync::oneshot::{self, Sender};

/// The end of a call.
#[derive(Clone, Debug)]
pub struct Answer {
    /// A message with its frame. None: the status is among the headers, and there is no body.
    pub message: Option<Vec<u8>>,
    /// The `grpc-status`.
    pub status: u32,
}

/// A server. It ends with its owner.
pub struct GrpcServer {
    address: SocketAddr,
    answer: Answers,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What a call gets, once its first message is complete. None: nothing, ever.
type Answers = Arc<dyn Fn(&Request<Vec<u8>>) -> Option<Answer> + Send + Sync>;

impl GrpcServer {
    /// Starts it on a free port.
    ///
    /// # Panics
    /// Where there is none.
    pub fn start(
        answer: impl Fn(&Request<Vec<u8>>) -> Option<Answer> + Send + Sync + 'static,
    ) -> GrpcServer {
        let mut server = GrpcServer {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            answer: Arc::new(answer),
            stop: None,
            thread: None,
        };
        server.start_again();
        server
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it with all of its connections.
    pub fn kill(&mut self) {
        let _ = self.stop.take().map(|stop| stop.send(()));
        let _ = self.thread.take().map(JoinHandle::join);
    }

    /// Starts it at its address, after it was killed.
    ///
    /// # Panics
    /// Where somebody else has that.
    pub fn start_again(&mut self) {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind(self.address));
        let listener = listener.expect("a free port");
        self.address = listener.local_addr().expect("its address");
        let (stop, stopped) = oneshot::channel();
        let answer = self.answer.clone();
        self.stop = Some(stop);
        self.thread = Some(spawn(move || {
            runtime.block_on(async {
                // The runtime's end is that of its tasks.
                tokio::spawn(serve(listener, answer));
                let _ = stopped.await;
            });
        }));
    }
}

impl Drop for GrpcServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A server that answers each call, and runs for as long as the process.
pub fn start(answer: impl Fn(&Request<Vec<u8>>) -> Answer + Send + Sync + 'static) -> SocketAddr {
    let server = GrpcServer::start(move |request| Some(answer(request)));
    let address = server.address();
    std::mem::forget(server);
    address
}

async fn serve(listener: TcpListener, answer: Answers) {
    while let Ok((stream, _)) = listener.accept().await {
        let answer = answer.clone();
        tokio::spawn(async move {
            let mut connection = server::handshake(stream).await?;
            while let Some(call) = connection.accept().await {
                let (request, respond) = call?;
                let answer = answer.clone();
                tokio::spawn(async move {
                    let request = whole(request).await?;
                    match answer(&request) {
                        Some(answer) => send(respond, answer),
                        None => {
                            // It is under way for as long as the other side waits.
                            let _respond = respond;
                            pending().await
                        }
                    }
                });
            }
            Ok::<_, h2::Error>(())
        });
    }
}

/// A call with its first message: that of a stream may be followed by others.
async fn whole(request: Request<RecvStream>) -> Result<Request<Vec<u8>>, h2::Error> {
    let (head, mut body) = request.into_parts();
    let mut bytes = Vec::new();
    while !is_message(&bytes) {
        match body.data().await {
            Some(data) => bytes.extend(data?),
            None => break,
        }
    }
    Ok(Request::from_parts(head, bytes))
}

/// Whether a message's frame is complete.
fn is_message(bytes: &[u8]) -> bool {
    let Some((&[_, a, b, c, d], message)) = bytes.split_first_chunk() else {
        return false;
    };
    u64::from(u32::from_be_bytes([a, b, c, d])) <= message.len() as u64
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

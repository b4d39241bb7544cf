//! Real HTTP/1.1 servers that say their name, remember the requests that they got, and answer as
//! they are told to.

use crate::exchange::{Pairs, Response};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{HOST, HeaderValue};
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

/// How many requests a backend remembers: the latest. The memory of a backend that runs for hours
/// must not grow.
pub const REMEMBERED_REQUESTS: usize = 32_768;

/// A server on a thread of its own. It stops when dropped.
#[derive(Debug)]
pub struct Backend {
    name: String,
    address: SocketAddr,
    state: Arc<Mutex<BackendState>>,
    /// Dropped: the server stops.
    stop: Option<oneshot::Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

/// A request that a backend got.
#[derive(Clone, Debug, PartialEq)]
pub struct Received {
    /// `:method`, `:path` and `:authority` (which HTTP/1.1 calls `host`) first; names in lower
    /// case.
    pub headers: Pairs,
    /// The body.
    pub body: Vec<u8>,
}

/// What a backend does with a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Answers 200, with its name in the body and in `x-backend`.
    Name,
    /// Answers with this response, and its name in `x-backend`.
    With(Response),
    /// The same after this time.
    After(Duration, Response),
    /// Holds the request until it is told another answer, and gives that: what has to be under way
    /// at once is, however slow the machine is.
    Hold,
    /// Begins to answer with this response, and does not end it.
    Begin(Response),
    /// Closes the connection without an answer.
    Close,
}

#[derive(Debug)]
struct BackendState {
    answer: Answer,
    /// Tells the requests that are held that there is another answer.
    changed: Arc<Notify>,
    most_remembered: usize,
    received: VecDeque<Received>,
    count: usize,
    /// The requests that are being answered, and the most that there ever were.
    at_once: usize,
    most_at_once: usize,
}

/// A request that is being answered.
struct Answering<'s>(&'s Mutex<BackendState>);

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        lock(self.0).at_once -= 1;
    }
}

impl Backend {
    /// Starts a server on a free port of 127.0.0.1.
    pub fn start(name: &str) -> io::Result<Self> {
        Self::start_at(name, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

    /// Starts a server at `address`. Fails where it cannot be bound.
    pub fn start_at(name: &str, address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(BackendState {
            answer: Answer::Name,
            changed: Arc::default(),
            most_remembered: REMEMBERED_REQUESTS,
            received: VecDeque::new(),
            count: 0,
            at_once: 0,
            most_at_once: 0,
        }));
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let server = serve(name.to_owned(), listener, Arc::clone(&state));
        let thread = std::thread::Builder::new()
            .name(format!("backend {name}"))
            .spawn(move || {
                runtime.block_on(async {
                    tokio::spawn(server);
                    // Never a message, only the end of the sender; what is still being served ends
                    // with the runtime.
                    let _ = stopped.await;
                });
            })?;
        Ok(Self {
            name: name.to_owned(),
            address,
            state,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Its name, which each of its answers has.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it does from now on. At first: [`Answer::Name`].
    pub fn answer(&self, answer: Answer) {
        let mut state = self.state();
        state.answer = answer;
        state.changed.notify_waiters();
    }

    /// From now on it remembers no request: under load, to remember a request costs more than to
    /// answer it.
    pub fn forget(&self) {
        let mut state = self.state();
        state.most_remembered = 0;
        state.received.clear();
    }

    /// How many requests it got since it was started.
    pub fn count(&self) -> usize {
        self.state().count
    }

    /// How many requests it answered at once, at most, since it was started. (One that it begins to
    /// answer and does not end is answered as soon as it began.)
    pub fn most_at_once(&self) -> usize {
        self.state().most_at_once
    }

    /// The requests since the last call, oldest first; at most [`REMEMBERED_REQUESTS`], and none
    /// after [`Backend::forget`].
    pub fn take_received(&self) -> Vec<Received> {
        self.state().received.drain(..).collect()
    }

    /// Stops it, as if its process were killed: connections break, and new ones are refused.
    pub fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }

    /// Starts it anew at the same address after [`Backend::stop`]; it has got no requests yet, and
    /// answers with its name.
    pub fn start_again(&mut self) -> io::Result<()> {
        self.stop();
        *self = Self::start_at(&self.name, self.address)?;
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, BackendState> {
        lock(&self.state)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A backend's thread that panicked must not hide what it had received until then.
fn lock(state: &Mutex<BackendState>) -> MutexGuard<'_, BackendState> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(
    name: String,
    listener: TcpListener,
    state: Arc<Mutex<BackendState>>,
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let name = Arc::new(name);
    loop {
        // An accept fails for reasons that pass (no free descriptor, a client that left).
        let Ok((stream, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        stream.set_nodelay(true)?;
        let (name, state) = (Arc::clone(&name), Arc::clone(&state));
        let service = service_fn(move |request| {
            let (name, state) = (Arc::clone(&name), Arc::clone(&state));
            async move { handle(&name, &state, request).await }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(stream), service);
        tokio::spawn(connection);
    }
}

async fn handle(
    name: &str,
    state: &Mutex<BackendState>,
    request: hyper::Request<Incoming>,
) -> Result<hyper::Response<Body>, io::Error> {
    let (head, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map_err(io::Error::other)?
        .to_bytes()
        .to_vec();
    let mut answer = {
        let mut state = lock(state);
        state.count += 1;
        state.at_once += 1;
        state.most_at_once = state.most_at_once.max(state.at_once);
        if state.most_remembered > 0 {
            if state.received.len() == state.most_remembered {
                state.received.pop_front();
            }
            state.received.push_back(Received {
                headers: headers_of(&head),
                body,
            });
        }
        state.answer.clone()
    };
    let _answering = Answering(state);
    while answer == Answer::Hold {
        let changed = Arc::clone(&lock(state).changed);
        let mut changed = std::pin::pin!(changed.notified());
        // From here on no change is missed.
        changed.as_mut().enable();
        answer = lock(state).answer.clone();
        if answer == Answer::Hold {
            changed.await;
        }
    }
    let ends = !matches!(answer, Answer::Begin(_));
    let response = match answer {
        Answer::Close => return Err(io::ErrorKind::ConnectionReset.into()),
        // It holds no longer.
        Answer::Hold | Answer::Name => Response {
            status: 200,
            headers: Vec::new(),
            body: format!("{name}\n").into_bytes(),
        },
        Answer::With(response) | Answer::Begin(response) => response,
        Answer::After(delay, response) => {
            tokio::time::sleep(delay).await;
            response
        }
    };
    let mut built = hyper::Response::builder()
        .status(response.status)
        .header("x-backend", name);
    for (key, value) in response.headers {
        built = built.header(
            key,
            HeaderValue::from_bytes(&value).map_err(io::Error::other)?,
        );
    }
    built
        .body(match ends {
            true => Either::Left(Full::new(response.body.into())),
            false => Either::Right(Endless(Some(response.body.into()))),
        })
        .map_err(io::Error::other)
}

type Body = Either<Full<Bytes>, Endless>;

/// A body that begins with these bytes, and does not end.
struct Endless(Option<Bytes>);

impl hyper::body::Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.0.take() {
            Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            None => Poll::Pending,
        }
    }
}

fn headers_of(head: &Parts) -> Pairs {
    let mut headers = vec![
        (b":method".to_vec(), head.method.as_str().into()),
        (
            b":path".to_vec(),
            head.uri
                .path_and_query()
                .map_or_else(Vec::new, |path| path.as_str().into()),
        ),
        (
            b":authority".to_vec(),
            head.headers
                .get(HOST)
                .map_or_else(Vec::new, |host| host.as_bytes().into()),
        ),
    ];
    let rest = head.headers.iter().filter(|(key, _)| *key != HOST);
    headers.extend(rest.map(|(key, value)| (key.as_str().into(), value.as_bytes().into())));
    headers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Client;

    fn get(path: &str) -> hyper::Request<Full<Bytes>> {
        hyper::Request::get(path)
            .header(HOST, "a.example")
            .header("x-a", "1")
            .body(Full::default())
            .unwrap()
    }

    #[test]
    fn a_backend_says_who_it_is_and_remembers_what_it_was_asked() {
        let backend = Backend::start("blue").unwrap();
        let mut client = Client::new(backend.address()).unwrap();
        let response = client.send(get("/x?y=1")).unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.body()[..]),
            (200, &b"blue\n"[..])
        );
        assert_eq!(response.headers()["x-backend"], "blue");
        let pair = |key: &str, value: &str| (key.as_bytes().to_vec(), value.as_bytes().to_vec());
        assert_eq!(
            backend.take_received()[0].headers,
            [
                pair(":method", "GET"),
                pair(":path", "/x?y=1"),
                pair(":authority", "a.example"),
                pair("x-a", "1")
            ]
        );
        assert_eq!((backend.count(), backend.take_received()), (1, vec![]));
    }

    #[test]
    fn a_backend_answers_as_told() {
        let backend = Backend::start("blue").unwrap();
        let mut client = Client::new(backend.address()).unwrap();
        let told = Response {
            status: 503,
            headers: vec![(b"x-b".to_vec(), b"\xff".to_vec())],
            body: b"no".to_vec(),
        };
        backend.answer(Answer::With(told));
        let response = client.send(get("/")).unwrap();
        assert_eq!(
            (
                response.status().as_u16(),
                response.headers()["x-b"].as_bytes()
            ),
            (503, &b"\xff"[..])
        );
        backend.answer(Answer::Close);
        assert!(client.send(get("/")).is_err());
        backend.answer(Answer::Name);
        assert_eq!(
            client.send(get("/")).unwrap().status().as_u16(),
            200,
            "on a new connection"
        );
        assert_eq!(backend.count(), 3);
    }

    #[test]
    fn a_request_that_is_held_gets_the_next_answer() {
        let backend = Backend::start("blue").unwrap();
        backend.answer(Answer::Hold);
        let held = std::thread::scope(|scope| {
            let ask = || {
                let mut client = Client::new(backend.address()).unwrap();
                client.send(get("/")).unwrap().status().as_u16()
            };
            let clients = [(); 3].map(|()| scope.spawn(ask));
            crate::wait::until("they are held", || backend.most_at_once() == 3);
            assert!(clients.iter().all(|client| !client.is_finished()));
            backend.answer(Answer::Hold);
            backend.answer(Answer::With(Response::bare(204)));
            clients.map(|client| client.join().unwrap())
        });
        assert_eq!(held, [204; 3]);
    }
}

//! Attacks on the health of targets: what one client can do so that a proxy takes a target for ill
//! that is well, and a server that is well, and lets all of it be done to it.

use crate::testkit::load;
use anyhow::{Context, Result};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

/// The time in which a proxy under attack should give up a response, or less: what it cuts then is
/// longer.
pub const ROUTE_TIMEOUT: Duration = Duration::from_secs(5);
/// The same for one try that has no answer. Far above what an honest request takes on a busy
/// machine: if a try of all other clients fails too, then the target fails everybody, and its
/// ejection is right.
pub const TRY_TIMEOUT: Duration = Duration::from_millis(2000);

/// How long the server takes for `/slow`, and how long a slow reader stays.
const SLOW: Duration = Duration::from_millis(3000);
const READS_NOTHING_FOR: Duration = Duration::from_secs(8);
/// How long the server waits for a body.
const BODY_TIMEOUT: Duration = Duration::from_millis(200);
/// How long an attacker waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// More than a proxy and its sockets hold.
const BIG: usize = 64 * 1024 * 1024;
/// A part of what is long.
static CHUNK: [u8; 64 * 1024] = [b'x'; 64 * 1024];
/// More than a proxy takes of a response's headers (Envoy: 80 KiB).
const LONG_HEADER: usize = 90_000;
/// More than a proxy buffers of a request.
const UPLOAD: usize = 4 * 1024 * 1024;

/// Something that a client does.
#[derive(Clone, Copy, Debug)]
pub struct Attack {
    /// What it is.
    pub name: &'static str,
    request: &'static str,
    then: Then,
}

#[derive(Clone, Copy, Debug)]
enum Then {
    /// Waits for the answer and the end of the connection.
    Read,
    /// Sends a body, whatever comes.
    Upload,
    /// Stays, and does not read.
    Stay,
}

/// All of them.
pub const ATTACKS: &[Attack] = &[
    Attack {
        name: "a GET that says it is gRPC, answered 200",
        request: "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: application/grpc\r\n\r\n",
        then: Then::Read,
    },
    Attack {
        name: "a GET that says it is gRPC, answered 400",
        request: "GET /400 HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: application/grpc\r\n\r\n",
        then: Then::Read,
    },
    Attack {
        name: "a WebSocket that the server ends",
        request: "GET /socket HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        then: Then::Read,
    },
    Attack {
        name: "an upload that stops, to a server with a body time-out",
        request: "POST /upload HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 100000\r\n\r\nx",
        then: Then::Read,
    },
    Attack {
        name: "an upload to a server that answers 413 and closes",
        request: "POST /413 HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 4194304\r\n\r\n",
        then: Then::Upload,
    },
    Attack {
        name: "a reader that does not read",
        request: "GET /big HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        then: Then::Stay,
    },
    Attack {
        name: "an answer with too long a header",
        request: "GET /long HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        then: Then::Read,
    },
    Attack {
        name: "a grpc-timeout that is too short",
        request: "POST /deadline HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: application/grpc\r\ngrpc-timeout: 1m\r\ncontent-length: 0\r\n\r\n",
        then: Then::Read,
    },
    Attack {
        name: "a method that the server does not know",
        request: "PROPFIND /501 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        then: Then::Read,
    },
    Attack {
        name: "what takes longer than a try may",
        request: "GET /slow HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        then: Then::Read,
    },
    Attack {
        name: "what the application breaks on, 500",
        request: "GET /500 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        then: Then::Read,
    },
    Attack {
        name: "what the application dies of, without an answer",
        request: "GET /dies HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        then: Then::Read,
    },
    Attack {
        name: "what the application dies of, in its answer",
        request: "GET /half HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        then: Then::Read,
    },
];

impl Attack {
    /// Does it so often, all at once, from this address of the loopback network.
    pub fn play(&self, to: SocketAddr, from: Ipv4Addr, times: usize) -> Result<()> {
        self.play_as("", "", to, from, times)
    }

    /// The same with paths that begin with this prefix, and with these lines of headers, each with
    /// its end.
    pub fn play_as(
        &self,
        prefix: &str,
        headers: &str,
        to: SocketAddr,
        from: Ipv4Addr,
        times: usize,
    ) -> Result<()> {
        let request = self.request.replacen(" /", &format!(" {prefix}/"), 1);
        let request = request.replacen("\r\n", &format!("\r\n{headers}"), 1);
        let once = |_: usize| self.once(&request, to, from);
        load::run(times, once).into_iter().collect()
    }

    fn once(&self, request: &str, to: SocketAddr, from: Ipv4Addr) -> Result<()> {
        let mut stream = connect(to, from)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(request.as_bytes())?;
        match self.then {
            Then::Stay => {
                sleep(READS_NOTHING_FOR);
                return Ok(());
            }
            // The proxy may close meanwhile.
            Then::Upload => {
                let chunks = UPLOAD / CHUNK.len();
                let _ = (0..chunks).try_for_each(|_| stream.write_all(&CHUNK));
            }
            Then::Read => {}
        }
        let until = Instant::now() + PATIENCE;
        let mut bytes = [0; 4096];
        while Instant::now() < until {
            match stream.read(&mut bytes) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // However it ended, it was done.
                Err(_) => break,
            }
        }
        Ok(())
    }
}

/// A connection from this address.
fn connect(to: SocketAddr, from: Ipv4Addr) -> Result<TcpStream> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let connecting = async {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind(SocketAddrV4::new(from, 0).into())?;
        socket.connect(to).await?.into_std()
    };
    let stream = runtime
        .block_on(connecting)
        .with_context(|| format!("from {from} to {to}"))?;
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// A server that is well: `/` is answered 200 at once, and the paths of the attacks as such servers
/// do. It runs for as long as the process.
///
/// # Panics
/// Where there is no free port.
pub fn server() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("its address");
    spawn(move || {
        for stream in listener.incoming().flatten() {
            // Whatever becomes of one connection is no matter of the others.
            spawn(move || drop(serve(stream)));
        }
    });
    address
}

fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    while let Some(head) = read_head(&mut stream)? {
        // Routes of a prefix of their own need not rewrite it.
        let path = head.split(' ').nth(1).unwrap_or_default();
        let path = path.rfind('/').map_or(path, |last| &path[last..]);
        let answer = |status: &str, headers: &str, body: &str| {
            let length = body.len();
            format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\n\r\n{body}")
        };
        match path {
            "/400" => stream.write_all(answer("400 Bad Request", "", "").as_bytes())?,
            "/501" => stream.write_all(answer("501 Not Implemented", "", "").as_bytes())?,
            "/500" => stream.write_all(answer("500 Oops", "", "").as_bytes())?,
            "/503" => stream.write_all(answer("503 Unavailable", "", "").as_bytes())?,
            "/deadline" => {
                let headers = "content-type: application/grpc\r\ngrpc-status: 4\r\n";
                stream.write_all(answer("200 OK", headers, "").as_bytes())?;
            }
            "/long" => {
                let header = format!("location: /{}\r\n", "%7B".repeat(LONG_HEADER / 3));
                stream.write_all(answer("302 Found", &header, "").as_bytes())?;
            }
            "/slow" => {
                sleep(SLOW);
                stream.write_all(answer("200 OK", "", "slow").as_bytes())?;
            }
            "/big" => {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {BIG}\r\n\r\n");
                stream.write_all(head.as_bytes())?;
                for _ in 0..BIG / CHUNK.len() {
                    stream.write_all(&CHUNK)?;
                }
            }
            "/socket" => {
                stream.write_all(super::raw_server::SWITCHED.as_bytes())?;
                return Ok(());
            }
            "/413" => {
                stream
                    .write_all(answer("413 Too Large", "connection: close\r\n", "").as_bytes())?;
                return stream.shutdown(Shutdown::Both);
            }
            "/upload" => {
                sleep(BODY_TIMEOUT);
                return Ok(());
            }
            "/dies" => return Ok(()),
            "/half" => {
                stream.write_all(super::raw_server::HALF.as_bytes())?;
                return Ok(());
            }
            _ => stream.write_all(answer("200 OK", "", "well").as_bytes())?,
        }
    }
    Ok(())
}

/// The head of the next request, which has no body. None: there is none.
fn read_head(stream: &mut TcpStream) -> std::io::Result<Option<String>> {
    let mut head = Vec::new();
    let mut byte = [0; 1];
    loop {
        match stream.read(&mut byte) {
            Ok(0) => return Ok(None),
            Ok(_) => head.extend_from_slice(&byte),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if head.ends_with(b"\r\n\r\n") {
            return Ok(Some(String::from_utf8_lossy(&head).into_owned()));
        }
    }
}

/// Has a connection manager cut what takes longer than these attacks expect, and take WebSockets.
pub fn expose(connection_manager: &mut serde_json::Value) {
    connection_manager["upgrade_configs"] = serde_json::json!([{ "upgrade_type": "websocket" }]);
    let hosts = connection_manager["route_config"]["virtual_hosts"].as_array_mut();
    for host in hosts.into_iter().flatten() {
        for route in host["routes"].as_array_mut().into_iter().flatten() {
            let route = &mut route["route"];
            route["timeout"] = format!("{}s", ROUTE_TIMEOUT.as_secs_f64()).into();
            route["retry_policy"]["per_try_timeout"] =
                format!("{}s", TRY_TIMEOUT.as_secs_f64()).into();
        }
    }
}

//! Servers that answer with given bytes: half an answer, none, another protocol.

use crate::wait::TIMEOUT;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread::{sleep, spawn};
use std::time::Duration;

/// Half of an answer that says how long it is.
pub const HALF: &str = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf";

/// The switch to another protocol, and the first bytes in that protocol.
pub const SWITCHED: &str =
    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhalf";

/// Half of an answer that does not say how long it is.
pub const CHUNK: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n";

/// How long an answer may take to arrive before the connection is reset.
const ARRIVAL: Duration = Duration::from_millis(500);

/// What a server does after its answer.
#[derive(Clone, Copy, Debug)]
pub enum Then {
    /// It closes the connection.
    Close,
    /// It does nothing until the client closes the connection.
    Wait,
    /// It resets the connection, once the answer has had time to arrive.
    Reset,
}

/// Starts a server that answers each connection's first request with these bytes. It runs for as
/// long as the process.
///
/// # Panics
/// Where there is no free port.
pub fn start(answer: &'static str, then: Then) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("its address");
    spawn(move || {
        for mut stream in listener.incoming().flatten() {
            spawn(move || {
                let mut bytes = [0; 4096];
                let first = match then {
                    // A socket that is closed with bytes that nobody has read sends a reset.
                    Then::Reset => 1,
                    Then::Close | Then::Wait => bytes.len(),
                };
                let _ = stream.read(&mut bytes[..first]);
                let _ = stream.write_all(answer.as_bytes());
                match then {
                    Then::Close => {}
                    Then::Reset => sleep(ARRIVAL),
                    Then::Wait => while stream.read(&mut bytes).is_ok_and(|size| size > 0) {},
                }
            });
        }
    });
    address
}

/// Reads from a connection until these bytes have come.
///
/// # Panics
/// Where the connection ends before, or the next bytes take longer than [`TIMEOUT`].
pub fn read_until(stream: &mut TcpStream, end: &str) {
    stream.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
    let mut received = Vec::new();
    let mut bytes = [0; 4096];
    while !received
        .windows(end.len())
        .any(|window| window == end.as_bytes())
    {
        match stream.read(&mut bytes) {
            // A child that ends, such as another test's Envoy, sends a signal.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Ok(size) if size > 0 => received.extend_from_slice(&bytes[..size]),
            ended => panic!("{ended:?} after {}", String::from_utf8_lossy(&received)),
        }
    }
}

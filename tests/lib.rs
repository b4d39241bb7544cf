//! The tests of Pointsman on every host that we have. Each file beside this one is a test program of its own, listed in
//! `Cargo.toml`; here is what several of them use: servers of raw bytes, for what no good server does.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread::spawn;

/// What a server does after its answer.
#[derive(Clone, Copy)]
pub enum Then {
    /// Closes the connection.
    Close,
    /// Nothing, until the client closes it.
    Wait,
}

/// A server that answers each connection's first request with these bytes. It stays for as long as the process.
pub fn server(answer: &'static str, then: Then) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            spawn(move || {
                let mut bytes = [0; 4096];
                let _ = stream.read(&mut bytes);
                let _ = stream.write_all(answer.as_bytes());
                if let Then::Wait = then {
                    while stream.read(&mut bytes).is_ok_and(|size| size > 0) {}
                }
            });
        }
    });
    address
}

/// Reads until these bytes have come.
///
/// # Panics
/// Where the connection ends before.
pub fn read_until(stream: &mut TcpStream, end: &str) {
    let mut received = Vec::new();
    let mut bytes = [0; 4096];
    while !received.windows(end.len()).any(|window| window == end.as_bytes()) {
        let size = stream.read(&mut bytes).unwrap();
        assert!(size > 0, "{}", String::from_utf8_lossy(&received));
        received.extend_from_slice(&bytes[..size]);
    }
}

//! A flood of requests from addresses that are all different, as fast as two threads can send them.

use super::load;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};

const THREADS: usize = 2;
/// The connections of each thread.
const PIPELINES: usize = 32;
/// How many requests are sent on a connection before their answers are read. Envoy takes more
/// answers than that in one write for a flood, and closes the connection.
const AHEAD: usize = 2;

/// An HTTP/1.1 connection on which requests are sent before the answer to the first is read.
struct Pipeline {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Pipeline {
    fn open(to: SocketAddr) -> Result<Pipeline> {
        let stream = TcpStream::connect(to)?;
        stream.set_nodelay(true)?;
        Ok(Pipeline {
            stream,
            received: Vec::new(),
        })
    }

    /// Reads `count` answers, none of which has a body, and counts them by status.
    fn receive(&mut self, count: usize, statuses: &mut BTreeMap<u16, usize>) -> Result<()> {
        let mut left = count;
        while left > 0 {
            let mut chunk = [0; 64 * 1024];
            let size = self.stream.read(&mut chunk)?;
            ensure!(size > 0, "closed, {left} answers before the end");
            self.received.extend_from_slice(&chunk[..size]);
            let mut done = 0;
            loop {
                let mut headers = [httparse::EMPTY_HEADER; 16];
                let mut answer = httparse::Response::new(&mut headers);
                let httparse::Status::Complete(size) = answer.parse(&self.received[done..])? else {
                    break;
                };
                *statuses
                    .entry(answer.code.context("no status")?)
                    .or_default() += 1;
                done += size;
                left -= 1;
            }
            self.received.drain(..done);
        }
        Ok(())
    }
}

/// The `n`th of 2^32 addresses that are all different and seem to be in no order; every other one
/// is IPv6.
fn address(n: u32) -> IpAddr {
    // Multiplying by an odd number is a bijection (Knuth, "The Art of Computer Programming", 6.4).
    let scattered = n.wrapping_mul(2_654_435_769);
    match n % 2 {
        0 => Ipv4Addr::from_bits(scattered).into(),
        _ => Ipv6Addr::from_bits(
            0x2001_0db8 << 96 | u128::from(scattered) << 64 | u128::from(!scattered),
        )
        .into(),
    }
}

/// The `n`th of 2^32 addresses of one IPv6 /64.
pub fn neighbour(n: u32) -> IpAddr {
    Ipv6Addr::from_bits(0x2001_0db8_0001_0001 << 64 | u128::from(n)).into()
}

/// The `n`th of 2^16 newcomers, each of a network of its own, none of which a flood comes from;
/// every other one is IPv6.
pub fn newcomer(n: u16) -> IpAddr {
    match n % 2 {
        0 => Ipv4Addr::from_bits(80 << 24 | u32::from(n) << 8 | 7).into(),
        _ => Ipv6Addr::from_bits(0x2a00 << 112 | u128::from(n) << 80 | 7).into(),
    }
}

/// Sends a `GET` for `path` from each of `addresses` addresses, by `x-forwarded-for`, and returns
/// how many answers had which status. No answer may have a body. An error is a connection that
/// broke.
pub fn flood(to: SocketAddr, path: &str, addresses: u32) -> Result<BTreeMap<u16, usize>> {
    let headers = |n| format!("x-forwarded-for: {}\r\n", address(n));
    flood_with(to, path, addresses, &headers)
}

/// The same, with so many requests, and these header lines in the `n`th of them.
pub fn flood_with(
    to: SocketAddr,
    path: &str,
    requests: u32,
    headers: &(dyn Fn(u32) -> String + Sync),
) -> Result<BTreeMap<u16, usize>> {
    let send = |thread: usize| -> Result<_> {
        let mut pipelines = (0..PIPELINES)
            .map(|_| Pipeline::open(to))
            .collect::<Result<Vec<_>>>()?;
        let mut statuses = BTreeMap::new();
        let own: Vec<u32> = (0..requests).skip(thread).step_by(THREADS).collect();
        for round in own.chunks(PIPELINES * AHEAD) {
            for (pipeline, ahead) in pipelines.iter_mut().zip(round.chunks(AHEAD)) {
                let request =
                    |n: &u32| format!("GET {path} HTTP/1.1\r\nhost: a\r\n{}\r\n", headers(*n));
                let requests: String = ahead.iter().map(request).collect();
                pipeline.stream.write_all(requests.as_bytes())?;
            }
            for (pipeline, ahead) in pipelines.iter_mut().zip(round.chunks(AHEAD)) {
                pipeline.receive(ahead.len(), &mut statuses)?;
            }
        }
        Ok(statuses)
    };
    let mut sum = BTreeMap::<u16, usize>::new();
    for statuses in load::run(THREADS, send) {
        for (status, count) in statuses? {
            *sum.entry(status).or_default() += count;
        }
    }
    Ok(sum)
}

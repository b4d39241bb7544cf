//! Arrivals: when the requests of one kind of traffic arrive, and from which clients.

use super::scenario::{RatePoint, Traffic};
use crate::exchange::Pairs;
use pointsman_core::time::Nanos;
use std::net::{Ipv4Addr, SocketAddr};

/// The placeholder for the client's number in a header's value.
const CLIENT: &str = "{client}";

/// The port that clients connect from. Nothing depends on it.
const PORT: u16 = 50_000;

/// The arrival process of one kind of traffic.
#[derive(Debug)]
pub struct Arrivals {
    /// The highest rate of all times, in requests per second.
    highest: f64,
    /// The positions of the headers with a placeholder in their values.
    with_client: Vec<usize>,
    random: fastrand::Rng,
}

/// The client that sends a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SimulatedClient {
    /// The client's number, from 0.
    pub number: u32,
    /// The address that its connection comes from.
    pub address: SocketAddr,
}

impl Arrivals {
    /// The arrivals of this traffic; what is random follows from the seed.
    pub fn new(traffic: &Traffic, seed: u64) -> Arrivals {
        let has_client = |value: &[u8]| {
            let mut parts = value.windows(CLIENT.len());
            parts.any(|part| part == CLIENT.as_bytes())
        };
        let headers = traffic.headers.iter().enumerate();
        let with_client = headers.filter(|(_, (_, value))| has_client(value));
        Arrivals {
            highest: traffic
                .rate
                .iter()
                .map(|point| point.per_second)
                .fold(0.0, f64::max),
            with_client: with_client.map(|(at, _)| at).collect(),
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// When the next request after `now` arrives. None: no more requests arrive. This is a Poisson
    /// process whose rate changes over time: one of the highest rate, of which only a part is
    /// accepted (Lewis and Shedler 1979, "thinning").
    pub fn next(&mut self, traffic: &Traffic, now: Nanos) -> Option<Nanos> {
        let mut at = now.max(traffic.from);
        while self.highest > 0.0 && at < traffic.until {
            let gap = -(1.0 - self.random.f64()).ln() / self.highest;
            at += Nanos::new((gap * Nanos::SECOND.get() as f64) as u64);
            if self.random.f64() * self.highest < rate_at(&traffic.rate, at) {
                return (at < traffic.until).then_some(at);
            }
        }
        None
    }

    /// Chooses the client of the next request. `place` is the traffic's position in the scenario.
    pub fn client(&mut self, place: usize, traffic: &Traffic) -> SimulatedClient {
        let number = self.random.u32(..traffic.clients);
        let [_, _, x, y] = number.to_be_bytes();
        let address = Ipv4Addr::new(10, place as u8, x, y);
        SimulatedClient {
            number,
            address: SocketAddr::new(address.into(), PORT),
        }
    }

    /// The headers of a client's request. None: they are those of every client.
    pub fn headers(&self, traffic: &Traffic, client: SimulatedClient) -> Option<Pairs> {
        if self.with_client.is_empty() {
            return None;
        }
        let mut headers = traffic.headers.clone();
        for at in &self.with_client {
            let text = String::from_utf8_lossy(&headers[*at].1)
                .replace(CLIENT, &client.number.to_string());
            headers[*at].1 = text.into_bytes();
        }
        Some(headers)
    }
}

/// The rate at a time, in requests per second: interpolated linearly between the points, and
/// constant before the first and after the last.
pub fn rate_at(points: &[RatePoint], at: Nanos) -> f64 {
    let after = points.partition_point(|point| point.at <= at);
    match (
        after.checked_sub(1).and_then(|before| points.get(before)),
        points.get(after),
    ) {
        (Some(before), Some(next)) => {
            let part = (at - before.at).get() as f64 / (next.at - before.at).get() as f64;
            before.per_second + part * (next.per_second - before.per_second)
        }
        (Some(point), None) | (None, Some(point)) => point.per_second,
        (None, None) => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traffic(rate: Vec<RatePoint>) -> Traffic {
        Traffic {
            name: "t".to_owned(),
            rate,
            from: Nanos::ZERO,
            until: Nanos::from_secs(20),
            clients: 300,
            patience: None,
            headers: vec![
                (b"x".to_vec(), b"a{client}b".to_vec()),
                (b"y".to_vec(), b"1".to_vec()),
            ],
        }
    }

    fn point(second: u64, per_second: f64) -> RatePoint {
        RatePoint {
            at: Nanos::from_secs(second),
            per_second,
        }
    }

    #[test]
    fn rates_run_straight_between_points_and_jump_where_two_have_one_time() {
        let points = [
            point(10, 100.0),
            point(20, 200.0),
            point(20, 1000.0),
            point(30, 0.0),
        ];
        for (second, expected) in [
            (0, 100.0),
            (10, 100.0),
            (15, 150.0),
            (20, 1000.0),
            (25, 500.0),
            (30, 0.0),
            (40, 0.0),
        ] {
            assert_eq!(
                rate_at(&points, Nanos::from_secs(second)),
                expected,
                "{second}"
            );
        }
    }

    #[test]
    fn as_many_requests_come_as_the_rate_says() {
        let traffic = traffic(vec![point(0, 0.0), point(10, 1000.0)]);
        let mut arrivals = Arrivals::new(&traffic, 7);
        let (mut now, mut count) = (Nanos::ZERO, [0u64; 2]);
        while let Some(at) = arrivals.next(&traffic, now) {
            assert!(at >= now && at < traffic.until);
            count[usize::from(at >= Nanos::from_secs(10))] += 1;
            now = at;
        }
        // Poisson counts: within five standard deviations.
        assert!(
            count[0].abs_diff(5_000) < 350 && count[1].abs_diff(10_000) < 500,
            "{count:?}"
        );
    }

    #[test]
    fn every_client_has_an_address_and_its_number_in_the_headers() {
        let traffic = traffic(vec![point(0, 1.0)]);
        let mut arrivals = Arrivals::new(&traffic, 7);
        for _ in 0..1000 {
            let client = arrivals.client(3, &traffic);
            let headers = arrivals.headers(&traffic, client).unwrap();
            assert_eq!(headers[0].1, format!("a{}b", client.number).into_bytes());
            let [x, y] = [client.number / 256, client.number % 256];
            assert_eq!(client.address.to_string(), format!("10.3.{x}.{y}:50000"));
        }
    }
}

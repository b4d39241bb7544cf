//! When requests come, and from whom.

use super::scenario::{Point, SECOND, Traffic};
use crate::exchange::Pairs;
use std::net::{Ipv4Addr, SocketAddr};

/// What stands for the client's number in a header's value.
const CLIENT: &[u8] = b"{client}";

/// The port that clients come from. Nothing depends on it.
const PORT: u16 = 50_000;

/// One kind of traffic as it flows.
#[derive(Debug)]
pub struct Flow {
    /// The highest rate that there ever is, in requests per second.
    highest: f64,
    /// Headers whose values name the client.
    personal: Vec<usize>,
    random: fastrand::Rng,
}

/// Who sends a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SimulatedClient {
    /// From 0.
    pub number: u32,
    /// Where its connection comes from.
    pub address: SocketAddr,
}

impl Flow {
    /// A flow of its own randomness.
    pub fn new(traffic: &Traffic, seed: u64) -> Flow {
        let personal = traffic.headers.iter().enumerate();
        let personal = personal
            .filter(|(_, (_, value))| value.windows(CLIENT.len()).any(|part| part == CLIENT));
        Flow {
            highest: traffic
                .rate
                .iter()
                .map(|point| point.per_second)
                .fold(0.0, f64::max),
            personal: personal.map(|(at, _)| at).collect(),
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// When the next request comes after `now`; both in nanoseconds. None: none comes any more. A
    /// Poisson process whose rate changes: as one of the highest rate, of which only a part is
    /// taken (Lewis and Shedler 1979, "thinning").
    pub fn next(&mut self, traffic: &Traffic, now: u64) -> Option<u64> {
        let mut at = now.max(traffic.from);
        while self.highest > 0.0 && at < traffic.until {
            let gap = -(1.0 - self.random.f64()).ln() / self.highest;
            at = at.saturating_add((gap * SECOND as f64) as u64);
            if self.random.f64() * self.highest < rate_at(&traffic.rate, at) {
                return (at < traffic.until).then_some(at);
            }
        }
        None
    }

    /// Who sends the next request, of the traffic with this place in the scenario.
    pub fn client(&mut self, place: usize, traffic: &Traffic) -> SimulatedClient {
        let number = self.random.u32(..traffic.clients);
        let [_, _, x, y] = number.to_be_bytes();
        let address = Ipv4Addr::new(10, place as u8, x, y);
        SimulatedClient {
            number,
            address: SocketAddr::new(address.into(), PORT),
        }
    }

    /// The request of a client, where it differs from the traffic's.
    pub fn headers(&self, traffic: &Traffic, client: SimulatedClient) -> Option<Pairs> {
        if self.personal.is_empty() {
            return None;
        }
        let mut headers = traffic.headers.clone();
        for at in &self.personal {
            let text = String::from_utf8_lossy(&headers[*at].1)
                .replace("{client}", &client.number.to_string());
            headers[*at].1 = text.into_bytes();
        }
        Some(headers)
    }
}

/// The rate at a time, in requests per second: straight lines between the points.
pub fn rate_at(points: &[Point], at: u64) -> f64 {
    let after = points.partition_point(|point| point.at <= at);
    match (
        after.checked_sub(1).and_then(|before| points.get(before)),
        points.get(after),
    ) {
        (Some(before), Some(next)) => {
            let part = (at - before.at) as f64 / (next.at - before.at) as f64;
            before.per_second + part * (next.per_second - before.per_second)
        }
        (Some(point), None) | (None, Some(point)) => point.per_second,
        (None, None) => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traffic(rate: Vec<Point>) -> Traffic {
        Traffic {
            name: "t".to_owned(),
            rate,
            from: 0,
            until: 20 * SECOND,
            clients: 300,
            patience: None,
            headers: vec![
                (b"x".to_vec(), b"a{client}b".to_vec()),
                (b"y".to_vec(), b"1".to_vec()),
            ],
        }
    }

    fn point(second: u64, per_second: f64) -> Point {
        Point {
            at: second * SECOND,
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
            assert_eq!(rate_at(&points, second * SECOND), expected, "{second}");
        }
    }

    #[test]
    fn as_many_requests_come_as_the_rate_says() {
        let traffic = traffic(vec![point(0, 0.0), point(10, 1000.0)]);
        let mut flow = Flow::new(&traffic, 7);
        let (mut now, mut count) = (0, [0u64; 2]);
        while let Some(at) = flow.next(&traffic, now) {
            assert!(at >= now && at < traffic.until);
            count[usize::from(at >= 10 * SECOND)] += 1;
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
        let mut flow = Flow::new(&traffic, 7);
        for _ in 0..1000 {
            let client = flow.client(3, &traffic);
            let headers = flow.headers(&traffic, client).unwrap();
            assert_eq!(headers[0].1, format!("a{}b", client.number).into_bytes());
            let [x, y] = [client.number / 256, client.number % 256];
            assert_eq!(client.address.to_string(), format!("10.3.{x}.{y}:50000"));
        }
    }
}

//! The simulated host with the probe in it.

use super::{CLUSTERS, End, PAIR, ProbeHost, REJECTED, fine};
use host_sim::exchange::{ExchangeRequest, Host, Pairs, Response};
use host_sim::world::proxy::Clusters;
use host_sim::world::stream::{RequestOutcome, Stream, UpstreamFailure};
use host_sim::world::{HttpCallOutcome, World};
use std::collections::BTreeSet;
use std::time::Duration;

/// The simulated host.
pub(crate) struct Simulated(World);

impl Simulated {
    pub(crate) fn start(configuration: &str) -> Simulated {
        let mut clusters: Clusters = CLUSTERS
            .map(|name| (name.to_owned(), BTreeSet::new()))
            .into();
        clusters.insert("pair".to_owned(), PAIR.map(str::to_owned).into());
        let builder = World::builder().guest(pointsman_probe::start);
        let builder = builder
            .exchanges(&super::clusters())
            .config(configuration.as_bytes())
            .clusters(clusters)
            .without_own_route();
        let world = builder.start().unwrap();
        world.proxy().metrics().reject(REJECTED);
        Simulated(world)
    }

    fn request(&self, cluster: &str, commands: &str) -> Stream {
        let choose = format!("{commands}; put request x-pointsman-cluster {cluster}; go");
        let headers = [
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", "probe"),
            (":path", "/"),
            ("x-do", &choose),
        ];
        let headers = headers.map(|(name, value)| (name.into(), value.into()));
        let mut stream = self.0.open(0, &headers.into());
        assert!(matches!(stream.request(), RequestOutcome::Forward(_)));
        stream
    }
}

impl ProbeHost for Simulated {
    fn send(&mut self, headers: &[(&str, &str)]) -> (Response, Option<Pairs>) {
        let told = self.0.exchange(&ExchangeRequest {
            method: b"GET".to_vec(),
            scheme: b"http".to_vec(),
            authority: b"probe".to_vec(),
            target: b"/".to_vec(),
            headers: headers
                .iter()
                .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
                .collect(),
            client_ip: None,
            tls: Default::default(),
            roll: None,
            upstream: fine(),
        });
        let told = told.unwrap();
        (told.response, told.upstream_headers)
    }

    fn trap(&mut self) -> Option<u16> {
        self.0.kill(0);
        None
    }

    fn update(&mut self, configuration: &str) -> bool {
        self.0.reload(configuration.as_bytes()).is_ok()
    }

    fn wait(&mut self, time: Duration) {
        let step = Duration::from_millis(10);
        let mut left = time;
        while !left.is_zero() {
            for call in self.0.http_calls() {
                let endpoint = call
                    .headers
                    .iter()
                    .find(|(name, _)| name == b"x-pointsman-endpoint");
                match &*call.cluster {
                    "pair" if endpoint.is_some_and(|(_, value)| value == PAIR[0].as_bytes()) => {
                        self.0
                            .end_http_call(call.token, &HttpCallOutcome::Answer(fine()))
                    }
                    "up" => self
                        .0
                        .end_http_call(call.token, &HttpCallOutcome::Answer(fine())),
                    "gone" | "pair" | "nobody" => self
                        .0
                        .end_http_call(call.token, &HttpCallOutcome::Unreachable),
                    "torn" => self.0.end_http_call(call.token, &HttpCallOutcome::Broken),
                    _ => true,
                };
            }
            self.0.advance(step.min(left));
            left = left.saturating_sub(step);
        }
    }

    fn address(&self, cluster: &str) -> String {
        match cluster {
            "up" => PAIR[0].to_owned(),
            "nobody" => PAIR[1].to_owned(),
            _ => format!("{cluster}:1"),
        }
    }

    fn ends(&mut self, end: End, cluster: &str, commands: &str) {
        let mut stream = self.request(cluster, commands);
        let first = |status| Response { status, ..fine() };
        if cluster != "nowhere" {
            let retried = commands.contains("x-pointsman-endpoint");
            [("nobody", retried), (cluster, !retried), ("up", retried)]
                .iter()
                .filter(|(_, tried)| *tried)
                .for_each(|(cluster, _)| stream.tries(&self.address(cluster)));
        }
        match (end, cluster) {
            // The route's time-out.
            (End::Answered, "long") => {
                stream.response_headers(&first(200), false);
                stream.response_body(4, false);
                return stream.is_cut();
            }
            (End::Left | End::Reset | End::LeftUploading, "long") => {
                stream.response_headers(&first(200), false);
                stream.response_body(4, false);
                return stream.leaves();
            }
            (End::Left | End::Reset | End::LeftUploading, _) => return stream.leaves(),
            (End::Switched, _) => {
                stream.response_headers(&first(101), false);
                return stream.leaves();
            }
            (End::Answered, "torn" | "cut" | "reset") => {
                stream.response_headers(&first(200), false);
                stream.response_body(4, false);
                return stream.breaks();
            }
            (End::Answered, "trails") => {
                stream.response_headers(&first(200), false);
                stream.response_body(4, false);
                stream.response_trailers(&vec![(b"grpc-status".to_vec(), b"14".to_vec())]);
            }
            (End::Answered, "nowhere") => drop(stream.fails(UpstreamFailure::NoCluster)),
            (End::Answered, "nobody") => drop(stream.fails(UpstreamFailure::Unreachable)),
            (End::Answered, "gone") => drop(stream.fails(UpstreamFailure::Closed)),
            (End::Answered, "slow") => drop(stream.fails(UpstreamFailure::TimedOut)),
            (End::Answered, _) => drop(stream.response(&fine())),
        }
        stream.close();
    }

    fn update_during_a_request(&mut self, configuration: &str) {
        // Never closed.
        let _held = self.request("long", "");
        self.0.reload(configuration.as_bytes()).unwrap();
    }
}

//! A request explains itself only to a client that has the token, and the token does not go
//! upstream.

use super::{CLUSTERS, configuration, values};
use host_sim::exchange::{Pairs, Response};
use host_sim::testkit::Site;
use host_sim::world::World;
use host_sim::world::stream::RequestOutcome;
use serde_json::Value;

/// The header of `explain` in [`configuration`].
const HEADER: &str = "x-explain";

/// What a request may show in the header, and whether that is the token.
const SHOWN: [(&str, bool); 12] = [
    ("secret", true),
    ("secret;roll=0", true),
    ("secret;roll=0.999", true),
    ("", false),
    ("s", false),
    ("secre", false),
    ("Secret", false),
    ("secrets", false),
    ("not secret", false),
    ("secret;", false),
    ("secret;roll=1", false),
    ("*", false),
];

/// `exchange` sends a request for `/p/` that shows this value, and returns the headers that the
/// backend got, and those that the client got. `/p/` leads to the pool `api`.
fn explains_itself_only_to_who_has_the_token(exchange: &mut dyn FnMut(&str) -> (Pairs, Pairs)) {
    for (shown, is_token) in SHOWN {
        let (upstream, response) = exchange(shown);
        assert!(
            values(&upstream, HEADER).is_empty(),
            "{shown:?} went upstream"
        );
        let accounts = values(&response, HEADER);
        assert_eq!(accounts.len(), usize::from(is_token), "{shown:?}");
        for account in accounts {
            let account: Value = serde_json::from_slice(account).unwrap();
            assert_eq!(account["route"], "prefix", "{shown:?}: {account}");
            assert_eq!(account["cluster"], CLUSTERS[3], "{shown:?}: {account}");
        }
        assert_eq!(
            values(&upstream, "x-set"),
            [b"1"],
            "{shown:?}: another route"
        );
    }
}

#[test]
fn a_request_explains_itself_only_to_who_has_the_token_on_the_simulator() {
    let builder = World::builder().config(configuration().to_string().as_bytes());
    let world = builder.start().unwrap();
    explains_itself_only_to_who_has_the_token(&mut |shown| {
        let headers = [
            (":authority", "b"),
            (":path", "/p/"),
            (":method", "GET"),
            (":scheme", "http"),
            (HEADER, shown),
        ];
        let headers = headers.map(|(name, value)| (name.into(), value.into()));
        let mut stream = world.open(0, &headers.to_vec());
        let RequestOutcome::Forward(upstream) = stream.request() else {
            panic!("{shown:?}: no backend was asked");
        };
        let response = stream.response(&Response::bare(200));
        stream.close();
        (upstream, response.headers)
    });
}

#[test]
fn a_request_explains_itself_only_to_who_has_the_token_on_a_real_envoy() {
    let site = Site::start(&configuration()).unwrap();
    let mut client = site.client().unwrap();
    explains_itself_only_to_who_has_the_token(&mut |shown| {
        let response = client.get_with("b", "/p/", &[(HEADER, shown)]).unwrap();
        let received = site.fleet.take_received();
        assert_eq!(
            received.len(),
            1,
            "{shown:?}: no backend was asked, or several"
        );
        let pairs = response.headers().iter();
        let pairs = pairs.map(|(name, value)| (name.as_str().into(), value.as_bytes().into()));
        (received[0].headers.clone(), pairs.collect())
    });
}

//! `weight`: the shares of targets.

use super::{CONNECTIONS, WORKERS, crowd, get};
use host_sim::client::header;
use host_sim::testkit::Site;
use hyper::Response;
use hyper::body::Bytes;
use serde_json::json;

#[test]
fn ten_thousand_requests_split_nine_to_one_within_the_number_of_workers() {
    const REQUESTS: usize = 10_000;
    let site = Site::start(&json!({
        "pools": {
            "clusters": { "targets": [{ "cluster": "often", "weight": 9 }, { "cluster": "seldom", "weight": 1 }] },
            "endpoints": { "cluster": "api", "targets": [
                { "endpoint": "127.0.0.1:9101", "weight": 9 },
                { "endpoint": "127.0.0.1:9102", "weight": 1 },
            ] },
        },
        "routes": [
            { "name": "clusters", "match": { "path": { "exact": "/clusters" } }, "pool": "clusters" },
            { "name": "endpoints", "match": { "path": { "exact": "/endpoints" } }, "pool": "endpoints" },
        ],
    }))
    .unwrap();
    for (path, seldom) in [("/clusters", "seldom"), ("/endpoints", "127.0.0.1:9102")] {
        let counts = crowd(&site.envoy, |client| {
            let answers = (0..REQUESTS / CONNECTIONS).map(|_| get(client, path, &[]));
            let count = |answer: Response<Bytes>| {
                assert_eq!(answer.status().as_u16(), 200);
                usize::from(header(&answer, "x-backend") == seldom)
            };
            answers.map(count).sum::<usize>()
        });
        let seldom: usize = counts.iter().sum();
        println!("{path}: {} : {seldom}", REQUESTS - seldom);
        assert!(
            seldom.abs_diff(REQUESTS / 10) <= WORKERS,
            "{path}: {} : {seldom}",
            REQUESTS - seldom
        );
    }
}

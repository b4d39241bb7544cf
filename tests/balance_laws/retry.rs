//! Envoy's retries, as `envoy-config/envoy.yaml` has them, with the endpoints that the filter
//! lists.

use super::{is_answered, until_none_is_in_flight, updatable};
use host_sim::testkit::load;
use host_sim::wait::until;
use serde_json::json;

const ENDPOINTS: [&str; 3] = ["127.0.0.1:9101", "127.0.0.1:9102", "127.0.0.1:9103"];

#[test]
fn with_the_shipped_retry_no_client_notices_that_one_backend_of_three_is_killed() {
    const CLIENTS: usize = 6;
    let targets = ENDPOINTS.map(|endpoint| json!({ "endpoint": endpoint }));
    let mut site = updatable(&json!({
        "pools": { "api": { "cluster": "api", "targets": targets } },
        "routes": [{ "name": "all", "pool": "api" }],
    }));
    let address = site.envoy.address().unwrap();
    load::repeat_while(address, CLIENTS, is_answered, |load| {
        for _ in 0..3 {
            load.wait_for_jobs(200);
            let killed = site.backend_mut(ENDPOINTS[1]).unwrap();
            killed.stop();
            load.wait_for_jobs(500);
            killed.start_again().unwrap();
            until("it is back", || killed.count() > 20);
        }
    });
    until_none_is_in_flight(&site);
}

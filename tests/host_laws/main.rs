//! The behaviours of Envoy that `host-sim` copies, each asked of both: of the simulated host, and
//! of a real Envoy. The table in the docs of `host_sim::world` names these laws. A file for each
//! subject.
//!
//! `pointsman-probe` makes the host calls, and answers with what they returned.

mod configuration;
mod envoy_host;
mod headers;
mod http_call;
mod local_reply;
mod metrics;
mod shared_data;
mod simulated_host;
mod stream_end;
mod vm;

use host_sim::exchange::{Pairs, Response};
use serde_json::{Value, json};
use std::time::Duration;

/// After this time a VM that traps is replaced with the next request: a second, and Envoy's jitter
/// of half of that.
const RELOAD_BACK_OFF: Duration = Duration::from_millis(1600);

/// A host with the probe in it and one worker. A request takes a second at most. The clusters:
/// `up`, `gone` (closes connections), `torn` and `cut` (close them in the middle of an answer, that
/// says how long it is or does not), `reset` (resets them there), `slow` (answers after two seconds), `nobody` (refuses connections), `long` (answers a little, and never
/// ends), `trails` (answers with trailers), `switches` (to whatever protocol the client wants), and
/// `pair`, whose endpoints are those of `up` and of `nobody`.
trait ProbeHost {
    /// Sends a request. Returns the response, and the headers that a backend got, if one was asked.
    fn send(&mut self, headers: &[(&str, &str)]) -> (Response, Option<Pairs>);
    /// The VM traps while it handles a request. Returns the status that the client gets, where the
    /// host can know it.
    fn trap(&mut self) -> Option<u16>;
    /// Loads another plugin configuration. False: it was refused.
    fn update(&mut self, configuration: &str) -> bool;
    /// Lets time pass.
    fn wait(&mut self, time: Duration);
    /// `ip:port` of a cluster's one endpoint.
    fn address(&self, cluster: &str) -> String;
    /// Sends a request to a cluster, with these commands, that ends in this way, and waits for its
    /// end.
    fn ends(&mut self, end: End, cluster: &str, commands: &str);
    /// Sends a request to `long` that goes on until the next reload but one; then loads another
    /// plugin configuration.
    fn update_during_a_request(&mut self, configuration: &str);

    /// Sends a request with these commands. Returns what the commands returned.
    fn did(&mut self, commands: &str) -> String {
        let (response, _) = self.send(&[("x-do", commands)]);
        assert_eq!(response.status, 200, "{commands}");
        String::from_utf8(response.body).unwrap()
    }
}

/// Waits until `look` returns true, a minute at most by the host's clock.
fn until(host: &mut dyn ProbeHost, what: &str, look: &mut dyn FnMut(&mut dyn ProbeHost) -> bool) {
    for _ in 0..600 {
        if look(host) {
            return;
        }
        host.wait(Duration::from_millis(100));
    }
    panic!("not within a minute: {what}");
}

/// How a request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// As its cluster answers.
    Answered,
    /// The client leaves as soon as the cluster was asked, or has begun to answer.
    Left,
    /// The client asks for another protocol, and leaves when it has it.
    Switched,
    /// The client resets the stream, of HTTP/2, when the cluster has begun to answer.
    Reset,
    /// The client leaves when the cluster has begun to answer, and the request is not complete.
    LeftUploading,
}

const CLUSTERS: [&str; 10] = [
    "up", "gone", "slow", "torn", "cut", "reset", "nobody", "long", "trails", "switches",
];
const PAIR: [&str; 2] = ["127.0.0.1:9101", "127.0.0.1:9102"];
/// Metrics of this name are rejected by the proxy's `stats_matcher`.
const REJECTED: &str = "rejected.";

/// Pools for nothing but their clusters.
fn clusters() -> Value {
    let targets = CLUSTERS.map(|cluster| json!({ "cluster": cluster }));
    let pair = PAIR.map(|endpoint| json!({ "endpoint": endpoint }));
    json!({ "pools": { "all": { "targets": targets }, "pair": { "cluster": "pair", "targets": pair } } })
}

fn fine() -> Response {
    Response {
        status: 200,
        headers: vec![(b"x-up".to_vec(), b"1".to_vec())],
        body: b"fine".to_vec(),
    }
}

/// The values of a header, joined.
fn value(response: &Response, name: &str) -> String {
    let named = response
        .headers
        .iter()
        .filter(|(other, _)| other == name.as_bytes());
    let values: Vec<_> = named
        .map(|(_, value)| String::from_utf8_lossy(value))
        .collect();
    values.join(",")
}

/// Each law, with the configuration that it starts with, on both hosts.
macro_rules! laws {
    ($($subject:ident::$name:ident($configuration:literal);)*) => {
        mod simulated {
            $(#[test] fn $name() {
                crate::$subject::$name(&mut crate::simulated_host::Simulated::start($configuration));
            })*
        }
        mod envoy {
            $(#[test] fn $name() {
                crate::$subject::$name(&mut crate::envoy_host::Real::start($configuration));
            })*
        }
        #[test]
        fn every_law_stands_in_the_table_of_the_simulated_host() {
            let world = include_str!("../../host-sim/src/world.rs");
            for law in [$(stringify!($name)),*] {
                assert!(world.contains(&format!("`{law}`")), "{law}");
            }
        }
    };
}

laws! {
    shared_data::cas_decides_where_the_key_exists_and_is_ignored_where_it_does_not("");
    shared_data::writes_of_all_keys_are_numbered_in_one_row("");
    shared_data::an_empty_value_is_a_value("");
    headers::names_have_no_case_and_pseudo_headers_come_first("");
    headers::set_replaces_every_value_and_reading_one_gives_the_first("");
    headers::a_map_is_there_only_in_its_phase("");
    headers::a_changed_request_header_chooses_the_route_anew("");
    headers::a_cluster_that_is_unknown_or_not_named_is_503_through_the_response_phase("");
    local_reply::a_local_reply_passes_the_response_phase("");
    local_reply::a_local_reply_is_plain_text_unless_it_says_otherwise_and_without_a_body_nothing("");
    local_reply::only_the_first_local_reply_counts("");
    metrics::a_metric_defined_twice_has_two_ids_and_one_value("");
    metrics::each_kind_of_metric_takes_only_what_it_can("");
    metrics::a_gauge_has_no_sign_and_wraps_around("");
    metrics::what_is_added_to_a_metric_that_the_proxy_rejects_is_lost("");
    configuration::the_configuration_is_there_only_while_it_is_loaded("text");
    configuration::a_configuration_is_loaded_workers_plus_two_times("");
    configuration::a_refused_configuration_leaves_the_one_before_and_shared_data("");
    vm::properties_of_the_connection_are_there_and_unknown_ones_are_not_found("");
    vm::randomness_comes_in_pieces_of_at_most_64_kib("");
    vm::a_trap_answers_503_and_the_next_request_has_a_fresh_vm("");
    vm::workers_and_the_main_thread_tick_and_share_gauges("tick a");
    vm::the_ticks_of_a_root_context_go_on_while_it_has_streams("tick a");
    http_call::an_http_call_is_answered_by_the_proxy_where_the_backend_does_not_and_broken_ones_have_no_headers("call up slow gone torn nobody nowhere");
    http_call::an_http_call_reaches_the_endpoint_that_its_header_names("");
    stream_end::the_end_of_a_stream_is_told_once_with_what_became_of_it("");
    stream_end::a_response_that_is_not_whole_has_a_flag("");
    stream_end::the_upstream_address_is_the_one_that_was_tried_last("");
}

//! VMs: what they are given, how they end, when they tick.

use super::{ProbeHost, RELOAD_BACK_OFF, until};

pub(crate) fn properties_of_the_connection_are_there_and_unknown_ones_are_not_found(
    host: &mut dyn ProbeHost,
) {
    let did = host.did("property source.address; property no.such.thing");
    let (address, unknown) = did.split_once(';').unwrap();
    assert!(address.starts_with("0 127.0.0.1:"), "{address}");
    assert_eq!(unknown, "1 ");
}

pub(crate) fn randomness_comes_in_pieces_of_at_most_64_kib(host: &mut dyn ProbeHost) {
    assert_eq!(host.did("random 0; random 65536; random 65537"), "0;0;28");
}

pub(crate) fn a_trap_answers_503_and_the_next_request_has_a_fresh_vm(host: &mut dyn ProbeHost) {
    assert_eq!(
        host.did("set k v 0; define counter t; up 1"),
        "0;0 another id;0"
    );
    host.wait(RELOAD_BACK_OFF);
    let status = host.trap();
    assert!([None, Some(503)].contains(&status), "{status:?}");
    assert_eq!(
        host.did("get k; define counter t; value; get configured"),
        "0 v;0 another id;0 1;0 4"
    );
    // A VM that was loaded a moment ago is not replaced at once.
    host.trap();
    let (response, _) = host.send(&[("x-do", "get k")]);
    assert_eq!(response.status, 503);
    host.wait(RELOAD_BACK_OFF);
    assert_eq!(host.did("get k; get configured"), "0 v;0 5");
}

pub(crate) fn workers_and_the_main_thread_tick_and_share_gauges(host: &mut dyn ProbeHost) {
    until(host, "two VMs that tick", &mut |host| {
        let did = host.did("define gauge ticking.a; value");
        assert!(
            ["0 another id;0 0", "0 another id;0 1", "0 another id;0 2"].contains(&&*did),
            "{did}"
        );
        did.ends_with('2')
    });
}

pub(crate) fn the_ticks_of_a_root_context_go_on_while_it_has_streams(host: &mut dyn ProbeHost) {
    host.update_during_a_request("tick b");
    let ticked = |host: &mut dyn ProbeHost| host.did("get ticked.a");
    for _ in 0..2 {
        let before = ticked(host);
        until(host, "a tick", &mut |host| ticked(host) != before);
    }
}

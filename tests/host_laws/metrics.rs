//! Metrics.

use super::ProbeHost;

pub(crate) fn a_metric_defined_twice_has_two_ids_and_one_value(host: &mut dyn ProbeHost) {
    let did = host.did("define counter c; up 2; define counter c; value; up 1; value");
    assert_eq!(did, "0 another id;0;0 another id;0 2;0;0 3");
}

pub(crate) fn each_kind_of_metric_takes_only_what_it_can(host: &mut dyn ProbeHost) {
    assert_eq!(
        host.did("define counter d; up -1; record 5; value"),
        "0 another id;2;0;0 5"
    );
    assert_eq!(
        host.did("define gauge g; up 5; up -2; value; record 9; value"),
        "0 another id;0;0;0 3;0;0 9"
    );
    assert_eq!(
        host.did("define histogram h; up 1; record 5; value"),
        "0 another id;2;0;2 0"
    );
}

pub(crate) fn a_gauge_has_no_sign_and_wraps_around(host: &mut dyn ProbeHost) {
    assert_eq!(
        host.did("define gauge low; up -1; value; up 3; value"),
        "0 another id;0;0 18446744073709551615;0;0 2"
    );
}

pub(crate) fn what_is_added_to_a_metric_that_the_proxy_rejects_is_lost(host: &mut dyn ProbeHost) {
    for kind in ["gauge", "counter"] {
        let did = host.did(&format!(
            "define {kind} rejected.{kind}; up 1; value; record 7; value"
        ));
        assert_eq!(did, "0 another id;0;0 0;0;0 0", "{kind}");
    }
}

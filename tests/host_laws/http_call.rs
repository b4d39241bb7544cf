//! HTTP calls of the filter's own.

use super::{ProbeHost, until};

pub(crate) fn an_http_call_is_answered_by_the_proxy_where_the_backend_does_not_and_broken_ones_have_no_headers(
    host: &mut dyn ProbeHost,
) {
    for cluster in ["nowhere", "up", "slow", "gone", "nobody", "torn"] {
        until_called(host, cluster);
    }
    assert_eq!(host.did("get called.nowhere"), "0 not: 2");
    assert_eq!(host.did("get called.up"), "0 some headers, 0 200, 0 fine");
    assert_eq!(
        host.did("get called.slow"),
        "0 some headers, 0 504, 0 upstream request timeout"
    );
    assert!(
        host.did("get called.gone")
            .starts_with("0 some headers, 0 503, 0 upstream connect error")
    );
    assert!(
        host.did("get called.nobody")
            .starts_with("0 some headers, 0 503, 0 upstream connect error")
    );
    assert_eq!(host.did("get called.torn"), "0 no headers, 2 , 1 ");
}

pub(crate) fn an_http_call_reaches_the_endpoint_that_its_header_names(host: &mut dyn ProbeHost) {
    let (up, nobody) = (host.address("up"), host.address("nobody"));
    assert!(host.update(&format!("call pair={up} pair={nobody}")));
    for endpoint in [&up, &nobody] {
        until_called(host, &format!("pair={endpoint}"));
    }
    assert_eq!(
        host.did(&format!("get called.pair={up}")),
        "0 some headers, 0 200, 0 fine"
    );
    let nobody = host.did(&format!("get called.pair={nobody}"));
    assert!(
        nobody.starts_with("0 some headers, 0 503, 0 upstream connect error"),
        "{nobody}"
    );
}

fn until_called(host: &mut dyn ProbeHost, whom: &str) {
    let get = format!("get called.{whom}");
    until(host, "the end of a call", &mut |host| {
        host.did(&get) != "1 "
    });
}

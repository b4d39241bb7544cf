//! Header maps, and the route that is chosen by them.

use super::{ProbeHost, value};

pub(crate) fn names_have_no_case_and_pseudo_headers_come_first(host: &mut dyn ProbeHost) {
    let did =
        host.did("put request X-New 1; header request x-NEW; put request :path /p; names request");
    let (first, names) = did.rsplit_once(";0 ").unwrap();
    assert_eq!(first, "0;0 1;0");
    let names: Vec<_> = names.split(' ').collect();
    let pseudo = names
        .iter()
        .take_while(|name| name.starts_with(':'))
        .count();
    assert_eq!(pseudo, 4, "{names:?}");
    assert_eq!(
        names[3], ":path",
        "what is set moves to the end of its kind: {names:?}"
    );
    assert_eq!(*names.last().unwrap(), "x-new");
}

pub(crate) fn set_replaces_every_value_and_reading_one_gives_the_first(host: &mut dyn ProbeHost) {
    let commands = "add request x-a 1; add request x-a 2; header request x-a; put request x-a 3; add request x-b 4; \
                    remove request x-c; remove request x-b; header request x-b; put request x-pointsman-cluster up; go";
    let (_, upstream) = host.send(&[("x-do", commands)]);
    let upstream = upstream.unwrap();
    let values = |name: &str| {
        let named = upstream
            .iter()
            .filter(|(other, _)| other == name.as_bytes());
        named
            .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(values("x-a"), ["3"]);
    assert_eq!(values("x-b"), [""; 0]);
    assert_eq!(
        host.did(commands.trim_end_matches("; go")),
        "0;0;0 1;0;0;0;0;1 ;0"
    );
}

pub(crate) fn a_map_is_there_only_in_its_phase(host: &mut dyn ProbeHost) {
    assert_eq!(
        host.did("names response; put response x-a 1; header call :status"),
        "0 ;2;2 "
    );
    let (response, _) = host.send(&[
        ("x-do", "go"),
        ("x-do-response", "header request :path; put request x-a 1"),
    ]);
    assert_eq!(value(&response, "x-did"), "2 ;2");
    // After a local reply the request's map is still there: its callback did not let the stream go
    // on.
    let (response, _) = host.send(&[("x-do-response", "header request :path; put request x-a 1")]);
    assert_eq!(value(&response, "x-did"), "0 /;0");
}

pub(crate) fn a_changed_request_header_chooses_the_route_anew(host: &mut dyn ProbeHost) {
    let (response, upstream) = host.send(&[("x-do", "put request x-pointsman-cluster up; go")]);
    assert_eq!((response.status, &response.body[..]), (200, &b"fine"[..]));
    assert!(upstream.is_some());
}

pub(crate) fn a_cluster_that_is_unknown_or_not_named_is_503_through_the_response_phase(
    host: &mut dyn ProbeHost,
) {
    for commands in ["put request x-pointsman-cluster nowhere; go", "go"] {
        let (response, upstream) = host.send(&[
            ("x-do", commands),
            ("x-do-response", "header response :status"),
        ]);
        assert_eq!(
            (response.status, value(&response, "x-did")),
            (503, "0 503".to_owned())
        );
        assert_eq!(upstream, None);
    }
}

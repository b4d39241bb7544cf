//! The end of a stream, and what the filter can read of it.

use super::{End, ProbeHost, until};
use std::fmt::Display;

pub(crate) fn the_end_of_a_stream_is_told_once_with_what_became_of_it(host: &mut dyn ProbeHost) {
    for (number, (end, cluster, told)) in [
        (End::Answered, "up", "end body, code 200, flags 0, grpc 2"),
        (
            End::Answered,
            "trails",
            "end trailers, code 200, flags 0, grpc 14",
        ),
        (
            End::Answered,
            "torn",
            "end nowhere, code 200, flags 8388608, grpc 2",
        ),
        (
            End::Answered,
            "gone",
            "end body, code 503, flags 32832, grpc 14",
        ),
        (
            End::Answered,
            "nobody",
            "end body, code 503, flags 32800, grpc 14",
        ),
        (
            End::Answered,
            "slow",
            "end body, code 504, flags 4, grpc 14",
        ),
        (
            End::Answered,
            "nowhere",
            "end headers, code 503, flags 16777216, grpc 14",
        ),
        (
            End::Left,
            "slow",
            "end nowhere, code not: 1, flags 16384, grpc not: 1",
        ),
        (
            End::Left,
            "long",
            "end nowhere, code 200, flags 16384, grpc 2",
        ),
        (
            End::Switched,
            "switches",
            "end nowhere, code 101, flags 16384, grpc 2",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        host.ends(end, cluster, &format!("log {number}"));
        let upstream = match cluster {
            "nowhere" => "1 ".to_owned(),
            _ => format!("0 {}", host.address(cluster)),
        };
        assert_eq!(
            is_told(host, number),
            format!("0 {told}, upstream {upstream}\n"),
            "{cluster}"
        );
    }
}

/// So the filter need not see each part of each response.
pub(crate) fn a_response_that_is_not_whole_has_a_flag(host: &mut dyn ProbeHost) {
    for (number, (end, cluster)) in [
        (End::Answered, "torn"),
        (End::Answered, "cut"),
        (End::Answered, "reset"),
        (End::Answered, "long"),
        (End::Left, "long"),
        (End::Reset, "long"),
        (End::LeftUploading, "long"),
    ]
    .into_iter()
    .enumerate()
    {
        host.ends(end, cluster, &format!("log part{number}"));
        let told = is_told(host, format!("part{number}"));
        assert!(
            told.contains("end nowhere, code 200, flags "),
            "{end:?} {cluster}: {told}"
        );
        assert!(!told.contains("flags 0,"), "{end:?} {cluster}: {told}");
    }
}

pub(crate) fn the_upstream_address_is_the_one_that_was_tried_last(host: &mut dyn ProbeHost) {
    let (up, nobody) = (host.address("up"), host.address("nobody"));
    let list = format!("log retried; put request x-pointsman-endpoint {nobody},{up}");
    host.ends(End::Answered, "pair", &list);
    assert_eq!(
        is_told(host, "retried"),
        format!("0 end body, code 200, flags 0, grpc 2, upstream 0 {up}\n")
    );
}

fn is_told(host: &mut dyn ProbeHost, name: impl Display) -> String {
    let get = format!("get log.{name}");
    until(host, "the end of a stream", &mut |host| {
        host.did(&get) != "1 "
    });
    host.did(&get)
}

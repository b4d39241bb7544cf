//! Answers of the filter's own.

use super::{ProbeHost, value};

pub(crate) fn a_local_reply_passes_the_response_phase(host: &mut dyn ProbeHost) {
    let (response, upstream) = host.send(&[
        ("x-do", "reply 403 no x-a=1"),
        (
            "x-do-response",
            "header response :status; put response x-a 2; add response x-a 3",
        ),
    ]);
    assert_eq!((response.status, &response.body[..]), (403, &b"no"[..]));
    assert_eq!(value(&response, "x-did"), "0 403;0;0");
    assert_eq!(value(&response, "x-a"), "2,3");
    assert_eq!(upstream, None);
}

pub(crate) fn a_local_reply_is_plain_text_unless_it_says_otherwise_and_without_a_body_nothing(
    host: &mut dyn ProbeHost,
) {
    for (commands, content_type) in [
        ("reply 200 text", "text/plain"),
        (
            "reply 200 {} content-type=application/json",
            "application/json",
        ),
        ("reply 200 -", ""),
        ("reply 200 - content-type=application/json", ""),
    ] {
        let (response, _) = host.send(&[("x-do", commands)]);
        assert_eq!(value(&response, "content-type"), content_type, "{commands}");
    }
}

pub(crate) fn only_the_first_local_reply_counts(host: &mut dyn ProbeHost) {
    let (response, _) = host.send(&[("x-do", "reply 403 first; reply 404 second")]);
    assert_eq!((response.status, &response.body[..]), (403, &b"first"[..]));
}

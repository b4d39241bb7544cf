//! Bytes that no client library would send, on a real Envoy.

use super::{LONG, REPEATS, envoy_host};
use host_sim::envoy_host::EnvoyHost;
use host_sim::wait::{TIMEOUT, until};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

/// Sends bytes on a connection of their own, and returns the first answer, or what there is of it
/// when the connection ends. Not to its end in any case: Envoy keeps a connection for another
/// second after it said `close`.
fn raw(to: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut connection = TcpStream::connect(to).unwrap();
    connection.set_read_timeout(Some(TIMEOUT)).unwrap();
    // Envoy may refuse the request before it has all of it.
    let _ = connection.write_all(bytes);
    let mut answer = Vec::new();
    let mut chunk = [0; 16 * 1024];
    while !is_complete(&answer) {
        match connection.read(&mut chunk) {
            Ok(0) => break,
            Ok(size) => answer.extend_from_slice(&chunk[..size]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("no answer: {}", bytes.escape_ascii())
            }
            // A child that ends, such as another test's Envoy, sends a signal.
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_reset) => break,
        }
    }
    answer
}

/// Whether it is a whole answer with a `content-length`, which all of ours, Envoy's and the
/// backends' have.
fn is_complete(answer: &[u8]) -> bool {
    let head = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .map(|end| answer.split_at(end + 4));
    head.is_some_and(|(head, body)| {
        let head = String::from_utf8_lossy(head);
        let size = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        size.is_some_and(|size| body.len() >= size.parse().unwrap())
    })
}

/// The status of an answer; 0 where there is none.
fn status(answer: &[u8]) -> u16 {
    let digits = answer
        .strip_prefix(b"HTTP/1.1 ")
        .and_then(|rest| rest.get(..3));
    digits.map_or(0, |digits| {
        std::str::from_utf8(digits).unwrap().parse().unwrap()
    })
}

/// Whether the filter answered or edited it.
fn is_ours(answer: &[u8]) -> bool {
    let needle = b"x-served-by: pointsman";
    answer.windows(needle.len()).any(|window| window == needle)
}

fn get(target: &[u8], headers: &[&[u8]]) -> Vec<u8> {
    let mut request = [
        b"GET ",
        target,
        b" HTTP/1.1\r\nhost: b\r\nconnection: close\r\n",
    ]
    .concat();
    for header in headers {
        request.extend_from_slice(header);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    request
}

/// Envoy's counts of its VMs: how many there are, were created, were loaded anew.
fn vms(host: &EnvoyHost) -> Vec<(String, u64)> {
    host.envoy().stats("wasm.").unwrap()
}

#[test]
fn no_bytes_trap_a_vm_of_a_real_envoy() {
    let host = envoy_host();
    let address = host.envoy().address().unwrap();
    let before = vms(&host);
    assert!(!before.is_empty());

    // Every byte, in every place.
    let mut reached: BTreeMap<&str, usize> = BTreeMap::new();
    for byte in 0..=255u8 {
        let places = [
            (
                "header",
                get(
                    b"/c",
                    &[&[b"x-a: a", &[byte][..], b"a"].concat(), b"x-b: 1"],
                ),
            ),
            (
                "cookie",
                get(
                    b"/c",
                    &[&[b"cookie: a=", &[byte][..], b"; pm=", &[byte]].concat()],
                ),
            ),
            ("path", get(&[b"/c/", &[byte][..], b"/"].concat(), &[])),
            (
                "rewritten path",
                get(
                    &[b"/r", &[byte][..], b"/"].concat(),
                    &[&[b"user-agent: ", &[byte][..]].concat()],
                ),
            ),
            (
                "redirected path",
                get(&[b"/m/", &[byte][..], b"/"].concat(), &[]),
            ),
            (
                "device",
                get(
                    b"/d",
                    &[
                        &[b"user-agent: Mo", &[byte][..], b"ile bot"].concat(),
                        &[b"sec-ch-ua-mobile: ?", &[byte][..]].concat(),
                    ],
                ),
            ),
            (
                "language",
                get(
                    b"/d",
                    &[&[b"accept-language: en", &[byte][..], b"GB;q=0.", &[byte]].concat()],
                ),
            ),
            ("query", get(&[b"/c?a=", &[byte][..], b"%"].concat(), &[])),
            (
                "authority",
                [
                    b"GET /m HTTP/1.1\r\nhost: b",
                    &[byte][..],
                    b"\r\nconnection: close\r\n\r\n",
                ]
                .concat(),
            ),
        ];
        for (place, request) in places {
            let answer = raw(address, &request);
            assert!(
                status(&answer) != 503 && status(&answer) != 500,
                "{byte:#x} in {place}"
            );
            *reached.entry(place).or_default() += usize::from(is_ours(&answer));
        }
    }
    eprintln!("of 256 bytes reach the filter: {reached:?}");
    // Blanks, what is printable, and all that is not ASCII are let through in a header; in a path
    // only what is printable.
    for (place, least) in [
        ("header", 224),
        ("cookie", 224),
        ("device", 224),
        ("language", 224),
        ("path", 90),
        ("query", 90),
        ("rewritten path", 90),
        ("redirected path", 90),
    ] {
        assert!(reached[place] >= least, "{place}: {reached:?}");
    }

    // Long values, many headers, empty ones.
    let fill = |start: &[u8], unit: &[u8], length: usize| {
        [start, &unit.repeat(length / unit.len())].concat()
    };
    for length in [60_000, LONG - 1, LONG, LONG + 1] {
        for unit in [
            &b"a"[..],
            b"\xff",
            b"a=1; ",
            b"pm=A; ",
            b",",
            b"%61",
            b"[::1],",
        ] {
            for name in [
                "x-a: ",
                "x-b: ",
                "cookie: ",
                "x-forwarded-for: ",
                "x-session: ",
                "user-agent: ",
                "x-explain: ",
            ] {
                let answer = raw(
                    address,
                    &get(b"/r", &[&fill(name.as_bytes(), unit, length)]),
                );
                assert!(
                    is_ours(&answer),
                    "{length} of {} in {name}: {}",
                    unit.escape_ascii(),
                    status(&answer)
                );
            }
        }
        // Who asks, in one line and in two.
        for name in ["user-agent: ", "sec-ch-ua-mobile: ", "accept-language: "] {
            for unit in [
                &b"Mobile bot "[..],
                b"Android Tablet;",
                b"ko;q=0.1,",
                b"en-GB-",
                b"*;q=",
                b",",
                b"\xff",
                b"?1",
            ] {
                let line = fill(name.as_bytes(), unit, length / 2);
                for lines in [&[&line[..]][..], &[&line, &line]] {
                    let answer = raw(address, &get(b"/d", lines));
                    assert!(
                        is_ours(&answer) && [403, 404, 410].contains(&status(&answer)),
                        "{length} of {} in {name}: {}",
                        unit.escape_ascii(),
                        status(&answer)
                    );
                }
            }
        }
        for start in [
            &b"/rx"[..],
            b"/r",
            b"/m",
            b"/s/",
            b"/p/",
            b"/t/",
            b"/t/1/",
            b"/c?a=",
            b"/c?",
            b"/m?",
        ] {
            for unit in [&b"a"[..], b"/", b"ab", b"a&", b"%61=%", b"?"] {
                let answer = raw(address, &get(&fill(start, unit, length), &[]));
                assert!(
                    ![0, 500, 503].contains(&status(&answer)),
                    "{} {length} of {}: {}",
                    start.escape_ascii(),
                    unit.escape_ascii(),
                    status(&answer)
                );
            }
        }
    }
    for header in [
        &b"x-a: a"[..],
        b"cookie: a=1",
        b"cookie: pm=1",
        b"x-forwarded-for: 1.1.1.1",
        b"x-forwarded-for:",
        b"x-pointsman-cluster: spare",
        b"cookie:",
        b"x-explain: secret",
        b"x-session:",
    ] {
        for path in [&b"/c"[..], b"/m"] {
            let answer = raw(address, &get(path, &vec![header; REPEATS]));
            assert!(
                is_ours(&answer),
                "{REPEATS} of {}: {}",
                header.escape_ascii(),
                status(&answer)
            );
        }
    }

    // Requests that no library would write.
    let oddities: [(&[u8], &[u16]); 14] = [
        (b"POST /c HTTP/1.1\r\nhost: b\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", &[403]),
        (b"POST / HTTP/1.1\r\nhost: b\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-trailer: 1\r\n\r\n", &[200]),
        (b"POST / HTTP/1.1\r\nhost: b\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", &[400, 0]),
        (b"POST /c HTTP/1.1\r\nhost: b\r\nconnection: close\r\ncontent-length: 3\r\n\r\nabc", &[403]),
        (b"POST /c HTTP/1.1\r\nhost: b\r\nconnection: close\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", &[400, 403]),
        (b"GET http://other:81/c HTTP/1.1\r\nhost: b\r\nconnection: close\r\n\r\n", &[403]),
        (b"GET http://other HTTP/1.1\r\nhost: b\r\nconnection: close\r\n\r\n", &[200, 400]),
        (b"OPTIONS * HTTP/1.1\r\nhost: b\r\nconnection: close\r\n\r\n", &[200, 400, 404]),
        (b"CONNECT b:80 HTTP/1.1\r\nhost: b:80\r\nconnection: close\r\n\r\n", &[200, 400, 403, 404]),
        (b"GET /c HTTP/1.0\r\n\r\n", &[403, 426]),
        (b"GET /c HTTP/1.1\r\nconnection: close\r\n\r\n", &[400]),
        (b"GET /c HTTP/1.1\r\nhost:\r\nconnection: close\r\n\r\n", &[400, 403]),
        (b"GET /c HTTP/1.1\r\nhost: b\r\nhost: c\r\nconnection: close\r\n\r\n", &[400, 403]),
        (b"ABRACADABRA /c HTTP/1.1\r\nhost: b\r\nconnection: close\r\n\r\n", &[400, 403]),
    ];
    for (request, statuses) in oddities {
        let got = status(&raw(address, request));
        assert!(statuses.contains(&got), "{got}: {}", request.escape_ascii());
    }
    // The client leaves in the middle of its request, and before the answer.
    for cut in [10, 30, 60] {
        let request = get(b"/r", &[b"x-a: aaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]);
        TcpStream::connect(address)
            .unwrap()
            .write_all(&request[..cut])
            .unwrap();
        TcpStream::connect(address)
            .unwrap()
            .write_all(&request)
            .unwrap();
    }

    // Both workers have got some of these requests, and both answer as before.
    let connections = || host.envoy().connections_by_worker().unwrap();
    let attacked = connections();
    assert_eq!(attacked.len(), 2, "{attacked:?}");
    assert!(attacked.values().all(|count| *count > 100), "{attacked:?}");
    until("each has answered three more", || {
        let answer = raw(address, &get(b"/", &[]));
        assert!(status(&answer) == 200 && is_ours(&answer));
        let mut now = connections().into_iter();
        now.all(|(worker, count)| count >= attacked[&worker] + 3)
    });
    // No VM trapped: none was loaded anew, the filter counted no failure, and Envoy's log has no
    // word of one.
    assert_eq!(vms(&host), before);
    for counter in ["request.failed", "response.failed", "shared.failed", "bug"] {
        assert_eq!(
            host.envoy()
                .filter_stat(&format!("pointsman.{counter}"))
                .unwrap(),
            0,
            "{counter}"
        );
    }
    let log = host.envoy().log();
    // The line that says what was loaded is none.
    let loaded = |line: &&str| !line.contains("; configuration ");
    let complaint = log.lines().filter(loaded).find(|line| {
        let line = line.to_lowercase();
        ["wasm", "panicked", "unreachable"]
            .iter()
            .any(|word| line.contains(word))
    });
    assert_eq!(complaint, None);
}

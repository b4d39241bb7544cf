//! `health.active.grpc`: probes by the standard gRPC health service, `grpc.health.v1.Health/Check`.
//!
//! Request and answer are one message each, framed as gRPC does it: a byte that says whether it is
//! compressed, four bytes of length, and the message. The request's has the field 1, the name of the
//! service; the answer's has the field 1, a number, which is 1 if the service is serving.

use super::ProbeAnswer;

/// What a probe asks for.
pub const PATH: &str = "/grpc.health.v1.Health/Check";

/// The body of a probe for this service. Empty: the server as a whole.
pub fn body(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(SERVICE);
        push_varint(&mut message, service.len());
        message.extend_from_slice(service.as_bytes());
    }
    let mut body = vec![0];
    // Names have at most a few hundred bytes.
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    body.extend(length.to_be_bytes());
    body.append(&mut message);
    body
}

/// Whether an answer says that the service is serving. A status of HTTP other than 200, or of gRPC
/// other than 0, is none, whatever the body says.
pub(super) fn is_serving(answer: &ProbeAnswer<'_>) -> bool {
    answer.status == 200
        && answer.grpc_status == Some(b"0")
        && message(answer.body).and_then(status) == Some(SERVING)
}

/// The one message of a body. None: there is none, or more, or it is compressed.
fn message(body: &[u8]) -> Option<&[u8]> {
    let (frame, message) = body.split_first_chunk::<5>()?;
    let [0, length @ ..] = *frame else {
        return None;
    };
    (u32::from_be_bytes(length) as usize == message.len()).then_some(message)
}

/// The field `status`, of which the last value holds. None: the message is malformed. Without the
/// field it is 0, which is "unknown".
fn status(mut message: &[u8]) -> Option<u64> {
    let mut status = 0;
    while !message.is_empty() {
        let tag = take_varint(&mut message)?;
        match tag & 7 {
            0 => {
                let value = take_varint(&mut message)?;
                if tag >> 3 == 1 {
                    status = value;
                }
            }
            1 => message = message.get(8..)?,
            2 => {
                let length = usize::try_from(take_varint(&mut message)?).ok()?;
                message = message.get(length..)?;
            }
            5 => message = message.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

fn push_varint(bytes: &mut Vec<u8>, mut number: usize) {
    loop {
        // Seven bits, of the last byte without the eighth.
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            bytes.push(low & 0x7f);
            return;
        }
        bytes.push(low | 0x80);
    }
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// The tag of the request's field 1, which is text.
const SERVICE: u8 = 0x0a;

/// `ServingStatus.SERVING`.
const SERVING: u64 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn a_probe_names_the_service() {
        assert_eq!(body(""), [0, 0, 0, 0, 0]);
        assert_eq!(body("a.B"), *b"\0\0\0\0\x05\x0a\x03a.B");
        let long = "x".repeat(300);
        let expected = [&b"\0\0\0\x01\x2f\x0a\xac\x02"[..], long.as_bytes()].concat();
        assert_eq!(body(&long), expected);
    }

    #[test]
    fn only_serving_is_good() {
        let good: &[u8] = b"\0\0\0\0\x02\x08\x01";
        for (status, grpc_status, body, expected) in [
            (200, Some("0"), good, true),
            // A later release of the service may tell more.
            (200, Some("0"), b"\0\0\0\0\x05\x12\x01x\x08\x01", true),
            (200, Some("0"), b"\0\0\0\0\x0b\x08\x01\x19abcdefgh", true),
            (200, Some("0"), b"\0\0\0\0\x07\x08\x01\x1dabcd", true),
            (200, Some("0"), b"\0\0\0\0\x04\x08\x02\x08\x01", true),
            (200, Some("0"), b"\0\0\0\0\x04\x08\x01\x08\x02", false),
            // Unknown, NOT_SERVING, SERVICE_UNKNOWN.
            (200, Some("0"), b"\0\0\0\0\0", false),
            (200, Some("0"), b"\0\0\0\0\x02\x08\0", false),
            (200, Some("0"), b"\0\0\0\0\x02\x08\x02", false),
            (200, Some("0"), b"\0\0\0\0\x02\x08\x03", false),
            (200, Some("12"), good, false),
            (200, Some("00"), good, false),
            (200, None, good, false),
            (503, Some("0"), good, false),
            // No message, half of one, two, a compressed one, one that is malformed.
            (200, Some("0"), b"", false),
            (200, Some("0"), b"\0\0\0\0\x02\x08", false),
            (
                200,
                Some("0"),
                b"\0\0\0\0\x02\x08\x01\0\0\0\0\x02\x08\x01",
                false,
            ),
            (200, Some("0"), b"\x01\0\0\0\x02\x08\x01", false),
            (200, Some("0"), b"\0\0\0\0\x01\x08", false),
            (200, Some("0"), b"\0\0\0\0\x03\x08\x01\x0b", false),
            (200, Some("0"), b"\0\0\0\0\x04\x08\x01\x12\x7f", false),
            (
                200,
                Some("0"),
                b"\0\0\0\0\x0c\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
                false,
            ),
        ] {
            let answer = ProbeAnswer {
                status,
                grpc_status: grpc_status.map(str::as_bytes),
                body,
            };
            assert_eq!(is_serving(&answer), expected, "{answer:?}");
        }
    }
}

//! The few messages of `envoy.service.ratelimit.v3` that a global limit needs, in protobuf's wire
//! format (<https://protobuf.dev/programming-guides/encoding/>). A protobuf library would cost more
//! than all of this.

use crate::time::Nanos;

/// What an engine answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Over all descriptors.
    pub code: Code,
    /// Of each descriptor, in their order. Some engines say none.
    pub statuses: Vec<DescriptorStatus>,
    /// How long the limit's window lasts at least, by a header that the answer to the client is to
    /// have: Limitador's `x-ratelimit-reset`, in whole seconds, rounded down. None: the engine does
    /// not say.
    pub reset_at_least: Option<Nanos>,
}

/// Of one descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DescriptorStatus {
    /// Whether it is over its limit.
    pub code: Code,
    /// How many requests are left.
    pub remaining: u32,
    /// Until the limit's window ends. None: the engine does not say.
    pub reset: Option<Nanos>,
}

/// Whether a request is within the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Code {
    /// The engine does not say; a number that the protocol does not have is the same.
    #[default]
    Unknown,
    /// It is.
    Ok,
    /// It is not.
    OverLimit,
}

/// The bytes are no `RateLimitResponse`, or one with more statuses than a request has descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// A `RateLimitRequest` without its number of hits ([`with_hits`]). A descriptor is a list of keys
/// with values.
pub fn request(domain: &str, descriptor: &[(&str, &str)]) -> Vec<u8> {
    let (mut message, mut entries) = (Vec::new(), Vec::new());
    field(&mut message, 1, domain.as_bytes());
    for (key, value) in descriptor {
        let mut entry = Vec::new();
        field(&mut entry, 1, key.as_bytes());
        field(&mut entry, 2, value.as_bytes());
        field(&mut entries, 1, &entry);
    }
    field(&mut message, 2, &entries);
    message
}

/// A whole `RateLimitRequest`. `hits`: how many requests it stands for.
pub fn with_hits(request: &[u8], hits: u32) -> Vec<u8> {
    let mut message = request.to_vec();
    varint(&mut message, 3 << 3);
    varint(&mut message, hits.into());
    message
}

/// A `GrpcService { envoy_grpc { cluster_name } }`, by which a proxy is told the cluster of a call.
/// The cluster's bare name is not enough: a proxy reads it as protobuf first, and some names are.
/// None: a name of more than 120 bytes, whose length would be no text.
pub fn service(cluster: &str) -> Option<String> {
    if cluster.len() > MAX_CLUSTER {
        return None;
    }
    let (mut envoy_grpc, mut service) = (Vec::new(), Vec::new());
    field(&mut envoy_grpc, 1, cluster.as_bytes());
    field(&mut service, 1, &envoy_grpc);
    String::from_utf8(service).ok()
}

/// The longest name of a cluster, in bytes: then each length in [`service`] is one byte of ASCII.
pub const MAX_CLUSTER: usize = 120;

/// The most statuses that are read.
const MAX_STATUSES: usize = 256;

/// Reads a `RateLimitResponse`.
pub fn response(bytes: &[u8]) -> Result<Response, Malformed> {
    let mut response = Response {
        code: Code::Unknown,
        statuses: Vec::new(),
        reset_at_least: None,
    };
    let mut message = Message(bytes);
    while let Some((number, field)) = message.next()? {
        match (number, field) {
            (1, Field::Varint(code)) => response.code = code_of(code),
            (2, Field::Bytes(status)) => {
                if response.statuses.len() == MAX_STATUSES {
                    return Err(Malformed);
                }
                response.statuses.push(status_of(status)?);
            }
            (3, Field::Bytes(header)) => {
                let reset = reset_of(header)?;
                response.reset_at_least = reset.or(response.reset_at_least);
            }
            _ => {}
        }
    }
    Ok(response)
}

fn code_of(code: u64) -> Code {
    match code {
        1 => Code::Ok,
        2 => Code::OverLimit,
        _ => Code::Unknown,
    }
}

fn status_of(bytes: &[u8]) -> Result<DescriptorStatus, Malformed> {
    let mut status = DescriptorStatus::default();
    let mut message = Message(bytes);
    while let Some((number, field)) = message.next()? {
        match (number, field) {
            (1, Field::Varint(code)) => status.code = code_of(code),
            (3, Field::Varint(left)) => status.remaining = u32::try_from(left).unwrap_or(u32::MAX),
            (4, Field::Bytes(duration)) => status.reset = Some(duration_of(duration)?),
            _ => {}
        }
    }
    Ok(status)
}

/// What a `HeaderValue` says of when the window ends.
fn reset_of(bytes: &[u8]) -> Result<Option<Nanos>, Malformed> {
    let (mut name, mut value) = (&b""[..], &b""[..]);
    let mut message = Message(bytes);
    while let Some((number, field)) = message.next()? {
        match (number, field) {
            (1, Field::Bytes(bytes)) => name = bytes,
            (2, Field::Bytes(bytes)) => value = bytes,
            _ => {}
        }
    }
    if !name.eq_ignore_ascii_case(b"x-ratelimit-reset") {
        return Ok(None);
    }
    let seconds = std::str::from_utf8(value).ok().map(str::parse::<u64>);
    let nanos = |seconds| Nanos::SECOND.checked_mul(seconds);
    Ok(seconds.and_then(Result::ok).and_then(nanos))
}

/// A `google.protobuf.Duration`. One below zero is zero.
fn duration_of(bytes: &[u8]) -> Result<Nanos, Malformed> {
    let (mut seconds, mut nanos) = (0, 0);
    let mut message = Message(bytes);
    while let Some((number, field)) = message.next()? {
        match (number, field) {
            (1, Field::Varint(number)) => seconds = number.cast_signed(),
            (2, Field::Varint(number)) => nanos = number.cast_signed(),
            _ => {}
        }
    }
    if seconds < 0 || nanos < 0 {
        return Ok(Nanos::ZERO);
    }
    let seconds = seconds.unsigned_abs().saturating_mul(Nanos::SECOND.get());
    Ok(Nanos::new(seconds.saturating_add(nanos.unsigned_abs())))
}

/// What is left of a message.
struct Message<'a>(&'a [u8]);

/// A field's content. What is of no use here is skipped.
enum Field<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    Skipped,
}

impl<'a> Message<'a> {
    fn take(&mut self, size: u64) -> Result<&'a [u8], Malformed> {
        let size = usize::try_from(size).map_err(|_| Malformed)?;
        let (taken, rest) = self.0.split_at_checked(size).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or(Malformed)?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    fn next(&mut self) -> Result<Option<(u64, Field<'a>)>, Malformed> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let field = match tag & 7 {
            0 => Field::Varint(self.varint()?),
            1 => self.take(8).map(|_| Field::Skipped)?,
            2 => {
                let size = self.varint()?;
                Field::Bytes(self.take(size)?)
            }
            5 => self.take(4).map(|_| Field::Skipped)?,
            _ => return Err(Malformed),
        };
        match tag >> 3 {
            0 => Err(Malformed),
            number => Ok(Some((number, field))),
        }
    }
}

/// A field of bytes.
fn field(message: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    varint(message, number << 3 | 2);
    varint(message, bytes.len() as u64);
    message.extend_from_slice(bytes);
}

fn varint(message: &mut Vec<u8>, mut value: u64) {
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            return message.push(low);
        }
        message.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn a_request_is_what_the_protocol_says() {
        let descriptor = [("limit", "per-ip")];
        let bytes = with_hits(&request("shop", &descriptor), 300);
        let expected = b"\x0a\x04shop\x12\x11\x0a\x0f\x0a\x05limit\x12\x06per-ip\x18\xac\x02";
        assert_eq!(bytes, expected);
        assert_eq!(service("p1").as_deref(), Some("\n\u{4}\n\u{2}p1"));
        assert_eq!(service(&"x".repeat(121)), None);
    }

    #[test]
    fn a_response_says_what_is_left_and_until_when() {
        let bytes = b"\x08\x02\x12\x0d\x08\x02\x12\x01\x00\x18\x07\x22\x04\x08\x03\x10\x05\x1a\x00";
        let status = DescriptorStatus {
            code: Code::OverLimit,
            remaining: 7,
            reset: Some(Nanos::new(3_000_000_005)),
        };
        assert_eq!(
            response(bytes),
            Ok(Response {
                code: Code::OverLimit,
                statuses: vec![status],
                reset_at_least: None,
            })
        );
        let headers =
            b"\x08\x01\x1a\x17\x0a\x11X-RateLimit-Reset\x12\x0259\x1a\x07\x0a\x01a\x12\x0217";
        let least = response(headers).map(|it| it.reset_at_least);
        assert_eq!(least, Ok(Some(Nanos::from_secs(59))));
        assert_eq!(response(b"\x08\x63").map(|it| it.code), Ok(Code::Unknown));
        assert_eq!(response(b"\x12\x05\x08"), Err(Malformed));
        assert_eq!(response(&b"\x12\x00".repeat(257)), Err(Malformed));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = response(&bytes);
        }

        #[test]
        fn what_is_written_is_read_again(
            codes in proptest::collection::vec((0..3_u64, any::<u32>(), 0..1_000_000_u64), 0..20),
        ) {
            let mut message = vec![8, 1];
            for (code, left, seconds) in &codes {
                let (mut status, mut duration) = (Vec::new(), Vec::new());
                varint(&mut duration, 8);
                varint(&mut duration, *seconds);
                varint(&mut status, 8);
                varint(&mut status, *code);
                varint(&mut status, 24);
                varint(&mut status, (*left).into());
                field(&mut status, 4, &duration);
                field(&mut message, 2, &status);
            }
            let read = response(&message).unwrap();
            prop_assert_eq!(read.code, Code::Ok);
            let statuses = codes.iter().map(|(code, left, seconds)| DescriptorStatus {
                code: code_of(*code),
                remaining: *left,
                reset: Some(Nanos::from_secs(*seconds)),
            });
            prop_assert_eq!(read.statuses, statuses.collect::<Vec<_>>());
        }
    }
}

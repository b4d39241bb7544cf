//! Envoy's messages, as its .proto files describe them.

use flate2::read::GzDecoder;
use prost_reflect::{DescriptorPool, MessageDescriptor};
use std::io::Read;

/// Of Envoy 1.40. `tests/envoy_descriptors.rs` makes the file.
const COMPRESSED: &[u8] = include_bytes!("descriptors.binpb.gz");

/// Reads the descriptors.
pub(super) fn pool() -> DescriptorPool {
    let mut bytes = Vec::new();
    GzDecoder::new(COMPRESSED)
        .read_to_end(&mut bytes)
        .expect("the file was compressed by a test");
    DescriptorPool::decode(bytes.as_slice()).expect("the file is a descriptor set")
}

/// The message that an `@type` names.
pub(super) fn message_of(pool: &DescriptorPool, type_url: &str) -> Option<MessageDescriptor> {
    // Another host than Google's means the same: only what follows the last slash counts.
    pool.get_message_by_name(type_url.rsplit('/').next()?)
}

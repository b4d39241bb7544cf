//! What a release consists of: the module as an OCI image ([`image`]), the list of what is in the
//! module ([`sbom`]), the archive for people without Rust ([`archive`]). The same input gives the
//! same bytes on every machine and at every time, so that anybody can build a release again and
//! compare digests. [`pull`] reads an image as the systems do that fetch it.

pub mod archive;
pub mod image;
pub mod pull;
pub mod sbom;

use serde_json::Value;
use sha2::{Digest, Sha256};

/// The SHA-256 of some bytes, in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A JSON object in bytes, its keys in order. (Whether `serde_json` keeps them in theirs depends on
/// what else is compiled.)
fn json_bytes(mut value: Value) -> Vec<u8> {
    value.sort_all_objects();
    value.to_string().into_bytes()
}

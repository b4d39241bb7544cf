//! The bytes of a configuration while nobody needs them: the proxy shows them only when it is
//! loaded, and one that sleeps may have to be loaded again.

use lz4_flex::block::{compress_prepend_size, decompress_size_prepended};

/// Compressed bytes: of 10,000 routes about a tenth of them. It takes a twentieth of the time that
/// it takes to load them.
pub(crate) struct Packed(Box<[u8]>);

impl Packed {
    /// Compresses.
    pub(crate) fn new(bytes: &[u8]) -> Packed {
        Packed(compress_prepend_size(bytes).into())
    }

    /// The bytes again. None: a bug.
    pub(crate) fn unpack(&self) -> Option<Vec<u8>> {
        decompress_size_prepended(&self.0).ok()
    }
}

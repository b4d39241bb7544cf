//! `import envoy`.

use crate::{Document, Options, Output, UnreadableFile};

/// Imports an Envoy's routes.
pub fn import(_: Vec<Document>, _: &Options) -> Result<Output, UnreadableFile> {
    Err(UnreadableFile {
        file: "envoy".into(),
        why: "this kind is not imported yet".into(),
    })
}

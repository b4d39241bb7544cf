//! The documents of the input's files, in YAML or JSON.

use serde_json::Value;
use serde_saphyr::options::DuplicateKeyPolicy;
use std::fmt;

/// A file of the input.
#[derive(Clone, Debug)]
pub struct InputFile {
    /// As the user called it.
    pub name: String,
    /// What it holds.
    pub text: String,
}

/// One document of a file.
#[derive(Clone, Debug)]
pub struct Document {
    /// The file, and which of its documents that are not empty, from 0, where there are several:
    /// `input.yaml` or `input.yaml[2]`.
    pub place: String,
    /// What it says.
    pub value: Value,
}

/// A file that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadableFile {
    /// The file's name.
    pub file: String,
    /// What is wrong, and where.
    pub why: String,
}

impl fmt::Display for UnreadableFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file, self.why)
    }
}

impl std::error::Error for UnreadableFile {}

/// Reads every document of the files. Empty documents are left out. A key that stands twice in a
/// map is an error: one of its values would be lost.
pub fn read(files: &[InputFile]) -> Result<Vec<Document>, UnreadableFile> {
    let mut documents = Vec::new();
    for InputFile { name, text } in files {
        let options = serde_saphyr::options! {
            budget: serde_saphyr::budget! {
                max_nodes: MAX_NODES,
                max_events: 3 * MAX_NODES,
                max_total_scalar_bytes: MAX_BYTES,
            },
            duplicate_keys: DuplicateKeyPolicy::Error,
            strict_booleans: true,
            with_snippet: false,
        };
        let values: Vec<Value> =
            serde_saphyr::from_multiple_with_options(text, options).map_err(|error| {
                UnreadableFile {
                    file: name.clone(),
                    why: error.to_string().lines().next().unwrap_or_default().into(),
                }
            })?;
        let several = values.len() > 1;
        for (index, value) in values.into_iter().enumerate() {
            if !value.is_null() {
                let place = match several {
                    true => format!("{name}[{index}]"),
                    false => name.clone(),
                };
                documents.push(Document { place, value });
            }
        }
    }
    Ok(documents)
}

/// The most nodes of a file, and the most bytes of its scalars: a cluster's routes are a few MiB.
const MAX_NODES: usize = 10_000_000;
const MAX_BYTES: usize = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Vec<Document>, UnreadableFile> {
        let name = "a.yaml".to_owned();
        let text = text.to_owned();
        read(&[InputFile { name, text }])
    }

    #[test]
    fn every_document_has_its_place() {
        let places = |text| {
            let documents = of(text).unwrap();
            let places = documents.into_iter().map(|document| document.place);
            places.collect::<Vec<_>>()
        };
        assert_eq!(places("{a: 1}"), ["a.yaml"]);
        assert_eq!(
            places("---\na: 1\n---\n---\nb: 2\n"),
            ["a.yaml[0]", "a.yaml[1]"]
        );
    }

    #[test]
    fn a_key_that_stands_twice_is_an_error() {
        let error = of("{a: 1, a: 2}").unwrap_err();
        assert!(error.to_string().starts_with("a.yaml: "), "{error}");
    }
}

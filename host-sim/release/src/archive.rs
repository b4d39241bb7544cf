//! Archives (tar, gzip) whose bytes depend on their files' names, rights and contents, and on
//! nothing else.

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use std::io::Write;
use tar::{Builder, EntryType, Header};

/// The byte of a gzip header that names the operating system: unknown (RFC 1952, 2.3.1).
const NO_OPERATING_SYSTEM: u8 = 255;
/// The rights of a file that is read, and of one that is run.
const READ: u32 = 0o644;
const RUN: u32 = 0o755;

/// A file of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchivedFile {
    /// Its path in the archive: relative, with `/`.
    pub path: String,
    /// Its content.
    pub content: Vec<u8>,
    /// Whether it is a program.
    pub is_program: bool,
}

/// An archive in the format USTAR, in the order of the files: no time, no owner. Error: a path is
/// too long for the format, or leads out of the archive.
pub fn tar(files: &[ArchivedFile]) -> Result<Vec<u8>> {
    let mut archive = Builder::new(Vec::new());
    for file in files {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(if file.is_program { RUN } else { READ });
        header.set_size(file.content.len() as u64);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header
            .set_path(&file.path)
            .with_context(|| format!("the path {}", file.path))?;
        header.set_cksum();
        archive.append(&header, file.content.as_slice())?;
    }
    Ok(archive.into_inner()?)
}

/// The bytes, compressed: no time, no name, no operating system.
pub fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzBuilder::new()
        .mtime(0)
        .operating_system(NO_OPERATING_SYSTEM)
        .write(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn file(path: &str) -> ArchivedFile {
        ArchivedFile {
            path: path.to_owned(),
            content: b"content".to_vec(),
            is_program: path.ends_with("program"),
        }
    }

    #[test]
    fn an_archive_has_its_files_and_no_time_nor_owner() {
        let bytes = gzip(&tar(&[file("a/b"), file("a/program")]).unwrap()).unwrap();
        // RFC 1952: magic, method, flags, four bytes of time, how hard it was tried, the system.
        assert_eq!(bytes[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 255]);
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(bytes.as_slice()));
        let mut found = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = String::new();
            entry.read_to_string(&mut content).unwrap();
            let header = entry.header();
            assert!(header.as_ustar().is_some());
            assert_eq!(header.mtime().unwrap(), 0);
            assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
            assert_eq!(content, "content");
            let path = entry.path().unwrap().display().to_string();
            found.push((path, header.mode().unwrap()));
        }
        let expected = [("a/b".to_owned(), 0o644), ("a/program".to_owned(), 0o755)];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_path_out_of_the_archive_is_an_error() {
        assert!(tar(&[file("../x")]).is_err());
        assert!(tar(&[file("/x")]).is_err());
    }
}

//! The module as it ships: without the exports that the filter has no use for. A proxy does not call
//! a callback that a module does not export, and each call into a VM costs a request 1,200 to 1,900
//! instructions.

use crate::module;
use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use wasm_encoder::{ExportKind, ExportSection, Module, RawSection};
use wasmparser::{ExternalKind, Parser, Payload};

/// The exports that ship, each with what would be missing without it. Everything else that the SDK
/// exports goes.
pub const KEPT: &[(&str, &str)] = &[
    (
        "memory",
        "the proxy reads and writes what host calls hand over",
    ),
    (
        "_initialize",
        "Rust's start, and the SDK's: the root context",
    ),
    (
        "proxy_abi_version_0_2_1",
        "the proxy refuses a module that names no ABI",
    ),
    (
        "proxy_on_memory_allocate",
        "the proxy returns bytes in memory that it gets here",
    ),
    (
        "proxy_on_context_create",
        "a VM may have several root contexts, and this tells whose a stream is",
    ),
    (
        "proxy_on_vm_start",
        "the SDK's root context hears of its VM",
    ),
    ("proxy_on_configure", "the configuration"),
    (
        "proxy_on_tick",
        "probes, ejections that end, counts in flight of VMs that died",
    ),
    ("proxy_on_http_call_response", "the answers to probes"),
    ("proxy_on_request_headers", "the decision"),
    (
        "proxy_on_request_body",
        "whether the whole request came, for health",
    ),
    ("proxy_on_request_trailers", "the same"),
    (
        "proxy_on_response_headers",
        "edits of the response, the session cookie",
    ),
    (
        "proxy_on_log",
        "the end of a request: counts in flight, health",
    ),
    ("proxy_on_delete", "the SDK forgets the stream"),
];

/// A module without the exports that nothing needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trimmed {
    /// The module. The same for the same bytes.
    pub module: Vec<u8>,
    /// The exports that were taken away, in the module's order.
    pub removed: Vec<String>,
}

/// Takes the exports away that are not in [`KEPT`], and changes nothing else. Error: the bytes are
/// no module, or one of [`KEPT`] is missing.
pub fn trim(module: &[u8]) -> Result<Trimmed> {
    let mut trimmed = Module::new();
    let (mut kept, mut removed) = (Vec::new(), Vec::new());
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload.context("not a module of WebAssembly")?;
        if let Payload::ExportSection(section) = payload {
            let mut exports = ExportSection::new();
            for export in section {
                let export = export?;
                if KEPT.iter().any(|(name, _)| *name == export.name) {
                    exports.export(export.name, kind(export.kind)?, export.index);
                    kept.push(export.name);
                } else {
                    removed.push(export.name.to_owned());
                }
            }
            trimmed.section(&exports);
        } else if let Some((id, range)) = payload.as_section() {
            let range = usize::try_from(range.start)?..usize::try_from(range.end)?;
            let data = module.get(range).context("a section beyond the end")?;
            trimmed.section(&RawSection { id, data });
        }
    }
    for (name, what) in KEPT {
        ensure!(
            kept.contains(name),
            "the module does not export {name} ({what})"
        );
    }
    Ok(Trimmed {
        module: trimmed.finish(),
        removed,
    })
}

fn kind(kind: ExternalKind) -> Result<ExportKind> {
    match kind {
        ExternalKind::Func => Ok(ExportKind::Func),
        ExternalKind::Memory => Ok(ExportKind::Memory),
        ExternalKind::Global => Ok(ExportKind::Global),
        ExternalKind::Table => Ok(ExportKind::Table),
        other => anyhow::bail!("an export of a kind that no proxy knows: {other:?}"),
    }
}

/// A file of the package.
#[derive(Clone, Debug)]
pub struct PackagedFile {
    /// Its name in the package's directory.
    pub name: &'static str,
    /// Its size in bytes.
    pub size: usize,
    /// Of its bytes, in hexadecimal.
    pub sha256: String,
}

/// What [`write()`] has written.
#[derive(Clone, Debug)]
pub struct Package {
    /// Where it is.
    pub directory: PathBuf,
    /// What is in it, but for the list of checksums.
    pub files: Vec<PackagedFile>,
    /// The exports that the module no longer has.
    pub removed: Vec<String>,
}

/// The name of the module in a package.
pub const MODULE: &str = "pointsman.wasm";
/// The name of the checksums in a package, as `sha256sum --check` reads them.
pub const CHECKSUMS: &str = "SHA256SUMS";

/// Where packages go where nothing else is said: `package` in Cargo's target directory.
pub fn default_directory() -> Result<PathBuf> {
    Ok(module::target_directory()?.join("package"))
}

/// Builds the module and writes it into `directory` as it ships, with its checksum.
pub fn write(directory: &Path) -> Result<Package> {
    let built = module::build()?;
    let built = fs::read(&built).with_context(|| format!("reading {}", built.display()))?;
    let Trimmed { module, removed } = trim(&built)?;
    fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
    let contents: [(&str, Cow<'_, [u8]>); 1] = [(MODULE, module.into())];
    let mut files = Vec::new();
    for (name, content) in contents {
        put(&directory.join(name), &content)?;
        let sha256 = Sha256::digest(&content);
        files.push(PackagedFile {
            name,
            size: content.len(),
            sha256: sha256.iter().map(|byte| format!("{byte:02x}")).collect(),
        });
    }
    let sums = files
        .iter()
        .map(|file| format!("{}  {}\n", file.sha256, file.name));
    put(
        &directory.join(CHECKSUMS),
        sums.collect::<String>().as_bytes(),
    )?;
    Ok(Package {
        directory: directory.to_owned(),
        files,
        removed,
    })
}

/// Builds the module, and returns the path of the one that ships, in the default directory.
pub fn module_as_it_ships() -> Result<PathBuf> {
    let package = write(&default_directory()?)?;
    Ok(package.directory.join(MODULE))
}

/// Replaces a file at once: a proxy may be reading it, and another process may write the same.
fn put(path: &Path, content: &[u8]) -> Result<()> {
    let write = || -> Result<()> {
        if fs::read(path).is_ok_and(|present| present == content) {
            return Ok(());
        }
        let directory = path.parent().context("it has no directory")?;
        // With the rights that a file usually has.
        let mut file =
            tempfile::Builder::new().make_in(directory, |path| File::create_new(path))?;
        file.write_all(content)?;
        file.persist(path)?;
        Ok(())
    };
    write().with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A module with exactly these exports, all of one function but for the memory.
    fn exporting(names: &[&str]) -> Vec<u8> {
        use wasm_encoder::{
            CodeSection, CustomSection, Function, FunctionSection, MemorySection, MemoryType,
            TypeSection,
        };
        let mut module = Module::new();
        let mut types = TypeSection::new();
        types.ty().function([], []);
        module.section(&types);
        let mut functions = FunctionSection::new();
        functions.function(0);
        module.section(&functions);
        let mut memories = MemorySection::new();
        memories.memory(MemoryType {
            minimum: 1,
            maximum: None,
            memory64: false,
            shared: false,
            page_size_log2: None,
        });
        module.section(&memories);
        let mut exports = ExportSection::new();
        for name in names {
            match *name {
                "memory" => exports.export(name, ExportKind::Memory, 0),
                name => exports.export(name, ExportKind::Func, 0),
            };
        }
        module.section(&exports);
        let mut code = CodeSection::new();
        let mut function = Function::new([]);
        function.instructions().end();
        code.function(&function);
        module.section(&code);
        module.section(&CustomSection {
            name: "producers".into(),
            data: Cow::Borrowed(b"\0"),
        });
        module.finish()
    }

    fn kept() -> Vec<&'static str> {
        KEPT.iter().map(|(name, _)| *name).collect()
    }

    #[test]
    fn what_nothing_needs_goes_and_the_rest_stays_as_it_was() {
        let with = exporting(&[&["proxy_on_grpc_close"], &kept()[..], &["more"]].concat());
        let trimmed = trim(&with).unwrap();
        assert_eq!(trimmed.removed, ["proxy_on_grpc_close", "more"]);
        assert_eq!(trimmed.module, exporting(&kept()));
        // Again takes nothing.
        let again = trim(&trimmed.module).unwrap();
        assert_eq!((again.module, again.removed), (trimmed.module, vec![]));
    }

    #[test]
    fn a_module_without_what_is_needed_does_not_ship() {
        let names: Vec<_> = kept()
            .into_iter()
            .filter(|name| *name != "proxy_on_log")
            .collect();
        let error = trim(&exporting(&names)).unwrap_err().to_string();
        assert!(error.contains("proxy_on_log"), "{error}");
        assert!(trim(b"not a module").is_err());
    }
}

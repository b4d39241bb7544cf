//! The module as it ships: without the exports that the filter has no use for. A proxy does not call
//! a callback that a module does not export, and each call into a VM costs a request 1,200 to 1,900
//! instructions. Beside it: the same as an OCI image, the list of its crates, and checksums. The same
//! tree gives the same bytes, wherever it is and whoever builds it.

use crate::module;
use anyhow::{Context, Result, ensure};
use pointsman_release::archive::{ArchivedFile, tar};
use pointsman_release::image::{About, Image};
use pointsman_release::{sbom, sha256};
use std::env;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
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
    (
        "proxy_on_grpc_receive",
        "the answers of engines of global limits",
    ),
    ("proxy_on_grpc_close", "that there is none"),
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
    (
        "proxy_on_delete",
        "the SDK forgets the stream; an old configuration gives back its slot of counts",
    ),
];

/// What ships as the SDK's `proxy_on_delete`, in its place. A proxy calls `proxy_on_done` and
/// `proxy_on_delete` at the end of each stream and of each configuration; what both have to do is
/// done in this one, so that a call is saved.
const OWN_DELETE: &str = "pointsman_on_delete";
const DELETE: &str = "proxy_on_delete";

/// A module without the exports that nothing needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trimmed {
    /// The module. The same for the same bytes.
    pub module: Vec<u8>,
    /// The exports that were taken away, in the module's order.
    pub removed: Vec<String>,
}

/// Takes the exports away that are not in [`KEPT`], has [`OWN_DELETE`] take the place of the SDK's
/// [`DELETE`], and changes nothing else. Error: the bytes are no module, or one of those is missing.
pub fn trim(module: &[u8]) -> Result<Trimmed> {
    let mut trimmed = Module::new();
    let (mut kept, mut removed) = (Vec::new(), Vec::new());
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload.context("not a module of WebAssembly")?;
        if let Payload::ExportSection(section) = payload {
            let all: Vec<_> = section.into_iter().collect::<Result<_, _>>()?;
            let has = |name: &str| all.iter().any(|export| export.name == name);
            // A module that was trimmed before has neither.
            ensure!(
                has(OWN_DELETE) || !has("proxy_on_done"),
                "the module does not export {OWN_DELETE}, which ships as {DELETE}"
            );
            let mut exports = ExportSection::new();
            for export in &all {
                let name = match export.name {
                    DELETE if has(OWN_DELETE) => continue,
                    OWN_DELETE => DELETE,
                    name => name,
                };
                if KEPT.iter().any(|(kept, _)| *kept == name) {
                    exports.export(name, kind(export.kind)?, export.index);
                    kept.push(name);
                } else {
                    removed.push(name.to_owned());
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
    /// Its path in the package's directory.
    pub path: String,
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
    /// What is in it, but for the list of checksums; the module first.
    pub files: Vec<PackagedFile>,
    /// The version of the module, which is the image's tag too.
    pub version: String,
    /// The image's digest, with `sha256:`: that of its manifest.
    pub image_digest: String,
    /// How much of the image a proxy's agent fetches, in bytes.
    pub layer_size: usize,
    /// How many crates are in the module.
    pub crates: usize,
    /// The exports that the module no longer has.
    pub removed: Vec<String>,
}

/// What the image says of where the module comes from. It is part of the digest.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// Where the source is: a URL.
    pub source: Option<String>,
    /// The commit.
    pub revision: Option<String>,
}

/// The name of the module in a package.
pub const MODULE: &str = "pointsman.wasm";
/// The name of the list of the module's crates in a package.
pub const SBOM: &str = "pointsman.cdx.json";
/// The directory of the image in a package.
pub const IMAGE: &str = "oci";
/// The name of the checksums in a package, as `sha256sum --check` reads them.
pub const CHECKSUMS: &str = "SHA256SUMS";

/// Where packages go where nothing else is said: `package` in Cargo's target directory.
pub fn default_directory() -> Result<PathBuf> {
    Ok(module::target_directory()?.join("package"))
}

/// Builds the module and writes it into `directory` as it ships: the module, the list of its
/// crates, the OCI image, and the checksums of all of them.
pub fn write(directory: &Path, origin: &Origin) -> Result<Package> {
    const PACKAGE: &str = "pointsman";
    // Before the module is built, which may take minutes.
    make_writable(directory)?;
    let built = module::build_with_crates(PACKAGE)?;
    let bytes = fs::read(&built.path).with_context(|| built.path.display().to_string())?;
    let Trimmed { module, removed } = trim(&bytes)?;
    let lock = module::repository()?.join("Cargo.lock");
    let lock = fs::read_to_string(&lock).with_context(|| lock.display().to_string())?;
    let (crates, metadata) = (&built.crates, &built.metadata);
    let sbom = sbom::cyclonedx(crates, metadata, &lock, PACKAGE, &sha256(&module))?;
    let mut packages = metadata["packages"].as_array().into_iter().flatten();
    let ours = packages.find(|package| package["name"] == PACKAGE && package["source"].is_null());
    let ours = ours.context("cargo metadata does not name the module's package")?;
    let about = About {
        version: ours["version"].as_str().unwrap_or_default().to_owned(),
        license: ours["license"].as_str().unwrap_or_default().to_owned(),
        source: origin.source.clone(),
        revision: origin.revision.clone(),
    };
    let image = Image::of(&module, &about)?;

    let mut contents = vec![(MODULE.to_owned(), module), (SBOM.to_owned(), sbom)];
    let in_image = image.files.into_iter();
    contents.extend(in_image.map(|(path, content)| (format!("{IMAGE}/{path}"), content)));
    remove_others(&directory.join(IMAGE), directory, &contents)?;
    let mut files = Vec::new();
    for (path, content) in &contents {
        put(&directory.join(path), content)?;
        files.push(PackagedFile {
            path: path.clone(),
            size: content.len(),
            sha256: sha256(content),
        });
    }
    let sums = files
        .iter()
        .map(|file| format!("{}  {}\n", file.sha256, file.path));
    let sums: String = sums.collect();
    put(&directory.join(CHECKSUMS), sums.as_bytes())?;
    Ok(Package {
        directory: directory.to_owned(),
        files,
        version: about.version,
        image_digest: image.digest,
        layer_size: image.layer_size,
        crates: crates.len(),
        removed,
    })
}

/// Builds the module, and returns the path of the one that ships, in the default directory. In an
/// unpacked release it is there already.
pub fn module_as_it_ships() -> Result<PathBuf> {
    let root = module::repository()?;
    if !module::is_source(&root) {
        return Ok(root.join(MODULE));
    }
    let package = write(&default_directory()?, &Origin::default())?;
    Ok(package.directory.join(MODULE))
}

/// Writes, into the directory of a package, an archive with which nobody needs Rust: the package's
/// files, the command line `program`, and the files of `envoy-config` and the examples. It unpacks
/// into one directory. Returns its path.
pub fn archive(package: &Package, program: &Path) -> Result<PathBuf> {
    let root = module::repository()?;
    let version = &package.version;
    let name = format!("pointsman-{version}-linux-{}", env::consts::ARCH);
    let mut files = Vec::new();
    let mut add = |path: &str, from: &Path, is_program: bool| -> Result<()> {
        let content = fs::read(from).with_context(|| format!("reading {}", from.display()))?;
        let path = path.to_owned();
        files.push(ArchivedFile {
            path,
            content,
            is_program,
        });
        Ok(())
    };
    for file in &package.files {
        add(&file.path, &package.directory.join(&file.path), false)?;
    }
    add("host-sim", program, true)?;
    for (path, from) in [
        ("README.md", "host-sim/release/START.md"),
        ("LICENSE", "LICENSE"),
        ("CHANGELOG.md", "CHANGELOG.md"),
    ] {
        add(path, &root.join(from), false)?;
    }
    for folder in ["envoy-config", "host-sim/examples", "host-sim/scenarios"] {
        for path in files_below(&root.join(folder))? {
            let name = path.strip_prefix(&root)?.display().to_string();
            // `host-sim` is the program there.
            let name = name.trim_start_matches("host-sim/").to_owned();
            // What `make-certificates` makes is this machine's.
            if !name.starts_with("envoy-config/tls/certificates/") {
                let is_script = fs::read(&path).is_ok_and(|text| text.starts_with(b"#!"));
                add(&name, &path, is_script)?;
            }
        }
    }
    for file in &mut files {
        // The module lies in the archive's directory.
        if let Ok(text) = str::from_utf8(&file.content)
            && file.path.starts_with("envoy-config/")
        {
            let text = text.replace(BUILT, MODULE).replace(PACKAGED, "");
            // There is nothing to build, and the program is there.
            let lines = text.lines().filter(|line| !line.ends_with(BUILD));
            let lines = lines.map(|line| line.replace("cargo host-sim", "./host-sim") + "\n");
            file.content = lines.collect::<String>().into_bytes();
        }
    }
    let sums = files
        .iter()
        .map(|file| format!("{}  {}\n", sha256(&file.content), file.path));
    let sums: String = sums.collect();
    files.push(ArchivedFile {
        path: CHECKSUMS.to_owned(),
        content: sums.into_bytes(),
        is_program: false,
    });
    for file in &mut files {
        file.path = format!("{name}/{}", file.path);
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    let path = package.directory.join(format!("{name}.tar.gz"));
    put(&path, &pointsman_release::archive::gzip(&tar(&files)?)?)?;
    Ok(path)
}

/// Where Cargo builds the module, as the files of `envoy-config` name it.
const BUILT: &str = "target/wasm32-wasip1/release/pointsman.wasm";
/// Where `package` writes, as they name it.
const PACKAGED: &str = "target/package/";
/// How they say that the module is built.
const BUILD: &str = "cargo build --release --target wasm32-wasip1 -p pointsman";

fn files_below(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        match path.is_dir() {
            true => found.extend(files_below(&path)?),
            false => found.push(path),
        }
    }
    Ok(found)
}

/// Removes the files below a directory that are not among those that are to be in the package: the
/// blobs of an image that was there before.
fn remove_others(below: &Path, package: &Path, contents: &[(String, Vec<u8>)]) -> Result<()> {
    let Ok(entries) = fs::read_dir(below) else {
        return Ok(());
    };
    for entry in entries {
        let path = entry?.path();
        let wanted = |name: &str| package.join(name) == path;
        if path.is_dir() {
            remove_others(&path, package, contents)?;
        } else if !contents.iter().any(|(name, _)| wanted(name)) {
            match fs::remove_file(&path) {
                // By another process that writes the same package.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                removed => removed.with_context(|| format!("removing {}", path.display()))?,
            }
        }
    }
    Ok(())
}

/// Makes a directory. Error: it cannot be made, or no file in it.
fn make_writable(directory: &Path) -> Result<()> {
    let make = || -> Result<()> {
        fs::create_dir_all(directory)?;
        tempfile::tempfile_in(directory)?;
        Ok(())
    };
    make().with_context(|| format!("writing into {}", directory.display()))
}

/// Replaces a file at once: a proxy may be reading it, and another process may write the same.
fn put(path: &Path, content: &[u8]) -> Result<()> {
    let write = || -> Result<()> {
        if fs::read(path).is_ok_and(|present| present == content) {
            return Ok(());
        }
        let directory = path.parent().context("it has no directory")?;
        fs::create_dir_all(directory)?;
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
    use std::borrow::Cow;

    /// A module with exactly these exports, all of one function but for the memory and
    /// [`OWN_DELETE`].
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
        functions.function(0).function(0);
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
                OWN_DELETE => exports.export(name, ExportKind::Func, 1),
                name => exports.export(name, ExportKind::Func, 0),
            };
        }
        module.section(&exports);
        let mut code = CodeSection::new();
        let mut function = Function::new([]);
        function.instructions().end();
        code.function(&function).function(&function);
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
        let with = exporting(&[&["proxy_on_queue_ready"], &kept()[..], &["more"]].concat());
        let trimmed = trim(&with).unwrap();
        assert_eq!(trimmed.removed, ["proxy_on_queue_ready", "more"]);
        assert_eq!(trimmed.module, exporting(&kept()));
        // Again takes nothing.
        let again = trim(&trimmed.module).unwrap();
        assert_eq!((again.module, again.removed), (trimmed.module, vec![]));
    }

    #[test]
    fn what_the_filter_does_at_the_end_takes_the_place_of_what_the_sdk_does() {
        let with = [&["proxy_on_done", OWN_DELETE], &kept()[..]].concat();
        let trimmed = trim(&exporting(&with)).unwrap();
        assert_eq!(trimmed.removed, ["proxy_on_done"]);
        let mut deletes = Vec::new();
        for payload in Parser::new(0).parse_all(&trimmed.module) {
            if let Payload::ExportSection(section) = payload.unwrap() {
                let exports = section.into_iter().map(|export| export.unwrap());
                deletes.extend(exports.filter(|export| export.name == "proxy_on_delete"));
            }
        }
        let deletes: Vec<_> = deletes.iter().map(|export| export.index).collect();
        assert_eq!(deletes, [1]);
    }

    #[test]
    fn a_module_without_what_is_needed_does_not_ship() {
        let names: Vec<_> = kept()
            .into_iter()
            .filter(|name| *name != "proxy_on_delete")
            .collect();
        let error = trim(&exporting(&names)).unwrap_err().to_string();
        assert!(error.contains("proxy_on_delete"), "{error}");
        // The SDK's alone would drop a configuration that keeps its slot.
        let sdks = exporting(&[&["proxy_on_done"], &kept()[..]].concat());
        let error = trim(&sdks).unwrap_err().to_string();
        assert!(error.contains("pointsman_on_delete"), "{error}");
        assert!(trim(b"not a module").is_err());
    }
}

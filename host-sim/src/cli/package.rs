//! `host-sim package`: the module as it ships.

use super::Outcome;
use anyhow::Result;
use host_sim::package::{self, CHECKSUMS, IMAGE, MODULE, Origin, Package, SBOM};
use std::io::{self, Write};
use std::path::PathBuf;

/// Builds the module and writes it as it ships: the module without the exports that it has no use
/// for, an OCI image of it, the list of its crates, and checksums. The same tree gives the same
/// bytes everywhere.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where to. Default: `target/package`.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Where the source is, for the image's annotations. It changes the image's digest.
    #[arg(long, value_name = "URL")]
    source: Option<String>,
    /// The commit, for the image's annotations. It changes the image's digest.
    #[arg(long, value_name = "COMMIT")]
    revision: Option<String>,
    /// Also write an archive of it with this program, the files of `envoy-config` and the examples,
    /// for people without Rust.
    #[arg(long)]
    archive: bool,
}

/// Prints to stdout what was written, which digest is for whom, and what was left out.
pub(crate) fn run(arguments: &Arguments) -> Result<Outcome> {
    let directory = match &arguments.out {
        Some(directory) => directory.clone(),
        None => package::default_directory()?,
    };
    let origin = Origin {
        source: arguments.source.clone(),
        revision: arguments.revision.clone(),
    };
    let package = package::write(&directory, &origin)?;
    let mut out = std::io::stdout().lock();
    write_package(&mut out, &package)?;
    if arguments.archive {
        let archive = package::archive(&package, &std::env::current_exe()?)?;
        writeln!(out, "{}", archive.display())?;
    }
    Ok(Outcome::Good)
}

fn write_package(out: &mut impl Write, package: &Package) -> io::Result<()> {
    let (directory, version) = (package.directory.display(), &package.version);
    let size = |name: &str| {
        let found = package.files.iter().find(|file| file.path == name);
        found.map_or(0, |file| file.size)
    };
    let module = package.files.iter().find(|file| file.path == MODULE);
    let digest = module.map_or("", |file| &file.sha256);
    writeln!(out, "{directory}/{MODULE}, {} bytes", size(MODULE))?;
    writeln!(out, "  sha256 {digest}")?;
    writeln!(out, "  what `sha256` beside an https:// URL wants")?;
    writeln!(
        out,
        "{directory}/{IMAGE}, an OCI image layout; its layer has {} bytes",
        package.layer_size
    )?;
    writeln!(out, "  {}", package.image_digest)?;
    writeln!(
        out,
        "  what an oci:// URL has behind `@`, and what `sha256` beside it wants"
    )?;
    writeln!(
        out,
        "  skopeo copy --preserve-digests oci:{directory}/{IMAGE}:{version} docker://REGISTRY/NAME:{version}"
    )?;
    writeln!(
        out,
        "{directory}/{SBOM}, the {} crates in the module; {} bytes",
        package.crates,
        size(SBOM)
    )?;
    writeln!(out, "{directory}/{CHECKSUMS}")?;
    writeln!(
        out,
        "without these exports, for which the filter has no use:"
    )?;
    package
        .removed
        .iter()
        .try_for_each(|name| writeln!(out, "  {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use host_sim::package::PackagedFile;

    #[test]
    fn each_digest_stands_beside_what_it_is_for() {
        let file = |path: &str, sha256: &str| PackagedFile {
            path: path.to_owned(),
            size: 7,
            sha256: sha256.to_owned(),
        };
        let package = Package {
            directory: "p".into(),
            files: vec![file(MODULE, "aa"), file(SBOM, "bb")],
            version: "1.0.0".to_owned(),
            image_digest: "sha256:cc".to_owned(),
            layer_size: 5,
            crates: 3,
            removed: vec!["proxy_on_done".to_owned()],
        };
        let mut out = Vec::new();
        write_package(&mut out, &package).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[..6],
            [
                "p/pointsman.wasm, 7 bytes",
                "  sha256 aa",
                "  what `sha256` beside an https:// URL wants",
                "p/oci, an OCI image layout; its layer has 5 bytes",
                "  sha256:cc",
                "  what an oci:// URL has behind `@`, and what `sha256` beside it wants",
            ]
        );
    }
}

//! A module out of an image, as the systems read it that fetch modules: Istio's agent
//! (`pkg/wasm/imagefetcher.go`) and Envoy Gateway (`internal/wasm/imagefetcher.go`) have the same
//! three extractors in the same order.

use crate::image::{LAYER, PLUGIN};
use crate::sha256;
use anyhow::{Context, Result, anyhow, bail, ensure};
use flate2::read::GzDecoder;
use serde_json::Value;
use std::io::Read;

const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
const WASM_LAYER: &str = "application/vnd.module.wasm.content.layer.v1+wasm";
/// What each module begins with.
const MAGIC: &[u8] = b"\0asm";
/// The largest module that the systems take, in bytes.
const LARGEST: u64 = 256 * 1024 * 1024;

/// How an image carries its module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// A Docker image whose last layer has the module.
    Docker,
    /// An OCI image whose last layer has the module.
    Compat,
    /// An OCI artifact of two layers, one of which is the module.
    Artifact,
}

/// The module of an image, by its manifest; `blob` fetches a blob by its digest. Error: why each of
/// the extractors refuses the image, or what is wrong with a blob.
pub fn module(
    manifest: &[u8],
    mut blob: impl FnMut(&str) -> Result<Vec<u8>>,
) -> Result<(Variant, Vec<u8>)> {
    let manifest: Value = serde_json::from_slice(manifest).context("the manifest")?;
    let layers = manifest["layers"].as_array().context("no layers")?;
    let mut fetch = |layer: &Value| -> Result<Vec<u8>> {
        let digest = layer["digest"].as_str().context("a layer without digest")?;
        let bytes = blob(digest).with_context(|| format!("the blob {digest}"))?;
        let found = format!("sha256:{}", sha256(&bytes));
        ensure!(found == digest, "the blob {digest} is {found}");
        Ok(bytes)
    };
    let last = |media_type: &str| match layers.last() {
        Some(layer) if layer["mediaType"] == media_type => Ok(layer),
        Some(layer) => Err(anyhow!("the last layer is {}", layer["mediaType"])),
        None => Err(anyhow!("no layers")),
    };
    let (variant, module) = if manifest["mediaType"] == DOCKER_MANIFEST {
        (Variant::Docker, plugin(&fetch(last(DOCKER_LAYER)?)?)?)
    } else {
        match last(LAYER) {
            Ok(layer) => (Variant::Compat, plugin(&fetch(layer)?)?),
            Err(no_compat) => {
                ensure!(
                    layers.len() == 2,
                    "neither compat ({no_compat}), nor an artifact: {} layers in place of 2",
                    layers.len()
                );
                let layer = layers.iter().find(|layer| layer["mediaType"] == WASM_LAYER);
                let layer = layer.with_context(|| {
                    format!("neither compat ({no_compat}), nor an artifact: no {WASM_LAYER}")
                })?;
                (Variant::Artifact, fetch(layer)?)
            }
        }
    };
    ensure!(module.starts_with(MAGIC), "what was found is no module");
    Ok((variant, module))
}

/// The first file with the name of the plugin in a layer, whatever its folder.
fn plugin(layer: &[u8]) -> Result<Vec<u8>> {
    let mut archive = tar::Archive::new(GzDecoder::new(layer).take(LARGEST));
    for entry in archive.entries()? {
        let mut entry = entry?;
        if entry.path()?.file_name().is_some_and(|name| name == PLUGIN) {
            let mut module = Vec::new();
            entry.read_to_end(&mut module)?;
            return Ok(module);
        }
    }
    bail!("no {PLUGIN} in the layer")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::{self, ArchivedFile};
    use serde_json::json;

    const MODULE: &[u8] = b"\0asm\x01\0\0\0";

    fn packed(path: &str) -> Vec<u8> {
        let file = ArchivedFile {
            path: path.to_owned(),
            content: MODULE.to_vec(),
            is_program: false,
        };
        archive::gzip(&archive::tar(&[file]).unwrap()).unwrap()
    }

    /// What the extractors make of an image with these layers.
    fn pulled(media_type: &str, layers: &[(&str, Vec<u8>)]) -> Result<Variant, String> {
        let described = layers.iter().map(|(media_type, blob)| {
            json!({ "mediaType": media_type, "digest": format!("sha256:{}", sha256(blob)) })
        });
        let described: Vec<_> = described.collect();
        let manifest = json!({ "mediaType": media_type, "layers": described }).to_string();
        let blob = |digest: &str| {
            let mut blobs = layers.iter().map(|(_, blob)| blob);
            let found = blobs.find(|blob| format!("sha256:{}", sha256(blob)) == digest);
            Ok(found.context("no such blob")?.clone())
        };
        match module(manifest.as_bytes(), blob) {
            Ok((variant, module)) => {
                assert_eq!(module, MODULE);
                Ok(variant)
            }
            Err(error) => Err(format!("{error:#}")),
        }
    }

    #[test]
    fn each_variant_is_read_and_nothing_else_is() {
        let oci = crate::image::MANIFEST;
        let raw = MODULE.to_vec();
        let config = b"{}".to_vec();
        let layer = packed("plugin.wasm");
        let docker = [(DOCKER_LAYER, packed("folder/plugin.wasm"))];
        assert_eq!(pulled(DOCKER_MANIFEST, &docker), Ok(Variant::Docker));
        assert_eq!(pulled(oci, &[(LAYER, layer.clone())]), Ok(Variant::Compat));
        let artifact = [("application/x", config), (WASM_LAYER, raw.clone())];
        assert_eq!(pulled(oci, &artifact), Ok(Variant::Artifact));
        for (layers, why) in [
            // What `wkg` writes: no gateway loads it.
            (
                vec![("application/wasm", raw.clone())],
                "1 layers in place of 2",
            ),
            (vec![(WASM_LAYER, raw.clone())], "1 layers in place of 2"),
            (vec![(LAYER, packed("module.wasm"))], "no plugin.wasm"),
            (
                vec![("a", raw.clone()), ("b", raw.clone())],
                "nor an artifact: no",
            ),
            (vec![], "0 layers"),
        ] {
            let error = pulled(oci, &layers).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
        let error = pulled(DOCKER_MANIFEST, &[(LAYER, layer)]).unwrap_err();
        assert!(error.contains("the last layer is"), "{error}");
    }

    #[test]
    fn a_blob_that_is_not_what_the_manifest_says_is_an_error() {
        let manifest = json!({ "layers": [{ "mediaType": LAYER, "digest": "sha256:00" }] });
        let error = module(manifest.to_string().as_bytes(), |_| {
            Ok(packed("plugin.wasm"))
        });
        let error = format!("{:#}", error.unwrap_err());
        assert!(error.contains("the blob sha256:00 is sha256:"), "{error}");
    }
}

//! The module as an OCI image, in the *compat* variant of the Wasm image specification: one layer,
//! a tar in gzip with the file `plugin.wasm`. Istio's agent and Envoy Gateway read it, every
//! registry takes it, and `docker load` does. (They read a second variant, with layers of media
//! types of their own; an image of the media types that `wkg` writes they refuse.)
//!
//! It is written as an [image layout](https://github.com/opencontainers/image-spec) in files, so
//! that no container engine is needed: `skopeo copy oci:DIR docker://…` pushes it.

use crate::archive::{self, ArchivedFile};
use crate::{json_bytes, sha256};
use anyhow::Result;
use serde_json::{Value, json};

/// The file that the systems look for in the layer.
pub const PLUGIN: &str = "plugin.wasm";
/// The media type of the manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The media type of the layer.
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// What the image says about itself, as annotations of its manifest and labels of its
/// configuration. There is no time among them: two builds would differ by it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// The module's version: `0.2.0`. It is the image's tag in the layout.
    pub version: String,
    /// The licence, as SPDX writes it.
    pub license: String,
    /// Where the source is: a URL. None: it is not said.
    pub source: Option<String>,
    /// The commit that was built. None: it is not said.
    pub revision: Option<String>,
}

impl About {
    fn annotations(&self) -> Value {
        let mut annotations = json!({
            "org.opencontainers.image.title": "pointsman",
            "org.opencontainers.image.description":
                "A layer-7 load balancer in your Envoy, as a proxy-wasm module",
            "org.opencontainers.image.version": self.version,
            "org.opencontainers.image.licenses": self.license,
        });
        for (key, value) in [("source", &self.source), ("revision", &self.revision)] {
            if let Some(value) = value {
                annotations[format!("org.opencontainers.image.{key}")] = json!(value);
            }
        }
        annotations
    }
}

/// An image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The digest of the manifest: `sha256:…`. It is what an `oci://` URL names behind `@`, and what
    /// `sha256` beside such a URL is compared with (Istio's `WasmPlugin`, Envoy Gateway's
    /// `EnvoyExtensionPolicy`).
    pub digest: String,
    /// The size of the layer in bytes: what a proxy's agent fetches.
    pub layer_size: usize,
    /// The files of the layout, by their paths in it.
    pub files: Vec<(String, Vec<u8>)>,
}

impl Image {
    /// The image of a module.
    pub fn of(module: &[u8], about: &About) -> Result<Image> {
        let mut files = Vec::new();
        let tar = archive::tar(&[ArchivedFile {
            path: PLUGIN.to_owned(),
            content: module.to_vec(),
            is_program: false,
        }])?;
        let layer = archive::gzip(&tar)?;
        let layer_size = layer.len();
        let annotations = about.annotations();
        let config = json!({
            "architecture": "wasm",
            "os": "wasi",
            "config": { "Labels": annotations },
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", sha256(&tar))] },
        });
        let mut manifest_annotations = annotations;
        // What the specification of Wasm images asks for.
        manifest_annotations["module.wasm.image/variant"] = json!("compat");
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": put(&mut files, CONFIG, json_bytes(config)),
            "layers": [put(&mut files, LAYER, layer)],
            "annotations": manifest_annotations,
        });
        let mut described = put(&mut files, MANIFEST, json_bytes(manifest));
        let digest = described["digest"].as_str().unwrap_or_default().to_owned();
        described["annotations"] = json!({ "org.opencontainers.image.ref.name": about.version });
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [described] });
        files.push(("index.json".to_owned(), json_bytes(index)));
        let layout = json!({ "imageLayoutVersion": "1.0.0" });
        files.push(("oci-layout".to_owned(), json_bytes(layout)));
        Ok(Image {
            digest,
            layer_size,
            files,
        })
    }
}

/// Adds a blob, and returns its descriptor.
fn put(files: &mut Vec<(String, Vec<u8>)>, media_type: &str, blob: Vec<u8>) -> Value {
    let digest = sha256(&blob);
    let descriptor = json!({
        "mediaType": media_type,
        "digest": format!("sha256:{digest}"),
        "size": blob.len(),
    });
    files.push((format!("blobs/sha256/{digest}"), blob));
    descriptor
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pull::{self, Variant};
    use anyhow::Context;

    fn about() -> About {
        About {
            version: "1.2.3".to_owned(),
            license: "Apache-2.0".to_owned(),
            source: None,
            revision: Some("abc".to_owned()),
        }
    }

    fn file<'i>(image: &'i Image, path: &str) -> Result<&'i [u8]> {
        let found = image.files.iter().find(|(name, _)| name == path);
        Ok(&found.with_context(|| format!("no {path}"))?.1)
    }

    #[test]
    fn the_layout_leads_from_its_index_to_the_module() {
        let module = b"\0asm\x01\0\0\0 and more";
        let image = Image::of(module, &about()).unwrap();
        let index: Value = serde_json::from_slice(file(&image, "index.json").unwrap()).unwrap();
        let described = &index["manifests"][0];
        assert_eq!(described["digest"], image.digest);
        assert_eq!(
            described["annotations"]["org.opencontainers.image.ref.name"],
            "1.2.3"
        );
        let blob = |digest: &str| {
            let path = format!("blobs/{}", digest.replace(':', "/"));
            Ok(file(&image, &path)?.to_vec())
        };
        let manifest = blob(&image.digest).unwrap();
        let pulled = pull::module(&manifest, blob).unwrap();
        assert_eq!(pulled, (Variant::Compat, module.to_vec()));
    }

    #[test]
    fn each_digest_and_size_is_that_of_its_blob() {
        let image = Image::of(b"\0asm", &about()).unwrap();
        let blobs = image.files.iter();
        let blobs: Vec<_> = blobs
            .filter_map(|(path, blob)| Some((path.strip_prefix("blobs/sha256/")?, blob)))
            .collect();
        assert_eq!(blobs.len(), 3);
        for (name, blob) in blobs {
            assert_eq!(name, sha256(blob));
            let texts = image.files.iter().map(|(_, text)| text);
            let describes = |text: &Vec<u8>| {
                let text = String::from_utf8_lossy(text);
                text.contains(&format!("\"digest\":\"sha256:{name}\""))
                    && text.contains(&format!("\"size\":{}", blob.len()))
            };
            assert!(texts.into_iter().any(describes), "{name}");
        }
    }

    #[test]
    fn the_configuration_names_the_layer_as_it_is_unpacked() {
        let image = Image::of(b"\0asm", &about()).unwrap();
        let manifest = file(&image, &format!("blobs/{}", image.digest.replace(':', "/")));
        let manifest: Value = serde_json::from_slice(manifest.unwrap()).unwrap();
        let blob = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().unwrap();
            file(&image, &format!("blobs/{}", digest.replace(':', "/"))).unwrap()
        };
        let config: Value = serde_json::from_slice(blob(&manifest["config"])).unwrap();
        let mut tar = Vec::new();
        let mut layer = flate2::read::GzDecoder::new(blob(&manifest["layers"][0]));
        std::io::Read::read_to_end(&mut layer, &mut tar).unwrap();
        let diff_id = format!("sha256:{}", sha256(&tar));
        assert_eq!(config["rootfs"]["diff_ids"], json!([diff_id]));
        let labels = &config["config"]["Labels"];
        assert_eq!(labels["org.opencontainers.image.revision"], "abc");
        assert_eq!(labels.get("org.opencontainers.image.source"), None);
    }

    /// The digest of a fixed input: it changes where the encoder of a new version of a crate writes
    /// other bytes, and then the changelog should say that this version's image differs.
    #[test]
    fn the_same_module_has_the_same_digest_on_every_machine() {
        let module: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
        let image = Image::of(&module, &about()).unwrap();
        assert_eq!(image, Image::of(&module, &about()).unwrap());
        assert_eq!(
            image.digest,
            "sha256:e4728dc4ddf1b4960822bb29e23156b08e3ddc250f48b5d7e4639b9ed7d5ba55"
        );
    }
}

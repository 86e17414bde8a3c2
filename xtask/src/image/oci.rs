//! An image in the OCI image layout, in a tar file. Pure: bytes in, bytes out.
//!
//! Every blob is named by its SHA-256. Nothing in it depends on when, where or by whom it is made.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};

use anyhow::{Context as _, Result};
use flate2::{Compression, GzBuilder, read::GzDecoder};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// The agent for one kind of processor.
#[derive(Debug)]
pub(super) struct Platform {
    /// As OCI calls it: `amd64`, `arm64`.
    pub(super) architecture: &'static str,
    /// The program.
    pub(super) agent: Vec<u8>,
}

/// Blobs by their digests.
#[derive(Default)]
struct Blobs(BTreeMap<String, Vec<u8>>);

impl Blobs {
    /// Keeps `bytes` and describes them.
    fn add(&mut self, kind: &str, bytes: Vec<u8>) -> Value {
        let (digest, size) = (digest(&bytes), bytes.len());
        self.0.insert(digest.clone(), bytes);
        json!({ "mediaType": kind, "digest": format!("sha256:{digest}"), "size": size })
    }

    fn add_json(&mut self, kind: &str, value: &Value) -> Value {
        self.add(kind, value.to_string().into_bytes())
    }
}

/// The archive of the image `name`, with one entry for each of `platforms`.
pub(super) fn archive(platforms: &[Platform], name: &str) -> Result<Vec<u8>> {
    let mut blobs = Blobs::default();
    let mut manifests = Vec::new();
    for platform in platforms {
        let mut manifest = manifest(platform, &mut blobs)?;
        manifest["platform"] = json!({ "architecture": platform.architecture, "os": "linux" });
        manifests.push(manifest);
    }
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
    let mut index = blobs.add_json(INDEX, &index);
    // Who loads the archive takes its name from one of these.
    index["annotations"] = json!({
        "io.containerd.image.name": name,
        "org.opencontainers.image.ref.name": name.rsplit(':').next(),
    });
    let top = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [index] });
    let layout = json!({ "imageLayoutVersion": "1.0.0" });
    let mut files = BTreeMap::from([
        ("oci-layout".to_owned(), layout.to_string().into_bytes()),
        ("index.json".to_owned(), top.to_string().into_bytes()),
    ]);
    files.extend(blobs.0.into_iter().map(|(name, it)| (format!("blobs/sha256/{name}"), it)));
    tar(files.iter().map(|(name, bytes)| (name.as_str(), 0o644, bytes.as_slice())))
}

fn manifest(platform: &Platform, blobs: &mut Blobs) -> Result<Value> {
    let layer = tar([("waggle", 0o755, platform.agent.as_slice())])?;
    let config = json!({
        "architecture": platform.architecture,
        "os": "linux",
        "config": { "Entrypoint": ["/waggle"], "Labels": {
            "org.opencontainers.image.title": "waggle",
            "org.opencontainers.image.version": env!("CARGO_PKG_VERSION"),
            "org.opencontainers.image.licenses": env!("CARGO_PKG_LICENSE"),
        } },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", digest(&layer))] },
    });
    let config = blobs.add_json(CONFIG, &config);
    let layer = blobs.add(LAYER, compress(&layer)?);
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer],
    });
    Ok(blobs.add_json(MANIFEST, &manifest))
}

/// The unpacked layer of `architecture`, if the archive has one.
pub(super) fn layer_of(archive: &[u8], architecture: &str) -> Result<Option<Vec<u8>>> {
    let files = files(archive)?;
    let blob = |it: &Value| -> Option<&Vec<u8>> {
        files.get(&format!("blobs/{}", it["digest"].as_str()?.replace(':', "/")))
    };
    let json = |bytes: &Vec<u8>| serde_json::from_slice::<Value>(bytes).ok();
    let find = || {
        let top = json(files.get("index.json")?)?;
        let index = json(blob(&top["manifests"][0])?)?;
        let mut manifests = index["manifests"].as_array()?.iter();
        let own = manifests.find(|it| it["platform"]["architecture"] == architecture)?;
        blob(&json(blob(own)?)?["layers"][0])
    };
    let unpack = |layer: &Vec<u8>| {
        let mut bytes = Vec::new();
        GzDecoder::new(layer.as_slice()).read_to_end(&mut bytes).map(|_| bytes)
    };
    find().map(unpack).transpose().context("unpack the layer")
}

fn files(archive: &[u8]) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(archive).entries()? {
        let mut entry = entry?;
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        files.insert(entry.path()?.to_string_lossy().into_owned(), bytes);
    }
    Ok(files)
}

/// Files of root and of no time.
fn tar<'a>(files: impl IntoIterator<Item = (&'a str, u32, &'a [u8])>) -> Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, mode, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_mode(mode);
        header.set_size(bytes.len() as u64);
        archive.append_data(&mut header, name, bytes)?;
    }
    Ok(archive.into_inner()?)
}

/// Without the name and the time that gzip may note.
fn compress(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzBuilder::new().write(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platforms() -> Vec<Platform> {
        let platform = |architecture, agent: &[u8]| Platform { architecture, agent: agent.into() };
        vec![platform("amd64", b"one"), platform("arm64", b"two")]
    }

    #[test]
    fn the_same_programs_make_the_same_archive() {
        let make = || archive(&platforms(), "waggle:1").unwrap();
        assert_eq!(make(), make());
    }

    #[test]
    fn every_blob_is_what_its_name_says_and_every_reference_leads_to_one() {
        let files = files(&archive(&platforms(), "waggle:1").unwrap()).unwrap();
        let blobs: Vec<_> = files
            .iter()
            .filter_map(|(name, it)| Some((name.strip_prefix("blobs/sha256/")?, it)))
            .collect();
        assert_eq!(blobs.len(), 7, "two of each kind, and the index");
        for (name, bytes) in &blobs {
            assert_eq!(digest(bytes), **name);
        }
        let texts = files.values().filter_map(|it| serde_json::from_slice::<Value>(it).ok());
        let mut referred = 0;
        for text in texts {
            let lists = [&text["manifests"], &text["layers"]];
            let lists = lists.into_iter().filter_map(Value::as_array).flatten();
            for it in lists.chain(text.get("config").filter(|it| it.get("digest").is_some())) {
                let name = it["digest"].as_str().unwrap().replace("sha256:", "blobs/sha256/");
                assert_eq!(it["size"], files[&name].len());
                referred += 1;
            }
        }
        assert_eq!(referred, 7);
    }

    #[test]
    fn each_processor_has_its_own_program_and_nothing_else() {
        let archive = archive(&platforms(), "waggle:1").unwrap();
        for Platform { architecture, agent } in platforms() {
            let layer = layer_of(&archive, architecture).unwrap().unwrap();
            let content = files(&layer).unwrap();
            assert_eq!(content, BTreeMap::from([("waggle".to_owned(), agent)]));
        }
        assert!(layer_of(&archive, "s390x").unwrap().is_none());
    }
}
